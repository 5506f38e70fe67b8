//! SyncGroup, Heartbeat, LeaveGroup and sessions.

mod support;

use support::*;
use tidegate_groups::*;

#[test]
fn followers_wait_for_the_leaders_assignment() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    assert_eq!(world.sync(&b, generation, &[]).assignment, "half b", "and may ask again");
    assert_eq!(world.sync(&a, generation, &[(&b, b"other")]).assignment, "half a", "it is given once");
    assert_eq!(world.sync(&b, generation, &[]).assignment, "half b");
}

#[test]
fn a_member_that_the_leader_left_out_gets_nothing() {
    let mut world = World::new(config());
    let id = world.member_id(&Join::default());
    world.join(&Join { member: &id, ..Join::default() });
    let synced = world.sync(&id, 1, &[("somebody", b"x")]);
    assert_eq!((synced.error, synced.assignment.len()), (None, 0));
}

#[test]
fn a_sync_is_checked_against_member_generation_and_protocol() {
    let mut world = World::new(config());
    let (a, _, generation) = world.stable_pair();
    let error = |world: &mut World, request: SyncGroup<'_>| {
        let token = world.token();
        let mut out = Effects::default();
        world.shard.sync(world.now, token, &request, &mut out);
        world.keep(out);
        world.synced(token).expect("answered").error
    };
    let good = SyncGroup {
        version: 5,
        group: "g",
        member: &a,
        instance: None,
        generation,
        protocol_type: Some("consumer"),
        protocol: Some("range"),
        assignments: &[],
    };
    assert_eq!(error(&mut world, good), None);
    let cases = [
        (SyncGroup { group: "", ..good }, GroupError::InvalidGroupId),
        (SyncGroup { group: "other", ..good }, GroupError::UnknownMemberId),
        (SyncGroup { member: "x", ..good }, GroupError::UnknownMemberId),
        (SyncGroup { generation: generation + 1, ..good }, GroupError::IllegalGeneration),
        (SyncGroup { generation: generation - 1, ..good }, GroupError::IllegalGeneration),
        (SyncGroup { protocol_type: Some("connect"), ..good }, GroupError::InconsistentGroupProtocol),
        (SyncGroup { protocol: Some("sticky"), ..good }, GroupError::InconsistentGroupProtocol),
        (SyncGroup { protocol: None, ..good }, GroupError::InconsistentGroupProtocol),
        (SyncGroup { protocol_type: None, ..good }, GroupError::InconsistentGroupProtocol),
    ];
    for (request, expected) in cases {
        assert_eq!(error(&mut world, request), Some(expected), "{request:?}");
    }
    let old = SyncGroup { version: 4, protocol: None, protocol_type: None, ..good };
    assert_eq!(error(&mut world, old), None, "before version 5 there is no such field");
}

#[test]
fn a_sync_while_members_join_is_told_of_the_rebalance() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    world.send_join(&Join { member: &a, ..Join::default() });
    assert_eq!(world.sync(&b, generation, &[]).error, Some(GroupError::RebalanceInProgress));
}

#[test]
fn parked_syncs_end_when_the_group_rebalances_again() {
    let mut world = World::new(config());
    let (a, b, _) = world.stable_pair();
    let token = world.send_join(&Join { member: &a, ..Join::default() });
    let joined = world.join(&Join { member: &b, ..Join::default() });
    assert!(world.joined(token).is_some());
    let parked = world.send_sync(&b, joined.generation, &[]);
    let again = world.send_sync(&b, joined.generation, &[]);
    assert_eq!(world.synced(parked).and_then(|s| s.error), Some(GroupError::RebalanceInProgress));
    assert!(world.synced(again).is_none());
    assert_eq!(world.leave(&[LeaveMember { member: &a, instance: None }]), [Ok(())]);
    assert_eq!(world.synced(again).and_then(|s| s.error), Some(GroupError::RebalanceInProgress));
}

#[test]
fn who_leaves_while_its_sync_is_parked_is_answered() {
    let mut world = World::new(config());
    let (a, b, _) = world.stable_pair();
    world.send_join(&Join { member: &a, ..Join::default() });
    let joined = world.join(&Join { member: &b, ..Join::default() });
    let parked = world.send_sync(&b, joined.generation, &[]);
    assert_eq!(world.leave(&[LeaveMember { member: &b, instance: None }]), [Ok(())]);
    assert_eq!(world.synced(parked).and_then(|s| s.error), Some(GroupError::UnknownMemberId));
}

#[test]
fn members_that_do_not_sync_within_the_rebalance_timeout_are_out() {
    let mut world = World::new(config());
    let (a, b, _) = world.stable_pair();
    let join = |member| Join { member, session_ms: 300_000, ..Join::default() };
    let first = world.send_join(&join(&a));
    let generation = world.join(&join(&b)).generation;
    assert!(world.joined(first).is_some());
    world.pass(i64::from(REBALANCE_MS) - 1);
    let waits = world.send_sync(&b, generation, &[]);
    assert!(world.synced(waits).is_none());
    world.pass(1);
    assert_eq!(world.synced(waits).and_then(|s| s.error), Some(GroupError::RebalanceInProgress));
    assert_eq!(world.heartbeat(&a, generation), Err(GroupError::UnknownMemberId), "it had not synced");
    assert_eq!(world.members(), [b]);
}

#[test]
fn an_assignment_that_no_record_can_hold_is_refused_and_starts_over() {
    let mut world = World::new(Config { group_record_bytes_max: GROUP_RECORD_MIN, ..config() });
    let (a, b, _) = world.stable_pair();
    let records = world.log.len();
    let token = world.send_join(&Join { member: &a, ..Join::default() });
    let generation = world.join(&Join { member: &b, ..Join::default() }).generation;
    assert!(world.joined(token).is_some());
    let waits = world.send_sync(&b, generation, &[]);
    let large = vec![0; GROUP_RECORD_MIN];
    assert_eq!(world.sync(&a, generation, &[(&a, &large)]).error, Some(GroupError::UnknownServerError));
    assert_eq!(world.synced(waits).and_then(|s| s.error), Some(GroupError::UnknownServerError));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert_eq!(world.log.len(), records);
}

#[test]
fn a_heartbeat_is_checked_against_member_and_generation() {
    let mut world = World::new(config());
    let (a, _, generation) = world.stable_pair();
    assert_eq!(world.heartbeat(&a, generation), Ok(()));
    assert_eq!(world.heartbeat("x", generation), Err(GroupError::UnknownMemberId));
    assert_eq!(world.heartbeat(&a, generation - 1), Err(GroupError::IllegalGeneration));
    let now = world.now;
    assert_eq!(world.shard.heartbeat(now, "", &a, None, generation), Err(GroupError::InvalidGroupId));
    assert_eq!(world.shard.heartbeat(now, "other", &a, None, generation), Err(GroupError::UnknownMemberId));
    let pending = world.member_id(&Join::default());
    assert_eq!(world.heartbeat(&pending, generation), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_heartbeat_while_the_assignment_is_awaited_is_fine() {
    let mut world = World::new(config());
    let id = world.member_id(&Join::default());
    world.join(&Join { member: &id, ..Join::default() });
    assert_eq!(world.state(), GroupState::CompletingRebalance);
    assert_eq!(world.heartbeat(&id, 1), Ok(()));
}

#[test]
fn a_member_that_is_silent_for_its_session_timeout_is_out_and_the_rest_rebalances() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    world.pass(6_000);
    assert_eq!(world.heartbeat(&a, generation), Ok(()));
    world.pass(3_999);
    assert_eq!(world.heartbeat(&a, generation), Ok(()), "at 9.999 s");
    world.pass(1);
    assert_eq!(world.heartbeat(&a, generation), Err(GroupError::RebalanceInProgress), "at 10 s");
    assert_eq!(world.heartbeat(&b, generation), Err(GroupError::UnknownMemberId));
    let joined = world.join(&Join { member: &a, ..Join::default() });
    assert_eq!((joined.generation, joined.members.len()), (generation + 1, 1));
}

#[test]
fn a_group_whose_members_are_all_gone_is_empty_in_the_next_generation() {
    let mut world = World::new(config());
    let (_, _, generation) = world.stable_pair();
    world.pass(SESSION_MS.into());
    assert_eq!(world.state(), GroupState::Empty);
    let value =
        tidegate_groups::records::group::decode(&world.log.last().unwrap().value.clone().unwrap()).unwrap();
    assert_eq!((value.generation, value.members.len(), value.protocol), (generation + 1, 0, None));
    assert_eq!(&*value.protocol_type, "consumer", "which it keeps");
    assert_eq!(value.leader, None);
}

#[test]
fn a_parked_join_stands_for_heartbeats() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    let token = world.send_join(&Join { member: &a, ..Join::default() });
    for _ in 0..5 {
        world.pass(9_000);
        assert_eq!(world.heartbeat(&b, generation), Err(GroupError::RebalanceInProgress));
    }
    assert!(world.joined(token).is_none(), "45 s with a session of 10 s");
    world.join(&Join { member: &b, ..Join::default() });
    assert_eq!(world.joined(token).and_then(|j| j.error), None);
    // From its answer on the session runs.
    world.pass(SESSION_MS.into());
    assert_eq!(world.heartbeat(&a, generation + 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn leaving_rebalances_the_rest() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    assert_eq!(world.leave(&[LeaveMember { member: &b, instance: None }]), [Ok(())]);
    assert_eq!(world.heartbeat(&a, generation), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.heartbeat(&b, generation), Err(GroupError::UnknownMemberId));
    assert_eq!(world.leave(&[LeaveMember { member: &a, instance: None }]), [Ok(())]);
    assert_eq!(world.state(), GroupState::Empty);
}

#[test]
fn each_member_of_a_batch_that_leaves_has_its_own_error() {
    let mut world = World::new(config());
    let (a, _, _) = world.stable_pair();
    let pending = world.member_id(&Join::default());
    let outcomes = world.leave(&[
        LeaveMember { member: "x", instance: None },
        LeaveMember { member: &pending, instance: None },
        LeaveMember { member: &a, instance: None },
        LeaveMember { member: &a, instance: None },
        LeaveMember { member: "", instance: Some("i") },
        LeaveMember { member: "", instance: None },
    ]);
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(outcomes, [unknown, Ok(()), Ok(()), unknown, unknown, unknown]);
    let mut out = Effects::default();
    let now = world.now;
    let one = [LeaveMember { member: "x", instance: None }];
    assert_eq!(world.shard.leave(now, "other", &one, &mut out), Ok(vec![unknown]));
    assert_eq!(world.shard.leave(now, "", &one, &mut out), Err(GroupError::InvalidGroupId));
}

#[test]
fn a_static_member_is_taken_out_by_its_instance_id_alone() {
    let mut world = World::new(config());
    let joined = world.join(&Join { instance: Some("i"), ..Join::default() });
    assert_eq!(joined.error, None);
    assert_eq!(world.leave(&[LeaveMember { member: "", instance: Some("i") }]), [Ok(())]);
    assert_eq!(world.state(), GroupState::Empty);
}

#[test]
fn after_a_restart_members_go_on_without_a_rebalance() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    world.pass(9_000);
    world.restart();
    world.pass(9_000);
    assert_eq!(world.heartbeat(&a, generation), Ok(()), "sessions start with the load");
    assert_eq!(world.heartbeat(&b, generation), Ok(()));
    assert_eq!(world.sync(&b, generation, &[]).assignment, "half b");
    assert_eq!(world.commit(&a, generation, 5), Ok(()));
    assert_eq!(world.join(&Join { member: &b, ..Join::default() }).generation, generation);
    assert_eq!(world.state(), GroupState::Stable);
    world.pass(SESSION_MS.into());
    assert_eq!(world.state(), GroupState::Empty, "and they end as before");
}

#[test]
fn after_a_restart_in_a_rebalance_the_last_generation_is_back() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    world.send_join(&Join { member: &a, ..Join::default() });
    world.join(&Join { member: &b, ..Join::default() });
    assert_eq!(world.state(), GroupState::CompletingRebalance);
    world.restart();
    assert_eq!(world.state(), GroupState::Stable);
    assert_eq!(world.heartbeat(&a, generation + 1), Err(GroupError::IllegalGeneration), "so they join again");
    assert_eq!(world.heartbeat(&a, generation), Ok(()));
}
