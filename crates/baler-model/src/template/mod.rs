//! Templates: what the output of a group is called.
//!
//! | in a template | stands for |
//! |---|---|
//! | `{n}` | what the placeholder captured; inputs that agree on all such names are one group |
//! | `{n:%Y-%m}`, `{n:epoch}` | the same for a time, written so; inputs that agree on what is written are one group |
//! | `{n:08}` | the same for a number, padded with zeros |
//! | `{n.first}`, `{n.last}` | what the first or last input of the output captured, in the order of the flow |
//! | `{n.min}`, `{n.max}` | the least or greatest captured, by its type |
//! | `{count}`, `{index}` | how many inputs, the number of the output within its group from 0; both may be padded |
//! | `{today}`, `{yesterday}`, `{now}` | times, fixed in the plan; `{now:%H%M}` formats |
//! | `{run}` | the name of the run |
//! | `{partition:%Y-%m}`, `{partition:epoch}` | with `convert`: the first instant of the partition |
//! | `{column}` | with `convert`: the value of a column that partitions |
//! | `{manifest.target}` | a variable: literal text once [`Template::bind`] has filled it |
//! | `{{`, `}}` | a brace |

mod parse;

use std::fmt;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::condition::{day_start, yesterday_start};
use crate::partition::{NULL_PARTITION, write_path_value};
use crate::pattern::{Captures, Pattern, Shape, UnboundVariable, Value};
use crate::text::SyntaxError;
use crate::time_format::TimeFormat;
use crate::{Key, KeyError, Kind, RunId};

/// A text that is no template; the offset is where in it.
pub type TemplateError = SyntaxError;

/// What the output of a group is called.
#[derive(Clone)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
    /// What each part looks like in a key.
    shapes: Vec<Shape>,
    /// What the whole looks like.
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
    Field {
        name: String,
        slot: usize,
        of: Member,
        format: Format,
    },
    Count {
        width: usize,
    },
    Index {
        width: usize,
    },
    Clock {
        instant: Instant,
        format: TimeFormat,
    },
    Run,
    /// The first instant of a partition.
    Partition {
        format: Format,
    },
    /// The value of the column of this number among those that partition.
    Column {
        number: usize,
    },
}

/// Whose capture a template takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Each input's: they agree, since they are one group.
    Shared,
    First,
    Last,
    Min,
    Max,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    AsCaptured,
    Padded(usize),
    Time(TimeFormat),
    Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instant {
    Today,
    Yesterday,
    Now,
}

/// What a template is rendered from: one output, its inputs, and what the plan fixed.
#[derive(Debug, Clone, Copy)]
pub struct RenderContext<'a> {
    /// The pattern that the template was made for, bound.
    pub pattern: &'a Pattern,
    /// The keys of the output's inputs, in the order of the flow; each matches the pattern.
    pub keys: &'a [&'a str],
    /// The number of this output within its group, from 0.
    pub index: u64,
    /// The time that the plan fixed.
    pub now: Timestamp,
    /// The run.
    pub run: &'a RunId,
    /// The partition, where the template was read with words for it.
    pub partition: Partition<'a>,
}

/// What tells the records of one output from those of others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Partition<'a> {
    /// The first instant of its time; `None` where the records have none.
    pub start: Option<Timestamp>,
    /// The values of the columns that partition, in their order.
    pub columns: &'a [Option<&'a str>],
}

/// What a template may name besides the placeholders of `from`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vocabulary<'a> {
    /// `{partition:…}`.
    pub partition: bool,
    /// Columns by which records are partitioned.
    pub columns: &'a [String],
}

/// Why a template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A variable was not bound.
    #[error(transparent)]
    Unbound(#[from] UnboundVariable),
    /// What came out is no key.
    #[error("`to` does not give a key")]
    Key(#[from] KeyError),
    /// An input that does not match the pattern, or none at all.
    #[error("`{pattern}` was to name an output of inputs that it does not match: {keys:?}")]
    Foreign {
        /// The pattern.
        pattern: String,
        /// The first few of the inputs.
        keys: Vec<String>,
    },
}

impl RenderError {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            RenderError::Unbound(_) | RenderError::Key(_) => Kind::Invalid,
            RenderError::Foreign { .. } => Kind::Internal,
        }
    }

    /// How to put it right.
    pub fn hint(&self) -> Option<&str> {
        match self {
            RenderError::Unbound(error) => error.hint(),
            RenderError::Key(_) => Some("choose a shorter template in `to`"),
            RenderError::Foreign { .. } => None,
        }
    }
}

impl<'a> RenderContext<'a> {
    fn value(&self, key: Option<&&'a str>, slot: usize) -> Result<Value<'a>, RenderError> {
        let captures = key.and_then(|key| self.pattern.try_match(key)).ok_or_else(|| self.foreign())?;
        Ok(captures.slot_value(slot))
    }

    fn foreign(&self) -> RenderError {
        RenderError::Foreign {
            pattern: self.pattern.to_string(),
            keys: self.keys.iter().take(3).map(|key| (*key).to_owned()).collect(),
        }
    }
}

impl Template {
    /// Reads a template whose names are those of a pattern.
    ///
    /// Errors: [`TemplateError`] with the byte offset of what cannot be understood.
    pub fn parse(text: &str, from: &Pattern) -> Result<Self, TemplateError> {
        Self::parse_with(text, from, Vocabulary::default())
    }

    /// Reads a template whose names are those of a pattern, or words for partitions.
    ///
    /// Errors: [`TemplateError`] with the byte offset of what cannot be understood.
    pub fn parse_with(text: &str, from: &Pattern, words: Vocabulary<'_>) -> Result<Self, TemplateError> {
        let parts = parse::parse(text, from, words)?;
        let shapes = parts.iter().map(|part| part.shape(from)).collect();
        Ok(Self::build(text.to_owned(), parts, shapes))
    }

    fn build(text: String, parts: Vec<Part>, shapes: Vec<Shape>) -> Self {
        let shape = shapes.iter().fold(Shape::literal(""), Shape::then);
        Self { text, parts, shapes, shape }
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names whose values are the group: those used without `.first` and the like, formatted or not.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = Vec::new();
        for part in &self.parts {
            if let Part::Field { name, of: Member::Shared, .. } = part
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names.into_iter()
    }

    /// Appends what tells an input's group from others: inputs with equal texts are one group.
    pub fn write_group(&self, captures: &Captures<'_>, out: &mut String) {
        for part in &self.parts {
            if let Part::Field { slot, of: Member::Shared, format, .. } = part {
                format.write(captures.slot_value(*slot), out);
                // NUL is in no key, so that no two groups run together.
                out.push('\0');
            }
        }
    }

    /// Fills variables with literal text.
    ///
    /// Errors: [`UnboundVariable`] for one that `lookup` does not know.
    pub fn bind(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, UnboundVariable> {
        let Self { mut text, mut parts, mut shapes, .. } = self.clone();
        for (part, shape) in parts.iter_mut().zip(&mut shapes) {
            if let Part::Variable(name) = part {
                let value = lookup(name).ok_or_else(|| UnboundVariable { name: name.clone() })?;
                text = text.replace(&format!("{{{name}}}"), &value.replace('{', "{{").replace('}', "}}"));
                *shape = Shape::literal(&value);
                *part = Part::Literal(value);
            }
        }
        Ok(Self::build(text, parts, shapes))
    }

    /// The variables that are left to fill.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_)
            | Part::Field { .. }
            | Part::Count { .. }
            | Part::Index { .. }
            | Part::Clock { .. }
            | Part::Run
            | Part::Partition { .. }
            | Part::Column { .. } => None,
        })
    }

    /// Whether outputs of one group differ by their number.
    pub fn uses_index(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Index { .. }))
    }

    /// Whether every run gives its outputs names of their own.
    pub fn names_runs(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Run))
    }

    /// Whether it names the first instant of a partition.
    pub fn uses_partition(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Partition { .. }))
    }

    /// The numbers of the partitioning columns that it names.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column { number } => Some(*number),
            _ => None,
        })
    }

    /// What of it depends on more than an input's own key and partition: its text and where it stands, for a message.
    pub fn volatile(&self) -> Option<&'static str> {
        self.parts.iter().find_map(|part| match part {
            Part::Field { of: Member::First, .. } => Some(".first"),
            Part::Field { of: Member::Last, .. } => Some(".last"),
            Part::Field { of: Member::Min, .. } => Some(".min"),
            Part::Field { of: Member::Max, .. } => Some(".max"),
            Part::Count { .. } => Some("{count"),
            Part::Index { .. } => Some("{index"),
            Part::Clock { instant: Instant::Now, .. } => Some("{now"),
            Part::Clock { instant: Instant::Today, .. } => Some("{today"),
            Part::Clock { instant: Instant::Yesterday, .. } => Some("{yesterday"),
            Part::Literal(_)
            | Part::Variable(_)
            | Part::Field { of: Member::Shared, .. }
            | Part::Run
            | Part::Partition { .. }
            | Part::Column { .. } => None,
        })
    }

    /// The literal text that every key of the template begins with.
    pub fn literal_prefix(&self) -> &str {
        literal_of(self.parts.first())
    }

    /// The literal text that every key of the template ends in.
    pub fn literal_suffix(&self) -> &str {
        literal_of(self.parts.last())
    }

    /// The keys that it may write, as a shape to compare with others.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Writes the key of an output.
    ///
    /// Errors: [`RenderError`] for an unbound variable, or where what comes out is no key.
    pub fn render(&self, context: &RenderContext<'_>) -> Result<Key, RenderError> {
        let mut out = String::new();
        for part in &self.parts {
            part.write(context, &mut out)?;
        }
        Ok(Key::try_new(out)?)
    }

    /// Writes the keys of outputs that are told apart by the values of columns: everything but those values.
    ///
    /// Errors: [`RenderError`] for an unbound variable.
    pub fn render_parts(&self, context: &RenderContext<'_>) -> Result<Vec<KeyPart>, RenderError> {
        let mut parts: Vec<KeyPart> = Vec::new();
        for part in &self.parts {
            match (part, parts.last_mut()) {
                (Part::Column { number }, _) => parts.push(KeyPart::Column(u32::try_from(*number).unwrap_or(u32::MAX))),
                (part, Some(KeyPart::Text(text))) => part.write(context, text)?,
                (part, _) => {
                    let mut text = String::new();
                    part.write(context, &mut text)?;
                    parts.push(KeyPart::Text(text));
                }
            }
        }
        Ok(parts)
    }
}

/// A part of the key of an output that is told from others by the values of columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// It is the same for all.
    Text(String),
    /// The value of the column of this number.
    Column(u32),
}

impl Part {
    /// Writes what it stands for.
    fn write(&self, context: &RenderContext<'_>, out: &mut String) -> Result<(), RenderError> {
        let part = self;
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Variable(name) => return Err(UnboundVariable { name: name.clone() }.into()),
            Part::Field { slot, of, format, .. } => {
                let value = match of {
                    Member::Shared | Member::First => context.value(context.keys.first(), *slot)?,
                    Member::Last => context.value(context.keys.last(), *slot)?,
                    Member::Min | Member::Max => {
                        let mut best: Option<Value<'_>> = None;
                        for key in context.keys {
                            let value = context.value(Some(key), *slot)?;
                            let better = |best: &Value<'_>| match of {
                                Member::Max => rank(&value) > rank(best),
                                Member::Min | Member::Shared | Member::First | Member::Last => {
                                    rank(&value) < rank(best)
                                }
                            };
                            if best.as_ref().is_none_or(better) {
                                best = Some(value);
                            }
                        }
                        best.ok_or_else(|| context.foreign())?
                    }
                };
                format.write(value, out);
            }
            Part::Count { width } => write_padded(context.keys.len(), *width, out),
            Part::Index { width } => write_padded(context.index, *width, out),
            Part::Clock { instant, format } => {
                let at = match instant {
                    Instant::Today => day_start(context.now),
                    Instant::Yesterday => yesterday_start(context.now),
                    Instant::Now => context.now,
                };
                format.write(at, out);
            }
            Part::Run => out.push_str(context.run.as_str()),
            Part::Partition { format } => match (context.partition.start, format) {
                (None, _) => out.push_str(NULL_PARTITION),
                (Some(start), Format::Time(format)) => format.write(start, out),
                (Some(start), Format::Epoch | Format::AsCaptured | Format::Padded(_)) => {
                    write_padded(start.as_second(), 0, out);
                }
            },
            Part::Column { number } => {
                write_path_value(context.partition.columns.get(*number).copied().flatten(), out);
            }
        }
        Ok(())
    }
}

fn literal_of(part: Option<&Part>) -> &str {
    match part {
        Some(Part::Literal(text)) => text,
        Some(_) | None => "",
    }
}

/// What values of one placeholder are compared by; only one of the three differs.
fn rank<'a>(value: &Value<'a>) -> (u128, Timestamp, &'a str) {
    match value {
        Value::Int { value, .. } => (*value, Timestamp::UNIX_EPOCH, ""),
        Value::Time { timestamp, .. } => (0, *timestamp, ""),
        Value::Text(text) => (0, Timestamp::UNIX_EPOCH, text),
    }
}

fn write_padded(number: impl fmt::Display, width: usize, out: &mut String) {
    // Writing to a String cannot fail.
    let _written = write!(out, "{number:0>width$}");
}

impl Format {
    fn write(&self, value: Value<'_>, out: &mut String) {
        match (self, value) {
            (Format::Padded(width), Value::Int { value, .. }) => write_padded(value, *width, out),
            (Format::Time(format), Value::Time { timestamp, .. }) => format.write(timestamp, out),
            (Format::Epoch, Value::Time { timestamp, .. }) => write_padded(timestamp.as_second(), 0, out),
            // Formats that do not fit the type were refused when the template was read.
            (Format::AsCaptured | Format::Padded(_) | Format::Time(_) | Format::Epoch, value) => {
                out.push_str(value.text());
            }
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Template {}

#[cfg(test)]
mod tests;
