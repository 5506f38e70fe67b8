//! Builds an object as a list of chunks: small writes are packed, large bodies are spliced in uncopied.
//!
//! Invariants: `len` is the sum of the chunks; a body of [`SPLICE_MIN`] bytes or more is never copied.

use bytes::{Bytes, BytesMut};

/// Below this a copy costs less than one more chunk, and pinning the slab of a small body would waste it.
pub(crate) const SPLICE_MIN: usize = 4096;

const SLAB: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Chunks {
    done: Vec<Bytes>,
    open: BytesMut,
    len: u64,
}

impl Chunks {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        if self.open.capacity() - self.open.len() < bytes.len() {
            self.seal();
            self.open.reserve(SLAB.max(bytes.len()));
        }
        self.open.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
    }

    pub(crate) fn put_body(&mut self, body: &Bytes) {
        if body.len() < SPLICE_MIN {
            return self.put_slice(body);
        }
        self.seal();
        self.done.push(body.clone());
        self.len += body.len() as u64;
    }

    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.seal();
        self.done
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.done.push(self.open.split().freeze());
        }
    }
}
