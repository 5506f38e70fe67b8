//! A sealed file WAL as its successor reads it.
//!
//! Invariants: a record is given only from a segment that was checked in full. Never: writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_common::{Position, WalId};
use tidegate_segment::{FilesError, FoundRecord, SealedLog};

use super::{Driver, decoded, rim};
use crate::{IndexEntry, ReadError, SealedWal, WalRecord, codec};

pub(super) struct FileSealed {
    id: WalId,
    log: Arc<SealedLog>,
    index: Vec<IndexEntry>,
    /// Positions below this were trimmed in this life; their segment may still be there.
    trimmed: AtomicU64,
    driver: Driver,
}

impl FileSealed {
    pub fn new(id: WalId, log: SealedLog, records: &[FoundRecord], driver: Driver) -> Self {
        let index = records.iter().map(codec::index_entry).collect();
        Self { id, log: Arc::new(log), index, trimmed: AtomicU64::new(0), driver }
    }
}

impl SealedWal for FileSealed {
    fn id(&self) -> WalId {
        self.id
    }

    fn end(&self) -> Position {
        Position(self.log.seal().end)
    }

    fn given_up_to(&self) -> Option<Position> {
        let seal = self.log.seal();
        seal.is_partial().then_some(Position(seal.given_up_to))
    }

    fn start(&self) -> Position {
        Position(self.log.start().max(self.trimmed.load(Ordering::SeqCst)))
    }

    /// Entries as of the sealing; those below `start` are trimmed.
    fn index(&self) -> &[IndexEntry] {
        &self.index
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        let is_there = (self.start()..=self.end()).contains(&position);
        let log = Arc::clone(&self.log);
        async move {
            if !is_there {
                return Err(ReadError::NotHere(position));
            }
            rim::blocking(self.driver, move || decoded(log.read(position.0), position)).await
        }
        .boxed()
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        async move {
            loop {
                let log = Arc::clone(&self.log);
                // One segment at a time, so that it can be stopped, and others get their turn.
                if !rim::blocking(self.driver, move || log.verify_next()).await? {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        }
        .boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        let below = Position(below.0.min(self.end().0 + 1));
        self.trimmed.fetch_max(below.0, Ordering::SeqCst);
        let log = Arc::clone(&self.log);
        async move {
            let trimmed = rim::blocking(self.driver, move || log.trim(below.0)).await;
            trimmed.map(drop).map_err(|error| match error {
                FilesError::Damaged(damage) => damage.into(),
                other => ReadError::Io(other.to_string()),
            })
        }
        .boxed()
    }
}
