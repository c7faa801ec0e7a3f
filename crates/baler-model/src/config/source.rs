//! Where in `baler.toml` or on the command line something stands, and how errors show it.

use std::fmt;
use std::ops::Range;

use crate::Kind;

/// The file and the `--set` arguments, laid end to end: one offset names a place in either.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    name: String,
    start: usize,
    text: String,
}

impl Sources {
    /// Adds a text; gives the offset of its beginning.
    pub(super) fn add(&mut self, name: &str, text: &str) -> usize {
        // One byte lies between two texts, so that the end of one is not the beginning of the next.
        let start = self.parts.last().map_or(0, |part| part.start + part.text.len() + 1);
        self.parts.push(Part { name: name.to_owned(), start, text: text.to_owned() });
        start
    }

    /// The text of a span, quotes included.
    pub(super) fn slice(&self, span: &Range<usize>) -> &str {
        let part = self.part(span.start);
        part.and_then(|part| part.text.get(span.start - part.start..span.end - part.start)).unwrap_or_default()
    }

    fn part(&self, offset: usize) -> Option<&Part> {
        self.parts.iter().rev().find(|part| part.start <= offset)
    }

    /// Describes what is wrong at a span.
    pub(super) fn problem(&self, span: &Range<usize>, message: impl Into<String>, hint: Option<String>) -> Problem {
        let (message, offset) = (message.into(), span.start);
        let Some(part) = self.part(offset) else {
            return Problem { message, hint, ..Problem::default() };
        };
        let at = part.text.floor_char_boundary((offset - part.start).min(part.text.len()));
        let line_start = part.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = part.text[at..].find('\n').map_or(part.text.len(), |newline| at + newline);
        let end = part.text.floor_char_boundary((span.end - part.start).clamp(at, line_end));
        Problem {
            file: part.name.clone(),
            line: part.text[..at].matches('\n').count() + 1,
            column: part.text[line_start..at].chars().count() + 1,
            width: part.text[at..end].trim_end().chars().count().max(1),
            source_line: part.text[line_start..line_end].trim_end_matches('\r').to_owned(),
            message,
            hint,
            offset,
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the `--set` argument.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// The line as it stands in the file.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// How to put it right.
    pub hint: Option<String>,
    /// Orders problems as they stand in the file.
    pub(super) offset: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = " ".repeat(self.line.to_string().len());
        // Tabs are shown as one blank each, so that the caret stands below what it points at.
        let shown = self.source_line.replace('\t', " ");
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{} | {shown}", self.line)?;
        let blanks = " ".repeat(self.column.saturating_sub(1));
        write!(f, "{gutter} | {blanks}{}", "^".repeat(self.width))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file; at least one problem.
///
/// As text each problem has its place, its line with a caret, and a line `hint: …` where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.offset);
        problems.dedup();
        Self { problems }
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What to do about it: change the file.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// `None`: each problem shows its own hint.
    pub fn hint(&self) -> Option<&str> {
        None
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            match index {
                0 => write!(f, "{problem}")?,
                _ => write!(f, "\n\n{problem}")?,
            }
        }
        Ok(())
    }
}
