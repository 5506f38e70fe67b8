//! The simulated broker process: composes the real parts over simulated seams, as `runtime.rs` does over real ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tidegate_broker::api::Surface;
use tidegate_broker::broker::Broker;
use tidegate_broker::config::{self, Config, Machine, Sources};
use tidegate_broker::metrics::Metrics;
use tidegate_broker::net::connection::{self, Client, Limits};
use tidegate_broker::observe::Observed;
use tidegate_broker::start::{Seams, run_loops, start};
use tidegate_common::clock::SharedClock;
use tidegate_common::random::{SeededRandom, SharedRandom};
use tidegate_metadata::command::InitCluster;
use tidegate_metadata::rows::Endpoint;
use tidegate_metadata::{Blocking, Metadata, Options, Timing, Wiring};
use tidegate_s3stream::io::{IoSettings, Media, ObjectIo};
use tidegate_s3stream::storage::Settings as StorageSettings;
use tidegate_wal::file::{Driver, FileMedium, FileOptions};
use tokio::sync::watch;
use turmoil::net::TcpListener;

use super::world::World;
use super::{BROKER, PORT};

/// One life of the process. It never returns an error to the simulator: an end of its own is the world's to know.
pub async fn host(world: Arc<World>) -> turmoil::Result {
    let life = world.life();
    match live(&world).await {
        Ok(why) => world.ended(life, &why),
        Err(error) => world.ended(life, &format!("start failed: {error}")),
    }
    std::future::pending().await
}

/// Composes and starts a broker over the world's seams.
///
/// # Errors
/// Why it could not start.
///
/// Boxed, so that the product's code is compiled here once and not in every test that awaits it.
pub fn compose(world: &Arc<World>) -> BoxFuture<'_, anyhow::Result<Arc<Broker>>> {
    Box::pin(composed(world))
}

async fn composed(world: &Arc<World>) -> anyhow::Result<Arc<Broker>> {
    let life = world.life();
    let clock = Arc::clone(&world.clock) as SharedClock;
    let random: SharedRandom = Arc::new(SeededRandom::new(world.seed ^ (life << 32)));
    let media = Media::of(Arc::clone(&world.store), "sim");
    tidegate_s3stream::io::probe::probe(&media, &random).await?;
    let io = ObjectIo::new(media, io_settings(), Arc::clone(&random));
    let (disk, sizes) = (world.disk(), &world.sizes);
    let cluster_id = uuid::Uuid::from_u128(u128::from(world.seed) + 1);
    io.open_or_create_cluster(None, &cluster_id.to_string()).await?;
    let fold = Arc::clone(&world.fold);
    let disk_for_fold = disk.clone();
    let wiring = Wiring {
        segment_bytes: sizes.raft_segment,
        align_bytes: sizes.align,
        record_bytes_max: (sizes.raft_segment / 4) as usize,
        watch: Some(Arc::new(move |applied| fold.applied(applied, &disk_for_fold))),
        ..Wiring::default()
    };
    let options = Options {
        node: 1,
        voters: BTreeMap::from([(1, String::new())]),
        disk: Arc::new(disk.clone()),
        dir: "raft".into(),
        blocking: Blocking::Inline,
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        timing: Timing { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300, tick_ms: 500 },
        snapshot_entries: sizes.snapshot_entries,
    };
    let metadata = Metadata::open_wired(options, wiring).await?;
    let metrics = Metrics::new();
    let options = FileOptions {
        bytes_max: sizes.wal_bytes,
        segment_bytes: sizes.wal_segment,
        align_bytes: sizes.align,
        in_flight_bytes_max: sizes.in_flight,
        record_bytes_max: sizes.record,
        driver: Driver::Task { sync_latency: Duration::from_micros(sizes.sync_us) },
        ..FileOptions::default()
    };
    let seams = Seams {
        config: Arc::new(test_config()?),
        clock,
        random,
        metadata,
        io,
        medium: Arc::new(FileMedium::new(Arc::new(disk), "wal", options)),
        loggers: Arc::default(),
        observer: Arc::new(Observed::new(metrics.clone())),
        metrics,
        storage_settings: storage_settings(world),
        prepared_grace_ms: 2 * io_settings().put_budget_ms + io_settings().attempt_timeout_ms,
        cluster: InitCluster {
            cluster_id,
            bucket: "sim".into(),
            prefix: "sim".into(),
            features: BTreeMap::new(),
        },
        endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: BROKER.into(), port: PORT }],
        newest_wal: world.newest_wal(),
        progress: Arc::new(|_, _, _| {}),
    };
    let marks = Arc::clone(world);
    let mut mark = move |wal| {
        marks.mark_wal(wal);
        Ok(())
    };
    Ok(start(seams, &mut mark).await?)
}

async fn live(world: &Arc<World>) -> anyhow::Result<String> {
    let broker = compose(world).await?;
    world.serves(&broker);
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let stop = watch::Sender::new(false);
    tokio::spawn(accept(listener, Arc::clone(&broker), stop.subscribe()));
    let why = run_loops(Arc::clone(&broker)).await;
    broker.releaser.die();
    broker.storage.shutdown(Duration::from_millis(500)).await;
    drop(stop);
    Ok(why)
}

async fn accept(listener: TcpListener, broker: Arc<Broker>, stop: watch::Receiver<bool>) {
    let limits = Limits {
        request_bytes_max: 4 << 20,
        in_flight_requests_max: 16,
        in_flight_bytes_max: 1 << 20,
        idle: Duration::from_secs(120),
    };
    while let Ok((stream, peer)) = listener.accept().await {
        let (read, write) = stream.into_split();
        let client = Client { listener: "PLAINTEXT".into(), host: peer.ip() };
        let surface = Surface { broker: Arc::clone(&broker), client };
        let stop = stop.clone();
        tokio::spawn(async move {
            let end = connection::serve(read, write, surface, limits, stop).await;
            tracing::debug!(%peer, "connection ended: {end}");
        });
    }
}

fn test_config() -> anyhow::Result<Config> {
    let sets = [
        "num.partitions=3",
        "message.max.bytes=49152",
        "storage.object.delete.grace.ms=2000",
        "log.retention.check.interval.ms=5000",
    ];
    let sources = Sources {
        file: None,
        environment: Vec::new(),
        sets: sets.iter().map(ToString::to_string).collect(),
        machine: Machine { hostname: BROKER.into(), memory_bytes: 1 << 30 },
    };
    Ok(config::load(&sources).map_err(|e| anyhow::anyhow!("{e}"))?.config)
}

fn io_settings() -> IoSettings {
    IoSettings {
        attempt_timeout_ms: 1_500,
        put_budget_ms: 6_000,
        get_budget_ms: 6_000,
        ..IoSettings::default()
    }
}

/// Tiny sizes, so that rounds, splits, merges and deletions happen within seconds.
fn storage_settings(world: &World) -> StorageSettings {
    let sizes = &world.sizes;
    StorageSettings {
        upload_bytes: sizes.upload_bytes,
        upload_age_ms: sizes.upload_age_ms,
        split_bytes: sizes.split_bytes,
        set_objects_max: sizes.set_objects,
        compact_age_ms: 3_000,
        compact_bytes: 256 << 10,
        compact_interval_ms: 500,
        gc_interval_ms: 500,
        leaf_objects: sizes.leaf_objects,
        block_bytes: 2 << 10,
        memory_bytes: sizes.memory,
        log_cache_bytes: sizes.log_cache,
        block_cache_bytes: 1 << 20,
        prepared_ttl_ms: 5_000,
        retry_ms_max: 500,
        replay_bytes_max: 16 << 10,
        replay_slices_max: 6,
        deterministic_cache: true,
        ..StorageSettings::default()
    }
}
