//! Power loss at every disk operation: votes are never lost or reordered, acknowledged entries are recovered.

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{blank_ent, log_id};
use openraft::{RaftLogReader, RaftSnapshotBuilder};

use super::super::types::{Entry, LogId, Types, Vote};
use super::*;

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
            Step::Snapshot { term, upto } => next.snapshot = Some(log_id(term, 1, upto)),
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
        Step::Vote(Vote::new(4, 3)),
    ]
}

fn entry(term: u64, index: u64) -> Entry {
    use super::super::types::Payload;
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
    };
    done.map_err(|error| error.to_string())
}

async fn observed(log: &mut LogStore, state: &StateMachine) -> Model {
    let entries = log.try_get_log_entries(..).await.expect("entries are readable");
    Model {
        vote: log.read_vote().await.expect("read"),
        purged: log.get_log_state().await.expect("read").last_purged_log_id,
        entries: entries.iter().map(|entry| entry.log_id).collect(),
        snapshot: state.last_applied(),
    }
}

/// Entries as one multi-entry append may leave them: a crash keeps any prefix.
fn may_be(found: &Model, before: &Model, after: &Model) -> bool {
    let parts = found.vote == before.vote || found.vote == after.vote;
    let purged = found.purged == before.purged || found.purged == after.purged;
    let snapshot = found.snapshot == before.snapshot || found.snapshot == after.snapshot;
    let entries = if after.entries.len() > before.entries.len() {
        found.entries.starts_with(&before.entries) && after.entries.starts_with(&found.entries)
    } else {
        found.entries == before.entries || found.entries == after.entries
    };
    parts && purged && snapshot && entries
}

/// Runs the history until the power goes at operation `at`; gives what was promised and what may be, too.
async fn until_power_loss(disk: &SimDisk, at: u64) -> Option<(Model, Model)> {
    disk.fail_after(at);
    let (mut promised, steps) = (Model::default(), history());
    let Ok((mut log, mut state)) = stores(&shared(disk)) else {
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

/// One power loss, a recovery that is cut short too, and a third that must show what was promised.
async fn survives(disk: &SimDisk, at: u64) -> Result<bool, String> {
    let Some((promised, after)) = until_power_loss(disk, at).await else { return Ok(false) };
    disk.crash();
    // The recovery itself loses power somewhere.
    disk.fail_after(at % 7);
    drop(stores(&shared(disk)));
    disk.crash();
    let (mut log, mut state) = stores(&shared(disk)).map_err(|error| format!("at {at}: {error}"))?;
    let found = observed(&mut log, &state).await;
    if !may_be(&found, &promised, &after) {
        return Err(format!("at {at}: found {found:?}\npromised {promised:?}\nor {after:?}"));
    }
    // It goes on from there, and what it found was no accident of a cache.
    let vote = Step::Vote(Vote::new(9, 9));
    run(&mut log, &mut state, &vote).await.map_err(|error| format!("at {at}: {error}"))?;
    drop((log, state));
    disk.crash();
    let (mut log, state) = stores(&shared(disk)).map_err(|error| format!("again at {at}: {error}"))?;
    let again = observed(&mut log, &state).await;
    if again != found.after(&vote) {
        return Err(format!("at {at}: found {found:?}\nthen {again:?}"));
    }
    Ok(true)
}

fn every_boundary(seed: u64, prepare: impl Fn(&SimDisk)) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O");
    for at in 0.. {
        let disk = SimDisk::new(seed * 10_007 + at);
        prepare(&disk);
        if !runtime.block_on(survives(&disk, at))? {
            return Ok(at);
        }
    }
    unreachable!("the history ends")
}

#[test]
fn power_loss_at_every_operation_loses_no_vote_and_no_acknowledged_entry() {
    for seed in 1..=6 {
        let boundaries = every_boundary(seed, |_| {}).unwrap_or_else(|what| panic!("seed {seed} {what}"));
        assert!(boundaries > 80, "{boundaries} operations only");
    }
}

/// Each kind of sync that this crate asks for is needed: without it, the suite above fails.
#[test]
fn without_any_one_sync_the_suite_fails() {
    type Matches = fn(&tidegate_segment::disk::sim::SyncEvent) -> bool;
    let kinds: [(&str, Matches); 4] = [
        ("the snapshot before its rename", |sync| sync.path.ends_with("snapshot.tmp")),
        ("the node file before its rename", |sync| sync.path.ends_with("node.tmp")),
        ("the raft directory", |sync| sync.is_dir && sync.path == DIR),
        ("segments", |sync| !sync.is_dir && !sync.path.ends_with(".tmp")),
    ];
    for (what, ignore) in kinds {
        let failed = (1..=40).any(|seed| every_boundary(seed, |disk| disk.ignore_syncs(ignore)).is_err());
        assert!(failed, "nothing noticed that {what} is not synced");
    }
}

/// The whole node: what a proposer was told is in the image after the power comes back.
#[test]
fn power_loss_at_every_operation_loses_no_acknowledged_command() {
    let mut boundaries = 0;
    for at in (0..).step_by(3) {
        let disk = SimDisk::new(at + 1);
        let finished = simulated(at, async {
            disk.fail_after(at);
            let mut acknowledged = Vec::new();
            if let Ok(node) = single(&disk).await {
                let mut i = 0;
                while i < 150 && node.propose(vec![init(), create(&format!("t{i}"))]).await.is_ok() {
                    acknowledged.push(format!("t{i}"));
                    i += 1;
                }
                node.shutdown().await;
            }
            let finished = !disk.is_off();
            disk.crash();
            let node = single(&disk).await.unwrap_or_else(|error| panic!("at {at}: {error}"));
            node.read_index().await.expect("leads");
            for name in &acknowledged {
                assert!(node.image().topic_by_name(name).is_some(), "at {at}: {name} is lost");
            }
            finished
        });
        boundaries += 1;
        if finished {
            break;
        }
    }
    assert!(boundaries > 60, "{boundaries}");
}
