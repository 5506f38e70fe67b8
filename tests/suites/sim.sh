#!/usr/bin/env bash
# Shows: the real broker on simulated clock, disk, store and network, with crashes and power loss; one seed twice gives the same log
# Needs: binary
# Usual: 60 s
# Budget: 300 s
# Usual full: 3600 s
# Budget full: 7200 s
source "$(dirname "$0")/../lib/suite.sh"

SIM=$ROOT/target/ci/sim
SEEDS=20
((FULL)) && SEEDS=2000

step "$SEEDS seeds"
"$SIM" --seed 1 --count "$SEEDS" --logs "$WORK/first" | tee "$WORK/first.txt" || fail 'a seed found a violation; its line says how to reproduce it'

# Seeds that led to a fix stay. 118 left an object behind whose PUT landed after the DELETE of its expired id; in 204 a
# grace was counted from before a restart, and was over at once.
for seed in 118 204; do
  step "seed $seed again"
  "$SIM" --seed "$seed" || fail "seed $seed fails again"
done

# A second process, so that nothing but the seed can make the logs equal.
AGAIN=$((SEEDS < 200 ? SEEDS : 200))
step "the same $AGAIN seeds again"
"$SIM" --seed 1 --count "$AGAIN" --logs "$WORK/second" >"$WORK/second.txt"
for seed in $(seq "$AGAIN"); do
  cmp "$WORK/first/$seed.log" "$WORK/second/$seed.log" || fail "seed $seed gave two different logs"
done
