//! The rules that are applied once a history is complete.

use std::collections::BTreeMap;

use super::checker::{Checker, NOBODY, NOWHERE, Outcome, Partition, Producer, Sent, show};
use super::summary::Summary;
use super::times;
use super::verdict::Verdict;

impl Checker {
    /// Judges all that was taken.
    #[must_use]
    pub fn judge(mut self) -> (Verdict, Summary) {
        let mut verdict = std::mem::take(&mut self.verdict);
        doubles(&mut self, &mut verdict);
        for (id, producer) in self.producers.iter().enumerate() {
            for (n, sent) in producer.sent.iter() {
                record(&self, id as u32, producer, n as u32, sent, &mut verdict);
            }
            order(&self, producer, &mut verdict);
        }
        for (place, partition) in self.partitions.iter().enumerate() {
            contents(&self, place as u32, partition, &mut verdict);
            ranges(&self, place as u32, partition, &mut verdict);
            by_time(partition, &mut verdict);
        }
        polls(&self, &mut verdict);
        times::ends(&mut self, &mut verdict);
        times::late_acks(&self, &mut verdict);
        let acks = times::ack_times(&self);
        times::idle(&self, &acks, &mut verdict);
        let summary = Summary::of(&self, &times::unavailable_ms(&self, &acks));
        (verdict, summary)
    }

    /// Whether every reader of everything was given this offset at the end.
    fn is_there(&self, place: u32, offset: u64) -> bool {
        let ranges = &self.partitions[place as usize].ranges;
        let seen = |reader| self.lines.get(&(reader, place)).is_some_and(|line| line.seen.contains(offset));
        !ranges.is_empty() && ranges.iter().all(|(reader, _, _)| seen(*reader))
    }

    fn is_deleted(&self, place: u32, offset: u64) -> bool {
        offset < self.partitions[place as usize].deleted
    }

    fn at(&self, place: u32, offset: u64) -> String {
        show(&self.partitions[place as usize], offset)
    }
}

/// Records that were read at a second offset. Without idempotence they are counted, and allowed.
fn doubles(checker: &mut Checker, verdict: &mut Verdict) {
    for (id, n, place, offset) in std::mem::take(&mut checker.doubles) {
        let producer = &checker.producers[id as usize];
        if producer.idempotent {
            let first = producer.sent.get(u64::from(n)).map_or(NOWHERE, |sent| sent.read_offset);
            verdict.found("duplicate", || {
                format!("{}-{n} is at {} and at {first}", producer.name, checker.at(place, offset))
            });
        } else {
            checker.copies += 1;
        }
    }
}

/// The outcome of one record.
fn record(checker: &Checker, id: u32, producer: &Producer, n: u32, sent: &Sent, verdict: &mut Verdict) {
    let name = || format!("{}-{n}", producer.name);
    match sent.outcome {
        Outcome::None if !sent.invoked => {}
        Outcome::None => verdict.found("unresolved", || format!("{} has no outcome", name())),
        Outcome::Info if producer.patient => {
            verdict.found("unresolved", || format!("{} ended as unknown", name()))
        }
        Outcome::Info | Outcome::Fail => {}
        Outcome::Ok if !sent.invoked => {
            verdict.found("phantom", || format!("{} was acknowledged, and nobody sent it", name()))
        }
        Outcome::Ok => acknowledged(checker, id, producer, n, sent, verdict),
    }
}

fn acknowledged(checker: &Checker, id: u32, producer: &Producer, n: u32, sent: &Sent, verdict: &mut Verdict) {
    let name = || format!("{}-{n}", producer.name);
    if sent.acked_place != sent.place {
        verdict.found("misplaced", || {
            format!("{} was acknowledged in another partition than it was sent to", name())
        });
    }
    // A client that got its outcome from a duplicate is not told where the record is: anywhere will do.
    let (place, offset) = match sent.acked_offset {
        NOWHERE => (sent.read_place, sent.read_offset),
        offset => (sent.acked_place, offset),
    };
    if offset == NOWHERE {
        verdict.found("lost-write", || {
            format!("{} was acknowledged without an offset, and nobody read it", name())
        });
        return;
    }
    let partition = &checker.partitions[place as usize];
    let cell = partition.cells.get(offset).filter(|cell| cell.filled);
    let other = cell.filter(|cell| (cell.producer, cell.n) != (id, n));
    if let Some(cell) = other {
        verdict.found("inconsistent-offsets", || {
            let read = checker.name(cell.producer, cell.n);
            format!("{} was acknowledged for {}, and read as {read}", show(partition, offset), name())
        });
    }
    if !checker.is_deleted(place, offset) && (other.is_some() || !checker.is_there(place, offset)) {
        let end = partition.ranges.iter().map(|(_, _, end)| *end).max().unwrap_or(0);
        let finding = if offset >= end { "unseen" } else { "lost-write" };
        verdict.found(finding, || format!("{} was acknowledged at {}", name(), show(partition, offset)));
    }
    let read = (sent.read_place, sent.read_offset);
    if producer.idempotent && sent.read_offset != NOWHERE && read != (place, offset) {
        verdict.found("duplicate", || {
            format!(
                "{} was acknowledged at {} and is at {}",
                name(),
                show(partition, offset),
                checker.at(read.0, read.1)
            )
        });
    }
}

/// Records of one producer in one partition are in the order they were sent.
///
/// With idempotence all that are known to be in the log count, acknowledged or not: a late write must not overtake.
/// Without it (and with one request in flight) only the offsets that were acknowledged.
fn order(checker: &Checker, producer: &Producer, verdict: &mut Verdict) {
    let mut last: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (n, sent) in producer.sent.iter().filter(|(_, sent)| sent.invoked) {
        let offset = match sent.acked_offset {
            NOWHERE if producer.idempotent => sent.read_offset,
            offset => offset,
        };
        if offset == NOWHERE {
            continue;
        }
        if let Some((before, at)) = last.insert(sent.place, (n, offset))
            && offset <= at
        {
            verdict.found("nonmonotonic-send", || {
                let place = checker.at(sent.place, offset);
                format!("{}: record {before} is at {at}, record {n}, sent later, at {place}", producer.name)
            });
        }
    }
}

/// Every record that was read is one that was sent, as it was sent, where it was sent to, and is there at the end.
fn contents(checker: &Checker, place: u32, partition: &Partition, verdict: &mut Verdict) {
    let mut epoch = i32::MIN;
    for (offset, cell) in partition.cells.iter().filter(|(_, cell)| cell.filled) {
        let name = || checker.name(cell.producer, cell.n);
        let at = || show(partition, offset);
        if cell.epoch < epoch {
            verdict.found("epoch-back", || {
                format!("{} has leader epoch {}, one before it has {epoch}", at(), cell.epoch)
            });
        }
        epoch = epoch.max(cell.epoch);
        if !partition.ranges.is_empty() && offset >= partition.deleted && !checker.is_there(place, offset) {
            verdict.found("taken-back", || format!("{} was read at {}", name(), at()));
        }
        let producer = (cell.producer != NOBODY).then(|| &checker.producers[cell.producer as usize]);
        let Some(sent) = producer.and_then(|p| p.sent.get(u64::from(cell.n))).filter(|sent| sent.invoked)
        else {
            verdict.found("phantom", || format!("{} holds {}", at(), name()));
            continue;
        };
        if sent.place != place {
            verdict.found("misplaced", || {
                format!("{} is at {}, and was sent to {}", name(), at(), checker.at(sent.place, 0))
            });
        }
        if sent.digest != cell.digest {
            verdict.found("changed", || {
                format!(
                    "{} at {} has digest {:016x}, was sent with {:016x}",
                    name(),
                    at(),
                    cell.digest,
                    sent.digest
                )
            });
        }
        if sent.outcome == Outcome::Fail {
            verdict.found("G1a", || format!("{} failed, and is at {}", name(), at()));
        }
    }
}

fn ranges(checker: &Checker, place: u32, partition: &Partition, verdict: &mut Verdict) {
    for &(reader, start, end) in &partition.ranges {
        let name = &checker.readers[reader as usize];
        if start > partition.deleted {
            verdict.found("early-delete", || format!("{name} found the start at {}", show(partition, start)));
        }
        let line = checker.lines.get(&(reader, place));
        let from = start.max(partition.deleted);
        let seen = |offset: u64| line.is_some_and(|line| line.seen.contains(offset));
        if let Some(first) = (from..end).find(|offset| !seen(*offset)) {
            verdict.found("hole", || format!("{name} read {from}..{end} without {}", show(partition, first)));
        }
    }
    for query in partition.queries.iter().filter(|query| query.start > partition.deleted) {
        verdict
            .found("early-delete", || format!("the start was answered as {}", show(partition, query.start)));
    }
    for &(reader, offset) in partition.out_of_range.iter().filter(|(_, offset)| *offset >= partition.deleted)
    {
        verdict.found("out-of-range", || {
            format!("{} at {}", checker.readers[reader as usize], show(partition, offset))
        });
    }
}

/// Answers of ListOffsets by time, against the times of what was read.
fn by_time(partition: &Partition, verdict: &mut Verdict) {
    if partition.times.is_empty() {
        return;
    }
    let (mut latest, mut heads) = (i64::MIN, Vec::new());
    for (offset, cell) in
        partition.cells.iter().filter(|(offset, cell)| cell.filled && *offset >= partition.deleted)
    {
        // The first offset at or after a time is one whose time is above all before it.
        if cell.ts > latest {
            latest = cell.ts;
            heads.push((cell.ts, offset));
        }
    }
    for &(ts, got) in &partition.times {
        let wanted = heads.get(heads.partition_point(|(head, _)| *head < ts)).map(|(_, offset)| *offset);
        if got != wanted {
            verdict.found("wrong-time", || {
                format!(
                    "{}-{} at {ts}: {got:?}, and the first is {wanted:?}",
                    partition.topic, partition.partition
                )
            });
        }
    }
}

fn polls(checker: &Checker, verdict: &mut Verdict) {
    for (&(reader, place), line) in &checker.lines {
        for &(from, to, within) in line.skips.iter().filter(|(_, to, _)| !checker.is_deleted(place, to - 1)) {
            let name = if within { "int-poll-skip" } else { "poll-skip" };
            verdict.found(name, || {
                format!(
                    "{} was given {} in place of {from}",
                    checker.readers[reader as usize],
                    checker.at(place, to)
                )
            });
        }
    }
}
