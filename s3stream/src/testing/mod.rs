//! A metadata quorum in memory, for tests here and in the broker (feature `testing`).
//!
//! Owns: the rows, and the rules by which a commit is taken or refused; they are those of the real state machine, written
//! anew, so that neither test leans on the other's code.
//! Invariants: every command is applied whole or not at all; a commit whose answer was lost may be made again.
//! Never: is part of the product.

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tidegate_common::{Incarnation, Lineage, ObjectId, Offset, Position, StreamId, WalId};
use tokio::sync::watch;

use crate::manager::{
    Committed, CompactionCommit, GarbageRow, LeafRow, ManagerError, ObjectManager, SetInput, SetObjectRow,
    SliceRange, StreamObjectRow, StreamRow, UploadCommit,
};

/// What becomes of one proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It never arrives.
    Lost,
    /// It is applied, and the answer is lost.
    AnswerLost,
}

type Faults = Box<dyn FnMut(&'static str) -> Fault + Send>;

/// The quorum itself: what tests create streams in, and look at.
pub struct FakeQuorum {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    faults: Mutex<Option<Faults>>,
    lineage: Lineage,
    grace_ms: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    index: u64,
    time_ms: u64,
    next_id: u64,
    fenced: BTreeSet<Incarnation>,
    streams: BTreeMap<StreamId, StreamRow>,
    sets: BTreeMap<ObjectId, (SetObjectRow, Vec<SliceRange>)>,
    objects: BTreeMap<(StreamId, Offset), StreamObjectRow>,
    leaves: BTreeMap<(StreamId, Offset), LeafRow>,
    prepared: BTreeMap<ObjectId, (Incarnation, u64)>,
    garbage: BTreeMap<(u64, ObjectId), (GarbageRow, u64)>,
    trimmed: BTreeMap<WalId, Position>,
    deleted_wals: BTreeSet<WalId>,
}

impl FakeQuorum {
    #[must_use]
    pub fn new(lineage: Lineage, grace_ms: u64) -> Arc<Self> {
        let state = State { next_id: 1, ..State::default() };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            faults: Mutex::new(None),
            lineage,
            grace_ms,
        })
    }

    /// The quorum as one broker incarnation sees it.
    #[must_use]
    pub fn manager(self: &Arc<Self>, incarnation: Incarnation) -> Arc<dyn ObjectManager> {
        Arc::new(FakeManager { quorum: self.clone(), incarnation })
    }

    /// Asked for every proposal by name (`prepare`, `commit_upload`, …).
    pub fn set_faults(&self, faults: Option<Faults>) {
        *self.faults.lock() = faults;
    }

    pub fn create_stream(&self, id: StreamId) {
        self.change(|state| {
            state.streams.entry(id).or_insert(StreamRow {
                log_start: Offset::ZERO,
                so_end: Offset::ZERO,
                committed_end: Offset::ZERO,
            });
        });
    }

    pub fn delete_stream(&self, id: StreamId) {
        self.change(|state| {
            state.retire_below(id, Offset(i64::MAX));
            state.streams.remove(&id);
        });
    }

    pub fn advance_log_start(&self, id: StreamId, to: Offset) {
        self.change(|state| state.advance_log_start(id, to));
    }

    /// Moves the quorum's clock: prepared ids expire, garbage comes of age.
    pub fn tick(&self, ms: u64) {
        self.change(|state| {
            state.time_ms += ms;
            let now = state.time_ms;
            let expired: Vec<ObjectId> = state
                .prepared
                .iter()
                .filter(|(_, (_, deadline))| *deadline <= now)
                .map(|(id, _)| *id)
                .collect();
            for id in expired {
                state.drop_prepared(id, self.lineage);
            }
        });
    }

    pub fn fence(&self, incarnation: Incarnation) {
        self.change(|state| {
            state.fenced.insert(incarnation);
        });
    }

    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<StreamRow> {
        self.state.lock().streams.get(&id).copied()
    }

    #[must_use]
    pub fn trimmed(&self, wal: WalId) -> Position {
        self.state.lock().trimmed.get(&wal).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn wal_is_deleted(&self, wal: WalId) -> bool {
        self.state.lock().deleted_wals.contains(&wal)
    }

    /// Live set objects, stream objects outside leaves, leaves, prepared ids, garbage.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize, usize, usize) {
        let state = self.state.lock();
        (state.sets.len(), state.objects.len(), state.leaves.len(), state.prepared.len(), state.garbage.len())
    }

    /// The live slices of set objects, with their object.
    #[must_use]
    pub fn set_slices(&self) -> Vec<(ObjectId, Vec<SliceRange>)> {
        self.state.lock().sets.iter().map(|(id, (_, slices))| (*id, slices.clone())).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        state.index += 1;
        let out = change(&mut state);
        let index = state.index;
        drop(state);
        self.changed.send_replace(index);
        out
    }

    /// Applies a proposal whole or not at all.
    async fn propose<T>(
        &self,
        name: &'static str,
        incarnation: Incarnation,
        apply: impl FnOnce(&mut State) -> Result<T, ManagerError>,
    ) -> Result<T, ManagerError> {
        let fault = self.faults.lock().as_mut().map_or(Fault::None, |faults| faults(name));
        // An answer never comes within the same step as the question.
        tokio::task::yield_now().await;
        if fault == Fault::Lost {
            return Err(ManagerError::Unavailable(format!("{name} was lost")));
        }
        let outcome = self.change(|state| {
            if state.fenced.contains(&incarnation) {
                return Err(ManagerError::Fenced);
            }
            let mut next = state.clone();
            let outcome = apply(&mut next);
            if outcome.is_ok() {
                *state = next;
            }
            outcome
        });
        if fault == Fault::AnswerLost {
            return Err(ManagerError::Unavailable(format!("the answer to {name} was lost")));
        }
        outcome
    }
}

struct FakeManager {
    quorum: Arc<FakeQuorum>,
    incarnation: Incarnation,
}

impl ObjectManager for FakeManager {
    fn stream(&self, id: StreamId) -> Option<StreamRow> {
        self.quorum.stream(id)
    }

    fn set_objects(&self) -> Vec<SetObjectRow> {
        self.quorum.state.lock().sets.values().map(|(row, _)| row.clone()).collect()
    }

    fn stream_objects(&self, stream: StreamId, from: Offset) -> Vec<StreamObjectRow> {
        let state = self.quorum.state.lock();
        let rows = state.objects.range((stream, Offset(i64::MIN))..=(stream, Offset(i64::MAX)));
        rows.map(|(_, row)| row).filter(|row| row.to > from).cloned().collect()
    }

    fn leaves(&self, stream: StreamId, from: Offset) -> Vec<LeafRow> {
        let state = self.quorum.state.lock();
        let rows = state.leaves.range((stream, Offset(i64::MIN))..=(stream, Offset(i64::MAX)));
        rows.map(|(_, row)| row).filter(|row| row.to > from).cloned().collect()
    }

    fn streams_with_loose_objects(&self, count: usize) -> Vec<StreamId> {
        let state = self.quorum.state.lock();
        let mut counts: BTreeMap<StreamId, usize> = BTreeMap::new();
        for (stream, _) in state.objects.keys() {
            *counts.entry(*stream).or_default() += 1;
        }
        counts.into_iter().filter(|(_, n)| *n >= count).map(|(stream, _)| stream).collect()
    }

    fn garbage_due(&self, limit: usize) -> Vec<GarbageRow> {
        let state = self.quorum.state.lock();
        let due = |at: u64| at.saturating_add(self.quorum.grace_ms) <= state.time_ms;
        state.garbage.values().filter(|(_, at)| due(*at)).map(|(row, _)| *row).take(limit).collect()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.quorum.changed.subscribe()
    }

    fn prepare(&self, count: u32, ttl_ms: u64) -> BoxFuture<'_, Result<Vec<ObjectId>, ManagerError>> {
        let incarnation = self.incarnation;
        self.quorum
            .propose("prepare", incarnation, move |state| Ok(state.prepare(incarnation, count, ttl_ms)))
            .boxed()
    }

    fn commit_upload(&self, commit: UploadCommit) -> BoxFuture<'_, Result<Committed, ManagerError>> {
        let (incarnation, lineage) = (self.incarnation, self.quorum.lineage);
        self.quorum
            .propose("commit_upload", incarnation, move |state| {
                state.commit_upload(incarnation, lineage, &commit)
            })
            .boxed()
    }

    fn commit_compaction(&self, commit: CompactionCommit) -> BoxFuture<'_, Result<Committed, ManagerError>> {
        let (incarnation, lineage) = (self.incarnation, self.quorum.lineage);
        self.quorum
            .propose("commit_compaction", incarnation, move |state| {
                state.commit_compaction(incarnation, lineage, &commit)
            })
            .boxed()
    }

    fn retire_set_objects(&self, objects: Vec<SetInput>) -> BoxFuture<'_, Result<(), ManagerError>> {
        let (incarnation, lineage) = (self.incarnation, self.quorum.lineage);
        self.quorum
            .propose("retire_set_objects", incarnation, move |state| {
                let live = objects.into_iter().filter(|input| state.sets.contains_key(&input.id)).collect();
                let commit = CompactionCommit { set_objects_in: live, ..CompactionCommit::default() };
                state.commit_compaction(incarnation, lineage, &commit).map(drop)
            })
            .boxed()
    }

    fn confirm_deleted(&self, rows: Vec<GarbageRow>) -> BoxFuture<'_, Result<(), ManagerError>> {
        self.quorum
            .propose("confirm_deleted", self.incarnation, move |state| {
                for row in rows {
                    state.garbage.remove(&(row.index, row.id));
                }
                Ok(())
            })
            .boxed()
    }

    fn trim_wal(&self, wal: WalId, below: Position) -> BoxFuture<'_, Result<(), ManagerError>> {
        self.quorum
            .propose("trim_wal", self.incarnation, move |state| {
                let mark = state.trimmed.entry(wal).or_default();
                *mark = (*mark).max(below);
                Ok(())
            })
            .boxed()
    }

    fn delete_wal(&self, wal: WalId) -> BoxFuture<'_, Result<(), ManagerError>> {
        self.quorum
            .propose("delete_wal", self.incarnation, move |state| {
                state.deleted_wals.insert(wal);
                Ok(())
            })
            .boxed()
    }
}
