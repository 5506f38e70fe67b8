//! What every medium must do, as one suite over a factory of media.
//!
//! A rig holds the storage under a medium, so that "the process dies" can be played: `restart` gives a medium that
//! knows only what the storage knows. Each case gets a rig of its own. A violation panics with its reason.
//! Never: assumes how a medium groups, where its space comes back, or what it costs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tidegate_common::{Incarnation, LeaderEpoch, Offset, Position, StreamId, WalId, batch};

use crate::{
    Durability, IndexEntry, OpenError, ReadError, RecordKind, ReserveError, SealedWal, Wal, WalMedium,
    WalRecord,
};

/// Storage, and the medium over it.
pub trait Rig: Send + Sync {
    fn medium(&self) -> Arc<dyn WalMedium>;
    /// The process dies; another starts over the same storage.
    fn restart(&mut self);
    /// From now on nothing that is written to this log becomes durable.
    fn break_writes(&self, id: WalId);
}

const ID: WalId = WalId(7);
const WRITER: Incarnation = Incarnation(3);

/// Runs every case.
pub async fn conforms<R: Rig>(make: impl Fn() -> R) {
    positions_are_dense_and_durable_only_grows(make()).await;
    records_come_back_equal_and_in_order(make()).await;
    trimming_lets_go_from_the_front(make()).await;
    a_full_log_refuses_and_goes_on_after_a_trim(make()).await;
    reservations_wait_in_turn_and_are_given_back(make()).await;
    closing_makes_everything_durable_and_ends_it(make()).await;
    a_failed_write_ends_the_log_for_good(make()).await;
    sealing_is_idempotent_and_one_of_many_wins(make()).await;
    a_floor_that_is_not_met_is_damage(make()).await;
    for writes in [0, 1, 2, 5, 17, 60] {
        what_was_acknowledged_outlives_the_process(make(), writes).await;
    }
    logs_are_listed_deleted_and_never_created_twice(make()).await;
}

fn record(n: u64, len: usize) -> WalRecord {
    let body: Vec<u8> =
        (0..len as u64).map(|i| (n.wrapping_mul(31).wrapping_add(i * 7) % 251) as u8).collect();
    let mut batch = batch::build(Offset(n as i64 * 10), 10, 5, 6, Bytes::from(body));
    batch.head.set_leader_epoch(LeaderEpoch(2));
    WalRecord { stream: StreamId(n % 5 + 1), epoch: LeaderEpoch(2), kind: RecordKind::Batch(batch) }
}

fn bytes_of(record: &WalRecord) -> usize {
    match &record.kind {
        RecordKind::Batch(batch) => batch.len(),
        RecordKind::Close => 0,
        RecordKind::CutMark(_) => 8,
    }
}

async fn create(rig: &impl Rig) -> Arc<dyn Wal> {
    rig.medium().create(ID, WRITER).await.expect("creates")
}

async fn append(wal: &Arc<dyn Wal>, record: WalRecord) -> Position {
    let permit = wal.reserve(bytes_of(&record)).await.expect("there is room");
    wal.append(permit, record)
}

async fn durable_at(wal: &Arc<dyn Wal>, position: Position) {
    let mut durable = wal.durable();
    let seen = durable.wait_for(|d| d.upto() >= position || matches!(d, Durability::Poisoned { .. })).await;
    assert!(seen.expect("the log tells").upto() >= position, "poisoned before {position}");
}

async fn seal(rig: &impl Rig, executor: u64, floor: Position) -> Arc<dyn SealedWal> {
    rig.medium().seal(ID, Incarnation(executor), floor).await.expect("seals")
}

/// All records of a sealed log, its index checked against them.
async fn contents(sealed: &Arc<dyn SealedWal>) -> Vec<(Position, WalRecord)> {
    sealed.verify().await.expect("is intact");
    let start = sealed.start();
    let mut out = Vec::new();
    for entry in sealed.index().iter().filter(|entry| entry.position >= start) {
        let record = sealed.read(entry.position).await.expect("what the index names is there");
        check_entry(entry, &record);
        out.push((entry.position, record));
    }
    let positions: Vec<u64> = out.iter().map(|(position, _)| position.0).collect();
    let expected: Vec<u64> = (start.0..=sealed.end().0).collect();
    assert_eq!(positions, expected, "dense from start to end");
    out
}

fn check_entry(entry: &IndexEntry, record: &WalRecord) {
    assert_eq!((entry.stream, entry.epoch), (record.stream, record.epoch));
    match &record.kind {
        RecordKind::Batch(batch) => assert_eq!(entry.head, Some(batch.head)),
        RecordKind::Close | RecordKind::CutMark(_) => assert_eq!(entry.head, None),
    }
    assert!(entry.bytes as usize >= bytes_of(record));
}

async fn positions_are_dense_and_durable_only_grows(rig: impl Rig) {
    let wal = create(&rig).await;
    assert_eq!(wal.id(), ID);
    let mut durable = wal.durable();
    let watcher = tokio::spawn(async move {
        let mut last = Position::ZERO;
        while last < Position(300) {
            let now = *durable.borrow_and_update();
            assert!(matches!(now, Durability::Upto(p) if p >= last), "{now:?} after {last}");
            last = now.upto();
            if last < Position(300) {
                durable.changed().await.expect("the log lives");
            }
        }
    });
    for n in 1..=300u64 {
        let record = record(n, (n as usize * 37) % 3000);
        assert_eq!(append(&wal, record).await, Position(n));
    }
    durable_at(&wal, Position(300)).await;
    watcher.await.expect("durable only grew");
    for n in 1..=300u64 {
        let read = wal.read(Position(n)).await.expect("is durable");
        assert_eq!(read, record(n, (n as usize * 37) % 3000));
    }
    for missing in [Position::ZERO, Position(301)] {
        assert!(matches!(wal.read(missing).await, Err(ReadError::NotHere(p)) if p == missing));
    }
    let usage = wal.usage();
    assert!(
        usage.used_bytes > 0 && usage.used_bytes <= usage.limit_bytes && usage.in_flight_bytes == 0,
        "{usage:?}"
    );
    wal.close().await;
}

async fn records_come_back_equal_and_in_order(mut rig: impl Rig) {
    let wal = create(&rig).await;
    let mut written = Vec::new();
    for n in 1..=40u64 {
        let kind = match n % 4 {
            0 => RecordKind::Close,
            1 => RecordKind::CutMark(u64::MAX - n),
            _ => record(n, if n == 3 { 0 } else { n as usize * 100 }).kind,
        };
        let record = WalRecord { stream: StreamId(n * n), epoch: LeaderEpoch(-1 + n as i32), kind };
        written.push((append(&wal, record.clone()).await, record));
    }
    durable_at(&wal, Position(40)).await;
    for (position, record) in &written {
        assert_eq!(wal.read(*position).await.expect("is durable"), *record);
    }
    wal.close().await;
    rig.restart();
    let sealed = seal(&rig, 4, Position(40)).await;
    assert_eq!((sealed.id(), sealed.start(), sealed.end()), (ID, Position(1), Position(40)));
    assert_eq!(contents(&sealed).await, written);
    for missing in [Position::ZERO, Position(41)] {
        assert!(matches!(sealed.read(missing).await, Err(ReadError::NotHere(_))));
    }
}

async fn trimming_lets_go_from_the_front(mut rig: impl Rig) {
    let wal = create(&rig).await;
    for n in 1..=400u64 {
        append(&wal, record(n, 2000)).await;
    }
    durable_at(&wal, Position(400)).await;
    let before = wal.usage().used_bytes;
    for _ in 0..2 {
        wal.trim(Position(300)).await.expect("trims");
    }
    assert!(wal.usage().used_bytes <= before / 4 * 3, "space comes back");
    assert!(matches!(wal.read(Position(1)).await, Err(ReadError::NotHere(_))));
    assert_eq!(wal.read(Position(300)).await.expect("is kept"), record(300, 2000));
    wal.trim(Position(10)).await.expect("an older trim changes nothing");
    assert_eq!(append(&wal, record(401, 50)).await, Position(401));
    wal.close().await;
    rig.restart();
    let sealed = seal(&rig, 4, Position(401)).await;
    assert!(sealed.start() > Position(1) && sealed.start() <= Position(300), "starts at {}", sealed.start());
    let all = contents(&sealed).await;
    assert_eq!(all.last(), Some(&(Position(401), record(401, 50))));
    for _ in 0..2 {
        sealed.trim(Position(350)).await.expect("trims");
        assert!(matches!(sealed.read(Position(349)).await, Err(ReadError::NotHere(_))));
        assert_eq!(sealed.read(Position(350)).await.expect("is kept"), record(350, 2000));
    }
    sealed.trim(Position(500)).await.expect("trims all that there is");
    assert_eq!(sealed.end(), Position(401));
    rig.restart();
    let again = seal(&rig, 5, Position(401)).await;
    assert_eq!(again.end(), Position(401));
    assert!(again.start() > Position(300), "starts at {}", again.start());
    contents(&again).await;
}

async fn a_full_log_refuses_and_goes_on_after_a_trim(mut rig: impl Rig) {
    let wal = create(&rig).await;
    let huge = wal.try_reserve(1 << 40).err();
    assert!(matches!(huge, Some(ReserveError::TooLarge { .. })), "{huge:?}");
    let mut written = 0;
    let full = loop {
        match wal.reserve(4061).await {
            Ok(permit) => {
                written += 1;
                let position = wal.append(permit, record(written, 4000));
                assert_eq!(position, Position(written));
                if written % 16 == 0 {
                    durable_at(&wal, position).await;
                }
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(full, ReserveError::Full { used, limit } if used <= limit), "{full:?}");
    assert!(written > 100, "{written} records fit");
    durable_at(&wal, Position(written)).await;
    let usage = wal.usage();
    assert!(usage.used_bytes <= usage.limit_bytes && usage.used_bytes >= written * 4000, "{usage:?}");
    assert!(wal.try_reserve(4061).is_err(), "full stays full");
    assert_eq!(wal.read(Position(1)).await.expect("reading goes on"), record(1, 4000));
    wal.trim(Position(written)).await.expect("trims");
    let more = written / 2;
    for n in 1..=more {
        append(&wal, record(written + n, 4000)).await;
    }
    wal.close().await;
    rig.restart();
    let sealed = seal(&rig, 4, Position(written + more)).await;
    assert_eq!(sealed.end(), Position(written + more));
    contents(&sealed).await;
}

async fn reservations_wait_in_turn_and_are_given_back(rig: impl Rig) {
    let wal = create(&rig).await;
    let mut held = Vec::new();
    let refused = loop {
        match wal.try_reserve(16 << 10) {
            Ok(permit) => held.push(permit),
            Err(error) => break error,
        }
    };
    let limit = held.len();
    assert!(limit > 2, "{limit} permits");
    if refused == ReserveError::Busy {
        let mut first = wal.reserve(16 << 10);
        let mut second = wal.reserve(1);
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending(), "nobody passes");
        assert_eq!(wal.try_reserve(1).err(), Some(ReserveError::Busy), "not without waiting either");
        held.pop();
        held.push(first.await.expect("was next"));
        drop(second);
        let mut waits = wal.reserve(16 << 10);
        assert!(futures::poll!(&mut waits).is_pending());
        wal.close().await;
        assert_eq!(waits.await.err(), Some(ReserveError::Closed), "closing answers who waits");
        return;
    }
    drop(held);
    let again: Vec<_> = std::iter::from_fn(|| wal.try_reserve(16 << 10).ok()).collect();
    assert_eq!(again.len(), limit, "permits that were dropped are given back");
    wal.close().await;
}

async fn closing_makes_everything_durable_and_ends_it(mut rig: impl Rig) {
    let wal = create(&rig).await;
    let late = wal.reserve(200).await.expect("there is room");
    for n in 1..=50 {
        append(&wal, record(n, 100)).await;
    }
    wal.close().await;
    assert_eq!(*wal.durable().borrow(), Durability::Upto(Position(50)));
    assert_eq!(wal.try_reserve(10).err(), Some(ReserveError::Closed));
    assert_eq!(wal.reserve(10).await.err(), Some(ReserveError::Closed));
    assert_eq!(wal.append(late, record(51, 100)), Position(51), "appending never fails");
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(wal.durable().borrow().upto(), Position(50), "but it is too late");
    wal.close().await;
    assert_eq!(wal.read(Position(50)).await.expect("is still readable"), record(50, 100));
    drop(wal);
    rig.restart();
    assert_eq!(seal(&rig, 4, Position(50)).await.end(), Position(50));
}

async fn a_failed_write_ends_the_log_for_good(mut rig: impl Rig) {
    let wal = create(&rig).await;
    for n in 1..=10 {
        append(&wal, record(n, 100)).await;
    }
    durable_at(&wal, Position(10)).await;
    rig.break_writes(ID);
    let mut durable = wal.durable();
    let held = wal.reserve(200).await;
    if let Ok(permit) = wal.reserve(200).await {
        wal.append(permit, record(11, 100));
    }
    let poisoned =
        *durable.wait_for(|d| matches!(d, Durability::Poisoned { .. })).await.expect("the log tells");
    assert_eq!(poisoned, Durability::Poisoned { upto: Position(10) });
    assert_eq!(wal.try_reserve(10).err(), Some(ReserveError::Closed));
    assert_eq!(wal.reserve(10).await.err(), Some(ReserveError::Closed));
    if let Ok(permit) = held {
        wal.append(permit, record(12, 100));
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(*wal.durable().borrow(), poisoned, "for good");
    assert_eq!(wal.read(Position(10)).await.expect("what was durable can be read"), record(10, 100));
    wal.close().await;
    rig.restart();
    let sealed = seal(&rig, 4, Position(10)).await;
    assert!(sealed.end() >= Position(10) && sealed.end() <= Position(11), "ends at {}", sealed.end());
    contents(&sealed).await;
}

async fn sealing_is_idempotent_and_one_of_many_wins(mut rig: impl Rig) {
    let wal = create(&rig).await;
    for n in 1..=30 {
        append(&wal, record(n, 300)).await;
        if n % 10 == 0 {
            durable_at(&wal, Position(n)).await;
        }
    }
    // The writer does not know that it was fenced, and goes on.
    let permit = wal.reserve(400).await;
    let medium = rig.medium();
    let racing =
        join_all((10..16).map(|executor| medium.seal(ID, Incarnation(executor), Position(30)))).await;
    if let Ok(permit) = permit {
        wal.append(permit, record(31, 300));
    }
    let ends: Vec<Position> = racing.iter().map(|sealed| sealed.as_ref().expect("seals").end()).collect();
    assert!(ends.iter().all(|end| *end == ends[0] && *end >= Position(30)), "{ends:?}");
    wal.close().await;
    drop(wal);
    for executor in 20..23 {
        rig.restart();
        let sealed = seal(&rig, executor, Position(30)).await;
        assert_eq!(sealed.end(), ends[0]);
        let all = contents(&sealed).await;
        assert!(all.iter().all(|(position, found)| *found == record(position.0, 300)));
    }
}

async fn a_floor_that_is_not_met_is_damage(mut rig: impl Rig) {
    let unknown = rig.medium().seal(ID, Incarnation(4), Position(1)).await.err();
    assert!(matches!(unknown, Some(OpenError::Damaged { .. })), "{unknown:?}");
    let wal = rig.medium().create(WalId(8), WRITER).await.expect("creates");
    for n in 1..=5 {
        append(&wal, record(n, 10)).await;
    }
    wal.close().await;
    rig.restart();
    let beyond = rig.medium().seal(WalId(8), Incarnation(4), Position(6)).await.err();
    assert!(matches!(beyond, Some(OpenError::Damaged { .. })), "{beyond:?}");
    let sealed = rig.medium().seal(WalId(8), Incarnation(4), Position(5)).await.expect("seals");
    assert_eq!(sealed.end(), Position(5));
    let beyond = rig.medium().seal(WalId(8), Incarnation(5), Position(6)).await.err();
    assert!(matches!(beyond, Some(OpenError::Damaged { .. })), "also once it is sealed: {beyond:?}");
    let empty = rig.medium().seal(WalId(9), Incarnation(4), Position::ZERO).await.expect("seals nothing");
    assert_eq!((empty.start(), empty.end(), empty.index().len()), (Position(1), Position::ZERO, 0));
    assert!(rig.medium().create(WalId(9), WRITER).await.is_err(), "its id is used up");
}

async fn what_was_acknowledged_outlives_the_process(mut rig: impl Rig, writes: u64) {
    let wal = create(&rig).await;
    for n in 1..=writes {
        append(&wal, record(n, (n as usize * 53) % 900)).await;
        if n % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let acked = wal.durable().borrow().upto();
    rig.restart();
    drop(wal);
    let sealed = seal(&rig, 4, acked).await;
    assert!(
        sealed.end() >= acked && sealed.end() <= Position(writes),
        "{acked} <= {} <= {writes}",
        sealed.end()
    );
    let all = contents(&sealed).await;
    assert!(
        all.iter().all(|(position, found)| *found == record(position.0, (position.0 as usize * 53) % 900))
    );
    rig.restart();
    assert_eq!(contents(&seal(&rig, 5, sealed.end()).await).await, all, "recovering twice gives the same");
}

async fn logs_are_listed_deleted_and_never_created_twice(mut rig: impl Rig) {
    assert_eq!(rig.medium().list().await.expect("lists"), []);
    for id in [12, 3, 7] {
        let wal = rig.medium().create(WalId(id), WRITER).await.expect("creates");
        append(&wal, record(id, 10)).await;
        let twice = rig.medium().create(WalId(id), WRITER).await.err();
        assert!(matches!(twice, Some(OpenError::Refused(_))), "{twice:?}");
        wal.close().await;
    }
    rig.restart();
    assert_eq!(rig.medium().list().await.expect("lists"), [WalId(3), WalId(7), WalId(12)]);
    let unsealed = rig.medium().delete(WalId(7)).await.err();
    assert!(matches!(unsealed, Some(OpenError::Refused(_))), "{unsealed:?}");
    seal(&rig, 4, Position(1)).await;
    for _ in 0..2 {
        rig.medium().delete(WalId(7)).await.expect("deletes, twice as well");
    }
    rig.restart();
    assert_eq!(rig.medium().list().await.expect("lists"), [WalId(3), WalId(12)]);
}
