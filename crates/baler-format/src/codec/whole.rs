//! Decoding of what is in memory at once.

use std::io::{self, Read};

use libdeflater::Decompressor;
use memchr::memmem;

use super::{Codec, CodecError, CodecFault, gzip, reader};

/// Decodes an object that is in memory, into at most `limit` bytes.
///
/// One gzip member goes through libdeflate, which is a fifth faster than streaming; the result is the same.
/// Errors: as of [`super::Reader`], and [`CodecFault::TooLarge`].
pub fn decode_whole(codec: Codec, bytes: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    if codec == Codec::Gzip
        && let Some(decoded) = one_member(bytes, limit)
    {
        return Ok(decoded);
    }
    let mut decoded = Vec::new();
    reader(codec, bytes).take(limit as u64 + 1).read_to_end(&mut decoded)?;
    if decoded.len() > limit {
        let fault = CodecFault::TooLarge(limit as u64);
        return Err(CodecError { codec, member: 1, offset: bytes.len() as u64, fault }.into());
    }
    Ok(decoded)
}

/// Decodes one sound gzip member and nothing else; everything else is left to the reader, which finds out what it is.
///
/// The library does not say where the member ended. It ended with the last byte where no second member can begin (its
/// first bytes stand nowhere), the last eight bytes are the checksum and size of what was decoded, and these stand nowhere
/// before: a second member that is equal to the first, and damaged where it begins, would end alike.
pub(crate) fn one_member(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    if bytes.len() < 18 || memmem::find(&bytes[1..], &gzip::MAGIC).is_some() {
        return None;
    }
    let trailer = bytes.len() - 8;
    if memmem::find(bytes, &bytes[trailer..]) != Some(trailer) {
        return None;
    }
    let (crc, size) = bytes[trailer..].split_at(4);
    let (crc, size) = (u32::from_le_bytes(crc.try_into().ok()?), u32::from_le_bytes(size.try_into().ok()?));
    let size = usize::try_from(size).ok()?;
    // No deflated byte makes more than 1,032: a larger size is none.
    if size > limit || size / 1032 > bytes.len() {
        return None;
    }
    let mut decoded = vec![0; size];
    let written = Decompressor::new().gzip_decompress(bytes, &mut decoded).ok()?;
    (written == size && libdeflater::crc32(&decoded) == crc).then_some(decoded)
}
