//! One brotli stream; streams do not concatenate.

use std::io::{self, Read};

use ::brotli::enc::StandardAlloc;
use ::brotli::{BrotliDecompressStream, BrotliResult, BrotliState};

use super::source::Source;

/// The library is given no more than this at once: what it decoded of one piece is lost when the piece ends in damage.
const PIECE: usize = 1 << 10;

/// Decodes the stream.
pub(super) struct Stream {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    ended: bool,
    damaged: bool,
}

impl Stream {
    pub(super) fn open() -> Self {
        let alloc = StandardAlloc::default;
        // Strict: windows of RFC 7932, at most 16 MiB; the later extension has a gibibyte.
        Self { state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())), ended: false, damaged: false }
    }

    /// Reads on; 0 at the end of the stream.
    pub(super) fn read<R: Read>(&mut self, source: &mut Source<R>, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.damaged {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a brotli stream"));
            }
            if self.ended {
                return Ok(0);
            }
            let input = source.fill()?;
            let input = &input[..input.len().min(PIECE)];
            let at_end = input.is_empty();
            let (mut available_in, mut read) = (input.len(), 0);
            let (mut available_out, mut written, mut total) = (into.len(), 0, 0);
            let result = BrotliDecompressStream(
                &mut available_in,
                &mut read,
                input,
                &mut available_out,
                &mut written,
                into,
                &mut total,
                &mut self.state,
            );
            source.consume(read);
            match result {
                BrotliResult::ResultSuccess => self.ended = true,
                BrotliResult::ResultFailure => self.damaged = true,
                BrotliResult::NeedsMoreInput if at_end && written == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }
}
