//! Shapes: the sets of keys that patterns match and templates write, as small automata over bytes.
//!
//! They answer what no key need be tried for: may anything below a prefix match, may two flows meet in one key
//! (INV-CLAIM-1), must a flow meet its own outputs (INV-LOOP-1).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;

use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;

use super::{FieldKind, Token};

/// Whether two sets of keys meet, as far as the patterns alone tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// No key is in both.
    No,
    /// It depends on what the patterns do not say, such as a variable.
    Maybe,
    /// There is a key in both.
    Yes,
}

/// Automata larger than this are not compared: the answer is [`Overlap::Maybe`].
const MAX_STATES: usize = 20_000;

/// Pairs of states visited before a comparison is given up with [`Overlap::Maybe`].
const MAX_VISITS: usize = 2_000_000;

/// A set of keys: what a pattern may match, or what a template may write.
#[derive(Clone)]
pub struct Shape {
    states: Vec<State>,
    accept: usize,
    /// Whether it is the set itself, and not a larger one around it.
    exact: bool,
}

#[derive(Clone, Default)]
struct State {
    free: Vec<usize>,
    edges: Vec<Edge>,
}

#[derive(Clone, Copy)]
struct Edge {
    low: u8,
    high: u8,
    to: usize,
    origin: Origin,
}

/// Who consumes a byte: only literal text may consume the `.` or `_` that begins a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Literal,
    Wildcard,
}

impl Edge {
    fn takes(&self, byte: u8, begins_piece: bool) -> bool {
        (self.low..=self.high).contains(&byte)
            && !(begins_piece && self.origin == Origin::Wildcard && matches!(byte, b'.' | b'_'))
    }
}

impl Shape {
    /// The set that holds one key only.
    pub fn literal(text: &str) -> Self {
        let mut shape = Self::nothing_yet();
        shape.add_literal(text.as_bytes());
        shape
    }

    /// The set of all texts, the empty one included.
    pub fn anything() -> Self {
        let mut shape = Self::nothing_yet();
        shape.add_loop(&[(0, 255)], Origin::Literal);
        shape
    }

    /// The set of the texts of one or more digits.
    pub(crate) fn digits() -> Self {
        let mut shape = Self::nothing_yet();
        shape.add_some(&[(b'0', b'9')], Origin::Literal);
        shape
    }

    /// The set of the texts that a regular expression matches in full; anything where it is too complex.
    pub(crate) fn regex(source: &str) -> Self {
        let mut shape = Self::nothing_yet();
        shape.add_regex(source, Origin::Literal);
        shape
    }

    /// The texts made of one from this set and then one from the other.
    pub fn then(mut self, next: &Shape) -> Self {
        let base = self.states.len();
        for state in &next.states {
            self.states.push(State {
                free: state.free.iter().map(|to| to + base).collect(),
                edges: state.edges.iter().map(|edge| Edge { to: edge.to + base, ..*edge }).collect(),
            });
        }
        self.states[self.accept].free.push(base);
        self.accept = next.accept + base;
        self.exact &= next.exact;
        self
    }

    /// The same set, known to be larger than what is meant.
    pub(crate) fn widened(mut self) -> Self {
        self.exact = false;
        self
    }

    /// Whether a key exists in both sets.
    pub fn overlaps(&self, other: &Shape) -> Overlap {
        let undecided = match self.exact && other.exact {
            true => Overlap::Yes,
            false => Overlap::Maybe,
        };
        if self.states.len() > MAX_STATES || other.states.len() > MAX_STATES {
            return Overlap::Maybe;
        }
        let mut seen = HashSet::from([(0, 0, true)]);
        let mut queue = VecDeque::from([(0, 0, true)]);
        while let Some((a, b, begins_piece)) = queue.pop_front() {
            if a == self.accept && b == other.accept {
                return undecided;
            }
            if seen.len() > MAX_VISITS {
                return Overlap::Maybe;
            }
            let mut visit = |next| {
                if seen.insert(next) {
                    queue.push_back(next);
                }
            };
            self.states[a].free.iter().for_each(|to| visit((*to, b, begins_piece)));
            other.states[b].free.iter().for_each(|to| visit((a, *to, begins_piece)));
            for left in &self.states[a].edges {
                for right in &other.states[b].edges {
                    let common = |byte: &u8| left.takes(*byte, begins_piece) && right.takes(*byte, begins_piece);
                    let (low, high) = (left.low.max(right.low), left.high.min(right.high));
                    if (low..=high).any(|byte| byte != b'/' && common(&byte)) {
                        visit((left.to, right.to, false));
                    }
                    if common(&b'/') {
                        visit((left.to, right.to, true));
                    }
                }
            }
        }
        Overlap::No
    }

    /// Whether every key of this set is in the other: `Yes` all, `No` none, else `Maybe`.
    pub fn within(&self, other: &Shape) -> Overlap {
        match self.overlaps(other) {
            Overlap::No => Overlap::No,
            Overlap::Maybe | Overlap::Yes if other.exact && self.is_subset(other) => Overlap::Yes,
            Overlap::Maybe | Overlap::Yes => Overlap::Maybe,
        }
    }

    fn is_subset(&self, other: &Shape) -> bool {
        const MAX_SETS: usize = 50_000;
        let bytes = self.representatives(other);
        let start = (0, other.closure(BTreeSet::from([0])), true);
        let mut seen = HashSet::from([start.clone()]);
        let mut queue = VecDeque::from([start]);
        while let Some((a, set, begins_piece)) = queue.pop_front() {
            if seen.len() > MAX_SETS || (a == self.accept && !set.contains(&other.accept)) {
                return false;
            }
            let free = self.states[a].free.iter().map(|to| (*to, set.clone(), begins_piece));
            let steps = self.states[a].edges.iter().flat_map(|edge| {
                bytes.iter().filter(move |byte| edge.takes(**byte, begins_piece)).map(|byte| (edge.to, *byte))
            });
            let stepped = steps.map(|(to, byte)| (to, other.step(&set, byte, begins_piece), byte == b'/'));
            for next in free.chain(stepped) {
                if !seen.contains(&next) {
                    seen.insert(next.clone());
                    queue.push_back(next);
                }
            }
        }
        true
    }

    /// One byte of each class that the edges of both automata tell apart.
    fn representatives(&self, other: &Shape) -> Vec<u8> {
        let mut bounds: BTreeSet<u16> =
            [b'/', b'.', b'_'].iter().flat_map(|b| [u16::from(*b), u16::from(*b) + 1]).collect();
        bounds.insert(0);
        for edge in self.states.iter().chain(&other.states).flat_map(|state| &state.edges) {
            bounds.extend([u16::from(edge.low), u16::from(edge.high) + 1]);
        }
        bounds.into_iter().filter_map(|bound| u8::try_from(bound).ok()).collect()
    }

    /// Whether a key of this set may begin with `prefix`.
    pub(crate) fn may_begin_with(&self, prefix: &str) -> bool {
        let mut set = self.closure(BTreeSet::from([0]));
        let mut begins_piece = true;
        for byte in prefix.bytes() {
            set = self.step(&set, byte, begins_piece);
            if set.is_empty() {
                return false;
            }
            begins_piece = byte == b'/';
        }
        true
    }

    fn step(&self, set: &BTreeSet<usize>, byte: u8, begins_piece: bool) -> BTreeSet<usize> {
        let edges = set.iter().flat_map(|state| &self.states[*state].edges);
        self.closure(edges.filter(|edge| edge.takes(byte, begins_piece)).map(|edge| edge.to).collect())
    }

    fn closure(&self, mut set: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut queue: Vec<usize> = set.iter().copied().collect();
        while let Some(state) = queue.pop() {
            queue.extend(self.states[state].free.iter().copied().filter(|to| set.insert(*to)));
        }
        set
    }

    pub(super) fn of_tokens(tokens: &[Token]) -> Self {
        let mut shape = Self::nothing_yet();
        for token in tokens {
            match token {
                Token::Literal(text) => shape.add_literal(text.as_bytes()),
                Token::Field { kind, .. } => shape.add_field(kind, Origin::Wildcard),
                Token::Again { slot } => {
                    let first = tokens.iter().find_map(|token| match token {
                        Token::Field { slot: found, kind } if found == slot => Some(kind),
                        Token::Literal(_)
                        | Token::Field { .. }
                        | Token::Again { .. }
                        | Token::Star
                        | Token::Deep
                        | Token::Pieces
                        | Token::Variable(_) => None,
                    });
                    if let Some(kind) = first {
                        shape.add_field(kind, Origin::Wildcard);
                    }
                    // That both texts are the same is more than an automaton can say.
                    shape.exact = false;
                }
                Token::Star => shape.add_loop(&NO_SLASH, Origin::Wildcard),
                Token::Deep => shape.add_loop(&[(0, 255)], Origin::Wildcard),
                Token::Pieces => {
                    let start = shape.accept;
                    let inside = shape.add_state();
                    let end = shape.add_state();
                    shape.states[start].free.extend([inside, end]);
                    shape.add_edge(inside, (0, 255), inside, Origin::Wildcard);
                    shape.add_edge(inside, (b'/', b'/'), end, Origin::Wildcard);
                    shape.accept = end;
                }
                Token::Variable(_) => {
                    shape.add_loop(&[(0, 255)], Origin::Literal);
                    shape.exact = false;
                }
            }
        }
        shape
    }

    /// What a placeholder captures, to be rendered elsewhere.
    ///
    /// One that began a piece of its key captured no leading `.` or `_`, so it renders none; one that stood within a
    /// piece may have.
    pub(super) fn of_field(kind: &FieldKind, began_piece: bool) -> Self {
        let mut shape = Self::nothing_yet();
        shape.add_field(kind, if began_piece { Origin::Wildcard } else { Origin::Literal });
        shape
    }

    fn nothing_yet() -> Self {
        Self { states: vec![State::default()], accept: 0, exact: true }
    }

    fn add_state(&mut self) -> usize {
        self.states.push(State::default());
        self.states.len() - 1
    }

    fn add_edge(&mut self, from: usize, (low, high): (u8, u8), to: usize, origin: Origin) {
        self.states[from].edges.push(Edge { low, high, to, origin });
    }

    fn add_literal(&mut self, text: &[u8]) {
        for byte in text {
            let next = self.add_state();
            self.add_edge(self.accept, (*byte, *byte), next, Origin::Literal);
            self.accept = next;
        }
    }

    /// Any number of bytes of these classes.
    fn add_loop(&mut self, classes: &[(u8, u8)], origin: Origin) {
        let state = self.add_state();
        self.states[self.accept].free.push(state);
        for class in classes {
            self.add_edge(state, *class, state, origin);
        }
        self.accept = state;
    }

    /// One or more bytes of these classes.
    fn add_some(&mut self, classes: &[(u8, u8)], origin: Origin) {
        let state = self.add_state();
        for class in classes {
            self.add_edge(self.accept, *class, state, origin);
            self.add_edge(state, *class, state, origin);
        }
        self.accept = state;
    }

    fn add_field(&mut self, kind: &FieldKind, origin: Origin) {
        match kind {
            FieldKind::Text => self.add_some(&NO_SLASH, origin),
            FieldKind::Int | FieldKind::Epoch => self.add_some(&[(b'0', b'9')], origin),
            FieldKind::Time(format) => self.add_regex(&format.regex(), origin),
            FieldKind::Regex { source, .. } => self.add_regex(source, origin),
        }
    }

    fn add_regex(&mut self, source: &str, origin: Origin) {
        let parsed = regex_syntax::parse(source);
        let whole = parsed.ok().and_then(|hir| self.add_hir(&hir, self.accept, origin));
        match whole {
            Some(end) => self.accept = end,
            None => {
                self.add_loop(&[(0, 255)], origin);
                self.exact = false;
            }
        }
    }

    /// Adds an expression behind a state; gives the state behind it, or `None` for one that no automaton of a sensible
    /// size expresses (look-around, huge repetitions).
    fn add_hir(&mut self, hir: &Hir, from: usize, origin: Origin) -> Option<usize> {
        if self.states.len() > MAX_STATES {
            return None;
        }
        match hir.kind() {
            HirKind::Empty => Some(from),
            HirKind::Look(_) => None,
            HirKind::Literal(literal) => {
                let mut at = from;
                for byte in literal.0.iter() {
                    let next = self.add_state();
                    self.add_edge(at, (*byte, *byte), next, origin);
                    at = next;
                }
                Some(at)
            }
            HirKind::Class(class) => {
                let end = self.add_state();
                match class {
                    Class::Bytes(class) => {
                        for range in class.iter() {
                            self.add_edge(from, (range.start(), range.end()), end, origin);
                        }
                    }
                    Class::Unicode(class) => {
                        for range in class.iter() {
                            for sequence in Utf8Sequences::new(range.start(), range.end()) {
                                let mut at = from;
                                for (index, bytes) in sequence.as_slice().iter().enumerate() {
                                    let next = match index + 1 == sequence.len() {
                                        true => end,
                                        false => self.add_state(),
                                    };
                                    self.add_edge(at, (bytes.start, bytes.end), next, origin);
                                    at = next;
                                }
                            }
                        }
                    }
                }
                Some(end)
            }
            HirKind::Capture(capture) => self.add_hir(&capture.sub, from, origin),
            HirKind::Concat(parts) => parts.iter().try_fold(from, |at, part| self.add_hir(part, at, origin)),
            HirKind::Alternation(branches) => {
                let end = self.add_state();
                for branch in branches {
                    let start = self.add_state();
                    self.states[from].free.push(start);
                    let behind = self.add_hir(branch, start, origin)?;
                    self.states[behind].free.push(end);
                }
                Some(end)
            }
            HirKind::Repetition(repetition) => {
                let mut at = from;
                for _ in 0..repetition.min {
                    at = self.add_hir(&repetition.sub, at, origin)?;
                }
                let end = self.add_state();
                match repetition.max {
                    Some(max) => {
                        for _ in repetition.min..max {
                            self.states[at].free.push(end);
                            at = self.add_hir(&repetition.sub, at, origin)?;
                        }
                    }
                    None => {
                        let start = self.add_state();
                        self.states[at].free.push(start);
                        let behind = self.add_hir(&repetition.sub, start, origin)?;
                        self.states[behind].free.push(start);
                        at = start;
                    }
                }
                self.states[at].free.push(end);
                Some(end)
            }
        }
    }
}

/// Every byte but `/`.
const NO_SLASH: [(u8, u8); 2] = [(0, b'/' - 1), (b'/' + 1, 255)];

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shape({} states, exact: {})", self.states.len(), self.exact)
    }
}
