# The bucket of the broker under test: a MinIO server of the suite's own, or a local directory.
#
# Owns: one MinIO process on loopback, its data in $WORK/minio.
# Holds: what a suite says about bytes in a bucket comes from listing it, never from the broker.
# shellcheck shell=bash

STORE_PID='' STORE_PORT='' STORE_BUCKET=tide
# Which medium bucket_list looks at: minio or local.
BUCKET_MEDIUM=minio
export AWS_ACCESS_KEY_ID=tide AWS_SECRET_ACCESS_KEY=tidegate123 AWS_REGION=us-east-1

store_new() {
  STORE_PORT=$(free_port)
  mkdir -p "$WORK/minio"
  store_start
  mc alias set store "http://127.0.0.1:$STORE_PORT" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >/dev/null
  mc mb "store/$STORE_BUCKET" >/dev/null
}

store_start() {
  MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_BROWSER=off MINIO_UPDATE=off \
    "$MINIO_BIN" server "$WORK/minio" --address "127.0.0.1:$STORE_PORT" --quiet >>"$WORK/minio.log" 2>&1 &
  STORE_PID=$!
  wait_until 30 'MinIO ready' store_ready
}

store_ready() { curl -sf -o /dev/null --max-time 2 "http://127.0.0.1:$STORE_PORT/minio/health/ready"; }

# SIGKILL: an outage announces nothing.
store_stop() {
  [ -n "$STORE_PID" ] || return 0
  kill -KILL "$STORE_PID" 2>/dev/null || true
  wait "$STORE_PID" 2>/dev/null || true
  STORE_PID=''
}

mc() { MC_CONFIG_DIR=$WORK/mc timeout 60 "$MC_BIN" --quiet "$@"; }

# The settings that put a broker on this MinIO.
store_settings() { printf '%s\n' "storage.url=s3://$STORE_BUCKET/cluster" "storage.endpoint=http://127.0.0.1:$STORE_PORT"; }

# bucket_list: "SIZE KEY" of every object, keys relative to the cluster's prefix, sorted by key. Reads BUCKET_MEDIUM.
bucket_list() {
  case $BUCKET_MEDIUM in
    minio) mc ls --recursive --json "store/$STORE_BUCKET/cluster/" |
      python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    if row.get("status") == "success" and "key" in row: print(row["size"], row["key"])' ;;
    local) [ ! -d "$BROKER_BUCKET" ] || (cd "$BROKER_BUCKET" && find . -ignore_readdir_race -type f -printf '%s %P\n') ;;
    *) fail "no such medium: $BUCKET_MEDIUM" ;;
  esac | sort -k2
}

# Objects that hold records: all but the cluster's identity and what a killed probe of the store has left.
data_objects() { bucket_list | awk '$2 != "cluster.json" && $2 !~ /^probe\//'; }
data_bytes() { data_objects | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }
no_data_objects() { [ -z "$(data_objects)" ]; }
data_bytes_below() { (($(data_bytes) < $1)); }

# Everything that is acknowledged is in the bucket.
backlog() { metric tidegate_upload_backlog_bytes; }
no_backlog() { [ "$(backlog)" = 0 ]; }
