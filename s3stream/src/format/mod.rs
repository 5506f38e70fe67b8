//! What this crate writes into the bucket, byte by byte.
//!
//! Owns: objects with slices ([`object`]), leaves ([`leaf`]), `cluster.json` ([`cluster`]), the content chain
//! ([`chain`]), references to bytes ([`reference`]). One file per persisted thing.
//! Invariants: every byte of every persisted thing lies under a checksum that its decoder checks; a decoder
//! never panics and never allocates by a length it has not compared with the bytes it holds.
//! Never: does I/O.

pub mod chain;
mod chunks;
pub mod cluster;
pub mod leaf;
pub mod object;
pub mod reference;
pub mod slice;
pub mod stamp;
#[cfg(test)]
mod tests;

pub use chain::Chain;
pub use cluster::ClusterFile;
pub use leaf::{LEAF_HEAD_LEN, LEAF_ROWS_MAX, Leaf, decode_leaf, encode_leaf, leaf_len};
pub use object::{
    EncodedObject, Footer, FooterOrMore, ObjectWriter, TRAILER_LEN, decode_block, decode_footer, verify_chain,
};
pub use reference::{BytesRef, Span};
pub use slice::{
    BlockIndex, PRODUCER_REPLAY_BYTES_MAX, ProducerSection, ProducersBefore, SliceBefore, SliceIndex,
    SliceSummary,
};
pub use stamp::{HEADER_LEN, Kind, Stamp};

use thiserror::Error;
use tidegate_common::codec::Truncated;
use tidegate_common::{Offset, StreamId};

/// Version of objects and leaves that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Why bytes are not what they should be, or may not be written.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FormatError {
    #[error(transparent)]
    Truncated(#[from] Truncated),
    #[error("{what}: checksum {stored:08x} stored, {computed:08x} computed")]
    Checksum { what: &'static str, stored: u32, computed: u32 },
    #[error("{0} does not begin with its magic number")]
    Magic(&'static str),
    #[error("{what} has format {found}, this build reads up to {known}: use a newer tidegate")]
    NewerFormat { what: &'static str, found: u32, known: u32 },
    #[error("{0}")]
    Invalid(String),
    /// Offsets do not follow one another: something is missing, doubled, or out of order.
    #[error("stream {stream}: offset {found} where {expected} was due")]
    NotDense { stream: StreamId, expected: Offset, found: Offset },
    /// The batches are not the ones the chain was computed from.
    #[error("stream {stream}: the content chain does not match at offset {at}")]
    Chain { stream: StreamId, at: Offset },
}

pub(crate) fn invalid(what: impl Into<String>) -> FormatError {
    FormatError::Invalid(what.into())
}

pub(crate) fn check(what: &'static str, stored: u32, computed: u32) -> Result<(), FormatError> {
    if stored == computed { Ok(()) } else { Err(FormatError::Checksum { what, stored, computed }) }
}
