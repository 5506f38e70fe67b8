#!/usr/bin/env bash
# Shows: consumer groups of librdkafka (old and new), Java, kafka-python, aiokafka: rebalances, crashes, static members, resets, SIGKILL of the broker
# Needs: binary java python kcat
# Usual: 50 s
# Budget: 300 s
#
# GROUPS_ONLY=static-member,reset runs only these scenarios.
source "$(dirname "$0")/../lib/suite.sh"

broker_new auto.create.topics.enable=false group.initial.rebalance.delay.ms=0
broker_start

# The broker is this shell's child, so the scenarios run beside it and ask it for each kill.
mkfifo "$WORK/kill" "$WORK/killed"
exec {KILL_FD}<>"$WORK/kill" {KILLED_FD}<>"$WORK/killed"

step 'scenarios'
PYTHON_CLIENT_SECONDS=280 python_client groups.py --bootstrap "$BOOTSTRAP" --java "$JAVA_CLASSES_DIR:$KAFKA_LIBS/*" --ran "$WORK/ran" \
  --only "${GROUPS_ONLY:-}" --broker "echo now >$WORK/kill && read -r _ <$WORK/killed" &
scenarios=$!
while kill -0 "$scenarios" 2>/dev/null; do
  if read -r -t 1 _ <&"$KILL_FD"; then
    broker_kill
    broker_start
    echo ready >&"$KILLED_FD"
  fi
done
wait "$scenarios" || fail 'a scenario failed (above)'
step "$(wc -l <"$WORK/ran") scenarios hold"
