//! A correct idempotent producer: it retries for ever, in order, as real ones do, and repeats what it was answered.
//!
//! Invariants checked: I2, I3, W7; it feeds the oracle with P1, P3, P4.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ProduceResponse;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_wire::records::Codec;
use tokio::time::sleep;

use super::super::history::Value;
use super::super::wire::Conn;
use super::super::world::World;
use super::super::{rules, sometimes};
use super::{
    NOT_ENOUGH_REPLICAS, OUT_OF_ORDER, PARTITIONS, PRODUCE, RETRIABLE, Sniffed, create_topic, encode,
    produce, producer_id, topic,
};

const PIPELINE: usize = 3;
/// Batches that a broker must remember.
const REMEMBERED: usize = 5;
const SNIFFED_MAX: usize = 400;

struct Batch {
    partition: i32,
    values: Vec<Value>,
    sequence: i32,
    bytes: Bytes,
}

/// A batch with its answer, and the life that gave it.
struct Acked {
    batch: Batch,
    base: i64,
    life: u64,
}

pub struct Producer {
    n: u32,
    world: Arc<World>,
    random: SeededRandom,
    id: Option<(i64, i16)>,
    sequences: BTreeMap<i32, i32>,
    next: u64,
    recent: BTreeMap<i32, VecDeque<Acked>>,
    sniffed: Sniffed,
    /// Partitions that still get a last batch after the faults.
    last: Vec<i32>,
}

impl Producer {
    pub fn new(n: u32, world: &Arc<World>, sniffed: Sniffed) -> Self {
        Self {
            n,
            world: Arc::clone(world),
            random: SeededRandom::new(world.seed ^ (u64::from(n) << 40) ^ 0xC11E),
            id: None,
            sequences: BTreeMap::new(),
            next: 0,
            recent: BTreeMap::new(),
            sniffed,
            last: (0..PARTITIONS).collect(),
        }
    }

    pub async fn run(mut self) {
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
                let repeats = unacked.is_empty() && self.random.below(3) == 0;
                self.refill(&mut unacked);
                let done = unacked.is_empty();
                if (repeats || done) && self.repeat(&mut conn).await.is_err() {
                    break;
                }
                if done {
                    return;
                }
                if self.exchange(&mut conn, &mut unacked).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(self.random.below(self.world.sizes.idle_ms))).await;
            }
            sleep(Duration::from_millis(50 + self.random.below(200))).await;
        }
    }

    /// New batches while the run wants them; then a last one for each partition, so that each is seen to accept.
    fn refill(&mut self, unacked: &mut Vec<Batch>) {
        let wanted = 1 + self.random.below(PIPELINE as u64) as usize;
        while unacked.len() < wanted && self.world.clock.ms() < self.world.produce_until_ms {
            let partition = i32::try_from(self.random.below(PARTITIONS as u64)).expect("small");
            unacked.push(self.draw(partition));
        }
        if unacked.is_empty()
            && let Some(partition) = self.last.pop()
        {
            unacked.push(self.draw(partition));
        }
    }

    async fn connect(&mut self) -> io::Result<Conn> {
        let mut conn = Conn::open().await?;
        create_topic(&mut conn, topic(), PARTITIONS).await?;
        if self.id.is_none() {
            self.id = Some(producer_id(&mut conn, &self.world).await?);
        }
        Ok(conn)
    }

    fn draw(&mut self, partition: i32) -> Batch {
        let count = 1 + self.random.below(4);
        let (id, epoch) = self.id.expect("connected");
        let sequence = *self.sequences.entry(partition).or_default();
        let codec = if self.random.below(3) == 0 { Codec::Lz4 } else { Codec::None };
        let mut records = Vec::new();
        for _ in 0..count {
            records.push(((self.n, self.next), self.random.below(self.world.sizes.pad_max) as usize));
            self.next += 1;
        }
        let bytes = encode(&self.world, codec, (id, epoch, sequence), partition, &records);
        self.sequences.insert(partition, sequence + i32::try_from(count).expect("small"));
        let values = records.into_iter().map(|(value, _)| value).collect();
        Batch { partition, values, sequence, bytes }
    }

    /// Sends all unacknowledged batches in order, pipelined, and takes the answers in order.
    async fn exchange(&mut self, conn: &mut Conn, unacked: &mut Vec<Batch>) -> io::Result<()> {
        for batch in unacked.iter() {
            self.sniff(batch);
            conn.send(PRODUCE, 9, &produce(topic(), batch.partition, batch.bytes.clone())).await?;
        }
        let mut failed = Vec::new();
        let mut broken: Vec<i32> = Vec::new();
        let mut lost = None;
        for batch in unacked.drain(..) {
            let answer: io::Result<ProduceResponse> = match lost {
                None => conn.receive().await,
                Some(kind) => Err(io::Error::from(kind)),
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    lost = Some(error.kind());
                    failed.push(batch);
                    continue;
                }
            };
            let part = &answer.responses[0].partition_responses[0];
            if part.error_code == 0 {
                self.acked(batch, part.base_offset);
                continue;
            }
            let follows = part.error_code == OUT_OF_ORDER && broken.contains(&batch.partition);
            if !follows && !RETRIABLE.contains(&part.error_code) {
                let rule = if part.error_code == OUT_OF_ORDER { rules::I3 } else { rules::W7 };
                let why = format!(
                    "batch {:?} of sequence {} was refused with {} {:?}",
                    batch.values, batch.sequence, part.error_code, part.error_message
                );
                self.world.history.violate(&rule, &why);
            }
            if part.error_code == NOT_ENOUGH_REPLICAS {
                self.world.history.count(sometimes::BACK_PRESSURE);
            }
            self.world.history.count("produce-errors");
            broken.push(batch.partition);
            failed.push(batch);
        }
        let refused = !broken.is_empty();
        unacked.extend(failed);
        if let Some(kind) = lost {
            return Err(kind.into());
        }
        if refused {
            sleep(Duration::from_millis(50 + self.random.below(100))).await;
        }
        Ok(())
    }

    fn acked(&mut self, batch: Batch, base: i64) {
        self.world.history.count("acks");
        self.world.history.acked(batch.partition, base, &batch.values);
        let recent = self.recent.entry(batch.partition).or_default();
        recent.push_back(Acked { batch, base, life: self.world.life() });
        if recent.len() > REMEMBERED {
            recent.pop_front();
        }
    }

    fn sniff(&self, batch: &Batch) {
        let mut sniffed = self.sniffed.lock();
        if sniffed.len() < SNIFFED_MAX {
            sniffed.push((batch.partition, batch.bytes.clone()));
        } else {
            let at = self.random.below(SNIFFED_MAX as u64) as usize;
            sniffed[at] = (batch.partition, batch.bytes.clone());
        }
    }

    /// Sends one of the last five acknowledged batches of a partition again, while nothing else is in flight.
    async fn repeat(&mut self, conn: &mut Conn) -> io::Result<()> {
        let pick = self.random.below(PARTITIONS as u64 * REMEMBERED as u64);
        let partition = i32::try_from(pick % PARTITIONS as u64).expect("small");
        let Some(recent) = self.recent.get(&partition).filter(|r| !r.is_empty()) else { return Ok(()) };
        let acked = &recent[pick as usize % recent.len()];
        let request = produce(topic(), partition, acked.batch.bytes.clone());
        let answer: ProduceResponse = conn.call(PRODUCE, 9, &request).await?;
        let part = &answer.responses[0].partition_responses[0];
        match part.error_code {
            0 if part.base_offset == acked.base => {
                self.world.history.count("repeats");
                if self.world.life() > acked.life {
                    self.world.history.count(sometimes::DUPLICATE_AFTER_FAILOVER);
                }
            }
            code if RETRIABLE.contains(&code) => {}
            // A later life reads no batch below the log start, so it does not know this one any more.
            OUT_OF_ORDER if self.world.history.may_be_deleted(partition, acked.base) => {}
            code => {
                let why = format!(
                    "a repeat of {:?}, acknowledged at {} of partition {partition}, was answered {code}, offset {}",
                    acked.batch.values, acked.base, part.base_offset
                );
                self.world.history.violate(&rules::I2, &why);
            }
        }
        Ok(())
    }
}
