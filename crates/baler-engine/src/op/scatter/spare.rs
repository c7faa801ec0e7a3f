//! Buffers that one chunk leaves to the next. A large one that is freed goes back to the system, and its pages are cleared again
//! one by one for whoever comes next; with ten thousand chunks that takes time, and memory while the one has not gone yet.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// A larger buffer is not kept: few chunks need one.
const LARGEST: usize = 8 << 20;
/// Buffers have room for a multiple of this: most fit for the next chunk. What of it is never written to is no memory.
const GRAIN: usize = 128 << 10;
/// So many are kept, at most: as many as are used at a time by the chunks that are in hand.
const KEPT: usize = 16;

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
            let fitting = buffers.iter().position(|kept| kept.capacity() >= room);
            // Where none has room, one of them goes.
            fitting.map(|at| buffers.swap_remove(at)).or_else(|| buffers.pop())
        };
        let bytes = match kept {
            Some(mut kept) if kept.capacity() >= room => {
                kept.clear();
                kept
            }
            Some(_) | None => Vec::with_capacity(room),
        };
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
        if self.bytes.capacity() <= LARGEST && buffers.len() < KEPT {
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
    fn what_is_kept_has_bounds() {
        let spares = Arc::new(Spares::default());
        drop(spares.take(LARGEST + 1));
        assert!(spares.buffers.lock().is_empty());
        let many: Vec<Spare> = (0..2 * KEPT).map(|_| spares.take(10)).collect();
        drop(many);
        assert_eq!(spares.buffers.lock().len(), KEPT);
    }
}
