//! `tidegate wal …`: looking at a directory of WALs while no broker runs on it, and opening one that is damaged.
//!
//! Owns: the texts. Invariants: `inspect` changes nothing; `recover_partial` never deletes, and touches only WALs that
//! are damaged. Never: decides what is damage (`tidegate-segment` does).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tidegate_segment::disk::OsDisk;
use tidegate_segment::{inspect as inspect_log, logs_in, recover_partial as recover_log};

use crate::rim::data_dir::DataDir;

/// Who sealed, in the seal's own words, when an operator did.
const OPERATOR: u64 = 0;

struct Place {
    disk: OsDisk,
    dir: String,
    /// Held so that no broker starts meanwhile; absent when the directory is not inside a data directory.
    _lock: Option<DataDir>,
}

fn open(dir: &Path) -> Result<Place, String> {
    let absolute = std::path::absolute(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    if !absolute.is_dir() {
        return Err(format!("{}: no such directory; give the wal directory of a data.dir", dir.display()));
    }
    let name = absolute.file_name().map(|n| n.to_string_lossy().into_owned());
    let (Some(parent), Some(dir_name)) = (absolute.parent().map(PathBuf::from), name) else {
        return Err(format!("{}: not a directory of WALs", dir.display()));
    };
    let lock = if parent.join("node.json").exists() {
        Some(DataDir::lock(&parent).map_err(|e| e.to_string())?)
    } else {
        None
    };
    Ok(Place { disk: OsDisk::new(parent), dir: dir_name, _lock: lock })
}

/// Describes every WAL below `dir`: segments, ranges, seal, and the first damage.
///
/// # Errors
/// One line when the directory cannot be read.
pub fn inspect(dir: &Path, floor: u64) -> Result<String, String> {
    let place = open(dir)?;
    let logs = logs_in(&place.disk, &place.dir).map_err(|e| e.to_string())?;
    let mut out = String::new();
    if logs.is_empty() {
        out.push_str("no WAL here\n");
    }
    for log in logs {
        let found = inspect_log(&place.disk, &place.dir, log, floor).map_err(|e| e.to_string())?;
        let _ =
            writeln!(out, "WAL {log}: ends at position {}, known durable up to {}", found.end, found.durable);
        match found.seal {
            Some(seal) => {
                let _ = writeln!(out, "  sealed at {} by incarnation {}", seal.end, seal.executor);
            }
            None => out.push_str("  not sealed\n"),
        }
        for segment in &found.segments {
            let _ = match &segment.records {
                Ok((first, count)) => writeln!(
                    out,
                    "  {}: {count} records from {first}, {} of {} bytes used",
                    segment.file, segment.used_bytes, segment.file_bytes
                ),
                Err(why) => writeln!(
                    out,
                    "  {}: {} bytes, not part of the log: {why}",
                    segment.file, segment.file_bytes
                ),
            };
        }
        if let Some(damage) = &found.damage {
            let _ = writeln!(out, "  DAMAGED in {} at byte {}: {}", damage.file, damage.offset, damage.what);
            let _ = writeln!(
                out,
                "  `tidegate wal recover --partial {}` keeps positions up to {} and gives up {} that were durable",
                dir.display(),
                found.end,
                found.durable.saturating_sub(found.end)
            );
        }
    }
    Ok(out)
}

/// Opens every damaged WAL below `dir` at what lies before its damage; the rest is set aside and written down.
///
/// # Errors
/// One line when nothing is damaged or the directory cannot be changed.
pub fn recover_partial(dir: &Path, floor: u64) -> Result<String, String> {
    let place = open(dir)?;
    let mut out = String::new();
    for log in logs_in(&place.disk, &place.dir).map_err(|e| e.to_string())? {
        let found = inspect_log(&place.disk, &place.dir, log, floor).map_err(|e| e.to_string())?;
        if found.damage.is_none() && !found.seal.is_some_and(|s| s.is_partial()) {
            continue;
        }
        let done = recover_log(&place.disk, &place.dir, log, OPERATOR, floor).map_err(|e| e.to_string())?;
        let _ = writeln!(
            out,
            "WAL {log}: kept up to position {}; given up: positions {} to {} that were known durable",
            done.seal.end,
            done.seal.end + 1,
            done.seal.given_up_to
        );
        for name in &done.aside {
            let _ = writeln!(out, "  set aside: {name}");
        }
    }
    if out.is_empty() {
        return Err(format!("{}: no WAL is damaged; there is nothing to give up", dir.display()));
    }
    Ok(out)
}
