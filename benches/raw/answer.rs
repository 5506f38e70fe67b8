//! Whether an answer is the one that was due.
//!
//! Owns: the checks of produce and fetch answers. Any error code fails the run, with the code and Kafka's name for it;
//! so does an answer to another request, for another partition, or with offsets that cannot be.
//! Never: retries. A generator that hides a failed request measures something else.

use bytes::Bytes;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchResponse, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use thiserror::Error;
use tidegate_common::batch::{Batch, BatchError, HEAD_LEN, LOG_OVERHEAD};

#[derive(Debug, Error, PartialEq, Eq)]
pub enum AnswerError {
    #[error("{api} was refused for {what}: error code {code} ({name}) {message}")]
    Refused { api: &'static str, what: String, code: i16, name: String, message: String },
    #[error("{api} answer cannot be decoded: {reason}")]
    Malformed { api: &'static str, reason: String },
    #[error("answer to correlation id {got} where {due} was due")]
    Correlation { got: i32, due: i32 },
    #[error("{api} answer is not for partition {partition} alone")]
    Partition { api: &'static str, partition: i32 },
    #[error("partition {partition}: a batch was acknowledged at offset {got} after one at {earlier}")]
    Order { partition: i32, earlier: i64, got: i64 },
    #[error("partition {partition}: offset {due} was due, the next batch spans {base} to {last}")]
    Gap { partition: i32, due: i64, base: i64, last: i64 },
    #[error("partition {partition}: {bytes} bytes from offset {offset} hold no whole batch")]
    CutShort { partition: i32, offset: i64, bytes: usize },
    #[error("partition {partition} at offset {offset}: {error}")]
    Batch { partition: i32, offset: i64, error: BatchError },
}

/// What a checked answer counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub records: u64,
    /// Bytes of whole batches, heads included.
    pub bytes: u64,
}

/// Refuses any code but 0.
pub fn check_code(
    api: &'static str,
    what: &str,
    code: i16,
    message: Option<&str>,
) -> Result<(), AnswerError> {
    let Some(error) = code.err() else { return Ok(()) };
    Err(AnswerError::Refused {
        api,
        what: what.to_owned(),
        code,
        name: format!("{error:?}"),
        message: message.unwrap_or_default().to_owned(),
    })
}

/// Decodes an answer of type `R` to the request `correlation`.
pub fn decode<R: Decodable + HeaderVersion>(
    api: &'static str,
    version: i16,
    correlation: i32,
    mut frame: Bytes,
) -> Result<R, AnswerError> {
    let malformed = |error: &dyn std::fmt::Display| AnswerError::Malformed { api, reason: error.to_string() };
    let header = ResponseHeader::decode(&mut frame, R::header_version(version)).map_err(|e| malformed(&e))?;
    if header.correlation_id != correlation {
        return Err(AnswerError::Correlation { got: header.correlation_id, due: correlation });
    }
    let body = R::decode(&mut frame, version).map_err(|e| malformed(&e))?;
    match frame.len() {
        0 => Ok(body),
        rest => Err(malformed(&format!("{rest} bytes follow it"))),
    }
}

/// The base offset given to the one batch of a produce request.
pub fn check_produce(response: &ProduceResponse, partition: i32) -> Result<i64, AnswerError> {
    const API: &str = "Produce";
    let [topic] = &response.responses[..] else { return Err(AnswerError::Partition { api: API, partition }) };
    let [answer] = &topic.partition_responses[..] else {
        return Err(AnswerError::Partition { api: API, partition });
    };
    if answer.index != partition {
        return Err(AnswerError::Partition { api: API, partition });
    }
    check_code(API, &format!("partition {partition}"), answer.error_code, answer.error_message.as_deref())?;
    Ok(answer.base_offset)
}

/// The one partition of a fetch answer.
pub fn check_fetch(response: FetchResponse, partition: i32) -> Result<PartitionData, AnswerError> {
    const API: &str = "Fetch";
    check_code(API, "the request", response.error_code, None)?;
    let mut partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
    match (partitions.next(), partitions.next()) {
        (Some(answer), None) if answer.partition_index == partition => {
            check_code(API, &format!("partition {partition}"), answer.error_code, None)?;
            Ok(answer)
        }
        _ => Err(AnswerError::Partition { api: API, partition }),
    }
}

/// Walks the whole batches of a fetch answer that was asked for from `from`: returns the offset after the last one.
///
/// The first batch may begin before `from`; each later one begins where the one before ended. A broker may cut the last
/// batch short, which is left for the next request.
pub fn read_batches(
    mut records: Bytes,
    partition: i32,
    from: i64,
    verify_crc: bool,
) -> Result<(i64, Counted), AnswerError> {
    let mut next = from;
    let mut counted = Counted::default();
    if !records.is_empty() && is_cut_short(&records) {
        // Since KIP-74 the first batch comes whole whatever was asked for; else a reader could never pass it.
        return Err(AnswerError::CutShort { partition, offset: from, bytes: records.len() });
    }
    while !is_cut_short(&records) {
        let batch = Batch::parse(&mut records)
            .and_then(|batch| if verify_crc { batch.check_crc().map(|()| batch) } else { Ok(batch) })
            .map_err(|error| AnswerError::Batch { partition, offset: next, error })?;
        let (base, last) = (batch.head.base_offset().0, batch.head.last_offset().0);
        let begins_right = if counted.bytes == 0 { base <= next } else { base == next };
        if !begins_right || last < next {
            return Err(AnswerError::Gap { partition, due: next, base, last });
        }
        next = last + 1;
        counted.records += u64::from(batch.head.records_count().unsigned_abs());
        counted.bytes += batch.len() as u64;
    }
    Ok((next, counted))
}

/// Whether fewer bytes are left than the next batch says it has.
fn is_cut_short(records: &Bytes) -> bool {
    if records.len() < HEAD_LEN {
        return true;
    }
    let length = i32::from_be_bytes([records[8], records[9], records[10], records[11]]);
    usize::try_from(length).is_ok_and(|length| length > records.len() - LOG_OVERHEAD)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
