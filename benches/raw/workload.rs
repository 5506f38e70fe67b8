//! What the requests of a connection ask for, and what their answers must be.
//!
//! Owns: the two workloads. A workload queues the bytes of a request and gives a ticket; the answer is checked against
//! the ticket. Answers come in the order of the requests.
//! Never: knows about time or sockets.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::answer::{AnswerError, Counted, check_fetch, check_produce, decode, read_batches};
use crate::batch::LoadBatch;
use crate::client::{TopicIdentity, encode_frame};
use crate::frames::SendQueue;

/// How long a produce request may take on the broker before it answers with REQUEST_TIMED_OUT.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
/// Where a frame holds its correlation id: after length, API key and version.
const CORRELATION_AT: usize = 8;

pub trait Workload {
    type Ticket;

    /// Queues the next request. Called only while fewer than the agreed number are unanswered.
    fn request(&mut self, correlation: i32, out: &mut SendQueue) -> Self::Ticket;

    fn answer(
        &mut self,
        correlation: i32,
        ticket: Self::Ticket,
        frame: Bytes,
    ) -> Result<Counted, AnswerError>;
}

/// One batch a request, to the connection's partitions in turn.
pub struct Produce {
    version: i16,
    batch: LoadBatch,
    /// Per partition the frame up to the batch, in the order of use.
    heads: Vec<(i32, Bytes)>,
    /// The frame after the batch, the same for all.
    tail: Bytes,
    turn: usize,
    last_offsets: BTreeMap<i32, i64>,
}

impl Produce {
    pub fn new(
        version: i16,
        topic: &TopicIdentity,
        partitions: &[i32],
        batch: LoadBatch,
    ) -> anyhow::Result<Self> {
        let mut tail = Bytes::new();
        let mut heads = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            let data =
                PartitionProduceData::default().with_index(partition).with_records(Some(batch.bytes.clone()));
            let request = ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(PRODUCE_TIMEOUT_MS)
                .with_topic_data(vec![
                    TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]),
                ]);
            let frame = encode_frame(ApiKey::Produce, version, 0, &request)?;
            let at = frame
                .windows(batch.bytes.len())
                .position(|window| window == &batch.bytes[..])
                .expect("the frame holds the batch");
            heads.push((partition, frame.slice(..at)));
            tail = frame.slice(at + batch.bytes.len()..);
        }
        Ok(Self { version, batch, heads, tail, turn: 0, last_offsets: BTreeMap::new() })
    }
}

impl Workload for Produce {
    type Ticket = i32;

    fn request(&mut self, correlation: i32, out: &mut SendQueue) -> i32 {
        let (partition, head) = &self.heads[self.turn];
        self.turn = (self.turn + 1) % self.heads.len();
        let mut numbered = BytesMut::from(&head[..]);
        numbered[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
        out.push(numbered.freeze());
        out.push(self.batch.bytes.clone());
        out.push(self.tail.clone());
        *partition
    }

    fn answer(&mut self, correlation: i32, partition: i32, frame: Bytes) -> Result<Counted, AnswerError> {
        let response: ProduceResponse = decode("Produce", self.version, correlation, frame)?;
        let got = check_produce(&response, partition)?;
        let earlier = self.last_offsets.insert(partition, got).unwrap_or(-1);
        if got <= earlier {
            return Err(AnswerError::Order { partition, earlier, got });
        }
        Ok(Counted { records: u64::from(self.batch.records), bytes: self.batch.bytes.len() as u64 })
    }
}

/// Where a reader goes when it has reached the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// Back to the log's start.
    Cycle,
    /// Nowhere: the broker answers once there is more.
    Tail,
}

#[derive(Clone, Copy)]
pub struct FetchShape {
    pub version: i16,
    pub max_bytes: i32,
    pub max_wait_ms: i32,
    pub at_end: AtEnd,
    pub verify_crc: bool,
}

/// A reader of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub partition: i32,
    pub offset: i64,
}

/// One partition a request, without a fetch session. Each cursor has at most one request out, since the next offset is
/// known only from the answer; so a connection has as many cursors as requests in flight.
pub struct Fetch {
    shape: FetchShape,
    request: FetchRequest,
    idle: VecDeque<Cursor>,
}

impl Fetch {
    pub fn new(shape: FetchShape, topic: &TopicIdentity, cursors: Vec<Cursor>) -> Self {
        let partition = FetchPartition::default().with_partition_max_bytes(shape.max_bytes);
        let topic = FetchTopic::default()
            .with_topic(topic_name(topic))
            .with_topic_id(topic.id)
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(shape.max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(shape.max_bytes)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        Self { shape, request, idle: cursors.into() }
    }
}

impl Workload for Fetch {
    type Ticket = Cursor;

    fn request(&mut self, correlation: i32, out: &mut SendQueue) -> Cursor {
        let cursor = self.idle.pop_front().expect("there is a cursor for each request in flight");
        let partition = &mut self.request.topics[0].partitions[0];
        partition.partition = cursor.partition;
        partition.fetch_offset = cursor.offset;
        let frame = encode_frame(ApiKey::Fetch, self.shape.version, correlation, &self.request)
            .expect("the same request was encoded when the run began, with other numbers");
        out.push(frame);
        cursor
    }

    fn answer(&mut self, correlation: i32, cursor: Cursor, frame: Bytes) -> Result<Counted, AnswerError> {
        let response: FetchResponse = decode("Fetch", self.shape.version, correlation, frame)?;
        let answer = check_fetch(response, cursor.partition)?;
        let records = answer.records.unwrap_or_default();
        let (next, counted) = read_batches(records, cursor.partition, cursor.offset, self.shape.verify_crc)?;
        let offset = match self.shape.at_end {
            AtEnd::Cycle if next >= answer.high_watermark => answer.log_start_offset.max(0),
            AtEnd::Cycle | AtEnd::Tail => next,
        };
        self.idle.push_back(Cursor { offset, ..cursor });
        Ok(counted)
    }
}

fn topic_name(topic: &TopicIdentity) -> TopicName {
    TopicName(StrBytes::from_string(topic.name.clone()))
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
