//! Every fault of the store has a decided outcome. Time is tokio's paused clock: nothing here waits for real,
//! save for the local directory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use tidegate_common::batch::build;
use tidegate_common::random::{SeededRandom, SharedRandom};
use tidegate_common::{Incarnation, Lineage, ObjectId, Offset, StreamId};

use super::fault::{Fault, FaultStore, Faults, Op};
use super::media::MediaSettings;
use super::probe::{ProbeError, probe};
use super::sim_store::{Habits, Latency, SimStore};
use super::*;
use crate::format::{
    BlockIndex, EncodedObject, FormatError, ObjectWriter, SliceBefore, Stamp, decode_block, encode_leaf,
};
use crate::manager::{LeafRow, StreamObjectRow};

const LINEAGE: Lineage = Lineage(1);

struct Bench {
    sim: SimStore,
    faults: Faults,
    io: ObjectIo,
    random: SharedRandom,
}

fn bench() -> Bench {
    bench_with(IoSettings::default())
}

fn bench_with(settings: IoSettings) -> Bench {
    let random: SharedRandom = Arc::new(SeededRandom::new(11));
    let sim = SimStore::new(random.clone(), Latency { call_us: 1_000..5_000, bytes_per_s: 0 });
    let (store, faults) = FaultStore::new(Arc::new(sim.clone()), random.clone());
    let io = ObjectIo::new(Media::of(Arc::new(store), "t"), settings, random.clone());
    Bench { sim, faults, io, random }
}

fn object(id: u64, random: &SharedRandom) -> EncodedObject {
    let stamp =
        Stamp { lineage: LINEAGE, id: ObjectId(id), incarnation: Incarnation(2), nonce: random.uuid() };
    let mut writer = ObjectWriter::new(stamp, 1 << 18);
    let batches: Vec<_> = (0..20)
        .map(|i| build(Offset(i), 1, i, i, Bytes::from(random.next_u64().to_be_bytes().to_vec())))
        .collect();
    writer.slice(StreamId(id), &SliceBefore::first(), &batches).expect("dense");
    writer.finish().expect("whole")
}

fn key(io: &ObjectIo, object: &EncodedObject) -> Path {
    io.keys().object(object.stamp.lineage, object.stamp.id)
}

impl Bench {
    fn object(&self, id: u64) -> EncodedObject {
        object(id, &self.random)
    }

    fn stored(&self, object: &EncodedObject) -> bool {
        let bytes = self.sim.bytes(&key(&self.io, object));
        bytes.as_deref() == Some(&object.chunks.concat()[..])
    }

    async fn get(&self, object: &EncodedObject) -> Result<Bytes, IoError> {
        self.io.get(object.stamp.id, LINEAGE, 0..object.size).await
    }

    async fn verified(&self, object: &EncodedObject) -> Result<Bytes, IoError> {
        let sum = object.checksum;
        let check = |bytes: &Bytes| match crc32c::crc32c(bytes) {
            crc if crc == sum => Ok(bytes.clone()),
            crc => Err(FormatError::Checksum { what: "the object", stored: sum, computed: crc }),
        };
        self.io.get_verified(object.stamp.id, LINEAGE, 0..object.size, check).await
    }
}

// ---- PUT

#[tokio::test(start_paused = true)]
async fn a_put_is_created_once_and_never_overwrites() {
    let b = bench();
    let (mine, other) = (b.object(1), b.object(1));
    assert_eq!(b.io.put_new(&mine).await, Ok(PutOutcome::Created));
    assert_eq!(b.io.put_new(&mine).await, Ok(PutOutcome::FoundOwn));
    assert!(matches!(b.io.put_new(&other).await, Err(IoError::Taken { .. })));
    assert!(b.stored(&mine));
}

/// Each fault of a PUT, once: what comes of it, and how many PUTs it took.
#[tokio::test(start_paused = true)]
async fn each_put_fault_has_its_outcome() {
    let hang = Duration::from_secs(20).as_millis() as u64;
    let table = [
        (Fault::Unavailable, PutOutcome::Created, 2),
        (Fault::Denied, PutOutcome::Created, 2),
        (Fault::Conflict, PutOutcome::Created, 2),
        (Fault::OwnConflict, PutOutcome::FoundOwn, 1),
        (Fault::AnswerLost, PutOutcome::FoundOwn, 1),
        (Fault::Hangs, PutOutcome::Created, 2),
        (Fault::DoneAndHangs, PutOutcome::FoundOwn, 1),
        // Slower than the attempt may take: dropped before it landed.
        (Fault::Slow { ms: hang }, PutOutcome::Created, 2),
        (Fault::Slow { ms: 2_000 }, PutOutcome::Created, 1),
        // Lands while the first wait is on: found by the reading.
        (Fault::DoneLate { ms: 1 }, PutOutcome::FoundOwn, 1),
    ];
    for (id, (fault, outcome, puts)) in table.into_iter().enumerate() {
        let b = bench();
        let object = b.object(id as u64);
        b.faults.next(Op::Put, fault);
        assert_eq!(b.io.put_new(&object).await, Ok(outcome), "{fault:?}");
        assert!(b.stored(&object), "{fault:?}");
        assert_eq!((b.faults.done(Op::Put, fault), b.faults.calls(Op::Put)), (1, puts), "{fault:?}");
        assert_eq!(b.io.counts().settled_by_reading, u64::from(outcome == PutOutcome::FoundOwn), "{fault:?}");
    }
}

/// The reading says "not there", the second PUT is under way, and then the first one lands.
#[tokio::test(start_paused = true)]
async fn a_put_that_lands_after_it_was_read_as_absent_is_still_own() {
    let b = bench();
    let object = b.object(1);
    b.faults.next(Op::Put, Fault::DoneLate { ms: 150 });
    b.faults.next(Op::Put, Fault::Slow { ms: 500 });
    assert_eq!(b.io.put_new(&object).await, Ok(PutOutcome::FoundOwn));
    assert_eq!(b.faults.calls(Op::Put), 2);
    assert!(b.stored(&object));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_settled_even_when_the_reading_fails_too() {
    for fault in [Fault::Unavailable, Fault::Hangs, Fault::Denied, Fault::Truncated] {
        let b = bench();
        let object = b.object(1);
        b.faults.next(Op::Put, Fault::AnswerLost);
        b.faults.next(Op::Get, fault);
        assert_eq!(b.io.put_new(&object).await, Ok(PutOutcome::FoundOwn), "{fault:?}");
        // The object is small, so it was sent again, and found to be there.
        assert_eq!((b.faults.calls(Op::Put), b.faults.calls(Op::Get)), (2, 2), "{fault:?}");
    }
}

/// A flip on the way of a reading must not make a fence out of an own write.
#[tokio::test(start_paused = true)]
async fn a_stamp_corrupted_on_its_way_is_read_again() {
    let b = bench();
    let object = b.object(1);
    b.faults.next(Op::Put, Fault::AnswerLost);
    b.faults.next(Op::Get, Fault::Corrupted);
    assert_eq!(b.io.put_new(&object).await, Ok(PutOutcome::FoundOwn));
    assert_eq!(b.faults.calls(Op::Get), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_in_unavailable_within_the_budget_and_says_nothing_of_the_write() {
    let b = bench();
    let object = b.object(1);
    b.faults.outage(true);
    let started = tokio::time::Instant::now();
    let error = b.io.put_new(&object).await.expect_err("the store is away");
    assert!(
        error.is_transient() && matches!(error, IoError::Unavailable { tries, .. } if tries > 10),
        "{error}"
    );
    let took = started.elapsed().as_millis() as u64;
    let budget = IoSettings::default().put_budget_ms;
    assert!(took <= budget + 20_000 && took > budget - 5_000, "{took} ms");
    b.faults.clear();
    assert_eq!(b.io.put_new(&object).await, Ok(PutOutcome::Created));
    // While it is away it is asked for 56 bytes, not sent a large object again and again.
    let large = {
        let stamp = Stamp { id: ObjectId(2), ..object.stamp };
        let mut writer = ObjectWriter::new(stamp, 1 << 18);
        let batch = build(Offset(0), 1, 0, 0, Bytes::from(vec![7; 2 << 20]));
        writer.slice(StreamId(1), &SliceBefore::first(), [&batch]).expect("dense");
        writer.finish().expect("whole")
    };
    b.faults.outage(true);
    let before = b.faults.calls(Op::Put);
    assert!(b.io.put_new(&large).await.is_err());
    assert_eq!(b.faults.calls(Op::Put), before + 1);
    b.faults.clear();
    assert_eq!(b.io.put_new(&large).await, Ok(PutOutcome::Created));
    assert!(b.stored(&large));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_503_is_outlived() {
    let b = bench();
    for (op, per_mille) in [(Op::Put, 700), (Op::Get, 700), (Op::Delete, 700)] {
        b.faults.rate(op, Fault::Unavailable, per_mille);
    }
    for id in 0..20 {
        let object = b.object(id);
        b.io.put_new(&object).await.expect("within the budget");
        assert!(b.stored(&object));
        assert_eq!(b.get(&object).await.expect("within the budget"), object.chunks.concat());
    }
    let ids: Vec<_> = (0..20).map(|id| (LINEAGE, ObjectId(id))).collect();
    assert!(b.io.delete(&ids).await.iter().all(|(_, result)| result.is_ok()));
    assert!(b.sim.keys().is_empty());
    assert!(b.faults.done(Op::Put, Fault::Unavailable) > 20);
}

/// Two hundred callers in an outage ask no more than the tokens allow, however many they are.
#[tokio::test(start_paused = true)]
async fn many_callers_make_no_retry_storm() {
    let settings = IoSettings { get_budget_ms: 10_000, reads_max: 1000, ..IoSettings::default() };
    let b = bench_with(settings.clone());
    b.faults.outage(true);
    let calls = (0..200).map(|id| b.io.get(ObjectId(id), LINEAGE, 0..8));
    let results = futures::future::join_all(calls).await;
    assert!(results.iter().all(|r| matches!(r, Err(IoError::Unavailable { .. }))));
    let retries = b.faults.calls(Op::Get) - 200;
    let allowed = u64::from(settings.retry_burst) + 10 * u64::from(settings.retries_per_s);
    // One HEAD may go with each second try.
    assert!(retries <= 2 * allowed + 2, "{retries} retries, {allowed} allowed");
    assert!(b.io.counts().retries <= allowed + 1);
}

#[tokio::test(start_paused = true)]
async fn a_lane_has_permits_and_tokens_of_its_own() {
    let b = bench_with(IoSettings { writes_max: 1, put_budget_ms: 5_000, ..IoSettings::default() });
    let lane = b.io.lane(IoSettings::default());
    let (stuck, free) = (b.object(1), b.object(2));
    b.faults.next(Op::Put, Fault::Hangs);
    let waiting = b.io.put_new(&stuck);
    let beside = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = tokio::time::Instant::now();
        lane.put_new(&free).await.expect("the lane is free");
        assert!(started.elapsed() < Duration::from_millis(100));
    };
    let (_, ()) = futures::join!(waiting, beside);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_lands_after_its_delete_is_only_an_orphan() {
    let b = bench();
    let object = b.object(1);
    b.io.put_new(&object).await.expect("put");
    // A try of the same PUT that was given up is still on its way, and the object is deleted meanwhile.
    let late = b.sim.bytes(&key(&b.io, &object)).expect("stored");
    let gone = b.io.delete(&[(LINEAGE, ObjectId(1))]).await;
    assert_eq!(gone[0].1, Ok(()));
    b.sim.plant(&key(&b.io, &object), late);
    let listing = b.io.list_data().await.expect("listed");
    assert_eq!(listing.objects, [Listed { lineage: LINEAGE, id: ObjectId(1), size: object.size }]);
    // Deleting it again is fine, and so is deleting what is not there.
    for _ in 0..2 {
        assert_eq!(b.io.delete(&[(LINEAGE, ObjectId(1))]).await[0].1, Ok(()));
    }
    assert!(b.sim.keys().is_empty());
}

// ---- GET

#[tokio::test(start_paused = true)]
async fn each_get_fault_has_its_outcome() {
    for fault in [
        Fault::Unavailable,
        Fault::Denied,
        Fault::Hangs,
        Fault::AnswerLost,
        Fault::DoneAndHangs,
        Fault::Slow { ms: 3_000 },
        Fault::Slow { ms: 600_000 },
        Fault::Truncated,
        Fault::Corrupted,
    ] {
        let b = bench();
        let object = b.object(1);
        b.io.put_new(&object).await.expect("put");
        b.faults.next(Op::Get, fault);
        let bytes = b.verified(&object).await.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(bytes, object.chunks.concat(), "{fault:?}");
        assert_eq!(b.faults.done(Op::Get, fault), 1, "{fault:?}");
        assert_eq!(b.io.counts().rereads, u64::from(fault == Fault::Corrupted), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn damage_is_reported_after_a_second_reading_and_only_for_its_range() {
    let b = bench();
    let object = b.object(1);
    b.io.put_new(&object).await.expect("put");
    b.sim.flip(&key(&b.io, &object), 100);
    assert!(matches!(b.verified(&object).await, Err(IoError::Damaged { .. })));
    assert_eq!((b.faults.calls(Op::Get), b.io.counts().damaged), (2, 1));
    // The footer lies elsewhere and reads well; the block does not.
    let footer = b.io.footer(ObjectId(1), LINEAGE, object.size).await.expect("whole");
    let block = footer.slices[0].blocks[0];
    let range = block.here().expect("here").range();
    let read =
        b.io.get_verified(ObjectId(1), LINEAGE, range, |bytes| decode_block(&block, bytes.clone())).await;
    assert!(matches!(read, Err(IoError::Damaged { .. })));
    b.sim.flip(&key(&b.io, &object), 100);
    b.verified(&object).await.expect("healed");
}

#[tokio::test(start_paused = true)]
async fn an_object_cut_short_is_damage_not_an_outage() {
    let b = bench();
    let object = b.object(1);
    b.io.put_new(&object).await.expect("put");
    let key = key(&b.io, &object);
    let cut = b.sim.bytes(&key).expect("stored").slice(..200);
    b.sim.plant(&key, cut);
    for range in [0..object.size, 150..300, 200..object.size, 250..object.size] {
        let started = tokio::time::Instant::now();
        let error = b.io.get(ObjectId(1), LINEAGE, range.clone()).await.expect_err("cut");
        assert!(matches!(error, IoError::Damaged { .. }), "{range:?}: {error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{range:?}");
    }
    assert!(b.io.get(ObjectId(1), LINEAGE, 0..200).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_vanished_object_is_not_found_at_once() {
    let b = bench();
    let object = b.object(1);
    b.io.put_new(&object).await.expect("put");
    b.sim.vanish(&key(&b.io, &object));
    let wanted = IoError::NotFound { key: key(&b.io, &object).to_string() };
    assert_eq!(b.get(&object).await, Err(wanted.clone()));
    assert_eq!(b.io.footer(ObjectId(1), LINEAGE, object.size).await, Err(wanted));
    assert_eq!(b.faults.calls(Op::Get), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_reads_ends_within_the_budget() {
    let b = bench();
    b.faults.rate(Op::Get, Fault::Unavailable, 1000);
    let started = tokio::time::Instant::now();
    let error = b.io.get(ObjectId(1), LINEAGE, 0..10).await.expect_err("away");
    assert!(matches!(error, IoError::Unavailable { .. }), "{error}");
    assert!(started.elapsed() <= Duration::from_millis(IoSettings::default().get_budget_ms));
}

#[tokio::test(start_paused = true)]
async fn ranges_close_together_are_one_get_and_come_in_the_order_asked() {
    let b = bench_with(IoSettings { coalesce_bytes: 50, ..IoSettings::default() });
    let object = b.object(1);
    b.io.put_new(&object).await.expect("put");
    let all = object.chunks.concat();
    let ranges = [600..700u64, 0..56, 100..200, 110..120, 56..60];
    let found = b.io.get_ranges(ObjectId(1), LINEAGE, &ranges).await.expect("read");
    for (range, bytes) in ranges.iter().zip(&found) {
        assert_eq!(bytes, &all[range.start as usize..range.end as usize], "{range:?}");
    }
    // 0..60 and 100..200 lie 40 apart, 600..700 lies 400 on.
    assert_eq!(b.faults.calls(Op::Get), 2);
    assert_eq!(b.io.get_ranges(ObjectId(1), LINEAGE, &[]).await, Ok(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_long_footer_is_read_in_two_gets() {
    let b = bench();
    let stamp =
        Stamp { lineage: LINEAGE, id: ObjectId(3), incarnation: Incarnation(2), nonce: b.random.uuid() };
    let mut writer = ObjectWriter::new(stamp, 1 << 18);
    for stream in 1..1000 {
        let batch = build(Offset(5), 1, 0, 0, Bytes::from_static(b"record"));
        writer.slice(StreamId(stream), &SliceBefore::first(), [&batch]).expect("dense");
    }
    let object = writer.finish().expect("whole");
    b.io.put_new(&object).await.expect("put");
    let footer = b.io.footer(ObjectId(3), LINEAGE, object.size).await.expect("whole");
    assert!(footer.len > super::read::FOOTER_GUESS_BYTES);
    assert_eq!((footer.slices.len(), b.faults.calls(Op::Get)), (999, 2));
    assert_eq!(footer.slice(StreamId(500)).map(|s| s.stream), Some(StreamId(500)));
    assert_eq!(footer.slice(StreamId(1000)), None);
    // Another object under its key is not taken for it.
    b.sim.plant(&b.io.keys().object(LINEAGE, ObjectId(4)), object.chunks.concat());
    assert!(matches!(b.io.footer(ObjectId(4), LINEAGE, object.size).await, Err(IoError::Damaged { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_leaf_is_read_and_checked_against_its_row() {
    let b = bench();
    let rows: Vec<_> = (0..3)
        .map(|i| StreamObjectRow {
            id: ObjectId(100 + i),
            lineage: LINEAGE,
            stream: StreamId(7),
            from: Offset(i as i64 * 10),
            to: Offset(i as i64 * 10 + 10),
            size: 1,
            checksum: 2,
        })
        .collect();
    let stamp =
        Stamp { lineage: LINEAGE, id: ObjectId(9), incarnation: Incarnation(2), nonce: b.random.uuid() };
    let leaf = encode_leaf(stamp, &rows).expect("dense");
    b.io.put_new(&leaf).await.expect("put");
    let row = LeafRow {
        id: ObjectId(9),
        lineage: LINEAGE,
        stream: StreamId(7),
        from: Offset(0),
        to: Offset(30),
        count: 3,
        size: leaf.size,
        checksum: leaf.checksum,
    };
    assert_eq!(b.io.leaf(&row).await.expect("whole").rows, rows);
    let wrong = LeafRow { count: 4, ..row };
    assert!(matches!(b.io.leaf(&wrong).await, Err(IoError::Damaged { .. })));
}

// ---- DELETE and LIST

#[tokio::test(start_paused = true)]
async fn each_delete_fault_has_its_outcome() {
    let faults = [
        Fault::Unavailable,
        Fault::Denied,
        Fault::AnswerLost,
        Fault::Hangs,
        Fault::DoneAndHangs,
        Fault::DoneLate { ms: 70 },
    ];
    for fault in faults {
        let b = bench();
        for id in 0..3 {
            b.io.put_new(&b.object(id)).await.expect("put");
        }
        b.faults.next(Op::Delete, fault);
        // The last is not there, which is what was wanted.
        let ids: Vec<_> = [2, 0, 1, 7].map(|id| (LINEAGE, ObjectId(id))).into();
        let results = b.io.delete(&ids).await;
        assert_eq!(results, ids.iter().map(|id| (*id, Ok(()))).collect::<Vec<_>>(), "{fault:?}");
        assert!(b.sim.keys().is_empty(), "{fault:?}");
        assert_eq!(b.faults.done(Op::Delete, fault), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn deletes_in_an_outage_are_each_reported() {
    let b = bench();
    b.io.put_new(&b.object(1)).await.expect("put");
    b.faults.outage(true);
    let results = b.io.delete(&[(LINEAGE, ObjectId(1)), (LINEAGE, ObjectId(2))]).await;
    assert!(results.iter().all(|(_, r)| matches!(r, Err(IoError::Unavailable { .. }))), "{results:?}");
    assert_eq!(b.sim.keys().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lists_are_sorted_whole_or_an_error_and_a_partial_one_harms_nobody() {
    let b = bench();
    let wanted: Vec<_> = (0..5)
        .map(|id| {
            let object = b.object(id);
            b.sim.plant(&key(&b.io, &object), object.chunks.concat());
            Listed { lineage: LINEAGE, id: ObjectId(id), size: object.size }
        })
        .collect();
    b.sim.plant(&Path::from("t/data/00000001/note"), "x");
    b.sim.plant(&Path::from("t/cluster.json"), "x");
    let listing = b.io.list_data().await.expect("listed");
    assert_eq!((&listing.objects, &listing.strangers), (&wanted, &vec!["t/data/00000001/note".to_owned()]));
    for fault in
        [Fault::UnsortedList, Fault::BrokenList, Fault::Unavailable, Fault::Hangs, Fault::Slow { ms: 500 }]
    {
        b.faults.next(Op::List, fault);
        assert_eq!(b.io.list_data().await.expect("listed"), listing, "{fault:?}");
    }
    // What a partial list leaves out cannot be known; the objects are read all the same.
    b.faults.next(Op::List, Fault::PartialList);
    assert_eq!(b.io.list_data().await.expect("listed").objects.len(), 3);
    for id in 0..5 {
        b.io.get(ObjectId(id), LINEAGE, 0..8).await.expect("there");
    }
}

// ---- cluster.json

#[tokio::test(start_paused = true)]
async fn the_first_start_creates_cluster_json_and_the_next_finds_it() {
    let b = bench();
    let first = b.io.open_or_create_cluster(None, "A").await.expect("created");
    assert!(first.created && first.file.cluster_id == "A");
    let again = b.io.open_or_create_cluster(Some("A"), "B").await.expect("found");
    assert_eq!(again, Opened { created: false, ..first.clone() });
    let adopted = b.io.open_or_create_cluster(None, "B").await.expect("found");
    assert_eq!(adopted, again);
    let other = b.io.open_or_create_cluster(Some("B"), "B").await.expect_err("another cluster's");
    assert!(
        matches!(&other, ClusterError::OtherCluster { found, expected, .. } if found == "A" && expected == "B")
    );
    assert!(other.to_string().contains("storage.url"), "{other}");
}

#[tokio::test(start_paused = true)]
async fn racing_creators_agree_on_one_cluster() {
    for seed in 0..50 {
        let random: SharedRandom = Arc::new(SeededRandom::new(seed));
        let sim = SimStore::new(random.clone(), Latency { call_us: 0..5_000, bytes_per_s: 0 });
        let (store, faults) = FaultStore::new(Arc::new(sim.clone()), random.clone());
        for fault in [Fault::AnswerLost, Fault::OwnConflict, Fault::Conflict, Fault::Unavailable] {
            faults.rate(Op::Put, fault, 150);
        }
        let media = Media::of(Arc::new(store), "t");
        let open = |name: &'static str| {
            let io = ObjectIo::new(media.clone(), IoSettings::default(), random.clone());
            async move { io.open_or_create_cluster(None, name).await.expect("settled") }
        };
        let opened = futures::future::join_all(["A", "B", "C"].map(open)).await;
        assert!(opened.iter().all(|o| o.file == opened[0].file), "seed {seed}: {opened:?}");
        assert_eq!(opened.iter().filter(|o| o.created).count(), 1, "seed {seed}: {opened:?}");
        assert_eq!(sim.bytes(&Path::from("t/cluster.json")), Some(opened[0].file.encode()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_damaged_or_newer_cluster_json_is_refused_with_a_remedy() {
    let b = bench();
    let missing = b.io.open_or_create_cluster(Some("A"), "A").await.expect_err("nothing is there");
    assert!(matches!(missing, ClusterError::Missing { .. }));
    assert!(b.sim.keys().is_empty(), "a bucket that should be someone's is not made anyone's");
    b.io.open_or_create_cluster(None, "A").await.expect("created");
    // Damage on the way heals, damage in the store is named.
    b.faults.next(Op::Get, Fault::Corrupted);
    b.io.open_or_create_cluster(Some("A"), "A").await.expect("read again");
    let key = b.io.keys().cluster();
    b.sim.flip(&key, 40);
    assert!(matches!(b.io.open_or_create_cluster(Some("A"), "A").await, Err(ClusterError::Damaged { .. })));
    b.sim.plant(&key, r#"{"format_version":9,"anything":"else"}"#);
    let newer = b.io.open_or_create_cluster(Some("A"), "A").await.expect_err("newer");
    assert!(matches!(newer, ClusterError::NewerFormat { found: 9, known: 1, .. }));
    b.sim.plant(&key, vec![b' '; 100_000]);
    assert!(matches!(
        b.io.open_or_create_cluster(None, "A").await,
        Err(ClusterError::Io(IoError::Damaged { .. }))
    ));
}

// ---- the probe

async fn probed(habits: Habits) -> super::probe::Report {
    let random: SharedRandom = Arc::new(SeededRandom::new(3));
    let sim =
        SimStore::with_habits(random.clone(), Latency { call_us: 1_000..5_000, bytes_per_s: 0 }, habits);
    let report = probe(&Media::of(Arc::new(sim.clone()), "t"), &random).await.expect("reachable");
    assert!(habits.keeps_deleted || sim.keys().is_empty(), "the probe cleans up: {:?}", sim.keys());
    report
}

#[tokio::test(start_paused = true)]
async fn the_probe_finds_each_thing_that_a_store_cannot_do() {
    let good = probed(Habits::default()).await;
    let all = super::probe::Report {
        atomic_create: true,
        read_after_write: true,
        ranges: true,
        list_after_write: true,
        delete: true,
        problems: vec![],
    };
    assert_eq!(good, all);
    let racy = probed(Habits { racy_create: true, ..Habits::default() }).await;
    assert!(!racy.atomic_create && racy.holds_objects() && racy.problems.len() == 1, "{racy:?}");
    assert!(racy.problems[0].contains("racing creates"), "{racy:?}");
    let ignores = probed(Habits { ignores_condition: true, ..Habits::default() }).await;
    assert!(!ignores.atomic_create && ignores.holds_objects(), "{ignores:?}");
    let ranges = probed(Habits { ignores_range: true, ..Habits::default() }).await;
    assert!(!ranges.ranges && !ranges.holds_objects() && ranges.atomic_create, "{ranges:?}");
    let none = probed(Habits { knows_no_condition: true, ..Habits::default() }).await;
    assert!(!none.atomic_create && !none.holds_objects(), "{none:?}");
    let stale = probed(Habits { stale_list: true, ..Habits::default() }).await;
    assert!(!stale.list_after_write && stale.holds_objects(), "{stale:?}");
    let keeps = probed(Habits { keeps_deleted: true, ..Habits::default() }).await;
    assert!(!keeps.delete && !keeps.holds_objects(), "{keeps:?}");
}

#[tokio::test(start_paused = true)]
async fn the_probe_names_the_setting_that_is_wrong() {
    let b = bench();
    let media = b.io.inner.media.clone();
    b.faults.next(Op::Put, Fault::Denied);
    let denied = probe(&media, &b.random).await.expect_err("expired");
    assert!(matches!(denied, ProbeError::BadCredentials { .. }), "{denied}");
    b.faults.next_n(Op::Put, Fault::Unavailable, 2);
    probe(&media, &b.random).await.expect("a store that is starting is waited for");
    b.faults.outage(true);
    let away = probe(&media, &b.random).await.expect_err("away");
    assert!(matches!(away, ProbeError::Unreachable { setting: "storage.url", .. }), "{away}");
    assert!(!away.to_string().contains('\n'));
}

/// Each operation can run in a task of its own.
#[tokio::test(start_paused = true)]
async fn every_operation_can_be_spawned() {
    let b = bench();
    let (io, object, media) = (b.io.clone(), b.object(1), b.io.inner.media.clone());
    let random = b.random.clone();
    let life = tokio::spawn(async move {
        probe(&media, &random).await.expect("reachable");
        io.open_or_create_cluster(None, "A").await.expect("created");
        io.put_new(&object).await.expect("put");
        let (id, all) = (object.stamp.id, 0..object.size);
        io.get(id, LINEAGE, all.clone()).await.expect("read");
        io.get_ranges(id, LINEAGE, &[0..3, 5..9]).await.expect("read");
        io.get_verified(id, LINEAGE, all, |bytes| Ok(bytes.len())).await.expect("read");
        io.footer(id, LINEAGE, object.size).await.expect("whole");
        io.list_data().await.expect("listed");
        io.delete(&[(LINEAGE, id)]).await
    });
    assert_eq!(life.await.expect("no panic"), [((LINEAGE, ObjectId(1)), Ok(()))]);
}

// ---- determinism

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_history() {
    let run = |seed| async move {
        let random: SharedRandom = Arc::new(SeededRandom::new(seed));
        let sim = SimStore::new(random.clone(), Latency::like_s3());
        let (store, faults) = FaultStore::new(Arc::new(sim.clone()), random.clone());
        for (op, fault) in
            [(Op::Put, Fault::AnswerLost), (Op::Put, Fault::DoneLate { ms: 90 }), (Op::Get, Fault::Corrupted)]
        {
            faults.rate(op, fault, 200);
        }
        let io = ObjectIo::new(Media::of(Arc::new(store), ""), IoSettings::default(), random.clone());
        let started = tokio::time::Instant::now();
        let objects: Vec<_> = (0..10).map(|id| object(id, &random)).collect();
        let put = futures::future::join_all(objects.iter().map(|o| io.put_new(o))).await;
        let mut log = Vec::new();
        for (object, put) in objects.iter().zip(put) {
            let footer = io.footer(object.stamp.id, LINEAGE, object.size).await;
            log.push(format!("{put:?} {:?} {:?}", footer.map(|f| f.stamp), started.elapsed()));
        }
        (log, io.counts(), sim.keys())
    };
    let (one, two, other) = (run(5).await, run(5).await, run(6).await);
    assert_eq!(one, two);
    assert_ne!(one.0, other.0);
}

// ---- a local directory

fn local(dir: &std::path::Path) -> Media {
    let url = format!("file://{}", dir.display());
    media::open(&MediaSettings { url, ..MediaSettings::default() }).expect("opens")
}

#[tokio::test]
async fn a_local_directory_does_all_that_a_bucket_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let random: SharedRandom = Arc::new(SeededRandom::new(4));
    let media = local(&dir.path().join("not/there/yet"));
    let report = probe(&media, &random).await.expect("reachable");
    assert_eq!(report.problems, Vec::<String>::new());
    let io = ObjectIo::new(media, IoSettings::default(), random.clone());
    assert!(io.open_or_create_cluster(None, "A").await.expect("created").created);
    whole_life(&io, &random).await;
    // Nothing but cluster.json is left, not even a staged file.
    let files = files_below(dir.path());
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].ends_with("not/there/yet/cluster.json"));
}

#[tokio::test]
async fn a_lost_answer_of_a_local_put_is_settled_and_synced() {
    let dir = tempfile::tempdir().expect("a directory");
    let random: SharedRandom = Arc::new(SeededRandom::new(4));
    let mut media = local(dir.path());
    let (store, faults) = FaultStore::new(media.store.clone(), random.clone());
    media.store = Arc::new(store);
    let io = ObjectIo::new(media, IoSettings::default(), random.clone());
    faults.next(Op::Put, Fault::AnswerLost);
    let object = object(1, &random);
    assert_eq!(io.put_new(&object).await, Ok(PutOutcome::FoundOwn));
    // A file that cannot be synced is not taken for durable.
    struct Broken;
    #[async_trait::async_trait]
    impl media::LocalSync for Broken {
        async fn sync(&self, _: &Path) -> std::io::Result<()> {
            Err(std::io::Error::other("EIO"))
        }
        async fn sync_parent(&self, _: &Path) -> std::io::Result<()> {
            Err(std::io::Error::other("EIO"))
        }
    }
    let media = Media { local: Some(Arc::new(Broken)), ..local(dir.path()) };
    let io = ObjectIo::new(media, IoSettings::default(), random);
    assert!(matches!(io.put_new(&object).await, Err(IoError::Unavailable { .. })));
    assert!(matches!(io.delete(&[(LINEAGE, ObjectId(1))]).await[0].1, Err(IoError::Unavailable { .. })));
}

/// Put, list, read in every way, delete.
async fn whole_life(io: &ObjectIo, random: &SharedRandom) {
    let objects: Vec<_> = (0..20).map(|id| object(id, random)).collect();
    let put = futures::future::join_all(objects.iter().map(|o| io.put_new(o))).await;
    assert!(put.iter().all(|p| *p == Ok(PutOutcome::Created)), "{put:?}");
    assert!(matches!(io.put_new(&object(3, random)).await, Err(IoError::Taken { .. })));
    assert_eq!(io.put_new(&objects[3]).await, Ok(PutOutcome::FoundOwn));
    let listing = io.list_data().await.expect("listed");
    assert_eq!(listing.objects.len(), 20);
    assert!(listing.objects.is_sorted_by_key(|o| o.id) && listing.strangers.is_empty());
    for object in &objects {
        let id = object.stamp.id;
        let footer = io.footer(id, LINEAGE, object.size).await.expect("whole");
        let blocks: Vec<BlockIndex> = footer.slices.iter().flat_map(|s| s.blocks.clone()).collect();
        let ranges: Vec<_> = blocks.iter().map(|b| b.here().expect("here").range()).collect();
        let found = io.get_ranges(id, LINEAGE, &ranges).await.expect("read");
        for (block, bytes) in blocks.iter().zip(found) {
            assert_eq!(decode_block(block, bytes).expect("whole").len(), 20);
        }
    }
    let past = io.get(ObjectId(0), LINEAGE, 0..objects[0].size + 1).await;
    assert!(matches!(past, Err(IoError::Damaged { .. })), "{past:?}");
    assert!(matches!(io.get(ObjectId(99), LINEAGE, 0..1).await, Err(IoError::NotFound { .. })));
    let ids: Vec<_> = (0..25).map(|id| (LINEAGE, ObjectId(id))).collect();
    assert!(io.delete(&ids).await.iter().all(|(_, r)| r.is_ok()));
    assert_eq!(io.list_data().await.expect("listed"), Listing::default());
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).expect("listed").map(|e| e.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
