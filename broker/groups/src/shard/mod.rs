//! The groups of one partition of `__consumer_offsets`.
//!
//! Owns: the groups by id, the order of their timers, and the sum of their live bytes.
//! Invariants: each group with a timer is in `timers` at its `armed_ms`, which is not after its first timer.
//! Never: decides anything about a group but whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::Name;
use crate::api::{
    Answer, Effects, GroupState, JoinAnswer, JoinGroup, LeaveMember, Now, SyncAnswer, SyncGroup, Token,
};
use crate::config::Config;
use crate::error::GroupError;
use crate::group::{Context, Group};
use crate::records::STRING_MAX;

mod admin;
mod load;
mod offsets;
mod snapshot;
mod steps;

pub use load::Loading;
pub use snapshot::SnapshotCursor;
pub use steps::Progress;

/// What a shard holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// By [`GroupState`], in its order, without Dead.
    pub groups: [usize; 4],
    pub members: usize,
    pub offsets: usize,
    /// Bytes of subscriptions and assignments of all members.
    pub member_bytes: usize,
    /// [`Shard::live_bytes`]
    pub live_bytes: u64,
    /// Rebalances that ended with an assignment, since the shard was loaded, of groups that are still there.
    pub rebalances: u64,
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Shard {
    config: Arc<Config>,
    groups: BTreeMap<Name, Group>,
    timers: BTreeSet<(i64, Name)>,
    expiry: steps::Expiry,
    live_bytes: u64,
}

impl Shard {
    /// JoinGroup. The answer may be among `out.answers` at once, or come from a later call.
    pub fn join(&mut self, now: Now, token: Token, request: &JoinGroup<'_>, out: &mut Effects) {
        if let Err(error) = self.check_join(request) {
            out.answers.push((token, Answer::Join(JoinAnswer::refused(request.member, error))));
            return;
        }
        let created = !self.groups.contains_key(request.group);
        if created && !request.member.is_empty() {
            let refused = JoinAnswer::refused(request.member, GroupError::UnknownMemberId);
            out.answers.push((token, Answer::Join(refused)));
            return;
        }
        self.create(request.group, now);
        self.with(request.group, now, out, |group, context| {
            if created {
                group.write_created(context);
            }
            group.join(token, request, context);
        });
    }

    fn check_join(&self, request: &JoinGroup<'_>) -> Result<(), GroupError> {
        check_group_id(request.group)?;
        let (min, max) = (self.config.session_timeout_min_ms, self.config.session_timeout_max_ms);
        if !(min..=max).contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        // What cannot be recorded is not taken in. A member's id is a name and a UUID.
        let names = [request.member, request.client_host, request.protocol_type];
        let id = request.instance.unwrap_or(request.client_id).len().max(request.client_id.len()) + 37;
        let protocols = request.protocols.iter().map(|p| p.name.len());
        if names.iter().map(|n| n.len()).chain(protocols).chain([id]).any(|len| len > STRING_MAX) {
            return Err(GroupError::InvalidRequest);
        }
        let bytes: usize = request.protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum();
        if bytes > self.config.group_record_max() {
            return Err(GroupError::UnknownServerError);
        }
        Ok(())
    }

    /// SyncGroup. The answer may be among `out.answers` at once, or come from a later call.
    pub fn sync(&mut self, now: Now, token: Token, request: &SyncGroup<'_>, out: &mut Effects) {
        let error = if request.version >= 5 && (request.protocol_type.is_none() || request.protocol.is_none())
        {
            GroupError::InconsistentGroupProtocol
        } else if request.group.is_empty() {
            GroupError::InvalidGroupId
        } else {
            let done =
                self.with(request.group, now, out, |group, context| group.sync(token, request, context));
            if done.is_some() {
                return;
            }
            GroupError::UnknownMemberId
        };
        out.answers.push((token, Answer::Sync(SyncAnswer::refused(error))));
    }

    /// Heartbeat. Writes nothing.
    ///
    /// # Errors
    /// What Heartbeat answers.
    pub fn heartbeat(
        &mut self,
        now: Now,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        check_group_id(group)?;
        let mut out = Effects::default();
        self.with(group, now, &mut out, |group, context| {
            group.heartbeat(member, instance, generation, context)
        })
        .unwrap_or(Err(GroupError::UnknownMemberId))
    }

    /// LeaveGroup: the outcome for each member, in order. Below version 3 there is one, whose error is the answer's.
    ///
    /// # Errors
    /// The error of the whole answer.
    pub fn leave(
        &mut self,
        now: Now,
        group: &str,
        members: &[LeaveMember<'_>],
        out: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_group_id(group)?;
        Ok(self
            .with(group, now, out, |group, context| group.leave(members, context))
            .unwrap_or_else(|| members.iter().map(|_| Err(GroupError::UnknownMemberId)).collect()))
    }

    /// When [`Shard::tick`] is to be called, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.expiry.next_ms()).min()
    }

    /// Bytes of the live state as records, at most.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { live_bytes: self.live_bytes, ..Stats::default() };
        for group in self.groups.values() {
            let at = match group.state {
                GroupState::Empty | GroupState::Dead => 0,
                GroupState::PreparingRebalance => 1,
                GroupState::CompletingRebalance => 2,
                GroupState::Stable => 3,
            };
            stats.groups[at] += 1;
            stats.members += group.members.len();
            stats.offsets += group.offset_count();
            stats.rebalances += group.rebalances;
            for member in group.members.values() {
                stats.member_bytes += member.assignment.len();
                stats.member_bytes +=
                    member.protocols.iter().map(|(name, m)| name.len() + m.len()).sum::<usize>();
            }
        }
        stats
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn create(&mut self, group: &str, now: Now) {
        if !self.groups.contains_key(group) {
            let id = Name::from(group);
            self.groups.insert(id.clone(), Group::new(id, Some(now.wall_ms)));
        }
    }

    /// Works on a group that is there, and keeps the shard's books.
    fn with<T>(
        &mut self,
        group: &str,
        now: Now,
        out: &mut Effects,
        work: impl FnOnce(&mut Group, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(group)?;
        let before = group.live_bytes();
        let done = work(group, &mut Context { config: &self.config, now, out });
        self.live_bytes = self.live_bytes - before + group.live_bytes();
        // A timer that moved back stays where it is, and is looked at in vain once: a heartbeat touches no tree.
        let sooner = match (group.wake_ms, group.armed_ms) {
            (Some(wake), Some(armed)) => wake < armed,
            (wake, armed) => wake.is_some() || armed.is_some(),
        };
        if sooner {
            if let Some(armed) = group.armed_ms.take() {
                self.timers.remove(&(armed, group.id.clone()));
            }
            if let Some(wake) = group.wake_ms {
                self.timers.insert((wake, group.id.clone()));
                group.armed_ms = Some(wake);
            }
        }
        Some(done)
    }

    fn remove(&mut self, group: &str) {
        if let Some(group) = self.groups.remove(group) {
            self.live_bytes -= group.live_bytes();
            if let Some(armed) = group.armed_ms {
                self.timers.remove(&(armed, group.id));
            }
        }
    }
}

fn check_group_id(group: &str) -> Result<(), GroupError> {
    if group.is_empty() || group.len() > STRING_MAX { Err(GroupError::InvalidGroupId) } else { Ok(()) }
}
