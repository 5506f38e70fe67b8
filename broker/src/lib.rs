//! The Tidegate broker.
//!
//! Owns: the Kafka surface (`net`, `api`), partitions and their release, the composition (`start`, `runtime`).
//! Invariants: pure state machines in the middle (`partition::state`, `api::fetch_session`, `retention`), I/O at the rim
//! (`net`, `rim`, `runtime`); nothing is acknowledged before it is durable and the lease was seen to hold after that.
//! Never: runs without being handed its clock, randomness, disk, store and network.

pub mod admin;
pub mod api;
pub mod broker;
pub mod broker_config;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod internal_topics;
pub mod join;
pub mod lease;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod observe;
pub mod partition;
pub mod partitions;
pub mod producer_ids;
pub mod release;
pub mod retention;
pub mod rim;
pub mod runtime;
pub mod start;
pub mod topic_config;
pub mod wal_tools;
