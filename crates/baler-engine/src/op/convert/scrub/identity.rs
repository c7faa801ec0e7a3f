//! What a record is told from others by: its key in 128 bits.
//!
//! Keys of at most eight columns whose values have fixed sizes and 15 bytes together (int64, float64 and timestamp 8, date 4,
//! bool 1) are held as they are: two of them are the same only if the keys are. Of other keys the first 128 bits of SHA-256
//! over a form that no two keys share: among n different keys any two are the same with a probability below n² / 2^129, for a
//! thousand million keys 1.5 in 10^21, and nobody can make such keys on purpose in fewer than about 2^64 attempts.
//!
//! Null equals null, NaN equals NaN, and 0.0 equals -0.0. A key that is null in every column is none.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use baler_format::schema::Type;
use sha2::{Digest, Sha256};

use super::ScrubError;

/// What a record is told from others by. Those of one scrub and schema can be compared, no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u64; 2]);

/// The columns of a key.
pub(super) struct Key {
    places: Vec<usize>,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One byte that says which columns are null, then the values.
    Exact,
    /// A hash.
    Hashed,
}

impl Key {
    /// Takes columns by their places and the types that they have behind `cast`.
    pub(super) fn new(columns: &[(usize, Type)]) -> Self {
        let sizes: Option<usize> = columns.iter().map(|(_, kind)| size(kind)).sum();
        let is_exact = columns.len() <= 8 && sizes.is_some_and(|bytes| bytes <= 15);
        let form = if is_exact { Form::Exact } else { Form::Hashed };
        Self { places: columns.iter().map(|(place, _)| *place).collect(), form }
    }

    /// Returns the identity of each row; nothing for rows that have no key.
    pub(super) fn identities(
        &self,
        arrays: &[Option<ArrayRef>],
        length: usize,
    ) -> Result<Vec<Option<Identity>>, ScrubError> {
        let columns = self.places.iter().map(|place| arrays.get(*place).and_then(Option::as_ref));
        let columns: Option<Vec<&ArrayRef>> = columns.collect();
        let columns = columns.ok_or_else(|| ScrubError::Internal("a column of the key is not there".to_owned()))?;
        let mut bytes = Vec::new();
        (0..length)
            .map(|row| {
                if columns.iter().all(|column| column.is_null(row)) {
                    return Ok(None);
                }
                bytes.clear();
                match self.form {
                    Form::Exact => {
                        bytes.push(0);
                        for (n, column) in columns.iter().enumerate() {
                            if column.is_null(row) {
                                bytes[0] |= 1 << n;
                            } else {
                                push_value(&mut bytes, column, row)?;
                            }
                        }
                        bytes.resize(16, 0);
                    }
                    Form::Hashed => {
                        for column in &columns {
                            bytes.push(u8::from(!column.is_null(row)));
                            if !column.is_null(row) {
                                push_value(&mut bytes, column, row)?;
                            }
                        }
                        let hash = Sha256::digest(&bytes);
                        bytes.clear();
                        bytes.extend_from_slice(&hash[..16]);
                    }
                }
                let half = |at: usize| bytes[at..at + 8].iter().fold(0u64, |half, byte| half << 8 | u64::from(*byte));
                Ok(Some(Identity([half(0), half(8)])))
            })
            .collect()
    }
}

/// The bytes of a value, where every value of the type has as many.
fn size(kind: &Type) -> Option<usize> {
    match kind {
        Type::Int64 | Type::Float64 | Type::Timestamp { .. } => Some(8),
        Type::Date => Some(4),
        Type::Bool => Some(1),
        Type::Decimal { .. } => Some(16),
        Type::Text | Type::List(_) | Type::Struct(_) => None,
    }
}

/// Appends a value, so that where one ends is known from its type or from its own bytes.
fn push_value(bytes: &mut Vec<u8>, array: &ArrayRef, row: usize) -> Result<(), ScrubError> {
    let number = match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            let value = if value.is_nan() { f64::NAN } else { value };
            // Adding zero makes 0.0 of -0.0.
            (value + 0.0).to_bits().cast_signed()
        }
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
            TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
            TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
            TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
        },
        DataType::Date32 => {
            bytes.extend_from_slice(&array.as_primitive::<Date32Type>().value(row).to_le_bytes());
            return Ok(());
        }
        DataType::Boolean => {
            bytes.push(u8::from(array.as_boolean().value(row)));
            return Ok(());
        }
        DataType::Decimal128(_, _) => {
            bytes.extend_from_slice(&array.as_primitive::<Decimal128Type>().value(row).to_le_bytes());
            return Ok(());
        }
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        other => return Err(ScrubError::Internal(format!("a key of {other}"))),
    };
    bytes.extend_from_slice(&number.to_le_bytes());
    Ok(())
}
