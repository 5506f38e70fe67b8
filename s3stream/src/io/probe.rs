//! What a store can do, tried out at start rather than believed.
//!
//! Owns: the probe keys, which it deletes again, whatever it finds.
//! Invariants: a setting that is wrong (bucket, credentials, address) is told apart from a store that lacks
//! something, and named on one line. Keys of a probe that was killed stay under `probe/`, a few KiB each time;
//! nothing reads them. Never: judges whether the findings are enough; that depends on the WAL medium.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions};
use thiserror::Error;
use tidegate_common::random::SharedRandom;
use uuid::Uuid;

use super::error::short;
use super::{Keys, Media};

/// Creates of one key at a time, and how often.
const RACERS: u32 = 8;
const ROUNDS: u32 = 5;
/// No probe call is worth waiting longer for.
const CALL_MS: u64 = 20_000;
/// Tries of the first call: a store may be starting too.
const FIRST_TRIES: u32 = 4;
const BODY_LEN: usize = 4096;

/// What was found. All true is a store that does what Tidegate needs everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Of racing creates exactly one wins, and what is read is the winner's. The object WAL needs it, and so
    /// does `cluster.json` when two processes start at once.
    pub atomic_create: bool,
    pub read_after_write: bool,
    pub ranges: bool,
    pub list_after_write: bool,
    pub delete: bool,
    /// In plain words, what is missing and what follows from it.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether data objects can live there at all.
    #[must_use]
    pub fn holds_objects(&self) -> bool {
        self.read_after_write && self.ranges && self.delete
    }
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ProbeError {
    #[error("storage.url: the bucket of {place} does not exist: create it, or correct the name")]
    NoBucket { place: String },
    #[error(
        "storage.access.key.id: {place} refuses the credentials ({what}): correct it and storage.access.key.secret, \
         or the AWS_* environment"
    )]
    BadCredentials { place: String, what: String },
    #[error(
        "storage.access.key.id: these credentials may not write to {place} ({what}): allow Get, Put, Delete and List"
    )]
    NotAllowed { place: String, what: String },
    #[error("{setting}: {place} does not answer ({what})")]
    Unreachable { setting: &'static str, place: String, what: String },
}

/// Tries the store out. Takes some dozens of small calls.
///
/// # Errors
/// [`ProbeError`] when not even one key can be written.
pub async fn probe(media: &Media, random: &SharedRandom) -> Result<Report, ProbeError> {
    let probe = Probe { media, keys: Keys::new(media.prefix.clone()), nonce: random.uuid(), random };
    probe.first_write().await?;
    let report = probe.look().await;
    probe.clean_up().await;
    Ok(report)
}

struct Probe<'a> {
    media: &'a Media,
    keys: Keys,
    nonce: Uuid,
    random: &'a SharedRandom,
}

impl Probe<'_> {
    fn key(&self, n: u32) -> Path {
        self.keys.probe(self.nonce, n)
    }

    /// A body that no other write has.
    fn body(&self) -> Bytes {
        let words = (0..BODY_LEN / 8).flat_map(|_| self.random.next_u64().to_be_bytes());
        words.collect::<Vec<_>>().into()
    }

    async fn create(&self, n: u32, body: &Bytes) -> object_store::Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        timed(self.media.store.put_opts(&self.key(n), body.clone().into(), options)).await.map(drop)
    }

    async fn overwrite(&self, body: &Bytes) -> object_store::Result<()> {
        timed(self.media.store.put(&self.key(0), body.clone().into())).await.map(drop)
    }

    async fn first_write(&self) -> Result<(), ProbeError> {
        let body = self.body();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.create(0, &body).await {
                // A try before this one has landed after all.
                Ok(()) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => return Ok(()),
                Err(error) => match self.name(&error) {
                    ProbeError::Unreachable { .. } if tries < FIRST_TRIES => {
                        tokio::time::sleep(Duration::from_millis(250 << tries)).await;
                    }
                    // Perhaps it only knows no conditions; the race will say so.
                    ProbeError::Unreachable { .. } if self.overwrite(&body).await.is_ok() => return Ok(()),
                    named => return Err(named),
                },
            }
        }
    }

    fn name(&self, error: &Error) -> ProbeError {
        let (place, what) = (self.media.place.clone(), short(error));
        let says = |words: &[&str]| words.iter().any(|word| error.to_string().contains(word));
        match error {
            Error::NotFound { .. } => ProbeError::NoBucket { place },
            _ if says(&["NoSuchBucket"]) => ProbeError::NoBucket { place },
            Error::Unauthenticated { .. } => ProbeError::BadCredentials { place, what },
            _ if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"]) => {
                ProbeError::BadCredentials { place, what }
            }
            Error::PermissionDenied { .. } => ProbeError::NotAllowed { place, what },
            _ => {
                let at_endpoint = self.media.local.is_none() && place.contains(" at ");
                let setting = if at_endpoint { "storage.endpoint" } else { "storage.url" };
                ProbeError::Unreachable { setting, place, what }
            }
        }
    }

    async fn look(&self) -> Report {
        let mut report = Report { atomic_create: true, ..Report::default() };
        let mut keep = |problem: Option<String>| match problem {
            Some(problem) => {
                report.problems.push(problem);
                false
            }
            None => true,
        };
        let mut atomic = true;
        for round in 1..=ROUNDS {
            atomic = keep(self.race(round).await);
            if !atomic {
                break;
            }
        }
        let body = self.body();
        let written = self.create(ROUNDS + 1, &body).await;
        let read = keep(self.read_back(&body, written).await);
        let ranges = keep(self.ranges(&body).await);
        let list = keep(self.list().await);
        let delete = keep(self.delete().await);
        Report {
            atomic_create: atomic,
            read_after_write: read,
            ranges,
            list_after_write: list,
            delete,
            problems: report.problems,
        }
    }

    /// Creates one key from many sides at once. Answers what is wrong.
    async fn race(&self, round: u32) -> Option<String> {
        let bodies: Vec<Bytes> = (0..RACERS).map(|_| self.body()).collect();
        let results = join_all(bodies.iter().map(|body| self.create(round, body))).await;
        let winners: Vec<_> = (0..bodies.len()).filter(|&i| results[i].is_ok()).collect();
        let lost = |e: &Error| matches!(e, Error::AlreadyExists { .. } | Error::Precondition { .. });
        let unclear = results.iter().filter_map(|r| r.as_ref().err()).find(|e| !lost(e));
        let tail =
            "an object WAL cannot be kept there, and two first starts at once may not notice one another";
        if winners.len() > 1 {
            let n = winners.len();
            return Some(format!(
                "of {RACERS} racing creates of one key {n} were told that they won: {tail}"
            ));
        }
        if let (None, Some(error)) = (winners.first(), unclear) {
            return Some(format!("conditional create fails ({}): {tail}", short(error)));
        }
        match self.read(round).await {
            // An unclear answer may be the winner's; a conflict may have hit every racer.
            Ok(found) if winners.first().is_none_or(|&i| found == bodies[i]) && bodies.contains(&found) => {
                None
            }
            Ok(_) => Some(format!("a create was told that it won, but another's bytes are there: {tail}")),
            Err(Error::NotFound { .. }) if winners.is_empty() => None,
            Err(error) => {
                Some(format!("what a create wrote cannot be read back ({}): {tail}", short(&error)))
            }
        }
    }

    async fn read(&self, n: u32) -> object_store::Result<Bytes> {
        let key = self.key(n);
        timed(async { self.media.store.get(&key).await?.bytes().await }).await
    }

    async fn read_back(&self, body: &Bytes, written: object_store::Result<()>) -> Option<String> {
        let found = match written {
            Ok(()) => self.read(ROUNDS + 1).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) if found == *body => None,
            Ok(_) => Some("a key read at once after its write has other bytes".into()),
            Err(error) => Some(format!("a key cannot be read at once after its write ({})", short(&error))),
        }
    }

    async fn ranges(&self, body: &Bytes) -> Option<String> {
        let key = self.key(ROUNDS + 1);
        for range in [0..16u64, 100..1100, BODY_LEN as u64 - 28..BODY_LEN as u64] {
            let wanted = body.slice(range.start as usize..range.end as usize);
            match timed(self.media.store.get_range(&key, range.clone())).await {
                Ok(found) if found == wanted => {}
                Ok(found) => {
                    return Some(format!("bytes {range:?} were asked for, {} others came", found.len()));
                }
                Err(error) => return Some(format!("ranges cannot be read ({})", short(&error))),
            }
        }
        None
    }

    async fn list(&self) -> Option<String> {
        let wanted = BTreeSet::from([self.key(0), self.key(ROUNDS + 1)]);
        let listed = self.media.store.list(Some(&self.keys.probes())).map_ok(|meta| meta.location);
        match timed(listed.try_collect::<BTreeSet<Path>>()).await {
            Ok(found) if wanted.is_subset(&found) => None,
            Ok(found) => Some(format!(
                "{} of {} keys just written are missing from the list: audits will report objects as lost",
                wanted.difference(&found).count(),
                wanted.len()
            )),
            Err(error) => Some(format!("keys cannot be listed ({}): audits cannot run", short(&error))),
        }
    }

    async fn delete(&self) -> Option<String> {
        let n = ROUNDS + 1;
        if let Err(error) = timed(self.media.store.delete(&self.key(n))).await {
            return Some(format!("keys cannot be deleted ({}): space never comes back", short(&error)));
        }
        match self.read(n).await {
            Err(Error::NotFound { .. }) => None,
            Ok(_) => Some("a key is still there after its delete: space never comes back".into()),
            Err(error) => {
                Some(format!("a deleted key gives an error other than not found ({})", short(&error)))
            }
        }
    }

    async fn clean_up(&self) {
        let keys: Vec<_> = (0..=ROUNDS + 1).map(|n| Ok(self.key(n))).collect();
        let deleted = self.media.store.delete_stream(stream::iter(keys).boxed());
        // The last key is gone already, which some stores say.
        let gone = |r: &object_store::Result<Path>| matches!(r, Ok(_) | Err(Error::NotFound { .. }));
        let failed =
            timed(async { Ok(deleted.filter(|r| std::future::ready(!gone(r))).count().await) }).await;
        if failed.as_ref().map_or(true, |n| *n > 0) {
            tracing::warn!(place = self.media.place, prefix = %self.keys.probes(), "probe keys were left behind");
        }
    }
}

async fn timed<T>(call: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
    let late = |_| Error::Generic { store: "probe", source: format!("no answer in {CALL_MS} ms").into() };
    tokio::time::timeout(Duration::from_millis(CALL_MS), call).await.map_err(late)?
}
