#!/usr/bin/env bash
# Shows: 10^6 acknowledged records of librdkafka, Java and kafka-python, a fault every few seconds: none lost, changed, reordered
# Needs: binary harness java python minio strace
# Usual: 230 s
# Usual full: 4 h
# Budget: 600 s
# Budget full: 43200 s
#
# Faults: SIGKILL, SIGSTOP for longer than the lease, sync and write errors (strace), the bucket killed, slow, refusing
# with 503 and losing answers, connections cut in the middle of an answer or a request, whole answers lost; and on a
# broker of its own a full disk. Each is seen to take effect. With --full: the release binary, and rounds of these until
# 10^8 records are acknowledged; the topics and the history of a round go when it is judged, so disk and memory are bounded.
source "$(dirname "$0")/../lib/suite.sh"
# The small disk is mounted in a namespace of the suite's own, and gone with it.
if [ "${FAULTS_NAMESPACE:-}" != own ]; then
  FAULTS_NAMESPACE=own exec unshare --mount --propagation private bash "$0"
fi
source "$ROOT/tests/lib/proxy.sh"
source "$ROOT/tests/lib/faults.sh"
source "$ROOT/tests/lib/full_disk.sh"
is_tidegate || fail 'this suite breaks the disk and the bucket under Tidegate: it needs BROKER=tidegate'

if ((FULL)) && [ -z "$TESTS_BINARY" ]; then
  step 'building the release binary'
  (cd "$ROOT" && cargo build --release --locked --bin tidegate)
  BINARY=$ROOT/target/release/tidegate
fi

FAULT_SIZES=small
FAULT_JAVA=java0:idempotent:zstd,java1:plain:none,hasty0:hasty:snappy
FAULT_LIBRDKAFKA=(py0:librdkafka:idempotent:lz4 py1:librdkafka:plain:none)
FAULT_KAFKA_PYTHON=(kp0:kafka-python:idempotent:gzip kp1:kafka-python:plain:none)
FAULT_RATE_JAVA=2400 FAULT_RATE_LIBRDKAFKA=700 FAULT_RATE_KAFKA_PYTHON=100
FAULT_READERS=(java kafka-python ends)
FAULT_PAUSE=(200 1000)
KINDS=(kill pause sync_error write_error store_stop store_slow store_refuse store_lose cut_answer lose_answer cut_request)
# Small uploads and segments, so that faults also hit the way from WAL to bucket, roll-over and cleaning up.
settings=(storage.upload.bytes=1048576 storage.upload.age.ms=1000 storage.object.delete.grace.ms=2000
  wal.segment.bytes=8388608 storage.request.timeout.ms=4000)

step 'a full disk'
FAULT_TOPICS=full-a:3,full-b:1
full_disk

store_new
store_proxy
broker_new "${settings[@]}" "storage.url=s3://$STORE_BUCKET/cluster" "storage.endpoint=http://127.0.0.1:$STORE_PROXY_PORT"
client_proxy
broker_start

if ((!FULL)); then
  step 'every other fault'
  FAULT_TOPICS=load-a:7,load-b:1
  FAULT_RECORDS_MIN=1000000
  fault_loop 155 "${KINDS[@]}"
  sed -n '2,$p' "$WORK/verdict" | while read -r line; do step "$line"; done
else
  FAULT_RATE_JAVA=6000 FAULT_RATE_LIBRDKAFKA=1500
  FAULT_PAUSE=(2000 6000)
  wanted=${FAULTS_RECORDS:-100000000} total=0 round=0
  while ((total < wanted)); do
    round=$((round + 1))
    FAULT_TOPICS=round$round-a:7,round$round-b:1
    fault_loop "${FAULTS_ROUND_SECONDS:-300}" "${KINDS[@]}"
    total=$((total + $(awk 'NR == 1 { print $1 }' "$WORK/verdict")))
    grep '^fault' "$WORK/verdict" >>"$WORK/faults-of-all-rounds"
    # shellcheck disable=SC2046
    admin delete $(topic_names | tr ',' ' ')
    rm -rf "$WORK/history"
    step "round $round: $total of $wanted records; $(grep slowest "$WORK/verdict"); broker $(rss_mb) MB, bucket $(($(data_bytes) / 1000000)) MB"
  done
  step "$(awk '{ count[$2] += $3 } END { for (kind in count) printf "%s %d, ", kind, count[kind] }' "$WORK/faults-of-all-rounds")"
fi
step 'done'
