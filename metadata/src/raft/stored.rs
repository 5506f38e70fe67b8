//! The bytes of what the Raft log and the snapshot file keep: a version byte, then postcard.
//!
//! Owns: types of our own for ids, votes, memberships and entries, so that the stored form is not openraft's.
//! Invariants: variants and fields are only ever appended under one version; decoding takes all bytes or fails,
//! and allocates no more than the bytes can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::{BasicNode, CommittedLeaderId, EntryPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::NodeId;
use super::types::{Entry, LogId, Membership, Payload, SnapshotMeta, StoredMembership, Vote};
use crate::Command;

/// Version of every record.
const VERSION: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Id {
    term: u64,
    node: NodeId,
    index: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VoteRecord {
    term: u64,
    node: NodeId,
    committed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MembershipRecord {
    configs: Vec<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EntryRecord {
    id: Id,
    payload: PayloadRecord,
}

#[derive(Debug, Serialize, Deserialize)]
enum PayloadRecord {
    Blank,
    Commands(Arc<Vec<Command>>),
    Membership(MembershipRecord),
}

/// All that is not an entry, written anew before old segments are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct StateRecord {
    pub vote: Option<VoteRecord>,
    pub committed: Option<Id>,
    pub purged: Option<Id>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotMetaRecord {
    last: Option<Id>,
    membership_at: Option<Id>,
    membership: MembershipRecord,
    id: String,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("a growing buffer takes any plain value")
}

/// Says what is wrong, for an error that names the place.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            Ok(_) => Err("bytes after the end of the record".into()),
            Err(error) => Err(format!("the record cannot be decoded: {error}")),
        },
        Some((version, _)) => Err(format!("record version {version}, this build reads up to {VERSION}")),
        None => Err("an empty record".into()),
    }
}

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRecord::Blank,
        EntryPayload::Normal(Payload(commands)) => PayloadRecord::Commands(Arc::clone(commands)),
        EntryPayload::Membership(membership) => PayloadRecord::Membership(membership.into()),
    };
    encode(&EntryRecord { id: entry.log_id.into(), payload })
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, String> {
    let EntryRecord { id, payload } = decode(bytes)?;
    let payload = match payload {
        PayloadRecord::Blank => EntryPayload::Blank,
        PayloadRecord::Commands(commands) => EntryPayload::Normal(Payload(commands)),
        PayloadRecord::Membership(membership) => EntryPayload::Membership(membership.into()),
    };
    Ok(Entry { log_id: id.into(), payload })
}

pub(super) fn encode_snapshot_meta(meta: &SnapshotMeta) -> Vec<u8> {
    let SnapshotMeta { last_log_id, last_membership, snapshot_id } = meta;
    encode(&SnapshotMetaRecord {
        last: last_log_id.map(Id::from),
        membership_at: last_membership.log_id().map(Id::from),
        membership: last_membership.membership().into(),
        id: snapshot_id.clone(),
    })
}

pub(super) fn decode_snapshot_meta(bytes: &[u8]) -> Result<SnapshotMeta, String> {
    let SnapshotMetaRecord { last, membership_at, membership, id } = decode(bytes)?;
    Ok(SnapshotMeta {
        last_log_id: last.map(LogId::from),
        last_membership: StoredMembership::new(membership_at.map(LogId::from), membership.into()),
        snapshot_id: id,
    })
}

impl From<LogId> for Id {
    fn from(id: LogId) -> Self {
        Id { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<Id> for LogId {
    fn from(Id { term, node, index }: Id) -> Self {
        LogId::new(CommittedLeaderId::new(term, node), index)
    }
}

impl From<Vote> for VoteRecord {
    fn from(vote: Vote) -> Self {
        VoteRecord { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(VoteRecord { term, node, committed }: VoteRecord) -> Self {
        if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }
    }
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        MembershipRecord {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl From<MembershipRecord> for Membership {
    fn from(MembershipRecord { configs, nodes }: MembershipRecord) -> Self {
        let nodes: BTreeMap<NodeId, BasicNode> =
            nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        Membership::new(configs, nodes)
    }
}
