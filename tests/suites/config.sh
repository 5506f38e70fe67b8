#!/usr/bin/env bash
# Shows: settings win in order (file, environment, --set); each start that must be refused ends with one clear line and not with 0
# Needs: binary kcat python minio
# Usual: 13 s
# Budget: 240 s
source "$(dirname "$0")/../lib/suite.sh"
is_tidegate || fail 'this suite is about the binary itself: it needs BROKER=tidegate'

# tidegate ARGS...: no environment variable of the caller's may stand for a setting.
tidegate() { timeout 60 "$BINARY" "$@"; }

# refused WHAT PATTERN COMMAND...: ends with an error, and exactly one line says why, in words that PATTERN finds.
refused() {
  local what=$1 pattern=$2 status=0 lines
  shift 2
  "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
  printf -- '-- %s: status %s\n' "$what" "$status"
  cat "$WORK/err"
  ((status != 0)) || fail "$what: the start was not refused"
  ((status != 124)) || fail "$what: not refused within a minute"
  ((status < 128)) || fail "$what: ended by signal $((status - 128)) instead of refusing"
  if grep -qE 'panicked at|stack backtrace|RUST_BACKTRACE' "$WORK/err"; then fail "$what: a panic is no clear line"; fi
  # What tracing logs before begins with a time or a brace; the reason itself does not.
  lines=$(grep -cvE '^([0-9]{4}-|\{)' "$WORK/err" || true)
  expect "lines that say why ($what)" 1 "$lines"
  grep -vE '^([0-9]{4}-|\{)' "$WORK/err" | grep -qE -e "$pattern" || fail "$what: the line does not match: $pattern"
}

# start_args [KEY=VALUE...]: the arguments of this suite's broker, with more settings.
run_with() {
  local args
  mapfile -t args < <(BROKER_SETTINGS+=("$@"); tidegate_args)
  tidegate "${args[@]}"
}

broker_new
step 'config explain'
tidegate config explain >"$WORK/explained"
for key in listeners data.dir wal.bytes.max storage.url storage.upload.bytes storage.object.delete.grace.ms admin.listener shutdown.timeout.ms message.max.bytes; do
  grep -q "^ *$key\b" "$WORK/explained" || fail "config explain does not show $key"
done
tidegate config explain wal.bytes.max >"$WORK/explained"
grep -q 8589934592 "$WORK/explained" || fail 'config explain wal.bytes.max does not show its default'
refused 'explaining an unknown key' 'wal\.bytes\.maximum' tidegate config explain wal.bytes.maximum

step 'refused settings'
refused 'an unknown key' 'wal\.bytes\.maximum.*wal\.bytes\.max' run_with wal.bytes.maximum=1
refused 'a value that is no number' '--set.*storage\.upload\.bytes=lots' run_with storage.upload.bytes=lots
refused 'a value out of bounds' 'storage\.upload\.bytes=1\b' run_with storage.upload.bytes=1
refused 'a setting without =' 'wal\.bytes\.max' run_with wal.bytes.max
refused '0.0.0.0 advertised' 'advertised\.listeners.*0\.0\.0\.0' run_with advertised.listeners="PLAINTEXT://0.0.0.0:$BROKER_PORT"
refused 'an SSL listener' 'SSL' run_with "listeners=SSL://127.0.0.1:$BROKER_PORT" "advertised.listeners=SSL://127.0.0.1:$BROKER_PORT"
printf '# of a Kafka user\nnum.partitions=2\nlog.retention.hours=never\n' >"$WORK/bad.properties"
refused 'a bad value in a file' 'bad\.properties:3.*log\.retention\.hours=never' tidegate --config "$WORK/bad.properties"
refused 'a file that is not there' 'absent\.toml' tidegate --config "$WORK/absent.toml"
export TIDEGATE_WAL_BYTES_MAX=plenty
refused 'a bad value in the environment' 'TIDEGATE_WAL_BYTES_MAX.*plenty' run_with
unset TIDEGATE_WAL_BYTES_MAX

step 'defaults < file < environment < --set'
printf 'num.partitions=2\nnum.io.threads=8\n' >"$WORK/kafka.properties"
partitions_of_a_new_topic() {
  local name=$1
  echo x | kc -P -t "$name"
  kcat -b "$BOOTSTRAP" -q -L -t "$name" | sed -n "s/.*topic \"$name\" with \([0-9]*\) partitions.*/\1/p"
}
# The file stands before the settings of tidegate_args, which do not name num.partitions.
tidegate_spawn() {
  local args
  mapfile -t args < <(tidegate_args)
  exec "$BINARY" --config "$WORK/kafka.properties" "${args[@]}"
}
broker_start
expect 'partitions by the file' 2 "$(partitions_of_a_new_topic by-file)"
broker_stop || fail "SIGTERM ended the broker with $?"
expect 'warnings about num.io.threads' 1 "$(grep -c 'num\.io\.threads has no effect' "$BROKER_LOG")"
export TIDEGATE_NUM_PARTITIONS=3
broker_start
expect 'partitions by the environment' 3 "$(partitions_of_a_new_topic by-environment)"
broker_kill
broker_config num.partitions=4
broker_start
expect 'partitions by --set' 4 "$(partitions_of_a_new_topic by-set)"
broker_kill
unset TIDEGATE_NUM_PARTITIONS

step 'two listeners, each answers with its own address'
broker_new
second=$(free_port)
broker_config "listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT,OTHER://127.0.0.1:$second" \
  "advertised.listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT,OTHER://localhost:$second" \
  'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT'
printf '' >"$WORK/kafka.properties"
broker_start
kcat -b "127.0.0.1:$BROKER_PORT" -q -L | grep -q "broker [0-9]* at 127.0.0.1:$BROKER_PORT" || fail 'the first listener names another address'
kcat -b "127.0.0.1:$second" -q -L | grep -q "broker [0-9]* at localhost:$second" || fail 'the second listener names another address'
curl -sf --max-time 5 "http://127.0.0.1:$ADMIN_PORT/healthz" >/dev/null || fail '/healthz does not answer'

step 'a data directory and a port in use'
refused 'a data directory in use' "data\.dir=$BROKER_DATA.*in use" \
  run_with "listeners=PLAINTEXT://127.0.0.1:$(free_port)" "advertised.listeners=PLAINTEXT://127.0.0.1:1" "admin.listener=127.0.0.1:$(free_port)"
refused 'a port in use' "127\.0\.0\.1:$BROKER_PORT" \
  run_with "data.dir=$BROKER_DIR/other" "storage.url=file://$BROKER_DIR/other-bucket" "admin.listener=127.0.0.1:$(free_port)"
other=$(free_port)
refused 'an admin port in use' "admin\.listener.*127\.0\.0\.1:$ADMIN_PORT|127\.0\.0\.1:$ADMIN_PORT.*admin" \
  run_with "data.dir=$BROKER_DIR/third" "storage.url=file://$BROKER_DIR/third-bucket" \
  "listeners=PLAINTEXT://127.0.0.1:$other" "advertised.listeners=PLAINTEXT://127.0.0.1:$other"
lines=$(printf 'still here\n'; printf 'and served\n')
printf '%s\n' "$lines" | kc -P -t still -p 0
expect 'what the running broker serves after the others were refused' "$lines" "$(kc -C -t still -p 0 -o beginning -e)"

step 'data directories and buckets of other clusters'
broker_kill
broker_new
broker_start
broker_kill
mine=$BROKER_DATA my_bucket=$BROKER_BUCKET
BROKER_DATA=$BROKER_DIR/data2 BROKER_BUCKET=$BROKER_DIR/bucket2
broker_start
broker_kill
refused "another cluster's bucket" 'cluster' run_with "data.dir=$mine" "storage.url=file://$BROKER_BUCKET"
refused 'an empty bucket for a data directory with data' 'cluster\.json' run_with "data.dir=$mine" "storage.url=file://$BROKER_DIR/empty"
refused 'an empty data directory for a bucket with data' 'bucket|cluster' run_with "data.dir=$BROKER_DIR/data3" "storage.url=file://$my_bucket"
python3 -c 'import json, sys
path = sys.argv[1] + "/node.json"
mark = json.load(open(path))
mark["format_version"] += 1
json.dump(mark, open(path, "w"))' "$BROKER_DATA"
refused 'a data directory of a newer format' 'format 2.*up to 1' run_with

step 'buckets that are not to be had'
store_new
mapfile -t medium < <(store_settings)
broker_new "${medium[@]}"
refused 'a missing bucket' 'bucket.*absent.*does not exist' run_with storage.url=s3://absent/cluster
with_wrong_credentials() { AWS_ACCESS_KEY_ID=nobody AWS_SECRET_ACCESS_KEY=wrong run_with; }
refused 'credentials that are wrong' 'credentials' with_wrong_credentials
store_stop
refused 'a store that does not answer' "127\.0\.0\.1:$STORE_PORT|storage" run_with
step 'done'
