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
    max: usize,
    max_per_ip: usize,
    total: usize,
    by_ip: BTreeMap<IpAddr, usize>,
}

#[derive(Debug)]
pub struct Gate {
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
        Arc::new(Self { counts: Mutex::new(Counts { max, max_per_ip, ..Counts::default() }) })
    }

    /// Other limits from now on. Connections that have a pass keep it.
    pub fn set(&self, max: usize, max_per_ip: usize) {
        let mut counts = self.counts.lock();
        (counts.max, counts.max_per_ip) = (max, max_per_ip);
    }

    /// # Errors
    /// [`Shut`] when a limit is reached.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Pass, Shut> {
        let mut counts = self.counts.lock();
        let (max, max_per_ip) = (counts.max, counts.max_per_ip);
        if counts.total >= max {
            return Err(Shut::Total(max));
        }
        let of_ip = counts.by_ip.get(&ip).copied().unwrap_or_default();
        if of_ip >= max_per_ip {
            return Err(Shut::PerIp(max_per_ip));
        }
        counts.by_ip.insert(ip, of_ip + 1);
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
        gate.set(4, 1);
        assert_eq!(gate.enter(b).map(drop), Err(Shut::PerIp(1)), "who is in stays in");
        gate.set(4, 9);
        let _fourth = gate.enter(b).expect("room again");
        assert_eq!(gate.open(), 3);
    }
}
