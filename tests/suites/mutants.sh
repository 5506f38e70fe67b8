#!/usr/bin/env bash
# Shows: the suites catch planted bugs, three drawn at random; the broker's binary holds none of them
# Needs: binary
# Usual: 60 s
# Budget: 180 s
# Usual full: 900 s
# Budget full: 5400 s
source "$(dirname "$0")/../lib/suite.sh"

SIM=$ROOT/target/ci/sim
CRASH=$ROOT/target/ci/crash
# A mutant that its suite did not catch within this time was not caught.
LIMIT=60
((FULL)) && LIMIT=600

"$CRASH" --mutants >"$WORK/table.txt"
count=$(wc -l <"$WORK/table.txt")
((count >= 20)) || fail "this build names $count mutants"

step 'the binary holds no mutant'
# The names are strings of the branches; the simulation's own binary shows that looking for them finds them.
while read -r name _; do
  grep -qaF -- "$name" "$SIM" || fail "$name is not in the build that should hold it"
  ! grep -qaF -- "$name" "$BINARY" || fail "$BINARY holds the mutant $name"
done <"$WORK/table.txt"

# Where cargo put the runner of a crate's own tests.
(cd "$ROOT" && cargo test "${CARGO_SELECTION[@]}" --no-run) >"$WORK/runners.txt" 2>&1 || fail 'the tests do not build'
runner() { sed -n "s|.*Executable unittests src/lib.rs (\(.*/tidegate_$1-[0-9a-f]*\))|$ROOT/\1|p" "$WORK/runners.txt"; }

# run_mutant NAME KIND ARGUMENTS...: runs its suite with it. 0: caught.
run_mutant() {
  local name=$1 kind=$2 log=$WORK/$1.log status=0 begun took
  shift 2
  begun=$(now_ms)
  case $kind in
    crash) timeout "$LIMIT" "$CRASH" "$@" --mutant "$name" >"$log" 2>&1 || status=$? ;;
    sim) timeout "$LIMIT" "$SIM" --count "$1" --until-failure --mutant "$name" >"$log" 2>&1 || status=$? ;;
    unit) timeout "$LIMIT" "$(runner "$1")" "$2" --skip "mutant=$name" >"$log" 2>&1 || status=$? ;;
    *) fail "the suite $kind of $name is not known" ;;
  esac
  took=$((($(now_ms) - begun) / 100))
  # Any other end (a runner that found no test, a mutant unknown to it, no verdict in time) is not a catch.
  if ((status != 0)) && grep -qE 'FAILED|panicked at' "$log"; then
    local seeds=''
    [ "$kind" != sim ] || seeds=", $(grep -c '^seed' "$log" || true) seeds"
    step "caught    $name by $kind $* after $((took / 10)).$((took % 10)) s$seeds"
    return 0
  fi
  step "SURVIVED  $name: $kind $* ended with $status after $((took / 10)) s; $(grep -h '^reached' "$log" || echo 'reached: not said')"
  return 1
}

if ((FULL)); then
  chosen=$(cat "$WORK/table.txt")
else
  SEED=${TESTS_SEED:-$RANDOM}
  step "seed $SEED (TIDEGATE_SEED=$SEED repeats the choice)"
  chosen=$(shuf -n 3 --random-source=<(yes "$SEED" 2>/dev/null || true) "$WORK/table.txt")
fi
survivors=()
while read -r name suite; do
  # shellcheck disable=SC2086
  run_mutant "$name" $suite </dev/null || survivors+=("$name")
done <<<"$chosen"
((${#survivors[@]} == 0)) || fail "not caught: ${survivors[*]}"
