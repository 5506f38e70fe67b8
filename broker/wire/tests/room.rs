//! What legitimate requests the guard's bound leaves room for. The figures stand in the header of `guard`.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    DescribeConfigsRequest, FetchRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_wire::guard;

/// Far more than any client sends at once.
const PLENTY: usize = 20_000;

/// The greatest number up to [`PLENTY`] for which the request passes.
fn room<T: Encodable>(key: i16, version: i16, request: impl Fn(usize) -> T) -> usize {
    let passes = |n| {
        let mut body = BytesMut::new();
        request(n).encode(&mut body, version).expect("valid");
        guard::check(key, version, &body).is_ok()
    };
    let (mut passed, mut refused) = (0, PLENTY + 1);
    while passed + 1 < refused {
        let middle = usize::midpoint(passed, refused);
        if passes(middle) { passed = middle } else { refused = middle }
    }
    passed
}

fn name(i: usize, len: usize) -> TopicName {
    TopicName(StrBytes::from_string(format!("{i:0len$}")))
}

fn metadata(topics: usize, name_len: usize) -> MetadataRequest {
    let topic = |i| MetadataRequestTopic::default().with_name(Some(name(i, name_len)));
    MetadataRequest::default().with_topics(Some((0..topics).map(topic).collect()))
}

fn fetch(topics: usize, partitions: usize, name_len: usize) -> FetchRequest {
    let topic = |i| {
        FetchTopic::default()
            .with_topic(name(i, name_len))
            .with_partitions(vec![FetchPartition::default(); partitions])
    };
    FetchRequest::default().with_topics((0..topics).map(topic).collect())
}

fn produce(topics: usize, partitions: usize, name_len: usize) -> ProduceRequest {
    let records = Some(Bytes::from_static(&[0; 70]));
    let partition = PartitionProduceData::default().with_records(records);
    let topic = |i| {
        TopicProduceData::default()
            .with_name(name(i, name_len))
            .with_partition_data(vec![partition.clone(); partitions])
    };
    ProduceRequest::default().with_topic_data((0..topics).map(topic).collect())
}

fn offset_fetch(topics: usize, partitions: i32, name_len: usize) -> OffsetFetchRequest {
    let topic = |i| {
        OffsetFetchRequestTopics::default()
            .with_name(name(i, name_len))
            .with_partition_indexes((0..partitions).collect())
    };
    let group = OffsetFetchRequestGroup::default().with_topics(Some((0..topics).map(topic).collect()));
    OffsetFetchRequest::default().with_groups(vec![group])
}

fn offset_commit(partitions: usize) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_committed_metadata(None);
    let topic = OffsetCommitRequestTopic::default().with_partitions(vec![partition; partitions]);
    OffsetCommitRequest::default().with_topics(vec![topic])
}

fn describe_configs(topics: usize, name_len: usize) -> DescribeConfigsRequest {
    let topic = |i| {
        DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(name(i, name_len).0)
            .with_configuration_keys(None)
    };
    DescribeConfigsRequest::default().with_resources((0..topics).map(topic).collect())
}

/// Each line is a request, and how many topics or partitions of it must pass.
#[test]
fn requests_of_real_clients_fit() {
    let checks = [
        ("metadata 0, names of 10", room(3, 0, |n| metadata(n, 10)), 2_500),
        ("metadata 9, names of 10", room(3, 9, |n| metadata(n, 10)), 2_500),
        ("metadata 9, names of 16", room(3, 9, |n| metadata(n, 16)), PLENTY),
        ("metadata 12, names of 1", room(3, 12, |n| metadata(n, 1)), PLENTY),
        ("fetch 4, partitions", room(1, 4, |n| fetch(1, n, 10)), 3_800),
        ("fetch 5, partitions", room(1, 5, |n| fetch(1, n, 10)), PLENTY),
        ("fetch 4, topics, names of 10", room(1, 4, |n| fetch(n, 1, 10)), 1_200),
        ("fetch 5, topics, names of 10", room(1, 5, |n| fetch(n, 1, 10)), 3_800),
        ("fetch 9, topics, names of 10", room(1, 9, |n| fetch(n, 1, 10)), PLENTY),
        ("fetch 11, topics, names of 10", room(1, 11, |n| fetch(n, 1, 10)), PLENTY),
        ("fetch 12, topics, names of 10", room(1, 12, |n| fetch(n, 1, 10)), PLENTY),
        ("fetch 18, topics", room(1, 18, |n| fetch(n, 1, 10)), PLENTY),
        ("fetch 18, partitions", room(1, 18, |n| fetch(1, n, 10)), PLENTY),
        ("produce 3, topics", room(0, 3, |n| produce(n, 1, 10)), PLENTY),
        ("produce 13, topics", room(0, 13, |n| produce(n, 1, 10)), PLENTY),
        ("produce 13, partitions", room(0, 13, |n| produce(1, n, 10)), PLENTY),
        ("offset fetch 9, topics, names of 10", room(9, 9, |n| offset_fetch(n, 1, 10)), 1_900),
        ("offset fetch 9, topics of 10, names of 10", room(9, 9, |n| offset_fetch(n, 10, 10)), PLENTY),
        ("offset commit 2, partitions", room(8, 2, offset_commit), 3_800),
        ("offset commit 6, partitions", room(8, 6, offset_commit), PLENTY),
        ("offset commit 9, partitions", room(8, 9, offset_commit), PLENTY),
        ("describe configs 1, names of 10", room(32, 1, |n| describe_configs(n, 10)), 3_000),
        ("describe configs 4, names of 16", room(32, 4, |n| describe_configs(n, 16)), 7_600),
    ];
    for (what, room, wanted) in checks {
        println!("{what}: {room}");
        assert!(room >= wanted, "{what}: {room} pass, {wanted} are promised in the header of guard");
    }
}
