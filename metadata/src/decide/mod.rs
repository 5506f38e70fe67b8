//! Commands into records: every decision of the metadata quorum.
//!
//! Owns: the rules of DESIGN.md 4. Topics are in `topics`, uploads in `objects`, swaps in `compaction`.
//! Invariants: pure, and the same on every node; a refusal comes with no records; whoever acts for one
//! incarnation is refused once that incarnation is fenced.
//! Never: changes the image; reads a clock; knows what a config value means.

mod compaction;
mod extents;
#[cfg(test)]
mod model;
mod objects;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use tidegate_common::{BrokerId, Incarnation, Offset, Position, StreamId, WalId, mutant};

pub use objects::slices_hash;
pub use topics::{TOPIC_NAME_MAX, check_topic_name};

pub(crate) use topics::folded_name;

use crate::command::{Command, FIRST_LINEAGE, InitCluster, RegisterBroker, leader_epoch};
use crate::image::Image;
use crate::record::Record;
use crate::response::{Opened, Outcome, Refusal, Response};
use crate::rows::{Broker, Cluster, GarbageKey, LineageRow, Owner, WalRow, WalState};

/// Producer ids that one command may take.
pub const PRODUCER_IDS_MAX: u32 = 1_000_000;
/// Producer ids of one region epoch.
const PRODUCER_IDS_PER_REGION: u64 = 1 << 42;
/// Changes of owner of one partition within one region epoch.
const EPOCHS_PER_REGION: i32 = 1 << 20;

type Decision = Result<(Vec<Record>, Response), Refusal>;

/// What `command` changes in `image`, and what its proposer is told. May be called without proposing, to see
/// what the outcome would be.
pub fn handle(command: &Command, image: &Image) -> (Vec<Record>, Outcome) {
    match decide(command, image) {
        Ok((records, response)) => (records, Ok(response)),
        Err(refusal) => (Vec::new(), Err(refusal)),
    }
}

fn decide(command: &Command, image: &Image) -> Decision {
    match command {
        Command::InitCluster(init) => return init_cluster(image, init),
        Command::Tick { now_ms } => return Ok(tick(image, *now_ms)),
        _ if image.cluster.is_none() => return Err(Refusal::Uninitialized),
        _ => {}
    }
    match command {
        Command::InitCluster(_) | Command::Tick { .. } => unreachable!("handled above"),
        Command::RegisterBroker(register) => register_broker(image, register),
        Command::FenceBroker { broker, incarnation } => fence_broker(image, *broker, *incarnation),
        Command::SealWal { wal, executor, end } => seal_wal(image, *wal, *executor, *end),
        Command::TrimWal { wal, incarnation, below } => trim_wal(image, *wal, *incarnation, *below),
        Command::DeleteWal { wal, incarnation } => delete_wal(image, *wal, *incarnation),
        Command::CreateTopic(create) => topics::create(image, create),
        Command::CreatePartitions { topic, count, owners } => {
            topics::create_partitions(image, *topic, *count, owners)
        }
        Command::DeleteTopic { topic } => topics::delete(image, *topic),
        Command::AlterTopicConfigs { topic, change } => topics::alter_configs(image, *topic, change),
        Command::OpenPartitions { incarnation, streams } => open_partitions(image, *incarnation, streams),
        Command::AdvanceLogStart { incarnation, stream, to } => {
            advance_log_start(image, *incarnation, *stream, *to)
        }
        Command::PrepareObjects { incarnation, count, ttl_ms } => {
            objects::prepare(image, *incarnation, *count, *ttl_ms)
        }
        Command::CommitUpload(upload) => objects::commit_upload(image, upload),
        Command::CommitCompaction(compaction) => compaction::commit(image, compaction),
        Command::RetireObjects { incarnation, objects } => compaction::retire(image, *incarnation, objects),
        Command::ConfirmDeleted { incarnation, objects } => confirm_deleted(image, *incarnation, objects),
        Command::AllocateProducerIds { incarnation, count } => producer_ids(image, *incarnation, *count),
        Command::AlterBrokerConfigs { broker, expected_version, configs } => {
            alter_broker_configs(image, *broker, *expected_version, configs)
        }
        Command::LowerSeal { wal, executor, end } => lower_seal(image, *wal, *executor, *end),
    }
}

/// The broker that this incarnation is the live one of.
fn live(image: &Image, incarnation: Incarnation) -> Result<BrokerId, Refusal> {
    image.live.get(&incarnation).copied().ok_or(Refusal::Fenced(incarnation))
}

/// Knows nothing of keys and values: the broker checked them.
fn alter_broker_configs(
    image: &Image,
    broker: Option<BrokerId>,
    expected: u64,
    configs: &BTreeMap<String, String>,
) -> Decision {
    let row = image.broker_configs(broker);
    let current = row.map_or(0, |row| row.version);
    if expected != current {
        return Err(Refusal::ConfigVersion { expected, current });
    }
    if row.map_or(configs.is_empty(), |row| row.configs == *configs) {
        return Ok((vec![], Response::ConfigsAltered { version: current }));
    }
    let record = Record::BrokerConfigsReplaced { broker, configs: configs.clone() };
    Ok((vec![record], Response::ConfigsAltered { version: current + 1 }))
}

fn init_cluster(image: &Image, init: &InitCluster) -> Decision {
    if let Some(cluster) = image.cluster() {
        return if cluster.id == init.cluster_id {
            Ok((vec![], Response::Done))
        } else {
            Err(Refusal::OtherCluster { is: cluster.id, asked: init.cluster_id })
        };
    }
    let cluster = Cluster {
        id: init.cluster_id,
        region_epoch: 1,
        lineage: FIRST_LINEAGE,
        features: init.features.clone(),
    };
    let lineage = LineageRow {
        lineage: FIRST_LINEAGE,
        first_object: image.counters.object,
        bucket: init.bucket.clone(),
        prefix: init.prefix.clone(),
    };
    Ok((vec![Record::ClusterInitialized { cluster, lineage }], Response::Done))
}

fn tick(image: &Image, now_ms: i64) -> (Vec<Record>, Response) {
    if now_ms <= image.time_ms {
        return (vec![], Response::Done);
    }
    let expired = image.prepared.values().filter(|row| row.deadline_ms <= now_ms);
    let mut records = vec![Record::TimeAdvanced { now_ms }];
    records.extend(expired.map(|row| Record::PreparedDropped { id: row.id }));
    (records, Response::Done)
}

fn register_broker(image: &Image, register: &RegisterBroker) -> Decision {
    if let Some(row) = image.broker(register.broker)
        && row.nonce == register.nonce
    {
        return if row.fenced {
            Err(Refusal::Fenced(row.incarnation))
        } else {
            Ok((vec![], Response::Registered { incarnation: row.incarnation, wal: row.wal }))
        };
    }
    let (mut incarnation, wal) = (image.counters.incarnation, image.counters.wal);
    if mutant::on("incarnation-reused") {
        incarnation = image.broker(register.broker).map_or(incarnation, |before| before.incarnation);
    }
    let broker = Broker {
        id: register.broker,
        incarnation,
        wal,
        nonce: register.nonce,
        endpoints: register.endpoints.clone(),
        rack: register.rack.clone(),
        fenced: false,
    };
    let wal_row = WalRow {
        id: wal,
        lineage: current_lineage(image),
        broker: register.broker,
        incarnation,
        state: WalState::Open,
        trim: Position(1),
    };
    let records = vec![Record::BrokerRegistered(broker), Record::WalCreated(wal_row)];
    Ok((records, Response::Registered { incarnation, wal }))
}

fn fence_broker(image: &Image, broker: BrokerId, incarnation: Incarnation) -> Decision {
    let row = image.broker(broker).ok_or(Refusal::BrokerUnavailable(broker))?;
    let current = row.incarnation == incarnation && !row.fenced;
    let records = if current { vec![Record::BrokerFenced { broker }] } else { vec![] };
    Ok((records, Response::Done))
}

fn seal_wal(image: &Image, wal: WalId, executor: Incarnation, end: Position) -> Decision {
    live(image, executor)?;
    let row = image.wal(wal).ok_or(Refusal::UnknownWal(wal))?;
    if let WalState::Sealed { end, executor } = row.state {
        return Ok((vec![], Response::Sealed { end, executor }));
    }
    if image.is_live(row.incarnation) {
        return Err(Refusal::WalInUse { wal, incarnation: row.incarnation });
    }
    if end.next() < row.trim {
        return Err(Refusal::SealBelowTrim { wal, end, trim: row.trim });
    }
    Ok((vec![Record::WalSealed { wal, end, executor }], Response::Sealed { end, executor }))
}

fn lower_seal(image: &Image, wal: WalId, executor: Incarnation, end: Position) -> Decision {
    live(image, executor)?;
    let row = image.wal(wal).ok_or(Refusal::UnknownWal(wal))?;
    match row.state {
        WalState::Open => Err(Refusal::WalNotSealed { wal }),
        WalState::Sealed { end: sealed, executor } if sealed <= end => {
            Ok((vec![], Response::Sealed { end: sealed, executor }))
        }
        WalState::Sealed { .. } if end.next() < row.trim => {
            Err(Refusal::SealBelowTrim { wal, end, trim: row.trim })
        }
        WalState::Sealed { .. } => {
            Ok((vec![Record::WalSealed { wal, end, executor }], Response::Sealed { end, executor }))
        }
    }
}

fn trim_wal(image: &Image, wal: WalId, incarnation: Incarnation, below: Position) -> Decision {
    live(image, incarnation)?;
    let row = image.wal(wal).ok_or(Refusal::UnknownWal(wal))?;
    let below = match row.state {
        WalState::Open if row.incarnation == incarnation => below,
        WalState::Open => return Err(Refusal::WalInUse { wal, incarnation: row.incarnation }),
        WalState::Sealed { end, .. } => below.min(end.next()),
    };
    let records = if below > row.trim { vec![Record::WalTrimmed { wal, below }] } else { vec![] };
    Ok((records, Response::Done))
}

fn delete_wal(image: &Image, wal: WalId, incarnation: Incarnation) -> Decision {
    live(image, incarnation)?;
    match image.wal(wal) {
        // Deleted before: the answer to the first time was lost.
        None if wal < image.counters.wal => Ok((vec![], Response::Done)),
        None => Err(Refusal::UnknownWal(wal)),
        Some(row) if row.deletable() => Ok((vec![Record::WalDeleted { wal }], Response::Done)),
        Some(row) if row.state == WalState::Open => Err(Refusal::WalNotSealed { wal }),
        Some(_) => Err(Refusal::WalNotTrimmed(wal)),
    }
}

fn open_partitions(image: &Image, incarnation: Incarnation, streams: &[StreamId]) -> Decision {
    let broker = live(image, incarnation)?;
    let unsealed: std::collections::BTreeMap<Incarnation, WalId> =
        image.wals().filter(|w| w.state == WalState::Open).map(|w| (w.incarnation, w.id)).collect();
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let outcomes = streams.iter().map(|&stream| {
        let opened = open_partition(image, &unsealed, Owner { broker, incarnation }, stream);
        if let Ok((_, Some(record))) = &opened
            && seen.insert(stream)
        {
            records.push(record.clone());
        }
        (stream, opened.map(|(opened, _)| opened))
    });
    let outcomes = outcomes.collect();
    Ok((records, Response::Opened(outcomes)))
}

fn open_partition(
    image: &Image,
    unsealed: &std::collections::BTreeMap<Incarnation, WalId>,
    owner: Owner,
    stream: StreamId,
) -> Result<(Opened, Option<Record>), Refusal> {
    let row = image.stream(stream).ok_or(Refusal::UnknownStream(stream))?;
    let mut opened = Opened {
        leader_epoch: row.leader_epoch,
        log_start: row.log_start,
        so_end: row.so_end,
        committed_end: row.committed_end,
    };
    match row.owner {
        Some(before) if before == owner => return Ok((opened, None)),
        Some(before) if image.is_live(before.incarnation) => {
            return Err(Refusal::NotOwner { stream, owner: before.incarnation });
        }
        // The end of what the owner before acknowledged is known only once its WAL is sealed.
        Some(before) => {
            if let Some(&wal) = unsealed.get(&before.incarnation) {
                return Err(Refusal::WalNotSealed { wal });
            }
        }
        None => {}
    }
    let n = row.leader_epoch.0 % EPOCHS_PER_REGION + 1;
    if n >= EPOCHS_PER_REGION {
        return Err(Refusal::EpochsExhausted(stream));
    }
    opened.leader_epoch = leader_epoch(region_epoch(image), n.cast_unsigned());
    Ok((opened, Some(Record::PartitionOpened { stream, owner, leader_epoch: opened.leader_epoch })))
}

fn advance_log_start(image: &Image, incarnation: Incarnation, stream: StreamId, to: Offset) -> Decision {
    live(image, incarnation)?;
    let row = image.stream(stream).ok_or(Refusal::UnknownStream(stream))?;
    match row.owner {
        Some(owner) if owner.incarnation == incarnation => {}
        owner => {
            let owner = owner.map_or(Incarnation(0), |o| o.incarnation);
            return Err(Refusal::NotOwner { stream, owner });
        }
    }
    let log_start = row.log_start.max(to);
    let records = if to > row.log_start { vec![Record::LogStartAdvanced { stream, to }] } else { vec![] };
    Ok((records, Response::LogStart { log_start }))
}

fn confirm_deleted(image: &Image, incarnation: Incarnation, objects: &[GarbageKey]) -> Decision {
    live(image, incarnation)?;
    let present = objects.iter().filter(|key| image.garbage.contains_key(*key));
    Ok((present.map(|key| Record::GarbageDeleted { key: *key }).collect(), Response::Done))
}

fn producer_ids(image: &Image, incarnation: Incarnation, count: u32) -> Decision {
    live(image, incarnation)?;
    if count == 0 || count > PRODUCER_IDS_MAX {
        return Err(too_many("producer ids", count.into(), PRODUCER_IDS_MAX.into()));
    }
    let n = if mutant::on("producer-ids-reissued") { 0 } else { image.counters.producer };
    if n + u64::from(count) > PRODUCER_IDS_PER_REGION {
        return Err(too_many(
            "producer ids of this region epoch",
            n + u64::from(count),
            PRODUCER_IDS_PER_REGION,
        ));
    }
    let first = ((u64::from(region_epoch(image)) << 42) | n).cast_signed();
    Ok((vec![Record::ProducerIdsAllocated { count }], Response::ProducerIds { first, count }))
}

fn too_many(what: &str, asked: u64, limit: u64) -> Refusal {
    Refusal::TooMany { what: what.to_owned(), asked, limit }
}

fn region_epoch(image: &Image) -> u32 {
    image.cluster().map_or(1, |cluster| cluster.region_epoch)
}

fn current_lineage(image: &Image) -> tidegate_common::Lineage {
    image.cluster().map_or(FIRST_LINEAGE, |cluster| cluster.lineage)
}
