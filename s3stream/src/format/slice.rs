//! One stream's part of an object, as the footer describes it.
//!
//! Layout, big-endian: `stream u64, from i64, to i64, bytes u64, max_timestamp i64, chain_from 32 bytes,
//! chain_to 32 bytes, sections u16`, per section `tag u16, length u32, content`. Sections:
//! 1 blocks: `count u32`, per block `from i64, to i64, max_timestamp i64, reference` ([`super::reference`]);
//! 2 producers: `base u8, replay_bytes u64, table` (as [`Producers::encode`]);
//! 3 leader epochs: `count u32`, per epoch `epoch i32, start i64`.
//! A tag of 0x8000 or above may be skipped by a reader that does not know it; any other unknown tag is refused.
//! Invariants: `0 <= from < to`; blocks tile `[from, to)`; epochs and their starts increase, within `[from, to)`.

use bytes::{BufMut, Bytes};
use tidegate_common::codec::Reader;
use tidegate_common::epochs::EpochStarts;
use tidegate_common::producers::Producers;
use tidegate_common::{LeaderEpoch, Offset, StreamId, mutant};

use super::chain::Chain;
use super::reference::{BytesRef, REFERENCE_LEN_MIN, Span};
use super::{FormatError, invalid};

/// A slice must bring a new base before the sections since the last one would exceed this (DESIGN.md 3.10).
pub const PRODUCER_REPLAY_BYTES_MAX: u64 = 16 * 1024 * 1024;

const BLOCKS: u16 = 1;
const PRODUCERS: u16 = 2;
const EPOCHS: u16 = 3;
const MAY_SKIP: u16 = 0x8000;
pub(crate) const SLICE_LEN_MIN: usize = 8 + 8 + 8 + 8 + 8 + 32 + 32 + 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceIndex {
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    pub max_timestamp: i64,
    pub chain_from: Chain,
    pub chain_to: Chain,
    pub producers: ProducerSection,
    /// Epochs that begin in this slice, or go on at its start: each with its first offset here.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    pub blocks: Vec<BlockIndex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockIndex {
    pub from: Offset,
    pub to: Offset,
    pub max_timestamp: i64,
    pub bytes: BytesRef,
}

impl BlockIndex {
    /// The span in this very object; `None` when the bytes lie elsewhere, or nowhere.
    #[must_use]
    pub fn here(&self) -> Option<Span> {
        match self.bytes {
            BytesRef::Here(span) => Some(span),
            _ => None,
        }
    }
}

/// Producer state: of the whole stream up to `to` when `base`, else what this slice changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerSection {
    pub base: bool,
    /// Encoded bytes of the sections since the last base, this one included: what a load has to replay.
    pub replay_bytes: u64,
    pub table: Producers,
}

/// What a slice goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceBefore {
    pub chain: Chain,
    pub producers: ProducersBefore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProducersBefore {
    /// The whole state at `from`: the slice becomes a base. Empty at the start of a stream.
    State(Producers),
    /// Earlier slices hold it; their sections since the last base have this many bytes.
    Replay { bytes: u64 },
}

impl SliceBefore {
    /// Before the first batch of a stream.
    #[must_use]
    pub fn first() -> Self {
        Self { chain: Chain::START, producers: ProducersBefore::State(Producers::new()) }
    }
}

impl ProducersBefore {
    #[must_use]
    pub fn is_base(&self) -> bool {
        matches!(self, ProducersBefore::State(_))
    }
}

/// What the writer keeps of a slice: what the commit needs, and what the next slice goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceSummary {
    pub stream: StreamId,
    pub from: Offset,
    pub to: Offset,
    pub bytes: u64,
    pub max_timestamp: i64,
    pub chain_to: Chain,
    pub replay_bytes: u64,
}

impl SliceIndex {
    #[must_use]
    pub fn summary(&self) -> SliceSummary {
        SliceSummary {
            stream: self.stream,
            from: self.from,
            to: self.to,
            bytes: self.bytes,
            max_timestamp: self.max_timestamp,
            chain_to: self.chain_to,
            replay_bytes: self.producers.replay_bytes,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.stream.0);
        out.put_i64(self.from.0);
        out.put_i64(self.to.0);
        out.put_u64(self.bytes);
        out.put_i64(self.max_timestamp);
        out.put_slice(&self.chain_from.0);
        out.put_slice(&self.chain_to.0);
        out.put_u16(3);
        section(out, BLOCKS, |out| {
            out.put_u32(u32::try_from(self.blocks.len()).expect("blocks of one slice are far below 2^32"));
            for block in &self.blocks {
                out.put_i64(block.from.0);
                let cut = mutant::on("delta-truncated");
                out.put_i64(if cut {
                    self.from.0 + i64::from((block.to.0 - self.from.0) as i32)
                } else {
                    block.to.0
                });
                out.put_i64(block.max_timestamp);
                block.bytes.encode(out);
            }
        });
        section(out, PRODUCERS, |out| {
            out.put_u8(u8::from(self.producers.base));
            out.put_u64(self.producers.replay_bytes);
            self.producers.table.encode(out);
        });
        section(out, EPOCHS, |out| {
            out.put_u32(u32::try_from(self.epochs.len()).expect("epochs of one slice are far below 2^32"));
            for (epoch, start) in &self.epochs {
                out.put_i32(epoch.0);
                out.put_i64(start.0);
            }
        });
    }

    pub(crate) fn decode(r: &mut Reader) -> Result<SliceIndex, FormatError> {
        let mut slice = SliceIndex {
            stream: StreamId(r.u64()?),
            from: Offset(r.i64()?),
            to: Offset(r.i64()?),
            bytes: r.u64()?,
            max_timestamp: r.i64()?,
            chain_from: Chain(r.array()?),
            chain_to: Chain(r.array()?),
            producers: ProducerSection::default(),
            epochs: Vec::new(),
            blocks: Vec::new(),
        };
        let mut seen = [false; 3];
        for _ in 0..r.u16()? {
            let (tag, len) = (r.u16()?, r.u32()? as usize);
            let content = Reader::new(r.slice(len)?);
            match tag {
                BLOCKS => slice.blocks = decode_blocks(content)?,
                PRODUCERS => slice.producers = decode_producers(content)?,
                EPOCHS => slice.epochs = decode_epochs(content)?,
                tag if tag >= MAY_SKIP => continue,
                tag => return Err(invalid(format!("slice section {tag} is unknown: use a newer tidegate"))),
            }
            let first = !std::mem::replace(&mut seen[usize::from(tag) - 1], true);
            if !first {
                return Err(invalid(format!("slice section {tag} is there twice")));
            }
        }
        if seen != [true; 3] {
            return Err(invalid("a slice lacks a section"));
        }
        slice.check()?;
        Ok(slice)
    }

    fn check(&self) -> Result<(), FormatError> {
        let Self { stream, from, to, .. } = *self;
        if from < Offset::ZERO || from >= to {
            return Err(invalid(format!("stream {stream}: offsets {from} to {to} are no slice")));
        }
        let (mut at, mut bytes) = (from, 0u64);
        for block in &self.blocks {
            if block.from != at || block.to <= block.from {
                return Err(FormatError::NotDense { stream, expected: at, found: block.from });
            }
            at = block.to;
            bytes = bytes.saturating_add(block.bytes.span().map_or(0, |span| span.len));
        }
        if at != to {
            return Err(FormatError::NotDense { stream, expected: to, found: at });
        }
        if bytes != self.bytes {
            return Err(invalid(format!(
                "stream {stream}: its blocks have {bytes} bytes, not {}",
                self.bytes
            )));
        }
        let increase = self.epochs.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1);
        if !increase || self.epochs.iter().any(|&(_, at)| at < from || at >= to) {
            return Err(invalid(format!("stream {stream}: its leader epochs are out of order")));
        }
        Ok(())
    }

    /// The epochs as a cache.
    #[must_use]
    pub fn epoch_starts(&self) -> EpochStarts {
        EpochStarts::from_entries(self.epochs.clone())
    }
}

/// Bytes of the producer section as stored.
pub(crate) fn producers_len(table: &Producers) -> u64 {
    let mut out = Vec::new();
    table.encode(&mut out);
    (1 + 8 + out.len()) as u64
}

fn section(out: &mut Vec<u8>, tag: u16, content: impl FnOnce(&mut Vec<u8>)) {
    out.put_u16(tag);
    let at = out.len();
    out.put_u32(0);
    content(out);
    let len = u32::try_from(out.len() - at - 4).expect("a section is bounded by its slice, far below 4 GiB");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn decode_blocks(mut r: Reader) -> Result<Vec<BlockIndex>, FormatError> {
    let count = r.count(24 + REFERENCE_LEN_MIN)?;
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        blocks.push(BlockIndex {
            from: Offset(r.i64()?),
            to: Offset(r.i64()?),
            max_timestamp: r.i64()?,
            bytes: BytesRef::decode(&mut r)?,
        });
    }
    ended(&r, "blocks")?;
    Ok(blocks)
}

fn decode_producers(mut r: Reader) -> Result<ProducerSection, FormatError> {
    let base = match r.u8()? {
        0 => false,
        1 => true,
        other => return Err(invalid(format!("{other} does not say whether producers are a base"))),
    };
    let replay_bytes = r.u64()?;
    let left = r.left();
    let raw: Bytes = r.slice(left)?;
    Ok(ProducerSection { base, replay_bytes, table: Producers::decode(raw)? })
}

fn decode_epochs(mut r: Reader) -> Result<Vec<(LeaderEpoch, Offset)>, FormatError> {
    let count = r.count(12)?;
    let mut epochs = Vec::with_capacity(count);
    for _ in 0..count {
        epochs.push((LeaderEpoch(r.i32()?), Offset(r.i64()?)));
    }
    ended(&r, "leader epochs")?;
    Ok(epochs)
}

fn ended(r: &Reader, what: &str) -> Result<(), FormatError> {
    if r.left() == 0 { Ok(()) } else { Err(invalid(format!("{} bytes follow the {what}", r.left()))) }
}
