//! A WAL in memory whose records are durable at once. It refuses to be trimmed past what is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tidegate_common::{Incarnation, Position, WalId};
use tidegate_wal::{
    Durability, IndexEntry, OpenError, Permit, Reach, ReadError, RecordKind, ReserveError, SealedWal, Usage,
    Wal, WalMedium, WalRecord,
};
use tokio::sync::watch;

use crate::testing::FakeQuorum;

pub(crate) struct TestMedium {
    quorum: Arc<FakeQuorum>,
    logs: Mutex<BTreeMap<WalId, Arc<Log>>>,
}

struct Log {
    id: WalId,
    quorum: Arc<FakeQuorum>,
    records: Mutex<BTreeMap<Position, WalRecord>>,
    next: Mutex<Position>,
    durable: watch::Sender<Durability>,
}

impl TestMedium {
    pub(crate) fn new(quorum: Arc<FakeQuorum>) -> Arc<Self> {
        Arc::new(Self { quorum, logs: Mutex::default() })
    }

    pub(crate) fn open(&self, id: WalId) -> Arc<dyn Wal> {
        let log = Arc::new(Log {
            id,
            quorum: self.quorum.clone(),
            records: Mutex::default(),
            next: Mutex::new(Position(1)),
            durable: watch::Sender::new(Durability::Upto(Position::ZERO)),
        });
        self.logs.lock().insert(id, log.clone());
        Arc::new(Live(log))
    }

    pub(crate) fn seal_now(&self, id: WalId) -> Arc<dyn SealedWal> {
        let log = self.logs.lock().get(&id).cloned().expect("a WAL that was opened and not deleted");
        let index = log
            .records
            .lock()
            .iter()
            .map(|(position, record)| IndexEntry {
                position: *position,
                stream: record.stream,
                epoch: record.epoch,
                head: match &record.kind {
                    RecordKind::Batch(batch) => Some(batch.head),
                    _ => None,
                },
                bytes: 0,
            })
            .collect();
        Arc::new(Sealed { log, index })
    }

    pub(crate) fn ids(&self) -> Vec<WalId> {
        self.logs.lock().keys().copied().collect()
    }
}

impl Log {
    fn read(&self, position: Position) -> Result<WalRecord, ReadError> {
        self.records.lock().get(&position).cloned().ok_or(ReadError::NotHere(position))
    }

    fn trim(&self, below: Position) {
        assert!(below <= self.quorum.trimmed(self.id), "the quorum took no such trim mark");
        let mut records = self.records.lock();
        let kept = records.split_off(&below);
        for (position, record) in std::mem::replace(&mut *records, kept) {
            self.check_committed(position, &record);
        }
    }

    fn check_committed(&self, position: Position, record: &WalRecord) {
        let (Some(row), RecordKind::Batch(batch)) = (self.quorum.stream(record.stream), &record.kind) else {
            return;
        };
        assert!(
            batch.head.next_offset() <= row.committed_end,
            "position {position} of WAL {} is trimmed, but stream {} is committed up to {} only",
            self.id,
            record.stream,
            row.committed_end
        );
    }
}

struct Live(Arc<Log>);

impl Wal for Live {
    fn id(&self) -> WalId {
        self.0.id
    }

    fn reach(&self) -> Reach {
        Reach::ThisMachine
    }

    fn try_reserve(&self, bytes: usize) -> Result<Permit, ReserveError> {
        Ok(Permit::new(bytes, None))
    }

    fn reserve(&self, bytes: usize) -> BoxFuture<'_, Result<Permit, ReserveError>> {
        std::future::ready(self.try_reserve(bytes)).boxed()
    }

    fn append(&self, permit: Permit, record: WalRecord) -> Position {
        permit.consume();
        let mut next = self.0.next.lock();
        let position = *next;
        *next = position.next();
        self.0.records.lock().insert(position, record);
        self.0.durable.send_replace(Durability::Upto(position));
        position
    }

    fn durable(&self) -> watch::Receiver<Durability> {
        self.0.durable.subscribe()
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        async move {
            tokio::task::yield_now().await;
            self.0.read(position)
        }
        .boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        self.0.trim(below);
        std::future::ready(Ok(())).boxed()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

struct Sealed {
    log: Arc<Log>,
    index: Vec<IndexEntry>,
}

impl SealedWal for Sealed {
    fn id(&self) -> WalId {
        self.log.id
    }

    fn end(&self) -> Position {
        Position(self.log.next.lock().0 - 1)
    }

    fn start(&self) -> Position {
        self.index.first().map_or(self.end().next(), |entry| entry.position)
    }

    fn index(&self) -> &[IndexEntry] {
        &self.index
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        async move {
            tokio::task::yield_now().await;
            self.log.read(position)
        }
        .boxed()
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        self.log.trim(below);
        std::future::ready(Ok(())).boxed()
    }
}

impl WalMedium for TestMedium {
    fn create(&self, id: WalId, _incarnation: Incarnation) -> BoxFuture<'_, Result<Arc<dyn Wal>, OpenError>> {
        std::future::ready(Ok(self.open(id))).boxed()
    }

    fn seal(
        &self,
        id: WalId,
        _executor: Incarnation,
        _floor: Position,
    ) -> BoxFuture<'_, Result<Arc<dyn SealedWal>, OpenError>> {
        std::future::ready(Ok(self.seal_now(id))).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<WalId>, OpenError>> {
        std::future::ready(Ok(self.ids())).boxed()
    }

    fn delete(&self, id: WalId) -> BoxFuture<'_, Result<(), OpenError>> {
        assert!(self.quorum.wal_is_deleted(id), "the quorum still has the WAL");
        let log = self.logs.lock().remove(&id);
        if let Some(log) = log {
            log.records.lock().iter().for_each(|(position, record)| log.check_committed(*position, record));
        }
        std::future::ready(Ok(())).boxed()
    }
}
