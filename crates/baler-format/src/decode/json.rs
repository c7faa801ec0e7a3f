//! JSON objects into typed values.
//!
//! The library cuts an object into the raw texts of its members; numbers are then read from their digits, so that decimals
//! stay exact and integers beyond 64 bits are seen.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::cell::{Cell, Member, Reading};
use super::instant::shown;
use super::{DecodeOptions, Floats, Reason, TextFrom, Unknown, instant, scalar};

/// The members of one object, in the order in which they stand.
#[derive(Debug)]
pub(crate) struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object; blanks may stand around it.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Reason> {
        serde_json::from_str(text).map_err(|error| reason(&error))
    }

    /// Refuses a key that stands twice.
    pub(crate) fn sound(self) -> Result<Self, Reason> {
        // Few members: comparing all of them costs less than a set.
        if self.0.len() <= 16 {
            for (n, (key, _)) in self.0.iter().enumerate() {
                if self.0[..n].iter().any(|(other, _)| other == key) {
                    return Err(Reason::DuplicateKey(shown(key)));
                }
            }
            return Ok(self);
        }
        let mut keys: Vec<&str> = self.0.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Reason::DuplicateKey(shown(pair[0]))),
            None => Ok(self),
        }
    }
}

fn reason(error: &serde_json::Error) -> Reason {
    let words = error.to_string();
    match words.strip_prefix("invalid type: ") {
        Some(_) => Reason::NotAnObject,
        None => Reason::NotJson(words),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key that borrows where it can.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads one record.
pub(crate) fn record<'a>(
    bytes: &'a [u8],
    members: &[Member],
    options: &DecodeOptions,
    unknown: &mut Unknown,
) -> Result<Vec<Cell<'a>>, Reason> {
    let text = std::str::from_utf8(bytes).map_err(|fault| Reason::NotUtf8 { at: fault.valid_up_to() })?;
    let object = Object::parse(text)?.sound()?;
    let mut cells = vec![Cell::Null; members.len()];
    for (n, (key, raw)) in object.0.iter().enumerate() {
        // Most records have their keys in the schema's order.
        let place = match members.get(n) {
            Some(member) if member.name == *key => Some(n),
            _ => members.iter().position(|member| member.name == *key),
        };
        match place {
            Some(place) => {
                cells[place] = value(raw, &members[place].reading, options)
                    .map_err(|what| Reason::Value { column: members[place].name.clone(), what })?;
            }
            None => unknown.note(key),
        }
    }
    match missing(members, &cells) {
        Some(member) => {
            Err(Reason::Value { column: member.name.clone(), what: "it is null and may not be".to_owned() })
        }
        None => Ok(cells),
    }
}

/// Returns the first column that is null and may not be.
pub(crate) fn missing<'m>(members: &'m [Member], cells: &[Cell<'_>]) -> Option<&'m Member> {
    members.iter().zip(cells).find(|(member, cell)| !member.nullable && **cell == Cell::Null).map(|(member, _)| member)
}

/// Reads one value. Errors: what is wrong with it, in words.
fn value<'a>(raw: &'a RawValue, reading: &Reading, options: &DecodeOptions) -> Result<Cell<'a>, String> {
    let text = raw.get();
    let first = text.as_bytes().first().copied().unwrap_or(b' ');
    if first == b'n' {
        return Ok(Cell::Null);
    }
    let is_number = first == b'-' || first.is_ascii_digit();
    let wrong = |wanted: &str| Err(format!("{} is wanted, not {}", wanted, shown(text)));
    match reading {
        Reading::Int64 if is_number => scalar::int(text).map(Cell::Int),
        Reading::Int64 => wrong("a whole number"),
        Reading::Float64 if is_number => scalar::float(text, Floats::Finite).map(Cell::Float),
        Reading::Float64 => wrong("a number"),
        Reading::Bool => match text {
            "true" => Ok(Cell::Bool(true)),
            "false" => Ok(Cell::Bool(false)),
            _ => wrong("true or false"),
        },
        Reading::Text if first == b'"' => string(text).map(Cell::Text),
        Reading::Text if options.text_from == TextFrom::Anything => Ok(Cell::Text(Cow::Borrowed(text))),
        Reading::Text => wrong("text"),
        Reading::Decimal { precision, scale } if is_number => {
            scalar::decimal(text, *precision, *scale).map(Cell::Decimal)
        }
        // Many write decimals as text, because readers of JSON take numbers for floats.
        Reading::Decimal { precision, scale } if first == b'"' => {
            scalar::decimal(&string(text)?, *precision, *scale).map(Cell::Decimal)
        }
        Reading::Decimal { .. } => wrong("a number"),
        Reading::Date if first == b'"' => instant::date(&string(text)?).map(Cell::Date),
        Reading::Date => wrong("a date as text"),
        Reading::Timestamp { unit, zone } if is_number => {
            scalar::timestamp(text, *unit, zone, options.epoch).map(Cell::Timestamp)
        }
        Reading::Timestamp { unit, zone } if first == b'"' => {
            instant::timestamp(&string(text)?, *unit, zone).map(Cell::Timestamp)
        }
        Reading::Timestamp { .. } => wrong("a time"),
        Reading::List(item) if first == b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            let cells = items.into_iter().enumerate();
            let cells = cells.map(|(n, raw)| value(raw, item, options).map_err(|what| format!("item {n}: {what}")));
            Ok(Cell::List(cells.collect::<Result<_, _>>()?))
        }
        Reading::List(_) => wrong("a list"),
        Reading::Struct(members) if first == b'{' => object(text, members, options).map(Cell::Struct),
        Reading::Struct(_) => wrong("an object"),
    }
}

fn object<'a>(text: &'a str, members: &[Member], options: &DecodeOptions) -> Result<Vec<Cell<'a>>, String> {
    let object = nested(text)?;
    let mut cells = vec![Cell::Null; members.len()];
    for (key, raw) in object.0 {
        if let Some(place) = members.iter().position(|member| member.name == key) {
            cells[place] = value(raw, &members[place].reading, options).map_err(|what| format!("`{key}`: {what}"))?;
        }
    }
    match missing(members, &cells) {
        Some(member) => Err(format!("`{}` is null and may not be", member.name)),
        None => Ok(cells),
    }
}

/// Reads an object within a record.
pub(crate) fn nested(text: &str) -> Result<Object<'_>, String> {
    Object::parse(text).and_then(Object::sound).map_err(|reason| reason.to_string())
}

/// Reads a string of JSON.
pub(crate) fn string(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.contains('\\') {
        // Checked when the record was cut into its members.
        return Ok(Cow::Borrowed(&text[1..text.len() - 1]));
    }
    serde_json::from_str(text).map(Cow::Owned).map_err(|_| format!("{} has a broken escape", shown(text)))
}
