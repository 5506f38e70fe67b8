//! Single flight: one load per key, however many wait for it.
//!
//! Invariants: a key is in flight from its claim until its landing is used or dropped; waiters get the very result, or
//! learn that there was none and ask again. Never: runs the load itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::stream::ReadError;

type Outcome<V> = Result<V, ReadError>;
type Waiting<V> = watch::Receiver<Option<Outcome<V>>>;

pub(crate) struct Flights<K: Ord, V> {
    flying: Arc<Mutex<BTreeMap<K, Waiting<V>>>>,
}

pub(crate) enum Claim<K: Ord, V> {
    /// The caller loads, or has it loaded.
    Mine(Landing<K, V>, Joined<V>),
    /// Somebody does.
    Flying(Joined<V>),
}

/// The duty to load one key.
pub(crate) struct Landing<K: Ord, V> {
    key: K,
    flying: Arc<Mutex<BTreeMap<K, Waiting<V>>>>,
    outcome: watch::Sender<Option<Outcome<V>>>,
}

pub(crate) struct Joined<V>(Waiting<V>);

impl<K: Ord + Clone, V: Clone> Flights<K, V> {
    pub(crate) fn new() -> Self {
        Self { flying: Arc::default() }
    }

    pub(crate) fn claim(&self, key: &K) -> Claim<K, V> {
        let mut flying = self.flying.lock();
        if let Some(waiting) = flying.get(key) {
            return Claim::Flying(Joined(waiting.clone()));
        }
        let (outcome, waiting) = watch::channel(None);
        flying.insert(key.clone(), waiting.clone());
        Claim::Mine(Landing { key: key.clone(), flying: self.flying.clone(), outcome }, Joined(waiting))
    }
}

impl<K: Ord, V> Landing<K, V> {
    pub(crate) fn land(self, outcome: Outcome<V>) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl<K: Ord, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flying.lock().remove(&self.key);
    }
}

impl<V: Clone> Joined<V> {
    /// `None`: the load was dropped; claim again.
    pub(crate) async fn outcome(mut self) -> Option<Outcome<V>> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}
