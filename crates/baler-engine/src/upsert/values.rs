//! Values of a batch, column by column, as databases take them.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow_schema::TimeUnit;
use baler_format::schema::{Schema, Type};

/// The values of one column.
pub(super) struct Values<'a> {
    pub(super) name: &'a str,
    pub(super) array: &'a ArrayRef,
    pub(super) typed: Typed<'a>,
}

/// The same by their type.
pub(super) enum Typed<'a> {
    Int(&'a Int64Array),
    Float(&'a Float64Array),
    Bool(&'a BooleanArray),
    Text(&'a StringArray),
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "SQLite has decimals, dates and times as text"))]
    Decimal(&'a Decimal128Array, u8),
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "SQLite has decimals, dates and times as text"))]
    Date(&'a Date32Array),
    /// What is counted since 1970, and how many of it a second has.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "SQLite has decimals, dates and times as text"))]
    Timestamp(&'a [i64], i64),
    /// Lists and structs, as JSON.
    Nested,
}

/// Takes the columns of a batch that has the schema's types.
pub(super) fn columns<'a>(schema: &'a Schema, records: &'a RecordBatch) -> Vec<Values<'a>> {
    let typed = |kind: &Type, array: &'a ArrayRef| match kind {
        Type::Int64 => Typed::Int(array.as_primitive::<Int64Type>()),
        Type::Float64 => Typed::Float(array.as_primitive::<Float64Type>()),
        Type::Bool => Typed::Bool(array.as_boolean()),
        Type::Text => Typed::Text(array.as_string()),
        Type::Decimal { scale, .. } => Typed::Decimal(array.as_primitive::<Decimal128Type>(), *scale),
        Type::Date => Typed::Date(array.as_primitive::<Date32Type>()),
        Type::Timestamp { unit, .. } => match unit {
            TimeUnit::Second => Typed::Timestamp(array.as_primitive::<TimestampSecondType>().values(), 1),
            TimeUnit::Millisecond => Typed::Timestamp(array.as_primitive::<TimestampMillisecondType>().values(), 1_000),
            TimeUnit::Microsecond => {
                Typed::Timestamp(array.as_primitive::<TimestampMicrosecondType>().values(), 1_000_000)
            }
            TimeUnit::Nanosecond => {
                Typed::Timestamp(array.as_primitive::<TimestampNanosecondType>().values(), 1_000_000_000)
            }
        },
        Type::List(_) | Type::Struct(_) => Typed::Nested,
    };
    let columns = schema.columns().iter().zip(records.columns());
    columns.map(|(column, array)| Values { name: &column.name, array, typed: typed(&column.kind, array) }).collect()
}

impl Values<'_> {
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Appends the text of a value; lists and structs are JSON. Errors: why it has none, naming the column.
    pub(super) fn push_text(&self, out: &mut String, row: usize) -> Result<(), String> {
        baler_format::encode::push_text(out, self.array, row).map_err(|what| self.fault(&what))
    }

    pub(super) fn fault(&self, what: &str) -> String {
        format!("column `{}`: {what}", self.name)
    }
}
