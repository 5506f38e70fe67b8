#!/usr/bin/env bash
# Shows: SIGTERM answers what is in flight, uploads, ends with 0 within shutdown.timeout.ms; also while the bucket is away
# Needs: binary harness java kcat python minio
# Usual: 45 s
# Budget: 300 s
source "$(dirname "$0")/../lib/suite.sh"
source "$ROOT/tests/lib/exchange.sh"
source "$ROOT/tests/lib/faults.sh"

# A JVM that is asked to end says 143.
wanted=0
is_tidegate || wanted=143
stop_in_order() {
  local status=0 started
  started=$(now_ms)
  broker_stop 40 || status=$?
  expect 'exit status after SIGTERM' "$wanted" "$status"
  printf 'ended %s ms after SIGTERM\n' $(($(now_ms) - started))
}

step 'clients write and read through orderly restarts'
broker_new
broker_start
fault_loop 20 terminate

if is_tidegate; then
  step 'requests in flight are answered'
  broker_new
  broker_start
  admin create in-flight:2
  for _ in 1 2 3 4 5; do
    python_client in_flight.py --bootstrap "$BOOTSTRAP" --topic in-flight --terminate "$BROKER_PID" --acked "$WORK/acked"
    stop_in_order
    broker_start
  done
  kcat_read in-flight -f '%o %k\n' >"$WORK/got"
  while read -r row; do
    grep -qxF "$row" "$WORK/got" || fail "acknowledged before SIGTERM and not there after it: $row"
  done <"$WORK/acked"

  step 'what is acknowledged is in the bucket after the end'
  BUCKET_MEDIUM=local
  # Neither size nor age would start an upload.
  broker_new storage.upload.bytes=1073741824 storage.upload.age.ms=3600000
  broker_start
  admin create uploaded:1
  kafka_producer_perf --topic uploaded --num-records 20000 --record-size 1000 --throughput -1 \
    --producer-props "bootstrap.servers=$BOOTSTRAP" acks=all >"$WORK/perf"
  no_data_objects || fail 'something was uploaded before SIGTERM: the test shows nothing'
  stop_in_order
  (($(data_bytes) >= 20000000)) || fail "20 MB were acknowledged, and the bucket lists $(data_bytes) bytes"
  broker_start
  java_client ReadSpeed --topics uploaded --records 20000

  step 'the bucket is away: an end in time all the same, and nothing lost'
  store_new
  mapfile -t medium < <(store_settings)
  broker_new shutdown.timeout.ms=3000 storage.upload.bytes=1073741824 storage.upload.age.ms=3600000 "${medium[@]}"
  broker_start
  admin create kept:1
  lines 5000 kept >"$WORK/sent"
  kcat_write kept "$WORK/sent"
  store_stop
  started=$(now_ms)
  stop_in_order
  took=$(($(now_ms) - started))
  ((took < 8000)) || fail "with shutdown.timeout.ms=3000 the end took $took ms"
  store_start
  broker_start
  kcat_read kept >"$WORK/got"
  same 'the records that only the WAL had' "$WORK/sent" "$WORK/got"
fi
step 'done'
