//! What is looked at after each step of the simulation, inside the broker.
//!
//! Invariants checked: P5, W4, M1 (marks), O1, L4.

use std::collections::BTreeMap;

use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{Incarnation, LeaderEpoch, Position, StreamId};
use tidegate_metadata::Marks;
use tidegate_s3stream::budget::Share;
use tidegate_segment::disk::sim::SimDisk;

use super::super::world::World;
use super::super::{rules, sometimes};

/// Files that one broker may hold open: segments of its WALs and of the Raft log, with those of former lives.
const OPEN_FILES_MAX: u64 = 2_000;
/// The largest request; a share that is empty grants one such beyond its limit.
const REQUEST_MAX: u64 = 4 << 20;
/// After a failed sync, a group that was on its way beside it may still finish.
const POISON_GRACE_MS: u64 = 100;

fn holds_records(disk: &SimDisk, path: &str) -> bool {
    let Some(name) = path.strip_prefix("wal/") else { return false };
    let log = u64::from_str_radix(name.get(..16).unwrap_or_default(), 16).unwrap_or(0);
    let fork = disk.fork(0);
    fork.kill();
    let found = tidegate_segment::inspect(&fork, "wal", log, 0);
    found.is_ok_and(|found| {
        let holds = |n: &Result<(u64, usize), String>| matches!(n, Ok((_, count)) if *count > 0);
        found.segments.iter().any(|s| s.file.ends_with(name) && holds(&s.records))
    })
}

#[derive(Default)]
pub struct White {
    life: u64,
    released: Position,
    poisoned_ms: Option<u64>,
    marks: Marks,
    owners: BTreeMap<(StreamId, LeaderEpoch), Incarnation>,
    snapshot: Option<u64>,
    lease_lost: bool,
    steps: u64,
    fork_every: u64,
}

impl White {
    pub fn new(fork_every: u64) -> Self {
        Self { fork_every, ..Self::default() }
    }

    /// After a step, before the clock moves.
    pub fn step(&mut self, world: &World, random: &SeededRandom) {
        self.steps += 1;
        if self.life != world.life() {
            self.life = world.life();
            self.released = Position::ZERO;
            self.poisoned_ms = None;
            self.lease_lost = false;
            self.marks = Marks { vote_term: self.marks.vote_term, ..Marks::default() };
        }
        let disk = world.disk();
        let now_ms = world.clock.ms();
        for path in disk.take_failures() {
            world.history.note(&format!("a write or sync of {path} failed"));
            // A spare that cannot be made holds nothing and is given up; another is tried.
            if holds_records(&disk, &path) {
                self.poisoned_ms.get_or_insert(now_ms);
            }
        }
        if self.steps.is_multiple_of(16) {
            let snapshot = disk.identity("raft/snapshot");
            if snapshot != self.snapshot && snapshot.is_some() {
                self.snapshot = snapshot;
                world.history.count(sometimes::SNAPSHOT);
                if !world.is_serving() {
                    world.history.count(sometimes::SNAPSHOT_IN_RECOVERY);
                }
            }
        }
        let Some(broker) = world.broker() else { return };
        let lease = broker.lease.is_valid();
        let released = broker.releaser.released();
        if !lease && !self.lease_lost && !broker.releaser.is_drained() {
            self.lease_lost = true;
            world.history.note("the lease lapsed with records in flight");
            world.history.count(sometimes::LEASE_LOST_IN_FLIGHT);
        }
        if released > self.released {
            self.released = released;
            if !lease {
                let why = format!("position {released} was released without a lease");
                world.history.violate(&rules::P5, &why);
            }
            if let Some(at_ms) = self.poisoned_ms
                && now_ms > at_ms + POISON_GRACE_MS
            {
                let why = format!("position {released} was released after a failed write or sync at {at_ms}");
                world.history.violate(&rules::W4, &why);
            }
            // While the disk stalls, and after a fault, every release is checked.
            let hot = self.poisoned_ms.is_some();
            if hot || random.below(self.fork_every) == 0 {
                world.history.count("durability-checks");
                let fork = disk.fork(random.next_u64());
                fork.crash_hard();
                let wal = broker.releaser.wal().id();
                match tidegate_segment::inspect(&fork, "wal", wal.0, 0) {
                    Ok(found) if found.end >= released.0 && found.damage.is_none() => {}
                    Ok(found) => {
                        let why = format!(
                            "position {released} of WAL {wal} was released; a power loss now leaves {} ({:?})",
                            found.end, found.damage
                        );
                        world.history.violate(&rules::P5, &why);
                    }
                    Err(error) => {
                        let why = format!("position {released} of WAL {wal} was released: {error}");
                        world.history.violate(&rules::P5, &why);
                    }
                }
            }
        }
        if self.steps.is_multiple_of(32) {
            self.slow(world, &broker);
        }
    }

    fn slow(&mut self, world: &World, broker: &tidegate_broker::broker::Broker) {
        let (old, new) = (self.marks, broker.metadata.marks());
        let grows = new.term >= old.term
            && new.vote_term >= old.vote_term
            && new.applied >= old.applied
            && new.snapshot >= old.snapshot
            && new.purged >= old.purged;
        if !grows || new.purged > new.snapshot || new.snapshot > new.applied || new.applied > new.last {
            world.history.violate(&rules::M1, &format!("{old:?} became {new:?}"));
        }
        self.marks = new;
        let image = broker.metadata.image();
        for partition in image.streams() {
            let Some(owner) = partition.owner else { continue };
            let key = (partition.stream, partition.leader_epoch);
            let first = *self.owners.entry(key).or_insert(owner.incarnation);
            if first != owner.incarnation {
                let why = format!("{key:?} was of incarnation {first:?}, now of {:?}", owner.incarnation);
                world.history.violate(&rules::O1, &why);
            }
        }
        for usage in broker.storage.budget().usage() {
            // What is published is admitted: the log cache is bounded by the WAL, not by its share.
            let most = match usage.share {
                Share::LogCache => usage.limit_bytes + world.sizes.wal_bytes * 4,
                _ => usage.limit_bytes + REQUEST_MAX,
            };
            if usage.used_bytes > most {
                world.history.violate(&rules::L4, &format!("{usage:?} is above {most}"));
            }
        }
        let handles = world.disk().open_handles();
        if handles > OPEN_FILES_MAX {
            world.history.violate(&rules::L4, &format!("{handles} files are open"));
        }
    }
}
