//! What a history was found guilty of.

use std::collections::BTreeMap;
use std::fmt;

/// Every finding by name, with what it says. The names of Jepsen's Kafka workload are kept where it has one; the letters
/// are the invariants of reliability.md section 2.
///
/// Findings on transactions (G0, G1c, precommitted-read, int-send-skip) have no rule here until there are transactions.
pub const FINDINGS: &[(&str, &str)] = &[
    ("lost-write", "P1: acknowledged, and not at its offset when everything was read at the end"),
    ("unseen", "P1: acknowledged beyond the end of all that was read at the end"),
    ("taken-back", "P1: a reader was given it, and it is not there at the end"),
    ("duplicate", "I1: a record of an idempotent producer at two offsets, whatever its outcome was"),
    (
        "nonmonotonic-send",
        "P4: two records of one producer in one partition, not in the order they were sent",
    ),
    (
        "inconsistent-offsets",
        "P3: one offset that showed two records, to any reader or in any acknowledgement",
    ),
    ("changed", "P2, P9: a record whose bytes, headers or time are not those that were sent"),
    ("phantom", "P2: a record that nobody sent"),
    ("misplaced", "P2: a record in another topic or partition than it was sent to"),
    ("G1a", "P6: a record that definitely failed, and was read"),
    ("bad-crc", "P9: a reader was given bytes that fail their checksum"),
    ("epoch-back", "P8: a leader epoch lower than that of a lower offset"),
    ("wrong-time", "P10: not the first offset at or after the time that was asked for"),
    ("hole", "P7: an offset within a final range that its reader was not given"),
    ("int-poll-skip", "F4: within one poll, an offset was passed over"),
    ("poll-skip", "F4: from one poll to the next, an offset was passed over"),
    ("int-nonmonotonic-poll", "F4: within one poll, an offset that is not above the one before"),
    ("nonmonotonic-poll", "F4: from one poll to the next, an offset that is not above the one before"),
    ("end-back", "F1: a log end below one that was answered before it was asked for"),
    ("stale-end", "F5: a log end that does not hold what was acknowledged or read before it was asked for"),
    ("out-of-range", "F6: OFFSET_OUT_OF_RANGE for an offset that nobody deleted"),
    ("start-back", "F7: a log start below one that was answered before it was asked for"),
    ("early-delete", "F7: a log start above all that anybody asked to delete"),
    (
        "late-ack",
        "O4, W4: sent while the broker was stopped, dead or poisoned, and acknowledged in that time",
    ),
    ("unresolved", "L1: no outcome, or an unknown one though its producer was patient"),
    ("idle", "no record was acknowledged between two faults: the later one proved nothing"),
];

/// Examples that are kept of each finding.
const SHOWN_MAX: usize = 5;

#[derive(Default)]
struct Finding {
    count: u64,
    examples: Vec<String>,
}

/// The findings on a history, by name.
#[derive(Default)]
pub struct Verdict {
    findings: BTreeMap<&'static str, Finding>,
}

impl Verdict {
    /// Adds a finding; its text is made only while examples are wanted.
    pub(super) fn found(&mut self, name: &'static str, text: impl FnOnce() -> String) {
        debug_assert!(FINDINGS.iter().any(|(known, _)| *known == name), "{name} is not listed");
        let finding = self.findings.entry(name).or_default();
        finding.count += 1;
        if finding.examples.len() < SHOWN_MAX {
            finding.examples.push(text());
        }
    }

    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The names of what was found, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.findings.keys().copied().collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, finding) in &self.findings {
            for example in &finding.examples {
                writeln!(f, "{name}: {example}")?;
            }
            if finding.count as usize > finding.examples.len() {
                writeln!(f, "{name}: {} in all", finding.count)?;
            }
        }
        Ok(())
    }
}
