//! Every topic config of Kafka 4.1, with what it does here.
//!
//! Owns: name, type, default, bounds and broker synonyms as Kafka 4.1.2 reports them, and the class of each config.
//! Invariants: sorted by name; refused is only what, if ignored, would change which records a client can read or
//! lose.

use crate::config::key::{Bounds, Kind};
use Bounds::{Any, AtLeast, Between, BetweenOr, EachOf, Fraction, OneOf};
use Kind::{Boolean, Double, Int, List, Long, String};

/// What a topic config does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Effective,
    /// Validated, stored and reported; what it asks for holds in any case, or does not arise.
    MetByDesign {
        why: &'static str,
    },
    /// Validated, stored and reported, and not done yet. A value outside `served` is refused.
    NotYet {
        why: &'static str,
        served: Served,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    Any,
    Only(&'static [&'static str]),
}

/// A broker config that gives a topic config its default, and what its unit is worth in the topic config's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub scale: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct TopicKey {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub bounds: Bounds,
    /// The first that is set counts.
    pub synonyms: &'static [Synonym],
    pub class: Class,
    pub doc: &'static str,
}

#[must_use]
pub fn find(name: &str) -> Option<&'static TopicKey> {
    TABLE.binary_search_by_key(&name, |key| key.name).ok().map(|at| &TABLE[at])
}

/// Configs that Kafka 4.0 removed and that old tools still send.
pub const REMOVED: &[&str] =
    &["message.downconversion.enable", "message.format.version", "message.timestamp.difference.max.ms"];

const fn one(name: &'static str) -> Synonym {
    Synonym { name, scale: 1 }
}

const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, scale: 60_000 }
}

const fn hours(name: &'static str) -> Synonym {
    Synonym { name, scale: 3_600_000 }
}

const fn met(why: &'static str) -> Class {
    Class::MetByDesign { why }
}

const fn not_yet(why: &'static str, served: &'static [&'static str]) -> Class {
    Class::NotYet { why, served: Served::Only(served) }
}

const COMPACTION: Class = Class::NotYet { why: "log compaction is not served yet", served: Served::Any };
const CODEC_LEVEL: Class = Class::NotYet { why: "recompression is not served yet", served: Served::Any };
const SEGMENTS: Class =
    met("there are no segment files; uploads make objects by storage.upload.bytes and storage.upload.age.ms");
const FLUSH: Class = met("every acknowledged record is durable in the WAL before it is acknowledged");
const REPLICAS: Class = met("no replica copies from another");
const TIERS: Class = met("all data is in the bucket in any case; there is no second tier");
const ALWAYS_IN_SYNC: Class =
    met("durability comes from the WAL and the bucket, and every listed replica is in sync");

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    bounds: Bounds,
    synonyms: &'static [Synonym],
    class: Class,
    doc: &'static str,
) -> TopicKey {
    TopicKey { name, kind, default, bounds, synonyms, class, doc }
}

const MAX: &str = "9223372036854775807";

#[rustfmt::skip]
pub const TABLE: &[TopicKey] = &[
    key("cleanup.policy", List, "delete", EachOf(&["compact", "delete"]), &[one("log.cleanup.policy")],
        not_yet("log compaction is not served yet, and deleting instead would lose the last value of keys", &["delete", ""]),
        "What happens to old records: delete removes them by retention.ms and retention.bytes; empty keeps them."),
    key("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1), &[one("compression.gzip.level")], CODEC_LEVEL,
        "Level for compression.type=gzip."),
    key("compression.lz4.level", Int, "9", Between(1, 17), &[one("compression.lz4.level")], CODEC_LEVEL,
        "Level for compression.type=lz4."),
    key("compression.type", String, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), &[one("compression.type")],
        not_yet("recompression is not served yet: batches are stored as producers compressed them", &["producer"]),
        "Compression of stored batches; producer keeps what the producer chose."),
    key("compression.zstd.level", Int, "3", Between(-131_072, 22), &[one("compression.zstd.level")], CODEC_LEVEL,
        "Level for compression.type=zstd."),
    key("delete.retention.ms", Long, "86400000", AtLeast(0), &[one("log.cleaner.delete.retention.ms")], COMPACTION,
        "How long compaction keeps tombstones."),
    key("file.delete.delay.ms", Long, "60000", AtLeast(0), &[one("log.segment.delete.delay.ms")],
        met("objects are deleted storage.object.delete.grace.ms after they are retired"),
        "Delay before a file is deleted."),
    key("flush.messages", Long, MAX, AtLeast(1), &[one("log.flush.interval.messages")], FLUSH,
        "Records after which a sync is forced."),
    key("flush.ms", Long, MAX, AtLeast(0), &[one("log.flush.interval.ms"), one("log.flush.scheduler.interval.ms")], FLUSH,
        "Time after which a sync is forced."),
    key("follower.replication.throttled.replicas", List, "", Bounds::ThrottledReplicas, &[], REPLICAS,
        "Replicas whose replication is throttled at the follower."),
    key("index.interval.bytes", Int, "4096", AtLeast(0), &[one("log.index.interval.bytes")], SEGMENTS,
        "Bytes between two entries of the offset index."),
    key("leader.replication.throttled.replicas", List, "", Bounds::ThrottledReplicas, &[], REPLICAS,
        "Replicas whose replication is throttled at the leader."),
    key("local.retention.bytes", Long, "-2", AtLeast(-2), &[one("log.local.retention.bytes")], TIERS,
        "Bytes kept on local disk when tiered storage is on."),
    key("local.retention.ms", Long, "-2", AtLeast(-2), &[one("log.local.retention.ms")], TIERS,
        "Time kept on local disk when tiered storage is on."),
    key("max.compaction.lag.ms", Long, MAX, AtLeast(1), &[one("log.cleaner.max.compaction.lag.ms")], COMPACTION,
        "Longest time a record stays uncompacted."),
    key("max.message.bytes", Int, "1048588", AtLeast(0), &[one("message.max.bytes")], Class::Effective,
        "Largest record batch, compressed as it arrives."),
    key("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), &[one("log.message.timestamp.after.max.ms")], Class::Effective,
        "How far a producer's timestamp may lie after the broker's time; not applied with LogAppendTime."),
    key("message.timestamp.before.max.ms", Long, MAX, AtLeast(0), &[one("log.message.timestamp.before.max.ms")], Class::Effective,
        "How far a producer's timestamp may lie before the broker's time; not applied with LogAppendTime."),
    key("message.timestamp.type", String, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), &[one("log.message.timestamp.type")], Class::Effective,
        "Whose time a record carries: its producer's or the broker's."),
    key("min.cleanable.dirty.ratio", Double, "0.5", Fraction(0.0, 1.0), &[one("log.cleaner.min.cleanable.ratio")], COMPACTION,
        "Share of uncompacted bytes at which compaction starts."),
    key("min.compaction.lag.ms", Long, "0", AtLeast(0), &[one("log.cleaner.min.compaction.lag.ms")], COMPACTION,
        "Shortest time a record stays uncompacted."),
    key("min.insync.replicas", Int, "1", AtLeast(1), &[one("min.insync.replicas")], ALWAYS_IN_SYNC,
        "Replicas that must have a record before acks=all is answered."),
    key("preallocate", Boolean, "false", Any, &[one("log.preallocate")], SEGMENTS,
        "Preallocate segment files."),
    key("remote.log.copy.disable", Boolean, "false", Any, &[], TIERS,
        "Stop copying to tiered storage."),
    key("remote.log.delete.on.disable", Boolean, "false", Any, &[], TIERS,
        "Delete tiered data when tiered storage is turned off."),
    key("remote.storage.enable", Boolean, "false", Any, &[],
        not_yet("all data is in the bucket in any case; Kafka's tiered storage is not served", &["false"]),
        "Turn on Kafka's tiered storage."),
    key("retention.bytes", Long, "-1", Any, &[one("log.retention.bytes")], Class::Effective,
        "Bytes kept per partition; negative: no bound."),
    key("retention.ms", Long, "604800000", AtLeast(-1), &[one("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")], Class::Effective,
        "How long records are kept; -1: for ever."),
    key("segment.bytes", Int, "1073741824", AtLeast(1_048_576), &[one("log.segment.bytes")], SEGMENTS,
        "Size of a segment file."),
    key("segment.index.bytes", Int, "10485760", AtLeast(4), &[one("log.index.size.max.bytes")], SEGMENTS,
        "Size of the index of a segment."),
    key("segment.jitter.ms", Long, "0", AtLeast(0), &[one("log.roll.jitter.ms"), hours("log.roll.jitter.hours")], SEGMENTS,
        "Random part of segment.ms."),
    key("segment.ms", Long, "604800000", AtLeast(1), &[one("log.roll.ms"), hours("log.roll.hours")], SEGMENTS,
        "Time after which a segment is closed."),
    key("unclean.leader.election.enable", Boolean, "false", Any, &[one("unclean.leader.election.enable")], ALWAYS_IN_SYNC,
        "Let a replica that is not in sync become leader."),
];
