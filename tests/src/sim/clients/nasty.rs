//! The nasty client: it does what no correct client does, and must hurt nobody but itself.
//!
//! Owns: its own producer ids and topics. What it sends to the shared topic is told to the oracle: acknowledged,
//! refused, or unknown.
//! Invariants checked: I3 (bad sequences), P6 (what is refused), epochs; that nobody else is hurt, by everyone else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, FetchResponse, InitProducerIdResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_common::random::{Random, SeededRandom};
use tidegate_wire::records::Codec;
use tokio::time::sleep;

use super::super::history::Value;
use super::super::wire::Conn;
use super::super::world::World;
use super::super::{rules, sometimes};
use super::reader::{delete_topic, fetch};
use super::{
    CORRUPT_MESSAGE, DELETED_FROM, FENCED_LEADER_EPOCH, FETCH, INIT_PRODUCER_ID, INVALID_PRODUCER_EPOCH,
    NASTY, OFFSET_FOR_LEADER_EPOCH, OUT_OF_ORDER, PRODUCE, RETRIABLE, Sniffed, UNKNOWN_LEADER_EPOCH,
    ask_producer_id, create_topic, encode, produce, producer_id, topic,
};

/// Its values are not those of any correct producer.
const VALUES_OF: u32 = 100;
const IDLE_CONNECTIONS_MAX: usize = 6;
/// More than a block of producer ids.
const STORM: u32 = 1_050;

pub struct Nasty {
    world: Arc<World>,
    random: SeededRandom,
    sniffed: Sniffed,
    next: u64,
    /// Connections that are kept and not used.
    idle: Vec<Conn>,
    topics: u64,
    stormed: bool,
}

/// How a batch to the shared topic ended.
enum End {
    Acked,
    Refused(i16),
    Unknown,
}

impl Nasty {
    pub fn new(world: &Arc<World>, sniffed: Sniffed) -> Self {
        Self {
            world: Arc::clone(world),
            random: SeededRandom::new(world.seed ^ 0x0BAD_0BAD),
            sniffed,
            next: 0,
            idle: Vec::new(),
            topics: 0,
            stormed: false,
        }
    }

    pub async fn run(mut self) {
        while self.world.clock.ms() < self.world.produce_until_ms {
            // What fails here fails this client alone.
            let _ = self.act().await;
            sleep(Duration::from_millis(20 + self.random.below(4 * self.world.sizes.idle_ms))).await;
        }
        self.idle.clear();
        for n in 0..self.topics {
            while delete_topic(noise(n)).await.is_err() {
                sleep(Duration::from_millis(200)).await;
            }
        }
    }

    async fn act(&mut self) -> io::Result<()> {
        match self.random.below(12) {
            0 => self.bad_sequence().await,
            1 => self.old_producer_epoch().await,
            2 | 3 => self.late_repeat().await,
            4 => self.leader_epochs().await,
            5 => self.epochs_of_offsets().await,
            6 => self.cut_mid_frame().await,
            7 => self.cut_mid_answer().await,
            8 => self.half_open().await,
            9 => self.unread().await,
            10 => self.garbage().await,
            _ => self.noise().await,
        }
    }

    fn partition(&self) -> i32 {
        i32::try_from(self.random.below(DELETED_FROM as u64)).expect("small")
    }

    fn value(&mut self) -> Value {
        self.next += 1;
        (VALUES_OF, self.next)
    }

    /// Sends one record with these numbers; what becomes of it is told to the oracle.
    async fn send(&mut self, conn: &mut Conn, ids: (i64, i16, i32), partition: i32) -> io::Result<End> {
        let value = self.value();
        let bytes = encode(&self.world, Codec::None, ids, partition, &[(value, 30)]);
        let answer: ProduceResponse = conn.call(PRODUCE, 9, &produce(topic(), partition, bytes)).await?;
        let part = &answer.responses[0].partition_responses[0];
        Ok(match part.error_code {
            0 => {
                self.world.history.acked(partition, part.base_offset, &[value]);
                End::Acked
            }
            // A timeout is neither success nor failure.
            7 => End::Unknown,
            code => {
                self.world.history.refused(&[value]);
                End::Refused(code)
            }
        })
    }

    fn expect(&self, end: &End, code: i16, label: &'static str, what: &str) {
        match end {
            End::Refused(got) if *got == code => self.world.history.count(label),
            End::Refused(got) if RETRIABLE.contains(got) => {}
            End::Unknown => {}
            End::Refused(got) => {
                self.world.history.violate(&rules::I3, &format!("{what} was refused with {got}, not {code}"));
            }
            End::Acked => self.world.history.violate(&rules::I3, &format!("{what} was taken")),
        }
    }

    /// A batch that leaves a gap, and one of the past.
    async fn bad_sequence(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let (id, epoch) = producer_id(&mut conn, &self.world).await?;
        let partition = self.partition();
        if !matches!(self.send(&mut conn, (id, epoch, 0), partition).await?, End::Acked) {
            return Ok(());
        }
        let gap = 2 + i32::try_from(self.random.below(1_000)).expect("small");
        let end = self.send(&mut conn, (id, epoch, gap), partition).await?;
        self.expect(&end, OUT_OF_ORDER, sometimes::BAD_SEQUENCE, "a batch with a gap in its sequence");
        Ok(())
    }

    async fn old_producer_epoch(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let (id, _) = producer_id(&mut conn, &self.world).await?;
        let partition = self.partition();
        if !matches!(self.send(&mut conn, (id, 3, 0), partition).await?, End::Acked) {
            return Ok(());
        }
        if self.random.below(2) == 0 {
            drop(conn);
            sleep(Duration::from_millis(self.random.below(8_000))).await;
            conn = Conn::open().await?;
        }
        let end = self.send(&mut conn, (id, 2, 0), partition).await?;
        let what = "a batch of an old producer epoch";
        self.expect(&end, INVALID_PRODUCER_EPOCH, sometimes::OLD_PRODUCER_EPOCH, what);
        Ok(())
    }

    /// A request of somebody else, from long ago or from just now, on a new connection. Taken once more, it would be a
    /// value at two offsets.
    async fn late_repeat(&mut self) -> io::Result<()> {
        let picked = {
            let sniffed = self.sniffed.lock();
            let at = self.random.below(sniffed.len().max(1) as u64) as usize;
            sniffed.get(at).cloned()
        };
        let Some((partition, bytes)) = picked else { return Ok(()) };
        let mut conn = Conn::open().await?;
        conn.send(PRODUCE, 9, &produce(topic(), partition, bytes)).await?;
        self.world.history.count(sometimes::LATE_REPEAT);
        if self.random.below(4) > 0 {
            let _: ProduceResponse = conn.receive().await?;
        }
        Ok(())
    }

    fn asked(&self, partition: i32, current: i32, last: i32) -> FetchPartition {
        FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(current)
            .with_last_fetched_epoch(last)
            .with_log_start_offset(-1)
            .with_fetch_offset(0)
            .with_partition_max_bytes(8 << 10)
    }

    /// Fetches under a stale leader epoch and one to come.
    async fn leader_epochs(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let partition = self.partition();
        let old = i32::try_from(self.random.below(2)).expect("small");
        for (current, code, label) in [
            (old, FENCED_LEADER_EPOCH, sometimes::FENCED_FETCH),
            (1_000_000 - old, UNKNOWN_LEADER_EPOCH, sometimes::UNKNOWN_EPOCH),
        ] {
            let ask = fetch(vec![self.asked(partition, current, -1)]);
            let answer: FetchResponse = conn.call(FETCH, 12, &ask).await?;
            let Some(got) = answer.responses.first().and_then(|t| t.partitions.first()) else { continue };
            let bytes = got.records.as_ref().map_or(0, Bytes::len);
            if got.error_code == code {
                self.world.history.count(label);
            }
            // Before the first crash the old epoch may be the current one.
            let may_be_current = code == FENCED_LEADER_EPOCH;
            if (got.error_code == 0 && !may_be_current) || (got.error_code != 0 && bytes > 0) {
                let why = format!(
                    "a fetch under epoch {current} was answered {} and {bytes} bytes",
                    got.error_code
                );
                self.world.history.violate(&rules::F8, &why);
            }
        }
        Ok(())
    }

    async fn epochs_of_offsets(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let epoch = i32::try_from(self.random.below(1 << 22)).expect("small");
        for (current, code, label) in [
            (0, FENCED_LEADER_EPOCH, sometimes::FENCED_FETCH),
            (1 << 21, UNKNOWN_LEADER_EPOCH, sometimes::UNKNOWN_EPOCH),
        ] {
            let asked = OffsetForLeaderPartition::default()
                .with_partition(self.partition())
                .with_current_leader_epoch(current)
                .with_leader_epoch(epoch);
            let topics =
                vec![OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(vec![asked])];
            let ask =
                OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
            let answer: OffsetForLeaderEpochResponse = conn.call(OFFSET_FOR_LEADER_EPOCH, 4, &ask).await?;
            let got = answer.topics.first().and_then(|t| t.partitions.first()).map_or(3, |p| p.error_code);
            if got == code {
                self.world.history.count(label);
            } else if got == 0 && code == UNKNOWN_LEADER_EPOCH {
                self.world
                    .history
                    .violate(&rules::F8, &format!("epoch {current} to come was answered {got}"));
            }
        }
        Ok(())
    }

    async fn cut_mid_frame(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let value = self.value();
        let partition = self.partition();
        let bytes = encode(&self.world, Codec::None, (-1, -1, -1), partition, &[(value, 400)]);
        let frame = Conn::frame_of(PRODUCE, 9, 1, &produce(topic(), partition, bytes))?;
        let cut = 1 + self.random.below(frame.len() as u64 - 1) as usize;
        // Half a request is none.
        conn.raw(&frame[..cut]).await?;
        self.world.history.refused(&[value]);
        self.world.history.count("cut-mid-frame");
        sleep(Duration::from_millis(self.random.below(300))).await;
        Ok(())
    }

    async fn cut_mid_answer(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let ask = fetch(vec![self.asked(self.partition(), -1, -1)]);
        conn.send(FETCH, 12, &ask).await?;
        conn.swallow(1 + self.random.below(200) as usize).await?;
        self.world.history.count("cut-mid-answer");
        Ok(())
    }

    async fn half_open(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        if self.random.below(2) == 0 {
            // What closes it never arrives.
            self.world.ask_cut(NASTY, 200 + self.random.below(2_000));
            sleep(Duration::from_millis(20)).await;
            self.world.history.count(sometimes::HALF_OPEN);
            return Ok(());
        }
        let _ = conn.raw(&[0, 0]).await;
        self.world.history.count(sometimes::HALF_OPEN);
        self.keep(conn);
        Ok(())
    }

    fn keep(&mut self, conn: Conn) {
        self.idle.push(conn);
        if self.idle.len() > IDLE_CONNECTIONS_MAX {
            self.idle.remove(0);
        }
    }

    /// Requests whose answers nobody takes.
    async fn unread(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        for _ in 0..200 {
            let ask = fetch((0..DELETED_FROM).map(|p| self.asked(p, -1, -1)).collect());
            let frame = Conn::frame_of(FETCH, 12, 1, &ask)?;
            let sent = tokio::time::timeout(Duration::from_millis(200), conn.raw(&frame)).await;
            if !matches!(sent, Ok(Ok(()))) {
                self.world.history.count(sometimes::UNREAD_ANSWERS);
                break;
            }
        }
        self.keep(conn);
        Ok(())
    }

    /// Bytes that are no request, and a batch whose CRC is wrong.
    async fn garbage(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let frames: [&[u8]; 4] = [
            &[0xff; 8],
            &[0x7f, 0xff, 0xff, 0xff, 0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 12, 0, 3, 0, 9, 0, 0, 0, 1, 0, 0, 0x7f, 0xff],
        ];
        if self.random.below(2) == 0 {
            conn.raw(frames[self.random.below(4) as usize]).await?;
            let _ = conn.swallow(64).await;
            return Ok(());
        }
        let value = self.value();
        let partition = self.partition();
        let bytes = encode(&self.world, Codec::None, (-1, -1, -1), partition, &[(value, 60)]);
        let mut spoiled = BytesMut::from(&bytes[..]);
        let at = 21 + self.random.below(spoiled.len() as u64 - 21) as usize;
        spoiled[at] ^= 1 << self.random.below(8);
        let answer: ProduceResponse =
            conn.call(PRODUCE, 9, &produce(topic(), partition, spoiled.freeze())).await?;
        let code = answer.responses[0].partition_responses[0].error_code;
        if code == 0 {
            self.world.history.violate(&rules::P9, "a batch with a wrong CRC was taken");
        } else {
            self.world.history.refused(&[value]);
            if code == CORRUPT_MESSAGE {
                self.world.history.count("corrupt-refused");
            }
        }
        Ok(())
    }

    /// Topics that come, hold little, and go; and more producer ids than a block holds.
    async fn noise(&mut self) -> io::Result<()> {
        if self.world.pid_storm && !self.stormed {
            return self.storm().await;
        }
        let mut conn = Conn::open().await?;
        if self.topics > 0 && self.random.below(2) == 0 {
            return delete_topic(noise(self.random.below(self.topics))).await;
        }
        let name = noise(self.topics);
        self.topics += 1;
        create_topic(&mut conn, name.clone(), 1 + i32::try_from(self.random.below(3)).expect("small"))
            .await?;
        for _ in 0..self.random.below(5) {
            // Of no interest to the oracle: nobody reads it.
            let mut builder = tidegate_wire::records::RecordsBuilder::new(Codec::None);
            let now_ms = tidegate_common::clock::Clock::wall_ms(&*self.world.clock);
            builder.push(now_ms, None, Some(&vec![7; self.random.below(3_000) as usize]), &[]);
            let mut bytes = BytesMut::new();
            builder.build(tidegate_common::Offset(0)).write_to(&mut bytes);
            let _: ProduceResponse = conn.call(PRODUCE, 9, &produce(name.clone(), 0, bytes.freeze())).await?;
        }
        Ok(())
    }

    async fn storm(&mut self) -> io::Result<()> {
        let mut conn = Conn::open().await?;
        let life = self.world.life();
        let mut left = STORM;
        while left > 0 {
            let n = left.min(10);
            for _ in 0..n {
                conn.send(INIT_PRODUCER_ID, 4, &ask_producer_id()).await?;
            }
            for _ in 0..n {
                let given: InitProducerIdResponse = conn.receive().await?;
                if given.error_code == 0 {
                    self.world.history.producer_id(given.producer_id.0);
                }
            }
            left -= n;
        }
        self.stormed = true;
        if self.world.life() == life {
            self.world.history.count(sometimes::PID_BLOCK_EXHAUSTED);
        }
        Ok(())
    }
}

fn noise(n: u64) -> TopicName {
    TopicName(StrBytes::from_string(format!("noise-{n}")))
}
