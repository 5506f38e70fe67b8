//! One group: its members, its generation, its offsets.
//!
//! Owns: what is true of a group at any time (counts, the leader, static ids, live bytes), and its timers.
//! Invariants: `awaiting_join` counts the parked joins; a protocol's count is the number of members that support it; the
//! leader is a member, and there is one if there are members; a parked request is answered before its member goes.
//! Never: looks beyond its group.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::Name;
use crate::api::{
    Answer, Committed, Effects, GroupState, JoinAnswer, JoinedMember, Now, Record, SyncAnswer, Token,
};
use crate::config::Config;
use crate::error::GroupError;
use crate::records::group::{GroupValue, MemberValue};
use crate::records::{self, RecordError};
use crate::subscription;

mod join;
mod member;
mod offsets;
mod rebalance;
mod session;
mod sync;

pub(crate) use member::Member;

/// `protocol_type` of Kafka's consumers, whose subscriptions the coordinator reads.
pub(crate) const CONSUMER: &str = "consumer";

/// What a change of a group works with.
pub(crate) struct Context<'a> {
    pub config: &'a Config,
    pub now: Now,
    pub out: &'a mut Effects,
}

impl Context<'_> {
    pub(crate) fn answer_join(&mut self, token: Token, answer: JoinAnswer) {
        self.out.answers.push((token, Answer::Join(answer)));
    }

    pub(crate) fn refuse_join(&mut self, token: Token, member: &str, error: GroupError) {
        self.answer_join(token, JoinAnswer::refused(member, error));
    }

    pub(crate) fn answer_sync(&mut self, token: Token, answer: SyncAnswer) {
        self.out.answers.push((token, Answer::Sync(answer)));
    }

    /// A deadline `timeout_ms` from now.
    pub(crate) fn after(&self, timeout_ms: i32) -> i64 {
        self.now.mono_ms.saturating_add(timeout_ms.max(0).into())
    }
}

/// What ends the wait for joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JoinTimer {
    pub at_ms: i64,
    /// Of a group that was empty: it may still be put off, by this much in all.
    pub initial: Option<InitialDelay>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitialDelay {
    pub delay_ms: i32,
    pub remaining_ms: i32,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub id: Name,
    pub state: GroupState,
    previous: GroupState,
    /// Wall time of the last change of state.
    pub state_ms: Option<i64>,
    pub generation: i32,
    pub protocol_type: Option<Name>,
    pub protocol: Option<Name>,
    pub leader: Option<Name>,
    pub members: BTreeMap<Name, Member>,
    /// Instance id → member id.
    statics: BTreeMap<Name, Name>,
    protocol_counts: BTreeMap<Name, usize>,
    awaiting_join: usize,
    /// Members that were told an id and have not joined with it, with the time at which they are forgotten.
    pub pending_join: BTreeMap<Name, i64>,
    pending_sync: BTreeSet<Name>,
    new_member_added: bool,
    /// Of a consumer group whose subscriptions can all be read.
    subscribed: Option<BTreeSet<Name>>,
    offsets: BTreeMap<Name, BTreeMap<i32, Committed>>,
    offset_bytes: u64,
    /// The value of the group's newest record.
    pub written: Option<Bytes>,
    join_timer: Option<JoinTimer>,
    sync_deadline_ms: Option<i64>,
    /// Not after the first of its timers; `None` if there is none.
    pub wake_ms: Option<i64>,
    /// What the shard has been told of `wake_ms`.
    pub armed_ms: Option<i64>,
    /// Rebalances that ended with an assignment.
    pub rebalances: u64,
}

impl Group {
    /// A group that nobody has joined, and without a record of its own: a simple consumer's, unless a join follows.
    pub(crate) fn new(id: Name, state_ms: Option<i64>) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            previous: GroupState::Dead,
            state_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            protocol_counts: BTreeMap::new(),
            awaiting_join: 0,
            pending_join: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            new_member_added: false,
            subscribed: None,
            offsets: BTreeMap::new(),
            offset_bytes: 0,
            written: None,
            join_timer: None,
            sync_deadline_ms: None,
            wake_ms: None,
            armed_ms: None,
            rebalances: 0,
        }
    }

    /// Puts the state of a record in place of everything but the offsets.
    pub(crate) fn load(&mut self, value: GroupValue, raw: Bytes) -> Result<(), RecordError> {
        let mut group = Group::new(self.id.clone(), (value.state_ms != -1).then_some(value.state_ms));
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|t| !t.is_empty());
        group.protocol = value.protocol;
        if !value.members.is_empty() {
            group.state = GroupState::Stable;
            let (Some(_), Some(protocol)) = (&group.protocol_type, group.protocol.clone()) else {
                return Err(RecordError::Contradiction { what: "a group with members has no protocol" });
            };
            for member in value.members {
                if group.members.contains_key(&member.member)
                    || member.instance.as_ref().is_some_and(|i| group.statics.contains_key(i))
                {
                    return Err(RecordError::Contradiction { what: "a group has a member twice" });
                }
                group.add(Member::from_record(member, &protocol));
            }
            group.leader = value
                .leader
                .filter(|l| group.members.contains_key(l))
                .or_else(|| group.members.keys().next().cloned());
        }
        group.subscribed = group.subscriptions();
        group.written = Some(raw);
        group.offsets = std::mem::take(&mut self.offsets);
        group.offset_bytes = self.offset_bytes;
        *self = group;
        Ok(())
    }

    /// The group's record was taken back; its offsets stay.
    pub(crate) fn unload(&mut self) {
        let mut group = Group::new(self.id.clone(), None);
        group.offsets = std::mem::take(&mut self.offsets);
        group.offset_bytes = self.offset_bytes;
        *self = group;
    }

    /// Bytes of the group's records.
    pub(crate) fn live_bytes(&self) -> u64 {
        let own = self.written.as_ref().map_or(0, |value| records::group_bytes(&self.id, value.len()) as u64);
        own + self.offset_bytes
    }

    pub(crate) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(crate) fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    pub(crate) fn static_member(&self, instance: &str) -> Option<&Name> {
        self.statics.get(instance)
    }

    /// UNKNOWN_MEMBER_ID for who is not a member, FENCED_INSTANCE_ID for who was replaced (KIP-345).
    pub(crate) fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if &**current != member => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// Whether a member with these protocols fits the group.
    pub(crate) fn supports<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a str>,
    ) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.any(|p| self.protocol_counts.get(p).copied().unwrap_or(0) == self.members.len())
    }

    fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.pending_join.remove(&member.id);
        self.count_protocols(&member, true);
        self.members.insert(member.id.clone(), member);
    }

    fn count_protocols(&mut self, member: &Member, up: bool) {
        for (name, _) in &member.protocols {
            let count = self.protocol_counts.entry(name.clone()).or_default();
            *count = if up { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.protocol_counts.remove(name);
            }
        }
    }

    /// Takes a member out; what it had parked is answered with `error`.
    fn remove(&mut self, id: &str, error: GroupError, context: &mut Context<'_>) {
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        let Some(mut member) = self.members.remove(id) else { return };
        self.count_protocols(&member, false);
        if let Some(token) = self.take_join(&mut member) {
            context.refuse_join(token, "", error);
        }
        if let Some(token) = member.awaiting_sync.take() {
            context.answer_sync(token, SyncAnswer::refused(error));
        }
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn take_join(&mut self, member: &mut Member) -> Option<Token> {
        let token = member.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(token)
    }

    fn change_state(&mut self, to: GroupState, context: &Context<'_>) {
        self.previous = self.state;
        self.state = to;
        self.state_ms = Some(context.now.wall_ms);
    }

    /// The longest of the members' rebalance timeouts.
    fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|m| m.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// The members with what they gave the current protocol, for the leader.
    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .values()
            .map(|m| JoinedMember {
                member: m.id.clone(),
                instance: m.instance.clone(),
                metadata: m.metadata(protocol),
            })
            .collect()
    }

    /// The topics that the members subscribe to; `None` if that is not known.
    fn subscriptions(&self) -> Option<BTreeSet<Name>> {
        if !self.is_consumer() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol.as_deref()?;
        for member in self.members.values() {
            subscription::add_topics(&member.metadata(protocol), &mut topics)?;
        }
        Some(topics)
    }

    /// A consumer group whose subscriptions are not known counts as subscribed to everything.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumer(), |topics| topics.contains(topic))
    }

    fn value(&self) -> GroupValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Name::from("")),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_ms: self.state_ms.unwrap_or(-1),
            members: self
                .members
                .values()
                .map(|m| MemberValue {
                    member: m.id.clone(),
                    instance: m.instance.clone(),
                    client_id: m.client_id.clone(),
                    client_host: m.client_host.clone(),
                    rebalance_timeout_ms: m.rebalance_timeout_ms,
                    session_timeout_ms: m.session_timeout_ms,
                    subscription: m.metadata(protocol),
                    assignment: m.assignment.clone(),
                })
                .collect(),
        }
    }

    /// Records the group as it is.
    fn write(&mut self, context: &mut Context<'_>) {
        let value = records::group::encode(&self.value());
        self.written = Some(value.clone());
        context.out.records.push(records::group_record(&self.id, value));
    }

    /// Records that the group is there, before anybody has joined it: a restart must know it, for the members that were
    /// told an id come back with it.
    pub(crate) fn write_created(&mut self, context: &mut Context<'_>) {
        let value = records::group::encode(&GroupValue {
            protocol_type: Name::from(""),
            generation: 0,
            protocol: None,
            leader: None,
            state_ms: self.state_ms.unwrap_or(-1),
            members: Vec::new(),
        });
        self.written = Some(value.clone());
        context.out.records.push(records::group_record(&self.id, value));
    }

    /// The group's newest record.
    pub(crate) fn record(&self) -> Option<Record> {
        self.written.as_ref().map(|value| records::group_record(&self.id, value.clone()))
    }

    fn wake_by(&mut self, at_ms: i64) {
        self.wake_ms = Some(self.wake_ms.map_or(at_ms, |w| w.min(at_ms)));
    }
}
