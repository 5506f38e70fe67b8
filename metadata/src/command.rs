//! What may be asked of the metadata quorum.
//!
//! Owns: the commands, as they stand in Raft entries (postcard, see `raft/entry.rs`).
//! Invariants: variants and fields are only ever appended, since old entries are decoded by their place; a
//! command holds no time but the leader's `Tick` and no randomness but what its proposer drew; a command that
//! only one process may give carries that process's incarnation.
//! Never: is applied as it stands. It is decided into records first (`decide.rs`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_common::{
    BrokerId, Incarnation, LeaderEpoch, Lineage, ObjectId, Offset, Position, StreamId, TopicId, WalId,
};
use uuid::Uuid;

use crate::rows::{Endpoint, GarbageKey};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a cluster. Repeating it with the same id changes nothing.
    InitCluster(InitCluster),
    /// The leader's clock. Time never goes back: an earlier `now_ms` changes nothing.
    Tick {
        now_ms: i64,
    },
    RegisterBroker(RegisterBroker),
    /// Ends an incarnation: it can propose nothing from here on. Idempotent.
    FenceBroker {
        broker: BrokerId,
        incarnation: Incarnation,
    },
    /// Fixes the end of a fenced incarnation's WAL. The first one accepted counts and is what every later
    /// one is answered.
    SealWal {
        wal: WalId,
        executor: Incarnation,
        end: Position,
    },
    /// Positions below `below` are needed no more. By the WAL's own incarnation while open, by any live one
    /// once sealed. Monotone.
    TrimWal {
        wal: WalId,
        incarnation: Incarnation,
        below: Position,
    },
    /// Forgets a WAL that is sealed and trimmed to its end.
    DeleteWal {
        wal: WalId,
        incarnation: Incarnation,
    },
    CreateTopic(CreateTopic),
    /// Raises the number of partitions to `count`.
    CreatePartitions {
        topic: TopicId,
        count: u32,
        owners: Vec<BrokerId>,
    },
    /// The streams die: their objects are retired and slices of them are skipped from here on.
    DeleteTopic {
        topic: TopicId,
    },
    AlterTopicConfigs {
        topic: TopicId,
        change: ConfigChange,
    },
    /// Takes ownership. A new leader epoch per change of owner incarnation, none when it already owns.
    OpenPartitions {
        incarnation: Incarnation,
        streams: Vec<StreamId>,
    },
    /// By the owner. Monotone: a lower `to` changes nothing.
    AdvanceLogStart {
        incarnation: Incarnation,
        stream: StreamId,
        to: Offset,
    },
    /// Ids for objects that are about to be PUT; they expire `ttl_ms` after the state's time.
    PrepareObjects {
        incarnation: Incarnation,
        count: u32,
        ttl_ms: u64,
    },
    CommitUpload(CommitUpload),
    CommitCompaction(CommitCompaction),
    /// Stream set objects whose every slice is dead, trimmed or covered by stream objects.
    RetireObjects {
        incarnation: Incarnation,
        objects: Vec<SetInput>,
    },
    /// These are gone from the bucket. Idempotent.
    ConfirmDeleted {
        incarnation: Incarnation,
        objects: Vec<GarbageKey>,
    },
    AllocateProducerIds {
        incarnation: Incarnation,
        count: u32,
    },
    /// The whole new map of one broker's dynamic configs, or of the cluster's default for all of them (`None`);
    /// holds only if the version of that map is still this one.
    AlterBrokerConfigs {
        broker: Option<BrokerId>,
        expected_version: u64,
        configs: BTreeMap<String, String>,
    },
    /// An operator gave up what a sealed WAL held above `end`, since it is damaged. Idempotent; the end only falls.
    LowerSeal {
        wal: WalId,
        executor: Incarnation,
        end: Position,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitCluster {
    pub cluster_id: Uuid,
    /// Where lineage 1 keeps its objects.
    pub bucket: String,
    pub prefix: String,
    pub features: BTreeMap<String, u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterBroker {
    pub broker: BrokerId,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    /// Drawn by the process at its start: the same nonce again is the same process, which gets the same answer.
    pub nonce: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTopic {
    pub name: String,
    /// Drawn by the proposer.
    pub id: TopicId,
    pub partitions: u32,
    /// The owner of each partition; empty leaves the choice to the state machine.
    pub owners: Vec<BrokerId>,
    pub replication_factor: u16,
    pub configs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigChange {
    /// The whole new map; holds only if the topic's config version is still this one.
    Replace { expected_version: u64, configs: BTreeMap<String, String> },
    /// Applied in order to whatever the map is then.
    Incremental(Vec<ConfigOp>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigOp {
    Set {
        key: String,
        value: String,
    },
    Delete {
        key: String,
    },
    /// Adds to a comma-separated list; `default` is the list when the key is not set.
    Append {
        key: String,
        value: String,
        default: String,
    },
    Subtract {
        key: String,
        value: String,
        default: String,
    },
}

/// Records `[from, to)` of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slice {
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
}

/// One upload round. All of it holds or none: see [`crate::decide`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitUpload {
    pub incarnation: Incarnation,
    pub set_object: Option<NewSetObject>,
    pub stream_objects: Vec<NewStreamObject>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSetObject {
    pub id: ObjectId,
    pub size: u64,
    /// CRC32C of the whole object.
    pub crc32c: u32,
    /// In the footer's order. A stream may have several, in offset order.
    pub slices: Vec<Slice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStreamObject {
    pub id: ObjectId,
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
    pub size: u64,
    pub crc32c: u32,
}

/// An immutable object that lists up to [`crate::LEAF_OBJECTS_MAX`] stream objects of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLeaf {
    pub id: ObjectId,
    pub from: Offset,
    pub to: Offset,
    /// Stream objects it lists.
    pub count: u32,
    pub size: u64,
    pub crc32c: u32,
}

/// A live stream set object, with the slices of its footer exactly as they were committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInput {
    pub object: ObjectId,
    pub slices: Vec<Slice>,
}

/// Swaps objects for others that hold the same records. Holds only if every input is still live and the
/// outputs cover what the inputs held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitCompaction {
    pub incarnation: Incarnation,
    /// Set objects that go. Reading a set object without retiring it needs no entry here.
    pub set_inputs: Vec<SetInput>,
    pub set_outputs: Vec<NewSetObject>,
    pub streams: Vec<StreamSwap>,
}

/// The part of a compaction that concerns one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamSwap {
    pub stream: StreamId,
    /// Stream objects (by first offset) whose bytes are needed no more.
    pub retired: Vec<(Offset, ObjectId)>,
    /// Stream objects (by first offset) that an output leaf lists from here on; their bytes stay.
    pub listed: Vec<(Offset, ObjectId)>,
    /// Leaves (by first offset) that go.
    pub leaves: Vec<(Offset, ObjectId)>,
    /// Stream objects that those leaves list and no output leaf does.
    pub unlisted: Vec<ObjectId>,
    /// Prepared objects that an output leaf lists at once, without ever having a row.
    pub listed_new: Vec<ObjectId>,
    pub new_objects: Vec<NewStreamObject>,
    pub new_leaves: Vec<NewLeaf>,
}

/// A leader epoch of `region_epoch`, n-th change of owner.
#[must_use]
pub fn leader_epoch(region_epoch: u32, n: u32) -> LeaderEpoch {
    LeaderEpoch(((region_epoch << 20) | (n & 0xF_FFFF)).cast_signed())
}

/// The first lineage of every cluster.
pub const FIRST_LINEAGE: Lineage = Lineage(1);
