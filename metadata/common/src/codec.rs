//! Checked reading and plain writing of the fixed-width, big-endian integers in our own formats.
//!
//! Invariants: a reader never passes its end and never allocates by a count it has not compared with the
//! bytes left. Never: interprets what it reads.

use bytes::Bytes;
use thiserror::Error;

#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
#[error("{wanted} bytes wanted at {at}, {left} left")]
pub struct Truncated {
    pub at: usize,
    pub wanted: usize,
    pub left: usize,
}

/// Reads forward over shared bytes; slices it hands out share them.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

macro_rules! read_int {
    ($($name:ident: $ty:ty),*) => {$(
        /// # Errors
        /// [`Truncated`] when fewer bytes are left.
        pub fn $name(&mut self) -> Result<$ty, Truncated> {
            let mut raw = [0; std::mem::size_of::<$ty>()];
            let n = raw.len();
            self.need(n)?;
            raw.copy_from_slice(&self.bytes[self.at..self.at + n]);
            self.at += n;
            Ok(<$ty>::from_be_bytes(raw))
        }
    )*};
}

impl Reader {
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    read_int!(u8: u8, u16: u16, u32: u32, u64: u64, i8: i8, i16: i16, i32: i32, i64: i64);

    /// # Errors
    /// [`Truncated`] when fewer than `n` bytes are left.
    pub fn slice(&mut self, n: usize) -> Result<Bytes, Truncated> {
        self.need(n)?;
        let out = self.bytes.slice(self.at..self.at + n);
        self.at += n;
        Ok(out)
    }

    /// # Errors
    /// [`Truncated`] when fewer than `N` bytes are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let mut out = [0; N];
        out.copy_from_slice(&self.slice(N)?);
        Ok(out)
    }

    /// A count of items that take at least `item_len_min` bytes each: refused when they cannot be there.
    ///
    /// # Errors
    /// [`Truncated`] when the count cannot be true.
    pub fn count(&mut self, item_len_min: usize) -> Result<usize, Truncated> {
        let n = self.u32()? as usize;
        self.need(n.saturating_mul(item_len_min.max(1)))?;
        Ok(n)
    }

    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    fn need(&self, wanted: usize) -> Result<(), Truncated> {
        if wanted <= self.left() { Ok(()) } else { Err(Truncated { at: self.at, wanted, left: self.left() }) }
    }
}
