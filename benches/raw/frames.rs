//! Length-prefixed frames, in and out.
//!
//! Owns: the receive buffer of a connection and its queue of bytes to send.
//! Invariants: a frame is handed out whole; the receive buffer is reused once its frames are dropped, so that large
//! answers do not fault in fresh memory each time; a size above [`FRAME_BYTES_MAX`] is refused before it is allocated.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Twice the largest batch that the generator asks for.
pub const FRAME_BYTES_MAX: usize = 128 << 20;
/// Room offered to the socket when no frame is half read.
const READ_BYTES: usize = 64 << 10;
/// Slices given to one vectored write.
pub const SLICES_MAX: usize = 64;

#[derive(Debug, Error, PartialEq, Eq)]
#[error("the broker sent a frame of {0} bytes")]
pub struct FrameSizeError(i32);

/// Bytes from the socket, cut into frames.
#[derive(Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// The buffer to read into, with room for the rest of a frame that has begun.
    pub fn room(&mut self) -> Result<&mut BytesMut, FrameSizeError> {
        let missing = self.size()?.map_or(0, |size| (4 + size).saturating_sub(self.buffer.len()));
        self.buffer.reserve(missing.max(READ_BYTES));
        Ok(&mut self.buffer)
    }

    /// The next whole frame without its length.
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameSizeError> {
        let Some(size) = self.size()? else { return Ok(None) };
        if self.buffer.len() - 4 < size {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }

    fn size(&self) -> Result<Option<usize>, FrameSizeError> {
        let Some(&prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let size = i32::from_be_bytes(prefix);
        usize::try_from(size).ok().filter(|&n| n <= FRAME_BYTES_MAX).map(Some).ok_or(FrameSizeError(size))
    }
}

/// Bytes that wait for the socket, in the order in which they leave.
#[derive(Default)]
pub struct SendQueue {
    chunks: VecDeque<Bytes>,
}

impl SendQueue {
    pub fn push(&mut self, bytes: Bytes) {
        debug_assert!(!bytes.is_empty(), "an empty chunk would never leave");
        self.chunks.push_back(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The first slices, for a vectored write; returns how many of `slices` are set.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slot = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    /// Forgets the first `sent` bytes.
    pub fn advance(&mut self, mut sent: usize) {
        while sent > 0 {
            let front = self.chunks.front_mut().expect("no more can be sent than was queued");
            if sent < front.len() {
                front.advance(sent);
                return;
            }
            sent -= front.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    #[test]
    fn frames_come_whole_however_the_bytes_arrive() {
        let mut stream = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            stream.put_i32(body.len() as i32);
            stream.put_slice(body);
        }
        for step in 1..=stream.len() {
            let mut reader = FrameReader::default();
            let mut frames = Vec::new();
            for piece in stream.chunks(step) {
                reader.room().expect("small").put_slice(piece);
                while let Some(frame) = reader.next().expect("small") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b"one"[..], b"", b"three"], "in steps of {step}");
        }
    }

    #[test]
    fn the_room_holds_the_rest_of_a_frame_and_the_buffer_is_reused() {
        let mut reader = FrameReader::default();
        let body = vec![7; 1 << 20];
        let mut addresses = Vec::new();
        for _ in 0..3 {
            reader.room().expect("small").put_i32(body.len() as i32);
            let room = reader.room().expect("within the bound");
            assert!(room.capacity() - room.len() >= body.len());
            room.put_slice(&body);
            let frame = reader.next().expect("within the bound").expect("whole");
            addresses.push(frame.as_ptr());
        }
        assert_eq!(addresses[1], addresses[2], "the second frame left its memory to the third");
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        for size in [-1, FRAME_BYTES_MAX as i32 + 1, i32::MAX] {
            let mut reader = FrameReader::default();
            reader.room().expect("empty").put_i32(size);
            assert_eq!(reader.next(), Err(FrameSizeError(size)));
            assert_eq!(reader.room().err(), Some(FrameSizeError(size)));
        }
    }

    #[test]
    fn a_queue_sends_each_byte_once_whatever_the_socket_takes() {
        let chunks = ["ab", "c", "defg", "hi"];
        for step in 1..=9 {
            let mut queue = SendQueue::default();
            chunks.iter().for_each(|chunk| queue.push(Bytes::from_static(chunk.as_bytes())));
            let mut sent = Vec::new();
            while !queue.is_empty() {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = queue.slices(&mut slices);
                let waiting: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
                let taken = step.min(waiting.len());
                sent.extend_from_slice(&waiting[..taken]);
                queue.advance(taken);
            }
            assert_eq!(sent, b"abcdefghi", "in steps of {step}");
        }
    }
}
