//! The disk as its users see it: the calls of [`Disk`] and [`File`].
//!
//! Invariants: every call that changes something or syncs is counted, and may be the one at which the power goes off.
//! Never: decides what survives (`losses`, and the crashes of [`SimDisk`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::*;

impl Disk for SimDisk {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        let off = state.step()?;
        if state.inode(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let used: u64 = state.inodes.values().map(|i| i.len).sum();
        if state.capacity.is_some_and(|capacity| used + len > capacity) {
            state.refused_for_space += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = state.next_inode;
        let (dir, name) = split(path);
        let dir = state.dir(dir)?;
        dir.entries.insert(name.to_owned(), id);
        dir.pending.push(Change::Link(name.to_owned(), id));
        state.next_inode += 1;
        state.inodes.insert(id, Inode { len, ..Inode::default() });
        if off {
            return Err(power_off());
        }
        state.handle(id);
        Ok(Arc::new(SimFile { disk: self.clone(), id, life: state.life, path: path.to_owned() }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.is_on()?;
        let id = state.inode(path)?;
        state.handle(id);
        Ok(Arc::new(SimFile { disk: self.clone(), id, life: state.life, path: path.to_owned() }))
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let off = state.step()?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            state.dirs.entry(path[..end].to_owned()).or_default();
        }
        if off { Err(power_off()) } else { Ok(()) }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.is_on()?;
        Ok(state.dirs.get(path).map(|dir| dir.entries.keys().cloned().collect()).unwrap_or_default())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let off = state.step()?;
        state.inode(path)?;
        let (dir, name) = split(path);
        let dir = state.dir(dir)?;
        dir.entries.remove(name);
        dir.pending.push(Change::Unlink(name.to_owned()));
        state.collect();
        if off { Err(power_off()) } else { Ok(()) }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state.lock().rename(from, to)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.inode(to).is_ok() {
            state.is_on()?;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.rename(from, to)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.step()? {
            return Err(power_off());
        }
        state.dir(path)?;
        if state.note_sync(path, true) {
            return Ok(());
        }
        let dir = state.dir(path)?;
        for change in std::mem::take(&mut dir.pending) {
            change.apply(&mut dir.medium);
        }
        // Directories made in this one are entries of it too.
        let children: Vec<String> =
            state.dirs.keys().filter(|at| !at.is_empty() && split(at).0 == path).cloned().collect();
        for child in children {
            state.dir(&child)?.is_durable = true;
        }
        state.collect();
        Ok(())
    }

    fn stall(&self) -> Duration {
        let stall = self.state.lock().stall.clone();
        stall.map_or(Duration::ZERO, |stall| stall())
    }
}

/// Directory and name.
struct SimFile {
    disk: SimDisk,
    id: u64,
    life: u64,
    path: String,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        state.is_on()?;
        if state.life != self.life {
            return Err(io::Error::other("the handle is from before the crash"));
        }
        act(&mut state, self.id)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.life
            && let Some(inode) = state.inodes.get_mut(&self.id)
        {
            inode.handles = inode.handles.saturating_sub(1);
        }
    }
}

fn inode_of(state: &mut State, id: u64) -> &mut Inode {
    state.inodes.get_mut(&id).expect("an open handle keeps its inode")
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(inode_of(state, id).len))
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.with(|state, id| {
            let off = state.step()?;
            let bytes = parts.concat();
            let fails = state.failing_write == Some(state.write_count);
            state.write_count += 1;
            if fails {
                state.failures.push(self.path.clone());
            }
            let keep = if fails { bytes.len() / 2 } else { bytes.len() };
            inode_of(state, id).write(offset, &bytes[..keep]);
            match (off, fails) {
                (true, _) => Err(power_off()),
                (_, true) => Err(io::Error::other("simulated write error")),
                _ => Ok(()),
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            if state.step()? {
                return Err(power_off());
            }
            let fails = state.is_broken || state.failing_sync == Some(state.sync_count);
            state.sync_count += 1;
            if state.note_sync(&self.path, false) {
                return Ok(());
            }
            let inode = inode_of(state, id);
            if fails {
                inode.dirty.clear();
                state.failures.push(self.path.clone());
                return Err(io::Error::other("simulated sync error"));
            }
            inode.sync();
            Ok(())
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|state, id| inode_of(state, id).read(buf, offset, false))
    }

    fn read_at_uncached(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|state, id| inode_of(state, id).read(buf, offset, true))
    }
}
