//! Power loss: what a directory store's calls leave on a disk that forgets what was not fsynced.
//!
//! [`Recorder`] is a [`Disk`] that does every call for real, except fsync, and keeps a tape of them. A tape can be cut
//! behind any of its calls, and [`Recorder::lay_out`] puts an [`Image`] of the cut in the place of the real files: what a
//! machine could find after it lost power there. Whatever then goes on is not told that anything was laid out.
//!
//! What may survive a cut, by POSIX and by what every journal and every ordered file system adds to it:
//!
//! - an entry's change (create, link, unlink, mkdir, rmdir, both sides of a rename) lasts once *its own* directory was
//!   fsynced; before, each change may or may not have reached the disk, in whatever order but that of one name;
//! - a rename takes the old name away only where the new one is there: a file is never lost by it, but where the names
//!   are in two directories it may have both. An exchange happens to both names or to none, and so does a rename within
//!   one directory;
//! - a directory is taken away only where it is empty on the disk too;
//! - a file's bytes last once the file was fsynced. Before, its name may be there and its bytes not: none of them, zeros
//!   in their place (size and time as if all were well), or all of them;
//! - a directory's entries are of no use while an entry above it is lost.
//!
//! A disk keeps inode numbers, and Baler knows a file by its own. So the recorder holds a second link to every file that
//! it sees, beside the tree: an image is made of links to the very files, and where bytes are lost they are taken out of
//! the file itself until the next image. Directories are made anew; nobody knows them by number across a boot.

mod image;
mod tape;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use baler_store::{Disk, DiskEntry, Renaming, SystemDisk};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD};
use rustix::io::{Errno, Result};

pub use image::{Image, Lost, Survival};
use tape::{Call, Node, Tape};

/// A disk that remembers what was made durable. Everything below one directory, through however many stores, is one
/// tape.
pub struct Recorder {
    tree: PathBuf,
    stash: PathBuf,
    seen: Mutex<Seen>,
}

/// A disk that never waits for the platter: for processes whose machine does not lose power.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsynced;

impl Disk for Unsynced {
    fn fsync(&self, _fd: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }
}

/// What the recorder knows of the real files.
#[derive(Default)]
struct Seen {
    tape: Tape,
    /// Nodes by inode number; a number that is used again names its newest node.
    inodes: HashMap<u64, Node>,
    stop: Option<usize>,
    /// Files whose bytes were taken out for an image, to be put back.
    taken_out: Vec<image::TakenOut>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("tree", &self.tree).finish_non_exhaustive()
    }
}

impl Drop for Recorder {
    /// Other recorders have links to the same files.
    fn drop(&mut self) {
        for taken in self.seen.lock().taken_out.drain(..).rev() {
            match taken.put_back() {
                // The whole stash is gone: nobody has links to its files.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                result => result.expect("a file that was written can be written again"),
            }
        }
    }
}

impl Recorder {
    /// Takes what is below `tree` as durable. `stash` is an empty directory of the same file system, outside it.
    pub fn new(tree: PathBuf, stash: PathBuf) -> std::io::Result<Self> {
        let mut seen = Seen::default();
        let inode = rustix::fs::stat(&tree)?.st_ino;
        let root = seen.tape.root();
        seen.inodes.insert(inode, root);
        scan(&tree, root, &stash, &mut seen)?;
        Ok(Self { tree, stash, seen: Mutex::new(seen) })
    }

    /// How many calls were recorded.
    pub fn len(&self) -> usize {
        self.seen.lock().tape.len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One call, for people: `link lake/_baler/…`.
    pub fn describe(&self, call: usize) -> String {
        self.seen.lock().tape.describe(call)
    }

    /// From `calls` recorded calls on, every further one fails and does nothing: the process is dead, the machine is not.
    pub fn stop_at(&self, calls: Option<usize>) {
        self.seen.lock().stop = calls;
    }

    /// What could be found after a power loss behind the first `calls` calls.
    pub fn image(&self, calls: usize, survival: Survival) -> Image {
        self.seen.lock().tape.image(calls, survival)
    }

    /// Puts an image in the place of everything below the tree. Bytes that the image before had lost come back first.
    pub fn lay_out(&self, image: &Image) -> std::io::Result<()> {
        let seen = &mut *self.seen.lock();
        for taken in seen.taken_out.drain(..).rev() {
            taken.put_back()?;
        }
        for entry in std::fs::read_dir(&self.tree)? {
            let path = entry?.path();
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        image.build(&self.tree, &self.stash, &mut seen.taken_out)
    }

    /// Goes back to behind the first `calls` calls, with everything that they did still there and nothing more durable
    /// than it was: a process died there, and another one goes on. What it does is recorded behind those calls.
    ///
    /// `stash` is one more empty directory.
    pub fn fork(&self, calls: usize, stash: PathBuf) -> std::io::Result<Self> {
        let image = self.image(calls, Survival::Everything);
        self.lay_out(&image)?;
        let tape = self.seen.lock().tape.up_to(calls);
        for node in tape.files() {
            std::fs::hard_link(node.stash(&self.stash), node.stash(&stash))?;
        }
        let mut inodes = HashMap::new();
        image.visit(tape.root(), &mut |node, path, content| {
            let path = self.tree.join(path);
            // A copy of what was written so far is the file from now on.
            if content.is_some_and(|content| !content.complete) {
                std::fs::remove_file(node.stash(&stash))?;
                std::fs::hard_link(&path, node.stash(&stash))?;
            }
            inodes.insert(rustix::fs::lstat(&path)?.st_ino, node);
            Ok(())
        })?;
        let seen = Seen { tape, inodes, ..Seen::default() };
        Ok(Self { tree: self.tree.clone(), stash, seen: Mutex::new(seen) })
    }

    /// Does a call and records it; `None` records nothing.
    fn call<T>(&self, call: impl FnOnce(&mut Seen) -> Result<(T, Option<Call>)>) -> Result<T> {
        let seen = &mut *self.seen.lock();
        if seen.stop.is_some_and(|stop| seen.tape.len() >= stop) {
            return Err(Errno::IO);
        }
        let (value, call) = call(seen)?;
        if let Some(call) = call {
            seen.tape.push(call);
        }
        Ok(value)
    }
}

impl Seen {
    /// The node of an open file or directory; `None` outside the tree.
    fn node(&self, fd: BorrowedFd<'_>) -> Result<Option<Node>> {
        Ok(self.inodes.get(&rustix::fs::fstat(fd)?.st_ino).copied())
    }

    /// The place of a name in a directory of the tree.
    fn place(&self, at: DiskEntry<'_>) -> Result<(Node, String)> {
        // Nothing outside the tree is changed through a store.
        Ok((self.node(at.0)?.ok_or(Errno::XDEV)?, at.1.to_owned()))
    }
}

impl Disk for Recorder {
    fn create(&self, at: DiskEntry<'_>) -> Result<OwnedFd> {
        self.call(|seen| {
            let (dir, name) = seen.place(at)?;
            let file = SystemDisk.create(at)?;
            let node = seen.tape.file(0);
            seen.inodes.insert(rustix::fs::fstat(&file)?.st_ino, node);
            rustix::fs::linkat(at.0, at.1, CWD, node.stash(&self.stash), AtFlags::empty())?;
            Ok((file, Some(Call::Create { dir, name, node })))
        })
    }

    fn write(&self, file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
        self.call(|seen| SystemDisk.write(file, bytes).and_then(|n| Ok((n, grown(seen, file)?))))
    }

    fn copy(&self, from: BorrowedFd<'_>, offset: &mut u64, to: BorrowedFd<'_>, most: usize) -> Result<usize> {
        self.call(|seen| SystemDisk.copy(from, offset, to, most).and_then(|n| Ok((n, grown(seen, to)?))))
    }

    fn truncate(&self, file: BorrowedFd<'_>, len: u64) -> Result<()> {
        self.call(|seen| SystemDisk.truncate(file, len).and_then(|()| Ok(((), grown(seen, file)?))))
    }

    fn fsync(&self, fd: BorrowedFd<'_>) -> Result<()> {
        self.call(|seen| Ok(((), seen.node(fd)?.map(|node| Call::Fsync { node }))))
    }

    fn link(&self, from: DiskEntry<'_>, to: DiskEntry<'_>) -> Result<()> {
        self.call(|seen| {
            let (from_place, to_place) = (seen.place(from)?, seen.place(to)?);
            SystemDisk.link(from, to)?;
            let node = seen.tape.now_at(&from_place).ok_or(Errno::NOENT)?;
            Ok(((), Some(Call::Link { dir: to_place.0, name: to_place.1, node })))
        })
    }

    fn rename(&self, from: DiskEntry<'_>, to: DiskEntry<'_>, how: Renaming) -> Result<()> {
        self.call(|seen| {
            let (from_place, to_place) = (seen.place(from)?, seen.place(to)?);
            SystemDisk.rename(from, to, how)?;
            let exchange = how == Renaming::Exchange;
            Ok(((), Some(Call::Rename { from: from_place, to: to_place, exchange })))
        })
    }

    fn unlink(&self, at: DiskEntry<'_>) -> Result<()> {
        self.call(|seen| {
            let (dir, name) = seen.place(at)?;
            SystemDisk.unlink(at)?;
            Ok(((), Some(Call::Unlink { dir, name })))
        })
    }

    fn make_directory(&self, at: DiskEntry<'_>) -> Result<()> {
        self.call(|seen| {
            let (dir, name) = seen.place(at)?;
            SystemDisk.make_directory(at)?;
            let node = seen.tape.directory();
            seen.inodes.insert(rustix::fs::statat(at.0, at.1, AtFlags::SYMLINK_NOFOLLOW)?.st_ino, node);
            Ok(((), Some(Call::MakeDirectory { dir, name, node })))
        })
    }

    fn remove_directory(&self, at: DiskEntry<'_>) -> Result<()> {
        self.call(|seen| {
            let (dir, name) = seen.place(at)?;
            SystemDisk.remove_directory(at)?;
            Ok(((), Some(Call::RemoveDirectory { dir, name })))
        })
    }
}

/// A file has another length now.
fn grown(seen: &Seen, file: BorrowedFd<'_>) -> Result<Option<Call>> {
    let len = u64::try_from(rustix::fs::fstat(file.as_fd())?.st_size).unwrap_or(0);
    Ok(seen.node(file)?.map(|node| Call::Grow { node, len }))
}

/// Takes what is below a directory into the tape, as durable.
fn scan(path: &Path, dir: Node, stash: &Path, seen: &mut Seen) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| std::io::Error::other(format!("{name:?}")))?;
        let stat = rustix::fs::lstat(entry.path())?;
        if entry.file_type()?.is_dir() {
            let node = seen.tape.directory();
            seen.inodes.insert(stat.st_ino, node);
            seen.tape.found(dir, name, node);
            scan(&entry.path(), node, stash, seen)?;
        } else {
            let node = match seen.inodes.get(&stat.st_ino) {
                // A second link.
                Some(node) => *node,
                None => {
                    let node = seen.tape.file(u64::try_from(stat.st_size).unwrap_or(0));
                    seen.inodes.insert(stat.st_ino, node);
                    std::fs::hard_link(entry.path(), node.stash(stash))?;
                    node
                }
            };
            seen.tape.found(dir, name, node);
        }
    }
    Ok(())
}
