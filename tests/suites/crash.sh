#!/usr/bin/env bash
# Shows: WAL, Raft log and their recovery cut short at every operation times what was not synced; every flipped byte is found or harmless
# Needs: binary
# Usual: 60 s
# Budget: 120 s
# Usual full: 1200 s
# Budget full: 5400 s
source "$(dirname "$0")/../lib/suite.sh"

WANTED=10000
FLAGS=()
if ((FULL)); then
  WANTED=1000000
  FLAGS=(--full)
fi

step 'crash states and flips'
"$ROOT/target/ci/crash" "${FLAGS[@]}" | tee "$WORK/seen.txt" || fail 'a state was recovered wrongly; its line says which'
states=$(sed -n 's/^\([0-9]*\) states, [0-9]* flips$/\1/p' "$WORK/seen.txt")
step "$(tail -n 1 "$WORK/seen.txt")"
((states >= WANTED)) || fail "$states states, $WANTED are wanted"
