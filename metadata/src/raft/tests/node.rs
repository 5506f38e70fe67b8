//! One node: proposals, restart, snapshots, a full disk.

use super::*;
use crate::{ProposeError, Refusal, Response};

#[test]
fn what_is_proposed_is_in_the_image_and_survives_a_restart() {
    simulated(1, async {
        let disk = SimDisk::new(1);
        let node = single(&disk).await.expect("a fresh disk opens");
        node.propose(vec![init(), register(1, 1), create("a.b")]).await.expect("there is a leader");
        let refused = node.propose_one(create("a_b")).await;
        assert!(
            matches!(refused, Err(ProposeError::Refused(Refusal::TopicNameCollides { .. }))),
            "{refused:?}"
        );
        let before = node.image();
        assert_eq!(before.topic_by_name("a.b").map(|t| t.partitions.len()), Some(1));
        node.shutdown().await;
        drop(node);

        let node = single(&disk).await.expect("it opens again");
        // What was committed is there before anyone leads.
        assert_eq!(node.image().topic_by_name("a.b"), before.topic_by_name("a.b"));
        node.read_index().await.expect("it leads again");
        let again = node.propose_one(register(1, 1)).await;
        assert_eq!(
            again,
            Ok(Response::Registered {
                incarnation: tidegate_common::Incarnation(1),
                wal: tidegate_common::WalId(1)
            })
        );
    });
}

#[test]
fn many_proposals_share_few_entries() {
    simulated(2, async {
        let node = single(&SimDisk::new(2)).await.expect("opens");
        node.propose(vec![init()]).await.expect("leads");
        let before = *node.applied().borrow();
        let proposals = (0..500).map(|i| {
            let node = node.clone();
            tokio::spawn(async move { node.propose_one(create(&format!("t{i}"))).await })
        });
        for proposal in proposals.collect::<Vec<_>>() {
            proposal.await.expect("no panic").expect("accepted");
        }
        assert_eq!(node.image().topic_count(), 500);
        let entries = *node.applied().borrow() - before;
        assert!(entries <= 50, "{entries} entries for 500 proposals");
    });
}

#[test]
fn outcomes_go_to_whoever_asked_in_order() {
    simulated(3, async {
        let node = single(&SimDisk::new(3)).await.expect("opens");
        node.propose(vec![init(), register(1, 1)]).await.expect("leads");
        let ask = |count| {
            let node = node.clone();
            let prepare =
                Command::PrepareObjects { incarnation: tidegate_common::Incarnation(1), count, ttl_ms: 1000 };
            tokio::spawn(async move { node.propose(vec![prepare.clone(), prepare]).await })
        };
        let asked: Vec<_> = (1..=20).map(|count| (count, ask(count))).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (count, answer) in asked {
            let outcomes = answer.await.expect("no panic").expect("accepted");
            assert_eq!(outcomes.len(), 2);
            for outcome in outcomes {
                let Ok(Response::Prepared { first, count: got }) = outcome else { panic!("{outcome:?}") };
                assert_eq!(got, count);
                assert!((0..u64::from(count)).all(|i| seen.insert(first.0 + i)), "an id twice");
            }
        }
    });
}

#[test]
fn the_log_is_cut_behind_snapshots_and_the_node_restarts_from_one() {
    simulated(4, async {
        let disk = SimDisk::new(4);
        let node = single(&disk).await.expect("opens");
        node.propose(vec![init()]).await.expect("leads");
        for i in 0..400 {
            node.propose_one(create(&format!("topic-{i}"))).await.expect("accepted");
        }
        node.read_index().await.expect("leads");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let files = disk.list(DIR).expect("the directory is there");
        assert!(files.contains(&"snapshot".to_owned()), "{files:?}");
        assert!(files.len() < 12, "old segments are gone: {files:?}");
        let before = node.image();
        node.shutdown().await;
        drop(node);

        let node = single(&disk).await.expect("opens again");
        node.read_index().await.expect("leads again");
        let mut after = (*node.image()).clone();
        after.applied_index = before.applied_index;
        assert_eq!(after, *before);
        node.propose_one(create("one-more")).await.expect("accepted");
    });
}

#[test]
fn a_full_disk_refuses_proposals_and_recovers_when_there_is_room() {
    simulated(5, async {
        let disk = SimDisk::new(5);
        let node = single(&disk).await.expect("opens");
        node.propose(vec![init()]).await.expect("leads");
        disk.set_capacity(Some(0));
        let mut accepted = 0;
        let refused = loop {
            match node.propose_one(create(&format!("t{accepted}"))).await {
                Ok(_) => accepted += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, ProposeError::NoSpace(_)), "{refused:?}");
        disk.set_capacity(None);
        node.propose_one(create(&format!("t{accepted}"))).await.expect("there is room again");
        assert_eq!(node.image().topic_count(), accepted + 1);
    });
}

#[test]
fn a_failed_write_stops_the_node_for_good() {
    simulated(6, async {
        let disk = SimDisk::new(6);
        let node = single(&disk).await.expect("opens");
        node.propose(vec![init()]).await.expect("leads");
        disk.fail_sync(0);
        let failed = node.propose_one(create("t")).await;
        assert!(failed.is_err(), "{failed:?}");
        let why = node.stopped().await;
        assert!(why.contains("poisoned") || why.contains("raft/"), "{why}");
        assert!(node.propose_one(create("u")).await.is_err());
        assert!(node.image().topic_by_name("u").is_none());
    });
}

#[test]
fn the_leader_keeps_time() {
    simulated(7, async {
        let clock = Arc::new(ManualClock::at_ms(5_000));
        let mut options = options(&SimDisk::new(7), 1, &[1]);
        options.clock = clock.clone();
        options.timing.tick_ms = 100;
        let node = Metadata::open_wired(options, small_wiring()).await.expect("opens");
        node.propose(vec![init()]).await.expect("leads");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert_eq!(node.image().time_ms(), 5_000);
        clock.advance_ms(250);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert_eq!(node.image().time_ms(), 5_250);
    });
}

/// The production lanes, on real files and a real clock.
#[test]
fn it_runs_on_real_files_with_threads() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    for round in 0..3 {
        runtime.block_on(async {
            let mut options = options(&SimDisk::new(8), 1, &[1]);
            options.disk = Arc::new(tidegate_segment::disk::OsDisk::new(dir.path().to_owned()));
            options.blocking = Blocking::Thread;
            let node = Metadata::open_wired(options, small_wiring()).await.expect("opens");
            node.propose(vec![init(), create(&format!("round-{round}"))]).await.expect("leads");
            assert_eq!(node.image().topic_count(), round + 1);
            node.shutdown().await;
        });
    }
}
