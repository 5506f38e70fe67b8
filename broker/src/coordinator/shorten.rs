//! Keeps the log of a shard short: the live state is written anew, then the log start moves to where that began.
//!
//! Why the state survives. Let S be the offset of the first part. Parts are taken from the machine and appended under
//! the shard's lock, like any decision, so a part says what was admitted at its place in the log. Look at a key (a
//! group, or an offset of one) when all parts are appended:
//! - it changed after S: its newest record, or its tombstone, lies above S, and any part that holds the key and lies
//!   above that record says the same; one that lies below it is overridden by it;
//! - it did not change after S and is live: parts walk the keys in one order, the key was there all the time, so one
//!   part holds it, above S;
//! - it did not change after S and is not live: no part holds it, and nothing above S brings it back.
//!
//! So replaying from S gives the same state as replaying everything. The log start moves only when the last part is
//! *released*; a crash before leaves a log that is longer, and right. A key that comes into being behind the walk has
//! its own record above S.
//!
//! How short. A rewrite begins above max([`LOG_BYTES_MIN`], [`LIVE_TIMES`] × live state), so a log has at most that and
//! one rewrite. It begins earlier when the log has many small batches; the more live state, the more of them it takes,
//! so that what is written again stays in proportion to what was written.

use std::sync::Arc;

use tidegate_common::Offset;
use tidegate_groups::{Call, SnapshotCursor};
use tidegate_wire::records::{Codec, RecordsBuilder};

use super::shard::{After, Failure, GroupShard, Guarded, Length, Phase, Room};
use crate::broker::Broker;

/// A log up to this length is left alone: the "segment" of this topic.
const LOG_BYTES_MIN: u64 = 1 << 20;
/// As many batches are left alone, too: each is a read of its own while it is in the WAL, so a load of many small
/// commits costs by their number.
const LOG_BATCHES_MIN: u64 = 512;
/// How many bytes of the live state one more batch is worth.
const BATCH_WORTH: u64 = 256;
/// How many times its live state a log may be long.
const LIVE_TIMES: u64 = 3;

impl Guarded {
    /// Whether the log is due for a rewrite, or a finished rewrite for its new log start.
    pub(super) fn is_long(&self) -> bool {
        let Phase::Serving(shard) = &self.phase else { return false };
        let wanted = LIVE_TIMES * shard.live_bytes();
        self.rewritten.is_some()
            || self.log.bytes > LOG_BYTES_MIN.max(wanted)
            || self.log.batches > LOG_BATCHES_MIN.max(wanted / BATCH_WORTH)
    }
}

impl GroupShard {
    /// Rewrites the live state and moves the log start.
    ///
    /// # Errors
    /// What stopped it; the log is as right as before, and the next attempt goes on where this one came to.
    pub(super) async fn shorten(&self, broker: &Broker) -> Result<(), String> {
        let pending = self.guarded.lock().rewritten;
        let (from, before) = match pending {
            Some(rewritten) => rewritten,
            None => {
                let rewritten = self.rewrite(broker).await.map_err(|failure| format!("{failure:?}"))?;
                self.guarded.lock().rewritten = Some(rewritten);
                rewritten
            }
        };
        let start = broker.advance_log_start(self.partition(), from).await.map_err(|e| e.to_string())?;
        let mut guarded = self.guarded.lock();
        guarded.rewritten = None;
        guarded.log = guarded.appended.since(before);
        broker.coordinator.metrics.shortened.inc();
        tracing::debug!(
            partition = self.partition().index(),
            log_start = start.0,
            bytes = guarded.log.bytes,
            "the log of a group coordinator was shortened"
        );
        Ok(())
    }

    /// Appends the live state in parts and waits until it is released. Where it begins, and the bytes appended before.
    async fn rewrite(&self, broker: &Broker) -> Result<(Offset, Length), Failure> {
        let config = Arc::clone(&broker.coordinator.config);
        let mut from: Option<SnapshotCursor> = None;
        let mut begin = None;
        let last = loop {
            let room = Room::take_now(broker, config.record_bytes_max(Call::Step)).await?;
            let mut guarded = self.guarded.lock();
            let before = guarded.appended;
            let (records, next) = guarded.serving()?.snapshot(from.as_ref(), config.step_bytes_max);
            if !records.is_empty() {
                let now_ms = broker.coordinator.now().wall_ms;
                let mut builder = RecordsBuilder::new(Codec::None);
                for record in &records {
                    builder.push(now_ms, Some(&record.key), record.value.as_deref(), &[]);
                }
                let base = self.append(broker, &mut guarded, room, builder.build(Offset::ZERO))?;
                begin.get_or_insert((base, before));
            }
            match next {
                Some(next) => from = Some(next),
                None => {
                    // Nothing is live: the whole log may go.
                    let end = self.partition().view().end;
                    begin.get_or_insert((end, guarded.appended));
                    break guarded.last;
                }
            }
        };
        if !After(last).pending(broker).done().await {
            return Err(Failure::Dead);
        }
        Ok(begin.expect("set at the latest with the last part"))
    }
}
