//! Answers: the Fetch encoder is held byte for byte to kafka-protocol's, large bodies are passed on, prefixes are right.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData, SnapshotId,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, FetchResponse, HeartbeatResponse, MetadataResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;
use tidegate_common::{Batch, HEAD_LEN, Offset, batch};
use tidegate_wire::response::{
    EncodeError, FetchAnswer, Frame, PartitionAnswer, TopicAnswer, encode_fetch, encode_response,
};
use uuid::Uuid;

fn whole(frame: &Frame) -> Vec<u8> {
    let bytes = frame.chunks.concat();
    assert_eq!(bytes.len(), frame.len);
    assert_eq!(bytes[..4], (frame.len as u32 - 4).to_be_bytes(), "the prefix counts what follows it");
    assert!(frame.chunks.iter().all(|c| !c.is_empty()));
    bytes
}

/// What kafka-protocol makes of the same answer, with the records of each partition in one piece.
fn expected(version: i16, correlation_id: i32, answer: &FetchAnswer) -> Option<Vec<u8>> {
    let partition = |p: &PartitionAnswer| {
        let mut records = BytesMut::new();
        p.batches.iter().for_each(|b| b.write_to(&mut records));
        p.data.clone().with_records(Some(records.freeze()))
    };
    let topic = |t: &TopicAnswer| {
        FetchableTopicResponse::default()
            .with_topic(t.topic.clone())
            .with_topic_id(t.topic_id)
            .with_partitions(t.partitions.iter().map(partition).collect())
    };
    let response = FetchResponse::default()
        .with_throttle_time_ms(answer.throttle_time_ms)
        .with_error_code(answer.error_code)
        .with_session_id(answer.session_id)
        .with_responses(answer.topics.iter().map(topic).collect())
        .with_node_endpoints(answer.node_endpoints.clone());
    let mut body = BytesMut::new();
    body.put_i32(correlation_id);
    if version >= 12 {
        body.put_u8(0);
    }
    response.encode(&mut body, version).ok()?;
    Some([&(body.len() as u32).to_be_bytes()[..], &body].concat())
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let len = prop_oneof![0..100usize, 2040..2060usize, Just(20_000)];
    let batch = (len, any::<u8>(), any::<u32>()).prop_map(|(len, fill, base)| {
        batch::build(Offset(base.into()), 1, 5, 9, Bytes::from(vec![fill; len]))
    });
    prop::collection::vec(batch, 0..5)
}

/// Mostly the default, as an answer has it.
fn seldom<T: Default + Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    prop_oneof![3 => Just(T::default()), 1 => value].boxed()
}

fn partition() -> impl Strategy<Value = PartitionAnswer> {
    let numbers = (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), any::<i64>());
    let epoch = seldom(
        (any::<i32>(), any::<i64>())
            .prop_map(|(e, o)| EpochEndOffset::default().with_epoch(e).with_end_offset(o)),
    );
    let leader = seldom(
        (any::<i32>(), any::<i32>())
            .prop_map(|(l, e)| LeaderIdAndEpoch::default().with_leader_id(l.into()).with_leader_epoch(e)),
    );
    let snapshot = seldom(
        (any::<i32>(), any::<i64>())
            .prop_map(|(e, o)| SnapshotId::default().with_epoch(e).with_end_offset(o)),
    );
    let aborted = (any::<i64>(), any::<i64>()).prop_map(|(p, o)| {
        AbortedTransaction::default().with_producer_id(ProducerId(p)).with_first_offset(o)
    });
    let aborted = prop::option::of(prop::collection::vec(aborted, 0..3));
    let replica = prop_oneof![9 => Just(-1), 1 => any::<i32>()];
    (numbers, epoch, leader, snapshot, aborted, replica, batches()).prop_map(
        |((index, error, high, stable, start), epoch, leader, snapshot, aborted, replica, batches)| {
            let data = PartitionData::default()
                .with_partition_index(index)
                .with_error_code(error)
                .with_high_watermark(high)
                .with_last_stable_offset(stable)
                .with_log_start_offset(start)
                .with_diverging_epoch(epoch)
                .with_current_leader(leader)
                .with_snapshot_id(snapshot)
                .with_aborted_transactions(aborted)
                .with_preferred_read_replica(replica.into());
            PartitionAnswer { data, batches }
        },
    )
}

fn answer() -> impl Strategy<Value = FetchAnswer> {
    let name = "[a-z]{0,9}".prop_map(|s| TopicName(StrBytes::from_string(s)));
    let topic = (name, any::<u128>(), prop::collection::vec(partition(), 0..4))
        .prop_map(|(topic, id, partitions)| TopicAnswer { topic, topic_id: Uuid::from_u128(id), partitions });
    let endpoint = (any::<i32>(), "[a-z]{0,9}", any::<i32>(), prop::option::of("[a-z]{0,4}")).prop_map(
        |(id, host, port, rack)| {
            NodeEndpoint::default()
                .with_node_id(id.into())
                .with_host(StrBytes::from_string(host))
                .with_port(port)
                .with_rack(rack.map(StrBytes::from_string))
        },
    );
    let numbers = (any::<i32>(), any::<i16>(), seldom(any::<i32>()));
    (numbers, prop::collection::vec(topic, 0..4), prop::collection::vec(endpoint, 0..3)).prop_map(
        |((throttle_time_ms, error_code, session_id), topics, node_endpoints)| FetchAnswer {
            throttle_time_ms,
            error_code,
            session_id,
            topics,
            node_endpoints,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fetch_answer_is_what_kafka_protocol_makes_of_it(answer in answer(), correlation_id: i32) {
        for version in 4..=18 {
            let ours = encode_fetch(version, correlation_id, &answer).map(|f| whole(&f)).ok();
            prop_assert_eq!(ours, expected(version, correlation_id, &answer), "version {}", version);
        }
    }
}

#[test]
fn large_bodies_are_passed_on_and_small_ones_share_a_chunk() {
    let body = |len| Bytes::from(vec![1; len]);
    let batch = |len| batch::build(Offset(0), 1, 0, 0, body(len));
    let of = |lens: &[usize]| {
        let data = PartitionData::default();
        PartitionAnswer { data, batches: lens.iter().map(|len| batch(*len)).collect() }
    };
    let answer = FetchAnswer {
        topics: vec![TopicAnswer {
            partitions: vec![of(&[10, 20, 100_000, 30]), of(&[40])],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encode_fetch(13, 1, &answer).expect("valid");
    let large = &answer.topics[0].partitions[0].batches[2].body;
    assert_eq!(frame.chunks.len(), 3, "what stands before the large body, the body, what follows");
    assert_eq!(frame.chunks[1].as_ptr(), large.as_ptr(), "the body was copied");
    let around = frame.len - large.len();
    assert!(around < 5 * HEAD_LEN + 10 + 20 + 30 + 40 + 200, "{around}");
}

#[test]
fn an_answer_beyond_two_gib_is_an_error() {
    let body = Bytes::from(vec![0; 1 << 30]);
    let batch = Batch { head: batch::build(Offset(0), 1, 0, 0, Bytes::new()).head, body };
    let partition = |n| PartitionAnswer { batches: vec![batch.clone(); n], ..Default::default() };
    let answer = |partitions| FetchAnswer {
        topics: vec![TopicAnswer { partitions, ..Default::default() }],
        ..Default::default()
    };
    assert!(encode_fetch(13, 1, &answer(vec![partition(1)])).is_ok());
    for partitions in [vec![partition(2)], vec![partition(1), partition(1)]] {
        assert!(matches!(encode_fetch(13, 1, &answer(partitions)), Err(EncodeError::TooLarge(_))));
    }
}

#[test]
fn other_answers_are_one_chunk_with_the_right_header() {
    let body_at = |key, version, response: &dyn Fn() -> Result<Frame, EncodeError>, header: &[u8]| {
        let frame = response().unwrap_or_else(|e| panic!("{key} {version}: {e}"));
        assert_eq!(frame.chunks.len(), 1);
        assert_eq!(whole(&frame)[4..4 + header.len()], *header, "{key} {version}");
        whole(&frame)[4 + header.len()..].to_vec()
    };
    let metadata = MetadataResponse::default();
    let plain = body_at(3, 8, &|| encode_response(3, 8, 7, &metadata), &[0, 0, 0, 7]);
    let mut alone = BytesMut::new();
    metadata.encode(&mut alone, 8).expect("valid");
    assert_eq!(plain, alone);
    body_at(3, 9, &|| encode_response(3, 9, 7, &metadata), &[0, 0, 0, 7, 0]);
    let heartbeat = HeartbeatResponse::default();
    body_at(12, 3, &|| encode_response(12, 3, -1, &heartbeat), &[0xff; 4]);
    body_at(12, 4, &|| encode_response(12, 4, -1, &heartbeat), &[0xff, 0xff, 0xff, 0xff, 0]);
    // Never flexible, or a client could not read what the broker speaks.
    let versions = ApiVersionsResponse::default().with_error_code(35);
    let body = body_at(18, 4, &|| encode_response(18, 4, 7, &versions), &[0, 0, 0, 7]);
    assert_eq!(body[..2], [0, 35]);
}

#[test]
fn answers_that_a_version_cannot_carry_are_errors() {
    let answer = FetchAnswer { session_id: 1, ..Default::default() };
    assert!(encode_fetch(6, 0, &answer).is_err() && encode_fetch(7, 0, &answer).is_ok());
    for version in [3, 19, -1] {
        assert!(encode_fetch(version, 0, &FetchAnswer::default()).is_err());
    }
    assert!(matches!(
        encode_response(4, 0, 0, &HeartbeatResponse::default()),
        Err(EncodeError::UnknownKey(4))
    ));
}
