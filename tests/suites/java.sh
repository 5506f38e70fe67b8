#!/usr/bin/env bash
# Shows: the Java clients and Kafka's own tools: every codec, records of 1 B to 1 MiB, limits, idempotence, 1,000 topics, 100 connections
# Needs: binary java python
# Usual: 60 s
# Budget: 480 s
#
# Consumer groups are not served yet, so consumers here name their partitions; kafka-consumer-perf-test, which knows
# nothing but a group, is stood in for by the ReadSpeed client until they are.
source "$(dirname "$0")/../lib/suite.sh"
source "$ROOT/tests/lib/exchange.sh"

broker_new
broker_start

step 'kafka-broker-api-versions'
jvm org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$BOOTSTRAP" >"$WORK/versions"
for api in 'Produce(0): 0 to 13' 'Fetch(1): 4 to 18' 'ListOffsets(2): 1 to 1[01]' 'Metadata(3): 0 to 13' 'ApiVersions(18): 0 to 4'; do
  grep -q "$api" "$WORK/versions" || fail "kafka-broker-api-versions does not show '$api'"
done

step 'kafka-topics: create, list, describe, alter'
kafka_topics --create --topic tools --partitions 2 --replication-factor 1 --config retention.ms=3600000
kafka_topics --create --topic tools --partitions 2 --if-not-exists
if kafka_topics --create --topic tools --partitions 2 >"$WORK/again" 2>&1; then fail 'a topic was created twice'; fi
grep -q "Topic 'tools' already exists" "$WORK/again" || fail 'creating a topic twice is not answered as in Kafka'
kafka_topics --list >"$WORK/list"
grep -qx tools "$WORK/list" || fail 'kafka-topics --list does not show the topic'
kafka_topics --alter --topic tools --partitions 3
kafka_topics --describe --topic tools >"$WORK/described"
grep -q 'PartitionCount: 3' "$WORK/described" || fail 'kafka-topics --describe does not show 3 partitions'
grep -q 'retention.ms=3600000' "$WORK/described" || fail 'kafka-topics --describe does not show the config'

step 'kafka-configs: describe, alter, delete'
kafka_configs --entity-type topics --entity-name tools --alter --add-config max.message.bytes=200000,retention.bytes=5000000
kafka_configs --entity-type topics --entity-name tools --describe >"$WORK/configs"
grep -q 'max.message.bytes=200000 ' "$WORK/configs" || fail 'kafka-configs does not show the value it set'
kafka_configs --entity-type topics --entity-name tools --alter --delete-config retention.bytes
kafka_configs --entity-type topics --entity-name tools --describe --all >"$WORK/configs"
grep -q 'retention.bytes=-1 ' "$WORK/configs" || fail 'a deleted config does not fall back to its default'
grep -q 'max.message.bytes=200000 .*DYNAMIC_TOPIC_CONFIG' "$WORK/configs" || fail 'kafka-configs --all shows no source'
if kafka_configs --entity-type topics --entity-name tools --alter --add-config retention.ms=soon >"$WORK/refused" 2>&1; then
  fail 'retention.ms=soon was accepted'
fi

step 'console producer and consumer'
lines 1000 console >"$WORK/sent"
sed 's/.*/key-&\t&/' "$WORK/sent" | kafka_console_producer --topic tools --property parse.key=true --compression-codec zstd
: >"$WORK/got"
for partition in 0 1 2; do
  kafka_get_offsets --topic-partitions "tools:$partition" >"$WORK/end"
  count=$(cut -d: -f3 "$WORK/end")
  ((count > 0)) || fail "partition $partition of tools got no record"
  kafka_console_consumer --topic tools --partition "$partition" --offset earliest --max-messages "$count" --timeout-ms 60000 \
    --property print.key=true --property print.partition=false >>"$WORK/got"
done
sed 's/.*/key-&\t&/' "$WORK/sent" | sort >"$WORK/wanted"
sort "$WORK/got" >"$WORK/got.sorted"
same 'console producer to console consumer' "$WORK/wanted" "$WORK/got.sorted"

step 'kafka-get-offsets and kafka-delete-records'
admin create shortened:1
lines 100 shortened >"$WORK/sent"
kafka_console_producer --topic shortened <"$WORK/sent"
expect 'the end of 100 records' 'shortened:0:100' "$(kafka_get_offsets --topic shortened --time latest)"
echo '{"partitions":[{"topic":"shortened","partition":0,"offset":60}],"version":1}' >"$WORK/delete.json"
kafka_delete_records --offset-json-file "$WORK/delete.json"
expect 'the start after deletion' 'shortened:0:60' "$(kafka_get_offsets --topic shortened --time earliest)"
kafka_console_consumer --topic shortened --partition 0 --offset earliest --max-messages 40 --timeout-ms 60000 >"$WORK/got"
tail -n 40 "$WORK/sent" >"$WORK/wanted"
same 'what deletion left' "$WORK/wanted" "$WORK/got"

step 'round trip: codecs, sizes, headers, limits, times'
admin create round-trip:1 large:1:max.message.bytes=2097152
java_client RoundTrip --topic round-trip --large-topic large

for codec in none lz4; do
  step "kafka-producer-perf-test with $codec"
  admin create "perf-$codec:3"
  kafka_producer_perf --topic "perf-$codec" --num-records 100000 --record-size 1000 --throughput -1 \
    --producer-props "bootstrap.servers=$BOOTSTRAP" acks=all enable.idempotence=true "compression.type=$codec" >"$WORK/perf"
  tail -n 1 "$WORK/perf"
  grep -q '^100000 records sent' "$WORK/perf" || fail 'kafka-producer-perf-test did not send 100000 records'
  if grep -qi exception "$WORK/perf"; then fail 'kafka-producer-perf-test met an exception'; fi
done
step 'reading it back'
java_client ReadSpeed --topics perf-none,perf-lz4 --records 200000

step '100 connections at once'
admin create connections:1
java_client ManyConnections --connections 100 --topic connections

step '1,000 topics'
java_client ManyTopics --topics 1000

step 'kafka-topics --delete'
kafka_topics --delete --topic tools
kafka_topics --list >"$WORK/list"
if grep -qx tools "$WORK/list"; then fail 'a deleted topic is still listed'; fi
step 'done'
