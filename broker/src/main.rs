//! The `tidegate` binary: arguments in, exit code out.

use std::process::ExitCode;

use tidegate_broker::cli::{self, Cli, Command, ConfigCommand, WalCommand};
use tidegate_broker::config::{self, Sources};
use tidegate_broker::{logging, runtime, wal_tools};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(stop) => {
            if stop.exit_code == 0 {
                println!("{}", stop.text);
            } else {
                eprintln!("{}", stop.text);
            }
            return ExitCode::from(stop.exit_code);
        }
    };
    match act(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tidegate: {why}");
            ExitCode::FAILURE
        }
    }
}

fn act(cli: Cli) -> Result<(), String> {
    match cli.command {
        Some(Command::Config { command: ConfigCommand::Explain { key } }) => {
            print!("{}", config::explain(key.as_deref()).map_err(|e| e.to_string())?);
            Ok(())
        }
        Some(Command::Wal { command: WalCommand::Inspect { dir, floor } }) => {
            print!("{}", wal_tools::inspect(&dir, floor)?);
            Ok(())
        }
        Some(Command::Wal { command: WalCommand::Recover { dir, floor, .. } }) => {
            print!("{}", wal_tools::recover_partial(&dir, floor)?);
            Ok(())
        }
        None => {
            let sources = Sources::of_process(cli.config, cli.sets);
            let loaded = config::load(&sources).map_err(|e| e.to_string())?;
            let loggers = logging::init(&loaded.config.log).map_err(|e| e.to_string())?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            // One line, whatever the chain of causes.
            runtime::run(loaded.config, loggers).map_err(|e| format!("{e:#}"))
        }
    }
}
