//! The log on a simulated disk: a reference workload, and what must hold of whatever is left of it.
//!
//! Invariants checked: acknowledged ⊆ recovered ⊆ written, in order and byte for byte; a recovery that was seen is
//! seen again; what was promised to be done off the hot path is done.

pub mod crash;
#[cfg(test)]
mod faults;
pub mod flips;
#[cfg(test)]
mod formats;
pub mod poison;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_common::random::{Random, SeededRandom};

use crate::disk::sim::SimDisk;
use crate::{
    FoundRecord, HEAD_BIT, LogError, LogIdentity, LogOptions, Meta, OpenError, OpenRequest, SealedLog,
    SegmentLog,
};

pub(super) const LOG: u64 = 42;
pub(super) const DIR: &str = "a/wal";
pub(super) const OPTIONS: LogOptions =
    LogOptions { segment_bytes: 8192, align_bytes: 512, record_bytes_max: 1024 };

/// The calls of the product that a workload or a recovery makes, for naming their syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Open,
    PrepareSpare,
    Commit,
    Mark,
    Trim,
    Seal,
    SealedTrim,
}

/// What the outside world knows of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    pub written: BTreeMap<u64, (Meta, Bytes)>,
    pub acked: u64,
    /// Records below this may be gone.
    pub trimmed: u64,
    /// The last call was a mark, and it succeeded.
    pub marked: bool,
}

/// Runs steps until one fails, which the disk's power does.
pub(super) struct Workload<'a> {
    pub disk: &'a SimDisk,
    pub trace: Trace,
    pub on_step: &'a dyn Fn(Step),
    /// Lives of the writer, over which the log continues.
    pub lives: u64,
    /// What `prepare_spare` left undone though it returned.
    pub broken_promise: Option<String>,
    /// The writer was refused because it is poisoned.
    pub refused: bool,
}

/// Zeros of a spare and footers of rolled segments are on the medium once `prepare_spare` returned.
fn unsynced(disk: &SimDisk, files: &crate::LogFiles) -> Option<String> {
    let paths = files.paths_for_tests();
    paths.into_iter().find(|path| disk.unsynced_bytes(path) > 0).map(|path| format!("{path} is not synced"))
}

impl<'a> Workload<'a> {
    pub fn new(disk: &'a SimDisk, on_step: &'a dyn Fn(Step), lives: u64) -> Self {
        Self { disk, trace: Trace::default(), on_step, lives, broken_promise: None, refused: false }
    }
}

impl Workload<'_> {
    /// Runs to the end or to the first failure; the log as left is given when it was open then.
    pub fn run(&mut self) -> Option<SegmentLog> {
        let random = SeededRandom::new(7);
        let mut log = None;
        for life in 1..=self.lives {
            log = self.life(life, &random);
            if self.disk.is_off() {
                return log;
            }
        }
        log
    }

    fn life(&mut self, life: u64, random: &SeededRandom) -> Option<SegmentLog> {
        (self.on_step)(Step::Open);
        let request = OpenRequest { floor: self.trace.acked, payloads: life == 2 };
        let (mut log, records) = open(self.disk, life, request).ok()?;
        // What an open gave counts from then on as if it had been acknowledged.
        self.trace.acked = records.last().map_or(self.trace.acked, |r| r.seq);
        for round in 0..15 {
            if self.round(&mut log, random, round).is_none() {
                return Some(log);
            }
        }
        Some(log)
    }

    fn round(&mut self, log: &mut SegmentLog, random: &SeededRandom, round: u64) -> Option<()> {
        self.trace.marked = false;
        if log.files().spares() == 0 {
            (self.on_step)(Step::PrepareSpare);
            log.files().prepare_spare().ok()?;
            self.broken_promise = self.broken_promise.take().or_else(|| unsynced(self.disk, log.files()));
        }
        for _ in 0..=random.below(3) {
            let (meta, body) = record(log.next_seq(), random);
            let cut = body.len() / 2;
            let seq = log.next_seq();
            self.trace.written.insert(seq, (meta, body.clone()));
            (self.on_step)(Step::Commit);
            let got = log.append(&meta, &body[..cut], &body.slice(cut..));
            // A full segment commits what was staged before.
            self.trace.acked = self.trace.acked.max(log.durable());
            self.refused |= is_poisoned(got.clone());
            assert_eq!(got.ok()?, seq);
        }
        (self.on_step)(Step::Commit);
        let committed = log.commit();
        self.refused |= is_poisoned(committed.clone());
        self.trace.acked = committed.ok()?;
        if round % 3 == 1 {
            (self.on_step)(Step::Mark);
            self.trace.marked = log.mark().ok()?;
        }
        if round % 5 == 4 {
            (self.on_step)(Step::Trim);
            let below = self.trace.acked.saturating_sub(6);
            self.trace.trimmed = self.trace.trimmed.max(below);
            log.files().trim(below, (round % 2) as usize).ok()?;
        }
        Some(())
    }
}

pub(super) fn open(
    disk: &SimDisk,
    life: u64,
    request: OpenRequest,
) -> Result<(SegmentLog, Vec<FoundRecord>), OpenError> {
    let identity = LogIdentity { log: LOG, incarnation: life };
    SegmentLog::open(Arc::new(disk.clone()), DIR, identity, OPTIONS, request)
}

/// A record whose content follows from its seq and the random source.
fn record(seq: u64, random: &SeededRandom) -> (Meta, Bytes) {
    let len = [0, 9, 61, 300, 900, 1024][random.below(6) as usize];
    let kind = if seq.is_multiple_of(3) { 2 } else { 1 | HEAD_BIT };
    let meta = Meta { kind, stream: seq % 4, epoch: 5, base: seq as i64 * 10, count: 3 };
    (meta, (0..len).map(|_| random.next_u64() as u8).collect())
}

/// A recovered log: what its records are, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovered {
    pub first: u64,
    pub end: u64,
    pub executor: u64,
    pub records: Vec<(u64, Meta, Bytes)>,
}

/// Seals and reads everything, checked.
pub(super) fn seal_and_read(disk: &SimDisk, executor: u64, floor: u64) -> Result<Recovered, String> {
    let (sealed, records) =
        crate::seal(Arc::new(disk.clone()), DIR, LOG, executor, floor).map_err(|e| e.to_string())?;
    read_sealed(&sealed, &records)
}

pub(super) fn read_sealed(sealed: &SealedLog, records: &[FoundRecord]) -> Result<Recovered, String> {
    while sealed.verify_next().map_err(|e| e.to_string())? {}
    let mut out = Vec::new();
    for record in records {
        let (meta, body) = sealed.read(record.seq).map_err(|e| e.to_string())?;
        if (meta, body.len()) != (record.meta, record.payload_len as usize) {
            return Err(format!("record {} differs from its index entry", record.seq));
        }
        out.push((record.seq, meta, body));
    }
    let seal = sealed.seal();
    Ok(Recovered { first: sealed.start(), end: seal.end, executor: seal.executor, records: out })
}

/// Whether a recovery is one that the trace allows.
pub(super) fn check(trace: &Trace, recovered: &Recovered) -> Result<(), String> {
    if recovered.end < trace.acked {
        return Err(format!("ends at {}, acknowledged were {}", recovered.end, trace.acked));
    }
    if recovered.first > trace.trimmed.max(1) {
        return Err(format!("starts at {}, trimmed was below {}", recovered.first, trace.trimmed));
    }
    let expected: Vec<_> = trace
        .written
        .range(recovered.first..recovered.first.max(recovered.end + 1))
        .map(|(seq, (meta, body))| (*seq, *meta, body.clone()))
        .collect();
    let complete =
        recovered.end == 0 || recovered.end < recovered.first || trace.written.contains_key(&recovered.end);
    if expected == recovered.records && complete {
        Ok(())
    } else {
        let seqs = |records: &[(u64, Meta, Bytes)]| records.iter().map(|r| r.0).collect::<Vec<_>>();
        Err(format!(
            "expected {:?}, recovered {:?} up to {}",
            seqs(&expected),
            seqs(&recovered.records),
            recovered.end
        ))
    }
}

/// Whether an error is the poison.
pub(super) fn is_poisoned<T>(result: Result<T, LogError>) -> bool {
    matches!(result, Err(LogError::Poisoned(_)))
}
