//! The checker against planted anomalies: each must be named, and a sound history must pass.

use super::event::{Event, Phase, Place, parse};
use super::{Checker, FINDINGS};

const T0: Place<'static> = ("t", 0);
const T1: Place<'static> = ("t", 1);

/// Does something to an event of a pattern; whether it was one.
macro_rules! on {
    ($event:expr, $pattern:pat => $do:expr) => {
        if let $pattern = $event {
            $do;
            true
        } else {
            false
        }
    };
}

/// A history that can be changed before it is judged.
#[derive(Clone)]
struct Story {
    events: Vec<(i64, Event<'static>)>,
}

/// Two idempotent producers and one without idempotence, two partitions, two readers, one kill, one record of unknown
/// outcome that landed, one that was refused, and one of the plain producer that landed twice.
fn sound() -> Story {
    let mut story = Story { events: Vec::new() };
    let mut add = |us, event| story.events.push((us, event));
    let mut logs: [Vec<(&'static str, u64)>; 2] = [Vec::new(), Vec::new()];
    for (producer, idempotent, patient) in
        [("py0", true, true), ("py1", true, true), ("plain", false, true), ("hasty", true, false)]
    {
        add(0, Event::Producer { producer, idempotent, patient });
    }
    for n in 0..40u32 {
        let producer = ["py0", "py1"][n as usize % 2];
        let place = [T0, T1][n as usize / 2 % 2];
        let us = i64::from(n) * 1000;
        add(us, Event::Invoke { producer, n, place, digest: u64::from(n) });
        let log = &mut logs[place.1 as usize];
        add(us + 500, Event::Ok { producer, n, place, offset: Some(log.len() as u64) });
        log.push((format!("{producer}-{n}").leak(), u64::from(n)));
    }
    add(41_000, Event::Invoke { producer: "hasty", n: 0, place: T0, digest: 100 });
    add(42_000, Event::Info { producer: "hasty", n: 0 });
    logs[0].push(("hasty-0", 100));
    add(43_000, Event::Invoke { producer: "py0", n: 99, place: T0, digest: 101 });
    add(43_000, Event::Fail { producer: "py0", n: 99 });
    add(44_000, Event::Invoke { producer: "plain", n: 0, place: T1, digest: 102 });
    logs[1].extend([("plain-0", 102), ("plain-0", 102)]);
    add(45_000, Event::Ok { producer: "plain", n: 0, place: T1, offset: Some(21) });
    for (us, phase) in
        [(20_100, Phase::Begin), (20_200, Phase::Dead), (20_300, Phase::Alive), (20_400, Phase::End)]
    {
        add(us, Event::Fault { kind: "kill", phase });
    }
    for reader in ["tail", "final"] {
        for (place, log) in [T0, T1].into_iter().zip(&logs) {
            for (offset, &(id, digest)) in log.iter().enumerate() {
                let (offset, poll, ts) = (offset as u64, offset as u64 / 4, 1_000 + offset as i64 / 2);
                add(
                    50_000,
                    Event::Read { reader, poll, place, offset, epoch: 1 + poll as i32 / 2, ts, id, digest },
                );
            }
        }
    }
    for (place, log) in [T0, T1].into_iter().zip(&logs) {
        let end = log.len() as u64;
        add(30_001, Event::Ends { asked: 30_000, place, start: 0, end: [16, 14][place.1 as usize] });
        add(55_001, Event::Ends { asked: 55_000, place, start: 0, end });
        add(60_000, Event::Range { reader: "final", place, start: 0, end });
        add(60_000, Event::Time { place, ts: 1_003, offset: Some(6) });
        add(60_000, Event::Time { place, ts: 9_999, offset: None });
    }
    story
}

impl Story {
    fn add(&mut self, us: i64, event: Event<'static>) {
        self.events.push((us, event));
    }

    /// Changes every event that the function takes an interest in; there must be one.
    fn change(&mut self, mut change: impl FnMut(&mut i64, &mut Event<'static>) -> bool) {
        let changed =
            self.events.iter_mut().filter_map(|(us, event)| change(us, event).then_some(())).count();
        assert!(changed > 0, "the story has no such event");
    }

    fn remove(&mut self, is_one: impl Fn(&Event<'static>) -> bool) {
        let before = self.events.len();
        self.events.retain(|(_, event)| !is_one(event));
        assert!(self.events.len() < before, "the story has no such event");
    }

    fn append(&mut self, place: Place<'static>, id: &'static str, digest: u64) {
        let mut end = 0;
        self.change(|_, event| match event {
            Event::Range { place: at, end: old, .. } if *at == place => {
                (end, *old) = (*old, *old + 1);
                true
            }
            _ => false,
        });
        for reader in ["tail", "final"] {
            self.add(
                56_000,
                Event::Read { reader, poll: 90, place, offset: end, epoch: 9, ts: 1_100, id, digest },
            );
        }
        // The times that nothing reaches stay so.
        assert!(end > 0);
    }

    fn found(&self) -> Vec<&'static str> {
        let mut checker = Checker::default();
        for (us, event) in &self.events {
            checker.take(*us, event);
        }
        checker.judge().0.names()
    }
}

fn is_read(event: &Event<'_>, of: Option<&str>, place: Place<'_>, at: u64) -> bool {
    matches!(event, Event::Read { reader, place: p, offset, .. }
        if of.is_none_or(|of| of == *reader) && *p == place && *offset == at)
}

/// Runs a plan on the sound story and names what was found.
fn planted(plan: impl FnOnce(&mut Story)) -> Vec<&'static str> {
    let mut story = sound();
    plan(&mut story);
    story.found()
}

#[test]
fn a_sound_history_has_no_finding() {
    assert_eq!(sound().found(), [""; 0]);
}

#[test]
fn files_may_come_in_any_order() {
    let mut story = sound();
    // Faults and the lines of one reader keep their order, as they do within a file.
    story.events.sort_by_key(|(_, event)| match event {
        Event::Read { .. } => 0,
        Event::Ends { .. } | Event::Range { .. } | Event::Time { .. } => 1,
        Event::Ok { .. } | Event::Info { .. } | Event::Fail { .. } => 2,
        Event::Invoke { .. } => 3,
        _ => 4,
    });
    assert_eq!(story.found(), [""; 0]);
}

#[test]
fn lost_in_the_middle() {
    let found = planted(|s| s.remove(|e| is_read(e, None, T0, 5)));
    assert_eq!(found, ["hole", "int-poll-skip", "lost-write"]);
}

#[test]
fn lost_at_the_end_though_an_early_reader_saw_it() {
    let found = planted(|s| {
        s.remove(|e| is_read(e, Some("final"), T0, 20));
        s.change(|_, e| on!(e, Event::Range { place: T0, end, .. } => *end = 20));
    });
    assert_eq!(found, ["taken-back"]);
}

#[test]
fn acknowledged_beyond_all_that_was_read() {
    let found = planted(|s| {
        for at in [21, 22] {
            s.remove(|e| is_read(e, None, T1, at).then_some(()).is_some());
            if at == 21 {
                s.change(|_, e| on!(e, Event::Range { place: T1, end, .. } => *end = 21));
                s.change(|_, e| on!(e, Event::Ends { place: T1, end, asked: 55_000, .. } => *end = 22));
                break;
            }
        }
    });
    assert_eq!(found, ["unseen"]);
}

#[test]
fn a_copy_of_an_idempotent_record() {
    assert_eq!(planted(|s| s.append(T1, "py0-2", 2)), ["duplicate", "nonmonotonic-send"][..1]);
    assert_eq!(planted(|s| s.append(T0, "hasty-0", 100)), ["duplicate"], "whatever its outcome was");
}

#[test]
fn records_of_one_producer_out_of_order() {
    // Records 4 and 8 of py0 change places, in the log and in their acknowledgements alike.
    let found = planted(|s| {
        s.change(|_, e| match e {
            Event::Ok { producer: "py0", n: 4, offset, .. } => {
                *offset = Some(4);
                true
            }
            Event::Ok { producer: "py0", n: 8, offset, .. } => {
                *offset = Some(2);
                true
            }
            Event::Read { id, digest, .. } if *id == "py0-4" => {
                (*id, *digest) = ("py0-8", 8);
                true
            }
            Event::Read { id, digest, .. } if *id == "py0-8" => {
                (*id, *digest) = ("py0-4", 4);
                true
            }
            _ => false,
        });
    });
    assert_eq!(found, ["nonmonotonic-send"]);
}

#[test]
fn one_offset_with_two_records_over_time() {
    let found = planted(|s| {
        s.change(|_, e| {
            is_read(e, Some("tail"), T0, 3)
                && on!(e, Event::Read { id, digest, .. } => (*id, *digest) = ("py1-21", 21))
        });
    });
    assert!(found.contains(&"inconsistent-offsets"), "{found:?}");
}

#[test]
fn two_acknowledgements_of_one_offset() {
    let found = planted(|s| {
        s.change(|_, e| on!(e, Event::Ok { producer: "py1", n: 5, offset, .. } => *offset = Some(2)))
    });
    assert!(found.contains(&"inconsistent-offsets") && found.contains(&"lost-write"), "{found:?}");
}

#[test]
fn other_bytes_than_were_sent() {
    let found = planted(|s| s.change(|_, e| on!(e, Event::Read { id: "py1-7", digest, .. } => *digest = 0)));
    assert_eq!(found, ["changed"]);
}

#[test]
fn a_record_that_nobody_sent() {
    assert_eq!(planted(|s| s.append(T0, "py7-1", 1)), ["phantom"]);
    assert_eq!(planted(|s| s.append(T0, "garbage", 1)), ["phantom"]);
    assert_eq!(
        planted(|s| s.remove(|e| matches!(e, Event::Invoke { producer: "py0", n: 4, .. }))),
        ["phantom"]
    );
}

#[test]
fn a_record_in_another_partition() {
    let found = planted(|s| {
        s.change(|_, e| on!(e, Event::Invoke { producer: "hasty", place, .. } => *place = ("other", 0)));
    });
    assert_eq!(found, ["misplaced"]);
}

#[test]
fn a_refused_record_that_is_there() {
    assert_eq!(planted(|s| s.append(T0, "py0-99", 101)), ["G1a"]);
}

#[test]
fn bytes_that_fail_their_checksum() {
    assert_eq!(planted(|s| s.add(50_000, Event::BadCrc { reader: "tail", place: T0 })), ["bad-crc"]);
}

#[test]
fn a_leader_epoch_that_goes_back() {
    let found = planted(|s| {
        s.change(|_, e| is_read(e, None, T0, 12) && on!(e, Event::Read { epoch, .. } => *epoch = 0));
    });
    assert_eq!(found, ["epoch-back"]);
}

#[test]
fn a_time_that_gives_another_offset() {
    assert_eq!(
        planted(|s| s.add(60_000, Event::Time { place: T0, ts: 1_003, offset: Some(7) })),
        ["wrong-time"]
    );
    assert_eq!(
        planted(|s| s.add(60_000, Event::Time { place: T0, ts: 9_000, offset: Some(20) })),
        ["wrong-time"]
    );
}

#[test]
fn a_final_range_with_a_hole() {
    let found = planted(|s| s.change(|_, e| on!(e, Event::Range { place: T0, end, .. } => *end += 1)));
    assert_eq!(found, ["hole"]);
}

#[test]
fn offsets_that_are_passed_over() {
    assert_eq!(planted(|s| s.remove(|e| is_read(e, Some("tail"), T0, 5))), ["int-poll-skip"]);
    assert_eq!(planted(|s| s.remove(|e| is_read(e, Some("tail"), T0, 8))), ["poll-skip"]);
}

#[test]
fn offsets_that_go_back() {
    let again = |poll| {
        move |s: &mut Story| {
            let (_, read) = s
                .events
                .iter()
                .find(|(_, e)| is_read(e, Some("tail"), T0, 20))
                .cloned()
                .expect("the last read");
            let Event::Read { reader, place, offset, epoch, ts, id, digest, .. } = read else {
                panic!("a read")
            };
            s.add(51_000, Event::Read { reader, poll, place, offset, epoch, ts, id, digest });
        }
    };
    assert_eq!(planted(again(5)), ["int-nonmonotonic-poll"]);
    assert_eq!(planted(again(6)), ["nonmonotonic-poll"]);
}

#[test]
fn a_log_end_that_goes_back() {
    let found = planted(|s| {
        s.add(10_001, Event::Ends { asked: 10_000, place: T0, start: 0, end: 40 });
        s.add(30_003, Event::Ends { asked: 30_002, place: T0, start: 0, end: 39 });
        s.change(|_, e| on!(e, Event::Ends { place: T0, asked: 30_000 | 55_000, end, .. } => *end = 40));
    });
    assert_eq!(found, ["end-back"]);
}

#[test]
fn a_log_end_without_what_was_acknowledged_or_read() {
    let found =
        planted(|s| s.change(|_, e| on!(e, Event::Ends { place: T0, asked: 30_000, end, .. } => *end = 15)));
    assert_eq!(found, ["stale-end"], "record 29 was acknowledged at offset 15");
    let found =
        planted(|s| s.change(|_, e| on!(e, Event::Ends { place: T0, asked: 55_000, end, .. } => *end = 20)));
    assert_eq!(found, ["stale-end"], "the record of unknown outcome was read at offset 20");
}

#[test]
fn an_offset_out_of_range_that_nobody_deleted() {
    let out = Event::OutOfRange { reader: "tail", place: T0, offset: 7 };
    assert_eq!(planted(|s| s.add(50_000, out)), ["out-of-range"]);
    let delete = Event::Delete { place: T0, before: 8 };
    assert_eq!(
        planted(|s| s.events.extend([(49_000, delete), (50_000, out)])),
        ["wrong-time"],
        "only the times are off now"
    );
}

#[test]
fn a_log_start_that_goes_back_or_ahead_of_what_was_deleted() {
    let delete = Event::Delete { place: T0, before: 3 };
    let found = planted(|s| {
        s.add(25_000, delete);
        s.change(|_, e| on!(e, Event::Ends { place: T0, asked: 30_000, start, .. } => *start = 3));
    });
    assert_eq!(found, ["start-back"]);
    let found = planted(|s| s.change(|_, e| on!(e, Event::Range { place: T0, start, .. } => *start = 1)));
    assert_eq!(found, ["early-delete"]);
}

#[test]
fn what_was_deleted_is_not_missed() {
    let found = planted(|s| {
        s.add(30_500, Event::Delete { place: T0, before: 3 });
        s.change(|_, e| match e {
            Event::Range { place: T0, start, .. } | Event::Ends { place: T0, asked: 55_000, start, .. } => {
                *start = 3;
                true
            }
            _ => false,
        });
        for offset in 0..3 {
            s.remove(|e| is_read(e, None, T0, offset));
        }
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn an_acknowledgement_of_a_dead_broker() {
    let found = planted(|s| {
        s.change(|_, e| matches!(e, Event::Fault { phase: Phase::Alive, .. }) && { true });
        // Sent at 21,000 us and acknowledged at 21,500 us: between death and life now.
        s.change(|us, e| {
            matches!(e, Event::Fault { phase: Phase::Alive | Phase::End, .. }) && {
                *us = 21_600;
                true
            }
        });
    });
    assert_eq!(found, ["late-ack"]);
}

#[test]
fn a_record_without_an_outcome() {
    assert_eq!(planted(|s| s.remove(|e| matches!(e, Event::Info { .. }))), ["unresolved"]);
}

#[test]
fn an_unknown_outcome_of_a_patient_producer() {
    let found = planted(|s| {
        s.change(|_, e| {
            matches!(e, Event::Ok { producer: "py0", n: 4, .. }) && {
                *e = Event::Info { producer: "py0", n: 4 };
                true
            }
        });
    });
    assert_eq!(found, ["unresolved"]);
}

#[test]
fn nothing_acknowledged_between_two_faults() {
    let found = planted(|s| {
        for (us, phase) in
            [(60_000, Phase::Begin), (61_000, Phase::End), (70_000, Phase::Begin), (71_000, Phase::End)]
        {
            s.add(us, Event::Fault { kind: "kill", phase });
        }
    });
    assert_eq!(found, ["idle"]);
}

/// Every finding has a test above that names it: the list and the tests cannot part.
#[test]
fn every_finding_is_planted_in_a_test() {
    let tests = include_str!("tests.rs");
    for (name, _) in FINDINGS {
        assert!(tests.contains(&format!("\"{name}\"")), "no test plants {name}");
    }
}

#[test]
fn a_line_is_read_as_it_is_written() {
    let text = r#"{"event":"ok","us":7,"producer":"py0","n":3,"topic":"t","partition":1,"offset":9}"#;
    let (us, event) = parse(text).expect("a line");
    assert_eq!((us, event), (7, Event::Ok { producer: "py0", n: 3, place: T1, offset: Some(9) }));
    let text = r#"{"event":"info","us":7,"producer":"py0","n":3,"error":"timed \"out\""}"#;
    assert_eq!(parse(text).expect("a line").1, Event::Info { producer: "py0", n: 3 });
}

#[test]
fn a_line_that_is_none_ends_the_run() {
    for text in [
        "",
        "{",
        r#"{"event":"ok","us":1}"#,
        r#"{"event":"other","us":1}"#,
        r#"{"event":"fail","producer":"p","n":1}"#,
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_time_without_service_is_told_for_each_fault() {
    let mut checker = Checker::default();
    for (us, event) in &sound().events {
        checker.take(*us, event);
    }
    let (_, summary) = checker.judge();
    assert_eq!(
        (summary.acknowledged, summary.sent, summary.faults("kill"), summary.faults("pause")),
        (41, 43, 1, 0)
    );
    let text = summary.to_string();
    // From the last acknowledgement at 39.5 ms to that of the plain producer at 45 ms.
    assert!(
        text.contains("fault kill: 1 times, nothing acknowledged for 6 ms (median), 6 ms (longest)"),
        "{text}"
    );
    assert!(text.contains("1 copies without idempotence"), "{text}");
}
