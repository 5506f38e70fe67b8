//! `cluster.json`: the bucket says whose it is, before anything else is read or written.
//!
//! Invariants: it is created only if absent and never changed; of two racing creators one wins and the other
//! adopts it; a bucket of another cluster, or of a newer format, is refused before any byte is written.
//! Never: decides whether an id found in the bucket may be adopted; `created` and the data found tell the caller.

use thiserror::Error;

use super::{IoError, ObjectIo};
use crate::format::cluster::BUCKET_FORMAT;
use crate::format::{ClusterFile, FormatError};

/// More than any version of the file will need.
const FILE_LEN_MAX: u64 = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub file: ClusterFile,
    /// Whether this call created it.
    pub created: bool,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ClusterError {
    #[error(
        "{place} belongs to cluster {found}, this data directory to cluster {expected}: \
         correct storage.url, or use the data directory of that cluster"
    )]
    OtherCluster { place: String, found: String, expected: String },
    #[error(
        "{place} holds no cluster.json, but this data directory belongs to cluster {expected}: \
         correct storage.url, or start with an empty data directory to begin a new cluster"
    )]
    Missing { place: String, expected: String },
    #[error("{place} has format {found}, this build reads up to {known}: use a newer tidegate")]
    NewerFormat { place: String, found: u32, known: u32 },
    #[error("{place}/cluster.json is damaged ({what}): restore it from a copy of the bucket")]
    Damaged { place: String, what: String },
    #[error(transparent)]
    Io(#[from] IoError),
}

impl ObjectIo {
    /// Opens the bucket of the cluster `expected`, or creates it for the cluster `proposal` when nothing is
    /// expected and nothing is there.
    ///
    /// # Errors
    /// [`ClusterError`]; nothing was written then, except perhaps after [`ClusterError::Io`].
    pub async fn open_or_create_cluster(
        &self,
        expected: Option<&str>,
        proposal: &str,
    ) -> Result<Opened, ClusterError> {
        let place = &self.inner.media.place;
        if let Some(file) = self.read_cluster().await? {
            return self.accept(file, expected);
        }
        if let Some(expected) = expected {
            return Err(ClusterError::Missing { place: place.clone(), expected: expected.into() });
        }
        let file = ClusterFile {
            cluster_id: proposal.into(),
            format_version: BUCKET_FORMAT,
            nonce: self.inner.random.uuid(),
        };
        let bytes = file.encode();
        let (key, size) = (self.inner.keys.cluster(), bytes.len() as u64);
        match self.create(&key, std::slice::from_ref(&bytes), size, &bytes).await {
            Ok(_) => Ok(Opened { file, created: true }),
            Err(IoError::Taken { .. }) => match self.read_cluster().await? {
                Some(winner) => self.accept(winner, None),
                None => Err(IoError::NotFound { key: key.to_string() }.into()),
            },
            Err(other) => Err(other.into()),
        }
    }

    async fn read_cluster(&self) -> Result<Option<ClusterFile>, ClusterError> {
        let place = || self.inner.media.place.clone();
        let key = self.inner.keys.cluster();
        let mut again = true;
        loop {
            let bytes = match self.get_whole(&key, FILE_LEN_MAX).await {
                Ok(bytes) => bytes,
                Err(IoError::NotFound { .. }) => return Ok(None),
                Err(other) => return Err(other.into()),
            };
            match ClusterFile::decode(&bytes) {
                Ok(file) => return Ok(Some(file)),
                Err(FormatError::NewerFormat { found, known, .. }) if !again => {
                    return Err(ClusterError::NewerFormat { place: place(), found, known });
                }
                Err(error) if !again => {
                    return Err(ClusterError::Damaged { place: place(), what: error.to_string() });
                }
                // A flip on the way heals by reading again.
                Err(_) => again = false,
            }
        }
    }

    fn accept(&self, file: ClusterFile, expected: Option<&str>) -> Result<Opened, ClusterError> {
        match expected {
            Some(expected) if expected != file.cluster_id => Err(ClusterError::OtherCluster {
                place: self.inner.media.place.clone(),
                found: file.cluster_id,
                expected: expected.into(),
            }),
            _ => Ok(Opened { file, created: false }),
        }
    }
}
