//! Producer state and leader epochs of a stream, from the footers of its committed slices.
//!
//! Owns: the fold. Producers: from the newest slice back to a base, then forward. Epochs: of every slice, but slices
//! between two of one epoch have that epoch too, so only those where it changes are looked for, by halving.
//! Invariants: the result is that of folding all heads in `[log_start, committed_end)`, plus what the base remembers
//! of batches below the log start. Never: reads a block; opens anything for a stream without committed records.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tidegate_common::epochs::EpochStarts;
use tidegate_common::producers::Producers;
use tidegate_common::{LeaderEpoch, Offset};

use super::log::slice_of;
use super::parts::{Part, parts};
use super::{READS_AT_ONCE, in_order};
use crate::cache::flight::Claim;
use crate::cache::tail::Tail;
use crate::format::{Chain, Footer};
use crate::storage::Core;
use crate::stream::{ReadError, StreamState};

pub(crate) async fn load_state(core: &Arc<Core>, tail: &Arc<Tail>) -> Result<StreamState, ReadError> {
    loop {
        let joined = match core.state_flights.claim(&tail.stream) {
            Claim::Flying(joined) => joined,
            Claim::Mine(landing, joined) => {
                let (core, tail) = (core.clone(), tail.clone());
                tokio::spawn(async move { landing.land(fold(&core, &tail).await.map(Arc::new)) });
                joined
            }
        };
        if let Some(outcome) = joined.outcome().await {
            return outcome.map(|state| (*state).clone());
        }
    }
}

async fn fold(core: &Arc<Core>, tail: &Arc<Tail>) -> Result<StreamState, ReadError> {
    let whole = (Offset::ZERO, Offset(i64::MAX));
    let (row, parts) =
        parts(&*core.objects, &core.reader, &core.directory, tail.stream, whole.0, whole.1).await?;
    let Some(newest) = parts.last() else {
        return Ok(StreamState {
            end: row.committed_end,
            producers: Producers::new(),
            epochs: EpochStarts::new(),
            chain: Chain::START,
        });
    };
    let chain = {
        let footer = core.reader.footer(newest.object).await?;
        slice_of(&footer.slices, tail, newest)?.chain_to
    };
    let producers = fold_producers(core, tail, &parts).await?;
    let mut epochs = EpochStarts::new();
    for (epoch, start) in find_epochs(core, tail, &parts).await? {
        epochs.note(epoch, start);
    }
    epochs.trim(row.log_start);
    Ok(StreamState { end: row.committed_end, producers, epochs, chain })
}

async fn fold_producers(core: &Arc<Core>, tail: &Arc<Tail>, parts: &[Part]) -> Result<Producers, ReadError> {
    // Newest first: these are needed, from the base on.
    let mut needed: Vec<(Arc<Footer>, Part)> = Vec::new();
    'newest_first: for some in parts.rchunks(READS_AT_ONCE) {
        let mut reads = Vec::new();
        for part in some.iter().rev() {
            reads.push(core.reader.footer(part.object).map(|footer| (footer, *part)).boxed());
        }
        let mut footers = in_order(reads, READS_AT_ONCE);
        while let Some((footer, part)) = footers.next().await {
            let footer = footer?;
            let base = slice_of(&footer.slices, tail, &part)?.producers.base;
            needed.push((footer, part));
            if base {
                break 'newest_first;
            }
        }
    }
    let mut producers = Producers::new();
    for (footer, part) in needed.iter().rev() {
        let section = &slice_of(&footer.slices, tail, part)?.producers;
        if section.base {
            producers = section.table.clone();
        } else {
            producers.merge(&section.table);
        }
    }
    Ok(producers)
}

/// Epochs with the first offset at which each was seen, in order.
async fn find_epochs(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    parts: &[Part],
) -> Result<Vec<(LeaderEpoch, Offset)>, ReadError> {
    let Some(last) = parts.len().checked_sub(1) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let first_epochs = epochs_of(core, tail, &parts[0]).await?;
    let last_epochs = epochs_of(core, tail, &parts[last]).await?;
    found.extend(&first_epochs);
    found.extend(&last_epochs);
    // Pairs of slices whose ends are known; what lies between is known too when the epoch is one.
    let mut open = vec![((0, first_epochs), (last, last_epochs))];
    while let Some(((low, low_epochs), (high, high_epochs))) = open.pop() {
        let same = low_epochs.last().map(|e| e.0) == high_epochs.first().map(|e| e.0);
        if same || high - low < 2 {
            continue;
        }
        let middle = low + (high - low) / 2;
        let epochs = epochs_of(core, tail, &parts[middle]).await?;
        found.extend(&epochs);
        open.push(((low, low_epochs), (middle, epochs.clone())));
        open.push(((middle, epochs), (high, high_epochs)));
    }
    found.sort_by_key(|&(_, start)| start);
    Ok(found)
}

async fn epochs_of(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    part: &Part,
) -> Result<Vec<(LeaderEpoch, Offset)>, ReadError> {
    let footer = core.reader.footer(part.object).await?;
    Ok(slice_of(&footer.slices, tail, part)?.epochs.clone())
}
