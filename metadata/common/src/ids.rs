//! Numbers with types, so that an offset is never taken for an object id.
//!
//! Never: arithmetic that wraps silently; each type exposes its inner value for that.

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number!(
    /// A Kafka offset, which is also the stream offset. Valid offsets are ≥ 0.
    Offset, i64);
number!(
    /// Kafka's leader epoch: `region_epoch << 20 | n` (DESIGN.md section 4).
    LeaderEpoch, i32);
number!(
    /// One stream per partition, never reused, allocated by the metadata state machine. Ids start at 1.
    StreamId, u64);
number!(
    /// An object in the bucket, never reused, allocated in publish order by the metadata state machine.
    ObjectId, u64);
number!(
    /// One WAL per broker incarnation; the id comes from Raft.
    WalId, u64);
number!(
    /// Kafka's node id.
    BrokerId, i32);
number!(
    /// One life of a broker process; the number comes from the Raft log, never from a clock.
    Incarnation, u64);
number!(
    /// A lineage maps to a bucket and a key prefix; every stored reference is (lineage, id).
    Lineage, u32);
number!(
    /// The place of a record in one WAL: the n-th record ever appended to it, from 1. 0 is "before all".
    Position, u64);

/// A topic's UUID, as in Kafka (KIP-516).
pub type TopicId = uuid::Uuid;

impl Offset {
    pub const ZERO: Offset = Offset(0);

    /// The offset `n` records on. Offsets are bounded far below `i64::MAX` by admission.
    #[must_use]
    pub fn plus(self, n: i64) -> Offset {
        Offset(self.0.saturating_add(n))
    }
}

impl Position {
    pub const ZERO: Position = Position(0);

    #[must_use]
    pub fn next(self) -> Position {
        Position(self.0 + 1)
    }
}
