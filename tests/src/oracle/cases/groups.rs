//! Groups: finding the coordinator, membership, and what is refused of it.

use anyhow::Result;
use serde_json::{Value, json};

use super::create;
use crate::codec::hex;
use crate::talk::{Conn, Talk};

pub const FIND: i16 = 10;
pub const JOIN: i16 = 11;
pub const HEARTBEAT: i16 = 12;
pub const LEAVE: i16 = 13;
pub const SYNC: i16 = 14;
pub const COMMIT: i16 = 8;
pub const FETCH: i16 = 9;
pub const DESCRIBE: i16 = 15;
pub const LIST: i16 = 16;

/// The consumer protocol's metadata of one topic, version 0, without user data.
pub fn subscription(topic: &str) -> String {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    hex(&bytes)
}

pub fn assignment(topic: &str, partition: i32) -> String {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&1i32.to_be_bytes());
    bytes.extend_from_slice(&partition.to_be_bytes());
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    hex(&bytes)
}

/// Waits until the group's coordinator is found: Kafka makes `__consumer_offsets` when the first is looked for.
async fn found(talk: &mut Talk, group: &str) -> Result<()> {
    let found = |a: &Value| a["Coordinators"][0]["ErrorCode"] == 0;
    talk.until("a coordinator", FIND, 4, json!({"KeyType": 0, "CoordinatorKeys": [group]}), found).await?;
    Ok(())
}

/// Waits until the group's coordinator is found and has loaded.
pub async fn coordinator(talk: &mut Talk, group: &str) -> Result<()> {
    found(talk, group).await?;
    let ask = json!({"Groups": [{"GroupId": group, "Topics": null}]});
    talk.until("a loaded coordinator", FETCH, 8, ask, |a| a["Groups"][0]["ErrorCode"] == 0).await?;
    Ok(())
}

pub fn join(group: &str, member: &Value, topic: &str) -> Value {
    json!({
        "GroupId": group, "SessionTimeoutMs": 30_000, "RebalanceTimeoutMs": 30_000, "MemberId": member,
        "ProtocolType": "consumer",
        "Protocols": [
            {"Name": "range", "Metadata": subscription(topic)},
            {"Name": "roundrobin", "Metadata": subscription(topic)},
        ],
    })
}

pub fn static_join(group: &str, member: &Value, instance: &str, topic: &str) -> Value {
    let mut ask = join(group, member, topic);
    ask["GroupInstanceId"] = json!(instance);
    ask
}

pub fn sync(group: &str, generation: &Value, member: &Value, assigned: &[(&Value, String)]) -> Value {
    let list: Vec<Value> =
        assigned.iter().map(|(member, bytes)| json!({"MemberId": member, "Assignment": bytes})).collect();
    json!({
        "GroupId": group, "GenerationId": generation, "MemberId": member,
        "ProtocolType": "consumer", "ProtocolName": "range", "Assignments": list,
    })
}

pub fn beat(group: &str, generation: &Value, member: &Value) -> Value {
    json!({"GroupId": group, "GenerationId": generation, "MemberId": member})
}

pub fn leave(group: &str, member: &Value) -> Value {
    json!({"GroupId": group, "MemberId": member, "Members": [{"MemberId": member}]})
}

pub fn commit(group: &str, generation: &Value, member: &Value, topic: &str, offset: i64) -> Value {
    json!({
        "GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": member,
        "Topics": [{"Name": topic, "Partitions": [
            {"PartitionIndex": 0, "CommittedOffset": offset, "CommittedLeaderEpoch": 0, "CommittedMetadata": "note"},
        ]}],
    })
}

/// The offsets of some partitions, or of all when `parts` is `None`.
pub fn committed(group: &str, topic: &str, parts: Option<&[i32]>) -> Value {
    let topics =
        parts.map(|parts| json!([{"Name": topic, "PartitionIndexes": parts}])).unwrap_or(Value::Null);
    json!({"GroupId": group, "Topics": topics, "Groups": [{"GroupId": group, "MemberEpoch": -1, "Topics": topics}]})
}

/// A member alone in a new group that has its assignment, made quietly. Gives member id and generation.
pub async fn alone(talk: &mut Talk, group: &str, topic: &str) -> Result<(Value, Value)> {
    coordinator(talk, group).await?;
    let joined = talk.quiet(JOIN, 3, join(group, &json!(""), topic)).await?;
    anyhow::ensure!(joined["ErrorCode"] == 0, "{group}: {joined}");
    let (member, generation) = (joined["MemberId"].clone(), joined["GenerationId"].clone());
    let ask = sync(group, &generation, &member, &[(&member, assignment(topic, 0))]);
    let synced = talk.quiet(SYNC, 2, ask).await?;
    anyhow::ensure!(synced["ErrorCode"] == 0, "{group}: {synced}");
    Ok((member, generation))
}

pub async fn find_coordinator(talk: &mut Talk) -> Result<()> {
    found(talk, "found").await?;
    for v in talk.versions(FIND) {
        let ask =
            |kind: i8, keys: &[&str]| json!({"Key": keys.first(), "KeyType": kind, "CoordinatorKeys": keys});
        talk.ask("of a group", FIND, v, ask(0, &["found"])).await?;
        talk.ask("of a group without a name", FIND, v, ask(0, &[""])).await?;
        if v >= 1 {
            talk.ask("of an unknown kind", FIND, v, ask(7, &["found"])).await?;
        }
        if v >= 4 {
            talk.ask("of two groups", FIND, v, ask(0, &["found", "found-b"])).await?;
            talk.ask("of none", FIND, v, ask(0, &[])).await?;
            talk.ask("of one group twice", FIND, v, ask(0, &["found", "found"])).await?;
        }
    }
    Ok(())
}

pub async fn find_transaction_coordinator(talk: &mut Talk) -> Result<()> {
    for v in 1..=6 {
        let ask = json!({"Key": "txn", "KeyType": 1, "CoordinatorKeys": ["txn"]});
        talk.ask("of a transaction", FIND, v, ask).await?;
    }
    Ok(())
}

/// A member's whole life, once for each version of what takes part.
pub async fn life(talk: &mut Talk) -> Result<()> {
    let topic = "group-life";
    create(talk, topic, 2, &[]).await?;
    let schema = std::sync::Arc::clone(&talk.schema);
    for round in 0..10i16 {
        let version = |key: i16| {
            let versions = schema.api(key).versions;
            (versions.lo + round).min(versions.hi)
        };
        let group = &format!("life-{round}");
        let label = |what: &str| format!("{what}, round {round}");
        coordinator(talk, group).await?;
        let v = version(JOIN);
        let mut joined = talk.ask(&label("joins"), JOIN, v, join(group, &json!(""), topic)).await?;
        if v >= 4 {
            // MEMBER_ID_REQUIRED: with the id that it was given.
            let ask = join(group, &joined["MemberId"], topic);
            joined = talk.ask(&label("joins with its id"), JOIN, v, ask).await?;
        }
        let (member, generation) = (joined["MemberId"].clone(), joined["GenerationId"].clone());
        let early = commit(group, &generation, &member, topic, 1);
        talk.ask(&label("commits before it has its assignment"), COMMIT, version(COMMIT), early).await?;
        talk.ask(
            &label("beats before it has its assignment"),
            HEARTBEAT,
            version(HEARTBEAT),
            beat(group, &generation, &member),
        )
        .await?;
        let describe =
            |group: &str| json!({"Groups": [group], "IncludeAuthorizedOperations": round % 2 == 1});
        talk.ask(&label("described before its assignment"), DESCRIBE, version(DESCRIBE), describe(group))
            .await?;
        let ask = sync(group, &generation, &member, &[(&member, assignment(topic, 0))]);
        talk.ask(&label("syncs"), SYNC, version(SYNC), ask.clone()).await?;
        talk.ask(&label("syncs again"), SYNC, version(SYNC), ask).await?;
        talk.ask(&label("beats"), HEARTBEAT, version(HEARTBEAT), beat(group, &generation, &member)).await?;
        let v = version(COMMIT);
        talk.ask(&label("commits"), COMMIT, v, commit(group, &generation, &member, topic, 5)).await?;
        talk.ask(
            &label("commits to an unknown topic"),
            COMMIT,
            v,
            commit(group, &generation, &member, "not-there", 5),
        )
        .await?;
        let v = version(FETCH);
        talk.ask(&label("its offsets"), FETCH, v, committed(group, topic, Some(&[0, 1, 9]))).await?;
        if v >= 2 {
            talk.ask(&label("all its offsets"), FETCH, v, committed(group, topic, None)).await?;
        }
        talk.ask(&label("described"), DESCRIBE, version(DESCRIBE), describe(group)).await?;
        let v = version(LIST);
        let all = |states: &[&str], types: &[&str]| json!({"StatesFilter": states, "TypesFilter": types});
        talk.ask(&label("listed"), LIST, v, all(&[], &[])).await?;
        talk.ask(&label("listed if stable"), LIST, v, all(&["Stable"], &[])).await?;
        talk.ask(&label("listed if classic"), LIST, v, all(&[], &["classic"])).await?;
        talk.ask(&label("listed if of an unknown state"), LIST, v, all(&["NoSuchState"], &[])).await?;
        talk.ask(&label("listed if of an unknown type"), LIST, v, all(&[], &["no-such-type"])).await?;
        let deleted = json!({"GroupsNames": [group]});
        talk.ask(&label("deleted while it has a member"), 42, version(42), deleted.clone()).await?;
        talk.ask(&label("leaves"), LEAVE, version(LEAVE), leave(group, &member)).await?;
        talk.ask(
            &label("beats after it left"),
            HEARTBEAT,
            version(HEARTBEAT),
            beat(group, &generation, &member),
        )
        .await?;
        talk.ask(&label("described when empty"), DESCRIBE, version(DESCRIBE), describe(group)).await?;
        talk.ask(&label("deleted"), 42, version(42), deleted.clone()).await?;
        talk.ask(&label("deleted again"), 42, version(42), deleted).await?;
        talk.ask(&label("described when gone"), DESCRIBE, version(DESCRIBE), describe(group)).await?;
        let v = version(FETCH);
        talk.ask(&label("its offsets when it is gone"), FETCH, v, committed(group, topic, Some(&[0])))
            .await?;
    }
    Ok(())
}

pub async fn refused(talk: &mut Talk) -> Result<()> {
    let topic = "group-refused";
    create(talk, topic, 1, &[]).await?;
    let (member, generation) = alone(talk, "refused", topic).await?;
    let stranger = json!("a-stranger");
    let later = json!(generation.as_i64().unwrap_or(0) + 5);
    for v in talk.versions(JOIN) {
        let with = |name: &str, value: Value| {
            let mut ask = join("refused", &json!(""), topic);
            ask[name] = value;
            ask
        };
        talk.ask("joins no group", JOIN, v, with("GroupId", json!(""))).await?;
        talk.ask("session timeout too short", JOIN, v, with("SessionTimeoutMs", json!(5_999))).await?;
        talk.ask("session timeout too long", JOIN, v, with("SessionTimeoutMs", json!(1_800_001))).await?;
        talk.ask("joins with an unknown id", JOIN, v, with("MemberId", stranger.clone())).await?;
        talk.ask("joins with another protocol type", JOIN, v, with("ProtocolType", json!("connect"))).await?;
        let other = json!([{"Name": "sticky", "Metadata": subscription(topic)}]);
        talk.ask("joins with another protocol", JOIN, v, with("Protocols", other)).await?;
        talk.ask("joins without a protocol", JOIN, v, with("Protocols", json!([]))).await?;
        talk.ask("joins without a protocol type", JOIN, v, with("ProtocolType", json!(""))).await?;
        let mut absent = join("refused-absent", &stranger, topic);
        absent["RebalanceTimeoutMs"] = json!(30_000);
        talk.ask("joins an absent group with an id", JOIN, v, absent).await?;
    }
    for v in talk.versions(SYNC) {
        let none: &[(&Value, String)] = &[];
        talk.ask("syncs no group", SYNC, v, sync("", &generation, &member, none)).await?;
        talk.ask("syncs an absent group", SYNC, v, sync("absent", &generation, &member, none)).await?;
        talk.ask("syncs as a stranger", SYNC, v, sync("refused", &generation, &stranger, none)).await?;
        talk.ask("syncs for a later generation", SYNC, v, sync("refused", &later, &member, none)).await?;
        if v >= 5 {
            let mut ask = sync("refused", &generation, &member, none);
            ask["ProtocolName"] = json!("sticky");
            talk.ask("syncs with another protocol", SYNC, v, ask).await?;
            let mut ask = sync("refused", &generation, &member, none);
            ask["ProtocolType"] = json!("connect");
            talk.ask("syncs with another protocol type", SYNC, v, ask).await?;
        }
    }
    for v in talk.versions(HEARTBEAT) {
        talk.ask("beats for no group", HEARTBEAT, v, beat("", &generation, &member)).await?;
        talk.ask("beats for an absent group", HEARTBEAT, v, beat("absent", &generation, &member)).await?;
        talk.ask("beats as a stranger", HEARTBEAT, v, beat("refused", &generation, &stranger)).await?;
        talk.ask("beats for a later generation", HEARTBEAT, v, beat("refused", &later, &member)).await?;
    }
    for v in talk.versions(LEAVE) {
        talk.ask("leaves no group", LEAVE, v, leave("", &member)).await?;
        talk.ask("leaves an absent group", LEAVE, v, leave("absent", &member)).await?;
        talk.ask("leaves as a stranger", LEAVE, v, leave("refused", &stranger)).await?;
        if v >= 3 {
            let two = json!({"GroupId": "refused", "Members": [
                {"MemberId": stranger}, {"MemberId": "", "GroupInstanceId": "no-such-instance"},
            ]});
            talk.ask("two strangers leave", LEAVE, v, two).await?;
            talk.ask("nobody leaves", LEAVE, v, json!({"GroupId": "refused", "Members": []})).await?;
        }
    }
    let minus = json!(-1);
    let nobody = json!("");
    for v in talk.versions(COMMIT) {
        talk.ask("commits for no group", COMMIT, v, commit("", &minus, &nobody, topic, 1)).await?;
        talk.ask("commits as a stranger", COMMIT, v, commit("refused", &generation, &stranger, topic, 1))
            .await?;
        talk.ask("commits for a later generation", COMMIT, v, commit("refused", &later, &member, topic, 1))
            .await?;
        talk.ask("commits from outside", COMMIT, v, commit("refused", &minus, &nobody, topic, 1)).await?;
        talk.ask(
            "commits to an absent group as its member",
            COMMIT,
            v,
            commit("absent", &generation, &member, topic, 1),
        )
        .await?;
        let mut long = commit("refused", &generation, &member, topic, 1);
        long["Topics"][0]["Partitions"][0]["CommittedMetadata"] = json!("m".repeat(4_097));
        talk.ask("commits too much metadata", COMMIT, v, long).await?;
        let mut none = commit("refused", &generation, &member, topic, 1);
        none["Topics"][0]["Partitions"][0]["CommittedMetadata"] = json!(null);
        talk.ask("commits without metadata", COMMIT, v, none).await?;
        let mut part = commit("refused", &generation, &member, topic, 1);
        part["Topics"][0]["Partitions"][0]["PartitionIndex"] = json!(9);
        talk.ask("commits for an unknown partition", COMMIT, v, part).await?;
        let mut negative = commit("refused", &generation, &member, topic, 1);
        negative["Topics"][0]["Partitions"][0]["CommittedOffset"] = json!(-5);
        talk.ask("commits a negative offset", COMMIT, v, negative).await?;
        talk.ask("commits nothing", COMMIT, v, json!({"GroupId": "refused", "GenerationIdOrMemberEpoch": generation, "MemberId": member, "Topics": []})).await?;
        let simple = format!("simple-v{v}");
        talk.ask("a group of no members commits", COMMIT, v, commit(&simple, &minus, &nobody, topic, 7))
            .await?;
        talk.ask(&format!("what {simple} has"), FETCH, 7, committed(&simple, topic, None)).await?;
    }
    for v in talk.versions(FETCH) {
        talk.ask("offsets of an unknown group", FETCH, v, committed("absent", topic, Some(&[0]))).await?;
        talk.ask("offsets of no group", FETCH, v, committed("", topic, Some(&[0]))).await?;
        talk.ask("offsets of an unknown topic", FETCH, v, committed("refused", "not-there", Some(&[0])))
            .await?;
        talk.ask("offsets of no partitions", FETCH, v, committed("refused", topic, Some(&[]))).await?;
        if v >= 7 {
            let mut stable = committed("refused", topic, Some(&[0]));
            stable["RequireStable"] = json!(true);
            talk.ask("stable offsets", FETCH, v, stable).await?;
        }
        if v >= 8 {
            let one = |group: &str| json!({"GroupId": group, "Topics": null});
            let two = json!({"Groups": [one("refused"), one("absent")]});
            talk.ask("offsets of two groups", FETCH, v, two).await?;
            talk.ask("offsets of no groups", FETCH, v, json!({"Groups": []})).await?;
        }
        if v >= 9 {
            let mut ask = committed("refused", topic, Some(&[0]));
            ask["Groups"][0]["MemberId"] = stranger.clone();
            ask["Groups"][0]["MemberEpoch"] = json!(3);
            talk.ask("offsets for a stranger", FETCH, v, ask).await?;
        }
    }
    for v in talk.versions(DESCRIBE) {
        let ask = |groups: &[&str]| json!({"Groups": groups});
        talk.ask("describes an unknown group", DESCRIBE, v, ask(&["absent"])).await?;
        talk.ask("describes no group", DESCRIBE, v, ask(&[])).await?;
        talk.ask("describes a group without a name", DESCRIBE, v, ask(&[""])).await?;
        talk.ask("describes one of two", DESCRIBE, v, ask(&["refused", "absent"])).await?;
        talk.ask("describes one twice", DESCRIBE, v, ask(&["refused", "refused"])).await?;
    }
    for v in talk.versions(42) {
        let ask = |groups: &[&str]| json!({"GroupsNames": groups});
        talk.ask("deletes nothing", 42, v, ask(&[])).await?;
        talk.ask("deletes a group without a name", 42, v, ask(&[""])).await?;
        talk.ask("deletes one of two", 42, v, ask(&["refused", &format!("simple-v{}", v + 3)])).await?;
        talk.ask("deletes an unknown group twice", 42, v, ask(&["absent", "absent"])).await?;
    }
    Ok(())
}

pub async fn delete_offsets(talk: &mut Talk) -> Result<()> {
    let topic = "group-offsets";
    create(talk, topic, 1, &[]).await?;
    create(talk, "group-offsets-old", 1, &[]).await?;
    let (member, generation) = alone(talk, "offsets", topic).await?;
    for name in [topic, "group-offsets-old"] {
        talk.quiet(COMMIT, 8, commit("offsets", &generation, &member, name, 3)).await?;
    }
    let ask = |group: &str, topic: &str, partition: i32| json!({"GroupId": group, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": partition}]}]});
    for (label, group, topic, partition) in [
        ("of a subscribed topic", "offsets", topic, 0),
        ("of another topic", "offsets", "group-offsets-old", 0),
        ("of another topic again", "offsets", "group-offsets-old", 0),
        ("of an unknown topic", "offsets", "not-there", 0),
        ("of an unknown partition", "offsets", "group-offsets-old", 9),
        ("of an unknown group", "absent", topic, 0),
        ("of no group", "", topic, 0),
    ] {
        talk.ask(label, 47, 0, ask(group, topic, partition)).await?;
    }
    talk.ask("of no topics", 47, 0, json!({"GroupId": "offsets", "Topics": []})).await?;
    talk.ask("what is left", FETCH, 7, committed("offsets", topic, None)).await?;
    talk.quiet(LEAVE, 3, leave("offsets", &member)).await?;
    talk.ask("of an empty group", 47, 0, ask("offsets", topic, 0)).await?;
    talk.ask("what is left in the end", FETCH, 7, committed("offsets", topic, None)).await?;
    Ok(())
}

/// Joins on a connection of its own without waiting for the answer.
async fn joining(talk: &mut Talk, label: &str, v: i16, ask: Value) -> Result<Conn> {
    let mut conn = talk.connect().await?;
    talk.send(&mut conn, label, JOIN, v, ask).await?;
    Ok(conn)
}

/// Until the coordinator has taken in a second member: then the first one's heartbeat says so.
async fn rebalancing(talk: &mut Talk, group: &str, generation: &Value, member: &Value) -> Result<()> {
    let begun = |a: &Value| a["ErrorCode"] == 27;
    talk.until("a rebalance", HEARTBEAT, 3, beat(group, generation, member), begun).await?;
    Ok(())
}

pub async fn rebalance(talk: &mut Talk) -> Result<()> {
    let (group, topic) = ("rebalance", "group-rebalance");
    create(talk, topic, 2, &[]).await?;
    let (a, first) = alone(talk, group, topic).await?;
    let mut second = joining(talk, "b joins", 3, join(group, &json!(""), topic)).await?;
    rebalancing(talk, group, &first, &a).await?;
    talk.ask("a beats", HEARTBEAT, 4, beat(group, &first, &a)).await?;
    talk.ask("a commits while the others join", COMMIT, 9, commit(group, &first, &a, topic, 4)).await?;
    let none: &[(&Value, String)] = &[];
    talk.ask("a syncs while the others join", SYNC, 5, sync(group, &first, &a, none)).await?;
    talk.ask("described while they join", DESCRIBE, 5, json!({"Groups": [group]})).await?;
    let again = talk.ask("a joins again", JOIN, 3, join(group, &a, topic)).await?;
    let joined = talk.receive(&mut second).await?;
    let (b, next) = (joined["MemberId"].clone(), again["GenerationId"].clone());
    talk.ask("a commits before it has synced", COMMIT, 9, commit(group, &next, &a, topic, 5)).await?;
    talk.ask("a commits for the generation before", COMMIT, 9, commit(group, &first, &a, topic, 5)).await?;
    talk.ask("a beats for the generation before", HEARTBEAT, 4, beat(group, &first, &a)).await?;
    talk.ask("a beats before it has synced", HEARTBEAT, 4, beat(group, &next, &a)).await?;
    talk.ask("described before they have synced", DESCRIBE, 5, json!({"Groups": [group]})).await?;
    talk.send(&mut second, "b syncs, and waits for a", SYNC, 5, sync(group, &next, &b, none)).await?;
    let both = [(&a, assignment(topic, 0)), (&b, assignment(topic, 1))];
    talk.ask("a syncs", SYNC, 5, sync(group, &next, &a, &both)).await?;
    talk.receive(&mut second).await?;
    talk.ask("described when stable", DESCRIBE, 5, json!({"Groups": [group]})).await?;
    talk.ask("the follower joins with what it had", JOIN, 9, join(group, &b, topic)).await?;
    talk.ask("b leaves", LEAVE, 5, leave(group, &b)).await?;
    talk.ask("a beats after b left", HEARTBEAT, 4, beat(group, &next, &a)).await?;
    let third = talk.ask("a joins alone", JOIN, 9, join(group, &a, topic)).await?;
    talk.ask("a leaves before it has synced", LEAVE, 5, leave(group, &a)).await?;
    talk.ask("a syncs after it left", SYNC, 5, sync(group, &third["GenerationId"], &a, none)).await?;
    // Any protocol type is a group's own affair.
    let mut connect = join("connect-cluster", &json!(""), topic);
    connect["ProtocolType"] = json!("connect");
    connect["Protocols"] = json!([{"Name": "compatible", "Metadata": "0001ff"}]);
    coordinator(talk, "connect-cluster").await?;
    let joined = talk.ask("a worker joins", JOIN, 3, connect).await?;
    let worker = joined["MemberId"].clone();
    let mut ask = sync("connect-cluster", &joined["GenerationId"], &worker, &[(&worker, "00ff".to_owned())]);
    ask["ProtocolType"] = json!("connect");
    ask["ProtocolName"] = json!("compatible");
    talk.ask("a worker syncs", SYNC, 5, ask).await?;
    talk.ask("the workers", DESCRIBE, 5, json!({"Groups": ["connect-cluster"]})).await?;
    talk.ask("a worker leaves", LEAVE, 5, leave("connect-cluster", &worker)).await?;
    Ok(())
}

pub async fn static_members(talk: &mut Talk) -> Result<()> {
    let topic = "group-static";
    create(talk, topic, 2, &[]).await?;
    for v in 5..=9 {
        let group = &format!("static-{v}");
        let label = |what: &str| format!("{what}, v{v}");
        let empty = json!("");
        coordinator(talk, group).await?;
        let joined = talk.ask(&label("joins"), JOIN, v, static_join(group, &empty, "one", topic)).await?;
        let (old, generation) = (joined["MemberId"].clone(), joined["GenerationId"].clone());
        let with = |mut ask: Value, instance: &str| {
            ask["GroupInstanceId"] = json!(instance);
            ask
        };
        let ask = with(sync(group, &generation, &old, &[(&old, assignment(topic, 0))]), "one");
        talk.ask(&label("syncs"), SYNC, (v - 2).min(5), ask).await?;
        talk.ask(&label("beats"), HEARTBEAT, 3 + v % 2, with(beat(group, &generation, &old), "one")).await?;
        talk.ask(&label("described"), DESCRIBE, (v - 1).min(6), json!({"Groups": [group]})).await?;
        // The same instance with no id: it takes the place of the one before, without a rebalance.
        let again = talk.ask(&label("comes back"), JOIN, v, static_join(group, &empty, "one", topic)).await?;
        let new = again["MemberId"].clone();
        let generation = again["GenerationId"].clone();
        let fenced = with(beat(group, &generation, &old), "one");
        talk.ask(&label("the old one beats"), HEARTBEAT, 4, fenced).await?;
        talk.ask(&label("the old one joins"), JOIN, v, static_join(group, &old, "one", topic)).await?;
        let none: &[(&Value, String)] = &[];
        let ask = with(sync(group, &generation, &old, none), "one");
        talk.ask(&label("the old one syncs"), SYNC, (v - 2).min(5), ask).await?;
        let ask = with(commit(group, &generation, &old, topic, 1), "one");
        talk.ask(&label("the old one commits"), COMMIT, v.clamp(7, 9), ask).await?;
        let gone = json!({"GroupId": group, "Members": [{"MemberId": old, "GroupInstanceId": "one"}]});
        talk.ask(&label("the old one leaves"), LEAVE, (v - 2).min(5), gone).await?;
        let ask = with(sync(group, &generation, &new, &[(&new, assignment(topic, 1))]), "one");
        talk.ask(&label("the new one syncs"), SYNC, (v - 2).min(5), ask).await?;
        let ask = with(commit(group, &generation, &new, topic, 1), "one");
        talk.ask(&label("the new one commits"), COMMIT, v.clamp(7, 9), ask).await?;
        talk.ask(&label("another instance beats"), HEARTBEAT, 4, with(beat(group, &generation, &new), "two"))
            .await?;
        // As Admin's removeMembersFromConsumerGroup does it.
        let removed = json!({"GroupId": group, "Members": [{"MemberId": "", "GroupInstanceId": "one"}]});
        talk.ask(&label("is removed by its instance"), LEAVE, (v - 2).min(5), removed).await?;
        talk.ask(&label("described in the end"), DESCRIBE, (v - 1).min(6), json!({"Groups": [group]}))
            .await?;
    }
    Ok(())
}

/// With `group.max.size=2`, as the suite sets it.
pub async fn too_many(talk: &mut Talk) -> Result<()> {
    let (group, topic) = ("crowded", "group-crowded");
    create(talk, topic, 1, &[]).await?;
    let (first, generation) = alone(talk, group, topic).await?;
    let mut second = joining(talk, "the second joins", 3, join(group, &json!(""), topic)).await?;
    rebalancing(talk, group, &generation, &first).await?;
    talk.ask("the first joins again", JOIN, 3, join(group, &first, topic)).await?;
    talk.receive(&mut second).await?;
    for v in talk.versions(JOIN) {
        talk.ask("one too many", JOIN, v, join(group, &json!(""), topic)).await?;
    }
    talk.ask("the group", DESCRIBE, 5, json!({"Groups": [group]})).await?;
    Ok(())
}

pub async fn consumer_group_describe(talk: &mut Talk) -> Result<()> {
    let topic = "group-modern";
    create(talk, topic, 1, &[]).await?;
    alone(talk, "classic", topic).await?;
    for v in talk.versions(69) {
        talk.ask("a classic group", 69, v, json!({"GroupIds": ["classic"]})).await?;
        talk.ask("an unknown group", 69, v, json!({"GroupIds": ["absent"]})).await?;
        talk.ask("a group without a name", 69, v, json!({"GroupIds": [""]})).await?;
        talk.ask("no groups", 69, v, json!({"GroupIds": []})).await?;
    }
    Ok(())
}

/// `__consumer_offsets`, once there is one.
pub async fn internal_topic(talk: &mut Talk) -> Result<()> {
    let name = "__consumer_offsets";
    coordinator(talk, "internal").await?;
    let records = super::batch(&[super::TIME]);
    for v in [7, 12] {
        let ask = super::produce_request(name, "", &[(0, Some(&records))], -1);
        talk.ask("is written", 0, v, ask).await?;
    }
    for v in talk.versions(21) {
        let part = json!({"PartitionIndex": 0, "Offset": 0});
        let ask = json!({"Topics": [{"Name": name, "Partitions": [part]}], "TimeoutMs": 10_000});
        talk.ask("is shortened", 21, v, ask).await?;
    }
    for v in [1, 12] {
        let ask = json!({"Topics": [{"Name": name}], "AllowAutoTopicCreation": v < 4});
        talk.ask("is asked for", 3, v, ask).await?;
    }
    let ask =
        json!({"Topics": [{"Name": name, "NumPartitions": 1, "ReplicationFactor": 1}], "TimeoutMs": 10_000});
    talk.ask("is created", 19, 7, ask).await?;
    let keys = json!(["cleanup.policy", "compression.type", "segment.bytes"]);
    let resource = json!({"ResourceType": 2, "ResourceName": name, "ConfigurationKeys": keys});
    talk.ask("is described", 32, 4, json!({"Resources": [resource], "IncludeSynonyms": true})).await?;
    Ok(())
}
