//! `crash`: recovers every crash state and every flip of the reference workloads, and says how many there were.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tidegate_tests::crash::{Seen, WORKLOADS};
use tidegate_tests::mutants;

/// Cuts the WAL, the Raft stores and their recovery short at every operation on a simulated disk.
#[derive(Parser)]
struct Args {
    /// Workloads to run; all of them by default
    workloads: Vec<String>,
    /// At least a million states
    #[arg(long)]
    full: bool,
    /// Run with this planted bug
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Print the planted bugs of this build, each with the suite that catches it
    #[arg(long)]
    mutants: bool,
}

#[expect(clippy::disallowed_methods, reason = "how long a run takes is measured in real time")]
fn main() -> ExitCode {
    let args = Args::parse();
    if args.mutants {
        print!("{}", mutants::table());
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) =
        args.workloads.iter().find(|name| !WORKLOADS.iter().any(|(known, _)| known == *name))
    {
        eprintln!("crash: no workload {unknown}; there are: {}", WORKLOADS.map(|(name, _)| name).join(" "));
        return ExitCode::from(2);
    }
    if let Some(name) = &args.mutant
        && let Err(why) = mutants::choose(name)
    {
        eprintln!("crash: {why}");
        return ExitCode::from(2);
    }
    let mut all = Seen::default();
    let mut failed = false;
    for (name, run) in WORKLOADS {
        if !args.workloads.is_empty() && !args.workloads.iter().any(|wanted| wanted == name) {
            continue;
        }
        let begun = Instant::now();
        let outcome = run(args.full);
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(seen) => {
                all.add(seen);
                let Seen { boundaries, states, found, harmless } = seen;
                let what = match (boundaries, states) {
                    (0, 0) => format!("{} flips, {found} found, {harmless} harmless", found + harmless),
                    (0, _) => format!("{states} states"),
                    _ => format!("{boundaries} boundaries, {states} states"),
                };
                println!("{name}: {what}, {seconds:.1} s");
            }
            Err(why) => {
                failed = true;
                println!("{name}: FAILED: {why}");
            }
        }
    }
    println!("{} states, {} flips", all.states, all.found + all.harmless);
    if args.mutant.is_some() {
        println!("reached {}", mutants::reached());
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
