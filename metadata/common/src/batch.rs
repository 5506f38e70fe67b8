//! The opaque record batch (magic 2): a 61-byte owned head and a shared body.
//!
//! Owns: the byte layout of the head and the two fields a broker may set in it.
//! Invariants: base offset and partition leader epoch lie outside the CRC, so setting them keeps it valid;
//! `batch_length` always equals 49 + body length for a batch that [`Batch::parse`] accepted.
//! Never: looks into the body.

use bytes::{BufMut, Bytes};
use thiserror::Error;

use crate::ids::{LeaderEpoch, Offset};

/// Bytes of a magic-2 batch before its records.
pub const HEAD_LEN: usize = 61;
/// Bytes before the part that `batch_length` counts (base offset and the length itself).
pub const LOG_OVERHEAD: usize = 12;
/// Bytes from the start up to and including the CRC; the CRC covers what follows.
const CRC_START: usize = 21;

/// Why bytes are not a batch.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum BatchError {
    #[error("{0} bytes are fewer than a batch head")]
    Short(usize),
    #[error("batch length {0} does not fit the bytes given")]
    Length(i32),
    #[error("magic {0} is not 2")]
    Magic(i8),
    #[error("crc {stored:08x} stored, {computed:08x} computed")]
    Crc { stored: u32, computed: u32 },
}

/// The owned first 61 bytes of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchHead(pub [u8; HEAD_LEN]);

impl BatchHead {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(self.array(0)))
    }

    #[must_use]
    pub fn batch_length(&self) -> i32 {
        i32::from_be_bytes(self.array(8))
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(self.array(12)))
    }

    #[must_use]
    pub fn magic(&self) -> i8 {
        i8::from_be_bytes(self.array(16))
    }

    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.array(17))
    }

    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.array(21))
    }

    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.array(23))
    }

    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(27))
    }

    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(35))
    }

    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.array(43))
    }

    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.array(51))
    }

    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.array(53))
    }

    #[must_use]
    pub fn records_count(&self) -> i32 {
        i32::from_be_bytes(self.array(57))
    }

    /// Offset of the last record. Exact for any head that passed admission (`last_offset_delta` ≥ 0).
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta()))
    }

    /// The offset after this batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Sequence of the last record; wraps from `i32::MAX` to 0 as in Kafka.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        crate::producers::sequence_plus(self.base_sequence(), self.last_offset_delta())
    }

    /// Codec in bits 0 to 2: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; others are unknown.
    #[must_use]
    pub fn codec(&self) -> u8 {
        (self.attributes() & 0x07) as u8
    }

    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & 0x08 != 0
    }

    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & 0x10 != 0
    }

    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & 0x20 != 0
    }

    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() >= 0
    }

    /// Sets the base offset, which lies outside the CRC.
    pub fn set_base_offset(&mut self, offset: Offset) {
        self.0[0..8].copy_from_slice(&offset.0.to_be_bytes());
    }

    /// Sets the partition leader epoch, which lies outside the CRC.
    pub fn set_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.0[12..16].copy_from_slice(&epoch.0.to_be_bytes());
    }

    /// Sets LogAppendTime and the maximum timestamp; the CRC must be set anew with [`Batch::reseal`].
    pub fn set_log_append_time(&mut self, now_ms: i64) {
        let attributes = self.attributes() | 0x08;
        self.0[21..23].copy_from_slice(&attributes.to_be_bytes());
        self.0[35..43].copy_from_slice(&now_ms.to_be_bytes());
    }
}

impl std::fmt::Debug for BatchHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchHead")
            .field("base", &self.base_offset().0)
            .field("last", &self.last_offset().0)
            .field("epoch", &self.leader_epoch().0)
            .field("length", &self.batch_length())
            .field("producer", &(self.producer_id(), self.producer_epoch(), self.base_sequence()))
            .finish_non_exhaustive()
    }
}

/// One batch: head and body. `body` may pin the buffer it was cut from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub head: BatchHead,
    pub body: Bytes,
}

impl Batch {
    /// Cuts the first batch off `bytes`, checking length and magic. Does not check the CRC.
    ///
    /// # Errors
    /// [`BatchError`] when the bytes are too few, the length lies, or the magic is not 2.
    pub fn parse(bytes: &mut Bytes) -> Result<Batch, BatchError> {
        let head = parse_head(bytes)?;
        let total = total_len(&head, bytes.len())?;
        let mut batch = bytes.split_to(total);
        let body = batch.split_off(HEAD_LEN);
        Ok(Batch { head, body })
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub fn len(&self) -> usize {
        HEAD_LEN + self.body.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    #[must_use]
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.head.0[CRC_START..]), &self.body)
    }

    /// # Errors
    /// [`BatchError::Crc`] when the stored CRC is not that of the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.head.crc(), self.computed_crc());
        if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
    }

    /// Computes and sets the CRC, after a field that it covers was set.
    pub fn reseal(&mut self) {
        let crc = self.computed_crc();
        self.head.0[17..21].copy_from_slice(&crc.to_be_bytes());
    }

    pub fn write_to(&self, out: &mut impl BufMut) {
        out.put_slice(&self.head.0);
        out.put_slice(&self.body);
    }
}

fn parse_head(bytes: &[u8]) -> Result<BatchHead, BatchError> {
    let first = bytes.get(..HEAD_LEN).ok_or(BatchError::Short(bytes.len()))?;
    let mut head = BatchHead([0; HEAD_LEN]);
    head.0.copy_from_slice(first);
    if head.magic() != 2 {
        return Err(BatchError::Magic(head.magic()));
    }
    Ok(head)
}

fn total_len(head: &BatchHead, available: usize) -> Result<usize, BatchError> {
    let length = head.batch_length();
    let total = usize::try_from(length).ok().and_then(|n| n.checked_add(LOG_OVERHEAD));
    match total {
        Some(total) if total >= HEAD_LEN && total <= available => Ok(total),
        _ => Err(BatchError::Length(length)),
    }
}

/// Builds batches for tests, coordinators and tools: records are given as already encoded body bytes.
#[must_use]
pub fn build(base: Offset, count: i32, first_timestamp: i64, max_timestamp: i64, body: Bytes) -> Batch {
    let mut head = BatchHead([0; HEAD_LEN]);
    head.set_base_offset(base);
    let length = i32::try_from(HEAD_LEN - LOG_OVERHEAD + body.len()).expect("a batch is below 2 GiB");
    head.0[8..12].copy_from_slice(&length.to_be_bytes());
    head.0[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    head.0[16] = 2;
    head.0[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    head.0[27..35].copy_from_slice(&first_timestamp.to_be_bytes());
    head.0[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    head.0[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    head.0[51..53].copy_from_slice(&(-1i16).to_be_bytes());
    head.0[53..57].copy_from_slice(&(-1i32).to_be_bytes());
    head.0[57..61].copy_from_slice(&count.to_be_bytes());
    let mut batch = Batch { head, body };
    batch.reseal();
    batch
}

/// As [`build`], from an idempotent producer.
#[must_use]
pub fn build_idempotent(base: Offset, count: i32, producer: (i64, i16, i32), body: Bytes) -> Batch {
    let mut batch = build(base, count, 0, 0, body);
    batch.head.0[43..51].copy_from_slice(&producer.0.to_be_bytes());
    batch.head.0[51..53].copy_from_slice(&producer.1.to_be_bytes());
    batch.head.0[53..57].copy_from_slice(&producer.2.to_be_bytes());
    batch.reseal();
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_round_trips_and_its_broker_fields_lie_outside_the_crc() {
        let mut batch = build(Offset(7), 3, 10, 20, Bytes::from_static(b"records"));
        batch.head.set_base_offset(Offset(1000));
        batch.head.set_leader_epoch(LeaderEpoch(5));
        batch.check_crc().expect("offset and epoch are not covered");
        let mut bytes = Vec::new();
        batch.write_to(&mut bytes);
        let mut bytes = Bytes::from(bytes);
        let parsed = Batch::parse(&mut bytes).expect("whole");
        assert_eq!(parsed, batch);
        assert!(bytes.is_empty());
        assert_eq!(parsed.head.last_offset(), Offset(1002));
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        for length in [-1, 0, 48, 57, i32::MAX] {
            let mut batch = build(Offset(0), 1, 0, 0, Bytes::from_static(b"records"));
            batch.head.0[8..12].copy_from_slice(&i32::to_be_bytes(length));
            let mut bytes = Vec::new();
            batch.write_to(&mut bytes);
            assert_eq!(Batch::parse(&mut Bytes::from(bytes)), Err(BatchError::Length(length)));
        }
    }

    #[test]
    fn every_flip_under_the_crc_is_found() {
        let batch = build(Offset(0), 1, 0, 0, Bytes::from_static(b"records"));
        let mut bytes = Vec::new();
        batch.write_to(&mut bytes);
        for i in CRC_START..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            let parsed = Batch::parse(&mut Bytes::from(bad)).expect("the length is whole");
            assert!(parsed.check_crc().is_err(), "flip at {i}");
        }
    }
}
