//! The start of a broker incarnation, over whatever seams it is given (DESIGN.md 4, "Incarnations", "One way out").
//!
//! Owns: the order: register → seal what former incarnations left → adopt their tails → make the own WAL → take the
//! partitions → serve. Each step is idempotent, so a start that dies anywhere is simply repeated.
//! Invariants: no partition is opened before every WAL that may hold its tail is sealed and adopted.
//! Never: chooses a concrete clock, disk, store or runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::SharedRandom;
use tidegate_common::{BrokerId, Incarnation, Position, StreamId, WalId};
use tidegate_metadata::command::{InitCluster, RegisterBroker};
use tidegate_metadata::rows::{Endpoint, WalRow, WalState};
use tidegate_metadata::{Command, Metadata, ProposeError, Refusal, Response};
use tidegate_s3stream::io::ObjectIo;
use tidegate_s3stream::storage::{Observer, Parts as StorageParts, Settings as StorageSettings, Storage};
use tidegate_wal::{OpenError, SealedWal, WalMedium};

use crate::broker::{Broker, OPEN_BATCH, Parts};
use crate::config::Config;
use crate::join::{Graces, Objects};
use crate::lease::Lease;
use crate::logging::Loggers;
use crate::metrics::Metrics;
use crate::partitions::Tail;
use crate::release::Releaser;

/// How long a lease is granted for, and how often it is renewed. The lease outlasts a renewal, an election and a round
/// trip, so that losing a metadata leader is invisible.
pub const LEASE_MS: u64 = 9_000;
pub const RENEWAL_MS: u64 = 2_000;

/// How long a start waits for the metadata quorum to answer.
const QUORUM_TRIES: u32 = 60;

#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Quorum(#[from] ProposeError),
    #[error(transparent)]
    Wal(#[from] OpenError),
    #[error(transparent)]
    Adopt(#[from] tidegate_s3stream::storage::AdoptError),
    #[error(
        "WAL {0} was written by this broker and is gone from data.dir/wal: the records that were not in the bucket \
         yet are lost. Put its files back from a copy; this build cannot go on without them"
    )]
    WalGone(WalId),
    /// The quorum's state is gone while the data directory and the bucket are not: going on would begin a new, empty
    /// cluster whose objects take the keys of the old one's.
    #[error(
        "data.dir/raft holds no metadata, but this data.dir has served before: topics and the whereabouts of their \
         records were in it. Put the directory back from a copy; to give the cluster up, use an empty data.dir and \
         another bucket or prefix"
    )]
    MetadataGone,
    #[error("the metadata node stopped: {0}")]
    MetadataStopped(String),
    #[error("{0}")]
    Mark(String),
    #[error("the quorum answered with something else: {0}")]
    Unexpected(String),
}

/// Told of each step of a recovery: its name, how much of it is done, and of how much.
pub type Progress = Arc<dyn Fn(&'static str, u64, u64) + Send + Sync>;

/// What the start is given.
pub struct Seams {
    pub config: Arc<Config>,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub metadata: Metadata,
    pub io: ObjectIo,
    pub medium: Arc<dyn WalMedium>,
    /// The levels of this process's log.
    pub loggers: Arc<Loggers>,
    pub observer: Arc<dyn Observer>,
    pub metrics: Metrics,
    pub storage_settings: StorageSettings,
    /// See [`Graces::prepared_ms`]: longer than a PUT is tried, and then may take to land.
    pub prepared_grace_ms: u64,
    pub cluster: InitCluster,
    pub endpoints: Vec<Endpoint>,
    /// The newest WAL that is known to have been made here.
    pub newest_wal: WalId,
    pub progress: Progress,
}

/// Called with the id of the own WAL once it exists and before its first record.
pub type MarkWal<'a> = &'a mut (dyn FnMut(WalId) -> Result<(), String> + Send);

/// Starts an incarnation. Background loops of storage run on the runtime that is current here.
///
/// # Errors
/// See [`StartError`].
pub async fn start(seams: Seams, mark_wal: MarkWal<'_>) -> Result<Arc<Broker>, StartError> {
    let metadata = seams.metadata.clone();
    tokio::select! {
        biased;
        started = steps(seams, mark_wal) => started,
        // Its log failed, say: nothing that waits for it would ever be answered.
        why = metadata.stopped() => Err(StartError::MetadataStopped(why)),
    }
}

async fn steps(seams: Seams, mark_wal: MarkWal<'_>) -> Result<Arc<Broker>, StartError> {
    let node = seams.config.node_id;
    (seams.progress)("metadata", 0, 1);
    settled(&seams.metadata).await?;
    if seams.newest_wal > WalId(0) && seams.metadata.image().cluster().is_none() {
        return Err(StartError::MetadataGone);
    }
    first_answer(&seams.metadata, Command::InitCluster(seams.cluster.clone())).await?;
    let (incarnation, wal_id) = register(&seams, node).await?;
    tracing::info!(incarnation = incarnation.0, wal = wal_id.0, "registered with the metadata quorum");
    let lineage = seams.metadata.image().cluster().map(|c| c.lineage).unwrap_or_default();
    let graces = Graces {
        committed_ms: seams.config.storage.object_delete_grace_ms,
        prepared_ms: seams.prepared_grace_ms.max(seams.config.storage.object_delete_grace_ms),
    };
    let objects = Objects::new(seams.metadata.clone(), incarnation, graces);
    let storage = Storage::new(StorageParts {
        io: seams.io.clone(),
        objects: Arc::new(objects),
        clock: Arc::clone(&seams.clock),
        random: Arc::clone(&seams.random),
        incarnation,
        lineage,
        settings: seams.storage_settings.clone(),
        medium: Arc::clone(&seams.medium),
        observer: Arc::clone(&seams.observer),
    });
    let mut adopted = Vec::new();
    let tails = adopt_former(&seams, node, incarnation, &storage, &mut adopted).await?;
    let wal = seams.medium.create(wal_id, incarnation).await?;
    mark_wal(wal_id).map_err(StartError::Mark)?;

    let progress = seams.progress;
    let lease = Arc::new(Lease::new(Arc::clone(&seams.clock), LEASE_MS));
    let releaser = Releaser::new(wal, Arc::clone(&lease));
    let broker = Broker::new(Parts {
        config: seams.config,
        clock: seams.clock,
        random: seams.random,
        metadata: seams.metadata,
        storage: Arc::clone(&storage),
        releaser,
        lease,
        metrics: seams.metrics,
        node,
        incarnation,
        tails,
        adopted,
        io: seams.io,
        medium: seams.medium,
        loggers: seams.loggers,
    });
    let streams = broker.unopened_streams();
    if !streams.is_empty() {
        tracing::info!(partitions = streams.len(), "taking ownership of partitions");
    }
    let total = streams.len() as u64;
    let mut taken = 0;
    for batch in streams.chunks(OPEN_BATCH) {
        progress("partitions", taken, total);
        broker.open_streams(batch.to_vec()).await?;
        taken += batch.len() as u64;
    }
    // Opens the group coordinator's shards, which begin to load.
    broker.follow_image();
    renew_once(&broker).await;
    storage.spawn();
    Ok(broker)
}

/// The loops of a serving broker that are not storage's: lease, release, image, groups, retention. Runs until the log dies or
/// this incarnation is fenced; the reason is the process's last words.
pub async fn run_loops(broker: Arc<Broker>) -> String {
    let release = Arc::clone(&broker.releaser).run();
    tokio::select! {
        () = release => "the WAL can take no more records".into(),
        why = keep_lease(&broker) => why,
        why = broker.metadata.stopped() => format!("the metadata node stopped: {why}"),
        why = verify_adopted(&broker) => why,
        () = follow_image(&broker) => "the metadata node stopped".into(),
        () = crate::coordinator::run(Arc::clone(&broker)) => "the group coordinator stopped".into(),
        () = crate::retention::run(Arc::clone(&broker)) => "retention stopped".into(),
        () = open_leftovers(&broker) => "opening partitions stopped".into(),
    }
}

async fn register(seams: &Seams, node: BrokerId) -> Result<(Incarnation, WalId), StartError> {
    let command = Command::RegisterBroker(RegisterBroker {
        broker: node,
        endpoints: seams.endpoints.clone(),
        rack: seams.config.rack.clone(),
        nonce: seams.random.uuid(),
    });
    match first_answer(&seams.metadata, command).await? {
        Response::Registered { incarnation, wal } => Ok((incarnation, wal)),
        other => Err(StartError::Unexpected(format!("{other:?}"))),
    }
}

/// Waits until this node's image holds all that the quorum ever acknowledged.
async fn settled(metadata: &Metadata) -> Result<(), StartError> {
    for _ in 0..QUORUM_TRIES {
        if metadata.read_index().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(StartError::Quorum(ProposeError::NoLeader))
}

/// Proposes until the quorum answers: after a start it may still be electing. Only for commands that may be repeated.
async fn first_answer(metadata: &Metadata, command: Command) -> Result<Response, ProposeError> {
    let mut tries = 0;
    loop {
        match metadata.propose_one(command.clone()).await {
            Err(ProposeError::NoLeader | ProposeError::Unknown(_)) if tries < QUORUM_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            other => return other,
        }
    }
}

/// Seals and adopts the WALs of this broker's former incarnations, oldest first.
async fn adopt_former(
    seams: &Seams,
    node: BrokerId,
    incarnation: Incarnation,
    storage: &Arc<Storage>,
    kept: &mut Vec<Arc<dyn SealedWal>>,
) -> Result<BTreeMap<StreamId, Tail>, StartError> {
    let image = seams.metadata.image();
    let former: Vec<WalRow> =
        image.wals().filter(|w| w.broker == node && w.incarnation != incarnation).copied().collect();
    let here = seams.medium.list().await?;
    let mut tails = BTreeMap::<StreamId, Tail>::new();
    for (done, row) in former.iter().enumerate() {
        (seams.progress)("wal", done as u64, former.len() as u64);
        if !here.contains(&row.id) {
            forget_missing(seams, row, incarnation).await?;
            continue;
        }
        let trimmed = Position(row.trim.0.saturating_sub(1));
        // An end that the quorum has fixed was durable, whatever is left of the seal on disk.
        let floor = match row.state {
            WalState::Sealed { end, .. } => end.max(trimmed),
            WalState::Open => trimmed,
        };
        let sealed = seams.medium.seal(row.id, incarnation, floor).await.map_err(|e| with_floor(e, floor))?;
        settle_end(seams, incarnation, &*sealed, trimmed).await?;
        let end = sealed.end();
        kept.push(Arc::clone(&sealed));
        let adopted = storage.adopt(sealed)?;
        tracing::info!(wal = row.id.0, end = end.0, streams = adopted.streams.len(), "adopted a former WAL");
        for (stream, found) in adopted.streams {
            let tail = tails.entry(stream).or_default();
            tail.end = tail.end.max(found.end);
            tail.heads.extend(found.heads);
        }
    }
    Ok(tails)
}

/// Has the quorum fix where a WAL ends. An end below the one it knows is damage, unless an operator gave up the rest.
async fn settle_end(
    seams: &Seams,
    executor: Incarnation,
    sealed: &dyn SealedWal,
    trimmed: Position,
) -> Result<(), StartError> {
    let wal = sealed.id();
    // What is trimmed was not given up: it is in the bucket.
    let end = sealed.given_up_to().map_or(sealed.end(), |_| sealed.end().max(trimmed));
    let counts = sealed_at(seams, Command::SealWal { wal, executor, end }).await?;
    if counts == end {
        return Ok(());
    }
    match sealed.given_up_to() {
        Some(given_up_to) if end < counts && counts <= given_up_to => {
            tracing::warn!(
                wal = wal.0,
                kept = end.0,
                given_up_to = given_up_to.0,
                "a partial recovery gave up acknowledged records"
            );
            sealed_at(seams, Command::LowerSeal { wal, executor, end }).await.map(drop)
        }
        _ => {
            let what = format!("it ends at {end}, the quorum knows it sealed at {counts}");
            Err(OpenError::Damaged { file: format!("WAL {wal}"), offset: 0, what }.into())
        }
    }
}

async fn sealed_at(seams: &Seams, command: Command) -> Result<Position, StartError> {
    match seams.metadata.propose_one(command).await? {
        Response::Sealed { end, .. } => Ok(end),
        other => Err(StartError::Unexpected(format!("{other:?}"))),
    }
}

/// Names the floor that the tools need to see the same damage.
fn with_floor(error: OpenError, floor: Position) -> OpenError {
    match error {
        OpenError::Damaged { file, offset, what } if floor > Position::ZERO => OpenError::Damaged {
            file,
            offset,
            what: format!("{what} (known durable up to {floor}: add --floor {floor})"),
        },
        other => other,
    }
}

/// A WAL in the state that is not on disk: registered and never made (the start died between), or deleted on disk with
/// the entry still to go. One that was made and may hold records is never passed over.
async fn forget_missing(seams: &Seams, row: &WalRow, incarnation: Incarnation) -> Result<(), StartError> {
    if !row.deletable() {
        if row.id <= seams.newest_wal {
            return Err(StartError::WalGone(row.id));
        }
        if row.state == WalState::Open {
            let end = Position(row.trim.0.saturating_sub(1));
            let seal = Command::SealWal { wal: row.id, executor: incarnation, end };
            seams.metadata.propose_one(seal).await?;
        }
    }
    let delete = Command::DeleteWal { wal: row.id, incarnation };
    match seams.metadata.propose_one(delete).await {
        Ok(_) | Err(ProposeError::Refused(Refusal::UnknownWal(_))) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

async fn renew_once(broker: &Broker) -> bool {
    let sent = broker.lease.sent_now();
    if broker.metadata.read_index().await.is_err() {
        return true;
    }
    if !broker.metadata.image().is_live(broker.incarnation) {
        broker.lease.revoke();
        return false;
    }
    broker.lease.renew(sent);
    true
}

async fn keep_lease(broker: &Broker) -> String {
    loop {
        tokio::time::sleep(Duration::from_millis(RENEWAL_MS)).await;
        if !renew_once(broker).await {
            return "another incarnation of this broker has registered: this one is fenced".into();
        }
    }
}

/// Checks, in the background, every block of the adopted WALs that was trusted from an index checkpoint. Damage there is
/// damage to acknowledged records: the process stops and says where.
async fn verify_adopted(broker: &Broker) -> String {
    let adopted = std::mem::take(&mut *broker.adopted.lock());
    for sealed in adopted {
        match sealed.verify().await {
            Ok(()) => tracing::debug!(wal = sealed.id().0, "an adopted WAL is verified"),
            Err(damage @ tidegate_wal::ReadError::Damaged { .. }) => return damage.to_string(),
            // Uploaded, trimmed and deleted meanwhile, or unreadable for the moment: reads check their own blocks.
            Err(error) => {
                tracing::info!(wal = sealed.id().0, %error, "an adopted WAL was not verified to its end")
            }
        }
    }
    std::future::pending().await
}

/// Takes partitions whose creator died, or lost the quorum, between creating and opening them.
async fn open_leftovers(broker: &Broker) {
    const EVERY: Duration = Duration::from_secs(5);
    loop {
        tokio::time::sleep(EVERY).await;
        let streams = broker.unopened_streams();
        if !streams.is_empty()
            && let Err(error) = broker.open_streams(streams).await
        {
            tracing::warn!(%error, "partitions without an owner could not be opened");
        }
    }
}

async fn follow_image(broker: &Broker) {
    /// Changes that come within this time are followed together.
    const TOGETHER_MS: u64 = 100;
    let mut applied = broker.metadata.applied();
    while applied.changed().await.is_ok() {
        broker.follow_image();
        tokio::time::sleep(Duration::from_millis(TOGETHER_MS)).await;
    }
}
