//! One zstd frame, or a skippable one.

use std::io::{self, Read};

use ::zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::source::Source;

/// The first bytes of a frame.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Says whether bytes begin a frame or a skippable frame. Source: RFC 8878, sections 3.1.1 and 3.1.2.
pub(super) fn begins(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Decodes one frame.
pub(super) struct Frame {
    state: Decoder<'static>,
    /// What the library wants to be given next. It never gets more, because it forgets how much it wrote when a later
    /// block of the same call is damaged; 0 when the frame has ended.
    wanted: usize,
    /// Whether the library may hold more output: it is asked for that before it is given anything, for the same reason.
    is_full: bool,
}

impl Frame {
    pub(super) fn open() -> io::Result<Self> {
        // 9: the smallest frame header and first block header.
        Ok(Self { state: Decoder::new()?, wanted: 9, is_full: false })
    }

    /// Reads on; 0 at the end of the frame.
    pub(super) fn read<R: Read>(&mut self, source: &mut Source<R>, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.wanted == 0 {
                return Ok(0);
            }
            let input = if self.is_full { &[] } else { source.fill()? };
            let at_end = input.is_empty() && !self.is_full;
            let mut input = InBuffer::around(&input[..input.len().min(self.wanted)]);
            let mut output = OutBuffer::around(&mut *into);
            self.wanted = self.state.run(&mut input, &mut output)?;
            let (read, written) = (input.pos(), output.pos());
            source.consume(read);
            self.is_full = written == into.len();
            if written > 0 {
                return Ok(written);
            }
            if at_end && self.wanted > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
