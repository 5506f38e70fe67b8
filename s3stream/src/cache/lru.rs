//! A least-recently-used map with weights, in an order that depends on nothing but the calls made.
//!
//! Invariants: the weight held is at most the limit, unless one value alone is above it, which then stays alone.
//! Never: reads a clock or hashes.

use std::collections::BTreeMap;

pub(crate) struct Lru<K, V> {
    values: BTreeMap<K, Held<V>>,
    /// Keys by last use.
    order: BTreeMap<u64, K>,
    uses: u64,
    weight: u64,
    limit: u64,
}

struct Held<V> {
    value: V,
    weight: u64,
    used: u64,
}

impl<K: Ord + Clone, V: Clone> Lru<K, V> {
    pub(crate) fn new(limit: u64) -> Self {
        Self { values: BTreeMap::new(), order: BTreeMap::new(), uses: 0, weight: 0, limit }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let held = self.values.get_mut(key)?;
        self.order.remove(&held.used);
        self.uses += 1;
        held.used = self.uses;
        self.order.insert(self.uses, key.clone());
        Some(held.value.clone())
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V, weight: u64) {
        self.remove(&key);
        self.uses += 1;
        self.weight += weight;
        self.order.insert(self.uses, key.clone());
        self.values.insert(key, Held { value, weight, used: self.uses });
        while self.weight > self.limit && self.values.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            if let Some(held) = self.values.remove(&oldest) {
                self.weight -= held.weight;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(held) = self.values.remove(key) {
            self.order.remove(&held.used);
            self.weight -= held.weight;
        }
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::new(10);
        for key in 0..3 {
            lru.insert(key, key, 3);
        }
        assert_eq!(lru.get(&0), Some(0));
        lru.insert(3, 3, 3);
        assert_eq!((lru.get(&0), lru.get(&1), lru.get(&2), lru.get(&3)), (Some(0), None, Some(2), Some(3)));
        lru.insert(9, 9, 50);
        assert_eq!((lru.get(&9), lru.get(&3), lru.weight()), (Some(9), None, 50));
        lru.insert(9, 8, 1);
        lru.insert(1, 1, 9);
        assert_eq!((lru.get(&9), lru.get(&1), lru.weight()), (Some(8), Some(1), 10));
    }
}
