//! The topics in which coordinators keep their state, and what is different about them.
//!
//! Owns: their names, the configs they are created with, their creation on first need.
//! Invariants: ordinary clients read them and never write them; retention never deletes from them, whatever their configs
//! say, since their coordinator alone knows what is live (DESIGN.md 5); the partition count of `__consumer_offsets` never
//! changes, since it decides where a group lives.
//! Never: knows what their records mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_metadata::command::CreateTopic;
use tidegate_metadata::{ProposeError, Refusal};

use crate::api::topics::propose_topic;
use crate::broker::Broker;
use crate::config::{Config, ReplicationFactorPolicy};

pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Kafka's internal topics, by name.
const INTERNAL: &[&str] = &[CONSUMER_OFFSETS, "__transaction_state", "__share_group_state"];

/// Kafka's metadata log, which clients may not create as a topic.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// The client id with which Kafka's tools may write to internal topics (`AdminUtils.ADMIN_CLIENT_ID`).
const WRITER: &str = "__admin_client";

/// Whether this is one of Kafka's internal topics, as Metadata reports it.
#[must_use]
pub fn is_internal(topic: &str) -> bool {
    INTERNAL.contains(&topic)
}

/// Whether a client of this id may produce to the topic.
#[must_use]
pub fn may_write(topic: &str, client_id: Option<&str>) -> bool {
    !is_internal(topic) || client_id == Some(WRITER)
}

/// Configs of `__consumer_offsets`, as Kafka's group coordinator sets them.
#[must_use]
pub fn configs(topic: &str, config: &Config) -> BTreeMap<String, String> {
    if topic != CONSUMER_OFFSETS {
        return BTreeMap::new();
    }
    [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", config.groups.topic_segment_bytes.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Creates `__consumer_offsets` unless it is there, and takes its partitions.
///
/// # Errors
/// What the quorum says; under `replication.factor.policy=strict` a replication factor above the number of brokers, as
/// in Kafka.
pub async fn create_consumer_offsets(broker: &Arc<Broker>) -> Result<(), ProposeError> {
    let image = broker.metadata.image();
    if image.topic_by_name(CONSUMER_OFFSETS).is_some() {
        return Ok(());
    }
    let groups = &broker.config.groups;
    let replication_factor = groups.topic_replication_factor.unsigned_abs();
    let live = image.brokers().filter(|b| !b.fenced).count();
    if broker.config.topics.replication_factor_policy == ReplicationFactorPolicy::Strict
        && usize::from(replication_factor) > live
    {
        return Err(ProposeError::Refused(Refusal::InvalidReplicationFactor(replication_factor)));
    }
    let command = CreateTopic {
        name: CONSUMER_OFFSETS.into(),
        id: broker.random.uuid(),
        partitions: groups.topic_partitions.unsigned_abs(),
        owners: Vec::new(),
        replication_factor,
        configs: configs(CONSUMER_OFFSETS, &broker.config),
    };
    let created = propose_topic(broker, command).await;
    // The coordinator begins to load at once.
    broker.follow_image();
    match created {
        Err(ProposeError::Refused(Refusal::TopicExists(_))) => Ok(()),
        other => other,
    }
}

/// The partition in which a group lives: Kafka's hash, so that tools that read the topic find it there.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0_i32, |h, unit| h.wrapping_mul(31).wrapping_add(unit.into()));
    // Java's `Utils.abs`: the one number without a counterpart becomes 0.
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's `Math.abs("…".hashCode()) % 50` gives.
    #[test]
    fn a_group_lives_where_kafka_puts_it() {
        for (group, partition) in [("", 0), ("a", 47), ("my-group", 12), ("console-consumer-1", 24)] {
            assert_eq!(partition_of(group, 50), partition, "{group}");
        }
        // hashCode Integer.MIN_VALUE
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // Two UTF-16 units.
        assert_eq!(partition_of("\u{1F600}", 50), (55357_i32 * 31 + 56832) % 50);
    }

    #[test]
    fn only_kafkas_tools_write_internal_topics() {
        assert!(!may_write(CONSUMER_OFFSETS, Some("app")));
        assert!(!may_write("__transaction_state", None));
        assert!(may_write(CONSUMER_OFFSETS, Some("__admin_client")));
        assert!(may_write("__consumer_offsets_2", None));
    }
}
