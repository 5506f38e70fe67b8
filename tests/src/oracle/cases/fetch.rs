//! Fetch: records, limits, refusals, sessions.

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_common::Offset;
use tidegate_wire::records::Codec;

use super::offsets::epoch;
use super::{NO_ID, TIME, batch, bytes_of, create, id_or_null, records, write};
use crate::talk::Talk;

const FETCH: i16 = 1;

fn part(partition: i32, offset: i64, max_bytes: i32) -> Value {
    json!({"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": max_bytes})
}

fn ask(topic: &str, id: &str, parts: Value) -> Value {
    json!({
        "MaxWaitMs": 50, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionId": 0, "SessionEpoch": -1,
        "Topics": [{"Topic": topic, "TopicId": id_or_null(id), "Partitions": parts}],
    })
}

const LOTS: i32 = 1 << 20;

pub async fn every_version(talk: &mut Talk) -> Result<()> {
    let id = create(talk, "fetch", 2, &[]).await?;
    for n in 0..3 {
        write(talk, "fetch", 0, &batch(&[TIME + n, TIME + n])).await?;
    }
    let packed = create(talk, "fetch-packed", 1, &[]).await?;
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        write(talk, "fetch-packed", 0, &bytes_of(&records(codec, &[TIME, TIME]).build(Offset(0)))).await?;
    }
    let zstd = create(talk, "fetch-zstd", 1, &[]).await?;
    write(talk, "fetch-zstd", 0, &bytes_of(&records(Codec::Zstd, &[TIME]).build(Offset(0)))).await?;
    let epoch = epoch(talk, "fetch").await?;
    for v in talk.versions(FETCH) {
        let of = |parts: Value| ask("fetch", &id, parts);
        talk.ask("all", FETCH, v, of(json!([part(0, 0, LOTS)]))).await?;
        talk.ask("from the middle of a batch", FETCH, v, of(json!([part(0, 3, LOTS)]))).await?;
        talk.ask("the end", FETCH, v, of(json!([part(0, 6, LOTS)]))).await?;
        talk.ask("an empty partition", FETCH, v, of(json!([part(1, 0, LOTS)]))).await?;
        talk.ask("one byte of the partition", FETCH, v, of(json!([part(0, 0, 1)]))).await?;
        talk.ask("no bytes of the partition", FETCH, v, of(json!([part(0, 0, 0)]))).await?;
        let mut small = of(json!([part(0, 0, LOTS)]));
        small["MaxBytes"] = json!(1);
        talk.ask("one byte in all", FETCH, v, small).await?;
        let mut committed = of(json!([part(0, 0, LOTS)]));
        committed["IsolationLevel"] = json!(1);
        talk.ask("committed", FETCH, v, committed).await?;
        talk.ask("codecs", FETCH, v, ask("fetch-packed", &packed, json!([part(0, 0, LOTS)]))).await?;
        talk.ask("zstd", FETCH, v, ask("fetch-zstd", &zstd, json!([part(0, 0, LOTS)]))).await?;
        let two = of(json!([part(0, 0, LOTS), part(1, 0, LOTS)]));
        talk.ask("two partitions", FETCH, v, two).await?;
        talk.ask(
            "no topics",
            FETCH,
            v,
            json!({"MaxWaitMs": 50, "MinBytes": 0, "MaxBytes": 10, "SessionEpoch": -1}),
        )
        .await?;
        talk.ask("above the end", FETCH, v, of(json!([part(0, 99, LOTS)]))).await?;
        talk.ask("below the start", FETCH, v, of(json!([part(0, -5, LOTS)]))).await?;
        talk.ask("one good, one above the end", FETCH, v, of(json!([part(0, 0, LOTS), part(1, 9, LOTS)])))
            .await?;
        talk.ask("unknown partition", FETCH, v, of(json!([part(9, 0, LOTS)]))).await?;
        let unknown = ask("not-there", NO_ID, json!([part(0, 0, LOTS)]));
        talk.ask("unknown topic", FETCH, v, unknown).await?;
        talk.ask("neither id nor name", FETCH, v, ask("", "", json!([part(0, 0, LOTS)]))).await?;
        if v >= 9 {
            for (label, current) in [("the leader's epoch", epoch), ("an epoch to come", epoch + 5)] {
                let mut checked = part(0, 0, LOTS);
                checked["CurrentLeaderEpoch"] = json!(current);
                talk.ask(label, FETCH, v, of(json!([checked]))).await?;
            }
        }
        if v >= 11 {
            let mut rack = of(json!([part(0, 0, LOTS)]));
            rack["RackId"] = json!("rack-a");
            talk.ask("with a rack", FETCH, v, rack).await?;
        }
    }
    Ok(())
}

pub async fn refused(talk: &mut Talk) -> Result<()> {
    let id = create(talk, "fetch-short", 1, &[]).await?;
    for _ in 0..4 {
        write(talk, "fetch-short", 0, &batch(&[TIME, TIME])).await?;
    }
    let shorten = json!({"Topics": [{"Name": "fetch-short", "Partitions": [{"PartitionIndex": 0, "Offset": 3}]}], "TimeoutMs": 10_000});
    talk.quiet(21, 2, shorten).await?;
    for v in [4, 12, 18] {
        for offset in [0, 2, 3, 4, 8, 9] {
            let of = ask("fetch-short", &id, json!([part(0, offset, LOTS)]));
            talk.ask(&format!("offset {offset} after a deletion up to 3"), FETCH, v, of).await?;
        }
    }
    // Kafka waits for bytes that do not come, and answers when the wait is over.
    let mut waiting = ask("fetch-short", &id, json!([part(0, 8, LOTS)]));
    waiting["MinBytes"] = json!(1);
    talk.ask("a wait that ends with nothing", FETCH, 12, waiting).await?;
    Ok(())
}

pub async fn sessions(talk: &mut Talk) -> Result<()> {
    let id = create(talk, "session", 2, &[]).await?;
    let other = create(talk, "session-other", 1, &[]).await?;
    write(talk, "session", 0, &batch(&[TIME])).await?;
    write(talk, "session-other", 0, &batch(&[TIME])).await?;
    for v in 7..=*talk.versions(FETCH).end() {
        let in_session = |session: &Value, epoch: i32, topics: Value, forgotten: Value| {
            json!({
                "MaxWaitMs": 50, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionId": session, "SessionEpoch": epoch,
                "Topics": topics, "ForgottenTopicsData": forgotten,
            })
        };
        let both = json!([
            {"Topic": "session", "TopicId": id, "Partitions": [part(0, 0, LOTS), part(1, 0, LOTS)]},
            {"Topic": "session-other", "TopicId": other, "Partitions": [part(0, 0, LOTS)]},
        ]);
        let none = || json!([]);
        let first = talk.ask("begins", FETCH, v, in_session(&json!(0), 0, both.clone(), none())).await?;
        let session = &first["SessionId"];
        let moved = json!([{"Topic": "session", "TopicId": id, "Partitions": [part(0, 1, LOTS)]}]);
        talk.ask("a partition moves on", FETCH, v, in_session(session, 1, moved, none())).await?;
        let forgotten = json!([{"Topic": "session-other", "TopicId": other, "Partitions": [0]}]);
        talk.ask("a topic is forgotten", FETCH, v, in_session(session, 2, none(), forgotten)).await?;
        talk.ask("nothing changed", FETCH, v, in_session(session, 3, none(), none())).await?;
        talk.ask("an epoch again", FETCH, v, in_session(session, 3, none(), none())).await?;
        talk.ask("an epoch too far", FETCH, v, in_session(session, 9, none(), none())).await?;
        talk.ask("an unknown session", FETCH, v, in_session(&json!(77_777), 1, none(), none())).await?;
        talk.ask("the end of a session", FETCH, v, in_session(session, -1, both.clone(), none())).await?;
        talk.ask("after its end", FETCH, v, in_session(session, 4, none(), none())).await?;
        talk.ask("an end without a session", FETCH, v, in_session(&json!(0), -1, both.clone(), none()))
            .await?;
    }
    // A session belongs to names or to ids.
    let begin = |topics: Value| json!({"MaxWaitMs": 50, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionEpoch": 0, "Topics": topics});
    let go_on = |session: &Value, topics: Value| json!({"MaxWaitMs": 50, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionId": session, "SessionEpoch": 1, "Topics": topics});
    let topics = json!([{"Topic": "session", "TopicId": id, "Partitions": [part(0, 0, LOTS)]}]);
    let by_name = talk.ask("begins by name", FETCH, 12, begin(topics.clone())).await?;
    let ask = go_on(&by_name["SessionId"], topics.clone());
    talk.ask("by id in a session of names", FETCH, 13, ask).await?;
    let by_id = talk.ask("begins by id", FETCH, 13, begin(topics.clone())).await?;
    talk.ask("by name in a session of ids", FETCH, 12, go_on(&by_id["SessionId"], topics)).await?;
    let unknown = json!([{"Topic": "not-there", "TopicId": NO_ID, "Partitions": [part(0, 0, LOTS)]}]);
    for v in [12, 13] {
        talk.ask("begins with an unknown topic", FETCH, v, begin(unknown.clone())).await?;
    }
    Ok(())
}
