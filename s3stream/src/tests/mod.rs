//! The storage as a whole, over a fake quorum, a simulated store and a WAL in memory, on tokio's paused clock.

mod faults;
mod flow;
mod model;
mod property;
pub(crate) mod wal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_common::batch::{build, build_idempotent};
use tidegate_common::clock::{Clock, SharedClock};
use tidegate_common::random::{SeededRandom, SharedRandom};
use tidegate_common::{Batch, Incarnation, LeaderEpoch, Lineage, Offset, Position, StreamId, WalId};
use tidegate_wal::{RecordKind, Wal, WalRecord};
use tokio::time::Instant;

use self::wal::TestMedium;
use crate::io::fault::{FaultStore, Faults};
use crate::io::sim_store::{Latency, SimStore};
use crate::io::{IoSettings, Media, ObjectIo};
use crate::storage::{Adopted, Observer, Parts, Published, Settings, Storage, WalRef};
use crate::testing::FakeQuorum;

pub(super) const GRACE_MS: u64 = 5_000;
const LINEAGE: Lineage = Lineage(1);

struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall_ms(&self) -> i64 {
        i64::try_from(self.monotonic_ms()).expect("a test is short")
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a test is short")
    }
}

/// Small in every way, so that little data goes through everything.
pub(super) fn small() -> Settings {
    Settings {
        upload_bytes: 48 << 10,
        upload_age_ms: 2_000,
        split_bytes: 16 << 10,
        set_objects_max: 4,
        compact_age_ms: 8_000,
        compact_bytes: 96 << 10,
        compact_interval_ms: 700,
        gc_interval_ms: 900,
        gc_batch: 5,
        leaf_objects: 12,
        block_bytes: 2 << 10,
        memory_bytes: 8 << 20,
        log_cache_bytes: 40 << 10,
        block_cache_bytes: 24 << 10,
        footer_cache_bytes: 8 << 10,
        loads_bytes: 16 << 10,
        get_bytes_max: 8 << 10,
        read_ahead_bytes_max: 8 << 10,
        prepared_ttl_ms: 100_000,
        retry_ms_max: 1_000,
        replay_slices_max: 5,
        deterministic_cache: true,
        ..Settings::default()
    }
}

/// Damage is never expected but where a test makes it.
#[derive(Default)]
pub(super) struct Watcher {
    pub(super) damage: parking_lot::Mutex<Vec<String>>,
    pub(super) compacted: parking_lot::Mutex<BTreeMap<&'static str, u64>>,
    /// Bytes of batches that were written once more.
    pub(super) compacted_bytes: std::sync::atomic::AtomicU64,
    pub(super) fenced: std::sync::atomic::AtomicBool,
}

impl Observer for Watcher {
    fn damage(&self, what: &str) {
        self.damage.lock().push(what.into());
    }

    fn compacted(&self, kind: &'static str, bytes_read: u64, _bytes_written: u64) {
        *self.compacted.lock().entry(kind).or_default() += 1;
        self.compacted_bytes.fetch_add(bytes_read, std::sync::atomic::Ordering::Relaxed);
    }

    fn fenced(&self) {
        self.fenced.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// One broker after another on one bucket and one quorum.
pub(super) struct World {
    pub(super) quorum: Arc<FakeQuorum>,
    pub(super) store: SimStore,
    pub(super) faults: Faults,
    pub(super) medium: Arc<TestMedium>,
    pub(super) watcher: Arc<Watcher>,
    pub(super) random: SharedRandom,
    pub(super) settings: Settings,
    pub(super) io: ObjectIo,
    clock: SharedClock,
    incarnation: Incarnation,
    wal: Arc<dyn Wal>,
    wal_ref: Arc<WalRef>,
    pub(super) storage: Arc<Storage>,
    _ticker: crate::upload::Task<()>,
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        let random: SharedRandom = Arc::new(SeededRandom::new(seed));
        let quorum = FakeQuorum::new(LINEAGE, GRACE_MS);
        let store = SimStore::new(random.clone(), Latency { call_us: 100..5_000, bytes_per_s: 0 });
        let medium = TestMedium::new(quorum.clone());
        let ticker = {
            let quorum = quorum.clone();
            crate::upload::Task::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    quorum.tick(100);
                }
            })
        };
        let clock: SharedClock = Arc::new(TokioClock(Instant::now()));
        let watcher = Arc::new(Watcher::default());
        let incarnation = Incarnation(1);
        let wal = medium.open(WalId(1));
        let (fault_store, faults) = FaultStore::new(Arc::new(store.clone()), random.clone());
        let media = Media::of(Arc::new(fault_store), "p");
        let io = ObjectIo::new(media, IoSettings::default(), random.clone());
        let storage = Storage::new(Parts {
            io: io.clone(),
            objects: quorum.manager(incarnation),
            clock: clock.clone(),
            random: random.clone(),
            incarnation,
            lineage: LINEAGE,
            settings: settings.clone(),
            medium: medium.clone(),
            observer: watcher.clone(),
        });
        storage.spawn();
        Self {
            wal_ref: Arc::new(WalRef::Live(wal.clone())),
            quorum,
            store,
            faults,
            medium,
            watcher,
            random,
            settings,
            io,
            clock,
            incarnation,
            wal,
            storage,
            _ticker: ticker,
        }
    }

    /// Kills the broker where it stands and starts the next one, which adopts what the bucket does not hold.
    pub(super) fn restart(&mut self) -> Vec<Adopted> {
        self.quorum.fence(self.incarnation);
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        let parts = Parts {
            io: self.io.clone(),
            objects: self.quorum.manager(self.incarnation),
            clock: self.clock.clone(),
            random: self.random.clone(),
            incarnation: self.incarnation,
            lineage: LINEAGE,
            settings: self.settings.clone(),
            medium: self.medium.clone(),
            observer: self.watcher.clone(),
        };
        let old = std::mem::replace(&mut self.storage, Storage::new(parts));
        drop(old);
        let mut adopted = Vec::new();
        for id in self.medium.ids() {
            if !self.quorum.wal_is_deleted(id) {
                adopted.push(self.storage.adopt(self.medium.seal_now(id)).expect("no record is missing"));
            }
        }
        self.wal = self.medium.open(WalId(self.incarnation.0));
        self.wal_ref = Arc::new(WalRef::Live(self.wal.clone()));
        self.storage.spawn();
        adopted
    }

    /// Appends one batch, which is not released yet.
    pub(super) fn append(&self, stream: StreamId, batch: &Batch) -> Position {
        let permit = self.wal.try_reserve(batch.len()).expect("the test WAL has room");
        let kind = RecordKind::Batch(batch.clone());
        let record = WalRecord { stream, epoch: batch.head.leader_epoch(), kind };
        self.wal.append(permit, record)
    }

    /// Appends and publishes one batch. `keep_body`: else it has to come from the WAL.
    pub(super) fn publish(&self, stream: StreamId, batch: &Batch, keep_body: bool) {
        let position = self.append(stream, batch);
        let body = keep_body.then(|| batch.body.clone());
        let published = Published { position, wal: self.wal_ref.clone(), head: batch.head, body };
        self.storage.open_stream(stream).publish(published);
    }

    /// Keys of data objects in the bucket.
    pub(super) fn data_keys(&self) -> Vec<String> {
        let keys = self.store.keys();
        keys.iter().map(|(key, _)| key.to_string()).filter(|key| key.starts_with("p/data/")).collect()
    }

    pub(super) async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// A batch of `count` records and `bytes` of body, told apart by its content.
pub(super) fn batch(base: i64, count: i32, bytes: usize, timestamp: i64, epoch: i32) -> Batch {
    let body: Vec<u8> = (0..bytes).map(|i| (base as usize * 31 + i * 7) as u8).collect();
    let mut batch = build(Offset(base), count, timestamp, timestamp, Bytes::from(body));
    batch.head.set_leader_epoch(LeaderEpoch(epoch));
    batch
}

pub(super) fn idempotent(
    base: i64,
    count: i32,
    bytes: usize,
    producer: (i64, i16, i32),
    epoch: i32,
) -> Batch {
    let body: Vec<u8> = (0..bytes).map(|i| (base as usize * 13 + i * 5) as u8).collect();
    let mut batch = build_idempotent(Offset(base), count, producer, Bytes::from(body));
    batch.head.set_leader_epoch(LeaderEpoch(epoch));
    batch
}
