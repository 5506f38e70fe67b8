//! A client without sockets: requests go to the real handlers of a broker composed over simulated seams.
//!
//! Owns: encoding, decoding, and the check that an answer is wholly that of the version asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidegate_broker::api::{Answer, Close, Handler, Surface};
use tidegate_broker::broker::Broker;
use tidegate_broker::net::connection::Client;
use tidegate_common::{Batch, Offset};
use tidegate_wire::records::{Codec, RecordsBuilder};
use tidegate_wire::versions;
use tokio::task::JoinHandle;

use crate::sim::broker::compose;
use crate::sim::history::History;
use crate::sim::plan::Plan;
use crate::sim::world::World;

pub struct Peer {
    pub surface: Surface,
    /// Each (key, version) that was answered.
    pub seen: BTreeSet<(i16, i16)>,
    pub client_id: &'static str,
}

#[must_use]
pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

#[must_use]
pub fn name(s: &str) -> TopicName {
    TopicName(text(s))
}

/// Spawns the loops of a broker: what ends them is its last words.
pub fn run_loops(broker: &Arc<Broker>) -> JoinHandle<String> {
    tokio::spawn(tidegate_broker::start::run_loops(Arc::clone(broker)))
}

impl Peer {
    /// A broker of its own, with nothing in it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn new() -> Self {
        Self::over(&World::new(1, &Plan::calm(), History::new())).await
    }

    /// A client of the next life of the world's broker. Dropping the runtime ends that life, like a SIGKILL.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn over(world: &Arc<World>) -> Self {
        let peer = Self::before_its_loops(world).await;
        run_loops(&peer.surface.broker);
        peer
    }

    /// As `over`, with a broker whose loops do not run yet: nothing is loaded, released or renewed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn before_its_loops(world: &Arc<World>) -> Self {
        Self::of(compose(world).await.expect("starts"))
    }

    /// Whether the coordinator of every group is loaded.
    #[must_use]
    pub fn loaded(&self) -> bool {
        let coordinator = &self.surface.broker.coordinator;
        !coordinator.shards().is_empty() && coordinator.stats().2 == 0
    }

    /// Another client of the same broker.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::of(Arc::clone(&self.surface.broker))
    }

    fn of(broker: Arc<Broker>) -> Self {
        let client = Client { listener: "PLAINTEXT".into(), host: [127, 0, 0, 1].into() };
        Self { surface: Surface { broker, client }, seen: BTreeSet::new(), client_id: "test" }
    }

    /// Sends a body as it stands. `None`: no answer is given.
    ///
    /// # Errors
    /// Why the connection would be closed.
    ///
    /// Boxed, so that the handlers are compiled here once and not in every test.
    pub fn raw<'a>(
        &'a mut self,
        key: i16,
        version: i16,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<Option<Bytes>, Close>> {
        Box::pin(self.send(key, version, body))
    }

    async fn send(&mut self, key: i16, version: i16, body: &[u8]) -> Result<Option<Bytes>, Close> {
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(text(self.client_id)));
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, versions::request_header_version(key, version).expect("known"))
            .expect("encodes");
        frame.extend_from_slice(body);
        let frame = match self.surface.handle(frame.freeze()).await? {
            Answer::Now(frame) | Answer::Held(frame, _) => frame,
            Answer::When(pending, frame) => {
                assert!(pending.done().await, "released");
                frame
            }
            Answer::None => return Ok(None),
        };
        Ok(Some(frame.chunks.concat().into()))
    }

    /// Asks and decodes.
    ///
    /// # Panics
    /// When the connection would be closed, or the answer is not of that version.
    pub async fn call<Q: Encodable, A: Decodable>(&mut self, key: i16, version: i16, request: &Q) -> A {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap_or_else(|e| panic!("key {key} version {version}: {e}"));
        let answer = self.raw(key, version, &body).await;
        let mut answer =
            answer.unwrap_or_else(|e| panic!("key {key} version {version}: {e}")).expect("an answer");
        let len = usize::try_from(answer.get_i32()).expect("a length");
        assert_eq!(len, answer.len(), "key {key} version {version}: the length is that of the answer");
        assert_eq!(answer.get_i32(), 7);
        if versions::response_header_version(key, version) == Some(1) {
            assert_eq!(answer.get_u8(), 0);
        }
        let decoded =
            A::decode(&mut answer, version).unwrap_or_else(|e| panic!("key {key} version {version}: {e}"));
        assert!(answer.is_empty(), "key {key} version {version}: {} bytes are left", answer.len());
        self.seen.insert((key, version));
        decoded
    }

    /// # Panics
    /// When there is no such topic.
    #[must_use]
    pub fn topic_id(&self, topic: &str) -> uuid::Uuid {
        self.surface.broker.metadata.image().topic_by_name(topic).expect("created").id
    }
}

/// Has the world's clock walk with tokio's, which a test may have paused.
pub fn walk(world: &World) {
    const STEP_MS: u64 = 10;
    let clock = Arc::clone(&world.clock);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
            clock.set_ms(clock.ms() + STEP_MS);
        }
    });
}

/// Versions of a served key.
///
/// # Panics
/// When it is not served.
#[must_use]
pub fn all(key: i16) -> std::ops::RangeInclusive<i16> {
    let range = versions::range(key).expect("served");
    range.min..=range.max
}

/// One record of this time.
#[must_use]
pub fn batch(timestamp: i64) -> Batch {
    let mut records = RecordsBuilder::new(Codec::None);
    records.push(timestamp, None, Some(b"value"), &[]);
    records.build(Offset(0))
}

#[must_use]
pub fn bytes_of(batch: &Batch) -> Bytes {
    let mut bytes = BytesMut::new();
    batch.write_to(&mut bytes);
    bytes.freeze()
}

/// A Produce request (up to v12) of one batch.
#[must_use]
pub fn produce(topic: &str, partition: i32, batch: &Batch, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(bytes_of(batch)));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_transactional_id(None).with_acks(acks).with_topic_data(vec![topic])
}
