//! Schemas: what columns records have, in words that `baler.toml` and the ledger can hold.
//!
//! A schema has fewer types than Arrow. What a file holds in a narrower or odder type is read into the type here that holds
//! every value of it ([`Type::of_arrow`]); where there is none the file is refused, naming the column.

mod arrow;
mod drift;
mod infer;
mod s3db;
mod text;

use std::collections::HashSet;

pub use arrow::ForeignType;
pub use arrow_schema::TimeUnit;
pub(crate) use drift::holds;
pub use drift::{Change, Drift, DriftError, compare, settle};
pub use infer::{Inference, infer};
pub use s3db::{S3db, S3dbError};
pub use text::TypeError;

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// Whole numbers of 64 bits, signed.
    Int64,
    /// Binary floating point of 64 bits.
    Float64,
    /// True or false.
    Bool,
    /// UTF-8 text.
    Text,
    /// Exact decimal numbers.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point, at most `precision`.
        scale: u8,
    },
    /// A day of the calendar.
    Date,
    /// A point in time.
    Timestamp {
        /// What the value counts, since 1970.
        unit: TimeUnit,
        /// The zone that the instant is shown in; without one, a civil date and time of no zone.
        zone: Option<String>,
    },
    /// A list of values of one type, any of which may be null.
    List(Box<Type>),
    /// Named values.
    Struct(Vec<Column>),
}

/// A column: a name and what stands under it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// The name, byte for byte.
    pub name: String,
    /// The type.
    pub kind: Type,
    /// Whether values may be missing. A record without a value for a column that is not nullable is rejected.
    pub nullable: bool,
}

impl Column {
    /// Makes a column whose values may be missing.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind, nullable: true }
    }
}

/// The columns of records, in order; no two have one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Schema {
    columns: Vec<Column>,
}

impl Schema {
    /// Checks columns. Errors: a name that stands twice, also within a struct; a decimal that has no such digits.
    pub fn try_new(columns: Vec<Column>) -> Result<Self, TypeError> {
        check(&columns)?;
        Ok(Self { columns })
    }

    /// Returns the columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Finds a column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

fn check(columns: &[Column]) -> Result<(), TypeError> {
    let mut names = HashSet::new();
    for column in columns {
        if !names.insert(column.name.as_str()) {
            return Err(TypeError::new(format!("two columns have the name `{}`", column.name)));
        }
        check_type(&column.kind)?;
    }
    Ok(())
}

fn check_type(kind: &Type) -> Result<(), TypeError> {
    match kind {
        Type::Decimal { precision, scale } if !(1..=38).contains(precision) || scale > precision => {
            Err(TypeError::new(format!(
                "decimal({precision},{scale}) is none: 1 to 38 digits, some of them behind the point"
            )))
        }
        Type::Struct(columns) if columns.is_empty() => Err(TypeError::new("a struct has no columns".to_owned())),
        Type::Struct(columns) => check(columns),
        Type::List(item) => check_type(item),
        Type::Int64
        | Type::Float64
        | Type::Bool
        | Type::Text
        | Type::Decimal { .. }
        | Type::Date
        | Type::Timestamp { .. } => Ok(()),
    }
}

/// Returns the narrowest type that holds every value of both.
///
/// Integers widen to decimals or floats, numbers to floats, timestamps to the finer unit, structs column by column; what has
/// nothing else in common becomes text. Widening a decimal or a large integer to a float may round.
pub fn widen(a: &Type, b: &Type) -> Type {
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (Type::Int64, Type::Float64) | (Type::Float64, Type::Int64 | Type::Decimal { .. }) => Type::Float64,
        (Type::Decimal { .. }, Type::Float64) => Type::Float64,
        // 64 bits have 19 digits.
        (Type::Int64, Type::Decimal { precision, scale }) | (Type::Decimal { precision, scale }, Type::Int64) => {
            decimal_or_float(19.max(precision - scale), *scale)
        }
        (Type::Decimal { precision: p, scale: s }, Type::Decimal { precision: q, scale: t }) => {
            decimal_or_float((p - s).max(q - t), *s.max(t))
        }
        (Type::Timestamp { unit: u, zone: y }, Type::Timestamp { unit: v, zone: z }) if y.is_some() == z.is_some() => {
            // Instants are the same in every zone; two zones are shown in the one that is none's.
            let zone = if y == z { y.clone() } else { Some("UTC".to_owned()) };
            Type::Timestamp { unit: *u.max(v), zone }
        }
        (Type::Date, Type::Timestamp { unit, zone: None }) | (Type::Timestamp { unit, zone: None }, Type::Date) => {
            Type::Timestamp { unit: *unit, zone: None }
        }
        (Type::List(a), Type::List(b)) => Type::List(Box::new(widen(a, b))),
        (Type::Struct(a), Type::Struct(b)) => Type::Struct(widen_columns(a, b)),
        _ => Type::Text,
    }
}

/// Widens columns that have one name; the others follow, nullable.
pub(crate) fn widen_columns(a: &[Column], b: &[Column]) -> Vec<Column> {
    let mut columns: Vec<Column> = a
        .iter()
        .map(|column| match b.iter().find(|other| other.name == column.name) {
            Some(other) => Column {
                name: column.name.clone(),
                kind: widen(&column.kind, &other.kind),
                nullable: column.nullable || other.nullable,
            },
            None => Column { nullable: true, ..column.clone() },
        })
        .collect();
    let added = b.iter().filter(|other| a.iter().all(|column| column.name != other.name));
    columns.extend(added.map(|column| Column { nullable: true, ..column.clone() }));
    columns
}

fn decimal_or_float(whole: u8, scale: u8) -> Type {
    if whole + scale <= 38 { Type::Decimal { precision: whole + scale, scale } } else { Type::Float64 }
}
