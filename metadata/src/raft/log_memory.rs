//! The Raft log as memory has it: where each entry lies in the segment log, and the newest entries themselves.
//!
//! Invariants: entries are consecutive, and the first follows `purged`; only entries that are durable are here;
//! entries whose bytes exceed the cache stay on disk only. Never: does I/O.

use std::collections::VecDeque;

use tidegate_segment::FoundRecord;

use super::stored::{self, StateRecord, VoteRecord};
use super::types::{Entry, LogId, Vote};

/// Bytes of entries that are kept in memory.
const CACHE_BYTES_MAX: usize = 32 << 20;

/// Kinds of the records in the segment log.
pub(super) const KIND_ENTRY: u8 = 1;
pub(super) const KIND_VOTE: u8 = 2;
pub(super) const KIND_COMMITTED: u8 = 3;
/// Entries from an index on are gone: `stored::encode(&index)`.
pub(super) const KIND_TRUNCATE: u8 = 4;
pub(super) const KIND_STATE: u8 = 5;

#[derive(Debug, Default)]
pub(super) struct LogMemory {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    slots: VecDeque<Slot>,
    /// Leading slots without their entry.
    uncached: usize,
    cached_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    id: LogId,
    seq: u64,
    bytes: usize,
    entry: Option<Entry>,
}

fn term(id: LogId) -> u64 {
    id.leader_id.term
}

/// An entry of a range, or where to read it.
#[derive(Debug)]
pub(super) enum Place {
    Here(Entry),
    At(u64),
}

impl LogMemory {
    /// Folds the records of a segment log. The error says what does not fit, for a message that names the log.
    pub fn recover(records: &[FoundRecord]) -> Result<Self, String> {
        let mut memory = Self::default();
        for record in records {
            let wrong = |what: String| format!("record {}: {what}", record.seq);
            let payload = record.payload.as_deref().unwrap_or_default();
            match record.meta.kind {
                KIND_ENTRY => {
                    let entry = stored::decode_entry(payload).map_err(wrong)?;
                    let index = entry.log_id.index;
                    // At the start of what is left of the log any index may come first: `check` judges the end.
                    if memory.slots.back().is_some_and(|last| last.id.index + 1 != index) {
                        return Err(wrong(format!("entry {index} does not follow the one before it")));
                    }
                    memory.push(entry, record.seq, payload.len());
                }
                KIND_VOTE => {
                    let vote: VoteRecord = stored::decode(payload).map_err(wrong)?;
                    memory.vote = Some(vote.into());
                }
                KIND_COMMITTED => {
                    let committed: Option<stored::Id> = stored::decode(payload).map_err(wrong)?;
                    memory.committed = committed.map(LogId::from);
                }
                KIND_TRUNCATE => memory.truncate(stored::decode(payload).map_err(wrong)?),
                KIND_STATE => {
                    let StateRecord { vote, committed, purged } = stored::decode(payload).map_err(wrong)?;
                    memory.vote = vote.map(Vote::from);
                    memory.committed = committed.map(LogId::from);
                    if let Some(upto) = purged {
                        memory.purge(upto.into());
                    }
                }
                kind => return Err(wrong(format!("unknown kind {kind}"))),
            }
        }
        memory.check()?;
        Ok(memory)
    }

    /// What recovery must find, or something that was durable is missing.
    fn check(&self) -> Result<(), String> {
        let first = self.slots.front().map(|slot| slot.id.index);
        let expected = self.purged.map_or(0, |id| id.index + 1);
        match first {
            Some(first) if first != expected => {
                return Err(format!(
                    "entries begin at {first}, not at {expected}: the log has lost its beginning"
                ));
            }
            _ => {}
        }
        // The one entry that forms a quorum is of term 0, before any vote.
        let (voted, wrote) = (self.vote.map_or(0, |vote| vote.leader_id.term), self.last().map_or(0, term));
        if voted < wrote {
            return Err(format!(
                "the vote is of term {voted}, the last entry of term {wrote}: a vote is lost"
            ));
        }
        Ok(())
    }

    pub fn state(&self) -> StateRecord {
        StateRecord {
            vote: self.vote.map(VoteRecord::from),
            committed: self.committed.map(stored::Id::from),
            purged: self.purged.map(stored::Id::from),
        }
    }

    pub fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.id).or(self.purged)
    }

    /// Where the oldest entry lies.
    pub fn first_seq(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.seq)
    }

    pub fn push(&mut self, entry: Entry, seq: u64, bytes: usize) {
        self.cached_bytes += bytes;
        self.slots.push_back(Slot { id: entry.log_id, seq, bytes, entry: Some(entry) });
        while self.cached_bytes > CACHE_BYTES_MAX && self.uncached + 1 < self.slots.len() {
            let slot = &mut self.slots[self.uncached];
            slot.entry = None;
            self.cached_bytes -= slot.bytes;
            self.uncached += 1;
        }
    }

    /// Forgets entries from `since` on.
    pub fn truncate(&mut self, since: u64) {
        while self.slots.back().is_some_and(|slot| slot.id.index >= since) {
            self.forget(true);
        }
    }

    /// Forgets entries up to `upto`.
    pub fn purge(&mut self, upto: LogId) {
        while self.slots.front().is_some_and(|slot| slot.id.index <= upto.index) {
            self.forget(false);
        }
        self.purged = self.purged.max(Some(upto));
    }

    fn forget(&mut self, last: bool) {
        let slot = if last { self.slots.pop_back() } else { self.slots.pop_front() };
        match slot {
            Some(Slot { entry: Some(_), bytes, .. }) => self.cached_bytes -= bytes,
            Some(_) => self.uncached -= 1,
            None => {}
        }
    }

    /// The entries of `[start, end)` that are here, up to `bytes_max` bytes but at least one.
    pub fn range(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Place> {
        let Some(first) = self.slots.front().map(|slot| slot.id.index) else { return Vec::new() };
        let start = start.max(first);
        let from = usize::try_from(start - first).unwrap_or(usize::MAX);
        let to = usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX).min(self.slots.len());
        let mut bytes = 0;
        let mut places = Vec::new();
        for slot in self.slots.range(from.min(to)..to) {
            bytes += slot.bytes;
            if bytes > bytes_max && !places.is_empty() {
                break;
            }
            places.push(slot.entry.clone().map_or(Place::At(slot.seq), Place::Here));
        }
        places
    }
}
