//! Names of keys in the bucket.
//!
//! Layout below the prefix: `cluster.json`; `data/{lineage:08x}/{id:016x}` for objects and leaves;
//! `probe/{nonce}-{n}` for the probe at start.
//! Invariants: a key names one object for ever; no key is a directory of another, because some stores hide
//! such keys from LIST; names sort as ids do.

use object_store::path::Path;
use tidegate_common::{Lineage, ObjectId};
use uuid::Uuid;

#[derive(Debug, Clone)]
pub struct Keys {
    prefix: Path,
}

impl Keys {
    #[must_use]
    pub fn new(prefix: Path) -> Self {
        Self { prefix }
    }

    #[must_use]
    pub fn cluster(&self) -> Path {
        self.prefix.clone().join("cluster.json")
    }

    /// Everything that may be deleted by object life.
    #[must_use]
    pub fn data(&self) -> Path {
        self.prefix.clone().join("data")
    }

    #[must_use]
    pub fn object(&self, lineage: Lineage, id: ObjectId) -> Path {
        self.data().join(format!("{:08x}", lineage.0)).join(format!("{:016x}", id.0))
    }

    #[must_use]
    pub fn probes(&self) -> Path {
        self.prefix.clone().join("probe")
    }

    #[must_use]
    pub fn probe(&self, nonce: Uuid, n: u32) -> Path {
        self.probes().join(format!("{}-{n:04}", nonce.simple()))
    }

    /// The object that a key names; `None` for a key that this build would not write.
    #[must_use]
    pub fn parse(&self, key: &Path) -> Option<(Lineage, ObjectId)> {
        let data = self.data();
        let mut parts = key.prefix_match(&data)?;
        let (lineage, id) = (parts.next()?, parts.next()?);
        let lineage = Lineage(u32::from_str_radix(lineage.as_ref(), 16).ok()?);
        let id = ObjectId(u64::from_str_radix(id.as_ref(), 16).ok()?);
        drop(parts);
        (self.object(lineage, id) == *key).then_some((lineage, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_sort_as_ids() {
        for prefix in ["", "a", "a/b"] {
            let keys = Keys::new(Path::from(prefix));
            let mut last = None;
            for id in [0, 1, 0xff, 0x100, u64::MAX] {
                let key = keys.object(Lineage(3), ObjectId(id));
                assert_eq!(keys.parse(&key), Some((Lineage(3), ObjectId(id))));
                assert!(last < Some(key.to_string()));
                last = Some(key.to_string());
            }
            assert_eq!(keys.parse(&keys.cluster()), None);
            for stranger in ["1/0000000000000001", "00000001/1", "00000001/000000000000000G", "00000001"] {
                assert_eq!(keys.parse(&Path::from(format!("{prefix}/data/{stranger}"))), None, "{stranger}");
            }
        }
        assert_eq!(
            Keys::new(Path::from("p")).object(Lineage(1), ObjectId(255)).as_ref(),
            "p/data/00000001/00000000000000ff"
        );
    }
}
