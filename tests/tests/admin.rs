//! Rules of Kafka's admin surface, one test each, against the real handlers. `docs/compat.md` names them; codes and words
//! were read off Kafka 4.1.2.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::*;
use tidegate_broker::api::SERVED;
use tidegate_metadata::Command;
use tidegate_metadata::command::{CreateTopic, RegisterBroker};
use tidegate_metadata::rows::Endpoint;
use tidegate_metadata::{Response, command};
use tidegate_tests::peer::{Peer, all, batch, name, produce, text};
use tidegate_wire::versions;

const TOPIC: &str = "admin.rules";
const TOPICS: i8 = 2;
const BROKERS: i8 = 4;
const LOGGERS: i8 = 8;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

fn plain(topic: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(factor)
}

async fn create(
    peer: &mut Peer,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Vec<create_topics_response::CreatableTopicResult> {
    let ask = CreateTopicsRequest::default().with_topics(topics).with_validate_only(validate_only);
    let answer: CreateTopicsResponse = peer.call(19, 7, &ask).await;
    answer.topics
}

async fn peer_with_topic() -> Peer {
    let mut peer = Peer::new().await;
    assert_eq!(create(&mut peer, vec![plain(TOPIC, 3, 1)], false).await[0].error_code, 0);
    peer
}

type Step<'a> = (&'a str, i8, Option<&'a str>);
/// A resource, what is asked of it, and what is answered.
type Refusal<'a> = ((i8, &'a str), &'a [Step<'a>], i16, &'a str);

async fn alter(
    peer: &mut Peer,
    (kind, resource): (i8, &str),
    steps: &[Step<'_>],
    validate_only: bool,
) -> (i16, Option<String>) {
    let configs = steps.iter().map(|(key, op, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(*op).with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(configs.collect());
    let ask = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    let answer: IncrementalAlterConfigsResponse = peer.call(44, 1, &ask).await;
    let answer = &answer.responses[0];
    (answer.error_code, answer.error_message.as_ref().map(ToString::to_string))
}

async fn described(
    peer: &mut Peer,
    (kind, resource): (i8, &str),
    keys: Option<&[&str]>,
) -> describe_configs_response::DescribeConfigsResult {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configuration_keys(keys);
    let ask = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let answer: DescribeConfigsResponse = peer.call(32, 4, &ask).await;
    answer.results[0].clone()
}

fn shown(config: &DescribeConfigsResourceResult) -> (String, i8) {
    (config.value.as_ref().map(ToString::to_string).unwrap_or_default(), config.config_source)
}

/// The keys that the surface promises.
#[test]
fn every_promised_key_is_served_in_the_versions_of_the_jar() {
    const PROMISED: &[i16] = &[
        0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 29, 30, 31, 32, 33, 35, 37, 42,
        43, 44, 46, 47, 55, 60, 61, 69, 74, 75,
    ];
    for key in PROMISED {
        assert!(versions::range(*key).is_some(), "{key} is in the definitions of Kafka 4.1");
        assert!(SERVED.contains(key), "{key} is promised and not served");
    }
    assert!(SERVED.iter().all(|key| PROMISED.contains(key)), "what is served is promised");
}

#[tokio::test]
async fn create_topics_is_refused_in_kafkas_words() {
    let mut peer = peer_with_topic().await;
    let assigned = |topic: &str, lists: &[(i32, &[i32])]| {
        let lists = lists.iter().map(|(index, ids)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
        });
        plain(topic, -1, -1).with_assignments(lists.collect())
    };
    let with = |key: &str, value: Option<&str>| {
        let config = CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text));
        plain("new", 1, 1).with_configs(vec![config])
    };
    let cases = [
        (plain(TOPIC, 1, 1), 36, "Topic 'admin.rules' already exists."),
        (plain("admin_rules", 1, 1), 17, "Topic 'admin_rules' collides with existing topic: admin.rules"),
        (plain("..", 1, 1), 17, "Topic name is invalid: '..' is not allowed"),
        (plain("", 1, 1), 17, "Topic name is invalid: the empty string is not allowed"),
        (
            plain("a/b", 1, 1),
            17,
            "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'",
        ),
        (plain("new", 0, 1), 37, "Number of partitions was set to an invalid non-positive value."),
        (plain("new", -2, 1), 37, "Number of partitions was set to an invalid non-positive value."),
        (plain("new", 100_001, 1), 44, "Excessively large number of partitions per request."),
        (plain("new", 1, 0), 38, "Replication factor must be larger than 0, or -1 to use the default value."),
        (
            plain("new", 1, -2),
            38,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (with("no.such", Some("1")), 40, "Unknown topic config name: no.such"),
        (
            with("retention.ms", Some("abc")),
            40,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (with("retention.ms", None), 40, "Null value not supported for topic configs: retention.ms"),
        (
            assigned("new", &[(0, &[77])]),
            39,
            "The manual partition assignment includes broker 77, but no such broker is registered.",
        ),
        (assigned("new", &[(1, &[1])]), 39, "partitions should be a consecutive 0-based integer sequence"),
        (assigned("new", &[(0, &[])]), 39, "The manual partition assignment includes an empty replica list."),
        (
            assigned("new", &[(0, &[1, 1])]),
            39,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            assigned("new", &[(0, &[1]), (0, &[1])]),
            39,
            "Found multiple manual partition assignments for partition 0",
        ),
        (
            assigned("new", &[(0, &[1])]).with_num_partitions(1),
            42,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            plain("__cluster_metadata", 1, 1),
            42,
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
    ];
    for (topic, code, why) in cases {
        let answer = &create(&mut peer, vec![topic], false).await[0];
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (code, Some(why)));
        assert_eq!((answer.num_partitions, answer.topic_id), (-1, uuid::Uuid::nil()));
    }
    let good = &create(&mut peer, vec![assigned("assigned", &[(0, &[1]), (1, &[1])])], false).await[0];
    assert_eq!((good.error_code, good.num_partitions, good.replication_factor), (0, 2, 1));
    assert_eq!(good.topic_id, peer.topic_id("assigned"));
}

#[tokio::test]
async fn a_topic_named_twice_is_answered_once_and_not_made_and_validation_makes_nothing() {
    let mut peer = Peer::new().await;
    let answers = create(&mut peer, vec![plain("t", 1, 1), plain("t", 1, 1), plain("u", 1, 1)], false).await;
    let codes: Vec<(&str, i16)> = answers.iter().map(|t| (t.name.as_str(), t.error_code)).collect();
    assert_eq!(codes, [("t", 42), ("u", 0)]);
    assert_eq!(answers[0].error_message.as_deref(), Some("Duplicate topic name."));
    assert!(peer.surface.broker.metadata.image().topic_by_name("t").is_none());

    let checked = &create(&mut peer, vec![plain("v", -1, -1)], true).await[0];
    assert_eq!((checked.error_code, checked.num_partitions, checked.replication_factor), (0, 3, 1));
    assert_eq!(checked.configs.as_ref().map(Vec::len), Some(33), "configs come with the answer (KIP-525)");
    assert!(peer.surface.broker.metadata.image().topic_by_name("v").is_none());

    let grow =
        |n: &str| CreatePartitionsTopic::default().with_name(name(n)).with_count(2).with_assignments(None);
    let ask = CreatePartitionsRequest::default().with_topics(vec![grow("u"), grow("u"), grow("w")]);
    let answer: CreatePartitionsResponse = peer.call(37, 3, &ask).await;
    assert_eq!(answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [42, 3]);

    let twice = ["u", "u", "gone"].map(|n| DeleteTopicState::default().with_name(Some(name(n))));
    let both = DeleteTopicState::default().with_name(Some(name("u"))).with_topic_id(peer.topic_id("u"));
    let neither = DeleteTopicState::default().with_name(None);
    let unknown = DeleteTopicState::default().with_name(None).with_topic_id(uuid::Uuid::from_u128(5));
    let asked = twice.into_iter().chain([both, neither, unknown]).collect();
    let answer: DeleteTopicsResponse =
        peer.call(20, 6, &DeleteTopicsRequest::default().with_topics(asked)).await;
    let codes: Vec<i16> = answer.responses.iter().map(|t| t.error_code).collect();
    assert_eq!(codes, [42, 3, 42, 42, 100]);
    assert!(peer.surface.broker.metadata.image().topic_by_name("u").is_some(), "nothing was deleted");
}

#[tokio::test]
async fn create_partitions_is_refused_in_kafkas_words() {
    let mut peer = peer_with_topic().await;
    let grow = |count, lists: Option<&[&[i32]]>| {
        let lists = lists.map(|lists| {
            let list = |ids: &&[i32]| {
                CreatePartitionsAssignment::default()
                    .with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
            };
            lists.iter().map(list).collect()
        });
        CreatePartitionsTopic::default().with_name(name(TOPIC)).with_count(count).with_assignments(lists)
    };
    let cases: Vec<(CreatePartitionsTopic, i16, &str)> = vec![
        (grow(3, None), 37, "Topic already has 3 partition(s)."),
        (
            grow(2, None),
            37,
            "The topic admin.rules currently has 3 partition(s); 2 would not be an increase.",
        ),
        (
            grow(-5, None),
            37,
            "The topic admin.rules currently has 3 partition(s); -5 would not be an increase.",
        ),
        (grow(100_001, None), 44, "Excessively large number of partitions per request."),
        (
            grow(5, Some(&[&[1]])),
            39,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (
            grow(4, Some(&[&[9]])),
            39,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        (grow(4, Some(&[&[]])), 39, "The manual partition assignment includes an empty replica list."),
    ];
    for (topic, code, why) in cases {
        let ask = CreatePartitionsRequest::default().with_topics(vec![topic]);
        let answer: CreatePartitionsResponse = peer.call(37, 3, &ask).await;
        let answer = &answer.results[0];
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (code, Some(why)));
    }
    let ask =
        CreatePartitionsRequest::default().with_topics(vec![grow(4, Some(&[&[1]]))]).with_validate_only(true);
    let answer: CreatePartitionsResponse = peer.call(37, 3, &ask).await;
    assert_eq!(answer.results[0].error_code, 0);
    let image = peer.surface.broker.metadata.image();
    assert_eq!(image.topic_by_name(TOPIC).expect("there").partitions.len(), 3, "validation adds nothing");
}

#[tokio::test]
async fn topic_configs_are_altered_by_steps_or_as_a_whole() {
    let mut peer = peer_with_topic().await;
    let topic = (TOPICS, TOPIC);
    let cases: &[Refusal<'_>] = &[
        (topic, &[("no.such", SET, Some("1"))], 40, "Unknown topic config name: no.such"),
        (
            topic,
            &[("cleanup.policy", SET, Some("abc"))],
            40,
            "Invalid value abc for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            topic,
            &[("retention.ms", APPEND, Some("1"))],
            40,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (topic, &[("retention.ms", SET, None)], 42, "Null value not supported for : retention.ms"),
        (
            topic,
            &[("retention.ms", SET, Some("5")), ("retention.ms", DELETE, None)],
            42,
            "Error due to duplicate config keys",
        ),
        (topic, &[("retention.ms", 9, Some("5"))], 42, "Unknown operations type 9"),
        ((TOPICS, "nope"), &[("retention.ms", SET, Some("5"))], 3, "The topic 'nope' does not exist."),
        ((TOPICS, ""), &[("retention.ms", SET, Some("5"))], 42, "Default topic resources are not allowed."),
        ((99, "x"), &[], 42, "Unknown resource type 99"),
        ((16, "x"), &[], 42, "configs of client metrics are not served yet"),
        ((32, "g"), &[], 42, "configs of groups are not served yet"),
    ];
    for (resource, steps, code, why) in cases {
        assert_eq!(alter(&mut peer, *resource, steps, false).await, (*code, Some((*why).to_owned())));
    }
    let none = (0, None);
    assert_eq!(alter(&mut peer, topic, &[("retention.ms", SET, Some("500000"))], true).await, none);
    let value = |answer: describe_configs_response::DescribeConfigsResult| shown(&answer.configs[0]);
    let key: Option<&[&str]> = Some(&["retention.ms"]);
    assert_eq!(value(described(&mut peer, topic, key).await), ("604800000".into(), 5), "validation only");
    let steps = [("retention.ms", SET, Some("500000")), ("flush.ms", SET, Some("7"))];
    assert_eq!(alter(&mut peer, topic, &steps, false).await, none);
    assert_eq!(value(described(&mut peer, topic, key).await), ("500000".into(), 1));

    // All at once, which is put together from what topics share, says the same as each by itself.
    let everything = described(&mut peer, topic, None).await.configs;
    assert_eq!(everything.len(), 33);
    for config in everything {
        let alone = described(&mut peer, topic, Some(&[config.name.as_str()])).await.configs;
        assert_eq!(alone, [config]);
    }

    // AlterConfigs: what is not named goes back to its default.
    let config = alter_configs_request::AlterableConfig::default()
        .with_name(text("flush.ms"))
        .with_value(Some(text("8")));
    let whole = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPICS)
        .with_resource_name(text(TOPIC))
        .with_configs(vec![config]);
    let ask = AlterConfigsRequest::default().with_resources(vec![whole.clone()]);
    let answer: AlterConfigsResponse = peer.call(33, 2, &ask).await;
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(value(described(&mut peer, topic, key).await), ("604800000".into(), 5));
    assert_eq!(value(described(&mut peer, topic, Some(&["flush.ms"])).await), ("8".into(), 1));
    let ask = AlterConfigsRequest::default().with_resources(vec![whole.clone(), whole]);
    let answer: AlterConfigsResponse = peer.call(33, 2, &ask).await;
    assert_eq!(answer.responses.iter().map(|r| r.error_code).collect::<Vec<_>>(), [42, 42], "twice");
}

#[tokio::test]
async fn broker_configs_hold_at_once_by_precedence_and_outlive_the_process() {
    let mut peer = peer_with_topic().await;
    let (all_brokers, this) = ((BROKERS, ""), (BROKERS, "1"));
    let none = (0, None);
    let key: Option<&[&str]> = Some(&["log.retention.ms"]);
    let set = |value| [("log.retention.ms", SET, Some(value))];
    assert_eq!(alter(&mut peer, all_brokers, &set("888888"), true).await, none);
    assert!(described(&mut peer, all_brokers, None).await.configs.is_empty(), "validation only");
    assert_eq!(alter(&mut peer, all_brokers, &set("888888"), false).await, none);
    assert_eq!(shown(&described(&mut peer, this, key).await.configs[0]), ("888888".into(), 3));
    assert_eq!(alter(&mut peer, this, &set("999999"), false).await, none);
    let own = described(&mut peer, this, key).await.configs[0].clone();
    assert_eq!(shown(&own), ("999999".into(), 2));
    assert_eq!(own.synonyms.iter().map(|s| s.source).collect::<Vec<_>>(), [2, 3, 5]);
    let topic = described(&mut peer, (TOPICS, TOPIC), Some(&["retention.ms"])).await.configs[0].clone();
    assert_eq!(shown(&topic), ("999999".into(), 2), "topics follow their broker");

    // What the partition does, not only what is told of it.
    let partition = {
        let broker = &peer.surface.broker;
        let image = broker.metadata.image();
        broker.partitions.get(&image, peer.topic_id(TOPIC), 0).expect("owned")
    };
    assert_eq!(partition.settings().retention_ms, Some(999_999));
    let before = peer.surface.broker.metadata.image();
    let bytes = [("message.max.bytes", SET, Some("100"))];
    assert_eq!(alter(&mut peer, all_brokers, &bytes, false).await, none);
    let large = tidegate_common::batch::build(tidegate_common::Offset(0), 1, 1, 1, vec![0; 200].into());
    let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 0, &large, -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 10, "MESSAGE_TOO_LARGE from now on");
    let limits = [("max.connections", SET, Some("0"))];
    assert_eq!(alter(&mut peer, this, &limits, false).await, none);
    let client = std::net::IpAddr::from([127, 0, 0, 1]);
    assert!(peer.surface.broker.gate.enter(client).is_err(), "no connection more");

    let gone =
        [("log.retention.ms", DELETE, None), ("max.connections", DELETE, None), ("no.such", DELETE, None)];
    assert_eq!(alter(&mut peer, this, &gone, false).await, none);
    assert_eq!(partition.settings().retention_ms, Some(888_888));
    assert!(peer.surface.broker.gate.enter(client).is_ok());
    // A broker that starts on this state has it from its first moment.
    let broker = &peer.surface.broker;
    let image = broker.metadata.image();
    let live = tidegate_broker::broker_config::LiveConfig::new(broker.node, broker.config.clone(), &image);
    assert_eq!(live.load().topics.message_bytes_max, 100);
    assert!(!broker.live.follow(&before), "an older image changes nothing");
    assert_eq!(broker.live.load().topics.message_bytes_max, 100);
}

#[tokio::test]
async fn broker_resources_have_kafkas_names_and_refusals() {
    let mut peer = peer_with_topic().await;
    let ms: &[Step<'_>] = &[("log.retention.ms", SET, Some("5"))];
    let cases: &[Refusal<'_>] = &[
        ((BROKERS, "2"), ms, 42, "Unexpected broker id, expected 1, but received 2"),
        ((BROKERS, "abc"), ms, 42, "Node id must be an integer, but it is: abc"),
        (
            (BROKERS, "1"),
            &[("num.partitions", SET, Some("3"))],
            42,
            "Cannot update these configs dynamically: Set(num.partitions)",
        ),
        (
            (LOGGERS, "2"),
            &[("root", SET, Some("INFO"))],
            42,
            "Unexpected node id. Expected 1, but received 2",
        ),
        ((LOGGERS, ""), &[("root", SET, Some("INFO"))], 42, "Node id must be an integer, but it is: "),
        ((LOGGERS, "1"), &[("no.such", SET, Some("INFO"))], 40, "Logger no.such does not exist!"),
        (
            (LOGGERS, "1"),
            &[("root", SET, Some("LOUD"))],
            40,
            "Cannot set the log level of root to LOUD as it is not a supported log level. Valid log levels are DEBUG, \
             ERROR, FATAL, INFO, TRACE, WARN",
        ),
        (
            (LOGGERS, "1"),
            &[("root", APPEND, Some("INFO"))],
            42,
            "APPEND operation is not allowed for the BROKER_LOGGER resource",
        ),
        (
            (LOGGERS, "1"),
            &[("root", DELETE, None)],
            42,
            "Removing the log level of the root logger is not allowed",
        ),
    ];
    for (resource, steps, code, why) in cases {
        assert_eq!(alter(&mut peer, *resource, steps, true).await, (*code, Some((*why).to_owned())));
    }
    let described_cases = [
        ((BROKERS, "2"), 42, "Unexpected broker id, expected 1 or empty string, but received 2"),
        ((BROKERS, "abc"), 42, "Broker id must be an integer, but it is: abc"),
        ((LOGGERS, "2"), 42, "Unexpected broker id, expected 1 but received 2"),
        ((LOGGERS, ""), 42, "Broker id must not be empty"),
        ((16, ""), 42, "Client metrics subscription name must not be empty"),
        ((32, ""), 42, "Group name must not be empty"),
        ((TOPICS, "nope"), 3, ""),
        ((TOPICS, ""), 17, "Topic name is invalid: the empty string is not allowed"),
    ];
    for (resource, code, why) in described_cases {
        let answer = described(&mut peer, resource, None).await;
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (code, Some(why)), "{resource:?}");
    }
    let broker = described(&mut peer, (BROKERS, "1"), None).await;
    assert!(broker.configs.len() > 316, "all of Kafka's keys and ours: {}", broker.configs.len());
    let loggers = described(&mut peer, (LOGGERS, "1"), None).await;
    assert!(loggers.configs.iter().any(|c| &*c.name == "root" && c.config_source == 6));
    let nothing: DescribeConfigsResponse = peer.call(32, 4, &DescribeConfigsRequest::default()).await;
    assert_eq!((nothing.results.len(), create(&mut peer, vec![], false).await.len()), (0, 0));
}

#[tokio::test]
async fn config_resources_are_listed_by_kind() {
    let mut peer = peer_with_topic().await;
    let mut list = async |version, kinds: &[i8]| {
        let ask = ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
        let answer: ListConfigResourcesResponse = peer.call(74, version, &ask).await;
        let found: Vec<(i8, String)> =
            answer.config_resources.iter().map(|r| (r.resource_type, r.resource_name.to_string())).collect();
        (answer.error_code, found)
    };
    let everything = vec![(8, "1".to_owned()), (4, "1".to_owned()), (2, TOPIC.to_owned())];
    assert_eq!(list(1, &[]).await, (0, everything));
    assert_eq!(list(1, &[2, 2]).await, (0, vec![(2, TOPIC.to_owned())]));
    assert_eq!(list(1, &[16, 32]).await, (0, vec![]));
    assert_eq!(list(1, &[2, 99]).await, (35, vec![]));
    assert_eq!(list(0, &[]).await, (0, vec![]));
}

#[tokio::test]
async fn topic_partitions_are_paged_by_a_cursor() {
    let mut peer = peer_with_topic().await;
    create(&mut peer, vec![plain("b", 2, 1)], false).await;
    type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);
    let mut page = async |topics: &[&str], limit, cursor: Option<(&str, i32)>| -> Page {
        let asked = topics
            .iter()
            .map(|t| describe_topic_partitions_request::TopicRequest::default().with_name(name(t)));
        let cursor = cursor.map(|(topic, index)| {
            describe_topic_partitions_request::Cursor::default()
                .with_topic_name(name(topic))
                .with_partition_index(index)
        });
        let ask = DescribeTopicPartitionsRequest::default()
            .with_topics(asked.collect())
            .with_response_partition_limit(limit)
            .with_cursor(cursor);
        let answer: DescribeTopicPartitionsResponse = peer.call(75, 0, &ask).await;
        let topics = answer.topics.iter().map(|t| {
            let indexes = t.partitions.iter().map(|p| p.partition_index).collect();
            (t.name.as_ref().map(|n| n.to_string()).unwrap_or_default(), t.error_code, indexes)
        });
        (topics.collect(), answer.next_cursor.map(|c| (c.topic_name.to_string(), c.partition_index)))
    };
    let row = |topic: &str, code, indexes: &[i32]| (topic.to_owned(), code, indexes.to_vec());
    let at = |topic: &str, index| Some((topic.to_owned(), index));
    assert_eq!(
        page(&[], 2000, None).await,
        (vec![row(TOPIC, 0, &[0, 1, 2]), row("b", 0, &[0, 1])], None),
        "all, by name"
    );
    assert_eq!(page(&[], 2, None).await, (vec![row(TOPIC, 0, &[0, 1])], at(TOPIC, 2)));
    assert_eq!(
        page(&[], 2, Some((TOPIC, 2))).await,
        (vec![row(TOPIC, 0, &[2]), row("b", 0, &[0])], at("b", 1))
    );
    assert_eq!(page(&[], 3, None).await, (vec![row(TOPIC, 0, &[0, 1, 2])], at("b", 0)), "ends between two");
    assert_eq!(
        page(&["b", TOPIC], -1, None).await,
        (vec![row(TOPIC, 0, &[0])], at(TOPIC, 1)),
        "at least one"
    );
    assert_eq!(
        page(&["zz", "b", "no/pe", "b"], 9, None).await,
        (vec![row("b", 0, &[0, 1]), row("no/pe", 17, &[]), row("zz", 3, &[])], None)
    );
    assert_eq!(page(&["b"], 9, Some((TOPIC, 0))).await, (vec![row("b", 42, &[])], None), "a foreign cursor");
    assert_eq!(page(&["b"], 9, Some(("b", -1))).await, (vec![row("b", 42, &[])], None));
    assert_eq!(page(&["b"], 9, Some(("b", 7))).await, (vec![row("b", 0, &[])], None));
}

#[tokio::test]
async fn log_dirs_tell_what_each_partition_holds() {
    let mut peer = peer_with_topic().await;
    let size = async |peer: &mut Peer| {
        let answer: DescribeLogDirsResponse =
            peer.call(35, 4, &DescribeLogDirsRequest::default().with_topics(None)).await;
        let dir = &answer.results[0];
        assert_eq!((answer.error_code, dir.error_code, answer.results.len()), (0, 0, 1));
        assert_eq!((dir.total_bytes, dir.usable_bytes), (-1, -1), "a simulated disk has no bounds");
        let topic = dir.topics.iter().find(|t| t.name == name(TOPIC)).expect("described");
        assert_eq!(topic.partitions.iter().map(|p| p.offset_lag).max(), Some(0));
        topic.partitions.iter().map(|p| p.partition_size).collect::<Vec<_>>()
    };
    assert_eq!(size(&mut peer).await, [0, 0, 0]);
    let batch = batch(1_000);
    for _ in 0..3 {
        let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 1, &batch, -1)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let written = 3 * i64::try_from(batch.len()).expect("small");
    assert_eq!(size(&mut peer).await, [0, written, 0], "in the WAL");
    peer.surface.broker.storage.flush().await.expect("uploads");
    let uploaded = size(&mut peer).await;
    assert!(uploaded[1] >= written && uploaded[1] < 3 * written, "in the bucket: {uploaded:?}, {written}");
    let none: DescribeLogDirsResponse =
        peer.call(35, 4, &DescribeLogDirsRequest::default().with_topics(Some(vec![]))).await;
    assert!(none.results[0].topics.is_empty());
}

#[tokio::test]
async fn producers_of_a_partition_are_told_with_their_last_batch() {
    let mut peer = peer_with_topic().await;
    let write = |sequence| {
        tidegate_common::batch::build_idempotent(
            tidegate_common::Offset(0),
            2,
            (4711, 3, sequence),
            vec![0; 8].into(),
        )
    };
    for sequence in [0, 2] {
        let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 0, &write(sequence), -1)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let ask = async |peer: &mut Peer, topic: &str, index| {
        let asked = describe_producers_request::TopicRequest::default()
            .with_name(name(topic))
            .with_partition_indexes(vec![index]);
        let answer: DescribeProducersResponse =
            peer.call(61, 0, &DescribeProducersRequest::default().with_topics(vec![asked])).await;
        answer.topics[0].partitions[0].clone()
    };
    let found = ask(&mut peer, TOPIC, 0).await;
    let producer = &found.active_producers[0];
    assert_eq!((found.error_code, found.active_producers.len()), (0, 1));
    assert_eq!((producer.producer_id.0, producer.producer_epoch, producer.last_sequence), (4711, 3, 3));
    assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
    assert_eq!(ask(&mut peer, TOPIC, 1).await.active_producers.len(), 0);
    for (topic, index, code) in [(TOPIC, 9, 3), ("nope", 0, 3), ("no/pe", 0, 17)] {
        assert_eq!(ask(&mut peer, topic, index).await.error_code, code, "{topic}-{index}");
    }
}

#[tokio::test]
async fn a_producer_that_was_silent_for_too_long_is_forgotten() {
    let mut peer = peer_with_topic().await;
    let write = |sequence| {
        tidegate_common::batch::build_idempotent(
            tidegate_common::Offset(0),
            1,
            (7, 0, sequence),
            vec![0; 8].into(),
        )
    };
    let code = async |peer: &mut Peer, sequence| {
        let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 0, &write(sequence), -1)).await;
        answer.responses[0].partition_responses[0].error_code
    };
    assert_eq!(code(&mut peer, 0).await, 0);
    assert_eq!(code(&mut peer, 5).await, 45, "a gap");
    // Its batch's time is long ago, so that any expiration is over; it is looked at with retention.
    assert_eq!(
        alter(&mut peer, (BROKERS, ""), &[("producer.id.expiration.ms", SET, Some("1"))], false).await.0,
        0
    );
    let broker = std::sync::Arc::clone(&peer.surface.broker);
    let image = broker.metadata.image();
    let partition = broker.partitions.get(&image, peer.topic_id(TOPIC), 0).expect("owned");
    for _ in 0..60 {
        if partition.producers().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(partition.producers().is_empty(), "forgotten");
    assert_eq!(code(&mut peer, 5).await, 0, "any sequence is accepted");
}

#[tokio::test]
async fn elections_are_not_needed_and_nothing_is_reassigned() {
    let mut peer = peer_with_topic().await;
    let mut elect = async |kind, partitions: Option<&[(&str, &[i32])]>| {
        let topics = partitions.map(|list| {
            let topic = |(topic, indexes): &(&str, &[i32])| {
                elect_leaders_request::TopicPartitions::default()
                    .with_topic(name(topic))
                    .with_partitions(indexes.to_vec())
            };
            list.iter().map(topic).collect()
        });
        let ask = ElectLeadersRequest::default().with_election_type(kind).with_topic_partitions(topics);
        let answer: ElectLeadersResponse = peer.call(43, 2, &ask).await;
        let results: Vec<(i32, i16, String)> = answer
            .replica_election_results
            .iter()
            .flat_map(|t| &t.partition_result)
            .map(|p| {
                let why = p.error_message.as_ref().map(ToString::to_string).unwrap_or_default();
                (p.partition_id, p.error_code, why)
            })
            .collect();
        (answer.error_code, results)
    };
    let not_needed = "Leader election not needed for topic partition.".to_owned();
    for kind in [0, 1] {
        let (code, results) = elect(kind, Some(&[(TOPIC, &[0, 44]), ("nope", &[0])])).await;
        assert_eq!(
            (code, results),
            (
                0,
                vec![
                    (0, 84, not_needed.clone()),
                    (44, 3, "No such partition as admin.rules-44".into()),
                    (0, 3, "No such topic as nope".into())
                ]
            )
        );
        assert_eq!(elect(kind, None).await, (0, vec![]), "of all, none needs one");
    }
    let unknown = "Unknown election type 5".to_owned();
    assert_eq!(elect(5, Some(&[(TOPIC, &[0])])).await, (42, vec![(0, 42, unknown)]));
    let ask = ListPartitionReassignmentsRequest::default().with_topics(None);
    let answer: ListPartitionReassignmentsResponse = peer.call(46, 0, &ask).await;
    assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
}

#[tokio::test]
async fn the_quorum_is_described_under_the_name_of_the_metadata_log() {
    let mut peer = Peer::new().await;
    let mut ask = async |topic: &str, index| {
        let partition = describe_quorum_request::PartitionData::default().with_partition_index(index);
        let topic = describe_quorum_request::TopicData::default()
            .with_topic_name(name(topic))
            .with_partitions(vec![partition]);
        let answer: DescribeQuorumResponse =
            peer.call(55, 2, &DescribeQuorumRequest::default().with_topics(vec![topic])).await;
        (answer.topics[0].partitions[0].clone(), answer.nodes.len())
    };
    let (log, nodes) = ask("__cluster_metadata", 0).await;
    assert_eq!((log.error_code, log.leader_id.0, nodes), (0, 1, 1));
    assert!(log.leader_epoch > 0 && log.high_watermark > 0);
    assert_eq!((log.current_voters.len(), log.observers.len()), (1, 0));
    for (topic, index) in [("__cluster_metadata", 1), ("other", 0)] {
        let (log, nodes) = ask(topic, index).await;
        assert_eq!((log.error_code, nodes, log.current_voters.len()), (3, 0, 0));
    }
}

#[tokio::test]
async fn without_an_authorizer_acls_are_disabled_and_everything_is_allowed() {
    let mut peer = peer_with_topic().await;
    let filter = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(1)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(1)
        .with_permission_type(1);
    let answer: DescribeAclsResponse = peer.call(29, 3, &filter).await;
    let why = "No Authorizer is configured on the broker";
    assert_eq!((answer.error_code, answer.error_message.as_deref()), (54, Some(why)));
    let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(name(TOPIC)));
    for (include, topic_bits, cluster_bits) in [(true, 3576, 8096), (false, i32::MIN, i32::MIN)] {
        let ask = MetadataRequest::default()
            .with_topics(Some(vec![asked.clone()]))
            .with_include_topic_authorized_operations(include);
        let answer: MetadataResponse = peer.call(3, 12, &ask).await;
        assert_eq!(answer.topics[0].topic_authorized_operations, topic_bits);
        let old = ask.with_include_cluster_authorized_operations(include);
        let answer: MetadataResponse = peer.call(3, 9, &old).await;
        assert_eq!(answer.cluster_authorized_operations, cluster_bits);
        let ask = DescribeClusterRequest::default()
            .with_endpoint_type(1)
            .with_include_cluster_authorized_operations(include);
        let answer: DescribeClusterResponse = peer.call(60, 1, &ask).await;
        assert_eq!(answer.cluster_authorized_operations, cluster_bits);
    }
}

#[tokio::test]
async fn metadata_names_a_topic_once_and_refuses_what_old_versions_cannot_ask() {
    let mut peer = peer_with_topic().await;
    let id = peer.topic_id(TOPIC);
    let by_name = |n: &str| metadata_request::MetadataRequestTopic::default().with_name(Some(name(n)));
    let ask = MetadataRequest::default()
        .with_topics(Some(vec![by_name(TOPIC), by_name("nope"), by_name(TOPIC), by_name("")]))
        .with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = peer.call(3, 12, &ask).await;
    assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [0, 3, 17]);
    assert_eq!((answer.cluster_id.map(|id| id.len()), answer.controller_id.0), (Some(22), 1));

    let by_id = |id| metadata_request::MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let ask = MetadataRequest::default().with_topics(Some(vec![by_id(id), by_id(uuid::Uuid::from_u128(5))]));
    let answer: MetadataResponse = peer.call(3, 12, &ask).await;
    assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [0, 100]);
    assert_eq!((answer.topics[0].name.clone(), answer.topics[1].name.clone()), (Some(name(TOPIC)), None));
    let answer: MetadataResponse = peer.call(3, 11, &ask).await;
    assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [42, 42], "ids are of v12");
    assert_eq!((answer.brokers.len(), answer.cluster_id, answer.controller_id.0), (0, None, -1));

    // A name that collides with another is not created by its first use.
    let ask = MetadataRequest::default()
        .with_topics(Some(vec![by_name("admin_rules")]))
        .with_allow_auto_topic_creation(true);
    let answer: MetadataResponse = peer.call(3, 12, &ask).await;
    assert_eq!(answer.topics[0].error_code, 3);
    let ask = MetadataRequest::default()
        .with_topics(Some(vec![by_name("by.first.use")]))
        .with_allow_auto_topic_creation(true);
    let answer: MetadataResponse = peer.call(3, 12, &ask).await;
    assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 3));
}

#[tokio::test]
async fn delete_records_keeps_to_what_there_is() {
    let mut peer = peer_with_topic().await;
    for _ in 0..3 {
        let _: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 0, &batch(1_000), -1)).await;
    }
    let mut delete = async |topic: &str, index, offset| {
        let part = delete_records_request::DeleteRecordsPartition::default()
            .with_partition_index(index)
            .with_offset(offset);
        let topic = delete_records_request::DeleteRecordsTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![part]);
        let answer: DeleteRecordsResponse =
            peer.call(21, 2, &DeleteRecordsRequest::default().with_topics(vec![topic])).await;
        let part = &answer.topics[0].partitions[0];
        (part.error_code, part.low_watermark)
    };
    assert_eq!(delete(TOPIC, 0, 1).await, (0, 1));
    assert_eq!(delete(TOPIC, 0, 0).await, (0, 1), "it never goes back");
    assert_eq!(delete(TOPIC, 0, -2).await, (1, -1));
    assert_eq!(delete(TOPIC, 0, 4).await, (1, -1), "beyond the high watermark");
    assert_eq!(delete(TOPIC, 0, -1).await, (0, 3), "to the high watermark");
    assert_eq!(delete(TOPIC, 9, 0).await, (3, -1));
    assert_eq!(delete("nope", 0, 0).await, (3, -1));
    // The produce answer tells the log start from v5 on.
    let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 0, &batch(1_000), -1)).await;
    let part = &answer.responses[0].partition_responses[0];
    assert_eq!((part.base_offset, part.log_start_offset), (3, 3));
}

#[tokio::test]
async fn several_producers_and_a_partition_twice_in_one_produce_lose_nothing() {
    let mut peer = peer_with_topic().await;
    let of = |producer| {
        let batch = tidegate_common::batch::build_idempotent(
            tidegate_common::Offset(0),
            1,
            (producer, 0, 0),
            vec![0; 8].into(),
        );
        produce(TOPIC, 0, &batch, -1).topic_data[0].partition_data[0].clone()
    };
    let mut ask = produce(TOPIC, 0, &batch(1_000), -1);
    ask.topic_data[0].partition_data = vec![of(11), of(12).with_index(1), of(13)];
    let answer: ProduceResponse = peer.call(0, 9, &ask).await;
    let parts: Vec<(i32, i16, i64)> = answer.responses[0]
        .partition_responses
        .iter()
        .map(|p| (p.index, p.error_code, p.base_offset))
        .collect();
    assert_eq!(parts, [(0, 0, 0), (1, 0, 0), (0, 0, 1)]);
}

/// Another broker takes partition 0 of a topic of its own.
async fn led_elsewhere(peer: &Peer) -> uuid::Uuid {
    let metadata = &peer.surface.broker.metadata;
    let endpoints = vec![Endpoint { listener: "PLAINTEXT".into(), host: "elsewhere".into(), port: 9099 }];
    let register = RegisterBroker {
        broker: tidegate_common::BrokerId(2),
        endpoints,
        rack: Some("b".into()),
        nonce: uuid::Uuid::from_u128(2),
    };
    let registered = metadata.propose_one(Command::RegisterBroker(register)).await.expect("registered");
    let Response::Registered { incarnation, .. } = registered else { panic!("{registered:?}") };
    let id = uuid::Uuid::from_u128(77);
    let create = CreateTopic {
        name: "elsewhere".into(),
        id,
        partitions: 1,
        owners: vec![tidegate_common::BrokerId(2)],
        replication_factor: 1,
        configs: Default::default(),
    };
    let created = metadata.propose_one(Command::CreateTopic(create)).await.expect("created");
    let Response::TopicCreated { streams, .. } = created else { panic!("{created:?}") };
    let open = command::Command::OpenPartitions { incarnation, streams };
    metadata.propose_one(open).await.expect("opened");
    id
}

#[tokio::test]
async fn who_asks_the_wrong_broker_is_told_the_leader() {
    let mut peer = peer_with_topic().await;
    let id = led_elsewhere(&peer).await;
    for version in all(0).filter(|v| *v <= 12) {
        let answer: ProduceResponse = peer.call(0, version, &produce("elsewhere", 0, &batch(1), -1)).await;
        let part = &answer.responses[0].partition_responses[0];
        let hinted = version >= 10;
        assert_eq!((part.error_code, part.current_leader.leader_id.0), (6, if hinted { 2 } else { -1 }));
        assert_eq!(answer.node_endpoints.len(), usize::from(hinted), "version {version}");
    }
    let fetch = |id, epoch| {
        let part = fetch_request::FetchPartition::default()
            .with_partition_max_bytes(1 << 20)
            .with_current_leader_epoch(epoch);
        let topic = fetch_request::FetchTopic::default().with_topic_id(id).with_partitions(vec![part]);
        FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic])
    };
    for version in 15..=18 {
        let answer: FetchResponse = peer.call(1, version, &fetch(id, -1)).await;
        let part = &answer.responses[0].partitions[0];
        let hinted = version >= 16;
        assert_eq!((part.error_code, part.current_leader.leader_id.0), (6, if hinted { 2 } else { -1 }));
        assert_eq!(answer.node_endpoints.len(), usize::from(hinted), "version {version}");
    }
    let answer: FetchResponse = peer.call(1, 16, &fetch(id, -1)).await;
    let endpoint = &answer.node_endpoints[0];
    assert_eq!((&*endpoint.host, endpoint.port, endpoint.rack.as_deref()), ("elsewhere", 9099, Some("b")));
    // An old epoch of a partition that is led here: the hint is this broker. Where all is well, nothing is hinted.
    let own = peer.topic_id(TOPIC);
    let answer: FetchResponse = peer.call(1, 16, &fetch(own, 0)).await;
    let part = &answer.responses[0].partitions[0];
    assert_eq!((part.error_code, part.current_leader.leader_id.0, answer.node_endpoints.len()), (74, 1, 1));
    let answer: FetchResponse = peer.call(1, 16, &fetch(own, -1)).await;
    let part = &answer.responses[0].partitions[0];
    assert_eq!((part.error_code, part.current_leader.leader_id.0, answer.node_endpoints.len()), (0, -1, 0));
    let answer: ProduceResponse = peer.call(0, 12, &produce(TOPIC, 0, &batch(1), -1)).await;
    assert!(answer.node_endpoints.is_empty());
}

#[tokio::test]
async fn partitions_of_another_broker_are_its_own_to_tell() {
    let mut peer = peer_with_topic().await;
    led_elsewhere(&peer).await;
    let dirs: DescribeLogDirsResponse =
        peer.call(35, 4, &DescribeLogDirsRequest::default().with_topics(None)).await;
    let told: BTreeSet<&str> = dirs.results[0].topics.iter().map(|t| t.topic_name()).collect();
    assert_eq!(told, BTreeSet::from([TOPIC]));
    let asked = describe_producers_request::TopicRequest::default()
        .with_name(name("elsewhere"))
        .with_partition_indexes(vec![0]);
    let answer: DescribeProducersResponse =
        peer.call(61, 0, &DescribeProducersRequest::default().with_topics(vec![asked])).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 6);
}

trait Named {
    fn topic_name(&self) -> &str;
}

impl Named for describe_log_dirs_response::DescribeLogDirsTopic {
    fn topic_name(&self) -> &str {
        self.name.as_str()
    }
}
