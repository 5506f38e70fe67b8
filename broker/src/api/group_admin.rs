//! DescribeGroups (key 15) v0 to v6, ListGroups (key 16) v0 to v5, DeleteGroups (key 42) v0 to v2, ConsumerGroupDescribe
//! (key 69) v0 to v1. KIP-222, KIP-345, KIP-430 (operations), KIP-518 (states), KIP-848 and KIP-1043 (types, GROUP_ID_NOT_FOUND).
//!
//! Behaviour: answers tell admitted state once it is released. ListGroups tells of the groups that this broker
//! coordinates, and fails as a whole while one of its partitions loads, so that no group is missing unnoticed.
//! ConsumerGroupDescribe knows no group of the new protocol: each is GROUP_ID_NOT_FOUND, and tools ask DescribeGroups.
//! Without ACLs every operation is allowed, and a request that asks for them is told all.

use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest, ListGroupsResponse,
    consumer_group_describe_response,
};
use tidegate_groups::{Call, DescribedGroup as Described, GroupError, GroupState, Progress};

use super::errors::Code;
use super::groups::{answer, code_of};
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::coordinator::{After, Failure};

/// "Not asked for" in the authorized-operations bit field.
const OPERATIONS_UNASKED: i32 = i32::MIN;
/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS: what Kafka knows of groups.
const OPERATIONS_ALL: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// From here on a group that is not there is an error, with a text.
const NOT_FOUND_FROM: i16 = 6;
const STATES_FROM: i16 = 4;
const TYPES_FROM: i16 = 5;
const CLASSIC: &str = "classic";

pub async fn describe(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeGroupsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let version = context.version();
    let mut after = After::default();
    let mut response = DescribeGroupsResponse::default();
    for group in request.groups {
        let shard = broker.coordinator.shard_of(broker, &group).map_err(Failure::Code);
        let described = shard.and_then(|shard| shard.read(|s| s.describe(version, &group)));
        let told = DescribedGroup::default()
            .with_error_message(None)
            .with_group_id(group)
            .with_authorized_operations(OPERATIONS_UNASKED);
        response.groups.push(match described {
            Ok(done) => {
                after = after.max(done.after);
                let asked = request.include_authorized_operations && done.value.error.is_none();
                let told = if asked { told.with_authorized_operations(OPERATIONS_ALL) } else { told };
                of_described(told, &done.value, version)
            }
            Err(failure) => told.with_error_code(code_of(failure)?.into()),
        });
    }
    answer(broker, context, after, &response).await
}

fn of_described(told: DescribedGroup, group: &Described, version: i16) -> DescribedGroup {
    let message = group.error_message.as_deref().filter(|_| version >= NOT_FOUND_FROM).map(text);
    let members = group.members.iter().map(|m| {
        DescribedGroupMember::default()
            .with_member_id(text(&*m.member))
            .with_group_instance_id(m.instance.as_deref().map(text))
            .with_client_id(text(&*m.client_id))
            .with_client_host(text(&*m.client_host))
            .with_member_metadata(m.metadata.clone())
            .with_member_assignment(m.assignment.clone())
    });
    told.with_error_code(group.error.map_or(0, GroupError::code))
        .with_error_message(message)
        .with_group_state(text(group.state.as_str()))
        .with_protocol_type(text(&*group.protocol_type))
        .with_protocol_data(text(&*group.protocol))
        .with_members(members.collect())
}

pub async fn list(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: ListGroupsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let version = context.version();
    let states: Vec<&str> = request.states_filter.iter().map(|s| &**s).collect();
    let types: Vec<&str> = request.types_filter.iter().map(|t| &**t).collect();
    let mut after = After::default();
    let mut response = ListGroupsResponse::default();
    for shard in broker.coordinator.shards() {
        let done = match shard.read(|s| s.list(&states, &types)) {
            Ok(done) => done,
            // It went to another broker, which tells of its groups.
            Err(Failure::Code(Code::NotCoordinator)) => continue,
            Err(failure) => {
                let code = code_of(failure)?;
                return context.answer(&ListGroupsResponse::default().with_error_code(code.into()));
            }
        };
        after = after.max(done.after);
        response.groups.extend(done.value.iter().map(|group| {
            let told = ListedGroup::default()
                .with_group_id(text(&*group.group).into())
                .with_protocol_type(text(&*group.protocol_type));
            let told =
                if version >= STATES_FROM { told.with_group_state(text(group.state.as_str())) } else { told };
            if version >= TYPES_FROM { told.with_group_type(text(CLASSIC)) } else { told }
        }));
    }
    answer(broker, context, after, &response).await
}

pub async fn delete(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DeleteGroupsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let mut after = After::default();
    let mut response = DeleteGroupsResponse::default();
    for group in request.groups_names {
        let code = match delete_one(broker, &group, &mut after).await {
            Ok(outcome) => outcome.map_or_else(GroupError::code, |()| 0),
            Err(failure) => code_of(failure)?.into(),
        };
        broker.note_code(context.head.api_key, code);
        response.results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(code));
    }
    answer(broker, context, after, &response).await
}

async fn delete_one(
    broker: &Arc<Broker>,
    group: &str,
    after: &mut After,
) -> Result<Result<(), GroupError>, Failure> {
    let shard = broker.coordinator.shard_of(broker, group)?;
    let bytes_max = broker.coordinator.config.record_bytes_max(Call::Step);
    loop {
        let done = shard.write(broker, bytes_max, |s, now, out| s.delete_group(now, group, out)).await?;
        *after = (*after).max(done.after);
        match done.value {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}

pub async fn consumer_group_describe(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: ConsumerGroupDescribeRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let mut after = After::default();
    let mut response = ConsumerGroupDescribeResponse::default();
    for group in request.group_ids {
        let told = consumer_group_describe_response::DescribedGroup::default()
            .with_error_message(None)
            .with_authorized_operations(OPERATIONS_UNASKED);
        let known = if group.is_empty() {
            Err(Code::InvalidGroupId.into())
        } else {
            let shard = broker.coordinator.shard_of(broker, &group).map_err(Failure::Code);
            shard.and_then(|shard| shard.read(|s| s.describe(0, &group).state != GroupState::Dead))
        };
        let told = match known {
            Ok(done) => {
                after = after.max(done.after);
                let is = if done.value { "is not a consumer group" } else { "not found" };
                told.with_error_code(Code::GroupIdNotFound.into())
                    .with_error_message(Some(text(format!("Group {} {is}.", &*group))))
            }
            Err(failure) => told.with_error_code(code_of(failure)?.into()),
        };
        response.groups.push(told.with_group_id(group));
    }
    answer(broker, context, after, &response).await
}
