//! The conformance suite over each medium.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_common::WalId;
use tidegate_segment::disk::sim::SimDisk;
use tidegate_segment::disk::{Disk, File, OsDisk};

use crate::WalMedium;
use crate::conformance::{Rig, conforms};
use crate::file::{Driver, FileMedium, FileOptions};
use crate::memory::MemoryMedium;
use crate::slots::{SlotMedium, SlotStore};

pub(super) fn options(driver: Driver) -> FileOptions {
    FileOptions {
        bytes_max: 2 << 20,
        segment_bytes: 256 << 10,
        record_bytes_max: 64 << 10,
        in_flight_bytes_max: 128 << 10,
        driver,
        ..FileOptions::default()
    }
}

struct MemoryRig(MemoryMedium);

impl Rig for MemoryRig {
    fn medium(&self) -> Arc<dyn WalMedium> {
        Arc::new(self.0.clone())
    }

    /// What this medium is told to survive is nothing; a restart here is a new user of the same memory.
    fn restart(&mut self) {}

    fn break_writes(&self, id: WalId) {
        self.0.poison(id);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_conforms() {
    conforms(|| MemoryRig(MemoryMedium::new(2 << 20))).await;
}

struct SimRig {
    disk: SimDisk,
    with_power_loss: bool,
    driver: Driver,
}

impl Rig for SimRig {
    fn medium(&self) -> Arc<dyn WalMedium> {
        Arc::new(FileMedium::new(Arc::new(self.disk.clone()), "wal", options(self.driver)))
    }

    fn restart(&mut self) {
        if self.with_power_loss { drop(self.disk.crash()) } else { self.disk.kill() }
    }

    fn break_writes(&self, _: WalId) {
        self.disk.fail_all_syncs();
    }
}

#[tokio::test(start_paused = true)]
async fn file_conforms_on_a_simulated_disk_with_tasks() {
    for (seed, with_power_loss) in [(1, true), (2, false), (3, true)] {
        let driver = Driver::Task { sync_latency: Duration::from_micros(seed * 300) };
        conforms(|| SimRig { disk: SimDisk::new(seed), with_power_loss, driver }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_conforms_on_a_simulated_disk_with_threads() {
    conforms(|| SimRig { disk: SimDisk::new(4), with_power_loss: true, driver: Driver::Thread }).await;
}

/// Real files whose syncs fail on demand.
#[derive(Clone)]
struct FailingDisk {
    disk: Arc<OsDisk>,
    fails: Arc<AtomicBool>,
}

struct FailingFile {
    file: Arc<dyn File>,
    fails: Arc<AtomicBool>,
}

impl FailingDisk {
    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FailingFile { file, fails: Arc::clone(&self.fails) })
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>> {
        self.disk.create(path, len).map(|file| self.wrap(file))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open(path).map(|file| self.wrap(file))
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename_new(from, to)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
}

impl File for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.file.write_at(parts, offset)
    }

    fn sync(&self) -> io::Result<()> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the sync fails on demand")),
            false => self.file.sync(),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }

    fn read_at_uncached(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at_uncached(buf, offset)
    }
}

struct OsRig {
    disk: FailingDisk,
    _dir: tempfile::TempDir,
}

impl OsRig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = Arc::new(OsDisk::new(dir.path().to_owned()));
        Self { disk: FailingDisk { disk, fails: Arc::default() }, _dir: dir }
    }
}

impl Rig for OsRig {
    fn medium(&self) -> Arc<dyn WalMedium> {
        Arc::new(FileMedium::new(Arc::new(self.disk.clone()), "wal", options(Driver::Thread)))
    }

    /// Files know no lives: a writer that is not gone yet is one that does not know that it was fenced.
    fn restart(&mut self) {
        self.disk.fails.store(false, Ordering::SeqCst);
    }

    fn break_writes(&self, _: WalId) {
        self.disk.fails.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn file_conforms_on_real_files() {
    conforms(OsRig::new).await;
}

struct SlotRig {
    store: Arc<SlotStore>,
}

impl Rig for SlotRig {
    fn medium(&self) -> Arc<dyn WalMedium> {
        Arc::new(SlotMedium::new(Arc::clone(&self.store), 2 << 20))
    }

    fn restart(&mut self) {
        self.store.mend();
    }

    fn break_writes(&self, _: WalId) {
        self.store.break_all();
    }
}

#[tokio::test(start_paused = true)]
async fn slots_that_land_out_of_order_late_or_never_conform() {
    for seed in 0..5 {
        conforms(|| SlotRig { store: SlotStore::new(seed) }).await;
    }
}

#[tokio::test]
async fn a_medium_tells_the_bounds_of_its_place_if_it_has_any() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(OsDisk::new(dir.path().to_owned()));
    disk.create_dir_all("wal").expect("made");
    let space = FileMedium::new(disk, "wal", options(Driver::Thread)).space().await.expect("a file system");
    assert!(space.total > 0 && space.usable <= space.total, "{space:?}");
    let memory = MemoryMedium::new(1 << 20);
    assert_eq!(memory.space().await, None);
    let simulated = FileMedium::new(Arc::new(SimDisk::new(1)), "wal", options(Driver::Thread));
    assert_eq!(simulated.space().await, None);
}
