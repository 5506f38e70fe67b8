//! The guard and kafka-protocol agree about the structure of every request, and lies are refused.

mod support;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::protocol::{HeaderVersion, Message, Request};
use proptest::prelude::*;
use support::{Dice, Visitor, all, crowded_body, lying_bodies, random_body, visit};
use tidegate_wire::guard::{self, GuardError};
use tidegate_wire::request::{self, DecodeError};

/// Decodes a valid body, encodes it again, and has the guard accept both.
struct RoundTrip {
    version: i16,
    body: Bytes,
}

impl Visitor for RoundTrip {
    fn visit<T: Request + Message + HeaderVersion + PartialEq + Debug + Default>(&mut self) {
        let context = format!("key {} version {}: {:02x?}", T::KEY, self.version, &self.body[..]);
        let decoded: T = request::decode(T::KEY, self.version, self.body.clone())
            .unwrap_or_else(|e| panic!("{context}: {e}"));
        let mut encoded = BytesMut::new();
        decoded.encode(&mut encoded, self.version).unwrap_or_else(|e| panic!("{context}: {e}"));
        let encoded = encoded.freeze();
        let again: T = request::decode(T::KEY, self.version, encoded.clone())
            .unwrap_or_else(|e| panic!("{context}: {e} after encoding"));
        // Bytes are compared, not values: a quota may be NaN.
        let mut twice = BytesMut::new();
        again.encode(&mut twice, self.version).unwrap_or_else(|e| panic!("{context}: {e}"));
        assert_eq!(twice, encoded, "{context}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_requests_of_every_version_pass_and_decode(seed: u64) {
        let mut dice = Dice(seed);
        for (request, version) in all() {
            let body = random_body(request, version, &mut dice).into();
            visit(request.key, &mut RoundTrip { version, body });
        }
    }

    #[test]
    fn what_the_guard_accepts_leaves_the_decoder_nothing_to_object(seed: u64) {
        let mut dice = Dice(seed);
        for (request, version) in all() {
            let mut body = random_body(request, version, &mut dice);
            for _ in 0..=dice.below(3) {
                if !body.is_empty() {
                    let at = dice.below(body.len());
                    body[at] = dice.next() as u8;
                }
            }
            visit(request.key, &mut Agree { version, body: body.into() });
        }
    }
}

/// A body that passes the guard decodes wholly, or fails for a string that is not UTF-8 or a tag out of its version:
/// the two things that the guard leaves to the decoder.
struct Agree {
    version: i16,
    body: Bytes,
}

impl Visitor for Agree {
    fn visit<T: Request + Message + HeaderVersion + PartialEq + Debug + Default>(&mut self) {
        let decoded = request::decode::<T>(T::KEY, self.version, self.body.clone());
        match decoded {
            Ok(_) | Err(DecodeError::Guard(_)) => {}
            Err(DecodeError::Decoder(m)) if m.contains("utf-8") || m.contains("Tag ") => {}
            Err(e) => panic!("key {} version {}: {:02x?}: {e}", T::KEY, self.version, &self.body[..]),
        }
    }
}

#[test]
fn default_requests_pass() {
    struct Default_(i16);
    impl Visitor for Default_ {
        fn visit<T: Request + Message + HeaderVersion + PartialEq + Debug + Default>(&mut self) {
            let mut encoded = BytesMut::new();
            if T::default().encode(&mut encoded, self.0).is_ok() {
                guard::check(T::KEY, self.0, &encoded)
                    .unwrap_or_else(|e| panic!("{} {}: {e}", T::KEY, self.0));
            }
        }
    }
    for (request, version) in all() {
        visit(request.key, &mut Default_(version));
    }
}

#[test]
fn every_cut_of_a_valid_body_is_refused() {
    let mut dice = Dice(7);
    for (request, version) in all() {
        let body = random_body(request, version, &mut dice);
        for len in 0..body.len() {
            let refused = guard::check(request.key, version, &body[..len]);
            assert!(refused.is_err(), "{} {version}: {len} of {} bytes", request.name, body.len());
        }
        let trailing = [&body[..], &[0]].concat();
        let checked = guard::check(request.key, version, &trailing).expect("what follows is ignored");
        assert_eq!(checked.len, body.len(), "{} {version}", request.name);
    }
}

#[test]
fn schemas_nest_no_deeper_than_the_stack_bears_and_have_no_empty_element() {
    fn depth(fields: &[tidegate_wire::schema::Field]) -> usize {
        use tidegate_wire::schema::Kind;
        fn of(kind: &Kind) -> usize {
            match kind {
                Kind::Fixed(n) => assert!(*n > 0),
                Kind::Text | Kind::Blob => {}
                Kind::Struct(fields) => return 1 + depth(fields),
                Kind::Array { element, size } => {
                    assert!(*size > 0);
                    return 1 + of(element);
                }
            }
            1
        }
        fields.iter().map(|f| of(&f.kind)).max().unwrap_or(0)
    }
    let deepest = all().map(|(r, _)| depth(r.fields)).max();
    assert!(deepest <= Some(12), "{deepest:?}");
}

#[test]
fn lies_have_their_own_errors() {
    let metadata = |version, body: &[u8]| guard::check(3, version, body);
    let count = |count, left| Err(GuardError::Count { field: "Topics", count, left });
    assert_eq!(metadata(1, &[0x7f, 0xff, 0xff, 0xff]), count(i32::MAX as u32, 0));
    assert_eq!(metadata(12, &[0xff, 0xff, 0xff, 0xff, 0x0f]), count(u32::MAX - 1, 0));
    assert_eq!(metadata(0, &[0xff; 4]), Err(GuardError::Null { field: "Topics" }));
    assert!(metadata(1, &[0xff; 4]).is_ok());
    assert_eq!(
        metadata(1, &[0xff, 0xff, 0xff, 0xfe]),
        Err(GuardError::Negative { field: "Topics", length: -2 })
    );
    assert_eq!(metadata(12, &[0xff; 5]), Err(GuardError::Varint));
    let twice = [1, 0, 0, 2, 9, 0, 9, 0];
    assert_eq!(metadata(12, &twice), Err(GuardError::TagOrder { tag: 9 }));
    assert_eq!(metadata(14, &[]), Err(GuardError::UnsupportedVersion { name: "Metadata", version: 14 }));
    assert_eq!(guard::check(4, 0, &[]), Err(GuardError::UnknownKey(4)));
    // DescribeTopicPartitions: no topics, limit 1, and a cursor that is neither there nor null.
    let describe = |presence| guard::check(75, 0, &[1, 0, 0, 0, 1, presence, 0]);
    assert!(describe(0xff).is_ok());
    assert_eq!(describe(2), Err(GuardError::Presence { field: "Cursor", byte: 2 }));
    assert_eq!(describe(0), Err(GuardError::Presence { field: "Cursor", byte: 0 }));
    // Fetch knows tag 0, a cluster id, and its size is not what the id takes.
    let (request, version) = all().find(|(r, v)| r.key == 1 && *v == 12).expect("fetch 12");
    let mut fetch = crowded_body(request, version, 0, 0, 0).expect("topics");
    assert_eq!(fetch.pop(), Some(0));
    fetch.extend([1, 0, 5, 2, b'a', 0, 0, 0]);
    assert_eq!(
        guard::check(1, 12, &fetch),
        Err(GuardError::TagSize { field: "ClusterId", stated: 5, found: 2 })
    );
}

#[test]
fn a_body_out_of_proportion_is_refused() {
    let (request, version) = all().find(|(r, v)| r.key == 3 && *v == 1).expect("metadata 1");
    let empty_names = |n| crowded_body(request, version, 0, n, 0).expect("topics");
    assert!(guard::check(3, 1, &empty_names(900)).is_ok());
    assert!(matches!(guard::check(3, 1, &empty_names(1000)), Err(GuardError::Cost(_))));
}

#[test]
fn lying_bodies_never_decode_to_more_than_their_bytes() {
    for (request, version) in all() {
        lying_bodies(request, version, &mut |body| {
            let body = Bytes::copy_from_slice(body);
            visit(request.key, &mut Agree { version, body });
        });
    }
}

#[test]
fn decoded_strings_and_records_are_slices_of_the_frame() {
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{ProduceRequest, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    let records = Bytes::from(vec![9; 5000]);
    let partition = PartitionProduceData::default().with_records(Some(records.clone()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("a-topic")))
        .with_partition_data(vec![partition]);
    let produce = ProduceRequest::default().with_topic_data(vec![topic]);
    for version in 3..=12 {
        let mut body = BytesMut::new();
        produce.encode(&mut body, version).expect("valid");
        let body = body.freeze();
        let decoded: ProduceRequest = request::decode(0, version, body.clone()).expect("valid");
        let topic = &decoded.topic_data[0];
        let sent = topic.partition_data[0].records.as_ref().expect("records");
        assert_eq!(*sent, records);
        assert!(body.as_ptr_range().contains(&sent.as_ptr()), "records were copied");
        assert!(body.as_ptr_range().contains(&topic.name.as_ptr()), "the name was copied");
    }
    let short = request::decode::<MetadataRequest>(3, 1, Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]));
    assert!(matches!(short, Err(DecodeError::Guard(GuardError::Count { .. }))));
}
