//! The randomness seam.
//!
//! Owns: the trait, and a small seeded generator (SplitMix64) for tests and the simulation.
//! Never: is used for secrets; keys and TLS use the crypto provider's own source.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers. Shared as `Arc<dyn Random>`.
pub trait Random: Send + Sync + 'static {
    fn next_u64(&self) -> u64;

    /// A random (version 4) UUID.
    fn uuid(&self) -> uuid::Uuid {
        let (hi, lo) = (self.next_u64(), self.next_u64());
        uuid::Builder::from_random_bytes(((u128::from(hi) << 64) | u128::from(lo)).to_be_bytes()).into_uuid()
    }

    /// A number below `bound` (0 when `bound` is 0).
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }
}

pub type SharedRandom = Arc<dyn Random>;

/// SplitMix64: the same seed gives the same numbers, on every machine.
#[derive(Debug)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
