# The fault loop: clients that write and read all the time, faults at random, a checker that knows every record.
#
# Owns: $WORK/history, one JSONL file for each client and one for the faults.
# Holds: the random choices come from one printed seed; each fault is seen to take effect, or the run fails; a fault counts
# only if records were acknowledged between it and the one before.
# shellcheck shell=bash

FAULT_PROXY=$ROOT/target/ci/fault-proxy
HISTORY_CHECK=$ROOT/target/ci/history-check

# Who writes and reads; a suite may choose otherwise before fault_loop.
FAULT_TOPICS=kill-a:3,kill-b:1
FAULT_SIZES=mixed
FAULT_RATE_JAVA=250 FAULT_RATE_LIBRDKAFKA=250 FAULT_RATE_KAFKA_PYTHON=100
FAULT_JAVA=java0:idempotent:zstd,hasty0:hasty:snappy
FAULT_LIBRDKAFKA=(py0:librdkafka:idempotent:lz4 py1:librdkafka:idempotent:none)
FAULT_KAFKA_PYTHON=()
# Tails beside librdkafka's, which is always there: java, kafka-python (on the last topic alone, for it is slow), ends.
FAULT_READERS=()
# Milliseconds between two faults.
FAULT_PAUSE=(800 5000)
# Longer than the broker's lease of 9 s.
PAUSED_SECONDS=10
STORE_FAULT_SECONDS=4
FAULT_RECORDS_MIN=1

now_us() { python3 -IS -c 'import time; print(time.monotonic_ns() // 1000)'; }

# note KIND PHASE [US]: begin, dead (nothing can be acknowledged), alive, end.
note() { printf '{"event":"fault","us":%s,"kind":"%s","phase":"%s"}\n' "${3:-$(now_us)}" "$1" "$2" >>"$WORK/history/faults.jsonl"; }

# pause LOW_MS HIGH_MS: the one place where time passes by choice, for it is the fault that is timed.
pause() {
  local ms=$(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1)))
  sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
}

# ---- faults: each begins with a broker that serves, ends with one, and fails if nothing came of it ----

# SIGKILL. Sometimes recovery itself is killed, and must begin anew.
fault_kill() {
  broker_kill
  note kill dead
  pause 0 400
  note kill alive
  if ((RANDOM % 4 == 0)); then
    broker_spawn
    pause 10 600
    broker_kill
  fi
  broker_start
}

# SIGTERM: requests in flight are answered.
fault_terminate() {
  stop_in_order
  note terminate dead
  note terminate alive
  broker_start
}

# SIGSTOP for longer than the lease: on resume nothing may be acknowledged before the lease is seen to hold again.
fault_pause() {
  kill -STOP "$BROKER_PID"
  wait_until 5 'the broker is stopped' is_stopped
  note pause dead
  sleep "$PAUSED_SECONDS"
  is_stopped || fail 'the broker did not stay stopped'
  note pause alive
  kill -CONT "$BROKER_PID"
  wait_until 60 'the broker serves after SIGCONT' "${BROKER}_ready"
}
is_stopped() { [ "$(awk '$1 == "State:" { print $2 }' "/proc/$BROKER_PID/status")" = T ]; }

fault_sync_error() { disk_error sync_error fdatasync,fsync; }
fault_write_error() { disk_error write_error pwrite64,pwritev,pwritev2; }

# disk_error KIND SYSCALLS: from now on each of these calls ends with EIO. The process must end by itself, with an error
# and soon; it must not try a failed file again; and nothing that is sent after the WAL failed may be acknowledged.
disk_error() {
  local kind=$1 calls=$2 log=$WORK/strace status=0 wal_us
  rm -f "$log"
  strace -f -y -ttt -qq -o "$log" -e "trace=$calls" -e "inject=$calls:error=EIO:when=1+" -p "$BROKER_PID" 2>"$log.err" &
  local tracer=$!
  wait_until 20 "$kind is injected" injected "$log"
  broker_ends_within 20 || fail "the broker goes on 20 s after $kind"
  wait "$BROKER_PID" || status=$?
  BROKER_PID=''
  wait "$tracer" || true
  ((status != 0)) || fail "the broker ended with 0 after $kind"
  ((status < 128)) || fail "the broker ended by signal $((status - 128)) after $kind"
  wal_us=$(first_wal_error "$log") || fail "$kind: after a failed call the same file was tried again (see $log)"
  cp "$log" "$WORK/history/last-$kind.strace"
  [ -z "$wal_us" ] || note "$kind" dead "$wal_us"
  [ -n "$wal_us" ] || note "$kind" dead
  note "$kind" alive
  broker_start
}
injected() { grep -q '(INJECTED)' "$1" 2>/dev/null; }
broker_ends_within() {
  local deadline=$(($(now_ms) + $1 * 1000))
  while broker_alive && [ "$(awk '$1 == "State:" { print $2 }' "/proc/$BROKER_PID/status" 2>/dev/null)" != Z ]; do
    (($(now_ms) < deadline)) || return 1
    sleep 0.1
  done
}
# first_wal_error LOG: when the first call on a file of the WAL failed, in us of the monotonic clock; nothing if the Raft
# log alone was hit. Fails if a file was tried again after that.
first_wal_error() {
  python3 -IS - "$1" <<'PYTHON'
import re, sys, time
to_monotonic_us = time.monotonic_ns() // 1000 - time.time_ns() // 1000
failed, first = set(), None
for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
    call = re.match(r"\d+ +([\d.]+) (\w+)\(\d+<([^>]*)>", line)
    if not call:
        continue
    when, path = call[1], call[3]
    if path in failed:
        sys.exit(1)
    if "(INJECTED)" in line:
        failed.add(path)
        if first is None and "/wal/" in path:
            first = int(float(when) * 1e6) + to_monotonic_us
print("" if first is None else first)
PYTHON
}

# MinIO is killed, and comes back.
fault_store_stop() {
  local before
  before=$(metric tidegate_store_retries_total)
  store_stop
  sleep "$STORE_FAULT_SECONDS"
  wait_until 30 'the broker notices that the bucket is gone' metric_above tidegate_store_retries_total "$before"
  store_start
}
fault_store_slow() { store_fault slowed slow 1500; }
fault_store_refuse() { store_fault refused refuse; }
fault_store_lose() { store_fault lost lose 2; }

# store_fault COUNT WORDS...: the store's proxy does so for a while, and has done it.
store_fault() {
  local count=$1 before
  shift
  before=$(proxy_count "$STORE_PROXY_CONTROL" "$count")
  proxy_ask "$STORE_PROXY_CONTROL" "$@" >/dev/null
  sleep "$STORE_FAULT_SECONDS"
  wait_until 30 "requests to the store are $count" proxy_counts_more_than "$STORE_PROXY_CONTROL" "$count" "$before"
  proxy_ask "$STORE_PROXY_CONTROL" pass >/dev/null
}

fault_cut_answer() { cut cut-answer produce 2 fetch 2; }
fault_lose_answer() { cut lose-answer produce 4; }
fault_cut_request() { cut cut-request produce 3 fetch 1; }

# cut KIND API COUNT...: the clients' proxy hits so many requests or answers, and has hit them all.
cut() {
  local kind=$1 before wanted
  shift
  before=$(proxy_count "$CLIENT_PROXY_CONTROL" "$kind")
  wanted=$before
  while (($#)); do
    proxy_ask "$CLIENT_PROXY_CONTROL" "$kind" "$1" "$2" >/dev/null
    wanted=$((wanted + $2))
    shift 2
  done
  wait_until 30 "$kind takes effect" proxy_counts_more_than "$CLIENT_PROXY_CONTROL" "$kind" $((wanted - 1))
  proxy_ask "$CLIENT_PROXY_CONTROL" pass >/dev/null
}

rss_mb() { awk '$1 == "VmRSS:" { print int($2 / 1024) }' "/proc/$BROKER_PID/status"; }
metric_above() { (($(metric "$1") > $2)); }

# ---- the loop ----

# fault_loop SECONDS KIND...: on the broker that runs, whose settings are kept. Kinds come in random order, each as often
# as the others. Fails on any finding; leaves the checker's words in $WORK/verdict.
fault_loop() {
  local seconds=$1 seed=${TESTS_SEED:-$((RANDOM * 32768 + RANDOM))} end faults=0 kind fault clients=() readers=() wants=()
  shift
  step "seed $seed (TIDEGATE_SEED=$seed repeats the choice and the times of the faults)"
  RANDOM=$seed
  rm -rf "$WORK/history"
  mkdir -p "$WORK/history"
  # shellcheck disable=SC2086
  admin create ${FAULT_TOPICS//,/ }

  start_clients "$seconds"
  # The producers run for as long, and began later.
  end=$(($(now_ms) + seconds * 1000))
  wait_for_acks
  local bag=()
  while pause "${FAULT_PAUSE[@]}" && (($(now_ms) < end - 3000)); do
    ((${#bag[@]})) || mapfile -t bag < <(shuffled "$@")
    kind=${bag[0]} bag=("${bag[@]:1}")
    # Under way, or the fault would hit an idle broker.
    wait_for_acks
    printf '%s: %s\n' "$(now_ms)" "$kind"
    note "$kind" begin
    "fault_$kind"
    note "$kind" end
    faults=$((faults + 1))
  done
  step "$faults faults; waiting for every outcome"
  for client in "${clients[@]}"; do
    wait "${client%%:*}" || { tail -n 20 "$WORK/${client#*:}.log" >&2; fail "the producers of ${client#*:} met an error"; }
  done

  step 'reading everything, with librdkafka and with Java'
  # Longer runs have more to read and to judge.
  local PYTHON_CLIENT_SECONDS=$((CLIENT_SECONDS + seconds)) JAVA_CLIENT_SECONDS=$((CLIENT_SECONDS + seconds))
  python_client reader.py --bootstrap "$BOOTSTRAP" --history "$WORK/history/final-rdkafka.jsonl" \
    --reader final-rdkafka --topics "$(topic_names)" --final
  java_client HistoryReader --history "$WORK/history/final-java.jsonl" --reader final-java --topics "$(topic_names)"
  touch "$WORK/history/stop"
  for client in "${readers[@]}"; do
    wait "${client%%:*}" || { tail -n 20 "$WORK/${client#*:}.log" >&2; fail "the reader ${client#*:} met an error"; }
  done

  step 'checking the history'
  # Each kind at least once; where there is but one, every twenty seconds.
  for kind in "$@"; do wants+=(--want "$kind=$(($# == 1 ? seconds / 20 : 1))"); done
  "$HISTORY_CHECK" "$WORK/history" "${wants[@]}" --records-min "$FAULT_RECORDS_MIN" >"$WORK/verdict" || {
    cat "$WORK/verdict" >&2
    fail 'the checker has findings, or the run shows too little'
  }
  cat "$WORK/verdict"
  step "$(head -n 1 "$WORK/verdict")"
}

# start_clients SECONDS: fills `clients` and `readers` of fault_loop with PID:NAME.
start_clients() {
  local seconds=$1 patience=$(($1 + 240)) common=()
  common=(--topics "$FAULT_TOPICS" --seconds "$seconds" --sizes "$FAULT_SIZES")
  JAVA_CLIENT_SECONDS=$patience java_client Producers --history "$WORK/history/java.jsonl" "${common[@]}" \
    --rate "$FAULT_RATE_JAVA" --producers "$FAULT_JAVA" >"$WORK/java.log" 2>&1 &
  clients+=("$!:java")
  start_python_producers librdkafka "$FAULT_RATE_LIBRDKAFKA" ${FAULT_LIBRDKAFKA[@]+"${FAULT_LIBRDKAFKA[@]}"}
  start_python_producers kafka-python "$FAULT_RATE_KAFKA_PYTHON" ${FAULT_KAFKA_PYTHON[@]+"${FAULT_KAFKA_PYTHON[@]}"}

  # Readers go on while the ends of the logs are read by others.
  patience=$((seconds * 2 + 500))
  start_reader tail "$(topic_names)" --tail "$WORK/history/stop"
  local reader
  for reader in ${FAULT_READERS[@]+"${FAULT_READERS[@]}"}; do
    case $reader in
      java)
        JAVA_CLIENT_SECONDS=$patience java_client HistoryReader --history "$WORK/history/tail-java.jsonl" --reader tail-java \
          --topics "$(topic_names)" --tail "$WORK/history/stop" >"$WORK/tail-java.log" 2>&1 &
        readers+=("$!:tail-java")
        ;;
      kafka-python) start_reader tail-kafka-python "$(topic_names | sed 's/.*,//')" --client kafka-python --tail "$WORK/history/stop" ;;
      ends) start_reader ends "$(topic_names)" --ends "$WORK/history/stop" ;;
      *) fail "no such reader: $reader" ;;
    esac
  done
}

# start_python_producers NAME RATE PRODUCER...
start_python_producers() {
  local name=$1 rate=$2
  shift 2
  (($#)) || return 0
  PYTHON_CLIENT_SECONDS=$patience python_client producers.py --bootstrap "$BOOTSTRAP" --history "$WORK/history/$name.jsonl" \
    "${common[@]}" --rate "$rate" $(printf -- '--producer %s ' "$@") >"$WORK/$name.log" 2>&1 &
  clients+=("$!:$name")
}

# start_reader NAME TOPICS ARGS...
start_reader() {
  local name=$1 topics=$2
  shift 2
  PYTHON_CLIENT_SECONDS=$patience python_client reader.py --bootstrap "$BOOTSTRAP" --history "$WORK/history/$name.jsonl" \
    --reader "$name" --topics "$topics" "$@" >"$WORK/$name.log" 2>&1 &
  readers+=("$!:$name")
}

topic_names() { printf '%s' "$FAULT_TOPICS" | sed 's/:[0-9]*//g'; }

# shuffled WORDS...: one a line, in an order that follows from RANDOM.
shuffled() {
  local words=("$@") at with
  for ((at = ${#words[@]} - 1; at > 0; at--)); do
    with=$((RANDOM % (at + 1)))
    printf '%s\n' "${words[with]}"
    words[with]=${words[at]}
  done
  printf '%s\n' "${words[0]}"
}

# The newest acknowledgement that a history shows, in us; histories are written in pieces, so it is a little late.
newest_ack() {
  local file
  for file in "$WORK"/history/{java,librdkafka,kafka-python}.jsonl; do
    [ ! -f "$file" ] || tail -c 65536 "$file" | grep '"event":"ok"' | tail -n 1
  done | sed 's/.*"us":\([0-9]*\).*/\1/' | sort -n | tail -n 1
}
acked_since() { [ "$(newest_ack)" -gt "$1" ] 2>/dev/null; }
wait_for_acks() { wait_until 60 'an acknowledgement between two faults' acked_since "$(now_us)"; }
