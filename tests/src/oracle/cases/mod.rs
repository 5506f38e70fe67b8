//! The cases: scenarios of requests, each run alike against both brokers.
//!
//! Invariants: a scenario names the keys it needs, makes its own topics and groups, and asks in one order. A request
//! may name the fields of every version: those that a version does not have are not sent.

use std::pin::Pin;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_common::{Batch, Offset};
use tidegate_wire::records::{Codec, RecordsBuilder};

use super::codec::hex;
use super::talk::Talk;

mod admin;
mod bad_input;
mod configs;
mod fetch;
mod groups;
mod offsets;
mod produce;
mod topics;
mod versions;

pub struct Scenario {
    pub name: &'static str,
    /// Keys without which it tells nothing.
    pub keys: &'static [i16],
    pub run: Run,
}

pub type Run = for<'a> fn(&'a mut Talk) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

macro_rules! scenarios {
    ($($name:literal [$($key:literal),*] $path:path;)*) => {
        vec![$(Scenario { name: $name, keys: &[$($key),*], run: |talk| Box::pin($path(talk)) }),*]
    };
}

/// In the order in which they run: what looks at the whole cluster comes before what fills it.
pub fn all() -> Vec<Scenario> {
    scenarios! {
        "api-versions" [18] versions::api_versions;
        "metadata" [3, 19] versions::metadata;
        "describe-cluster" [60] versions::describe_cluster;
        "create-topics" [19] topics::create;
        "create-partitions" [37] topics::create_partitions;
        "delete-topics" [20] topics::delete;
        "produce" [0] produce::every_version;
        "produce-refused" [0] produce::refused;
        "idempotent" [0, 22] produce::idempotent;
        "init-producer-id" [22] produce::init_producer_id;
        "list-offsets" [2] offsets::list_offsets;
        "leader-epoch" [23] offsets::leader_epoch;
        "delete-records" [21] offsets::delete_records;
        "fetch" [1] fetch::every_version;
        "fetch-refused" [1] fetch::refused;
        "fetch-session" [1] fetch::sessions;
        "topic-configs" [32] configs::describe_topic;
        "incremental-alter" [44] configs::incremental_alter;
        "alter-configs" [33] configs::alter;
        "broker-configs" [32] admin::broker_configs;
        "topic-partitions" [75] admin::topic_partitions;
        "log-dirs" [35] admin::log_dirs;
        "elect-leaders" [43] admin::elect_leaders;
        "reassignments" [46] admin::reassignments;
        "quorum" [55] admin::quorum;
        "producers" [61] admin::producers;
        "rights" [29, 30, 31] admin::rights;
        "alter-broker" [33, 44] admin::alter_broker;
        "config-resources" [74] admin::config_resources;
        "find-coordinator" [10] groups::find_coordinator;
        "find-transaction-coordinator" [10] groups::find_transaction_coordinator;
        "group-life" [8, 9, 10, 11, 12, 13, 14, 15, 16, 42] groups::life;
        "group-refused" [8, 9, 10, 11, 12, 13, 14, 15, 16, 42] groups::refused;
        "group-rebalance" [8, 9, 10, 11, 12, 13, 14, 15] groups::rebalance;
        "group-static" [8, 9, 10, 11, 12, 13, 14, 15] groups::static_members;
        "group-crowded" [9, 10, 11, 12, 13, 15] groups::too_many;
        "offset-delete" [8, 9, 10, 11, 13, 14, 47] groups::delete_offsets;
        "consumer-group-describe" [9, 10, 11, 14, 69] groups::consumer_group_describe;
        "internal-topic" [9, 10] groups::internal_topic;
        "bad-input" [3] bad_input::all;
    }
}

/// A time that the topics of these cases keep: they have no retention.
pub const TIME: i64 = 1_700_000_000_000;

/// Creates a topic that is kept for ever, and waits until it has leaders. Gives its id.
pub async fn create(
    talk: &mut Talk,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<String> {
    let mut list = vec![json!({"Name": "retention.ms", "Value": "-1"})];
    list.extend(configs.iter().map(|(name, value)| json!({"Name": name, "Value": value})));
    let topic = json!({
        "Name": name, "NumPartitions": partitions, "ReplicationFactor": 1, "Configs": list,
    });
    let answer = talk.quiet(19, 7, json!({"Topics": [topic], "TimeoutMs": 10_000})).await?;
    anyhow::ensure!(answer["Topics"][0]["ErrorCode"] == 0, "{name}: {answer}");
    ready(talk, name, partitions).await
}

/// Waits until each partition of a topic has a leader. Gives the topic's id.
pub async fn ready(talk: &mut Talk, name: &str, partitions: i32) -> Result<String> {
    let ask = json!({"Topics": [{"Name": name}], "AllowAutoTopicCreation": false});
    let led = |answer: &Value| {
        let list = answer["Topics"][0]["Partitions"].as_array();
        let led = list.into_iter().flatten().filter(|p| p["ErrorCode"] == 0 && p["LeaderId"] != -1);
        led.count() == partitions as usize
    };
    let answer = talk.until(name, 3, 12, ask, led).await?;
    Ok(answer["Topics"][0]["TopicId"].as_str().unwrap_or_default().to_owned())
}

/// One batch of a record for each time, as hexadecimal text.
pub fn batch(times: &[i64]) -> String {
    bytes_of(&records(Codec::None, times).build(Offset(0)))
}

pub fn records(codec: Codec, times: &[i64]) -> RecordsBuilder {
    let mut records = RecordsBuilder::new(codec);
    for time in times {
        records.push(*time, Some(b"key"), Some(b"value"), &[]);
    }
    records
}

pub fn bytes_of(batch: &Batch) -> String {
    let mut bytes = Vec::new();
    batch.write_to(&mut bytes);
    hex(&bytes)
}

/// Writes records quietly, and waits until Kafka's metadata cache lets them in.
pub async fn write(talk: &mut Talk, topic: &str, partition: i32, records: &str) -> Result<i64> {
    let ask = produce_request(topic, "", &[(partition, Some(records))], -1);
    let part = |answer: &Value| answer["Responses"][0]["PartitionResponses"][0].clone();
    let answer =
        talk.until(topic, 0, 12, ask, |a| part(a)["ErrorCode"] != 3 && part(a)["ErrorCode"] != 6).await?;
    anyhow::ensure!(part(&answer)["ErrorCode"] == 0, "{topic}: {answer}");
    Ok(part(&answer)["BaseOffset"].as_i64().unwrap_or(-1))
}

pub fn produce_request(topic: &str, id: &str, parts: &[(i32, Option<&str>)], acks: i16) -> Value {
    let parts: Vec<Value> =
        parts.iter().map(|(index, records)| json!({"Index": index, "Records": records})).collect();
    json!({
        "Acks": acks,
        "TimeoutMs": 10_000,
        "TopicData": [{"Name": topic, "TopicId": id_or_null(id), "PartitionData": parts}],
    })
}

/// An id for a request; null, which is the zero id, when it is not known.
pub fn id_or_null(id: &str) -> Value {
    if id.is_empty() { Value::Null } else { json!(id) }
}

/// An id that no topic has.
pub const NO_ID: &str = "00000000-0000-4000-8000-0000000000aa";
