//! Answers as frames: size prefix, header and body as a short list of chunks for a vectored write.
//!
//! Owns: the encoding of all answers. Fetch has its own encoder ([`fetch`]), so that record bodies are passed on
//! as they are; all others are small and go through kafka-protocol into one chunk.
//! Invariants: `len` is the sum of the chunks, prefix included; an answer above 2 GiB is an error, never a wrong prefix.

mod fetch;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use thiserror::Error;

use crate::versions;

pub use fetch::{FetchAnswer, PartitionAnswer, TopicAnswer, encode_fetch};

const PREFIX: usize = 4;
/// A body below this is copied behind its head: a chunk of its own costs a write more than the copy.
const COPY_BELOW: usize = 2 * 1024;

/// A whole answer, ready to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub chunks: Vec<Bytes>,
    pub len: usize,
}

/// A bug in the handler that built the answer; the connection is closed.
#[derive(Debug, Error)]
pub enum EncodeError {
    #[error("unknown api key {0}")]
    UnknownKey(i16),
    /// Most often a field that is set and does not exist in this version.
    #[error("api key {key} version {version}: {message}")]
    Encoder { key: i16, version: i16, message: String },
    #[error("an answer of {0} bytes does not fit a frame")]
    TooLarge(usize),
}

/// Encodes an answer of any kind but Fetch.
///
/// # Errors
/// [`EncodeError`]
pub fn encode_response<T: Encodable>(
    key: i16,
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Frame, EncodeError> {
    let failed = |e: anyhow::Error| EncodeError::Encoder { key, version, message: e.to_string() };
    let size = response.compute_size(version).map_err(failed)?;
    let mut rope = Rope::begin(key, version, correlation_id, size)?;
    response.encode(&mut rope.open, version).map_err(failed)?;
    rope.finish()
}

/// Collects copied bytes and shared chunks in order.
struct Rope {
    /// The first chunk stays writable until the size is known.
    first: Option<BytesMut>,
    /// The first is a placeholder.
    chunks: Vec<Bytes>,
    /// Bytes in `first` and `chunks`.
    closed: usize,
    open: BytesMut,
}

impl Rope {
    /// Starts a frame with room for `body` copied bytes.
    fn begin(key: i16, version: i16, correlation_id: i32, body: usize) -> Result<Rope, EncodeError> {
        let header = versions::response_header_version(key, version).ok_or(EncodeError::UnknownKey(key))?;
        let mut open = BytesMut::with_capacity(PREFIX + 5 + body);
        open.put_i32(0);
        open.put_i32(correlation_id);
        if header == 1 {
            open.put_u8(0);
        }
        Ok(Rope { first: None, chunks: vec![Bytes::new()], closed: 0, open })
    }

    fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_BELOW {
            self.open.extend_from_slice(bytes);
        } else {
            self.close();
            self.closed += bytes.len();
            self.chunks.push(bytes.clone());
        }
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.closed += self.open.len();
        let chunk = self.open.split();
        match self.first {
            None => self.first = Some(chunk),
            Some(_) => self.chunks.push(chunk.freeze()),
        }
    }

    fn finish(mut self) -> Result<Frame, EncodeError> {
        self.close();
        let len = self.closed;
        let size = i32::try_from(len - PREFIX).map_err(|_| EncodeError::TooLarge(len))?;
        let mut first = self.first.expect("begin wrote prefix and header");
        first[..PREFIX].copy_from_slice(&size.to_be_bytes());
        self.chunks[0] = first.freeze();
        Ok(Frame { chunks: self.chunks, len })
    }
}
