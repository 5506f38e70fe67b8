//! Records into the image: the only way that state changes.
//!
//! Invariants: total and deterministic, so that every node has the same image at the same index; a record about
//! a row that is not there changes nothing, since `decide.rs` never makes one.
//! Never: decides, refuses, reads a clock.

use std::sync::Arc;

use tidegate_common::{Lineage, ObjectId, Offset, StreamId, TopicId};

use crate::command::Command;
use crate::decide;
use crate::image::{Counters, Image};
use crate::record::Record;
use crate::response::Outcome;
use crate::rows::{BrokerConfigs, Garbage, GarbageKey, GarbageKind, Prepared, Topic, WalState};

/// Decides and replays the commands of the Raft entry at `index`, one after the other.
pub fn apply(image: &mut Image, index: u64, commands: &[Command]) -> Vec<Outcome> {
    let outcomes = commands
        .iter()
        .map(|command| {
            let (records, outcome) = decide::handle(command, image);
            assert!(outcome.is_ok() || records.is_empty(), "a refusal changes nothing");
            records.iter().for_each(|record| replay(image, index, record));
            outcome
        })
        .collect();
    image.applied_index = index;
    outcomes
}

/// Makes one record of the entry at `index` true.
pub fn replay(image: &mut Image, index: u64, record: &Record) {
    match record {
        Record::ClusterInitialized { cluster, lineage } => {
            image.lineages.insert(lineage.lineage, Arc::new(lineage.clone()));
            image.cluster = Some(Arc::new(cluster.clone()));
        }
        Record::TimeAdvanced { now_ms } => image.time_ms = image.time_ms.max(*now_ms),
        Record::BrokerRegistered(broker) => {
            if let Some(before) = image.brokers.insert(broker.id, Arc::new(broker.clone())) {
                image.live.remove(&before.incarnation);
            }
            image.live.insert(broker.incarnation, broker.id);
            let Counters { incarnation, .. } = &mut image.counters;
            incarnation.0 = incarnation.0.max(broker.incarnation.0 + 1);
        }
        Record::BrokerFenced { broker } => {
            if let Some(row) = image.brokers.get_mut(broker) {
                image.live.remove(&row.incarnation);
                Arc::make_mut(row).fenced = true;
            }
        }
        Record::WalCreated(wal) => {
            image.wals.insert(wal.id, *wal);
            image.counters.wal.0 = image.counters.wal.0.max(wal.id.0 + 1);
        }
        Record::WalSealed { wal, end, executor } => {
            if let Some(row) = image.wals.get_mut(wal) {
                row.state = WalState::Sealed { end: *end, executor: *executor };
            }
        }
        Record::WalTrimmed { wal, below } => {
            if let Some(row) = image.wals.get_mut(wal) {
                row.trim = row.trim.max(*below);
            }
        }
        Record::WalDeleted { wal } => {
            image.wals.remove(wal);
        }
        Record::TopicCreated { id, name, replication_factor, configs } => {
            let topic = Topic {
                id: *id,
                name: name.as_str().into(),
                replication_factor: *replication_factor,
                config_version: 0,
                configs: configs.clone(),
                partitions: Arc::new([]),
            };
            add_topic(image, Arc::new(topic));
        }
        Record::PartitionsAdded { topic, partitions } => {
            let Some(row) = image.topics.get_mut(topic) else { return };
            let row = Arc::make_mut(row);
            row.partitions =
                row.partitions.iter().copied().chain(partitions.iter().map(|p| p.stream)).collect();
            for partition in partitions {
                image.streams.insert(partition.stream, *partition);
                image.counters.stream.0 = image.counters.stream.0.max(partition.stream.0 + 1);
            }
        }
        Record::TopicDeleted { topic } => delete_topic(image, index, *topic),
        Record::ConfigsReplaced { topic, configs } => {
            if let Some(row) = image.topics.get_mut(topic) {
                let row = Arc::make_mut(row);
                row.configs.clone_from(configs);
                row.config_version += 1;
            }
        }
        Record::PartitionOpened { stream, owner, leader_epoch } => {
            if let Some(row) = image.streams.get_mut(stream) {
                row.owner = Some(*owner);
                row.leader_epoch = *leader_epoch;
            }
        }
        Record::LogStartAdvanced { stream, to } => advance_log_start(image, index, *stream, *to),
        Record::CommittedEndAdvanced { stream, to } => {
            if let Some(row) = image.streams.get_mut(stream) {
                row.committed_end = row.committed_end.max(*to);
            }
        }
        Record::GarbageDeleted { key } => {
            image.garbage.remove(key);
        }
        Record::ProducerIdsAllocated { count } => image.counters.producer += u64::from(*count),
        Record::BrokerConfigsReplaced { broker, configs } => {
            let version = image.broker_configs(*broker).map_or(0, |row| row.version) + 1;
            let row = BrokerConfigs { broker: *broker, version, configs: configs.clone() };
            image.broker_configs.insert(*broker, Arc::new(row));
        }
        _ => replay_object(image, index, record),
    }
}

fn replay_object(image: &mut Image, index: u64, record: &Record) {
    match record {
        Record::ObjectsPrepared { first, count, incarnation, deadline_ms } => {
            for id in first.0..first.0 + u64::from(*count) {
                let row = Prepared { id: ObjectId(id), incarnation: *incarnation, deadline_ms: *deadline_ms };
                image.prepared.insert(row.id, row);
            }
            image.counters.object.0 = image.counters.object.0.max(first.0 + u64::from(*count));
        }
        Record::PreparedDropped { id } => {
            if image.prepared.remove(id).is_some() {
                let lineage = image.lineage_of(*id);
                discard(image, index, *id, lineage, GarbageKind::Prepared);
            }
        }
        Record::PreparedListed { id } => {
            image.prepared.remove(id);
        }
        Record::SetObjectAdded(object) => {
            image.prepared.remove(&object.id);
            image.set_objects.insert(object.id, *object);
        }
        Record::SetObjectRetired { id } => {
            if let Some(row) = image.set_objects.remove(id) {
                discard(image, index, *id, row.lineage, GarbageKind::StreamSetObject);
            }
        }
        Record::StreamObjectAdded(object) => {
            image.prepared.remove(&object.id);
            image.stream_objects.insert((object.stream, object.from), *object);
            advance_so_end(image, object.stream);
        }
        Record::StreamObjectRetired { stream, from } => {
            if let Some(row) = image.stream_objects.remove(&(*stream, *from)) {
                discard(image, index, row.id, row.lineage, GarbageKind::StreamObject);
            }
        }
        Record::StreamObjectListed { stream, from } => {
            image.stream_objects.remove(&(*stream, *from));
        }
        Record::LeafAdded(leaf) => {
            image.prepared.remove(&leaf.id);
            image.leaves.insert((leaf.stream, leaf.from), *leaf);
        }
        Record::LeafRetired { stream, from } => {
            if let Some(row) = image.leaves.remove(&(*stream, *from)) {
                discard(image, index, row.id, row.lineage, GarbageKind::Leaf);
            }
        }
        Record::ListedRetired { id } => {
            let lineage = image.lineage_of(*id);
            discard(image, index, *id, lineage, GarbageKind::StreamObject);
        }
        _ => unreachable!("every other record is replayed by the caller"),
    }
}

/// Adds a topic with its derived indexes: from a record, or from a snapshot.
pub(crate) fn add_topic(image: &mut Image, topic: Arc<Topic>) {
    image.names.insert(topic.name.clone(), topic.id);
    if let Some(folded) = decide::folded_name(&topic.name) {
        image.folded_names.insert(folded.into(), topic.name.clone());
    }
    image.topics.insert(topic.id, topic);
}

fn delete_topic(image: &mut Image, index: u64, topic: TopicId) {
    let Some(row) = image.topics.remove(&topic) else { return };
    image.names.remove(&row.name);
    if let Some(folded) = decide::folded_name(&row.name) {
        image.folded_names.remove(folded.as_str());
    }
    for stream in row.partitions.iter() {
        retire_below(image, index, *stream, Offset(i64::MAX));
        image.streams.remove(stream);
    }
}

fn advance_log_start(image: &mut Image, index: u64, stream: StreamId, to: Offset) {
    let Some(row) = image.streams.get_mut(&stream) else { return };
    row.log_start = row.log_start.max(to);
    row.so_end = row.so_end.max(row.log_start);
    row.committed_end = row.committed_end.max(row.log_start);
    retire_below(image, index, stream, to);
    // The log start may lie inside an object above a slice.
    advance_so_end(image, stream);
}

/// Retires the stream's objects and leaves that hold nothing at or above `below`.
fn retire_below(image: &mut Image, index: u64, stream: StreamId, below: Offset) {
    let range = (stream, Offset(i64::MIN))..=(stream, below);
    let objects: Vec<_> = image
        .stream_objects
        .range(range.clone())
        .take_while(|(_, row)| row.to <= below)
        .map(|(_, row)| *row)
        .collect();
    for row in objects {
        image.stream_objects.remove(&(stream, row.from));
        discard(image, index, row.id, row.lineage, GarbageKind::StreamObject);
    }
    let leaves: Vec<_> =
        image.leaves.range(range).take_while(|(_, row)| row.to <= below).map(|(_, row)| *row).collect();
    for row in leaves {
        image.leaves.remove(&(stream, row.from));
        discard(image, index, row.id, row.lineage, GarbageKind::LeafAndListed);
    }
}

fn advance_so_end(image: &mut Image, stream: StreamId) {
    let Some(mut so_end) = image.stream(stream).map(|row| row.so_end) else { return };
    while let Some((&(of, _), object)) = image.stream_objects.get_prev(&(stream, so_end))
        && of == stream
        && object.to > so_end
    {
        so_end = object.to;
    }
    if let Some(row) = image.streams.get_mut(&stream) {
        row.so_end = so_end;
        row.committed_end = row.committed_end.max(so_end);
    }
}

fn discard(image: &mut Image, index: u64, object: ObjectId, lineage: Lineage, kind: GarbageKind) {
    let key = GarbageKey { index, object };
    image.garbage.insert(key, Garbage { key, lineage, at_ms: image.time_ms, kind });
}
