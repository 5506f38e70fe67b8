//! How nodes of the quorum reach each other: one port, bytes in and out.
//!
//! Owns: the messages, openraft's network on top of the port, and the port's in-process side.
//! Invariants: every call has a deadline; bytes from another node never panic and never allocate more than they
//! hold. Never: retries; openraft does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode, RaftNetwork, RaftNetworkFactory};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::handle::{Inner, Metadata, ProposeError, ReadIndexError};
use super::types::Types;
use super::{NodeId, stored};
use crate::{Command, Outcome};

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportError {
    /// Nothing was sent.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// The other side may have acted.
    #[error("the answer is lost: {0}")]
    Lost(String),
}

/// Carries requests to the [`Metadata::serve`] of other nodes.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    async fn call(&self, to: NodeId, address: &str, request: Vec<u8>) -> Result<Vec<u8>, TransportError>;
}

/// For a quorum of one: there is nobody to call.
#[derive(Debug, Default)]
pub struct NoTransport;

#[async_trait]
impl Transport for NoTransport {
    async fn call(&self, to: NodeId, _: &str, _: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Unreachable(format!("this node has no way to node {to}")))
    }
}

/// Nodes of one process, with links that can be cut: for tests and the simulation.
#[derive(Default)]
pub struct LocalNetwork {
    nodes: Mutex<BTreeMap<NodeId, Weak<Inner>>>,
    /// Directed links that carry nothing.
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
}

impl LocalNetwork {
    pub fn join(&self, node: NodeId, metadata: &Metadata) {
        self.nodes.lock().insert(node, Arc::downgrade(&metadata.inner));
    }

    pub fn leave(&self, node: NodeId) {
        self.nodes.lock().remove(&node);
    }

    /// Cuts or mends all links of a node.
    pub fn isolate(&self, node: NodeId, isolated: bool) {
        let others: Vec<NodeId> = self.nodes.lock().keys().copied().filter(|other| *other != node).collect();
        let mut cut = self.cut.lock();
        for link in others.into_iter().flat_map(|other| [(node, other), (other, node)]) {
            if isolated {
                cut.insert(link)
            } else {
                cut.remove(&link)
            };
        }
    }

    /// The transport as `from` has it.
    #[must_use]
    pub fn transport(self: &Arc<Self>, from: NodeId) -> Arc<dyn Transport> {
        Arc::new(LocalTransport { network: Arc::clone(self), from })
    }

    fn carries(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.lock().contains(&(from, to))
    }
}

struct LocalTransport {
    network: Arc<LocalNetwork>,
    from: NodeId,
}

#[async_trait]
impl Transport for LocalTransport {
    async fn call(&self, to: NodeId, _: &str, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let node = self.network.nodes.lock().get(&to).and_then(Weak::upgrade);
        let Some(inner) = node.filter(|_| self.network.carries(self.from, to)) else {
            return Err(TransportError::Unreachable(format!("no link from {} to {to}", self.from)));
        };
        let answer = Metadata { inner }.serve(request).await;
        if self.network.carries(to, self.from) {
            Ok(answer)
        } else {
            Err(TransportError::Lost(format!("no link from {to} to {}", self.from)))
        }
    }
}

/// What nodes ask each other.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<NodeId>),
    InstallSnapshot(InstallSnapshotRequest<Types>),
    /// To the leader, for a proposer elsewhere.
    Propose(Vec<Command>),
    /// To the leader: the index that a linearizable read has to wait for.
    ReadIndex,
}

type Raft<T, E = openraft::error::Infallible> = Result<T, RaftError<NodeId, E>>;

#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Append(Raft<AppendEntriesResponse<NodeId>>),
    Vote(Raft<VoteResponse<NodeId>>),
    InstallSnapshot(Raft<InstallSnapshotResponse<NodeId>, InstallSnapshotError>),
    Propose(Result<(u64, Vec<Outcome>), ProposeError>),
    ReadIndex(Result<u64, ReadIndexError>),
    /// The request could not be understood.
    Malformed(String),
}

pub(super) struct Peers(pub Arc<dyn Transport>);

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Peer {
        Peer { transport: Arc::clone(&self.0), to: target, address: node.addr.clone() }
    }
}

/// One node as another calls it.
pub(super) struct Peer {
    pub transport: Arc<dyn Transport>,
    pub to: NodeId,
    pub address: String,
}

impl Peer {
    pub async fn call(&self, request: &Request, within: Duration) -> Result<Reply, TransportError> {
        let bytes = encode(request);
        let call = self.transport.call(self.to, &self.address, bytes);
        let late = |_| TransportError::Lost(format!("node {} did not answer within {within:?}", self.to));
        let answer = tokio::time::timeout(within, call).await.map_err(late)??;
        decode(&answer).map_err(TransportError::Lost)
    }

    async fn raft<T, E: std::error::Error>(
        &self,
        request: Request,
        option: RPCOption,
        pick: impl FnOnce(Reply) -> Option<Raft<T, E>>,
    ) -> Result<T, RPCError<NodeId, BasicNode, RaftError<NodeId, E>>> {
        match self.call(&request, option.hard_ttl()).await {
            Ok(reply) => match pick(reply) {
                Some(answer) => {
                    answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.to, error)))
                }
                None => {
                    let what = AnyError::error("the answer does not fit the request");
                    Err(RPCError::Network(NetworkError::new(&what)))
                }
            },
            Err(error @ TransportError::Unreachable(_)) => {
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Err(error @ TransportError::Lost(_)) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RPCError<NodeId, BasicNode, RaftError<NodeId>>> {
        let pick = |reply| if let Reply::Append(answer) = reply { Some(answer) } else { None };
        self.raft(Request::Append(rpc), option, pick).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<NodeId>,
        RPCError<NodeId, BasicNode, RaftError<NodeId, InstallSnapshotError>>,
    > {
        let pick = |reply| if let Reply::InstallSnapshot(answer) = reply { Some(answer) } else { None };
        self.raft(Request::InstallSnapshot(rpc), option, pick).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RPCError<NodeId, BasicNode, RaftError<NodeId>>> {
        let pick = |reply| if let Reply::Vote(answer) = reply { Some(answer) } else { None };
        self.raft(Request::Vote(rpc), option, pick).await
    }
}

pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    stored::encode(message)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    stored::decode(bytes)
}
