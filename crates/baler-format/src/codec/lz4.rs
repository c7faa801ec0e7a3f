//! One LZ4 frame, or a skippable one.
//!
//! The library's decoder takes a frame that lacks its end mark for a whole one. This reader follows the frame's structure to
//! know where it may end.
//!
//! Source: LZ4 Frame Format Description, version 1.6.4.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;

use super::source::Source;

/// The first bytes of a frame.
pub(super) const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Says whether bytes begin a frame or a skippable frame.
pub(super) fn begins(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) || is_skippable(head)
}

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Consumes a skippable frame, if one stands here, and says whether one did.
pub(super) fn skip<R: Read>(source: &mut Source<R>) -> io::Result<bool> {
    let head = source.peek(8)?;
    if !is_skippable(head) {
        return Ok(false);
    }
    let Some([_, _, _, _, size @ ..]) = head.first_chunk::<8>() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let mut left = u64::from(u32::from_le_bytes(*size)) + 8;
    while left > 0 {
        let held = source.fill()?.len();
        if held == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let n = usize::try_from(left).map_or(held, |left| held.min(left));
        source.consume(n);
        left -= n as u64;
    }
    Ok(true)
}

/// Decodes one frame.
#[derive(Debug)]
pub(super) struct Frame<R: Read> {
    decoder: FrameDecoder<Follower<Source<R>>>,
}

impl<R: Read> Frame<R> {
    pub(super) fn open(source: Source<R>) -> Self {
        Self { decoder: FrameDecoder::new(Follower { reader: source, at: At::Magic, held: Vec::new(), flags: 0 }) }
    }

    pub(super) fn source(&self) -> &Source<R> {
        &self.decoder.get_ref().reader
    }

    pub(super) fn into_source(self) -> Source<R> {
        self.decoder.into_inner().reader
    }

    /// Reads on; 0 at the end of the frame.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.decoder.get_ref().at_end_of_frame() {
            // The content checksum was right, or the library would have said so before.
            return Ok(0);
        }
        match self.decoder.read(into)? {
            0 if !self.decoder.get_ref().at_end_of_frame() => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

/// Where in a frame the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Magic,
    End,
    /// The descriptor's first two bytes.
    Flags,
    /// So many bytes whose values do not matter, then a block size.
    Skip(u64),
    BlockSize,
    /// So many bytes of the content checksum, then the frame ends.
    Checksum(u64),
}

/// Passes bytes on and follows the frames in them.
#[derive(Debug)]
struct Follower<R> {
    reader: R,
    at: At,
    held: Vec<u8>,
    flags: u8,
}

impl<R> Follower<R> {
    fn at_end_of_frame(&self) -> bool {
        self.at == At::End
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = match self.at {
                At::End => return,
                At::Magic | At::BlockSize => 4 - self.held.len() as u64,
                At::Flags => 2 - self.held.len() as u64,
                At::Skip(n) | At::Checksum(n) => n,
            };
            let take = usize::try_from(wanted).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(take);
            bytes = rest;
            let left = wanted - take as u64;
            self.at = match self.at {
                At::Skip(_) if left > 0 => At::Skip(left),
                At::Skip(_) => At::BlockSize,
                At::Checksum(_) if left > 0 => At::Checksum(left),
                At::Checksum(_) | At::End => At::End,
                at @ (At::Magic | At::Flags | At::BlockSize) => {
                    self.held.extend_from_slice(now);
                    if left > 0 { at } else { self.step(at) }
                }
            };
        }
    }

    /// What follows a field that is complete.
    fn step(&mut self, at: At) -> At {
        let held = std::mem::take(&mut self.held);
        let has = |flags: u8, bit: u8| u64::from(flags >> bit & 1);
        match at {
            At::Magic => At::Flags,
            At::Flags => {
                self.flags = held[0];
                // Content size, dictionary id, header checksum.
                At::Skip(has(self.flags, 3) * 8 + has(self.flags, 0) * 4 + 1)
            }
            At::BlockSize => {
                let size = u32::from_le_bytes([held[0], held[1], held[2], held[3]]);
                match (size, has(self.flags, 2)) {
                    (0, 0) => At::End,
                    (0, _) => At::Checksum(4),
                    (size, _) => At::Skip(u64::from(size & 0x7fff_ffff) + has(self.flags, 4) * 4),
                }
            }
            At::Skip(_) | At::Checksum(_) | At::End => unreachable!("these hold no bytes"),
        }
    }
}

impl<R: Read> Read for Follower<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(into)?;
        self.follow(&into[..n]);
        Ok(n)
    }
}
