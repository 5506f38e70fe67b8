//! The log cache: every published batch that is not in the bucket yet, and the hot tail.
//!
//! Owns: the order of publication over all streams (which is WAL order), cut into *segments* of a few MiB. A segment
//! knows its streams and the last position it covers; upload rounds, trim points and eviction go by whole segments, so
//! nothing is kept or allocated per record beside the entry itself.
//! Invariants: segments are, from the oldest: uploaded, taken by a round, pending; rounds finish in the order they
//! were taken, so the WAL position of the last uploaded segment is a trim point; bodies are dropped oldest first,
//! which makes the segments without bodies a prefix.
//! Small bodies are copied into shared slabs: a slice of a request frame would pin the whole frame for every small
//! batch. What is charged is body bytes plus a fixed cost per entry; a slab goes when its last body does, and since
//! packing and eviction follow the same order at most two slabs are pinned by a remainder.
//! Never: loses an entry that is not uploaded; holds its lock over I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidegate_common::clock::SharedClock;
use tidegate_common::{BatchHead, Position, mutant};
use tidegate_wal::Wal;
use tokio::sync::{Notify, watch};

use super::tail::{ENTRY_OVERHEAD, Entry, Freed, Tail, batch_len};
use crate::budget::{MemoryBudget, MemoryPermit, Share};
use crate::storage::{Backlog, Published, WalRef};

/// Bodies below this are copied.
const PACK_BELOW: usize = 4 << 10;
const SLAB_BYTES: usize = 256 << 10;
/// The budget is told of changes in steps of this, not per record.
const CHARGE_STEP: u64 = 256 << 10;
/// While the WAL is half full rounds start at this age: often enough to free it, seldom enough to batch.
const HALF_FULL_AGE_MS: u64 = 250;

pub(crate) struct LogCache {
    order: Mutex<Order>,
    clock: SharedClock,
    limit_bytes: u64,
    segment_bytes: u64,
    upload_bytes: u64,
    /// Segments below this number are in the bucket.
    uploaded: watch::Sender<u64>,
    /// Wakes the uploader: something is due, or may be.
    wake: Notify,
}

struct Order {
    segments: VecDeque<Segment>,
    /// The number of `segments[0]`; numbers grow by one.
    first: u64,
    /// `segments[..uploaded]` are in the bucket, `segments[uploaded..taken]` belong to rounds.
    uploaded: usize,
    taken: usize,
    /// `segments[..dropped]` hold no bodies.
    dropped: usize,
    /// Bytes not taken by any round.
    pending_bytes: u64,
    backlog_bytes: u64,
    cached_bytes: u64,
    entries: u64,
    permit: MemoryPermit,
    slab: BytesMut,
    /// Somebody waits for the upload of every segment below this number.
    flush_below: u64,
}

struct Segment {
    wal: Arc<WalRef>,
    /// The last position that it covers, batch or not.
    last: Position,
    streams: Vec<Arc<Tail>>,
    /// Batches with [`ENTRY_OVERHEAD`] each.
    bytes: u64,
    first_at_ms: u64,
    closed: bool,
}

/// Segments that one upload round carries.
pub(crate) struct Round {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// In ascending id.
    pub(crate) streams: Vec<Arc<Tail>>,
    /// Per WAL, in order, the last position covered.
    pub(crate) cuts: Vec<(Arc<WalRef>, Position)>,
    pub(crate) bytes: u64,
}

/// When the next round is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    AtMs(u64),
    Never,
}

impl LogCache {
    pub(crate) fn new(
        budget: &MemoryBudget,
        clock: SharedClock,
        limit_bytes: u64,
        upload_bytes: u64,
    ) -> Self {
        let order = Order {
            segments: VecDeque::new(),
            first: 0,
            uploaded: 0,
            taken: 0,
            dropped: 0,
            pending_bytes: 0,
            backlog_bytes: 0,
            cached_bytes: 0,
            entries: 0,
            permit: budget.charge(Share::LogCache, 0),
            slab: BytesMut::new(),
            flush_below: 0,
        };
        Self {
            order: Mutex::new(order),
            clock,
            limit_bytes,
            segment_bytes: (4 << 20).min(limit_bytes / 8).min(upload_bytes / 4).max(1),
            upload_bytes,
            uploaded: watch::Sender::new(0),
            wake: Notify::new(),
        }
    }

    /// Adds a batch of `tail`. Called in WAL order, by one task at a time.
    pub(crate) fn publish(&self, tail: &Arc<Tail>, batch: Published) {
        let now_ms = self.clock.monotonic_ms();
        let mut order = self.order.lock();
        let was_due = order.pending_bytes >= self.upload_bytes;
        let was_empty = order.taken == order.segments.len();
        let body = batch.body.map(|body| order.pack(body));
        order.push(tail, batch.head, body, batch.position, batch.wal, now_ms);
        let closed = order.close_when(self.segment_bytes);
        let due = order.pending_bytes >= self.upload_bytes;
        order.charge();
        let over = order.cached_bytes > self.limit_bytes;
        drop(order);
        if was_empty || closed || (due && !was_due) {
            self.wake.notify_one();
        }
        if over {
            self.evict();
        }
    }

    /// Adds the entries of a sealed WAL, and its end, so that it is trimmed to there.
    pub(crate) fn adopt(
        &self,
        wal: &Arc<WalRef>,
        end: Position,
        entries: impl Iterator<Item = (Arc<Tail>, BatchHead, Position)>,
    ) {
        let now_ms = self.clock.monotonic_ms();
        let mut order = self.order.lock();
        order.close_when(0);
        for (tail, head, position) in entries {
            order.push(&tail, head, None, position, wal.clone(), now_ms);
            order.close_when(self.segment_bytes);
        }
        let segment = order.open(wal, now_ms);
        segment.last = segment.last.max(end);
        order.close_when(0);
        order.charge();
        drop(order);
        self.wake.notify_one();
    }

    /// The next round: the oldest segments that no round has, about `max_bytes` of them. `None`: there are none.
    pub(crate) fn take_round(&self, max_bytes: u64) -> Option<Round> {
        let mut order = self.order.lock();
        let first = order.first + order.taken as u64;
        let (mut bytes, mut streams, mut cuts) = (0, Vec::new(), Vec::<(Arc<WalRef>, Position)>::new());
        while order.taken < order.segments.len() {
            let at = order.taken;
            let is_first = order.first + at as u64 == first;
            let segment = &mut order.segments[at];
            if !is_first && bytes + segment.bytes > max_bytes {
                break;
            }
            segment.closed = true;
            bytes += segment.bytes;
            streams.extend(segment.streams.iter().cloned());
            match cuts.last_mut() {
                Some((wal, last)) if wal.id() == segment.wal.id() => *last = segment.last,
                _ => cuts.push((segment.wal.clone(), segment.last)),
            }
            order.taken += 1;
        }
        if mutant::on("trim-by-newest")
            && let (Some((_, last)), Some(newest)) = (cuts.last_mut(), order.segments.back())
        {
            *last = newest.last;
        }
        order.pending_bytes -= bytes;
        let last = (order.first + order.taken as u64).checked_sub(1)?;
        drop(order);
        if cuts.is_empty() {
            return None;
        }
        streams.sort_by_key(|tail| tail.stream);
        streams.dedup_by_key(|tail| tail.stream);
        Some(Round { first, last, streams, cuts, bytes })
    }

    /// The round is committed. Rounds finish in the order they were taken.
    pub(crate) fn finish_round(&self, round: &Round) {
        let freed = round.streams.iter().fold(Freed::default(), |sum, tail| {
            let freed = tail.uploaded(round.last);
            Freed { bytes: sum.bytes + freed.bytes, entries: sum.entries + freed.entries }
        });
        let mut order = self.order.lock();
        assert_eq!(order.first + order.uploaded as u64, round.first, "rounds finish in order");
        order.uploaded += usize::try_from(round.last - round.first + 1).expect("a round has few segments");
        order.backlog_bytes -= round.bytes;
        order.entries -= freed.entries;
        order.pop_done();
        order.charge();
        let below = order.first + order.uploaded as u64;
        drop(order);
        self.uploaded.send_replace(below);
    }

    /// Drops the oldest bodies until the cache is within its limit. The newest segment stays.
    fn evict(&self) {
        let mut order = self.order.lock();
        while order.cached_bytes > self.limit_bytes && order.dropped + 1 < order.segments.len() {
            let (at, number) = (order.dropped, order.first + order.dropped as u64);
            let mut sum = Freed::default();
            for tail in &order.segments[at].streams {
                let freed = tail.evict(number);
                sum = Freed { bytes: sum.bytes + freed.bytes, entries: sum.entries + freed.entries };
            }
            order.cached_bytes -= sum.bytes;
            order.entries -= sum.entries;
            order.dropped += 1;
            order.pop_done();
        }
        order.charge();
    }

    /// Lets go of what a closed stream does not need: see [`Tail::close`].
    pub(crate) fn close(&self, tail: &Tail, deleted: bool) {
        let mut order = self.order.lock();
        let freed = tail.close(deleted);
        order.cached_bytes -= freed.bytes;
        order.entries -= freed.entries;
        order.charge();
        drop(order);
        self.wake.notify_one();
    }

    pub(crate) fn due(&self, age_ms: u64) -> Due {
        let now_ms = self.clock.monotonic_ms();
        let order = self.order.lock();
        let Some(oldest) = order.segments.get(order.taken) else { return Due::Never };
        let wanted = order.first + (order.taken as u64) < order.flush_below;
        let age_ms = match &*oldest.wal {
            // What a sealed WAL holds goes first and at once: its space, or its disk, is not ours.
            WalRef::Sealed(_) => 0,
            // A small WAL fills before the usual thresholds are met.
            WalRef::Live(wal) if half_full(&**wal) => age_ms.min(HALF_FULL_AGE_MS),
            WalRef::Live(_) => age_ms,
        };
        let at_ms = oldest.first_at_ms.saturating_add(age_ms);
        if wanted || order.pending_bytes >= self.upload_bytes || at_ms <= now_ms {
            Due::Now
        } else {
            Due::AtMs(at_ms)
        }
    }

    /// Everything published so far is to be uploaded; the number returned is reached by [`LogCache::uploaded_below`].
    pub(crate) fn want_flush(&self) -> u64 {
        let mut order = self.order.lock();
        order.close_when(0);
        let below = order.first + order.segments.len() as u64;
        order.flush_below = order.flush_below.max(below);
        drop(order);
        self.wake.notify_one();
        below
    }

    pub(crate) fn uploaded_below(&self) -> watch::Receiver<u64> {
        self.uploaded.subscribe()
    }

    /// Waits until something may have become due.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn upload_bytes(&self) -> u64 {
        self.upload_bytes
    }

    pub(crate) fn backlog(&self) -> Backlog {
        let now_ms = self.clock.monotonic_ms();
        let order = self.order.lock();
        let oldest = order.segments.get(order.uploaded);
        Backlog {
            bytes: order.backlog_bytes,
            oldest_age_ms: oldest.map_or(0, |s| now_ms.saturating_sub(s.first_at_ms)),
            rounds_failed: 0,
        }
    }

    /// Body bytes, and entries.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (u64, u64) {
        let order = self.order.lock();
        (order.cached_bytes, order.entries)
    }
}

fn half_full(wal: &dyn Wal) -> bool {
    let usage = wal.usage();
    usage.limit_bytes > 0 && usage.used_bytes >= usage.limit_bytes / 2
}

impl Order {
    fn push(
        &mut self,
        tail: &Arc<Tail>,
        head: BatchHead,
        body: Option<Bytes>,
        position: Position,
        wal: Arc<WalRef>,
        now_ms: u64,
    ) {
        let number = {
            self.open(&wal, now_ms);
            self.first + self.segments.len() as u64 - 1
        };
        let cached = body.as_ref().map_or(0, |body| body.len() as u64);
        let pushed = tail.push(Entry { head, body, position, wal, segment: number });
        let segment = self.segments.back_mut().expect("opened above");
        segment.last = segment.last.max(position);
        let Some(first_of_stream) = pushed else { return };
        if first_of_stream {
            segment.streams.push(tail.clone());
        }
        let bytes = batch_len(&head) + ENTRY_OVERHEAD;
        segment.bytes += bytes;
        self.pending_bytes += bytes;
        self.backlog_bytes += bytes;
        self.cached_bytes += cached;
        self.entries += 1;
    }

    /// The newest segment, made anew when it is closed or of another WAL.
    fn open(&mut self, wal: &Arc<WalRef>, now_ms: u64) -> &mut Segment {
        let fits = self.segments.back().is_some_and(|s| !s.closed && s.wal.id() == wal.id());
        if !fits {
            self.segments.push_back(Segment {
                wal: wal.clone(),
                last: Position::ZERO,
                streams: Vec::new(),
                bytes: 0,
                first_at_ms: now_ms,
                closed: false,
            });
        }
        self.segments.back_mut().expect("there is one now")
    }

    /// Closes the newest segment when it has at least `bytes`.
    fn close_when(&mut self, bytes: u64) -> bool {
        match self.segments.back_mut() {
            Some(segment) if !segment.closed && segment.bytes >= bytes => {
                segment.closed = true;
                true
            }
            _ => false,
        }
    }

    fn pack(&mut self, body: Bytes) -> Bytes {
        if body.len() >= PACK_BELOW || body.is_empty() {
            return body;
        }
        if self.slab.capacity() < body.len() {
            self.slab = BytesMut::with_capacity(SLAB_BYTES);
        }
        self.slab.extend_from_slice(&body);
        self.slab.split().freeze()
    }

    /// Forgets segments that are both uploaded and without bodies.
    fn pop_done(&mut self) {
        while self.uploaded > 0 && self.dropped > 0 {
            self.segments.pop_front();
            self.first += 1;
            self.uploaded -= 1;
            self.taken -= 1;
            self.dropped -= 1;
        }
    }

    fn charge(&mut self) {
        let used = self.cached_bytes + self.entries * ENTRY_OVERHEAD;
        let steps = used.div_ceil(CHARGE_STEP) * CHARGE_STEP;
        if steps != self.permit.bytes() {
            self.permit.resize(steps);
        }
    }
}
