//! Upload rounds.

use tidegate_common::Offset;

use crate::format::Chain;

/// Where the next slice of a stream begins, as the uploader knows it: rounds that are planned and not yet committed
/// count.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) end: Offset,
    pub(crate) chain: Chain,
    /// Producer sections since the last base; see [`crate::format::ProducersBefore`].
    pub(crate) replay_bytes: u64,
    /// Nothing of it lies in a set object: a stream object may follow.
    pub(crate) in_stream_objects: bool,
}
