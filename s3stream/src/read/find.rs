//! Looking for batches by timestamp, and what retention needs to know, over objects and log cache.
//!
//! Invariants: footers and blocks are passed over by their greatest timestamp only; heads alone decide, so a batch whose
//! body lies harms nobody here. Never: looks into a body.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tidegate_common::{Batch, BatchHead, Offset, StreamId};

use super::log::{read, slice_of};
use super::parts::{Part, SliceEntry, parts};
use super::{READS_AT_ONCE, in_order};
use crate::cache::tail::Tail;
use crate::storage::Core;
use crate::stream::{Extent, ReadError};

/// Heads looked at under one hold of the log cache's lock.
const HEADS_AT_ONCE: usize = 1024;

pub(crate) async fn batch_at_timestamp(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    at_least: i64,
    from: Offset,
    upto: Offset,
) -> Result<Option<Batch>, ReadError> {
    let wanted = |head: &BatchHead| within(head, from, upto) && head.max_timestamp() >= at_least;
    let (cached_from, cached) = scan_cached(tail, from, upto, wanted);
    let (_, found) =
        parts(&*core.objects, &core.reader, &core.directory, tail.stream, from, cached_from).await?;
    let mut slices = slice_entries(core, tail.stream, found);
    while let Some(next) = slices.next().await {
        let (part, slice) = next?;
        if slice.max_timestamp >= at_least
            && let Some(batch) = first_in_part(core, tail, &part, at_least, from, upto, wanted).await?
        {
            return Ok(Some(batch));
        }
    }
    match cached {
        Some(head) => at_head(core, tail, &head).await,
        None => Ok(None),
    }
}

pub(crate) async fn batch_of_max_timestamp(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    from: Offset,
    upto: Offset,
) -> Result<Option<Batch>, ReadError> {
    let mut best: Option<Batch> = None;
    let mut cached: Option<BatchHead> = None;
    let (cached_from, _) = scan_cached(tail, from, upto, |head| {
        if within(head, from, upto) && cached.is_none_or(|best| head.max_timestamp() > best.max_timestamp()) {
            cached = Some(*head);
        }
        false
    });
    let (_, found) =
        parts(&*core.objects, &core.reader, &core.directory, tail.stream, from, cached_from).await?;
    let mut entries = Vec::with_capacity(found.len());
    let mut slices = slice_entries(core, tail.stream, found);
    while let Some(next) = slices.next().await {
        entries.push(next?);
    }
    drop(slices);
    // The newest first, so that most are passed over; among equals the one with the lowest offsets.
    entries.sort_by_key(|(part, slice)| (std::cmp::Reverse(slice.max_timestamp), part.from));
    for (part, slice) in entries {
        let beaten = best.as_ref().is_some_and(|best| {
            slice.max_timestamp < best.head.max_timestamp()
                || (slice.max_timestamp == best.head.max_timestamp() && part.from > best.head.base_offset())
        });
        if beaten {
            continue;
        }
        if let Some(batch) = best_in_part(core, tail, &part, from, upto).await? {
            let better = best.as_ref().is_none_or(|best| {
                let key = |b: &Batch| (std::cmp::Reverse(b.head.max_timestamp()), b.head.base_offset());
                key(&batch) < key(best)
            });
            if better {
                best = Some(batch);
            }
        }
    }
    // What is committed has the lower offsets, so it goes first among equals.
    match cached {
        Some(head) if best.as_ref().is_none_or(|best| head.max_timestamp() > best.head.max_timestamp()) => {
            at_head(core, tail, &head).await
        }
        _ => Ok(best),
    }
}

pub(crate) async fn extents(core: &Arc<Core>, stream: StreamId) -> Result<Vec<Extent>, ReadError> {
    let (_, found) =
        parts(&*core.objects, &core.reader, &core.directory, stream, Offset::ZERO, Offset(i64::MAX)).await?;
    let mut out = Vec::with_capacity(found.len());
    let mut slices = slice_entries(core, stream, found);
    while let Some(next) = slices.next().await {
        let SliceEntry { from, to, bytes, max_timestamp, .. } = next?.1;
        out.push(Extent { from, to, bytes, max_timestamp });
    }
    Ok(out)
}

fn within(head: &BatchHead, from: Offset, upto: Offset) -> bool {
    head.last_offset() >= from && head.last_offset() < upto
}

/// The extents of the parts, in their order.
fn slice_entries(
    core: &Core,
    stream: StreamId,
    found: Vec<Part>,
) -> BoxStream<'_, Result<(Part, SliceEntry), ReadError>> {
    let mut reads = Vec::with_capacity(found.len());
    for part in found {
        reads.push(async move { slice_entry(core, stream, &part).await.map(|slice| (part, slice)) }.boxed());
    }
    in_order(reads, READS_AT_ONCE)
}

async fn slice_entry(core: &Core, stream: StreamId, part: &Part) -> Result<SliceEntry, ReadError> {
    if let Some(known) = part.slice {
        return Ok(known);
    }
    let key = (part.object.lineage, part.object.id, stream);
    if let Some(entry) = core.slices.lock().get(&key) {
        return Ok(entry);
    }
    let footer = core.reader.footer(part.object).await?;
    let entry = footer.slice(stream).map(SliceEntry::of).ok_or_else(|| ReadError::Damaged {
        place: format!("object {} of lineage {}", part.object.id, part.object.lineage),
        what: format!("its footer holds nothing of stream {stream}"),
    })?;
    core.slices.lock().insert(key, entry, 1);
    Ok(entry)
}

async fn first_in_part(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    part: &Part,
    at_least: i64,
    from: Offset,
    upto: Offset,
    wanted: impl Fn(&BatchHead) -> bool,
) -> Result<Option<Batch>, ReadError> {
    let footer = core.reader.footer(part.object).await?;
    for block in &slice_of(&footer.slices, tail, part)?.blocks {
        if block.to <= from || block.from >= upto || block.max_timestamp < at_least {
            continue;
        }
        let got = core.reader.blocks(part.object, &[*block]).await?;
        let found = got.blocks.iter().flat_map(|block| &block.batches).find(|batch| wanted(&batch.head));
        if let Some(batch) = found {
            return Ok(Some(batch.clone()));
        }
    }
    Ok(None)
}

async fn best_in_part(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    part: &Part,
    from: Offset,
    upto: Offset,
) -> Result<Option<Batch>, ReadError> {
    let footer = core.reader.footer(part.object).await?;
    let mut blocks: Vec<_> = slice_of(&footer.slices, tail, part)?
        .blocks
        .iter()
        .filter(|block| block.to > from && block.from < upto)
        .copied()
        .collect();
    blocks.sort_by_key(|block| (std::cmp::Reverse(block.max_timestamp), block.from));
    let mut best: Option<Batch> = None;
    for block in blocks {
        let beaten = best.as_ref().is_some_and(|best| {
            block.max_timestamp < best.head.max_timestamp()
                || (block.max_timestamp == best.head.max_timestamp() && block.from > best.head.base_offset())
        });
        if beaten {
            continue;
        }
        let got = core.reader.blocks(part.object, &[block]).await?;
        for batch in got.blocks.iter().flat_map(|block| &block.batches) {
            let better = best.as_ref().is_none_or(|best| {
                let key = |b: &Batch| (std::cmp::Reverse(b.head.max_timestamp()), b.head.base_offset());
                key(batch) < key(best)
            });
            if within(&batch.head, from, upto) && better {
                best = Some(batch.clone());
            }
        }
    }
    Ok(best)
}

/// Asks about each cached head of `[from, upto)` until `found` says yes. Also says from where on the cache was complete:
/// what lies below has to be looked for in objects, whose rows are read after this. Looks at a bounded number of heads
/// under one lock; what is evicted between two looks is committed, and so below the offset returned.
fn scan_cached(
    tail: &Tail,
    from: Offset,
    upto: Offset,
    mut found: impl FnMut(&BatchHead) -> bool,
) -> (Offset, Option<BatchHead>) {
    let (mut at, mut complete_from) = (from, None);
    loop {
        let heads = tail.heads_from(at, HEADS_AT_ONCE);
        let (Some(first), Some(last)) = (heads.first(), heads.last()) else {
            return (complete_from.unwrap_or(upto), None);
        };
        let gap = complete_from.is_none() || first.base_offset() > at;
        if gap {
            complete_from = Some(first.base_offset().min(upto));
        }
        at = last.next_offset();
        for head in heads {
            if head.base_offset() >= upto {
                return (complete_from.unwrap_or(upto), None);
            }
            if found(&head) {
                return (complete_from.unwrap_or(upto), Some(head));
            }
        }
    }
}

/// By its last offset: the log start may lie within the batch.
async fn at_head(core: &Arc<Core>, tail: &Arc<Tail>, head: &BatchHead) -> Result<Option<Batch>, ReadError> {
    match read(core, tail, head.last_offset(), head.next_offset(), 0, true).await {
        Ok(batches) => Ok(batches.into_iter().next()),
        // Deleted since it was found.
        Err(ReadError::BelowLogStart { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
