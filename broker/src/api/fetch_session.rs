//! Incremental fetch sessions (KIP-227): a plain machine, no clock, no I/O.
//!
//! Owns: per session the partitions a client follows and what it was last told.
//! Invariants: at most `slots` sessions; a full cache evicts the session that was used longest ago, but only one idle
//! for longer than the eviction time, else the fetch is answered without a session, as in Kafka.
//! Never: reads a partition.

use std::collections::BTreeMap;

use tidegate_common::TopicId;

use super::errors::Code;

/// A session may be evicted when unused for this long (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION_MS: u64 = 120_000;
pub const INITIAL_EPOCH: i32 = 0;
pub const FINAL_EPOCH: i32 = -1;

/// A topic as the client names it: by id from v13, by name before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    Name(String),
    Id(TopicId),
}

/// What the client asks of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub fetch_offset: i64,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
    pub max_bytes: i32,
}

/// What the client was last told of a partition; a change is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start: i64,
}

pub type PartitionKey = (TopicKey, i32);

#[derive(Debug, Clone)]
struct Session {
    epoch: i32,
    by_id: bool,
    /// In the client's order, which rotates what is served first (KIP-74).
    order: Vec<PartitionKey>,
    partitions: BTreeMap<PartitionKey, (Wanted, Option<Told>)>,
    used_ms: u64,
}

/// What a fetch works on.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// 0: no session.
    pub session_id: i32,
    /// Only changed partitions are told.
    pub incremental: bool,
    pub partitions: Vec<(PartitionKey, Wanted, Option<Told>)>,
}

/// One request's session part.
#[derive(Debug)]
pub struct Asked {
    pub session_id: i32,
    pub epoch: i32,
    pub by_id: bool,
    pub partitions: Vec<(PartitionKey, Wanted)>,
    pub forgotten: Vec<PartitionKey>,
}

#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    sessions: BTreeMap<i32, Session>,
}

impl FetchSessions {
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots, sessions: BTreeMap::new() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Decides which partitions this fetch is about. `fresh_id` is a random id for a new session.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR.
    pub fn begin(&mut self, asked: Asked, now_ms: u64, fresh_id: impl FnOnce() -> i32) -> Result<Plan, Code> {
        if asked.epoch == INITIAL_EPOCH || asked.epoch == FINAL_EPOCH {
            self.sessions.remove(&asked.session_id);
            let session_id =
                if asked.epoch == INITIAL_EPOCH { self.open(&asked, now_ms, fresh_id) } else { 0 };
            let partitions = asked.partitions.into_iter().map(|(k, w)| (k, w, None)).collect();
            return Ok(Plan { session_id, incremental: false, partitions });
        }
        let session = self.sessions.get_mut(&asked.session_id).ok_or(Code::FetchSessionIdNotFound)?;
        if session.epoch != asked.epoch {
            return Err(Code::InvalidFetchSessionEpoch);
        }
        if session.by_id != asked.by_id {
            return Err(Code::FetchSessionTopicIdError);
        }
        session.used_ms = now_ms;
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        for key in &asked.forgotten {
            if session.partitions.remove(key).is_some() {
                session.order.retain(|k| k != key);
            }
        }
        for (key, wanted) in asked.partitions {
            match session.partitions.get_mut(&key) {
                Some((known, _)) => *known = wanted,
                None => {
                    session.order.push(key.clone());
                    session.partitions.insert(key, (wanted, None));
                }
            }
        }
        let partitions = session
            .order
            .iter()
            .filter_map(|k| session.partitions.get(k).map(|(w, t)| (k.clone(), *w, *t)))
            .collect();
        Ok(Plan { session_id: asked.session_id, incremental: true, partitions })
    }

    /// Notes what the client is being told. Partitions that carry records move behind the others, so that none
    /// starves while answers are full.
    pub fn told(&mut self, session_id: i32, told: &[(PartitionKey, Told, bool)]) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let mut behind = Vec::new();
        for (key, now, with_records) in told {
            if let Some((_, last)) = session.partitions.get_mut(key) {
                *last = Some(*now);
                if *with_records {
                    behind.push(key.clone());
                }
            }
        }
        if !behind.is_empty() {
            session.order.retain(|k| !behind.contains(k));
            session.order.extend(behind);
        }
    }

    fn open(&mut self, asked: &Asked, now_ms: u64, fresh_id: impl FnOnce() -> i32) -> i32 {
        if asked.partitions.is_empty() || self.slots == 0 {
            return 0;
        }
        if self.sessions.len() >= self.slots {
            let oldest = self.sessions.iter().min_by_key(|(_, s)| s.used_ms).map(|(id, s)| (*id, s.used_ms));
            match oldest {
                Some((id, used_ms)) if used_ms + EVICTION_MS < now_ms => self.sessions.remove(&id),
                _ => return 0,
            };
        }
        let id = fresh_id().max(1);
        if self.sessions.contains_key(&id) {
            return 0;
        }
        let session = Session {
            epoch: 1,
            by_id: asked.by_id,
            order: asked.partitions.iter().map(|(k, _)| k.clone()).collect(),
            partitions: asked.partitions.iter().map(|(k, w)| (k.clone(), (*w, None))).collect(),
            used_ms: now_ms,
        };
        self.sessions.insert(id, session);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, index: i32) -> PartitionKey {
        (TopicKey::Name(name.into()), index)
    }

    fn wanted(offset: i64) -> Wanted {
        Wanted { fetch_offset: offset, current_leader_epoch: -1, last_fetched_epoch: -1, max_bytes: 100 }
    }

    fn asked(session_id: i32, epoch: i32, partitions: &[(&str, i32, i64)]) -> Asked {
        let partitions = partitions.iter().map(|&(n, i, o)| (key(n, i), wanted(o))).collect();
        Asked { session_id, epoch, by_id: false, partitions, forgotten: Vec::new() }
    }

    #[test]
    fn a_session_remembers_what_is_not_repeated() {
        let mut sessions = FetchSessions::new(10);
        let full = sessions.begin(asked(0, 0, &[("a", 0, 5), ("b", 0, 7)]), 0, || 42).expect("opens");
        assert_eq!((full.session_id, full.incremental, full.partitions.len()), (42, false, 2));
        let next = sessions.begin(asked(42, 1, &[("a", 0, 6)]), 1, || 0).expect("continues");
        assert!(next.incremental);
        let offsets: Vec<_> = next.partitions.iter().map(|(k, w, _)| (k.clone(), w.fetch_offset)).collect();
        assert_eq!(offsets, vec![(key("a", 0), 6), (key("b", 0), 7)]);
        assert_eq!(sessions.begin(asked(42, 1, &[]), 2, || 0), Err(Code::InvalidFetchSessionEpoch));
        assert_eq!(sessions.begin(asked(43, 1, &[]), 2, || 0), Err(Code::FetchSessionIdNotFound));
    }

    #[test]
    fn forgotten_partitions_are_gone_and_served_ones_go_last() {
        let mut sessions = FetchSessions::new(10);
        sessions.begin(asked(0, 0, &[("a", 0, 0), ("b", 0, 0), ("c", 0, 0)]), 0, || 9).expect("opens");
        let told = Told { high_watermark: 3, last_stable_offset: 3, log_start: 0 };
        sessions.told(9, &[(key("a", 0), told, true), (key("b", 0), told, false)]);
        let mut ask = asked(9, 1, &[]);
        ask.forgotten = vec![key("c", 0)];
        let plan = sessions.begin(ask, 1, || 0).expect("continues");
        let order: Vec<_> = plan.partitions.iter().map(|(k, _, t)| (k.clone(), *t)).collect();
        assert_eq!(order, vec![(key("b", 0), Some(told)), (key("a", 0), Some(told))]);
    }

    #[test]
    fn a_full_cache_evicts_only_the_idle() {
        let mut sessions = FetchSessions::new(1);
        assert_eq!(sessions.begin(asked(0, 0, &[("a", 0, 0)]), 0, || 1).expect("opens").session_id, 1);
        assert_eq!(
            sessions.begin(asked(0, 0, &[("a", 0, 0)]), 1000, || 2).expect("sessionless").session_id,
            0
        );
        let late = EVICTION_MS + 1;
        assert_eq!(sessions.begin(asked(0, 0, &[("a", 0, 0)]), late, || 2).expect("evicts").session_id, 2);
        assert_eq!(sessions.len(), 1);
    }
}
