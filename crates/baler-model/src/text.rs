//! Texts that people wrote: what they may have meant, and where they went wrong.

use crate::Kind;

/// Picks the known word that a mistyped one most likely stands for.
///
/// `None` when nothing is close: a bad guess is worse than none.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given_folded = given.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&given_folded, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(given.len()) / 4)
        // To a single letter every other one is close.
        .filter(|(distance, _)| *distance == 0 || given.chars().count() > 1)
        .min()
        .map(|(_, word)| word)
}

/// Writes a guess as a hint, else the list of what is known.
pub(crate) fn hint_for(given: &str, known: &[&str]) -> Option<String> {
    match did_you_mean(given, known.iter().copied()) {
        Some(word) => Some(format!("did you mean `{word}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known are {}", quoted_list(known))),
    }
}

/// Writes words as "`a`, `b`, `c`".
pub(crate) fn quoted_list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A pattern, template, condition or quantity that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Where in the text, in bytes from its beginning.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// How to put it right.
    pub hint: Option<String>,
}

impl SyntaxError {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), hint: None }
    }

    pub(crate) fn hinted(offset: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { offset, message: message.into(), hint: Some(hint.into()) }
    }

    /// What to do about it: change the text.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// How to put it right.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["max_objects", "max_bytes", "min_objects"];
        assert_eq!(did_you_mean("max_object", known), Some("max_objects"));
        assert_eq!(did_you_mean("Max_Bytse", known), Some("max_bytes"));
    }

    #[test]
    fn nothing_is_guessed_for_a_word_that_is_far_from_all() {
        assert_eq!(did_you_mean("schema", ["do", "on", "from", "to"]), None);
        assert_eq!(did_you_mean("x", ["do", "on"]), None);
    }
}
