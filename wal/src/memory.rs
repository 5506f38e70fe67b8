//! The memory medium: for tests, and for brokers whose owner accepts that records die with the process.
//!
//! Owns: records in memory, and a gate by which a test says what is durable.
//! Invariants: as in [`crate`]; sealing keeps exactly what was durable. Never: survives the process.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tidegate_common::{Incarnation, Position, WalId};
use tidegate_segment::format::record_bytes;
use tokio::sync::watch;

use crate::codec::payload_len;
use crate::space::{Answer, Answers, Space};
use crate::{
    Durability, IndexEntry, OpenError, Permit, Reach, ReadError, RecordKind, ReserveError, SealedWal, Usage,
    Wal, WalMedium, WalRecord,
};

/// Largest batch, as the file medium's default.
const RECORD_BYTES_MAX: usize = 8 << 20;
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;

/// Clones share what they hold.
#[derive(Clone)]
pub struct MemoryMedium {
    bytes_max: u64,
    is_gated: bool,
    logs: Arc<Mutex<BTreeMap<WalId, Arc<Log>>>>,
}

impl MemoryMedium {
    /// Records are durable at once.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, is_gated: false, logs: Arc::default() }
    }

    /// Records are durable once [`MemoryMedium::let_through`] says so.
    #[must_use]
    pub fn gated(bytes_max: u64) -> Self {
        Self { is_gated: true, ..Self::new(bytes_max) }
    }

    /// Makes what was appended up to `upto` durable.
    pub fn let_through(&self, id: WalId, upto: Position) {
        if let Some(log) = self.log(id) {
            log.make_durable(upto);
        }
    }

    /// The next thing to be made durable fails.
    pub fn poison(&self, id: WalId) {
        if let Some(log) = self.log(id) {
            log.end(true);
        }
    }

    fn log(&self, id: WalId) -> Option<Arc<Log>> {
        self.logs.lock().get(&id).cloned()
    }
}

impl WalMedium for MemoryMedium {
    fn create(&self, id: WalId, _incarnation: Incarnation) -> BoxFuture<'_, Result<Arc<dyn Wal>, OpenError>> {
        async move {
            let log = Arc::new(Log::new(id, self.bytes_max, self.is_gated));
            match self.logs.lock().entry(id) {
                Entry::Vacant(place) => place.insert(Arc::clone(&log)),
                Entry::Occupied(_) => return Err(OpenError::Refused(format!("WAL {id} exists"))),
            };
            Ok(Arc::new(MemoryWal { log }) as Arc<dyn Wal>)
        }
        .boxed()
    }

    fn seal(
        &self,
        id: WalId,
        _executor: Incarnation,
        floor: Position,
    ) -> BoxFuture<'_, Result<Arc<dyn SealedWal>, OpenError>> {
        async move {
            let log = {
                let mut logs = self.logs.lock();
                let limit = self.bytes_max;
                Arc::clone(logs.entry(id).or_insert_with(|| Arc::new(Log::new(id, limit, false))))
            };
            let (end, index) = log.seal();
            if end < floor {
                let what = format!("records end at {end}, durable were those up to {floor}");
                return Err(OpenError::Damaged { file: format!("WAL {id} in memory"), offset: 0, what });
            }
            Ok(Arc::new(MemorySealed { log, end, index }) as Arc<dyn SealedWal>)
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<WalId>, OpenError>> {
        async move { Ok(self.logs.lock().keys().copied().collect()) }.boxed()
    }

    fn delete(&self, id: WalId) -> BoxFuture<'_, Result<(), OpenError>> {
        async move {
            let mut logs = self.logs.lock();
            if logs.get(&id).is_some_and(|log| log.state.lock().sealed.is_none()) {
                return Err(OpenError::Refused(format!("WAL {id} is not sealed")));
            }
            logs.remove(&id);
            Ok(())
        }
        .boxed()
    }
}

struct Log {
    id: WalId,
    is_gated: bool,
    limit: u64,
    state: Mutex<State>,
    durable: watch::Sender<Durability>,
}

struct State {
    records: BTreeMap<Position, (WalRecord, u64)>,
    next: Position,
    durable: Position,
    start: Position,
    /// Bytes of records not trimmed; with permits, what `limit` bounds.
    used: u64,
    space: Space,
    sealed: Option<Position>,
}

struct MemoryWal {
    log: Arc<Log>,
}

struct MemorySealed {
    log: Arc<Log>,
    end: Position,
    index: Vec<IndexEntry>,
}

fn charge(bytes: usize) -> u64 {
    record_bytes(bytes) as u64
}

impl Log {
    fn new(id: WalId, limit: u64, is_gated: bool) -> Self {
        let mut space = Space::new(IN_FLIGHT_BYTES_MAX.min(limit), RECORD_BYTES_MAX, limit);
        space.set_room(limit, 0);
        space.set_full(true);
        let state = State {
            records: BTreeMap::new(),
            next: Position(1),
            durable: Position::ZERO,
            start: Position(1),
            used: 0,
            space,
            sealed: None,
        };
        let durable = watch::Sender::new(Durability::Upto(Position::ZERO));
        Self { id, is_gated, limit, state: Mutex::new(state), durable }
    }

    fn permit(self: &Arc<Self>, bytes: usize) -> Permit {
        let log = Arc::clone(self);
        Permit::new(bytes, Some(Box::new(move |bytes| log.give_back(bytes))))
    }

    fn give_back(&self, bytes: usize) {
        let answers = {
            let mut state = self.state.lock();
            state.space.give_back(bytes as u64, charge(bytes));
            state.space.serve()
        };
        self.answer(answers);
    }

    fn answer(&self, answers: Answers) {
        for (waiter, answer) in answers {
            if let Err(Ok(bytes)) = waiter.send(answer) {
                self.give_back(bytes);
            }
        }
    }

    fn make_durable(&self, upto: Position) {
        let answers = {
            let mut state = self.state.lock();
            if state.sealed.is_some() || state.space.is_closed() && upto >= state.next {
                return;
            }
            let upto = Position(upto.0.min(state.next.0 - 1));
            if upto <= state.durable {
                return;
            }
            let newly = state.durable.next()..=upto;
            let done: Vec<u64> = state.records.range(newly).map(|(_, (_, bytes))| *bytes).collect();
            for bytes in done {
                let cost = charge(bytes as usize);
                state.space.give_back(bytes, cost);
                state.used += cost;
            }
            state.durable = upto;
            let room = self.limit.saturating_sub(state.used);
            let used = state.used;
            state.space.set_room(room, used);
            // Told under the lock, so that it never goes back.
            self.durable.send_replace(Durability::Upto(upto));
            state.space.serve()
        };
        self.answer(answers);
    }

    /// Ends the log: nothing more becomes durable.
    fn end(&self, poison: bool) {
        let answers = {
            let mut state = self.state.lock();
            state.space.close();
            let upto = state.durable;
            state.records.split_off(&upto.next());
            if poison {
                self.durable.send_replace(Durability::Poisoned { upto });
            }
            state.space.serve()
        };
        self.answer(answers);
    }

    fn seal(&self) -> (Position, Vec<IndexEntry>) {
        self.end(false);
        let mut state = self.state.lock();
        let durable = state.durable;
        let end = *state.sealed.get_or_insert(durable);
        (end, state.records.iter().map(|(position, (record, _))| entry(*position, record)).collect())
    }

    fn read(&self, position: Position) -> Result<WalRecord, ReadError> {
        let state = self.state.lock();
        let record = state.records.get(&position).filter(|_| position <= state.durable);
        record.map(|(record, _)| record.clone()).ok_or(ReadError::NotHere(position))
    }

    fn trim(&self, below: Position) {
        let answers = {
            let mut state = self.state.lock();
            let below = below.min(state.durable.next());
            let kept = state.records.split_off(&below);
            let gone: u64 = state.records.values().map(|(_, bytes)| charge(*bytes as usize)).sum();
            state.records = kept;
            state.start = state.start.max(below);
            state.used -= gone;
            let (room, used) = (self.limit.saturating_sub(state.used), state.used);
            state.space.set_room(room, used);
            state.space.serve()
        };
        self.answer(answers);
    }
}

fn entry(position: Position, record: &WalRecord) -> IndexEntry {
    let head = match &record.kind {
        RecordKind::Batch(batch) => Some(batch.head),
        RecordKind::Close | RecordKind::CutMark(_) => None,
    };
    let bytes = u32::try_from(record_bytes(payload_len(&record.kind))).unwrap_or(u32::MAX);
    IndexEntry { position, stream: record.stream, epoch: record.epoch, head, bytes }
}

impl Wal for MemoryWal {
    fn id(&self) -> WalId {
        self.log.id
    }

    fn reach(&self) -> Reach {
        Reach::ThisMachine
    }

    fn try_reserve(&self, bytes: usize) -> Result<Permit, ReserveError> {
        let taken = self.log.state.lock().space.try_take(bytes, charge(bytes));
        taken.map(|bytes| self.log.permit(bytes))
    }

    fn reserve(&self, bytes: usize) -> BoxFuture<'_, Result<Permit, ReserveError>> {
        async move {
            let taken = self.log.state.lock().space.take_or_wait(bytes, charge(bytes));
            let answer: Answer = match taken {
                Ok(answer) => answer,
                Err(waiter) => {
                    let log = Arc::clone(&self.log);
                    crate::space::Waiting::new(waiter, move |bytes| log.give_back(bytes)).await
                }
            };
            answer.map(|bytes| self.log.permit(bytes))
        }
        .boxed()
    }

    fn append(&self, permit: Permit, record: WalRecord) -> Position {
        let bytes = permit.consume();
        let needed = payload_len(&record.kind);
        assert!(needed <= bytes, "a record of {needed} bytes on a permit of {bytes}");
        let position = {
            let mut state = self.log.state.lock();
            let position = state.next;
            state.next = position.next();
            if state.space.is_closed() {
                return position;
            }
            state.records.insert(position, (record, bytes as u64));
            position
        };
        if !self.log.is_gated {
            self.log.make_durable(position);
        }
        position
    }

    fn durable(&self) -> watch::Receiver<Durability> {
        self.log.durable.subscribe()
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        async move { self.log.read(position) }.boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        async move {
            self.log.trim(below);
            Ok(())
        }
        .boxed()
    }

    fn usage(&self) -> Usage {
        let state = self.log.state.lock();
        Usage {
            used_bytes: state.used,
            limit_bytes: self.log.limit,
            in_flight_bytes: state.space.in_flight(),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let last = Position(self.log.state.lock().next.0 - 1);
            if !self.log.state.lock().space.is_closed() {
                self.log.make_durable(last);
            }
            self.log.end(false);
        }
        .boxed()
    }
}

impl SealedWal for MemorySealed {
    fn id(&self) -> WalId {
        self.log.id
    }

    fn end(&self) -> Position {
        self.end
    }

    fn start(&self) -> Position {
        self.log.state.lock().start
    }

    fn index(&self) -> &[IndexEntry] {
        &self.index
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        async move { self.log.read(position) }.boxed()
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        async { Ok(()) }.boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        async move {
            self.log.trim(below);
            Ok(())
        }
        .boxed()
    }
}
