//! The node's own file: who it is, how often it was opened, and how far its log certainly reaches.
//!
//! Layout, big-endian: `"TGMN" | format u16 | node u64 | opens u64 | floor u64 | CRC32C u32`.
//! Invariants: replaced as a whole and durable before it is relied on. `floor` is above 0 before anything is
//! acknowledged, so that a node whose log is gone refuses to start instead of voting anew under its old id.

use std::io;

use bytes::{BufMut, Bytes};
use tidegate_common::codec::Reader;
use tidegate_segment::disk::Disk;

use super::{NodeId, OpenError, files};

const MAGIC: [u8; 4] = *b"TGMN";
const FORMAT: u16 = 1;
const LEN: usize = 4 + 2 + 8 + 8 + 8 + 4;
const NAME: &str = "node";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeFile {
    pub node: NodeId,
    /// The incarnation of the log's writer: grows with every open.
    pub opens: u64,
    /// A record of the log that was durable: a log that ends before it has lost its end.
    pub floor: u64,
}

impl NodeFile {
    pub fn path(dir: &str) -> String {
        files::join(dir, NAME)
    }

    /// `None` when there is no such file.
    pub fn read(disk: &dyn Disk, dir: &str) -> Result<Option<Self>, OpenError> {
        let path = Self::path(dir);
        let Some(bytes) = files::read(disk, dir, NAME)? else { return Ok(None) };
        let damaged = |what: &str| OpenError::Damaged { file: path.clone(), offset: 0, what: what.into() };
        if bytes.len() != LEN {
            return Err(damaged("the node file has the wrong length"));
        }
        let mut reader = Reader::new(Bytes::from(bytes.clone()));
        let short = |_| damaged("the node file is short");
        if reader.array().map_err(short)? != MAGIC {
            return Err(damaged("this is not a node file"));
        }
        let format = reader.u16().map_err(short)?;
        let file = Self {
            node: reader.u64().map_err(short)?,
            opens: reader.u64().map_err(short)?,
            floor: reader.u64().map_err(short)?,
        };
        if reader.u32().map_err(short)? != crc32c::crc32c(&bytes[..LEN - 4]) {
            return Err(damaged("the node file does not match its checksum"));
        }
        if format != FORMAT {
            return Err(OpenError::NewerFormat { place: path, found: format.into(), known: FORMAT.into() });
        }
        Ok(Some(file))
    }

    pub fn write(&self, disk: &dyn Disk, dir: &str) -> io::Result<()> {
        let Self { node, opens, floor } = self;
        let mut bytes = Vec::with_capacity(LEN);
        bytes.put_slice(&MAGIC);
        bytes.put_u16(FORMAT);
        bytes.put_u64(*node);
        bytes.put_u64(*opens);
        bytes.put_u64(*floor);
        bytes.put_u32(crc32c::crc32c(&bytes));
        files::replace(disk, dir, NAME, &[&bytes])
    }
}
