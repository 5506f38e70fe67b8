//! `tidegate wal …`: looking at a WAL directory while no broker runs on it.

use std::path::Path;

/// Describes segments, ranges and the first damage.
///
/// # Errors
/// One line when the directory cannot be read.
pub fn inspect(dir: &Path) -> Result<String, String> {
    let _ = dir;
    Err("x".into())
}

/// Opens what is before the damage and sets the rest aside.
///
/// # Errors
/// One line when nothing could be done.
pub fn recover_partial(dir: &Path) -> Result<String, String> {
    let _ = dir;
    Err("x".into())
}
