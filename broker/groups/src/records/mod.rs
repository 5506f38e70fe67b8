//! The records of `__consumer_offsets`, in Kafka's own format, so that existing tools read the topic.
//!
//! Owns: keys ([`Key`]), the value of a committed offset ([`offset`]) and of a group ([`group`]). Written as by Kafka
//! 4.1: OffsetCommitValue version 4, or 1 with an expire timestamp; GroupMetadataValue version 3. Read in all versions.
//! Invariants: hostile bytes give a [`RecordError`]; each length and count is compared with the bytes left before
//! anything is reserved; what is written is read back equal.
//! Never: interprets a subscription or an assignment.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::Name;
use crate::api::{Committed, OffsetCommit, OffsetDelete, Record};

mod codec;
pub mod group;
pub mod offset;

use codec::Reader;
pub use codec::STRING_MAX;

/// What a record in a batch costs beside key and value: length, attributes, deltas and the lengths of both, at most.
const RECORD_OVERHEAD: usize = 32;
/// An offset record without group, topic and metadata: key with its lengths (2 + 2 + 2 + 4), value (2 + 8 + 4 + 3 + 8,
/// the tagged topic id 19, or the expire timestamp).
const OFFSET_FIXED: usize = 10 + 44;

/// Why bytes are not a record of a known version.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RecordError {
    #[error("{what} ends after {left} bytes, {wanted} are wanted")]
    Short { what: &'static str, wanted: usize, left: usize },
    #[error("{what} has the length {length}")]
    Length { what: &'static str, length: i64 },
    #[error("{what} is not UTF-8")]
    Utf8 { what: &'static str },
    #[error("{what} has the unknown version {version}")]
    Version { what: &'static str, version: i16 },
    #[error("{count} members do not fit in {left} bytes")]
    Count { count: u32, left: usize },
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    #[error("{what} does not have the size it states")]
    Tag { what: &'static str },
    #[error("{what}")]
    Contradiction { what: &'static str },
    #[error("a record without a key")]
    NoKey,
    #[error("offset {offset}: {cause}")]
    At { offset: i64, cause: Box<RecordError> },
}

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Versions 0 and 1.
    Offset { group: Name, topic: Name, partition: i32 },
    /// Version 2.
    Group { group: Name },
    /// Of a later kind of record (the consumer, share and streams protocols), which is skipped.
    Unknown { version: i16 },
}

impl Key {
    /// # Errors
    /// When the bytes are not a whole key of a known version.
    pub fn read(bytes: &[u8]) -> Result<Key, RecordError> {
        let mut from = Reader::new(bytes);
        let key = match from.i16("key")? {
            0 | 1 => Key::Offset {
                group: from.string("group")?,
                topic: from.string("topic")?,
                partition: from.i32("partition")?,
            },
            2 => Key::Group { group: from.string("group")? },
            version => return Ok(Key::Unknown { version }),
        };
        from.end()?;
        Ok(key)
    }
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    let mut out = BytesMut::with_capacity(10 + group.len() + topic.len());
    out.put_i16(1);
    codec::put_string(&mut out, group);
    codec::put_string(&mut out, topic);
    out.put_i32(partition);
    out.freeze()
}

fn group_key(group: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + group.len());
    out.put_i16(2);
    codec::put_string(&mut out, group);
    out.freeze()
}

/// A committed offset.
#[must_use]
pub fn offset_record(group: &str, topic: &str, partition: i32, committed: &Committed) -> Record {
    Record { key: offset_key(group, topic, partition), value: Some(offset::encode(committed)) }
}

/// A committed offset is gone.
#[must_use]
pub fn offset_tombstone(group: &str, topic: &str, partition: i32) -> Record {
    Record { key: offset_key(group, topic, partition), value: None }
}

/// A group's generation, members and assignment.
#[must_use]
pub fn group_record(group: &str, value: Bytes) -> Record {
    Record { key: group_key(group), value: Some(value) }
}

/// A group is gone.
#[must_use]
pub fn group_tombstone(group: &str) -> Record {
    Record { key: group_key(group), value: None }
}

/// Bytes that a record takes in a batch, at most.
#[must_use]
pub fn batch_bytes(record: &Record) -> usize {
    RECORD_OVERHEAD + record.key.len() + record.value.as_ref().map_or(0, Bytes::len)
}

/// Bytes of the record of a group with a value of that length.
#[must_use]
pub fn group_bytes(group: &str, value_len: usize) -> usize {
    RECORD_OVERHEAD + 4 + group.len() + value_len
}

/// Bytes of the record of one committed offset, at most; a tombstone takes less.
pub(crate) fn offset_bytes(group: &str, topic: &str, metadata: &str) -> usize {
    RECORD_OVERHEAD + OFFSET_FIXED + group.len() + topic.len() + metadata.len()
}

pub(crate) fn commit_bytes_max(commit: &OffsetCommit<'_>) -> usize {
    commit.offsets.iter().map(|o| offset_bytes(commit.group, o.topic, o.metadata.unwrap_or(""))).sum()
}

pub(crate) fn delete_bytes_max(delete: &OffsetDelete<'_>) -> usize {
    delete.partitions.iter().map(|(topic, _)| offset_bytes(delete.group, topic, "")).sum()
}
