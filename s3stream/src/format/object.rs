//! One file format for stream set objects (slices of many streams) and stream objects (one slice).
//!
//! Layout: header ([`super::stamp`]); blocks, each the concatenation of whole record batches; the footer; the
//! trailer. Footer, big-endian: `a copy of the header, slices u32`, per slice as in [`super::slice`], in
//! ascending stream order. Trailer: `footer_len u64, footer crc32c u32, version u32, magic 8 bytes "TGFOOTER",
//! crc32c u32 of the 24 bytes before it`.
//! Invariants: blocks tile the bytes between header and footer; each block lies under its own CRC32C, which is
//! in the footer; a batch whose own CRC does not match is refused before it is written.
//! Never: looks into a record.

use bytes::{BufMut, Bytes};
use tidegate_common::codec::Reader;
use tidegate_common::epochs::EpochStarts;
use tidegate_common::producers::Producers;
use tidegate_common::{Batch, Offset, StreamId, mutant};

use super::chain::Chain;
use super::chunks::Chunks;
use super::reference::{BytesRef, Span};
use super::slice::{
    BlockIndex, ProducerSection, ProducersBefore, SLICE_LEN_MIN, SliceBefore, SliceIndex, SliceSummary,
    producers_len,
};
use super::stamp::{HEADER_LEN, Kind, Stamp};
use super::{FORMAT_VERSION, FormatError, check, invalid};

pub const TRAILER_LEN: usize = 28;
const MAGIC: [u8; 8] = *b"TGFOOTER";

/// An object ready to be put: the same bytes however often it is sent.
#[derive(Debug, Clone)]
pub struct EncodedObject {
    pub stamp: Stamp,
    pub kind: Kind,
    pub chunks: Vec<Bytes>,
    pub size: u64,
    /// CRC32C of the whole.
    pub checksum: u32,
    /// Empty for a leaf.
    pub slices: Vec<SliceSummary>,
}

impl EncodedObject {
    /// The first bytes of the object: what tells it from any other write of the same key.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_LEN] {
        self.stamp.header(self.kind)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    pub stamp: Stamp,
    /// In ascending stream order, one per stream.
    pub slices: Vec<SliceIndex>,
    /// Bytes of footer and trailer: what a cache of footers should charge.
    pub len: u64,
}

impl Footer {
    #[must_use]
    pub fn slice(&self, stream: StreamId) -> Option<&SliceIndex> {
        self.slices.binary_search_by_key(&stream, |s| s.stream).ok().map(|i| &self.slices[i])
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FooterOrMore {
    Footer(Footer),
    /// The footer is longer: this many bytes from the end of the object are needed.
    MoreNeeded(u64),
}

/// Builds an object in memory. After an error it can only be dropped.
pub struct ObjectWriter {
    stamp: Stamp,
    block_bytes: usize,
    out: Chunks,
    checksum: u32,
    slices: Vec<SliceIndex>,
    broken: bool,
}

impl ObjectWriter {
    /// `block_bytes` is the size at which a block is closed; one batch above it is a block of its own.
    #[must_use]
    pub fn new(stamp: Stamp, block_bytes: usize) -> Self {
        let mut out = Chunks::default();
        let header = stamp.header(Kind::Data);
        out.put_slice(&header);
        Self { stamp, block_bytes, out, checksum: crc32c::crc32c(&header), slices: Vec::new(), broken: false }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.out.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Adds the next stream's slice. Streams come in ascending order; batches are dense and in offset order.
    ///
    /// # Errors
    /// [`FormatError`] when order or density is broken, there is no batch, or a batch fails its own CRC.
    pub fn slice<'a>(
        &mut self,
        stream: StreamId,
        before: &SliceBefore,
        batches: impl IntoIterator<Item = &'a Batch>,
    ) -> Result<SliceSummary, FormatError> {
        let result = self.write_slice(stream, before, batches);
        self.broken |= result.is_err();
        result
    }

    /// Adds one slice that holds what adjacent slices of one stream held: compaction. Each part brings its
    /// index and its batches; the chain is computed anew and must end where the part's did, so the output is
    /// proved to be the input.
    ///
    /// # Errors
    /// As [`ObjectWriter::slice`]; [`FormatError::Chain`] when batches are not the ones of the part's index.
    pub fn rewrite<'a, B>(
        &mut self,
        parts: impl IntoIterator<Item = (&'a SliceIndex, B)>,
    ) -> Result<SliceSummary, FormatError>
    where
        B: IntoIterator<Item = &'a Batch>,
    {
        let result = self.write_parts(parts);
        self.broken |= result.is_err();
        result
    }

    /// # Errors
    /// [`FormatError::Invalid`] when there is no slice, or an earlier call failed.
    pub fn finish(mut self) -> Result<EncodedObject, FormatError> {
        if self.broken || self.slices.is_empty() {
            return Err(invalid("an object without a whole slice"));
        }
        let mut footer = Vec::new();
        footer.put_slice(&self.stamp.header(Kind::Data));
        footer.put_u32(u32::try_from(self.slices.len()).expect("slices of one object are far below 2^32"));
        for slice in &self.slices {
            slice.encode(&mut footer);
        }
        let trailer = trailer(&footer);
        for part in [footer.as_slice(), &trailer] {
            self.checksum = crc32c::crc32c_append(self.checksum, part);
        }
        self.out.put_body(&Bytes::from(footer));
        self.out.put_slice(&trailer);
        Ok(EncodedObject {
            stamp: self.stamp,
            kind: Kind::Data,
            size: self.out.len(),
            chunks: self.out.finish(),
            checksum: self.checksum,
            slices: self.slices.iter().map(SliceIndex::summary).collect(),
        })
    }

    fn write_slice<'a>(
        &mut self,
        stream: StreamId,
        before: &SliceBefore,
        batches: impl IntoIterator<Item = &'a Batch>,
    ) -> Result<SliceSummary, FormatError> {
        let mut open = OpenSlice::new(stream, before.chain);
        for batch in batches {
            self.push(&mut open, batch)?;
        }
        let changes = open.changes.clone();
        let producers = match &before.producers {
            ProducersBefore::State(state) => {
                let mut table = state.clone();
                table.merge(&changes);
                ProducerSection { base: true, replay_bytes: producers_len(&table), table }
            }
            ProducersBefore::Replay { bytes } => {
                let replay_bytes = bytes.saturating_add(producers_len(&changes));
                ProducerSection { base: false, replay_bytes, table: changes }
            }
        };
        self.close(open, producers)
    }

    fn write_parts<'a, B>(
        &mut self,
        parts: impl IntoIterator<Item = (&'a SliceIndex, B)>,
    ) -> Result<SliceSummary, FormatError>
    where
        B: IntoIterator<Item = &'a Batch>,
    {
        let mut parts = parts.into_iter().peekable();
        let first = parts.peek().ok_or_else(|| invalid("no slice to rewrite"))?.0;
        let mut open = OpenSlice::new(first.stream, first.chain_from);
        let mut producers: Option<ProducerSection> = None;
        for (index, batches) in parts {
            let stream = open.stream;
            if index.stream != stream {
                return Err(invalid(format!("stream {} rewritten as stream {stream}", index.stream)));
            }
            let at = open.next.unwrap_or(index.from);
            if index.from != at {
                return Err(FormatError::NotDense { stream, expected: at, found: index.from });
            }
            if index.chain_from != open.chain {
                return Err(FormatError::Chain { stream, at });
            }
            for batch in batches {
                self.push(&mut open, batch)?;
            }
            if open.next != Some(index.to) || open.chain != index.chain_to {
                return Err(FormatError::Chain { stream, at: index.to });
            }
            producers = Some(fold(producers, &index.producers));
        }
        let producers = producers.ok_or_else(|| invalid("no slice to rewrite"))?;
        self.close(open, producers)
    }

    fn push(&mut self, open: &mut OpenSlice, batch: &Batch) -> Result<(), FormatError> {
        let (stream, base) = (open.stream, batch.head.base_offset());
        batch.check_crc().map_err(|e| invalid(format!("stream {stream}, offset {base}: {e}")))?;
        let expected = open.next.unwrap_or(base);
        if base != expected || base < Offset::ZERO || batch.head.last_offset_delta() < 0 {
            return Err(FormatError::NotDense { stream, expected, found: base });
        }
        if batch.head.batch_length() as i64 != (batch.len() - tidegate_common::batch::LOG_OVERHEAD) as i64 {
            return Err(invalid(format!("stream {stream}, offset {base}: the batch length lies")));
        }
        if open.block.len > 0 && open.block.len + batch.len() as u64 > self.block_bytes as u64 {
            self.close_block(open);
        }
        if open.block.len == 0 {
            open.block = OpenBlock::new(self.out.len(), base);
        }
        self.out.put_slice(&batch.head.0);
        self.out.put_body(&batch.body);
        open.block.crc = crc32c::crc32c_append(open.block.crc, &batch.head.0);
        open.block.crc = crc32c::crc32c_append(open.block.crc, &batch.body);
        open.block.len += batch.len() as u64;
        open.block.max_timestamp = open.block.max_timestamp.max(batch.head.max_timestamp());
        open.chain = open.chain.next(&batch.head);
        open.changes.apply(&batch.head);
        open.epochs.note(batch.head.leader_epoch(), base);
        open.next = Some(batch.head.next_offset());
        Ok(())
    }

    fn close_block(&mut self, open: &mut OpenSlice) {
        let block = &open.block;
        // Combining costs less than a second pass over the bytes.
        self.checksum = crc32c::crc32c_combine(self.checksum, block.crc, block.len as usize);
        open.blocks.push(BlockIndex {
            from: block.from,
            to: open.next.expect("a block that is closed has a batch"),
            max_timestamp: block.max_timestamp,
            bytes: BytesRef::Here(Span { at: block.at, len: block.len, crc: block.crc }),
        });
        open.block = OpenBlock::default();
    }

    fn close(
        &mut self,
        mut open: OpenSlice,
        producers: ProducerSection,
    ) -> Result<SliceSummary, FormatError> {
        let stream = open.stream;
        if self.slices.last().is_some_and(|last| last.stream >= stream) {
            return Err(invalid(format!("stream {stream} is out of order in its object")));
        }
        if open.block.len > 0 {
            self.close_block(&mut open);
        }
        let (Some(first), Some(to)) = (open.blocks.first(), open.next) else {
            return Err(invalid(format!("stream {stream}: a slice without a batch")));
        };
        let slice = SliceIndex {
            stream,
            from: first.from,
            to,
            bytes: open.blocks.iter().filter_map(|b| b.bytes.span()).map(|span| span.len).sum(),
            max_timestamp: open.blocks.iter().map(|b| b.max_timestamp).max().unwrap_or(i64::MIN),
            chain_from: open.chain_from,
            chain_to: open.chain,
            producers,
            epochs: open.epochs.entries().to_vec(),
            blocks: open.blocks,
        };
        let summary = slice.summary();
        self.slices.push(slice);
        Ok(summary)
    }
}

/// Decodes the footer from the last bytes of an object of `size` bytes.
///
/// # Errors
/// [`FormatError`] when the bytes are not the end of an object, damaged, or of a newer format.
pub fn decode_footer(size: u64, tail: &Bytes) -> Result<FooterOrMore, FormatError> {
    let held = tail.len() as u64;
    if size < (2 * HEADER_LEN + 4 + TRAILER_LEN) as u64 || held > size {
        return Err(invalid(format!("{size} bytes are no object")));
    }
    if held < TRAILER_LEN as u64 {
        return Ok(FooterOrMore::MoreNeeded(TRAILER_LEN as u64));
    }
    let at = tail.len() - TRAILER_LEN;
    let mut r = Reader::new(tail.slice(at..));
    let (footer_len, footer_crc, version) = (r.u64()?, r.u32()?, r.u32()?);
    if r.array::<8>()? != MAGIC {
        return Err(FormatError::Magic("the trailer"));
    }
    check("the trailer", r.u32()?, crc32c::crc32c(&tail[at..tail.len() - 4]))?;
    if version > FORMAT_VERSION {
        return Err(FormatError::NewerFormat { what: "the object", found: version, known: FORMAT_VERSION });
    }
    let needed = footer_len.saturating_add(TRAILER_LEN as u64);
    if needed.saturating_add(HEADER_LEN as u64) > size {
        return Err(invalid(format!("a footer of {footer_len} bytes in an object of {size}")));
    }
    if held < needed {
        return Ok(FooterOrMore::MoreNeeded(needed));
    }
    let start =
        tail.len() - usize::try_from(needed).map_err(|_| invalid("a footer above the address space"))?;
    let raw = tail.slice(start..at);
    check("the footer", footer_crc, crc32c::crc32c(&raw))?;
    Ok(FooterOrMore::Footer(read_footer(raw, size - needed, needed)?))
}

/// Checks a block's bytes and cuts them into batches, which share them.
///
/// # Errors
/// [`FormatError`] when the bytes are not the block that the index describes.
pub fn decode_block(index: &BlockIndex, bytes: Bytes) -> Result<Vec<Batch>, FormatError> {
    let Some(span) = index.bytes.span() else {
        return if bytes.is_empty() { Ok(Vec::new()) } else { Err(invalid("bytes of a gap")) };
    };
    if bytes.len() as u64 != span.len {
        return Err(invalid(format!("a block of {} bytes has {}", span.len, bytes.len())));
    }
    if !mutant::on("block-crc-ignored") {
        check("the block", span.crc, crc32c::crc32c(&bytes))?;
    }
    let (mut rest, mut batches, mut at) = (bytes, Vec::new(), index.from);
    while !rest.is_empty() {
        let batch = Batch::parse(&mut rest).map_err(|e| invalid(format!("a block at offset {at}: {e}")))?;
        let (base, next) = (batch.head.base_offset(), batch.head.next_offset());
        if base < at || next <= base || next > index.to {
            return Err(invalid(format!(
                "a block to {} holds offsets {base} to {next} after {at}",
                index.to
            )));
        }
        at = next;
        batches.push(batch);
    }
    Ok(batches)
}

/// Computes the chain of `batches` from `before`: compare it with the chain stored at the other end.
pub fn verify_chain<'a>(before: Chain, batches: impl IntoIterator<Item = &'a Batch>) -> Chain {
    batches.into_iter().fold(before, |chain, batch| chain.next(&batch.head))
}

fn read_footer(raw: Bytes, footer_at: u64, len: u64) -> Result<Footer, FormatError> {
    let (kind, stamp) = Stamp::decode(&raw)?;
    if kind != Kind::Data {
        return Err(invalid("the object holds no slices"));
    }
    let mut r = Reader::new(raw.slice(HEADER_LEN..));
    let count = r.count(SLICE_LEN_MIN)?;
    let mut slices: Vec<SliceIndex> = Vec::with_capacity(count);
    let mut at = HEADER_LEN as u64;
    for _ in 0..count {
        let slice = SliceIndex::decode(&mut r)?;
        if slices.last().is_some_and(|last| last.stream >= slice.stream) {
            return Err(invalid(format!("stream {} is out of order in its object", slice.stream)));
        }
        for span in slice.blocks.iter().filter_map(BlockIndex::here) {
            if span.at != at {
                return Err(invalid(format!("a block at byte {} where {at} was due", span.at)));
            }
            at = span.range().end;
        }
        slices.push(slice);
    }
    if r.left() != 0 || at != footer_at {
        return Err(invalid(format!("blocks end at byte {at}, the footer begins at {footer_at}")));
    }
    Ok(Footer { stamp, slices, len })
}

pub(super) fn trailer(footer: &[u8]) -> [u8; TRAILER_LEN] {
    let mut out = Vec::with_capacity(TRAILER_LEN);
    out.put_u64(footer.len() as u64);
    out.put_u32(crc32c::crc32c(footer));
    out.put_u32(FORMAT_VERSION);
    out.put_slice(&MAGIC);
    out.put_u32(crc32c::crc32c(&out));
    let mut trailer = [0; TRAILER_LEN];
    trailer.copy_from_slice(&out);
    trailer
}

/// The section of two adjacent slices as one.
fn fold(older: Option<ProducerSection>, newer: &ProducerSection) -> ProducerSection {
    match older {
        Some(older) if !newer.base => {
            // What a load replays before the merged slice stays; the merged table takes the place of both.
            let before = older.replay_bytes.saturating_sub(producers_len(&older.table));
            let mut table = older.table;
            table.merge(&newer.table);
            let replay_bytes = before.saturating_add(producers_len(&table));
            ProducerSection { base: older.base, replay_bytes, table }
        }
        _ => newer.clone(),
    }
}

struct OpenSlice {
    stream: StreamId,
    chain_from: Chain,
    chain: Chain,
    next: Option<Offset>,
    block: OpenBlock,
    blocks: Vec<BlockIndex>,
    changes: Producers,
    epochs: EpochStarts,
}

impl OpenSlice {
    fn new(stream: StreamId, chain: Chain) -> Self {
        Self {
            stream,
            chain_from: chain,
            chain,
            next: None,
            block: OpenBlock::default(),
            blocks: Vec::new(),
            changes: Producers::new(),
            epochs: EpochStarts::new(),
        }
    }
}

/// A block that is being written; `len` 0 means none is.
struct OpenBlock {
    at: u64,
    from: Offset,
    len: u64,
    crc: u32,
    max_timestamp: i64,
}

impl OpenBlock {
    fn new(at: u64, from: Offset) -> Self {
        Self { at, from, len: 0, crc: 0, max_timestamp: i64::MIN }
    }
}

impl Default for OpenBlock {
    fn default() -> Self {
        Self::new(0, Offset::ZERO)
    }
}
