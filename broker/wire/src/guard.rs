//! The structural walk that runs before every kafka-protocol decode.
//!
//! kafka-protocol 0.18 calls `Vec::with_capacity` with the count on the wire: a Metadata request of five bytes asks for
//! 300 GB, and an allocation that fails aborts the process. This walk goes when a release bounds it.
//!
//! Owns: the claim that a body which passes can be decoded within `COST_PER_BYTE * body + COST_BASE` bytes.
//! Invariants: every length and count is compared with the bytes left (a count times the least size of an element);
//! null only where the version allows it; a tagged section has ascending tags whose bodies have exactly the size they
//! state; nothing follows the message. The walk allocates nothing; it recurses as deep as the schema nests.
//! Never: looks at values. UTF-8 and enumerations are left to the decoder and the handlers.
//!
//! What the bound leaves room for, as `tests/room.rs` measures it, is said at [`COST_PER_BYTE`].

use thiserror::Error;

use crate::schema::{self, Field, Kind};
use crate::varint::{self, Varint};

/// What decoding may allocate per byte of the body.
///
/// The decoded structs are fatter than their bytes, so many small elements may be too many. With topic names of 10 bytes
/// or more these pass at any number: Produce; Fetch from version 9; Metadata from version 10, which has topic ids;
/// OffsetCommit from version 6; OffsetFetch with ten partitions a topic; Metadata below version 10 with names of 16.
/// With names of 10 bytes, refused are more than: 2,500 topics in Metadata below version 10; in Fetch version 4, 3,800
/// partitions or 1,200 topics of one; 3,800 topics of one partition in Fetch version 5; 1,900 topics of one partition in
/// OffsetFetch; 3,800 partitions in OffsetCommit version 2; 3,000 topics in DescribeConfigs (7,600 with names of 16).
pub const COST_PER_BYTE: usize = 4;
/// What any request may allocate on top.
pub const COST_BASE: usize = 64 * 1024;
/// Set aside from `COST_BASE` for what the walk does not count: the error of a decode that fails, and the shared
/// counter of the frame.
const COST_ASIDE: usize = 4 * 1024;
/// One node of the `BTreeMap<i32, Bytes>` that holds unknown tagged fields (408 bytes, 504 with children), for every
/// five keys: filled in ascending order, a node is left with six.
const MAP_NODE: usize = 512;
const MAP_KEYS_PER_NODE: usize = 5;

/// Why a body is not given to the decoder.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum GuardError {
    #[error("unknown api key {0}")]
    UnknownKey(i16),
    #[error("{name} version {version} is not served")]
    UnsupportedVersion { name: &'static str, version: i16 },
    #[error("{field}: ends after {left} bytes, at least {wanted} are missing")]
    Short { field: &'static str, wanted: usize, left: usize },
    #[error("{field}: {count} elements do not fit in {left} bytes")]
    Count { field: &'static str, count: u32, left: usize },
    #[error("{field}: length {length} is negative")]
    Negative { field: &'static str, length: i32 },
    #[error("{field}: null is not allowed")]
    Null { field: &'static str },
    #[error("{field}: presence byte {byte} is neither 1 nor -1")]
    Presence { field: &'static str, byte: i8 },
    #[error("a variable-length number is longer than 32 bits")]
    Varint,
    #[error("tag {tag} is repeated or out of order")]
    TagOrder { tag: u32 },
    #[error("{field}: tagged field states {stated} bytes and has {found}")]
    TagSize { field: &'static str, stated: usize, found: usize },
    #[error("decoding would take more than {0} bytes of memory")]
    Cost(usize),
}

/// What a checked body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Bytes of the message. What follows them is ignored, as Kafka does: librdkafka 2.15 leaves three bytes behind a
    /// Metadata request.
    pub len: usize,
    /// Most bytes that decoding allocates.
    pub cost: usize,
}

/// Checks a request body, without its header.
///
/// # Errors
/// [`GuardError`] when the body does not begin with a whole message of that version, or is out of proportion in memory.
pub fn check(key: i16, version: i16, body: &[u8]) -> Result<Checked, GuardError> {
    let request = schema::request(key).ok_or(GuardError::UnknownKey(key))?;
    if !(request.min..=request.max).contains(&version) {
        return Err(GuardError::UnsupportedVersion { name: request.name, version });
    }
    let allowed = body.len().saturating_mul(COST_PER_BYTE).saturating_add(COST_BASE - COST_ASIDE);
    let mut walk =
        Walk { left: body, version, flexible: request.is_flexible_in(version), allowed, budget: allowed };
    walk.fields(request.fields)?;
    Ok(Checked { len: body.len() - walk.left.len(), cost: allowed - walk.budget + COST_ASIDE })
}

/// Reads an unsigned variable-length number of at most 32 bits off the front.
pub(crate) fn take_varint(left: &mut &[u8]) -> Result<u32, GuardError> {
    match varint::read_u32(left) {
        Varint::Whole { value, len } => {
            *left = &left[len..];
            Ok(u32::try_from(value).expect("read_u32 bounds it"))
        }
        Varint::Cut => {
            Err(GuardError::Short { field: "variable-length number", wanted: 1, left: left.len() })
        }
        Varint::Long => Err(GuardError::Varint),
    }
}

struct Walk<'a> {
    left: &'a [u8],
    version: i16,
    flexible: bool,
    allowed: usize,
    /// What is left of `allowed`.
    budget: usize,
}

impl<'a> Walk<'a> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), GuardError> {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field.name, &field.kind, field.is_nullable_in(self.version))?;
            }
        }
        if self.flexible { self.tagged(fields) } else { Ok(()) }
    }

    fn value(&mut self, name: &'static str, kind: &'static Kind, nullable: bool) -> Result<(), GuardError> {
        match kind {
            Kind::Fixed(n) => self.take(name, *n).map(|_| ()),
            Kind::Text => match self.length(name, nullable, 2)? {
                Some(n) => self.take(name, n).map(|_| ()),
                None => Ok(()),
            },
            Kind::Blob => match self.length(name, nullable, 4)? {
                Some(n) => self.take(name, n).map(|_| ()),
                None => Ok(()),
            },
            Kind::Struct(fields) => {
                if nullable {
                    match self.take(name, 1)?[0].cast_signed() {
                        1 => {}
                        -1 => return Ok(()),
                        byte => return Err(GuardError::Presence { field: name, byte }),
                    }
                }
                self.fields(fields)
            }
            Kind::Array { element, size } => match self.length(name, nullable, 4)? {
                Some(count) => self.elements(name, element, *size, count),
                None => Ok(()),
            },
        }
    }

    fn elements(
        &mut self,
        name: &'static str,
        element: &'static Kind,
        size: usize,
        count: usize,
    ) -> Result<(), GuardError> {
        let too_many = || GuardError::Count {
            field: name,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            left: self.left.len(),
        };
        let wanted = count.checked_mul(self.least(element)).ok_or_else(too_many)?;
        if wanted > self.left.len() {
            return Err(too_many());
        }
        self.charge(count.saturating_mul(size))?;
        if let Kind::Fixed(_) = element {
            return self.take(name, wanted).map(|_| ());
        }
        for _ in 0..count {
            self.value(name, element, false)?;
        }
        Ok(())
    }

    fn tagged(&mut self, fields: &'static [Field]) -> Result<(), GuardError> {
        let count = take_varint(&mut self.left)?;
        // Two bytes are the least a tagged field takes: its tag and a size of 0.
        if count as usize > self.left.len() / 2 {
            return Err(GuardError::Count { field: "tagged fields", count, left: self.left.len() });
        }
        let (mut unknown, mut previous) = (0, None);
        for _ in 0..count {
            let tag = take_varint(&mut self.left)?;
            if previous.is_some_and(|p| tag <= p) {
                return Err(GuardError::TagOrder { tag });
            }
            previous = Some(tag);
            let size = take_varint(&mut self.left)? as usize;
            match fields.iter().find(|f| f.tag == Some(tag) && f.is_in(self.version)) {
                Some(field) => self.known_tag(field, size)?,
                None => {
                    unknown += 1;
                    self.take("tagged field", size)?;
                }
            }
        }
        if unknown == 0 { Ok(()) } else { self.charge((unknown / MAP_KEYS_PER_NODE + 1) * MAP_NODE) }
    }

    /// The decoder ignores the stated size of a tag it knows, so it must be the true one.
    fn known_tag(&mut self, field: &'static Field, size: usize) -> Result<(), GuardError> {
        let before = self.left.len();
        if size > before {
            return Err(GuardError::Short { field: field.name, wanted: size - before, left: before });
        }
        self.value(field.name, &field.kind, field.is_nullable_in(self.version))?;
        let found = before - self.left.len();
        if found == size {
            Ok(())
        } else {
            Err(GuardError::TagSize { field: field.name, stated: size, found })
        }
    }

    /// A length or count: compact (one more than the value, 0 for null), or a signed number of `width` bytes.
    fn length(
        &mut self,
        name: &'static str,
        nullable: bool,
        width: usize,
    ) -> Result<Option<usize>, GuardError> {
        let length = if self.flexible {
            i64::from(take_varint(&mut self.left)?) - 1
        } else if width == 2 {
            let b = self.take(name, 2)?;
            i64::from(i16::from_be_bytes([b[0], b[1]]))
        } else {
            let b = self.take(name, 4)?;
            i64::from(i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        };
        match length {
            -1 if nullable => Ok(None),
            -1 => Err(GuardError::Null { field: name }),
            n if n < 0 => Err(GuardError::Negative { field: name, length: n as i32 }),
            n => Ok(Some(n as usize)),
        }
    }

    fn take(&mut self, name: &'static str, n: usize) -> Result<&'a [u8], GuardError> {
        match self.left.split_at_checked(n) {
            Some((taken, left)) => {
                self.left = left;
                Ok(taken)
            }
            None => {
                Err(GuardError::Short { field: name, wanted: n - self.left.len(), left: self.left.len() })
            }
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), GuardError> {
        self.budget = self.budget.checked_sub(bytes).ok_or(GuardError::Cost(self.allowed))?;
        Ok(())
    }

    /// The least number of bytes that a value takes on the wire; at least 1, as no schema has an empty struct.
    fn least(&self, kind: &'static Kind) -> usize {
        match kind {
            Kind::Fixed(n) => *n,
            Kind::Text => {
                if self.flexible {
                    1
                } else {
                    2
                }
            }
            Kind::Blob | Kind::Array { .. } => {
                if self.flexible {
                    1
                } else {
                    4
                }
            }
            Kind::Struct(fields) => {
                let present = fields.iter().filter(|f| f.tag.is_none() && f.is_in(self.version));
                let sum: usize = present
                    .map(|f| match &f.kind {
                        Kind::Struct(_) if f.is_nullable_in(self.version) => 1,
                        kind => self.least(kind),
                    })
                    .sum();
                sum + usize::from(self.flexible)
            }
        }
    }
}
