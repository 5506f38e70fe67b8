//! SyncGroup: the leader brings the assignment, which is recorded; everybody gets their part.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Context, Group};
use crate::api::{GroupState, SyncAnswer, SyncGroup, Token};
use crate::error::GroupError;
use crate::records::group::encoded_len;

impl SyncAnswer {
    pub(crate) fn refused(error: GroupError) -> Self {
        Self { error: Some(error), protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

impl Group {
    pub(crate) fn sync(&mut self, token: Token, request: &SyncGroup<'_>, context: &mut Context<'_>) {
        if let Err(error) = self.check_sync(request) {
            context.answer_sync(token, SyncAnswer::refused(error));
            return;
        }
        self.synced(request.member);
        let leads = self.is_leader(request.member);
        let Some(member) = self.members.get_mut(request.member) else {
            context.answer_sync(token, SyncAnswer::refused(GroupError::UnknownMemberId));
            return;
        };
        if self.state == GroupState::Stable {
            let assignment = member.assignment.clone();
            let answer = self.sync_answer(assignment);
            context.answer_sync(token, answer);
            return;
        }
        if let Some(former) = member.awaiting_sync.replace(token) {
            // The client has given it up; a parked request always gets an answer.
            context.answer_sync(former, SyncAnswer::refused(GroupError::RebalanceInProgress));
        }
        if leads {
            self.assign(request, context);
        }
    }

    fn check_sync(&self, request: &SyncGroup<'_>) -> Result<(), GroupError> {
        self.check_member(request.member, request.instance)?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs =
            |given: Option<&str>, own: Option<&str>| given.is_some() && own.is_some() && given != own;
        if differs(request.protocol_type, self.protocol_type.as_deref())
            || differs(request.protocol, self.protocol.as_deref())
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    fn sync_answer(&self, assignment: Bytes) -> SyncAnswer {
        SyncAnswer {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }

    /// The member has synced; once all have, nobody is waited for.
    fn synced(&mut self, member: &str) {
        self.pending_sync.remove(member);
        if self.pending_sync.is_empty() {
            self.sync_deadline_ms = None;
        }
    }

    fn assign(&mut self, request: &SyncGroup<'_>, context: &mut Context<'_>) {
        let given: BTreeMap<&str, &[u8]> = request.assignments.iter().copied().collect();
        for member in self.members.values_mut() {
            member.assignment = given.get(&*member.id).map_or_else(Bytes::new, |a| Bytes::copy_from_slice(a));
        }
        let bytes = crate::records::group_bytes(&self.id, encoded_len(&self.value()));
        if bytes > context.config.group_record_max() {
            self.drop_assignments(GroupError::UnknownServerError, context);
            self.prepare_rebalance(context);
            return;
        }
        self.change_state(GroupState::Stable, context);
        self.rebalances += 1;
        self.write(context);
        let mut members = std::mem::take(&mut self.members);
        for member in members.values_mut() {
            if let Some(token) = member.awaiting_sync.take() {
                let answer = self.sync_answer(member.assignment.clone());
                context.answer_sync(token, answer);
                let deadline = context.after(member.session_timeout_ms);
                member.session_deadline_ms = Some(deadline);
                self.wake_by(deadline);
            }
        }
        self.members = members;
    }
}
