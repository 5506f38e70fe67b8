//! Plans as short stories: a snapshot, and the exact plan.

use super::plan::*;
use crate::manager::{StreamObjectRow, StreamRow};
use crate::read::blocks::ObjectRef;
use crate::read::parts::{SetSlices, SliceEntry};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_common::{Lineage, ObjectId, Offset, StreamId};

const RULES: Rules = Rules {
    split_bytes: 100,
    compact_bytes: 400,
    compact_age_ms: 1_000,
    set_objects_max: 3,
    leaf_objects: 10,
};
const OLD: u64 = 5_000;
const YOUNG: u64 = 10;

/// A set object of slices `(stream, from, to)`; one offset is one byte.
fn set(id: u64, age_ms: u64, slices: &[(u64, i64, i64)]) -> SetView {
    let slices = slices
        .iter()
        .map(|&(stream, from, to)| SliceEntry {
            stream: StreamId(stream),
            from: Offset(from),
            to: Offset(to),
            bytes: (to - from) as u64,
            max_timestamp: 0,
        })
        .collect();
    let object = ObjectRef { lineage: Lineage(1), id: ObjectId(id), size: 1 };
    SetView { set: Arc::new(SetSlices { object, slices }), age_ms }
}

/// Rows by `so_end`; `None` is a deleted stream.
fn snapshot(sets: Vec<SetView>, streams: &[(u64, Option<i64>)]) -> Snapshot {
    let row = |so_end: i64| StreamRow {
        log_start: Offset(0),
        so_end: Offset(so_end),
        committed_end: Offset(i64::MAX),
    };
    let streams = streams.iter().map(|&(id, so_end)| (StreamId(id), so_end.map(row))).collect();
    Snapshot { sets, streams, crowds: Vec::new() }
}

fn gather(stream: u64, from: i64, to: i64, sets: &[u64]) -> Gather {
    Gather {
        stream: StreamId(stream),
        from: Offset(from),
        to: Offset(to),
        bytes: (to - from) as u64,
        sets: sets.iter().map(|id| ObjectId(*id)).collect(),
    }
}

fn ids(ids: &[u64]) -> Vec<ObjectId> {
    ids.iter().map(|id| ObjectId(*id)).collect()
}

fn crowd(so_end: i64, sizes: &[u64]) -> Crowd {
    let mut at = 0;
    let objects = sizes
        .iter()
        .map(|size| {
            let from = at;
            at += 10;
            StreamObjectRow {
                id: ObjectId(from as u64),
                lineage: Lineage(1),
                stream: StreamId(1),
                from: Offset(from),
                to: Offset(at),
                size: *size,
                checksum: 0,
            }
        })
        .collect();
    let row = StreamRow { log_start: Offset(0), so_end: Offset(so_end), committed_end: Offset(so_end) };
    Crowd { row, objects }
}

#[test]
fn a_set_object_without_a_living_slice_is_retired_first() {
    let sets = vec![
        set(1, OLD, &[(1, 0, 50), (2, 0, 500)]),
        set(2, OLD, &[(1, 50, 60), (9, 0, 5)]),
        set(3, OLD, &[(1, 60, 70)]),
    ];
    let snapshot = snapshot(sets, &[(1, Some(60)), (2, None), (9, None)]);
    assert_eq!(plan(&snapshot, &RULES), Some(Plan::Retire(ids(&[1, 2]))));
}

#[test]
fn a_stream_with_enough_in_set_objects_is_split_off_whatever_their_age() {
    let sets = vec![set(1, YOUNG, &[(1, 0, 60), (2, 0, 10)]), set(2, YOUNG, &[(1, 60, 120), (2, 10, 20)])];
    let snapshot = snapshot(sets, &[(1, Some(0)), (2, Some(0))]);
    assert_eq!(plan(&snapshot, &RULES), Some(Plan::Split(vec![gather(1, 0, 120, &[1, 2])])));
}

#[test]
fn a_split_takes_what_fits_from_the_front() {
    let sets = vec![
        set(1, YOUNG, &[(1, 0, 150), (2, 0, 200)]),
        set(2, YOUNG, &[(1, 150, 300), (2, 200, 300)]),
        set(3, YOUNG, &[(1, 300, 450)]),
    ];
    let snapshot = snapshot(sets, &[(1, Some(0)), (2, Some(0))]);
    // 300 of stream 1, and the 300 of stream 2 have to wait: 400 is the most.
    assert_eq!(plan(&snapshot, &RULES), Some(Plan::Split(vec![gather(1, 0, 300, &[1, 2])])));
}

#[test]
fn young_set_objects_are_left_alone_even_when_there_are_many() {
    let sets: Vec<SetView> = (0..8).map(|n| set(n, YOUNG, &[(n + 1, 0, 10)])).collect();
    let streams: Vec<_> = (1..=8).map(|id| (id, Some(0))).collect();
    assert_eq!(plan(&snapshot(sets, &streams), &RULES), None);
}

#[test]
fn above_the_bound_old_set_objects_are_merged_and_dead_slices_stay_behind() {
    let sets = vec![
        set(1, OLD, &[(1, 0, 10), (2, 0, 10)]),
        set(2, OLD, &[(1, 10, 20), (3, 0, 90)]),
        set(3, OLD, &[(1, 20, 30), (2, 10, 20)]),
        set(4, YOUNG, &[(1, 30, 40)]),
    ];
    let snapshot = snapshot(sets, &[(1, Some(0)), (2, Some(10)), (3, None)]);
    let merge = MergeSets {
        inputs: ids(&[1, 2, 3]),
        slices: vec![gather(1, 0, 30, &[1, 2, 3]), gather(2, 10, 20, &[3])],
    };
    assert_eq!(plan(&snapshot, &RULES), Some(Plan::MergeSets(merge)));
}

#[test]
fn a_merged_set_object_stands_where_its_inputs_stood() {
    // 9 is a merge of older ones: its slices come before those of 2 and 3.
    let sets = |begin: i64| {
        vec![
            set(2, OLD, &[(1, 30, 40)]),
            set(3, OLD, &[(1, 40, 50)]),
            set(4, YOUNG, &[(1, 50, 60)]),
            set(9, OLD, &[(1, begin, 30)]),
        ]
    };
    let merge =
        |inputs: &[u64], from| MergeSets { inputs: ids(inputs), slices: vec![gather(1, from, 50, inputs)] };
    let planned = plan(&snapshot(sets(10), &[(1, Some(10))]), &RULES);
    assert_eq!(planned, Some(Plan::MergeSets(merge(&[9, 2, 3], 10))));
    // As large as it is here it is not worth it.
    let planned = plan(&snapshot(sets(0), &[(1, Some(0))]), &RULES);
    assert_eq!(planned, Some(Plan::MergeSets(merge(&[2, 3], 30))));
}

#[test]
fn large_old_set_objects_are_split_up_when_there_are_too_many() {
    let slices = |from: i64| -> Vec<(u64, i64, i64)> { (1..=5).map(|id| (id, from, from + 24)).collect() };
    let rules = Rules { compact_bytes: 150, ..RULES };
    let sets = vec![
        set(1, OLD, &slices(0)),
        set(2, OLD, &slices(24)),
        set(3, OLD, &slices(48)),
        set(4, YOUNG, &slices(72)),
    ];
    let streams: Vec<_> = (1..=5).map(|id| (id, Some(0))).collect();
    // Each has 96 bytes: too few for a split of its own, too many for a merge. The first goes alone.
    let planned = plan(&snapshot(sets, &streams), &rules);
    assert_eq!(planned, Some(Plan::Split(vec![gather(1, 0, 96, &[1, 2, 3, 4])])));
}

#[test]
fn small_neighbours_are_merged_and_large_objects_never() {
    let snapshot = |sizes: &[u64]| Snapshot {
        sets: vec![],
        streams: BTreeMap::new(),
        crowds: vec![crowd(1_000, sizes)],
    };
    let small = [150, 10, 10, 10, 10, 10, 10, 10, 10, 200, 10];
    let Some(Plan::MergeObjects(rows)) = plan(&snapshot(&small), &RULES) else { panic!("a merge") };
    assert_eq!(rows.iter().map(|row| row.from.0).collect::<Vec<_>>(), [10, 20, 30, 40, 50, 60, 70, 80]);
    // One that is as large as the others together is left for later.
    assert_eq!(plan(&snapshot(&[90, 1, 1, 1, 1, 1, 1, 1]), &RULES), None);
    assert_eq!(plan(&snapshot(&[100; 9]), &RULES), None);
}

#[test]
fn the_oldest_loose_objects_are_listed_when_there_are_enough_below_the_set_objects() {
    let snapshot = |so_end: i64| Snapshot {
        sets: vec![],
        streams: BTreeMap::new(),
        crowds: vec![crowd(so_end, &[150; 12])],
    };
    let Some(Plan::List(rows)) = plan(&snapshot(120), &RULES) else { panic!("a leaf") };
    assert_eq!((rows.len(), rows[0].from, rows[9].to), (10, Offset(0), Offset(100)));
    assert_eq!(plan(&snapshot(90), &RULES), None);
}

#[test]
fn a_stream_whose_rows_do_not_fit_together_waits_and_holds_back_the_merge() {
    let sets = vec![
        set(1, OLD, &[(1, 0, 10), (2, 0, 10)]),
        set(2, OLD, &[(1, 10, 20), (2, 15, 20)]),
        set(3, OLD, &[(1, 20, 30)]),
        set(4, OLD, &[(1, 30, 40)]),
    ];
    let snapshot = snapshot(sets, &[(1, Some(0)), (2, Some(0))]);
    match plan(&snapshot, &RULES) {
        None => {}
        Some(Plan::Split(streams)) => assert!(streams.iter().all(|gather| gather.stream == StreamId(1))),
        other => panic!("{other:?}"),
    }
}
