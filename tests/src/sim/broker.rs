//! The simulated broker process: composes the real parts over simulated seams, as `runtime.rs` does over real ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_broker::api::Surface;
use tidegate_broker::broker::Broker;
use tidegate_broker::config::{self, Config, Machine, Sources};
use tidegate_broker::metrics::Metrics;
use tidegate_broker::net::connection::{self, Client, Limits};
use tidegate_broker::observe::Observed;
use tidegate_broker::start::{Seams, run_loops, start};
use tidegate_common::WalId;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::{SeededRandom, SharedRandom};
use tidegate_metadata::command::InitCluster;
use tidegate_metadata::rows::Endpoint;
use tidegate_metadata::{Blocking, Metadata, Options, Timing};
use tidegate_s3stream::io::{IoSettings, Media, ObjectIo};
use tidegate_s3stream::storage::Settings as StorageSettings;
use tidegate_wal::file::{Driver, FileMedium, FileOptions};
use tokio::sync::watch;
use turmoil::net::TcpListener;

use super::world::World;
use super::{BROKER, PORT};

/// One life of the process. It never returns an error to the simulator: an end of its own is the world's to know.
pub async fn host(world: Arc<World>) -> turmoil::Result {
    match live(&world).await {
        Ok(why) => world.ended(&why),
        Err(error) => world.ended(&format!("start failed: {error}")),
    }
    std::future::pending().await
}

/// Composes and starts a broker over the world's seams.
///
/// # Errors
/// Why it could not start.
pub async fn compose(world: &Arc<World>) -> anyhow::Result<Arc<Broker>> {
    let life = world.life();
    let clock = Arc::clone(&world.clock) as SharedClock;
    let random: SharedRandom = Arc::new(SeededRandom::new(world.seed ^ (life << 32)));
    let io = ObjectIo::new(Media::of(Arc::clone(&world.store), "sim"), io_settings(), Arc::clone(&random));
    let cluster_id = uuid::Uuid::from_u128(u128::from(world.seed) + 1);
    io.open_or_create_cluster(None, &cluster_id.to_string()).await?;
    let metadata = Metadata::open(Options {
        node: 1,
        voters: BTreeMap::from([(1, String::new())]),
        disk: Arc::new(world.disk.clone()),
        dir: "raft".into(),
        blocking: Blocking::Inline,
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        timing: Timing { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300, tick_ms: 500 },
        snapshot_entries: 50,
    })
    .await?;
    let metrics = Metrics::new();
    let options = FileOptions {
        bytes_max: 8 << 20,
        segment_bytes: 512 << 10,
        driver: Driver::Task { sync_latency: Duration::from_millis(1) },
        ..FileOptions::default()
    };
    let seams = Seams {
        config: Arc::new(test_config()?),
        clock,
        random,
        metadata,
        io,
        medium: Arc::new(FileMedium::new(Arc::new(world.disk.clone()), "wal", options)),
        loggers: Arc::default(),
        observer: Arc::new(Observed::new(metrics.clone())),
        metrics,
        storage_settings: storage_settings(),
        prepared_grace_ms: 2 * io_settings().put_budget_ms + io_settings().attempt_timeout_ms,
        cluster: InitCluster {
            cluster_id,
            bucket: "sim".into(),
            prefix: "sim".into(),
            features: BTreeMap::new(),
        },
        endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: BROKER.into(), port: PORT }],
        newest_wal: WalId(0),
        progress: Arc::new(|_, _, _| {}),
    };
    Ok(start(seams, &mut |_| Ok(())).await?)
}

async fn live(world: &Arc<World>) -> anyhow::Result<String> {
    let life = world.life();
    let broker = compose(world).await?;
    *world.broker.lock() = Arc::downgrade(&broker);
    world.history.note(&format!("broker serves, life {life}"));
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
fn storage_settings() -> StorageSettings {
    StorageSettings {
        upload_bytes: 24 << 10,
        upload_age_ms: 700,
        split_bytes: 12 << 10,
        set_objects_max: 4,
        compact_age_ms: 3_000,
        compact_bytes: 256 << 10,
        compact_interval_ms: 500,
        gc_interval_ms: 500,
        leaf_objects: 4,
        block_bytes: 2 << 10,
        memory_bytes: 64 << 20,
        log_cache_bytes: 32 << 10,
        block_cache_bytes: 1 << 20,
        prepared_ttl_ms: 5_000,
        retry_ms_max: 500,
        replay_bytes_max: 16 << 10,
        replay_slices_max: 6,
        deterministic_cache: true,
        ..StorageSettings::default()
    }
}
