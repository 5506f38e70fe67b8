//! DescribeConfigs (key 32) v1 to v4 and IncrementalAlterConfigs (key 44) v0 to v1, of topics. KIP-133, KIP-226, KIP-339.
//!
//! Behaviour: one table (`topic_config`) validates, resolves and describes. An alteration holds
//! only for the version of the configs that it was checked against; a change in between is taken into account.
//! Left out: resources other than topics (INVALID_REQUEST with a message) until they are served.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use tidegate_metadata::command::ConfigChange;
use tidegate_metadata::{Command, ProposeError, Refusal};

use super::errors::{Code, of_proposal};
use super::topics::is_valid_name;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::topic_config::{self, AlterOp, ConfigRefusal};

const TOPIC: i8 = 2;

type Refused = (Code, String);

pub async fn describe(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeConfigsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let asked = Asked { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let answer = DescribeConfigsResult::default()
                .with_error_message(None)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match describe_one(broker, resource, &asked, context.version()) {
                Ok(configs) => answer.with_configs(configs),
                Err((code, why)) => answer.with_error_code(code.into()).with_error_message(Some(text(why))),
            }
        })
        .collect();
    context.answer(&DescribeConfigsResponse::default().with_results(results))
}

struct Asked {
    synonyms: bool,
    documentation: bool,
}

fn describe_one(
    broker: &Broker,
    resource: &DescribeConfigsResource,
    asked: &Asked,
    version: i16,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    if resource.resource_type != TOPIC {
        return Err((Code::InvalidRequest, not_served(resource.resource_type)));
    }
    let name = resource.resource_name.as_str();
    is_valid_name(name).map_err(|why| (Code::InvalidTopicException, why))?;
    let image = broker.metadata.image();
    let topic = image.topic_by_name(name).ok_or_else(unknown_topic)?;
    let wanted: Option<Vec<String>> =
        resource.configuration_keys.as_ref().map(|keys| keys.iter().map(ToString::to_string).collect());
    let entries = topic_config::describe(&topic.configs, &broker.config, wanted.as_deref());
    Ok(entries
        .into_iter()
        .map(|entry| {
            let synonyms = entry.synonyms.into_iter().filter(|_| asked.synonyms).map(|s| {
                DescribeConfigsSynonym::default()
                    .with_name(text(s.name))
                    .with_value(Some(text(s.value)))
                    .with_source(s.source.kafka_code())
            });
            let mut result = DescribeConfigsResourceResult::default()
                .with_name(text(entry.name))
                .with_value(entry.value.map(text))
                .with_read_only(entry.read_only)
                .with_config_source(entry.source.kafka_code())
                .with_is_sensitive(entry.is_sensitive)
                .with_synonyms(synonyms.collect());
            result.documentation = None;
            if version >= 3 {
                result.config_type = entry.kind.kafka_code();
                result.documentation = asked.documentation.then(|| text(entry.doc));
            }
            result
        })
        .collect())
}

pub async fn incremental_alter(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: IncrementalAlterConfigsRequest,
) -> Result<Answer, Close> {
    let mut times = BTreeMap::<(i8, String), u32>::new();
    for r in &request.resources {
        *times.entry((r.resource_type, r.resource_name.to_string())).or_default() += 1;
    }
    let mut response = IncrementalAlterConfigsResponse::default();
    for resource in &request.resources {
        let twice = times[&(resource.resource_type, resource.resource_name.to_string())] > 1;
        let outcome = if twice {
            Err((Code::InvalidRequest, "the resource is named twice in this request".into()))
        } else {
            alter_one(broker, resource, request.validate_only).await
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

async fn alter_one(
    broker: &Arc<Broker>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    /// Times that a change made by somebody else meanwhile is taken into account.
    const TRIES: u32 = 5;
    if resource.resource_type != TOPIC {
        return Err((Code::InvalidRequest, not_served(resource.resource_type)));
    }
    let mut changes = Vec::new();
    for config in &resource.configs {
        let op = AlterOp::from_code(config.config_operation).ok_or_else(|| {
            (
                Code::InvalidRequest,
                format!("config {}: unknown operation {}", config.name, config.config_operation),
            )
        })?;
        let value = config.value.as_ref().map(ToString::to_string);
        changes.push(topic_config::ConfigChange { name: config.name.to_string(), op, value });
    }
    for tries in 1.. {
        let image = broker.metadata.image();
        let topic = image.topic_by_name(&resource.resource_name).ok_or_else(unknown_topic)?;
        let configs = topic_config::apply_incremental(&topic.configs, &changes).map_err(refusal)?;
        if validate_only || configs == topic.configs {
            return Ok(());
        }
        let change = ConfigChange::Replace { expected_version: topic.config_version, configs };
        match broker.metadata.propose_one(Command::AlterTopicConfigs { topic: topic.id, change }).await {
            Ok(_) => break,
            Err(ProposeError::Refused(Refusal::ConfigVersion { .. })) if tries < TRIES => {}
            Err(e) => return Err((of_proposal(&e), e.to_string())),
        }
    }
    broker.follow_image();
    Ok(())
}

fn refusal(refusal: ConfigRefusal) -> Refused {
    let code = if refusal.is_invalid_request() { Code::InvalidRequest } else { Code::InvalidConfig };
    (code, refusal.to_string())
}

fn unknown_topic() -> Refused {
    (Code::UnknownTopicOrPartition, "This server does not host this topic-partition.".into())
}

fn not_served(resource_type: i8) -> String {
    format!("configs of resource type {resource_type} are not served yet; topics (2) are")
}
