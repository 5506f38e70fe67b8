//! Broker configs as clients see and change them (KIP-226).
//!
//! Owns: which keys may change while the broker runs and at which level (`scope`), the rules of changing them
//! (`alter`), what DescribeConfigs says of a broker (`describe`), and the configuration that holds now (`live`).
//! Invariants: a value of one broker counts before the cluster's default, and that before what the process was
//! started with; the table of keys is that of `config`; a change is taken as a whole or not at all.
//! Never: stores anything; dynamic values live in the metadata image.

mod alter;
mod describe;
mod live;
mod scope;

#[cfg(test)]
mod tests;

pub use alter::{Level, Now, Refused, apply, replace};
pub use describe::{describe, describe_default};
pub use live::LiveConfig;
pub use scope::{Scope, scope};
