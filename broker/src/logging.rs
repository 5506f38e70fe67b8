//! The process's own log.
//!
//! Owns: the one subscriber, on standard error, so that standard output stays free for answers; and the levels, which
//! clients may change while the process runs (`Loggers`, KIP-412).
//! Invariants: text unless JSON is asked for; colour only on a terminal; a change of levels is taken as a whole.
//! Never: keeps a level beyond the end of the process.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::config::{LogConfig, LogFormat};

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.level={directives}: {problem}")]
    Directives { directives: String, problem: String },
    #[error("logging was started before")]
    Started,
    #[error("the levels of this process's log cannot be changed")]
    Fixed,
}

/// Kafka's name of the logger of everything that has no level of its own.
pub const ROOT: &str = "root";

/// What may have a level of its own: the crates of this product and the two libraries that tell something.
const TARGETS: &[&str] = &[
    "object_store",
    "openraft",
    "tidegate",
    "tidegate_broker",
    "tidegate_metadata",
    "tidegate_s3stream",
    "tidegate_segment",
    "tidegate_wal",
    "tidegate_wire",
];

/// A level by Kafka's name. The log knows none above ERROR, so FATAL is that.
#[must_use]
pub fn level(text: &str) -> Option<LevelFilter> {
    Some(match text {
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// The levels of the log, for BROKER_LOGGER resources.
#[derive(Debug, Default)]
pub struct Loggers {
    /// None: the log is somebody else's, as in tests, and keeps its levels.
    handle: Option<reload::Handle<EnvFilter, Registry>>,
    started_with: String,
    /// What clients set, by target.
    set: Mutex<BTreeMap<String, LevelFilter>>,
}

impl Loggers {
    #[must_use]
    pub fn exists(&self, logger: &str) -> bool {
        logger == ROOT || TARGETS.contains(&logger)
    }

    /// Every logger with the level that holds for it, by name.
    #[must_use]
    pub fn levels(&self) -> Vec<(String, &'static str)> {
        let started_with = Directives::of(&self.started_with);
        let set = self.set.lock();
        let root = set.get(ROOT).copied().unwrap_or(started_with.root);
        let all = TARGETS.iter().map(|target| {
            let level = set.get(*target).or_else(|| started_with.targets.get(*target));
            ((*target).to_owned(), level.copied().unwrap_or(root))
        });
        let mut all: Vec<_> = all.chain([(ROOT.to_owned(), root)]).collect();
        all.sort();
        all.into_iter().map(|(logger, level)| (logger, kafkas_name(level))).collect()
    }

    /// Sets levels, or gives loggers back to what the process was started with (None).
    ///
    /// # Errors
    /// [`LoggingError::Fixed`] where the log is not this process's own.
    pub fn set(&self, levels: &[(String, Option<LevelFilter>)]) -> Result<(), LoggingError> {
        let handle = self.handle.as_ref().ok_or(LoggingError::Fixed)?;
        let mut set = self.set.lock();
        let mut wanted = set.clone();
        for (logger, level) in levels {
            match level {
                Some(level) => drop(wanted.insert(logger.clone(), *level)),
                None => drop(wanted.remove(logger)),
            }
        }
        // Of several directives for one target the last counts.
        let mut directives = self.started_with.clone();
        for (logger, level) in &wanted {
            directives += &if logger == ROOT { format!(",{level}") } else { format!(",{logger}={level}") };
        }
        handle.reload(filter(&directives)?).map_err(|_| LoggingError::Fixed)?;
        tracing::info!(directives, "the levels of this log were changed");
        *set = wanted;
        Ok(())
    }
}

fn kafkas_name(level: LevelFilter) -> &'static str {
    match level.into_level() {
        None => "OFF",
        Some(tracing::Level::ERROR) => "ERROR",
        Some(tracing::Level::WARN) => "WARN",
        Some(tracing::Level::INFO) => "INFO",
        Some(tracing::Level::DEBUG) => "DEBUG",
        Some(_) => "TRACE",
    }
}

/// The plain part of `log.level`: a level, and levels of targets. Directives with spans or fields are not levels.
struct Directives {
    root: LevelFilter,
    targets: BTreeMap<String, LevelFilter>,
}

impl Directives {
    fn of(text: &str) -> Self {
        let mut found = Self { root: LevelFilter::ERROR, targets: BTreeMap::new() };
        if !text.contains("openraft") {
            found.targets.insert("openraft".to_owned(), LevelFilter::WARN);
        }
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                Some((target, level)) => {
                    if let Ok(level) = level.parse() {
                        found.targets.insert(target.to_owned(), level);
                    }
                }
                None => found.root = part.parse().unwrap_or(found.root),
            }
        }
        found
    }
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
pub fn init(config: &LogConfig) -> Result<Loggers, LoggingError> {
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Json => registry.with(log.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(log.with_ansi(false)).try_init(),
        LogFormat::Auto => registry.with(log.with_ansi(std::io::stderr().is_terminal())).try_init(),
    };
    started.map_err(|_| LoggingError::Started)?;
    Ok(Loggers { handle: Some(handle), started_with: config.level.clone(), set: Mutex::default() })
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

    #[test]
    fn loggers_change_their_level_and_go_back_to_what_they_were_started_with() {
        // The handle holds the filter weakly.
        let (_filter, handle) = reload::Layer::new(filter("warn,tidegate_wal=debug").expect("directives"));
        let loggers = Loggers {
            handle: Some(handle),
            started_with: "warn,tidegate_wal=debug".to_owned(),
            set: Mutex::default(),
        };
        let level = |name: &str| {
            let all = loggers.levels();
            all.into_iter().find(|(logger, _)| logger == name).map(|(_, level)| level)
        };
        let told = || {
            let handle = loggers.handle.as_ref().expect("it has one");
            handle.with_current(ToString::to_string).expect("the filter lives")
        };
        assert_eq!(
            (level(ROOT), level("tidegate_wal"), level("openraft")),
            (Some("WARN"), Some("DEBUG"), Some("WARN"))
        );
        let set = |name: &str, level: Option<LevelFilter>| loggers.set(&[(name.to_owned(), level)]);
        set("tidegate_wal", Some(LevelFilter::ERROR)).expect("set");
        set(ROOT, Some(LevelFilter::INFO)).expect("set");
        assert_eq!(
            (level(ROOT), level("tidegate_wal"), level("tidegate_broker")),
            (Some("INFO"), Some("ERROR"), Some("INFO"))
        );
        assert!(told().contains("tidegate_wal=error") && told().contains("info"), "{}", told());
        set("tidegate_wal", None).expect("set");
        assert_eq!(level("tidegate_wal"), Some("DEBUG"));
        assert!(told().contains("tidegate_wal=debug"), "{}", told());
        assert!(!loggers.exists("nobody") && loggers.exists(ROOT));
        assert!(matches!(Loggers::default().set(&[]), Err(LoggingError::Fixed)));
    }
}
