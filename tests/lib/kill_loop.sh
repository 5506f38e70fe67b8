# The kill loop: clients that write and read all the time, SIGKILL (or SIGTERM) at random, a checker that knows every record.
#
# Owns: $WORK/history, one JSONL file for each client and one for the faults.
# Holds: the random choices come from one printed seed; a kill counts only if records were acknowledged before it.
# shellcheck shell=bash

KILL_RATE=250
KILL_TOPICS=kill-a,kill-b

note_fault() { printf '{"event":"%s","ms":%s}\n' "$1" "$(now_ms)" >>"$WORK/history/faults.jsonl"; }

# pause LOW_MS HIGH_MS: the one place where time passes by choice, for it is the fault that is timed.
pause() {
  local ms=$(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1)))
  sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
}

# kill_loop SECONDS [STOP]: on the broker that runs, whose settings are kept. STOP is the command that ends the broker
# each time, broker_kill unless given. Fails on any anomaly.
kill_loop() {
  local seconds=$1 stop=${2:-broker_kill} seed=${TESTS_SEED:-$((RANDOM * 32768 + RANDOM))} end kills=0 py java tail
  step "seed $seed (TIDEGATE_SEED=$seed repeats the times of the kills)"
  RANDOM=$seed
  rm -rf "$WORK/history"
  mkdir -p "$WORK/history"
  admin create kill-a:3 kill-b:1
  note_fault ready

  PYTHON_CLIENT_SECONDS=$((seconds + 240)) python_client kill_producer.py --bootstrap "$BOOTSTRAP" \
    --history "$WORK/history/py.jsonl" --seconds "$seconds" --rate "$KILL_RATE" &
  py=$!
  JAVA_CLIENT_SECONDS=$((seconds + 240)) java_client KillProducer \
    --history "$WORK/history/java.jsonl" --seconds "$seconds" --rate "$KILL_RATE" 2>"$WORK/java-producer.log" &
  java=$!
  PYTHON_CLIENT_SECONDS=$((seconds + 300)) python_client kill_reader.py --bootstrap "$BOOTSTRAP" \
    --history "$WORK/history/tail.jsonl" --reader tail --topics "$KILL_TOPICS" --tail "$WORK/history/stop" &
  tail=$!

  # The producers run for as long, and began later.
  end=$(($(now_ms) + seconds * 1000))
  while pause 800 5000 && (($(now_ms) < end - 3000)); do
    # Under way, or the kill would hit an idle broker.
    wait_for_acks
    note_fault kill
    "$stop"
    kills=$((kills + 1))
    pause 0 400
    if [ "$stop" = broker_kill ] && ((RANDOM % 4 == 0)); then
      # Sometimes recovery itself is killed, and must begin anew.
      broker_spawn
      pause 10 600
      broker_kill
    fi
    broker_start
    note_fault ready
  done
  step "$kills times; waiting for every outcome"
  wait "$py" || fail 'the librdkafka producers met an error (above)'
  wait "$java" || { tail -n 20 "$WORK/java-producer.log" >&2; fail 'the Java producers met an error'; }

  step 'reading everything, with librdkafka and with Java'
  # Longer runs have more to read and to judge.
  local PYTHON_CLIENT_SECONDS=$((CLIENT_SECONDS + seconds)) JAVA_CLIENT_SECONDS=$((CLIENT_SECONDS + seconds))
  python_client kill_reader.py --bootstrap "$BOOTSTRAP" --history "$WORK/history/final-rdkafka.jsonl" \
    --reader final-rdkafka --topics "$KILL_TOPICS" --final
  java_client HistoryReader --history "$WORK/history/final-java.jsonl" --reader final-java --topics "$KILL_TOPICS"
  touch "$WORK/history/stop"
  wait "$tail" || fail 'the reader at the tail met an error (above)'

  step 'checking the history'
  python_client checker.py "$WORK/history" --kills-min $((seconds / 20)) | tee "$WORK/verdict" ||
    fail 'the checker found anomalies'
  step "$(head -n 1 "$WORK/verdict")"
}

acked() { cat "$WORK/history/py.jsonl" "$WORK/history/java.jsonl" 2>/dev/null | grep -c '"event":"ok"' || true; }
more_acks_than() { (($(acked) > $1)); }
wait_for_acks() { wait_until 60 'an acknowledgement between two kills' more_acks_than "$(acked)"; }
