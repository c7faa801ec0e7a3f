//! Schemas to Arrow's and back.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};

use super::{Column, Schema, Type, TypeError};

/// A column of a type that no [`Type`] holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}` has the type {kind}, which cannot be taken")]
pub struct ForeignType {
    /// The column's name, with those of the structs around it.
    pub column: String,
    /// The type in Arrow's words.
    pub kind: String,
}

impl Type {
    /// Returns the Arrow type that batches of this type have.
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Text => DataType::Utf8,
            // At most 38.
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
            Self::Date => DataType::Date32,
            Self::Timestamp { unit, zone } => DataType::Timestamp(*unit, zone.as_deref().map(Arc::from)),
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.to_arrow(), true))),
            Self::Struct(columns) => DataType::Struct(fields(columns)),
        }
    }

    /// Returns the type that holds every value of an Arrow type.
    ///
    /// Narrower integers and floats, unsigned integers, dictionaries, text views and text in binary columns (if it is UTF-8)
    /// are taken. Errors: there is none (times of day, durations, intervals, maps, unions).
    pub fn of_arrow(kind: &DataType) -> Option<Self> {
        use DataType as D;
        Some(match kind {
            D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => Self::Int64,
            D::UInt64 => Self::Decimal { precision: 20, scale: 0 },
            D::Float16 | D::Float32 | D::Float64 => Self::Float64,
            D::Boolean => Self::Bool,
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView | D::Null => Self::Text,
            D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => {
                let scale = u8::try_from(*s).ok()?;
                if *p > 38 || scale > *p {
                    return None;
                }
                Self::Decimal { precision: *p, scale }
            }
            D::Date32 | D::Date64 => Self::Date,
            D::Timestamp(unit, zone) => Self::Timestamp { unit: *unit, zone: zone.as_deref().map(str::to_owned) },
            D::List(item)
            | D::LargeList(item)
            | D::FixedSizeList(item, _)
            | D::ListView(item)
            | D::LargeListView(item) => Self::List(Box::new(Self::of_arrow(item.data_type())?)),
            D::Struct(fields) if !fields.is_empty() => {
                let column = |field: &Arc<Field>| {
                    Some(Column {
                        name: field.name().clone(),
                        kind: Self::of_arrow(field.data_type())?,
                        nullable: field.is_nullable(),
                    })
                };
                Self::Struct(fields.iter().map(column).collect::<Option<_>>()?)
            }
            D::Dictionary(_, value) => Self::of_arrow(value)?,
            D::RunEndEncoded(_, values) => Self::of_arrow(values.data_type())?,
            D::Struct(_)
            | D::Time32(_)
            | D::Time64(_)
            | D::Duration(_)
            | D::Interval(_)
            | D::FixedSizeBinary(_)
            | D::Union(_, _)
            | D::Map(_, _) => return None,
        })
    }
}

fn fields(columns: &[Column]) -> Fields {
    columns.iter().map(|column| Field::new(&column.name, column.kind.to_arrow(), column.nullable)).collect()
}

impl Schema {
    /// Returns the schema that batches have.
    pub fn to_arrow(&self) -> arrow_schema::SchemaRef {
        Arc::new(arrow_schema::Schema::new(fields(self.columns())))
    }

    /// Returns the schema that holds every value of an Arrow schema.
    ///
    /// Errors: the first column of a type that cannot be taken.
    pub fn of_arrow(schema: &arrow_schema::Schema) -> Result<Self, ForeignType> {
        let mut columns = Vec::new();
        for field in schema.fields() {
            let foreign = || ForeignType { column: field.name().clone(), kind: field.data_type().to_string() };
            let kind = Type::of_arrow(field.data_type()).ok_or_else(foreign)?;
            columns.push(Column { name: field.name().clone(), kind, nullable: field.is_nullable() });
        }
        Self::try_new(columns).map_err(|fault: TypeError| {
            let column = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
            ForeignType { column, kind: fault.to_string() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_from_arrow() {
        let text = "a: int64, b: float64, c: bool, d: text not null, e: decimal(12,2), f: date, g: timestamp(ms, UTC), \
                    h: timestamp(ns), i: list(struct(x: int64 not null, y: list(text)))";
        let schema: Schema = text.parse().unwrap();
        assert_eq!(Schema::of_arrow(&schema.to_arrow()).unwrap(), schema);
    }

    #[test]
    fn a_type_that_cannot_be_taken_is_named_with_its_column() {
        let schema = arrow_schema::Schema::new(vec![
            Field::new("a", DataType::Int8, true),
            Field::new("b", DataType::Duration(arrow_schema::TimeUnit::Second), true),
        ]);
        let fault = Schema::of_arrow(&schema).unwrap_err();
        assert_eq!(fault.column, "b");
    }
}
