//! Decisions about swaps of objects.
//!
//! Invariants: every input is live and named as it stands; what the inputs held at or above the log start is
//! held by the outputs; no two stream objects or leaves of a stream share an offset; an output claims nothing
//! that no input held. So the ranges that the state refers to always tile `[log_start, committed_end)`.
//! Never: looks into a footer or a leaf. What a set object held is proved by the hash of its slices.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_common::{Incarnation, ObjectId, Offset, StreamId};

use super::extents::{Extents, overlap};
use super::objects::{check_prepared, set_object_row, slices_hash, stream_object_row};
use super::{Decision, live};
use crate::LEAF_OBJECTS_MAX;
use crate::command::{CommitCompaction, NewLeaf, SetInput, Slice, StreamSwap};
use crate::image::Image;
use crate::record::Record;
use crate::replay::replay;
use crate::response::{Refusal, Response};
use crate::rows::Leaf;

/// Set objects that go without successors. Those that are gone already are passed over.
pub(super) fn retire(image: &Image, incarnation: Incarnation, objects: &[SetInput]) -> Decision {
    let set_inputs =
        objects.iter().filter(|input| image.set_object(input.object).is_some()).cloned().collect();
    let compaction = CommitCompaction { incarnation, set_inputs, set_outputs: vec![], streams: vec![] };
    commit(image, &compaction).map(|(records, _)| (records, Response::Done))
}

pub(super) fn commit(image: &Image, compaction: &CommitCompaction) -> Decision {
    let CommitCompaction { incarnation, set_inputs, set_outputs, streams } = compaction;
    live(image, *incarnation)?;
    if committed_before(image, compaction) {
        let so_ends =
            streams.iter().filter_map(|s| Some((s.stream, image.stream(s.stream)?.so_end))).collect();
        return Ok((vec![], Response::Compacted { so_ends }));
    }
    check_inputs(image, compaction)?;
    check_prepared(image, *incarnation, &outputs(compaction))?;
    streams.iter().try_for_each(|swap| check_swap(image, swap))?;

    let mut records: Vec<Record> =
        set_inputs.iter().map(|input| Record::SetObjectRetired { id: input.object }).collect();
    records.extend(
        set_outputs.iter().map(|output| Record::SetObjectAdded(set_object_row(image, *incarnation, output))),
    );
    streams.iter().for_each(|swap| records.extend(swap_records(image, swap)));

    // A clone costs O(1), so the checks of the outcome look at the outcome.
    let mut after = image.clone();
    records.iter().for_each(|record| replay(&mut after, 0, record));
    check_sets(&after, set_inputs, set_outputs.iter().flat_map(|output| &output.slices))?;
    let so_ends = streams.iter().filter_map(|s| Some((s.stream, after.stream(s.stream)?.so_end))).collect();
    Ok((records, Response::Compacted { so_ends }))
}

/// Whether the outputs are live already: the answer was lost and the commit was proposed again.
fn committed_before(image: &Image, compaction: &CommitCompaction) -> bool {
    let CommitCompaction { incarnation, set_outputs, streams, .. } = compaction;
    set_outputs.iter().any(|output| {
        image.set_object(output.id).is_some_and(|row| *row == set_object_row(image, *incarnation, output))
    }) || streams.iter().any(|swap| {
        let object = swap.new_objects.iter().any(|new| {
            let row = image.stream_objects.get(&(new.stream, new.from));
            row.is_some_and(|row| *row == stream_object_row(image, new))
        });
        let leaf = swap.new_leaves.iter().any(|new| {
            let row = image.leaves.get(&(swap.stream, new.from));
            row.is_some_and(|row| *row == leaf_row(image, swap.stream, new))
        });
        object || leaf
    })
}

fn outputs(compaction: &CommitCompaction) -> Vec<ObjectId> {
    let sets = compaction.set_outputs.iter().map(|output| output.id);
    let streams = compaction.streams.iter().flat_map(|swap| {
        let objects = swap.new_objects.iter().map(|new| new.id);
        let leaves = swap.new_leaves.iter().map(|new| new.id);
        objects.chain(leaves).chain(swap.listed_new.iter().copied())
    });
    sets.chain(streams).collect()
}

/// Every input stands in the image as the plan says, and is named once.
fn check_inputs(image: &Image, compaction: &CommitCompaction) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    let mut once = |id: ObjectId| if seen.insert(id) { Ok(()) } else { Err(Refusal::InputGone(id)) };
    for input in &compaction.set_inputs {
        once(input.object)?;
        let stands =
            image.set_object(input.object).is_some_and(|row| row.slices_hash == slices_hash(&input.slices));
        if !stands {
            return Err(Refusal::InputGone(input.object));
        }
    }
    let mut streams = BTreeSet::new();
    for swap in &compaction.streams {
        if image.stream(swap.stream).is_none() || !streams.insert(swap.stream) {
            return Err(Refusal::UnknownStream(swap.stream));
        }
        for &(from, id) in swap.retired.iter().chain(&swap.listed) {
            once(id)?;
            if image.stream_objects.get(&(swap.stream, from)).is_none_or(|row| row.id != id) {
                return Err(Refusal::InputGone(id));
            }
        }
        for &(from, id) in &swap.leaves {
            once(id)?;
            if image.leaves.get(&(swap.stream, from)).is_none_or(|row| row.id != id) {
                return Err(Refusal::InputGone(id));
            }
        }
        // What a leaf lists has no row; being handed out once and not being live otherwise is all that can be seen.
        for &id in &swap.unlisted {
            once(id)?;
            let elsewhere = image.prepared(id).is_some() || image.set_object(id).is_some();
            if id >= image.counters.object || elsewhere {
                return Err(Refusal::InputGone(id));
            }
        }
    }
    Ok(())
}

/// The outputs of one stream hold what its inputs held, and no more.
fn check_swap(image: &Image, swap: &StreamSwap) -> Result<(), Refusal> {
    let stream = swap.stream;
    let row = image.stream(stream).ok_or(Refusal::UnknownStream(stream))?;
    let objects = |list: &[(Offset, ObjectId)]| -> Vec<(Offset, Offset)> {
        let rows = list.iter().filter_map(|(from, _)| image.stream_objects.get(&(stream, *from)));
        rows.map(|row| (row.from, row.to)).collect()
    };
    let leaf_rows: Vec<&Leaf> =
        swap.leaves.iter().filter_map(|(from, _)| image.leaves.get(&(stream, *from))).collect();
    let leaves_in = || leaf_rows.iter().map(|leaf| (leaf.from, leaf.to));
    let leaves_out = || swap.new_leaves.iter().map(|leaf| (leaf.from, leaf.to));
    let objects_out = || swap.new_objects.iter().map(|object| (object.from, object.to));

    // Leaves stay below `so_end`, which moves up along the rows of stream objects only.
    let outputs = leaves_out().map(|leaf| (leaf, row.so_end));
    for ((from, to), end) in outputs.chain(objects_out().map(|object| (object, row.committed_end))) {
        if from >= to || from < Offset::ZERO || to <= row.log_start || to > end {
            return Err(Refusal::Malformed(format!("an output holds [{from}, {to}) of stream {stream}")));
        }
    }
    if let Some(new) = swap.new_objects.iter().find(|new| new.stream != stream) {
        return Err(Refusal::Malformed(format!(
            "object {} is of stream {}, not {stream}",
            new.id, new.stream
        )));
    }
    let needed: Extents = objects(&swap.retired)
        .into_iter()
        .chain(objects(&swap.listed))
        .chain(leaves_in())
        .map(|(from, to)| (from.max(row.log_start), to))
        .collect();
    let made: Extents = leaves_out().chain(objects_out()).collect();
    if let Some(at) = needed.first_not_in(&made) {
        return Err(Refusal::NotCovered { stream, at });
    }
    // A leaf lists what its inputs held, and what is listed is in a leaf.
    let listable: Extents =
        objects(&swap.retired).into_iter().chain(objects(&swap.listed)).chain(leaves_in()).collect();
    let in_leaves: Extents = leaves_out().collect();
    let listed: Extents = objects(&swap.listed).into_iter().collect();
    if let Some(at) = in_leaves.first_not_in(&listable).or_else(|| listed.first_not_in(&in_leaves)) {
        return Err(Refusal::NotCovered { stream, at });
    }
    check_disjoint(image, swap)?;
    check_leaf_counts(swap, leaf_rows.iter().map(|leaf| u64::from(leaf.count)).sum())
}

fn check_leaf_counts(swap: &StreamSwap, listed_before: u64) -> Result<(), Refusal> {
    if let Some(leaf) = swap.new_leaves.iter().find(|leaf| leaf.count == 0 || leaf.count > LEAF_OBJECTS_MAX) {
        return Err(Refusal::Malformed(format!("leaf {} lists {} objects", leaf.id, leaf.count)));
    }
    let had = listed_before + swap.listed.len() as u64 + swap.listed_new.len() as u64;
    let lists: u64 = swap.new_leaves.iter().map(|leaf| u64::from(leaf.count)).sum();
    if lists + swap.unlisted.len() as u64 != had {
        let unlisted = swap.unlisted.len();
        let what =
            format!("leaves of stream {} list {lists} objects and drop {unlisted} of {had}", swap.stream);
        return Err(Refusal::Malformed(what));
    }
    Ok(())
}

fn swap_records(image: &Image, swap: &StreamSwap) -> Vec<Record> {
    let stream = swap.stream;
    let mut records = Vec::new();
    records.extend(swap.retired.iter().map(|&(from, _)| Record::StreamObjectRetired { stream, from }));
    records.extend(swap.listed.iter().map(|&(from, _)| Record::StreamObjectListed { stream, from }));
    records.extend(swap.leaves.iter().map(|&(from, _)| Record::LeafRetired { stream, from }));
    records.extend(swap.unlisted.iter().map(|&id| Record::ListedRetired { id }));
    records.extend(swap.listed_new.iter().map(|&id| Record::PreparedListed { id }));
    records.extend(swap.new_leaves.iter().map(|new| Record::LeafAdded(leaf_row(image, stream, new))));
    records
        .extend(swap.new_objects.iter().map(|new| Record::StreamObjectAdded(stream_object_row(image, new))));
    records
}

fn leaf_row(image: &Image, stream: StreamId, new: &NewLeaf) -> Leaf {
    let NewLeaf { id, from, to, count, size, crc32c } = *new;
    Leaf { id, lineage: image.lineage_of(id), stream, from, to, count, size, crc32c }
}

/// No output shares an offset with another, or with a row that stays.
fn check_disjoint(image: &Image, swap: &StreamSwap) -> Result<(), Refusal> {
    let stream = swap.stream;
    let going: BTreeSet<ObjectId> =
        swap.retired.iter().chain(&swap.listed).chain(&swap.leaves).map(|&(_, id)| id).collect();
    let objects = swap.new_objects.iter().map(|new| (new.from, new.to));
    let leaves = swap.new_leaves.iter().map(|new| (new.from, new.to));
    if let Some(at) = overlap(objects.clone().chain(leaves.clone())) {
        return Err(Refusal::Overlap { stream, at });
    }
    for (from, to) in objects.chain(leaves) {
        let rows = image.stream_objects(stream, from).map(|row| (row.from, row.id));
        let leaf_rows = image.leaves_from(stream, from).map(|row| (row.from, row.id));
        let near = |&(at, _): &(Offset, ObjectId)| at < to;
        let stays = |(_, id): &(Offset, ObjectId)| !going.contains(id);
        if let Some((at, _)) =
            rows.take_while(near).find(stays).or_else(|| leaf_rows.take_while(near).find(stays))
        {
            return Err(Refusal::Overlap { stream, at: at.max(from) });
        }
    }
    Ok(())
}

/// What retired set objects held is in stream objects, leaves or the set objects that come.
fn check_sets<'a>(
    after: &Image,
    inputs: &[SetInput],
    outputs: impl Iterator<Item = &'a Slice>,
) -> Result<(), Refusal> {
    let mut made: BTreeMap<StreamId, Vec<(Offset, Offset)>> = BTreeMap::new();
    for slice in outputs {
        made.entry(slice.stream).or_default().push((slice.from, slice.to));
    }
    let mut had: BTreeMap<StreamId, Vec<(Offset, Offset)>> = BTreeMap::new();
    for slice in inputs.iter().flat_map(|input| &input.slices) {
        had.entry(slice.stream).or_default().push((slice.from, slice.to));
    }
    for (stream, ranges) in &made {
        if let Some(at) = overlap(ranges.iter().copied()) {
            return Err(Refusal::Overlap { stream: *stream, at });
        }
        let made: Extents = ranges.iter().copied().collect();
        let had: Extents = had.get(stream).into_iter().flatten().copied().collect();
        if let Some(at) = made.first_not_in(&had) {
            return Err(Refusal::NotCovered { stream: *stream, at });
        }
    }
    for (stream, ranges) in had {
        // Slices of a deleted stream, or below the log start, are needed no more.
        let Some(row) = after.stream(stream) else { continue };
        let needed: Extents = ranges.into_iter().map(|(from, to)| (from.max(row.log_start), to)).collect();
        let objects = after.stream_objects(stream, row.so_end).map(|object| (object.from, object.to));
        let outputs = made.remove(&stream).unwrap_or_default();
        let held: Extents = objects.chain(outputs).chain([(row.log_start, row.so_end)]).collect();
        if let Some(at) = needed.first_not_in(&held) {
            return Err(Refusal::NotCovered { stream, at });
        }
    }
    Ok(())
}
