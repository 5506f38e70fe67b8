//! Tests of the Raft side: on real files and on the simulated disk.

mod cluster;
mod crash;
mod damage;
mod node;
mod suite;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_common::BrokerId;
use tidegate_common::clock::ManualClock;
use tidegate_common::random::SeededRandom;
use tidegate_segment::LogOptions;
use tidegate_segment::disk::Disk;
use tidegate_segment::disk::sim::SimDisk;
use uuid::Uuid;

use super::crashes::{self, DIR, create, shared, small_log};
use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::{Blocking, Metadata, NodeId, OpenError, Options, Timing, Wiring};
use crate::Command;
use crate::command::{InitCluster, RegisterBroker};

fn small_wiring() -> Wiring {
    let LogOptions { segment_bytes, align_bytes, record_bytes_max } = small_log();
    Wiring { segment_bytes, align_bytes, record_bytes_max, ..Wiring::default() }
}

/// The two stores of node 1.
fn stores(disk: &Arc<dyn Disk>) -> Result<(LogStore, StateMachine), OpenError> {
    crashes::stores(disk, small_log())
}

fn options(disk: &SimDisk, node: NodeId, voters: &[NodeId]) -> Options {
    Options {
        node,
        voters: voters.iter().map(|id| (*id, format!("node-{id}"))).collect(),
        disk: shared(disk),
        dir: DIR.into(),
        blocking: Blocking::Inline,
        clock: Arc::new(ManualClock::at_ms(1_000)),
        random: Arc::new(SeededRandom::new(node * 977)),
        timing: Timing { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300, tick_ms: 0 },
        snapshot_entries: 50,
    }
}

async fn single(disk: &SimDisk) -> Result<Metadata, OpenError> {
    Metadata::open_wired(options(disk, 1, &[1]), small_wiring()).await
}

fn init() -> Command {
    Command::InitCluster(InitCluster {
        cluster_id: Uuid::from_u128(7),
        bucket: "bucket".into(),
        prefix: "prefix/".into(),
        features: BTreeMap::new(),
    })
}

fn register(broker: i32, nonce: u128) -> Command {
    Command::RegisterBroker(RegisterBroker {
        broker: BrokerId(broker),
        endpoints: vec![],
        rack: None,
        nonce: Uuid::from_u128(nonce),
    })
}

/// Runs `test` on one thread, with time that moves only when everything waits, and a seeded scheduler.
fn simulated<F: Future>(seed: u64, test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()))
        .build()
        .expect("a runtime without I/O");
    runtime.block_on(test)
}
