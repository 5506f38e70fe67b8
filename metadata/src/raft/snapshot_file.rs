//! The Raft snapshot as one file, which is also what travels to a node that is far behind.
//!
//! Layout, big-endian: `"TGMS" | format u16 | meta length u32 | root length u32 | BLAKE3 of meta and root [32] |
//! meta | root | chunks in the root's order` (`crate::snapshot`); meta is Raft's own part (`stored`).
//! Invariants: nothing is taken from a file that does not match its hashes; lengths are checked against the
//! bytes that are there.

use bytes::{BufMut, Bytes};
use tidegate_common::codec::{Reader, Truncated};
use tidegate_segment::disk::Disk;

use super::types::SnapshotMeta;
use super::{OpenError, files, stored};
use crate::Image;
use crate::snapshot::{self, Snapshot};

pub(super) const NAME: &str = "snapshot";
const MAGIC: [u8; 4] = *b"TGMS";
const FORMAT: u16 = 1;
const HEADER_LEN: usize = 4 + 2 + 4 + 4 + 32;

/// What is wrong with the bytes of a snapshot, and where.
#[derive(Debug, thiserror::Error)]
#[error("{what} (at byte {offset})")]
pub(super) struct Damaged {
    pub offset: u64,
    pub what: String,
}

/// Names the snapshot after the image it holds, so that the same image has the same name on every node.
pub(super) fn id_of(snapshot: &Snapshot) -> String {
    blake3::hash(&snapshot.root).to_hex()[..16].to_owned()
}

pub(super) fn encode(meta: &SnapshotMeta, snapshot: &Snapshot) -> Vec<u8> {
    let meta = stored::encode_snapshot_meta(meta);
    let Snapshot { root, chunks } = snapshot;
    let body: usize = chunks.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(HEADER_LEN + meta.len() + root.len() + body);
    out.put_slice(&MAGIC);
    out.put_u16(FORMAT);
    out.put_u32(u32::try_from(meta.len()).expect("a membership is small"));
    out.put_u32(u32::try_from(root.len()).expect("a root names each chunk in 41 bytes"));
    out.put_slice(blake3::Hasher::new().update(&meta).update(root).finalize().as_bytes());
    out.put_slice(&meta);
    out.put_slice(root);
    chunks.iter().for_each(|chunk| out.put_slice(chunk));
    out
}

pub(super) fn decode(bytes: &Bytes) -> Result<(SnapshotMeta, Image), Damaged> {
    let mut reader = Reader::new(bytes.clone());
    let short =
        |Truncated { at, .. }| Damaged { offset: at as u64, what: "the snapshot ends too early".into() };
    if reader.array().map_err(short)? != MAGIC {
        return Err(Damaged { offset: 0, what: "this is not a snapshot file".into() });
    }
    let format = reader.u16().map_err(short)?;
    if format != FORMAT {
        let what = format!("snapshot file format {format}, this build reads {FORMAT}");
        return Err(Damaged { offset: 4, what });
    }
    let (meta_len, root_len) = (reader.u32().map_err(short)?, reader.u32().map_err(short)?);
    let hash: [u8; 32] = reader.array().map_err(short)?;
    let meta = reader.slice(meta_len as usize).map_err(short)?;
    let root = reader.slice(root_len as usize).map_err(short)?;
    if *blake3::Hasher::new().update(&meta).update(&root).finalize().as_bytes() != hash {
        return Err(Damaged {
            offset: HEADER_LEN as u64,
            what: "meta and root do not match their hash".into(),
        });
    }
    let meta =
        stored::decode_snapshot_meta(&meta).map_err(|what| Damaged { offset: HEADER_LEN as u64, what })?;
    let mut at = reader.position();
    let image = snapshot::decode(&root, |chunk| {
        at = reader.position();
        reader.slice(chunk.len as usize).ok()
    })
    .map_err(|error| Damaged { offset: at as u64, what: error.to_string() })?;
    if reader.left() > 0 {
        return Err(Damaged { offset: reader.position() as u64, what: "bytes after the last chunk".into() });
    }
    Ok((meta, image))
}

/// The snapshot in `dir`, with its bytes; `None` when there is none.
pub(super) fn read(disk: &dyn Disk, dir: &str) -> Result<Option<(SnapshotMeta, Image)>, OpenError> {
    let Some(bytes) = files::read(disk, dir, NAME)? else { return Ok(None) };
    let damaged =
        |Damaged { offset, what }| OpenError::Damaged { file: files::join(dir, NAME), offset, what };
    decode(&bytes.into()).map(Some).map_err(damaged)
}
