//! Columns under construction.
//!
//! A record is appended value by value; if it turns out bad, [`Column::cut`] takes its values back. Nulls are kept as the
//! list of their rows: a column without any costs nothing, one of nulls alone 4 bytes a row.

use std::sync::Arc;

use arrow_array::types::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, PrimitiveArray, StringArray,
};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};

use super::time::LastDate;
use crate::decode::Cell;

/// Tells whether columns of this type are built here.
pub(super) fn supports(data_type: &DataType) -> bool {
    match data_type {
        DataType::Int64
        | DataType::Float64
        | DataType::Boolean
        | DataType::Utf8
        | DataType::Decimal128(..)
        | DataType::Date32 => true,
        DataType::Timestamp(_, zone) => {
            zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "Etc/UTC" | "Z" | "+00:00"))
        }
        _ => false,
    }
}

/// One column of the batch that is being filled.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) values: Values,
    pub(super) nullable: bool,
    nulls: Vec<u32>,
}

/// The values of a column, by its type.
#[derive(Debug)]
pub(super) enum Values {
    Integer(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Text(Text),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    Date { values: Vec<i32>, last: LastDate },
    Time { values: Vec<i64>, unit: TimeUnit, zone: Option<Arc<str>>, last: LastDate },
}

impl Column {
    /// An empty column; `None` for a type that is not built here.
    pub(super) fn new(field: &Field) -> Option<Self> {
        if !supports(field.data_type()) {
            return None;
        }
        let values = match field.data_type() {
            DataType::Int64 => Values::Integer(Vec::new()),
            DataType::Float64 => Values::Float(Vec::new()),
            DataType::Boolean => Values::Bool(Vec::new()),
            DataType::Utf8 => Values::Text(Text::new()),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            DataType::Date32 => Values::Date { values: Vec::new(), last: LastDate::default() },
            DataType::Timestamp(unit, zone) => {
                Values::Time { values: Vec::new(), unit: *unit, zone: zone.clone(), last: LastDate::default() }
            }
            _ => return None,
        };
        Some(Self { values, nullable: field.is_nullable(), nulls: Vec::new() })
    }

    /// How many values were appended.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Integer(values) | Values::Time { values, .. } => values.len(),
            Values::Float(values) => values.len(),
            Values::Bool(values) => values.len(),
            Values::Text(text) => text.len(),
            Values::Decimal { values, .. } => values.len(),
            Values::Date { values, .. } => values.len(),
        }
    }

    /// Appends a null.
    pub(super) fn push_null(&mut self) {
        self.nulls.push(self.len() as u32);
        match &mut self.values {
            Values::Integer(values) | Values::Time { values, .. } => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Bool(values) => values.push(false),
            Values::Text(text) => text.end(),
            Values::Decimal { values, .. } => values.push(0),
            Values::Date { values, .. } => values.push(0),
        }
    }

    /// Appends a value that was read for this column's type.
    pub(super) fn push(&mut self, cell: Cell<'_>) {
        match (&mut self.values, cell) {
            (_, Cell::Null) => self.push_null(),
            (Values::Integer(values), Cell::Int(value)) => values.push(value),
            (Values::Float(values), Cell::Float(value)) => values.push(value),
            (Values::Bool(values), Cell::Bool(value)) => values.push(value),
            (Values::Text(text), Cell::Text(value)) => {
                text.extend(value.as_bytes());
                text.end();
            }
            (Values::Decimal { values, .. }, Cell::Decimal(value)) => values.push(value),
            (Values::Date { values, .. }, Cell::Date(value)) => values.push(value),
            (Values::Time { values, .. }, Cell::Timestamp(value)) => values.push(value),
            (_, cell) => unreachable!("{cell:?} was read for another type"),
        }
    }

    /// Keeps the first `rows` values, and no begun text.
    pub(super) fn cut(&mut self, rows: usize) {
        match &mut self.values {
            Values::Integer(values) | Values::Time { values, .. } => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Bool(values) => values.truncate(rows),
            Values::Text(text) => text.cut(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Date { values, .. } => values.truncate(rows),
        }
        while self.nulls.last().is_some_and(|&row| row as usize >= rows) {
            self.nulls.pop();
        }
    }

    /// Takes the values out as an array; the column is empty then, with room for as many again.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = self.len();
        let nulls = take_nulls(&mut self.nulls, rows);
        Ok(match &mut self.values {
            Values::Integer(values) => Arc::new(Int64Array::try_new(take(values), nulls)?),
            Values::Float(values) => Arc::new(Float64Array::try_new(take(values), nulls)?),
            Values::Bool(values) => {
                let bits = BooleanBuffer::from(values.as_slice());
                values.clear();
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Values::Text(text) => {
                let (offsets, bytes) = text.finish();
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
            Values::Decimal { values, precision, scale } => {
                Arc::new(Decimal128Array::try_new(take(values), nulls)?.with_precision_and_scale(*precision, *scale)?)
            }
            Values::Date { values, .. } => Arc::new(Date32Array::try_new(take(values), nulls)?),
            Values::Time { values, unit, zone, .. } => {
                let (values, zone) = (take(values), zone.clone());
                match unit {
                    TimeUnit::Second => {
                        Arc::new(PrimitiveArray::<TimestampSecondType>::try_new(values, nulls)?.with_timezone_opt(zone))
                    }
                    TimeUnit::Millisecond => Arc::new(
                        PrimitiveArray::<TimestampMillisecondType>::try_new(values, nulls)?.with_timezone_opt(zone),
                    ),
                    TimeUnit::Microsecond => Arc::new(
                        PrimitiveArray::<TimestampMicrosecondType>::try_new(values, nulls)?.with_timezone_opt(zone),
                    ),
                    TimeUnit::Nanosecond => Arc::new(
                        PrimitiveArray::<TimestampNanosecondType>::try_new(values, nulls)?.with_timezone_opt(zone),
                    ),
                }
            }
        })
    }
}

fn take<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let room = values.len();
    ScalarBuffer::from(std::mem::replace(values, Vec::with_capacity(room)))
}

fn take_nulls(nulls: &mut Vec<u32>, rows: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut bits = BooleanBufferBuilder::new(rows);
    bits.append_n(rows, true);
    for row in nulls.drain(..) {
        bits.set_bit(row as usize, false);
    }
    Some(NullBuffer::new(bits.finish()))
}

/// Text values, one behind the other.
///
/// `bytes` is longer than what is used of it, so that sixteen bytes can be stored at once wherever a value goes on, and
/// only those that belong to it counted.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Vec<u8>,
    used: usize,
    /// Where values end; the first begins at 0.
    ends: Vec<i32>,
}

impl Text {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; 4096], used: 0, ends: vec![0] }
    }

    fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// Stores a block of which the first `count` bytes belong to the value.
    #[inline(always)]
    pub(super) fn store(&mut self, block: [u8; 16], count: usize) {
        let used = self.used;
        match self.bytes.get_mut(used..).and_then(|rest| rest.first_chunk_mut::<16>()) {
            Some(place) => *place = block,
            None => self.grow_and_store(block),
        }
        self.used = used + count;
    }

    #[cold]
    #[inline(never)]
    fn grow_and_store(&mut self, block: [u8; 16]) {
        self.bytes.resize(self.bytes.len().max(self.used + 16) * 2, 0);
        self.bytes[self.used..self.used + 16].copy_from_slice(&block);
    }

    /// Appends to the value that is being written.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end.max(self.bytes.len() * 2), 0);
        }
        self.bytes[self.used..end].copy_from_slice(bytes);
        self.used = end;
    }

    /// Ends the value that is being written.
    #[inline(always)]
    pub(super) fn end(&mut self) {
        // Batches are cut long before 2 GiB of text.
        self.ends.push(self.used as i32);
    }

    /// Forgets what was written since the last value ended.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.used = self.ends.last().map_or(0, |&end| end as usize);
    }

    /// What was written since the last value ended.
    pub(super) fn begun(&self) -> &[u8] {
        &self.bytes[self.ends.last().map_or(0, |&end| end as usize)..self.used]
    }

    fn cut(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        self.forget();
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        // A copy, of just what was used: the room stays here, and need not be cleared again.
        let bytes = Buffer::from(&self.bytes[..self.used]);
        self.used = 0;
        let mut ends = Vec::with_capacity(self.ends.len());
        ends.push(0);
        let ends = std::mem::replace(&mut self.ends, ends);
        (OffsetBuffer::new(ScalarBuffer::from(ends)), bytes)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;

    use super::*;

    #[test]
    fn a_cut_record_leaves_nothing() {
        for data_type in [DataType::Int64, DataType::Utf8, DataType::Boolean, DataType::Decimal128(5, 2)] {
            let mut column = Column::new(&Field::new("c", data_type, true)).unwrap();
            column.push_null();
            if let Values::Text(text) = &mut column.values {
                text.extend(b"half a value");
            }
            column.cut(1);
            column.push_null();
            column.cut(1);
            if let Values::Text(text) = &column.values {
                assert_eq!((text.used, text.begun()), (0, &b""[..]));
            }
            let array = column.finish().unwrap();
            assert_eq!((array.len(), array.null_count()), (1, 1));
            assert_eq!(column.len(), 0);
        }
    }

    #[test]
    fn text_outgrows_its_first_room() {
        let mut column = Column::new(&Field::new("c", DataType::Utf8, true)).unwrap();
        let Values::Text(text) = &mut column.values else { panic!("a column of text") };
        for count in 0..2000 {
            text.store(*b"0123456789abcdef", count % 17);
            if count % 100 == 99 {
                text.extend(&[b'x'; 5000]);
            }
            text.end();
        }
        let array = column.finish().unwrap();
        let array = array.as_any().downcast_ref::<StringArray>().unwrap();
        for row in 0..2000 {
            let mut expected = "0123456789abcdef"[..row % 17].to_owned();
            if row % 100 == 99 {
                expected.push_str(&"x".repeat(5000));
            }
            assert_eq!(array.value(row), expected);
        }
    }

    #[test]
    fn zones_other_than_utc_are_for_another_reader() {
        let zoned = |zone: &str| DataType::Timestamp(TimeUnit::Second, Some(Arc::from(zone)));
        assert!(supports(&zoned("UTC")));
        assert!(!supports(&zoned("Europe/Berlin")));
        assert!(!supports(&DataType::LargeUtf8));
    }
}
