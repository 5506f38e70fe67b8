//! GET, with the length checked here and the content by whoever knows the format.
//!
//! Invariants: exactly the bytes asked for, or an error; a failed check is followed by one more reading, since a
//! flip on the way heals by that and one in the store does not. Never: caches.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, coalesce_ranges};
use tidegate_common::{Lineage, ObjectId};

use super::{Failure, IoError, ObjectIo};
use crate::format::{Footer, FooterOrMore, FormatError, Leaf, decode_footer, decode_leaf};
use crate::manager::LeafRow;

/// Read from the end of an object at first: enough for the footer of some hundred slices.
pub const FOOTER_GUESS_BYTES: u64 = 64 * 1024;

impl ObjectIo {
    /// # Errors
    /// [`IoError::NotFound`], [`IoError::Unavailable`], or [`IoError::Damaged`] when the object is too short.
    pub async fn get(&self, id: ObjectId, lineage: Lineage, range: Range<u64>) -> Result<Bytes, IoError> {
        let key = self.inner.keys.object(lineage, id);
        self.get_key(&key, range).await
    }

    /// Gets ranges in the order given; those close together travel in one GET.
    ///
    /// # Errors
    /// As [`ObjectIo::get`].
    pub async fn get_ranges(
        &self,
        id: ObjectId,
        lineage: Lineage,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, IoError> {
        let key = &self.inner.keys.object(lineage, id);
        coalesce_ranges(ranges, |range| self.get_key(key, range), self.inner.settings.coalesce_bytes).await
    }

    /// Gets a range and has it checked; what fails the check is read once more.
    ///
    /// # Errors
    /// As [`ObjectIo::get`]; [`IoError::Damaged`] when the check fails twice.
    pub async fn get_verified<T>(
        &self,
        id: ObjectId,
        lineage: Lineage,
        range: Range<u64>,
        check: impl Fn(&Bytes) -> Result<T, FormatError>,
    ) -> Result<T, IoError> {
        let key = self.inner.keys.object(lineage, id);
        let first = match check(&self.get_key(&key, range.clone()).await?) {
            Ok(checked) => return Ok(checked),
            Err(error) => error,
        };
        // Neither another reading nor damage: the bytes are as they were written.
        if let FormatError::NewerFormat { .. } = first {
            return Err(IoError::Refused { key: key.to_string(), what: first.to_string() });
        }
        tracing::warn!(%key, error = %first, "a check failed, reading again");
        self.count(|c| &c.rereads, 1);
        check(&self.get_key(&key, range).await?).map_err(|error| self.damaged(&key, error.to_string()))
    }

    /// Reads the footer of an object of `size` bytes.
    ///
    /// # Errors
    /// As [`ObjectIo::get_verified`].
    pub async fn footer(&self, id: ObjectId, lineage: Lineage, size: u64) -> Result<Footer, IoError> {
        let mut len = FOOTER_GUESS_BYTES.min(size);
        // The second round asks for what the trailer named; a third would mean that it changed.
        for _ in 0..2 {
            let tail = size - len..size;
            match self.get_verified(id, lineage, tail, |bytes| decode_footer(size, bytes)).await? {
                FooterOrMore::Footer(footer) => return self.own(footer.stamp.id == id, id, lineage, footer),
                FooterOrMore::MoreNeeded(more) => len = more.min(size),
            }
        }
        Err(self.damaged(&self.inner.keys.object(lineage, id), "its trailer changes".into()))
    }

    /// Reads a leaf.
    ///
    /// # Errors
    /// As [`ObjectIo::get_verified`].
    pub async fn leaf(&self, row: &LeafRow) -> Result<Leaf, IoError> {
        let leaf = self.get_verified(row.id, row.lineage, 0..row.size, decode_leaf).await?;
        let same =
            leaf.stamp.id == row.id && leaf.stream == row.stream && leaf.rows.len() == row.count as usize;
        self.own(same, row.id, row.lineage, leaf)
    }

    fn own<T>(&self, own: bool, id: ObjectId, lineage: Lineage, found: T) -> Result<T, IoError> {
        if own {
            return Ok(found);
        }
        Err(self.damaged(&self.inner.keys.object(lineage, id), "it is another object".into()))
    }

    fn damaged(&self, key: &Path, what: String) -> IoError {
        self.count(|c| &c.damaged, 1);
        tracing::error!(%key, what, "damage in the bucket");
        IoError::Damaged { key: key.to_string(), what }
    }

    pub(super) async fn get_key(&self, key: &Path, range: Range<u64>) -> Result<Bytes, IoError> {
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        let mut tries = self.tries(self.inner.settings.get_budget_ms);
        let mut shorts = 0;
        loop {
            let failure = match self.get_once(key, range.clone()).await {
                Ok(bytes) => return Ok(bytes),
                Err(Failure::NotFound) => return Err(IoError::NotFound { key: key.to_string() }),
                Err(Failure::Permanent(what)) => return Err(IoError::Refused { key: key.to_string(), what }),
                Err(failure) => failure,
            };
            shorts += u32::from(matches!(failure, Failure::Short(_)));
            // Stores answer a range past the end with an error that has no type: the size tells.
            if shorts == 2 || (tries.count == 2 && self.ends_before(key, range.end).await) {
                return Err(self.damaged(key, format!("bytes {range:?}: {failure}")));
            }
            self.again(&mut tries, key.as_ref(), &failure).await?;
        }
    }

    /// Gets all of a small key.
    pub(super) async fn get_whole(&self, key: &Path, most: u64) -> Result<Bytes, IoError> {
        let mut tries = self.tries(self.inner.settings.get_budget_ms);
        loop {
            self.count(|c| &c.gets, 1);
            let work = async {
                let got = self.store().get_opts(key, GetOptions::default()).await?;
                let size = got.meta.size;
                Ok((size, if size > most { None } else { Some(got.bytes().await?) }))
            };
            let failure = match self.attempt(&self.inner.reads, most, work).await {
                Ok((size, Some(bytes))) if bytes.len() as u64 == size => return Ok(bytes),
                Ok((size, None)) => return Err(self.damaged(key, format!("{size} bytes, {most} at most"))),
                Ok((size, Some(bytes))) => Failure::Short(format!("{} of {size} bytes", bytes.len())),
                Err(Failure::NotFound) => return Err(IoError::NotFound { key: key.to_string() }),
                Err(Failure::Permanent(what)) => return Err(IoError::Refused { key: key.to_string(), what }),
                Err(failure) => failure,
            };
            self.again(&mut tries, key.as_ref(), &failure).await?;
        }
    }

    async fn get_once(&self, key: &Path, range: Range<u64>) -> Result<Bytes, Failure> {
        self.count(|c| &c.gets, 1);
        let len = range.end - range.start;
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let work = async {
            let got = self.store().get_opts(key, options).await?;
            let answered = got.range.clone();
            Ok((answered, got.bytes().await?))
        };
        let (answered, bytes) = self.attempt(&self.inner.reads, len, work).await?;
        self.count(|c| &c.get_bytes, bytes.len() as u64);
        if answered != range || bytes.len() as u64 != len {
            return Err(Failure::Short(format!("{} of {len} bytes, {answered:?}", bytes.len())));
        }
        Ok(bytes)
    }

    async fn ends_before(&self, key: &Path, end: u64) -> bool {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let head = async { self.store().get_opts(key, options).await.map(|got| got.meta.size) };
        self.attempt(&self.inner.reads, 0, head).await.is_ok_and(|size| size < end)
    }
}
