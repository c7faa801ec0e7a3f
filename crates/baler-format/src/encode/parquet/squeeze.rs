//! Compression of single pages.
//!
//! What it takes is made once for each thread, not for each column: a megabyte or more of tables and buffers.

use std::io::Write;

use crate::codec::{Codec, Compression};

use super::EncodeError;
use super::page::{self, Page};

/// Makes pages, one by one.
pub(super) struct Press {
    with: With,
    page: Vec<u8>,
    packed: Vec<u8>,
}

enum With {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Lz4,
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    Gzip(libdeflater::Compressor),
    Brotli(u8),
}

fn failed(what: impl std::fmt::Display) -> EncodeError {
    EncodeError::Internal(format!("a page cannot be compressed: {what}"))
}

impl Press {
    /// Errors: Parquet has no such compression.
    pub(super) fn new(compression: Compression) -> Result<Self, EncodeError> {
        let level = compression.level();
        let with = match compression.codec() {
            Codec::None => With::None,
            Codec::Snappy => With::Snappy(Box::new(snap::raw::Encoder::new())),
            Codec::Lz4 => With::Lz4,
            Codec::Zstd => With::Zstd(Box::new(zstd::bulk::Compressor::new(i32::from(level)).map_err(failed)?)),
            Codec::Gzip => {
                let level = libdeflater::CompressionLvl::new(i32::from(level));
                let level = level.map_err(|_| failed("gzip has no such level"))?;
                With::Gzip(libdeflater::Compressor::new(level))
            }
            Codec::Brotli => With::Brotli(level),
            Codec::Bzip2 => return Err(failed("Parquet has no bzip2")),
        };
        Ok(Self { with, page: Vec::new(), packed: Vec::new() })
    }

    /// Begins a page; returns where its bytes go.
    pub(super) fn page(&mut self) -> &mut Vec<u8> {
        self.page.clear();
        &mut self.page
    }

    /// Returns the page that was begun, compressed and behind its header, and how many bytes that would be without compression.
    pub(super) fn pressed(&mut self, kind: Page) -> Result<(Vec<u8>, usize), EncodeError> {
        let plain = self.page.len();
        let packed = self.squeeze()?;
        let mut out = Vec::with_capacity(page::HEADER_BYTES + packed.len());
        page::header(&mut out, kind, plain, packed.len());
        let header = out.len();
        out.extend_from_slice(packed);
        Ok((out, header + plain))
    }

    fn squeeze(&mut self) -> Result<&[u8], EncodeError> {
        let (page, packed) = (&self.page, &mut self.packed);
        let room = match &mut self.with {
            With::None | With::Brotli(_) => 0,
            With::Snappy(_) => snap::raw::max_compress_len(page.len()),
            With::Lz4 => lz4_flex::block::get_maximum_output_size(page.len()),
            With::Zstd(_) => zstd::zstd_safe::compress_bound(page.len()),
            With::Gzip(with) => with.gzip_compress_bound(page.len()),
        };
        if packed.len() < room {
            packed.resize(room, 0);
        }
        let length = match &mut self.with {
            With::None => return Ok(page),
            With::Snappy(with) => with.compress(page, packed).map_err(failed)?,
            With::Lz4 => lz4_flex::block::compress_into(page, packed).map_err(failed)?,
            With::Zstd(with) => with.compress_to_buffer(page, &mut packed[..]).map_err(failed)?,
            With::Gzip(with) => with.gzip_compress(page, packed).map_err(failed)?,
            With::Brotli(level) => {
                packed.clear();
                let mut writer = brotli::CompressorWriter::new(&mut *packed, 64 << 10, u32::from(*level), 22);
                writer.write_all(page).map_err(failed)?;
                drop(writer);
                packed.len()
            }
        };
        Ok(&packed[..length])
    }
}
