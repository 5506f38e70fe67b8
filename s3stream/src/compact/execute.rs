//! Carrying out one compaction plan: read, write, put, commit.
//!
//! Invariants: the writer recomputes each part's content chain from the batches read and refuses what does not match, and
//! the output's range is compared with the plan's, so an output that is committed holds exactly its inputs; blocks are read
//! past the block cache, so compaction pushes nothing out of it; bytes in memory hold permits.
//! Never: commits after its ids may have expired.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use thiserror::Error;
use tidegate_common::{Batch, ObjectId, StreamId};

use super::plan::{Gather, MergeSets, Plan, Snapshot};
use crate::budget::Share;
use crate::format::{EncodedObject, Footer, FormatError, ObjectWriter, SliceIndex, encode_leaf};
use crate::io::IoError;
use crate::manager::{
    CompactionCommit, ManagerError, NewObject, SetInput, SliceRange, StreamObjectRow, StreamSwap,
};
use crate::read::blocks::{ObjectRef, decode_run};
use crate::read::in_order;
use crate::read::parts::object_of;
use crate::storage::Core;
use crate::stream::ReadError;
use crate::upload::Backoff;
use crate::upload::round::stamp;

#[derive(Debug, Error)]
pub(crate) enum CompactError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Manager(#[from] ManagerError),
    #[error("{0}")]
    Plan(String),
}

pub(crate) async fn execute(core: &Arc<Core>, snapshot: &Snapshot, plan: &Plan) -> Result<(), CompactError> {
    let bytes = match plan {
        Plan::Retire(_) | Plan::List(_) => 0,
        Plan::MergeObjects(rows) => rows.iter().map(|row| row.size).sum(),
        Plan::Split(streams) => streams.iter().map(|gather| gather.bytes).sum(),
        Plan::MergeSets(merge) => merge.slices.iter().map(|gather| gather.bytes).sum(),
    };
    let _permit = core.budget.acquire(Share::Uploads, bytes).await;
    let work = Work { core, snapshot };
    let written = match plan {
        Plan::Retire(ids) => work.retire(ids).await,
        Plan::List(rows) => work.list(rows).await,
        Plan::MergeObjects(rows) => work.merge_objects(rows).await,
        Plan::Split(streams) => work.split(streams).await,
        Plan::MergeSets(merge) => work.merge_sets(merge).await,
    };
    match written {
        Ok(written) => {
            core.observer.compacted(plan.name(), bytes, written);
            Ok(())
        }
        Err(CompactError::Manager(ManagerError::Fenced)) => {
            core.fence();
            Err(CompactError::Manager(ManagerError::Fenced))
        }
        Err(error) => {
            let damage = matches!(
                &error,
                CompactError::Format(_)
                    | CompactError::Io(IoError::Damaged { .. } | IoError::Taken { .. })
                    | CompactError::Read(ReadError::Damaged { .. })
            );
            if damage {
                tracing::error!(%error, plan = plan.name(), "stored data cannot be compacted");
                core.observer.damage(&error.to_string());
            }
            Err(error)
        }
    }
}

struct Work<'a> {
    core: &'a Arc<Core>,
    snapshot: &'a Snapshot,
}

/// Ids and how long they hold.
struct Ids {
    ids: Vec<ObjectId>,
    expires_ms: u64,
}

/// One slice to rewrite: its index and its batches.
struct Source {
    footer: Arc<Footer>,
    at: usize,
    batches: Vec<Batch>,
}

impl Source {
    fn slice(&self) -> &SliceIndex {
        &self.footer.slices[self.at]
    }
}

impl Work<'_> {
    async fn retire(&self, ids: &[ObjectId]) -> Result<u64, CompactError> {
        let mut inputs = Vec::with_capacity(ids.len());
        for id in ids {
            inputs.push(self.set_input(*id)?);
        }
        self.core.objects.retire_set_objects(inputs).await?;
        Ok(0)
    }

    async fn list(&self, rows: &[StreamObjectRow]) -> Result<u64, CompactError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(0) };
        let ids = self.prepare(1).await?;
        let leaf = encode_leaf(stamp(self.core, ids.ids[0]), rows)?;
        self.core.background_io.put_new(&leaf).await?;
        let range = SliceRange { stream: first.stream, from: first.from, to: last.to };
        let count =
            u32::try_from(rows.len()).map_err(|_| CompactError::Plan("a leaf of too many rows".into()))?;
        let swap = StreamSwap {
            stream: first.stream,
            listed: rows.iter().map(|row| (row.from, row.id)).collect(),
            new_leaves: vec![(new_object(&leaf), range, count)],
            ..StreamSwap::default()
        };
        self.commit(CompactionCommit { streams: vec![swap], ..CompactionCommit::default() }, &ids).await?;
        Ok(leaf.size)
    }

    async fn merge_objects(&self, rows: &[StreamObjectRow]) -> Result<u64, CompactError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(0) };
        let mut sources = Vec::with_capacity(rows.len());
        for row in rows {
            sources.push(self.source(object_of(row), first.stream).await?);
        }
        let ids = self.prepare(1).await?;
        let mut writer = ObjectWriter::new(stamp(self.core, ids.ids[0]), self.core.settings.block_bytes);
        rewrite(&mut writer, &sources)?;
        let range = SliceRange { stream: first.stream, from: first.from, to: last.to };
        let object = self.finish(writer, &[range])?;
        self.core.background_io.put_new(&object).await?;
        let swap = StreamSwap {
            stream: first.stream,
            retired: rows.iter().map(|row| (row.from, row.id)).collect(),
            new_objects: vec![(new_object(&object), range)],
            ..StreamSwap::default()
        };
        self.commit(CompactionCommit { streams: vec![swap], ..CompactionCommit::default() }, &ids).await?;
        Ok(object.size)
    }

    async fn split(&self, streams: &[Gather]) -> Result<u64, CompactError> {
        let ids = self.prepare(streams.len()).await?;
        let mut writes = Vec::with_capacity(streams.len());
        for (gather, id) in streams.iter().zip(&ids.ids) {
            writes.push(self.split_one(gather, *id).boxed());
        }
        let mut writes = in_order(writes, self.core.settings.puts_in_flight.max(1));
        let (mut swaps, mut written) = (Vec::with_capacity(streams.len()), 0);
        while let Some(swap) = writes.next().await {
            let swap = swap?;
            written += swap.new_objects.iter().map(|(object, _)| object.size).sum::<u64>();
            swaps.push(swap);
        }
        drop(writes);
        // The set objects stay until none of their slices lives: retiring them is a plan of its own.
        self.commit(CompactionCommit { streams: swaps, ..CompactionCommit::default() }, &ids).await?;
        Ok(written)
    }

    async fn split_one(&self, gather: &Gather, id: ObjectId) -> Result<StreamSwap, CompactError> {
        let mut writer = ObjectWriter::new(stamp(self.core, id), self.core.settings.block_bytes);
        let sources = self.sources(gather).await?;
        rewrite(&mut writer, &sources)?;
        let range = SliceRange { stream: gather.stream, from: gather.from, to: gather.to };
        let object = self.finish(writer, &[range])?;
        self.core.background_io.put_new(&object).await?;
        let new_objects = vec![(new_object(&object), range)];
        Ok(StreamSwap { stream: gather.stream, new_objects, ..StreamSwap::default() })
    }

    async fn merge_sets(&self, merge: &MergeSets) -> Result<u64, CompactError> {
        let ids = self.prepare(1).await?;
        let mut writer = ObjectWriter::new(stamp(self.core, ids.ids[0]), self.core.settings.block_bytes);
        let mut ranges = Vec::with_capacity(merge.slices.len());
        for gather in &merge.slices {
            let sources = self.sources(gather).await?;
            rewrite(&mut writer, &sources)?;
            ranges.push(SliceRange { stream: gather.stream, from: gather.from, to: gather.to });
            tokio::task::yield_now().await;
        }
        let object = self.finish(writer, &ranges)?;
        self.core.background_io.put_new(&object).await?;
        let mut inputs = Vec::with_capacity(merge.inputs.len());
        for id in &merge.inputs {
            inputs.push(self.set_input(*id)?);
        }
        let commit = CompactionCommit {
            set_objects_in: inputs,
            set_objects_out: vec![(new_object(&object), ranges)],
            streams: Vec::new(),
        };
        self.commit(commit, &ids).await?;
        Ok(object.size)
    }

    async fn prepare(&self, count: usize) -> Result<Ids, CompactError> {
        let ttl_ms = self.core.settings.prepared_ttl_ms;
        let expires_ms = self.core.clock.monotonic_ms() + ttl_ms / 4 * 3;
        let count = u32::try_from(count).map_err(|_| CompactError::Plan("too many outputs".into()))?;
        let ids = self.core.objects.prepare(count, ttl_ms).await?;
        if ids.len() != count as usize {
            return Err(CompactError::Plan(format!("{} ids were prepared instead of {count}", ids.len())));
        }
        Ok(Ids { ids, expires_ms })
    }

    /// The object, which must hold exactly the ranges of the plan.
    fn finish(&self, writer: ObjectWriter, ranges: &[SliceRange]) -> Result<EncodedObject, CompactError> {
        let object = writer.finish()?;
        let wrote = object.slices.iter().map(|s| SliceRange { stream: s.stream, from: s.from, to: s.to });
        if wrote.eq(ranges.iter().copied()) {
            return Ok(object);
        }
        let what = format!("a compaction wrote {:?} instead of {ranges:?}", object.slices);
        self.core.observer.damage(&what);
        Err(CompactError::Plan(what))
    }

    /// Proposes until the quorum answers, or the ids may have expired.
    async fn commit(&self, commit: CompactionCommit, ids: &Ids) -> Result<(), CompactError> {
        let mut backoff = Backoff::new(self.core);
        loop {
            self.core.park_when_stopped().await;
            match self.core.objects.commit_compaction(commit.clone()).await {
                Ok(_) => return Ok(()),
                Err(ManagerError::Unavailable(_)) if self.core.clock.monotonic_ms() < ids.expires_ms => {
                    backoff.wait().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A set object as the quorum knows it: with every slice of its footer, dead ones too.
    fn set_input(&self, id: ObjectId) -> Result<SetInput, CompactError> {
        let slices = self.set(id)?.slices.iter();
        let slices = slices.map(|s| SliceRange { stream: s.stream, from: s.from, to: s.to }).collect();
        Ok(SetInput { id, slices })
    }

    fn set(&self, id: ObjectId) -> Result<&crate::read::parts::SetSlices, CompactError> {
        let at = self.snapshot.sets.binary_search_by_key(&id, |view| view.set.object.id);
        at.map(|at| &*self.snapshot.sets[at].set)
            .map_err(|_| CompactError::Plan(format!("no set object {id}")))
    }

    async fn sources(&self, gather: &Gather) -> Result<Vec<Source>, CompactError> {
        let mut out = Vec::with_capacity(gather.sets.len());
        for id in &gather.sets {
            out.push(self.source(self.set(*id)?.object, gather.stream).await?);
        }
        Ok(out)
    }

    /// Reads one slice whole, in GETs of bounded length.
    async fn source(&self, object: ObjectRef, stream: StreamId) -> Result<Source, CompactError> {
        let footer = self.core.reader.footer(object).await?;
        let at = footer.slices.binary_search_by_key(&stream, |slice| slice.stream).map_err(|_| {
            CompactError::Plan(format!("object {} holds nothing of stream {stream}", object.id))
        })?;
        let blocks = &footer.slices[at].blocks;
        let mut batches = Vec::new();
        let mut first = 0;
        while first < blocks.len() {
            let (mut last, mut range) = (first, None::<std::ops::Range<u64>>);
            while let Some(block) = blocks.get(last) {
                let Some(span) = block.here() else {
                    return Err(CompactError::Plan(format!(
                        "object {} refers to bytes elsewhere",
                        object.id
                    )));
                };
                let span = span.range();
                range = match range {
                    None => Some(span),
                    Some(so_far)
                        if span.start == so_far.end
                            && span.end - so_far.start <= self.core.settings.get_bytes_max =>
                    {
                        Some(so_far.start..span.end)
                    }
                    full => {
                        range = full;
                        break;
                    }
                };
                last += 1;
            }
            let Some(range) = range else { break };
            let run = &blocks[first..last];
            let decode = |bytes: &Bytes| decode_run(run, bytes, false);
            let decoded =
                self.core.background_io.get_verified(object.id, object.lineage, range, decode).await?;
            batches.extend(decoded.into_iter().flatten());
            first = last;
        }
        Ok(Source { footer, at, batches })
    }
}

fn rewrite(writer: &mut ObjectWriter, sources: &[Source]) -> Result<(), CompactError> {
    writer.rewrite(sources.iter().map(|source| (source.slice(), &source.batches)))?;
    Ok(())
}

fn new_object(object: &EncodedObject) -> NewObject {
    NewObject { id: object.stamp.id, size: object.size, checksum: object.checksum }
}
