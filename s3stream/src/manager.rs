//! What this crate needs of the metadata quorum, as traits: `broker` joins them to `metadata`.
//!
//! Invariants: rows are a snapshot of one applied image; proposals answer after they are applied here.
//! Never: carries block ranges (those stay in object footers).

use futures::future::BoxFuture;
use thiserror::Error;
use tidegate_common::{Incarnation, Lineage, ObjectId, Offset, Position, StreamId, WalId};
use tokio::sync::watch;

/// Where a stream's data lies: `[log_start, so_end)` in stream objects, `[so_end, committed_end)` in slices of
/// set objects, the rest in WALs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRow {
    pub log_start: Offset,
    pub so_end: Offset,
    pub committed_end: Offset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetObjectRow {
    pub id: ObjectId,
    pub lineage: Lineage,
    pub writer: Incarnation,
    pub size: u64,
    pub checksum: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamObjectRow {
    pub id: ObjectId,
    pub lineage: Lineage,
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
    pub size: u64,
    pub checksum: u32,
}

/// An immutable object that lists up to 1,024 stream objects of one stream, `[from, to)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRow {
    pub id: ObjectId,
    pub lineage: Lineage,
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
    pub count: u32,
    pub size: u64,
    pub checksum: u32,
}

/// An object that has left the state; `index` and `id` together are its key in the garbage list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbageRow {
    pub index: u64,
    pub id: ObjectId,
    pub lineage: Lineage,
    pub kind: GarbageKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GarbageKind {
    /// The object alone goes (a set object, a stream object, a leaf whose list lives on, or one prepared and
    /// never committed, which may not exist).
    Object,
    /// A leaf that goes with every stream object it lists: they are deleted first, the leaf last.
    LeafAndListed,
}

/// One stream's part of a new set object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceRange {
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
}

/// One upload round: at most one set object and any number of stream objects, committed together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadCommit {
    pub set_object: Option<(NewObject, Vec<SliceRange>)>,
    pub stream_objects: Vec<(NewObject, SliceRange)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewObject {
    pub id: ObjectId,
    pub size: u64,
    pub checksum: u32,
}

/// A live set object with the slices of its footer exactly as they were committed: the quorum keeps only their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetInput {
    pub id: ObjectId,
    pub slices: Vec<SliceRange>,
}

/// A compaction: inputs leave, outputs come, in one commit that holds only while every input lives and the outputs
/// cover what the inputs held and the log still needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactionCommit {
    /// Set objects that go.
    pub set_objects_in: Vec<SetInput>,
    /// Set objects that hold the inputs' slices (a merge).
    pub set_objects_out: Vec<(NewObject, Vec<SliceRange>)>,
    pub streams: Vec<StreamSwap>,
}

/// The part of a compaction that concerns one stream. Objects and leaves are named by (first offset, id).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamSwap {
    pub stream: StreamId,
    /// Stream objects whose bytes are needed no more.
    pub retired: Vec<(Offset, ObjectId)>,
    /// Stream objects that an output leaf lists from here on; their bytes stay.
    pub listed: Vec<(Offset, ObjectId)>,
    /// Leaves that go.
    pub leaves: Vec<(Offset, ObjectId)>,
    /// Stream objects that those leaves list and no output leaf does.
    pub unlisted: Vec<ObjectId>,
    /// Prepared objects that an output leaf lists at once, without ever having a row.
    pub listed_new: Vec<ObjectId>,
    /// New stream objects (a split, or a merge of small ones); those that begin at `so_end` move it up.
    pub new_objects: Vec<(NewObject, SliceRange)>,
    /// New leaves with the number of objects each lists.
    pub new_leaves: Vec<(NewObject, SliceRange, u32)>,
}

/// What a commit did. Slices of streams deleted meanwhile are dropped, the rest counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    pub dropped_streams: Vec<StreamId>,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ManagerError {
    /// This incarnation is fenced: stop writing for good.
    #[error("this incarnation is fenced")]
    Fenced,
    /// The commit's premise no longer holds (range, prepared id, live input): plan anew.
    #[error("refused: {0}")]
    Refused(String),
    /// Not applied as far as is known; the same proposal may be made again.
    #[error("the metadata quorum did not answer: {0}")]
    Unavailable(String),
}

pub trait ObjectManager: Send + Sync + 'static {
    fn stream(&self, id: StreamId) -> Option<StreamRow>;
    /// Live set objects in id order.
    fn set_objects(&self) -> Vec<SetObjectRow>;
    /// Stream objects not in a leaf, with `to > from`, in offset order.
    fn stream_objects(&self, stream: StreamId, from: Offset) -> Vec<StreamObjectRow>;
    /// Leaves with `to > from`, in offset order.
    fn leaves(&self, stream: StreamId, from: Offset) -> Vec<LeafRow>;
    /// Streams with at least `count` stream objects outside leaves.
    fn streams_with_loose_objects(&self, count: usize) -> Vec<StreamId>;
    /// Objects whose grace is over.
    fn garbage_due(&self, limit: usize) -> Vec<GarbageRow>;
    /// Applied index; changes when rows may have changed.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Ids in publish order, valid for `ttl_ms` from the quorum's own clock.
    fn prepare(&self, count: u32, ttl_ms: u64) -> BoxFuture<'_, Result<Vec<ObjectId>, ManagerError>>;
    fn commit_upload(&self, commit: UploadCommit) -> BoxFuture<'_, Result<Committed, ManagerError>>;
    fn commit_compaction(&self, commit: CompactionCommit) -> BoxFuture<'_, Result<Committed, ManagerError>>;
    /// Set objects of which no slice lives any more.
    fn retire_set_objects(&self, objects: Vec<SetInput>) -> BoxFuture<'_, Result<(), ManagerError>>;
    fn confirm_deleted(&self, rows: Vec<GarbageRow>) -> BoxFuture<'_, Result<(), ManagerError>>;
    /// Everything of this WAL below the mark is in committed objects; called before the WAL is trimmed.
    fn trim_wal(&self, wal: WalId, below: Position) -> BoxFuture<'_, Result<(), ManagerError>>;
    /// A sealed WAL that holds nothing uncommitted any more; called before its medium deletes it.
    fn delete_wal(&self, wal: WalId) -> BoxFuture<'_, Result<(), ManagerError>>;
}
