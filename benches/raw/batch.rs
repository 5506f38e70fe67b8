//! The batch that every produce request carries.
//!
//! Owns: the encoding of its records. Its bytes are made once and shared by all requests, so that sending costs the
//! generator a system call and no copy. The values are random, so that nothing on the way compresses them.

use bytes::{BufMut, Bytes, BytesMut};
use tidegate_common::batch::{self, HEAD_LEN};
use tidegate_common::ids::Offset;
use tidegate_common::random::Random;

/// An encoded batch and what it counts for.
#[derive(Clone)]
pub struct LoadBatch {
    pub bytes: Bytes,
    pub records: u32,
}

impl LoadBatch {
    /// As many records as fit into `batch_bytes`, and at least one.
    pub fn build(record_bytes: usize, batch_bytes: usize, timestamp_ms: i64, random: &impl Random) -> Self {
        let mut body = BytesMut::with_capacity(batch_bytes.max(record_bytes + 32));
        let mut records = 0;
        let mut record = BytesMut::with_capacity(record_bytes + 32);
        loop {
            record.clear();
            write_record(&mut record, records, record_bytes, random);
            if records > 0 && HEAD_LEN + body.len() + record.len() > batch_bytes {
                break;
            }
            body.put_slice(&record);
            records += 1;
        }
        let count = i32::try_from(records).expect("64 MiB hold fewer than 2^31 records");
        let batch = batch::build(Offset(0), count, timestamp_ms, timestamp_ms, body.freeze());
        let mut bytes = BytesMut::with_capacity(batch.len());
        batch.write_to(&mut bytes);
        Self { bytes: bytes.freeze(), records }
    }
}

/// A record without key and headers.
fn write_record(out: &mut BytesMut, offset_delta: u32, value_bytes: usize, random: &impl Random) {
    let mut inner = BytesMut::with_capacity(value_bytes + 16);
    inner.put_i8(0); // attributes
    put_varint(&mut inner, 0); // timestamp delta
    put_varint(&mut inner, i64::from(offset_delta));
    put_varint(&mut inner, -1); // no key
    put_varint(&mut inner, value_bytes as i64);
    let value_end = inner.len() + value_bytes;
    while inner.len() < value_end {
        let word = random.next_u64().to_le_bytes();
        inner.put_slice(&word[..word.len().min(value_end - inner.len())]);
    }
    put_varint(&mut inner, 0); // headers
    put_varint(out, inner.len() as i64);
    out.put_slice(&inner);
}

/// Zig-zag, then seven bits a byte, lowest first.
fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.put_u8((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::records::RecordBatchDecoder;
    use tidegate_common::random::SeededRandom;

    #[test]
    fn kafka_protocol_reads_the_records_back() {
        for (record_bytes, batch_bytes, records) in
            [(1024, 16384, 15), (100, 2000, 17), (1024, 128, 1), (0, 128, 9)]
        {
            let batch = LoadBatch::build(record_bytes, batch_bytes, 1_700_000_000_000, &SeededRandom::new(1));
            assert_eq!(batch.records, records, "{record_bytes} in {batch_bytes}");
            let decoded = RecordBatchDecoder::decode(&mut batch.bytes.clone()).expect("a batch").records;
            assert_eq!(decoded.len(), records as usize);
            for (at, record) in decoded.iter().enumerate() {
                assert_eq!(record.offset, at as i64);
                assert_eq!(record.timestamp, 1_700_000_000_000);
                assert_eq!(record.key, None);
                assert_eq!(record.value.as_ref().map(Bytes::len), Some(record_bytes));
            }
            let whole = tidegate_common::batch::Batch::parse(&mut batch.bytes.clone()).expect("a batch");
            whole.check_crc().expect("sealed");
            assert_eq!(whole.len(), batch.bytes.len());
        }
    }

    #[test]
    fn a_batch_is_as_full_as_it_can_be() {
        let batch = LoadBatch::build(1000, 1 << 20, 0, &SeededRandom::new(1));
        assert!(batch.bytes.len() <= 1 << 20 && batch.bytes.len() > (1 << 20) - 1020);
    }
}
