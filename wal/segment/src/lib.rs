//! Preallocated, pre-written segment files with checked records and group commit: the one implementation under
//! the WAL and the Raft log.
//!
//! Owns: the file format, the disk seam, torn-tail recovery, poisoning.
//! Invariants: a record is acknowledged only after the sync that covers it; records form a chain, so a hole is
//! seen; after the first failed write or sync nothing more is acknowledged.
//! Never: knows what a record means, retries a sync, allocates by a length it has not checked.

pub mod disk;
mod error;
mod files;
pub mod format;
mod inspect;
mod log;
mod names;
mod recover;
mod scan;
mod seal;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use error::{FilesError, LogError, OpenError, ReadError};
pub use files::LogFiles;
pub use format::{HEAD_BIT, Meta};
pub use inspect::{Damage, InspectedSegment, Inspection, Partial, inspect, recover_partial};
pub use log::{LogIdentity, LogOptions, OpenRequest, SegmentLog};
pub use scan::FoundRecord;
pub use seal::{Seal, SealedLog, delete, seal};

/// Whether `dir` holds any file of log `log`.
///
/// # Errors
/// [`OpenError::Io`] when the directory cannot be listed.
pub fn exists(disk: &dyn disk::Disk, dir: &str, log: u64) -> Result<bool, OpenError> {
    Ok(logs_in(disk, dir)?.contains(&log))
}

/// Ids of the logs that have files in `dir`, in order.
///
/// # Errors
/// [`OpenError::Io`] when the directory cannot be listed.
pub fn logs_in(disk: &dyn disk::Disk, dir: &str) -> Result<Vec<u64>, OpenError> {
    let names = disk.list(dir).map_err(error::io_at(dir))?;
    let mut logs: Vec<u64> = names.iter().filter_map(|name| names::log_of(name)).collect();
    logs.dedup();
    Ok(logs)
}
