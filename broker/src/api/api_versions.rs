//! ApiVersions (key 18), v0 to v4. KIP-511 (client name, fallback to v0), KIP-584 (features), KAFKA-17011.
//!
//! Left out: features whose behaviour is not served are reported with maximum 0 or not at all, so that no client
//! turns transactions version 2 or the new group protocol on.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::errors::Code;
use super::{Answer, Close, Context, served_ranges, text};
use crate::broker::Broker;

/// Kafka's `metadata.version` level of 4.1-IV1.
const METADATA_VERSION: i16 = 27;
/// The oldest level Kafka 4.1 can read (3.3-IV3).
const METADATA_VERSION_MIN: i16 = 7;
/// Features whose minimum is 0 are told from this version on (KAFKA-17011).
const ZERO_MIN_FEATURES_FROM: i16 = 4;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &Context<'_>,
    request: ApiVersionsRequest,
) -> Result<Answer, Close> {
    let version = context.version();
    if version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        let refused = ApiVersionsResponse::default().with_error_code(Code::InvalidRequest.into());
        return context.answer(&refused);
    }
    let mut response = ApiVersionsResponse::default().with_api_keys(keys());
    if version >= 3 {
        response.supported_features.push(supported(
            "metadata.version",
            METADATA_VERSION_MIN,
            METADATA_VERSION,
        ));
        if version >= ZERO_MIN_FEATURES_FROM {
            response.supported_features.push(supported("group.version", 0, 0));
            response.supported_features.push(supported("transaction.version", 0, 0));
        }
        let finalized = FinalizedFeatureKey::default()
            .with_name(text("metadata.version"))
            .with_min_version_level(METADATA_VERSION)
            .with_max_version_level(METADATA_VERSION);
        response.finalized_features.push(finalized);
        response.finalized_features_epoch = broker.features_epoch();
    }
    context.answer(&response)
}

/// A version of the future gets a v0 body with the range of this key alone (KIP-511).
pub fn unsupported_version(context: &Context<'_>) -> Result<Answer, Close> {
    let own = keys().into_iter().filter(|k| k.api_key == ApiKey::ApiVersions as i16).collect();
    let response =
        ApiVersionsResponse::default().with_error_code(Code::UnsupportedVersion.into()).with_api_keys(own);
    context.frame(0, &response).map(Answer::Now)
}

fn keys() -> Vec<ApiVersion> {
    served_ranges()
        .map(|r| {
            ApiVersion::default()
                .with_api_key(r.key)
                .with_min_version(r.advertised_min)
                .with_max_version(r.max)
        })
        .collect()
}

fn supported(name: &str, min: i16, max: i16) -> SupportedFeatureKey {
    SupportedFeatureKey::default().with_name(text(name)).with_min_version(min).with_max_version(max)
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_software_name(s: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = s.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn software_names_follow_kip_511() {
        for good in ["librdkafka", "apache-kafka-java", "2.15.0", "a"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a_b"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
