//! Decisions about prepared ids and uploads.
//!
//! Invariants: ids are handed out in the order of the log and never twice; a slice counts only when it begins
//! where the stream's committed records end, so committed records have no hole and no second copy; an object
//! becomes live only for the incarnation that prepared it, before its deadline.
//! Never: takes half an upload.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_common::{Incarnation, ObjectId, Offset, StreamId, mutant};

use super::{Decision, live, too_many};
use crate::command::{CommitUpload, NewSetObject, NewStreamObject, Slice};
use crate::image::Image;
use crate::record::Record;
use crate::response::{Refusal, Response, Uploaded};
use crate::rows::{SetObject, StreamObject};

/// Ids that may be prepared and not yet committed or expired, over all incarnations.
pub const PREPARED_MAX: u64 = 65_536;

pub(super) fn prepare(image: &Image, incarnation: Incarnation, count: u32, ttl_ms: u64) -> Decision {
    live(image, incarnation)?;
    let asked = image.prepared.len() as u64 + u64::from(count);
    if count == 0 || asked > PREPARED_MAX {
        return Err(too_many("prepared objects", asked, PREPARED_MAX));
    }
    let reused = u64::from(mutant::on("object-id-reused") && image.counters.object.0 > 1);
    let first = ObjectId(image.counters.object.0 - reused);
    let ttl_ms = i64::try_from(ttl_ms).unwrap_or(i64::MAX);
    let deadline_ms = image.time_ms.saturating_add(ttl_ms);
    let records = vec![Record::ObjectsPrepared { first, count, incarnation, deadline_ms }];
    Ok((records, Response::Prepared { first, count }))
}

/// Identifies the slices of a set object's footer, in its order.
#[must_use]
pub fn slices_hash(slices: &[Slice]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for slice in slices {
        let Slice { stream, from, to } = slice;
        hasher.update(&stream.0.to_be_bytes());
        hasher.update(&from.0.to_be_bytes());
        hasher.update(&to.0.to_be_bytes());
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

pub(super) fn commit_upload(image: &Image, upload: &CommitUpload) -> Decision {
    let CommitUpload { incarnation, set_object, stream_objects } = upload;
    live(image, *incarnation)?;
    let ids: Vec<ObjectId> = set_object
        .iter()
        .map(|object| object.id)
        .chain(stream_objects.iter().map(|object| object.id))
        .collect();
    if ids.is_empty() {
        return Err(Refusal::Malformed("an upload holds no object".into()));
    }
    let extents = extents_of(upload)?;
    if committed_before(image, upload) {
        return Ok((vec![], Response::Uploaded(as_it_stands(image, &extents))));
    }
    check_prepared(image, *incarnation, &ids)?;

    let mut uploaded = Uploaded::default();
    let mut ends = BTreeMap::new();
    let mut counted = BTreeSet::new();
    for &(slice, object) in &extents {
        let Some(row) = image.stream(slice.stream) else {
            uploaded.skipped.push(slice);
            continue;
        };
        let end = ends.entry(slice.stream).or_insert(row.committed_end);
        // Records below the log start need not be stored: DeleteRecords may have passed the committed end.
        let begins_below_log_start = slice.from < *end && *end == row.log_start;
        if begins_below_log_start && slice.to <= *end {
            uploaded.skipped.push(slice);
            continue;
        }
        if slice.from != *end && !begins_below_log_start && !mutant::on("commit-anywhere") {
            let (stream, from) = (slice.stream, slice.from);
            return Err(Refusal::NotAtCommittedEnd { stream, from, committed_end: *end });
        }
        *end = slice.to;
        counted.insert(object);
    }

    let advanced: Vec<(StreamId, Offset)> = ends
        .into_iter()
        .filter(|(stream, end)| image.stream(*stream).is_some_and(|row| *end > row.committed_end))
        .collect();
    let mut records: Vec<Record> =
        advanced.iter().map(|&(stream, to)| Record::CommittedEndAdvanced { stream, to }).collect();
    if let Some(object) = set_object {
        records.push(match counted.contains(&object.id) {
            true => Record::SetObjectAdded(set_object_row(image, *incarnation, object)),
            false => Record::PreparedDropped { id: object.id },
        });
    }
    for object in stream_objects {
        records.push(match counted.contains(&object.id) {
            true => Record::StreamObjectAdded(stream_object_row(image, object)),
            false => Record::PreparedDropped { id: object.id },
        });
    }
    uploaded.committed = advanced;
    Ok((records, Response::Uploaded(uploaded)))
}

/// Every object must be prepared by this incarnation and named once.
pub(super) fn check_prepared(
    image: &Image,
    incarnation: Incarnation,
    ids: &[ObjectId],
) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for &id in ids {
        let prepared = image.prepared(id).is_some_and(|row| row.incarnation == incarnation);
        if !prepared || !seen.insert(id) {
            return Err(Refusal::NotPrepared(id));
        }
    }
    Ok(())
}

pub(super) fn set_object_row(image: &Image, incarnation: Incarnation, object: &NewSetObject) -> SetObject {
    let NewSetObject { id, size, crc32c, slices } = object;
    let slices_hash = slices_hash(slices);
    SetObject {
        id: *id,
        lineage: image.lineage_of(*id),
        incarnation,
        size: *size,
        crc32c: *crc32c,
        slices_hash,
    }
}

pub(super) fn stream_object_row(image: &Image, object: &NewStreamObject) -> StreamObject {
    let NewStreamObject { id, stream, from, to, size, crc32c } = *object;
    StreamObject { id, lineage: image.lineage_of(id), stream, from, to, size, crc32c }
}

/// What the upload holds, by stream and offset, each with its object.
fn extents_of(upload: &CommitUpload) -> Result<Vec<(Slice, ObjectId)>, Refusal> {
    let mut extents = Vec::new();
    if let Some(object) = &upload.set_object {
        if object.slices.is_empty() {
            return Err(Refusal::Malformed(format!("set object {} holds no slice", object.id)));
        }
        extents.extend(object.slices.iter().map(|slice| (*slice, object.id)));
    }
    for &NewStreamObject { id, stream, from, to, .. } in &upload.stream_objects {
        extents.push((Slice { stream, from, to }, id));
    }
    if let Some((slice, id)) =
        extents.iter().find(|(slice, _)| slice.from >= slice.to || slice.from < Offset::ZERO)
    {
        return Err(Refusal::Malformed(format!(
            "object {id} holds [{}, {}) of a stream",
            slice.from, slice.to
        )));
    }
    extents.sort_unstable();
    Ok(extents)
}

/// Whether this very upload is live already: the answer to it was lost and it was proposed again.
fn committed_before(image: &Image, upload: &CommitUpload) -> bool {
    let set_object = upload.set_object.iter().any(|object| {
        image
            .set_object(object.id)
            .is_some_and(|row| *row == set_object_row(image, upload.incarnation, object))
    });
    set_object
        || upload.stream_objects.iter().any(|object| {
            let row = image.stream_objects.get(&(object.stream, object.from));
            row.is_some_and(|row| *row == stream_object_row(image, object))
        })
}

fn as_it_stands(image: &Image, extents: &[(Slice, ObjectId)]) -> Uploaded {
    let mut uploaded = Uploaded::default();
    for (slice, _) in extents {
        match image.stream(slice.stream) {
            None => uploaded.skipped.push(*slice),
            Some(row) if uploaded.committed.last().is_none_or(|(stream, _)| *stream != slice.stream) => {
                uploaded.committed.push((slice.stream, row.committed_end));
            }
            Some(_) => {}
        }
    }
    uploaded
}
