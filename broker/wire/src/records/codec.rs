//! Compression: the five codecs of Kafka, as streams.
//!
//! Invariants: what a decompressor reserves is bounded by constants (lz4: a block of at most 4 MiB; gzip: its window),
//! by the caller's window cap (zstd), or by the compressed bytes at hand (snappy).

use std::io::{self, Read, Write};

use tidegate_common::BatchHead;

use super::{RecordCaps, RecordsError};

/// Bits 0 to 2 of a batch's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec of a batch, or the number that is none.
    ///
    /// # Errors
    /// The unknown number.
    pub fn of(head: &BatchHead) -> Result<Codec, u8> {
        Codec::ALL.get(usize::from(head.codec())).copied().ok_or(head.codec())
    }

    /// Its number in the attributes.
    #[must_use]
    pub fn id(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// A reader of the plain bytes, or `None` where the body is plain.
    pub(super) fn reader<'a>(
        self,
        body: &'a [u8],
        caps: &RecordCaps,
    ) -> Result<Option<Box<dyn Read + 'a>>, RecordsError> {
        let failed = |e: io::Error| RecordsError::Codec { codec: self, message: e.to_string() };
        Ok(Some(match self {
            Codec::None => return Ok(None),
            Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(body)),
            Codec::Snappy => Box::new(Snappy::new(body, caps.decompressed_bytes)),
            Codec::Lz4 => Box::new(lz4::Decoder::new(body).map_err(failed)?),
            Codec::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(failed)?;
                decoder.window_log_max(caps.zstd_window_log).map_err(failed)?;
                Box::new(decoder)
            }
        }))
    }

    /// Compresses at Kafka's default levels.
    ///
    /// # Errors
    /// What the codec's library reports.
    pub(super) fn compress(self, plain: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Codec::None => Ok(plain),
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&plain)?;
                encoder.finish()
            }
            Codec::Snappy => xerial(&plain),
            Codec::Lz4 => {
                // Kafka's own writer: blocks of 64 KiB, independent of each other.
                let mut encoder = lz4::EncoderBuilder::new()
                    .block_size(lz4::BlockSize::Max64KB)
                    .block_mode(lz4::BlockMode::Independent)
                    .build(Vec::new())?;
                encoder.write_all(&plain)?;
                let (out, result) = encoder.finish();
                result.map(|()| out)
            }
            Codec::Zstd => zstd::stream::encode_all(&plain[..], 3),
        }
    }
}

/// The frame header of snappy-java: magic, version 1, compatible with 1.
const XERIAL: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_MAGIC: usize = 8;
/// What snappy-java puts in one block.
const XERIAL_BLOCK: usize = 32 * 1024;
/// A snappy element of three bytes copies at most 64, so a block never expands by more than this.
const SNAPPY_RATIO: usize = 22;

fn xerial(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = XERIAL.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK) {
        let packed = encoder.compress_vec(block)?;
        let len = u32::try_from(packed.len()).expect("a block is about 32 KiB");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

/// Snappy in snappy-java's framing, which all but a few old clients use, or one raw block.
struct Snappy<'a> {
    left: &'a [u8],
    framed: bool,
    cap: usize,
    block: Vec<u8>,
    /// How much of `block` is read.
    at: usize,
}

impl<'a> Snappy<'a> {
    fn new(body: &'a [u8], cap: usize) -> Snappy<'a> {
        let framed = body.starts_with(&XERIAL[..XERIAL_MAGIC]);
        Snappy { left: body, framed, cap, block: Vec::new(), at: 0 }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let packed = if self.framed { self.next_framed()? } else { std::mem::take(&mut self.left) };
        self.at = 0;
        self.block.clear();
        if packed.is_empty() {
            return Ok(());
        }
        let len = snap::raw::decompress_len(packed)?;
        if len > packed.len().saturating_mul(SNAPPY_RATIO) || len > self.cap {
            return Err(io::Error::other(format!("a block of {} bytes claims to hold {len}", packed.len())));
        }
        self.block.resize(len, 0);
        snap::raw::Decoder::new().decompress(packed, &mut self.block)?;
        Ok(())
    }

    fn next_framed(&mut self) -> io::Result<&'a [u8]> {
        let cut = || io::Error::other("the framing is cut off");
        // Streams may be concatenated.
        while self.left.starts_with(&XERIAL[..XERIAL_MAGIC]) {
            self.left = self.left.get(XERIAL.len()..).ok_or_else(cut)?;
        }
        if self.left.is_empty() {
            return Ok(&[]);
        }
        let (len, rest) = self.left.split_first_chunk::<4>().ok_or_else(cut)?;
        let (packed, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or_else(cut)?;
        self.left = rest;
        Ok(packed)
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if self.left.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
