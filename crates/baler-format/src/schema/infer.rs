//! Schemas from samples of several objects.
//!
//! Numbers and truth values are recognised; dates and times stay text until somebody declares them, since what looks like a
//! time in a sample need not be one in the next object. Digits that begin with a zero (postal codes) are text, and so is a
//! column that was null wherever it was seen.

use std::io::Read;

use super::{Column, Schema, Type, TypeError, widen};
use crate::decode::{
    Blanks, Body, Cut, Cutter, DecodeError, DecodeOptions, Feed, NumberText, Object, nested, number_text, split_fields,
};
use crate::format::{Csv, Format};

/// Gathers what samples show; [`infer`] is the short way.
#[derive(Debug, Clone, Default)]
pub struct Inference {
    seen: Vec<(String, Seen)>,
    records: u64,
    skipped: u64,
}

/// What was seen under one name.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Null,
    Scalar(Type),
    List(Box<Self>),
    Struct(Vec<(String, Self)>),
}

impl Inference {
    /// Takes the records of one sample of text: an object, or the beginning of one. The last record of a sample may be cut.
    ///
    /// Reads no more than `records` of them. Errors: a source that fails, a header that cannot be used, a format that states
    /// its own schema.
    pub fn add(
        &mut self,
        format: &Format,
        options: &DecodeOptions,
        sample: impl Read + Send + 'static,
        records: u64,
    ) -> Result<(), DecodeError> {
        let mut cutter = Cutter::of(format)?;
        let mut feed = Feed::new(Box::new(sample));
        let mut names: Option<Vec<String>> = None;
        let mut taken = 0;
        while taken < records {
            let Some(Cut { body, .. }) = cutter.cut(&mut feed, options) else { break };
            let Body::Record(range) = body else {
                self.skipped += 1;
                continue;
            };
            let record = feed.bytes(range);
            let is_taken = match format {
                Format::Csv(csv) => {
                    if names.is_none() && csv.header {
                        names = Some(crate::decode::header_names(record, csv)?);
                        continue;
                    }
                    self.csv(record, csv, options, names.as_deref())
                }
                Format::JsonLines | Format::Json { .. } | Format::Parquet | Format::Arrow(_) => self.json(record),
            };
            taken += 1;
            match is_taken {
                true => self.records += 1,
                false => self.skipped += 1,
            }
        }
        for name in names.into_iter().flatten() {
            // A sample without records shows its columns still.
            note(&mut self.seen, name, Seen::Null);
        }
        match feed.take_fault() {
            Some(error) => Err(DecodeError::of_io(error)),
            None => Ok(()),
        }
    }

    fn json(&mut self, record: &[u8]) -> bool {
        let Some(object) = std::str::from_utf8(record).ok().and_then(|text| Object::parse(text).ok()) else {
            return false;
        };
        let Some(members) =
            object.0.into_iter().map(|(key, raw)| Some((key, of_json(raw.get(), 0)?))).collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        for (key, seen) in members {
            note(&mut self.seen, key.into_owned(), seen);
        }
        true
    }

    fn csv(&mut self, record: &[u8], csv: &Csv, options: &DecodeOptions, names: Option<&[String]>) -> bool {
        let Ok(text) = std::str::from_utf8(record) else { return false };
        let Ok(fields) = split_fields(text, csv.delimiter, csv.quote) else { return false };
        if names.is_some_and(|names| names.len() != fields.len()) {
            return false;
        }
        for (n, field) in fields.into_iter().enumerate() {
            let name = names.map_or_else(|| format!("column_{}", n + 1), |names| names[n].clone());
            let text = match options.blanks {
                Blanks::Keep => &*field.text,
                Blanks::Trim => field.text.trim(),
            };
            let seen = match field.is_quoted {
                true => Seen::Scalar(Type::Text),
                false if options.null_literals.iter().any(|literal| literal == text) => Seen::Null,
                false => Seen::Scalar(of_field(text)),
            };
            note(&mut self.seen, name, seen);
        }
        true
    }

    /// Returns how many records were taken, and how many could not be read.
    pub fn counts(&self) -> (u64, u64) {
        (self.records, self.skipped)
    }

    /// Returns the columns in the order in which they were first seen, all of them nullable.
    ///
    /// Errors: none that samples can cause, unless a nested object was empty wherever it was seen.
    pub fn finish(self) -> Result<Schema, TypeError> {
        let columns = self.seen.into_iter().map(|(name, seen)| Column::new(name, seen.into_type())).collect();
        Schema::try_new(columns)
    }
}

/// Infers the schema of samples, reading at most `records` of each. Errors: as of [`Inference::add`].
pub fn infer<R: Read + Send + 'static>(
    format: &Format,
    options: &DecodeOptions,
    samples: impl IntoIterator<Item = R>,
    records: u64,
) -> Result<Schema, DecodeError> {
    let mut inference = Inference::default();
    for sample in samples {
        inference.add(format, options, sample, records)?;
    }
    inference.finish().map_err(|fault| DecodeError::Usage(fault.to_string()))
}

fn note(columns: &mut Vec<(String, Seen)>, name: String, seen: Seen) {
    match columns.iter_mut().find(|(other, _)| *other == name) {
        Some((_, before)) => before.merge(seen),
        None => columns.push((name, seen)),
    }
}

impl Seen {
    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Null) => {}
            (Self::Null, other) => *self = other,
            (Self::Scalar(a), Self::Scalar(b)) => *a = widen(a, &b),
            (Self::List(a), Self::List(b)) => a.merge(*b),
            (Self::Struct(a), Self::Struct(b)) => b.into_iter().for_each(|(name, seen)| note(a, name, seen)),
            (_, Self::Scalar(_) | Self::List(_) | Self::Struct(_)) => *self = Self::Scalar(Type::Text),
        }
    }

    fn into_type(self) -> Type {
        match self {
            Self::Null => Type::Text,
            Self::Scalar(kind) => kind,
            Self::List(item) => Type::List(Box::new(item.into_type())),
            // An object of no members shows nothing that a struct could have.
            Self::Struct(members) if members.is_empty() => Type::Text,
            Self::Struct(members) => {
                Type::Struct(members.into_iter().map(|(name, seen)| Column::new(name, seen.into_type())).collect())
            }
        }
    }
}

/// Deeper values are text.
const DEPTH: usize = 32;

/// Returns what a value of JSON is; nothing if it is broken.
fn of_json(text: &str, depth: usize) -> Option<Seen> {
    Some(match text.as_bytes().first()? {
        b'n' => Seen::Null,
        b't' | b'f' => Seen::Scalar(Type::Bool),
        b'"' => Seen::Scalar(Type::Text),
        b'{' | b'[' if depth >= DEPTH => Seen::Scalar(Type::Text),
        b'{' => {
            let members = nested(text).ok()?.0;
            let members =
                members.into_iter().map(|(key, raw)| Some((key.into_owned(), of_json(raw.get(), depth + 1)?)));
            Seen::Struct(members.collect::<Option<_>>()?)
        }
        b'[' => {
            let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).ok()?;
            let mut seen = Seen::Null;
            for item in items {
                seen.merge(of_json(item.get(), depth + 1)?);
            }
            Seen::List(Box::new(seen))
        }
        _ => Seen::Scalar(number(text)),
    })
}

fn of_field(text: &str) -> Type {
    if crate::decode::bool_text(text).is_ok() {
        return Type::Bool;
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_code = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    if is_code { Type::Text } else { number(text) }
}

fn number(text: &str) -> Type {
    match number_text(text) {
        NumberText::None => Type::Text,
        NumberText::Fraction => Type::Float64,
        NumberText::Int if text.parse::<i64>().is_ok() => Type::Int64,
        NumberText::Int if text.trim_start_matches(['+', '-']).len() <= 38 => Type::Decimal { precision: 38, scale: 0 },
        NumberText::Int => Type::Float64,
    }
}
