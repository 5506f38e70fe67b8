//! Crash states of the file medium: the whole WAL, with its writer and keeper, cut short at every operation on the disk.
//!
//! Invariants checked (W1, W2): what `durable` told is recovered, nothing else appears, and whoever recovers again, also
//! after a death of the recovery at any of its operations, gets the same log.
//! Runs on a runtime whose time is paused, on one thread.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{Incarnation, LeaderEpoch, Offset, Position, StreamId, WalId, batch};
use tidegate_segment::disk::sim::{Breadth, SimDisk};

use crate::file::{Driver, FileMedium, FileOptions};
use crate::{Durability, IndexEntry, OpenError, RecordKind, SealedWal, WalMedium, WalRecord};

pub(crate) const ID: WalId = WalId(1);
pub(crate) const TASK: Driver = Driver::Task { sync_latency: Duration::from_micros(200) };

pub(crate) fn small(driver: Driver) -> FileOptions {
    FileOptions {
        bytes_max: 128 << 10,
        segment_bytes: 16 << 10,
        align_bytes: 512,
        record_bytes_max: 1200,
        in_flight_bytes_max: 4 << 10,
        driver,
        ..FileOptions::default()
    }
}

pub(crate) fn medium(disk: &SimDisk, options: FileOptions) -> FileMedium {
    FileMedium::new(Arc::new(disk.clone()), "data/wal", options)
}

pub(crate) fn record(n: u64, len: usize) -> WalRecord {
    let body = Bytes::from(vec![n as u8; len]);
    let kind = match n % 9 {
        0 => RecordKind::CutMark(n),
        _ => RecordKind::Batch(batch::build(Offset(n as i64), 1, 0, 0, body)),
    };
    WalRecord { stream: StreamId(n % 3 + 1), epoch: LeaderEpoch(1), kind }
}

pub(crate) async fn sealed(
    disk: &SimDisk,
    options: FileOptions,
    executor: u64,
    floor: Position,
) -> Result<Arc<dyn SealedWal>, OpenError> {
    medium(disk, options).seal(ID, Incarnation(executor), floor).await
}

/// Appends, waits and trims by the seed until the log ends; gives what it was told is durable.
pub(crate) async fn workload(disk: &SimDisk, seed: u64, count: u64) -> Position {
    let random = SeededRandom::new(seed);
    let Ok(wal) = medium(disk, small(TASK)).create(ID, Incarnation(1)).await else { return Position::ZERO };
    let mut durable = wal.durable();
    for n in 1..=count {
        let len = random.below(1000) as usize;
        let Ok(permit) = wal.reserve(len + 61).await else { break };
        assert_eq!(wal.append(permit, record(n, len)), Position(n));
        match random.below(8) {
            0 => tokio::time::sleep(Duration::from_millis(20)).await,
            1 => drop(
                durable
                    .wait_for(|d| d.upto() >= Position(n) || matches!(d, Durability::Poisoned { .. }))
                    .await,
            ),
            2 if n > 12 => drop(wal.trim(Position(n - 12)).await),
            _ => {}
        }
    }
    wal.close().await;
    let told = *durable.borrow();
    told.upto()
}

/// Whether the records of a log are those that [`workload`] writes.
async fn check(wal: &Arc<dyn SealedWal>, seed: u64) -> Result<(), String> {
    wal.verify().await.map_err(|e| e.to_string())?;
    let random = SeededRandom::new(seed);
    for n in 1..=wal.end().0 {
        let len = random.below(1000) as usize;
        random.below(8);
        if n >= wal.start().0 && wal.read(Position(n)).await.map_err(|e| e.to_string())? != record(n, len) {
            return Err(format!("record {n} differs"));
        }
    }
    Ok(())
}

type Seen = (Position, Position, Vec<IndexEntry>);

async fn recovered(disk: &SimDisk, executor: u64, acked: Position, seed: u64) -> Result<Seen, String> {
    let wal = sealed(disk, small(TASK), executor, acked).await.map_err(|e| e.to_string())?;
    if wal.end() < acked {
        return Err(format!("ends at {}, {acked} was told to be durable", wal.end()));
    }
    check(&wal, seed).await?;
    Ok((wal.start(), wal.end(), wal.index().to_vec()))
}

fn same(first: &Seen, second: &Seen) -> Result<(), String> {
    if first == second {
        return Ok(());
    }
    Err(format!("recovered {} to {}, then {} to {}", first.0, first.1, second.0, second.1))
}

/// Cuts a workload of `count` records short at every operation, and every `nested_every`-th time the recovery at each of
/// its operations too. Gives boundaries and states.
///
/// # Errors
/// The first violation, with what leads to it.
pub async fn states(
    seed: u64,
    count: u64,
    breadth: Breadth,
    nested_every: u64,
    nested: Breadth,
) -> Result<(u64, u64), String> {
    let (mut boundary, mut states) = (0, 0);
    loop {
        let disk = SimDisk::new(boundary);
        disk.fail_after(boundary);
        let acked = workload(&disk, seed, count).await;
        let finished = !disk.is_off();
        for loss in disk.losses(breadth) {
            let at = |e: String| format!("boundary {boundary}, {loss:?}: {e}");
            let disk = disk.after(loss);
            let first = recovered(&disk, 2, acked, seed).await.map_err(at)?;
            disk.crash();
            same(&first, &recovered(&disk, 3, acked, seed).await.map_err(at)?).map_err(at)?;
            states += 2;
        }
        if boundary % nested_every == 0 {
            states += recovery_dies(&disk, acked, seed, nested)
                .await
                .map_err(|e| format!("boundary {boundary}, then {e}"))?;
        }
        if finished {
            return if acked == Position(count) {
                Ok((boundary, states))
            } else {
                Err(format!("closed, and durable is {acked}"))
            };
        }
        boundary += 1;
    }
}

async fn recovery_dies(disk: &SimDisk, acked: Position, seed: u64, breadth: Breadth) -> Result<u64, String> {
    let mut states = 0;
    for before in disk.losses(breadth) {
        for m in 0.. {
            let disk = disk.after(before);
            disk.fail_after(m);
            // Sealing, and then trimming what is sealed: both are repeated by whoever comes next.
            if let Ok(wal) = sealed(&disk, small(TASK), 2, acked).await {
                let _ = wal.trim(Position(wal.end().0 / 2)).await;
            }
            let finished = !disk.is_off();
            for loss in disk.losses(breadth) {
                let at = |e: String| format!("{before:?}, {m} operations of the recovery, {loss:?}: {e}");
                let disk = disk.after(loss);
                let first = recovered(&disk, 3, acked, seed).await.map_err(at)?;
                disk.crash();
                same(&first, &recovered(&disk, 4, acked, seed).await.map_err(at)?).map_err(at)?;
                states += 2;
            }
            if finished {
                break;
            }
        }
    }
    Ok(states)
}
