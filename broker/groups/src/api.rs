//! What goes into a shard and what comes out: requests borrow from the caller, answers own.

use bytes::Bytes;
use uuid::Uuid;

use crate::Name;
use crate::error::GroupError;

/// The two times a decision may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds from any origin: sessions, rebalances and every deadline.
    pub mono_ms: i64,
    /// Milliseconds since 1970: commit timestamps and offset retention.
    pub wall_ms: i64,
}

/// Names a JoinGroup or SyncGroup that waits for its answer. The caller hands out numbers and uses none twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A record for the shard's partition of `__consumer_offsets`; no value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What a call adds: records to append, in order, and answers to parked requests.
#[derive(Debug, Default, PartialEq)]
pub struct Effects {
    pub records: Vec<Record>,
    pub answers: Vec<(Token, Answer)>,
}

impl Effects {
    /// Bytes that the records take in a batch, at most, without the batch's head.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.records.iter().map(crate::records::batch_bytes).sum()
    }
}

/// The answer to a parked request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Join(JoinAnswer),
    Sync(SyncAnswer),
}

/// JoinGroup. A member id that has to be made is `client id (or instance id)-uuid`.
#[derive(Debug, Clone, Copy)]
pub struct JoinGroup<'a> {
    /// The version of the request: from 4 a new member is told its id first (KIP-394), from 9 a static leader that comes
    /// back skips the assignment (KIP-814).
    pub version: i16,
    pub group: &'a str,
    /// Empty for a new member.
    pub member: &'a str,
    pub instance: Option<&'a str>,
    /// Empty if the request has none.
    pub client_id: &'a str,
    /// As Kafka prints it: `/127.0.0.1`.
    pub client_host: &'a str,
    pub session_timeout_ms: i32,
    /// Negative, as version 0 decodes, stands for the session timeout.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: &'a str,
    /// In the member's order of preference.
    pub protocols: &'a [Protocol<'a>],
    /// For the id of a new member.
    pub uuid: Uuid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol<'a> {
    pub name: &'a str,
    pub metadata: &'a [u8],
}

#[derive(Debug, Clone, PartialEq)]
pub struct JoinAnswer {
    pub error: Option<GroupError>,
    /// −1 with an error.
    pub generation: i32,
    pub protocol_type: Option<Name>,
    /// Below version 7 null is sent as an empty string.
    pub protocol: Option<Name>,
    pub leader: Name,
    pub skip_assignment: bool,
    pub member: Name,
    /// Of all members, for the leader; else empty.
    pub members: Vec<JoinedMember>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct JoinedMember {
    pub member: Name,
    pub instance: Option<Name>,
    pub metadata: Bytes,
}

#[derive(Debug, Clone, Copy)]
pub struct SyncGroup<'a> {
    /// From 5 both protocol fields must be there.
    pub version: i16,
    pub group: &'a str,
    pub member: &'a str,
    pub instance: Option<&'a str>,
    pub generation: i32,
    pub protocol_type: Option<&'a str>,
    pub protocol: Option<&'a str>,
    /// Member and assignment, from the leader.
    pub assignments: &'a [(&'a str, &'a [u8])],
}

#[derive(Debug, Clone, PartialEq)]
pub struct SyncAnswer {
    pub error: Option<GroupError>,
    pub protocol_type: Option<Name>,
    pub protocol: Option<Name>,
    pub assignment: Bytes,
}

/// One member of a LeaveGroup. With an empty member id the instance id says who leaves.
#[derive(Debug, Clone, Copy)]
pub struct LeaveMember<'a> {
    pub member: &'a str,
    pub instance: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
pub struct OffsetCommit<'a> {
    /// Decides between GROUP_ID_NOT_FOUND (from 9) and ILLEGAL_GENERATION.
    pub version: i16,
    pub group: &'a str,
    pub member: &'a str,
    pub instance: Option<&'a str>,
    /// −1 for a consumer without a group's membership.
    pub generation: i32,
    /// Versions 2 to 4; −1 is the broker's retention.
    pub retention_ms: i64,
    pub offsets: &'a [CommitOffset<'a>],
}

#[derive(Debug, Clone, Copy)]
pub struct CommitOffset<'a> {
    pub topic: &'a str,
    /// Nil if the request has none (below version 10).
    pub topic_id: Uuid,
    pub partition: i32,
    pub offset: i64,
    /// −1 if unknown.
    pub leader_epoch: i32,
    pub metadata: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
pub struct OffsetDelete<'a> {
    pub group: &'a str,
    pub partitions: &'a [(&'a str, i32)],
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// −1 if unknown.
    pub leader_epoch: i32,
    pub metadata: Name,
    pub commit_ms: i64,
    /// From an OffsetCommit of version 2 to 4 that stated a retention.
    pub expire_ms: Option<i64>,
    /// Nil if unknown.
    pub topic_id: Uuid,
}

/// What the metadata knows of topics.
pub trait Topics {
    fn has_partition(&self, topic: &str, partition: i32) -> bool;
}

impl<F: Fn(&str, i32) -> bool> Topics for F {
    fn has_partition(&self, topic: &str, partition: i32) -> bool {
        self(topic, partition)
    }
}

/// A group's state, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// No members; offsets may be there.
    Empty,
    /// Waits for members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    Stable,
    /// The group is not there.
    Dead,
}

impl GroupState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

/// One group of DescribeGroups.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedGroup {
    /// GROUP_ID_NOT_FOUND from version 6 (KIP-1043); below, an absent group is Dead without an error.
    pub error: Option<GroupError>,
    pub error_message: Option<String>,
    pub state: GroupState,
    pub protocol_type: Name,
    /// Empty unless Stable.
    pub protocol: Name,
    pub members: Vec<DescribedMember>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DescribedMember {
    pub member: Name,
    pub instance: Option<Name>,
    pub client_id: Name,
    pub client_host: Name,
    /// Empty unless Stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// One group of ListGroups; its type is `classic`.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedGroup {
    pub group: Name,
    pub protocol_type: Name,
    pub state: GroupState,
}
