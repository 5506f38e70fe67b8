//! The rules of the fake quorum: what a commit must say to be taken.
//!
//! Invariants: committed records have no hole and no second copy; what leaves the rows goes to the garbage list; after a
//! compaction the rows hold what they held.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_common::{Incarnation, Lineage, ObjectId, Offset, StreamId};

use super::State;
use crate::manager::{
    Committed, CompactionCommit, GarbageKind, GarbageRow, LeafRow, ManagerError, NewObject, SetObjectRow,
    SliceRange, StreamObjectRow, StreamSwap, UploadCommit,
};

type Range = (Offset, Offset);

fn refused<T>(why: impl Into<String>) -> Result<T, ManagerError> {
    Err(ManagerError::Refused(why.into()))
}

impl State {
    pub(super) fn prepare(&mut self, incarnation: Incarnation, count: u32, ttl_ms: u64) -> Vec<ObjectId> {
        let ids: Vec<ObjectId> = (self.next_id..self.next_id + u64::from(count)).map(ObjectId).collect();
        self.next_id += u64::from(count);
        for id in &ids {
            self.prepared.insert(*id, (incarnation, self.time_ms + ttl_ms));
        }
        ids
    }

    pub(super) fn commit_upload(
        &mut self,
        incarnation: Incarnation,
        lineage: Lineage,
        commit: &UploadCommit,
    ) -> Result<Committed, ManagerError> {
        let mut extents: Vec<(SliceRange, ObjectId)> = Vec::new();
        if let Some((object, slices)) = &commit.set_object {
            extents.extend(slices.iter().map(|slice| (*slice, object.id)));
        }
        extents.extend(commit.stream_objects.iter().map(|(object, slice)| (*slice, object.id)));
        if extents.is_empty() || extents.iter().any(|(s, _)| s.from >= s.to || s.from < Offset::ZERO) {
            return refused("an upload without records");
        }
        extents.sort_by_key(|(slice, _)| (slice.stream, slice.from));
        let mut committed = Committed::default();
        if self.is_committed(commit) {
            return Ok(committed);
        }
        for (_, id) in &extents {
            self.check_prepared(incarnation, *id)?;
        }
        let mut counted = BTreeSet::new();
        for (slice, id) in &extents {
            let Some(row) = self.streams.get_mut(&slice.stream) else {
                committed.dropped_streams.push(slice.stream);
                continue;
            };
            let below_log_start = slice.from < row.committed_end && row.committed_end == row.log_start;
            if below_log_start && slice.to <= row.committed_end {
                continue;
            }
            if slice.from != row.committed_end && !below_log_start {
                let (stream, from, end) = (slice.stream, slice.from, row.committed_end);
                return refused(format!(
                    "a slice of stream {stream} begins at {from}, committed is up to {end}"
                ));
            }
            row.committed_end = slice.to;
            counted.insert(*id);
        }
        if let Some((object, slices)) = &commit.set_object {
            if counted.contains(&object.id) {
                self.add_set(incarnation, lineage, object, slices);
            } else {
                self.drop_prepared(object.id, lineage);
            }
        }
        for (object, slice) in &commit.stream_objects {
            if counted.contains(&object.id) {
                self.add_object(lineage, object, slice);
            } else {
                self.drop_prepared(object.id, lineage);
            }
        }
        Ok(committed)
    }

    pub(super) fn commit_compaction(
        &mut self,
        incarnation: Incarnation,
        lineage: Lineage,
        commit: &CompactionCommit,
    ) -> Result<Committed, ManagerError> {
        if self.is_compacted(commit) {
            return Ok(Committed::default());
        }
        for input in &commit.set_objects_in {
            if self.sets.get(&input.id).is_none_or(|(_, slices)| *slices != input.slices) {
                return refused(format!("set object {} is not live, or not as said", input.id));
            }
        }
        for (object, _) in &commit.set_objects_out {
            self.check_prepared(incarnation, object.id)?;
        }
        for swap in &commit.streams {
            self.check_swap(incarnation, swap)?;
        }
        let had: Vec<SliceRange> =
            commit.set_objects_in.iter().flat_map(|input| input.slices.clone()).collect();
        for input in &commit.set_objects_in {
            self.sets.remove(&input.id);
            self.discard(input.id, lineage, GarbageKind::Object);
        }
        for (object, slices) in &commit.set_objects_out {
            self.add_set(incarnation, lineage, object, slices);
        }
        for swap in &commit.streams {
            self.apply_swap(lineage, swap);
        }
        let made: Vec<SliceRange> =
            commit.set_objects_out.iter().flat_map(|(_, slices)| slices.clone()).collect();
        self.check_sets(&had, &made)?;
        Ok(Committed::default())
    }

    pub(super) fn advance_log_start(&mut self, id: StreamId, to: Offset) {
        let Some(row) = self.streams.get_mut(&id) else { return };
        row.log_start = row.log_start.max(to);
        row.so_end = row.so_end.max(row.log_start);
        row.committed_end = row.committed_end.max(row.log_start);
        self.retire_below(id, to);
        self.advance_so_end(id);
    }

    pub(super) fn retire_below(&mut self, stream: StreamId, below: Offset) {
        let whole = (stream, Offset(i64::MIN))..=(stream, Offset(i64::MAX));
        let objects: Vec<StreamObjectRow> = self
            .objects
            .range(whole.clone())
            .map(|(_, row)| row.clone())
            .filter(|row| row.to <= below)
            .collect();
        for row in objects {
            self.objects.remove(&(stream, row.from));
            self.discard(row.id, row.lineage, GarbageKind::Object);
        }
        let leaves: Vec<LeafRow> =
            self.leaves.range(whole).map(|(_, row)| row.clone()).filter(|row| row.to <= below).collect();
        for row in leaves {
            self.leaves.remove(&(stream, row.from));
            self.discard(row.id, row.lineage, GarbageKind::LeafAndListed);
        }
    }

    pub(super) fn drop_prepared(&mut self, id: ObjectId, lineage: Lineage) {
        if self.prepared.remove(&id).is_some() {
            self.discard(id, lineage, GarbageKind::Object);
        }
    }

    fn check_prepared(&self, incarnation: Incarnation, id: ObjectId) -> Result<(), ManagerError> {
        match self.prepared.get(&id) {
            Some((by, _)) if *by == incarnation => Ok(()),
            _ => refused(format!("object {id} is not prepared by this incarnation")),
        }
    }

    fn add_set(&mut self, writer: Incarnation, lineage: Lineage, object: &NewObject, slices: &[SliceRange]) {
        let NewObject { id, size, checksum } = *object;
        self.prepared.remove(&id);
        self.sets.insert(id, (SetObjectRow { id, lineage, writer, size, checksum }, slices.to_vec()));
    }

    fn add_object(&mut self, lineage: Lineage, object: &NewObject, slice: &SliceRange) {
        let NewObject { id, size, checksum } = *object;
        let SliceRange { stream, from, to } = *slice;
        self.prepared.remove(&id);
        self.objects
            .insert((stream, from), StreamObjectRow { id, lineage, stream, from, to, size, checksum });
        self.advance_so_end(stream);
    }

    fn advance_so_end(&mut self, stream: StreamId) {
        let Some(row) = self.streams.get_mut(&stream) else { return };
        let whole = (stream, Offset(i64::MIN))..=(stream, Offset(i64::MAX));
        for (_, object) in self.objects.range(whole) {
            if object.from <= row.so_end && object.to > row.so_end {
                row.so_end = object.to;
            }
        }
        row.committed_end = row.committed_end.max(row.so_end);
    }

    fn discard(&mut self, id: ObjectId, lineage: Lineage, kind: GarbageKind) {
        let row = GarbageRow { index: self.index, id, lineage, kind };
        self.garbage.insert((self.index, id), (row, self.time_ms));
    }

    fn is_committed(&self, commit: &UploadCommit) -> bool {
        let set = commit.set_object.iter().any(|(object, _)| self.sets.contains_key(&object.id));
        let own = |(object, slice): &(NewObject, SliceRange)| {
            self.objects.get(&(slice.stream, slice.from)).is_some_and(|row| row.id == object.id)
        };
        set || commit.stream_objects.iter().any(own)
    }

    fn is_compacted(&self, commit: &CompactionCommit) -> bool {
        commit.set_objects_out.iter().any(|(object, _)| self.sets.contains_key(&object.id))
            || commit.streams.iter().any(|swap| {
                let object = swap.new_objects.iter().any(|(object, slice)| {
                    self.objects.get(&(slice.stream, slice.from)).is_some_and(|row| row.id == object.id)
                });
                let leaf = swap.new_leaves.iter().any(|(object, slice, _)| {
                    self.leaves.get(&(slice.stream, slice.from)).is_some_and(|row| row.id == object.id)
                });
                object || leaf
            })
    }

    fn check_swap(&self, incarnation: Incarnation, swap: &StreamSwap) -> Result<(), ManagerError> {
        let stream = swap.stream;
        let Some(row) = self.streams.get(&stream) else { return refused(format!("no stream {stream}")) };
        let mut inputs: Vec<Range> = Vec::new();
        let mut listed: Vec<Range> = Vec::new();
        for (list, of) in [(&swap.retired, false), (&swap.listed, true)] {
            for (from, id) in list {
                match self.objects.get(&(stream, *from)) {
                    Some(object) if object.id == *id => {
                        inputs.push((object.from, object.to));
                        if of {
                            listed.push((object.from, object.to));
                        }
                    }
                    _ => return refused(format!("stream object {id} is not live")),
                }
            }
        }
        let mut listed_before = 0;
        for (from, id) in &swap.leaves {
            match self.leaves.get(&(stream, *from)) {
                Some(leaf) if leaf.id == *id => {
                    inputs.push((leaf.from, leaf.to));
                    listed_before += u64::from(leaf.count);
                }
                _ => return refused(format!("leaf {id} is not live")),
            }
        }
        let new_objects: Vec<Range> = swap.new_objects.iter().map(|(_, s)| (s.from, s.to)).collect();
        let new_leaves: Vec<Range> = swap.new_leaves.iter().map(|(_, s, _)| (s.from, s.to)).collect();
        for (ranges, end) in [(&new_leaves, row.so_end), (&new_objects, row.committed_end)] {
            if ranges.iter().any(|(from, to)| from >= to || *to <= row.log_start || *to > end) {
                return refused(format!("an output of stream {stream} is out of bounds"));
            }
        }
        for (object, _) in &swap.new_objects {
            self.check_prepared(incarnation, object.id)?;
        }
        for (object, _, _) in &swap.new_leaves {
            self.check_prepared(incarnation, object.id)?;
        }
        let needed: Vec<Range> = inputs.iter().map(|(from, to)| ((*from).max(row.log_start), *to)).collect();
        let made = union([&new_objects[..], &new_leaves[..]].concat());
        if !covers(&made, &needed) {
            return refused(format!("the outputs do not hold what the inputs of stream {stream} held"));
        }
        if !covers(&union(inputs.clone()), &new_leaves) || !covers(&union(new_leaves.clone()), &listed) {
            return refused(format!("the leaves of stream {stream} do not list what they should"));
        }
        let lists: u64 = swap.new_leaves.iter().map(|(_, _, count)| u64::from(*count)).sum();
        let had = listed_before + swap.listed.len() as u64 + swap.listed_new.len() as u64;
        if lists + swap.unlisted.len() as u64 != had {
            return refused(format!("leaves of stream {stream} list {lists} of {had} objects"));
        }
        let going: BTreeSet<ObjectId> =
            swap.retired.iter().chain(&swap.listed).chain(&swap.leaves).map(|(_, id)| *id).collect();
        let mut all = [&new_objects[..], &new_leaves[..]].concat();
        let whole = (stream, Offset(i64::MIN))..=(stream, Offset(i64::MAX));
        all.extend(
            self.objects
                .range(whole.clone())
                .filter(|(_, r)| !going.contains(&r.id))
                .map(|(_, r)| (r.from, r.to)),
        );
        all.extend(
            self.leaves.range(whole).filter(|(_, r)| !going.contains(&r.id)).map(|(_, r)| (r.from, r.to)),
        );
        all.sort_unstable();
        if all.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return refused(format!("objects of stream {stream} would overlap"));
        }
        Ok(())
    }

    fn apply_swap(&mut self, lineage: Lineage, swap: &StreamSwap) {
        let stream = swap.stream;
        for (from, id) in &swap.retired {
            self.objects.remove(&(stream, *from));
            self.discard(*id, lineage, GarbageKind::Object);
        }
        for (from, _) in &swap.listed {
            self.objects.remove(&(stream, *from));
        }
        for (from, id) in &swap.leaves {
            self.leaves.remove(&(stream, *from));
            self.discard(*id, lineage, GarbageKind::Object);
        }
        for id in &swap.unlisted {
            self.discard(*id, lineage, GarbageKind::Object);
        }
        for id in &swap.listed_new {
            self.prepared.remove(id);
        }
        for (object, slice, count) in &swap.new_leaves {
            let NewObject { id, size, checksum } = *object;
            let SliceRange { stream, from, to } = *slice;
            self.prepared.remove(&id);
            let row = LeafRow { id, lineage, stream, from, to, count: *count, size, checksum };
            self.leaves.insert((stream, from), row);
        }
        for (object, slice) in &swap.new_objects {
            self.add_object(lineage, object, slice);
        }
    }

    /// What retired set objects held is in stream objects, leaves or the set objects that came.
    fn check_sets(&self, had: &[SliceRange], made: &[SliceRange]) -> Result<(), ManagerError> {
        let by_stream = |slices: &[SliceRange]| {
            let mut out: BTreeMap<StreamId, Vec<Range>> = BTreeMap::new();
            for slice in slices {
                out.entry(slice.stream).or_default().push((slice.from, slice.to));
            }
            out
        };
        let (had, mut made) = (by_stream(had), by_stream(made));
        for (stream, made) in &made {
            if !covers(&union(had.get(stream).cloned().unwrap_or_default()), made) {
                return refused(format!("a merge made up records of stream {stream}"));
            }
        }
        for (stream, ranges) in had {
            let Some(row) = self.streams.get(&stream) else { continue };
            let whole = (stream, Offset(i64::MIN))..=(stream, Offset(i64::MAX));
            let mut held = made.remove(&stream).unwrap_or_default();
            held.extend(self.objects.range(whole).map(|(_, row)| (row.from, row.to)));
            held.push((row.log_start, row.so_end));
            let needed: Vec<Range> =
                ranges.iter().map(|(from, to)| ((*from).max(row.log_start), *to)).collect();
            if !covers(&union(held), &needed) {
                return refused(format!("records of stream {stream} would be lost"));
            }
        }
        Ok(())
    }
}

/// The ranges in order, touching ones as one.
fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|(from, to)| from < to);
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::new();
    for (from, to) in ranges {
        match out.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => out.push((from, to)),
        }
    }
    out
}

fn covers(union: &[Range], needed: &[Range]) -> bool {
    needed.iter().all(|(from, to)| from >= to || union.iter().any(|(f, t)| f <= from && to <= t))
}
