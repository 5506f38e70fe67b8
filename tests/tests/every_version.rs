//! Every served API in every version: the broker answers, and the answer decodes as that version.
//!
//! The real handlers on a real (simulated-disk) broker; what the answers say is the client suites' to judge.
//! Also here, on the same broker: what a batch whose body lies may do, which is nothing but trouble its reader.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;
use tidegate_broker::api::SERVED;
use tidegate_common::Offset;
use tidegate_tests::peer::{Peer, all, batch, bytes_of, name, produce, text, walk};
use tidegate_tests::sim::history::History;
use tidegate_tests::sim::plan::Plan;
use tidegate_tests::sim::world::World;
use tidegate_wire::records::{Codec, RecordsBuilder};
use tidegate_wire::versions;

const NOT_THERE: &str = "not-there";

#[tokio::test(start_paused = true)]
async fn every_served_api_answers_in_every_version() {
    let world = World::new(1, &Plan::calm(), History::new());
    walk(&world);
    let mut peer = Peer::over(&world).await;
    admin(&mut peer).await;
    data(&mut peer).await;
    groups(&mut peer).await;
    describe(&mut peer).await;
    configs(&mut peer).await;
    acls(&mut peer).await;
    let expected: BTreeSet<(i16, i16)> = SERVED.iter().flat_map(|k| all(*k).map(move |v| (*k, v))).collect();
    assert_eq!(peer.seen, expected, "each key and version was asked");
}

async fn admin(peer: &mut Peer) {
    for v in all(18) {
        let ask = ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1.0"));
        let ask = if v >= 3 { ask } else { ApiVersionsRequest::default() };
        let answer: ApiVersionsResponse = peer.call(18, v, &ask).await;
        let keys: Vec<i16> = answer.api_keys.iter().map(|k: &ApiVersion| k.api_key).collect();
        assert_eq!(keys, SERVED, "what is advertised is what dispatches");
    }
    for v in all(19) {
        let config =
            CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(Some(text("1000000")));
        let topic = CreatableTopic::default().with_num_partitions(2).with_replication_factor(1);
        let ask = CreateTopicsRequest::default().with_topics(vec![
            topic.clone().with_name(name(&format!("t{v}"))).with_configs(vec![config]),
            topic.clone().with_name(name("bad/name")),
            topic.with_name(name(&format!("t{v}"))),
        ]);
        let answer: CreateTopicsResponse = peer.call(19, v, &ask).await;
        let codes: Vec<i16> = answer.topics.iter().map(|t| t.error_code).collect();
        assert_eq!(codes, [42, 17], "named twice, invalid name");
        let topic = CreatableTopic::default()
            .with_name(name(&format!("t{v}")))
            .with_num_partitions(2)
            .with_replication_factor(1);
        let answer: CreateTopicsResponse =
            peer.call(19, v, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
        assert_eq!(answer.topics[0].error_code, 0);
    }
    for v in all(37) {
        let grow = CreatePartitionsTopic::default().with_assignments(None);
        let ask = CreatePartitionsRequest::default().with_topics(vec![
            grow.clone().with_name(name("t7")).with_count(3 + i32::from(v)),
            grow.with_name(name(NOT_THERE)).with_count(3),
        ]);
        let answer: CreatePartitionsResponse = peer.call(37, v, &ask).await;
        assert_eq!(answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [0, 3]);
    }
    for v in all(32) {
        let of = |n: &str| {
            DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(n))
                .with_configuration_keys(None)
        };
        let ask = DescribeConfigsRequest::default()
            .with_resources(vec![of("t7"), of(NOT_THERE)])
            .with_include_synonyms(true)
            .with_include_documentation(v >= 3);
        let answer: DescribeConfigsResponse = peer.call(32, v, &ask).await;
        assert_eq!(answer.results[0].error_code, 0);
        assert!(answer.results[0].configs.len() > 30);
        assert_eq!(answer.results[1].error_code, 3);
    }
    for v in all(44) {
        let change =
            AlterableConfig::default().with_name(text("retention.bytes")).with_value(Some(text("123456789")));
        let bad =
            AlterableConfig::default().with_name(text("cleanup.policy")).with_value(Some(text("compact")));
        let of = |n: &str, c: AlterableConfig| {
            AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(n))
                .with_configs(vec![c])
        };
        let ask =
            IncrementalAlterConfigsRequest::default().with_resources(vec![of("t7", change), of("t6", bad)]);
        let answer: IncrementalAlterConfigsResponse = peer.call(44, v, &ask).await;
        assert_eq!(answer.responses.iter().map(|r| r.error_code).collect::<Vec<_>>(), [0, 40]);
    }
    for v in all(60) {
        let ask = DescribeClusterRequest::default();
        let ask = if v >= 1 { ask.with_endpoint_type(1) } else { ask };
        let answer: DescribeClusterResponse = peer.call(60, v, &ask).await;
        assert_eq!((answer.error_code, answer.brokers.len()), (0, 1));
    }
    for v in all(3) {
        let asked = |n: &str| MetadataRequestTopic::default().with_name(Some(name(n)));
        let ask = MetadataRequest::default().with_topics(Some(vec![asked("t7"), asked("bad/name")]));
        let ask = if v >= 4 {
            ask.with_allow_auto_topic_creation(false)
        } else {
            ask.with_allow_auto_topic_creation(true)
        };
        let answer: MetadataResponse = peer.call(3, v, &ask).await;
        assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [0, 17]);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
    for v in all(22) {
        let ask = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1);
        let answer: InitProducerIdResponse = peer.call(22, v, &ask).await;
        assert_eq!(answer.error_code, 0);
        let ask = ask.with_transactional_id(Some(TransactionalId(text("tx"))));
        let answer: InitProducerIdResponse = peer.call(22, v, &ask).await;
        assert_eq!(answer.error_code, 53);
    }
    for v in all(20) {
        let ask = DeleteTopicsRequest::default();
        let names = [format!("t{}", 2 + (v - 1)), NOT_THERE.to_owned()];
        let ask = if v >= 6 {
            ask.with_topics(vec![DeleteTopicState::default().with_name(Some(name(NOT_THERE)))])
        } else {
            ask.with_topic_names(names.iter().map(|n| name(n)).collect())
        };
        let answer: DeleteTopicsResponse = peer.call(20, v, &ask).await;
        assert_eq!(answer.responses.last().expect("answered").error_code, 3);
    }
}

/// What tools ask of topics, partitions, directories and the quorum, on what `admin` and `data` left.
async fn describe(peer: &mut Peer) {
    for v in all(35) {
        let asked = DescribableLogDirTopic::default().with_topic(name("t7")).with_partitions(vec![0, 99]);
        let ask = DescribeLogDirsRequest::default().with_topics(Some(vec![asked]));
        let answer: DescribeLogDirsResponse = peer.call(35, v, &ask).await;
        let dir = &answer.results[0];
        assert_eq!((dir.error_code, dir.topics.len(), dir.topics[0].partitions.len()), (0, 1, 1));
        assert!(dir.topics[0].partitions[0].partition_size > 0, "records were written");
        let all: DescribeLogDirsResponse =
            peer.call(35, v, &DescribeLogDirsRequest::default().with_topics(None)).await;
        let t7 = all.results[0].topics.iter().find(|t| t.name == name("t7")).expect("described");
        assert_eq!(t7.partitions.len(), 6, "every partition");
    }
    for v in all(43) {
        let asked = TopicPartitions::default().with_topic(name("t7")).with_partitions(vec![0, 99]);
        let ask = ElectLeadersRequest::default().with_topic_partitions(Some(vec![asked]));
        let answer: ElectLeadersResponse = peer.call(43, v, &ask).await;
        let codes: Vec<i16> =
            answer.replica_election_results[0].partition_result.iter().map(|p| p.error_code).collect();
        assert_eq!((answer.error_code, codes), (0, vec![84, 3]));
    }
    for v in all(46) {
        let ask = ListPartitionReassignmentsRequest::default().with_topics(None);
        let answer: ListPartitionReassignmentsResponse = peer.call(46, v, &ask).await;
        assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
    }
    for v in all(55) {
        let log = describe_quorum_request::TopicData::default()
            .with_topic_name(name("__cluster_metadata"))
            .with_partitions(vec![describe_quorum_request::PartitionData::default()]);
        let answer: DescribeQuorumResponse =
            peer.call(55, v, &DescribeQuorumRequest::default().with_topics(vec![log])).await;
        let log = &answer.topics[0].partitions[0];
        assert_eq!((log.error_code, log.leader_id.0, log.current_voters.len()), (0, 1, 1));
        assert!(log.high_watermark > 0 && log.current_voters[0].log_end_offset >= log.high_watermark);
        assert_eq!(answer.nodes.len(), usize::from(v >= 2));
        assert_eq!(log.current_voters[0].last_fetch_timestamp > 0, v >= 1);
    }
    for v in all(61) {
        let asked = describe_producers_request::TopicRequest::default()
            .with_name(name("t7"))
            .with_partition_indexes(vec![0, 99]);
        let answer: DescribeProducersResponse =
            peer.call(61, v, &DescribeProducersRequest::default().with_topics(vec![asked])).await;
        let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|p| p.error_code).collect();
        assert_eq!(codes, [0, 3]);
    }
    for v in all(75) {
        let asked = |n: &str| describe_topic_partitions_request::TopicRequest::default().with_name(name(n));
        let ask = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![asked("t7"), asked(NOT_THERE)])
            .with_response_partition_limit(2000)
            .with_cursor(None);
        let answer: DescribeTopicPartitionsResponse = peer.call(75, v, &ask).await;
        assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [3, 0], "by name");
        assert!(answer.next_cursor.is_none());
    }
}

/// Configs of other things than topics, and what replaces all of a topic's.
async fn configs(peer: &mut Peer) {
    for v in all(33) {
        let config = alter_configs_request::AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("777777")));
        let of = |kind, n: &str| {
            alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(n))
                .with_configs(vec![config.clone()])
        };
        let ask =
            AlterConfigsRequest::default().with_resources(vec![of(2, "t7"), of(2, NOT_THERE), of(4, "1")]);
        let answer: AlterConfigsResponse = peer.call(33, v, &ask).await;
        assert_eq!(answer.responses.iter().map(|r| r.error_code).collect::<Vec<_>>(), [0, 3, 40]);
    }
    for v in all(74) {
        let answer: ListConfigResourcesResponse =
            peer.call(74, v, &ListConfigResourcesRequest::default()).await;
        assert_eq!((answer.error_code, answer.config_resources.is_empty()), (0, v == 0));
    }
}

async fn acls(peer: &mut Peer) {
    for v in all(29) {
        let ask = DescribeAclsRequest::default()
            .with_resource_type_filter(1)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(1)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(1)
            .with_permission_type(1);
        let answer: DescribeAclsResponse = peer.call(29, v, &ask).await;
        assert_eq!(answer.error_code, 54);
    }
    for v in all(30) {
        let acl = create_acls_request::AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(text("t7"))
            .with_principal(text("User:a"))
            .with_host(text("*"))
            .with_operation(3)
            .with_permission_type(3);
        let ask = CreateAclsRequest::default().with_creations(vec![acl.clone(), acl]);
        let answer: CreateAclsResponse = peer.call(30, v, &ask).await;
        assert_eq!(answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [54, 54]);
    }
    for v in all(31) {
        let filter = delete_acls_request::DeleteAclsFilter::default()
            .with_resource_type_filter(1)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(1)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(1)
            .with_permission_type(1);
        let answer: DeleteAclsResponse =
            peer.call(31, v, &DeleteAclsRequest::default().with_filters(vec![filter])).await;
        assert_eq!(answer.filter_results[0].error_code, 54);
    }
}

async fn data(peer: &mut Peer) {
    let id = peer.topic_id("t7");
    for v in all(0) {
        let data = PartitionProduceData::default()
            .with_index(0)
            .with_records(Some(bytes_of(&batch(1_700_000_000_000))));
        let bad =
            PartitionProduceData::default().with_index(1).with_records(Some(Bytes::from_static(b"nonsense")));
        let topic = TopicProduceData::default().with_partition_data(vec![data, bad]);
        let topic = if v >= 13 { topic.with_topic_id(id) } else { topic.with_name(name("t7")) };
        let ask =
            ProduceRequest::default().with_transactional_id(None).with_acks(-1).with_topic_data(vec![topic]);
        let answer: ProduceResponse = peer.call(0, v, &ask).await;
        let parts = &answer.responses[0].partition_responses;
        assert_eq!((parts[0].error_code, parts[0].base_offset), (0, i64::from(v) - 3));
        assert_eq!(parts[1].error_code, 2, "what is no batch is CORRUPT_MESSAGE");
    }
    let written = i64::from(versions::range(0).expect("served").max) - 2;
    for v in all(1) {
        let wanted = |p, offset| {
            FetchPartition::default()
                .with_partition(p)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(1 << 20)
                .with_current_leader_epoch(-1)
        };
        let topic = FetchTopic::default().with_partitions(vec![wanted(0, 0), wanted(1, 99)]);
        let topic = if v >= 13 { topic.with_topic_id(id) } else { topic.with_topic(name("t7")) };
        let ask =
            FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic]);
        let answer: FetchResponse = peer.call(1, v, &ask).await;
        let parts = &answer.responses[0].partitions;
        assert_eq!((parts[0].error_code, parts[0].high_watermark), (0, written));
        assert!(parts[0].records.as_ref().is_some_and(|r| r.len() > 61));
        assert_eq!(parts[1].error_code, 1);
    }
    for v in all(2) {
        for (timestamp, offset) in [(-1, written), (-2, 0), (0, 0), (i64::MAX, -1)] {
            let part = ListOffsetsPartition::default()
                .with_partition_index(0)
                .with_timestamp(timestamp)
                .with_current_leader_epoch(-1);
            let topic = ListOffsetsTopic::default().with_name(name("t7")).with_partitions(vec![part]);
            let answer: ListOffsetsResponse =
                peer.call(2, v, &ListOffsetsRequest::default().with_topics(vec![topic])).await;
            let part = &answer.topics[0].partitions[0];
            assert_eq!((part.error_code, part.offset), (0, offset), "version {v}, timestamp {timestamp}");
        }
    }
    for v in all(23) {
        let epoch = peer.surface.broker.metadata.image().partition(id, 0).expect("there").leader_epoch.0;
        let part = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_leader_epoch(epoch)
            .with_current_leader_epoch(-1);
        let topic = OffsetForLeaderTopic::default().with_topic(name("t7")).with_partitions(vec![part]);
        let answer: OffsetForLeaderEpochResponse =
            peer.call(23, v, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic])).await;
        let part = &answer.topics[0].partitions[0];
        assert_eq!((part.error_code, part.leader_epoch, part.end_offset), (0, epoch, written));
    }
    for v in all(21) {
        let part = |offset| DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic =
            DeleteRecordsTopic::default().with_name(name("t7")).with_partitions(vec![part(2), part(1 << 40)]);
        let answer: DeleteRecordsResponse =
            peer.call(21, v, &DeleteRecordsRequest::default().with_topics(vec![topic])).await;
        let parts = &answer.topics[0].partitions;
        assert_eq!((parts[0].error_code, parts[0].low_watermark, parts[1].error_code), (0, 2, 1));
    }
}

async fn groups(peer: &mut Peer) {
    for v in all(10) {
        for (key_type, code) in [(0, 0), (1, 53), (9, 42)].into_iter().filter(|(t, _)| v >= 1 || *t == 0) {
            let ask = FindCoordinatorRequest::default();
            let ask = if v >= 1 { ask.with_key_type(key_type) } else { ask };
            let ask =
                if v >= 4 { ask.with_coordinator_keys(vec![text("g")]) } else { ask.with_key(text("g")) };
            let answer: FindCoordinatorResponse = peer.call(10, v, &ask).await;
            let (found, port) = match answer.coordinators.first() {
                Some(found) => (found.error_code, found.port),
                None => (answer.error_code, answer.port),
            };
            assert_eq!((found, port > 0), (code, code == 0), "version {v}, key type {key_type}");
        }
    }
    one_group(peer).await;
}

/// The answers of all families about a group of one member, from its first JoinGroup to its deletion.
async fn one_group(peer: &mut Peer) {
    while !peer.loaded() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let group = || GroupId(text("every-version"));
    let by_id = |v: i16| v >= 10;
    let id = peer.topic_id("t7");
    let (mut member, mut generation) = (text(""), -1);
    for v in all(11) {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"subscription"));
        let ask = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(30_000)
            .with_protocol_type(text("consumer"))
            .with_member_id(member.clone())
            .with_protocols(vec![protocol]);
        let ask = if v >= 1 { ask.with_rebalance_timeout_ms(30_000) } else { ask };
        let answer: JoinGroupResponse = peer.call(11, v, &ask).await;
        assert_eq!(answer.error_code, 0, "version {v}");
        assert_eq!((answer.leader.as_str(), answer.members.len()), (answer.member_id.as_str(), 1));
        (member, generation) = (answer.member_id, answer.generation_id);
    }
    for v in all(14) {
        let given = sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(member.clone())
            .with_assignment(Bytes::from_static(b"assignment"));
        let ask = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(generation)
            .with_member_id(member.clone())
            .with_assignments(vec![given]);
        let ask = if v >= 5 {
            ask.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
        } else {
            ask
        };
        let answer: SyncGroupResponse = peer.call(14, v, &ask).await;
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"assignment"[..]), "version {v}");
    }
    for v in all(12) {
        for (generation, code) in [(generation, 0), (generation + 1, 22)] {
            let ask = HeartbeatRequest::default()
                .with_group_id(group())
                .with_generation_id(generation)
                .with_member_id(member.clone());
            let answer: HeartbeatResponse = peer.call(12, v, &ask).await;
            assert_eq!(answer.error_code, code, "version {v}");
        }
    }
    for v in all(8) {
        let part = |partition| {
            offset_commit_request::OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(v.into())
                .with_committed_metadata(Some(text("note")))
        };
        let topic = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_partitions(vec![part(0), part(77)]);
        let topic = if by_id(v) { topic.with_topic_id(id) } else { topic.with_name(name("t7")) };
        let ask = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(member.clone())
            .with_topics(vec![topic]);
        let answer: OffsetCommitResponse = peer.call(8, v, &ask).await;
        let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|p| p.error_code).collect();
        assert_eq!(codes, [0, 3], "version {v}");
    }
    let committed = i64::from(versions::range(8).expect("served").max);
    for v in all(9) {
        if v < 8 {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(name("t7"))
                .with_partition_indexes(vec![0, 1]);
            let ask = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
            let answer: OffsetFetchResponse = peer.call(9, v, &ask).await;
            let parts = &answer.topics[0].partitions;
            assert_eq!((answer.error_code, parts[0].committed_offset), (0, committed), "version {v}");
            assert_eq!((parts[1].error_code, parts[1].committed_offset), (0, -1));
            continue;
        }
        let topic =
            offset_fetch_request::OffsetFetchRequestTopics::default().with_partition_indexes(vec![0, 1]);
        let topic = if by_id(v) { topic.with_topic_id(id) } else { topic.with_name(name("t7")) };
        let named = offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_topics(Some(vec![topic]));
        let ask = OffsetFetchRequest::default().with_groups(vec![named.clone(), named.with_topics(None)]);
        let answer: OffsetFetchResponse = peer.call(9, v, &ask).await;
        let (named, whole) = (&answer.groups[0].topics[0], &answer.groups[1].topics[0]);
        assert_eq!(
            (named.partitions[0].committed_offset, named.partitions[1].committed_offset),
            (committed, -1)
        );
        assert_eq!((whole.partitions.len(), whole.partitions[0].committed_offset), (1, committed));
        assert_eq!(whole.topic_id == id, by_id(v), "version {v}");
    }
    for v in all(15) {
        let ask = DescribeGroupsRequest::default().with_groups(vec![group(), GroupId(text(NOT_THERE))]);
        let answer: DescribeGroupsResponse = peer.call(15, v, &ask).await;
        let (known, unknown) = (&answer.groups[0], &answer.groups[1]);
        assert_eq!((known.error_code, known.group_state.as_str(), known.members.len()), (0, "Stable", 1));
        assert_eq!(known.members[0].client_host.as_str(), "/127.0.0.1");
        assert_eq!((unknown.error_code, unknown.group_state.as_str()), (if v >= 6 { 69 } else { 0 }, "Dead"));
    }
    for v in all(16) {
        let answer: ListGroupsResponse = peer.call(16, v, &ListGroupsRequest::default()).await;
        assert_eq!((answer.error_code, answer.groups.len()), (0, 1), "version {v}");
        assert_eq!(answer.groups[0].protocol_type.as_str(), "consumer");
    }
    for v in all(69) {
        let ask = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(), GroupId(text(""))]);
        let answer: ConsumerGroupDescribeResponse = peer.call(69, v, &ask).await;
        assert_eq!(answer.groups.iter().map(|g| g.error_code).collect::<Vec<_>>(), [69, 24]);
    }
    for v in all(47) {
        let part = offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(0);
        let topic = offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(name("t7"))
            .with_partitions(vec![part]);
        let ask = |g| OffsetDeleteRequest::default().with_group_id(g).with_topics(vec![topic.clone()]);
        let answer: OffsetDeleteResponse = peer.call(47, v, &ask(GroupId(text(NOT_THERE)))).await;
        assert_eq!(answer.error_code, 69);
        let answer: OffsetDeleteResponse = peer.call(47, v, &ask(group())).await;
        assert_eq!(answer.error_code, 0);
    }
    for v in all(42) {
        let ask = DeleteGroupsRequest::default().with_groups_names(vec![group(), GroupId(text(NOT_THERE))]);
        let answer: DeleteGroupsResponse = peer.call(42, v, &ask).await;
        assert_eq!(answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [68, 69]);
    }
    for v in all(13) {
        let ask = LeaveGroupRequest::default().with_group_id(group());
        // The first one leaves; who is gone is unknown.
        let gone = if v > 0 { 25 } else { 0 };
        if v < 3 {
            let answer: LeaveGroupResponse = peer.call(13, v, &ask.with_member_id(member.clone())).await;
            assert_eq!(answer.error_code, gone);
            continue;
        }
        let leaving = leave_group_request::MemberIdentity::default().with_member_id(member.clone());
        let answer: LeaveGroupResponse = peer.call(13, v, &ask.with_members(vec![leaving])).await;
        assert_eq!((answer.error_code, answer.members[0].error_code), (0, gone), "version {v}");
    }
}

#[tokio::test]
async fn what_is_not_served_closes_and_future_api_versions_get_kip_511() {
    let mut peer = Peer::new().await;
    let answer = peer.raw(18, 99, &[]).await.expect("answered").expect("a frame");
    let mut answer = answer.slice(8..);
    let answer = ApiVersionsResponse::decode(&mut answer, 0).expect("a v0 body");
    assert_eq!((answer.error_code, answer.api_keys.len(), answer.api_keys[0].api_key), (35, 1, 18));
    // Kafka advertises Produce from 0 and refuses what is below 3 (KAFKA-18659).
    for (key, version) in [(0, 2), (0, 99), (1, 3), (11, 10), (3, 14)] {
        assert!(peer.raw(key, version, &[]).await.is_err(), "key {key} version {version}");
    }
}

#[tokio::test]
async fn a_batch_whose_body_lies_harms_only_its_reader() {
    let mut peer = Peer::new().await;
    let topic =
        CreatableTopic::default().with_name(name("lies")).with_num_partitions(1).with_replication_factor(1);
    let _: CreateTopicsResponse =
        peer.call(19, 7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
    // The head is whole: one record, a time, a right CRC. The body is no record, or claims a codec that it is not.
    let nonsense = Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f nonsense");
    let plain = tidegate_common::batch::build(Offset(0), 1, 5_000, 5_000, nonsense.clone());
    let mut zstd = tidegate_common::batch::build(Offset(0), 1, 6_000, 6_000, nonsense);
    zstd.head.0[22] |= 4;
    zstd.reseal();
    let mut honest = RecordsBuilder::new(Codec::None);
    honest.push(7_000, None, Some(b"value"), &[]);
    for (offset, batch) in [plain, zstd, honest.build(Offset(0))].iter().enumerate() {
        let answer: ProduceResponse = peer.call(0, 9, &produce("lies", 0, batch, -1)).await;
        let part = &answer.responses[0].partition_responses[0];
        assert_eq!((part.error_code, part.base_offset), (0, offset as i64), "the head alone decides");
    }
    // A time look-up that meets a lying body answers from its head, and one for a later time passes over it.
    for (at, offset) in [(5_000, 0), (5_500, 1), (6_500, 2), (7_001, -1), (-3, 2)] {
        let part = ListOffsetsPartition::default().with_timestamp(at).with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default().with_name(name("lies")).with_partitions(vec![part]);
        let answer: ListOffsetsResponse =
            peer.call(2, 7, &ListOffsetsRequest::default().with_topics(vec![topic])).await;
        let part = &answer.topics[0].partitions[0];
        assert_eq!((part.error_code, part.offset), (0, offset), "timestamp {at}");
    }
    let wanted = FetchPartition::default().with_partition_max_bytes(1 << 20).with_current_leader_epoch(-1);
    let topic = FetchTopic::default().with_topic(name("lies")).with_partitions(vec![wanted]);
    let ask = FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic]);
    let answer: FetchResponse = peer.call(1, 12, &ask).await;
    let mut records = answer.responses[0].partitions[0].records.clone().expect("records");
    let mut given = 0;
    while !records.is_empty() {
        tidegate_common::Batch::parse(&mut records).expect("whole batches").check_crc().expect("as sent");
        given += 1;
    }
    assert_eq!(given, 3, "the bytes are the reader's to judge");
}
