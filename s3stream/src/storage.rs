//! The storage of one broker incarnation: what `broker` holds and composes.
//!
//! Owns: the streams that are open here, the parts they share (log cache, block reader, budget), and the tasks that
//! upload, compact and delete.
//! Invariants: a stream is one [`StreamLog`] per process; after [`Storage::shutdown`] nothing is written any more.
//! Never: decides offsets or releases; opens a WAL; chooses a store, a clock or a runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::SharedRandom;
use tidegate_common::{BatchHead, Incarnation, Lineage, Offset, Position, StreamId, WalId};
use tidegate_wal::{SealedWal, Wal, WalMedium};
use tokio::sync::watch;

use crate::budget::{Limits, MemoryBudget, Share};
use crate::cache::log::LogCache;
use crate::io::ObjectIo;
use crate::manager::ObjectManager;
use crate::read::ObjectReader;
use crate::stream::StreamLog;

/// The log that a published batch lies in.
#[derive(Clone)]
pub enum WalRef {
    Live(Arc<dyn Wal>),
    Sealed(Arc<dyn SealedWal>),
}

impl WalRef {
    #[must_use]
    pub fn id(&self) -> WalId {
        match self {
            WalRef::Live(wal) => wal.id(),
            WalRef::Sealed(wal) => wal.id(),
        }
    }
}

/// A released batch.
#[derive(Clone)]
pub struct Published {
    pub position: Position,
    pub wal: Arc<WalRef>,
    pub head: BatchHead,
    /// `None`: read back from the WAL when needed.
    pub body: Option<Bytes>,
}

/// Plain values; the defaults are the documented ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `storage.upload.bytes`: a round starts when this much is published and not uploaded.
    pub upload_bytes: u64,
    /// `storage.upload.age.ms`: a round starts when the oldest such batch is this old.
    pub upload_age_ms: u64,
    /// A stream with this much in one round, or in set objects, gets a stream object of its own.
    pub split_bytes: u64,
    /// Upload rounds in memory at once.
    pub rounds_in_memory: usize,
    /// PUTs of one round at once.
    pub puts_in_flight: usize,
    /// Live set objects above which the oldest are merged or split.
    pub set_objects_max: usize,
    /// A set object is old enough for merging: `split_bytes` over this time is the rate above which a partition's bytes
    /// are PUT at most twice.
    pub compact_age_ms: u64,
    /// Bytes of output that one compaction holds in memory.
    pub compact_bytes: u64,
    pub compact_interval_ms: u64,
    pub gc_interval_ms: u64,
    /// Keys in one delete request.
    pub gc_batch: usize,
    /// Stream objects in one leaf.
    pub leaf_objects: usize,
    /// Target length of a block.
    pub block_bytes: usize,
    /// All shares of the budget together.
    pub memory_bytes: u64,
    pub log_cache_bytes: u64,
    pub block_cache_bytes: u64,
    pub footer_cache_bytes: u64,
    /// Bytes of object reads in flight.
    pub loads_bytes: u64,
    /// The longest range that one GET asks for.
    pub get_bytes_max: u64,
    pub read_ahead_bytes_max: u64,
    pub prepared_ttl_ms: u64,
    pub retry_ms_max: u64,
    /// Producer sections that a load of producer state replays at most.
    pub replay_bytes_max: u64,
    /// Slices that it replays at most.
    pub replay_slices_max: u32,
    /// A block cache whose content depends on nothing but the calls made: for the simulation.
    pub deterministic_cache: bool,
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            upload_bytes: 64 * MIB,
            upload_age_ms: 60_000,
            split_bytes: 8 * MIB,
            rounds_in_memory: 2,
            puts_in_flight: 4,
            set_objects_max: 128,
            compact_age_ms: 20 * 60_000,
            compact_bytes: 64 * MIB,
            compact_interval_ms: 10_000,
            gc_interval_ms: 10_000,
            gc_batch: 1000,
            leaf_objects: 1024,
            block_bytes: 256 << 10,
            memory_bytes: 1024 * MIB,
            log_cache_bytes: 256 * MIB,
            block_cache_bytes: 192 * MIB,
            footer_cache_bytes: 32 * MIB,
            loads_bytes: 64 * MIB,
            get_bytes_max: 8 * MIB,
            read_ahead_bytes_max: 16 * MIB,
            prepared_ttl_ms: 10 * 60_000,
            retry_ms_max: 5_000,
            replay_bytes_max: 16 * MIB,
            replay_slices_max: 64,
            deterministic_cache: false,
        }
    }
}

impl Settings {
    /// The budget that these settings ask for: fixed shares for what they name, the rest of the total for the network.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let usual = Limits::of(self.memory_bytes);
        usual
            .with(Share::LogCache, self.log_cache_bytes)
            .with(Share::BlockCache, self.block_cache_bytes)
            .with(Share::Uploads, usual.get(Share::Uploads).max(self.upload_bytes * self.rounds_in_memory as u64))
    }
}

/// What happened, for metrics. Every hook does nothing by default.
pub trait Observer: Send + Sync + 'static {
    fn uploaded(&self, _bytes: u64, _objects: usize) {}
    /// A round failed and will be tried again.
    fn upload_failed(&self, _why: &str) {}
    /// This incarnation may write no more; uploads, compaction and deletion have stopped for good.
    fn fenced(&self) {}
    fn wal_trimmed(&self, _wal: WalId, _below: Position) {}
    fn wal_deleted(&self, _wal: WalId) {}
    fn compacted(&self, _kind: &'static str, _bytes_read: u64, _bytes_written: u64) {}
    fn compaction_failed(&self, _why: &str) {}
    fn deleted(&self, _objects: usize) {}
    fn delete_failed(&self, _why: &str) {}
    fn block_read(&self, _hit: bool) {}
    /// Stored data is not what the metadata says. A person should look.
    fn damage(&self, _what: &str) {}
}

/// An observer that looks away.
pub struct NoObserver;

impl Observer for NoObserver {}

pub struct Parts {
    pub io: ObjectIo,
    pub objects: Arc<dyn ObjectManager>,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub incarnation: Incarnation,
    pub lineage: Lineage,
    pub settings: Settings,
    pub medium: Arc<dyn WalMedium>,
    pub observer: Arc<dyn Observer>,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum StorageError {
    #[error("this incarnation is fenced")]
    Fenced,
    #[error("the storage is shut down")]
    Closed,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AdoptError {
    /// The log does not continue what is committed: records are missing.
    #[error("WAL {wal}: stream {stream} goes on at {found}, but {expected} is missing")]
    Hole { wal: WalId, stream: StreamId, expected: Offset, found: Offset },
}

/// What a sealed WAL brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    pub streams: BTreeMap<StreamId, AdoptedStream>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdoptedStream {
    /// The offset after the last batch.
    pub end: Offset,
    /// Heads at or above the committed end, to fold into producer state.
    pub heads: Vec<BatchHead>,
}

/// What is published and not in the bucket yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    pub bytes: u64,
    pub oldest_age_ms: u64,
    /// Failed tries since the last round that succeeded.
    pub rounds_failed: u64,
}

/// Everything that streams and tasks share.
pub(crate) struct Core {
    pub(crate) io: ObjectIo,
    pub(crate) objects: Arc<dyn ObjectManager>,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) incarnation: Incarnation,
    pub(crate) lineage: Lineage,
    pub(crate) settings: Settings,
    pub(crate) medium: Arc<dyn WalMedium>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) budget: MemoryBudget,
    pub(crate) cache: LogCache,
    pub(crate) reader: ObjectReader,
    /// The life of the tasks.
    pub(crate) life: watch::Sender<Life>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    Running,
    /// No new compaction; uploads only until the flush is done.
    Closing,
    Closed,
    Fenced,
}

pub struct Storage {
    core: Arc<Core>,
    streams: Mutex<BTreeMap<StreamId, Arc<StreamLog>>>,
}

impl Storage {
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Storage> {
        let Parts { io, objects, clock, random, incarnation, lineage, settings, medium, observer } = parts;
        let budget = MemoryBudget::new(settings.limits());
        let cache = LogCache::new(&budget, clock.clone(), settings.log_cache_bytes, settings.upload_bytes);
        let core = Core {
            io,
            objects,
            clock,
            random,
            incarnation,
            lineage,
            settings,
            medium,
            observer,
            budget,
            cache,
            reader: ObjectReader,
            life: watch::Sender::new(Life::Running),
        };
        Arc::new(Self { core: Arc::new(core), streams: Mutex::default() })
    }

    /// The one log of this stream. Reads nothing.
    pub fn open_stream(&self, id: StreamId) -> Arc<StreamLog> {
        let mut streams = self.streams.lock();
        let open = || Arc::new(StreamLog::new(id, self.core.clone(), Arc::new(crate::cache::tail::Tail::new(id))));
        streams.entry(id).or_insert_with(open).clone()
    }

    /// The stream is deleted, or moved away: what is cached is dropped. What is not uploaded yet is still uploaded
    /// unless the metadata no longer knows the stream, and keeps its WAL space until then.
    pub fn close_stream(&self, id: StreamId) {
        let _ = id;
    }

    /// Takes over a sealed WAL at start: its entries at or above each stream's committed end enter the cache, in WAL
    /// order. Bodies stay in the WAL.
    ///
    /// # Errors
    /// [`AdoptError::Hole`] when the log does not continue what is committed.
    pub fn adopt(&self, sealed: Arc<dyn SealedWal>) -> Result<Adopted, AdoptError> {
        let _ = sealed;
        Ok(Adopted::default())
    }

    /// Starts the upload, compaction and deletion loops.
    pub fn spawn(self: &Arc<Self>) {}

    /// Uploads all that is published by now. Returns when it is committed.
    ///
    /// # Errors
    /// [`StorageError`] when this incarnation may write no more.
    pub async fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Flushes within the time given, then stops the loops.
    pub async fn shutdown(&self, flush_within: Duration) {
        let _ = flush_within;
    }

    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.core.cache.backlog()
    }

    /// Byte permits, shared with requests and answers.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.core.budget
    }
}
