//! Rules of Kafka's data path, one test each, against the real handlers. `docs/compat.md` names them.

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::*;
use tidegate_common::{Batch, Offset};
use tidegate_tests::peer::{Peer, batch, name, produce, text};
use tidegate_wire::records::{Codec, RecordsBuilder};

const TOPIC: &str = "rules";

async fn peer_with(records: usize) -> Peer {
    let mut peer = Peer::new().await;
    create(&mut peer, TOPIC, 2, 1).await;
    for n in 0..records {
        let code = write(&mut peer, &batch(1_000 + n as i64), -1).await;
        assert_eq!(code, 0);
    }
    peer
}

async fn create(peer: &mut Peer, topic: &str, partitions: i32, factor: i16) -> i16 {
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(factor);
    let answer: CreateTopicsResponse =
        peer.call(19, 7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
    answer.topics[0].error_code
}

async fn write(peer: &mut Peer, batch: &Batch, acks: i16) -> i16 {
    let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 0, batch, acks)).await;
    answer.responses[0].partition_responses[0].error_code
}

fn wanted(offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
}

fn fetch(partition: FetchPartition) -> FetchRequest {
    let topic = FetchTopic::default().with_topic(name(TOPIC)).with_partitions(vec![partition]);
    FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic])
}

async fn fetch_one(
    peer: &mut Peer,
    version: i16,
    partition: FetchPartition,
) -> fetch_response::PartitionData {
    let answer: FetchResponse = peer.call(1, version, &fetch(partition)).await;
    answer.responses[0].partitions[0].clone()
}

fn look_up(timestamp: i64, epoch: i32) -> ListOffsetsRequest {
    let part = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(epoch);
    let topic = ListOffsetsTopic::default().with_name(name(TOPIC)).with_partitions(vec![part]);
    ListOffsetsRequest::default().with_topics(vec![topic])
}

async fn list(peer: &mut Peer, version: i16, timestamp: i64) -> (i16, i64) {
    let answer: ListOffsetsResponse = peer.call(2, version, &look_up(timestamp, -1)).await;
    let part = &answer.topics[0].partitions[0];
    (part.error_code, part.offset)
}

fn epoch(peer: &Peer) -> i32 {
    let id = peer.topic_id(TOPIC);
    peer.surface.broker.metadata.image().partition(id, 0).expect("there").leader_epoch.0
}

#[tokio::test]
async fn acks_are_minus_one_zero_or_one() {
    let mut peer = peer_with(0).await;
    for (acks, code) in [(-1, 0), (1, 0), (2, 21), (-2, 21)] {
        assert_eq!(write(&mut peer, &batch(1), acks).await, code, "acks {acks}");
    }
}

#[tokio::test]
async fn acks_zero_is_not_answered_and_closes_on_an_error() {
    let mut peer = peer_with(0).await;
    let mut body = bytes::BytesMut::new();
    kafka_protocol::protocol::Encodable::encode(&produce(TOPIC, 0, &batch(1), 0), &mut body, 9)
        .expect("encodes");
    assert!(peer.raw(0, 9, &body).await.expect("open").is_none());
    let mut body = bytes::BytesMut::new();
    kafka_protocol::protocol::Encodable::encode(&produce("nowhere", 0, &batch(1), 0), &mut body, 9)
        .expect("encodes");
    assert!(peer.raw(0, 9, &body).await.is_err());
}

#[tokio::test]
async fn unknown_topics_and_partitions_have_their_own_codes() {
    let mut peer = peer_with(0).await;
    let answer: ProduceResponse = peer.call(0, 9, &produce("nowhere", 0, &batch(1), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 3);
    let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 7, &batch(1), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 3);
    let topic =
        FetchTopic::default().with_topic_id(uuid::Uuid::from_u128(5)).with_partitions(vec![wanted(0)]);
    let ask = FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic]);
    let answer: FetchResponse = peer.call(1, 13, &ask).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 100);
}

#[tokio::test]
async fn special_timestamps_are_known_from_their_version_on() {
    let mut peer = peer_with(3).await;
    for (timestamp, since, offset) in [(-3, 7, 2), (-4, 8, 0), (-5, 9, -1)] {
        assert_eq!(list(&mut peer, since - 1, timestamp).await.0, 35, "{timestamp} before v{since}");
        assert_eq!(list(&mut peer, since, timestamp).await, (0, offset), "{timestamp} in v{since}");
    }
    assert_eq!(list(&mut peer, 10, -77).await.0, 35);
}

#[tokio::test]
async fn a_partition_named_twice_in_list_offsets_is_an_invalid_request() {
    let mut peer = peer_with(1).await;
    let mut ask = look_up(-1, -1);
    let twice = ask.topics[0].partitions[0].clone();
    ask.topics[0].partitions.push(twice);
    let answer: ListOffsetsResponse = peer.call(2, 7, &ask).await;
    let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [42], "answered once, as in Kafka");
}

#[tokio::test]
async fn the_current_leader_epoch_is_checked_where_it_is_given() {
    let mut peer = peer_with(1).await;
    let now = epoch(&peer);
    for (asked, code) in [(-1, 0), (now, 0), (now - 1, 74), (now + 1, 75)] {
        assert_eq!(
            fetch_one(&mut peer, 12, wanted(0).with_current_leader_epoch(asked)).await.error_code,
            code
        );
        let answer: ListOffsetsResponse = peer.call(2, 7, &look_up(-1, asked)).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code);
        let part =
            OffsetForLeaderPartition::default().with_leader_epoch(now).with_current_leader_epoch(asked);
        let topic = OffsetForLeaderTopic::default().with_topic(name(TOPIC)).with_partitions(vec![part]);
        let ask = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let answer: OffsetForLeaderEpochResponse = peer.call(23, 4, &ask).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code);
    }
}

#[tokio::test]
async fn a_reader_of_another_history_is_told_where_it_diverged() {
    let mut peer = peer_with(3).await;
    let now = epoch(&peer);
    let agrees = fetch_one(&mut peer, 12, wanted(3).with_last_fetched_epoch(now)).await;
    assert_eq!((agrees.error_code, agrees.diverging_epoch.epoch), (0, -1));
    let unknown = fetch_one(&mut peer, 12, wanted(1).with_last_fetched_epoch(now - 1)).await;
    assert_eq!((unknown.error_code, unknown.diverging_epoch.end_offset), (0, -1), "no such epoch: -1, -1");
}

#[tokio::test]
async fn offsets_outside_of_the_log_are_out_of_range_and_its_end_is_not() {
    let mut peer = peer_with(3).await;
    for (offset, code) in [(3, 0), (4, 1), (-1, 1)] {
        let part = fetch_one(&mut peer, 12, wanted(offset)).await;
        assert_eq!(part.error_code, code, "offset {offset}");
        assert!(part.records.is_none_or(|r| r.is_empty()));
    }
}

#[tokio::test]
async fn max_bytes_bounds_an_answer_but_the_first_batch_is_whole() {
    let mut peer = peer_with(5).await;
    let whole = |part: &fetch_response::PartitionData| {
        let (mut records, mut n) = (part.records.clone().unwrap_or_default(), 0);
        while !records.is_empty() {
            Batch::parse(&mut records).expect("whole");
            n += 1;
        }
        n
    };
    let one = batch(1).len() as i32;
    for (max_bytes, batches) in [(1, 1), (one, 1), (2 * one, 2), (1 << 20, 5)] {
        let part = fetch_one(&mut peer, 12, wanted(0).with_partition_max_bytes(max_bytes)).await;
        assert_eq!(whole(&part), batches, "partition_max_bytes {max_bytes}");
        let answer: FetchResponse = peer.call(1, 12, &fetch(wanted(0)).with_max_bytes(max_bytes)).await;
        assert_eq!(whole(&answer.responses[0].partitions[0]), batches, "max_bytes {max_bytes}");
    }
}

#[tokio::test]
async fn zstd_is_for_fetch_from_version_10_and_produce_from_7() {
    let mut peer = peer_with(0).await;
    let mut records = RecordsBuilder::new(Codec::Zstd);
    records.push(1, None, Some(b"value"), &[]);
    let batch = records.build(Offset(0));
    let answer: ProduceResponse = peer.call(0, 6, &produce(TOPIC, 0, &batch, -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 76);
    assert_eq!(write(&mut peer, &batch, -1).await, 0);
    assert_eq!(fetch_one(&mut peer, 9, wanted(0)).await.error_code, 76);
    assert_eq!(fetch_one(&mut peer, 10, wanted(0)).await.error_code, 0);
}

#[tokio::test]
async fn sessions_tell_what_changed_and_refuse_what_does_not_fit() {
    let mut peer = peer_with(1).await;
    let open = fetch(wanted(0)).with_session_epoch(0);
    let full: FetchResponse = peer.call(1, 12, &open).await;
    assert!(full.session_id > 0);
    let next = |epoch, id| {
        FetchRequest::default().with_max_bytes(1 << 20).with_session_id(id).with_session_epoch(epoch)
    };
    // The offset was not moved: the same records come again, so the partition is told.
    let again: FetchResponse = peer.call(1, 12, &next(1, full.session_id)).await;
    assert_eq!(again.responses.len(), 1);
    let moved = next(2, full.session_id).with_topics(fetch(wanted(1)).topics);
    let quiet: FetchResponse = peer.call(1, 12, &moved).await;
    assert_eq!((quiet.error_code, quiet.responses.len()), (0, 0), "nothing changed");
    for (epoch, id, version, code) in
        [(9, full.session_id, 12, 71), (1, full.session_id ^ 1, 12, 70), (3, full.session_id, 13, 106)]
    {
        let refused: FetchResponse = peer.call(1, version, &next(epoch, id)).await;
        assert_eq!(refused.error_code, code);
    }
}

#[tokio::test]
async fn metadata_by_id_and_without_a_name() {
    let mut peer = peer_with(0).await;
    let id = peer.topic_id(TOPIC);
    let by_id = |id| MetadataRequestTopic::default().with_topic_id(id).with_name(None);
    let ask = MetadataRequest::default().with_topics(Some(vec![by_id(id), by_id(uuid::Uuid::from_u128(9))]));
    let answer: MetadataResponse = peer.call(3, 12, &ask).await;
    let codes: Vec<i16> = answer.topics.iter().map(|t| t.error_code).collect();
    assert_eq!(codes, [0, 100]);
    assert_eq!(answer.topics[0].name, Some(name(TOPIC)));
}

#[tokio::test]
async fn any_replication_factor_is_taken_and_live_brokers_are_listed() {
    let mut peer = peer_with(0).await;
    assert_eq!(create(&mut peer, "three", 1, 3).await, 0);
    let ask = MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name("three")))]));
    let answer: MetadataResponse = peer.call(3, 12, &ask).await;
    let part = &answer.topics[0].partitions[0];
    assert_eq!(
        (part.replica_nodes.len(), part.isr_nodes.len(), part.leader_id),
        (1, 1, part.replica_nodes[0])
    );
    assert_eq!(create(&mut peer, "none", 1, 0).await, 38);
}

#[tokio::test]
async fn describe_cluster_knows_brokers_only() {
    let mut peer = peer_with(0).await;
    for (kind, code) in [(1, 0), (2, 114), (3, 115)] {
        let answer: DescribeClusterResponse =
            peer.call(60, 1, &DescribeClusterRequest::default().with_endpoint_type(kind)).await;
        assert_eq!(answer.error_code, code);
    }
}

#[tokio::test]
async fn features_with_minimum_zero_are_told_from_version_4_on() {
    let mut peer = peer_with(0).await;
    let ask = ApiVersionsRequest::default()
        .with_client_software_name(text("a"))
        .with_client_software_version(text("1"));
    for (version, supported) in [(3, 1), (4, 3)] {
        let answer: ApiVersionsResponse = peer.call(18, version, &ask).await;
        assert_eq!(answer.supported_features.len(), supported);
        let finalized: Vec<(&str, i16)> =
            answer.finalized_features.iter().map(|f| (f.name.as_str(), f.max_version_level)).collect();
        assert_eq!(finalized, [("metadata.version", 27)]);
        let zero = answer.supported_features.iter().filter(|f| f.min_version == 0);
        assert!(zero.clone().all(|f| f.max_version == 0), "nothing is turned on that is not served");
    }
    let bad = ApiVersionsRequest::default()
        .with_client_software_name(text("-"))
        .with_client_software_version(text("1"));
    let answer: ApiVersionsResponse = peer.call(18, 3, &bad).await;
    assert_eq!(answer.error_code, 42);
}

#[tokio::test]
async fn between_the_high_watermark_and_the_log_end_a_fetch_is_empty() {
    use tidegate_broker::api::{Answer, Handler};
    let mut peer = peer_with(1).await;
    let mut records = RecordsBuilder::new(Codec::None);
    for _ in 0..5 {
        records.push(2_000, None, Some(b"value"), &[]);
    }
    let mut frame = bytes::BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(0).with_request_api_version(9);
    kafka_protocol::protocol::Encodable::encode(&header, &mut frame, 2).expect("encodes");
    let ask = produce(TOPIC, 0, &records.build(Offset(0)), -1);
    kafka_protocol::protocol::Encodable::encode(&ask, &mut frame, 9).expect("encodes");
    // Admitted, and not released before this task waits for something.
    let Ok(Answer::When(pending, _)) = peer.surface.handle(frame.freeze()).await else { panic!("admitted") };
    let broker = std::sync::Arc::clone(&peer.surface.broker);
    let partition = broker.partitions.get(&broker.metadata.image(), peer.topic_id(TOPIC), 0).expect("owned");
    let view = partition.view();
    assert_eq!((view.high_watermark, view.end), (Offset(1), Offset(6)), "five records are not released yet");
    for (offset, code) in [(1, 0), (3, 0), (6, 0), (7, 1)] {
        let part = fetch_one(&mut peer, 12, wanted(offset)).await;
        assert_eq!(part.error_code, code, "offset {offset}");
        assert!(part.records.is_none_or(|r| r.is_empty()), "offset {offset}");
    }
    assert_eq!(partition.view().high_watermark, Offset(1), "still not");
    assert!(pending.done().await);
    assert!(fetch_one(&mut peer, 12, wanted(3)).await.records.is_some_and(|r| !r.is_empty()));
}
