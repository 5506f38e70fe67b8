//! DescribeTopicPartitions (key 75), v0. KIP-966.
//!
//! Behaviour: topics by name, from the cursor on; at most `response_partition_limit` partitions and never more than
//! `max.request.partition.size.limit`; the next cursor where it ends early. Every replica is in sync, so there are no
//! eligible leader replicas beside them.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId as WireBrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use tidegate_metadata::Image;
use tidegate_metadata::rows::{Partition, Topic};

use super::errors::Code;
use super::metadata::{TOPIC_OPERATIONS, replicas};
use super::topics::is_valid_name;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::internal_topics::is_internal;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeTopicPartitionsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let image = broker.metadata.image();
    let limit = broker.config.topics.request_partitions_max.min(request.response_partition_limit).max(1);
    let limit = usize::try_from(limit).unwrap_or(1);
    let start = request.cursor.as_ref().map(|c| (c.topic_name.as_str(), c.partition_index));
    let asked: BTreeSet<&str> = request.topics.iter().map(|t| t.name.as_str()).collect();
    let answer = if asked.is_empty() {
        let names = image.topics().map(|t| &*t.name).filter(|n| start.is_none_or(|(first, _)| *n >= first));
        page(&image, names, start, limit)
    } else if start.is_some_and(|(topic, index)| index < 0 || !asked.contains(topic)) {
        // The cursor is not of this list, or not a partition's.
        let topics = asked.into_iter().map(|n| failed(n, Code::InvalidRequest, i32::MIN)).collect();
        DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(None)
    } else {
        let names = asked.into_iter().filter(|n| start.is_none_or(|(first, _)| *n >= first));
        page(&image, names, start, limit)
    };
    context.answer(&answer)
}

fn page<'a>(
    image: &Image,
    names: impl Iterator<Item = &'a str>,
    start: Option<(&str, i32)>,
    limit: usize,
) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default().with_next_cursor(None);
    let mut left = limit;
    for name in names {
        if left == 0 {
            response.next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = image.topic_by_name(name) else {
            let code = match is_valid_name(name) {
                Ok(()) => Code::UnknownTopicOrPartition,
                Err(_) => Code::InvalidTopicException,
            };
            response.topics.push(failed(name, code, TOPIC_OPERATIONS));
            continue;
        };
        let first = start.filter(|(at, _)| *at == name).map_or(0, |(_, index)| index);
        let first = usize::try_from(first).unwrap_or(0).min(topic.partitions.len());
        let streams = topic.partitions.iter().skip(first).take(left);
        let partitions: Vec<_> =
            streams.filter_map(|s| image.stream(*s)).map(|p| partition(image, topic, p)).collect();
        let end = first + partitions.len();
        left -= partitions.len();
        response.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(text(name))))
                .with_topic_id(topic.id)
                .with_is_internal(is_internal(name))
                .with_partitions(partitions)
                .with_topic_authorized_operations(TOPIC_OPERATIONS),
        );
        if end < topic.partitions.len() {
            response.next_cursor = Some(cursor(name, i32::try_from(end).unwrap_or(i32::MAX)));
            break;
        }
    }
    response
}

fn cursor(topic: &str, index: i32) -> Cursor {
    Cursor::default().with_topic_name(TopicName(text(topic))).with_partition_index(index)
}

fn failed(name: &str, code: Code, operations: i32) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_error_code(code.into())
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(operations)
}

fn partition(image: &Image, topic: &Topic, row: &Partition) -> DescribeTopicPartitionsResponsePartition {
    let leader = row.owner.filter(|o| image.is_live(o.incarnation)).map(|o| o.broker);
    let replicas = replicas(image, topic, leader);
    let code = if leader.is_some() { Code::None } else { Code::LeaderNotAvailable };
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(code.into())
        .with_partition_index(i32::try_from(row.index).unwrap_or(i32::MAX))
        .with_leader_id(WireBrokerId(leader.map_or(-1, |id| id.0)))
        .with_leader_epoch(row.leader_epoch.0)
        .with_isr_nodes(replicas.clone())
        .with_replica_nodes(replicas)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
