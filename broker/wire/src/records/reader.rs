//! Reads the records of one batch, one at a time.
//!
//! Invariants: a plain body is read in place; of a compressed one only the current record is held. The reader yields
//! exactly the records that the head counts, or an error.

use std::io::{self, Read};

use tidegate_common::{Batch, Offset};

use super::codec::Codec;
use super::{RecordCaps, RecordsError};
use crate::varint::{Varint, read_u64, unzigzag};

/// How much is asked of a decompressor at once, before it has delivered more.
const STEP: usize = 8 * 1024;
/// Longest variable-length number.
const VARINT_MAX: usize = 10;

/// One record. The slices live until the next one is read.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset: Offset,
    /// The batch's time where that is LogAppendTime.
    pub timestamp: i64,
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// A record's headers, in order, duplicates included. They are parsed while iterating.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    count: u64,
    left: &'a [u8],
}

/// The records of a batch.
pub struct Records<'a> {
    source: Source<'a>,
    base_offset: Offset,
    base_timestamp: i64,
    last_offset_delta: i32,
    log_append_time: Option<i64>,
    /// As the head counts.
    count: i32,
    left: i32,
    previous_delta: i32,
}

impl<'a> Records<'a> {
    /// # Errors
    /// [`RecordsError`] when the codec is unknown or cannot start.
    pub fn new(batch: &'a Batch, caps: &RecordCaps) -> Result<Records<'a>, RecordsError> {
        let head = &batch.head;
        let codec = Codec::of(head).map_err(RecordsError::UnknownCodec)?;
        // A batch that compaction emptied keeps its codec and has no body, which no decompressor takes for its own.
        let codec = if batch.body.is_empty() { Codec::None } else { codec };
        let source = match codec.reader(&batch.body, caps)? {
            None => Source::Plain(&batch.body),
            Some(reader) => Source::Stream(Stream::new(codec, reader, caps.decompressed_bytes)),
        };
        Ok(Records {
            source,
            base_offset: head.base_offset(),
            base_timestamp: head.base_timestamp(),
            last_offset_delta: head.last_offset_delta(),
            log_append_time: head.is_log_append_time().then(|| head.max_timestamp()),
            count: head.records_count(),
            left: head.records_count(),
            previous_delta: -1,
        })
    }

    /// The next record, or `None` after the last.
    ///
    /// # Errors
    /// [`RecordsError`]; the reader is then of no further use.
    #[expect(
        clippy::should_implement_trait,
        reason = "a record borrows the reader, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, RecordsError> {
        if self.left <= 0 {
            return if self.source.peek(1)?.is_empty() {
                Ok(None)
            } else {
                Err(RecordsError::Trailing(self.count))
            };
        }
        self.left -= 1;
        let mut bytes = Fields(self.source.record()?);
        bytes.take(1)?; // attributes, unused in magic 2
        let timestamp_delta = bytes.number()?;
        let offset_delta = i32::try_from(bytes.number()?).map_err(|_| OFFSET_DELTA)?;
        if offset_delta <= self.previous_delta || offset_delta > self.last_offset_delta {
            return Err(OFFSET_DELTA);
        }
        self.previous_delta = offset_delta;
        let key = bytes.nullable()?;
        let value = bytes.nullable()?;
        let headers = u64::try_from(bytes.number()?).map_err(|_| HEADERS)?;
        // A header takes two bytes at least; checked here, so that the count may be shown.
        if headers > bytes.0.len() as u64 / 2 || (headers == 0 && !bytes.0.is_empty()) {
            return Err(HEADERS);
        }
        Ok(Some(Record {
            offset: self.base_offset.plus(offset_delta.into()),
            timestamp: self
                .log_append_time
                .unwrap_or_else(|| self.base_timestamp.saturating_add(timestamp_delta)),
            offset_delta,
            timestamp_delta,
            key,
            value,
            headers: Headers { count: headers, left: bytes.0 },
        }))
    }
}

const OFFSET_DELTA: RecordsError =
    RecordsError::Malformed("offset deltas do not rise within the batch's range");
const HEADERS: RecordsError = RecordsError::Malformed("headers do not fill the record");
const NUMBER: RecordsError = RecordsError::Malformed("a number or length does not fit the record");

impl Headers<'_> {
    /// How many are left.
    #[must_use]
    pub fn count_left(&self) -> u64 {
        self.count
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a [u8], Option<&'a [u8]>), RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let mut bytes = Fields(self.left);
        let header = bytes.header();
        self.left = bytes.0;
        if header.is_err() || (self.count == 0 && !self.left.is_empty()) {
            self.count = 0;
            return Some(Err(HEADERS));
        }
        Some(header)
    }
}

/// Fields of one record, cut off its front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordsError> {
        let (taken, left) = self.0.split_at_checked(n).ok_or(NUMBER)?;
        self.0 = left;
        Ok(taken)
    }

    fn number(&mut self) -> Result<i64, RecordsError> {
        match read_u64(self.0) {
            Varint::Whole { value, len } => {
                self.0 = &self.0[len..];
                Ok(unzigzag(value))
            }
            Varint::Cut | Varint::Long => Err(NUMBER),
        }
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordsError> {
        match self.number()? {
            -1 => Ok(None),
            n => self.take(usize::try_from(n).map_err(|_| NUMBER)?).map(Some),
        }
    }

    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), RecordsError> {
        let key = self.nullable()?.ok_or(HEADERS)?;
        Ok((key, self.nullable()?))
    }
}

enum Source<'a> {
    Plain(&'a [u8]),
    Stream(Stream<'a>),
}

impl Source<'_> {
    /// Up to `n` bytes, fewer only at the end.
    fn peek(&mut self, n: usize) -> Result<&[u8], RecordsError> {
        match self {
            Source::Plain(left) => Ok(&left[..n.min(left.len())]),
            Source::Stream(stream) => stream.peek(n),
        }
    }

    /// The bytes of the next record, without its length.
    fn record(&mut self) -> Result<&[u8], RecordsError> {
        let (value, prefix) = match read_u64(self.peek(VARINT_MAX)?) {
            Varint::Whole { value, len } => (unzigzag(value), len),
            Varint::Cut => return Err(RecordsError::Cut),
            Varint::Long => return Err(NUMBER),
        };
        let len = i32::try_from(value).ok().and_then(|n| usize::try_from(n).ok()).ok_or(NUMBER)?;
        match self {
            Source::Plain(left) => {
                let (record, rest) = left[prefix..].split_at_checked(len).ok_or(RecordsError::Cut)?;
                *left = rest;
                Ok(record)
            }
            Source::Stream(stream) => stream.take(prefix, len),
        }
    }
}

struct Stream<'a> {
    codec: Codec,
    reader: Box<dyn Read + 'a>,
    cap: usize,
    /// Bytes the decompressor may still deliver.
    budget: usize,
    buffer: Vec<u8>,
    /// What of `buffer` is consumed.
    start: usize,
    ended: bool,
}

impl<'a> Stream<'a> {
    fn new(codec: Codec, reader: Box<dyn Read + 'a>, cap: usize) -> Stream<'a> {
        Stream { codec, reader, cap, budget: cap, buffer: Vec::new(), start: 0, ended: false }
    }

    fn peek(&mut self, n: usize) -> Result<&[u8], RecordsError> {
        self.fill(n)?;
        let end = self.buffer.len().min(self.start + n);
        Ok(&self.buffer[self.start..end])
    }

    fn take(&mut self, prefix: usize, len: usize) -> Result<&[u8], RecordsError> {
        self.start += prefix;
        self.fill(len)?;
        let record = self.start..self.start + len;
        if record.end > self.buffer.len() {
            return Err(RecordsError::Cut);
        }
        self.start = record.end;
        Ok(&self.buffer[record])
    }

    /// Has `n` bytes ready if there are as many. Room is made for what has arrived, twice over, not for `n`.
    fn fill(&mut self, n: usize) -> Result<(), RecordsError> {
        if self.buffer.len() - self.start >= n {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        while self.buffer.len() < n && !self.ended {
            let have = self.buffer.len();
            // One byte above the budget, to tell a body that ends there from one that goes on.
            let step = STEP.max(have).min(self.budget + 1);
            self.buffer.resize(have + step, 0);
            let read = self.read_at(have);
            self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
            let read = read?;
            self.ended = read == 0;
            self.budget = self.budget.checked_sub(read).ok_or(RecordsError::TooLarge(self.cap))?;
        }
        Ok(())
    }

    fn read_at(&mut self, at: usize) -> Result<usize, RecordsError> {
        loop {
            match self.reader.read(&mut self.buffer[at..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(RecordsError::Codec { codec: self.codec, message: e.to_string() }),
                Ok(n) => return Ok(n),
            }
        }
    }
}
