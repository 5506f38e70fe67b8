//! Round trips, every flipped bit, and bytes that nobody wrote.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_common::batch::{build, build_idempotent};
use tidegate_common::producers::Producers;
use tidegate_common::{Batch, Incarnation, LeaderEpoch, Lineage, ObjectId, Offset, StreamId, WalId};
use uuid::Uuid;

use super::*;
use crate::manager::StreamObjectRow;

fn stamp(id: u64) -> Stamp {
    Stamp { lineage: Lineage(1), id: ObjectId(id), incarnation: Incarnation(7), nonce: Uuid::from_u128(99) }
}

/// Dense batches from `base`: per batch (records, body length, producer or -1, epoch step, timestamp).
type Shape = (i32, usize, i64, bool, i64);

fn batches(base: i64, shapes: &[Shape]) -> Vec<Batch> {
    let (mut at, mut epoch, mut sequences) = (base, 3, std::collections::BTreeMap::new());
    let mut out = Vec::new();
    for (i, &(count, len, producer, step, timestamp)) in shapes.iter().enumerate() {
        let body = Bytes::from(vec![i as u8; len]);
        let mut batch = if producer < 0 {
            build(Offset(at), count, timestamp, timestamp, body)
        } else {
            let sequence = sequences.entry(producer).or_insert(0);
            let batch = build_idempotent(Offset(at), count, (producer, 0, *sequence), body);
            *sequence += count;
            batch
        };
        epoch += i32::from(step);
        batch.head.set_leader_epoch(LeaderEpoch(epoch));
        at += i64::from(count);
        out.push(batch);
    }
    out
}

fn whole(object: &EncodedObject) -> Bytes {
    let bytes = Bytes::from(object.chunks.concat());
    assert_eq!((bytes.len() as u64, crc32c::crc32c(&bytes)), (object.size, object.checksum));
    bytes
}

fn footer(bytes: &Bytes) -> Result<Footer, FormatError> {
    match decode_footer(bytes.len() as u64, bytes)? {
        FooterOrMore::Footer(footer) => Ok(footer),
        FooterOrMore::MoreNeeded(_) => panic!("the whole object was given"),
    }
}

fn read(index: &SliceIndex, bytes: &Bytes) -> Result<Vec<Batch>, FormatError> {
    let mut out = Vec::new();
    for block in &index.blocks {
        let range = block.here().expect("this build writes no other references").range();
        out.extend(decode_block(block, bytes.slice(range.start as usize..range.end as usize))?);
    }
    Ok(out)
}

/// Everything there is to decode in an object.
fn read_all(bytes: &Bytes) -> Result<Vec<(SliceIndex, Vec<Batch>)>, FormatError> {
    let (kind, stamp) = Stamp::decode(bytes)?;
    let footer = footer(bytes)?;
    assert_eq!((kind, stamp), (Kind::Data, footer.stamp));
    footer.slices.iter().map(|index| Ok((index.clone(), read(index, bytes)?))).collect()
}

/// Offsets within an index are 64 bits wide, however far apart (AutoMQ #3339 cut a delta to 32).
#[test]
fn a_slice_spans_more_offsets_than_32_bits_count() {
    let written = batches(7, &[(i32::MAX, 100, -1, false, 1); 3]);
    let mut writer = ObjectWriter::new(stamp(5), 1);
    writer.slice(StreamId(1), &SliceBefore::first(), &written).expect("dense");
    let object = writer.finish().expect("whole");
    let read = read_all(&whole(&object)).expect("intact");
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].1, written);
    assert_eq!(read[0].0.to, written[2].head.next_offset());
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let len = prop_oneof![0..200usize, Just(chunks::SPLICE_MIN), 4000..9000usize];
    vec((1..50i32, len, -1..3i64, any::<bool>(), 0..1000i64), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn objects_round_trip(streams in vec((1..4u64, 0..1000i64, shapes()), 1..5), block_bytes in 1..20_000usize) {
        let mut writer = ObjectWriter::new(stamp(5), block_bytes);
        let (mut id, mut wanted) = (0, Vec::new());
        for (step, base, shapes) in &streams {
            id += step;
            let written = batches(*base, shapes);
            let summary = writer.slice(StreamId(id), &SliceBefore::first(), &written).expect("dense");
            wanted.push((summary, written));
        }
        let object = writer.finish().expect("whole");
        let bytes = whole(&object);
        let found = read_all(&bytes).expect("as written");
        prop_assert_eq!(&object.slices, &wanted.iter().map(|(s, _)| *s).collect::<Vec<_>>());
        for ((index, read), (summary, written)) in found.iter().zip(&wanted) {
            prop_assert_eq!(read, written);
            prop_assert_eq!(index.summary(), *summary);
            prop_assert_eq!(verify_chain(Chain::START, read), index.chain_to);
            let (mut producers, mut epochs) = (Producers::new(), tidegate_common::epochs::EpochStarts::new());
            for batch in written {
                producers.apply(&batch.head);
                epochs.note(batch.head.leader_epoch(), batch.head.base_offset());
            }
            prop_assert_eq!(&index.producers.table, &producers);
            prop_assert_eq!(index.epoch_starts(), epochs);
            prop_assert_eq!(index.max_timestamp, written.iter().map(|b| b.head.max_timestamp()).max().expect("some"));
            let too_large = index.blocks.iter().zip(index.blocks.iter().skip(1)).any(|(a, _)| {
                let range = a.here().expect("here").range();
                range.end - range.start > block_bytes as u64
                    && written.iter().filter(|b| b.head.base_offset() >= a.from && b.head.base_offset() < a.to).count() > 1
            });
            prop_assert!(!too_large, "a block of several batches above the limit");
        }
        // From any tail, the footer or the number of bytes that it needs.
        let footer = footer(&bytes).expect("as written");
        for held in [0, 1, TRAILER_LEN - 1, TRAILER_LEN, TRAILER_LEN + 1, footer.len as usize - 1, footer.len as usize] {
            let tail = bytes.slice(bytes.len() - held..);
            match decode_footer(object.size, &tail).expect("as written") {
                FooterOrMore::Footer(found) => prop_assert_eq!(&found, &footer),
                FooterOrMore::MoreNeeded(more) => prop_assert!(more > held as u64 && more <= footer.len),
            }
        }
    }

    /// Cutting a log anywhere into slices and rewriting them gives the bytes of one slice.
    #[test]
    fn a_rewrite_is_what_one_slice_would_have_been(shapes in shapes(), cuts in vec(any::<bool>(), 12)) {
        let all = batches(10, &shapes);
        let mut parts: Vec<Vec<Batch>> = vec![Vec::new()];
        for (batch, cut) in all.iter().zip(&cuts) {
            if *cut && !parts.last().expect("one").is_empty() {
                parts.push(Vec::new());
            }
            parts.last_mut().expect("one").push(batch.clone());
        }
        let (mut before, mut indexes) = (SliceBefore::first(), Vec::new());
        for part in &parts {
            let mut writer = ObjectWriter::new(stamp(5), 700);
            let summary = writer.slice(StreamId(1), &before, part).expect("dense");
            let bytes = whole(&writer.finish().expect("whole"));
            before = SliceBefore {
                chain: summary.chain_to,
                producers: ProducersBefore::Replay { bytes: summary.replay_bytes },
            };
            indexes.push(footer(&bytes).expect("as written").slices.remove(0));
        }
        let mut at_once = ObjectWriter::new(stamp(6), 700);
        at_once.slice(StreamId(1), &SliceBefore::first(), &all).expect("dense");
        let mut again = ObjectWriter::new(stamp(6), 700);
        again.rewrite(indexes.iter().zip(&parts)).expect("the same batches");
        prop_assert_eq!(whole(&again.finish().expect("whole")), whole(&at_once.finish().expect("whole")));
    }

    #[test]
    fn slices_with_every_kind_of_reference_round_trip(
        kinds in vec((0..4u8, 1..9i64, any::<u32>(), 0..1u64 << 40), 1..9), from in 0..1i64 << 50,
    ) {
        let mut at = from;
        let blocks: Vec<_> = kinds.iter().map(|&(kind, count, crc, len)| {
            let span = Span { at: len * 3, len, crc };
            let (lineage, block_from) = (Lineage(crc), at);
            at += count;
            let bytes = match kind {
                0 => BytesRef::Here(span),
                1 => BytesRef::Object { lineage, id: ObjectId(len), span },
                2 => BytesRef::WalSlot { lineage, wal: WalId(9), slot: len, span },
                _ => BytesRef::Gap,
            };
            BlockIndex { from: Offset(block_from), to: Offset(at), max_timestamp: count, bytes }
        }).collect();
        let slice = SliceIndex {
            stream: StreamId(3), from: Offset(from), to: Offset(at),
            bytes: blocks.iter().filter_map(|b| b.bytes.span()).map(|s| s.len).sum(),
            max_timestamp: 4, chain_from: Chain([1; 32]), chain_to: Chain([2; 32]),
            producers: ProducerSection { base: true, replay_bytes: 13, table: Producers::new() },
            epochs: vec![(LeaderEpoch(1), Offset(from))], blocks,
        };
        let mut out = Vec::new();
        slice.encode(&mut out);
        let mut r = tidegate_common::codec::Reader::new(out.into());
        prop_assert_eq!(SliceIndex::decode(&mut r), Ok(slice));
        prop_assert_eq!(r.left(), 0);
    }

    #[test]
    fn leaves_round_trip(steps in vec((1..1000i64, any::<u64>(), any::<u64>(), any::<u32>()), 1..40), base in 0..1000i64) {
        let rows = rows(base, &steps);
        let encoded = encode_leaf(stamp(8), &rows).expect("dense");
        let leaf = decode_leaf(&whole(&encoded)).expect("as written");
        prop_assert_eq!(&leaf, &Leaf { stamp: stamp(8), stream: StreamId(4), rows: rows.clone() });
        for row in &rows {
            prop_assert_eq!(leaf.row_of(row.from), Some(row));
            prop_assert_eq!(leaf.row_of(Offset(row.to.0 - 1)), Some(row));
        }
        prop_assert_eq!(leaf.row_of(Offset(base - 1)), None);
        prop_assert_eq!(leaf.row_of(rows.last().expect("some").to), None);
    }

    #[test]
    fn cluster_files_round_trip(cluster_id in "\\PC{1,40}", nonce in any::<u128>()) {
        let file = ClusterFile { cluster_id, format_version: 1, nonce: Uuid::from_u128(nonce) };
        prop_assert_eq!(ClusterFile::decode(&file.encode()), Ok(file));
    }

    /// No decoder panics, or asks for memory that the bytes do not justify.
    #[test]
    fn bytes_that_nobody_wrote_are_refused(raw in vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(raw);
        prop_assert!(Stamp::decode(&bytes).is_err());
        prop_assert!(decode_leaf(&bytes).is_err());
        prop_assert!(ClusterFile::decode(&bytes).is_err());
        prop_assert!(!matches!(decode_footer(bytes.len() as u64, &bytes), Ok(FooterOrMore::Footer(_))));
        let mut r = tidegate_common::codec::Reader::new(bytes);
        let _ = SliceIndex::decode(&mut r);
    }

    /// As above, past the checksums: a footer with any bytes changed and its checksums made right again.
    #[test]
    fn lies_under_a_right_checksum_do_not_panic(edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let bytes = whole(&reference_object()).to_vec();
        let len = footer(&Bytes::from(bytes.clone())).expect("as written").len as usize;
        let mut raw = bytes[bytes.len() - len..bytes.len() - TRAILER_LEN].to_vec();
        for (at, value) in &edits {
            let at = at.index(raw.len() - HEADER_LEN);
            raw[HEADER_LEN + at] = *value;
        }
        let mut forged = bytes[..bytes.len() - len].to_vec();
        forged.extend(&raw);
        forged.extend(object::trailer(&raw));
        let forged = Bytes::from(forged);
        if let Ok(footer) = footer(&forged) {
            for index in &footer.slices {
                for block in index.blocks.iter().filter_map(BlockIndex::here) {
                    prop_assert!(block.range().end <= forged.len() as u64);
                }
                let _ = read(index, &forged);
            }
        }
    }
}

fn rows(base: i64, steps: &[(i64, u64, u64, u32)]) -> Vec<StreamObjectRow> {
    let mut at = base;
    let row = |&(step, id, size, checksum): &(i64, u64, u64, u32)| {
        let from = Offset(at);
        at += step;
        let (id, lineage, stream) = (ObjectId(id), Lineage(checksum), StreamId(4));
        StreamObjectRow { id, lineage, stream, from, to: Offset(at), size, checksum }
    };
    steps.iter().map(row).collect()
}

/// Two slices, several blocks, producers, epochs, small and spliced bodies.
fn reference_object() -> EncodedObject {
    let mut writer = ObjectWriter::new(stamp(5), 300);
    let first =
        batches(0, &[(3, 40, 1, false, 5), (1, 90, -1, true, 9), (2, 200, 1, false, 7), (1, 10, 2, true, 1)]);
    writer.slice(StreamId(2), &SliceBefore::first(), &first).expect("dense");
    let mut state = Producers::new();
    state.apply(&build_idempotent(Offset(0), 1, (44, 0, 0), Bytes::new()).head);
    let before = SliceBefore { chain: Chain([7; 32]), producers: ProducersBefore::State(state) };
    writer.slice(StreamId(9), &before, &batches(100, &[(1, 4200, -1, false, 2)])).expect("dense");
    writer.finish().expect("whole")
}

/// A change here is a change of the format: it needs a new version, and readers of this one.
#[test]
fn the_bytes_of_version_1_are_fixed() {
    let object = reference_object();
    assert_eq!((object.size, object.checksum), (5692, 4_234_191_773));
    let leaf = encode_leaf(stamp(8), &rows(7, &[(1, 2, 3, 4), (10, 20, 30, 40)])).expect("dense");
    assert_eq!((leaf.size, leaf.checksum), (152, 100_489_245));
}

#[test]
fn every_flipped_byte_of_an_object_is_found() {
    let bytes = whole(&reference_object());
    read_all(&bytes).expect("as written");
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut bad = bytes.to_vec();
            bad[at] ^= bit;
            assert!(read_all(&bad.into()).is_err(), "byte {at} ^ {bit:02x}");
        }
    }
    for len in 0..bytes.len() {
        assert!(read_all(&bytes.slice(..len)).is_err(), "cut at {len}");
    }
}

#[test]
fn every_flipped_byte_of_a_leaf_is_found() {
    let rows = rows(7, &[(1, 2, 3, 4), (10, 20, 30, 40), (9, 9, 9, 9)]);
    let bytes = whole(&encode_leaf(stamp(8), &rows).expect("dense"));
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut bad = bytes.to_vec();
            bad[at] ^= bit;
            assert!(decode_leaf(&bad.into()).is_err(), "byte {at} ^ {bit:02x}");
        }
        assert!(decode_leaf(&bytes.slice(..at)).is_err(), "cut at {at}");
    }
}

#[test]
fn every_flipped_byte_of_a_cluster_file_is_found() {
    let file = ClusterFile {
        cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
        format_version: 1,
        nonce: Uuid::from_u128(5),
    };
    let bytes = file.encode();
    assert_eq!(
        bytes,
        r#"{"format_version":1,"cluster_id":"MkU3OEVBNTcwNTJENDM2Qg","nonce":"00000000-0000-0000-0000-000000000005","checksum":"a1a016f2"}"#
    );
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1 << bit;
            assert!(ClusterFile::decode(&bad.into()).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_newer_format_is_named_as_such() {
    let newer = |result: Result<(), FormatError>| {
        matches!(result, Err(FormatError::NewerFormat { found: 2, known: 1, .. }))
    };
    let cluster = Bytes::from_static(br#"{"format_version":2,"cluster_id":"x","more":[]}"#);
    assert!(newer(ClusterFile::decode(&cluster).map(drop)));
    let mut header = stamp(1).header(Kind::Data).to_vec();
    header[11] = 2;
    let crc = crc32c::crc32c(&header[..HEADER_LEN - 4]);
    header[HEADER_LEN - 4..].copy_from_slice(&crc.to_be_bytes());
    assert!(newer(Stamp::decode(&header.into()).map(drop)));
    let mut bytes = whole(&reference_object()).to_vec();
    let at = bytes.len() - TRAILER_LEN;
    bytes[at + 15] = 2;
    let (crc, end) = (crc32c::crc32c(&bytes[at..bytes.len() - 4]), bytes.len() - 4);
    bytes[end..].copy_from_slice(&crc.to_be_bytes());
    assert!(newer(footer(&bytes.into()).map(drop)));
}

#[test]
fn a_hole_a_repeat_and_a_wrong_order_are_refused() {
    let dense = batches(0, &[(2, 10, -1, false, 0), (2, 10, -1, false, 0), (2, 10, -1, false, 0)]);
    let of = |picked: &[usize]| {
        let picked: Vec<_> = picked.iter().map(|&i| dense[i].clone()).collect();
        let mut writer = ObjectWriter::new(stamp(1), 1 << 18);
        let result = writer.slice(StreamId(1), &SliceBefore::first(), &picked);
        assert_eq!(writer.finish().is_ok(), result.is_ok(), "a failed writer gives no object");
        result.map(drop)
    };
    assert_eq!(of(&[0, 1, 2]), Ok(()));
    for bad in [&[0, 2][..], &[0, 0], &[1, 0]] {
        assert!(matches!(of(bad), Err(FormatError::NotDense { .. })), "{bad:?}");
    }
    assert!(matches!(of(&[]), Err(FormatError::Invalid(_))));
    let mut writer = ObjectWriter::new(stamp(1), 1 << 18);
    writer.slice(StreamId(2), &SliceBefore::first(), &dense).expect("dense");
    assert!(writer.slice(StreamId(2), &SliceBefore::first(), &dense).is_err(), "one slice per stream");
}

#[test]
fn a_batch_that_changed_in_memory_is_not_written() {
    let mut changed = batches(0, &[(2, 10, -1, false, 0)]);
    changed[0].body = Bytes::from_static(b"0123456789");
    let mut writer = ObjectWriter::new(stamp(1), 1 << 18);
    assert!(matches!(
        writer.slice(StreamId(1), &SliceBefore::first(), &changed),
        Err(FormatError::Invalid(_))
    ));
}

#[test]
fn a_rewrite_proves_that_it_has_the_input() {
    let all = batches(0, &[(2, 10, 1, false, 0), (2, 10, 1, false, 0)]);
    let index_of = |before: &SliceBefore, part: &[Batch]| {
        let mut writer = ObjectWriter::new(stamp(1), 1 << 18);
        writer.slice(StreamId(1), before, part).expect("dense");
        footer(&whole(&writer.finish().expect("whole"))).expect("as written").slices.remove(0)
    };
    let first = index_of(&SliceBefore::first(), &all[..1]);
    let before = |chain| SliceBefore { chain, producers: ProducersBefore::Replay { bytes: 0 } };
    let second = index_of(&before(first.chain_to), &all[1..]);
    let rewrite = |parts: &[(&SliceIndex, &[Batch])]| {
        let mut writer = ObjectWriter::new(stamp(2), 1 << 18);
        writer.rewrite(parts.iter().copied()).map(drop)
    };
    assert_eq!(rewrite(&[(&first, &all[..1]), (&second, &all[1..])]), Ok(()));
    assert!(rewrite(&[(&first, &all[..1]), (&second, &[])]).is_err(), "a missing batch");
    assert!(rewrite(&[(&second, &all[1..]), (&first, &all[..1])]).is_err(), "a wrong order");
    let other = batches(2, &[(2, 11, 1, false, 0)]);
    assert!(
        matches!(rewrite(&[(&first, &all[..1]), (&second, &other)]), Err(FormatError::Chain { .. })),
        "another batch of the same offsets"
    );
    let apart = index_of(&before(Chain([3; 32])), &all[1..]);
    assert!(
        matches!(rewrite(&[(&first, &all[..1]), (&apart, &all[1..])]), Err(FormatError::Chain { .. })),
        "a slice of another history"
    );
}

#[test]
fn replay_is_counted_from_the_last_base() {
    let parts = [
        batches(0, &[(1, 10, 1, false, 0)]),
        batches(1, &[(1, 10, 2, false, 0), (1, 10, 3, false, 0)]),
        batches(3, &[(1, 10, 1, false, 0)]),
    ];
    let slice = |before: &SliceBefore, part: &[Batch]| {
        let mut writer = ObjectWriter::new(stamp(1), 1 << 18);
        let summary = writer.slice(StreamId(1), before, part).expect("dense");
        (summary, footer(&whole(&writer.finish().expect("whole"))).expect("as written").slices.remove(0))
    };
    let own = |index: &SliceIndex| slice::producers_len(&index.producers.table);
    let (a, a_index) = slice(&SliceBefore::first(), &parts[0]);
    let go_on = |s: &SliceSummary| SliceBefore {
        chain: s.chain_to,
        producers: ProducersBefore::Replay { bytes: s.replay_bytes },
    };
    let (b, b_index) = slice(&go_on(&a), &parts[1]);
    assert!(a_index.producers.base && !b_index.producers.base);
    assert_eq!((a.replay_bytes, b.replay_bytes), (own(&a_index), own(&a_index) + own(&b_index)));
    let mut state = a_index.producers.table.clone();
    state.merge(&b_index.producers.table);
    let rebase = SliceBefore { chain: b.chain_to, producers: ProducersBefore::State(state.clone()) };
    let (c, c_index) = slice(&rebase, &parts[2]);
    assert!(c_index.producers.base);
    assert_eq!(c.replay_bytes, own(&c_index));
    parts[2].iter().for_each(|batch| state.apply(&batch.head));
    assert_eq!(c_index.producers.table, state);
}

#[test]
fn large_bodies_are_spliced_and_small_ones_packed() {
    let large = Bytes::from(vec![1; 10_000]);
    let written = [
        build(Offset(0), 1, 0, 0, Bytes::from_static(b"small")),
        build(Offset(1), 1, 0, 0, large.clone()),
        build(Offset(2), 1, 0, 0, Bytes::from_static(b"small")),
    ];
    let mut writer = ObjectWriter::new(stamp(1), 1 << 18);
    writer.slice(StreamId(1), &SliceBefore::first(), &written).expect("dense");
    let object = writer.finish().expect("whole");
    assert!(
        object.chunks.iter().any(|chunk| chunk.as_ptr() == large.as_ptr()),
        "the body is shared, not copied"
    );
    assert!(object.chunks.len() <= 3, "{} chunks", object.chunks.len());
    let bytes = whole(&object);
    let read = read_all(&bytes).expect("as written");
    let shared = |body: &Bytes| bytes.as_ptr_range().contains(&body.as_ptr());
    assert!(read[0].1.iter().all(|batch| shared(&batch.body)), "reading copies no body");
}
