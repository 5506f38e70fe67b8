//! The Kafka surface: one table for ApiVersions and dispatch, one file per API family below.
//!
//! Owns: which keys are served, and how a request reaches its handler.
//! Invariants: a key is advertised iff it dispatches; versions are those of Kafka 4.1; anything else closes the
//! connection, as in Kafka, except an unknown ApiVersions version (KIP-511).
//! Never: waits for durability (that is the connection's writer), or lets input panic.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{self, ApiKey};
use kafka_protocol::protocol::{Encodable, StrBytes};
use thiserror::Error;
use tidegate_s3stream::budget::{MemoryPermit, Share};
use tidegate_wire::request::{self, RequestHead};
use tidegate_wire::response::{Frame, encode_response};
use tidegate_wire::versions::{self, ApiRange};

use crate::broker::Broker;
use crate::net::connection::Client;
use crate::release::Pending;

pub mod acls;
mod alter;
pub mod api_versions;
pub mod cluster;
pub mod configs;
pub mod delete_records;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elections;
pub mod errors;
pub mod fetch;
pub mod fetch_session;
pub mod find_coordinator;
pub mod group_admin;
mod groups;
pub mod init_producer_id;
pub mod leader_hints;
pub mod list_offsets;
pub mod membership;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod offsets;
pub mod produce;
pub mod topics;

/// What a handler gives back.
pub enum Answer {
    Now(Frame),
    /// An answer whose bytes draw on the memory budget until it is written.
    Held(Frame, Vec<MemoryPermit>),
    /// The answer is decided and leaves when the pending release is done.
    When(Arc<Pending>, Frame),
    /// Produce with acks=0.
    None,
}

/// The connection is closed without an answer.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Close(pub String);

impl Close {
    pub fn because(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// What the connection asks of the surface.
pub trait Handler: Send {
    /// Whether this request may start before those ahead of it are answered: Produce only.
    fn overlaps(&self, frame: &Bytes) -> bool;
    fn handle(&mut self, frame: Bytes) -> impl Future<Output = Result<Answer, Close>> + Send;
}

/// One request's head and where it came from.
pub struct Context<'a> {
    pub client: &'a Client,
    pub head: RequestHead,
}

impl Context<'_> {
    #[must_use]
    pub fn version(&self) -> i16 {
        self.head.api_version
    }

    /// Encodes an answer.
    ///
    /// # Errors
    /// A field the version does not know is a bug in the handler; the connection closes.
    pub fn answer<T: Encodable>(&self, response: &T) -> Result<Answer, Close> {
        self.frame(self.head.api_version, response).map(Answer::Now)
    }

    pub fn frame<T: Encodable>(&self, version: i16, response: &T) -> Result<Frame, Close> {
        encode_response(self.head.api_key, version, self.head.correlation_id, response).map_err(|e| {
            tracing::error!(api = self.head.api_key, version, error = %e, "an answer cannot be encoded");
            Close::because(e)
        })
    }
}

macro_rules! served {
    ($($key:ident: $request:ident => $handler:path),* $(,)?) => {
        /// Keys that dispatch, in key order.
        pub const SERVED: &[i16] = &[$(ApiKey::$key as i16),*];

        async fn dispatch(broker: &Arc<Broker>, context: &Context<'_>, body: Bytes) -> Result<Answer, Close> {
            let (key, version) = (context.head.api_key, context.head.api_version);
            match ApiKey::try_from(key) {
                $(Ok(ApiKey::$key) => {
                    let request: messages::$request = request::decode(key, version, body).map_err(Close::because)?;
                    $handler(broker, context, request).await
                })*
                _ => Err(Close(format!("api key {key} is not served"))),
            }
        }
    };
}

served! {
    Produce: ProduceRequest => produce::handle,
    Fetch: FetchRequest => fetch::handle,
    ListOffsets: ListOffsetsRequest => list_offsets::handle,
    Metadata: MetadataRequest => metadata::handle,
    OffsetCommit: OffsetCommitRequest => offsets::commit,
    OffsetFetch: OffsetFetchRequest => offsets::fetch,
    FindCoordinator: FindCoordinatorRequest => find_coordinator::handle,
    JoinGroup: JoinGroupRequest => membership::join,
    Heartbeat: HeartbeatRequest => membership::heartbeat,
    LeaveGroup: LeaveGroupRequest => membership::leave,
    SyncGroup: SyncGroupRequest => membership::sync,
    DescribeGroups: DescribeGroupsRequest => group_admin::describe,
    ListGroups: ListGroupsRequest => group_admin::list,
    ApiVersions: ApiVersionsRequest => api_versions::handle,
    CreateTopics: CreateTopicsRequest => topics::create,
    DeleteTopics: DeleteTopicsRequest => topics::delete,
    DeleteRecords: DeleteRecordsRequest => delete_records::handle,
    InitProducerId: InitProducerIdRequest => init_producer_id::handle,
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest => offset_for_leader_epoch::handle,
    DescribeAcls: DescribeAclsRequest => acls::describe,
    CreateAcls: CreateAclsRequest => acls::create,
    DeleteAcls: DeleteAclsRequest => acls::delete,
    DescribeConfigs: DescribeConfigsRequest => configs::describe,
    AlterConfigs: AlterConfigsRequest => configs::alter,
    DescribeLogDirs: DescribeLogDirsRequest => describe_log_dirs::handle,
    CreatePartitions: CreatePartitionsRequest => topics::create_partitions,
    DeleteGroups: DeleteGroupsRequest => group_admin::delete,
    ElectLeaders: ElectLeadersRequest => elections::elect,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => configs::incremental_alter,
    ListPartitionReassignments: ListPartitionReassignmentsRequest => elections::list_reassignments,
    OffsetDelete: OffsetDeleteRequest => offsets::delete,
    DescribeQuorum: DescribeQuorumRequest => describe_quorum::handle,
    DescribeCluster: DescribeClusterRequest => cluster::describe,
    DescribeProducers: DescribeProducersRequest => describe_producers::handle,
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest => group_admin::consumer_group_describe,
    ListConfigResources: ListConfigResourcesRequest => configs::list_resources,
    DescribeTopicPartitions: DescribeTopicPartitionsRequest => describe_topic_partitions::handle,
}

/// The ranges that ApiVersions gives.
pub fn served_ranges() -> impl Iterator<Item = ApiRange> {
    SERVED.iter().filter_map(|key| versions::range(*key))
}

fn is_served(key: i16, version: i16) -> bool {
    SERVED.contains(&key) && versions::range(key).is_some_and(|r| r.contains(version))
}

/// The surface as one connection sees it.
pub struct Surface {
    pub broker: Arc<Broker>,
    pub client: Client,
}

impl Handler for Surface {
    fn overlaps(&self, frame: &Bytes) -> bool {
        frame.get(..2) == Some(&[0, 0])
    }

    async fn handle(&mut self, mut frame: Bytes) -> Result<Answer, Close> {
        let received = frame.len();
        let head = request::parse_head(&mut frame).map_err(Close::because)?;
        let (key, version) = (head.api_key, head.api_version);
        let context = Context { client: &self.client, head };
        if !is_served(key, version) {
            if key == ApiKey::ApiVersions as i16 {
                return api_versions::unsupported_version(&context);
            }
            return Err(Close(format!("api key {key} version {version} is not served")));
        }
        let _queued = self.broker.queue(received).await;
        let _decoded = self.broker.storage.budget().acquire(Share::Requests, received as u64).await;
        let started_ns = self.broker.clock.monotonic_ns();
        let answer = dispatch(&self.broker, &context, frame).await;
        self.broker.note_request(key, received, started_ns, &answer);
        answer
    }
}

/// A static text for an answer.
#[must_use]
pub fn text(s: impl Into<String>) -> StrBytes {
    StrBytes::from_string(s.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_keys_are_in_order_and_known_to_kafka() {
        assert!(SERVED.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(served_ranges().count(), SERVED.len());
    }
}
