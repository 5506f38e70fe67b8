#!/usr/bin/env bash
# Shows: librdkafka's own tests, as its crate carries them: those of tests/compat/rdkafka.allow pass (a part of them without --full)
# Needs: binary python java rdkafka
# Usual: 80 s
# Usual full: 600 s
# Budget: 300 s
# Budget full: 1800 s
#
# tests/compat/rdkafka.findings says of each other test why it is left out. RDKAFKA_ONLY=0030,0081 runs only these.
source "$(dirname "$0")/../lib/suite.sh"

full=()
((FULL)) && full=(--full)
# rdkafka_tests SCENARIO: on the broker that runs.
rdkafka_tests() {
  step "librdkafka's tests, scenario $1"
  PYTHON_CLIENT_SECONDS=$((FULL ? 1500 : 270)) python_client rdkafka.py --runner "$RDKAFKA_SRC/tests" --kafka "$RDKAFKA_DIR/kafka" \
    --lists "$ROOT/tests/compat" --work "$WORK" --ran "$WORK/ran" --bootstrap "$BOOTSTRAP" --scenario "$1" --only "${RDKAFKA_ONLY:-}" \
    ${full[@]+"${full[@]}"} >"$WORK/outcome" || { cat "$WORK/outcome" >&2; fail "librdkafka's tests, scenario $1 (above)"; }
  cat "$WORK/outcome"
  step "$(tail -n 1 "$WORK/outcome")"
}

if ((FULL)); then
  broker_new num.partitions=4 auto.create.topics.enable=false group.initial.rebalance.delay.ms=0
  broker_start
  rdkafka_tests noautocreate
fi
broker_new num.partitions=4 auto.create.topics.enable=true group.initial.rebalance.delay.ms=0
broker_start
rdkafka_tests default

step 'rdkafka_performance: 200,000 records of 100 B, written and read'
admin create performance:3
performance() { LD_LIBRARY_PATH=$RDKAFKA_SRC/src timeout "$CLIENT_SECONDS" "$RDKAFKA_SRC/examples/rdkafka_performance" -b "$BOOTSTRAP" "$@"; }
performance -P -t performance -s 100 -c 200000 -a -1 -X enable.idempotence=true >"$WORK/written" 2>&1
grep -q '200000 delivered .* 0 failed' "$WORK/written" || { tail -n 5 "$WORK/written" >&2; fail 'not every record was delivered'; }
performance -G performance -t performance -c 200000 -X auto.offset.reset=earliest >"$WORK/read" 2>&1
grep -qE '200000 messages' "$WORK/read" || { tail -n 5 "$WORK/read" >&2; fail 'not every record was read'; }
ran performance
step 'done'
