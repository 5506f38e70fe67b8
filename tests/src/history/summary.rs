//! The figures of a history: how much it shows, and what the faults cost.

use std::collections::BTreeMap;
use std::fmt;

use super::checker::{Checker, Outcome};

#[derive(Default)]
pub struct Summary {
    pub sent: u64,
    pub acknowledged: u64,
    unknown: u64,
    failed: u64,
    /// By producer: acknowledged, further copies are in `copies`.
    producers: Vec<(String, u64)>,
    offsets: u64,
    readers: usize,
    copies: u64,
    queries: usize,
    pub ranges: usize,
    /// By kind: how long nothing was acknowledged, for each fault.
    faults: BTreeMap<String, Vec<u64>>,
    /// Of patient producers: the record, and how long it took.
    slowest: Option<(String, i64)>,
    seconds: f64,
}

impl Summary {
    pub(super) fn of(checker: &Checker, unavailable_ms: &[u64]) -> Self {
        let mut all = Self {
            readers: checker.readers.len(),
            copies: checker.copies,
            queries: checker.partitions.iter().map(|p| p.queries.len() + p.times.len()).sum(),
            ranges: checker.partitions.iter().map(|p| p.ranges.len()).sum(),
            offsets: checker
                .partitions
                .iter()
                .map(|p| p.cells.iter().filter(|(_, cell)| cell.filled).count() as u64)
                .sum(),
            ..Self::default()
        };
        let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
        for producer in &checker.producers {
            let mut acknowledged = 0;
            for (n, sent) in producer.sent.iter().filter(|(_, sent)| sent.invoked) {
                all.sent += 1;
                match sent.outcome {
                    Outcome::Ok => acknowledged += 1,
                    Outcome::Info => all.unknown += 1,
                    Outcome::Fail => all.failed += 1,
                    Outcome::None => {}
                }
                if sent.outcome == Outcome::Ok {
                    (first_us, last_us) = (first_us.min(sent.invoked_us), last_us.max(sent.acked_us));
                    let took = sent.acked_us - sent.invoked_us;
                    if producer.patient && all.slowest.as_ref().is_none_or(|(_, slowest)| took > *slowest) {
                        all.slowest = Some((format!("{}-{n}", producer.name), took));
                    }
                }
            }
            all.acknowledged += acknowledged;
            all.producers.push((producer.name.clone(), acknowledged));
        }
        if last_us > first_us {
            all.seconds = (last_us - first_us) as f64 / 1e6;
        }
        for (fault, ms) in checker.faults.iter().zip(unavailable_ms) {
            all.faults.entry(fault.kind.clone()).or_default().push(*ms);
        }
        for gaps in all.faults.values_mut() {
            gaps.sort_unstable();
        }
        all
    }

    /// How many faults of a kind there were.
    #[must_use]
    pub fn faults(&self, kind: &str) -> usize {
        self.faults.get(kind).map_or(0, Vec::len)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} records acknowledged in {:.0} s ({} sent, {} unknown, {} refused); {} offsets read by {} readers, {} log ends and \
             times asked; {} copies without idempotence; {} faults",
            self.acknowledged,
            self.seconds,
            self.sent,
            self.unknown,
            self.failed,
            self.offsets,
            self.readers,
            self.queries,
            self.copies,
            self.faults.values().map(Vec::len).sum::<usize>()
        )?;
        if let Some((record, us)) = &self.slowest {
            writeln!(f, "slowest acknowledgement: {} ms ({record})", us / 1000)?;
        }
        for (producer, acknowledged) in &self.producers {
            writeln!(f, "producer {producer}: {acknowledged} acknowledged")?;
        }
        for (kind, gaps) in &self.faults {
            let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
            writeln!(
                f,
                "fault {kind}: {} times, nothing acknowledged for {median} ms (median), {longest} ms (longest)",
                gaps.len()
            )?;
        }
        Ok(())
    }
}
