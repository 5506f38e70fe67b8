//! Power losses by name: each subset of what was not synced, one by one where there are few, drawn where there are many.
//!
//! Owns: what the parts are that survive or not, and in which order they are counted.
//! Invariants: parts are the dirty sectors of each file, its length, each change of a directory, and each directory that
//! has no durable name; [`Loss::Keep`] keeps them whole, [`Loss::Drawn`] may tear sectors inside as well.

use super::{SimDisk, put};

/// One way in which a power loss may leave the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The process dies and the machine does not: nothing is lost, and nothing is synced either.
    Kill,
    /// Part n survives if bit n is set.
    Keep(u64),
    /// What survives is drawn from this seed.
    Drawn(u64),
}

/// How many losses of one moment are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breadth {
    /// All subsets, if there are no more than this.
    pub subsets_max: u64,
    /// Beside them, or in their place, as many drawn ones.
    pub drawn: u64,
}

impl SimDisk {
    /// What a power loss decides about now, each for itself.
    #[must_use]
    pub fn unsynced_parts(&self) -> u32 {
        let state = self.state.lock();
        let of_files: usize = state
            .inodes
            .values()
            .map(|inode| inode.dirty.len() + usize::from(inode.len != inode.len_medium))
            .sum();
        let of_dirs: usize =
            state.dirs.values().map(|dir| dir.pending.len() + usize::from(!dir.is_durable)).sum();
        u32::try_from(of_files + of_dirs).unwrap_or(u32::MAX)
    }

    /// The losses of this moment: a kill, the subsets of what is not synced, and drawn ones.
    #[must_use]
    pub fn losses(&self, breadth: Breadth) -> Vec<Loss> {
        let parts = self.unsynced_parts();
        let subsets = 1u64.checked_shl(parts).filter(|n| parts < 64 && *n <= breadth.subsets_max);
        let mut losses = vec![Loss::Kill];
        losses.extend((0..subsets.unwrap_or(0)).map(Loss::Keep));
        // With nothing in flight there is nothing to draw.
        let drawn = if parts == 0 { 0 } else { breadth.drawn };
        losses.extend((0..drawn).map(Loss::Drawn));
        losses
    }

    /// A copy of the disk as it is after this loss, switched on again.
    #[must_use]
    pub fn after(&self, loss: Loss) -> Self {
        let seed = match loss {
            Loss::Kill => 0,
            Loss::Keep(bits) => bits,
            // Moods follow from the first draw, so that neighbouring seeds must differ in all bits.
            Loss::Drawn(seed) => seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        };
        let disk = self.fork(seed);
        match loss {
            Loss::Kill => disk.kill(),
            Loss::Drawn(_) => drop(disk.crash()),
            Loss::Keep(bits) => disk.keep(bits),
        }
        disk
    }

    fn keep(&self, bits: u64) {
        let mut part = 0;
        let mut survives = || {
            let kept = bits & (1 << part) != 0;
            part += 1;
            kept
        };
        let mut state = self.state.lock();
        for inode in state.inodes.values_mut() {
            for sector in std::mem::take(&mut inode.dirty) {
                if survives() {
                    let new = inode.cache.get(&sector).cloned();
                    put(&mut inode.medium, sector, new);
                }
            }
            if inode.len != inode.len_medium && survives() {
                inode.len_medium = inode.len;
            }
            inode.len = inode.len_medium;
            inode.cache = inode.medium.clone();
            inode.handles = 0;
        }
        let mut gone = Vec::new();
        for (path, dir) in &mut state.dirs {
            if !dir.is_durable && !survives() {
                gone.push(path.clone());
            }
            for change in std::mem::take(&mut dir.pending) {
                if survives() {
                    change.apply(&mut dir.medium);
                }
            }
            dir.entries = dir.medium.clone();
            dir.is_durable = true;
        }
        for path in gone {
            state.dirs.retain(|at, _| *at != path && !at.starts_with(&format!("{path}/")));
        }
        state.restart();
        state.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::disk::Disk;

    #[test]
    fn every_subset_of_what_is_not_synced_is_one_loss() {
        let disk = SimDisk::new(1);
        let file = disk.create("f", 1024).expect("creates");
        file.sync().expect("syncs");
        disk.sync_dir("").expect("syncs");
        file.write_at(&[&[1; 512], &[2; 512]], 0).expect("writes");
        disk.create("g", 0).expect("creates");
        assert_eq!(disk.unsynced_parts(), 3);
        let mut seen = BTreeSet::new();
        let losses = disk.losses(Breadth { subsets_max: 8, drawn: 0 });
        for loss in losses.iter().filter(|loss| **loss != Loss::Kill) {
            let after = disk.after(*loss);
            let bytes = after.bytes("f").expect("is there");
            seen.insert((bytes[0], bytes[512], after.list("").expect("lists")));
        }
        assert_eq!((seen.len(), losses.len()), (8, 9));
        assert_eq!(disk.losses(Breadth { subsets_max: 7, drawn: 2 }).len(), 3, "too many: drawn");
    }
}
