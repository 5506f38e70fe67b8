//! The process's own log.
//!
//! Owns: the one subscriber, on standard error, so that standard output stays free for answers.
//! Invariants: text unless JSON is asked for; colour only on a terminal.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.level={directives}: {problem}")]
    Directives { directives: String, problem: String },
    #[error("logging was started before")]
    Started,
}

/// Whether `log.level` may hold these directives.
pub fn check(directives: &str) -> Result<(), LoggingError> {
    filter(directives)?;
    // EnvFilter takes any lone word for a target; here it is a level, or a slip.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| levels.iter().any(|level| level.eq_ignore_ascii_case(word));
    match directives.split(',').map(str::trim).find(|part| !part.contains(['=', '[']) && !is_level(part)) {
        Some(word) => Err(LoggingError::Directives {
            directives: directives.to_owned(),
            problem: format!("{word} is not a level"),
        }),
        None => Ok(()),
    }
}

/// Starts logging for the whole process.
pub fn init(config: &LogConfig) -> Result<(), LoggingError> {
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter(&config.level)?).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Auto => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|_| LoggingError::Started)
}

fn filter(directives: &str) -> Result<EnvFilter, LoggingError> {
    // The Raft library logs each step of an election at info; asked for by name it still does.
    let quiet = if directives.contains("openraft") { "" } else { "openraft=warn," };
    EnvFilter::builder().parse(format!("{quiet}{directives}")).map_err(|error| LoggingError::Directives {
        directives: directives.to_owned(),
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_possible_and_slips_are_not() {
        for directives in
            ["info", "WARN", "off", "info,tidegate_wal=debug", "tidegate_broker[request{api}]=trace"]
        {
            assert!(check(directives).is_ok(), "{directives}");
        }
        for directives in ["loud", "info,tidegate_wal", "info,tidegate_wal=louder"] {
            assert!(check(directives).is_err(), "{directives}");
        }
    }
}
