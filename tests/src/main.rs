//! `sim`: runs seeds of the simulation and prints one line each; the same seed gives the same log, in any process.
//!
//! A seed runs in a process of its own as soon as there are several, so that each ends in a verdict line, also when the
//! software under test takes its process down or never ends.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use tidegate_tests::mutants;
use tidegate_tests::sim::{self, sometimes};

/// What `--trace` shows when it is given no filter.
const TRACE: &str = "info,openraft=warn,turmoil=warn,tidegate_tests=debug";
/// A seed that takes longer in real time has failed: something in it never ends.
const REAL_S_MAX: u64 = 900;
/// Between two lines of progress in a long run.
const PROGRESS_S: u64 = 60;

/// Runs the real broker on a simulated clock, disk, store and network.
#[derive(Parser)]
struct Args {
    /// First seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds to run
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Seeds at once, each in a process of its own
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Multiplies the time with faults
    #[arg(long, default_value_t = 1)]
    long: u64,
    /// Begin no new seed after so many seconds
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
    /// Fail when a state of the "sometimes" list was never reached
    #[arg(long)]
    all_states: bool,
    /// Begin no new seed after one that failed
    #[arg(long)]
    until_failure: bool,
    /// Run with this planted bug
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Print failures, progress and the summary only
    #[arg(long)]
    quiet: bool,
    /// Write the event logs here, one file per seed
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Print what the product logs, with simulated times; FILTER holds env-filter directives
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = TRACE)]
    trace: Option<String>,
}

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
    if let Some(name) = &args.mutant
        && let Err(why) = mutants::choose(name)
    {
        eprintln!("sim: {why}");
        return ExitCode::from(2);
    }
    if args.count == 1 { one(&args) } else { many(&args) }
}

/// The one line that reproduces a seed.
fn reproduce(seed: u64, long: u64) -> String {
    let long = if long == 1 { String::new() } else { format!(" --long {long}") };
    format!("  reproduce: cargo run --profile ci -p tidegate-tests --bin sim -- --seed {seed}{long} --trace")
}

fn one(args: &Args) -> ExitCode {
    sim::checks::panics::watch();
    let begun = now();
    let run = sim::run(args.seed, args.long);
    if let Some(dir) = &args.logs
        && let Err(error) = write_log(dir, args.seed, &run.events)
    {
        eprintln!("sim: --logs {}: {error}", dir.display());
        return ExitCode::FAILURE;
    }
    let counts: Vec<String> = run.counts.iter().map(|(what, n)| format!("{what}={n}")).collect();
    let verdict = match &run.violation {
        None => "ok".to_owned(),
        Some(why) => format!("FAILED: {why}\n{}", reproduce(args.seed, args.long)),
    };
    println!(
        "seed {} {} simulated-ms={} real-ms={} {} {verdict}",
        args.seed,
        run.hash,
        run.simulated_ms,
        begun.elapsed().as_millis(),
        counts.join(" ")
    );
    if run.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Running {
    seed: u64,
    child: Child,
    begun: Instant,
}

#[derive(Default)]
struct Totals {
    done: u64,
    failed: Vec<u64>,
    counts: BTreeMap<String, u64>,
}

fn many(args: &Args) -> ExitCode {
    let begun = now();
    let mut seeds = args.seed..args.seed + args.count;
    let mut running: Vec<Running> = Vec::new();
    let mut totals = Totals::default();
    let mut progress = now();
    loop {
        let over = args.within.is_some_and(|s| begun.elapsed() > Duration::from_secs(s))
            || (args.until_failure && !totals.failed.is_empty());
        while running.len() < args.jobs.max(1)
            && !over
            && let Some(seed) = seeds.next()
        {
            match spawn(args, seed) {
                Ok(child) => running.push(Running { seed, child, begun: now() }),
                Err(error) => {
                    eprintln!("sim: a process for seed {seed}: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        if running.is_empty() {
            break;
        }
        let mut left = Vec::new();
        for mut run in running {
            let late = run.begun.elapsed() > Duration::from_secs(REAL_S_MAX);
            if late {
                let _ = run.child.kill();
            }
            match run.child.try_wait() {
                Ok(None) if !late => left.push(run),
                _ => totals.take(args, run, late),
            }
        }
        running = left;
        if progress.elapsed() > Duration::from_secs(PROGRESS_S) {
            progress = now();
            eprintln!("{}", totals.line(begun));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    totals.summary(args, begun)
}

fn spawn(args: &Args, seed: u64) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--seed", &seed.to_string(), "--long", &args.long.to_string()]);
    if let Some(name) = &args.mutant {
        command.args(["--mutant", name]);
    }
    if let Some(dir) = &args.logs {
        command.arg("--logs").arg(dir);
    }
    if let Some(filter) = &args.trace {
        command.arg(format!("--trace={filter}"));
    } else {
        command.stderr(Stdio::null());
    }
    command.stdout(Stdio::piped()).spawn()
}

impl Totals {
    /// A child has ended, or was killed: its line, or the verdict that it did not print.
    fn take(&mut self, args: &Args, run: Running, late: bool) {
        let Running { seed, child, .. } = run;
        let (status, out) = match child.wait_with_output() {
            Ok(output) => (Some(output.status), String::from_utf8_lossy(&output.stdout).into_owned()),
            Err(_) => (None, String::new()),
        };
        self.done += 1;
        let line = out.lines().find(|l| l.starts_with("seed ")).map(ToOwned::to_owned);
        if let Some(line) = &line {
            for word in line.split(" ok").next().unwrap_or(line).split(' ') {
                if let Some((what, n)) = word.split_once('=')
                    && let Ok(n) = n.parse::<u64>()
                {
                    *self.counts.entry(what.to_owned()).or_default() += n;
                }
            }
        }
        if status.is_some_and(|s| s.success()) && line.is_some() {
            if !args.quiet {
                print!("{out}");
            }
            return;
        }
        self.failed.push(seed);
        if line.is_some() {
            print!("{out}");
        } else {
            let why = match (late, status) {
                (true, _) => format!("no end within {REAL_S_MAX} s of real time"),
                (_, Some(status)) => format!("the process ended with {status}"),
                (_, None) => "the process is gone".to_owned(),
            };
            println!("seed {seed} FAILED: L0: {why}\n{}", reproduce(seed, args.long));
        }
        let _ = std::io::stdout().flush();
    }

    fn line(&self, begun: Instant) -> String {
        let simulated_s = self.counts.get("simulated-ms").copied().unwrap_or(0) as f64 / 1000.0;
        let real_s = begun.elapsed().as_secs_f64();
        format!(
            "{} seeds, {} failed, {:.1} h simulated in {:.0} s real ({:.1} times), {} acknowledged",
            self.done,
            self.failed.len(),
            simulated_s / 3600.0,
            real_s,
            simulated_s / real_s,
            self.counts.get("acked").copied().unwrap_or(0)
        )
    }

    fn summary(&self, args: &Args, begun: Instant) -> ExitCode {
        let mut zero = Vec::new();
        println!("states that are rare elsewhere, and how often they were met:");
        for (label, says) in sometimes::ALL {
            let n = self.counts.get(*label).copied().unwrap_or(0);
            println!("  {n:>8} {label}: {says}");
            if n == 0 {
                zero.push(*label);
            }
        }
        println!("{}", self.line(begun));
        println!(
            "{} passed, {} failed {:?}",
            self.done - self.failed.len() as u64,
            self.failed.len(),
            self.failed
        );
        if args.all_states && !zero.is_empty() {
            println!("never met: {}", zero.join(" "));
            return ExitCode::FAILURE;
        }
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a run takes is measured in real time")]
fn now() -> Instant {
    Instant::now()
}

fn write_log(dir: &Path, seed: u64, events: &[String]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut file = std::fs::File::create(dir.join(format!("{seed}.log")))?;
    for event in events {
        writeln!(file, "{event}")?;
    }
    Ok(())
}
