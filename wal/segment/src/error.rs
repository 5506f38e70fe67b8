//! What can go wrong with a segment log, one enum per operation.

use std::io;

use thiserror::Error;

/// Why a log cannot be opened, sealed or recovered.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{place}: {source}")]
    Io { place: String, source: io::Error },
    /// Data that was, or may have been, acknowledged is not there or not intact.
    #[error("damage to acknowledged data in {file} at byte {offset}: {what}")]
    Damaged { file: String, offset: u64, what: String },
    #[error("{place} is of format {found}, this build reads up to {known}")]
    NewerFormat { place: String, found: u32, known: u32 },
    #[error("{0}")]
    Refused(String),
}

/// Why an append, a commit or a mark did not happen.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LogError {
    /// A write or a sync failed, now or before. Final: what is durable stays so, nothing more will be.
    #[error("poisoned: {0}")]
    Poisoned(String),
    /// No segment could be made for the record. Nothing was written; the log is as before.
    #[error("no room for a new segment: {0}")]
    NoSpace(String),
    #[error("a record of {bytes} bytes is above the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
}

/// Why a spare segment was not prepared, or old segments not removed.
#[derive(Debug, Error)]
pub enum FilesError {
    #[error("no room on the disk: {0}")]
    NoSpace(io::Error),
    /// A sync failed: the owner must stop acknowledging.
    #[error("{place}: {source}")]
    Sync { place: String, source: io::Error },
    #[error("{place}: {source}")]
    Io { place: String, source: io::Error },
    #[error(transparent)]
    Damaged(#[from] ReadError),
}

/// Why a record cannot be read back.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ReadError {
    #[error("record {0} is trimmed or was never written")]
    NotHere(u64),
    #[error("damaged in {file} at byte {offset}: {what}")]
    Damaged { file: String, offset: u64, what: String },
    #[error("{place}: {what}")]
    Io { place: String, what: String },
}

pub(crate) fn io_at(place: &str) -> impl FnOnce(io::Error) -> OpenError {
    let place = place.to_owned();
    move |source| OpenError::Io { place, source }
}
