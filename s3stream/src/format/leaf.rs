//! A leaf: an immutable object that lists up to 1,024 stream objects of one stream.
//!
//! Layout, big-endian: header ([`super::stamp`]), `stream u64, count u32`, per row `id u64, lineage u32, from
//! i64, to i64, size u64, checksum u32`, then `crc32c u32` of all before it.
//! Invariants: rows are in offset order and tile `[from, to)` without a hole.

use bytes::{BufMut, Bytes};
use tidegate_common::codec::Reader;
use tidegate_common::{Lineage, ObjectId, Offset, StreamId};

use super::object::EncodedObject;
use super::stamp::{HEADER_LEN, Kind, Stamp};
use super::{FormatError, check, invalid};
use crate::manager::StreamObjectRow;

pub const LEAF_ROWS_MAX: usize = 1024;
const ROW_LEN: usize = 8 + 4 + 8 + 8 + 8 + 4;
/// Bytes before the rows: enough to know how long the leaf is.
pub const LEAF_HEAD_LEN: usize = HEADER_LEN + 8 + 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub stamp: Stamp,
    pub stream: StreamId,
    pub rows: Vec<StreamObjectRow>,
}

impl Leaf {
    /// The row whose object holds `offset`.
    #[must_use]
    pub fn row_of(&self, offset: Offset) -> Option<&StreamObjectRow> {
        let i = self.rows.partition_point(|row| row.to <= offset);
        self.rows.get(i).filter(|row| row.from <= offset)
    }
}

/// # Errors
/// [`FormatError`] when there are no rows or too many, they are of several streams, or leave a hole.
pub fn encode_leaf(stamp: Stamp, rows: &[StreamObjectRow]) -> Result<EncodedObject, FormatError> {
    let stream = rows.first().ok_or_else(|| invalid("a leaf without rows"))?.stream;
    check_rows(stream, rows)?;
    let mut out = Vec::with_capacity(HEADER_LEN + 12 + rows.len() * ROW_LEN + 4);
    out.put_slice(&stamp.header(Kind::Leaf));
    out.put_u64(stream.0);
    out.put_u32(rows.len() as u32);
    for row in rows {
        out.put_u64(row.id.0);
        out.put_u32(row.lineage.0);
        out.put_i64(row.from.0);
        out.put_i64(row.to.0);
        out.put_u64(row.size);
        out.put_u32(row.checksum);
    }
    out.put_u32(crc32c::crc32c(&out));
    let (size, checksum) = (out.len() as u64, crc32c::crc32c(&out));
    Ok(EncodedObject {
        stamp,
        kind: Kind::Leaf,
        chunks: vec![out.into()],
        size,
        checksum,
        slices: Vec::new(),
    })
}

/// The length of the leaf that begins with these bytes: for one whose row is gone.
///
/// # Errors
/// [`FormatError`] when the bytes are not the start of a leaf.
pub fn leaf_len(head: &Bytes) -> Result<u64, FormatError> {
    let (kind, _) = Stamp::decode(head)?;
    if kind != Kind::Leaf {
        return Err(invalid("the object is no leaf"));
    }
    let mut r = Reader::new(head.slice(HEADER_LEN..));
    let (_, count) = (r.u64()?, r.u32()? as usize);
    if count > LEAF_ROWS_MAX {
        return Err(invalid(format!("a leaf of {count} rows")));
    }
    Ok((LEAF_HEAD_LEN + count * ROW_LEN + 4) as u64)
}

/// # Errors
/// [`FormatError`] when the bytes are not a whole leaf, damaged, or of a newer format.
pub fn decode_leaf(bytes: &Bytes) -> Result<Leaf, FormatError> {
    let (kind, stamp) = Stamp::decode(bytes)?;
    if kind != Kind::Leaf {
        return Err(invalid("the object is no leaf"));
    }
    let mut r = Reader::new(bytes.slice(HEADER_LEN..));
    let stream = StreamId(r.u64()?);
    let count = r.count(ROW_LEN)?;
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        rows.push(StreamObjectRow {
            stream,
            id: ObjectId(r.u64()?),
            lineage: Lineage(r.u32()?),
            from: Offset(r.i64()?),
            to: Offset(r.i64()?),
            size: r.u64()?,
            checksum: r.u32()?,
        });
    }
    let covered = HEADER_LEN + r.position();
    check("the leaf", r.u32()?, crc32c::crc32c(&bytes[..covered]))?;
    if r.left() != 0 {
        return Err(invalid(format!("{} bytes follow the leaf", r.left())));
    }
    check_rows(stream, &rows)?;
    Ok(Leaf { stamp, stream, rows })
}

fn check_rows(stream: StreamId, rows: &[StreamObjectRow]) -> Result<(), FormatError> {
    if rows.is_empty() || rows.len() > LEAF_ROWS_MAX {
        return Err(invalid(format!("a leaf of {} rows", rows.len())));
    }
    let mut at = rows[0].from;
    for row in rows {
        if row.stream != stream {
            return Err(invalid(format!("stream {} in a leaf of stream {stream}", row.stream)));
        }
        if row.from != at || row.to <= row.from || row.from < Offset::ZERO {
            return Err(FormatError::NotDense { stream, expected: at, found: row.from });
        }
        at = row.to;
    }
    Ok(())
}
