//! What may go wrong in a run, and how small everything is: drawn from the seed, swarm-wise.
//!
//! Owns: the classes of faults, each on or off for a whole run, with rates drawn log-uniformly; the sizes.
//! Never: decides when a fault happens (`drive.rs` does).

use tidegate_common::random::{Random, SeededRandom};
use tidegate_s3stream::io::fault::{Fault, Op};

/// Everything that a seed decides before the run begins.
pub struct Plan {
    pub faults_until_ms: u64,
    /// Mean time between two injections.
    pub pause_ms: u64,
    pub acts: Vec<(Act, u64)>,
    pub store: Vec<(Op, Fault, u32)>,
    pub sizes: Sizes,
    pub nasty: bool,
    pub pid_storm: bool,
    pub deletes: bool,
    /// Where one in so many steps with releases is checked by a fork of the disk.
    pub fork_every: u64,
}

/// What the driver may do to the broker. Numbers are weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Kill,
    PowerLoss,
    /// Power goes off in the middle of a coming call to the disk.
    PowerLossInCall,
    /// Two crashes within a start.
    CrashAgain,
    FailSync,
    FailWrite,
    DiskFull,
    Stall,
    Outage,
    Cut,
    Rot,
    RotRaft,
    LoseRaft,
    Vanish,
}

/// Sizes and times, tiny, so that what is rare in production happens all the time.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub wal_bytes: u64,
    pub wal_segment: u64,
    pub align: u32,
    pub raft_segment: u32,
    pub snapshot_entries: u64,
    pub upload_bytes: u64,
    pub upload_age_ms: u64,
    pub split_bytes: u64,
    pub set_objects: usize,
    pub leaf_objects: usize,
    pub log_cache: u64,
    pub memory: u64,
    pub sync_us: u64,
    pub latency_us: u64,
    pub pad_max: u64,
    pub idle_ms: u64,
    /// Largest batch, and bytes on their way into the WAL.
    pub record: usize,
    pub in_flight: u64,
}

/// Log-uniform in [low, high].
fn between(random: &SeededRandom, low: u64, high: u64) -> u64 {
    let octaves = u64::from((high / low.max(1)).max(1).ilog2()) + 1;
    let base = low << random.below(octaves);
    (base + random.below(base.max(1))).clamp(low, high)
}

impl Plan {
    pub fn draw(random: &SeededRandom, long: u64) -> Self {
        let on = |percent: u64| random.below(100) < percent;
        let class = |act: Act, percent: u64, most: u64| on(percent).then(|| (act, between(random, 1, most)));
        let acts: Vec<(Act, u64)> = [
            class(Act::Kill, 70, 16),
            class(Act::PowerLoss, 60, 16),
            class(Act::PowerLossInCall, 50, 16),
            class(Act::CrashAgain, 40, 8),
            class(Act::FailSync, 40, 8),
            class(Act::FailWrite, 30, 8),
            class(Act::DiskFull, 30, 4),
            class(Act::Stall, 30, 4),
            class(Act::Outage, 40, 8),
            class(Act::Cut, 40, 8),
            class(Act::Rot, 35, 8),
            class(Act::RotRaft, 30, 8),
            class(Act::LoseRaft, 10, 2),
            class(Act::Vanish, 25, 4),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut store = Vec::new();
        if on(70) {
            let mut rate = |op, fault, percent: u64, most: u64| {
                if on(percent) {
                    store.push((op, fault, u32::try_from(between(random, 2, most)).unwrap_or(0)));
                }
            };
            rate(Op::Put, Fault::Unavailable, 50, 200);
            rate(Op::Put, Fault::AnswerLost, 50, 200);
            rate(Op::Put, Fault::Conflict, 50, 100);
            rate(Op::Put, Fault::OwnConflict, 50, 100);
            rate(Op::Put, Fault::Hangs, 25, 50);
            rate(Op::Put, Fault::DoneAndHangs, 25, 50);
            let late_ms = 200 + random.below(1_200);
            rate(Op::Put, Fault::DoneLate { ms: late_ms }, 50, 100);
            // Beyond all that is tried and waited for: it lands after the DELETE of its key.
            rate(Op::Put, Fault::DoneLate { ms: 15_000 + random.below(10_000) }, 15, 20);
            let slow_ms = 100 + random.below(1_500);
            rate(Op::Put, Fault::Slow { ms: slow_ms }, 30, 100);
            rate(Op::Get, Fault::Unavailable, 50, 200);
            rate(Op::Get, Fault::Truncated, 50, 100);
            rate(Op::Get, Fault::Corrupted, 50, 100);
            rate(Op::Get, Fault::Slow { ms: slow_ms }, 30, 200);
            rate(Op::Get, Fault::Hangs, 25, 50);
            rate(Op::Delete, Fault::Unavailable, 50, 200);
            rate(Op::Delete, Fault::AnswerLost, 50, 200);
            rate(Op::List, Fault::PartialList, 50, 500);
            rate(Op::List, Fault::UnsortedList, 30, 300);
            rate(Op::List, Fault::BrokenList, 30, 200);
        }
        let align = if on(50) { 512 } else { 4096 };
        let wal_segment = between(random, 16, 64) << 12;
        let sizes = Sizes {
            wal_bytes: wal_segment * (5 + random.below(20)),
            wal_segment,
            align,
            raft_segment: u32::try_from(between(random, 16, 128) << 12).unwrap_or(64 << 10),
            snapshot_entries: between(random, 20, 300),
            upload_bytes: between(random, 4 << 10, 64 << 10),
            upload_age_ms: between(random, 100, 3_000),
            split_bytes: between(random, 4 << 10, 32 << 10),
            set_objects: 2 + random.below(6) as usize,
            leaf_objects: 2 + random.below(6) as usize,
            log_cache: between(random, 16 << 10, 256 << 10),
            memory: between(random, 16 << 20, 64 << 20),
            sync_us: between(random, 100, 8_000),
            latency_us: between(random, 1_000, 20_000),
            pad_max: between(random, 16, 2_000),
            idle_ms: between(random, 10, 400),
            record: 16 << 10,
            in_flight: between(random, 16 << 10, 128 << 10),
        };
        Self {
            faults_until_ms: (12_000 + random.below(18_000)) * long,
            pause_ms: between(random, 300, 4_000),
            acts,
            store,
            sizes,
            nasty: on(70),
            pid_storm: on(15),
            deletes: on(30),
            fork_every: 1 + random.below(20),
        }
    }

    /// No faults, and sizes that no test is in the way of.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            faults_until_ms: 0,
            pause_ms: 1_000,
            acts: Vec::new(),
            store: Vec::new(),
            sizes: Sizes {
                wal_bytes: 8 << 20,
                wal_segment: 512 << 10,
                align: 4096,
                raft_segment: 32 << 20,
                snapshot_entries: 50,
                upload_bytes: 24 << 10,
                upload_age_ms: 700,
                split_bytes: 12 << 10,
                set_objects: 4,
                leaf_objects: 4,
                log_cache: 32 << 10,
                memory: 64 << 20,
                sync_us: 1_000,
                latency_us: 1_000,
                pad_max: 1_500,
                idle_ms: 250,
                record: 8 << 20,
                in_flight: 64 << 20,
            },
            nasty: false,
            pid_storm: false,
            deletes: false,
            fork_every: 1,
        }
    }

    /// The next thing to do, by weight. `None` when every class is off.
    pub fn next(&self, random: &SeededRandom) -> Option<Act> {
        let total: u64 = self.acts.iter().map(|(_, weight)| weight).sum();
        let mut at = random.below(total.max(1));
        self.acts.iter().find_map(|(act, weight)| {
            let hit = at < *weight;
            at = at.saturating_sub(*weight);
            hit.then_some(*act)
        })
    }

    /// One line for the log and for whoever reads a failure.
    pub fn say(&self) -> String {
        let acts: Vec<String> = self.acts.iter().map(|(act, weight)| format!("{act:?}:{weight}")).collect();
        let store: Vec<String> =
            self.store.iter().map(|(op, fault, rate)| format!("{op:?}/{fault:?}:{rate}")).collect();
        format!(
            "plan until {} ms, every {} ms: {} | store {} | nasty {} storm {} deletes {} | {:?}",
            self.faults_until_ms,
            self.pause_ms,
            acts.join(" "),
            store.join(" "),
            self.nasty,
            self.pid_storm,
            self.deletes,
            self.sizes
        )
    }
}
