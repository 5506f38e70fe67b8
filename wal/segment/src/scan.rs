//! Reading one segment's bytes: the records in chain order, where they stop, and what durable marks say.
//!
//! Invariants: a pure function of the bytes. A record is given only if it is whole, in place, next in seq and in
//! the chain. Never: decides what a stop means; that needs the other segments.

use bytes::Bytes;
use tidegate_common::mutant;

use crate::format::{
    self, Entry, Meta, PREFIX_BYTES, RECORD_HEADER_BYTES, RecordHeader, SegmentHeader, Trailer,
};

/// A record found by a scan or in a footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    pub seq: u64,
    pub offset: u32,
    pub payload_len: u32,
    pub meta: Meta,
    pub prefix: Option<[u8; PREFIX_BYTES]>,
    /// Given by scans, not by footers.
    pub payload: Option<Bytes>,
    /// The chain after this record; 0 from a footer, which knows only the last.
    pub(crate) crc: u32,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub records: Vec<FoundRecord>,
    /// The chain after the last record or mark.
    pub chain: u32,
    /// Where the chain stops, and why.
    pub stop: Stop,
    /// Highest seq that something intact in this file says was durable.
    pub durable: u64,
    /// Bytes up to the end of the last record or mark.
    pub used: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    pub offset: u64,
    pub what: &'static str,
}

/// Scans a whole segment file whose header is intact.
pub(crate) fn scan(bytes: &Bytes, header: &SegmentHeader) -> Scan {
    let align = header.align_bytes as usize;
    let mut found = Scan {
        records: Vec::new(),
        chain: header.prev_crc,
        stop: Stop { offset: align as u64, what: "no record" },
        durable: header.first_seq - 1,
        used: header.align_bytes,
    };
    let mut next = header.first_seq;
    let mut at = align;
    // A place inside a block that holds something other than a record or the zeros after a group.
    let mut missed: Option<Stop> = None;
    loop {
        let step = record_at(bytes, at, header, found.chain, next);
        match step {
            Ok((record, crc, end)) => {
                missed = None;
                found.durable = found.durable.max(record.durable_upto);
                found.chain = crc;
                found.used = end as u32;
                if !record.is_mark() {
                    let payload = bytes.slice(
                        at + RECORD_HEADER_BYTES..at + RECORD_HEADER_BYTES + record.payload_len as usize,
                    );
                    found.records.push(FoundRecord {
                        seq: record.seq,
                        offset: at as u32,
                        payload_len: record.payload_len,
                        meta: record.meta,
                        prefix: Entry::prefix_of(&record.meta, &[], &payload),
                        payload: Some(payload),
                        crc,
                    });
                    next = next.saturating_add(1);
                }
                at = end;
            }
            Err(what) => {
                let stop = missed.unwrap_or(Stop { offset: at as u64, what });
                if at.is_multiple_of(align) {
                    found.stop = stop;
                    break;
                }
                let block = format::align_up(at, align);
                let padding = bytes.get(at..block).unwrap_or_default();
                missed = padding.iter().any(|byte| *byte != 0).then_some(stop);
                at = block;
            }
        }
    }
    found.durable = found.durable.max(durable_claims(bytes, at, header.log, header.number));
    if let Some((trailer, _)) = footer(bytes, header) {
        found.durable = found.durable.max(trailer.last_seq());
    }
    found
}

/// Checks everything about the record at `at`: header, place, seq, chain, body.
fn record_at(
    bytes: &Bytes,
    at: usize,
    segment: &SegmentHeader,
    chain: u32,
    next: u64,
) -> Result<(RecordHeader, u32, usize), &'static str> {
    let rest = bytes.get(at..).ok_or("the end of the segment")?;
    let (record, crc) = RecordHeader::decode(rest)?;
    in_place(&record, segment.log, segment.number, at)?;
    if record.incarnation != segment.incarnation {
        return Err("the record is of another incarnation");
    }
    if record.prev_crc != chain {
        return Err("the record does not follow the one before it");
    }
    if record.seq != if record.is_mark() { next - 1 } else { next } {
        return Err("the record is out of sequence");
    }
    let body = rest[RECORD_HEADER_BYTES..]
        .get(..record.payload_len as usize)
        .ok_or("the record passes the end of the segment")?;
    if crc32c::crc32c(body) != record.body_crc && !mutant::on("body-crc-ignored") {
        return Err("the record body does not match its checksum");
    }
    Ok((record, crc, at + format::record_bytes(body.len())))
}

pub(crate) fn in_place(record: &RecordHeader, log: u64, number: u32, at: usize) -> Result<(), &'static str> {
    if record.log != log {
        return Err("the record is of another log");
    }
    if record.number != number || record.offset as usize != at {
        return Err("the record was written for another place");
    }
    Ok(())
}

/// Highest durable mark in any intact record header from `from` on, whether or not it can be reached by the
/// chain: what lies after a hole still proves what was durable before it was written. Bodies of intact headers
/// are passed over, so that bytes of a payload are not taken for records.
pub(crate) fn durable_claims(bytes: &[u8], from: usize, log: u64, number: u32) -> u64 {
    let mut durable = 0;
    let mut at = format::align_up(from, 8);
    while at + RECORD_HEADER_BYTES <= bytes.len() {
        let here = &bytes[at..];
        if RecordHeader::may_start(here)
            && let Ok((record, _)) = RecordHeader::decode(here)
            && in_place(&record, log, number, at).is_ok()
        {
            durable = durable.max(record.durable_upto);
            at = at.saturating_add(format::record_bytes(record.payload_len as usize));
        } else {
            at += 8;
        }
    }
    durable
}

/// Trailer and footer records of a whole segment file, when intact.
pub(crate) fn footer(bytes: &[u8], header: &SegmentHeader) -> Option<(Trailer, Vec<FoundRecord>)> {
    let (_, last) = bytes.split_last_chunk::<{ format::TRAILER_BYTES }>()?;
    let trailer = Trailer::decode(last, header)?;
    let end = bytes.len() - format::TRAILER_BYTES;
    let start = end.checked_sub(trailer.footer_len as usize)?;
    Some((trailer, entries(&bytes[start..end], &trailer, header, bytes.len())?))
}

/// Decodes a footer; `None` when it is not intact or speaks of places outside the segment.
pub(crate) fn entries(
    footer: &[u8],
    trailer: &Trailer,
    header: &SegmentHeader,
    segment_len: usize,
) -> Option<Vec<FoundRecord>> {
    if crc32c::crc32c(footer) != trailer.footer_crc {
        return None;
    }
    let count = trailer.count as usize;
    // Each entry takes at least its fixed part: a count that cannot be true allocates nothing.
    if count.checked_mul(format::ENTRY_BYTES)? > footer.len() {
        return None;
    }
    let mut records = Vec::with_capacity(count);
    let mut rest = footer;
    for i in 0..count as u64 {
        let (entry, after) = Entry::decode(rest)?;
        rest = after;
        let end = (entry.offset as usize).checked_add(format::record_bytes(entry.payload_len as usize))?;
        if end > segment_len || entry.offset < header.align_bytes {
            return None;
        }
        records.push(FoundRecord {
            seq: header.first_seq.checked_add(i)?,
            offset: entry.offset,
            payload_len: entry.payload_len,
            meta: entry.meta,
            prefix: entry.prefix,
            payload: None,
            crc: 0,
        });
    }
    rest.is_empty().then_some(records)
}
