//! One partition of `__consumer_offsets` as its coordinator holds it.
//!
//! Owns: the state machine behind the shard's lock, the position of its newest append, and who is parked.
//! Invariants: lock order is shard, partition, release window; memory and the WAL's permit are in hand before the lock is
//! taken, so that what the machine decides is appended in the same critical section and cannot fail by itself; every
//! answer, also that of a call that wrote nothing, follows the newest append, so nobody is told of a state that may
//! still be lost. An append that finds the partition gone ends the shard: its state is thrown away as a whole.
//! Never: holds its lock over an await; loads or writes by itself (`load`, `upkeep`, `shorten`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_common::batch::HEAD_LEN;
use tidegate_common::{Batch, Offset, Position};
use tidegate_groups::{Answer, Call, Effects, Now, Progress, Shard, Stats, Token};
use tidegate_s3stream::budget::{MemoryPermit, Share};
use tidegate_wal::{Permit, ReserveError};
use tidegate_wire::records::{Codec, RecordsBuilder};
use tokio::sync::oneshot;

use super::Coordinator;
use crate::api::errors::Code;
use crate::broker::Broker;
use crate::partition::{Appended, Partition};
use crate::release::Pending;

/// Memory that a writing call draws before it is decided; what it really appends is charged then.
const CALL_MEMORY: u64 = 4 << 10;

/// Why a call has no answer of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// What to answer instead.
    Code(Code),
    /// The WAL takes no more records: the connection is closed unanswered.
    Dead,
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Failure::Code(code)
    }
}

/// An outcome, and what has to be released before it leaves.
#[derive(Debug)]
pub struct Done<T> {
    pub value: T,
    pub after: After,
}

/// A position of the WAL, which is the order of all shards of this broker: of several answers the greatest counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct After(pub(super) Position);

impl After {
    /// Done when the position is released.
    #[must_use]
    pub fn pending(self, broker: &Broker) -> Arc<Pending> {
        let pending = Pending::new(broker.storage.budget().charge(Share::Produce, 0));
        broker.releaser.follow(self.0, &pending);
        pending
    }
}

/// The answer to a parked request; without one when the shard ended first.
pub type Parked = oneshot::Receiver<Done<Answer>>;

/// What a shard is doing.
pub(super) enum Phase {
    /// Reads its partition, or is about to (again).
    Loading,
    Serving(Box<Shard>),
    /// The partition is not this incarnation's any more.
    Closed,
}

/// How much a load has to read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    pub bytes: u64,
    pub batches: u64,
}

impl Length {
    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.batches += 1;
    }

    /// What came after `before`.
    pub fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, batches: self.batches - before.batches }
    }
}

/// Work that is done by one task at a time, and tried again later when it fails.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Effort {
    pub runs: bool,
    /// Not before this time: the last one failed.
    pub retry_ms: i64,
    /// In a row.
    pub failures: u32,
}

pub(super) struct Guarded {
    pub phase: Phase,
    /// The newest append of this life.
    pub last: Position,
    pub parked: BTreeMap<Token, oneshot::Sender<Done<Answer>>>,
    /// Topics that were deleted and whose offsets are still here.
    pub deleted: BTreeSet<Arc<str>>,
    /// What lies from the log start on.
    pub log: Length,
    /// Everything appended in this life.
    pub appended: Length,
    pub upkeep: Effort,
    pub shortening: Effort,
    /// A rewrite is released whose log start could not be moved yet: where it begins, and what was appended before it.
    pub rewritten: Option<(Offset, Length)>,
}

pub struct GroupShard {
    partition: Arc<Partition>,
    pub(super) guarded: Mutex<Guarded>,
}

impl GroupShard {
    /// A shard that is not loaded yet. A partition that never held a record has nothing to load, but goes the same way.
    #[must_use]
    pub fn new(partition: Arc<Partition>) -> Self {
        Self {
            partition,
            guarded: Mutex::new(Guarded {
                phase: Phase::Loading,
                last: Position::ZERO,
                parked: BTreeMap::new(),
                deleted: BTreeSet::new(),
                log: Length::default(),
                appended: Length::default(),
                upkeep: Effort::default(),
                shortening: Effort::default(),
                rewritten: None,
            }),
        }
    }

    #[must_use]
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Asks the state as admitted.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR.
    pub fn read<T>(&self, ask: impl FnOnce(&mut Shard) -> T) -> Result<Done<T>, Failure> {
        let mut guarded = self.guarded.lock();
        let value = ask(guarded.serving()?);
        Ok(Done { value, after: After(guarded.last) })
    }

    /// A call that may append: within the bound that `config.record_bytes_max` gives for it.
    ///
    /// # Errors
    /// [`Failure`]; nothing was decided then.
    pub async fn write<T>(
        &self,
        broker: &Broker,
        bytes_max: usize,
        act: impl FnOnce(&mut Shard, Now, &mut Effects) -> T,
    ) -> Result<Done<T>, Failure> {
        loop {
            self.remove_deleted(broker).await?;
            let room = Room::take(broker, bytes_max).await?;
            let mut guarded = self.guarded.lock();
            guarded.serving()?;
            // A deletion that came meanwhile goes first: this call may commit for the topic's successor.
            if !guarded.deleted.is_empty() {
                continue;
            }
            return self.decide(broker, &mut guarded, room, act);
        }
    }

    /// A call whose answer comes now or later. Dropping the receiver changes nothing.
    ///
    /// # Errors
    /// [`Failure`]; nothing was decided then.
    pub async fn park(
        &self,
        broker: &Broker,
        call: Call<'_>,
        act: impl FnOnce(&mut Shard, Now, Token, &mut Effects),
    ) -> Result<Parked, Failure> {
        let coordinator = &broker.coordinator;
        let room = Room::take(broker, coordinator.config.record_bytes_max(call)).await?;
        let token = coordinator.token();
        let (sender, receiver) = oneshot::channel();
        let mut guarded = self.guarded.lock();
        guarded.serving()?;
        guarded.parked.insert(token, sender);
        self.decide(broker, &mut guarded, room, |shard, now, out| act(shard, now, token, out))?;
        Ok(receiver)
    }

    /// One step of work that no request bounds.
    pub(super) async fn step<T>(
        &self,
        broker: &Broker,
        act: impl FnOnce(&mut Shard, Now, &mut Effects) -> T,
    ) -> Result<T, Failure> {
        let bytes_max = broker.coordinator.config.record_bytes_max(Call::Step);
        let room = Room::take_now(broker, bytes_max).await?;
        let mut guarded = self.guarded.lock();
        guarded.serving()?;
        self.decide(broker, &mut guarded, room, act).map(|done| done.value)
    }

    /// Removes the offsets of deleted topics, if there are any.
    pub(super) async fn remove_deleted(&self, broker: &Broker) -> Result<(), Failure> {
        loop {
            let deleted = {
                let guarded = self.guarded.lock();
                if guarded.deleted.is_empty() || !guarded.is_serving() {
                    return Ok(());
                }
                guarded.deleted.clone()
            };
            let names: BTreeSet<&str> = deleted.iter().map(|name| &**name).collect();
            let progress = self.step(broker, |shard, now, out| shard.delete_topics(now, &names, out)).await?;
            if progress == Progress::Done {
                self.guarded.lock().deleted.retain(|name| !deleted.contains(name));
            }
        }
    }

    pub(super) fn topics_deleted(&self, names: &BTreeSet<Arc<str>>) {
        self.guarded.lock().deleted.extend(names.iter().cloned());
    }

    /// Ends the shard: who waits is sent to the next coordinator.
    pub fn close(&self) {
        self.guarded.lock().close();
    }

    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.guarded.lock().is_serving()
    }

    /// What it holds, if it is loaded, and the bytes of its log.
    #[must_use]
    pub fn stats(&self) -> (Option<Stats>, u64) {
        let guarded = self.guarded.lock();
        let stats = match &guarded.phase {
            Phase::Serving(shard) => Some(shard.stats()),
            Phase::Loading | Phase::Closed => None,
        };
        (stats, guarded.log.bytes)
    }

    /// Calls the machine and appends what it wrote, under the lock that the caller holds.
    pub(super) fn decide<T>(
        &self,
        broker: &Broker,
        guarded: &mut Guarded,
        room: Room,
        act: impl FnOnce(&mut Shard, Now, &mut Effects) -> T,
    ) -> Result<Done<T>, Failure> {
        let coordinator = &broker.coordinator;
        let now = coordinator.now();
        let mut out = Effects::default();
        let value = act(guarded.serving()?, now, &mut out);
        self.settle(broker, guarded, room, now, out)?;
        Ok(Done { value, after: After(guarded.last) })
    }

    /// Appends records and sends answers on their way.
    pub(super) fn settle(
        &self,
        broker: &Broker,
        guarded: &mut Guarded,
        room: Room,
        now: Now,
        out: Effects,
    ) -> Result<(), Failure> {
        if !out.records.is_empty() {
            let mut builder = RecordsBuilder::new(Codec::None);
            for record in &out.records {
                builder.push(now.wall_ms, Some(&record.key), record.value.as_deref(), &[]);
            }
            self.append(broker, guarded, room, builder.build(Offset::ZERO))?;
        }
        let coordinator = &broker.coordinator;
        for (token, answer) in out.answers {
            coordinator.metrics.note(&answer);
            if let Some(sender) = guarded.parked.remove(&token) {
                // A client that went away has dropped the other end.
                let _ = sender.send(Done { value: answer, after: After(guarded.last) });
            }
        }
        if let Phase::Serving(shard) = &guarded.phase
            && let Some(deadline) = shard.next_deadline_ms()
        {
            coordinator.plan(deadline);
        }
        Ok(())
    }

    /// Appends one batch; the first offset of it.
    pub(super) fn append(
        &self,
        broker: &Broker,
        guarded: &mut Guarded,
        room: Room,
        batch: Batch,
    ) -> Result<Offset, Failure> {
        let bytes = batch.len() as u64;
        let Room { permit, mut memory } = room;
        memory.resize(bytes);
        let pending = Pending::new(memory);
        match self.partition.append(&broker.releaser, permit, batch, &pending) {
            Appended::At { base, position, .. } => {
                guarded.last = position;
                guarded.log.add(bytes);
                guarded.appended.add(bytes);
                if guarded.is_long() {
                    broker.coordinator.wake.notify_one();
                }
                Ok(base)
            }
            // A batch without a producer id meets no other refusal. What was decided is not durable and never will be
            // here: the next owner goes on from what is.
            _ => {
                guarded.close();
                Err(Failure::Code(Code::NotCoordinator))
            }
        }
    }
}

impl Guarded {
    pub fn serving(&mut self) -> Result<&mut Shard, Failure> {
        match &mut self.phase {
            Phase::Serving(shard) => Ok(shard),
            Phase::Loading => Err(Code::CoordinatorLoadInProgress.into()),
            Phase::Closed => Err(Code::NotCoordinator.into()),
        }
    }

    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving(_))
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.deleted.clear();
        // Dropping the senders tells who waits that the shard ended.
        self.parked.clear();
    }
}

/// Memory and WAL space for one batch, taken before anything is decided.
pub(super) struct Room {
    permit: Permit,
    memory: MemoryPermit,
}

impl Room {
    /// For records of at most so many bytes.
    pub async fn take(broker: &Broker, record_bytes_max: usize) -> Result<Self, Failure> {
        let memory = broker.storage.budget().acquire(Share::Produce, CALL_MEMORY).await;
        Self::with(broker, record_bytes_max, memory).await
    }

    /// As [`Room::take`] for work that gives memory back, or that others wait for: it does not queue behind producers.
    pub async fn take_now(broker: &Broker, record_bytes_max: usize) -> Result<Self, Failure> {
        let memory = broker.storage.budget().charge(Share::Produce, CALL_MEMORY);
        Self::with(broker, record_bytes_max, memory).await
    }

    async fn with(broker: &Broker, record_bytes_max: usize, memory: MemoryPermit) -> Result<Self, Failure> {
        let reserved = broker.releaser.wal().reserve(HEAD_LEN + record_bytes_max).await;
        match reserved {
            Ok(permit) => Ok(Self { permit, memory }),
            Err(ReserveError::Closed) => Err(Failure::Dead),
            Err(ReserveError::TooLarge { .. }) => Err(Code::InvalidCommitOffsetSize.into()),
            // Kafka's coordinators say this when their topic takes no records.
            Err(ReserveError::Full { .. } | ReserveError::Busy) => Err(Code::CoordinatorNotAvailable.into()),
        }
    }
}

impl Coordinator {
    /// Has the upkeep task run at a time, or earlier.
    pub(super) fn plan(&self, at_ms: i64) {
        use std::sync::atomic::Ordering;
        if at_ms < self.planned_ms.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
    }
}
