//! One open partition: the state machine behind its lock, its stream, and who waits for it.
//!
//! Owns: the lock order (partition, then window), the registration of fetch waiters under the lock under which the
//! high watermark was read.
//! Invariants: nothing under the lock blocks or fails; partition order is WAL order.
//! Never: holds its lock over an await.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tidegate_common::producers::{Producer, SeenBatch};
use tidegate_common::{Batch, BatchHead, LeaderEpoch, Offset, Position, StreamId, TopicId, mutant};
use tidegate_s3stream::storage::{Published, WalRef};
use tidegate_s3stream::stream::StreamLog;
use tidegate_wal::Permit;
use tokio::sync::Notify;

use crate::release::{Pending, Releaser};
use crate::topic_config::TopicSettings;

pub mod state;

use state::{Admission, PartitionState, View};

/// How an append ended, as far as it is decided at admission. The answer leaves when `Pending` is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    At { base: Offset, log_start: Offset, position: Position },
    Duplicate { original: SeenBatch, log_start: Offset },
    OldProducerEpoch { current: i16 },
    OutOfOrder { expected: i32 },
    NotOwner,
}

/// A fetch that waits for more data.
#[derive(Debug, Default)]
pub struct FetchWaiter {
    notify: Notify,
}

impl FetchWaiter {
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    fn wake(&self) {
        self.notify.notify_one();
    }
}

struct Guarded {
    state: PartitionState,
    waiters: Vec<Arc<FetchWaiter>>,
    /// Heads of batches that recovery found in a sealed WAL; folded into the state when it is loaded.
    tail: Vec<BatchHead>,
}

pub struct Partition {
    topic: TopicId,
    index: i32,
    stream: Arc<StreamLog>,
    guarded: Mutex<Guarded>,
    loading: tokio::sync::Mutex<()>,
    settings: ArcSwap<TopicSettings>,
}

impl Partition {
    #[must_use]
    pub fn new(
        place: (TopicId, i32),
        stream: Arc<StreamLog>,
        state: PartitionState,
        tail: Vec<BatchHead>,
        settings: TopicSettings,
    ) -> Arc<Self> {
        let (topic, index) = place;
        Arc::new(Self {
            topic,
            index,
            stream,
            guarded: Mutex::new(Guarded { state, waiters: Vec::new(), tail }),
            loading: tokio::sync::Mutex::new(()),
            settings: ArcSwap::from_pointee(settings),
        })
    }

    #[must_use]
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    #[must_use]
    pub fn index(&self) -> i32 {
        self.index
    }

    #[must_use]
    pub fn stream(&self) -> &Arc<StreamLog> {
        &self.stream
    }

    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        self.stream.id()
    }

    #[must_use]
    pub fn settings(&self) -> Arc<TopicSettings> {
        self.settings.load_full()
    }

    pub fn set_settings(&self, settings: TopicSettings) {
        self.settings.store(Arc::new(settings));
    }

    #[must_use]
    pub fn view(&self) -> View {
        self.guarded.lock().state.view()
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.guarded.lock().state.is_open()
    }

    /// Loads producer state and epochs on first need, outside the partition's lock; one load at a time.
    ///
    /// # Errors
    /// What the stream says when its slices cannot be read.
    pub async fn ensure_loaded(&self) -> Result<(), tidegate_s3stream::stream::ReadError> {
        if self.guarded.lock().state.is_loaded() {
            return Ok(());
        }
        let _one = self.loading.lock().await;
        if self.guarded.lock().state.is_loaded() {
            return Ok(());
        }
        let mut loaded = self.stream.load_state().await?;
        let mut guarded = self.guarded.lock();
        // The slices end at the committed end of that moment; what recovery found beyond it comes on top. Heads
        // below it were uploaded meanwhile and are in the slices already.
        for head in std::mem::take(&mut guarded.tail).iter().filter(|h| h.base_offset() >= loaded.end) {
            if mutant::on("producers-without-tail") {
                continue;
            }
            loaded.producers.apply(head);
            loaded.epochs.note(head.leader_epoch(), head.base_offset());
        }
        guarded.state.load(loaded.producers, loaded.epochs);
        Ok(())
    }

    /// Admits and appends one validated batch. The partition is loaded and the permit held.
    pub fn append(
        self: &Arc<Self>,
        releaser: &Releaser,
        permit: Permit,
        mut batch: Batch,
        pending: &Arc<Pending>,
    ) -> Appended {
        let mut guarded = self.guarded.lock();
        let log_start = guarded.state.view().log_start;
        let (answer, after) = match guarded.state.admit(&mut batch.head) {
            Admission::Append { base } => {
                let position = releaser.append(self, permit, batch, pending);
                guarded.state.appended(position);
                return Appended::At { base, log_start, position };
            }
            Admission::Duplicate { original, after } => (Appended::Duplicate { original, log_start }, after),
            Admission::OldProducerEpoch { current, after } => (Appended::OldProducerEpoch { current }, after),
            Admission::OutOfOrder { expected, after } => (Appended::OutOfOrder { expected }, after),
            Admission::NotOwner => return Appended::NotOwner,
        };
        drop(guarded);
        releaser.follow(after, pending);
        answer
    }

    /// Called by the release loop only, in WAL order.
    pub(crate) fn release(&self, position: Position, wal: &Arc<WalRef>, batch: Batch) {
        let waiters = {
            let mut guarded = self.guarded.lock();
            // The log cache holds the batch before the high watermark covers it.
            self.stream.publish(Published {
                position,
                wal: Arc::clone(wal),
                head: batch.head,
                body: Some(batch.body),
            });
            guarded.state.release(&batch.head);
            std::mem::take(&mut guarded.waiters)
        };
        waiters.iter().for_each(|w| w.wake());
    }

    /// Reads the view and, in the same critical section, registers `waiter` when there is nothing at `from` yet.
    pub fn view_or_wait(&self, from: Offset, waiter: &Arc<FetchWaiter>) -> View {
        let mut guarded = self.guarded.lock();
        let view = guarded.state.view();
        if from >= view.last_stable_offset && guarded.state.is_open() {
            guarded.waiters.push(Arc::clone(waiter));
        }
        view
    }

    /// Registers `waiter` whatever there is to read: for fetches whose `min_bytes` is not reached.
    pub fn view_and_wait(&self, waiter: &Arc<FetchWaiter>) -> View {
        let mut guarded = self.guarded.lock();
        guarded.waiters.push(Arc::clone(waiter));
        guarded.state.view()
    }

    pub fn forget(&self, waiter: &Arc<FetchWaiter>) {
        self.guarded.lock().waiters.retain(|w| !Arc::ptr_eq(w, waiter));
    }

    pub fn trim(&self, log_start: Offset) {
        self.guarded.lock().state.trim(log_start);
    }

    /// Stops admission and wakes every waiter, who will find the partition gone.
    pub fn close(&self) {
        let waiters = {
            let mut guarded = self.guarded.lock();
            guarded.state.close();
            std::mem::take(&mut guarded.waiters)
        };
        waiters.iter().for_each(|w| w.wake());
    }

    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.guarded.lock().state.is_drained()
    }

    pub fn expire_producers(&self, before_ms: i64) {
        self.guarded.lock().state.expire_producers(before_ms);
    }

    /// Producer ids with their state, in order; none until the partition is loaded.
    #[must_use]
    pub fn producers(&self) -> Vec<(i64, Producer)> {
        let guarded = self.guarded.lock();
        let known = guarded.state.producers();
        known.into_iter().flat_map(|p| p.iter()).map(|(id, p)| (id, p.clone())).collect()
    }

    /// See [`PartitionState::end_of_epoch`]; the partition is loaded.
    #[must_use]
    pub fn end_of_epoch(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.guarded.lock().state.end_of_epoch(asked)
    }

    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.guarded.lock().state.epoch_at(offset)
    }
}
