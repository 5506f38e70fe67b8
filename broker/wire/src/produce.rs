//! Admission of one partition's records in a Produce request, by the batch head alone.
//!
//! Owns: which batches a broker takes, and the error code for each refusal (`LogValidator`, `ProduceRequest` and
//! `UnifiedLog` in Kafka).
//! Invariants: an admitted batch has magic 2, a CRC that holds, base offset 0, `count >= 1`,
//! `last_offset_delta == count - 1`, a known codec, and no control flag. Nothing is copied but the head.
//! Left out on purpose: what only the inner records can tell (their own count, deltas, timestamps, null keys). A body
//! that lies harms its readers only; `docs/compat.md` lists the difference.

use bytes::Bytes;
use thiserror::Error;
use tidegate_common::batch::BatchError;
use tidegate_common::{Batch, BatchHead};

use crate::records::Codec;

/// First Produce version that may carry zstd.
const ZSTD_FROM: i16 = 7;
/// All formats have the magic byte here.
const MAGIC_AT: usize = 16;
/// Kafka's NO_TIMESTAMP, exempt from the bounds.
const NO_TIMESTAMP: i64 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// `max.message.bytes` of the topic: the whole batch.
    pub max_message_bytes: usize,
}

/// A topic's settings for the times that a client states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampLimits {
    /// `message.timestamp.type=LogAppendTime`: the broker sets the time, and the bounds do not apply.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub after_max_ms: i64,
}

/// Why a batch is not taken; the whole partition of the request is refused.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum BatchRefusal {
    #[error("the partition's records are empty; exactly one record batch is expected")]
    Empty,
    #[error("more than one record batch for a partition")]
    SeveralBatches,
    #[error("message format version {0} is not supported; only version 2 is")]
    OldMagic(u8),
    #[error("{0}")]
    Corrupt(BatchError),
    #[error("the batch is {size} bytes, max.message.bytes is {max}")]
    TooLarge { size: usize, max: usize },
    #[error("base offset is {0} and should be 0")]
    BaseOffset(i64),
    #[error("record count is {0}")]
    Count(i32),
    #[error("last offset delta {last_offset_delta} and record count {count} disagree")]
    OffsetRange { last_offset_delta: i32, count: i32 },
    #[error("clients may not write control records")]
    Control,
    #[error("producer id {producer_id} comes with epoch {epoch} and sequence {sequence}")]
    Producer { producer_id: i64, epoch: i16, sequence: i32 },
    #[error("a transactional batch without a producer id")]
    TransactionalWithoutProducer,
    #[error("unknown compression type {0}")]
    UnknownCodec(u8),
    #[error("zstd needs Produce version 7 or later")]
    ZstdTooEarly,
    #[error("timestamp {timestamp} is outside of {min} to {max}")]
    Timestamp { timestamp: i64, min: i64, max: i64 },
    #[error("a producer may not set the timestamp type to LogAppendTime")]
    LogAppendTime,
}

impl BatchRefusal {
    /// Kafka's error code.
    #[must_use]
    pub fn code(&self) -> i16 {
        match self {
            Self::Corrupt(_) => 2,
            Self::TooLarge { .. } => 10,
            Self::Timestamp { .. } | Self::LogAppendTime => 32,
            Self::UnknownCodec(_) | Self::ZstdTooEarly => 76,
            Self::Empty
            | Self::SeveralBatches
            | Self::OldMagic(_)
            | Self::BaseOffset(_)
            | Self::Count(_)
            | Self::OffsetRange { .. }
            | Self::Control
            | Self::Producer { .. }
            | Self::TransactionalWithoutProducer => 87,
        }
    }
}

/// Takes the one batch that a partition of a Produce request carries. The body stays a slice of `records`.
///
/// # Errors
/// [`BatchRefusal`], in Kafka's order: form, format, size, CRC, content.
pub fn parse_produce_batch(
    mut records: Bytes,
    api_version: i16,
    limits: &BatchLimits,
) -> Result<Batch, BatchRefusal> {
    if records.is_empty() {
        return Err(BatchRefusal::Empty);
    }
    // Messages of the formats that Kafka dropped may be shorter than a head, so this comes before the parse.
    if let Some(magic @ (0 | 1)) = records.get(MAGIC_AT) {
        return Err(BatchRefusal::OldMagic(*magic));
    }
    let batch = Batch::parse(&mut records).map_err(BatchRefusal::Corrupt)?;
    if !records.is_empty() {
        return Err(BatchRefusal::SeveralBatches);
    }
    let head = &batch.head;
    check_codec(head, api_version)?;
    if head.base_offset().0 != 0 {
        return Err(BatchRefusal::BaseOffset(head.base_offset().0));
    }
    if batch.len() > limits.max_message_bytes {
        return Err(BatchRefusal::TooLarge { size: batch.len(), max: limits.max_message_bytes });
    }
    batch.check_crc().map_err(BatchRefusal::Corrupt)?;
    check_content(head)?;
    Ok(batch)
}

/// Checks the times that a client states in the head: the first record's, and the greatest.
///
/// # Errors
/// [`BatchRefusal::Timestamp`] or [`BatchRefusal::LogAppendTime`].
pub fn check_timestamps(head: &BatchHead, limits: &TimestampLimits, now_ms: i64) -> Result<(), BatchRefusal> {
    if head.is_log_append_time() {
        return Err(BatchRefusal::LogAppendTime);
    }
    if limits.log_append_time {
        return Ok(());
    }
    let min = now_ms.saturating_sub(limits.before_max_ms);
    let max = now_ms.saturating_add(limits.after_max_ms);
    for timestamp in [head.base_timestamp(), head.max_timestamp()] {
        if timestamp != NO_TIMESTAMP && !(min..=max).contains(&timestamp) {
            return Err(BatchRefusal::Timestamp { timestamp, min, max });
        }
    }
    Ok(())
}

fn check_codec(head: &BatchHead, api_version: i16) -> Result<(), BatchRefusal> {
    match Codec::of(head) {
        Err(unknown) => Err(BatchRefusal::UnknownCodec(unknown)),
        Ok(Codec::Zstd) if api_version < ZSTD_FROM => Err(BatchRefusal::ZstdTooEarly),
        Ok(_) => Ok(()),
    }
}

fn check_content(head: &BatchHead) -> Result<(), BatchRefusal> {
    let (count, last_offset_delta) = (head.records_count(), head.last_offset_delta());
    if count <= 0 {
        return Err(BatchRefusal::Count(count));
    }
    if last_offset_delta != count - 1 {
        return Err(BatchRefusal::OffsetRange { last_offset_delta, count });
    }
    if head.is_control() {
        return Err(BatchRefusal::Control);
    }
    let (producer_id, epoch, sequence) = (head.producer_id(), head.producer_epoch(), head.base_sequence());
    if head.has_producer_id() && (epoch < 0 || sequence < 0) {
        return Err(BatchRefusal::Producer { producer_id, epoch, sequence });
    }
    if head.is_transactional() && !head.has_producer_id() {
        return Err(BatchRefusal::TransactionalWithoutProducer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RecordsBuilder;
    use bytes::BytesMut;
    use tidegate_common::Offset;

    const LIMITS: BatchLimits = BatchLimits { max_message_bytes: 1000 };

    fn batch() -> Batch {
        let mut builder = RecordsBuilder::new(Codec::None).producer(4, 0, 9);
        builder.push(100, Some(b"k"), Some(b"v"), &[]).push(200, None, Some(b"w"), &[]);
        builder.build(Offset(0))
    }

    fn sent(batches: &[Batch]) -> Bytes {
        let mut out = BytesMut::new();
        batches.iter().for_each(|b| b.write_to(&mut out));
        out.freeze()
    }

    /// What becomes of the batch with some head bytes changed and a CRC that fits.
    fn changed(at: usize, bytes: &[u8]) -> Result<Batch, BatchRefusal> {
        let mut batch = batch();
        batch.head.0[at..at + bytes.len()].copy_from_slice(bytes);
        batch.reseal();
        parse_produce_batch(sent(&[batch]), 9, &LIMITS)
    }

    #[test]
    fn a_good_batch_is_taken_and_its_body_not_copied() {
        let records = sent(&[batch()]);
        let taken = parse_produce_batch(records.clone(), 3, &LIMITS).expect("good");
        assert_eq!(taken, batch());
        assert_eq!(taken.body.as_ptr(), records[tidegate_common::HEAD_LEN..].as_ptr());
    }

    #[test]
    fn each_refusal_has_kafkas_code() {
        let parse = |records: Bytes| parse_produce_batch(records, 9, &LIMITS).expect_err("refused");
        let code = |result: Result<Batch, BatchRefusal>| result.expect_err("refused").code();
        assert_eq!(parse(Bytes::new()).code(), 87, "empty");
        assert_eq!(parse(sent(&[batch(), batch()])), BatchRefusal::SeveralBatches);
        assert_eq!(parse(sent(&[batch(), batch()])).code(), 87);
        assert_eq!(parse(Bytes::from_static(&[0; 30])), BatchRefusal::OldMagic(0));
        assert_eq!(code(changed(16, &[1])), 87, "magic 1");
        assert_eq!(code(changed(16, &[3])), 2, "magic 3");
        assert_eq!(code(changed(8, &200_i32.to_be_bytes())), 2, "length beyond the bytes");
        assert_eq!(code(changed(8, &(-1_i32).to_be_bytes())), 2, "negative length");
        assert_eq!(code(changed(0, &7_i64.to_be_bytes())), 87, "base offset");
        assert_eq!(code(changed(57, &0_i32.to_be_bytes())), 87, "no records");
        assert_eq!(code(changed(57, &i32::MIN.to_be_bytes())), 87, "a negative count");
        assert_eq!(code(changed(57, &3_i32.to_be_bytes())), 87, "count and last delta disagree");
        assert_eq!(code(changed(23, &(-1_i32).to_be_bytes())), 87, "negative last delta");
        assert_eq!(code(changed(22, &[0x20])), 87, "control");
        assert_eq!(code(changed(53, &(-1_i32).to_be_bytes())), 87, "producer without sequence");
        assert_eq!(code(changed(51, &(-1_i16).to_be_bytes())), 87, "producer without epoch");
        assert_eq!(code(changed(22, &[0x05])), 76, "codec 5");
        let mut damaged = batch();
        damaged.head.0[30] ^= 1;
        assert_eq!(parse(sent(&[damaged])).code(), 2, "crc");
        let mut anonymous = batch();
        anonymous.head.0[22] = 0x10;
        anonymous.head.0[43..51].copy_from_slice(&(-1_i64).to_be_bytes());
        anonymous.reseal();
        assert_eq!(parse(sent(&[anonymous])), BatchRefusal::TransactionalWithoutProducer);
    }

    #[test]
    fn a_batch_of_no_producer_needs_no_sequence() {
        let mut builder = RecordsBuilder::new(Codec::None);
        builder.push(1, None, None, &[]);
        assert!(parse_produce_batch(sent(&[builder.build(Offset(0))]), 9, &LIMITS).is_ok());
    }

    #[test]
    fn zstd_needs_version_7() {
        let mut builder = RecordsBuilder::new(Codec::Zstd);
        builder.push(1, None, Some(&[0; 100]), &[]);
        let records = sent(&[builder.build(Offset(0))]);
        let early = parse_produce_batch(records.clone(), 6, &LIMITS).expect_err("refused");
        assert_eq!((early, early.code()), (BatchRefusal::ZstdTooEarly, 76));
        assert!(parse_produce_batch(records, 7, &LIMITS).is_ok());
    }

    #[test]
    fn the_size_limit_is_on_the_whole_batch() {
        let size = batch().len();
        let limits = |max_message_bytes| BatchLimits { max_message_bytes };
        assert!(parse_produce_batch(sent(&[batch()]), 9, &limits(size)).is_ok());
        let refused = parse_produce_batch(sent(&[batch()]), 9, &limits(size - 1)).expect_err("refused");
        assert_eq!((refused, refused.code()), (BatchRefusal::TooLarge { size, max: size - 1 }, 10));
    }

    #[test]
    fn timestamps_are_bounded_on_both_sides() {
        let check =
            |batch: &Batch, limits| check_timestamps(&batch.head, &limits, 1000).map_err(|r| r.code());
        let limits = |before_max_ms, after_max_ms| TimestampLimits {
            log_append_time: false,
            before_max_ms,
            after_max_ms,
        };
        // The batch's records are at 100 and 200.
        assert_eq!(check(&batch(), limits(900, 0)), Ok(()));
        assert_eq!(check(&batch(), limits(899, 0)), Err(32));
        assert_eq!(check(&batch(), limits(i64::MAX, -800)), Ok(()));
        assert_eq!(check(&batch(), limits(i64::MAX, -801)), Err(32));
        let mut untimed = RecordsBuilder::new(Codec::None);
        untimed.push(-1, None, None, &[]);
        assert_eq!(check(&untimed.build(Offset(0)), limits(0, 0)), Ok(()));
        let broker_sets = TimestampLimits { log_append_time: true, before_max_ms: 0, after_max_ms: 0 };
        assert_eq!(check(&batch(), broker_sets), Ok(()));
        let mut claims = batch();
        claims.head.set_log_append_time(1000);
        assert_eq!(check(&claims, broker_sets), Err(32));
        assert_eq!(check(&claims, limits(i64::MAX, i64::MAX)), Err(32));
    }
}
