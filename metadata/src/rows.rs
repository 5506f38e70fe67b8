//! The rows of the image.
//!
//! Invariants: rows hold numbers and names only, no bytes of any record; every row that points at stored bytes
//! carries its lineage. Never: changes except through `replay.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_common::{
    BrokerId, Incarnation, LeaderEpoch, Lineage, ObjectId, Offset, Position, StreamId, TopicId, WalId,
};
use uuid::Uuid;

/// Where clients reach a broker on one named listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub id: BrokerId,
    /// The current incarnation; every other one of this broker is fenced.
    pub incarnation: Incarnation,
    pub wal: WalId,
    pub nonce: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    /// The current incarnation is fenced, too.
    pub fenced: bool,
}

/// Dynamic configs of one broker, or of all of them by default (KIP-226).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfigs {
    /// `None`: the cluster's default.
    pub broker: Option<BrokerId>,
    /// Grows by one with every change of `configs`; the row stays when they are empty again.
    pub version: u64,
    pub configs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRow {
    pub id: WalId,
    pub lineage: Lineage,
    pub broker: BrokerId,
    pub incarnation: Incarnation,
    pub state: WalState,
    /// Positions below it are needed no more. Starts at 1.
    pub trim: Position,
}

impl WalRow {
    /// Sealed, and nothing in it is needed: its bytes may go.
    #[must_use]
    pub fn deletable(&self) -> bool {
        matches!(self.state, WalState::Sealed { end, .. } if self.trim > end)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalState {
    Open,
    /// Positions up to and including `end` count, for ever.
    Sealed {
        end: Position,
        executor: Incarnation,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    pub replication_factor: u16,
    /// Grows by one with every change of `configs`.
    pub config_version: u64,
    pub configs: BTreeMap<String, String>,
    /// The stream of each partition, by partition index.
    pub partitions: Arc<[StreamId]>,
}

/// One partition, which is one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    pub stream: StreamId,
    pub topic: TopicId,
    pub index: u32,
    /// `None` until a broker took it for the first time.
    pub owner: Option<Owner>,
    pub leader_epoch: LeaderEpoch,
    /// `log_start <= so_end <= committed_end`; all three only grow.
    pub log_start: Offset,
    /// Records below it are in stream objects (or in leaves that list them).
    pub so_end: Offset,
    /// Records from `so_end` up to it are in stream set objects, or in a stream object above a slice.
    pub committed_end: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub broker: BrokerId,
    pub incarnation: Incarnation,
}

/// A live stream set object. Its ranges are in its footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetObject {
    pub id: ObjectId,
    pub lineage: Lineage,
    /// Who committed it.
    pub incarnation: Incarnation,
    pub size: u64,
    pub crc32c: u32,
    /// Proves the slices that a retirement names: see [`crate::decide::slices_hash`].
    pub slices_hash: [u8; 16],
}

/// A live stream object that no leaf lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamObject {
    pub id: ObjectId,
    pub lineage: Lineage,
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
    pub size: u64,
    pub crc32c: u32,
}

/// A live leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    pub id: ObjectId,
    pub lineage: Lineage,
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
    pub count: u32,
    pub size: u64,
    pub crc32c: u32,
}

/// An id handed out for an object that is not committed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    pub id: ObjectId,
    pub incarnation: Incarnation,
    /// In the state's time. From then on a commit is refused and the object is garbage.
    pub deadline_ms: i64,
}

/// Garbage in the order in which it left the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GarbageKey {
    /// The Raft index of the entry that took it out.
    pub index: u64,
    pub object: ObjectId,
}

/// An object that nothing in the state refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage {
    pub key: GarbageKey,
    pub lineage: Lineage,
    /// The state's time when it left.
    pub at_ms: i64,
    pub kind: GarbageKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GarbageKind {
    StreamSetObject,
    StreamObject,
    /// A leaf whose list lives on elsewhere: only the leaf itself goes.
    Leaf,
    /// A leaf that goes with every stream object it lists: they go first, the leaf last.
    LeafAndListed,
    /// Prepared and never committed: may exist as any kind of object, or not at all.
    Prepared,
}

/// Where a lineage keeps its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageRow {
    pub lineage: Lineage,
    /// Object ids from here up to the next lineage's first belong to this one: ids grow across lineages.
    pub first_object: ObjectId,
    pub bucket: String,
    pub prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub id: Uuid,
    /// From 1; only a promotion raises it.
    pub region_epoch: u32,
    /// What new objects and WALs are written under.
    pub lineage: Lineage,
    pub features: BTreeMap<String, u16>,
}
