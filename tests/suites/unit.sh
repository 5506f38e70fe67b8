#!/usr/bin/env bash
# Shows: the tests written in Rust: unit, conformance, and the simulation on its seeds
# Needs: binary jars
# Usual: 300 s
# Budget: 1500 s
source "$(dirname "$0")/../lib/suite.sh"

step 'cargo test'
export TIDEGATE_KAFKA_CLIENTS_JAR=$KAFKA_LIBS/kafka-clients-$KAFKA_VERSION.jar
cd "$ROOT"
cargo test --workspace --profile ci --locked --no-fail-fast

# A runner that ran nothing must not pass for one that found nothing wrong.
ran=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1/p' "$WORK/log" | awk '{ n += $1 } END { print n + 0 }')
step "$ran tests passed"
((ran > 0)) || fail 'cargo test ran no test'
