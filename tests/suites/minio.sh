#!/usr/bin/env bash
# Shows: on a real S3 server and on a local directory: clients are served, data outlives a kill, deleted bytes leave the bucket
# Needs: binary java kcat python minio
# Usual: 195 s
# Budget: 600 s
source "$(dirname "$0")/../lib/suite.sh"
source "$ROOT/tests/lib/exchange.sh"
is_tidegate || fail 'this suite looks into the bucket: it needs BROKER=tidegate'

CODECS=(none gzip snappy lz4 zstd)
GONE_SECONDS=90

write_everything() {
  local codec
  step "$BUCKET_MEDIUM: kcat in each codec"
  for codec in "${CODECS[@]}"; do
    admin create "codec-$codec:1"
    lines 20000 "$codec" >"$WORK/sent-$codec"
    kcat_write "codec-$codec" "$WORK/sent-$codec" -z "$codec"
  done
  step "$BUCKET_MEDIUM: Java in each codec and size, producer-perf-test"
  admin create round-trip:1 large:1:max.message.bytes=2097152 perf:3
  java_client RoundTrip --topic round-trip --large-topic large
  kafka_producer_perf --topic perf --num-records 50000 --record-size 1000 --throughput -1 \
    --producer-props "bootstrap.servers=$BOOTSTRAP" acks=all compression.type=none >"$WORK/perf"
  grep -q '^50000 records sent' "$WORK/perf" || fail 'kafka-producer-perf-test did not send 50000 records'
}

read_everything() {
  local codec
  for codec in "${CODECS[@]}"; do
    kcat_read "codec-$codec" >"$WORK/got"
    same "codec $codec" "$WORK/sent-$codec" "$WORK/got"
  done
  snapshot "$1" round-trip,large,perf
}

survives_kills() {
  step "$BUCKET_MEDIUM: reading it all, then a kill while some of it is only in the WAL"
  read_everything before
  admin create tail:1
  lines 3000 tail >"$WORK/sent-tail"
  kcat_write tail "$WORK/sent-tail"
  broker_kill
  broker_start
  read_everything after
  same 'after the kill' "$WORK/before" "$WORK/after"
  kcat_read tail >"$WORK/got"
  same 'the records written just before the kill' "$WORK/sent-tail" "$WORK/got"

  step "$BUCKET_MEDIUM: everything uploaded, a kill, and reading it from the bucket"
  wait_until 60 'the upload backlog at 0' no_backlog
  # 50,000 records of 1,000 bytes, in a codec that leaves them as they are.
  (($(data_bytes) >= 50000000)) || fail "the bucket lists $(data_bytes) bytes of data, and 50 MB were written"
  broker_kill
  broker_start
  read_everything after
  same 'from the bucket' "$WORK/before" "$WORK/after"
}

bytes_leave() {
  local before
  step "$BUCKET_MEDIUM: DeleteRecords and retention free the bucket"
  wait_until 60 'the upload backlog at 0' no_backlog
  before=$(data_bytes)
  admin create emptied:1 expiring:1
  for topic in emptied expiring; do
    kafka_producer_perf --topic "$topic" --num-records 20000 --record-size 1000 --throughput -1 \
      --producer-props "bootstrap.servers=$BOOTSTRAP" acks=all >"$WORK/perf"
  done
  wait_until 60 'the upload backlog at 0' no_backlog
  (($(data_bytes) >= before + 40000000)) || fail '40 MB were written, and the bucket grew by less'
  echo '{"partitions":[{"topic":"emptied","partition":0,"offset":-1}],"version":1}' >"$WORK/delete.json"
  kafka_delete_records --offset-json-file "$WORK/delete.json"
  kafka_configs --entity-type topics --entity-name expiring --alter --add-config retention.ms=1000
  wait_until "$GONE_SECONDS" 'the bytes of both topics gone from the bucket' data_bytes_below $((before + 4000000))
  expect 'the start of the emptied topic' 'emptied:0:20000' "$(kafka_get_offsets --topic emptied --time earliest)"
  expect 'the start of the expired topic' 'expiring:0:20000' "$(kafka_get_offsets --topic expiring --time earliest)"
  read_everything after
  same 'the other topics after the deletions' "$WORK/before" "$WORK/after"

  step "$BUCKET_MEDIUM: every topic deleted, no data object left"
  admin delete-all
  if ! (wait_until "$GONE_SECONDS" 'an empty bucket' no_data_objects); then
    data_objects >&2
    fail 'these data objects are still listed, though every topic is deleted'
  fi
  # A new start brings nothing back.
  broker_kill
  broker_start
  no_data_objects || fail 'a start made data objects out of no topics'
  expect 'the topics after all were deleted' '' "$(kafka_topics --list)"
}

# Uploads and deletions soon, so that a suite sees them.
settings=(storage.upload.bytes=4194304 storage.upload.age.ms=1000 storage.object.delete.grace.ms=2000 log.retention.check.interval.ms=1000)

store_new
for BUCKET_MEDIUM in minio local; do
  medium=()
  [ "$BUCKET_MEDIUM" = local ] || mapfile -t medium < <(store_settings)
  broker_new "${settings[@]}" ${medium[@]+"${medium[@]}"}
  broker_start
  write_everything
  survives_kills
  bytes_leave
done
step 'done'
