//! The structure of every request of the broker listener, as data.
//!
//! Owns: the table (generated, `schema/table.rs`) and its vocabulary. Version ranges, header versions and the guard
//! are read from it, so there is one statement of what Kafka 4.1 is.
//! Invariants: sorted by key; nesting is finite, since the table is a constant.
//! Never: describes responses; those are encoded from values that are already in memory. Public for tests that make
//! requests from it; the broker reads it through `versions` and `guard`.

mod table;

pub use table::REQUESTS;

/// One request of all versions.
#[derive(Debug)]
pub struct Request {
    pub key: i16,
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    /// First version with compact lengths and tagged fields.
    pub flexible_from: Option<i16>,
    pub fields: &'static [Field],
}

/// A field, in wire order.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub versions: (i16, i16),
    pub nullable: (i16, i16),
    /// Set for a field that is written in the tagged section of its struct.
    pub tag: Option<u32>,
    pub kind: Kind,
}

/// How a value is written.
#[derive(Debug)]
pub enum Kind {
    Fixed(usize),
    /// Length i16, or compact.
    Text,
    /// Length i32, or compact.
    Blob,
    /// In a field that may be null, preceded by a presence byte.
    Struct(&'static [Field]),
    /// Count i32, or compact. `size` is what one element takes in the decoder's `Vec`.
    Array {
        element: &'static Kind,
        size: usize,
    },
}

/// An upper bound that no version reaches.
pub const MAX: i16 = i16::MAX;
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
const TEXT: Kind = Kind::Text;
const BLOB: Kind = Kind::Blob;
const NEVER: (i16, i16) = (1, 0);

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, versions: (0, MAX), nullable: NEVER, tag: None, kind }
}

const fn structure(fields: &'static [Field]) -> Kind {
    Kind::Struct(fields)
}

const fn array(element: &'static Kind, size: usize) -> Kind {
    Kind::Array { element, size }
}

impl Field {
    const fn versions(mut self, from: i16, to: i16) -> Field {
        self.versions = (from, to);
        self
    }

    const fn nullable(mut self, from: i16, to: i16) -> Field {
        self.nullable = (from, to);
        self
    }

    const fn tagged(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }

    #[must_use]
    pub fn is_in(&self, version: i16) -> bool {
        (self.versions.0..=self.versions.1).contains(&version)
    }

    #[must_use]
    pub fn is_nullable_in(&self, version: i16) -> bool {
        (self.nullable.0..=self.nullable.1).contains(&version)
    }
}

impl Request {
    #[must_use]
    pub fn is_flexible_in(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| version >= from)
    }
}

/// The request of a key.
#[must_use]
pub fn request(key: i16) -> Option<&'static Request> {
    REQUESTS.binary_search_by_key(&key, |r| r.key).ok().map(|i| &REQUESTS[i])
}
