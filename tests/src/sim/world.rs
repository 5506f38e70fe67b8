//! What outlives a crash of the simulated broker: its disk, its bucket, the clock.
//!
//! Owns: seams shared by all lives of the broker, and the switches of what goes wrong in them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use object_store::ObjectStore;
use parking_lot::Mutex;
use tidegate_broker::broker::Broker;
use tidegate_common::clock::Clock;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_s3stream::io::fault::{Fault, FaultStore, Faults, Op};
use tidegate_s3stream::io::sim_store::{Latency, SimStore};
use tidegate_segment::disk::sim::SimDisk;

use super::history::History;

/// Simulated wall time begins here (2023-11-14).
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Simulated time; the driver moves it with the simulation.
#[derive(Default)]
pub struct SimClock {
    ms: AtomicU64,
    history: History,
}

impl SimClock {
    pub fn set_ms(&self, ms: u64) {
        self.ms.store(ms, Ordering::Release);
        self.history.set_now_ms(ms);
    }

    pub fn ms(&self) -> u64 {
        self.ms.load(Ordering::Acquire)
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.ms()).unwrap_or(i64::MAX / 2)
    }

    fn monotonic_ns(&self) -> u64 {
        self.ms() * 1_000_000
    }
}

pub struct World {
    pub seed: u64,
    /// Producers send new batches until then, past the last fault.
    pub produce_until_ms: u64,
    pub history: History,
    pub clock: Arc<SimClock>,
    pub disk: SimDisk,
    pub bucket: Arc<SimStore>,
    pub store: Arc<dyn ObjectStore>,
    faults: Faults,
    life: AtomicU64,
    down: AtomicBool,
    outage_until_ms: AtomicU64,
    repairs: Mutex<Vec<(u64, &'static str)>>,
    /// The newest life's broker, for audits to look into.
    pub broker: Mutex<Weak<Broker>>,
}

impl World {
    pub fn new(seed: u64, produce_until_ms: u64, history: History) -> Arc<Self> {
        let bucket = Arc::new(SimStore::new(
            Arc::new(SeededRandom::new(seed ^ 0xB0C4E7)),
            Latency { call_us: 500..8_000, bytes_per_s: 50_000_000 },
        ));
        let inner = Arc::clone(&bucket) as Arc<dyn ObjectStore>;
        let (store, faults) = FaultStore::new(inner, Arc::new(SeededRandom::new(seed ^ 0xFA_0175)));
        Arc::new(Self {
            seed,
            produce_until_ms,
            clock: Arc::new(SimClock { history: history.clone(), ..SimClock::default() }),
            history,
            disk: SimDisk::new(seed ^ 0xD15C),
            bucket,
            store: Arc::new(store),
            faults,
            life: AtomicU64::new(1),
            down: AtomicBool::new(false),
            outage_until_ms: AtomicU64::new(0),
            repairs: Mutex::default(),
            broker: Mutex::default(),
        })
    }

    /// Which life of the broker this is, from 1.
    pub fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    pub fn new_life(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
        self.history.count("restarts");
    }

    /// The broker process ended by itself.
    pub fn ended(&self, why: &str) {
        self.history.note(&format!("broker ended: {why}"));
        self.history.count("self-ended");
        self.down.store(true, Ordering::Release);
    }

    pub fn take_down(&self) -> bool {
        self.down.swap(false, Ordering::AcqRel)
    }

    pub fn store_faults(&self, random: &SeededRandom) {
        let rate =
            |op, fault, max: u64| self.faults.rate(op, fault, u32::try_from(random.below(max)).unwrap_or(0));
        rate(Op::Put, Fault::Unavailable, 150);
        rate(Op::Put, Fault::AnswerLost, 150);
        rate(Op::Put, Fault::Conflict, 80);
        rate(Op::Put, Fault::OwnConflict, 80);
        rate(Op::Put, Fault::DoneLate { ms: 700 }, 80);
        rate(Op::Get, Fault::Unavailable, 100);
        rate(Op::Get, Fault::Truncated, 50);
        rate(Op::Get, Fault::Corrupted, 30);
        rate(Op::Delete, Fault::Unavailable, 100);
        rate(Op::Delete, Fault::AnswerLost, 100);
    }

    pub fn outage(&self, ms: u64) {
        self.history.note(&format!("bucket down for {ms} ms"));
        self.faults.outage(true);
        self.outage_until_ms.store(self.clock.ms() + ms, Ordering::Release);
    }

    pub fn repair_at(&self, name: &'static str, in_ms: u64) {
        self.repairs.lock().push((self.clock.ms() + in_ms, name));
    }

    pub fn due_repairs(&self) -> Vec<&'static str> {
        let now_ms = self.clock.ms();
        let until = self.outage_until_ms.load(Ordering::Acquire);
        if until != 0 && now_ms >= until {
            self.faults.outage(false);
            self.outage_until_ms.store(0, Ordering::Release);
            self.history.note("bucket back");
        }
        let mut repairs = self.repairs.lock();
        let due = repairs.iter().filter(|(at, _)| *at <= now_ms).map(|(_, n)| *n).collect();
        repairs.retain(|(at, _)| *at > now_ms);
        due
    }

    pub fn heal(&self) {
        self.faults.outage(false);
        self.faults.clear();
    }
}
