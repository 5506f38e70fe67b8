//! Objects in and out of the bucket, with every answer settled.
//!
//! Owns: what a PUT, GET, DELETE and LIST mean when the store answers late, wrongly or not at all.
//! Invariants: a key is only ever created, and always with the same bytes; a PUT counts when the store holds
//! this write's own stamp; nothing is returned whose length was not checked; bytes that fail a check are read
//! once more and then reported. Each attempt holds a permit, so a slow store bounds its own load.
//! Never: overwrites, decides from a LIST, treats a timeout as failure or success.

mod cluster;
mod error;
#[cfg(any(test, feature = "sim"))]
pub mod fault;
mod keys;
pub mod media;
pub mod probe;
mod put;
mod read;
mod remove;
mod retry;
#[cfg(any(test, feature = "sim"))]
pub mod sim_store;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use tidegate_common::random::SharedRandom;
use tokio::sync::Semaphore;

pub use cluster::{ClusterError, Opened};
use error::Failure;
pub use error::IoError;
pub use keys::Keys;
pub use media::Media;
pub use put::PutOutcome;
pub use remove::{Listed, Listing};
use retry::{RetryTokens, Tries};

/// Bounds of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoSettings {
    /// GETs and LISTs at a time.
    pub reads_max: usize,
    /// PUTs and DELETEs at a time.
    pub writes_max: usize,
    /// An attempt may take this long, plus its bytes at `slowest_bytes_per_s`.
    pub attempt_timeout_ms: u64,
    pub slowest_bytes_per_s: u64,
    /// Total time within which a PUT, or a DELETE, begins attempts.
    pub put_budget_ms: u64,
    /// The same for a GET or LIST.
    pub get_budget_ms: u64,
    pub backoff_first_ms: u64,
    pub backoff_max_ms: u64,
    /// Retries that may come at once, and per second after that, over all operations of the lane.
    pub retry_burst: u32,
    pub retries_per_s: u32,
    /// Two ranges with at most this between them are one GET.
    pub coalesce_bytes: u64,
}

impl Default for IoSettings {
    fn default() -> Self {
        Self {
            reads_max: 64,
            writes_max: 16,
            attempt_timeout_ms: 15_000,
            slowest_bytes_per_s: 1024 * 1024,
            put_budget_ms: 60_000,
            get_budget_ms: 20_000,
            backoff_first_ms: 50,
            backoff_max_ms: 2_000,
            retry_burst: 50,
            retries_per_s: 10,
            coalesce_bytes: 256 * 1024,
        }
    }
}

/// Counters since start, over all lanes.
#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    deletes: AtomicU64,
    retries: AtomicU64,
    settled_by_reading: AtomicU64,
    rereads: AtomicU64,
    damaged: AtomicU64,
    unavailable: AtomicU64,
}

/// A reading of the counters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IoCounts {
    /// Requests sent, retries included.
    pub puts: u64,
    pub put_bytes: u64,
    pub gets: u64,
    pub get_bytes: u64,
    /// Keys asked to be deleted.
    pub deletes: u64,
    pub retries: u64,
    /// PUTs without a clear answer that turned out to be there.
    pub settled_by_reading: u64,
    /// Reads done again because a check failed.
    pub rereads: u64,
    pub damaged: u64,
    /// Operations given up when their budget ended.
    pub unavailable: u64,
}

/// Objects of one bucket, over one lane of permits and retries. Cheap to clone.
#[derive(Clone)]
pub struct ObjectIo {
    inner: Arc<Inner>,
}

struct Inner {
    media: Media,
    keys: Keys,
    random: SharedRandom,
    settings: IoSettings,
    reads: Semaphore,
    writes: Semaphore,
    tokens: RetryTokens,
    counters: Arc<Counters>,
}

impl ObjectIo {
    #[must_use]
    pub fn new(media: Media, settings: IoSettings, random: SharedRandom) -> Self {
        Self::with(media, settings, random, Arc::default())
    }

    /// The same bucket under permits and a retry budget of its own, so that one kind of work cannot use up
    /// another's: say, recovery beside uploads.
    #[must_use]
    pub fn lane(&self, settings: IoSettings) -> Self {
        let inner = &self.inner;
        Self::with(inner.media.clone(), settings, inner.random.clone(), inner.counters.clone())
    }

    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    #[must_use]
    pub fn counts(&self) -> IoCounts {
        let c = &self.inner.counters;
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        IoCounts {
            puts: read(&c.puts),
            put_bytes: read(&c.put_bytes),
            gets: read(&c.gets),
            get_bytes: read(&c.get_bytes),
            deletes: read(&c.deletes),
            retries: read(&c.retries),
            settled_by_reading: read(&c.settled_by_reading),
            rereads: read(&c.rereads),
            damaged: read(&c.damaged),
            unavailable: read(&c.unavailable),
        }
    }

    fn with(media: Media, settings: IoSettings, random: SharedRandom, counters: Arc<Counters>) -> Self {
        let inner = Inner {
            keys: Keys::new(media.prefix.clone()),
            reads: Semaphore::new(settings.reads_max.max(1)),
            writes: Semaphore::new(settings.writes_max.max(1)),
            tokens: RetryTokens::new(settings.retry_burst, settings.retries_per_s),
            media,
            random,
            settings,
            counters,
        };
        Self { inner: Arc::new(inner) }
    }

    fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.media.store
    }

    fn tries(&self, budget_ms: u64) -> Tries {
        let s = &self.inner.settings;
        Tries::new(budget_ms, s.backoff_first_ms, s.backoff_max_ms)
    }

    /// Runs one attempt that moves `bytes` bytes. Past its time it is dropped, with an unknown outcome.
    async fn attempt<T>(
        &self,
        permits: &Semaphore,
        bytes: u64,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failure> {
        let _permit = permits.acquire().await.expect("the semaphore is never closed");
        let s = &self.inner.settings;
        let ms =
            s.attempt_timeout_ms.saturating_add(bytes.saturating_mul(1000) / s.slowest_bytes_per_s.max(1));
        match tokio::time::timeout(Duration::from_millis(ms), work).await {
            Ok(result) => result.map_err(|e| Failure::of(&e)),
            Err(_) => Err(Failure::Transient(format!("no answer in {ms} ms"))),
        }
    }

    /// Waits for the next try, or gives up with what came last.
    async fn again(&self, tries: &mut Tries, key: &str, last: &Failure) -> Result<(), IoError> {
        if tries.again(&*self.inner.random, &self.inner.tokens).await {
            self.count(|c| &c.retries, 1);
            tracing::debug!(key, tries = tries.count, %last, "trying again");
            return Ok(());
        }
        self.count(|c| &c.unavailable, 1);
        let (tries, elapsed_ms) = (tries.count, tries.elapsed_ms());
        Err(IoError::Unavailable { key: key.into(), tries, elapsed_ms, last: last.to_string() })
    }

    fn count(&self, which: impl Fn(&Counters) -> &AtomicU64, n: u64) {
        which(&self.inner.counters).fetch_add(n, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for ObjectIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectIo").field("store", &self.inner.media.store.to_string()).finish_non_exhaustive()
    }
}
