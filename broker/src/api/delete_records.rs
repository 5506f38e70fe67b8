//! DeleteRecords (key 21), v0 to v2. KIP-107.
//!
//! Behaviour: the log start moves up in metadata first, then here; -1 stands for the high watermark; the answer
//! carries the new log start. Internal topics are refused: their coordinator keeps them short. Bytes go once no object needs them and the grace is over.

use std::sync::Arc;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use tidegate_common::Offset;

use super::errors::{Code, of_proposal};
use super::{Answer, Close, Context};
use crate::broker::Broker;
use crate::internal_topics::is_internal;
use crate::partitions::Missing;

const HIGH_WATERMARK: i64 = -1;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DeleteRecordsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let mut answer = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
        for asked in topic.partitions {
            let outcome = delete(broker, &topic.name, asked.partition_index, asked.offset).await;
            let found = match outcome {
                Ok(log_start) => DeleteRecordsPartitionResult::default().with_low_watermark(log_start.0),
                Err(code) => DeleteRecordsPartitionResult::default()
                    .with_low_watermark(-1)
                    .with_error_code(code.into()),
            };
            answer.partitions.push(found.with_partition_index(asked.partition_index));
        }
        response.topics.push(answer);
    }
    context.answer(&response)
}

async fn delete(broker: &Broker, topic: &str, index: i32, offset: i64) -> Result<Offset, Code> {
    if is_internal(topic) {
        return Err(Code::InvalidTopicException);
    }
    let image = broker.metadata.image();
    let row = image.topic_by_name(topic).ok_or(Code::UnknownTopicOrPartition)?;
    let partition = broker.partitions.get(&image, row.id, index).map_err(|missing| match missing {
        Missing::Unknown => Code::UnknownTopicOrPartition,
        Missing::NotOwner => Code::NotLeaderOrFollower,
    })?;
    let high_watermark = partition.view().high_watermark;
    let to = if offset == HIGH_WATERMARK { high_watermark } else { Offset(offset) };
    if to < Offset::ZERO || to > high_watermark {
        return Err(Code::OffsetOutOfRange);
    }
    broker.advance_log_start(&partition, to).await.map_err(|e| of_proposal(&e))
}
