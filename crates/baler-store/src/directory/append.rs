//! The fast path of `combine` between directories: appends many small files on the calling thread.
//!
//! Cost per small file: open, pread, fstat, close. The version is compared behind the read: a file that is then still
//! the planned one was it while it was read. Large files are copied within the kernel.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use baler_model::{InputVersion, Key, ObjectVersion, Staged};
use bytes::Bytes;

use super::put::read_fully;
use super::stage::Output;
use super::tree::{READ, Tree, is_nothing};
use super::version::{Entry, FileVersion};
use crate::{Appended, Appender, ByteRange, Meter, Result};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;
/// From this size on the kernel copies: a file system that shares blocks can then do so, and smaller files would break
/// the writes of the buffer into pieces. The value was chosen, not measured.
const LARGE: u64 = 256 << 10;
const _: () = assert!(LARGE as usize <= BUFFER, "what is not copied fits the buffer");

/// Appends to one temporary file. Dropped unfinished, it removes the file.
#[derive(Debug)]
pub(super) struct DirectoryAppender {
    output: Option<Output>,
    source: Arc<Tree>,
    root: Option<OwnedFd>,
    /// The directory of the file before: the next one mostly lies beside it.
    parent: Option<(String, OwnedFd)>,
    buffer: Box<[u8]>,
    filled: usize,
}

impl DirectoryAppender {
    pub(super) fn new(output: Output, source: Arc<Tree>) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { output: Some(output), source, root: None, parent: None, buffer, filled: 0 }
    }

    fn output(&mut self) -> &mut Output {
        self.output.as_mut().expect("the output is taken only by `finish`, which takes the appender")
    }

    fn flush(&mut self) -> Result<()> {
        let filled = std::mem::take(&mut self.filled);
        let output = self.output.as_mut().expect("the output is taken only by `finish`, which takes the appender");
        output.append(&self.buffer[..filled])
    }

    fn open(&mut self, key: &Key) -> Result<OwnedFd> {
        let Some((parent, name)) = self.source.to_read(key.as_str()) else { return Err(self.source.not_found(key)) };
        for fresh in [false, true] {
            let known = self.parent.as_ref().is_some_and(|(path, _)| path == parent);
            if fresh || !known {
                let root = match self.root.take() {
                    Some(root) if !fresh => root,
                    _ => self.source.open_root()?.ok_or_else(|| self.source.not_found(key))?,
                };
                let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
                let dir = self.source.beneath(&root, parent, flags);
                self.root = Some(root);
                match dir {
                    Ok(dir) => self.parent = Some((parent.to_owned(), dir)),
                    Err(e) if is_nothing(e) && !fresh => continue,
                    Err(e) if is_nothing(e) => return Err(self.source.not_found(key)),
                    Err(e) => return Err(self.source.fail(e, "open", key.as_str())),
                }
            }
            let Some((_, dir)) = &self.parent else { continue };
            match rustix::fs::openat(dir, name, READ, rustix::fs::Mode::empty()) {
                Ok(file) => return Ok(file),
                // The directory may have been removed and made again since it was opened.
                Err(e) if is_nothing(e) && known && !fresh => {}
                Err(e) if is_nothing(e) || e == rustix::io::Errno::NXIO => return Err(self.source.not_found(key)),
                Err(e) => return Err(self.source.fail(e, "open", key.as_str())),
            }
        }
        Err(self.source.not_found(key))
    }

    /// Errors unless the open file is a regular one in the planned version.
    fn check(&self, file: &OwnedFd, key: &Key, etag: &str) -> Result<FileVersion> {
        let stat = rustix::fs::fstat(file).map_err(|e| self.source.fail(e, "look at", key.as_str()))?;
        match Entry::of(&stat) {
            Entry::File(version) if version.has_etag(etag) => Ok(version),
            Entry::File(version) => Err(self.source.changed(key, etag, &version)),
            Entry::Other(_) | Entry::Absent => Err(self.source.not_found(key)),
        }
    }

    fn append_small(&mut self, file: &OwnedFd, input: &InputVersion, skip: u64, want: usize) -> Result<Appended> {
        if self.filled + want > self.buffer.len() {
            self.flush()?;
        }
        let target = &mut self.buffer[self.filled..self.filled + want];
        let read = read_fully(file, target, skip);
        // A directory cannot be read; that it is none of ours is said by the check.
        self.check(file, &input.key, &input.etag)?;
        let read = read.map_err(|e| self.source.fail(e, "read", input.key.as_str()))?;
        if read != want {
            return Err(self.ends_early(input));
        }
        let bytes = &self.buffer[self.filled..self.filled + want];
        let appended = appended(want as u64, bytes, bytes.last().copied());
        self.filled += want;
        let meter = &self.output().tree().meter;
        Meter::add(&meter.get, 1);
        Meter::add(&meter.bytes_read, want as u64);
        Ok(appended)
    }

    fn append_large(&mut self, file: &OwnedFd, input: &InputVersion, skip: u64) -> Result<Appended> {
        self.flush()?;
        self.check(file, &input.key, &input.etag)?;
        let before = self.output().len();
        let copied = self.output().append_file(file, ByteRange::new(skip, input.size));
        let checked = match copied {
            Ok(copied) if copied == input.size - skip => self.check(file, &input.key, &input.etag).map(drop),
            Ok(_) => self.check(file, &input.key, &input.etag).and_then(|_| Err(self.ends_early(input))),
            Err(e) => Err(e),
        };
        if let Err(e) = checked {
            self.output().truncate(before)?;
            return Err(e);
        }
        Meter::add(&self.output().tree().meter.copy, 1);
        let end = self.output().len();
        let (mut head, mut last) = ([0; 10], [0]);
        let output = self.output();
        output.read_back(before, &mut head)?;
        output.read_back(end - 1, &mut last)?;
        Ok(appended(input.size - skip, &head, Some(last[0])))
    }

    fn ends_early(&self, input: &InputVersion) -> crate::StoreError {
        let (store, doing) = (self.source.info.name.clone(), format!("read `{}`", input.key));
        crate::StoreError::Failed { store, doing, detail: format!("it ends before its {} bytes", input.size) }
    }
}

/// Says what was appended: so many bytes, the first of them at the beginning of `head`.
fn appended(bytes: u64, head: &[u8], last: Option<u8>) -> Appended {
    let mut kept = [0; 10];
    let head_len = kept.len().min(head.len());
    kept[..head_len].copy_from_slice(&head[..head_len]);
    Appended { bytes, head: kept, head_len: head_len as u8, last }
}

impl Appender for DirectoryAppender {
    fn append_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if self.filled + bytes.len() > self.buffer.len() {
            self.flush()?;
        }
        if bytes.len() >= self.buffer.len() {
            return self.output().append(bytes);
        }
        self.buffer[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        Ok(())
    }

    fn peek(&mut self, key: &Key, version: &ObjectVersion, most: usize) -> Result<Bytes> {
        let file = self.open(key)?;
        let mut head = vec![0; most];
        let read = read_fully(&file, &mut head, 0);
        let found = self.check(&file, key, &version.etag)?;
        let read = read.map_err(|e| self.source.fail(e, "read", key.as_str()))?;
        let whole = usize::try_from(found.size).unwrap_or(usize::MAX);
        debug_assert_eq!(read, most.min(whole), "an unchanged file yields what it has");
        Meter::add(&self.output().tree().meter.bytes_read, read as u64);
        head.truncate(read);
        Ok(head.into())
    }

    fn append_object(&mut self, input: &InputVersion, skip: u64) -> Result<Appended> {
        let file = self.open(&input.key)?;
        let want = input.size.saturating_sub(skip);
        match usize::try_from(want) {
            Ok(want) if (want as u64) < LARGE => self.append_small(&file, input, skip, want),
            _ => self.append_large(&file, input, skip),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Staged> {
        self.flush()?;
        let staged = self.output().finish(None)?;
        self.output = None;
        Ok(staged)
    }
}

impl Drop for DirectoryAppender {
    fn drop(&mut self) {
        if let Some(output) = self.output.take()
            && let Err(error) = output.discard()
        {
            tracing::warn!(%error, "temporary file left behind");
        }
    }
}
