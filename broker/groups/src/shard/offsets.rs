//! OffsetCommit, OffsetFetch and OffsetDelete.

use uuid::Uuid;

use super::{Shard, check_group_id};
use crate::Name;
use crate::api::{Committed, Effects, GroupState, Now, OffsetCommit, OffsetDelete, Topics};
use crate::error::GroupError;
use crate::records::{self, STRING_MAX};

/// The first version of OffsetCommit that says of an absent group that it is absent (KIP-848).
const SAYS_ABSENT: i16 = 9;

impl Shard {
    /// OffsetCommit: the outcome for each offset, in order. Offsets of partitions that are not there are refused before
    /// the group is looked at, as in Kafka.
    pub fn commit_offsets(
        &mut self,
        now: Now,
        request: &OffsetCommit<'_>,
        topics: &dyn Topics,
        out: &mut Effects,
    ) -> Vec<Result<(), GroupError>> {
        let mut outcomes: Vec<_> = request
            .offsets
            .iter()
            .map(|o| {
                let there = o.topic.len() <= STRING_MAX && topics.has_partition(o.topic, o.partition);
                if there { Ok(()) } else { Err(GroupError::UnknownTopicOrPartition) }
            })
            .collect();
        if outcomes.iter().all(Result::is_err) {
            return outcomes;
        }
        if let Err(error) = self.admit_commit(now, request, out) {
            for outcome in outcomes.iter_mut().filter(|o| o.is_ok()) {
                *outcome = Err(error);
            }
            return outcomes;
        }
        let metadata_max = self.config.offset_metadata_max;
        self.with(request.group, now, out, |group, context| {
            for (offset, outcome) in request.offsets.iter().zip(&mut outcomes) {
                if outcome.is_err() {
                    continue;
                }
                if is_too_large(offset.metadata.unwrap_or(""), metadata_max) {
                    *outcome = Err(GroupError::OffsetMetadataTooLarge);
                } else {
                    group.commit(request.retention_ms, offset, context);
                }
            }
        });
        outcomes
    }

    fn admit_commit(
        &mut self,
        now: Now,
        request: &OffsetCommit<'_>,
        out: &mut Effects,
    ) -> Result<(), GroupError> {
        if request.group.len() > STRING_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        if !self.groups.contains_key(request.group) {
            if request.generation >= 0 {
                let absent = request.version >= SAYS_ABSENT;
                return Err(if absent { GroupError::GroupIdNotFound } else { GroupError::IllegalGeneration });
            }
            // A consumer without membership, or a tool: its group consists of offsets alone.
            self.create(request.group, now);
        }
        self.with(request.group, now, out, |group, context| group.admit_commit(request, context))
            .unwrap_or(Ok(()))
    }

    /// OffsetFetch of one partition; `None` is answered as offset −1 without an error. `topic_id` is nil below version
    /// 10; an offset that was committed for another topic of that name is not there.
    #[must_use]
    pub fn offset(&self, group: &str, topic: &str, topic_id: Uuid, partition: i32) -> Option<&Committed> {
        let committed = self.groups.get(group)?.offset(topic, partition)?;
        let other = !topic_id.is_nil() && !committed.topic_id.is_nil() && topic_id != committed.topic_id;
        (!other).then_some(committed)
    }

    /// OffsetFetch of all partitions, by topic and partition.
    pub fn offsets(&self, group: &str) -> impl Iterator<Item = (&Name, i32, &Committed)> {
        self.groups.get(group).into_iter().flat_map(|group| group.offsets())
    }

    /// OffsetDelete: the outcome for each partition, in order.
    ///
    /// # Errors
    /// The error of the whole answer.
    pub fn delete_offsets(
        &mut self,
        now: Now,
        request: &OffsetDelete<'_>,
        topics: &dyn Topics,
        out: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_group_id(request.group)?;
        let group = self.groups.get(request.group).ok_or(GroupError::GroupIdNotFound)?;
        if group.state != GroupState::Empty && !group.is_consumer() {
            return Err(GroupError::NonEmptyGroup);
        }
        let deleted = self.with(request.group, now, out, |group, context| {
            request
                .partitions
                .iter()
                .map(|(topic, partition)| {
                    if !topics.has_partition(topic, *partition) {
                        return Err(GroupError::UnknownTopicOrPartition);
                    }
                    if group.is_subscribed(topic) {
                        return Err(GroupError::GroupSubscribedToTopic);
                    }
                    if group.remove_offset(topic, *partition) {
                        context.out.records.push(records::offset_tombstone(&group.id, topic, *partition));
                    }
                    Ok(())
                })
                .collect()
        });
        deleted.ok_or(GroupError::GroupIdNotFound)
    }
}

/// In UTF-16 units, as Kafka counts; and within what a record that is not flexible can hold.
fn is_too_large(metadata: &str, max: usize) -> bool {
    metadata.len() > STRING_MAX || (metadata.len() > max && metadata.encode_utf16().count() > max)
}
