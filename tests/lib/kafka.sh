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
