//! The file medium: one segment log per WAL, in one directory, on one machine.
//!
//! Owns: options, creation, sealing, listing and deletion; `writer` owns an open log, `rim` the threads, `sealed`
//! what a successor reads.
//! Invariants: as in [`crate`]; a full disk or a full log is a missing permit, never a failed append.
//! Never: blocks a runtime's thread, unless it was told to by [`Driver::Task`].

mod rim;
mod sealed;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_common::clock::SharedClock;
use tidegate_common::{Incarnation, Position, WalId};
use tidegate_segment::disk::Disk;
use tidegate_segment::{LogIdentity, LogOptions, SegmentLog};

use crate::{OpenError, SealedWal, Space, Wal, WalMedium};

/// Who runs the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// Threads of its own, for real disks.
    #[default]
    Thread,
    /// Tasks of the current runtime that call the disk inline, for the simulation; each group takes this long.
    Task { sync_latency: Duration },
}

/// One group commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupStats {
    pub records: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Write and sync together.
    pub sync_ns: u64,
}

/// Told of each group, on the writer's thread: must not block.
#[derive(Clone)]
pub struct Observer {
    pub clock: SharedClock,
    pub on_group: Arc<dyn Fn(&GroupStats) + Send + Sync>,
}

#[derive(Clone)]
pub struct FileOptions {
    /// Bound of all segment files of one WAL, spares included.
    pub bytes_max: u64,
    /// At most a quarter of `bytes_max`.
    pub segment_bytes: u64,
    /// Largest batch; at most somewhat below half a segment.
    pub record_bytes_max: usize,
    /// Unit that the medium may tear; see [`LogOptions::align_bytes`].
    pub align_bytes: u32,
    /// Bytes that may be reserved and not yet durable; at most a segment.
    pub in_flight_bytes_max: u64,
    /// After this long without a record the writer marks what is durable: the time in which damage to the newest
    /// acknowledged group would look like a torn tail.
    pub idle_mark: Duration,
    /// How often a full disk is asked again.
    pub space_retry: Duration,
    pub driver: Driver,
    pub observer: Option<Observer>,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            bytes_max: 8 << 30,
            segment_bytes: 64 << 20,
            record_bytes_max: 8 << 20,
            align_bytes: 4096,
            in_flight_bytes_max: 64 << 20,
            idle_mark: Duration::from_millis(5),
            space_retry: Duration::from_secs(1),
            driver: Driver::Thread,
            observer: None,
        }
    }
}

impl FileOptions {
    fn log_options(&self) -> LogOptions {
        let align = u64::from(self.align_bytes.max(512));
        let wanted = self.segment_bytes.min(self.bytes_max / 4).clamp(16 * align, u64::from(u32::MAX));
        let segment_bytes = u32::try_from(wanted - wanted % align).expect("clamped to u32");
        let reserve = u32::try_from(self.group_reserve(segment_bytes)).unwrap_or(segment_bytes);
        let fits = LogOptions::payload_bytes_max(segment_bytes.saturating_sub(reserve), self.align_bytes);
        let record_bytes_max = self.record_bytes_max.min(fits);
        LogOptions { segment_bytes, align_bytes: self.align_bytes, record_bytes_max }
    }

    fn in_flight_bytes_max(&self, segment_bytes: u32) -> u64 {
        self.in_flight_bytes_max.min(segment_bytes.into())
    }

    /// Room kept for the blocks of the groups that what is in flight may form: one that is being written, and what
    /// the queue makes.
    fn group_reserve(&self, segment_bytes: u32) -> u64 {
        let groups = self.in_flight_bytes_max(segment_bytes) / writer::GROUP_BYTES_MAX as u64 + 2;
        groups * 2 * u64::from(self.align_bytes)
    }
}

pub struct FileMedium {
    disk: Arc<dyn Disk>,
    dir: String,
    options: FileOptions,
}

impl FileMedium {
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: &str, options: FileOptions) -> Self {
        Self { disk, dir: dir.to_owned(), options }
    }

    /// Runs `act` with disk and directory where blocking is allowed.
    async fn on_disk<T: Send + 'static>(
        &self,
        act: impl FnOnce(Arc<dyn Disk>, &str) -> Result<T, tidegate_segment::OpenError> + Send + 'static,
    ) -> Result<T, OpenError> {
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        Ok(rim::blocking(self.options.driver, move || act(disk, &dir)).await?)
    }
}

impl WalMedium for FileMedium {
    fn create(&self, id: WalId, incarnation: Incarnation) -> BoxFuture<'_, Result<Arc<dyn Wal>, OpenError>> {
        async move {
            let log_options = self.options.log_options();
            let identity = LogIdentity { log: id.0, incarnation: incarnation.0 };
            let log = self
                .on_disk(move |disk, dir| {
                    let log = SegmentLog::create(disk, dir, identity, log_options)?;
                    log.files()
                        .prepare_spare()
                        .map_err(|error| tidegate_segment::OpenError::Refused(error.to_string()))?;
                    Ok(log)
                })
                .await?;
            Ok(Arc::new(writer::FileWal::start(id, log, &self.options)) as Arc<dyn Wal>)
        }
        .boxed()
    }

    fn seal(
        &self,
        id: WalId,
        executor: Incarnation,
        floor: Position,
    ) -> BoxFuture<'_, Result<Arc<dyn SealedWal>, OpenError>> {
        async move {
            let (log, records) = self
                .on_disk(move |disk, dir| tidegate_segment::seal(disk, dir, id.0, executor.0, floor.0))
                .await?;
            Ok(Arc::new(sealed::FileSealed::new(id, log, &records, self.options.driver))
                as Arc<dyn SealedWal>)
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<WalId>, OpenError>> {
        async move {
            let logs = self.on_disk(|disk, dir| tidegate_segment::logs_in(&*disk, dir)).await?;
            Ok(logs.into_iter().map(WalId).collect())
        }
        .boxed()
    }

    fn delete(&self, id: WalId) -> BoxFuture<'_, Result<(), OpenError>> {
        self.on_disk(move |disk, dir| tidegate_segment::delete(&*disk, dir, id.0)).boxed()
    }

    fn space(&self) -> BoxFuture<'_, Option<Space>> {
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        async move { rim::blocking(self.options.driver, move || disk.space(&dir)).await.ok() }.boxed()
    }
}

impl From<tidegate_segment::OpenError> for OpenError {
    fn from(error: tidegate_segment::OpenError) -> Self {
        use tidegate_segment::OpenError as From;
        match error {
            From::Io { place, source } => OpenError::Io { place, what: source.to_string() },
            From::Damaged { file, offset, what } => OpenError::Damaged { file, offset, what },
            From::NewerFormat { place, found, known } => OpenError::NewerFormat { place, found, known },
            From::Refused(what) => OpenError::Refused(what),
        }
    }
}

impl From<tidegate_segment::ReadError> for crate::ReadError {
    fn from(error: tidegate_segment::ReadError) -> Self {
        use tidegate_segment::ReadError as From;
        match error {
            From::NotHere(seq) => Self::NotHere(Position(seq)),
            From::Damaged { file, offset, what } => {
                Self::Damaged { place: format!("{file} at byte {offset}"), what }
            }
            From::Io { place, what } => Self::Io(format!("{place}: {what}")),
        }
    }
}

/// Reads and decodes: what both the open and the sealed log do.
fn decoded(
    read: Result<(tidegate_segment::Meta, bytes::Bytes), tidegate_segment::ReadError>,
    position: Position,
) -> Result<crate::WalRecord, crate::ReadError> {
    let (meta, payload) = read?;
    crate::codec::decode(&meta, payload)
        .map_err(|what| crate::ReadError::Damaged { place: format!("position {position}"), what })
}
