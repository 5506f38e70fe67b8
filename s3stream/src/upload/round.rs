//! One upload round: what it holds, its objects, their PUT and their commit.
//!
//! Invariants: a slice begins where the one before it ended, by offset and by content chain, whether that one is
//! committed or still on its way; a stream with enough of its own gets a stream object only when nothing of it lies in
//! a set object; the first slice of a stream is a base of producer state, and so is one before which a load would
//! replay too much. An object is encoded anew, under new ids, only when its ids expired or the quorum refused it.
//! Never: gives up; drops a record of a stream that exists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{FutureExt, StreamExt};
use tidegate_common::producers::Producers;
use tidegate_common::{Batch, BatchHead, ObjectId, Offset, Position, mutant};
use tidegate_wal::ReadError as WalReadError;

use super::{Backoff, Planned, Trims, failed};
use crate::budget::MemoryPermit;
use crate::cache::log::Round;
use crate::cache::tail::Tail;
use crate::format::slice::producers_len;
use crate::format::{
    Chain, EncodedObject, FormatError, ObjectWriter, PRODUCER_REPLAY_BYTES_MAX, ProducersBefore, SliceBefore,
    Stamp,
};
use crate::io::IoError;
use crate::manager::{ManagerError, NewObject, SliceRange, StreamRow, UploadCommit};
use crate::read::parts::parts;
use crate::read::{bodies, in_order, load_state, slice_of};
use crate::storage::{Core, WalRef};
use crate::stream::ReadError;

/// A producer's state takes at most about this per batch.
const PRODUCER_BYTES_PER_BATCH: u64 = 52;

/// A round with its objects.
pub(crate) struct Built {
    round: Round,
    slices: Vec<SlicePlan>,
    objects: Objects,
    /// On the monotonic clock; the ids may be refused after it.
    expires_ms: u64,
    _permit: MemoryPermit,
}

impl Built {
    /// Per WAL the last position that the round covers.
    pub(super) fn cuts(&self) -> impl Iterator<Item = (&Arc<WalRef>, Position)> {
        self.round.cuts.iter().map(|(wal, last)| (wal, *last))
    }
}

/// One stream's part of a round.
#[derive(Clone)]
struct SlicePlan {
    tail: Arc<Tail>,
    /// Entries that end at or below it are not part of the slice.
    from: Offset,
    before: SliceBefore,
    own_object: bool,
}

#[derive(Default)]
struct Objects {
    set: Option<EncodedObject>,
    own: Vec<EncodedObject>,
}

impl Objects {
    fn iter(&self) -> impl Iterator<Item = &EncodedObject> {
        self.set.iter().chain(&self.own)
    }
}

enum BuildError {
    Read(ReadError),
    Wal(WalReadError),
    Format(FormatError),
    Manager(ManagerError),
    /// The log cache does not continue what is committed.
    Hole(String),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BuildError::Read(e) => e.fmt(f),
            BuildError::Wal(e) => e.fmt(f),
            BuildError::Format(e) => e.fmt(f),
            BuildError::Manager(e) => e.fmt(f),
            BuildError::Hole(what) => what.fmt(f),
        }
    }
}

/// Plans and encodes the round. Rounds are built one after the other: each goes on from the one before it.
pub(crate) async fn build(core: &Arc<Core>, round: Round, permit: MemoryPermit) -> Built {
    let mut backoff = Backoff::new(core);
    loop {
        match try_build(core, &round, true).await {
            Ok((slices, objects, expires_ms)) => {
                return Built { round, slices, objects, expires_ms, _permit: permit };
            }
            Err(error) => trouble(core, &error, &mut backoff).await,
        }
    }
}

/// PUTs the objects of a round. With ids that expired meanwhile it is encoded anew.
pub(crate) async fn put(core: &Arc<Core>, mut built: Built) -> Built {
    let mut backoff = Backoff::new(core);
    loop {
        match put_all(core, &built.objects).await {
            Ok(()) => return built,
            Err(IoError::Unavailable { key, last, .. }) => {
                failed(core, &format!("{key}: {last}"));
            }
            Err(error) => {
                // Nobody but a bug or another incarnation writes under our ids.
                tracing::error!(%error, "an upload round cannot be put, trying under new ids");
                failed(core, &error.to_string());
                built.expires_ms = 0;
            }
        }
        backoff.wait().await;
        core.park_when_stopped().await;
        if core.clock.monotonic_ms() >= built.expires_ms {
            built = encode_again(core, built).await;
        }
    }
}

/// Commits the round at the head of the line, marks it as uploaded and says what may be trimmed.
pub(crate) async fn commit(core: &Arc<Core>, mut built: Built, trims: &mut Trims) {
    let mut backoff = Backoff::new(core);
    let mut refused = 0;
    loop {
        core.park_when_stopped().await;
        let commit = commit_of(&built.objects);
        if commit == UploadCommit::default() {
            break;
        }
        match core.objects.commit_upload(commit).await {
            Ok(committed) => {
                for stream in committed.dropped_streams {
                    tracing::debug!(stream = stream.0, "a slice of a deleted stream was dropped");
                }
                break;
            }
            Err(ManagerError::Fenced) => core.fence(),
            Err(ManagerError::Unavailable(why)) => {
                failed(core, &why);
                backoff.wait().await;
            }
            Err(ManagerError::Refused(why)) => {
                refused += 1;
                if refused > 1 {
                    tracing::error!(why, refused, "the quorum refuses an upload round that was planned anew");
                    core.observer.damage(&format!("upload refused: {why}"));
                    backoff.wait().await;
                } else {
                    tracing::warn!(why, "an upload round is planned anew");
                }
                failed(core, &why);
                built = plan_again(core, built).await;
                built = put(core, built).await;
            }
        }
    }
    let (bytes, count) = built.objects.iter().fold((0, 0), |(bytes, n), object| (bytes + object.size, n + 1));
    core.cache.finish_round(&built.round);
    core.rounds_failed.store(0, Ordering::Relaxed);
    core.observer.uploaded(bytes, count);
    built.cuts().for_each(|(wal, last)| trims.add(wal, last));
}

fn commit_of(objects: &Objects) -> UploadCommit {
    let new = |object: &EncodedObject| NewObject {
        id: object.stamp.id,
        size: object.size,
        checksum: object.checksum,
    };
    let ranges = |object: &EncodedObject| -> Vec<SliceRange> {
        object.slices.iter().map(|s| SliceRange { stream: s.stream, from: s.from, to: s.to }).collect()
    };
    UploadCommit {
        set_object: objects.set.as_ref().map(|object| (new(object), ranges(object))),
        stream_objects: objects
            .own
            .iter()
            .flat_map(|object| ranges(object).into_iter().map(|range| (new(object), range)))
            .collect(),
    }
}

async fn put_all(core: &Core, objects: &Objects) -> Result<(), IoError> {
    let mut puts = Vec::new();
    for object in objects.iter() {
        puts.push(core.upload_io.put_new(object).boxed());
    }
    let mut puts = in_order(puts, core.settings.puts_in_flight.max(1));
    while let Some(outcome) = puts.next().await {
        outcome?;
    }
    Ok(())
}

async fn trouble(core: &Core, error: &BuildError, backoff: &mut Backoff<'_>) {
    match error {
        BuildError::Manager(ManagerError::Fenced) => core.fence(),
        BuildError::Manager(_)
        | BuildError::Read(ReadError::Unavailable(_))
        | BuildError::Wal(WalReadError::Io(_)) => {
            tracing::warn!(%error, "an upload round cannot be built yet");
        }
        _ => {
            tracing::error!(%error, "an upload round cannot be built; the WAL keeps what it holds");
            core.observer.damage(&error.to_string());
        }
    }
    failed(core, &error.to_string());
    backoff.wait().await;
    core.park_when_stopped().await;
}

/// The same slices under new ids.
async fn encode_again(core: &Arc<Core>, mut built: Built) -> Built {
    let mut backoff = Backoff::new(core);
    loop {
        match encode(core, &built.round, &mut built.slices).await {
            Ok((objects, expires_ms)) => return Built { objects, expires_ms, ..built },
            Err(error) => trouble(core, &error, &mut backoff).await,
        }
    }
}

/// New slices, from the rows as they are now: every round before this one is committed.
async fn plan_again(core: &Arc<Core>, built: Built) -> Built {
    let mut backoff = Backoff::new(core);
    loop {
        match try_build(core, &built.round, false).await {
            Ok((slices, objects, expires_ms)) => return Built { slices, objects, expires_ms, ..built },
            Err(error) => trouble(core, &error, &mut backoff).await,
        }
    }
}

/// `in_line`: the round goes on from those built before it, and the next one from it.
async fn try_build(
    core: &Arc<Core>,
    round: &Round,
    in_line: bool,
) -> Result<(Vec<SlicePlan>, Objects, u64), BuildError> {
    let mut slices = Vec::with_capacity(round.streams.len());
    let skipped = usize::from(mutant::on("upload-skips-slice") && round.streams.len() > 1);
    for tail in round.streams.iter().skip(skipped) {
        if let Some(slice) = plan(core, round, tail, in_line).await? {
            slices.push(slice);
        }
    }
    let (objects, expires_ms) = encode(core, round, &mut slices).await?;
    if in_line {
        let tails: BTreeMap<_, _> = slices.iter().map(|slice| (slice.tail.stream, slice)).collect();
        for (object, own) in
            objects.set.iter().map(|o| (o, false)).chain(objects.own.iter().map(|o| (o, true)))
        {
            for summary in &object.slices {
                let Some(slice) = tails.get(&summary.stream) else { continue };
                *slice.tail.planned.lock() = Some(Planned {
                    end: summary.to,
                    chain: summary.chain_to,
                    replay_bytes: Some(summary.replay_bytes),
                    in_stream_objects: own,
                });
            }
        }
    }
    Ok((slices, objects, expires_ms))
}

/// `None`: the stream is deleted, or nothing of it is left to upload.
async fn plan(
    core: &Arc<Core>,
    round: &Round,
    tail: &Arc<Tail>,
    in_line: bool,
) -> Result<Option<SlicePlan>, BuildError> {
    let Some(row) = core.objects.stream(tail.stream) else { return Ok(None) };
    let known = if in_line { *tail.planned.lock() } else { None };
    let mut planned = match known {
        Some(planned) => planned,
        None => planned_of(core, tail, &row).await.map_err(BuildError::Read)?,
    };
    let heads = tail.heads_of(round.first, round.last);
    // The log start passed what is committed: records below it need not be stored.
    let skipped = row.committed_end > planned.end;
    if skipped {
        planned = skip(tail, &row, &planned);
    }
    let Some(summary) = heads_summary(&heads, planned.end) else { return Ok(None) };
    if summary.from > planned.end {
        return Err(BuildError::Hole(format!(
            "stream {}: committed and planned is up to {}, but the next batch begins at {}",
            tail.stream, planned.end, summary.from
        )));
    }
    let producers = match planned.replay_bytes {
        None => ProducersBefore::State(Producers::new()),
        Some(bytes) if skipped || replays_too_much(core, bytes, &summary, &heads, planned.end) => {
            ProducersBefore::State(state_at(core, tail, planned.end).await.map_err(BuildError::Read)?)
        }
        // Each slice costs a load the GET of a footer besides its bytes.
        Some(bytes) => ProducersBefore::Replay { bytes: bytes.saturating_add(slice_charge(core)) },
    };
    let loose_end = if planned.end == row.committed_end {
        row.so_end == row.committed_end
    } else {
        planned.in_stream_objects
    };
    Ok(Some(SlicePlan {
        tail: tail.clone(),
        from: planned.end,
        before: SliceBefore { chain: planned.chain, producers },
        own_object: loose_end && summary.bytes >= core.settings.split_bytes,
    }))
}

struct HeadsSummary {
    from: Offset,
    bytes: u64,
    count: u64,
}

/// What of the heads ends above `from`.
fn heads_summary(heads: &[BatchHead], from: Offset) -> Option<HeadsSummary> {
    let first = heads.partition_point(|head| head.next_offset() <= from);
    let heads = &heads[first..];
    Some(HeadsSummary {
        from: heads.first()?.base_offset(),
        bytes: heads.iter().map(crate::cache::tail::batch_len).sum(),
        count: heads.len() as u64,
    })
}

fn slice_charge(core: &Core) -> u64 {
    PRODUCER_REPLAY_BYTES_MAX / u64::from(core.settings.replay_slices_max.max(1))
}

/// Whether a load after this slice would replay more than it may.
fn replays_too_much(
    core: &Core,
    bytes: u64,
    summary: &HeadsSummary,
    heads: &[BatchHead],
    from: Offset,
) -> bool {
    let before = bytes.saturating_add(slice_charge(core));
    let most = core.settings.replay_bytes_max.min(PRODUCER_REPLAY_BYTES_MAX);
    if before.saturating_add(summary.count * PRODUCER_BYTES_PER_BATCH + 64) <= most {
        return false;
    }
    let mut changes = Producers::new();
    heads.iter().filter(|head| head.next_offset() > from).for_each(|head| changes.apply(head));
    before.saturating_add(producers_len(&changes)) > most
}

/// What the newest committed slice says.
async fn planned_of(core: &Arc<Core>, tail: &Arc<Tail>, row: &StreamRow) -> Result<Planned, ReadError> {
    let (objects, reader, directory) = (&*core.objects, &core.reader, &core.directory);
    let last = row.committed_end.plus(-1).max(Offset::ZERO);
    let (row, found) = parts(objects, reader, directory, tail.stream, last, Offset(i64::MAX)).await?;
    let in_stream_objects = row.so_end == row.committed_end;
    let Some(newest) = found.last() else {
        // Nothing is committed, or retention took all of it: chain and producer state begin anew here.
        let chain = Chain::START;
        return Ok(Planned { end: row.committed_end, chain, replay_bytes: None, in_stream_objects });
    };
    let footer = reader.footer(newest.object).await?;
    let slice = slice_of(&footer.slices, tail, newest)?;
    Ok(Planned {
        end: row.committed_end,
        chain: slice.chain_to,
        replay_bytes: Some(slice.producers.replay_bytes),
        in_stream_objects,
    })
}

/// Moves on to a committed end that was raised by the log start. The chain goes over the batches between, which are
/// still in the log cache, so it does not depend on whether they were uploaded.
fn skip(tail: &Tail, row: &StreamRow, planned: &Planned) -> Planned {
    let mut chain = planned.chain;
    let mut at = planned.end;
    for head in tail.heads_between(planned.end, row.committed_end) {
        if head.base_offset() == at && head.next_offset() <= row.committed_end {
            chain = chain.next(&head);
            at = head.next_offset();
        }
    }
    Planned {
        end: row.committed_end,
        chain,
        replay_bytes: planned.replay_bytes,
        in_stream_objects: row.so_end == row.committed_end,
    }
}

/// Producer state at `at`: the committed state, and the heads above it. The state may be one that was being loaded already,
/// so what became committed meanwhile may have left the log cache: then it is loaded once more.
async fn state_at(core: &Arc<Core>, tail: &Arc<Tail>, at: Offset) -> Result<Producers, ReadError> {
    loop {
        let heads = tail.heads_between(Offset::ZERO, at);
        let state = load_state(core, tail).await?;
        let above = heads.partition_point(|head| head.next_offset() <= state.end);
        let heads = &heads[above..];
        let whole = state.end >= at || heads.first().is_some_and(|head| head.base_offset() <= state.end);
        if whole {
            let mut producers = state.producers;
            heads.iter().for_each(|head| producers.apply(head));
            return Ok(producers);
        }
        tokio::task::yield_now().await;
    }
}

async fn encode(
    core: &Arc<Core>,
    round: &Round,
    slices: &mut [SlicePlan],
) -> Result<(Objects, u64), BuildError> {
    let own = slices.iter().filter(|slice| slice.own_object).count();
    let count = own + usize::from(own < slices.len());
    if count == 0 {
        return Ok((Objects::default(), u64::MAX));
    }
    let ttl_ms = core.settings.prepared_ttl_ms;
    // Counted from before the question; a margin for clocks that run apart.
    let expires_ms = core.clock.monotonic_ms() + ttl_ms / 4 * 3;
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let mut ids = core.objects.prepare(count, ttl_ms).await.map_err(BuildError::Manager)?.into_iter();
    let mut writer = |core: &Core| -> Option<ObjectWriter> {
        Some(ObjectWriter::new(stamp(core, ids.next()?), core.settings.block_bytes))
    };
    let mut objects = Objects::default();
    let mut set: Option<ObjectWriter> = None;
    for slice in slices.iter() {
        let batches = batches(round, slice).await.map_err(BuildError::Wal)?;
        if batches.is_empty() {
            // Deleted since it was planned.
            continue;
        }
        if slice.own_object {
            let mut own = writer(core).ok_or_else(too_few)?;
            own.slice(slice.tail.stream, &slice.before, &batches).map_err(BuildError::Format)?;
            objects.own.push(own.finish().map_err(BuildError::Format)?);
        } else {
            let set = match &mut set {
                Some(set) => set,
                empty => empty.insert(writer(core).ok_or_else(too_few)?),
            };
            set.slice(slice.tail.stream, &slice.before, &batches).map_err(BuildError::Format)?;
        }
        // Encoding is all CPU: let others have theirs.
        tokio::task::yield_now().await;
    }
    objects.set = set.map(ObjectWriter::finish).transpose().map_err(BuildError::Format)?;
    Ok((objects, expires_ms))
}

fn too_few() -> BuildError {
    BuildError::Manager(ManagerError::Unavailable("fewer ids were prepared than asked for".into()))
}

pub(crate) fn stamp(core: &Core, id: ObjectId) -> Stamp {
    Stamp { lineage: core.lineage, id, incarnation: core.incarnation, nonce: core.random.uuid() }
}

async fn batches(round: &Round, slice: &SlicePlan) -> Result<Vec<Batch>, WalReadError> {
    let mut entries = slice.tail.segments(round.first, round.last);
    entries.retain(|entry| entry.head.next_offset() > slice.from);
    match bodies(entries).await {
        (batches, None) => Ok(batches),
        (_, Some(error)) => Err(error),
    }
}
