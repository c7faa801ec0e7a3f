//! One bzip2 stream.

use std::io::{self, Read};

use bzip2::{Decompress, Status};

use super::source::Source;

/// The first bytes of every stream, before the digit that gives the block size.
pub(super) const MAGIC: [u8; 3] = *b"BZh";

/// Decodes one stream.
pub(super) struct Stream {
    state: Decompress,
    ended: bool,
    fault: Option<bzip2::Error>,
}

impl Stream {
    pub(super) fn open() -> Self {
        Self { state: Decompress::new(false), ended: false, fault: None }
    }

    /// Reads on; 0 at the end of the stream.
    pub(super) fn read<R: Read>(&mut self, source: &mut Source<R>, into: &mut [u8]) -> io::Result<usize> {
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        loop {
            if self.ended {
                return Ok(0);
            }
            let input = source.fill()?;
            let at_end = input.is_empty();
            let (total_in, total_out) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, into);
            let read = (self.state.total_in() - total_in) as usize;
            let written = (self.state.total_out() - total_out) as usize;
            source.consume(read);
            match status {
                Ok(status) => {
                    self.ended = status == Status::StreamEnd;
                    if written > 0 {
                        return Ok(written);
                    }
                    if at_end && !self.ended {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(fault) if written > 0 => {
                    self.fault = Some(fault);
                    return Ok(written);
                }
                Err(fault) => return Err(fault.into()),
            }
        }
    }
}
