//! What the families of group requests share: which answer waits for what, and how a failure reads.

use std::sync::Arc;

use kafka_protocol::protocol::Encodable;

use super::errors::Code;
use super::{Answer, Close, Context};
use crate::broker::Broker;
use crate::coordinator::{After, Failure};

/// An answer that leaves when `after` is released. The lease is looked at once more: what was read before it lapsed
/// may have been another owner's to decide since.
pub(super) async fn answer<T: Encodable>(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    after: After,
    response: &T,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    Ok(Answer::When(after.pending(broker), context.frame(context.version(), response)?))
}

/// The code to answer with.
///
/// # Errors
/// The log is at its end, and with it the connection.
pub(super) fn code_of(failure: Failure) -> Result<Code, Close> {
    match failure {
        Failure::Code(code) => Ok(code),
        Failure::Dead => Err(Close("the log takes no more records".into())),
    }
}

/// 0, or Kafka's code.
pub(super) fn number<T>(outcome: &Result<T, tidegate_groups::GroupError>) -> i16 {
    outcome.as_ref().err().map_or(0, |error| error.code())
}
