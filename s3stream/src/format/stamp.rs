//! The first 56 bytes of every object and leaf: whose it is.
//!
//! Layout, big-endian: `magic 8 bytes "TIDEGATE", version u32, kind u32, lineage u32, id u64, incarnation u64,
//! nonce 16 bytes, crc32c u32 of the 52 bytes before it`.
//! Invariants: two writes with equal headers are the same write, because a nonce is drawn once per encoding;
//! reading these bytes back settles a PUT whose answer was lost.

use bytes::{BufMut, Bytes};
use tidegate_common::codec::Reader;
use tidegate_common::{Incarnation, Lineage, ObjectId};
use uuid::Uuid;

use super::{FORMAT_VERSION, FormatError, check, invalid};

pub const HEADER_LEN: usize = 56;
const MAGIC: [u8; 8] = *b"TIDEGATE";

/// Who wrote an object, and which write it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub lineage: Lineage,
    pub id: ObjectId,
    pub incarnation: Incarnation,
    /// Drawn from the randomness seam for each encoding.
    pub nonce: Uuid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Slices of streams: a stream set object, or a stream object (one slice).
    Data = 1,
    /// A list of stream objects.
    Leaf = 2,
}

impl Stamp {
    #[must_use]
    pub fn header(&self, kind: Kind) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.put_slice(&MAGIC);
        out.put_u32(FORMAT_VERSION);
        out.put_u32(kind as u32);
        out.put_u32(self.lineage.0);
        out.put_u64(self.id.0);
        out.put_u64(self.incarnation.0);
        out.put_slice(self.nonce.as_bytes());
        out.put_u32(crc32c::crc32c(&out));
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&out);
        header
    }

    /// Decodes the header at the start of `bytes`.
    ///
    /// # Errors
    /// [`FormatError`] when the bytes are too few, not a header, damaged, or of a newer format.
    pub fn decode(bytes: &Bytes) -> Result<(Kind, Stamp), FormatError> {
        let mut r = Reader::new(bytes.clone());
        let raw = r.slice(HEADER_LEN)?;
        let mut r = Reader::new(raw.clone());
        if r.array::<8>()? != MAGIC {
            return Err(FormatError::Magic("the object"));
        }
        let (version, kind) = (r.u32()?, r.u32()?);
        let stamp = Stamp {
            lineage: Lineage(r.u32()?),
            id: ObjectId(r.u64()?),
            incarnation: Incarnation(r.u64()?),
            nonce: Uuid::from_bytes(r.array()?),
        };
        check("the header", r.u32()?, crc32c::crc32c(&raw[..HEADER_LEN - 4]))?;
        if version > FORMAT_VERSION {
            return Err(FormatError::NewerFormat {
                what: "the object",
                found: version,
                known: FORMAT_VERSION,
            });
        }
        match kind {
            1 => Ok((Kind::Data, stamp)),
            2 => Ok((Kind::Leaf, stamp)),
            other => Err(invalid(format!("object kind {other} is unknown"))),
        }
    }
}
