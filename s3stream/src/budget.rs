//! The one memory budget (DESIGN.md 3.12).
//!
//! Owns: byte permits of every share, and the queues of those who wait for them.
//! Invariants: a share grants in the order it was asked; a permit gives back exactly what it holds, also when
//! the task that waits for it is dropped; [`Share::Produce`] alone also looks at the total, so when memory is
//! short producers wait, while reads, uploads and answers, which give memory back, go on.
//! A permit above its whole share is granted when the share is empty: it would wait for ever otherwise.
//! Never: refuses what is already admitted ([`MemoryBudget::charge`] may overdraw), frees memory itself.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What memory is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// Bytes appended to a WAL and not yet written.
    WalBuffers,
    /// Bodies and index entries of the log cache. Charged without waiting: what is published is admitted.
    LogCache,
    /// Blocks of objects.
    BlockCache,
    /// Bytes of upload rounds and compactions on their way to the bucket.
    Uploads,
    /// Frames that are read and decoded.
    Requests,
    /// Batches admitted and not yet released; waits when the total is overdrawn.
    Produce,
    /// Answers that are not yet written to their sockets.
    Responses,
}

pub const SHARES: [Share; 7] = [
    Share::WalBuffers,
    Share::LogCache,
    Share::BlockCache,
    Share::Uploads,
    Share::Requests,
    Share::Produce,
    Share::Responses,
];

/// The bytes of each share, in the order of [`SHARES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits(pub [u64; SHARES.len()]);

impl Limits {
    /// Splits `total` by the usual proportions.
    #[must_use]
    pub fn of(total: u64) -> Self {
        let percent = |n: u64| total / 100 * n;
        Self([percent(6), percent(30), percent(20), percent(14), percent(8), percent(8), percent(14)])
    }

    #[must_use]
    pub fn get(&self, share: Share) -> u64 {
        self.0[share as usize]
    }

    #[must_use]
    pub fn with(mut self, share: Share, bytes: u64) -> Self {
        self.0[share as usize] = bytes;
        self
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A gauge of one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareUsage {
    pub share: Share,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub waiting: usize,
}

/// Shared: a clone draws from the same budget.
#[derive(Clone)]
pub struct MemoryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: [u64; SHARES.len()],
    waiting: [VecDeque<Waiter>; SHARES.len()],
    next_waiter: u64,
}

struct Waiter {
    id: u64,
    bytes: u64,
    granted: oneshot::Sender<MemoryPermit>,
}

/// Bytes held; given back on drop.
pub struct MemoryPermit {
    shared: Arc<Shared>,
    share: Share,
    bytes: u64,
}

impl MemoryBudget {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { shared: Arc::new(Shared { limits, state: Mutex::new(State::default()) }) }
    }

    /// `None` when the bytes are not free, or when others wait for them already.
    #[must_use]
    pub fn try_acquire(&self, share: Share, bytes: u64) -> Option<MemoryPermit> {
        let mut state = self.shared.state.lock();
        if !state.waiting[share as usize].is_empty() || !state.fits(&self.shared.limits, share, bytes) {
            return None;
        }
        state.used[share as usize] += bytes;
        drop(state);
        Some(self.permit(share, bytes))
    }

    /// Waits in the share's queue.
    pub async fn acquire(&self, share: Share, bytes: u64) -> MemoryPermit {
        let (id, receive) = {
            let mut state = self.shared.state.lock();
            if state.waiting[share as usize].is_empty() && state.fits(&self.shared.limits, share, bytes) {
                state.used[share as usize] += bytes;
                drop(state);
                return self.permit(share, bytes);
            }
            let (granted, receive) = oneshot::channel();
            let id = state.next_waiter;
            state.next_waiter += 1;
            state.waiting[share as usize].push_back(Waiter { id, bytes, granted });
            (id, receive)
        };
        // Leaves the queue when this future is dropped while it waits.
        let _queued = Queued { shared: &self.shared, share, id };
        receive.await.expect("a waiter leaves the queue only with its permit or by its own drop")
    }

    /// Takes the bytes without waiting, past the limit if need be: for what is admitted already.
    #[must_use]
    pub fn charge(&self, share: Share, bytes: u64) -> MemoryPermit {
        self.shared.state.lock().used[share as usize] += bytes;
        self.permit(share, bytes)
    }

    #[must_use]
    pub fn used(&self, share: Share) -> u64 {
        self.shared.state.lock().used[share as usize]
    }

    #[must_use]
    pub fn limit(&self, share: Share) -> u64 {
        self.shared.limits.get(share)
    }

    #[must_use]
    pub fn usage(&self) -> [ShareUsage; SHARES.len()] {
        let state = self.shared.state.lock();
        SHARES.map(|share| ShareUsage {
            share,
            used_bytes: state.used[share as usize],
            limit_bytes: self.shared.limits.get(share),
            waiting: state.waiting[share as usize].len(),
        })
    }

    fn permit(&self, share: Share, bytes: u64) -> MemoryPermit {
        MemoryPermit { shared: self.shared.clone(), share, bytes }
    }
}

impl MemoryPermit {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes what is held, without waiting.
    pub fn resize(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            self.shared.state.lock().used[self.share as usize] += bytes - self.bytes;
        } else {
            self.shared.give_back(self.share, self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Cuts a part off, to be given back by itself. `None` when less is held.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Option<MemoryPermit> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(MemoryPermit { shared: self.shared.clone(), share: self.share, bytes })
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shared.give_back(self.share, self.bytes);
        }
    }
}

impl State {
    fn fits(&self, limits: &Limits, share: Share, bytes: u64) -> bool {
        let used = self.used[share as usize];
        let own = used == 0 || used.saturating_add(bytes) <= limits.get(share);
        if share != Share::Produce {
            return own;
        }
        let all: u64 = self.used.iter().sum();
        own && (all.saturating_add(bytes) <= limits.total() || (used == 0 && all < limits.total()))
    }
}

impl Shared {
    fn give_back(self: &Arc<Self>, share: Share, bytes: u64) {
        let mut state = self.state.lock();
        state.used[share as usize] -= bytes;
        self.grant(state, share);
    }

    /// Serves the queues that what was given back may have freed. Permits are sent after the lock is let go:
    /// one whose waiter is gone comes straight back here.
    fn grant(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>, share: Share) {
        let mut sends = Vec::new();
        for share in [share, Share::Produce] {
            while let Some(first) = state.waiting[share as usize].front() {
                let bytes = first.bytes;
                if !state.fits(&self.limits, share, bytes) {
                    break;
                }
                state.used[share as usize] += bytes;
                let first = state.waiting[share as usize].pop_front().expect("looked at under the lock");
                sends.push((first.granted, MemoryPermit { shared: self.clone(), share, bytes }));
            }
        }
        drop(state);
        for (to, permit) in sends {
            drop(to.send(permit));
        }
    }
}

struct Queued<'a> {
    shared: &'a Arc<Shared>,
    share: Share,
    id: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let queue = &mut state.waiting[self.share as usize];
        let Some(at) = queue.iter().position(|w| w.id == self.id) else { return };
        let gone = queue.remove(at);
        self.shared.grant(state, self.share);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn budget(produce: u64, log: u64) -> MemoryBudget {
        MemoryBudget::new(
            Limits([0; 7]).with(Share::Produce, produce).with(Share::LogCache, log).with(Share::Requests, 10),
        )
    }

    #[test]
    fn a_share_grants_in_order_and_a_small_request_does_not_overtake() {
        let budget = budget(0, 0);
        let held = budget.try_acquire(Share::Requests, 6).expect("free");
        let mut large = Box::pin(budget.acquire(Share::Requests, 8));
        assert!((&mut large).now_or_never().is_none());
        let mut small = Box::pin(budget.acquire(Share::Requests, 1));
        assert!((&mut small).now_or_never().is_none(), "4 bytes are free, but the large one asked first");
        assert!(budget.try_acquire(Share::Requests, 1).is_none());
        drop(held);
        let large = large.now_or_never().expect("first");
        let small = small.now_or_never().expect("second");
        assert_eq!(budget.used(Share::Requests), 9);
        drop((large, small));
        assert_eq!(budget.used(Share::Requests), 0);
    }

    #[test]
    fn a_waiter_that_is_dropped_lets_the_next_pass_and_leaks_nothing() {
        let budget = budget(0, 0);
        let held = budget.try_acquire(Share::Requests, 6).expect("free");
        let mut large = Box::pin(budget.acquire(Share::Requests, 8));
        let mut small = Box::pin(budget.acquire(Share::Requests, 1));
        assert!((&mut large).now_or_never().is_none());
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        let small = small.now_or_never().expect("nobody is before it");
        let mut granted = Box::pin(budget.acquire(Share::Requests, 9));
        assert!((&mut granted).now_or_never().is_none());
        drop((held, small));
        assert_eq!(budget.used(Share::Requests), 9, "granted, not yet seen by its task");
        drop(granted);
        assert_eq!(budget.used(Share::Requests), 0);
    }

    #[test]
    fn producers_wait_while_the_log_cache_is_overdrawn_and_others_do_not() {
        let budget = budget(100, 100);
        let mut cache = budget.charge(Share::LogCache, 215);
        assert!(budget.try_acquire(Share::Produce, 1).is_none());
        assert!(budget.try_acquire(Share::Requests, 10).is_some());
        let mut produce = Box::pin(budget.acquire(Share::Produce, 50));
        assert!((&mut produce).now_or_never().is_none());
        cache.resize(60);
        assert_eq!(produce.now_or_never().expect("room again").bytes(), 50);
    }

    #[test]
    fn what_is_above_the_whole_share_is_granted_alone() {
        let budget = budget(0, 0);
        let one = budget.try_acquire(Share::Requests, 1).expect("free");
        assert!(budget.try_acquire(Share::Requests, 50).is_none());
        drop(one);
        let all = budget.try_acquire(Share::Requests, 50).expect("alone");
        assert!(budget.try_acquire(Share::Requests, 1).is_none());
        drop(all);
        assert!(budget.usage().iter().all(|u| u.used_bytes == 0 && u.waiting == 0));
    }
}
