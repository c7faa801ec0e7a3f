//! Memory that objects are decompressed and decoded into, used again for the next: what is freed stays with the allocator
//! for a while, and its pages are made anew each time.

use std::sync::Arc;

use baler_format::decode::Spare;
use bytes::Bytes;
use parking_lot::Mutex;

/// Buffers that nobody holds.
pub(super) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
}

impl Buffers {
    /// Keeps so many at most: one for each thread.
    pub(super) fn new(most: usize) -> Self {
        Self { free: Arc::default(), most }
    }

    /// A buffer, which may hold anything.
    pub(super) fn take(&self) -> Vec<u8> {
        self.free.lock().pop().unwrap_or_default()
    }

    /// Makes bytes of a buffer; it comes back when the last of them is dropped.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { bytes, free: Arc::clone(&self.free), most: self.most })
    }
}

struct Lent {
    bytes: Vec<u8>,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.free.lock();
        if free.len() < self.most {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// What decoders that have ended leave to others; no more than were open at once.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

impl Spares {
    pub(super) fn take(&self) -> Spare {
        self.0.lock().pop().unwrap_or_default()
    }

    pub(super) fn put(&self, spare: Spare) {
        self.0.lock().push(spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_bytes_are_dropped() {
        let buffers = Buffers::new(1);
        let (one, other) = (buffers.lend(vec![1; 100]), buffers.lend(vec![2; 50]));
        let piece = one.slice(10..20);
        drop(one);
        assert_eq!(buffers.take().capacity(), 0, "a piece of it is held");
        assert_eq!(piece, [1; 10][..]);
        drop(piece);
        drop(other);
        assert_eq!(buffers.take(), [1; 100], "one is kept");
        assert_eq!(buffers.take().capacity(), 0);
    }
}
