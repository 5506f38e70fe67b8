//! JoinGroup: who is let in, who leads, and how long a group waits.

mod support;

use support::*;
use tidegate_groups::*;

#[test]
fn a_new_member_is_told_its_id_and_joins_with_it() {
    let mut world = World::new(config());
    let answer = world.join(&Join::default());
    assert_eq!(answer.error, Some(GroupError::MemberIdRequired));
    assert_eq!(&*answer.member, "client-00000000-0000-0000-0000-000000000001");
    assert_eq!(world.state(), GroupState::Empty, "told an id, it is not a member yet");
    let joined = world.join(&Join { member: &answer.member, ..Join::default() });
    assert_eq!((joined.error, joined.generation), (None, 1));
    assert_eq!(joined.leader, answer.member);
    assert_eq!(joined.members.len(), 1, "the leader is told who is there");
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn before_version_4_a_new_member_joins_at_once() {
    let mut world = World::new(config());
    let joined = world.join(&Join { version: 3, ..Join::default() });
    assert_eq!((joined.error, joined.generation), (None, 1));
}

#[test]
fn a_member_id_that_was_told_survives_a_restart_of_the_group_alone() {
    let mut world = World::new(config());
    let id = world.member_id(&Join::default());
    world.restart();
    // The group was recorded; the id was not, as in Kafka: the client starts over.
    assert_eq!(world.state(), GroupState::Empty);
    assert_eq!(world.shard.list(&[], &[]).len(), 1);
    assert_eq!(world.refusal(&Join { member: &id, ..Join::default() }), GroupError::UnknownMemberId);
}

#[test]
fn the_group_id_and_the_session_timeout_are_checked_first() {
    let mut world = World::new(config());
    assert_eq!(world.refusal(&Join { group: "", ..Join::default() }), GroupError::InvalidGroupId);
    for session_ms in [5_999, 1_800_001, -1, i32::MIN] {
        assert_eq!(world.refusal(&Join { session_ms, ..Join::default() }), GroupError::InvalidSessionTimeout);
    }
    assert!(world.log.is_empty() && world.shard.list(&[], &[]).is_empty());
    for session_ms in [6_000, 1_800_000] {
        assert_eq!(world.refusal(&Join { session_ms, ..Join::default() }), GroupError::MemberIdRequired);
    }
}

#[test]
fn a_member_id_is_unknown_to_a_group_that_is_not_there() {
    let mut world = World::new(config());
    assert_eq!(world.refusal(&Join { member: "x", ..Join::default() }), GroupError::UnknownMemberId);
    assert!(world.shard.list(&[], &[]).is_empty());
}

#[test]
fn a_member_of_another_protocol_type_or_without_a_common_protocol_is_inconsistent() {
    let mut world = World::new(config());
    world.stable_single();
    let wrong = [
        Join { protocol_type: "connect", ..Join::default() },
        Join { protocols: vec![("sticky", vec![])], ..Join::default() },
        Join { protocols: vec![], ..Join::default() },
    ];
    for join in wrong {
        assert_eq!(world.refusal(&join), GroupError::InconsistentGroupProtocol);
    }
    let mut world = World::new(config());
    assert_eq!(
        world.refusal(&Join { protocol_type: "", ..Join::default() }),
        GroupError::InconsistentGroupProtocol
    );
}

#[test]
fn any_protocol_type_is_served_and_its_metadata_is_opaque() {
    for protocol_type in ["connect", "sr", "anything"] {
        let mut world = World::new(config());
        let join = Join { protocol_type, protocols: vec![("v0", vec![0xff; 9])], ..Join::default() };
        let id = world.member_id(&join);
        let joined = world.join(&Join { member: &id, ..join });
        assert_eq!((joined.error, &joined.members[0].metadata[..]), (None, &[0xff; 9][..]));
        assert_eq!(world.sync(&id, 1, &[(&id, &[1, 2])]).assignment, &[1, 2][..]);
        let described = world.shard.describe(6, "g");
        assert_eq!((&*described.protocol_type, &*described.protocol), (protocol_type, "v0"));
    }
}

#[test]
fn the_protocol_is_the_one_with_most_first_votes_among_those_that_all_support() {
    let mut world = World::new(Config { initial_rebalance_delay_ms: 100, ..Config::default() });
    let lists: [&[&str]; 3] = [&["only-a", "x", "y"], &["y", "x"], &["y", "x", "other"]];
    let ids: Vec<_> = lists.iter().map(|_| world.member_id(&Join::default())).collect();
    let tokens: Vec<_> = ids
        .iter()
        .zip(lists)
        .map(|(member, list)| {
            let protocols = list.iter().map(|p| (*p, p.as_bytes().to_vec())).collect();
            world.send_join(&Join { member, protocols, ..Join::default() })
        })
        .collect();
    world.pass(1_000);
    for token in &tokens {
        assert_eq!(world.joined(*token).expect("joined").protocol.as_deref(), Some("y"));
    }
    let leader = world.joined(tokens[0]).expect("the first leads");
    assert_eq!(leader.members.len(), 3);
    assert!(leader.members.iter().all(|m| &m.metadata[..] == b"y"), "what each gave the chosen protocol");
    assert!(world.joined(tokens[1]).expect("joined").members.is_empty(), "a follower is told of nobody");
}

#[test]
fn the_initial_delay_waits_for_more_members_up_to_the_rebalance_timeout() {
    let mut world = World::new(Config { initial_rebalance_delay_ms: 3_000, ..Config::default() });
    let join = Join { version: 3, rebalance_ms: 7_000, session_ms: 60_000, ..Join::default() };
    let first = world.send_join(&join);
    let mut others = Vec::new();
    // A member each two seconds puts the end off, by 3 s and at last by what is left of 7 s.
    for _ in 0..3 {
        world.pass(2_000);
        assert!(world.joined(first).is_none());
        others.push(world.send_join(&join));
    }
    world.pass(999);
    assert!(world.joined(first).is_none(), "at 6.999 s of 7");
    world.pass(1);
    assert_eq!(world.joined(first).expect("at 7 s").members.len(), 4);
}

#[test]
fn the_initial_delay_is_not_put_off_without_a_new_member() {
    let mut world = World::new(Config { initial_rebalance_delay_ms: 3_000, ..Config::default() });
    let first = world.send_join(&Join { version: 3, ..Join::default() });
    world.pass(2_999);
    assert!(world.joined(first).is_none());
    world.pass(1);
    assert!(world.joined(first).is_some());
}

#[test]
fn who_does_not_join_again_within_the_rebalance_timeout_is_out() {
    let mut world = World::new(config());
    let (a, _b, generation) = world.stable_pair();
    let token = world.send_join(&Join { member: &a, ..Join::default() });
    assert_eq!(world.state(), GroupState::PreparingRebalance, "the leader may ask for a new assignment");
    // B keeps its session, and yet does not come.
    for _ in 0..11 {
        world.pass(5_000);
        assert_eq!(world.heartbeat(&_b, generation), Err(GroupError::RebalanceInProgress));
        assert!(world.joined(token).is_none());
    }
    world.pass(5_000);
    let joined = world.joined(token).expect("after 60 s it goes on without b");
    assert_eq!((joined.generation, joined.members.len()), (generation + 1, 1));
    assert_eq!(world.heartbeat(&_b, generation + 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_leader_that_is_late_is_replaced_by_a_member_that_is_there() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    let other = vec![("range", subscription(&["more"]))];
    let token =
        world.send_join(&Join { member: &b, protocols: other, session_ms: 1_800_000, ..Join::default() });
    // A keeps its session, and leads until it is found not to have come.
    for _ in 0..12 {
        assert_eq!(world.heartbeat(&a, generation), Err(GroupError::RebalanceInProgress));
        world.pass(5_000);
    }
    let joined = world.joined(token).expect("joined");
    assert_eq!((joined.error, &*joined.leader, joined.generation), (None, &*b, generation + 1));
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_the_generation() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    let joined = world.join(&Join { member: &b, ..Join::default() });
    assert_eq!((joined.error, joined.generation, &*joined.leader), (None, generation, &*a));
    assert!(joined.members.is_empty());
    assert_eq!(world.state(), GroupState::Stable);
}

#[test]
fn a_member_with_changed_metadata_rebalances_and_keeps_its_id() {
    // What cooperative rebalancing needs of a broker (KIP-429).
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    let changed = vec![("range", subscription(&[TOPIC, "more"]))];
    let token = world.send_join(&Join { member: &b, protocols: changed, ..Join::default() });
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert_eq!(world.heartbeat(&a, generation), Err(GroupError::RebalanceInProgress));
    world.join(&Join { member: &a, ..Join::default() });
    let joined = world.joined(token).expect("joined");
    assert_eq!((&*joined.member, joined.generation), (&*b, generation + 1));
}

#[test]
fn a_join_repeated_while_the_assignment_is_awaited_gets_the_same_answer() {
    let mut world = World::new(config());
    let id = world.member_id(&Join::default());
    let first = world.join(&Join { member: &id, ..Join::default() });
    let again = world.join(&Join { member: &id, ..Join::default() });
    assert_eq!(first, again);
    let changed = vec![("range", subscription(&["more"]))];
    let joined = world.join(&Join { member: &id, protocols: changed, ..Join::default() });
    assert_eq!(joined.generation, first.generation + 1, "changed, it starts over");
}

#[test]
fn a_join_that_is_sent_again_while_parked_ends_the_one_before() {
    let mut world = World::new(config());
    let (a, b, _) = world.stable_pair();
    let first = world.send_join(&Join { member: &a, ..Join::default() });
    let second = world.send_join(&Join { member: &a, ..Join::default() });
    assert_eq!(world.joined(first).and_then(|j| j.error), Some(GroupError::RebalanceInProgress));
    assert!(world.joined(second).is_none());
    world.join(&Join { member: &b, ..Join::default() });
    assert_eq!(world.joined(second).and_then(|j| j.error), None);
}

#[test]
fn group_max_size_refuses_one_more() {
    let mut world = World::new(Config { group_max_size: 2, ..config() });
    let (a, b, generation) = world.stable_pair();
    assert_eq!(world.refusal(&Join::default()), GroupError::GroupMaxSizeReached);
    assert_eq!(world.state(), GroupState::Stable);
    // While a generation is made, who has joined counts: a third may take the place of one that is late.
    let token = world.send_join(&Join { member: &a, ..Join::default() });
    let c = world.member_id(&Join::default());
    let third = world.send_join(&Join { member: &c, ..Join::default() });
    assert_eq!(world.refusal(&Join { member: &b, ..Join::default() }), GroupError::GroupMaxSizeReached);
    assert_eq!(world.joined(token).map(|j| (j.error, j.generation)), Some((None, generation + 1)));
    assert_eq!(world.joined(third).map(|j| j.error), Some(None));
}

#[test]
fn a_loaded_group_above_group_max_size_rebalances() {
    let mut world = World::new(config());
    let (a, _, generation) = world.stable_pair();
    let mut small = World::from_log(Config { group_max_size: 1, ..config() }, &world.log);
    assert_eq!(small.state(), GroupState::PreparingRebalance);
    assert_eq!(small.heartbeat(&a, generation), Err(GroupError::RebalanceInProgress));
}

#[test]
fn ids_that_nobody_joins_with_are_bounded_and_forgotten() {
    let mut world = World::new(Config { pending_members_max: 3, ..config() });
    let ids: Vec<_> = (0..3).map(|_| world.member_id(&Join::default())).collect();
    assert_eq!(world.refusal(&Join::default()), GroupError::GroupMaxSizeReached);
    world.pass(SESSION_MS.into());
    assert_eq!(world.refusal(&Join { member: &ids[0], ..Join::default() }), GroupError::UnknownMemberId);
    world.member_id(&Join::default());
}

#[test]
fn a_rebalance_waits_for_a_member_that_was_told_an_id() {
    let mut world = World::new(config());
    let (a, generation) = world.stable_single();
    let b = world.member_id(&Join::default());
    let token = world.send_join(&Join { member: &a, ..Join::default() });
    assert!(world.joined(token).is_none());
    let second = world.send_join(&Join { member: &b, ..Join::default() });
    assert_eq!(world.joined(token).map(|j| (j.generation, j.members.len())), Some((generation + 1, 2)));
    assert!(world.joined(second).is_some());
}

#[test]
fn a_new_member_whose_first_join_stays_parked_is_given_up_after_five_minutes() {
    let mut world = World::new(config());
    let (a, generation) = world.stable_single();
    let b = world.member_id(&Join::default());
    let join = Join { member: &b, rebalance_ms: 1_000_000, ..Join::default() };
    let token = world.send_join(&join);
    // A goes on with its heartbeats and never joins; its own timeout is not what ends this.
    for _ in 0..59 {
        world.pass(5_000);
        assert_eq!(world.heartbeat(&a, generation), Err(GroupError::RebalanceInProgress));
    }
    assert!(world.joined(token).is_none());
    world.pass(5_000);
    assert_eq!(world.joined(token).and_then(|j| j.error), Some(GroupError::UnknownMemberId));
}

#[test]
fn names_that_no_record_can_hold_are_refused() {
    let mut world = World::new(config());
    let long = "x".repeat(32_768);
    assert_eq!(world.refusal(&Join { group: &long, ..Join::default() }), GroupError::InvalidGroupId);
    assert_eq!(
        world.refusal(&Join { instance: Some(&long[5..]), ..Join::default() }),
        GroupError::InvalidRequest
    );
    assert_eq!(world.refusal(&Join { protocol_type: &long, ..Join::default() }), GroupError::InvalidRequest);
    assert_eq!(
        world.refusal(&Join { protocols: vec![(&long, vec![])], ..Join::default() }),
        GroupError::InvalidRequest
    );
    assert_eq!(
        world.refusal(&Join { protocols: vec![("p", vec![0; 1_000_001])], ..Join::default() }),
        GroupError::UnknownServerError
    );
    assert!(world.shard.list(&[], &[]).is_empty());
}

#[test]
fn a_protocol_that_is_named_twice_counts_once() {
    let mut world = World::new(config());
    let twice = vec![("range", subscription(&[TOPIC])), ("range", vec![1])];
    let joined = world.join(&Join { version: 3, protocols: twice, ..Join::default() });
    assert_eq!(&joined.members[0].metadata[..], &subscription(&[TOPIC])[..]);
}
