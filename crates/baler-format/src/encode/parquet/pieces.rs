//! The closed pages of a column, each where it was made: a row group of them is never moved, or held twice, to grow.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// Bytes in pieces, in their order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: Arc<VecDeque<Bytes>>,
    bytes: usize,
}

impl Pieces {
    /// Appends a piece.
    pub(super) fn push(&mut self, piece: Vec<u8>) {
        self.bytes += piece.len();
        Arc::make_mut(&mut self.pieces).push_back(piece.into());
    }

    /// Puts a piece before all others.
    pub(super) fn push_front(&mut self, piece: Vec<u8>) {
        self.bytes += piece.len();
        Arc::make_mut(&mut self.pieces).push_front(piece.into());
    }

    /// Returns how many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.bytes as u64
    }
}

impl ChunkReader for Pieces {
    type T = Reader;

    fn get_read(&self, start: u64) -> Result<Reader, ParquetError> {
        let mut reader = Reader { pieces: Arc::clone(&self.pieces), piece: 0, at: 0 };
        let mut left = usize::try_from(start).unwrap_or(usize::MAX);
        while let Some(piece) = self.pieces.get(reader.piece)
            && left >= piece.len()
        {
            left -= piece.len();
            reader.piece += 1;
        }
        reader.at = left;
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Reads pieces one behind the other.
pub(super) struct Reader {
    pieces: Arc<VecDeque<Bytes>>,
    piece: usize,
    at: usize,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.pieces.get(self.piece) {
            let rest = piece.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                (self.piece, self.at) = (self.piece + 1, 0);
                continue;
            }
            let n = rest.len().min(into.len());
            into[..n].copy_from_slice(&rest[..n]);
            self.at += n;
            return Ok(n);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_from_anywhere_in_their_order() {
        let mut pieces = Pieces::default();
        for piece in [&b"cd"[..], b"", b"efg"] {
            pieces.push(piece.to_vec());
        }
        pieces.push_front(b"ab".to_vec());
        assert_eq!(pieces.bytes(), 7);
        for start in 0..=8 {
            let mut rest = String::new();
            pieces.get_read(start).unwrap().read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "abcdefg".get(start as usize..).unwrap_or_default(), "from {start}");
        }
        assert_eq!(pieces.get_bytes(1, 4).unwrap(), "bcde");
        assert!(pieces.get_bytes(5, 3).is_err(), "there are only two left");
    }
}
