//! One gzip member: header, deflated bytes, CRC-32 and size.
//!
//! Written out instead of taken from the library so that the bytes inflated before a fault are not lost with it.
//! Source: RFC 1952.

use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::source::Source;

/// The first bytes of every member.
pub(super) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

const HAS_HEADER_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Inflates one member.
#[derive(Debug)]
pub(super) struct Member {
    inflate: Decompress,
    crc: Crc,
    fault: Option<String>,
}

impl Member {
    /// Reads the header.
    pub(super) fn open<R: Read>(source: &mut Source<R>) -> io::Result<Self> {
        let mut crc = Crc::new();
        let mut byte = |source: &mut Source<R>| -> io::Result<u8> {
            let byte = source.byte()?;
            crc.update(&[byte]);
            Ok(byte)
        };
        for wanted in MAGIC {
            if byte(source)? != wanted {
                return Err(damaged("not a gzip header"));
            }
        }
        let flags = byte(source)?;
        if flags & RESERVED != 0 {
            return Err(damaged("reserved flags are set in the header"));
        }
        // Time, extra flags, operating system.
        for _ in 0..6 {
            byte(source)?;
        }
        if flags & HAS_EXTRA != 0 {
            let length = u16::from_le_bytes([byte(source)?, byte(source)?]);
            for _ in 0..length {
                byte(source)?;
            }
        }
        for text in [HAS_NAME, HAS_COMMENT] {
            if flags & text != 0 {
                while byte(source)? != 0 {}
            }
        }
        if flags & HAS_HEADER_CRC != 0 {
            let sum = crc.sum() & 0xffff;
            let stored = u16::from_le_bytes([source.byte()?, source.byte()?]);
            if u32::from(stored) != sum {
                return Err(damaged("the checksum of the header is wrong"));
            }
        }
        Ok(Self { inflate: Decompress::new(false), crc: Crc::new(), fault: None })
    }

    /// Reads on; 0 at the end of the member, when its checksum and size are right.
    pub(super) fn read<R: Read>(&mut self, source: &mut Source<R>, into: &mut [u8]) -> io::Result<usize> {
        if let Some(fault) = self.fault.take() {
            return Err(damaged(&fault));
        }
        loop {
            let input = source.fill()?;
            let at_end = input.is_empty();
            let (total_in, total_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, into, FlushDecompress::None);
            // Both are far below what a buffer can hold.
            let read = (self.inflate.total_in() - total_in) as usize;
            let written = (self.inflate.total_out() - total_out) as usize;
            source.consume(read);
            self.crc.update(&into[..written]);
            match status {
                Ok(Status::StreamEnd) if written == 0 => return self.check(source).map(|()| 0),
                Ok(Status::Ok | Status::BufError | Status::StreamEnd) if written > 0 => return Ok(written),
                Ok(Status::Ok | Status::BufError | Status::StreamEnd) => {
                    if at_end {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(fault) if written > 0 => {
                    self.fault = Some(fault.to_string());
                    return Ok(written);
                }
                Err(fault) => return Err(damaged(&fault.to_string())),
            }
        }
    }

    fn check<R: Read>(&self, source: &mut Source<R>) -> io::Result<()> {
        let trailer = source.peek(8)?;
        let Some(trailer) = trailer.first_chunk::<8>() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let [a, b, c, d, e, f, g, h] = *trailer;
        source.consume(8);
        if u32::from_le_bytes([a, b, c, d]) != self.crc.sum() {
            return Err(damaged("the checksum is wrong"));
        }
        if u32::from_le_bytes([e, f, g, h]) != self.crc.amount() {
            return Err(damaged("the size is wrong"));
        }
        Ok(())
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
