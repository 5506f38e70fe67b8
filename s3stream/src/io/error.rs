//! What can come of an operation on the bucket.
//!
//! Invariants: *unavailable* says nothing about whether a write happened; *not found* is the store's own word,
//! never a guess; *damaged* is said only after the bytes were read twice.

use thiserror::Error;

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum IoError {
    /// The store says that the key does not exist.
    #[error("{key} does not exist")]
    NotFound { key: String },
    /// The key holds another write: a fenced predecessor's, or a bug's. Never overwritten.
    #[error("{key} holds another write: {what}")]
    Taken { key: String, what: String },
    /// The store did not settle the operation within its budget. A write may have happened, or may yet.
    #[error("{key}: no answer in {tries} tries and {elapsed_ms} ms: {last}")]
    Unavailable { key: String, tries: u32, elapsed_ms: u64, last: String },
    /// What was read, twice, is not what was written.
    #[error("{key} is damaged: {what}")]
    Damaged { key: String, what: String },
    /// The store, or this build, cannot do this; trying again is no use.
    #[error("{key}: {what}")]
    Refused { key: String, what: String },
}

impl IoError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, IoError::Unavailable { .. })
    }
}

/// One attempt's failure, as the retry loop sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    NotFound,
    /// A conditional PUT found the key taken, or S3 answered 409, where nothing need be there.
    Exists,
    /// Fewer bytes than asked for.
    Short(String),
    /// Unknown outcome; worth another try. Expired credentials count here: they are an outage.
    Transient(String),
    Permanent(String),
}

impl Failure {
    pub(crate) fn of(error: &object_store::Error) -> Failure {
        use object_store::Error;
        match error {
            Error::NotFound { .. } => Failure::NotFound,
            Error::AlreadyExists { .. } | Error::Precondition { .. } => Failure::Exists,
            Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
            | Error::UnknownConfigurationKey { .. } => Failure::Permanent(short(error)),
            _ => Failure::Transient(short(error)),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NotFound => f.write_str("not found"),
            Failure::Exists => f.write_str("conflict"),
            Failure::Short(what) | Failure::Transient(what) | Failure::Permanent(what) => f.write_str(what),
        }
    }
}

/// The store's error on one line and of bounded length: some carry a whole XML body.
pub(crate) fn short(error: &object_store::Error) -> String {
    let mut text: String = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > 400 {
        let cut = (0..=400).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}
