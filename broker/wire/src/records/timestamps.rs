//! Where in a batch a time lies, for ListOffsets.
//!
//! A caller that gets an error (a body that lies, or expands beyond the caps) answers from the head: the batch's base
//! offset and greatest timestamp.

use tidegate_common::{Batch, Offset};

use super::{RecordCaps, Records, RecordsError};

/// The first record at or after `from` whose timestamp is at least `at_least`.
///
/// # Errors
/// [`RecordsError`] when the body cannot be read up to that record.
pub fn offset_of_timestamp(
    batch: &Batch,
    at_least: i64,
    from: Offset,
    caps: &RecordCaps,
) -> Result<Option<(Offset, i64)>, RecordsError> {
    let head = &batch.head;
    if head.max_timestamp() < at_least || head.last_offset() < from {
        return Ok(None);
    }
    if let Some(first) = dense_log_append_time(batch) {
        return Ok(Some((first.0.max(from), first.1)));
    }
    let mut records = Records::new(batch, caps)?;
    while let Some(record) = records.next()? {
        if record.offset >= from && record.timestamp >= at_least {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// The first record with the greatest timestamp of the batch, or `None` for a batch emptied by compaction.
///
/// # Errors
/// [`RecordsError`] when the body cannot be read.
pub fn offset_of_max_timestamp(
    batch: &Batch,
    caps: &RecordCaps,
) -> Result<Option<(Offset, i64)>, RecordsError> {
    if let Some(first) = dense_log_append_time(batch) {
        return Ok(Some(first));
    }
    let mut records = Records::new(batch, caps)?;
    let mut greatest: Option<(Offset, i64)> = None;
    while let Some(record) = records.next()? {
        if greatest.is_none_or(|(_, t)| record.timestamp > t) {
            greatest = Some((record.offset, record.timestamp));
        }
        // The rest need not be read where the head is right about its maximum.
        if record.timestamp == batch.head.max_timestamp() {
            break;
        }
    }
    Ok(greatest)
}

/// With LogAppendTime all records have one time, so no body is read unless compaction left holes.
fn dense_log_append_time(batch: &Batch) -> Option<(Offset, i64)> {
    let head = &batch.head;
    let dense = i64::from(head.records_count()) == i64::from(head.last_offset_delta()) + 1;
    (head.is_log_append_time() && dense).then(|| (head.base_offset(), head.max_timestamp()))
}
