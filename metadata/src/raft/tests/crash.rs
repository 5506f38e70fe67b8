//! Power loss at every disk operation: votes are never lost or reordered, acknowledged entries are recovered.

use tidegate_segment::disk::sim::Breadth;

use super::super::crashes::{Extent, flips, states};
use super::*;

const EXTENT: Extent = Extent {
    breadth: Breadth { subsets_max: 4, drawn: 6 },
    nested_every: 5,
    nested: Breadth { subsets_max: 2, drawn: 1 },
    prepare: |_| {},
};

#[test]
fn power_loss_at_every_operation_loses_no_vote_and_no_acknowledged_entry() {
    let (boundaries, states) = states(1, &EXTENT).unwrap_or_else(|what| panic!("{what}"));
    assert!(boundaries > 80 && states > 1_500, "{boundaries} operations, {states} states");
}

/// Each kind of sync that this crate asks for is needed: without it, the suite above fails.
#[test]
fn without_any_one_sync_the_suite_fails() {
    type Prepare = fn(&SimDisk);
    let kinds: [(&str, Prepare); 4] = [
        ("the snapshot before its rename", |disk| {
            disk.ignore_syncs(|sync| sync.path.ends_with("snapshot.tmp"))
        }),
        ("the node file before its rename", |disk| disk.ignore_syncs(|sync| sync.path.ends_with("node.tmp"))),
        ("the raft directory", |disk| disk.ignore_syncs(|sync| sync.is_dir && sync.path == DIR)),
        ("segments", |disk| disk.ignore_syncs(|sync| !sync.is_dir && !sync.path.ends_with(".tmp"))),
    ];
    for (what, prepare) in kinds {
        let failed = (1..=4).any(|seed| states(seed, &Extent { prepare, ..EXTENT }).is_err());
        assert!(failed, "nothing noticed that {what} is not synced");
    }
}

#[test]
fn every_flipped_byte_is_refused_or_changes_nothing() {
    let seen = flips(&[0x10]).unwrap_or_else(|what| panic!("{what}"));
    let (refused, _) = seen.values().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert!(refused > 1_000, "{seen:?}");
    for whole in ["node", "snapshot"] {
        assert_eq!(seen[whole].1, 0, "a byte of {whole} is not looked at");
    }
}

/// The whole node: what a proposer was told is in the image after the power comes back.
#[test]
fn power_loss_at_every_operation_loses_no_acknowledged_command() {
    let mut boundaries = 0;
    for at in (0..).step_by(3) {
        let disk = SimDisk::new(at + 1);
        let finished = simulated(at, async {
            disk.fail_after(at);
            let mut acknowledged = Vec::new();
            if let Ok(node) = single(&disk).await {
                let mut i = 0;
                while i < 150 && node.propose(vec![init(), create(&format!("t{i}"))]).await.is_ok() {
                    acknowledged.push(format!("t{i}"));
                    i += 1;
                }
                node.shutdown().await;
            }
            let finished = !disk.is_off();
            disk.crash();
            let node = single(&disk).await.unwrap_or_else(|error| panic!("at {at}: {error}"));
            node.read_index().await.expect("leads");
            for name in &acknowledged {
                assert!(node.image().topic_by_name(name).is_some(), "at {at}: {name} is lost");
            }
            finished
        });
        boundaries += 1;
        if finished {
            break;
        }
    }
    assert!(boundaries > 60, "{boundaries}");
}
