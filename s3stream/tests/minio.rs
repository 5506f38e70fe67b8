//! The bucket on a real S3-compatible server.
//!
//! Needs `TIDEGATE_TEST_S3_ENDPOINT`, `TIDEGATE_TEST_S3_BUCKET` (an existing, unversioned bucket) and the AWS
//! credentials in the environment; without them every test fails, so that nothing is skipped unseen. The target
//! is built with the feature `minio-tests` only. Each test works under a prefix of its own and empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tidegate_common::batch::build;
use tidegate_common::random::{Random, SharedRandom};
use tidegate_common::{Batch, Incarnation, Lineage, ObjectId, Offset, StreamId};
use tidegate_s3stream::format::{
    EncodedObject, FormatError, ObjectWriter, SliceBefore, Stamp, decode_block, verify_chain,
};
use tidegate_s3stream::io::fault::{Fault, FaultStore, Op};
use tidegate_s3stream::io::media::{self, Credentials, MediaSettings};
use tidegate_s3stream::io::probe::{ProbeError, probe};
use tidegate_s3stream::io::{IoError, IoSettings, Listing, Media, ObjectIo, PutOutcome};

const LINEAGE: Lineage = Lineage(1);

fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: these tests need an S3-compatible server"))
}

fn settings(test: &str) -> MediaSettings {
    MediaSettings {
        url: format!("s3://{}/{test}-{:016x}", variable("TIDEGATE_TEST_S3_BUCKET"), random().next_u64()),
        endpoint: Some(variable("TIDEGATE_TEST_S3_ENDPOINT")),
        ..MediaSettings::default()
    }
}

/// A source that differs from run to run, so that runs on one bucket do not meet.
struct Fresh(AtomicU64);

impl Random for Fresh {
    fn next_u64(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = std::hash::RandomState::new().build_hasher();
        hasher.write_u64(self.0.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    }
}

fn random() -> SharedRandom {
    Arc::new(Fresh(AtomicU64::new(0)))
}

fn batches(stream: u64, sizes: &[usize]) -> Vec<Batch> {
    let body = |i: usize, len: usize| {
        Bytes::from((0..len).map(|at| (at * 7 + i + stream as usize) as u8).collect::<Vec<_>>())
    };
    sizes
        .iter()
        .enumerate()
        .map(|(i, &len)| build(Offset(i as i64), 1, i as i64, i as i64, body(i, len)))
        .collect()
}

fn object(id: u64, sizes: &[usize], random: &SharedRandom) -> EncodedObject {
    let stamp =
        Stamp { lineage: LINEAGE, id: ObjectId(id), incarnation: Incarnation(2), nonce: random.uuid() };
    let mut writer = ObjectWriter::new(stamp, 256 * 1024);
    for stream in 1..4 {
        writer.slice(StreamId(stream), &SliceBefore::first(), &batches(stream, sizes)).expect("dense");
    }
    writer.finish().expect("whole")
}

async fn is_empty(media: &Media) -> bool {
    let left: Vec<_> = media.store.list(Some(&media.prefix)).try_collect().await.expect("listed");
    left.is_empty()
}

async fn remove_cluster_file(media: &Media, io: &ObjectIo) {
    media.store.delete(&io.keys().cluster()).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_finds_nothing_wrong_and_leaves_nothing() {
    let media = media::open(&settings("probe")).expect("opens");
    let report = probe(&media, &random()).await.expect("reachable");
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.atomic_create && report.holds_objects() && report.list_after_write);
    assert!(is_empty(&media).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_live_their_whole_life() {
    let (media, random) = (media::open(&settings("life")).expect("opens"), random());
    let io = ObjectIo::new(media.clone(), IoSettings::default(), random.clone());
    // From a few bytes to several blocks of several batches, some packed and some spliced.
    let sizes: [&[usize]; 4] =
        [&[1], &[0, 10, 5000], &[100; 300], &[200_000, 300_000, 1_000_000, 3, 1 << 20]];
    let objects: Vec<_> = (0..12).map(|id| object(id, sizes[id as usize % 4], &random)).collect();
    let put = join_all(objects.iter().map(|o| io.put_new(o))).await;
    assert!(put.iter().all(|p| *p == Ok(PutOutcome::Created)), "{put:?}");
    assert_eq!(io.put_new(&objects[3]).await, Ok(PutOutcome::FoundOwn));
    let other = io.put_new(&object(3, &[1], &random)).await;
    assert!(matches!(&other, Err(IoError::Taken { what, .. }) if what.contains("Stamp")), "{other:?}");
    assert_eq!(io.list_data().await.expect("listed").objects.len(), 12);
    for object in &objects {
        let (id, sizes) = (object.stamp.id, sizes[object.stamp.id.0 as usize % 4]);
        let sum = |bytes: &Bytes| match crc32c::crc32c(bytes) {
            crc if crc == object.checksum => Ok(()),
            crc => Err(FormatError::Checksum { what: "the object", stored: object.checksum, computed: crc }),
        };
        io.get_verified(id, LINEAGE, 0..object.size, sum).await.expect("whole");
        let footer = io.footer(id, LINEAGE, object.size).await.expect("whole");
        for slice in &footer.slices {
            let ranges: Vec<_> = slice.blocks.iter().map(|b| b.here().expect("here").range()).collect();
            let found = io.get_ranges(id, LINEAGE, &ranges).await.expect("read");
            let read: Vec<_> = slice
                .blocks
                .iter()
                .zip(found)
                .flat_map(|(b, bytes)| decode_block(b, bytes).expect("whole"))
                .collect();
            assert_eq!(read, batches(slice.stream.0, sizes));
            assert_eq!(verify_chain(slice.chain_from, &read), slice.chain_to);
        }
        for past in [0..object.size + 1, object.size..object.size + 1] {
            let read = io.get(id, LINEAGE, past).await;
            assert!(matches!(read, Err(IoError::Damaged { .. })), "{read:?}");
        }
    }
    assert!(matches!(io.get(ObjectId(99), LINEAGE, 0..1).await, Err(IoError::NotFound { .. })));
    let ids: Vec<_> = (0..20).map(|id| (LINEAGE, ObjectId(id))).collect();
    assert!(io.delete(&ids).await.iter().all(|(_, r)| r.is_ok()));
    assert_eq!(io.list_data().await.expect("listed"), Listing::default());
    assert!(is_empty(&media).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_a_page_or_a_bulk_request_holds() {
    let (media, random) = (media::open(&settings("many")).expect("opens"), random());
    let io = ObjectIo::new(media.clone(), IoSettings::default(), random.clone());
    let objects: Vec<_> = (0..1_100).map(|id| object(id, &[1], &random)).collect();
    let put = join_all(objects.iter().map(|o| io.put_new(o))).await;
    assert!(put.iter().all(Result::is_ok));
    let listing = io.list_data().await.expect("listed");
    assert!(listing.objects.len() == 1_100 && listing.objects.is_sorted_by_key(|o| o.id));
    let ids: Vec<_> = (0..1_100).map(|id| (LINEAGE, ObjectId(id))).collect();
    assert!(io.delete(&ids).await.iter().all(|(_, r)| r.is_ok()));
    assert!(is_empty(&media).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_are_settled() {
    let random = random();
    let mut media = media::open(&settings("lost")).expect("opens");
    let (store, faults) = FaultStore::new(media.store.clone(), random.clone());
    media.store = Arc::new(store);
    let settings = IoSettings { attempt_timeout_ms: 2_000, ..IoSettings::default() };
    let io = ObjectIo::new(media.clone(), settings, random.clone());
    let table = [
        (Fault::Unavailable, PutOutcome::Created),
        (Fault::Conflict, PutOutcome::Created),
        (Fault::OwnConflict, PutOutcome::FoundOwn),
        (Fault::AnswerLost, PutOutcome::FoundOwn),
        (Fault::DoneAndHangs, PutOutcome::FoundOwn),
        (Fault::Hangs, PutOutcome::Created),
    ];
    for (id, (fault, outcome)) in (0..).zip(table) {
        faults.next(Op::Put, fault);
        let object = object(id, &[100, 5000], &random);
        assert_eq!(io.put_new(&object).await, Ok(outcome), "{fault:?}");
        io.footer(ObjectId(id), LINEAGE, object.size).await.expect("whole");
    }
    let ids: Vec<_> = (0..table.len() as u64).map(|id| (LINEAGE, ObjectId(id))).collect();
    faults.next(Op::Delete, Fault::AnswerLost);
    assert!(io.delete(&ids).await.iter().all(|(_, r)| r.is_ok()));
    assert!(is_empty(&media).await);
}

/// The library retries a create by itself when a connection breaks, and then reports its own write as a
/// conflict; here the conflict is real, and many writers of one key agree on the winner.
#[tokio::test(flavor = "multi_thread")]
async fn of_racing_writers_one_wins_and_the_others_are_told() {
    let (media, random) = (media::open(&settings("race")).expect("opens"), random());
    let io = ObjectIo::new(media.clone(), IoSettings::default(), random.clone());
    for id in 0..10 {
        let rivals: Vec<_> = (0..8).map(|_| object(id, &[50], &random)).collect();
        let put = join_all(rivals.iter().map(|o| io.put_new(o))).await;
        let winners: Vec<_> = (0..8).filter(|&i| put[i].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{put:?}");
        let footer = io.footer(ObjectId(id), LINEAGE, rivals[0].size).await.expect("whole");
        assert_eq!(footer.stamp, rivals[winners[0]].stamp);
        assert!(put.iter().all(|p| matches!(p, Ok(_) | Err(IoError::Taken { .. }))), "{put:?}");
    }
    let ids: Vec<_> = (0..10).map(|id| (LINEAGE, ObjectId(id))).collect();
    assert!(io.delete(&ids).await.iter().all(|(_, r)| r.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_first_starts_agree_on_one_cluster() {
    let media = media::open(&settings("cluster")).expect("opens");
    let io = ObjectIo::new(media.clone(), IoSettings::default(), random());
    let opened = join_all(["A", "B", "C", "D"].map(|name| io.open_or_create_cluster(None, name))).await;
    let opened: Vec<_> = opened.into_iter().map(|o| o.expect("settled")).collect();
    assert!(opened.iter().all(|o| o.file == opened[0].file), "{opened:?}");
    assert_eq!(opened.iter().filter(|o| o.created).count(), 1, "{opened:?}");
    assert!(io.open_or_create_cluster(Some("E"), "E").await.is_err());
    remove_cluster_file(&media, &io).await;
    assert!(is_empty(&media).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named_on_one_line() {
    let good = settings("wrong");
    let refused = |settings: MediaSettings| async move {
        let media = media::open(&settings).expect("opens");
        let error = probe(&media, &random()).await.expect_err("wrong");
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    };
    let no_bucket = MediaSettings { url: "s3://no-such-bucket-of-tidegate/x".into(), ..good.clone() };
    assert!(matches!(refused(no_bucket).await, ProbeError::NoBucket { .. }));
    let credentials = |id: &str, secret: &str| Credentials {
        access_key_id: id.into(),
        secret_access_key: secret.into(),
        session_token: None,
    };
    let id = variable("AWS_ACCESS_KEY_ID");
    for wrong in [credentials("nobody", "password"), credentials(&id, "not-the-secret")] {
        let error = refused(MediaSettings { credentials: Some(wrong), ..good.clone() }).await;
        assert!(matches!(error, ProbeError::BadCredentials { .. }), "{error}");
    }
    let nobody_there = MediaSettings { endpoint: Some("http://127.0.0.1:9".into()), ..good };
    let error = refused(nobody_there).await;
    assert!(matches!(error, ProbeError::Unreachable { setting: "storage.endpoint", .. }), "{error}");
}

/// What the product relies on and a server may change: a conflict is told from success, whatever the body.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_create_with_the_same_bytes_is_a_conflict() {
    let media = media::open(&settings("same")).expect("opens");
    let key = media.prefix.clone().join("key");
    let create = || {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        media.store.put_opts(&key, Bytes::from_static(b"same").into(), options)
    };
    create().await.expect("the first");
    assert!(matches!(create().await, Err(object_store::Error::AlreadyExists { .. })));
    media.store.delete(&key).await.expect("deleted");
    create().await.expect("after a delete");
    media.store.delete(&key).await.expect("deleted");
}
