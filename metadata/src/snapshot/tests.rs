//! Round trips of images whose every field is filled, and of bytes that are not snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{
    BrokerId, Incarnation, LeaderEpoch, Lineage, ObjectId, Offset, Position, StreamId, WalId,
};

use super::*;
use crate::image::Counters;
use crate::rows::{
    Broker, BrokerConfigs, Cluster, Endpoint, Garbage, GarbageKey, GarbageKind, Leaf, LineageRow, Owner,
    Partition, Prepared, SetObject, StreamObject, Topic, WalRow, WalState,
};

/// Draws rows; literals make a new field fail to compile here.
struct Fill(SeededRandom);

impl Fill {
    fn u64(&self) -> u64 {
        self.0.next_u64()
    }
    fn u32(&self) -> u32 {
        (self.u64() >> 32) as u32
    }
    fn i64(&self) -> i64 {
        self.u64().cast_signed()
    }
    fn i32(&self) -> i32 {
        self.u32().cast_signed()
    }
    fn flag(&self) -> bool {
        self.0.below(2) == 1
    }
    fn text(&self) -> String {
        let len = self.0.below(40);
        (0..len).map(|_| char::from_u32(0x20 + self.u32() % 0x2000).unwrap_or('~')).collect()
    }
    fn map<V>(&self, value: impl Fn() -> V) -> BTreeMap<String, V> {
        (0..self.0.below(4)).map(|_| (self.text(), value())).collect()
    }
    fn offset(&self) -> Offset {
        Offset(self.i64())
    }
    fn hash(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.u64().to_be_bytes());
        out[8..].copy_from_slice(&self.u64().to_be_bytes());
        out
    }

    fn image(&self, rows: u64) -> Image {
        let mut image = Image::new();
        image.applied_index = self.u64();
        image.time_ms = self.i64();
        image.cluster = Some(Arc::new(Cluster {
            id: self.0.uuid(),
            region_epoch: self.u32(),
            lineage: Lineage(self.u32()),
            features: self.map(|| self.u32() as u16),
        }));
        image.counters = Counters {
            incarnation: Incarnation(self.u64()),
            wal: WalId(self.u64()),
            stream: StreamId(self.u64()),
            object: ObjectId(self.u64()),
            producer: self.u64(),
        };
        for _ in 0..rows {
            self.rows(&mut image);
        }
        for _ in 0..rows {
            self.topic(&mut image);
        }
        image
    }

    fn rows(&self, image: &mut Image) {
        let lineage = Lineage(self.u32());
        let row = LineageRow {
            lineage,
            first_object: ObjectId(self.u64()),
            bucket: self.text(),
            prefix: self.text(),
        };
        image.lineages.insert(lineage, Arc::new(row));
        let endpoint = || Endpoint { listener: self.text(), host: self.text(), port: self.u32() as u16 };
        let broker = Broker {
            id: BrokerId(self.i32()),
            incarnation: Incarnation(self.u64()),
            wal: WalId(self.u64()),
            nonce: self.0.uuid(),
            endpoints: (0..self.0.below(4)).map(|_| endpoint()).collect(),
            rack: self.flag().then(|| self.text()),
            fenced: self.flag(),
        };
        if !broker.fenced {
            image.live.insert(broker.incarnation, broker.id);
        }
        image.brokers.insert(broker.id, Arc::new(broker));
        let configs = BrokerConfigs {
            broker: self.flag().then(|| BrokerId(self.i32())),
            version: self.u64(),
            configs: self.map(|| self.text()),
        };
        image.broker_configs.insert(configs.broker, Arc::new(configs));
        let wal = WalRow {
            id: WalId(self.u64()),
            lineage: Lineage(self.u32()),
            broker: BrokerId(self.i32()),
            incarnation: Incarnation(self.u64()),
            state: match self.flag() {
                true => WalState::Open,
                false => WalState::Sealed { end: Position(self.u64()), executor: Incarnation(self.u64()) },
            },
            trim: Position(self.u64()),
        };
        image.wals.insert(wal.id, wal);
        let set_object = SetObject {
            id: ObjectId(self.u64()),
            lineage: Lineage(self.u32()),
            incarnation: Incarnation(self.u64()),
            size: self.u64(),
            crc32c: self.u32(),
            slices_hash: self.hash(),
        };
        image.set_objects.insert(set_object.id, set_object);
        let object = StreamObject {
            id: ObjectId(self.u64()),
            lineage: Lineage(self.u32()),
            stream: StreamId(self.u64()),
            from: self.offset(),
            to: self.offset(),
            size: self.u64(),
            crc32c: self.u32(),
        };
        image.stream_objects.insert((object.stream, object.from), object);
        let leaf = Leaf {
            id: ObjectId(self.u64()),
            lineage: Lineage(self.u32()),
            stream: StreamId(self.u64()),
            from: self.offset(),
            to: self.offset(),
            count: self.u32(),
            size: self.u64(),
            crc32c: self.u32(),
        };
        image.leaves.insert((leaf.stream, leaf.from), leaf);
        let prepared = Prepared {
            id: ObjectId(self.u64()),
            incarnation: Incarnation(self.u64()),
            deadline_ms: self.i64(),
        };
        image.prepared.insert(prepared.id, prepared);
        let kinds = [
            GarbageKind::StreamSetObject,
            GarbageKind::StreamObject,
            GarbageKind::Leaf,
            GarbageKind::LeafAndListed,
            GarbageKind::Prepared,
        ];
        let garbage = Garbage {
            key: GarbageKey { index: self.u64(), object: ObjectId(self.u64()) },
            lineage: Lineage(self.u32()),
            at_ms: self.i64(),
            kind: kinds[self.0.below(5) as usize],
        };
        image.garbage.insert(garbage.key, garbage);
    }

    fn topic(&self, image: &mut Image) {
        let id = self.0.uuid();
        let partitions: Vec<_> = (0..self.0.below(5))
            .map(|index| Partition {
                stream: StreamId(self.u64()),
                topic: id,
                index: index as u32,
                owner: self
                    .flag()
                    .then(|| Owner { broker: BrokerId(self.i32()), incarnation: Incarnation(self.u64()) }),
                leader_epoch: LeaderEpoch(self.i32()),
                log_start: self.offset(),
                so_end: self.offset(),
                committed_end: self.offset(),
            })
            .collect();
        let topic = Topic {
            id,
            name: format!("{}.{}", self.text(), image.topics.len()).into(),
            replication_factor: self.u32() as u16,
            config_version: self.u64(),
            configs: self.map(|| self.text()),
            partitions: partitions.iter().map(|p| p.stream).collect(),
        };
        crate::replay::add_topic(image, Arc::new(topic));
        partitions.into_iter().for_each(|p| {
            image.streams.insert(p.stream, p);
        });
    }
}

fn restore(snapshot: &Snapshot) -> Result<Image, SnapshotError> {
    let mut chunks = snapshot.chunks.iter();
    decode(&snapshot.root, |_| chunks.next().cloned())
}

#[test]
fn an_image_with_every_field_filled_comes_back_equal() {
    for seed in 0..40 {
        let image = Fill(SeededRandom::new(seed)).image(1 + seed * 7);
        let snapshot = encode(&image);
        assert_eq!(restore(&snapshot).as_ref(), Ok(&image), "seed {seed}");
        assert_eq!(encode(&restore(&snapshot).expect("restored above")), snapshot, "seed {seed}");
    }
    assert_eq!(restore(&encode(&Image::new())), Ok(Image::new()));
}

#[test]
fn every_table_is_written_once_in_order() {
    let snapshot = encode(&Fill(SeededRandom::new(1)).image(3));
    let mut tables: Vec<Table> =
        decode_root(&snapshot.root).expect("a root").chunks.iter().map(|chunk| chunk.table).collect();
    tables.dedup();
    assert_eq!(tables, Table::ALL);
    assert!(Table::Partitions.is_logical() && !Table::Extents.is_logical());
}

#[test]
fn changing_one_row_changes_one_chunk_of_many() {
    let mut image = Fill(SeededRandom::new(2)).image(5000);
    let before = encode(&image);
    let id = *image.set_objects.keys().nth(2500).expect("5000 rows");
    image.set_objects.remove(&id);
    let after = encode(&image);
    let kept: std::collections::BTreeSet<_> = before.chunks.iter().collect();
    let changed = after.chunks.iter().filter(|chunk| !kept.contains(chunk)).count();
    assert!(before.chunks.len() > 60, "{}", before.chunks.len());
    assert!(changed <= 1, "{changed}");
}

#[test]
fn no_damaged_byte_is_taken_and_none_panics() {
    let snapshot = encode(&Fill(SeededRandom::new(3)).image(4));
    for at in 0..snapshot.root.len() {
        let mut damaged = snapshot.clone();
        let mut root = damaged.root.to_vec();
        root[at] ^= 0x41;
        damaged.root = root.into();
        // A root has no checksum of its own: whoever names it holds its hash. Its numbers must still be safe.
        let _ = restore(&damaged);
        let mut short = snapshot.clone();
        short.root = snapshot.root.slice(..at);
        assert!(restore(&short).is_err());
    }
    for chunk in 0..snapshot.chunks.len() {
        for at in 0..snapshot.chunks[chunk].len() {
            let mut damaged = snapshot.clone();
            let mut bytes = damaged.chunks[chunk].to_vec();
            bytes[at] ^= 0x41;
            damaged.chunks[chunk] = bytes.into();
            assert!(matches!(restore(&damaged), Err(SnapshotError::Hash(_))));
        }
    }
}

#[test]
fn rows_of_any_bytes_are_refused_without_a_panic() {
    let random = SeededRandom::new(4);
    let mut taken = 0;
    for _ in 0..20_000 {
        let body: Vec<u8> =
            (0..random.below(120)).map(|_| random.next_u64() as u8 & random.next_u64() as u8).collect();
        let table = Table::ALL[random.below(14) as usize];
        let mut builder = Builder { rows: 1 + random.below(2) as u32, body, ..Builder::default() };
        builder.cut(table);
        let ChunkRef { rows, len, hash, .. } = builder.refs[0];
        let mut root = Vec::new();
        root.put_slice(&ROOT_MAGIC);
        root.put_u16(FORMAT);
        root.put_u64(1);
        root.put_i64(1);
        root.put_u32(1);
        root.put_u8(table as u8);
        root.put_u32(rows);
        root.put_u32(len);
        root.put_slice(&hash);
        taken += u32::from(decode(&root.into(), |_| Some(builder.chunks[0].clone())).is_ok());
    }
    assert!(taken < 20_000);
}

#[test]
fn a_snapshot_of_the_format_before_is_read() {
    let mut image = Fill(SeededRandom::new(5)).image(3);
    image.broker_configs.clear();
    let Snapshot { root, chunks } = encode(&image);
    let refs = decode_root(&root).expect("a root").chunks;
    // Format 1 differs in its number and in not having the table.
    let mut root = root.to_vec();
    root[4..6].copy_from_slice(&1_u16.to_be_bytes());
    let mut old = Vec::new();
    for (n, (chunk, mut named)) in chunks.iter().zip(refs).enumerate() {
        let mut chunk = chunk.to_vec();
        chunk[4..6].copy_from_slice(&1_u16.to_be_bytes());
        named.hash = *blake3::hash(&chunk).as_bytes();
        let at = 4 + 2 + 8 + 8 + 4 + n * CHUNK_REF_LEN + 9;
        root[at..at + 32].copy_from_slice(&named.hash);
        old.push(Bytes::from(chunk));
    }
    assert_eq!(restore(&Snapshot { root: root.clone().into(), chunks: old.clone() }).as_ref(), Ok(&image));
    root[4..6].copy_from_slice(&(FORMAT + 1).to_be_bytes());
    let newer = restore(&Snapshot { root: root.into(), chunks: old });
    assert_eq!(newer, Err(SnapshotError::NewerFormat { found: FORMAT + 1 }));
}
