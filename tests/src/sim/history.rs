//! What happened, and what may never happen: the event log and the oracle.
//!
//! Owns: every value sent, acknowledged and read, by all clients over all time.
//! Invariants checked as they come: P2 (what is read was sent), P3 (offset → value is a function), P4 (order per
//! producer), I1 (a value has one offset).
//! Never: looks into the broker.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

/// A value: which producer sent it, and its number there.
pub type Value = (u32, u64);

#[derive(Default)]
struct Inner {
    events: Vec<String>,
    now_ms: u64,
    violation: Option<String>,
    counts: BTreeMap<&'static str, u64>,
    /// (partition, value) ever sent.
    sent: BTreeMap<Value, i32>,
    acked: BTreeMap<(i32, i64), Value>,
    /// From acknowledgements and reads alike.
    at: BTreeMap<(i32, i64), Value>,
    offset_of: BTreeMap<Value, i64>,
    newest_acked: BTreeMap<(i32, u32), (u64, i64)>,
}

#[derive(Clone, Default)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
}

impl History {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn set_now_ms(&self, now_ms: u64) {
        self.inner.lock().now_ms = now_ms;
    }

    pub fn note(&self, event: &str) {
        let mut inner = self.inner.lock();
        let line = format!("{:>7} {event}", inner.now_ms);
        tracing::info!("{line}");
        inner.events.push(line);
    }

    pub fn count(&self, what: &'static str) {
        *self.inner.lock().counts.entry(what).or_default() += 1;
    }

    pub fn violate(&self, why: &str) {
        self.note(&format!("VIOLATION {why}"));
        self.inner.lock().violation.get_or_insert_with(|| why.to_owned());
    }

    pub fn violation(&self) -> Option<String> {
        self.inner.lock().violation.clone()
    }

    pub fn events(&self) -> Vec<String> {
        self.inner.lock().events.clone()
    }

    pub fn counts(&self) -> String {
        let inner = self.inner.lock();
        let mut out = String::new();
        for (what, n) in &inner.counts {
            let _ = write!(out, "{what}={n} ");
        }
        let _ = write!(out, "sent={} acked={}", inner.sent.len(), inner.acked.len());
        out
    }

    pub fn sent(&self, partition: i32, value: Value) {
        self.inner.lock().sent.insert(value, partition);
    }

    /// An acknowledgement of a batch of consecutive values.
    pub fn acked(&self, partition: i32, base: i64, values: &[Value]) {
        self.note(&format!("ack p{partition}@{base} {:?}x{}", values[0], values.len()));
        for (offset, value) in (base..).zip(values) {
            self.inner.lock().acked.insert((partition, offset), *value);
            self.place(partition, offset, *value, "acknowledged");
            let newest = self.inner.lock().newest_acked.insert((partition, value.0), (value.1, offset));
            if let Some((n, at)) = newest
                && n < value.1
                && at >= offset
            {
                self.violate(&format!(
                    "P4: {value:?} of partition {partition} at {offset}, the one before at {at}"
                ));
            }
        }
    }

    /// A record that a consumer was given.
    pub fn read(&self, partition: i32, offset: i64, value: Value) {
        match self.inner.lock().sent.get(&value).copied() {
            Some(p) if p == partition => {}
            other => {
                let why =
                    format!("P2: read {value:?} in partition {partition} at {offset}, sent to {other:?}");
                return self.violate_unlocked(why);
            }
        }
        self.place(partition, offset, value, "read");
    }

    fn violate_unlocked(&self, why: String) {
        self.violate(&why);
    }

    fn place(&self, partition: i32, offset: i64, value: Value, how: &str) {
        let mut inner = self.inner.lock();
        let before = inner.at.insert((partition, offset), value);
        let elsewhere = inner.offset_of.insert(value, offset);
        drop(inner);
        if let Some(other) = before
            && other != value
        {
            self.violate(&format!(
                "P3: partition {partition} offset {offset} was {other:?}, {how} as {value:?}"
            ));
        }
        if let Some(other) = elsewhere
            && other != offset
        {
            self.violate(&format!(
                "I1: {value:?} of partition {partition} was at {other}, {how} at {offset}"
            ));
        }
    }

    /// P1 and P6 against a full read after everything healed: nothing acknowledged is missing.
    pub fn check_final(&self, partition: i32, log: &BTreeMap<i64, Value>) {
        let acked: Vec<(i64, Value)> = self
            .inner
            .lock()
            .acked
            .range((partition, 0)..=(partition, i64::MAX))
            .map(|((_, o), v)| (*o, *v))
            .collect();
        for (offset, value) in acked {
            match log.get(&offset) {
                Some(found) if *found == value => {}
                other => {
                    self.violate(&format!(
                        "P1: {value:?} was acknowledged at partition {partition} offset {offset}, the log has {other:?}"
                    ));
                }
            }
        }
        let mut newest = BTreeMap::<u32, u64>::new();
        for (offset, (producer, n)) in log {
            if let Some(before) = newest.insert(*producer, *n)
                && before >= *n
            {
                self.violate(&format!(
                    "P4: partition {partition} offset {offset} has {n} of {producer} after {before}"
                ));
            }
        }
    }
}
