//! What the defaults depend on: the machine's memory and name.
//!
//! Owns: the reads of /proc and /sys, done once at start.
//! Invariants: a limit of the process's cgroup counts as the machine's memory if it is smaller.

use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub memory_bytes: u64,
    pub hostname: String,
}

/// Taken when the machine does not say.
const MEMORY_BYTES_UNKNOWN: u64 = 4 << 30;

impl Machine {
    /// This machine.
    #[must_use]
    pub fn read() -> Self {
        let root = Path::new("/");
        Self {
            memory_bytes: memory_bytes(root).unwrap_or(MEMORY_BYTES_UNKNOWN),
            hostname: read_trimmed(&root.join("proc/sys/kernel/hostname"))
                .unwrap_or_else(|| "localhost".to_owned()),
        }
    }

    /// The same on every machine, for tests and the simulation.
    #[must_use]
    pub fn fixed() -> Self {
        Self { memory_bytes: MEMORY_BYTES_UNKNOWN, hostname: "localhost".to_owned() }
    }
}

fn memory_bytes(root: &Path) -> Option<u64> {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).ok();
    let physical = meminfo.as_deref().and_then(mem_total);
    let limits = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"];
    limits
        .iter()
        .filter_map(|path| read_trimmed(&root.join(path))?.parse::<u64>().ok())
        .chain(physical)
        .filter(|bytes| *bytes > 0)
        .min()
}

/// `MemTotal:       16384000 kB`
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

fn read_trimmed(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("create");
            std::fs::write(path, text).expect("write");
        }
        dir
    }

    #[test]
    fn the_smaller_of_memory_and_cgroup_limit_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
        assert_eq!(memory_bytes(root(&[meminfo]).path()), Some(16 << 30));
        let limited = root(&[meminfo, ("sys/fs/cgroup/memory.max", "1073741824\n")]);
        assert_eq!(memory_bytes(limited.path()), Some(1 << 30));
        let unlimited = root(&[meminfo, ("sys/fs/cgroup/memory.max", "max\n")]);
        assert_eq!(memory_bytes(unlimited.path()), Some(16 << 30));
        assert_eq!(memory_bytes(root(&[]).path()), None);
    }
}
