//! The one place that chooses: real clock, disk, store, network, threads. Everything else is handed these.
//!
//! Owns: the process's life, from the checked configuration to the exit code.
//! Invariants: nothing is served before recovery is done; a poisoned log ends the process with an error after what is
//! acknowledged and still in memory had its chance to be uploaded; SIGTERM and SIGINT end it with 0 after answering
//! what is in flight.
//! Never: holds a decision that the simulation could not make, too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tidegate_common::WalId;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::SharedRandom;
use tidegate_metadata::command::InitCluster;
use tidegate_metadata::rows::Endpoint;
use tidegate_metadata::{Blocking, Metadata, Options, Timing};
use tidegate_s3stream::io::media::{self, Credentials, Encryption, MediaSettings};
use tidegate_s3stream::io::{IoSettings, ObjectIo, probe};
use tidegate_s3stream::storage::Settings as StorageSettings;
use tidegate_segment::disk::OsDisk;
use tidegate_wal::WalMedium;
use tidegate_wal::file::{Driver, FileMedium, FileOptions, GroupStats, Observer};
use tidegate_wal::memory::MemoryMedium;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{Admin, Probe, Readiness};
use crate::broker::Broker;
use crate::config::{Config, StorageEncryption, StorageLocation, WalMedium as Medium};
use crate::coordinator;
use crate::logging::Loggers;
use crate::metrics::Metrics;
use crate::net::connection::Limits;
use crate::net::listener::{self, Settings};
use crate::observe::{Face, Observed, sample};
use crate::rim::clock::SystemClock;
use crate::rim::data_dir::{DataDir, FORMAT_VERSION, Mark};
use crate::rim::limits::raise_open_files;
use crate::rim::random::ThreadRandom;
use crate::start::{Seams, run_loops, start};

/// The only node of the quorum so far.
const RAFT_NODE: u64 = 1;
const RAFT_SNAPSHOT_ENTRIES: u64 = 5_000;
const RAFT_DIR: &str = "raft";
const WAL_DIR: &str = "wal";

/// Runs a broker until it is told to stop.
///
/// # Errors
/// Why it could not start, or why it could not go on.
pub fn run(config: Config, loggers: Loggers) -> anyhow::Result<()> {
    // Two TLS providers in one process make rustls panic at first use: choose before anything connects.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let Some(files) = raise_open_files() {
        tracing::debug!(files, "open-file limit");
    }
    // Raft, uploads, compaction and the admin port have threads of their own, so that none of them delays a request.
    let front = Builder::new_multi_thread().thread_name("front").enable_all().build()?;
    let back = Builder::new_multi_thread().worker_threads(2).thread_name("back").enable_all().build()?;
    let ended = serve(&front, &back, Arc::new(config), Arc::new(loggers));
    front.shutdown_timeout(Duration::from_secs(1));
    back.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn serve(front: &Runtime, back: &Runtime, config: Arc<Config>, loggers: Arc<Loggers>) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let random: SharedRandom = Arc::new(ThreadRandom);
    let metrics = Metrics::new();
    let face = Arc::new(Face::default());
    let dir = DataDir::lock(&config.data_dir)?;
    let mut mark = match dir.mark(config.node_id.0)? {
        Some(mark) => mark,
        None => new_mark(&dir, &config, &random)?,
    };
    // Ports are bound before recovery, so that a port in use is said at once, and accepted from after it.
    let sockets = front.block_on(async { bind(&config) })?;
    let admin_stop = watch::Sender::new(false);
    if let Some(address) = &config.admin_listener {
        let admin = back.block_on(Admin::bind(address)).with_context(|| {
            format!("admin.listener={address}: cannot listen; free the port or set another")
        })?;
        let mut stop = admin_stop.subscribe();
        let stopped = async move { drop(stop.wait_for(|s| *s).await) };
        back.spawn(admin.serve(Arc::clone(&face) as Arc<dyn Probe>, metrics.clone(), stopped));
    }
    let broker = back.block_on(async {
        let io = open_bucket(&config, &random, &mut mark, &dir).await?;
        let metadata = open_metadata(&config, &clock, &random).await?;
        let seams = Seams {
            medium: medium(&config, &clock, &metrics),
            loggers: Arc::clone(&loggers),
            observer: Arc::new(Observed::new(metrics.clone())),
            storage_settings: storage_settings(&config),
            prepared_grace_ms: 2 * io_settings(&config).put_budget_ms + config.storage.request_timeout_ms,
            cluster: init_cluster(&config, &mark),
            endpoints: endpoints(&config, &sockets)?,
            // What a memory WAL held is gone by design: nothing is missed at the next start.
            newest_wal: WalId(if config.wal.medium == Medium::Memory { 0 } else { mark.newest_wal }),
            progress: {
                let face = Arc::clone(&face);
                Arc::new(move |step, done, total| {
                    face.set(Readiness::Recovering { step, done, total, unit: step })
                })
            },
            config: Arc::clone(&config),
            clock,
            random,
            metadata,
            io,
            metrics: metrics.clone(),
        };
        let mut mark_wal = |id: WalId| {
            mark.newest_wal = id.0;
            dir.write_mark(&mark).map_err(|e| e.to_string())
        };
        start(seams, &mut mark_wal).await.map_err(anyhow::Error::from)
    })?;
    face.serve(&broker);
    back.spawn(sample(Arc::clone(&broker)));
    let ended = front.block_on(serve_clients(&broker, sockets, back));
    face.set(Readiness::Stopping);
    back.block_on(wind_down(&broker));
    admin_stop.send_replace(true);
    drop(dir);
    ended
}

fn new_mark(dir: &DataDir, config: &Config, random: &SharedRandom) -> anyhow::Result<Mark> {
    let mark = Mark {
        format_version: FORMAT_VERSION,
        cluster_id: random.uuid(),
        joined: false,
        node_id: config.node_id.0,
        newest_wal: 0,
    };
    dir.write_mark(&mark)?;
    Ok(mark)
}

fn bind(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    let mut out = Vec::new();
    for wanted in &config.listeners {
        let host = if wanted.bind.host.is_empty() { "0.0.0.0" } else { &wanted.bind.host };
        let address: SocketAddr = std::net::ToSocketAddrs::to_socket_addrs(&(host, wanted.bind.port))
            .with_context(|| format!("listeners={}: the host is not known", wanted.bind))?
            .next()
            .ok_or_else(|| anyhow!("listeners={}: the host has no address", wanted.bind))?;
        let socket = listener::bind(address, config.connections.listen_backlog).with_context(|| {
            format!("listeners={}: cannot listen; free the port or set another", wanted.bind)
        })?;
        out.push(socket);
    }
    Ok(out)
}

fn endpoints(config: &Config, sockets: &[TcpListener]) -> anyhow::Result<Vec<Endpoint>> {
    let mut out = Vec::new();
    for (wanted, socket) in config.listeners.iter().zip(sockets) {
        let port = match wanted.advertised.port {
            0 => socket.local_addr()?.port(),
            port => port,
        };
        out.push(Endpoint { listener: wanted.name.clone(), host: wanted.advertised.host.clone(), port });
    }
    Ok(out)
}

async fn open_bucket(
    config: &Config,
    random: &SharedRandom,
    mark: &mut Mark,
    dir: &DataDir,
) -> anyhow::Result<ObjectIo> {
    let media = media::open(&media_settings(config))?;
    let report = probe::probe(&media, random).await?;
    for problem in &report.problems {
        tracing::warn!("storage.url: {problem}");
    }
    if !report.holds_objects() {
        return Err(anyhow!(
            "storage.url: this store cannot hold the bucket: {}",
            report.problems.join("; ")
        ));
    }
    let io = ObjectIo::new(media, io_settings(config), Arc::clone(random));
    let own = mark.cluster_id.to_string();
    let opened = io.open_or_create_cluster(mark.joined.then_some(own.as_str()), &own).await?;
    if opened.file.cluster_id != own {
        return Err(anyhow!(
            "storage.url: the bucket belongs to cluster {}, and data.dir={} does not hold that cluster's metadata; \
             set the data.dir of that cluster, or another bucket or prefix to begin a new one",
            opened.file.cluster_id,
            config.data_dir.display()
        ));
    }
    if !mark.joined {
        mark.joined = true;
        dir.write_mark(mark)?;
    }
    Ok(io)
}

fn io_settings(config: &Config) -> IoSettings {
    IoSettings { attempt_timeout_ms: config.storage.request_timeout_ms, ..IoSettings::default() }
}

fn media_settings(config: &Config) -> MediaSettings {
    let storage = &config.storage;
    let url = match &storage.location {
        StorageLocation::Directory(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("file://{}", absolute.display())
        }
        StorageLocation::S3 { bucket, prefix } if prefix.is_empty() => format!("s3://{bucket}"),
        StorageLocation::S3 { bucket, prefix } => format!("s3://{bucket}/{prefix}"),
    };
    MediaSettings {
        url,
        endpoint: storage.endpoint.clone(),
        region: storage.region.clone(),
        path_style: config.values.explicit("storage.path.style").map(|_| storage.path_style),
        credentials: storage.credentials.as_ref().map(|c| Credentials {
            access_key_id: c.access_key_id.clone(),
            secret_access_key: c.access_key_secret.clone(),
            session_token: None,
        }),
        encryption: match &storage.sse {
            StorageEncryption::None => Encryption::default(),
            StorageEncryption::S3 => Encryption::S3,
            StorageEncryption::Kms(key_id) => Encryption::Kms { key_id: Some(key_id.clone()) },
        },
        ..MediaSettings::default()
    }
}

fn init_cluster(config: &Config, mark: &Mark) -> InitCluster {
    let (bucket, prefix) = match &config.storage.location {
        StorageLocation::Directory(path) => (path.display().to_string(), String::new()),
        StorageLocation::S3 { bucket, prefix } => (bucket.clone(), prefix.clone()),
    };
    InitCluster { cluster_id: mark.cluster_id, bucket, prefix, features: BTreeMap::new() }
}

async fn open_metadata(
    config: &Config,
    clock: &SharedClock,
    random: &SharedRandom,
) -> anyhow::Result<Metadata> {
    let options = Options {
        node: RAFT_NODE,
        voters: BTreeMap::from([(RAFT_NODE, String::new())]),
        disk: Arc::new(OsDisk::new(config.data_dir.clone())),
        dir: RAFT_DIR.into(),
        blocking: Blocking::Thread,
        clock: Arc::clone(clock),
        random: Arc::clone(random),
        timing: Timing::default(),
        snapshot_entries: RAFT_SNAPSHOT_ENTRIES,
    };
    Ok(Metadata::open(options).await?)
}

fn medium(config: &Config, clock: &SharedClock, metrics: &Metrics) -> Arc<dyn WalMedium> {
    match config.wal.medium {
        Medium::Memory => Arc::new(MemoryMedium::new(config.wal.bytes_max)),
        Medium::File => {
            let disk = Arc::new(OsDisk::new(config.data_dir.clone()));
            let sync_seconds = metrics.wal.sync_seconds.clone();
            let on_group = move |group: &GroupStats| sync_seconds.observe(group.sync_ns as f64 / 1e9);
            let options = FileOptions {
                bytes_max: config.wal.bytes_max,
                segment_bytes: config.wal.segment_bytes,
                record_bytes_max: usize::try_from(config.batch_bytes_max())
                    .unwrap_or(usize::MAX)
                    .max(coordinator::BATCH_BYTES_MIN),
                driver: Driver::Thread,
                observer: Some(Observer { clock: Arc::clone(clock), on_group: Arc::new(on_group) }),
                ..FileOptions::default()
            };
            Arc::new(FileMedium::new(disk, WAL_DIR, options))
        }
    }
}

fn storage_settings(config: &Config) -> StorageSettings {
    let memory = &config.memory;
    StorageSettings {
        upload_bytes: config.storage.upload_bytes,
        upload_age_ms: config.storage.upload_age_ms,
        memory_bytes: memory.bytes_max,
        block_cache_bytes: memory.block_cache_bytes,
        log_cache_bytes: (memory.bytes_max - memory.block_cache_bytes) / 3,
        ..StorageSettings::default()
    }
}

async fn serve_clients(
    broker: &Arc<Broker>,
    sockets: Vec<TcpListener>,
    back: &Runtime,
) -> anyhow::Result<()> {
    let connections = &broker.config.connections;
    let limits = Limits {
        request_bytes_max: connections.request_bytes_max as usize,
        in_flight_requests_max: connections.inflight_requests_max as usize,
        in_flight_bytes_max: usize::try_from(connections.inflight_bytes_max).unwrap_or(usize::MAX),
        idle: Duration::from_millis(connections.idle_ms_max.unwrap_or(u64::MAX / 2)),
    };
    let mut listeners = JoinSet::new();
    for (wanted, socket) in broker.config.listeners.iter().zip(sockets) {
        let settings = Settings {
            name: wanted.name.as_str().into(),
            limits,
            gate: Arc::clone(&broker.gate),
            send_buffer_bytes: connections.send_buffer_bytes.map(|b| b as usize),
            receive_buffer_bytes: connections.receive_buffer_bytes.map(|b| b as usize),
        };
        tracing::info!(listener = %wanted.name, address = %socket.local_addr()?, "serving Kafka clients");
        listeners.spawn(listener::run(socket, Arc::clone(broker), settings, broker.stopping.subscribe()));
    }
    let loops = back.spawn(run_loops(Arc::clone(broker)));
    let ended = tokio::select! {
        why = loops => Err(anyhow!("{}", why.unwrap_or_else(|e| format!("a loop of the broker died: {e}")))),
        name = told_to_stop() => {
            tracing::info!(signal = name, "stopping: answering what is in flight");
            Ok(())
        }
    };
    broker.stopping.send_replace(true);
    if ended.is_err() {
        broker.releaser.die();
    }
    let within = Duration::from_millis(broker.config.shutdown_timeout_ms / 2);
    let drained = async { while listeners.join_next().await.is_some() {} };
    if tokio::time::timeout(within, drained).await.is_err() {
        tracing::warn!("connections did not end in time and are cut");
    }
    ended
}

async fn told_to_stop() -> &'static str {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be listened to; only SIGKILL ends this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

/// Makes durable and uploads what was released, as far as the time goes.
async fn wind_down(broker: &Broker) {
    broker.releaser.wal().close().await;
    broker.storage.shutdown(Duration::from_millis(broker.config.shutdown_timeout_ms / 2)).await;
    let left = broker.storage.backlog();
    if left.bytes > 0 {
        tracing::warn!(
            bytes = left.bytes,
            "not everything was uploaded; it stays in the WAL for the next start"
        );
    }
    broker.metadata.shutdown().await;
    tracing::info!("stopped");
}
