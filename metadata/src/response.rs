//! What the state machine answers: one response or one typed refusal per command.
//!
//! Invariants: a refusal changes nothing. Never: holds text for a user's eyes beyond `Display`; the broker maps
//! each variant to a Kafka error code in one place.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate_common::{
    BrokerId, Incarnation, LeaderEpoch, ObjectId, Offset, Position, StreamId, TopicId, WalId,
};
use uuid::Uuid;

use crate::command::Slice;

/// The outcome of one command.
pub type Outcome = Result<Response, Refusal>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    Done,
    Registered {
        incarnation: Incarnation,
        wal: WalId,
    },
    /// The seal that counts, which may be another's.
    Sealed {
        end: Position,
        executor: Incarnation,
    },
    TopicCreated {
        id: TopicId,
        streams: Vec<StreamId>,
    },
    /// The streams that were added.
    PartitionsCreated {
        streams: Vec<StreamId>,
    },
    ConfigsAltered {
        version: u64,
    },
    /// One outcome per stream asked for, in that order.
    Opened(Vec<(StreamId, Result<Opened, Refusal>)>),
    LogStart {
        log_start: Offset,
    },
    /// Ids `first .. first + count`, in publish order.
    Prepared {
        first: ObjectId,
        count: u32,
    },
    Uploaded(Uploaded),
    /// `so_end` of each swapped stream afterwards.
    Compacted {
        so_ends: Vec<(StreamId, Offset)>,
    },
    ProducerIds {
        first: i64,
        count: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub leader_epoch: LeaderEpoch,
    pub log_start: Offset,
    pub so_end: Offset,
    pub committed_end: Offset,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Uploaded {
    /// `committed_end` of each stream that the upload touched, afterwards.
    pub committed: Vec<(StreamId, Offset)>,
    /// Slices that did not count because the stream was deleted or its log start is past them.
    pub skipped: Vec<Slice>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("the cluster is not initialized")]
    Uninitialized,
    #[error("this is cluster {is}, not {asked}")]
    OtherCluster { is: Uuid, asked: Uuid },
    /// Not the current incarnation of any broker: it must stop.
    #[error("incarnation {0} is fenced")]
    Fenced(Incarnation),
    #[error("broker {0} is not registered, or fenced")]
    BrokerUnavailable(BrokerId),
    #[error("no WAL {0}")]
    UnknownWal(WalId),
    #[error("WAL {wal} belongs to incarnation {incarnation}, which is not fenced")]
    WalInUse { wal: WalId, incarnation: Incarnation },
    #[error("WAL {wal} of the owner before is not sealed")]
    WalNotSealed { wal: WalId },
    #[error("WAL {0} still holds what is not in the bucket")]
    WalNotTrimmed(WalId),
    /// The WAL lost what was acknowledged: an operator has to look.
    #[error("WAL {wal} ends at {end}, but is trimmed up to {trim}: its end is lost")]
    SealBelowTrim { wal: WalId, end: Position, trim: Position },
    #[error("topic name {name:?} is invalid: {why}")]
    InvalidTopicName { name: String, why: String },
    #[error("topic {0:?} exists")]
    TopicExists(String),
    #[error(
        "topic {name:?} collides with {existing:?}: names that differ only in '.' and '_' would share metrics"
    )]
    TopicNameCollides { name: String, existing: String },
    #[error("topic id {0} is taken; draw another")]
    TopicIdTaken(TopicId),
    #[error("no topic {0}")]
    UnknownTopic(TopicId),
    #[error("{count} partitions: {why}")]
    InvalidPartitions { count: u32, why: String },
    #[error("replication factor {0} is below 1")]
    InvalidReplicationFactor(u16),
    #[error("{owners} owners for {partitions} new partitions")]
    InvalidAssignment { owners: u32, partitions: u32 },
    #[error("the topic's configs are at version {current}, not {expected}")]
    ConfigVersion { expected: u64, current: u64 },
    #[error("no stream {0}")]
    UnknownStream(StreamId),
    #[error("stream {stream} is owned by incarnation {owner}")]
    NotOwner { stream: StreamId, owner: Incarnation },
    #[error("stream {0} has used up its leader epochs")]
    EpochsExhausted(StreamId),
    /// Never prepared by this incarnation, expired, or committed already and gone since.
    #[error("object {0} is not prepared by this incarnation")]
    NotPrepared(ObjectId),
    #[error("a slice of stream {stream} begins at {from}, committed is up to {committed_end}")]
    NotAtCommittedEnd { stream: StreamId, from: Offset, committed_end: Offset },
    #[error("{0}")]
    Malformed(String),
    /// The inputs changed since the compaction was planned: plan anew.
    #[error("object {0} is not live, or not as the plan says")]
    InputGone(ObjectId),
    #[error("the outputs do not hold offset {at} of stream {stream}, which the inputs held")]
    NotCovered { stream: StreamId, at: Offset },
    #[error("the outputs overlap at offset {at} of stream {stream}")]
    Overlap { stream: StreamId, at: Offset },
    #[error("{what}: {asked} asked, {limit} is the limit")]
    TooMany { what: String, asked: u64, limit: u64 },
}
