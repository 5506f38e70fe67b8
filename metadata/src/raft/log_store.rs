//! openraft's log storage on a segment log.
//!
//! Owns: the writer, its order, and which segments may go.
//! Invariants: all writes run on one lane, in the order openraft gave them; an entry, a vote or a truncation is
//! answered after the sync that covers it; what memory shows is durable; before segments go, a record with
//! vote, committed and purged is durable behind them.
//! Never: goes on after a failed write. The committed id alone is not synced: it rides with the next group, and
//! a start that finds an older one applies the rest when a leader says so.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tidegate_common::mutant;
use tidegate_segment::disk::Disk;
use tidegate_segment::{
    FilesError, LogError, LogFiles, LogIdentity, LogOptions, Meta, OpenRequest, ReadError, SegmentLog,
};
use tracing::warn;

use super::blocking::Lane;
use super::log_memory::{KIND_COMMITTED, KIND_ENTRY, KIND_STATE, KIND_TRUNCATE, KIND_VOTE, LogMemory, Place};
use super::node_file::NodeFile;
use super::stored::{self, VoteRecord};
use super::types::{Entry, LogId, StorageError, StorageIOError, Types, Vote};
use super::{NodeId, OpenError};

/// The id of the Raft log among the segment logs of its directory.
const LOG: u64 = 1;
/// Bytes of entries given to one replication request.
const READ_BYTES_MAX: usize = 4 << 20;
/// Room that proposals leave to Raft's own records.
const RESERVE_BYTES: usize = 256 << 10;
/// Segments kept ready, so that a full disk is seen before an entry is accepted.
const SPARES: usize = 1;

/// Cheap to clone; every clone is the same log.
#[derive(Clone)]
pub(super) struct LogStore(Arc<Shared>);

struct Shared {
    /// Writes, in order.
    lane: Lane,
    /// Work on files beside the writes.
    upkeep: Arc<Lane>,
    writer: Arc<Mutex<Writer>>,
    files: Arc<LogFiles>,
    options: LogOptions,
    memory: Mutex<LogMemory>,
}

/// What the write lane owns.
struct Writer {
    log: SegmentLog,
    disk: Arc<dyn Disk>,
    dir: String,
    node: NodeFile,
}

impl LogStore {
    /// Opens or begins the log of `node` in `dir`. Blocks.
    pub fn open(
        disk: &Arc<dyn Disk>,
        dir: &str,
        node: NodeId,
        options: LogOptions,
        lane: Lane,
        upkeep: Arc<Lane>,
    ) -> Result<Self, OpenError> {
        let io = |source: io::Error| OpenError::Io { place: dir.into(), what: source.to_string() };
        make_dir(&**disk, dir).map_err(io)?;
        let exists = tidegate_segment::exists(&**disk, dir, LOG)?;
        let mut node_file = match NodeFile::read(&**disk, dir)? {
            Some(file) if file.node != node => {
                return Err(OpenError::Refused(format!(
                    "{dir} belongs to node {}, this is node {node}",
                    file.node
                )));
            }
            Some(file) => file,
            None if exists => {
                let what = "the node file is missing, but there is a log".into();
                return Err(OpenError::Damaged { file: NodeFile::path(dir), offset: 0, what });
            }
            None => NodeFile { node, opens: 0, floor: 0 },
        };
        node_file.opens += 1;
        node_file.write(&**disk, dir).map_err(io)?;

        let identity = LogIdentity { log: LOG, incarnation: node_file.opens };
        let request = OpenRequest { floor: node_file.floor, payloads: true };
        let (log, records) = SegmentLog::open(Arc::clone(disk), dir, identity, options, request)?;
        let memory = LogMemory::recover(&records).map_err(|what| OpenError::Damaged {
            file: dir.into(),
            offset: records.first().map_or(0, |record| record.offset.into()),
            what,
        })?;
        let files = Arc::clone(log.files());
        let writer = Writer { log, disk: Arc::clone(disk), dir: dir.into(), node: node_file };
        Ok(Self(Arc::new(Shared {
            lane,
            upkeep,
            writer: Arc::new(Mutex::new(writer)),
            files,
            options,
            memory: Mutex::new(memory),
        })))
    }

    pub fn purged(&self) -> Option<LogId> {
        self.0.memory.lock().purged
    }

    /// Whether nothing was ever written.
    pub fn is_pristine(&self) -> bool {
        let memory = self.0.memory.lock();
        memory.vote.is_none() && memory.last().is_none()
    }

    /// Makes sure that a record of `bytes` bytes finds room, with a reserve for Raft's own records. The error
    /// says what is missing; nothing was written then.
    pub async fn ensure_room(&self, bytes: usize) -> Result<(), String> {
        let options = &self.0.options;
        let wanted = options.charge(bytes) + options.charge(RESERVE_BYTES.min(options.record_bytes_max));
        while self.0.files.room() < wanted {
            self.prepare_spare().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Makes what is staged durable, and says so on disk when the log is idle.
    pub async fn mark(&self) -> Result<(), String> {
        self.write(|writer| writer.log.mark()).await.map(|_| ()).map_err(|error| error.to_string())
    }

    pub fn used_bytes(&self) -> u64 {
        self.0.files.used_bytes()
    }

    /// The last writes of this life.
    pub async fn close(&self) -> Result<(), String> {
        let closed = self.write(|writer| {
            writer.log.mark()?;
            writer.raise_floor()
        });
        closed.await.map_err(|error| error.to_string())
    }

    /// Prepares what the next segment needs, off the write lane.
    pub async fn upkeep(&self) {
        if self.0.files.spares() < SPARES
            && let Err(error) = self.prepare_spare().await
        {
            warn!(%error, "no spare segment for the raft log; proposals wait while there is no room");
        }
    }

    async fn prepare_spare(&self) -> Result<(), FilesError> {
        let (files, writer) = (Arc::clone(&self.0.files), Arc::clone(&self.0.writer));
        let prepare = move || {
            let prepared = files.prepare_spare();
            if let Err(FilesError::Sync { .. }) = &prepared {
                writer.lock().log.poison("a footer could not be synced".into());
            }
            prepared
        };
        self.0.upkeep.run(prepare).await
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, io::Error> {
        let writer = Arc::clone(&self.0.writer);
        self.0.lane.run(move || job(&mut writer.lock())).await.map_err(io::Error::other)
    }

    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let places = self.0.memory.lock().range(start, end, bytes_max);
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            match place {
                Place::Here(entry) => entries.push(entry),
                Place::At(seq) => {
                    let files = Arc::clone(&self.0.files);
                    match self.0.upkeep.run(move || files.read(seq)).await {
                        Ok((_, bytes)) => entries.push(stored::decode_entry(&bytes).map_err(unreadable)?),
                        // Purged while it was being asked for.
                        Err(ReadError::NotHere(_)) => entries.clear(),
                        Err(error) => return Err(unreadable(error.to_string())),
                    }
                }
            }
        }
        Ok(entries)
    }
}

impl Writer {
    /// Stages a record of Raft's state.
    fn stage(&mut self, kind: u8, payload: &[u8]) -> Result<u64, LogError> {
        self.log.append(&Meta { kind, ..Meta::default() }, payload, &Bytes::new())
    }

    /// Makes all that is staged durable.
    fn commit(&mut self) -> Result<(), LogError> {
        self.log.commit()?;
        if self.node.floor == 0 { self.raise_floor() } else { Ok(()) }
    }

    /// Notes beside the log how far it reaches. Without this, a file that vanishes whole is not missed.
    fn raise_floor(&mut self) -> Result<(), LogError> {
        self.node.floor = self.log.durable();
        self.node.write(&*self.disk, &self.dir).map_err(|error| {
            let why = format!("{}: {error}", NodeFile::path(&self.dir));
            self.log.poison(why.clone());
            LogError::Poisoned(why)
        })
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let memory = self.0.memory.lock();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let payload = stored::encode(&VoteRecord::from(*vote));
        let saved = self.write(move |writer| {
            writer.stage(KIND_VOTE, &payload)?;
            if mutant::on("vote-not-synced") {
                return Ok(());
            }
            writer.commit()?;
            // A vote is rare and must not look like a torn tail: say at once that it is durable.
            writer.log.mark().map(|_| ())
        });
        saved.await.map_err(|error| StorageIOError::write_vote(&error))?;
        self.0.memory.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.0.memory.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let payload = stored::encode(&committed.map(stored::Id::from));
        let staged = self.write(move |writer| writer.stage(KIND_COMMITTED, &payload));
        staged.await.map_err(|error| StorageIOError::write(&error))?;
        self.0.memory.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.0.memory.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<(Entry, Vec<u8>)> = entries
            .into_iter()
            .map(|entry| {
                let payload = stored::encode_entry(&entry);
                (entry, payload)
            })
            .collect();
        let written = self.write(move |writer| {
            let mut placed = Vec::with_capacity(entries.len());
            for (entry, payload) in entries {
                let index = entry.log_id.index.cast_signed();
                let meta = Meta { kind: KIND_ENTRY, base: index, count: 1, ..Meta::default() };
                let seq = writer.log.append(&meta, &payload, &Bytes::new())?;
                placed.push((entry, seq, payload.len()));
            }
            if mutant::on("entries-not-synced") {
                return Ok(placed);
            }
            writer.commit()?;
            Ok(placed)
        });
        match written.await {
            Ok(placed) => {
                let mut memory = self.0.memory.lock();
                placed.into_iter().for_each(|(entry, seq, bytes)| memory.push(entry, seq, bytes));
                drop(memory);
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                let failed = StorageIOError::write_logs(&error);
                callback.log_io_completed(Err(error));
                Err(failed.into())
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let payload = stored::encode(&log_id.index);
        let written = self.write(move |writer| {
            writer.stage(KIND_TRUNCATE, &payload)?;
            writer.commit()
        });
        written.await.map_err(|error| StorageIOError::write_logs(&error))?;
        self.0.memory.lock().truncate(log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let (state, oldest) = {
            let mut memory = self.0.memory.lock();
            memory.purge(log_id);
            (stored::encode(&memory.state()), memory.first_seq())
        };
        let written = self.write(move |writer| {
            if mutant::on("purge-forgets-vote") {
                return Ok(writer.log.durable());
            }
            let seq = writer.stage(KIND_STATE, &state)?;
            writer.commit()?;
            writer.raise_floor()?;
            Ok(seq)
        });
        let seq = written.await.map_err(|error| StorageIOError::write_logs(&error))?;
        let (files, below) = (Arc::clone(&self.0.files), oldest.unwrap_or(seq).min(seq));
        // Room that does not come back now comes back with the next purge.
        if let Err(error) = self.0.upkeep.run(move || files.trim(below, SPARES)).await {
            warn!(%error, "old segments of the raft log are not removed");
        }
        Ok(())
    }
}

fn unreadable(what: String) -> StorageError {
    StorageIOError::read_logs(AnyError::error(what)).into()
}

/// Creates the directory and makes its way from the root durable.
fn make_dir(disk: &dyn Disk, dir: &str) -> io::Result<()> {
    disk.create_dir_all(dir)?;
    let parents = dir.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &dir[..at]);
    std::iter::once("").chain(parents).try_for_each(|parent| disk.sync_dir(parent))
}
