//! From files to a log: which records count, and whether what is missing was promised.
//!
//! Owns: the rule of torn tail against damage. `D` is the highest seq that anything intact says was durable, or
//! that the caller knows durable from elsewhere. The contiguous records from the start reach `L`. `L < D` is
//! damage to acknowledged data, named by file and offset; otherwise what does not continue the chain is a tail
//! that nobody was promised, and is left out.
//! Invariants: what is returned is on the medium: files are synced first (a killed process leaves bytes in the
//! page cache that a power loss would take back), then read past the cache (after a failed sync the cache shows
//! bytes that never reached the medium). Read-only but for those syncs.
//! Never: skips a record, repairs a file, trusts a footer that is not intact.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_common::mutant;

use crate::disk::{Disk, File};
use crate::error::{OpenError, io_at};
use crate::format::{Bad, FORMAT, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, Trailer};
use crate::names;
use crate::scan::{self, FoundRecord, Scan};

/// What to recover.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Want {
    /// Highest seq known durable from elsewhere.
    pub floor: u64,
    /// Scan everything, trust no footer.
    pub scan_all: bool,
    /// Keep the payloads of what is scanned.
    pub payloads: bool,
    /// The log is sealed there: what follows is ignored.
    pub end: Option<u64>,
}

/// The log as found.
pub(crate) struct Found {
    pub segments: Vec<FoundSegment>,
    /// Last record that counts; 0 when there is none.
    pub last_seq: u64,
    /// The chain after it.
    pub chain: u32,
    /// Highest seq proven durable by what was found.
    pub durable: u64,
    /// Files that hold nothing that counts, and why.
    pub leftovers: Vec<(String, String)>,
    /// Above every file number in use.
    pub next_number: u32,
    /// Highest incarnation seen in a segment that counts.
    pub incarnation: u64,
}

pub(crate) struct FoundSegment {
    pub name: String,
    pub header: SegmentHeader,
    pub file: Arc<dyn File>,
    pub records: Vec<FoundRecord>,
    /// The chain after the last record or mark; what the next segment's header must name.
    pub chain: u32,
    /// Where a scan stopped; `None` when the footer was taken instead.
    pub stop: Option<scan::Stop>,
    /// Taken from the footer: its records are not checked yet.
    pub trusted: bool,
    pub used: u32,
}

impl FoundSegment {
    fn next_seq(&self) -> u64 {
        self.header.first_seq.saturating_add(self.records.len() as u64)
    }
}

pub(crate) fn recover(disk: &dyn Disk, dir: &str, log: u64, want: Want) -> Result<Found, OpenError> {
    match survey(disk, dir, log, want)? {
        (found, None) => Ok(found),
        (_, Some(damage)) => Err(damage),
    }
}

/// As [`recover`], giving what was found together with the damage.
pub(crate) fn survey(
    disk: &dyn Disk,
    dir: &str,
    log: u64,
    want: Want,
) -> Result<(Found, Option<OpenError>), OpenError> {
    let files = names::segments_in(disk, dir, log)?;
    let mut found = Found {
        segments: Vec::new(),
        last_seq: 0,
        chain: 0,
        durable: want.floor,
        leftovers: Vec::new(),
        next_number: files.last().map_or(1, |(number, _)| number + 1),
        incarnation: 0,
    };
    // The first file that does not go on where the one before it ends; nothing after it can count.
    let mut broken: Option<(String, String)> = None;
    for (number, name) in files {
        let path = names::join(dir, &name);
        let file = disk.open(&path).map_err(io_at(&path))?;
        let read = read_segment(&*file, &path, log, number, want)?;
        found.durable = found.durable.max(read.durable);
        let joined = match (&broken, read.content) {
            (Some(_), _) => Err("a file before this one does not continue the log".to_owned()),
            (None, Err(what)) => Err(what.to_owned()),
            (None, Ok((header, content))) => match found.segments.last_mut() {
                None => first_continues(&header),
                Some(before) => continues(before, &header),
            }
            .map(|()| (header, content)),
        };
        match joined {
            Ok((header, content)) => {
                let Content { records, chain, stop, trusted, used } = content;
                found.segments.push(FoundSegment { name, header, file, records, chain, stop, trusted, used });
            }
            Err(what) => {
                found.leftovers.push((name, what.clone()));
                broken.get_or_insert((path, what));
            }
        }
    }
    if let Some(last) = found.segments.last() {
        (found.last_seq, found.chain) = (last.next_seq() - 1, last.chain);
        found.incarnation = last.header.incarnation;
    }
    if let Some(end) = want.end {
        // What a fenced writer added after the seal proves nothing and counts for nothing.
        if !mutant::on("recover-past-seal") {
            cut(&mut found, end);
        }
        found.durable = end;
    }
    let short = found.last_seq < found.durable && !mutant::on("tail-rule-anywhere");
    let damage = short.then(|| damage(&found, dir, log, broken));
    Ok((found, damage))
}

/// Names the place where the chain stops short of what was durable.
fn damage(found: &Found, dir: &str, log: u64, broken: Option<(String, String)>) -> OpenError {
    let stopped = found.segments.last().and_then(|s| Some((names::join(dir, &s.name), s.stop?)));
    let (file, offset, what) = match (stopped, broken) {
        (Some((file, stop)), _) => (file, stop.offset, stop.what.to_owned()),
        (None, Some((file, what))) => (file, 0, what),
        (None, None) => {
            (names::join(dir, &names::segment(log, found.next_number)), 0, "the file is missing".to_owned())
        }
    };
    let (last, durable) = (found.last_seq, found.durable);
    OpenError::Damaged {
        file,
        offset,
        what: format!("{what}: records end at {last}, durable were those up to {durable}"),
    }
}

fn cut(found: &mut Found, end: u64) {
    while let Some(last) = found.segments.last_mut() {
        let keep = end.saturating_add(1).saturating_sub(last.header.first_seq) as usize;
        if keep > 0 || found.segments.len() == 1 {
            let last = found.segments.last_mut().expect("just seen");
            last.records.truncate(keep);
            found.last_seq = last.next_seq() - 1;
            return;
        }
        found.leftovers.extend(found.segments.pop().map(|s| (s.name, "it follows the seal".to_owned())));
    }
}

fn first_continues(header: &SegmentHeader) -> Result<(), String> {
    // Trimming removes from the front, so that the first file may start anywhere; but the first file ever made
    // starts the log.
    if header.number == 1 && (header.first_seq, header.prev_crc) != (1, 0) {
        return Err("the first segment does not start the log".to_owned());
    }
    Ok(())
}

/// Whether `header` goes on where `before` ends. Records of an older incarnation at or after the start of a
/// newer one are stale: the newer one's recovery did not count them.
fn continues(before: &mut FoundSegment, header: &SegmentHeader) -> Result<(), String> {
    if header.incarnation < before.header.incarnation {
        return Err("the segment is of an older incarnation than the one before it".to_owned());
    }
    if header.incarnation > before.header.incarnation
        && !before.trusted
        && header.first_seq < before.next_seq()
        && header.first_seq >= before.header.first_seq
    {
        let keep = (header.first_seq - before.header.first_seq) as usize;
        let chain = keep.checked_sub(1).map_or(before.header.prev_crc, |last| before.records[last].crc);
        if chain == header.prev_crc {
            before.records.truncate(keep);
            before.chain = chain;
        }
    }
    if mutant::on("hole-skipped") {
        return Ok(());
    }
    if header.first_seq != before.next_seq() {
        return Err(format!("the segment starts at {}, not at {}", header.first_seq, before.next_seq()));
    }
    if header.prev_crc != before.chain {
        return Err("the segment does not follow the record before it".to_owned());
    }
    Ok(())
}

/// One file, read.
struct Read {
    /// The header and what follows it, or why there is no header.
    content: Result<(SegmentHeader, Content), &'static str>,
    /// Highest seq that something intact in the file says was durable.
    durable: u64,
}

struct Content {
    records: Vec<FoundRecord>,
    chain: u32,
    stop: Option<scan::Stop>,
    trusted: bool,
    used: u32,
}

fn read_segment(file: &dyn File, path: &str, log: u64, number: u32, want: Want) -> Result<Read, OpenError> {
    let len = file.len().map_err(io_at(path))?;
    if len < (SEGMENT_HEADER_BYTES + TRAILER_BYTES) as u64 || len > u64::from(u32::MAX) {
        // A crash while the file was made; nothing was written to it.
        return Ok(Read { content: Err("the file is shorter than a segment header"), durable: 0 });
    }
    if !(want.scan_all || want.payloads)
        && let Some((header, trailer, records)) = trusted_footer(file, path, log, number, len)?
    {
        let durable = trailer.last_seq();
        let used = records.last().map_or(header.align_bytes, |r| r.offset + r.payload_len);
        let content = Content { records, chain: trailer.last_crc, stop: None, trusted: true, used };
        return Ok(Read { content: Ok((header, content)), durable });
    }
    file.sync().map_err(io_at(path))?;
    let bytes = read_all(file, len).map_err(io_at(path))?;
    match SegmentHeader::decode(&bytes, log, number) {
        Ok(header) => {
            let Scan { mut records, chain, stop, durable, used } = scan::scan(&bytes, &header);
            if !want.payloads {
                // They pin the whole segment.
                records.iter_mut().for_each(|record| record.payload = None);
            }
            let content = Content { records, chain, stop: Some(stop), trusted: false, used };
            Ok(Read { content: Ok((header, content)), durable })
        }
        Err(Bad::Invalid(what)) => {
            let durable = scan::durable_claims(&bytes, SEGMENT_HEADER_BYTES, log, number);
            Ok(Read { content: Err(what), durable })
        }
        Err(Bad::Newer(found)) => {
            Err(OpenError::NewerFormat { place: path.to_owned(), found, known: FORMAT })
        }
    }
}

type Trusted = (SegmentHeader, Trailer, Vec<FoundRecord>);

/// Header and footer of a rolled segment, when both are intact.
fn trusted_footer(
    file: &dyn File,
    path: &str,
    log: u64,
    number: u32,
    len: u64,
) -> Result<Option<Trusted>, OpenError> {
    let mut first = [0; SEGMENT_HEADER_BYTES];
    file.read_at_uncached(&mut first, 0).map_err(io_at(path))?;
    let Ok(header) = SegmentHeader::decode(&first, log, number) else { return Ok(None) };
    let mut last = [0; TRAILER_BYTES];
    file.read_at_uncached(&mut last, len - TRAILER_BYTES as u64).map_err(io_at(path))?;
    let Some(trailer) = Trailer::decode(&last, &header) else { return Ok(None) };
    let Some(start) = (len - TRAILER_BYTES as u64).checked_sub(u64::from(trailer.footer_len)) else {
        return Ok(None);
    };
    let mut footer = vec![0; trailer.footer_len as usize];
    file.read_at_uncached(&mut footer, start).map_err(io_at(path))?;
    Ok(scan::entries(&footer, &trailer, &header, len as usize).map(|records| (header, trailer, records)))
}

pub(crate) fn read_all(file: &dyn File, len: u64) -> std::io::Result<Bytes> {
    // A segment's length was chosen by this program and is bounded by u32; the file has that many bytes.
    let mut bytes = vec![0; len as usize];
    file.read_at_uncached(&mut bytes, 0)?;
    Ok(bytes.into())
}

/// Checks a whole segment against its footer's records: the work that trusting the footer put off.
pub(crate) fn verify(
    file: &dyn File,
    path: &str,
    header: &SegmentHeader,
    records: usize,
) -> Result<(), crate::ReadError> {
    let io = |error: std::io::Error| crate::ReadError::Io { place: path.to_owned(), what: error.to_string() };
    let bytes = read_all(file, file.len().map_err(io)?).map_err(io)?;
    let damaged = |offset, what: &str| crate::ReadError::Damaged {
        file: path.to_owned(),
        offset,
        what: what.to_owned(),
    };
    match SegmentHeader::decode(&bytes, header.log, header.number) {
        Ok(read) if read == *header => {}
        _ => return Err(damaged(0, "the segment header changed")),
    }
    let scan = scan::scan(&bytes, header);
    if scan.records.len() < records {
        return Err(damaged(scan.stop.offset, scan.stop.what));
    }
    // Records that a seal cut off may be damaged: only those that count are compared.
    let agree = scan::footer(&bytes, header).is_none_or(|(_, entries)| {
        entries.len() >= records
            && entries.iter().zip(&scan.records).take(records).all(|(a, b)| {
                (a.seq, a.offset, a.payload_len, a.meta, a.prefix)
                    == (b.seq, b.offset, b.payload_len, b.meta, b.prefix)
            })
    });
    if agree { Ok(()) } else { Err(damaged(0, "the footer does not match the records")) }
}
