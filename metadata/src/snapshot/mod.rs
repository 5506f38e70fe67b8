//! The one snapshot format: of Raft, of a restore from the bucket, of cuts and forks (DESIGN.md 4).
//!
//! Owns: the bytes of root and chunks. Rows are in `rows`.
//! Layout, big-endian: a chunk is `"TGMC" | format u16 | table u8 | rows u32 | rows`; a root is
//! `"TGMR" | format u16 | applied index u64 | time i64 | chunks u32 | (table u8 | rows u32 | bytes u32 |
//! BLAKE3 [32])*`, chunks by table, then by key.
//! Invariants: a chunk is named by its hash and never changes; where a table is cut depends on keys only, so
//! that a change of one row changes one chunk; tables up to 15 are *logical* (what clients and operators see),
//! from 16 on *storage* (where bytes are); the same image gives the same bytes.
//! Never: allocates by a number it read and did not check; takes a chunk whose hash differs from the root's.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use thiserror::Error;
use tidegate_common::codec::{Reader, Truncated};

use crate::image::Image;
use crate::replay;

/// Raised when a table or a field is added; older formats stay readable. 2 has [`Table::BrokerConfigs`].
pub const FORMAT: u16 = 2;
const CHUNK_MAGIC: [u8; 4] = *b"TGMC";
const ROOT_MAGIC: [u8; 4] = *b"TGMR";
/// A chunk ends after a key whose hash is a multiple of this.
const CHUNK_ROWS_MEAN: u32 = 512;
/// A chunk ends at the latest after so many rows or bytes.
const CHUNK_ROWS_MAX: u32 = 4096;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Table, rows, bytes and hash of one chunk in the root.
const CHUNK_REF_LEN: usize = 1 + 4 + 4 + 32;

/// BLAKE3 of a chunk or root.
pub type Hash = [u8; 32];

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SnapshotError {
    #[error(transparent)]
    Truncated(#[from] Truncated),
    #[error("{what} at byte {at}")]
    Invalid { at: usize, what: &'static str },
    #[error("format {found}, this build reads up to {FORMAT}")]
    NewerFormat { found: u16 },
    #[error("a chunk of {0:?} does not match its hash in the root")]
    Hash(Table),
    #[error("a chunk of {0:?} is missing")]
    Missing(Table),
    #[error("the tables do not fit together: {0}")]
    Inconsistent(&'static str),
}

/// The tables of a snapshot, by their number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    Cluster = 1,
    Lineages = 2,
    Brokers = 3,
    Topics = 4,
    /// Topic, index, owner and epoch of each stream.
    Partitions = 5,
    /// Dynamic configs of brokers.
    BrokerConfigs = 6,
    Counters = 16,
    Wals = 17,
    /// Log start, `so_end` and committed end of each stream.
    Extents = 18,
    SetObjects = 19,
    StreamObjects = 20,
    Leaves = 21,
    Prepared = 22,
    Garbage = 23,
}

impl Table {
    const ALL: [Table; 14] = [
        Table::Cluster,
        Table::Lineages,
        Table::Brokers,
        Table::Topics,
        Table::Partitions,
        Table::BrokerConfigs,
        Table::Counters,
        Table::Wals,
        Table::Extents,
        Table::SetObjects,
        Table::StreamObjects,
        Table::Leaves,
        Table::Prepared,
        Table::Garbage,
    ];

    /// What clients and operators see; the other tables say where bytes are.
    #[must_use]
    pub fn is_logical(self) -> bool {
        (self as u8) < 16
    }

    fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }
}

/// A chunk as the root names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    pub table: Table,
    pub rows: u32,
    pub len: u32,
    pub hash: Hash,
}

/// What a root says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    pub applied_index: u64,
    pub time_ms: i64,
    pub chunks: Vec<ChunkRef>,
}

/// A root with its chunks, in the root's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub root: Bytes,
    pub chunks: Vec<Bytes>,
}

/// # Panics
/// Never: chunks are cut far below 4 GiB.
#[must_use]
pub fn encode(image: &Image) -> Snapshot {
    let mut builder = Builder::default();
    rows::put_tables(image, &mut builder);
    let mut root = Vec::with_capacity(64 + builder.refs.len() * CHUNK_REF_LEN);
    root.put_slice(&ROOT_MAGIC);
    root.put_u16(FORMAT);
    root.put_u64(image.applied_index);
    root.put_i64(image.time_ms);
    root.put_u32(u32::try_from(builder.refs.len()).expect("chunks hold hundreds of rows each"));
    for ChunkRef { table, rows, len, hash } in &builder.refs {
        root.put_u8(*table as u8);
        root.put_u32(*rows);
        root.put_u32(*len);
        root.put_slice(hash);
    }
    Snapshot { root: root.into(), chunks: builder.chunks }
}

/// # Errors
/// When the bytes are not a root of a known format.
pub fn decode_root(bytes: &Bytes) -> Result<Root, SnapshotError> {
    let mut reader = Reader::new(bytes.clone());
    open(&mut reader, ROOT_MAGIC, "this is not a snapshot root")?;
    let (applied_index, time_ms) = (reader.u64()?, reader.i64()?);
    let count = reader.count(CHUNK_REF_LEN)?;
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        let number = reader.u8()?;
        let table = Table::from_u8(number).ok_or_else(|| invalid(&reader, "unknown table"))?;
        chunks.push(ChunkRef { table, rows: reader.u32()?, len: reader.u32()?, hash: reader.array()? });
    }
    end(&reader)?;
    Ok(Root { applied_index, time_ms, chunks })
}

/// Builds the image that `root` describes; `fetch` finds the bytes of a chunk.
///
/// # Errors
/// When a chunk is missing, damaged, or does not fit the others.
pub fn decode(
    root: &Bytes,
    mut fetch: impl FnMut(&ChunkRef) -> Option<Bytes>,
) -> Result<Image, SnapshotError> {
    let root = decode_root(root)?;
    let mut image = Image::new();
    let mut join = rows::Join::default();
    for chunk in &root.chunks {
        let bytes = fetch(chunk).ok_or(SnapshotError::Missing(chunk.table))?;
        if bytes.len() as u64 != u64::from(chunk.len) || *blake3::hash(&bytes).as_bytes() != chunk.hash {
            return Err(SnapshotError::Hash(chunk.table));
        }
        let mut reader = Reader::new(bytes);
        open(&mut reader, CHUNK_MAGIC, "this is not a chunk")?;
        if reader.u8()? != chunk.table as u8 || reader.u32()? != chunk.rows {
            return Err(invalid(&reader, "table or number of rows differ from the root's"));
        }
        for _ in 0..chunk.rows {
            rows::get(chunk.table, &mut reader, &mut image, &mut join)?;
        }
        end(&reader)?;
    }
    image.applied_index = root.applied_index;
    image.time_ms = root.time_ms;
    let (topics, partitions) = join.finish()?;
    topics.into_iter().for_each(|topic| replay::add_topic(&mut image, Arc::new(topic)));
    for partition in partitions {
        image.streams.insert(partition.stream, partition);
    }
    Ok(image)
}

fn open(reader: &mut Reader, magic: [u8; 4], what: &'static str) -> Result<(), SnapshotError> {
    if reader.array()? != magic {
        return Err(SnapshotError::Invalid { at: 0, what });
    }
    match reader.u16()? {
        0 => Err(invalid(reader, "format 0 does not exist")),
        // Formats differ in the tables that there may be.
        1..=FORMAT => Ok(()),
        found => Err(SnapshotError::NewerFormat { found }),
    }
}

fn end(reader: &Reader) -> Result<(), SnapshotError> {
    if reader.left() == 0 { Ok(()) } else { Err(invalid(reader, "bytes after the end")) }
}

fn invalid(reader: &Reader, what: &'static str) -> SnapshotError {
    SnapshotError::Invalid { at: reader.position(), what }
}

/// Cuts tables into chunks.
#[derive(Default)]
struct Builder {
    chunks: Vec<Bytes>,
    refs: Vec<ChunkRef>,
    rows: u32,
    body: Vec<u8>,
}

impl Builder {
    /// Adds the rows of one table; each writes its bytes and returns how many of them are its key.
    fn table<T>(
        &mut self,
        table: Table,
        rows: impl IntoIterator<Item = T>,
        put: impl Fn(T, &mut Vec<u8>) -> usize,
    ) {
        for row in rows {
            let at = self.body.len();
            let key_len = put(row, &mut self.body);
            self.rows += 1;
            let cut = crc32c::crc32c(&self.body[at..at + key_len]).is_multiple_of(CHUNK_ROWS_MEAN);
            if cut || self.rows >= CHUNK_ROWS_MAX || self.body.len() >= CHUNK_BYTES_MAX {
                self.cut(table);
            }
        }
        if self.rows > 0 {
            self.cut(table);
        }
    }

    fn cut(&mut self, table: Table) {
        let (rows, body) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.body));
        let mut chunk = Vec::with_capacity(11 + body.len());
        chunk.put_slice(&CHUNK_MAGIC);
        chunk.put_u16(FORMAT);
        chunk.put_u8(table as u8);
        chunk.put_u32(rows);
        chunk.put_slice(&body);
        let len = u32::try_from(chunk.len()).expect("a chunk is cut at a mebibyte and one row");
        self.refs.push(ChunkRef { table, rows, len, hash: *blake3::hash(&chunk).as_bytes() });
        self.chunks.push(chunk.into());
    }
}
