//! Stories for `workload`.

use std::io::IoSlice;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use tidegate_common::ids::Offset;
use tidegate_common::random::SeededRandom;

use super::*;
use crate::frames::{FrameReader, SLICES_MAX};

fn topic() -> TopicIdentity {
    TopicIdentity { name: "a-topic".into(), id: uuid::Uuid::from_u128(77) }
}

/// What the broker would read.
fn sent<R: Decodable + HeaderVersion>(queue: &mut SendQueue, version: i16) -> (RequestHeader, R) {
    let mut reader = FrameReader::default();
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = queue.slices(&mut slices);
    for slice in &slices[..count] {
        reader.room().expect("small").put_slice(slice);
    }
    *queue = SendQueue::default();
    let mut frame = reader.next().expect("small").expect("one whole frame");
    let header = RequestHeader::decode(&mut frame, R::header_version(version)).expect("a header");
    let request = R::decode(&mut frame, version).expect("a request");
    assert!(frame.is_empty() && reader.next().expect("small").is_none(), "nothing follows it");
    (header, request)
}

fn framed<R: Encodable + HeaderVersion>(correlation: i32, version: i16, response: &R) -> Bytes {
    let mut frame = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut frame, R::header_version(version)).expect("encodes");
    response.encode(&mut frame, version).expect("encodes");
    frame.freeze()
}

fn produced(correlation: i32, partition: i32, base: i64) -> Bytes {
    let answer = PartitionProduceResponse::default().with_index(partition).with_base_offset(base);
    let topic = TopicProduceResponse::default().with_partition_responses(vec![answer]);
    framed(correlation, 9, &ProduceResponse::default().with_responses(vec![topic]))
}

#[test]
fn produce_requests_go_to_the_partitions_in_turn_and_decode() {
    for version in 9..=12 {
        let batch = LoadBatch::build(100, 1000, 5, &SeededRandom::new(1));
        let mut produce = Produce::new(version, &topic(), &[4, 1], batch.clone()).expect("encodes");
        let mut queue = SendQueue::default();
        for (correlation, partition) in [(7, 4), (8, 1), (9, 4)] {
            assert_eq!(produce.request(correlation, &mut queue), partition);
            let (header, request) = sent::<ProduceRequest>(&mut queue, version);
            assert_eq!((header.correlation_id, header.request_api_version), (correlation, version));
            assert_eq!((request.acks, request.transactional_id), (-1, None));
            assert_eq!(request.topic_data[0].name.as_str(), "a-topic");
            let data = &request.topic_data[0].partition_data[0];
            assert_eq!((data.index, data.records.as_ref()), (partition, Some(&batch.bytes)));
        }
    }
}

#[test]
fn acknowledged_offsets_must_rise_per_partition() {
    let batch = LoadBatch::build(100, 1000, 5, &SeededRandom::new(1));
    let counted = Counted { records: u64::from(batch.records), bytes: batch.bytes.len() as u64 };
    let mut produce = Produce::new(9, &topic(), &[0, 1], batch).expect("encodes");
    assert_eq!(produce.answer(1, 0, produced(1, 0, 10)), Ok(counted));
    assert_eq!(produce.answer(2, 1, produced(2, 1, 3)), Ok(counted));
    assert_eq!(produce.answer(3, 0, produced(3, 0, 11)), Ok(counted));
    let again = AnswerError::Order { partition: 0, earlier: 11, got: 11 };
    assert_eq!(produce.answer(4, 0, produced(4, 0, 11)), Err(again));
    let none = AnswerError::Order { partition: 1, earlier: 3, got: -1 };
    assert_eq!(produce.answer(5, 1, produced(5, 1, -1)), Err(none));
}

fn shape(at_end: AtEnd) -> FetchShape {
    FetchShape { version: 13, max_bytes: 4096, max_wait_ms: 500, at_end, verify_crc: true }
}

/// An answer with one batch of `count` records at `base`, from a log that spans 2 to `end`.
fn fetched(correlation: i32, partition: i32, base: i64, count: i32, end: i64) -> Bytes {
    let mut records = BytesMut::new();
    if count > 0 {
        let batch = tidegate_common::batch::build(Offset(base), count, 0, 0, Bytes::from_static(b"body"));
        batch.write_to(&mut records);
    }
    let answer = PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(end)
        .with_log_start_offset(2)
        .with_records(Some(records.freeze()));
    let topic = FetchableTopicResponse::default().with_topic_id(topic().id).with_partitions(vec![answer]);
    framed(correlation, 13, &FetchResponse::default().with_responses(vec![topic]))
}

#[test]
fn a_reader_goes_on_where_the_answer_ended_and_cycles_at_the_high_watermark() {
    let mut fetch = Fetch::new(shape(AtEnd::Cycle), &topic(), vec![Cursor { partition: 3, offset: 2 }]);
    let mut queue = SendQueue::default();
    // Offset asked for, then what the answer holds.
    for (correlation, offset, base, count) in [(1, 2, 2, 5), (2, 7, 7, 3), (3, 2, 2, 5)] {
        let cursor = fetch.request(correlation, &mut queue);
        let (header, request) = sent::<FetchRequest>(&mut queue, 13);
        assert_eq!(header.correlation_id, correlation);
        assert_eq!((request.session_id, request.session_epoch, request.min_bytes), (0, -1, 1));
        assert_eq!(request.topics[0].topic_id, topic().id);
        let partition = &request.topics[0].partitions[0];
        assert_eq!((partition.partition, partition.fetch_offset), (3, offset));
        assert_eq!((request.max_bytes, partition.partition_max_bytes), (4096, 4096));
        let counted = fetch.answer(correlation, cursor, fetched(correlation, 3, base, count, 10));
        assert_eq!(counted.expect("in order").records, count as u64);
    }
}

#[test]
fn a_tailing_reader_stays_at_the_end_and_counts_nothing_while_there_is_nothing() {
    let at_end = Cursor { partition: 3, offset: 10 };
    let mut fetch = Fetch::new(shape(AtEnd::Tail), &topic(), vec![at_end]);
    let mut queue = SendQueue::default();
    let cursor = fetch.request(1, &mut queue);
    assert_eq!(fetch.answer(1, cursor, fetched(1, 3, 0, 0, 10)), Ok(Counted::default()));
    assert_eq!(fetch.request(2, &mut queue), at_end);
    fetch.answer(2, at_end, fetched(2, 3, 10, 2, 12)).expect("in order");
    assert_eq!(fetch.request(3, &mut queue), Cursor { partition: 3, offset: 12 });
}

#[test]
fn each_request_in_flight_has_a_reader_of_its_own() {
    let cursors = vec![Cursor { partition: 0, offset: 2 }, Cursor { partition: 1, offset: 2 }];
    let mut fetch = Fetch::new(shape(AtEnd::Cycle), &topic(), cursors.clone());
    let mut queue = SendQueue::default();
    assert_eq!(fetch.request(1, &mut queue), cursors[0]);
    assert_eq!(fetch.request(2, &mut queue), cursors[1]);
    fetch.answer(1, cursors[0], fetched(1, 0, 2, 5, 10)).expect("in order");
    assert_eq!(fetch.request(3, &mut queue), Cursor { partition: 0, offset: 7 });
}
