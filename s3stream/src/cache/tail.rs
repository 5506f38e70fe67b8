//! One stream's part of the log cache: its published batches in offset order.
//!
//! Owns: the entries of one stream, from the oldest that memory or an upload still needs.
//! Invariants: entries are in offset order and their segment numbers never fall; an entry leaves only when it lies in
//! a committed object (or its stream is deleted); a body may leave earlier, since the WAL has it.
//! Never: knows the order between streams (that is [`super::log::LogCache`]), waits, or does I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_common::{Batch, BatchHead, HEAD_LEN, Offset, Position, StreamId};

use crate::read::ahead::ReadAhead;
use crate::storage::WalRef;
use crate::upload::Planned;

/// What an entry costs in memory beside its body; also what it counts in an upload round, so that a round of tiny
/// batches is bounded too.
pub(crate) const ENTRY_OVERHEAD: u64 = 144;

/// One published batch.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) head: BatchHead,
    pub(crate) body: Option<Bytes>,
    pub(crate) position: Position,
    pub(crate) wal: Arc<WalRef>,
    /// The segment of the log cache that holds it.
    pub(crate) segment: u64,
}

impl Entry {
    fn cached_len(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.len() as u64)
    }
}

/// Bytes of the whole batch, by its head.
pub(crate) fn batch_len(head: &BatchHead) -> u64 {
    let body = u64::try_from(head.batch_length()).unwrap_or(0) + tidegate_common::batch::LOG_OVERHEAD as u64;
    body.max(HEAD_LEN as u64)
}

pub(crate) struct Tail {
    pub(crate) stream: StreamId,
    state: Mutex<State>,
    /// Where the next slice of this stream begins; the uploader's own.
    pub(crate) planned: Mutex<Option<Planned>>,
    pub(crate) ahead: Mutex<ReadAhead>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// What ends at or below it is in committed objects.
    uploaded_to: Offset,
    last_segment: Option<u64>,
    cached_bytes: u64,
    /// The stream is deleted: nothing enters any more.
    dead: bool,
}

/// What an operation freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

impl Tail {
    pub(crate) fn new(stream: StreamId) -> Self {
        Self {
            stream,
            state: Mutex::new(State::default()),
            planned: Mutex::new(None),
            ahead: Mutex::default(),
        }
    }

    /// Adds the next batch. `None` when the stream is dead; else whether it is the first of its segment.
    pub(crate) fn push(&self, entry: Entry) -> Option<bool> {
        let mut state = self.state.lock();
        if state.dead {
            return None;
        }
        debug_assert!(
            state.entries.back().is_none_or(|last| last.head.next_offset() <= entry.head.base_offset()),
            "batches of a stream are published in offset order"
        );
        let first = state.last_segment != Some(entry.segment);
        state.last_segment = Some(entry.segment);
        state.cached_bytes += entry.cached_len();
        state.entries.push_back(entry);
        Some(first)
    }

    /// Whole batches from the one that contains `from`, as long as every body is at hand. `None`: not here.
    pub(crate) fn read(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Option<Vec<Batch>> {
        let state = self.state.lock();
        let first = state.find(from)?;
        let mut taken = Taken::new(upto, max_bytes, at_least_one);
        let mut out = Vec::new();
        for entry in state.entries.range(first..) {
            if !taken.takes(&entry.head) {
                break;
            }
            match &entry.body {
                Some(body) => out.push(Batch { head: entry.head, body: body.clone() }),
                None if out.is_empty() => return None,
                None => break,
            }
        }
        Some(out)
    }

    /// As `read`, bodies or not, up to where objects have to be read. `None`: at `from` already.
    pub(crate) fn entries_from(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Option<Vec<Entry>> {
        let state = self.state.lock();
        let first = state.find(from)?;
        // Committed and without a body: its WAL may be trimmed.
        let in_objects =
            |entry: &Entry| entry.body.is_none() && entry.head.next_offset() <= state.uploaded_to;
        if in_objects(&state.entries[first]) {
            return None;
        }
        let mut taken = Taken::new(upto, max_bytes, at_least_one);
        let entries = state.entries.range(first..).take_while(|entry| !in_objects(entry));
        Some(entries.take_while(|entry| taken.takes(&entry.head)).cloned().collect())
    }

    /// Heads of batches at or after `from`, at most `limit` of them.
    pub(crate) fn heads_from(&self, from: Offset, limit: usize) -> Vec<BatchHead> {
        let state = self.state.lock();
        let first = state.entries.partition_point(|entry| entry.head.next_offset() <= from);
        state.entries.range(first..).take(limit).map(|entry| entry.head).collect()
    }

    /// Bytes of the batches at or after `from`.
    pub(crate) fn bytes_from(&self, from: Offset) -> u64 {
        let state = self.state.lock();
        let first = state.entries.partition_point(|entry| entry.head.next_offset() <= from);
        state.entries.range(first..).map(|entry| batch_len(&entry.head)).sum()
    }

    /// Heads of the batches that end in `(from, to]`.
    pub(crate) fn heads_between(&self, from: Offset, to: Offset) -> Vec<BatchHead> {
        let state = self.state.lock();
        let first = state.entries.partition_point(|entry| entry.head.next_offset() <= from);
        let heads = state.entries.range(first..).map(|entry| entry.head);
        heads.take_while(|head| head.next_offset() <= to).collect()
    }

    /// Heads of the segments `first..=last`, in order.
    pub(crate) fn heads_of(&self, first: u64, last: u64) -> Vec<BatchHead> {
        let state = self.state.lock();
        let (from, to) = state.segment_range(first, last);
        state.entries.range(from..to).map(|entry| entry.head).collect()
    }

    /// Entries of the segments `first..=last`, in order.
    pub(crate) fn segments(&self, first: u64, last: u64) -> Vec<Entry> {
        let state = self.state.lock();
        let (from, to) = state.segment_range(first, last);
        state.entries.range(from..to).cloned().collect()
    }

    /// The offset after the last entry.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.state.lock().entries.back().map(|entry| entry.head.next_offset())
    }

    /// Everything of the segments up to `last` is in committed objects.
    pub(crate) fn uploaded(&self, last: u64) -> Freed {
        let mut state = self.state.lock();
        let (_, to) = state.segment_range(0, last);
        if let Some(newest) = to.checked_sub(1).and_then(|i| state.entries.get(i)) {
            state.uploaded_to = state.uploaded_to.max(newest.head.next_offset());
        }
        state.pop_done()
    }

    /// Lets go of the bodies of one segment.
    pub(crate) fn evict(&self, segment: u64) -> Freed {
        let mut state = self.state.lock();
        let (from, to) = state.segment_range(segment, segment);
        let mut bytes = 0;
        for entry in state.entries.range_mut(from..to) {
            bytes += entry.cached_len();
            entry.body = None;
        }
        state.cached_bytes -= bytes;
        Freed { bytes, ..state.pop_done() }
    }

    /// Lets go of what is in committed objects, and of everything when the stream is `deleted`.
    pub(crate) fn close(&self, deleted: bool) -> Freed {
        let mut state = self.state.lock();
        state.dead |= deleted;
        let keep = if deleted {
            state.entries.len()
        } else {
            let uploaded_to = state.uploaded_to;
            state.entries.partition_point(|entry| entry.head.next_offset() <= uploaded_to)
        };
        let bytes = state.entries.drain(..keep).map(|entry| entry.cached_len()).sum();
        state.cached_bytes -= bytes;
        state.shrink();
        Freed { bytes, entries: keep as u64 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().entries.is_empty()
    }

    pub(crate) fn cached_bytes(&self) -> u64 {
        self.state.lock().cached_bytes
    }
}

impl State {
    /// The entry that contains `offset`, or the first after it when the offset lies in a gap between two entries.
    fn find(&self, offset: Offset) -> Option<usize> {
        if self.entries.front()?.head.base_offset() > offset {
            return None;
        }
        let at = self.entries.partition_point(|entry| entry.head.next_offset() <= offset);
        (at < self.entries.len()).then_some(at)
    }

    fn segment_range(&self, first: u64, last: u64) -> (usize, usize) {
        (
            self.entries.partition_point(|entry| entry.segment < first),
            self.entries.partition_point(|entry| entry.segment <= last),
        )
    }

    fn pop_done(&mut self) -> Freed {
        let mut entries = 0;
        while self
            .entries
            .front()
            .is_some_and(|e| e.body.is_none() && e.head.next_offset() <= self.uploaded_to)
        {
            self.entries.pop_front();
            entries += 1;
        }
        self.shrink();
        Freed { bytes: 0, entries }
    }

    /// A stream that was busy once keeps no large empty buffer.
    fn shrink(&mut self) {
        if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

/// How much one read takes: whole batches below `upto`, up to `max_bytes`, the first one always if so asked.
pub(crate) struct Taken {
    upto: Offset,
    left: u64,
    /// The next batch counts even when it is too large.
    free: bool,
}

impl Taken {
    pub(crate) fn new(upto: Offset, max_bytes: usize, at_least_one: bool) -> Self {
        Self { upto, left: max_bytes as u64, free: at_least_one }
    }

    /// Whether the batch is taken; what follows one that is not must not be asked about.
    pub(crate) fn takes(&mut self, head: &BatchHead) -> bool {
        let len = batch_len(head);
        if head.last_offset() >= self.upto || (len > self.left && !self.free) {
            return false;
        }
        self.free = false;
        self.left = self.left.saturating_sub(len);
        true
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn upto(&self) -> Offset {
        self.upto
    }

    pub(crate) fn wants_one(&self) -> bool {
        self.free
    }
}
