//! Columns of Parquet and Arrow objects into the schema's types, losing nothing.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, StructArray, UInt64Array, new_null_array,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use arrow_select::filter::filter;
use arrow_select::take::take;

use super::{DecodeError, Decoded, Position, Positions, Reason, Rejected, Unknown};
use crate::schema::{Column, ForeignType, Schema, Type, holds};

/// Takes the columns of one object to the schema's.
#[derive(Debug)]
pub(super) struct Fit {
    columns: Vec<Column>,
    /// For each of the schema's columns, its place in the object's batches; nothing where the object lacks it.
    places: Vec<Option<usize>>,
    schema: SchemaRef,
    /// Rows seen so far.
    rows: u64,
}

impl Fit {
    /// Compares schemas.
    ///
    /// Errors: a column whose values the schema's does not hold, or of a type that cannot be taken, or that is missing and
    /// may not be null, or that the object has twice; an object with none of the columns, whose rows would be nulls alone.
    pub(super) fn new(
        schema: &Schema,
        found: &arrow_schema::Schema,
        unknown: &mut Unknown,
    ) -> Result<Self, DecodeError> {
        for field in found.fields() {
            if schema.column(field.name()).is_none() {
                unknown.note(field.name());
            }
        }
        let mut places = Vec::new();
        for column in schema.columns() {
            let mut fields = found.fields().iter().enumerate().filter(|(_, field)| *field.name() == column.name);
            let field = fields.next();
            if fields.next().is_some() {
                return Err(DecodeError::Header(format!("the object has two columns `{}`", column.name)));
            }
            match field {
                Some((place, field)) => {
                    let foreign = || ForeignType { column: column.name.clone(), kind: field.data_type().to_string() };
                    let kind = Type::of_arrow(field.data_type()).ok_or_else(foreign)?;
                    if *field.data_type() != DataType::Null && !holds(&column.kind, &kind) {
                        return Err(DecodeError::Column {
                            column: column.name.clone(),
                            declared: column.kind.to_string(),
                            found: kind.to_string(),
                        });
                    }
                    places.push(Some(place));
                }
                None if column.nullable => places.push(None),
                None => {
                    return Err(DecodeError::Header(format!(
                        "the object lacks `{}`, which may not be null",
                        column.name
                    )));
                }
            }
        }
        if !places.is_empty() && places.iter().all(Option::is_none) {
            return Err(DecodeError::Header("the object has none of the columns".to_owned()));
        }
        Ok(Self { columns: schema.columns().to_vec(), places, schema: schema.to_arrow(), rows: 0 })
    }

    /// Says how many rows of the object stand before the first.
    pub(super) fn begin_behind(&mut self, rows: u64) {
        self.rows = rows;
    }

    /// Returns the object's columns that are wanted, in the object's order.
    pub(super) fn wanted(&self) -> Vec<usize> {
        let mut wanted: Vec<usize> = self.places.iter().copied().flatten().collect();
        wanted.sort_unstable();
        wanted
    }

    /// Keeps only the wanted columns: from now on batches have no others.
    pub(super) fn project(&mut self) {
        let wanted = self.wanted();
        for place in self.places.iter_mut().flatten() {
            *place = wanted.iter().position(|other| other == place).unwrap_or(*place);
        }
    }

    /// Takes one batch to the schema; rows with a value that does not fit are rejected.
    pub(super) fn apply(&mut self, batch: &RecordBatch) -> Result<Decoded, DecodeError> {
        let rows = batch.num_rows();
        let first = self.rows + 1;
        self.rows += rows as u64;
        let mut faults: Vec<Option<Reason>> = vec![None; rows];
        let mut arrays = Vec::new();
        for (column, place) in self.columns.iter().zip(&self.places) {
            let target = column.kind.to_arrow();
            let Some(place) = *place else {
                arrays.push(new_null_array(&target, rows));
                continue;
            };
            let found = batch.column(place);
            let array = match fit(found, &column.kind) {
                Ok(array) => array,
                Err(_) => one_by_one(found, column, &mut faults).map_err(damaged)?,
            };
            if !column.nullable {
                for row in (0..rows).filter(|row| array.is_null(*row)) {
                    let what = "it is null and may not be".to_owned();
                    faults[row].get_or_insert(Reason::Value { column: column.name.clone(), what });
                }
            }
            arrays.push(array);
        }
        let numbers: Vec<u64> = (first..first + rows as u64).collect();
        let mut rejected = Vec::new();
        let mut kept = numbers.clone();
        if faults.iter().any(Option::is_some) {
            let is_kept = BooleanArray::from_iter(faults.iter().map(|fault| Some(fault.is_none())));
            arrays = arrays.iter().map(|array| filter(array, &is_kept)).collect::<Result<_, _>>().map_err(damaged)?;
            kept.clear();
            for (fault, row) in faults.into_iter().zip(numbers) {
                match fault {
                    Some(reason) => rejected.push(Rejected { position: Position::Row(row), reason, raw: Vec::new() }),
                    None => kept.push(row),
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(kept.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(damaged)?;
        Ok(Decoded { batch, positions: Positions::Rows(kept), rejected })
    }
}

fn damaged(error: ArrowError) -> DecodeError {
    DecodeError::Format { format: "arrow", what: error.to_string() }
}

/// Fits a column row by row, noting those that do not; these become null.
fn one_by_one(found: &ArrayRef, column: &Column, faults: &mut [Option<Reason>]) -> Result<ArrayRef, ArrowError> {
    let null = new_null_array(&column.kind.to_arrow(), 1);
    let mut parts = Vec::new();
    for (row, fault) in faults.iter_mut().enumerate() {
        // Copied out: some conversions look at all bytes that an array shares with its neighbours.
        let one = take(found, &UInt64Array::from(vec![row as u64]), None)?;
        parts.push(fit(&one, &column.kind).unwrap_or_else(|error| {
            fault.get_or_insert(Reason::Value { column: column.name.clone(), what: error.to_string() });
            Arc::clone(&null)
        }));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    if parts.is_empty() { Ok(new_null_array(&column.kind.to_arrow(), 0)) } else { arrow_select::concat::concat(&parts) }
}

/// Takes an array to a type that holds its values. Errors: one of them does not fit.
fn fit(array: &ArrayRef, kind: &Type) -> Result<ArrayRef, ArrowError> {
    let target = kind.to_arrow();
    if *array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    match (kind, array.data_type()) {
        (_, DataType::Null) => Ok(new_null_array(&target, array.len())),
        (Type::Struct(columns), DataType::Struct(_)) => {
            let found = array.as_struct();
            let DataType::Struct(fields) = &target else { unreachable!("a struct is one in Arrow") };
            let member = |column: &Column| match found.column_by_name(&column.name) {
                Some(member) => fit(member, &column.kind),
                None => Ok(new_null_array(&column.kind.to_arrow(), found.len())),
            };
            let members = columns.iter().map(member).collect::<Result<_, _>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                members,
                found.nulls().cloned(),
                found.len(),
            )?))
        }
        (Type::List(item), DataType::List(_)) => {
            let list = array.as_list::<i32>();
            let ends = list.value_offsets();
            let (first, last) = (ends[0], ends[ends.len() - 1]);
            // Only what the list's own rows hold: a slice of one row must not answer for the others.
            let values = list.values().slice(first as usize, (last - first) as usize);
            let ends = OffsetBuffer::new(ScalarBuffer::from(ends.iter().map(|end| end - first).collect::<Vec<_>>()));
            let field = Arc::new(Field::new_list_field(item.to_arrow(), true));
            Ok(Arc::new(ListArray::try_new(field, ends, fit(&values, item)?, list.nulls().cloned())?))
        }
        (
            Type::List(_),
            DataType::LargeList(of)
            | DataType::FixedSizeList(of, _)
            | DataType::ListView(of)
            | DataType::LargeListView(of),
        ) => {
            let list = cast(array, &DataType::List(Arc::clone(of)))?;
            fit(&list, kind)
        }
        (_, DataType::Dictionary(_, value)) if matches!(kind, Type::Struct(_) | Type::List(_)) => {
            fit(&cast(array, value)?, kind)
        }
        _ => cast(array, &target),
    }
}

fn cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    // Safe means: to null where a value does not fit. That would lose it unseen.
    cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })
}
