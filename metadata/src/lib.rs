//! The metadata quorum: commands, records, image, snapshots, and Raft behind a port.
//!
//! Owns: what the cluster knows about itself (DESIGN.md 4).
//! Invariants: commands are decided into records, records are replayed into the image, and nothing else
//! changes the image; both are pure, so every node has the same image at the same Raft index.
//! Never: touches a record of a client, or an object; knows Kafka's error codes.

pub mod command;
pub mod decide;
pub mod image;
pub mod raft;
pub mod record;
pub mod replay;
pub mod response;
pub mod rows;
pub mod snapshot;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use command::Command;
pub use image::Image;
pub use raft::{
    Applied, Blocking, LocalNetwork, Marks, Metadata, NodeId, OpenError, Options, ProposeError, QuorumMember,
    QuorumView, ReadIndexError, Timing, Transport, Watch, Wiring,
};
pub use response::{Outcome, Refusal, Response};

/// Stream objects that one leaf may list.
pub const LEAF_OBJECTS_MAX: u32 = 1024;
