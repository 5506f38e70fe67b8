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
ran=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1/p' "$WORK/log" | awk '{ n += $1 } END { print n + 0 }')
step "$ran tests passed"
((ran > 0)) || fail 'cargo test ran no test'
