//! Offsets: who may commit, what is kept, and when it goes.

mod support;

use std::collections::BTreeSet;

use support::*;
use tidegate_groups::*;
use uuid::Uuid;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn simple<'a>(offsets: &'a [CommitOffset<'a>]) -> OffsetCommit<'a> {
    OffsetCommit {
        version: 8,
        group: "g",
        member: "",
        instance: None,
        generation: -1,
        retention_ms: -1,
        offsets,
    }
}

#[test]
fn a_simple_consumer_commits_to_a_group_of_offsets_alone() {
    let mut world = World::new(config());
    assert_eq!(world.commit("", -1, 7), Ok(()));
    assert_eq!(world.offset(0), Some(7));
    let listed = &world.shard.list(&[], &[])[0];
    assert_eq!((&*listed.protocol_type, listed.state), ("", GroupState::Empty));
    world.restart();
    assert_eq!(world.offset(0), Some(7));
}

#[test]
fn a_commit_without_a_generation_needs_an_empty_group() {
    let mut world = World::new(config());
    let (a, generation) = world.stable_single();
    assert_eq!(world.commit("", -1, 7), Err(GroupError::UnknownMemberId));
    assert_eq!(world.commit(&a, -1, 7), Err(GroupError::IllegalGeneration));
    assert_eq!(world.commit(&a, generation, 7), Ok(()));
    world.leave(&[LeaveMember { member: &a, instance: None }]);
    assert_eq!(world.commit("", -1, 3), Ok(()), "as tools do that reset a group");
    assert_eq!(world.offset(0), Some(3));
}

#[test]
fn a_commit_with_a_generation_needs_the_group_its_member_and_its_generation() {
    let mut world = World::new(config());
    assert_eq!(world.commit("a", 1, 7), Err(GroupError::IllegalGeneration), "before version 9");
    let offsets = [at(TOPIC, 0, 7)];
    let modern = OffsetCommit { version: 9, generation: 1, ..simple(&offsets) };
    assert_eq!(world.commit_with(&modern), [Err(GroupError::GroupIdNotFound)]);
    let (a, generation) = world.stable_single();
    assert_eq!(world.commit("x", generation, 7), Err(GroupError::UnknownMemberId));
    assert_eq!(world.commit(&a, generation - 1, 7), Err(GroupError::IllegalGeneration));
    assert_eq!(world.commit(&a, generation + 1, 7), Err(GroupError::IllegalGeneration));
    assert_eq!(world.offset(0), None);
}

#[test]
fn a_commit_while_the_assignment_is_awaited_is_told_of_the_rebalance() {
    let mut world = World::new(config());
    let (a, b, generation) = world.stable_pair();
    world.send_join(&Join { member: &a, ..Join::default() });
    assert_eq!(world.commit(&b, generation, 7), Ok(()), "until then a member may still commit");
    world.join(&Join { member: &b, ..Join::default() });
    assert_eq!(world.state(), GroupState::CompletingRebalance);
    assert_eq!(world.commit(&b, generation + 1, 8), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.offset(0), Some(7));
}

#[test]
fn a_commit_starts_the_members_session_anew() {
    let mut world = World::new(config());
    let (a, generation) = world.stable_single();
    for n in 0..5 {
        world.pass(9_000);
        assert_eq!(world.commit(&a, generation, n), Ok(()));
    }
    assert_eq!(world.state(), GroupState::Stable);
}

#[test]
fn a_commit_keeps_epoch_metadata_times_and_topic_id() {
    let mut world = World::new(config());
    let topic_id = Uuid::from_u128(9);
    let given = CommitOffset { leader_epoch: 4, metadata: Some("note"), topic_id, ..at(TOPIC, 1, 7) };
    assert_eq!(world.commit_with(&simple(&[given, at(TOPIC, 2, 8)])), [Ok(()), Ok(())]);
    let expected = Committed {
        offset: 7,
        leader_epoch: 4,
        metadata: "note".into(),
        commit_ms: world.now.wall_ms,
        expire_ms: None,
        topic_id,
    };
    world.restart();
    assert_eq!(world.shard.offset("g", TOPIC, Uuid::nil(), 1), Some(&expected));
    assert_eq!(world.shard.offset("g", TOPIC, Uuid::nil(), 2).map(|c| c.leader_epoch), Some(-1));
}

#[test]
fn an_offset_of_a_former_topic_of_that_name_is_not_answered_for_the_new_one() {
    let mut world = World::new(config());
    let given = CommitOffset { topic_id: Uuid::from_u128(1), ..at(TOPIC, 0, 7) };
    assert_eq!(world.commit_with(&simple(&[given])), [Ok(())]);
    let offset = |id| world.shard.offset("g", TOPIC, Uuid::from_u128(id), 0).map(|c| c.offset);
    assert_eq!((offset(1), offset(2), offset(0)), (Some(7), None, Some(7)));
}

#[test]
fn metadata_above_its_bound_is_refused_for_its_partition() {
    let mut world = World::new(config());
    let (fits, long) = ("é".repeat(4_096), "é".repeat(4_097));
    let offsets = [
        CommitOffset { metadata: Some(&long), ..at(TOPIC, 0, 1) },
        CommitOffset { metadata: Some(&fits), ..at(TOPIC, 1, 1) },
    ];
    assert_eq!(world.commit_with(&simple(&offsets)), [Err(GroupError::OffsetMetadataTooLarge), Ok(())]);
    assert_eq!((world.offset(0), world.offset(1)), (None, Some(1)));
    let mut world = World::new(Config { offset_metadata_max: 1_000_000, ..config() });
    let huge = "x".repeat(32_768);
    let offsets = [CommitOffset { metadata: Some(&huge), ..at(TOPIC, 0, 1) }];
    let old = OffsetCommit { retention_ms: 1, ..simple(&offsets) };
    assert_eq!(world.commit_with(&old), [Err(GroupError::OffsetMetadataTooLarge)], "what no record can hold");
}

#[test]
fn a_partition_that_is_not_there_is_refused_before_the_group_is_looked_at() {
    let mut world = World::new(config());
    let offsets = [at("missing", 0, 1), at(TOPIC, 0, 1)];
    let only_ours = |topic: &str, _: i32| topic == TOPIC;
    let mut out = Effects::default();
    let now = world.now;
    let outcomes = world.shard.commit_offsets(now, &simple(&offsets), &only_ours, &mut out);
    assert_eq!(outcomes, [Err(GroupError::UnknownTopicOrPartition), Ok(())]);
    let request = OffsetCommit { group: "new", generation: 5, ..simple(&offsets[..1]) };
    let outcomes = world.shard.commit_offsets(now, &request, &only_ours, &mut out);
    assert_eq!(outcomes, [Err(GroupError::UnknownTopicOrPartition)]);
    assert_eq!(world.shard.list(&[], &[]).len(), 1);
}

#[test]
fn all_offsets_of_a_group_come_by_topic_and_partition() {
    let mut world = World::new(config());
    let offsets = [at("b", 1, 1), at("a", 2, 2), at("b", 0, 3)];
    world.commit_with(&simple(&offsets));
    let all: Vec<_> = world.shard.offsets("g").map(|(t, p, c)| (t.to_string(), p, c.offset)).collect();
    assert_eq!(all, [("a".into(), 2, 2), ("b".into(), 0, 3), ("b".into(), 1, 1)]);
    assert_eq!(world.shard.offsets("other").count(), 0);
}

fn delete(world: &mut World, partitions: &[(&str, i32)]) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let mut out = Effects::default();
    let request = OffsetDelete { group: "g", partitions };
    let now = world.now;
    let known = |topic: &str, _: i32| topic != "missing";
    let outcomes = world.shard.delete_offsets(now, &request, &known, &mut out);
    assert!(out.record_bytes() <= world.shard.config().record_bytes_max(Call::DeleteOffsets(&request)));
    world.keep(out);
    outcomes
}

#[test]
fn offsets_of_a_topic_that_the_group_subscribes_to_are_not_deleted() {
    let mut world = World::new(config());
    assert_eq!(delete(&mut world, &[(TOPIC, 0)]), Err(GroupError::GroupIdNotFound));
    world.commit_with(&simple(&[at(TOPIC, 0, 1), at("other", 0, 2)]));
    world.stable_single();
    let outcomes = delete(&mut world, &[(TOPIC, 0), ("other", 0), ("other", 9), ("missing", 0)]);
    let expected =
        [Err(GroupError::GroupSubscribedToTopic), Ok(()), Ok(()), Err(GroupError::UnknownTopicOrPartition)];
    assert_eq!(outcomes.as_deref(), Ok(&expected[..]));
    world.restart();
    assert_eq!(world.offset(0), Some(1));
    assert!(world.shard.offset("g", "other", Uuid::nil(), 0).is_none());
}

#[test]
fn offsets_of_a_group_with_members_of_another_protocol_type_are_not_deleted() {
    let mut world = World::new(config());
    world.commit("", -1, 1).unwrap();
    let joined = world.join(&Join { version: 3, protocol_type: "connect", ..Join::default() });
    assert_eq!(delete(&mut world, &[(TOPIC, 0)]), Err(GroupError::NonEmptyGroup));
    world.leave(&[LeaveMember { member: &joined.member, instance: None }]);
    assert_eq!(delete(&mut world, &[(TOPIC, 0)]), Ok(vec![Ok(())]));
    assert_eq!(world.offset(0), None);
}

#[test]
fn a_subscription_that_cannot_be_read_counts_as_everything() {
    let mut world = World::new(Config { offsets_retention_ms: DAY_MS, ..config() });
    world.commit("", -1, 1).unwrap();
    let hostile = vec![("range", vec![0, 0, 0x7f, 0xff, 0xff, 0xff])];
    let joined =
        world.join(&Join { version: 3, protocols: hostile, session_ms: 1_800_000, ..Join::default() });
    world.sync(&joined.member, joined.generation, &[]);
    assert_eq!(delete(&mut world, &[(TOPIC, 0)]), Ok(vec![Err(GroupError::GroupSubscribedToTopic)]));
    for _ in 0..200 {
        world.pass(1_000_000);
        assert_eq!(world.heartbeat(&joined.member, joined.generation), Ok(()));
    }
    assert_eq!(world.offset(0), Some(1), "nothing of it expires");
}

#[test]
fn the_retention_of_an_empty_group_counts_from_when_it_became_empty() {
    let mut world = World::new(Config { offsets_retention_ms: DAY_MS, ..config() });
    let (a, generation) = world.stable_single();
    world.commit(&a, generation, 7).unwrap();
    for _ in 0..20_000 {
        world.pass(9_000);
        assert_eq!(world.heartbeat(&a, generation), Ok(()));
    }
    assert_eq!(world.offset(0), Some(7), "two days after the commit");
    world.leave(&[LeaveMember { member: &a, instance: None }]);
    let left = world.now.wall_ms;
    world.restart();
    world.pass(DAY_MS - 1);
    assert_eq!(world.offset(0), Some(7), "{} ms after", world.now.wall_ms - left);
    world.pass(600_001);
    assert_eq!(world.offset(0), None, "at the check after a day");
    assert!(world.shard.list(&[], &[]).is_empty(), "and with it the group");
    assert_eq!(world.shard.live_bytes(), 0);
    world.restart();
    assert!(world.shard.list(&[], &[]).is_empty());
}

#[test]
fn in_a_stable_group_only_unsubscribed_topics_expire() {
    let mut world = World::new(Config { offsets_retention_ms: DAY_MS, ..config() });
    world.commit_with(&simple(&[at(TOPIC, 0, 1), at("former", 0, 2)]));
    let joined = world.join(&Join { version: 3, session_ms: 1_800_000, ..Join::default() });
    world.sync(&joined.member, joined.generation, &[]);
    for _ in 0..90 {
        world.pass(1_000_000);
        world.heartbeat(&joined.member, joined.generation).unwrap();
    }
    assert_eq!(world.offset(0), Some(1));
    assert!(world.shard.offset("g", "former", Uuid::nil(), 0).is_none());
}

#[test]
fn a_simple_consumers_offsets_expire_by_their_commit() {
    let mut world = World::new(Config { offsets_retention_ms: DAY_MS, ..config() });
    world.commit_with(&simple(&[at(TOPIC, 0, 1)]));
    world.pass(DAY_MS / 2);
    world.commit_with(&simple(&[at(TOPIC, 1, 2)]));
    world.pass(DAY_MS / 2 + 600_000);
    assert_eq!((world.offset(0), world.offset(1)), (None, Some(2)));
    world.pass(DAY_MS / 2 + 600_000);
    assert!(world.shard.list(&[], &[]).is_empty());
}

#[test]
fn a_retention_that_the_commit_states_goes_before_the_brokers() {
    let mut world = World::new(config());
    let offsets = [at(TOPIC, 0, 1)];
    world.commit_with(&OffsetCommit { version: 4, retention_ms: 3_600_000, ..simple(&offsets) });
    world.restart();
    world.pass(3_599_999);
    assert_eq!(world.offset(0), Some(1));
    world.pass(600_001);
    assert_eq!(world.offset(0), None);
}

#[test]
fn a_group_that_waits_for_a_member_it_told_an_id_is_not_removed() {
    let mut world = World::new(config());
    let join = Join { session_ms: 1_800_000, ..Join::default() };
    let id = world.member_id(&join);
    world.pass(700_000);
    assert_eq!(world.join(&Join { member: &id, ..join }).error, None);
    let mut world = World::new(config());
    world.member_id(&Join::default());
    world.pass(700_000);
    assert!(world.shard.list(&[], &[]).is_empty(), "the id was forgotten long ago");
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut world = World::new(Config { step_bytes_max: 300, ..config() });
    let mut offsets: Vec<_> = (0..20).map(|p| at(TOPIC, p, 1)).collect();
    offsets.push(at("kept", 0, 2));
    for group in ["g", "h"] {
        world.commit_with(&OffsetCommit { group, ..simple(&offsets) });
    }
    let mut steps = 0;
    loop {
        let mut out = Effects::default();
        let now = world.now;
        let progress = world.shard.delete_topics(now, &BTreeSet::from([TOPIC, "absent"]), &mut out);
        assert!(out.records.iter().all(|r| r.value.is_none()));
        assert!(out.record_bytes() <= world.shard.config().record_bytes_max(Call::Step));
        world.keep(out);
        steps += 1;
        if progress == Progress::Done {
            break;
        }
    }
    assert!(steps > 5, "{steps} steps of 300 bytes");
    world.restart();
    for group in ["g", "h"] {
        assert_eq!(world.shard.offsets(group).map(|(t, _, _)| t.to_string()).collect::<Vec<_>>(), ["kept"]);
    }
}

#[test]
fn a_round_of_the_retention_goes_on_in_steps() {
    let config = Config { step_bytes_max: 1_000, offsets_retention_ms: 1_000, ..config() };
    let mut world = World::new(config);
    let offsets: Vec<_> = (0..50).map(|p| at(TOPIC, p, 1)).collect();
    for n in 0..5 {
        world.commit_with(&OffsetCommit { group: &format!("g{n}"), ..simple(&offsets) });
    }
    world.pass(600_000);
    assert!(world.shard.list(&[], &[]).is_empty());
    assert!(world.shard.next_deadline_ms() > Some(world.now.mono_ms), "and is over");
}
