//! Looks at and reads objects, pinned to one version.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use baler_model::{Key, ObjectVersion};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::blocking;
use super::tree::Tree;
use super::version::{Entry, FileVersion};
use crate::{ByteRange, Get, Head, Meter, Result, StoreError};

/// Bytes read at a time.
const CHUNK: u64 = 1 << 20;

impl Tree {
    pub(super) fn head(&self, key: &Key) -> Result<Option<Head>> {
        Meter::add(&self.meter.head, 1);
        let Some((parent, name)) = self.to_read(key.as_str()) else { return Ok(None) };
        let Some(dir) = self.open_directory(parent)? else { return Ok(None) };
        Ok(match self.entry(&dir, name)? {
            Entry::File(found) => Some(Head {
                version: found.object_version(),
                size: found.size,
                modified: found.modified(),
                stamp: None,
                crc64nvme: None,
                version_id: None,
            }),
            Entry::Other(_) | Entry::Absent => None,
        })
    }

    /// Fsyncs the directory of a key, and what is not known to be durable above it.
    pub(super) fn sync(&self, key: &Key) -> Result<()> {
        let Some((parent, _)) = self.to_read(key.as_str()) else { return Ok(()) };
        match self.open_directory(parent)? {
            Some(dir) => self.make_durable(parent, &dir),
            None => Ok(()),
        }
    }
}

/// Opens an object and reads its first bytes; the rest is read as it is asked for.
///
/// The open file is the version: one that replaces it by renaming is not seen. Writes into the file itself are, by its
/// size and time behind each chunk. The first bytes are read into `memory`, whatever room that has.
pub(super) fn get(
    tree: &Arc<Tree>,
    key: Key,
    range: Option<ByteRange>,
    version: Option<&ObjectVersion>,
    memory: Vec<u8>,
) -> Result<Get> {
    Meter::add(&tree.meter.get, 1);
    let Some(root) = tree.open_root()? else { return Err(tree.not_found(&key)) };
    let found = tree.to_read(key.as_str()).map(|_| tree.open_file(&root, key.as_str())).transpose()?.flatten();
    let Some((file, found)) = found else { return Err(tree.not_found(&key)) };
    if let Some(planned) = version
        && !found.is(planned)
    {
        return Err(tree.changed(&key, &planned.etag, &found));
    }
    let whole = ByteRange::new(0, found.size);
    let range = range.map_or(whole, |r| {
        let start = r.start.min(found.size);
        ByteRange::new(start, r.end.clamp(start, found.size))
    });
    let mut reading = Reading { tree: tree.clone(), key, file, version: found, next: range.start, end: range.end };
    let first = if range.is_empty() { None } else { Some(reading.chunk(memory)?) };
    let rest = stream::try_unfold(reading, |mut reading| async move {
        if reading.next == reading.end {
            return Ok(None);
        }
        let memory = Vec::with_capacity(reading.want());
        blocking(move || reading.chunk(memory).map(|bytes| Some((bytes, reading)))).await
    });
    let body = stream::iter(first.map(Ok::<Bytes, StoreError>)).chain(rest).boxed();
    Ok(Get { version: found.object_version(), size: found.size, range, write_id: None, body })
}

struct Reading {
    tree: Arc<Tree>,
    key: Key,
    file: OwnedFd,
    version: FileVersion,
    next: u64,
    end: u64,
}

impl Reading {
    /// Bytes of the next chunk.
    fn want(&self) -> usize {
        of_chunk(self.end - self.next)
    }

    /// Reads the next chunk into memory that may have room for it.
    fn chunk(&mut self, mut bytes: Vec<u8>) -> Result<Bytes> {
        let want = self.want();
        bytes.reserve_exact(want);
        let read = read_whole(&self.file, &mut bytes, want, self.next);
        let read = read.map_err(|e| self.tree.fail(e, "read", self.key.as_str()))?;
        let stat = rustix::fs::fstat(&self.file).map_err(|e| self.tree.fail(e, "read", self.key.as_str()))?;
        let found = FileVersion::of(&stat);
        if found != self.version {
            return Err(self.tree.changed(&self.key, &self.version.etag(), &found));
        }
        if read != want {
            let (store, doing) = (self.tree.info.name.clone(), format!("read `{}`", self.key));
            let detail = format!("it ends before its {} bytes", self.version.size);
            return Err(StoreError::Failed { store, doing, detail });
        }
        Meter::add(&self.tree.meter.bytes_read, read as u64);
        self.next += read as u64;
        Ok(bytes.into())
    }
}

/// Room for the first bytes of a range; nothing where the whole is asked for, whose size is not known yet. Whoever asks for
/// them has it made, and not one after the other of the many threads that read: each would keep memory for what it read.
pub(super) fn room(range: Option<ByteRange>) -> Vec<u8> {
    range.map_or_else(Vec::new, |range| Vec::with_capacity(of_chunk(range.len())))
}

/// Bytes of the first chunk of so many.
fn of_chunk(bytes: u64) -> usize {
    usize::try_from(CHUNK.min(bytes)).expect("a chunk fits memory")
}

/// Appends up to `want` bytes from an offset on, fewer only at the end of the file; there is room for them. Returns how many.
fn read_whole(file: &OwnedFd, bytes: &mut Vec<u8>, want: usize, offset: u64) -> rustix::io::Result<usize> {
    // Memory that is read into is not cleared for it before.
    while bytes.len() < want {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(want);
    Ok(bytes.len())
}
