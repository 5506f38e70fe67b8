//! One alteration of the configs of one resource, for AlterConfigs and IncrementalAlterConfigs.
//!
//! Owns: the loop of reading, checking and proposing, per kind of resource.
//! Invariants: what is proposed was checked against the version that it replaces; an answer leaves once this process
//! has applied the change.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_metadata::command::ConfigChange as Replacement;
use tidegate_metadata::{Command, ProposeError, Refusal};

use super::configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, Refused, TOPIC, not_served};
use super::errors::{Code, of_proposal};
use super::topics::is_valid_name;
use crate::broker::Broker;
use crate::broker_config::{self, Level, Now};
use crate::topic_config::{self, AlterOp, ConfigChange, ConfigRefusal};

/// What is asked of one resource. Keys are named once, and values are there where they are needed.
pub enum Change {
    Steps(Vec<ConfigChange>),
    /// What is not named goes back to its default.
    All(BTreeMap<String, String>),
}

/// Times that a change made by somebody else meanwhile is taken into account.
const TRIES: u32 = 5;

pub async fn alter(
    broker: &Arc<Broker>,
    (kind, name): (i8, &str),
    change: Change,
    validate_only: bool,
) -> Result<(), Refused> {
    let invalid = |why: String| Err((Code::InvalidRequest, why));
    match kind {
        TOPIC if name.is_empty() => invalid("Default topic resources are not allowed.".into()),
        TOPIC => topic(broker, name, &change, validate_only).await,
        BROKER if name.is_empty() => of_brokers(broker, Level::Cluster, &change, validate_only).await,
        BROKER => match name.parse::<i32>() {
            Ok(id) if id == broker.node.0 => {
                of_brokers(broker, Level::ThisBroker, &change, validate_only).await
            }
            Ok(id) => invalid(format!("Unexpected broker id, expected {}, but received {id}", broker.node)),
            Err(_) => invalid(format!("Node id must be an integer, but it is: {name}")),
        },
        BROKER_LOGGER => match (name.parse::<i32>(), change) {
            (_, Change::All(_)) => invalid(format!("Unknown resource type {kind}")),
            (Ok(id), Change::Steps(steps)) if id == broker.node.0 => loggers(broker, &steps, validate_only),
            (Ok(id), _) => {
                invalid(format!("Unexpected node id. Expected {}, but received {id}", broker.node))
            }
            (Err(_), _) => invalid(format!("Node id must be an integer, but it is: {name}")),
        },
        CLIENT_METRICS if name.is_empty() => invalid("Subscription name can't be empty".into()),
        GROUP if name.is_empty() => invalid("Default group resources are not allowed.".into()),
        other => invalid(not_served(other)),
    }
}

async fn topic(
    broker: &Arc<Broker>,
    name: &str,
    change: &Change,
    validate_only: bool,
) -> Result<(), Refused> {
    is_valid_name(name).map_err(|why| (Code::InvalidTopicException, why))?;
    for tries in 1.. {
        let image = broker.metadata.image();
        let missing = || (Code::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."));
        let topic = image.topic_by_name(name).ok_or_else(missing)?;
        let configs = match change {
            Change::Steps(steps) => topic_config::apply_incremental(&topic.configs, steps),
            Change::All(configs) => {
                topic_config::validate_changed(&topic.configs, configs).map(|()| configs.clone())
            }
        };
        let configs = configs.map_err(|e: ConfigRefusal| (Code::InvalidConfig, e.to_string()))?;
        if validate_only || configs == topic.configs {
            return Ok(());
        }
        let change = Replacement::Replace { expected_version: topic.config_version, configs };
        if proposed(broker, Command::AlterTopicConfigs { topic: topic.id, change }, tries).await? {
            break;
        }
    }
    Ok(())
}

async fn of_brokers(
    broker: &Arc<Broker>,
    level: Level,
    change: &Change,
    validate_only: bool,
) -> Result<(), Refused> {
    let (own, other) = match level {
        Level::Cluster => (None, Some(broker.node)),
        Level::ThisBroker => (Some(broker.node), None),
    };
    for tries in 1.. {
        let image = broker.metadata.image();
        let none = BTreeMap::new();
        let row = image.broker_configs(own);
        let current = row.map_or(&none, |row| &row.configs);
        let config = broker.live.load();
        let now = Now {
            started_with: broker.live.started_with(),
            other: image.broker_configs(other).map_or(&none, |row| &row.configs),
            config: &config,
        };
        let configs = match change {
            Change::Steps(steps) => broker_config::apply(level, current, steps, &now)?,
            Change::All(configs) => broker_config::replace(level, configs.clone(), &now)?,
        };
        if validate_only || configs == *current {
            return Ok(());
        }
        let expected_version = row.map_or(0, |row| row.version);
        let command = Command::AlterBrokerConfigs { broker: own, expected_version, configs };
        if proposed(broker, command, tries).await? {
            break;
        }
    }
    Ok(())
}

/// Whether it holds now; if not, somebody else changed the same configs meanwhile.
async fn proposed(broker: &Arc<Broker>, command: Command, tries: u32) -> Result<bool, Refused> {
    match broker.metadata.propose_one(command).await {
        Ok(_) => {
            broker.follow_image();
            Ok(true)
        }
        Err(ProposeError::Refused(Refusal::ConfigVersion { .. })) if tries < TRIES => Ok(false),
        Err(e) => Err((of_proposal(&e), e.to_string())),
    }
}

/// Levels are this process's own and last until it ends, as in Kafka (KIP-412).
fn loggers(broker: &Broker, steps: &[ConfigChange], validate_only: bool) -> Result<(), Refused> {
    let mut wanted = Vec::new();
    for step in steps {
        let name = step.name.as_str();
        let refuse = |code, why: String| Err((code, why));
        match step.op {
            AlterOp::Append | AlterOp::Subtract => {
                let op = if step.op == AlterOp::Append { "APPEND" } else { "SUBTRACT" };
                let why = format!("{op} operation is not allowed for the BROKER_LOGGER resource");
                return refuse(Code::InvalidRequest, why);
            }
            _ if !broker.loggers.exists(name) => {
                return refuse(Code::InvalidConfig, format!("Logger {name} does not exist!"));
            }
            AlterOp::Delete if name == crate::logging::ROOT => {
                let why = "Removing the log level of the root logger is not allowed";
                return refuse(Code::InvalidRequest, why.into());
            }
            AlterOp::Delete => wanted.push((name.to_owned(), None)),
            AlterOp::Set => {
                let text = step.value.as_deref().unwrap_or_default();
                let Some(level) = crate::logging::level(text) else {
                    let why = format!(
                        "Cannot set the log level of {name} to {text} as it is not a supported log level. \
                         Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
                    );
                    return refuse(Code::InvalidConfig, why);
                };
                wanted.push((name.to_owned(), Some(level)));
            }
        }
    }
    if validate_only {
        return Ok(());
    }
    broker.loggers.set(&wanted).map_err(|e| (Code::InvalidRequest, e.to_string()))
}
