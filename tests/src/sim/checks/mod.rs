//! Checkers that look into the broker, its disk and its bucket, beside the clients' oracle.

pub mod bucket;
pub mod fold;
pub mod panics;
pub mod recovery;
pub mod white;
