//! What legitimate requests the guard's bound leaves room for. The figures stand in the header of `guard`.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, MetadataRequest, OffsetFetchRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_wire::guard::{self, COST_BASE, COST_PER_BYTE, GuardError};

/// Bytes on the wire, and what decoding takes at most.
fn measure<T: Encodable>(what: &str, key: i16, version: i16, request: &T) -> Result<(usize, usize), GuardError> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("valid");
    let cost = guard::cost(key, version, &body);
    let allowed = COST_PER_BYTE * body.len() + COST_BASE;
    println!("{what} v{version}: {} bytes, cost {cost:?}, allowed {allowed}", body.len());
    cost.map(|cost| (body.len(), cost))
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

#[test]
fn typical_requests_of_a_thousand_topics_pass() {
    for version in 0..=13 {
        measure("metadata, 1,000 topics, names of 10", 3, version, &metadata(1_000, 10)).expect("room");
    }
    for version in 4..=18 {
        measure("fetch, 1,000 topics of 1, names of 10", 1, version, &fetch(1_000, 1, 10)).expect("room");
        measure("fetch, 10 topics of 1,000, names of 10", 1, version, &fetch(10, 1_000, 10)).expect("room");
    }
    for version in 3..=13 {
        measure("produce, 1,000 topics of 1, names of 10", 0, version, &produce(1_000, 1, 10)).expect("room");
        measure("produce, 1 topic of 10,000, names of 10", 0, version, &produce(1, 10_000, 10)).expect("room");
    }
    measure("offset fetch, 1,000 topics of 1, names of 10", 9, 8, &offset_fetch(1_000, 1, 10)).expect("room");
    measure("offset fetch, 1,000 topics of 10, names of 10", 9, 8, &offset_fetch(1_000, 10, 10)).expect("room");
}

#[test]
fn ten_thousand_topics() {
    for version in [1, 4, 9, 12, 13] {
        for len in [8, 10, 12, 16, 24] {
            let what = format!("metadata, 10,000 topics, names of {len}");
            let _ = measure(&what, 3, version, &metadata(10_000, len));
        }
    }
    for version in [4, 5, 9, 11, 12, 13, 17, 18] {
        for len in [10, 16, 24] {
            let what = format!("fetch, 10,000 topics of 1, names of {len}");
            let _ = measure(&what, 1, version, &fetch(10_000, 1, len));
        }
        let _ = measure("fetch, 10 topics of 10,000, names of 10", 1, version, &fetch(10, 10_000, 10));
    }
    for version in [3, 9, 12, 13] {
        let _ = measure("produce, 10,000 topics of 1", 0, version, &produce(10_000, 1, 10));
    }
    for version in [8, 9] {
        for len in [10, 16, 24] {
            let _ = measure(&format!("offset fetch 10,000 topics of 1, names of {len}"), 9, version, &offset_fetch(10_000, 1, len));
        }
    }
}
