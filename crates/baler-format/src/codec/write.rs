//! Writing: one member, with every checksum that the codec has.

use std::io::{self, Write};

use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};

use super::{Codec, Compression};

/// Brotli's window, as a power of two: its own default.
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 64 << 10;
/// A snappy stream with nothing in it. Source: snappy's framing format, section 4.1.
const SNAPPY_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Compresses what is written to it; [`Writer::finish`] ends the member.
///
/// A writer that is dropped without `finish` leaves a stream without an end, which readers refuse (all but snappy's: see
/// [`super`]).
pub struct Writer<W> {
    state: State,
    inner: W,
    written: u64,
}

/// Every state writes into memory, from where [`Writer`] hands it on: the libraries end their streams when they are dropped
/// and swallow what goes wrong then.
enum State {
    Plain,
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Bzip2(bzip2::write::BzEncoder<Vec<u8>>),
    Lz4(FrameEncoder<Vec<u8>>),
    Snappy(Box<snap::write::FrameEncoder<Vec<u8>>>),
}

/// Compresses into a writer.
///
/// Errors: the codec's library refuses to begin, for want of memory.
pub fn writer<W: Write>(compression: Compression, inner: W) -> io::Result<Writer<W>> {
    let level = u32::from(compression.level());
    let out = Vec::new();
    let state = match compression.codec() {
        Codec::None => State::Plain,
        Codec::Gzip => State::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::new(level))),
        Codec::Zstd => {
            let mut encoder = zstd::Encoder::new(out, i32::from(compression.level()))?;
            encoder.include_checksum(true)?;
            State::Zstd(encoder)
        }
        Codec::Brotli => {
            State::Brotli(Box::new(brotli::CompressorWriter::new(out, BROTLI_BUFFER, level, BROTLI_WINDOW)))
        }
        Codec::Bzip2 => State::Bzip2(bzip2::write::BzEncoder::new(out, bzip2::Compression::new(level))),
        Codec::Lz4 => {
            let info = FrameInfo::new().block_size(BlockSize::Max1MB).content_checksum(true);
            State::Lz4(FrameEncoder::with_frame_info(info, out))
        }
        Codec::Snappy => State::Snappy(Box::new(snap::write::FrameEncoder::new(out))),
    };
    Ok(Writer { state, inner, written: 0 })
}

impl<W: Write> Writer<W> {
    /// Ends the member and returns the inner writer, which is not flushed.
    ///
    /// Errors: of the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        let rest = match self.state {
            State::Plain => Vec::new(),
            State::Gzip(encoder) => encoder.finish()?,
            State::Zstd(encoder) => encoder.finish()?,
            State::Brotli(encoder) => encoder.into_inner(),
            State::Bzip2(encoder) => encoder.finish()?,
            State::Lz4(encoder) => encoder.finish()?,
            State::Snappy(encoder) => {
                let rest = encoder.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
                if rest.is_empty() && self.written == 0 { SNAPPY_IDENTIFIER.to_vec() } else { rest }
            }
        };
        self.inner.write_all(&rest)?;
        Ok(self.inner)
    }

    /// Returns the number of compressed bytes handed on so far; some are still held back.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let made = match &mut self.state {
            State::Plain => return Ok(()),
            State::Gzip(encoder) => encoder.get_mut(),
            State::Zstd(encoder) => encoder.get_mut(),
            State::Brotli(encoder) => encoder.get_mut(),
            State::Bzip2(encoder) => encoder.get_mut(),
            State::Lz4(encoder) => encoder.get_mut(),
            State::Snappy(encoder) => encoder.get_mut(),
        };
        self.inner.write_all(made)?;
        self.written += made.len() as u64;
        made.clear();
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = match &mut self.state {
            State::Plain => {
                let n = self.inner.write(bytes)?;
                self.written += n as u64;
                return Ok(n);
            }
            State::Gzip(encoder) => encoder.write(bytes),
            State::Zstd(encoder) => encoder.write(bytes),
            State::Brotli(encoder) => encoder.write(bytes),
            State::Bzip2(encoder) => encoder.write(bytes),
            State::Lz4(encoder) => encoder.write(bytes),
            State::Snappy(encoder) => encoder.write(bytes),
        }?;
        self.hand_on()?;
        Ok(n)
    }

    /// Hands on what is compressed; ends no block, so that flushing costs no compression.
    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.inner.flush()
    }
}
