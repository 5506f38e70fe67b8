//! Three voters on an in-process network.

use std::time::Duration;

use super::*;
use crate::{LocalNetwork, Response};

struct Cluster {
    network: Arc<LocalNetwork>,
    disks: BTreeMap<NodeId, SimDisk>,
    nodes: BTreeMap<NodeId, Metadata>,
}

const VOTERS: [NodeId; 3] = [1, 2, 3];

impl Cluster {
    async fn start(seed: u64) -> Self {
        let disks = VOTERS.map(|id| (id, SimDisk::new(seed + id))).into();
        let mut cluster = Self { network: Arc::default(), disks, nodes: BTreeMap::new() };
        for node in VOTERS {
            cluster.open(node).await;
        }
        cluster
    }

    async fn open(&mut self, node: NodeId) {
        let wiring = Wiring { transport: self.network.transport(node), ..small_wiring() };
        let opened = Metadata::open_wired(options(&self.disks[&node], node, &VOTERS), wiring).await;
        let opened = opened.expect("the disk is intact");
        self.network.join(node, &opened);
        self.nodes.insert(node, opened);
    }

    /// Power loss of one node.
    async fn crash(&mut self, node: NodeId) {
        self.network.leave(node);
        self.disks[&node].fail_after(0);
        self.nodes.remove(&node).expect("it ran").shutdown().await;
        self.disks[&node].crash();
    }

    async fn leader(&self, not: Option<NodeId>) -> NodeId {
        for _ in 0..200 {
            let known: Vec<_> =
                self.nodes.values().filter(|node| Some(node.node()) != not).map(Metadata::leader).collect();
            match known[0] {
                Some(leader) if Some(leader) != not && known.iter().all(|l| *l == Some(leader)) => {
                    return leader;
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("no leader");
    }

    async fn agree(&self) {
        let mut images = Vec::new();
        for node in self.nodes.values() {
            node.read_index().await.expect("a quorum is there");
        }
        let index = self.nodes.values().map(|node| *node.applied().borrow()).max().expect("three nodes");
        for node in self.nodes.values() {
            let mut applied = node.applied();
            let caught_up = applied.wait_for(|applied| *applied >= index);
            tokio::time::timeout(Duration::from_secs(30), caught_up)
                .await
                .expect("in time")
                .expect("running");
            images.push(node.image());
        }
        assert!(images.windows(2).all(|pair| pair[0] == pair[1]), "the images differ");
    }
}

#[test]
fn any_node_takes_proposals_and_all_have_the_same_image() {
    simulated(1, async {
        let cluster = Cluster::start(10).await;
        let leader = cluster.leader(None).await;
        cluster.nodes[&leader].propose(vec![init(), register(1, 1)]).await.expect("the leader proposes");
        for node in VOTERS {
            let metadata = &cluster.nodes[&node];
            let name = format!("from-{node}");
            let created = metadata.propose_one(create(&name)).await.expect("passed on to the leader");
            assert!(matches!(created, Response::TopicCreated { .. }));
            // A proposer sees its own write in its own image.
            assert!(metadata.image().topic_by_name(&name).is_some());
        }
        cluster.agree().await;
    });
}

#[test]
fn a_new_leader_takes_over_with_everything_acknowledged() {
    simulated(2, async {
        let mut cluster = Cluster::start(20).await;
        let leader = cluster.leader(None).await;
        let other = VOTERS.into_iter().find(|node| *node != leader).expect("three");
        cluster.nodes[&leader].propose(vec![init()]).await.expect("leads");
        for i in 0..30 {
            cluster.nodes[&other].propose_one(create(&format!("t{i}"))).await.expect("accepted");
        }
        cluster.crash(leader).await;
        let next = cluster.leader(Some(leader)).await;
        assert_ne!(next, leader);
        cluster.nodes[&other].read_index().await.expect("two of three are a quorum");
        assert_eq!(cluster.nodes[&other].image().topic_count(), 30);
        cluster.nodes[&other].propose_one(create("after")).await.expect("accepted");
        cluster.open(leader).await;
        cluster.agree().await;
        assert_eq!(cluster.nodes[&leader].image().topic_count(), 31);
    });
}

#[test]
fn a_leader_without_its_quorum_answers_no_read_and_accepts_nothing() {
    simulated(3, async {
        let cluster = Cluster::start(30).await;
        let leader = cluster.leader(None).await;
        cluster.nodes[&leader].propose(vec![init()]).await.expect("leads");
        cluster.network.isolate(leader, true);
        let lonely = cluster.nodes[&leader].clone();
        let proposal = tokio::spawn(async move { lonely.propose_one(create("lost")).await });
        let next = cluster.leader(Some(leader)).await;
        assert!(cluster.nodes[&leader].read_index().await.is_err());
        cluster.nodes[&next].propose_one(create("kept")).await.expect("accepted");
        let lost = proposal.await.expect("no panic");
        assert!(matches!(lost, Err(crate::ProposeError::Unknown(_))), "{lost:?}");
        cluster.network.isolate(leader, false);
        cluster.agree().await;
        let image = cluster.nodes[&leader].image();
        assert!(image.topic_by_name("kept").is_some() && image.topic_by_name("lost").is_none());
    });
}

#[test]
fn a_node_far_behind_catches_up_by_a_snapshot() {
    simulated(4, async {
        let mut cluster = Cluster::start(40).await;
        let leader = cluster.leader(None).await;
        cluster.nodes[&leader].propose(vec![init()]).await.expect("leads");
        let behind = VOTERS.into_iter().find(|node| *node != leader).expect("three");
        cluster.crash(behind).await;
        for i in 0..300 {
            cluster.nodes[&leader].propose_one(create(&format!("t{i}"))).await.expect("accepted");
        }
        cluster.open(behind).await;
        cluster.agree().await;
        assert!(cluster.disks[&behind].list(DIR).expect("listed").contains(&"snapshot".to_owned()));
        cluster.crash(behind).await;
        cluster.open(behind).await;
        cluster.agree().await;
        assert_eq!(cluster.nodes[&behind].image().topic_count(), 300);
    });
}

/// Crashes one node after the other while proposals go on; whatever was acknowledged stays.
fn rolling_crashes(seed: u64) -> Vec<String> {
    simulated(seed, async {
        let mut cluster = Cluster::start(seed * 100).await;
        let leader = cluster.leader(None).await;
        cluster.nodes[&leader].propose(vec![init()]).await.expect("leads");
        let (mut events, mut acknowledged) = (Vec::new(), Vec::new());
        for round in 0..6_u64 {
            let victim = VOTERS[((seed + round) % 3) as usize];
            let through = VOTERS[((seed + round + 1) % 3) as usize];
            for i in 0..10 {
                if i == 5 {
                    cluster.crash(victim).await;
                }
                let name = format!("r{round}-{i}");
                match cluster.nodes[&through].propose_one(create(&name)).await {
                    Ok(_) => acknowledged.push(name),
                    Err(error) => events.push(format!("{name}: {error}")),
                }
            }
            cluster.open(victim).await;
            cluster.agree().await;
            let image = cluster.nodes[&victim].image();
            for name in &acknowledged {
                assert!(image.topic_by_name(name).is_some(), "seed {seed}: {name} is lost");
            }
            let root = crate::snapshot::encode(&image).root;
            events.push(format!(
                "{} {:?} {}",
                image.applied_index(),
                cluster.nodes[&victim].leader(),
                blake3::hash(&root)
            ));
        }
        events
    })
}

#[test]
fn rolling_power_losses_lose_nothing_and_one_seed_gives_one_history() {
    for seed in 1..=5 {
        assert_eq!(rolling_crashes(seed), rolling_crashes(seed), "seed {seed}");
    }
    assert_ne!(rolling_crashes(1), rolling_crashes(2));
}
