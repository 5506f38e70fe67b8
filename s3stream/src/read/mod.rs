//! Reading.
use std::sync::Arc;
use tidegate_common::{Batch, Offset, StreamId};
use crate::cache::tail::Tail;
use crate::storage::Core;
use crate::stream::{Extent, ReadError, StreamState};

pub(crate) struct ObjectReader;
fn later<T>() -> Result<T, ReadError> { Err(ReadError::Unavailable("not built yet".into())) }
pub(crate) async fn read(_core: &Arc<Core>, _tail: &Tail, _from: Offset, _upto: Offset, _max_bytes: usize, _one: bool) -> Result<Vec<Batch>, ReadError> { later() }
pub(crate) async fn load_state(_core: &Arc<Core>, _tail: &Tail) -> Result<StreamState, ReadError> { later() }
pub(crate) async fn batch_at_timestamp(_core: &Arc<Core>, _tail: &Tail, _t: i64, _from: Offset, _upto: Offset) -> Result<Option<Batch>, ReadError> { later() }
pub(crate) async fn batch_of_max_timestamp(_core: &Arc<Core>, _tail: &Tail, _from: Offset, _upto: Offset) -> Result<Option<Batch>, ReadError> { later() }
pub(crate) async fn extents(_core: &Arc<Core>, _id: StreamId) -> Result<Vec<Extent>, ReadError> { later() }
