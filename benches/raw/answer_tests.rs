//! Stories for `answer`.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::fetch_response::FetchableTopicResponse;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::protocol::Encodable;
use tidegate_common::batch;
use tidegate_common::ids::Offset;

use super::*;

fn produce_answer(partition: i32, code: i16, base: i64) -> ProduceResponse {
    let answer = PartitionProduceResponse::default()
        .with_index(partition)
        .with_error_code(code)
        .with_base_offset(base)
        .with_error_message((code != 0).then(|| "disk is full".into()));
    ProduceResponse::default()
        .with_responses(vec![TopicProduceResponse::default().with_partition_responses(vec![answer])])
}

fn fetch_answer(code: i16, partitions: Vec<PartitionData>) -> FetchResponse {
    FetchResponse::default()
        .with_error_code(code)
        .with_responses(vec![FetchableTopicResponse::default().with_partitions(partitions)])
}

fn framed(correlation: i32, response: &ProduceResponse) -> Bytes {
    let mut frame = BytesMut::new();
    ResponseHeader::default().with_correlation_id(correlation).encode(&mut frame, 1).expect("encodes");
    response.encode(&mut frame, 9).expect("encodes");
    frame.freeze()
}

/// A batch of `count` records at `base`.
fn batch_at(base: i64, count: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch::build(Offset(base), count, 0, 0, Bytes::from_static(b"the records")).write_to(&mut bytes);
    bytes
}

#[test]
fn an_acknowledged_batch_gives_its_offset() {
    let decoded: ProduceResponse =
        decode("Produce", 9, 5, framed(5, &produce_answer(3, 0, 42))).expect("decodes");
    assert_eq!(check_produce(&decoded, 3), Ok(42));
}

#[test]
fn a_refused_batch_is_an_error_with_code_name_and_message() {
    let error = check_produce(&produce_answer(3, 19, -1), 3).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "Produce was refused for partition 3: error code 19 (NotEnoughReplicas) disk is full"
    );
    let unknown = check_produce(&produce_answer(3, 9999, -1), 3).expect_err("refused");
    assert!(unknown.to_string().contains("error code 9999"), "{unknown}");
}

#[test]
fn an_answer_to_another_request_is_an_error() {
    let frame = framed(6, &produce_answer(3, 0, 42));
    let error = decode::<ProduceResponse>("Produce", 9, 5, frame).expect_err("out of order");
    assert_eq!(error, AnswerError::Correlation { got: 6, due: 5 });
}

#[test]
fn an_answer_for_another_partition_or_for_none_is_an_error() {
    let wrong = AnswerError::Partition { api: "Produce", partition: 4 };
    assert_eq!(check_produce(&produce_answer(3, 0, 42), 4), Err(wrong));
    assert!(check_produce(&ProduceResponse::default(), 0).is_err());
    assert!(check_fetch(fetch_answer(0, vec![]), 0).is_err());
    let both = vec![PartitionData::default(), PartitionData::default().with_partition_index(1)];
    assert!(check_fetch(fetch_answer(0, both), 0).is_err());
}

#[test]
fn bytes_that_are_cut_or_left_over_do_not_decode() {
    let whole = framed(5, &produce_answer(3, 0, 42));
    for len in 0..whole.len() {
        assert!(decode::<ProduceResponse>("Produce", 9, 5, whole.slice(..len)).is_err(), "{len} bytes");
    }
    let mut longer = BytesMut::from(&whole[..]);
    longer.put_u8(0);
    assert!(decode::<ProduceResponse>("Produce", 9, 5, longer.freeze()).is_err());
}

#[test]
fn a_fetch_error_counts_wherever_it_is_said() {
    let good = || vec![PartitionData::default().with_partition_index(2)];
    assert!(check_fetch(fetch_answer(0, good()), 2).is_ok());
    assert!(check_fetch(fetch_answer(-1, good()), 2).is_err());
    let bad = vec![PartitionData::default().with_partition_index(2).with_error_code(1)];
    let error = check_fetch(fetch_answer(0, bad), 2).expect_err("refused");
    assert!(error.to_string().contains("error code 1 (OffsetOutOfRange)"), "{error}");
}

#[test]
fn batches_are_walked_to_the_first_that_is_cut_short() {
    let (first, second, third) = (batch_at(10, 5), batch_at(15, 2), batch_at(17, 1));
    let all = [first.clone(), second.clone(), third.clone()].concat();
    let whole = (first.len() + second.len()) as u64;
    for cut in 0..third.len() {
        let records = Bytes::copy_from_slice(&all[..all.len() - third.len() + cut]);
        // 12 is within the first batch: a broker answers with the whole of it.
        let read = read_batches(records, 0, 12, true);
        assert_eq!(read, Ok((17, Counted { records: 7, bytes: whole })), "{cut} bytes of the third");
    }
    let read = read_batches(Bytes::from(all), 0, 12, true).expect("whole");
    assert_eq!(read.0, 18);
    assert_eq!(read_batches(Bytes::new(), 0, 12, true), Ok((12, Counted::default())));
}

#[test]
fn a_first_batch_that_is_cut_short_is_an_error() {
    let whole = batch_at(10, 1);
    for len in 1..whole.len() {
        let records = Bytes::copy_from_slice(&whole[..len]);
        let error = AnswerError::CutShort { partition: 0, offset: 10, bytes: len };
        assert_eq!(read_batches(records, 0, 10, false), Err(error));
    }
}

#[test]
fn offsets_that_skip_or_repeat_are_found() {
    let gap = |base, last| Err(AnswerError::Gap { partition: 0, due: 10, base, last });
    assert_eq!(read_batches(batch_at(11, 1).into(), 0, 10, false), gap(11, 11));
    assert_eq!(read_batches(batch_at(8, 2).into(), 0, 10, false), gap(8, 9));
    let skipping = [batch_at(5, 5), batch_at(11, 1)].concat();
    assert_eq!(read_batches(skipping.into(), 0, 5, false), gap(11, 11));
    let repeating = [batch_at(5, 5), batch_at(9, 3)].concat();
    assert_eq!(read_batches(repeating.into(), 0, 5, false), gap(9, 11));
}

#[test]
fn damage_is_found_by_the_crc_when_asked_and_by_the_head_always() {
    let mut body = batch_at(10, 1);
    *body.last_mut().expect("not empty") ^= 1;
    assert!(read_batches(body.clone().into(), 0, 10, false).is_ok());
    assert!(matches!(
        read_batches(body.into(), 0, 10, true),
        Err(AnswerError::Batch { error: BatchError::Crc { .. }, .. })
    ));
    let mut length = batch_at(10, 1);
    length[8..12].copy_from_slice(&(-5i32).to_be_bytes());
    assert!(read_batches(length.into(), 0, 10, false).is_err());
    let mut magic = batch_at(10, 1);
    magic[16] = 1;
    assert!(read_batches(magic.into(), 0, 10, false).is_err());
}
