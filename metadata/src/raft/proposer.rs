//! The proposer: many commands per Raft entry, few entries in flight.
//!
//! Owns: the queue of proposals, their grouping, and what a proposal is told.
//! Invariants: commands of one node enter the log in the order they were proposed, as long as it leads; every
//! proposal is answered; *no leader* and *no space* mean that nothing was proposed, *unknown* that it may have
//! been. Never: proposes anything twice; the proposer's owner decides whether that is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openraft::error::{ClientWriteError, Fatal};
use tidegate_common::clock::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::error;

use super::NodeId;
use super::handle::ProposeError;
use super::log_store::LogStore;
use super::transport::{Peer, Reply, Request, Transport, TransportError};
use super::types::{Payload, Raft};
use crate::{Command, Outcome};

/// Commands of one entry.
const ENTRY_COMMANDS_MAX: usize = 1024;
/// Bytes of one entry, unless a single command has more.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Entries proposed and not applied yet: one is being synced while the next one fills.
const ENTRIES_IN_FLIGHT_MAX: usize = 2;
/// Proposals waiting for a place in an entry.
pub(super) const QUEUE_MAX: usize = 4096;

type Answer = Result<(u64, Vec<Outcome>), ProposeError>;

pub(super) struct Proposal {
    pub commands: Vec<Command>,
    pub bytes: usize,
    /// Asked for by another node, which took this one for the leader: not passed on again.
    pub forwarded: bool,
    pub answer: oneshot::Sender<Answer>,
}

pub(super) struct Proposer {
    pub node: NodeId,
    pub raft: Raft,
    pub log: LogStore,
    pub transport: Arc<dyn Transport>,
    pub applied: watch::Receiver<u64>,
    /// How long a proposal waits for a leader.
    pub leader_wait: Duration,
    /// How long a proposal that was made waits for its outcome.
    pub outcome_wait: Duration,
    pub limits: Limits,
    /// The leader's clock; `None` when time is not kept.
    pub clock: Option<SharedClock>,
}

/// Encoded size of a command.
pub(super) fn size_of(command: &Command) -> usize {
    postcard::serialize_with_flavor(command, postcard::ser_flavors::Size::default())
        .expect("counting bytes cannot fail")
}

/// What one entry may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of all its commands, unless a single one has more.
    entry_bytes: usize,
    command_bytes: usize,
}

impl Limits {
    /// For a log with records of this size.
    pub fn of(record_bytes_max: usize) -> Self {
        let command_bytes = record_bytes_max / 4 * 3;
        Self { entry_bytes: ENTRY_BYTES_MAX.min(command_bytes), command_bytes }
    }

    /// Splits commands into what one entry may hold, in order.
    pub fn split(&self, commands: Vec<Command>) -> Result<Vec<(Vec<Command>, usize)>, ProposeError> {
        let Self { entry_bytes, command_bytes } = *self;
        let mut chunks: Vec<(Vec<Command>, usize)> = Vec::new();
        for command in commands {
            let bytes = size_of(&command);
            if bytes > command_bytes {
                return Err(ProposeError::TooLarge { bytes, limit: command_bytes });
            }
            match chunks.last_mut() {
                Some((chunk, size)) if chunk.len() < ENTRY_COMMANDS_MAX && *size + bytes <= entry_bytes => {
                    chunk.push(command);
                    *size += bytes;
                }
                _ => chunks.push((vec![command], bytes)),
            }
        }
        Ok(chunks)
    }
}

/// Where a proposal goes.
enum Leader {
    Here,
    At { node: NodeId, address: String },
}

impl Proposer {
    /// Serves the queue until every handle of the node is gone.
    pub async fn run(self, mut queue: mpsc::Receiver<Proposal>) {
        let slots = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT_MAX));
        let in_flight = Arc::new(AtomicUsize::new(0));
        let mut next = None;
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            // The entry fills while the ones before it are on their way.
            let first = match next.take() {
                Some(proposal) => proposal,
                None => match queue.recv().await {
                    Some(proposal) => proposal,
                    None => return,
                },
            };
            let mut group = Group::of(first);
            while let Ok(proposal) = queue.try_recv() {
                if let Err(proposal) = group.add(proposal, self.limits) {
                    next = Some(proposal);
                    break;
                }
            }
            self.submit(group, slot, &in_flight).await;
        }
    }

    /// Hands an entry to the leader; its outcome is waited for beside the queue.
    async fn submit(&self, group: Group, slot: OwnedSemaphorePermit, in_flight: &Arc<AtomicUsize>) {
        let Group { mut commands, parts, bytes, forwarded, .. } = group;
        let fail =
            |parts: Vec<Part>, error: ProposeError| parts.into_iter().for_each(|part| part.fail(&error));
        let leader = match self.leader(forwarded).await {
            Ok(leader) => leader,
            Err(error) => return fail(parts, error),
        };
        match leader {
            Leader::Here => {
                let ahead = in_flight.load(Ordering::Relaxed);
                if let Err(what) = self.log.ensure_room(ahead + bytes).await {
                    error!(%what, "no room for the raft log: nothing can be proposed");
                    return fail(parts, ProposeError::NoSpace(what));
                }
                // What an entry stamps with the state's time must not carry that of the last tick: after a restart, or
                // an election, it may be long past, and a grace that began there would be over at the next tick.
                let ticks = usize::from(self.clock.is_some());
                if let Some(clock) = &self.clock {
                    commands.insert(0, Command::Tick { now_ms: clock.wall_ms() });
                }
                let sent = self.raft.client_write_ff(Payload(Arc::new(commands))).await;
                let outcome = match sent {
                    Ok(outcome) => outcome,
                    Err(fatal) => return fail(parts, closed(&fatal)),
                };
                in_flight.fetch_add(bytes, Ordering::Relaxed);
                let (in_flight, wait) = (Arc::clone(in_flight), self.outcome_wait);
                tokio::spawn(async move {
                    let outcome = tokio::time::timeout(wait, outcome).await;
                    in_flight.fetch_sub(bytes, Ordering::Relaxed);
                    drop(slot);
                    match outcome {
                        Ok(Ok(Ok(mut response))) => {
                            let outcomes = response.data.0.split_off(ticks);
                            answer(parts, response.log_id.index, outcomes);
                        }
                        // openraft says this of a refused proposal and of one whose entry was overwritten here
                        // but may live elsewhere.
                        Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => {
                            fail(parts, ProposeError::Unknown("this node lost the lead".into()));
                        }
                        Ok(Ok(Err(error))) => fail(parts, ProposeError::Unknown(error.to_string())),
                        Ok(Err(_)) => fail(parts, ProposeError::Closed),
                        Err(_) => fail(parts, ProposeError::Unknown("no quorum answered in time".into())),
                    }
                });
            }
            Leader::At { node, address } => {
                let peer = Peer { transport: Arc::clone(&self.transport), to: node, address };
                let (wait, mut applied) = (self.outcome_wait, self.applied.clone());
                tokio::spawn(async move {
                    let reply = peer.call(&Request::Propose(commands), wait).await;
                    drop(slot);
                    match reply {
                        Ok(Reply::Propose(Ok((index, outcomes)))) => {
                            // A proposer sees its own writes in its own image.
                            let seen = applied.wait_for(|applied| *applied >= index);
                            match tokio::time::timeout(wait, seen).await {
                                Ok(Ok(_)) => answer(parts, index, outcomes),
                                Ok(Err(_)) => fail(parts, ProposeError::Closed),
                                Err(_) => {
                                    let what = "accepted, but not applied here in time";
                                    fail(parts, ProposeError::Unknown(what.into()));
                                }
                            }
                        }
                        Ok(Reply::Propose(Err(error))) => fail(parts, error),
                        Ok(_) => {
                            fail(parts, ProposeError::Unknown("the leader's answer makes no sense".into()))
                        }
                        Err(TransportError::Unreachable(_)) => fail(parts, ProposeError::NoLeader),
                        Err(TransportError::Lost(what)) => fail(parts, ProposeError::Unknown(what)),
                    }
                });
            }
        }
    }

    /// Waits a while for a leader.
    async fn leader(&self, forwarded: bool) -> Result<Leader, ProposeError> {
        let deadline = Instant::now() + self.leader_wait;
        let mut metrics = self.raft.metrics();
        loop {
            let found = {
                let now = metrics.borrow_and_update();
                if let Err(fatal) = &now.running_state {
                    return Err(closed(fatal));
                }
                let members = now.membership_config.membership();
                now.current_leader
                    .map(|leader| (leader, members.get_node(&leader).map(|node| node.addr.clone())))
            };
            match found {
                Some((leader, _)) if leader == self.node => return Ok(Leader::Here),
                // Passed on once is enough; whoever asked finds the leader that this node follows.
                Some(_) if forwarded => return Err(ProposeError::NoLeader),
                Some((node, Some(address))) => return Ok(Leader::At { node, address }),
                _ => {}
            }
            match tokio::time::timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ProposeError::Closed),
                Err(_) => return Err(ProposeError::NoLeader),
            }
        }
    }
}

/// What became one entry.
struct Group {
    commands: Vec<Command>,
    bytes: usize,
    forwarded: bool,
    parts: Vec<Part>,
}

/// Whose commands, in order.
struct Part {
    commands: usize,
    answer: oneshot::Sender<Answer>,
}

impl Part {
    fn fail(self, error: &ProposeError) {
        let _ = self.answer.send(Err(error.clone()));
    }
}

impl Group {
    fn of(first: Proposal) -> Self {
        let Proposal { commands, bytes, forwarded, answer } = first;
        let parts = vec![Part { commands: commands.len(), answer }];
        Self { commands, bytes, forwarded, parts }
    }

    fn add(&mut self, proposal: Proposal, limits: Limits) -> Result<(), Proposal> {
        if self.bytes + proposal.bytes > limits.entry_bytes
            || self.commands.len() + proposal.commands.len() > ENTRY_COMMANDS_MAX
            || self.forwarded != proposal.forwarded
        {
            return Err(proposal);
        }
        let Proposal { commands, bytes, forwarded: _, answer } = proposal;
        self.bytes += bytes;
        self.parts.push(Part { commands: commands.len(), answer });
        self.commands.extend(commands);
        Ok(())
    }
}

fn answer(parts: Vec<Part>, index: u64, outcomes: Vec<Outcome>) {
    let mut outcomes = outcomes.into_iter();
    for Part { commands, answer } in parts {
        let _ = answer.send(Ok((index, outcomes.by_ref().take(commands).collect())));
    }
}

pub(super) fn closed(fatal: &Fatal<NodeId>) -> ProposeError {
    match fatal {
        Fatal::Stopped => ProposeError::Closed,
        other => ProposeError::Unknown(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored;
    use super::*;

    #[test]
    fn a_counted_command_is_as_long_as_its_bytes() {
        let command = Command::Tick { now_ms: 1_700_000_000_000 };
        assert_eq!(size_of(&command), stored::encode(&command).len() - 1);
    }

    #[test]
    fn commands_are_split_at_the_bounds_of_an_entry() {
        let limits = Limits::of(8 << 20);
        let chunks = limits.split(vec![Command::Tick { now_ms: 1 }; 2500]).expect("small");
        assert_eq!(chunks.iter().map(|(chunk, _)| chunk.len()).collect::<Vec<_>>(), [1024, 1024, 452]);
        let name = "x".repeat(700_000);
        let create = |name: &str| {
            Command::CreateTopic(crate::command::CreateTopic {
                name: name.into(),
                id: uuid::Uuid::nil(),
                partitions: 1,
                owners: vec![],
                replication_factor: 1,
                configs: Default::default(),
            })
        };
        assert_eq!(limits.split(vec![create(&name), create(&name)]).expect("small").len(), 2);
        let huge = create(&"x".repeat(6 << 20));
        assert!(matches!(limits.split(vec![huge]), Err(ProposeError::TooLarge { .. })));
    }
}
