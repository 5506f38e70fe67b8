//! ElectLeaders (key 43), v0 to v2, and ListPartitionReassignments (key 46), v0. KIP-183, KIP-460, KIP-455.
//!
//! Behaviour: the leader of a partition is its owner, and any owner is as good as any other, so a partition that has a
//! live one needs no election (ELECTION_NOT_NEEDED), preferred or unclean. One without gets a new owner without being
//! asked; until then PREFERRED_LEADER_NOT_AVAILABLE or ELIGIBLE_LEADERS_NOT_AVAILABLE. No replica ever moves, so no
//! reassignment is ever under way.
//! Left out: AlterPartitionReassignments.

use std::sync::Arc;

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{
    ElectLeadersRequest, ElectLeadersResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, TopicName,
};
use tidegate_metadata::Image;
use tidegate_metadata::rows::{Partition, Topic};

use super::errors::Code;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub async fn elect(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: ElectLeadersRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let image = broker.metadata.image();
    // v0 knows preferred elections only.
    let kind = if context.version() == 0 { PREFERRED } else { request.election_type };
    let known_kind = matches!(kind, PREFERRED | UNCLEAN);
    let results: Vec<ReplicaElectionResult> = match &request.topic_partitions {
        None if known_kind => image.topics().map(|t| unled(&image, t, kind)).collect(),
        None => Vec::new(),
        Some(asked) => asked
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|index| {
                    let outcome = if known_kind {
                        named(&image, &topic.topic, *index, kind)
                    } else {
                        (Code::InvalidRequest, format!("Unknown election type {kind}"))
                    };
                    result(*index, outcome)
                });
                ReplicaElectionResult::default()
                    .with_topic(topic.topic.clone())
                    .with_partition_result(partitions.collect())
            })
            .collect(),
    };
    let mut response = ElectLeadersResponse::default().with_replica_election_results(results);
    if !known_kind && context.version() >= 1 {
        response.error_code = Code::InvalidRequest.into();
    }
    context.answer(&response)
}

fn result(index: i32, (code, why): (Code, String)) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(index)
        .with_error_code(code.into())
        .with_error_message(Some(text(why)))
}

fn named(image: &Image, topic: &TopicName, index: i32, kind: i8) -> (Code, String) {
    let topic = topic.as_str();
    let Some(row) = image.topic_by_name(topic) else {
        return (Code::UnknownTopicOrPartition, format!("No such topic as {topic}"));
    };
    match image.partition(row.id, index) {
        None => (Code::UnknownTopicOrPartition, format!("No such partition as {topic}-{index}")),
        Some(partition) if has_leader(image, partition) => {
            (Code::ElectionNotNeeded, "Leader election not needed for topic partition.".into())
        }
        Some(_) => waiting(kind),
    }
}

/// Of all partitions, those that need no election are passed over.
fn unled(image: &Image, topic: &Topic, kind: i8) -> ReplicaElectionResult {
    let unled = image.partitions(topic.id).filter(|p| !has_leader(image, p));
    let results = unled.map(|p| result(i32::try_from(p.index).unwrap_or(i32::MAX), waiting(kind))).collect();
    ReplicaElectionResult::default().with_topic(TopicName(text(&*topic.name))).with_partition_result(results)
}

fn has_leader(image: &Image, partition: &Partition) -> bool {
    partition.owner.is_some_and(|owner| image.is_live(owner.incarnation))
}

fn waiting(kind: i8) -> (Code, String) {
    let code =
        if kind == PREFERRED { Code::PreferredLeaderNotAvailable } else { Code::EligibleLeadersNotAvailable };
    (code, "no live broker owns the partition at the moment; the next to open it leads it".into())
}

pub async fn list_reassignments(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    _: ListPartitionReassignmentsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    context.answer(&ListPartitionReassignmentsResponse::default().with_error_message(None))
}
