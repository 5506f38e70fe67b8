//! DescribeCluster (key 60), v0 to v2. KIP-700, KIP-919 (endpoint type), KIP-1073 (fenced brokers).
//!
//! Behaviour: endpoint type 1 lists brokers; controllers (2) are not reached through a broker's listener.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId as WireBrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::errors::Code;
use super::metadata::{CLUSTER_OPERATIONS, OPERATIONS_UNASKED};
use super::{Answer, Close, Context, text};
use crate::broker::Broker;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub async fn describe(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeClusterRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let refused = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => {
            let why = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            Some((Code::MismatchedEndpointType, why.to_owned()))
        }
        other => Some((Code::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))),
    };
    if let Some((code, why)) = refused {
        let response = DescribeClusterResponse::default()
            .with_error_code(code.into())
            .with_error_message(Some(text(why)));
        return context.answer(&response);
    }
    let image = broker.metadata.image();
    let brokers = image
        .brokers()
        .filter(|b| !b.fenced || request.include_fenced_brokers)
        .filter_map(|b| {
            let endpoint = b.endpoints.iter().find(|e| *e.listener == *context.client.listener)?;
            let row = DescribeClusterBroker::default()
                .with_broker_id(WireBrokerId(b.id.0))
                .with_host(text(endpoint.host.as_str()))
                .with_port(endpoint.port.into())
                .with_rack(b.rack.as_deref().map(text));
            Some(if context.version() >= 2 { row.with_is_fenced(b.fenced) } else { row })
        })
        .collect();
    let response = DescribeClusterResponse::default()
        .with_cluster_id(text(broker.cluster_id()))
        .with_controller_id(WireBrokerId(broker.node.0))
        .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_UNASKED
        })
        .with_brokers(brokers);
    context.answer(&response)
}
