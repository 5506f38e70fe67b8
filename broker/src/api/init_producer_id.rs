//! InitProducerId (key 22), v0 to v5: idempotent producers (KIP-98, KIP-360).
//!
//! Behaviour: without a transactional id always a new producer id with epoch 0, from a block that the quorum gave.
//! Left out: transactional ids are refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client treats as
//! fatal, until transactions are served.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::errors::{Code, of_proposal};
use super::{Answer, Close, Context};
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: InitProducerIdRequest,
) -> Result<Answer, Close> {
    let id_given = request.producer_id.0 != -1;
    let epoch_given = request.producer_epoch != -1;
    let outcome = match &request.transactional_id {
        Some(id) if id.is_empty() => Err(Code::InvalidRequest),
        Some(_) => Err(Code::TransactionalIdAuthorizationFailed),
        None if id_given != epoch_given => Err(Code::InvalidRequest),
        None => broker.producer_ids.next(broker).await.map_err(|e| of_proposal(&e)),
    };
    let response = match outcome {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(code) => InitProducerIdResponse::default()
            .with_error_code(code.into())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    };
    context.answer(&response)
}
