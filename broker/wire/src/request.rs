//! Request head and body.
//!
//! Owns: the only way from a frame to a decoded request: head, guard, decoder, nothing left over.
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
        skip_tags(frame)?;
    }
    Ok(RequestHead { api_key, api_version, correlation_id, client_id })
}

/// Guards and decodes a body.
///
/// # Errors
/// [`DecodeError`]; the connection is closed on each of them, as in Kafka.
pub fn decode<T: Decodable>(key: i16, version: i16, mut body: Bytes) -> Result<T, DecodeError> {
    guard::check(key, version, &body)?;
    let request = T::decode(&mut body, version).map_err(|e| DecodeError::Decoder(e.to_string()))?;
    if body.is_empty() { Ok(request) } else { Err(DecodeError::Remaining(body.len())) }
}

/// No tag of the request header is defined, so their order and content do not matter here.
fn skip_tags(frame: &mut Bytes) -> Result<(), HeadError> {
    let mut left = &frame[..];
    let count = take_varint(&mut left).map_err(HeadError::Tags)?;
    for _ in 0..count {
        take_varint(&mut left).map_err(HeadError::Tags)?;
        let size = take_varint(&mut left).map_err(HeadError::Tags)? as usize;
        left = left.get(size..).ok_or(HeadError::Short(frame.len()))?;
    }
    let skipped = frame.len() - left.len();
    frame.advance(skipped);
    Ok(())
}
