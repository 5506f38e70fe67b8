//! Input that no client sends: what closes the connection, and what is tolerated.

use anyhow::Result;
use serde_json::json;

use super::create;
use crate::codec::put_varint;
use crate::talk::Talk;

const METADATA: i16 = 3;

pub async fn all(talk: &mut Talk) -> Result<()> {
    create(talk, "bad-input", 1, &[]).await?;
    for (label, key, version) in [
        ("unknown key", 999, 0),
        ("negative key", -1, 0),
        ("key that Kafka 4 removed", 4, 0),
        ("key of the controller", 52, 0),
        ("telemetry, which is hidden", 71, 0),
        ("version above the range", METADATA, 99),
        ("version below the range", 1, 3),
        ("negative version", METADATA, -1),
        ("produce of version 2, which is advertised", 0, 2),
    ] {
        talk.ask_bytes(label, key, version, &[0; 32]).await?;
    }
    let good = talk.body(
        METADATA,
        12,
        &json!({"Topics": [{"Name": "bad-input"}], "AllowAutoTopicCreation": false}),
    )?;
    let old =
        talk.body(METADATA, 4, &json!({"Topics": [{"Name": "bad-input"}], "AllowAutoTopicCreation": false}))?;
    talk.ask_bytes("whole", METADATA, 12, &good).await?;
    talk.ask_bytes("cut", METADATA, 12, &good[..good.len() - 3]).await?;
    talk.ask_bytes("cut", METADATA, 4, &old[..old.len() - 3]).await?;
    talk.ask_bytes("empty body", METADATA, 12, &[]).await?;
    let more = |body: &[u8]| [body, b"abc"].concat();
    talk.ask_bytes("bytes behind", METADATA, 12, &more(&good)).await?;
    talk.ask_bytes("bytes behind", METADATA, 4, &more(&old)).await?;
    // A count of -5, of -1 where it means all topics, and of two thousand millions.
    talk.ask_bytes("negative count", METADATA, 4, &[0xff, 0xff, 0xff, 0xfb, 0]).await?;
    talk.ask_bytes("huge count", METADATA, 4, &[0x7f, 0xff, 0xff, 0xff, 0]).await?;
    talk.ask_bytes("huge compact count", METADATA, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).await?;
    talk.ask_bytes("endless varint", METADATA, 12, &[0xff; 16]).await?;
    let negative_name = [0, 0, 0, 1, 0xff, 0xf0, 0];
    talk.ask_bytes("negative length of a name", METADATA, 4, &negative_name).await?;
    let null_name = [0, 0, 0, 1, 0xff, 0xff, 0];
    talk.ask_bytes("null where a name must be", METADATA, 4, &null_name).await?;
    let no_utf8 = [0, 0, 0, 1, 0, 2, 0xc3, 0x28, 0];
    talk.ask_bytes("a name that is no UTF-8", METADATA, 4, &no_utf8).await?;

    // The last byte is the count of tagged fields.
    let mut tagged = good[..good.len() - 1].to_vec();
    put_varint(&mut tagged, 1);
    put_varint(&mut tagged, 4_000);
    put_varint(&mut tagged, 3);
    tagged.extend_from_slice(b"any");
    talk.ask_bytes("unknown tagged field", METADATA, 12, &tagged).await?;
    tagged.truncate(tagged.len() - 2);
    talk.ask_bytes("tagged field that is cut", METADATA, 12, &tagged).await?;

    for (label, id) in [
        ("no client id", None),
        ("empty client id", Some(String::new())),
        ("client id of 30,000", Some("c".repeat(30_000))),
    ] {
        talk.client_id = id;
        for v in [0, 12] {
            let ask = json!({"Topics": [{"Name": "bad-input"}], "AllowAutoTopicCreation": true});
            talk.ask(label, METADATA, v, ask).await?;
        }
    }
    talk.client_id = Some("oracle".to_owned());

    let hello =
        [&[0x16u8, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03][..], &[7; 506]].concat();
    let length = |n: i32| n.to_be_bytes().to_vec();
    let head_only = talk.frame(METADATA, 12, 1, &[])[..10].to_vec();
    let mut cut_head = length(3);
    cut_head.extend_from_slice(&[0, 3, 0]);
    for (label, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS", hello),
        ("negative frame length", length(-1)),
        ("frame length of the least number", length(i32::MIN)),
        ("frame length above socket.request.max.bytes", length(104_857_601)),
        ("frame of no bytes", length(0)),
        ("frame that ends within the header", cut_head),
        ("frame whose client id is longer than it", {
            let mut frame = length(10);
            frame.extend_from_slice(&head_only[4..10]);
            frame.extend_from_slice(&[0, 0, 0x7f, 0xff]);
            frame
        }),
    ] {
        talk.raw(label, -1, 0, &bytes).await?;
    }
    Ok(())
}
