//! The machine's clocks. Monotonic time is CLOCK_BOOTTIME: a lease ends while the machine sleeps, too.

use rustix::time::{ClockId, clock_gettime};
use tidegate_common::clock::Clock;

#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let t = clock_gettime(ClockId::Realtime);
        t.tv_sec * 1000 + t.tv_nsec / 1_000_000
    }

    fn monotonic_ns(&self) -> u64 {
        let t = clock_gettime(ClockId::Boottime);
        t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs()
    }
}
