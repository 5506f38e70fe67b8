//! What was shown of each key: versions with a success, error codes, and what is missing of it.
//!
//! Owns: `required.toml`. Invariants: a success is an answer with at least one error code, all of them zero, or one of
//! a version that has none; a code counts when Kafka itself gave it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::schema::Schema;
use super::talk::{Observation, Outcome};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Required {
    api: Vec<RequiredApi>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequiredApi {
    key: i16,
    /// Codes that some case must make Kafka give.
    #[serde(default)]
    codes: BTreeSet<i64>,
    /// Codes that the rules name and that one broker under these settings does not give, with the reason.
    #[serde(default)]
    out_of_reach: BTreeMap<String, String>,
    /// Why Kafka itself has no success under the settings of the suite.
    only_errors: Option<String>,
}

impl Required {
    pub fn parse(text: &str) -> Result<Required> {
        toml::from_str(text).context("required.toml")
    }

    pub fn keys(&self) -> impl Iterator<Item = i16> {
        self.api.iter().map(|a| a.key)
    }
}

/// Versions of one broker by key, with what they answered.
#[derive(Default)]
struct Seen {
    successes: BTreeSet<i16>,
    /// Code to the versions that gave it.
    codes: BTreeMap<i64, BTreeSet<i16>>,
}

fn seen(log: &[Observation]) -> BTreeMap<i16, Seen> {
    let mut all: BTreeMap<i16, Seen> = BTreeMap::new();
    for o in log {
        let Outcome::Answer(answer) = &o.outcome else { continue };
        let mut codes = BTreeSet::new();
        error_codes(answer, &mut codes);
        let seen = all.entry(o.key).or_default();
        if codes.iter().all(|c| *c == 0) {
            seen.successes.insert(o.version);
        }
        for code in codes {
            seen.codes.entry(code).or_default().insert(o.version);
        }
    }
    all
}

fn error_codes(value: &Value, codes: &mut BTreeSet<i64>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_i64() {
                    Some(code) if name == "ErrorCode" => _ = codes.insert(code),
                    _ => error_codes(value, codes),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| error_codes(v, codes)),
        _ => {}
    }
}

/// The table, and what is missing.
pub struct Coverage {
    pub table: String,
    pub missing: Vec<String>,
}

pub fn of(
    schema: &Schema,
    required: &Required,
    served: &BTreeMap<i16, (i16, i16)>,
    kafka: &[Observation],
    tidegate: &[Observation],
) -> Coverage {
    let (kafka, tidegate) = (seen(kafka), seen(tidegate));
    let mut table = String::from(
        "key  api                           versions  codes that Kafka gave (not by Tidegate)\n",
    );
    let mut missing = Vec::new();
    let keys: BTreeSet<i16> = required.keys().chain(served.keys().copied()).collect();
    for key in &keys {
        let Some(api) = schema.find(*key) else {
            missing.push(format!("key {key} is served and not known to Kafka"));
            continue;
        };
        let none = Seen::default();
        let by_kafka = kafka.get(key).unwrap_or(&none);
        let by_tidegate = tidegate.get(key).unwrap_or(&none);
        let is_served = served.contains_key(key);
        let wanted = required.api.iter().find(|a| a.key == *key);
        let only_errors = wanted.is_some_and(|w| w.only_errors.as_ref().is_some_and(|why| !why.is_empty()));
        for version in api.versions.lo..=api.versions.hi {
            let shown = |seen: &Seen| {
                seen.successes.contains(&version)
                    || only_errors && seen.codes.values().any(|v| v.contains(&version))
            };
            if !shown(by_kafka) {
                missing.push(format!("{} v{version}: no success of Kafka", api.name));
            }
            if is_served && !shown(by_tidegate) {
                missing.push(format!("{} v{version}: no success of Tidegate", api.name));
            }
        }
        if wanted.is_none() {
            missing.push(format!("{}: required.toml does not list it", api.name));
        }
        for code in wanted.into_iter().flat_map(|w| &w.codes) {
            if !by_kafka.codes.contains_key(code) {
                missing.push(format!("{}: no case makes Kafka answer {code}", api.name));
            }
        }
        for (code, reason) in wanted.into_iter().flat_map(|w| &w.out_of_reach) {
            let given = code.parse().is_ok_and(|c: i64| by_kafka.codes.contains_key(&c));
            if reason.is_empty() || given {
                missing.push(format!("{}: {code} is not out of reach, or has no reason", api.name));
            }
        }
        let codes: Vec<String> = by_kafka
            .codes
            .keys()
            .map(|c| if by_tidegate.codes.contains_key(c) { c.to_string() } else { format!("({c})") })
            .collect();
        let note = if is_served { "" } else { "  not served" };
        let range = format!("{}-{}", api.versions.lo, api.versions.hi);
        let _ = writeln!(table, "{key:3}  {:28}  {range:8}  {}{note}", api.name, codes.join(" "));
    }
    Coverage { table, missing }
}
