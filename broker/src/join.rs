//! Joins `s3stream` to `metadata`: what the streams need of the quorum, answered from the applied image and by
//! proposals of this incarnation.
//!
//! Invariants: rows are copied from one image; a proposal is answered after this node has applied it.
//! Never: decides anything; refusals are passed on as what they are to the planner.

use futures::future::BoxFuture;
use tidegate_common::{Incarnation, ObjectId, Offset, Position, StreamId, WalId};
use tidegate_metadata::command::{
    self, CommitCompaction, CommitUpload, NewLeaf, NewSetObject, NewStreamObject, Slice,
};
use tidegate_metadata::rows::{self, GarbageKey};
use tidegate_metadata::{Command, Metadata, ProposeError, Refusal, Response};
use tidegate_s3stream::manager::{
    Committed, CompactionCommit, GarbageKind, GarbageRow, LeafRow, ManagerError, NewObject, ObjectManager,
    SetInput, SetObjectRow, SliceRange, StreamObjectRow, StreamRow, StreamSwap, UploadCommit,
};
use tokio::sync::watch;

/// The quorum as one incarnation's streams see it.
pub struct Objects {
    metadata: Metadata,
    incarnation: Incarnation,
    graces: Graces,
}

/// How long an object that left the state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graces {
    /// `storage.object.delete.grace.ms`: longer than the longest read.
    pub committed_ms: u64,
    /// For ids that were prepared and never committed: a PUT of theirs may still be tried, or land, after the id expired,
    /// and one that lands after the DELETE is never found again.
    pub prepared_ms: u64,
}

impl Objects {
    #[must_use]
    pub fn new(metadata: Metadata, incarnation: Incarnation, graces: Graces) -> Self {
        Self { metadata, incarnation, graces }
    }

    async fn propose(&self, command: Command) -> Result<Response, ManagerError> {
        self.metadata.propose_one(command).await.map_err(failed)
    }
}

impl ObjectManager for Objects {
    fn stream(&self, id: StreamId) -> Option<StreamRow> {
        self.metadata.image().stream(id).map(|p| StreamRow {
            log_start: p.log_start,
            so_end: p.so_end,
            committed_end: p.committed_end,
        })
    }

    fn set_objects(&self) -> Vec<SetObjectRow> {
        let row = |o: &rows::SetObject| SetObjectRow {
            id: o.id,
            lineage: o.lineage,
            writer: o.incarnation,
            size: o.size,
            checksum: o.crc32c,
        };
        self.metadata.image().set_objects().map(row).collect()
    }

    fn stream_objects(&self, stream: StreamId, from: Offset) -> Vec<StreamObjectRow> {
        let row = |o: &rows::StreamObject| StreamObjectRow {
            id: o.id,
            lineage: o.lineage,
            stream: o.stream,
            from: o.from,
            to: o.to,
            size: o.size,
            checksum: o.crc32c,
        };
        self.metadata.image().stream_objects(stream, from).map(row).collect()
    }

    fn leaves(&self, stream: StreamId, from: Offset) -> Vec<LeafRow> {
        let row = |l: &rows::Leaf| LeafRow {
            id: l.id,
            lineage: l.lineage,
            stream: l.stream,
            from: l.from,
            to: l.to,
            count: l.count,
            size: l.size,
            checksum: l.crc32c,
        };
        self.metadata.image().leaves(stream).filter(|l| l.to > from).map(row).collect()
    }

    fn streams_with_loose_objects(&self, count: usize) -> Vec<StreamId> {
        let image = self.metadata.image();
        let enough = |s: &StreamId| image.stream_objects(*s, Offset::ZERO).take(count).count() >= count;
        image.streams().map(|p| p.stream).filter(enough).collect()
    }

    fn garbage_due(&self, limit: usize) -> Vec<GarbageRow> {
        let image = self.metadata.image();
        let row = |g: &rows::Garbage| GarbageRow {
            index: g.key.index,
            id: g.key.object,
            lineage: g.lineage,
            kind: match g.kind {
                rows::GarbageKind::LeafAndListed => GarbageKind::LeafAndListed,
                _ => GarbageKind::Object,
            },
        };
        let now_ms = image.time_ms();
        let prepared_ms = i64::try_from(self.graces.prepared_ms).unwrap_or(i64::MAX);
        let due = |g: &&rows::Garbage| {
            g.kind != rows::GarbageKind::Prepared || g.at_ms.saturating_add(prepared_ms) <= now_ms
        };
        image.garbage_due(now_ms, self.graces.committed_ms).filter(due).take(limit).map(row).collect()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.metadata.applied()
    }

    fn prepare(&self, count: u32, ttl_ms: u64) -> BoxFuture<'_, Result<Vec<ObjectId>, ManagerError>> {
        Box::pin(async move {
            let command = Command::PrepareObjects { incarnation: self.incarnation, count, ttl_ms };
            match self.propose(command).await? {
                Response::Prepared { first, count } => {
                    Ok((0..u64::from(count)).map(|n| ObjectId(first.0 + n)).collect())
                }
                other => Err(unexpected(&other)),
            }
        })
    }

    fn commit_upload(&self, commit: UploadCommit) -> BoxFuture<'_, Result<Committed, ManagerError>> {
        Box::pin(async move {
            let command = Command::CommitUpload(CommitUpload {
                incarnation: self.incarnation,
                set_object: commit.set_object.map(|(object, slices)| set_object(object, &slices)),
                stream_objects: commit
                    .stream_objects
                    .iter()
                    .map(|(o, range)| stream_object(*o, range))
                    .collect(),
            });
            match self.propose(command).await? {
                Response::Uploaded(done) => {
                    Ok(Committed { dropped_streams: done.skipped.iter().map(|s| s.stream).collect() })
                }
                other => Err(unexpected(&other)),
            }
        })
    }

    fn commit_compaction(&self, commit: CompactionCommit) -> BoxFuture<'_, Result<Committed, ManagerError>> {
        Box::pin(async move {
            let command = Command::CommitCompaction(CommitCompaction {
                incarnation: self.incarnation,
                set_inputs: commit.set_objects_in.iter().map(set_input).collect(),
                set_outputs: commit
                    .set_objects_out
                    .iter()
                    .map(|(o, slices)| set_object(*o, slices))
                    .collect(),
                streams: commit.streams.into_iter().map(stream_swap).collect(),
            });
            match self.propose(command).await? {
                Response::Compacted { .. } => Ok(Committed::default()),
                other => Err(unexpected(&other)),
            }
        })
    }

    fn retire_set_objects(&self, objects: Vec<SetInput>) -> BoxFuture<'_, Result<(), ManagerError>> {
        Box::pin(async move {
            let objects = objects.iter().map(set_input).collect();
            self.propose(Command::RetireObjects { incarnation: self.incarnation, objects }).await.map(drop)
        })
    }

    fn confirm_deleted(&self, rows: Vec<GarbageRow>) -> BoxFuture<'_, Result<(), ManagerError>> {
        Box::pin(async move {
            let objects = rows.iter().map(|r| GarbageKey { index: r.index, object: r.id }).collect();
            self.propose(Command::ConfirmDeleted { incarnation: self.incarnation, objects }).await.map(drop)
        })
    }

    fn trim_wal(&self, wal: WalId, below: Position) -> BoxFuture<'_, Result<(), ManagerError>> {
        Box::pin(async move {
            let command = Command::TrimWal { wal, incarnation: self.incarnation, below };
            self.propose(command).await.map(drop)
        })
    }

    fn delete_wal(&self, wal: WalId) -> BoxFuture<'_, Result<(), ManagerError>> {
        Box::pin(async move {
            let command = Command::DeleteWal { wal, incarnation: self.incarnation };
            self.propose(command).await.map(drop)
        })
    }
}

fn set_object(object: NewObject, slices: &[SliceRange]) -> NewSetObject {
    NewSetObject {
        id: object.id,
        size: object.size,
        crc32c: object.checksum,
        slices: slices.iter().map(slice).collect(),
    }
}

fn stream_object(object: NewObject, range: &SliceRange) -> NewStreamObject {
    NewStreamObject {
        id: object.id,
        stream: range.stream,
        from: range.from,
        to: range.to,
        size: object.size,
        crc32c: object.checksum,
    }
}

fn slice(range: &SliceRange) -> Slice {
    Slice { stream: range.stream, from: range.from, to: range.to }
}

fn set_input(input: &SetInput) -> command::SetInput {
    command::SetInput { object: input.id, slices: input.slices.iter().map(slice).collect() }
}

fn stream_swap(swap: StreamSwap) -> command::StreamSwap {
    let leaf = |(object, range, count): &(NewObject, SliceRange, u32)| NewLeaf {
        id: object.id,
        from: range.from,
        to: range.to,
        count: *count,
        size: object.size,
        crc32c: object.checksum,
    };
    command::StreamSwap {
        stream: swap.stream,
        retired: swap.retired,
        listed: swap.listed,
        leaves: swap.leaves,
        unlisted: swap.unlisted,
        listed_new: swap.listed_new,
        new_objects: swap.new_objects.iter().map(|(o, range)| stream_object(*o, range)).collect(),
        new_leaves: swap.new_leaves.iter().map(leaf).collect(),
    }
}

fn failed(error: ProposeError) -> ManagerError {
    match error {
        ProposeError::Refused(Refusal::Fenced(_)) => ManagerError::Fenced,
        ProposeError::Refused(refusal) => ManagerError::Refused(refusal.to_string()),
        other => ManagerError::Unavailable(other.to_string()),
    }
}

fn unexpected(response: &Response) -> ManagerError {
    ManagerError::Refused(format!("the quorum answered with something else: {response:?}"))
}
