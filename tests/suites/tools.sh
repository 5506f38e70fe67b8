#!/usr/bin/env bash
# Shows: Kafka's own tools: what each prints when it works, and the words of every refusal that a user is likely to meet
# Needs: binary java python kcat
# Usual: 30 s
# Budget: 240 s
#
# Words that come from the broker are compared as Kafka 4.1.2 says them (BROKER=kafka tests/run tools).
source "$(dirname "$0")/../lib/suite.sh"
source "$ROOT/tests/lib/exchange.sh"

broker_new num.partitions=1
broker_start
tools_start
NODE=$(kcat -b "$BOOTSTRAP" -q -L | sed -n 's/.*broker \([0-9]*\) at.*/\1/p' | head -n 1)

step 'kafka-topics'
says 0 'Created topic tools.' kafka-topics --create --topic tools --partitions 2 --replication-factor 1 --config retention.ms=3600000
says 0 '' kafka-topics --create --topic tools --partitions 2 --if-not-exists
says 1 "Topic 'tools' already exists." kafka-topics --create --topic tools --partitions 2
says 1 "Topic name is invalid: 'bad/name' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'" \
  kafka-topics --create --topic bad/name --partitions 2
says 1 "Unknown topic config name: no.such" kafka-topics --create --topic other --config no.such=1
says 1 'Invalid value soon for configuration retention.ms: Not a number of type LONG' kafka-topics --create --topic other --config retention.ms=soon
in_time 0 'Topic: tools |PartitionCount: 2 |ReplicationFactor: 1 |retention.ms=3600000|Partition: 1 ' kafka-topics --describe --topic tools
grep -q "Partition: 0.*Leader: $NODE.*Replicas: $NODE.*Isr: $NODE" "$WORK/said" || fail 'kafka-topics shows no leader for partition 0'
says 1 'The topic tools currently has 2 partition(s); 1 would not be an increase.' kafka-topics --alter --topic tools --partitions 1
says 1 'Topic already has 2 partition(s).' kafka-topics --alter --topic tools --partitions 2
says 0 '' kafka-topics --alter --topic tools --partitions 3
in_time 0 'PartitionCount: 3' kafka-topics --describe --topic tools
says 1 "Topic 'nosuch' does not exist as expected" kafka-topics --describe --topic nosuch
says 1 "Topic 'nosuch' does not exist as expected" kafka-topics --alter --topic nosuch --partitions 2
says 1 "Topic 'nosuch' does not exist as expected" kafka-topics --delete --topic nosuch
says 0 '' kafka-topics --describe --under-replicated-partitions
silent 'Topic:'
says 0 tools kafka-topics --list
ran kafka-topics

step 'kafka-configs: topics'
says 0 'Completed updating config for topic tools.' kafka-configs --entity-type topics --entity-name tools --alter \
  --add-config max.message.bytes=200000,retention.bytes=5000000
in_time 0 'Dynamic configs for topic tools are:|max.message.bytes=200000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message.bytes=200000, DEFAULT_CONFIG:message.max.bytes=1048588}|retention.ms=3600000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=3600000' \
  kafka-configs --entity-type topics --entity-name tools --describe
says 0 '' kafka-configs --entity-type topics --entity-name tools --alter --delete-config retention.bytes
in_time 0 'retention.bytes=-1 |max.message.bytes=200000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:|cleanup.policy=delete |segment.bytes=' \
  kafka-configs --entity-type topics --entity-name tools --describe --all
says 1 'InvalidConfigurationException: Invalid value soon for configuration retention.ms: Not a number of type LONG' \
  kafka-configs --entity-type topics --entity-name tools --alter --add-config retention.ms=soon
says 1 'InvalidConfigurationException: Unknown topic config name: no.such' \
  kafka-configs --entity-type topics --entity-name tools --alter --add-config no.such=1
says 1 'UnknownTopicOrPartitionException' kafka-configs --entity-type topics --entity-name nosuch --alter --add-config retention.ms=1
ran kafka-configs-topics

step 'kafka-configs: brokers, loggers, groups'
says 0 "Dynamic configs for broker $NODE are:" kafka-configs --entity-type brokers --entity-name "$NODE" --describe
says 0 "All configs for broker $NODE are:|num.partitions=1 |message.max.bytes=|log.retention.|offsets.retention.minutes=10080|group.max.session.timeout.ms=1800000" \
  kafka-configs --entity-type brokers --entity-name "$NODE" --describe --all
says 0 'Default configs for brokers in the cluster are:' kafka-configs --entity-type brokers --entity-default --describe
says 0 "Completed updating config for broker $NODE." kafka-configs --entity-type brokers --entity-name "$NODE" --alter --add-config log.cleaner.threads=2
in_time 0 'log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.threads=2, DEFAULT_CONFIG:log.cleaner.threads=1}' \
  kafka-configs --entity-type brokers --entity-name "$NODE" --describe
says 0 '' kafka-configs --entity-type brokers --entity-name "$NODE" --alter --delete-config log.cleaner.threads
unset_again() { tool kafka-configs --entity-type brokers --entity-name "$NODE" --describe >/dev/null && ! grep -q 'log.cleaner.threads=2' "$WORK/said"; }
wait_until 15 'the broker config is gone' unset_again
says 1 'InvalidRequestException: Cannot update these configs dynamically: Set(node.id)' \
  kafka-configs --entity-type brokers --entity-name "$NODE" --alter --add-config node.id=2
says 0 "The broker '77' doesn't exist and doesn't have dynamic config." kafka-configs --entity-type brokers --entity-name 77 --describe
says 0 "Dynamic configs for broker-logger $NODE are:|=INFO sensitive=false" kafka-configs --entity-type broker-loggers --entity-name "$NODE" --describe
says 0 "The group 'nosuch' doesn't exist and doesn't have dynamic config." kafka-configs --entity-type groups --entity-name nosuch --describe
says 0 '' kafka-configs --entity-type client-metrics --describe
ran kafka-configs-brokers

step 'verifiable producer and consumer'
admin create verified:1
jvm org.apache.kafka.tools.VerifiableProducer --bootstrap-server "$BOOTSTRAP" --topic verified --max-messages 300 --acks -1 >"$WORK/produced"
expect 'records that the verifiable producer saw acknowledged' 300 "$(grep -c '"name":"producer_send_success"' "$WORK/produced")"
grep -q '"name":"tool_data","sent":300,"acked":300' "$WORK/produced" || fail 'the verifiable producer counts otherwise'
for partition in 0 1 2; do lines 100 "tools-$partition" | kc -P -t tools -p "$partition"; done
says 0 '"name":"partitions_assigned"|"name":"records_consumed"|"success":true|"name":"shutdown_complete"' \
  kafka-verifiable-consumer --topic tools --group-id verify --max-messages 300 --reset-policy earliest
expect 'records that the verifiable consumer saw' 300 \
  "$(sed -n 's/.*"name":"records_consumed","count":\([0-9]*\).*/\1/p' "$WORK/said" | awk '{ n += $1 } END { print n + 0 }')"
ran verifiable

step 'kafka-get-offsets and kafka-delete-records'
says 0 'tools:0:100|tools:1:100|tools:2:100' kafka-get-offsets --topic tools
says 0 'verified:0:300' kafka-get-offsets --topic verified
says 1 'Could not match any topic-partitions with the specified filters' kafka-get-offsets --topic nosuch
admin create shortened:1
lines 100 shortened >"$WORK/sent"
kcat_write shortened "$WORK/sent"
says 0 'shortened:0:100' kafka-get-offsets --topic shortened --time latest
delete_to() { printf '{"partitions":[{"topic":"%s","partition":0,"offset":%s}],"version":1}\n' "$1" "$2" >"$WORK/delete.json"; }
delete_to shortened 60
says 0 'partition: shortened-0 low_watermark: 60' kafka-delete-records --offset-json-file "$WORK/delete.json"
says 0 'shortened:0:60' kafka-get-offsets --topic shortened --time earliest
says 0 'shortened:0:60' kafka-get-offsets --topic shortened --time earliest-local
says 0 'verified:0:' kafka-get-offsets --topic verified --time max-timestamp
delete_to shortened 101
says 0 'OffsetOutOfRangeException' kafka-delete-records --offset-json-file "$WORK/delete.json"
delete_to nosuch 1
# An unknown topic is looked for until the client's time is over.
printf 'request.timeout.ms=2000\ndefault.api.timeout.ms=3000\n' >"$WORK/short.properties"
says 0 'partition: nosuch-0 error:' kafka-delete-records --offset-json-file "$WORK/delete.json" --command-config "$WORK/short.properties"
kcat_read shortened >"$WORK/got"
tail -n 40 "$WORK/sent" >"$WORK/wanted"
same 'what deletion left' "$WORK/wanted" "$WORK/got"
ran kafka-get-offsets kafka-delete-records

step 'kafka-consumer-groups and kafka-groups'
says 0 verify kafka-consumer-groups --list
says 0 'verify Empty' kafka-consumer-groups --list --state
says 0 "Consumer group 'verify' has no active members.|GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG" kafka-consumer-groups --describe --group verify
expect 'offset, end and lag of each partition' '100 100 0;100 100 0;100 100 0;' "$(awk '$1 == "verify" && $2 == "tools" { printf "%s %s %s;", $4, $5, $6 }' "$WORK/said")"
says 0 'ASSIGNMENT-STRATEGY STATE|Empty 0' kafka-consumer-groups --describe --group verify --state
says 0 "Consumer group 'verify' has no active members." kafka-consumer-groups --describe --group verify --members --verbose
says 0 'GroupIdNotFoundException: Group nosuch not found.' kafka-consumer-groups --describe --group nosuch
says 0 'verify tools 0 0' kafka-consumer-groups --group verify --topic tools --reset-offsets --to-earliest --dry-run
says 0 'verify tools 0 3' kafka-consumer-groups --group verify --topic tools:0 --reset-offsets --to-offset 3 --execute
says 0 'verify tools 0 2' kafka-consumer-groups --group verify --topic tools:0 --reset-offsets --shift-by -1 --execute
says 0 'verify tools 0 2' kafka-consumer-groups --describe --group verify
says 0 'UnknownTopicOrPartitionException: This server does not host this topic-partition.' \
  kafka-consumer-groups --group verify --topic nosuch --reset-offsets --to-earliest --execute
says 0 'Request succeeded for deleting offsets from group verify.|tools 0 Successful' kafka-consumer-groups --group verify --delete-offsets --topic tools:0
says 0 'tools 1' kafka-consumer-groups --describe --group verify
silent 'verify tools 0'
says 0 'nosuch - Error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException' kafka-consumer-groups --group verify --delete-offsets --topic nosuch
says 0 'Error: The group id does not exist.' kafka-consumer-groups --group nosuch --delete-offsets --topic tools
# While a member is there.
timeout 120 kcat -b "$BOOTSTRAP" -q -G verify tools >/dev/null 2>&1 &
member=$!
stable() { tool kafka-consumer-groups --describe --group verify --state >/dev/null && grep -q Stable "$WORK/said"; }
wait_until 30 'the group is stable' stable
says 0 'ASSIGNMENT-STRATEGY|range' kafka-consumer-groups --describe --group verify --state
in_time 0 "rdkafka|tools:0,1,2" kafka-consumer-groups --describe --group verify --members --verbose
grep -qE '/127\.0\.0\.1 +rdkafka' "$WORK/said" || fail 'the member is described without its host'
says 0 'Error: Assignments can only be reset if the group' kafka-consumer-groups --group verify --topic tools --reset-offsets --to-earliest --execute
says 0 "Group 'verify' could not be deleted due to: org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty." \
  kafka-consumer-groups --group verify --delete
says 0 'Error: org.apache.kafka.common.errors.GroupSubscribedToTopicException: Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it.' \
  kafka-consumer-groups --group verify --delete-offsets --topic tools:1
says 0 'verify Classic consumer' kafka-groups --list
end_process "$member" 20 || true
empty() { tool kafka-consumer-groups --describe --group verify --state >/dev/null && grep -q Empty "$WORK/said"; }
wait_until 60 'the group is empty' empty
says 0 "Deletion of requested consumer groups ('verify') was successful." kafka-consumer-groups --group verify --delete
says 0 "Group 'nosuch' could not be deleted due to: org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist." \
  kafka-consumer-groups --group nosuch --delete
says 0 '' kafka-groups --list
silent verify
ran kafka-consumer-groups kafka-groups

step 'the cluster: log dirs, elections, quorum, versions, features'
says 0 '"partition":"tools-0"|"offsetLag":0,"isFuture":false|"error":null' kafka-log-dirs --describe --topic-list tools
tool kafka-log-dirs --describe
grep -qE '"partition":"shortened-0","size":[1-9][0-9]*' "$WORK/said" || fail 'a partition with records has no size'
says 0 'Valid replica already elected for partitions tools-0' kafka-leader-election --election-type preferred --topic tools --partition 0
says 0 'Valid replica already elected for partitions tools-0' kafka-leader-election --election-type unclean --topic tools --partition 0
says 0 '' kafka-leader-election --election-type preferred --all-topic-partitions
says 1 'UnknownTopicOrPartitionException: No such topic as nosuch|1 replica(s) could not be elected' \
  kafka-leader-election --election-type preferred --topic nosuch --partition 0
says 0 "LeaderId: $NODE|HighWatermark:|MaxFollowerLag: 0|CurrentObservers: []" kafka-metadata-quorum describe --status
says 0 "$NODE |Leader" kafka-metadata-quorum describe --replication
says 0 'No partition reassignments found.' kafka-reassign-partitions --list
says 0 'Cluster ID: ' kafka-cluster cluster-id
grep -qE '^Cluster ID: [A-Za-z0-9_-]{22}$' "$WORK/said" || fail 'the cluster id is not one of Kafka'
says 0 "$NODE 127.0.0.1 $BROKER_PORT" kafka-cluster list-endpoints
says 0 'Feature: metadata.version|FinalizedVersionLevel: 4.1-IV1|Feature: group.version|Feature: transaction.version' kafka-features describe
says 0 'Produce(0): 0 to 13|Fetch(1): 4 to 18|OffsetCommit(8): 2 to 9|OffsetFetch(9): 1 to 9|FindCoordinator(10): 0 to 6|JoinGroup(11): 0 to 9|Heartbeat(12): 0 to 4|LeaveGroup(13): 0 to 5|SyncGroup(14): 0 to 5|DescribeGroups(15): 0 to 6|ListGroups(16): 0 to 5|DescribeAcls(29): 1 to 3|DescribeConfigs(32): 1 to 4|AlterConfigs(33): 0 to 2|DescribeLogDirs(35): 1 to 4|DeleteGroups(42): 0 to 2|ElectLeaders(43): 0 to 2|IncrementalAlterConfigs(44): 0 to 1|ListPartitionReassignments(46): 0|OffsetDelete(47): 0|DescribeQuorum(55): 0 to 2|DescribeCluster(60): 0 to 2|DescribeProducers(61): 0|ConsumerGroupDescribe(69): 0 to 1|ListConfigResources(74): 0 to 1|DescribeTopicPartitions(75): 0' \
  kafka-broker-api-versions
says 0 'ProducerId ProducerEpoch LatestCoordinatorEpoch LastSequence LastTimestamp CurrentTransactionStartOffset' \
  kafka-transactions describe-producers --topic shortened --partition 0
grep -qE '^[0-9]+[[:space:]]+0[[:space:]]+-1[[:space:]]+99' "$WORK/said" || fail 'the idempotent producer of 100 records is not described'
ran kafka-log-dirs kafka-leader-election kafka-metadata-quorum kafka-cluster kafka-features kafka-broker-api-versions kafka-transactions

step 'kafka-acls without an authorizer'
says 1 'SecurityDisabledException: No Authorizer is configured on the broker' kafka-acls --list
says 1 'SecurityDisabledException: No Authorizer is configured' kafka-acls --add --allow-principal User:a --operation Read --topic tools
ran kafka-acls

step 'kafka-topics --delete'
says 0 '' kafka-topics --delete --topic tools
gone() { tool kafka-topics --list >/dev/null && ! grep -qx tools "$WORK/said"; }
wait_until 30 'the deleted topic is no longer listed' gone
step 'done'
