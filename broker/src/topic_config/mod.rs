//! Topic configs: what may be set, what it resolves to, how it is reported.
//!
//! Owns: the table of Kafka 4.1's topic configs (`table`), the rules of setting them, `TopicSettings`, and what
//! DescribeConfigs says of a topic.
//! Invariants: overrides that `validate_all` passed always resolve; a value is reported as it was set, also where
//! it has no effect.
//! Never: stores anything; the overrides of a topic live in the metadata image.

mod alter;
mod describe;
mod docs;
mod settings;
pub mod table;

#[cfg(test)]
mod tests;

pub use alter::{
    AlterOp, ConfigChange, ConfigRefusal, apply_incremental, validate, validate_all, validate_changed,
};
pub use describe::{ConfigEntry, ConfigSource, ConfigSynonym, describe};
pub use docs::docs;
pub use settings::{TimestampType, TopicSettings};
