//! Crash states and flips of what Raft keeps on disk: log, vote, node file, snapshot.
//!
//! Invariants checked: a vote is never lost or taken back, an acknowledged entry is recovered, nothing appears that was
//! not written, the log is not purged past its snapshot; whoever opens again, also after a death of the opening at any
//! of its operations, sees the same. A flipped byte is refused, or nothing differs.
//! The stores are the product's; openraft itself is not run.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{blank_ent, log_id};
use openraft::{RaftLogReader, RaftSnapshotBuilder};
use tidegate_segment::LogOptions;
use tidegate_segment::disk::Disk;
use tidegate_segment::disk::sim::{Breadth, SimDisk};
use uuid::Uuid;

use super::blocking::Lane;
use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::{Entry, LogId, Payload, SnapshotMeta, Types, Vote};
use super::{Blocking, OpenError};
use crate::{Command, Image};

pub(super) const DIR: &str = "raft";

/// Small segments, so that tests roll and trim them.
pub(super) fn small_log() -> LogOptions {
    LogOptions { segment_bytes: 32 << 10, align_bytes: 512, record_bytes_max: 6 << 10 }
}

fn tiny_log() -> LogOptions {
    LogOptions { segment_bytes: 8 << 10, align_bytes: 512, record_bytes_max: 1 << 10 }
}

fn lane(disk: &Arc<dyn Disk>) -> Lane {
    Lane::start(Blocking::Inline, "inline", disk).expect("an inline lane has no thread")
}

pub(super) fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// The two stores of node 1.
pub(super) fn stores(disk: &Arc<dyn Disk>, log: LogOptions) -> Result<(LogStore, StateMachine), OpenError> {
    let upkeep = Arc::new(lane(disk));
    let log = LogStore::open(disk, DIR, 1, log, lane(disk), Arc::clone(&upkeep))?;
    let (_, stop) = tokio::sync::watch::channel(false);
    Ok((log, StateMachine::open(disk, DIR, upkeep, stop)?))
}

pub(super) fn create(name: &str) -> Command {
    let hash = blake3::hash(name.as_bytes());
    let id = u128::from_be_bytes(hash.as_bytes()[..16].try_into().expect("sixteen bytes"));
    Command::CreateTopic(crate::command::CreateTopic {
        name: name.into(),
        id: Uuid::from_u128(id),
        partitions: 1,
        owners: vec![],
        replication_factor: 1,
        configs: BTreeMap::new(),
    })
}

#[derive(Debug, Clone)]
enum Step {
    Vote(Vote),
    Append {
        term: u64,
        from: u64,
        to: u64,
    },
    Truncate {
        term: u64,
        since: u64,
    },
    Commit(u64),
    /// Applies up to the index and builds a snapshot.
    Snapshot {
        term: u64,
        upto: u64,
    },
    Purge {
        term: u64,
        upto: u64,
    },
    /// A leader's snapshot replaces the state.
    Install {
        term: u64,
        upto: u64,
    },
}

/// What a store must show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<LogId>,
    snapshot: Option<LogId>,
}

impl Model {
    fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        match *step {
            Step::Vote(vote) => next.vote = Some(vote),
            Step::Append { term, from, to } => next.entries.extend((from..to).map(|i| log_id(term, 1, i))),
            Step::Truncate { since, .. } => next.entries.retain(|id| id.index < since),
            Step::Commit(_) => {}
            Step::Snapshot { term, upto } | Step::Install { term, upto } => {
                next.snapshot = Some(log_id(term, 1, upto));
            }
            Step::Purge { term, upto } => {
                next.purged = Some(log_id(term, 1, upto));
                next.entries.retain(|id| id.index > upto);
            }
        }
        next
    }
}

/// A history with every kind of step, over several segments.
fn history() -> Vec<Step> {
    vec![
        Step::Vote(Vote::new(1, 1)),
        Step::Vote(Vote::new_committed(1, 1)),
        Step::Append { term: 1, from: 0, to: 3 },
        Step::Commit(2),
        Step::Append { term: 1, from: 3, to: 60 },
        Step::Commit(40),
        Step::Snapshot { term: 1, upto: 30 },
        Step::Purge { term: 1, upto: 20 },
        Step::Vote(Vote::new(2, 2)),
        Step::Truncate { term: 1, since: 50 },
        Step::Vote(Vote::new_committed(2, 2)),
        Step::Append { term: 2, from: 50, to: 120 },
        Step::Commit(110),
        Step::Snapshot { term: 2, upto: 100 },
        Step::Purge { term: 2, upto: 95 },
        Step::Vote(Vote::new(3, 1)),
        Step::Append { term: 3, from: 120, to: 180 },
        Step::Snapshot { term: 3, upto: 170 },
        Step::Purge { term: 3, upto: 170 },
        Step::Vote(Vote::new_committed(4, 3)),
        // It was away while others went on.
        Step::Install { term: 4, upto: 210 },
        Step::Purge { term: 4, upto: 210 },
        Step::Append { term: 4, from: 211, to: 216 },
        Step::Vote(Vote::new(5, 3)),
    ]
}

/// A short one, for flips: what it leaves fits into a few small segments.
fn short_history() -> Vec<Step> {
    vec![
        Step::Vote(Vote::new_committed(1, 1)),
        Step::Append { term: 1, from: 0, to: 12 },
        Step::Commit(11),
        Step::Snapshot { term: 1, upto: 8 },
        Step::Purge { term: 1, upto: 4 },
        Step::Vote(Vote::new_committed(2, 1)),
        Step::Append { term: 2, from: 12, to: 20 },
    ]
}

fn entry(term: u64, index: u64) -> Entry {
    // Different sizes, some of several sectors.
    let name = format!("topic-{index}-{}", "x".repeat((index as usize * 37) % 900));
    let payload = openraft::EntryPayload::Normal(Payload(Arc::new(vec![create(&name)])));
    Entry { payload, ..blank_ent::<Types>(term, 1, index) }
}

async fn run(log: &mut LogStore, state: &mut StateMachine, step: &Step) -> Result<(), String> {
    let done = match *step {
        Step::Vote(vote) => log.save_vote(&vote).await,
        Step::Append { term, from, to } => log.blocking_append((from..to).map(|i| entry(term, i))).await,
        Step::Truncate { term, since } => log.truncate(log_id(term, 1, since)).await,
        Step::Commit(upto) => log.save_committed(Some(log_id(1, 1, upto))).await,
        Step::Snapshot { upto, .. } => {
            let from = state.last_applied().map_or(0, |id| id.index + 1);
            let entries = log.try_get_log_entries(from..=upto).await.map_err(|error| error.to_string())?;
            state.apply(entries).await.map_err(|error| error.to_string())?;
            state.get_snapshot_builder().await.build_snapshot().await.map(|_| ())
        }
        Step::Purge { term, upto } => log.purge(log_id(term, 1, upto)).await,
        Step::Install { term, upto } => {
            let (meta, bytes) = leaders_snapshot(term, upto).await?;
            state.install_snapshot(&meta, Box::new(Cursor::new(bytes))).await
        }
    };
    done.map_err(|error| error.to_string())
}

/// What a leader that applied so much sends to a node that is far behind.
async fn leaders_snapshot(term: u64, upto: u64) -> Result<(SnapshotMeta, Vec<u8>), String> {
    let (_, mut state) = stores(&shared(&SimDisk::new(0)), small_log()).map_err(|error| error.to_string())?;
    let entries = (0..=upto).map(|index| entry(term, index));
    state.apply(entries).await.map_err(|error| error.to_string())?;
    let built = state.get_snapshot_builder().await.build_snapshot().await;
    let built = built.map_err(|error| error.to_string())?;
    Ok((built.meta, built.snapshot.into_inner()))
}

async fn observed(log: &mut LogStore, state: &StateMachine) -> Result<Model, String> {
    let entries = log.try_get_log_entries(..).await.map_err(|error| error.to_string())?;
    Ok(Model {
        vote: log.read_vote().await.map_err(|error| error.to_string())?,
        purged: log.get_log_state().await.map_err(|error| error.to_string())?.last_purged_log_id,
        entries: entries.iter().map(|entry| entry.log_id).collect(),
        snapshot: state.last_applied(),
    })
}

async fn opened(disk: &SimDisk) -> Result<(LogStore, StateMachine, Model), String> {
    let (mut log, state) = stores(&shared(disk), small_log()).map_err(|error| error.to_string())?;
    let model = observed(&mut log, &state).await?;
    Ok((log, state, model))
}

/// Entries as one multi-entry append may leave them: a crash keeps any prefix.
fn may_be(found: &Model, before: &Model, after: &Model) -> Result<(), String> {
    let parts = found.vote == before.vote || found.vote == after.vote;
    let purged = found.purged == before.purged || found.purged == after.purged;
    let snapshot = found.snapshot == before.snapshot || found.snapshot == after.snapshot;
    let entries = if after.entries.len() > before.entries.len() {
        found.entries.starts_with(&before.entries) && after.entries.starts_with(&found.entries)
    } else {
        found.entries == before.entries || found.entries == after.entries
    };
    if parts && purged && snapshot && entries && found.purged <= found.snapshot {
        return Ok(());
    }
    Err(format!("found {found:?}\npromised {before:?}\nor {after:?}"))
}

/// Runs the history until the power goes at operation `at`; gives what was promised and what may be, too.
async fn until_power_loss(disk: &SimDisk, at: u64) -> Option<(Model, Model)> {
    disk.fail_after(at);
    let (mut promised, steps) = (Model::default(), history());
    let Ok((mut log, mut state)) = stores(&shared(disk), small_log()) else {
        return Some((promised.clone(), promised));
    };
    for step in &steps {
        let after = promised.after(step);
        if run(&mut log, &mut state, step).await.is_err() {
            return Some((promised, after));
        }
        promised = after;
    }
    None
}

/// What a loss left is opened, goes on, and is opened once more.
async fn goes_on(disk: &SimDisk, promised: &Model, after: &Model) -> Result<(), String> {
    let (mut log, mut state, found) = opened(disk).await?;
    may_be(&found, promised, after)?;
    // It goes on from there, and what it found was no accident of a cache.
    let vote = Step::Vote(Vote::new(9, 9));
    run(&mut log, &mut state, &vote).await?;
    drop((log, state));
    disk.crash();
    let (_, _, again) = opened(disk).await?;
    if again == found.after(&vote) { Ok(()) } else { Err(format!("found {found:?}\nthen {again:?}")) }
}

async fn opening_dies(
    disk: &SimDisk,
    promised: &Model,
    after: &Model,
    breadth: Breadth,
) -> Result<u64, String> {
    let mut states = 0;
    for before in disk.losses(breadth) {
        for m in 0.. {
            let disk = disk.after(before);
            disk.fail_after(m);
            drop(stores(&shared(&disk), small_log()));
            let finished = !disk.is_off();
            for loss in disk.losses(breadth) {
                let at = |e: String| format!("{before:?}, {m} operations of the opening, {loss:?}: {e}");
                goes_on(&disk.after(loss), promised, after).await.map_err(at)?;
                states += 2;
            }
            if finished {
                break;
            }
        }
    }
    Ok(states)
}

/// How thorough a run is.
#[derive(Clone)]
pub struct Extent {
    pub breadth: Breadth,
    /// Every how many boundaries the opening itself is cut short at each of its operations.
    pub nested_every: u64,
    pub nested: Breadth,
    /// Done to each disk first.
    pub prepare: fn(&SimDisk),
}

/// Cuts the history short at every operation. Gives boundaries and states.
///
/// # Errors
/// The first violation, with what leads to it.
pub fn states(seed: u64, extent: &Extent) -> Result<(u64, u64), String> {
    runtime().block_on(async {
        let mut states = 0;
        for at in 0.. {
            let disk = SimDisk::new(seed * 10_007 + at);
            (extent.prepare)(&disk);
            let Some((promised, after)) = until_power_loss(&disk, at).await else {
                return Ok((at, states));
            };
            for loss in disk.losses(extent.breadth) {
                let left = goes_on(&disk.after(loss), &promised, &after).await;
                left.map_err(|e| format!("boundary {at}, {loss:?}: {e}"))?;
                states += 2;
            }
            if at % extent.nested_every == 0 {
                let died = opening_dies(&disk, &promised, &after, extent.nested).await;
                states += died.map_err(|e| format!("boundary {at}, then {e}"))?;
            }
        }
        unreachable!("the history ends")
    })
}

/// Flips each byte of every file of a small node, with each mask. Gives by file how many were refused, and how many
/// changed nothing of what is recovered.
///
/// # Errors
/// The first flip after which something else is recovered.
pub fn flips(masks: &[u8]) -> Result<BTreeMap<String, (u64, u64)>, String> {
    runtime().block_on(async {
        let disk = SimDisk::new(3);
        let (mut log, mut state) = stores(&shared(&disk), tiny_log()).map_err(|error| error.to_string())?;
        for step in short_history() {
            run(&mut log, &mut state, &step).await?;
        }
        log.close().await?;
        drop((log, state));
        disk.kill();
        let intact = content(&disk.fork(1)).await.map_err(|error| error.to_string())??;
        let mut seen = BTreeMap::new();
        for name in disk.list(DIR).map_err(|error| error.to_string())? {
            let path = format!("{DIR}/{name}");
            let len = disk.bytes(&path).map_err(|error| error.to_string())?.len() as u64;
            let (mut refused, mut harmless) = (0, 0);
            for (offset, mask) in (0..len).flat_map(|at| masks.iter().map(move |mask| (at, *mask))) {
                let disk = disk.fork(1);
                disk.flip(&path, offset, mask);
                match content(&disk).await {
                    Ok(Ok(found)) if found == intact => harmless += 1,
                    Ok(found) => {
                        let found = found.map(|(model, _)| model);
                        return Err(format!("{path} byte {offset}, mask {mask:#04x}: found {found:?}"));
                    }
                    Err(OpenError::Damaged { .. } | OpenError::NewerFormat { .. }) => refused += 1,
                    // The id of the node, whose checksum a flip cannot match: never seen.
                    Err(other) => return Err(format!("{path} byte {offset}, mask {mask:#04x}: {other}")),
                }
            }
            seen.insert(name, (refused, harmless));
        }
        Ok(seen)
    })
}

/// Everything that a start takes from the disk.
async fn content(disk: &SimDisk) -> Result<Result<(Model, Image), String>, OpenError> {
    let (mut log, state) = stores(&shared(disk), tiny_log())?;
    let image = Image::clone(&state.published().image.load());
    Ok(observed(&mut log, &state).await.map(|model| (model, image)))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O")
}
