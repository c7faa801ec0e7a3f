//! The calls by which a directory store changes a file system: a port, so that a test can stand between.
//!
//! Every call that changes anything below a root is here and nowhere else, and so is every fsync: what a power loss may
//! leave behind follows from the order of these calls alone. Reading is not here: it changes nothing.
//!
//! [`SystemDisk`] asks the kernel. Names are single pieces of a path, below a directory that is open.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, SeekFrom};
use rustix::io::Result;

/// A name in an open directory.
pub type Entry<'a> = (BorrowedFd<'a>, &'a str);

/// What a rename does about its new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renaming {
    /// It replaces what is there.
    Over,
    /// It is refused (`EEXIST`) when something is there: `RENAME_NOREPLACE`.
    ToFree,
    /// Both names change their places: `RENAME_EXCHANGE`.
    Exchange,
}

/// The file system as a directory store changes it. Every method is one call of the system's.
///
/// The methods' own bodies are [`SystemDisk`]'s; an implementation wraps them. Errors are the system's.
#[expect(missing_docs, reason = "the names are those of the system's calls")]
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a file that must not exist, open for reading and writing.
    fn create(&self, at: Entry<'_>) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(at.0, at.1, flags, Mode::from_raw_mode(0o666))
    }

    fn write(&self, file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
        rustix::io::write(file, bytes)
    }

    /// `copy_file_range` from `offset`, which moves on, to the file's position.
    fn copy(&self, from: BorrowedFd<'_>, offset: &mut u64, to: BorrowedFd<'_>, most: usize) -> Result<usize> {
        rustix::fs::copy_file_range(from, Some(offset), to, None, most)
    }

    /// Cuts a file to `len` bytes and goes on writing there.
    fn truncate(&self, file: BorrowedFd<'_>, len: u64) -> Result<()> {
        rustix::fs::ftruncate(file, len)?;
        rustix::fs::seek(file, SeekFrom::Start(len)).map(drop)
    }

    /// Makes a file's bytes and times, or a directory's entries, last.
    fn fsync(&self, fd: BorrowedFd<'_>) -> Result<()> {
        rustix::fs::fsync(fd)
    }

    fn link(&self, from: Entry<'_>, to: Entry<'_>) -> Result<()> {
        rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
    }

    fn rename(&self, from: Entry<'_>, to: Entry<'_>, how: Renaming) -> Result<()> {
        let flags = match how {
            Renaming::Over => return rustix::fs::renameat(from.0, from.1, to.0, to.1),
            Renaming::ToFree => RenameFlags::NOREPLACE,
            Renaming::Exchange => RenameFlags::EXCHANGE,
        };
        rustix::fs::renameat_with(from.0, from.1, to.0, to.1, flags)
    }

    fn unlink(&self, at: Entry<'_>) -> Result<()> {
        rustix::fs::unlinkat(at.0, at.1, AtFlags::empty())
    }

    fn make_directory(&self, at: Entry<'_>) -> Result<()> {
        rustix::fs::mkdirat(at.0, at.1, Mode::from_raw_mode(0o777))
    }

    fn remove_directory(&self, at: Entry<'_>) -> Result<()> {
        rustix::fs::unlinkat(at.0, at.1, AtFlags::REMOVEDIR)
    }
}

/// The kernel's file systems, nothing between.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {}
