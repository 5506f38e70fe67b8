//! Every served API in every version: the broker answers, and the answer decodes as that version.
//!
//! The real handlers on a real (simulated-disk) broker; what the answers say is the client suites' to judge.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidegate_broker::api::{Answer, Close, Handler, SERVED, Surface};
use tidegate_broker::net::connection::Client;
use tidegate_common::Offset;
use tidegate_tests::sim::broker::compose;
use tidegate_tests::sim::history::History;
use tidegate_tests::sim::world::World;
use tidegate_wire::records::{Codec, RecordsBuilder};
use tidegate_wire::versions;

const NOT_THERE: &str = "not-there";

struct Peer {
    surface: Surface,
    seen: BTreeSet<(i16, i16)>,
}

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

fn name(s: &str) -> TopicName {
    TopicName(text(s))
}

impl Peer {
    async fn new() -> Self {
        let world = World::new(1, 0, History::new());
        let broker = compose(&world).await.expect("starts");
        tokio::spawn(tidegate_broker::start::run_loops(Arc::clone(&broker)));
        let client = Client { listener: "PLAINTEXT".into(), host: [127, 0, 0, 1].into() };
        Self { surface: Surface { broker, client }, seen: BTreeSet::new() }
    }

    async fn raw(&mut self, key: i16, version: i16, body: &[u8]) -> Result<Option<Bytes>, Close> {
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(text("test")));
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, versions::request_header_version(key, version).expect("known"))
            .expect("encodes");
        frame.extend_from_slice(body);
        let frame = match self.surface.handle(frame.freeze()).await? {
            Answer::Now(frame) | Answer::Held(frame, _) => frame,
            Answer::When(pending, frame) => {
                assert!(pending.done().await, "released");
                frame
            }
            Answer::None => return Ok(None),
        };
        Ok(Some(frame.chunks.concat().into()))
    }

    async fn call<Q: Encodable, A: Decodable>(&mut self, key: i16, version: i16, request: &Q) -> A {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap_or_else(|e| panic!("key {key} version {version}: {e}"));
        let answer = self.raw(key, version, &body).await;
        let mut answer =
            answer.unwrap_or_else(|e| panic!("key {key} version {version}: {e}")).expect("an answer");
        let len = usize::try_from(answer.get_i32()).expect("a length");
        assert_eq!(len, answer.len(), "key {key} version {version}: the length is that of the answer");
        assert_eq!(answer.get_i32(), 7);
        if versions::response_header_version(key, version) == Some(1) {
            assert_eq!(answer.get_u8(), 0);
        }
        let decoded =
            A::decode(&mut answer, version).unwrap_or_else(|e| panic!("key {key} version {version}: {e}"));
        assert!(answer.is_empty(), "key {key} version {version}: {} bytes are left", answer.len());
        self.seen.insert((key, version));
        decoded
    }

    fn topic_id(&self, topic: &str) -> uuid::Uuid {
        self.surface.broker.metadata.image().topic_by_name(topic).expect("created").id
    }
}

fn all(key: i16) -> std::ops::RangeInclusive<i16> {
    let range = versions::range(key).expect("served");
    range.min..=range.max
}

fn batch() -> Bytes {
    let mut records = RecordsBuilder::new(Codec::None);
    records.push(1_700_000_000_000, None, Some(b"value"), &[]);
    let mut bytes = BytesMut::new();
    records.build(Offset(0)).write_to(&mut bytes);
    bytes.freeze()
}

#[tokio::test]
async fn every_served_api_answers_in_every_version() {
    let mut peer = Peer::new().await;
    admin(&mut peer).await;
    data(&mut peer).await;
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
        assert_eq!(codes, [42, 17, 42], "named twice, invalid name");
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

async fn data(peer: &mut Peer) {
    let id = peer.topic_id("t7");
    for v in all(0) {
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch()));
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

#[tokio::test]
async fn what_is_not_served_closes_and_future_api_versions_get_kip_511() {
    let mut peer = Peer::new().await;
    let answer = peer.raw(18, 99, &[]).await.expect("answered").expect("a frame");
    let mut answer = answer.slice(8..);
    let answer = ApiVersionsResponse::decode(&mut answer, 0).expect("a v0 body");
    assert_eq!((answer.error_code, answer.api_keys.len(), answer.api_keys[0].api_key), (35, 1, 18));
    // Kafka advertises Produce from 0 and refuses what is below 3 (KAFKA-18659).
    for (key, version) in [(0, 2), (0, 99), (1, 3), (11, 5), (3, 14)] {
        assert!(peer.raw(key, version, &[]).await.is_err(), "key {key} version {version}");
    }
}
