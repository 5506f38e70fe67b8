//! CreateTopics (key 19) v2 to v7, DeleteTopics (key 20) v1 to v6, CreatePartitions (key 37) v0 to v3.
//! KIP-4, KIP-464 (defaults by -1), KIP-516 (topic ids), KIP-525 (configs in the answer).
//!
//! Behaviour: any broker takes them; an answer leaves once this process has applied the entry. A replica assignment
//! names owners: the first broker of each list is taken, the list's length is the replication factor.
//! `replication.factor.policy=strict` refuses more replicas than live brokers, as Kafka does.
//! `__consumer_offsets` keeps its partition count (`internal_topics`); `__cluster_metadata` may not be created.
//! Left out: creation policies and mutation quotas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_common::{BrokerId, TopicId};
use tidegate_metadata::command::CreateTopic;
use tidegate_metadata::{Command, Image, ProposeError, Response};

use super::errors::{Code, of_proposal};
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::config::ReplicationFactorPolicy;
use crate::internal_topics;
use crate::topic_config;

const NAME_LEN_MAX: usize = 249;
/// Partitions that one request may ask for in one topic; a bound on work, far above use. Kafka has one, too.
const PARTITIONS_MAX: i32 = 100_000;
const TOO_MANY_PARTITIONS: &str = "Excessively large number of partitions per request.";

const REPLICATION_FACTOR: &str = "Replication factor must be larger than 0, or -1 to use the default value.";
const DUPLICATE: &str = "Duplicate topic name.";
/// Kafka's own log of metadata; not a topic here, and its name stays free of confusion.
const METADATA_LOG: &str = "__cluster_metadata";

/// A refusal with its code and a text for the user.
type Refused = (Code, String);

pub async fn create(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: CreateTopicsRequest,
) -> Result<Answer, Close> {
    let mut names = BTreeMap::<String, u32>::new();
    for topic in &request.topics {
        *names.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut response = CreateTopicsResponse::default();
    for topic in &request.topics {
        // A name that is there twice is answered once, as in Kafka.
        let outcome = match names.get_mut(topic.name.as_str()) {
            Some(0) | None => continue,
            Some(1) => create_one(broker, topic, request.validate_only).await,
            Some(times) => {
                *times = 0;
                Err((Code::InvalidRequest, DUPLICATE.into()))
            }
        };
        let answer = CreatableTopicResult::default().with_name(topic.name.clone()).with_error_message(None);
        response.topics.push(match outcome {
            Ok(created) => created.into_answer(broker, answer, context.version()),
            Err((code, why)) => refused_topic(answer, code, why, context.version()),
        });
    }
    context.answer(&response)
}

fn refused_topic(
    answer: CreatableTopicResult,
    code: Code,
    why: String,
    version: i16,
) -> CreatableTopicResult {
    let answer = answer.with_error_code(code.into()).with_error_message(Some(text(why)));
    if version >= 5 { answer.with_num_partitions(-1).with_replication_factor(-1) } else { answer }
}

struct Created {
    id: TopicId,
    partitions: u32,
    replication_factor: u16,
    configs: BTreeMap<String, String>,
}

impl Created {
    fn into_answer(
        self,
        broker: &Broker,
        answer: CreatableTopicResult,
        version: i16,
    ) -> CreatableTopicResult {
        let answer = if version >= 7 { answer.with_topic_id(self.id) } else { answer };
        if version < 5 {
            return answer;
        }
        let config = broker.live.load();
        let configs = topic_config::describe(&self.configs, &config, None)
            .into_iter()
            .map(|c| {
                CreatableTopicConfigs::default()
                    .with_name(StrBytes::from_static_str(c.name))
                    .with_value(c.value.map(text))
                    .with_read_only(c.read_only)
                    .with_config_source(c.source.kafka_code())
                    .with_is_sensitive(c.is_sensitive)
            })
            .collect();
        answer
            .with_num_partitions(i32::try_from(self.partitions).unwrap_or(i32::MAX))
            .with_replication_factor(i16::try_from(self.replication_factor).unwrap_or(i16::MAX))
            .with_configs(Some(configs))
    }
}

async fn create_one(
    broker: &Arc<Broker>,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Created, Refused> {
    let image = broker.metadata.image();
    if topic.name.as_str() == METADATA_LOG {
        let why = format!("Creation of internal topic {METADATA_LOG} is prohibited.");
        return Err((Code::InvalidRequest, why));
    }
    is_valid_name(&topic.name).map_err(|why| (Code::InvalidTopicException, why))?;
    if topic.name.as_str() == internal_topics::CLUSTER_METADATA {
        let why = format!("Creation of internal topic {} is prohibited.", topic.name.as_str());
        return Err((Code::InvalidRequest, why));
    }
    if image.topic_by_name(&topic.name).is_some() {
        return Err((Code::TopicAlreadyExists, format!("Topic '{}' already exists.", topic.name.as_str())));
    }
    if let Some(existing) = image.colliding_topic(&topic.name) {
        let why = format!("Topic '{}' collides with existing topic: {existing}", topic.name.as_str());
        return Err((Code::InvalidTopicException, why));
    }
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            return Err((
                Code::InvalidConfig,
                format!("Null value not supported for topic configs: {}", config.name),
            ));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    // What the coordinator itself sets may be set; everything else is judged as for any topic.
    let own = internal_topics::configs(&topic.name, &broker.config);
    let judged = configs.iter().filter(|(name, value)| own.get(*name) != Some(*value));
    let judged = judged.map(|(name, value)| (name.clone(), value.clone())).collect();
    topic_config::validate_all(&judged).map_err(|e| (Code::InvalidConfig, e.to_string()))?;
    for (name, value) in own {
        configs.entry(name).or_insert(value);
    }
    let (partitions, replication_factor, owners) = layout(broker, &image, topic)?;
    let id = broker.random.uuid();
    let created = Created { id, partitions, replication_factor, configs: configs.clone() };
    if validate_only {
        return Ok(Created { id: TopicId::nil(), ..created });
    }
    let command =
        CreateTopic { name: topic.name.to_string(), id, partitions, owners, replication_factor, configs };
    propose_topic(broker, command).await.map_err(|e| (of_proposal(&e), e.to_string()))?;
    Ok(created)
}

fn layout(
    broker: &Broker,
    image: &Image,
    topic: &CreatableTopic,
) -> Result<(u32, u16, Vec<BrokerId>), Refused> {
    if !topic.assignments.is_empty() {
        for (set, what) in [
            (topic.replication_factor != -1, "replicationFactor"),
            (topic.num_partitions != -1, "numPartitions"),
        ] {
            if set {
                let why =
                    format!("A manual partition assignment was specified, but {what} was not set to -1.");
                return Err((Code::InvalidRequest, why));
            }
        }
        return assigned(image, topic);
    }
    let partitions =
        if topic.num_partitions == -1 { broker.config.topics.partitions } else { topic.num_partitions };
    if partitions < 1 {
        let why = "Number of partitions was set to an invalid non-positive value.";
        return Err((Code::InvalidPartitions, why.into()));
    }
    if partitions > PARTITIONS_MAX {
        return Err((Code::PolicyViolation, TOO_MANY_PARTITIONS.into()));
    }
    let factor = if topic.replication_factor == -1 {
        broker.config.topics.replication_factor
    } else {
        topic.replication_factor
    };
    if factor < 1 {
        return Err((Code::InvalidReplicationFactor, REPLICATION_FACTOR.into()));
    }
    let live = image.brokers().filter(|b| !b.fenced).count();
    if broker.config.topics.replication_factor_policy == ReplicationFactorPolicy::Strict
        && usize::from(factor.unsigned_abs()) > live
    {
        let why = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
             reached because only {live} broker(s) are registered."
        );
        return Err((Code::InvalidReplicationFactor, why));
    }
    Ok((partitions.unsigned_abs(), factor.unsigned_abs(), Vec::new()))
}

fn assigned(image: &Image, topic: &CreatableTopic) -> Result<(u32, u16, Vec<BrokerId>), Refused> {
    let refused = |why: String| (Code::InvalidReplicaAssignment, why);
    let mut by_index = BTreeMap::new();
    for assignment in &topic.assignments {
        let replicas: Vec<i32> = assignment.broker_ids.iter().map(|b| b.0).collect();
        if by_index.insert(assignment.partition_index, replicas).is_some() {
            let index = assignment.partition_index;
            return Err(refused(format!(
                "Found multiple manual partition assignments for partition {index}"
            )));
        }
    }
    let consecutive = by_index.keys().copied().eq(0..i32::try_from(by_index.len()).unwrap_or(i32::MAX));
    if !consecutive {
        return Err(refused("partitions should be a consecutive 0-based integer sequence".into()));
    }
    let mut owners = Vec::new();
    let factor = by_index[&0].len();
    for replicas in by_index.values() {
        owners.push(check_replicas(image, replicas, factor)?);
    }
    let partitions = u32::try_from(owners.len()).unwrap_or(u32::MAX);
    Ok((partitions, u16::try_from(factor).unwrap_or(u16::MAX), owners))
}

fn check_replicas(image: &Image, replicas: &[i32], factor: usize) -> Result<BrokerId, Refused> {
    let refused = |why: String| (Code::InvalidReplicaAssignment, why);
    let Some(first) = replicas.first() else {
        return Err(refused("The manual partition assignment includes an empty replica list.".into()));
    };
    let mut seen = BTreeSet::new();
    for id in replicas {
        if image.broker(BrokerId(*id)).is_none_or(|b| b.fenced) {
            return Err(refused(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            )));
        }
        if !seen.insert(id) {
            return Err(refused(format!(
                "The manual partition assignment includes the broker {id} more than once."
            )));
        }
    }
    if replicas.len() != factor {
        return Err(refused(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent \
             with previous partitions, which have {factor} replica(s).",
            replicas.len()
        )));
    }
    Ok(BrokerId(*first))
}

/// Creates a topic that a Metadata request named, with the broker's defaults.
///
/// # Errors
/// What the quorum says; a topic that exists by now is no error.
pub async fn auto_create(broker: &Arc<Broker>, name: &TopicName) -> Result<(), ProposeError> {
    if name.as_str() == internal_topics::CONSUMER_OFFSETS {
        return internal_topics::create_consumer_offsets(broker).await;
    }
    let command = CreateTopic {
        name: name.to_string(),
        id: broker.random.uuid(),
        partitions: broker.config.topics.partitions.unsigned_abs(),
        owners: Vec::new(),
        replication_factor: broker.config.topics.replication_factor.unsigned_abs(),
        configs: BTreeMap::new(),
    };
    match propose_topic(broker, command).await {
        Err(ProposeError::Refused(tidegate_metadata::Refusal::TopicExists(_))) => Ok(()),
        other => other,
    }
}

/// Creates a topic and takes its partitions.
pub(crate) async fn propose_topic(broker: &Arc<Broker>, command: CreateTopic) -> Result<(), ProposeError> {
    if let Response::TopicCreated { streams, .. } =
        broker.metadata.propose_one(Command::CreateTopic(command)).await?
    {
        broker.open_streams(streams).await?;
    }
    Ok(())
}

/// Kafka's rules for topic names.
///
/// # Errors
/// The reason, in Kafka's words.
pub fn is_valid_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > NAME_LEN_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_LEN_MAX}"
        ));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

pub async fn delete(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DeleteTopicsRequest,
) -> Result<Answer, Close> {
    let asked = if context.version() >= 6 {
        request.topics
    } else {
        request.topic_names.into_iter().map(|n| DeleteTopicState::default().with_name(Some(n))).collect()
    };
    let mut times = BTreeMap::<(Option<String>, TopicId), u32>::new();
    let key = |t: &DeleteTopicState| (t.name.as_ref().map(|n| n.as_str().to_owned()), t.topic_id);
    for topic in &asked {
        *times.entry(key(topic)).or_default() += 1;
    }
    let mut response = DeleteTopicsResponse::default();
    for topic in asked {
        // What is there twice is answered once and not deleted, as in Kafka.
        let outcome = match times.get_mut(&key(&topic)) {
            Some(0) | None => continue,
            Some(1) => delete_one(broker, &topic).await,
            Some(times) => {
                *times = 0;
                let why = if topic.topic_id.is_nil() { DUPLICATE } else { "Duplicate topic id." };
                Err((Code::InvalidRequest, why.into()))
            }
        };
        let mut answer = DeletableTopicResult::default().with_name(topic.name.clone());
        if context.version() >= 6 {
            answer.topic_id = topic.topic_id;
        }
        response.responses.push(match outcome {
            Ok((name, id)) => {
                let answer = answer.with_name(Some(TopicName(text(name))));
                if context.version() >= 6 { answer.with_topic_id(id) } else { answer }
            }
            Err((code, why)) => {
                let answer = answer.with_error_code(code.into());
                if context.version() >= 5 { answer.with_error_message(Some(text(why))) } else { answer }
            }
        });
    }
    context.answer(&response)
}

async fn delete_one(broker: &Arc<Broker>, asked: &DeleteTopicState) -> Result<(String, TopicId), Refused> {
    if !broker.config.topics.delete_enabled {
        return Err((Code::TopicDeletionDisabled, "Topic deletion is disabled.".into()));
    }
    let image = broker.metadata.image();
    let by_id = !asked.topic_id.is_nil();
    let found = match (&asked.name, by_id) {
        (Some(_), true) => {
            return Err((Code::InvalidRequest, "You may not specify both topic name and topic id.".into()));
        }
        (Some(name), false) => image.topic_by_name(name).ok_or((
            Code::UnknownTopicOrPartition,
            "This server does not host this topic-partition.".to_owned(),
        ))?,
        (None, true) => image
            .topic_by_id(asked.topic_id)
            .ok_or((Code::UnknownTopicId, "This server does not host this topic ID.".to_owned()))?,
        (None, false) => {
            return Err((Code::InvalidRequest, "Neither topic name nor id were specified.".into()));
        }
    };
    let (name, id) = (found.name.to_string(), found.id);
    broker
        .metadata
        .propose_one(Command::DeleteTopic { topic: id })
        .await
        .map_err(|e| (of_proposal(&e), e.to_string()))?;
    broker.follow_image();
    Ok((name, id))
}

pub async fn create_partitions(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: CreatePartitionsRequest,
) -> Result<Answer, Close> {
    let mut times = BTreeMap::<&str, u32>::new();
    for topic in &request.topics {
        *times.entry(topic.name.as_str()).or_default() += 1;
    }
    let mut response = CreatePartitionsResponse::default();
    for topic in &request.topics {
        // A name that is there twice is answered once, as in Kafka.
        let outcome = match times.get_mut(topic.name.as_str()) {
            Some(0) | None => continue,
            Some(1) => add_partitions(broker, topic, request.validate_only).await,
            Some(times) => {
                *times = 0;
                Err((Code::InvalidRequest, DUPLICATE.into()))
            }
        };
        let answer = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        response.results.push(match outcome {
            Ok(()) => answer,
            Err((code, why)) => answer.with_error_code(code.into()).with_error_message(Some(text(why))),
        });
    }
    context.answer(&response)
}

async fn add_partitions(
    broker: &Arc<Broker>,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refused> {
    let image = broker.metadata.image();
    let unknown =
        || (Code::UnknownTopicOrPartition, "This server does not host this topic-partition.".to_owned());
    let topic = image.topic_by_name(&asked.name).ok_or_else(unknown)?;
    if asked.name.as_str() == internal_topics::CONSUMER_OFFSETS {
        let why =
            "The number of partitions decides where a group lives: offsets would be lost if it changed.";
        return Err((Code::InvalidPartitions, why.into()));
    }
    let current = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if asked.count == current {
        return Err((Code::InvalidPartitions, format!("Topic already has {current} partition(s).")));
    }
    if asked.count < current {
        let why = format!(
            "The topic {} currently has {current} partition(s); {} would not be an increase.",
            asked.name.as_str(),
            asked.count
        );
        return Err((Code::InvalidPartitions, why));
    }
    if asked.count > PARTITIONS_MAX {
        return Err((Code::PolicyViolation, TOO_MANY_PARTITIONS.into()));
    }
    let mut owners = Vec::new();
    if let Some(assignments) = &asked.assignments {
        if i32::try_from(assignments.len()).ok() != Some(asked.count - current) {
            let why = format!(
                "Attempted to add {} additional partition(s), but only {} assignment(s) were specified.",
                asked.count - current,
                assignments.len()
            );
            return Err((Code::InvalidReplicaAssignment, why));
        }
        let factor = usize::from(topic.replication_factor);
        for assignment in assignments {
            let replicas: Vec<i32> = assignment.broker_ids.iter().map(|b| b.0).collect();
            owners.push(check_replicas(&image, &replicas, factor)?);
        }
    }
    if validate_only {
        return Ok(());
    }
    let command = Command::CreatePartitions { topic: topic.id, count: asked.count.unsigned_abs(), owners };
    let failed = |e: ProposeError| (of_proposal(&e), e.to_string());
    if let Response::PartitionsCreated { streams } =
        broker.metadata.propose_one(command).await.map_err(failed)?
    {
        broker.open_streams(streams).await.map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_valid_name;

    #[test]
    fn topic_names_follow_kafka() {
        for good in ["a", "A.b_c-9", &"x".repeat(249)] {
            assert!(is_valid_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            assert!(is_valid_name(bad).is_err(), "{bad}");
        }
    }
}
