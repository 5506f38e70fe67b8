//! Fetch (key 1), v4 to v18. KIP-74 (at least one batch), KIP-227 (sessions), KIP-320 (epochs, divergence),
//! KIP-516 (topic ids, v13).
//!
//! Behaviour: whole batches, the first being the one that holds the fetch offset; a long poll over all partitions
//! whose waiters are registered under the lock under which the high watermark was read; any error answers at once.
//! The last stable offset equals the high watermark while transactions are not served.
//! Leader hints from v16 (KIP-951). Left out: preferred read replicas (KIP-392).

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{EpochEndOffset, PartitionData};
use kafka_protocol::messages::{FetchRequest, TopicName};
use tidegate_common::{Batch, LeaderEpoch, Offset};
use tidegate_metadata::Image;
use tidegate_s3stream::budget::{MemoryPermit, Share};
use tidegate_wire::response::{FetchAnswer, PartitionAnswer, TopicAnswer, encode_fetch};

use super::errors::Code;
use super::fetch_session::{Asked, PartitionKey, Plan, Told, TopicKey, Wanted};
use super::leader_hints;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::partition::state::View;
use crate::partition::{FetchWaiter, Partition};
use crate::partitions::Missing;

const TOPIC_IDS_FROM: i16 = 13;
const LEADER_HINTS_FROM: i16 = 16;
const ZSTD_FROM: i16 = 10;
const CODEC_ZSTD: u8 = 4;
const READ_COMMITTED: i8 = 1;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: FetchRequest,
) -> Result<Answer, Close> {
    let version = context.version();
    let terms = Terms {
        version,
        max_bytes: usize::try_from(request.max_bytes)
            .unwrap_or(0)
            .min(broker.config.fetch.bytes_max as usize),
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        read_committed: request.isolation_level == READ_COMMITTED,
    };
    let asked = asked(request, version);
    let fresh_id = || i32::try_from(broker.random.next_u64() & 0x7FFF_FFFF).unwrap_or(1);
    let plan = broker.sessions.lock().begin(asked, broker.clock.monotonic_ms(), fresh_id);
    let plan = match plan {
        Ok(plan) => plan,
        Err(code) => {
            let refused = FetchAnswer { error_code: code.into(), ..FetchAnswer::default() };
            return finish(context, &refused, Vec::new());
        }
    };
    let read = read_when_ready(broker, &plan, &terms).await;
    let (mut answer, memory) = assemble(broker, &plan, read);
    if version >= LEADER_HINTS_FROM {
        leader_hints::in_fetch(&broker.metadata.image(), &context.client.listener, &mut answer);
    }
    finish(context, &answer, memory)
}

struct Terms {
    version: i16,
    max_bytes: usize,
    min_bytes: usize,
    max_wait: Duration,
    read_committed: bool,
}

/// One partition's answer, before it is decided whether it is told.
struct Outcome {
    data: PartitionData,
    batches: Vec<Batch>,
    /// What the client learns of the log's bounds; `None` on an error.
    told: Option<Told>,
    memory: Option<MemoryPermit>,
}

impl Outcome {
    fn bytes(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }

    fn of(data: PartitionData) -> Self {
        Self { data, batches: Vec::new(), told: None, memory: None }
    }
}

/// Unregisters a fetch from the partitions it waits on, however it ends.
struct Registered {
    waiter: Arc<FetchWaiter>,
    partitions: Vec<Arc<Partition>>,
}

impl Registered {
    fn clear(&mut self) {
        for partition in self.partitions.drain(..) {
            partition.forget(&self.waiter);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Reads all partitions of the plan; again whenever one of them grows, until there is enough or the wait is over.
async fn read_when_ready(broker: &Broker, plan: &Plan, terms: &Terms) -> Vec<Outcome> {
    let mut registered = Registered { waiter: Arc::default(), partitions: Vec::new() };
    let wait = tokio::time::sleep(terms.max_wait);
    tokio::pin!(wait);
    let mut stopping = broker.stopping.subscribe();
    loop {
        broker.lease.wait_valid().await;
        let over = wait.is_elapsed() || terms.max_wait.is_zero() || *stopping.borrow();
        let (outcomes, ready) = read_all(broker, plan, terms, (!over).then_some(&mut registered)).await;
        if ready || over {
            return outcomes;
        }
        drop(outcomes);
        tokio::select! {
            biased;
            () = registered.waiter.woken() => {}
            _ = stopping.wait_for(|s| *s) => {}
            () = &mut wait => {}
        }
        registered.clear();
    }
}

async fn read_all(
    broker: &Broker,
    plan: &Plan,
    terms: &Terms,
    mut registered: Option<&mut Registered>,
) -> (Vec<Outcome>, bool) {
    let image = broker.metadata.image();
    let (mut left, mut bytes, mut failed) = (terms.max_bytes, 0, false);
    let mut outcomes = Vec::with_capacity(plan.partitions.len());
    for ((topic, index), wanted, _) in &plan.partitions {
        let outcome = match locate(broker, &image, topic, *index) {
            Err(code) => Outcome::of(error(*index, code)),
            Ok(partition) => {
                if let Some(registered) = registered.as_deref_mut() {
                    // Registered before the view is read: what is released from here on wakes this fetch.
                    partition.view_and_wait(&registered.waiter);
                    registered.partitions.push(Arc::clone(&partition));
                }
                read_one(broker, &partition, wanted, terms, left, bytes == 0).await
            }
        };
        let n = outcome.bytes();
        bytes += n;
        left = left.saturating_sub(n);
        failed |= outcome.data.error_code != 0 || outcome.data.diverging_epoch.epoch >= 0;
        outcomes.push(outcome);
    }
    let ready = failed || bytes >= terms.min_bytes || plan.partitions.is_empty() && !plan.incremental;
    (outcomes, ready)
}

fn locate(broker: &Broker, image: &Image, topic: &TopicKey, index: i32) -> Result<Arc<Partition>, Code> {
    let row = match topic {
        TopicKey::Id(id) => image.topic_by_id(*id).ok_or(Code::UnknownTopicId)?,
        TopicKey::Name(name) => image.topic_by_name(name).ok_or(Code::UnknownTopicOrPartition)?,
    };
    broker.partitions.get(image, row.id, index).map_err(|missing| match missing {
        Missing::Unknown => Code::UnknownTopicOrPartition,
        Missing::NotOwner => Code::NotLeaderOrFollower,
    })
}

async fn read_one(
    broker: &Broker,
    partition: &Partition,
    wanted: &Wanted,
    terms: &Terms,
    left: usize,
    first: bool,
) -> Outcome {
    let index = partition.index();
    let view = partition.view();
    if let Some(code) = epoch_error(wanted.current_leader_epoch, view.epoch) {
        return Outcome::of(error(index, code));
    }
    let from = Offset(wanted.fetch_offset);
    if from < view.log_start || from > view.end {
        return Outcome::of(error(index, Code::OffsetOutOfRange));
    }
    let mut data = bounds(index, &view, terms.read_committed);
    if wanted.last_fetched_epoch >= 0 {
        match diverging(partition, wanted, from).await {
            Ok(None) => {}
            Ok(Some(end)) => {
                data.diverging_epoch = end;
                return Outcome::of(data);
            }
            Err(code) => return Outcome::of(error(index, code)),
        }
    }
    let upto = if terms.read_committed { view.last_stable_offset } else { view.high_watermark };
    let max_bytes = usize::try_from(wanted.max_bytes).unwrap_or(0).min(left);
    let (batches, memory) = if from >= upto || (max_bytes == 0 && !first) {
        (Vec::new(), None)
    } else {
        match read_batches(broker, partition, (from, upto), max_bytes, first).await {
            Ok((batches, memory)) => (batches, Some(memory)),
            Err(code) => return Outcome::of(error(index, code)),
        }
    };
    if terms.version < ZSTD_FROM && batches.iter().any(|b| b.head.codec() == CODEC_ZSTD) {
        return Outcome::of(error(index, Code::UnsupportedCompressionType));
    }
    let told = Told {
        high_watermark: view.high_watermark.0,
        last_stable_offset: view.last_stable_offset.0,
        log_start: view.log_start.0,
    };
    Outcome { data, batches, told: Some(told), memory }
}

/// From the log cache at once; else from storage, once there is memory for as much as was asked.
async fn read_batches(
    broker: &Broker,
    partition: &Partition,
    (from, upto): (Offset, Offset),
    max_bytes: usize,
    first: bool,
) -> Result<(Vec<Batch>, MemoryPermit), Code> {
    let bytes = |batches: &[Batch]| batches.iter().map(Batch::len).sum::<usize>() as u64;
    let budget = broker.storage.budget();
    if let Some(batches) = partition.stream().read_cached(from, upto, max_bytes, first) {
        let memory = budget.charge(Share::Responses, bytes(&batches));
        return Ok((batches, memory));
    }
    // A fetch waits for memory only while it holds none: two that each hold a part and wait for more would wait for
    // ever. What finds no room beside the records already taken comes with the next fetch.
    let mut memory = if first {
        budget.acquire(Share::Responses, max_bytes as u64).await
    } else {
        match budget.try_acquire(Share::Responses, max_bytes as u64) {
            Some(memory) => memory,
            None => return Ok((Vec::new(), budget.charge(Share::Responses, 0))),
        }
    };
    let batches =
        partition.stream().read(from, upto, max_bytes, first).await.map_err(|e| read_error(partition, &e))?;
    memory.resize(bytes(&batches));
    Ok((batches, memory))
}

/// Kafka's check of `current_leader_epoch`: -1 asks for none.
#[must_use]
pub fn epoch_error(asked: i32, current: LeaderEpoch) -> Option<Code> {
    match asked {
        -1 => None,
        e if e < current.0 => Some(Code::FencedLeaderEpoch),
        e if e > current.0 => Some(Code::UnknownLeaderEpoch),
        _ => None,
    }
}

async fn diverging(
    partition: &Partition,
    wanted: &Wanted,
    from: Offset,
) -> Result<Option<EpochEndOffset>, Code> {
    partition.ensure_loaded().await.map_err(|e| read_error(partition, &e))?;
    let (epoch, end) = match partition.end_of_epoch(LeaderEpoch(wanted.last_fetched_epoch)) {
        Some(known) if known.0.0 == wanted.last_fetched_epoch && known.1 >= from => return Ok(None),
        Some((epoch, end)) => (epoch.0, end.0),
        None => (-1, -1),
    };
    Ok(Some(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end)))
}

/// What a failed read of the stream is to a client.
#[must_use]
pub fn read_error(partition: &Partition, error: &tidegate_s3stream::stream::ReadError) -> Code {
    if matches!(error, tidegate_s3stream::stream::ReadError::BelowLogStart { .. }) {
        return Code::OffsetOutOfRange;
    }
    tracing::error!(stream = partition.stream_id().0, %error, "a read failed");
    Code::KafkaStorageError
}

fn bounds(index: i32, view: &View, read_committed: bool) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_high_watermark(view.high_watermark.0)
        .with_last_stable_offset(view.last_stable_offset.0)
        .with_log_start_offset(view.log_start.0)
        .with_aborted_transactions(read_committed.then(Vec::new))
}

fn error(index: i32, code: Code) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code.into())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_aborted_transactions(None)
}

fn assemble(broker: &Broker, plan: &Plan, outcomes: Vec<Outcome>) -> (FetchAnswer, Vec<MemoryPermit>) {
    let mut memory = Vec::new();
    let mut answer = FetchAnswer { session_id: plan.session_id, ..FetchAnswer::default() };
    let mut told = Vec::new();
    let mut batches = 0;
    let mut bytes = 0;
    for (((topic, index), _, before), outcome) in plan.partitions.iter().zip(outcomes) {
        let changed = outcome.told.is_none() || !outcome.batches.is_empty() || outcome.told != *before;
        if let Some(now) = outcome.told
            && plan.session_id != 0
        {
            let key: PartitionKey = (topic.clone(), *index);
            told.push((key, now, !outcome.batches.is_empty()));
        }
        if plan.incremental && !changed {
            continue;
        }
        batches += outcome.batches.len();
        bytes += outcome.bytes();
        memory.extend(outcome.memory);
        let partition = PartitionAnswer { data: outcome.data, batches: outcome.batches };
        match answer.topics.last_mut() {
            Some(last) if is_topic(last, topic) => last.partitions.push(partition),
            _ => answer.topics.push(topic_answer(topic, partition)),
        }
    }
    if !told.is_empty() {
        broker.sessions.lock().told(plan.session_id, &told);
    }
    broker.metrics.records.fetch_batches.inc_by(batches as u64);
    broker.metrics.records.fetch_bytes.inc_by(bytes as u64);
    (answer, memory)
}

fn is_topic(answer: &TopicAnswer, topic: &TopicKey) -> bool {
    match topic {
        TopicKey::Id(id) => answer.topic_id == *id,
        TopicKey::Name(name) => answer.topic.as_str() == name,
    }
}

fn topic_answer(topic: &TopicKey, first: PartitionAnswer) -> TopicAnswer {
    let mut answer = TopicAnswer { partitions: vec![first], ..TopicAnswer::default() };
    match topic {
        TopicKey::Id(id) => answer.topic_id = *id,
        TopicKey::Name(name) => answer.topic = TopicName(text(name.as_str())),
    }
    answer
}

fn finish(context: &Context<'_>, answer: &FetchAnswer, memory: Vec<MemoryPermit>) -> Result<Answer, Close> {
    let frame = encode_fetch(context.version(), context.head.correlation_id, answer);
    frame.map(|frame| Answer::Held(frame, memory)).map_err(|e| {
        tracing::error!(version = context.version(), error = %e, "a fetch answer cannot be encoded");
        Close::because(e)
    })
}

fn asked(request: FetchRequest, version: i16) -> Asked {
    let by_id = version >= TOPIC_IDS_FROM;
    let key = |name: &TopicName, id| if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.to_string()) };
    let wanted = |p: &FetchPartition| Wanted {
        fetch_offset: p.fetch_offset,
        current_leader_epoch: p.current_leader_epoch,
        last_fetched_epoch: p.last_fetched_epoch,
        max_bytes: p.partition_max_bytes,
    };
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let topic_key = key(&topic.topic, topic.topic_id);
        partitions.extend(topic.partitions.iter().map(|p| ((topic_key.clone(), p.partition), wanted(p))));
    }
    let forgotten = |t: &ForgottenTopic| {
        let topic_key = key(&t.topic, t.topic_id);
        t.partitions.iter().map(|p| (topic_key.clone(), *p)).collect::<Vec<_>>()
    };
    Asked {
        session_id: request.session_id,
        epoch: request.session_epoch,
        by_id,
        partitions,
        forgotten: request.forgotten_topics_data.iter().flat_map(forgotten).collect(),
    }
}
