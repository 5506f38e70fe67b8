//! Failed writes and syncs, one at each place of the workload: the log is poisoned, and what it acknowledged before is
//! recovered from whatever the medium holds.

use bytes::Bytes;

use super::{Workload, check, is_poisoned, seal_and_read};
use crate::Meta;
use crate::disk::sim::{Breadth, SimDisk};

/// Fails each of the first `count` writes and syncs in turn. Gives how many of them hit the writer, and the states that
/// were recovered.
///
/// # Errors
/// The first violation.
pub fn states(count: u64, breadth: Breadth) -> Result<(u64, u64), String> {
    let (mut hits, mut states) = (0, 0);
    for n in 0..count {
        for (what, fail) in
            [("write", SimDisk::fail_write as fn(&SimDisk, u64)), ("sync", SimDisk::fail_sync)]
        {
            let disk = SimDisk::new(n);
            fail(&disk, n);
            let mut workload = Workload::new(&disk, &|_| {}, 1);
            let Some(mut log) = workload.run() else { continue };
            let trace = workload.trace;
            let at = |e: String| format!("{what} {n} failed: {e}");
            let body = Bytes::from_static(b"later");
            if is_poisoned(log.append(&Meta::default(), &[], &body)) {
                hits += 1;
                let durable = log.durable();
                if !(is_poisoned(log.commit()) && is_poisoned(log.mark())) {
                    return Err(at("the log goes on".into()));
                }
                if (log.durable(), trace.acked) != (durable, durable) {
                    return Err(at("more became durable".into()));
                }
            } else if workload.refused {
                return Err(at("a call was refused, and then the log takes records".into()));
            }
            // The cache still shows what the failed sync dropped; the successor must not believe it.
            for loss in disk.losses(breadth) {
                let disk = disk.after(loss);
                let first = seal_and_read(&disk, 1, trace.acked).map_err(at)?;
                check(&trace, &first).map_err(at)?;
                disk.crash();
                if seal_and_read(&disk, 2, trace.acked).map_err(at)? != first {
                    return Err(at("recovered differently the second time".into()));
                }
                states += 2;
            }
        }
    }
    Ok((hits, states))
}

#[test]
fn after_a_failed_write_or_sync_nothing_more_is_acknowledged_and_nothing_acknowledged_is_lost() {
    let (hits, states) =
        states(60, Breadth { subsets_max: 16, drawn: 8 }).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(hits > 20 && states > 500, "{hits} failures hit the writer, {states} states");
}
