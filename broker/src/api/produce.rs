//! Produce (key 0), v3 to v13; advertised from 0 as in Kafka. KIP-98 (idempotence), KIP-467 (record errors),
//! KIP-516 (topic ids, v13).
//!
//! Behaviour: header fields decide about a batch; the body stays opaque (docs/compat.md says what follows from that).
//! Internal topics are written by coordinators, and by clients only under the id of Kafka's tools, as in Kafka 4.1.
//! acks 1 and -1 both answer after release; acks 0 answers nothing and closes the connection on an error.
//! Leader hints from v10 (KIP-951). Left out: transactions (INVALID_TXN_STATE).

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use tidegate_metadata::Image;
use tidegate_metadata::rows::Topic;
use tidegate_s3stream::budget::Share;
use tidegate_wal::ReserveError;
use tidegate_wire::produce::{BatchLimits, TimestampLimits, check_timestamps, parse_produce_batch};

use super::errors::Code;
use super::leader_hints;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::coordinator::check_foreign;
use crate::internal_topics::{CONSUMER_OFFSETS, may_write};
use crate::partition::Appended;
use crate::partitions::Missing;
use crate::release::Pending;
use crate::topic_config::TimestampType;

const TOPIC_IDS_FROM: i16 = 13;
const LEADER_HINTS_FROM: i16 = 10;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: ProduceRequest,
) -> Result<Answer, Close> {
    let version = context.version();
    let bytes = request
        .topic_data
        .iter()
        .flat_map(|t| &t.partition_data)
        .map(|p| p.records.as_ref().map_or(0, Bytes::len))
        .sum::<usize>();
    let pending = Pending::new(broker.storage.budget().acquire(Share::Produce, bytes as u64).await);
    let acks_valid = matches!(request.acks, -1..=1);
    let client_id = context.head.client_id.as_deref();
    let image = broker.metadata.image();
    let mut response = ProduceResponse::default();
    let mut failed = None;
    for topic in request.topic_data {
        let found = if version >= TOPIC_IDS_FROM {
            image.topic_by_id(topic.topic_id).ok_or(Code::UnknownTopicId)
        } else {
            image.topic_by_name(&topic.name).ok_or(Code::UnknownTopicOrPartition)
        };
        let mut answer = TopicProduceResponse::default();
        if version >= TOPIC_IDS_FROM {
            answer.topic_id = topic.topic_id;
        } else {
            answer.name = topic.name;
        }
        for data in topic.partition_data {
            let index = data.index;
            let outcome = match (&found, request.transactional_id.is_some(), acks_valid) {
                (_, _, false) => Err(Failure::of(Code::InvalidRequiredAcks, "acks must be -1, 0 or 1")),
                (_, true, _) => Err(Failure::of(Code::InvalidTxnState, "transactions are not served yet")),
                (Err(code), ..) => Err(Failure::bare(*code)),
                (Ok(topic), false, true) if !may_write(&topic.name, client_id) => {
                    Err(Failure::bare(Code::InvalidTopicException))
                }
                (Ok(topic), false, true) => append(broker, &image, topic, data, version, &pending).await,
            };
            let partition = match outcome {
                Ok(done) => done.with_index(index),
                Err(Failure::Dead) => return Err(Close("the log takes no more records".into())),
                Err(Failure::Code(code, message)) => {
                    broker.note_error(context.head.api_key, code);
                    failed.get_or_insert(code);
                    let mut refused = refused(code, message).with_index(index);
                    if let Ok(topic) = &found
                        && version >= LEADER_HINTS_FROM
                    {
                        let listener = &context.client.listener;
                        let endpoints = &mut response.node_endpoints;
                        leader_hints::in_produce(&image, topic.id, listener, &mut refused, endpoints);
                    }
                    refused
                }
            };
            answer.partition_responses.push(partition);
        }
        response.responses.push(answer);
    }
    if request.acks == 0 {
        // There is no answer to carry an error, so the connection is the answer, as in Kafka.
        return failed
            .map_or(Ok(Answer::None), |code| Err(Close(format!("produce with acks=0 failed: {code:?}"))));
    }
    Ok(Answer::When(pending, context.frame(version, &response)?))
}

enum Failure {
    Code(Code, Option<String>),
    /// The WAL is poisoned or closed: the outcome of what was sent before is unknown, so nothing is answered.
    Dead,
}

impl Failure {
    fn of(code: Code, message: impl Into<String>) -> Self {
        Failure::Code(code, Some(message.into()))
    }

    fn bare(code: Code) -> Self {
        Failure::Code(code, None)
    }
}

async fn append(
    broker: &Broker,
    image: &Image,
    topic: &Topic,
    data: PartitionProduceData,
    version: i16,
    pending: &Arc<Pending>,
) -> Result<PartitionProduceResponse, Failure> {
    let partition = broker.partitions.get(image, topic.id, data.index).map_err(|missing| match missing {
        Missing::Unknown => Failure::bare(Code::UnknownTopicOrPartition),
        Missing::NotOwner => Failure::bare(Code::NotLeaderOrFollower),
    })?;
    let settings = partition.settings();
    let limits = BatchLimits { max_message_bytes: settings.message_bytes_max as usize };
    let mut batch =
        parse_produce_batch(data.records.unwrap_or_default(), version, &limits).map_err(refusal)?;
    if batch.head.is_transactional() {
        return Err(Failure::of(Code::InvalidTxnState, "transactions are not served yet"));
    }
    let now_ms = broker.clock.wall_ms();
    let timestamps = TimestampLimits {
        log_append_time: settings.timestamp_type == TimestampType::LogAppendTime,
        before_max_ms: settings.timestamp_before_ms_max,
        after_max_ms: settings.timestamp_after_ms_max,
    };
    check_timestamps(&batch.head, &timestamps, now_ms).map_err(refusal)?;
    let mut log_append_time_ms = -1;
    if timestamps.log_append_time {
        batch.head.set_log_append_time(now_ms);
        batch.reseal();
        log_append_time_ms = now_ms;
    }
    if &*topic.name == CONSUMER_OFFSETS {
        check_foreign(&broker.coordinator.config, &batch)
            .map_err(|e| Failure::of(Code::InvalidRecord, e.to_string()))?;
    }
    // What can fail or wait comes before the partition's lock: producer state, then the WAL's permit.
    partition.ensure_loaded().await.map_err(|e| {
        tracing::error!(stream = partition.stream_id().0, error = %e, "producer state cannot be loaded");
        Failure::of(Code::KafkaStorageError, "producer state cannot be loaded")
    })?;
    let permit = broker.releaser.wal().reserve(batch.len()).await.map_err(|e| match e {
        ReserveError::Full { .. } | ReserveError::Busy => Failure::of(Code::NotEnoughReplicas, e.to_string()),
        ReserveError::TooLarge { .. } => Failure::of(Code::MessageTooLarge, e.to_string()),
        ReserveError::Closed => Failure::Dead,
    })?;
    let (bytes, count) = (batch.len(), u64::try_from(batch.head.records_count()).unwrap_or(0));
    let done = PartitionProduceResponse::default().with_log_append_time_ms(log_append_time_ms);
    match partition.append(&broker.releaser, permit, batch, pending) {
        Appended::At { base, log_start, .. } => {
            let records = &broker.metrics.records;
            records.produce_bytes.inc_by(bytes as u64);
            records.produce_batches.inc();
            records.produce_records.inc_by(count);
            Ok(done.with_base_offset(base.0).with_log_start_offset(log_start.0))
        }
        Appended::Duplicate { original, log_start } => {
            let time = if timestamps.log_append_time { original.timestamp } else { -1 };
            Ok(done
                .with_base_offset(original.base_offset.0)
                .with_log_append_time_ms(time)
                .with_log_start_offset(log_start.0))
        }
        Appended::OldProducerEpoch { current } => {
            Err(Failure::of(Code::InvalidProducerEpoch, format!("the producer's current epoch is {current}")))
        }
        Appended::OutOfOrder { expected } => {
            Err(Failure::of(Code::OutOfOrderSequenceNumber, format!("the next sequence is {expected}")))
        }
        Appended::NotOwner => Err(Failure::bare(Code::NotLeaderOrFollower)),
    }
}

fn refusal(refusal: tidegate_wire::produce::BatchRefusal) -> Failure {
    Failure::of(Code::from_i16(refusal.code()).unwrap_or(Code::InvalidRecord), refusal.to_string())
}

fn refused(code: Code, message: Option<String>) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_error_code(code.into())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
        .with_error_message(message.map(text))
}
