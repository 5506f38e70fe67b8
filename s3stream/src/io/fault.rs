//! A store that misbehaves on demand, around any other.
//!
//! Owns: the faults an object store is known for (the rows of object faults in the fault catalogue), by script
//! (the next operation of a kind) and by rate (of a seeded source), an outage switch, and counts of what it did,
//! so that a test can tell that its fault happened.
//! Never: damages what is stored; that is [`super::sim_store::SimStore::flip`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tidegate_common::random::SharedRandom;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Put,
    Get,
    List,
    /// One call, of any number of keys.
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 503, and nothing is done.
    Unavailable,
    /// 403: credentials expired, or the clock is off.
    Denied,
    /// 409 to a PUT, and nothing is done.
    Conflict,
    /// The PUT lands and is answered 412, as when the library tried twice.
    OwnConflict,
    /// It is done, and the answer is lost at once.
    AnswerLost,
    /// Nothing is done and no answer comes.
    Hangs,
    /// It is done and no answer comes.
    DoneAndHangs,
    /// An error now; it is done after that time, whatever happens in between.
    DoneLate { ms: u64 },
    /// Done and answered, after that time.
    Slow { ms: u64 },
    /// The body of a GET ends early.
    Truncated,
    /// One bit of the body of a GET is flipped.
    Corrupted,
    /// 404 for what is there.
    Vanished,
    /// A LIST leaves out every other key.
    PartialList,
    /// A LIST in reverse order.
    UnsortedList,
    /// A LIST that breaks off with an error after the first key.
    BrokenList,
}

/// Steers a [`FaultStore`]. Clones share the plan.
#[derive(Clone)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    random: SharedRandom,
}

#[derive(Default)]
struct Plan {
    outage: bool,
    script: BTreeMap<Op, VecDeque<Option<Fault>>>,
    rates: Vec<(Op, Fault, u32)>,
    done: BTreeMap<(Op, Fault), u64>,
    calls: BTreeMap<Op, u64>,
}

impl Faults {
    /// The next operation of this kind that has no fault yet gets this one.
    pub fn next(&self, op: Op, fault: Fault) {
        self.plan.lock().script.entry(op).or_default().push_back(Some(fault));
    }

    /// The next `n` of them.
    pub fn next_n(&self, op: Op, fault: Fault, n: usize) {
        self.plan.lock().script.entry(op).or_default().extend(std::iter::repeat_n(Some(fault), n));
    }

    /// The next operation of this kind that has no fault yet goes well, whatever the rates say.
    pub fn next_goes_well(&self, op: Op) {
        self.plan.lock().script.entry(op).or_default().push_back(None);
    }

    /// From now on, this many of a thousand operations of this kind. Rates of one kind add up.
    pub fn rate(&self, op: Op, fault: Fault, per_mille: u32) {
        self.plan.lock().rates.push((op, fault, per_mille));
    }

    /// No more faults.
    pub fn clear(&self) {
        let mut plan = self.plan.lock();
        plan.script.clear();
        plan.rates.clear();
        plan.outage = false;
    }

    /// While on, nothing is done and every operation fails.
    pub fn outage(&self, on: bool) {
        self.plan.lock().outage = on;
    }

    /// How often a fault was injected.
    #[must_use]
    pub fn done(&self, op: Op, fault: Fault) -> u64 {
        self.plan.lock().done.get(&(op, fault)).copied().unwrap_or(0)
    }

    /// Operations that reached the store's door, faulty or not.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.plan.lock().calls.get(&op).copied().unwrap_or(0)
    }

    fn draw(&self, op: Op) -> Option<Fault> {
        let mut plan = self.plan.lock();
        *plan.calls.entry(op).or_default() += 1;
        let fault = if plan.outage {
            Some(Fault::Unavailable)
        } else if let Some(scripted) = plan.script.get_mut(&op).and_then(VecDeque::pop_front) {
            scripted
        } else {
            let mut at = self.random.below(1000);
            plan.rates.iter().filter(|(of, ..)| *of == op).find_map(|&(_, fault, per_mille)| {
                let hit = at < u64::from(per_mille);
                at = at.saturating_sub(u64::from(per_mille));
                hit.then_some(fault)
            })
        };
        if let Some(fault) = fault {
            *plan.done.entry((op, fault)).or_default() += 1;
        }
        fault
    }
}

#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl FaultStore {
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, random: SharedRandom) -> (Self, Faults) {
        let faults = Faults { plan: Arc::default(), random };
        (Self { inner, faults: faults.clone() }, faults)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, key: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let fault = self.faults.draw(Op::Put);
        let (inner, key) = (self.inner.clone(), key.clone());
        let conflict = || Error::AlreadyExists { path: key.to_string(), source: "injected conflict".into() };
        if fault == Some(Fault::Conflict) {
            return Err(conflict());
        }
        let at = key.clone();
        let result = with(fault, async move { inner.put_opts(&at, payload, opts).await }).await?;
        if fault == Some(Fault::OwnConflict) { Err(conflict()) } else { Ok(result) }
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        o: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(key, o).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.faults.draw(Op::Get);
        if fault == Some(Fault::Vanished) {
            return Err(Error::NotFound { path: key.to_string(), source: "injected".into() });
        }
        let (inner, key, head) = (self.inner.clone(), key.clone(), options.head);
        let got = with(fault, async move { inner.get_opts(&key, options).await }).await?;
        match fault {
            Some(Fault::Truncated | Fault::Corrupted) if !head => self.spoil(got, fault).await,
            _ => Ok(got),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, fault) = (self.inner.clone(), self.faults.draw(Op::Delete));
        async move {
            let keys: Vec<_> = locations.collect().await;
            let work = async move {
                let keys = stream::iter(keys).boxed();
                Ok(inner.delete_stream(keys).collect::<Vec<_>>().await)
            };
            match with(fault, work).await {
                Ok(answers) => stream::iter(answers),
                Err(error) => stream::iter(vec![Err(error)]),
            }
        }
        .flatten_stream()
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, fault, prefix) = (self.inner.clone(), self.faults.draw(Op::List), prefix.cloned());
        async move {
            let listed =
                with(fault, async move { Ok(inner.list(prefix.as_ref()).collect::<Vec<_>>().await) });
            let mut items = match listed.await {
                Ok(items) => items,
                Err(error) => vec![Err(error)],
            };
            match fault {
                Some(Fault::PartialList) => items = items.into_iter().step_by(2).collect(),
                Some(Fault::UnsortedList) => items.reverse(),
                Some(Fault::BrokenList) => {
                    items.truncate(1);
                    items.push(Err(generic("the list broke off")));
                }
                _ => {}
            }
            stream::iter(items)
        }
        .flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (inner, prefix) = (self.inner.clone(), prefix.cloned());
        let fault = self.faults.draw(Op::List);
        with(fault, async move { inner.list_with_delimiter(prefix.as_ref()).await }).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl FaultStore {
    async fn spoil(&self, got: GetResult, fault: Option<Fault>) -> Result<GetResult> {
        let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let extensions = got.extensions.clone();
        let mut body = got.bytes().await?.to_vec();
        let at = self.faults.random.below(body.len() as u64) as usize;
        if fault == Some(Fault::Truncated) {
            body.truncate(at);
        } else if let Some(byte) = body.get_mut(at) {
            *byte ^= 1 << self.faults.random.below(8);
        }
        let payload = GetResultPayload::Stream(stream::iter(vec![Ok(Bytes::from(body))]).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }
}

/// What faults of timing and answers do to any operation; the others are done by their operation.
async fn with<T: Send + 'static>(
    fault: Option<Fault>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match fault {
        Some(Fault::Unavailable) => Err(generic("503 SlowDown, injected")),
        Some(Fault::Denied) => {
            Err(Error::PermissionDenied { path: "key".into(), source: "ExpiredToken, injected".into() })
        }
        Some(Fault::AnswerLost) => {
            work.await?;
            Err(generic("the answer is lost, injected"))
        }
        Some(Fault::Hangs) => std::future::pending().await,
        Some(Fault::DoneAndHangs) => {
            work.await?;
            std::future::pending().await
        }
        Some(Fault::DoneLate { ms }) => {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                work.await
            });
            Err(generic("the connection broke, injected"))
        }
        Some(Fault::Slow { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            work.await
        }
        _ => work.await,
    }
}

fn generic(what: &str) -> Error {
    Error::Generic { store: "fault", source: what.into() }
}

impl std::fmt::Display for FaultStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fault({})", self.inner)
    }
}

impl std::fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}
