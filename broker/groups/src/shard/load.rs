//! From the partition's records to a shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::steps::Expiry;
use crate::api::{Effects, Now};
use crate::config::Config;
use crate::group::{Context, Group};
use crate::records::{self, Key, RecordError};
use crate::{GroupState, Name};

/// A shard that reads its partition. It cannot be asked anything before [`Loading::finish`].
#[derive(Debug)]
pub struct Loading {
    shard: Shard,
    skipped: u64,
}

impl Loading {
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let shard = Shard {
            config,
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            expiry: Expiry::default(),
            live_bytes: 0,
        };
        Self { shard, skipped: 0 }
    }

    /// Takes the record at `offset` of the partition; records come in the order of offsets.
    ///
    /// # Errors
    /// [`RecordError::At`] names the offset of a damaged record of a known kind. The load is then not to be finished.
    pub fn replay(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        offset: i64,
    ) -> Result<(), RecordError> {
        self.take(key, value).map_err(|cause| RecordError::At { offset, cause: Box::new(cause) })
    }

    fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), RecordError> {
        match Key::read(key.ok_or(RecordError::NoKey)?)? {
            Key::Unknown { .. } => self.skipped += 1,
            Key::Offset { group, topic, partition } => match value {
                Some(value) => {
                    let committed = records::offset::decode(value)?;
                    self.change(&group, |group| {
                        group.put_offset(&topic, partition, committed);
                        Ok(())
                    })?;
                }
                None if self.shard.groups.contains_key(&group) => {
                    self.change(&group, |group| {
                        group.remove_offset(&topic, partition);
                        Ok(())
                    })?;
                }
                None => {}
            },
            Key::Group { group } => match value {
                Some(value) => {
                    let decoded = records::group::decode(value)?;
                    self.change(&group, |group| group.load(decoded, Bytes::copy_from_slice(value)))?;
                }
                None if self.shard.groups.contains_key(&group) => {
                    self.change(&group, |group| {
                        group.unload();
                        Ok(())
                    })?;
                }
                None => {}
            },
        }
        Ok(())
    }

    fn change(
        &mut self,
        id: &Name,
        change: impl FnOnce(&mut Group) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let group = self.shard.groups.entry(id.clone()).or_insert_with(|| Group::new(id.clone(), None));
        let before = group.live_bytes();
        change(group)?;
        let (after, over) = (group.live_bytes(), group.written.is_none() && !group.has_offsets());
        self.shard.live_bytes = self.shard.live_bytes - before + after;
        if over {
            self.shard.groups.remove(id);
        }
        Ok(())
    }

    /// Records of kinds that this version does not know.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Groups read so far.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.shard.groups.len()
    }

    /// The partition is read to its end: the sessions of all members start now, so who sends a heartbeat in time goes on
    /// in its generation.
    #[must_use]
    pub fn finish(mut self, now: Now, out: &mut Effects) -> Shard {
        let config = self.shard.config.clone();
        self.shard.expiry = Expiry::starting(now, &config);
        let stable: Vec<Name> = self
            .shard
            .groups
            .values()
            .filter(|g| g.state == GroupState::Stable)
            .map(|g| g.id.clone())
            .collect();
        for id in stable {
            self.shard.with(&id, now, out, |group: &mut Group, context: &mut Context<'_>| {
                group.start_sessions(context)
            });
        }
        self.shard
    }
}
