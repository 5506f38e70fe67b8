//! The leader-epoch cache: which epoch began at which offset (KIP-101, KIP-320).
//!
//! Invariants: epochs and start offsets both strictly increase.
//! Never: answers for an epoch from records that are not part of the log it was built from.

use crate::ids::{LeaderEpoch, Offset};

/// Epochs in order with the offset each began at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochStarts {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl EpochStarts {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a batch of `epoch` begins at `start`. Only a newer epoch changes anything; an epoch that
    /// never got a record is replaced by the next that does.
    pub fn note(&mut self, epoch: LeaderEpoch, start: Offset) {
        match self.entries.last() {
            Some(&(last, _)) if epoch <= last => return,
            _ => {}
        }
        while self.entries.last().is_some_and(|&(_, at)| at >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
    }

    /// Forgets epochs that ended at or below `log_start`; the one that contains it begins there.
    pub fn trim(&mut self, log_start: Offset) {
        let covering = self.entries.iter().rposition(|&(_, at)| at <= log_start);
        if let Some(i) = covering {
            self.entries.drain(..i);
            self.entries[0].1 = self.entries[0].1.max(log_start);
        }
    }

    /// Kafka's answer to OffsetForLeaderEpoch: the largest epoch ≤ `asked` and the offset where it ends.
    /// `end` is the end of the log as the asker may see it. `None` when undefined (-1, -1 on the wire).
    #[must_use]
    pub fn end_of(
        &self,
        asked: LeaderEpoch,
        current: LeaderEpoch,
        end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        if asked == current {
            return Some((current, end));
        }
        if asked > current {
            return None;
        }
        let next = self.entries.partition_point(|&(epoch, _)| epoch <= asked);
        let (floor, _) = *self.entries.get(next.checked_sub(1)?)?;
        let ends_at = self.entries.get(next).map_or(end, |&(_, at)| at);
        Some((floor, ends_at))
    }

    /// The epoch of the record at `offset`, if known.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let next = self.entries.partition_point(|&(_, at)| at <= offset);
        next.checked_sub(1).map(|i| self.entries[i].0)
    }

    #[must_use]
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    #[must_use]
    pub fn from_entries(entries: Vec<(LeaderEpoch, Offset)>) -> Self {
        let mut out = Self::default();
        for (epoch, start) in entries {
            out.note(epoch, start);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(list: &[(i32, i64)]) -> EpochStarts {
        EpochStarts::from_entries(list.iter().map(|&(e, o)| (LeaderEpoch(e), Offset(o))).collect())
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = starts(&[(1, 0), (3, 10), (4, 20)]);
        let ask = |e| epochs.end_of(LeaderEpoch(e), LeaderEpoch(5), Offset(30)).map(|(e, o)| (e.0, o.0));
        assert_eq!(ask(0), None);
        assert_eq!(ask(1), Some((1, 10)));
        assert_eq!(ask(2), Some((1, 10)));
        assert_eq!(ask(3), Some((3, 20)));
        assert_eq!(ask(4), Some((4, 30)));
        assert_eq!(ask(5), Some((5, 30)));
        assert_eq!(ask(6), None);
    }

    #[test]
    fn an_epoch_without_records_leaves_no_trace() {
        let mut epochs = starts(&[(1, 0), (3, 10)]);
        epochs.note(LeaderEpoch(4), Offset(10));
        assert_eq!(epochs.entries(), &[(LeaderEpoch(1), Offset(0)), (LeaderEpoch(4), Offset(10))]);
    }

    #[test]
    fn trimming_keeps_the_epoch_that_holds_the_log_start() {
        let mut epochs = starts(&[(1, 0), (3, 10), (4, 20)]);
        epochs.trim(Offset(15));
        assert_eq!(epochs.entries(), &[(LeaderEpoch(3), Offset(15)), (LeaderEpoch(4), Offset(20))]);
        assert_eq!(epochs.at(Offset(16)), Some(LeaderEpoch(3)));
        assert_eq!(epochs.at(Offset(14)), None);
    }
}
