//! The Raft side: openraft behind [`Metadata`].
//!
//! Owns: the log and state machine under openraft, the proposer, the messages between nodes.
//! Invariants: no type of openraft leaves this module. Never: decides what a command does.

mod blocking;
#[cfg(any(test, feature = "testing"))]
pub mod crashes;
mod files;
mod handle;
mod log_memory;
mod log_store;
mod node_file;
mod proposer;
mod snapshot_file;
mod state_machine;
mod stored;
#[cfg(test)]
mod tests;
mod transport;
mod types;

pub use handle::{
    Applied, Blocking, Marks, Metadata, OpenError, Options, ProposeError, QuorumMember, QuorumView,
    ReadIndexError, Timing, Watch, Wiring,
};
pub use transport::{LocalNetwork, NoTransport, Transport, TransportError};

/// A voter or learner of the metadata quorum. Never used by a second, empty node.
pub type NodeId = u64;
