//! Why a configuration is refused, and where the value came from.
//!
//! Invariants: an error is one line that names key, value, place and remedy; a secret is never printed.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from, in the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        line: usize,
    },
    Environment {
        name: String,
    },
    Set,
    /// By a client, for all brokers (KIP-226).
    DynamicDefault,
    /// By a client, for this broker.
    Dynamic,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment { name } => write!(f, "environment variable {name}"),
            Origin::Set => write!(f, "--set"),
            Origin::DynamicDefault => write!(f, "the cluster's dynamic configs"),
            Origin::Dynamic => write!(f, "this broker's dynamic configs"),
        }
    }
}

/// One reason why the configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: unknown key {key}; {remedy}")]
    UnknownKey { key: String, origin: Origin, remedy: String },
    #[error("{origin}: {key}={value}: {problem}; {remedy}")]
    Value { key: String, value: String, origin: Origin, problem: String, remedy: String },
    #[error("{place}: {problem}; {remedy}")]
    Source { place: String, problem: String, remedy: String },
}

/// All that is wrong, so that one start finds it all; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that is accepted and has no effect, or less than its author may think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub key: String,
    pub origin: Origin,
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} has no effect: {}", self.origin, self.key, self.why)
    }
}
