//! Random interleavings of members, held against a model: invariants G1, G3, G4, G5 and G6 of the project's reliability
//! page, and the state rebuilt from records against the live one.
//!
//! The clients are as good as a client can be that loses its state at any time: each action is whatever comes next for
//! it, or something stale. The model knows only what clients were told.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::*;
use tidegate_groups::*;

const GROUPS: [&str; 2] = ["g", "h"];
const CLIENTS: usize = 5;
const PARTITIONS: i32 = 3;

#[derive(Debug, Clone)]
enum Action {
    /// Joins with the id it has, or as a new member; with changed metadata at times.
    Join {
        client: usize,
        changed: bool,
    },
    /// Forgets who it is, as a process does that starts again.
    Forget {
        client: usize,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Commit {
        client: usize,
        partition: i32,
        stale: bool,
    },
    /// A tool's commit, without membership.
    Reset {
        group: usize,
        partition: i32,
    },
    Leave {
        client: usize,
    },
    DeleteGroup {
        group: usize,
    },
    Pass {
        ms: i64,
    },
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    let client = 0..CLIENTS;
    prop_oneof![
        6 => (client.clone(), proptest::bool::weighted(0.2)).prop_map(|(client, changed)| Action::Join { client, changed }),
        1 => client.clone().prop_map(|client| Action::Forget { client }),
        6 => client.clone().prop_map(|client| Action::Sync { client }),
        3 => client.clone().prop_map(|client| Action::Heartbeat { client }),
        4 => (client.clone(), 0..PARTITIONS, proptest::bool::weighted(0.3))
            .prop_map(|(client, partition, stale)| Action::Commit { client, partition, stale }),
        1 => (0..GROUPS.len(), 0..PARTITIONS).prop_map(|(group, partition)| Action::Reset { group, partition }),
        1 => client.prop_map(|client| Action::Leave { client }),
        1 => (0..GROUPS.len()).prop_map(|group| Action::DeleteGroup { group }),
        3 => prop_oneof![1i64..500, 500i64..5_000, 5_000i64..70_000].prop_map(|ms| Action::Pass { ms }),
        1 => Just(Action::Restart),
    ]
}

#[derive(Debug, Default, Clone)]
struct Client {
    member: String,
    generation: i32,
    /// From the last join, if it leads.
    leads: Option<Vec<JoinedMember>>,
    join: Option<Token>,
    sync: Option<(Token, i32)>,
    changes: u8,
}

struct Model {
    world: World,
    clients: Vec<Client>,
    /// Of each group and partition, the last commit that was acknowledged (G1).
    committed: BTreeMap<(usize, i32), i64>,
    next_offset: i64,
    /// The highest generation that was told in this life (G6), and the highest that was told with an assignment.
    told: BTreeMap<usize, i32>,
    /// In this life: (group, generation) → partition → who was assigned it (G4).
    owners: BTreeMap<(usize, i32), BTreeMap<u8, String>>,
    /// Ids that were taken over by another session of their instance.
    replaced: BTreeSet<String>,
    tokens: BTreeSet<Token>,
}

fn group_of(client: usize) -> usize {
    usize::from(client >= 3)
}

/// The first client of each group is static.
fn instance_of(client: usize) -> Option<&'static str> {
    match client {
        0 => Some("i0"),
        3 => Some("i3"),
        _ => None,
    }
}

impl Model {
    fn new() -> Self {
        let config = Config { initial_rebalance_delay_ms: 700, ..Config::default() };
        Self {
            world: World::new(config),
            clients: vec![Client::default(); CLIENTS],
            committed: BTreeMap::new(),
            next_offset: 1,
            told: BTreeMap::new(),
            owners: BTreeMap::new(),
            replaced: BTreeSet::new(),
            tokens: BTreeSet::new(),
        }
    }

    fn apply(&mut self, action: &Action) {
        match *action {
            Action::Join { client, changed } => self.join(client, changed),
            Action::Forget { client } => {
                self.clients[client] = Client { changes: self.clients[client].changes, ..Client::default() };
            }
            Action::Sync { client } => self.sync(client),
            Action::Heartbeat { client } => {
                let (own, group) = (self.clients[client].clone(), GROUPS[group_of(client)]);
                let instance = instance_of(client);
                let now = self.world.now;
                let beat = self.world.shard.heartbeat(now, group, &own.member, instance, own.generation);
                assert!(beat.is_err() || !self.replaced.contains(&own.member), "a fenced member is heard");
                if beat == Err(GroupError::UnknownMemberId) || beat == Err(GroupError::FencedInstanceId) {
                    self.clients[client].member.clear();
                }
            }
            Action::Commit { client, partition, stale } => self.commit(client, partition, stale),
            Action::Reset { group, partition } => {
                let empty = self.world.shard.describe(5, GROUPS[group]).members.is_empty();
                let offset = self.next_offset();
                let done = self.send_commit(group, "", None, -1, partition, offset);
                if done.is_ok() {
                    assert!(empty, "a commit without membership passed by the members");
                    self.committed.insert((group, partition), offset);
                }
            }
            Action::Leave { client } => self.leave(client),
            Action::DeleteGroup { group } => {
                let mut out = Effects::default();
                let now = self.world.now;
                if self.world.shard.delete_group(now, GROUPS[group], &mut out) == Ok(Progress::Done) {
                    self.committed.retain(|(g, _), _| *g != group);
                    self.told.remove(&group);
                    self.owners.retain(|(g, _), _| *g != group);
                }
                self.world.keep(out);
            }
            Action::Pass { ms } => self.world.pass(ms),
            Action::Restart => {
                self.world.restart();
                self.tokens.clear();
                // A rebalance that was not recorded is forgotten, and its generation may come again.
                self.told.clear();
                self.owners.clear();
                for client in &mut self.clients {
                    (client.join, client.sync) = (None, None);
                }
            }
        }
        self.hear();
        self.check();
    }

    fn join(&mut self, client: usize, changed: bool) {
        let group = GROUPS[group_of(client)];
        let own = &mut self.clients[client];
        own.changes = own.changes.wrapping_add(u8::from(changed));
        let metadata = vec![0, own.changes];
        let member = own.member.clone();
        let before = instance_of(client).filter(|_| member.is_empty()).and_then(|i| self.member_of(group, i));
        let token = self.world.send_join(&Join {
            group,
            member: &member,
            instance: instance_of(client),
            protocols: vec![("range", metadata)],
            ..Join::default()
        });
        self.tokens.insert(token);
        self.clients[client].join = Some(token);
        if let (Some(before), Some(instance)) = (before, instance_of(client))
            && self.member_of(group, instance).is_some_and(|after| after != before)
        {
            self.replaced.insert(before);
        }
    }

    fn member_of(&self, group: &str, instance: &str) -> Option<String> {
        let described = self.world.shard.describe(5, group);
        let member = described.members.iter().find(|m| m.instance.as_deref() == Some(instance))?;
        Some(member.member.to_string())
    }

    fn sync(&mut self, client: usize) {
        let own = self.clients[client].clone();
        if own.member.is_empty() {
            return;
        }
        // The leader deals the partitions out.
        let parts: Vec<(String, Vec<u8>)> =
            own.leads.iter().flatten().enumerate().fold(Vec::new(), |mut parts, (n, member)| {
                let of = own.leads.as_ref().map_or(1, Vec::len);
                let dealt = (0..7u8).filter(|p| usize::from(*p) % of == n).collect();
                parts.push((member.member.to_string(), dealt));
                parts
            });
        let parts: Vec<(&str, &[u8])> = parts.iter().map(|(m, p)| (m.as_str(), p.as_slice())).collect();
        let (group, instance) = (GROUPS[group_of(client)], instance_of(client));
        let token = self.world.send_sync_of(group, &own.member, instance, own.generation, &parts);
        self.tokens.insert(token);
        self.clients[client].sync = Some((token, own.generation));
    }

    fn next_offset(&mut self) -> i64 {
        self.next_offset += 1;
        self.next_offset
    }

    fn send_commit(
        &mut self,
        group: usize,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        partition: i32,
        offset: i64,
    ) -> Result<(), GroupError> {
        self.world.commit_with(&OffsetCommit {
            version: 9,
            group: GROUPS[group],
            member,
            instance,
            generation,
            retention_ms: -1,
            offsets: &[at(TOPIC, partition, offset)],
        })[0]
    }

    fn commit(&mut self, client: usize, partition: i32, stale: bool) {
        let (own, group) = (self.clients[client].clone(), group_of(client));
        if own.member.is_empty() {
            return;
        }
        let generation = if stale { own.generation - 1 } else { own.generation };
        let offset = self.next_offset();
        let done = self.send_commit(group, &own.member, instance_of(client), generation, partition, offset);
        if done.is_err() {
            return;
        }
        self.committed.insert((group, partition), offset);
        // G3: who may commit is a member, of the newest generation that anyone was told, and was not replaced.
        if generation >= 0 {
            let described = self.world.shard.describe(5, GROUPS[group]);
            assert!(described.members.iter().any(|m| *m.member == *own.member), "{own:?} is no member");
            assert!(
                generation >= self.told.get(&group).copied().unwrap_or(0),
                "a stale generation committed"
            );
            assert!(!self.replaced.contains(&own.member), "a fenced member committed");
        } else {
            assert!(self.world.shard.describe(5, GROUPS[group]).members.is_empty());
        }
    }

    fn leave(&mut self, client: usize) {
        let own = self.clients[client].clone();
        if own.member.is_empty() {
            return;
        }
        let (now, group) = (self.world.now, GROUPS[group_of(client)]);
        let mut out = Effects::default();
        let leaving = [LeaveMember { member: &own.member, instance: instance_of(client) }];
        let left = self.world.shard.leave(now, group, &leaving, &mut out).expect("the id is valid");
        self.world.keep(out);
        if left == [Ok(())] {
            let described = self.world.shard.describe(5, group);
            assert!(described.members.iter().all(|m| *m.member != *own.member));
        }
        self.clients[client].member.clear();
    }

    /// Clients read their answers.
    fn hear(&mut self) {
        for client in 0..CLIENTS {
            if let Some(answer) = self.clients[client].join.and_then(|t| self.world.joined(t)).cloned() {
                self.clients[client].join = None;
                self.hear_join(client, answer);
            }
            if let Some((token, generation)) = self.clients[client].sync
                && let Some(answer) = self.world.synced(token).cloned()
            {
                self.clients[client].sync = None;
                self.hear_sync(client, generation, &answer);
            }
        }
    }

    fn hear_join(&mut self, client: usize, answer: JoinAnswer) {
        let group = group_of(client);
        let own = &mut self.clients[client];
        match answer.error {
            None => {
                let newest = self.told.entry(group).or_default();
                assert!(answer.generation >= *newest, "generation {} after {newest}", answer.generation);
                *newest = answer.generation;
                own.member = answer.member.to_string();
                own.generation = answer.generation;
                own.leads =
                    (answer.leader == answer.member && !answer.skip_assignment).then_some(answer.members);
            }
            Some(GroupError::MemberIdRequired) => own.member = answer.member.to_string(),
            Some(GroupError::RebalanceInProgress) => {}
            Some(_) => own.member.clear(),
        }
    }

    fn hear_sync(&mut self, client: usize, generation: i32, answer: &SyncAnswer) {
        if answer.error.is_some() {
            return;
        }
        // G4: nothing is owned twice in a generation. A static member's sessions are one owner.
        let who = instance_of(client).map_or(self.clients[client].member.clone(), str::to_owned);
        let owners = self.owners.entry((group_of(client), generation)).or_default();
        for partition in &answer.assignment {
            let owner = owners.entry(*partition).or_insert_with(|| who.clone());
            assert_eq!(*owner, who, "partition {partition} of generation {generation} has two owners");
        }
    }

    fn check(&self) {
        // G1, G5, G6: the last acknowledged commit, and nothing else, is answered.
        for (n, group) in GROUPS.iter().enumerate() {
            for partition in 0..PARTITIONS {
                let found =
                    self.world.shard.offset(group, TOPIC, uuid::Uuid::nil(), partition).map(|c| c.offset);
                assert_eq!(found, self.committed.get(&(n, partition)).copied(), "{group} {partition}");
            }
        }
        let config = self.world.shard.config().clone();
        let live = &self.world.shard;
        let from_log = World::from_log(config.clone(), &self.world.log).shard;
        let from_snapshot = World::from_log(config, &snapshot(live, 150)).shard;
        assert_eq!(settled(&from_log, &from_log), settled(&from_snapshot, &from_snapshot));
        assert_eq!(settled(live, live), settled(&from_log, live));
        assert_eq!(from_log.live_bytes(), from_snapshot.live_bytes());
        assert_eq!(from_log.live_bytes(), live.live_bytes());
    }
}

/// What is seen of groups that are Stable or Empty in `by`; a group of which only its creation is left counts as absent,
/// and offsets are always seen.
fn settled(shard: &Shard, by: &Shard) -> Vec<String> {
    let mut out = Vec::new();
    for group in GROUPS {
        let state = by.describe(5, group).state;
        let described = shard.describe(5, group);
        let nothing = described.members.is_empty() && described.protocol_type.is_empty();
        if matches!(state, GroupState::Stable | GroupState::Empty | GroupState::Dead) && !nothing {
            out.push(format!("{group} {described:?}"));
        }
        out.extend(shard.offsets(group).map(|(t, p, c)| format!("{group} {t} {p} {c:?}")));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn members_come_and_go_and_the_invariants_hold(
        actions in proptest::collection::vec(action(), 1..120),
    ) {
        let mut model = Model::new();
        for action in &actions {
            model.apply(action);
        }
        // Liveness: with everybody silent each parked request is answered, and the groups are empty.
        model.world.pass(400_000);
        for token in &model.tokens {
            prop_assert!(model.world.answers.contains_key(token), "{:?} is never answered", token);
        }
        for group in GROUPS {
            let state = model.world.shard.describe(5, group).state;
            prop_assert!(matches!(state, GroupState::Empty | GroupState::Dead), "{} is {:?}", group, state);
        }
    }
}
