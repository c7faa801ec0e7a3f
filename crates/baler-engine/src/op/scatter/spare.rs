//! Buffers that one chunk leaves to the next. A large one that is freed goes back to the system, and its pages are cleared again
//! one by one for whoever comes next; with ten thousand chunks that takes time, and memory while the one has not gone yet.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// A larger buffer is not kept: few chunks need one.
const LARGEST: usize = 10 << 20;
/// Buffers have room for a multiple of this: most fit for the next chunk. What of it is never written to takes no memory.
const GRAIN: usize = 128 << 10;
/// So much is kept at most in one place, besides what the budget of memory grants to chunks. Units: bytes.
const KEPT: usize = 16 << 20;

/// Buffers that nobody uses.
#[derive(Default)]
pub(crate) struct Spares {
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// A buffer in use. Dropped, it becomes spare.
#[derive(Default)]
pub(crate) struct Spare {
    bytes: Vec<u8>,
    /// Nothing of one that begins and ends by itself.
    home: Option<Arc<Spares>>,
}

impl Spares {
    /// An empty buffer that has room for so many bytes.
    pub(crate) fn take(self: &Arc<Self>, room: usize) -> Spare {
        let room = room.next_multiple_of(GRAIN);
        let kept = {
            let mut buffers = self.buffers.lock();
            // The smallest that fits: larger ones are for those who need them.
            let fitting = (0..buffers.len()).filter(|at| buffers[*at].capacity() >= room);
            let fitting = fitting.min_by_key(|at| buffers[*at].capacity());
            if fitting.is_none() && room <= LARGEST {
                // One that is too small goes, for this one.
                drop(buffers.pop());
            }
            fitting.map(|at| buffers.swap_remove(at))
        };
        let mut bytes = kept.unwrap_or_else(|| Vec::with_capacity(room));
        bytes.clear();
        Spare { bytes, home: Some(Arc::clone(self)) }
    }

    /// Lets go of those that nobody uses.
    pub(crate) fn clear(&self) {
        self.buffers.lock().clear();
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        let mut buffers = home.buffers.lock();
        let kept: usize = buffers.iter().map(Vec::capacity).sum();
        if (1..=LARGEST.min(KEPT - kept)).contains(&self.bytes.capacity()) {
            buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Spare {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Spare {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Spare {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Spare").field(&self.bytes.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_when_the_last_look_at_it_is_gone() {
        let spares = Arc::new(Spares::default());
        let mut buffer = spares.take(1_000);
        buffer.extend_from_slice(&[7; 1_000]);
        let place = buffer.as_ptr();
        let bytes = Bytes::from_owner(buffer);
        let piece = bytes.slice(10..20);
        drop(bytes);
        assert_ne!(spares.take(1_000).as_ptr(), place, "a piece of it is in use");
        assert_eq!(&piece[..], [7; 10]);
        spares.clear();
        drop(piece);
        let again = spares.take(500);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn the_smallest_that_fits_is_taken() {
        let spares = Arc::new(Spares::default());
        let (large, small) = (spares.take(4 * GRAIN), spares.take(GRAIN));
        let (of_large, of_small) = (large.as_ptr(), small.as_ptr());
        drop(large);
        drop(small);
        let again = spares.take(GRAIN);
        assert_eq!(again.as_ptr(), of_small);
        assert_eq!(spares.take(2 * GRAIN).as_ptr(), of_large);
    }

    #[test]
    fn what_is_kept_has_bounds() {
        let spares = Arc::new(Spares::default());
        drop(spares.take(LARGEST + 1));
        assert!(spares.buffers.lock().is_empty());
        drop(spares.take(0));
        assert!(spares.buffers.lock().is_empty());
        let many: Vec<Spare> = (0..20).map(|_| spares.take(1 << 20)).collect();
        drop(many);
        assert_eq!(spares.buffers.lock().len(), KEPT >> 20);
    }

    #[test]
    fn what_is_too_small_makes_room_but_not_for_what_is_never_kept() {
        let spares = Arc::new(Spares::default());
        let small: Vec<Spare> = (0..2).map(|_| spares.take(GRAIN)).collect();
        drop(small);
        let large = spares.take(LARGEST + 1);
        assert!(large.capacity() > LARGEST);
        assert_eq!(spares.buffers.lock().len(), 2);
        let larger = spares.take(2 * GRAIN);
        assert!(larger.capacity() >= 2 * GRAIN);
        assert_eq!(spares.buffers.lock().len(), 1);
        drop((large, larger));
        assert_eq!(spares.buffers.lock().len(), 2);
    }
}
