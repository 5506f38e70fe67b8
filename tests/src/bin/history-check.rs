//! `history-check`: judges the histories of a directory and names every finding (see `tidegate_tests::history`).
//!
//! Ends with 1 on a finding, and when the run shows less than was wanted of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tidegate_tests::history::{Checker, FINDINGS, event};

/// Longest line that is read: an id and a few numbers.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Judges the histories (*.jsonl) of a directory
#[derive(Parser)]
struct Args {
    /// Where the histories are
    #[arg(required_unless_present = "findings")]
    directory: Option<PathBuf>,
    /// Fewer faults of a kind make the run void; may be given again
    #[arg(long, value_name = "KIND=COUNT", value_parser = wanted)]
    want: Vec<(String, usize)>,
    /// Fewer acknowledged records make the run void
    #[arg(long, default_value_t = 1)]
    records_min: u64,
    /// List what can be found, and end
    #[arg(long)]
    findings: bool,
}

fn wanted(text: &str) -> Result<(String, usize)> {
    let (kind, count) = text.split_once('=').context("KIND=COUNT")?;
    Ok((kind.to_owned(), count.parse()?))
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.findings {
        for (name, means) in FINDINGS {
            println!("{name:22} {means}");
        }
    }
    let Some(directory) = &args.directory else { return Ok(ExitCode::SUCCESS) };
    let mut checker = Checker::default();
    let mut files: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files
        .iter()
        .map(std::fs::DirEntry::path)
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
    {
        read(&file, &mut checker).with_context(|| file.display().to_string())?;
    }
    let (verdict, summary) = checker.judge();
    print!("{summary}{verdict}");
    let mut void = false;
    for (kind, count) in &args.want {
        if summary.faults(kind) < *count {
            println!("void: {} faults of kind {kind}, wanted {count}", summary.faults(kind));
            void = true;
        }
    }
    if summary.acknowledged < args.records_min || summary.ranges == 0 {
        println!(
            "void: {} acknowledged, wanted {}; {} final ranges",
            summary.acknowledged, args.records_min, summary.ranges
        );
        void = true;
    }
    Ok(if verdict.is_clean() && !void { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path, checker: &mut Checker) -> Result<()> {
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            break;
        }
        if line.len() > LINE_BYTES_MAX {
            bail!("line {number} has {} bytes", line.len());
        }
        let (us, event) =
            event::parse(&line).with_context(|| format!("line {number}: {}", line.trim_end()))?;
        checker.take(us, &event);
    }
    Ok(())
}
