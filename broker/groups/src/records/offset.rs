//! The value of a committed offset (OffsetCommitValue).
//!
//! Versions: 0 offset, metadata, commit timestamp; 1 adds the expire timestamp; 2 takes it away; 3 adds the leader
//! epoch; 4 is flexible and may carry the topic id. Written is 4, or 1 when there is an expire timestamp (which loses
//! the leader epoch, as in Kafka).

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::RecordError;
use super::codec::{Reader, put_compact_string, put_string, put_varint};
use crate::api::Committed;

const WHAT: &str = "OffsetCommitValue";
const TOPIC_ID_TAG: u32 = 0;

/// # Errors
/// When the bytes are not a whole value of a known version.
pub fn decode(bytes: &[u8]) -> Result<Committed, RecordError> {
    let mut from = Reader::new(bytes);
    let version = from.i16(WHAT)?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::Version { what: WHAT, version });
    }
    let offset = from.i64("offset")?;
    let leader_epoch = if version >= 3 { from.i32("leader epoch")? } else { -1 };
    let metadata = if version >= 4 { from.compact_string("metadata")? } else { from.string("metadata")? };
    let commit_ms = from.i64("commit timestamp")?;
    let expire_ms =
        if version == 1 { Some(from.i64("expire timestamp")?).filter(|t| *t != -1) } else { None };
    let mut topic_id = Uuid::nil();
    if version >= 4 {
        from.tags(WHAT, |tag, body| {
            if tag != TOPIC_ID_TAG {
                return Ok(false);
            }
            let mut raw = [0; 16];
            raw.copy_from_slice(body.take("topic id", 16)?);
            topic_id = Uuid::from_bytes(raw);
            Ok(true)
        })?;
    }
    from.end()?;
    Ok(Committed { offset, leader_epoch, metadata, commit_ms, expire_ms, topic_id })
}

/// As Kafka 4.1 writes it.
#[must_use]
pub fn encode(committed: &Committed) -> Bytes {
    let mut out = BytesMut::with_capacity(48 + committed.metadata.len());
    if let Some(expire_ms) = committed.expire_ms {
        out.put_i16(1);
        out.put_i64(committed.offset);
        put_string(&mut out, &committed.metadata);
        out.put_i64(committed.commit_ms);
        out.put_i64(expire_ms);
        return out.freeze();
    }
    out.put_i16(4);
    out.put_i64(committed.offset);
    out.put_i32(committed.leader_epoch);
    put_compact_string(&mut out, &committed.metadata);
    out.put_i64(committed.commit_ms);
    if committed.topic_id.is_nil() {
        put_varint(&mut out, 0);
    } else {
        put_varint(&mut out, 1);
        put_varint(&mut out, TOPIC_ID_TAG);
        put_varint(&mut out, 16);
        out.put_slice(committed.topic_id.as_bytes());
    }
    out.freeze()
}
