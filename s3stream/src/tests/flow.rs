//! One path at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_common::{Offset, StreamId, WalId};

use super::model::{Model, Stream};
use super::{World, batch, small};
use crate::budget::Share;
use crate::io::fault::Op;
use crate::storage::{Settings, StorageError};
use crate::stream::ReadError;

const ONE: StreamId = StreamId(1);

fn world(settings: Settings, streams: u64) -> (World, Model) {
    let world = World::new(7, settings);
    let mut model = Model::default();
    for id in 1..=streams {
        world.quorum.create_stream(StreamId(id));
        model.streams.insert(StreamId(id), Stream::default());
    }
    (world, model)
}

/// As `small`, with nothing going on but what the test asks for.
fn quiet() -> Settings {
    Settings { compact_interval_ms: 1 << 40, gc_interval_ms: 1 << 40, upload_age_ms: 1 << 40, ..small() }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_read_from_memory_and_after_a_flush_from_objects() {
    let (world, mut model) = world(quiet(), 2);
    for n in 0..40 {
        model.publish(&world, StreamId(1 + n % 2), 300, 1, true);
    }
    let log = world.storage.open_stream(ONE);
    assert!(log.read_cached(Offset(0), model.streams[&ONE].end(), 1 << 20, false).is_some());
    assert_eq!(world.data_keys().len(), 0);
    assert!(world.storage.backlog().bytes > 0);
    world.storage.flush().await.expect("running");
    assert_eq!(world.storage.backlog().bytes, 0);
    assert_eq!(world.data_keys().len(), 1, "one set object");
    world.sleep_ms(10).await;
    assert_eq!(world.quorum.trimmed(WalId(1)).0, 41);
    // Still hot, though uploaded.
    assert!(log.read_cached(Offset(0), model.streams[&ONE].end(), 1 << 20, false).is_some());
    world.storage.close_stream(ONE);
    assert!(world.storage.open_stream(ONE).read_cached(Offset(0), Offset(1), 1, true).is_none());
    model.read_all(&world, ONE).await;
    assert_eq!(world.watcher.damage.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_round_starts_by_size_and_by_age() {
    let settings = Settings { upload_age_ms: 3_000, ..quiet() };
    let (world, mut model) = world(settings, 1);
    model.publish(&world, ONE, 300, 1, true);
    world.sleep_ms(2_900).await;
    assert_eq!(world.data_keys().len(), 0);
    world.sleep_ms(300).await;
    assert_eq!(world.data_keys().len(), 1, "by age");
    for _ in 0..40 {
        model.publish(&world, ONE, 1_000, 1, true);
    }
    world.sleep_ms(200).await;
    assert!(world.data_keys().len() > 1, "by size");
}

#[tokio::test(start_paused = true)]
async fn a_large_stream_gets_an_object_of_its_own_and_small_ones_share_one() {
    let (world, mut model) = world(Settings { log_cache_bytes: 1 << 20, ..quiet() }, 5);
    for _ in 0..20 {
        model.publish(&world, ONE, 1_000, 1, true);
    }
    for id in 2..=5 {
        model.publish(&world, StreamId(id), 100, 1, true);
    }
    world.storage.flush().await.expect("running");
    let (sets, own, ..) = world.quorum.counts();
    assert_eq!((sets, own), (1, 1));
    let row = world.quorum.stream(ONE).expect("there");
    assert_eq!(row.so_end, row.committed_end);
    // With a slice in a set object the next goes there too, however large.
    model.publish(&world, ONE, 100, 1, true);
    world.storage.flush().await.expect("running");
    for _ in 0..20 {
        model.publish(&world, ONE, 1_000, 1, true);
    }
    world.storage.flush().await.expect("running");
    assert_eq!(world.quorum.counts().1, 1);
    for id in 1..=5 {
        model.read_all(&world, StreamId(id)).await;
        model.check_state(&world, StreamId(id)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_down_for_two_minutes_is_a_backlog_and_nothing_else() {
    let settings = Settings { upload_age_ms: 1_000, ..quiet() };
    let (world, mut model) = world(settings, 3);
    world.faults.outage(true);
    for n in 0..240 {
        for id in 1..=3 {
            model.publish(&world, StreamId(id), 900, 1, true);
        }
        world.sleep_ms(500).await;
        if n % 40 == 0 {
            // Tail and older records alike: from memory, or from the WAL.
            model.read_all(&world, StreamId(1 + n % 3)).await;
        }
    }
    let backlog = world.storage.backlog();
    assert!(
        backlog.bytes > 600_000 && backlog.rounds_failed > 0 && backlog.oldest_age_ms > 100_000,
        "{backlog:?}"
    );
    assert!(world.storage.budget().used(Share::LogCache) < 1 << 20, "bodies were dropped");
    world.faults.outage(false);
    world.sleep_ms(60_000).await;
    assert_eq!(world.storage.backlog().bytes, 0);
    for id in 1..=3 {
        model.read_all(&world, StreamId(id)).await;
        model.check_state(&world, StreamId(id)).await;
    }
    assert_eq!(world.watcher.damage.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_adopts_the_sealed_wal_uploads_it_and_deletes_it() {
    let (mut world, mut model) = world(quiet(), 2);
    for n in 0..30 {
        model.publish(&world, StreamId(1 + n % 2), 500, 1, n % 3 > 0);
        if n == 10 {
            world.storage.flush().await.expect("running");
        }
    }
    let adopted = world.restart();
    assert_eq!(adopted.len(), 1);
    for id in [ONE, StreamId(2)] {
        let of_stream = &adopted[0].streams[&id];
        assert_eq!(of_stream.end, model.streams[&id].end());
        assert!(of_stream.heads.len() < 12, "only what is not committed");
        model.read_all(&world, id).await;
        model.publish(&world, id, 200, 2, true);
    }
    world.storage.flush().await.expect("running");
    assert!(world.quorum.wal_is_deleted(WalId(1)));
    assert_eq!(world.medium.ids(), [WalId(2)]);
    for id in [ONE, StreamId(2)] {
        model.read_all(&world, id).await;
        model.check_state(&world, id).await;
    }
    // An empty one goes as well.
    world.restart();
    world.sleep_ms(2_000).await;
    world.restart();
    world.sleep_ms(2_000).await;
    assert_eq!(world.medium.ids(), [WalId(4)]);
}

#[tokio::test(start_paused = true)]
async fn a_sealed_wal_that_lacks_records_is_refused() {
    let (world, _) = world(quiet(), 1);
    world.append(ONE, &batch(5, 1, 10, 0, 1));
    let sealed = world.medium.seal_now(WalId(1));
    let error = world.storage.adopt(sealed).expect_err("offsets 0 to 4 are nowhere");
    assert!(error.to_string().contains("goes on at 5, but 0 is missing"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_incarnation_stops_for_good() {
    let (world, mut model) = world(quiet(), 1);
    model.publish(&world, ONE, 100, 1, true);
    world.quorum.fence(tidegate_common::Incarnation(1));
    assert_eq!(world.storage.flush().await, Err(StorageError::Fenced));
    assert!(world.watcher.fenced.load(Ordering::Relaxed));
    let puts = world.faults.calls(Op::Put);
    world.sleep_ms(60_000).await;
    assert_eq!(world.faults.calls(Op::Put), puts, "no more PUTs");
    assert_eq!(world.quorum.trimmed(WalId(1)).0, 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_uploads_what_it_can_in_the_time_it_has() {
    let (world, mut model) = world(quiet(), 1);
    model.publish(&world, ONE, 100, 1, true);
    world.storage.shutdown(Duration::from_secs(5)).await;
    assert_eq!(world.storage.backlog().bytes, 0);
    let (world, mut model) = self::world(quiet(), 1);
    world.faults.outage(true);
    model.publish(&world, ONE, 100, 1, true);
    world.storage.shutdown(Duration::from_secs(5)).await;
    assert!(world.storage.backlog().bytes > 0);
    assert_eq!(world.storage.flush().await, Err(StorageError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_log_start_above_what_is_committed_drops_records_and_goes_on() {
    let (world, mut model) = world(quiet(), 1);
    for _ in 0..10 {
        model.publish(&world, ONE, 100, 1, true);
    }
    world.storage.flush().await.expect("running");
    for _ in 0..10 {
        model.publish(&world, ONE, 100, 1, true);
    }
    // Into the middle of a batch that is not committed.
    let stream = model.streams.get_mut(&ONE).expect("there");
    let wide =
        stream.batches[12..].iter().find(|b| b.head.last_offset_delta() > 0).expect("one of several records");
    stream.log_start = wide.head.base_offset().plus(1);
    world.quorum.advance_log_start(ONE, stream.log_start);
    model.publish(&world, ONE, 100, 1, true);
    world.storage.flush().await.expect("running");
    world.storage.close_stream(ONE);
    model.read_all(&world, ONE).await;
    // In one process the chain goes on over what was dropped.
    model.check_state(&world, ONE).await;
    let below = world.storage.open_stream(ONE).read(Offset(0), Offset(1), 1, true).await;
    assert!(matches!(below, Err(ReadError::BelowLogStart { .. })), "{below:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_neither_blocks_trim_nor_leaves_objects() {
    let (world, mut model) = world(Settings { gc_interval_ms: 500, compact_interval_ms: 500, ..quiet() }, 2);
    for n in 0..60 {
        model.publish(&world, StreamId(1 + n % 2), 1_000, 1, true);
    }
    world.storage.flush().await.expect("running");
    model.publish(&world, ONE, 100, 1, true);
    world.quorum.delete_stream(ONE);
    world.storage.close_stream(ONE);
    assert!(matches!(
        world.storage.open_stream(ONE).read(Offset(0), Offset(1), 1, true).await,
        Err(ReadError::UnknownStream(ONE))
    ));
    world.storage.flush().await.expect("running");
    world.sleep_ms(10).await;
    assert_eq!(world.quorum.trimmed(WalId(1)).0, 62);
    model.read_all(&world, StreamId(2)).await;
    world.quorum.delete_stream(StreamId(2));
    world.storage.close_stream(StreamId(2));
    world.sleep_ms(super::GRACE_MS * 3).await;
    assert_eq!(world.data_keys(), Vec::<String>::new());
    assert_eq!(world.quorum.counts(), (0, 0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_partition_ends_in_leaves_and_all_of_it_is_deleted_with_its_topic() {
    let settings = Settings {
        compact_interval_ms: 200,
        gc_interval_ms: 500,
        split_bytes: 600,
        upload_age_ms: 500,
        leaf_objects: 9,
        ..quiet()
    };
    let (mut world, mut model) = world(settings, 1);
    for n in 0..80 {
        model.publish(&world, ONE, 700, n / 10, true);
        world.sleep_ms(600).await;
    }
    world.storage.flush().await.expect("running");
    world.sleep_ms(5_000).await;
    let (.., leaves, _, _) = world.quorum.counts();
    assert!(leaves >= 2, "{leaves} leaves, {:?}", world.watcher.compacted.lock());
    world.restart();
    model.read_all(&world, ONE).await;
    model.check_state(&world, ONE).await;
    model.check_times(&world, ONE).await;
    model.check_extents(&world, ONE).await;
    // Below the first leaf all goes, its listed objects too.
    let before = world.data_keys().len();
    let stream = model.streams.get_mut(&ONE).expect("there");
    stream.log_start = stream.batches[40].head.base_offset();
    world.quorum.advance_log_start(ONE, stream.log_start);
    world.sleep_ms(super::GRACE_MS * 3).await;
    assert!(world.data_keys().len() <= before - 20, "{} of {before}", world.data_keys().len());
    model.read_all(&world, ONE).await;
    world.quorum.delete_stream(ONE);
    world.sleep_ms(super::GRACE_MS * 3).await;
    assert_eq!(world.data_keys(), Vec::<String>::new());
    assert_eq!(world.watcher.damage.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn state_loads_in_single_flight_and_reads_few_footers() {
    let settings = Settings { footer_cache_bytes: 64 << 20, ..quiet() };
    let (mut world, mut model) = world(settings, 1);
    for n in 0..60 {
        model.publish(&world, ONE, 100, n / 30, true);
        world.storage.flush().await.expect("running");
    }
    world.restart();
    let before = world.faults.calls(Op::Get);
    let log = world.storage.open_stream(ONE);
    let loads = futures::future::join_all((0..8).map(|_| log.load_state())).await;
    assert!(loads.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(world.faults.calls(Op::Get) - before, 60, "one footer per live set object, once");
    model.check_state(&world, ONE).await;
    // A base comes before more than `replay_slices_max` slices would have to be replayed.
    let core = world.storage.core();
    let (mut bases, mut since) = (0, 0);
    for set in core.directory.sets(&*core.objects, &core.reader).await.expect("readable").iter() {
        let footer = core.reader.footer(set.object).await.expect("readable");
        let is_base = footer.slice(ONE).expect("its only stream").producers.base;
        bases += u32::from(is_base);
        since = if is_base { 0 } else { since + 1 };
        assert!(since < world.settings.replay_slices_max, "{since} slices after the last base");
    }
    assert!((10..30).contains(&bases), "{bases} bases in 60 slices");
}

#[tokio::test(start_paused = true)]
async fn a_sequential_reader_is_read_ahead_of_and_neighbours_share_a_get() {
    let settings = Settings {
        block_cache_bytes: 1 << 20,
        read_ahead_bytes_max: 64 << 10,
        loads_bytes: 1 << 20,
        get_bytes_max: 32 << 10,
        log_cache_bytes: 1 << 20,
        upload_bytes: 1 << 20,
        memory_bytes: 32 << 20,
        ..quiet()
    };
    let (world, mut model) = world(settings, 1);
    for _ in 0..200 {
        model.publish(&world, ONE, 900, 1, true);
    }
    world.storage.flush().await.expect("running");
    world.storage.close_stream(ONE);
    let before = world.faults.calls(Op::Get);
    model.read_all(&world, ONE).await;
    world.sleep_ms(1_000).await;
    let gets = world.faults.calls(Op::Get) - before;
    // 200 KiB in blocks of 2 KiB.
    assert!(gets < 40, "{gets} GETs");
    let again = world.faults.calls(Op::Get);
    model.read_all(&world, ONE).await;
    assert_eq!(world.faults.calls(Op::Get), again, "a second reader costs nothing");
    assert!(world.storage.block_cache_bytes() > 180 << 10);
    assert!(world.storage.budget().used(Share::BlockCache) >= 180 << 10);
}

#[tokio::test(start_paused = true)]
async fn a_fast_partition_is_put_at_most_twice_and_a_slow_one_is_kept_in_few_objects() {
    let settings = Settings {
        compact_interval_ms: 500,
        upload_age_ms: 1_000,
        upload_bytes: 64 << 10,
        log_cache_bytes: 256 << 10,
        // 16 KiB in 8 s: 2 KiB/s is fast.
        split_bytes: 16 << 10,
        compact_age_ms: 8_000,
        set_objects_max: 12,
        compact_bytes: 128 << 10,
        ..quiet()
    };
    let (world, mut model) = world(settings, 4);
    for n in 0..900 {
        // 4 KiB/s each.
        for id in [1, 2, 3] {
            model.publish(&world, StreamId(id), 800, 1, true);
        }
        if n % 20 == 0 {
            model.publish(&world, StreamId(4), 20, 1, true);
        }
        world.sleep_ms(200).await;
        let (sets, ..) = world.quorum.counts();
        assert!(sets <= 24, "{sets} live set objects");
    }
    world.storage.flush().await.expect("running");
    // A batch is put once by its upload; what the slow stream adds is next to nothing.
    let ingested: usize = model.streams.values().flat_map(|s| &s.batches).map(|b| b.len()).sum();
    let again = world.watcher.compacted_bytes.load(Ordering::Relaxed) as f64 / ingested as f64;
    let compacted = world.watcher.compacted.lock().clone();
    assert!(again < 1.01, "each byte is written {again:.3} times more, {compacted:?}");
    assert!(compacted["split"] > 10 && compacted["merge sets"] > 0, "{compacted:?}");
    for id in 1..=4 {
        model.read_all(&world, StreamId(id)).await;
        model.check_state(&world, StreamId(id)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_production_block_cache_serves_the_same_reads() {
    let (world, mut model) = world(Settings { deterministic_cache: false, ..quiet() }, 2);
    for n in 0..200 {
        model.publish(&world, StreamId(1 + n % 2), 700, 1, true);
    }
    world.storage.flush().await.expect("running");
    for _ in 0..3 {
        for id in 1..=2 {
            model.read_all(&world, StreamId(id)).await;
            model.check_times(&world, StreamId(id)).await;
        }
    }
}
