//! Deletes exactly one version: rename aside, compare, unlink or put back (protocol.md, section 11).
//!
//! A file on its way to deletion lies at a name that tells its key and the version that was planned, so that a sweep
//! can decide in the deleter's place after a crash:
//!
//! - `.baler-trash/short/{directory of the key}/{planned etag}.{random}.{file name}`, or, where that is too long a name,
//! - `.baler-trash/long/{directory of the key}/{planned etag}.{random}/{file name}`.
//!
//! Neither etags nor random parts contain a dot. Deleter and sweep decide alike, so they may act at the same time. What
//! was moved aside and was not planned is put back without replacing; where a newer file has taken the key meanwhile,
//! it stays in the trash, because nobody's bytes are deleted unasked.

use std::os::fd::{AsFd, OwnedFd};

use baler_model::{Key, ObjectVersion};
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::disk::Renaming;
use super::tree::{MAX_NAME, Moved, TRASH, Tree, Try, is_nothing, split};
use super::version::Entry;
use crate::{DeleteOutcome, Meter, Result};

/// What a sweep of the trash did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweptTrash {
    /// Files that were planned for deletion and are gone now.
    pub removed: u64,
    /// Keys of files that were not, and are back in their place.
    pub put_back: Vec<Key>,
    /// Paths below the root of files that could not be put back, because their key is taken again.
    pub kept: Vec<String>,
}

impl Tree {
    /// Tries to delete an object in this version.
    pub(super) fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<Try<DeleteOutcome>> {
        let Some((parent, name)) = self.to_read(key.as_str()) else { return Ok(Try::Done(DeleteOutcome::Absent)) };
        let Some(dir) = self.open_directory(parent)? else { return Ok(Try::Done(DeleteOutcome::Absent)) };
        let fail = |e| self.fail(e, "delete", key.as_str());
        match self.entry(&dir, name)? {
            Entry::Absent | Entry::Other(_) => {
                // Whoever removed it may not have made that last.
                self.fsync(&dir).map_err(fail)?;
                return Ok(Try::Done(DeleteOutcome::Absent));
            }
            Entry::File(found) if found.is(version) => {}
            Entry::File(found) => return Ok(Try::Done(DeleteOutcome::Changed { found: found.object_version() })),
        }
        let random = self.ids.next_u64();
        let short = format!("{}.{random:016x}.{name}", version.etag);
        let (trash, aside) = if short.len() <= MAX_NAME {
            (join(&join(TRASH, "short"), parent), short.as_str())
        } else {
            let long = join(&join(TRASH, "long"), parent);
            (format!("{long}/{}.{random:016x}", version.etag), name)
        };
        let trash_dir = self.make_directory(&trash)?;
        // What comes to lie there may be another version than the planned one: nobody's bytes are lost on the way.
        self.make_reachable(&trash, &trash_dir)?;
        match self.disk.rename((dir.as_fd(), name), (trash_dir.as_fd(), aside), Renaming::Over) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Try::Again),
            Err(e) => return Err(fail(e)),
        }
        let outcome = match self.settle(&trash_dir, aside, &version.etag, &dir, name)? {
            Settled::Removed => Some(DeleteOutcome::Deleted),
            // What is there now, be it put back by a sweep that was faster, the next look shows.
            Settled::Gone | Settled::PutBack | Settled::Kept => None,
        };
        self.fsync(&dir).map_err(fail)?;
        drop(trash_dir);
        if short.len() > MAX_NAME {
            self.remove_empty(&trash, &format!("{TRASH}/long"));
        }
        Ok(outcome.map_or(Try::Again, Try::Done))
    }

    /// Decides about one file in the trash: unlinks what was planned, puts back anything else.
    fn settle(&self, trash_dir: &OwnedFd, aside: &str, planned: &str, dir: &OwnedFd, name: &str) -> Result<Settled> {
        let fail = |e| self.fail(e, "delete", name);
        match self.entry(trash_dir, aside)? {
            Entry::Absent => Ok(Settled::Gone),
            Entry::File(found) if found.has_etag(planned) => {
                self.unlink(trash_dir, aside).map_err(fail)?;
                Ok(Settled::Removed)
            }
            Entry::File(_) | Entry::Other(_) => {
                match self.move_to_free_name((trash_dir.as_fd(), aside), (dir.as_fd(), name)).map_err(fail)? {
                    Moved::Yes => Ok(Settled::PutBack),
                    Moved::Taken => Ok(Settled::Kept),
                    Moved::Gone => Ok(Settled::Gone),
                }
            }
        }
    }

    /// Finishes what deleters that died had begun.
    pub(super) fn sweep_trash(&self) -> Result<SweptTrash> {
        let mut swept = SweptTrash::default();
        for form in ["short", "long"] {
            let top = join(TRASH, form);
            let mut waiting = vec![top.clone()];
            let mut seen = Vec::new();
            while let Some(path) = waiting.pop() {
                for (name, is_directory) in self.read_trash(&path)? {
                    match is_directory {
                        true => waiting.push(join(&path, &name)),
                        false => self.sweep_one(&top, form, &path, &name, &mut swept)?,
                    }
                }
                seen.push(path);
            }
            for path in seen.iter().rev() {
                self.remove_empty(path, TRASH);
            }
        }
        Ok(swept)
    }

    fn sweep_one(&self, top: &str, form: &str, path: &str, aside: &str, swept: &mut SweptTrash) -> Result<()> {
        let below = path.strip_prefix(top).unwrap_or_default().trim_start_matches('/');
        let parsed = match form {
            "short" => {
                let mut parts = aside.splitn(3, '.');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(etag), Some(_), Some(name)) => Some((below, etag, name)),
                    _ => None,
                }
            }
            _ => {
                let (parent, own) = split(below);
                own.split_once('.').map(|(etag, _)| (parent, etag, aside))
            }
        };
        let Some((parent, etag, name)) = parsed else {
            // Not ours: a name that no deleter gives.
            swept.kept.push(join(path, aside));
            return Ok(());
        };
        let Some(trash_dir) = self.open_directory(path)? else { return Ok(()) };
        if matches!(self.entry(&trash_dir, aside)?, Entry::File(found) if found.has_etag(etag)) {
            self.unlink(&trash_dir, aside).map_err(|e| self.fail(e, "remove", aside))?;
            swept.removed += 1;
            return match self.open_directory(parent)? {
                Some(dir) => self.fsync(&dir).map_err(|e| self.fail(e, "fsync", parent)),
                None => Ok(()),
            };
        }
        let dir = self.make_directory(parent)?;
        match self.settle(&trash_dir, aside, etag, &dir, name)? {
            Settled::Gone => {}
            Settled::Removed => swept.removed += 1,
            Settled::PutBack => {
                self.make_durable(parent, &dir)?;
                swept.put_back.push(Key::from_listed(join(parent, name)));
            }
            Settled::Kept => swept.kept.push(join(path, aside)),
        }
        self.fsync(&dir).map_err(|e| self.fail(e, "fsync", parent))
    }

    fn read_trash(&self, path: &str) -> Result<Vec<(String, bool)>> {
        let Some(dir) = self.open_directory(path)? else { return Ok(Vec::new()) };
        let fail = |e| self.fail(e, "list", path);
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).map_err(fail)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) if is_nothing(e) => break,
                Err(e) => return Err(fail(e)),
            };
            // Keys are UTF-8, and so is every name that a deleter gives.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(e) if is_nothing(e) => continue,
                    Err(e) => return Err(fail(e)),
                },
                known => known,
            };
            names.push((name.to_owned(), kind.is_dir()));
        }
        Ok(names)
    }

    /// Counts one conditional delete; its tries are one request.
    pub(super) fn count_delete(&self) {
        Meter::add(&self.meter.delete, 1);
    }
}

enum Settled {
    /// It was not there any more.
    Gone,
    /// It was the planned version and is unlinked.
    Removed,
    /// It was not, and has its key again.
    PutBack,
    /// It was not, and its key is taken.
    Kept,
}

fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}/{name}"),
    }
}
