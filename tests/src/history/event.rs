//! The lines of a history, as `tests/clients/history.py` and `History.java` write them: one JSON object a line.
//!
//! ```text
//! producer  producer idempotent patient           how a producer was configured
//! invoke    producer n topic partition digest     a record is handed to the client
//! ok        producer n topic partition offset     acknowledged; offset -1: the client was not told where
//! fail      producer n                            definitely not written
//! info      producer n                            outcome unknown
//! read      reader poll topic partition offset epoch ts id digest
//! range     reader topic partition start end      this reader was given all of [start, end), after the faults
//! ends      asked topic partition start end       log start and end, asked for at `asked`
//! time      topic partition ts offset             first offset at or after a time, asked for after the faults
//! out-of-range  reader topic partition offset     a reader was told OFFSET_OUT_OF_RANGE
//! bad-crc   reader topic partition                a reader was given bytes that fail their checksum
//! delete    topic partition before                somebody asked to delete the records below
//! fault     kind phase                            begin, dead, alive, end: see `times`
//! ```
//!
//! Every line has `us`, a monotonic clock in microseconds that all processes of the machine share. A record's id, which
//! is its key, is `producer-n`; `n` counts from 0 within a producer. Strings are plain ASCII without escapes.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;

/// One line, as it is parsed: which fields are there depends on the event.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    event: &'a str,
    us: i64,
    producer: Option<&'a str>,
    n: Option<u32>,
    topic: Option<&'a str>,
    partition: Option<u32>,
    digest: Option<&'a str>,
    offset: Option<i64>,
    reader: Option<&'a str>,
    poll: Option<u64>,
    epoch: Option<i32>,
    ts: Option<i64>,
    id: Option<&'a str>,
    start: Option<u64>,
    end: Option<u64>,
    asked: Option<i64>,
    before: Option<u64>,
    kind: Option<&'a str>,
    phase: Option<&'a str>,
    idempotent: Option<bool>,
    patient: Option<bool>,
}

/// A topic's name and a partition of it.
pub type Place<'a> = (&'a str, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The fault is about to begin.
    Begin,
    /// From here on nothing can be acknowledged: the process is stopped, dead, or must not.
    Dead,
    /// From here on it may again.
    Alive,
    /// The fault is over, and the broker serves.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    Producer {
        producer: &'a str,
        idempotent: bool,
        patient: bool,
    },
    Invoke {
        producer: &'a str,
        n: u32,
        place: Place<'a>,
        digest: u64,
    },
    Ok {
        producer: &'a str,
        n: u32,
        place: Place<'a>,
        offset: Option<u64>,
    },
    Fail {
        producer: &'a str,
        n: u32,
    },
    Info {
        producer: &'a str,
        n: u32,
    },
    Read {
        reader: &'a str,
        poll: u64,
        place: Place<'a>,
        offset: u64,
        epoch: i32,
        ts: i64,
        id: &'a str,
        digest: u64,
    },
    Range {
        reader: &'a str,
        place: Place<'a>,
        start: u64,
        end: u64,
    },
    Ends {
        asked: i64,
        place: Place<'a>,
        start: u64,
        end: u64,
    },
    Time {
        place: Place<'a>,
        ts: i64,
        offset: Option<u64>,
    },
    OutOfRange {
        reader: &'a str,
        place: Place<'a>,
        offset: u64,
    },
    BadCrc {
        reader: &'a str,
        place: Place<'a>,
    },
    Delete {
        place: Place<'a>,
        before: u64,
    },
    Fault {
        kind: &'a str,
        phase: Phase,
    },
}

/// Reads one line: its time in microseconds, and what happened.
///
/// # Errors
/// If it is not a line of the format; the run it comes from then proves nothing.
pub fn parse(text: &str) -> Result<(i64, Event<'_>)> {
    let line: Line<'_> = serde_json::from_str(text)?;
    let event = line.event().with_context(|| format!("event {}", line.event))?;
    Ok((line.us, event))
}

impl<'a> Line<'a> {
    fn event(&self) -> Result<Event<'a>> {
        Ok(match self.event {
            "invoke" => Event::Invoke {
                producer: self.producer()?,
                n: self.n()?,
                place: self.place()?,
                digest: self.digest()?,
            },
            "ok" => Event::Ok {
                producer: self.producer()?,
                n: self.n()?,
                place: self.place()?,
                offset: u64::try_from(want(self.offset, "offset")?).ok(),
            },
            "fail" => Event::Fail { producer: self.producer()?, n: self.n()? },
            "info" => Event::Info { producer: self.producer()?, n: self.n()? },
            "read" => Event::Read {
                reader: self.reader()?,
                poll: want(self.poll, "poll")?,
                place: self.place()?,
                offset: self.offset()?,
                epoch: want(self.epoch, "epoch")?,
                ts: want(self.ts, "ts")?,
                id: want(self.id, "id")?,
                digest: self.digest()?,
            },
            "range" => Event::Range {
                reader: self.reader()?,
                place: self.place()?,
                start: want(self.start, "start")?,
                end: want(self.end, "end")?,
            },
            "ends" => Event::Ends {
                asked: want(self.asked, "asked")?,
                place: self.place()?,
                start: want(self.start, "start")?,
                end: want(self.end, "end")?,
            },
            "time" => Event::Time {
                place: self.place()?,
                ts: want(self.ts, "ts")?,
                offset: u64::try_from(want(self.offset, "offset")?).ok(),
            },
            "out-of-range" => {
                Event::OutOfRange { reader: self.reader()?, place: self.place()?, offset: self.offset()? }
            }
            "bad-crc" => Event::BadCrc { reader: self.reader()?, place: self.place()? },
            "delete" => Event::Delete { place: self.place()?, before: want(self.before, "before")? },
            "fault" => Event::Fault { kind: want(self.kind, "kind")?, phase: self.phase()? },
            "producer" => Event::Producer {
                producer: self.producer()?,
                idempotent: want(self.idempotent, "idempotent")?,
                patient: want(self.patient, "patient")?,
            },
            other => bail!("no such event: {other}"),
        })
    }

    fn producer(&self) -> Result<&'a str> {
        want(self.producer, "producer")
    }

    fn reader(&self) -> Result<&'a str> {
        want(self.reader, "reader")
    }

    fn n(&self) -> Result<u32> {
        want(self.n, "n")
    }

    fn place(&self) -> Result<Place<'a>> {
        Ok((want(self.topic, "topic")?, want(self.partition, "partition")?))
    }

    fn offset(&self) -> Result<u64> {
        u64::try_from(want(self.offset, "offset")?).context("a negative offset")
    }

    fn digest(&self) -> Result<u64> {
        u64::from_str_radix(want(self.digest, "digest")?, 16).context("digest")
    }

    fn phase(&self) -> Result<Phase> {
        Ok(match want(self.phase, "phase")? {
            "begin" => Phase::Begin,
            "dead" => Phase::Dead,
            "alive" => Phase::Alive,
            "end" => Phase::End,
            other => bail!("no such phase: {other}"),
        })
    }
}

fn want<T>(field: Option<T>, name: &str) -> Result<T> {
    field.ok_or_else(|| anyhow!("no field {name}"))
}
