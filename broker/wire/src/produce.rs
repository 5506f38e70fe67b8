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
