//! Who leads a partition that was asked of the wrong broker, or under an old epoch: KIP-951, Produce v10 and Fetch v16.
//!
//! Invariants: a hint names a live owner, and where it is reached on the listener that was asked. Without one there is
//! no hint, and the client asks for metadata, as before the KIP.

use kafka_protocol::messages::BrokerId as WireBrokerId;
use kafka_protocol::messages::fetch_response::{self, PartitionData};
use kafka_protocol::messages::produce_response::{self, PartitionProduceResponse};
use kafka_protocol::protocol::StrBytes;
use tidegate_common::TopicId;
use tidegate_metadata::Image;
use tidegate_wire::response::FetchAnswer;

use super::errors::Code;
use super::text;

struct Leader {
    id: WireBrokerId,
    epoch: i32,
    host: StrBytes,
    port: i32,
    rack: Option<StrBytes>,
}

fn leader(image: &Image, topic: TopicId, index: i32, listener: &str) -> Option<Leader> {
    let row = image.partition(topic, index)?;
    let owner = row.owner.filter(|owner| image.is_live(owner.incarnation))?;
    let broker = image.broker(owner.broker)?;
    let endpoint = broker.endpoints.iter().find(|e| e.listener == listener)?;
    Some(Leader {
        id: WireBrokerId(owner.broker.0),
        epoch: row.leader_epoch.0,
        host: text(endpoint.host.as_str()),
        port: endpoint.port.into(),
        rack: broker.rack.as_deref().map(text),
    })
}

/// Adds the hint to one refused partition of a Produce answer, and the leader's address to the answer's.
pub fn in_produce(
    image: &Image,
    topic: TopicId,
    listener: &str,
    partition: &mut PartitionProduceResponse,
    endpoints: &mut Vec<produce_response::NodeEndpoint>,
) {
    if partition.error_code != i16::from(Code::NotLeaderOrFollower) {
        return;
    }
    let Some(leader) = leader(image, topic, partition.index, listener) else { return };
    partition.current_leader = produce_response::LeaderIdAndEpoch::default()
        .with_leader_id(leader.id)
        .with_leader_epoch(leader.epoch);
    if endpoints.iter().all(|e| e.node_id != leader.id) {
        endpoints.push(
            produce_response::NodeEndpoint::default()
                .with_node_id(leader.id)
                .with_host(leader.host)
                .with_port(leader.port)
                .with_rack(leader.rack),
        );
    }
}

/// Adds the hints to the refused partitions of a Fetch answer, which names topics by id.
pub fn in_fetch(image: &Image, listener: &str, answer: &mut FetchAnswer) {
    let refused = |data: &PartitionData| {
        [Code::NotLeaderOrFollower, Code::FencedLeaderEpoch].map(i16::from).contains(&data.error_code)
    };
    for topic in &mut answer.topics {
        for data in topic.partitions.iter_mut().map(|p| &mut p.data).filter(|data| refused(data)) {
            let Some(leader) = leader(image, topic.topic_id, data.partition_index, listener) else {
                continue;
            };
            data.current_leader = fetch_response::LeaderIdAndEpoch::default()
                .with_leader_id(leader.id)
                .with_leader_epoch(leader.epoch);
            if answer.node_endpoints.iter().all(|e| e.node_id != leader.id) {
                answer.node_endpoints.push(
                    fetch_response::NodeEndpoint::default()
                        .with_node_id(leader.id)
                        .with_host(leader.host)
                        .with_port(leader.port)
                        .with_rack(leader.rack),
                );
            }
        }
    }
}
