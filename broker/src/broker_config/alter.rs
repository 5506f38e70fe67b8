//! Setting dynamic broker configs: AlterConfigs and IncrementalAlterConfigs of a broker or of all by default.
//!
//! Invariants: what is accepted passes the key's own check and gives a whole configuration together with everything
//! else that is set; codes and words are Kafka's where Kafka has them.
//! Different from Kafka: a key that does not exist is refused (Kafka stores it for plug-ins that may read it), and so
//! are listeners and their security, which do not change while this broker runs.

use std::collections::BTreeMap;

use super::scope::{Scope, is_a_pool, is_of_a_listener_only, scope};
use crate::api::errors::Code;
use crate::config::key::{Class, Default, Key, Kind};
use crate::config::{Config, table, value};
use crate::topic_config::{AlterOp, ConfigChange};

/// A refusal with its code and a text for the user.
pub type Refused = (Code, String);

/// Whose configs are altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The default of all brokers.
    Cluster,
    ThisBroker,
}

/// What the rules look at, beside the change.
pub struct Now<'a> {
    pub started_with: &'a Config,
    /// The dynamic configs of the other level.
    pub other: &'a BTreeMap<String, String>,
    /// What holds at the moment.
    pub config: &'a Config,
}

/// The dynamic configs of `level` after these changes (IncrementalAlterConfigs). Nulls and keys named twice were
/// refused before.
///
/// # Errors
/// The first rule that does not hold.
pub fn apply(
    level: Level,
    current: &BTreeMap<String, String>,
    changes: &[ConfigChange],
    now: &Now<'_>,
) -> Result<BTreeMap<String, String>, Refused> {
    let mut configs = current.clone();
    let mut set = Vec::new();
    for change in changes {
        let name = change.name.as_str();
        let text = change.value.as_deref().unwrap_or_default();
        let value = match change.op {
            AlterOp::Delete => {
                configs.remove(name);
                continue;
            }
            AlterOp::Set => text.to_owned(),
            AlterOp::Append | AlterOp::Subtract => changed_list(name, change.op, current, text)?,
        };
        set.push(name);
        configs.insert(name.to_owned(), value);
    }
    checked(level, configs, &set, now)
}

/// The dynamic configs of `level` when these are all of them (AlterConfigs).
///
/// # Errors
/// The first rule that does not hold.
pub fn replace(
    level: Level,
    configs: BTreeMap<String, String>,
    now: &Now<'_>,
) -> Result<BTreeMap<String, String>, Refused> {
    let set: Vec<String> = configs.keys().cloned().collect();
    checked(level, configs, &set.iter().map(String::as_str).collect::<Vec<_>>(), now)
}

fn changed_list(
    name: &str,
    op: AlterOp,
    current: &BTreeMap<String, String>,
    named: &str,
) -> Result<String, Refused> {
    let key = table::find(name).ok_or_else(|| unknown(name))?;
    if key.kind != Kind::List {
        let op = if op == AlterOp::Append { "append" } else { "subtract" };
        let why = format!("Config value {op} is not allowed for config key: {name}");
        return Err((Code::InvalidConfig, why));
    }
    // Without a value of this level a list starts from Kafka's default, not from what the broker was started with.
    let default = if let Default::Value(text) = key.default { text } else { "" };
    Ok(value::changed_list(current.get(name).map_or(default, String::as_str), op == AlterOp::Append, named))
}

fn checked(
    level: Level,
    mut configs: BTreeMap<String, String>,
    set: &[&str],
    now: &Now<'_>,
) -> Result<BTreeMap<String, String>, Refused> {
    let refuse = |why: String| Err((Code::InvalidRequest, why));
    let mut keys = Vec::new();
    for name in set {
        keys.push(table::find(name).ok_or_else(|| unknown(name))?);
    }
    let named = |wanted: &dyn Fn(&str) -> bool| -> Option<String> {
        let mut names: Vec<&str> = set.iter().copied().filter(|name| wanted(name)).collect();
        names.sort_unstable();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = named(&|name| scope(name) == Scope::ReadOnly) {
        return refuse(format!("Cannot update these configs dynamically: Set({names})"));
    }
    if let Some(names) = named(&is_of_a_listener_only) {
        return refuse(format!(
            "These security configs can be dynamically updated only per-listener using the listener prefix: \
             Set({names})"
        ));
    }
    if level == Level::Cluster
        && let Some(names) = named(&|name| scope(name) == Scope::PerBroker)
    {
        return refuse(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: Set({names})"
        ));
    }
    for key in keys {
        let text = configs.get(key.name).cloned().unwrap_or_default();
        configs.insert(key.name.to_owned(), checked_value(key, &text, now.config)?);
    }
    let (all, own) = match level {
        Level::Cluster => (&configs, now.other),
        Level::ThisBroker => (now.other, &configs),
    };
    if let Err(errors) = now.started_with.with_dynamic(all, own) {
        return refuse(errors.to_string());
    }
    Ok(configs)
}

fn checked_value(key: &Key, text: &str, now: &Config) -> Result<String, Refused> {
    let refuse = |problem: String| {
        Err((Code::InvalidRequest, format!("Invalid value {text} for configuration {}: {problem}", key.name)))
    };
    let Ok(canonical) = value::check(key.kind, key.bounds, text) else {
        return refuse(value::in_kafkas_words(key.name, key.kind, key.bounds, text));
    };
    if scope(key.name) == Scope::PerBroker {
        return refuse("listeners and their security do not change while this broker runs".to_owned());
    }
    if let Class::Refused { why, remedy } = key.class
        && !matches!(key.default, Default::Value(default) if default == canonical)
    {
        return refuse(format!("{why}; {remedy}"));
    }
    if is_a_pool(key.name) {
        let wanted: i64 = canonical.parse().unwrap_or_default();
        let current: i64 = now.values.text(key.name).and_then(|text| text.parse().ok()).unwrap_or(wanted);
        let outside = if wanted > current * 2 {
            Some("value should not be greater than double the current value")
        } else if wanted < current / 2 {
            Some("value should be at least half the current value")
        } else {
            None
        };
        if let Some(why) = outside {
            let why = format!(
                "Dynamic thread count update validation failed for {}={wanted}, {why} {current}",
                key.name
            );
            return Err((Code::InvalidRequest, why));
        }
    }
    Ok(canonical)
}

fn unknown(name: &str) -> Refused {
    if name.starts_with("listener.name.") {
        let why = "configs of one listener do not change while this broker runs";
        return (Code::InvalidRequest, format!("{name}: {why}"));
    }
    let hint = table::nearest(name).map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
    (Code::InvalidConfig, format!("Unknown broker config name: {name}{hint}"))
}
