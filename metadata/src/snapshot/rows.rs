//! Rows as bytes.
//!
//! Invariants: every row is taken apart by an exhaustive pattern and put together by a literal, so that a field
//! that is added does not compile until it is handled here; a row begins with its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BufMut;
use tidegate_common::codec::Reader;
use tidegate_common::{
    BrokerId, Incarnation, LeaderEpoch, Lineage, ObjectId, Offset, Position, StreamId, TopicId, WalId,
};
use uuid::Uuid;

use super::{Builder, SnapshotError, Table, invalid};
use crate::image::{Counters, Image};
use crate::rows::{
    Broker, BrokerConfigs, Cluster, Endpoint, Garbage, GarbageKey, GarbageKind, Leaf, LineageRow, Owner,
    Partition, Prepared, SetObject, StreamObject, Topic, WalRow, WalState,
};

type Result<T> = std::result::Result<T, SnapshotError>;

/// Writes every table of the image, in the order of their numbers.
pub(super) fn put_tables(image: &Image, out: &mut Builder) {
    let Image {
        applied_index: _, // in the root
        time_ms: _,       // in the root
        cluster,
        counters,
        lineages,
        brokers,
        wals,
        topics,
        streams,
        set_objects,
        stream_objects,
        leaves,
        prepared,
        garbage,
        broker_configs,
        names: _,        // derived
        folded_names: _, // derived
        live: _,         // derived
    } = image;
    out.table(Table::Cluster, cluster.as_deref(), put_cluster);
    out.table(Table::Lineages, lineages.values(), |row, out| put_lineage(row, out));
    out.table(Table::Brokers, brokers.values(), |row, out| put_broker(row, out));
    out.table(Table::Topics, topics.values(), |row, out| put_topic(row, out));
    out.table(Table::Partitions, streams.values(), put_partition);
    out.table(Table::BrokerConfigs, broker_configs.values(), |row, out| put_broker_configs(row, out));
    out.table(Table::Counters, [counters], put_counters);
    out.table(Table::Wals, wals.values(), put_wal);
    out.table(Table::Extents, streams.values(), put_extent);
    out.table(Table::SetObjects, set_objects.values(), put_set_object);
    out.table(Table::StreamObjects, stream_objects.values(), put_stream_object);
    out.table(Table::Leaves, leaves.values(), put_leaf);
    out.table(Table::Prepared, prepared.values(), put_prepared);
    out.table(Table::Garbage, garbage.values(), put_garbage);
}

/// What is spread over two tables.
#[derive(Default)]
pub(super) struct Join {
    topics: BTreeMap<TopicId, Topic>,
    partitions: BTreeMap<StreamId, Partition>,
    extents: usize,
}

impl Join {
    /// Topics with their partitions in place.
    pub fn finish(self) -> Result<(Vec<Topic>, Vec<Partition>)> {
        let Join { mut topics, partitions, extents } = self;
        if extents != partitions.len() {
            return Err(SnapshotError::Inconsistent("partitions and extents are not of the same streams"));
        }
        let mut by_place: Vec<_> = partitions.values().map(|p| (p.topic, p.index, p.stream)).collect();
        by_place.sort_unstable();
        for of_topic in by_place.chunk_by(|a, b| a.0 == b.0) {
            let topic = topics
                .get_mut(&of_topic[0].0)
                .ok_or(SnapshotError::Inconsistent("a partition of a topic that is not there"))?;
            if of_topic.iter().zip(0..).any(|((_, index, _), at)| *index != at) {
                return Err(SnapshotError::Inconsistent("the partitions of a topic have a hole"));
            }
            topic.partitions = of_topic.iter().map(|(_, _, stream)| *stream).collect();
        }
        Ok((topics.into_values().collect(), partitions.into_values().collect()))
    }
}

/// Reads one row of `table` into the image, or aside when its other half is in another table.
pub(super) fn get(table: Table, reader: &mut Reader, image: &mut Image, join: &mut Join) -> Result<()> {
    match table {
        Table::Cluster => image.cluster = Some(Arc::new(get_cluster(reader)?)),
        Table::Lineages => {
            let row = get_lineage(reader)?;
            image.lineages.insert(row.lineage, Arc::new(row));
        }
        Table::Brokers => {
            let row = get_broker(reader)?;
            if !row.fenced {
                image.live.insert(row.incarnation, row.id);
            }
            image.brokers.insert(row.id, Arc::new(row));
        }
        Table::Topics => {
            let row = get_topic(reader)?;
            join.topics.insert(row.id, row);
        }
        Table::Partitions => {
            let row = get_partition(reader)?;
            join.partitions.insert(row.stream, row);
        }
        Table::BrokerConfigs => {
            let row = get_broker_configs(reader)?;
            image.broker_configs.insert(row.broker, Arc::new(row));
        }
        Table::Counters => image.counters = get_counters(reader)?,
        Table::Wals => {
            let row = get_wal(reader)?;
            image.wals.insert(row.id, row);
        }
        Table::Extents => {
            get_extent(reader, join)?;
            join.extents += 1;
        }
        Table::SetObjects => {
            let row = get_set_object(reader)?;
            image.set_objects.insert(row.id, row);
        }
        Table::StreamObjects => {
            let row = get_stream_object(reader)?;
            image.stream_objects.insert((row.stream, row.from), row);
        }
        Table::Leaves => {
            let row = get_leaf(reader)?;
            image.leaves.insert((row.stream, row.from), row);
        }
        Table::Prepared => {
            let row = get_prepared(reader)?;
            image.prepared.insert(row.id, row);
        }
        Table::Garbage => {
            let row = get_garbage(reader)?;
            image.garbage.insert(row.key, row);
        }
    }
    Ok(())
}

fn put_cluster(row: &Cluster, out: &mut Vec<u8>) -> usize {
    let Cluster { id, region_epoch, lineage, features } = row;
    out.put_slice(id.as_bytes());
    out.put_u32(*region_epoch);
    out.put_u32(lineage.0);
    put_len(features.len(), out);
    for (name, level) in features {
        put_str(name, out);
        out.put_u16(*level);
    }
    16
}

fn get_cluster(r: &mut Reader) -> Result<Cluster> {
    let (id, region_epoch, lineage) = (uuid(r)?, r.u32()?, Lineage(r.u32()?));
    let mut features = BTreeMap::new();
    for _ in 0..r.count(6)? {
        features.insert(string(r)?, r.u16()?);
    }
    Ok(Cluster { id, region_epoch, lineage, features })
}

fn put_lineage(row: &LineageRow, out: &mut Vec<u8>) -> usize {
    let LineageRow { lineage, first_object, bucket, prefix } = row;
    out.put_u32(lineage.0);
    out.put_u64(first_object.0);
    put_str(bucket, out);
    put_str(prefix, out);
    4
}

fn get_lineage(r: &mut Reader) -> Result<LineageRow> {
    let (lineage, first_object) = (Lineage(r.u32()?), ObjectId(r.u64()?));
    Ok(LineageRow { lineage, first_object, bucket: string(r)?, prefix: string(r)? })
}

fn put_broker(row: &Broker, out: &mut Vec<u8>) -> usize {
    let Broker { id, incarnation, wal, nonce, endpoints, rack, fenced } = row;
    out.put_i32(id.0);
    out.put_u64(incarnation.0);
    out.put_u64(wal.0);
    out.put_slice(nonce.as_bytes());
    put_len(endpoints.len(), out);
    for Endpoint { listener, host, port } in endpoints {
        put_str(listener, out);
        put_str(host, out);
        out.put_u16(*port);
    }
    out.put_u8(rack.is_some().into());
    rack.iter().for_each(|rack| put_str(rack, out));
    out.put_u8((*fenced).into());
    4
}

fn get_broker(r: &mut Reader) -> Result<Broker> {
    let (id, incarnation, wal) = (BrokerId(r.i32()?), Incarnation(r.u64()?), WalId(r.u64()?));
    let nonce = uuid(r)?;
    let mut endpoints = Vec::new();
    for _ in 0..r.count(10)? {
        endpoints.push(Endpoint { listener: string(r)?, host: string(r)?, port: r.u16()? });
    }
    let rack = if flag(r)? { Some(string(r)?) } else { None };
    Ok(Broker { id, incarnation, wal, nonce, endpoints, rack, fenced: flag(r)? })
}

fn put_topic(row: &Topic, out: &mut Vec<u8>) -> usize {
    let Topic { id, name, replication_factor, config_version, configs, partitions: _ } = row;
    out.put_slice(id.as_bytes());
    put_str(name, out);
    out.put_u16(*replication_factor);
    out.put_u64(*config_version);
    put_map(configs, out);
    16
}

fn get_topic(r: &mut Reader) -> Result<Topic> {
    let (id, name) = (uuid(r)?, string(r)?.into());
    let (replication_factor, config_version) = (r.u16()?, r.u64()?);
    let configs = map(r)?;
    // Partitions are in a table of their own: see `Join::finish`.
    Ok(Topic { id, name, replication_factor, config_version, configs, partitions: Arc::new([]) })
}

fn put_partition(row: &Partition, out: &mut Vec<u8>) -> usize {
    // The last three are storage: see `put_extent`.
    let Partition { stream, topic, index, owner, leader_epoch, log_start: _, so_end: _, committed_end: _ } =
        row;
    out.put_u64(stream.0);
    out.put_slice(topic.as_bytes());
    out.put_u32(*index);
    out.put_u8(owner.is_some().into());
    if let Some(Owner { broker, incarnation }) = owner {
        out.put_i32(broker.0);
        out.put_u64(incarnation.0);
    }
    out.put_i32(leader_epoch.0);
    8
}

fn get_partition(r: &mut Reader) -> Result<Partition> {
    let (stream, topic, index) = (StreamId(r.u64()?), uuid(r)?, r.u32()?);
    let owner = match flag(r)? {
        true => Some(Owner { broker: BrokerId(r.i32()?), incarnation: Incarnation(r.u64()?) }),
        false => None,
    };
    Ok(Partition {
        stream,
        topic,
        index,
        owner,
        leader_epoch: LeaderEpoch(r.i32()?),
        log_start: Offset::ZERO,
        so_end: Offset::ZERO,
        committed_end: Offset::ZERO,
    })
}

fn put_extent(row: &Partition, out: &mut Vec<u8>) -> usize {
    let Partition { stream, log_start, so_end, committed_end, .. } = row;
    out.put_u64(stream.0);
    out.put_i64(log_start.0);
    out.put_i64(so_end.0);
    out.put_i64(committed_end.0);
    8
}

fn get_extent(r: &mut Reader, join: &mut Join) -> Result<()> {
    let stream = StreamId(r.u64()?);
    let row = join
        .partitions
        .get_mut(&stream)
        .ok_or(SnapshotError::Inconsistent("an extent of a partition that is not there"))?;
    row.log_start = Offset(r.i64()?);
    row.so_end = Offset(r.i64()?);
    row.committed_end = Offset(r.i64()?);
    Ok(())
}

fn put_broker_configs(row: &BrokerConfigs, out: &mut Vec<u8>) -> usize {
    let BrokerConfigs { broker, version, configs } = row;
    out.put_u8(broker.is_some().into());
    out.put_i32(broker.map_or(0, |id| id.0));
    out.put_u64(*version);
    put_map(configs, out);
    5
}

fn get_broker_configs(r: &mut Reader) -> Result<BrokerConfigs> {
    let (of_one, id) = (flag(r)?, BrokerId(r.i32()?));
    Ok(BrokerConfigs { broker: of_one.then_some(id), version: r.u64()?, configs: map(r)? })
}

fn put_counters(row: &Counters, out: &mut Vec<u8>) -> usize {
    let Counters { incarnation, wal, stream, object, producer } = row;
    out.put_u64(incarnation.0);
    out.put_u64(wal.0);
    out.put_u64(stream.0);
    out.put_u64(object.0);
    out.put_u64(*producer);
    0
}

fn get_counters(r: &mut Reader) -> Result<Counters> {
    Ok(Counters {
        incarnation: Incarnation(r.u64()?),
        wal: WalId(r.u64()?),
        stream: StreamId(r.u64()?),
        object: ObjectId(r.u64()?),
        producer: r.u64()?,
    })
}

fn put_wal(row: &WalRow, out: &mut Vec<u8>) -> usize {
    let WalRow { id, lineage, broker, incarnation, state, trim } = row;
    out.put_u64(id.0);
    out.put_u32(lineage.0);
    out.put_i32(broker.0);
    out.put_u64(incarnation.0);
    match state {
        WalState::Open => out.put_u8(0),
        WalState::Sealed { end, executor } => {
            out.put_u8(1);
            out.put_u64(end.0);
            out.put_u64(executor.0);
        }
    }
    out.put_u64(trim.0);
    8
}

fn get_wal(r: &mut Reader) -> Result<WalRow> {
    let (id, lineage, broker) = (WalId(r.u64()?), Lineage(r.u32()?), BrokerId(r.i32()?));
    let incarnation = Incarnation(r.u64()?);
    let state = match flag(r)? {
        false => WalState::Open,
        true => WalState::Sealed { end: Position(r.u64()?), executor: Incarnation(r.u64()?) },
    };
    Ok(WalRow { id, lineage, broker, incarnation, state, trim: Position(r.u64()?) })
}

fn put_set_object(row: &SetObject, out: &mut Vec<u8>) -> usize {
    let SetObject { id, lineage, incarnation, size, crc32c, slices_hash } = row;
    out.put_u64(id.0);
    out.put_u32(lineage.0);
    out.put_u64(incarnation.0);
    out.put_u64(*size);
    out.put_u32(*crc32c);
    out.put_slice(slices_hash);
    8
}

fn get_set_object(r: &mut Reader) -> Result<SetObject> {
    Ok(SetObject {
        id: ObjectId(r.u64()?),
        lineage: Lineage(r.u32()?),
        incarnation: Incarnation(r.u64()?),
        size: r.u64()?,
        crc32c: r.u32()?,
        slices_hash: r.array()?,
    })
}

fn put_stream_object(row: &StreamObject, out: &mut Vec<u8>) -> usize {
    let StreamObject { id, lineage, stream, from, to, size, crc32c } = row;
    out.put_u64(stream.0);
    out.put_i64(from.0);
    out.put_i64(to.0);
    out.put_u64(id.0);
    out.put_u32(lineage.0);
    out.put_u64(*size);
    out.put_u32(*crc32c);
    16
}

fn get_stream_object(r: &mut Reader) -> Result<StreamObject> {
    let (stream, from, to) = (StreamId(r.u64()?), Offset(r.i64()?), Offset(r.i64()?));
    let (id, lineage) = (ObjectId(r.u64()?), Lineage(r.u32()?));
    Ok(StreamObject { id, lineage, stream, from, to, size: r.u64()?, crc32c: r.u32()? })
}

fn put_leaf(row: &Leaf, out: &mut Vec<u8>) -> usize {
    let Leaf { id, lineage, stream, from, to, count, size, crc32c } = row;
    out.put_u64(stream.0);
    out.put_i64(from.0);
    out.put_i64(to.0);
    out.put_u64(id.0);
    out.put_u32(lineage.0);
    out.put_u32(*count);
    out.put_u64(*size);
    out.put_u32(*crc32c);
    16
}

fn get_leaf(r: &mut Reader) -> Result<Leaf> {
    let (stream, from, to) = (StreamId(r.u64()?), Offset(r.i64()?), Offset(r.i64()?));
    let (id, lineage, count) = (ObjectId(r.u64()?), Lineage(r.u32()?), r.u32()?);
    Ok(Leaf { id, lineage, stream, from, to, count, size: r.u64()?, crc32c: r.u32()? })
}

fn put_prepared(row: &Prepared, out: &mut Vec<u8>) -> usize {
    let Prepared { id, incarnation, deadline_ms } = row;
    out.put_u64(id.0);
    out.put_u64(incarnation.0);
    out.put_i64(*deadline_ms);
    8
}

fn get_prepared(r: &mut Reader) -> Result<Prepared> {
    Ok(Prepared { id: ObjectId(r.u64()?), incarnation: Incarnation(r.u64()?), deadline_ms: r.i64()? })
}

fn put_garbage(row: &Garbage, out: &mut Vec<u8>) -> usize {
    let Garbage { key: GarbageKey { index, object }, lineage, at_ms, kind } = row;
    out.put_u64(*index);
    out.put_u64(object.0);
    out.put_u32(lineage.0);
    out.put_i64(*at_ms);
    out.put_u8(match kind {
        GarbageKind::StreamSetObject => 0,
        GarbageKind::StreamObject => 1,
        GarbageKind::Leaf => 2,
        GarbageKind::LeafAndListed => 3,
        GarbageKind::Prepared => 4,
    });
    16
}

fn get_garbage(r: &mut Reader) -> Result<Garbage> {
    let key = GarbageKey { index: r.u64()?, object: ObjectId(r.u64()?) };
    let (lineage, at_ms) = (Lineage(r.u32()?), r.i64()?);
    let kind = match r.u8()? {
        0 => GarbageKind::StreamSetObject,
        1 => GarbageKind::StreamObject,
        2 => GarbageKind::Leaf,
        3 => GarbageKind::LeafAndListed,
        4 => GarbageKind::Prepared,
        _ => return Err(invalid(r, "unknown kind of garbage")),
    };
    Ok(Garbage { key, lineage, at_ms, kind })
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    out.put_u32(
        u32::try_from(len).expect("lists and strings came out of commands, which are far below 4 GiB"),
    );
}

fn put_str(text: &str, out: &mut Vec<u8>) {
    put_len(text.len(), out);
    out.put_slice(text.as_bytes());
}

fn put_map(map: &BTreeMap<String, String>, out: &mut Vec<u8>) {
    put_len(map.len(), out);
    for (key, value) in map {
        put_str(key, out);
        put_str(value, out);
    }
}

fn map(r: &mut Reader) -> Result<BTreeMap<String, String>> {
    (0..r.count(8)?).map(|_| Ok((string(r)?, string(r)?))).collect()
}

fn string(r: &mut Reader) -> Result<String> {
    let len = r.count(1)?;
    let bytes = r.slice(len)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(invalid(r, "text that is not UTF-8")),
    }
}

fn uuid(r: &mut Reader) -> Result<Uuid> {
    Ok(Uuid::from_bytes(r.array()?))
}

fn flag(r: &mut Reader) -> Result<bool> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(invalid(r, "a flag is neither 0 nor 1")),
    }
}
