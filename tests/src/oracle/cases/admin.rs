//! What tools ask: configs of brokers, log directories, elections, reassignments, the quorum, producers, rights.

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_common::Offset;
use tidegate_wire::records::Codec;

use super::{TIME, bytes_of, create, records, write};
use crate::talk::Talk;

const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

fn resource(kind: i8, name: &str) -> Value {
    json!({"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": null})
}

pub async fn broker_configs(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(32) {
        let ask = |resource: Value, synonyms: bool| json!({"Resources": [resource], "IncludeSynonyms": synonyms, "IncludeDocumentation": v >= 3});
        talk.ask("of the broker", 32, v, ask(resource(BROKER, "1"), false)).await?;
        talk.ask("of the broker with synonyms", 32, v, ask(resource(BROKER, "1"), true)).await?;
        talk.ask("of all brokers", 32, v, ask(resource(BROKER, ""), false)).await?;
        talk.ask("of another broker", 32, v, ask(resource(BROKER, "7"), false)).await?;
        talk.ask("of what is no broker", 32, v, ask(resource(BROKER, "one"), false)).await?;
        talk.ask("of another broker's loggers", 32, v, ask(resource(LOGGER, "7"), false)).await?;
        talk.ask("of what is no broker's loggers", 32, v, ask(resource(LOGGER, "one"), false)).await?;
        talk.ask("of client metrics", 32, v, ask(resource(CLIENT_METRICS, "none"), false)).await?;
        talk.ask("of client metrics without a name", 32, v, ask(resource(CLIENT_METRICS, ""), false)).await?;
        talk.ask("of a group", 32, v, ask(resource(GROUP, "a-group"), false)).await?;
        talk.ask("of a group without a name", 32, v, ask(resource(GROUP, ""), false)).await?;
        let keys = json!(["message.max.bytes", "log.retention.ms", "no.such.key", "node.id"]);
        let some = json!({"ResourceType": BROKER, "ResourceName": "1", "ConfigurationKeys": keys});
        talk.ask("some of the broker", 32, v, ask(some, true)).await?;
    }
    Ok(())
}

pub async fn alter_broker(talk: &mut Talk) -> Result<()> {
    for (key, versions) in [(44, talk.versions(44)), (33, talk.versions(33))] {
        for v in versions {
            let change = |kind: i8, name: &str, config: &str, how: i8, value: Option<&str>| {
                let mut entry = json!({"Name": config, "Value": value});
                if key == 44 {
                    entry["ConfigOperation"] = json!(how);
                }
                json!({"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": [entry]}]})
            };
            let label = |what: &str| format!("{what} by {key}");
            talk.ask(
                &label("another broker"),
                key,
                v,
                change(BROKER, "7", "log.cleaner.threads", 0, Some("2")),
            )
            .await?;
            talk.ask(
                &label("what is no broker"),
                key,
                v,
                change(BROKER, "one", "log.cleaner.threads", 0, Some("2")),
            )
            .await?;
            talk.ask(&label("a read-only config"), key, v, change(BROKER, "1", "node.id", 0, Some("2")))
                .await?;
            talk.ask(&label("an unknown config"), key, v, change(BROKER, "1", "no.such.key", 0, Some("2")))
                .await?;
            talk.ask(
                &label("a wrong value"),
                key,
                v,
                change(BROKER, "1", "log.retention.ms", 0, Some("soon")),
            )
            .await?;
            let mut only = change(BROKER, "1", "log.retention.ms", 0, Some("600000"));
            only["ValidateOnly"] = json!(true);
            talk.ask(&label("validate only"), key, v, only).await?;
            talk.ask(
                &label("client metrics"),
                key,
                v,
                change(CLIENT_METRICS, "m", "interval.ms", 0, Some("soon")),
            )
            .await?;
            talk.ask(&label("a group"), key, v, change(GROUP, "g", "no.such.key", 0, Some("1"))).await?;
            talk.ask(
                &label("a group without a name"),
                key,
                v,
                change(GROUP, "", "consumer.session.timeout.ms", 0, Some("50000")),
            )
            .await?;
        }
    }
    // A change of a dynamic config shows, with its source, and goes when it is taken back.
    let set = |name: &str, how: i8, value: Option<&str>| {
        let entry = json!({"Name": "log.retention.ms", "ConfigOperation": how, "Value": value});
        json!({"Resources": [{"ResourceType": BROKER, "ResourceName": name, "Configs": [entry]}]})
    };
    let told = |name: &str| {
        let keys = json!(["log.retention.ms"]);
        let resource = json!({"ResourceType": BROKER, "ResourceName": name, "ConfigurationKeys": keys});
        json!({"Resources": [resource], "IncludeSynonyms": true})
    };
    for (label, name) in [("of the broker", "1"), ("of all brokers", "")] {
        talk.ask(&format!("sets a config {label}"), 44, 1, set(name, 0, Some("1234567890"))).await?;
        let is = |a: &Value| a["Results"][0]["Configs"][0]["Value"] == "1234567890";
        if talk.until(label, 32, 4, told("1"), is).await.is_ok() {
            talk.ask(&format!("after it was set {label}"), 32, 4, told("1")).await?;
            talk.ask(&format!("of all after it was set {label}"), 32, 4, told("")).await?;
        }
        talk.ask(&format!("takes it back {label}"), 44, 1, set(name, 1, None)).await?;
        let is_not = |a: &Value| a["Results"][0]["Configs"][0]["Value"] != "1234567890";
        talk.until(label, 32, 4, told("1"), is_not).await?;
        talk.ask(&format!("after it was taken back {label}"), 32, 4, told("1")).await?;
    }
    Ok(())
}

pub async fn config_resources(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(74) {
        // v0 knows client metrics alone.
        talk.ask("by default", 74, v, json!({})).await?;
        if v >= 1 {
            for kind in [2, BROKER, LOGGER, CLIENT_METRICS, GROUP] {
                let ask = json!({"ResourceTypes": [kind]});
                talk.ask(&format!("of type {kind}"), 74, v, ask).await?;
            }
            talk.ask("of an unknown type", 74, v, json!({"ResourceTypes": [77]})).await?;
            talk.ask("of two types", 74, v, json!({"ResourceTypes": [BROKER, GROUP]})).await?;
        }
    }
    Ok(())
}

pub async fn topic_partitions(talk: &mut Talk) -> Result<()> {
    create(talk, "paged-a", 3, &[]).await?;
    create(talk, "paged-b", 2, &[]).await?;
    let ask = |topics: &[&str], limit: i32, cursor: Value| {
        let topics: Vec<Value> = topics.iter().map(|name| json!({"Name": name})).collect();
        json!({"Topics": topics, "ResponsePartitionLimit": limit, "Cursor": cursor})
    };
    let at = |topic: &str, partition: i32| json!({"TopicName": topic, "PartitionIndex": partition});
    let none = json!(null);
    for (label, request) in [
        ("two topics", ask(&["paged-b", "paged-a"], 100, none.clone())),
        ("unknown topic", ask(&["not-there", "paged-a"], 100, none.clone())),
        ("invalid name", ask(&["bad/name"], 100, none.clone())),
        ("the same twice", ask(&["paged-a", "paged-a"], 100, none.clone())),
        ("a page of one", ask(&["paged-b", "paged-a"], 1, none.clone())),
        ("a page of four", ask(&["paged-b", "paged-a"], 4, none.clone())),
        ("from a cursor", ask(&["paged-b", "paged-a"], 2, at("paged-a", 2))),
        ("from a cursor at the next topic", ask(&["paged-b", "paged-a"], 100, at("paged-b", 0))),
        ("from a cursor behind the last partition", ask(&["paged-b", "paged-a"], 100, at("paged-a", 9))),
        ("from a cursor at what is not asked for", ask(&["paged-b"], 100, at("paged-a", 1))),
        ("from a negative cursor", ask(&["paged-a"], 100, at("paged-a", -1))),
        ("a page of none", ask(&["paged-a"], 0, none.clone())),
    ] {
        talk.ask(label, 75, 0, request).await?;
    }
    Ok(())
}

pub async fn log_dirs(talk: &mut Talk) -> Result<()> {
    create(talk, "sized", 2, &[]).await?;
    write(talk, "sized", 0, &super::batch(&[TIME])).await?;
    for v in talk.versions(35) {
        let ask = |topics: Value| json!({"Topics": topics});
        let one = |topic: &str, parts: &[i32]| json!([{"Topic": topic, "Partitions": parts}]);
        talk.ask("one topic", 35, v, ask(one("sized", &[0, 1]))).await?;
        talk.ask("one partition", 35, v, ask(one("sized", &[1]))).await?;
        talk.ask("unknown topic", 35, v, ask(one("not-there", &[0]))).await?;
        talk.ask("unknown partition", 35, v, ask(one("sized", &[9]))).await?;
        talk.ask("no topics", 35, v, ask(json!([]))).await?;
    }
    Ok(())
}

pub async fn elect_leaders(talk: &mut Talk) -> Result<()> {
    create(talk, "elected", 2, &[]).await?;
    for v in talk.versions(43) {
        let ask = |topic: &str, parts: &[i32], kind: i8| json!({"ElectionType": kind, "TopicPartitions": [{"Topic": topic, "Partitions": parts}], "TimeoutMs": 10_000});
        talk.ask("preferred", 43, v, ask("elected", &[0, 1], 0)).await?;
        talk.ask("unknown topic", 43, v, ask("not-there", &[0], 0)).await?;
        talk.ask("unknown partition", 43, v, ask("elected", &[9], 0)).await?;
        talk.ask("nothing", 43, v, json!({"TopicPartitions": [], "TimeoutMs": 10_000})).await?;
        talk.ask("all", 43, v, json!({"TopicPartitions": null, "TimeoutMs": 10_000})).await?;
        if v >= 1 {
            talk.ask("unclean", 43, v, ask("elected", &[0], 1)).await?;
            talk.ask("an unknown kind", 43, v, ask("elected", &[0], 7)).await?;
        }
    }
    Ok(())
}

pub async fn reassignments(talk: &mut Talk) -> Result<()> {
    create(talk, "reassigned", 1, &[]).await?;
    talk.ask("all", 46, 0, json!({"Topics": null, "TimeoutMs": 10_000})).await?;
    for topic in ["reassigned", "not-there"] {
        let topics = json!([{"Name": topic, "PartitionIndexes": [0, 9]}]);
        talk.ask(topic, 46, 0, json!({"Topics": topics, "TimeoutMs": 10_000})).await?;
    }
    talk.ask("none", 46, 0, json!({"Topics": [], "TimeoutMs": 10_000})).await?;
    Ok(())
}

pub async fn quorum(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(55) {
        let ask = |topic: &str, partition: i32| json!({"Topics": [{"TopicName": topic, "Partitions": [{"PartitionIndex": partition}]}]});
        talk.ask("the metadata", 55, v, ask("__cluster_metadata", 0)).await?;
        talk.ask("another partition", 55, v, ask("__cluster_metadata", 1)).await?;
        talk.ask("another topic", 55, v, ask("not-there", 0)).await?;
        talk.ask("nothing", 55, v, json!({"Topics": []})).await?;
    }
    Ok(())
}

pub async fn producers(talk: &mut Talk) -> Result<()> {
    create(talk, "produced", 2, &[]).await?;
    write(talk, "produced", 0, &super::batch(&[TIME])).await?;
    let ask = json!({"TransactionalId": null, "TransactionTimeoutMs": 60_000, "ProducerId": -1, "ProducerEpoch": -1});
    let answer = talk.until("a producer id", 22, 4, ask, |a| a["ErrorCode"] == 0).await?;
    let id = answer["ProducerId"].as_i64().unwrap_or(-1);
    for sequence in [0, 2] {
        let batch = records(Codec::None, &[TIME, TIME]).producer(id, 0, sequence).build(Offset(0));
        write(talk, "produced", 1, &bytes_of(&batch)).await?;
    }
    let ask = |topic: &str, parts: &[i32]| json!({"Topics": [{"Name": topic, "PartitionIndexes": parts}]});
    talk.ask("of two partitions", 61, 0, ask("produced", &[0, 1])).await?;
    talk.ask("of an unknown topic", 61, 0, ask("not-there", &[0])).await?;
    talk.ask("of an unknown partition", 61, 0, ask("produced", &[9])).await?;
    talk.ask("of an invalid name", 61, 0, ask("bad/name", &[0])).await?;
    talk.ask("of none", 61, 0, json!({"Topics": []})).await?;
    Ok(())
}

pub async fn rights(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(29) {
        let filter =
            json!({"ResourceTypeFilter": 1, "PatternTypeFilter": 1, "Operation": 1, "PermissionType": 1});
        talk.ask("described", 29, v, filter.clone()).await?;
        let right = json!({
            "ResourceType": 2, "ResourceName": "t", "ResourcePatternType": 3,
            "Principal": "User:someone", "Host": "*", "Operation": 3, "PermissionType": 3,
        });
        talk.ask("created", 30, v, json!({"Creations": [right, right]})).await?;
        talk.ask("none created", 30, v, json!({"Creations": []})).await?;
        talk.ask("deleted", 31, v, json!({"Filters": [filter]})).await?;
        talk.ask("none deleted", 31, v, json!({"Filters": []})).await?;
    }
    Ok(())
}
