//! The data directory: locked while in use, and marked with whose it is.
//!
//! Owns: `node.json` (format version, cluster id, node id, newest WAL made here).
//! Invariants: one process at a time; the mark is written whole and synced before anything relies on it; a WAL is in
//! the mark before its first record, so that one that is gone is noticed.
//! Never: is reused by another cluster or node.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Written by this build; it reads this one and none newer.
pub const FORMAT_VERSION: u32 = 1;
const MARK: &str = "node.json";

#[derive(Debug, Error)]
pub enum DataDirError {
    #[error("data.dir={dir}: {error}; choose a directory that this user may write")]
    Io { dir: String, error: std::io::Error },
    #[error("data.dir={0} is in use by another process; stop it, or give this one its own data.dir")]
    InUse(String),
    #[error("data.dir={dir}: {MARK} cannot be read: {why}; restore it, or start with an empty data.dir")]
    Damaged { dir: String, why: String },
    #[error(
        "data.dir={dir} is of format {found}, this build reads up to {FORMAT_VERSION}; start a newer build"
    )]
    NewerFormat { dir: String, found: u32 },
    #[error(
        "data.dir={dir} belongs to node.id={found}, not {asked}; set node.id={found} or another data.dir"
    )]
    OtherNode { dir: String, found: i32, asked: i32 },
}

/// Whose data directory this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub format_version: u32,
    pub cluster_id: uuid::Uuid,
    /// The bucket's `cluster.json` carries this cluster id. Written first as `false`, so that a start that is cut
    /// between the two goes on with the same id.
    pub joined: bool,
    pub node_id: i32,
    /// The newest WAL that was made here; 0 before the first.
    pub newest_wal: u64,
}

/// A locked data directory. The lock ends with this value.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be and locks it.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io { dir: path.display().to_string(), error };
        fs::create_dir_all(path).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| DataDirError::InUse(path.display().to_string()))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mark, or `None` in a new directory.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn mark(&self, node_id: i32) -> Result<Option<Mark>, DataDirError> {
        let dir = self.path.display().to_string();
        let text = match fs::read_to_string(self.path.join(MARK)) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataDirError::Io { dir, error }),
        };
        let damaged = |e: serde_json::Error| DataDirError::Damaged { dir: dir.clone(), why: e.to_string() };
        let version: Version = serde_json::from_str(&text).map_err(damaged)?;
        if version.format_version > FORMAT_VERSION {
            return Err(DataDirError::NewerFormat { dir, found: version.format_version });
        }
        let mark: Mark = serde_json::from_str(&text).map_err(damaged)?;
        if mark.node_id != node_id {
            return Err(DataDirError::OtherNode { dir, found: mark.node_id, asked: node_id });
        }
        Ok(Some(mark))
    }

    /// Writes the mark so that it is whole or absent after a crash.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn write_mark(&self, mark: &Mark) -> Result<(), DataDirError> {
        let io = |error| DataDirError::Io { dir: self.path.display().to_string(), error };
        let text = serde_json::to_vec_pretty(mark).expect("a mark is plain data");
        let staged = self.path.join("node.json.new");
        let mut file = File::create(&staged).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        file.sync_all().map_err(io)?;
        fs::rename(&staged, self.path.join(MARK)).map_err(io)?;
        File::open(&self.path).and_then(|d| d.sync_all()).map_err(io)
    }
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            format_version: FORMAT_VERSION,
            cluster_id: uuid::Uuid::from_u128(1),
            joined: true,
            node_id: 7,
            newest_wal: 3,
        }
    }

    #[test]
    fn a_directory_is_used_once_and_remembers_whose_it_is() {
        let dir = tempfile::tempdir().expect("temp dir");
        let held = DataDir::lock(dir.path()).expect("free");
        assert!(matches!(DataDir::lock(dir.path()), Err(DataDirError::InUse(_))));
        assert_eq!(held.mark(7).expect("new"), None);
        held.write_mark(&mark()).expect("writes");
        assert_eq!(held.mark(7).expect("reads"), Some(mark()));
        assert!(matches!(held.mark(8), Err(DataDirError::OtherNode { found: 7, .. })));
        held.write_mark(&Mark { format_version: 2, ..mark() }).expect("writes");
        assert!(matches!(held.mark(7), Err(DataDirError::NewerFormat { found: 2, .. })));
        fs::write(dir.path().join(MARK), b"{").expect("writes");
        assert!(matches!(held.mark(7), Err(DataDirError::Damaged { .. })));
        drop(held);
        DataDir::lock(dir.path()).expect("free again");
    }
}
