//! The reader: follows every partition while faults run, and reads everything again at the end.
//!
//! Invariants checked: P7, P8, P9, F2, F4, F6, F7 on each fetch; P1, P2, P4 by the final full read; S6 at the very end.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    FetchRequest, FetchResponse, TopicName,
};
use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{Batch, LeaderEpoch, ObjectId};
use tidegate_wire::records::{RecordCaps, Records};
use tokio::time::sleep;

use super::super::history::Value;
use super::super::wire::Conn;
use super::super::world::World;
use super::super::{rules, sometimes};
use super::{
    DELETE_RECORDS, DELETE_TOPICS, DELETED_FROM, FETCH, OFFSET_OUT_OF_RANGE, PARTITIONS, PRODUCERS, finals,
    parse, topic,
};

/// Simulated time within which a deleted topic's objects are gone: grace, object time to live and some rounds.
const GONE_WITHIN: Duration = Duration::from_secs(120);
const DELETE_EVERY_MS: u64 = 3_000;

/// One record as it was read.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub value: Value,
    pub epoch: i32,
    pub timestamp: i64,
}

/// One pass over the log so far.
#[derive(Default)]
pub struct Pass {
    next: [i64; PARTITIONS as usize],
    epoch: [i32; PARTITIONS as usize],
    pub high_watermark: [i64; PARTITIONS as usize],
    pub log_start: [i64; PARTITIONS as usize],
    pub log: BTreeMap<(i32, i64), Seen>,
}

pub async fn tail_then_audit(world: &Arc<World>, quiet: impl Fn() -> bool) {
    let mut tail = Pass::default();
    let random = SeededRandom::new(world.seed ^ 0x2EAD);
    while !quiet() {
        if read_until(world, &mut tail, &random, |_| quiet()).await.is_err() {
            sleep(Duration::from_millis(200)).await;
        }
    }
    // A new reader from the beginning, until it has been at the end of every partition.
    let mut full = Pass::default();
    while !at_end(&full) {
        if read_until(world, &mut full, &random, at_end).await.is_err() {
            sleep(Duration::from_millis(200)).await;
        }
        if world.history.violation().is_some() {
            return;
        }
    }
    for partition in 0..PARTITIONS {
        let all = full.log.range((partition, 0)..=(partition, i64::MAX));
        let log = all.map(|((_, o), seen)| (*o, seen.value)).collect();
        world.history.check_final(partition, &log, full.log_start[partition as usize]);
    }
    world.history.note(&format!("final read {:?} of {} records", full.next, full.log.len()));
    world.history.count("full-reads");
    finals::all(world, &full, &random).await;
    if world.history.violation().is_none() {
        nothing_left(world).await;
    }
}

fn at_end(pass: &Pass) -> bool {
    (0..PARTITIONS as usize).all(|p| pass.high_watermark[p] > 0 && pass.next[p] >= pass.high_watermark[p])
}

async fn read_until(
    world: &Arc<World>,
    pass: &mut Pass,
    random: &SeededRandom,
    stop: impl Fn(&Pass) -> bool,
) -> io::Result<()> {
    let mut conn = Conn::open().await?;
    let mut deleted_ms = world.clock.ms();
    while !stop(pass) {
        let floors: Vec<(i64, i64)> = (0..PARTITIONS).map(|p| world.history.floors(p)).collect();
        let answer: FetchResponse = conn.call(FETCH, 12, &request(pass, random)).await?;
        let mut progressed = false;
        for part in answer.responses.iter().flat_map(|t| &t.partitions) {
            progressed |= answered(world, pass, part, floors[part.partition_index as usize]);
        }
        if !progressed {
            sleep(Duration::from_millis(20)).await;
        }
        if world.history.violation().is_some() {
            return Ok(());
        }
        if world.deletes && world.clock.ms() > deleted_ms + DELETE_EVERY_MS {
            deleted_ms = world.clock.ms();
            delete_records(world, &mut conn).await?;
        }
    }
    Ok(())
}

/// Takes one partition's answer; true when it brought records.
fn answered(world: &World, pass: &mut Pass, part: &PartitionData, floors: (i64, i64)) -> bool {
    let p = part.partition_index as usize;
    if part.error_code == OFFSET_OUT_OF_RANGE {
        let start = world.history.floors(part.partition_index).1;
        if pass.next[p] < start {
            pass.next[p] = start;
        } else {
            let why =
                format!("partition {p} says out of range at {}, its log starts at {start}", pass.next[p]);
            world.history.violate(&rules::F6, &why);
        }
    }
    if part.error_code != 0 {
        return false;
    }
    world.history.saw_end(part.partition_index, part.high_watermark, floors);
    world.history.saw_start(part.partition_index, part.log_start_offset, floors);
    if part.high_watermark < pass.high_watermark[p] {
        let why = format!("partition {p} went from {} to {}", pass.high_watermark[p], part.high_watermark);
        world.history.violate(&rules::F1, &why);
    }
    pass.high_watermark[p] = part.high_watermark;
    pass.log_start[p] = part.log_start_offset;
    pass.next[p] = pass.next[p].max(part.log_start_offset);
    let mut records = part.records.clone().unwrap_or_default();
    let mut progressed = false;
    while !records.is_empty() {
        let Ok(batch) = Batch::parse(&mut records) else {
            world.history.violate(&rules::P9, "a fetch answer holds half a batch");
            return false;
        };
        take(world, pass, part.partition_index, &batch);
        progressed = true;
    }
    progressed
}

fn take(world: &World, pass: &mut Pass, partition: i32, batch: &Batch) {
    let history = &world.history;
    let p = partition as usize;
    let (base, last) = (batch.head.base_offset().0, batch.head.last_offset().0);
    if batch.check_crc().is_err() {
        return history.violate(&rules::P9, &format!("partition {partition} offset {base}: bad CRC"));
    }
    if last >= pass.high_watermark[p] {
        let why = format!("partition {partition} offset {last} is not below the high watermark");
        history.violate(&rules::F2, &why);
    }
    if base > pass.next[p] {
        history.violate(&rules::P7, &format!("partition {partition} goes from {} to {base}", pass.next[p]));
    }
    if last < pass.next[p] {
        let why = format!("partition {partition}: asked for {}, given {base} to {last}", pass.next[p]);
        history.violate(&rules::F4, &why);
    }
    let LeaderEpoch(epoch) = batch.head.leader_epoch();
    if epoch < pass.epoch[p] {
        let why = format!("partition {partition} offset {base}: epoch {epoch} after {}", pass.epoch[p]);
        history.violate(&rules::P8, &why);
    }
    pass.epoch[p] = epoch;
    let caps = RecordCaps::default();
    let Ok(mut records) = Records::new(batch, &caps) else {
        return history.violate(&rules::P9, &format!("partition {partition} offset {base}: unreadable"));
    };
    loop {
        let record = match records.next() {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(e) => {
                let why = format!("partition {partition} offset {base}: {e}");
                return history.violate(&rules::P9, &why);
            }
        };
        let offset = record.offset.0;
        let Some(value) = record.value.and_then(|v| parse(v, partition)) else {
            let why = format!("partition {partition} offset {offset}: changed bytes");
            return history.violate(&rules::P2, &why);
        };
        if offset == base {
            history.batch_crc(partition, base, value, batch.head.crc());
        }
        if offset >= pass.next[p] {
            history.read(partition, offset, value);
            let seen = Seen { value, epoch, timestamp: record.timestamp };
            pass.log.insert((partition, offset), seen);
            pass.next[p] = offset + 1;
        }
    }
}

fn request(pass: &Pass, random: &SeededRandom) -> FetchRequest {
    // Often below the size of one batch: the first is given in any case.
    let bytes = 1 << (6 + random.below(9));
    let partition = |p: i32| {
        FetchPartition::default()
            .with_partition(p)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_fetch_offset(pass.next[p as usize])
            .with_partition_max_bytes(bytes)
    };
    // The first with data comes first: each gets its turn.
    let first = i32::try_from(random.below(PARTITIONS as u64)).expect("small");
    let partitions = (0..PARTITIONS).map(|p| partition((p + first) % PARTITIONS)).collect();
    fetch(partitions)
}

pub fn fetch(partitions: Vec<FetchPartition>) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(200)
        .with_min_bytes(1)
        .with_max_bytes(32 << 10)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(topic()).with_partitions(partitions)])
}

/// Moves a log start up as far as no producer is forgotten by it.
async fn delete_records(world: &World, conn: &mut Conn) -> io::Result<()> {
    let Some(to) = world.history.oldest_newest(DELETED_FROM, PRODUCERS) else { return Ok(()) };
    let partition = DeleteRecordsPartition::default().with_partition_index(DELETED_FROM).with_offset(to);
    let asked = DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let ask = DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(5_000);
    let floors = world.history.floors(DELETED_FROM);
    world.history.asks_to_delete(DELETED_FROM, to);
    let answer: DeleteRecordsResponse = conn.call(DELETE_RECORDS, 2, &ask).await?;
    for part in answer.topics.iter().flat_map(|t| &t.partitions).filter(|p| p.error_code == 0) {
        world.history.note(&format!("log start of partition {DELETED_FROM} is {}", part.low_watermark));
        world.history.count(sometimes::LOG_START_MOVED);
        world.history.saw_start(DELETED_FROM, part.low_watermark, floors);
    }
    Ok(())
}

async fn nothing_left(world: &Arc<World>) {
    while delete_topic(topic()).await.is_err() {
        sleep(Duration::from_millis(200)).await;
    }
    world.history.note("topic deleted");
    let until = world.clock.ms() + u64::try_from(GONE_WITHIN.as_millis()).unwrap_or(u64::MAX);
    loop {
        let left: Vec<String> = world
            .bucket
            .keys()
            .into_iter()
            .filter(|(key, _)| !world.zombies.lock().contains(key))
            .map(|(key, _)| key.to_string())
            .filter(|key| key.starts_with("sim/data/"))
            .collect();
        if left.is_empty() {
            world.history.note("no object left");
            world.history.count("clean-buckets");
            return;
        }
        if world.clock.ms() > until {
            let known: Vec<String> = left.iter().map(|key| what_the_quorum_knows(world, key)).collect();
            world
                .history
                .violate(&rules::S6, &format!("objects left after every topic was deleted: {known:?}"));
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Where the metadata has an object, for the reader of a violation.
fn what_the_quorum_knows(world: &World, key: &str) -> String {
    let id = key.rsplit('/').next().and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(ObjectId);
    let Some(id) = id else { return key.to_owned() };
    let image = world.fold.image();
    let garbage = image.garbage().find(|g| g.key.object == id).map(|g| (g.kind, g.at_ms));
    format!(
        "{key}: live set object {}, prepared {}, garbage {garbage:?}, time {}, streams {}",
        image.set_object(id).is_some(),
        image.prepared(id).is_some(),
        image.time_ms(),
        image.stream_count()
    )
}

pub async fn delete_topic(name: TopicName) -> io::Result<()> {
    let mut conn = Conn::open().await?;
    let ask = DeleteTopicsRequest::default()
        .with_topics(vec![DeleteTopicState::default().with_name(Some(name))])
        .with_timeout_ms(5_000);
    let answer: DeleteTopicsResponse = conn.call(DELETE_TOPICS, 6, &ask).await?;
    match answer.responses[0].error_code {
        0 | 3 => Ok(()),
        code => Err(io::Error::other(format!("delete answered {code}"))),
    }
}
