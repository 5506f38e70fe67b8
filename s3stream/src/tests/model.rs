//! What the storage should hold: every batch ever published, and a check of everything that can be read against it.

use std::collections::BTreeMap;

use tidegate_common::epochs::EpochStarts;
use tidegate_common::producers::Producers;
use tidegate_common::{Batch, Offset, StreamId};

use super::{World, batch, idempotent};
use crate::format::{Chain, verify_chain};
use crate::stream::ReadError;

#[derive(Default)]
pub(super) struct Model {
    pub(super) streams: BTreeMap<StreamId, Stream>,
}

#[derive(Default, Clone)]
pub(super) struct Stream {
    pub(super) batches: Vec<Batch>,
    pub(super) log_start: Offset,
    /// The log start passed something that was not committed at that time: the chain may begin anew.
    pub(super) jumped: bool,
    sequence: i32,
}

impl Stream {
    pub(super) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |last| last.head.next_offset())
    }

    /// What a read should give.
    fn read(&self, from: Offset, upto: Offset, max_bytes: usize, at_least_one: bool) -> Vec<Batch> {
        let first = self.batches.partition_point(|b| b.head.next_offset() <= from);
        let (mut out, mut bytes) = (Vec::new(), 0);
        for batch in &self.batches[first..] {
            let fits = bytes + batch.len() <= max_bytes || (out.is_empty() && at_least_one);
            if batch.head.last_offset() >= upto || !fits {
                break;
            }
            bytes += batch.len();
            out.push(batch.clone());
        }
        out
    }
}

impl Model {
    /// Publishes one more batch, in model and world.
    pub(super) fn publish(&mut self, world: &World, id: StreamId, bytes: usize, epoch: i32, keep_body: bool) {
        let stream = self.streams.get_mut(&id).expect("a stream of the model");
        let base = stream.end().0;
        let random = &world.random;
        let count = 1 + random.below(5) as i32;
        let new = if random.below(2) == 0 {
            // Timestamps go up and down.
            batch(base, count, bytes, random.below(1_000) as i64, epoch)
        } else {
            let sequence = stream.sequence;
            stream.sequence += count;
            idempotent(base, count, bytes, (700 + random.below(3) as i64, 0, sequence), epoch)
        };
        world.publish(id, &new, keep_body);
        stream.batches.push(new);
    }

    /// Reads somewhere in the stream and compares.
    pub(super) async fn read_somewhere(&self, world: &World, id: StreamId) {
        let (stream, random) = (&self.streams[&id], &world.random);
        let end = stream.end().0;
        let from = Offset(random.below(end as u64 + 1) as i64);
        let upto = if random.below(3) == 0 {
            Offset(from.0 + random.below((end - from.0) as u64 + 1) as i64)
        } else {
            Offset(end)
        };
        let max_bytes = [0, 100, 3_000, 20_000, 1 << 20][random.below(5) as usize];
        self.read(world, id, from, upto, max_bytes, random.below(3) > 0).await;
    }

    pub(super) async fn read(
        &self,
        world: &World,
        id: StreamId,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) {
        let stream = &self.streams[&id];
        let log = world.storage.open_stream(id);
        if let Some(cached) = log.read_cached(from, upto, max_bytes, at_least_one)
            && from < upto
        {
            // It may stop early, where a body is in the WAL only.
            let expected = stream.read(from, upto, max_bytes, at_least_one);
            assert_eq!(cached[..], expected[..cached.len()], "cached, stream {id} from {from} to {upto}");
            assert!(!cached.is_empty() || expected.is_empty());
        }
        let got = match log.read(from, upto, max_bytes, at_least_one).await {
            Err(ReadError::BelowLogStart { log_start, .. }) => {
                assert!(from < stream.log_start && log_start == stream.log_start);
                return;
            }
            // The store is in trouble.
            Err(ReadError::Unavailable(_)) => return,
            other => other.expect("readable"),
        };
        let asks_for_something = from < upto && (max_bytes > 0 || at_least_one);
        assert!(
            from >= stream.log_start || !asks_for_something,
            "{from} is below the log start {}",
            stream.log_start
        );
        let expected = stream.read(from, upto, max_bytes, at_least_one);
        assert_eq!(got[..], expected[..got.len().min(expected.len())], "stream {id} from {from} to {upto}");
        // A read may stop early when a later place fails, but it never comes back empty-handed for that.
        assert!(
            !got.is_empty() || expected.is_empty(),
            "nothing at {from} of stream {id}, which ends at {upto}"
        );
    }

    /// Reads all of it, from the log start to the end.
    pub(super) async fn read_all(&self, world: &World, id: StreamId) {
        let stream = &self.streams[&id];
        let log = world.storage.open_stream(id);
        let mut at = stream.log_start;
        let mut out = Vec::new();
        while at < stream.end() {
            let got = log.read(at, stream.end(), 10_000, true).await.expect("readable");
            at = got.last().expect("a read below the end gives something").head.next_offset();
            out.extend(got);
        }
        let first = stream.batches.partition_point(|b| b.head.next_offset() <= stream.log_start);
        assert!(out == stream.batches[first..], "stream {id} reads differently");
    }

    /// Loads the state and compares it with a fold of all heads.
    pub(super) async fn check_state(&self, world: &World, id: StreamId) {
        let stream = &self.streams[&id];
        let state = match world.storage.open_stream(id).load_state().await {
            Err(ReadError::Unavailable(_)) => return,
            other => other.expect("loadable"),
        };
        let committed = stream.batches.iter().filter(|b| b.head.next_offset() <= state.end);
        let (mut producers, mut epochs) = (Producers::new(), EpochStarts::new());
        for batch in committed.clone() {
            producers.apply(&batch.head);
            epochs.note(batch.head.leader_epoch(), batch.head.base_offset());
        }
        if stream.log_start == Offset::ZERO {
            assert_eq!(state.producers, producers, "stream {id}");
            assert_eq!(state.epochs, epochs, "stream {id}");
        } else if state.end > stream.log_start {
            let end = state.end.plus(-1).max(stream.log_start);
            assert_eq!(state.epochs.at(end), epochs.at(end), "stream {id}");
            // What lies above the log start is known in any case.
            for (producer, seen) in state.producers.iter() {
                let all = producers.get(producer).expect("no state without a batch");
                assert_eq!(seen.batches.back(), all.batches.back(), "producer {producer} of stream {id}");
            }
        }
        if !stream.jumped {
            assert_eq!(state.chain, verify_chain(Chain::START, committed), "stream {id}");
        }
    }

    /// Looks for timestamps and compares.
    pub(super) async fn check_times(&self, world: &World, id: StreamId) {
        let stream = &self.streams[&id];
        let log = world.storage.open_stream(id);
        let (from, upto) = (stream.log_start, stream.end());
        let all = || stream.batches.iter().filter(|b| b.head.last_offset() >= from);
        let at_least = world.random.below(1_100) as i64;
        match log.batch_at_timestamp(at_least, from, upto).await {
            Err(ReadError::Unavailable(_)) => {}
            found => {
                let expected = all().find(|b| b.head.max_timestamp() >= at_least).cloned();
                assert_eq!(found.expect("readable"), expected, "stream {id}, at least {at_least}");
            }
        }
        match log.batch_of_max_timestamp(from, upto).await {
            Err(ReadError::Unavailable(_)) => {}
            found => {
                let max = all().map(|b| b.head.max_timestamp()).max();
                let expected = all().find(|b| Some(b.head.max_timestamp()) == max).cloned();
                assert_eq!(found.expect("readable"), expected, "stream {id}, greatest");
            }
        }
    }

    /// Extents tile what is committed.
    pub(super) async fn check_extents(&self, world: &World, id: StreamId) {
        let Some(row) = world.quorum.stream(id) else { return };
        let extents = match world.storage.open_stream(id).extents().await {
            Err(ReadError::Unavailable(_)) => return,
            other => other.expect("readable"),
        };
        let row = world.quorum.stream(id).unwrap_or(row);
        if row.log_start == row.committed_end {
            return;
        }
        assert!(extents.first().is_some_and(|e| e.from <= row.log_start), "{extents:?} {row:?}");
        assert!(extents.windows(2).all(|pair| pair[0].to == pair[1].from), "{extents:?}");
        assert!(extents.last().is_some_and(|e| e.to <= row.committed_end), "{extents:?} {row:?}");
    }
}
