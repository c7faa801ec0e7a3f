//! Decoding of what is in memory at once.

use std::io::{self, Read, Write};

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use memchr::memmem;

use super::{Codec, CodecError, CodecFault, Compression, gzip, reader, writer};

/// Decodes an object that is in memory, into at most `limit` bytes.
///
/// One gzip member goes through libdeflate, which is a fifth faster than streaming; the result is the same.
/// Errors: as of [`super::Reader`], and [`CodecFault::TooLarge`].
pub fn decode_whole(codec: Codec, bytes: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    decode_whole_into(codec, bytes, limit, Vec::new())
}

/// Does the same in the memory of a buffer, whatever that holds.
pub fn decode_whole_into(codec: Codec, bytes: &[u8], limit: usize, mut decoded: Vec<u8>) -> io::Result<Vec<u8>> {
    if codec == Codec::Gzip && one_member(bytes, limit, &mut decoded) {
        return Ok(decoded);
    }
    decoded.clear();
    reader(codec, bytes).take(limit as u64 + 1).read_to_end(&mut decoded)?;
    if decoded.len() > limit {
        let fault = CodecFault::TooLarge(limit as u64);
        return Err(CodecError { codec, member: 1, offset: bytes.len() as u64, fault }.into());
    }
    Ok(decoded)
}

/// Compresses what is in memory into one member.
///
/// Gzip goes through libdeflate, which is faster than streaming. Errors: the codec's library refuses to begin, for want of
/// memory.
pub fn encode_whole(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
    encode_whole_into(compression, bytes, Vec::new())
}

/// Does the same in the memory of a buffer, whatever that holds.
pub fn encode_whole_into(compression: Compression, bytes: &[u8], mut member: Vec<u8>) -> io::Result<Vec<u8>> {
    if compression.codec() == Codec::Gzip
        && let Ok(level) = CompressionLvl::new(i32::from(compression.level()))
    {
        let mut compressor = Compressor::new(level);
        let bound = compressor.gzip_compress_bound(bytes.len());
        // Not more than that: a buffer that is used again would stay twice as large.
        member.clear();
        member.reserve_exact(bound);
        member.resize(bound, 0);
        if let Ok(written) = compressor.gzip_compress(bytes, &mut member) {
            member.truncate(written);
            return Ok(member);
        }
    }
    member.clear();
    let mut out = writer(compression, member)?;
    out.write_all(bytes)?;
    out.finish()
}

/// Decodes one sound gzip member and nothing else; everything else is left to the reader, which finds out what it is.
///
/// The library does not say where the member ended. It ended with the last byte where no second member can begin (its
/// first bytes stand nowhere), the last eight bytes are the checksum and size of what was decoded, and these stand nowhere
/// before: a second member that is equal to the first, and damaged where it begins, would end alike.
///
/// Whether it did; else nothing that it left in `decoded` counts.
pub(crate) fn one_member(bytes: &[u8], limit: usize, decoded: &mut Vec<u8>) -> bool {
    if bytes.len() < 18 || memmem::find(&bytes[1..], &gzip::MAGIC).is_some() {
        return false;
    }
    let trailer = bytes.len() - 8;
    if memmem::find(bytes, &bytes[trailer..]) != Some(trailer) {
        return false;
    }
    let Some((crc, size)) = bytes.last_chunk::<8>().and_then(|trailer| trailer.split_first_chunk::<4>()) else {
        return false;
    };
    let size = size.iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
    // No deflated byte makes more than 1,032: a larger size is none.
    if size > limit || size / 1032 > bytes.len() {
        return false;
    }
    match decoded.capacity() < size {
        // Pages that were never touched are zero already.
        true => *decoded = vec![0; size],
        false => decoded.resize(size, 0),
    }
    let written = Decompressor::new().gzip_decompress(bytes, decoded);
    written.is_ok_and(|written| written == size) && libdeflater::crc32(decoded) == u32::from_le_bytes(*crc)
}
