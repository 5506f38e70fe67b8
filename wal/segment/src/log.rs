//! The writer of a segment log: stage records, commit them as one group, mark what is durable.
//!
//! Owns: sequence, chain, the active segment, the group being staged, and the poison.
//! Invariants: `durable` covers only records whose group was written and synced; a group is one write and one
//! sync, in one segment; after the first failed write or sync every call is refused.
//! Never: retries, writes to a block that holds durable bytes, appends to a file of an earlier life.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::RwLock;
use tidegate_common::mutant;

use crate::disk::{Disk, File};
use crate::error::{FilesError, LogError, OpenError};
use crate::files::{LogFiles, Segment, Spare};
use crate::format::{
    self, ENTRY_BYTES, Entry, KIND_MARK, Meta, PREFIX_BYTES, RECORD_HEADER_BYTES, RecordHeader,
    SegmentHeader, TRAILER_BYTES, Trailer,
};
use crate::names;
use crate::recover::{self, Want};
use crate::scan::FoundRecord;

/// Bodies from this size on are written from where they are; smaller ones are copied into the group's buffer.
const SHARE_BYTES_MIN: usize = 8 << 10;

/// Which log, and which life of its writer. Incarnations of one log never repeat and only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    pub log: u64,
    pub incarnation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of a segment file.
    pub segment_bytes: u32,
    /// A group starts at a multiple of this, a power of two of at least 512: the largest unit that the medium
    /// may tear.
    pub align_bytes: u32,
    /// Largest payload.
    pub record_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, align_bytes: 4096, record_bytes_max: 8 << 20 }
    }
}

impl LogOptions {
    /// What a record may take at most, whatever group it lands in: for reserving room ahead.
    #[must_use]
    pub fn charge(&self, payload_len: usize) -> u64 {
        (format::record_bytes(payload_len) + ENTRY_BYTES + PREFIX_BYTES) as u64 + self.group_charge()
    }

    /// As [`LogOptions::charge`], for a record whose group is charged apart, by [`LogOptions::group_charge`].
    #[must_use]
    pub fn record_charge(&self, payload_len: usize) -> u64 {
        self.charge(payload_len) - self.group_charge()
    }

    /// What a group takes beyond its records: the rest of its last block, and a mark behind it.
    #[must_use]
    pub fn group_charge(&self) -> u64 {
        2 * u64::from(self.align_bytes)
    }

    /// The largest payload that segments of this size can promise room for: somewhat below half of one.
    #[must_use]
    pub fn payload_bytes_max(segment_bytes: u32, align_bytes: u32) -> usize {
        let fixed = RECORD_HEADER_BYTES + 8 + ENTRY_BYTES + PREFIX_BYTES;
        let half = (segment_bytes as usize).saturating_sub(align_bytes as usize + TRAILER_BYTES) / 2;
        half.saturating_sub(fixed + 3 * align_bytes as usize)
    }

    /// Charges that a new segment certainly takes.
    #[must_use]
    pub fn spare_room(&self) -> u64 {
        let fixed = u64::from(self.align_bytes) + TRAILER_BYTES as u64;
        u64::from(self.segment_bytes).saturating_sub(fixed + self.waste())
    }

    /// What may be left unused at a segment's end: the next record did not fit, nor did a mark.
    fn waste(&self) -> u64 {
        self.charge(self.record_bytes_max) + u64::from(self.align_bytes)
    }

    fn check(&self) -> Result<(), OpenError> {
        let align = self.align_bytes;
        if !align.is_power_of_two()
            || !(512..=1 << 20).contains(&align)
            || !self.segment_bytes.is_multiple_of(align)
        {
            return Err(OpenError::Refused(format!(
                "align_bytes {align} is not a power of two from 512 to 1 MiB that divides segment_bytes {}",
                self.segment_bytes
            )));
        }
        if self.spare_room() < self.waste() {
            return Err(OpenError::Refused(format!(
                "segments of {} bytes take records of {} bytes, not of {}",
                self.segment_bytes,
                Self::payload_bytes_max(self.segment_bytes, align),
                self.record_bytes_max
            )));
        }
        Ok(())
    }
}

/// What an owner that continues its own log asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenRequest {
    /// Highest seq known durable from elsewhere; ending below it is damage.
    pub floor: u64,
    /// Give payloads with the recovered records. All segments are then scanned, none is trusted.
    pub payloads: bool,
}

pub struct SegmentLog {
    files: Arc<LogFiles>,
    active: Option<Active>,
    group: Group,
    next_seq: u64,
    durable: u64,
    /// Highest durable mark that is itself durable.
    marked: u64,
    chain: u32,
    poisoned: Option<String>,
}

struct Active {
    segment: Arc<Segment>,
    /// File offset of the next group.
    group_at: usize,
    footer: Vec<u8>,
    count: u32,
}

/// Records staged for one write.
#[derive(Default)]
struct Group {
    buf: Vec<u8>,
    /// Shared bodies: each goes after the first `.0` bytes of `buf`.
    shared: Vec<(usize, Bytes)>,
    len: usize,
    offsets: Vec<u32>,
}

impl SegmentLog {
    /// Opens a log in `dir`, continuing it when it exists, and gives what it holds, in order. Appends go to new
    /// files; files that hold nothing that counts are removed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: LogIdentity,
        options: LogOptions,
        request: OpenRequest,
    ) -> Result<(Self, Vec<FoundRecord>), OpenError> {
        options.check()?;
        names::create_dir(&*disk, dir)?;
        let want = Want { floor: request.floor, payloads: request.payloads, ..Want::default() };
        let found = recover::recover(&*disk, dir, identity.log, want)?;
        if crate::seal::read_seal(&*disk, dir, identity.log)?.is_some() {
            return Err(OpenError::Refused(format!("log {} in {dir} is sealed", identity.log)));
        }
        if found.incarnation >= identity.incarnation {
            return Err(OpenError::Refused(format!(
                "the log in {dir} was last written by incarnation {}, this one is {}",
                found.incarnation, identity.incarnation
            )));
        }
        let records = found.segments.iter().flat_map(|s| s.records.iter().cloned()).collect();
        let files = Arc::new(LogFiles::new(disk, dir, identity, options, &found));
        files.remove_leftovers(&found.leftovers)?;
        let log = Self {
            files,
            active: None,
            group: Group::default(),
            next_seq: found.last_seq + 1,
            durable: found.last_seq,
            marked: found.durable,
            chain: found.chain,
            poisoned: None,
        };
        Ok((log, records))
    }

    /// Creates a log that must not exist.
    ///
    /// # Errors
    /// [`OpenError::Refused`] when there are files of this log.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: LogIdentity,
        options: LogOptions,
    ) -> Result<Self, OpenError> {
        if crate::exists(&*disk, dir, identity.log)? {
            return Err(OpenError::Refused(format!("log {} exists in {dir}", identity.log)));
        }
        Ok(Self::open(disk, dir, identity, options, OpenRequest::default())?.0)
    }

    /// The files, to prepare, trim and read from beside the writer.
    #[must_use]
    pub fn files(&self) -> &Arc<LogFiles> {
        &self.files
    }

    /// Stages a record whose payload is `head` and then `body`; gives its seq. Durable after the next commit.
    /// When the segment is full, what was staged is committed first.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn append(&mut self, meta: &Meta, head: &[u8], body: &Bytes) -> Result<u64, LogError> {
        assert_ne!(meta.kind, KIND_MARK, "this kind is the log's own");
        self.check()?;
        let (len, limit) = (head.len() + body.len(), self.files.options.record_bytes_max);
        if len > limit {
            return Err(LogError::TooLarge { bytes: len, limit });
        }
        if !self.fits(meta, len) {
            self.commit()?;
            self.roll()?;
        }
        let body_crc = crc32c::crc32c_append(crc32c::crc32c(head), body);
        let seq = self.next_seq;
        let at = self.stage(meta, seq, head, body, body_crc);
        self.group.offsets.push(at);
        let active = self.active.as_mut().expect("staging went there");
        let prefix = Entry::prefix_of(meta, head, body);
        Entry::encode(at, len as u32, meta, prefix.as_ref(), &mut active.footer);
        active.count += 1;
        self.next_seq += 1;
        Ok(seq)
    }

    /// Writes and syncs what is staged: one write, one sync. Gives the highest durable seq.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn commit(&mut self) -> Result<u64, LogError> {
        self.check()?;
        if self.group.offsets.is_empty() {
            return Ok(self.durable);
        }
        self.marked = self.durable;
        self.write_group()?;
        self.durable = self.next_seq - 1;
        Ok(self.durable)
    }

    /// Writes a record of its own that says what is durable, unless that is already said: an owner that is idle
    /// bounds with it the time in which damage to its last group looks like a torn tail. Gives whether it wrote.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn mark(&mut self) -> Result<bool, LogError> {
        self.commit()?;
        // Without an active segment nothing was committed in this life, and recovery has just seen it all.
        if !self.wants_mark() {
            return Ok(false);
        }
        let meta = Meta { kind: KIND_MARK, ..Meta::default() };
        self.stage(&meta, self.durable, &[], &Bytes::new(), crc32c::crc32c(&[]));
        self.write_group()?;
        self.marked = self.durable;
        Ok(true)
    }

    /// Whether [`SegmentLog::mark`] would write.
    #[must_use]
    pub fn wants_mark(&self) -> bool {
        self.poisoned.is_none() && self.marked < self.durable && self.active.is_some()
    }

    /// Bytes staged and not committed.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.group.len
    }

    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The seq that the next append gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Ends the log's life: something outside found that durability cannot be had any more.
    pub fn poison(&mut self, why: String) {
        self.poisoned.get_or_insert(why);
    }

    fn check(&self) -> Result<(), LogError> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(LogError::Poisoned(why.clone())))
    }

    /// Whether the record, the block that ends its group, a mark and the footer fit into the active segment.
    fn fits(&self, meta: &Meta, payload_len: usize) -> bool {
        let Some(active) = &self.active else { return false };
        let align = self.files.options.align_bytes as usize;
        let end = active.group_at + self.group.len + format::record_bytes(payload_len);
        let footer = active.footer.len() + meta.entry_bytes(payload_len) + TRAILER_BYTES;
        format::align_up(end, align) + align + footer <= active.segment.len as usize
    }

    fn stage(&mut self, meta: &Meta, seq: u64, head: &[u8], body: &Bytes, body_crc: u32) -> u32 {
        let active = self.active.as_ref().expect("a segment was begun");
        let at = (active.group_at + self.group.len) as u32;
        let header = RecordHeader {
            meta: *meta,
            log: self.files.identity.log,
            incarnation: self.files.identity.incarnation,
            number: active.segment.number,
            offset: at,
            seq,
            durable_upto: self.durable,
            payload_len: (head.len() + body.len()) as u32,
            prev_crc: self.chain,
            body_crc,
        };
        let (raw, crc) = header.encode();
        self.chain = crc;
        self.group.put(&raw);
        self.group.put(head);
        self.group.put_body(body);
        self.group.pad(8);
        at
    }

    fn write_group(&mut self) -> Result<(), LogError> {
        let active = self.active.as_mut().expect("a group is staged for a segment");
        self.group.pad(self.files.options.align_bytes as usize);
        let written = {
            let parts = self.group.parts();
            active.segment.file.write_at(&parts, active.group_at as u64)
        };
        if let Err(error) = written.and_then(|()| sync(&*active.segment.file)) {
            let why = format!("{}: {error}", active.segment.path);
            if !mutant::on("poison-ignored") {
                self.poisoned = Some(why.clone());
            }
            return Err(LogError::Poisoned(why));
        }
        active.group_at += self.group.len;
        active.segment.offsets.write().append(&mut self.group.offsets);
        active.segment.used.store(active.group_at as u64, Ordering::Relaxed);
        self.group.clear();
        let left = (active.segment.len as usize)
            .saturating_sub(active.group_at + active.footer.len() + TRAILER_BYTES);
        self.files.set_active_room((left as u64).saturating_sub(self.files.options.waste()));
        Ok(())
    }

    /// Ends the active segment with its footer and begins the next one.
    fn roll(&mut self) -> Result<(), LogError> {
        let spare = self.files.take_or_make_spare().map_err(|error| match error {
            FilesError::NoSpace(error) => LogError::NoSpace(error.to_string()),
            other => LogError::NoSpace(other.to_string()),
        })?;
        if let Some(active) = self.active.take()
            && let Err(why) = self.write_footer(&active)
        {
            self.poisoned = Some(why.clone());
            return Err(LogError::Poisoned(why));
        }
        self.begin(spare);
        Ok(())
    }

    /// All records of the segment are durable. The footer itself is synced off the hot path: without it, a start
    /// scans the segment.
    fn write_footer(&self, active: &Active) -> Result<(), String> {
        let trailer = Trailer {
            log: self.files.identity.log,
            incarnation: self.files.identity.incarnation,
            number: active.segment.number,
            last_crc: self.chain,
            first_seq: active.segment.first_seq,
            count: active.count,
            footer_len: active.footer.len() as u32,
            footer_crc: crc32c::crc32c(&active.footer),
        };
        let at = active.segment.len - (active.footer.len() + TRAILER_BYTES) as u64;
        let written = active.segment.file.write_at(&[&active.footer, &trailer.encode()], at);
        self.files.retire(active.segment.clone());
        written.map_err(|error| format!("{}: {error}", active.segment.path))
    }

    /// Stages the header of a new segment; it is written with the first group.
    fn begin(&mut self, spare: Spare) {
        let options = &self.files.options;
        let header = SegmentHeader {
            log: self.files.identity.log,
            incarnation: self.files.identity.incarnation,
            number: spare.number,
            segment_bytes: options.segment_bytes,
            align_bytes: options.align_bytes,
            prev_crc: self.chain,
            first_seq: self.next_seq,
        };
        self.group.put(&header.encode());
        self.group.pad(options.align_bytes as usize);
        let segment = Arc::new(Segment {
            number: spare.number,
            path: spare.path,
            file: spare.file,
            first_seq: self.next_seq,
            offsets: RwLock::new(Vec::new()),
            used: 0.into(),
            len: options.segment_bytes.into(),
        });
        self.files.begin(segment.clone(), options.spare_room());
        self.active = Some(Active { segment, group_at: 0, footer: Vec::new(), count: 0 });
    }
}

fn sync(file: &dyn File) -> std::io::Result<()> {
    if mutant::on("ack-before-sync") {
        return Ok(());
    }
    let synced = file.sync();
    if mutant::on("sync-retried") { synced.or_else(|_| file.sync()) } else { synced }
}

impl Group {
    fn put(&mut self, part: &[u8]) {
        self.buf.extend_from_slice(part);
        self.len += part.len();
    }

    fn put_body(&mut self, body: &Bytes) {
        if body.len() < SHARE_BYTES_MIN {
            self.put(body);
        } else {
            self.shared.push((self.buf.len(), body.clone()));
            self.len += body.len();
        }
    }

    /// Zeros up to a multiple of `to`. A group starts at a block, so its length stands for the file offset.
    fn pad(&mut self, to: usize) {
        let zeros = format::align_up(self.len, to) - self.len;
        self.buf.resize(self.buf.len() + zeros, 0);
        self.len += zeros;
    }

    fn parts(&self) -> Vec<&[u8]> {
        let mut parts = Vec::with_capacity(self.shared.len() * 2 + 1);
        let mut at = 0;
        for (cut, body) in &self.shared {
            parts.push(&self.buf[at..*cut]);
            parts.push(body);
            at = *cut;
        }
        parts.push(&self.buf[at..]);
        parts
    }

    fn clear(&mut self) {
        self.buf.clear();
        self.shared.clear();
        self.offsets.clear();
        self.len = 0;
    }
}
