//! Pairs of runs as a table with ratios.
//!
//! Owns: which runs make a pair, which pairs count, and the median. The first label in the file is the subject; run i of
//! a load by the subject pairs with run i by each peer, since they ran one after the other.
//! Invariants: a ratio above 1 is in the subject's favour, whatever the figure; a pair in which other processes or the
//! hypervisor took part of the machine gives no ratio; a latency ratio needs both runs to have kept their rate.
//! Never: prints a ratio without a peer, nor a mean that one bad run can move.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use crate::outcome::Outcome;

/// Of a core. A broker that idles beside the measured one counts too.
const FOREIGN_CORES_MAX: f64 = 0.10;
const STEAL_SHARE_MAX: f64 = 0.05;

/// One figure of an outcome; none where it does not apply.
type Figure = fn(&Outcome) -> Option<f64>;

/// Name, figure, whether more is better.
const FIGURES: [(&str, Figure, bool); 6] = [
    ("MB/s", |o| Some(o.mb_per_second()), true),
    ("req/s", |o| Some(o.requests_per_second()), true),
    ("p50 ms", |o| (!o.saturated()).then_some(o.latency_us.p50 / 1e3), false),
    ("p99 ms", |o| (!o.saturated()).then_some(o.latency_us.p99 / 1e3), false),
    ("CPU-s/GiB", Outcome::broker_cpu_s_per_gib, false),
    ("CPU-us/req", Outcome::broker_cpu_us_per_request, false),
];

/// Reads a file of JSON lines.
pub fn parse(text: &str) -> Result<Vec<Outcome>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).with_context(|| format!("line {} is no outcome", at + 1))
        })
        .collect()
}

/// The table, in Markdown.
pub fn table(outcomes: &[Outcome]) -> Result<String> {
    ensure!(!outcomes.is_empty(), "there is no run to report");
    let labels = in_order(outcomes.iter().map(|o| o.label.as_str()));
    let mut out = String::from("| load | broker | runs |");
    FIGURES.iter().for_each(|(name, ..)| _ = write!(out, " {name} |"));
    out.push_str(" RSS MiB |\n|---|---|---|");
    out.push_str(&"---|".repeat(FIGURES.len() + 1));
    out.push('\n');
    for name in in_order(outcomes.iter().map(|o| o.name.as_str())) {
        let runs = |label| -> Vec<&Outcome> {
            outcomes.iter().filter(|o| o.name == name && o.label == label).collect()
        };
        for &label in &labels {
            figures_row(&mut out, name, label, &runs(label));
        }
        for &peer in &labels[1..] {
            ratios_row(&mut out, name, peer, &runs(labels[0]), &runs(peer));
        }
    }
    Ok(out)
}

/// Medians of all runs of a broker.
fn figures_row(out: &mut String, name: &str, label: &str, runs: &[&Outcome]) {
    if runs.is_empty() {
        return;
    }
    let _ = write!(out, "| {name} | {label} | {} |", runs.len());
    for (_, figure, _) in FIGURES {
        let values: Option<Vec<f64>> = runs.iter().map(|run| figure(run)).collect();
        let _ = write!(
            out,
            " {} |",
            values.map_or_else(|| "-".to_owned(), |mut v| number(spread(&mut v).median))
        );
    }
    let mut resident: Vec<f64> =
        runs.iter().filter_map(|o| o.broker).map(|b| b.resident_bytes as f64 / f64::from(1 << 20)).collect();
    let resident = if resident.is_empty() { "-".to_owned() } else { number(spread(&mut resident).median) };
    let _ = writeln!(out, " {resident} |");
}

/// Median, lowest and highest ratio over the clean pairs.
fn ratios_row(out: &mut String, name: &str, peer: &str, ours: &[&Outcome], theirs: &[&Outcome]) {
    let pairs: Vec<(&Outcome, &Outcome)> = ours.iter().copied().zip(theirs.iter().copied()).collect();
    if pairs.is_empty() {
        return;
    }
    let clean: Vec<_> = pairs.iter().filter(|(our, their)| is_clean(our) && is_clean(their)).collect();
    let _ = write!(out, "| {name} | **ratio to {peer}** | {} of {} |", clean.len(), pairs.len());
    for (_, figure, more_is_better) in FIGURES {
        let ratios: Option<Vec<f64>> = clean
            .iter()
            .map(|(our, their)| {
                let (our, their) = (figure(our)?, figure(their)?);
                let ratio = if more_is_better { our / their } else { their / our };
                ratio.is_finite().then_some(ratio)
            })
            .collect();
        let cell = match ratios {
            Some(mut ratios) if !ratios.is_empty() => {
                let Spread { low, median, high } = spread(&mut ratios);
                format!("**{median:.2}** ({low:.2}-{high:.2})")
            }
            _ => "-".to_owned(),
        };
        let _ = write!(out, " {cell} |");
    }
    out.push_str(" |\n");
}

fn is_clean(outcome: &Outcome) -> bool {
    outcome.foreign_cores <= FOREIGN_CORES_MAX && outcome.steal_share <= STEAL_SHARE_MAX
}

struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

/// Of a list that is not empty.
fn spread(values: &mut [f64]) -> Spread {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median =
        if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Spread { low: values[0], median, high: values[values.len() - 1] }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::outcome;

    fn run(label: &str, bytes: u64, cpu_s: f64) -> Outcome {
        let mut run = Outcome { bytes, ..outcome("load", label) };
        run.broker.as_mut().expect("measured").cpu_s = cpu_s;
        run
    }

    fn ratio_row(outcomes: &[Outcome]) -> String {
        let table = table(outcomes).expect("there are runs");
        table.lines().find(|line| line.contains("ratio")).unwrap_or_default().to_owned()
    }

    #[test]
    fn pairs_are_taken_in_order_and_the_median_is_shown_with_its_spread() {
        let gib = 1 << 30;
        let runs = [
            run("ours", 4 * gib, 1.0),
            run("kafka", gib, 1.0), // 4 times the bytes, 1/4 of the CPU a byte
            run("ours", 6 * gib, 1.0),
            run("kafka", 2 * gib, 1.0), // 3
            run("ours", 10 * gib, 1.0),
            run("kafka", gib, 1.0), // 10
        ];
        let row = ratio_row(&runs);
        assert!(row.starts_with("| load | **ratio to kafka** | 3 of 3 | **4.00** (3.00-10.00) |"), "{row}");
        assert!(row.contains("| **4.00** (3.00-10.00) | **1.00** (1.00-1.00) | |"), "CPU-s/GiB: {row}");
    }

    #[test]
    fn a_disturbed_pair_gives_no_ratio() {
        let gib = 1 << 30;
        let noisy = |label, bytes| Outcome { foreign_cores: 0.2, ..run(label, bytes, 1.0) };
        let stolen = |label, bytes| Outcome { steal_share: 0.06, ..run(label, bytes, 1.0) };
        let runs = [
            run("ours", 9 * gib, 1.0),
            noisy("kafka", gib),
            stolen("ours", 9 * gib),
            run("kafka", gib, 1.0),
            run("ours", 2 * gib, 1.0),
            run("kafka", gib, 1.0),
        ];
        assert!(ratio_row(&runs).contains("| 1 of 3 | **2.00** (2.00-2.00) |"), "{}", ratio_row(&runs));
        assert!(ratio_row(&runs[..4]).contains("| 0 of 2 | - | - |"), "{}", ratio_row(&runs[..4]));
    }

    #[test]
    fn a_saturated_run_gives_no_latency_ratio() {
        let gib = 1 << 30;
        let behind = Outcome { offered: Some(1e6), ..run("kafka", gib, 1.0) };
        let row = ratio_row(&[run("ours", gib, 1.0), behind]);
        assert!(row.contains("| **1.00** (1.00-1.00) | **1.00** (1.00-1.00) | - | - | **1.00**"), "{row}");
    }

    #[test]
    fn without_a_peer_there_is_no_ratio() {
        assert_eq!(ratio_row(&[run("ours", 1 << 30, 1.0)]), "");
        assert!(table(&[]).is_err());
    }

    #[test]
    fn a_line_that_is_no_outcome_is_named() {
        let good = serde_json::to_string(&outcome("load", "a")).expect("serializes");
        assert_eq!(parse(&format!("{good}\n\n{good}\n")).expect("two lines").len(), 2);
        let error = parse(&format!("{good}\n{{}}\n")).expect_err("the second is none");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
