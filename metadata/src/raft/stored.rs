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

#[cfg(test)]
mod tests {
    use tidegate_common::random::{Random, SeededRandom};
    use tidegate_common::{BrokerId, Incarnation, Offset, Position, StreamId, WalId};

    use super::super::transport::Request;
    use super::*;
    use crate::command::{CommitCompaction, CommitUpload, NewSetObject, Slice, StreamSwap};

    fn entry(payload: EntryPayload<super::super::types::Types>) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(3, 2), 17), payload }
    }

    fn upload() -> Command {
        let slices = vec![Slice { stream: StreamId(3), from: Offset(4), to: Offset(5) }];
        Command::CommitUpload(CommitUpload {
            incarnation: Incarnation(1),
            set_object: Some(NewSetObject { id: tidegate_common::ObjectId(2), size: 300, crc32c: 7, slices }),
            stream_objects: vec![],
        })
    }

    #[test]
    fn entries_votes_and_snapshots_come_back_equal() {
        let nodes = BTreeMap::from([(1, BasicNode::new("a")), (2, BasicNode::new("b"))]);
        let membership = Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1])], nodes);
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload(Arc::new(vec![upload(), Command::Tick { now_ms: -1 }]))),
            EntryPayload::Membership(membership.clone()),
        ] {
            let entry = entry(payload);
            assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
        for vote in [Vote::new(4, 2), Vote::new_committed(5, 1)] {
            assert_eq!(Vote::from(VoteRecord::from(vote)), vote);
        }
        let meta = SnapshotMeta {
            last_log_id: Some(LogId::new(CommittedLeaderId::new(3, 2), 17)),
            last_membership: StoredMembership::new(
                Some(LogId::new(CommittedLeaderId::new(1, 1), 2)),
                membership,
            ),
            snapshot_id: "id".into(),
        };
        assert_eq!(decode_snapshot_meta(&encode_snapshot_meta(&meta)), Ok(meta));
    }

    /// Logs of older builds hold these bytes: a variant or field that moves is a new version.
    #[test]
    fn commands_keep_their_bytes() {
        let (incarnation, wal) = (Incarnation(1), WalId(2));
        let commands = [
            (Command::Tick { now_ms: 1 }, "0102"),
            (Command::FenceBroker { broker: BrokerId(1), incarnation }, "030201"),
            (Command::SealWal { wal, executor: incarnation, end: Position(9) }, "04020109"),
            (Command::TrimWal { wal, incarnation, below: Position(9) }, "05020109"),
            (Command::DeleteWal { wal, incarnation }, "060201"),
            (Command::OpenPartitions { incarnation, streams: vec![StreamId(300)] }, "0b0101ac02"),
            (Command::AdvanceLogStart { incarnation, stream: StreamId(3), to: Offset(4) }, "0c010308"),
            (Command::PrepareObjects { incarnation, count: 2, ttl_ms: 3 }, "0d010203"),
            (upload(), "0e010102ac0207010308" /* slice */),
            (Command::RetireObjects { incarnation, objects: vec![] }, "100100"),
            (Command::ConfirmDeleted { incarnation, objects: vec![] }, "110100"),
            (Command::AllocateProducerIds { incarnation, count: 5 }, "120105"),
            (Command::LowerSeal { wal, executor: incarnation, end: Position(9) }, "14020109"),
        ];
        for (command, bytes) in commands {
            let hex: String = encode(&command)[1..].iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(hex.starts_with(bytes), "{command:?}: {hex}");
        }
    }

    #[test]
    fn bytes_from_anywhere_are_refused_without_a_panic() {
        let random = SeededRandom::new(5);
        let compaction = Command::CommitCompaction(CommitCompaction {
            incarnation: Incarnation(1),
            set_inputs: vec![],
            set_outputs: vec![],
            streams: vec![StreamSwap::default(); 3],
        });
        let good = encode_entry(&entry(EntryPayload::Normal(Payload(Arc::new(vec![upload(), compaction])))));
        for _ in 0..50_000 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            bytes.truncate(1 + random.below(bytes.len() as u64) as usize);
            let _ = decode_entry(&bytes);
            let _ = decode::<Request>(&bytes);
        }
        // A count that the bytes cannot hold.
        assert!(decode::<Vec<Command>>(&[VERSION, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
        assert!(decode_entry(&[2, 0]).is_err_and(|what| what.contains("version 2")));
    }
}
