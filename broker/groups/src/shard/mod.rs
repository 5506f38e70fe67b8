//! The groups of one partition of `__consumer_offsets`.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::Name;
use crate::api::{
    Answer, Committed, DescribedGroup, Effects, GroupState, JoinAnswer, JoinGroup, LeaveMember, ListedGroup,
    Now, OffsetCommit, OffsetDelete, Record, SyncAnswer, SyncGroup, Token, Topics,
};
use crate::config::Config;
use crate::error::GroupError;
use crate::records::RecordError;

/// Whether a step of bounded size is all there was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    Done,
    /// Call again, with a new permit.
    More,
}

/// Where a snapshot goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCursor {
    group: Name,
    offset: Option<(Name, i32)>,
}

/// What a shard holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// By [`GroupState`], in its order, without Dead.
    pub groups: [usize; 4],
    pub members: usize,
    pub offsets: usize,
    /// Bytes of subscriptions and assignments of all members.
    pub member_bytes: usize,
    /// [`Shard::live_bytes`]
    pub live_bytes: u64,
}

/// A shard that reads its partition. It cannot be asked anything before [`Loading::finish`].
#[derive(Debug)]
pub struct Loading {
    shard: Shard,
    skipped: u64,
}

impl Loading {
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        Self { shard: Shard { config }, skipped: 0 }
    }

    /// Takes the next record of the partition, in the order of offsets. `timestamp_ms` is the record's own.
    ///
    /// # Errors
    /// [`RecordError::At`] names the offset of a damaged record of a known kind. The load is then not to be finished.
    pub fn replay(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        offset: i64,
        timestamp_ms: i64,
    ) -> Result<(), RecordError> {
        let _ = (key, value, offset, timestamp_ms);
        Ok(())
    }

    /// Records of kinds that this version does not know.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The partition is read to its end: the sessions of all members start now.
    #[must_use]
    pub fn finish(self, now: Now, out: &mut Effects) -> Shard {
        let _ = (now, out);
        self.shard
    }
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Shard {
    config: Arc<Config>,
}

impl Shard {
    /// JoinGroup. The answer may be among `out.answers` at once, or come from a later call.
    pub fn join(&mut self, now: Now, token: Token, request: &JoinGroup<'_>, out: &mut Effects) {
        let _ = now;
        out.answers.push((
            token,
            Answer::Join(JoinAnswer {
                error: Some(GroupError::UnknownServerError),
                generation: -1,
                protocol_type: None,
                protocol: None,
                leader: Name::from(""),
                skip_assignment: false,
                member: Name::from(request.member),
                members: Vec::new(),
            }),
        ));
    }

    /// SyncGroup. The answer may be among `out.answers` at once, or come from a later call.
    pub fn sync(&mut self, now: Now, token: Token, request: &SyncGroup<'_>, out: &mut Effects) {
        let _ = (now, request);
        out.answers.push((
            token,
            Answer::Sync(SyncAnswer {
                error: Some(GroupError::UnknownServerError),
                protocol_type: None,
                protocol: None,
                assignment: bytes::Bytes::new(),
            }),
        ));
    }

    /// Heartbeat. Writes nothing.
    ///
    /// # Errors
    /// What Heartbeat answers.
    pub fn heartbeat(
        &mut self,
        now: Now,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        let _ = (now, group, member, instance, generation);
        Err(GroupError::UnknownServerError)
    }

    /// LeaveGroup: the outcome for each member, in order. Below version 3 there is one, whose error is the answer's.
    ///
    /// # Errors
    /// The error of the whole answer.
    pub fn leave(
        &mut self,
        now: Now,
        group: &str,
        members: &[LeaveMember<'_>],
        out: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let _ = (now, group, members, out);
        Err(GroupError::UnknownServerError)
    }

    /// OffsetCommit: the outcome for each offset, in order. Offsets of partitions that are not there are refused before
    /// the group is looked at, as in Kafka.
    pub fn commit_offsets(
        &mut self,
        now: Now,
        request: &OffsetCommit<'_>,
        topics: &dyn Topics,
        out: &mut Effects,
    ) -> Vec<Result<(), GroupError>> {
        let _ = (now, topics, out);
        request.offsets.iter().map(|_| Err(GroupError::UnknownServerError)).collect()
    }

    /// OffsetFetch of one partition; `None` is answered as offset −1 without an error. `topic_id` is nil below version
    /// 10; an offset that was committed for another topic of that name is not there.
    #[must_use]
    pub fn offset(&self, group: &str, topic: &str, topic_id: Uuid, partition: i32) -> Option<&Committed> {
        let _ = (group, topic, topic_id, partition);
        None
    }

    /// OffsetFetch of all partitions, by topic and partition.
    pub fn offsets(&self, group: &str) -> impl Iterator<Item = (&Name, i32, &Committed)> {
        let _ = group;
        std::iter::empty()
    }

    /// OffsetDelete: the outcome for each partition, in order.
    ///
    /// # Errors
    /// The error of the whole answer.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDelete<'_>,
        topics: &dyn Topics,
        out: &mut Effects,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let _ = (request, topics, out);
        Err(GroupError::UnknownServerError)
    }

    /// DeleteGroups for one group. With [`Progress::More`] the group is not gone yet: append, and call again.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND.
    pub fn delete_group(&mut self, group: &str, out: &mut Effects) -> Result<Progress, GroupError> {
        let _ = (group, out);
        Err(GroupError::UnknownServerError)
    }

    /// The topics are deleted: their offsets go, in every group.
    pub fn delete_topics(&mut self, topics: &BTreeSet<&str>, out: &mut Effects) -> Progress {
        let _ = (topics, out);
        Progress::Done
    }

    /// DescribeGroups for one group.
    #[must_use]
    pub fn describe(&self, version: i16, group: &str) -> DescribedGroup {
        let _ = (version, group);
        DescribedGroup {
            error: Some(GroupError::UnknownServerError),
            error_message: None,
            state: GroupState::Dead,
            protocol_type: Name::from(""),
            protocol: Name::from(""),
            members: Vec::new(),
        }
    }

    /// ListGroups. An empty filter lets everything through; states and types are compared without regard to case.
    #[must_use]
    pub fn list(&self, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
        let _ = (states, types);
        Vec::new()
    }

    /// When [`Shard::tick`] is to be called, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        None
    }

    /// Does what is due: sessions, rebalances, retention of offsets.
    pub fn tick(&mut self, now: Now, out: &mut Effects) -> Progress {
        let _ = (now, out);
        Progress::Done
    }

    /// The next part of the live state as records, of about `bytes_max` bytes, and where to go on. Other calls may come
    /// between: if each part is appended when it is taken, reading parts and later records gives the state.
    #[must_use]
    pub fn snapshot(
        &self,
        from: Option<&SnapshotCursor>,
        bytes_max: usize,
    ) -> (Vec<Record>, Option<SnapshotCursor>) {
        let _ = (from, bytes_max);
        (Vec::new(), None)
    }

    /// Bytes of the live state as records.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        0
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
