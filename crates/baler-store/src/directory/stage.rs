//! Staged outputs: temporary files at `.baler-tmp/{flow}/{run}/{task}-{attempt}-{random}`, written in order.
//!
//! A crash leaves a temporary file for `gc`. What `finish` returns survives power loss: file, directory and what is new
//! above are fsynced. It is fsync, not fdatasync: the modification time is a part of the stamp and must last too.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{Key, Staged, StagedPlace, Stamp};
use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::Advice;
use rustix::io::Errno;

use super::put::read_fully;
use super::tree::{TEMP, Tree, split};
use super::version::FileVersion;
use super::{blocking, source_tree};
use crate::{ByteRange, CopySource, Meter, Result, StagedWriter};

/// Bytes that pass through memory at a time where the kernel cannot copy by itself.
const STEP: usize = 1 << 20;
/// Bytes behind which the kernel is asked to begin writing out: what is left for fsync is little, and the disk works
/// while further inputs are read.
const WRITE_OUT: u64 = 8 << 20;

/// A temporary file in the making.
#[derive(Debug)]
pub(super) struct Output {
    tree: Arc<Tree>,
    key: Key,
    stamp: Stamp,
    dir: OwnedFd,
    temp: String,
    file: OwnedFd,
    written: u64,
    /// Up to where writing out was asked for.
    begun: u64,
}

impl Output {
    pub(super) fn create(tree: Arc<Tree>, key: &Key, stamp: &Stamp) -> Result<Self> {
        // Refused before any byte is written.
        tree.to_write(key.as_str())?;
        let Stamp { flow, run, task, attempt } = stamp;
        let (dir, temp, file) = tree.create_temp(&format!("{TEMP}/{flow}/{run}/{task}-{attempt}-"))?;
        Meter::add(&tree.meter.put, 1);
        Ok(Self { tree, key: key.clone(), stamp: stamp.clone(), dir, temp, file, written: 0, begun: 0 })
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.tree.write_fully(&self.file, bytes).map_err(|e| self.fail(e))?;
        self.written += bytes.len() as u64;
        Meter::add(&self.tree.meter.bytes_written, bytes.len() as u64);
        self.write_out();
        Ok(())
    }

    /// Has the kernel begin to write out what was written, without waiting for it. Durable it is by `finish` alone.
    fn write_out(&mut self) {
        let Some(len) = NonZeroU64::new(self.written - self.begun).filter(|len| len.get() >= WRITE_OUT) else { return };
        // Linux begins to write out dirty pages that it is advised to drop, and drops none of them before they are clean:
        // what `sync_file_range` does, which rustix lacks. On tmpfs it does nothing.
        if let Err(error) = rustix::fs::fadvise(&self.file, self.begun, Some(len), Advice::DontNeed) {
            tracing::trace!(%error, "no early writing out");
        }
        self.begun = self.written;
    }

    /// Appends `[range)` of a file, within the kernel where it can. Returns the bytes appended: fewer than asked for
    /// when the file ended early.
    pub(super) fn append_file(&mut self, source: impl AsFd, range: ByteRange) -> Result<u64> {
        let mut offset = range.start;
        while offset < range.end {
            let want = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(1 << 30);
            match self.tree.disk.copy(source.as_fd(), &mut offset, self.file.as_fd(), want) {
                // Some file systems answer 0 for files that have bytes: reading tells.
                Ok(0) => break,
                Ok(n) => Meter::add(&self.tree.meter.bytes_copied, n as u64),
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => break,
                Err(e) => return Err(self.fail(e)),
            }
        }
        self.written += offset - range.start;
        self.write_out();
        if offset < range.end {
            let mut step = vec![0; STEP.min(usize::try_from(range.end - offset).unwrap_or(STEP))];
            while offset < range.end {
                let want = step.len().min(usize::try_from(range.end - offset).unwrap_or(STEP));
                let n = read_fully(&source, &mut step[..want], offset).map_err(|e| self.fail(e))?;
                if n == 0 {
                    break;
                }
                Meter::add(&self.tree.meter.bytes_read, n as u64);
                self.append(&step[..n])?;
                offset += n as u64;
            }
        }
        Ok(offset - range.start)
    }

    pub(super) fn len(&self) -> u64 {
        self.written
    }

    /// Takes back what was appended behind `len`.
    pub(super) fn truncate(&mut self, len: u64) -> Result<()> {
        self.tree.disk.truncate(self.file.as_fd(), len).map_err(|e| self.fail(e))?;
        self.written = len;
        self.begun = self.begun.min(len);
        Ok(())
    }

    /// Fills a buffer from what was written at `offset`.
    pub(super) fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match read_fully(&self.file, buffer, offset) {
            Ok(n) if n == buffer.len() => Ok(()),
            Ok(_) => Err(self.fail(Errno::IO)),
            Err(e) => Err(self.fail(e)),
        }
    }

    pub(super) fn finish(&self, crc64nvme: Option<u64>) -> Result<Staged> {
        self.tree.fsync(&self.file).map_err(|e| self.fail(e))?;
        let stat = rustix::fs::fstat(&self.file).map_err(|e| self.fail(e))?;
        let FileVersion { inode, size, modified_ns } = FileVersion::of(&stat);
        if size != self.written {
            let (store, doing) = (self.tree.info.name.clone(), format!("stage `{}`", self.key));
            let detail = format!("`{}` has {size} bytes, {} were written", self.temp, self.written);
            return Err(crate::StoreError::Failed { store, doing, detail });
        }
        self.tree.make_durable(split(&self.temp).0, &self.dir)?;
        let place = StagedPlace::File { temp: self.temp.clone(), inode, modified_ns };
        Ok(Staged { key: self.key.clone(), stamp: self.stamp.clone(), size, crc64nvme, place })
    }

    pub(super) fn discard(&self) -> Result<()> {
        let (parent, name) = split(&self.temp);
        self.tree.unlink(&self.dir, name).map_err(|e| self.tree.fail(e, "remove", &self.temp))?;
        self.tree.remove_empty(parent, TEMP);
        Ok(())
    }

    fn fail(&self, e: Errno) -> crate::StoreError {
        self.tree.fail(e, "stage", self.key.as_str())
    }
}

/// Writes the parts of one staged output one behind the other.
#[derive(Debug)]
pub(super) struct DirectoryWriter {
    state: Arc<Mutex<WriterState>>,
}

#[derive(Debug)]
struct WriterState {
    output: Output,
    last_part: u32,
}

impl DirectoryWriter {
    pub(super) fn new(output: Output) -> Self {
        Self { state: Arc::new(Mutex::new(WriterState { output, last_part: 0 })) }
    }

    /// Does one part on a blocking thread; what a part wrote before it failed is taken back.
    async fn part(&self, number: u32, write: impl FnOnce(&mut Output) -> Result<()> + Send + 'static) -> Result<()> {
        let state = self.state.clone();
        blocking(move || {
            let mut state = state.lock();
            let before = state.output.len();
            if number <= state.last_part {
                let last = state.last_part;
                let doing = format!("write part {number} of `{}`", state.output.key);
                let detail = format!("parts of a file come in order, and part {last} was written");
                return Err(state.output.tree.unsupported(doing, detail, None));
            }
            match write(&mut state.output) {
                Ok(()) => {
                    state.last_part = number;
                    Ok(())
                }
                Err(e) => state.output.truncate(before).and(Err(e)),
            }
        })
        .await
    }
}

#[async_trait]
impl StagedWriter for DirectoryWriter {
    fn in_order(&self) -> bool {
        true
    }

    async fn write_part(&self, number: u32, body: Vec<Bytes>) -> Result<()> {
        self.part(number, move |output| {
            Meter::add(&output.tree.meter.put, 1);
            body.iter().try_for_each(|bytes| output.append(bytes))
        })
        .await
    }

    async fn copy_part(&self, number: u32, source: &CopySource, range: ByteRange) -> Result<()> {
        let own = self.state.lock().output.tree.clone();
        let Some(tree) = source_tree(&own, &*source.store) else {
            let doing = format!("copy `{}` of `{}`", source.key, source.store.info().name);
            return Err(own.unsupported(doing, "only directories are copied into a directory".into(), None));
        };
        let (key, version) = (source.key.clone(), source.version.clone());
        self.part(number, move |output| {
            Meter::add(&output.tree.meter.copy, 1);
            let Some(root) = tree.open_root()? else { return Err(tree.not_found(&key)) };
            let found = tree.to_read(key.as_str()).map(|_| tree.open_file(&root, key.as_str())).transpose()?.flatten();
            let Some((file, found)) = found else { return Err(tree.not_found(&key)) };
            if !found.is(&version) {
                return Err(tree.changed(&key, &version.etag, &found));
            }
            let copied = output.append_file(&file, range)?;
            // Looked at again: somebody may have written into the file meanwhile.
            let stat = rustix::fs::fstat(&file).map_err(|e| tree.fail(e, "look at", key.as_str()))?;
            let found = FileVersion::of(&stat);
            if !found.is(&version) {
                return Err(tree.changed(&key, &version.etag, &found));
            }
            if copied != range.len() {
                let (store, doing) = (tree.info.name.clone(), format!("copy `{key}`"));
                let detail = format!("bytes {} to {} were asked for, it has {}", range.start, range.end, found.size);
                return Err(crate::StoreError::Failed { store, doing, detail });
            }
            Ok(())
        })
        .await
    }

    async fn finish(self: Box<Self>, crc64nvme: Option<u64>) -> Result<Staged> {
        let state = self.state;
        blocking(move || state.lock().output.finish(crc64nvme)).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let state = self.state;
        blocking(move || state.lock().output.discard()).await
    }
}

/// A path below the root that a mark names, checked: marks are read from files.
pub(super) fn temp_of(tree: &Tree, staged: &Staged) -> Result<(String, FileVersion)> {
    match &staged.place {
        StagedPlace::File { temp, inode, modified_ns } if is_temp(temp) => {
            let (inode, modified_ns) = (*inode, *modified_ns);
            Ok((temp.clone(), FileVersion { inode, size: staged.size, modified_ns }))
        }
        StagedPlace::File { temp, .. } => {
            let detail = format!("`{temp}` is no temporary file of a directory store");
            Err(tree.unsupported(format!("publish `{}`", staged.key), detail, None))
        }
        StagedPlace::Multipart { .. } => {
            let detail = "it was staged as an upload, in another kind of store".into();
            Err(tree.unsupported(format!("publish `{}`", staged.key), detail, None))
        }
    }
}

/// Whether a path lies in the directory for temporary files and does not lead out of it.
pub(super) fn is_temp(path: &str) -> bool {
    let inside = path.strip_prefix(TEMP).and_then(|rest| rest.strip_prefix('/'));
    inside.is_some_and(|rest| super::tree::key_fault(rest).is_none())
}
