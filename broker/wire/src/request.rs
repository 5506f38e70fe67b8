//! Request head and body.
//!
//! Owns: the only way from a frame to a decoded request: head, guard, decoder.
//! Invariants: no input panics or allocates out of proportion ([`guard`]); strings and records of the decoded request
//! are slices of the frame.
//! Never: decides whether a request is allowed.

use bytes::{Buf, Bytes};
use kafka_protocol::protocol::{Decodable, StrBytes};
use thiserror::Error;

use crate::guard::{self, GuardError, take_varint};
use crate::versions;

/// What stands before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// A slice of the frame: whoever keeps it longer than the request copies it.
    pub client_id: Option<StrBytes>,
}

/// Why a frame has no head. The connection is closed on each of them, as in Kafka.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum HeadError {
    #[error("the frame of {0} bytes ends within the request header")]
    Short(usize),
    #[error("unknown api key {0}")]
    UnknownKey(i16),
    #[error("client id of length {0}")]
    ClientIdLength(i16),
    #[error("client id is not UTF-8")]
    ClientIdUtf8,
    #[error("tagged fields of the header: {0}")]
    Tags(GuardError),
}

/// Why a body is not a request.
#[derive(Debug, Error)]
pub enum DecodeError {
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error("{0}")]
    Decoder(String),
    /// A bug: the guard and the decoder disagree about the structure.
    #[error("the decoder left {0} bytes that the guard had accounted for")]
    Remaining(usize),
}

/// Cuts the head off a frame (without the size prefix) and leaves the body. The version may be out of range: only an
/// ApiVersions request of an unknown version gets an answer, and it needs the correlation id (KIP-511).
///
/// # Errors
/// [`HeadError`]; the frame is then of no further use.
pub fn parse_head(frame: &mut Bytes) -> Result<RequestHead, HeadError> {
    let total = frame.len();
    let short = |_| HeadError::Short(total);
    let api_key = frame.try_get_i16().map_err(short)?;
    let api_version = frame.try_get_i16().map_err(short)?;
    let correlation_id = frame.try_get_i32().map_err(short)?;
    let header_version =
        versions::request_header_version(api_key, api_version).ok_or(HeadError::UnknownKey(api_key))?;
    let client_id = match frame.try_get_i16().map_err(short)? {
        -1 => None,
        n => {
            let n = usize::try_from(n).map_err(|_| HeadError::ClientIdLength(n))?;
            if n > frame.len() {
                return Err(HeadError::Short(total));
            }
            Some(StrBytes::from_utf8(frame.split_to(n)).map_err(|_| HeadError::ClientIdUtf8)?)
        }
    };
    if header_version == 2 {
        skip_tags(frame, total)?;
    }
    Ok(RequestHead { api_key, api_version, correlation_id, client_id })
}

/// Guards and decodes a body.
///
/// # Errors
/// [`DecodeError`]; the connection is closed on each of them, as in Kafka.
pub fn decode<T: Decodable>(key: i16, version: i16, mut body: Bytes) -> Result<T, DecodeError> {
    let checked = guard::check(key, version, &body)?;
    body.truncate(checked.len);
    let request = T::decode(&mut body, version).map_err(|e| DecodeError::Decoder(e.to_string()))?;
    if body.is_empty() { Ok(request) } else { Err(DecodeError::Remaining(body.len())) }
}

/// No tag of the request header is defined, so their order and content do not matter here.
fn skip_tags(frame: &mut Bytes, total: usize) -> Result<(), HeadError> {
    let mut left = &frame[..];
    let count = take_varint(&mut left).map_err(HeadError::Tags)?;
    for _ in 0..count {
        take_varint(&mut left).map_err(HeadError::Tags)?;
        let size = take_varint(&mut left).map_err(HeadError::Tags)? as usize;
        left = left.get(size..).ok_or(HeadError::Short(total))?;
    }
    let skipped = frame.len() - left.len();
    frame.advance(skipped);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::RequestHeader;
    use kafka_protocol::protocol::Encodable;

    fn header(key: i16, version: i16, client_id: Option<&'static str>) -> BytesMut {
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(77)
            .with_client_id(client_id.map(StrBytes::from_static_str));
        let mut out = BytesMut::new();
        let header_version = versions::request_header_version(key, version).expect("known");
        header.encode(&mut out, header_version).expect("valid");
        out
    }

    #[test]
    fn heads_of_every_version_are_those_of_kafka_protocol() {
        for range in versions::ranges() {
            for version in range.min..=range.max {
                for client_id in [None, Some(""), Some("kafka-client")] {
                    let mut frame = header(range.key, version, client_id);
                    frame.extend_from_slice(b"body");
                    let mut frame = frame.freeze();
                    let whole = frame.clone();
                    let head = parse_head(&mut frame).expect("valid");
                    assert_eq!(
                        (head.api_key, head.api_version, head.correlation_id),
                        (range.key, version, 77)
                    );
                    assert_eq!(head.client_id.as_deref(), client_id);
                    assert_eq!(frame, b"body"[..]);
                    if let Some(id) = head.client_id.filter(|id| !id.is_empty()) {
                        assert!(whole.as_ptr_range().contains(&id.as_ptr()), "the client id was copied");
                    }
                }
            }
        }
    }

    #[test]
    fn every_cut_of_a_head_is_an_error() {
        let whole = header(3, 12, Some("id")).freeze();
        for len in 0..whole.len() {
            let cut = parse_head(&mut whole.slice(..len));
            assert!(matches!(cut, Err(HeadError::Short(_) | HeadError::Tags(_))), "{len}: {cut:?}");
        }
    }

    #[test]
    fn a_future_api_versions_request_can_be_answered() {
        let mut frame = header(18, 99, Some("id")).freeze();
        let head = parse_head(&mut frame).expect("valid");
        assert_eq!((head.api_version, head.correlation_id), (99, 77));
    }

    #[test]
    fn heads_that_lie_are_errors() {
        let parse = |bytes: &[u8]| parse_head(&mut Bytes::copy_from_slice(bytes));
        assert_eq!(parse(&[0, 4, 0, 0, 0, 0, 0, 1, 0xff, 0xff]), Err(HeadError::UnknownKey(4)));
        assert_eq!(parse(&[0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xfe]), Err(HeadError::ClientIdLength(-2)));
        assert_eq!(parse(&[0, 3, 0, 0, 0, 0, 0, 1, 0x7f, 0xff]), Err(HeadError::Short(10)));
        assert_eq!(parse(&[0, 3, 0, 0, 0, 0, 0, 1, 0, 1, 0xff]), Err(HeadError::ClientIdUtf8));
        let tags = |tail: &[u8]| parse(&[&[0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff], tail].concat());
        assert!(tags(&[1, 5, 2, 9, 9]).is_ok(), "an unknown tag is skipped");
        assert_eq!(tags(&[1, 5, 3, 9, 9]), Err(HeadError::Short(15)));
        assert_eq!(tags(&[0xff; 5]), Err(HeadError::Tags(GuardError::Varint)));
        assert!(matches!(
            tags(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
            Err(HeadError::Tags(GuardError::Short { .. }))
        ));
    }
}
