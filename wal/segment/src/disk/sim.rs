//! A disk that loses what a real one may lose.
//!
//! Owns: a tree of files as sectors of 512 bytes, each with what the page cache shows and what the medium holds.
//! The model: a write lands in the cache. A sync moves a file's dirty sectors and its length to the medium, a
//! directory sync its entries. A crash keeps any subset of what was not synced: of sectors (each may be old, new
//! or torn inside), of lengths, of directory changes. After a failed sync the dirty sectors are clean in the cache
//! and not on the medium. An uncached read shows what the device holds: dirty sectors too (they are written back
//! first, into its volatile cache), but not those that a failed sync dropped.
//! Invariants: everything follows from the seed and the calls made. Never: knows what is in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_common::random::{Random, SeededRandom};

use super::{Disk, File};

mod calls;
mod losses;

pub use losses::{Breadth, Loss};

const SECTOR: usize = 512;

/// One sync call, as seen by [`SimDisk::ignore_syncs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEvent {
    pub path: String,
    pub is_dir: bool,
    /// How many syncs of this path came before.
    pub nth: u64,
}

type Ignore = Arc<dyn Fn(&SyncEvent) -> bool + Send + Sync>;
type Stall = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What a power loss made of one file's sectors that were not synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survived {
    pub path: String,
    pub kept: u64,
    pub lost: u64,
    pub torn: u64,
}

/// Damage done by [`SimDisk::rot`], so that it can be undone from "an undamaged copy".
#[derive(Clone)]
pub struct Rot {
    pub path: String,
    pub offset: u64,
    mask: u8,
    inode: u64,
    damaged: Arc<[u8; SECTOR]>,
}

/// Shared: clones are handles to the same disk. [`SimDisk::fork`] copies it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    /// Handles from before a crash or kill are void.
    life: u64,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<String, Dir>,
    random: u64,
    /// Calls that change something, since the disk was made.
    ops: u64,
    power_off_at: Option<u64>,
    is_off: bool,
    capacity: Option<u64>,
    failing_sync: Option<u64>,
    failing_write: Option<u64>,
    is_broken: bool,
    syncs: BTreeMap<String, u64>,
    sync_count: u64,
    write_count: u64,
    ignore: Option<Ignore>,
    history: Vec<SyncEvent>,
    /// Paths whose write or sync failed by a fault, in order.
    failures: Vec<String>,
    stall: Option<Stall>,
    keeps_history: bool,
    refused_for_space: u64,
}

#[derive(Clone, Default)]
struct Inode {
    cache: BTreeMap<u64, Arc<[u8; SECTOR]>>,
    medium: BTreeMap<u64, Arc<[u8; SECTOR]>>,
    /// Sectors of the cache that are not on the medium, and will be after a sync.
    dirty: BTreeSet<u64>,
    len: u64,
    len_medium: u64,
    handles: u32,
}

#[derive(Clone, Default)]
struct Dir {
    entries: BTreeMap<String, u64>,
    medium: BTreeMap<String, u64>,
    pending: Vec<Change>,
    is_durable: bool,
}

#[derive(Clone)]
enum Change {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

impl SimDisk {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let root = Dir { is_durable: true, ..Dir::default() };
        let state = State {
            life: 0,
            next_inode: 1,
            inodes: BTreeMap::new(),
            dirs: BTreeMap::from([(String::new(), root)]),
            random: seed,
            ops: 0,
            power_off_at: None,
            is_off: false,
            capacity: None,
            failing_sync: None,
            failing_write: None,
            is_broken: false,
            syncs: BTreeMap::new(),
            sync_count: 0,
            write_count: 0,
            ignore: None,
            history: Vec::new(),
            failures: Vec::new(),
            stall: None,
            keeps_history: true,
            refused_for_space: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// As [`SimDisk::new`], for long runs: [`SimDisk::history`] stays empty.
    #[must_use]
    pub fn without_history(seed: u64) -> Self {
        let disk = Self::new(seed);
        disk.state.lock().keeps_history = false;
        disk
    }

    /// An independent copy as of now, with its own seed and no open handles.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.state.lock();
        let mut inodes = state.inodes.clone();
        inodes.values_mut().for_each(|inode| inode.handles = 0);
        let copy = State {
            inodes,
            dirs: state.dirs.clone(),
            random: seed,
            syncs: state.syncs.clone(),
            ignore: state.ignore.clone(),
            history: Vec::new(),
            failures: Vec::new(),
            stall: None,
            life: state.life + 1,
            ..*state
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// Calls so far that changed something or synced.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.state.lock().ops
    }

    /// Power goes off in the middle of the `n`-th changing call from now (0 is the next one): it and all later
    /// calls fail, until [`SimDisk::crash`].
    pub fn fail_after(&self, n: u64) {
        let mut state = self.state.lock();
        state.power_off_at = Some(state.ops + n);
    }

    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// Power loss and start: any subset of what was not synced survives. Open handles and faults to come are void.
    /// Gives the files that had something in flight.
    pub fn crash(&self) -> Vec<Survived> {
        self.crash_in(None)
    }

    /// The harshest power loss: nothing survives that was not synced.
    pub fn crash_hard(&self) {
        self.crash_in(Some(0));
    }

    fn crash_in(&self, mood: Option<u64>) -> Vec<Survived> {
        let mut state = self.state.lock();
        let random = SeededRandom::new(state.random);
        state.random = random.next_u64();
        // How kind this crash is: nothing in flight survives, everything does, or sector by sector.
        let drawn = random.below(8);
        let mood = mood.unwrap_or(drawn);
        let paths = state.paths();
        let mut survived = Vec::new();
        for (id, inode) in &mut state.inodes {
            let (kept, lost, torn) = inode.crash(&random, mood);
            if kept + lost + torn > 0 {
                let path = paths.get(id).cloned().unwrap_or_default();
                survived.push(Survived { path, kept, lost, torn });
            }
        }
        let dropped: Vec<String> = state
            .dirs
            .iter()
            .filter(|(_, dir)| !dir.is_durable && !survives(&random, mood))
            .map(|(path, _)| path.clone())
            .collect();
        for path in dropped {
            state.dirs.retain(|at, _| *at != path && !at.starts_with(&format!("{path}/")));
        }
        for dir in state.dirs.values_mut() {
            dir.crash(&random, mood);
        }
        state.restart();
        state.collect();
        survived
    }

    /// The process dies and starts again; the machine does not. Open handles are void, nothing is lost.
    pub fn kill(&self) {
        self.state.lock().restart();
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().inodes.values().map(|i| i.len).sum()
    }

    /// Files held open.
    #[must_use]
    pub fn open_handles(&self) -> u64 {
        self.state.lock().inodes.values().map(|i| u64::from(i.handles)).sum()
    }

    /// Paths whose write or sync failed by a fault since the last call, in order.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().failures)
    }

    /// Asked by [`Disk::stall`] from now on.
    pub fn set_stall(&self, stall: impl Fn() -> Duration + Send + Sync + 'static) {
        self.state.lock().stall = Some(Arc::new(stall));
    }

    /// A number that changes when `path` is replaced by another file.
    #[must_use]
    pub fn identity(&self, path: &str) -> Option<u64> {
        self.state.lock().inode(path).ok()
    }

    /// Forgets a directory with all that is in it, as an operator's mistake does.
    pub fn forget_dir(&self, path: &str) {
        let mut state = self.state.lock();
        let below = format!("{path}/");
        state.dirs.retain(|at, _| at != path && !at.starts_with(&below));
        state.collect();
    }

    /// Flips one bit of a random written byte below `prefix`, as a medium that rots does. `None` when nothing is
    /// written there.
    pub fn rot(&self, prefix: &str, random: &SeededRandom) -> Option<Rot> {
        let mut state = self.state.lock();
        let files: Vec<(u64, String)> =
            state.paths().into_iter().filter(|(_, path)| path.starts_with(prefix)).collect();
        let written: Vec<&(u64, String)> =
            files.iter().filter(|(id, _)| !state.inodes[id].medium.is_empty()).collect();
        let (inode, path) = (*written.get(random.below(written.len().max(1) as u64) as usize)?).clone();
        let sectors: Vec<u64> = state.inodes[&inode].medium.keys().copied().collect();
        let sector = sectors[random.below(sectors.len() as u64) as usize];
        let at = random.below(SECTOR as u64);
        let mask = 1 << random.below(8);
        let file = state.inodes.get_mut(&inode).expect("entries name inodes");
        let mut bytes = **file.medium.get(&sector)?;
        bytes[at as usize] ^= mask;
        let damaged = Arc::new(bytes);
        file.medium.insert(sector, Arc::clone(&damaged));
        file.cache.insert(sector, Arc::clone(&damaged));
        Some(Rot { path, offset: sector * SECTOR as u64 + at, mask, inode, damaged })
    }

    /// Undoes a [`Rot`], as putting back an undamaged copy does; false when the sector was written since, or is gone.
    pub fn undo(&self, rot: &Rot) -> bool {
        let mut state = self.state.lock();
        let Some(file) = state.inodes.get_mut(&rot.inode) else { return false };
        let sector = rot.offset / SECTOR as u64;
        if file.medium.get(&sector).is_none_or(|now| !Arc::ptr_eq(now, &rot.damaged)) {
            return false;
        }
        let mut bytes = *rot.damaged;
        bytes[(rot.offset % SECTOR as u64) as usize] ^= rot.mask;
        let whole = Arc::new(bytes);
        for map in [&mut file.medium, &mut file.cache] {
            if map.get(&sector).is_some_and(|now| Arc::ptr_eq(now, &rot.damaged)) {
                map.insert(sector, Arc::clone(&whole));
            }
        }
        true
    }

    /// No fault is due any more, and there is space. A disk that is broken or off stays so until it restarts.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.power_off_at = None;
        state.failing_sync = None;
        state.failing_write = None;
        state.capacity = None;
    }

    /// How often a file could not be made for want of space.
    #[must_use]
    pub fn refused_for_space(&self) -> u64 {
        self.state.lock().refused_for_space
    }

    /// Space for files; creating one beyond it fails.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// The `n`-th file sync from now (0 is the next) fails once, and what it should have synced is dropped.
    pub fn fail_sync(&self, n: u64) {
        let mut state = self.state.lock();
        state.failing_sync = Some(state.sync_count + n);
    }

    /// The `n`-th write from now (0 is the next) fails once, after reaching the cache in part.
    pub fn fail_write(&self, n: u64) {
        let mut state = self.state.lock();
        state.failing_write = Some(state.write_count + n);
    }

    /// Every file sync fails from now on, until the process or the machine restarts.
    pub fn fail_all_syncs(&self) {
        self.state.lock().is_broken = true;
    }

    /// Syncs for which `ignore` says so report success and do nothing. To show that each sync is needed.
    pub fn ignore_syncs(&self, ignore: impl Fn(&SyncEvent) -> bool + Send + Sync + 'static) {
        self.state.lock().ignore = Some(Arc::new(ignore));
    }

    /// All syncs so far, in order.
    #[must_use]
    pub fn history(&self) -> Vec<SyncEvent> {
        self.state.lock().history.clone()
    }

    /// Bytes of `path` that a sync would move to the medium, its length included.
    #[must_use]
    pub fn unsynced_bytes(&self, path: &str) -> u64 {
        let state = self.state.lock();
        state.inode(path).map_or(0, |id| {
            let inode = &state.inodes[&id];
            (inode.dirty.len() * SECTOR) as u64 + inode.len.abs_diff(inode.len_medium)
        })
    }

    /// Flips bits of one byte, in the cache and on the medium, as a medium that rots does.
    ///
    /// # Panics
    /// When the file does not exist: a test's mistake.
    pub fn flip(&self, path: &str, offset: u64, mask: u8) {
        let mut state = self.state.lock();
        let id = state.inode(path).expect("the file to damage exists");
        let inode = state.inodes.get_mut(&id).expect("entries name inodes");
        let (sector, at) = (offset / SECTOR as u64, (offset % SECTOR as u64) as usize);
        for map in [&mut inode.cache, &mut inode.medium] {
            let mut bytes = map.get(&sector).map_or([0; SECTOR], |s| **s);
            bytes[at] ^= mask;
            map.insert(sector, Arc::new(bytes));
        }
    }

    /// The whole file as the cache shows it.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

fn survives(random: &SeededRandom, mood: u64) -> bool {
    match mood {
        0 => false,
        1 => true,
        _ => random.below(2) == 0,
    }
}

fn power_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    fn restart(&mut self) {
        self.life += 1;
        self.is_off = false;
        self.power_off_at = None;
        self.failing_sync = None;
        self.failing_write = None;
        self.is_broken = false;
    }

    fn inode(&self, path: &str) -> io::Result<u64> {
        let (dir, name) = split(path);
        self.dirs
            .get(dir)
            .and_then(|d| d.entries.get(name))
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The path of each inode that has one.
    fn paths(&self) -> BTreeMap<u64, String> {
        let named = self.dirs.iter().flat_map(|(dir, entries)| {
            entries.entries.iter().map(move |(name, id)| {
                (*id, if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") })
            })
        });
        named.collect()
    }

    fn is_on(&self) -> io::Result<()> {
        if self.is_off { Err(power_off()) } else { Ok(()) }
    }

    /// Counts a changing call; true when the power goes off in it.
    fn step(&mut self) -> io::Result<bool> {
        self.is_on()?;
        let now = self.ops;
        self.ops += 1;
        self.is_off = self.power_off_at.is_some_and(|at| now >= at);
        Ok(self.is_off)
    }

    fn dir(&mut self, path: &str) -> io::Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether this sync is to be ignored. Counts it.
    fn note_sync(&mut self, path: &str, is_dir: bool) -> bool {
        let count = self.syncs.entry(path.to_owned()).or_default();
        let event = SyncEvent { path: path.to_owned(), is_dir, nth: *count };
        *count += 1;
        let ignored = self.ignore.as_ref().is_some_and(|ignore| ignore(&event));
        if self.keeps_history {
            self.history.push(event);
        }
        ignored
    }

    /// Frees inodes that nothing can reach.
    fn collect(&mut self) {
        let mut live = BTreeSet::new();
        for dir in self.dirs.values() {
            live.extend(dir.entries.values().chain(dir.medium.values()).copied());
            live.extend(dir.pending.iter().filter_map(|change| match change {
                Change::Link(_, id) | Change::Rename(_, _, id) => Some(*id),
                Change::Unlink(_) => None,
            }));
        }
        self.inodes.retain(|id, inode| inode.handles > 0 || live.contains(id));
    }

    fn handle(&mut self, id: u64) {
        self.inodes.get_mut(&id).expect("entries name inodes").handles += 1;
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let off = self.step()?;
        let id = self.inode(from)?;
        let ((dir, from), (to_dir, to)) = (split(from), split(to));
        if dir != to_dir {
            return Err(io::Error::other("the simulated disk renames within a directory only"));
        }
        let dir = self.dir(dir)?;
        dir.entries.remove(from);
        dir.entries.insert(to.to_owned(), id);
        dir.pending.push(Change::Rename(from.to_owned(), to.to_owned(), id));
        if off { Err(power_off()) } else { Ok(()) }
    }
}

impl Inode {
    /// Gives how many sectors in flight were kept, lost and torn.
    fn crash(&mut self, random: &SeededRandom, mood: u64) -> (u64, u64, u64) {
        let (mut kept, mut lost, mut torn_ones) = (0, 0, 0);
        for sector in std::mem::take(&mut self.dirty) {
            let new = self.cache.get(&sector).cloned();
            // One in eight of the moods that mix tears sectors inside: a medium may do that to what is in flight.
            if mood >= 6 && random.below(4) == 0 {
                let mut torn = [0; SECTOR];
                torn.iter_mut().for_each(|byte| *byte = random.next_u64() as u8);
                self.medium.insert(sector, Arc::new(torn));
                torn_ones += 1;
            } else if survives(random, mood) {
                put(&mut self.medium, sector, new);
                kept += 1;
            } else {
                lost += 1;
            }
        }
        if self.len != self.len_medium && survives(random, mood) {
            self.len_medium = self.len;
        }
        self.len = self.len_medium;
        self.cache = self.medium.clone();
        self.handles = 0;
        (kept, lost, torn_ones)
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            let now = self.cache.get(&sector).cloned();
            put(&mut self.medium, sector, now);
        }
        self.len_medium = self.len;
    }

    fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (sector, at) = (offset / SECTOR as u64, (offset % SECTOR as u64) as usize);
            let n = bytes.len().min(SECTOR - at);
            let mut content = self.cache.get(&sector).map_or([0; SECTOR], |s| **s);
            content[at..at + n].copy_from_slice(&bytes[..n]);
            self.cache.insert(sector, Arc::new(content));
            self.dirty.insert(sector);
            offset += n as u64;
            bytes = &bytes[n..];
        }
        self.len = self.len.max(offset);
    }

    fn read(&self, buf: &mut [u8], offset: u64, uncached: bool) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (sector, skip) = (at / SECTOR as u64, (at % SECTOR as u64) as usize);
            let n = (buf.len() - done).min(SECTOR - skip);
            let from = if uncached && !self.dirty.contains(&sector) { &self.medium } else { &self.cache };
            match from.get(&sector) {
                Some(content) => buf[done..done + n].copy_from_slice(&content[skip..skip + n]),
                None => buf[done..done + n].fill(0),
            }
            done += n;
        }
        Ok(())
    }
}

fn put(map: &mut BTreeMap<u64, Arc<[u8; SECTOR]>>, sector: u64, content: Option<Arc<[u8; SECTOR]>>) {
    match content {
        Some(content) => map.insert(sector, content),
        None => map.remove(&sector),
    };
}

impl Dir {
    fn crash(&mut self, random: &SeededRandom, mood: u64) {
        for change in std::mem::take(&mut self.pending) {
            if survives(random, mood) {
                change.apply(&mut self.medium);
            }
        }
        self.entries = self.medium.clone();
        self.is_durable = true;
    }
}

impl Change {
    fn apply(self, entries: &mut BTreeMap<String, u64>) {
        match self {
            Change::Link(name, id) => {
                entries.insert(name, id);
            }
            Change::Unlink(name) => {
                entries.remove(&name);
            }
            Change::Rename(from, to, id) => {
                entries.remove(&from);
                entries.insert(to, id);
            }
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
