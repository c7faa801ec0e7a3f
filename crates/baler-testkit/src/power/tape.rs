//! The calls of a recording, and which of their effects a cut has to keep.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::image::{Content, Image, Lost, Survival, Tree};
use crate::SplitMix;

/// A file or directory, from its creation on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Node(usize);

impl Node {
    /// Where the second link to a file lies.
    pub(super) fn stash(self, stash: &Path) -> PathBuf {
        stash.join(self.0.to_string())
    }
}

/// A name in a directory.
pub(super) type Place = (Node, String);

#[derive(Debug, Clone)]
pub(super) enum Call {
    Create { dir: Node, name: String, node: Node },
    Grow { node: Node, len: u64 },
    Fsync { node: Node },
    Link { dir: Node, name: String, node: Node },
    Rename { from: Place, to: Place, exchange: bool },
    Unlink { dir: Node, name: String },
    MakeDirectory { dir: Node, name: String, node: Node },
    RemoveDirectory { dir: Node, name: String },
}

#[derive(Debug, Clone)]
enum Kind {
    Directory,
    /// A file that had so many bytes when it was first seen.
    File(u64),
}

/// The entries of all directories.
type Entries = HashMap<Node, BTreeMap<String, Node>>;

/// A change of one entry that is not durable yet.
#[derive(Debug)]
struct Change {
    place: Place,
    to: Option<Node>,
    number: usize,
    /// The changes that must be on the disk where this one is: the old name of a rename goes only where the new one
    /// came; the two sides of an exchange need each other; a directory goes only when it is empty; the changes of one
    /// name happen in their order.
    needs: Vec<usize>,
}

/// How far a file's bytes are written and durable.
#[derive(Debug, Clone, Copy)]
struct Length {
    now: u64,
    durable: u64,
}

/// Everything that was called.
#[derive(Debug)]
pub(super) struct Tape {
    kinds: Vec<Kind>,
    calls: Vec<Call>,
    /// What the recording began with.
    found: Entries,
    /// What is there now.
    now: Entries,
}

impl Default for Tape {
    fn default() -> Self {
        let root = Node(0);
        let empty = Entries::from([(root, BTreeMap::new())]);
        Self { kinds: vec![Kind::Directory], calls: Vec::new(), found: empty.clone(), now: empty }
    }
}

impl Tape {
    #[expect(clippy::unused_self, reason = "every tape has one")]
    pub(super) fn root(&self) -> Node {
        Node(0)
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn file(&mut self, len: u64) -> Node {
        self.kinds.push(Kind::File(len));
        Node(self.kinds.len() - 1)
    }

    pub(super) fn directory(&mut self) -> Node {
        self.kinds.push(Kind::Directory);
        Node(self.kinds.len() - 1)
    }

    /// An entry that was there before anything was called.
    pub(super) fn found(&mut self, dir: Node, name: String, node: Node) {
        self.found.entry(dir).or_default().insert(name.clone(), node);
        self.now.entry(dir).or_default().insert(name, node);
    }

    pub(super) fn now_at(&self, place: &Place) -> Option<Node> {
        at(&self.now, place)
    }

    /// Every file, linked or not.
    pub(super) fn files(&self) -> impl Iterator<Item = Node> {
        let kinds = self.kinds.iter().enumerate();
        kinds.filter(|(_, kind)| matches!(kind, Kind::File(_))).map(|(node, _)| Node(node))
    }

    /// The same recording, ended behind its first `calls` calls.
    pub(super) fn up_to(&self, calls: usize) -> Self {
        let mut tape = Self { kinds: self.kinds.clone(), calls: Vec::new(), ..Self::default() };
        (tape.found, tape.now) = (self.found.clone(), self.found.clone());
        for call in &self.calls[..calls] {
            tape.push(call.clone());
        }
        tape
    }

    pub(super) fn push(&mut self, call: Call) {
        for change in changes(&call, &self.now, 0) {
            set(&mut self.now, change.place, change.to);
        }
        self.calls.push(call);
    }

    pub(super) fn describe(&self, call: usize) -> String {
        let Some(call) = call.checked_sub(1).and_then(|last| self.calls.get(last)) else { return "nothing".into() };
        let path =
            |dir: Node, name: &str| self.path(dir).map_or_else(|| name.to_owned(), |dir| format!("{dir}/{name}"));
        match call {
            Call::Create { dir, name, .. } => format!("create {}", path(*dir, name)),
            Call::Grow { node, len } => format!("write to {len} bytes of {}", self.path(*node).unwrap_or_default()),
            Call::Fsync { node } => format!("fsync {}", self.path(*node).unwrap_or_default()),
            Call::Link { dir, name, .. } => format!("link {}", path(*dir, name)),
            Call::Rename { from, to, exchange } => {
                let verb = if *exchange { "exchange" } else { "rename" };
                format!("{verb} {} to {}", path(from.0, &from.1), path(to.0, &to.1))
            }
            Call::Unlink { dir, name } => format!("unlink {}", path(*dir, name)),
            Call::MakeDirectory { dir, name, .. } => format!("mkdir {}", path(*dir, name)),
            Call::RemoveDirectory { dir, name } => format!("rmdir {}", path(*dir, name)),
        }
    }

    /// A path that a node has, or had last.
    fn path(&self, node: Node) -> Option<String> {
        if node == self.root() {
            return Some(".".into());
        }
        let there = self.found.iter().chain(&self.now).flat_map(|(dir, names)| names.iter().map(move |n| (*dir, n)));
        let found = there.filter(|(_, (_, to))| **to == node).map(|(dir, (name, _))| (dir, name.clone())).last();
        let made = self.calls.iter().rev().find_map(|call| match call {
            Call::Create { dir, name, node: made }
            | Call::MakeDirectory { dir, name, node: made }
            | Call::Link { dir, name, node: made }
                if *made == node =>
            {
                Some((*dir, name.clone()))
            }
            _ => None,
        });
        let (dir, name) = found.or(made)?;
        Some(format!("{}/{name}", self.path(dir)?))
    }

    fn found_len(&self, node: Node) -> u64 {
        match self.kinds[node.0] {
            Kind::File(len) => len,
            Kind::Directory => 0,
        }
    }

    /// What may be found behind the first `calls` calls.
    pub(super) fn image(&self, calls: usize, survival: Survival) -> Image {
        let (mut durable, mut pending) = (self.found.clone(), Vec::<Change>::new());
        let (mut now, mut numbered) = (self.found.clone(), 0);
        let mut lengths = HashMap::<Node, Length>::new();
        let mut last = HashMap::<Node, u64>::new();
        for call in &self.calls {
            if let Call::Grow { node, len } = call {
                last.insert(*node, *len);
            }
        }
        for call in &self.calls[..calls] {
            match call {
                Call::Grow { node, len } => {
                    let found = self.found_len(*node);
                    let length = lengths.entry(*node).or_insert(Length { now: found, durable: found });
                    *length = Length { now: *len, durable: length.durable.min(*len) };
                }
                Call::Fsync { node } => match self.kinds[node.0] {
                    Kind::File(_) => {
                        if let Some(length) = lengths.get_mut(node) {
                            length.durable = length.now;
                        }
                    }
                    Kind::Directory => settle(*node, &mut durable, &mut pending),
                },
                _ => {}
            }
            for mut change in changes(call, &now, numbered) {
                if let (Call::RemoveDirectory { .. }, Some(gone)) = (call, at(&now, &change.place)) {
                    change.needs = pending.iter().filter(|c| c.place.0 == gone).map(|c| c.number).collect();
                }
                // The changes of one name happen in their order.
                change.needs.extend(pending.iter().rev().find(|c| c.place == change.place).map(|c| c.number));
                set(&mut now, change.place.clone(), change.to);
                pending.push(change);
                numbered += 1;
            }
        }
        let mut random = SplitMix::new(survival.seed());
        let undecided: BTreeSet<usize> = pending.iter().map(|change| change.number).collect();
        pending.retain(|_| match survival {
            Survival::Nothing => false,
            Survival::Entries(_) | Survival::Everything => true,
            Survival::Some(_) => random.below(2) == 0,
        });
        loop {
            let kept: BTreeSet<usize> = pending.iter().map(|change| change.number).collect();
            let before = pending.len();
            let there = |n: &usize| kept.contains(n) || !undecided.contains(n);
            pending.retain(|change| change.needs.iter().all(there));
            if pending.len() == before {
                break;
            }
        }
        for change in pending {
            set(&mut durable, change.place, change.to);
        }
        let content = |node: Node, random: &mut SplitMix| {
            let Kind::File(found) = self.kinds[node.0] else { return None };
            let Some(length) = lengths.get(&node) else {
                // Never written, or found complete; a file that is written to later is empty still.
                let len = if last.contains_key(&node) { 0 } else { found };
                return Some(Content { kept: len, lost: Lost::None, len, complete: !last.contains_key(&node) });
            };
            let complete = last.get(&node) == Some(&length.now);
            let lost = match survival {
                _ if length.durable == length.now => Lost::None,
                Survival::Everything => Lost::None,
                Survival::Nothing => Lost::Bytes,
                Survival::Entries(lost) => lost,
                Survival::Some(_) => match random.below(3) {
                    0 => Lost::None,
                    1 => Lost::Bytes,
                    _ => Lost::Zeros,
                },
            };
            Some(Content { kept: length.durable, lost, len: length.now, complete })
        };
        Image { tree: self.subtree(self.root(), &durable, &mut |node| content(node, &mut random)) }
    }

    fn subtree(&self, dir: Node, entries: &Entries, content: &mut impl FnMut(Node) -> Option<Content>) -> Tree {
        let mut tree = Tree::default();
        for (name, node) in entries.get(&dir).into_iter().flatten() {
            match content(*node) {
                Some(content) => drop(tree.files.insert(name.clone(), (*node, content))),
                None => {
                    let below = self.subtree(*node, entries, content);
                    tree.directories.insert(name.clone(), (*node, below));
                }
            }
        }
        tree
    }
}

/// The changes of entries that a call is, in their order, numbered from `first` on.
fn changes(call: &Call, now: &Entries, first: usize) -> Vec<Change> {
    let change = |number, place: &Place, to: Option<Node>, needs| Change { place: place.clone(), to, number, needs };
    match call {
        Call::Create { dir, name, node } | Call::Link { dir, name, node } | Call::MakeDirectory { dir, name, node } => {
            vec![change(first, &(*dir, name.clone()), Some(*node), vec![])]
        }
        Call::Unlink { dir, name } | Call::RemoveDirectory { dir, name } => {
            vec![change(first, &(*dir, name.clone()), None, vec![])]
        }
        Call::Rename { from, to, exchange } => {
            // Within one directory a rename is one step; between two, the old name may stay behind.
            let back = if *exchange || from.0 == to.0 { vec![first + 1] } else { vec![] };
            let left = if *exchange { at(now, to) } else { None };
            vec![change(first, to, at(now, from), back), change(first + 1, from, left, vec![first])]
        }
        Call::Grow { .. } | Call::Fsync { .. } => Vec::new(),
    }
}

fn at(entries: &Entries, (dir, name): &Place) -> Option<Node> {
    entries.get(dir)?.get(name).copied()
}

fn set(entries: &mut Entries, (dir, name): Place, to: Option<Node>) {
    let names = entries.entry(dir).or_default();
    match to {
        Some(node) => drop(names.insert(name, node)),
        None => drop(names.remove(&name)),
    }
}

/// Makes the changes of one directory durable, and those that they need; and of each name what came before.
fn settle(dir: Node, durable: &mut Entries, pending: &mut Vec<Change>) {
    let mut wanted: BTreeSet<usize> = pending.iter().filter(|c| c.place.0 == dir).map(|c| c.number).collect();
    loop {
        let needed = pending.iter().filter(|c| wanted.contains(&c.number)).flat_map(|c| c.needs.iter().copied());
        let more: BTreeSet<usize> = needed.filter(|n| pending.iter().any(|c| c.number == *n)).collect();
        if more.is_subset(&wanted) {
            break;
        }
        wanted.extend(more);
    }
    let (lasting, rest): (Vec<Change>, Vec<Change>) = pending.drain(..).partition(|c| wanted.contains(&c.number));
    for change in lasting {
        set(durable, change.place, change.to);
    }
    *pending = rest;
}
