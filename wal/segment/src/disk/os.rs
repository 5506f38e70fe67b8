//! The disk seam on a real file system.
//!
//! Owns: the system calls. Files stay open for as long as their handle lives.
//! Invariants: a new file is fully written with zeros, so that later writes convert no extents and change no
//! size. Never: retries anything but EINTR and short writes.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;
use tracing::warn;

use super::{Disk, File, Space};

/// Memory, file offset and length of an O_DIRECT read are multiples of this: the largest logical block in use.
const DIRECT_ALIGN: usize = 4096;
/// Bytes per O_DIRECT read, to bound the bounce buffer.
const DIRECT_CHUNK: usize = 4 << 20;
/// Bytes per write when a new file is filled with zeros.
const ZERO_CHUNK: usize = 1 << 20;
/// IOV_MAX on Linux.
const SLICES_MAX: usize = 1024;

pub struct OsDisk {
    root: PathBuf,
}

impl OsDisk {
    /// `root` is created on first use by `create_dir_all`.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Disk for OsDisk {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let full = self.path(path);
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&full)?;
        if let Err(error) = fill_with_zeros(&file, len) {
            // Give the space back at once: what failed is most often a full disk.
            let _ = fs::remove_file(&full);
            return Err(error);
        }
        Ok(Arc::new(OsFile { file, direct: OnceLock::new() }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.path(path))?;
        Ok(Arc::new(OsFile { file, direct: OnceLock::new() }))
    }

    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        // A link fails when the name exists, on every file system with links; RENAME_NOREPLACE is not everywhere.
        let (from, to) = (self.path(from), self.path(to));
        fs::hard_link(&from, to)?;
        fs::remove_file(from)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        fs::File::open(self.path(path))?.sync_all()
    }

    fn space(&self, path: &str) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(self.path(path))?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            usable: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

fn fill_with_zeros(file: &fs::File, len: u64) -> io::Result<()> {
    // Reserving first keeps the file contiguous and finds a full disk before anything is written. File systems
    // that cannot reserve are filled all the same.
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len.max(1)) {
        Err(error) if error == rustix::io::Errno::NOSPC || error == rustix::io::Errno::DQUOT => {
            return Err(error.into());
        }
        _ => {}
    }
    let zeros = vec![0; ZERO_CHUNK];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(ZERO_CHUNK as u64);
        file.write_all_at(&zeros[..n as usize], at)?;
        at += n;
    }
    file.set_len(len)
}

struct OsFile {
    file: fs::File,
    /// The same file opened with O_DIRECT; `None` where the file system refuses that.
    direct: OnceLock<Option<fs::File>>,
}

impl File for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&self, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let now = left.len().min(SLICES_MAX);
            let written = match rustix::io::pwritev(&self.file, &left[..now], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn read_at_uncached(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(direct) = self.direct.get_or_init(|| open_direct(&self.file)) else {
            return self.read_dropped(buf, offset);
        };
        match read_direct(direct, buf, offset) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                self.read_dropped(buf, offset)
            }
            done => done,
        }
    }
}

impl OsFile {
    /// The next best thing without O_DIRECT: ask the kernel to drop its clean pages first.
    fn read_dropped(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let len = std::num::NonZeroU64::new(buf.len() as u64);
        let _ = rustix::fs::fadvise(&self.file, offset, len, rustix::fs::Advice::DontNeed);
        self.read_at(buf, offset)
    }
}

/// Opens the file behind `file` anew through /proc, which also finds it after a rename.
fn open_direct(file: &fs::File) -> Option<fs::File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::DIRECT.bits() as i32;
    match fs::OpenOptions::new().read(true).custom_flags(flags).open(Path::new(&path)) {
        Ok(direct) => Some(direct),
        Err(error) => {
            warn!(%error, "O_DIRECT is refused: recovery reads through the page cache of this file system");
            None
        }
    }
}

fn read_direct(direct: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    let mut bounce = vec![0; buf.len().min(DIRECT_CHUNK) + 3 * DIRECT_ALIGN];
    let start = bounce.as_ptr().align_offset(DIRECT_ALIGN);
    let space = (bounce.len() - start) & !(DIRECT_ALIGN - 1);
    let bounce = &mut bounce[start..start + space];
    while done < buf.len() {
        let at = offset + done as u64;
        let skip = (at % DIRECT_ALIGN as u64) as usize;
        let wanted = (buf.len() - done).min(bounce.len() - skip);
        let span = (skip + wanted).next_multiple_of(DIRECT_ALIGN);
        let got = loop {
            match direct.read_at(&mut bounce[..span], at - skip as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if got <= skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let n = (got - skip).min(wanted);
        buf[done..done + n].copy_from_slice(&bounce[skip..skip + n]);
        done += n;
    }
    Ok(())
}
