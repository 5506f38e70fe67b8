//! The clients of a run: correct producers and a reader that keep the oracle. They retry for ever, as real ones do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest,
    ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_common::Offset;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_wire::records::{Codec, RecordsBuilder};
use tokio::time::sleep;

use super::audit;
use super::history::Value;
use super::wire::Conn;
use super::world::World;

pub const TOPIC: &str = "payments";
pub const PARTITIONS: i32 = 3;
const PRODUCERS: u32 = 3;
const PIPELINE: usize = 3;

const PRODUCE: i16 = 0;
const CREATE_TOPICS: i16 = 19;
const INIT_PRODUCER_ID: i16 = 22;
const OUT_OF_ORDER: i16 = 45;

pub fn names() -> &'static [&'static str] {
    &["producer-0", "producer-1", "producer-2", "reader"]
}

pub fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// Adds the clients to the simulation; returns how many must finish.
pub fn spawn(sim: &mut turmoil::Sim<'_>, world: &Arc<World>, finished: &Rc<RefCell<usize>>) -> usize {
    let producing = Rc::new(RefCell::new(PRODUCERS));
    for n in 0..PRODUCERS {
        let (world, finished, producing) = (Arc::clone(world), Rc::clone(finished), Rc::clone(&producing));
        sim.client(names()[n as usize], async move {
            Producer::new(n, &world).run().await;
            *producing.borrow_mut() -= 1;
            *finished.borrow_mut() += 1;
            Ok(())
        });
    }
    let (world, finished) = (Arc::clone(world), Rc::clone(finished));
    sim.client("reader", async move {
        audit::tail_then_audit(&world, || *producing.borrow() == 0).await;
        *finished.borrow_mut() += 1;
        Ok(())
    });
    PRODUCERS as usize + 1
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

struct Batch {
    partition: i32,
    values: Vec<Value>,
    sequence: i32,
    bytes: Bytes,
}

struct Producer {
    n: u32,
    world: Arc<World>,
    random: SeededRandom,
    id: Option<(i64, i16)>,
    sequences: BTreeMap<i32, i32>,
    next: u64,
}

impl Producer {
    fn new(n: u32, world: &Arc<World>) -> Self {
        let random = SeededRandom::new(world.seed ^ (u64::from(n) << 40) ^ 0xC11E);
        Self { n, world: Arc::clone(world), random, id: None, sequences: BTreeMap::new(), next: 0 }
    }

    async fn run(mut self) {
        let mut unacked: Vec<Batch> = Vec::new();
        loop {
            let mut conn = match self.connect().await {
                Ok(conn) => conn,
                Err(error) => {
                    tracing::debug!(producer = self.n, %error, "connect");
                    sleep(Duration::from_millis(100 + self.random.below(200))).await;
                    continue;
                }
            };
            loop {
                while unacked.len() < PIPELINE && self.world.clock.ms() < self.world.produce_until_ms {
                    unacked.push(self.draw());
                }
                if unacked.is_empty() {
                    return;
                }
                if self.exchange(&mut conn, &mut unacked).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(self.random.below(250))).await;
            }
            sleep(Duration::from_millis(50 + self.random.below(200))).await;
        }
    }

    async fn connect(&mut self) -> io::Result<Conn> {
        let mut conn = Conn::open().await?;
        let topic = CreatableTopic::default()
            .with_name(topic())
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(1);
        let create = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
        let _: CreateTopicsResponse = conn.call(CREATE_TOPICS, 7, &create).await?;
        if self.id.is_none() {
            let ask = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(1_000);
            let given: InitProducerIdResponse = conn.call(INIT_PRODUCER_ID, 4, &ask).await?;
            if given.error_code != 0 {
                return Err(io::Error::other("no producer id"));
            }
            self.id = Some((given.producer_id.0, given.producer_epoch));
        }
        Ok(conn)
    }

    fn draw(&mut self) -> Batch {
        let partition = i32::try_from(self.random.below(PARTITIONS as u64)).expect("small");
        let count = 1 + self.random.below(4);
        let (id, epoch) = self.id.expect("connected");
        let sequence = *self.sequences.entry(partition).or_default();
        let codec = if self.random.below(3) == 0 { Codec::Lz4 } else { Codec::None };
        let mut records = RecordsBuilder::new(codec).producer(id, epoch, sequence);
        let mut values = Vec::new();
        for _ in 0..count {
            let value = (self.n, self.next);
            self.next += 1;
            self.world.history.sent(partition, value);
            let pad = self.random.below(1500) as usize;
            let now_ms = tidegate_common::clock::Clock::wall_ms(&*self.world.clock);
            records.push(now_ms, Some(b"k"), Some(&payload(value, partition, pad)), &[]);
            values.push(value);
        }
        self.sequences.insert(partition, sequence + i32::try_from(count).expect("small"));
        let mut bytes = BytesMut::new();
        records.build(Offset(0)).write_to(&mut bytes);
        Batch { partition, values, sequence, bytes: bytes.freeze() }
    }

    /// Sends all unacknowledged batches in order, pipelined, and takes the answers in order.
    async fn exchange(&mut self, conn: &mut Conn, unacked: &mut Vec<Batch>) -> io::Result<()> {
        for batch in unacked.iter() {
            conn.send(PRODUCE, 9, &request(batch)).await?;
        }
        let mut failed = Vec::new();
        let mut broken: Vec<i32> = Vec::new();
        for batch in unacked.drain(..) {
            let answer: io::Result<ProduceResponse> = if failed.is_empty() || conn_alive(&failed) {
                conn.receive().await
            } else {
                Err(io::ErrorKind::NotConnected.into())
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(_) => {
                    failed.push((batch, None));
                    continue;
                }
            };
            let part = &answer.responses[0].partition_responses[0];
            match part.error_code {
                0 => {
                    self.world.history.count("acks");
                    self.world.history.acked(batch.partition, part.base_offset, &batch.values);
                }
                code => {
                    if code == OUT_OF_ORDER && !broken.contains(&batch.partition) {
                        let why = format!(
                            "I3: batch {:?} of sequence {} refused as out of order",
                            batch.values, batch.sequence
                        );
                        self.world.history.violate(&why);
                    }
                    self.world.history.count("produce-errors");
                    broken.push(batch.partition);
                    failed.push((batch, Some(code)));
                }
            }
        }
        let lost = failed.iter().any(|(_, code)| code.is_none());
        unacked.extend(failed.into_iter().map(|(batch, _)| batch));
        if lost { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

fn conn_alive(failed: &[(Batch, Option<i16>)]) -> bool {
    failed.iter().all(|(_, code)| code.is_some())
}

fn request(batch: &Batch) -> ProduceRequest {
    let data =
        PartitionProduceData::default().with_index(batch.partition).with_records(Some(batch.bytes.clone()));
    let topic = TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![topic])
}
