//! One run, from the first connection to its outcome.
//!
//! Owns: the order of the steps. Topic and offsets first, then every connection is open before the first request is
//! due; CPU and totals are read together at both ends of the window; after it what is in flight is awaited; at the end
//! the log must have grown by exactly what was acknowledged.
//! Invariants: the first failure of any connection ends the run; a run with a failure has no outcome.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kafka_protocol::messages::ApiKey;
use tidegate_common::random::SeededRandom;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::batch::LoadBatch;
use crate::client::{Client, End, Topic};
use crate::clock::{now_ns, wall_ms};
use crate::connection::Connection;
use crate::options::{FetchOptions, LoadOptions, ProduceOptions};
use crate::outcome::{BrokerUse, Outcome, Quantiles};
use crate::placement::{Placement, place};
use crate::process::{MachineCpu, ProcessCpu, ProcessMemory, ticks_per_second};
use crate::recorder::{Recorder, Totals};
use crate::schedule::{Rate, Schedule, Window};
use crate::workload::{AtEnd, Cursor, Fetch, FetchShape, Produce, Workload};

/// From the last connection to the first request.
const LEAD_NS: u64 = 20_000_000;
/// How long requests in flight at the end may still take.
const DRAIN: Duration = Duration::from_secs(60);
/// Values of records are random, the same in every run.
const SEED: u64 = 0x7469_6465;

pub async fn produce(options: &ProduceOptions) -> Result<Outcome> {
    let load = &options.load;
    let mut admin = Client::connect(&load.bootstrap).await?;
    let version = admin.version(ApiKey::Produce, 9..=12)?;
    let topic = admin.topic(&load.topic, load.partitions, &load.topic_config).await?;
    let batch = LoadBatch::build(
        options.record_bytes as usize,
        load.batch_bytes as usize,
        wall_ms(),
        &SeededRandom::new(SEED),
    );
    let before: i64 = offsets(&topic, End::Latest).await?.values().sum();
    let workloads = place(&topic.leaders, load.connections as usize, 1)?
        .into_iter()
        .map(|Placement { node, partitions }| {
            Ok((node, Produce::new(version, &topic.identity, &partitions, batch.clone())?))
        })
        .collect::<Result<Vec<_>>>()?;
    let (recorder, measured) = drive(load, &topic, workloads).await?;
    let after: i64 = offsets(&topic, End::Latest).await?.values().sum();
    let acknowledged = recorder.totals().records;
    let grown = after - before;
    ensure!(
        u64::try_from(grown).is_ok_and(|grown| grown == acknowledged),
        "{acknowledged} records were acknowledged, and the log grew by {grown}: lost, duplicated or another writer's"
    );
    outcome("produce", version, load, &recorder, &measured)
}

pub async fn fetch(options: &FetchOptions) -> Result<Outcome> {
    let load = &options.load;
    let mut admin = Client::connect(&load.bootstrap).await?;
    let topic = admin.topic(&load.topic, load.partitions, &load.topic_config).await?;
    // Topic ids came with version 13.
    let highest = if topic.identity.id.is_nil() { 12 } else { 13 };
    let version = admin.version(ApiKey::Fetch, 12..=highest)?;
    let (earliest, latest) = (offsets(&topic, End::Earliest).await?, offsets(&topic, End::Latest).await?);
    let (starts, at_end) = if options.tail { (&latest, AtEnd::Tail) } else { (&earliest, AtEnd::Cycle) };
    if let (false, Some(empty)) = (options.tail, earliest.keys().find(|p| earliest.get(p) == latest.get(p))) {
        bail!("partition {empty} of {} is empty: run `raw produce` on it first, or give --tail", load.topic);
    }
    let shape = FetchShape {
        version,
        max_bytes: i32::try_from(load.batch_bytes).expect("at most 64 MiB"),
        max_wait_ms: i32::from(options.max_wait_ms),
        at_end,
        verify_crc: options.verify,
    };
    let in_flight = load.in_flight as usize;
    let workloads = place(&topic.leaders, load.connections as usize, in_flight)?
        .into_iter()
        .map(|Placement { node, partitions }| {
            let cursors = partitions
                .iter()
                .cycle()
                .take(in_flight)
                .map(|&partition| Cursor { partition, offset: starts[&partition] })
                .collect();
            (node, Fetch::new(shape, &topic.identity, cursors))
        })
        .collect();
    let (recorder, measured) = drive(load, &topic, workloads).await?;
    outcome("fetch", version, load, &recorder, &measured)
}

pub async fn delete_topic(bootstrap: &str, topic: &str) -> Result<()> {
    Client::connect(bootstrap).await?.delete_topic(topic).await
}

/// Readings taken together.
struct Sample {
    at_ns: u64,
    totals: Totals,
    broker: Option<ProcessCpu>,
    generator: ProcessCpu,
    machine: MachineCpu,
}

impl Sample {
    fn take(recorder: &Recorder, pid: Option<u32>) -> Result<Self> {
        Ok(Self {
            at_ns: now_ns(),
            totals: recorder.totals(),
            broker: pid.map(ProcessCpu::read).transpose()?,
            generator: ProcessCpu::read(std::process::id())?,
            machine: MachineCpu::read()?,
        })
    }
}

struct Measured {
    begin: Sample,
    end: Sample,
    memory: Option<ProcessMemory>,
}

/// Runs the load to its end. Must be called within a `LocalSet`.
async fn drive<W: Workload + 'static>(
    load: &LoadOptions,
    topic: &Topic,
    workloads: Vec<(i32, W)>,
) -> Result<(Rc<Recorder>, Measured)> {
    if let Some(pid) = load.pid {
        ProcessCpu::read(pid)?;
    }
    // Opening a thousand connections takes a while, and the schedule must not start before they are open. What a
    // connection waits for is fixed by its schedule, so the window is given to all of them once they are.
    let mut streams = Vec::with_capacity(workloads.len());
    for (node, workload) in workloads {
        let address = topic.addresses.get(&node).context("Metadata left a leader's address out")?;
        streams.push((Connection::<W>::dial(address).await?, workload));
    }
    let window = Window::new(now_ns() + LEAD_NS, load.warmup, load.seconds);
    let recorder = Rc::new(Recorder::new(window));
    let mut connections = JoinSet::new();
    let count = streams.len();
    for (index, (stream, workload)) in streams.into_iter().enumerate() {
        let schedule = Schedule::new(window, load.rate, index, count);
        let connection =
            Connection::new(stream, workload, schedule, load.in_flight as usize, recorder.clone())?;
        connections.spawn_local(connection.run());
    }
    let measured = tokio::select! {
        biased;
        failure = first_failure(&mut connections) => return Err(failure),
        measured = measure(&recorder, window, load.pid) => measured?,
    };
    timeout(DRAIN, all_done(&mut connections))
        .await
        .with_context(|| format!("requests were unanswered {DRAIN:?} after the end"))??;
    Ok((recorder, measured))
}

async fn measure(recorder: &Recorder, window: Window, pid: Option<u32>) -> Result<Measured> {
    sleep_until(window.start_ns).await;
    let begin = Sample::take(recorder, pid)?;
    sleep_until(window.end_ns).await;
    let end = Sample::take(recorder, pid)?;
    Ok(Measured { begin, end, memory: pid.map(ProcessMemory::read).transpose()? })
}

/// Good to a millisecond, which is enough: the sample says when it was taken.
async fn sleep_until(at_ns: u64) {
    sleep(Duration::from_nanos(at_ns.saturating_sub(now_ns()))).await;
}

/// Pends for ever once all connections have ended well.
async fn first_failure(connections: &mut JoinSet<Result<()>>) -> anyhow::Error {
    match all_done(connections).await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

async fn all_done(connections: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = connections.join_next().await {
        ended.context("a connection's task panicked")??;
    }
    Ok(())
}

async fn offsets(topic: &Topic, end: End) -> Result<BTreeMap<i32, i64>> {
    let mut offsets = BTreeMap::new();
    for (node, address) in &topic.addresses {
        let led: Vec<i32> =
            (0i32..).zip(&topic.leaders).filter(|(_, leader)| *leader == node).map(|(p, _)| p).collect();
        if !led.is_empty() {
            offsets.extend(Client::connect(address).await?.offsets(&topic.identity.name, &led, end).await?);
        }
    }
    Ok(offsets)
}

fn outcome(
    workload: &str,
    api_version: i16,
    load: &LoadOptions,
    recorder: &Recorder,
    Measured { begin, end, memory }: &Measured,
) -> Result<Outcome> {
    let measured_s = (end.at_ns - begin.at_ns) as f64 / 1e9;
    let broker_cpu_s =
        end.broker.zip(begin.broker).map(|(end, begin)| end.seconds_since(&begin)).transpose()?;
    let generator_cpu_s = end.generator.seconds_since(&begin.generator)?;
    let machine = end.machine.since(&begin.machine);
    let cores = |ticks: u64| ticks as f64 / ticks_per_second() / measured_s;
    let own_cores = (broker_cpu_s.unwrap_or(0.0) + generator_cpu_s) / measured_s;
    Ok(Outcome {
        workload: workload.to_owned(),
        name: load.name.clone(),
        label: load.label.clone(),
        api_version,
        partitions: load.partitions,
        connections: load.connections,
        in_flight: load.in_flight,
        batch_bytes: load.batch_bytes,
        offered: match load.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Max => None,
        },
        warmup_s: load.warmup,
        measured_s,
        requests: end.totals.requests - begin.totals.requests,
        records: end.totals.records - begin.totals.records,
        bytes: end.totals.bytes - begin.totals.bytes,
        empty_answers: end.totals.empty - begin.totals.empty,
        unsent: recorder.unsent_count(),
        latency_us: recorder.with_latency(Quantiles::of),
        lateness_us: recorder.with_lateness(Quantiles::of),
        broker: broker_cpu_s.zip(*memory).map(|(cpu_s, memory)| BrokerUse {
            cpu_s,
            resident_bytes: memory.resident,
            peak_resident_bytes: memory.peak,
        }),
        generator_cpu_s,
        foreign_cores: (cores(machine.processes) - own_cores).max(0.0),
        interrupt_cores: cores(machine.interrupts),
        steal_share: machine.steal as f64 / machine.all.max(1) as f64,
    })
}
