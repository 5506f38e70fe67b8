//! The bucket against the metadata.
//!
//! Owns: what was ever written under each key, and the footers of live objects (they never change).
//! Invariants checked: S1, S4, S5 on each event; S2, S3, P7 and S6 in audits.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use object_store::path::Path;
use tidegate_common::{Lineage, ObjectId, Offset, StreamId};
use tidegate_metadata::Image;
use tidegate_s3stream::format::{FooterOrMore, decode_leaf, object};
use tidegate_s3stream::io::sim_store::StoreEvent;

use super::super::world::World;
use super::super::{rules, sometimes};

#[derive(Default)]
pub struct Bucket {
    written: BTreeMap<Path, (u32, u64)>,
    deleted: BTreeSet<Path>,
    footers: BTreeMap<ObjectId, Vec<Range>>,
    leaves: BTreeMap<ObjectId, Vec<Listed>>,
}

fn object_key(lineage: Lineage, id: ObjectId) -> Path {
    Path::from(format!("sim/data/{:08x}/{:016x}", lineage.0, id.0))
}

fn parse(key: &Path) -> Option<ObjectId> {
    let (dir, id) = key.as_ref().rsplit_once('/')?;
    dir.starts_with("sim/data/").then(|| u64::from_str_radix(id, 16).ok()).flatten().map(ObjectId)
}

/// Objects with lineage, size and checksum.
type Objects = BTreeMap<ObjectId, (Lineage, u64, u32)>;

/// One slice of an object.
#[derive(Clone, Copy)]
struct Range {
    stream: StreamId,
    from: Offset,
    to: Offset,
}

#[derive(Clone, Copy)]
struct Listed {
    id: ObjectId,
    lineage: Lineage,
    from: Offset,
    to: Offset,
    size: u64,
    checksum: u32,
}

impl Bucket {
    /// What happened in the bucket since the last step.
    pub fn events(&mut self, world: &World) {
        let events = world.bucket.take_events();
        if events.is_empty() {
            return;
        }
        let image = world.fold.image();
        let deletes = events.iter().any(|event| matches!(event, StoreEvent::Deleted { .. }));
        let referenced = if deletes { self.referenced(world, &image) } else { BTreeMap::new() };
        for event in events {
            self.event(world, &image, &referenced, event);
        }
    }

    fn event(&mut self, world: &World, image: &Image, referenced: &Objects, event: StoreEvent) {
        match event {
            StoreEvent::Written { key, crc32c, len } => {
                if self.deleted.contains(&key) && parse(&key).is_some() {
                    world.history.note(&format!("a PUT of {key} landed after its DELETE"));
                    world.history.count(sometimes::ZOMBIE_PUT);
                    world.zombies.lock().insert(key.clone());
                }
                let before = self.written.insert(key.clone(), (crc32c, len));
                // The probe at a start tries what an overwrite does, under keys of its own.
                if before.is_some_and(|before| before != (crc32c, len))
                    && !key.as_ref().starts_with("sim/probe/")
                {
                    let why = format!("{key} was {before:?}, now {:?}", (crc32c, len));
                    world.history.violate(&rules::S1, &why);
                }
            }
            StoreEvent::Deleted { key, readers, .. } => {
                if readers > 0 {
                    world.history.count(sometimes::GC_RACED_READER);
                }
                if let Some(id) = parse(&key)
                    && referenced.contains_key(&id)
                {
                    world.history.violate(&rules::S4, &format!("{key} was deleted and is referred to"));
                }
                self.deleted.insert(key);
            }
            StoreEvent::Missing { key } => {
                if self.deleted.contains(&key) {
                    world.history.count(sometimes::GC_RACED_READER);
                }
                if let Some(id) = parse(&key)
                    && !world.is_vanished(&key)
                    && image_has(image, id)
                {
                    world.history.violate(&rules::S5, &format!("{key} was not found and is referred to"));
                }
            }
        }
    }

    /// Every object that the image refers to, with what it says of it.
    fn referenced(&mut self, world: &World, image: &Image) -> Objects {
        let mut all = BTreeMap::new();
        for set in image.set_objects() {
            all.insert(set.id, (set.lineage, set.size, set.crc32c));
        }
        for partition in image.streams() {
            for row in image.stream_objects(partition.stream, Offset::ZERO) {
                all.insert(row.id, (row.lineage, row.size, row.crc32c));
            }
            for leaf in image.leaves(partition.stream) {
                all.insert(leaf.id, (leaf.lineage, leaf.size, leaf.crc32c));
                for listed in self.leaf(world, leaf.id, leaf.lineage) {
                    all.insert(listed.id, (listed.lineage, listed.size, listed.checksum));
                }
            }
        }
        all
    }

    fn leaf(&mut self, world: &World, id: ObjectId, lineage: Lineage) -> Vec<Listed> {
        if let Some(rows) = self.leaves.get(&id) {
            return rows.clone();
        }
        let Some(bytes) = world.bucket.bytes(&object_key(lineage, id)) else { return Vec::new() };
        let Ok(leaf) = decode_leaf(&bytes) else {
            world.history.violate(&rules::S2, &format!("leaf {} cannot be decoded", id.0));
            return Vec::new();
        };
        let listed = |row: &tidegate_s3stream::manager::StreamObjectRow| Listed {
            id: row.id,
            lineage: row.lineage,
            from: row.from,
            to: row.to,
            size: row.size,
            checksum: row.checksum,
        };
        let rows: Vec<Listed> = leaf.rows.iter().map(listed).collect();
        self.leaves.insert(id, rows.clone());
        rows
    }

    fn footer(&mut self, world: &World, id: ObjectId, bytes: &Bytes) -> Vec<Range> {
        if let Some(ranges) = self.footers.get(&id) {
            return ranges.clone();
        }
        let Ok(FooterOrMore::Footer(footer)) = object::decode_footer(bytes.len() as u64, bytes) else {
            world.history.violate(&rules::S2, &format!("the footer of {} cannot be decoded", id.0));
            return Vec::new();
        };
        let mut ranges = Vec::new();
        for slice in &footer.slices {
            ranges.push(Range { stream: slice.stream, from: slice.from, to: slice.to });
            let mut next = slice.from;
            for block in &slice.blocks {
                let Some(span) = block.bytes.span() else { continue };
                let at = span.range();
                let body = bytes.slice(at.start as usize..at.end as usize);
                let Ok(batches) = object::decode_block(block, body) else {
                    let why = format!("a block of {} at {} cannot be decoded", id.0, block.from);
                    world.history.violate(&rules::S2, &why);
                    continue;
                };
                for batch in &batches {
                    if batch.head.base_offset() != next {
                        let why = format!("object {}: {next} is followed by {:?}", id.0, batch.head);
                        world.history.violate(&rules::P7, &why);
                    }
                    next = batch.head.next_offset();
                }
            }
            if next != slice.to {
                let why = format!("object {}: blocks end at {next}, the slice at {}", id.0, slice.to);
                world.history.violate(&rules::P7, &why);
            }
        }
        self.footers.insert(id, ranges.clone());
        ranges
    }

    /// S2 and S3 over everything that the newest image refers to.
    pub fn audit(&mut self, world: &World) {
        world.history.count("audits");
        let image = world.fold.image();
        let mut slices: BTreeMap<StreamId, Vec<(Offset, Offset)>> = BTreeMap::new();
        for (id, (lineage, size, crc32c)) in self.referenced(world, &image) {
            let key = object_key(lineage, id);
            if world.is_vanished(&key) {
                // Nobody can say what it holds: this audit has no verdict.
                return;
            }
            let Some(bytes) = world.bucket.bytes(&key) else {
                world.history.violate(&rules::S2, &format!("{key} is referred to and gone"));
                return;
            };
            if self.written.get(&key) != Some(&(crc32c, size)) || bytes.len() as u64 != size {
                let why =
                    format!("{key} has {:?}, the metadata says {:?}", self.written.get(&key), (crc32c, size));
                world.history.violate(&rules::S2, &why);
            }
            if self.leaves.contains_key(&id) {
                continue;
            }
            for range in self.footer(world, id, &bytes) {
                if image.set_object(id).is_some() {
                    slices.entry(range.stream).or_default().push((range.from, range.to));
                }
            }
        }
        for partition in image.streams() {
            let mut objects: Vec<(Offset, Offset)> =
                image.stream_objects(partition.stream, Offset::ZERO).map(|o| (o.from, o.to)).collect();
            if !objects.is_empty() {
                world.history.count(sometimes::STREAM_OBJECT);
            }
            let leaves: Vec<_> = image.leaves(partition.stream).copied().collect();
            for leaf in leaves {
                world.history.count(sometimes::LEAF_MADE);
                objects.extend(self.leaf(world, leaf.id, leaf.lineage).iter().map(|l| (l.from, l.to)));
            }
            let stream = partition.stream;
            self.tiled(
                world,
                stream,
                "stream objects",
                &mut objects,
                (partition.log_start, partition.so_end),
            );
            // A stream object may stand above a slice, so both count here.
            let mut both = slices.remove(&stream).unwrap_or_default();
            both.extend(objects);
            let above = partition.so_end.max(partition.log_start);
            self.tiled(world, stream, "slices", &mut both, (above, partition.committed_end));
        }
    }

    fn tiled(
        &self,
        world: &World,
        stream: StreamId,
        what: &str,
        ranges: &mut [(Offset, Offset)],
        (from, to): (Offset, Offset),
    ) {
        ranges.sort();
        let mut next = from;
        for (start, end) in ranges.iter() {
            if *start > next {
                break;
            }
            next = next.max(*end);
        }
        if next < to {
            let why =
                format!("{what} of stream {} cover {from} to {next}, not to {to}: {ranges:?}", stream.0);
            world.history.violate(&rules::S3, &why);
        }
    }

    /// S6 while topics live: what is there is known to the metadata.
    pub fn audit_listing(&mut self, world: &World) {
        let image = world.fold.image();
        let referenced = self.referenced(world, &image);
        let garbage: BTreeSet<ObjectId> = image.garbage().map(|g| g.key.object).collect();
        // A leaf that goes with what it lists.
        let listed: BTreeSet<ObjectId> =
            garbage.iter().filter_map(|id| self.leaves.get(id)).flatten().map(|l| l.id).collect();
        for (key, _) in world.bucket.keys() {
            let Some(id) = parse(&key) else { continue };
            let known = world.zombies.lock().contains(&key)
                || referenced.contains_key(&id)
                || image.prepared(id).is_some()
                || garbage.contains(&id)
                || listed.contains(&id);
            if !known {
                world.history.violate(&rules::S6, &format!("{key} is unknown to the metadata"));
            }
        }
    }

    /// An object that the image refers to, to take away for a while: never a leaf, and not what a leaf lists.
    pub fn victim(&self, world: &World, pick: u64) -> Option<Path> {
        let image = world.fold.image();
        let sets = image.set_objects().map(|o| (o.id, o.lineage));
        let streams = image
            .streams()
            .flat_map(|p| image.stream_objects(p.stream, Offset::ZERO).map(|o| (o.id, o.lineage)));
        let all: Vec<(ObjectId, Lineage)> = sets.chain(streams).collect();
        let (id, lineage) = *all.get((pick % all.len().max(1) as u64) as usize)?;
        Some(object_key(lineage, id))
    }

    /// Puts vanished objects back that are still referred to.
    pub fn restore(&mut self, world: &World, all: bool) {
        for (key, bytes) in world.found_again(all) {
            let image = world.fold.image();
            let referred = parse(&key).is_some_and(|id| self.referenced(world, &image).contains_key(&id));
            if referred {
                world.bucket.plant(&key, bytes);
                world.history.note(&format!("object {key} is back"));
            }
        }
    }
}

/// Without looking into leaves.
fn image_has(image: &Image, id: ObjectId) -> bool {
    image.set_object(id).is_some()
        || image.streams().any(|p| {
            image.stream_objects(p.stream, Offset::ZERO).any(|o| o.id == id)
                || image.leaves(p.stream).any(|l| l.id == id)
        })
}
