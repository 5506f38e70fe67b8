//! How many connections there may be.
//!
//! Invariants: a connection holds its pass until it ends; `max.connections` and `max.connections.per.ip` hold at
//! every moment. Never: closes a connection that has a pass.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_ip: BTreeMap<IpAddr, usize>,
}

#[derive(Debug)]
pub struct Gate {
    max: usize,
    max_per_ip: usize,
    counts: Mutex<Counts>,
}

/// Why there is no pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    #[error("max.connections={0} is reached")]
    Total(usize),
    #[error("max.connections.per.ip={0} is reached")]
    PerIp(usize),
}

#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    ip: IpAddr,
}

impl Gate {
    #[must_use]
    pub fn new(max: usize, max_per_ip: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_ip, counts: Mutex::default() })
    }

    /// # Errors
    /// [`Shut`] when a limit is reached.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Pass, Shut> {
        let mut counts = self.counts.lock();
        if counts.total >= self.max {
            return Err(Shut::Total(self.max));
        }
        let of_ip = counts.by_ip.entry(ip).or_default();
        if *of_ip >= self.max_per_ip {
            return Err(Shut::PerIp(self.max_per_ip));
        }
        *of_ip += 1;
        counts.total += 1;
        Ok(Pass { gate: Arc::clone(self), ip })
    }

    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.lock().total
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock();
        counts.total -= 1;
        if let Some(of_ip) = counts.by_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                counts.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_passes_come_back() {
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let gate = Gate::new(3, 2);
        let first = gate.enter(a).expect("room");
        let _second = gate.enter(a).expect("room");
        assert_eq!(gate.enter(a).map(drop), Err(Shut::PerIp(2)));
        let _third = gate.enter(b).expect("room");
        assert_eq!(gate.enter(b).map(drop), Err(Shut::Total(3)));
        drop(first);
        assert!(gate.enter(a).is_ok());
        assert_eq!(gate.open(), 2);
    }
}
