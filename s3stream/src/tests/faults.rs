//! What goes wrong outside, one fault at a time.

use tidegate_common::{Offset, StreamId, WalId};

use super::model::{Model, Stream};
use super::{World, small};
use crate::io::fault::{Fault as StoreFault, Op};
use crate::storage::Settings;
use crate::stream::ReadError;
use crate::testing::Fault;

const ONE: StreamId = StreamId(1);

fn world() -> (World, Model) {
    let settings =
        Settings { compact_interval_ms: 1 << 40, gc_interval_ms: 500, upload_age_ms: 1 << 40, ..small() };
    let world = World::new(3, settings);
    world.quorum.create_stream(ONE);
    let mut model = Model::default();
    model.streams.insert(ONE, Stream::default());
    (world, model)
}

async fn upload(world: &World, model: &mut Model) {
    for _ in 0..10 {
        model.publish(world, ONE, 300, 1, true);
    }
    world.storage.flush().await.expect("running");
    model.read_all(world, ONE).await;
    model.check_state(world, ONE).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_made_once() {
    let (world, mut model) = world();
    for fault in [Fault::AnswerLost, Fault::Lost] {
        for name in ["prepare", "commit_upload", "trim_wal"] {
            let mut left = 2;
            world.quorum.set_faults(Some(Box::new(move |asked| {
                if asked == name && left > 0 {
                    left -= 1;
                    return fault;
                }
                Fault::None
            })));
            let before = world.quorum.counts().0;
            upload(&world, &mut model).await;
            assert_eq!(world.quorum.counts().0, before + 1, "{name} {fault:?}");
        }
    }
    world.sleep_ms(3_000).await;
    assert_eq!(world.quorum.trimmed(WalId(1)).0, 61);
    // Ids of lost answers expire, and are deleted as if they had been put.
    world.sleep_ms(200_000).await;
    assert_eq!(world.quorum.counts().3, 0);
    assert_eq!(world.data_keys().len(), world.quorum.counts().0);
}

#[tokio::test(start_paused = true)]
async fn ids_that_expired_during_an_outage_are_replaced() {
    let (world, mut model) = world();
    model.publish(&world, ONE, 300, 1, true);
    world.faults.outage(true);
    let storage = world.storage.clone();
    let flush = tokio::spawn(async move { storage.flush().await });
    world.sleep_ms(400_000).await;
    assert!(!flush.is_finished());
    world.faults.outage(false);
    flush.await.expect("no panic").expect("running");
    model.read_all(&world, ONE).await;
    model.check_state(&world, ONE).await;
    assert_eq!(world.watcher.damage.lock().len(), 0);
    world.sleep_ms(200_000).await;
    assert_eq!(world.data_keys().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_and_wrong_answers_of_the_store_change_nothing() {
    let (world, mut model) = world();
    for fault in [
        StoreFault::AnswerLost,
        StoreFault::OwnConflict,
        StoreFault::Conflict,
        StoreFault::Unavailable,
        StoreFault::Hangs,
        StoreFault::DoneAndHangs,
    ] {
        world.faults.next(Op::Put, fault);
        upload(&world, &mut model).await;
        world.storage.close_stream(ONE);
        for get in [StoreFault::Truncated, StoreFault::Corrupted, StoreFault::Unavailable, StoreFault::Hangs]
        {
            world.faults.next(Op::Get, get);
            model.read_all(&world, ONE).await;
        }
    }
    assert_eq!(world.watcher.damage.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_vanished_or_damaged_object_is_an_error_and_never_a_shorter_log() {
    let (world, mut model) = world();
    upload(&world, &mut model).await;
    upload(&world, &mut model).await;
    world.storage.close_stream(ONE);
    let keys = world.store.keys();
    let (first, _) = &keys[0];
    // Into a block of the first object.
    world.store.flip(first, 300);
    let end = model.streams[&ONE].end();
    let log = world.storage.open_stream(ONE);
    let error = log.read(Offset(0), end, 1 << 20, true).await.expect_err("damaged");
    assert!(matches!(&error, ReadError::Damaged { .. }), "{error}");
    assert_eq!(world.watcher.damage.lock().len(), 1);
    world.store.vanish(first);
    let error = log.read(Offset(0), end, 1 << 20, true).await.expect_err("gone");
    assert!(error.to_string().contains("does not exist"), "{error}");
    // What is not hurt is served.
    let middle = model.streams[&ONE].batches[10].head.base_offset();
    assert_eq!(log.read(middle, end, 1 << 20, true).await.expect("whole").len(), 10);
}

#[tokio::test(start_paused = true)]
async fn keys_that_fail_to_be_deleted_are_deleted_later() {
    let (world, mut model) = world();
    upload(&world, &mut model).await;
    upload(&world, &mut model).await;
    world.quorum.advance_log_start(ONE, model.streams[&ONE].end());
    world.faults.rate(Op::Delete, StoreFault::Unavailable, 500);
    world.quorum.set_faults(Some(Box::new({
        let mut n = 0;
        move |name| {
            n += 1;
            if name == "confirm_deleted" && n % 2 == 0 { Fault::AnswerLost } else { Fault::None }
        }
    })));
    // No compaction runs here: the dead set objects are retired by hand.
    let mut compactor = crate::compact::Compactor::default();
    while compactor.step(world.storage.core()).await {}
    world.sleep_ms(400_000).await;
    assert_eq!(world.data_keys(), Vec::<String>::new());
}
