//! Every layout round-trips, and no bytes make a decoder panic or believe them.

use bytes::Bytes;
use proptest::prelude::*;

use super::{DIR, Trace, Workload};
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::format::{Entry, KIND_MARK, Meta, RecordHeader, SegmentHeader, Trailer};
use crate::scan::{self, Scan};

prop_compose! {
    fn meta()(kind in 0..KIND_MARK, stream: u64, epoch: i32, base: i64, count: u32) -> Meta {
        Meta { kind, stream, epoch, base, count }
    }
}

prop_compose! {
    fn record_header()(
        meta in meta(), log: u64, incarnation: u64, number: u32, offset: u32, seq: u64,
        durable_upto: u64, payload_len: u32, prev_crc: u32, body_crc: u32,
    ) -> RecordHeader {
        RecordHeader { meta, log, incarnation, number, offset, seq, durable_upto, payload_len, prev_crc, body_crc }
    }
}

prop_compose! {
    fn segment_header()(
        log: u64, incarnation: u64, number: u32, segment_bytes: u32, align in 9..=20u32, prev_crc: u32,
        first_seq in 1..u64::MAX,
    ) -> SegmentHeader {
        SegmentHeader { log, incarnation, number, segment_bytes, align_bytes: 1 << align, prev_crc, first_seq }
    }
}

proptest! {
    #[test]
    fn headers_and_trailers_round_trip_and_any_flip_is_seen(
        record in record_header(), segment in segment_header(), last_crc: u32, count: u32, footer_len: u32,
        footer_crc: u32, at in 0..64usize, mask in 1..=255u8,
    ) {
        let (mut bytes, crc) = record.encode();
        prop_assert_eq!(RecordHeader::decode(&bytes), Ok((record, crc)));
        bytes[at] ^= mask;
        prop_assert!(RecordHeader::decode(&bytes).is_err());
        let mut bytes = segment.encode();
        prop_assert_eq!(SegmentHeader::decode(&bytes, segment.log, segment.number), Ok(segment));
        prop_assert!(SegmentHeader::decode(&bytes, segment.log, segment.number ^ 1).is_err());
        bytes[at] ^= mask;
        prop_assert!(SegmentHeader::decode(&bytes, segment.log, segment.number).is_err());
        let SegmentHeader { log, incarnation, number, first_seq, .. } = segment;
        let trailer = Trailer { log, incarnation, number, last_crc, first_seq, count, footer_len, footer_crc };
        let mut bytes = trailer.encode();
        prop_assert_eq!(Trailer::decode(&bytes, &segment), Some(trailer));
        bytes[at] ^= mask;
        prop_assert_eq!(Trailer::decode(&bytes, &segment), None);
    }

    #[test]
    fn entries_round_trip(meta in meta(), offset: u32, payload in prop::collection::vec(any::<u8>(), 0..100), cut in 0..100usize) {
        let (head, body) = payload.split_at(cut.min(payload.len()));
        let prefix = Entry::prefix_of(&meta, head, body);
        let mut bytes = Vec::new();
        Entry::encode(offset, payload.len() as u32, &meta, prefix.as_ref(), &mut bytes);
        prop_assert_eq!(bytes.len(), meta.entry_bytes(payload.len()));
        let (entry, rest) = Entry::decode(&bytes).expect("is whole");
        prop_assert_eq!((entry.meta, entry.offset, entry.prefix, rest.len()), (meta, offset, prefix, 0));
        for short in 0..bytes.len() {
            prop_assert!(Entry::decode(&bytes[..short]).is_none());
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), header in segment_header()) {
        let _ = RecordHeader::decode(&bytes);
        let _ = SegmentHeader::decode(&bytes, 1, 1);
        let _ = Entry::decode(&bytes);
        let bytes = Bytes::from(bytes);
        prop_assert!(scan::footer(&bytes, &header).is_none());
        prop_assert!(scan::scan(&bytes, &header).records.is_empty());
    }

    /// A footer whose checksum holds may still lie: what it says is held against the segment.
    #[test]
    fn a_footer_that_lies_with_a_valid_checksum_is_refused(count: u32, footer in prop::collection::vec(any::<u8>(), 0..200), header in segment_header()) {
        let SegmentHeader { log, incarnation, number, first_seq, .. } = header;
        let footer_crc = crc32c::crc32c(&footer);
        let footer_len = footer.len() as u32;
        let trailer = Trailer { log, incarnation, number, last_crc: 0, first_seq, count, footer_len, footer_crc };
        if let Some(records) = scan::entries(&footer, &trailer, &header, 1 << 16) {
            prop_assert_eq!(records.len(), count as usize);
            prop_assert!(records.iter().all(|r| r.offset as usize + r.payload_len as usize <= 1 << 16));
        }
    }

    /// Whatever is overwritten in a real segment, a scan gives a prefix of its records, or all of them.
    #[test]
    fn a_scan_of_a_mangled_segment_gives_a_prefix(at in 0..8192usize, junk in prop::collection::vec(any::<u8>(), 1..600)) {
        let (bytes, header, whole) = segment();
        let mut mangled = bytes.to_vec();
        let end = (at + junk.len()).min(mangled.len());
        mangled[at..end].copy_from_slice(&junk[..end - at]);
        let Scan { records, durable, .. } = scan::scan(&Bytes::from(mangled), &header);
        prop_assert!(records.len() <= whole.records.len());
        prop_assert_eq!(&records[..], &whole.records[..records.len()]);
        prop_assert!(durable <= whole.durable);
    }
}

/// A full segment as the workload writes it.
fn segment() -> (Bytes, SegmentHeader, Scan) {
    let disk = SimDisk::new(1);
    let mut workload = Workload::new(&disk, &|_| {}, 1);
    workload.trace = Trace::default();
    workload.run().expect("nothing fails");
    let name = disk.list(DIR).expect("lists").remove(0);
    let (log, number) = crate::names::parse(&name).expect("is a segment");
    let bytes = Bytes::from(disk.bytes(&format!("{DIR}/{name}")).expect("reads"));
    let header = SegmentHeader::decode(&bytes, log, number).expect("is in use");
    let whole = scan::scan(&bytes, &header);
    assert!(whole.records.len() > 3);
    (bytes, header, whole)
}
