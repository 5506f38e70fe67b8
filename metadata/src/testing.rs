//! A quorum of one in memory, for the tests of other crates.
//!
//! Invariants: the real node on a simulated disk, with time and randomness from the caller; nothing of the
//! caller's process but its runtime is used.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_common::clock::SharedClock;
use tidegate_common::random::{SeededRandom, SharedRandom};
use tidegate_segment::disk::sim::SimDisk;
use uuid::Uuid;

use crate::command::InitCluster;
use crate::{Blocking, Command, Metadata, OpenError, Options, Timing};

/// A node on a disk of its own, whose cluster is initialized.
///
/// # Panics
/// When the node does not start, which only a bug can make it do.
pub async fn single(clock: SharedClock, seed: u64) -> Metadata {
    let disk = SimDisk::new(seed);
    let node = open(&disk, clock, Arc::new(SeededRandom::new(seed))).await.expect("an empty disk opens");
    let init = InitCluster {
        cluster_id: Uuid::from_u128(u128::from(seed) + 1),
        bucket: "memory".into(),
        prefix: String::new(),
        features: BTreeMap::new(),
    };
    node.propose_one(Command::InitCluster(init)).await.expect("a quorum of one accepts");
    node
}

/// A node on the given disk, which may hold an earlier life of it.
///
/// # Errors
/// As [`Metadata::open`].
pub async fn open(disk: &SimDisk, clock: SharedClock, random: SharedRandom) -> Result<Metadata, OpenError> {
    let options = Options {
        node: 1,
        voters: BTreeMap::from([(1, String::new())]),
        disk: Arc::new(disk.clone()),
        dir: "raft".into(),
        blocking: Blocking::Inline,
        clock,
        random,
        timing: Timing { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300, tick_ms: 100 },
        snapshot_entries: 500,
    };
    let wiring =
        crate::Wiring { segment_bytes: 8 << 20, record_bytes_max: 2 << 20, ..crate::Wiring::default() };
    Metadata::open_wired(options, wiring).await
}
