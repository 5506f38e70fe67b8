//! Questions to a log that nobody writes any more, whose every record is known.
//!
//! Invariants checked: P10, F8, L5; OffsetForLeaderEpoch (KIP-101) against the epochs that were read.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use tidegate_common::random::{Random, SeededRandom};
use tokio::time::sleep;

use super::super::wire::Conn;
use super::super::world::World;
use super::super::{rules, sometimes};
use super::reader::{Pass, fetch};
use super::{FETCH, LIST_OFFSETS, OFFSET_FOR_LEADER_EPOCH, PARTITIONS, RETRIABLE, topic};

const TIMES: u64 = 4;
/// Simulated time within which uploads and deletions have caught up, once nobody writes.
const DRAINED_WITHIN_MS: u64 = 90_000;

pub async fn all(world: &Arc<World>, full: &Pass, random: &SeededRandom) {
    while ask(world, full, random).await.is_err() {
        sleep(Duration::from_millis(200)).await;
    }
    drained(world).await;
}

async fn ask(world: &World, full: &Pass, random: &SeededRandom) -> io::Result<()> {
    let mut conn = Conn::open().await?;
    for partition in 0..PARTITIONS {
        let first = full.log_start[partition as usize];
        let times: Vec<i64> =
            full.log.range((partition, first)..=(partition, i64::MAX)).map(|(_, s)| s.timestamp).collect();
        for _ in 0..TIMES.min(times.len() as u64) {
            let time = times[random.below(times.len() as u64) as usize] + random.below(3) as i64 - 1;
            by_time(world, &mut conn, full, partition, time).await?;
        }
        epochs(world, &mut conn, full, partition).await?;
    }
    world.history.count("final-questions");
    Ok(())
}

/// P10.
async fn by_time(world: &World, conn: &mut Conn, full: &Pass, partition: i32, time: i64) -> io::Result<()> {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(time);
    let topics = vec![ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![asked])];
    let ask = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
    let answer: ListOffsetsResponse = conn.call(LIST_OFFSETS, 7, &ask).await?;
    let got = &answer.topics[0].partitions[0];
    if RETRIABLE.contains(&got.error_code) {
        return Err(io::Error::other("not now"));
    }
    let first = full.log_start[partition as usize];
    let expected = full
        .log
        .range((partition, first)..=(partition, i64::MAX))
        .find(|(_, seen)| seen.timestamp >= time)
        .map(|((_, offset), seen)| (*offset, seen.timestamp, seen.epoch));
    let found = (got.offset >= 0).then_some((got.offset, got.timestamp, got.leader_epoch));
    if got.error_code != 0 || found != expected {
        let why = format!("partition {partition} at {time}: {got:?}, the log has {expected:?}");
        world.history.violate(&rules::P10, &why);
    }
    Ok(())
}

/// Each epoch that was read: where it ends, and what a fetch beyond its end learns.
async fn epochs(world: &World, conn: &mut Conn, full: &Pass, partition: i32) -> io::Result<()> {
    let first = full.log_start[partition as usize];
    let end = full.high_watermark[partition as usize];
    let mut ends = BTreeMap::<i32, i64>::new();
    for ((_, offset), seen) in full.log.range((partition, first)..=(partition, i64::MAX)) {
        ends.insert(seen.epoch, offset + 1);
    }
    for (epoch, epoch_end) in &ends {
        let asked = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(*epoch);
        let topics = vec![OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(vec![asked])];
        let ask = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        let answer: OffsetForLeaderEpochResponse = conn.call(OFFSET_FOR_LEADER_EPOCH, 4, &ask).await?;
        let got = &answer.topics[0].partitions[0];
        if RETRIABLE.contains(&got.error_code) {
            return Err(io::Error::other("not now"));
        }
        if (got.error_code, got.leader_epoch, got.end_offset) != (0, *epoch, *epoch_end) {
            let why =
                format!("partition {partition}: epoch {epoch} ends at {epoch_end}, the answer is {got:?}");
            world.history.violate(&rules::F8, &why);
        }
        if *epoch_end < end {
            diverging(world, conn, partition, (*epoch, *epoch_end)).await?;
        }
    }
    Ok(())
}

/// F8.
async fn diverging(
    world: &World,
    conn: &mut Conn,
    partition: i32,
    (epoch, end): (i32, i64),
) -> io::Result<()> {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(epoch)
        .with_log_start_offset(-1)
        .with_fetch_offset(end + 1)
        .with_partition_max_bytes(8 << 10);
    let answer: FetchResponse = conn.call(FETCH, 12, &fetch(vec![asked])).await?;
    let got = &answer.responses[0].partitions[0];
    if RETRIABLE.contains(&got.error_code) {
        return Err(io::Error::other("not now"));
    }
    let told = (got.diverging_epoch.epoch, got.diverging_epoch.end_offset);
    let bytes = got.records.as_ref().map_or(0, bytes::Bytes::len);
    if got.error_code != 0 || told != (epoch, end) || bytes > 0 {
        let why = format!(
            "partition {partition}: a fetch at {} after epoch {epoch}, which ends at {end}: code {}, told {told:?}, {bytes} bytes",
            end + 1,
            got.error_code
        );
        world.history.violate(&rules::F8, &why);
    }
    world.history.count(sometimes::DIVERGING);
    Ok(())
}

/// L5: nothing waits for upload, every expired id and all garbage is gone.
async fn drained(world: &Arc<World>) {
    let until = world.clock.ms() + DRAINED_WITHIN_MS;
    loop {
        let backlog = world.broker().map(|b| b.storage.backlog().bytes);
        let image = world.fold.image();
        let (garbage, prepared) = (image.garbage().count(), image.all_prepared().count());
        if backlog == Some(0) && garbage == 0 && prepared == 0 {
            world.history.note("backlog drained");
            return;
        }
        if world.clock.ms() > until {
            let why =
                format!("backlog {backlog:?} bytes, {garbage} rows of garbage, {prepared} prepared ids");
            return world.history.violate(&rules::L5, &why);
        }
        sleep(Duration::from_millis(500)).await;
    }
}
