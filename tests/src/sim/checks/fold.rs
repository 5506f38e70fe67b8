//! The metadata log, entry by entry: a second state machine beside the product's.
//!
//! Owns: the reference image, folded from the first application of each entry, and what each entry was.
//! Invariants checked: M1 (committed entries never change), M2 (images equal), O2, S7, W5.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_common::{Offset, Position, WalId};
use tidegate_metadata::{Applied, Image, replay, snapshot};
use tidegate_segment::disk::sim::SimDisk;

use super::super::history::History;
use super::super::rules;

type Hash = [u8; 32];

#[derive(Default)]
struct Inner {
    reference: Image,
    /// Term, entry and image at each index.
    seen: BTreeMap<u64, (u64, Hash, Hash)>,
    forks: u64,
}

pub struct Fold {
    history: History,
    inner: Mutex<Inner>,
}

fn hash_of(image: &Image) -> Hash {
    *blake3::hash(&snapshot::encode(image).root).as_bytes()
}

impl Fold {
    pub fn new(history: History) -> Arc<Self> {
        Arc::new(Self { history, inner: Mutex::default() })
    }

    /// The newest image that any life has applied.
    pub fn image(&self) -> Image {
        self.inner.lock().reference.clone()
    }

    /// The product applied an entry, for the first time or again after a restart.
    pub fn applied(&self, applied: &Applied<'_>, disk: &SimDisk) {
        let mut inner = self.inner.lock();
        let index = applied.index;
        let entry = *blake3::hash(format!("{:?}", applied.commands).as_bytes()).as_bytes();
        let image = hash_of(applied.image);
        if let Some((term, entry_before, image_before)) = inner.seen.get(&index).copied() {
            if (term, entry_before) != (applied.term, entry) {
                let why = format!("the entry at {index} of term {term} is another in term {}", applied.term);
                self.history.violate(&rules::M1, &why);
            } else if image_before != image {
                self.history.violate(&rules::M2, &format!("the image at {index} differs in another life"));
            }
            return;
        }
        if let Some((last, (term, ..))) = inner.seen.last_key_value()
            && (index != last + 1 || applied.term < *term)
        {
            let why = format!("after {last} of term {term} comes {index} of term {}", applied.term);
            self.history.violate(&rules::M1, &why);
        }
        let before = inner.reference.clone();
        replay::apply(&mut inner.reference, index, applied.commands);
        if hash_of(&inner.reference) != image {
            self.history.violate(&rules::M2, &format!("the image at {index} is not the fold of the log"));
        }
        inner.seen.insert(index, (applied.term, entry, image));
        inner.forks += 1;
        let forks = inner.forks;
        drop(inner);
        self.owners(&before, applied.image);
        self.ids(&before, applied.image);
        self.trims(&before, applied.image, disk, forks);
    }

    fn owners(&self, before: &Image, now: &Image) {
        for partition in now.streams() {
            let Some(was) = before.stream(partition.stream) else { continue };
            let (epoch, old) = (partition.leader_epoch, was.leader_epoch);
            if epoch < old || (partition.owner != was.owner && was.owner.is_some() && epoch <= old) {
                let why = format!(
                    "stream {} went from {:?} in epoch {old} to {:?} in epoch {epoch}",
                    partition.stream.0, was.owner, partition.owner
                );
                self.history.violate(&rules::O2, &why);
            }
            if partition.log_start < was.log_start
                || partition.so_end < was.so_end
                || partition.committed_end < was.committed_end
            {
                self.history.violate(&rules::F7, &format!("{was:?} became {partition:?}"));
            }
        }
    }

    fn ids(&self, before: &Image, now: &Image) {
        let (old, new) = (before.counters(), now.counters());
        let fresh = now.all_prepared().filter(|p| before.prepared(p.id).is_none());
        for prepared in fresh {
            if prepared.id < old.object || prepared.id >= new.object {
                let why = format!("object {:?} was handed out between {old:?} and {new:?}", prepared.id);
                self.history.violate(&rules::S7, &why);
            }
        }
        if new.object < old.object || new.wal < old.wal || new.producer < old.producer {
            self.history.violate(&rules::S7, &format!("{old:?} became {new:?}"));
        }
    }

    /// A trim mark is applied before the WAL's files go, so what it gives up is still on the disk.
    fn trims(&self, before: &Image, now: &Image, disk: &SimDisk, forks: u64) {
        for row in now.wals() {
            let was = before.wal(row.id).map_or(Position(1), |w| w.trim);
            // A fork costs as much as everything else of an entry: one in three is looked at.
            if row.trim <= was || !forks.is_multiple_of(3) {
                continue;
            }
            let fork = disk.fork(forks);
            fork.kill();
            fork.heal();
            if let Err(why) = below_is_committed(&fork, row.id, (was, row.trim), now) {
                self.history.violate(&rules::W5, &why);
            }
        }
    }
}

fn below_is_committed(
    disk: &SimDisk,
    wal: WalId,
    (from, below): (Position, Position),
    image: &Image,
) -> Result<(), String> {
    let disk = Arc::new(disk.clone());
    // The executor of a fork's seal is nobody.
    let Ok((_, records)) = tidegate_segment::seal(disk, "wal", wal.0, u64::MAX, 0) else {
        // Damage that a fault planted: the product meets it too.
        return Ok(());
    };
    for record in records.iter().filter(|r| r.seq >= from.0 && r.seq < below.0 && r.meta.count > 0) {
        let end = Offset(record.meta.base + i64::from(record.meta.count));
        let stream = tidegate_common::StreamId(record.meta.stream);
        let Some(partition) = image.stream(stream) else { continue };
        if end > partition.committed_end.max(partition.log_start) {
            return Err(format!(
                "WAL {wal} is trimmed below {below}, position {} of stream {} ends at {end}, committed is {}",
                record.seq, stream.0, partition.committed_end
            ));
        }
    }
    Ok(())
}
