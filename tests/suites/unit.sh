#!/usr/bin/env bash
# Shows: the tests written in Rust: unit, conformance, and the simulation on its seeds
# Needs: binary jars minio
# Usual: 300 s
# Budget: 1500 s
source "$(dirname "$0")/../lib/suite.sh"

# Some tests hold tables against Kafka's own jar, some run on a real S3-compatible server.
export TIDEGATE_KAFKA_CLIENTS_JAR=$KAFKA_LIBS/kafka-clients-$KAFKA_VERSION.jar
store_new
export TIDEGATE_TEST_S3_ENDPOINT=http://127.0.0.1:$STORE_PORT TIDEGATE_TEST_S3_BUCKET=$STORE_BUCKET

step 'cargo test'
cd "$ROOT" && cargo test "${CARGO_SELECTION[@]}" --no-fail-fast

# A runner that ran nothing must not pass for one that found nothing wrong.
count=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1/p' "$WORK/log" | awk '{ n += $1 } END { print n + 0 }')
# Their names, for what docs/compat.md says of them.
sed -n 's/^test \(.*::\)\{0,1\}\([a-z0-9_]*\)\( - should panic\)\{0,1\} \.\.\. ok$/\2/p' "$WORK/log" >"$WORK/ran"
step "$count tests passed"
((count > 0)) || fail 'cargo test ran no test'
