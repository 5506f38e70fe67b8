//! The clients of a run: correct producers and a reader that keep the oracle, and a nasty one that must not matter.
//!
//! Owns: who there is, what a record says, and the requests they share.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tidegate_common::Offset;
use tidegate_wire::records::{Codec, RecordsBuilder};

use super::history::Value;
use super::wire::Conn;
use super::world::World;

mod finals;
mod nasty;
mod producer;
mod reader;

pub const TOPIC: &str = "payments";
pub const PARTITIONS: i32 = 3;
/// The partition whose log start a client moves; the nasty client stays off it, since a producer that is wholly below
/// the log start is forgotten, as in Kafka.
pub const DELETED_FROM: i32 = 2;
pub const PRODUCERS: u32 = 3;

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const CREATE_TOPICS: i16 = 19;
pub const DELETE_TOPICS: i16 = 20;
pub const DELETE_RECORDS: i16 = 21;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;

pub const OFFSET_OUT_OF_RANGE: i16 = 1;
pub const CORRUPT_MESSAGE: i16 = 2;
pub const NOT_ENOUGH_REPLICAS: i16 = 19;
pub const OUT_OF_ORDER: i16 = 45;
pub const INVALID_PRODUCER_EPOCH: i16 = 47;
pub const FENCED_LEADER_EPOCH: i16 = 74;
pub const UNKNOWN_LEADER_EPOCH: i16 = 75;
/// What a correct client tries again: UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER,
/// REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS, KAFKA_STORAGE_ERROR.
pub const RETRIABLE: [i16; 6] = [3, 5, 6, 7, NOT_ENOUGH_REPLICAS, 56];

/// Batches that were sent to the broker, for whoever wants to send them again: partition, bytes.
pub type Sniffed = Arc<Mutex<Vec<(i32, Bytes)>>>;

pub fn names() -> &'static [&'static str] {
    &["producer-0", "producer-1", "producer-2", "reader", NASTY]
}

pub const NASTY: &str = "nasty";

pub fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// Adds the clients to the simulation; returns how many must finish.
pub fn spawn(
    sim: &mut turmoil::Sim<'_>,
    world: &Arc<World>,
    with_nasty: bool,
    finished: &Rc<RefCell<usize>>,
) -> usize {
    let producing = Rc::new(RefCell::new(PRODUCERS));
    let sniffed = Sniffed::default();
    for n in 0..PRODUCERS {
        let (world, finished, producing) = (Arc::clone(world), Rc::clone(finished), Rc::clone(&producing));
        let sniffed = Arc::clone(&sniffed);
        sim.client(names()[n as usize], async move {
            producer::Producer::new(n, &world, sniffed).run().await;
            *producing.borrow_mut() -= 1;
            world.accepted.fetch_add(1, Ordering::AcqRel);
            *finished.borrow_mut() += 1;
            Ok(())
        });
    }
    let nasty_done = Arc::new(AtomicBool::new(!with_nasty));
    {
        let (world, finished, done) = (Arc::clone(world), Rc::clone(finished), Arc::clone(&nasty_done));
        sim.client(NASTY, async move {
            if with_nasty {
                nasty::Nasty::new(&world, sniffed).run().await;
            }
            done.store(true, Ordering::Release);
            *finished.borrow_mut() += 1;
            Ok(())
        });
    }
    let (world, finished) = (Arc::clone(world), Rc::clone(finished));
    sim.client("reader", async move {
        let quiet = || *producing.borrow() == 0 && nasty_done.load(Ordering::Acquire);
        reader::tail_then_audit(&world, quiet).await;
        *finished.borrow_mut() += 1;
        Ok(())
    });
    PRODUCERS as usize + 2
}

/// What one record says: enough to know it anywhere.
pub fn payload(value: Value, partition: i32, pad: usize) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(value.0);
    out.put_u64(value.1);
    out.put_i32(partition);
    out.extend(std::iter::repeat_n((value.1 % 251) as u8, pad));
    out.freeze()
}

/// The value of a record's bytes; `None` when they are not what was sent.
pub fn parse(bytes: &[u8], partition: i32) -> Option<Value> {
    let producer = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let n = u64::from_be_bytes(bytes.get(4..12)?.try_into().ok()?);
    let sent_to = i32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?);
    let intact = bytes[16..].iter().all(|b| u64::from(*b) == n % 251);
    (sent_to == partition && intact).then_some((producer, n))
}

/// A batch as it goes to the broker. Registered with the oracle as sent.
pub fn encode(
    world: &World,
    codec: Codec,
    (id, epoch, sequence): (i64, i16, i32),
    partition: i32,
    records: &[(Value, usize)],
) -> Bytes {
    let mut builder = RecordsBuilder::new(codec).producer(id, epoch, sequence);
    let now_ms = tidegate_common::clock::Clock::wall_ms(&*world.clock);
    for (value, pad) in records {
        builder.push(now_ms, Some(b"k"), Some(&payload(*value, partition, *pad)), &[]);
    }
    let mut bytes = BytesMut::new();
    builder.build(Offset(0)).write_to(&mut bytes);
    let crc = u32::from_be_bytes([bytes[17], bytes[18], bytes[19], bytes[20]]);
    let values: Vec<Value> = records.iter().map(|(value, _)| *value).collect();
    world.history.sent(partition, &values, crc);
    bytes.freeze()
}

pub fn produce(name: TopicName, partition: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![topic])
}

pub async fn create_topic(conn: &mut Conn, name: TopicName, partitions: i32) -> io::Result<i16> {
    let topic =
        CreatableTopic::default().with_name(name).with_num_partitions(partitions).with_replication_factor(1);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
    let made: CreateTopicsResponse = conn.call(CREATE_TOPICS, 7, &create).await?;
    Ok(made.topics.first().map_or(-1, |t| t.error_code))
}

pub fn ask_producer_id() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000)
}

/// A fresh producer id; told to the oracle.
pub async fn producer_id(conn: &mut Conn, world: &World) -> io::Result<(i64, i16)> {
    let given: InitProducerIdResponse = conn.call(INIT_PRODUCER_ID, 4, &ask_producer_id()).await?;
    if given.error_code != 0 {
        return Err(io::Error::other("no producer id"));
    }
    world.history.producer_id(given.producer_id.0);
    if world.life() > 1 {
        world.history.count(super::sometimes::PID_AFTER_FAILOVER);
    }
    Ok((given.producer_id.0, given.producer_epoch))
}
