//! DescribeConfigs (key 32) v1 to v4, AlterConfigs (key 33) v0 to v2, IncrementalAlterConfigs (key 44) v0 to v1 and
//! ListConfigResources (key 74) v0 to v1. KIP-133, KIP-226 (dynamic broker configs, synonyms), KIP-339, KIP-412 (loggers),
//! KIP-569 (types and documentation), KIP-1142 (listing).
//!
//! Behaviour: topics, this broker, the default of all brokers ("" as name), and this broker's loggers; any broker takes
//! those of topics and the default, and only itself its own. One table each (`topic_config`, `config` with
//! `broker_config`) validates, resolves and describes. An alteration holds only for the version of the configs that it
//! was checked against; a change in between is taken into account. Codes and words are Kafka's.
//! Left out: configs of client metrics (16) and groups (32), which only client telemetry and the new group protocols
//! read: INVALID_REQUEST with a message. They are listed, as none.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as AlteredResource;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::alter::{self, Change};
use super::errors::Code;
use super::topics::is_valid_name;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::topic_config::{self, AlterOp, ConfigChange, ConfigEntry, ConfigSource};
use crate::{broker_config, config};

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

pub(super) type Refused = (Code, String);

pub async fn describe(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeConfigsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let asked = Asked {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
        version: context.version(),
    };
    let config = broker.live.load();
    // Most configs of most topics are their broker's: they are put together once for all topics of a request.
    let none = BTreeMap::new();
    let unset = LazyCell::new(|| {
        let entries = topic_config::describe(&none, &config, None);
        entries.into_iter().map(|entry| encoded(entry, &asked)).collect::<Vec<_>>()
    });
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let answer = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match describe_one(broker, &config, resource, &asked, &unset) {
                // Kafka gives an empty text where there is no error.
                Ok(configs) => answer.with_error_message(Some(StrBytes::default())).with_configs(configs),
                Err((code, why)) => answer.with_error_code(code.into()).with_error_message(Some(text(why))),
            }
        })
        .collect();
    context.answer(&DescribeConfigsResponse::default().with_results(results))
}

struct Asked {
    synonyms: bool,
    documentation: bool,
    version: i16,
}

fn describe_one(
    broker: &Broker,
    config: &config::Config,
    resource: &DescribeConfigsResource,
    asked: &Asked,
    unset: &LazyCell<Vec<DescribeConfigsResourceResult>, impl FnOnce() -> Vec<DescribeConfigsResourceResult>>,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let name = resource.resource_name.as_str();
    let wanted: Option<Vec<String>> =
        resource.configuration_keys.as_ref().map(|keys| keys.iter().map(ToString::to_string).collect());
    let wanted = wanted.as_deref();
    let answer = |entries: Vec<ConfigEntry<'_>>| entries.into_iter().map(|e| encoded(e, asked)).collect();
    match resource.resource_type {
        TOPIC => {
            is_valid_name(name).map_err(|why| (Code::InvalidTopicException, why))?;
            let image = broker.metadata.image();
            let topic = image.topic_by_name(name).ok_or((Code::UnknownTopicOrPartition, String::new()))?;
            if wanted.is_some_and(|names| !names.is_empty()) {
                return Ok(answer(topic_config::describe(&topic.configs, config, wanted)));
            }
            let mut configs = (**unset).clone();
            let own: Vec<String> = topic.configs.keys().cloned().collect();
            if !own.is_empty() {
                for entry in topic_config::describe(&topic.configs, config, Some(&own)) {
                    if let Some(at) = configs.iter().position(|c| c.name.as_str() == entry.name) {
                        configs[at] = encoded(entry, asked);
                    }
                }
            }
            Ok(configs)
        }
        BROKER if name.is_empty() => {
            let (image, none) = (broker.metadata.image(), BTreeMap::new());
            let configs = image.broker_configs(None).map_or(&none, |row| &row.configs);
            Ok(answer(broker_config::describe_default(configs, wanted)))
        }
        BROKER => {
            is_this_broker(broker, name, " or empty string,")?;
            Ok(answer(broker_config::describe(config, wanted)))
        }
        BROKER_LOGGER => {
            if name.is_empty() {
                return Err((Code::InvalidRequest, "Broker id must not be empty".into()));
            }
            is_this_broker(broker, name, "")?;
            let is_wanted = |logger: &String| wanted.is_none_or(|w| w.is_empty() || w.contains(logger));
            let loggers = broker.loggers.levels().into_iter().filter(|(logger, _)| is_wanted(logger));
            Ok(loggers.map(|(logger, level)| logger_entry(logger, level, asked)).collect())
        }
        CLIENT_METRICS if name.is_empty() => {
            Err((Code::InvalidRequest, "Client metrics subscription name must not be empty".into()))
        }
        GROUP if name.is_empty() => Err((Code::InvalidRequest, "Group name must not be empty".into())),
        other => Err((Code::InvalidRequest, not_served(other))),
    }
}

fn is_this_broker(broker: &Broker, name: &str, or: &str) -> Result<(), Refused> {
    let why = match name.parse::<i32>() {
        Ok(id) if id == broker.node.0 => return Ok(()),
        Ok(id) => format!("Unexpected broker id, expected {}{or} but received {id}", broker.node),
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err((Code::InvalidRequest, why))
}

fn encoded(entry: ConfigEntry<'_>, asked: &Asked) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().filter(|_| asked.synonyms).map(|s| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_static_str(s.name))
            .with_value(s.value.map(text))
            .with_source(s.source.kafka_code())
    });
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(entry.name))
        .with_value(entry.value.map(text))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source.kafka_code())
        .with_is_sensitive(entry.is_sensitive)
        .with_synonyms(synonyms.collect());
    result.documentation = None;
    if asked.version >= 3 {
        result.config_type = entry.kind.kafka_code();
        if asked.documentation {
            result.documentation = Some(match entry.no_effect {
                None => StrBytes::from_static_str(entry.doc),
                Some(why) => text(format!("{} Tidegate: {why}.", entry.doc)),
            });
        }
    }
    result
}

fn logger_entry(logger: String, level: &'static str, asked: &Asked) -> DescribeConfigsResourceResult {
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(text(logger))
        .with_value(Some(StrBytes::from_static_str(level)))
        .with_config_source(ConfigSource::BrokerLogger.kafka_code());
    result.documentation = None;
    if asked.version >= 3 {
        // Kafka gives levels no type.
        result.config_type = 0;
    }
    result
}

pub(super) fn not_served(resource_type: i8) -> String {
    match resource_type {
        CLIENT_METRICS => "configs of client metrics are not served yet".into(),
        GROUP => "configs of groups are not served yet".into(),
        other => format!("Unknown resource type {other}"),
    }
}

pub async fn incremental_alter(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: IncrementalAlterConfigsRequest,
) -> Result<Answer, Close> {
    let times = times(request.resources.iter().map(|r| (r.resource_type, &r.resource_name)));
    let mut response = IncrementalAlterConfigsResponse::default();
    for resource in &request.resources {
        let place = (resource.resource_type, resource.resource_name.as_str());
        let outcome = match (times[&place], changes(resource)) {
            (1, Ok(changes)) => {
                alter::alter(broker, place, Change::Steps(changes), request.validate_only).await
            }
            (1, Err(refused)) => Err(refused),
            _ => Err(named_twice()),
        };
        let answer = AlterConfigsResourceResponse::default()
            .with_error_message(None)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        response.responses.push(match outcome {
            Ok(()) => answer,
            Err((code, why)) => answer.with_error_code(code.into()).with_error_message(Some(text(why))),
        });
    }
    context.answer(&response)
}

pub async fn alter(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: AlterConfigsRequest,
) -> Result<Answer, Close> {
    let times = times(request.resources.iter().map(|r| (r.resource_type, &r.resource_name)));
    let mut response = AlterConfigsResponse::default();
    for resource in &request.resources {
        let place = (resource.resource_type, resource.resource_name.as_str());
        let given = resource.configs.iter().map(|c| (c.name.as_str(), c.value.as_deref(), true));
        let outcome = match (times[&place], values(given)) {
            (1, Ok(configs)) => {
                alter::alter(broker, place, Change::All(configs), request.validate_only).await
            }
            (1, Err(refused)) => Err(refused),
            _ => Err(named_twice()),
        };
        let answer = AlteredResource::default()
            .with_error_message(None)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        response.responses.push(match outcome {
            Ok(()) => answer,
            Err((code, why)) => answer.with_error_code(code.into()).with_error_message(Some(text(why))),
        });
    }
    context.answer(&response)
}

fn times<'a>(resources: impl Iterator<Item = (i8, &'a StrBytes)>) -> BTreeMap<(i8, &'a str), u32> {
    let mut times = BTreeMap::new();
    for (kind, name) in resources {
        *times.entry((kind, name.as_str())).or_default() += 1;
    }
    times
}

fn named_twice() -> Refused {
    (Code::InvalidRequest, "Each resource must appear at most once.".into())
}

fn changes(resource: &AlterConfigsResource) -> Result<Vec<ConfigChange>, Refused> {
    let given = resource.configs.iter().map(|config| {
        let needs_value = AlterOp::from_code(config.config_operation) != Some(AlterOp::Delete);
        (config.name.as_str(), config.value.as_deref(), needs_value)
    });
    values(given)?;
    let mut changes = Vec::new();
    for config in &resource.configs {
        let op = AlterOp::from_code(config.config_operation).ok_or_else(|| {
            (Code::InvalidRequest, format!("Unknown operations type {}", config.config_operation))
        })?;
        let value = config.value.as_ref().map(ToString::to_string);
        changes.push(ConfigChange { name: config.name.to_string(), op, value });
    }
    Ok(changes)
}

/// Each key once, and no value null where one is needed.
fn values<'a>(
    given: impl Iterator<Item = (&'a str, Option<&'a str>, bool)>,
) -> Result<BTreeMap<String, String>, Refused> {
    let (mut values, mut seen, mut nulls) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut twice = false;
    for (name, value, needs_value) in given {
        twice |= !seen.insert(name);
        match value {
            Some(value) => drop(values.insert(name.to_owned(), value.to_owned())),
            None if needs_value => nulls.push(name),
            None => {}
        }
    }
    if twice {
        return Err((Code::InvalidRequest, "Error due to duplicate config keys".into()));
    }
    if !nulls.is_empty() {
        return Err((Code::InvalidRequest, format!("Null value not supported for : {}", nulls.join(","))));
    }
    Ok(values)
}

pub async fn list_resources(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: ListConfigResourcesRequest,
) -> Result<Answer, Close> {
    const KNOWN: [i8; 5] = [GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];
    broker.lease.wait_valid().await;
    // v0 lists client metrics only.
    let asked = match (context.version(), request.resource_types.is_empty()) {
        (0, _) => &[CLIENT_METRICS][..],
        (_, true) => &KNOWN[..],
        (_, false) => &request.resource_types[..],
    };
    if asked.iter().any(|kind| !KNOWN.contains(kind)) {
        let refused = ListConfigResourcesResponse::default().with_error_code(Code::UnsupportedVersion.into());
        return context.answer(&refused);
    }
    let image = broker.metadata.image();
    let mut found = Vec::new();
    for kind in KNOWN.into_iter().filter(|kind| asked.contains(kind)) {
        let named = |name| ConfigResource::default().with_resource_type(kind).with_resource_name(name);
        match kind {
            BROKER | BROKER_LOGGER => {
                let live = image.brokers().filter(|b| !b.fenced);
                found.extend(live.map(|b| named(text(b.id.to_string()))));
            }
            TOPIC => found.extend(image.topics().map(|t| named(text(&*t.name)))),
            _ => {}
        }
    }
    context.answer(&ListConfigResourcesResponse::default().with_config_resources(found))
}
