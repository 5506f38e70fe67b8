//! Black-box histories: what clients asked for, what they were told, what they read, and the verdict on it.
//!
//! Owns: the format of a history's lines ([`event`]), the state that is kept of one ([`Checker`]), the rules
//! (`rules`), and the names of the findings ([`FINDINGS`]).
//! Holds: a history is judged by what clients saw alone; the order of its files does not matter; memory is one entry
//! for each record that was sent and one for each offset that was read, about 100 bytes in all.
//! Never: asks the broker, or forgives what it does not understand: a line that cannot be read ends the run.

mod checker;
pub mod event;
mod paged;
mod rules;
mod summary;
#[cfg(test)]
mod tests;
mod times;
mod verdict;

pub use checker::Checker;
pub use summary::Summary;
pub use verdict::{FINDINGS, Verdict};
