//! The typed configuration that the rest of the broker is written against.
//!
//! Owns: `Config` and its parts, built once from the merged values.
//! Invariants: plain validated values in the units that their names end with; every effective key of the table is
//! read here (checked when a configuration is built).
//! Never: changes after it is built; prints a secret.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_common::BrokerId;

use super::checks::Problem;
use super::key::Class;
use super::listeners::{self, Listener};
use super::machine::Machine;
use super::values::Values;
use super::{location, table};

/// What a WAL segment needs besides its largest batch, twice over.
pub(super) const WAL_SEGMENT_RESERVE_BYTES: u64 = 256 << 10;

/// The largest batch that a WAL segment of this size takes: a roll must never leave more than half of one unused.
pub(super) fn wal_batch_bytes_max(segment_bytes: u64) -> u64 {
    segment_bytes.saturating_sub(WAL_SEGMENT_RESERVE_BYTES) / 2
}

#[derive(Clone, Debug)]
pub struct Config {
    pub node_id: BrokerId,
    pub rack: Option<String>,
    /// At least one.
    pub listeners: Vec<Listener>,
    pub connections: ConnectionConfig,
    pub topics: TopicsConfig,
    pub fetch: FetchConfig,
    pub groups: GroupsConfig,
    pub producer_id_expiration_ms: i64,
    pub data_dir: PathBuf,
    pub wal: WalConfig,
    pub storage: StorageConfig,
    pub memory: MemoryConfig,
    /// host:port, or None: not opened.
    pub admin_listener: Option<String>,
    pub shutdown_timeout_ms: u64,
    pub log: LogConfig,
    /// All that was set, with its origin: for DescribeConfigs and the topic configs' broker defaults.
    pub values: Arc<Values>,
    pub(super) machine: Machine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// None: never.
    pub idle_ms_max: Option<u64>,
    pub connections_max: u32,
    pub connections_per_ip_max: u32,
    pub request_bytes_max: u32,
    /// None: the system's default.
    pub send_buffer_bytes: Option<u32>,
    pub receive_buffer_bytes: Option<u32>,
    pub listen_backlog: u32,
    /// None: only the memory budget.
    pub queued_request_bytes_max: Option<u64>,
    pub inflight_requests_max: u32,
    pub inflight_bytes_max: u64,
}

/// Broker-wide rules about topics. The defaults of topic configs are `topic_config::TopicSettings::resolve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicsConfig {
    pub partitions: i32,
    pub replication_factor: i16,
    pub replication_factor_policy: ReplicationFactorPolicy,
    pub auto_create: bool,
    pub delete_enabled: bool,
    pub message_bytes_max: u32,
    pub retention_check_interval_ms: u64,
    /// Partitions in one answer of DescribeTopicPartitions.
    pub request_partitions_max: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationFactorPolicy {
    /// Any factor ≥ 1 is accepted; Metadata lists as many live brokers as there are.
    Auto,
    /// A factor above the number of brokers is refused, as in Kafka.
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchConfig {
    pub bytes_max: u32,
    pub session_slots: u32,
}

/// The group coordinator and its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    pub initial_rebalance_delay_ms: i32,
    pub size_max: i32,
    pub offset_metadata_bytes_max: i32,
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_interval_ms: u64,
    pub topic_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_segment_bytes: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalConfig {
    pub medium: WalMedium,
    pub bytes_max: u64,
    pub segment_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalMedium {
    File,
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    pub location: StorageLocation,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// None: the usual AWS chain.
    pub credentials: Option<StorageCredentials>,
    pub path_style: bool,
    pub sse: StorageEncryption,
    pub upload_bytes: u64,
    pub upload_age_ms: u64,
    pub object_delete_grace_ms: u64,
    pub request_timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageLocation {
    Directory(PathBuf),
    /// The prefix has no slash at either end and may be empty.
    S3 {
        bucket: String,
        prefix: String,
    },
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct StorageCredentials {
    pub access_key_id: String,
    pub access_key_secret: String,
}

impl fmt::Debug for StorageCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageCredentials({}, [hidden])", self.access_key_id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageEncryption {
    None,
    S3,
    /// With this key.
    Kms(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    pub bytes_max: u64,
    /// Part of `bytes_max`.
    pub block_cache_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// env-filter directives.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text, coloured on a terminal.
    Auto,
    Text,
    Json,
}

impl Config {
    /// The largest batch that any topic can take, whatever its `max.message.bytes`: it must fit a request and a
    /// WAL segment.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u64 {
        u64::from(self.connections.request_bytes_max).min(wal_batch_bytes_max(self.wal.segment_bytes))
    }

    /// The configuration of checked values, and the controller listeners that are left out.
    pub(super) fn build(values: &Arc<Values>, machine: &Machine) -> Result<(Self, Vec<String>), Problem> {
        let read = Reader { values, read: RefCell::default() };
        let listeners = listeners::resolve(values, &machine.hostname)?;
        for key in [
            "listeners",
            "advertised.listeners",
            "listener.security.protocol.map",
            "controller.listener.names",
            // Judged by `checks::text_problems` and the loader's warnings.
            "controller.quorum.voters",
            "controller.quorum.bootstrap.servers",
            "process.roles",
            // The defaults of topic configs, which `topic_config` resolves from the values.
            "log.retention.ms",
            "log.retention.minutes",
            "log.retention.hours",
            "log.retention.bytes",
            "log.message.timestamp.type",
            "log.message.timestamp.before.max.ms",
            "log.message.timestamp.after.max.ms",
        ] {
            read.note(key);
        }
        let config = Self {
            node_id: node_id(&read)?,
            rack: read.optional("broker.rack").filter(|rack| !rack.is_empty()),
            listeners: listeners.listeners,
            connections: connections(&read),
            topics: topics(&read),
            fetch: FetchConfig {
                bytes_max: read.number("fetch.max.bytes"),
                session_slots: read.number("max.incremental.fetch.session.cache.slots"),
            },
            groups: groups(&read),
            producer_id_expiration_ms: read.number("producer.id.expiration.ms"),
            data_dir: PathBuf::from(read.text("data.dir")),
            wal: WalConfig {
                medium: if read.text("wal.medium") == "memory" { WalMedium::Memory } else { WalMedium::File },
                bytes_max: read.number("wal.bytes.max"),
                segment_bytes: read.number("wal.segment.bytes"),
            },
            storage: storage(&read)?,
            memory: memory(&read, machine),
            admin_listener: location::admin(&read.text("admin.listener"))?,
            shutdown_timeout_ms: read.number("shutdown.timeout.ms"),
            log: LogConfig {
                format: match read.text("log.format").as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => LogFormat::Auto,
                },
                level: read.text("log.level"),
            },
            values: Arc::clone(values),
            machine: machine.clone(),
        };
        debug_assert_eq!(read.unread(), Vec::<&str>::new(), "effective keys that nothing reads");
        Ok((config, listeners.skipped))
    }
}

fn node_id(read: &Reader<'_>) -> Result<BrokerId, Problem> {
    let (node, broker): (i32, i32) = (read.number("node.id"), read.number("broker.id"));
    let node_is_set = read.values.explicit("node.id").is_some();
    if broker >= 0 && node_is_set && broker != node {
        let problem = format!("differs from node.id ({node})");
        return Err(Problem::new("broker.id", problem, "leave broker.id out; it is the old name of node.id"));
    }
    Ok(BrokerId(if broker >= 0 { broker } else { node }))
}

fn connections(read: &Reader<'_>) -> ConnectionConfig {
    ConnectionConfig {
        idle_ms_max: u64::try_from(read.number::<i64>("connections.max.idle.ms")).ok(),
        connections_max: read.number("max.connections"),
        connections_per_ip_max: read.number("max.connections.per.ip"),
        request_bytes_max: read.number("socket.request.max.bytes"),
        send_buffer_bytes: u32::try_from(read.number::<i32>("socket.send.buffer.bytes")).ok(),
        receive_buffer_bytes: u32::try_from(read.number::<i32>("socket.receive.buffer.bytes")).ok(),
        listen_backlog: read.number("socket.listen.backlog.size"),
        queued_request_bytes_max: u64::try_from(read.number::<i64>("queued.max.request.bytes")).ok(),
        inflight_requests_max: read.number("connection.inflight.requests.max"),
        inflight_bytes_max: read.number("connection.inflight.bytes.max"),
    }
}

fn topics(read: &Reader<'_>) -> TopicsConfig {
    TopicsConfig {
        partitions: read.number("num.partitions"),
        replication_factor: read.number("default.replication.factor"),
        replication_factor_policy: match read.text("replication.factor.policy").as_str() {
            "strict" => ReplicationFactorPolicy::Strict,
            _ => ReplicationFactorPolicy::Auto,
        },
        auto_create: read.flag("auto.create.topics.enable"),
        delete_enabled: read.flag("delete.topic.enable"),
        message_bytes_max: read.number("message.max.bytes"),
        retention_check_interval_ms: read.number("log.retention.check.interval.ms"),
        request_partitions_max: read.number("max.request.partition.size.limit"),
    }
}

fn groups(read: &Reader<'_>) -> GroupsConfig {
    const MINUTE_MS: i64 = 60_000;
    GroupsConfig {
        session_timeout_ms_min: read.number("group.min.session.timeout.ms"),
        session_timeout_ms_max: read.number("group.max.session.timeout.ms"),
        initial_rebalance_delay_ms: read.number("group.initial.rebalance.delay.ms"),
        size_max: read.number("group.max.size"),
        offset_metadata_bytes_max: read.number("offset.metadata.max.bytes"),
        offsets_retention_ms: read.number::<i64>("offsets.retention.minutes") * MINUTE_MS,
        offsets_retention_check_interval_ms: read.number("offsets.retention.check.interval.ms"),
        topic_partitions: read.number("offsets.topic.num.partitions"),
        topic_replication_factor: read.number("offsets.topic.replication.factor"),
        topic_segment_bytes: read.number("offsets.topic.segment.bytes"),
    }
}

fn storage(read: &Reader<'_>) -> Result<StorageConfig, Problem> {
    let data_dir = read.text("data.dir");
    let location = match read.optional("storage.url") {
        Some(url) => location::storage(&url)?,
        None => StorageLocation::Directory(PathBuf::from(data_dir).join("bucket")),
    };
    let endpoint = read.optional("storage.endpoint").filter(|endpoint| !endpoint.is_empty());
    if let Some(endpoint) = &endpoint {
        location::endpoint(endpoint)?;
    }
    let credentials = read
        .optional("storage.access.key.id")
        .zip(read.optional("storage.access.key.secret"))
        .map(|(access_key_id, access_key_secret)| StorageCredentials { access_key_id, access_key_secret });
    let sse = match (read.text("storage.sse.type").as_str(), read.optional("storage.sse.kms.key.id")) {
        ("s3", _) => StorageEncryption::S3,
        ("kms", Some(key_id)) => StorageEncryption::Kms(key_id),
        ("kms", None) => {
            let problem = "needs a key".to_owned();
            return Err(Problem::new(
                "storage.sse.type",
                problem,
                "set storage.sse.kms.key.id to its id or ARN",
            ));
        }
        _ => StorageEncryption::None,
    };
    let path_style = read.optional("storage.path.style").map_or(endpoint.is_some(), |flag| flag == "true");
    Ok(StorageConfig {
        location,
        path_style,
        endpoint,
        region: read.optional("storage.region"),
        credentials,
        sse,
        upload_bytes: read.number("storage.upload.bytes"),
        upload_age_ms: read.number("storage.upload.age.ms"),
        object_delete_grace_ms: read.number("storage.object.delete.grace.ms"),
        request_timeout_ms: read.number("storage.request.timeout.ms"),
    })
}

fn memory(read: &Reader<'_>, machine: &Machine) -> MemoryConfig {
    let computed = (machine.memory_bytes / 4).clamp(256 << 20, 16 << 30);
    let bytes_max: u64 = match read.optional("memory.bytes.max") {
        Some(_) => read.number("memory.bytes.max"),
        None => computed,
    };
    let percent: u64 = read.number("memory.block.cache.percent");
    MemoryConfig { bytes_max, block_cache_bytes: bytes_max / 100 * percent }
}

/// Typed reads of checked text, which notes what it read.
struct Reader<'a> {
    values: &'a Values,
    read: RefCell<BTreeSet<&'static str>>,
}

impl Reader<'_> {
    fn note(&self, key: &'static str) {
        self.read.borrow_mut().insert(key);
    }

    fn optional(&self, key: &'static str) -> Option<String> {
        self.note(key);
        self.values.text(key).map(str::to_owned)
    }

    fn text(&self, key: &'static str) -> String {
        self.optional(key).expect("the key has a default")
    }

    fn flag(&self, key: &'static str) -> bool {
        self.text(key) == "true"
    }

    fn number<N>(&self, key: &'static str) -> N
    where
        N: std::str::FromStr,
        N::Err: fmt::Debug,
    {
        self.text(key).parse().expect("the table's type and bounds, checked before, fit this type")
    }

    fn unread(&self) -> Vec<&'static str> {
        let read = self.read.borrow();
        let effective = table::all().iter().filter(|key| key.class == Class::Effective);
        effective.map(|key| key.name).filter(|name| !read.contains(name)).collect()
    }
}
