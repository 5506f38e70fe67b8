//! The settings of the storage, as plain values.
//!
//! Invariants: sizes are bytes, times are milliseconds. Never: reads a file or the environment; where the values come from
//! is for whoever composes the program.

use crate::budget::{Limits, Share};

/// Plain values; the defaults are the documented ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `storage.upload.bytes`: a round starts when this much is published and not uploaded.
    pub upload_bytes: u64,
    /// `storage.upload.age.ms`: a round starts when the oldest such batch is this old.
    pub upload_age_ms: u64,
    /// A stream with this much in one round, or in set objects, gets a stream object of its own.
    pub split_bytes: u64,
    /// Upload rounds in memory at once.
    pub rounds_in_memory: usize,
    /// PUTs of one round at once.
    pub puts_in_flight: usize,
    /// Live set objects above which the oldest are merged or split.
    pub set_objects_max: usize,
    /// A set object is old enough for merging: `split_bytes` over this time is the rate above which a partition's bytes
    /// are PUT at most twice.
    pub compact_age_ms: u64,
    /// Bytes of output that one compaction holds in memory.
    pub compact_bytes: u64,
    pub compact_interval_ms: u64,
    pub gc_interval_ms: u64,
    /// Keys in one delete request.
    pub gc_batch: usize,
    /// Stream objects in one leaf.
    pub leaf_objects: usize,
    /// Target length of a block.
    pub block_bytes: usize,
    /// All shares of the budget together.
    pub memory_bytes: u64,
    pub log_cache_bytes: u64,
    pub block_cache_bytes: u64,
    pub footer_cache_bytes: u64,
    /// Bytes of object reads in flight.
    pub loads_bytes: u64,
    /// The longest range that one GET asks for.
    pub get_bytes_max: u64,
    pub read_ahead_bytes_max: u64,
    pub prepared_ttl_ms: u64,
    pub retry_ms_max: u64,
    /// Producer sections that a load of producer state replays at most.
    pub replay_bytes_max: u64,
    /// Slices that it replays at most.
    pub replay_slices_max: u32,
    /// A block cache whose content depends on nothing but the calls made: for the simulation.
    pub deterministic_cache: bool,
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            upload_bytes: 64 * MIB,
            upload_age_ms: 60_000,
            split_bytes: 8 * MIB,
            rounds_in_memory: 2,
            puts_in_flight: 4,
            set_objects_max: 128,
            compact_age_ms: 20 * 60_000,
            compact_bytes: 64 * MIB,
            compact_interval_ms: 10_000,
            gc_interval_ms: 10_000,
            gc_batch: 1000,
            leaf_objects: 1024,
            block_bytes: 256 << 10,
            memory_bytes: 1024 * MIB,
            log_cache_bytes: 256 * MIB,
            block_cache_bytes: 192 * MIB,
            footer_cache_bytes: 32 * MIB,
            loads_bytes: 64 * MIB,
            get_bytes_max: 8 * MIB,
            read_ahead_bytes_max: 16 * MIB,
            prepared_ttl_ms: 10 * 60_000,
            retry_ms_max: 5_000,
            replay_bytes_max: 16 * MIB,
            replay_slices_max: 64,
            deterministic_cache: false,
        }
    }
}

impl Settings {
    /// The budget that these settings ask for: fixed shares for what they name, the rest of the total for the network.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let usual = Limits::of(self.memory_bytes);
        let rounds = self.round_bytes() * self.rounds_in_memory as u64;
        usual
            .with(Share::LogCache, self.log_cache_bytes)
            .with(Share::BlockCache, self.block_cache_bytes)
            .with(Share::Uploads, usual.get(Share::Uploads).max(rounds))
    }

    /// What one upload round holds. A round that does not fit the log cache would have to be read back from the WAL each
    /// time.
    #[must_use]
    pub fn round_bytes(&self) -> u64 {
        self.upload_bytes.min(self.log_cache_bytes / 2).max(1)
    }
}
