//! The clock seam.
//!
//! Owns: the two times the product knows. Wall time dates records, retention and logs; monotonic time
//! (CLOCK_BOOTTIME in production, so that a suspended machine's lease still ends) measures leases and waits.
//! Never: is used to order events; that is what positions and Raft indexes are for.

use std::sync::Arc;

/// A source of time. Shared as `Arc<dyn Clock>`.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> i64;
    /// Nanoseconds since an arbitrary point; never goes back, counts while the machine sleeps.
    fn monotonic_ns(&self) -> u64;

    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns() / 1_000_000
    }
}

pub type SharedClock = Arc<dyn Clock>;

/// A clock that stands still until it is told to move: for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    ns: std::sync::atomic::AtomicU64,
}

impl ManualClock {
    #[must_use]
    pub fn at_ms(ms: u64) -> Self {
        Self { ns: (ms * 1_000_000).into() }
    }

    pub fn advance_ms(&self, ms: u64) {
        self.ns.fetch_add(ms * 1_000_000, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        i64::try_from(self.monotonic_ns() / 1_000_000).expect("a test clock stays in range")
    }

    fn monotonic_ns(&self) -> u64 {
        self.ns.load(std::sync::atomic::Ordering::SeqCst)
    }
}
