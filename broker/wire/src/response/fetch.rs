//! The Fetch answer, versions 4 to 18, with record batches spliced in.
//!
//! kafka-protocol holds a partition's records as one `Bytes`, ours are (head, body) pairs, so this one answer has an
//! encoder of its own. A property test holds it byte for byte to kafka-protocol's.
//!
//! Invariants: refuses what kafka-protocol refuses (a field set that the version lacks); records are empty, never null.
//! Left out: unknown tagged fields, which a broker has none of.

use bytes::BufMut;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, NodeEndpoint, PartitionData};
use kafka_protocol::protocol::Encodable;
use tidegate_common::{Batch, HEAD_LEN};
use uuid::Uuid;

use super::{COPY_BELOW, EncodeError, Frame, Rope};
use crate::varint::put_varint;

const FETCH: i16 = 1;
/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;
/// Upper bounds of what the fields around the records take, for the first reservation only.
const PARTITION_BYTES: usize = 96;
const TOPIC_BYTES: usize = 32;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchAnswer {
    pub throttle_time_ms: i32,
    /// From version 7.
    pub error_code: i16,
    /// From version 7; 0 before.
    pub session_id: i32,
    pub topics: Vec<TopicAnswer>,
    /// Sent from version 16 (KIP-951).
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicAnswer {
    /// Sent up to version 12.
    pub topic: TopicName,
    /// Sent from version 13.
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionAnswer>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionAnswer {
    /// All but the records; `data.records` is not read.
    pub data: PartitionData,
    /// In offset order.
    pub batches: Vec<Batch>,
}

impl PartitionAnswer {
    /// Bytes of all batches.
    #[must_use]
    pub fn records_len(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }
}

/// Encodes a Fetch answer.
///
/// # Errors
/// [`EncodeError`]
pub fn encode_fetch(version: i16, correlation_id: i32, answer: &FetchAnswer) -> Result<Frame, EncodeError> {
    if !(4..=18).contains(&version) {
        return Err(refused(version, "version is not served"));
    }
    let rope = Rope::begin(FETCH, version, correlation_id, copied_bytes(answer))?;
    let mut writer = Writer { rope, version, flexible: version >= FLEXIBLE };
    writer.answer(answer)?;
    writer.rope.finish()
}

fn copied_bytes(answer: &FetchAnswer) -> usize {
    let partition = |p: &PartitionAnswer| {
        let small = |b: &Batch| if b.body.len() < COPY_BELOW { b.body.len() } else { 0 };
        PARTITION_BYTES + p.batches.iter().map(|b| HEAD_LEN + small(b)).sum::<usize>()
    };
    let topic =
        |t: &TopicAnswer| TOPIC_BYTES + t.topic.len() + t.partitions.iter().map(partition).sum::<usize>();
    answer.topics.iter().map(topic).sum()
}

fn refused(version: i16, message: &str) -> EncodeError {
    EncodeError::Encoder { key: FETCH, version, message: message.into() }
}

const ABSENT: &str = "a field is set that the version does not have";

struct Writer {
    rope: Rope,
    version: i16,
    flexible: bool,
}

impl Writer {
    fn answer(&mut self, answer: &FetchAnswer) -> Result<(), EncodeError> {
        self.rope.open.put_i32(answer.throttle_time_ms);
        if self.version >= 7 {
            self.rope.open.put_i16(answer.error_code);
            self.rope.open.put_i32(answer.session_id);
        } else if answer.session_id != 0 {
            return Err(refused(self.version, ABSENT));
        }
        self.count(answer.topics.len())?;
        for topic in &answer.topics {
            self.topic(topic)?;
        }
        if !self.flexible {
            return Ok(());
        }
        if self.version < 16 || answer.node_endpoints.is_empty() {
            self.rope.open.put_u8(0);
            return Ok(());
        }
        self.rope.open.put_u8(1);
        let mut endpoints = Vec::new();
        put_varint(&mut endpoints, compact(answer.node_endpoints.len())?);
        for endpoint in &answer.node_endpoints {
            endpoint
                .encode(&mut endpoints, self.version)
                .map_err(|e| refused(self.version, &e.to_string()))?;
        }
        self.rope.open.put_u8(0);
        put_varint(&mut self.rope.open, size_u32(endpoints.len())?);
        self.rope.open.put_slice(&endpoints);
        Ok(())
    }

    fn topic(&mut self, topic: &TopicAnswer) -> Result<(), EncodeError> {
        if self.version >= 13 {
            self.rope.open.put_slice(topic.topic_id.as_bytes());
        } else if self.flexible {
            put_varint(&mut self.rope.open, compact(topic.topic.len())?);
            self.rope.open.put_slice(topic.topic.as_bytes());
        } else {
            let len =
                i16::try_from(topic.topic.len()).map_err(|_| refused(self.version, "topic is too long"))?;
            self.rope.open.put_i16(len);
            self.rope.open.put_slice(topic.topic.as_bytes());
        }
        self.count(topic.partitions.len())?;
        for partition in &topic.partitions {
            self.partition(partition)?;
        }
        if self.flexible {
            self.rope.open.put_u8(0);
        }
        Ok(())
    }

    fn partition(&mut self, partition: &PartitionAnswer) -> Result<(), EncodeError> {
        let data = &partition.data;
        self.rope.open.put_i32(data.partition_index);
        self.rope.open.put_i16(data.error_code);
        self.rope.open.put_i64(data.high_watermark);
        self.rope.open.put_i64(data.last_stable_offset);
        if self.version >= 5 {
            self.rope.open.put_i64(data.log_start_offset);
        }
        self.aborted(data.aborted_transactions.as_deref())?;
        if self.version >= 11 {
            self.rope.open.put_i32(data.preferred_read_replica.0);
        } else if data.preferred_read_replica.0 != -1 {
            return Err(refused(self.version, ABSENT));
        }
        self.records(partition)?;
        if self.flexible { self.partition_tags(data) } else { Ok(()) }
    }

    fn aborted(&mut self, aborted: Option<&[AbortedTransaction]>) -> Result<(), EncodeError> {
        let Some(aborted) = aborted else {
            if self.flexible {
                self.rope.open.put_u8(0)
            } else {
                self.rope.open.put_i32(-1)
            }
            return Ok(());
        };
        self.count(aborted.len())?;
        for transaction in aborted {
            self.rope.open.put_i64(transaction.producer_id.0);
            self.rope.open.put_i64(transaction.first_offset);
            if self.flexible {
                self.rope.open.put_u8(0);
            }
        }
        Ok(())
    }

    fn records(&mut self, partition: &PartitionAnswer) -> Result<(), EncodeError> {
        let len = partition.records_len();
        if len > i32::MAX as usize {
            return Err(EncodeError::TooLarge(len));
        }
        self.count(len)?;
        for batch in &partition.batches {
            self.rope.open.put_slice(&batch.head.0);
            self.rope.splice(&batch.body);
        }
        Ok(())
    }

    fn partition_tags(&mut self, data: &PartitionData) -> Result<(), EncodeError> {
        let set = [
            data.diverging_epoch != Default::default(),
            data.current_leader != Default::default(),
            data.snapshot_id != Default::default(),
        ];
        self.rope.open.put_u8(set.iter().map(|s| u8::from(*s)).sum());
        if set[0] {
            self.tag(0, &data.diverging_epoch)?;
        }
        if set[1] {
            self.tag(1, &data.current_leader)?;
        }
        if set[2] {
            self.tag(2, &data.snapshot_id)?;
        }
        Ok(())
    }

    fn tag<T: Encodable>(&mut self, tag: u8, value: &T) -> Result<(), EncodeError> {
        let failed = |e| EncodeError::Encoder { key: FETCH, version: self.version, message: format!("{e}") };
        let size = value.compute_size(self.version).map_err(failed)?;
        self.rope.open.put_u8(tag);
        put_varint(&mut self.rope.open, size_u32(size)?);
        value.encode(&mut self.rope.open, self.version).map_err(failed)
    }

    /// The count of an array or the length of the records.
    fn count(&mut self, n: usize) -> Result<(), EncodeError> {
        if self.flexible {
            put_varint(&mut self.rope.open, compact(n)?);
        } else {
            self.rope.open.put_i32(i32::try_from(n).map_err(|_| EncodeError::TooLarge(n))?);
        }
        Ok(())
    }
}

fn compact(n: usize) -> Result<u32, EncodeError> {
    size_u32(n + 1)
}

fn size_u32(n: usize) -> Result<u32, EncodeError> {
    u32::try_from(n).map_err(|_| EncodeError::TooLarge(n))
}
