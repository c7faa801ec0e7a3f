//! From keys to files, without ever leaving the root.
//!
//! - A key is the path below the root, byte for byte. Keys that no path can keep (empty pieces, `.`, `..`, pieces of
//!   more than 255 bytes, NUL) and keys in the store's own directories name nothing: reads see nothing there, writes
//!   are refused.
//! - No symbolic link below the root is followed, by the kernel's own guarantee (`openat2`), so nothing that somebody
//!   else plants there can lead a read, write or delete outside. The root itself may be one.
//! - The root is opened anew for each call: one that was removed and made again is not missed.
//! - Durability: an entry lasts once its directory is fsynced, and the directory's own entry with it, up to the root
//!   and, once, the root's own entry. Directories whose whole chain was fsynced are remembered.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::disk::{self, Disk, Renaming};
use super::version::{Entry, FileVersion};
use crate::{IdSource, Meter, Result, StoreError, StoreInfo};

/// Temporary files lie here, below the root.
pub(super) const TEMP: &str = ".baler-tmp";
/// Files on their way to deletion lie here, below the root.
pub(super) const TRASH: &str = ".baler-trash";
/// The longest file name that the file systems of Linux take.
pub(super) const MAX_NAME: usize = 255;

/// Bound on the remembered durable directories; forgetting costs an fsync, never correctness.
const REMEMBERED: usize = 50_000;

/// How often a directory is created again that others keep removing.
const RESTARTS: u32 = 1000;

/// A directory as it was created: inode numbers are used again, birth times are not.
type DirectoryId = (u64, u64, i128);

/// The part of a directory store that blocking threads share.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) info: StoreInfo,
    pub(super) meter: Meter,
    pub(super) root: PathBuf,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) disk: Arc<dyn Disk>,
    no_openat2: AtomicBool,
    durable: Mutex<HashSet<DirectoryId>>,
}

/// What became of one try at something that others may be doing too.
#[derive(Debug)]
pub(super) enum Try<T> {
    /// It is decided.
    Done(T),
    /// Somebody moved in between: look again.
    Again,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK`: opening a pipe must not wait for its other end. It means nothing to a regular file.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW);

/// Why a key cannot be kept as a path, if it cannot.
pub(super) fn key_fault(key: &str) -> Option<String> {
    if key.contains('\0') {
        return Some("a file name cannot contain NUL".into());
    }
    for piece in key.split('/') {
        match piece {
            "" => return Some("a directory cannot keep empty pieces (`//`, or `/` at either end)".into()),
            "." | ".." => return Some("a directory cannot keep the pieces `.` and `..`".into()),
            long if long.len() > MAX_NAME => {
                return Some(format!("a file name has at most {MAX_NAME} bytes, `{long}` has {}", long.len()));
            }
            _ => {}
        }
    }
    let first = key.split('/').next().unwrap_or_default();
    matches!(first, TEMP | TRASH).then(|| format!("`{first}` is the store's own"))
}

/// Splits a path into its directory and its last piece.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Tree {
    pub(super) fn new(info: StoreInfo, root: PathBuf, ids: Arc<dyn IdSource>, disk: Arc<dyn Disk>) -> Self {
        let durable = Mutex::new(HashSet::new());
        Self { info, meter: Meter::default(), root, ids, disk, no_openat2: AtomicBool::new(false), durable }
    }

    #[cfg(test)]
    pub(super) fn pretend_no_openat2(&self) {
        self.no_openat2.store(true, Ordering::Relaxed);
    }

    /// Splits a key that is to be read; `None` when no file can have it.
    pub(super) fn to_read<'k>(&self, key: &'k str) -> Option<(&'k str, &'k str)> {
        key_fault(key).is_none().then(|| split(key))
    }

    /// Splits a key that is to be written.
    pub(super) fn to_write<'k>(&self, key: &'k str) -> Result<(&'k str, &'k str)> {
        match key_fault(key) {
            None => Ok(split(key)),
            Some(detail) => Err(self.unsupported(format!("write `{key}`"), detail, Some("choose another key"))),
        }
    }

    /// Opens the root; `None` when it does not exist.
    pub(super) fn open_root(&self) -> Result<Option<OwnedFd>> {
        match rustix::fs::open(&self.root, DIRECTORY, Mode::empty()) {
            Ok(root) => Ok(Some(root)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.fail(e, "open", &self.root.display().to_string())),
        }
    }

    /// Opens a path below `dir` (`""` is `dir` itself), following no symbolic link.
    pub(super) fn beneath(&self, dir: impl AsFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let (dir, path) = (dir.as_fd(), if path.is_empty() { "." } else { path });
        let flags = flags | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        while !self.no_openat2.load(Ordering::Relaxed) {
            match rustix::fs::openat2(dir, path, flags, Mode::empty(), how) {
                // Something was renamed while the kernel walked; it asks to be called again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS) => self.no_openat2.store(true, Ordering::Relaxed),
                // Sandboxes answer EPERM to calls that they do not know; walking tells them from a real refusal.
                Err(Errno::PERM) => break,
                answer => return answer,
            }
        }
        let (parent, name) = split(path);
        let mut here: Option<OwnedFd> = None;
        for piece in parent.split('/').filter(|p| !p.is_empty()) {
            let from = here.as_ref().map_or(dir, |fd| fd.as_fd());
            here = Some(rustix::fs::openat(from, piece, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?);
        }
        let from = here.as_ref().map_or(dir, |fd| fd.as_fd());
        rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Opens the directory `path` below the root; `None` when it is not there (or is no directory).
    pub(super) fn open_directory(&self, path: &str) -> Result<Option<OwnedFd>> {
        let Some(root) = self.open_root()? else { return Ok(None) };
        match self.beneath(&root, path, DIRECTORY) {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if is_nothing(e) => Ok(None),
            Err(e) => Err(self.fail(e, "open", path)),
        }
    }

    /// Opens the directory `path` below the root, creating what is missing. What was created is not durable yet.
    ///
    /// Others may remove a directory that they find empty while we create what goes into it: then it begins again.
    pub(super) fn make_directory(&self, path: &str) -> Result<OwnedFd> {
        let fail = |e| self.fail(e, "create the directory", path);
        for _ in 0..RESTARTS {
            let root = match self.open_root()? {
                Some(root) => root,
                None => self.create_root()?,
            };
            match self.beneath(&root, path, DIRECTORY) {
                Ok(dir) => return Ok(dir),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(fail(e)),
            }
            match self.make_pieces(root, path) {
                Ok(dir) => return Ok(dir),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(fail(e)),
            }
        }
        Err(fail(Errno::NOENT))
    }

    fn create_root(&self) -> Result<OwnedFd> {
        let fail = |e| self.fail(e, "create the directory", &self.root.display().to_string());
        let missing: Vec<&Path> = self.root.ancestors().take_while(|p| !p.exists()).collect();
        for path in missing.into_iter().rev() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let Some(name) = name.to_str() else { return Err(fail(Errno::ILSEQ)) };
            let parent = open_path(parent).map_err(fail)?;
            match self.disk.make_directory((parent.as_fd(), name)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(fail(e)),
            }
            self.fsync(&parent).map_err(fail)?;
        }
        rustix::fs::open(&self.root, DIRECTORY, Mode::empty()).map_err(fail)
    }

    /// Makes the entries of `dir`, which is `path` below the root, durable: fsyncs it, and each directory above it
    /// whose entry for the one below has not been made durable by this process.
    pub(super) fn make_durable(&self, path: &str, dir: impl AsFd) -> Result<()> {
        let fail = |e| self.fail(e, "fsync", path);
        self.fsync(&dir).map_err(fail)?;
        let last = directory_id(&dir).map_err(fail)?;
        if self.durable.lock().contains(&last) {
            return Ok(());
        }
        let Some(root) = self.open_root()? else { return Err(fail(Errno::NOENT)) };
        let mut fresh = vec![directory_id(&root).map_err(fail)?];
        if !self.durable.lock().contains(&fresh[0]) {
            // The root was there before us, or we fsynced its parent when creating it; a parent that may not even be
            // opened was not ours to make.
            match self.root.parent().map(|parent| self.fsync(open_path(parent)?)) {
                None | Some(Ok(()) | Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::INVAL)) => {}
                Some(Err(e)) => return Err(fail(e)),
            }
        }
        let mut above = root;
        for piece in path.split('/').filter(|p| !p.is_empty()) {
            let below = match rustix::fs::openat(&above, piece, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(below) => below,
                // Others deleted what we wrote, and the directory that was empty then: nothing is left to last.
                Err(Errno::NOENT) => return Ok(()),
                Err(e) => return Err(fail(e)),
            };
            let id = directory_id(&below).map_err(fail)?;
            if !self.durable.lock().contains(&id) {
                self.fsync(&above).map_err(fail)?;
                fresh.push(id);
            }
            above = below;
        }
        let mut durable = self.durable.lock();
        if durable.len() + fresh.len() > REMEMBERED {
            durable.clear();
        }
        durable.extend(fresh);
        Ok(())
    }

    /// Makes sure that `dir`, which is `path` below the root, is found again after a power loss: before a file that has
    /// another name already is moved into it. Else the old name could be gone, and the new one in a directory that
    /// nothing leads to. Cost: nothing but a look where this process made the directory durable before.
    pub(super) fn make_reachable(&self, path: &str, dir: impl AsFd) -> Result<()> {
        let id = directory_id(&dir).map_err(|e| self.fail(e, "look at", path))?;
        if self.durable.lock().contains(&id) { Ok(()) } else { self.make_durable(path, dir) }
    }

    /// What is at `name` in `dir`, following no symbolic link.
    pub(super) fn entry(&self, dir: impl AsFd, name: &str) -> Result<Entry> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Entry::of(&stat)),
            Err(e) if is_nothing(e) => Ok(Entry::Absent),
            Err(e) => Err(self.fail(e, "look at", name)),
        }
    }

    /// Opens a regular file for reading; `None` when nothing is there, or no regular file.
    pub(super) fn open_file(&self, dir: impl AsFd, path: &str) -> Result<Option<(OwnedFd, FileVersion)>> {
        let file = match self.beneath(dir, path, READ) {
            Ok(file) => file,
            // ENXIO: a socket, or a device without a driver.
            Err(e) if is_nothing(e) || e == Errno::NXIO => return Ok(None),
            Err(e) => return Err(self.fail(e, "open", path)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| self.fail(e, "look at", path))?;
        match Entry::of(&stat) {
            Entry::File(version) => Ok(Some((file, version))),
            Entry::Other(_) | Entry::Absent => Ok(None),
        }
    }

    /// Creates a temporary file for `prefix` (below the root, a directory with its last piece begun) and a random end.
    /// Returns its directory, its path and the file, open for reading and writing.
    pub(super) fn create_temp(&self, prefix: &str) -> Result<(OwnedFd, String, OwnedFd)> {
        loop {
            let path = format!("{prefix}{:016x}", self.ids.next_u64());
            let (parent, name) = split(&path);
            let dir = self.make_directory(parent)?;
            match self.disk.create((dir.as_fd(), name)) {
                Ok(file) => return Ok((dir, path, file)),
                // The name is taken, or somebody found the directory empty and removed it.
                Err(Errno::EXIST | Errno::NOENT) => {}
                Err(e) => return Err(self.fail(e, "create", &path)),
            }
        }
    }

    /// Removes the directory `path` below the root and those above it, as far as they are empty, down to but without
    /// `stop`. For directories of our own only.
    pub(super) fn remove_empty(&self, path: &str, stop: &str) {
        let Ok(Some(root)) = self.open_root() else { return };
        let mut path = path;
        while !path.is_empty() && path != stop {
            let (parent, name) = split(path);
            let Ok(dir) = self.beneath(&root, parent, DIRECTORY) else { return };
            if self.disk.remove_directory((dir.as_fd(), name)).is_err() {
                return;
            }
            path = parent;
        }
    }

    pub(super) fn fsync(&self, fd: impl AsFd) -> rustix::io::Result<()> {
        self.disk.fsync(fd.as_fd())
    }

    /// Unlinks; nothing there is fine.
    pub(super) fn unlink(&self, dir: impl AsFd, name: &str) -> rustix::io::Result<()> {
        match self.disk.unlink((dir.as_fd(), name)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Moves a file without replacing: `renameat2`, or link and unlink where the file system lacks it.
    pub(super) fn move_to_free_name(&self, from: disk::Entry<'_>, to: disk::Entry<'_>) -> rustix::io::Result<Moved> {
        match self.disk.rename(from, to, Renaming::ToFree) {
            Ok(()) => return Ok(Moved::Yes),
            Err(e) if lacks_rename_flags(e) => {}
            Err(Errno::EXIST) => return Ok(Moved::Taken),
            Err(Errno::NOENT) => return Ok(Moved::Gone),
            Err(e) => return Err(e),
        }
        self.link_and_unlink(from, to)
    }

    /// Moves a file without replacing and without `renameat2`. A crash in between leaves both names.
    pub(super) fn link_and_unlink(&self, from: disk::Entry<'_>, to: disk::Entry<'_>) -> rustix::io::Result<Moved> {
        match self.disk.link(from, to) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Moved::Taken),
            Err(Errno::NOENT) => return Ok(Moved::Gone),
            Err(e) => return Err(e),
        }
        self.unlink(from.0, from.1)?;
        self.fsync(from.0)?;
        Ok(Moved::Yes)
    }

    /// Creates the directories of `path` as far as they are missing, and opens the last.
    fn make_pieces(&self, root: OwnedFd, path: &str) -> rustix::io::Result<OwnedFd> {
        let mut here = root;
        for piece in path.split('/').filter(|p| !p.is_empty()) {
            // Opened first: in a parent that is read-only it may be there already.
            let open = || rustix::fs::openat(&here, piece, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
            here = match open() {
                Err(Errno::NOENT) => match self.disk.make_directory((here.as_fd(), piece)) {
                    Ok(()) | Err(Errno::EXIST) => open()?,
                    Err(e) => return Err(e),
                },
                answer => answer?,
            };
        }
        Ok(here)
    }

    /// An error of the system, in the words of the contract. `what` is a key or a path.
    pub(super) fn fail(&self, e: Errno, verb: &str, what: &str) -> StoreError {
        let (store, doing, detail) = (self.info.name.clone(), format!("{verb} `{what}`"), e.to_string());
        match e {
            Errno::NOSPC | Errno::DQUOT | Errno::ROFS => StoreError::NoRoom { store, doing, detail },
            Errno::ACCESS | Errno::PERM => {
                let hint = format!("check who may read and write below `{}`", self.info.url);
                StoreError::Denied { store, doing, detail, hint: Some(hint) }
            }
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::STALE | Errno::TIMEDOUT => {
                StoreError::Exhausted { store, doing, tries: 1, detail }
            }
            Errno::XDEV => {
                let hint = "what lies below a directory store must be one file system: make the other one a store";
                self.unsupported(doing, "it lies on another file system than the store's root".into(), Some(hint))
            }
            Errno::LOOP => self.unsupported(doing, "symbolic links below the root are not followed".into(), None),
            Errno::NOTDIR => {
                let detail = "a file (or symbolic link) is where a directory must be".into();
                self.unsupported(doing, detail, Some("`x` and `x/y` cannot both be keys of a directory"))
            }
            Errno::NAMETOOLONG | Errno::FBIG => self.unsupported(doing, detail, None),
            _ => StoreError::Failed { store, doing, detail },
        }
    }

    pub(super) fn unsupported(&self, doing: String, detail: String, hint: Option<&str>) -> StoreError {
        StoreError::Unsupported { store: self.info.name.clone(), doing, detail, hint: hint.map(Into::into) }
    }

    pub(super) fn changed(&self, key: &baler_model::Key, planned: &str, found: &FileVersion) -> StoreError {
        let (store, found) = (self.info.name.clone(), found.etag());
        StoreError::Changed { store, key: key.clone(), planned: planned.into(), found: found.to_string() }
    }

    pub(super) fn not_found(&self, key: &baler_model::Key) -> StoreError {
        StoreError::NotFound { store: self.info.name.clone(), key: key.clone() }
    }
}

/// Whether this error means that no object is there: nothing, or a file or symbolic link on the way.
pub(super) fn is_nothing(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Whether the file system lacks the flags of `renameat2` (NFS, 9p, some FUSE).
pub(super) fn lacks_rename_flags(e: Errno) -> bool {
    matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// What became of moving a file to a name that must be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// It has the new name alone.
    Yes,
    /// The new name is taken.
    Taken,
    /// The old name, or the new one's directory, is gone.
    Gone,
}

/// Opens a directory by its path, following links: what lies above a root is the user's own word.
fn open_path(path: &Path) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())
}

fn directory_id(dir: impl AsFd) -> rustix::io::Result<DirectoryId> {
    let want = StatxFlags::INO | StatxFlags::BTIME;
    let found = rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, want)?;
    let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    let born = i128::from(found.stx_btime.tv_sec) * 1_000_000_000 + i128::from(found.stx_btime.tv_nsec);
    Ok((device, found.stx_ino, born))
}
