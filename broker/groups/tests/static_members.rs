//! Static membership (KIP-345, KIP-814): the instance id is who a member is, its member id a session of it.

mod support;

use support::*;
use tidegate_groups::*;

fn join(instance: &str) -> Join<'_> {
    Join { instance: Some(instance), ..Join::default() }
}

/// Two static members, `i` leading and `j`.
fn stable_pair(world: &mut World) -> (String, String, i32) {
    let i = world.join(&join("i")).member.to_string();
    let second = world.send_join(&join("j"));
    let first = world.join(&Join { member: &i, ..join("i") });
    let j = world.joined(second).expect("both have joined").member.to_string();
    let waits = world.send_sync(&j, first.generation, &[]);
    world.sync(&i, first.generation, &[(&i, b"for i"), (&j, b"for j")]);
    assert!(world.synced(waits).is_some());
    (i, j, first.generation)
}

#[test]
fn a_static_member_joins_at_once_under_its_instance_id() {
    let mut world = World::new(config());
    let joined = world.join(&join("i"));
    assert_eq!((joined.error, joined.generation), (None, 1));
    assert!(joined.member.starts_with("i-"));
    assert_eq!(joined.members[0].instance.as_deref(), Some("i"));
}

#[test]
fn who_comes_back_takes_the_place_of_its_former_self_without_a_rebalance() {
    let mut world = World::new(config());
    let (i, j, generation) = stable_pair(&mut world);
    let back = world.join(&join("j"));
    assert_eq!((back.error, back.generation), (None, generation));
    assert_ne!(&*back.member, j);
    assert!(!back.skip_assignment && back.members.is_empty());
    assert_eq!(world.state(), GroupState::Stable);
    assert_eq!(world.sync(&back.member, generation, &[]).assignment, "for j");
    assert_eq!(world.heartbeat(&i, generation), Ok(()));
    // The new id is recorded: after a restart the former one stays fenced.
    world.restart();
    let fenced = world.shard.heartbeat(world.now, "g", &j, Some("j"), generation);
    assert_eq!(fenced, Err(GroupError::FencedInstanceId));
    assert_eq!(world.heartbeat(&back.member, generation), Ok(()));
}

#[test]
fn a_leader_that_comes_back_is_told_to_skip_the_assignment_from_version_9() {
    let mut world = World::new(config());
    let (_, _, generation) = stable_pair(&mut world);
    let back = world.join(&join("i"));
    assert_eq!((back.generation, back.skip_assignment, back.members.len()), (generation, true, 2));
    assert_eq!(back.leader, back.member);
}

#[test]
fn before_version_9_a_leader_that_comes_back_is_told_of_its_former_id() {
    let mut world = World::new(config());
    let (i, _, generation) = stable_pair(&mut world);
    let back = world.join(&Join { version: 8, ..join("i") });
    assert_eq!((back.generation, back.skip_assignment, back.members.len()), (generation, false, 0));
    assert_eq!(&*back.leader, i, "so that it takes itself for a follower");
}

#[test]
fn the_former_self_is_fenced_in_everything() {
    let mut world = World::new(config());
    let (_, j, generation) = stable_pair(&mut world);
    world.join(&join("j"));
    let fenced = GroupError::FencedInstanceId;
    assert_eq!(world.shard.heartbeat(world.now, "g", &j, Some("j"), generation), Err(fenced));
    assert_eq!(world.refusal(&Join { member: &j, ..join("j") }), fenced);
    let token = world.send_sync_of("g", &j, Some("j"), generation, &[]);
    assert_eq!(world.synced(token).and_then(|s| s.error), Some(fenced));
    let commit = OffsetCommit {
        version: 8,
        group: "g",
        member: &j,
        instance: Some("j"),
        generation,
        retention_ms: -1,
        offsets: &[at(TOPIC, 0, 1)],
    };
    assert_eq!(world.commit_with(&commit), [Err(fenced)]);
    assert_eq!(world.leave(&[LeaveMember { member: &j, instance: Some("j") }]), [Err(fenced)]);
    // Without its instance id it is simply not known.
    assert_eq!(world.heartbeat(&j, generation), Err(GroupError::UnknownMemberId));
}

#[test]
fn parked_requests_of_the_former_self_are_fenced() {
    let mut world = World::new(config());
    let (i, j, _) = stable_pair(&mut world);
    let parked = world.send_join(&Join { member: &i, ..join("i") });
    let back = world.send_join(&join("i"));
    let fenced = world.joined(parked).expect("answered");
    assert_eq!((fenced.error, &*fenced.member), (Some(GroupError::FencedInstanceId), &*i));
    let second = world.join(&Join { member: &j, ..join("j") });
    assert_eq!(second.error, None);
    let back = world.joined(back).expect("both are there").clone();
    // The same while it waits for its assignment; that starts the rebalance over.
    let follower = if *back.leader == *back.member { j.clone() } else { back.member.to_string() };
    let waits = world.send_sync(&follower, back.generation, &[]);
    assert!(world.synced(waits).is_none());
    let instance = if follower == j { "j" } else { "i" };
    world.send_join(&join(instance));
    assert_eq!(world.synced(waits).and_then(|s| s.error), Some(GroupError::FencedInstanceId));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
}

#[test]
fn another_choice_of_protocol_rebalances() {
    let mut world = World::new(config());
    let both = vec![("range", subscription(&[TOPIC])), ("sticky", subscription(&[TOPIC]))];
    let i = world.join(&Join { protocols: both, ..join("i") });
    world.sync(&i.member, 1, &[]);
    let other = vec![("sticky", subscription(&[TOPIC])), ("range", subscription(&[TOPIC]))];
    let back = world.join(&Join { protocols: other, ..join("i") });
    assert_eq!((back.error, back.generation, back.protocol.as_deref()), (None, 2, Some("sticky")));
}

#[test]
fn a_static_member_that_is_late_for_a_rebalance_stays_until_its_session_ends() {
    let mut world = World::new(config());
    let (i, j, generation) = stable_pair(&mut world);
    let long = 1_800_000;
    let j2 = world.join(&Join { session_ms: long, ..join("j") }).member;
    assert_ne!(&*j2, j);
    assert_eq!(world.heartbeat(&j2, generation), Ok(()), "from now on its new timeout holds, as in Kafka");
    let token = world.send_join(&Join { member: &i, ..join("i") });
    world.pass(REBALANCE_MS.into());
    let joined = world.joined(token).expect("joined");
    assert_eq!((joined.generation, joined.members.len()), (generation + 1, 2), "j is still counted in");
    assert!(joined.members.iter().any(|m| m.instance.as_deref() == Some("j")));
}

#[test]
fn a_group_of_static_members_of_which_none_comes_waits_another_round() {
    let mut world = World::new(config());
    let long = Join { session_ms: 1_800_000, ..join("i") };
    let i = world.join(&long).member.to_string();
    world.sync(&i, 1, &[]);
    // A dynamic member starts a rebalance and leaves again.
    let d = world.member_id(&Join::default());
    let token = world.send_join(&Join { member: &d, ..Join::default() });
    assert_eq!(world.leave(&[LeaveMember { member: &d, instance: None }]), [Ok(())]);
    assert_eq!(world.joined(token).and_then(|j| j.error), Some(GroupError::UnknownMemberId));
    world.pass(3 * i64::from(REBALANCE_MS));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert_eq!(world.members(), std::slice::from_ref(&i));
    let joined = world.join(&Join { member: &i, ..long });
    assert_eq!((joined.error, joined.generation), (None, 2));
}

#[test]
fn an_instance_id_that_nobody_has_is_unknown() {
    let mut world = World::new(config());
    let (i, _, generation) = stable_pair(&mut world);
    assert_eq!(
        world.shard.heartbeat(world.now, "g", &i, Some("k"), generation),
        Err(GroupError::UnknownMemberId)
    );
}

#[test]
fn an_id_that_a_dynamic_member_was_told_cannot_be_used_with_an_instance_id() {
    let mut world = World::new(config());
    let id = world.member_id(&Join::default());
    assert_eq!(world.refusal(&Join { member: &id, ..join("i") }), GroupError::UnknownServerError);
}

#[test]
fn a_record_that_would_grow_too_large_refuses_the_member_and_changes_nothing() {
    let mut world = World::new(Config { group_record_bytes_max: GROUP_RECORD_MIN, ..config() });
    let (_, j, generation) = stable_pair(&mut world);
    let large = vec![("range", vec![0; GROUP_RECORD_MIN - 100])];
    assert_eq!(world.refusal(&Join { protocols: large, ..join("j") }), GroupError::UnknownServerError);
    assert_eq!(world.shard.heartbeat(world.now, "g", &j, Some("j"), generation), Ok(()));
    assert_eq!(world.state(), GroupState::Stable);
}
