//! Produce, InitProducerId.

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_common::{Batch, Offset, batch as plain};
use tidegate_wire::records::{Codec, RecordsBuilder};

use super::{NO_ID, TIME, batch, bytes_of, create, produce_request, records, write};
use crate::codec::{hex, unhex};
use crate::talk::Talk;

const PRODUCE: i16 = 0;

pub async fn every_version(talk: &mut Talk) -> Result<()> {
    let id = create(talk, "produce", 2, &[]).await?;
    let stamped = create(talk, "produce-stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await?;
    write(talk, "produce", 0, &batch(&[TIME])).await?;
    write(talk, "produce-stamped", 0, &batch(&[TIME])).await?;
    for v in talk.versions(PRODUCE) {
        let two = batch(&[TIME, TIME + 1]);
        for acks in [-1, 1] {
            let ask = produce_request("produce", &id, &[(0, Some(&two))], acks);
            talk.ask(&format!("acks {acks}"), PRODUCE, v, ask).await?;
        }
        let both = [(0, Some(two.as_str())), (1, Some(two.as_str()))];
        talk.ask("two partitions", PRODUCE, v, produce_request("produce", &id, &both, -1)).await?;
        let ask = produce_request("produce-stamped", &stamped, &[(0, Some(&two))], -1);
        talk.ask("log append time", PRODUCE, v, ask).await?;
        let none = json!({"Acks": -1, "TimeoutMs": 10_000, "TopicData": []});
        talk.ask("nothing", PRODUCE, v, none).await?;
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = bytes_of(&records(codec, &[TIME, TIME]).build(Offset(0)));
            let ask = produce_request("produce", &id, &[(0, Some(&packed))], -1);
            talk.ask(&format!("{codec:?}"), PRODUCE, v, ask).await?;
        }
        for (label, topic, id, partition) in [
            ("unknown topic", "not-there", NO_ID, 0),
            ("unknown partition", "produce", id.as_str(), 9),
            ("negative partition", "produce", id.as_str(), -1),
            ("neither id nor name", "", "", 0),
        ] {
            let ask = produce_request(topic, id, &[(partition, Some(&two))], -1);
            talk.ask(label, PRODUCE, v, ask).await?;
        }
        for acks in [2, -2] {
            let ask = produce_request("produce", &id, &[(0, Some(&two))], acks);
            talk.ask(&format!("acks {acks}"), PRODUCE, v, ask).await?;
        }
        // acks 0 has no answer: the next one on the connection is the next request's.
        let mut conn = talk.connect().await?;
        let ask = produce_request("produce", &id, &[(0, Some(&two))], 0);
        talk.send(&mut conn, "acks 0", PRODUCE, v, ask).await?;
        talk.expect_none(&mut conn)?;
        let ask = json!({"Topics": []});
        talk.ask_on(&mut conn, &format!("after acks 0 of v{v}"), 3, 12, ask.clone()).await?;
        let lost = produce_request("not-there", NO_ID, &[(0, Some(&two))], 0);
        talk.send(&mut conn, "acks 0 to an unknown topic", PRODUCE, v, lost).await?;
        talk.expect_none(&mut conn)?;
        talk.ask_on(&mut conn, &format!("after a lost acks 0 of v{v}"), 3, 12, ask).await?;
    }
    Ok(())
}

/// A batch whose head says something else than its records, with a right CRC.
fn head(base: i64, count: i32, change: impl FnOnce(&mut Batch)) -> String {
    let mut batch = records(Codec::None, &vec![TIME; count as usize]).build(Offset(base));
    change(&mut batch);
    batch.reseal();
    bytes_of(&batch)
}

fn at<const N: usize>(batch: &mut Batch, from: usize, bytes: [u8; N]) {
    batch.head.0[from..from + N].copy_from_slice(&bytes);
}

pub async fn refused(talk: &mut Talk) -> Result<()> {
    // Each request has a partition of its own, so that what one broker takes and the other does not shifts no offset.
    let id = create(talk, "refused", 100, &[("max.message.bytes", "2000")]).await?;
    let mut partition = 0..;
    create(talk, "refused-segments", 1, &[("segment.bytes", "1048576"), ("max.message.bytes", "4000000")])
        .await?;
    create(talk, "refused-isr", 1, &[("min.insync.replicas", "2")]).await?;
    let late = [("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")];
    create(talk, "refused-late", 1, &late).await?;
    write(talk, "refused", 99, &batch(&[TIME])).await?;
    for topic in ["refused-segments", "refused-late"] {
        write(talk, topic, 0, &batch(&[-1])).await?;
    }
    let good = batch(&[TIME]);
    let mut wrong_crc = unhex(&good)?;
    *wrong_crc.last_mut().expect("bytes") ^= 1;
    let mut short = unhex(&good)?;
    short.truncate(short.len() - 3);
    let mut magic = unhex(&good)?;
    magic[16] = 1;
    let mut long = unhex(&good)?;
    long[11] += 1;
    let cases: Vec<(&str, String)> = vec![
        ("crc is wrong", hex(&wrong_crc)),
        ("batch is cut", hex(&short)),
        ("length says more", hex(&long)),
        ("magic 1", hex(&magic)),
        ("no bytes", String::new()),
        ("nonsense", hex(b"nonsense")),
        ("two batches", format!("{good}{good}")),
        ("base offset 5", head(5, 1, |_| ())),
        ("count 0", head(0, 1, |b| at(b, 57, 0i32.to_be_bytes()))),
        ("count -1", head(0, 1, |b| at(b, 57, (-1i32).to_be_bytes()))),
        ("count above the delta", head(0, 2, |b| at(b, 57, 3i32.to_be_bytes()))),
        ("count below the delta", head(0, 2, |b| at(b, 57, 1i32.to_be_bytes()))),
        ("delta below the count", head(0, 2, |b| at(b, 23, 0i32.to_be_bytes()))),
        ("control batch", head(0, 1, |b| at(b, 21, 0x20i16.to_be_bytes()))),
        ("transactional batch without a producer", head(0, 1, |b| at(b, 21, 0x10i16.to_be_bytes()))),
        ("claims log append time", head(0, 1, |b| at(b, 21, 8i16.to_be_bytes()))),
        ("codec 5", head(0, 1, |b| at(b, 21, 5i16.to_be_bytes()))),
        ("codec 7", head(0, 1, |b| at(b, 21, 7i16.to_be_bytes()))),
        ("delete horizon flag", head(0, 1, |b| at(b, 21, 0x40i16.to_be_bytes()))),
        (
            "producer without a sequence",
            head(0, 1, |b| {
                at(b, 43, 900_001i64.to_be_bytes());
                at(b, 51, 0i16.to_be_bytes());
            }),
        ),
        ("partition leader epoch set", head(0, 1, |b| at(b, 12, 77i32.to_be_bytes()))),
        ("inner offsets are not consecutive", {
            let mut records = RecordsBuilder::new(Codec::None);
            records.push_at(0, TIME, None, Some(b"a"), &[]).push_at(2, TIME, None, Some(b"b"), &[]);
            bytes_of(&records.build(Offset(0)))
        }),
        (
            "body is no record",
            bytes_of(&plain::build(Offset(0), 1, TIME, TIME, Bytes::from_static(&[0xff; 12]))),
        ),
        ("bytes behind the last record", {
            let mut batch = records(Codec::None, &[TIME]).build(Offset(0));
            batch.body = [batch.body.as_ref(), b"more"].concat().into();
            let length = (batch.body.len() + 49) as i32;
            at(&mut batch, 8, length.to_be_bytes());
            batch.reseal();
            bytes_of(&batch)
        }),
        ("claims zstd, is plain", head(0, 1, |b| at(b, 21, 4i16.to_be_bytes()))),
        ("maximum time below the records'", head(0, 1, |b| at(b, 35, (TIME - 5).to_be_bytes()))),
        ("no time", batch(&[-1])),
        ("a time in the future", batch(&[4_000_000_000_000])),
        ("above max.message.bytes", {
            let mut records = RecordsBuilder::new(Codec::None);
            records.push(TIME, None, Some(&[b'x'; 2_500]), &[]);
            bytes_of(&records.build(Offset(0)))
        }),
        ("last that is good", good.clone()),
    ];
    for (label, records) in &cases {
        for v in [7, 9, 13] {
            let n = partition.next().unwrap_or(0);
            let ask = produce_request("refused", &id, &[(n, Some(records))], -1);
            talk.ask(label, PRODUCE, v, ask).await?;
        }
    }
    for v in [7, 9, 12] {
        let mut large = RecordsBuilder::new(Codec::None);
        large.push(TIME, None, Some(&vec![b'x'; 1_100_000]), &[]);
        let large = bytes_of(&large.build(Offset(0)));
        let ask = produce_request("refused-segments", "", &[(0, Some(&large))], -1);
        talk.ask("above segment.bytes", PRODUCE, v, ask).await?;
        let ask = |topic: &str, acks| produce_request(topic, "", &[(0, Some(&good))], acks);
        talk.ask("fewer in sync than min.insync.replicas", PRODUCE, v, ask("refused-isr", -1)).await?;
        talk.ask("fewer in sync, acks 1", PRODUCE, v, ask("refused-isr", 1)).await?;
        talk.ask("a time before the bound", PRODUCE, v, ask("refused-late", -1)).await?;
        let future = batch(&[4_000_000_000_000]);
        let ask = produce_request("refused-late", "", &[(0, Some(&future))], -1);
        talk.ask("a time after the bound", PRODUCE, v, ask).await?;
        let n = partition.next().unwrap_or(0);
        let ask = produce_request("refused", "", &[(n, Some(&good)), (n, Some(&good))], -1);
        talk.ask("a partition twice", PRODUCE, v, ask).await?;
    }
    Ok(())
}

async fn producer_id(talk: &mut Talk) -> Result<i64> {
    let ask = json!({"TransactionalId": null, "TransactionTimeoutMs": 60_000, "ProducerId": -1, "ProducerEpoch": -1});
    let answer = talk.until("a producer id", 22, 4, ask, |a| a["ErrorCode"] == 0).await?;
    Ok(answer["ProducerId"].as_i64().unwrap_or(-1))
}

fn sequenced(producer: i64, epoch: i16, sequence: i32, count: usize) -> String {
    bytes_of(&records(Codec::None, &vec![TIME; count]).producer(producer, epoch, sequence).build(Offset(0)))
}

pub async fn idempotent(talk: &mut Talk) -> Result<()> {
    let id = create(talk, "idempotent", 2, &[]).await?;
    write(talk, "idempotent", 0, &batch(&[TIME])).await?;
    let (a, b, c) = (producer_id(talk).await?, producer_id(talk).await?, producer_id(talk).await?);
    let send = |records: &str| produce_request("idempotent", &id, &[(0, Some(records))], -1);
    let mut steps: Vec<(String, String)> = Vec::new();
    for n in 0..6 {
        steps.push((format!("batch {n}"), sequenced(a, 0, 2 * n, 2)));
    }
    for (label, records) in [
        ("the fifth last again", sequenced(a, 0, 2, 2)),
        ("the last again", sequenced(a, 0, 10, 2)),
        ("the sixth last again", sequenced(a, 0, 0, 2)),
        ("half of the last again", sequenced(a, 0, 10, 1)),
        ("a gap", sequenced(a, 0, 14, 1)),
        ("a new epoch that begins at 5", sequenced(a, 1, 5, 1)),
        ("a new epoch", sequenced(a, 1, 0, 1)),
        ("the old epoch", sequenced(a, 0, 12, 1)),
        ("the new epoch goes on", sequenced(a, 1, 1, 1)),
        ("an unknown producer in the middle", sequenced(b, 3, 70, 1)),
        ("the unknown producer goes on", sequenced(b, 3, 71, 1)),
        ("a sequence near the end of the range", sequenced(c, 0, i32::MAX, 2)),
        ("a sequence that has wrapped", sequenced(c, 0, 1, 1)),
    ] {
        steps.push((label.to_owned(), records));
    }
    for (label, records) in &steps {
        talk.ask(label, PRODUCE, 9, send(records)).await?;
    }
    for v in [7, 9, 12] {
        let (d, e) = (producer_id(talk).await?, producer_id(talk).await?);
        let (x, y) = (sequenced(d, 0, 0, 1), sequenced(e, 0, 0, 1));
        let two = produce_request("idempotent", &id, &[(0, Some(&x)), (1, Some(&y))], -1);
        talk.ask("two producers in one request", PRODUCE, v, two).await?;
        let f = producer_id(talk).await?;
        let txn = records(Codec::None, &[TIME]).flags(RecordsBuilder::TRANSACTIONAL).producer(f, 0, 0);
        let txn = bytes_of(&txn.build(Offset(0)));
        let mut ask: Value = send(&txn);
        ask["TransactionalId"] = json!("not-begun");
        talk.ask("transactional without a transaction", PRODUCE, v, ask).await?;
    }
    let all = json!({
        "ReplicaId": -1, "MaxWaitMs": 100, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionEpoch": -1,
        "Topics": [{"Topic": "idempotent", "Partitions": [{"Partition": 0, "PartitionMaxBytes": 1 << 20}]}],
    });
    talk.ask("what is in the log", 1, 12, all).await?;
    Ok(())
}

pub async fn init_producer_id(talk: &mut Talk) -> Result<()> {
    // Kafka fetches its first block of ids when one is asked for.
    producer_id(talk).await?;
    for v in talk.versions(22) {
        let ask = |id: Value, timeout: i32, producer: i64, epoch: i16| {
            json!({
                "TransactionalId": id, "TransactionTimeoutMs": timeout,
                "ProducerId": producer, "ProducerEpoch": epoch,
            })
        };
        talk.ask("idempotent", 22, v, ask(json!(null), 60_000, -1, -1)).await?;
        talk.ask("timeout of no use", 22, v, ask(json!(null), -5, -1, -1)).await?;
        talk.ask("empty transactional id", 22, v, ask(json!(""), 60_000, -1, -1)).await?;
        if v >= 3 {
            talk.ask("an id without an epoch", 22, v, ask(json!(null), 60_000, 5, -1)).await?;
            talk.ask("an epoch without an id", 22, v, ask(json!(null), 60_000, -1, 5)).await?;
            talk.ask("an id with its epoch", 22, v, ask(json!(null), 60_000, 5, 0)).await?;
        }
        talk.ask("transactional", 22, v, ask(json!(format!("oracle-{v}")), 60_000, -1, -1)).await?;
    }
    Ok(())
}
