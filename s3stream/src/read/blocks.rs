//! Footers and blocks of objects, as values in memory.
//!
//! Owns: the caches of footers, leaves and blocks, and the loads in flight.
//! Invariants: one load per footer, leaf or block at a time, shared by all who want it; neighbouring blocks travel in
//! one GET; bytes in flight are bounded; a load goes on when the reader that began it is gone.
//! Never: decides which object holds an offset.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_common::{Lineage, ObjectId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::budget::{MemoryBudget, Share};
use crate::cache::block::{Block, BlockCache, BlockKey, LruBlocks, MokaBlocks};
use crate::cache::flight::{Claim, Flights, Joined, Landing};
use crate::cache::lru::Lru;
use crate::format::{BlockIndex, Footer, FormatError, Leaf, Span, decode_block};
use crate::io::ObjectIo;
use crate::manager::LeafRow;
use crate::storage::{Observer, Settings};
use crate::stream::ReadError;

/// What a head and its place cost in a decoded block.
const BATCH_OVERHEAD: u64 = 96;
/// Permits of bytes in flight are counted in this, so that they fit the semaphore's numbers.
const PERMIT_BYTES: u64 = 1024;

/// An object as a row names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectRef {
    pub(crate) lineage: Lineage,
    pub(crate) id: ObjectId,
    pub(crate) size: u64,
}

type ObjectKey = (Lineage, ObjectId);

pub(crate) struct ObjectReader {
    inner: Arc<Inner>,
}

struct Inner {
    io: ObjectIo,
    observer: Arc<dyn Observer>,
    budget: MemoryBudget,
    blocks: Arc<dyn BlockCache>,
    block_flights: Flights<BlockKey, Arc<Block>>,
    footers: Mutex<Lru<ObjectKey, Arc<Footer>>>,
    footer_flights: Flights<ObjectKey, Arc<Footer>>,
    leaves: Mutex<Lru<ObjectKey, Arc<Leaf>>>,
    leaf_flights: Flights<ObjectKey, Arc<Leaf>>,
    in_flight: Arc<Semaphore>,
    in_flight_max: u32,
    get_bytes_max: u64,
}

/// Blocks and whether all of them were in memory already.
pub(crate) struct Got {
    pub(crate) blocks: Vec<Arc<Block>>,
    /// One was neither in memory nor on its way.
    pub(crate) missed: bool,
}

impl ObjectReader {
    pub(crate) fn new(
        io: ObjectIo,
        settings: &Settings,
        budget: &MemoryBudget,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let blocks: Arc<dyn BlockCache> = if settings.deterministic_cache {
            Arc::new(LruBlocks::new(settings.block_cache_bytes))
        } else {
            Arc::new(MokaBlocks::new(settings.block_cache_bytes))
        };
        let in_flight_max =
            u32::try_from(settings.loads_bytes / PERMIT_BYTES).unwrap_or(u32::MAX >> 4).max(1);
        let inner = Inner {
            io,
            observer,
            budget: budget.clone(),
            blocks,
            block_flights: Flights::new(),
            footers: Mutex::new(Lru::new(settings.footer_cache_bytes)),
            footer_flights: Flights::new(),
            leaves: Mutex::new(Lru::new(settings.footer_cache_bytes / 4)),
            leaf_flights: Flights::new(),
            in_flight: Arc::new(Semaphore::new(in_flight_max as usize)),
            in_flight_max,
            get_bytes_max: settings.get_bytes_max,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn cached_block_bytes(&self) -> u64 {
        self.inner.blocks.bytes()
    }

    pub(crate) async fn footer(&self, object: ObjectRef) -> Result<Arc<Footer>, ReadError> {
        let key = (object.lineage, object.id);
        loop {
            if let Some(footer) = self.inner.footers.lock().get(&key) {
                return Ok(footer);
            }
            let joined = match self.inner.footer_flights.claim(&key) {
                Claim::Flying(joined) => joined,
                Claim::Mine(landing, joined) => {
                    let inner = self.inner.clone();
                    tokio::spawn(async move {
                        let footer =
                            inner.io.footer(object.id, object.lineage, object.size).await.map(Arc::new);
                        if let Ok(footer) = &footer {
                            // Decoded, a footer takes about twice its bytes.
                            inner.footers.lock().insert(key, footer.clone(), footer.len * 2);
                        }
                        landing.land(footer.map_err(Into::into));
                    });
                    joined
                }
            };
            if let Some(outcome) = joined.outcome().await {
                return outcome;
            }
        }
    }

    pub(crate) async fn leaf(&self, row: &LeafRow) -> Result<Arc<Leaf>, ReadError> {
        let key = (row.lineage, row.id);
        loop {
            if let Some(leaf) = self.inner.leaves.lock().get(&key) {
                return Ok(leaf);
            }
            let joined = match self.inner.leaf_flights.claim(&key) {
                Claim::Flying(joined) => joined,
                Claim::Mine(landing, joined) => {
                    let (inner, row) = (self.inner.clone(), row.clone());
                    tokio::spawn(async move {
                        let leaf = inner.io.leaf(&row).await.map(Arc::new);
                        if let Ok(leaf) = &leaf {
                            inner.leaves.lock().insert(key, leaf.clone(), row.size * 2);
                        }
                        landing.land(leaf.map_err(Into::into));
                    });
                    joined
                }
            };
            if let Some(outcome) = joined.outcome().await {
                return outcome;
            }
        }
    }

    /// The blocks, in the order given (which is their order in the object).
    pub(crate) async fn blocks(&self, object: ObjectRef, wanted: &[BlockIndex]) -> Result<Got, ReadError> {
        let mut out = Vec::with_capacity(wanted.len());
        let mut missed = false;
        let mut places: Vec<Place> = Vec::with_capacity(wanted.len());
        let mut mine: Vec<(BlockIndex, Landing<BlockKey, Arc<Block>>)> = Vec::new();
        for index in wanted {
            let Some(span) = index.here() else {
                return Err(elsewhere(object));
            };
            let key = key_of(object, span);
            if let Some(block) = self.inner.blocks.get(&key) {
                places.push(Place::Here(block));
                continue;
            }
            match self.inner.block_flights.claim(&key) {
                Claim::Flying(joined) => places.push(Place::Flying(*index, joined)),
                Claim::Mine(landing, joined) => {
                    // It may have landed between the two look-ups.
                    if let Some(block) = self.inner.blocks.get(&key) {
                        landing.land(Ok(block.clone()));
                        places.push(Place::Here(block));
                        continue;
                    }
                    missed = true;
                    mine.push((*index, landing));
                    places.push(Place::Flying(*index, joined));
                }
            }
        }
        self.inner.observer.block_read(!missed);
        for run in runs(mine, self.inner.get_bytes_max) {
            tokio::spawn(self.inner.clone().load(object, run, None));
        }
        for place in places {
            out.push(match place {
                Place::Here(block) => block,
                Place::Flying(index, joined) => match joined.outcome().await {
                    Some(outcome) => outcome?,
                    // A read-ahead that found no room: load it here.
                    None => Box::pin(self.blocks(object, &[index])).await?.blocks.remove(0),
                },
            });
        }
        Ok(Got { blocks: out, missed })
    }

    /// Starts loading what is neither in memory nor on its way, as far as there is room for it. False when there is
    /// none.
    pub(crate) fn read_ahead(&self, object: ObjectRef, wanted: &[BlockIndex]) -> bool {
        let mut mine = Vec::new();
        for index in wanted {
            let Some(span) = index.here() else { return false };
            let key = key_of(object, span);
            if self.inner.blocks.contains(&key) {
                continue;
            }
            if let Claim::Mine(landing, _) = self.inner.block_flights.claim(&key) {
                mine.push((*index, landing));
            }
        }
        for run in runs(mine, self.inner.get_bytes_max) {
            let Ok(permit) = self.inner.in_flight.clone().try_acquire_many_owned(self.inner.permits(&run))
            else {
                return false;
            };
            tokio::spawn(self.inner.clone().load(object, run, Some(permit)));
        }
        true
    }
}

enum Place {
    Here(Arc<Block>),
    Flying(BlockIndex, Joined<Arc<Block>>),
}

type Run = Vec<(BlockIndex, Landing<BlockKey, Arc<Block>>)>;

/// Cuts what is to be loaded into runs of neighbours, each one GET of at most `bytes_max` (or one block).
fn runs(mine: Run, bytes_max: u64) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    let (mut end, mut bytes) = (0, 0);
    for (index, landing) in mine {
        let span = span_of(&index);
        match out.last_mut() {
            Some(run) if span.at == end && bytes + span.len <= bytes_max => {
                bytes += span.len;
                run.push((index, landing));
            }
            _ => {
                bytes = span.len;
                out.push(vec![(index, landing)]);
            }
        }
        end = span.range().end;
    }
    out
}

fn span_of(index: &BlockIndex) -> Span {
    index.here().expect("blocks that lie elsewhere were refused before")
}

fn key_of(object: ObjectRef, span: Span) -> BlockKey {
    BlockKey { lineage: object.lineage, object: object.id, at: span.at }
}

fn elsewhere(object: ObjectRef) -> ReadError {
    ReadError::Damaged {
        place: format!("object {} of lineage {}", object.id, object.lineage),
        what: "a block lies outside of it, which this build does not read".into(),
    }
}

impl Inner {
    fn permits(&self, run: &Run) -> u32 {
        let bytes: u64 = run.iter().map(|(index, _)| span_of(index).len).sum();
        u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.in_flight_max)
    }

    async fn load(self: Arc<Self>, object: ObjectRef, run: Run, permit: Option<OwnedSemaphorePermit>) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        let range = span_of(&first.0).at..span_of(&last.0).range().end;
        let _permit = match permit {
            Some(permit) => permit,
            None => {
                let permits = self.permits(&run);
                self.in_flight
                    .clone()
                    .acquire_many_owned(permits)
                    .await
                    .expect("the semaphore is never closed")
            }
        };
        let indexes: Vec<BlockIndex> = run.iter().map(|(index, _)| *index).collect();
        // Each block gets a buffer of its own: one that stays cached must not pin the whole GET.
        let decode = |bytes: &Bytes| decode_run(&indexes, bytes, true);
        let outcome = self.io.get_verified(object.id, object.lineage, range, decode).await;
        match outcome {
            Ok(decoded) => {
                for ((index, landing), batches) in run.into_iter().zip(decoded) {
                    let weight = span_of(&index).len + batches.len() as u64 * BATCH_OVERHEAD;
                    let permit = self.budget.charge(Share::BlockCache, weight);
                    let block = Arc::new(Block { batches, weight, _permit: permit });
                    self.blocks.insert(key_of(object, span_of(&index)), block.clone());
                    landing.land(Ok(block));
                }
            }
            Err(error) => {
                let error = ReadError::from(error);
                if let ReadError::Damaged { place, what } = &error {
                    self.observer.damage(&format!("{place}: {what}"));
                }
                run.into_iter().for_each(|(_, landing)| landing.land(Err(error.clone())));
            }
        }
    }
}

/// Cuts the bytes of neighbouring blocks into batches, each block checked. `apart`: each in a buffer of its own.
pub(crate) fn decode_run(
    indexes: &[BlockIndex],
    bytes: &Bytes,
    apart: bool,
) -> Result<Vec<Vec<tidegate_common::Batch>>, FormatError> {
    let start = indexes.first().map_or(0, |index| span_of(index).at);
    let share = !apart || indexes.len() == 1;
    let cut = |index: &BlockIndex| {
        let span = span_of(index);
        let at = usize::try_from(span.at - start).unwrap_or(usize::MAX);
        let len = usize::try_from(span.len).unwrap_or(usize::MAX);
        let end = at.checked_add(len).filter(|end| *end <= bytes.len());
        let part = end.map(|end| bytes.slice(at..end)).ok_or_else(|| {
            FormatError::Invalid(format!("{} bytes hold no block at {at} of {len} bytes", bytes.len()))
        })?;
        decode_block(index, if share { part } else { Bytes::copy_from_slice(&part) })
    };
    indexes.iter().map(cut).collect()
}
