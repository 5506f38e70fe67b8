# The broker under test: Tidegate, or with BROKER=kafka a real Apache Kafka that checks the suites themselves.
#
# Owns: one broker process at a time, its directory $WORK/broker, its ports (kept over restarts).
# Holds: broker_start returns once clients are served, or fails within its deadline with the end of the broker's log.
# shellcheck shell=bash

BROKER=${BROKER:-tidegate}
BROKER_DIR=$WORK/broker
BROKER_LOG=$WORK/broker.log
BROKER_PORT='' ADMIN_PORT='' BROKER_PID='' BOOTSTRAP=''
BROKER_READY_SECONDS=60

# broker_config KEY=VALUE...: adds to the settings of every later start. Kafka is given those that it knows.
BROKER_SETTINGS=()
broker_config() { BROKER_SETTINGS+=("$@"); }

# broker_new [KEY=VALUE...]: forgets data and settings of an earlier broker of this suite; picks ports.
broker_new() {
  broker_kill
  rm -rf "$BROKER_DIR"
  mkdir -p "$BROKER_DIR"
  BROKER_PORT=$(free_port) ADMIN_PORT=$(free_port)
  BOOTSTRAP=127.0.0.1:$BROKER_PORT
  BROKER_SETTINGS=()
  broker_config "$@"
  "${BROKER}_new"
}

# What the suites assert about the process itself holds for Tidegate only.
is_tidegate() { [ "$BROKER" = tidegate ]; }

broker_alive() { [ -n "$BROKER_PID" ] && kill -0 "$BROKER_PID" 2>/dev/null; }

broker_spawn() {
  if broker_alive; then fail "a broker runs already as $BROKER_PID"; fi
  "${BROKER}_spawn" >>"$BROKER_LOG" 2>&1 &
  BROKER_PID=$!
}

broker_start() {
  local started deadline
  started=$(now_ms)
  deadline=$((started + BROKER_READY_SECONDS * 1000))
  broker_spawn
  until "${BROKER}_ready"; do
    if ! broker_alive; then
      tail -n 20 "$BROKER_LOG" >&2
      fail "the broker ended while it started"
    fi
    if (($(now_ms) > deadline)); then
      tail -n 20 "$BROKER_LOG" >&2
      fail "the broker was not ready within $BROKER_READY_SECONDS s"
    fi
    sleep 0.05
  done
  printf 'broker ready as %s on %s after %s ms\n' "$BROKER_PID" "$BOOTSTRAP" $(($(now_ms) - started))
}

# SIGKILL, and the corpse collected: its locks and its port are free afterwards.
broker_kill() {
  [ -n "$BROKER_PID" ] || return 0
  kill -KILL "$BROKER_PID" 2>/dev/null || true
  wait "$BROKER_PID" 2>/dev/null || true
  BROKER_PID=''
}

# broker_stop [SECONDS]: SIGTERM; returns the exit status, 137 if it had to be killed.
broker_stop() {
  local status=0
  [ -n "$BROKER_PID" ] || fail 'no broker runs'
  end_process "$BROKER_PID" "${1:-30}" 2>/dev/null || status=$?
  BROKER_PID=''
  return "$status"
}

# metric NAME: the sum of a metric over its labels, as /metrics says it now.
metric() {
  local name=$1
  curl -sf --max-time 5 "http://127.0.0.1:$ADMIN_PORT/metrics" |
    awk -v name="$name" '$1 == name || index($1, name "{") == 1 { sum += $2; seen = 1 } END { if (!seen) exit 1; printf "%.0f\n", sum }' ||
    fail "metric $name is not on /metrics"
}

# ---- Tidegate ----

tidegate_new() { BROKER_DATA=$BROKER_DIR/data; BROKER_BUCKET=$BROKER_DIR/bucket; }

# tidegate_args: the settings of this broker as arguments, one a line; later ones win.
tidegate_args() {
  local setting
  for setting in "listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT" \
    "advertised.listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT" \
    "data.dir=$BROKER_DATA" "storage.url=file://$BROKER_BUCKET" \
    "admin.listener=127.0.0.1:$ADMIN_PORT" ${BROKER_SETTINGS[@]+"${BROKER_SETTINGS[@]}"}; do
    printf '%s\n' --set "$setting"
  done
}

tidegate_spawn() {
  local args
  mapfile -t args < <(tidegate_args)
  exec "$BINARY" "${args[@]}"
}

tidegate_ready() { curl -sf -o /dev/null --max-time 2 "http://127.0.0.1:$ADMIN_PORT/readyz"; }

# ---- Apache Kafka ----

kafka_new() {
  CONTROLLER_PORT=$(free_port)
  local setting
  {
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$BROKER_DIR/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=1500
PROPERTIES
  } >"$BROKER_DIR/server.properties"
  for setting in ${BROKER_SETTINGS[@]+"${BROKER_SETTINGS[@]}"}; do
    case $setting in data.* | wal.* | storage.* | admin.* | shutdown.*) ;; *) printf '%s\n' "$setting" >>"$BROKER_DIR/server.properties" ;; esac
  done
  jvm kafka.tools.StorageTool format --standalone -t "$(jvm kafka.tools.StorageTool random-uuid)" \
    -c "$BROKER_DIR/server.properties" >>"$BROKER_LOG" 2>&1
}

kafka_spawn() {
  exec java -Xmx512m -XX:+UseSerialGC "-Dlog4j2.configurationFile=$ROOT/tests/lib/log4j2.properties" \
    -cp "$KAFKA_LIBS/*" kafka.Kafka "$BROKER_DIR/server.properties"
}

# A listening port is enough: Kafka opens it once the broker is unfenced.
kafka_ready() { (exec 3<>"/dev/tcp/127.0.0.1/$BROKER_PORT") 2>/dev/null; }
