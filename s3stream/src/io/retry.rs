//! When to try again: jittered backoff within a total time, and tokens per store against retry storms.
//!
//! Owns: the retry budget of one lane. First tries are free; each further try takes a token, and when the burst
//! is used up it waits its turn, so a store in trouble sees at most the refill rate on top of new work.
//! Invariants: no operation begins an attempt after its budget. Never: decides what an error means.

use std::time::Duration;

use parking_lot::Mutex;
use tidegate_common::random::Random;
use tokio::time::Instant;

/// A rate limit with a burst, on tokio's clock, which the simulation steers.
#[derive(Debug)]
pub(crate) struct RetryTokens {
    interval: Duration,
    burst: Duration,
    /// The time up to which tokens are spoken for; `None` before the first.
    spoken_for: Mutex<Option<Instant>>,
}

impl RetryTokens {
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst, spoken_for: Mutex::new(None) }
    }

    /// Takes a token that may be used after the returned wait; `None`, and none taken, if that is above `most`.
    fn take(&self, most: Duration) -> Option<Duration> {
        let now = Instant::now();
        let mut spoken_for = self.spoken_for.lock();
        let until = spoken_for.unwrap_or(now).max(now);
        let wait = until.duration_since(now).saturating_sub(self.burst);
        if wait > most {
            return None;
        }
        *spoken_for = Some(until + self.interval);
        Some(wait)
    }
}

/// The tries of one operation.
pub(crate) struct Tries {
    started: Instant,
    budget: Duration,
    next: Duration,
    most: Duration,
    pub(crate) count: u32,
}

impl Tries {
    pub(crate) fn new(budget_ms: u64, first_ms: u64, most_ms: u64) -> Self {
        Self {
            started: Instant::now(),
            budget: Duration::from_millis(budget_ms),
            next: Duration::from_millis(first_ms.max(1)),
            most: Duration::from_millis(most_ms.max(1)),
            count: 1,
        }
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until the next try is due. False when that would be past the budget.
    pub(crate) async fn again(&mut self, random: &dyn Random, tokens: &RetryTokens) -> bool {
        let left = self.budget.saturating_sub(self.started.elapsed());
        let step = u64::try_from(self.next.as_micros()).unwrap_or(u64::MAX);
        // Between half and the whole step: spread out, and never at once.
        let backoff = Duration::from_micros(step / 2 + random.below(step / 2 + 1));
        self.next = (self.next * 2).min(self.most);
        if backoff >= left {
            return false;
        }
        let Some(turn) = tokens.take(left - backoff) else { return false };
        tokio::time::sleep(backoff.max(turn)).await;
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use tidegate_common::random::SeededRandom;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_the_burst_tries_come_at_the_refill_rate() {
        let tokens = RetryTokens::new(5, 2);
        let second = Duration::from_secs(1);
        for _ in 0..5 {
            assert_eq!(tokens.take(Duration::ZERO), Some(Duration::ZERO));
        }
        // The sixth finds the burst spoken for up to now, and is the last that need not wait.
        assert_eq!(tokens.take(Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(tokens.take(Duration::ZERO), None);
        assert_eq!(tokens.take(second), Some(second / 2));
        assert_eq!(tokens.take(second), Some(second));
        assert_eq!(tokens.take(second), None);
        tokio::time::advance(second * 60).await;
        assert_eq!(tokens.take(Duration::ZERO), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_stop_within_the_budget_and_are_spread() {
        let random = SeededRandom::new(7);
        let tokens = RetryTokens::new(1000, 1000);
        let mut tries = Tries::new(10_000, 50, 500);
        let mut gaps = Vec::new();
        let mut last = 0;
        while tries.again(&random, &tokens).await {
            gaps.push(tries.elapsed_ms() - last);
            last = tries.elapsed_ms();
        }
        assert!(last <= 10_000 && last > 9_000, "{last}");
        assert!(gaps[0] >= 25 && gaps[0] <= 51 && gaps.iter().all(|g| *g <= 501), "{gaps:?}");
        assert!(gaps.iter().collect::<std::collections::BTreeSet<_>>().len() > gaps.len() / 2, "{gaps:?}");
    }
}
