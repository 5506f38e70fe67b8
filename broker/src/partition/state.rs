//! The state of one partition: a plain machine behind the partition's short lock.
//!
//! Owns: the admitted end and producer state, the released end (high watermark), the log start, the epochs.
//! Invariants: `log_start <= high_watermark <= end`; the high watermark moves only in [`PartitionState::release`], in the
//! order of admission; producer state and epochs of *admitted* batches decide about the next batch.
//! Never: does I/O, blocks, reads a clock, or undoes an admission.

use tidegate_common::epochs::EpochStarts;
use tidegate_common::producers::{Producers, SeenBatch, Verdict};
use tidegate_common::{BatchHead, LeaderEpoch, Offset, Position, mutant};

/// What admission decided; `after` is the position whose release lets the answer leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Offset and epoch are set in the head; append it now, under the same lock.
    Append { base: Offset },
    /// A duplicate of one of the last five batches.
    Duplicate { original: SeenBatch, after: Position },
    /// INVALID_PRODUCER_EPOCH.
    OldProducerEpoch { current: i16, after: Position },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    OutOfOrder { expected: i32, after: Position },
    /// The partition is not (or no longer) owned by this incarnation.
    NotOwner,
}

/// What a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub log_start: Offset,
    pub high_watermark: Offset,
    /// Equal to the high watermark until transactions are served.
    pub last_stable_offset: Offset,
    /// End of what is admitted; nothing at or above the high watermark is ever returned.
    pub end: Offset,
    pub epoch: LeaderEpoch,
}

/// Producer state and epochs, loaded on first need.
#[derive(Debug, Clone, Default)]
struct Loaded {
    producers: Producers,
    epochs: EpochStarts,
}

#[derive(Debug)]
pub struct PartitionState {
    epoch: LeaderEpoch,
    open: bool,
    log_start: Offset,
    high_watermark: Offset,
    end: Offset,
    last_position: Position,
    loaded: Option<Loaded>,
}

impl PartitionState {
    /// Opens at `epoch` with everything below `end` already durable and visible.
    #[must_use]
    pub fn open(epoch: LeaderEpoch, log_start: Offset, end: Offset) -> Self {
        let end = end.max(log_start);
        Self {
            epoch,
            open: true,
            log_start,
            high_watermark: if mutant::on("stale-high-watermark") { log_start } else { end },
            end,
            last_position: Position::ZERO,
            loaded: None,
        }
    }

    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded.is_some()
    }

    /// Gives the machine what was read from storage. The first call counts; nothing was admitted before it.
    pub fn load(&mut self, producers: Producers, mut epochs: EpochStarts) {
        if self.loaded.is_none() {
            epochs.trim(self.log_start);
            self.loaded = Some(Loaded { producers, epochs });
        }
    }

    /// Decides about a validated batch. The caller has loaded the state.
    pub fn admit(&mut self, head: &mut BatchHead) -> Admission {
        if !self.open {
            return Admission::NotOwner;
        }
        let after = self.last_position;
        let loaded = self.loaded.as_mut().expect("admission comes after load");
        match loaded.producers.check(head) {
            Verdict::Append => {
                let base = self.end;
                head.set_base_offset(base);
                head.set_leader_epoch(self.epoch);
                loaded.producers.apply(head);
                loaded.epochs.note(self.epoch, base);
                self.end = head.next_offset();
                Admission::Append { base }
            }
            Verdict::Duplicate(original) => Admission::Duplicate { original, after },
            Verdict::OldEpoch { current } => Admission::OldProducerEpoch { current, after },
            Verdict::OutOfOrder { expected } => Admission::OutOfOrder { expected, after },
        }
    }

    /// Notes where the batch just admitted stands in the WAL. Same lock as `admit`.
    pub fn appended(&mut self, position: Position) {
        assert!(position > self.last_position, "partition order is WAL order");
        self.last_position = position;
    }

    /// A batch became visible. Returns whether the high watermark moved.
    pub fn release(&mut self, head: &BatchHead) -> bool {
        assert!(
            head.base_offset() == self.high_watermark && head.next_offset() <= self.end,
            "batches are released in order of admission: {head:?} at high watermark {}, end {}",
            self.high_watermark,
            self.end
        );
        self.high_watermark = head.next_offset();
        true
    }

    /// Moves the log start up; a lower value is ignored. The caller made it durable in metadata first.
    pub fn trim(&mut self, log_start: Offset) {
        if log_start <= self.log_start || log_start > self.high_watermark {
            return;
        }
        self.log_start = log_start;
        if let Some(loaded) = &mut self.loaded {
            loaded.epochs.trim(log_start);
            loaded.producers.trim(log_start);
        }
    }

    pub fn expire_producers(&mut self, before_ms: i64) {
        if let Some(loaded) = &mut self.loaded {
            loaded.producers.expire(before_ms);
        }
    }

    /// Stops admission for good in this incarnation.
    pub fn close(&mut self) {
        self.open = false;
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    #[must_use]
    pub fn view(&self) -> View {
        View {
            log_start: self.log_start,
            high_watermark: self.high_watermark,
            last_stable_offset: self.high_watermark,
            end: self.end,
            epoch: self.epoch,
        }
    }

    /// Everything admitted is released.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.end == self.high_watermark
    }

    /// OffsetForLeaderEpoch over what is visible. `None` until loaded is an error of the caller.
    #[must_use]
    pub fn end_of_epoch(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let loaded = self.loaded.as_ref().expect("epochs are asked after load");
        let (epoch, end) = loaded.epochs.end_of(asked, self.epoch, self.high_watermark)?;
        Some((epoch, end.min(self.high_watermark)))
    }

    /// Epoch of the record at `offset`, or the current one at the end of the log.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let loaded = self.loaded.as_ref()?;
        if offset >= self.high_watermark { Some(self.epoch) } else { loaded.epochs.at(offset) }
    }

    #[must_use]
    pub fn producers(&self) -> Option<&Producers> {
        self.loaded.as_ref().map(|l| &l.producers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidegate_common::batch::{build, build_idempotent};

    fn opened(log_start: i64, end: i64) -> PartitionState {
        let mut state = PartitionState::open(LeaderEpoch(3), Offset(log_start), Offset(end));
        state.load(Producers::new(), EpochStarts::new());
        state
    }

    fn idempotent(sequence: i32, count: i32) -> BatchHead {
        build_idempotent(Offset(0), count, (7, 0, sequence), Bytes::new()).head
    }

    #[test]
    fn offsets_continue_and_become_visible_in_order() {
        let mut state = opened(0, 10);
        let mut a = build(Offset(0), 3, 0, 0, Bytes::new()).head;
        let mut b = build(Offset(0), 2, 0, 0, Bytes::new()).head;
        assert_eq!(state.admit(&mut a), Admission::Append { base: Offset(10) });
        state.appended(Position(1));
        assert_eq!(state.admit(&mut b), Admission::Append { base: Offset(13) });
        state.appended(Position(2));
        assert_eq!(state.view().high_watermark, Offset(10));
        assert!(state.release(&a));
        assert_eq!(state.view().high_watermark, Offset(13));
        assert!(!state.is_drained());
        assert!(state.release(&b));
        assert!(state.is_drained());
        assert_eq!(b.leader_epoch(), LeaderEpoch(3));
    }

    #[test]
    fn a_duplicate_of_an_unreleased_batch_waits_for_the_original() {
        let mut state = opened(0, 0);
        let mut first = idempotent(0, 5);
        assert_eq!(state.admit(&mut first), Admission::Append { base: Offset(0) });
        state.appended(Position(4));
        match state.admit(&mut idempotent(0, 5)) {
            Admission::Duplicate { original, after } => {
                assert_eq!((original.base_offset, after), (Offset(0), Position(4)));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            state.admit(&mut idempotent(9, 1)),
            Admission::OutOfOrder { expected: 5, after: Position(4) }
        );
    }

    #[test]
    #[should_panic(expected = "released in order of admission")]
    fn releasing_out_of_order_is_a_bug() {
        let mut state = opened(0, 0);
        let (mut a, mut b) = (idempotent(0, 1), idempotent(1, 1));
        state.admit(&mut a);
        state.admit(&mut b);
        state.release(&b);
    }

    #[test]
    fn a_closed_partition_admits_nothing_and_the_log_start_never_goes_back() {
        let mut state = opened(0, 10);
        state.trim(Offset(4));
        state.trim(Offset(2));
        state.trim(Offset(11));
        assert_eq!(state.view().log_start, Offset(4));
        state.close();
        assert_eq!(state.admit(&mut idempotent(0, 1)), Admission::NotOwner);
    }

    #[test]
    fn an_epoch_ends_where_the_next_began_and_never_past_what_is_visible() {
        let mut state = PartitionState::open(LeaderEpoch(5), Offset(0), Offset(20));
        state.load(
            Producers::new(),
            EpochStarts::from_entries(vec![(LeaderEpoch(1), Offset(0)), (LeaderEpoch(3), Offset(10))]),
        );
        let mut head = idempotent(0, 5);
        state.admit(&mut head);
        state.appended(Position(1));
        assert_eq!(state.end_of_epoch(LeaderEpoch(1)), Some((LeaderEpoch(1), Offset(10))));
        assert_eq!(state.end_of_epoch(LeaderEpoch(4)), Some((LeaderEpoch(3), Offset(20))));
        assert_eq!(state.end_of_epoch(LeaderEpoch(5)), Some((LeaderEpoch(5), Offset(20))));
        assert_eq!(state.end_of_epoch(LeaderEpoch(6)), None);
        assert_eq!(state.epoch_at(Offset(12)), Some(LeaderEpoch(3)));
    }
}
