//! How large the image is: 100,000 partitions with a million objects in 150 MiB, and twice the objects in hardly
//! more.
//!
//! The image is built by commands, as a cluster builds it: uploads of stream objects, set objects split and retired,
//! leaves that take up what is loose, garbage confirmed. The bound holds for the growth of the process's resident
//! memory, so that slack and fragmentation count; the comparison is of the bytes that are allocated and live, which
//! earlier work does not blur.

use std::collections::BTreeMap;

use peak_alloc::PeakAlloc;
use tidegate_common::{BrokerId, Incarnation, ObjectId, Offset, StreamId};
use tidegate_metadata::command::{
    CommitCompaction, CommitUpload, CreateTopic, InitCluster, NewLeaf, NewSetObject, NewStreamObject,
    RegisterBroker, SetInput, Slice, StreamSwap,
};
use tidegate_metadata::rows::Endpoint;
use tidegate_metadata::{Command, Image, Response, replay};
use uuid::Uuid;

const TOPICS: u64 = 1_000;
const PARTITIONS_PER_TOPIC: u32 = 100;
const PARTITIONS: u64 = TOPICS * PARTITIONS_PER_TOPIC as u64;
/// Stream objects of each partition that a leaf does not list.
const LOOSE: u64 = 1;
/// Stream objects of one commit.
const BATCH: u64 = 10_000;
const BROKER: Incarnation = Incarnation(1);
const IMAGE_BYTES_MAX: u64 = 150 << 20;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

struct Cluster {
    image: Image,
    index: u64,
    /// Objects per partition so far.
    objects: u64,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self { image: Image::new(), index: 0, objects: 0 };
        cluster.propose(Command::InitCluster(InitCluster {
            cluster_id: Uuid::from_u128(1),
            bucket: "bucket".into(),
            prefix: String::new(),
            features: BTreeMap::new(),
        }));
        cluster.propose(Command::RegisterBroker(RegisterBroker {
            broker: BrokerId(1),
            endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 }],
            rack: None,
            nonce: Uuid::from_u128(2),
        }));
        for topic in 0..TOPICS {
            // Spread as random ids are.
            let id = u128::from(topic + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            cluster.propose(Command::CreateTopic(CreateTopic {
                name: format!("team-{}.orders.events-{topic}", topic % 40),
                id: Uuid::from_u128(id),
                partitions: PARTITIONS_PER_TOPIC,
                owners: vec![],
                replication_factor: 3,
                configs: BTreeMap::from([
                    ("retention.ms".into(), "604800000".into()),
                    ("min.insync.replicas".into(), "2".into()),
                ]),
            }));
        }
        cluster
    }

    fn propose(&mut self, command: Command) -> Response {
        self.index += 1;
        let outcome = replay::apply(&mut self.image, self.index, &[command]).pop().expect("one command");
        outcome.expect("the command is right")
    }

    fn prepare(&mut self, count: u64) -> u64 {
        let prepare = Command::PrepareObjects { incarnation: BROKER, count: count as u32, ttl_ms: 60_000 };
        let Response::Prepared { first, .. } = self.propose(prepare) else { panic!("ids are handed out") };
        first.0
    }

    /// One more object for every partition: every tenth round through a set object and a split of it.
    fn round(&mut self) {
        let (from, to) = (Offset(self.objects as i64 * 100), Offset(self.objects as i64 * 100 + 100));
        for first in (1..=PARTITIONS).step_by(BATCH as usize) {
            let streams = first..first + BATCH;
            let ids = self.prepare(BATCH + 1);
            let objects: Vec<NewStreamObject> = streams
                .clone()
                .map(|stream| NewStreamObject {
                    id: ObjectId(ids + 1 + stream - first),
                    stream: StreamId(stream),
                    from,
                    to,
                    size: 8 << 20,
                    crc32c: stream as u32,
                })
                .collect();
            if self.objects.is_multiple_of(10) {
                self.through_a_set(
                    ids,
                    streams.map(|stream| Slice { stream: StreamId(stream), from, to }).collect(),
                    objects,
                );
            } else {
                self.propose(upload(None, objects));
            }
        }
        self.objects += 1;
    }

    fn through_a_set(&mut self, id: u64, slices: Vec<Slice>, objects: Vec<NewStreamObject>) {
        let set = NewSetObject { id: ObjectId(id), size: 64 << 20, crc32c: 7, slices: slices.clone() };
        self.propose(upload(Some(set), vec![]));
        let streams = objects
            .into_iter()
            .map(|object| StreamSwap {
                stream: object.stream,
                new_objects: vec![object],
                ..StreamSwap::default()
            })
            .collect();
        let set_inputs = vec![SetInput { object: ObjectId(id), slices }];
        self.propose(compact(set_inputs, streams));
    }

    /// One leaf per partition takes up all but the loose ones.
    fn make_leaves(&mut self) {
        for first in (1..=PARTITIONS).step_by(BATCH as usize) {
            let ids = self.prepare(BATCH);
            let streams =
                (first..first + BATCH).map(|stream| self.leaf(StreamId(stream), ids + stream - first));
            let streams = streams.collect();
            self.propose(compact(vec![], streams));
        }
        let keys: Vec<_> = self.image.garbage().map(|garbage| garbage.key).collect();
        for objects in keys.chunks(BATCH as usize) {
            self.propose(Command::ConfirmDeleted { incarnation: BROKER, objects: objects.to_vec() });
        }
    }

    fn leaf(&self, stream: StreamId, id: u64) -> StreamSwap {
        let loose: Vec<_> = self.image.stream_objects(stream, Offset::ZERO).collect();
        let listed = &loose[..loose.len() - LOOSE as usize];
        let old = self.image.leaves(stream).next();
        let new = NewLeaf {
            id: ObjectId(id),
            from: Offset::ZERO,
            to: listed.last().expect("there are more than the loose ones").to,
            count: listed.len() as u32 + old.map_or(0, |leaf| leaf.count),
            size: 40 << 10,
            crc32c: 3,
        };
        StreamSwap {
            stream,
            listed: listed.iter().map(|object| (object.from, object.id)).collect(),
            leaves: old.iter().map(|leaf| (leaf.from, leaf.id)).collect(),
            new_leaves: vec![new],
            ..StreamSwap::default()
        }
    }
}

fn upload(set_object: Option<NewSetObject>, stream_objects: Vec<NewStreamObject>) -> Command {
    Command::CommitUpload(CommitUpload { incarnation: BROKER, set_object, stream_objects })
}

fn compact(set_inputs: Vec<SetInput>, streams: Vec<StreamSwap>) -> Command {
    Command::CommitCompaction(CommitCompaction {
        incarnation: BROKER,
        set_inputs,
        set_outputs: vec![],
        streams,
    })
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("linux says how large a process is");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a line for that");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("in KiB");
    kib << 10
}

impl Cluster {
    /// Adds objects, in leaves, up to so many per partition.
    fn grow(&mut self, objects_per_partition: u64) {
        while self.objects < objects_per_partition {
            for _ in 0..5 {
                self.round();
            }
            self.make_leaves();
        }
        let image = &self.image;
        assert_eq!(image.stream_count() as u64, PARTITIONS);
        let leaves = image.streams().flat_map(|p| image.leaves(p.stream));
        let listed: u64 = leaves.map(|leaf| u64::from(leaf.count)).sum();
        assert_eq!(listed + LOOSE * PARTITIONS, objects_per_partition * PARTITIONS);
        assert_eq!((image.garbage().count(), image.set_objects().count()), (0, 0));
    }
}

#[test]
fn a_million_objects_fit_and_twice_as_many_take_hardly_more() {
    let (resident, live) = (resident_bytes(), ALLOCATED.current_usage());
    let mut cluster = Cluster::new();
    cluster.grow(1_000_000 / PARTITIONS);
    let resident = resident_bytes() - resident;
    let million = ALLOCATED.current_usage() - live;
    cluster.grow(2_000_000 / PARTITIONS);
    let two_millions = ALLOCATED.current_usage() - live;
    println!(
        "{resident} bytes resident, {million} live with 10^6 objects, {two_millions} live with twice as many"
    );
    assert!(resident <= IMAGE_BYTES_MAX, "{resident} bytes with 10^6 objects");
    assert!(million as u64 <= resident, "what is live is resident: one of the two is measured wrongly");
    assert!(
        two_millions * 100 <= million * 105,
        "{million} bytes, {two_millions} with twice as many objects"
    );
}
