//! One read: the log cache first, the WAL for bodies it no longer has, objects for what is committed.
//!
//! Invariants: the cache is asked before the rows, each time round: an entry leaves the cache only after the commit that
//! covers it is in the rows here. Never: returns a batch past `upto`, or past a place that it could not read.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::join_all;
use tidegate_common::{Batch, Offset};
use tidegate_wal::{ReadError as WalReadError, RecordKind};

use super::ahead::Ahead;
use super::parts::{Part, parts};
use crate::cache::tail::{Entry, Tail, Taken};
use crate::format::SliceIndex;
use crate::storage::{Core, WalRef};
use crate::stream::ReadError;

/// WAL reads of one request at once.
const WAL_READS_AT_ONCE: usize = 16;
/// A read looks again this often when what it was about to read moved from the WAL to an object, or between objects.
const TRIES: u32 = 10;

pub(crate) async fn read(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    from: Offset,
    upto: Offset,
    max_bytes: usize,
    at_least_one: bool,
) -> Result<Vec<Batch>, ReadError> {
    let mut taken = Taken::new(upto, max_bytes, at_least_one);
    let mut out: Vec<Batch> = Vec::new();
    let (mut next, mut tries) = (from, 0);
    while next < upto && (taken.left() > 0 || taken.wants_one()) {
        let step = match step(core, tail, next, &mut taken, &mut out).await {
            Ok(step) => step,
            // What was read stands; the error comes back with the next read if it lasts.
            Err(_) if !out.is_empty() => break,
            Err(error) => return Err(error),
        };
        match step {
            Step::On(offset) if offset > next => (next, tries) = (offset, 0),
            Step::Moved(error) => {
                tries += 1;
                if tries == TRIES {
                    return if out.is_empty() { Err(error) } else { Ok(out) };
                }
                // The applied image catches up.
                tokio::task::yield_now().await;
            }
            Step::On(_) | Step::Full => break,
        }
    }
    Ok(out)
}

enum Step {
    /// The read goes on at this offset.
    On(Offset),
    Full,
    /// What was to be read is elsewhere by now; the error is the one if it is not.
    Moved(ReadError),
}

async fn step(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    at: Offset,
    taken: &mut Taken,
    out: &mut Vec<Batch>,
) -> Result<Step, ReadError> {
    let left = usize::try_from(taken.left()).unwrap_or(usize::MAX);
    if let Some(row) = core.objects.stream(tail.stream)
        && at < row.log_start
    {
        let (stream, log_start) = (tail.stream, row.log_start);
        return Err(ReadError::BelowLogStart { stream, asked: at, log_start });
    }
    let Some(entries) = tail.entries_from(at, taken.upto(), left, taken.wants_one()) else {
        return from_objects(core, tail, at, taken, out).await;
    };
    if entries.is_empty() {
        return Ok(Step::Full);
    }
    let (batches, failed) = bodies(entries).await;
    let read = batches.len();
    for batch in batches {
        if !taken.takes(&batch.head) {
            return Ok(Step::Full);
        }
        out.push(batch);
    }
    match failed {
        Some(WalReadError::NotHere(position)) if read == 0 => {
            let what = format!("position {position} is no longer in its WAL");
            Ok(Step::Moved(ReadError::Hole { stream: tail.stream, at, what }))
        }
        None | Some(WalReadError::NotHere(_)) => {
            Ok(out.last().map_or(Step::Full, |last| Step::On(last.head.next_offset())))
        }
        Some(error) => Err(wal_error(core, error)),
    }
}

fn wal_error(core: &Core, error: WalReadError) -> ReadError {
    match error {
        WalReadError::Damaged { place, what } => {
            core.observer.damage(&format!("{place}: {what}"));
            ReadError::Damaged { place, what }
        }
        other => ReadError::Unavailable(other.to_string()),
    }
}

/// The batches of the entries, from memory or from their WAL, up to the first that cannot be read.
pub(crate) async fn bodies(entries: Vec<Entry>) -> (Vec<Batch>, Option<WalReadError>) {
    let mut out = Vec::with_capacity(entries.len());
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        if let Some(body) = entry.body {
            out.push(Batch { head: entry.head, body });
            continue;
        }
        let mut reads = vec![from_wal(entry).boxed()];
        while reads.len() < WAL_READS_AT_ONCE
            && let Some(entry) = entries.next_if(|entry| entry.body.is_none())
        {
            reads.push(from_wal(entry).boxed());
        }
        for read in join_all(reads).await {
            match read {
                Ok(batch) => out.push(batch),
                Err(error) => return (out, Some(error)),
            }
        }
    }
    (out, None)
}

async fn from_wal(entry: Entry) -> Result<Batch, WalReadError> {
    let record = match &*entry.wal {
        WalRef::Live(wal) => wal.read(entry.position).await?,
        WalRef::Sealed(wal) => wal.read(entry.position).await?,
    };
    match record.kind {
        RecordKind::Batch(batch) if batch.head == entry.head => Ok(batch),
        _ => Err(WalReadError::Damaged {
            place: format!("WAL {}, position {}", entry.wal.id(), entry.position),
            what: "it holds another record than was appended there".into(),
        }),
    }
}

async fn from_objects(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    at: Offset,
    taken: &mut Taken,
    out: &mut Vec<Batch>,
) -> Result<Step, ReadError> {
    let stream = tail.stream;
    let version = *core.objects.changed().borrow();
    let (row, found) = parts(&*core.objects, &core.reader, &core.directory, stream, at, at.plus(1)).await?;
    if at < row.log_start {
        return Err(ReadError::BelowLogStart { stream, asked: at, log_start: row.log_start });
    }
    let Some(part) = found.first() else {
        let what = format!("committed is up to {}, and it is not in the log cache", row.committed_end);
        return Ok(Step::Moved(ReadError::Hole { stream, at, what }));
    };
    match from_part(core, tail, part, at, taken, out).await {
        Err(error @ ReadError::Damaged { .. }) if *core.objects.changed().borrow() != version => {
            Ok(Step::Moved(error))
        }
        other => other,
    }
}

async fn from_part(
    core: &Arc<Core>,
    tail: &Arc<Tail>,
    part: &Part,
    at: Offset,
    taken: &mut Taken,
    out: &mut Vec<Batch>,
) -> Result<Step, ReadError> {
    let footer = core.reader.footer(part.object).await?;
    let slice = slice_of(&footer.slices, tail, part)?;
    let first = slice.blocks.partition_point(|block| block.to <= at);
    let mut bytes = 0;
    let wanted: Vec<_> = slice.blocks[first..]
        .iter()
        .take_while(|block| {
            let begins = bytes == 0 || (bytes < taken.left() && block.from < taken.upto());
            bytes += block.bytes.span().map_or(0, |span| span.len);
            begins
        })
        .copied()
        .collect();
    let got = core.reader.blocks(part.object, &wanted).await?;
    let before = out.len();
    let mut full = false;
    for batch in got.blocks.iter().flat_map(|block| &block.batches).skip_while(|b| b.head.next_offset() <= at)
    {
        if !taken.takes(&batch.head) {
            full = true;
            break;
        }
        out.push(batch.clone());
    }
    let next = match (out.len() > before, wanted.last()) {
        (true, _) => out.last().map_or(at, |last| last.head.next_offset()),
        // Blocks of a gap hold no batch.
        (false, Some(last)) if !full => last.to,
        _ => return Ok(Step::Full),
    };
    let ask = tail.ahead.lock().on_read(at, next, got.missed, core.settings.read_ahead_bytes_max);
    if let Some(ask) = ask {
        tokio::spawn(read_ahead(core.clone(), tail.clone(), ask));
    }
    Ok(if full { Step::Full } else { Step::On(next) })
}

/// The slice of the part's object, which must hold what the row says.
pub(crate) fn slice_of<'a>(
    slices: &'a [SliceIndex],
    tail: &Tail,
    part: &Part,
) -> Result<&'a SliceIndex, ReadError> {
    let found = slices.binary_search_by_key(&tail.stream, |slice| slice.stream).ok().map(|at| &slices[at]);
    found.filter(|slice| slice.from == part.from && slice.to == part.to).ok_or_else(|| ReadError::Damaged {
        place: format!("object {} of lineage {}", part.object.id, part.object.lineage),
        what: format!("its footer does not hold [{}, {}) of stream {}", part.from, part.to, tail.stream),
    })
}

/// Has the next blocks loaded, over the borders of objects, until the window is full or there is no room.
async fn read_ahead(core: Arc<Core>, tail: Arc<Tail>, ask: Ahead) {
    let (mut at, mut left) = (ask.from, ask.bytes);
    while left > 0 {
        let found = parts(&*core.objects, &core.reader, &core.directory, tail.stream, at, at.plus(1)).await;
        let Ok((_, found)) = found else { break };
        let Some(part) = found.first() else { break };
        let Ok(footer) = core.reader.footer(part.object).await else { break };
        let Ok(slice) = slice_of(&footer.slices, &tail, part) else { break };
        let first = slice.blocks.partition_point(|block| block.to <= at);
        let mut wanted = Vec::new();
        for block in &slice.blocks[first..] {
            let len = block.bytes.span().map_or(0, |span| span.len);
            if left == 0 {
                break;
            }
            left = left.saturating_sub(len);
            wanted.push(*block);
        }
        if wanted.is_empty() || !core.reader.read_ahead(part.object, &wanted) {
            break;
        }
        at = wanted.last().map_or(at, |block| block.to);
    }
    tail.ahead.lock().reached(ask.cursor, at);
}
