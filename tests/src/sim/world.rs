//! What outlives a crash of the simulated broker: its disk, its bucket, the clock.
//!
//! Owns: seams shared by all lives of the broker, and the switches of what goes wrong in them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::Mutex;
use tidegate_broker::broker::Broker;
use tidegate_common::WalId;
use tidegate_common::clock::Clock;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_s3stream::io::fault::{Fault, FaultStore, Faults, Op};
use tidegate_s3stream::io::sim_store::{Latency, SimStore};
use tidegate_segment::disk::sim::SimDisk;

use super::checks::fold::Fold;
use super::history::History;
use super::plan::{Plan, Sizes};
use super::sometimes;

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
    pub sizes: Sizes,
    /// Producers send new batches until then, past the last fault.
    pub produce_until_ms: u64,
    pub faults_until_ms: u64,
    pub deletes: bool,
    pub pid_storm: bool,
    pub history: History,
    pub clock: Arc<SimClock>,
    disk: Mutex<SimDisk>,
    pub bucket: Arc<SimStore>,
    pub store: Arc<dyn ObjectStore>,
    pub faults: Faults,
    pub fold: Arc<Fold>,
    life: AtomicU64,
    /// The life that serves; 0 before the first.
    serving: AtomicU64,
    down: Mutex<Option<String>>,
    outage_until_ms: AtomicU64,
    stall_until_ms: Arc<AtomicU64>,
    full_until_ms: AtomicU64,
    repairs: Mutex<Vec<(u64, &'static str)>>,
    /// Cuts that a client asks for: (who, how long).
    cuts: Mutex<Vec<(&'static str, u64)>>,
    /// The newest WAL that was made, as `node.json` has it.
    newest_wal: AtomicU64,
    /// Producers that had an acknowledgement from every partition after the faults.
    pub accepted: AtomicU64,
    /// The newest life's broker, for audits to look into.
    broker: Mutex<Weak<Broker>>,
    /// Objects whose PUT landed after their DELETE: nothing refers to them, and without a scan of LIST nothing finds them.
    pub zombies: Mutex<BTreeSet<object_store::path::Path>>,
    vanished: Mutex<Vec<(u64, object_store::path::Path, bytes::Bytes)>>,
}

impl World {
    pub fn new(seed: u64, plan: &Plan, history: History) -> Arc<Self> {
        let bucket = Arc::new(SimStore::new(
            Arc::new(SeededRandom::new(seed ^ 0xB0C4E7)),
            Latency { call_us: 500..8_000, bytes_per_s: 50_000_000 },
        ));
        bucket.record();
        let inner = Arc::clone(&bucket) as Arc<dyn ObjectStore>;
        let (store, faults) = FaultStore::new(inner, Arc::new(SeededRandom::new(seed ^ 0xFA_0175)));
        for (op, fault, per_mille) in &plan.store {
            faults.rate(*op, *fault, *per_mille);
        }
        let clock = Arc::new(SimClock { history: history.clone(), ..SimClock::default() });
        let stall_until_ms = Arc::new(AtomicU64::new(0));
        let disk = SimDisk::without_history(seed ^ 0xD15C);
        let (stalled, now) = (Arc::clone(&stall_until_ms), Arc::clone(&clock));
        disk.set_stall(move || {
            Duration::from_millis(stalled.load(Ordering::Acquire).saturating_sub(now.ms()))
        });
        Arc::new(Self {
            seed,
            sizes: plan.sizes,
            produce_until_ms: plan.faults_until_ms + 2_000,
            faults_until_ms: plan.faults_until_ms,
            deletes: plan.deletes,
            pid_storm: plan.pid_storm,
            clock,
            fold: Fold::new(history.clone()),
            history,
            disk: Mutex::new(disk),
            bucket,
            store: Arc::new(store),
            faults,
            life: AtomicU64::new(1),
            serving: AtomicU64::new(0),
            down: Mutex::new(None),
            outage_until_ms: AtomicU64::new(0),
            stall_until_ms,
            full_until_ms: AtomicU64::new(0),
            repairs: Mutex::default(),
            cuts: Mutex::default(),
            newest_wal: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            broker: Mutex::default(),
            zombies: Mutex::default(),
            vanished: Mutex::default(),
        })
    }

    pub fn disk(&self) -> SimDisk {
        self.disk.lock().clone()
    }

    /// Puts another disk in while the broker is down; gives the one before.
    pub fn swap_disk(&self, disk: SimDisk) -> SimDisk {
        std::mem::replace(&mut *self.disk.lock(), disk)
    }

    pub fn broker(&self) -> Option<Arc<Broker>> {
        self.broker.lock().upgrade()
    }

    /// Which life of the broker this is, from 1.
    pub fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    pub fn new_life(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
        *self.broker.lock() = Weak::new();
        self.history.count("restarts");
    }

    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire) == self.life()
    }

    pub fn serves(&self, broker: &Arc<Broker>) {
        let image = broker.metadata.image();
        let again = image.wals().filter(|w| match w.state {
            tidegate_metadata::rows::WalState::Sealed { executor, .. } => executor != broker.incarnation,
            tidegate_metadata::rows::WalState::Open => false,
        });
        if again.count() > 0 {
            self.history.count(sometimes::WAL_RECOVERED_TWICE);
        }
        *self.broker.lock() = Arc::downgrade(broker);
        self.serving.store(self.life(), Ordering::Release);
        self.history.note(&format!("broker serves, life {}", self.life()));
    }

    pub fn newest_wal(&self) -> WalId {
        WalId(self.newest_wal.load(Ordering::Acquire))
    }

    pub fn mark_wal(&self, wal: WalId) {
        self.newest_wal.store(wal.0, Ordering::Release);
    }

    /// The broker process ended by itself.
    pub fn ended(&self, life: u64, why: &str) {
        if life == self.life() {
            self.history.note(&format!("broker ended: {why}"));
            self.history.count("self-ended");
            *self.down.lock() = Some(why.to_owned());
        }
    }

    pub fn take_down(&self) -> Option<String> {
        self.down.lock().take()
    }

    pub fn outage(&self, ms: u64) {
        self.history.note(&format!("bucket down for {ms} ms"));
        self.faults.outage(true);
        self.outage_until_ms.store(self.clock.ms() + ms, Ordering::Release);
    }

    pub fn stall(&self, ms: u64) {
        self.history.note(&format!("disk stalls for {ms} ms"));
        self.history.count(sometimes::DISK_STALL);
        self.stall_until_ms.store(self.clock.ms() + ms, Ordering::Release);
    }

    pub fn disk_full(&self, room: u64, ms: u64) {
        self.history.note(&format!("disk full but for {room} bytes for {ms} ms"));
        let disk = self.disk();
        disk.set_capacity(Some(disk.used_bytes() + room));
        self.full_until_ms.store(self.clock.ms() + ms, Ordering::Release);
    }

    pub fn repair_at(&self, name: &'static str, in_ms: u64) {
        self.repairs.lock().push((self.clock.ms() + in_ms, name));
    }

    /// A client wants its own network to the broker cut.
    pub fn ask_cut(&self, name: &'static str, ms: u64) {
        self.cuts.lock().push((name, ms));
    }

    pub fn take_cuts(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut *self.cuts.lock())
    }

    /// Removes an object behind everyone's back; it comes back after `ms`, if it is still referred to.
    pub fn vanish(&self, key: object_store::path::Path, ms: u64) {
        let Some(bytes) = self.bucket.bytes(&key) else { return };
        self.history.note(&format!("object {key} vanishes for {ms} ms"));
        self.history.count(sometimes::OBJECT_VANISHED);
        self.bucket.vanish(&key);
        self.vanished.lock().push((self.clock.ms() + ms, key, bytes));
    }

    pub fn is_vanished(&self, key: &object_store::path::Path) -> bool {
        self.vanished.lock().iter().any(|(_, k, _)| k == key)
    }

    /// Vanished objects whose time is over (or all).
    pub fn found_again(&self, all: bool) -> Vec<(object_store::path::Path, bytes::Bytes)> {
        let now_ms = self.clock.ms();
        let mut vanished = self.vanished.lock();
        let due = vanished.iter().filter(|(at, ..)| all || *at <= now_ms);
        let found = due.map(|(_, key, bytes)| (key.clone(), bytes.clone())).collect();
        vanished.retain(|(at, ..)| !all && *at > now_ms);
        found
    }

    /// Ends what is over; gives the clients whose network is whole again.
    pub fn due_repairs(&self) -> Vec<&'static str> {
        let now_ms = self.clock.ms();
        let due = |cell: &AtomicU64| {
            let until = cell.load(Ordering::Acquire);
            let over = until != 0 && now_ms >= until;
            if over {
                cell.store(0, Ordering::Release);
            }
            over
        };
        if due(&self.outage_until_ms) {
            self.faults.outage(false);
            self.history.note("bucket back");
        }
        if due(&self.full_until_ms) {
            self.disk().set_capacity(None);
            self.history.note("disk has room");
        }
        let mut repairs = self.repairs.lock();
        let due = repairs.iter().filter(|(at, _)| *at <= now_ms).map(|(_, n)| *n).collect();
        repairs.retain(|(at, _)| *at > now_ms);
        due
    }

    pub fn heal(&self) {
        self.count_store_faults();
        self.faults.clear();
        self.outage_until_ms.store(0, Ordering::Release);
        self.full_until_ms.store(0, Ordering::Release);
        self.stall_until_ms.store(0, Ordering::Release);
        self.repairs.lock().clear();
        self.disk().heal();
    }

    fn count_store_faults(&self) {
        let of = |op, fault| self.faults.done(op, fault);
        self.history.count_n(sometimes::OWN_412, of(Op::Put, Fault::OwnConflict));
        self.history.count_n(sometimes::CONFLICT_409, of(Op::Put, Fault::Conflict));
        self.history.count_n(sometimes::ANSWER_LOST, of(Op::Put, Fault::AnswerLost));
        self.history.count_n(sometimes::DISK_FULL, self.disk().refused_for_space());
    }

    /// A source for something that happens while the simulation runs.
    pub fn random(&self, what: u64) -> SeededRandom {
        let source = SeededRandom::new(self.seed ^ (what << 20) ^ self.clock.ms());
        source.next_u64();
        source
    }
}
