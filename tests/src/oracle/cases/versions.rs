//! ApiVersions, Metadata, DescribeCluster.

use anyhow::Result;
use serde_json::json;

use super::{NO_ID, create};
use crate::talk::Talk;

pub async fn api_versions(talk: &mut Talk) -> Result<()> {
    let ask =
        |name: &str, version: &str| json!({"ClientSoftwareName": name, "ClientSoftwareVersion": version});
    for v in talk.versions(18) {
        talk.ask("plain", 18, v, ask("oracle", "1.0")).await?;
    }
    for v in 3..=4 {
        talk.ask("software name with a space", 18, v, ask("or acle", "1.0")).await?;
        talk.ask("no software name", 18, v, ask("", "1.0")).await?;
        talk.ask("software version ends in a dash", 18, v, ask("oracle", "1.0-")).await?;
    }
    // KIP-511: the body of a version of the future is not read.
    talk.ask_bytes("of the future", 18, 99, &[]).await?;
    talk.ask_bytes("of the future with a body", 18, 5, b"whatever is in it").await?;
    Ok(())
}

pub async fn metadata(talk: &mut Talk) -> Result<()> {
    let id = create(talk, "metadata-a", 2, &[]).await?;
    create(talk, "metadata-b", 1, &[]).await?;
    for v in talk.versions(3) {
        let named = |names: &[&str]| names.iter().map(|n| json!({"Name": n})).collect::<Vec<_>>();
        let ask = |topics| json!({"Topics": topics, "AllowAutoTopicCreation": false});
        talk.ask("all topics", 3, v, ask(if v == 0 { json!([]) } else { json!(null) })).await?;
        talk.ask("two topics", 3, v, ask(json!(named(&["metadata-b", "metadata-a"])))).await?;
        if v >= 1 {
            talk.ask("no topics", 3, v, ask(json!([]))).await?;
        }
        talk.ask("invalid name", 3, v, ask(json!(named(&["bad/name"])))).await?;
        if v >= 4 {
            talk.ask("unknown topic", 3, v, ask(json!(named(&["not-there"])))).await?;
            talk.ask("the same twice", 3, v, ask(json!(named(&["metadata-a", "metadata-a"])))).await?;
        }
        if v >= 8 {
            let mut request = ask(json!(named(&["metadata-a"])));
            request["IncludeTopicAuthorizedOperations"] = json!(true);
            request["IncludeClusterAuthorizedOperations"] = json!(v <= 10);
            if v > 10 {
                request.as_object_mut().expect("an object").remove("IncludeClusterAuthorizedOperations");
            }
            talk.ask("authorized operations", 3, v, request).await?;
        }
        if v >= 10 {
            talk.ask("by id", 3, v, ask(json!([{"TopicId": id, "Name": null}]))).await?;
            talk.ask("by unknown id", 3, v, ask(json!([{"TopicId": NO_ID, "Name": null}]))).await?;
            talk.ask("neither id nor name", 3, v, ask(json!([{"Name": null}]))).await?;
            talk.ask("id and name", 3, v, ask(json!([{"TopicId": id, "Name": "metadata-a"}]))).await?;
        }
    }
    // Created by being asked for: the first answer may say "not yet".
    let ask = json!({"Topics": [{"Name": "metadata-auto"}], "AllowAutoTopicCreation": true});
    talk.ask("first look at a topic to create", 3, 12, ask.clone()).await?;
    super::ready(talk, "metadata-auto", 1).await?;
    talk.ask("next look at a topic to create", 3, 12, ask).await?;
    Ok(())
}

pub async fn describe_cluster(talk: &mut Talk) -> Result<()> {
    for v in talk.versions(60) {
        talk.ask("brokers", 60, v, json!({"EndpointType": 1})).await?;
        talk.ask("authorized operations", 60, v, json!({"IncludeClusterAuthorizedOperations": true})).await?;
        if v >= 1 {
            talk.ask("controllers", 60, v, json!({"EndpointType": 2})).await?;
            talk.ask("unknown endpoints", 60, v, json!({"EndpointType": 7})).await?;
        }
        if v >= 2 {
            talk.ask("with fenced brokers", 60, v, json!({"IncludeFencedBrokers": true})).await?;
        }
    }
    Ok(())
}
