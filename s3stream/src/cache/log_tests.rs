//! The order, the segments and the memory of the log cache.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_common::batch::build;
use tidegate_common::clock::ManualClock;
use tidegate_common::{Offset, Position, StreamId};

use super::log::{Due, LogCache};
use super::tail::Tail;
use crate::budget::{Limits, MemoryBudget, Share};
use crate::storage::{Published, WalRef};
use crate::testing::FakeQuorum;
use crate::tests::wal::TestMedium;

struct Fixture {
    cache: LogCache,
    clock: Arc<ManualClock>,
    budget: MemoryBudget,
    wal: Arc<WalRef>,
    next: Position,
}

fn fixture(limit_bytes: u64, upload_bytes: u64) -> Fixture {
    let budget = MemoryBudget::new(Limits([1 << 30; 7]));
    let clock = Arc::new(ManualClock::default());
    let cache = LogCache::new(&budget, clock.clone(), limit_bytes, upload_bytes);
    let medium = TestMedium::new(FakeQuorum::new(tidegate_common::Lineage(1), 0));
    let wal = Arc::new(WalRef::Live(medium.open(tidegate_common::WalId(1))));
    Fixture { cache, clock, budget, wal, next: Position(1) }
}

impl Fixture {
    fn publish(&mut self, tail: &Arc<Tail>, offset: i64, body: Bytes) {
        let batch = build(Offset(offset), 1, 0, 0, body);
        let (position, wal) = (self.next, self.wal.clone());
        self.next = position.next();
        self.cache.publish(tail, Published { position, wal, head: batch.head, body: Some(batch.body) });
    }
}

fn tail(id: u64) -> Arc<Tail> {
    Arc::new(Tail::new(StreamId(id)))
}

#[test]
fn rounds_cover_a_prefix_in_wal_order_and_free_what_they_covered() {
    let mut f = fixture(1 << 20, 4_000);
    let (one, two) = (tail(1), tail(2));
    for n in 0..10 {
        f.publish(if n % 2 == 0 { &two } else { &one }, n / 2, Bytes::from(vec![7; 300]));
    }
    let first = f.cache.take_round(2_000).expect("a round");
    assert_eq!(first.streams.iter().map(|t| t.stream.0).collect::<Vec<_>>(), [1, 2]);
    let second = f.cache.take_round(1 << 20).expect("the rest");
    assert!(f.cache.take_round(1 << 20).is_none());
    let cut = |round: &super::log::Round| round.cuts.iter().map(|(_, last)| last.0).collect::<Vec<_>>();
    let (first_cut, second_cut) = (cut(&first), cut(&second));
    assert!(first_cut[0] < 10 && second_cut == [10], "{first_cut:?} {second_cut:?}");
    assert_eq!(second.first, first.last + 1);
    let backlog = f.cache.backlog().bytes;
    f.cache.finish_round(&first);
    f.cache.finish_round(&second);
    assert_eq!((backlog, f.cache.backlog().bytes), (first.bytes + second.bytes, 0));
    // Still in memory: it is hot.
    assert_eq!(f.cache.held(), (3_000, 10));
    f.cache.close(&one, false);
    f.cache.close(&two, false);
    assert_eq!(f.cache.held(), (0, 0));
    assert_eq!(f.budget.used(Share::LogCache), 0);
}

#[test]
fn over_the_limit_the_oldest_bodies_go_and_what_is_not_uploaded_stays_as_an_entry() {
    let mut f = fixture(8_000, 1 << 20);
    let one = tail(1);
    for n in 0..100 {
        f.publish(&one, n, Bytes::from(vec![7; 300]));
    }
    let (bytes, entries) = f.cache.held();
    assert!(bytes <= 8_000 + 300 && entries == 100, "{bytes} {entries}");
    let all = |from| one.entries_from(Offset(from), Offset(100), 1 << 20, true).map(|entries| entries.len());
    assert_eq!(all(0), Some(100));
    assert!(one.read(Offset(0), Offset(100), 1 << 20, true).is_none(), "its body is in the WAL only");
    assert!(one.read(Offset(99), Offset(100), 1 << 20, true).is_some());
    while let Some(round) = f.cache.take_round(1 << 20) {
        f.cache.finish_round(&round);
    }
    // Committed: what has no body is read from objects.
    assert_eq!(all(0), None);
    assert_eq!(all(99), Some(1));
    assert!(f.cache.held().1 < 30);
}

#[test]
fn small_bodies_do_not_pin_the_frame_they_came_in() {
    let mut f = fixture(1 << 20, 1 << 20);
    let one = tail(1);
    let frame = Bytes::from(vec![7; 100_000]);
    f.publish(&one, 0, frame.slice(10..200));
    f.publish(&one, 1, frame.slice(300..20_000));
    let cached = one.read(Offset(0), Offset(2), 1 << 20, true).expect("cached");
    let within = |part: &[u8]| frame.as_ptr_range().contains(&part.as_ptr());
    assert!(!within(&cached[0].body) && within(&cached[1].body));
    assert_eq!(cached[0].body, frame.slice(10..200));
}

#[test]
fn a_round_is_due_by_size_by_age_and_on_demand() {
    let mut f = fixture(1 << 20, 2_000);
    let one = tail(1);
    assert_eq!(f.cache.due(5_000), Due::Never);
    f.publish(&one, 0, Bytes::from(vec![7; 300]));
    assert_eq!(f.cache.due(5_000), Due::AtMs(5_000));
    f.clock.advance_ms(4_999);
    assert_eq!(f.cache.due(5_000), Due::AtMs(5_000));
    f.clock.advance_ms(1);
    assert_eq!(f.cache.due(5_000), Due::Now);
    let round = f.cache.take_round(1 << 20).expect("due");
    f.cache.finish_round(&round);
    for n in 1..6 {
        f.publish(&one, n, Bytes::from(vec![7; 300]));
    }
    assert_eq!(f.cache.due(5_000), Due::Now, "by size");
    let round = f.cache.take_round(1 << 20).expect("due");
    f.cache.finish_round(&round);
    f.publish(&one, 6, Bytes::from(vec![7; 300]));
    assert_eq!(f.cache.due(5_000), Due::AtMs(10_000));
    let below = f.cache.want_flush();
    assert_eq!(f.cache.due(5_000), Due::Now, "asked for");
    let round = f.cache.take_round(1 << 20).expect("due");
    f.cache.finish_round(&round);
    assert!(*f.cache.uploaded_below().borrow() >= below);
}

#[test]
fn a_deleted_stream_leaves_no_entry_and_its_positions_still_count() {
    let mut f = fixture(1 << 20, 1 << 20);
    let (one, two) = (tail(1), tail(2));
    f.publish(&one, 0, Bytes::from(vec![7; 300]));
    f.publish(&two, 0, Bytes::from(vec![7; 5_000]));
    f.cache.close(&two, true);
    f.publish(&two, 1, Bytes::from(vec![7; 5_000]));
    assert_eq!(f.cache.held(), (300, 1));
    let round = f.cache.take_round(1 << 20).expect("a round");
    assert_eq!(round.cuts[0].1, Position(3));
    f.cache.finish_round(&round);
    assert_eq!(f.cache.backlog().bytes, 0);
}
