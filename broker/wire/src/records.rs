//! The records within a batch body: a streaming reader, a builder, and time look-ups.
//!
//! The hot path never comes here: bodies are opaque (DESIGN.md 3.1). Readers are time look-ups, coordinators that load
//! their partitions, log compaction, and tests.
//!
//! Owns: the record format (magic 2) and the codecs.
//! Invariants: memory follows the bytes that a decompressor has really produced, at most [`RecordCaps`]; no length in a
//! body is believed before the bytes are there; duplicate header keys are kept; a body that lies is an error.

mod builder;
mod codec;
mod reader;
mod timestamps;

pub use builder::RecordsBuilder;
pub use codec::Codec;
pub use reader::{Headers, Record, Records};
pub use timestamps::{offset_of_max_timestamp, offset_of_timestamp};

use thiserror::Error;

/// Bounds on what reading one batch may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordCaps {
    /// Most bytes that a compressed body may expand to.
    pub decompressed_bytes: usize,
    /// Largest zstd window, as a power of two. The decoder reserves the window before it is used.
    pub zstd_window_log: u32,
}

impl Default for RecordCaps {
    /// 128 MiB, and the largest window that the zstd command line and zstd-jni decode without being asked.
    fn default() -> Self {
        RecordCaps { decompressed_bytes: 128 << 20, zstd_window_log: 27 }
    }
}

/// Why a body cannot be read.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum RecordsError {
    #[error("unknown compression type {0}")]
    UnknownCodec(u8),
    #[error("{codec:?}: {message}")]
    Codec { codec: Codec, message: String },
    #[error("the body expands to more than {0} bytes")]
    TooLarge(usize),
    #[error("the body ends within a record")]
    Cut,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("bytes follow the {0} records that the head counts")]
    Trailing(i32),
}
