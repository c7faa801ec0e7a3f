//! Reads LZ4 frames, one behind the other, to the very end of the last.
//!
//! The library's decoder stops behind each frame, and takes a frame that lacks its end mark for a whole one. This reader
//! goes on with the next frame, and follows the frames' structure to know where the stream may end.
//!
//! Source: LZ4 Frame Format Description, version 1.6.4.

use std::io::{self, BufRead, BufReader, Read};

use lz4_flex::frame::FrameDecoder;

/// Decodes every frame of a stream.
pub(crate) struct Lz4Frames<R: Read> {
    decoder: FrameDecoder<BufReader<Follower<R>>>,
}

impl<R: Read> Lz4Frames<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            decoder: FrameDecoder::new(BufReader::new(Follower { reader, at: At::Magic, held: Vec::new(), flags: 0 })),
        }
    }
}

impl<R: Read> Read for Lz4Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.decoder.read(into)?;
            if n > 0 || into.is_empty() {
                return Ok(n);
            }
            let source = self.decoder.get_mut();
            if !source.fill_buf()?.is_empty() {
                continue;
            }
            return match source.get_ref().is_between_frames() {
                true => Ok(0),
                false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the last LZ4 frame is cut off")),
            };
        }
    }
}

/// Where in a frame the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Magic,
    /// The descriptor's first two bytes.
    Flags,
    /// So many bytes whose values do not matter, then a block size.
    Skip(u64),
    BlockSize,
    /// So many bytes of the content checksum, then the frame ends.
    Checksum(u64),
}

/// Passes bytes on and follows the frames in them.
struct Follower<R> {
    reader: R,
    at: At,
    held: Vec<u8>,
    flags: u8,
}

impl<R> Follower<R> {
    fn is_between_frames(&self) -> bool {
        self.at == At::Magic && self.held.is_empty()
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = match self.at {
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
                At::Checksum(_) => At::Magic,
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
                    (0, 0) => At::Magic,
                    (0, _) => At::Checksum(4),
                    (size, _) => At::Skip(u64::from(size & 0x7fff_ffff) + has(self.flags, 4) * 4),
                }
            }
            At::Skip(_) | At::Checksum(_) => unreachable!("these hold no bytes"),
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{FrameEncoder, FrameInfo};

    use super::*;

    fn frame(text: &[u8], info: FrameInfo) -> Vec<u8> {
        let mut out = FrameEncoder::with_frame_info(info, Vec::new());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    fn infos() -> [FrameInfo; 4] {
        [
            FrameInfo::new(),
            FrameInfo::new().content_checksum(true),
            FrameInfo::new().block_checksums(true),
            FrameInfo::new().content_checksum(true).block_checksums(true).content_size(Some(300_000)),
        ]
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Lz4Frames::new(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn every_frame_is_read() {
        let text: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        for info in infos() {
            let one = frame(&text, info);
            assert_eq!(decode(&[one.clone(), one].concat()).unwrap(), [text.clone(), text.clone()].concat());
        }
    }

    #[test]
    fn a_frame_cut_off_anywhere_is_a_fault() {
        for info in infos() {
            let text = vec![b'x'; 300_000];
            let one = frame(&text, info);
            let two = [one.clone(), one.clone()].concat();
            for cut in (one.len() + 1..two.len()).filter(|cut| cut % 97 == 0 || two.len() - cut < 20) {
                assert!(decode(&two[..cut]).is_err(), "cut at {cut} of {}", two.len());
            }
        }
    }
}
