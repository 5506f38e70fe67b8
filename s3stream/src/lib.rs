//! Streams over a WAL and an object store.
//!
//! Owns: the log cache (what is not uploaded yet, and the hot tail), upload rounds, object formats, the read
//! path with its block cache, compaction, deletion of garbage, the memory budget.
//! Invariants: a WAL is trimmed only below data in committed objects; an object key is never written twice with
//! different bytes; nothing is returned whose checksum was not checked after it left a disk or the network.
//! Never: knows Kafka requests, Raft, or leases; decides offsets.

pub mod budget;
pub(crate) mod cache;
pub(crate) mod compact;
pub mod format;
pub(crate) mod gc;
pub mod io;
pub mod manager;
pub(crate) mod read;
pub mod settings;
pub mod storage;
pub mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub(crate) mod upload;

#[cfg(test)]
mod tests;
