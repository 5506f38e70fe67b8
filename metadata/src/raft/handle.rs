//! What the rest of the product sees of the quorum.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::SharedRandom;
use tidegate_segment::disk::Disk;
use tokio::sync::{mpsc, oneshot, watch};

use super::NodeId;
use crate::{Command, Image, Outcome, Refusal, Response};

/// Where blocking disk calls run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On the calling task: for the simulation, whose disk never blocks.
    Inline,
    /// On one thread of the node's own.
    Thread,
}

/// Raft's time-outs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// How often a leader proposes a `Tick`; 0 never.
    pub tick_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat_ms: 150, election_min_ms: 500, election_max_ms: 1000, tick_ms: 1000 }
    }
}

/// What one node of the quorum is made of.
pub struct Options {
    pub node: NodeId,
    /// The voters of a new cluster, with their addresses. Only looked at when the disk holds no Raft state.
    pub voters: BTreeMap<NodeId, String>,
    pub disk: Arc<dyn Disk>,
    /// Directory on `disk` that this node owns.
    pub dir: String,
    pub blocking: Blocking,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub timing: Timing,
    /// Entries applied between two snapshots.
    pub snapshot_entries: u64,
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{0}")]
    Storage(String),
}

/// Why a proposal has no outcome to show.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Nothing was proposed; asking again later may help.
    #[error("there is no metadata leader at the moment")]
    NoLeader,
    /// The proposal may have been accepted, or may be later: look at the image.
    #[error("it is not known whether the proposal was accepted: {0}")]
    Unknown(String),
    #[error("the command takes {bytes} bytes, {limit} is the limit")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the metadata node is shut down")]
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadIndexError {
    #[error("there is no metadata leader with a quorum at the moment")]
    NoLeader,
    #[error("the metadata node is shut down")]
    Closed,
}

pub(super) struct Proposal {
    pub commands: Vec<Command>,
    pub answer: oneshot::Sender<Result<Vec<Outcome>, ProposeError>>,
}

/// One node of the metadata quorum. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    inner: Arc<Inner>,
}

struct Inner {
    image: Arc<ArcSwap<Image>>,
    applied: watch::Receiver<u64>,
    proposals: mpsc::Sender<Proposal>,
}

impl Metadata {
    /// Opens the node's state, replays what is committed and joins the quorum.
    ///
    /// # Errors
    /// When the disk fails or holds damaged state; the error names file and offset.
    #[expect(clippy::unused_async, reason = "signature first")]
    pub async fn open(_options: Options) -> Result<Self, OpenError> {
        Err(OpenError::Storage("not built yet".into()))
    }

    /// Proposes commands in order and waits until this node has applied them. Each has its own outcome.
    ///
    /// # Errors
    /// When there is no outcome to show.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        let (answer, wait) = oneshot::channel();
        self.inner.proposals.send(Proposal { commands, answer }).await.map_err(|_| ProposeError::Closed)?;
        wait.await.map_err(|_| ProposeError::Closed)?
    }

    /// # Errors
    /// As [`Self::propose`]; a refusal is [`ProposeError::Refused`].
    pub async fn propose_one(&self, command: Command) -> Result<Response, ProposeError> {
        let mut outcomes = self.propose(vec![command]).await?;
        Ok(outcomes.pop().ok_or(ProposeError::Closed)??)
    }

    /// The newest image that this node has applied.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.inner.image.load_full()
    }

    /// The Raft index of that image. Changes after the image does.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.applied.clone()
    }

    /// Makes sure of a leader and waits until this node's image holds all that was acknowledged before the
    /// call. Returns that index.
    ///
    /// # Errors
    /// When no leader confirms itself in time.
    #[expect(clippy::unused_async, reason = "signature first")]
    pub async fn read_index(&self) -> Result<u64, ReadIndexError> {
        Err(ReadIndexError::NoLeader)
    }

    /// The leader that this node knows of.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        None
    }

    /// Stops. What was acknowledged is on disk already.
    pub async fn shutdown(&self) {}
}
