//! Typed values of one record, and the columns that they go into once the record is known to be sound (INV-ROW-1).

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder,
};
use arrow_array::{
    ArrayRef, ListArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields};

use super::DecodeError;
use super::instant::Zone;
use crate::schema::{Column, TimeUnit, Type};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Cow<'a, str>),
    Decimal(i128),
    Date(i32),
    Timestamp(i64),
    List(Vec<Self>),
    Struct(Vec<Self>),
}

/// A type with what reading it takes.
#[derive(Debug, Clone)]
pub(crate) enum Reading {
    Int64,
    Float64,
    Bool,
    Text,
    Decimal { precision: u8, scale: u8 },
    Date,
    Timestamp { unit: TimeUnit, zone: Zone },
    List(Box<Self>),
    Struct(Vec<Member>),
}

/// A column with what reading it takes.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) reading: Reading,
    pub(crate) nullable: bool,
}

impl Reading {
    /// Errors: an unknown time zone.
    pub(crate) fn of(kind: &Type) -> Result<Self, DecodeError> {
        Ok(match kind {
            Type::Int64 => Self::Int64,
            Type::Float64 => Self::Float64,
            Type::Bool => Self::Bool,
            Type::Text => Self::Text,
            Type::Decimal { precision, scale } => Self::Decimal { precision: *precision, scale: *scale },
            Type::Date => Self::Date,
            Type::Timestamp { unit, zone } => {
                Self::Timestamp { unit: *unit, zone: Zone::find(zone.as_deref()).map_err(DecodeError::Usage)? }
            }
            Type::List(item) => Self::List(Box::new(Self::of(item)?)),
            Type::Struct(columns) => Self::Struct(Member::all(columns)?),
        })
    }
}

impl Member {
    pub(crate) fn all(columns: &[Column]) -> Result<Vec<Self>, DecodeError> {
        let member = |column: &Column| {
            Ok(Self { name: column.name.clone(), reading: Reading::of(&column.kind)?, nullable: column.nullable })
        };
        columns.iter().map(member).collect()
    }
}

/// A column that grows.
#[derive(Debug)]
pub(crate) enum Growing {
    Int64(Int64Builder),
    Float64(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Timestamp(Int64Builder, TimeUnit, Option<Arc<str>>),
    List { item: Box<Self>, field: Arc<Field>, ends: Vec<i32>, nulls: NullBufferBuilder },
    Struct { columns: Vec<Self>, fields: Fields, nulls: NullBufferBuilder, len: usize },
}

impl Growing {
    pub(crate) fn of(kind: &Type) -> Self {
        match kind {
            Type::Int64 => Self::Int64(Int64Builder::new()),
            Type::Float64 => Self::Float64(Float64Builder::new()),
            Type::Bool => Self::Bool(BooleanBuilder::new()),
            Type::Text => Self::Text(StringBuilder::new()),
            Type::Decimal { .. } => Self::Decimal(Decimal128Builder::new().with_data_type(kind.to_arrow())),
            Type::Date => Self::Date(Date32Builder::new()),
            Type::Timestamp { unit, zone } => {
                Self::Timestamp(Int64Builder::new(), *unit, zone.as_deref().map(Arc::from))
            }
            Type::List(item) => {
                let field = Arc::new(Field::new_list_field(item.to_arrow(), true));
                Self::List { item: Box::new(Self::of(item)), field, ends: vec![0], nulls: NullBufferBuilder::new(0) }
            }
            Type::Struct(columns) => {
                let DataType::Struct(fields) = kind.to_arrow() else { unreachable!("a struct is one in Arrow") };
                let columns = columns.iter().map(|column| Self::of(&column.kind)).collect();
                Self::Struct { columns, fields, nulls: NullBufferBuilder::new(0), len: 0 }
            }
        }
    }

    /// Appends a value that was read for this column's type.
    pub(crate) fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Int64(column) | Self::Timestamp(column, _, _), Cell::Null) => column.append_null(),
            (Self::Int64(column), Cell::Int(value)) => column.append_value(value),
            (Self::Timestamp(column, _, _), Cell::Timestamp(value)) => column.append_value(value),
            (Self::Float64(column), Cell::Null) => column.append_null(),
            (Self::Float64(column), Cell::Float(value)) => column.append_value(value),
            (Self::Bool(column), Cell::Null) => column.append_null(),
            (Self::Bool(column), Cell::Bool(value)) => column.append_value(value),
            (Self::Text(column), Cell::Null) => column.append_null(),
            (Self::Text(column), Cell::Text(value)) => column.append_value(value),
            (Self::Decimal(column), Cell::Null) => column.append_null(),
            (Self::Decimal(column), Cell::Decimal(value)) => column.append_value(value),
            (Self::Date(column), Cell::Null) => column.append_null(),
            (Self::Date(column), Cell::Date(value)) => column.append_value(value),
            (Self::List { item, ends, nulls, .. }, cell) => {
                let last = ends.last().copied().unwrap_or(0);
                let (cells, is_there) = match cell {
                    Cell::List(cells) => (cells, true),
                    _ => (Vec::new(), false),
                };
                // A batch of text has far fewer bytes than 32 bits can count.
                ends.push(last + cells.len() as i32);
                cells.into_iter().for_each(|cell| item.push(cell));
                nulls.append(is_there);
            }
            (Self::Struct { columns, nulls, len, .. }, cell) => {
                *len += 1;
                match cell {
                    Cell::Struct(cells) => {
                        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
                        nulls.append(true);
                    }
                    _ => {
                        columns.iter_mut().for_each(|column| column.push_hidden());
                        nulls.append(false);
                    }
                }
            }
            (_, cell) => unreachable!("{cell:?} was read for another type"),
        }
    }

    /// Appends what stands under a null: a null, or something where none may be.
    fn push_hidden(&mut self) {
        match self {
            Self::Int64(column) | Self::Timestamp(column, _, _) => column.append_value(0),
            Self::Float64(column) => column.append_value(0.0),
            Self::Bool(column) => column.append_value(false),
            Self::Text(column) => column.append_value(""),
            Self::Decimal(column) => column.append_value(0),
            Self::Date(column) => column.append_value(0),
            Self::List { .. } => self.push(Cell::List(Vec::new())),
            Self::Struct { columns, nulls, len, .. } => {
                *len += 1;
                columns.iter_mut().for_each(Self::push_hidden);
                nulls.append(true);
            }
        }
    }

    /// Returns what has grown, and begins anew.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int64(column) => Arc::new(column.finish()),
            Self::Float64(column) => Arc::new(column.finish()),
            Self::Bool(column) => Arc::new(column.finish()),
            Self::Text(column) => Arc::new(column.finish()),
            Self::Decimal(column) => Arc::new(column.finish()),
            Self::Date(column) => Arc::new(column.finish()),
            Self::Timestamp(column, unit, zone) => {
                let (_, values, nulls) = column.finish().into_parts();
                let zone = zone.clone();
                match unit {
                    TimeUnit::Second => Arc::new(TimestampSecondArray::new(values, nulls).with_timezone_opt(zone)),
                    TimeUnit::Millisecond => {
                        Arc::new(TimestampMillisecondArray::new(values, nulls).with_timezone_opt(zone))
                    }
                    TimeUnit::Microsecond => {
                        Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone))
                    }
                    TimeUnit::Nanosecond => {
                        Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone_opt(zone))
                    }
                }
            }
            Self::List { item, field, ends, nulls } => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, vec![0])));
                Arc::new(ListArray::new(Arc::clone(field), ends, item.finish(), nulls.finish()))
            }
            Self::Struct { columns, fields, nulls, len } => {
                let columns = columns.iter_mut().map(Self::finish).collect();
                let len = std::mem::take(len);
                match StructArray::try_new_with_length(fields.clone(), columns, nulls.finish(), len) {
                    Ok(array) => Arc::new(array),
                    Err(fault) => unreachable!("columns of their own fields: {fault}"),
                }
            }
        }
    }
}
