//! DescribeProducers (key 61), v0. KIP-664.
//!
//! Behaviour: the producer state of a partition, by its owner: producer id, epoch, last sequence and last timestamp.
//! No transaction is open, so the start of one is -1, and so is the epoch of a coordinator.

use std::sync::Arc;

use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use tidegate_metadata::Image;

use super::errors::Code;
use super::topics::is_valid_name;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::partitions::Missing;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeProducersRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let image = broker.metadata.image();
    let mut response = DescribeProducersResponse::default();
    for topic in request.topics {
        let mut answer = TopicResponse::default().with_name(topic.name.clone());
        for index in topic.partition_indexes {
            let found = match producers(broker, &image, &topic.name, index).await {
                Ok(active) => {
                    PartitionResponse::default().with_error_message(None).with_active_producers(active)
                }
                Err((code, why)) => PartitionResponse::default()
                    .with_error_code(code.into())
                    .with_error_message(why.map(text)),
            };
            answer.partitions.push(found.with_partition_index(index));
        }
        response.topics.push(answer);
    }
    context.answer(&response)
}

async fn producers(
    broker: &Broker,
    image: &Image,
    topic: &str,
    index: i32,
) -> Result<Vec<ProducerState>, (Code, Option<String>)> {
    is_valid_name(topic).map_err(|why| (Code::InvalidTopicException, Some(why)))?;
    let row = image.topic_by_name(topic).ok_or_else(|| {
        (Code::UnknownTopicOrPartition, Some("This server does not host this topic-partition.".to_owned()))
    })?;
    let partition = broker.partitions.get(image, row.id, index).map_err(|missing| match missing {
        Missing::Unknown => (Code::UnknownTopicOrPartition, None),
        Missing::NotOwner => (Code::NotLeaderOrFollower, None),
    })?;
    partition.ensure_loaded().await.map_err(|error| {
        tracing::error!(stream = partition.stream_id().0, %error, "producer state cannot be loaded");
        (Code::KafkaStorageError, Some("producer state cannot be loaded".to_owned()))
    })?;
    let active = partition.producers().into_iter().map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(producer.epoch.into())
            .with_last_sequence(producer.batches.back().map_or(-1, |b| b.last_sequence))
            .with_last_timestamp(producer.batches.back().map_or(-1, |b| b.timestamp))
            .with_coordinator_epoch(-1)
            .with_current_txn_start_offset(-1)
    });
    Ok(active.collect())
}
