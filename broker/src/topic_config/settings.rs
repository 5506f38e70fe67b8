//! The typed settings of one topic.
//!
//! Invariants: an override counts before the broker's value, and that before Kafka's default; small and `Copy`, so a
//! partition keeps its own and reads it without a lock.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::table::{self, TopicKey};
use crate::config::{Config, Values, value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// None: for ever.
    pub retention_ms: Option<i64>,
    /// None: no bound.
    pub retention_bytes: Option<u64>,
    /// Whether retention deletes: `cleanup.policy` holds `delete`. Without it only DeleteRecords does.
    pub cleanup_deletes: bool,
    /// `max.message.bytes`, and never more than a request and a WAL segment can hold.
    pub message_bytes_max: u32,
    pub timestamp_type: TimestampType,
    pub timestamp_before_ms_max: i64,
    pub timestamp_after_ms_max: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

impl TopicSettings {
    /// The settings of a topic with these overrides on this broker. An override that is unknown or impossible
    /// (stored by a newer version, say) counts as absent.
    #[must_use]
    pub fn resolve(overrides: &BTreeMap<String, String>, broker: &Config) -> Self {
        let text = |name: &str| {
            let key = table::find(name).expect("resolve reads keys of the table");
            effective(key, overrides, &broker.values).0
        };
        let number = |name: &str| -> i64 { text(name).parse().expect("checked text of a number") };
        let retention_ms = number("retention.ms");
        Self {
            retention_ms: (retention_ms >= 0).then_some(retention_ms),
            retention_bytes: u64::try_from(number("retention.bytes")).ok(),
            cleanup_deletes: value::list(&text("cleanup.policy")).contains(&"delete"),
            message_bytes_max: u32::try_from(number("max.message.bytes"))
                .unwrap_or(u32::MAX)
                .min(u32::try_from(broker.batch_bytes_max()).unwrap_or(u32::MAX)),
            timestamp_type: match &*text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_ms_max: number("message.timestamp.before.max.ms"),
            timestamp_after_ms_max: number("message.timestamp.after.max.ms"),
        }
    }
}

/// The value that holds, in canonical form, and whether it is the topic's own.
pub(super) fn effective<'a>(
    key: &TopicKey,
    overrides: &'a BTreeMap<String, String>,
    broker: &'a Values,
) -> (Cow<'a, str>, bool) {
    let own = overrides.get(key.name).and_then(|text| value::check(key.kind, key.bounds, text).ok());
    match own {
        Some(own) => (Cow::Owned(own), true),
        None => (from_broker(key, broker).unwrap_or(Cow::Borrowed(key.default)), false),
    }
}

/// The first synonym that is set, in the topic config's unit.
fn from_broker<'a>(key: &TopicKey, broker: &'a Values) -> Option<Cow<'a, str>> {
    let (synonym, setting) =
        key.synonyms.iter().find_map(|synonym| Some((synonym, broker.explicit(synonym.name)?)))?;
    let text = match setting.value.parse::<i64>() {
        // Kafka takes any negative time of a broker as "for ever".
        Ok(number) if key.name == "retention.ms" && number < 0 => Cow::Borrowed("-1"),
        Ok(number) if synonym.scale != 1 => Cow::Owned(number.saturating_mul(synonym.scale).to_string()),
        _ => Cow::Borrowed(setting.value.as_str()),
    };
    Some(text)
}
