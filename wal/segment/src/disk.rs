//! The disk seam: what the product may ask of a file system.
//!
//! Invariants: every method is synchronous and may block; callers run it where blocking is allowed (a thread in
//! production, inline in the simulation). Never: hides an error.

use std::io;
use std::sync::Arc;
use std::time::Duration;

mod os;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub use os::OsDisk;

/// A directory tree. Paths are relative, `/`-separated, below the disk's root.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file that must not exist, of `len` zero bytes, fully written (not only reserved) but not synced.
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;
    fn create_dir_all(&self, path: &str) -> io::Result<()>;
    /// File names directly in `path`, sorted; empty when the directory does not exist.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Replaces `to` when it exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// As `rename`, but `AlreadyExists` when `to` exists: of several that race, one wins.
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Bytes of the file system that holds `path`: for people to see, nothing is decided on it. A disk that has no
    /// such bounds says `Unsupported`.
    fn space(&self, path: &str) -> io::Result<Space> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// How long a call made now would block. Only a simulated disk answers above zero: its calls return at once, and
    /// the drivers that run it without threads wait so long first.
    fn stall(&self) -> Duration {
        Duration::ZERO
    }
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What an unprivileged process may still use.
    pub usable: u64,
}

/// One file.
#[allow(clippy::len_without_is_empty, reason = "a length that may fail; nobody asks whether a file is empty")]
pub trait File: Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;
    /// Writes all of `parts`, one after the other, at `offset`.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;
    /// fdatasync.
    fn sync(&self) -> io::Result<()>;
    /// Fills `buf` from `offset`; an early end is an error.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// As `read_at`, past the page cache: what the medium holds, not what was last written to memory.
    fn read_at_uncached(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}
