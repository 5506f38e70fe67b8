//! From one generation to the next: who is waited for, for how long, and what the new generation is.

use std::collections::BTreeMap;

use super::{Context, Group, InitialDelay, JoinTimer};
use crate::Name;
use crate::api::{GroupState, SyncAnswer};
use crate::error::GroupError;

impl Group {
    pub(super) fn rebalance_or_complete(&mut self, context: &mut Context<'_>) {
        if matches!(self.state, GroupState::Stable | GroupState::CompletingRebalance | GroupState::Empty) {
            self.prepare_rebalance(context);
        } else {
            self.maybe_complete_join(context);
        }
    }

    /// Everybody is to join again. A group that was empty waits `group.initial.rebalance.delay.ms` for more members.
    pub(crate) fn prepare_rebalance(&mut self, context: &mut Context<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.drop_assignments(GroupError::RebalanceInProgress, context);
        }
        self.pending_sync.clear();
        self.sync_deadline_ms = None;
        let initial = self.state == GroupState::Empty;
        self.change_state(GroupState::PreparingRebalance, context);
        let timeout_ms = self.rebalance_timeout_ms();
        if initial {
            self.new_member_added = false;
            let delay_ms = context.config.initial_rebalance_delay_ms.max(0);
            if delay_ms == 0 {
                self.complete_join(context);
                return;
            }
            let remaining_ms = timeout_ms.saturating_sub(delay_ms).max(0);
            self.set_join_timer(delay_ms, Some(InitialDelay { delay_ms, remaining_ms }), context);
        } else if self.all_joined() {
            self.complete_join(context);
        } else {
            self.set_join_timer(timeout_ms, None, context);
        }
    }

    fn set_join_timer(&mut self, after_ms: i32, initial: Option<InitialDelay>, context: &Context<'_>) {
        let at_ms = context.after(after_ms);
        self.join_timer = Some(JoinTimer { at_ms, initial });
        self.wake_by(at_ms);
    }

    fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// Ends the wait if nobody is missing. The initial delay is waited out in any case.
    pub(super) fn maybe_complete_join(&mut self, context: &mut Context<'_>) {
        if self.state == GroupState::PreparingRebalance
            && self.previous != GroupState::Empty
            && self.all_joined()
        {
            self.complete_join(context);
        }
    }

    /// A member went that nobody waits for any more. Unlike [`Group::maybe_complete_join`] this ends the initial delay
    /// too, as in Kafka.
    pub(super) fn complete_if_all_joined(&mut self, context: &mut Context<'_>) {
        if self.state == GroupState::PreparingRebalance && self.all_joined() {
            self.complete_join(context);
        }
    }

    /// The join timer is due.
    pub(super) fn join_timer_due(&mut self, context: &mut Context<'_>) {
        let Some(timer) = self.join_timer.filter(|t| t.at_ms <= context.now.mono_ms) else { return };
        if let Some(InitialDelay { delay_ms, remaining_ms }) = timer.initial
            && self.new_member_added
            && remaining_ms != 0
        {
            self.new_member_added = false;
            let next_ms = context.config.initial_rebalance_delay_ms.max(1).min(remaining_ms);
            let remaining_ms = remaining_ms.saturating_sub(delay_ms).max(0);
            self.set_join_timer(next_ms, Some(InitialDelay { delay_ms: next_ms, remaining_ms }), context);
            return;
        }
        self.complete_join(context);
    }

    /// The next generation: of who has joined, and of static members, which may be late.
    pub(super) fn complete_join(&mut self, context: &mut Context<'_>) {
        self.join_timer = None;
        let late: Vec<Name> = self
            .members
            .values()
            .filter(|m| m.awaiting_join.is_none() && !m.is_static())
            .map(|m| m.id.clone())
            .collect();
        for id in late {
            self.remove(&id, GroupError::UnknownMemberId, context);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members are left, and none of them is here.
            self.set_join_timer(self.rebalance_timeout_ms(), None, context);
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.subscribed = self.subscriptions();
            self.change_state(GroupState::Empty, context);
            self.write(context);
            return;
        }
        self.protocol = self.select_protocol();
        self.subscribed = self.subscriptions();
        self.change_state(GroupState::CompletingRebalance, context);
        self.answer_joins(context);
        let deadline = context.after(self.rebalance_timeout_ms());
        self.sync_deadline_ms = Some(deadline);
        self.wake_by(deadline);
    }

    fn answer_joins(&mut self, context: &mut Context<'_>) {
        let mut members = std::mem::take(&mut self.members);
        let mut for_leader = None;
        for (id, member) in &mut members {
            let deadline = context.after(member.session_timeout_ms);
            member.session_deadline_ms = Some(deadline);
            member.is_new = false;
            self.wake_by(deadline);
            self.pending_sync.insert(id.clone());
            let Some(token) = self.take_join(member) else { continue };
            if self.is_leader(id) {
                for_leader = Some((token, id.clone()));
            } else {
                let answer = self.join_answer(id.clone(), Vec::new());
                context.answer_join(token, answer);
            }
        }
        self.members = members;
        if let Some((token, id)) = for_leader {
            let answer = self.join_answer(id, self.joined_members());
            context.answer_join(token, answer);
        }
    }

    /// Makes sure that the leader is a member that has joined; false if none has.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &Name| self.members.get(id).is_some_and(|m| m.awaiting_join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let Some(next) = self.members.values().find(|m| m.awaiting_join.is_some()) else { return false };
        self.leader = Some(next.id.clone());
        true
    }

    /// Each member votes for the first of its protocols that all support. On a draw the leader's preference decides.
    pub(super) fn select_protocol(&self) -> Option<Name> {
        let all = self.members.len();
        let candidate = |name: &Name| self.protocol_counts.get(name).copied() == Some(all);
        let mut votes: BTreeMap<&Name, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| candidate(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let leader = self.leader.as_ref().and_then(|l| self.members.get(l));
        leader
            .and_then(|l| {
                l.protocols.iter().map(|(name, _)| name).find(|name| votes.get(name) == Some(&most))
            })
            .or_else(|| votes.iter().find(|(_, n)| **n == most).map(|(name, _)| *name))
            .cloned()
    }

    /// Takes all assignments back and answers the parked syncs with an error.
    pub(super) fn drop_assignments(&mut self, error: GroupError, context: &mut Context<'_>) {
        let mut wake = None::<i64>;
        for member in self.members.values_mut() {
            member.assignment = bytes::Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                context.answer_sync(token, SyncAnswer::refused(error));
                let deadline = context.after(member.session_timeout_ms);
                member.session_deadline_ms = Some(deadline);
                wake = Some(wake.map_or(deadline, |w| w.min(deadline)));
            }
        }
        if let Some(wake) = wake {
            self.wake_by(wake);
        }
    }
}
