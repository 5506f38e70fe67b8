//! The coordinator's settings, under Kafka's names, and the bounds on what one call may append.

use crate::api::{OffsetCommit, OffsetDelete};
use crate::records;

/// Settings of a shard. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`, in members
    pub group_max_size: usize,
    /// Members of one group that were told an id and have not joined with it: Kafka has no bound, and a client that
    /// never comes back costs memory until its session timeout is over.
    pub pending_members_max: usize,
    /// `offset.metadata.max.bytes`, in UTF-16 units as in Kafka
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// The largest record of a group's metadata, as `max.message.bytes` of `__consumer_offsets` bounds it in Kafka. An
    /// assignment that does not fit is refused with UNKNOWN_SERVER_ERROR. Taken as at least [`GROUP_RECORD_MIN`].
    pub group_record_bytes_max: usize,
    /// What one step of work that no single request bounds (expiry, deletion of groups and topics) appends at most,
    /// beside one record of a group.
    pub step_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX as usize,
            pending_members_max: 10_000,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            group_record_bytes_max: 1_000_000,
            step_bytes_max: 256 * 1024,
        }
    }
}

/// Room for the record of any group without members: its names are at most [`records::STRING_MAX`] bytes each.
pub const GROUP_RECORD_MIN: usize = 128 * 1024;

/// A call, for the bound on its records.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    Join,
    Sync,
    Heartbeat,
    Leave,
    Commit(&'a OffsetCommit<'a>),
    DeleteOffsets(&'a OffsetDelete<'a>),
    /// One step of [`crate::Shard::delete_group`], [`crate::Shard::delete_topics`], [`crate::Shard::tick`] or
    /// [`crate::Loading::finish`].
    Step,
}

impl Config {
    pub(crate) fn group_record_max(&self) -> usize {
        self.group_record_bytes_max.max(GROUP_RECORD_MIN)
    }

    /// The most bytes that the records of one call take in a batch, without the batch's head.
    #[must_use]
    pub fn record_bytes_max(&self, call: Call<'_>) -> usize {
        match call {
            Call::Heartbeat => 0,
            Call::Join | Call::Sync | Call::Leave => self.group_record_max(),
            Call::Commit(commit) => records::commit_bytes_max(commit),
            Call::DeleteOffsets(delete) => records::delete_bytes_max(delete),
            Call::Step => self.step_bytes_max + self.group_record_max(),
        }
    }
}
