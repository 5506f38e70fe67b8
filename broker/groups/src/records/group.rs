//! The value of a group (GroupMetadataValue): generation, protocol, leader, members with what they subscribed to and
//! were assigned.
//!
//! Versions: 1 adds the rebalance timeout, 2 the time of the last change of state, 3 the instance id, 4 is flexible.
//! Written is 3.

use bytes::{BufMut, Bytes, BytesMut};

use super::RecordError;
use super::codec::{Reader, put_nullable_string, put_string};
use crate::Name;

const WHAT: &str = "GroupMetadataValue";
/// The least bytes of a member in any version: 15 of version 4, with every text and blob empty.
const MEMBER_LEN_MIN: usize = 15;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupValue {
    /// Empty for a group without members' protocol: a simple consumer, or one never joined.
    pub protocol_type: Name,
    pub generation: i32,
    pub protocol: Option<Name>,
    pub leader: Option<Name>,
    /// −1 if unknown.
    pub state_ms: i64,
    pub members: Vec<MemberValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberValue {
    pub member: Name,
    pub instance: Option<Name>,
    pub client_id: Name,
    pub client_host: Name,
    /// −1 if unknown.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// # Errors
/// When the bytes are not a whole value of a known version.
pub fn decode(bytes: &[u8]) -> Result<GroupValue, RecordError> {
    let mut from = Reader::new(bytes);
    let version = from.i16(WHAT)?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::Version { what: WHAT, version });
    }
    let flexible = version >= 4;
    let string =
        |from: &mut Reader<'_>, what| if flexible { from.compact_string(what) } else { from.string(what) };
    let nullable = |from: &mut Reader<'_>, what| {
        if flexible { from.nullable_compact_string(what) } else { from.nullable_string(what) }
    };
    let protocol_type = string(&mut from, "protocol type")?;
    let generation = from.i32("generation")?;
    let protocol = nullable(&mut from, "protocol")?;
    let leader = nullable(&mut from, "leader")?;
    let state_ms = if version >= 2 { from.i64("state timestamp")? } else { -1 };
    let count = if flexible {
        from.varint("members")?.checked_sub(1).ok_or(RecordError::Length { what: "members", length: -1 })?
    } else {
        let length = from.i32("members")?;
        u32::try_from(length).map_err(|_| RecordError::Length { what: "members", length: length.into() })?
    };
    if (count as usize).saturating_mul(MEMBER_LEN_MIN) > from.left() {
        return Err(RecordError::Count { count, left: from.left() });
    }
    // Grows with what is read: a member may be much smaller on disk than in memory.
    let mut members = Vec::new();
    for _ in 0..count {
        let member = string(&mut from, "member id")?;
        let instance = if version >= 3 { nullable(&mut from, "instance id")? } else { None };
        let client_id = string(&mut from, "client id")?;
        let client_host = string(&mut from, "client host")?;
        let rebalance_timeout_ms = if version >= 1 { from.i32("rebalance timeout")? } else { -1 };
        let session_timeout_ms = from.i32("session timeout")?;
        let mut blob = |what| if flexible { from.compact_bytes(what) } else { from.bytes(what) };
        let subscription = Bytes::copy_from_slice(blob("subscription")?);
        let assignment = Bytes::copy_from_slice(blob("assignment")?);
        if flexible {
            from.tags("member", |_, _| Ok(false))?;
        }
        members.push(MemberValue {
            member,
            instance,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        });
    }
    if flexible {
        from.tags(WHAT, |_, _| Ok(false))?;
    }
    from.end()?;
    Ok(GroupValue { protocol_type, generation, protocol, leader, state_ms, members })
}

/// What [`encode`] gives, in bytes.
#[must_use]
pub fn encoded_len(value: &GroupValue) -> usize {
    let text = |t: &Option<Name>| 2 + t.as_ref().map_or(0, |t| t.len());
    let members = value.members.iter().map(|m| {
        2 + m.member.len()
            + text(&m.instance)
            + (2 + m.client_id.len())
            + (2 + m.client_host.len())
            + 8
            + (4 + m.subscription.len())
            + (4 + m.assignment.len())
    });
    2 + (2 + value.protocol_type.len())
        + 4
        + text(&value.protocol)
        + text(&value.leader)
        + 8
        + 4
        + members.sum::<usize>()
}

/// As Kafka 4.1 writes it.
#[must_use]
pub fn encode(value: &GroupValue) -> Bytes {
    let mut out = BytesMut::with_capacity(encoded_len(value));
    out.put_i16(3);
    put_string(&mut out, &value.protocol_type);
    out.put_i32(value.generation);
    put_nullable_string(&mut out, value.protocol.as_deref());
    put_nullable_string(&mut out, value.leader.as_deref());
    out.put_i64(value.state_ms);
    out.put_i32(value.members.len() as i32);
    for member in &value.members {
        put_string(&mut out, &member.member);
        put_nullable_string(&mut out, member.instance.as_deref());
        put_string(&mut out, &member.client_id);
        put_string(&mut out, &member.client_host);
        out.put_i32(member.rebalance_timeout_ms);
        out.put_i32(member.session_timeout_ms);
        out.put_i32(member.subscription.len() as i32);
        out.put_slice(&member.subscription);
        out.put_i32(member.assignment.len() as i32);
        out.put_slice(&member.assignment);
    }
    out.freeze()
}
