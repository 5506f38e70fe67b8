//! ListOffsets (key 2), v1 to v10. KIP-734 (max timestamp), KIP-405 and KIP-1005 (tiers), KIP-207 (epochs).
//!
//! Behaviour: a time look-up finds the batch by its head and only then looks into it; a body that cannot be read as
//! records answers with the batch's base offset and maximum timestamp, so that it harms nobody but its reader.
//! One tier: the earliest local offset is the log start, nothing is ever "tiered" (KIP-1005 answers -1).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tidegate_common::{Batch, Offset};
use tidegate_wire::records::{RecordCaps, offset_of_max_timestamp, offset_of_timestamp};

use super::errors::Code;
use super::fetch::{epoch_error, read_error};
use super::{Answer, Close, Context};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::partitions::Missing;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const UNKNOWN_OFFSET: i64 = -1;
const READ_COMMITTED: i8 = 1;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: ListOffsetsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let image = broker.metadata.image();
    let mut times = BTreeMap::<(String, i32), u32>::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            *times.entry((topic.name.to_string(), asked.partition_index)).or_default() += 1;
        }
    }
    let mut response = ListOffsetsResponse::default();
    for topic in request.topics {
        let row = image.topic_by_name(&topic.name);
        let mut answer = ListOffsetsTopicResponse::default().with_name(topic.name.clone());
        for asked in topic.partitions {
            let index = asked.partition_index;
            // A partition that is there twice is answered once, as in Kafka.
            let outcome = match times.insert((topic.name.to_string(), index), 0) {
                Some(0) | None => continue,
                Some(2..) => Err(Code::InvalidRequest),
                Some(1) => match row.map(|t| broker.partitions.get(&image, t.id, index)) {
                    None | Some(Err(Missing::Unknown)) => Err(Code::UnknownTopicOrPartition),
                    Some(Err(Missing::NotOwner)) => Err(Code::NotLeaderOrFollower),
                    Some(Ok(partition)) => {
                        look_up(&partition, &asked, context.version(), request.isolation_level).await
                    }
                },
            };
            let found = outcome.unwrap_or_else(|code| {
                ListOffsetsPartitionResponse::default()
                    .with_error_code(code.into())
                    .with_offset(UNKNOWN_OFFSET)
                    .with_timestamp(-1)
            });
            answer.partitions.push(found.with_partition_index(index));
        }
        response.topics.push(answer);
    }
    context.answer(&response)
}

async fn look_up(
    partition: &Partition,
    asked: &ListOffsetsPartition,
    version: i16,
    isolation_level: i8,
) -> Result<ListOffsetsPartitionResponse, Code> {
    if asked.timestamp < first_special(version) {
        return Err(Code::UnsupportedVersion);
    }
    let view = partition.view();
    if let Some(code) = epoch_error(asked.current_leader_epoch, view.epoch) {
        return Err(code);
    }
    let end = if isolation_level == READ_COMMITTED { view.last_stable_offset } else { view.high_watermark };
    let failed = |e: tidegate_s3stream::stream::ReadError| read_error(partition, &e);
    let (offset, timestamp) = match asked.timestamp {
        LATEST => (end.0, -1),
        EARLIEST | EARLIEST_LOCAL => (view.log_start.0, -1),
        LATEST_TIERED => (UNKNOWN_OFFSET, -1),
        MAX_TIMESTAMP => {
            let batch =
                partition.stream().batch_of_max_timestamp(view.log_start, end).await.map_err(failed)?;
            batch.map_or((UNKNOWN_OFFSET, -1), |b| max_in(&b))
        }
        at_least => first_at_or_after(partition, at_least, view.log_start, end).await.map_err(failed)?,
    };
    let mut found = ListOffsetsPartitionResponse::default().with_offset(offset).with_timestamp(timestamp);
    if offset >= 0 && version >= 4 {
        partition.ensure_loaded().await.map_err(failed)?;
        found.leader_epoch = match asked.timestamp {
            LATEST => view.epoch.0,
            _ => partition.epoch_at(Offset(offset)).map_or(-1, |e| e.0),
        };
    }
    Ok(found)
}

/// The lowest special value a version knows.
fn first_special(version: i16) -> i64 {
    match version {
        ..=6 => EARLIEST,
        7 => MAX_TIMESTAMP,
        8 => EARLIEST_LOCAL,
        _ => LATEST_TIERED,
    }
}

/// The first record in `[log_start, end)` at or after a time. A head may promise a time that lies below the log start, or
/// that no record of the batch has: then the search goes on behind that batch.
async fn first_at_or_after(
    partition: &Partition,
    at_least: i64,
    log_start: Offset,
    end: Offset,
) -> Result<(i64, i64), tidegate_s3stream::stream::ReadError> {
    let mut from = log_start;
    while let Some(batch) = partition.stream().batch_at_timestamp(at_least, from, end).await? {
        match offset_of_timestamp(&batch, at_least, log_start, &RecordCaps::default()) {
            Ok(Some((offset, timestamp))) => return Ok((offset.0, timestamp)),
            Ok(None) => from = batch.head.next_offset(),
            Err(_) => return Ok((batch.head.base_offset().max(log_start).0, batch.head.max_timestamp())),
        }
    }
    Ok((UNKNOWN_OFFSET, -1))
}

fn max_in(batch: &Batch) -> (i64, i64) {
    match offset_of_max_timestamp(batch, &RecordCaps::default()) {
        Ok(Some((offset, timestamp))) => (offset.0, timestamp),
        _ => (batch.head.base_offset().0, batch.head.max_timestamp()),
    }
}
