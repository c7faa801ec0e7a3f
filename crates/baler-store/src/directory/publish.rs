//! Reveals staged files, atomically and once (protocol.md, section 11).
//!
//! A new key: `renameat2(RENAME_NOREPLACE)`, or link and unlink. The temporary is gone when that is done, so a publisher
//! that wakes late finds nothing to publish again.
//!
//! A replacement: the publisher renames the temporary to a name of its own, `{temp}.pub-{random}`, and acts only there.
//! One that comes later, after a crash or at the same time, takes that name over by renaming it again; whoever is
//! renamed away sees ENOENT and looks again. Under its own name it exchanges temporary and target, and looks at what
//! came out: the recorded old version is unlinked, anything else is exchanged back. What lies at a `.pub-` name is thus
//! either the staged file (by its inode) or what came out of an exchange; the latter is never deleted unless it is what
//! may be replaced.

use std::os::fd::{AsFd, OwnedFd};

use baler_model::{ObjectVersion, Staged};
use rustix::fs::Dir;
use rustix::io::Errno;

use super::disk::Renaming;
use super::stage::temp_of;
use super::tree::{Moved, TEMP, Tree, Try, lacks_rename_flags, split};
use super::version::{Entry, FileVersion};
use crate::{AbortOutcome, Confirmation, Meter, Precondition, Proof, PublishOutcome, Result};

/// Stands between a temporary's name and the random part of its publisher's.
pub(super) const TAKEN: &str = ".pub-";

/// One staged file on its way to its key.
struct Publishing<'a> {
    tree: &'a Tree,
    staged: &'a Staged,
    /// The staged file, as the mark knows it.
    mark: FileVersion,
    temp_parent: &'a str,
    temp_name: &'a str,
    /// `None` when the temporary's directory is gone.
    temp_dir: Option<OwnedFd>,
    parent: &'a str,
    name: &'a str,
    dir: OwnedFd,
}

impl Tree {
    /// Tries to publish.
    pub(super) fn publish(&self, staged: &Staged, precondition: &Precondition) -> Result<Try<PublishOutcome>> {
        let (temp, mark) = temp_of(self, staged)?;
        let (temp_parent, temp_name) = split(&temp);
        let (parent, name) = self.to_write(staged.key.as_str())?;
        let dir = self.make_directory(parent)?;
        self.make_reachable(parent, &dir)?;
        let temp_dir = self.open_directory(temp_parent)?;
        match (precondition, &temp_dir) {
            (Precondition::Matches(_) | Precondition::Whatever, Some(temp_dir)) => one_at_a_time(temp_dir),
            (Precondition::Absent, _) | (_, None) => {}
        }
        let it = Publishing { tree: self, staged, mark, temp_parent, temp_name, temp_dir, parent, name, dir };
        match precondition {
            Precondition::Absent => it.create(),
            Precondition::Matches(old) => it.replace(Some(old)),
            Precondition::Whatever => it.replace(None),
        }
    }

    /// Looks whether the target is the staged file itself, and makes its entry durable.
    pub(super) fn confirm(&self, staged: &Staged) -> Result<Confirmation> {
        Meter::add(&self.meter.head, 1);
        let (temp, mark) = temp_of(self, staged)?;
        let (parent, name) = self.to_write(staged.key.as_str())?;
        let Some(dir) = self.open_directory(parent)? else { return Ok(Confirmation::Absent) };
        match self.entry(&dir, name)? {
            Entry::Absent => Ok(Confirmation::Absent),
            Entry::File(found) if found == mark => {
                // Where publishing is link and unlink, a temporary left by a crash could be published once more.
                let (temp_parent, temp_name) = split(&temp);
                if let Some(temp_dir) = self.open_directory(temp_parent)?
                    && self.entry(&temp_dir, temp_name)?.is(&mark)
                {
                    self.unlink(&temp_dir, temp_name)
                        .and_then(|()| self.fsync(&temp_dir))
                        .map_err(|e| self.fail(e, "remove", &temp))?;
                }
                self.make_durable(parent, &dir)?;
                Ok(Confirmation::Ours { version: mark.object_version(), proof: Proof::SameFile })
            }
            // The same inode in another size or time cannot be told from one that was freed and used again.
            Entry::File(found) | Entry::Other(found) => Ok(Confirmation::Foreign { version: found.object_version() }),
        }
    }

    /// Whether the staged file is still there, under its own name or a publisher's.
    pub(super) fn staged_exists(&self, staged: &Staged) -> Result<bool> {
        Meter::add(&self.meter.head, 1);
        let (temp, mark) = temp_of(self, staged)?;
        let (parent, name) = split(&temp);
        let Some(dir) = self.open_directory(parent)? else { return Ok(false) };
        if self.entry(&dir, name)?.is(&mark) {
            return Ok(true);
        }
        for taken in self.taken_names(&dir, name)? {
            if self.entry(&dir, &taken)?.is(&mark) {
                return Ok(true);
            }
        }
        // A publisher may just have put it back.
        Ok(self.entry(&dir, name)?.is(&mark))
    }

    /// Removes the staged file, under its own name or a publisher's.
    pub(super) fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome> {
        Meter::add(&self.meter.delete, 1);
        let (temp, mark) = temp_of(self, staged)?;
        let (parent, name) = split(&temp);
        let Some(dir) = self.open_directory(parent)? else { return Ok(AbortOutcome::Gone) };
        let fail = |e| self.fail(e, "remove", &temp);
        let mut outcome = AbortOutcome::Gone;
        let taken = self.taken_names(&dir, name)?;
        if !taken.is_empty() {
            one_at_a_time(&dir);
        }
        for taken in taken {
            // Anything else there came out of an exchange: it is somebody's object.
            if self.entry(&dir, &taken)?.is(&mark) {
                outcome = outcome.or(self.give_up(&dir, &taken).map_err(fail)?);
            }
        }
        match self.entry(&dir, name)?.is(&mark) {
            true => outcome = outcome.or(self.give_up(&dir, name).map_err(fail)?),
            // Written to after it was staged: never to be published, and of no use.
            false => self.unlink(&dir, name).map_err(fail)?,
        }
        self.fsync(&dir).map_err(fail)?;
        drop(dir);
        self.remove_empty(parent, TEMP);
        Ok(outcome)
    }

    /// Unlinks a staged file. Renamed first, because that takes it from every publisher at once; where the file system knows
    /// no such rename, a publisher may have linked it to its key before, and nobody can tell.
    fn give_up(&self, dir: &OwnedFd, name: &str) -> rustix::io::Result<AbortOutcome> {
        let aside = format!("{name}.given-up");
        match self.disk.rename((dir.as_fd(), name), (dir.as_fd(), &aside), Renaming::ToFree) {
            Ok(()) => self.unlink(dir, &aside).map(|()| AbortOutcome::GivenUp),
            Err(Errno::NOENT) => Ok(AbortOutcome::Gone),
            Err(e) if lacks_rename_flags(e) || e == Errno::EXIST => self.unlink(dir, name).map(|()| AbortOutcome::Gone),
            Err(e) => Err(e),
        }
    }

    /// The names to which publishers renamed this temporary.
    fn taken_names(&self, dir: impl AsFd, name: &str) -> Result<Vec<String>> {
        let prefix = format!("{name}{TAKEN}");
        let mut names = Vec::new();
        let fail = |e| self.fail(e, "list", TEMP);
        for entry in Dir::read_from(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if let Ok(found) = entry.file_name().to_str()
                && found.starts_with(&prefix)
            {
                names.push(found.to_owned());
            }
        }
        Ok(names)
    }
}

/// Lets publishers of this machine replace one after the other, until the directory is closed.
///
/// Nothing rests on it, and it may fail: taking over by rename is safe without. But a listing that runs while another
/// renames may miss the file, and the publisher would report it as gone though it is just being published.
fn one_at_a_time(temp_dir: &OwnedFd) {
    if let Err(error) = rustix::fs::flock(temp_dir, rustix::fs::FlockOperation::LockExclusive) {
        tracing::debug!(%error, "replacing without taking turns");
    }
}

impl Publishing<'_> {
    /// Publishes at a key where nothing may be.
    fn create(&self) -> Result<Try<PublishOutcome>> {
        let target = self.target()?;
        if target.is(&self.mark) {
            // A link whose temporary a crash left behind.
            if let Some(temp_dir) = &self.temp_dir
                && self.tree.entry(temp_dir, self.temp_name)?.is(&self.mark)
            {
                self.tree
                    .unlink(temp_dir, self.temp_name)
                    .and_then(|()| self.tree.fsync(temp_dir))
                    .map_err(|e| self.fail(e))?;
            }
            return self.published();
        }
        let Some(temp_dir) = &self.temp_dir else { return Ok(Try::Done(PublishOutcome::StagedGone)) };
        if !self.tree.entry(temp_dir, self.temp_name)?.is(&self.mark) {
            return self.bring_back(temp_dir);
        }
        if target != Entry::Absent {
            return Ok(Try::Done(PublishOutcome::Occupied));
        }
        match self.tree.move_to_free_name((temp_dir.as_fd(), self.temp_name), (self.dir.as_fd(), self.name)) {
            Ok(Moved::Yes) => self.published(),
            Ok(Moved::Taken | Moved::Gone) => Ok(Try::Again),
            Err(e) => Err(self.fail(e)),
        }
    }

    /// A publisher that may have replaced had taken the temporary and died: gives it its name again.
    fn bring_back(&self, temp_dir: &OwnedFd) -> Result<Try<PublishOutcome>> {
        for taken in self.tree.taken_names(temp_dir, self.temp_name)? {
            if self.tree.entry(temp_dir, &taken)?.is(&self.mark) {
                return match self.tree.move_to_free_name((temp_dir.as_fd(), &taken), (temp_dir.as_fd(), self.temp_name))
                {
                    Ok(_) => Ok(Try::Again),
                    Err(e) => Err(self.fail(e)),
                };
            }
        }
        // Another publisher may have been faster, between our look at the target and at the temporary.
        if self.target()?.is(&self.mark) { self.published() } else { Ok(Try::Done(PublishOutcome::StagedGone)) }
    }

    /// Publishes over `old`, or with `None` over whatever file is there.
    fn replace(&self, old: Option<&ObjectVersion>) -> Result<Try<PublishOutcome>> {
        let Some(temp_dir) = &self.temp_dir else { return self.gone() };
        let own = format!("{}{TAKEN}{:016x}", self.temp_name, self.tree.ids.next_u64());
        if !self.take_over(temp_dir, &own)? {
            return self.gone();
        }
        match self.tree.entry(temp_dir, &own)? {
            Entry::Absent => Ok(Try::Again),
            held if held.is(&self.mark) => match self.swap_in(temp_dir, &own, old)? {
                Some(outcome) => Ok(outcome),
                None => self.look_at_what_came_out(temp_dir, &own, old),
            },
            // Written to after it was staged: lost.
            Entry::File(held) if held.same_inode(&self.mark) => {
                self.give_back(temp_dir, &own)?;
                Ok(Try::Done(PublishOutcome::StagedGone))
            }
            Entry::File(_) | Entry::Other(_) => self.look_at_what_came_out(temp_dir, &own, old),
        }
    }

    /// Renames the temporary, from its own name or from another publisher's, to `own`.
    fn take_over(&self, temp_dir: &OwnedFd, own: &str) -> Result<bool> {
        let names = std::iter::once(Ok(self.temp_name.to_owned()));
        let taken = std::iter::once_with(|| self.tree.taken_names(temp_dir, self.temp_name));
        let taken = taken.flat_map(|found| match found {
            Ok(names) => names.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(e) => vec![Err(e)],
        });
        for name in names.chain(taken) {
            match self.rename_temp(temp_dir, &name?, own) {
                Ok(()) => return Ok(true),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(self.fail(e)),
            }
        }
        Ok(false)
    }

    /// Puts the staged file, held at `own`, at the target. `None` when something came out in exchange.
    fn swap_in(
        &self,
        temp_dir: &OwnedFd,
        own: &str,
        old: Option<&ObjectVersion>,
    ) -> Result<Option<Try<PublishOutcome>>> {
        let refused = match (self.target()?, old) {
            (Entry::File(found), Some(old)) if !found.is(old) => Some(Some(found)),
            (Entry::Other(found), Some(_)) => Some(Some(found)),
            (Entry::Absent, Some(_)) => Some(None),
            (Entry::File(_), _) | (Entry::Absent, None) => None,
            (Entry::Other(_), None) => {
                self.give_back(temp_dir, own)?;
                return Err(self.tree.in_the_way(&self.staged.key));
            }
        };
        if let Some(found) = refused {
            self.give_back(temp_dir, own)?;
            return Ok(Some(replaced(found)));
        }
        if old.is_none() {
            match self.tree.move_to_free_name((temp_dir.as_fd(), own), (self.dir.as_fd(), self.name)) {
                Ok(Moved::Yes) => return self.published().map(Some),
                Ok(Moved::Gone) => return Ok(Some(Try::Again)),
                Ok(Moved::Taken) => {}
                Err(e) => return self.give_back(temp_dir, own).and(Err(self.fail(e))),
            }
        }
        match self.exchange(temp_dir, own) {
            Ok(()) => Ok(None),
            Err(e) => {
                self.give_back(temp_dir, own)?;
                match e {
                    Errno::NOENT => Ok(Some(Try::Again)),
                    e if lacks_rename_flags(e) => {
                        let doing = format!("replace `{}`", self.staged.key);
                        let detail = "its file system cannot exchange two files (`renameat2`)".into();
                        let hint = Some("write to a local file system, or to keys that do not exist yet");
                        Err(self.tree.unsupported(doing, detail, hint))
                    }
                    e => Err(self.fail(e)),
                }
            }
        }
    }

    /// Decides about what an exchange, ours or that of a publisher who died, left at `own`.
    fn look_at_what_came_out(
        &self,
        temp_dir: &OwnedFd,
        own: &str,
        old: Option<&ObjectVersion>,
    ) -> Result<Try<PublishOutcome>> {
        let out = match self.tree.entry(temp_dir, own)? {
            Entry::Absent => return Ok(Try::Again),
            Entry::File(out) if old.is_none_or(|old| out.is(old)) => {
                // The new entry must last before the old file goes.
                self.tree.make_durable(self.parent, &self.dir)?;
                self.tree.unlink(temp_dir, own).map_err(|e| self.fail(e))?;
                return self.gone();
            }
            Entry::File(out) | Entry::Other(out) => out,
        };
        match self.target()? {
            target if target.is(&self.mark) => match self.exchange(temp_dir, own) {
                Ok(()) if self.tree.entry(temp_dir, own)?.is(&self.mark) => {
                    self.give_back(temp_dir, own)?;
                    self.tree.make_durable(self.parent, &self.dir)?;
                    Ok(replaced(Some(out)))
                }
                // Somebody wrote over what we had revealed, in the moment before: his is the newest, it stays.
                Ok(()) => {
                    self.exchange(temp_dir, own).map_err(|e| self.fail(e))?;
                    Ok(replaced(Some(out)))
                }
                Err(Errno::NOENT) => Ok(Try::Again),
                Err(e) => Err(self.fail(e)),
            },
            Entry::Absent => {
                match self.tree.move_to_free_name((temp_dir.as_fd(), own), (self.dir.as_fd(), self.name)) {
                    Ok(Moved::Yes) => {
                        self.tree.make_durable(self.parent, &self.dir)?;
                        Ok(replaced(Some(out)))
                    }
                    Ok(Moved::Taken | Moved::Gone) => Ok(Try::Again),
                    Err(e) => Err(self.fail(e)),
                }
            }
            // Ours was written over after it was revealed: the newest stays, and nobody's bytes are deleted.
            Entry::File(found) | Entry::Other(found) => Ok(replaced(Some(found))),
        }
    }

    /// The staged file is not there: published, by us or another, or lost.
    fn gone(&self) -> Result<Try<PublishOutcome>> {
        if !self.target()?.is(&self.mark) {
            return Ok(Try::Done(PublishOutcome::StagedGone));
        }
        // What came out of an exchange is unlinked, by us or by one who died: were it there again, nobody would look
        // at its name once the run is committed.
        if let Some(temp_dir) = &self.temp_dir {
            self.tree.fsync(temp_dir).map_err(|e| self.fail(e))?;
        }
        self.published()
    }

    fn exchange(&self, temp_dir: &OwnedFd, own: &str) -> rustix::io::Result<()> {
        self.tree.disk.rename((temp_dir.as_fd(), own), (self.dir.as_fd(), self.name), Renaming::Exchange)
    }

    fn rename_temp(&self, temp_dir: &OwnedFd, from: &str, to: &str) -> rustix::io::Result<()> {
        self.tree.disk.rename((temp_dir.as_fd(), from), (temp_dir.as_fd(), to), Renaming::Over)
    }

    /// Gives the temporary its name again; whoever took it over meanwhile keeps it.
    fn give_back(&self, temp_dir: &OwnedFd, own: &str) -> Result<()> {
        match self.rename_temp(temp_dir, own, self.temp_name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.fail(e)),
        }
    }

    fn published(&self) -> Result<Try<PublishOutcome>> {
        self.tree.make_durable(self.parent, &self.dir)?;
        self.tree.remove_empty(self.temp_parent, TEMP);
        Ok(Try::Done(PublishOutcome::Published))
    }

    fn target(&self) -> Result<Entry> {
        self.tree.entry(&self.dir, self.name)
    }

    fn fail(&self, e: Errno) -> crate::StoreError {
        self.tree.fail(e, "publish", self.staged.key.as_str())
    }
}

fn replaced(found: Option<FileVersion>) -> Try<PublishOutcome> {
    Try::Done(PublishOutcome::Replaced { found: found.map(|f| f.object_version()) })
}
