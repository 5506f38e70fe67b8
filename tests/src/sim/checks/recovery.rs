//! What the real recovery makes of a disk after a crash, on forks: the run itself goes on with the disk.
//!
//! Invariants checked: W1, W2, W3.

use std::sync::Arc;

use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{Position, WalId};
use tidegate_segment::disk::sim::{Rot, SimDisk};
use tidegate_segment::{Inspection, inspect, recover_partial, seal};

use super::super::world::World;
use super::super::{rules, sometimes};

/// One recovered log, as far as it can be compared.
type Log = (u64, Vec<(u64, u32, u64, i64)>);

fn recovered(disk: &SimDisk, wal: WalId) -> Result<Log, String> {
    let (log, records) =
        seal(Arc::new(disk.clone()), "wal", wal.0, 7, 0).map_err(|error| error.to_string())?;
    let rows = records.iter().map(|r| (r.seq, r.payload_len, r.meta.stream, r.meta.base)).collect();
    Ok((log.seal().end, rows))
}

/// The WAL of the life that just died, with what it had released: recovered once, twice, and after a crash in recovery.
pub fn after_crash(
    world: &World,
    (wal, released): (WalId, Position),
    power_loss: bool,
    random: &SeededRandom,
) {
    let disk = world.disk();
    let exists = tidegate_segment::exists(&disk, "wal", wal.0).unwrap_or(false);
    if !exists {
        return;
    }
    world.history.count("recovery-checks");
    let once = disk.fork(1);
    // A disk that is full is another fault.
    once.heal();
    let first = recovered(&once, wal);
    match &first {
        Ok((end, _)) if *end >= released.0 => {}
        Ok((end, _)) => {
            let why = format!("WAL {wal} released up to {released}, recovery ends it at {end}");
            world.history.violate(&rules::W1, &why);
        }
        Err(why) => world.history.violate(&rules::W1, &format!("WAL {wal} does not recover: {why}")),
    }
    if recovered(&once, wal) != first {
        world.history.violate(&rules::W2, &format!("WAL {wal} recovers to something else the second time"));
    }
    let cut = disk.fork(random.next_u64());
    cut.heal();
    // After a kill, what was never synced is still in the page cache: nobody was promised it, and a power loss before
    // the recoverer has synced it may take it away. What a power loss left is on the medium for good.
    if power_loss {
        cut.crash_hard();
    }
    cut.fail_after(random.below(8));
    let _ = recovered(&cut, wal);
    cut.crash();
    let second = recovered(&cut, wal);
    let same = match (&first, &second) {
        (Ok((end, rows)), Ok((cut_end, cut_rows))) if !power_loss => {
            *cut_end >= released.0 && cut_end <= end && rows.starts_with(cut_rows)
        }
        _ => first == second,
    };
    if !same {
        world.history.violate(&rules::W2, &format!("WAL {wal} recovers to something else after a crash"));
    }
}

/// What a flipped bit does to a log.
pub enum Verdict {
    /// The next start, or a read, must meet damage.
    Damage,
    /// Nothing that counts was hit, or what is hit is checked later.
    Quiet,
    /// It hit the newest group, of which nothing on the disk says yet that it was durable: there, a cut-short write
    /// looks the same (README, "what survives what"). Not for a run to play with.
    Unmarked,
}

/// Judges damage on forks, before the product meets it. `log` is a WAL or the Raft log.
pub fn judge(world: &World, dir: &str, log: u64, rot: &Rot, whole: &SimDisk) -> Verdict {
    let rotten = world.disk().fork(3);
    let (Ok(before), Ok(after)) = (inspect(whole, dir, log, 0), inspect(&rotten, dir, log, 0)) else {
        // A newer format, or a file that cannot be read at all: loud in any case.
        return Verdict::Damage;
    };
    if before.damage.is_some() {
        return Verdict::Quiet;
    }
    match (&after.damage, after.end < before.end) {
        (Some(_), _) => {
            if dir == "wal" {
                partial(world, log, &before, &rotten);
            }
            Verdict::Damage
        }
        (None, true) if after.end < before.durable => {
            let why = format!(
                "a bit of {} at {} cuts log {log} from {} to {}, known durable up to {}",
                rot.path, rot.offset, before.end, after.end, before.durable
            );
            world.history.violate(&rules::W3, &why);
            Verdict::Damage
        }
        (None, true) => Verdict::Unmarked,
        (None, false) => Verdict::Quiet,
    }
}

/// Opens the damaged log at what lies before the damage: a prefix, and it says what is given up.
fn partial(world: &World, log: u64, before: &Inspection, rotten: &SimDisk) {
    world.history.count(sometimes::PARTIAL_RECOVERY);
    let disk = rotten.fork(4);
    disk.heal();
    match recover_partial(&disk, "wal", log, 0, 0) {
        Ok(done)
            if done.seal.end <= before.end && done.seal.given_up_to <= before.durable.max(before.end) =>
        {
            match recovered(&disk, WalId(log)) {
                Ok((end, _)) if end == done.seal.end => {}
                other => {
                    let why =
                        format!("a partial recovery of {log} ended at {:?}, then: {other:?}", done.seal);
                    world.history.violate(&rules::W3, &why);
                }
            }
        }
        other => {
            let why = format!("a partial recovery of WAL {log} that ended at {} gave {other:?}", before.end);
            world.history.violate(&rules::W3, &why);
        }
    }
}
