//! A column that is made of texts, one by one, by the rules of unquoted CSV fields.

use std::borrow::Cow;

use arrow_array::ArrayRef;

use super::cell::{Cell, Growing};
use super::{DecodeError, Floats, Reading, instant, scalar};
use crate::schema::{TimeUnit, Type};

/// A column that grows by texts: numbers, `true` and `false`, dates and times of ISO 8601, numbers of seconds since 1970 in
/// columns of times.
///
/// Nothing is rounded but floats, which are the nearest that there is; no text stands for null.
#[derive(Debug)]
pub struct TextColumn {
    reading: Reading,
    growing: Growing,
}

impl TextColumn {
    /// Begins a column. Errors: a list or struct; a time zone that is not known on this machine.
    pub fn new(kind: &Type) -> Result<Self, DecodeError> {
        if matches!(kind, Type::List(_) | Type::Struct(_)) {
            return Err(DecodeError::Usage(format!("{kind} cannot be read from text")));
        }
        Ok(Self { reading: Reading::of(kind)?, growing: Growing::of(kind) })
    }

    /// Appends the value of a text. Errors: what is wrong with it; then nothing is appended.
    pub fn push(&mut self, text: &str) -> Result<(), String> {
        let cell = match &self.reading {
            Reading::Int64 => scalar::int(text).map(Cell::Int),
            Reading::Float64 => scalar::float(text, Floats::Finite).map(Cell::Float),
            Reading::Bool => scalar::bool(text).map(Cell::Bool),
            Reading::Text => Ok(Cell::Text(Cow::Borrowed(text))),
            Reading::Decimal { precision, scale } => scalar::decimal(text, *precision, *scale).map(Cell::Decimal),
            Reading::Date => instant::date(text).map(Cell::Date),
            Reading::Timestamp { unit, zone } => {
                scalar::timestamp(text, *unit, zone, TimeUnit::Second).map(Cell::Timestamp)
            }
            Reading::List(_) | Reading::Struct(_) => unreachable!("refused when the column was begun"),
        };
        self.growing.push(cell?);
        Ok(())
    }

    /// Appends a null.
    pub fn push_null(&mut self) {
        self.growing.push(Cell::Null);
    }

    /// Returns the column, and begins it anew.
    pub fn finish(&mut self) -> ArrayRef {
        self.growing.finish()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::TimestampMillisecondType;

    use super::*;

    #[test]
    fn a_text_that_does_not_fit_leaves_the_column_as_it_was() {
        let mut column = TextColumn::new(&"timestamp(ms, UTC)".parse().unwrap()).unwrap();
        column.push("1970-01-01T01:00:00+01:00").unwrap();
        assert!(column.push("yesterday").unwrap_err().contains("`yesterday` is no time"));
        column.push_null();
        column.push("1.5").unwrap();
        let array = column.finish();
        let values = array.as_primitive::<TimestampMillisecondType>();
        assert_eq!(values.iter().collect::<Vec<_>>(), [Some(0), None, Some(1_500)]);
        assert_eq!(column.finish().len(), 0);
    }

    #[test]
    fn what_text_cannot_hold_is_refused_at_once() {
        assert!(TextColumn::new(&"list(int64)".parse().unwrap()).is_err());
        assert!(TextColumn::new(&"timestamp(ms, Nowhere/Land)".parse().unwrap()).is_err());
    }
}
