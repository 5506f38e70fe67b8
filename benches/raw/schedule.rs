//! When the requests of a connection are due.
//!
//! Owns: the due times of one connection, and which of them belong to the measured window.
//! Invariants: request k of the run is due at `start + k / rate` whatever the broker does, and connection c of n owns
//! the requests k with k mod n = c; none is skipped, so a stall is seen by every request that it delayed.
//! Never: reads a clock.

use std::str::FromStr;

const NS_PER_SECOND: f64 = 1e9;

/// Requests per second of the whole run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    PerSecond(f64),
    /// Closed loop: a request is due as soon as the pipeline has room for it.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        match text.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
            _ => Err("a number of requests per second above 0, or `max`".to_owned()),
        }
    }
}

/// The part of a run that is measured; before it lies the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub run_start_ns: u64,
    pub start_ns: u64,
    pub end_ns: u64,
}

impl Window {
    pub fn new(run_start_ns: u64, warmup_s: u64, measured_s: u64) -> Self {
        let start_ns = run_start_ns + warmup_s * NS_PER_SECOND as u64;
        Self { run_start_ns, start_ns, end_ns: start_ns + measured_s * NS_PER_SECOND as u64 }
    }

    /// Whether a request due then is measured.
    pub fn holds(&self, due_ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&due_ns)
    }
}

/// The requests of one connection that are still to come.
#[derive(Clone, Debug)]
pub struct Schedule {
    window: Window,
    rate: Rate,
    connection: u64,
    connections: u64,
    taken: u64,
}

impl Schedule {
    pub fn new(window: Window, rate: Rate, connection: usize, connections: usize) -> Self {
        Self { window, rate, connection: connection as u64, connections: connections as u64, taken: 0 }
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// When the next request is due, seen at `now_ns`; none if that is past the window.
    pub fn next_due(&self, now_ns: u64) -> Option<u64> {
        let due_ns = match self.rate {
            Rate::Max => now_ns.max(self.window.run_start_ns),
            Rate::PerSecond(rate) => {
                let request = self.taken * self.connections + self.connection;
                self.window.run_start_ns + (request as f64 * NS_PER_SECOND / rate) as u64
            }
        };
        (due_ns < self.window.end_ns).then_some(due_ns)
    }

    /// Marks the next request as sent.
    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// The due times that were never sent because the run ended first; empty in a closed loop.
    pub fn unsent(mut self) -> impl Iterator<Item = u64> {
        let end_ns = self.window.end_ns;
        std::iter::from_fn(move || {
            if self.rate == Rate::Max {
                return None;
            }
            let due_ns = self.next_due(end_ns)?;
            self.take();
            Some(due_ns)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn window() -> Window {
        Window::new(1_000 * MS, 1, 2)
    }

    #[test]
    fn the_connections_together_send_at_even_distances() {
        let mut due: Vec<u64> =
            (0..4).flat_map(|c| Schedule::new(window(), Rate::PerSecond(100.0), c, 4).unsent()).collect();
        due.sort_unstable();
        let expected: Vec<u64> = (0..300).map(|k| 1_000 * MS + k * 10 * MS).collect();
        assert_eq!(due, expected);
        assert_eq!(due.iter().filter(|&&at| window().holds(at)).count(), 200);
    }

    #[test]
    fn a_late_connection_keeps_its_due_times() {
        let mut schedule = Schedule::new(window(), Rate::PerSecond(1000.0), 0, 1);
        let stalled_until = 2_000 * MS;
        for k in 0..50 {
            assert_eq!(schedule.next_due(stalled_until), Some(1_000 * MS + k * MS));
            schedule.take();
        }
    }

    #[test]
    fn a_rate_that_no_integer_divides_does_not_drift() {
        let long = Window::new(0, 0, 3_600);
        let count = Schedule::new(long, Rate::PerSecond(333.3), 0, 1).unsent().count();
        assert_eq!(count, (333.3f64 * 3_600.0).ceil() as usize);
    }

    #[test]
    fn a_closed_loop_is_due_now_until_the_window_ends() {
        let schedule = Schedule::new(window(), Rate::Max, 3, 4);
        assert_eq!(schedule.next_due(0), Some(1_000 * MS));
        assert_eq!(schedule.next_due(1_500 * MS), Some(1_500 * MS));
        assert_eq!(schedule.next_due(4_000 * MS), None);
        assert_eq!(schedule.unsent().count(), 0);
    }

    #[test]
    fn rates_are_parsed_and_nonsense_is_refused() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2.5".parse(), Ok(Rate::PerSecond(2.5)));
        for text in ["0", "-1", "inf", "nan", "fast", ""] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
