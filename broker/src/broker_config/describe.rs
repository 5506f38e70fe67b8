//! What DescribeConfigs says of a broker, as Kafka 4.1.2 says it.
//!
//! Invariants: every key of Kafka's is reported, set or not, and every key of ours. The chain of synonyms is this
//! broker's dynamic value, the cluster's, what the process was started with, and the default; it starts no earlier than
//! the key's own name, as Kafka's does. No secret is reported.
//! Never: reports what Kafka keeps to itself (internal keys), or keys that Kafka 4.0 removed; the one exception is
//! `inter.broker.protocol.version`, which consoles read to tell the version of a cluster.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::scope::{Scope, scope};
use crate::config::key::{Class, Default, Key};
use crate::config::{Config, Layer, table};
use crate::topic_config::{ConfigEntry, ConfigSource, ConfigSynonym};

/// Kafka's name of the metadata version of 4.1.
const PROTOCOL_VERSION: &str = "4.1-IV1";
const PROTOCOL_VERSION_KEY: &str = "inter.broker.protocol.version";

/// Keys of which the first that is set counts.
const GROUPS: &[&[&str]] = &[
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
];

/// The configs of this broker; `filter` None or empty: all. Names that do not exist are left out, as in Kafka.
#[must_use]
pub fn describe<'a>(config: &'a Config, filter: Option<&[String]>) -> Vec<ConfigEntry<'a>> {
    let wanted = |key: &&Key| match filter {
        None | Some([]) => true,
        Some(names) => names.iter().any(|name| name == key.name),
    };
    table::all().iter().filter(|key| is_reported(key)).filter(wanted).map(|key| entry(key, config)).collect()
}

/// The cluster's default: what was set of it, and nothing else.
#[must_use]
pub fn describe_default<'a>(
    configs: &'a BTreeMap<String, String>,
    filter: Option<&[String]>,
) -> Vec<ConfigEntry<'a>> {
    let wanted = |name: &str| match filter {
        None | Some([]) => true,
        Some(names) => names.iter().any(|n| n == name),
    };
    let known = configs.iter().filter(|(name, _)| wanted(name)).filter_map(|(name, value)| {
        let key = table::find(name)?;
        let value = (!key.is_sensitive()).then_some(Cow::Borrowed(value.as_str()));
        let source = ConfigSource::DynamicDefaultBroker;
        let synonyms = vec![ConfigSynonym { name: key.name, value: value.clone(), source }];
        Some(shown(key, value, source, synonyms))
    });
    known.collect()
}

fn entry<'a>(key: &'static Key, config: &'a Config) -> ConfigEntry<'a> {
    let synonyms = chain(key, config);
    let source = synonyms.first().map_or(ConfigSource::Default, |first| first.source);
    let value = if key.is_sensitive() { None } else { value(key, config) };
    shown(key, value, source, synonyms)
}

fn shown<'a>(
    key: &'static Key,
    value: Option<Cow<'a, str>>,
    source: ConfigSource,
    synonyms: Vec<ConfigSynonym<'a>>,
) -> ConfigEntry<'a> {
    ConfigEntry {
        name: key.name,
        value,
        source,
        is_sensitive: key.is_sensitive(),
        read_only: scope(key.name) == Scope::ReadOnly,
        synonyms,
        kind: key.kind,
        doc: key.meaning,
        no_effect: match key.class {
            Class::NoEffect { why } => Some(why),
            Class::Effective | Class::Refused { .. } => None,
        },
    }
}

fn value<'a>(key: &Key, config: &'a Config) -> Option<Cow<'a, str>> {
    let computed = match key.name {
        // Kafka gives both names the value that holds.
        "broker.id" | "node.id" => Some(config.node_id.0.to_string()),
        "memory.bytes.max" => Some(config.memory.bytes_max.to_string()),
        "storage.path.style" => Some(config.storage.path_style.to_string()),
        "storage.url" => Some(config.storage.location.to_string()),
        PROTOCOL_VERSION_KEY => Some(PROTOCOL_VERSION.to_owned()),
        _ => None,
    };
    computed.map(Cow::Owned).or_else(|| config.values.text(key.name).map(Cow::Borrowed))
}

fn chain<'a>(key: &'static Key, config: &'a Config) -> Vec<ConfigSynonym<'a>> {
    let own = [key.name];
    let names = GROUPS.iter().find(|group| group.contains(&key.name)).map_or(&own[..], |group| *group);
    let mut chain = Vec::new();
    for layer in Layer::ALL {
        for name in names {
            let Some(of) = table::find(name) else { continue };
            let Some(set) = config.values.of_layer(layer, set_as(of.name, config)) else { continue };
            let value = (!set.is_sensitive).then_some(Cow::Borrowed(set.value.as_str()));
            chain.push(ConfigSynonym { name: of.name, value, source: layer.into() });
        }
    }
    for name in names {
        if let Some(of) = table::find(name)
            && let Default::Value(default) = of.default
        {
            let (value, source) = (Some(Cow::Borrowed(default)), ConfigSource::Default);
            chain.push(ConfigSynonym { name: of.name, value, source });
        }
    }
    let from = chain.iter().position(|synonym| synonym.name == key.name).unwrap_or(chain.len());
    chain.split_off(from)
}

/// `broker.id` is the old name of `node.id`: where one is set, both are.
fn set_as<'n>(name: &'n str, config: &Config) -> &'n str {
    match name {
        "broker.id" if config.values.explicit("node.id").is_some() => "node.id",
        "node.id" if config.values.explicit("node.id").is_none() => "broker.id",
        _ => name,
    }
}

fn is_reported(key: &Key) -> bool {
    UNREPORTED.binary_search(&key.name).is_err()
}

/// Internal to Kafka, gone in 4.0, or not a key of a broker's.
const UNREPORTED: &[&str] = &[
    "advertised.host.name",
    "advertised.port",
    "allow.everyone.if.no.acl.found",
    "broker.id.generation.enable",
    "config.providers",
    "control.plane.listener.name",
    "controller.performance.always.log.threshold.ms",
    "controller.performance.sample.period.ms",
    "delegation.token.master.key",
    "group.consumer.regex.refresh.interval.ms",
    "group.share.enable",
    "group.share.persister.class.name",
    "host.name",
    "internal.metadata.delete.delay.millis",
    "internal.metadata.log.segment.bytes",
    "internal.metadata.max.batch.size.in.bytes",
    "internal.metadata.max.fetch.size.in.bytes",
    "log.initial.task.delay.ms",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "password.encoder.old.secret",
    "password.encoder.secret",
    "port",
    "producer.id.expiration.check.interval.ms",
    "quota.consumer.default",
    "quota.producer.default",
    "remote.log.manager.task.retry.backoff.max.ms",
    "remote.log.manager.task.retry.backoff.ms",
    "remote.log.manager.task.retry.jitter",
    "reserved.broker.max.id",
    "server.max.startup.time.ms",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.state.topic.prune.interval.ms",
    "super.users",
    "unclean.leader.election.interval.ms",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
    "zookeeper.connect",
    "zookeeper.connection.timeout.ms",
    "zookeeper.max.in.flight.requests",
    "zookeeper.metadata.migration.enable",
    "zookeeper.session.timeout.ms",
    "zookeeper.set.acl",
    "zookeeper.sync.time.ms",
];

#[cfg(test)]
pub(super) fn unreported() -> &'static [&'static str] {
    UNREPORTED
}
