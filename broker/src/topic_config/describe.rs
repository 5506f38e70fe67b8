//! What DescribeConfigs says of a topic, as Kafka 4.1.2 says it.
//!
//! Invariants: every config of the table is reported. The chain of synonyms is the topic's override, what the broker
//! was given, and the defaults, starting no earlier than the first-named synonym: so a broker that only has
//! `log.retention.hours` reports no synonym of `retention.ms`, and a source of DEFAULT_CONFIG. Kafka does that too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::settings::effective;
use super::table::{Class, TABLE, TopicKey};
use crate::config::key::{Default, Kind};
use crate::config::{Config, Layer, Values, table};

/// `DescribeConfigsResponse.ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    BrokerLogger = 6,
}

impl From<Layer> for ConfigSource {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Dynamic => Self::DynamicBroker,
            Layer::DynamicDefault => Self::DynamicDefaultBroker,
            Layer::Static => Self::StaticBroker,
        }
    }
}

impl ConfigSource {
    #[must_use]
    pub fn kafka_code(self) -> i8 {
        self as i8
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry<'a> {
    pub name: &'static str,
    /// None: nothing is set, or it is a secret.
    pub value: Option<Cow<'a, str>>,
    pub source: ConfigSource,
    pub is_sensitive: bool,
    pub read_only: bool,
    /// The chain, strongest first; the caller leaves it out unless the request asks for it.
    pub synonyms: Vec<ConfigSynonym<'a>>,
    pub kind: Kind,
    pub doc: &'static str,
    /// Why it does nothing here, if it does nothing.
    pub no_effect: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym<'a> {
    pub name: &'static str,
    pub value: Option<Cow<'a, str>>,
    pub source: ConfigSource,
}

/// The configs of a topic; `filter` None or empty: all. Names that do not exist are left out, as in Kafka.
#[must_use]
pub fn describe<'a>(
    overrides: &'a BTreeMap<String, String>,
    broker: &'a Config,
    filter: Option<&[String]>,
) -> Vec<ConfigEntry<'a>> {
    let wanted = |key: &&TopicKey| match filter {
        None | Some([]) => true,
        Some(names) => names.iter().any(|name| name == key.name),
    };
    TABLE.iter().filter(wanted).map(|key| entry(key, overrides, &broker.values)).collect()
}

fn entry<'a>(
    key: &'static TopicKey,
    overrides: &'a BTreeMap<String, String>,
    broker: &'a Values,
) -> ConfigEntry<'a> {
    let (value, is_overridden) = effective(key, overrides, broker);
    let own = is_overridden.then(|| ConfigSynonym {
        name: key.name,
        value: Some(value.clone()),
        source: ConfigSource::DynamicTopic,
    });
    let mut synonyms = Vec::from_iter(own);
    broker_chain(key, broker, &mut synonyms);
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
        no_effect: match key.class {
            Class::Effective => None,
            Class::MetByDesign { why } | Class::NotYet { why, .. } => Some(why),
        },
    }
}

fn broker_chain<'a>(key: &'static TopicKey, broker: &'a Values, chain: &mut Vec<ConfigSynonym<'a>>) {
    let Some(first) = key.synonyms.first().map(|synonym| synonym.name) else { return };
    let mut begun = false;
    let mut push = |name: &'static str, value: &'a str, source| {
        begun |= name == first;
        if begun {
            chain.push(ConfigSynonym { name, value: Some(Cow::Borrowed(value)), source });
        }
    };
    for layer in Layer::ALL {
        for synonym in key.synonyms {
            if let Some(set) = broker.of_layer(layer, synonym.name) {
                push(synonym.name, &set.value, layer.into());
            }
        }
    }
    for synonym in key.synonyms {
        if let Some(Default::Value(value)) = table::find(synonym.name).map(|key| key.default) {
            push(synonym.name, value, ConfigSource::Default);
        }
    }
}
