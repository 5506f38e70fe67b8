//! DescribeGroups, ListGroups, DeleteGroups, and what a shard says of itself.

mod support;

use support::*;
use tidegate_groups::*;

#[test]
fn a_stable_group_is_described_with_its_protocol_and_assignment() {
    let mut world = World::new(config());
    let (a, b, _) = world.stable_pair();
    let described = world.shard.describe(6, "g");
    assert_eq!((described.error, described.state), (None, GroupState::Stable));
    assert_eq!((&*described.protocol_type, &*described.protocol), ("consumer", "range"));
    let member = described.members.iter().find(|m| *m.member == *b).expect("b is there");
    assert_eq!((&member.assignment[..], &member.metadata[..]), (&b"half b"[..], &subscription(&[TOPIC])[..]));
    assert_eq!((&*member.client_id, &*member.client_host), ("client", "/127.0.0.1"));
    // While it rebalances, without.
    world.send_join(&Join { member: &a, ..Join::default() });
    let described = world.shard.describe(6, "g");
    assert_eq!((described.state, &*described.protocol), (GroupState::PreparingRebalance, ""));
    assert!(described.members.iter().all(|m| m.metadata.is_empty()));
    assert_eq!(described.members.len(), 2);
}

#[test]
fn an_absent_group_is_dead_and_from_version_6_not_found() {
    let world = World::new(config());
    let old = world.shard.describe(5, "x");
    assert_eq!((old.error, old.state, old.error_message), (None, GroupState::Dead, None));
    let new = world.shard.describe(6, "x");
    assert_eq!((new.error, new.state), (Some(GroupError::GroupIdNotFound), GroupState::Dead));
    assert_eq!(new.error_message.as_deref(), Some("Group x not found."));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = World::new(config());
    world.stable_single();
    world.commit_with(&OffsetCommit {
        version: 8,
        group: "simple",
        member: "",
        instance: None,
        generation: -1,
        retention_ms: -1,
        offsets: &[at(TOPIC, 0, 1)],
    });
    let list = |states: &[&str], types: &[&str]| -> Vec<String> {
        world.shard.list(states, types).iter().map(|l| l.group.to_string()).collect()
    };
    assert_eq!(list(&[], &[]), ["g", "simple"]);
    assert_eq!(list(&["stable"], &[]), ["g"]);
    assert_eq!(list(&[" EMPTY "], &["Classic"]), ["simple"]);
    assert_eq!(list(&["Dead", "nonsense"], &[]), Vec::<String>::new());
    assert_eq!(list(&[], &["consumer"]), Vec::<String>::new());
    assert_eq!(list(&[], &["consumer", "classic"]), ["g", "simple"]);
}

#[test]
fn only_an_empty_group_is_deleted_with_all_its_offsets() {
    let mut world = World::new(Config { step_bytes_max: 500, ..config() });
    let mut out = Effects::default();
    let now = world.now;
    assert_eq!(world.shard.delete_group(now, "g", &mut out), Err(GroupError::GroupIdNotFound));
    let (a, generation) = world.stable_single();
    let offsets: Vec<_> = (0..30).map(|p| at(TOPIC, p, 1)).collect();
    let request = OffsetCommit {
        version: 8,
        group: "g",
        member: &a,
        instance: None,
        generation,
        retention_ms: -1,
        offsets: &offsets,
    };
    assert!(world.commit_with(&request).iter().all(Result::is_ok));
    assert_eq!(world.shard.delete_group(now, "g", &mut out), Err(GroupError::NonEmptyGroup));
    world.leave(&[LeaveMember { member: &a, instance: None }]);
    let mut steps = 1;
    loop {
        let mut out = Effects::default();
        let progress = world.shard.delete_group(now, "g", &mut out).expect("it is empty");
        world.keep(out);
        if progress == Progress::Done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 3, "{steps} steps");
    assert_eq!(world.shard.stats(), Stats::default());
    world.restart();
    assert_eq!(world.shard.stats(), Stats::default());
    assert_eq!(world.shard.next_deadline_ms(), Some(world.now.mono_ms + 600_000), "no timer is left behind");
}

#[test]
fn what_is_held_is_counted() {
    let mut world = World::new(config());
    let (a, _, generation) = world.stable_pair();
    world.commit(&a, generation, 1).unwrap();
    let stats = world.shard.stats();
    assert_eq!((stats.groups, stats.members, stats.offsets), ([0, 0, 0, 1], 2, 1));
    assert_eq!(stats.member_bytes, 12 + 2 * (5 + subscription(&[TOPIC]).len()));
    assert_eq!(stats.rebalances, 2);
    let exact: usize = snapshot(&world.shard, 1_000_000).iter().map(records::batch_bytes).sum();
    let live = world.shard.live_bytes() as usize;
    assert!(live >= exact && live <= exact + 64, "{live} for {exact}");
    let before = stats.live_bytes;
    world.commit(&a, generation, 2).unwrap();
    assert_eq!(world.shard.live_bytes(), before, "a commit over another takes no more");
}

fn commit<'a>(group: &'a str, offsets: &'a [CommitOffset<'a>]) -> OffsetCommit<'a> {
    OffsetCommit { version: 8, group, member: "", instance: None, generation: -1, retention_ms: -1, offsets }
}

#[test]
fn a_snapshot_in_parts_is_the_whole_state_while_changes_come_between() {
    let mut world = World::new(config());
    let (a, generation) = world.stable_single();
    let offsets: Vec<_> = (0..20).map(|p| at(TOPIC, p, 1)).collect();
    for group in ["a", "h", "z"] {
        world.commit_with(&commit(group, &offsets));
    }
    let (mut short, mut cursor, mut n) = (Vec::new(), None, 0);
    loop {
        let (part, next) = world.shard.snapshot(cursor.as_ref(), 200);
        short.extend(part);
        // Something happens after each part: behind the cursor, at it, and before it.
        let from = world.log.len();
        let later = [at(TOPIC, (n % 20) as i32, 100 + n as i64)];
        world.commit_with(&commit(["a", "h", "z"][n % 3], &later));
        world.commit(&a, generation, n as i64).unwrap();
        if n == 4 {
            let mut out = Effects::default();
            let now = world.now;
            assert_eq!(world.shard.delete_group(now, "h", &mut out), Ok(Progress::Done));
            world.keep(out);
        }
        short.extend_from_slice(&world.log[from..]);
        n += 1;
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(n > 10, "{n} parts");
    assert_eq!(picture(&World::from_log(config(), &short).shard), picture(&world.shard));
}
