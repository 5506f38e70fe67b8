# Tidegate as the subject of a benchmark: release binary, file WAL, a local directory as the bucket.
# shellcheck shell=bash

tidegate_start() {
  local port admin setting args=()
  [ -x "$SUBJECT_BIN" ] || fail "there is no $SUBJECT_BIN"
  port=$(free_port) admin=$(free_port)
  SUBJECT_ADDRESS=127.0.0.1:$port
  for setting in "listeners=PLAINTEXT://$SUBJECT_ADDRESS" "advertised.listeners=PLAINTEXT://$SUBJECT_ADDRESS" \
    "data.dir=$DIR/tidegate" "storage.url=file://$DIR/bucket" wal.medium=file "admin.listener=127.0.0.1:$admin" \
    ${SUBJECT_SETTINGS[@]+"${SUBJECT_SETTINGS[@]}"}; do
    args+=(--set "$setting")
  done
  "${BROKER_CPU[@]}" "$SUBJECT_BIN" "${args[@]}" >"$DIR/tidegate.log" 2>&1 &
  SUBJECT_PID=$!
  wait_for_broker tidegate "$SUBJECT_PID" curl -sf -o /dev/null --max-time 2 "http://127.0.0.1:$admin/readyz"
}

# wait_for_broker NAME PID COMMAND...: until COMMAND succeeds; at once with the end of its log if the process ends.
wait_for_broker() {
  local name=$1 pid=$2 deadline
  shift 2
  deadline=$(($(now_ms) + 60000))
  until "$@" 2>/dev/null; do
    if ! kill -0 "$pid" 2>/dev/null || (($(now_ms) > deadline)); then
      tail -n 20 "$DIR/$name.log" >&2
      fail "$name did not start"
    fi
    sleep 0.1
  done
}
