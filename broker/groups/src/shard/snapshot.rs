//! The live state as records, so that the partition can be kept short: append them, then advance the log's start.
//!
//! Invariant: what is given is what the partition's records say now, not a rebalance that is still under way.

use std::ops::Bound;

use super::Shard;
use crate::Name;
use crate::api::Record;
use crate::records;

/// Where a snapshot goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCursor {
    group: Name,
    /// The last offset of the group that was given; with `None` its own record was.
    offset: Option<(Name, i32)>,
}

impl Shard {
    /// The next part of the live state as records, and where to go on. A part ends with the record that reaches
    /// `bytes_max`. Other calls may come between: if each part is appended when it is taken, reading parts and later
    /// records gives the state.
    #[must_use]
    pub fn snapshot(
        &self,
        from: Option<&SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Record>, Option<SnapshotCursor>) {
        let (mut out, mut bytes) = (Vec::new(), 0);
        let first = from.map_or(Bound::Unbounded, |c| Bound::Included(c.group.clone()));
        for group in self.groups.range::<Name, _>((first, Bound::Unbounded)).map(|(_, g)| g) {
            let resumed = from.filter(|c| c.group == group.id);
            let cursor = |offset| SnapshotCursor { group: group.id.clone(), offset };
            if resumed.is_none()
                && let Some(record) = group.record()
            {
                bytes += records::batch_bytes(&record);
                out.push(record);
                if bytes >= bytes_max {
                    return (out, Some(cursor(None)));
                }
            }
            for (topic, partition, committed) in group.offsets_after(resumed.and_then(|c| c.offset.as_ref()))
            {
                let record = records::offset_record(&group.id, topic, partition, committed);
                bytes += records::batch_bytes(&record);
                out.push(record);
                if bytes >= bytes_max {
                    return (out, Some(cursor(Some((topic.clone(), partition)))));
                }
            }
        }
        (out, None)
    }
}
