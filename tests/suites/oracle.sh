#!/usr/bin/env bash
# Shows: Apache Kafka beside us answers the same requests: every served key and version, and the error codes of its rules
# Needs: binary java python
# Usual: 40 s
# Budget: 180 s
#
# Cases are in tests/src/oracle/cases; what is volatile, what differs and what must be shown are the .toml files beside them.
source "$(dirname "$0")/../lib/suite.sh"

ORACLE=${ORACLE_BINARY:-$ROOT/target/ci/oracle}
[ -x "$ORACLE" ] || fail "there is no $ORACLE; remedy: cargo build --profile ci -p tidegate-tests --bin oracle"

step "message definitions of Kafka $KAFKA_VERSION"
mkdir -p "$WORK/definitions"
"$PYTHON" - "$KAFKA_LIBS/kafka-clients-$KAFKA_VERSION.jar" "$WORK/definitions" <<'PY'
import os, sys, zipfile
jar = zipfile.ZipFile(sys.argv[1])
for name in jar.namelist():
    if name.startswith("common/message/") and name.endswith(".json"):
        with open(os.path.join(sys.argv[2], os.path.basename(name)), "wb") as out:
            out.write(jar.read(name))
PY

# What both are given. Where a broker has no such setting the value is its default, or without effect.
COMMON=(group.initial.rebalance.delay.ms=0 group.max.size=2 offsets.topic.replication.factor=1
  transaction.state.log.replication.factor=1 transaction.state.log.min.isr=1
  share.coordinator.state.topic.replication.factor=1 share.coordinator.state.topic.min.isr=1
  node.id=1 process.roles=broker,controller)

step 'Apache Kafka and Tidegate start'
broker_new replication.factor.policy=strict "${COMMON[@]}"
KAFKA_PORT=$(free_port) KAFKA_PID=''
CONTROLLER_PORT=$(free_port)
mkdir -p "$WORK/kafka"
{
  printf '%s\n' "${COMMON[@]}"
  cat <<PROPERTIES
controller.quorum.bootstrap.servers=127.0.0.1:$CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$WORK/kafka/log
PROPERTIES
} >"$WORK/kafka/server.properties"
# Without eligible leader replicas, which would set min.insync.replicas for the whole cluster.
jvm kafka.tools.StorageTool format --standalone -t 5L6g3nShT-eMCtK--X86sw \
  --feature eligible.leader.replicas.version=0 -c "$WORK/kafka/server.properties" >"$WORK/kafka.log" 2>&1
java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Dtests.log.level=warn \
  "-Dlog4j2.configurationFile=$ROOT/tests/lib/log4j2.properties" -cp "$KAFKA_LIBS/*" kafka.Kafka "$WORK/kafka/server.properties" \
  >>"$WORK/kafka.log" 2>&1 &
KAFKA_PID=$!
broker_start
kafka_listens() {
  kill -0 "$KAFKA_PID" 2>/dev/null || { tail -n 20 "$WORK/kafka.log" >&2; fail 'Kafka ended while it started'; }
  (exec 3<>"/dev/tcp/127.0.0.1/$KAFKA_PORT") 2>/dev/null
}
wait_until 60 'Kafka serves' kafka_listens

step 'the cases'
if ! "$ORACLE" --messages "$WORK/definitions" --kafka "127.0.0.1:$KAFKA_PORT" --tidegate "$BOOTSTRAP" >"$WORK/answers"; then
  tail -n 60 "$WORK/answers" >&2
  fail "Tidegate and Kafka disagree, or a case is missing: see $WORK/answers"
fi
cat "$WORK/answers"
say "$(tail -n 1 "$WORK/answers")"
end_process "$KAFKA_PID" 20 || true
ran answers
step 'done'
