//! The Raft side: openraft behind [`Metadata`].
//!
//! Invariants: no type of openraft leaves this module. Never: decides what a command does.

mod handle;

pub use handle::{Blocking, Metadata, OpenError, Options, ProposeError, ReadIndexError, Timing};

/// A voter or learner of the metadata quorum. Never used by a second, empty node.
pub type NodeId = u64;
