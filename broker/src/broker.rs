//! What one broker incarnation is made of, as the API handlers see it.
//!
//! Owns: the composition, and the few acts that several families share (opening streams, moving a log start,
//! following the image).
//! Never: chooses a concrete clock, store, WAL or runtime; `runtime.rs` does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::SharedRandom;
use tidegate_common::{BrokerId, Incarnation, Offset, StreamId};
use tidegate_metadata::{Command, Metadata, ProposeError, Response};
use tidegate_s3stream::io::ObjectIo;
use tidegate_s3stream::storage::Storage;
use tidegate_wal::{SealedWal, WalMedium};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::api::errors::Code;
use crate::api::fetch_session::FetchSessions;
use crate::api::{Answer, Close, served_ranges};
use crate::broker_config::LiveConfig;
use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::lease::Lease;
use crate::logging::Loggers;
use crate::metrics::{ApiMetrics, Metrics};
use crate::net::gate::Gate;
use crate::partition::Partition;
use crate::partitions::{Partitions, Tail};
use crate::producer_ids::ProducerIds;
use crate::release::Releaser;

/// `queued.max.request.bytes` is counted in units, since a semaphore's permits are 32 bits wide.
const QUEUE_UNIT: u64 = 1024;

/// Streams per proposal when many are opened at once.
pub const OPEN_BATCH: usize = 1000;

/// What `runtime.rs` (or the simulation) hands over.
pub struct Parts {
    pub config: Arc<Config>,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub metadata: Metadata,
    pub storage: Arc<Storage>,
    pub releaser: Arc<Releaser>,
    pub lease: Arc<Lease>,
    pub metrics: Metrics,
    pub node: BrokerId,
    pub incarnation: Incarnation,
    pub tails: BTreeMap<StreamId, Tail>,
    /// WALs of former incarnations, still to be verified.
    pub adopted: Vec<Arc<dyn SealedWal>>,
    pub io: ObjectIo,
    pub medium: Arc<dyn WalMedium>,
    pub loggers: Arc<Loggers>,
}

pub struct Broker {
    pub config: Arc<Config>,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub metadata: Metadata,
    pub storage: Arc<Storage>,
    pub releaser: Arc<Releaser>,
    pub lease: Arc<Lease>,
    pub metrics: Metrics,
    pub node: BrokerId,
    pub incarnation: Incarnation,
    /// The configuration that holds now; `config` is what this process was started with.
    pub live: Arc<LiveConfig>,
    /// How many connections there may be, and are.
    pub gate: Arc<Gate>,
    pub partitions: Partitions,
    pub sessions: Mutex<FetchSessions>,
    pub producer_ids: ProducerIds,
    pub coordinator: Coordinator,
    pub io: ObjectIo,
    /// Where this broker's WALs are.
    pub medium: Arc<dyn WalMedium>,
    pub loggers: Arc<Loggers>,
    /// Turns true once: what is in flight is answered, long polls at once, and nothing new is taken.
    pub stopping: watch::Sender<bool>,
    pub(crate) adopted: Mutex<Vec<Arc<dyn SealedWal>>>,
    cluster_id: String,
    apis: BTreeMap<i16, ApiMetrics>,
    /// `queued.max.request.bytes`, with its bound.
    queued: Option<(Semaphore, u32)>,
    /// Sum of the config versions that partitions were last told.
    configs_seen: AtomicU64,
}

impl Broker {
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let cluster_id = parts.metadata.image().cluster_id().map(kafka_uuid).unwrap_or_default();
        let owner = (parts.node, parts.incarnation);
        let live = LiveConfig::new(parts.node, Arc::clone(&parts.config), &parts.metadata.image());
        let partitions = Partitions::new(owner, Arc::clone(&live), Arc::clone(&parts.storage), parts.tails);
        let connections = live.load().connections;
        let coordinator =
            Coordinator::new(&parts.config, Arc::clone(&parts.clock), parts.metrics.groups.clone());
        let apis = served_ranges().map(|r| (r.key, parts.metrics.apis.of(r.name))).collect();
        Arc::new(Self {
            apis,
            queued: parts.config.connections.queued_request_bytes_max.map(|bytes| {
                let units = u32::try_from(bytes.div_ceil(QUEUE_UNIT)).unwrap_or(u32::MAX).max(1);
                (Semaphore::new(units as usize), units)
            }),
            gate: Gate::new(
                connections.connections_max as usize,
                connections.connections_per_ip_max as usize,
            ),
            live,
            sessions: Mutex::new(FetchSessions::new(parts.config.fetch.session_slots as usize)),
            partitions,
            producer_ids: ProducerIds::default(),
            coordinator,
            io: parts.io,
            medium: parts.medium,
            loggers: parts.loggers,
            stopping: watch::Sender::new(false),
            adopted: Mutex::new(parts.adopted),
            cluster_id,
            configs_seen: AtomicU64::new(0),
            config: parts.config,
            clock: parts.clock,
            random: parts.random,
            metadata: parts.metadata,
            storage: parts.storage,
            releaser: parts.releaser,
            lease: parts.lease,
            metrics: parts.metrics,
            node: parts.node,
            incarnation: parts.incarnation,
        })
    }

    /// Kafka's form of the cluster id: 22 characters of unpadded base64url.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Epoch of the finalized features; they change with the build only, so far.
    #[must_use]
    pub fn features_epoch(&self) -> i64 {
        0
    }

    /// Takes ownership of streams that nobody, or a former life of this broker, owns.
    ///
    /// # Errors
    /// When the quorum does not answer; streams deleted meanwhile are passed over.
    pub async fn open_streams(&self, streams: Vec<StreamId>) -> Result<(), ProposeError> {
        for batch in streams.chunks(OPEN_BATCH) {
            let command = Command::OpenPartitions { incarnation: self.incarnation, streams: batch.to_vec() };
            if let Response::Opened(outcomes) = self.metadata.propose_one(command).await? {
                for (stream, outcome) in outcomes {
                    if let Err(refusal) = outcome {
                        tracing::warn!(stream = stream.0, %refusal, "a partition could not be opened");
                    }
                }
            }
        }
        Ok(())
    }

    /// Streams that this broker should own and does not own in this incarnation.
    #[must_use]
    pub fn unopened_streams(&self) -> Vec<StreamId> {
        let image = self.metadata.image();
        image
            .streams()
            .filter(|p| match p.owner {
                None => true,
                Some(o) => o.broker == self.node && o.incarnation != self.incarnation,
            })
            .map(|p| p.stream)
            .collect()
    }

    /// Moves a partition's log start up: in metadata first, then here. Returns the log start that counts.
    ///
    /// # Errors
    /// When the quorum refuses or does not answer; nothing is deleted then.
    pub async fn advance_log_start(&self, partition: &Partition, to: Offset) -> Result<Offset, ProposeError> {
        let command =
            Command::AdvanceLogStart { incarnation: self.incarnation, stream: partition.stream_id(), to };
        let log_start = match self.metadata.propose_one(command).await? {
            Response::LogStart { log_start } => log_start,
            _ => to,
        };
        partition.trim(log_start);
        Ok(partition.view().log_start)
    }

    /// Brings open partitions in line with the applied image.
    pub fn follow_image(&self) {
        let image = self.metadata.image();
        let versions = image.topics().map(|t| t.config_version).fold(0, u64::wrapping_add);
        let of_topics = self.configs_seen.swap(versions, Ordering::AcqRel) != versions;
        let of_broker = self.live.follow(&image);
        if of_broker {
            let limits = self.live.load().connections;
            self.gate.set(limits.connections_max as usize, limits.connections_per_ip_max as usize);
        }
        let changed = of_topics || of_broker;
        self.partitions.follow(&image, changed);
        self.coordinator.follow(self, &image);
    }

    /// Waits until the bytes of requests being served leave room for this one (`queued.max.request.bytes`).
    pub(crate) async fn queue(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let (room, units) = self.queued.as_ref()?;
        let wanted = u32::try_from((bytes as u64).div_ceil(QUEUE_UNIT)).unwrap_or(u32::MAX).clamp(1, *units);
        Some(room.acquire_many(wanted).await.expect("the semaphore is never closed"))
    }

    pub(crate) fn note_request(
        &self,
        key: i16,
        received: usize,
        started_ns: u64,
        answer: &Result<Answer, Close>,
    ) {
        let sent = match answer {
            Ok(Answer::Now(frame) | Answer::Held(frame, _) | Answer::When(_, frame)) => frame.len,
            Ok(Answer::None) | Err(_) => 0,
        };
        let seconds = self.clock.monotonic_ns().saturating_sub(started_ns) as f64 / 1e9;
        if let Some(api) = self.apis.get(&key) {
            api.requests.inc();
            api.seconds.observe(seconds);
            api.request_bytes.inc_by(received as u64);
            api.response_bytes.inc_by(sent as u64);
        }
    }

    /// As `note_error` for a code by its number; 0 is none.
    pub(crate) fn note_code(&self, key: i16, code: i16) {
        if code != 0
            && let Some(api) = self.apis.get(&key)
        {
            api.error(code);
        }
    }

    pub(crate) fn note_error(&self, key: i16, code: Code) {
        if let Some(api) = self.apis.get(&key) {
            api.error(code.into());
        }
    }
}

/// Kafka's text form of a UUID.
#[must_use]
pub fn kafka_uuid(id: uuid::Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    // 128 bits are 21 full sextets and 2 bits, which base64 pads with zeros on the right.
    let full = (0..21).map(|i| ((bits >> (122 - 6 * i)) & 0x3F) as usize);
    let last = ((bits & 0x03) << 4) as usize;
    full.chain([last]).map(|i| char::from(ALPHABET[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::kafka_uuid;

    #[test]
    fn cluster_ids_have_kafkas_form() {
        assert_eq!(kafka_uuid(uuid::Uuid::from_u128(0)), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(kafka_uuid(uuid::Uuid::from_u128(u128::MAX)), "_____________________w");
        assert_eq!(kafka_uuid(uuid::Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
    }
}
