//! Kafka bytes: frames, version table, the guard before the decoder, batches, records, answers.
//!
//! Invariants: no count or length from a peer makes anything here allocate more than the bytes justify, and no input
//! panics. Record bodies are passed on as slices, never copied (bodies below 2 KiB excepted) and never looked into,
//! except in [`records`].
//! Never: knows topics, partitions or what a request means.

pub mod frame;
pub mod guard;
pub mod produce;
pub mod records;
pub mod request;
pub mod response;
pub mod schema;
pub mod versions;

mod varint;
