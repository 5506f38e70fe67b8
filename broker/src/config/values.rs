//! The settings that somebody made, checked one by one and merged by precedence.
//!
//! Owns: which value of a key holds and where it came from.
//! Invariants: every value of every source passes its key's check, also one that a later source overrides, so that
//! an override never hides a mistake; one warning per key.
//! Never: checks one key against another (that is `checks`).

use std::collections::BTreeMap;
use std::fmt;

use super::error::{ConfigError, Origin, Warning};
use super::kafka_keys::{LISTENER_PREFIX, LISTENER_PREFIX_WHY};
use super::key::{Class, Default, Key};
use super::sources::Entry;
use super::{table, value};

/// A value that somebody set, in canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    pub origin: Origin,
    pub is_sensitive: bool,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.is_sensitive { HIDDEN } else { &self.value };
        write!(f, "{value:?} ({})", self.origin)
    }
}

/// Shown instead of a secret.
pub(super) const HIDDEN: &str = "[hidden]";

/// What is set, by key. Keys that nobody set are absent; their default is in the table.
#[derive(Clone, Debug, std::default::Default, PartialEq, Eq)]
pub struct Values {
    set: BTreeMap<&'static str, Setting>,
    /// By clients while the cluster runs, for all brokers.
    dynamic_default: BTreeMap<&'static str, Setting>,
    /// The same for this broker alone.
    dynamic: BTreeMap<&'static str, Setting>,
}

/// Who set a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Dynamic,
    DynamicDefault,
    /// This process's own sources.
    Static,
}

impl Layer {
    /// The strongest first.
    pub const ALL: [Layer; 3] = [Layer::Dynamic, Layer::DynamicDefault, Layer::Static];
}

impl Values {
    /// The value that somebody set.
    #[must_use]
    pub fn explicit(&self, name: &str) -> Option<&Setting> {
        Layer::ALL.into_iter().find_map(|layer| self.of_layer(layer, name))
    }

    /// The value that was set there.
    #[must_use]
    pub fn of_layer(&self, layer: Layer, name: &str) -> Option<&Setting> {
        match layer {
            Layer::Dynamic => self.dynamic.get(name),
            Layer::DynamicDefault => self.dynamic_default.get(name),
            Layer::Static => self.set.get(name),
        }
    }

    /// These values under what clients set for all brokers and for this one. What is unknown or impossible (stored by
    /// a newer version, say) counts as absent.
    pub(super) fn with_dynamic(
        &self,
        all: &BTreeMap<String, String>,
        own: &BTreeMap<String, String>,
    ) -> Self {
        let layer = |configs: &BTreeMap<String, String>, origin: Origin| {
            let known = configs.iter().filter_map(|(name, text)| {
                let key = table::find(name)?;
                let value = value::check(key.kind, key.bounds, text).ok()?;
                let setting = Setting { value, origin: origin.clone(), is_sensitive: key.is_sensitive() };
                Some((key.name, setting))
            });
            known.collect()
        };
        Self {
            set: self.set.clone(),
            dynamic_default: layer(all, Origin::DynamicDefault),
            dynamic: layer(own, Origin::Dynamic),
        }
    }

    /// The value that holds, as text; None if nothing is set and the default is none, or computed.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(setting) = self.explicit(name) {
            return Some(&setting.value);
        }
        match table::find(name)?.default {
            Default::Value(text) => Some(text),
            Default::Unset | Default::Computed(_) => None,
        }
    }

    /// Where the value that holds came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        self.explicit(name).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Entries in order of precedence, the weakest first.
    pub(super) fn merge(entries: Vec<Entry>, warnings: &mut Vec<Warning>) -> Result<Self, Vec<ConfigError>> {
        let mut merged = Self::default();
        let mut errors = Vec::new();
        let mut ignored = BTreeMap::new();
        for entry in entries {
            let Some(key) = table::find(&entry.key) else {
                if entry.key.starts_with(LISTENER_PREFIX) {
                    ignored.insert(entry.key.clone(), (entry.origin, LISTENER_PREFIX_WHY));
                } else {
                    errors.push(unknown(entry));
                }
                continue;
            };
            match checked(key, &entry) {
                Ok(setting) => {
                    if let Class::NoEffect { why } = key.class {
                        ignored.insert(entry.key, (entry.origin, why));
                    }
                    merged.set.insert(key.name, setting);
                }
                Err(error) => errors.push(*error),
            }
        }
        warnings.extend(ignored.into_iter().map(|(key, (origin, why))| Warning {
            key,
            origin,
            why: why.to_owned(),
        }));
        if errors.is_empty() { Ok(merged) } else { Err(errors) }
    }
}

fn checked(key: &Key, entry: &Entry) -> Result<Setting, Box<ConfigError>> {
    let refuse = |problem: String, remedy: String| {
        Box::new(ConfigError::Value {
            key: entry.key.clone(),
            value: if key.is_sensitive() { HIDDEN.to_owned() } else { entry.value.clone() },
            origin: entry.origin.clone(),
            problem,
            remedy,
        })
    };
    let value = value::check_with_unit(key.kind, key.unit, key.bounds, &entry.value)
        .map_err(|problem| refuse(problem, possible(key)))?;
    if let Class::Refused { why, remedy } = key.class {
        let harmless = match key.default {
            Default::Value(default) => value == default,
            Default::Unset | Default::Computed(_) => value.is_empty(),
        };
        if !harmless {
            return Err(refuse(why.to_owned(), remedy.to_owned()));
        }
    }
    Ok(Setting { value, origin: entry.origin.clone(), is_sensitive: key.is_sensitive() })
}

fn possible(key: &Key) -> String {
    match key.default {
        Default::Value(default) if !default.is_empty() => {
            format!("correct it, or leave it out for the default, {default}")
        }
        _ => format!("correct it, or leave it out; see tidegate config explain {}", key.name),
    }
}

fn unknown(entry: Entry) -> ConfigError {
    let remedy = match (table::nearest(&entry.key), &entry.origin) {
        (Some(near), Origin::Environment { .. }) => {
            let near = table::find(near).map(Key::env_name).unwrap_or_default();
            format!("did you mean {near}?")
        }
        (Some(near), _) => format!("did you mean {near}?"),
        (None, Origin::Environment { .. }) => {
            "unset it: variables that begin with TIDEGATE_ are settings; tidegate config explain lists the keys".to_owned()
        }
        (None, _) => "remove it; tidegate config explain lists the keys".to_owned(),
    };
    ConfigError::UnknownKey { key: entry.key, origin: entry.origin, remedy }
}
