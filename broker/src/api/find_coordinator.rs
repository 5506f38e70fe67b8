//! FindCoordinator (key 10), v0 to v6. KIP-699 (several keys, v4), KIP-890 and KIP-932 (no change for groups).
//!
//! Behaviour: the coordinator of a group is the owner of its partition of `__consumer_offsets`, at its address on the
//! listener that was asked. The first request creates that topic, as in Kafka; here the answer waits for it.
//! Left out: coordinators of transactions (TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client takes as final) and
//! of share groups (INVALID_REQUEST), until they are served.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId as WireBrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use tidegate_metadata::rows::Endpoint;

use super::errors::Code;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::internal_topics::{CONSUMER_OFFSETS, create_consumer_offsets, partition_of};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// From here on, one request asks for several coordinators.
const BATCHED_FROM: i16 = 4;

/// Texts of these codes as Kafka's clients show them.
const TRANSACTIONS_NOT_SERVED: &str = "Transactions are not served by this broker yet.";
const NOT_AVAILABLE: &str = "The coordinator is not available.";
const INVALID_KEY_TYPE: &str = "There is no coordinator for this key type.";

struct Found {
    node: i32,
    host: String,
    port: u16,
}

type Outcome = Result<Found, (Code, &'static str)>;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: FindCoordinatorRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let listener = &context.client.listener;
    if context.version() < BATCHED_FROM {
        let response = match find(broker, listener, request.key_type, &request.key).await {
            Ok(found) => FindCoordinatorResponse::default()
                .with_error_message(Some(text("NONE")))
                .with_node_id(WireBrokerId(found.node))
                .with_host(text(found.host))
                .with_port(found.port.into()),
            Err((code, why)) => FindCoordinatorResponse::default()
                .with_error_code(code.into())
                .with_error_message(Some(text(why)))
                .with_node_id(WireBrokerId(-1))
                .with_port(-1),
        };
        let response = if context.version() == 0 { response.with_error_message(None) } else { response };
        return context.answer(&response);
    }
    let mut response = FindCoordinatorResponse::default();
    for key in request.coordinator_keys {
        let outcome = find(broker, listener, request.key_type, &key).await;
        let answer = Coordinator::default().with_key(key);
        response.coordinators.push(match outcome {
            Ok(found) => answer
                .with_node_id(WireBrokerId(found.node))
                .with_host(text(found.host))
                .with_port(found.port.into()),
            Err((code, why)) => answer
                .with_error_code(code.into())
                .with_error_message(Some(text(why)))
                .with_node_id(WireBrokerId(-1))
                .with_port(-1),
        });
    }
    context.answer(&response)
}

async fn find(broker: &Arc<Broker>, listener: &str, key_type: i8, key: &str) -> Outcome {
    match key_type {
        GROUP => {
            if let Err(error) = create_consumer_offsets(broker).await {
                tracing::warn!(topic = CONSUMER_OFFSETS, %error, "the topic could not be created");
            }
            group(broker, listener, key).ok_or((Code::CoordinatorNotAvailable, NOT_AVAILABLE))
        }
        TRANSACTION => Err((Code::TransactionalIdAuthorizationFailed, TRANSACTIONS_NOT_SERVED)),
        _ => Err((Code::InvalidRequest, INVALID_KEY_TYPE)),
    }
}

fn group(broker: &Broker, listener: &str, key: &str) -> Option<Found> {
    let image = broker.metadata.image();
    let topic = image.topic_by_name(CONSUMER_OFFSETS)?;
    let index = partition_of(key, i32::try_from(topic.partitions.len()).ok()?);
    let owner = image.partition(topic.id, index)?.owner.filter(|o| image.is_live(o.incarnation))?;
    let named = |e: &&Endpoint| e.listener == listener;
    let endpoint = image.broker(owner.broker)?.endpoints.iter().find(named)?;
    Some(Found { node: owner.broker.0, host: endpoint.host.clone(), port: endpoint.port })
}
