#!/usr/bin/env bash
# Shows: confluent-kafka (librdkafka) and kafka-python read what the other wrote, in every codec, with idempotence
# Needs: binary python
# Usual: 13 s
# Budget: 180 s
source "$(dirname "$0")/../lib/suite.sh"

broker_new
broker_start
step 'topics'
topics=()
for codec in none gzip snappy lz4 zstd; do topics+=("librdkafka-$codec:1" "kafka-python-$codec:1"); done
admin create "${topics[@]}"
step 'each writes, both read'
python_client exchange.py --bootstrap "$BOOTSTRAP"
step 'done'
