//! Records: every codec round-trips, kafka-protocol reads and writes the same bytes, and bodies that lie are errors.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;
use tidegate_common::{Batch, Offset, batch};
use tidegate_wire::records::{
    Codec, RecordCaps, Records, RecordsBuilder, RecordsError, offset_of_max_timestamp, offset_of_timestamp,
};

type Header = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    delta: i32,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

fn build(codec: Codec, records: &[Plain]) -> Batch {
    let mut builder = RecordsBuilder::new(codec);
    for r in records {
        let headers: Vec<_> = r.headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
        builder.push_at(r.delta, r.timestamp, r.key.as_deref(), r.value.as_deref(), &headers);
    }
    builder.build(Offset(1000))
}

fn read(batch: &Batch, caps: &RecordCaps) -> Result<Vec<Plain>, RecordsError> {
    let mut records = Records::new(batch, caps)?;
    let mut out = Vec::new();
    while let Some(r) = records.next()? {
        assert_eq!(r.offset, batch.head.base_offset().plus(r.offset_delta.into()));
        let headers: Result<Vec<Header>, _> =
            r.headers.map(|h| h.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec)))).collect();
        out.push(Plain {
            delta: r.offset_delta,
            timestamp: r.timestamp,
            key: r.key.map(<[u8]>::to_vec),
            value: r.value.map(<[u8]>::to_vec),
            headers: headers?,
        });
    }
    Ok(out)
}

fn records() -> impl Strategy<Value = Vec<Plain>> {
    let bytes = |max| prop::option::of(prop::collection::vec(any::<u8>(), 0..max));
    let name = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b')], 0..3);
    let headers = prop::collection::vec((name, bytes(9)), 0..4);
    let timestamp = prop_oneof![Just(-1), 0..2_000_000_000_000_i64];
    let value = prop_oneof![12 => bytes(40), 1 => Just(Some(vec![7; 50_000]))];
    let record = (1..4, timestamp, bytes(20), value, headers);
    prop::collection::vec(record, 1..30).prop_map(|list| {
        let mut delta = -1;
        let next = |(step, timestamp, key, value, headers)| {
            delta += step;
            Plain { delta, timestamp, key, value, headers }
        };
        list.into_iter().map(next).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_codec_gives_back_what_was_put_in(records in records()) {
        for codec in Codec::ALL {
            let batch = build(codec, &records);
            batch.check_crc().expect("sealed");
            prop_assert_eq!(Codec::of(&batch.head), Ok(codec));
            prop_assert_eq!(read(&batch, &RecordCaps::default()), Ok(records.clone()), "{:?}", codec);
        }
    }

    #[test]
    fn damaged_bodies_never_panic_and_never_give_more_than_was_counted(records in records(), at: usize, byte: u8) {
        for codec in Codec::ALL {
            let mut batch = build(codec, &records);
            let mut body = batch.body.to_vec();
            let at = at % body.len();
            body[at] ^= byte | 1;
            batch.body = body.into();
            for batch in [batch.clone(), Batch { body: batch.body.slice(..at), ..batch }] {
                if let Ok(read) = read(&batch, &RecordCaps::default()) {
                    prop_assert!(read.len() <= records.len());
                }
                let _ = offset_of_max_timestamp(&batch, &RecordCaps::default());
            }
        }
    }

    #[test]
    fn look_ups_are_those_of_a_plain_scan(records in records(), at_least in 0..2_000_000_000_000_i64, from in 995..1040_i64) {
        for codec in [Codec::None, Codec::Lz4] {
            let batch = build(codec, &records);
            let of = |r: &Plain| (Offset(1000 + i64::from(r.delta)), r.timestamp);
            let found = records.iter().map(of).find(|(offset, t)| offset.0 >= from && *t >= at_least);
            let caps = RecordCaps::default();
            prop_assert_eq!(offset_of_timestamp(&batch, at_least, Offset(from), &caps), Ok(found));
            let greatest = records.iter().map(|r| r.timestamp).max();
            let first = records.iter().map(of).find(|(_, t)| Some(*t) == greatest);
            prop_assert_eq!(offset_of_max_timestamp(&batch, &caps), Ok(first));
        }
    }
}

/// kafka-protocol keeps headers in a map, so these have none twice, and its encoder wants consecutive offsets.
#[test]
fn kafka_protocol_reads_ours_and_we_read_its() {
    let plain = |delta: i32| Plain {
        delta,
        timestamp: 1_700_000_000_000 + i64::from(delta % 3),
        key: (delta % 2 == 0).then(|| vec![delta as u8; 3]),
        value: (delta % 5 != 0).then(|| vec![1; delta as usize * 10]),
        headers: vec![(b"h".to_vec(), Some(vec![2])), (b"null".to_vec(), None)],
    };
    let records: Vec<_> = (0..20).map(plain).collect();
    let batch = build(Codec::None, &records);
    let mut bytes = BytesMut::new();
    batch.write_to(&mut bytes);
    let decoded = RecordBatchDecoder::decode(&mut bytes.freeze()).expect("valid").records;
    let theirs: Vec<_> = decoded
        .iter()
        .map(|r| Plain {
            delta: (r.offset - 1000) as i32,
            timestamp: r.timestamp,
            key: r.key.as_ref().map(|k| k.to_vec()),
            value: r.value.as_ref().map(|v| v.to_vec()),
            headers: r
                .headers
                .iter()
                .map(|(k, v)| (k.as_bytes().to_vec(), v.as_ref().map(|v| v.to_vec())))
                .collect(),
        })
        .collect();
    assert_eq!(theirs, records);
    assert!(decoded.iter().all(|r| r.timestamp_type == TimestampType::Creation));

    let mut encoded = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut encoded, &decoded, &options).expect("valid");
    let again = Batch::parse(&mut encoded.freeze()).expect("one batch");
    assert_eq!(read(&again, &RecordCaps::default()), Ok(records));
}

fn one(codec: Codec, value: &[u8]) -> Batch {
    let mut builder = RecordsBuilder::new(codec);
    builder.push(5, None, Some(value), &[]);
    builder.build(Offset(0))
}

fn with_body(batch: &Batch, body: Vec<u8>) -> Batch {
    let mut changed = Batch { head: batch.head, body: Bytes::from(body) };
    changed.reseal();
    changed
}

#[test]
fn a_body_that_expands_beyond_the_cap_is_an_error_and_one_at_the_cap_is_not() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = one(codec, &vec![0; 3 << 20]);
        assert!(batch.body.len() < 200_000, "{codec:?}: {}", batch.body.len());
        let caps = |decompressed_bytes| RecordCaps { decompressed_bytes, ..RecordCaps::default() };
        let plain = one(Codec::None, &vec![0; 3 << 20]).body.len();
        assert_eq!(read(&batch, &caps(plain)).map(|r| r.len()), Ok(1), "{codec:?}");
        let refused = read(&batch, &caps(plain - 1));
        assert_eq!(refused, Err(RecordsError::TooLarge(plain - 1)), "{codec:?}");
    }
}

#[test]
fn a_zstd_window_beyond_the_cap_is_refused() {
    let plain = vec![3; 1 << 20];
    let batch = one(Codec::None, &plain);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("level");
    encoder.window_log(24).expect("window");
    encoder.write_all(&batch.body).expect("memory");
    let mut zstd = with_body(&batch, encoder.finish().expect("memory"));
    zstd.head.0[22] |= 4;
    let caps = |zstd_window_log| RecordCaps { zstd_window_log, ..RecordCaps::default() };
    assert!(read(&zstd, &caps(24)).is_ok());
    assert!(matches!(read(&zstd, &caps(23)), Err(RecordsError::Codec { codec: Codec::Zstd, .. })));
}

#[test]
fn raw_and_concatenated_snappy_are_read() {
    let plain = one(Codec::None, &[9; 5000]);
    let framed = one(Codec::Snappy, &[9; 5000]);
    let raw = snap::raw::Encoder::new().compress_vec(&plain.body).expect("memory");
    let wanted = read(&plain, &RecordCaps::default());
    assert_eq!(read(&with_body(&framed, raw.clone()), &RecordCaps::default()), wanted);
    let (first, second) = plain.body.split_at(1000);
    let mut joined = Vec::new();
    for part in [first, second] {
        joined.extend_from_slice(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        let packed = snap::raw::Encoder::new().compress_vec(part).expect("memory");
        joined.extend((packed.len() as u32).to_be_bytes());
        joined.extend(packed);
    }
    assert_eq!(read(&with_body(&framed, joined), &RecordCaps::default()), wanted);
    // A block of five bytes that claims to hold 100 MiB.
    let lie = [0x80, 0x80, 0x80, 0x32, 0];
    assert!(matches!(
        read(&with_body(&framed, lie.to_vec()), &RecordCaps::default()),
        Err(RecordsError::Codec { codec: Codec::Snappy, .. })
    ));
}

#[test]
fn lies_in_a_plain_body_are_errors() {
    let batch = |count, body: &[u8]| batch::build(Offset(0), count, 0, 0, Bytes::copy_from_slice(body));
    let read = |count, body: &[u8]| read(&batch(count, body), &RecordCaps::default());
    // length 6, attributes, timestamp delta, offset delta, null key, null value, no headers
    let record = [12, 0, 0, 0, 1, 1, 0];
    assert_eq!(read(1, &record).map(|r| r.len()), Ok(1));
    let malformed = |result: Result<_, RecordsError>| matches!(result, Err(RecordsError::Malformed(_)));
    assert_eq!(read(2, &record), Err(RecordsError::Cut), "a record is missing");
    assert_eq!(read(1, &record.repeat(2)), Err(RecordsError::Trailing(1)));
    assert!(malformed(read(2, &record.repeat(2))), "offset deltas do not rise");
    assert_eq!(read(1, &record[..5]), Err(RecordsError::Cut));
    assert_eq!(read(1, &[0xfe, 0xff, 0xff, 0xff, 0x0f]), Err(RecordsError::Cut), "a length of 2 GiB");
    assert!(malformed(read(1, &[0xff; 11])), "a length of 11 bytes");
    assert!(malformed(read(1, &[1, 0])), "a negative length");
    assert!(malformed(read(1, &[12, 0, 0, 2, 1, 1, 0])), "an offset beyond the batch");
    assert!(malformed(read(1, &[12, 0, 0, 0, 0x70, 1, 0])), "a key beyond the record");
    assert!(malformed(read(1, &[12, 0, 0, 0, 3, 1, 0])), "a key of length -2");
    assert!(malformed(read(1, &[14, 0, 0, 0, 1, 1, 0, 0])), "bytes after the headers");
    assert!(malformed(read(1, &[12, 0, 0, 0, 1, 1, 0x7e])), "63 headers in no bytes");
    assert!(malformed(read(1, &[18, 0, 0, 0, 1, 1, 2, 1, 1, 0])), "a header without a key");
    assert!(malformed(read(1, &[18, 0, 0, 0, 1, 1, 2, 0, 0, 0])), "bytes after the last header");
    let mut unknown = batch(1, &record);
    unknown.head.0[22] = 5;
    assert!(matches!(Records::new(&unknown, &RecordCaps::default()), Err(RecordsError::UnknownCodec(5))));
}

#[test]
fn log_append_time_is_the_time_of_all_records_and_needs_no_body() {
    let mut builder = RecordsBuilder::new(Codec::None);
    builder.push(10, None, None, &[]).push(30, None, None, &[]).push(20, None, None, &[]);
    let mut batch = builder.build(Offset(7));
    batch.head.set_log_append_time(99);
    batch.reseal();
    let caps = RecordCaps::default();
    assert!(read(&batch, &caps).expect("valid").iter().all(|r| r.timestamp == 99));
    batch.body = Bytes::from_static(b"a lie");
    assert_eq!(offset_of_timestamp(&batch, 98, Offset(0), &caps), Ok(Some((Offset(7), 99))));
    assert_eq!(offset_of_timestamp(&batch, 98, Offset(8), &caps), Ok(Some((Offset(8), 99))));
    assert_eq!(offset_of_timestamp(&batch, 100, Offset(0), &caps), Ok(None));
    assert_eq!(offset_of_timestamp(&batch, 0, Offset(10), &caps), Ok(None));
    assert_eq!(offset_of_max_timestamp(&batch, &caps), Ok(Some((Offset(7), 99))));
}

#[test]
fn a_batch_that_compaction_emptied_has_no_records() {
    for codec in Codec::ALL {
        let mut empty = with_body(&one(codec, b"gone"), Vec::new());
        empty.head.0[57..61].copy_from_slice(&[0; 4]);
        let caps = RecordCaps::default();
        assert_eq!(read(&empty, &caps), Ok(Vec::new()), "{codec:?}");
        assert_eq!(offset_of_max_timestamp(&empty, &caps), Ok(None));
        assert_eq!(offset_of_timestamp(&empty, 0, Offset(0), &caps), Ok(None));
    }
}

#[test]
fn a_head_that_lies_about_the_greatest_time_does_not_move_it() {
    let mut builder = RecordsBuilder::new(Codec::None);
    builder.push(10, None, None, &[]).push(30, None, None, &[]).push(30, None, None, &[]);
    let mut batch = builder.build(Offset(0));
    batch.head.0[35..43].copy_from_slice(&99_i64.to_be_bytes());
    let caps = RecordCaps::default();
    assert_eq!(offset_of_max_timestamp(&batch, &caps), Ok(Some((Offset(1), 30))));
    assert_eq!(offset_of_timestamp(&batch, 31, Offset(0), &caps), Ok(None));
}

#[test]
fn the_builder_sets_producer_and_flags() {
    let mut builder =
        RecordsBuilder::new(Codec::Zstd).flags(RecordsBuilder::TRANSACTIONAL).producer(8, 2, 40);
    assert!(builder.is_empty());
    builder.push(1, Some(b"k"), None, &[(b"a", None), (b"a", Some(b"2"))]).push(2, None, None, &[]);
    assert!(builder.plain_len() > 10);
    let batch = builder.build(Offset(3));
    batch.check_crc().expect("sealed");
    let head = batch.head;
    assert!(head.is_transactional() && !head.is_control());
    assert_eq!((head.producer_id(), head.producer_epoch(), head.base_sequence()), (8, 2, 40));
    assert_eq!((head.last_offset(), head.records_count(), head.max_timestamp()), (Offset(4), 2, 2));
    let mut records = Records::new(&batch, &RecordCaps::default()).expect("zstd");
    let first = records.next().expect("valid").expect("two records");
    assert_eq!(first.headers.count_left(), 2);
    let headers: Vec<_> = first.headers.map(|h| h.expect("valid")).collect();
    assert_eq!(headers, [(&b"a"[..], None), (b"a", Some(&b"2"[..]))]);
}
