//! Rules of classic consumer groups that need more than one request, one test each, against the real handlers.
//!
//! Time is tokio's paused time, and the broker's clock walks with it: a test that waits for a session costs nothing. A
//! life of the broker is a runtime: dropping it ends the life as a SIGKILL would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tidegate_broker::internal_topics::CONSUMER_OFFSETS;
use tidegate_broker::rim::clock::SystemClock;
use tidegate_common::clock::Clock;
use tidegate_tests::peer::{Peer, name, run_loops, text, walk};
use tidegate_tests::sim::history::History;
use tidegate_tests::sim::plan::Plan;
use tidegate_tests::sim::world::World;

const TOPIC: &str = "payments";
const GROUP: &str = "g";
const SESSION_MS: i32 = 10_000;

fn world() -> Arc<World> {
    World::new(7, &Plan::calm(), History::new())
}

/// Runs one life of a broker to its end.
fn life<T>(world: &Arc<World>, act: impl AsyncFnOnce(Peer) -> T) -> T {
    in_runtime(world, async |world| {
        let mut peer = Peer::over(&world).await;
        prepare(&mut peer).await;
        act(peer).await
    })
}

fn in_runtime<T>(world: &Arc<World>, act: impl AsyncFnOnce(Arc<World>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let value = runtime.block_on(async {
        walk(world);
        act(Arc::clone(world)).await
    });
    drop(runtime);
    world.disk().kill();
    world.new_life();
    value
}

/// The topic, and every partition of the coordinator loaded.
async fn prepare(peer: &mut Peer) {
    create(peer).await;
    let ask = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(GROUP)]);
    let answer: FindCoordinatorResponse = peer.call(10, 4, &ask).await;
    assert_eq!(answer.coordinators[0].error_code, 0);
    loaded(peer).await;
}

async fn loaded(peer: &Peer) {
    eventually("the groups load", async || peer.loaded()).await;
}

async fn create(peer: &mut Peer) {
    let topic =
        CreatableTopic::default().with_name(name(TOPIC)).with_num_partitions(10).with_replication_factor(1);
    let _: CreateTopicsResponse =
        peer.call(19, 7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..3_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

fn joining(member: &str, instance: Option<&str>) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"subscription"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(20_000)
        .with_protocol_type(text("consumer"))
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text))
        .with_protocols(vec![protocol])
}

/// Joins as a client does: takes the id it is given, and comes again with it.
async fn join(peer: &mut Peer, member: &str, instance: Option<&str>) -> JoinGroupResponse {
    let answer: JoinGroupResponse = peer.call(11, 7, &joining(member, instance)).await;
    if answer.error_code != 79 {
        return answer;
    }
    peer.call(11, 7, &joining(&answer.member_id, instance)).await
}

async fn sync(peer: &mut Peer, joined: &JoinGroupResponse, assign: &[&StrBytes]) -> SyncGroupResponse {
    let assignments = assign.iter().map(|member| {
        SyncGroupRequestAssignment::default()
            .with_member_id((*member).clone())
            .with_assignment(Bytes::copy_from_slice(member.as_bytes()))
    });
    let ask = SyncGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(assignments.collect());
    peer.call(14, 3, &ask).await
}

/// One member, alone and Stable.
async fn alone(peer: &mut Peer) -> JoinGroupResponse {
    let joined = join(peer, "", None).await;
    assert_eq!(joined.error_code, 0);
    assert_eq!(sync(peer, &joined, &[&joined.member_id]).await.error_code, 0);
    joined
}

async fn heartbeat(peer: &mut Peer, member: &str, instance: Option<&str>, generation: i32) -> i16 {
    let ask = HeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text));
    let answer: HeartbeatResponse = peer.call(12, 3, &ask).await;
    answer.error_code
}

fn committing(group: &str, member: &str, generation: i32, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let parts = offsets.iter().map(|(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("")))
    });
    let topic = OffsetCommitRequestTopic::default().with_name(name(TOPIC)).with_partitions(parts.collect());
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![topic])
}

async fn commit(peer: &mut Peer, member: &str, generation: i32, offset: i64) -> i16 {
    let answer: OffsetCommitResponse =
        peer.call(8, 7, &committing(GROUP, member, generation, &[(0, offset)])).await;
    answer.topics[0].partitions[0].error_code
}

/// The code of the group and the offset of partition 0.
async fn fetch(peer: &mut Peer, group: &str) -> (i16, Option<i64>) {
    let topic = OffsetFetchRequestTopics::default().with_name(name(TOPIC)).with_partition_indexes(vec![0]);
    let asked =
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![topic]));
    let answer: OffsetFetchResponse =
        peer.call(9, 8, &OffsetFetchRequest::default().with_groups(vec![asked])).await;
    let group = &answer.groups[0];
    (group.error_code, group.topics.first().map(|t| t.partitions[0].committed_offset))
}

async fn state(peer: &mut Peer) -> String {
    let ask = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(GROUP))]);
    let answer: DescribeGroupsResponse = peer.call(15, 5, &ask).await;
    answer.groups[0].group_state.to_string()
}

#[test]
fn two_members_rebalance_and_each_gets_its_assignment() {
    life(&world(), async |mut peer| {
        let first = alone(&mut peer).await;
        let mut other = peer.another();
        let second = async { join(&mut other, "", None).await };
        let again = async {
            // The first hears of the rebalance by its heartbeat.
            let mut told = 0;
            while told != 27 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                told = heartbeat(&mut peer, &first.member_id, None, first.generation_id).await;
            }
            join(&mut peer, &first.member_id, None).await
        };
        let (second, again) = tokio::join!(second, again);
        assert_eq!((second.error_code, again.error_code), (0, 0));
        assert_eq!(second.generation_id, again.generation_id);
        assert!(again.generation_id > first.generation_id);
        assert_eq!((&again.leader, again.members.len(), second.members.len()), (&again.member_id, 2, 0));
        let both = [&again.member_id, &second.member_id];
        let (given_second, given_first) =
            tokio::join!(sync(&mut other, &second, &[]), sync(&mut peer, &again, &both));
        assert_eq!(given_first.assignment, again.member_id.as_bytes());
        assert_eq!(given_second.assignment, second.member_id.as_bytes());
        assert_eq!(state(&mut peer).await, "Stable");
    });
}

#[test]
fn a_restart_within_the_session_timeout_keeps_members_and_offsets() {
    let world = world();
    let joined = life(&world, async |mut peer| {
        let joined = alone(&mut peer).await;
        assert_eq!(commit(&mut peer, &joined.member_id, joined.generation_id, 42).await, 0);
        joined
    });
    life(&world, async |mut peer| {
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(42)));
        assert_eq!(heartbeat(&mut peer, &joined.member_id, None, joined.generation_id).await, 0);
        assert_eq!(commit(&mut peer, &joined.member_id, joined.generation_id, 43).await, 0);
        assert_eq!(state(&mut peer).await, "Stable");
        // Who stays silent from here on is gone after his session.
        tokio::time::sleep(Duration::from_millis(SESSION_MS as u64 + 2_000)).await;
        assert_eq!(heartbeat(&mut peer, &joined.member_id, None, joined.generation_id).await, 25);
        assert_eq!(state(&mut peer).await, "Empty");
    });
    // The end of the session is a record, too.
    life(&world, async |mut peer| {
        assert_eq!(state(&mut peer).await, "Empty");
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(43)));
    });
}

#[test]
fn no_offset_is_told_before_the_group_is_loaded() {
    let world = world();
    life(&world, async |mut peer| assert_eq!(commit(&mut peer, "", -1, 42).await, 0));
    in_runtime(&world, async |world| {
        let mut peer = Peer::before_its_loops(&world).await;
        assert_eq!(fetch(&mut peer, GROUP).await, (14, None), "v8: the group's error");
        let topic = OffsetFetchRequestTopic::default().with_name(name(TOPIC)).with_partition_indexes(vec![0]);
        let ask =
            OffsetFetchRequest::default().with_group_id(GroupId(text(GROUP))).with_topics(Some(vec![topic]));
        let answer: OffsetFetchResponse = peer.call(9, 1, &ask).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 14, "v1: each partition carries it");
        let answer: OffsetFetchResponse = peer.call(9, 5, &ask).await;
        assert_eq!((answer.error_code, answer.topics.len()), (14, 0), "v2 to v7: the answer's error");
        assert_eq!(commit(&mut peer, "", -1, 1).await, 14);
        assert_eq!(join(&mut peer, "", None).await.error_code, 14);
        assert_eq!(heartbeat(&mut peer, "m", None, 1).await, 0, "clients have no better code here");
        let answer: ListGroupsResponse = peer.call(16, 4, &ListGroupsRequest::default()).await;
        assert_eq!(answer.error_code, 14);
        run_loops(&peer.surface.broker);
        loaded(&peer).await;
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(42)));
    });
}

#[test]
fn no_answer_leaves_before_what_it_tells_of_is_released() {
    let world = world();
    let joined = life(&world, async |mut peer| {
        let joined = alone(&mut peer).await;
        assert_eq!(commit(&mut peer, &joined.member_id, joined.generation_id, 1).await, 0);
        joined
    });
    in_runtime(&world, async |world| {
        // The coordinator runs, and nothing releases.
        let mut peer = Peer::before_its_loops(&world).await;
        let broker = Arc::clone(&peer.surface.broker);
        tokio::spawn(tidegate_broker::coordinator::run(Arc::clone(&broker)));
        loaded(&peer).await;
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(1)), "what was recovered may be told");
        let (member, generation) = (joined.member_id.as_str(), joined.generation_id);
        let soon = Duration::from_secs(1);
        let committing = commit(&mut peer, member, generation, 2);
        assert!(tokio::time::timeout(soon, committing).await.is_err(), "the commit is not durable");
        assert!(tokio::time::timeout(soon, fetch(&mut peer, GROUP)).await.is_err(), "nor may it be read");
        let beat = heartbeat(&mut peer, member, None, generation);
        assert!(tokio::time::timeout(soon, beat).await.is_err(), "nor may a heartbeat tell of its session");
        run_loops(&broker);
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(2)));
    });
}

#[test]
fn commits_of_another_generation_or_member_are_refused() {
    life(&world(), async |mut peer| {
        let joined = alone(&mut peer).await;
        let (member, generation) = (joined.member_id.as_str(), joined.generation_id);
        assert_eq!(commit(&mut peer, member, generation, 5).await, 0);
        assert_eq!(commit(&mut peer, member, generation - 1, 6).await, 22);
        assert_eq!(commit(&mut peer, "another", generation, 7).await, 25);
        assert_eq!(commit(&mut peer, "", -1, 8).await, 25, "the group has members");
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(5)));
        let answer: OffsetCommitResponse =
            peer.call(8, 9, &committing("nobody", member, generation, &[(0, 1)])).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 69, "v9 knows GROUP_ID_NOT_FOUND");
        let answer: OffsetCommitResponse =
            peer.call(8, 8, &committing("nobody", member, generation, &[(0, 1)])).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 22);
    });
}

#[test]
fn a_second_static_member_fences_the_first() {
    life(&world(), async |mut peer| {
        let first = join(&mut peer, "", Some("i")).await;
        assert_eq!(first.error_code, 0, "a static member needs no second JoinGroup");
        assert_eq!(sync(&mut peer, &first, &[&first.member_id]).await.error_code, 0);
        let second = join(&mut peer, "", Some("i")).await;
        assert_eq!((second.error_code, second.generation_id), (0, first.generation_id), "no rebalance");
        assert_ne!(second.member_id, first.member_id);
        assert_eq!(heartbeat(&mut peer, &first.member_id, Some("i"), first.generation_id).await, 82);
        let leaving = MemberIdentity::default().with_group_instance_id(Some(text("i")));
        let ask =
            LeaveGroupRequest::default().with_group_id(GroupId(text(GROUP))).with_members(vec![leaving]);
        let answer: LeaveGroupResponse = peer.call(13, 4, &ask).await;
        assert_eq!((answer.error_code, answer.members[0].error_code), (0, 0), "removed by its instance id");
        assert_eq!(state(&mut peer).await, "Empty");
    });
}

#[test]
fn offsets_go_with_their_topic_and_not_with_its_successor() {
    let world = world();
    life(&world, async |mut peer| {
        for offset in [5, 6] {
            assert_eq!(commit(&mut peer, "", -1, offset).await, 0);
            let ask = DeleteTopicsRequest::default().with_topic_names(vec![name(TOPIC)]);
            let answer: DeleteTopicsResponse = peer.call(20, 5, &ask).await;
            assert_eq!(answer.responses[0].error_code, 0);
            create(&mut peer).await;
        }
        // At once, before the upkeep task had its turn.
        assert_eq!(commit(&mut peer, "", -1, 7).await, 0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(7)));
        let ask = DeleteTopicsRequest::default().with_topic_names(vec![name(TOPIC)]);
        let _: DeleteTopicsResponse = peer.call(20, 5, &ask).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(-1)));
    });
    life(&world, async |mut peer| assert_eq!(fetch(&mut peer, GROUP).await, (0, Some(-1))));
}

#[test]
fn who_waits_for_a_rebalance_is_told_at_once_when_the_broker_stops() {
    life(&world(), async |mut peer| {
        let broker = Arc::clone(&peer.surface.broker);
        let asked = tokio::time::Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            broker.stopping.send_replace(true);
        };
        let (joined, ()) = tokio::join!(join(&mut peer, "", None), stop);
        assert_eq!(joined.error_code, 16);
        assert!(asked.elapsed() < Duration::from_secs(1), "not the initial rebalance delay");
    });
}

#[test]
fn a_group_whose_partition_is_gone_has_no_coordinator_here() {
    life(&world(), async |mut peer| {
        let mut waiting = peer.another();
        let gone = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let ask = DeleteTopicsRequest::default().with_topic_names(vec![name(CONSUMER_OFFSETS)]);
            let answer: DeleteTopicsResponse = peer.call(20, 5, &ask).await;
            assert_eq!(answer.responses[0].error_code, 0);
        };
        let (joined, ()) = tokio::join!(join(&mut waiting, "", None), gone);
        assert_eq!(joined.error_code, 16, "who waits is told");
        assert_eq!(fetch(&mut peer, GROUP).await, (16, None));
        assert_eq!(commit(&mut peer, "", -1, 1).await, 16);
    });
}

#[test]
fn a_client_that_goes_away_changes_nothing() {
    life(&world(), async |mut peer| {
        let first: JoinGroupResponse = peer.call(11, 7, &joining("", None)).await;
        let member = first.member_id.to_string();
        let mut gone = peer.another();
        let ask = joining(&member, None);
        let waits = gone.call::<_, JoinGroupResponse>(11, 7, &ask);
        let cut = tokio::time::timeout(Duration::from_millis(200), waits);
        assert!(cut.await.is_err(), "it waits for the initial delay");
        let joined = join(&mut peer, &member, None).await;
        assert_eq!((joined.error_code, joined.member_id.as_str(), joined.members.len()), (0, &*member, 1));
    });
}

/// 10⁴ commits by 100 groups, and a bound on the load that an unoptimized build meets; `TIDEGATE_COMMITS` sets another
/// number, of an optimized build, and holds it to one second.
#[test]
fn many_commits_leave_a_short_log_that_loads_at_once() {
    const GROUPS: u64 = 100;
    const AT_ONCE: u64 = 25;
    let asked: Option<u64> = std::env::var("TIDEGATE_COMMITS").ok().map(|n| n.parse().expect("a number"));
    let commits = asked.unwrap_or(10_000);
    let seconds_max = if asked.is_some() { 1.0 } else { 15.0 };
    let rounds = i64::try_from(commits / GROUPS).expect("a number of rounds");
    let world = world();
    life(&world, async |peer| {
        for begin in (0..GROUPS).step_by(AT_ONCE as usize) {
            join_all((begin..begin + AT_ONCE).map(|n| {
                let mut peer = peer.another();
                async move {
                    for round in 0..rounds {
                        let ask = committing(&format!("group-{n}"), "", -1, &[((round % 10) as i32, round)]);
                        loop {
                            let answer: OffsetCommitResponse = peer.call(8, 7, &ask).await;
                            match answer.topics[0].partitions[0].error_code {
                                0 => break,
                                // The little WAL of the simulation is full until the next upload.
                                15 => tokio::time::sleep(Duration::from_millis(20)).await,
                                code => panic!("{code}"),
                            }
                        }
                    }
                }
            }))
            .await;
        }
    });
    in_runtime(&world, async |world| {
        let started = SystemClock.monotonic_ns();
        let mut peer = Peer::over(&world).await;
        loaded(&peer).await;
        let seconds = (SystemClock.monotonic_ns() - started) as f64 / 1e9;
        let mut per_shard = BTreeMap::new();
        for shard in peer.surface.broker.coordinator.shards() {
            let (stats, log_bytes) = shard.stats();
            per_shard.insert(shard.partition().index(), (stats.expect("loaded").live_bytes, log_bytes));
        }
        let live: u64 = per_shard.values().map(|(live, _)| live).sum();
        let log: u64 = per_shard.values().map(|(_, log)| log).sum();
        println!(
            "{commits} commits: {live} bytes live, {log} bytes of log, started and loaded in {seconds:.3} s"
        );
        assert_eq!(per_shard.len(), 50);
        for (index, (live, log)) in per_shard {
            assert!(log <= 4 * live + (1 << 20) + (64 << 10), "partition {index}: {log} of log, {live} live");
        }
        for n in 0..GROUPS {
            let (code, offset) = fetch(&mut peer, &format!("group-{n}")).await;
            assert_eq!((code, offset), (0, Some((rounds - 1) / 10 * 10)), "group {n}");
        }
        assert!(seconds <= seconds_max, "start and load took {seconds:.3} s");
        let topic = peer.topic_id(CONSUMER_OFFSETS);
        let image = peer.surface.broker.metadata.image();
        assert!(image.partitions(topic).count() == 50);
    });
}
