//! Setting topic configs: validation, and IncrementalAlterConfigs (KIP-339).
//!
//! Invariants: overrides are accepted as a whole or not at all; a refusal says which error Kafka would give.

use std::collections::BTreeMap;

use super::table::{self, Class, REMOVED, Served, TABLE, TopicKey};
use crate::config::key::Kind;
use crate::config::table::nearest_of;
use crate::config::value;

/// Why overrides are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigRefusal {
    #[error("Unknown topic config name: {name}{hint}")]
    Unknown { name: String, hint: String },
    #[error("Invalid value {value} for configuration {name}: {problem}")]
    Invalid { name: String, value: String, problem: String },
    #[error("{name}={value} is refused: {why}")]
    NotYet { name: String, value: String, why: &'static str },
    #[error("conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})")]
    CompactionLag { min: i64, max: i64 },
    #[error("Can't {op} to key {name} because its type is not LIST.")]
    NotAList { name: String, op: &'static str },
}

/// The codes of IncrementalAlterConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp {
    Set,
    Delete,
    Append,
    Subtract,
}

impl AlterOp {
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        Some(match code {
            0 => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub name: String,
    pub op: AlterOp,
    pub value: Option<String>,
}

/// Whether this override may be set by itself.
pub fn validate(name: &str, text: &str) -> Result<(), ConfigRefusal> {
    let key = table::find(name).ok_or_else(|| unknown(name))?;
    let canonical = value::check(key.kind, key.bounds, text).map_err(|_| ConfigRefusal::Invalid {
        name: name.to_owned(),
        value: text.to_owned(),
        problem: value::in_kafkas_words(name, key.kind, key.bounds, text),
    })?;
    match key.class {
        Class::NotYet { why, served: Served::Only(served) } if !served.contains(&canonical.as_str()) => {
            Err(ConfigRefusal::NotYet { name: name.to_owned(), value: text.to_owned(), why })
        }
        _ => Ok(()),
    }
}

/// Whether these overrides may be set together: AlterConfigs and CreateTopics replace all of them.
pub fn validate_all(overrides: &BTreeMap<String, String>) -> Result<(), ConfigRefusal> {
    validate_where(overrides, |_, _| true)
}

/// As `validate_all`, but what stands already is not judged again: an internal topic has values that no client may set.
pub fn validate_changed(
    before: &BTreeMap<String, String>,
    overrides: &BTreeMap<String, String>,
) -> Result<(), ConfigRefusal> {
    validate_where(overrides, |name, text| before.get(name).is_none_or(|stands| stands != text))
}

fn validate_where(
    overrides: &BTreeMap<String, String>,
    judged: impl Fn(&str, &str) -> bool,
) -> Result<(), ConfigRefusal> {
    for (name, text) in overrides.iter().filter(|(name, text)| judged(name, text)) {
        validate(name, text)?;
    }
    let lag = |name: &str| -> i64 {
        let key = table::find(name).expect("both lags are in the table");
        let set = overrides.get(name).and_then(|text| text.trim().parse().ok());
        set.unwrap_or_else(|| key.default.parse().expect("a default is valid"))
    };
    let (min, max) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
    if min > max { Err(ConfigRefusal::CompactionLag { min, max }) } else { Ok(()) }
}

/// The overrides after these changes. Nulls and keys named twice were refused before.
pub fn apply_incremental(
    current: &BTreeMap<String, String>,
    changes: &[ConfigChange],
) -> Result<BTreeMap<String, String>, ConfigRefusal> {
    let mut overrides = current.clone();
    for change in changes {
        let name = &change.name;
        let value = change.value.as_deref().unwrap_or_default();
        let value = match change.op {
            AlterOp::Delete => {
                overrides.remove(name);
                continue;
            }
            AlterOp::Set => value.to_owned(),
            op @ (AlterOp::Append | AlterOp::Subtract) => {
                let key = table::find(name).ok_or_else(|| unknown(name))?;
                changed_list(key, op, overrides.get(name).map(String::as_str), value)?
            }
        };
        overrides.insert(name.clone(), value);
    }
    // What stands already is not judged again: an internal topic has values that nobody else may set.
    let unjudged = |name: &str, text: &str| current.get(name).is_some_and(|old| old == text);
    validate_where(&overrides, |name, text| !unjudged(name, text))?;
    Ok(overrides)
}

/// APPEND adds what is not there yet, SUBTRACT takes away what is; without an override they start from the
/// default of the config, not from the broker's, as in Kafka.
fn changed_list(
    key: &TopicKey,
    op: AlterOp,
    current: Option<&str>,
    named: &str,
) -> Result<String, ConfigRefusal> {
    let append = op == AlterOp::Append;
    if key.kind != Kind::List {
        let op = if append { "APPEND" } else { "SUBTRACT" };
        return Err(ConfigRefusal::NotAList { name: key.name.to_owned(), op });
    }
    Ok(value::changed_list(current.unwrap_or(key.default), append, named))
}

fn unknown(name: &str) -> ConfigRefusal {
    let hint = if REMOVED.contains(&name) {
        " (Kafka 4.0 removed it)".to_owned()
    } else {
        let near = nearest_of(name, TABLE.iter().map(|key| key.name));
        near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
    };
    ConfigRefusal::Unknown { name: name.to_owned(), hint }
}
