//! Producer state of one partition: what idempotence is decided on (KIP-98, KIP-360).
//!
//! Owns: per producer id the epoch and the last five batches.
//! Invariants: [`Producers::check`] changes nothing; [`Producers::apply`] cannot fail and is the only change,
//! so replaying a log's heads in order gives the state that admission had.
//! Never: reads a clock (`now_ms` is an argument), decides from anything but heads.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes};

use crate::batch::BatchHead;
use crate::codec::{Reader, Truncated};
use crate::ids::Offset;
use crate::mutant;

/// Batches remembered per producer, as in Kafka (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const BATCHES_RETAINED: usize = 5;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub timestamp: i64,
}

/// One producer's state in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Producer {
    pub epoch: i16,
    /// Newest last; at most [`BATCHES_RETAINED`]. Empty after an epoch bump that carried no data.
    pub batches: VecDeque<SeenBatch>,
    /// Largest timestamp of what it wrote, for `producer.id.expiration.ms`.
    pub last_timestamp: i64,
}

/// What admission decides about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New: append it.
    Append,
    /// One of the last five: answer with the original offset once that is released.
    Duplicate(SeenBatch),
    /// INVALID_PRODUCER_EPOCH (47).
    OldEpoch { current: i16 },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER (45).
    OutOfOrder { expected: i32 },
}

/// The table of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    table: BTreeMap<i64, Producer>,
}

impl Producers {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides about a batch by its head. A head without producer id is always [`Verdict::Append`].
    #[must_use]
    pub fn check(&self, head: &BatchHead) -> Verdict {
        if !head.has_producer_id() {
            return Verdict::Append;
        }
        // No state: expired, trimmed away, or new. Any sequence is accepted, as in Kafka.
        let Some(known) = self.table.get(&head.producer_id()) else { return Verdict::Append };
        let (epoch, first) = (head.producer_epoch(), head.base_sequence());
        if epoch < known.epoch {
            return Verdict::OldEpoch { current: known.epoch };
        }
        if epoch > known.epoch {
            return if first == 0 { Verdict::Append } else { Verdict::OutOfOrder { expected: 0 } };
        }
        let last = head.last_sequence();
        if let Some(seen) =
            known.batches.iter().find(|b| b.first_sequence == first && b.last_sequence == last)
        {
            return if mutant::on("duplicate-appended") {
                Verdict::Append
            } else {
                Verdict::Duplicate(*seen)
            };
        }
        match known.batches.back() {
            None => Verdict::Append,
            Some(newest) if sequence_plus(newest.last_sequence, 1) == first => Verdict::Append,
            Some(newest) if mutant::on("sequence-gap-accepted") && first > newest.last_sequence => {
                Verdict::Append
            }
            Some(newest) => Verdict::OutOfOrder { expected: sequence_plus(newest.last_sequence, 1) },
        }
    }

    /// Replays an appended batch (base offset set).
    pub fn apply(&mut self, head: &BatchHead) {
        if !head.has_producer_id() || head.is_control() {
            return;
        }
        let producer = self.table.entry(head.producer_id()).or_default();
        if head.producer_epoch() != producer.epoch {
            producer.epoch = head.producer_epoch();
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_RETAINED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(SeenBatch {
            first_sequence: head.base_sequence(),
            last_sequence: head.last_sequence(),
            base_offset: head.base_offset(),
            last_offset: head.last_offset(),
            timestamp: head.max_timestamp(),
        });
        producer.last_timestamp = producer.last_timestamp.max(head.max_timestamp());
    }

    /// Adds what was written later: `newer` was folded from the heads that follow this table's.
    pub fn merge(&mut self, newer: &Producers) {
        for (id, from) in &newer.table {
            let into = self.table.entry(*id).or_default();
            if from.epoch != into.epoch {
                into.epoch = from.epoch;
                into.batches.clear();
            }
            for batch in &from.batches {
                if into.batches.len() == BATCHES_RETAINED {
                    into.batches.pop_front();
                }
                into.batches.push_back(*batch);
            }
            into.last_timestamp = into.last_timestamp.max(from.last_timestamp);
        }
    }

    /// Forgets producers that wrote nothing since `before_ms` (`producer.id.expiration.ms`).
    pub fn expire(&mut self, before_ms: i64) {
        self.table.retain(|_, p| p.last_timestamp >= before_ms);
    }

    /// Forgets producers whose newest batch lies wholly below `log_start`.
    pub fn trim(&mut self, log_start: Offset) {
        self.table.retain(|_, p| p.batches.back().is_none_or(|b| b.last_offset >= log_start));
    }

    #[must_use]
    pub fn get(&self, producer_id: i64) -> Option<&Producer> {
        self.table.get(&producer_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.table.iter().map(|(id, p)| (*id, p))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Layout, version by the container: `count u32`, per producer `id i64, epoch i16, last_timestamp i64,
    /// batches u8`, per batch `first i32, last i32, base i64, last i64, timestamp i64`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(u32::try_from(self.table.len()).expect("producers of one partition are far below 2^32"));
        for (id, p) in &self.table {
            out.put_i64(*id);
            out.put_i16(p.epoch);
            out.put_i64(p.last_timestamp);
            out.put_u8(p.batches.len() as u8);
            for b in &p.batches {
                out.put_i32(b.first_sequence);
                out.put_i32(b.last_sequence);
                out.put_i64(b.base_offset.0);
                out.put_i64(b.last_offset.0);
                out.put_i64(b.timestamp);
            }
        }
    }

    /// # Errors
    /// [`Truncated`] when the bytes end early.
    pub fn decode(bytes: Bytes) -> Result<Self, Truncated> {
        let mut r = Reader::new(bytes);
        let mut table = BTreeMap::new();
        for _ in 0..r.count(19)? {
            let id = r.i64()?;
            let mut p = Producer { epoch: r.i16()?, last_timestamp: r.i64()?, ..Producer::default() };
            for _ in 0..r.u8()? {
                p.batches.push_back(SeenBatch {
                    first_sequence: r.i32()?,
                    last_sequence: r.i32()?,
                    base_offset: Offset(r.i64()?),
                    last_offset: Offset(r.i64()?),
                    timestamp: r.i64()?,
                });
            }
            table.insert(id, p);
        }
        Ok(Self { table })
    }
}

/// Kafka's sequence arithmetic: after `i32::MAX` comes 0.
#[must_use]
pub fn sequence_plus(sequence: i32, n: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(n);
    let wrapped = if sum > i64::from(i32::MAX) { sum - (i64::from(i32::MAX) + 1) } else { sum };
    i32::try_from(wrapped).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::build_idempotent;

    fn head(base: i64, count: i32, producer: (i64, i16, i32)) -> BatchHead {
        build_idempotent(Offset(base), count, producer, Bytes::new()).head
    }

    fn with(batches: &[(i64, i32, (i64, i16, i32))]) -> Producers {
        let mut out = Producers::new();
        for &(base, count, producer) in batches {
            let h = head(base, count, producer);
            assert_eq!(out.check(&h), Verdict::Append);
            out.apply(&h);
        }
        out
    }

    #[test]
    fn the_last_five_batches_are_duplicates_and_the_sixth_is_out_of_order() {
        let producers = with(&(0..6).map(|i| (i64::from(i), 1, (9, 0, i))).collect::<Vec<_>>());
        for i in 1..6 {
            match producers.check(&head(0, 1, (9, 0, i))) {
                Verdict::Duplicate(seen) => assert_eq!(seen.base_offset, Offset(i64::from(i))),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(producers.check(&head(0, 1, (9, 0, 0))), Verdict::OutOfOrder { expected: 6 });
    }

    #[test]
    fn a_gap_is_never_skipped_and_a_new_epoch_begins_at_zero() {
        let producers = with(&[(0, 3, (9, 1, 0))]);
        assert_eq!(producers.check(&head(0, 1, (9, 1, 4))), Verdict::OutOfOrder { expected: 3 });
        assert_eq!(producers.check(&head(0, 1, (9, 2, 3))), Verdict::OutOfOrder { expected: 0 });
        assert_eq!(producers.check(&head(0, 1, (9, 2, 0))), Verdict::Append);
        assert_eq!(producers.check(&head(0, 1, (9, 0, 3))), Verdict::OldEpoch { current: 1 });
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere() {
        assert_eq!(Producers::new().check(&head(0, 1, (9, 3, 77))), Verdict::Append);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let producers = with(&[(0, 3, (9, 0, i32::MAX - 1))]);
        assert_eq!(producers.get(9).expect("known").batches[0].last_sequence, 0);
        assert_eq!(producers.check(&head(3, 1, (9, 0, 1))), Verdict::Append);
    }

    #[test]
    fn merging_a_later_table_equals_replaying_its_heads() {
        let heads: Vec<_> =
            (0..9).map(|i| head(i64::from(i) * 2, 2, (7 + i64::from(i % 2), 0, (i / 2) * 2))).collect();
        for cut in 0..heads.len() {
            let (mut old, mut new, mut all) = (Producers::new(), Producers::new(), Producers::new());
            heads[..cut].iter().for_each(|h| old.apply(h));
            heads[cut..].iter().for_each(|h| new.apply(h));
            heads.iter().for_each(|h| all.apply(h));
            old.merge(&new);
            assert_eq!(old, all);
            let mut bytes = Vec::new();
            all.encode(&mut bytes);
            assert_eq!(Producers::decode(bytes.into()), Ok(all));
        }
    }
}
