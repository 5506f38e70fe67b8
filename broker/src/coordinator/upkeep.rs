//! The one task behind all shards: it loads them, does what is due, and keeps their logs short.
//!
//! Owns: when the next look is due. Deadlines are the machine's; how often a failed load, step or rewrite is tried again
//! is decided here.
//! Invariants: one load or step, and one rewrite, per shard at a time; a shard that waits (for the WAL, the bucket, the
//! quorum) holds up no other; loads run [`LOADS_MAX`] at once. On the clock seam, so the simulation decides the order.
//! Never: decides about groups.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tidegate_groups::Progress;
use tokio::sync::Semaphore;

use super::LoadError;
use super::shard::{Effort, Failure, GroupShard, Phase};
use crate::api::errors::Code;
use crate::broker::Broker;

/// Loads at once: each reads its partition in requests of its own.
const LOADS_MAX: usize = 8;
/// The longest sleep: a deadline that nobody announced is seen after it at the latest.
const SLEEP_MS_MAX: i64 = 1_000;
/// Time before a failed load, step or rewrite is tried again, doubled with each failure.
const RETRY_MS: i64 = 100;
const RETRY_MS_MAX: i64 = 10_000;
/// Steps of one round, so that a long expiry lets deadlines of the same shard come between.
const STEPS_MAX: u32 = 64;

type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs until it is dropped.
pub async fn run(broker: Arc<Broker>) {
    let broker = &*broker;
    let loads = Semaphore::new(LOADS_MAX);
    let mut work: FuturesUnordered<Work<'_>> = FuturesUnordered::new();
    loop {
        let coordinator = &broker.coordinator;
        let now_ms = coordinator.now().mono_ms;
        coordinator.planned_ms.store(i64::MAX, Ordering::Release);
        let mut next_ms = now_ms + SLEEP_MS_MAX;
        for shard in coordinator.shards() {
            let due = shard.due(now_ms);
            next_ms = next_ms.min(due.next_ms.max(now_ms + 1));
            if due.upkeep {
                work.push(Box::pin(upkeep(broker, Arc::clone(&shard), &loads)));
            }
            if due.shorten {
                work.push(Box::pin(shorten(broker, shard)));
            }
        }
        coordinator.planned_ms.store(next_ms, Ordering::Release);
        let sleep = Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(1));
        tokio::select! {
            biased;
            Some(()) = work.next(), if !work.is_empty() => {}
            () = coordinator.wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

struct Due {
    upkeep: bool,
    shorten: bool,
    /// When to look again.
    next_ms: i64,
}

impl GroupShard {
    /// What is to be done now; it counts as begun.
    fn due(&self, now_ms: i64) -> Due {
        let mut guarded = self.guarded.lock();
        let deadline_ms = match &guarded.phase {
            Phase::Loading => now_ms,
            Phase::Serving(_) if !guarded.deleted.is_empty() => now_ms,
            Phase::Serving(shard) => shard.next_deadline_ms().unwrap_or(i64::MAX),
            Phase::Closed => i64::MAX,
        };
        let long_ms = if guarded.is_long() { now_ms } else { i64::MAX };
        let (upkeep, upkeep_ms) = guarded.upkeep.begin(deadline_ms, now_ms);
        let (shorten, shorten_ms) = guarded.shortening.begin(long_ms, now_ms);
        Due { upkeep, shorten, next_ms: upkeep_ms.min(shorten_ms) }
    }
}

impl Effort {
    /// Whether to begin now, and when to look again: what runs comes back by itself.
    fn begin(&mut self, due_ms: i64, now_ms: i64) -> (bool, i64) {
        if self.runs {
            return (false, i64::MAX);
        }
        let at_ms = due_ms.max(self.retry_ms);
        self.runs = at_ms <= now_ms;
        (self.runs, if self.runs { i64::MAX } else { at_ms })
    }

    fn end(&mut self, succeeded: bool, now_ms: i64) {
        if succeeded {
            *self = Self::default();
            return;
        }
        self.runs = false;
        self.retry_ms = now_ms + (RETRY_MS << self.failures.min(10)).min(RETRY_MS_MAX);
        self.failures += 1;
    }
}

async fn upkeep(broker: &Broker, shard: Arc<GroupShard>, loads: &Semaphore) {
    let partition = shard.partition().index();
    let outcome = if shard.is_loaded() {
        tick(broker, &shard).await.map_err(|failure| format!("{failure:?}"))
    } else {
        let _one = loads.acquire().await;
        load(broker, &shard).await.map_err(|e| e.to_string())
    };
    if let Err(error) = &outcome {
        tracing::debug!(partition, error, "upkeep of a group coordinator is tried again");
    }
    let now_ms = broker.coordinator.now().mono_ms;
    shard.guarded.lock().upkeep.end(outcome.is_ok(), now_ms);
}

async fn load(broker: &Broker, shard: &GroupShard) -> Result<(), LoadError> {
    let metrics = &broker.coordinator.metrics;
    let started_ns = broker.clock.monotonic_ns();
    let partition = shard.partition().index();
    match shard.load(broker).await {
        Ok(()) => {
            let seconds = broker.clock.monotonic_ns().saturating_sub(started_ns) as f64 / 1e9;
            metrics.load_seconds.observe(seconds);
            let (stats, log_bytes) = shard.stats();
            let groups = stats.map_or(0, |s| s.groups.iter().sum::<usize>());
            if log_bytes > 0 {
                tracing::info!(partition, groups, log_bytes, seconds, "loaded the groups of a partition");
            }
            Ok(())
        }
        Err(LoadError::Gone) => Ok(()),
        Err(error) => {
            metrics.load_failures.inc();
            let damage = matches!(error, LoadError::Record(_) | LoadError::Batch { .. });
            if damage {
                tracing::error!(partition, %error, "the groups of a partition cannot be loaded");
            } else {
                tracing::warn!(partition, %error, "loading the groups of a partition failed and is tried again");
            }
            Err(error)
        }
    }
}

/// Does what is due in a loaded shard.
async fn tick(broker: &Broker, shard: &GroupShard) -> Result<(), Failure> {
    let ended = |failure| match failure {
        // Closed meanwhile: nothing is left to do here.
        Failure::Code(Code::NotCoordinator) => Ok(()),
        other => Err(other),
    };
    if let Err(failure) = shard.remove_deleted(broker).await {
        return ended(failure);
    }
    for _ in 0..STEPS_MAX {
        match shard.step(broker, |machine, now, out| machine.tick(now, out)).await {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => break,
            Err(failure) => return ended(failure),
        }
    }
    Ok(())
}

async fn shorten(broker: &Broker, shard: Arc<GroupShard>) {
    let outcome = shard.shorten(broker).await;
    if let Err(error) = &outcome {
        let partition = shard.partition().index();
        tracing::warn!(partition, error, "the log of a group coordinator could not be shortened yet");
    }
    let now_ms = broker.coordinator.now().mono_ms;
    shard.guarded.lock().shortening.end(outcome.is_ok(), now_ms);
}
