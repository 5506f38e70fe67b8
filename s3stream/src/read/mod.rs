//! Reading: from the log cache, the WAL behind it, and the objects behind that.
//!
//! Owns: where an offset lies ([`parts`]), how its blocks come into memory ([`blocks`]), how far to read ahead
//! ([`ahead`]), and the folds over a stream's footers ([`state`], [`find`]).
//! Invariants: every block's CRC is checked after it was read, and its batches lie where the index says; rows are read
//! after the log cache was asked, so what leaves the cache because it is committed is found in the rows.
//! Never: skips an offset that the metadata promises.

pub(crate) mod ahead;
pub(crate) mod blocks;
mod find;
mod log;
pub(crate) mod parts;
mod state;

pub(crate) use find::{batch_at_timestamp, batch_of_max_timestamp, extents};
pub(crate) use log::{bodies, read, slice_of};
pub(crate) use state::load_state;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};

use crate::io::IoError;
use crate::stream::ReadError;

/// Reads of one walk at once.
const READS_AT_ONCE: usize = 8;

/// Runs some of the futures at once and gives their outcomes in order. Boxed, because a compiler limit keeps closures
/// over references from being `Send` otherwise.
pub(crate) fn in_order<'a, T: Send + 'a>(futures: Vec<BoxFuture<'a, T>>, at_once: usize) -> BoxStream<'a, T> {
    stream::iter(futures).buffered(at_once).boxed()
}

impl From<IoError> for ReadError {
    fn from(error: IoError) -> Self {
        match error {
            IoError::Unavailable { .. } => ReadError::Unavailable(error.to_string()),
            // A reader under a lease never sees this: what is deleted left the rows a grace before.
            IoError::NotFound { key } => ReadError::Damaged { place: key, what: "it does not exist".into() },
            IoError::Damaged { key, what }
            | IoError::Taken { key, what }
            | IoError::Refused { key, what } => ReadError::Damaged { place: key, what },
        }
    }
}
