//! Metadata (key 3), v0 to v13. KIP-516 (topic ids), KIP-526, KIP-866.
//!
//! Behaviour: replicas are the owner first, then as many other live brokers as the replication factor asks for and
//! there are, all in sync (DESIGN.md 5). The controller is the answering broker: any broker takes any admin call.
//! Internal topics are marked; naming `__consumer_offsets` creates it with the coordinator's settings.
//! Answers name the listener that was asked. Auto-creation answers with the created topic at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId as WireBrokerId, MetadataRequest, MetadataResponse, TopicName};
use tidegate_metadata::Image;
use tidegate_metadata::rows::{Broker as BrokerRow, Partition as PartitionRow, Topic};

use super::errors::Code;
use super::topics::{auto_create, is_valid_name};
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::internal_topics::is_internal;

/// What anybody may do to a topic, as a bit per `AclOperation`: everything that there is, without an authorizer.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// As [`TOPIC_OPERATIONS`], of the cluster.
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// "Not asked for" in the authorized-operations bit fields.
pub const OPERATIONS_UNASKED: i32 = i32::MIN;

/// Topics are asked for by id from this version on.
const TOPIC_IDS_FROM: i16 = 12;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: MetadataRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let version = context.version();
    let listener = &context.client.listener;
    // v0 has no null: an empty list asks for all.
    let asked = request.topics.filter(|t| version > 0 || !t.is_empty());
    if let Some(list) = &asked
        && version < TOPIC_IDS_FROM
        && list.iter().any(|t| t.name.is_none() || !t.topic_id.is_nil())
    {
        return context.answer(&refused(list, Code::InvalidRequest));
    }
    let may_create = (version < 4 || request.allow_auto_topic_creation) && broker.config.topics.auto_create;
    if let Some(topics) = &asked
        && may_create
    {
        create_missing(broker, topics).await;
    }
    let image = broker.metadata.image();
    let mut topics: Vec<MetadataResponseTopic> = match &asked {
        None => image.topics().map(|t| known(&image, t)).collect(),
        Some(list) => {
            let mut seen = BTreeSet::new();
            // A topic that is named twice is described once.
            let once = list.iter().filter(|t| seen.insert((t.name.as_ref().map(|n| n.as_str()), t.topic_id)));
            once.map(|t| one(&image, t)).collect()
        }
    };
    if (8..).contains(&version) && request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|t| t.error_code == 0) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let brokers = image.brokers().filter(|b| !b.fenced).filter_map(|b| on_listener(b, listener)).collect();
    let response = MetadataResponse::default()
        .with_brokers(brokers)
        .with_cluster_id(Some(text(broker.cluster_id())))
        .with_controller_id(WireBrokerId(broker.node.0))
        .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_UNASKED
        })
        .with_topics(topics);
    context.answer(&response)
}

async fn create_missing(broker: &Arc<Broker>, asked: &[MetadataRequestTopic]) {
    let image = broker.metadata.image();
    let names = asked.iter().filter_map(|t| t.name.as_ref());
    let missing: Vec<&TopicName> =
        names.filter(|n| image.topic_by_name(n).is_none() && is_valid_name(n).is_ok()).collect();
    for name in missing {
        if let Err(error) = auto_create(broker, name).await {
            tracing::warn!(topic = name.as_str(), %error, "a topic could not be created on first use");
        }
    }
}

/// The whole request is refused: no broker is named, and no cluster, as in Kafka.
fn refused(asked: &[MetadataRequestTopic], code: Code) -> MetadataResponse {
    let topics = asked.iter().map(|t| {
        MetadataResponseTopic::default()
            .with_error_code(code.into())
            .with_name(Some(t.name.clone().unwrap_or_default()))
            .with_topic_id(t.topic_id)
            .with_topic_authorized_operations(OPERATIONS_UNASKED)
    });
    MetadataResponse::default()
        .with_cluster_id(None)
        .with_controller_id(WireBrokerId(-1))
        .with_cluster_authorized_operations(OPERATIONS_UNASKED)
        .with_topics(topics.collect())
}

fn one(image: &Image, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
    let by_id = !asked.topic_id.is_nil();
    let failed = |code: Code| {
        let topic = MetadataResponseTopic::default()
            .with_error_code(code.into())
            .with_topic_authorized_operations(OPERATIONS_UNASKED);
        if by_id {
            topic.with_topic_id(asked.topic_id).with_name(None)
        } else {
            topic.with_name(asked.name.clone())
        }
    };
    if by_id {
        return match image.topic_by_id(asked.topic_id) {
            Some(topic) => known(image, topic),
            None => failed(Code::UnknownTopicId),
        };
    }
    let Some(name) = &asked.name else {
        return failed(Code::InvalidRequest).with_name(Some(TopicName::default()));
    };
    match (image.topic_by_name(name), is_valid_name(name)) {
        (Some(topic), _) => known(image, topic),
        (None, Ok(())) => failed(Code::UnknownTopicOrPartition),
        (None, Err(_)) => failed(Code::InvalidTopicException),
    }
}

fn known(image: &Image, topic: &Topic) -> MetadataResponseTopic {
    let partitions = image.partitions(topic.id).map(|p| partition(image, topic, p)).collect();
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&*topic.name))))
        .with_topic_id(topic.id)
        .with_is_internal(is_internal(&topic.name))
        .with_topic_authorized_operations(OPERATIONS_UNASKED)
        .with_partitions(partitions)
}

fn partition(image: &Image, topic: &Topic, row: &PartitionRow) -> MetadataResponsePartition {
    let index = i32::try_from(row.index).unwrap_or(i32::MAX);
    let answer = MetadataResponsePartition::default()
        .with_partition_index(index)
        .with_leader_epoch(row.leader_epoch.0);
    let leader = row.owner.filter(|o| image.is_live(o.incarnation)).map(|o| o.broker);
    let replicas = replicas(image, topic, leader);
    let (code, leader) = match leader {
        Some(id) => (Code::None, WireBrokerId(id.0)),
        None => (Code::LeaderNotAvailable, WireBrokerId(-1)),
    };
    answer
        .with_error_code(code.into())
        .with_leader_id(leader)
        .with_isr_nodes(replicas.clone())
        .with_replica_nodes(replicas)
}

/// The owner first, then other live brokers in id order, up to the replication factor.
#[must_use]
pub fn replicas(
    image: &Image,
    topic: &Topic,
    leader: Option<tidegate_common::BrokerId>,
) -> Vec<WireBrokerId> {
    let others = image.brokers().filter(|b| !b.fenced && Some(b.id) != leader).map(|b| b.id);
    leader
        .into_iter()
        .chain(others)
        .take(usize::from(topic.replication_factor.max(1)))
        .map(|id| WireBrokerId(id.0))
        .collect()
}

fn on_listener(row: &BrokerRow, listener: &str) -> Option<MetadataResponseBroker> {
    let endpoint = row.endpoints.iter().find(|e| e.listener == listener)?;
    Some(
        MetadataResponseBroker::default()
            .with_node_id(WireBrokerId(row.id.0))
            .with_host(text(endpoint.host.as_str()))
            .with_port(endpoint.port.into())
            .with_rack(row.rack.as_deref().map(text)),
    )
}
