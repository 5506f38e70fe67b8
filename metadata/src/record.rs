//! What a decided command changes.
//!
//! Invariants: a record says what becomes true, not what was asked; replaying it cannot fail.
//! Never: is stored. Raft entries hold commands, snapshots hold rows.

use std::collections::BTreeMap;

use tidegate_common::{
    BrokerId, Incarnation, LeaderEpoch, ObjectId, Offset, Position, StreamId, TopicId, WalId,
};

use crate::rows::{
    Broker, Cluster, GarbageKey, Leaf, LineageRow, Owner, Partition, SetObject, StreamObject, WalRow,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    ClusterInitialized {
        cluster: Cluster,
        lineage: LineageRow,
    },
    TimeAdvanced {
        now_ms: i64,
    },
    /// The row replaces the one of the same broker, whose incarnation is thereby fenced.
    BrokerRegistered(Broker),
    BrokerFenced {
        broker: BrokerId,
    },
    WalCreated(WalRow),
    WalSealed {
        wal: WalId,
        end: Position,
        executor: Incarnation,
    },
    WalTrimmed {
        wal: WalId,
        below: Position,
    },
    WalDeleted {
        wal: WalId,
    },
    /// Without partitions; [`Record::PartitionsAdded`] follows.
    TopicCreated {
        id: TopicId,
        name: String,
        replication_factor: u16,
        configs: BTreeMap<String, String>,
    },
    PartitionsAdded {
        topic: TopicId,
        partitions: Vec<Partition>,
    },
    /// With all its streams, whose objects become garbage.
    TopicDeleted {
        topic: TopicId,
    },
    ConfigsReplaced {
        topic: TopicId,
        configs: BTreeMap<String, String>,
    },
    PartitionOpened {
        stream: StreamId,
        owner: Owner,
        leader_epoch: LeaderEpoch,
    },
    /// Objects and leaves wholly below become garbage; `so_end` and `committed_end` are raised to it.
    LogStartAdvanced {
        stream: StreamId,
        to: Offset,
    },
    ObjectsPrepared {
        first: ObjectId,
        count: u32,
        incarnation: Incarnation,
        deadline_ms: i64,
    },
    /// A prepared object that will not be committed: garbage.
    PreparedDropped {
        id: ObjectId,
    },
    /// A prepared object that a leaf lists from here on.
    PreparedListed {
        id: ObjectId,
    },
    CommittedEndAdvanced {
        stream: StreamId,
        to: Offset,
    },
    /// No longer prepared, but live.
    SetObjectAdded(SetObject),
    SetObjectRetired {
        id: ObjectId,
    },
    /// No longer prepared, but live; `so_end` moves up as far as stream objects reach without a hole.
    StreamObjectAdded(StreamObject),
    StreamObjectRetired {
        stream: StreamId,
        from: Offset,
    },
    /// A leaf lists it from here on: the row goes, the bytes stay.
    StreamObjectListed {
        stream: StreamId,
        from: Offset,
    },
    /// No longer prepared, but live.
    LeafAdded(Leaf),
    /// Only the leaf goes; what it lists is named by other records.
    LeafRetired {
        stream: StreamId,
        from: Offset,
    },
    /// A stream object that a retired leaf listed and no other does.
    ListedRetired {
        id: ObjectId,
    },
    GarbageDeleted {
        key: GarbageKey,
    },
    ProducerIdsAllocated {
        count: u32,
    },
    BrokerConfigsReplaced {
        broker: Option<BrokerId>,
        configs: BTreeMap<String, String>,
    },
}
