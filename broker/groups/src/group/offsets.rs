//! The offsets of a group: who may commit, what is kept, and for how long.

use std::ops::Bound;

use super::{Context, Group};
use crate::Name;
use crate::api::{CommitOffset, Committed, Effects, GroupState, Now, OffsetCommit};
use crate::config::Config;
use crate::error::GroupError;
use crate::records;

impl Group {
    /// Whether the sender may commit; a member's session starts anew by it.
    pub(crate) fn admit_commit(
        &mut self,
        request: &OffsetCommit<'_>,
        context: &Context<'_>,
    ) -> Result<(), GroupError> {
        if request.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if request.generation < 0 && request.member.is_empty() && request.instance.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_member(request.member, request.instance)?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.refresh(request.member, context);
        Ok(())
    }

    pub(crate) fn commit(&mut self, retention_ms: i64, given: &CommitOffset<'_>, context: &mut Context<'_>) {
        let now = context.now.wall_ms;
        let committed = Committed {
            offset: given.offset,
            leader_epoch: given.leader_epoch.max(-1),
            metadata: Name::from(given.metadata.unwrap_or("")),
            commit_ms: now,
            expire_ms: (retention_ms != -1).then(|| now.saturating_add(retention_ms)).filter(|at| *at != -1),
            topic_id: given.topic_id,
        };
        context.out.records.push(records::offset_record(&self.id, given.topic, given.partition, &committed));
        self.put_offset(given.topic, given.partition, committed);
    }

    pub(crate) fn put_offset(&mut self, topic: &str, partition: i32, committed: Committed) {
        self.offset_bytes += records::offset_bytes(&self.id, topic, &committed.metadata) as u64;
        let former = match self.offsets.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, committed),
            None => self.offsets.entry(Name::from(topic)).or_default().insert(partition, committed),
        };
        if let Some(former) = former {
            self.offset_bytes -= records::offset_bytes(&self.id, topic, &former.metadata) as u64;
        }
    }

    /// Whether there was one.
    pub(crate) fn remove_offset(&mut self, topic: &str, partition: i32) -> bool {
        let Some(partitions) = self.offsets.get_mut(topic) else { return false };
        let Some(former) = partitions.remove(&partition) else { return false };
        if partitions.is_empty() {
            self.offsets.remove(topic);
        }
        self.offset_bytes -= records::offset_bytes(&self.id, topic, &former.metadata) as u64;
        true
    }

    pub(crate) fn offset(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.offsets.get(topic)?.get(&partition)
    }

    pub(crate) fn offsets(&self) -> impl Iterator<Item = (&Name, i32, &Committed)> {
        self.offsets
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(move |(p, c)| (topic, *p, c)))
    }

    /// Offsets after a place in their order.
    pub(crate) fn offsets_after(
        &self,
        after: Option<&(Name, i32)>,
    ) -> impl Iterator<Item = (&Name, i32, &Committed)> {
        let from = after.map_or(Bound::Unbounded, |(topic, _)| Bound::Included(topic.clone()));
        self.offsets
            .range::<Name, _>((from, Bound::Unbounded))
            .flat_map(|(topic, partitions)| partitions.iter().map(move |(p, c)| (topic, *p, c)))
            .filter(move |(topic, partition, _)| after.is_none_or(|(t, p)| (*topic, partition) > (t, p)))
    }

    pub(crate) fn offset_count(&self) -> usize {
        self.offsets.values().map(std::collections::BTreeMap::len).sum()
    }

    pub(crate) fn has_offsets(&self) -> bool {
        !self.offsets.is_empty()
    }

    /// Takes away up to about `bytes_max` bytes of records of the offsets that `gone` names; false if more are left.
    pub(crate) fn remove_offsets(
        &mut self,
        gone: impl Fn(&Group, &str, &Committed) -> bool,
        bytes_max: usize,
        out: &mut Effects,
    ) -> bool {
        let (mut bytes, mut found, mut whole) = (0, Vec::new(), true);
        for (topic, partition, committed) in self.offsets() {
            if !gone(self, topic, committed) {
                continue;
            }
            bytes += records::offset_bytes(&self.id, topic, "");
            if bytes > bytes_max && !found.is_empty() {
                whole = false;
                break;
            }
            found.push((topic.clone(), partition));
        }
        for (topic, partition) in found {
            self.remove_offset(&topic, partition);
            out.records.push(records::offset_tombstone(&self.id, &topic, partition));
        }
        whole
    }

    /// Takes away what `offsets.retention.minutes` lets go; false if more is left to do.
    ///
    /// The retention counts from when the group became empty; in a stable consumer group, from the commit, for topics
    /// that nobody subscribes to; and from the commit for consumers without membership. A retention that the commit
    /// itself stated goes before all these, where any of them applies.
    pub(crate) fn expire_offsets(
        &mut self,
        now: Now,
        config: &Config,
        bytes_max: usize,
        out: &mut Effects,
    ) -> bool {
        let since_empty = match (&self.protocol_type, self.state) {
            (None, GroupState::Empty) => None,
            (Some(_), GroupState::Empty) => self.state_ms,
            (Some(_), GroupState::Stable) if self.is_consumer() && self.subscribed.is_some() => None,
            _ => return true,
        };
        let retention_ms = config.offsets_retention_ms;
        let expired = |group: &Group, topic: &str, committed: &Committed| {
            let over = match committed.expire_ms {
                Some(at) => now.wall_ms >= at,
                None => {
                    now.wall_ms.saturating_sub(since_empty.unwrap_or(committed.commit_ms)) >= retention_ms
                }
            };
            over && !group.is_subscribed(topic)
        };
        self.remove_offsets(expired, bytes_max, out)
    }

    /// Nothing is left of the group that anybody could come back to.
    pub(crate) fn is_over(&self) -> bool {
        self.state == GroupState::Empty && self.offsets.is_empty() && self.pending_join.is_empty()
    }
}
