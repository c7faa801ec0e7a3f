//! Patterns: which keys a flow takes, and what their pieces mean.
//!
//! | in a pattern | matches |
//! |---|---|
//! | `{n}` | one or more characters without `/` |
//! | `{n:int}` | one or more digits, a number; rendered as captured |
//! | `{n:epoch}` | digits as Unix seconds, a time |
//! | `{n:%Y/%m/%d}` | a time in this format, which may contain `/`; dates that do not exist do not match |
//! | `{n:/regex/}` | what the regular expression matches in full; it ends at the first `/}` |
//! | `*` | any characters without `/`, none included |
//! | `**` | any characters, `/` included; `**/` as a whole piece stands for any number of pieces, none included |
//! | `{{`, `}}`, `{*}` | a brace, a star |
//! | `{manifest.source}` | a variable: literal text once [`Pattern::bind`] has filled it |
//!
//! A pattern matches the whole key. Placeholders are served from left to right, each taking the longest text that lets
//! the rest match. A name used twice must match the same text. Nothing but literal text matches the `.` or `_` at the
//! beginning of a piece (the text between two `/`): such keys are [`Mismatch::Hidden`].

mod captures;
mod matcher;
mod nfa;
mod parse;

use std::fmt;
use std::sync::Arc;

pub use captures::{Captures, Value};
pub use nfa::{Overlap, Shape};

use crate::text::SyntaxError;
use crate::time_format::{TimeFormat, Unit};

/// A text that is no pattern; the offset is where in it.
pub type PatternError = SyntaxError;

/// The most names that one pattern may have: their captures are kept without allocation.
pub const MAX_NAMES: usize = 24;

/// The variables that a manifest fills before matching.
pub(crate) const MANIFEST_VARIABLES: [&str; 2] = ["manifest.source", "manifest.target"];

/// Words that cannot name a placeholder, since templates use them.
pub const RESERVED_WORDS: [&str; 11] =
    ["today", "yesterday", "now", "run", "manifest", "packet", "model", "partition", "index", "count", "dir"];

/// What a placeholder captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// A text.
    Text,
    /// A number.
    Int,
    /// A time, down to this unit.
    Time(Unit),
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldType::Text => "text",
            FieldType::Int => "a number",
            FieldType::Time(_) => "a time",
        })
    }
}

/// Why a key does not match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A piece of the pattern does not match.
    #[error("{}", differs(piece, *at, found))]
    Differs {
        /// The first piece of the pattern that does not match; empty where the pattern ends and the key goes on.
        piece: String,
        /// Where the piece of the key that it should match begins, in bytes.
        at: usize,
        /// That piece of the key; empty where the key ends.
        found: String,
    },
    /// The key would match, but a piece of it begins with `.` or `_` where a placeholder or wildcard stands.
    #[error("`{piece}` is skipped: it begins with `.` or `_` where a placeholder or wildcard stands")]
    Hidden {
        /// The piece of the key.
        piece: String,
    },
}

fn differs(piece: &str, at: usize, found: &str) -> String {
    match (piece, found) {
        ("", found) => format!("the pattern ends at byte {at}, where the key goes on with `{found}`"),
        (piece, "") => format!("`{piece}` does not match: the key ends at byte {at}"),
        (piece, found) => format!("`{piece}` does not match `{found}` at byte {at}"),
    }
}

/// A variable that nothing filled, such as `{manifest.source}` in a run without a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{{{name}}}` has no value")]
pub struct UnboundVariable {
    /// Its name.
    pub name: String,
}

impl UnboundVariable {
    /// What to do about it: the manifest lacks something.
    pub fn kind(&self) -> crate::Kind {
        crate::Kind::Invalid
    }

    /// How to put it right.
    pub fn hint(&self) -> Option<&str> {
        Some("it is filled from the manifest that triggers the flow")
    }
}

/// Which keys a flow takes, and what their pieces mean. Cheap to clone.
#[derive(Clone)]
pub struct Pattern {
    inner: Arc<Inner>,
}

struct Inner {
    text: String,
    tokens: Vec<Token>,
    /// Where each token begins in `text`.
    offsets: Vec<usize>,
    names: Vec<(String, FieldType)>,
    /// For each token, the slots that it or a later token must find again: what memoised failures depend on.
    live: Vec<Vec<u8>>,
    prefix: String,
    shape: Shape,
    bound: bool,
}

enum Token {
    Literal(String),
    Field {
        slot: u8,
        kind: FieldKind,
    },
    /// The text that a slot captured, once more.
    Again {
        slot: u8,
    },
    /// `*`
    Star,
    /// `**`
    Deep,
    /// `**/` as a whole piece
    Pieces,
    Variable(String),
}

enum FieldKind {
    Text,
    Int,
    Epoch,
    Time(TimeFormat),
    Regex { source: String, whole: Box<regex::Regex> },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// Errors: [`PatternError`] with the byte offset of what cannot be understood.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let parsed = parse::parse(text)?;
        Ok(Self::build(text.to_owned(), parsed))
    }

    fn build(text: String, parsed: parse::Parsed) -> Self {
        let parse::Parsed { tokens, offsets, names } = parsed;
        let prefix = match tokens.first() {
            Some(Token::Literal(literal)) => literal.clone(),
            Some(_) | None => String::new(),
        };
        let mut live = vec![Vec::new(); tokens.len() + 1];
        for (index, token) in tokens.iter().enumerate() {
            if let Token::Again { slot } = token {
                for earlier in live.iter_mut().take(index + 1) {
                    if !earlier.contains(slot) {
                        earlier.push(*slot);
                    }
                }
            }
        }
        let shape = Shape::of_tokens(&tokens);
        let bound = !tokens.iter().any(|token| matches!(token, Token::Variable(_)));
        Self { inner: Arc::new(Inner { text, tokens, offsets, names, live, prefix, shape, bound }) }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.inner.text
    }

    /// Fills variables with literal text; braces and wildcards in it stand for themselves.
    ///
    /// Errors: [`UnboundVariable`] for one that `lookup` does not know.
    pub fn bind(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, UnboundVariable> {
        if self.inner.bound {
            return Ok(self.clone());
        }
        let mut text = String::new();
        for (index, token) in self.inner.tokens.iter().enumerate() {
            match token {
                Token::Variable(name) => {
                    let value = lookup(name).ok_or_else(|| UnboundVariable { name: name.clone() })?;
                    text.push_str(&parse::quote(&value));
                }
                Token::Literal(_)
                | Token::Field { .. }
                | Token::Again { .. }
                | Token::Star
                | Token::Deep
                | Token::Pieces => text.push_str(self.token_text(index)),
            }
        }
        let parsed = parse::parse(&text).expect("quoted text and the pieces of a pattern make a pattern");
        Ok(Self::build(text, parsed))
    }

    /// Whether no variable is left to fill; a pattern that is not bound matches nothing.
    pub fn is_bound(&self) -> bool {
        self.inner.bound
    }

    /// The variables that are left to fill.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.inner.tokens.iter().filter_map(|token| match token {
            Token::Variable(name) => Some(name.as_str()),
            Token::Literal(_)
            | Token::Field { .. }
            | Token::Again { .. }
            | Token::Star
            | Token::Deep
            | Token::Pieces => None,
        })
    }

    /// Matches a whole key.
    ///
    /// Errors: [`Mismatch`], which takes a second look to find; [`Pattern::try_match`] leaves that out.
    pub fn matches<'a>(&'a self, key: &'a str) -> Result<Captures<'a>, Mismatch> {
        self.try_match(key).ok_or_else(|| self.mismatch(key))
    }

    /// Matches a whole key, without the reason where it does not.
    pub fn try_match<'a>(&'a self, key: &'a str) -> Option<Captures<'a>> {
        matcher::match_key(&self.inner, key).map(|ranges| Captures::new(self, key, ranges))
    }

    /// Whether a key matches.
    pub fn is_match(&self, key: &str) -> bool {
        matcher::match_key(&self.inner, key).is_some()
    }

    /// Says why a key does not match; `None` when it does.
    pub fn explain(&self, key: &str) -> Option<Mismatch> {
        (!self.is_match(key)).then(|| self.mismatch(key))
    }

    fn mismatch(&self, key: &str) -> Mismatch {
        matcher::explain(self, key)
    }

    /// The literal text that every matching key begins with: what to list.
    pub fn literal_prefix(&self) -> &str {
        &self.inner.prefix
    }

    /// The literal text that every matching key ends in.
    pub fn literal_suffix(&self) -> &str {
        match self.inner.tokens.last() {
            Some(Token::Literal(literal)) => literal,
            Some(_) | None => "",
        }
    }

    /// Whether a key that begins with `prefix` could match: what a listing need not look into, it prunes.
    ///
    /// Conservative: `true` where it cannot be decided.
    pub fn may_contain(&self, prefix: &str) -> bool {
        self.inner.shape.may_begin_with(prefix)
    }

    /// The names of its placeholders in the order of their first use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inner.names.iter().map(|(name, _)| name.as_str())
    }

    /// What the placeholder of this name captures.
    pub fn field_type(&self, name: &str) -> Option<FieldType> {
        self.inner.names.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind)
    }

    /// The keys that it may match, as a shape to compare with others.
    pub fn shape(&self) -> &Shape {
        &self.inner.shape
    }

    /// Whether a key exists that both patterns match.
    pub fn overlaps(&self, other: &Pattern) -> Overlap {
        self.shape().overlaps(other.shape())
    }

    pub(crate) fn slot(&self, name: &str) -> Option<usize> {
        self.inner.names.iter().position(|(known, _)| known == name)
    }

    /// What stands in the key at a slot: the shape of what a template renders there.
    pub(crate) fn slot_shape(&self, slot: usize) -> Shape {
        let Some((index, kind)) = self.field(slot) else { return Shape::anything() };
        let begins_piece = match index.checked_sub(1).map(|before| &self.inner.tokens[before]) {
            None | Some(Token::Pieces) => true,
            Some(Token::Literal(literal)) => literal.ends_with('/'),
            Some(Token::Field { .. } | Token::Again { .. } | Token::Star | Token::Deep | Token::Variable(_)) => false,
        };
        Shape::of_field(kind, begins_piece)
    }

    fn field_kind(&self, slot: usize) -> Option<&FieldKind> {
        self.field(slot).map(|(_, kind)| kind)
    }

    fn field(&self, slot: usize) -> Option<(usize, &FieldKind)> {
        self.inner.tokens.iter().enumerate().find_map(|(index, token)| match token {
            Token::Field { slot: found, kind } if usize::from(*found) == slot => Some((index, kind)),
            Token::Literal(_)
            | Token::Field { .. }
            | Token::Again { .. }
            | Token::Star
            | Token::Deep
            | Token::Pieces
            | Token::Variable(_) => None,
        })
    }

    fn token_text(&self, index: usize) -> &str {
        let end = self.inner.offsets.get(index + 1).copied().unwrap_or(self.inner.text.len());
        &self.inner.text[self.inner.offsets[index]..end]
    }
}

impl FieldKind {
    fn field_type(&self) -> FieldType {
        match self {
            FieldKind::Text | FieldKind::Regex { .. } => FieldType::Text,
            FieldKind::Int => FieldType::Int,
            FieldKind::Epoch => FieldType::Time(Unit::Second),
            FieldKind::Time(format) => FieldType::Time(format.unit()),
        }
    }
}

impl PartialEq for FieldKind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (FieldKind::Text, FieldKind::Text)
            | (FieldKind::Int, FieldKind::Int)
            | (FieldKind::Epoch, FieldKind::Epoch) => true,
            (FieldKind::Time(a), FieldKind::Time(b)) => a == b,
            (FieldKind::Regex { source: a, .. }, FieldKind::Regex { source: b, .. }) => a == b,
            (FieldKind::Text | FieldKind::Int | FieldKind::Epoch | FieldKind::Time(_) | FieldKind::Regex { .. }, _) => {
                false
            }
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.inner.text == other.inner.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.inner.text)
    }
}

#[cfg(test)]
mod tests;
