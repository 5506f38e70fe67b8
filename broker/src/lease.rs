//! The lease under which this incarnation acknowledges and answers reads of the head (DESIGN.md 4, "Leases").
//!
//! Owns: until when the lease holds, on the monotonic clock.
//! Invariants: a renewal counts from when it was *sent*; it is granted only by a read-index round of the metadata
//! leader that still shows this incarnation as the broker's newest; a lapsed lease pauses, renewal resumes.
//! Never: is extended by anything else, or uses wall time.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_common::clock::SharedClock;
use tidegate_common::mutant;
use tokio::sync::Notify;

/// Parts per thousand by which two clocks may drift apart while a lease runs (reliability.md 4.8).
const DRIFT_PER_MILLE: u64 = 10;

pub struct Lease {
    clock: SharedClock,
    duration_ms: u64,
    until_ns: AtomicU64,
    renewed: Notify,
}

impl Lease {
    #[must_use]
    pub fn new(clock: SharedClock, duration_ms: u64) -> Self {
        Self { clock, duration_ms, until_ns: AtomicU64::new(0), renewed: Notify::new() }
    }

    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.clock.monotonic_ns() < self.until_ns.load(Ordering::Acquire)
    }

    /// When to note as the time of sending, before the round begins.
    #[must_use]
    pub fn sent_now(&self) -> u64 {
        self.clock.monotonic_ns()
    }

    /// A round that was sent at `sent_ns` succeeded.
    pub fn renew(&self, sent_ns: u64) {
        let sent_ns = if mutant::on("lease-from-receipt") { self.clock.monotonic_ns() } else { sent_ns };
        let usable_ms = self.duration_ms * (1000 - DRIFT_PER_MILLE) / 1000;
        self.until_ns.fetch_max(sent_ns + usable_ms * 1_000_000, Ordering::AcqRel);
        self.renewed.notify_waiters();
    }

    /// This incarnation is fenced: the lease never holds again.
    pub fn revoke(&self) {
        self.until_ns.store(0, Ordering::Release);
    }

    /// Returns once the lease holds; at once in the ordinary case.
    pub async fn wait_valid(&self) {
        loop {
            let renewed = self.renewed.notified();
            tokio::pin!(renewed);
            renewed.as_mut().enable();
            if self.is_valid() {
                return;
            }
            renewed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_common::clock::ManualClock;

    #[test]
    fn a_renewal_counts_from_when_it_was_sent() {
        let clock = Arc::new(ManualClock::at_ms(1_000));
        let lease = Lease::new(clock.clone(), 1_000);
        assert!(!lease.is_valid());
        let sent = lease.sent_now();
        clock.advance_ms(800);
        lease.renew(sent);
        clock.advance_ms(180);
        assert!(lease.is_valid());
        clock.advance_ms(10);
        assert!(!lease.is_valid(), "ends before the grantor's 1000 ms are over");
        lease.renew(lease.sent_now());
        assert!(lease.is_valid());
        lease.revoke();
        assert!(!lease.is_valid());
    }
}
