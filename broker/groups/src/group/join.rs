//! JoinGroup, once the request is known to be well formed.
//!
//! A dynamic member comes twice: it is told its id, then joins with it (KIP-394). A static member that comes back with
//! an empty member id takes the place of the one that had its instance id (KIP-345), without a rebalance if the chosen
//! protocol stays the same.

use bytes::Bytes;

use super::member::own_protocols;
use super::{Context, Group, Member};
use crate::Name;
use crate::api::{GroupState, JoinAnswer, JoinGroup, SyncAnswer, Token};
use crate::error::GroupError;
use crate::records::group::encoded_len;

/// How long a new member's first join may stay parked.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1_000;
/// The first version in which a new member is told its id and joins again.
const MEMBER_ID_FIRST: i16 = 4;
/// The first version with `skip_assignment`.
const SKIP_ASSIGNMENT: i16 = 9;

impl JoinAnswer {
    pub(crate) fn refused(member: &str, error: GroupError) -> Self {
        Self {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: Name::from(""),
            skip_assignment: false,
            member: Name::from(member),
            members: Vec::new(),
        }
    }
}

impl Group {
    pub(crate) fn join(&mut self, token: Token, request: &JoinGroup<'_>, context: &mut Context<'_>) {
        if !self.has_room(request.member, context) {
            self.remove(request.member, GroupError::UnknownMemberId, context);
            context.refuse_join(token, "", GroupError::GroupMaxSizeReached);
            self.maybe_complete_join(context);
        } else if !self.supports(request.protocol_type, request.protocols.iter().map(|p| p.name)) {
            context.refuse_join(token, request.member, GroupError::InconsistentGroupProtocol);
        } else if request.member.is_empty() {
            self.join_new(token, request, context);
        } else {
            self.join_known(token, request, context);
        }
    }

    /// `group.max.size`: who waits for the next generation counts while it is made, who is a member after that.
    fn has_room(&self, member: &str, context: &Context<'_>) -> bool {
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                self.members.get(member).is_some_and(|m| m.awaiting_join.is_some())
                    || self.awaiting_join < context.config.group_max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member) || self.members.len() < context.config.group_max_size
            }
        }
    }

    fn join_new(&mut self, token: Token, request: &JoinGroup<'_>, context: &mut Context<'_>) {
        let id = Name::from(format!("{}-{}", request.instance.unwrap_or(request.client_id), request.uuid));
        match request.instance.and_then(|i| self.statics.get(i)).cloned() {
            Some(old) => self.replace_static(token, request, &old, id, context),
            None if request.instance.is_none() && request.version >= MEMBER_ID_FIRST => {
                if self.pending_join.len() >= context.config.pending_members_max {
                    context.refuse_join(token, "", GroupError::GroupMaxSizeReached);
                    return;
                }
                let deadline = context.after(request.session_timeout_ms);
                self.pending_join.insert(id.clone(), deadline);
                self.wake_by(deadline);
                context.refuse_join(token, &id, GroupError::MemberIdRequired);
            }
            None => self.add_and_rebalance(token, request, id, context),
        }
    }

    fn join_known(&mut self, token: Token, request: &JoinGroup<'_>, context: &mut Context<'_>) {
        if let Some((id, _)) = self.pending_join.get_key_value(request.member) {
            if request.instance.is_some() {
                // A dynamic member's id with an instance id: Kafka ends in its unexpected error.
                context.refuse_join(token, request.member, GroupError::UnknownServerError);
                return;
            }
            let id = id.clone();
            self.add_and_rebalance(token, request, id, context);
            return;
        }
        if let Err(error) = self.check_member(request.member, request.instance) {
            context.refuse_join(token, request.member, error);
            return;
        }
        let protocols = own_protocols(request.protocols);
        let same = self.members.get(request.member).is_some_and(|m| m.matches(&protocols));
        // In Stable the leader may ask for a new assignment by joining again; a follower is told what it knows already.
        let told = match self.state {
            GroupState::CompletingRebalance => same,
            GroupState::Stable => same && !self.is_leader(request.member),
            _ => false,
        };
        if told {
            let members = if self.is_leader(request.member) { self.joined_members() } else { Vec::new() };
            let answer = self.join_answer(Name::from(request.member), members);
            context.answer_join(token, answer);
            return;
        }
        self.update(request.member, protocols, request, token, context);
        self.rebalance_or_complete(context);
    }

    pub(super) fn join_answer(&self, member: Name, members: Vec<crate::api::JoinedMember>) -> JoinAnswer {
        JoinAnswer {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Name::from("")),
            skip_assignment: false,
            member,
            members,
        }
    }

    fn add_and_rebalance(
        &mut self,
        token: Token,
        request: &JoinGroup<'_>,
        id: Name,
        context: &mut Context<'_>,
    ) {
        if self.state == GroupState::PreparingRebalance && self.previous == GroupState::Empty {
            self.new_member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(Name::from(request.protocol_type));
        }
        let deadline = context.after(NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.add(Member {
            id,
            instance: request.instance.map(Name::from),
            client_id: Name::from(request.client_id),
            client_host: Name::from(request.client_host),
            rebalance_timeout_ms: rebalance_timeout(request),
            session_timeout_ms: request.session_timeout_ms,
            protocols: own_protocols(request.protocols),
            assignment: Bytes::new(),
            awaiting_join: Some(token),
            awaiting_sync: None,
            is_new: true,
            session_deadline_ms: Some(deadline),
        });
        self.wake_by(deadline);
        self.rebalance_or_complete(context);
    }

    /// Takes what a join says of its member, and parks the join. One that was parked before is told to try again: its
    /// client has given it up, and a parked request always gets an answer.
    fn update(
        &mut self,
        id: &str,
        protocols: Vec<(Name, Bytes)>,
        request: &JoinGroup<'_>,
        token: Token,
        context: &mut Context<'_>,
    ) {
        let Some(mut member) = self.members.remove(id) else { return };
        self.count_protocols(&member, false);
        member.protocols = protocols;
        member.rebalance_timeout_ms = rebalance_timeout(request);
        member.session_timeout_ms = request.session_timeout_ms;
        self.count_protocols(&member, true);
        if let Some(former) = self.take_join(&mut member) {
            context.refuse_join(former, id, GroupError::RebalanceInProgress);
        }
        member.awaiting_join = Some(token);
        self.awaiting_join += 1;
        self.members.insert(member.id.clone(), member);
    }

    fn replace_static(
        &mut self,
        token: Token,
        request: &JoinGroup<'_>,
        old: &Name,
        new: Name,
        context: &mut Context<'_>,
    ) {
        let protocols = own_protocols(request.protocols);
        if self.state == GroupState::Stable && !self.fits_with(old, &new, &protocols, context) {
            context.refuse_join(token, "", GroupError::UnknownServerError);
            return;
        }
        let former_leader = self.leader.clone();
        self.rename(old, &new, context);
        self.update(&new, protocols, request, token, context);
        match self.state {
            GroupState::Stable if self.protocol.is_some() && self.select_protocol() == self.protocol => {
                self.subscribed = self.subscriptions();
                self.write(context);
                let leads = self.is_leader(&new);
                let skips = request.version >= SKIP_ASSIGNMENT;
                let members = if skips && leads { self.joined_members() } else { Vec::new() };
                let mut answer = self.join_answer(new.clone(), members);
                if skips {
                    answer.skip_assignment = leads;
                } else if let Some(leader) = former_leader {
                    // Before version 9 a leader that came back is told of its former id, or it would assign again.
                    answer.leader = leader;
                }
                let Some(mut member) = self.members.remove(&new) else { return };
                self.take_join(&mut member);
                self.members.insert(new, member);
                context.answer_join(token, answer);
            }
            GroupState::Stable => self.rebalance_or_complete(context),
            GroupState::CompletingRebalance => self.prepare_rebalance(context),
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {
                self.maybe_complete_join(context)
            }
        }
    }

    /// Gives a static member its new id; whoever waits under the old one is fenced.
    fn rename(&mut self, old: &Name, new: &Name, context: &mut Context<'_>) {
        let Some(mut member) = self.members.remove(old) else { return };
        if let Some(former) = self.take_join(&mut member) {
            context.refuse_join(former, old, GroupError::FencedInstanceId);
        }
        if let Some(former) = member.awaiting_sync.take() {
            context.answer_sync(former, SyncAnswer::refused(GroupError::FencedInstanceId));
        }
        let deadline = context.after(member.session_timeout_ms);
        member.session_deadline_ms = Some(deadline);
        self.wake_by(deadline);
        member.id = new.clone();
        member.is_new = false;
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), new.clone());
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.members.insert(new.clone(), member);
    }

    /// Whether the group's record would not grow beyond its bound with what a static member brings.
    fn fits_with(&self, old: &str, new: &str, protocols: &[(Name, Bytes)], context: &Context<'_>) -> bool {
        let Some(member) = self.members.get(old) else { return false };
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let brought = protocols.iter().find(|(name, _)| &**name == protocol).map_or(0, |(_, m)| m.len());
        let before = member.metadata(protocol).len() + old.len();
        // The leader's name is there twice.
        let grown = encoded_len(&self.value()) + 2 * new.len() + brought - before;
        crate::records::group_bytes(&self.id, grown) <= context.config.group_record_max()
    }
}

/// Version 0 has no rebalance timeout.
fn rebalance_timeout(request: &JoinGroup<'_>) -> i32 {
    if request.rebalance_timeout_ms < 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms }
}
