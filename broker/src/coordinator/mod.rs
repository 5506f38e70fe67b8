//! The group coordinator around its state machine (`tidegate-groups`): which groups this broker coordinates, and how a
//! decision becomes durable.
//!
//! Owns: one [`GroupShard`] per partition of `__consumer_offsets` that this incarnation has, from its load to the loss of
//! the partition; the one task that loads, ticks and shortens them all (`upkeep`).
//! Invariants: a group is answered only by a shard that has read its partition to the end; each decision is taken on
//! admitted state under the shard's lock, and its answer leaves when everything that the shard appended before is
//! released, so commits and fetches of offsets are linearizable; a heartbeat or a fetch writes nothing.
//! Never: fails an append (permits come first), or runs a task or a timer per group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tidegate_common::clock::SharedClock;
use tidegate_common::{StreamId, TopicId};
use tidegate_groups::{Config as GroupsConfig, Now, Stats, Token};
use tidegate_metadata::Image;
use tokio::sync::Notify;

use crate::api::errors::Code;
use crate::broker::Broker;
use crate::config::Config;
use crate::internal_topics::{CONSUMER_OFFSETS, partition_of};
use crate::metrics::GroupMetrics;

mod load;
mod shard;
mod shorten;
mod upkeep;

pub use load::{LoadError, check_foreign};
pub use shard::{After, Done, Failure, GroupShard, Parked};
pub use upkeep::run;

/// Most bytes of one step that no request bounds: part of a snapshot, of an expiry, of a deletion.
const STEP_BYTES_MAX: usize = 256 << 10;

/// The WAL takes batches of this size whatever clients may send: one step on a group whose names are as long as can be.
pub const BATCH_BYTES_MIN: usize = 384 << 10;

/// Room in a batch beside the records of the largest call: the head, and what the WAL adds.
const BATCH_RESERVE: usize = 4 << 10;

pub struct Coordinator {
    pub(crate) config: Arc<GroupsConfig>,
    pub(crate) metrics: GroupMetrics,
    clock: SharedClock,
    shards: RwLock<BTreeMap<StreamId, Arc<GroupShard>>>,
    tokens: AtomicU64,
    /// Wakes the upkeep task before `planned_ms`.
    pub(crate) wake: Notify,
    pub(crate) planned_ms: AtomicI64,
    /// Topics by id, as far as the image was followed: what is missing in the next one was deleted.
    topics: Mutex<BTreeMap<TopicId, Arc<str>>>,
}

impl Coordinator {
    #[must_use]
    pub fn new(config: &Config, clock: SharedClock, metrics: GroupMetrics) -> Self {
        let groups = &config.groups;
        let batch = usize::try_from(config.batch_bytes_max()).unwrap_or(usize::MAX);
        let batch = batch.max(BATCH_BYTES_MIN) - BATCH_RESERVE;
        let message = usize::try_from(config.topics.message_bytes_max).unwrap_or(usize::MAX);
        let group_record = message.min(batch / 2).saturating_sub(BATCH_RESERVE).max(1);
        Self {
            config: Arc::new(GroupsConfig {
                session_timeout_min_ms: groups.session_timeout_ms_min,
                session_timeout_max_ms: groups.session_timeout_ms_max,
                initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
                group_max_size: usize::try_from(groups.size_max).unwrap_or(usize::MAX),
                offset_metadata_max: usize::try_from(groups.offset_metadata_bytes_max).unwrap_or(0),
                offsets_retention_ms: groups.offsets_retention_ms,
                offsets_retention_check_interval_ms: i64::try_from(
                    groups.offsets_retention_check_interval_ms,
                )
                .unwrap_or(i64::MAX),
                group_record_bytes_max: group_record,
                step_bytes_max: STEP_BYTES_MAX.min(group_record),
                ..GroupsConfig::default()
            }),
            metrics,
            clock,
            shards: RwLock::default(),
            tokens: AtomicU64::new(1),
            wake: Notify::new(),
            planned_ms: AtomicI64::new(0),
            topics: Mutex::default(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            mono_ms: i64::try_from(self.clock.monotonic_ms()).unwrap_or(i64::MAX),
            wall_ms: self.clock.wall_ms(),
        }
    }

    pub(crate) fn token(&self) -> Token {
        Token(self.tokens.fetch_add(1, Ordering::Relaxed))
    }

    /// The shard of a group.
    ///
    /// # Errors
    /// NOT_COORDINATOR when its partition is not this incarnation's.
    pub fn shard_of(&self, broker: &Broker, group: &str) -> Result<Arc<GroupShard>, Code> {
        let image = broker.metadata.image();
        let topic = image.topic_by_name(CONSUMER_OFFSETS).ok_or(Code::NotCoordinator)?;
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        self.open(broker, &image, topic.id, partition_of(group, partitions)).ok_or(Code::NotCoordinator)
    }

    /// All shards of this incarnation.
    #[must_use]
    pub fn shards(&self) -> Vec<Arc<GroupShard>> {
        self.shards.read().values().cloned().collect()
    }

    /// Brings the shards in line with the applied image, after the partitions are: opens those that came, closes those
    /// that went, and has offsets of deleted topics removed.
    pub fn follow(&self, broker: &Broker, image: &Image) {
        if let Some(topic) = image.topic_by_name(CONSUMER_OFFSETS) {
            for index in 0..i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX) {
                self.open(broker, image, topic.id, index);
            }
        }
        let gone: Vec<Arc<GroupShard>> = {
            let mut shards = self.shards.write();
            let gone = shards.values().filter(|s| !s.partition().is_open()).cloned().collect();
            shards.retain(|_, s| s.partition().is_open());
            gone
        };
        gone.iter().for_each(|shard| shard.close());
        let deleted = self.note_topics(image);
        if !deleted.is_empty() {
            for shard in self.shards() {
                shard.topics_deleted(&deleted);
            }
            self.wake.notify_one();
        }
    }

    /// Whether the topic was followed under this id: else its predecessor of the same name may still have offsets here.
    #[must_use]
    pub fn has_followed(&self, topic: TopicId) -> bool {
        self.topics.lock().contains_key(&topic)
    }

    /// What all shards hold, the bytes of their logs, and how many are not loaded.
    #[must_use]
    pub fn stats(&self) -> (Stats, u64, usize) {
        let (mut sum, mut log_bytes, mut loading) = (Stats::default(), 0, 0);
        for shard in self.shards() {
            let (stats, bytes) = shard.stats();
            log_bytes += bytes;
            let Some(stats) = stats else {
                loading += 1;
                continue;
            };
            for (all, one) in sum.groups.iter_mut().zip(stats.groups) {
                *all += one;
            }
            sum.members += stats.members;
            sum.offsets += stats.offsets;
            sum.member_bytes += stats.member_bytes;
            sum.live_bytes += stats.live_bytes;
        }
        (sum, log_bytes, loading)
    }

    fn open(&self, broker: &Broker, image: &Image, topic: TopicId, index: i32) -> Option<Arc<GroupShard>> {
        let stream = image.partition(topic, index)?.stream;
        if let Some(shard) = self.shards.read().get(&stream) {
            return Some(Arc::clone(shard));
        }
        let partition = broker.partitions.get(image, topic, index).ok()?;
        let mut shards = self.shards.write();
        let shard = shards.entry(stream).or_insert_with(|| Arc::new(GroupShard::new(partition)));
        self.wake.notify_one();
        Some(Arc::clone(shard))
    }

    /// Names of topics that were there and are not any more.
    fn note_topics(&self, image: &Image) -> BTreeSet<Arc<str>> {
        let mut seen = self.topics.lock();
        if seen.len() == image.topic_count() && image.topics().all(|t| seen.contains_key(&t.id)) {
            return BTreeSet::new();
        }
        let now: BTreeMap<TopicId, Arc<str>> = image.topics().map(|t| (t.id, Arc::clone(&t.name))).collect();
        let before = std::mem::replace(&mut *seen, now);
        before.into_iter().filter(|(id, _)| !seen.contains_key(id)).map(|(_, name)| name).collect()
    }
}
