//! Sessions: heartbeats, leaving, and what happens when time is up.

use super::{Context, Group};
use crate::Name;
use crate::api::{GroupState, LeaveMember};
use crate::error::GroupError;

impl Group {
    pub(crate) fn heartbeat(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        context: &Context<'_>,
    ) -> Result<(), GroupError> {
        self.check_member(member, instance)?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.refresh(member, context);
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
        }
    }

    /// The member's session starts anew.
    pub(super) fn refresh(&mut self, member: &str, context: &Context<'_>) {
        if let Some(member) = self.members.get_mut(member) {
            let deadline = context.after(member.session_timeout_ms);
            member.session_deadline_ms = Some(deadline);
            self.wake_by(deadline);
        }
    }

    /// The sessions of all members start now: the group was loaded.
    pub(crate) fn start_sessions(&mut self, context: &mut Context<'_>) {
        let ids: Vec<Name> = self.members.keys().cloned().collect();
        for id in &ids {
            self.refresh(id, context);
        }
        if self.members.len() > context.config.group_max_size {
            self.prepare_rebalance(context);
        }
    }

    pub(crate) fn leave(
        &mut self,
        members: &[LeaveMember<'_>],
        context: &mut Context<'_>,
    ) -> Vec<Result<(), GroupError>> {
        let outcomes: Vec<_> = members.iter().map(|m| self.leave_one(m, context)).collect();
        if outcomes.iter().any(Result::is_ok) {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(context),
                GroupState::PreparingRebalance => self.maybe_complete_join(context),
                GroupState::Empty | GroupState::Dead => {}
            }
        }
        outcomes
    }

    fn leave_one(&mut self, leaving: &LeaveMember<'_>, context: &mut Context<'_>) -> Result<(), GroupError> {
        if leaving.member.is_empty() {
            let id = leaving
                .instance
                .and_then(|i| self.static_member(i))
                .ok_or(GroupError::UnknownMemberId)?
                .clone();
            self.remove(&id, GroupError::UnknownMemberId, context);
            return Ok(());
        }
        if self.pending_join.remove(leaving.member).is_some() {
            return Ok(());
        }
        self.check_member(leaving.member, leaving.instance)?;
        self.remove(leaving.member, GroupError::UnknownMemberId, context);
        Ok(())
    }

    /// Does what is due, and finds the next time at which something is.
    pub(crate) fn wake(&mut self, context: &mut Context<'_>) {
        self.join_timer_due(context);
        self.sync_timer_due(context);
        self.sessions_due(context);
        self.wake_ms = self.first_timer();
    }

    /// Members that do not ask for their assignment within the rebalance timeout are out.
    fn sync_timer_due(&mut self, context: &mut Context<'_>) {
        if self.sync_deadline_ms.is_none_or(|at| at > context.now.mono_ms) {
            return;
        }
        self.sync_deadline_ms = None;
        if !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
            return;
        }
        let late = std::mem::take(&mut self.pending_sync);
        for id in &late {
            self.remove(id, GroupError::UnknownMemberId, context);
        }
        if !late.is_empty() {
            self.prepare_rebalance(context);
        }
    }

    fn sessions_due(&mut self, context: &mut Context<'_>) {
        let now = context.now.mono_ms;
        let forgotten: Vec<Name> =
            self.pending_join.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        for id in &forgotten {
            self.pending_join.remove(id);
        }
        if !forgotten.is_empty() {
            self.complete_if_all_joined(context);
        }
        let silent: Vec<Name> = self
            .members
            .values()
            .filter(|m| m.session_deadline_ms.is_some_and(|at| at <= now))
            .map(|m| m.id.clone())
            .collect();
        for id in silent {
            // An earlier one of them may have started a rebalance, which answers and renews the others.
            let Some(member) = self.members.get_mut(&id) else { continue };
            if member.session_deadline_ms.is_none_or(|at| at > now) {
                continue;
            }
            if member.is_heard() {
                member.session_deadline_ms = None;
                continue;
            }
            self.remove(&id, GroupError::UnknownMemberId, context);
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(context),
                _ => self.complete_if_all_joined(context),
            }
        }
    }

    fn first_timer(&self) -> Option<i64> {
        let sessions = self.members.values().filter_map(|m| m.session_deadline_ms);
        sessions
            .chain(self.pending_join.values().copied())
            .chain(self.join_timer.map(|t| t.at_ms))
            .chain(self.sync_deadline_ms)
            .min()
    }
}
