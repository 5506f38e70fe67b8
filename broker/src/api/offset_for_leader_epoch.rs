//! OffsetForLeaderEpoch (key 23), v2 to v4. KIP-101, KIP-320.
//!
//! Behaviour: the largest epoch not above the asked one and where it ends, as far as that is visible; -1, -1 when
//! undefined. Answered from state that is loaded, never from an empty cache.

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use tidegate_common::LeaderEpoch;

use super::errors::Code;
use super::fetch::{epoch_error, read_error};
use super::{Answer, Close, Context};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::partitions::Missing;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: OffsetForLeaderEpochRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let image = broker.metadata.image();
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let row = image.topic_by_name(&topic.topic);
        let mut answer = OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone());
        for asked in topic.partitions {
            let outcome = match row.map(|t| broker.partitions.get(&image, t.id, asked.partition)) {
                None | Some(Err(Missing::Unknown)) => Err(Code::UnknownTopicOrPartition),
                Some(Err(Missing::NotOwner)) => Err(Code::NotLeaderOrFollower),
                Some(Ok(partition)) => end_of(&partition, &asked).await,
            };
            let found = outcome.unwrap_or_else(|code| undefined().with_error_code(code.into()));
            answer.partitions.push(found.with_partition(asked.partition));
        }
        response.topics.push(answer);
    }
    context.answer(&response)
}

async fn end_of(partition: &Partition, asked: &OffsetForLeaderPartition) -> Result<EpochEndOffset, Code> {
    if let Some(code) = epoch_error(asked.current_leader_epoch, partition.view().epoch) {
        return Err(code);
    }
    partition.ensure_loaded().await.map_err(|e| read_error(partition, &e))?;
    Ok(match partition.end_of_epoch(LeaderEpoch(asked.leader_epoch)) {
        Some((epoch, end)) => EpochEndOffset::default().with_leader_epoch(epoch.0).with_end_offset(end.0),
        None => undefined(),
    })
}

fn undefined() -> EpochEndOffset {
    EpochEndOffset::default().with_leader_epoch(-1).with_end_offset(-1)
}
