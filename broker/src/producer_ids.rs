//! Producer ids for this broker, in blocks from the quorum.
//!
//! Invariants: an id is given at most once, ever: the quorum never gives a block twice, and what is left of a block
//! dies with the process. Never: counts on its own.

use tidegate_metadata::{Command, ProposeError, Response};

use crate::broker::Broker;

/// As many as Kafka's brokers take at once.
const BLOCK: u32 = 1000;

#[derive(Debug, Default)]
pub struct ProducerIds {
    left: tokio::sync::Mutex<std::ops::Range<i64>>,
}

impl ProducerIds {
    /// # Errors
    /// When a new block is needed and the quorum does not answer.
    pub async fn next(&self, broker: &Broker) -> Result<i64, ProposeError> {
        let mut left = self.left.lock().await;
        if let Some(id) = left.next() {
            return Ok(id);
        }
        let command = Command::AllocateProducerIds { incarnation: broker.incarnation, count: BLOCK };
        match broker.metadata.propose_one(command).await? {
            Response::ProducerIds { first, count } => {
                *left = first + 1..first + i64::from(count);
                Ok(first)
            }
            other => {
                Err(ProposeError::Unknown(format!("the quorum answered with something else: {other:?}")))
            }
        }
    }
}
