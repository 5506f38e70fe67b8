//! `oracle`: asks Apache Kafka and Tidegate the same, and compares the answers.
//!
//! Owns: the run. Cases are code (`cases/`), since a request takes ids, generations and offsets from earlier answers;
//! what is volatile, what differs and what must be shown are data (`volatile.toml`, `differences.toml`,
//! `required.toml`). Holds: an unlisted difference, a listed one that does not occur, a version without a success and
//! a required code without a case each fail the run.

mod cases;
mod codec;
mod coverage;
mod rules;
mod schema;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};
use tokio::time::Instant;

use cases::Scenario;
use coverage::Required;
use rules::{Difference, Finding, State, Volatile};
use schema::Schema;
use talk::{Observation, Outcome, Talk};

/// A scenario that takes longer is named.
const SLOW: Duration = Duration::from_secs(3);

/// Compares a broker with Apache Kafka, answer by answer.
#[derive(Parser)]
struct Args {
    /// Kafka's message definitions: `common/message` of the clients jar
    #[arg(long, value_name = "DIR")]
    messages: PathBuf,
    /// Apache Kafka
    #[arg(long, value_name = "HOST:PORT")]
    kafka: String,
    /// The broker under test
    #[arg(long, value_name = "HOST:PORT")]
    tidegate: String,
    /// Only scenarios whose name begins so; then nothing is stale or missing
    #[arg(long)]
    only: Option<String>,
    /// Print every answer of both
    #[arg(long)]
    show: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("oracle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<bool> {
    let schema = Arc::new(Schema::read(&args.messages)?);
    let volatile = rules::volatile(include_str!("volatile.toml"))?;
    let mut differences = rules::differences(include_str!("differences.toml"))?;
    let required = Required::parse(include_str!("required.toml"))?;
    let kafka = Talk::new(args.kafka, Arc::clone(&schema)).await.context("Kafka")?;
    let tidegate = Talk::new(args.tidegate, Arc::clone(&schema)).await.context("Tidegate")?;

    let only = args.only.as_deref().unwrap_or_default();
    let chosen: Vec<Scenario> = cases::all().into_iter().filter(|s| s.name.starts_with(only)).collect();
    // What Tidegate does not serve is asked of Kafka alone.
    let (open, shared): (Vec<_>, Vec<_>) =
        chosen.iter().partition(|s| s.keys.iter().any(|k| !tidegate.served.contains_key(k)));
    let open: BTreeSet<&str> = open.iter().map(|s| s.name).collect();
    let none = BTreeSet::new();
    let (kafka, tidegate) = tokio::join!(play(kafka, &chosen, &none), play(tidegate, &chosen, &open));
    let (kafka, broken_kafka) = kafka;
    let (tidegate, broken_tidegate) = tidegate;
    for (who, talk) in [("Kafka", &kafka), ("Tidegate", &tidegate)] {
        for (name, took) in talk.took.iter().filter(|(_, took)| *took > SLOW) {
            println!("{name} took {who} {:.1} s", took.as_secs_f64());
        }
    }
    if args.show {
        show("Kafka", &kafka.log);
        show("Tidegate", &tidegate.log);
    }

    let findings = compare(&schema, &volatile, &kafka.log, &tidegate.log, &open);
    let unlisted = settle(&findings, &mut differences);
    let mut failures = Vec::new();
    failures.extend(broken_kafka.iter().map(|b| format!("Kafka: {b}")));
    failures.extend(broken_tidegate.iter().map(|b| format!("Tidegate: {b}")));
    failures.extend(unlisted.iter().map(|f| {
        format!(
            "unlisted: {} v{} {}\n    kafka    {}\n    tidegate {}",
            f.case, f.version, f.path, f.kafka, f.tidegate
        )
    }));
    let coverage = coverage::of(&schema, &required, &tidegate.served, &kafka.log, &tidegate.log);
    if args.only.is_none() {
        failures.extend(stale(&differences, &open));
        let unserved = required.keys().filter(|k| !tidegate.served.contains_key(k));
        failures.extend(unserved.map(|key| format!("not served: {} ({key})", schema.api(key).name)));
        failures.extend(coverage.missing.iter().map(|m| format!("missing: {m}")));
        println!("{}", coverage.table);
        summary(&differences);
    }
    for failure in &failures {
        println!("{failure}");
    }
    println!(
        "{} scenarios, {} on both, {} requests each answered twice, {} differences, {} failures",
        chosen.len(),
        shared.len(),
        tidegate.log.len(),
        findings.len(),
        failures.len()
    );
    Ok(failures.is_empty())
}

/// Plays the scenarios against one broker. One that cannot go on is named, and the next begins.
async fn play(mut talk: Talk, scenarios: &[Scenario], skipped: &BTreeSet<&str>) -> (Talk, Vec<String>) {
    let mut broken = Vec::new();
    for scenario in scenarios.iter().filter(|s| !skipped.contains(s.name)) {
        talk.begin(scenario.name);
        let begun = Instant::now();
        if let Err(error) = (scenario.run)(&mut talk).await {
            broken.push(format!("{} broke off: {error:#}", scenario.name));
        }
        talk.took.push((scenario.name, begun.elapsed()));
    }
    (talk, broken)
}

fn compare(
    schema: &Schema,
    volatile: &[Volatile],
    kafka: &[Observation],
    tidegate: &[Observation],
    open: &BTreeSet<&str>,
) -> Vec<Finding> {
    let index = |log: &[Observation]| -> BTreeMap<(String, i16, i16), Value> {
        let entries = log.iter().map(|o| ((o.case.clone(), o.key, o.version), tree(schema, volatile, o)));
        entries.collect()
    };
    let (kafka, tidegate) = (index(kafka), index(tidegate));
    let asked: BTreeSet<_> = kafka.keys().chain(tidegate.keys()).collect();
    let mut findings = Vec::new();
    for asked in asked {
        let (case, key, version) = asked;
        if open.contains(case.split('/').next().unwrap_or_default()) {
            continue;
        }
        let not_asked = json!("not asked");
        let name = schema.find(*key).map_or_else(|| format!("key {key}"), |api| api.name.clone());
        let (a, b) = (kafka.get(asked).unwrap_or(&not_asked), tidegate.get(asked).unwrap_or(&not_asked));
        rules::diff(&name, a, b, &mut |path, kafka, tidegate| {
            findings.push(Finding { case: case.clone(), version: *version, path, kafka, tidegate });
        });
    }
    findings
}

fn tree(schema: &Schema, volatile: &[Volatile], o: &Observation) -> Value {
    match &o.outcome {
        Outcome::Closed => json!("closed"),
        Outcome::Silent => json!("silent"),
        Outcome::Undecodable(why) => json!(format!("undecodable: {why}")),
        Outcome::Answer(value) => {
            let name = schema.find(o.key).map_or("unknown", |api| api.name.as_str());
            rules::normalise(volatile, name, value)
        }
    }
}

/// Counts what each entry covers; gives back what none does.
fn settle<'a>(findings: &'a [Finding], differences: &mut [Difference]) -> Vec<&'a Finding> {
    let mut unlisted = Vec::new();
    for finding in findings {
        match differences.iter_mut().find(|d| d.covers(finding)) {
            Some(difference) => difference.met += 1,
            None => unlisted.push(finding),
        }
    }
    unlisted
}

fn stale(differences: &[Difference], open: &BTreeSet<&str>) -> Vec<String> {
    let is_open = |d: &Difference| open.contains(d.case.split('/').next().unwrap_or_default());
    let stale = differences.iter().filter(|d| d.met == 0 && !is_open(d));
    stale.map(|d| format!("stale: no difference at {} {} ({})", d.case, d.path, d.reason)).collect()
}

fn summary(differences: &[Difference]) {
    for state in [State::Deliberate, State::NotYet] {
        println!(
            "differences that are {}:",
            if state == State::Deliberate { "deliberate" } else { "not yet mended" }
        );
        for d in differences.iter().filter(|d| d.state == state && d.met > 0) {
            println!("{:6}  {} {}: {}", d.met, d.case, d.path, d.reason);
        }
    }
    println!();
}

fn show(who: &str, log: &[Observation]) {
    for o in log {
        match &o.outcome {
            Outcome::Answer(value) => println!("{who} {} key {} v{}: {value}", o.case, o.key, o.version),
            other => println!("{who} {} key {} v{}: {other:?}", o.case, o.key, o.version),
        }
    }
}
