//! The partitions that this incarnation has open.
//!
//! Owns: stream id → open partition, and what recovery found in sealed WALs until the partition is opened.
//! Invariants: a partition is opened at most once per incarnation, on first use, from the applied image; opening
//! reads nothing. A partition that the image gives to another incarnation is never served.
//! Never: proposes to the quorum.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tidegate_common::{BatchHead, BrokerId, Incarnation, Offset, StreamId, TopicId, mutant};
use tidegate_metadata::Image;
use tidegate_metadata::rows::Topic;
use tidegate_s3stream::storage::Storage;

use crate::broker_config::LiveConfig;
use crate::internal_topics::is_internal;
use crate::partition::Partition;
use crate::partition::state::PartitionState;
use crate::topic_config::TopicSettings;

/// Why a partition is not served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No such topic or partition.
    Unknown,
    /// Another broker, or nobody yet, owns it.
    NotOwner,
}

/// The records of one stream that a sealed WAL holds beyond the committed end.
#[derive(Debug, Default, Clone)]
pub struct Tail {
    pub end: Offset,
    pub heads: Vec<BatchHead>,
}

pub struct Partitions {
    node: BrokerId,
    incarnation: Incarnation,
    config: Arc<LiveConfig>,
    storage: Arc<Storage>,
    open: RwLock<BTreeMap<StreamId, Arc<Partition>>>,
    tails: Mutex<BTreeMap<StreamId, Tail>>,
}

impl Partitions {
    #[must_use]
    pub fn new(
        owner: (BrokerId, Incarnation),
        config: Arc<LiveConfig>,
        storage: Arc<Storage>,
        tails: BTreeMap<StreamId, Tail>,
    ) -> Self {
        let (node, incarnation) = owner;
        Self { node, incarnation, config, storage, open: RwLock::default(), tails: Mutex::new(tails) }
    }

    /// The open partition, opened now if this is its first use.
    ///
    /// # Errors
    /// [`Missing`] when the image does not give it to this incarnation.
    pub fn get(&self, image: &Image, topic: TopicId, index: i32) -> Result<Arc<Partition>, Missing> {
        let row = image.partition(topic, index).ok_or(Missing::Unknown)?;
        match row.owner {
            Some(owner) if owner.broker == self.node && owner.incarnation == self.incarnation => {}
            _ => return Err(Missing::NotOwner),
        }
        if let Some(open) = self.open.read().get(&row.stream) {
            return Ok(Arc::clone(open));
        }
        let topic_row = image.topic_by_id(topic).ok_or(Missing::Unknown)?;
        let mut open = self.open.write();
        let partition = open.entry(row.stream).or_insert_with(|| {
            let tail = self.tails.lock().remove(&row.stream).unwrap_or_default();
            let adopted = if mutant::on("tail-not-adopted") { row.committed_end } else { tail.end };
            let end = row.committed_end.max(adopted);
            let state = PartitionState::open(row.leader_epoch, row.log_start, end);
            let stream = self.storage.open_stream(row.stream);
            Partition::new((topic, index), stream, state, tail.heads, self.settings(topic_row))
        });
        Ok(Arc::clone(partition))
    }

    /// The partition if it is open already.
    #[must_use]
    pub fn get_open(&self, stream: StreamId) -> Option<Arc<Partition>> {
        self.open.read().get(&stream).cloned()
    }

    /// Follows the image: closes what is deleted or owned by another, passes on changed topic configs.
    pub fn follow(&self, image: &Image, configs_changed: bool) {
        let open: Vec<(StreamId, Arc<Partition>)> =
            self.open.read().iter().map(|(s, p)| (*s, Arc::clone(p))).collect();
        for (stream, partition) in open {
            match image.stream(stream) {
                Some(row) if row.owner.is_some_and(|o| o.incarnation == self.incarnation) => {
                    partition.trim(row.log_start);
                    if configs_changed && let Some(topic) = image.topic_by_id(row.topic) {
                        partition.set_settings(self.settings(topic));
                    }
                }
                _ => {
                    partition.close();
                    self.open.write().remove(&stream);
                    self.storage.close_stream(stream);
                }
            }
        }
    }

    #[must_use]
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.open.read().values().cloned().collect()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.open.read().len()
    }

    fn settings(&self, topic: &Topic) -> TopicSettings {
        let settings = TopicSettings::resolve(&topic.configs, &self.config.load());
        // What is live in an internal topic only its coordinator knows, which keeps it short.
        TopicSettings { cleanup_deletes: settings.cleanup_deletes && !is_internal(&topic.name), ..settings }
    }
}
