# Kafka's own tools and the test clients, as commands.
#
# Holds: a client that hangs ends by a deadline of its own; stdout is its answer, stderr its log.
# shellcheck shell=bash

CLIENT_SECONDS=120

# Small heap and no second compiler: a tool lives for a second or two.
JVM_TOOL=(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto)

# jvm CLASS ARGS...: a class of Kafka's jars.
jvm() {
  timeout "$CLIENT_SECONDS" java "${JVM_TOOL[@]}" -Dtests.log.level=warn \
    "-Dlog4j2.configurationFile=$ROOT/tests/lib/log4j2.properties" -cp "$KAFKA_LIBS/*" "$@"
}

kafka_topics() { jvm org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
kafka_configs() { jvm kafka.admin.ConfigCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
kafka_get_offsets() { jvm org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$BOOTSTRAP" "$@"; }
kafka_delete_records() { jvm org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
kafka_console_producer() { jvm org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$BOOTSTRAP" "$@"; }
kafka_console_consumer() { jvm org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$BOOTSTRAP" "$@"; }
kafka_producer_perf() { jvm org.apache.kafka.tools.ProducerPerformance "$@"; }

# tools_start: one JVM for all later calls of `tool`; it ends with the suite.
tools_start() {
  coproc TOOLS_JVM { exec java "${JVM_TOOL[@]}" -Dtests.log.level=warn "-Dlog4j2.configurationFile=$ROOT/tests/lib/log4j2.properties" \
    -cp "$JAVA_CLASSES_DIR:$KAFKA_LIBS/*" ToolShell; }
  exec {TOOLS_IN}>&"${TOOLS_JVM[1]}" {TOOLS_OUT}<&"${TOOLS_JVM[0]}"
}

# tool NAME ARGS...: one of Kafka's tools, with the broker added to its arguments. What it prints is in $WORK/said; its
# status is returned.
tool() {
  local name=$1 line status=''
  shift
  case $name in
    kafka-cluster) set -- "$@" --bootstrap-server "$BOOTSTRAP" ;;
    *) set -- --bootstrap-server "$BOOTSTRAP" "$@" ;;
  esac
  printf '$ %s %s\n' "$name" "$*"
  (IFS=$'\x1f'; printf '%s\n' "$name$IFS$*") >&"$TOOLS_IN"
  : >"$WORK/said"
  while IFS= read -r -t "$CLIENT_SECONDS" line <&"$TOOLS_OUT"; do
    if [ "${line:0:1}" = $'\x1e' ]; then status=${line:1}; break; fi
    printf '%s\n' "$line" >>"$WORK/said"
  done
  [ -n "$status" ] || fail "$name gave no answer within $CLIENT_SECONDS s"
  # Columns are as wide as what is in them.
  tr -s ' \t' ' ' <"$WORK/said" >"$WORK/said.narrow"
  grep -v '^[[:space:]]*at ' "$WORK/said" || true
  return "$status"
}

# says STATUS WORDS NAME ARGS...: the tool ends with the status and prints the words. A bar separates words that must all
# be there.
says() {
  local wanted=$1 all=$2 words status=0
  shift 2
  tool "$@" || status=$?
  expect "the exit status of $*" "$wanted" "$status"
  while IFS= read -r words; do
    grep -qF -- "$words" "$WORK/said.narrow" || fail "$*: does not say '$words'"
  done <<<"${all//|/$'\n'}"
}

# in_time STATUS WORDS NAME ARGS...: as `says`, once what was changed has come through; Kafka answers before that.
in_time() { wait_until 15 "$*" says_so "$@"; }
says_so() { (trap - ERR; says "$@") 2>/dev/null; }

# silent WORDS: the last tool did not print them.
silent() { if grep -qF -- "$1" "$WORK/said.narrow"; then fail "the last tool says '$1'"; fi; }

# java_client CLASS ARGS...: a class of tests/clients/java. JAVA_CLIENT_SECONDS bounds long ones.
java_client() {
  local class=$1
  shift
  timeout "${JAVA_CLIENT_SECONDS:-$CLIENT_SECONDS}" java -Xmx384m -XX:+UseSerialGC -Dtests.log.level=warn \
    "-Dlog4j2.configurationFile=$ROOT/tests/lib/log4j2.properties" \
    -cp "$JAVA_CLASSES_DIR:$KAFKA_LIBS/*" "$class" --bootstrap "$BOOTSTRAP" "$@"
}

# python_client FILE ARGS...: a script of tests/clients.
python_client() {
  local script=$1
  shift
  timeout "${PYTHON_CLIENT_SECONDS:-$CLIENT_SECONDS}" "$PYTHON" "$ROOT/tests/clients/$script" "$@"
}

# admin WORD ARGS...: topic admin without the second that a JVM takes to start.
admin() { python_client admin.py --bootstrap "$BOOTSTRAP" "$@"; }

# kcat bounded in time; -q keeps its stderr to real errors.
kc() { timeout "$CLIENT_SECONDS" kcat -b "$BOOTSTRAP" -q "$@"; }
