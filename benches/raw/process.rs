//! CPU and memory as Linux accounts for them.
//!
//! Owns: parsing of /proc/PID/stat, /proc/PID/status and /proc/stat.
//! Holds: CPU of a process is utime + stime of all its threads, those that ended included; its unit is a clock tick, 10
//! ms as a rule, so a share of a one-second window is good to a percent.
//! On loopback the sender's CPU also runs the receiver's TCP input: a broker's produce is understated, its fetch
//! overstated, for every broker alike.

use anyhow::{Context, Result, ensure};

/// CPU of one process so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessCpu {
    pub ticks: u64,
    /// When the process started: the same pid with another start is another process.
    pub started: u64,
}

impl ProcessCpu {
    pub fn read(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("process {pid} is not there"))?;
        parse_stat(&text).with_context(|| format!("cannot read {path}"))
    }

    /// CPU-seconds since `earlier`.
    pub fn seconds_since(&self, earlier: &ProcessCpu) -> Result<f64> {
        ensure!(self.started == earlier.started, "the process was restarted while it was measured");
        Ok((self.ticks - earlier.ticks) as f64 / ticks_per_second())
    }
}

/// Resident memory of one process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    pub resident: u64,
    pub peak: u64,
}

impl ProcessMemory {
    pub fn read(pid: u32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} is not there"))?;
        let field = |name| field_kib(&text, name).with_context(|| format!("no {name} for process {pid}"));
        Ok(Self { resident: field("VmRSS:")? * 1024, peak: field("VmHWM:")? * 1024 })
    }
}

/// Ticks of all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCpu {
    /// In processes: user, nice and system time. Interrupts are counted apart, as they are in no process's time.
    pub processes: u64,
    pub interrupts: u64,
    pub steal: u64,
    pub all: u64,
}

impl MachineCpu {
    pub fn read() -> Result<Self> {
        parse_machine(&std::fs::read_to_string("/proc/stat")?).context("cannot read /proc/stat")
    }

    pub fn since(&self, earlier: &MachineCpu) -> MachineCpu {
        MachineCpu {
            processes: self.processes.saturating_sub(earlier.processes),
            interrupts: self.interrupts.saturating_sub(earlier.interrupts),
            // The kernel lets steal and idle go back a little at times.
            steal: self.steal.saturating_sub(earlier.steal),
            all: self.all.saturating_sub(earlier.all),
        }
    }
}

pub fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Raises the limit on open files as far as the system lets us: each connection needs two.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it fails, opening a connection says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn parse_stat(text: &str) -> Option<ProcessCpu> {
    // The command's name may hold anything, parentheses and blanks too.
    let (_, rest) = text.rsplit_once(") ")?;
    // Field 3 of proc(5), the state, is the first of these.
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
    Some(ProcessCpu { ticks: field(14)? + field(15)?, started: field(22)? })
}

fn field_kib(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn parse_machine(text: &str) -> Option<MachineCpu> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = fields[..] else { return None };
    let (processes, interrupts) = (user + nice + system, irq + softirq);
    Some(MachineCpu { processes, interrupts, steal, all: processes + idle + iowait + interrupts + steal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) 9 (b) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 98765 20 21\n";
        assert_eq!(parse_stat(text), Some(ProcessCpu { ticks: 300, started: 98765 }));
        assert_eq!(parse_stat("42 (cut) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn the_machine_line_is_split_into_processes_interrupts_and_steal() {
        let text = "cpu  10 20 30 1000 40 5 6 7 3 1\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let expected = MachineCpu { processes: 60, interrupts: 11, steal: 7, all: 1118 };
        assert_eq!(parse_machine(text), Some(expected));
        assert_eq!(parse_machine("intr 1 2 3"), None);
    }

    #[test]
    fn this_process_is_found_and_uses_cpu() {
        let pid = std::process::id();
        let before = ProcessCpu::read(pid).expect("it runs");
        let mut work = 0u64;
        while ProcessCpu::read(pid).expect("it runs").ticks < before.ticks + 2 {
            work = (0..100_000u64)
                .fold(work, |sum, n| std::hint::black_box(sum.wrapping_mul(31).wrapping_add(n)));
        }
        let after = ProcessCpu::read(pid).expect("it runs");
        assert!(after.seconds_since(&before).expect("the same process") > 0.0);
        let other = ProcessCpu { started: before.started + 1, ..before };
        assert!(after.seconds_since(&other).is_err());
        let memory = ProcessMemory::read(pid).expect("it runs");
        assert!(memory.resident > 0 && memory.peak >= memory.resident / 2);
        assert!(ProcessCpu::read(u32::MAX).is_err());
    }
}
