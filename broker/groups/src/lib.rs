//! The group coordinator of Kafka's classic protocol, as a pure state machine.
//!
//! Owns: groups, members, generations, assignments and committed offsets of one partition of `__consumer_offsets` (a
//! [`Shard`]), and the bytes of their records ([`records`]), which are Kafka's own.
//!
//! How it is driven. Whoever holds a shard calls it under one lock, with the time as an argument. A call changes the
//! state and adds to [`Effects`]: records to append, in order, and answers to requests that were parked under a
//! [`Token`]. The caller has a permit for [`Config::record_bytes_max`] bytes in hand *before* the call, so the append
//! that follows cannot fail on its own: what was decided becomes durable, or dies with the broker's incarnation. Therefore
//! nothing is ever rolled back, and each call decides on the state as admitted so far.
//!
//! What the caller must hold to:
//! - append the records of a call before those of the next; one call's records may be one batch or several;
//! - let an answer out (returned by a call, or in [`Effects::answers`]) only when everything appended so far is released;
//! - call [`Shard::tick`] at [`Shard::next_deadline_ms`], or soon after;
//! - answer COORDINATOR_LOAD_IN_PROGRESS while a [`Loading`] is not finished: it has no way to be asked anything, so no
//!   offset is ever answered from an empty cache.
//!
//! Invariants: the state rebuilt from the records equals the state of every group that is Stable or Empty, and all
//! offsets; a generation never decreases in one life of a shard; hostile records and requests give errors, never a panic,
//! and nothing is reserved by a size that was not compared with the bytes left. The order of everything is fixed.
//! Never: does I/O, reads a clock, draws random numbers, or keeps a slice of a request's bytes.

pub mod api;
mod config;
mod error;
mod group;
pub mod records;
mod shard;
pub mod subscription;

pub use api::{
    Answer, CommitOffset, Committed, DescribedGroup, DescribedMember, Effects, GroupState, JoinAnswer,
    JoinGroup, JoinedMember, LeaveMember, ListedGroup, Now, OffsetCommit, OffsetDelete, Protocol, Record,
    SyncAnswer, SyncGroup, Token, Topics,
};
pub use config::{Call, Config, GROUP_RECORD_MIN};
pub use error::GroupError;
pub use shard::{Loading, Progress, Shard, SnapshotCursor, Stats};

/// A name that many places share: a group, a member, a topic.
pub type Name = std::sync::Arc<str>;
