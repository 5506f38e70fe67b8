//! One group.
