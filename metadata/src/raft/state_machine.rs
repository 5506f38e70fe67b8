//! openraft's state machine on the image.
//!
//! Owns: the image being built, its publication, and the snapshot file.
//! Invariants: the image changes only by `replay::apply` and by installing a snapshot; readers see it only after
//! a whole batch, and the applied index only after the image; building a snapshot works on a clone, so that it
//! never delays an apply; an older snapshot never replaces a newer one.
//! Never: syncs per entry. The log is replayed over the newest snapshot instead.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tidegate_segment::disk::Disk;
use tokio::sync::watch;
use tracing::warn;

use super::blocking::Lane;
use super::handle::{Applied, Watch};
use super::snapshot_file::{self, NAME};
use super::types::{
    Entry, LogId, Outcomes, Payload, SnapshotMeta, StorageError, StorageIOError, StoredMembership, Types,
};
use super::{OpenError, files};
use crate::{Image, replay, snapshot};

/// Between two tries to write a snapshot on a full disk.
const ROOM_RETRY: Duration = Duration::from_secs(1);

pub(super) struct StateMachine {
    image: Image,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    published: Published,
    store: Arc<SnapshotStore>,
    watch: Option<Watch>,
}

/// What the rest of the process sees of the image.
#[derive(Clone)]
pub(super) struct Published {
    pub image: Arc<ArcSwap<Image>>,
    pub applied: watch::Sender<u64>,
}

/// The snapshot file and the lane it is written on.
struct SnapshotStore {
    disk: Arc<dyn Disk>,
    dir: String,
    lane: Arc<Lane>,
    /// The node is shut down: nothing is written any more.
    stop: watch::Receiver<bool>,
}

pub(super) struct SnapshotBuilder {
    image: Image,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    store: Arc<SnapshotStore>,
}

impl StateMachine {
    /// Starts from the snapshot in `dir`, if there is one. Blocks.
    pub fn open(
        disk: &Arc<dyn Disk>,
        dir: &str,
        lane: Arc<Lane>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, OpenError> {
        let removed = files::remove_aside(&**disk, dir, NAME);
        removed.map_err(|error| OpenError::Io { place: dir.into(), what: error.to_string() })?;
        let store = Arc::new(SnapshotStore { disk: Arc::clone(disk), dir: dir.into(), lane, stop });
        let (meta, image) = snapshot_file::read(&**disk, dir)?.unwrap_or_default();
        let published = Published {
            image: Arc::new(ArcSwap::from_pointee(image.clone())),
            applied: watch::Sender::new(image.applied_index()),
        };
        let SnapshotMeta { last_log_id, last_membership, .. } = meta;
        let membership = last_membership;
        Ok(Self { image, last_applied: last_log_id, membership, published, store, watch: None })
    }

    /// Tells `watch` of each entry.
    pub fn watched(mut self, watch: Option<Watch>) -> Self {
        self.watch = watch;
        self
    }

    pub fn published(&self) -> &Published {
        &self.published
    }

    pub fn last_applied(&self) -> Option<LogId> {
        self.last_applied
    }

    fn publish(&self) {
        self.published.image.store(Arc::new(self.image.clone()));
        self.published.applied.send_replace(self.image.applied_index());
    }

    fn apply_one(&mut self, entry: Entry) -> Outcomes {
        let Entry { log_id, payload } = entry;
        self.last_applied = Some(log_id);
        let commands = match payload {
            EntryPayload::Normal(Payload(commands)) => commands,
            EntryPayload::Blank => Arc::default(),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id), membership);
                Arc::default()
            }
        };
        let outcomes = replay::apply(&mut self.image, log_id.index, &commands);
        if let Some(watch) = &self.watch {
            let (index, term) = (log_id.index, log_id.leader_id.term);
            watch(&Applied { index, term, commands: &commands, image: &self.image });
        }
        Outcomes(outcomes)
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcomes>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let outcomes = entries.into_iter().map(|entry| self.apply_one(entry)).collect();
        self.publish();
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            image: self.image.clone(),
            last_applied: self.last_applied,
            membership: self.membership.clone(),
            store: Arc::clone(&self.store),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let signature = meta.signature();
        let failed = |what: String| -> StorageError {
            StorageIOError::read_snapshot(Some(signature), AnyError::error(what)).into()
        };
        let store = Arc::clone(&self.store);
        let bytes = snapshot.into_inner();
        let installed = self.store.lane.run(move || {
            let bytes = Bytes::from(bytes);
            let (_, image) = snapshot_file::decode(&bytes).map_err(|error| error.to_string())?;
            store.persist(image.applied_index(), &bytes).map_err(|error| error.to_string())?;
            Ok::<_, String>(image)
        });
        self.image = installed.await.map_err(failed)?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let store = Arc::clone(&self.store);
        let read = self.store.lane.run(move || {
            let Some(bytes) = files::read(&*store.disk, &store.dir, NAME)? else { return Ok(None) };
            let bytes = Bytes::from(bytes);
            let damaged = |snapshot_file::Damaged { offset, what }| OpenError::Damaged {
                file: files::join(&store.dir, NAME),
                offset,
                what,
            };
            let (meta, _) = snapshot_file::decode(&bytes).map_err(damaged)?;
            Ok::<_, OpenError>(Some((meta, bytes)))
        });
        let found = read.await.map_err(|error| StorageIOError::read_snapshot(None, &error))?;
        Ok(found.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes.into())) }))
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let (image, last_log_id, last_membership) =
            (self.image.clone(), self.last_applied, self.membership.clone());
        let encoding = self.store.lane.run(move || {
            let snapshot = snapshot::encode(&image);
            let snapshot_id = snapshot_file::id_of(&snapshot);
            let meta = SnapshotMeta { last_log_id, last_membership, snapshot_id };
            (Bytes::from(snapshot_file::encode(&meta, &snapshot)), meta, image.applied_index())
        });
        let (bytes, meta, applied_index) = encoding.await;
        let persisted = self.store.persist_when_there_is_room(applied_index, bytes.clone()).await;
        persisted.map_err(|what| StorageIOError::write_snapshot(None, AnyError::error(what)))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes.into())) })
    }
}

impl SnapshotStore {
    /// A snapshot that finds no room is no reason to stop: the log goes on without it, and is cut later.
    async fn persist_when_there_is_room(
        self: &Arc<Self>,
        applied_index: u64,
        bytes: Bytes,
    ) -> Result<(), String> {
        let mut stop = self.stop.clone();
        loop {
            let (store, bytes) = (Arc::clone(self), bytes.clone());
            match self.lane.run(move || store.persist(applied_index, &bytes)).await {
                Err(PersistError::NoSpace(what)) => warn!(%what, "no room for a snapshot, trying again"),
                Err(PersistError::Other(what)) => return Err(what),
                Ok(()) => return Ok(()),
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Err("the node is shut down".into()),
                () = tokio::time::sleep(ROOM_RETRY) => {}
            }
        }
    }

    /// Replaces the snapshot file, unless it holds something newer: a build that was overtaken by an installed
    /// snapshot must not bring back a state whose log is gone.
    fn persist(&self, applied_index: u64, bytes: &[u8]) -> Result<(), PersistError> {
        if *self.stop.borrow() {
            return Err(PersistError::Other("the node is shut down".into()));
        }
        let other = |error: OpenError| PersistError::Other(error.to_string());
        let there = snapshot_file::read(&*self.disk, &self.dir).map_err(other)?;
        if there.is_some_and(|(_, image)| image.applied_index() > applied_index) {
            return Ok(());
        }
        files::replace(&*self.disk, &self.dir, NAME, &[bytes]).map_err(|error| {
            let what = format!("{}: {error}", files::join(&self.dir, NAME));
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PersistError::NoSpace(what),
                _ => PersistError::Other(what),
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum PersistError {
    #[error("{0}")]
    NoSpace(String),
    #[error("{0}")]
    Other(String),
}
