//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use anyhow::Result;
use serde_json::{Value, json};

use super::{TIME, batch, create, write};
use crate::talk::Talk;

/// The epoch that the partition's leader has, for requests that check it.
pub async fn epoch(talk: &mut Talk, topic: &str) -> Result<i64> {
    let ask = json!({"Topics": [{"Name": topic}], "AllowAutoTopicCreation": false});
    let answer = talk.quiet(3, 12, ask).await?;
    Ok(answer["Topics"][0]["Partitions"][0]["LeaderEpoch"].as_i64().unwrap_or(-1))
}

pub async fn list_offsets(talk: &mut Talk) -> Result<()> {
    create(talk, "list", 2, &[]).await?;
    // The greatest time is not the last one.
    for times in [[TIME, TIME + 10], [TIME + 40, TIME + 50], [TIME + 20, TIME + 30]] {
        write(talk, "list", 0, &batch(&times)).await?;
    }
    let epoch = epoch(talk, "list").await?;
    for v in talk.versions(2) {
        let ask = |topic: &str, parts: Value, isolation: i8| {
            json!({
                "ReplicaId": -1, "IsolationLevel": isolation, "TimeoutMs": 5_000,
                "Topics": [{"Name": topic, "Partitions": parts}],
            })
        };
        let one = |partition: i32, time: i64, epoch: i64| json!([{"PartitionIndex": partition, "Timestamp": time, "CurrentLeaderEpoch": epoch}]);
        for time in
            [-1, -2, -3, -4, -5, -6, -7, -100, 0, TIME, TIME + 1, TIME + 35, TIME + 50, TIME + 51, i64::MAX]
        {
            let label = if time < TIME { format!("time {time}") } else { format!("time + {}", time - TIME) };
            talk.ask(&label, 2, v, ask("list", one(0, time, -1), 0)).await?;
            talk.ask(&format!("{label}, empty"), 2, v, ask("list", one(1, time, -1), 0)).await?;
        }
        talk.ask("latest, committed", 2, v, ask("list", one(0, -1, -1), 1)).await?;
        talk.ask("time, committed", 2, v, ask("list", one(0, TIME + 35, -1), 1)).await?;
        talk.ask("unknown topic", 2, v, ask("not-there", one(0, -1, -1), 0)).await?;
        talk.ask("unknown partition", 2, v, ask("list", one(9, -1, -1), 0)).await?;
        talk.ask("invalid name", 2, v, ask("bad/name", one(0, -1, -1), 0)).await?;
        let twice = json!([{"PartitionIndex": 0, "Timestamp": -1}, {"PartitionIndex": 0, "Timestamp": -2}]);
        talk.ask("a partition twice", 2, v, ask("list", twice, 0)).await?;
        let both = json!([{"PartitionIndex": 0, "Timestamp": -1}, {"PartitionIndex": 9, "Timestamp": -2}]);
        talk.ask("one of two", 2, v, ask("list", both, 0)).await?;
        talk.ask("no partitions", 2, v, ask("list", json!([]), 0)).await?;
        talk.ask("no topics", 2, v, json!({"ReplicaId": -1, "Topics": []})).await?;
        if v >= 4 {
            talk.ask("the leader's epoch", 2, v, ask("list", one(0, -1, epoch), 0)).await?;
            talk.ask("an epoch to come", 2, v, ask("list", one(0, -1, epoch + 5), 0)).await?;
        }
    }
    Ok(())
}

pub async fn leader_epoch(talk: &mut Talk) -> Result<()> {
    create(talk, "epochs", 2, &[]).await?;
    write(talk, "epochs", 0, &batch(&[TIME, TIME])).await?;
    let epoch = epoch(talk, "epochs").await?;
    for v in talk.versions(23) {
        let ask = |topic: &str, partition: i32, asked: i64, current: i64| {
            let part = json!({"Partition": partition, "LeaderEpoch": asked, "CurrentLeaderEpoch": current});
            json!({"ReplicaId": -2, "Topics": [{"Topic": topic, "Partitions": [part]}]})
        };
        talk.ask("the leader's", 23, v, ask("epochs", 0, epoch, -1)).await?;
        talk.ask("the leader's, checked", 23, v, ask("epochs", 0, epoch, epoch)).await?;
        talk.ask("of an empty partition", 23, v, ask("epochs", 1, epoch, -1)).await?;
        talk.ask("of the future", 23, v, ask("epochs", 0, epoch + 5, -1)).await?;
        talk.ask("-1", 23, v, ask("epochs", 0, -1, -1)).await?;
        talk.ask("checked with one to come", 23, v, ask("epochs", 0, epoch, epoch + 5)).await?;
        talk.ask("unknown topic", 23, v, ask("not-there", 0, 0, -1)).await?;
        talk.ask("unknown partition", 23, v, ask("epochs", 9, 0, -1)).await?;
        talk.ask("no topics", 23, v, json!({"Topics": []})).await?;
    }
    Ok(())
}

pub async fn delete_records(talk: &mut Talk) -> Result<()> {
    create(talk, "shorten", 2, &[]).await?;
    for _ in 0..5 {
        write(talk, "shorten", 0, &batch(&[TIME, TIME])).await?;
    }
    for v in talk.versions(21) {
        let ask = |topic: &str, parts: &[(i32, i64)]| {
            let parts: Vec<Value> =
                parts.iter().map(|(p, o)| json!({"PartitionIndex": p, "Offset": o})).collect();
            json!({"Topics": [{"Name": topic, "Partitions": parts}], "TimeoutMs": 10_000})
        };
        let to = 1 + 2 * i64::from(v);
        talk.ask("some", 21, v, ask("shorten", &[(0, to)])).await?;
        talk.ask("the same", 21, v, ask("shorten", &[(0, to)])).await?;
        talk.ask("less", 21, v, ask("shorten", &[(0, 0)])).await?;
        talk.ask("above the end", 21, v, ask("shorten", &[(0, 999)])).await?;
        talk.ask("-2", 21, v, ask("shorten", &[(0, -2)])).await?;
        talk.ask("one of two", 21, v, ask("shorten", &[(0, to), (9, 1)])).await?;
        talk.ask("unknown topic", 21, v, ask("not-there", &[(0, 1)])).await?;
        talk.ask("an empty partition", 21, v, ask("shorten", &[(1, -1)])).await?;
        talk.ask("none", 21, v, json!({"Topics": [], "TimeoutMs": 10_000})).await?;
    }
    let all = json!({"Topics": [{"Name": "shorten", "Partitions": [{"PartitionIndex": 0, "Offset": -1}]}], "TimeoutMs": 10_000});
    talk.ask("all", 21, 2, all).await?;
    for time in [-1, -2, -3, TIME] {
        let part = json!({"PartitionIndex": 0, "Timestamp": time});
        let ask = json!({"ReplicaId": -1, "Topics": [{"Name": "shorten", "Partitions": [part]}]});
        talk.ask(&format!("time {time} of what is empty again"), 2, 7, ask).await?;
    }
    Ok(())
}
