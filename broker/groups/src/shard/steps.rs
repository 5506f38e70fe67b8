//! Work that no single request bounds, done in steps: timers, retention, deletion of groups and topics.
//!
//! Invariants: a step appends at most [`Call::Step`](crate::Call) bytes; what is left is done by calling again.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::Shard;
use crate::Name;
use crate::api::{Effects, GroupState, Now};
use crate::config::Config;
use crate::error::GroupError;
use crate::records;

/// Offsets that one step of the retention looks at, about: a bound on the time under the shard's lock.
const EXPIRY_LOOKED_AT: usize = 50_000;

/// Whether a step of bounded size is all there was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    Done,
    /// Call again, with a new permit.
    More,
}

/// Where the retention is in its round through the groups.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    next_ms: Option<i64>,
    /// The last group that was looked at in this round.
    after: Option<Name>,
}

impl Expiry {
    pub(super) fn starting(now: Now, config: &Config) -> Self {
        let interval = config.offsets_retention_check_interval_ms.max(1);
        Self { next_ms: Some(now.mono_ms.saturating_add(interval)), after: None }
    }

    pub(super) fn next_ms(&self) -> Option<i64> {
        self.next_ms
    }
}

/// Bytes that a step has appended.
struct Meter {
    at: usize,
    bytes: usize,
}

impl Meter {
    fn new(out: &Effects) -> Self {
        Self { at: out.records.len(), bytes: 0 }
    }

    /// Bytes left of `max`.
    fn left(&mut self, out: &Effects, max: usize) -> usize {
        self.bytes += out.records[self.at..].iter().map(records::batch_bytes).sum::<usize>();
        self.at = out.records.len();
        max.saturating_sub(self.bytes)
    }
}

impl Shard {
    /// Does what is due: sessions, rebalances, retention of offsets.
    pub fn tick(&mut self, now: Now, out: &mut Effects) -> Progress {
        let mut meter = Meter::new(out);
        while let Some((at, _)) = self.timers.first()
            && *at <= now.mono_ms
        {
            if meter.left(out, self.config.step_bytes_max) == 0 {
                return Progress::More;
            }
            let Some((_, id)) = self.timers.pop_first() else { break };
            self.with(&id, now, out, |group, context| {
                group.armed_ms = None;
                group.wake(context);
            });
        }
        if self.expiry.next_ms.is_some_and(|at| at <= now.mono_ms) {
            return self.expire(now, &mut meter, out);
        }
        Progress::Done
    }

    fn expire(&mut self, now: Now, meter: &mut Meter, out: &mut Effects) -> Progress {
        let config = self.config.clone();
        let mut looked_at = 0;
        loop {
            let left = meter.left(out, config.step_bytes_max);
            if left == 0 || looked_at >= EXPIRY_LOOKED_AT {
                return Progress::More;
            }
            let from = self.expiry.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
            let Some((id, group)) = self.groups.range::<Name, _>((from, Bound::Unbounded)).next() else {
                self.expiry = Expiry::starting(now, &config);
                return Progress::Done;
            };
            let id = id.clone();
            looked_at += 1 + group.offset_count();
            let (whole, over) = self
                .with(&id, now, out, |group, context| {
                    let whole = group.expire_offsets(context.now, context.config, left, context.out);
                    (whole, group.is_over())
                })
                .unwrap_or((true, false));
            if over {
                out.records.push(records::group_tombstone(&id));
                self.remove(&id);
            }
            if whole {
                self.expiry.after = Some(id);
            }
        }
    }

    /// DeleteGroups for one group. With [`Progress::More`] the group is not gone yet: append, and call again.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND.
    pub fn delete_group(&mut self, now: Now, group: &str, out: &mut Effects) -> Result<Progress, GroupError> {
        let state = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?.state;
        if state != GroupState::Empty {
            return Err(GroupError::NonEmptyGroup);
        }
        let bytes_max = self.config.step_bytes_max;
        let whole = self.with(group, now, out, |group, context| {
            group.remove_offsets(|_, _, _| true, bytes_max, context.out)
        });
        if whole == Some(false) {
            return Ok(Progress::More);
        }
        out.records.push(records::group_tombstone(group));
        self.remove(group);
        Ok(Progress::Done)
    }

    /// The topics are deleted: their offsets go, in every group.
    pub fn delete_topics(&mut self, now: Now, topics: &BTreeSet<&str>, out: &mut Effects) -> Progress {
        let mut meter = Meter::new(out);
        let ids: Vec<Name> = self
            .groups
            .values()
            .filter(|g| g.offsets().any(|(topic, _, _)| topics.contains(&**topic)))
            .map(|g| g.id.clone())
            .collect();
        for id in ids {
            let left = meter.left(out, self.config.step_bytes_max);
            let whole = left > 0
                && self
                    .with(&id, now, out, |group, context| {
                        group.remove_offsets(|_, topic, _| topics.contains(topic), left, context.out)
                    })
                    .unwrap_or(true);
            if !whole {
                return Progress::More;
            }
        }
        Progress::Done
    }
}
