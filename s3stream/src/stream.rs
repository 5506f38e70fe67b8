//! One stream as `broker` uses it: published batches go in, batches and state come out.
//!
//! Owns: the join of a stream's log cache and its objects, its read-ahead cursors, its single-flight state load.
//! Invariants: what a read returns is dense up to where it ends; an offset that the metadata promises and that cannot be
//! found is an error, never skipped. Never: decides offsets, the high watermark, or who may read.

use std::sync::Arc;

use thiserror::Error;
use tidegate_common::epochs::EpochStarts;
use tidegate_common::producers::Producers;
use tidegate_common::{Batch, Offset, StreamId};

use crate::cache::tail::Tail;
use crate::format::Chain;
use crate::storage::{Core, Published};

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ReadError {
    #[error("offset {asked} of stream {stream} is below the log start {log_start}")]
    BelowLogStart { stream: StreamId, asked: Offset, log_start: Offset },
    #[error("stream {0} does not exist")]
    UnknownStream(StreamId),
    /// The metadata says that the offset exists, and nothing holds it.
    #[error("nothing holds offset {at} of stream {stream}: {what}")]
    Hole { stream: StreamId, at: Offset, what: String },
    /// Stored bytes are not what was written.
    #[error("{place} is damaged: {what}")]
    Damaged { place: String, what: String },
    /// The bucket or the WAL did not answer; the same read may succeed later.
    #[error("not readable for the moment: {0}")]
    Unavailable(String),
}

/// What a stream's committed slices say about its producers and epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// The committed end: what lies above is to be folded from the WAL's heads.
    pub end: Offset,
    pub producers: Producers,
    pub epochs: EpochStarts,
    pub chain: Chain,
}

/// A committed part of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub from: Offset,
    pub to: Offset,
    pub bytes: u64,
    pub max_timestamp: i64,
}

pub struct StreamLog {
    id: StreamId,
    core: Arc<Core>,
    tail: Arc<Tail>,
}

impl StreamLog {
    pub(crate) fn new(id: StreamId, core: Arc<Core>) -> Self {
        Self { id, core, tail: Arc::new(Tail::new(id)) }
    }

    pub(crate) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Adds a released batch. By the release loop only, in WAL order over all streams.
    pub fn publish(&self, batch: Published) {
        self.core.cache.publish(&self.tail, batch);
    }

    /// As [`StreamLog::read`] when all of it is in memory. `None`: it is not, `read` is needed.
    #[must_use]
    pub fn read_cached(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Option<Vec<Batch>> {
        if from >= upto {
            return Some(Vec::new());
        }
        self.tail.read(from, upto, max_bytes, at_least_one)
    }

    /// Whole batches from the one that contains `from`, none whose last offset is not below `upto`, up to
    /// `max_bytes`; the first one even above that when `at_least_one`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Vec<Batch>, ReadError> {
        crate::read::read(&self.core, &self.tail, from, upto, max_bytes, at_least_one).await
    }

    /// Folds the producer sections of the committed slices, from the newest base on. Single flight.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn load_state(&self) -> Result<StreamState, ReadError> {
        crate::read::load_state(&self.core, &self.tail).await
    }

    /// The first batch in `[from, upto)` with a record at or after the time: `max_timestamp >= at_least`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn batch_at_timestamp(
        &self,
        at_least: i64,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<Batch>, ReadError> {
        crate::read::batch_at_timestamp(&self.core, &self.tail, at_least, from, upto).await
    }

    /// The first of the batches in `[from, upto)` with the greatest `max_timestamp`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn batch_of_max_timestamp(
        &self,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<Batch>, ReadError> {
        crate::read::batch_of_max_timestamp(&self.core, &self.tail, from, upto).await
    }

    /// The committed parts from the log start on, in offset order: for retention.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn extents(&self) -> Result<Vec<Extent>, ReadError> {
        crate::read::extents(&self.core, self.id).await
    }

    /// Bytes of the records from the log start on: what is committed, and what the WAL still holds alone.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn size(&self) -> Result<u64, ReadError> {
        let extents = self.extents().await?;
        let committed = extents.last().map_or(Offset::ZERO, |last| last.to);
        Ok(extents.iter().map(|e| e.bytes).sum::<u64>() + self.tail.bytes_from(committed))
    }

    /// Body bytes of this stream in the log cache.
    #[must_use]
    pub fn cached_bytes(&self) -> u64 {
        self.tail.cached_bytes()
    }
}
