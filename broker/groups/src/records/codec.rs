//! Kafka's primitive types over borrowed bytes: checked reading, plain writing.
//!
//! Invariants: a reader never passes its end, and takes no count without comparing it with the bytes left.

use bytes::BufMut;

use super::RecordError;
use crate::Name;

/// The longest string of a message that is not flexible, in bytes.
pub const STRING_MAX: usize = i16::MAX as usize;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

macro_rules! read_int {
    ($($name:ident: $ty:ty),*) => {$(
        pub(super) fn $name(&mut self, what: &'static str) -> Result<$ty, RecordError> {
            let mut raw = [0; size_of::<$ty>()];
            raw.copy_from_slice(self.take(what, size_of::<$ty>())?);
            Ok(<$ty>::from_be_bytes(raw))
        }
    )*};
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    read_int!(u8: u8, i16: i16, i32: i32, i64: i64);

    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self, what: &'static str, n: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(RecordError::Short {
            what,
            wanted: n,
            left: self.bytes.len(),
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A string of a message that is not flexible.
    pub(super) fn string(&mut self, what: &'static str) -> Result<Name, RecordError> {
        self.nullable_string(what)?.ok_or(RecordError::Length { what, length: -1 })
    }

    pub(super) fn nullable_string(&mut self, what: &'static str) -> Result<Option<Name>, RecordError> {
        let length = self.i16(what)?;
        if length == -1 {
            return Ok(None);
        }
        let n = usize::try_from(length).map_err(|_| RecordError::Length { what, length: length.into() })?;
        self.text(what, n).map(Some)
    }

    /// A string of a flexible message.
    pub(super) fn compact_string(&mut self, what: &'static str) -> Result<Name, RecordError> {
        self.nullable_compact_string(what)?.ok_or(RecordError::Length { what, length: -1 })
    }

    pub(super) fn nullable_compact_string(
        &mut self,
        what: &'static str,
    ) -> Result<Option<Name>, RecordError> {
        match self.varint(what)? {
            0 => Ok(None),
            n if n as usize - 1 > STRING_MAX => Err(RecordError::Length { what, length: i64::from(n) - 1 }),
            n => self.text(what, n as usize - 1).map(Some),
        }
    }

    /// Bytes of a message that is not flexible.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], RecordError> {
        let length = self.i32(what)?;
        let n = usize::try_from(length).map_err(|_| RecordError::Length { what, length: length.into() })?;
        self.take(what, n)
    }

    pub(super) fn compact_bytes(&mut self, what: &'static str) -> Result<&'a [u8], RecordError> {
        match self.varint(what)? {
            0 => Err(RecordError::Length { what, length: -1 }),
            n => self.take(what, n as usize - 1),
        }
    }

    /// An unsigned number of at most 32 bits.
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u32, RecordError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| RecordError::Tag { what });
            }
        }
        Err(RecordError::Tag { what })
    }

    /// The tagged fields of a structure. A known tag is given to `known`, which must read all of it; others are skipped.
    pub(super) fn tags(
        &mut self,
        what: &'static str,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, RecordError>,
    ) -> Result<(), RecordError> {
        let count = self.varint(what)?;
        let mut last = None;
        for _ in 0..count {
            let tag = self.varint(what)?;
            if last.is_some_and(|l| l >= tag) {
                return Err(RecordError::Tag { what });
            }
            last = Some(tag);
            let n = self.varint(what)? as usize;
            let mut body = Reader::new(self.take(what, n)?);
            if known(tag, &mut body)? && body.left() != 0 {
                return Err(RecordError::Tag { what });
            }
        }
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), RecordError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(RecordError::Trailing(self.bytes.len())) }
    }

    fn text(&mut self, what: &'static str, n: usize) -> Result<Name, RecordError> {
        let raw = self.take(what, n)?;
        std::str::from_utf8(raw).map(Name::from).map_err(|_| RecordError::Utf8 { what })
    }
}

/// `text` is at most [`STRING_MAX`] bytes: requests with longer names are refused before anything is made of them.
pub(super) fn put_string(out: &mut impl BufMut, text: &str) {
    assert!(text.len() <= STRING_MAX, "a name of {} bytes was let through", text.len());
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

pub(super) fn put_nullable_string(out: &mut impl BufMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.put_i16(-1),
    }
}

pub(super) fn put_varint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn put_compact_string(out: &mut impl BufMut, text: &str) {
    assert!(text.len() <= STRING_MAX, "a text of {} bytes was let through", text.len());
    put_varint(out, text.len() as u32 + 1);
    out.put_slice(text.as_bytes());
}
