#!/usr/bin/env bash
# Shows: the bucket is gone for 30 s (120 s with --full) at 20 MB/s: no client sees an error, the backlog is 0 within 120 s after
# Needs: binary java python minio
# Usual: 85 s
# Usual full: 220 s
# Budget: 400 s
# Budget full: 700 s
source "$(dirname "$0")/../lib/suite.sh"
source "$ROOT/tests/lib/exchange.sh"
is_tidegate || fail 'this suite takes the bucket away: it needs BROKER=tidegate'

outage=30
((FULL)) && outage=120
mb_per_second=20
before=10 after=10

store_new
mapfile -t medium < <(store_settings)
broker_new storage.upload.bytes=16777216 storage.upload.age.ms=2000 "${medium[@]}"
broker_start
admin create load:4

step "$mb_per_second MB/s with a reader at the tail"
JAVA_CLIENT_SECONDS=$((outage + 240)) java_client Load --topic load --partitions 4 \
  --mb-per-second "$mb_per_second" --seconds $((before + outage + after)) >"$WORK/load.out" &
load=$!
data_objects_are_there() { [ -n "$(data_objects)" ]; }
wait_until 60 'a first object in the bucket' data_objects_are_there
sleep "$before"

step "MinIO is killed for $outage s"
store_stop
sleep "$outage"
kill -0 "$load" 2>/dev/null || { cat "$WORK/load.out" >&2; fail 'the clients ended during the outage'; }
held=$(backlog)
# The fault must show its effect, or the run proves nothing.
((held > mb_per_second * outage * 500000)) || fail "the backlog was only $held bytes at the end of the outage"

step "MinIO is back, $((held / 1000000)) MB wait"
store_start
back=$(now_ms)
if ! wait "$load"; then
  cat "$WORK/load.out" >&2
  fail 'a client saw an error'
fi
step "$(tail -n 1 "$WORK/load.out")"
wait_until $((120 - ($(now_ms) - back) / 1000)) 'the backlog at 0 after the outage' no_backlog
step "the backlog is 0 after $((($(now_ms) - back) / 1000)) s"

step 'a kill, and reading it all from the bucket'
broker_kill
broker_start
JAVA_CLIENT_SECONDS=300 java_client ReadSpeed --topics load --records $((mb_per_second * 1000000 * (before + outage + after) / 8192))
step 'done'
