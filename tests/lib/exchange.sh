# What several suites do with a broker, whatever medium is under it: write with kcat and Java, read back, compare.
# shellcheck shell=bash

# Lines without a tab, so that they can be keys or values; different for every SEED.
lines() {
  local count=$1 seed=$2
  awk -v n="$count" -v seed="$seed" 'BEGIN { srand(seed); for (i = 1; i <= n; i++) printf "%s-%d-%d\n", seed, i, int(rand() * 1e9) }'
}

# kcat_write TOPIC FILE [OPTIONS...]: one record a line, idempotent.
kcat_write() {
  local topic=$1 file=$2
  shift 2
  kc -P -t "$topic" -p 0 -X enable.idempotence=true "$@" <"$file"
}

# kcat_read TOPIC [OPTIONS...]: partition 0 from the beginning to its end.
kcat_read() {
  local topic=$1
  shift
  kc -C -t "$topic" -p 0 -o beginning -e -X check.crcs=true "$@"
}

# same WHAT WANTED_FILE GOT_FILE
same() {
  cmp -s "$2" "$3" || {
    diff "$2" "$3" | head -n 10 >&2 || true
    fail "$1: $(wc -l <"$3") lines came back, $(wc -l <"$2") were wanted, or they differ"
  }
}

# snapshot NAME TOPICS: every record of the topics, offset by offset, into the file $WORK/NAME.
snapshot() {
  local name=$1 topics=$2
  rm -f "$WORK/$name.jsonl"
  java_client HistoryReader --history "$WORK/$name.jsonl" --reader snapshot --topics "$topics"
  sed 's/"us":[0-9]*,//; s/"poll":[0-9]*,//' "$WORK/$name.jsonl" | sort >"$WORK/$name"
  [ -s "$WORK/$name" ] || fail "reading $topics gave nothing"
}
