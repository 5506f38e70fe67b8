//! Random commands, right and wrong, against a model that knows what is in every object.
//!
//! After each command: the ranges that the state refers to tile `[log_start, committed_end)`, an object is in
//! one place only, numbers never go back, and the image comes through a snapshot unchanged.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{BrokerId, Incarnation, ObjectId, Offset, Position, StreamId};

use super::extents::{Extents, overlap};
use crate::command::{
    Command, CommitCompaction, CommitUpload, CreateTopic, InitCluster, NewLeaf, NewSetObject,
    NewStreamObject, RegisterBroker, SetInput, Slice, StreamSwap,
};
use crate::response::{Outcome, Response};
use crate::rows::{GarbageKind, WalState};
use crate::{Image, LEAF_OBJECTS_MAX, replay, snapshot};

struct World {
    random: SeededRandom,
    image: Image,
    index: u64,
    /// What is in each set object and on each leaf's list ever committed.
    sets: BTreeMap<ObjectId, Vec<Slice>>,
    lists: BTreeMap<ObjectId, Vec<ObjectId>>,
    /// Where each listed object's records are.
    ranges: BTreeMap<ObjectId, (Offset, Offset)>,
    accepted: BTreeMap<&'static str, u32>,
    refused: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: SeededRandom::new(seed),
            image: Image::new(),
            index: 0,
            sets: BTreeMap::new(),
            lists: BTreeMap::new(),
            ranges: BTreeMap::new(),
            accepted: BTreeMap::new(),
            refused: 0,
        };
        let init = InitCluster {
            cluster_id: world.random.uuid(),
            bucket: String::new(),
            prefix: String::new(),
            features: BTreeMap::new(),
        };
        let _ = world.propose("init", Command::InitCluster(init));
        world.restart_broker();
        world
    }

    fn propose(&mut self, what: &'static str, command: Command) -> Outcome {
        self.index += 1;
        let before = self.image.clone();
        let outcome = replay::apply(&mut self.image, self.index, std::slice::from_ref(&command)).pop();
        let outcome = outcome.expect("one command, one outcome");
        match &outcome {
            Ok(_) => {
                *self.accepted.entry(what).or_default() += 1;
                self.learn(&command);
            }
            Err(_) => {
                self.refused += 1;
                let mut after = self.image.clone();
                after.applied_index = before.applied_index;
                assert_eq!(after, before, "a refusal changed something");
            }
        }
        self.check(&before, &command);
        outcome
    }

    /// What an accepted command's objects hold.
    fn learn(&mut self, command: &Command) {
        match command {
            Command::CommitUpload(upload) => {
                if let Some(set) = &upload.set_object {
                    self.sets.insert(set.id, set.slices.clone());
                }
                self.ranges.extend(upload.stream_objects.iter().map(|o| (o.id, (o.from, o.to))));
            }
            Command::CommitCompaction(compaction) => {
                self.sets.extend(compaction.set_outputs.iter().map(|set| (set.id, set.slices.clone())));
                for swap in &compaction.streams {
                    self.ranges.extend(swap.new_objects.iter().map(|o| (o.id, (o.from, o.to))));
                }
            }
            _ => {}
        }
    }

    fn check(&self, before: &Image, command: &Command) {
        for row in self.image.streams() {
            assert!(row.log_start <= row.so_end && row.so_end <= row.committed_end, "{command:?}: {row:?}");
            if let Some(was) = before.stream(row.stream) {
                assert!(
                    was.log_start <= row.log_start && was.so_end <= row.so_end,
                    "{command:?}: {was:?} {row:?}"
                );
                assert!(was.committed_end <= row.committed_end, "{command:?}: {was:?} {row:?}");
                let moved = was.owner != row.owner;
                assert!(if moved {
                    was.leader_epoch < row.leader_epoch
                } else {
                    was.leader_epoch == row.leader_epoch
                });
            }
            self.check_tiling(row.stream, command);
        }
        self.check_places(command);
        if self.index.is_multiple_of(50) {
            let snapshot = snapshot::encode(&self.image);
            let mut chunks = snapshot.chunks.iter();
            let restored = snapshot::decode(&snapshot.root, |_| chunks.next().cloned());
            assert_eq!(restored.as_ref(), Ok(&self.image));
        }
    }

    fn check_tiling(&self, stream: StreamId, command: &Command) {
        let row = self.image.stream(stream).expect("asked for a live one");
        let start = Offset(i64::MIN);
        let objects: Vec<_> = self.image.stream_objects(stream, start).map(|o| (o.from, o.to)).collect();
        let leaves: Vec<_> = self.image.leaves(stream).map(|l| (l.from, l.to)).collect();
        let in_objects = || objects.iter().chain(&leaves).copied();
        assert_eq!(overlap(in_objects()), None, "{command:?}: two objects hold one offset of {stream}");
        let held: Extents = in_objects().collect();
        assert_eq!(
            held.missing(row.log_start, row.so_end),
            None,
            "{command:?}: a hole below so_end of {stream}"
        );
        let slices = self.image.set_objects().flat_map(|set| &self.sets[&set.id]);
        let in_sets = slices.filter(|s| s.stream == stream).map(|s| (s.from, s.to));
        let all: Extents = in_objects().chain(in_sets).collect();
        assert_eq!(all.missing(row.log_start, row.committed_end), None, "{command:?}: a hole in {stream}");
        assert!(
            in_objects().all(|(_, to)| to > row.log_start),
            "{command:?}: something of {stream} is not needed"
        );
        for leaf in self.image.leaves(stream) {
            let list: Extents = self.lists[&leaf.id].iter().map(|id| self.ranges[id]).collect();
            assert_eq!(
                list.missing(leaf.from.max(row.log_start), leaf.to),
                None,
                "{command:?}: a hole in a leaf"
            );
        }
    }

    /// Every id that was handed out is prepared, live, listed, garbage or deleted: one of them.
    fn check_places(&self, command: &Command) {
        let mut seen = BTreeSet::new();
        let mut once = |id: ObjectId| assert!(seen.insert(id), "{command:?}: {id} is in two places");
        self.image.all_prepared().for_each(|row| once(row.id));
        self.image.set_objects().for_each(|row| once(row.id));
        self.image.stream_objects.values().for_each(|row| once(row.id));
        for leaf in self.image.leaves.values() {
            once(leaf.id);
            self.lists[&leaf.id].iter().for_each(|id| once(*id));
        }
        for garbage in self.image.garbage() {
            once(garbage.key.object);
            if garbage.kind == GarbageKind::LeafAndListed {
                self.lists[&garbage.key.object].iter().for_each(|id| once(*id));
            }
        }
        assert!(seen.iter().all(|id| *id < self.image.counters().object));
    }

    fn below(&self, n: usize) -> usize {
        self.random.below(n as u64) as usize
    }

    fn chance(&self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn pick<T: Clone>(&self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.below(list.len())].clone()) }
    }

    fn incarnation(&self) -> Incarnation {
        if self.chance(25) {
            return Incarnation(self.random.below(self.image.counters().incarnation.0 + 1));
        }
        self.image.broker(BrokerId(1)).expect("registered").incarnation
    }

    fn streams(&self) -> Vec<StreamId> {
        self.image.streams().map(|row| row.stream).collect()
    }

    fn prepare(&mut self, count: usize) -> Vec<ObjectId> {
        let command =
            Command::PrepareObjects { incarnation: self.incarnation(), count: count as u32, ttl_ms: 2_000 };
        match self.propose("prepare", command) {
            Ok(Response::Prepared { first, count }) => {
                (0..u64::from(count)).map(|i| ObjectId(first.0 + i)).collect()
            }
            _ => (0..count as u64).map(ObjectId).collect(),
        }
    }

    /// A new process takes the broker over: seal, then open everything.
    fn restart_broker(&mut self) {
        let register =
            RegisterBroker { broker: BrokerId(1), endpoints: vec![], rack: None, nonce: self.random.uuid() };
        let registered = self.propose("register", Command::RegisterBroker(register));
        let Ok(Response::Registered { incarnation, .. }) = registered else { panic!("{registered:?}") };
        let unsealed: Vec<_> = self
            .image
            .wals()
            .filter(|wal| wal.incarnation != incarnation && wal.state == WalState::Open)
            .map(|wal| wal.id)
            .collect();
        for wal in unsealed {
            let end = Position(self.random.below(100));
            let _ = self.propose("seal", Command::SealWal { wal, executor: incarnation, end });
        }
        let streams = self.streams();
        let opened = self.propose("open", Command::OpenPartitions { incarnation, streams });
        let Ok(Response::Opened(list)) = opened else { panic!("{opened:?}") };
        assert!(list.iter().all(|(_, opened)| opened.is_ok()), "{list:?}");
    }

    fn create_topic(&mut self) {
        let name = format!("t{}", self.random.below(6));
        let create = CreateTopic {
            name,
            id: self.random.uuid(),
            partitions: 1 + self.random.below(3) as u32,
            owners: vec![],
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        let _ = self.propose("create", Command::CreateTopic(create));
    }

    fn upload(&mut self) {
        let mut slices = Vec::new();
        let mut objects = Vec::new();
        for stream in self.streams() {
            if self.chance(2) {
                continue;
            }
            let row = *self.image.stream(stream).expect("listed");
            let wrong = if self.chance(60) { 1 } else { 0 };
            let mut from = Offset(row.committed_end.0 + wrong - 2 * wrong * self.random.below(2) as i64);
            if self.chance(5) {
                let to = from.plus(1 + self.random.below(20) as i64);
                objects.push((stream, from, to));
                from = to;
            }
            if !self.chance(3) {
                slices.push(Slice { stream, from, to: from.plus(1 + self.random.below(20) as i64) });
            }
        }
        if self.chance(20) {
            slices.push(Slice { stream: StreamId(9_999), from: Offset(0), to: Offset(5) });
        }
        let ids = self.prepare(1 + objects.len());
        let set_object =
            (!slices.is_empty()).then(|| NewSetObject { id: ids[0], size: 1, crc32c: 1, slices });
        let stream_objects = objects
            .iter()
            .zip(&ids[1..])
            .map(|(&(stream, from, to), &id)| NewStreamObject { id, stream, from, to, size: 1, crc32c: 1 })
            .collect();
        let upload = CommitUpload { incarnation: self.incarnation(), set_object, stream_objects };
        let outcome = self.propose("upload", Command::CommitUpload(upload.clone()));
        if outcome.is_ok() && self.chance(4) {
            let before = self.image.clone();
            let _ = self.propose("upload again", Command::CommitUpload(upload));
            assert!(before.streams().eq(self.image.streams()), "an upload counted twice");
        }
    }

    /// Splits what set objects hold of one stream into a stream object, sometimes with a wrong end.
    fn split(&mut self) {
        let Some(stream) = self.pick(&self.streams()) else { return };
        let row = *self.image.stream(stream).expect("listed");
        let next = self.image.stream_objects(stream, row.so_end).next().map_or(row.committed_end, |o| o.from);
        let room = next.0 - row.so_end.0;
        if room <= 0 {
            return;
        }
        let to = row.so_end.plus(1 + self.random.below(room as u64) as i64 + i64::from(self.chance(20)));
        let id = self.prepare(1)[0];
        let new_objects = vec![NewStreamObject { id, stream, from: row.so_end, to, size: 1, crc32c: 1 }];
        let swap = StreamSwap { stream, new_objects, ..StreamSwap::default() };
        self.compact("split", vec![], vec![], vec![swap]);
    }

    fn compact(
        &mut self,
        what: &'static str,
        set_inputs: Vec<SetInput>,
        set_outputs: Vec<NewSetObject>,
        streams: Vec<StreamSwap>,
    ) -> bool {
        let incarnation = self.incarnation();
        let compaction = CommitCompaction { incarnation, set_inputs, set_outputs, streams };
        self.propose(what, Command::CommitCompaction(compaction)).is_ok()
    }

    /// Merges two set objects, keeping what lives; sometimes forgets a slice.
    fn merge_sets(&mut self) {
        let live: Vec<ObjectId> = self.image.set_objects().map(|set| set.id).collect();
        if live.len() < 2 {
            return;
        }
        let at = self.below(live.len() - 1);
        let inputs: Vec<SetInput> = live[at..at + 2]
            .iter()
            .map(|id| SetInput { object: *id, slices: self.sets[id].clone() })
            .collect();
        let mut slices: Vec<Slice> = inputs.iter().flat_map(|input| input.slices.clone()).collect();
        slices.retain(|s| self.image.stream(s.stream).is_some_and(|row| row.so_end < s.to));
        slices.sort_unstable();
        if self.chance(8) && !slices.is_empty() {
            slices.remove(self.below(slices.len()));
        }
        let id = self.prepare(1)[0];
        let outputs =
            if slices.is_empty() { vec![] } else { vec![NewSetObject { id, size: 2, crc32c: 2, slices }] };
        self.compact("merge sets", inputs, outputs, vec![]);
    }

    fn retire_sets(&mut self) {
        let objects = self
            .image
            .set_objects()
            .take(2)
            .map(|set| SetInput { object: set.id, slices: self.sets[&set.id].clone() });
        let objects = objects.collect();
        let _ = self.propose("retire", Command::RetireObjects { incarnation: self.incarnation(), objects });
    }

    /// Merges a run of stream objects into one; sometimes with a wrong range.
    fn merge_objects(&mut self) {
        let Some(stream) = self.pick(&self.streams()) else { return };
        let rows: Vec<_> = self.image.stream_objects(stream, Offset(i64::MIN)).copied().collect();
        if rows.len() < 2 {
            return;
        }
        let from = self.below(rows.len() - 1);
        let run = &rows[from..(from + 2 + self.below(3)).min(rows.len())];
        let retired = run.iter().map(|row| (row.from, row.id)).collect();
        let (from, mut to) = (run[0].from, run[run.len() - 1].to);
        if self.chance(10) {
            to = to.plus(self.random.below(3) as i64 - 1);
        }
        let id = self.prepare(1)[0];
        let new_objects = vec![NewStreamObject { id, stream, from, to, size: 2, crc32c: 2 }];
        let swap = StreamSwap { stream, retired, new_objects, ..StreamSwap::default() };
        self.compact("merge objects", vec![], vec![], vec![swap]);
    }

    /// Puts the first stream objects of a stream into a leaf, with the last leaf's list, of which two become one.
    fn make_leaf(&mut self) {
        let Some(stream) = self.pick(&self.streams()) else { return };
        let row = *self.image.stream(stream).expect("listed");
        let rows: Vec<_> = self
            .image
            .stream_objects(stream, Offset(i64::MIN))
            .filter(|o| o.to <= row.so_end)
            .copied()
            .collect();
        let old = self.image.leaves(stream).last().copied();
        if rows.is_empty() {
            return;
        }
        let rows = &rows[..1 + self.below(rows.len())];
        let ids = self.prepare(2);
        let mut list: Vec<ObjectId> = old.iter().flat_map(|leaf| self.lists[&leaf.id].clone()).collect();
        let mut swap = StreamSwap {
            stream,
            listed: rows.iter().map(|row| (row.from, row.id)).collect(),
            leaves: old.iter().map(|leaf| (leaf.from, leaf.id)).collect(),
            ..StreamSwap::default()
        };
        if list.len() >= 2 && self.chance(2) {
            swap.unlisted = list.drain(..2).collect();
            swap.listed_new = vec![ids[1]];
            let range = (self.ranges[&swap.unlisted[0]].0, self.ranges[&swap.unlisted[1]].1);
            self.ranges.insert(ids[1], range);
            list.insert(0, ids[1]);
        }
        list.extend(rows.iter().map(|row| row.id));
        let from = old.map_or(rows[0].from, |leaf| leaf.from);
        let mut count = list.len() as u32;
        assert!(count <= LEAF_OBJECTS_MAX);
        if self.chance(15) {
            count += 1;
        }
        let to = rows[rows.len() - 1].to;
        swap.new_leaves = vec![NewLeaf { id: ids[0], from, to, count, size: 1, crc32c: 1 }];
        self.lists.insert(ids[0], list);
        self.compact("leaf", vec![], vec![], vec![swap]);
    }

    fn advance(&mut self) {
        let Some(stream) = self.pick(&self.streams()) else { return };
        let row = *self.image.stream(stream).expect("listed");
        let length = row.committed_end.0 - row.log_start.0;
        let to = row.log_start.plus(self.random.below(length as u64 / 2 + 4) as i64);
        let to = if self.chance(15) { row.committed_end.plus(5) } else { to };
        let _ =
            self.propose("advance", Command::AdvanceLogStart { incarnation: self.incarnation(), stream, to });
    }

    fn collect(&mut self) {
        let objects = self.image.garbage_due(self.image.time_ms(), 500).map(|g| g.key).collect();
        let _ = self.propose("collect", Command::ConfirmDeleted { incarnation: self.incarnation(), objects });
    }

    fn delete_topic(&mut self) {
        let topics: Vec<_> = self.image.topics().map(|topic| topic.id).collect();
        if let Some(topic) = self.pick(&topics) {
            let _ = self.propose("delete", Command::DeleteTopic { topic });
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..4 => self.create_topic(),
            4..5 => self.delete_topic(),
            5..7 => self.restart_broker(),
            7..37 => self.upload(),
            37..52 => self.split(),
            52..60 => self.merge_sets(),
            60..66 => self.retire_sets(),
            66..78 => self.merge_objects(),
            78..86 => self.make_leaf(),
            86..92 => self.advance(),
            92..95 => self.collect(),
            _ => {
                let now_ms = self.image.time_ms() + self.random.below(400) as i64;
                let _ = self.propose("tick", Command::Tick { now_ms });
            }
        }
    }
}

#[test]
fn whatever_is_asked_the_references_tile_every_stream() {
    let mut accepted: BTreeMap<&str, u32> = BTreeMap::new();
    let mut refused = 0;
    for seed in 0..24 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.accepted.iter().for_each(|(what, n)| *accepted.entry(what).or_default() += n);
        refused += world.refused;
    }
    // The walk must have gone everywhere, or it shows nothing.
    for what in [
        "create",
        "delete",
        "register",
        "seal",
        "open",
        "prepare",
        "upload",
        "upload again",
        "split",
        "merge sets",
        "retire",
        "merge objects",
        "leaf",
        "advance",
        "collect",
        "tick",
    ] {
        assert!(accepted.get(what).is_some_and(|n| *n >= 20), "{what}: {accepted:?}");
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn one_log_gives_one_image() {
    let run = |seed| {
        let mut world = World::new(seed);
        (0..300).for_each(|_| world.step());
        snapshot::encode(&world.image)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
