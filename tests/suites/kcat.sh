#!/usr/bin/env bash
# Shows: kcat writes and reads: metadata, each codec, keys, headers, tombstones, offsets, times
# Needs: binary kcat python
# Usual: 14 s
# Budget: 180 s
source "$(dirname "$0")/../lib/suite.sh"
source "$ROOT/tests/lib/exchange.sh"

broker_new
broker_start

step 'metadata'
admin create plain:3 headers:1 offsets:1 empty:1
kcat -b "$BOOTSTRAP" -q -L >"$WORK/metadata"
grep -q "broker [0-9]* at $BOOTSTRAP" "$WORK/metadata" || fail 'kcat -L names no broker at the advertised address'
grep -q 'topic "plain" with 3 partitions' "$WORK/metadata" || fail 'kcat -L does not show topic plain with 3 partitions'

step 'a topic that comes into being by its first record'
lines 1 auto >"$WORK/auto"
kcat_write made-by-kcat "$WORK/auto"
kcat_read made-by-kcat >"$WORK/got"
same 'the auto-created topic' "$WORK/auto" "$WORK/got"

for codec in none gzip snappy lz4 zstd; do
  step "codec $codec"
  admin create "codec-$codec:1"
  lines 5000 "$codec" >"$WORK/sent"
  kcat_write "codec-$codec" "$WORK/sent" -z "$codec"
  kcat_read "codec-$codec" >"$WORK/got"
  same "codec $codec" "$WORK/sent" "$WORK/got"
done

step 'keys, headers, tombstones, empty values'
printf 'k1\tv1\nk2\t\nk3\tv3\n' | kc -P -t headers -p 0 -K '\t' -Z -H first=1 -H second=two
printf 'k4\tv4\n' | kc -P -t headers -p 0 -K '\t'
printf 'k5\t\n' | kc -P -t headers -p 0 -K '\t'
kcat_read headers -f '%o|%k|%S|%s|%h\n' >"$WORK/got"
cat >"$WORK/sent" <<'ROWS'
0|k1|2|v1|first=1,second=two
1|k2|-1||first=1,second=two
2|k3|2|v3|first=1,second=two
3|k4|2|v4|
4|k5|0||
ROWS
same 'keys, headers, tombstones' "$WORK/sent" "$WORK/got"

step 'offsets'
lines 100 offsets >"$WORK/sent"
kcat_write offsets "$WORK/sent"
expect 'the record at offset 42' "$(sed -n 43p "$WORK/sent")" "$(kc -C -t offsets -p 0 -o 42 -c 1)"
expect 'the last two records' "$(tail -n 2 "$WORK/sent")" "$(kc -C -t offsets -p 0 -o -2 -e)"
expect 'the end of a topic' '' "$(kc -C -t offsets -p 0 -o end -e)"
expect 'an empty topic' '' "$(kcat_read empty)"
expect 'the offset for the time 0' 'offsets [0] offset 0' "$(kcat -b "$BOOTSTRAP" -q -Q -t offsets:0:0)"
expect 'the offset for the latest' 'offsets [0] offset 100' "$(kcat -b "$BOOTSTRAP" -q -Q -t offsets:0:-1)"

step 'a reader that waits is given a record when it comes'
seen=$WORK/seen-by-waiting
: >"$seen"
timeout 60 kcat -b "$BOOTSTRAP" -q -C -t offsets -p 0 -o end -c 1 -u >>"$seen" &
waiting=$!
# Records are sent until one is seen: when the reader has found the end is its own affair.
until [ -s "$seen" ] || ! kill -0 "$waiting" 2>/dev/null; do
  echo 'while you wait' | kc -P -t offsets -p 0
done
wait "$waiting" || fail 'the waiting reader saw nothing'
expect 'what the waiting reader saw' 'while you wait' "$(cat "$seen")"

step 'everything is still there after a kill and a new start'
kc -C -t headers -p 0 -o beginning -e -f '%o|%k|%S|%s|%h\n' >"$WORK/before"
broker_kill
broker_start
kcat_read headers -f '%o|%k|%S|%s|%h\n' >"$WORK/got"
same 'the topic with headers after the kill' "$WORK/before" "$WORK/got"
for codec in none gzip snappy lz4 zstd; do
  lines 5000 "$codec" >"$WORK/sent"
  kcat_read "codec-$codec" >"$WORK/got"
  same "codec $codec after the kill" "$WORK/sent" "$WORK/got"
done
step 'done'
