//! Decisions about topics, their partitions and configs.
//!
//! Invariants: one topic per name, and per name with '.' read as '_', as in Kafka; stream ids are handed out in
//! partition order. Never: knows which configs exist or what they may be; the broker checks that first.

use std::collections::BTreeMap;

use tidegate_common::{BrokerId, Offset, StreamId, TopicId};

use super::{Decision, leader_epoch, region_epoch, too_many};
use crate::command::{ConfigChange, ConfigOp, CreateTopic};
use crate::image::Image;
use crate::record::Record;
use crate::response::{Refusal, Response};
use crate::rows::{Owner, Partition};

/// Kafka's longest topic name.
pub const TOPIC_NAME_MAX: usize = 249;
/// Partitions of one topic.
pub const PARTITIONS_MAX: u32 = 200_000;

pub(super) fn create(image: &Image, create: &CreateTopic) -> Decision {
    let CreateTopic { name, id, partitions, owners, replication_factor, configs } = create;
    check_topic_name(name)
        .map_err(|why| Refusal::InvalidTopicName { name: name.clone(), why: why.into() })?;
    if image.names.contains_key(name.as_str()) {
        return Err(Refusal::TopicExists(name.clone()));
    }
    if let Some(existing) = folded_name(name).and_then(|folded| image.folded_names.get(folded.as_str())) {
        return Err(Refusal::TopicNameCollides { name: name.clone(), existing: existing.to_string() });
    }
    if id.is_nil() || image.topics.contains_key(id) {
        return Err(Refusal::TopicIdTaken(*id));
    }
    if *replication_factor == 0 {
        return Err(Refusal::InvalidReplicationFactor(0));
    }
    let added = new_partitions(image, *id, 0, *partitions, owners)?;
    let streams = added.iter().map(|p| p.stream).collect();
    let topic = Record::TopicCreated {
        id: *id,
        name: name.clone(),
        replication_factor: *replication_factor,
        configs: configs.clone(),
    };
    let records = vec![topic, Record::PartitionsAdded { topic: *id, partitions: added }];
    Ok((records, Response::TopicCreated { id: *id, streams }))
}

pub(super) fn create_partitions(image: &Image, topic: TopicId, count: u32, owners: &[BrokerId]) -> Decision {
    let row = image.topic_by_id(topic).ok_or(Refusal::UnknownTopic(topic))?;
    let has = u32::try_from(row.partitions.len()).expect("a topic has at most PARTITIONS_MAX partitions");
    if count <= has {
        return Err(Refusal::InvalidPartitions { count, why: format!("the topic has {has} already") });
    }
    let partitions = new_partitions(image, topic, has, count, owners)?;
    let streams = partitions.iter().map(|p| p.stream).collect();
    Ok((vec![Record::PartitionsAdded { topic, partitions }], Response::PartitionsCreated { streams }))
}

pub(super) fn delete(image: &Image, topic: TopicId) -> Decision {
    image.topic_by_id(topic).ok_or(Refusal::UnknownTopic(topic))?;
    Ok((vec![Record::TopicDeleted { topic }], Response::Done))
}

pub(super) fn alter_configs(image: &Image, topic: TopicId, change: &ConfigChange) -> Decision {
    let row = image.topic_by_id(topic).ok_or(Refusal::UnknownTopic(topic))?;
    let configs = match change {
        ConfigChange::Replace { expected_version, .. } if *expected_version != row.config_version => {
            return Err(Refusal::ConfigVersion { expected: *expected_version, current: row.config_version });
        }
        ConfigChange::Replace { configs, .. } => configs.clone(),
        ConfigChange::Incremental(ops) => {
            let mut configs = row.configs.clone();
            ops.iter().for_each(|op| apply_op(&mut configs, op));
            configs
        }
    };
    if configs == row.configs {
        return Ok((vec![], Response::ConfigsAltered { version: row.config_version }));
    }
    let version = row.config_version + 1;
    Ok((vec![Record::ConfigsReplaced { topic, configs }], Response::ConfigsAltered { version }))
}

/// Kafka's rules for a topic name.
///
/// # Errors
/// What is wrong with it.
pub fn check_topic_name(name: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match name {
        "" => Err("it is empty"),
        "." | ".." => Err("it cannot be \".\" or \"..\""),
        _ if name.len() > TOPIC_NAME_MAX => Err("it is longer than 249 characters"),
        _ if !name.bytes().all(legal) => {
            Err("it holds a character other than ASCII letters, digits, '.', '_' and '-'")
        }
        _ => Ok(()),
    }
}

/// The form under which two names collide; `None` when the name cannot collide with another.
pub(crate) fn folded_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

/// Partitions `from..to` of a topic.
fn new_partitions(
    image: &Image,
    topic: TopicId,
    from: u32,
    to: u32,
    owners: &[BrokerId],
) -> Result<Vec<Partition>, Refusal> {
    if to == 0 {
        return Err(Refusal::InvalidPartitions { count: to, why: "at least one is needed".into() });
    }
    if to > PARTITIONS_MAX {
        return Err(too_many("partitions of one topic", to.into(), PARTITIONS_MAX.into()));
    }
    if !owners.is_empty() && owners.len() != (to - from) as usize {
        let owners = u32::try_from(owners.len()).unwrap_or(u32::MAX);
        return Err(Refusal::InvalidAssignment { owners, partitions: to - from });
    }
    let live: Vec<Owner> =
        image.live.iter().map(|(&incarnation, &broker)| Owner { broker, incarnation }).collect();
    (from..to)
        .enumerate()
        .map(|(i, index)| {
            let stream = StreamId(image.counters.stream.0 + i as u64);
            // Stream ids are dense, so this spreads partitions evenly without counting them.
            let turn = usize::try_from(stream.0).unwrap_or(0).checked_rem(live.len());
            let owner = match owners.get(i) {
                None => turn.map(|n| live[n]),
                Some(&broker) => {
                    let given = live.iter().find(|owner| owner.broker == broker);
                    Some(*given.ok_or(Refusal::BrokerUnavailable(broker))?)
                }
            };
            Ok(Partition {
                stream,
                topic,
                index,
                owner,
                leader_epoch: leader_epoch(region_epoch(image), 0),
                log_start: Offset::ZERO,
                so_end: Offset::ZERO,
                committed_end: Offset::ZERO,
            })
        })
        .collect()
}

fn apply_op(configs: &mut BTreeMap<String, String>, op: &ConfigOp) {
    match op {
        ConfigOp::Set { key, value } => {
            configs.insert(key.clone(), value.clone());
        }
        ConfigOp::Delete { key } => {
            configs.remove(key);
        }
        ConfigOp::Append { key, value, default } => {
            let mut list = list_of(configs.get(key).unwrap_or(default));
            for item in list_of(value) {
                if !list.contains(&item) {
                    list.push(item);
                }
            }
            let joined = list.join(",");
            configs.insert(key.clone(), joined);
        }
        ConfigOp::Subtract { key, value, default } => {
            let gone = list_of(value);
            let mut list = list_of(configs.get(key).unwrap_or(default));
            list.retain(|item| !gone.contains(item));
            let joined = list.join(",");
            configs.insert(key.clone(), joined);
        }
    }
}

fn list_of(value: &str) -> Vec<&str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "__consumer_offsets", "A.b-c_9", "...", &"x".repeat(249)] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a:b", &"x".repeat(250)] {
            assert!(check_topic_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_appended_to_and_subtracted_from() {
        let mut configs = BTreeMap::new();
        let append = |value: &str| ConfigOp::Append {
            key: "cleanup.policy".into(),
            value: value.into(),
            default: "delete".into(),
        };
        apply_op(&mut configs, &append("compact"));
        assert_eq!(configs["cleanup.policy"], "delete,compact");
        apply_op(&mut configs, &append("compact, delete"));
        assert_eq!(configs["cleanup.policy"], "delete,compact");
        apply_op(
            &mut configs,
            &ConfigOp::Subtract {
                key: "cleanup.policy".into(),
                value: "delete".into(),
                default: String::new(),
            },
        );
        assert_eq!(configs["cleanup.policy"], "compact");
    }
}
