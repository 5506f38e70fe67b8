//! A test-only medium that behaves like objects, to show that the trait asks for nothing that they cannot do.
//!
//! The model: a log is numbered slots in a store, each created only if absent. Several are in flight at once and
//! complete out of order; each attempt may fail with unknown outcome, and land later or never. The writer tries
//! a slot again with the same content until it knows, never skips one, and releases in slot order. A seal takes
//! the first free slot from the trim mark on; whatever lands above it counts for nothing.
//! Left out: bytes. Slots hold values, since formats are the object medium's own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{Incarnation, Position, WalId};
use tidegate_segment::format::record_bytes;
use tokio::sync::{Notify, watch};

use crate::codec::payload_len;
use crate::space::{Answers, Space, Waiting};
use crate::{
    Durability, IndexEntry, OpenError, Permit, Reach, ReadError, RecordKind, ReserveError, SealedWal, Usage,
    Wal, WalMedium, WalRecord,
};

const SLOTS_IN_FLIGHT: usize = 4;
const SLOT_RECORDS_MAX: usize = 8;
/// Attempts on one slot before the log gives up.
const ATTEMPTS_MAX: u32 = 60;
const RECORD_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq)]
enum Slot {
    Records { writer: Incarnation, first: Position, records: Vec<WalRecord>, durable: Position },
    Seal { executor: Incarnation },
}

#[derive(Debug, PartialEq, Eq)]
enum Put {
    Created,
    Exists,
    Unknown,
}

/// The store, and what Raft would hold of its logs.
pub struct SlotStore {
    slots: Mutex<BTreeMap<(WalId, u64), Slot>>,
    /// First slot that is not trimmed, and its first position.
    marks: Mutex<BTreeMap<WalId, (u64, Position)>>,
    random: SeededRandom,
    is_broken: AtomicBool,
}

impl SlotStore {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::default(),
            marks: Mutex::default(),
            random: SeededRandom::new(seed),
            is_broken: AtomicBool::new(false),
        })
    }

    /// From now on no attempt lands or is answered.
    pub fn break_all(&self) {
        self.is_broken.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.is_broken.store(false, Ordering::SeqCst);
    }

    async fn put(self: &Arc<Self>, at: (WalId, u64), slot: &Slot) -> Put {
        tokio::time::sleep(Duration::from_micros(self.random.below(3000))).await;
        if self.is_broken.load(Ordering::SeqCst) {
            return Put::Unknown;
        }
        match self.random.below(10) {
            0 => {
                self.land(at, slot);
                Put::Unknown
            }
            1 => {
                let (store, slot, late) = (Arc::clone(self), slot.clone(), self.random.below(50));
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(late)).await;
                    store.land(at, &slot);
                });
                Put::Unknown
            }
            2 => Put::Unknown,
            _ => self.land(at, slot),
        }
    }

    fn land(&self, at: (WalId, u64), slot: &Slot) -> Put {
        let mut slots = self.slots.lock();
        if slots.contains_key(&at) {
            return Put::Exists;
        }
        slots.insert(at, slot.clone());
        Put::Created
    }

    fn get(&self, at: (WalId, u64)) -> Option<Slot> {
        self.slots.lock().get(&at).cloned()
    }

    /// Puts until the outcome is known; gives what the slot holds.
    async fn settle(self: &Arc<Self>, at: (WalId, u64), slot: &Slot) -> Option<Slot> {
        for _ in 0..ATTEMPTS_MAX {
            match self.put(at, slot).await {
                Put::Created => return Some(slot.clone()),
                // It may be our own earlier attempt.
                Put::Exists => return self.get(at),
                Put::Unknown => {}
            }
        }
        None
    }

    fn mark(&self, id: WalId) -> (u64, Position) {
        self.marks.lock().get(&id).copied().unwrap_or((0, Position(1)))
    }

    /// The mark first, then the slots: whoever reads the mark finds them all.
    fn trim(&self, id: WalId, places: &[(u64, Position, usize)], below: Position) {
        let (old, _) = self.mark(id);
        let whole = |&&(slot, first, count): &&(u64, Position, usize)| {
            slot >= old && first.0 + count as u64 <= below.0
        };
        let Some(&(last, first, count)) = places.iter().rfind(whole) else { return };
        self.marks.lock().insert(id, (last + 1, Position(first.0 + count as u64)));
        self.slots.lock().retain(|(wal, slot), _| *wal != id || *slot > last);
    }
}

pub struct SlotMedium {
    store: Arc<SlotStore>,
    limit: u64,
}

impl SlotMedium {
    pub fn new(store: Arc<SlotStore>, limit: u64) -> Self {
        Self { store, limit }
    }
}

impl WalMedium for SlotMedium {
    fn create(&self, id: WalId, incarnation: Incarnation) -> BoxFuture<'_, Result<Arc<dyn Wal>, OpenError>> {
        async move {
            // In the product, Raft never gives an id twice; here the mark stands for that.
            if self.store.marks.lock().insert(id, (0, Position(1))).is_some() {
                return Err(OpenError::Refused(format!("WAL {id} exists")));
            }
            Ok(Arc::new(SlotWal::start(id, incarnation, Arc::clone(&self.store), self.limit)) as Arc<dyn Wal>)
        }
        .boxed()
    }

    fn seal(
        &self,
        id: WalId,
        executor: Incarnation,
        floor: Position,
    ) -> BoxFuture<'_, Result<Arc<dyn SealedWal>, OpenError>> {
        async move {
            let io = |what: &str| OpenError::Io { place: format!("WAL {id}"), what: what.to_owned() };
            let known = self.store.marks.lock().contains_key(&id);
            if !known && floor > Position::ZERO {
                let what = format!("there is nothing, durable were those up to {floor}");
                return Err(OpenError::Damaged { file: format!("WAL {id}"), offset: 0, what });
            }
            self.store.marks.lock().entry(id).or_insert((0, Position(1)));
            let (start_slot, start) = self.store.mark(id);
            let (mut next, mut records, mut places) = (start, Vec::new(), Vec::new());
            for slot in start_slot.. {
                let found = match self.store.get((id, slot)) {
                    Some(found) => found,
                    None => {
                        let seal = Slot::Seal { executor };
                        self.check_floor(id, slot, Position(next.0 - 1), floor)?;
                        self.store
                            .settle((id, slot), &seal)
                            .await
                            .ok_or_else(|| io("the store does not answer"))?
                    }
                };
                match found {
                    Slot::Seal { .. } => {
                        self.check_floor(id, slot, Position(next.0 - 1), floor)?;
                        break;
                    }
                    Slot::Records { first, records: found, .. } => {
                        assert_eq!(first, next, "slots follow each other");
                        places.push((slot, first, found.len()));
                        next = Position(next.0 + found.len() as u64);
                        records.extend(found);
                    }
                }
            }
            let index =
                records.iter().enumerate().map(|(i, r)| entry(Position(start.0 + i as u64), r)).collect();
            let end = Position(next.0 - 1);
            Ok(Arc::new(SlotSealed {
                id,
                store: Arc::clone(&self.store),
                start: Mutex::new(start),
                first: start,
                end,
                index,
                records,
                places,
            }) as Arc<dyn SealedWal>)
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<WalId>, OpenError>> {
        async move { Ok(self.store.marks.lock().keys().copied().collect()) }.boxed()
    }

    fn delete(&self, id: WalId) -> BoxFuture<'_, Result<(), OpenError>> {
        async move {
            let is_sealed = self
                .store
                .slots
                .lock()
                .iter()
                .any(|((wal, _), slot)| *wal == id && matches!(slot, Slot::Seal { .. }));
            if !is_sealed && self.store.marks.lock().contains_key(&id) {
                return Err(OpenError::Refused(format!("WAL {id} is not sealed")));
            }
            self.store.slots.lock().retain(|(wal, _), _| *wal != id);
            self.store.marks.lock().remove(&id);
            Ok(())
        }
        .boxed()
    }
}

impl SlotMedium {
    /// A free slot below what was durable, as told from elsewhere or by a slot above it, is damage.
    fn check_floor(&self, id: WalId, free: u64, end: Position, floor: Position) -> Result<(), OpenError> {
        let slots = self.store.slots.lock();
        let above = slots.range((id, free)..=(id, u64::MAX)).filter_map(|(_, slot)| match slot {
            Slot::Records { durable, .. } => Some(*durable),
            Slot::Seal { .. } => None,
        });
        let durable = above.max().unwrap_or_default().max(floor);
        if end >= durable {
            return Ok(());
        }
        let what = format!("records end at {end}, durable were those up to {durable}");
        Err(OpenError::Damaged { file: format!("WAL {id}"), offset: free, what })
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

fn charge(bytes: usize) -> u64 {
    record_bytes(bytes) as u64
}

struct SlotWal {
    shared: Arc<Shared>,
}

struct Shared {
    id: WalId,
    writer: Incarnation,
    store: Arc<SlotStore>,
    limit: u64,
    state: Mutex<State>,
    wake: Notify,
    durable: watch::Sender<Durability>,
    ended: watch::Sender<bool>,
}

struct State {
    queue: VecDeque<(WalRecord, u64)>,
    next: Position,
    space: Space,
    used: u64,
    /// Durable slots: number, first position, records, charge.
    places: Vec<(u64, Position, usize)>,
    charges: BTreeMap<u64, u64>,
}

/// One slot on its way.
struct InFlight {
    slot: u64,
    first: Position,
    count: usize,
    bytes: u64,
    charge: u64,
}

impl SlotWal {
    fn start(id: WalId, writer: Incarnation, store: Arc<SlotStore>, limit: u64) -> Self {
        let mut space = Space::new(256 << 10, RECORD_BYTES_MAX.min(128 << 10), limit);
        space.set_room(limit, 0);
        space.set_full(true);
        let state = State {
            queue: VecDeque::new(),
            next: Position(1),
            space,
            used: 0,
            places: Vec::new(),
            charges: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            id,
            writer,
            store,
            limit,
            state: Mutex::new(state),
            wake: Notify::new(),
            durable: watch::Sender::new(Durability::Upto(Position::ZERO)),
            ended: watch::Sender::new(false),
        });
        tokio::spawn(Arc::clone(&shared).run());
        Self { shared }
    }
}

impl Shared {
    /// The writer: fills slots, keeps several in flight, releases them in order.
    async fn run(self: Arc<Self>) {
        let mut flights = FuturesUnordered::new();
        let mut landed: BTreeMap<u64, InFlight> = BTreeMap::new();
        let (mut next_slot, mut release) = (0u64, 0u64);
        loop {
            while flights.len() + landed.len() < SLOTS_IN_FLIGHT {
                let Some((flight, content)) = self.fill(next_slot) else { break };
                next_slot += 1;
                let (store, at) = (Arc::clone(&self.store), (self.id, flight.slot));
                flights.push(async move {
                    let is_ours = store.settle(at, &content).await.as_ref() == Some(&content);
                    (flight, is_ours)
                });
            }
            if flights.is_empty() && self.state.lock().space.is_closed() {
                self.end(false);
                return;
            }
            tokio::select! {
                Some((flight, is_ours)) = flights.next() => {
                    if !is_ours {
                        // Fenced by a seal, or the store is gone: nothing after it can ever be released.
                        self.end(true);
                        return;
                    }
                    landed.insert(flight.slot, flight);
                }
                () = self.wake.notified() => {}
            }
            while let Some(flight) = landed.remove(&release) {
                release += 1;
                self.release(&flight);
            }
        }
    }

    fn fill(&self, slot: u64) -> Option<(InFlight, Slot)> {
        let mut state = self.state.lock();
        let count = state.queue.len().min(SLOT_RECORDS_MAX);
        if count == 0 {
            return None;
        }
        let first = Position(state.next.0 - state.queue.len() as u64);
        let (mut records, mut bytes, mut cost) = (Vec::new(), 0, 0);
        for (record, reserved) in state.queue.drain(..count) {
            records.push(record);
            bytes += reserved;
            cost += charge(reserved as usize);
        }
        let durable = self.durable.borrow().upto();
        let content = Slot::Records { writer: self.writer, first, records, durable };
        Some((InFlight { slot, first, count, bytes, charge: cost }, content))
    }

    fn release(&self, flight: &InFlight) {
        let upto = Position(flight.first.0 + flight.count as u64 - 1);
        let answers = {
            let mut state = self.state.lock();
            state.space.give_back(flight.bytes, flight.charge);
            state.used += flight.charge;
            state.places.push((flight.slot, flight.first, flight.count));
            state.charges.insert(flight.slot, flight.charge);
            let (room, used) = (self.limit.saturating_sub(state.used), state.used);
            state.space.set_room(room, used);
            state.space.serve()
        };
        self.durable.send_replace(Durability::Upto(upto));
        self.answer(answers);
    }

    fn end(&self, poison: bool) {
        let answers = {
            let mut state = self.state.lock();
            state.space.close();
            state.queue.clear();
            state.space.serve()
        };
        if poison {
            let upto = self.durable.borrow().upto();
            self.durable.send_replace(Durability::Poisoned { upto });
        }
        self.answer(answers);
        self.ended.send_replace(true);
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

    fn begin_close(&self) {
        let answers = {
            let mut state = self.state.lock();
            state.space.close();
            state.space.serve()
        };
        self.answer(answers);
        self.wake.notify_one();
    }
}

impl Drop for SlotWal {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

impl Wal for SlotWal {
    fn id(&self) -> WalId {
        self.shared.id
    }

    fn reach(&self) -> Reach {
        Reach::Anywhere
    }

    fn try_reserve(&self, bytes: usize) -> Result<Permit, ReserveError> {
        let taken = self.shared.state.lock().space.try_take(bytes, charge(bytes))?;
        let shared = Arc::clone(&self.shared);
        Ok(Permit::new(taken, Some(Box::new(move |bytes| shared.give_back(bytes)))))
    }

    fn reserve(&self, bytes: usize) -> BoxFuture<'_, Result<Permit, ReserveError>> {
        async move {
            let taken = self.shared.state.lock().space.take_or_wait(bytes, charge(bytes));
            let taken = match taken {
                Ok(answer) => answer,
                Err(waiter) => {
                    let shared = Arc::clone(&self.shared);
                    Waiting::new(waiter, move |bytes| shared.give_back(bytes)).await
                }
            }?;
            let shared = Arc::clone(&self.shared);
            Ok(Permit::new(taken, Some(Box::new(move |bytes| shared.give_back(bytes)))))
        }
        .boxed()
    }

    fn append(&self, permit: Permit, record: WalRecord) -> Position {
        let bytes = permit.consume();
        let position = {
            let mut state = self.shared.state.lock();
            if state.space.is_closed() {
                return state.next;
            }
            let position = state.next;
            state.next = position.next();
            state.queue.push_back((record, bytes as u64));
            position
        };
        self.shared.wake.notify_one();
        position
    }

    fn durable(&self) -> watch::Receiver<Durability> {
        self.shared.durable.subscribe()
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        async move {
            let place = {
                let state = self.shared.state.lock();
                let after = state.places.partition_point(|(_, first, _)| *first <= position);
                after.checked_sub(1).map(|i| state.places[i])
            };
            let missing = ReadError::NotHere(position);
            let (slot, first, _) = place.ok_or_else(|| missing.clone())?;
            match self.shared.store.get((self.shared.id, slot)) {
                Some(Slot::Records { records, .. }) => {
                    records.get((position.0 - first.0) as usize).cloned().ok_or(missing)
                }
                _ => Err(missing),
            }
        }
        .boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        async move {
            let shared = &self.shared;
            let places = shared.state.lock().places.clone();
            shared.store.trim(shared.id, &places, below);
            let (first_kept, _) = shared.store.mark(shared.id);
            let answers = {
                let mut state = shared.state.lock();
                let kept = state.charges.split_off(&first_kept);
                let gone: u64 = std::mem::replace(&mut state.charges, kept).values().sum();
                state.used -= gone;
                let (room, used) = (shared.limit.saturating_sub(state.used), state.used);
                state.space.set_room(room, used);
                state.space.serve()
            };
            shared.answer(answers);
            Ok(())
        }
        .boxed()
    }

    fn usage(&self) -> Usage {
        let state = self.shared.state.lock();
        Usage {
            used_bytes: state.used,
            limit_bytes: self.shared.limit,
            in_flight_bytes: state.space.in_flight(),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.shared.begin_close();
            let _ = self.shared.ended.subscribe().wait_for(|ended| *ended).await;
        }
        .boxed()
    }
}

struct SlotSealed {
    id: WalId,
    store: Arc<SlotStore>,
    start: Mutex<Position>,
    /// Position of the first of `records`.
    first: Position,
    end: Position,
    index: Vec<IndexEntry>,
    records: Vec<WalRecord>,
    places: Vec<(u64, Position, usize)>,
}

impl SealedWal for SlotSealed {
    fn id(&self) -> WalId {
        self.id
    }

    fn end(&self) -> Position {
        self.end
    }

    fn start(&self) -> Position {
        *self.start.lock()
    }

    fn index(&self) -> &[IndexEntry] {
        &self.index
    }

    fn read(&self, position: Position) -> BoxFuture<'_, Result<WalRecord, ReadError>> {
        async move {
            let i = position.0.checked_sub(self.first.0).filter(|_| position >= self.start());
            i.and_then(|i| self.records.get(i as usize)).cloned().ok_or(ReadError::NotHere(position))
        }
        .boxed()
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        async { Ok(()) }.boxed()
    }

    fn trim(&self, below: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        async move {
            let below = below.min(self.end.next());
            self.store.trim(self.id, &self.places, below);
            let mut start = self.start.lock();
            *start = (*start).max(below);
            Ok(())
        }
        .boxed()
    }
}
