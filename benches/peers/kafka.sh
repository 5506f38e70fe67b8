# Apache Kafka as a peer: one combined broker and controller from the Maven jars that tests/run installs, with the JVM
# options of Kafka's own start script and its default broker settings, replication factor 1.
# shellcheck shell=bash

KAFKA_HEAP=${KAFKA_HEAP:-4g}
KAFKA_JAVA_OPTS=${KAFKA_JAVA_OPTS:--server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -XX:MaxInlineLevel=15}

kafka_facts() {
  printf 'kafka     %s, %s, -Xms%s -Xmx%s %s\n' "$KAFKA_VERSION" "$(java -version 2>&1 | head -n 1 | tr -d '"')" \
    "$KAFKA_HEAP" "$KAFKA_HEAP" "$KAFKA_JAVA_OPTS"
}

kafka_java() { java "-Dlog4j2.configurationFile=$ROOT/tests/lib/log4j2.properties" -Dtests.log.level=warn -cp "$KAFKA_LIBS/*" "$@"; }

kafka_start() {
  local port controller
  command -v java >/dev/null || fail 'java is not here; remedy: apt-get install openjdk-17-jdk-headless'
  port=$(free_port) controller=$(free_port)
  KAFKA_ADDRESS=127.0.0.1:$port
  mkdir -p "$DIR/kafka"
  # The last two give the disk back between runs; the measured path does not know them.
  cat >"$DIR/kafka/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://$KAFKA_ADDRESS,CONTROLLER://127.0.0.1:$controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$DIR/kafka/log
offsets.topic.replication.factor=1
log.retention.check.interval.ms=10000
log.segment.delete.delay.ms=1000
PROPERTIES
  kafka_java kafka.tools.StorageTool format --standalone -t "$(kafka_java kafka.tools.StorageTool random-uuid)" \
    -c "$DIR/kafka/server.properties" >"$DIR/kafka.log" 2>&1
  # exec in a subshell, so that the pid is the JVM's.
  # shellcheck disable=SC2086
  (exec "${BROKER_CPU[@]}" java "-Xms$KAFKA_HEAP" "-Xmx$KAFKA_HEAP" $KAFKA_JAVA_OPTS \
    "-Dlog4j2.configurationFile=$ROOT/tests/lib/log4j2.properties" -Dtests.log.level=warn \
    -cp "$KAFKA_LIBS/*" kafka.Kafka "$DIR/kafka/server.properties") >>"$DIR/kafka.log" 2>&1 &
  KAFKA_PID=$!
  wait_for_broker kafka "$KAFKA_PID" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
}
