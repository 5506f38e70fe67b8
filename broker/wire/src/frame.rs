//! Splits what a connection receives into frames.
//!
//! Owns: the connection's read buffer and how far it may grow.
//! Invariants: a frame is handed out as a slice of the buffer it was read into; room for bytes that have not arrived is
//! never more than the larger of [`GROW_MIN`] and the bytes that have; a size that is negative or above the maximum
//! ends the connection before anything is reserved for it (TLS or HTTP on a plaintext port reads as such a size).
//! Never: reads a socket, or looks into a frame.
//!
//! ```text
//! loop {
//!     while let Some(frame) = frames.next_frame()? { … }
//!     if socket.read_buf(frames.buffer()).await? == 0 { … }
//! }
//! ```

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

const PREFIX: usize = 4;
/// Room kept for a connection that has announced nothing.
pub const IDLE_ROOM: usize = 8 * 1024;
/// The least step in which the buffer grows towards an announced size.
pub const GROW_MIN: usize = 64 * 1024;

/// Why a connection is closed without an answer.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum FrameError {
    #[error("frame size {0} is negative")]
    Negative(i32),
    #[error("frame size {size} is above the maximum of {max}")]
    Oversized { size: i32, max: usize },
}

/// One per connection.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    max_bytes: usize,
}

impl FrameReader {
    /// `max_bytes` is `socket.request.max.bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), max_bytes }
    }

    /// The maximum from the next size prefix on, for a limit that is lower before authentication.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// The buffer to read into, with room made. Frames that are whole and not taken yet may stay in it: whoever reads
    /// ahead bounds by [`pending`](Self::pending) how far.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let received = self.buffer.len();
        let (missing, most) = match self.announced() {
            Ok(Some(size)) if PREFIX + size > received => (PREFIX + size - received, received.max(GROW_MIN)),
            _ => (IDLE_ROOM, IDLE_ROOM),
        };
        // Not before the room is nearly used up: growing copies what is there.
        if self.buffer.capacity() - received < missing.min(IDLE_ROOM) {
            self.buffer.reserve(missing.min(most));
        }
        &mut self.buffer
    }

    /// The next whole frame without its size prefix, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError`] for a size that no client sends; the same error is returned from then on.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.announced()? {
            Some(size) if self.buffer.len() - PREFIX >= size => {
                self.buffer.advance(PREFIX);
                Ok(Some(self.buffer.split_to(size).freeze()))
            }
            _ => Ok(None),
        }
    }

    /// Bytes received and not handed out: 0 when the peer may close without cutting a request in two.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let size = i32::from_be_bytes(*prefix);
        match usize::try_from(size) {
            Err(_) => Err(FrameError::Negative(size)),
            Ok(n) if n > self.max_bytes => Err(FrameError::Oversized { size, max: self.max_bytes }),
            Ok(n) => Ok(Some(n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_however_the_bytes_come_in() {
        let payloads: [&[u8]; 4] = [b"", b"a", b"some bytes", &[7; 300]];
        let stream: Vec<u8> =
            payloads.iter().flat_map(|p| [&(p.len() as u32).to_be_bytes()[..], p].concat()).collect();
        for step in [1, 2, 3, 5, 64, stream.len()] {
            let mut frames = FrameReader::new(300);
            let mut seen = Vec::new();
            for part in stream.chunks(step) {
                frames.buffer().extend_from_slice(part);
                while let Some(frame) = frames.next_frame().expect("sizes are fine") {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, payloads, "in steps of {step}");
            assert_eq!(frames.pending(), 0);
        }
    }

    #[test]
    fn sizes_that_no_client_sends_end_the_connection() {
        let read = |max: usize, prefix: [u8; 4]| {
            let mut frames = FrameReader::new(max);
            frames.buffer().extend_from_slice(&prefix);
            let first = frames.next_frame();
            assert_eq!(frames.next_frame(), first, "and stay so");
            first
        };
        let max = 104_857_600;
        assert_eq!(read(max, *b"GET "), Err(FrameError::Oversized { size: 1_195_725_856, max }));
        let tls_hello = [0x16, 3, 1, 2];
        assert_eq!(read(max, tls_hello), Err(FrameError::Oversized { size: 369_295_618, max }));
        assert_eq!(read(max, (-1_i32).to_be_bytes()), Err(FrameError::Negative(-1)));
        assert_eq!(read(max, i32::MIN.to_be_bytes()), Err(FrameError::Negative(i32::MIN)));
        assert_eq!(read(100, 101_i32.to_be_bytes()), Err(FrameError::Oversized { size: 101, max: 100 }));
        assert_eq!(read(100, 100_i32.to_be_bytes()), Ok(None));
    }

    #[test]
    fn there_is_room_to_read_ahead_of_a_whole_frame() {
        let mut frames = FrameReader::new(1 << 20);
        frames.buffer().extend_from_slice(&[0, 0, 0, 1, 9]);
        let full = frames.buffer().capacity();
        while frames.pending() < full {
            frames.buffer().extend_from_slice(&[0]);
        }
        let buffer = frames.buffer();
        assert!(buffer.capacity() - buffer.len() >= IDLE_ROOM);
    }

    #[test]
    fn a_lower_maximum_holds_from_the_next_prefix() {
        let mut frames = FrameReader::new(10);
        frames.buffer().extend_from_slice(&[0, 0, 0, 20]);
        assert!(frames.next_frame().is_err());
        frames.set_max_bytes(20);
        assert_eq!(frames.next_frame(), Ok(None));
    }
}
