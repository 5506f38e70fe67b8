//! The bytes of a segment file.
//!
//! ```text
//! segment := header (one block) record* zeros... footer trailer(64)
//! record  := record header (88) payload, padded to 8; the first record of a group starts at a block
//! footer  := entry per record; entry := offset u32 len u32 kind u8 stream u64 epoch i32 base i64 count u32
//!            [first 61 payload bytes, when the kind has HEAD_BIT and the payload is that long]
//! ```
//! Integers are big-endian, checksums CRC32C. A record names its log, incarnation, segment number and offset, so
//! that bytes of another log, of an older life, of a recycled file, or inside somebody's payload are not taken
//! for it. Each record carries the CRC of the header before it (which covers that record's body CRC): a chain.
//!
//! Blocks (`align_bytes`) exist so that no write ever touches a block that holds acknowledged bytes: a torn
//! write damages only what nobody was promised.
//!
//! Invariants: decoding never panics and never reads past the bytes given. Never: allocates by a decoded length.

/// The format this build writes, and the newest it reads.
pub const FORMAT: u32 = 1;

pub const SEGMENT_HEADER_BYTES: usize = 64;
pub const RECORD_HEADER_BYTES: usize = 88;
pub const TRAILER_BYTES: usize = 64;
/// A footer entry without the payload prefix.
pub const ENTRY_BYTES: usize = 33;
/// How many payload bytes a footer entry keeps for kinds with [`HEAD_BIT`]: a record batch head.
pub const PREFIX_BYTES: usize = 61;
/// Kinds with this bit keep the first [`PREFIX_BYTES`] payload bytes in the footer.
pub const HEAD_BIT: u8 = 0x40;
/// The log's own durable mark: no payload, and the seq of the record before it.
pub const KIND_MARK: u8 = 0xff;

const SEGMENT_MAGIC: u32 = 0x5447_5347; // TGSG
const RECORD_MAGIC: u32 = 0x5447_5243; // TGRC
const TRAILER_MAGIC: u32 = 0x5447_4654; // TGFT

/// What the owner says of a record; the log stores it and gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Any value but [`KIND_MARK`]; see [`HEAD_BIT`].
    pub kind: u8,
    pub stream: u64,
    pub epoch: i32,
    pub base: i64,
    pub count: u32,
}

impl Meta {
    /// Bytes of a footer entry for a record with this meta and payload length.
    #[must_use]
    pub fn entry_bytes(&self, payload_len: usize) -> usize {
        ENTRY_BYTES + if self.keeps_prefix(payload_len) { PREFIX_BYTES } else { 0 }
    }

    fn keeps_prefix(&self, payload_len: usize) -> bool {
        self.kind != KIND_MARK && self.kind & HEAD_BIT != 0 && payload_len >= PREFIX_BYTES
    }
}

/// Rounds up to a multiple of `to`, a power of two.
#[must_use]
pub fn align_up(n: usize, to: usize) -> usize {
    (n + to - 1) & !(to - 1)
}

/// Bytes of a record with `payload_len` bytes of payload, padding to 8 included.
#[must_use]
pub fn record_bytes(payload_len: usize) -> usize {
    align_up(RECORD_HEADER_BYTES + payload_len, 8)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub log: u64,
    pub incarnation: u64,
    pub number: u32,
    pub segment_bytes: u32,
    pub align_bytes: u32,
    /// Header CRC of the record before `first_seq`; 0 when there is none.
    pub prev_crc: u32,
    /// Seq of the first record. Everything before it was durable when this was written.
    pub first_seq: u64,
}

/// A header or trailer that is intact but not ours to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Not one at all: zeros, torn, stale or damaged.
    Invalid(&'static str),
    Newer(u32),
}

impl SegmentHeader {
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = Put::new([0; SEGMENT_HEADER_BYTES]);
        out.put(&SEGMENT_MAGIC.to_be_bytes()).put(&FORMAT.to_be_bytes());
        out.put(&self.log.to_be_bytes()).put(&self.incarnation.to_be_bytes());
        out.put(&self.number.to_be_bytes()).put(&self.segment_bytes.to_be_bytes());
        out.put(&self.align_bytes.to_be_bytes()).put(&self.prev_crc.to_be_bytes());
        out.put(&self.first_seq.to_be_bytes());
        sealed(out.bytes)
    }

    /// # Errors
    /// [`Bad`] when the bytes are not the header of segment `number` of log `log`.
    pub fn decode(bytes: &[u8], log: u64, number: u32) -> Result<Self, Bad> {
        let bytes = checked::<SEGMENT_HEADER_BYTES>(bytes, SEGMENT_MAGIC)?;
        let mut get = Get { bytes, at: 8 };
        let header = SegmentHeader {
            log: get.u64(),
            incarnation: get.u64(),
            number: get.u32(),
            segment_bytes: get.u32(),
            align_bytes: get.u32(),
            prev_crc: get.u32(),
            first_seq: get.u64(),
        };
        if header.log != log || header.number != number {
            return Err(Bad::Invalid("the segment header is of another log or segment"));
        }
        let align = header.align_bytes;
        if !align.is_power_of_two() || !(512..=1 << 20).contains(&align) || header.first_seq == 0 {
            return Err(Bad::Invalid("the segment header is nonsense"));
        }
        Ok(header)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    pub meta: Meta,
    pub log: u64,
    pub incarnation: u64,
    /// Segment number and offset in its file: the record's own place.
    pub number: u32,
    pub offset: u32,
    pub seq: u64,
    /// Highest seq known durable when this was written.
    pub durable_upto: u64,
    pub payload_len: u32,
    pub prev_crc: u32,
    pub body_crc: u32,
}

impl RecordHeader {
    /// The header and its CRC, which the next record carries.
    #[must_use]
    pub fn encode(&self) -> ([u8; RECORD_HEADER_BYTES], u32) {
        let mut out = Put::new([0; RECORD_HEADER_BYTES]);
        out.put(&RECORD_MAGIC.to_be_bytes()).put(&[FORMAT as u8, self.meta.kind, 0, 0]);
        out.put(&self.log.to_be_bytes()).put(&self.incarnation.to_be_bytes());
        out.put(&self.number.to_be_bytes()).put(&self.offset.to_be_bytes());
        out.put(&self.seq.to_be_bytes()).put(&self.meta.stream.to_be_bytes());
        out.put(&self.meta.base.to_be_bytes()).put(&self.durable_upto.to_be_bytes());
        out.put(&self.meta.epoch.to_be_bytes()).put(&self.meta.count.to_be_bytes());
        out.put(&self.payload_len.to_be_bytes()).put(&self.prev_crc.to_be_bytes());
        out.put(&self.body_crc.to_be_bytes());
        let bytes = sealed(out.bytes);
        (bytes, crc_of(&bytes))
    }

    /// Decodes the header at the start of `bytes`; also gives its CRC.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<(Self, u32), &'static str> {
        if bytes.len() < RECORD_HEADER_BYTES || bytes[..4] != RECORD_MAGIC.to_be_bytes() {
            return Err("no record");
        }
        let mut raw = [0; RECORD_HEADER_BYTES];
        raw.copy_from_slice(&bytes[..RECORD_HEADER_BYTES]);
        let crc = crc_of(&raw);
        if stored_crc(&raw) != crc {
            return Err("the record header does not match its checksum");
        }
        if u32::from(raw[4]) != FORMAT || raw[6..8] != [0, 0] {
            return Err("the record is of an unknown format");
        }
        let mut get = Get { bytes: raw, at: 8 };
        let (log, incarnation, number, offset) = (get.u64(), get.u64(), get.u32(), get.u32());
        let (seq, stream, base, durable_upto) = (get.u64(), get.u64(), get.u64(), get.u64());
        let (epoch, count, payload_len, prev_crc, body_crc) =
            (get.u32(), get.u32(), get.u32(), get.u32(), get.u32());
        let meta = Meta { kind: raw[5], stream, epoch: epoch as i32, base: base as i64, count };
        let header = RecordHeader {
            meta,
            log,
            incarnation,
            number,
            offset,
            seq,
            durable_upto,
            payload_len,
            prev_crc,
            body_crc,
        };
        Ok((header, crc))
    }

    /// Whether `bytes` may start a record: cheap, for searching.
    #[must_use]
    pub fn may_start(bytes: &[u8]) -> bool {
        bytes.len() >= RECORD_HEADER_BYTES && bytes[..4] == RECORD_MAGIC.to_be_bytes()
    }

    #[must_use]
    pub fn is_mark(&self) -> bool {
        self.meta.kind == KIND_MARK
    }
}

/// The last 64 bytes of a rolled segment. Written only once all records of the segment are durable, so a valid
/// one proves that they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    pub log: u64,
    pub incarnation: u64,
    pub number: u32,
    /// Header CRC of the last thing in the chain of this segment.
    pub last_crc: u32,
    pub first_seq: u64,
    pub count: u32,
    pub footer_len: u32,
    pub footer_crc: u32,
}

impl Trailer {
    #[must_use]
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = Put::new([0; TRAILER_BYTES]);
        out.put(&TRAILER_MAGIC.to_be_bytes()).put(&FORMAT.to_be_bytes());
        out.put(&self.log.to_be_bytes()).put(&self.incarnation.to_be_bytes());
        out.put(&self.number.to_be_bytes()).put(&self.last_crc.to_be_bytes());
        out.put(&self.first_seq.to_be_bytes()).put(&self.count.to_be_bytes());
        out.put(&self.footer_len.to_be_bytes()).put(&self.footer_crc.to_be_bytes());
        sealed(out.bytes)
    }

    /// Seq of the segment's last record; one below its first when it has none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        (self.first_seq - 1).saturating_add(self.count.into())
    }

    /// The trailer of the segment with `header`, if `bytes` is it.
    #[must_use]
    pub fn decode(bytes: &[u8], header: &SegmentHeader) -> Option<Self> {
        let bytes = checked::<TRAILER_BYTES>(bytes, TRAILER_MAGIC).ok()?;
        let mut get = Get { bytes, at: 8 };
        let trailer = Trailer {
            log: get.u64(),
            incarnation: get.u64(),
            number: get.u32(),
            last_crc: get.u32(),
            first_seq: get.u64(),
            count: get.u32(),
            footer_len: get.u32(),
            footer_crc: get.u32(),
        };
        let ours = (trailer.log, trailer.incarnation, trailer.number, trailer.first_seq)
            == (header.log, header.incarnation, header.number, header.first_seq);
        ours.then_some(trailer)
    }
}

/// One footer entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub offset: u32,
    pub payload_len: u32,
    pub meta: Meta,
    pub prefix: Option<[u8; PREFIX_BYTES]>,
}

impl Entry {
    /// Appends the entry of a record whose payload starts with `payload_start` (at least the prefix, if kept).
    pub fn encode(
        offset: u32,
        payload_len: u32,
        meta: &Meta,
        prefix: Option<&[u8; PREFIX_BYTES]>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&offset.to_be_bytes());
        out.extend_from_slice(&payload_len.to_be_bytes());
        out.push(meta.kind);
        out.extend_from_slice(&meta.stream.to_be_bytes());
        out.extend_from_slice(&meta.epoch.to_be_bytes());
        out.extend_from_slice(&meta.base.to_be_bytes());
        out.extend_from_slice(&meta.count.to_be_bytes());
        if let Some(prefix) = prefix {
            out.extend_from_slice(prefix);
        }
    }

    /// Decodes the entry at the start of `bytes`, giving the bytes after it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (fixed, rest) = bytes.split_at_checked(ENTRY_BYTES)?;
        let mut raw = [0; ENTRY_BYTES];
        raw.copy_from_slice(fixed);
        let mut get = Get { bytes: raw, at: 0 };
        let (offset, payload_len) = (get.u32(), get.u32());
        get.at = 9;
        let (stream, epoch, base, count) = (get.u64(), get.u32(), get.u64(), get.u32());
        let meta = Meta { kind: raw[8], stream, epoch: epoch as i32, base: base as i64, count };
        if !meta.keeps_prefix(payload_len as usize) {
            return Some((Entry { offset, payload_len, meta, prefix: None }, rest));
        }
        let (prefix, rest) = rest.split_first_chunk::<PREFIX_BYTES>()?;
        Some((Entry { offset, payload_len, meta, prefix: Some(*prefix) }, rest))
    }

    /// The prefix that a record's entry keeps, cut from its payload given in two parts.
    #[must_use]
    pub fn prefix_of(meta: &Meta, head: &[u8], body: &[u8]) -> Option<[u8; PREFIX_BYTES]> {
        if !meta.keeps_prefix(head.len() + body.len()) {
            return None;
        }
        let mut out = [0; PREFIX_BYTES];
        let from_head = head.len().min(PREFIX_BYTES);
        out[..from_head].copy_from_slice(&head[..from_head]);
        out[from_head..].copy_from_slice(&body[..PREFIX_BYTES - from_head]);
        Some(out)
    }
}

/// A small file of numbers: magic, format, the fields, CRC in the last four of 64 bytes.
#[must_use]
pub(crate) fn encode_fields<const F: usize>(magic: u32, fields: &[u64; F]) -> [u8; 64] {
    const { assert!(8 + 8 * F + 4 <= 64) };
    let mut out = Put::new([0; 64]);
    out.put(&magic.to_be_bytes()).put(&FORMAT.to_be_bytes());
    for field in fields {
        out.put(&field.to_be_bytes());
    }
    sealed(out.bytes)
}

/// Decodes what [`encode_fields`] wrote.
pub(crate) fn decode_fields<const F: usize>(magic: u32, bytes: &[u8]) -> Result<[u64; F], Bad> {
    const { assert!(8 + 8 * F + 4 <= 64) };
    let mut get = Get { bytes: checked::<64>(bytes, magic)?, at: 8 };
    Ok(std::array::from_fn(|_| get.u64()))
}

struct Put<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Put<N> {
    fn new(bytes: [u8; N]) -> Self {
        Self { bytes, at: 0 }
    }

    fn put(&mut self, part: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + part.len()].copy_from_slice(part);
        self.at += part.len();
        self
    }
}

/// Reads from an array whose layout is fixed, so that it never passes the end.
struct Get<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Get<N> {
    fn u32(&mut self) -> u32 {
        let mut raw = [0; 4];
        raw.copy_from_slice(&self.bytes[self.at..self.at + 4]);
        self.at += 4;
        u32::from_be_bytes(raw)
    }

    fn u64(&mut self) -> u64 {
        let mut raw = [0; 8];
        raw.copy_from_slice(&self.bytes[self.at..self.at + 8]);
        self.at += 8;
        u64::from_be_bytes(raw)
    }
}

/// Sets the CRC in the last four bytes.
fn sealed<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    let crc = crc_of(&bytes);
    bytes[N - 4..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc_of<const N: usize>(bytes: &[u8; N]) -> u32 {
    crc32c::crc32c(&bytes[..N - 4])
}

fn stored_crc<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[N - 4..]);
    u32::from_be_bytes(raw)
}

/// Length, magic, checksum, format: what header and trailer have in common, in every format.
fn checked<const N: usize>(bytes: &[u8], magic: u32) -> Result<[u8; N], Bad> {
    let first = bytes.get(..N).ok_or(Bad::Invalid("too short"))?;
    let mut raw = [0; N];
    raw.copy_from_slice(first);
    if raw[..4] != magic.to_be_bytes() {
        return Err(Bad::Invalid("no header"));
    }
    if stored_crc(&raw) != crc_of(&raw) {
        return Err(Bad::Invalid("the header does not match its checksum"));
    }
    let format = Get { bytes: raw, at: 4 }.u32();
    if format > FORMAT { Err(Bad::Newer(format)) } else { Ok(raw) }
}
