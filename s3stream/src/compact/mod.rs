//! Compaction: few live objects, and each partition's bytes together.
//!
//! Owns: the one loop that takes snapshots, has a plan made ([`plan`], a pure function) and carries it out ([`run`]).
//! Invariants: an output holds exactly what its inputs held, proved by their content chains while it is written; a
//! commit names its inputs, and the quorum takes it only while they live.
//! This loop looks at the live set objects of all incarnations: with one broker that is its own and its predecessors'.
//! Several brokers would plan the same work and have all but one commit refused; who compacts what is for the issue that
//! brings several brokers. Never: touches what is not in the rows; writes after the incarnation is fenced.

mod execute;
pub(crate) mod plan;
#[cfg(test)]
mod plan_tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_common::{ObjectId, StreamId};

use self::plan::{Crowd, Plan, Rules, SetView, Snapshot};
use crate::storage::{Core, Life};
use crate::stream::ReadError;

/// Streams whose loose stream objects one snapshot looks at; the next one goes on after them.
const CROWDS_AT_ONCE: usize = 64;

/// What the loop remembers between snapshots.
#[derive(Default)]
pub(crate) struct Compactor {
    /// When this process first saw each live set object: ages begin anew with it.
    seen_ms: BTreeMap<ObjectId, u64>,
    /// The last stream whose loose objects were looked at.
    crowd_after: StreamId,
}

/// The compaction loop. Ends with its task.
pub(crate) async fn run(core: Arc<Core>) {
    let mut compactor = Compactor::default();
    loop {
        core.park_when_stopped().await;
        while *core.life.borrow() == Life::Running && compactor.step(&core).await {}
        tokio::time::sleep(Duration::from_millis(core.settings.compact_interval_ms.max(1))).await;
    }
}

impl Compactor {
    /// Makes one plan and carries it out. False when there was nothing to do, or it did not go well.
    pub(crate) async fn step(&mut self, core: &Arc<Core>) -> bool {
        let snapshot = match self.snapshot(core).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                core.observer.compaction_failed(&error.to_string());
                return false;
            }
        };
        let Some(plan) = plan::plan(&snapshot, &Rules::of(&core.settings)) else { return false };
        match execute::execute(core, &snapshot, &plan).await {
            Ok(()) => true,
            Err(error) => {
                tracing::info!(plan = plan.name(), %error, "a compaction was not carried out");
                core.observer.compaction_failed(&error.to_string());
                false
            }
        }
    }

    async fn snapshot(&mut self, core: &Arc<Core>) -> Result<Snapshot, ReadError> {
        let now_ms = core.clock.monotonic_ms();
        let live = core.directory.sets(&*core.objects, &core.reader).await?;
        let before = std::mem::take(&mut self.seen_ms);
        let mut sets = Vec::with_capacity(live.len());
        let mut streams = BTreeMap::new();
        for set in live.iter() {
            let seen_ms = before.get(&set.object.id).copied().unwrap_or(now_ms);
            self.seen_ms.insert(set.object.id, seen_ms);
            for slice in &set.slices {
                streams.entry(slice.stream).or_insert_with(|| core.objects.stream(slice.stream));
            }
            sets.push(SetView { set: set.clone(), age_ms: now_ms.saturating_sub(seen_ms) });
        }
        Ok(Snapshot { sets, streams, crowds: self.crowds(core) })
    }

    /// Streams with many loose stream objects, some at a time, in turn.
    fn crowds(&mut self, core: &Core) -> Vec<Crowd> {
        let least = plan::MERGE_OBJECTS_MIN.min(core.settings.leaf_objects);
        let streams = core.objects.streams_with_loose_objects(least);
        let next = streams.partition_point(|stream| *stream <= self.crowd_after);
        let turn: Vec<StreamId> =
            streams[next..].iter().chain(&streams[..next]).take(CROWDS_AT_ONCE).copied().collect();
        self.crowd_after = turn.last().copied().unwrap_or_default();
        turn.into_iter()
            .filter_map(|stream| {
                let row = core.objects.stream(stream)?;
                Some(Crowd { row, objects: core.objects.stream_objects(stream, row.log_start) })
            })
            .collect()
    }
}

impl Plan {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Plan::Retire(_) => "retire",
            Plan::List(_) => "list",
            Plan::MergeObjects(_) => "merge objects",
            Plan::Split(_) => "split",
            Plan::MergeSets(_) => "merge sets",
        }
    }
}
