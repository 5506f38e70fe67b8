//! Upload rounds: from the log cache into the bucket, and the WAL trimmed behind them.
//!
//! Owns: the one loop that takes rounds, has them built ([`round`]), put and committed, and trims the WAL.
//! A round goes prepare ids, PUT, commit, mark as uploaded, trim mark in the quorum, trim of the WAL, in this order; so
//! a crash between any two steps leaves at worst an object that expires, or a WAL that is trimmed later. While one
//! round is put the next is built; rounds are committed in the order they were taken.
//! Invariants: a WAL is trimmed only below the last position of a committed round, under a mark that the quorum took;
//! what fails is tried again for ever, so an outage of bucket or quorum is a backlog in the WAL, never an error to a
//! client. Never: goes on after the quorum says that this incarnation is fenced.

pub(crate) mod round;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_common::{Offset, Position, WalId, mutant};
use tokio::task::JoinHandle;

use self::round::Built;
use crate::budget::{MemoryPermit, Share};
use crate::cache::log::{Due, Round};
use crate::format::Chain;
use crate::manager::ManagerError;
use crate::storage::{Core, Life, WalRef, until};

/// How often a WAL's fill level is looked at while nothing else happens.
const LOOK_AGAIN_MS: u64 = 1000;

/// Where the next slice of a stream begins, as the uploader knows it: rounds that are built and not yet committed count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) end: Offset,
    pub(crate) chain: Chain,
    /// Producer sections since the last base; see [`crate::format::ProducersBefore`]. `None`: nothing is committed, so
    /// the next slice is a base.
    pub(crate) replay_bytes: Option<u64>,
    /// Nothing of it lies in a set object: a stream object may follow.
    pub(crate) in_stream_objects: bool,
}

/// Waits longer each time, jittered, up to the bound that the settings give.
pub(crate) struct Backoff<'a> {
    core: &'a Core,
    next_ms: u64,
}

impl<'a> Backoff<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core, next_ms: 50 }
    }

    pub(crate) async fn wait(&mut self) {
        let most = self.core.settings.retry_ms_max.max(1);
        let ms = self.next_ms.min(most);
        self.next_ms = ms * 2;
        let jittered = ms / 2 + self.core.random.below(ms / 2 + 1);
        tokio::time::sleep(Duration::from_millis(jittered)).await;
    }
}

/// A task that ends with its handle.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(crate) fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Cancel-safe.
    pub(crate) async fn outcome(&mut self) -> T {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only its own handle aborts it, and the runtime when it ends.
            Err(_) => std::future::pending().await,
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Building = Pin<Box<dyn Future<Output = Built> + Send>>;

/// The upload loop. Ends when the storage is closed or fenced.
pub(crate) async fn run(core: Arc<Core>) {
    let mut life = core.life.subscribe();
    let mut building: Option<Building> = None;
    let mut flying: VecDeque<Task<Built>> = VecDeque::new();
    let mut trims = Trims::default();
    while core.is_running() {
        let room = flying.len() + usize::from(building.is_some()) < core.settings.rounds_in_memory.max(1);
        tokio::select! {
            biased;
            () = until(&mut life, |life| *life >= Life::Closed) => return,
            built = head(&mut flying), if !flying.is_empty() => {
                flying.pop_front();
                round::commit(&core, built, &mut trims).await;
                trims.run(&core).await;
            }
            built = ready(&mut building), if building.is_some() => {
                building = None;
                if mutant::on("trim-before-commit") {
                    built.cuts().for_each(|(wal, last)| trims.add(wal, last));
                    trims.run(&core).await;
                }
                let core = core.clone();
                flying.push_back(Task::spawn(async move { round::put(&core, built).await }));
            }
            (round, permit) = next_round(&core), if room && building.is_none() => {
                let core = core.clone();
                building = Some(Box::pin(async move { round::build(&core, round, permit).await }));
            }
            () = tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)), if trims.is_due() => trims.run(&core).await,
        }
    }
}

async fn head(flying: &mut VecDeque<Task<Built>>) -> Built {
    match flying.front_mut() {
        Some(task) => task.outcome().await,
        None => std::future::pending().await,
    }
}

async fn ready(building: &mut Option<Building>) -> Built {
    match building {
        Some(building) => building.await,
        None => std::future::pending().await,
    }
}

/// Waits until a round is due and there is memory for it. Cancel-safe: it takes the round last, and at once.
async fn next_round(core: &Core) -> (Round, MemoryPermit) {
    loop {
        match core.cache.due(core.settings.upload_age_ms) {
            Due::Now => {
                let bytes = core.cache.upload_bytes();
                let permit = core.budget.acquire(Share::Uploads, bytes).await;
                if let Some(round) = core.cache.take_round(bytes) {
                    return (round, permit);
                }
            }
            Due::AtMs(at_ms) => {
                let ms = at_ms.saturating_sub(core.clock.monotonic_ms()).clamp(1, LOOK_AGAIN_MS);
                tokio::select! {
                    biased;
                    () = core.cache.changed() => {}
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                }
            }
            Due::Never => core.cache.changed().await,
        }
    }
}

/// Trim points that the quorum or the WAL has not taken yet. A later one replaces an earlier one.
#[derive(Default)]
pub(crate) struct Trims {
    due: BTreeMap<WalId, (Arc<WalRef>, Position)>,
}

impl Trims {
    pub(crate) fn add(&mut self, wal: &Arc<WalRef>, last: Position) {
        let due = self.due.entry(wal.id()).or_insert_with(|| (wal.clone(), last));
        due.1 = due.1.max(last);
    }

    fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Tries each once; what fails stays due.
    async fn run(&mut self, core: &Core) {
        let due: Vec<(Arc<WalRef>, Position)> = self.due.values().cloned().collect();
        for (wal, last) in due {
            if !core.is_running() {
                return;
            }
            match trim(core, &wal, last).await {
                Ok(()) => {
                    self.due.remove(&wal.id());
                }
                Err(TrimError::Fenced) => return core.fence(),
                Err(TrimError::Later(why)) => {
                    tracing::warn!(wal = wal.id().0, below = last.0 + 1, why, "the WAL is not trimmed yet");
                }
            }
        }
    }
}

enum TrimError {
    Fenced,
    Later(String),
}

impl From<ManagerError> for TrimError {
    fn from(error: ManagerError) -> Self {
        match error {
            ManagerError::Fenced => TrimError::Fenced,
            other => TrimError::Later(other.to_string()),
        }
    }
}

async fn trim(core: &Core, wal: &WalRef, last: Position) -> Result<(), TrimError> {
    let (id, below) = (wal.id(), last.next());
    core.objects.trim_wal(id, below).await?;
    match wal {
        WalRef::Live(wal) => wal.trim(below).await.map_err(|e| TrimError::Later(e.to_string()))?,
        WalRef::Sealed(sealed) if last >= sealed.end() => {
            core.objects.delete_wal(id).await?;
            core.medium.delete(id).await.map_err(|e| TrimError::Later(e.to_string()))?;
            core.observer.wal_deleted(id);
        }
        WalRef::Sealed(sealed) => sealed.trim(below).await.map_err(|e| TrimError::Later(e.to_string()))?,
    }
    core.observer.wal_trimmed(id, below);
    Ok(())
}

pub(crate) fn failed(core: &Core, why: &str) {
    core.rounds_failed.fetch_add(1, Ordering::Relaxed);
    core.observer.upload_failed(why);
}
