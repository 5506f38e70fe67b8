//! The release of admitted batches: the one number that gates all that anyone outside can see (DESIGN.md 3.4).
//!
//! Owns: the window of batches that are appended but not yet visible, in WAL order, and who waits for them.
//! Invariants: a batch enters the window in the same critical section in which it enters the WAL, so window order
//! is WAL order; the window advances only in [`Releaser::run`], to `min(durable, hold)`, and only under a lease that
//! was checked *after* durability; after poisoning it never advances again.
//! Never: fails a single batch: a batch is released, or it dies with its incarnation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_common::{Batch, Position, mutant};
use tidegate_s3stream::budget::MemoryPermit;
use tidegate_s3stream::storage::WalRef;
use tidegate_wal::{Durability, Permit, RecordKind, Wal, WalRecord};
use tokio::sync::{Notify, watch};

use crate::lease::Lease;
use crate::partition::Partition;

/// One request's wait for its batches: done when every position it counts on is released, or dead.
pub struct Pending {
    state: AtomicU64,
    dead: AtomicBool,
    notify: Notify,
    /// Memory of the request's batches, held until they are released, even when the client is gone.
    _memory: MemoryPermit,
}

impl Pending {
    #[must_use]
    pub fn new(memory: MemoryPermit) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            notify: Notify::new(),
            _memory: memory,
        })
    }

    pub(crate) fn expect_one(&self) {
        self.state.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn one_done(&self) {
        if self.state.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.notify.notify_one();
        }
    }

    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether everything it counts on is released.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }

    /// Waits for all; `false` when the log died first and the outcome is unknown. One waiter.
    pub async fn done(&self) -> bool {
        loop {
            let notified = self.notify.notified();
            if self.state.load(Ordering::Acquire) == 0 {
                return true;
            }
            if self.dead.load(Ordering::Acquire) {
                return false;
            }
            notified.await;
        }
    }
}

struct Entry {
    position: Position,
    batch: Batch,
    partition: Arc<Partition>,
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Window {
    entries: VecDeque<Entry>,
    /// Answers that wait for a position without a batch of their own: duplicates, refusals on admitted state.
    followers: BTreeMap<Position, Vec<Arc<Pending>>>,
    released: Position,
    dead: bool,
}

/// Joins admission, the WAL and the partitions.
pub struct Releaser {
    wal: Arc<dyn Wal>,
    wal_ref: Arc<WalRef>,
    window: Mutex<Window>,
    lease: Arc<Lease>,
    dead: watch::Sender<bool>,
}

impl Releaser {
    #[must_use]
    pub fn new(wal: Arc<dyn Wal>, lease: Arc<Lease>) -> Arc<Self> {
        let wal_ref = Arc::new(WalRef::Live(Arc::clone(&wal)));
        Arc::new(Self { wal, wal_ref, window: Mutex::default(), lease, dead: watch::Sender::new(false) })
    }

    #[must_use]
    pub fn wal(&self) -> &Arc<dyn Wal> {
        &self.wal
    }

    /// Appends an admitted batch. Called under the partition's lock; neither blocks nor fails.
    pub(crate) fn append(
        &self,
        partition: &Arc<Partition>,
        permit: Permit,
        batch: Batch,
        pending: &Arc<Pending>,
    ) -> Position {
        pending.expect_one();
        let record = WalRecord {
            stream: partition.stream_id(),
            epoch: batch.head.leader_epoch(),
            kind: RecordKind::Batch(batch.clone()),
        };
        let mut window = self.window.lock();
        let position = self.wal.append(permit, record);
        if window.dead {
            pending.kill();
            return position;
        }
        let entry = Entry { position, batch, partition: Arc::clone(partition), pending: Arc::clone(pending) };
        window.entries.push_back(entry);
        position
    }

    /// Makes `pending` wait until `position` is released.
    pub(crate) fn follow(&self, position: Position, pending: &Arc<Pending>) {
        let mut window = self.window.lock();
        if position <= window.released {
            return;
        }
        pending.expect_one();
        if window.dead {
            pending.kill();
        } else {
            window.followers.entry(position).or_default().push(Arc::clone(pending));
        }
    }

    /// Turns true when nothing will ever be released again.
    #[must_use]
    pub fn dead(&self) -> watch::Receiver<bool> {
        self.dead.subscribe()
    }

    /// The completion loop: runs until the log is poisoned or its writer is gone.
    pub async fn run(self: Arc<Self>) {
        let mut durable = self.wal.durable();
        loop {
            let seen = *durable.borrow_and_update();
            // The lease is checked after durability was seen: checking before the write leaves a pause between
            // in which a successor may have taken over (reliability.md 4.1).
            if !mutant::on("lease-before-write") {
                self.lease.wait_valid().await;
            }
            let early = mutant::on("ack-before-durable");
            self.advance(if early { Position(u64::MAX / 2) } else { seen.upto() });
            if let Durability::Poisoned { upto } = seen {
                tracing::error!(
                    upto = upto.0,
                    "the WAL is poisoned: nothing more is acknowledged by this process"
                );
                break;
            }
            if durable.changed().await.is_err() {
                break;
            }
        }
        self.die();
    }

    /// Walks the window up to `target`: raises high watermarks in WAL order, then wakes who waits.
    fn advance(&self, target: Position) {
        const RUN_MAX: usize = 256;
        loop {
            let (run, followers) = {
                let mut window = self.window.lock();
                if window.dead {
                    return;
                }
                let n = window.entries.iter().take(RUN_MAX).take_while(|e| e.position <= target).count();
                let run: Vec<Entry> = window.entries.drain(..n).collect();
                let whole = window.entries.front().is_none_or(|e| e.position > target);
                let upto = if whole { target } else { run.last().map_or(window.released, |e| e.position) };
                (run, Some(upto).filter(|u| *u > window.released))
            };
            let more = run.len() == RUN_MAX;
            let mut done = Vec::with_capacity(run.len());
            for entry in run {
                entry.partition.release(entry.position, &self.wal_ref, entry.batch);
                done.push(entry.pending);
            }
            if let Some(upto) = followers {
                let mut window = self.window.lock();
                window.released = upto;
                let later = window.followers.split_off(&upto.next());
                let ready = std::mem::replace(&mut window.followers, later);
                drop(window);
                done.extend(ready.into_values().flatten());
            }
            for pending in done {
                pending.one_done();
            }
            if !more {
                return;
            }
        }
    }

    /// The end of this log: whoever waits learns that the outcome is unknown.
    pub fn die(&self) {
        let mut window = self.window.lock();
        window.dead = true;
        let entries = std::mem::take(&mut window.entries);
        let followers = std::mem::take(&mut window.followers);
        drop(window);
        entries.iter().for_each(|e| e.pending.kill());
        followers.values().flatten().for_each(|p| p.kill());
        self.dead.send_replace(true);
    }

    /// Everything up to and including this position is visible.
    #[must_use]
    pub fn released(&self) -> Position {
        self.window.lock().released
    }

    /// Nothing is appended that is not released.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.window.lock().entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_common::clock::ManualClock;
    use tidegate_common::{Incarnation, LeaderEpoch, StreamId, WalId};
    use tidegate_s3stream::budget::{Limits, MemoryBudget, Share};
    use tidegate_wal::WalMedium;
    use tidegate_wal::memory::MemoryMedium;

    use super::*;

    const ID: WalId = WalId(1);

    /// A releaser that runs on a WAL whose durability the test moves, under a lease that is not held yet.
    async fn running() -> (MemoryMedium, Arc<Releaser>, Arc<Lease>) {
        let medium = MemoryMedium::gated(1 << 20);
        let wal = medium.create(ID, Incarnation(1)).await.expect("creates");
        let lease = Arc::new(Lease::new(Arc::new(ManualClock::at_ms(1_000)), 1_000));
        let releaser = Releaser::new(wal, Arc::clone(&lease));
        tokio::spawn(Arc::clone(&releaser).run());
        (medium, releaser, lease)
    }

    fn append(releaser: &Releaser) -> Position {
        let permit = releaser.wal.try_reserve(64).expect("there is room");
        let record = WalRecord { stream: StreamId(1), epoch: LeaderEpoch(1), kind: RecordKind::CutMark(1) };
        releaser.wal.append(permit, record)
    }

    fn waits_for(releaser: &Releaser, position: Position) -> Arc<Pending> {
        let memory = MemoryBudget::new(Limits::of(1 << 30)).charge(Share::Produce, 0);
        let pending = Pending::new(memory);
        releaser.follow(position, &pending);
        pending
    }

    async fn settle() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_durable_is_released_and_nothing_after_it() {
        let (medium, releaser, lease) = running().await;
        lease.renew(lease.sent_now());
        let (first, second) = (append(&releaser), append(&releaser));
        let (one, two) = (waits_for(&releaser, first), waits_for(&releaser, second));
        medium.let_through(ID, first);
        settle().await;
        assert!(one.is_done() && !two.is_done());
        assert_eq!(releaser.released(), first);
        medium.let_through(ID, second);
        assert!(two.done().await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_durable_without_a_lease_waits_for_one() {
        let (medium, releaser, lease) = running().await;
        let position = append(&releaser);
        let pending = waits_for(&releaser, position);
        medium.let_through(ID, position);
        settle().await;
        assert!(!pending.is_done(), "a successor may have taken over meanwhile");
        lease.renew(lease.sent_now());
        assert!(pending.done().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poisoned_log_leaves_what_it_did_not_make_durable_unanswered() {
        let (medium, releaser, lease) = running().await;
        lease.renew(lease.sent_now());
        let (first, second) = (append(&releaser), append(&releaser));
        medium.let_through(ID, first);
        settle().await;
        let pending = waits_for(&releaser, second);
        medium.poison(ID);
        assert!(!pending.done().await);
        assert_eq!(releaser.released(), first);
    }
}
