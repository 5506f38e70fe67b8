//! Builds batches: for coordinators, whose records the broker writes itself, for tools and tests.

use bytes::Bytes;
use tidegate_common::{Batch, Offset, batch};

use super::Codec;
use crate::varint::put_zigzag;

const ATTRIBUTES: std::ops::Range<usize> = 21..23;
const LAST_OFFSET_DELTA: std::ops::Range<usize> = 23..27;
const PRODUCER_ID: std::ops::Range<usize> = 43..51;
const PRODUCER_EPOCH: std::ops::Range<usize> = 51..53;
const BASE_SEQUENCE: std::ops::Range<usize> = 53..57;

/// Collects records, then makes one batch of them.
#[derive(Debug, Default)]
pub struct RecordsBuilder {
    codec: Codec,
    /// Attribute bits besides the codec.
    flags: i16,
    producer: Option<(i64, i16, i32)>,
    body: Vec<u8>,
    count: i32,
    last_offset_delta: i32,
    first_timestamp: i64,
    max_timestamp: i64,
    record: Vec<u8>,
}

impl RecordsBuilder {
    pub const TRANSACTIONAL: i16 = 0x10;
    pub const CONTROL: i16 = 0x20;

    #[must_use]
    pub fn new(codec: Codec) -> RecordsBuilder {
        RecordsBuilder { codec, last_offset_delta: -1, ..RecordsBuilder::default() }
    }

    /// Sets attribute bits ([`TRANSACTIONAL`](Self::TRANSACTIONAL), [`CONTROL`](Self::CONTROL)).
    #[must_use]
    pub fn flags(mut self, flags: i16) -> RecordsBuilder {
        self.flags |= flags;
        self
    }

    /// Sets producer id, epoch and first sequence.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> RecordsBuilder {
        self.producer = Some((id, epoch, sequence));
        self
    }

    /// Adds a record at the next offset.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut RecordsBuilder {
        self.push_at(self.last_offset_delta + 1, timestamp, key, value, headers)
    }

    /// Adds a record at an offset delta above those before it; offsets between them stay empty, as after compaction.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut RecordsBuilder {
        assert!(offset_delta > self.last_offset_delta, "offset deltas rise");
        if self.count == 0 {
            (self.first_timestamp, self.max_timestamp) = (timestamp, timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
        self.last_offset_delta = offset_delta;
        self.record.clear();
        self.record.push(0);
        put_zigzag(&mut self.record, timestamp.wrapping_sub(self.first_timestamp));
        put_zigzag(&mut self.record, offset_delta.into());
        put_nullable(&mut self.record, key);
        put_nullable(&mut self.record, value);
        put_zigzag(&mut self.record, headers.len() as i64);
        for (name, value) in headers {
            put_nullable(&mut self.record, Some(name));
            put_nullable(&mut self.record, *value);
        }
        put_zigzag(&mut self.body, self.record.len() as i64);
        self.body.extend_from_slice(&self.record);
        self
    }

    /// Bytes of the records so far, before compression.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.body.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch, sealed with its CRC.
    #[must_use]
    pub fn build(self, base: Offset) -> Batch {
        let body = self.codec.compress(self.body).expect("compressing into memory does not fail");
        let (first, max) = (self.first_timestamp, self.max_timestamp);
        let mut batch = batch::build(base, self.count, first, max, Bytes::from(body));
        let head = &mut batch.head.0;
        head[ATTRIBUTES].copy_from_slice(&(self.codec.id() | self.flags).to_be_bytes());
        head[LAST_OFFSET_DELTA].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        if let Some((id, epoch, sequence)) = self.producer {
            head[PRODUCER_ID].copy_from_slice(&id.to_be_bytes());
            head[PRODUCER_EPOCH].copy_from_slice(&epoch.to_be_bytes());
            head[BASE_SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
        }
        batch.reseal();
        batch
    }
}

fn put_nullable(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => put_zigzag(out, -1),
        Some(value) => {
            put_zigzag(out, value.len() as i64);
            out.extend_from_slice(value);
        }
    }
}
