//! Power loss and process death at every call that changes the disk, in the writer and in the recovery; and the
//! proof that each sync of the product is needed.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

#[cfg(test)]
use super::OPTIONS;
use super::{DIR, LOG, Recovered, Step, Trace, Workload, check, open, seal_and_read};
use crate::OpenRequest;
#[cfg(test)]
use crate::disk::Disk;
use crate::disk::sim::{Breadth, Loss, SimDisk, SyncEvent};
use crate::recover::{self, Want};

/// Which sync of the product: the step that makes it, and of what. Loops sync several of a kind in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    step: Step,
    kind: &'static str,
}

/// Follows which step a sync belongs to; notes all sites, and ignores one.
#[derive(Default)]
struct Sites {
    step: Option<Step>,
    seen: BTreeSet<Site>,
    ignored: Option<Site>,
}

type SharedSites = Arc<Mutex<Sites>>;

fn begin(sites: &SharedSites, step: Step) {
    sites.lock().step = Some(step);
}

fn watch(disk: &SimDisk, sites: &SharedSites) {
    let sites = sites.clone();
    disk.ignore_syncs(move |event| {
        let mut sites = sites.lock();
        let Some(step) = sites.step else { return false };
        let kind = kind_of(event, step);
        let step = match (step, kind) {
            // An append without a spare makes one with the same code.
            (Step::Commit, "new segment" | "directory") => Step::PrepareSpare,
            _ => step,
        };
        let site = Site { step, kind };
        sites.seen.insert(site);
        sites.ignored == Some(site)
    });
}

fn kind_of(event: &SyncEvent, step: Step) -> &'static str {
    let makes = matches!(step, Step::PrepareSpare | Step::Commit);
    match (event.is_dir, event.path.as_str()) {
        (true, DIR) => "directory",
        (true, _) => "parent directory",
        (false, path) if path.ends_with(".seg") && makes && event.nth == 0 => "new segment",
        (false, path) if path.ends_with(".seg") => "segment",
        (false, _) => "seal",
    }
}

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Lives of the writer.
    pub lives: u64,
    /// Losses at each boundary of the writer.
    pub breadth: Breadth,
    /// Every how many boundaries the recovery itself is cut short at each of its calls.
    pub nested_every: u64,
    /// Losses before such a recovery, and again where it was cut short.
    pub nested: Breadth,
}

/// Recovers what every loss at every boundary leaves; gives boundaries and states, or the first violation.
///
/// # Errors
/// The violation, with the boundary that leads to it.
pub fn states(extent: Extent) -> Result<(u64, u64), String> {
    run(extent, &SharedSites::default())
}

fn run(extent: Extent, sites: &SharedSites) -> Result<(u64, u64), String> {
    let mut states = 0;
    let mut boundary = 0;
    loop {
        let disk = SimDisk::new(boundary);
        watch(&disk, sites);
        disk.fail_after(boundary);
        let on_step = |step| begin(sites, step);
        let mut workload = Workload::new(&disk, &on_step, extent.lives);
        let log = workload.run();
        let trace = workload.trace;
        let finished = !disk.is_off();
        let at = |what: &str, e: String| format!("boundary {boundary}, {what}: {e}");
        if let Some(broken) = workload.broken_promise {
            return Err(at("beside the writer", broken));
        }
        for (seed, loss) in (0..).zip(disk.losses(extent.breadth)) {
            let at = |what: &str, e: String| at(&format!("{what} after {loss:?}"), e);
            // A killed process leaves the cache; its successor must not build on what only the cache holds.
            let is_kill = loss == Loss::Kill;
            // Continuing the log is for owners that do; sealing for those that do not.
            if is_kill || seed % 3 == 2 {
                let left = continue_then_seal(&disk.after(loss), sites, &trace, seed);
                states += left.map_err(|e| at("continued", e))?;
            }
            if is_kill || seed % 3 != 2 {
                let left = seal_twice(&disk.after(loss), sites, &trace, seed);
                states += left.map_err(|e| at("sealed", e))?;
            }
        }
        if boundary % extent.nested_every == 0 {
            let died = die_in_recovery(&disk, sites, &trace, extent.nested);
            states += died.map_err(|e| at("dying in the recovery", e))?;
        }
        if let Some(mut log) = log.filter(|_| finished) {
            disk.fail_after(u64::from(u32::MAX));
            a_fenced_writer_adds_nothing(&disk, sites, &trace, &mut log).map_err(|e| at("fenced", e))?;
            return Ok((boundary, states));
        }
        boundary += 1;
    }
}

fn seal(disk: &SimDisk, sites: &SharedSites, executor: u64, floor: u64) -> Result<Recovered, String> {
    begin(sites, Step::Seal);
    seal_and_read(disk, executor, floor)
}

fn seal_twice(disk: &SimDisk, sites: &SharedSites, trace: &Trace, seed: u64) -> Result<u64, String> {
    let marked = disk.fork(seed);
    let first = seal(disk, sites, 1, trace.acked)?;
    check(trace, &first)?;
    disk.crash();
    same(&first, &seal(disk, sites, 2, trace.acked)?)?;
    trim_sealed(disk, sites, &first)?;
    if trace.marked {
        damage_behind_a_mark_is_found(&marked, trace)?;
    }
    Ok(2)
}

/// Trimming a sealed log removes from the front only, whatever a crash leaves of it.
fn trim_sealed(disk: &SimDisk, sites: &SharedSites, all: &Recovered) -> Result<(), String> {
    begin(sites, Step::Seal);
    let (sealed, _) = crate::seal(Arc::new(disk.clone()), DIR, LOG, 3, 0).map_err(|e| e.to_string())?;
    begin(sites, Step::SealedTrim);
    sealed.trim(all.end + 1).map_err(|e| e.to_string())?;
    drop(sealed);
    disk.crash();
    let left = seal(disk, sites, 4, 0)?;
    let tail = all.records.iter().skip_while(|r| r.0 < left.first);
    if left.end == all.end && left.records.iter().eq(tail) {
        Ok(())
    } else {
        Err("trimming cut more than the front".into())
    }
}

fn same(first: &Recovered, second: &Recovered) -> Result<(), String> {
    if first == second {
        Ok(())
    } else {
        Err(format!(
            "recovered {}..={} by {}, then {}..={} by {}",
            first.first, first.end, first.executor, second.first, second.end, second.executor
        ))
    }
}

/// After a mark, damage to the last group is told from a torn tail.
fn damage_behind_a_mark_is_found(disk: &SimDisk, trace: &Trace) -> Result<(), String> {
    let found = recover::recover(disk, DIR, LOG, Want { scan_all: true, ..Want::default() })
        .map_err(|e| e.to_string())?;
    let segment = found.segments.iter().rev().find(|s| !s.records.is_empty());
    let Some((segment, last)) = segment.and_then(|s| Some((s, s.records.last()?))) else { return Ok(()) };
    disk.flip(&format!("{DIR}/{}", segment.name), u64::from(last.offset) + 40, 1);
    match seal_and_read(disk, 1, 0) {
        Err(_) => Ok(()),
        Ok(cut) => Err(format!("acknowledged {} and marked, cut to {}", trace.acked, cut.end)),
    }
}

fn continue_then_seal(disk: &SimDisk, sites: &SharedSites, trace: &Trace, seed: u64) -> Result<u64, String> {
    begin(sites, Step::Open);
    let request = OpenRequest { floor: trace.acked, payloads: seed.is_multiple_of(2) };
    let (mut log, records) = open(disk, 10, request).map_err(|e| e.to_string())?;
    let mut trace = trace.clone();
    let end = records.last().map_or(0, |r| r.seq);
    // Without records there may be nothing, or everything trimmed but what an empty newest segment stands for.
    trace.acked = trace.acked.max(end);
    trace.written.retain(|seq, _| *seq < log.next_seq());
    // One more record, so that the old tail is behind a newer incarnation.
    let meta = crate::Meta { kind: 1, ..crate::Meta::default() };
    let body = bytes::Bytes::from_static(b"of the next life");
    begin(sites, Step::Commit);
    let seq = log.append(&meta, &[], &body).map_err(|e| e.to_string())?;
    trace.written.insert(seq, (meta, body));
    if seed.is_multiple_of(2) {
        trace.acked = log.commit().map_err(|e| e.to_string())?;
    }
    drop(log);
    disk.crash();
    let sealed = seal(disk, sites, 11, trace.acked)?;
    check(&trace, &sealed)?;
    Ok(2)
}

/// The recovery dies at each of its calls, by power loss or killed; the next one must still be right, and what
/// it gave must stand.
fn die_in_recovery(
    disk: &SimDisk,
    sites: &SharedSites,
    trace: &Trace,
    breadth: Breadth,
) -> Result<u64, String> {
    let mut states = 0;
    for before in disk.losses(breadth) {
        for m in 0.. {
            let disk = disk.after(before);
            disk.fail_after(m);
            let died = seal(&disk, sites, 1, trace.acked).is_err() && disk.is_off();
            for loss in disk.losses(breadth) {
                let at = |e: String| format!("{before:?}, {m} calls, {loss:?}: {e}");
                let disk = disk.after(loss);
                let second = seal(&disk, sites, 2, trace.acked).map_err(at)?;
                check(trace, &second).map_err(at)?;
                disk.crash();
                same(&second, &seal(&disk, sites, 3, trace.acked).map_err(at)?).map_err(at)?;
                states += 2;
            }
            if !died {
                break;
            }
        }
    }
    Ok(states)
}

/// A writer that does not know that it was fenced goes on; the seal stands.
fn a_fenced_writer_adds_nothing(
    disk: &SimDisk,
    sites: &SharedSites,
    trace: &Trace,
    log: &mut crate::SegmentLog,
) -> Result<(), String> {
    let first = seal(disk, sites, 1, trace.acked)?;
    check(trace, &first)?;
    for _ in 0..30 {
        let body = bytes::Bytes::from(vec![9; 500]);
        log.append(&crate::Meta::default(), &[], &body).map_err(|e| e.to_string())?;
        log.commit().map_err(|e| e.to_string())?;
    }
    same(&first, &seal(disk, sites, 2, trace.acked)?)?;
    for seed in 0..20 {
        let disk = disk.fork(seed);
        disk.crash();
        same(&first, &seal(&disk, sites, 3, trace.acked)?)?;
    }
    Ok(())
}

#[cfg(test)]
const ORDINARY: Extent = Extent {
    lives: 2,
    breadth: Breadth { subsets_max: 16, drawn: 50 },
    nested_every: 4,
    nested: Breadth { subsets_max: 2, drawn: 1 },
};

#[test]
fn at_every_boundary_what_was_acknowledged_is_recovered_and_nothing_else_appears() {
    let (_, states) = states(ORDINARY).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{states} states");
    assert!(states >= 10_000, "{states} states are too few to say so");
}

#[test]
fn without_any_one_of_its_syncs_the_product_fails_this_suite() {
    let breadth = |drawn| Breadth { subsets_max: 8, drawn };
    let extent = Extent { breadth: breadth(24), nested_every: 1, ..ORDINARY };
    let sites = SharedSites::default();
    run(Extent { breadth: breadth(4), ..extent }, &sites).expect("whole, it passes");
    let seen = sites.lock().seen.clone();
    assert!(seen.len() >= 12, "{seen:?}");
    let mut unneeded = Vec::new();
    for site in seen {
        let sites = SharedSites::default();
        sites.lock().ignored = Some(site);
        match run(extent, &sites) {
            Ok(_) => unneeded.push(site),
            Err(violation) => println!("without {site:?}: {violation}"),
        }
    }
    assert!(unneeded.is_empty(), "nothing fails without {unneeded:?}");
}

#[test]
fn the_workload_rolls_trims_and_recycles() {
    let disk = SimDisk::new(1);
    let mut workload = Workload::new(&disk, &|_| {}, 2);
    workload.run().expect("nothing fails");
    let names = disk.list(DIR).expect("lists");
    let highest = names.iter().filter_map(|n| crate::names::parse(n)).map(|(_, number)| number).max();
    assert!(highest > Some(6) && workload.trace.trimmed > 1, "{names:?}");
    assert_eq!(OPTIONS.segment_bytes, 8192);
}
