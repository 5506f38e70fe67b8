//! WAL records as segment records, and back.
//!
//! Invariants: what is written reads back equal; bytes that do not decode are damage, never a panic.
//! Never: changes a batch.

use bytes::{Buf, Bytes};
use tidegate_common::{Batch, BatchHead, HEAD_LEN, LeaderEpoch, Position, StreamId};
use tidegate_segment::format::{PREFIX_BYTES, record_bytes};
use tidegate_segment::{FoundRecord, HEAD_BIT, Meta};

use crate::{IndexEntry, RecordKind, WalRecord};

const _: () = assert!(PREFIX_BYTES == HEAD_LEN, "a footer keeps exactly the batch head");

const BATCH: u8 = 1 | HEAD_BIT;
const CLOSE: u8 = 2;
const CUT_MARK: u8 = 3;

/// A record as the segment log takes it: meta, and the payload in two parts.
pub(crate) struct Encoded {
    pub meta: Meta,
    pub head: [u8; HEAD_LEN],
    pub head_len: usize,
    pub body: Bytes,
}

impl Encoded {
    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }
}

/// Bytes of a record's payload; what a permit must cover.
pub(crate) fn payload_len(kind: &RecordKind) -> usize {
    match kind {
        RecordKind::Batch(batch) => batch.len(),
        RecordKind::Close => 0,
        RecordKind::CutMark(_) => 8,
    }
}

pub(crate) fn encode(record: WalRecord) -> Encoded {
    let mut meta = Meta { stream: record.stream.0, epoch: record.epoch.0, ..Meta::default() };
    let mut head = [0; HEAD_LEN];
    let (head_len, body) = match record.kind {
        RecordKind::Batch(batch) => {
            meta.kind = BATCH;
            meta.base = batch.head.base_offset().0;
            meta.count = u32::try_from(batch.head.records_count()).unwrap_or(0);
            head = batch.head.0;
            (HEAD_LEN, batch.body)
        }
        RecordKind::Close => {
            meta.kind = CLOSE;
            (0, Bytes::new())
        }
        RecordKind::CutMark(cut) => {
            meta.kind = CUT_MARK;
            head[..8].copy_from_slice(&cut.to_be_bytes());
            (8, Bytes::new())
        }
    };
    Encoded { meta, head, head_len, body }
}

/// # Errors
/// What is wrong with the bytes.
pub(crate) fn decode(meta: &Meta, mut payload: Bytes) -> Result<WalRecord, String> {
    let kind = match meta.kind {
        BATCH => RecordKind::Batch(Batch::parse(&mut payload).map_err(|error| error.to_string())?),
        CLOSE => RecordKind::Close,
        CUT_MARK if payload.len() == 8 => RecordKind::CutMark(payload.get_u64()),
        other => return Err(format!("a record of kind {other} and {} bytes", payload.len())),
    };
    if payload.is_empty() {
        Ok(WalRecord { stream: StreamId(meta.stream), epoch: LeaderEpoch(meta.epoch), kind })
    } else {
        Err(format!("{} bytes follow the record", payload.len()))
    }
}

pub(crate) fn index_entry(found: &FoundRecord) -> IndexEntry {
    IndexEntry {
        position: Position(found.seq),
        stream: StreamId(found.meta.stream),
        epoch: LeaderEpoch(found.meta.epoch),
        head: found.prefix.filter(|_| found.meta.kind == BATCH).map(BatchHead),
        bytes: u32::try_from(record_bytes(found.payload_len as usize)).unwrap_or(u32::MAX),
    }
}
