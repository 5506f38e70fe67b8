//! What DescribeConfigs says of a topic, as Kafka 4.1.2 says it.
//!
//! Invariants: every config of the table is reported. The chain of synonyms is the topic's override, what the broker
//! was given, and the defaults, starting no earlier than the first-named synonym: so a broker that only has
//! `log.retention.hours` reports no synonym of `retention.ms`, and a source of DEFAULT_CONFIG. Kafka does that too.

use std::collections::BTreeMap;

use super::settings::effective;
use super::table::{TABLE, TopicKey};
use crate::config::key::{Default, Kind};
use crate::config::{Config, Values, table, value};

/// `DescribeConfigsResponse.ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    DynamicTopic = 1,
    StaticBroker = 4,
    Default = 5,
}

impl ConfigSource {
    #[must_use]
    pub fn kafka_code(self) -> i8 {
        self as i8
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: &'static str,
    /// None for a sensitive config.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_sensitive: bool,
    pub read_only: bool,
    /// The chain, strongest first; the caller leaves it out unless the request asks for it.
    pub synonyms: Vec<ConfigSynonym>,
    pub kind: Kind,
    pub doc: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: &'static str,
    pub value: String,
    pub source: ConfigSource,
}

/// The configs of a topic; `filter` None or empty: all. Names that do not exist are left out, as in Kafka.
#[must_use]
pub fn describe(
    overrides: &BTreeMap<String, String>,
    broker: &Config,
    filter: Option<&[String]>,
) -> Vec<ConfigEntry> {
    let wanted = |key: &&TopicKey| match filter {
        None | Some([]) => true,
        Some(names) => names.iter().any(|name| name == key.name),
    };
    TABLE.iter().filter(wanted).map(|key| entry(key, overrides, &broker.values)).collect()
}

fn entry(key: &TopicKey, overrides: &BTreeMap<String, String>, broker: &Values) -> ConfigEntry {
    let value = effective(key, overrides, broker);
    let is_overridden =
        overrides.get(key.name).is_some_and(|text| value::check(key.kind, key.bounds, text).is_ok());
    let own = is_overridden.then(|| ConfigSynonym {
        name: key.name,
        value: value.clone(),
        source: ConfigSource::DynamicTopic,
    });
    let synonyms: Vec<ConfigSynonym> = own.into_iter().chain(broker_chain(key, broker)).collect();
    ConfigEntry {
        name: key.name,
        source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
        value: Some(value),
        // No topic config is a password.
        is_sensitive: false,
        read_only: false,
        synonyms,
        kind: key.kind,
        doc: key.doc,
    }
}

fn broker_chain(key: &TopicKey, broker: &Values) -> impl Iterator<Item = ConfigSynonym> {
    let first = key.synonyms.first().map(|synonym| synonym.name);
    let set = key.synonyms.iter().filter_map(|synonym| {
        let value = broker.explicit(synonym.name)?.value.clone();
        Some(ConfigSynonym { name: synonym.name, value, source: ConfigSource::StaticBroker })
    });
    let defaults = key.synonyms.iter().filter_map(|synonym| match table::find(synonym.name)?.default {
        Default::Value(value) => {
            Some(ConfigSynonym { name: synonym.name, value: value.to_owned(), source: ConfigSource::Default })
        }
        Default::Unset | Default::Computed(_) => None,
    });
    let chain: Vec<ConfigSynonym> = set.chain(defaults).collect();
    chain.into_iter().skip_while(move |synonym| Some(synonym.name) != first)
}
