//! The command line.
//!
//! Owns: the arguments, their help, and the exit code of a wrong one.
//! Invariants: an error is one line on standard error and a non-zero exit.
//! Never: acts; `main` does what the parsed `Cli` says.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// A Kafka-compatible broker on shared storage.
///
/// Without arguments it is a whole cluster in one process: data in ./data, the bucket in ./data/bucket, Kafka on
/// 127.0.0.1:9092, metrics and health on 127.0.0.1:9644.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "tidegate", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// Settings from a .toml file, or from Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting; may be given several times; wins over the environment and the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Settings: what they mean
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// The write-ahead log on disk, while no broker runs on it
    Wal {
        #[command(subcommand)]
        command: WalCommand,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print each key with meaning, unit, default and bounds
    Explain {
        /// Only this key, in full
        key: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum WalCommand {
    /// Print what a WAL directory holds, and what is damaged
    Inspect {
        dir: PathBuf,
        /// Position up to which records are known durable from elsewhere, as the broker's error says
        #[arg(long, default_value_t = 0)]
        floor: u64,
    },
    /// Open a damaged WAL, giving up what cannot be read
    Recover {
        /// Confirms that acknowledged records are lost for good
        #[arg(long, required = true)]
        partial: bool,
        dir: PathBuf,
        /// As for inspect
        #[arg(long, default_value_t = 0)]
        floor: u64,
    },
}

const AFTER_HELP: &str = "\
Settings: defaults < --config FILE < environment (TIDEGATE_ and the key in upper case, dots as underscores) < --set.
  tidegate --set listeners=PLAINTEXT://127.0.0.1:19092 --set data.dir=/var/lib/tidegate
  tidegate --set storage.url=s3://bucket/prefix
  tidegate config explain storage.url";

/// What the process does instead of running a `Cli`: print, and exit with this code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub text: String,
    /// 0: the text is what was asked for, on standard output. Otherwise one line for standard error.
    pub exit_code: u8,
}

/// Reads the arguments; the first is the program's own name.
pub fn parse<I, T>(arguments: I) -> Result<Cli, Stop>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    Cli::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Stop { text: error.render().to_string(), exit_code: 0 }
        }
        _ => Stop { text: one_line(&error.render().to_string()), exit_code: 2 },
    })
}

/// Clap explains over several lines: keep what is wrong, and where to look.
fn one_line(rendered: &str) -> String {
    let paragraph = rendered.split("\n\n").next().unwrap_or_default();
    let wrong: Vec<&str> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let wrong = wrong.join(" ");
    let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
    // A missing subcommand makes clap render the help instead of an error.
    let wrong = if rendered.starts_with("error: ") { wrong } else { "a subcommand is missing" };
    format!("tidegate: {wrong}; see tidegate --help")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, Stop> {
        parse(std::iter::once("tidegate").chain(line.split_whitespace()))
    }

    #[test]
    fn no_arguments_run_a_broker_on_the_defaults() {
        assert_eq!(parsed(""), Ok(Cli { config: None, sets: vec![], command: None }));
    }

    #[test]
    fn a_file_and_settings_are_kept_in_order() {
        let cli = parsed("--config a.toml --set b=1 --set c=2").expect("parses");
        assert_eq!(cli.config, Some(PathBuf::from("a.toml")));
        assert_eq!(cli.sets, ["b=1", "c=2"]);
    }

    #[test]
    fn commands_are_parsed() {
        let command = |line| parsed(line).expect("parses").command;
        let explain = |key: Option<&str>| ConfigCommand::Explain { key: key.map(str::to_owned) };
        assert_eq!(command("config explain"), Some(Command::Config { command: explain(None) }));
        assert_eq!(
            command("config explain data.dir"),
            Some(Command::Config { command: explain(Some("data.dir")) })
        );
        let inspect = WalCommand::Inspect { dir: "d".into(), floor: 0 };
        assert_eq!(command("wal inspect d"), Some(Command::Wal { command: inspect }));
        let recover = WalCommand::Recover { partial: true, dir: "d".into(), floor: 0 };
        assert_eq!(command("wal recover --partial d"), Some(Command::Wal { command: recover }));
    }

    #[test]
    fn help_and_version_are_no_errors() {
        let help = parsed("--help").expect_err("stops");
        assert_eq!(help.exit_code, 0);
        for text in ["--config <FILE>", "--set <KEY=VALUE>", "config", "wal", "TIDEGATE_"] {
            assert!(help.text.contains(text), "{text} in {}", help.text);
        }
        let version = parsed("--version").expect_err("stops");
        assert_eq!(
            (version.exit_code, version.text.trim()),
            (0, concat!("tidegate ", env!("CARGO_PKG_VERSION")))
        );
    }

    #[test]
    fn an_error_is_one_line_that_names_what_is_wrong() {
        for (line, wrong) in [
            ("--sett a=b", "--sett"),
            ("--config", "--config"),
            ("wal recover dir", "--partial"),
            ("wal inspect", "<DIR>"),
            ("wal", "subcommand"),
            ("start", "start"),
        ] {
            let stop = parsed(line).expect_err(line);
            assert_eq!(stop.exit_code, 2, "{line}");
            assert!(stop.text.contains(wrong), "{line}: {}", stop.text);
            assert!(!stop.text.contains('\n'), "{line}: {}", stop.text);
        }
    }
}
