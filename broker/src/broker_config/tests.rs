//! Scopes, alterations and descriptions of broker configs, against what Kafka 4.1.2 says.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::api::errors::Code;
use crate::config::{Config, table};
use crate::topic_config::{AlterOp, ConfigChange, ConfigEntry, ConfigSource, TopicSettings};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn config(pairs: &[(&str, &str)]) -> Config {
    Config::from_pairs(pairs.iter().copied()).expect("a configuration")
}

fn set(name: &str, value: &str) -> ConfigChange {
    ConfigChange { name: name.to_owned(), op: AlterOp::Set, value: Some(value.to_owned()) }
}

fn altered(level: Level, changes: &[ConfigChange]) -> Result<BTreeMap<String, String>, Refused> {
    let (config, none) = (config(&[]), BTreeMap::new());
    apply(level, &none, changes, &Now { started_with: &config, other: &none, config: &config })
}

fn shown(entry: &ConfigEntry<'_>) -> String {
    let value = entry.value.as_deref().unwrap_or("null");
    let mut line = format!(
        "{}\t{value}\t{}\t{}\t{}\t{}",
        entry.name,
        entry.source.kafka_code(),
        entry.is_sensitive,
        entry.read_only,
        entry.kind.kafka_code()
    );
    for synonym in &entry.synonyms {
        let value = synonym.value.as_deref().unwrap_or("null");
        line += &format!("\t{}={value}@{}", synonym.name, synonym.source.kafka_code());
    }
    line
}

/// What Kafka 4.1.2 answered for its own broker, for each key that nobody set: name, value, source, sensitive,
/// read-only, type, synonyms.
#[test]
fn describe_answers_what_kafka_4_1_answers_for_a_broker() {
    // Different on purpose: see `config::table` for each.
    let differs = [
        "advertised.listeners",
        "controller.quorum.voters",
        "listeners",
        "log.dirs",
        "node.id",
        "process.roles",
    ];
    let config = config(&[]);
    let ours: BTreeMap<&str, String> =
        describe(&config, None).iter().map(|entry| (entry.name, shown(entry))).collect();
    let mut compared = 0;
    for line in include_str!("testdata/describe-kafka-4.1.2.tsv").lines() {
        let name = line.split('\t').next().expect("a name");
        if differs.contains(&name) {
            continue;
        }
        assert_eq!(ours.get(name).map(String::as_str), Some(line));
        compared += 1;
    }
    assert!(compared > 290, "{compared}");
}

#[test]
fn every_key_is_described_and_secrets_are_not() {
    let config = config(&[("storage.access.key.id", "id"), ("storage.access.key.secret", "hush")]);
    let entries = describe(&config, None);
    assert_eq!(entries.len() + super::describe::unreported().len(), table::all().len());
    let of = |name: &str| entries.iter().find(|entry| entry.name == name).expect("described");
    assert_eq!(
        shown(of("storage.access.key.secret")),
        "storage.access.key.secret\tnull\t4\ttrue\ttrue\t9\tstorage.access.key.secret=null@4"
    );
    assert!(!format!("{entries:?}").contains("hush"));
    assert_eq!(of("inter.broker.protocol.version").value.as_deref(), Some("4.1-IV1"));
    assert_eq!(of("broker.id").value.as_deref(), Some("1"));
    assert_eq!(of("storage.url").value.as_deref(), Some("file://./data/bucket"));
    assert!(of("num.io.threads").no_effect.is_some() && of("num.partitions").no_effect.is_none());
    let filter = ["num.partitions".to_owned(), "no.such".to_owned()];
    assert_eq!(describe(&config, Some(&filter)).len(), 1);
}

#[test]
fn scopes_name_keys_that_exist_and_only_kafkas() {
    for list in super::scope::lists() {
        assert!(list.is_sorted());
        for name in list {
            assert!(table::find(name).is_some(), "{name}");
        }
    }
    let described: BTreeSet<&str> = super::describe::unreported().iter().copied().collect();
    assert!(super::describe::unreported().is_sorted() && described.iter().all(|n| table::find(n).is_some()));
    assert_eq!(scope("num.partitions"), Scope::ReadOnly);
    assert_eq!(scope("storage.url"), Scope::ReadOnly);
    assert_eq!(scope("listeners"), Scope::PerBroker);
    assert_eq!(scope("log.retention.ms"), Scope::ClusterWide);
}

#[test]
fn a_broker_counts_before_the_cluster_before_the_start_before_the_default() {
    let started = config(&[("log.retention.ms", "1000"), ("message.max.bytes", "2000")]);
    let layered = |all: &[(&str, &str)], own: &[(&str, &str)]| {
        started.with_dynamic(&map(all), &map(own)).expect("fits")
    };
    let retention =
        |config: &Config| TopicSettings::resolve(&BTreeMap::new(), config).retention_ms.expect("bounded");
    let both = layered(&[("log.retention.ms", "2000")], &[("log.retention.ms", "3000")]);
    assert_eq!(retention(&both), 3000);
    assert_eq!(retention(&layered(&[("log.retention.ms", "2000")], &[])), 2000);
    assert_eq!(retention(&layered(&[], &[])), 1000);
    assert_eq!(layered(&[("max.connections", "7")], &[]).connections.connections_max, 7);
    let line = shown(&describe(&both, Some(&["log.retention.ms".to_owned()]))[0]);
    assert_eq!(
        line,
        "log.retention.ms\t3000\t2\tfalse\tfalse\t5\tlog.retention.ms=3000@2\tlog.retention.ms=2000@3\
         \tlog.retention.ms=1000@4\tlog.retention.hours=168@5"
    );
    let own = map(&[]);
    let topic = crate::topic_config::describe(&own, &both, Some(&["retention.ms".to_owned()]));
    let sources: Vec<ConfigSource> = topic[0].synonyms.iter().map(|s| s.source).collect();
    use ConfigSource::{Default, DynamicBroker, DynamicDefaultBroker, StaticBroker};
    assert_eq!(sources, [DynamicBroker, DynamicDefaultBroker, StaticBroker, Default]);
    let stored = layered(&[("no.such.key", "1"), ("max.connections", "many")], &[]);
    assert_eq!(stored.connections.connections_max, i32::MAX.unsigned_abs(), "impossible values are absent");
}

#[test]
fn the_default_of_the_cluster_is_what_was_set_of_it() {
    let configs = map(&[("log.retention.ms", "5"), ("message.max.bytes", "7")]);
    let lines: Vec<String> = describe_default(&configs, None).iter().map(shown).collect();
    assert_eq!(
        lines,
        [
            "log.retention.ms\t5\t3\tfalse\tfalse\t5\tlog.retention.ms=5@3",
            "message.max.bytes\t7\t3\tfalse\tfalse\t3\tmessage.max.bytes=7@3"
        ]
    );
    assert_eq!(describe_default(&configs, Some(&["message.max.bytes".to_owned()])).len(), 1);
    assert_eq!(describe_default(&map(&[]), None), []);
}

#[test]
fn alterations_are_refused_in_kafkas_words() {
    use Level::{Cluster, ThisBroker};
    let cases: &[(Level, &[ConfigChange], Code, &str)] = &[
        (
            ThisBroker,
            &[set("num.partitions", "3"), set("node.id", "3")],
            Code::InvalidRequest,
            "Cannot update these configs dynamically: Set(node.id, num.partitions)",
        ),
        (
            Cluster,
            &[set("storage.upload.bytes", "1048576")],
            Code::InvalidRequest,
            "Cannot update these configs dynamically: Set(storage.upload.bytes)",
        ),
        (
            Cluster,
            &[set("listeners", "PLAINTEXT://:1")],
            Code::InvalidRequest,
            "Cannot update these configs at default cluster level, broker id must be specified: Set(listeners)",
        ),
        (
            ThisBroker,
            &[set("ssl.key.password", "x")],
            Code::InvalidRequest,
            "These security configs can be dynamically updated only per-listener using the listener prefix: \
             Set(ssl.key.password)",
        ),
        (
            ThisBroker,
            &[set("log.retention.ms", "abc")],
            Code::InvalidRequest,
            "Invalid value abc for configuration log.retention.ms: Not a number of type LONG",
        ),
        (
            ThisBroker,
            &[set("message.max.bytes", "-1")],
            Code::InvalidRequest,
            "Invalid value -1 for configuration message.max.bytes: Value must be at least 0",
        ),
        (
            ThisBroker,
            &[set("num.io.threads", "100")],
            Code::InvalidRequest,
            "Dynamic thread count update validation failed for num.io.threads=100, value should not be greater than \
             double the current value 8",
        ),
        (
            ThisBroker,
            &[set("num.io.threads", "2")],
            Code::InvalidRequest,
            "Dynamic thread count update validation failed for num.io.threads=2, value should be at least half the \
             current value 8",
        ),
        (
            ThisBroker,
            &[set("listeners", "PLAINTEXT://:1")],
            Code::InvalidRequest,
            "Invalid value PLAINTEXT://:1 for configuration listeners: listeners and their security do not change while \
             this broker runs",
        ),
        (
            Cluster,
            &[set("log.retention.msx", "1")],
            Code::InvalidConfig,
            "Unknown broker config name: log.retention.msx (did you mean log.retention.ms?)",
        ),
    ];
    for (level, changes, code, why) in cases {
        assert_eq!(altered(*level, changes), Err((*code, (*why).to_owned())));
    }
    for (name, value) in [("log.cleanup.policy", "compact"), ("compression.type", "zstd")] {
        let (code, _) = altered(Cluster, &[set(name, value)]).expect_err("not served yet");
        assert_eq!(code, Code::InvalidRequest);
    }
    let (code, why) = altered(Cluster, &[set("message.max.bytes", "2147483647")]).expect_err("does not fit");
    assert!(code == Code::InvalidRequest && why.contains("message.max.bytes"), "{why}");
}

#[test]
fn steps_set_delete_append_and_subtract() {
    let step = |name: &str, op, value: Option<&str>| ConfigChange {
        name: name.to_owned(),
        op,
        value: value.map(str::to_owned),
    };
    let (started, none) = (config(&[]), BTreeMap::new());
    let now = Now { started_with: &started, other: &none, config: &started };
    let steps = [
        step("log.retention.ms", AlterOp::Delete, None),
        step("num.partitions", AlterOp::Delete, None),
        step("no.such.key", AlterOp::Delete, None),
        step("max.connections", AlterOp::Set, Some(" 12 ")),
        step("num.io.threads", AlterOp::Set, Some("16")),
        step("metric.reporters", AlterOp::Append, Some("a,b")),
    ];
    let current = map(&[("log.retention.ms", "5")]);
    let after = apply(Level::Cluster, &current, &steps, &now).expect("accepted");
    let jmx = "org.apache.kafka.common.metrics.JmxReporter,a,b";
    assert_eq!(after, map(&[("max.connections", "12"), ("metric.reporters", jmx), ("num.io.threads", "16")]));
    let less = step("metric.reporters", AlterOp::Subtract, Some("a"));
    let after = apply(Level::Cluster, &after, &[less], &now).expect("accepted");
    assert!(after["metric.reporters"].ends_with("JmxReporter,b"), "{after:?}");
    let refused = apply(Level::Cluster, &none, &[step("max.connections", AlterOp::Append, Some("1"))], &now);
    let why = "Config value append is not allowed for config key: max.connections".to_owned();
    assert_eq!(refused, Err((Code::InvalidConfig, why)));
    let replaced = replace(Level::ThisBroker, map(&[("max.connections", "9")]), &now).expect("accepted");
    assert_eq!(replaced, map(&[("max.connections", "9")]));
}
