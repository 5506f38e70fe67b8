//! What a member of a consumer group subscribes to (ConsumerProtocolSubscription, versions 0 to 3).
//!
//! Owns: the list of topics at the front of the blob, which is the same in every version; later versions only append.
//! Invariants: counts and lengths are compared with the bytes left; nothing is reserved by a count.
//! Never: decides what an unreadable subscription means (the group then counts as subscribed to everything).

use std::collections::BTreeSet;

use crate::Name;

/// Adds the topics of a subscription to `into`; `None` if the bytes cannot be read.
#[must_use]
pub fn add_topics(subscription: &[u8], into: &mut BTreeSet<Name>) -> Option<()> {
    let (version, rest) = subscription.split_first_chunk::<2>()?;
    // As in Kafka: a version above the newest known one is read as that, and a negative one is no version.
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    if count.checked_mul(2)? > rest.len() {
        return None;
    }
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let len = usize::try_from(i16::from_be_bytes(*len)).ok()?;
        let (topic, after) = after.split_at_checked(len)?;
        let topic = std::str::from_utf8(topic).ok()?;
        if !into.contains(topic) {
            into.insert(Name::from(topic));
        }
        rest = after;
    }
    // The user data must be there too: what is cut off is not read as a shorter subscription.
    let (len, rest) = rest.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*len) {
        -1 => Some(()),
        len => (usize::try_from(len).ok()? <= rest.len()).then_some(()),
    }
}
