//! `raw`: an open-loop load generator that speaks Kafka's bytes over TCP.
//!
//! Owns: the process and its one thread. One thread is enough to load a broker on the other cores, and it lets all
//! connections share their counts without a lock.
//! Not here: TLS and SASL, compression, idempotent and transactional producers, consumer groups, fetch sessions, and
//! end-to-end latency (a produced batch carries no time of its own). The loads of those get their own workloads.

mod answer;
mod batch;
mod client;
mod clock;
mod connection;
mod frames;
mod histogram;
mod options;
mod outcome;
mod placement;
mod process;
mod recorder;
mod report;
mod run;
mod schedule;
mod workload;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::task::LocalSet;

use crate::options::{Command, Options};
use crate::outcome::Outcome;

fn main() -> ExitCode {
    let options = Options::parse();
    match execute(options.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raw: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Produce(options) => print(&block_on(run::produce(&options))?, options.load.json),
        Command::Fetch(options) => print(&block_on(run::fetch(&options))?, options.load.json),
        Command::DeleteTopic { bootstrap, topic } => block_on(run::delete_topic(&bootstrap, &topic)),
        Command::Report { file } => {
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            print!("{}", report::table(&report::parse(&text)?)?);
            Ok(())
        }
        Command::Pretouch { bytes } => {
            pretouch(bytes);
            Ok(())
        }
    }
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    process::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, future)
}

/// With `json` the line goes to stdout and the text, for whoever watches, to stderr.
fn print(outcome: &Outcome, json: bool) -> Result<()> {
    if json {
        eprintln!("{outcome}");
        println!("{}", serde_json::to_string(outcome)?);
    } else {
        println!("{outcome}");
    }
    Ok(())
}

/// Memory that the host has never backed, or has taken back, costs several microseconds a page on first use, and which
/// broker pays for it depends on who comes first. Pieces, so that giving them back is not one long stall.
fn pretouch(bytes: u64) {
    const PIECE: u64 = 64 << 20;
    let pieces: Vec<Vec<u8>> =
        (0..bytes / PIECE).map(|_| std::hint::black_box(vec![0x5a; PIECE as usize])).collect();
    drop(pieces);
}
