//! DescribeLogDirs (key 35), v1 to v4. KIP-113, KIP-827 (total and usable bytes, v4).
//!
//! Behaviour: one log directory per broker, named as `data.dir` is, with the partitions that it owns: each is reported
//! by one broker only, so that sums over brokers are true. A size is that of the records from the log start on, in the
//! bucket and in the WAL; total and usable bytes are those of the WAL's place, or -1. Partitions that are not owned
//! here are passed over, as in Kafka.
//! A partition whose size cannot be read at the moment makes the directory answer KAFKA_STORAGE_ERROR: no size is made up.

use std::sync::Arc;

use futures::StreamExt;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use tidegate_metadata::Image;
use tidegate_metadata::rows::Topic;

use super::errors::Code;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;
use crate::partition::Partition;

/// Partitions whose sizes are looked up at once: where footers are not cached, each is a read from the bucket.
const LOOKUPS: usize = 16;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: DescribeLogDirsRequest,
) -> Result<Answer, Close> {
    broker.lease.wait_valid().await;
    let image = broker.metadata.image();
    let wanted: Vec<(Arc<str>, Vec<Arc<Partition>>)> = match &request.topics {
        None => image.topics().map(|t| owned(broker, &image, t, None)).collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|a| Some(owned(broker, &image, image.topic_by_name(&a.topic)?, Some(&a.partitions))))
            .collect(),
    };
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(text(broker.config.data_dir.display().to_string()))
        .with_total_bytes(-1)
        .with_usable_bytes(-1);
    for (name, partitions) in wanted {
        if partitions.is_empty() {
            continue;
        }
        let mut answer = DescribeLogDirsTopic::default().with_name(TopicName(text(&*name)));
        let mut sizes = futures::stream::iter(partitions.into_iter().map(described)).buffered(LOOKUPS);
        while let Some(size) = sizes.next().await {
            match size {
                Some(partition) => answer.partitions.push(partition),
                None => result.error_code = Code::KafkaStorageError.into(),
            }
        }
        result.topics.push(answer);
    }
    if result.error_code != 0 {
        result.topics.clear();
    }
    if let Some(space) = broker.medium.space().await {
        result.total_bytes = i64::try_from(space.total).unwrap_or(i64::MAX);
        result.usable_bytes = i64::try_from(space.usable).unwrap_or(i64::MAX);
    }
    if context.version() < 4 {
        (result.total_bytes, result.usable_bytes) = (-1, -1);
    }
    context.answer(&DescribeLogDirsResponse::default().with_results(vec![result]))
}

/// The partitions of a topic that this broker owns, or those of them that are asked for.
fn owned(
    broker: &Broker,
    image: &Image,
    topic: &Topic,
    asked: Option<&[i32]>,
) -> (Arc<str>, Vec<Arc<Partition>>) {
    let all = (0..).take(topic.partitions.len());
    let open = |index| broker.partitions.get(image, topic.id, index).ok();
    let partitions = match asked {
        None => all.filter_map(open).collect(),
        Some(asked) => all.filter(|index| asked.contains(index)).filter_map(open).collect(),
    };
    (Arc::clone(&topic.name), partitions)
}

async fn described(partition: Arc<Partition>) -> Option<DescribeLogDirsPartition> {
    match partition.stream().size().await {
        Ok(size) => Some(
            DescribeLogDirsPartition::default()
                .with_partition_index(partition.index())
                .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX)),
        ),
        Err(error) => {
            tracing::warn!(stream = partition.stream_id().0, %error, "the size of a partition is not known");
            None
        }
    }
}
