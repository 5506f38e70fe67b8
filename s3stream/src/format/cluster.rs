//! `cluster.json`: which cluster a bucket belongs to.
//!
//! Layout, version 1: the JSON object `{"format_version":1,"cluster_id":"…","nonce":"…","checksum":"…"}` on one
//! line, keys in this order, no spaces, no line end. `checksum` is the CRC32C, as 8 hex digits, of
//! `format_version`, `cluster_id` and `nonce` joined by line feeds. A later version keeps `format_version` as a
//! number under this name.
//! Invariants: a decoded file encodes to exactly the bytes it came from, so any changed byte is noticed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FormatError, check, invalid};

/// Version of the bucket's layout: key names and formats of objects.
pub const BUCKET_FORMAT: u32 = 1;
/// Longest id accepted; Kafka's are 22 characters.
const ID_LEN_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFile {
    pub cluster_id: String,
    pub format_version: u32,
    /// Tells this creation from a racing one with the same id.
    pub nonce: Uuid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format_version: u32,
    cluster_id: String,
    nonce: Uuid,
    checksum: String,
}

#[derive(Deserialize)]
struct VersionOnly {
    format_version: u32,
}

impl ClusterFile {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let raw = Raw {
            format_version: self.format_version,
            cluster_id: self.cluster_id.clone(),
            nonce: self.nonce,
            checksum: format!("{:08x}", self.checksum()),
        };
        serde_json::to_vec(&raw).expect("strings and numbers are JSON").into()
    }

    /// # Errors
    /// [`FormatError`] when the bytes are not a cluster file, changed by hand or damage, or of a newer format.
    pub fn decode(bytes: &Bytes) -> Result<Self, FormatError> {
        let version: VersionOnly = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        if version.format_version > BUCKET_FORMAT {
            return Err(FormatError::NewerFormat {
                what: "the bucket",
                found: version.format_version,
                known: BUCKET_FORMAT,
            });
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        let file = Self { cluster_id: raw.cluster_id, format_version: raw.format_version, nonce: raw.nonce };
        let stored = u32::from_str_radix(&raw.checksum, 16).map_err(|e| invalid(format!("checksum: {e}")))?;
        check("cluster.json", stored, file.checksum())?;
        if file.cluster_id.is_empty() || file.cluster_id.len() > ID_LEN_MAX || file.encode() != *bytes {
            return Err(invalid("cluster.json is not as it was written"));
        }
        Ok(file)
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(format!("{}\n{}\n{}", self.format_version, self.cluster_id, self.nonce).as_bytes())
    }
}
