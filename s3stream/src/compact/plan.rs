//! What to compact next: a pure function of a snapshot.
//!
//! In this order, the first that applies:
//! 1. *retire* set objects of which no slice lives;
//! 2. *merge objects*: a run of small neighbouring stream objects becomes one;
//! 3. *list*: the oldest loose stream objects of a stream go into a leaf;
//! 4. *split*: a stream with `split_bytes` in set objects gets them as one stream object;
//! 5. *merge sets*: old set objects, by then of slow partitions only, become one;
//! 6. *split* all of the oldest set object, when there are still too many.
//!
//! A byte of a partition faster than `split_bytes / compact_age_ms` (8 MiB in 20 minutes: 7 kB/s) is PUT at most twice,
//! by its upload and by one split: (4) comes before (5) and (6), so what those rewrite belongs to streams with less than
//! `split_bytes` in set objects; they take only set objects of at least `compact_age_ms`, and in that time a faster
//! partition has gathered `split_bytes` since; and its stream objects have at least `split_bytes`, which (2) never
//! rewrites. The bound on live set objects comes first where both cannot hold: above [`OVERFULL`] times
//! `set_objects_max`, (5) and (6) take younger set objects too.
//!
//! Invariants: a stream's slices are taken as a prefix of what lives, or as neighbours; outputs are bounded by
//! `compact_bytes`. Never: reads a clock or a row by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_common::{ObjectId, Offset, StreamId};

use crate::budget::Share;
use crate::manager::{StreamObjectRow, StreamRow};
use crate::read::parts::{SetSlices, SliceEntry};
use crate::storage::Settings;

/// Stream objects that are worth merging into one.
pub(crate) const MERGE_OBJECTS_MIN: usize = 8;
const MERGE_OBJECTS_MAX: usize = 64;
/// Set objects that are worth merging while there are not too many.
const MERGE_SETS_MIN: usize = 8;
/// So many times `set_objects_max` and the bound counts more than the bytes written.
const OVERFULL: usize = 4;

pub(crate) struct Snapshot {
    /// In id order.
    pub(crate) sets: Vec<SetView>,
    /// The rows of every stream with a slice there; `None`: deleted.
    pub(crate) streams: BTreeMap<StreamId, Option<StreamRow>>,
    pub(crate) crowds: Vec<Crowd>,
}

#[derive(Clone)]
pub(crate) struct SetView {
    pub(crate) set: Arc<SetSlices>,
    pub(crate) age_ms: u64,
}

/// A stream with many stream objects outside leaves, in offset order.
pub(crate) struct Crowd {
    pub(crate) row: StreamRow,
    pub(crate) objects: Vec<StreamObjectRow>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) split_bytes: u64,
    pub(crate) compact_bytes: u64,
    pub(crate) compact_age_ms: u64,
    pub(crate) set_objects_max: usize,
    pub(crate) leaf_objects: usize,
}

impl Rules {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            split_bytes: settings.split_bytes,
            compact_bytes: settings.compact_bytes.min(settings.limits().get(Share::Uploads)),
            compact_age_ms: settings.compact_age_ms,
            set_objects_max: settings.set_objects_max,
            leaf_objects: settings.leaf_objects.clamp(1, crate::format::LEAF_ROWS_MAX),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    Retire(Vec<ObjectId>),
    List(Vec<StreamObjectRow>),
    MergeObjects(Vec<StreamObjectRow>),
    Split(Vec<Gather>),
    MergeSets(MergeSets),
}

/// Neighbouring slices of one stream that become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gather {
    pub(crate) stream: StreamId,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    pub(crate) bytes: u64,
    /// The set objects that hold them, in offset order.
    pub(crate) sets: Vec<ObjectId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MergeSets {
    pub(crate) inputs: Vec<ObjectId>,
    /// In stream order.
    pub(crate) slices: Vec<Gather>,
}

pub(crate) fn plan(snapshot: &Snapshot, rules: &Rules) -> Option<Plan> {
    let dead: Vec<ObjectId> =
        snapshot.sets.iter().filter(|view| snapshot.live(view).next().is_none()).map(SetView::id).collect();
    if !dead.is_empty() {
        return Some(Plan::Retire(dead));
    }
    snapshot
        .crowds
        .iter()
        .find_map(|crowd| merge_objects(crowd, rules))
        .or_else(|| snapshot.crowds.iter().find_map(|crowd| list(crowd, rules)))
        .or_else(|| {
            let streams = snapshot.live_slices();
            split_large(snapshot, &streams, rules)
                .or_else(|| merge_sets(snapshot, &streams, rules))
                .or_else(|| split_oldest(snapshot, &streams, rules))
        })
}

impl SetView {
    fn id(&self) -> ObjectId {
        self.set.object.id
    }
}

/// A stream's living slices, in offset order, each with the place of its set object in the snapshot.
type OfStream<'a> = Vec<(&'a SliceEntry, usize)>;
type Slices<'a> = BTreeMap<StreamId, OfStream<'a>>;

impl Snapshot {
    /// The slices of a set object that something still needs.
    fn live<'a>(&'a self, view: &'a SetView) -> impl Iterator<Item = &'a SliceEntry> {
        view.set.slices.iter().filter(|slice| self.row(slice.stream).is_some_and(|row| slice.to > row.so_end))
    }

    fn row(&self, stream: StreamId) -> Option<&StreamRow> {
        self.streams.get(&stream)?.as_ref()
    }

    fn live_slices(&self) -> Slices<'_> {
        let mut out: Slices<'_> = BTreeMap::new();
        for (at, view) in self.sets.iter().enumerate() {
            for slice in self.live(view) {
                out.entry(slice.stream).or_default().push((slice, at));
            }
        }
        out.values_mut().for_each(|slices| slices.sort_by_key(|(slice, _)| slice.from));
        // Rows and directory are read one after the other: a stream that does not fit together waits.
        out.retain(|stream, slices| {
            let starts = self.row(*stream).is_some_and(|row| slices[0].0.from <= row.so_end);
            starts && slices.windows(2).all(|pair| pair[0].0.to == pair[1].0.from)
        });
        out
    }

    /// Old enough, or there are far too many.
    fn may_rewrite(&self, at: usize, rules: &Rules) -> bool {
        self.sets[at].age_ms >= rules.compact_age_ms
            || self.sets.len() > rules.set_objects_max.saturating_mul(OVERFULL)
    }

    /// Neighbouring slices of one stream, at least one, as one.
    fn gather(&self, slices: &[(&SliceEntry, usize)]) -> Gather {
        let (first, last) = (slices[0].0, slices[slices.len() - 1].0);
        Gather {
            stream: first.stream,
            from: first.from,
            to: last.to,
            bytes: slices.iter().map(|(slice, _)| slice.bytes).sum(),
            sets: slices.iter().map(|(_, at)| self.sets[*at].id()).collect(),
        }
    }

    fn live_bytes(&self, at: usize) -> u64 {
        self.live(&self.sets[at]).map(|slice| slice.bytes).sum()
    }

    /// The places of the set objects so that every stream's slices come in offset order; the lowest id first where
    /// nothing else says. Any run of neighbours in this order holds neighbouring slices of each stream.
    fn in_content_order(&self, streams: &Slices<'_>) -> Vec<usize> {
        let mut after: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.sets.len()];
        let mut waits_for = vec![0usize; self.sets.len()];
        for slices in streams.values() {
            for pair in slices.windows(2) {
                let (first, second) = (pair[0].1, pair[1].1);
                if first != second && after[first].insert(second) {
                    waits_for[second] += 1;
                }
            }
        }
        let mut ready: BTreeSet<usize> = (0..self.sets.len()).filter(|at| waits_for[*at] == 0).collect();
        let mut out = Vec::with_capacity(self.sets.len());
        while let Some(at) = ready.pop_first() {
            out.push(at);
            for next in &after[at] {
                waits_for[*next] -= 1;
                if waits_for[*next] == 0 {
                    ready.insert(*next);
                }
            }
        }
        out
    }
}

/// The oldest run of small neighbours whose largest is at most half of all: each byte is rewritten about once per
/// doubling.
fn merge_objects(crowd: &Crowd, rules: &Rules) -> Option<Plan> {
    let objects = &crowd.objects;
    for first in 0..objects.len() {
        let (mut total, mut largest, mut end) = (0, 0, first);
        while let Some(object) = objects.get(end) {
            let follows = end == first || objects[end - 1].to == object.from;
            let fits = object.size < rules.split_bytes && total + object.size <= rules.compact_bytes;
            if !follows || !fits || object.to > crowd.row.so_end || end - first == MERGE_OBJECTS_MAX {
                break;
            }
            total += object.size;
            largest = largest.max(object.size);
            end += 1;
        }
        if end - first >= MERGE_OBJECTS_MIN && largest * 2 <= total {
            return Some(Plan::MergeObjects(objects[first..end].to_vec()));
        }
    }
    None
}

fn list(crowd: &Crowd, rules: &Rules) -> Option<Plan> {
    let below = crowd.objects.iter().take_while(|object| object.to <= crowd.row.so_end).count();
    let rows = crowd.objects.get(..rules.leaf_objects).filter(|_| below >= rules.leaf_objects)?;
    rows.windows(2).all(|pair| pair[0].to == pair[1].from).then(|| Plan::List(rows.to_vec()))
}

fn split_large(snapshot: &Snapshot, streams: &Slices<'_>, rules: &Rules) -> Option<Plan> {
    let large = |slices: &&OfStream<'_>| {
        slices.iter().map(|(slice, _)| slice.bytes).sum::<u64>() >= rules.split_bytes
    };
    split(snapshot, streams.values().filter(large), rules)
}

fn split_oldest(snapshot: &Snapshot, streams: &Slices<'_>, rules: &Rules) -> Option<Plan> {
    if snapshot.sets.len() <= rules.set_objects_max {
        return None;
    }
    let order = snapshot.in_content_order(streams);
    let oldest = order.into_iter().find(|at| snapshot.may_rewrite(*at, rules))?;
    let of_oldest = |slices: &&OfStream<'_>| slices.iter().any(|(_, at)| *at == oldest);
    split(snapshot, streams.values().filter(of_oldest), rules)
}

/// Stream objects for the streams chosen, as many as fit: of each all that lives, or as much of it as fits.
fn split<'a>(
    snapshot: &Snapshot,
    chosen: impl Iterator<Item = &'a OfStream<'a>>,
    rules: &Rules,
) -> Option<Plan> {
    let (mut out, mut total): (Vec<Gather>, u64) = (Vec::new(), 0);
    for slices in chosen {
        let mut bytes = 0;
        let fits = |slice: &SliceEntry, bytes: u64| bytes == 0 || bytes + slice.bytes <= rules.compact_bytes;
        let count = slices
            .iter()
            .take_while(|(slice, _)| {
                let fits = fits(slice, bytes);
                bytes += slice.bytes;
                fits
            })
            .count();
        let gather = snapshot.gather(&slices[..count]);
        if !out.is_empty() && total + gather.bytes > rules.compact_bytes {
            break;
        }
        total += gather.bytes;
        out.push(gather);
    }
    (!out.is_empty()).then_some(Plan::Split(out))
}

/// The oldest run of small neighbours whose largest is at most half of all.
fn merge_sets(snapshot: &Snapshot, streams: &Slices<'_>, rules: &Rules) -> Option<Plan> {
    let overfull = snapshot.sets.len() > rules.set_objects_max;
    let least = if overfull { 2 } else { MERGE_SETS_MIN };
    if snapshot.sets.len() < least {
        return None;
    }
    let order = snapshot.in_content_order(streams);
    let bytes: Vec<u64> = order.iter().map(|at| snapshot.live_bytes(*at)).collect();
    for first in 0..order.len() {
        let (mut total, mut largest, mut end) = (0, 0, first);
        while let Some(at) = order.get(end) {
            if !snapshot.may_rewrite(*at, rules) || total + bytes[end] > rules.compact_bytes {
                break;
            }
            total += bytes[end];
            largest = largest.max(bytes[end]);
            end += 1;
        }
        if end - first >= least && largest * 2 <= total {
            return merge_run(snapshot, streams, &order[first..end]).map(Plan::MergeSets);
        }
    }
    None
}

fn merge_run(snapshot: &Snapshot, streams: &Slices<'_>, run: &[usize]) -> Option<MergeSets> {
    let chosen: BTreeSet<usize> = run.iter().copied().collect();
    let mut carried = 0;
    let mut slices = Vec::new();
    for of_stream in streams.values() {
        let first = of_stream.iter().position(|(_, at)| chosen.contains(at));
        let Some(first) = first else { continue };
        let last = of_stream.iter().rposition(|(_, at)| chosen.contains(at))?;
        let part = &of_stream[first..=last];
        if part.iter().any(|(_, at)| !chosen.contains(at)) {
            return None;
        }
        carried += part.len();
        slices.push(snapshot.gather(part));
    }
    // A stream that does not fit together for the moment must not be left behind.
    let live: usize = run.iter().map(|at| snapshot.live(&snapshot.sets[*at]).count()).sum();
    let inputs = run.iter().map(|at| snapshot.sets[*at].id()).collect();
    (carried == live && !slices.is_empty()).then_some(MergeSets { inputs, slices })
}
