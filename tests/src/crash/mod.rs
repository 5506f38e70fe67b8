//! Crash states and flips, counted: what `src/bin/crash.rs` runs, workload by workload.
//!
//! Owns: how thorough an ordinary and a full run are. The workloads live beside the code that they cut short:
//! `wal/segment/src/suite`, `wal/src/crashes.rs`, `metadata/src/raft/crashes.rs`; objects of the bucket are in
//! [`objects`].

mod objects;

use tidegate_metadata::raft::crashes as raft;
use tidegate_segment::disk::sim::Breadth;
use tidegate_segment::suite::{crash, flips, poison};

/// One low bit, one high bit, all bits.
const MASKS: [u8; 3] = [0x01, 0x80, 0xff];

/// What a workload looked at.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    /// Operations at which it was cut short.
    pub boundaries: u64,
    /// States that were recovered.
    pub states: u64,
    /// Flips that were named, and flips that changed nothing of what is decoded.
    pub found: u64,
    pub harmless: u64,
}

impl Seen {
    pub fn add(&mut self, other: Seen) {
        self.boundaries += other.boundaries;
        self.states += other.states;
        self.found += other.found;
        self.harmless += other.harmless;
    }

    fn states((boundaries, states): (u64, u64)) -> Self {
        Self { boundaries, states, ..Self::default() }
    }

    fn flips((found, harmless): (u64, u64)) -> Self {
        Self { found, harmless, ..Self::default() }
    }
}

/// Runs a workload, thoroughly or as in an ordinary run; an error is the first violation.
pub type Workload = fn(full: bool) -> Result<Seen, String>;

/// By name, in the order in which they are run.
pub const WORKLOADS: [(&str, Workload); 7] = [
    ("segment", segment),
    ("poison", poisoned),
    ("wal", wal),
    ("raft", raft_stores),
    ("flips-wal", flips_of_wal),
    ("flips-raft", flips_of_raft),
    ("flips-objects", flips_of_objects),
];

/// A segment log over the lives of its writer: appends, roll-over, spares, footers, marks, trims, seal, trim of the
/// sealed log, a fenced writer that goes on.
fn segment(full: bool) -> Result<Seen, String> {
    let extent = if full {
        crash::Extent {
            lives: 3,
            breadth: Breadth { subsets_max: 2048, drawn: 600 },
            nested_every: 1,
            nested: Breadth { subsets_max: 8, drawn: 4 },
        }
    } else {
        crash::Extent {
            lives: 2,
            breadth: Breadth { subsets_max: 64, drawn: 60 },
            nested_every: 3,
            nested: Breadth { subsets_max: 4, drawn: 1 },
        }
    };
    crash::states(extent).map(Seen::states)
}

/// A write or a sync fails, at each place.
fn poisoned(full: bool) -> Result<Seen, String> {
    let drawn = if full { 200 } else { 16 };
    let (hits, states) = poison::states(120, Breadth { subsets_max: 64, drawn })?;
    if hits < 20 {
        return Err(format!("only {hits} failures hit the writer"));
    }
    Ok(Seen { states, ..Seen::default() })
}

/// The file medium with its writer and keeper, and its recovery and trim.
fn wal(full: bool) -> Result<Seen, String> {
    let (seeds, breadth, nested_every) = if full {
        (5..=12, Breadth { subsets_max: 256, drawn: 100 }, 4)
    } else {
        (5..=5, Breadth { subsets_max: 16, drawn: 8 }, 12)
    };
    let nested = Breadth { subsets_max: 4, drawn: 1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let mut seen = Seen::default();
    for seed in seeds {
        let states = tidegate_wal::crashes::states(seed, 120, breadth, nested_every, nested);
        seen.add(Seen::states(runtime.block_on(states).map_err(|e| format!("seed {seed}: {e}"))?));
    }
    Ok(seen)
}

/// Raft's log, vote and snapshot: append, vote, truncation, purge, snapshot, installed snapshot.
fn raft_stores(full: bool) -> Result<Seen, String> {
    let (seeds, breadth, nested_every) = if full {
        (1..=6, Breadth { subsets_max: 256, drawn: 120 }, 2)
    } else {
        (1..=1, Breadth { subsets_max: 16, drawn: 10 }, 6)
    };
    let nested = Breadth { subsets_max: 4, drawn: 1 };
    let extent = raft::Extent { breadth, nested_every, nested, prepare: |_| {} };
    let mut seen = Seen::default();
    for seed in seeds {
        seen.add(Seen::states(raft::states(seed, &extent).map_err(|e| format!("seed {seed}: {e}"))?));
    }
    Ok(seen)
}

fn flips_of_wal(full: bool) -> Result<Seen, String> {
    let all: Vec<u8> = (0..8).map(|bit| 1 << bit).chain([0xff]).collect();
    let masks = if full { &all[..] } else { &MASKS };
    let mut seen = Seen::default();
    for found in [
        flips::of_an_open_log(masks, true)?,
        flips::of_an_open_log(masks, false)?,
        flips::of_a_sealed_log(masks)?,
    ] {
        seen.add(Seen::flips((found.found, found.harmless)));
    }
    Ok(seen)
}

fn flips_of_raft(_full: bool) -> Result<Seen, String> {
    let mut seen = Seen::default();
    raft::flips(&MASKS)?.into_values().for_each(|flips| seen.add(Seen::flips(flips)));
    Ok(seen)
}

fn flips_of_objects(_full: bool) -> Result<Seen, String> {
    objects::flips(&MASKS).map(Seen::flips)
}
