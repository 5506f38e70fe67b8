//! The generator's real time, and a timer finer than the runtime's.
//!
//! Owns: reading CLOCK_MONOTONIC and CLOCK_REALTIME, and one timerfd per [`Timer`].
//! Why a timerfd: tokio's timer wheel ticks in milliseconds, and an open-loop latency counts from the due time, so
//! that a late wake-up would be read as a slow broker.
//! Never: is mocked; what needs time in a test takes nanoseconds as arguments.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Milliseconds since the Unix epoch.
pub fn wall_ms() -> i64 {
    i64::try_from(nanoseconds(clock_gettime(ClockId::Realtime)) / 1_000_000).expect("292 million years")
}

/// Wakes a task at a time of [`now_ns`].
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
    armed_ns: Option<u64>,
}

impl Timer {
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, which we forbid; an OwnedFd keeps to I/O safety"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self { fd, armed_ns: None })
    }

    /// Ready once `due_ns` has passed. A later call with another time replaces the earlier one.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, due_ns: u64) -> Poll<io::Result<()>> {
        if self.armed_ns != Some(due_ns) {
            let at = Itimerspec { it_interval: timespec(0), it_value: timespec(due_ns.max(1)) };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &at)?;
            self.armed_ns = Some(due_ns);
        }
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let mut expirations = [0; 8];
            match rustix::io::read(self.fd.get_ref(), &mut expirations) {
                Ok(_) => {
                    self.armed_ns = None;
                    return Poll::Ready(Ok(()));
                }
                // The readiness was that of a time since replaced.
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).expect("both clocks start at zero");
    let rest = u64::try_from(time.tv_nsec).expect("nanoseconds of a second");
    seconds * NS_PER_SECOND + rest
}

fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / NS_PER_SECOND).expect("below 2^34 seconds"),
        tv_nsec: i64::try_from(ns % NS_PER_SECOND).expect("below a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_timer_fires_after_its_time_and_follows_the_last_one_set() {
        let mut timer = Timer::new().expect("timerfd");
        let start = now_ns();
        let far = start + 60 * NS_PER_SECOND;
        let near = start + 2_000_000;
        let armed_far = std::future::poll_fn(|cx| Poll::Ready(timer.poll_until(cx, far).is_pending())).await;
        assert!(armed_far);
        std::future::poll_fn(|cx| timer.poll_until(cx, near)).await.expect("fires");
        let now = now_ns();
        assert!(now >= near && now < far, "{now} lies after {near}");
        std::future::poll_fn(|cx| timer.poll_until(cx, near))
            .await
            .expect("a time that has passed fires at once");
    }
}
