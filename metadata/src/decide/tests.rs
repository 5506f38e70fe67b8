//! Decisions as short stories: state, command, outcome.

use std::collections::BTreeMap;

use tidegate_common::{
    BrokerId, Incarnation, LeaderEpoch, ObjectId, Offset, Position, StreamId, TopicId, WalId,
};
use uuid::Uuid;

use super::*;
use crate::command::{
    CommitCompaction, CommitUpload, ConfigChange, ConfigOp, CreateTopic, NewLeaf, NewSetObject,
    NewStreamObject, SetInput, Slice, StreamSwap,
};
use crate::replay;
use crate::response::Uploaded;
use crate::rows::{Endpoint, GarbageKind};

/// An image and the index of the next entry.
struct World {
    image: Image,
    index: u64,
}

impl World {
    /// An initialized cluster at time 1,000.
    fn new() -> Self {
        let mut world = Self { image: Image::new(), index: 0 };
        world.ok(Command::Tick { now_ms: 1_000 });
        world.ok(init(1));
        world
    }

    /// With broker 1 (incarnation 1, WAL 1) and a topic of `partitions` partitions, streams from 1 on.
    fn with_topic(partitions: u32) -> Self {
        let mut world = Self::new();
        world.ok(register(1, 1));
        world.ok(create("t", partitions));
        world
    }

    fn propose(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let before = self.image.clone();
        let outcome = replay::apply(&mut self.image, self.index, &[command]).pop().expect("one outcome");
        if outcome.is_err() {
            let mut after = self.image.clone();
            after.applied_index = before.applied_index;
            assert_eq!(after, before, "a refusal changed something");
        }
        outcome
    }

    fn ok(&mut self, command: Command) -> Response {
        self.propose(command.clone()).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"))
    }

    fn refused(&mut self, command: Command) -> Refusal {
        match self.propose(command.clone()) {
            Err(refusal) => refusal,
            Ok(response) => panic!("{command:?}: {response:?}"),
        }
    }

    /// Prepares so many ids and gives the first.
    fn prepare(&mut self, count: u32) -> u64 {
        match self.ok(Command::PrepareObjects { incarnation: Incarnation(1), count, ttl_ms: 5_000 }) {
            Response::Prepared { first, .. } => first.0,
            other => panic!("{other:?}"),
        }
    }

    /// Commits one set object with these slices of (stream, from, to).
    fn upload(&mut self, slices: &[(u64, i64, i64)]) -> u64 {
        let id = self.prepare(1);
        self.ok(upload(Some(set(id, slices)), vec![]));
        id
    }

    /// `(log_start, so_end, committed_end)`.
    fn ends(&self, stream: u64) -> (i64, i64, i64) {
        let row = self.image.stream(StreamId(stream)).expect("the stream lives");
        (row.log_start.0, row.so_end.0, row.committed_end.0)
    }

    fn garbage(&self) -> Vec<(u64, GarbageKind)> {
        self.image.garbage().map(|g| (g.key.object.0, g.kind)).collect()
    }
}

fn init(cluster: u128) -> Command {
    Command::InitCluster(InitCluster {
        cluster_id: Uuid::from_u128(cluster),
        bucket: "b".into(),
        prefix: "p/".into(),
        features: BTreeMap::from([("f".into(), 1)]),
    })
}

fn register(broker: i32, nonce: u128) -> Command {
    Command::RegisterBroker(RegisterBroker {
        broker: BrokerId(broker),
        endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
        rack: None,
        nonce: Uuid::from_u128(nonce),
    })
}

fn topic_id(name: &str) -> TopicId {
    Uuid::from_u128(name.bytes().fold(1, |id, byte| id * 257 + u128::from(byte)))
}

fn create(name: &str, partitions: u32) -> Command {
    Command::CreateTopic(CreateTopic {
        name: name.into(),
        id: topic_id(name),
        partitions,
        owners: vec![],
        replication_factor: 3,
        configs: BTreeMap::new(),
    })
}

fn slices(list: &[(u64, i64, i64)]) -> Vec<Slice> {
    let slice =
        |&(s, from, to): &(u64, i64, i64)| Slice { stream: StreamId(s), from: Offset(from), to: Offset(to) };
    list.iter().map(slice).collect()
}

fn set(id: u64, list: &[(u64, i64, i64)]) -> NewSetObject {
    NewSetObject { id: ObjectId(id), size: 100 + id, crc32c: id as u32, slices: slices(list) }
}

fn object(id: u64, stream: u64, from: i64, to: i64) -> NewStreamObject {
    NewStreamObject {
        id: ObjectId(id),
        stream: StreamId(stream),
        from: Offset(from),
        to: Offset(to),
        size: 100 + id,
        crc32c: id as u32,
    }
}

fn leaf(id: u64, from: i64, to: i64, count: u32) -> NewLeaf {
    NewLeaf { id: ObjectId(id), from: Offset(from), to: Offset(to), count, size: 10, crc32c: id as u32 }
}

fn named(list: &[(i64, u64)]) -> Vec<(Offset, ObjectId)> {
    list.iter().map(|&(from, id)| (Offset(from), ObjectId(id))).collect()
}

fn upload(set_object: Option<NewSetObject>, stream_objects: Vec<NewStreamObject>) -> Command {
    Command::CommitUpload(CommitUpload { incarnation: Incarnation(1), set_object, stream_objects })
}

fn compact(set_inputs: Vec<SetInput>, set_outputs: Vec<NewSetObject>, streams: Vec<StreamSwap>) -> Command {
    Command::CommitCompaction(CommitCompaction {
        incarnation: Incarnation(1),
        set_inputs,
        set_outputs,
        streams,
    })
}

fn input(id: u64, list: &[(u64, i64, i64)]) -> SetInput {
    SetInput { object: ObjectId(id), slices: slices(list) }
}

fn open(incarnation: u64, streams: &[u64]) -> Command {
    let streams = streams.iter().map(|s| StreamId(*s)).collect();
    Command::OpenPartitions { incarnation: Incarnation(incarnation), streams }
}

#[test]
fn nothing_but_time_passes_before_the_cluster_is_initialized() {
    let mut world = World { image: Image::new(), index: 0 };
    assert_eq!(world.refused(register(1, 1)), Refusal::Uninitialized);
    world.ok(Command::Tick { now_ms: 5 });
    world.ok(init(1));
    world.ok(init(1));
    let other = Refusal::OtherCluster { is: Uuid::from_u128(1), asked: Uuid::from_u128(2) };
    assert_eq!(world.refused(init(2)), other);
    assert_eq!(world.image.lineage().map(|row| row.prefix.as_str()), Some("p/"));
}

#[test]
fn time_never_goes_back() {
    let mut world = World::new();
    world.ok(Command::Tick { now_ms: 900 });
    assert_eq!(world.image.time_ms(), 1_000);
}

#[test]
fn a_new_process_gets_a_new_incarnation_and_fences_the_old_one() {
    let mut world = World::new();
    let registered = |n| Response::Registered { incarnation: Incarnation(n), wal: WalId(n) };
    assert_eq!(world.ok(register(1, 10)), registered(1));
    assert_eq!(world.ok(register(1, 10)), registered(1), "the same process asks again");
    assert_eq!(world.ok(register(2, 11)), registered(2));
    assert_eq!(world.ok(register(1, 12)), registered(3));
    let prepare = |n| Command::PrepareObjects { incarnation: Incarnation(n), count: 1, ttl_ms: 1 };
    assert_eq!(world.refused(prepare(1)), Refusal::Fenced(Incarnation(1)));
    world.ok(prepare(2));
    world.ok(prepare(3));
}

#[test]
fn a_fenced_process_stays_fenced() {
    let mut world = World::new();
    world.ok(register(1, 10));
    let fence = Command::FenceBroker { broker: BrokerId(1), incarnation: Incarnation(1) };
    world.ok(fence.clone());
    world.ok(fence);
    assert_eq!(world.refused(register(1, 10)), Refusal::Fenced(Incarnation(1)));
    world.ok(register(1, 11));
    // An old fence says nothing about the new incarnation.
    world.ok(Command::FenceBroker { broker: BrokerId(1), incarnation: Incarnation(1) });
    assert!(world.image.is_live(Incarnation(2)));
}

#[test]
fn the_first_seal_counts() {
    let mut world = World::new();
    world.ok(register(1, 1));
    world.ok(register(2, 2));
    let seal = |executor, end| Command::SealWal {
        wal: WalId(1),
        executor: Incarnation(executor),
        end: Position(end),
    };
    let in_use = Refusal::WalInUse { wal: WalId(1), incarnation: Incarnation(1) };
    assert_eq!(world.refused(seal(2, 9)), in_use);
    world.ok(register(1, 3));
    let sealed = Response::Sealed { end: Position(9), executor: Incarnation(2) };
    assert_eq!(world.ok(seal(2, 9)), sealed);
    assert_eq!(world.ok(seal(3, 12)), sealed, "a second executor is told the first one's seal");
    assert_eq!(world.refused(seal(1, 9)), Refusal::Fenced(Incarnation(1)));
}

#[test]
fn an_operator_can_lower_a_seal_and_nothing_raises_it() {
    let mut world = World::new();
    world.ok(register(1, 1));
    world.ok(Command::TrimWal { wal: WalId(1), incarnation: Incarnation(1), below: Position(4) });
    let lower = |executor, end| Command::LowerSeal {
        wal: WalId(1),
        executor: Incarnation(executor),
        end: Position(end),
    };
    assert_eq!(world.refused(lower(1, 5)), Refusal::WalNotSealed { wal: WalId(1) });
    world.ok(register(1, 2));
    world.ok(Command::SealWal { wal: WalId(1), executor: Incarnation(2), end: Position(9) });
    assert_eq!(world.refused(lower(1, 5)), Refusal::Fenced(Incarnation(1)));
    let below = Refusal::SealBelowTrim { wal: WalId(1), end: Position(2), trim: Position(4) };
    assert_eq!(world.refused(lower(2, 2)), below);
    let lowered = Response::Sealed { end: Position(5), executor: Incarnation(2) };
    assert_eq!(world.ok(lower(2, 5)), lowered);
    assert_eq!(world.ok(lower(2, 5)), lowered, "idempotent");
    assert_eq!(world.ok(lower(2, 7)), lowered, "never raised");
    let unknown = Command::LowerSeal { wal: WalId(8), executor: Incarnation(2), end: Position(1) };
    assert_eq!(world.refused(unknown), Refusal::UnknownWal(WalId(8)));
}

#[test]
fn a_wal_goes_once_it_is_sealed_and_trimmed_to_its_end() {
    let mut world = World::new();
    world.ok(register(1, 1));
    let trim =
        |by, below| Command::TrimWal { wal: WalId(1), incarnation: Incarnation(by), below: Position(below) };
    let delete = |by| Command::DeleteWal { wal: WalId(1), incarnation: Incarnation(by) };
    world.ok(trim(1, 5));
    world.ok(trim(1, 3));
    assert_eq!(world.image.wal(WalId(1)).map(|w| w.trim), Some(Position(5)));
    assert_eq!(world.refused(delete(1)), Refusal::WalNotSealed { wal: WalId(1) });
    world.ok(register(1, 2));
    assert_eq!(world.refused(trim(2, 6)), Refusal::WalInUse { wal: WalId(1), incarnation: Incarnation(1) });
    let seal = |end| Command::SealWal { wal: WalId(1), executor: Incarnation(2), end: Position(end) };
    let lost = Refusal::SealBelowTrim { wal: WalId(1), end: Position(3), trim: Position(5) };
    assert_eq!(world.refused(seal(3)), lost);
    world.ok(seal(7));
    assert_eq!(world.refused(delete(2)), Refusal::WalNotTrimmed(WalId(1)));
    world.ok(trim(2, 100));
    assert_eq!(world.image.wal(WalId(1)).map(|w| (w.trim, w.deletable())), Some((Position(8), true)));
    world.ok(delete(2));
    world.ok(delete(2));
    assert_eq!(
        world.refused(Command::DeleteWal { wal: WalId(9), incarnation: Incarnation(2) }),
        Refusal::UnknownWal(WalId(9))
    );
}

#[test]
fn topics_are_created_once_per_name_and_folded_name() {
    let mut world = World::with_topic(3);
    let row = world.image.topic_by_name("t").expect("created").clone();
    assert_eq!(
        (row.id, row.replication_factor, &*row.partitions),
        (topic_id("t"), 3, &[1, 2, 3].map(StreamId)[..])
    );
    let second = world.image.partition(row.id, 1).expect("there are three");
    assert_eq!(
        (second.leader_epoch, second.owner.map(|o| o.broker)),
        (LeaderEpoch(1 << 20), Some(BrokerId(1)))
    );
    assert!(world.image.partition(row.id, 3).is_none() && world.image.partition(row.id, -1).is_none());

    assert_eq!(world.refused(create("t", 1)), Refusal::TopicExists("t".into()));
    world.ok(create("a.b_c", 1));
    let collides = Refusal::TopicNameCollides { name: "a_b.c".into(), existing: "a.b_c".into() };
    assert_eq!(world.refused(create("a_b.c", 1)), collides);
    assert!(matches!(world.refused(create("..", 1)), Refusal::InvalidTopicName { .. }));
    assert!(matches!(world.refused(create("u", 0)), Refusal::InvalidPartitions { .. }));
    assert!(matches!(world.refused(create("u", 1_000_000)), Refusal::TooMany { .. }));
    let mut taken = create("u", 1);
    let Command::CreateTopic(topic) = &mut taken else { unreachable!() };
    topic.id = topic_id("t");
    assert_eq!(world.refused(taken), Refusal::TopicIdTaken(topic_id("t")));
    let names: Vec<_> = world.image.topics().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["a.b_c", "t"]);
    world.ok(Command::DeleteTopic { topic: topic_id("a.b_c") });
    world.ok(create("a_b.c", 1));
}

#[test]
fn owners_are_as_asked_or_spread() {
    let mut world = World::new();
    world.ok(create("early", 1));
    assert_eq!(world.image.stream(StreamId(1)).and_then(|p| p.owner), None);
    world.ok(register(1, 1));
    world.ok(register(2, 2));
    world.ok(create("spread", 10));
    let of_two =
        world.image.partitions(topic_id("spread")).filter(|p| p.owner.map(|o| o.broker) == Some(BrokerId(2)));
    assert_eq!(of_two.count(), 5);
    let grow = |count, owners: &[i32]| Command::CreatePartitions {
        topic: topic_id("early"),
        count,
        owners: owners.iter().map(|id| BrokerId(*id)).collect(),
    };
    world.ok(grow(3, &[2, 2]));
    let owners: Vec<_> =
        world.image.partitions(topic_id("early")).map(|p| p.owner.map(|o| o.broker.0)).collect();
    assert_eq!(owners, [None, Some(2), Some(2)]);
    assert_eq!(world.refused(grow(4, &[1, 2])), Refusal::InvalidAssignment { owners: 2, partitions: 1 });
    assert_eq!(world.refused(grow(4, &[7])), Refusal::BrokerUnavailable(BrokerId(7)));
    assert!(matches!(world.refused(grow(3, &[])), Refusal::InvalidPartitions { count: 3, .. }));
}

#[test]
fn configs_change_by_version_or_by_steps() {
    let mut world = World::with_topic(1);
    let topic = topic_id("t");
    let replace = |expected_version, value: &str| Command::AlterTopicConfigs {
        topic,
        change: ConfigChange::Replace {
            expected_version,
            configs: BTreeMap::from([("retention.ms".into(), value.into())]),
        },
    };
    assert_eq!(world.ok(replace(0, "5")), Response::ConfigsAltered { version: 1 });
    assert_eq!(world.refused(replace(0, "6")), Refusal::ConfigVersion { expected: 0, current: 1 });
    let step = Command::AlterTopicConfigs {
        topic,
        change: ConfigChange::Incremental(vec![
            ConfigOp::Delete { key: "retention.ms".into() },
            ConfigOp::Set { key: "k".into(), value: "v".into() },
        ]),
    };
    assert_eq!(world.ok(step.clone()), Response::ConfigsAltered { version: 2 });
    assert_eq!(world.ok(step), Response::ConfigsAltered { version: 2 }, "nothing changed");
    let configs = &world.image.topic_by_id(topic).expect("there").configs;
    assert_eq!(configs, &BTreeMap::from([("k".to_owned(), "v".to_owned())]));
}

#[test]
fn broker_configs_change_by_version_and_each_broker_has_its_own() {
    let mut world = World::with_topic(1);
    let alter = |broker: Option<i32>, expected_version, value: Option<&str>| Command::AlterBrokerConfigs {
        broker: broker.map(BrokerId),
        expected_version,
        configs: value.map(|v| ("log.retention.ms".into(), v.into())).into_iter().collect(),
    };
    assert_eq!(world.ok(alter(None, 0, None)), Response::ConfigsAltered { version: 0 }, "nothing changed");
    assert_eq!(world.ok(alter(None, 0, Some("5"))), Response::ConfigsAltered { version: 1 });
    assert_eq!(world.ok(alter(Some(1), 0, Some("6"))), Response::ConfigsAltered { version: 1 });
    let refused = Refusal::ConfigVersion { expected: 0, current: 1 };
    assert_eq!(world.refused(alter(None, 0, Some("7"))), refused);
    assert_eq!(world.ok(alter(None, 1, None)), Response::ConfigsAltered { version: 2 });
    let row = |broker: Option<i32>| {
        let row = world.image.broker_configs(broker.map(BrokerId)).expect("altered before");
        (row.version, row.configs.values().cloned().collect::<Vec<_>>())
    };
    assert_eq!(row(None), (2, vec![]), "the version stays when the configs go");
    assert_eq!(row(Some(1)), (1, vec!["6".to_owned()]));
}

#[test]
fn every_change_of_owner_is_a_new_epoch_and_waits_for_the_seal() {
    let mut world = World::with_topic(1);
    let epoch = |response: Response| match response {
        Response::Opened(list) => {
            list.into_iter().map(|(_, opened)| opened.map(|o| o.leader_epoch.0 - (1 << 20))).collect()
        }
        other => panic!("{other:?}"),
    };
    let opened =
        |world: &mut World, by| -> Vec<Result<i32, Refusal>> { epoch(world.ok(open(by, &[1, 1, 9]))) };
    let unknown = Err(Refusal::UnknownStream(StreamId(9)));
    assert_eq!(opened(&mut world, 1), [Ok(0), Ok(0), unknown.clone()], "it owns it already");
    world.ok(register(2, 2));
    let taken = Err(Refusal::NotOwner { stream: StreamId(1), owner: Incarnation(1) });
    assert_eq!(opened(&mut world, 2), [taken.clone(), taken, unknown.clone()]);
    world.ok(register(1, 3));
    let unsealed = Err(Refusal::WalNotSealed { wal: WalId(1) });
    assert_eq!(opened(&mut world, 3), [unsealed.clone(), unsealed, unknown.clone()]);
    world.ok(Command::SealWal { wal: WalId(1), executor: Incarnation(3), end: Position(0) });
    assert_eq!(opened(&mut world, 3), [Ok(1), Ok(1), unknown.clone()]);
    assert_eq!(opened(&mut world, 3), [Ok(1), Ok(1), unknown]);
    assert_eq!(world.refused(open(1, &[1])), Refusal::Fenced(Incarnation(1)));
}

#[test]
fn a_slice_counts_only_at_the_committed_end() {
    let mut world = World::with_topic(3);
    let id = world.prepare(2);
    assert_eq!(id, 1);
    let first = upload(Some(set(1, &[(1, 0, 10), (2, 0, 5)])), vec![object(2, 3, 0, 7)]);
    let committed = [(1, 10), (2, 5), (3, 7)].map(|(s, end)| (StreamId(s), Offset(end)));
    let uploaded = Response::Uploaded(Uploaded { committed: committed.into(), skipped: vec![] });
    assert_eq!(world.ok(first.clone()), uploaded);
    assert_eq!(world.ok(first), uploaded, "the answer was lost: the same upload again");
    assert_eq!((world.ends(1), world.ends(3)), ((0, 0, 10), (0, 7, 7)));

    let id = world.prepare(1);
    for wrong in [(1, 9, 20), (1, 11, 20), (1, 0, 10)] {
        let refused = world.refused(upload(Some(set(id, &[(2, 5, 6), wrong])), vec![]));
        let (stream, from) = (StreamId(1), Offset(wrong.1));
        assert_eq!(refused, Refusal::NotAtCommittedEnd { stream, from, committed_end: Offset(10) });
    }
    assert_eq!(world.ends(2), (0, 0, 5), "all of an upload or nothing");
    world.ok(upload(Some(set(id, &[(1, 10, 12), (1, 12, 20)])), vec![]));
    assert_eq!(world.ends(1), (0, 0, 20));
    assert_eq!(world.image.set_objects().map(|o| o.id.0).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn only_the_incarnation_that_prepared_an_id_commits_it_and_only_in_time() {
    let mut world = World::with_topic(1);
    world.ok(register(2, 2));
    let id = world.prepare(1);
    let by = |incarnation| {
        Command::CommitUpload(CommitUpload {
            incarnation: Incarnation(incarnation),
            set_object: Some(set(id, &[(1, 0, 1)])),
            stream_objects: vec![],
        })
    };
    assert_eq!(world.refused(by(2)), Refusal::NotPrepared(ObjectId(id)));
    assert_eq!(
        world.refused(upload(Some(set(99, &[(1, 0, 1)])), vec![])),
        Refusal::NotPrepared(ObjectId(99))
    );
    let twice = upload(Some(set(id, &[(1, 0, 1)])), vec![object(id, 1, 1, 2)]);
    assert_eq!(world.refused(twice), Refusal::NotPrepared(ObjectId(id)));
    assert!(matches!(world.refused(upload(Some(set(id, &[(1, 1, 1)])), vec![])), Refusal::Malformed(_)));
    world.ok(Command::Tick { now_ms: 6_000 });
    assert_eq!(world.refused(by(1)), Refusal::NotPrepared(ObjectId(id)));
    assert_eq!(world.garbage(), [(id, GarbageKind::Prepared)]);
}

#[test]
fn slices_of_deleted_streams_are_passed_over() {
    let mut world = World::with_topic(1);
    world.ok(create("u", 1));
    let id = world.prepare(2);
    world.ok(Command::DeleteTopic { topic: topic_id("u") });
    let response = world.ok(upload(Some(set(id, &[(1, 0, 4), (2, 0, 9)])), vec![object(id + 1, 2, 9, 12)]));
    let uploaded =
        Uploaded { committed: vec![(StreamId(1), Offset(4))], skipped: slices(&[(2, 0, 9), (2, 9, 12)]) };
    assert_eq!(response, Response::Uploaded(uploaded));
    assert_eq!(world.garbage(), [(id + 1, GarbageKind::Prepared)]);
    let id = world.prepare(1);
    world.ok(upload(Some(set(id, &[(2, 12, 13)])), vec![]));
    assert!(world.image.set_object(ObjectId(id)).is_none(), "nothing of it lives");
}

#[test]
fn the_log_start_moves_up_by_its_owner_and_takes_objects_with_it() {
    let mut world = World::with_topic(1);
    let id = world.prepare(3);
    world.ok(upload(None, vec![object(id, 1, 0, 10), object(id + 1, 1, 10, 20), object(id + 2, 1, 20, 30)]));
    let advance = |by, to| Command::AdvanceLogStart {
        incarnation: Incarnation(by),
        stream: StreamId(1),
        to: Offset(to),
    };
    assert_eq!(world.ok(advance(1, 15)), Response::LogStart { log_start: Offset(15) });
    assert_eq!(world.ok(advance(1, 3)), Response::LogStart { log_start: Offset(15) });
    assert_eq!(world.garbage(), [(id, GarbageKind::StreamObject)]);
    world.ok(register(2, 2));
    assert_eq!(
        world.refused(advance(2, 20)),
        Refusal::NotOwner { stream: StreamId(1), owner: Incarnation(1) }
    );
    assert_eq!(world.refused(advance(9, 20)), Refusal::Fenced(Incarnation(9)));

    // Past what is uploaded: the records between need never be.
    world.ok(advance(1, 50));
    assert_eq!(world.ends(1), (50, 50, 50));
    let id = world.prepare(2);
    let below = world.ok(upload(Some(set(id, &[(1, 30, 45)])), vec![]));
    assert_eq!(below, Response::Uploaded(Uploaded { committed: vec![], skipped: slices(&[(1, 30, 45)]) }));
    world.ok(upload(Some(set(id + 1, &[(1, 45, 60)])), vec![]));
    assert_eq!(world.ends(1), (50, 50, 60));
}

#[test]
fn a_split_moves_so_end_and_frees_the_set_object() {
    let mut world = World::with_topic(2);
    let held = [(1, 0, 10), (2, 0, 10)];
    let source = world.upload(&held);
    let retire = |slices: &[(u64, i64, i64)]| Command::RetireObjects {
        incarnation: Incarnation(1),
        objects: vec![input(source, slices)],
    };
    assert_eq!(world.refused(retire(&held)), Refusal::NotCovered { stream: StreamId(1), at: Offset(0) });
    let out = world.prepare(2);
    let swap = |id, stream| StreamSwap {
        stream: StreamId(stream),
        new_objects: vec![object(id, stream, 0, 10)],
        ..StreamSwap::default()
    };
    let so_ends = |list: &[u64]| Response::Compacted {
        so_ends: list.iter().map(|s| (StreamId(*s), Offset(10))).collect(),
    };
    assert_eq!(world.ok(compact(vec![], vec![], vec![swap(out, 1)])), so_ends(&[1]));
    assert_eq!(world.refused(retire(&held)), Refusal::NotCovered { stream: StreamId(2), at: Offset(0) });
    assert_eq!(
        world.refused(retire(&[(1, 0, 10)])),
        Refusal::InputGone(ObjectId(source)),
        "not what it holds"
    );
    let last = compact(vec![input(source, &held)], vec![], vec![swap(out + 1, 2)]);
    assert_eq!(world.ok(last.clone()), so_ends(&[2]));
    assert_eq!(world.ok(last), so_ends(&[2]), "the answer was lost: the same commit again");
    assert_eq!(world.garbage(), [(source, GarbageKind::StreamSetObject)]);
    world.ok(retire(&held));
}

#[test]
fn set_objects_are_merged_without_a_hole() {
    let mut world = World::with_topic(2);
    let (a, b) = (world.upload(&[(1, 0, 10), (2, 0, 4)]), world.upload(&[(1, 10, 20)]));
    let inputs = || vec![input(a, &[(1, 0, 10), (2, 0, 4)]), input(b, &[(1, 10, 20)])];
    let out = world.prepare(1);
    let short = compact(inputs(), vec![set(out, &[(1, 0, 19), (2, 0, 4)])], vec![]);
    assert_eq!(world.refused(short), Refusal::NotCovered { stream: StreamId(1), at: Offset(19) });
    let more = compact(inputs(), vec![set(out, &[(1, 0, 21), (2, 0, 4)])], vec![]);
    assert_eq!(world.refused(more), Refusal::NotCovered { stream: StreamId(1), at: Offset(20) });
    let doubled = compact(inputs(), vec![set(out, &[(1, 0, 12), (1, 11, 20), (2, 0, 4)])], vec![]);
    assert_eq!(world.refused(doubled), Refusal::Overlap { stream: StreamId(1), at: Offset(11) });
    world.ok(compact(inputs(), vec![set(out, &[(1, 0, 20), (2, 0, 4)])], vec![]));
    assert_eq!(world.image.set_objects().map(|o| o.id.0).collect::<Vec<_>>(), [out]);
    let again = world.prepare(1);
    let stale = compact(inputs(), vec![set(again, &[(1, 0, 20), (2, 0, 4)])], vec![]);
    assert_eq!(world.refused(stale), Refusal::InputGone(ObjectId(a)));
}

#[test]
fn what_is_needed_no_more_is_not_asked_for() {
    let mut world = World::with_topic(1);
    world.ok(create("u", 1));
    let source = world.upload(&[(1, 0, 10), (2, 0, 10)]);
    world.ok(Command::DeleteTopic { topic: topic_id("u") });
    let advance =
        |to| Command::AdvanceLogStart { incarnation: Incarnation(1), stream: StreamId(1), to: Offset(to) };
    let retire = || Command::RetireObjects {
        incarnation: Incarnation(1),
        objects: vec![input(source, &[(1, 0, 10), (2, 0, 10)])],
    };
    world.ok(advance(9));
    assert_eq!(world.refused(retire()), Refusal::NotCovered { stream: StreamId(1), at: Offset(9) });
    world.ok(advance(10));
    world.ok(retire());
    assert_eq!(world.garbage(), [(source, GarbageKind::StreamSetObject)]);
}

/// Three stream objects of stream 1, `[0, 10)`, `[10, 20)` and `[20, 30)`, with ids from the one given.
fn three_objects() -> (World, u64) {
    let mut world = World::with_topic(1);
    let id = world.prepare(3);
    world.ok(upload(None, vec![object(id, 1, 0, 10), object(id + 1, 1, 10, 20), object(id + 2, 1, 20, 30)]));
    (world, id)
}

#[test]
fn stream_objects_are_merged_without_a_hole_or_an_overlap() {
    let (mut world, id) = three_objects();
    let out = world.prepare(1);
    let merge = |from, to| {
        let retired = named(&[(0, id), (10, id + 1)]);
        let new_objects = vec![object(out, 1, from, to)];
        compact(
            vec![],
            vec![],
            vec![StreamSwap { stream: StreamId(1), retired, new_objects, ..Default::default() }],
        )
    };
    assert_eq!(world.refused(merge(0, 19)), Refusal::NotCovered { stream: StreamId(1), at: Offset(19) });
    assert_eq!(world.refused(merge(1, 20)), Refusal::NotCovered { stream: StreamId(1), at: Offset(0) });
    assert_eq!(world.refused(merge(0, 21)), Refusal::Overlap { stream: StreamId(1), at: Offset(20) });
    assert!(matches!(world.refused(merge(0, 31)), Refusal::Malformed(_)), "above the committed end");
    world.ok(merge(0, 20));
    assert_eq!(world.garbage(), [(id, GarbageKind::StreamObject), (id + 1, GarbageKind::StreamObject)]);
    let rows: Vec<_> = world.image.stream_objects(StreamId(1), Offset(5)).map(|o| o.id.0).collect();
    assert_eq!(rows, [out, id + 2]);
    let rows: Vec<_> = world.image.stream_objects(StreamId(1), Offset(20)).map(|o| o.id.0).collect();
    assert_eq!(rows, [id + 2]);
}

#[test]
fn an_output_at_the_place_of_a_row_that_stays_is_an_overlap() {
    let (mut world, id) = three_objects();
    let out = world.prepare(1);
    let swap = StreamSwap {
        stream: StreamId(1),
        retired: named(&[(0, id)]),
        new_objects: vec![object(out, 1, 0, 10), object(out, 1, 10, 20)],
        ..Default::default()
    };
    assert!(matches!(world.refused(compact(vec![], vec![], vec![swap])), Refusal::NotPrepared(_)));
    let out = world.prepare(1);
    let swap =
        StreamSwap { stream: StreamId(1), new_objects: vec![object(out, 1, 10, 12)], ..Default::default() };
    let overlap = Refusal::Overlap { stream: StreamId(1), at: Offset(10) };
    assert_eq!(world.refused(compact(vec![], vec![], vec![swap])), overlap);
}

#[test]
fn leaves_list_objects_whose_bytes_stay() {
    let (mut world, id) = three_objects();
    let first = world.prepare(1);
    let list = |count| {
        let listed = named(&[(0, id), (10, id + 1)]);
        let new_leaves = vec![leaf(first, 0, 20, count)];
        compact(
            vec![],
            vec![],
            vec![StreamSwap { stream: StreamId(1), listed, new_leaves, ..Default::default() }],
        )
    };
    assert!(matches!(world.refused(list(3)), Refusal::Malformed(_)));
    assert!(matches!(world.refused(list(0)), Refusal::Malformed(_)));
    world.ok(list(2));
    assert_eq!(world.garbage(), []);
    assert_eq!(world.image.leaves(StreamId(1)).map(|l| (l.id.0, l.count)).collect::<Vec<_>>(), [(first, 2)]);

    // The next leaf takes the first one's list, merges two of its objects into one, and lists a third.
    let second = world.prepare(2);
    let swap = StreamSwap {
        stream: StreamId(1),
        listed: named(&[(20, id + 2)]),
        leaves: named(&[(0, first)]),
        unlisted: vec![ObjectId(id), ObjectId(id + 1)],
        listed_new: vec![ObjectId(second + 1)],
        new_leaves: vec![leaf(second, 0, 30, 2)],
        ..Default::default()
    };
    world.ok(compact(vec![], vec![], vec![swap]));
    let object = GarbageKind::StreamObject;
    assert_eq!(world.garbage(), [(id, object), (id + 1, object), (first, GarbageKind::Leaf)]);
    assert_eq!(world.image.all_prepared().count(), 0);
    let advance =
        Command::AdvanceLogStart { incarnation: Incarnation(1), stream: StreamId(1), to: Offset(30) };
    world.ok(advance);
    assert_eq!(world.garbage().last(), Some(&(second, GarbageKind::LeafAndListed)));
}

#[test]
fn garbage_waits_for_its_grace_and_goes_when_confirmed() {
    let (mut world, id) = three_objects();
    world.ok(Command::Tick { now_ms: 2_000 });
    world.ok(Command::AdvanceLogStart { incarnation: Incarnation(1), stream: StreamId(1), to: Offset(10) });
    world.ok(Command::Tick { now_ms: 3_000 });
    world.ok(Command::DeleteTopic { topic: topic_id("t") });
    let due =
        |world: &World, now| world.image.garbage_due(now, 500).map(|g| g.key.object.0).collect::<Vec<_>>();
    assert_eq!(due(&world, 2_499), [0; 0]);
    assert_eq!(due(&world, 2_500), [id]);
    assert_eq!(due(&world, 3_500), [id, id + 1, id + 2]);
    let keys: Vec<_> = world.image.garbage_due(2_500, 500).map(|g| g.key).collect();
    let confirm = |by| Command::ConfirmDeleted { incarnation: Incarnation(by), objects: keys.clone() };
    assert_eq!(world.refused(confirm(7)), Refusal::Fenced(Incarnation(7)));
    world.ok(confirm(1));
    world.ok(confirm(1));
    assert_eq!(world.garbage().len(), 2);
}

#[test]
fn producer_ids_carry_the_region_epoch_and_come_once() {
    let mut world = World::with_topic(1);
    let ask = |count| Command::AllocateProducerIds { incarnation: Incarnation(1), count };
    let block = |n, count| Response::ProducerIds { first: (1_i64 << 42) + n, count };
    assert_eq!(world.ok(ask(1000)), block(0, 1000));
    assert_eq!(world.ok(ask(5)), block(1000, 5));
    assert_eq!(world.ok(ask(1)), block(1005, 1));
    assert!(matches!(world.refused(ask(0)), Refusal::TooMany { .. }));
    assert!(matches!(world.refused(ask(PRODUCER_IDS_MAX + 1)), Refusal::TooMany { .. }));
}

#[test]
fn leader_epochs_do_not_run_into_the_next_region() {
    let mut world = World::with_topic(1);
    world.ok(register(1, 2));
    world.ok(Command::SealWal { wal: WalId(1), executor: Incarnation(2), end: Position(0) });
    let row = world.image.streams.get_mut(&StreamId(1)).expect("there");
    row.leader_epoch = leader_epoch(1, (1 << 20) - 1);
    let Response::Opened(opened) = world.ok(open(2, &[1])) else { panic!("opened") };
    assert_eq!(opened[0].1, Err(Refusal::EpochsExhausted(StreamId(1))));
}
