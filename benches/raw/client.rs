//! One request at a time: what a run needs before and after the load.
//!
//! Owns: the encoding of a request frame, and the admin calls: API versions, topics, offsets.
//! Invariants: a call ends within [`CALL_TIMEOUT`]. Never: carries the measured load.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::answer::{AnswerError, check_code, decode};
use crate::frames::FrameReader;

const CLIENT_ID: &str = "tidegate-raw";
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const ADMIN_TIMEOUT_MS: i32 = 20_000;
const LEADER_POLL: Duration = Duration::from_millis(50);
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// ListOffsets' special timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Earliest = -2,
    Latest = -1,
}

#[derive(Clone, Debug)]
pub struct TopicIdentity {
    pub name: String,
    /// Nil from a broker without topic ids.
    pub id: uuid::Uuid,
}

#[derive(Clone, Debug)]
pub struct Topic {
    pub identity: TopicIdentity,
    /// Node by partition.
    pub leaders: Vec<i32>,
    /// `host:port` by node.
    pub addresses: BTreeMap<i32, String>,
}

/// A frame with its length, ready for the socket.
pub fn encode_frame<R: Encodable + HeaderVersion>(
    key: ApiKey,
    version: i16,
    correlation: i32,
    request: &R,
) -> Result<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let header_version = R::header_version(version);
    let size = header.compute_size(header_version)? + request.compute_size(version)?;
    let mut frame = BytesMut::with_capacity(4 + size);
    frame.put_i32(i32::try_from(size).context("a request above 2 GiB")?);
    header.encode(&mut frame, header_version)?;
    request.encode(&mut frame, version)?;
    Ok(frame.freeze())
}

pub struct Client {
    stream: TcpStream,
    reader: FrameReader,
    correlation: i32,
    versions: Vec<ApiVersion>,
}

impl Client {
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = timeout(CALL_TIMEOUT, TcpStream::connect(address))
            .await
            .with_context(|| format!("{address} does not answer"))?
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut client =
            Self { stream, reader: FrameReader::default(), correlation: 0, versions: Vec::new() };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let response = client.call(3, &request).await?;
        check_code("ApiVersions", "version 3", response.error_code, None)?;
        client.versions = response.api_keys;
        Ok(client)
    }

    /// The highest version within `ours` that the broker serves too.
    pub fn version(&self, key: ApiKey, ours: std::ops::RangeInclusive<i16>) -> Result<i16> {
        let theirs = self.versions.iter().find(|api| api.api_key == key as i16);
        let theirs = theirs.with_context(|| format!("the broker does not serve {key:?}"))?;
        let highest = theirs.max_version.min(*ours.end());
        ensure!(
            highest >= theirs.min_version.max(*ours.start()),
            "the broker serves {key:?} {} to {}, the generator {} to {}",
            theirs.min_version,
            theirs.max_version,
            ours.start(),
            ours.end()
        );
        Ok(highest)
    }

    /// The topic, created if it is missing, once each partition has a leader.
    pub async fn topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(String, String)],
    ) -> Result<Topic> {
        let deadline = tokio::time::Instant::now() + CALL_TIMEOUT;
        let mut created = false;
        loop {
            let metadata = self.metadata(name).await?;
            let found = metadata.topics.first().context("Metadata answered without the topic")?;
            if found.error_code == UNKNOWN_TOPIC_OR_PARTITION && !created {
                self.create_topic(name, partitions, configs).await?;
                created = true;
            } else if let Some(topic) = ready_topic(name, &metadata)? {
                ensure!(
                    topic.leaders.len() == partitions as usize,
                    "topic {name} has {} partitions, not {partitions}",
                    topic.leaders.len()
                );
                return Ok(topic);
            }
            ensure!(tokio::time::Instant::now() < deadline, "topic {name} has partitions without a leader");
            sleep(LEADER_POLL).await;
        }
    }

    pub async fn delete_topic(&mut self, name: &str) -> Result<()> {
        let version = self.version(ApiKey::DeleteTopics, 1..=5)?;
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(name)])
            .with_timeout_ms(ADMIN_TIMEOUT_MS);
        let response = self.call(version, &request).await?;
        let answer = response.responses.first().context("DeleteTopics answered without the topic")?;
        Ok(check_code("DeleteTopics", name, answer.error_code, answer.error_message.as_deref())?)
    }

    /// The offset at that end of each of `partitions`, all led by the broker this client talks to.
    ///
    /// A topic just created is in Metadata before its leader serves it, in Kafka for instance: that is waited for here,
    /// so that the load need not excuse any error.
    pub async fn offsets(&mut self, topic: &str, partitions: &[i32], end: End) -> Result<BTreeMap<i32, i64>> {
        let version = self.version(ApiKey::ListOffsets, 1..=7)?;
        let asked = partitions.iter().map(|&partition| {
            ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(end as i64)
        });
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![
            ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(asked.collect()),
        ]);
        let deadline = tokio::time::Instant::now() + CALL_TIMEOUT;
        loop {
            let response = self.call(version, &request).await?;
            match offsets_of(&response) {
                Ok(offsets) => {
                    ensure!(
                        partitions.iter().all(|p| offsets.contains_key(p)),
                        "ListOffsets left partitions out"
                    );
                    return Ok(offsets);
                }
                Err(AnswerError::Refused { code, .. })
                    if is_starting(code) && tokio::time::Instant::now() < deadline =>
                {
                    sleep(LEADER_POLL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(String, String)],
    ) -> Result<()> {
        let version = self.version(ApiKey::CreateTopics, 4..=7)?;
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(key.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(i32::try_from(partitions).expect("at most 100,000"))
            .with_replication_factor(-1)
            .with_configs(configs.collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(ADMIN_TIMEOUT_MS);
        let response = self.call(version, &request).await?;
        let answer = response.topics.first().context("CreateTopics answered without the topic")?;
        Ok(check_code("CreateTopics", name, answer.error_code, answer.error_message.as_deref())?)
    }

    async fn metadata(&mut self, name: &str) -> Result<MetadataResponse> {
        let version = self.version(ApiKey::Metadata, 4..=12)?;
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        self.call(version, &request).await
    }

    async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        let key = ApiKey::try_from(R::KEY).expect("kafka-protocol knows its own keys");
        timeout(CALL_TIMEOUT, self.exchange(key, version, request))
            .await
            .with_context(|| format!("{key:?} was not answered within {CALL_TIMEOUT:?}"))?
    }

    async fn exchange<R: Request>(&mut self, key: ApiKey, version: i16, request: &R) -> Result<R::Response> {
        self.correlation += 1;
        let frame = encode_frame(key, version, self.correlation, request)?;
        self.stream.write_all(&frame).await?;
        loop {
            if let Some(frame) = self.reader.next()? {
                return Ok(decode(name_of(key), version, self.correlation, frame)?);
            }
            if self.stream.read_buf(self.reader.room()?).await? == 0 {
                bail!("the broker closed the connection on {key:?} version {version}");
            }
        }
    }
}

/// The topic if each of its partitions has a leader.
fn ready_topic(name: &str, metadata: &MetadataResponse) -> Result<Option<Topic>> {
    let Some(found) = metadata.topics.first().filter(|topic| topic.error_code == 0) else { return Ok(None) };
    let mut leaders = vec![-1; found.partitions.len()];
    for partition in &found.partitions {
        let slot = usize::try_from(partition.partition_index).ok().and_then(|index| leaders.get_mut(index));
        *slot.with_context(|| format!("partition {} of {name}", partition.partition_index))? =
            partition.leader_id.0;
    }
    let addresses: BTreeMap<i32, String> = metadata
        .brokers
        .iter()
        .map(|broker| (broker.node_id.0, format!("{}:{}", broker.host, broker.port)))
        .collect();
    let ready = !leaders.is_empty() && leaders.iter().all(|node| addresses.contains_key(node));
    let identity = TopicIdentity { name: name.to_owned(), id: found.topic_id };
    Ok(ready.then_some(Topic { identity, leaders, addresses }))
}

fn offsets_of(response: &ListOffsetsResponse) -> Result<BTreeMap<i32, i64>, AnswerError> {
    let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
    answers
        .map(|answer| {
            let what = format!("partition {}", answer.partition_index);
            check_code("ListOffsets", &what, answer.error_code, None)?;
            Ok((answer.partition_index, answer.offset))
        })
        .collect()
}

fn is_starting(code: i16) -> bool {
    matches!(code, UNKNOWN_TOPIC_OR_PARTITION | LEADER_NOT_AVAILABLE | NOT_LEADER_OR_FOLLOWER)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn name_of(key: ApiKey) -> &'static str {
    match key {
        ApiKey::ApiVersions => "ApiVersions",
        ApiKey::Metadata => "Metadata",
        ApiKey::CreateTopics => "CreateTopics",
        ApiKey::DeleteTopics => "DeleteTopics",
        ApiKey::ListOffsets => "ListOffsets",
        _ => "request",
    }
}
