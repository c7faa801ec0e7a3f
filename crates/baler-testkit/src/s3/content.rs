//! Bytes of objects as lists of segments, so that copies and completions of large objects move no byte.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm::Crc64Nvme;
use futures::Stream;
use md5::{Digest, Md5};
use s3s::stream::{ByteStream, RemainingLength};

/// Zeros are sent in pieces of this size.
const ZEROS: &[u8] = &[0; 64 << 10];

#[derive(Debug, Clone)]
enum Segment {
    Bytes(Bytes),
    /// That many zero bytes, which take no memory.
    Zeros(u64),
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(n) => *n,
        }
    }

    fn crc64(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => crc_fast::checksum(Crc64Nvme, bytes),
            Self::Zeros(n) => crc64_of_zeros(*n),
        }
    }
}

/// The bytes of an object or a part. Cloning, slicing and joining cost nothing per byte.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    segments: Vec<Segment>,
    size: u64,
}

impl Content {
    pub(super) fn from_bytes(bytes: Bytes) -> Self {
        let size = bytes.len() as u64;
        Self { segments: if size == 0 { Vec::new() } else { vec![Segment::Bytes(bytes)] }, size }
    }

    pub(super) fn zeros(size: u64) -> Self {
        Self { segments: if size == 0 { Vec::new() } else { vec![Segment::Zeros(size)] }, size }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.segments.extend(other.segments.iter().cloned());
        self.size += other.size;
    }

    /// The bytes `[start, end)`; both lie within the content.
    pub(super) fn slice(&self, range: Range<u64>) -> Self {
        let mut slice = Self::default();
        let mut at = 0;
        for segment in &self.segments {
            let (from, to) = (range.start.max(at), range.end.min(at + segment.len()));
            if from < to {
                let piece = match segment {
                    Segment::Bytes(bytes) => Segment::Bytes(bytes.slice((from - at) as usize..(to - at) as usize)),
                    Segment::Zeros(_) => Segment::Zeros(to - from),
                };
                slice.segments.push(piece);
                slice.size += to - from;
            }
            at += segment.len();
        }
        slice
    }

    pub(super) fn crc64(&self) -> u64 {
        self.segments.iter().fold(0, |crc, segment| join_crc64(crc, segment.crc64(), segment.len()))
    }

    /// The MD5 of the bytes. Zeros are not hashed one by one: content that holds any gets the MD5 of its description.
    pub(super) fn md5(&self) -> [u8; 16] {
        let mut hash = Md5::new();
        for segment in &self.segments {
            match segment {
                Segment::Bytes(bytes) => hash.update(bytes),
                Segment::Zeros(n) => hash.update(format!("{n} zeros")),
            }
        }
        hash.finalize().into()
    }

    /// All bytes in one piece; copies unless there is one segment only.
    pub(super) fn to_bytes(&self) -> Bytes {
        if let [Segment::Bytes(bytes)] = self.segments.as_slice() {
            return bytes.clone();
        }
        let mut all = BytesMut::with_capacity(self.size as usize);
        for segment in &self.segments {
            match segment {
                Segment::Bytes(bytes) => all.extend_from_slice(bytes),
                Segment::Zeros(n) => all.resize(all.len() + *n as usize, 0),
            }
        }
        all.freeze()
    }

    pub(super) fn stream(self) -> ContentStream {
        ContentStream { segments: self.segments.into(), remaining: self.size }
    }
}

/// The CRC-64/NVME of two stretches of bytes one behind the other, from those of each.
pub(super) fn join_crc64(first: u64, second: u64, second_len: u64) -> u64 {
    if second_len == 0 { first } else { crc_fast::checksum_combine(Crc64Nvme, first, second, second_len) }
}

/// By doubling: a terabyte takes forty steps.
fn crc64_of_zeros(n: u64) -> u64 {
    let (mut crc, mut power, mut len, mut rest) = (0, crc_fast::checksum(Crc64Nvme, &[0]), 1, n);
    while rest > 0 {
        if rest & 1 == 1 {
            crc = join_crc64(crc, power, len);
        }
        rest >>= 1;
        if rest > 0 {
            power = join_crc64(power, power, len);
            len <<= 1;
        }
    }
    crc
}

/// A body that sends a content.
pub(super) struct ContentStream {
    segments: VecDeque<Segment>,
    remaining: u64,
}

impl Stream for ContentStream {
    type Item = Result<Bytes, s3s::StdError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.segments.pop_front() {
            None => return Poll::Ready(None),
            Some(Segment::Bytes(bytes)) => bytes,
            Some(Segment::Zeros(n)) => {
                let piece = n.min(ZEROS.len() as u64);
                if piece < n {
                    self.segments.push_front(Segment::Zeros(n - piece));
                }
                Bytes::from_static(&ZEROS[..piece as usize])
            }
        };
        self.remaining -= next.len() as u64;
        Poll::Ready(Some(Ok(next)))
    }
}

impl ByteStream for ContentStream {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.remaining as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> Content {
        let mut content = Content::from_bytes(Bytes::from_static(b"abc"));
        content.append(&Content::zeros(100_000));
        content.append(&Content::from_bytes(Bytes::from_static(b"xyz")));
        content
    }

    #[test]
    fn a_slice_holds_the_bytes_of_its_range() {
        let (content, all) = (mixed(), mixed().to_bytes());
        for range in [0..0, 0..2, 2..4, 1..100_004, 3..100_003, 100_002..100_006, 0..100_006] {
            let slice = content.slice(range.clone());
            assert_eq!(slice.to_bytes(), all.slice(range.start as usize..range.end as usize), "{range:?}");
            assert_eq!(slice.size(), range.end - range.start);
        }
    }

    #[test]
    fn the_crc_of_segments_is_that_of_the_joined_bytes() {
        assert_eq!(mixed().crc64(), crc_fast::checksum(Crc64Nvme, &mixed().to_bytes()));
        for n in [0, 1, 2, 3, 1000, 65_537] {
            assert_eq!(crc64_of_zeros(n), crc_fast::checksum(Crc64Nvme, &vec![0; n as usize]), "{n}");
        }
    }

    #[test]
    fn five_tebibytes_of_zeros_take_no_memory() {
        let huge = Content::zeros(5 << 40);
        assert_eq!(huge.slice(1 << 40..2 << 40).crc64(), crc64_of_zeros(1 << 40));
    }
}
