//! PUT if absent, and what its answer means.
//!
//! | the store says | then |
//! |---|---|
//! | created | done |
//! | exists (412, or 409 with nothing there), an error, or nothing in time | the stamp is read back |
//! | the stamp is this write's | done: the answer was lost, or came for an earlier try |
//! | nothing is there | the same bytes again, within the budget |
//! | another stamp | [`IoError::Taken`] |
//! | no answer to the reading either | read again, if the object is large: 56 bytes ask less of a store in
//!   trouble; else the same bytes again |
//!
//! Invariants: success means that the store shows this write's header, or said that it created it. "Not there"
//! is never final, since an earlier try may land later: only the budget ends the loop.

use object_store::path::Path;
use object_store::{GetOptions, GetRange, PutMode, PutOptions, PutPayload};

use bytes::Bytes;
use tidegate_common::mutant;

use super::{Failure, IoError, ObjectIo};
use crate::format::{EncodedObject, HEADER_LEN, Stamp};

/// A single PUT may carry this much on S3.
const PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Up to this size sending again is as cheap as reading.
const SMALL_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The store said so.
    Created,
    /// Found there, by its stamp, after an answer that was lost or wrong.
    FoundOwn,
}

impl ObjectIo {
    /// Creates the object under the key that its stamp names.
    ///
    /// # Errors
    /// [`IoError::Taken`], [`IoError::Unavailable`] (the object may be there, or come there), or
    /// [`IoError::Refused`].
    pub async fn put_new(&self, object: &EncodedObject) -> Result<PutOutcome, IoError> {
        let key = self.inner.keys.object(object.stamp.lineage, object.stamp.id);
        if object.size > PUT_BYTES_MAX {
            let what = format!("{} bytes are above the {PUT_BYTES_MAX} of a single PUT", object.size);
            return Err(IoError::Refused { key: key.to_string(), what });
        }
        let chunks = &object.chunks;
        self.create(&key, chunks, object.size, &object.header()).await
    }

    /// Creates a key with bytes that begin with `header`, which no other write of the key shares.
    pub(super) async fn create(
        &self,
        key: &Path,
        chunks: &[Bytes],
        size: u64,
        header: &[u8],
    ) -> Result<PutOutcome, IoError> {
        let mut tries = self.tries(self.inner.settings.put_budget_ms);
        loop {
            let mut failure = match self.put_once(key, chunks, size).await {
                Ok(()) => return Ok(PutOutcome::Created),
                Err(Failure::Permanent(what)) => return Err(IoError::Refused { key: key.to_string(), what }),
                Err(Failure::Exists) if mutant::on("exists-is-success") => return Ok(PutOutcome::Created),
                Err(Failure::Exists) if mutant::on("exists-is-taken") => {
                    return Err(IoError::Taken { key: key.to_string(), what: String::new() });
                }
                Err(failure) => failure,
            };
            // A conflict is an answer: what is there can be read at once. After anything else the store may
            // need a moment.
            if failure != Failure::Exists {
                self.again(&mut tries, key.as_ref(), &failure).await?;
            }
            loop {
                match self.read_header(key, header).await {
                    Ok((found, found_size)) => {
                        return self.settle(key, header, size, &found, found_size).await;
                    }
                    Err(Failure::NotFound) => break,
                    Err(other) => failure = other,
                }
                self.again(&mut tries, key.as_ref(), &failure).await?;
                if size <= SMALL_BYTES_MAX {
                    break;
                }
            }
            if failure == Failure::Exists {
                self.again(&mut tries, key.as_ref(), &failure).await?;
            }
        }
    }

    async fn put_once(&self, key: &Path, chunks: &[Bytes], size: u64) -> Result<(), Failure> {
        self.count(|c| &c.puts, 1);
        self.count(|c| &c.put_bytes, size);
        let payload = PutPayload::from_iter(chunks.iter().cloned());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store().put_opts(key, payload, options);
        self.attempt(&self.inner.writes, size, put).await.map(drop)
    }

    /// The first bytes at `key`, and the size of all. What is neither `header` nor another whole stamp is read
    /// twice: a flip on the way must not make a fence out of an own write.
    async fn read_header(&self, key: &Path, header: &[u8]) -> Result<(Bytes, u64), Failure> {
        let (found, size) = self.read_start(key, header.len()).await?;
        if found.as_ref() == header || Stamp::decode(&found).is_ok() {
            return Ok((found, size));
        }
        self.count(|c| &c.rereads, 1);
        self.read_start(key, header.len()).await
    }

    async fn read_start(&self, key: &Path, len: usize) -> Result<(Bytes, u64), Failure> {
        self.count(|c| &c.gets, 1);
        let range = Some(GetRange::Bounded(0..len as u64));
        let work = async {
            let got = self.store().get_opts(key, GetOptions { range, ..GetOptions::default() }).await?;
            let size = got.meta.size;
            Ok((got.bytes().await?, size))
        };
        let (found, size) = self.attempt(&self.inner.reads, len as u64, work).await?;
        // A whole answer has `len` bytes, or all that there are.
        if (found.len() as u64) < size.min(len as u64) {
            return Err(Failure::Short(format!("{} of {len} bytes", found.len())));
        }
        Ok((found, size))
    }

    async fn settle(
        &self,
        key: &Path,
        header: &[u8],
        size: u64,
        found: &Bytes,
        found_size: u64,
    ) -> Result<PutOutcome, IoError> {
        if found.as_ref() == header && found_size == size {
            if let Some(local) = &self.inner.media.local {
                // The try that wrote it may have died between its link and its sync.
                local.sync(key).await.map_err(|e| IoError::Unavailable {
                    key: key.to_string(),
                    tries: 1,
                    elapsed_ms: 0,
                    last: format!("sync: {e}"),
                })?;
            }
            self.count(|c| &c.settled_by_reading, 1);
            return Ok(PutOutcome::FoundOwn);
        }
        let what = match Stamp::decode(found) {
            _ if found.as_ref() == header => format!("its stamp, but {found_size} bytes instead of {size}"),
            Ok((kind, stamp)) if header.len() == HEADER_LEN => format!("{kind:?} by {stamp:?}"),
            _ => format!("{found_size} bytes that are not this write's"),
        };
        Err(IoError::Taken { key: key.to_string(), what })
    }
}
