//! `sim`: runs seeds of the simulation and prints one line each; the same seed gives the same log, in any process.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tidegate_tests::sim;

/// What `--trace` shows when it is given no filter.
const TRACE: &str = "info,openraft=warn,turmoil=warn,tidegate_tests=debug";

/// Runs the real broker on a simulated clock, disk, store and network.
#[derive(Parser)]
struct Args {
    /// First seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds to run, one after the other
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Write the event logs here, one file per seed
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Print what the product logs, with simulated times; FILTER holds env-filter directives
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = TRACE)]
    trace: Option<String>,
}

#[expect(clippy::disallowed_methods, reason = "how long a run takes is measured in real time")]
fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(filter) = &args.trace {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .without_time()
            .with_ansi(false)
            .init();
    }
    let begun = Instant::now();
    let (mut failed, mut simulated_ms) = (0u64, 0u64);
    for seed in args.seed..args.seed + args.count {
        let run = sim::run(seed);
        simulated_ms += run.simulated_ms;
        let verdict = match &run.violation {
            None => "ok".to_owned(),
            Some(why) => {
                failed += 1;
                format!(
                    "FAILED: {why}\n  reproduce: cargo run --profile ci -p tidegate-tests --bin sim -- --seed {seed} --trace"
                )
            }
        };
        println!("seed {seed} {} {} {verdict}", run.hash, run.counts);
        if let Some(dir) = &args.logs
            && let Err(error) = write_log(dir, seed, &run.events)
        {
            eprintln!("sim: --logs {}: {error}", dir.display());
            return ExitCode::FAILURE;
        }
    }
    let real_s = begun.elapsed().as_secs_f64();
    eprintln!(
        "{} seeds, {:.0} s simulated in {real_s:.1} s real ({:.1} times)",
        args.count,
        simulated_ms as f64 / 1000.0,
        simulated_ms as f64 / 1000.0 / real_s
    );
    println!("{} passed, {failed} failed", args.count - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write_log(dir: &std::path::Path, seed: u64, events: &[String]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut file = std::fs::File::create(dir.join(format!("{seed}.log")))?;
    for event in events {
        writeln!(file, "{event}")?;
    }
    Ok(())
}
