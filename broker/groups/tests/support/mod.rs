//! A shard with a clock and clients around it, so that a test reads as a story.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_groups::*;
use uuid::Uuid;

pub const SESSION_MS: i32 = 10_000;
pub const REBALANCE_MS: i32 = 60_000;
pub const TOPIC: &str = "events";

/// What a test says of a join; the rest has defaults.
#[derive(Clone)]
pub struct Join<'a> {
    pub version: i16,
    pub group: &'a str,
    pub member: &'a str,
    pub instance: Option<&'a str>,
    pub session_ms: i32,
    pub rebalance_ms: i32,
    pub protocol_type: &'a str,
    pub protocols: Vec<(&'a str, Vec<u8>)>,
}

impl Default for Join<'_> {
    fn default() -> Self {
        Self {
            version: 9,
            group: "g",
            member: "",
            instance: None,
            session_ms: SESSION_MS,
            rebalance_ms: REBALANCE_MS,
            protocol_type: "consumer",
            protocols: vec![("range", subscription(&[TOPIC]))],
        }
    }
}

pub struct World {
    pub shard: Shard,
    pub now: Now,
    pub log: Vec<Record>,
    pub answers: BTreeMap<Token, Answer>,
    tokens: u64,
}

pub fn config() -> Config {
    Config { initial_rebalance_delay_ms: 0, ..Config::default() }
}

pub fn exists(_: &str, _: i32) -> bool {
    true
}

/// ConsumerProtocolSubscription version 0.
pub fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend_from_slice(&(topic.len() as i16).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
    }
    out.extend_from_slice(&(-1i32).to_be_bytes());
    out
}

impl World {
    pub fn new(config: Config) -> Self {
        Self::from_log(config, &[])
    }

    pub fn from_log(config: Config, log: &[Record]) -> Self {
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let mut out = Effects::default();
        let shard = load(config, log).finish(now, &mut out);
        assert!(out.records.is_empty());
        Self { shard, now, log: log.to_vec(), answers: BTreeMap::new(), tokens: 0 }
    }

    /// The broker dies, and another one loads what was appended.
    pub fn restart(&mut self) {
        let config = self.shard.config().clone();
        let (log, now) = (std::mem::take(&mut self.log), self.now);
        let mut out = Effects::default();
        self.shard = load(config, &log).finish(now, &mut out);
        self.log = log;
        self.log.extend(out.records);
        self.answers.clear();
    }

    pub fn keep(&mut self, out: Effects) {
        self.log.extend(out.records);
        for (token, answer) in out.answers {
            assert!(self.answers.insert(token, answer).is_none(), "{token:?} is answered twice");
        }
    }

    pub fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    pub fn send_join(&mut self, join: &Join<'_>) -> Token {
        let token = self.token();
        let protocols: Vec<_> =
            join.protocols.iter().map(|(name, metadata)| Protocol { name, metadata }).collect();
        let mut out = Effects::default();
        let request = JoinGroup {
            version: join.version,
            group: join.group,
            member: join.member,
            instance: join.instance,
            client_id: "client",
            client_host: "/127.0.0.1",
            session_timeout_ms: join.session_ms,
            rebalance_timeout_ms: join.rebalance_ms,
            protocol_type: join.protocol_type,
            protocols: &protocols,
            uuid: Uuid::from_u128(token.0.into()),
        };
        self.shard.join(self.now, token, &request, &mut out);
        assert!(out.record_bytes() <= self.shard.config().record_bytes_max(Call::Join));
        self.keep(out);
        token
    }

    /// The answer to a parked join; `None` while it waits.
    pub fn joined(&self, token: Token) -> Option<&JoinAnswer> {
        match self.answers.get(&token)? {
            Answer::Join(answer) => Some(answer),
            Answer::Sync(_) => panic!("{token:?} was a join"),
        }
    }

    pub fn join(&mut self, join: &Join<'_>) -> JoinAnswer {
        let token = self.send_join(join);
        self.joined(token).cloned().unwrap_or_else(|| panic!("the join of {:?} waits", join.member))
    }

    pub fn refusal(&mut self, join: &Join<'_>) -> GroupError {
        self.join(join).error.expect("the join is refused")
    }

    /// The id that a new dynamic member is told.
    pub fn member_id(&mut self, join: &Join<'_>) -> String {
        let answer = self.join(&Join { member: "", ..join.clone() });
        assert_eq!(answer.error, Some(GroupError::MemberIdRequired));
        answer.member.to_string()
    }

    pub fn send_sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &[u8])]) -> Token {
        self.send_sync_of("g", member, None, generation, assignments)
    }

    pub fn send_sync_of(
        &mut self,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        assignments: &[(&str, &[u8])],
    ) -> Token {
        let token = self.token();
        let mut out = Effects::default();
        let request = SyncGroup {
            version: 3,
            group,
            member,
            instance,
            generation,
            protocol_type: None,
            protocol: None,
            assignments,
        };
        self.shard.sync(self.now, token, &request, &mut out);
        assert!(out.record_bytes() <= self.shard.config().record_bytes_max(Call::Sync));
        self.keep(out);
        token
    }

    pub fn synced(&self, token: Token) -> Option<&SyncAnswer> {
        match self.answers.get(&token)? {
            Answer::Sync(answer) => Some(answer),
            Answer::Join(_) => panic!("{token:?} was a sync"),
        }
    }

    pub fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &[u8])]) -> SyncAnswer {
        let token = self.send_sync(member, generation, assignments);
        self.synced(token).cloned().unwrap_or_else(|| panic!("the sync of {member:?} waits"))
    }

    pub fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        self.shard.heartbeat(self.now, "g", member, None, generation)
    }

    pub fn leave(&mut self, members: &[LeaveMember<'_>]) -> Vec<Result<(), GroupError>> {
        let mut out = Effects::default();
        let outcomes = self.shard.leave(self.now, "g", members, &mut out).expect("the group id is valid");
        self.keep(out);
        outcomes
    }

    pub fn commit(&mut self, member: &str, generation: i32, offset: i64) -> Result<(), GroupError> {
        self.commit_with(&OffsetCommit {
            version: 8,
            group: "g",
            member,
            instance: None,
            generation,
            retention_ms: -1,
            offsets: &[at(TOPIC, 0, offset)],
        })[0]
    }

    pub fn commit_with(&mut self, request: &OffsetCommit<'_>) -> Vec<Result<(), GroupError>> {
        let mut out = Effects::default();
        let outcomes = self.shard.commit_offsets(self.now, request, &exists, &mut out);
        assert!(out.record_bytes() <= self.shard.config().record_bytes_max(Call::Commit(request)));
        self.keep(out);
        outcomes
    }

    pub fn offset(&self, partition: i32) -> Option<i64> {
        self.shard.offset("g", TOPIC, Uuid::nil(), partition).map(|c| c.offset)
    }

    pub fn state(&self) -> GroupState {
        self.shard.describe(5, "g").state
    }

    pub fn members(&self) -> Vec<String> {
        self.shard.describe(5, "g").members.iter().map(|m| m.member.to_string()).collect()
    }

    /// Time goes by, and what is due on the way is done.
    pub fn pass(&mut self, ms: i64) {
        let end = self.now.mono_ms + ms;
        while let Some(at) = self.shard.next_deadline_ms().filter(|at| *at <= end) {
            let step = (at - self.now.mono_ms).max(0);
            self.now = Now { mono_ms: self.now.mono_ms + step, wall_ms: self.now.wall_ms + step };
            self.tick();
        }
        let step = end - self.now.mono_ms;
        self.now = Now { mono_ms: end, wall_ms: self.now.wall_ms + step };
    }

    pub fn tick(&mut self) {
        loop {
            let mut out = Effects::default();
            let progress = self.shard.tick(self.now, &mut out);
            assert!(out.record_bytes() <= self.shard.config().record_bytes_max(Call::Step));
            self.keep(out);
            if progress == Progress::Done {
                return;
            }
        }
    }

    /// A group of one member, stable.
    pub fn stable_single(&mut self) -> (String, i32) {
        let id = self.member_id(&Join::default());
        let joined = self.join(&Join { member: &id, ..Join::default() });
        assert_eq!(joined.error, None);
        let synced = self.sync(&id, joined.generation, &[(&id, b"all")]);
        assert_eq!(synced.error, None);
        (id, joined.generation)
    }

    /// A group of two members, stable; the first leads.
    pub fn stable_pair(&mut self) -> (String, String, i32) {
        let (a, generation) = self.stable_single();
        let b = self.member_id(&Join::default());
        let second = self.send_join(&Join { member: &b, ..Join::default() });
        assert_eq!(self.heartbeat(&a, generation), Err(GroupError::RebalanceInProgress));
        let first = self.join(&Join { member: &a, ..Join::default() });
        let generation = self.joined(second).expect("both have joined").generation;
        assert_eq!(first.generation, generation);
        let waits = self.send_sync(&b, generation, &[]);
        self.sync(&a, generation, &[(&a, b"half a"), (&b, b"half b")]);
        assert_eq!(self.synced(waits).map(|s| s.assignment.clone()), Some("half b".into()));
        (a, b, generation)
    }
}

pub fn load(config: Config, log: &[Record]) -> Loading {
    let mut loading = Loading::new(Arc::new(config));
    for (offset, record) in log.iter().enumerate() {
        loading
            .replay(Some(&record.key), record.value.as_deref(), offset as i64)
            .expect("own records are whole");
    }
    loading
}

pub fn at(topic: &str, partition: i32, offset: i64) -> CommitOffset<'_> {
    CommitOffset { topic, topic_id: Uuid::nil(), partition, offset, leader_epoch: -1, metadata: None }
}

/// All that clients can see of a shard's groups that are not in a rebalance, and all offsets.
pub fn picture(shard: &Shard) -> Vec<String> {
    let mut out = Vec::new();
    for listed in shard.list(&[], &[]) {
        let described = shard.describe(6, &listed.group);
        out.push(format!("{} {:?} {:?}", listed.group, listed.state, described));
        out.extend(shard.offsets(&listed.group).map(|(t, p, c)| format!("{} {t} {p} {c:?}", listed.group)));
    }
    out
}

/// All parts of a snapshot, of at most about `bytes` each.
pub fn snapshot(shard: &Shard, bytes: usize) -> Vec<Record> {
    let (mut out, mut cursor) = (Vec::new(), None);
    loop {
        let (records, next) = shard.snapshot(cursor.as_ref(), bytes);
        out.extend(records);
        cursor = next;
        if cursor.is_none() {
            return out;
        }
    }
}
