//! DELETE, key by key settled, and LIST, for audits and tests.
//!
//! Invariants: deleting what is not there is success; a key counts as deleted only when the store named it so.
//! A PUT that lands after its DELETE leaves an object that nothing refers to, under a key that is never used
//! again: harmless, and found by an audit with [`ObjectIo::list_data`]. On a versioned bucket the store keeps
//! the bytes as an old version; a lifecycle rule of the bucket has to expire those.
//! Never: decides what may go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use object_store::path::Path;
use tidegate_common::{Lineage, ObjectId};

use super::{Failure, IoError, ObjectIo};

/// Keys in one bulk request, as S3 allows.
const DELETE_BATCH: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub lineage: Lineage,
    pub id: ObjectId,
    pub size: u64,
}

/// What lies under `data/`, in key order. May lag behind, or miss what changes meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub objects: Vec<Listed>,
    /// Keys that this build would not write.
    pub strangers: Vec<String>,
}

type Key = (Lineage, ObjectId);

impl ObjectIo {
    /// Deletes objects; each has its own result, in the order asked.
    pub async fn delete(&self, ids: &[Key]) -> Vec<(Key, Result<(), IoError>)> {
        let mut results = Vec::with_capacity(ids.len());
        for batch in ids.chunks(DELETE_BATCH) {
            results.extend(self.delete_batch(batch).await);
        }
        results
    }

    /// Lists all data objects.
    ///
    /// # Errors
    /// [`IoError::Unavailable`] when no try came to the end of the list.
    pub async fn list_data(&self) -> Result<Listing, IoError> {
        let prefix = self.inner.keys.data();
        let mut tries = self.tries(self.inner.settings.get_budget_ms);
        loop {
            match self.list_once(&prefix).await {
                Ok(listing) => return Ok(listing),
                Err(failure) => self.again(&mut tries, prefix.as_ref(), &failure).await?,
            }
        }
    }

    async fn delete_batch(&self, batch: &[Key]) -> Vec<(Key, Result<(), IoError>)> {
        let keys: Vec<Path> =
            batch.iter().map(|&(lineage, id)| self.inner.keys.object(lineage, id)).collect();
        let mut open: BTreeSet<Path> = keys.iter().cloned().collect();
        let mut tries = self.tries(self.inner.settings.put_budget_ms);
        let mut end = None;
        while !open.is_empty() && end.is_none() {
            let Some(failure) = self.delete_once(&mut open).await else { break };
            end = self.again(&mut tries, self.inner.keys.data().as_ref(), &failure).await.err();
        }
        if let (None, Some(local)) = (&end, &self.inner.media.local) {
            end = self.sync_deletes(local.as_ref(), &keys).await.err();
            if end.is_some() {
                open = keys.iter().cloned().collect();
            }
        }
        let result = |key: &Path| match &end {
            Some(error) if open.contains(key) => Err(error.clone()),
            _ => Ok(()),
        };
        batch.iter().zip(&keys).map(|(id, key)| (*id, result(key))).collect()
    }

    /// Takes what was deleted out of `open`; answers what went wrong with the rest.
    async fn delete_once(&self, open: &mut BTreeSet<Path>) -> Option<Failure> {
        self.count(|c| &c.deletes, open.len() as u64);
        let asked: Vec<Path> = open.iter().cloned().collect();
        // One stream: a bulk request where the store has them. It ends at a failed request, not at a failed key.
        let work = self.store().delete_stream(stream::iter(asked.into_iter().map(Ok)).boxed());
        let answers = async { Ok(work.collect::<Vec<_>>().await) };
        let answers = match self.attempt(&self.inner.writes, 0, answers).await {
            Ok(answers) => answers,
            Err(failure) => return Some(failure),
        };
        let mut failure = None;
        for answer in answers {
            match answer {
                Ok(key) => {
                    open.remove(&key);
                }
                // The local directory says so of a key that is gone already.
                Err(object_store::Error::NotFound { path, .. }) => {
                    open.retain(|key| !path.ends_with(key.as_ref()));
                }
                Err(error) => failure = Some(Failure::of(&error)),
            }
        }
        if open.is_empty() {
            None
        } else {
            failure.or(Some(Failure::Short("not every key was answered".into())))
        }
    }

    async fn sync_deletes(&self, local: &dyn super::media::LocalSync, keys: &[Path]) -> Result<(), IoError> {
        let directory = |key: &Path| key.as_ref().rsplit_once('/').map(|(dir, _)| dir.to_owned());
        let one_of_each: BTreeMap<_, _> = keys.iter().map(|key| (directory(key), key)).collect();
        for key in one_of_each.into_values() {
            local.sync_parent(key).await.map_err(|e| IoError::Unavailable {
                key: key.to_string(),
                tries: 1,
                elapsed_ms: 0,
                last: format!("sync: {e}"),
            })?;
        }
        Ok(())
    }

    async fn list_once(&self, prefix: &Path) -> Result<Listing, Failure> {
        self.count(|c| &c.gets, 1);
        let _permit = self.inner.reads.acquire().await.expect("the semaphore is never closed");
        let page = Duration::from_millis(self.inner.settings.attempt_timeout_ms);
        let mut items = self.store().list(Some(prefix));
        // A list may be unsorted, and may name a key twice while it changes.
        let mut found = BTreeMap::new();
        loop {
            match tokio::time::timeout(page, items.next()).await {
                Err(_) => return Err(Failure::Transient(format!("no answer in {page:?}"))),
                Ok(None) => break,
                Ok(Some(item)) => {
                    let item = item.map_err(|e| Failure::of(&e))?;
                    found.insert(item.location, item.size);
                }
            }
        }
        let mut listing = Listing::default();
        for (key, size) in found {
            match self.inner.keys.parse(&key) {
                Some((lineage, id)) => listing.objects.push(Listed { lineage, id, size }),
                None => listing.strangers.push(key.to_string()),
            }
        }
        Ok(listing)
    }
}
