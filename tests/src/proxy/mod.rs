//! A proxy that does harm on demand, between clients and the broker ([`kafka`]) or the broker and its bucket ([`http`]).
//!
//! Owns: its connections, the faults that it was told to do, and the count of those that it did: a run reads the counts
//! to see that its faults took effect.
//! Holds: bytes pass unchanged and in order until a fault; a connection that a fault hit is closed on both sides.
//! Never: answers for a broker; what it says in a store's place is 503 alone.

pub mod control;
pub mod http;
pub mod kafka;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// What one read from a socket takes in at most.
const CHUNK: usize = 64 * 1024;

/// Counts of what was done, by name.
#[derive(Default, Clone)]
pub struct Counts(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Counts {
    fn add(&self, name: &'static str) {
        *self.0.lock().entry(name).or_default() += 1;
    }

    /// One line each, `name count`.
    #[must_use]
    pub fn show(&self) -> String {
        self.0.lock().iter().map(|(name, count)| format!("{name} {count}\n")).collect()
    }

    /// The count of a name.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.0.lock().get(name).copied().unwrap_or(0)
    }
}
