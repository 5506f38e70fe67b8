//! Loading a shard: its partition is read from the log start to the end, and replayed.
//!
//! Invariants: the state is asked nothing before the last record is replayed; a record that cannot be read or understood
//! fails the load as a whole, and the shard stays unavailable until a load succeeds: an offset is never answered from a
//! state that misses records. Memory: one read of [`READ_BYTES`], and the state.
//! Never: skips damage. Kinds of records that this version does not know are skipped, as in Kafka.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_common::{Batch, Offset};
use tidegate_groups::records::RecordError;
use tidegate_groups::{Call, Config, Effects, Loading};
use tidegate_s3stream::budget::Share;
use tidegate_s3stream::stream::ReadError;
use tidegate_wire::records::{RecordCaps, Records, RecordsError};

use super::shard::{Failure, GroupShard, Length, Phase, Room};
use crate::broker::Broker;

/// Bytes of one read of the partition.
const READ_BYTES: usize = 1 << 20;

/// How long a load waits for what is appended and not released.
const UNRELEASED_WAIT: Duration = Duration::from_millis(5);

/// What a compressed batch of the topic may expand to: Kafka's tools may write such batches, coordinators do not.
const CAPS: RecordCaps = RecordCaps { decompressed_bytes: 16 << 20, zstd_window_log: 23 };

/// Why a shard is not loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("the partition cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the partition ends at {at} and should reach {end}")]
    Cut { at: Offset, end: Offset },
    #[error("the batch at offset {at}: {why}")]
    Batch { at: Offset, why: RecordsError },
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The partition went to another owner, or the log is at its end.
    #[error("the partition is not this broker's any more")]
    Gone,
    #[error("the WAL has no room for what the load has to write")]
    NoRoom,
}

impl GroupShard {
    /// Reads the partition and makes the shard serve.
    ///
    /// # Errors
    /// [`LoadError`]; the shard goes on answering that it loads.
    pub(super) async fn load(&self, broker: &Broker) -> Result<(), LoadError> {
        let coordinator = &broker.coordinator;
        let partition = self.partition();
        // Admission needs the partition's producer state, and later it must not wait for it.
        partition.ensure_loaded().await?;
        let config = Arc::clone(&coordinator.config);
        let mut loading = Loading::new(config);
        let view = partition.view();
        let (mut at, mut log) = (view.log_start, Length::default());
        let room = loop {
            while at < partition.view().high_watermark {
                let end = partition.view().high_watermark;
                let _memory = broker.storage.budget().acquire(Share::Requests, READ_BYTES as u64).await;
                let batches = partition.stream().read(at, end, READ_BYTES, true).await?;
                let Some(last) = batches.last() else { return Err(LoadError::Cut { at, end }) };
                let next = last.head.next_offset();
                for batch in &batches {
                    log.add(batch.len() as u64);
                    replay(&mut loading, batch)?;
                }
                at = next;
            }
            let room = Room::take_now(broker, coordinator.config.record_bytes_max(Call::Step)).await;
            let room = room.map_err(|failure| match failure {
                Failure::Dead => LoadError::Gone,
                Failure::Code(_) => LoadError::NoRoom,
            })?;
            // Kafka's tools may have written meanwhile.
            if at >= partition.view().end {
                break room;
            }
            tokio::time::sleep(UNRELEASED_WAIT).await;
        };
        let skipped = loading.skipped();
        if skipped > 0 {
            tracing::warn!(partition = partition.index(), skipped, "records of unknown kinds were skipped");
        }
        let mut guarded = self.guarded.lock();
        if matches!(guarded.phase, Phase::Closed) {
            return Err(LoadError::Gone);
        }
        let now = coordinator.now();
        let mut out = Effects::default();
        let shard = loading.finish(now, &mut out);
        let image = broker.metadata.image();
        let mut unknown = BTreeSet::new();
        for group in shard.list(&[], &[]) {
            let topics = shard.offsets(&group.group).map(|(topic, ..)| topic);
            unknown.extend(topics.filter(|topic| image.topic_by_name(topic).is_none()).cloned());
        }
        guarded.deleted.extend(unknown);
        guarded.log = log;
        guarded.phase = Phase::Serving(Box::new(shard));
        self.settle(broker, &mut guarded, room, now, out).map_err(|_| LoadError::Gone)
    }
}

fn replay(loading: &mut Loading, batch: &Batch) -> Result<(), LoadError> {
    if batch.head.is_control() {
        return Ok(());
    }
    let at = batch.head.base_offset();
    let bad = |why| LoadError::Batch { at, why };
    let mut records = Records::new(batch, &CAPS).map_err(bad)?;
    while let Some(record) = records.next().map_err(bad)? {
        loading.replay(record.key, record.value, record.offset.0)?;
    }
    Ok(())
}

/// Whether a batch that a tool wants to write to the topic could be replayed: one that could not would keep the shard
/// from ever loading again.
///
/// # Errors
/// What is wrong with it.
pub fn check_foreign(config: &Arc<Config>, batch: &Batch) -> Result<(), LoadError> {
    replay(&mut Loading::new(Arc::clone(config)), batch)
}
