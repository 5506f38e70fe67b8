//! Tests of the Raft side.
