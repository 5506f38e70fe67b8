//! The write-ahead log: one trait, its media, one conformance suite.
//!
//! Owns: the contract between the broker and whatever makes a record durable (DESIGN.md 3.6).
//! Invariants: positions are dense from 1 and are the total order of one broker incarnation; `durable` only
//! grows and only passes records that a crash cannot take back; after the first write or sync error it stops
//! for good. Never: retries a sync, decides about leases or high watermarks, knows Kafka requests.

mod codec;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "crashes"))]
pub mod crashes;
pub mod file;
pub mod memory;
#[cfg(test)]
mod slots;
mod space;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;
use thiserror::Error;
use tidegate_common::{Batch, BatchHead, Incarnation, LeaderEpoch, Position, StreamId, WalId};
use tokio::sync::watch;

pub use tidegate_segment::disk::Space;

/// What one record of the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRecord {
    pub stream: StreamId,
    pub epoch: LeaderEpoch,
    pub kind: RecordKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKind {
    /// A batch with base offset and leader epoch set.
    Batch(Batch),
    /// The partition was released by this incarnation; nothing of it follows (DESIGN.md 4, "one way out").
    Close,
    /// Consistent-cut mark; `u64` is the cut number (DESIGN.md 6).
    CutMark(u64),
}

/// What an index knows of a record without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    pub position: Position,
    pub stream: StreamId,
    pub epoch: LeaderEpoch,
    /// `None` for records that are not batches.
    pub head: Option<BatchHead>,
    /// Bytes of the record in the medium, header included.
    pub bytes: u32,
}

/// How far a medium can be reached from: what a failover may assume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Anywhere,
    OneHost,
    ThisMachine,
}

/// Durability as seen from outside. `Poisoned` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every record up to and including this position is durable.
    Upto(Position),
    /// A write or sync failed; what `upto` covers stays durable, nothing after it ever will be.
    Poisoned { upto: Position },
}

impl Durability {
    #[must_use]
    pub fn upto(self) -> Position {
        match self {
            Durability::Upto(p) | Durability::Poisoned { upto: p } => p,
        }
    }
}

#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ReserveError {
    /// `wal.bytes.max` is reached, or the medium has no space: back-pressure (NOT_ENOUGH_REPLICAS).
    #[error("the WAL is full: {used} of {limit} bytes hold records that are not yet in the bucket")]
    Full { used: u64, limit: u64 },
    /// In-flight buffers are full; waiting helps. Only `try_reserve` says this.
    #[error("the WAL's write buffer is full for the moment")]
    Busy,
    #[error("the WAL is poisoned or closed")]
    Closed,
    #[error("a record of {bytes} bytes is above the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
}

#[derive(Debug, Error, Clone)]
pub enum ReadError {
    #[error("position {0} is trimmed or was never written")]
    NotHere(Position),
    #[error("damaged at {place}: {what}")]
    Damaged { place: String, what: String },
    #[error("cannot be read: {0}")]
    Io(String),
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{place}: {what}")]
    Io { place: String, what: String },
    /// Damage to data that was, or may have been, acknowledged: stop loudly.
    #[error(
        "damage to acknowledged data in {file} at byte {offset}: {what}; `tidegate wal inspect` shows more, \
             `tidegate wal recover --partial` keeps what is before it"
    )]
    Damaged { file: String, offset: u64, what: String },
    #[error("{place} is of format {found}, this build reads up to {known}")]
    NewerFormat { place: String, found: u32, known: u32 },
    #[error("{0}")]
    Refused(String),
}

/// A reservation: the only way to append. Dropping it unused gives the space back.
pub struct Permit {
    pub(crate) bytes: usize,
    pub(crate) release: Option<Box<dyn FnOnce(usize) + Send + Sync>>,
}

impl Permit {
    /// For media outside this crate: `release` runs with the reserved bytes when the permit is dropped unused.
    #[must_use]
    pub fn new(bytes: usize, release: Option<Box<dyn FnOnce(usize) + Send + Sync>>) -> Self {
        Self { bytes, release }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Called by the medium in `append`: the reservation is used up.
    pub fn consume(mut self) -> usize {
        self.release = None;
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release(self.bytes);
        }
    }
}

/// Space used by records that are not trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub in_flight_bytes: u64,
}

/// One open WAL: written by one incarnation, read by nobody else until sealed.
pub trait Wal: Send + Sync + 'static {
    fn id(&self) -> WalId;
    fn reach(&self) -> Reach;

    /// Reserves space for one record whose batch has `bytes` bytes, without waiting.
    ///
    /// # Errors
    /// See [`ReserveError`].
    fn try_reserve(&self, bytes: usize) -> Result<Permit, ReserveError>;

    /// As `try_reserve`, waiting while buffers are in flight; a full log is an error at once.
    fn reserve(&self, bytes: usize) -> BoxFuture<'_, Result<Permit, ReserveError>>;

    /// Appends and returns the record's position. Never blocks, never fails: after poisoning the record is
    /// simply never durable. Callers serialise appends when they need their own order to equal WAL order.
    fn append(&self, permit: Permit, record: WalRecord) -> Position;

    fn durable(&self) -> watch::Receiver<Durability>;

    /// Reads a durable record back (the own, unsealed log). Checked.
    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>>;

    /// Lets go of records below `below`. Idempotent; space comes back in units of the medium.
    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>>;

    fn usage(&self) -> Usage;

    /// Stops accepting, makes what was appended durable, ends the writer. The log can then only be sealed.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A sealed log: its end is fixed for ever; safe to read by whoever holds it.
pub trait SealedWal: Send + Sync + 'static {
    fn id(&self) -> WalId;
    /// The last position that counts; 0 when empty.
    fn end(&self) -> Position;
    /// First position that is not trimmed.
    fn start(&self) -> Position;
    /// The newest position that was durable, when an operator's partial recovery gave up what lies above `end`.
    fn given_up_to(&self) -> Option<Position> {
        None
    }
    /// Entries of untrimmed records, in order.
    fn index(&self) -> &[IndexEntry];
    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>>;
    /// Checks every block that was trusted from an index checkpoint. Records are returned only from verified
    /// blocks, so a read may wait for, or do, the verification of its block.
    fn verify(&self) -> BoxFuture<'_, Result<(), ReadError>>;
    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>>;
}

/// A place that holds WALs.
pub trait WalMedium: Send + Sync + 'static {
    /// Creates the WAL of a new incarnation. The id comes from Raft and was never used before.
    fn create(&self, id: WalId, incarnation: Incarnation) -> BoxFuture<'_, Result<Arc<dyn Wal>, OpenError>>;

    /// Seals a WAL whose writer is fenced: idempotent, safe when two executors race, may write. `floor` is the
    /// newest position known durable from elsewhere (Raft); ending below it is damage.
    fn seal(
        &self,
        id: WalId,
        executor: Incarnation,
        floor: Position,
    ) -> BoxFuture<'_, Result<Arc<dyn SealedWal>, OpenError>>;

    /// WALs that exist here, in id order.
    fn list(&self) -> BoxFuture<'_, Result<Vec<WalId>, OpenError>>;

    /// Removes a sealed WAL that nothing needs any more. Idempotent.
    fn delete(&self, id: WalId) -> BoxFuture<'_, Result<(), OpenError>>;

    /// Bytes of the place, where it has bounds that can be known: for people to see.
    fn space(&self) -> BoxFuture<'_, Option<Space>> {
        Box::pin(async { None })
    }
}

/// Bytes of a record that are not its batch, for space accounting.
pub const RECORD_OVERHEAD_MAX: usize = 256;
