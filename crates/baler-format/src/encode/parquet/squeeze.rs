//! Compression of single pages.

use std::io::Write;

use crate::codec::{Codec, Compression};

use super::EncodeError;

/// Compresses pages one by one.
pub(super) struct Squeeze {
    with: With,
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

impl Squeeze {
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
        Ok(Self { with, packed: Vec::new() })
    }

    /// Compresses a page.
    pub(super) fn squeeze<'a>(&'a mut self, page: &'a [u8]) -> Result<&'a [u8], EncodeError> {
        let packed = &mut self.packed;
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
