//! A reference to bytes: where a block's batches lie.
//!
//! Layout, big-endian: `tag u8`, then by tag: 1 here `span`; 2 object `lineage u32, id u64, span`; 3 WAL slot
//! `lineage u32, wal u64, slot u64, span`; 4 gap, nothing. `span` is `at u64, len u64, crc32c u32`.
//! This build writes *here* only; the other three are in the format from the start, so that a fork, an object
//! WAL and a promotion can refer to bytes without a new version of every object.

use bytes::BufMut;
use tidegate_common::codec::Reader;
use tidegate_common::{Lineage, ObjectId, WalId};

use super::{FormatError, invalid};

/// Bytes `[at, at + len)` of some object, and their CRC32C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub at: u64,
    pub len: u64,
    pub crc: u32,
}

impl Span {
    #[must_use]
    pub fn range(&self) -> std::ops::Range<u64> {
        self.at..self.at.saturating_add(self.len)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BytesRef {
    /// In the object that holds the reference.
    Here(Span),
    /// In another object.
    Object { lineage: Lineage, id: ObjectId, span: Span },
    /// In a slot of an object WAL.
    WalSlot { lineage: Lineage, wal: WalId, slot: u64, span: Span },
    /// Nowhere: the offsets name no records.
    Gap,
}

/// Bytes of the smallest reference.
pub(crate) const REFERENCE_LEN_MIN: usize = 1;

impl BytesRef {
    /// The span, wherever it lies; `None` for a gap.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            BytesRef::Here(span) | BytesRef::Object { span, .. } | BytesRef::WalSlot { span, .. } => {
                Some(*span)
            }
            BytesRef::Gap => None,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            BytesRef::Here(_) => out.put_u8(1),
            BytesRef::Object { lineage, id, .. } => {
                out.put_u8(2);
                out.put_u32(lineage.0);
                out.put_u64(id.0);
            }
            BytesRef::WalSlot { lineage, wal, slot, .. } => {
                out.put_u8(3);
                out.put_u32(lineage.0);
                out.put_u64(wal.0);
                out.put_u64(*slot);
            }
            BytesRef::Gap => out.put_u8(4),
        }
        if let Some(span) = self.span() {
            out.put_u64(span.at);
            out.put_u64(span.len);
            out.put_u32(span.crc);
        }
    }

    pub(crate) fn decode(r: &mut Reader) -> Result<BytesRef, FormatError> {
        match r.u8()? {
            1 => Ok(BytesRef::Here(span(r)?)),
            2 => Ok(BytesRef::Object { lineage: Lineage(r.u32()?), id: ObjectId(r.u64()?), span: span(r)? }),
            3 => Ok(BytesRef::WalSlot {
                lineage: Lineage(r.u32()?),
                wal: WalId(r.u64()?),
                slot: r.u64()?,
                span: span(r)?,
            }),
            4 => Ok(BytesRef::Gap),
            tag => Err(invalid(format!("reference tag {tag} is unknown"))),
        }
    }
}

fn span(r: &mut Reader) -> Result<Span, FormatError> {
    let span = Span { at: r.u64()?, len: r.u64()?, crc: r.u32()? };
    if span.at.checked_add(span.len).is_none() {
        return Err(invalid("a span passes the end of 64 bits"));
    }
    Ok(span)
}
