//! DescribeQuorum (key 55), v0 to v2. KIP-595, KIP-836 (timestamps, v1), KIP-853 (directory ids, listeners, v2).
//!
//! Behaviour: the metadata quorum as its leader sees it, under the name of Kafka's metadata log. The voter inside this
//! process has this broker's id. A voter of Kafka's fetches; ours are sent entries, and the library keeps no times of
//! that, so the leader's own are now and others' are unknown (-1). There are no log directories to tell voters apart by:
//! the zero id, as Kafka gives it with kraft.version 0.

use std::sync::Arc;

use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{
    BrokerId as WireBrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName,
};
use tidegate_common::BrokerId;
use tidegate_metadata::QuorumView;

use super::errors::Code;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;

const METADATA_LOG: &str = "__cluster_metadata";

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeQuorumRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let view = broker.metadata.quorum();
    let version = context.version();
    let (mut topics, mut described) = (Vec::new(), false);
    for topic in &request.topics {
        let is_log = topic.topic_name.as_str() == METADATA_LOG;
        let partitions = topic.partitions.iter().map(|asked| {
            let known = is_log && asked.partition_index == 0;
            described |= known;
            let found = if known { quorum(broker, &view, version) } else { unknown(version) };
            found.with_partition_index(asked.partition_index)
        });
        topics.push(
            TopicData::default()
                .with_topic_name(TopicName(topic.topic_name.0.clone()))
                .with_partitions(partitions.collect()),
        );
    }
    let mut response = DescribeQuorumResponse::default().with_topics(topics).with_error_message(None);
    if version >= 2 {
        response.error_message = Some(text(""));
        if described {
            response.nodes =
                view.members.iter().filter_map(|m| node(broker, id_of(broker, m.node))).collect();
        }
    }
    context.answer(&response)
}

fn unknown(version: i16) -> PartitionData {
    let why = "This server does not host this topic-partition.";
    PartitionData::default()
        .with_error_code(Code::UnknownTopicOrPartition.into())
        .with_error_message((version >= 2).then(|| text(why)))
        .with_leader_id(WireBrokerId(0))
}

fn quorum(broker: &Broker, view: &QuorumView, version: i16) -> PartitionData {
    let now_ms = broker.clock.wall_ms();
    let replica = |member: &tidegate_metadata::QuorumMember| {
        let at = if view.leader == Some(member.node) { now_ms } else { -1 };
        let state = ReplicaState::default()
            .with_replica_id(WireBrokerId(id_of(broker, member.node).0))
            .with_log_end_offset(member.log_end.map_or(-1, |end| i64::try_from(end).unwrap_or(i64::MAX)));
        if version >= 1 {
            state.with_last_fetch_timestamp(at).with_last_caught_up_timestamp(at)
        } else {
            state.with_last_fetch_timestamp(-1).with_last_caught_up_timestamp(-1)
        }
    };
    let (voters, observers): (Vec<_>, Vec<_>) = view.members.iter().partition(|m| m.voter);
    // Only the leader knows how far the others are.
    let here = view.leader == Some(broker.metadata.node());
    let code = if here { Code::None } else { Code::NotLeaderOrFollower };
    PartitionData::default()
        .with_error_code(code.into())
        .with_error_message((version >= 2).then(|| text("")))
        .with_leader_id(WireBrokerId(view.leader.map_or(-1, |leader| id_of(broker, leader).0)))
        .with_leader_epoch(i32::try_from(view.term).unwrap_or(i32::MAX))
        .with_high_watermark(i64::try_from(view.committed_end).unwrap_or(i64::MAX))
        .with_current_voters(voters.into_iter().map(replica).collect())
        .with_observers(observers.into_iter().map(replica).collect())
}

fn id_of(broker: &Broker, node: u64) -> BrokerId {
    if node == broker.metadata.node() {
        broker.node
    } else {
        BrokerId(i32::try_from(node).unwrap_or(i32::MAX))
    }
}

/// Where to reach a voter: it listens where its broker does.
fn node(broker: &Broker, id: BrokerId) -> Option<Node> {
    let image = broker.metadata.image();
    let listeners = image.broker(id)?.endpoints.iter().map(|e| {
        Listener::default()
            .with_name(text(e.listener.as_str()))
            .with_host(text(e.host.as_str()))
            .with_port(e.port)
    });
    Some(Node::default().with_node_id(WireBrokerId(id.0)).with_listeners(listeners.collect()))
}
