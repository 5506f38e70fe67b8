//! File names of a log. Several logs share a directory, told apart by id.

use crate::disk::Disk;
use crate::error::{OpenError, io_at};

/// `{log}-{number}.seg`, both in hex so that names sort like numbers.
#[must_use]
pub(crate) fn segment(log: u64, number: u32) -> String {
    format!("{log:016x}-{number:08x}.seg")
}

#[must_use]
pub(crate) fn seal(log: u64) -> String {
    format!("{log:016x}.seal")
}

/// Where a file goes that a partial recovery gave up: a name that no log claims, so that nothing removes it.
#[must_use]
pub(crate) fn aside(name: &str) -> String {
    format!("given-up-{name}")
}

#[must_use]
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Numbers and names of the segment files of `log`, in number order.
pub(crate) fn segments_in(disk: &dyn Disk, dir: &str, log: u64) -> Result<Vec<(u32, String)>, OpenError> {
    let names = disk.list(dir).map_err(io_at(dir))?;
    let mut found: Vec<(u32, String)> = names
        .into_iter()
        .filter_map(|name| match parse(&name) {
            Some((of, number)) if of == log => Some((number, name)),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Log and number of a segment file name.
#[must_use]
pub(crate) fn parse(name: &str) -> Option<(u64, u32)> {
    let (log, number) = name.strip_suffix(".seg")?.split_once('-')?;
    let log = u64::from_str_radix(log, 16).ok()?;
    let number = u32::from_str_radix(number, 16).ok()?;
    (segment(log, number) == name).then_some((log, number))
}

/// Log of any file name of this crate.
#[must_use]
pub(crate) fn log_of(name: &str) -> Option<u64> {
    let log = name.get(..16)?;
    matches!(name.as_bytes().get(16), Some(b'-' | b'.')).then(|| u64::from_str_radix(log, 16).ok()).flatten()
}

/// Creates `dir` and makes its way from the root durable.
pub(crate) fn create_dir(disk: &dyn Disk, dir: &str) -> Result<(), OpenError> {
    disk.create_dir_all(dir).map_err(io_at(dir))?;
    let mut parents: Vec<&str> =
        dir.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &dir[..at]).collect();
    if !dir.is_empty() {
        parents.insert(0, "");
    }
    for parent in parents {
        disk.sync_dir(parent).map_err(io_at(parent))?;
    }
    Ok(())
}
