//! The versions of Kafka 4.1 for every key of the broker listener.
//!
//! Owns: ranges and header versions. Dispatch and the ApiVersions answer are both derived from here.
//! Invariants: versions that 4.1 marks unstable are absent; a version in `min..=max` can be decoded.
//! Left out: keys of the controller listener, and keys 88 and 89, unstable in 4.1.

use crate::schema;

const API_VERSIONS: i16 = 18;
const PRODUCE: i16 = 0;

/// What Kafka 4.1 serves under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    pub key: i16,
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    /// What ApiVersions says instead of `min`: 0 for Produce, whose versions 0 to 2 are refused all the same. Old
    /// librdkafka switches compression off without it (KAFKA-18659).
    pub advertised_min: i16,
    pub flexible_from: Option<i16>,
}

impl ApiRange {
    #[must_use]
    pub fn contains(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// The range of a key, or `None` for a key that the broker listener does not know.
#[must_use]
pub fn range(key: i16) -> Option<ApiRange> {
    schema::request(key).map(range_of)
}

/// All ranges, by key.
pub fn ranges() -> impl Iterator<Item = ApiRange> {
    schema::REQUESTS.iter().map(range_of)
}

fn range_of(r: &schema::Request) -> ApiRange {
    let advertised_min = if r.key == PRODUCE { 0 } else { r.min };
    ApiRange {
        key: r.key,
        name: r.name,
        min: r.min,
        max: r.max,
        advertised_min,
        flexible_from: r.flexible_from,
    }
}

/// Header version of a request: 2 with tagged fields, else 1. Defined for versions out of range too, so that an
/// ApiVersions request of the future can be answered (KIP-511).
#[must_use]
pub fn request_header_version(key: i16, version: i16) -> Option<i16> {
    schema::request(key).map(|r| if r.is_flexible_in(version) { 2 } else { 1 })
}

/// Header version of a response: 1 with tagged fields, else 0. ApiVersions stays at 0, since a client reads that answer
/// before it knows what the broker speaks.
#[must_use]
pub fn response_header_version(key: i16, version: i16) -> Option<i16> {
    schema::request(key).map(|r| if key != API_VERSIONS && r.is_flexible_in(version) { 1 } else { 0 })
}
