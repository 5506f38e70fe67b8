//! No input makes the wire code allocate more than `4 n + 64 KiB` for a frame of n bytes.
//!
//! kafka-protocol without the guard is killed by these inputs: a Metadata body of four bytes asks for 154 GB, and an
//! allocation that fails aborts the process. So a hole shows here as an abort of the test, or as a bound broken.

// GlobalAlloc is an unsafe trait; this one counts and hands on to the system's.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Debug;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::{HeaderVersion, Message, Request};
use support::{Dice, Visitor, all, crowded_body, lying_bodies, put_varint, random_body, visit};
use tidegate_common::{Offset, batch};
use tidegate_wire::frame::{FrameReader, GROW_MIN, IDLE_ROOM};
use tidegate_wire::guard::{self, COST_BASE, COST_PER_BYTE};
use tidegate_wire::produce::{BatchLimits, parse_produce_batch};
use tidegate_wire::records::{Codec, RecordCaps, Records};
use tidegate_wire::request;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    LIVE.with(|live| {
        live.set(live.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system allocator unchanged; the counters are plain cells that allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both exist while the bytes are moved.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was alive at once during `work`, above what was before.
fn peak<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    ((PEAK.get() - before).cast_unsigned(), result)
}

/// Decodes a body and holds what that took against the bound; for a body that passes, against the guard's own figure.
struct Measure {
    version: i16,
    body: Bytes,
    accepted: bool,
}

impl Visitor for Measure {
    fn visit<T: Request + Message + HeaderVersion + PartialEq + Debug + Default>(&mut self) {
        let (version, n) = (self.version, self.body.len());
        let (checked, cost) = peak(|| guard::check(T::KEY, version, &self.body).map(|c| c.cost));
        assert_eq!(checked, 0, "the walk allocates nothing");
        let (taken, decoded) = peak(|| request::decode::<T>(T::KEY, version, self.body.clone()));
        let allowed = cost.unwrap_or(COST_BASE).min(COST_PER_BYTE * n + COST_BASE);
        let start = &self.body[..n.min(64)];
        assert!(taken <= allowed, "key {} version {version}: {taken} for {n} bytes: {start:02x?}", T::KEY);
        self.accepted = decoded.is_ok();
    }
}

fn measure(key: i16, version: i16, body: &[u8]) -> bool {
    let mut measure = Measure { version, body: Bytes::copy_from_slice(body), accepted: false };
    visit(key, &mut measure);
    measure.accepted
}

#[test]
fn the_allocator_counts() {
    let (taken, _) = peak(|| Vec::<u8>::with_capacity(100_000));
    assert!((100_000..101_000).contains(&taken), "{taken}");
    let (nothing, _) = peak(|| 1 + 1);
    assert_eq!(nothing, 0);
}

#[test]
fn inputs_that_kill_the_decoder_are_refused_at_no_cost() {
    let kills: &[&[u8]] = &[
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x07],
        &[0x80, 0x80, 0x80, 0x80, 0x08],
        &[0x7f; 64],
        &[0xff; 64],
    ];
    for (request, version) in all() {
        for kill in kills {
            measure(request.key, version, kill);
        }
        lying_bodies(request, version, &mut |body| {
            measure(request.key, version, body);
        });
    }
}

#[test]
fn crowds_of_least_elements_keep_to_the_bound() {
    let (mut accepted, mut refused) = (0, 0);
    for (request, version) in all() {
        for array in 0..12 {
            for count in [1, 60, 300, 700, 1_000, 30_000] {
                let Some(body) = crowded_body(request, version, array, count, 0) else { break };
                if measure(request.key, version, &body) { accepted += 1 } else { refused += 1 }
            }
        }
    }
    assert!(accepted > 500 && refused > 100, "both outcomes are met: {accepted} accepted, {refused} refused");
}

#[test]
fn crowds_of_unknown_tags_keep_to_the_bound() {
    for (request, version) in all().filter(|(r, v)| r.is_flexible_in(*v)) {
        for tags in [1, 7, 11, 12, 100, 500, 750, 5_000, 100_000] {
            if let Some(body) = crowded_body(request, version, 0, 1, tags) {
                let accepted = measure(request.key, version, &body);
                assert!(accepted || tags > 500, "{} {version}: {tags} tags", request.name);
                assert!(!accepted || tags < 5_000, "{} {version}: {tags} tags", request.name);
            }
        }
    }
}

#[test]
fn random_and_damaged_bodies_keep_to_the_bound() {
    let mut dice = Dice(11);
    for _ in 0..12 {
        for (request, version) in all() {
            let n = 1 << dice.below(11);
            let noise = dice.bytes(n);
            measure(request.key, version, &noise);
            let mut damaged = random_body(request, version, &mut dice);
            for _ in 0..=dice.below(4) {
                if !damaged.is_empty() {
                    let at = dice.below(damaged.len());
                    damaged[at] = [0xff, 0x7f, 0x80, 0][dice.below(4)];
                }
            }
            measure(request.key, version, &damaged);
        }
    }
}

#[test]
fn heads_take_nothing_but_a_counter_of_the_frame() {
    let mut dice = Dice(5);
    let mut tags = vec![0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff];
    put_varint(&mut tags, 10_000);
    for tag in 0..10_000 {
        put_varint(&mut tags, tag);
        tags.push(0);
    }
    let noise = (0..20_000).map(|_| {
        let n = dice.below(40);
        let mut frame = dice.bytes(n);
        if n > 2 && dice.below(2) == 0 {
            frame[..2].copy_from_slice(&(dice.below(95) as u16).to_be_bytes());
        }
        frame
    });
    for frame in noise.chain([tags]) {
        let mut frame = Bytes::from(frame);
        let (taken, _) = peak(|| request::parse_head(&mut frame));
        assert!(taken <= 64, "{taken}");
    }
}

#[test]
fn announced_frames_reserve_no_more_than_has_arrived() {
    for announced in [1, 1_000, 100_000, 104_857_600_i32] {
        let mut frames = FrameReader::new(104_857_600);
        let mut sent = 0_usize;
        let mut input = announced.to_be_bytes().to_vec();
        input.resize(input.len() + 3_000_000.min(announced as usize - 1), 1);
        while sent < input.len() {
            let (_, room) = peak(|| {
                let buffer = frames.buffer();
                buffer.capacity() - buffer.len()
            });
            assert!(room <= sent.max(GROW_MIN) + 2 * IDLE_ROOM, "{room} after {sent} of {announced}");
            assert!(room > 0);
            let n = room.min(input.len() - sent).min(1500);
            frames.buffer().extend_from_slice(&input[sent..sent + n]);
            sent += n;
            assert_eq!(frames.next_frame(), Ok(None));
        }
    }
    for refused in [*b"GET ", *b"\x16\x03\x01\x02", *b"\xff\xff\xff\xff"] {
        let mut frames = FrameReader::new(104_857_600);
        frames.buffer().extend_from_slice(&refused);
        let (taken, result) = peak(|| frames.next_frame());
        assert!(result.is_err(), "{refused:?}");
        assert_eq!(taken, 0);
    }
}

#[test]
fn admission_of_a_batch_takes_nothing_but_a_counter_of_the_frame() {
    let mut dice = Dice(3);
    let limits = BatchLimits { max_message_bytes: 1 << 20 };
    for _ in 0..20_000 {
        let n = dice.below(200);
        let mut blob = dice.bytes(n);
        if n > 61 {
            blob[16] = 2;
            if dice.below(2) == 0 {
                blob[8..12].copy_from_slice(&(n as u32 - 12).to_be_bytes());
            }
        }
        let blob = Bytes::from(blob);
        let (taken, _) = peak(|| parse_produce_batch(blob, 9, &limits));
        assert!(taken <= 64, "{taken}");
    }
}

#[test]
fn lengths_in_a_record_body_reserve_nothing() {
    let read = |codec: Codec, body: &'static [u8]| {
        let mut batch = batch::build(Offset(0), 1, 0, 0, Bytes::from_static(body));
        batch.head.0[22] = codec.id() as u8;
        let (taken, result) =
            peak(|| Records::new(&batch, &RecordCaps::default())?.next().map(|r| r.is_some()));
        assert!(result.is_err(), "{codec:?}");
        taken
    };
    // Five bytes of snappy that claim to hold 100 MiB, raw and framed.
    assert!(read(Codec::Snappy, &[0x80, 0x80, 0x80, 0x32, 0]) < 20_000);
    let framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x05\x80\x80\x80\x32\0";
    assert!(read(Codec::Snappy, framed) < 20_000);
    // A record that claims 1 GiB: plain, and within a snappy block of sixteen literal bytes.
    assert_eq!(read(Codec::None, &[0xfe, 0xff, 0xff, 0xff, 0x07]), 0);
    let literal = [16, 0x3c, 0xfe, 0xff, 0xff, 0xff, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(read(Codec::Snappy, Vec::leak(literal.to_vec())) < 40_000);
}

#[test]
fn frames_are_slices_of_the_buffer() {
    let mut frames = FrameReader::new(1 << 20);
    let mut input = BytesMut::new();
    for n in [0_usize, 5, 70_000, 1] {
        input.extend_from_slice(&(n as u32).to_be_bytes());
        input.extend_from_slice(&vec![n as u8; n]);
    }
    let mut seen = Vec::new();
    while input.has_remaining() {
        let buffer = frames.buffer();
        let n = (buffer.capacity() - buffer.len()).min(input.len());
        buffer.extend_from_slice(&input.split_to(n));
        let (taken, ()) = peak(|| {
            while let Some(frame) = frames.next_frame().expect("sizes are fine") {
                seen.push((frame.len(), frame.first().copied()));
            }
        });
        assert!(taken < 1_000, "a frame was copied: {taken}");
    }
    assert_eq!(seen, [(0, None), (5, Some(5)), (70_000, Some(112)), (1, Some(1))]);
    assert_eq!(frames.pending(), 0);
}
