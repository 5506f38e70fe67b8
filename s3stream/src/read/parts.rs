//! Where a stream's committed records lie: which object holds which offsets.
//!
//! Owns: the directory of live set objects (which slices each holds, from its footer), and the walk over rows, leaves
//! and that directory that tiles a range of offsets with objects.
//! Invariants: parts are in offset order and tile the range asked for, or it is an error; a range that does not tile is
//! looked at again when the rows changed meanwhile, since rows of several tables are read one after the other.
//! Never: reads a block.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tidegate_common::{Lineage, ObjectId, Offset, StreamId};

use super::blocks::{ObjectReader, ObjectRef};
use super::{READS_AT_ONCE, in_order};
use crate::format::SliceIndex;
use crate::manager::{ObjectManager, SetObjectRow, StreamObjectRow, StreamRow};
use crate::stream::ReadError;

/// A walk begins anew this often when rows change under it.
const TRIES: u32 = 10;

/// One stream's records in one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) object: ObjectRef,
    /// As the footer has it; may begin below the log start.
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    pub(crate) in_set_object: bool,
    /// What the directory knows of it; `None` for a stream object.
    pub(crate) slice: Option<SliceEntry>,
}

/// What the directory knows of one slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SliceEntry {
    pub(crate) stream: StreamId,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    pub(crate) bytes: u64,
    pub(crate) max_timestamp: i64,
}

impl SliceEntry {
    pub(crate) fn of(slice: &SliceIndex) -> Self {
        let SliceIndex { stream, from, to, bytes, max_timestamp, .. } = *slice;
        Self { stream, from, to, bytes, max_timestamp }
    }
}

/// A live set object and its slices, in ascending stream order.
#[derive(Debug)]
pub(crate) struct SetSlices {
    pub(crate) object: ObjectRef,
    pub(crate) slices: Vec<SliceEntry>,
}

impl SetSlices {
    pub(crate) fn slice(&self, stream: StreamId) -> Option<&SliceEntry> {
        self.slices.binary_search_by_key(&stream, |slice| slice.stream).ok().map(|at| &self.slices[at])
    }
}

/// The slices of every live set object. Bounded by the live set objects, which compaction bounds.
#[derive(Default)]
pub(crate) struct Directory {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The applied index that `live` is of.
    version: Option<u64>,
    live: Arc<Vec<Arc<SetSlices>>>,
}

impl Directory {
    /// Live set objects in id order.
    pub(crate) async fn sets(
        &self,
        objects: &dyn ObjectManager,
        reader: &ObjectReader,
    ) -> Result<Arc<Vec<Arc<SetSlices>>>, ReadError> {
        let version = *objects.changed().borrow();
        let before = {
            let known = self.known.lock();
            if known.version == Some(version) {
                return Ok(known.live.clone());
            }
            known.live.clone()
        };
        let rows = objects.set_objects();
        let have: BTreeMap<(Lineage, ObjectId), &Arc<SetSlices>> =
            before.iter().map(|set| ((set.object.lineage, set.object.id), set)).collect();
        let mut loads: Vec<BoxFuture<'_, Result<Arc<SetSlices>, ReadError>>> = Vec::new();
        for row in &rows {
            let known = have.get(&(row.lineage, row.id)).map(|set| Arc::clone(set));
            loads.push(match known {
                Some(set) => std::future::ready(Ok(set)).boxed(),
                None => load(reader, row).boxed(),
            });
        }
        let loaded: Vec<_> = in_order(loads, READS_AT_ONCE).collect().await;
        let live = Arc::new(loaded.into_iter().collect::<Result<Vec<_>, _>>()?);
        let mut known = self.known.lock();
        if known.version.is_none_or(|known| known < version) {
            *known = Known { version: Some(version), live: live.clone() };
        }
        Ok(live)
    }
}

async fn load(reader: &ObjectReader, row: &SetObjectRow) -> Result<Arc<SetSlices>, ReadError> {
    let object = ObjectRef { lineage: row.lineage, id: row.id, size: row.size };
    let footer = reader.footer(object).await?;
    Ok(Arc::new(SetSlices { object, slices: footer.slices.iter().map(SliceEntry::of).collect() }))
}

pub(crate) fn object_of(row: &StreamObjectRow) -> ObjectRef {
    ObjectRef { lineage: row.lineage, id: row.id, size: row.size }
}

/// The parts that tile `[from, upto)` of a stream, `upto` at most its committed end, with the row they belong to.
pub(crate) async fn parts(
    objects: &dyn ObjectManager,
    reader: &ObjectReader,
    directory: &Directory,
    stream: StreamId,
    from: Offset,
    upto: Offset,
) -> Result<(StreamRow, Vec<Part>), ReadError> {
    let mut tries = 0;
    loop {
        let version = *objects.changed().borrow();
        let row = objects.stream(stream).ok_or(ReadError::UnknownStream(stream))?;
        let (from, upto) = (from.max(row.log_start), upto.min(row.committed_end));
        if from >= upto {
            return Ok((row, Vec::new()));
        }
        let found = match candidates(objects, reader, directory, stream, &row, from, upto).await {
            Ok(found) => tile(stream, found, from, upto),
            // What was read may be gone because it left the rows since.
            Err(error @ ReadError::Damaged { .. }) => Err(error),
            Err(error) => return Err(error),
        };
        tries += 1;
        match found {
            Ok(parts) => return Ok((row, parts)),
            Err(error) if *objects.changed().borrow() == version || tries == TRIES => return Err(error),
            Err(_) => {}
        }
    }
}

async fn candidates(
    objects: &dyn ObjectManager,
    reader: &ObjectReader,
    directory: &Directory,
    stream_id: StreamId,
    row: &StreamRow,
    from: Offset,
    upto: Offset,
) -> Result<Vec<Part>, ReadError> {
    let part = |row: &StreamObjectRow| Part {
        object: object_of(row),
        from: row.from,
        to: row.to,
        in_set_object: false,
        slice: None,
    };
    let loose = objects.stream_objects(stream_id, from);
    let mut out: Vec<Part> = loose.iter().take_while(|row| row.from < upto).map(part).collect();
    let covered = tile(stream_id, out.clone(), from, upto);
    if let Ok(parts) = covered {
        return Ok(parts);
    }
    if from < row.so_end {
        let leaves = objects.leaves(stream_id, from);
        let mut wanted = Vec::new();
        for leaf in leaves.iter().take_while(|leaf| leaf.from < upto) {
            wanted.push(reader.leaf(leaf).boxed());
        }
        let mut leaves = in_order(wanted, READS_AT_ONCE);
        while let Some(leaf) = leaves.next().await {
            let leaf = leaf?;
            let first = leaf.rows.partition_point(|row| row.to <= from);
            out.extend(leaf.rows[first..].iter().take_while(|row| row.from < upto).map(part));
        }
    }
    if upto > row.so_end {
        let sets = directory.sets(objects, reader).await?;
        out.extend(sets.iter().filter_map(|set| {
            let slice = set.slice(stream_id)?;
            (slice.to > from && slice.from < upto).then_some(Part {
                object: set.object,
                from: slice.from,
                to: slice.to,
                in_set_object: true,
                slice: Some(*slice),
            })
        }));
    }
    Ok(out)
}

/// Chooses the parts that lead from `from` to `upto`. A stream object goes before a slice: the slice under it is dead.
fn tile(stream: StreamId, found: Vec<Part>, from: Offset, upto: Offset) -> Result<Vec<Part>, ReadError> {
    let looked_at = found.len();
    // Neither stream objects nor slices overlap among themselves, so each kind has one candidate.
    let (mut slices, mut objects): (Vec<Part>, Vec<Part>) =
        found.into_iter().partition(|part| part.in_set_object);
    slices.sort_by_key(|part| part.from);
    objects.sort_by_key(|part| part.from);
    let holds = |parts: &[Part], at: Offset| {
        let next = parts.partition_point(|part| part.from <= at);
        next.checked_sub(1).map(|last| parts[last]).filter(|part| at < part.to)
    };
    let mut out: Vec<Part> = Vec::with_capacity(looked_at);
    let mut at = from;
    while at < upto {
        let Some(part) = holds(&objects, at).or_else(|| holds(&slices, at)) else {
            let what = format!("{looked_at} objects were looked at");
            return Err(ReadError::Hole { stream, at, what });
        };
        at = part.to;
        out.push(part);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: u64, from: i64, to: i64, in_set_object: bool) -> Part {
        let object = ObjectRef { lineage: Lineage(1), id: ObjectId(id), size: 1 };
        Part { object, from: Offset(from), to: Offset(to), in_set_object, slice: None }
    }

    fn ids(found: Vec<Part>, from: i64, upto: i64) -> Result<Vec<u64>, ReadError> {
        tile(StreamId(1), found, Offset(from), Offset(upto))
            .map(|parts| parts.iter().map(|part| part.object.id.0).collect())
    }

    #[test]
    fn parts_tile_the_range_and_a_stream_object_goes_before_the_slice_under_it() {
        let found =
            vec![part(9, 20, 30, true), part(1, 0, 10, false), part(3, 10, 20, true), part(4, 10, 20, false)];
        assert_eq!(ids(found.clone(), 0, 30), Ok(vec![1, 4, 9]));
        assert_eq!(ids(found.clone(), 5, 10), Ok(vec![1]));
        assert_eq!(ids(found, 15, 21), Ok(vec![4, 9]));
    }

    #[test]
    fn a_hole_is_named() {
        let found = vec![part(1, 0, 10, false), part(3, 12, 20, true)];
        match ids(found, 0, 20) {
            Err(ReadError::Hole { at, .. }) => assert_eq!(at, Offset(10)),
            other => panic!("{other:?}"),
        }
    }
}
