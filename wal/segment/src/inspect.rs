//! What an operator sees of a log, and the explicit recovery of what lies before damage.
//!
//! Invariants: inspecting checks every record and changes nothing. A partial recovery first preserves and writes
//! down what it gives up, then fixes the end of the log, then moves files aside; it can be run again after a
//! crash at any point. Never: deletes anything.

use crate::disk::Disk;
use crate::error::{OpenError, io_at};
use crate::names;
use crate::recover::{self, Found, Want};
use crate::seal::{self, Seal};

/// A log, read in full.
#[derive(Debug, Clone)]
pub struct Inspection {
    pub log: u64,
    pub seal: Option<Seal>,
    /// In file order, with those that hold nothing that counts.
    pub segments: Vec<InspectedSegment>,
    /// The last record of the contiguous chain.
    pub end: u64,
    /// Highest seq that something intact says was durable; the seal's end when there is one.
    pub durable: u64,
    pub damage: Option<Damage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedSegment {
    pub file: String,
    pub file_bytes: u64,
    /// First seq and number of records; `None` with a reason when the file does not continue the log.
    pub records: Result<(u64, usize), String>,
    pub used_bytes: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: String,
    pub offset: u64,
    pub what: String,
}

/// What a partial recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    pub seal: Seal,
    /// Names of the files that hold what was given up, and of the report.
    pub aside: Vec<String>,
}

/// Reads a log in full. `floor` as in [`crate::seal`].
///
/// # Errors
/// [`OpenError`] when files cannot be read or are of a newer format; damage is part of the answer.
pub fn inspect(disk: &dyn Disk, dir: &str, log: u64, floor: u64) -> Result<Inspection, OpenError> {
    let (seal, unreadable) = read_seal(disk, dir, log)?;
    let (found, damage) = survey(disk, dir, log, floor, seal)?;
    let damage = unreadable.or(damage);
    let mut segments = Vec::new();
    for segment in &found.segments {
        segments.push(InspectedSegment {
            file: segment.name.clone(),
            file_bytes: segment.file.len().map_err(io_at(&segment.name))?,
            records: Ok((segment.header.first_seq, segment.records.len())),
            used_bytes: segment.used,
        });
    }
    for (name, why) in &found.leftovers {
        let path = names::join(dir, name);
        let file = disk.open(&path).map_err(io_at(&path))?;
        segments.push(InspectedSegment {
            file: name.clone(),
            file_bytes: file.len().map_err(io_at(&path))?,
            records: Err(why.clone()),
            used_bytes: 0,
        });
    }
    Ok(Inspection { log, seal, segments, end: found.last_seq, durable: found.durable, damage })
}

/// Keeps the records before the first damage and gives up the rest: seals the log there, whatever was durable.
/// Files wholly given up are moved aside, the damaged one and an older seal are copied aside, and a report is written
/// beside them.
///
/// # Errors
/// [`OpenError::Refused`] when there is no damage, or the log is open.
pub fn recover_partial(
    disk: &dyn Disk,
    dir: &str,
    log: u64,
    executor: u64,
    floor: u64,
) -> Result<Partial, OpenError> {
    let (before, unreadable) = read_seal(disk, dir, log)?;
    let (found, damage) = survey(disk, dir, log, floor, before)?;
    let seal = match (unreadable.or(damage), before) {
        (Some(damage), _) => {
            let seal = Seal { log, end: found.last_seq, executor, given_up_to: found.durable.max(floor) };
            preserve(disk, dir, &found, &seal, before, &damage)?;
            seal::replace_seal(disk, dir, seal)?;
            seal
        }
        // An earlier run died before it had moved everything.
        (None, Some(seal)) if seal.is_partial() => seal,
        (None, _) => {
            return Err(OpenError::Refused(format!(
                "log {log} in {dir} is not damaged: there is nothing to give up"
            )));
        }
    };
    for (name, _) in &found.leftovers {
        let (from, to) = (names::join(dir, name), names::join(dir, &names::aside(name)));
        disk.rename(&from, &to).map_err(io_at(&from))?;
    }
    disk.sync_dir(dir).map_err(io_at(dir))?;
    let names = disk.list(dir).map_err(io_at(dir))?;
    let aside =
        names.into_iter().filter(|name| name.starts_with(&names::aside(&format!("{log:016x}")))).collect();
    Ok(Partial { seal, aside })
}

/// The seal, or the damage to it.
fn read_seal(disk: &dyn Disk, dir: &str, log: u64) -> Result<(Option<Seal>, Option<Damage>), OpenError> {
    match seal::read_seal(disk, dir, log) {
        Ok(seal) => Ok((seal, None)),
        Err(OpenError::Damaged { file, offset, what }) => Ok((None, Some(Damage { file, offset, what }))),
        Err(other) => Err(other),
    }
}

fn survey(
    disk: &dyn Disk,
    dir: &str,
    log: u64,
    floor: u64,
    seal: Option<Seal>,
) -> Result<(Found, Option<Damage>), OpenError> {
    let want = Want { floor, scan_all: true, payloads: false, end: seal.map(|s| s.end) };
    let (found, damage) = recover::survey(disk, dir, log, want)?;
    let damage = match (damage, seal) {
        (Some(OpenError::Damaged { file, offset, what }), _) => Some(Damage { file, offset, what }),
        (Some(other), _) => return Err(other),
        (None, Some(seal)) if floor > seal.end && !seal.is_partial() => {
            let what = format!("the log was sealed at {}, records up to {floor} were durable", seal.end);
            Some(Damage { file: names::join(dir, &names::seal(log)), offset: 0, what })
        }
        (None, _) => None,
    };
    Ok((found, damage))
}

/// Copies the segment that holds the damage, and writes down what is given up, before anything changes.
fn preserve(
    disk: &dyn Disk,
    dir: &str,
    found: &Found,
    seal: &Seal,
    before: Option<Seal>,
    damage: &Damage,
) -> Result<(), OpenError> {
    if let Some(last) = found.segments.last() {
        let len = last.file.len().map_err(io_at(&last.name))?;
        let bytes = recover::read_all(&*last.file, len).map_err(io_at(&last.name))?;
        write_new(disk, &names::join(dir, &names::aside(&last.name)), &bytes)?;
    }
    let seal_name = names::seal(seal.log);
    if let Ok(file) = disk.open(&names::join(dir, &seal_name)) {
        let len = file.len().map_err(io_at(&seal_name))?;
        let bytes = recover::read_all(&*file, len).map_err(io_at(&seal_name))?;
        write_new(disk, &names::join(dir, &names::aside(&seal_name)), &bytes)?;
    }
    let mut report = format!(
        "log {}\nkept: records up to {}\ngiven up: records {} to {}, which were durable, and any after them\n\
         damage: {} at byte {}: {}\n",
        seal.log,
        seal.end,
        seal.end + 1,
        seal.given_up_to,
        damage.file,
        damage.offset,
        damage.what
    );
    if let Some(before) = before {
        report.push_str(&format!("sealed before at {} by {}\n", before.end, before.executor));
    }
    for (name, why) in &found.leftovers {
        report.push_str(&format!("moved aside: {name}: {why}\n"));
    }
    let name = names::aside(&format!("{:016x}-report-{:016x}.txt", seal.log, seal.executor));
    write_new(disk, &names::join(dir, &name), report.as_bytes())?;
    disk.sync_dir(dir).map_err(io_at(dir))
}

/// Writes a file under a name of its own; a copy that a crash cut short is written again.
fn write_new(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), OpenError> {
    match disk.remove(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        done => done.map_err(io_at(path))?,
    }
    let file = disk.create(path, bytes.len() as u64).map_err(io_at(path))?;
    file.write_at(&[bytes], 0).map_err(io_at(path))?;
    file.sync().map_err(io_at(path))
}
