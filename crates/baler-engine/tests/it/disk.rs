//! A world of real directories and real time, and processes that open what their configuration names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baler_model::{RawConfig, StoreConfig};
use baler_store::{DirectoryOptions, DirectoryStore, Store, SystemDisk};
use baler_testkit::fault::Hook;
use baler_testkit::{FaultStore, SeededIds};
use tempfile::TempDir;

use crate::world::{HurriedClock, Process};

/// A directory in which a `baler.toml` could lie.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: TempDir,
    seed: AtomicU64,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), seed: AtomicU64::new(100) }
    }

    /// The same in memory, where there is such a place: thousands of worlds are made anew, and nothing of them has to
    /// last.
    pub(crate) fn in_memory() -> Self {
        Self { dir: scratch(), seed: AtomicU64::new(100) }
    }

    /// A path below the directory.
    pub(crate) fn path(&self, rest: &str) -> PathBuf {
        self.dir.path().join(rest)
    }

    /// Writes a file, and the directories above it.
    pub(crate) fn write(&self, rest: &str, body: impl AsRef<[u8]>) {
        let path = self.path(rest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body).unwrap();
    }

    pub(crate) fn read(&self, rest: &str) -> String {
        let path = self.path(rest);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        String::from_utf8(bytes).unwrap()
    }

    /// Every file below a directory, hidden ones included, by path, sorted.
    pub(crate) fn files(&self, rest: &str) -> Vec<String> {
        let mut files = Vec::new();
        walk(&self.path(rest), &self.path(rest), &mut files);
        files.sort();
        files
    }

    /// A process whose configuration is exactly this text.
    pub(crate) fn process(&self, text: &str) -> Process {
        self.process_through(text, None)
    }

    /// The same, over a disk that a test looks at.
    pub(crate) fn process_over(&self, text: &str, disk: Arc<dyn baler_store::Disk>) -> Process {
        self.build(text, None, disk)
    }

    /// The same, with `hook` before all stores.
    pub(crate) fn process_through(&self, text: &str, hook: Option<Hook>) -> Process {
        self.build(text, hook, Arc::new(SystemDisk))
    }

    fn build(&self, text: &str, hook: Option<Hook>, disk: Arc<dyn baler_store::Disk>) -> Process {
        let base = self.dir.path().to_str().unwrap();
        let text = format!("version = 1\n{text}");
        let raw = RawConfig::parse(&text, "baler.toml", &|_| None, &[]).unwrap_or_else(|e| panic!("{e}"));
        let config = raw.validate(base).unwrap_or_else(|e| panic!("{e}"));
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let mut stores = HashMap::new();
        for (id, store) in &config.stores {
            let StoreConfig::Directory(directory) = store else { panic!("{id} is no directory") };
            let (clock, ids) = (Arc::new(HurriedClock), Arc::new(SeededIds::new(seed * 100)));
            let root = PathBuf::from(&directory.root);
            let options = DirectoryOptions::default();
            let opened =
                Arc::new(DirectoryStore::over(disk.clone(), id.to_string(), root, options, clock, ids).unwrap());
            let opened: Arc<dyn Store> = match &hook {
                Some(hook) => Arc::new(FaultStore::with_hook(opened, Arc::clone(hook))),
                None => opened,
            };
            stores.insert(id.to_string(), opened);
        }
        Process::over(&text, base, stores, Arc::new(HurriedClock), seed)
    }
}

/// A directory in memory, if there is such a place, else one like any other.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            walk(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}
