//! Lists the files below a directory in the order of their keys.
//!
//! Within one directory, entries are ordered as if the name of each sub-directory ended in `/`; walked in that order,
//! whole keys come out sorted by bytes (`a-b` before `a/x` before `a0`), so nothing is sorted twice. Directories, and
//! slices of very large ones, are worked on by several threads; each result has its place beforehand.
//!
//! Symbolic links, pipes, sockets and devices are never objects: they are counted with the unreadable names. A file or
//! directory that vanishes while it is listed is left out; one that may not be read is an error, because leaving it out
//! would lose records in silence.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use baler_model::{InputVersion, Key};
use parking_lot::{Condvar, Mutex};
use rustix::fs::{AtFlags, FileType, RawDir};
use rustix::io::Errno;

use super::tree::{TEMP, TRASH, Tree, is_nothing, key_fault};
use super::version::Entry;
use crate::{ListRequest, Meter, Page, Result, StoreError};

/// Names whose files are looked at by one job.
const SLICE: usize = 4096;
/// Bytes of names to ask for where all of them are wanted.
const MANY_NAMES: usize = 64 << 10;
/// Bytes of names to ask for where mostly the first will do.
const FEW_NAMES: usize = 2 << 10;
/// Jobs that must be waiting before further threads are worth starting.
const BACKLOG: usize = 4;
/// Most threads of one listing.
const THREADS: usize = 8;

impl Tree {
    /// Answers a list request with a single page.
    pub(super) fn list(&self, request: &ListRequest) -> Result<Page> {
        Meter::add(&self.meter.list, 1);
        let (top, name_prefix) = match request.prefix.rfind('/') {
            Some(slash) => request.prefix.split_at(slash + 1),
            None => ("", request.prefix.as_str()),
        };
        // Nothing can lie below a path that is no path.
        if !top.is_empty() && key_fault(&top[..top.len() - 1]).is_some() {
            return Ok(Page::default());
        }
        // The only page answers any token with what comes behind it.
        let after = request.start_after.as_deref().max(request.token.as_deref()).unwrap_or("");
        let Some(names) = self.read_names(top, name_prefix, after)? else { return Ok(Page::default()) };
        if request.folded { self.list_folded(top, names, after) } else { self.list_all(top, names, after) }
    }

    fn list_folded(&self, top: &str, names: Names, after: &str) -> Result<Page> {
        let mut page = Page { unreadable: names.unreadable, ..Page::default() };
        let mut key = top.to_owned();
        for name in &names.sorted {
            match name.strip_suffix('/') {
                None => page.objects.extend(self.look_at(&names.dir, top, name, &mut key)?),
                Some(_) => {
                    let prefix = format!("{top}{name}");
                    if self.holds_a_key(&prefix, after)? {
                        page.prefixes.push(prefix);
                    }
                }
            }
        }
        Ok(page)
    }

    /// Whether any key behind `after` begins with `prefix`. Empty directories hold none.
    fn holds_a_key(&self, prefix: &str, after: &str) -> Result<bool> {
        let Some(dir) = self.open_directory(prefix.strip_suffix('/').unwrap_or(prefix))? else { return Ok(false) };
        let (mut found, mut below) = (false, Vec::new());
        self.each_name(&dir, prefix, "", FEW_NAMES, |name| match name {
            Name::File(name) => {
                found = is_behind(prefix, name, after);
                if found { Walking::Enough } else { Walking::On }
            }
            Name::Directory(name) => {
                below.push(format!("{prefix}{name}/"));
                Walking::On
            }
            Name::Unreadable => Walking::On,
        })?;
        below.retain(|prefix| may_hold_behind("", prefix, after));
        for prefix in below {
            found = found || self.holds_a_key(&prefix, after)?;
        }
        Ok(found)
    }

    fn list_all(&self, top: &str, names: Names, after: &str) -> Result<Page> {
        let walk = Walk { tree: self, after, state: Mutex::default(), changed: Condvar::new() };
        walk.state.lock().places.push(Place::default());
        walk.spread(0, top, names);
        walk.run();
        walk.finish()
    }

    /// Reads the names in the directory `prefix` (`""`, or ending in `/`) that begin with `name_prefix` and can lead to
    /// keys behind `after`; directories end in `/`. `None` when the directory is not there.
    fn read_names(&self, prefix: &str, name_prefix: &str, after: &str) -> Result<Option<Names>> {
        let path = prefix.strip_suffix('/').unwrap_or(prefix);
        let Some(dir) = self.open_directory(path)? else { return Ok(None) };
        let (mut sorted, mut unreadable) = (Vec::new(), 0);
        let there = self.each_name(&dir, prefix, name_prefix, MANY_NAMES, |name| {
            match name {
                Name::File(name) if is_behind(prefix, name, after) => sorted.push(name.into()),
                Name::File(_) => {}
                Name::Directory(name) => {
                    let name = format!("{name}/");
                    if may_hold_behind(prefix, &name, after) {
                        sorted.push(name.into());
                    }
                }
                Name::Unreadable => unreadable += 1,
            }
            Walking::On
        })?;
        if let Walking::Gone = there {
            return Ok(None);
        }
        sorted.sort_unstable();
        Ok(Some(Names { dir: Arc::new(dir), sorted, unreadable }))
    }

    /// Shows the names in an open directory that begin with `name_prefix`, unsorted, until it is enough; the kernel is
    /// asked for `at_once` bytes of names at a time.
    fn each_name(
        &self,
        dir: &OwnedFd,
        prefix: &str,
        name_prefix: &str,
        at_once: usize,
        mut show: impl FnMut(Name<'_>) -> Walking,
    ) -> Result<Walking> {
        let mut buffer = Vec::with_capacity(at_once);
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::NOENT) => return Ok(Walking::Gone),
                Err(e) => return Err(self.fail(e, "list", prefix)),
            };
            let bytes = entry.file_name().to_bytes();
            let own = prefix.is_empty() && (bytes == TEMP.as_bytes() || bytes == TRASH.as_bytes());
            if bytes == b"." || bytes == b".." || own || !bytes.starts_with(name_prefix.as_bytes()) {
                continue;
            }
            let shown = match std::str::from_utf8(bytes) {
                Err(_) => show(Name::Unreadable),
                Ok(name) => match self.kind_of(dir, prefix, name, entry.file_type())? {
                    None => continue,
                    Some(FileType::RegularFile) => show(Name::File(name)),
                    Some(FileType::Directory) => show(Name::Directory(name)),
                    Some(_) => show(Name::Unreadable),
                },
            };
            match shown {
                Walking::On => {}
                Walking::Enough | Walking::Gone => return Ok(shown),
            }
        }
        Ok(Walking::On)
    }

    /// The kind of an entry: asked for where the file system does not tell; `None` when it is gone.
    fn kind_of(&self, dir: &OwnedFd, prefix: &str, name: &str, told: FileType) -> Result<Option<FileType>> {
        if told != FileType::Unknown {
            return Ok(Some(told));
        }
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(e) if is_nothing(e) => Ok(None),
            Err(e) => Err(self.fail(e, "look at", &format!("{prefix}{name}"))),
        }
    }

    /// Looks at one file. `key` begins with `prefix`; what stands behind that is the name looked at before.
    fn look_at(&self, dir: &OwnedFd, prefix: &str, name: &str, key: &mut String) -> Result<Option<InputVersion>> {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(e) if is_nothing(e) => return Ok(None),
            Err(e) => return Err(self.fail(e, "look at", &format!("{prefix}{name}"))),
        };
        let Entry::File(version) = Entry::of(&stat) else { return Ok(None) };
        key.truncate(prefix.len());
        key.push_str(name);
        let (key, etag, modified) = (Key::from_listed(key.as_str()), version.etag(), version.modified());
        Ok(Some(InputVersion { key, etag, size: version.size, modified }))
    }
}

/// Whether `prefix` + `name` > `after`.
fn is_behind(prefix: &str, name: &str, after: &str) -> bool {
    after.is_empty() || prefix.bytes().chain(name.bytes()).gt(after.bytes())
}

/// Whether a key that begins with `prefix` + `name` can be > `after`.
fn may_hold_behind(prefix: &str, name: &str, after: &str) -> bool {
    is_behind(prefix, name, after) || after.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(name))
}

/// An entry of a directory.
enum Name<'a> {
    File(&'a str),
    /// Without a `/` behind it.
    Directory(&'a str),
    /// No key can name it, or it is neither.
    Unreadable,
}

/// Whether walking a directory goes on, and why not.
#[derive(Clone, Copy)]
enum Walking {
    On,
    /// Nothing more is wanted.
    Enough,
    /// The directory was removed meanwhile.
    Gone,
}

/// What one directory holds.
struct Names {
    dir: Arc<OwnedFd>,
    /// Sorted; directories end in `/`.
    sorted: Vec<Box<str>>,
    unreadable: u64,
}

/// A listing in progress.
struct Walk<'a> {
    tree: &'a Tree,
    after: &'a str,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Last in, first out: so few directories are open at a time.
    jobs: Vec<Job>,
    /// Jobs that wait or run.
    open: usize,
    places: Vec<Place>,
    unreadable: u64,
    failed: Option<StoreError>,
}

/// Where the result of one directory is put together.
#[derive(Default)]
struct Place {
    parts: VecDeque<Part>,
}

enum Part {
    Files(Vec<InputVersion>),
    Below(usize),
}

enum Job {
    /// A directory, by its prefix.
    Directory { place: usize, prefix: Box<str> },
    /// A run of files of one directory.
    Files { place: usize, part: usize, prefix: Box<str>, dir: Arc<OwnedFd>, names: Vec<Box<str>> },
}

impl Walk<'_> {
    fn run(&self) {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        thread::scope(|scope| {
            let mut helped = threads == 1;
            while let Some(job) = self.next_job() {
                if !helped && self.state.lock().jobs.len() >= BACKLOG {
                    helped = true;
                    for _ in 1..threads {
                        scope.spawn(|| {
                            while let Some(job) = self.next_job() {
                                self.work(job);
                            }
                        });
                    }
                }
                self.work(job);
            }
        });
    }

    /// Waits for a job; `None` when all is done or something failed.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            match state.jobs.pop() {
                Some(job) => return Some(job),
                None if state.open == 0 => return None,
                None => self.changed.wait(&mut state),
            }
        }
    }

    fn work(&self, job: Job) {
        let outcome = match job {
            Job::Directory { place, prefix } => {
                let names = self.tree.read_names(&prefix, "", self.after);
                names.map(|names| names.into_iter().for_each(|n| self.spread(place, &prefix, n)))
            }
            Job::Files { place, part, prefix, dir, names } => self.look_at_all(&dir, &prefix, &names).map(|files| {
                self.state.lock().places[place].parts[part] = Part::Files(files);
            }),
        };
        let mut state = self.state.lock();
        state.open -= 1;
        if let Err(e) = outcome {
            state.failed.get_or_insert(e);
        }
        if state.open == 0 || state.failed.is_some() {
            self.changed.notify_all();
        }
    }

    fn look_at_all(&self, dir: &OwnedFd, prefix: &str, names: &[Box<str>]) -> Result<Vec<InputVersion>> {
        let mut files = Vec::with_capacity(names.len());
        let mut key = prefix.to_owned();
        for name in names {
            files.extend(self.tree.look_at(dir, prefix, name, &mut key)?);
        }
        Ok(files)
    }

    /// Turns the names of one directory into parts and jobs. Small runs of files are looked at right here.
    fn spread(&self, place: usize, prefix: &str, names: Names) {
        let mut parts = VecDeque::new();
        let mut jobs = Vec::new();
        let mut failed = None;
        let large = names.sorted.len() > SLICE;
        // Each run is one directory, or files without a directory between them.
        for run in names.sorted.chunk_by(|a, b| !a.ends_with('/') && !b.ends_with('/')) {
            if run[0].ends_with('/') {
                jobs.push(Job::Directory { place: parts.len(), prefix: format!("{prefix}{}", run[0]).into() });
                parts.push_back(Part::Below(0));
                continue;
            }
            for slice in run.chunks(SLICE) {
                if large && slice.len() > SLICE / 8 {
                    let (part, dir, names) = (parts.len(), names.dir.clone(), slice.to_vec());
                    jobs.push(Job::Files { place, part, prefix: prefix.into(), dir, names });
                    parts.push_back(Part::Files(Vec::new()));
                } else {
                    match self.look_at_all(&names.dir, prefix, slice) {
                        Ok(files) => parts.push_back(Part::Files(files)),
                        Err(e) => failed = Some(e),
                    }
                }
            }
        }
        let mut state = self.state.lock();
        for job in &mut jobs {
            if let Job::Directory { place, .. } = job {
                // Until now it was the number of the part.
                let part = std::mem::replace(place, state.places.len());
                state.places.push(Place::default());
                parts[part] = Part::Below(*place);
            }
        }
        state.places[place].parts = parts;
        state.unreadable += names.unreadable;
        if let Some(e) = failed {
            state.failed.get_or_insert(e);
        }
        state.open += jobs.len();
        state.jobs.extend(jobs.into_iter().rev());
        self.changed.notify_all();
    }

    fn finish(self) -> Result<Page> {
        let mut state = self.state.into_inner();
        if let Some(e) = state.failed {
            return Err(e);
        }
        let count = |part: &Part| match part {
            Part::Files(files) => files.len(),
            Part::Below(_) => 0,
        };
        let total = state.places.iter().flat_map(|p| &p.parts).map(count).sum();
        let mut objects = Vec::with_capacity(total);
        let mut path = vec![0];
        while let Some(&place) = path.last() {
            match state.places[place].parts.pop_front() {
                Some(Part::Files(files)) => objects.extend(files),
                Some(Part::Below(below)) => path.push(below),
                None => {
                    path.pop();
                }
            }
        }
        Ok(Page { objects, prefixes: Vec::new(), next: None, unreadable: state.unreadable })
    }
}
