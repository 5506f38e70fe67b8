//! OffsetCommit (key 8) v2 to v10, OffsetFetch (key 9) v1 to v10, OffsetDelete (key 47) v0.
//! KIP-447 (require stable), KIP-496 (delete), KIP-709 (several groups), KIP-848 (member epochs), KIP-1082 and KIP-516
//! (topic ids, v10).
//!
//! Behaviour: an offset is committed when its record is released, and a fetch sees what is admitted and waits until that
//! is released: both are linearizable. While the group loads both answer COORDINATOR_LOAD_IN_PROGRESS, never an offset.
//! OffsetFetch v1 has no place for an error of the group, so each partition carries it (KAFKA-19246).
//! Left out: offsets of open transactions, so `require_stable` changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use tidegate_groups::api::CommitOffset;
use tidegate_groups::{Call, Committed, OffsetCommit, OffsetDelete, Shard};
use tidegate_metadata::Image;
use uuid::Uuid;

use super::errors::Code;
use super::groups::{answer, code_of, number};
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::coordinator::{After, Failure};

const TOPIC_IDS_FROM: i16 = 10;
/// From here on one OffsetFetch asks for several groups.
const GROUPS_FROM: i16 = 8;
/// From here on OffsetFetch has an error of its own.
const ERROR_FROM: i16 = 2;
const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

pub async fn commit(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: OffsetCommitRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let version = context.version();
    let image = broker.metadata.image();
    let names: Vec<Option<&str>> = request.topics.iter().map(|t| name_of(&image, t, version)).collect();
    let topics = || request.topics.iter().zip(&names);
    for id in names.iter().flatten().filter_map(|n| image.topic_by_name(n)).map(|t| t.id) {
        // Offsets of a deleted topic of the same name go before its successor's come.
        if !broker.coordinator.has_followed(id) {
            broker.follow_image();
        }
    }
    let offsets: Vec<CommitOffset<'_>> = topics()
        .filter_map(|(topic, name)| Some((topic, (*name)?)))
        .flat_map(|(topic, name)| {
            topic.partitions.iter().map(move |p| CommitOffset {
                topic: name,
                topic_id: topic.topic_id,
                partition: p.partition_index,
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata: p.committed_metadata.as_deref(),
            })
        })
        .collect();
    let ask = OffsetCommit {
        version,
        group: &request.group_id,
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        generation: request.generation_id_or_member_epoch,
        retention_ms: request.retention_time_ms,
        offsets: &offsets,
    };
    let known = |topic: &str, partition: i32| has_partition(&image, topic, partition);
    let (outcomes, after): (Vec<i16>, After) = if offsets.is_empty() {
        (Vec::new(), After::default())
    } else {
        let done = match broker.coordinator.shard_of(broker, ask.group) {
            Ok(shard) => {
                let bytes_max = broker.coordinator.config.record_bytes_max(Call::Commit(&ask));
                shard.write(broker, bytes_max, |s, now, out| s.commit_offsets(now, &ask, &known, out)).await
            }
            Err(code) => Err(code.into()),
        };
        match done {
            Ok(done) => (done.value.iter().map(number).collect(), done.after),
            Err(failure) => {
                let code = code_of(failure)?;
                let missing = |o: &CommitOffset<'_>| !known(o.topic, o.partition);
                let told =
                    offsets.iter().map(|o| if missing(o) { Code::UnknownTopicOrPartition } else { code });
                (told.map(i16::from).collect(), After::default())
            }
        }
    };
    let mut outcomes = outcomes.into_iter();
    let answers = topics().map(|(topic, name)| {
        let partitions = topic.partitions.iter().map(|p| {
            let code = match name {
                Some(_) => outcomes.next().unwrap_or(Code::UnknownServerError.into()),
                None => Code::UnknownTopicId.into(),
            };
            broker.note_code(context.head.api_key, code);
            OffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
    });
    let response = OffsetCommitResponse::default().with_topics(answers.collect());
    answer(broker, context, after, &response).await
}

fn name_of<'a>(image: &'a Image, topic: &'a OffsetCommitRequestTopic, version: i16) -> Option<&'a str> {
    if version < TOPIC_IDS_FROM {
        return Some(&topic.name);
    }
    image.topic_by_id(topic.topic_id).map(|t| &*t.name)
}

fn has_partition(image: &Image, topic: &str, partition: i32) -> bool {
    image.topic_by_name(topic).is_some_and(|t| image.partition(t.id, partition).is_some())
}

/// One group's question: `topics` None asks for all.
struct Asked {
    group: GroupId,
    topics: Option<Vec<OffsetFetchRequestTopics>>,
}

/// One group's answer.
type Fetched = Result<Vec<OffsetFetchResponseTopics>, Code>;

pub async fn fetch(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: OffsetFetchRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let version = context.version();
    let asked = questions(request, version);
    let image = broker.metadata.image();
    let mut after = After::default();
    let mut groups = Vec::new();
    for ask in asked {
        let shard = broker.coordinator.shard_of(broker, &ask.group).map_err(Failure::Code);
        let fetched = match shard.and_then(|shard| shard.read(|s| fetch_one(s, &image, &ask, version))) {
            Ok(done) => {
                after = after.max(done.after);
                Ok(done.value)
            }
            Err(failure) => Err(code_of(failure)?),
        };
        if let Err(code) = &fetched {
            broker.note_error(context.head.api_key, *code);
        }
        groups.push((ask, fetched));
    }
    let response = if version >= GROUPS_FROM {
        let told = groups.into_iter().map(|(ask, fetched)| {
            let group = OffsetFetchResponseGroup::default().with_group_id(ask.group);
            match fetched {
                Ok(topics) => group.with_topics(topics),
                Err(code) => group.with_error_code(code.into()),
            }
        });
        OffsetFetchResponse::default().with_groups(told.collect())
    } else {
        let (ask, fetched) = groups.remove(0);
        one_group(&ask, fetched, version)
    };
    answer(broker, context, after, &response).await
}

fn questions(request: OffsetFetchRequest, version: i16) -> Vec<Asked> {
    if version >= GROUPS_FROM {
        return request.groups.into_iter().map(|g| Asked { group: g.group_id, topics: g.topics }).collect();
    }
    let topics = request.topics.map(|topics| {
        let named = topics.into_iter().map(|t| {
            OffsetFetchRequestTopics::default().with_name(t.name).with_partition_indexes(t.partition_indexes)
        });
        named.collect()
    });
    vec![Asked { group: request.group_id, topics }]
}

fn fetch_one(shard: &Shard, image: &Image, ask: &Asked, version: i16) -> Vec<OffsetFetchResponseTopics> {
    let by_id = version >= TOPIC_IDS_FROM;
    let Some(topics) = &ask.topics else {
        let mut all = BTreeMap::<&str, Vec<OffsetFetchResponsePartitions>>::new();
        for (topic, partition, committed) in shard.offsets(&ask.group) {
            all.entry(topic).or_default().push(found(partition, Some(committed)));
        }
        // An id cannot be told of a topic that is gone.
        return all
            .into_iter()
            .filter_map(|(name, partitions)| {
                let id = if by_id { image.topic_by_name(name)?.id } else { Uuid::nil() };
                Some(one_topic(TopicName(text(name)), id, by_id).with_partitions(partitions))
            })
            .collect();
    };
    topics
        .iter()
        .map(|topic| {
            let named = image.topic_by_id(topic.topic_id).map(|t| &*t.name);
            let name = if by_id { named } else { Some(&*topic.name.0) };
            let partitions = topic.partition_indexes.iter().map(|partition| match name {
                None => found(*partition, None).with_error_code(Code::UnknownTopicId.into()),
                Some(name) => found(*partition, shard.offset(&ask.group, name, topic.topic_id, *partition)),
            });
            one_topic(topic.name.clone(), topic.topic_id, by_id).with_partitions(partitions.collect())
        })
        .collect()
}

fn one_topic(name: TopicName, id: Uuid, by_id: bool) -> OffsetFetchResponseTopics {
    let topic = OffsetFetchResponseTopics::default();
    if by_id { topic.with_topic_id(id) } else { topic.with_name(name) }
}

fn found(partition: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(committed.map_or(NO_OFFSET, |c| c.offset))
        .with_committed_leader_epoch(committed.map_or(NO_EPOCH, |c| c.leader_epoch))
        .with_metadata(Some(text(committed.map_or("", |c| &*c.metadata))))
}

/// The form of versions 1 to 7.
fn one_group(ask: &Asked, fetched: Fetched, version: i16) -> OffsetFetchResponse {
    let (topics, code) = match fetched {
        Ok(topics) => (topics, Code::None),
        Err(code) if version >= ERROR_FROM => (Vec::new(), code),
        Err(code) => {
            let refused = ask.topics.iter().flatten().map(|topic| {
                let partitions = topic
                    .partition_indexes
                    .iter()
                    .map(|partition| found(*partition, None).with_error_code(code.into()));
                one_topic(topic.name.clone(), Uuid::nil(), false).with_partitions(partitions.collect())
            });
            (refused.collect(), Code::None)
        }
    };
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|p| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_committed_offset(p.committed_offset)
                .with_committed_leader_epoch(p.committed_leader_epoch)
                .with_metadata(p.metadata)
                .with_error_code(p.error_code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect()).with_error_code(code.into())
}

pub async fn delete(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: OffsetDeleteRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let image = broker.metadata.image();
    let partitions: Vec<(&str, i32)> = request
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (&*t.name.0 as &str, p.partition_index)))
        .collect();
    let ask = OffsetDelete { group: &request.group_id, partitions: &partitions };
    let known = |topic: &str, partition: i32| has_partition(&image, topic, partition);
    let done = match broker.coordinator.shard_of(broker, ask.group) {
        Ok(shard) => {
            let bytes_max = broker.coordinator.config.record_bytes_max(Call::DeleteOffsets(&ask));
            shard.write(broker, bytes_max, |s, now, out| s.delete_offsets(now, &ask, &known, out)).await
        }
        Err(code) => Err(code.into()),
    };
    let done = match done {
        Ok(done) => done,
        Err(failure) => {
            let code = code_of(failure)?;
            return context.answer(&OffsetDeleteResponse::default().with_error_code(code.into()));
        }
    };
    let response = match &done.value {
        Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
        Ok(outcomes) => {
            let mut outcomes = outcomes.iter();
            let topics = request.topics.iter().map(|topic| {
                let told = topic.partitions.iter().map(|p| {
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(p.partition_index)
                        .with_error_code(outcomes.next().map_or(0, number))
                });
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(told.collect())
            });
            OffsetDeleteResponse::default().with_topics(topics.collect())
        }
    };
    answer(broker, context, done.after, &response).await
}
