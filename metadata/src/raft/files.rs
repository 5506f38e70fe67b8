//! Small files that are replaced as a whole: written aside, synced, renamed, the directory synced.
//!
//! Invariants: after a crash the name holds the old bytes or the new ones, never a mixture.
//! Never: is used for anything that grows.

use std::io;

use tidegate_common::mutant;
use tidegate_segment::disk::Disk;

use super::OpenError;

pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Replaces `dir/name` by the given parts.
pub(super) fn replace(disk: &dyn Disk, dir: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let (path, aside) = (join(dir, name), join(dir, &format!("{name}.tmp")));
    remove_aside(disk, dir, name)?;
    let len = parts.iter().map(|part| part.len() as u64).sum();
    let file = disk.create(&aside, len)?;
    file.write_at(parts, 0)?;
    if !(name == "snapshot" && mutant::on("snapshot-not-synced")) {
        file.sync()?;
    }
    disk.rename(&aside, &path)?;
    disk.sync_dir(dir)
}

/// Removes what a crash in [`replace`] left.
pub(super) fn remove_aside(disk: &dyn Disk, dir: &str, name: &str) -> io::Result<()> {
    let aside = format!("{name}.tmp");
    if disk.list(dir)?.contains(&aside) { disk.remove(&join(dir, &aside)) } else { Ok(()) }
}

/// The bytes of `dir/name` as the medium holds them; `None` when there is no such file.
pub(super) fn read(disk: &dyn Disk, dir: &str, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
    let path = join(dir, name);
    let io = |source: io::Error| OpenError::Io { place: path.clone(), what: source.to_string() };
    if !disk.list(dir).map_err(io)?.iter().any(|found| found == name) {
        return Ok(None);
    }
    let file = disk.open(&path).map_err(io)?;
    let len = usize::try_from(file.len().map_err(io)?)
        .map_err(|_| OpenError::Io { place: path.clone(), what: "the file is larger than memory".into() })?;
    // As long as the file, which is on our own disk.
    let mut bytes = vec![0; len];
    file.read_at_uncached(&mut bytes, 0).map_err(io)?;
    Ok(Some(bytes))
}
