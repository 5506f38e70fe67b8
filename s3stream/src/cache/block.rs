//! The block cache: verified blocks of objects, for catch-up readers.
//!
//! Owns: which blocks are in memory, under a byte limit of its own; every block holds its bytes of the budget's share
//! until its last reader lets go.
//! Two implementations behind one trait: moka in production, and a plain LRU whose content depends on nothing but the
//! calls made, for the simulation. Never: loads anything.

use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_common::{Batch, Lineage, ObjectId};

use super::lru::Lru;
use crate::budget::MemoryPermit;

/// A block, by the object that holds it and its first byte there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    pub lineage: Lineage,
    pub object: ObjectId,
    pub at: u64,
}

/// Checked batches of one block; their bodies share one buffer of the block's length.
pub struct Block {
    pub batches: Vec<Batch>,
    /// Buffer and heads.
    pub(crate) weight: u64,
    pub(crate) _permit: MemoryPermit,
}

pub trait BlockCache: Send + Sync + 'static {
    fn get(&self, key: &BlockKey) -> Option<Arc<Block>>;
    fn contains(&self, key: &BlockKey) -> bool;
    fn insert(&self, key: BlockKey, block: Arc<Block>);
    /// Bytes held, about.
    fn bytes(&self) -> u64;
}

/// Frequency-aware, so that one scan does not push out what several groups read.
pub struct MokaBlocks(moka::sync::Cache<BlockKey, Arc<Block>>);

impl MokaBlocks {
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        let weigh = |_: &BlockKey, block: &Arc<Block>| u32::try_from(block.weight).unwrap_or(u32::MAX);
        Self(moka::sync::Cache::builder().max_capacity(limit_bytes).weigher(weigh).build())
    }
}

impl BlockCache for MokaBlocks {
    fn get(&self, key: &BlockKey) -> Option<Arc<Block>> {
        self.0.get(key)
    }

    fn contains(&self, key: &BlockKey) -> bool {
        self.0.contains_key(key)
    }

    fn insert(&self, key: BlockKey, block: Arc<Block>) {
        self.0.insert(key, block);
    }

    fn bytes(&self) -> u64 {
        self.0.weighted_size()
    }
}

pub struct LruBlocks(Mutex<Lru<BlockKey, Arc<Block>>>);

impl LruBlocks {
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self(Mutex::new(Lru::new(limit_bytes)))
    }
}

impl BlockCache for LruBlocks {
    fn get(&self, key: &BlockKey) -> Option<Arc<Block>> {
        self.0.lock().get(key)
    }

    fn contains(&self, key: &BlockKey) -> bool {
        self.0.lock().contains(key)
    }

    fn insert(&self, key: BlockKey, block: Arc<Block>) {
        let weight = block.weight;
        self.0.lock().insert(key, block, weight);
    }

    fn bytes(&self) -> u64 {
        self.0.lock().weight()
    }
}
