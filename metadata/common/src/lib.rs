//! The nouns that every crate shares: numbers with types, the opaque record batch, producer state,
//! and the seams for time and randomness.
//!
//! Invariants: nothing here does I/O, spawns, sleeps or allocates by a number read from the wire.
//! Never: knows Kafka requests, Raft, or where bytes are stored.

#[cfg(not(tokio_unstable))]
compile_error!(
    "build with --cfg tokio_unstable (it is set in .cargo/config.toml; a RUSTFLAGS variable overrides that file)"
);

pub mod batch;
pub mod clock;
pub mod codec;
pub mod epochs;
pub mod ids;
pub mod mutant;
pub mod producers;
pub mod random;

pub use batch::{Batch, BatchHead, HEAD_LEN};
pub use ids::*;
