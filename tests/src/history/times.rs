//! The rules that need the clock: what may not be acknowledged when, what a log end must hold, how long nothing was served.

use super::checker::{Checker, NOWHERE, Outcome, Partition, show};
use super::event::Phase;
use super::paged::Bits;
use super::verdict::Verdict;

/// One fault: from its announcement until the broker serves again.
pub(super) struct Fault {
    pub(super) kind: String,
    pub(super) begin_us: i64,
    /// The last one is open while its end is missing.
    dead: Vec<(i64, i64)>,
    end_us: Option<i64>,
}

impl Fault {
    pub(super) fn new(kind: &str, us: i64) -> Self {
        Self { kind: kind.to_owned(), begin_us: us, dead: Vec::new(), end_us: None }
    }

    pub(super) fn note(&mut self, phase: Phase, us: i64) {
        match phase {
            Phase::Begin => {}
            Phase::Dead => self.dead.push((us, i64::MAX)),
            Phase::Alive => {
                if let Some(window) = self.dead.last_mut() {
                    window.1 = us;
                }
            }
            Phase::End => self.end_us = Some(us),
        }
    }
}

/// One answer about the start and the end of a log.
pub(super) struct Query {
    pub(super) asked_us: i64,
    pub(super) answered_us: i64,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Whatever was acknowledged in a window in which nothing could be, though it was sent in it.
pub(super) fn late_acks(checker: &Checker, verdict: &mut Verdict) {
    let mut windows: Vec<_> =
        checker.faults.iter().flat_map(|fault| fault.dead.iter().map(move |w| (*w, fault))).collect();
    windows.sort_by_key(|((dead, _), _)| *dead);
    for producer in &checker.producers {
        for (n, sent) in producer.sent.iter().filter(|(_, sent)| sent.outcome == Outcome::Ok && sent.invoked)
        {
            let before = windows.partition_point(|((dead, _), _)| *dead < sent.invoked_us);
            if let Some(((dead, alive), fault)) = before.checked_sub(1).map(|at| &windows[at])
                && sent.acked_us < *alive
            {
                verdict.found("late-ack", || {
                    format!(
                        "{}-{n} was sent at {} us and acknowledged at {} us, {} from {dead} us on",
                        producer.name, sent.invoked_us, sent.acked_us, fault.kind
                    )
                });
            }
        }
    }
}

/// The milliseconds in which something was acknowledged.
pub(super) fn ack_times(checker: &Checker) -> Bits {
    let mut times = Bits::default();
    for producer in &checker.producers {
        for (_, sent) in producer.sent.iter().filter(|(_, sent)| sent.outcome == Outcome::Ok) {
            times.insert(sent.acked_us.max(0) as u64 / 1000);
        }
    }
    times
}

/// Between the end of a fault and the begin of the next something must have been acknowledged.
pub(super) fn idle(checker: &Checker, acks: &Bits, verdict: &mut Verdict) {
    for pair in checker.faults.windows(2) {
        let [before, after] = pair else { continue };
        // Without an end the fault went over into the next one, as when recovery is killed.
        let Some(end_us) = before.end_us else { continue };
        let (from, to) = (end_us.max(0) as u64 / 1000, after.begin_us.max(0) as u64 / 1000);
        if !(from..=to).any(|ms| acks.contains(ms)) {
            verdict.found("idle", || {
                format!(
                    "no acknowledgement from {from} ms, after {}, to {to} ms, before {}",
                    before.kind, after.kind
                )
            });
        }
    }
}

/// For each fault the longest time without an acknowledgement, from its begin until the next one's.
pub(super) fn unavailable_ms(checker: &Checker, acks: &Bits) -> Vec<u64> {
    let mut gaps = vec![0; checker.faults.len()];
    let begins: Vec<u64> = checker.faults.iter().map(|fault| fault.begin_us.max(0) as u64 / 1000).collect();
    let mut last = None;
    for ms in acks.iter() {
        // The gap (last, ms) belongs to every fault that began before its end, and whose successor began after its start.
        if let Some(last) = last.filter(|last| ms - last > 1) {
            let first = begins.partition_point(|begin| *begin <= last).saturating_sub(1);
            for at in first..begins.partition_point(|begin| *begin < ms) {
                let from = begins[at].max(last);
                let to = begins.get(at + 1).map_or(ms, |next| ms.min(*next));
                gaps[at] = gaps[at].max(to.saturating_sub(from));
            }
        }
        last = Some(ms);
    }
    gaps
}

/// What was acknowledged, read or answered before a log's ends were asked for must be within them.
pub(super) fn ends(checker: &mut Checker, verdict: &mut Verdict) {
    for partition in &mut checker.partitions {
        partition.queries.sort_by_key(|query| query.asked_us);
    }
    // By partition and query, the least end that it has to answer; a query also owes what the ones before it owe.
    let mut owed: Vec<Vec<u64>> = checker.partitions.iter().map(|p| vec![0; p.queries.len()]).collect();
    let mut owe = |place: usize, partition: &Partition, us: i64, end: u64| {
        let first = partition.queries.partition_point(|query| query.asked_us <= us);
        if let Some(least) = owed[place].get_mut(first) {
            *least = (*least).max(end);
        }
    };
    for producer in &checker.producers {
        for (_, sent) in producer.sent.iter() {
            if sent.outcome == Outcome::Ok && sent.acked_offset != NOWHERE {
                let place = sent.acked_place as usize;
                owe(place, &checker.partitions[place], sent.acked_us, sent.acked_offset + 1);
            }
        }
    }
    for (place, partition) in checker.partitions.iter().enumerate() {
        for (offset, cell) in partition.cells.iter().filter(|(_, cell)| cell.filled) {
            owe(place, partition, cell.read_us, offset + 1);
        }
    }
    for (partition, owed) in checker.partitions.iter().zip(owed) {
        let mut least = 0;
        for (query, owed) in partition.queries.iter().zip(owed) {
            least = least.max(owed);
            if query.end < least {
                verdict.found("stale-end", || {
                    format!(
                        "end {}, asked for at {} us, after {} was seen",
                        query.end,
                        query.asked_us,
                        show(partition, least - 1)
                    )
                });
            }
        }
        monotone(partition, verdict);
    }
}

/// Ends and starts never go back: a query owes the largest that was answered before it was asked.
fn monotone(partition: &Partition, verdict: &mut Verdict) {
    let mut answered: Vec<&Query> = partition.queries.iter().collect();
    answered.sort_by_key(|query| query.answered_us);
    let (mut start, mut end, mut taken) = (0, 0, 0);
    for query in &partition.queries {
        while let Some(earlier) = answered.get(taken).filter(|earlier| earlier.answered_us < query.asked_us) {
            (start, end) = (start.max(earlier.start), end.max(earlier.end));
            taken += 1;
        }
        if query.end < end {
            verdict.found("end-back", || format!("{} after {end} was answered", show(partition, query.end)));
        }
        if query.start < start {
            verdict.found("start-back", || {
                format!("{} after {start} was answered", show(partition, query.start))
            });
        }
    }
}
