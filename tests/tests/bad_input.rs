//! What a broker makes of input that no honest client sends, or that a later client might: the table of bad input of
//! `docs/compat.md`, against the real handlers. Frames and bodies that do not parse are held by the tests of `wire`.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use tidegate_broker::api::{Answer, Handler};
use tidegate_tests::peer::{Peer, text};

const DESCRIBE_CLUSTER: i16 = 60;

#[tokio::test]
async fn unknown_tagged_fields_are_passed_over() {
    let mut peer = Peer::new().await;
    // include_cluster_authorized_operations, endpoint_type, then two tags that no version knows.
    let body = [0, 1, 2, 60, 3, 1, 2, 3, 99, 0];
    let answer = peer.raw(DESCRIBE_CLUSTER, 1, &body).await.expect("open").expect("answered");
    // Length, correlation id, tags of the header.
    let mut answer = answer.slice(9..);
    let answer = DescribeClusterResponse::decode(&mut answer, 1).expect("a v1 body");
    assert_eq!((answer.error_code, answer.brokers.len()), (0, 1));
    // A tag that says it is longer than what there is: the body does not parse.
    assert!(peer.raw(DESCRIBE_CLUSTER, 1, &[0, 1, 1, 60, 9, 1]).await.is_err());
}

#[tokio::test]
async fn a_client_id_is_any_text_or_none() {
    let mut peer = Peer::new().await;
    let long = "c".repeat(32_767);
    for id in [None, Some(""), Some(long.as_str()), Some("müßig\u{0}")] {
        let header = RequestHeader::default()
            .with_request_api_key(DESCRIBE_CLUSTER)
            .with_request_api_version(0)
            .with_correlation_id(7)
            .with_client_id(id.map(text));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, 2).expect("encodes");
        DescribeClusterRequest::default().encode(&mut frame, 0).expect("encodes");
        assert!(matches!(peer.surface.handle(frame.freeze()).await, Ok(Answer::Now(_))), "{id:?}");
    }
}

#[tokio::test]
async fn empty_lists_are_answered_with_empty_lists() {
    let mut peer = Peer::new().await;
    let created: CreateTopicsResponse = peer.call(19, 7, &CreateTopicsRequest::default()).await;
    let deleted: DeleteTopicsResponse = peer.call(20, 6, &DeleteTopicsRequest::default()).await;
    let grown: CreatePartitionsResponse = peer.call(37, 3, &CreatePartitionsRequest::default()).await;
    let described: DescribeConfigsResponse = peer.call(32, 4, &DescribeConfigsRequest::default()).await;
    let altered: IncrementalAlterConfigsResponse =
        peer.call(44, 1, &IncrementalAlterConfigsRequest::default()).await;
    let offsets: ListOffsetsResponse = peer.call(2, 10, &ListOffsetsRequest::default()).await;
    let trimmed: DeleteRecordsResponse = peer.call(21, 2, &DeleteRecordsRequest::default()).await;
    let produced: ProduceResponse =
        peer.call(0, 12, &ProduceRequest::default().with_transactional_id(None).with_acks(-1)).await;
    let sizes = [
        created.topics.len(),
        deleted.responses.len(),
        grown.results.len(),
        described.results.len(),
        altered.responses.len(),
        offsets.topics.len(),
        trimmed.topics.len(),
        produced.responses.len(),
    ];
    assert_eq!(sizes, [0; 8]);
}

#[tokio::test]
async fn what_cannot_be_decoded_closes_and_says_nothing() {
    let mut peer = Peer::new().await;
    let bodies: [(i16, i16, Bytes); 4] = [
        // A count of topics that is below -1, in an old and in a flexible version.
        (3, 1, Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFE])),
        (2, 1, Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFF, 0x80, 0, 0, 0])),
        // More topics than there are bytes.
        (19, 7, Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F])),
        // Nothing at all.
        (0, 9, Bytes::new()),
    ];
    for (key, version, body) in bodies {
        assert!(peer.raw(key, version, &body).await.is_err(), "key {key} version {version}");
    }
    let mut frame = BytesMut::new();
    frame.put_i16(3);
    assert!(peer.surface.handle(frame.freeze()).await.is_err(), "half a header");
}
