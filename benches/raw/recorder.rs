//! What a run counts.
//!
//! Owns: the histograms and totals that all connections of the run share, on one thread.
//! Invariants: a request belongs to the measurement by its due time, wherever its answer falls; totals count every
//! answer of the run, and a rate is the difference of two readings of them.

use std::cell::{Cell, RefCell};

use crate::answer::Counted;
use crate::histogram::Histogram;
use crate::schedule::Window;

/// Everything answered so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    pub records: u64,
    pub bytes: u64,
    /// Answers without a record.
    pub empty: u64,
}

pub struct Recorder {
    window: Window,
    totals: Cell<Totals>,
    unsent: Cell<u64>,
    latency: RefCell<Histogram>,
    lateness: RefCell<Histogram>,
}

impl Recorder {
    pub fn new(window: Window) -> Self {
        Self {
            window,
            totals: Cell::default(),
            unsent: Cell::new(0),
            latency: RefCell::new(Histogram::new()),
            lateness: RefCell::new(Histogram::new()),
        }
    }

    /// A request left for the socket, this much after it was due and the pipeline had room: the generator's own delay.
    pub fn sent(&self, due_ns: u64, late_ns: u64) {
        if self.window.holds(due_ns) {
            self.lateness.borrow_mut().record(late_ns);
        }
    }

    /// A request was answered.
    pub fn answered(&self, due_ns: u64, now_ns: u64, counted: Counted) {
        let mut totals = self.totals.get();
        totals.requests += 1;
        totals.records += counted.records;
        totals.bytes += counted.bytes;
        totals.empty += u64::from(counted.records == 0);
        self.totals.set(totals);
        if self.window.holds(due_ns) {
            self.latency.borrow_mut().record(now_ns.saturating_sub(due_ns));
        }
    }

    /// A request was due and the run ended before it could be sent. Its age then is the least that its latency would
    /// have been; leaving it out would flatter a broker that falls behind.
    pub fn unsent(&self, due_ns: u64) {
        if self.window.holds(due_ns) {
            self.unsent.set(self.unsent.get() + 1);
            self.latency.borrow_mut().record(self.window.end_ns - due_ns);
        }
    }

    pub fn totals(&self) -> Totals {
        self.totals.get()
    }

    pub fn unsent_count(&self) -> u64 {
        self.unsent.get()
    }

    pub fn with_latency<T>(&self, read: impl FnOnce(&Histogram) -> T) -> T {
        read(&self.latency.borrow())
    }

    pub fn with_lateness<T>(&self, read: impl FnOnce(&Histogram) -> T) -> T {
        read(&self.lateness.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_due_time_decides_what_is_measured_and_totals_count_everything() {
        let recorder = Recorder::new(Window::new(0, 1, 2));
        let counted = Counted { records: 3, bytes: 100 };
        recorder.answered(SECOND - 1, 2 * SECOND, counted); // due in the warm-up
        recorder.answered(SECOND, 2 * SECOND, counted);
        recorder.answered(3 * SECOND - 1, 5 * SECOND, Counted::default()); // answered after the window
        recorder.answered(3 * SECOND, 5 * SECOND, counted); // due after it
        assert_eq!(recorder.totals(), Totals { requests: 4, records: 9, bytes: 300, empty: 1 });
        recorder.with_latency(|latency| {
            assert_eq!(latency.count(), 2);
            assert_eq!(latency.max(), 2 * SECOND + 1);
        });
    }

    #[test]
    fn a_request_that_was_never_sent_counts_with_its_age() {
        let recorder = Recorder::new(Window::new(0, 1, 2));
        recorder.unsent(SECOND / 2);
        recorder.unsent(2 * SECOND);
        assert_eq!(recorder.unsent_count(), 1);
        recorder.with_latency(|latency| assert_eq!((latency.count(), latency.max()), (1, SECOND)));
    }
}
