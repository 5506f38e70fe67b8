//! The configuration: one table of keys, four kinds of sources, one typed result.
//!
//! Owns: which keys exist and what they mean (`table`, `kafka_keys`), how sources are read and merged (defaults <
//! file < environment < `--set`), what is refused and why, and `Config`, plain validated values.
//! Invariants: unknown keys and impossible values are refused with key, value, place and remedy; a known Kafka key
//! without effect gives one warning; the documentation comes from the same table.
//! Never: reads its sources again after the start; what clients change while the broker runs is laid over what it was
//! started with (`broker_config`). Nothing else in the product reads the environment or the command line,
//! except the AWS credential chain of the object store client.

mod checks;
mod error;
mod explain;
mod kafka_keys;
pub mod key;
mod listeners;
mod location;
mod machine;
mod settings;
mod sources;
pub mod table;
pub mod value;
mod values;

#[cfg(test)]
pub(crate) mod docs_test;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use error::{ConfigError, ConfigErrors, Origin, Warning};
pub use explain::{docs, explain};
pub use listeners::{HostPort, Listener};
pub use machine::Machine;
pub use settings::{
    Config, ConnectionConfig, FetchConfig, GroupsConfig, LogConfig, LogFormat, MemoryConfig,
    ReplicationFactorPolicy, StorageConfig, StorageCredentials, StorageEncryption, StorageLocation,
    TopicsConfig, WalConfig, WalMedium,
};
pub use sources::Sources;
pub use values::{Layer, Setting, Values};

use checks::Problem;

/// A configuration that may be used, and what its author should know.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Warning>,
}

/// Reads, merges and checks the sources.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    let file = sources.file.as_deref().map_or(Ok(Vec::new()), sources::from_file);
    for layer in [file, sources::from_environment(&sources.environment), sources::from_sets(&sources.sets)] {
        match layer {
            Ok(layer) => entries.extend(layer),
            Err(failed) => errors.extend(failed),
        }
    }
    let mut warnings = Vec::new();
    let values = match Values::merge(entries, &mut warnings) {
        Ok(values) if errors.is_empty() => values,
        Ok(_) => return Err(ConfigErrors(errors)),
        Err(failed) => {
            errors.extend(failed);
            return Err(ConfigErrors(errors));
        }
    };
    build(values, &sources.machine, warnings)
}

impl Config {
    /// A configuration of these settings alone, on a machine that is the same everywhere: for tests and the
    /// simulation.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigErrors> {
        let sets = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let sources = Sources { file: None, environment: Vec::new(), sets, machine: Machine::fixed() };
        load(&sources).map(|loaded| loaded.config)
    }
}

impl Config {
    /// This configuration under what clients set for all brokers and for this one (KIP-226).
    ///
    /// # Errors
    /// What does not fit together.
    pub fn with_dynamic(
        &self,
        all: &BTreeMap<String, String>,
        own: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        build(self.values.with_dynamic(all, own), &self.machine, Vec::new()).map(|loaded| loaded.config)
    }
}

fn build(values: Values, machine: &Machine, mut warnings: Vec<Warning>) -> Result<Loaded, ConfigErrors> {
    let values = Arc::new(values);
    let refuse =
        |problems: Vec<Problem>| ConfigErrors(problems.into_iter().map(|p| placed(&values, p)).collect());
    let mut problems = checks::text_problems(&values);
    let (config, skipped) = match Config::build(&values, machine) {
        Ok(built) => built,
        Err(problem) => {
            problems.push(problem);
            return Err(refuse(problems));
        }
    };
    problems.extend(checks::problems(&config));
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let mut warn = |key: &str, why: String| {
        warnings.push(Warning { key: key.to_owned(), origin: values.origin(key), why });
    };
    if !skipped.is_empty() {
        let names = skipped.join(", ");
        warn(
            "controller.listener.names",
            format!("{names} is not opened; the quorum's one voter is inside this process"),
        );
    }
    for key in ["controller.quorum.voters", "controller.quorum.bootstrap.servers"] {
        if values.text(key).is_some_and(|text| !text.is_empty()) {
            warn(key, "the quorum's one voter is inside this process".to_owned());
        }
    }
    if value::list(values.text("process.roles").unwrap_or_default()).len() == 1 {
        warn("process.roles", "one process is broker and controller".to_owned());
    }
    warnings.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
    Ok(Loaded { config, warnings })
}

fn placed(values: &Values, problem: Problem) -> ConfigError {
    let Problem { key, problem, remedy } = problem;
    let sensitive = table::find(key).is_some_and(key::Key::is_sensitive);
    let value = if sensitive { values::HIDDEN } else { values.text(key).unwrap_or("(computed)") };
    ConfigError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: values.origin(key),
        problem,
        remedy,
    }
}
