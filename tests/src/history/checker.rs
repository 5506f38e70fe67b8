//! What is kept of a history while it is read.
//!
//! Holds: every rule that needs the order of a reader's own lines is applied as they come; all others wait for the end,
//! so that files may come in any order.

use std::collections::BTreeMap;

use super::event::{Event, Phase, Place};
use super::paged::{Bits, Paged};
use super::times::{Fault, Query};
use super::verdict::Verdict;

/// No offset.
pub(super) const NOWHERE: u64 = u64::MAX;
/// The producer of records whose id is none: `n` is then an index into `Checker::strange`.
pub(super) const NOBODY: u32 = u32::MAX;
/// Ids that are none, kept for the report; further ones share the last.
const STRANGE_MAX: usize = 1000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    #[default]
    None,
    Ok,
    Fail,
    Info,
}

/// One record, by what its producer knows of it and where it was first read.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) invoked: bool,
    pub(super) outcome: Outcome,
    /// Where it was sent to.
    pub(super) place: u32,
    pub(super) acked_place: u32,
    pub(super) read_place: u32,
    pub(super) digest: u64,
    pub(super) invoked_us: i64,
    pub(super) acked_us: i64,
    pub(super) acked_offset: u64,
    pub(super) read_offset: u64,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            invoked: false,
            outcome: Outcome::None,
            place: 0,
            acked_place: 0,
            read_place: 0,
            digest: 0,
            invoked_us: 0,
            acked_us: 0,
            acked_offset: NOWHERE,
            read_offset: NOWHERE,
        }
    }
}

pub(super) struct Producer {
    pub(super) name: String,
    pub(super) idempotent: bool,
    pub(super) patient: bool,
    pub(super) sent: Paged<Sent>,
}

/// What an offset showed first.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) filled: bool,
    pub(super) producer: u32,
    pub(super) n: u32,
    pub(super) digest: u64,
    pub(super) ts: i64,
    pub(super) epoch: i32,
    /// The earliest time at which a reader had it.
    pub(super) read_us: i64,
}

#[derive(Default)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) cells: Paged<Cell>,
    pub(super) queries: Vec<Query>,
    /// Answers of ListOffsets by time: what was asked, what came.
    pub(super) times: Vec<(i64, Option<u64>)>,
    /// Highest offset below which somebody asked to delete.
    pub(super) deleted: u64,
    /// Final ranges: reader, start, end.
    pub(super) ranges: Vec<(u32, u64, u64)>,
    pub(super) out_of_range: Vec<(u32, u64)>,
}

#[derive(Default)]
pub(super) struct Line {
    pub(super) seen: Bits,
    last: Option<(u64, u64)>,
    /// Offsets that were passed over: from, to, and whether within one poll.
    pub(super) skips: Vec<(u64, u64, bool)>,
}

/// The state of a history, and the findings so far. Feed it with [`Checker::take`], then ask for [`Checker::judge`].
#[derive(Default)]
pub struct Checker {
    pub(super) producers: Vec<Producer>,
    producer_ids: BTreeMap<String, u32>,
    pub(super) partitions: Vec<Partition>,
    partition_ids: BTreeMap<String, BTreeMap<u32, u32>>,
    pub(super) readers: Vec<String>,
    reader_ids: BTreeMap<String, u32>,
    /// By reader and partition.
    pub(super) lines: BTreeMap<(u32, u32), Line>,
    pub(super) faults: Vec<Fault>,
    pub(super) strange: Vec<String>,
    /// Second and further copies of records of producers without idempotence.
    pub(super) copies: u64,
    /// Identities that were read at a second offset: producer, n, partition, offset.
    pub(super) doubles: Vec<(u32, u32, u32, u64)>,
    pub(super) verdict: Verdict,
}

impl Checker {
    /// Takes one event into account.
    pub fn take(&mut self, us: i64, event: &Event<'_>) {
        match *event {
            Event::Producer { producer, idempotent, patient } => {
                let id = self.producer(producer);
                let producer = &mut self.producers[id as usize];
                (producer.idempotent, producer.patient) = (idempotent, patient);
            }
            Event::Invoke { producer, n, place, digest } => {
                let place = self.partition(place);
                let sent = self.sent(producer, n);
                (sent.invoked, sent.invoked_us, sent.place, sent.digest) = (true, us, place, digest);
            }
            Event::Ok { producer, n, place, offset } => {
                let place = self.partition(place);
                let sent = self.sent(producer, n);
                (sent.outcome, sent.acked_us, sent.acked_place) = (Outcome::Ok, us, place);
                sent.acked_offset = offset.unwrap_or(NOWHERE);
            }
            Event::Fail { producer, n } => self.sent(producer, n).outcome = Outcome::Fail,
            Event::Info { producer, n } => self.sent(producer, n).outcome = Outcome::Info,
            Event::Read { reader, poll, place, offset, epoch, ts, id, digest } => {
                let (reader, place) = (self.reader(reader), self.partition(place));
                self.take_order(reader, place, offset, poll);
                let (producer, n) = self.identity(id);
                let cell = Cell { filled: true, producer, n, digest, ts, epoch, read_us: us };
                self.take_content(place, offset, cell);
            }
            Event::Range { reader, place, start, end } => {
                let (reader, place) = (self.reader(reader), self.partition(place));
                self.partitions[place as usize].ranges.push((reader, start, end));
            }
            Event::Ends { asked, place, start, end } => {
                let query = Query { asked_us: asked, answered_us: us, start, end };
                self.partition_mut(place).queries.push(query);
            }
            Event::Time { place, ts, offset } => self.partition_mut(place).times.push((ts, offset)),
            Event::OutOfRange { reader, place, offset } => {
                let reader = self.reader(reader);
                self.partition_mut(place).out_of_range.push((reader, offset));
            }
            Event::BadCrc { reader, place } => {
                self.verdict.found("bad-crc", || format!("{reader} in {}-{}", place.0, place.1));
            }
            Event::Delete { place, before } => {
                let partition = self.partition_mut(place);
                partition.deleted = partition.deleted.max(before);
            }
            Event::Fault { kind, phase } => self.take_fault(us, kind, phase),
        }
    }

    fn take_fault(&mut self, us: i64, kind: &str, phase: Phase) {
        if phase == Phase::Begin {
            self.faults.push(Fault::new(kind, us));
        } else if let Some(fault) = self.faults.last_mut() {
            fault.note(phase, us);
        }
    }

    /// The order in which a reader was given offsets.
    fn take_order(&mut self, reader: u32, place: u32, offset: u64, poll: u64) {
        let line = self.lines.entry((reader, place)).or_default();
        line.seen.insert(offset);
        if let Some((last, last_poll)) = line.last.replace((offset, poll)) {
            if offset > last + 1 {
                // Judged at the end, when all deletions are known.
                line.skips.push((last + 1, offset, poll == last_poll));
            } else if offset <= last {
                let name = if poll == last_poll { "int-nonmonotonic-poll" } else { "nonmonotonic-poll" };
                let (reader, partition) = (&self.readers[reader as usize], &self.partitions[place as usize]);
                self.verdict
                    .found(name, || format!("{reader} was given {} after {last}", show(partition, offset)));
            }
        }
    }

    fn take_content(&mut self, place: u32, offset: u64, new: Cell) {
        let partition = &mut self.partitions[place as usize];
        let cell = partition.cells.entry(offset);
        if cell.filled {
            cell.read_us = cell.read_us.min(new.read_us);
            if (cell.producer, cell.n, cell.digest) != (new.producer, new.n, new.digest) {
                let old = cell.clone();
                let partition = &self.partitions[place as usize];
                let text = format!(
                    "{} was read as {} {:016x} and as {} {:016x}",
                    show(partition, offset),
                    self.name(old.producer, old.n),
                    old.digest,
                    self.name(new.producer, new.n),
                    new.digest
                );
                self.verdict.found("inconsistent-offsets", || text);
            }
            return;
        }
        let (producer, n) = (new.producer, new.n);
        *cell = new;
        if producer == NOBODY {
            return;
        }
        let sent = self.producers[producer as usize].sent.entry(u64::from(n));
        if sent.read_offset == NOWHERE {
            (sent.read_place, sent.read_offset) = (place, offset);
        } else {
            self.doubles.push((producer, n, place, offset));
        }
    }

    fn identity(&mut self, id: &str) -> (u32, u32) {
        if let Some((producer, n)) = id.rsplit_once('-')
            && let Ok(n) = n.parse()
        {
            return (self.producer(producer), n);
        }
        let at = self.strange.iter().position(|known| known == id).unwrap_or_else(|| {
            if self.strange.len() < STRANGE_MAX {
                self.strange.push(id.to_owned());
            }
            self.strange.len() - 1
        });
        (NOBODY, at as u32)
    }

    fn producer(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.producer_ids.get(name) {
            return id;
        }
        let id = self.producers.len() as u32;
        self.producer_ids.insert(name.to_owned(), id);
        // The strict case, until the history says otherwise.
        let (idempotent, patient) = (true, true);
        self.producers.push(Producer { name: name.to_owned(), idempotent, patient, sent: Paged::default() });
        id
    }

    fn sent(&mut self, producer: &str, n: u32) -> &mut Sent {
        let id = self.producer(producer);
        self.producers[id as usize].sent.entry(u64::from(n))
    }

    fn reader(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.reader_ids.get(name) {
            return id;
        }
        let id = self.readers.len() as u32;
        self.reader_ids.insert(name.to_owned(), id);
        self.readers.push(name.to_owned());
        id
    }

    fn partition(&mut self, (topic, partition): Place<'_>) -> u32 {
        if let Some(&id) = self.partition_ids.get(topic).and_then(|of| of.get(&partition)) {
            return id;
        }
        let id = self.partitions.len() as u32;
        self.partition_ids.entry(topic.to_owned()).or_default().insert(partition, id);
        self.partitions.push(Partition { topic: topic.to_owned(), partition, ..Partition::default() });
        id
    }

    fn partition_mut(&mut self, place: Place<'_>) -> &mut Partition {
        let id = self.partition(place);
        &mut self.partitions[id as usize]
    }

    /// A record's id as the history has it.
    pub(super) fn name(&self, producer: u32, n: u32) -> String {
        match self.producers.get(producer as usize) {
            Some(producer) => format!("{}-{n}", producer.name),
            None => format!("'{}'", self.strange[n as usize]),
        }
    }
}

pub(super) fn show(partition: &Partition, offset: u64) -> String {
    format!("{}-{}@{offset}", partition.topic, partition.partition)
}
