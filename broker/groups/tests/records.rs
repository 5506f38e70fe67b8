//! The records of `__consumer_offsets`, held against bytes that Kafka 4.1.2 wrote for the same values.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_groups::records::group::{GroupValue, MemberValue};
use tidegate_groups::records::{self, Key, RecordError, group, offset};
use tidegate_groups::*;
use uuid::Uuid;

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|c| u8::from_str_radix(std::str::from_utf8(c).expect("ascii"), 16).expect("hexadecimal"))
        .collect()
}

fn committed() -> Committed {
    Committed {
        offset: 42,
        leader_epoch: 5,
        metadata: "mé".into(),
        commit_ms: 1_700_000_000_123,
        expire_ms: None,
        topic_id: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
    }
}

fn group_value() -> GroupValue {
    GroupValue {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("m-1".into()),
        state_ms: 1_700_000_000_456,
        members: vec![MemberValue {
            member: "m-1".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            subscription: Bytes::from_static(&[1, 2, 3]),
            assignment: Bytes::from_static(&[4]),
        }],
    }
}

const OFFSET_VALUES: [&str; 5] = [
    "0000000000000000002a00036dc3a90000018bcfe5687b",
    "0001000000000000002a00036dc3a90000018bcfe5687b0000018bcfe58f0f",
    "0002000000000000002a00036dc3a90000018bcfe5687b",
    "0003000000000000002a0000000500036dc3a90000018bcfe5687b",
    "0004000000000000002a00000005046dc3a90000018bcfe5687b0100100102030405060708090a0b0c0d0e0f10",
];
const GROUP_VALUES: [&str; 5] = [
    "00000008636f6e73756d657200000003000572616e676500036d2d310000000100036d2d3100016300022f6800002710000000030102030000000104",
    "00010008636f6e73756d657200000003000572616e676500036d2d310000000100036d2d3100016300022f680000ea6000002710000000030102030000000104",
    "00020008636f6e73756d657200000003000572616e676500036d2d310000018bcfe569c80000000100036d2d3100016300022f680000ea6000002710000000030102030000000104",
    "00030008636f6e73756d657200000003000572616e676500036d2d310000018bcfe569c80000000100036d2d3100016900016300022f680000ea6000002710000000030102030000000104",
    "000409636f6e73756d6572000000030672616e6765046d2d310000018bcfe569c802046d2d3102690263032f680000ea60000027100401020302040000",
];

#[test]
fn keys_are_kafkas() {
    let offset = Key::Offset { group: "gr".into(), topic: "tö".into(), partition: 7 };
    let legacy = "000000026772000374c3b600000007";
    let current = "000100026772000374c3b600000007";
    assert_eq!(Key::read(&hex(legacy)), Ok(offset.clone()));
    assert_eq!(Key::read(&hex(current)), Ok(offset));
    assert_eq!(records::offset_tombstone("gr", "tö", 7).key, hex(current));
    assert_eq!(Key::read(&hex("000200026772")), Ok(Key::Group { group: "gr".into() }));
    assert_eq!(records::group_tombstone("gr").key, hex("000200026772"));
    for version in [3i16, 15, i16::MAX, -1] {
        assert_eq!(Key::read(&version.to_be_bytes()), Ok(Key::Unknown { version }));
    }
}

#[test]
fn committed_offsets_of_every_version_are_read() {
    let bare = Committed { leader_epoch: -1, topic_id: Uuid::nil(), ..committed() };
    let expected = [
        bare.clone(),
        Committed { expire_ms: Some(1_700_000_009_999), ..bare.clone() },
        bare.clone(),
        Committed { leader_epoch: 5, ..bare },
        committed(),
    ];
    for (bytes, expected) in OFFSET_VALUES.iter().zip(expected) {
        assert_eq!(offset::decode(&hex(bytes)), Ok(expected), "{bytes}");
    }
}

#[test]
fn committed_offsets_are_written_as_kafka_writes_them() {
    assert_eq!(offset::encode(&committed()), hex(OFFSET_VALUES[4]));
    let expires = Committed { expire_ms: Some(1_700_000_009_999), ..committed() };
    assert_eq!(offset::encode(&expires), hex(OFFSET_VALUES[1]));
    let least = Committed {
        leader_epoch: -1,
        metadata: "".into(),
        commit_ms: 1,
        topic_id: Uuid::nil(),
        ..committed()
    };
    assert_eq!(offset::encode(&least), hex("0004000000000000002affffffff01000000000000000100"));
}

#[test]
fn groups_of_every_version_are_read_and_written_as_kafka_writes_them() {
    for (version, bytes) in GROUP_VALUES.iter().enumerate() {
        let mut expected = group_value();
        if version < 3 {
            expected.members[0].instance = None;
        }
        if version < 2 {
            expected.state_ms = -1;
        }
        if version < 1 {
            expected.members[0].rebalance_timeout_ms = -1;
        }
        assert_eq!(group::decode(&hex(bytes)), Ok(expected), "{bytes}");
    }
    assert_eq!(group::encode(&group_value()), hex(GROUP_VALUES[3]));
    let empty = GroupValue {
        protocol_type: "".into(),
        generation: 0,
        protocol: None,
        leader: None,
        state_ms: 5,
        members: vec![],
    };
    assert_eq!(group::encode(&empty), hex("0003000000000000ffffffff000000000000000500000000"));
}

#[test]
fn a_later_version_is_an_error_and_a_later_kind_is_skipped() {
    let mut bytes = hex(OFFSET_VALUES[4]);
    bytes[1] = 5;
    let unknown = RecordError::Version { what: "OffsetCommitValue", version: 5 };
    assert_eq!(offset::decode(&bytes), Err(unknown));
    let mut loading = Loading::new(Arc::new(Config::default()));
    assert_eq!(loading.replay(Some(&[0, 3, 1, 2, 3]), Some(&[9]), 0), Ok(()));
    assert_eq!((loading.skipped(), loading.groups()), (1, 0));
}

#[test]
fn a_damaged_record_names_its_offset() {
    let mut loading = Loading::new(Arc::new(Config::default()));
    let key = records::offset_tombstone("g", "t", 0).key;
    let error = loading.replay(Some(&key), Some(&[0, 4, 0]), 77).expect_err("it is cut off");
    assert!(error.to_string().starts_with("offset 77: "), "{error}");
    assert!(loading.replay(None, None, 78).is_err());
}

#[test]
fn a_group_that_contradicts_itself_is_damaged() {
    let own = group_value();
    let twice = GroupValue { members: vec![own.members[0].clone(), own.members[0].clone()], ..own.clone() };
    let no_protocol = GroupValue { protocol: None, ..own.clone() };
    let no_type = GroupValue { protocol_type: "".into(), ..own.clone() };
    for value in [twice, no_protocol, no_type] {
        let record = records::group_record("g", group::encode(&value));
        let mut loading = Loading::new(Arc::new(Config::default()));
        assert!(loading.replay(Some(&record.key), record.value.as_deref(), 1).is_err(), "{value:?}");
    }
    // A leader that is not there is no reason to give up the group.
    let record = records::group_record("g", group::encode(&GroupValue { leader: Some("x".into()), ..own }));
    let mut loading = Loading::new(Arc::new(Config::default()));
    assert_eq!(loading.replay(Some(&record.key), record.value.as_deref(), 1), Ok(()));
}

#[test]
fn a_groups_tombstone_leaves_its_offsets() {
    let mut loading = Loading::new(Arc::new(Config::default()));
    let group = records::group_record("g", group::encode(&group_value()));
    let offset = records::offset_record("g", "t", 0, &committed());
    let tombstone = records::group_tombstone("g");
    for (n, record) in [&group, &offset, &tombstone].into_iter().enumerate() {
        loading.replay(Some(&record.key), record.value.as_deref(), n as i64).expect("whole");
    }
    let now = Now { mono_ms: 0, wall_ms: 0 };
    let shard = loading.finish(now, &mut Effects::default());
    assert_eq!(shard.describe(6, "g").state, GroupState::Empty);
    assert_eq!(shard.offset("g", "t", Uuid::nil(), 0).map(|c| c.offset), Some(42));
}

/// Every cut and every changed byte of whole records is read or refused.
#[test]
fn cut_and_changed_records_never_panic() {
    let wholes = OFFSET_VALUES.iter().chain(&GROUP_VALUES).map(|h| hex(h));
    for whole in wholes {
        for cut in 0..whole.len() {
            assert!(offset::decode(&whole[..cut]).is_err() || group::decode(&whole[..cut]).is_err());
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[cut] = byte;
                let _ = (offset::decode(&changed), group::decode(&changed), Key::read(&changed));
            }
        }
    }
}

#[test]
fn a_count_that_cannot_be_true_reserves_nothing() {
    let mut bytes = hex(GROUP_VALUES[3]);
    let at = bytes.windows(4).position(|w| w == [0, 0, 0, 1]).expect("one member");
    bytes[at..at + 4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(matches!(group::decode(&bytes), Err(RecordError::Count { count: 0x7fff_ffff, .. })));
}

#[test]
fn subscriptions_of_every_version_are_read_for_their_topics() {
    let topics = |bytes: &[u8]| {
        let mut into = std::collections::BTreeSet::new();
        subscription::add_topics(bytes, &mut into)
            .map(|()| into.iter().map(|t| t.to_string()).collect::<Vec<_>>())
    };
    let body = "0000000200016200016100000002ffff";
    for version in ["0000", "0001", "0002", "0003", "0063"] {
        // Owned partitions, generation and rack follow in later versions.
        let rest = if version == "0000" { "" } else { "00000000ffffffffffff" };
        let bytes = hex(&format!("{version}{body}{rest}"));
        assert_eq!(topics(&bytes), Some(vec!["a".into(), "b".into()]), "version {version}");
    }
    for bad in
        ["", "00", "ffff00000000ffffffff", "0000ffffffff", "00007fffffff", "0000000000010005", "000000000000"]
    {
        assert_eq!(topics(&hex(bad)), None, "{bad}");
    }
    assert_eq!(topics(&hex("000000000001000180ffffffff")), None, "not UTF-8");
}

fn name() -> impl Strategy<Value = Name> {
    "[a-zé]{0,12}".prop_map(Name::from)
}

fn blob() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

prop_compose! {
    fn member()(
        member in name(), instance in proptest::option::of(name()), client_id in name(), client_host in name(),
        rebalance_timeout_ms in any::<i32>(), session_timeout_ms in any::<i32>(), subscription in blob(),
        assignment in blob(),
    ) -> MemberValue {
        MemberValue {
            member, instance, client_id, client_host, rebalance_timeout_ms, session_timeout_ms, subscription, assignment,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        protocol_type in name(), generation in any::<i32>(), protocol in proptest::option::of(name()),
        leader in proptest::option::of(name()), state_ms in any::<i64>(),
        members in proptest::collection::vec(member(), 0..4),
        offset in any::<i64>(), leader_epoch in any::<i32>(), metadata in name(), commit_ms in any::<i64>(),
        expire_ms in proptest::option::of(0..i64::MAX), topic_id in any::<u128>(),
    ) {
        let value = GroupValue { protocol_type, generation, protocol, leader, state_ms, members };
        let bytes = group::encode(&value);
        prop_assert_eq!(bytes.len(), group::encoded_len(&value));
        prop_assert_eq!(group::decode(&bytes), Ok(value));
        let mut value = Committed {
            offset, leader_epoch, metadata, commit_ms, expire_ms, topic_id: Uuid::from_u128(topic_id),
        };
        let bytes = offset::encode(&value);
        if value.expire_ms.is_some() {
            // Version 1 has neither.
            (value.leader_epoch, value.topic_id) = (-1, Uuid::nil());
        }
        prop_assert_eq!(offset::decode(&bytes), Ok(value));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0u8..6) {
        let _ = Key::read(&bytes);
        let mut versioned = vec![0, version];
        versioned.extend_from_slice(&bytes);
        let _ = (offset::decode(&versioned), group::decode(&versioned));
        let _ = subscription::add_topics(&bytes, &mut std::collections::BTreeSet::new());
    }
}
