//! The committed table is what the definitions say.
//!
//! With `TIDEGATE_KAFKA_CLIENTS_JAR` naming kafka-clients 4.1.2, the table is derived anew and compared as text; without,
//! its digest is checked, so that a change by hand is found. kafka-protocol, which was generated from the same
//! definitions by others, is the second opinion in both cases.

#[path = "../generator/definitions.rs"]
#[allow(dead_code)]
mod definitions;
#[path = "../generator/emit.rs"]
mod emit;
mod support;

use std::fmt::Debug;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{HeaderVersion, Message, Request};
use support::{KEYS, Visitor};
use tidegate_wire::versions::{self, ApiRange};

const TABLE: &str = include_str!("../src/schema/table.rs");

#[test]
fn the_table_is_the_one_that_was_generated() {
    let (text, digest) = TABLE.trim_end().rsplit_once("// crc32c ").expect("the table ends with its digest");
    assert_eq!(
        digest,
        format!("{:08x}", crc32c::crc32c(text.as_bytes())),
        "generate the table, do not edit it"
    );
}

#[test]
fn the_table_is_that_of_the_jar() {
    let Some(jar) = std::env::var_os("TIDEGATE_KAFKA_CLIENTS_JAR") else {
        eprintln!("TIDEGATE_KAFKA_CLIENTS_JAR is not set: only the digest is checked");
        return;
    };
    let definitions = definitions::read(jar.as_ref()).expect("the jar has the definitions");
    assert!(
        emit::table(&definitions) == TABLE,
        "run the generator: src/schema/table.rs is not what the jar says"
    );
}

#[test]
fn kafka_protocol_has_the_same_versions_and_headers() {
    struct Compare(ApiRange);
    impl Visitor for Compare {
        fn visit<T: Request + Message + HeaderVersion + PartialEq + Debug + Default>(&mut self) {
            let range = self.0;
            assert_eq!(T::KEY, range.key);
            assert_eq!((T::VERSIONS.min, T::VERSIONS.max), (range.min, range.max), "{}", range.name);
            for version in range.min..=range.max {
                let ours = versions::request_header_version(range.key, version);
                assert_eq!(ours, Some(T::header_version(version)), "{} {version}", range.name);
                let ours = versions::response_header_version(range.key, version);
                assert_eq!(ours, Some(T::Response::header_version(version)), "{} {version}", range.name);
            }
        }
    }
    assert!(versions::ranges().map(|r| r.key).eq(KEYS.iter().copied()));
    for range in versions::ranges() {
        support::visit(range.key, &mut Compare(range));
    }
}

#[test]
fn the_ranges_are_those_of_kafka_4_1() {
    let minmax = |key| versions::range(key).map(|r| (r.min, r.max, r.advertised_min));
    assert_eq!(minmax(ApiKey::Produce as i16), Some((3, 13, 0)));
    assert_eq!(minmax(ApiKey::Fetch as i16), Some((4, 18, 4)));
    assert_eq!(minmax(ApiKey::JoinGroup as i16), Some((0, 9, 0)));
    assert_eq!(minmax(ApiKey::OffsetCommit as i16), Some((2, 9, 2)));
    assert_eq!(minmax(ApiKey::OffsetFetch as i16), Some((1, 9, 1)));
    assert_eq!(minmax(ApiKey::InitProducerId as i16), Some((0, 5, 0)));
    assert_eq!(minmax(ApiKey::ListOffsets as i16), Some((1, 10, 1)));
    for controller_only in [4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82] {
        assert_eq!(minmax(controller_only), None, "{controller_only}");
    }
    for unstable_or_unknown in [88, 89, 93, -1, i16::MIN, i16::MAX] {
        assert_eq!(minmax(unstable_or_unknown), None, "{unstable_or_unknown}");
    }
    // KIP-511: an ApiVersions request of the future has a flexible header, and its answer never has.
    assert_eq!(versions::request_header_version(18, 99), Some(2));
    assert_eq!(versions::response_header_version(18, 99), Some(0));
}
