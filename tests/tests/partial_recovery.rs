//! Damage in a WAL that the quorum has sealed already, and the way out that an operator has (DESIGN.md 3.6).

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::*;
use tidegate_broker::api::Surface;
use tidegate_broker::broker::Broker;
use tidegate_broker::net::connection::Client;
use tidegate_segment::disk::Disk;
use tidegate_segment::{inspect, recover_partial};
use tidegate_tests::peer::{Peer, batch, name, produce, run_loops};
use tidegate_tests::sim::broker::compose;
use tidegate_tests::sim::history::History;
use tidegate_tests::sim::plan::Plan;
use tidegate_tests::sim::world::World;

const TOPIC: &str = "kept";
const LATEST: i64 = -1;

fn peer_of(broker: &Arc<Broker>) -> Peer {
    let client = Client { listener: "PLAINTEXT".into(), host: [127, 0, 0, 1].into() };
    Peer { surface: Surface { broker: Arc::clone(broker), client }, seen: BTreeSet::new(), client_id: "test" }
}

async fn write(peer: &mut Peer) -> i64 {
    let answer: ProduceResponse = peer.call(0, 9, &produce(TOPIC, 0, &batch(1), -1)).await;
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, 0);
    partition.base_offset
}

async fn end_offset(peer: &mut Peer) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(LATEST).with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer: ListOffsetsResponse = peer.call(2, 7, &request).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    answer.topics[0].partitions[0].offset
}

/// The process dies; the machine does not.
fn die(world: &Arc<World>, broker: Arc<Broker>) {
    broker.releaser.die();
    drop(broker);
    world.disk().kill();
    world.new_life();
}

/// A world of which two lives are over: the first wrote eight records, which only its WAL holds; the second had the quorum
/// fix that WAL's end. With the path of the WAL's segment, and where its records' values are.
async fn after_two_lives() -> (Arc<World>, String, Vec<usize>) {
    let world = World::new(7, &Plan::calm(), History::new());
    let first = compose(&world).await.expect("starts");
    let loops = run_loops(&first);
    let mut peer = peer_of(&first);
    let topic =
        CreatableTopic::default().with_name(name(TOPIC)).with_num_partitions(1).with_replication_factor(1);
    let _: CreateTopicsResponse =
        peer.call(19, 7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
    // Nothing reaches the bucket: the WAL alone holds the records.
    world.outage(u64::MAX / 2);
    for offset in 0..8 {
        assert_eq!(write(&mut peer).await, offset);
    }
    loops.abort();
    let _ = loops.await;
    drop(peer);
    die(&world, first);

    // This life has the quorum fix the WAL's end, and dies before anything is uploaded.
    world.heal();
    let second = compose(&world).await.expect("seals what the first life left");
    world.outage(u64::MAX / 2);
    assert_eq!(end_offset(&mut peer_of(&second)).await, 8);
    die(&world, second);

    let segments = world.disk().list("wal").expect("listed");
    let segment = segments.iter().find(|n| n.starts_with("0000000000000001-")).expect("the first life's WAL");
    let path = format!("wal/{segment}");
    let bytes = world.disk().bytes(&path).expect("read");
    let places: Vec<usize> = (0..bytes.len() - 5).filter(|&at| &bytes[at..at + 5] == b"value").collect();
    assert_eq!(places.len(), 8, "one place per record");
    (world, path, places)
}

#[tokio::test]
async fn a_sealed_wal_that_is_damaged_stops_the_start_until_an_operator_gives_up_the_rest() {
    let (world, path, places) = after_two_lives().await;
    world.disk().flip(&path, places[5] as u64, 0x10);

    world.heal();
    let refused = compose(&world).await.err().expect("damage to acknowledged records stops the start");
    assert!(refused.to_string().contains(&path), "names the file: {refused}");
    assert!(refused.to_string().contains("add --floor"), "names what the quorum knows: {refused}");
    world.disk().kill();
    world.new_life();

    let found = inspect(&world.disk(), "wal", 1, 0).expect("inspected");
    assert!(found.damage.is_some() && found.seal.is_some_and(|s| !s.is_partial()));
    let done = recover_partial(&world.disk(), "wal", 1, 0, 0).expect("recovered in part");
    assert!(done.seal.is_partial() && done.seal.end < found.durable);

    let fourth = compose(&world).await.expect("the quorum takes the operator's word");
    assert_eq!(end_offset(&mut peer_of(&fourth)).await, 5, "what lies before the damage is kept");
    let end = world_end(&fourth);
    assert_eq!(end, Some(done.seal.end), "the quorum knows the lower end");
    die(&world, fourth);
    let fifth = compose(&world).await.expect("and keeps to it");
    assert_eq!(end_offset(&mut peer_of(&fifth)).await, 5);
}

#[tokio::test]
async fn a_wal_whose_seal_is_damaged_too_is_given_up_to_what_the_quorum_knows() {
    let (world, path, places) = after_two_lives().await;
    let names = world.disk().list("wal").expect("listed");
    let seal =
        names.iter().find(|n| n.starts_with("0000000000000001") && n.ends_with("seal")).expect("a seal");
    world.disk().flip(&format!("wal/{seal}"), 20, 0x10);
    world.disk().flip(&path, places[5] as u64, 0x10);
    world.heal();
    let refused = compose(&world).await.err().expect("a damaged seal stops the start").to_string();
    world.disk().kill();
    world.new_life();
    let floor = refused.split("--floor ").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok());
    let floor = floor.unwrap_or_else(|| panic!("names the floor: {refused}"));
    recover_partial(&world.disk(), "wal", 1, 0, floor).expect("recovered in part");
    let next = compose(&world).await.expect("the quorum takes the operator's word");
    assert_eq!(end_offset(&mut peer_of(&next)).await, 5);
}

/// Where the quorum has the first WAL end.
fn world_end(broker: &Arc<Broker>) -> Option<u64> {
    use tidegate_metadata::rows::WalState;
    let image = broker.metadata.image();
    let row = image.wals().find(|w| w.id.0 == 1)?;
    match row.state {
        WalState::Sealed { end, .. } => Some(end.0),
        WalState::Open => None,
    }
}
