//! What happened, and what may never happen: the event log and the oracle.
//!
//! Owns: every value sent, refused, acknowledged and read, by all clients over all time.
//! Invariants checked as they come: P2, P3, P4, P6, P9, F1, F5, F7, I1, I4 (see [`super::rules`]); P1 at the end.
//! Never: looks into the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::rules::{self, Rule};

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
    refused: BTreeSet<Value>,
    acked: BTreeMap<(i32, i64), Value>,
    /// From acknowledgements and reads alike.
    at: BTreeMap<(i32, i64), Value>,
    offset_of: BTreeMap<Value, i64>,
    newest_acked: BTreeMap<(i32, u32), (u64, i64)>,
    /// CRC of the batch that a value opens.
    crc: BTreeMap<Value, u32>,
    /// The least end that an answer may show that is asked for now; likewise the log start.
    end_floor: BTreeMap<i32, i64>,
    start_floor: BTreeMap<i32, i64>,
    /// Records below it were asked to be deleted.
    deleted_below: BTreeMap<i32, i64>,
    producer_ids: BTreeSet<i64>,
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
        self.count_n(what, 1);
    }

    pub fn count_n(&self, what: &'static str, n: u64) {
        if n > 0 {
            *self.inner.lock().counts.entry(what).or_default() += n;
        }
    }

    pub fn violate(&self, rule: &Rule, why: &str) {
        let why = format!("{}: {why}", rule.id);
        self.note(&format!("VIOLATION {why}"));
        self.inner.lock().violation.get_or_insert(why);
    }

    pub fn violation(&self) -> Option<String> {
        self.inner.lock().violation.clone()
    }

    pub fn events(&self) -> Vec<String> {
        self.inner.lock().events.clone()
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let inner = self.inner.lock();
        let mut counts = inner.counts.clone();
        counts.insert("sent", inner.sent.len() as u64);
        counts.insert("acked", inner.acked.len() as u64);
        counts
    }

    /// A batch is about to be sent for the first time.
    pub fn sent(&self, partition: i32, values: &[Value], crc: u32) {
        let mut inner = self.inner.lock();
        for value in values {
            inner.sent.insert(*value, partition);
        }
        if let Some(first) = values.first() {
            inner.crc.insert(*first, crc);
        }
    }

    /// The batch of these values was definitely not taken, and is never sent again.
    pub fn refused(&self, values: &[Value]) {
        for value in values {
            self.inner.lock().refused.insert(*value);
            let at = self.inner.lock().offset_of.get(value).copied();
            if let Some(at) = at {
                self.violate(&rules::P6, &format!("{value:?} was refused, and is at {at}"));
            }
        }
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
                let why = format!("{value:?} of partition {partition} at {offset}, the one before at {at}");
                self.violate(&rules::P4, &why);
            }
        }
        let mut inner = self.inner.lock();
        let floor = inner.end_floor.entry(partition).or_default();
        *floor = (*floor).max(base + values.len() as i64);
    }

    /// A record that a consumer was given.
    pub fn read(&self, partition: i32, offset: i64, value: Value) {
        let (sent, refused) = {
            let inner = self.inner.lock();
            (inner.sent.get(&value).copied(), inner.refused.contains(&value))
        };
        if sent != Some(partition) {
            let why = format!("read {value:?} in partition {partition} at {offset}, sent to {sent:?}");
            return self.violate(&rules::P2, &why);
        }
        if refused {
            let why = format!("{value:?} was refused, and is in partition {partition} at {offset}");
            self.violate(&rules::P6, &why);
        }
        self.place(partition, offset, value, "read");
    }

    /// A batch that a consumer was given, by its first value.
    pub fn batch_crc(&self, partition: i32, base: i64, first: Value, crc: u32) {
        let sent = self.inner.lock().crc.get(&first).copied();
        if sent.is_some_and(|sent| sent != crc) {
            let why = format!("partition {partition} offset {base}: CRC {crc:08x}, sent with {sent:08x?}");
            self.violate(&rules::P9, &why);
        }
    }

    /// What an answer to a question asked now must show at least: (end, log start).
    pub fn floors(&self, partition: i32) -> (i64, i64) {
        let inner = self.inner.lock();
        let of = |floors: &BTreeMap<i32, i64>| floors.get(&partition).copied().unwrap_or(0);
        (of(&inner.end_floor), of(&inner.start_floor))
    }

    /// An answer showed an end; `floors` are from when it was asked for.
    pub fn saw_end(&self, partition: i32, end: i64, floors: (i64, i64)) {
        if end < floors.0 {
            let acked =
                self.inner.lock().acked.range((partition, end)..=(partition, i64::MAX)).count() as i64;
            let rule = if acked > 0 { rules::F5 } else { rules::F1 };
            let why = format!("partition {partition} ends at {end}, it was {} before the question", floors.0);
            self.violate(&rule, &why);
        }
        let mut inner = self.inner.lock();
        let floor = inner.end_floor.entry(partition).or_default();
        *floor = (*floor).max(end);
    }

    /// An answer showed a log start.
    pub fn saw_start(&self, partition: i32, start: i64, floors: (i64, i64)) {
        if start < floors.1 {
            let why =
                format!("partition {partition} starts at {start}, it was {} before the question", floors.1);
            self.violate(&rules::F7, &why);
        }
        let mut inner = self.inner.lock();
        let floor = inner.start_floor.entry(partition).or_default();
        *floor = (*floor).max(start);
    }

    /// A client asks for the deletion of what lies below `to`.
    pub fn asks_to_delete(&self, partition: i32, to: i64) {
        let mut inner = self.inner.lock();
        let below = inner.deleted_below.entry(partition).or_default();
        *below = (*below).max(to);
    }

    /// Whether the record there may be deleted.
    pub fn may_be_deleted(&self, partition: i32, offset: i64) -> bool {
        self.inner.lock().deleted_below.get(&partition).is_some_and(|below| offset < *below)
    }

    /// A producer id was given to a client.
    pub fn producer_id(&self, id: i64) {
        if !self.inner.lock().producer_ids.insert(id) {
            self.violate(&rules::I4, &format!("producer id {id} was given out twice"));
        }
    }

    /// The least of the newest acknowledged offsets of the producers below `producers`: a log start up to it leaves each
    /// producer's state in place. `None` until each has one.
    pub fn oldest_newest(&self, partition: i32, producers: u32) -> Option<i64> {
        let inner = self.inner.lock();
        (0..producers).map(|n| inner.newest_acked.get(&(partition, n)).map(|(_, at)| *at)).min().flatten()
    }

    fn place(&self, partition: i32, offset: i64, value: Value, how: &str) {
        let mut inner = self.inner.lock();
        let before = inner.at.insert((partition, offset), value);
        let elsewhere = inner.offset_of.insert(value, offset);
        drop(inner);
        if let Some(other) = before
            && other != value
        {
            let why = format!("partition {partition} offset {offset} was {other:?}, {how} as {value:?}");
            self.violate(&rules::P3, &why);
        }
        if let Some(other) = elsewhere
            && other != offset
        {
            let why = format!("{value:?} of partition {partition} was at {other}, {how} at {offset}");
            self.violate(&rules::I1, &why);
        }
    }

    /// P1 against a full read after everything healed: nothing acknowledged is missing.
    pub fn check_final(&self, partition: i32, log: &BTreeMap<i64, Value>, log_start: i64) {
        let acked: Vec<(i64, Value)> = self
            .inner
            .lock()
            .acked
            .range((partition, log_start)..=(partition, i64::MAX))
            .map(|((_, o), v)| (*o, *v))
            .collect();
        for (offset, value) in acked {
            match log.get(&offset) {
                Some(found) if *found == value => {}
                other => {
                    let why = format!(
                        "{value:?} was acknowledged at partition {partition} offset {offset}, the log has {other:?}"
                    );
                    self.violate(&rules::P1, &why);
                }
            }
        }
        let mut newest = BTreeMap::<u32, u64>::new();
        for (offset, (producer, n)) in log {
            if let Some(before) = newest.insert(*producer, *n)
                && before >= *n
            {
                let why =
                    format!("partition {partition} offset {offset} has {n} of {producer} after {before}");
                self.violate(&rules::P4, &why);
            }
        }
    }
}
