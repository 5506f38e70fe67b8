//! Every flipped byte of what lies in the bucket: a stream object, a stream set object, a leaf, `cluster.json`.

use bytes::Bytes;
use tidegate_common::batch::{build, build_idempotent};
use tidegate_common::{Batch, Incarnation, LeaderEpoch, Lineage, ObjectId, Offset, StreamId};
use tidegate_s3stream::format::{
    ClusterFile, EncodedObject, FooterOrMore, FormatError, ObjectWriter, SliceBefore, Stamp, decode_block,
    decode_footer, decode_leaf, encode_leaf,
};
use tidegate_s3stream::manager::StreamObjectRow;
use uuid::Uuid;

/// Gives how many flips were found, and how many changed nothing of what is decoded.
///
/// # Errors
/// The first flip that decodes to something else.
pub fn flips(masks: &[u8]) -> Result<(u64, u64), String> {
    let (mut found, mut harmless) = (0, 0);
    for (what, bytes, decode) in references().map_err(|e| e.to_string())? {
        let intact = decode(&bytes).map_err(|e| format!("{what}: {e}"))?;
        for (at, mask) in (0..bytes.len()).flat_map(|at| masks.iter().map(move |mask| (at, *mask))) {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= mask;
            match decode(&flipped.into()) {
                Err(_) => found += 1,
                Ok(same) if same == intact => harmless += 1,
                Ok(_) => {
                    return Err(format!("{what}: byte {at}, mask {mask:#04x} decodes to something else"));
                }
            }
        }
    }
    Ok((found, harmless))
}

type Decode = fn(&Bytes) -> Result<String, FormatError>;

fn references() -> Result<[(&'static str, Bytes, Decode); 4], FormatError> {
    let whole = |object: EncodedObject| Bytes::from(object.chunks.concat());
    let rows: Vec<StreamObjectRow> = (0..5).map(row).collect();
    let cluster =
        ClusterFile { cluster_id: "c1uster".into(), format_version: 1, nonce: Uuid::from_u128(0x1234_5678) };
    Ok([
        ("a stream object", whole(data_object(&[7])?), data),
        ("a stream set object", whole(data_object(&[1, 2, 9])?), data),
        ("a leaf", whole(encode_leaf(stamp(), &rows)?), |bytes| {
            decode_leaf(bytes).map(|leaf| format!("{leaf:?}"))
        }),
        ("cluster.json", cluster.encode(), |bytes| {
            ClusterFile::decode(bytes).map(|file| format!("{file:?}"))
        }),
    ])
}

fn stamp() -> Stamp {
    let nonce = Uuid::from_u128(0xABCD_EF00);
    Stamp { lineage: Lineage(1), id: ObjectId(5), incarnation: Incarnation(7), nonce }
}

fn row(n: u64) -> StreamObjectRow {
    let from = n.cast_signed() * 10;
    StreamObjectRow {
        id: ObjectId(n + 10),
        lineage: Lineage(1),
        stream: StreamId(3),
        from: Offset(from),
        to: Offset(from + 10),
        size: 1000 + n,
        checksum: 77,
    }
}

fn data_object(streams: &[u64]) -> Result<EncodedObject, FormatError> {
    let mut writer = ObjectWriter::new(stamp(), 512);
    for stream in streams {
        writer.slice(StreamId(*stream), &SliceBefore::first(), &batches())?;
    }
    writer.finish()
}

fn batches() -> Vec<Batch> {
    let batch = |n: i32| {
        let body = Bytes::from(vec![n as u8 + 1; 100 + n as usize * 30]);
        let base = Offset(i64::from(n) * 4);
        let mut batch = match n % 2 {
            0 => build(base, 4, 1000, 1000, body),
            _ => build_idempotent(base, 4, (9, 0, n / 2 * 4), body),
        };
        batch.head.set_leader_epoch(LeaderEpoch(3 + n / 3));
        batch
    };
    (0..6).map(batch).collect()
}

/// All that a reader takes from an object of records.
fn data(bytes: &Bytes) -> Result<String, FormatError> {
    let stamp = Stamp::decode(bytes)?;
    let footer = match decode_footer(bytes.len() as u64, bytes)? {
        FooterOrMore::Footer(footer) => footer,
        // The trailer names more bytes than there are: a reader calls that damage.
        FooterOrMore::MoreNeeded(_) => return Err(FormatError::Invalid("a footer beyond the object".into())),
    };
    let mut out = format!("{stamp:?} {:?}", footer.stamp);
    for slice in &footer.slices {
        out.push_str(&format!("{slice:?}"));
        for block in &slice.blocks {
            let range = block.here().map(|span| span.range()).unwrap_or_default();
            for batch in decode_block(block, bytes.slice(range.start as usize..range.end as usize))? {
                out.push_str(&format!("{batch:?}"));
            }
        }
    }
    Ok(out)
}
