//! What a machine finds after a power loss, and how it is put on the disk.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::tape::Node;

/// What of all that was not fsynced reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// All: what a process that is killed leaves.
    Everything,
    /// Every entry; of the bytes not fsynced nothing.
    Entries(Lost),
    /// Some entries and some bytes, by this seed.
    Some(u64),
}

impl Survival {
    pub(super) fn seed(self) -> u64 {
        match self {
            Self::Some(seed) => seed,
            Self::Nothing | Self::Everything | Self::Entries(_) => 0,
        }
    }
}

/// What became of bytes that were not fsynced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lost {
    /// They are there.
    None,
    /// The file ends before them.
    Bytes,
    /// Zeros are in their place; size and time are those of the whole file.
    Zeros,
}

/// How much of a file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Content {
    /// So many bytes are durable.
    pub(super) kept: u64,
    /// What is behind them.
    pub(super) lost: Lost,
    /// So many bytes it had.
    pub(super) len: u64,
    /// Whether nothing was written to it later: then it is the very file, else a copy of what was written so far, which
    /// nothing can know by its number yet.
    pub(super) complete: bool,
}

/// A directory of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, (Node, Content)>,
    pub(super) directories: BTreeMap<String, (Node, Tree)>,
}

/// What a machine could find after a power loss. Equal images are the same files in the same places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Image {
    pub(super) tree: Tree,
}

/// Bytes that were taken out of a file.
pub(super) struct TakenOut {
    path: PathBuf,
    bytes: Vec<u8>,
    modified: SystemTime,
}

impl TakenOut {
    pub(super) fn put_back(self) -> std::io::Result<()> {
        let mut file = File::options().write(true).truncate(true).open(&self.path)?;
        file.write_all(&self.bytes)?;
        file.set_times(FileTimes::new().set_modified(self.modified))
    }
}

impl Image {
    pub(super) fn build(&self, root: &Path, stash: &Path, taken: &mut Vec<TakenOut>) -> std::io::Result<()> {
        build(&self.tree, root, stash, taken)
    }
}

impl Image {
    /// Calls `visit` for every file and directory, with its path below the root.
    pub(super) fn visit(
        &self,
        root: Node,
        visit: &mut impl FnMut(Node, &Path, Option<&Content>) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        visit(root, Path::new(""), None)?;
        walk(&self.tree, Path::new(""), visit)
    }
}

fn walk(
    tree: &Tree,
    path: &Path,
    visit: &mut impl FnMut(Node, &Path, Option<&Content>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for (name, (node, content)) in &tree.files {
        visit(*node, &path.join(name), Some(content))?;
    }
    for (name, (node, below)) in &tree.directories {
        visit(*node, &path.join(name), None)?;
        walk(below, &path.join(name), visit)?;
    }
    Ok(())
}

fn build(tree: &Tree, path: &Path, stash: &Path, taken: &mut Vec<TakenOut>) -> std::io::Result<()> {
    for (name, (node, content)) in &tree.files {
        let (real, place) = (node.stash(stash), path.join(name));
        if content.complete {
            if content.lost != Lost::None {
                take_out(&real, content, taken)?;
            }
            std::fs::hard_link(&real, &place)?;
        } else {
            let mut bytes = Vec::new();
            File::open(&real)?
                .take(if content.lost == Lost::None { content.len } else { content.kept })
                .read_to_end(&mut bytes)?;
            if content.lost == Lost::Zeros {
                bytes.resize(usize::try_from(content.len).unwrap_or(0), 0);
            }
            std::fs::write(&place, bytes)?;
        }
    }
    for (name, (_, below)) in &tree.directories {
        std::fs::create_dir(path.join(name))?;
        build(below, &path.join(name), stash, taken)?;
    }
    Ok(())
}

/// Takes bytes out of a file that keeps its number, and with zeros in their place its size and time.
fn take_out(path: &Path, content: &Content, taken: &mut Vec<TakenOut>) -> std::io::Result<()> {
    if taken.iter().any(|t| t.path == path) {
        // A second name of it.
        return Ok(());
    }
    let modified = std::fs::metadata(path)?.modified()?;
    taken.push(TakenOut { path: path.to_owned(), bytes: std::fs::read(path)?, modified });
    let file = File::options().write(true).open(path)?;
    file.set_len(content.kept)?;
    if content.lost == Lost::Zeros {
        file.set_len(content.len)?;
        file.set_times(FileTimes::new().set_modified(modified))?;
    }
    Ok(())
}
