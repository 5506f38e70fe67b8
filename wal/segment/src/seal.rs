//! Sealing: the end of a log whose writer is gone or fenced, fixed for ever.
//!
//! Owns: the seal file, and the sealed log as readers see it.
//! Invariants: the first seal counts, whoever else tries; it is durable before anyone sees what it ends; records
//! after it are never read. A sealed log keeps its newest segment, so that "all trimmed" and "lost" differ.
//! Never: writes to a segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_common::mutant;

use crate::disk::{Disk, File};
use crate::error::{FilesError, OpenError, ReadError, io_at};
use crate::files::read_record;
use crate::format::{Bad, FORMAT, Meta, SegmentHeader};
use crate::recover::{self, Found, Want};
use crate::scan::FoundRecord;
use crate::{format, names};

/// The record that ends a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    pub log: u64,
    /// The last seq that counts; 0 when the log is empty.
    pub end: u64,
    /// Who sealed it.
    pub executor: u64,
    /// Above `end` when a partial recovery gave up what was known durable: its highest seq.
    pub given_up_to: u64,
}

/// A log whose end is fixed.
pub struct SealedLog {
    disk: Arc<dyn Disk>,
    dir: String,
    seal: Seal,
    segments: Vec<SealedSegment>,
    /// Held over removals, so that they happen oldest first.
    trimming: Mutex<()>,
}

struct SealedSegment {
    path: String,
    file: Arc<dyn File>,
    header: SegmentHeader,
    offsets: Vec<u32>,
    is_verified: AtomicBool,
    is_removed: AtomicBool,
}

/// Seals log `log` of `dir` and gives what it holds. Idempotent, and safe when several do it at once. A log
/// without any file is sealed empty, unless `floor` says that it was not.
///
/// # Errors
/// [`OpenError::Damaged`] when what is there ends below what was durable, or below an existing seal.
pub fn seal(
    disk: Arc<dyn Disk>,
    dir: &str,
    log: u64,
    executor: u64,
    floor: u64,
) -> Result<(SealedLog, Vec<FoundRecord>), OpenError> {
    if !crate::exists(&*disk, dir, log)? {
        names::create_dir(&*disk, dir)?;
    }
    let mut newly = None;
    let seal = match read_seal(&*disk, dir, log)? {
        Some(seal) => seal,
        None => {
            let found = recover::recover(&*disk, dir, log, Want { floor, ..Want::default() })?;
            let wanted = Seal { log, end: found.last_seq, executor, given_up_to: 0 };
            let seal = if mutant::on("seal-skipped") { wanted } else { write_seal(&*disk, dir, wanted)? };
            newly = (seal == wanted).then_some(found);
            seal
        }
    };
    if floor > seal.end && !seal.is_partial() {
        return Err(OpenError::Damaged {
            file: names::join(dir, &names::seal(log)),
            offset: 0,
            what: format!("the log was sealed at {}, records up to {floor} were durable", seal.end),
        });
    }
    let mut found = match newly {
        Some(found) => found,
        None => recover::recover(&*disk, dir, log, Want { end: Some(seal.end), ..Want::default() })?,
    };
    let records = found.segments.iter_mut().flat_map(|s| std::mem::take(&mut s.records)).collect::<Vec<_>>();
    Ok((SealedLog::new(disk, dir, seal, found, &records), records))
}

impl SealedLog {
    fn new(disk: Arc<dyn Disk>, dir: &str, seal: Seal, found: Found, records: &[FoundRecord]) -> Self {
        let mut rest = records;
        let mut segments = Vec::with_capacity(found.segments.len());
        let mut ends = found.segments.iter().skip(1).map(|s| s.header.first_seq).collect::<Vec<_>>();
        ends.push(u64::MAX);
        for (segment, end) in found.segments.into_iter().zip(ends) {
            let (mine, after) = rest.split_at(rest.partition_point(|r| r.seq < end));
            rest = after;
            segments.push(SealedSegment {
                path: names::join(dir, &segment.name),
                file: segment.file,
                header: segment.header,
                offsets: mine.iter().map(|r| r.offset).collect(),
                is_verified: AtomicBool::new(!segment.trusted),
                is_removed: AtomicBool::new(false),
            });
        }
        Self { disk, dir: dir.to_owned(), seal, segments, trimming: Mutex::new(()) }
    }

    #[must_use]
    pub fn seal(&self) -> Seal {
        self.seal
    }

    /// First seq that is not trimmed; one past the end when nothing is there.
    #[must_use]
    pub fn start(&self) -> u64 {
        let first = self.segments.iter().find(|s| !s.is_removed.load(Ordering::SeqCst));
        first.map_or(self.seal.end.saturating_add(1), |s| s.header.first_seq)
    }

    /// Segments that were trusted from their footers and not yet checked.
    #[must_use]
    pub fn unverified(&self) -> usize {
        self.segments.iter().filter(|s| !s.is_verified.load(Ordering::SeqCst)).count()
    }

    /// Checks the next segment that is not checked yet; false when there is none.
    ///
    /// # Errors
    /// [`ReadError`], naming the damage.
    pub fn verify_next(&self) -> Result<bool, ReadError> {
        let next = self
            .segments
            .iter()
            .find(|s| !s.is_verified.load(Ordering::SeqCst) && !s.is_removed.load(Ordering::SeqCst));
        next.map_or(Ok(false), |segment| segment.verify().map(|()| true))
    }

    /// Reads a record, after its whole segment was checked.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, seq: u64) -> Result<(Meta, Bytes), ReadError> {
        let after = self.segments.partition_point(|s| s.header.first_seq <= seq);
        let segment = after.checked_sub(1).map(|i| &self.segments[i]).ok_or(ReadError::NotHere(seq))?;
        let at = usize::try_from(seq - segment.header.first_seq)
            .ok()
            .and_then(|i| segment.offsets.get(i).copied())
            .filter(|_| !segment.is_removed.load(Ordering::SeqCst))
            .ok_or(ReadError::NotHere(seq))?;
        segment.verify()?;
        read_record(&*segment.file, &segment.path, self.seal.log, segment.header.number, at, seq)
    }

    /// Removes whole segments that hold only records below `below`, but for the newest; gives how many. Each is
    /// checked first: nothing is let go on the word of a footer alone.
    ///
    /// # Errors
    /// [`FilesError::Io`], [`FilesError::Damaged`].
    pub fn trim(&self, below: u64) -> Result<usize, FilesError> {
        let _order = self.trimming.lock();
        let mut removed = 0;
        for (segment, next) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            if next.header.first_seq > below {
                break;
            }
            if segment.is_removed.load(Ordering::SeqCst) {
                continue;
            }
            segment.verify()?;
            segment.is_removed.store(true, Ordering::SeqCst);
            if let Err(source) = self.remove(&segment.path) {
                // Tried again before any later one, so that there is never a gap.
                segment.is_removed.store(false, Ordering::SeqCst);
                return Err(FilesError::Io { place: segment.path.clone(), source });
            }
            removed += 1;
        }
        Ok(removed)
    }

    fn remove(&self, path: &str) -> std::io::Result<()> {
        match self.disk.remove(path) {
            // Another executor trims the same log.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            done => done?,
        }
        // One by one, so that a crash leaves no gap.
        self.disk.sync_dir(&self.dir)
    }
}

impl SealedSegment {
    fn verify(&self) -> Result<(), ReadError> {
        if self.is_verified.load(Ordering::SeqCst) {
            return Ok(());
        }
        recover::verify(&*self.file, &self.path, &self.header, self.offsets.len())?;
        self.is_verified.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Removes every file of a sealed log: segments oldest first, the seal last. Idempotent.
///
/// # Errors
/// [`OpenError::Refused`] when the log is not sealed: its writer may live.
pub fn delete(disk: &dyn Disk, dir: &str, log: u64) -> Result<(), OpenError> {
    let remove = |name: &str| {
        let path = names::join(dir, name);
        disk.remove(&path).map_err(io_at(&path))
    };
    let sync = || disk.sync_dir(dir).map_err(io_at(dir));
    if !crate::exists(disk, dir, log)? {
        return Ok(());
    }
    if read_seal(disk, dir, log)?.is_none() {
        return Err(OpenError::Refused(format!("log {log} in {dir} is not sealed")));
    }
    for (_, name) in names::segments_in(disk, dir, log)? {
        remove(&name)?;
        // Until the seal goes, what is left must look like a trimmed log: no gap.
        sync()?;
    }
    let others = disk.list(dir).map_err(io_at(dir))?;
    let seal = names::seal(log);
    for name in others.iter().filter(|name| names::log_of(name) == Some(log) && **name != seal) {
        remove(name)?;
    }
    sync()?;
    remove(&seal)?;
    sync()
}

const SEAL_MAGIC: u32 = 0x5447_534c; // TGSL
const SEAL_BYTES: usize = 64;

impl Seal {
    /// Whether an operator gave up durable records, so that no floor holds for this log any more.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.given_up_to > self.end
    }

    fn encode(&self) -> [u8; SEAL_BYTES] {
        let fields = [self.log, self.end, self.executor, self.given_up_to];
        format::encode_fields(SEAL_MAGIC, &fields)
    }

    fn decode(bytes: &[u8], log: u64) -> Result<Self, Bad> {
        let [of, end, executor, given_up_to] = format::decode_fields(SEAL_MAGIC, bytes)?;
        if of != log {
            return Err(Bad::Invalid("the seal is of another log"));
        }
        Ok(Seal { log, end, executor, given_up_to })
    }
}

/// The seal of a log, made durable: an earlier executor may have died between naming it and syncing the name.
pub(crate) fn read_seal(disk: &dyn Disk, dir: &str, log: u64) -> Result<Option<Seal>, OpenError> {
    let path = names::join(dir, &names::seal(log));
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { place: path, source }),
    };
    disk.sync_dir(dir).map_err(io_at(dir))?;
    let damaged = |what: &str| OpenError::Damaged { file: path.clone(), offset: 0, what: what.to_owned() };
    if file.len().map_err(io_at(&path))? < SEAL_BYTES as u64 {
        return Err(damaged("the seal is too short"));
    }
    let mut bytes = [0; SEAL_BYTES];
    file.read_at_uncached(&mut bytes, 0).map_err(io_at(&path))?;
    match Seal::decode(&bytes, log) {
        Ok(seal) => Ok(Some(seal)),
        Err(Bad::Invalid(what)) => Err(damaged(what)),
        Err(Bad::Newer(found)) => Err(OpenError::NewerFormat { place: path, found, known: FORMAT }),
    }
}

/// Writes the seal aside, syncs it, and gives it its name if no other has it; gives the seal that counts.
pub(crate) fn write_seal(disk: &dyn Disk, dir: &str, seal: Seal) -> Result<Seal, OpenError> {
    let path = names::join(dir, &names::seal(seal.log));
    let aside = write_aside(disk, &path, &seal)?;
    match disk.rename_new(&aside, &path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            disk.remove(&aside).map_err(io_at(&aside))?;
        }
        done => done.map_err(io_at(&path))?,
    }
    read_seal(disk, dir, seal.log)?
        .ok_or_else(|| OpenError::Refused(format!("{path} vanished while the log was sealed")))
}

/// Replaces the seal, if any, by one that gives up records: an operator's decision.
pub(crate) fn replace_seal(disk: &dyn Disk, dir: &str, seal: Seal) -> Result<(), OpenError> {
    let path = names::join(dir, &names::seal(seal.log));
    let aside = write_aside(disk, &path, &seal)?;
    disk.rename(&aside, &path).map_err(io_at(&path))?;
    disk.sync_dir(dir).map_err(io_at(dir))
}

/// Writes a seal under a name of its own, synced; gives the name.
fn write_aside(disk: &dyn Disk, path: &str, seal: &Seal) -> Result<String, OpenError> {
    for attempt in 0u32.. {
        let aside = format!("{path}.{:016x}.{attempt}.tmp", seal.executor);
        let file = match disk.create(&aside, SEAL_BYTES as u64) {
            // Left by an executor that died, or in use by one that races: take another name.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(io_at(&aside))?,
        };
        file.write_at(&[&seal.encode()], 0).map_err(io_at(&aside))?;
        file.sync().map_err(io_at(&aside))?;
        return Ok(aside);
    }
    Err(OpenError::Refused(format!("{path} has more attempts aside than there are numbers")))
}
