//! Small objects: create if absent, overwrite, delete.

use std::os::fd::{AsFd, OwnedFd};

use baler_model::{Key, ObjectVersion};
use rustix::io::Errno;

use super::disk::Renaming;
use super::tree::{TEMP, Tree, Try, is_nothing, split};
use super::version::{Entry, FileVersion};
use crate::{Meter, PutOutcome, Result};

/// Where small objects are written before they get their name: no flow can be called so.
const PUTS: &str = "_put";

impl Tree {
    /// Creates an object if there is none: temporary file, fsync, `link`, fsync of the directory and what is new above.
    ///
    /// A file keeps no write id: the bytes tell whose it is.
    pub(super) fn put_if_absent(&self, key: &Key, body: &[u8]) -> Result<Try<PutOutcome>> {
        let (parent, name) = self.to_write(key.as_str())?;
        let dir = self.make_directory(parent)?;
        // Looked at first: a loser then needs no temporary file and no fsync of one.
        match self.entry(&dir, name)? {
            Entry::Absent => {}
            Entry::File(_) => return self.compare(key, &dir, parent, name, body),
            Entry::Other(_) => return Err(self.in_the_way(key)),
        }
        let (temp_dir, temp, version) = self.write_temp(key, body)?;
        let temp_name = split(&temp).1;
        let (from, to) = ((temp_dir.as_fd(), temp_name), (dir.as_fd(), name));
        let linked = match self.disk.link(from, to) {
            // FAT and some FUSE file systems have no links; those may have an exclusive rename.
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => self.disk.rename(from, to, Renaming::ToFree),
            answer => answer,
        };
        self.unlink(&temp_dir, temp_name).map_err(|e| self.fail(e, "remove", &temp))?;
        match linked {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOENT) => return Ok(Try::Again),
            Err(e) => return Err(self.fail(e, "write", key.as_str())),
        }
        self.make_durable(parent, &dir)?;
        Ok(Try::Done(PutOutcome::Created(version.object_version())))
    }

    /// Says whether the object that exists is ours: whether it has our bytes.
    fn compare(&self, key: &Key, dir: &OwnedFd, parent: &str, name: &str, body: &[u8]) -> Result<Try<PutOutcome>> {
        let Some((file, version)) = self.open_file(dir, name)? else { return Ok(Try::Again) };
        if version.size != body.len() as u64 {
            return Ok(Try::Done(PutOutcome::Exists { owner: None }));
        }
        let mut found = vec![0; body.len()];
        let read = read_fully(&file, &mut found, 0).map_err(|e| self.fail(e, "read", key.as_str()))?;
        Meter::add(&self.meter.bytes_read, read as u64);
        if found[..read] != *body {
            return Ok(Try::Done(PutOutcome::Exists { owner: None }));
        }
        // Its author may have died before it was durable.
        self.fsync(&file).map_err(|e| self.fail(e, "fsync", key.as_str()))?;
        self.make_durable(parent, dir)?;
        Ok(Try::Done(PutOutcome::Created(version.object_version())))
    }

    /// Writes an object over whatever is there: temporary file, fsync, rename, fsync of the directory.
    pub(super) fn put(&self, key: &Key, body: &[u8]) -> Result<Try<ObjectVersion>> {
        let (parent, name) = self.to_write(key.as_str())?;
        let dir = self.make_directory(parent)?;
        let (temp_dir, temp, version) = self.write_temp(key, body)?;
        let temp_name = split(&temp).1;
        if let Err(e) = self.disk.rename((temp_dir.as_fd(), temp_name), (dir.as_fd(), name), Renaming::Over) {
            self.unlink(&temp_dir, temp_name).map_err(|e| self.fail(e, "remove", &temp))?;
            return match e {
                // The directory was found empty and removed.
                Errno::NOENT => Ok(Try::Again),
                Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => Err(self.in_the_way(key)),
                e => Err(self.fail(e, "write", key.as_str())),
            };
        }
        self.make_durable(parent, &dir)?;
        Ok(Try::Done(version.object_version()))
    }

    /// Writes and fsyncs a temporary file.
    fn write_temp(&self, key: &Key, body: &[u8]) -> Result<(OwnedFd, String, FileVersion)> {
        let (dir, temp, file) = self.create_temp(&format!("{TEMP}/{PUTS}/"))?;
        let written =
            self.write_fully(&file, body).and_then(|()| self.fsync(&file)).and_then(|()| rustix::fs::fstat(&file));
        match written {
            Ok(stat) => {
                Meter::add(&self.meter.bytes_written, body.len() as u64);
                Ok((dir, temp, FileVersion::of(&stat)))
            }
            Err(e) => {
                // The first error is the one to tell; a leftover is for `gc`.
                self.unlink(&dir, split(&temp).1).ok();
                Err(self.fail(e, "write", key.as_str()))
            }
        }
    }

    /// Deletes an object of our own, and the directories above it as far as they are empty.
    pub(super) fn delete(&self, key: &Key) -> Result<()> {
        Meter::add(&self.meter.delete, 1);
        let Some((parent, name)) = self.to_read(key.as_str()) else { return Ok(()) };
        let Some(dir) = self.open_directory(parent)? else { return Ok(()) };
        match self.disk.unlink((dir.as_fd(), name)) {
            Ok(()) => self.fsync(&dir).map_err(|e| self.fail(e, "fsync", parent))?,
            // A directory is no object.
            Err(Errno::ISDIR) => {}
            Err(e) if is_nothing(e) => {}
            Err(e) => return Err(self.fail(e, "delete", key.as_str())),
        }
        drop(dir);
        self.remove_empty(parent, "");
        Ok(())
    }

    /// Writes all of it at the file's position.
    pub(super) fn write_fully(&self, file: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
        while !bytes.is_empty() {
            match self.disk.write(file.as_fd(), bytes) {
                Ok(0) => return Err(Errno::IO),
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(super) fn in_the_way(&self, key: &Key) -> crate::StoreError {
        let detail = "a directory, symbolic link or device has this name".into();
        self.unsupported(format!("write `{key}`"), detail, Some("remove it, or choose another key"))
    }
}

/// Reads from `offset` until the buffer is full or the file ends; returns how much.
pub(super) fn read_fully(file: impl AsFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match rustix::io::pread(&file, &mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}
