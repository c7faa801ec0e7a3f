//! Matches keys: a backtracking walk over the tokens, with memory where it would otherwise take too long.
//!
//! Plain placeholders are cut at the next literal without trying every length. A walk that has tried more than
//! [`PATIENCE`] ways remembers each failure (token, position, and the captures that a later token asks for again), so
//! that a key chosen to be nasty costs a polynomial and not an exponential number of steps.

use std::collections::HashSet;

use super::captures::epoch_timestamp;
use super::{FieldKind, Inner, MAX_NAMES, Mismatch, Pattern, Token};

/// Byte ranges of the captured texts by slot.
pub(super) type Ranges = [(u32, u32); MAX_NAMES];

/// Steps without remembering failures: enough for every ordinary key, which then costs no allocation.
const PATIENCE: u32 = 512;

/// Longer digit runs do not fit a number.
const MAX_DIGITS: usize = 38;

/// Whether pieces that begin with `.` or `_` may be matched by placeholders and wildcards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HiddenPieces {
    Refused,
    Allowed,
}

/// Whether to note how far the walk came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trace {
    Off,
    On,
}

pub(super) fn match_key(pattern: &Inner, key: &str) -> Option<Ranges> {
    let prefix = pattern.prefix.as_str();
    if !key.starts_with(prefix) || u32::try_from(key.len()).is_err() {
        return None;
    }
    let mut walk = Walk::new(pattern, key, HiddenPieces::Refused, Trace::Off);
    walk.go(0, 0).then_some(walk.ranges)
}

pub(super) fn explain(pattern: &Pattern, key: &str) -> Mismatch {
    let inner = &pattern.inner;
    let mut walk = Walk::new(inner, key, HiddenPieces::Refused, Trace::On);
    walk.go(0, 0);
    if let Some(at) = walk.hidden_at
        && Walk::new(inner, key, HiddenPieces::Allowed, Trace::Off).go(0, 0)
    {
        return Mismatch::Hidden { piece: piece_at(key, at).to_owned() };
    }
    let (at, token, mut inside) = walk.furthest;
    let at = key.floor_char_boundary(at);
    let Some(failed) = inner.tokens.get(token) else {
        return Mismatch::Differs { piece: String::new(), at, found: key[at..].to_owned() };
    };
    // Where the key ends before a slash, it is the piece behind the slash that is missing, not the one before it.
    let lacks_piece =
        at == key.len() && matches!(failed, Token::Literal(literal) if literal.as_bytes().get(inside) == Some(&b'/'));
    inside += usize::from(lacks_piece);
    let start = match lacks_piece {
        true => at,
        false => key[..at].rfind('/').map_or(0, |slash| slash + 1),
    };
    let piece = pattern_piece(pattern, token, inside);
    Mismatch::Differs { piece, at: start, found: piece_at(key, start).to_owned() }
}

fn piece_at(key: &str, start: usize) -> &str {
    let end = key[start..].find('/').map_or(key.len(), |slash| start + slash);
    &key[start..end]
}

/// The piece of the pattern's text around a token; `inside` is an offset into a literal.
fn pattern_piece(pattern: &Pattern, token: usize, inside: usize) -> String {
    let inner = &pattern.inner;
    let Some(start) = inner.offsets.get(token) else {
        return String::new();
    };
    let at = match &inner.tokens[token] {
        Token::Literal(literal) => {
            let before = super::parse::quote(&literal[..literal.floor_char_boundary(inside)]);
            start + before.len().min(pattern.token_text(token).len())
        }
        Token::Field { .. } | Token::Again { .. } | Token::Star | Token::Deep | Token::Pieces | Token::Variable(_) => {
            *start
        }
    };
    let literal_slashes = |slash: &usize| {
        let index = inner.offsets.partition_point(|offset| offset <= slash).saturating_sub(1);
        matches!(inner.tokens[index], Token::Literal(_) | Token::Pieces)
    };
    let slashes: Vec<usize> = inner.text.match_indices('/').map(|(at, _)| at).filter(literal_slashes).collect();
    let from = slashes.iter().rev().find(|slash| **slash < at).map_or(0, |slash| slash + 1);
    let to = slashes.iter().find(|slash| **slash >= at.max(from)).map_or(inner.text.len(), |slash| *slash);
    match inner.text[from..to].is_empty() {
        true => inner.text[from..(to + 1).min(inner.text.len())].to_owned(),
        false => inner.text[from..to].to_owned(),
    }
}

/// A token, a position, and the captures that later tokens ask for again.
type Failure = (usize, usize, Vec<(u32, u32)>);

struct Walk<'a> {
    pattern: &'a Inner,
    key: &'a str,
    bytes: &'a [u8],
    ranges: Ranges,
    hidden: HiddenPieces,
    trace: Trace,
    steps: u32,
    failed: HashSet<Failure>,
    /// The last place where a hidden piece stopped the walk.
    hidden_at: Option<usize>,
    /// The furthest failure: position in the key, token, offset into the token when it is literal.
    furthest: (usize, usize, usize),
}

impl<'a> Walk<'a> {
    fn new(pattern: &'a Inner, key: &'a str, hidden: HiddenPieces, trace: Trace) -> Self {
        Self {
            pattern,
            key,
            bytes: key.as_bytes(),
            ranges: [(0, 0); MAX_NAMES],
            hidden,
            trace,
            steps: 0,
            failed: HashSet::new(),
            hidden_at: None,
            furthest: (0, 0, 0),
        }
    }

    /// Matches the tokens from `token` on against the key from `at` on.
    fn go(&mut self, mut token: usize, mut at: usize) -> bool {
        let pattern = self.pattern;
        loop {
            let Some(current) = pattern.tokens.get(token) else {
                return at == self.bytes.len() || self.fail(at, token, 0);
            };
            match current {
                Token::Literal(literal) => {
                    let literal = literal.as_bytes();
                    if !self.bytes[at..].starts_with(literal) {
                        let same = literal.iter().zip(&self.bytes[at..]).take_while(|(a, b)| a == b).count();
                        return self.fail(at + same, token, same);
                    }
                    at += literal.len();
                }
                Token::Again { slot } => {
                    let (start, end) = self.ranges[usize::from(*slot)];
                    let text = &self.bytes[start as usize..end as usize];
                    if self.is_hidden(at) || !self.bytes[at..].starts_with(text) {
                        return self.fail(at, token, 0);
                    }
                    at += text.len();
                }
                Token::Field { .. } | Token::Star | Token::Deep | Token::Pieces => return self.branch(token, at),
                Token::Variable(_) => return self.fail(at, token, 0),
            }
            token += 1;
        }
    }

    /// Tries the lengths that a token may take, the longest first.
    fn branch(&mut self, token: usize, at: usize) -> bool {
        self.steps = self.steps.saturating_add(1);
        let remembered = self.steps > PATIENCE;
        if remembered && self.failed.contains(&self.memory(token, at)) {
            return false;
        }
        let matched = match &self.pattern.tokens[token] {
            Token::Field { slot, kind } => self.field(token, at, usize::from(*slot), kind),
            Token::Star => {
                let end = match self.is_hidden(at) {
                    true => at,
                    false => self.piece_end(at),
                };
                self.shrink(token, at, end, None)
            }
            Token::Deep => {
                let end = self.visible_end(at);
                self.shrink(token, at, end, None)
            }
            Token::Pieces => self.pieces(token, at),
            Token::Literal(_) | Token::Again { .. } | Token::Variable(_) => false,
        };
        if remembered && !matched {
            let memory = self.memory(token, at);
            self.failed.insert(memory);
        }
        matched
    }

    fn memory(&self, token: usize, at: usize) -> Failure {
        let live = self.pattern.live[token].iter().map(|slot| self.ranges[usize::from(*slot)]).collect();
        (token, at, live)
    }

    fn field(&mut self, token: usize, at: usize, slot: usize, kind: &FieldKind) -> bool {
        if self.is_hidden(at) {
            return self.fail(at, token, 0);
        }
        match kind {
            FieldKind::Text => {
                let end = self.piece_end(at);
                (end > at && self.shrink(token, at + 1, end, Some((slot, at)))) || self.fail(at, token, 0)
            }
            FieldKind::Int | FieldKind::Epoch => {
                let digits = self.bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let whole = at + digits;
                // What follows a number is rarely a digit; then only the whole run can match.
                let least = match self.pattern.tokens.get(token + 1) {
                    Some(Token::Literal(next)) if !next.starts_with(|c: char| c.is_ascii_digit()) => whole,
                    None => whole,
                    Some(_) => at + 1,
                };
                for end in (least..=whole).rev().filter(|end| *end > at) {
                    let fits = match kind {
                        FieldKind::Epoch => epoch_timestamp(&self.key[at..end]).is_some(),
                        FieldKind::Int | FieldKind::Text | FieldKind::Time(_) | FieldKind::Regex { .. } => {
                            end - at <= MAX_DIGITS
                        }
                    };
                    if fits && self.take(token, slot, at, end) {
                        return true;
                    }
                }
                self.fail(at, token, 0)
            }
            FieldKind::Time(format) => match format.read(&self.key[at..]) {
                Some((length, _)) => self.take(token, slot, at, at + length),
                None => self.fail(at, token, 0),
            },
            FieldKind::Regex { whole, .. } => {
                let mut end = self.visible_end(at);
                loop {
                    if self.could_go_on(token + 1, end)
                        && self.key.is_char_boundary(end)
                        && whole.is_match(&self.key[at..end])
                        && self.take(token, slot, at, end)
                    {
                        return true;
                    }
                    if end == at {
                        return self.fail(at, token, 0);
                    }
                    end -= 1;
                }
            }
        }
    }

    fn take(&mut self, token: usize, slot: usize, start: usize, end: usize) -> bool {
        self.ranges[slot] = (position(start), position(end));
        self.go(token + 1, end)
    }

    /// Tries ends from `most` down to `least`; captures from the given start where asked.
    fn shrink(&mut self, token: usize, least: usize, most: usize, capture: Option<(usize, usize)>) -> bool {
        let mut end = most;
        loop {
            if end < least {
                return false;
            }
            if self.could_go_on(token + 1, end) && self.key.is_char_boundary(end) {
                if let Some((slot, start)) = capture {
                    self.ranges[slot] = (position(start), position(end));
                }
                if self.go(token + 1, end) {
                    return true;
                }
            }
            if end == 0 {
                return false;
            }
            end -= 1;
        }
    }

    /// `**/`: any number of whole pieces, each with its slash.
    fn pieces(&mut self, token: usize, at: usize) -> bool {
        let most = self.visible_end(at);
        let mut end = most;
        loop {
            let Some(slash) = self.bytes[at..end].iter().rposition(|byte| *byte == b'/') else {
                return self.go(token + 1, at);
            };
            if self.go(token + 1, at + slash + 1) {
                return true;
            }
            end = at + slash;
        }
    }

    /// A cheap look ahead that spares a call; switched off where the trace must see each failure.
    #[inline]
    fn could_go_on(&self, token: usize, at: usize) -> bool {
        match self.pattern.tokens.get(token) {
            _ if self.trace == Trace::On => true,
            None => at == self.bytes.len(),
            Some(Token::Literal(next)) => self.bytes.get(at) == next.as_bytes().first(),
            Some(_) => true,
        }
    }

    fn piece_end(&self, at: usize) -> usize {
        self.bytes[at..].iter().position(|byte| *byte == b'/').map_or(self.bytes.len(), |slash| at + slash)
    }

    /// How far a wildcard that crosses pieces may go before it meets a hidden one.
    fn visible_end(&mut self, at: usize) -> usize {
        let start = match at {
            0 => 0,
            _ => at - 1,
        };
        if self.is_hidden(at) {
            return at;
        }
        if self.hidden == HiddenPieces::Refused {
            for slash in start..self.bytes.len().saturating_sub(1) {
                if slash + 1 > at && self.bytes[slash] == b'/' && matches!(self.bytes[slash + 1], b'.' | b'_') {
                    self.hidden_at = Some(slash + 1);
                    return slash + 1;
                }
            }
        }
        self.bytes.len()
    }

    /// Whether a placeholder or wildcard may not go on here, at a `.` or `_` that begins a piece.
    #[inline]
    fn is_hidden(&mut self, at: usize) -> bool {
        let begins_piece = at == 0 || self.bytes[at - 1] == b'/';
        let hidden =
            self.hidden == HiddenPieces::Refused && begins_piece && matches!(self.bytes.get(at), Some(b'.' | b'_'));
        if hidden {
            self.hidden_at = Some(at);
        }
        hidden
    }

    #[inline]
    fn fail(&mut self, at: usize, token: usize, inside: usize) -> bool {
        if self.trace == Trace::On && (at, token) > (self.furthest.0, self.furthest.1) {
            self.furthest = (at, token, inside);
        }
        false
    }
}

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("keys of 4 GiB are refused before the walk")
}
