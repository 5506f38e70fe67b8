//! The storage of one broker incarnation: what `broker` holds and composes.
//!
//! Owns: the streams that are open here, the parts they share (log cache, block reader, budget), and the tasks that
//! upload, compact and delete.
//! Invariants: a stream is one [`StreamLog`] per process; after [`Storage::shutdown`] nothing is written any more.
//! Never: decides offsets or releases; opens a WAL; chooses a store, a clock or a runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use thiserror::Error;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::SharedRandom;
use tidegate_common::{BatchHead, Incarnation, Lineage, ObjectId, Offset, Position, StreamId, WalId};
use tidegate_wal::{SealedWal, Wal, WalMedium};
use tokio::sync::watch;

use crate::budget::MemoryBudget;
use crate::cache::flight::Flights;
use crate::cache::log::LogCache;
use crate::cache::lru::Lru;
use crate::cache::tail::Tail;
use crate::io::{IoSettings, ObjectIo};
use crate::manager::ObjectManager;
use crate::read::blocks::ObjectReader;
use crate::read::parts::{Directory, SliceEntry};
pub use crate::settings::Settings;
use crate::stream::{StreamLog, StreamState};
use crate::upload::Task;

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
    pub(crate) upload_io: ObjectIo,
    /// Compaction and deletion: few requests at a time, and retries of their own.
    pub(crate) background_io: ObjectIo,
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
    pub(crate) directory: Directory,
    /// What was once read of footers, in a few bytes: for retention and time look-ups.
    pub(crate) slices: Mutex<Lru<(Lineage, ObjectId, StreamId), SliceEntry>>,
    pub(crate) state_flights: Flights<StreamId, Arc<StreamState>>,
    /// Failed tries of uploads since the last success.
    pub(crate) rounds_failed: AtomicU64,
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

/// Waits for a value, and lets go of it.
pub(crate) async fn until<T>(watched: &mut watch::Receiver<T>, is: impl FnMut(&T) -> bool) {
    // The sender is part of `Core`, which outlives every receiver's task.
    drop(watched.wait_for(is).await);
}

impl Core {
    /// Whether this incarnation may still write.
    pub(crate) fn is_running(&self) -> bool {
        *self.life.borrow() < Life::Closed
    }

    /// Returns at once while this incarnation may write, else never: whoever waits here is ended with its task.
    pub(crate) async fn park_when_stopped(&self) {
        if !self.is_running() {
            std::future::pending::<()>().await;
        }
    }

    fn set_life(&self, to: Life) {
        self.life.send_if_modified(|life| {
            let moves = *life < to;
            *life = (*life).max(to);
            moves
        });
    }

    /// A loop that panics met a broken invariant: this incarnation must not go on as if it were uploading.
    async fn guard(self: Arc<Self>, name: &'static str, work: impl Future<Output = ()> + Send) {
        if std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err() {
            self.observer.damage(&format!("the {name} loop panicked"));
            self.fence();
        }
    }

    /// The quorum said that this incarnation is fenced: everything stops, for good.
    pub(crate) fn fence(&self) {
        let first = self.life.send_if_modified(|life| {
            let first = *life != Life::Fenced;
            *life = Life::Fenced;
            first
        });
        if first {
            tracing::error!("this incarnation is fenced: uploads, compaction and deletion stop");
            self.observer.fenced();
        }
    }
}

/// Slices whose extent is remembered.
const SLICES_REMEMBERED: u64 = 65_536;

pub struct Storage {
    core: Arc<Core>,
    streams: Mutex<Streams>,
    tasks: Mutex<Vec<Task<()>>>,
}

#[derive(Default)]
struct Streams {
    open: BTreeMap<StreamId, Arc<StreamLog>>,
    /// Closed, and still to be uploaded.
    closing: BTreeMap<StreamId, Arc<StreamLog>>,
}

impl Storage {
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Storage> {
        let Parts { io, objects, clock, random, incarnation, lineage, settings, medium, observer } = parts;
        let budget = MemoryBudget::new(settings.limits());
        let cache = LogCache::new(&budget, clock.clone(), settings.log_cache_bytes, settings.round_bytes());
        let reader = ObjectReader::new(io.clone(), &settings, &budget, observer.clone());
        let core = Core {
            upload_io: io.lane(IoSettings::default()),
            background_io: io.lane(IoSettings { reads_max: 8, writes_max: 4, ..IoSettings::default() }),
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
            reader,
            directory: Directory::default(),
            slices: Mutex::new(Lru::new(SLICES_REMEMBERED)),
            state_flights: Flights::new(),
            rounds_failed: AtomicU64::new(0),
            life: watch::Sender::new(Life::Running),
        };
        Arc::new(Self { core: Arc::new(core), streams: Mutex::default(), tasks: Mutex::default() })
    }

    /// The one log of this stream. Reads nothing.
    pub fn open_stream(&self, id: StreamId) -> Arc<StreamLog> {
        let streams = &mut *self.streams.lock();
        if let Some(log) = streams.open.get(&id) {
            return log.clone();
        }
        let log =
            streams.closing.remove(&id).unwrap_or_else(|| Arc::new(StreamLog::new(id, self.core.clone())));
        streams.open.insert(id, log.clone());
        log
    }

    /// The stream is deleted, or moved away, and its handle is no longer used: what is cached of it is dropped. What is not uploaded yet is still
    /// uploaded, and keeps its WAL space until then, unless the metadata no longer knows the stream.
    pub fn close_stream(&self, id: StreamId) {
        let streams = &mut *self.streams.lock();
        if let Some(log) = streams.open.remove(&id) {
            streams.closing.insert(id, log);
        }
        // Those closed before may be uploaded by now.
        streams.closing.retain(|id, log| {
            let deleted = self.core.objects.stream(*id).is_none();
            self.core.cache.close(log.tail(), deleted);
            !log.tail().is_empty()
        });
    }

    /// Takes over a sealed WAL at start: its entries at or above each stream's committed end enter the cache, in WAL
    /// order. Bodies stay in the WAL. When all is uploaded the WAL is deleted. WALs are adopted in the order of their
    /// ids, before [`Storage::spawn`], and once the rows here are at least as new as the seal: a stream that they do not
    /// know then is deleted.
    ///
    /// # Errors
    /// [`AdoptError::Hole`] when the log does not continue what is committed; nothing is taken over then.
    pub fn adopt(&self, sealed: Arc<dyn SealedWal>) -> Result<Adopted, AdoptError> {
        let mut adopted = Adopted::default();
        let mut entries = Vec::new();
        // Per stream its cache, and where it ends so far. `None`: deleted, so nothing of it is needed.
        let mut known: BTreeMap<StreamId, Option<(Arc<Tail>, Offset, Offset)>> = BTreeMap::new();
        for entry in sealed.index() {
            let (stream, position) = (entry.stream, entry.position);
            let Some(head) = entry.head else { continue };
            let known = known.entry(stream).or_insert_with(|| {
                let committed_end = self.core.objects.stream(stream)?.committed_end;
                let tail = self.open_stream(stream).tail().clone();
                let end = tail.end().unwrap_or(committed_end);
                Some((tail, committed_end, end))
            });
            let Some((tail, committed_end, end)) = known else { continue };
            if head.next_offset() <= *committed_end {
                continue;
            }
            // The log start may have raised the committed end into a batch.
            let into_a_batch = *end == *committed_end && head.base_offset() < *end;
            if head.base_offset() != *end && !into_a_batch {
                let (wal, expected, found) = (sealed.id(), *end, head.base_offset());
                return Err(AdoptError::Hole { wal, stream, expected, found });
            }
            *end = head.next_offset();
            let of_stream = adopted.streams.entry(stream).or_default();
            of_stream.end = *end;
            of_stream.heads.push(head);
            entries.push((tail.clone(), head, position));
        }
        let end = sealed.end();
        self.core.cache.adopt(&Arc::new(WalRef::Sealed(sealed)), end, entries.into_iter());
        Ok(adopted)
    }

    /// Starts the upload, compaction and deletion loops. Once, within a runtime.
    pub fn spawn(self: &Arc<Self>) {
        let mut tasks = self.tasks.lock();
        tasks.push(Task::spawn(self.core.clone().guard("upload", crate::upload::run(self.core.clone()))));
        tasks
            .push(Task::spawn(self.core.clone().guard("compaction", crate::compact::run(self.core.clone()))));
        tasks.push(Task::spawn(self.core.clone().guard("deletion", crate::gc::run(self.core.clone()))));
    }

    /// Uploads all that is published by now. Returns when it is committed.
    ///
    /// # Errors
    /// [`StorageError`] when this incarnation may write no more.
    pub async fn flush(&self) -> Result<(), StorageError> {
        let mut uploaded = self.core.cache.uploaded_below();
        let mut life = self.core.life.subscribe();
        let below = self.core.cache.want_flush();
        tokio::select! {
            biased;
            () = until(&mut uploaded, |uploaded| *uploaded >= below) => Ok(()),
            () = until(&mut life, |life| *life >= Life::Closed) => match *life.borrow() {
                Life::Fenced => Err(StorageError::Fenced),
                _ => Err(StorageError::Closed),
            },
        }
    }

    /// Flushes within the time given, then stops the loops. What is not uploaded by then stays in the WAL.
    pub async fn shutdown(&self, flush_within: Duration) {
        self.core.set_life(Life::Closing);
        let flushed = tokio::time::timeout(flush_within, self.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!(
                backlog_bytes = self.backlog().bytes,
                "stopping with records that are only in the WAL"
            );
        }
        self.core.set_life(Life::Closed);
        self.tasks.lock().clear();
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let rounds_failed = self.core.rounds_failed.load(Ordering::Relaxed);
        Backlog { rounds_failed, ..self.core.cache.backlog() }
    }

    /// Byte permits, shared with requests and answers.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.core.budget
    }

    /// Bytes in the block cache, about.
    #[must_use]
    pub fn block_cache_bytes(&self) -> u64 {
        self.core.reader.cached_block_bytes()
    }
}
