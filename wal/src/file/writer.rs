//! An open file WAL: admission, the queue, group commit, spares, trimming.
//!
//! Owns: the state that appenders, writer and keeper share, and the writer's step.
//! Invariants: queue order is position order; a group's records become durable together, and `durable` is told
//! after reads of them work; the writer is woken only when it sleeps. A record is dropped from the queue only by
//! the poison. Never: holds the lock over the disk.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tidegate_common::{Position, WalId, mutant};
use tidegate_segment::{FilesError, LogFiles, LogOptions, SegmentLog};
use tokio::sync::watch;
use tracing::{error, warn};

use super::rim::{self, Wake};
use super::{FileOptions, GroupStats, Observer, decoded};
use crate::codec;
use crate::space::{Answers, Space, Waiting};
use crate::{Durability, Permit, Reach, ReadError, ReserveError, Usage, Wal, WalRecord};

/// A group is cut at this many bytes, so that the first record of a long queue does not wait for all of it.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;
/// Prepared segments that the keeper holds ready.
const SPARES: usize = 1;
/// Trimmed segments that are kept to be written again: an upload round frees several at once, and making a new
/// segment writes each of its bytes once more than using an old one.
const RECYCLED_MAX: usize = 4;

pub(super) struct FileWal {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    id: WalId,
    log_options: LogOptions,
    options: FileOptions,
    group_reserve: u64,
    files: Arc<LogFiles>,
    pub state: Mutex<State>,
    pub writer_wake: Wake,
    pub keeper_wake: Wake,
    durable: watch::Sender<Durability>,
    ended: watch::Sender<bool>,
}

pub(super) struct State {
    queue: Vec<Queued>,
    next: Position,
    space: Space,
    phase: Phase,
    writer_sleeps: bool,
    /// A spare is wanted since the keeper looked last.
    keep_again: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Phase {
    Open,
    /// No more appends; what is queued is still written.
    Closing,
    /// Something beside the writer failed: it must stop.
    Failed(String),
    Ended,
}

pub(super) struct Queued {
    record: WalRecord,
    /// Bytes and charge of its permit.
    bytes: u64,
    charge: u64,
}

/// What the writer does next.
pub(super) enum Turn {
    Write(Vec<Queued>),
    Mark,
    Sleep { mark_after: Option<Duration> },
    Finish,
    Fail(String),
}

/// What the keeper does next.
pub(super) enum Kept {
    Idle,
    Retry(Duration),
    Ended,
}

/// The writer's own side.
pub(super) struct Writer {
    log: SegmentLog,
    shared: Arc<Shared>,
    /// Emptied and handed back to the queue, so that it keeps its capacity.
    reuse: Vec<Queued>,
}

impl FileWal {
    pub fn start(id: WalId, log: SegmentLog, options: &FileOptions) -> Self {
        let log_options = options.log_options();
        let files = Arc::clone(log.files());
        let in_flight = options.in_flight_bytes_max(log_options.segment_bytes);
        let group_reserve = options.group_reserve(log_options.segment_bytes);
        let mut space = Space::new(in_flight, log_options.record_bytes_max, options.bytes_max);
        space.set_room(files.room().saturating_sub(group_reserve), files.used_bytes());
        let state = State {
            queue: Vec::new(),
            next: Position(log.next_seq()),
            space,
            phase: Phase::Open,
            writer_sleeps: false,
            keep_again: true,
        };
        let shared = Arc::new(Shared {
            id,
            log_options,
            options: options.clone(),
            group_reserve,
            files,
            state: Mutex::new(state),
            writer_wake: Wake::of(options.driver),
            keeper_wake: Wake::of(options.driver),
            durable: watch::Sender::new(Durability::Upto(Position(log.durable()))),
            ended: watch::Sender::new(false),
        });
        let writer = Writer { log, shared: Arc::clone(&shared), reuse: Vec::new() };
        rim::start(writer, &shared, options.driver);
        Self { shared }
    }
}

impl Drop for FileWal {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

impl Wal for FileWal {
    fn id(&self) -> WalId {
        self.shared.id
    }

    fn reach(&self) -> Reach {
        Reach::ThisMachine
    }

    fn try_reserve(&self, bytes: usize) -> Result<Permit, ReserveError> {
        let charge = self.shared.log_options.charge(bytes);
        let taken = self.shared.state.lock().space.try_take(bytes, charge);
        taken.map(|bytes| self.shared.permit(bytes))
    }

    fn reserve(&self, bytes: usize) -> BoxFuture<'_, Result<Permit, ReserveError>> {
        async move {
            let charge = self.shared.log_options.charge(bytes);
            let taken = self.shared.state.lock().space.take_or_wait(bytes, charge);
            let answer = match taken {
                Ok(answer) => answer,
                Err(waiter) => {
                    let shared = Arc::clone(&self.shared);
                    Waiting::new(waiter, move |bytes| shared.give_back(bytes)).await
                }
            };
            answer.map(|bytes| self.shared.permit(bytes))
        }
        .boxed()
    }

    fn append(&self, permit: Permit, record: WalRecord) -> Position {
        let bytes = permit.consume();
        let needed = codec::payload_len(&record.kind);
        assert!(needed <= bytes, "a record of {needed} bytes on a permit of {bytes}");
        let worst = self.shared.log_options.charge(bytes);
        let charge = self.shared.log_options.record_charge(bytes);
        let (position, wake) = {
            let mut state = self.shared.state.lock();
            let position = state.next;
            state.next = position.next();
            if state.phase == Phase::Open {
                state.space.settle(worst, charge);
                state.queue.push(Queued { record, bytes: bytes as u64, charge });
            }
            (position, std::mem::take(&mut state.writer_sleeps))
        };
        if wake {
            self.shared.writer_wake.wake();
        }
        position
    }

    fn durable(&self) -> watch::Receiver<Durability> {
        self.shared.durable.subscribe()
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        let files = Arc::clone(&self.shared.files);
        rim::blocking(self.shared.options.driver, move || decoded(files.read(position.0), position)).boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        let shared = Arc::clone(&self.shared);
        rim::blocking(self.shared.options.driver, move || shared.trim(below)).boxed()
    }

    fn usage(&self) -> Usage {
        let in_flight_bytes = self.shared.state.lock().space.in_flight();
        let used_bytes = self.shared.files.used_bytes();
        Usage { used_bytes, limit_bytes: self.shared.options.bytes_max, in_flight_bytes }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.shared.begin_close();
            let mut ended = self.shared.ended.subscribe();
            // The sender lives in `shared`.
            let _ = ended.wait_for(|ended| *ended).await;
        }
        .boxed()
    }
}

impl Shared {
    /// See [`tidegate_segment::disk::Disk::stall`].
    pub fn stall(&self) -> Duration {
        self.files.stall()
    }

    fn permit(self: &Arc<Self>, bytes: usize) -> Permit {
        let shared = Arc::clone(self);
        Permit::new(bytes, Some(Box::new(move |bytes| shared.give_back(bytes))))
    }

    /// A permit, or the answer to a waiter, was not used.
    fn give_back(&self, bytes: usize) {
        let charge = self.log_options.charge(bytes);
        let answers = {
            let mut state = self.state.lock();
            state.space.give_back(bytes as u64, charge);
            state.space.serve()
        };
        self.answer(answers);
    }

    fn answer(&self, answers: Answers) {
        for (waiter, answer) in answers {
            // One that went away meanwhile took nothing: what it was given goes to the next.
            if let Err(Ok(bytes)) = waiter.send(answer) {
                self.give_back(bytes);
            }
        }
    }

    fn begin_close(&self) {
        let answers = {
            let mut state = self.state.lock();
            if state.phase == Phase::Open {
                state.phase = Phase::Closing;
            }
            state.space.close();
            state.writer_sleeps = false;
            state.space.serve()
        };
        self.answer(answers);
        self.writer_wake.wake();
    }

    /// A sync beside the writer failed: nothing may be acknowledged any more.
    fn fail(&self, why: String) {
        {
            let mut state = self.state.lock();
            if state.phase != Phase::Ended {
                state.phase = Phase::Failed(why);
            }
            state.writer_sleeps = false;
        }
        self.writer_wake.wake();
    }

    fn want_spare(&self) {
        self.state.lock().keep_again = true;
        self.keeper_wake.wake();
    }

    /// One round of the keeper: a spare ahead of need, if the bound and the disk allow it.
    pub fn keep(&self) -> Kept {
        {
            let mut state = self.state.lock();
            state.keep_again = false;
            if state.phase == Phase::Ended {
                // Nothing of this log touches the disk from here on.
                self.ended.send_replace(true);
                return Kept::Ended;
            }
        }
        if self.files.spares() >= SPARES {
            return Kept::Idle;
        }
        let segment_bytes = u64::from(self.log_options.segment_bytes);
        if (self.files.file_count() as u64 + 1) * segment_bytes > self.options.bytes_max {
            // Only a trim gives room, and it wakes the keeper.
            self.refresh(Some(true));
            return Kept::Idle;
        }
        match self.files.prepare_spare() {
            Ok(()) => {
                self.refresh(Some(false));
                Kept::Idle
            }
            Err(FilesError::Sync { place, source }) => {
                self.fail(format!("{place}: {source}"));
                Kept::Idle
            }
            Err(error) => {
                warn!(wal = self.id.0, %error, "no spare segment: writes wait for space");
                self.refresh(Some(true));
                Kept::Retry(self.options.space_retry)
            }
        }
    }

    /// Tells admission what the files promise now, and serves those who wait for it.
    fn refresh(&self, is_full: Option<bool>) {
        let answers = {
            let mut state = self.state.lock();
            // Under the lock: an older number must not overwrite a newer one.
            self.tell_room(&mut state.space);
            if let Some(is_full) = is_full {
                state.space.set_full(is_full);
            }
            state.space.serve()
        };
        self.answer(answers);
    }

    fn tell_room(&self, space: &mut Space) {
        let room = self.files.room().saturating_sub(self.group_reserve);
        space.set_room(room, self.files.used_bytes());
    }

    fn trim(&self, below: Position) -> Result<(), ReadError> {
        // Only what is durable can be trimmed; the newest segment stays in any case.
        match self.files.trim(below.0, RECYCLED_MAX) {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.refresh(Some(false));
                self.want_spare();
                Ok(())
            }
            Err(error) => {
                let what = error.to_string();
                if matches!(error, FilesError::Sync { .. }) {
                    self.fail(what.clone());
                }
                Err(ReadError::Io(what))
            }
        }
    }
}

impl State {
    pub fn keep_again(&self) -> bool {
        self.keep_again
    }
}

impl Writer {
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Decides, under the lock, what to do next. On `Sleep`, an append wakes the writer.
    pub fn turn(&mut self, state: &mut State) -> Turn {
        state.writer_sleeps = false;
        if let Phase::Failed(why) = &state.phase {
            return Turn::Fail(why.clone());
        }
        if !state.queue.is_empty() {
            return Turn::Write(std::mem::replace(&mut state.queue, std::mem::take(&mut self.reuse)));
        }
        if state.phase != Phase::Open {
            return Turn::Finish;
        }
        state.writer_sleeps = true;
        Turn::Sleep { mark_after: self.log.wants_mark().then_some(self.shared.options.idle_mark) }
    }

    /// Whether there is nothing to do but to mark.
    pub fn is_idle(&self, state: &State) -> bool {
        state.queue.is_empty() && state.phase == Phase::Open
    }

    /// Does it; false when the writer has ended.
    pub fn act(&mut self, turn: Turn) -> bool {
        let done = match turn {
            Turn::Write(records) => self.write(records),
            Turn::Mark => self.log.mark().map(drop).map_err(|e| e.to_string()),
            Turn::Sleep { .. } => Ok(()),
            Turn::Finish => {
                let marked = self.log.mark().map(drop).map_err(|e| e.to_string());
                // For a fast start only: a log without footers is scanned.
                if let Err(error) = self.shared.files.sync_footers() {
                    warn!(wal = self.shared.id.0, %error, "footers are not synced");
                }
                return self.end(marked.err());
            }
            Turn::Fail(why) => Err(why),
        };
        match done {
            Ok(()) => true,
            Err(why) => self.end(Some(why)),
        }
    }

    fn write(&mut self, mut records: Vec<Queued>) -> Result<(), String> {
        let (mut group, mut charge) = (GroupStats { records: 0, bytes: 0, sync_ns: 0 }, 0);
        for queued in records.drain(..) {
            let encoded = codec::encode(queued.record);
            // Permits make sure that there is a segment: an error here is a failed write, or a bug.
            self.log.append(&encoded.meta, encoded.head(), &encoded.body).map_err(|e| e.to_string())?;
            group.records += 1;
            group.bytes += queued.bytes;
            charge += queued.charge;
            if self.log.staged_bytes() >= GROUP_BYTES_MAX {
                self.commit(
                    std::mem::replace(&mut group, GroupStats { records: 0, bytes: 0, sync_ns: 0 }),
                    std::mem::take(&mut charge),
                )?;
            }
        }
        self.reuse = records;
        if group.records > 0 { self.commit(group, charge) } else { Ok(()) }
    }

    fn commit(&mut self, mut group: GroupStats, charge: u64) -> Result<(), String> {
        let durable = {
            let started = self.observer().map(|o| o.clock.monotonic_ns());
            let durable = self.log.commit().map_err(|e| e.to_string())?;
            if let (Some(observer), Some(started)) = (self.observer(), started) {
                group.sync_ns = observer.clock.monotonic_ns().saturating_sub(started);
                (observer.on_group)(&group);
            }
            Position(durable + u64::from(mutant::on("durable-one-ahead")))
        };
        let shared = &self.shared;
        shared.durable.send_replace(Durability::Upto(durable));
        let answers = {
            let mut state = shared.state.lock();
            state.space.give_back(group.bytes, charge);
            shared.tell_room(&mut state.space);
            state.space.serve()
        };
        shared.answer(answers);
        if shared.files.spares() < SPARES {
            shared.want_spare();
        }
        Ok(())
    }

    fn observer(&self) -> Option<&Observer> {
        self.shared.options.observer.as_ref()
    }

    /// Ends the log, poisoned when there is a reason; false for the loop.
    fn end(&mut self, poison: Option<String>) -> bool {
        let upto = Position(self.log.durable());
        let shared = &self.shared;
        let (answers, dropped) = {
            let mut state = shared.state.lock();
            state.phase = Phase::Ended;
            state.space.close();
            state.keep_again = true;
            (state.space.serve(), std::mem::take(&mut state.queue))
        };
        drop(dropped);
        if let Some(why) = poison {
            error!(
                wal = shared.id.0,
                durable = upto.0,
                why,
                "the WAL is poisoned: nothing more is acknowledged"
            );
            self.log.poison(why);
            // After admission is closed, so that whoever hears of it finds it closed.
            shared.durable.send_replace(Durability::Poisoned { upto });
        }
        shared.answer(answers);
        // The keeper ends last, and says so.
        shared.keeper_wake.wake();
        false
    }
}

impl std::fmt::Debug for FileOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileOptions")
            .field("bytes_max", &self.bytes_max)
            .field("segment_bytes", &self.segment_bytes)
            .field("record_bytes_max", &self.record_bytes_max)
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}
