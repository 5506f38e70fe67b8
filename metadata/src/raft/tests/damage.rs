//! Damaged state: the node refuses to start and names file and offset.

use super::*;

/// A node with a snapshot, a log and a vote, shut down.
async fn grown() -> SimDisk {
    let disk = SimDisk::new(9);
    let node = single(&disk).await.expect("opens");
    node.propose(vec![init()]).await.expect("leads");
    for i in 0..180 {
        node.propose_one(create(&format!("topic-{i}"))).await.expect("accepted");
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    node.shutdown().await;
    disk
}

async fn refusal(disk: &SimDisk) -> OpenError {
    match single(disk).await {
        Err(error) => error,
        Ok(_) => panic!("the node started on damaged state"),
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_snapshot_is_refused() {
    simulated(1, async {
        let disk = grown().await;
        let len = disk.bytes("raft/snapshot").expect("there is one").len() as u64;
        for offset in (0..len).step_by(61) {
            let damaged = disk.fork(1);
            damaged.flip("raft/snapshot", offset, 0x10);
            match refusal(&damaged).await {
                OpenError::Damaged { file, .. } => assert_eq!(file, "raft/snapshot"),
                other => panic!("byte {offset}: {other}"),
            }
        }
    });
}

#[test]
fn a_flipped_bit_in_the_node_file_is_refused() {
    simulated(2, async {
        let disk = grown().await;
        for offset in 0..34 {
            let damaged = disk.fork(1);
            damaged.flip("raft/node", offset, 0x04);
            match refusal(&damaged).await {
                OpenError::Damaged { file, .. } => assert_eq!(file, "raft/node"),
                other => panic!("byte {offset}: {other}"),
            }
        }
    });
}

#[test]
fn a_flipped_bit_in_an_entry_or_vote_is_refused() {
    simulated(3, async {
        let disk = grown().await;
        let is_log = |name: &&String| *name != "snapshot" && *name != "node";
        let names = disk.list(DIR).expect("listed");
        let mut refused = 0;
        for name in names.iter().filter(is_log) {
            let path = format!("raft/{name}");
            let bytes = disk.bytes(&path).expect("readable");
            for (offset, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).step_by(97) {
                let damaged = disk.fork(1);
                damaged.flip(&path, offset as u64, 0x20);
                match single(&damaged).await {
                    Err(OpenError::Damaged { file, .. } | OpenError::NewerFormat { place: file, .. }) => {
                        assert!(file.starts_with("raft"), "{file}");
                        refused += 1;
                    }
                    Err(other) => panic!("{path} byte {offset}: {other}"),
                    // Padding, the last mark itself, or a footer, which is derived: nothing may be lost by it.
                    Ok(node) => {
                        node.read_index().await.expect("leads");
                        assert_eq!(node.image().topic_count(), 180, "{path} byte {offset}");
                    }
                }
            }
        }
        assert!(refused > 50, "{refused}");
    });
}

#[test]
fn a_missing_part_is_refused() {
    simulated(4, async {
        let disk = grown().await;
        let names = disk.list(DIR).expect("listed");
        for name in &names {
            let damaged = disk.fork(1);
            damaged.remove(&format!("raft/{name}")).expect("removed");
            match single(&damaged).await {
                Err(OpenError::Damaged { .. }) => {}
                Err(other) => panic!("without {name}: {other}"),
                // A spare segment holds nothing.
                Ok(node) => {
                    node.read_index().await.expect("leads");
                    assert_eq!(node.image().topic_count(), 180, "without {name}");
                }
            }
        }
        // A node that lost its whole log must not vote under its old id.
        for name in names.iter().filter(|name| *name != "node") {
            disk.remove(&format!("raft/{name}")).expect("removed");
        }
        assert!(matches!(refusal(&disk).await, OpenError::Damaged { .. }));
    });
}

#[test]
fn a_directory_of_another_node_is_refused() {
    simulated(5, async {
        let disk = grown().await;
        let opened = Metadata::open_wired(options(&disk, 2, &[2]), small_wiring()).await;
        assert!(matches!(opened, Err(OpenError::Refused(_))));
    });
}
