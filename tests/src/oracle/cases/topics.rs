//! CreateTopics, CreatePartitions, DeleteTopics.

use anyhow::Result;
use serde_json::{Value, json};

use super::{NO_ID, create as made, ready};
use crate::talk::Talk;

fn topic(name: &str, partitions: i32, factor: i16) -> Value {
    json!({"Name": name, "NumPartitions": partitions, "ReplicationFactor": factor})
}

fn with_config(mut topic: Value, name: &str, value: Option<&str>) -> Value {
    topic["Configs"] = json!([{"Name": name, "Value": value}]);
    topic
}

fn with_replicas(mut topic: Value, replicas: &[(i32, &[i32])]) -> Value {
    let list = replicas.iter().map(|(p, ids)| json!({"PartitionIndex": p, "BrokerIds": ids}));
    topic["Assignments"] = list.collect();
    topic
}

async fn node_id(talk: &mut Talk) -> Result<i32> {
    let answer = talk.quiet(60, 0, json!({})).await?;
    Ok(answer["Brokers"][0]["BrokerId"].as_i64().unwrap_or(0) as i32)
}

pub async fn create(talk: &mut Talk) -> Result<()> {
    let node = node_id(talk).await?;
    for v in talk.versions(19) {
        let ask = |topics: Value| json!({"Topics": topics, "TimeoutMs": 10_000});
        let name = |what: &str| format!("create-{what}-v{v}");
        talk.ask("one", 19, v, ask(json!([topic(&name("one"), 2, 1)]))).await?;
        ready(talk, &name("one"), 2).await?;
        talk.ask("again", 19, v, ask(json!([topic(&name("one"), 2, 1)]))).await?;
        talk.ask("none", 19, v, ask(json!([]))).await?;
        let config = with_config(topic(&name("config"), 1, 1), "retention.ms", Some("1000000"));
        talk.ask("with a config", 19, v, ask(json!([config]))).await?;
        let placed = with_replicas(topic(&name("placed"), -1, -1), &[(0, &[node]), (1, &[node])]);
        talk.ask("with an assignment", 19, v, ask(json!([placed]))).await?;
        let many =
            json!([topic(&name("many-a"), 1, 1), topic("bad/name", 1, 1), topic(&name("many-b"), 1, 1)]);
        talk.ask("two of three", 19, v, ask(many)).await?;
        if v >= 4 {
            talk.ask("defaults", 19, v, ask(json!([topic(&name("defaults"), -1, -1)]))).await?;
        }
        let mut only = ask(json!([topic(&name("only"), 1, 1), topic(&name("one"), 1, 1)]));
        only["ValidateOnly"] = json!(true);
        talk.ask("validate only", 19, v, only).await?;
        let mut only = ask(json!([with_config(topic(&name("only"), 1, 1), "retention.ms", Some("soon"))]));
        only["ValidateOnly"] = json!(true);
        talk.ask("validate only, refused", 19, v, only).await?;
        for (label, refused) in [
            ("empty name", topic("", 1, 1)),
            ("invalid name", topic("bad name", 1, 1)),
            ("a dot", topic(".", 1, 1)),
            ("name of 250", topic(&"n".repeat(250), 1, 1)),
            ("name collides", topic(&format!("create_one-v{v}"), 1, 1)),
            ("name collides by a dot", topic(&format!("create.x_{v}"), 1, 1)),
            ("0 partitions", topic(&name("bad"), 0, 1)),
            ("-2 partitions", topic(&name("bad"), -2, 1)),
            ("factor 0", topic(&name("bad"), 1, 0)),
            ("factor -2", topic(&name("bad"), 1, -2)),
            ("factor of more than there are", topic(&name("bad-factor"), 1, 3)),
            ("unknown config", with_config(topic(&name("bad"), 1, 1), "no.such.config", Some("1"))),
            ("removed config", with_config(topic(&name("bad"), 1, 1), "message.format.version", Some("2.8"))),
            ("config out of range", with_config(topic(&name("bad"), 1, 1), "retention.ms", Some("-2"))),
            ("config of a wrong type", with_config(topic(&name("bad"), 1, 1), "segment.bytes", Some("many"))),
            ("config null", with_config(topic(&name("bad"), 1, 1), "retention.ms", None)),
            ("unknown policy", with_config(topic(&name("bad"), 1, 1), "cleanup.policy", Some("burn"))),
            ("assignment to no broker", with_replicas(topic(&name("bad"), -1, -1), &[(0, &[node + 7])])),
            ("assignment twice to one", with_replicas(topic(&name("bad"), -1, -1), &[(0, &[node, node])])),
            ("assignment with a gap", with_replicas(topic(&name("bad"), -1, -1), &[(1, &[node])])),
            (
                "assignment of unequal width",
                with_replicas(topic(&name("bad"), -1, -1), &[(0, &[node]), (1, &[])]),
            ),
            ("assignment and counts", with_replicas(topic(&name("bad"), 1, 1), &[(0, &[node])])),
        ] {
            talk.ask(label, 19, v, ask(json!([refused]))).await?;
        }
        let twice =
            json!([topic(&name("twice"), 1, 1), topic(&name("twice"), 1, 1), topic(&name("once"), 1, 1)]);
        talk.ask("the same twice", 19, v, ask(twice)).await?;
    }
    let ask = json!({"Topics": [topic("create.x.1", 1, 1)], "TimeoutMs": 10_000});
    talk.ask("with dots", 19, 7, ask).await?;
    let ask = json!({"Topics": [topic("create_x.1", 1, 1)], "TimeoutMs": 10_000});
    talk.ask("collides with dots", 19, 7, ask).await?;
    let ask =
        json!({"Topics": [topic("__consumer_offsets", 1, 1)], "TimeoutMs": 10_000, "ValidateOnly": true});
    talk.ask("an internal name", 19, 7, ask).await?;
    Ok(())
}

pub async fn create_partitions(talk: &mut Talk) -> Result<()> {
    let node = node_id(talk).await?;
    made(talk, "grow", 2, &[]).await?;
    for v in talk.versions(37) {
        let ask = |name: &str, count: i32, assignments: Value| json!({"Topics": [{"Name": name, "Count": count, "Assignments": assignments}], "TimeoutMs": 10_000});
        let count = 3 + i32::from(v);
        talk.ask("one more", 37, v, ask("grow", count, json!(null))).await?;
        ready(talk, "grow", count).await?;
        talk.ask("as many", 37, v, ask("grow", count, json!(null))).await?;
        talk.ask("fewer", 37, v, ask("grow", 1, json!(null))).await?;
        talk.ask("0", 37, v, ask("grow", 0, json!(null))).await?;
        talk.ask("none", 37, v, json!({"Topics": [], "TimeoutMs": 10_000})).await?;
        talk.ask("unknown topic", 37, v, ask("not-there", 9, json!(null))).await?;
        let to = |ids: &[i32]| json!([{"BrokerIds": ids}]);
        talk.ask("to no broker", 37, v, ask("grow", count + 1, to(&[node + 7]))).await?;
        talk.ask("more than assigned", 37, v, ask("grow", count + 2, to(&[node]))).await?;
        talk.ask("assigned twice to one", 37, v, ask("grow", count + 1, to(&[node, node]))).await?;
        let mut only = ask("grow", count + 1, to(&[node]));
        only["ValidateOnly"] = json!(true);
        talk.ask("validate only", 37, v, only).await?;
        let twice = json!({"Name": "grow", "Count": count + 1, "Assignments": null});
        talk.ask("the same twice", 37, v, json!({"Topics": [twice, twice], "TimeoutMs": 10_000})).await?;
    }
    Ok(())
}

pub async fn delete(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(20) {
        let name = format!("delete-v{v}");
        let id = made(talk, &name, 1, &[]).await?;
        let by_name = |names: &[&str]| {
            let topics: Vec<Value> = names.iter().map(|n| json!({"Name": n})).collect();
            json!({"TopicNames": names, "Topics": topics, "TimeoutMs": 10_000})
        };
        talk.ask("none", 20, v, by_name(&[])).await?;
        talk.ask("unknown", 20, v, by_name(&["not-there"])).await?;
        talk.ask("the same twice", 20, v, by_name(&["not-there", "not-there"])).await?;
        talk.ask("one of two", 20, v, by_name(&[&name, "not-there"])).await?;
        // Kafka lets the name go a moment after it has answered.
        let gone = json!({"Topics": [{"Name": name}], "AllowAutoTopicCreation": false});
        talk.until("deleted", 3, 12, gone, |a| a["Topics"][0]["ErrorCode"] == 3).await?;
        talk.ask("again", 20, v, by_name(&[&name])).await?;
        if v >= 6 {
            let by_id = |ids: &[&str]| {
                let topics: Vec<Value> = ids.iter().map(|i| json!({"Name": null, "TopicId": i})).collect();
                json!({"Topics": topics, "TimeoutMs": 10_000})
            };
            talk.ask("by the id of what is gone", 20, v, by_id(&[&id])).await?;
            talk.ask("by unknown id", 20, v, by_id(&[NO_ID])).await?;
            talk.ask("by no id", 20, v, json!({"Topics": [{"Name": null}], "TimeoutMs": 10_000})).await?;
            let id = made(talk, &name, 1, &[]).await?;
            let both = json!({"Topics": [{"Name": name, "TopicId": id}], "TimeoutMs": 10_000});
            talk.ask("by name and id", 20, v, both).await?;
            talk.ask("by id", 20, v, by_id(&[&id])).await?;
        }
    }
    Ok(())
}
