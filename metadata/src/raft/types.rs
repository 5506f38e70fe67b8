//! What openraft is told about us: command payloads, outcomes, and the runtime it runs on.
//!
//! Invariants: the only randomness openraft sees is the node's `Random` seam, carried from task to task, so that
//! a simulation decides every election timeout. Never: is seen outside `raft`.

use std::future::Future;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::TokioOneShotSender;
use openraft::{AsyncRuntime, OptionalSend, TokioInstant};
use rand_core::RngCore;
use serde::{Deserialize, Serialize};
use tidegate_common::random::{Random, SharedRandom};

use super::NodeId;
use crate::{Command, Outcome};

openraft::declare_raft_types!(
    pub Types:
        D = Payload,
        R = Outcomes,
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = SeamRuntime,
);

pub(super) type Entry = openraft::Entry<Types>;
pub(super) type LogId = openraft::LogId<NodeId>;
pub(super) type Vote = openraft::Vote<NodeId>;
pub(super) type Membership = openraft::Membership<NodeId, openraft::BasicNode>;
pub(super) type StoredMembership = openraft::StoredMembership<NodeId, openraft::BasicNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<NodeId, openraft::BasicNode>;
pub(super) type StorageError = openraft::StorageError<NodeId>;
pub(super) type StorageIOError = openraft::StorageIOError<NodeId>;
pub(super) type Raft = openraft::Raft<Types>;

/// The commands of one entry. Shared: the log, replication and the state machine look at the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(pub Arc<Vec<Command>>);

/// One outcome per command of the entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcomes(pub Vec<Outcome>);

tokio::task_local! {
    static RANDOM: SharedRandom;
}

/// Runs `future`, and every task that openraft spawns from it, on the given randomness.
pub(super) async fn with_random<F: Future>(random: SharedRandom, future: F) -> F::Output {
    RANDOM.scope(random, future).await
}

/// Tokio, with the randomness of the node that spawned the task.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SeamRuntime;

/// Draws from the task's `Random`.
pub struct SeamRng(Option<SharedRandom>);

/// For tasks that no node spawned (openraft's own suite): the same numbers in every run.
static UNSEEDED: AtomicU64 = AtomicU64::new(1);

impl RngCore for SeamRng {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        match &self.0 {
            Some(random) => random.next_u64(),
            None => {
                let n = UNSEEDED.fetch_add(1, Ordering::Relaxed);
                tidegate_common::random::SeededRandom::new(n).next_u64()
            }
        }
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl AsyncRuntime for SeamRuntime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = SeamRng;
    type OneshotSender<T: OptionalSend> = TokioOneShotSender<T>;
    type OneshotReceiver<T: OptionalSend> = tokio::sync::oneshot::Receiver<T>;
    type OneshotReceiverError = tokio::sync::oneshot::error::RecvError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match RANDOM.try_with(Arc::clone) {
            Ok(random) => tokio::spawn(RANDOM.scope(random, future)),
            Err(_) => tokio::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SeamRng(RANDOM.try_with(Arc::clone).ok())
    }

    fn oneshot<T>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>)
    where
        T: OptionalSend,
    {
        let (tx, rx) = tokio::sync::oneshot::channel();
        (TokioOneShotSender(tx), rx)
    }
}
