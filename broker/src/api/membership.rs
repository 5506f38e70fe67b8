//! JoinGroup (key 11) v0 to v9, SyncGroup (key 14) v0 to v5, Heartbeat (key 12) v0 to v4, LeaveGroup (key 13) v0 to v5.
//! KIP-62, KIP-345 (static members), KIP-394 (member id required), KIP-559 (protocol in SyncGroup), KIP-800 (reasons),
//! KIP-814 (skip assignment).
//!
//! Behaviour: `tidegate-groups` decides. A JoinGroup or SyncGroup that has to wait does so in its own task; a client that
//! goes away changes nothing, its session does. At shutdown who waits is told NOT_COORDINATOR at once and finds the next
//! coordinator. While the group loads a heartbeat succeeds and SyncGroup answers REBALANCE_IN_PROGRESS, since clients
//! take COORDINATOR_LOAD_IN_PROGRESS as fatal there. Reasons go to the log, at debug level.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use tidegate_groups::{
    Answer as GroupAnswer, Call, GroupError, JoinAnswer, JoinGroup, LeaveMember, Protocol, SyncAnswer,
    SyncGroup,
};

use super::errors::Code;
use super::groups::{answer, code_of, number};
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::coordinator::{Done, Failure, Parked};

/// From here on LeaveGroup names several members.
const LEAVE_BATCHED_FROM: i16 = 3;
/// Below it JoinGroup says "no protocol" by an empty name.
const NULL_PROTOCOL_FROM: i16 = 7;

pub async fn join(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: JoinGroupRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let version = context.version();
    let host = java_host(context.client.host);
    let parked = {
        let protocols: Vec<Protocol<'_>> =
            request.protocols.iter().map(|p| Protocol { name: &p.name, metadata: &p.metadata }).collect();
        let ask = JoinGroup {
            version,
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_deref(),
            client_id: context.head.client_id.as_deref().unwrap_or(""),
            client_host: &host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocol_type: &request.protocol_type,
            protocols: &protocols,
            uuid: broker.random.uuid(),
        };
        if let Some(reason) = &request.reason {
            tracing::debug!(group = ask.group, member = ask.member, %reason, "a member joins");
        }
        match broker.coordinator.shard_of(broker, ask.group) {
            Ok(shard) => {
                shard.park(broker, Call::Join, |s, now, token, out| s.join(now, token, &ask, out)).await
            }
            Err(code) => Err(code.into()),
        }
    };
    let failed = |code: i16| {
        JoinGroupResponse::default()
            .with_error_code(code)
            .with_generation_id(-1)
            .with_member_id(request.member_id.clone())
            .with_protocol_name((version < NULL_PROTOCOL_FROM).then(|| text("")))
    };
    match outcome(broker, parked).await {
        Ok(Done { value: GroupAnswer::Join(joined), after }) => {
            answer(broker, context, after, &join_answer(joined, version)).await
        }
        Ok(_) => context.answer(&failed(Code::UnknownServerError.into())),
        Err(failure) => context.answer(&failed(code_of(failure)?.into())),
    }
}

fn join_answer(joined: JoinAnswer, version: i16) -> JoinGroupResponse {
    let protocol = match &joined.protocol {
        None if version < NULL_PROTOCOL_FROM => Some(text("")),
        protocol => protocol.as_deref().map(text),
    };
    let members = joined.members.iter().map(|m| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&*m.member))
            .with_group_instance_id(m.instance.as_deref().map(text))
            .with_metadata(m.metadata.clone())
    });
    JoinGroupResponse::default()
        .with_error_code(joined.error.map_or(0, GroupError::code))
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.as_deref().map(text))
        .with_protocol_name(protocol)
        .with_leader(text(&*joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(&*joined.member))
        .with_members(members.collect())
}

pub async fn sync(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: SyncGroupRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let parked = {
        let assignments: Vec<(&str, &[u8])> =
            request.assignments.iter().map(|a| (&*a.member_id, &*a.assignment)).collect();
        let ask = SyncGroup {
            version: context.version(),
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_deref(),
            generation: request.generation_id,
            protocol_type: request.protocol_type.as_deref(),
            protocol: request.protocol_name.as_deref(),
            assignments: &assignments,
        };
        match broker.coordinator.shard_of(broker, ask.group) {
            Ok(shard) => {
                shard.park(broker, Call::Sync, |s, now, token, out| s.sync(now, token, &ask, out)).await
            }
            Err(code) => Err(code.into()),
        }
    };
    let failed = |code: Code| SyncGroupResponse::default().with_error_code(code.into());
    match outcome(broker, parked).await {
        Ok(Done { value: GroupAnswer::Sync(synced), after }) => {
            answer(broker, context, after, &sync_answer(&synced)).await
        }
        Ok(_) => context.answer(&failed(Code::UnknownServerError)),
        Err(Failure::Code(Code::CoordinatorLoadInProgress)) => {
            context.answer(&failed(Code::RebalanceInProgress))
        }
        Err(failure) => context.answer(&failed(code_of(failure)?)),
    }
}

fn sync_answer(synced: &SyncAnswer) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_error_code(synced.error.map_or(0, GroupError::code))
        .with_protocol_type(synced.protocol_type.as_deref().map(text))
        .with_protocol_name(synced.protocol.as_deref().map(text))
        .with_assignment(synced.assignment.clone())
}

/// Waits for the answer, or for the end of the shard or of this process.
async fn outcome(broker: &Broker, parked: Result<Parked, Failure>) -> Result<Done<GroupAnswer>, Failure> {
    let parked = match parked {
        Ok(parked) => parked,
        // A group that could never be written again is refused its growth, as in Kafka.
        Err(Failure::Code(Code::InvalidCommitOffsetSize)) => return Err(Code::UnknownServerError.into()),
        Err(failure) => return Err(failure),
    };
    let mut stopping = broker.stopping.subscribe();
    tokio::select! {
        biased;
        answer = parked => answer.map_err(|_| Code::NotCoordinator.into()),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Code::NotCoordinator.into()),
    }
}

pub async fn heartbeat(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: HeartbeatRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let instance = request.group_instance_id.as_deref();
    let now = broker.coordinator.now();
    let done =
        broker.coordinator.shard_of(broker, &request.group_id).map_err(Failure::Code).and_then(|shard| {
            shard.read(|s| {
                s.heartbeat(now, &request.group_id, &request.member_id, instance, request.generation_id)
            })
        });
    let told = |code: i16| HeartbeatResponse::default().with_error_code(code);
    match done {
        Ok(done) => answer(broker, context, done.after, &told(number(&done.value))).await,
        Err(Failure::Code(Code::CoordinatorLoadInProgress)) => context.answer(&told(0)),
        Err(failure) => context.answer(&told(code_of(failure)?.into())),
    }
}

pub async fn leave(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: LeaveGroupRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let batched = context.version() >= LEAVE_BATCHED_FROM;
    let members: Vec<LeaveMember<'_>> = if batched {
        let named = request.members.iter();
        named
            .map(|m| LeaveMember { member: &m.member_id, instance: m.group_instance_id.as_deref() })
            .collect()
    } else {
        vec![LeaveMember { member: &request.member_id, instance: None }]
    };
    for (member, reason) in request.members.iter().filter_map(|m| Some((m, m.reason.as_ref()?))) {
        tracing::debug!(group = request.group_id.as_str(), member = member.member_id.as_str(), %reason, "a member leaves");
    }
    let bytes_max = broker.coordinator.config.record_bytes_max(Call::Leave);
    let done = match broker.coordinator.shard_of(broker, &request.group_id) {
        Ok(shard) => {
            shard.write(broker, bytes_max, |s, now, out| s.leave(now, &request.group_id, &members, out)).await
        }
        Err(code) => Err(code.into()),
    };
    let done = match done {
        Ok(done) => done,
        Err(failure) => {
            let code = code_of(failure)?;
            return context.answer(&LeaveGroupResponse::default().with_error_code(code.into()));
        }
    };
    let response = match &done.value {
        Err(error) => LeaveGroupResponse::default().with_error_code(error.code()),
        Ok(outcomes) if batched => {
            let told = members.iter().zip(outcomes).map(|(member, outcome)| {
                MemberResponse::default()
                    .with_member_id(text(member.member))
                    .with_group_instance_id(member.instance.map(text))
                    .with_error_code(number(outcome))
            });
            LeaveGroupResponse::default().with_members(told.collect())
        }
        Ok(outcomes) => LeaveGroupResponse::default().with_error_code(outcomes.first().map_or(0, number)),
    };
    answer(broker, context, done.after, &response).await
}

/// An address as Java prints it, which is what groups tell of their members.
fn java_host(host: IpAddr) -> String {
    match host {
        IpAddr::V4(v4) => format!("/{v4}"),
        IpAddr::V6(v6) => {
            let mut out = String::from("/");
            for (n, part) in v6.segments().into_iter().enumerate() {
                let colon = if n > 0 { ":" } else { "" };
                let _ = write!(out, "{colon}{part:x}");
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::java_host;

    #[test]
    fn hosts_are_written_as_java_writes_them() {
        assert_eq!(java_host([127, 0, 0, 1].into()), "/127.0.0.1");
        assert_eq!(java_host("::1".parse().expect("an address")), "/0:0:0:0:0:0:0:1");
        assert_eq!(java_host("2001:db8::a".parse().expect("an address")), "/2001:db8:0:0:0:0:0:a");
    }
}
