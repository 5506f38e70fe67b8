//! What the rest of the product sees of the quorum: one node's handle.
//!
//! Owns: opening a node, its background tasks, and its end.
//! Invariants: a node with damaged state does not start; after the first failed write to the log the node stops
//! and says so. Never: shows a type of openraft.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate_common::clock::SharedClock;
use tidegate_common::random::SharedRandom;
use tidegate_segment::LogOptions;
use tidegate_segment::disk::Disk;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::blocking::Lane;
use super::log_store::LogStore;
use super::proposer::{self, Limits, Proposal, Proposer, QUEUE_MAX};
use super::state_machine::{Published, StateMachine};
use super::transport::{self, NoTransport, Peer, Peers, Reply, Request, Transport};
use super::types::{Raft, with_random};
use super::{NodeId, snapshot_file};
use crate::{Command, Image, Outcome, Refusal, Response};

/// An idle log says after this long that its last group is durable: until then, damage to that group looks like
/// a write that was cut short.
const IDLE_MARK: Duration = Duration::from_millis(100);

/// The log grows by so much between two snapshots, whatever the number of its entries.
const SNAPSHOT_LOG_BYTES: u64 = 256 << 20;

/// Where blocking disk calls run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On the calling task: for the simulation, whose disk never blocks.
    Inline,
    /// On two threads of the node's own: one for the log, one for snapshots and upkeep of files.
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
#[derive(Clone)]
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

/// What a node of one voter does not need to say.
#[derive(Clone)]
pub struct Wiring {
    pub transport: Arc<dyn Transport>,
    pub segment_bytes: u32,
    /// The largest unit that the medium may tear.
    pub align_bytes: u32,
    /// The largest record of the log; an entry takes at most half of it.
    pub record_bytes_max: usize,
    /// Told of each entry as it is applied: for checkers. Must not block.
    pub watch: Option<Watch>,
}

/// One applied entry, as a [`Watch`] sees it.
pub struct Applied<'a> {
    pub index: u64,
    pub term: u64,
    /// Empty for entries of Raft's own.
    pub commands: &'a [Command],
    /// After the entry.
    pub image: &'a Image,
}

pub type Watch = Arc<dyn Fn(&Applied<'_>) + Send + Sync>;

/// How far this node's Raft is, by its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    pub term: u64,
    pub vote_term: u64,
    pub last: u64,
    pub applied: u64,
    pub snapshot: u64,
    pub purged: u64,
}

impl Default for Wiring {
    fn default() -> Self {
        Self {
            transport: Arc::new(NoTransport),
            segment_bytes: 32 << 20,
            align_bytes: 4096,
            record_bytes_max: 8 << 20,
            watch: None,
        }
    }
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{place}: {what}")]
    Io { place: String, what: String },
    /// Something that was durable is not there or not intact.
    #[error("damage in {file} at byte {offset}: {what}")]
    Damaged { file: String, offset: u64, what: String },
    #[error("{place} is of format {found}, this build reads up to {known}")]
    NewerFormat { place: String, found: u32, known: u32 },
    #[error("{0}")]
    Refused(String),
}

impl From<tidegate_segment::OpenError> for OpenError {
    fn from(error: tidegate_segment::OpenError) -> Self {
        use tidegate_segment::OpenError as Segment;
        match error {
            Segment::Io { place, source } => Self::Io { place, what: source.to_string() },
            Segment::Damaged { file, offset, what } => Self::Damaged { file, offset, what },
            Segment::NewerFormat { place, found, known } => Self::NewerFormat { place, found, known },
            Segment::Refused(what) => Self::Refused(what),
        }
    }
}

/// Why a proposal has no outcome to show.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ProposeError {
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Nothing was proposed; asking again later may help.
    #[error("there is no metadata leader at the moment")]
    NoLeader,
    /// Nothing was proposed; asking again helps once the leader's disk has room.
    #[error("the metadata log has no room: {0}")]
    NoSpace(String),
    /// The proposal may have been accepted, or may be later: look at the image.
    #[error("it is not known whether the proposal was accepted: {0}")]
    Unknown(String),
    #[error("the command takes {bytes} bytes, {limit} is the limit")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the metadata node is shut down")]
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ReadIndexError {
    #[error("there is no metadata leader with a quorum at the moment")]
    NoLeader,
    #[error("the metadata node is shut down")]
    Closed,
}

/// What a node knows of the quorum: for people to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumView {
    pub leader: Option<NodeId>,
    pub term: u64,
    /// The index after the last entry that is committed and applied here.
    pub committed_end: u64,
    /// In node order.
    pub members: Vec<QuorumMember>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumMember {
    pub node: NodeId,
    /// Else it only learns.
    pub voter: bool,
    /// The index after the last entry that its log is known to hold; only the leader knows of others.
    pub log_end: Option<u64>,
}

/// One node of the metadata quorum. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    node: NodeId,
    raft: Raft,
    log: LogStore,
    published: Published,
    proposals: mpsc::Sender<Proposal>,
    transport: Arc<dyn Transport>,
    random: SharedRandom,
    /// How long to wait for a leader, and for what a leader was asked.
    leader_wait: Duration,
    outcome_wait: Duration,
    limits: Limits,
    /// Between two questions for a leader.
    retry: Duration,
    /// Tells the background tasks to end, also when it is dropped.
    stop: watch::Sender<bool>,
}

impl Metadata {
    /// Opens the node's state, replays what is committed and joins the quorum: a quorum of one voter, or one
    /// that was formed before.
    ///
    /// # Errors
    /// When the disk fails or holds damaged state; the error names file and offset.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_wired(options, Wiring::default()).await
    }

    /// As [`Metadata::open`], with a way to other nodes.
    ///
    /// # Errors
    /// As [`Metadata::open`].
    pub async fn open_wired(options: Options, wiring: Wiring) -> Result<Self, OpenError> {
        let Options { node, voters, disk, dir, blocking, clock, random, timing, snapshot_entries } = options;
        let lane = |name: &str| {
            let io = |error: std::io::Error| OpenError::Io {
                place: format!("thread {name}"),
                what: error.to_string(),
            };
            Lane::start(blocking, name, &disk).map_err(io)
        };
        let (log_lane, upkeep) = (lane("raft-log")?, Arc::new(lane("raft-snapshot")?));
        let log_options = LogOptions {
            segment_bytes: wiring.segment_bytes,
            align_bytes: wiring.align_bytes,
            record_bytes_max: wiring.record_bytes_max,
        };
        let limits = Limits::of(wiring.record_bytes_max);
        let stop = watch::Sender::new(false);
        let opening = {
            let (upkeep, stop, watch) = (Arc::clone(&upkeep), stop.subscribe(), wiring.watch.clone());
            move || {
                let log = LogStore::open(&disk, &dir, node, log_options, log_lane, Arc::clone(&upkeep))?;
                let state = StateMachine::open(&disk, &dir, upkeep, stop)?.watched(watch);
                if log.purged() > state.last_applied() {
                    let what = "the snapshot is missing or older than the log's beginning".into();
                    let file = super::files::join(&dir, snapshot_file::NAME);
                    return Err(OpenError::Damaged { file, offset: 0, what });
                }
                Ok((log, state))
            }
        };
        let (log, state) = upkeep.run(opening).await?;
        let (published, pristine) = (state.published().clone(), log.is_pristine());
        let config = raft_config(timing, snapshot_entries)?;
        let peers = Peers(Arc::clone(&wiring.transport));
        let starting = async {
            let raft = Raft::new(node, Arc::new(config), peers, log.clone(), state).await?;
            if pristine && voters.contains_key(&node) {
                let members: BTreeMap<NodeId, BasicNode> =
                    voters.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
                // "Not allowed" means that another voter was faster: the quorum exists.
                if let Err(error) = raft.initialize(members).await {
                    info!(%error, "the quorum was formed by another voter");
                }
            }
            Ok::<_, openraft::error::Fatal<NodeId>>(raft)
        };
        let started = with_random(Arc::clone(&random), starting).await;
        let raft = started.map_err(|fatal| OpenError::Refused(format!("raft does not start: {fatal}")))?;

        let (proposals, queue) = mpsc::channel(QUEUE_MAX);
        let leader_wait = Duration::from_millis(timing.election_max_ms * 3);
        let outcome_wait = Duration::from_millis((timing.election_max_ms * 10).max(10_000));
        let proposer = Proposer {
            node,
            raft: raft.clone(),
            log: log.clone(),
            transport: Arc::clone(&wiring.transport),
            applied: published.applied.subscribe(),
            leader_wait,
            outcome_wait,
            limits,
            clock: (timing.tick_ms > 0).then(|| Arc::clone(&clock)),
        };
        tokio::spawn(proposer.run(queue));
        tokio::spawn(keep_log(log.clone(), raft.clone(), stop.subscribe()));
        if timing.tick_ms > 0 {
            let every = Duration::from_millis(timing.tick_ms);
            let ticker = tick(node, raft.clone(), clock, proposals.downgrade(), every, stop.subscribe());
            tokio::spawn(ticker);
        }
        let transport = wiring.transport;
        let retry = Duration::from_millis(timing.heartbeat_ms);
        let inner = Inner {
            node,
            raft,
            log,
            published,
            proposals,
            transport,
            random,
            leader_wait,
            outcome_wait,
            limits,
            retry,
            stop,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Proposes commands in order and waits until this node has applied them. Each has its own outcome. They
    /// share one entry as far as they fit; after an error a first part may have been accepted.
    ///
    /// # Errors
    /// When there is no outcome to show.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        let mut waits = Vec::new();
        for (commands, bytes) in self.inner.limits.split(commands)? {
            waits.push(self.enqueue(commands, bytes, false).await?);
        }
        let mut outcomes = Vec::new();
        for wait in waits {
            let (_, chunk) = wait.await.map_err(|_| ProposeError::Closed)??;
            outcomes.extend(chunk);
        }
        Ok(outcomes)
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
        self.inner.published.image.load_full()
    }

    /// The Raft index of that image. Changes after the image does.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.published.applied.subscribe()
    }

    /// Makes sure of a leader and waits until this node's image holds all that was acknowledged before the
    /// call. Returns that index.
    ///
    /// # Errors
    /// When no leader confirms itself in time.
    pub async fn read_index(&self) -> Result<u64, ReadIndexError> {
        let within = self.inner.leader_wait + self.inner.outcome_wait;
        let confirmed = tokio::time::timeout(within, async {
            let index = self.leaders_read_index().await?;
            let mut applied = self.applied();
            applied.wait_for(|applied| *applied >= index).await.map_err(|_| ReadIndexError::Closed)?;
            Ok(index)
        });
        confirmed.await.unwrap_or(Err(ReadIndexError::NoLeader))
    }

    /// The leader that this node knows of.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.inner.raft.metrics().borrow().current_leader
    }

    /// The quorum as this node sees it.
    #[must_use]
    pub fn quorum(&self) -> QuorumView {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow();
        let end_of = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let membership = now.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, _)| QuorumMember {
            node: *id,
            voter: voters.contains(id),
            log_end: if *id == self.inner.node {
                Some(end_of(now.last_log_index))
            } else {
                let replicated = now.replication.as_ref().and_then(|all| all.get(id));
                replicated.map(|matched| end_of(matched.map(|log| log.index)))
            },
        });
        QuorumView {
            leader: now.current_leader,
            term: now.current_term,
            committed_end: end_of(now.last_applied.map(|log| log.index)),
            members: members.collect(),
        }
    }

    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// How far Raft is here.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let metrics = self.inner.raft.metrics();
        let now = metrics.borrow();
        Marks {
            term: now.current_term,
            vote_term: now.vote.leader_id().term,
            last: now.last_log_index.unwrap_or_default(),
            applied: now.last_applied.map_or(0, |id| id.index),
            snapshot: now.snapshot.map_or(0, |id| id.index),
            purged: now.purged.map_or(0, |id| id.index),
        }
    }

    /// Waits until the node has stopped by itself and says why: a failed write, or damage found while running.
    /// Also returns after [`Metadata::shutdown`].
    pub async fn stopped(&self) -> String {
        let mut metrics = self.inner.raft.metrics();
        let stopped = metrics.wait_for(|now| now.running_state.is_err()).await;
        match stopped.as_deref().map(|now| &now.running_state) {
            Ok(Err(fatal)) => fatal.to_string(),
            _ => "the node is shut down".into(),
        }
    }

    /// Writes a snapshot of what is applied, beside its regular ones.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        self.inner.raft.trigger().snapshot().await.map_err(|fatal| proposer::closed(&fatal))
    }

    /// Answers another node's request: the receiving end of a [`Transport`].
    pub async fn serve(&self, request: Vec<u8>) -> Vec<u8> {
        let reply = match transport::decode(&request) {
            Ok(request) => with_random(Arc::clone(&self.inner.random), self.reply(request)).await,
            Err(what) => Reply::Malformed(what),
        };
        transport::encode(&reply)
    }

    /// Stops. What was acknowledged is on disk already.
    pub async fn shutdown(&self) {
        self.inner.stop.send_replace(true);
        if let Err(error) = self.inner.raft.shutdown().await {
            warn!(%error, "raft did not end by itself");
        }
        if let Err(what) = self.inner.log.close().await {
            warn!(%what, "the raft log ends without its last mark");
        }
    }

    async fn reply(&self, request: Request) -> Reply {
        let raft = &self.inner.raft;
        match request {
            Request::Append(rpc) => Reply::Append(raft.append_entries(rpc).await),
            Request::Vote(rpc) => Reply::Vote(raft.vote(rpc).await),
            Request::InstallSnapshot(rpc) => Reply::InstallSnapshot(raft.install_snapshot(rpc).await),
            Request::Propose(commands) => {
                let bytes = commands.iter().map(proposer::size_of).sum();
                Reply::Propose(match self.enqueue(commands, bytes, true).await {
                    Ok(wait) => wait.await.unwrap_or(Err(ProposeError::Closed)),
                    Err(error) => Err(error),
                })
            }
            Request::ReadIndex => Reply::ReadIndex(self.own_read_index().await),
        }
    }

    async fn enqueue(
        &self,
        commands: Vec<Command>,
        bytes: usize,
        forwarded: bool,
    ) -> Result<oneshot::Receiver<Result<(u64, Vec<Outcome>), ProposeError>>, ProposeError> {
        let (answer, wait) = oneshot::channel();
        let proposal = Proposal { commands, bytes, forwarded, answer };
        self.inner.proposals.send(proposal).await.map_err(|_| ProposeError::Closed)?;
        Ok(wait)
    }

    /// Asks whoever leads for the index, until one confirms itself.
    async fn leaders_read_index(&self) -> Result<u64, ReadIndexError> {
        let Inner { node, raft, transport, leader_wait, retry, .. } = &*self.inner;
        let metrics = raft.metrics();
        loop {
            let leader = {
                let now = metrics.borrow();
                if now.running_state.is_err() {
                    return Err(ReadIndexError::Closed);
                }
                let members = now.membership_config.membership();
                now.current_leader.and_then(|id| Some((id, members.get_node(&id)?.addr.clone())))
            };
            let answer = match leader {
                Some((leader, _)) if leader == *node => self.own_read_index().await,
                Some((to, address)) => {
                    let peer = Peer { transport: Arc::clone(transport), to, address };
                    match peer.call(&Request::ReadIndex, *leader_wait).await {
                        Ok(Reply::ReadIndex(answer)) => answer,
                        _ => Err(ReadIndexError::NoLeader),
                    }
                }
                None => Err(ReadIndexError::NoLeader),
            };
            match answer {
                Err(ReadIndexError::NoLeader) => {}
                answer => return answer,
            }
            // Not until the metrics change: asking changes them.
            tokio::time::sleep(*retry).await;
        }
    }

    async fn own_read_index(&self) -> Result<u64, ReadIndexError> {
        use openraft::error::RaftError;
        match self.inner.raft.get_read_log_id().await {
            Ok((read, _)) => Ok(read.map_or(0, |id| id.index)),
            Err(RaftError::Fatal(_)) => Err(ReadIndexError::Closed),
            Err(RaftError::APIError(_)) => Err(ReadIndexError::NoLeader),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        // Without this, a node whose handles are all gone would go on voting.
        let raft = self.raft.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}

fn raft_config(timing: Timing, snapshot_entries: u64) -> Result<Config, OpenError> {
    let config = Config {
        cluster_name: "tidegate".into(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        // Entries are batches of up to a mebibyte; the log store bounds a request's bytes.
        max_payload_entries: 64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_entries),
        // Above the snapshot interval, or a snapshot would never catch a node up.
        replication_lag_threshold: snapshot_entries.saturating_mul(2),
        max_in_snapshot_log_to_keep: snapshot_entries / 5,
        install_snapshot_timeout: 30_000,
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Refused(format!("raft's settings: {error}")))
}

/// Keeps a spare segment ready, marks the log's end when it is idle, and asks for a snapshot when the log has
/// grown by bytes rather than entries.
async fn keep_log(log: LogStore, raft: Raft, mut stop: watch::Receiver<bool>) {
    let mut least = log.used_bytes();
    loop {
        log.upkeep().await;
        let used = log.used_bytes();
        least = least.min(used);
        if used - least > SNAPSHOT_LOG_BYTES {
            least = used;
            // A node that has stopped takes no snapshot; the mark below finds that out.
            let _ = raft.trigger().snapshot().await;
        }
        if let Err(what) = log.mark().await {
            warn!(%what, "the raft log takes no more");
            return;
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(IDLE_MARK) => {}
        }
    }
}

/// Proposes the leader's time.
async fn tick(
    node: NodeId,
    raft: Raft,
    clock: SharedClock,
    proposals: mpsc::WeakSender<Proposal>,
    every: Duration,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(every) => {}
        }
        if raft.metrics().borrow().current_leader != Some(node) {
            continue;
        }
        let Some(proposals) = proposals.upgrade() else { return };
        let command = Command::Tick { now_ms: clock.wall_ms() };
        // Nobody waits for the outcome; a full queue has commands to go with the next tick.
        let (answer, _) = oneshot::channel();
        let bytes = proposer::size_of(&command);
        let _ = proposals.try_send(Proposal { commands: vec![command], bytes, forwarded: true, answer });
    }
}
