//! The keys that have an effect, or whose other values are refused until they are served.
//!
//! Owns: the one table from which parsing, `tidegate config explain`, `docs/config.md` and DescribeConfigs come,
//! together with `kafka_keys` (Kafka's keys without effect here).
//! Invariants: names are unique over both tables; no key of ours is a prefix, dot-wise, of another of ours, so
//! that every one of them can be written as a plain dotted TOML key; Kafka's keys keep Kafka's type, default
//! and bounds, as Kafka 4.1.2 reports them, unless the meaning says otherwise.
//! Never: parses.

use std::sync::LazyLock;

use super::kafka_keys;
use super::key::Default::{Computed, Unset, Value};
use super::key::{Bounds, Class, Default, Key, Kind, Unit};
use Bounds::{Any, AtLeast, Between, OneOf};
use Kind::{Boolean, Int, List, Long, Password, Short, String};
use Unit::{Bytes, Hours, Milliseconds, Minutes, None as NoUnit, Percent};

/// Every key, sorted by name.
#[must_use]
pub fn all() -> &'static [Key] {
    static ALL: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let mut keys: Vec<Key> = EFFECTIVE.iter().chain(REFUSED).copied().collect();
        keys.extend(kafka_keys::all());
        keys.sort_by_key(|key| key.name);
        keys
    });
    &ALL
}

/// The key of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    let keys = all();
    keys.binary_search_by_key(&name, |key| key.name).ok().map(|at| &keys[at])
}

/// The known name that `name` was probably meant to be.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    nearest_of(name, all().iter().map(|key| key.name))
}

/// Of `names`, the one that fewest single-letter changes turn `name` into, if they are few for its length; else one
/// that `name` is the beginning of, or a little longer than.
#[must_use]
pub fn nearest_of<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let few = 1 + name.len() / 6;
    let slip = names.clone().map(|known| (distance(name, known), known)).min().filter(|(n, _)| *n <= few);
    let extends = |known: &&str| {
        let rest = known.strip_prefix(name).or_else(|| name.strip_prefix(*known));
        rest.is_some_and(|rest| rest.starts_with('.') || rest.len() <= 6)
    };
    slip.map(|(_, known)| known).or_else(|| names.filter(extends).min_by_key(|known| known.len()))
}

/// Letters to insert, delete or replace (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

const fn key(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    default: Default,
    bounds: Bounds,
    meaning: &'static str,
) -> Key {
    Key { name, kind, unit, default, bounds, class: Class::Effective, meaning }
}

const fn refused(
    name: &'static str,
    kind: Kind,
    default: Default,
    bounds: Bounds,
    meaning: &'static str,
    why: &'static str,
    remedy: &'static str,
) -> Key {
    Key { name, kind, unit: NoUnit, default, bounds, class: Class::Refused { why, remedy }, meaning }
}

#[rustfmt::skip]
const EFFECTIVE: &[Key] = &[
    // identity
    key("node.id", Int, NoUnit, Value("1"), AtLeast(0), "Id of this node; unique in the cluster."),
    key("broker.id", Int, NoUnit, Value("-1"), AtLeast(-1), "Old name of node.id, used when node.id is not set; if both are set they must agree."),
    key("broker.rack", String, NoUnit, Unset, Any, "Rack or zone of this node, reported to clients."),
    key("process.roles", List, NoUnit, Value("broker,controller"), Bounds::EachOf(&["broker", "controller"]), "Roles of this process. One process is broker and controller; naming one role alone warns and changes nothing."),
    // listeners
    key("listeners", String, NoUnit, Value("PLAINTEXT://127.0.0.1:9092"), Any, "Comma-separated NAME://host:port to listen on. An empty host is every interface; port 0 is a free port. Kafka's own default, every interface, is not taken: nothing is reachable from outside until it is asked for."),
    key("advertised.listeners", String, NoUnit, Unset, Any, "Addresses that clients are told, per listener name. A listener without one advertises its own host, or the machine's name when it listens on every interface; 0.0.0.0 and [::] are refused."),
    key("listener.security.protocol.map", String, NoUnit, Value("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, "Protocol of each listener name, NAME:PROTOCOL. SSL and SASL are refused at start until they are served."),
    key("controller.listener.names", String, NoUnit, Unset, Any, "Listeners of Kafka's controllers. They are not opened: the quorum's one voter is inside this process."),
    key("controller.quorum.voters", List, NoUnit, Value(""), Any, "Voters of the metadata quorum, id@host:port. One voter is served so far, inside this process; naming more is refused."),
    key("controller.quorum.bootstrap.servers", List, NoUnit, Value(""), Any, "Controllers to join through. One voter is served so far, inside this process; naming more is refused."),
    // connections
    key("connections.max.idle.ms", Long, Milliseconds, Value("600000"), Any, "A connection idle for longer is closed; negative: never."),
    key("max.connections", Int, NoUnit, Value("2147483647"), AtLeast(0), "Most connections open at once; further ones are closed at accept."),
    key("max.connections.per.ip", Int, NoUnit, Value("2147483647"), AtLeast(0), "Most connections open at once from one address."),
    key("socket.request.max.bytes", Int, Bytes, Value("104857600"), AtLeast(1), "Largest request; a larger one closes its connection."),
    key("socket.send.buffer.bytes", Int, Bytes, Value("102400"), AtLeast(-1), "SO_SNDBUF of client sockets; -1: the system's default."),
    key("socket.receive.buffer.bytes", Int, Bytes, Value("102400"), AtLeast(-1), "SO_RCVBUF of client sockets; -1: the system's default."),
    key("socket.listen.backlog.size", Int, NoUnit, Value("50"), AtLeast(1), "Connections that may wait to be accepted, per listener."),
    key("queued.max.request.bytes", Long, Bytes, Value("-1"), AtLeast(-1), "Bytes of requests that are being served at once, over all connections; -1: only memory.bytes.max bounds them."),
    key("connection.inflight.requests.max", Int, NoUnit, Value("64"), Between(1, 10_000), "Requests of one connection that are admitted and not yet answered; the next is read when one is answered."),
    key("connection.inflight.bytes.max", Long, Bytes, Value("33554432"), AtLeast(1), "Bytes of the requests of one connection that are admitted and not yet answered. One request is always let in, whatever its size."),
    // topics
    key("num.partitions", Int, NoUnit, Value("1"), AtLeast(1), "Partitions of a topic that is created without a count."),
    key("default.replication.factor", Int, NoUnit, Value("1"), Between(1, 32_767), "Replication factor of a topic that is created without one."),
    key("replication.factor.policy", String, NoUnit, Value("auto"), OneOf(&["auto", "strict"]), "auto: any replication factor is accepted and stored, and Metadata lists as many live brokers as there are; strict: a factor above the number of brokers is refused, as in Kafka."),
    key("auto.create.topics.enable", Boolean, NoUnit, Value("true"), Any, "A Metadata request that allows it creates the topics it names."),
    key("delete.topic.enable", Boolean, NoUnit, Value("true"), Any, "Topics may be deleted."),
    key("message.max.bytes", Int, Bytes, Value("1048588"), AtLeast(0), "Largest record batch; the topic's max.message.bytes overrides it."),
    key("log.retention.ms", Long, Milliseconds, Unset, Any, "How long records are kept; negative: for ever. Unset: log.retention.minutes, then log.retention.hours."),
    key("log.retention.minutes", Int, Minutes, Unset, Any, "How long records are kept when log.retention.ms is not set."),
    key("log.retention.hours", Int, Hours, Value("168"), Any, "How long records are kept when neither log.retention.ms nor log.retention.minutes is set."),
    key("log.retention.bytes", Long, Bytes, Value("-1"), Any, "Bytes kept per partition; negative: no bound."),
    key("log.retention.check.interval.ms", Long, Milliseconds, Value("300000"), AtLeast(1), "How often retention is checked."),
    key("log.message.timestamp.type", String, NoUnit, Value("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), "Whose time a record carries: its producer's or this broker's."),
    key("log.message.timestamp.before.max.ms", Long, Milliseconds, Value("9223372036854775807"), AtLeast(0), "How far a producer's timestamp may lie before this broker's time."),
    key("log.message.timestamp.after.max.ms", Long, Milliseconds, Value("3600000"), AtLeast(0), "How far a producer's timestamp may lie after this broker's time."),
    key("producer.id.expiration.ms", Int, Milliseconds, Value("86400000"), AtLeast(1), "A producer id that a partition has not seen for longer is forgotten there."),
    // consumer groups
    key("group.min.session.timeout.ms", Int, Milliseconds, Value("6000"), Any, "Shortest session timeout that a member may ask for."),
    key("group.max.session.timeout.ms", Int, Milliseconds, Value("1800000"), Any, "Longest session timeout that a member may ask for."),
    key("group.initial.rebalance.delay.ms", Int, Milliseconds, Value("3000"), Any, "How long the first rebalance of an empty group waits for more members."),
    key("group.max.size", Int, NoUnit, Value("2147483647"), AtLeast(1), "Most members of one group; a further one gets GROUP_MAX_SIZE_REACHED."),
    key("offset.metadata.max.bytes", Int, Bytes, Value("4096"), Any, "Longest text that may be committed with an offset."),
    key("offsets.retention.minutes", Int, Minutes, Value("10080"), AtLeast(1), "How long offsets are kept after the group became empty, or stopped subscribing to the topic; for a group without members that only commits, after the commit."),
    key("offsets.retention.check.interval.ms", Long, Milliseconds, Value("600000"), AtLeast(1), "How often expired offsets are looked for."),
    key("offsets.topic.num.partitions", Int, NoUnit, Value("50"), AtLeast(1), "Partitions of __consumer_offsets when it is created; a group lives in one of them."),
    key("offsets.topic.replication.factor", Short, NoUnit, Value("3"), AtLeast(1), "Replication factor of __consumer_offsets when it is created."),
    key("offsets.topic.segment.bytes", Int, Bytes, Value("104857600"), AtLeast(1), "segment.bytes that __consumer_offsets is created with. How short a partition of it is kept depends on its live state alone."),
    key("max.request.partition.size.limit", Int, NoUnit, Value("2000"), AtLeast(1), "Most partitions in one answer of DescribeTopicPartitions; the client asks on from its cursor."),
    // fetch
    key("fetch.max.bytes", Int, Bytes, Value("57671680"), AtLeast(1024), "Most bytes of records in one fetch response; a first batch that is larger is still sent."),
    key("max.incremental.fetch.session.cache.slots", Int, NoUnit, Value("1000"), AtLeast(0), "Fetch sessions kept (KIP-227); a fetch beyond is answered without a session."),
    // data directory and WAL
    key("data.dir", String, NoUnit, Value("./data"), Bounds::NonEmpty, "Directory of everything that this node keeps on local disk."),
    key("wal.medium", String, NoUnit, Value("file"), OneOf(&["file", "memory"]), "Where the write-ahead log lives. memory loses acknowledged records when the process ends: for tests."),
    key("wal.bytes.max", Long, Bytes, Value("8589934592"), AtLeast(4 << 20), "Bound of the WAL; when it is full produce gets NOT_ENOUGH_REPLICAS and fetch goes on."),
    key("wal.segment.bytes", Long, Bytes, Value("67108864"), Between(1 << 20, 1 << 30), "Size of one preallocated WAL segment."),
    // object storage
    key("storage.url", String, NoUnit, Computed("file://<data.dir>/bucket"), Any, "The bucket: file://directory or s3://bucket/prefix."),
    key("storage.endpoint", String, NoUnit, Unset, Any, "Endpoint of an S3-compatible store, http:// or https://. Unset: AWS_ENDPOINT_URL, then AWS itself."),
    key("storage.region", String, NoUnit, Unset, Bounds::NonEmpty, "Region of the bucket. Unset: the usual AWS environment."),
    key("storage.access.key.id", String, NoUnit, Unset, Bounds::NonEmpty, "Access key id, together with storage.access.key.secret. Better left unset: then the usual AWS chain (environment, web identity, instance role) gives credentials that rotate."),
    key("storage.access.key.secret", Password, NoUnit, Unset, Bounds::NonEmpty, "Secret of storage.access.key.id."),
    key("storage.path.style", Boolean, NoUnit, Computed("true if storage.endpoint is set, else false"), Any, "Address the bucket in the path instead of the host name."),
    key("storage.sse.type", String, NoUnit, Value("none"), OneOf(&["none", "s3", "kms"]), "Server-side encryption that is asked for with each object: none, s3 (SSE-S3) or kms (SSE-KMS)."),
    key("storage.sse.kms.key.id", String, NoUnit, Unset, Bounds::NonEmpty, "Id or ARN of the KMS key for storage.sse.type=kms."),
    key("storage.upload.bytes", Long, Bytes, Value("67108864"), Between(64 << 10, 1 << 30), "An upload round starts when this much waits."),
    key("storage.upload.age.ms", Long, Milliseconds, Value("60000"), Between(1, 86_400_000), "An upload round starts when its oldest record has waited this long."),
    key("storage.object.delete.grace.ms", Long, Milliseconds, Value("600000"), AtLeast(0), "A retired object is deleted after this long; longer than the longest read of an object, or readers find it gone."),
    key("storage.request.timeout.ms", Long, Milliseconds, Value("30000"), Between(100, 3_600_000), "One request to the store is given up, and tried anew where that is safe, after this long."),
    // memory
    key("memory.bytes.max", Long, Bytes, Computed("a quarter of the memory of the machine or its cgroup, 256 MiB to 16 GiB"), AtLeast(64 << 20), "The one memory budget: WAL buffers, log cache, block cache, requests and responses."),
    key("memory.block.cache.percent", Int, Percent, Value("30"), Between(0, 80), "Share of memory.bytes.max for blocks read back from the bucket."),
    // operations
    key("admin.listener", String, NoUnit, Value("127.0.0.1:9644"), Any, "Address of /metrics, /healthz and /readyz; none: not opened."),
    key("shutdown.timeout.ms", Long, Milliseconds, Value("30000"), AtLeast(0), "After SIGTERM, time to answer what is in flight and to upload; what is not uploaded stays in the WAL."),
    key("log.format", String, NoUnit, Value("auto"), OneOf(&["auto", "text", "json"]), "Format of this process's own log on standard error; auto: text, coloured on a terminal."),
    key("log.level", String, NoUnit, Value("info"), Bounds::NonEmpty, "What this process logs: a level, or directives such as info,tidegate_wal=debug."),
];

#[rustfmt::skip]
const REFUSED: &[Key] = &[
    refused("log.cleanup.policy", List, Value("delete"), Bounds::EachOf(&["compact", "delete"]), "What happens to old records of a topic that does not say.",
        "log compaction is not served yet, and deleting instead would lose the last value of keys", "use delete"),
    refused("compression.type", String, Value("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), "Compression of stored batches.",
        "batches are stored as producers compressed them, and recompression is not served yet", "use producer, and set compression.type in the producers"),
    refused("authorizer.class.name", String, Value(""), Any, "Authorizer that decides about each request.",
        "ACLs are not enforced yet, so every client could do everything", "leave it out and restrict access by network until ACLs are served"),
    refused("create.topic.policy.class.name", Kind::Class, Unset, Any, "Java class that vets new topics.",
        "Java classes cannot be loaded, so the policy would not be enforced", "leave it out and restrict who may create topics by network"),
    refused("alter.config.policy.class.name", Kind::Class, Unset, Any, "Java class that vets changes of configs.",
        "Java classes cannot be loaded, so the policy would not be enforced", "leave it out and restrict who may alter configs by network"),
    refused("client.quota.callback.class", Kind::Class, Unset, Any, "Java class that computes quotas.",
        "Java classes cannot be loaded, so the quotas would not be enforced", "leave it out"),
    refused("config.providers", List, Value(""), Any, "Java classes that resolve ${provider:path:key} in values.",
        "Java classes cannot be loaded, so values would be taken literally", "pass secrets through the environment (TIDEGATE_...) instead"),
    refused("transaction.two.phase.commit.enable", Boolean, Value("false"), Any, "Two-phase commit of transactions (KIP-939).",
        "transactions are not served yet", "leave it out"),
];
