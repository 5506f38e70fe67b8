//! The image: everything the quorum knows, as a value.
//!
//! Owns: the tables and the questions one may ask of them.
//! Invariants: cloning costs O(1) and shares everything; tables are ordered by key, so that walking them is
//! the same on every node; derived indexes agree with their tables.
//! Never: changes except through `replay.rs`; reads a clock.

use std::sync::Arc;

use imbl::OrdMap;
use tidegate_common::{BrokerId, Incarnation, Lineage, ObjectId, Offset, StreamId, TopicId, WalId, mutant};
use uuid::Uuid;

use crate::command::FIRST_LINEAGE;
use crate::rows::{
    Broker, BrokerConfigs, Cluster, Garbage, GarbageKey, Leaf, LineageRow, Partition, Prepared, SetObject,
    StreamObject, Topic, WalRow,
};

/// The state after one Raft index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The last Raft index that is part of it.
    pub(crate) applied_index: u64,
    /// The state's time: the greatest `Tick` so far, milliseconds since the Unix epoch.
    pub(crate) time_ms: i64,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) counters: Counters,
    pub(crate) lineages: OrdMap<Lineage, Arc<LineageRow>>,
    pub(crate) brokers: OrdMap<BrokerId, Arc<Broker>>,
    pub(crate) wals: OrdMap<WalId, WalRow>,
    pub(crate) topics: OrdMap<TopicId, Arc<Topic>>,
    pub(crate) streams: OrdMap<StreamId, Partition>,
    pub(crate) set_objects: OrdMap<ObjectId, SetObject>,
    pub(crate) stream_objects: OrdMap<(StreamId, Offset), StreamObject>,
    pub(crate) leaves: OrdMap<(StreamId, Offset), Leaf>,
    pub(crate) prepared: OrdMap<ObjectId, Prepared>,
    pub(crate) garbage: OrdMap<GarbageKey, Garbage>,
    pub(crate) broker_configs: OrdMap<Option<BrokerId>, Arc<BrokerConfigs>>,
    /// Derived from `topics`: ids by name.
    pub(crate) names: OrdMap<Arc<str>, TopicId>,
    /// Derived from `topics`: names that hold '.' or '_', by their form with '.' only as '_'.
    pub(crate) folded_names: OrdMap<Arc<str>, Arc<str>>,
    /// Derived from `brokers`: the incarnations that are not fenced.
    pub(crate) live: OrdMap<Incarnation, BrokerId>,
}

/// The next number of each space. None is ever handed out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    pub incarnation: Incarnation,
    pub wal: WalId,
    pub stream: StreamId,
    pub object: ObjectId,
    /// The low 42 bits of the next producer id.
    pub producer: u64,
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// The state before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self {
            applied_index: 0,
            time_ms: 0,
            cluster: None,
            counters: Counters {
                incarnation: Incarnation(1),
                wal: WalId(1),
                stream: StreamId(1),
                object: ObjectId(1),
                producer: 0,
            },
            lineages: OrdMap::new(),
            brokers: OrdMap::new(),
            wals: OrdMap::new(),
            topics: OrdMap::new(),
            streams: OrdMap::new(),
            set_objects: OrdMap::new(),
            stream_objects: OrdMap::new(),
            leaves: OrdMap::new(),
            prepared: OrdMap::new(),
            garbage: OrdMap::new(),
            broker_configs: OrdMap::new(),
            names: OrdMap::new(),
            folded_names: OrdMap::new(),
            live: OrdMap::new(),
        }
    }

    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    #[must_use]
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_deref()
    }

    #[must_use]
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.cluster.as_ref().map(|c| c.id)
    }

    /// Where new objects and WALs are written.
    #[must_use]
    pub fn lineage(&self) -> Option<&LineageRow> {
        self.lineage_row(self.cluster.as_ref()?.lineage)
    }

    #[must_use]
    pub fn lineage_row(&self, lineage: Lineage) -> Option<&LineageRow> {
        self.lineages.get(&lineage).map(|row| &**row)
    }

    /// The lineage under which an object id was handed out.
    #[must_use]
    pub fn lineage_of(&self, object: ObjectId) -> Lineage {
        let newest = self.lineages.values().rev().find(|row| row.first_object <= object);
        newest.map_or(FIRST_LINEAGE, |row| row.lineage)
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id).map(|b| &**b)
    }

    /// All brokers ever registered, fenced ones too, in id order.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().map(|b| &**b)
    }

    /// The dynamic configs of one broker, or of all of them by default (`None`), if they were ever altered.
    #[must_use]
    pub fn broker_configs(&self, broker: Option<BrokerId>) -> Option<&BrokerConfigs> {
        self.broker_configs.get(&broker).map(|row| &**row)
    }

    /// Whether commands of this incarnation are still accepted.
    #[must_use]
    pub fn is_live(&self, incarnation: Incarnation) -> bool {
        self.live.contains_key(&incarnation)
    }

    #[must_use]
    pub fn wal(&self, id: WalId) -> Option<&WalRow> {
        self.wals.get(&id)
    }

    pub fn wals(&self) -> impl Iterator<Item = &WalRow> {
        self.wals.values()
    }

    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<&Topic> {
        self.topic_by_id(*self.names.get(name)?)
    }

    /// A topic whose name differs from this one only in '.' and '_', if there is one beside it.
    #[must_use]
    pub fn colliding_topic(&self, name: &str) -> Option<&str> {
        let folded = crate::decide::folded_name(name)?;
        self.folded_names
            .get(folded.as_str())
            .map(|existing| &**existing)
            .filter(|existing| *existing != name)
    }

    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id).map(|t| &**t)
    }

    /// In name order.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().filter_map(|id| self.topic_by_id(*id))
    }

    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    #[must_use]
    pub fn partition(&self, topic: TopicId, index: i32) -> Option<&Partition> {
        let index = usize::try_from(index).ok()?;
        self.stream(*self.topics.get(&topic)?.partitions.get(index)?)
    }

    /// The partitions of one topic, by index.
    pub fn partitions(&self, topic: TopicId) -> impl Iterator<Item = &Partition> {
        let streams = self.topics.get(&topic).map_or(&[][..], |t| &t.partitions);
        streams.iter().filter_map(|s| self.stream(*s))
    }

    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<&Partition> {
        self.streams.get(&id)
    }

    /// In stream id order.
    pub fn streams(&self) -> impl Iterator<Item = &Partition> {
        self.streams.values()
    }

    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    #[must_use]
    pub fn set_object(&self, id: ObjectId) -> Option<&SetObject> {
        self.set_objects.get(&id)
    }

    /// Live stream set objects in id order, which is publish order.
    pub fn set_objects(&self) -> impl DoubleEndedIterator<Item = &SetObject> {
        self.set_objects.values()
    }

    /// Stream objects that hold `from` or later offsets, in offset order. Those that a leaf lists are not here.
    pub fn stream_objects(&self, stream: StreamId, from: Offset) -> impl Iterator<Item = &StreamObject> {
        let first = match self.stream_objects.get_prev(&(stream, from)) {
            Some((&(s, at), object)) if s == stream && object.to > from => at,
            _ => from,
        };
        self.stream_objects.range((stream, first)..=(stream, Offset(i64::MAX))).map(|(_, object)| object)
    }

    /// The leaves of a stream, in offset order.
    pub fn leaves(&self, stream: StreamId) -> impl Iterator<Item = &Leaf> {
        self.leaves.range((stream, Offset(i64::MIN))..=(stream, Offset(i64::MAX))).map(|(_, leaf)| leaf)
    }

    /// Leaves that hold `from` or later offsets, in offset order.
    pub fn leaves_from(&self, stream: StreamId, from: Offset) -> impl Iterator<Item = &Leaf> {
        let first = match self.leaves.get_prev(&(stream, from)) {
            Some((&(s, at), leaf)) if s == stream && leaf.to > from => at,
            _ => from,
        };
        self.leaves.range((stream, first)..=(stream, Offset(i64::MAX))).map(|(_, leaf)| leaf)
    }

    #[must_use]
    pub fn prepared(&self, id: ObjectId) -> Option<&Prepared> {
        self.prepared.get(&id)
    }

    pub fn all_prepared(&self) -> impl Iterator<Item = &Prepared> {
        self.prepared.values()
    }

    /// What left the state and is not confirmed deleted, oldest first.
    pub fn garbage(&self) -> impl Iterator<Item = &Garbage> {
        self.garbage.values()
    }

    /// The part of `garbage` that left at least `grace_ms` before `now_ms`.
    pub fn garbage_due(&self, now_ms: i64, grace_ms: u64) -> impl Iterator<Item = &Garbage> {
        let grace_ms = if mutant::on("delete-without-grace") { 0 } else { grace_ms };
        let grace_ms = i64::try_from(grace_ms).unwrap_or(i64::MAX);
        // Time is monotone in index order, so the due ones come first.
        self.garbage.values().take_while(move |g| g.at_ms.saturating_add(grace_ms) <= now_ms)
    }
}
