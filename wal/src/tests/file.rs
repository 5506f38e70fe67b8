//! The file medium under power loss, full disks, rot and pressure.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_common::clock::ManualClock;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{Incarnation, Position};
use tidegate_segment::disk::Disk;
use tidegate_segment::disk::sim::{Breadth, SimDisk};

use super::media::options;
use crate::crashes::{self, ID, TASK, medium, record, sealed, small, workload};
use crate::file::{Driver, FileOptions, GroupStats, Observer};
use crate::{Durability, OpenError, ReadError, ReserveError, WalMedium};

#[tokio::test(start_paused = true)]
async fn power_loss_at_every_boundary_keeps_what_was_acknowledged() {
    let breadth = Breadth { subsets_max: 4, drawn: 4 };
    let nested = Breadth { subsets_max: 2, drawn: 1 };
    let (boundaries, states) =
        crashes::states(5, 120, breadth, 16, nested).await.unwrap_or_else(|violation| panic!("{violation}"));
    assert!(boundaries > 100 && states > 1_000, "{boundaries} boundaries, {states} states");
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_the_same_bytes_twice() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let disk = SimDisk::new(1);
        workload(&disk, 9, 80).await;
        let names = disk.list("data/wal").expect("lists");
        let files: Vec<Vec<u8>> =
            names.iter().map(|name| disk.bytes(&format!("data/wal/{name}")).expect("reads")).collect();
        runs.push((names, files, disk.history()));
    }
    assert!(runs[0] == runs[1]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_a_missing_permit_and_never_a_failed_append() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(3 * 16384 + 100));
    let wal = medium(&disk, small(TASK)).create(ID, Incarnation(1)).await.expect("creates");
    let mut n = 0;
    let full = loop {
        match wal.reserve(1061).await {
            Ok(permit) => {
                n += 1;
                wal.append(permit, record(n * 9 + 1, 1000));
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(full, ReserveError::Full { .. }), "{full:?}");
    assert!(n > 8 && matches!(*wal.durable().borrow(), Durability::Upto(_)), "{n} records");
    disk.set_capacity(None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let permit = wal.reserve(1061).await.expect("the keeper asks again");
    wal.append(permit, record(n * 9 + 10, 1000));
    wal.close().await;
    assert_eq!(*wal.durable().borrow(), Durability::Upto(Position(n + 1)));
}

#[tokio::test(start_paused = true)]
async fn under_pressure_at_the_bound_every_permit_finds_its_room() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        // Not a byte more than the bound: an append that needed another file would poison the log.
        disk.set_capacity(Some(128 << 10));
        let wal = medium(&disk, small(TASK)).create(ID, Incarnation(1)).await.expect("creates");
        let random = SeededRandom::new(seed);
        let (mut written, mut refused) = (0, 0);
        let mut held = Vec::new();
        for _ in 0..400 {
            let len = random.below(1100) as usize;
            let permit = tokio::time::timeout(Duration::from_millis(50), wal.reserve(len + 61)).await;
            match permit {
                Ok(Ok(permit)) => held.push((permit, len)),
                Ok(Err(ReserveError::Full { .. })) => {
                    refused += 1;
                    wal.trim(Position(written)).await.expect("trims");
                }
                Ok(Err(other)) => panic!("{other:?}"),
                Err(_) => held.clear(),
            }
            while held.len() > random.below(4) as usize {
                let (permit, len) = held.swap_remove(random.below(held.len() as u64) as usize);
                written += 1;
                wal.append(permit, record(written * 9 + 1, len));
            }
            if random.below(6) == 0 {
                tokio::time::sleep(Duration::from_millis(random.below(12))).await;
            }
        }
        drop(held);
        wal.close().await;
        assert_eq!(*wal.durable().borrow(), Durability::Upto(Position(written)), "seed {seed}");
        assert!(refused > 0 && written > 100, "seed {seed}: {refused} refused, {written} written");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_log_marks_what_is_durable_so_that_rot_is_told_from_a_torn_tail() {
    for (idle_ms, is_told) in [(1, false), (50, true)] {
        let disk = SimDisk::new(1);
        let wal = medium(&disk, small(TASK)).create(ID, Incarnation(1)).await.expect("creates");
        for n in 1..=3 {
            let permit = wal.reserve(200).await.expect("there is room");
            let position = wal.append(permit, record(n, 100));
            wal.durable().wait_for(|d| d.upto() >= position).await.expect("is durable");
        }
        tokio::time::sleep(Duration::from_millis(idle_ms)).await;
        let disk = disk.fork(1);
        disk.crash();
        // The last record lies behind the header's block and two groups of one block each.
        disk.flip("data/wal/0000000000000001-00000001.seg", 3 * 512 + 100, 1);
        match sealed(&disk, small(TASK), 2, Position::ZERO).await {
            Err(OpenError::Damaged { offset, .. }) => assert!(is_told && offset == 3 * 512),
            Ok(cut) => assert!(!is_told && cut.end() == Position(2)),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn blocks_that_were_trusted_are_verified_before_a_record_of_theirs_is_given() {
    let disk = SimDisk::new(1);
    assert_eq!(workload(&disk, 3, 80).await, Position(80));
    disk.kill();
    let whole = sealed(&disk, small(TASK), 2, Position(80)).await.expect("seals");
    let first = whole.start();
    let names = disk.list("data/wal").expect("lists");
    disk.flip(&format!("data/wal/{}", names[0]), 3000, 0x10);
    let rotten = sealed(&disk, small(TASK), 2, Position(80)).await.expect("the footer is trusted");
    assert_eq!(rotten.index(), whole.index());
    // The damage lies in another record of the block; the block is not served all the same.
    let read = rotten.read(first).await;
    assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
    assert!(rotten.verify().await.is_err());
    rotten.read(Position(80)).await.expect("other blocks are");
}

#[tokio::test(start_paused = true)]
async fn records_that_arrive_while_the_disk_works_share_its_next_sync() {
    let disk = SimDisk::new(1);
    let groups: Arc<Mutex<Vec<GroupStats>>> = Arc::default();
    let seen = Arc::clone(&groups);
    let observer = Observer {
        clock: Arc::new(ManualClock::default()),
        on_group: Arc::new(move |g| seen.lock().push(*g)),
    };
    let options = FileOptions {
        observer: Some(observer),
        driver: Driver::Task { sync_latency: Duration::from_millis(1) },
        ..options(TASK)
    };
    let wal = medium(&disk, options).create(ID, Incarnation(1)).await.expect("creates");
    let syncs = disk.history().len();
    for n in 1..=500 {
        let permit = wal.reserve(161).await.expect("there is room");
        wal.append(permit, record(n * 9 + 1, 100));
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    wal.close().await;
    let groups = groups.lock();
    assert_eq!(
        groups.iter().map(|g| (g.records, g.bytes)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (500, 500 * 161)
    );
    assert!(groups.len() <= 12, "{} groups", groups.len());
    // The mark at the end, and what the keeper does.
    assert!(disk.history().len() - syncs <= groups.len() + 6, "{} syncs", disk.history().len() - syncs);
}

#[tokio::test(start_paused = true)]
async fn a_wal_dropped_without_closing_still_writes_what_it_took() {
    let disk = SimDisk::new(1);
    let wal = medium(&disk, small(TASK)).create(ID, Incarnation(1)).await.expect("creates");
    for n in 1..=3 {
        let permit = wal.reserve(161).await.expect("there is room");
        wal.append(permit, record(n, 100));
    }
    let mut durable = wal.durable();
    drop(wal);
    durable.wait_for(|d| d.upto() == Position(3)).await.expect("is told before the writer ends");
    assert!(durable.changed().await.is_err(), "then it ends");
}
