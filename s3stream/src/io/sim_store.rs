//! A bucket in memory: deterministic from its seed, on tokio's clock.
//!
//! Owns: keys, bytes, latency, and the habits of stores that are not as good as they say.
//! Invariants: the same calls in the same order give the same answers at the same simulated times; a call that
//! is dropped midway may have happened or not, as with a real store, since it takes effect in the middle of its
//! latency. Left out: multipart, copy, attributes and versions, which the product does not use.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tidegate_common::random::SharedRandom;

const NAME: &str = "sim";

/// How long calls take: a random time within `call_us`, plus the bytes at `bytes_per_s` (0 is no limit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    pub call_us: Range<u64>,
    pub bytes_per_s: u64,
}

impl Latency {
    pub const NONE: Latency = Latency { call_us: 0..0, bytes_per_s: 0 };

    /// About what S3 does in its own region.
    #[must_use]
    pub fn like_s3() -> Self {
        Self { call_us: 10_000..60_000, bytes_per_s: 80_000_000 }
    }
}

/// What a store may do wrong. All false is a good store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Habits {
    /// Checks whether a key is there, then writes it: racing creates may all win.
    pub racy_create: bool,
    /// Overwrites in spite of the condition.
    pub ignores_condition: bool,
    /// Answers every conditional write with 501.
    pub knows_no_condition: bool,
    /// Answers a range with the whole object.
    pub ignores_range: bool,
    /// A key is listed only once a second key was written after it.
    pub stale_list: bool,
    /// Deleting succeeds and does nothing.
    pub keeps_deleted: bool,
}

/// What happened in a bucket, for checkers. See [`SimStore::record`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEvent {
    /// A key was created or overwritten.
    Written { key: Path, crc32c: u32, len: u64 },
    /// A DELETE took effect, whether the key was there or not, while so many GETs of the key were on their way.
    Deleted { key: Path, was_there: bool, readers: usize },
    /// A GET or HEAD found nothing.
    Missing { key: Path },
}

/// Clones share the bucket.
#[derive(Clone)]
pub struct SimStore {
    inner: Arc<Inner>,
}

struct Inner {
    random: SharedRandom,
    latency: Mutex<Latency>,
    habits: Habits,
    objects: Mutex<Objects>,
}

#[derive(Default)]
struct Objects {
    keys: BTreeMap<Path, (Bytes, u64)>,
    writes: u64,
    newest: Option<Path>,
    events: Option<Vec<StoreEvent>>,
    /// GETs on their way, per key.
    reading: BTreeMap<Path, usize>,
}

/// A GET on its way; also one that is dropped midway ends.
struct Reading {
    inner: Arc<Inner>,
    key: Path,
}

impl Reading {
    fn begin(inner: &Arc<Inner>, key: &Path) -> Self {
        *inner.objects.lock().reading.entry(key.clone()).or_default() += 1;
        Self { inner: Arc::clone(inner), key: key.clone() }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut objects = self.inner.objects.lock();
        if let Some(n) = objects.reading.get_mut(&self.key) {
            *n -= 1;
            if *n == 0 {
                objects.reading.remove(&self.key);
            }
        }
    }
}

impl SimStore {
    #[must_use]
    pub fn new(random: SharedRandom, latency: Latency) -> Self {
        Self::with_habits(random, latency, Habits::default())
    }

    #[must_use]
    pub fn with_habits(random: SharedRandom, latency: Latency, habits: Habits) -> Self {
        let inner = Inner { random, latency: Mutex::new(latency), habits, objects: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    pub fn set_latency(&self, latency: Latency) {
        *self.inner.latency.lock() = latency;
    }

    /// Notes what happens from now on, for [`SimStore::take_events`].
    pub fn record(&self) {
        self.inner.objects.lock().events = Some(Vec::new());
    }

    /// What happened since the last call, in order.
    #[must_use]
    pub fn take_events(&self) -> Vec<StoreEvent> {
        let mut objects = self.inner.objects.lock();
        objects.events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Keys and sizes, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<(Path, u64)> {
        let objects = self.inner.objects.lock();
        objects.keys.iter().map(|(key, (bytes, _))| (key.clone(), bytes.len() as u64)).collect()
    }

    #[must_use]
    pub fn bytes(&self, key: &Path) -> Option<Bytes> {
        self.inner.objects.lock().keys.get(key).map(|(bytes, _)| bytes.clone())
    }

    /// Puts a key behind everyone's back: damage, or an operator.
    pub fn plant(&self, key: &Path, bytes: impl Into<Bytes>) {
        self.inner.objects.lock().write(key, bytes.into());
    }

    /// Flips the lowest bit of one byte.
    pub fn flip(&self, key: &Path, at: usize) {
        let mut bytes = self.bytes(key).expect("a key to damage").to_vec();
        bytes[at] ^= 1;
        self.plant(key, bytes);
    }

    /// Removes a key behind everyone's back: a lifecycle rule, or an operator.
    pub fn vanish(&self, key: &Path) {
        self.inner.objects.lock().keys.remove(key);
    }

    /// Runs `effect` in the middle of the call's time.
    async fn call<T>(&self, bytes: u64, effect: impl FnOnce(&mut Objects) -> T) -> T {
        let (before, after) = self.times(bytes);
        sleep(before).await;
        let result = effect(&mut self.inner.objects.lock());
        sleep(after).await;
        result
    }

    fn times(&self, bytes: u64) -> (u64, u64) {
        let latency = self.inner.latency.lock().clone();
        let Range { start, end } = latency.call_us;
        let call = start + self.inner.random.below(end.saturating_sub(start));
        let body = bytes.saturating_mul(1_000_000).checked_div(latency.bytes_per_s).unwrap_or(0);
        let before = self.inner.random.below(call + 1);
        (before + body, call - before)
    }
}

impl Objects {
    fn note(&mut self, event: impl FnOnce() -> StoreEvent) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    fn delete(&mut self, key: &Path) {
        let was_there = self.keys.remove(key).is_some();
        let readers = self.reading.get(key).copied().unwrap_or(0);
        self.note(|| StoreEvent::Deleted { key: key.clone(), was_there, readers });
    }

    fn write(&mut self, key: &Path, bytes: Bytes) -> PutResult {
        self.note(|| StoreEvent::Written {
            key: key.clone(),
            crc32c: crc32c::crc32c(&bytes),
            len: bytes.len() as u64,
        });
        self.writes += 1;
        self.keys.insert(key.clone(), (bytes, self.writes));
        self.newest = Some(key.clone());
        PutResult { e_tag: Some(self.writes.to_string()), version: None, extensions: Default::default() }
    }

    fn put(&mut self, key: &Path, bytes: Bytes, mode: &PutMode, habits: Habits) -> Result<PutResult> {
        let held = self.keys.get(key).map(|(_, tag)| tag.to_string());
        match mode {
            PutMode::Create | PutMode::Update(_) if habits.knows_no_condition => {
                Err(Error::Generic { store: NAME, source: "501 NotImplemented".into() })
            }
            PutMode::Create if held.is_some() && !habits.ignores_condition && !habits.racy_create => {
                Err(exists(key))
            }
            PutMode::Update(wanted) if held.is_none() || held != wanted.e_tag => {
                Err(Error::Precondition { path: key.to_string(), source: "the tag differs".into() })
            }
            _ => Ok(self.write(key, bytes)),
        }
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, key: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (bytes, habits) = (Bytes::from(payload), self.inner.habits);
        if habits.racy_create && opts.mode == PutMode::Create {
            // The look and the write are two calls.
            if self.call(0, |objects| objects.keys.contains_key(key)).await {
                return Err(exists(key));
            }
        }
        self.call(bytes.len() as u64, |objects| objects.put(key, bytes, &opts.mode, habits)).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_here("put_multipart_opts"))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.objects.lock().keys.get(key).map_or(0, |(bytes, _)| bytes.len() as u64);
        let asked =
            options.range.as_ref().map_or(found, |r| r.as_range(found).map_or(0, |r| r.end - r.start));
        let _reading = Reading::begin(&self.inner, key);
        let look = |objects: &mut Objects| {
            let held = objects.keys.get(key).cloned();
            if held.is_none() {
                objects.note(|| StoreEvent::Missing { key: key.clone() });
            }
            held
        };
        let held = self.call(if options.head { 0 } else { asked }, look).await;
        let Some((bytes, tag)) = held else {
            return Err(Error::NotFound { path: key.to_string(), source: "no such key".into() });
        };
        let meta = meta(key, bytes.len() as u64, tag);
        options.check_preconditions(&meta)?;
        let all = 0..bytes.len() as u64;
        let range = match options.range {
            Some(range) if !self.inner.habits.ignores_range => range.as_range(all.end).map_err(generic)?,
            _ => all,
        };
        let body = bytes.slice(range.start as usize..range.end as usize);
        let payload = if options.head { Vec::new() } else { vec![Ok(body)] };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(payload).boxed()),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |key| {
                let store = store.clone();
                async move {
                    let key = key?;
                    let keeps = store.inner.habits.keeps_deleted;
                    store
                        .call(0, |objects| {
                            if !keeps {
                                objects.delete(&key);
                            }
                        })
                        .await;
                    Ok(key)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let stale = self.inner.habits.stale_list;
        let listed = async move {
            let below = |objects: &mut Objects| {
                let hidden = if stale { objects.newest.clone() } else { None };
                let found = objects.keys.iter().filter(|(key, _)| {
                    **key != prefix && key.prefix_matches(&prefix) && Some(*key) != hidden.as_ref()
                });
                found.map(|(key, (bytes, tag))| Ok(meta(key, bytes.len() as u64, *tag))).collect::<Vec<_>>()
            };
            stream::iter(store.call(0, below).await)
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let (mut common_prefixes, mut objects) = (BTreeSet::new(), Vec::new());
        let mut all = self.list(Some(&prefix));
        while let Some(item) = all.next().await {
            let item = item?;
            let first =
                item.location.prefix_match(&prefix).map(|mut parts| (parts.next(), parts.next().is_some()));
            match first {
                Some((Some(part), true)) => {
                    common_prefixes.insert(prefix.clone().join(part));
                }
                _ => objects.push(item),
            }
        }
        let common_prefixes = common_prefixes.into_iter().collect();
        Ok(ListResult { common_prefixes, objects, extensions: Default::default() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_here("copy_opts"))
    }
}

async fn sleep(us: u64) {
    if us > 0 {
        tokio::time::sleep(Duration::from_micros(us)).await;
    }
}

fn meta(key: &Path, size: u64, tag: u64) -> ObjectMeta {
    // The product reads no time from a store, so all objects are of the epoch.
    let last_modified = Default::default();
    ObjectMeta { location: key.clone(), last_modified, size, e_tag: Some(tag.to_string()), version: None }
}

fn exists(key: &Path) -> Error {
    Error::AlreadyExists { path: key.to_string(), source: "the key is taken".into() }
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: NAME, source: Box::new(source) }
}

fn not_here(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: NAME.into() }
}

impl std::fmt::Display for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sim://bucket")
    }
}

impl std::fmt::Debug for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimStore")
            .field("keys", &self.inner.objects.lock().keys.len())
            .finish_non_exhaustive()
    }
}
