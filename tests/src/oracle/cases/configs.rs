//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs of topics.

use anyhow::Result;
use serde_json::{Value, json};

use super::create;
use crate::talk::Talk;

const TOPIC: i8 = 2;

fn describe(kind: i8, name: &str, keys: Value, synonyms: bool, docs: bool) -> Value {
    json!({
        "Resources": [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": keys}],
        "IncludeSynonyms": synonyms, "IncludeDocumentation": docs,
    })
}

pub async fn describe_topic(talk: &mut Talk) -> Result<()> {
    create(talk, "configs", 1, &[("max.message.bytes", "123456"), ("cleanup.policy", "delete")]).await?;
    for v in talk.versions(32) {
        let docs = v >= 3;
        let all = json!(null);
        talk.ask("all", 32, v, describe(TOPIC, "configs", all.clone(), false, docs)).await?;
        talk.ask("all with synonyms", 32, v, describe(TOPIC, "configs", all.clone(), true, docs)).await?;
        let two = json!(["retention.ms", "no.such.config"]);
        talk.ask("two by name", 32, v, describe(TOPIC, "configs", two, true, false)).await?;
        talk.ask("no names", 32, v, describe(TOPIC, "configs", json!([]), false, false)).await?;
        talk.ask("unknown topic", 32, v, describe(TOPIC, "not-there", all.clone(), false, false)).await?;
        talk.ask("invalid topic", 32, v, describe(TOPIC, "bad/name", all.clone(), false, false)).await?;
        talk.ask("empty topic", 32, v, describe(TOPIC, "", all.clone(), false, false)).await?;
        talk.ask("unknown type", 32, v, describe(77, "x", all.clone(), false, false)).await?;
        talk.ask("nothing", 32, v, json!({"Resources": []})).await?;
        let one =
            json!({"ResourceType": TOPIC, "ResourceName": "configs", "ConfigurationKeys": ["retention.ms"]});
        talk.ask("the same twice", 32, v, json!({"Resources": [one, one]})).await?;
    }
    Ok(())
}

/// Waits until a config of a topic is told as wanted: Kafka's brokers learn of it a moment after the answer.
pub async fn told(talk: &mut Talk, kind: i8, name: &str, key: &str, value: &str) -> Result<()> {
    let ask = describe(kind, name, json!([key]), false, false);
    let what = format!("{name} {key}={value}");
    talk.until(&what, 32, 4, ask, |a| a["Results"][0]["Configs"][0]["Value"] == value).await?;
    Ok(())
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub async fn incremental_alter(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(44) {
        let name = format!("incremental-v{v}");
        create(talk, &name, 1, &[]).await?;
        let change = |topic: &str, list: &[(&str, i8, Option<&str>)]| {
            let configs: Vec<Value> = list
                .iter()
                .map(|(key, how, value)| json!({"Name": key, "ConfigOperation": how, "Value": value}))
                .collect();
            json!({"Resources": [{"ResourceType": TOPIC, "ResourceName": topic, "Configs": configs}]})
        };
        talk.ask("set", 44, v, change(&name, &[("retention.bytes", SET, Some("5000"))])).await?;
        told(talk, TOPIC, &name, "retention.bytes", "5000").await?;
        talk.ask("append to a list", 44, v, change(&name, &[("cleanup.policy", APPEND, Some("delete"))]))
            .await?;
        talk.ask("delete", 44, v, change(&name, &[("retention.bytes", DELETE, None)])).await?;
        told(talk, TOPIC, &name, "retention.bytes", "-1").await?;
        talk.ask("delete what is not set", 44, v, change(&name, &[("segment.ms", DELETE, None)])).await?;
        talk.ask("nothing", 44, v, json!({"Resources": []})).await?;
        talk.ask("no configs", 44, v, change(&name, &[])).await?;
        let mut only = change(&name, &[("retention.bytes", SET, Some("7000"))]);
        only["ValidateOnly"] = json!(true);
        talk.ask("validate only", 44, v, only).await?;
        let two = [("retention.bytes", SET, Some("8000")), ("segment.ms", SET, Some("500000"))];
        talk.ask("two", 44, v, change(&name, &two)).await?;
        told(talk, TOPIC, &name, "segment.ms", "500000").await?;
        for (label, list) in [
            ("unknown config", vec![("no.such.config", SET, Some("1"))]),
            ("value out of range", vec![("retention.ms", SET, Some("-2"))]),
            ("value of a wrong type", vec![("segment.bytes", SET, Some("many"))]),
            ("null", vec![("retention.ms", SET, None)]),
            ("append to what is no list", vec![("retention.ms", APPEND, Some("5"))]),
            ("subtract from what is no list", vec![("retention.ms", SUBTRACT, Some("5"))]),
            ("unknown operation", vec![("retention.ms", 9, Some("5"))]),
            ("the same twice", vec![("retention.ms", SET, Some("5")), ("retention.ms", DELETE, None)]),
            (
                "one good, one bad",
                vec![("segment.ms", SET, Some("600000")), ("retention.ms", SET, Some("soon"))],
            ),
        ] {
            talk.ask(label, 44, v, change(&name, &list)).await?;
        }
        talk.ask("unknown topic", 44, v, change("not-there", &[("retention.ms", SET, Some("5"))])).await?;
        talk.ask("invalid topic", 44, v, change("bad/name", &[("retention.ms", SET, Some("5"))])).await?;
        let mut odd = change(&name, &[("retention.ms", SET, Some("5"))]);
        odd["Resources"][0]["ResourceType"] = json!(77);
        talk.ask("unknown type", 44, v, odd).await?;
        let mut twice = change(&name, &[("retention.ms", SET, Some("5"))]);
        let one = twice["Resources"][0].clone();
        twice["Resources"] = json!([one, one]);
        talk.ask("the same resource twice", 44, v, twice).await?;
        talk.ask(&format!("what is set after v{v}"), 32, 4, describe(TOPIC, &name, json!(null), true, false))
            .await?;
    }
    Ok(())
}

pub async fn alter(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(33) {
        let name = format!("alter-v{v}");
        create(talk, &name, 1, &[("segment.ms", "500000")]).await?;
        let change = |topic: &str, list: &[(&str, Option<&str>)]| {
            let configs: Vec<Value> =
                list.iter().map(|(key, value)| json!({"Name": key, "Value": value})).collect();
            json!({"Resources": [{"ResourceType": TOPIC, "ResourceName": topic, "Configs": configs}]})
        };
        talk.ask("replaces all", 33, v, change(&name, &[("retention.bytes", Some("5000"))])).await?;
        told(talk, TOPIC, &name, "retention.bytes", "5000").await?;
        talk.ask(&format!("what v{v} left"), 32, 4, describe(TOPIC, &name, json!(null), true, false)).await?;
        let mut only = change(&name, &[("retention.bytes", Some("7000"))]);
        only["ValidateOnly"] = json!(true);
        talk.ask("validate only", 33, v, only).await?;
        talk.ask("nothing", 33, v, json!({"Resources": []})).await?;
        for (label, list) in [
            ("unknown config", vec![("no.such.config", Some("1"))]),
            ("value out of range", vec![("retention.ms", Some("-2"))]),
            ("null", vec![("retention.ms", None)]),
            ("the same twice", vec![("retention.ms", Some("5")), ("retention.ms", Some("6"))]),
        ] {
            talk.ask(label, 33, v, change(&name, &list)).await?;
        }
        talk.ask("unknown topic", 33, v, change("not-there", &[("retention.ms", Some("5"))])).await?;
        talk.ask("invalid topic", 33, v, change("bad/name", &[("retention.ms", Some("5"))])).await?;
        let mut odd = change(&name, &[("retention.ms", Some("5"))]);
        odd["Resources"][0]["ResourceType"] = json!(77);
        talk.ask("unknown type", 33, v, odd).await?;
        // Kafka never answers a request that names a resource twice; Tidegate's answer is its own.
        talk.ask("all reset", 33, v, change(&name, &[])).await?;
        told(talk, TOPIC, &name, "retention.bytes", "-1").await?;
    }
    Ok(())
}
