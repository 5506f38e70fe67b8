//! The reader: follows every partition while faults run, and audits everything at the end.
//!
//! Checks: dense offsets (P7), leader epochs that never go back (P8), nothing at or above the high watermark (F2), bytes
//! as sent, the final full read (P1), and that no data object is left once every topic is deleted (S6).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    BrokerId, DeleteTopicsRequest, DeleteTopicsResponse, FetchRequest, FetchResponse,
};
use tidegate_common::{Batch, LeaderEpoch, ObjectId};
use tidegate_wire::records::{RecordCaps, Records};
use tokio::time::sleep;

use super::clients::{PARTITIONS, parse, topic};
use super::history::Value;
use super::wire::Conn;
use super::world::World;

const FETCH: i16 = 1;
const DELETE_TOPICS: i16 = 20;
/// Simulated time within which a deleted topic's objects are gone: grace, object time to live and some rounds.
const GONE_WITHIN: Duration = Duration::from_secs(120);

/// One pass over the log so far.
#[derive(Default)]
struct Pass {
    next: [i64; PARTITIONS as usize],
    epoch: [i32; PARTITIONS as usize],
    high_watermark: [i64; PARTITIONS as usize],
    log: BTreeMap<(i32, i64), Value>,
}

pub async fn tail_then_audit(world: &Arc<World>, producers_done: impl Fn() -> bool) {
    let mut tail = Pass::default();
    while !producers_done() {
        if follow(world, &mut tail, &producers_done).await.is_err() {
            sleep(Duration::from_millis(200)).await;
        }
    }
    // A new reader from the beginning, until it has been at the end of every partition.
    let mut full = Pass::default();
    while !at_end(&full) {
        let ended = |p: &Pass| at_end(p);
        if read_until(world, &mut full, ended).await.is_err() {
            sleep(Duration::from_millis(200)).await;
        }
        if world.history.violation().is_some() {
            return;
        }
    }
    for partition in 0..PARTITIONS {
        let log =
            full.log.range((partition, 0)..=(partition, i64::MAX)).map(|((_, o), v)| (*o, *v)).collect();
        world.history.check_final(partition, &log);
    }
    world.history.note(&format!("final read {:?} of {} records", full.next, full.log.len()));
    world.history.count("full-reads");
    nothing_left(world).await;
}

fn at_end(pass: &Pass) -> bool {
    (0..PARTITIONS as usize).all(|p| pass.high_watermark[p] > 0 && pass.next[p] >= pass.high_watermark[p])
}

async fn follow(world: &Arc<World>, pass: &mut Pass, stop: impl Fn() -> bool) -> io::Result<()> {
    read_until(world, pass, |_| stop()).await
}

async fn read_until(world: &Arc<World>, pass: &mut Pass, stop: impl Fn(&Pass) -> bool) -> io::Result<()> {
    let mut conn = Conn::open().await?;
    while !stop(pass) {
        let answer: FetchResponse = conn.call(FETCH, 12, &request(pass)).await?;
        let mut progressed = false;
        for part in answer.responses.iter().flat_map(|t| &t.partitions) {
            if part.error_code != 0 {
                if part.error_code == 1 {
                    world.history.violate(&format!(
                        "F6: partition {} says out of range at {}",
                        part.partition_index, pass.next[part.partition_index as usize]
                    ));
                }
                continue;
            }
            let p = part.partition_index as usize;
            if part.high_watermark < pass.high_watermark[p] {
                world.history.violate(&format!(
                    "F1: high watermark of partition {p} went from {} to {}",
                    pass.high_watermark[p], part.high_watermark
                ));
            }
            pass.high_watermark[p] = part.high_watermark;
            let mut records = part.records.clone().unwrap_or_default();
            while !records.is_empty() {
                let Ok(batch) = Batch::parse(&mut records) else {
                    world.history.violate("a fetch answer holds half a batch");
                    return Ok(());
                };
                take(world, pass, part.partition_index, &batch);
                progressed = true;
            }
        }
        if !progressed {
            sleep(Duration::from_millis(20)).await;
        }
        if world.history.violation().is_some() {
            return Ok(());
        }
    }
    Ok(())
}

fn take(world: &World, pass: &mut Pass, partition: i32, batch: &Batch) {
    let p = partition as usize;
    let (base, last) = (batch.head.base_offset().0, batch.head.last_offset().0);
    if batch.check_crc().is_err() {
        return world.history.violate(&format!("P9: partition {partition} offset {base}: bad CRC"));
    }
    if last >= pass.high_watermark[p] {
        world
            .history
            .violate(&format!("F2: partition {partition} offset {last} at or above the high watermark"));
    }
    if base > pass.next[p] {
        world.history.violate(&format!("P7: partition {partition} goes from {} to {base}", pass.next[p]));
    }
    let LeaderEpoch(epoch) = batch.head.leader_epoch();
    if epoch < pass.epoch[p] {
        world.history.violate(&format!(
            "P8: partition {partition} offset {base}: epoch {epoch} after {}",
            pass.epoch[p]
        ));
    }
    pass.epoch[p] = epoch;
    let caps = RecordCaps::default();
    let Ok(mut records) = Records::new(batch, &caps) else {
        return world.history.violate(&format!("P9: partition {partition} offset {base}: unreadable"));
    };
    loop {
        match records.next() {
            Ok(Some(record)) if record.offset.0 < pass.next[p] => {}
            Ok(Some(record)) => match record.value.and_then(|v| parse(v, partition)) {
                Some(value) => {
                    world.history.read(partition, record.offset.0, value);
                    pass.log.insert((partition, record.offset.0), value);
                    pass.next[p] = record.offset.0 + 1;
                }
                None => {
                    return world.history.violate(&format!(
                        "P2: partition {partition} offset {}: changed bytes",
                        record.offset.0
                    ));
                }
            },
            Ok(None) => return,
            Err(e) => return world.history.violate(&format!("P9: partition {partition} offset {base}: {e}")),
        }
    }
}

fn request(pass: &Pass) -> FetchRequest {
    let partitions = (0..PARTITIONS)
        .map(|p| {
            FetchPartition::default()
                .with_partition(p)
                .with_current_leader_epoch(-1)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_fetch_offset(pass.next[p as usize])
                .with_partition_max_bytes(8 << 10)
        })
        .collect();
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(200)
        .with_min_bytes(1)
        .with_max_bytes(32 << 10)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(topic()).with_partitions(partitions)])
}

async fn nothing_left(world: &Arc<World>) {
    loop {
        if delete_topic().await.is_ok() {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    world.history.note("topic deleted");
    let until = world.clock.ms() + u64::try_from(GONE_WITHIN.as_millis()).unwrap_or(u64::MAX);
    loop {
        let left: Vec<String> = world
            .bucket
            .keys()
            .into_iter()
            .map(|(key, _)| key.to_string())
            .filter(|key| !key.ends_with("cluster.json"))
            .collect();
        if left.is_empty() {
            world.history.note("no object left");
            world.history.count("clean-buckets");
            return;
        }
        if world.clock.ms() > until {
            let known: Vec<String> = left.iter().map(|key| what_the_quorum_knows(world, key)).collect();
            world.history.violate(&format!("S6: objects left after every topic was deleted: {known:?}"));
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Where the metadata has an object, for the reader of a violation.
fn what_the_quorum_knows(world: &World, key: &str) -> String {
    let id = key.rsplit('/').next().and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(ObjectId);
    let (Some(id), Some(broker)) = (id, world.broker.lock().upgrade()) else { return key.to_owned() };
    let image = broker.metadata.image();
    let garbage = image.garbage().find(|g| g.key.object == id).map(|g| (g.kind, g.at_ms));
    format!(
        "{key}: live set object {}, prepared {}, garbage {garbage:?}, time {}, streams {}",
        image.set_object(id).is_some(),
        image.prepared(id).is_some(),
        image.time_ms(),
        image.stream_count()
    )
}

async fn delete_topic() -> io::Result<()> {
    let mut conn = Conn::open().await?;
    let ask = DeleteTopicsRequest::default()
        .with_topics(vec![DeleteTopicState::default().with_name(Some(topic()))])
        .with_timeout_ms(5_000);
    let answer: DeleteTopicsResponse = conn.call(DELETE_TOPICS, 6, &ask).await?;
    match answer.responses[0].error_code {
        0 | 3 => Ok(()),
        code => Err(io::Error::other(format!("delete answered {code}"))),
    }
}
