//! Preallocated, pre-written segment files with checked records and group commit: the one implementation under
//! the WAL and the Raft log.
//!
//! Owns: the file format, the disk seam, torn-tail recovery, poisoning.
//! Invariants: a record is acknowledged only after the sync that covers it; records form a chain, so a hole is
//! seen; after the first failed write or sync nothing more is acknowledged.
//! Never: knows what a record means, retries a sync, allocates by a length it has not checked.

pub mod disk;
