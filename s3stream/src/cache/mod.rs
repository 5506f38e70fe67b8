//! What is kept in memory: the log cache (not uploaded yet, and the hot tail) and the block cache (catch-up).

pub mod block;
pub(crate) mod flight;
pub(crate) mod log;
#[cfg(test)]
mod log_tests;
pub(crate) mod lru;
pub(crate) mod tail;
