# The loads, by name. P, L and F as in the README: produce as fast as it goes, produce at a rate, fetch.
# shellcheck shell=bash

LOADS=(p-1m p-256k p-16k p-1k l-16k f-1m f-64k)

list_loads() {
  cat <<'TEXT'
p-1m    produce, closed loop: 1 connection x 5 in flight, batches of 1 MiB
p-256k  produce, closed loop: 4 connections x 4 in flight, batches of 256 KiB
p-16k   produce, closed loop: 16 connections x 4 in flight, batches of 16 KiB
p-1k    produce, closed loop: 64 connections x 4 in flight, one record of 1 KiB a batch
l-16k   produce, open loop: 1,000 requests/s of 16 KiB over 8 connections x 5 in flight
f-1m    fetch, closed loop: 4 connections, answers of up to 1 MiB, over 1 GiB again and again
f-64k   fetch, open loop: 1,000 requests/s over 8 connections x 2 in flight, answers of up to 64 KiB, over 1 GiB
All with 16 partitions and records of 1 KiB.
TEXT
}

is_load() { [[ " ${LOADS[*]} " == *" $1 "* ]]; }

# load_args LOAD: the arguments of raw, one a line.
load_args() {
  case $1 in
    p-1m) printf '%s\n' produce --connections 1 --in-flight 5 --batch-bytes 1048576 ;;
    p-256k) printf '%s\n' produce --connections 4 --in-flight 4 --batch-bytes 262144 ;;
    p-16k) printf '%s\n' produce --connections 16 --in-flight 4 --batch-bytes 16384 ;;
    p-1k) printf '%s\n' produce --connections 64 --in-flight 4 --batch-bytes 1024 ;;
    l-16k) printf '%s\n' produce --connections 8 --in-flight 5 --batch-bytes 16384 --rate 1000 ;;
    f-1m) printf '%s\n' fetch --connections 4 --in-flight 1 --batch-bytes 1048576 ;;
    f-64k) printf '%s\n' fetch --connections 8 --in-flight 2 --batch-bytes 65536 --rate 1000 ;;
    *) return 1 ;;
  esac
  printf '%s\n' --partitions 16 --record-bytes 1024 | { [[ $1 == f-* ]] && head -n 2 || cat; }
}

# fill_args LOAD: what a fetch load reads: 1 GiB at 100 MiB/s, in batches no larger than an answer.
fill_args() {
  case $1 in
    f-1m) printf '%s\n' --batch-bytes 1048576 --rate 100 ;;
    f-64k) printf '%s\n' --batch-bytes 16384 --rate 6400 ;;
    *) return 1 ;;
  esac
  printf '%s\n' --partitions 16 --connections 4 --in-flight 5 --seconds 10
}
