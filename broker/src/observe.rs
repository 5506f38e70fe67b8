//! What is seen from outside: storage's events as metrics, gauges that are sampled, and the admin probe.
//!
//! Invariants: answers from memory, at once. Never: changes what it observes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tidegate_s3stream::budget::Share;
use tidegate_s3stream::io::IoCounts;
use tidegate_s3stream::storage::Observer;
use tidegate_wal::Durability;

use crate::admin::{Health, Probe, Readiness};
use crate::broker::Broker;
use crate::metrics::Metrics;

/// Storage's events, counted and logged once.
pub struct Observed {
    metrics: Metrics,
}

impl Observed {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl Observer for Observed {
    fn uploaded(&self, bytes: u64, objects: usize) {
        self.metrics.uploads.rounds.inc();
        self.metrics.uploads.bytes.inc_by(bytes);
        tracing::debug!(bytes, objects, "upload round committed");
    }

    fn upload_failed(&self, why: &str) {
        self.metrics.uploads.failures.inc();
        tracing::warn!(why, "an upload failed and will be tried again");
    }

    fn fenced(&self) {
        tracing::error!("this incarnation is fenced: nothing more is uploaded");
    }

    fn compaction_failed(&self, why: &str) {
        tracing::warn!(why, "a compaction failed and will be planned anew");
    }

    fn delete_failed(&self, why: &str) {
        tracing::warn!(why, "an object could not be deleted and will be tried again");
    }

    fn block_read(&self, hit: bool) {
        let cache = &self.metrics.block_cache;
        if hit {
            cache.hits.inc()
        } else {
            cache.misses.inc()
        };
    }

    fn damage(&self, what: &str) {
        tracing::error!(what, "stored data is damaged");
    }
}

/// What the admin listener says of the broker.
pub struct Face {
    broker: ArcSwapOption<Broker>,
    state: Mutex<Readiness>,
}

impl Default for Face {
    fn default() -> Self {
        let state = Readiness::Recovering { step: "storage", done: 0, total: 1, unit: "steps" };
        Self { broker: ArcSwapOption::empty(), state: Mutex::new(state) }
    }
}

impl Face {
    pub fn set(&self, state: Readiness) {
        *self.state.lock() = state;
    }

    pub fn serve(&self, broker: &Arc<Broker>) {
        self.broker.store(Some(Arc::clone(broker)));
        self.set(Readiness::Serving);
    }
}

impl Probe for Face {
    fn health(&self) -> Health {
        match self.broker.load().as_ref() {
            Some(broker)
                if matches!(*broker.releaser.wal().durable().borrow(), Durability::Poisoned { .. }) =>
            {
                Health::Failed {
                    why: "the WAL is poisoned: nothing more is acknowledged; restart the process".into(),
                }
            }
            _ => Health::Alive,
        }
    }

    fn readiness(&self) -> Readiness {
        self.state.lock().clone()
    }
}

/// Samples what nobody counts.
pub async fn sample(broker: Arc<Broker>) {
    const EVERY: Duration = Duration::from_secs(1);
    let metrics = broker.metrics.clone();
    let mut before = IoCounts::default();
    loop {
        let now = broker.io.counts();
        metrics.store.requests("put", now.puts - before.puts);
        metrics.store.requests("get", now.gets - before.gets);
        metrics.store.requests("delete", now.deletes - before.deletes);
        metrics.store.retries.inc_by(now.retries - before.retries);
        metrics.store.unavailable.inc_by(now.unavailable - before.unavailable);
        metrics.store.damaged.inc_by(now.damaged - before.damaged);
        before = now;
        let wal = broker.releaser.wal();
        let usage = wal.usage();
        metrics.wal.bytes.set(usage.used_bytes);
        metrics.wal.bytes_max.set(usage.limit_bytes);
        let durability = *wal.durable().borrow();
        metrics.wal.durable_position.set(durability.upto().0);
        metrics.wal.poisoned.set(u64::from(matches!(durability, Durability::Poisoned { .. })));
        let budget = broker.storage.budget();
        metrics.memory.bytes.set(budget.usage().iter().map(|u| u.used_bytes).sum());
        metrics.memory.bytes_max.set(budget.usage().iter().map(|u| u.limit_bytes).sum());
        metrics.memory.log_cache_bytes.set(budget.used(Share::LogCache));
        metrics.block_cache.bytes.set(budget.used(Share::BlockCache));
        let backlog = broker.storage.backlog();
        metrics.uploads.backlog_bytes.set(backlog.bytes);
        metrics.uploads.backlog_age_seconds.set(backlog.oldest_age_ms as f64 / 1000.0);
        metrics.partitions_open.set(broker.partitions.count() as u64);
        let (stats, log_bytes, loading) = broker.coordinator.stats();
        metrics.groups.states(stats.groups);
        metrics.groups.members.set(stats.members as u64);
        metrics.groups.member_bytes.set(stats.member_bytes as u64);
        metrics.groups.offsets.set(stats.offsets as u64);
        metrics.groups.live_bytes.set(stats.live_bytes);
        metrics.groups.log_bytes.set(log_bytes);
        metrics.groups.loading.set(loading as u64);
        metrics.raft.applied_index.set(broker.metadata.image().applied_index());
        metrics.raft.is_leader.set(u64::from(broker.metadata.leader() == Some(broker.metadata.node())));
        tokio::time::sleep(EVERY).await;
    }
}
