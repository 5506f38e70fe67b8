//! Random sequences of everything, with faults, against the model.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::path::Path;
use tidegate_common::{Offset, StreamId};
use tokio::runtime::RngSeed;

use super::model::{Model, Stream};
use super::{GRACE_MS, World, small};
use crate::io::fault::{Fault as StoreFault, Op};
use crate::storage::{Settings, StorageError};
use crate::testing::Fault;

const STREAMS: u64 = 6;
const STEPS: u64 = 220;

/// Seeds from 0; `TIDEGATE_SEEDS` runs more of them.
fn seeds() -> u64 {
    std::env::var("TIDEGATE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(16)
}

#[test]
fn whatever_happens_reads_equal_the_model_and_nothing_leaks() {
    let mut compacted = BTreeMap::new();
    for seed in 0..seeds() {
        // Shown when it fails.
        println!("seed {seed}");
        for (kind, n) in simulate(seed).compacted {
            *compacted.entry(kind).or_insert(0) += n;
        }
    }
    // The sequences went through everything.
    for kind in ["retire", "list", "merge objects", "split", "merge sets"] {
        assert!(compacted.get(kind).is_some_and(|n| *n > 0), "no {kind} in {compacted:?}");
    }
}

#[test]
fn one_seed_twice_gives_the_same_requests_and_bytes() {
    for seed in [2, 3] {
        let (one, two) = (simulate(seed), simulate(seed));
        assert_eq!((&one.calls, &one.compacted), (&two.calls, &two.compacted), "seed {seed}");
        assert!(one.objects == two.objects, "seed {seed}: other bytes");
    }
}

/// What a run did.
struct Done {
    compacted: BTreeMap<&'static str, u64>,
    /// Every object in the bucket before all was deleted.
    objects: Vec<(String, Bytes)>,
    calls: Vec<u64>,
}

fn simulate(seed: u64) -> Done {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Tokio's watch channels spread their receivers at random, and so wake them in a random order.
    runtime.rng_seed(RngSeed::from_bytes(&seed.to_be_bytes()));
    runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(run(seed))
}

async fn run(seed: u64) -> Done {
    let mut world = World::new(seed, settings(seed));
    let random = world.random.clone();
    let mut model = Model::default();
    let mut next_stream = 1;
    let mut epoch = 1;
    trouble(&world, true);
    for step in 0..STEPS {
        let ids: Vec<StreamId> = model.streams.keys().copied().collect();
        let some = |bound: usize| ids.get(random.below(bound as u64) as usize).copied();
        match random.below(100) {
            0..=2 if (ids.len() as u64) < STREAMS || ids.is_empty() => {
                world.quorum.create_stream(StreamId(next_stream));
                model.streams.insert(StreamId(next_stream), Stream::default());
                next_stream += 1;
            }
            0..=44 => {
                for _ in 0..random.below(12) {
                    // A few streams get most of it.
                    let at =
                        random.below(ids.len() as u64 + 1).min(random.below(ids.len() as u64 + 1)) as usize;
                    let Some(id) = ids.get(at).copied() else { continue };
                    let bytes = [10, 200, 1_500, 6_000][random.below(4) as usize];
                    model.publish(&world, id, bytes, epoch, random.below(6) > 0);
                }
            }
            45..=64 => {
                if let Some(id) = some(ids.len()) {
                    model.read_somewhere(&world, id).await;
                }
            }
            65..=78 => world.sleep_ms(random.below(4_000)).await,
            79..=82 => {
                if let Some(id) = some(ids.len()) {
                    model.check_state(&world, id).await;
                    model.check_times(&world, id).await;
                    model.check_extents(&world, id).await;
                }
            }
            83..=86 => {
                if let Some(id) = some(ids.len()) {
                    advance_log_start(&world, &mut model, id);
                }
            }
            87 => {
                if let Some(id) = some(ids.len()) {
                    world.quorum.delete_stream(id);
                    model.streams.remove(&id);
                    world.storage.close_stream(id);
                }
            }
            88..=90 => {
                if let Some(id) = some(ids.len()) {
                    world.storage.close_stream(id);
                }
            }
            91..=93 => {
                let flushed =
                    tokio::time::timeout(std::time::Duration::from_secs(30), world.storage.flush()).await;
                assert!(!matches!(flushed, Ok(Err(StorageError::Fenced | StorageError::Closed))));
            }
            94..=96 => {
                world.restart();
                epoch += 1;
            }
            97 => {
                world.faults.outage(true);
                world.sleep_ms(random.below(20_000)).await;
                world.faults.outage(false);
            }
            _ => trouble(&world, step % 2 == 0),
        }
    }
    trouble(&world, false);
    let objects = end(&mut world, &mut model, seed).await;
    let compacted = world.watcher.compacted.lock().clone();
    let calls = [Op::Put, Op::Get, Op::Delete].map(|op| world.faults.calls(op)).to_vec();
    Done { compacted, objects, calls }
}

/// All reads well, all goes to the bucket, and all of it goes away.
async fn end(world: &mut World, model: &mut Model, seed: u64) -> Vec<(String, Bytes)> {
    for round in 0..3 {
        for id in model.streams.keys() {
            model.read_all(world, *id).await;
            model.check_state(world, *id).await;
            model.check_times(world, *id).await;
        }
        match round {
            0 => world.storage.flush().await.expect("running"),
            1 => drop(world.restart()),
            _ => world.sleep_ms(30_000).await,
        }
    }
    assert_eq!(*world.watcher.damage.lock(), Vec::<String>::new(), "seed {seed}");
    let keys = world.store.keys();
    let bytes = |key: &Path| world.store.bytes(key).unwrap_or_default();
    let objects = keys.iter().map(|(key, _)| (key.to_string(), bytes(key))).collect();
    for (id, stream) in std::mem::take(&mut model.streams) {
        let row = world.quorum.stream(id).expect("there");
        assert_eq!(row.committed_end, stream.end().max(stream.log_start), "seed {seed}");
        world.quorum.delete_stream(id);
        world.storage.close_stream(id);
    }
    world.storage.flush().await.expect("running");
    // Prepared ids expire first.
    world.sleep_ms(world.settings.prepared_ttl_ms + 3 * GRACE_MS + 60_000).await;
    assert_eq!(world.quorum.counts(), (0, 0, 0, 0, 0), "seed {seed}");
    assert_eq!(world.data_keys(), Vec::<String>::new(), "seed {seed}");
    let budget = world.storage.budget().usage();
    assert!(budget.iter().all(|u| u.waiting == 0), "seed {seed}: {budget:?}");
    assert!(world.storage.budget().used(crate::budget::Share::Uploads) == 0, "seed {seed}");
    assert!(world.storage.budget().used(crate::budget::Share::LogCache) == 0, "seed {seed}: {budget:?}");
    objects
}

fn settings(seed: u64) -> Settings {
    let small = small();
    match seed % 4 {
        0 => small,
        // Splits what is small, and has to merge it again.
        1 => Settings {
            split_bytes: 60 << 10,
            compact_age_ms: 1,
            set_objects_max: 0,
            compact_interval_ms: 100,
            upload_age_ms: 700,
            ..small
        },
        // Splits early: many stream objects.
        2 => Settings { split_bytes: 1_500, leaf_objects: 9, upload_age_ms: 700, ..small },
        // Tiny caches.
        _ => Settings {
            log_cache_bytes: 6 << 10,
            block_cache_bytes: 3 << 10,
            loads_bytes: 2 << 10,
            set_objects_max: 1,
            rounds_in_memory: 3,
            ..small
        },
    }
}

fn advance_log_start(world: &World, model: &mut Model, id: StreamId) {
    let stream = model.streams.get_mut(&id).expect("there");
    let room = (stream.end().0 - stream.log_start.0) as u64;
    let to = Offset(stream.log_start.0 + world.random.below(room + 1) as i64);
    // Like the quorum, which knows nothing above what it was told: batches are published before they are deleted.
    let committed = world.quorum.stream(id).expect("there").committed_end;
    stream.jumped |= to >= committed && to > Offset::ZERO;
    stream.log_start = to;
    world.quorum.advance_log_start(id, to);
}

fn trouble(world: &World, on: bool) {
    world.faults.clear();
    world.quorum.set_faults(None);
    if !on {
        return;
    }
    for (op, fault, per_mille) in [
        (Op::Put, StoreFault::Unavailable, 60),
        (Op::Put, StoreFault::AnswerLost, 40),
        (Op::Put, StoreFault::OwnConflict, 20),
        (Op::Put, StoreFault::Conflict, 20),
        (Op::Put, StoreFault::DoneAndHangs, 5),
        (Op::Put, StoreFault::Slow { ms: 700 }, 40),
        (Op::Get, StoreFault::Unavailable, 40),
        (Op::Get, StoreFault::Slow { ms: 300 }, 40),
        (Op::Delete, StoreFault::Unavailable, 200),
        (Op::Delete, StoreFault::AnswerLost, 100),
    ] {
        world.faults.rate(op, fault, per_mille);
    }
    let random = world.random.clone();
    world.quorum.set_faults(Some(Box::new(move |_| match random.below(100) {
        0..=5 => Fault::Lost,
        6..=11 => Fault::AnswerLost,
        _ => Fault::None,
    })));
}
