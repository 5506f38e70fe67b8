//! What is different about the topics in which coordinators keep their state.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::*;
use tidegate_common::Offset;
use tidegate_tests::peer::{Peer, batch, name, produce, text};
use tidegate_wire::records::{Codec, RecordsBuilder};

const OFFSETS: &str = "__consumer_offsets";

async fn find(peer: &mut Peer) {
    let ask = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let answer: FindCoordinatorResponse = peer.call(10, 4, &ask).await;
    assert_eq!(answer.coordinators[0].error_code, 0);
}

async fn metadata(peer: &mut Peer, may_create: bool) -> metadata_response::MetadataResponseTopic {
    let asked = MetadataRequestTopic::default().with_name(Some(name(OFFSETS)));
    let ask =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(may_create);
    let answer: MetadataResponse = peer.call(3, 12, &ask).await;
    answer.topics[0].clone()
}

#[tokio::test]
async fn the_first_find_coordinator_creates_the_offsets_topic() {
    let mut peer = Peer::new().await;
    assert_eq!(metadata(&mut peer, false).await.error_code, 3);
    find(&mut peer).await;
    let topic = metadata(&mut peer, false).await;
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 50));
}

#[tokio::test]
async fn metadata_creates_the_offsets_topic_as_the_coordinator_would() {
    let mut peer = Peer::new().await;
    let topic = metadata(&mut peer, true).await;
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 50));
}

#[tokio::test]
async fn the_offsets_topic_reports_compact_and_its_other_configs_can_be_altered() {
    let mut peer = Peer::new().await;
    find(&mut peer).await;
    let change =
        AlterableConfig::default().with_name(text("min.insync.replicas")).with_value(Some(text("2")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(OFFSETS))
        .with_configs(vec![change]);
    let ask = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer: IncrementalAlterConfigsResponse = peer.call(44, 1, &ask).await;
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(OFFSETS))
        .with_configuration_keys(None);
    let answer: DescribeConfigsResponse =
        peer.call(32, 4, &DescribeConfigsRequest::default().with_resources(vec![resource])).await;
    for (config, value) in [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", "104857600"),
        ("min.insync.replicas", "2"),
    ] {
        let found = answer.results[0].configs.iter().find(|c| c.name.as_str() == config).expect(config);
        assert_eq!(found.value.as_deref(), Some(value), "{config}");
        assert_eq!(found.config_source, 1, "{config} is the topic's own");
    }
}

#[tokio::test]
async fn clients_do_not_write_trim_or_grow_the_offsets_topic() {
    let mut peer = Peer::new().await;
    find(&mut peer).await;
    let answer: ProduceResponse = peer.call(0, 9, &produce(OFFSETS, 0, &batch(1), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 17);
    let part = DeleteRecordsPartition::default().with_offset(-1);
    let topic = DeleteRecordsTopic::default().with_name(name(OFFSETS)).with_partitions(vec![part]);
    let answer: DeleteRecordsResponse =
        peer.call(21, 2, &DeleteRecordsRequest::default().with_topics(vec![topic])).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 17);
    let grow =
        CreatePartitionsTopic::default().with_name(name(OFFSETS)).with_count(60).with_assignments(None);
    let answer: CreatePartitionsResponse =
        peer.call(37, 3, &CreatePartitionsRequest::default().with_topics(vec![grow])).await;
    assert_eq!(answer.results[0].error_code, 37);
}

#[tokio::test]
async fn kafkas_own_tools_may_write_it_what_can_be_read_back() {
    let mut peer = Peer::new().await;
    find(&mut peer).await;
    peer.client_id = "__admin_client";
    // What the coordinator could not read back would keep it from ever loading again.
    let answer: ProduceResponse = peer.call(0, 9, &produce(OFFSETS, 0, &batch(1), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 87);
    let mut tombstone = RecordsBuilder::new(Codec::None);
    tombstone.push(1, Some(b"\0\x01\0\x01g\0\x01t\0\0\0\0"), None, &[]);
    let answer: ProduceResponse =
        peer.call(0, 9, &produce(OFFSETS, 0, &tombstone.build(Offset(0)), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

#[tokio::test]
async fn the_metadata_log_cannot_be_created_as_a_topic() {
    let mut peer = Peer::new().await;
    let topic = CreatableTopic::default()
        .with_name(name("__cluster_metadata"))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let answer: CreateTopicsResponse =
        peer.call(19, 7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
    assert_eq!(answer.topics[0].error_code, 42);
}
