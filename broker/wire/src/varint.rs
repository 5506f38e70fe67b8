//! Variable-length numbers: unsigned (protocol) and zigzag (records).
//!
//! Invariants: a number longer than its type is an error, never cut off.

use bytes::BufMut;

pub(crate) fn put_varint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(crate) fn put_zigzag(out: &mut impl BufMut, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// What a variable-length number at the front of a slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Varint {
    Whole {
        value: u64,
        /// Bytes it takes.
        len: usize,
    },
    /// The slice ends within it.
    Cut,
    /// It does not fit its type.
    Long,
}

/// An unsigned number of at most 32 bits.
pub(crate) fn read_u32(bytes: &[u8]) -> Varint {
    match read(bytes, 5) {
        Varint::Whole { value, .. } if value > u64::from(u32::MAX) => Varint::Long,
        other => other,
    }
}

/// An unsigned number of at most 64 bits.
pub(crate) fn read_u64(bytes: &[u8]) -> Varint {
    read(bytes, 10)
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn read(bytes: &[u8], longest: usize) -> Varint {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(longest) {
        let part = u64::from(byte & 0x7f);
        if i == 9 && part > 1 {
            return Varint::Long;
        }
        value |= part << (7 * i);
        if byte & 0x80 == 0 {
            return Varint::Whole { value, len: i + 1 };
        }
    }
    if bytes.len() < longest { Varint::Cut } else { Varint::Long }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_long_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u32::MAX - 1, u32::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(read_u32(&bytes), Varint::Whole { value: value.into(), len: bytes.len() });
            assert_eq!(read_u32(&bytes[..bytes.len() - 1]), Varint::Cut);
        }
        for value in [0, -1, 1, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_zigzag(&mut bytes, value);
            let Varint::Whole { value: read, len } = read_u64(&bytes) else { panic!("not whole") };
            assert_eq!((unzigzag(read), len), (value, bytes.len()));
        }
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Varint::Long);
        assert_eq!(read_u32(&[0x80; 5]), Varint::Long);
        assert_eq!(read_u64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), Varint::Long);
    }
}
