//! Retention by time and size: which log start a partition may move to.
//!
//! Owns: the decision, a plain function of extents, and the loop that applies it.
//! Invariants: only whole prefixes of committed data go, and only past retention; extents are judged by what their
//! heads say, so a lying timestamp harms only its own partition's producer.
//! Never: deletes bytes: objects go when nothing refers to them and the grace is over.

use std::sync::Arc;
use std::time::Duration;

use tidegate_common::Offset;
use tidegate_s3stream::stream::Extent;

use crate::broker::Broker;

/// Limits of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub retention_ms: Option<i64>,
    pub retention_bytes: Option<u64>,
}

/// The offset up to which extents have expired, `log_start` if none has. `extents` are the committed
/// parts in offset order; what is not committed yet counts for nothing, so that size never takes too much.
#[must_use]
pub fn log_start_after(extents: &[Extent], log_start: Offset, limits: Limits, now_ms: i64) -> Offset {
    let mut total = extents.iter().map(|e| e.bytes).sum::<u64>();
    let mut start = log_start;
    for extent in extents {
        let expired = limits.retention_ms.is_some_and(|ms| extent.max_timestamp < now_ms.saturating_sub(ms));
        // As in Kafka, an extent goes by size only if what stays is still at least the limit.
        let surplus = limits.retention_bytes.is_some_and(|keep| total.saturating_sub(extent.bytes) >= keep);
        if !(expired || surplus) {
            break;
        }
        total -= extent.bytes;
        start = start.max(extent.to);
    }
    start
}

/// Checks every partition at each interval.
pub async fn run(broker: Arc<Broker>) {
    let interval = Duration::from_millis(broker.config.topics.retention_check_interval_ms);
    loop {
        tokio::time::sleep(interval).await;
        for partition in broker.partitions.all() {
            check(&broker, &partition).await;
        }
    }
}

async fn check(broker: &Broker, partition: &crate::partition::Partition) {
    partition.expire_producers(
        broker.clock.wall_ms().saturating_sub(broker.live.load().producer_id_expiration_ms),
    );
    let settings = partition.settings();
    let limits = Limits { retention_ms: settings.retention_ms, retention_bytes: settings.retention_bytes };
    if !settings.cleanup_deletes || (limits.retention_ms.is_none() && limits.retention_bytes.is_none()) {
        return;
    }
    let stream = partition.stream();
    let extents = match stream.extents().await {
        Ok(extents) => extents,
        Err(error) => {
            tracing::warn!(stream = partition.stream_id().0, %error, "retention could not read the partition's extents");
            return;
        }
    };
    let before = partition.view().log_start;
    let to = log_start_after(&extents, before, limits, broker.clock.wall_ms());
    if to > before
        && let Err(error) = broker.advance_log_start(partition, to).await
    {
        tracing::warn!(stream = partition.stream_id().0, %error, "retention could not move the log start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Vec<Extent> {
        (0..4)
            .map(|i| Extent {
                from: Offset(i * 10),
                to: Offset(i * 10 + 10),
                bytes: 100,
                max_timestamp: i * 1000,
            })
            .collect()
    }

    fn limits(retention_ms: i64, retention_bytes: i64) -> Limits {
        Limits {
            retention_ms: (retention_ms >= 0).then_some(retention_ms),
            retention_bytes: u64::try_from(retention_bytes).ok(),
        }
    }

    #[test]
    fn time_takes_whole_expired_prefixes() {
        let after = |ms, now| log_start_after(&extents(), Offset(0), limits(ms, -1), now).0;
        assert_eq!(after(-1, i64::MAX), 0);
        assert_eq!(after(1000, 2001), 20);
        assert_eq!(after(1000, 2000), 10);
        assert_eq!(after(0, 10_000), 40);
    }

    #[test]
    fn an_old_extent_behind_a_young_one_stays() {
        let mut list = extents();
        list[0].max_timestamp = 9_000;
        assert_eq!(log_start_after(&list, Offset(0), limits(1000, -1), 5_000), Offset(0));
    }

    #[test]
    fn size_keeps_at_least_the_limit() {
        let after = |bytes| log_start_after(&extents(), Offset(0), limits(-1, bytes), 0).0;
        assert_eq!(after(400), 0);
        assert_eq!(after(350), 0);
        assert_eq!(after(300), 10);
        assert_eq!(after(0), 40);
    }

    #[test]
    fn the_log_start_never_goes_back() {
        assert_eq!(log_start_after(&extents(), Offset(15), limits(-1, 300), 0), Offset(15));
    }
}
