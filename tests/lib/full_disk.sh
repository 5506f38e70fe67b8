# A full disk under data.dir: a small tmpfs, and somebody else who takes every byte that comes free.
#
# Holds: what is full is seen in the file system and in the broker's answers, or the run fails.
# shellcheck shell=bash

DISK_MB=224
DISK_FULL_SECONDS=6

# Uploads are rare here: they free the WAL, and one that is freed in time needs no space.
#
# full_disk: on a broker of its own, with the clients of fault_loop. Needs a mount namespace of the suite's own.
full_disk() {
  local disk=$WORK/disk
  mkdir -p "$disk"
  mount -t tmpfs -o "size=${DISK_MB}m" tidegate-small "$disk"
  broker_new "data.dir=$disk/data" wal.segment.bytes=4194304 wal.bytes.max=134217728 \
    storage.upload.bytes=67108864 storage.upload.age.ms=15000
  broker_start
  fault_loop 30 disk_full disk_full kill
  broker_kill
  umount "$disk"
}

fault_disk_full() {
  local filler refused complaints
  refused=$(produce_errors) complaints=$(space_complaints)
  fill_disk "$WORK/disk" &
  filler=$!
  wait_until 20 'the disk is full' disk_is_full "$WORK/disk"
  # Retriable errors: the clients go on, and lose nothing.
  wait_until 30 'the broker finds no space' space_complaints_above "$complaints"
  wait_until 30 'producers are refused' produce_errors_above "$refused"
  sleep "$DISK_FULL_SECONDS"
  disk_is_full "$WORK/disk" || fail 'the disk did not stay full'
  broker_alive || fail 'the broker ended because the disk was full'
  end_process "$filler" 5 || true
  : >"$WORK/disk/filler"
}

# Takes what is free, again and again, until it is ended.
fill_disk() {
  exec python3 -IS - "$1/filler" <<'PYTHON'
import sys, time
with open(sys.argv[1], "ab", buffering=0) as file:
    while True:
        try:
            file.write(bytes(64 * 1024))
        except OSError:
            time.sleep(0.2)
PYTHON
}
disk_is_full() { (($(df --output=avail -k "$1" | tail -n 1) < 64)); }
produce_errors() {
  curl -sf --max-time 5 "http://127.0.0.1:$ADMIN_PORT/metrics" |
    awk '/^tidegate_request_errors_total/ && tolower($0) ~ /api="produce"/ { sum += $2 } END { printf "%d\n", sum }'
}
space_complaints() { grep -c 'No space left on device' "$BROKER_LOG" || true; }
space_complaints_above() { (($(space_complaints) > $1)); }
produce_errors_above() { (($(produce_errors) > $1)); }
