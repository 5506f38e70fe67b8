//! The segment files of one open log, shared by the writer and by those who prepare, trim and read beside it.
//!
//! Owns: the list of segments, the spares, where each record lies (4 bytes per record), and file numbers.
//! Invariants: segments are used in number order; a file is in use only once its name is durable; removals become
//! durable one by one, oldest first, so that a crash never leaves a gap. Never: removes the newest segment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tidegate_common::mutant;

use crate::disk::{Disk, File};
use crate::error::{FilesError, OpenError, ReadError};
use crate::format::{self, Meta, RECORD_HEADER_BYTES, RecordHeader};
use crate::log::{LogIdentity, LogOptions};
use crate::recover::{Found, FoundSegment};
use crate::{names, scan};

/// One segment in use.
pub(crate) struct Segment {
    pub number: u32,
    pub path: String,
    pub file: Arc<dyn File>,
    pub first_seq: u64,
    /// File offset of each durable record.
    pub offsets: RwLock<Vec<u32>>,
    /// Bytes of the file that hold records.
    pub used: AtomicU64,
    /// Bytes of the whole file.
    pub len: u64,
}

/// A prepared file that holds nothing of this log.
pub(crate) struct Spare {
    pub number: u32,
    pub path: String,
    pub file: Arc<dyn File>,
}

pub struct LogFiles {
    disk: Arc<dyn Disk>,
    dir: String,
    pub(crate) identity: LogIdentity,
    pub(crate) options: LogOptions,
    inner: Mutex<Inner>,
    /// Held over file operations, so that numbers are used in the order they are given.
    maintenance: Mutex<()>,
}

struct Inner {
    segments: VecDeque<Arc<Segment>>,
    spares: VecDeque<Spare>,
    /// Rolled, with a footer that is not synced yet.
    retired: Vec<Arc<Segment>>,
    next_number: u32,
    active_room: u64,
}

impl LogFiles {
    /// See [`Disk::stall`].
    #[must_use]
    pub fn stall(&self) -> std::time::Duration {
        self.disk.stall()
    }

    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: LogIdentity,
        options: LogOptions,
        found: &Found,
    ) -> Self {
        let segments = found.segments.iter().map(|s| Arc::new(Segment::of(dir, s))).collect();
        let inner = Inner {
            segments,
            spares: VecDeque::new(),
            retired: Vec::new(),
            next_number: found.next_number,
            active_room: 0,
        };
        let dir = dir.to_owned();
        Self { disk, dir, identity, options, inner: Mutex::new(inner), maintenance: Mutex::new(()) }
    }

    /// Prepares one spare segment, and syncs the footers of rolled ones. Call it off the hot path whenever
    /// [`LogFiles::spares`] is below what the owner wants; without a spare, an append makes one itself.
    ///
    /// # Errors
    /// [`FilesError`]; after `Sync` the owner must poison the log, after the others it may try again later.
    pub fn prepare_spare(&self) -> Result<(), FilesError> {
        let _order = self.maintenance.lock();
        self.sync_retired()?;
        self.make_spare()
    }

    /// Syncs the footers of rolled segments, so that the next start need not scan them.
    ///
    /// # Errors
    /// [`FilesError::Sync`].
    pub fn sync_footers(&self) -> Result<(), FilesError> {
        let _order = self.maintenance.lock();
        self.sync_retired()
    }

    #[must_use]
    pub fn spares(&self) -> usize {
        self.inner.lock().spares.len()
    }

    /// Files in use and spare.
    #[must_use]
    pub fn file_count(&self) -> usize {
        let inner = self.inner.lock();
        inner.segments.len() + inner.spares.len()
    }

    /// Bytes of segments that hold records not yet trimmed.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inner.lock().segments.iter().map(|s| s.used.load(Ordering::Relaxed)).sum()
    }

    /// Sum of [`LogOptions::charge`] over records that are certain to find room, whatever their order and
    /// grouping, in the active segment and the spares.
    #[must_use]
    pub fn room(&self) -> u64 {
        let inner = self.inner.lock();
        inner.active_room + inner.spares.len() as u64 * self.options.spare_room()
    }

    /// Removes whole segments that hold only records below `below`; gives how many. A removed file becomes a
    /// spare while there are fewer than `spares_wanted`: its zeros need not be written again.
    ///
    /// # Errors
    /// [`FilesError`]; what was removed before it stays removed. After `Sync` the owner must poison the log.
    pub fn trim(&self, below: u64, spares_wanted: usize) -> Result<usize, FilesError> {
        let _order = self.maintenance.lock();
        let mut removed = 0;
        while let Some(segment) = self.oldest_below(below) {
            let io = |source| FilesError::Io { place: segment.path.clone(), source };
            let sync = |source| FilesError::Sync { place: self.dir.clone(), source };
            let number = (self.spares() < spares_wanted
                && segment.len == u64::from(self.options.segment_bytes))
            .then(|| self.take_number());
            match number {
                Some(number) => self.disk.rename(&segment.path, &self.path(number)).map_err(io)?,
                None => self.disk.remove(&segment.path).map_err(io)?,
            }
            if !mutant::on("removal-not-synced") {
                self.disk.sync_dir(&self.dir).map_err(sync)?;
            }
            let mut inner = self.inner.lock();
            // In one step: nobody finds the segment once its file may be written anew.
            inner.segments.retain(|s| s.number != segment.number);
            if let Some(number) = number {
                let spare = Spare { number, path: self.path(number), file: segment.file.clone() };
                inner.spares.push_back(spare);
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// First seq that is not trimmed; 1 for a log that holds nothing.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.inner.lock().segments.front().map_or(1, |s| s.first_seq)
    }

    /// Reads a durable record back, checked.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, seq: u64) -> Result<(Meta, Bytes), ReadError> {
        let segment = {
            let inner = self.inner.lock();
            let after = inner.segments.partition_point(|s| s.first_seq <= seq);
            after.checked_sub(1).map(|i| inner.segments[i].clone()).ok_or(ReadError::NotHere(seq))?
        };
        let at = usize::try_from(seq - segment.first_seq)
            .ok()
            .and_then(|i| segment.offsets.read().get(i).copied())
            .ok_or(ReadError::NotHere(seq))?;
        match read_record(&*segment.file, &segment.path, self.identity.log, segment.number, at, seq) {
            // A segment that was trimmed meanwhile may be in use again.
            Err(_) if self.first_seq() > seq => Err(ReadError::NotHere(seq)),
            read => read,
        }
    }

    /// Paths of spares and of rolled segments: of all that the writer does not write to.
    #[cfg(any(test, feature = "suite"))]
    pub(crate) fn paths_for_tests(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let rolled = inner.segments.iter().rev().skip(1).map(|s| s.path.clone());
        rolled.chain(inner.spares.iter().map(|s| s.path.clone())).collect()
    }

    pub(crate) fn take_or_make_spare(&self) -> Result<Spare, FilesError> {
        if let Some(spare) = self.inner.lock().spares.pop_front() {
            return Ok(spare);
        }
        let _order = self.maintenance.lock();
        if self.inner.lock().spares.is_empty() {
            self.make_spare()?;
        }
        Ok(self.inner.lock().spares.pop_front().expect("one was just made, and the writer alone takes them"))
    }

    pub(crate) fn begin(&self, segment: Arc<Segment>, active_room: u64) {
        let mut inner = self.inner.lock();
        inner.segments.push_back(segment);
        inner.active_room = active_room;
    }

    pub(crate) fn set_active_room(&self, room: u64) {
        self.inner.lock().active_room = room;
    }

    pub(crate) fn retire(&self, segment: Arc<Segment>) {
        let mut inner = self.inner.lock();
        inner.retired.push(segment);
        inner.active_room = 0;
    }

    /// Removes files that hold nothing that counts. Durable with the next file that is made.
    pub(crate) fn remove_leftovers(&self, leftovers: &[(String, String)]) -> Result<(), OpenError> {
        for (name, _) in leftovers {
            let path = names::join(&self.dir, name);
            self.disk.remove(&path).map_err(crate::error::io_at(&path))?;
        }
        Ok(())
    }

    fn make_spare(&self) -> Result<(), FilesError> {
        let number = self.take_number();
        let path = self.path(number);
        let file = match self.disk.create(&path, u64::from(self.options.segment_bytes)) {
            Ok(file) => file,
            Err(error) if no_space(&error) => return Err(FilesError::NoSpace(error)),
            Err(source) => return Err(FilesError::Io { place: path, source }),
        };
        // The zeros reach the medium here, off the hot path, so that no commit pays for them; the name becomes
        // durable before anything is written under it.
        let synced = file.sync().and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(source) = synced {
            let _ = self.disk.remove(&path);
            return match no_space(&source) {
                true => Err(FilesError::NoSpace(source)),
                false => Err(FilesError::Io { place: path, source }),
            };
        }
        self.inner.lock().spares.push_back(Spare { number, path, file });
        Ok(())
    }

    fn sync_retired(&self) -> Result<(), FilesError> {
        let retired = std::mem::take(&mut self.inner.lock().retired);
        for segment in retired {
            segment.file.sync().map_err(|source| FilesError::Sync { place: segment.path.clone(), source })?;
        }
        Ok(())
    }

    /// The oldest segment, if another follows it that holds a record below `below`. Such a record is durable, and so is
    /// the header before it: a log of which nothing is left but a segment that was never synced looks like a lost one.
    fn oldest_below(&self, below: u64) -> Option<Arc<Segment>> {
        let inner = self.inner.lock();
        let (oldest, next) = (inner.segments.front()?, inner.segments.get(1)?);
        (next.first_seq < below).then(|| oldest.clone())
    }

    fn take_number(&self) -> u32 {
        let mut inner = self.inner.lock();
        let number = inner.next_number;
        inner.next_number = number.checked_add(1).expect("2^32 segments are never written by one log");
        number
    }

    fn path(&self, number: u32) -> String {
        names::join(&self.dir, &names::segment(self.identity.log, number))
    }
}

impl Segment {
    fn of(dir: &str, found: &FoundSegment) -> Self {
        Segment {
            number: found.header.number,
            path: names::join(dir, &found.name),
            file: found.file.clone(),
            first_seq: found.header.first_seq,
            offsets: RwLock::new(found.records.iter().map(|r| r.offset).collect()),
            used: u64::from(found.used).into(),
            len: found.header.segment_bytes.into(),
        }
    }
}

fn no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads one record and checks its header, place and body.
pub(crate) fn read_record(
    file: &dyn File,
    path: &str,
    log: u64,
    number: u32,
    at: u32,
    seq: u64,
) -> Result<(Meta, Bytes), ReadError> {
    let io = |error: io::Error| ReadError::Io { place: path.to_owned(), what: error.to_string() };
    let damaged =
        |what: &str| ReadError::Damaged { file: path.to_owned(), offset: at.into(), what: what.to_owned() };
    let mut raw = [0; RECORD_HEADER_BYTES];
    file.read_at(&mut raw, at.into()).map_err(io)?;
    let (header, _) = RecordHeader::decode(&raw).map_err(damaged)?;
    scan::in_place(&header, log, number, at as usize).map_err(damaged)?;
    if header.seq != seq {
        return Err(damaged("the record is another one"));
    }
    let end = at as usize + format::record_bytes(header.payload_len as usize);
    if end as u64 > file.len().map_err(io)? {
        return Err(damaged("the record passes the end of the segment"));
    }
    let mut body = vec![0; header.payload_len as usize];
    file.read_at(&mut body, u64::from(at) + RECORD_HEADER_BYTES as u64).map_err(io)?;
    if crc32c::crc32c(&body) != header.body_crc && !mutant::on("body-crc-ignored") {
        return Err(damaged("the record body does not match its checksum"));
    }
    Ok((header.meta, body.into()))
}
