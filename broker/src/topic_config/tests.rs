//! Topic configs as stories, and Kafka's own answers as the judge of ours.

use std::collections::BTreeMap;

use super::table::TABLE;
use super::*;
use crate::config::{Config, value};

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn broker(pairs: &[(&str, &str)]) -> Config {
    Config::from_pairs(pairs.iter().copied()).expect("a broker's configuration")
}

fn change(name: &str, op: AlterOp, value: Option<&str>) -> ConfigChange {
    ConfigChange { name: name.to_owned(), op, value: value.map(str::to_owned) }
}

#[test]
fn a_topic_without_overrides_follows_its_broker() {
    let settings = TopicSettings::resolve(&overrides(&[]), &broker(&[]));
    let kafkas = TopicSettings {
        retention_ms: Some(604_800_000),
        retention_bytes: None,
        cleanup_deletes: true,
        message_bytes_max: 1_048_588,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_ms_max: i64::MAX,
        timestamp_after_ms_max: 3_600_000,
    };
    assert_eq!(settings, kafkas);
    let other = broker(&[("log.retention.hours", "2"), ("log.message.timestamp.type", "LogAppendTime")]);
    let settings = TopicSettings::resolve(&overrides(&[]), &other);
    assert_eq!(settings.retention_ms, Some(7_200_000));
    assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
}

#[test]
fn of_the_brokers_retention_times_the_finest_that_is_set_counts_and_the_topics_own_beats_it() {
    let hours = ("log.retention.hours", "1");
    let minutes = ("log.retention.minutes", "10");
    let ms = ("log.retention.ms", "-5");
    let resolved =
        |config: &Config, own: &[(&str, &str)]| TopicSettings::resolve(&overrides(own), config).retention_ms;
    assert_eq!(resolved(&broker(&[hours, minutes]), &[]), Some(600_000));
    assert_eq!(resolved(&broker(&[hours, minutes, ms]), &[]), None);
    assert_eq!(resolved(&broker(&[hours, minutes, ms]), &[("retention.ms", "7")]), Some(7));
    assert_eq!(resolved(&broker(&[hours]), &[("retention.ms", "-1")]), None);
}

#[test]
fn no_topic_takes_a_batch_that_its_broker_cannot() {
    let config = broker(&[("wal.segment.bytes", "4MiB")]);
    let settings = TopicSettings::resolve(&overrides(&[("max.message.bytes", "2147483647")]), &config);
    assert_eq!(settings.message_bytes_max, ((4 << 20) - (256 << 10)) / 2);
}

#[test]
fn a_stored_override_that_is_impossible_counts_as_absent() {
    let settings =
        TopicSettings::resolve(&overrides(&[("retention.ms", "soon"), ("new.in.5.0", "1")]), &broker(&[]));
    assert_eq!(settings.retention_ms, Some(604_800_000));
}

#[test]
fn an_empty_cleanup_policy_keeps_records_until_someone_deletes_them() {
    let settings = TopicSettings::resolve(&overrides(&[("cleanup.policy", "")]), &broker(&[]));
    assert!(!settings.cleanup_deletes);
}

#[test]
fn what_kafka_accepts_is_accepted_unless_ignoring_it_would_lose_records() {
    for (name, value) in [
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),
        ("compression.zstd.level", "-7"),
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "TRUE"),
        ("flush.messages", "1"),
        ("segment.bytes", " 1048576 "),
        ("retention.bytes", "-9"),
        ("remote.storage.enable", "false"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "0:1,1:2"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ] {
        assert_eq!(validate(name, value), Ok(()), "{name}={value}");
    }
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact, delete"),
        ("compression.type", "zstd"),
        ("compression.type", "uncompressed"),
        ("remote.storage.enable", "true"),
    ] {
        let refusal = validate(name, value).expect_err("not yet");
        assert!(matches!(refusal, ConfigRefusal::NotYet { .. }), "{name}={value}");
    }
}

#[test]
fn what_kafka_refuses_is_refused_with_the_reason() {
    for (name, value, message) in [
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        (
            "segment.bytes",
            "1048575",
            "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            "retention.ms",
            "soon",
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        ("retention.ms", "1d", "Invalid value 1d for configuration retention.ms: Not a number of type LONG"),
        (
            "preallocate",
            "1",
            "Invalid value 1 for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "cleanup.policy",
            "Delete",
            "Invalid value Delete for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "follower.replication.throttled.replicas",
            "0:1,x",
            "Invalid value 0:1,x for configuration follower.replication.throttled.replicas: \
             follower.replication.throttled.replicas must be the literal '*' or a list of replicas in the following \
             format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        ("retention.mss", "1", "Unknown topic config name: retention.mss (did you mean retention.ms?)"),
        (
            "message.format.version",
            "2.8",
            "Unknown topic config name: message.format.version (Kafka 4.0 removed it)",
        ),
    ] {
        assert_eq!(validate(name, value).expect_err(name).to_string(), message);
    }
    let lags = overrides(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")]);
    assert_eq!(validate_all(&lags), Err(ConfigRefusal::CompactionLag { min: 10, max: 9 }));
}

#[test]
fn incremental_changes_set_delete_append_and_subtract() {
    let current = overrides(&[("retention.ms", "1"), ("flush.ms", "2")]);
    let changes = [
        change("retention.ms", AlterOp::Set, Some("3")),
        change("flush.ms", AlterOp::Delete, None),
        change("leader.replication.throttled.replicas", AlterOp::Append, Some("0:1,1:1")),
        change("never.heard.of", AlterOp::Delete, None),
    ];
    let after = apply_incremental(&current, &changes).expect("accepted");
    assert_eq!(
        after,
        overrides(&[("retention.ms", "3"), ("leader.replication.throttled.replicas", "0:1,1:1")])
    );

    let changes = [change("leader.replication.throttled.replicas", AlterOp::Subtract, Some("0:1,7:7"))];
    let after = apply_incremental(&after, &changes).expect("accepted");
    assert_eq!(after.get("leader.replication.throttled.replicas").map(String::as_str), Some("1:1"));
}

#[test]
fn what_no_client_may_set_stays_where_it_is_set() {
    let internal = overrides(&[("cleanup.policy", "compact")]);
    let after =
        apply_incremental(&internal, &[change("flush.ms", AlterOp::Set, Some("2"))]).expect("accepted");
    assert_eq!(after, overrides(&[("cleanup.policy", "compact"), ("flush.ms", "2")]));
    assert_eq!(validate_changed(&internal, &after), Ok(()));
    assert!(matches!(validate_all(&internal), Err(ConfigRefusal::NotYet { .. })));
    let back = [change("cleanup.policy", AlterOp::Set, Some("compact,delete"))];
    assert!(apply_incremental(&internal, &back).is_err());
}

#[test]
fn append_starts_from_the_default_and_adds_nothing_twice() {
    let none = overrides(&[]);
    let append = |value| apply_incremental(&none, &[change("cleanup.policy", AlterOp::Append, Some(value))]);
    assert_eq!(append("delete").expect("accepted"), overrides(&[("cleanup.policy", "delete")]));
    assert!(
        matches!(append("compact"), Err(ConfigRefusal::NotYet { value, .. }) if value == "delete,compact")
    );
}

#[test]
fn changes_that_cannot_be_are_refused_as_a_whole() {
    let none = overrides(&[]);
    let refused = |changes: &[ConfigChange]| apply_incremental(&none, changes).expect_err("refused");
    let not_a_list = refused(&[change("flush.ms", AlterOp::Append, Some("1"))]);
    assert_eq!(not_a_list.to_string(), "Can't APPEND to key flush.ms because its type is not LIST.");
    assert!(matches!(refused(&[change("x", AlterOp::Subtract, Some("1"))]), ConfigRefusal::Unknown { .. }));
    assert_eq!(AlterOp::from_code(3), Some(AlterOp::Subtract));
    assert_eq!(AlterOp::from_code(4), None);
}

/// What Kafka 4.1.2's own `ConfigHelper` answered for the same broker and topic: one `case` line, then a line per
/// config: name, value, source, sensitive, read-only, type, synonyms.
#[test]
fn describe_answers_what_kafka_4_1_answers() {
    let mut cases = 0;
    let mut lines = include_str!("testdata/describe-kafka-4.1.2.tsv").lines().peekable();
    while let Some(case) = lines.next() {
        let pairs = |what: &str| -> Vec<(&str, &str)> {
            let given = case.split('\t').filter_map(|part| part.strip_prefix(what)?.strip_prefix(' '));
            given.map(|pair| pair.split_once('=').expect("key=value")).collect()
        };
        let ours: Vec<String> = describe(&overrides(&pairs("topic")), &broker(&pairs("broker")), None)
            .iter()
            .map(shown)
            .collect();
        let mut kafkas = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("case")) {
            kafkas.push(line.to_owned());
        }
        assert_eq!(ours, kafkas, "{case}");
        cases += 1;
    }
    assert_eq!(cases, 6);
}

fn shown(entry: &ConfigEntry) -> String {
    let (name, value, source) =
        (entry.name, entry.value.as_deref().unwrap_or("null"), entry.source.kafka_code());
    let code = entry.kind.kafka_code();
    let mut line = format!("{name}\t{value}\t{source}\t{}\t{}\t{code}", entry.is_sensitive, entry.read_only);
    for synonym in &entry.synonyms {
        line += &format!(
            "\t{}={}@{}",
            synonym.name,
            synonym.value.as_deref().unwrap_or("null"),
            synonym.source.kafka_code()
        );
    }
    line
}

#[test]
fn describe_keeps_to_the_names_asked_for() {
    let names = |filter: &[&str]| -> Vec<&str> {
        let filter: Vec<String> = filter.iter().map(|name| (*name).to_owned()).collect();
        describe(&overrides(&[]), &broker(&[]), Some(&filter)).iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(&["retention.ms", "no.such", "cleanup.policy"]), ["cleanup.policy", "retention.ms"]);
    assert_eq!(names(&[]).len(), TABLE.len());
}

#[test]
fn the_table_is_sorted_and_agrees_with_the_brokers_keys() {
    for pair in TABLE.windows(2) {
        assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
    }
    for key in TABLE {
        assert_eq!(
            value::check(key.kind, key.bounds, key.default).as_deref(),
            Ok(key.default),
            "{}",
            key.name
        );
        assert!(validate(key.name, key.default).is_ok(), "the default of {} is served", key.name);
        for synonym in key.synonyms {
            let broker_key = crate::config::table::find(synonym.name);
            let broker_key = broker_key.unwrap_or_else(|| panic!("{} is no broker key", synonym.name));
            if synonym.scale == 1 {
                assert_eq!(broker_key.kind, key.kind, "{}", synonym.name);
            }
        }
    }
}

#[test]
fn the_documentation_is_the_table() {
    crate::config::docs_test::compare("topic-config.md", &docs());
}
