//! One column of a row group, for columns of plain values.
//!
//! Values are numbered as long as that pays (`distinct`), and stand as they are from then on: within the first rows if most
//! of them differ, later if they have become too many. Both depend on the values alone. The extremes of numbered values are
//! those of the dictionary, so that statistics cost nothing there.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::{DataType, TimeUnit};
use parquet::basic::{Compression as Within, Encoding, Type as Physical};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::distinct::{Numbers, Texts};
use super::page::{self, Page, Values};
use super::pieces::Pieces;
use super::squeeze::Press;
use super::{EncodeError, of_parquet};

/// Rows of a page at most, and bytes at which it closes.
const PAGE_ROWS: usize = 1 << 17;
const PAGE_BYTES: usize = 1 << 20;

/// Bytes of a dictionary at most; readers hold it as a whole.
const DICTIONARY_BYTES: usize = 1 << 20;

/// Longer extremes are left out of statistics.
const EXTREME_BYTES: usize = 64;

/// A closed column.
pub(super) struct Closed {
    pub(super) pages: Pieces,
    pub(super) result: ColumnCloseResult,
}

/// A column that is being written.
pub(super) struct Chunk {
    description: ColumnDescPtr,
    within: Within,
    rows: usize,
    nulls: usize,
    /// Which rows of the page are there; only for columns that may be null.
    there: Option<BooleanBufferBuilder>,
    page_rows: usize,
    page_nulls: usize,
    values: Column,
    pages: Pieces,
    plain_bytes: usize,
    has_plain: bool,
    has_indices: bool,
}

/// The values of the page, and what is known of those before.
enum Column {
    /// Numbers of four or eight bytes, by their bits.
    Numbers {
        kind: Number,
        plain: Vec<u8>,
        numbering: Numbering<Numbers>,
        extremes: Option<(u64, u64)>,
    },
    Texts {
        plain: Vec<u8>,
        numbering: Numbering<Texts>,
        extremes: Option<(Vec<u8>, Vec<u8>)>,
    },
    Bools {
        bits: BooleanBufferBuilder,
        seen: [bool; 2],
    },
    /// Numbers of so many bytes, the highest first.
    Fixed {
        plain: Vec<u8>,
        size: usize,
    },
}

/// What eight bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Int32,
    Int64,
    Double,
}

impl Number {
    fn size(self) -> usize {
        match self {
            Self::Int32 => 4,
            Self::Int64 | Self::Double => 8,
        }
    }

    /// Whether `a` is below `b`.
    #[inline(always)]
    fn is_below(self, a: u64, b: u64) -> bool {
        match self {
            Self::Int32 => (a as i32) < b as i32,
            Self::Int64 => (a as i64) < b as i64,
            Self::Double => f64::from_bits(a) < f64::from_bits(b),
        }
    }

    #[inline(always)]
    fn is_number(self, value: u64) -> bool {
        self != Self::Double || !f64::from_bits(value).is_nan()
    }

    #[inline(always)]
    fn put(self, out: &mut Vec<u8>, value: u64) {
        match self {
            Self::Int32 => out.extend_from_slice(&(value as u32).to_le_bytes()),
            Self::Int64 | Self::Double => out.extend_from_slice(&value.to_le_bytes()),
        }
    }
}

/// Distinct values, and the numbers of those in the page.
struct Numbering<D> {
    distinct: D,
    page: Vec<u32>,
    /// Values of the pages before.
    before: usize,
    is_on: bool,
}

impl<D> Numbering<D> {
    fn new(distinct: D) -> Self {
        Self { distinct, page: Vec::new(), before: 0, is_on: true }
    }

    /// Whether so many distinct values among those seen make numbering worth its while.
    fn pays(&self, distinct: usize) -> bool {
        let seen = self.before + self.page.len();
        seen < 4_096 || (distinct * 4 <= seen * 3 && (seen < 65_536 || distinct * 2 <= seen))
    }

    /// Whether numbering has to end before a page of numbers was closed: then nothing of it remains.
    fn is_vain(&self, distinct: usize) -> bool {
        self.is_on && self.before == 0 && !self.pays(distinct)
    }
}

/// Calls `f` with every row that is there.
#[inline(always)]
fn each(rows: usize, nulls: Option<&NullBuffer>, f: impl FnMut(usize)) {
    match nulls {
        None => (0..rows).for_each(f),
        Some(nulls) => nulls.valid_indices().for_each(f),
    }
}

#[inline(always)]
fn widen_number(kind: Number, extremes: &mut Option<(u64, u64)>, value: u64) {
    if !kind.is_number(value) {
        return;
    }
    match extremes {
        None => *extremes = Some((value, value)),
        Some((least, greatest)) => {
            *least = if kind.is_below(value, *least) { value } else { *least };
            *greatest = if kind.is_below(*greatest, value) { value } else { *greatest };
        }
    }
}

fn widen_text(extremes: &mut Option<(Vec<u8>, Vec<u8>)>, value: &[u8]) {
    match extremes {
        None => *extremes = Some((value.to_vec(), value.to_vec())),
        Some((least, greatest)) => {
            if value < least.as_slice() {
                value.clone_into(least);
            } else if value > greatest.as_slice() {
                value.clone_into(greatest);
            }
        }
    }
}

fn put_text(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Whether a column of this type is one of plain values.
pub(super) fn supports(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Int64
            | DataType::Float64
            | DataType::Boolean
            | DataType::Utf8
            | DataType::Date32
            | DataType::Decimal128(..)
            | DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
    )
}

impl Chunk {
    /// Begins a column that [`supports`] tells of, whose pages a press compresses as `within` says.
    pub(super) fn new(description: ColumnDescPtr, within: Within) -> Result<Self, EncodeError> {
        let numbers = |kind| Column::Numbers {
            kind,
            plain: Vec::new(),
            numbering: Numbering::new(Numbers::new()),
            extremes: None,
        };
        let values = match description.physical_type() {
            Physical::BOOLEAN => Column::Bools { bits: BooleanBufferBuilder::new(0), seen: [false; 2] },
            Physical::INT32 => numbers(Number::Int32),
            Physical::INT64 => numbers(Number::Int64),
            Physical::DOUBLE => numbers(Number::Double),
            Physical::BYTE_ARRAY => {
                Column::Texts { plain: Vec::new(), numbering: Numbering::new(Texts::new()), extremes: None }
            }
            Physical::FIXED_LEN_BYTE_ARRAY => {
                Column::Fixed { plain: Vec::new(), size: usize::try_from(description.type_length()).unwrap_or(16) }
            }
            other => return Err(EncodeError::Internal(format!("no plain column is written as {other}"))),
        };
        let is_nullable = description.max_def_level() > 0;
        Ok(Self {
            description,
            within,
            rows: 0,
            nulls: 0,
            there: is_nullable.then(|| BooleanBufferBuilder::new(0)),
            page_rows: 0,
            page_nulls: 0,
            values,
            pages: Pieces::default(),
            plain_bytes: 0,
            has_plain: false,
            has_indices: false,
        })
    }

    /// How long this column takes compared with others, roughly.
    pub(super) fn weight(&self) -> usize {
        match &self.values {
            Column::Texts { .. } => 6,
            Column::Numbers { .. } => 3,
            Column::Fixed { .. } => 2,
            Column::Bools { .. } => 1,
        }
    }

    /// Bytes that are held: closed pages, and what is not yet in one.
    pub(super) fn size(&self) -> usize {
        let open = match &self.values {
            Column::Numbers { plain, numbering, .. } => {
                plain.len() + numbering.page.len() * 2 + numbering.distinct.values.len() * 8
            }
            Column::Texts { plain, numbering, .. } => {
                plain.len() + numbering.page.len() * 2 + numbering.distinct.bytes()
            }
            Column::Bools { bits, .. } => bits.len() / 8,
            Column::Fixed { plain, .. } => plain.len(),
        };
        self.pages.bytes() + open
    }

    /// Appends rows.
    pub(super) fn push(&mut self, array: &ArrayRef, press: &mut Press) -> Result<(), EncodeError> {
        // Not more at once than a page takes.
        for start in (0..array.len()).step_by(PAGE_ROWS / 4) {
            let part = array.slice(start, (array.len() - start).min(PAGE_ROWS / 4));
            self.push_part(&part, press)?;
        }
        Ok(())
    }

    fn push_part(&mut self, array: &ArrayRef, press: &mut Press) -> Result<(), EncodeError> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        match (&mut self.there, nulls) {
            (Some(there), Some(nulls)) => there.append_buffer(nulls.inner()),
            (Some(there), None) => there.append_n(array.len(), true),
            (None, Some(_)) => {
                return Err(EncodeError::Internal("a column that may not be null has nulls".to_owned()));
            }
            (None, None) => {}
        }
        self.page_rows += array.len();
        self.page_nulls += nulls.map_or(0, NullBuffer::null_count);
        self.values.push(array, nulls)?;
        if self.values.is_dictionary_full() {
            self.close_page(press)?;
            self.values.leave_numbers();
        } else if self.page_rows >= PAGE_ROWS || self.values.open_bytes() >= PAGE_BYTES {
            self.close_page(press)?;
        }
        Ok(())
    }

    fn close_page(&mut self, press: &mut Press) -> Result<(), EncodeError> {
        if self.page_rows == 0 {
            return Ok(());
        }
        let page = press.page();
        if let Some(there) = &mut self.there {
            let bits = (self.page_nulls > 0).then(|| there.as_slice());
            page::levels(page, self.page_rows, bits);
            there.truncate(0);
        }
        let written = self.values.close_page(page);
        match written {
            Values::Plain => self.has_plain = true,
            Values::Indices => self.has_indices = true,
        }
        let (page, plain) = press.pressed(Page::Rows { values: self.page_rows, written })?;
        self.pages.push(page);
        self.plain_bytes += plain;
        self.rows += self.page_rows;
        self.nulls += self.page_nulls;
        (self.page_rows, self.page_nulls) = (0, 0);
        Ok(())
    }

    /// Ends the column.
    pub(super) fn close(mut self, press: &mut Press) -> Result<Closed, EncodeError> {
        self.close_page(press)?;
        let statistics = self.values.statistics(self.nulls as u64);
        let mut dictionary = 0;
        if self.has_indices {
            let values = self.values.dictionary(press.page());
            let (page, plain) = press.pressed(Page::Dictionary { values })?;
            dictionary = page.len();
            self.pages.push_front(page);
            self.plain_bytes += plain;
        }
        let mut encodings = vec![Encoding::RLE];
        if self.has_plain || self.has_indices {
            encodings.push(Encoding::PLAIN);
        }
        if self.has_indices {
            encodings.push(Encoding::RLE_DICTIONARY);
        }
        let metadata = ColumnChunkMetaData::builder(self.description)
            .set_compression(self.within)
            .set_encodings(encodings)
            .set_total_compressed_size(self.pages.bytes() as i64)
            .set_total_uncompressed_size(self.plain_bytes as i64)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(dictionary as i64)
            .set_dictionary_page_offset((dictionary > 0).then_some(0))
            .set_statistics(statistics);
        let result = ColumnCloseResult {
            bytes_written: self.pages.bytes() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build().map_err(of_parquet)?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok(Closed { pages: self.pages, result })
    }
}

impl Column {
    fn push(&mut self, array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<(), EncodeError> {
        match self {
            Self::Numbers { .. } => self.push_numbers(array, nulls),
            Self::Texts { plain, numbering, extremes } => {
                let array = array.as_string::<i32>();
                let (ends, bytes) = (array.value_offsets(), array.value_data());
                let value = |row: usize| &bytes[ends[row] as usize..ends[row + 1] as usize];
                if numbering.is_on {
                    numbering.page.reserve(array.len());
                    each(array.len(), nulls, |row| numbering.page.push(numbering.distinct.number(value(row))));
                    if numbering.is_vain(numbering.distinct.len()) {
                        self.leave_numbers();
                    }
                } else {
                    each(array.len(), nulls, |row| {
                        put_text(plain, value(row));
                        widen_text(extremes, value(row));
                    });
                }
                Ok(())
            }
            Self::Bools { bits, seen } => {
                let array = array.as_boolean();
                let trues = array.true_count();
                seen[1] |= trues > 0;
                seen[0] |= trues + array.null_count() < array.len();
                match nulls {
                    None => bits.append_buffer(array.values()),
                    Some(_) => each(array.len(), nulls, |row| bits.append(array.value(row))),
                }
                Ok(())
            }
            Self::Fixed { plain, size } => {
                let array = array.as_primitive::<Decimal128Type>();
                each(array.len(), nulls, |row| {
                    plain.extend_from_slice(&array.value(row).to_be_bytes()[16 - *size..]);
                });
                Ok(())
            }
        }
    }

    fn push_numbers(&mut self, array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<(), EncodeError> {
        macro_rules! of {
            ($values:expr, $bits:expr) => {{
                let values = $values;
                let bits = $bits;
                self.push_bits(values.len(), nulls, |row| bits(values[row]))
            }};
        }
        let array: &dyn Array = array.as_ref();
        match array.data_type() {
            DataType::Int64 => of!(array.as_primitive::<Int64Type>().values(), |value: i64| value as u64),
            DataType::Float64 => of!(array.as_primitive::<Float64Type>().values(), f64::to_bits),
            DataType::Date32 => of!(array.as_primitive::<Date32Type>().values(), |value: i32| u64::from(value as u32)),
            DataType::Decimal128(..) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                if matches!(self, Self::Numbers { kind: Number::Int32, .. }) {
                    of!(values, |value: i128| u64::from(value as u32))
                } else {
                    of!(values, |value: i128| value as u64)
                }
            }
            _ => {
                let any = array.as_any();
                let values = any
                    .downcast_ref::<TimestampMillisecondArray>()
                    .map(|array| array.values())
                    .or_else(|| any.downcast_ref::<TimestampMicrosecondArray>().map(|array| array.values()))
                    .or_else(|| any.downcast_ref::<TimestampNanosecondArray>().map(|array| array.values()));
                let wrong = || EncodeError::Internal(format!("no column of numbers is {}", array.data_type()));
                of!(values.ok_or_else(wrong)?, |value: i64| value as u64)
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn push_bits(&mut self, rows: usize, nulls: Option<&NullBuffer>, bits: impl Fn(usize) -> u64) {
        let Self::Numbers { kind, plain, numbering, extremes } = self else { return };
        let kind = *kind;
        if numbering.is_on {
            numbering.page.reserve(rows);
            each(rows, nulls, |row| numbering.page.push(numbering.distinct.number(bits(row))));
            if numbering.is_vain(numbering.distinct.values.len()) {
                self.leave_numbers();
            }
        } else {
            plain.reserve(rows * kind.size());
            let mut wider = *extremes;
            each(rows, nulls, |row| {
                let value = bits(row);
                kind.put(plain, value);
                widen_number(kind, &mut wider, value);
            });
            *extremes = wider;
        }
    }

    /// Numbers no more values. Those of the open page, if it is the first, are written as they are.
    fn leave_numbers(&mut self) {
        match self {
            Self::Numbers { kind, plain, numbering, extremes } => {
                numbering.is_on = false;
                if numbering.before == 0 {
                    let values = std::mem::replace(&mut numbering.distinct, Numbers::new()).values;
                    for number in std::mem::take(&mut numbering.page) {
                        kind.put(plain, values[number as usize]);
                    }
                    values.iter().for_each(|value| widen_number(*kind, extremes, *value));
                }
            }
            Self::Texts { plain, numbering, extremes } => {
                numbering.is_on = false;
                if numbering.before == 0 {
                    let values = std::mem::replace(&mut numbering.distinct, Texts::new());
                    for number in std::mem::take(&mut numbering.page) {
                        put_text(plain, values.get(number));
                    }
                    values.iter().for_each(|value| widen_text(extremes, value));
                }
            }
            Self::Bools { .. } | Self::Fixed { .. } => {}
        }
    }

    /// Bytes of values in the open page.
    fn open_bytes(&self) -> usize {
        match self {
            Self::Numbers { plain, .. } | Self::Texts { plain, .. } | Self::Fixed { plain, .. } => plain.len(),
            Self::Bools { .. } => 0,
        }
    }

    fn is_dictionary_full(&self) -> bool {
        match self {
            Self::Numbers { numbering, kind, .. } => {
                let distinct = numbering.distinct.values.len();
                numbering.is_on && (distinct * kind.size() > DICTIONARY_BYTES || !numbering.pays(distinct))
            }
            Self::Texts { numbering, .. } => {
                let distinct = numbering.distinct.len();
                let bytes = numbering.distinct.bytes() + distinct * 4;
                numbering.is_on && (bytes > DICTIONARY_BYTES || !numbering.pays(distinct))
            }
            Self::Bools { .. } | Self::Fixed { .. } => false,
        }
    }

    /// Appends the values of the open page, and begins another.
    fn close_page(&mut self, out: &mut Vec<u8>) -> Values {
        let (numbers, before, distinct) = match self {
            Self::Numbers { numbering: Numbering { page, before, distinct, is_on: true }, .. } => {
                (page, before, distinct.values.len())
            }
            Self::Texts { numbering: Numbering { page, before, distinct, is_on: true }, .. } => {
                (page, before, distinct.len())
            }
            Self::Numbers { plain, .. } | Self::Texts { plain, .. } | Self::Fixed { plain, .. } => {
                out.append(plain);
                return Values::Plain;
            }
            Self::Bools { bits, .. } => {
                out.extend_from_slice(bits.as_slice());
                bits.truncate(0);
                return Values::Plain;
            }
        };
        if numbers.is_empty() {
            return Values::Plain;
        }
        let width = page::width(distinct);
        // A width is far below 256.
        out.push(width as u8);
        page::packed(out, numbers, width);
        *before += numbers.len();
        numbers.clear();
        Values::Indices
    }

    /// Appends the distinct values that pages refer to; says how many.
    fn dictionary(&self, out: &mut Vec<u8>) -> usize {
        match self {
            Self::Numbers { kind, numbering, .. } => {
                numbering.distinct.values.iter().for_each(|value| kind.put(out, *value));
                numbering.distinct.values.len()
            }
            Self::Texts { numbering, .. } => {
                numbering.distinct.iter().for_each(|value| put_text(out, value));
                numbering.distinct.len()
            }
            Self::Bools { .. } | Self::Fixed { .. } => 0,
        }
    }

    /// What readers may skip the column by.
    fn statistics(&self, nulls: u64) -> Statistics {
        let nulls = Some(nulls);
        match self {
            Self::Numbers { kind, numbering, extremes, .. } => {
                let mut extremes = *extremes;
                numbering.distinct.values.iter().for_each(|value| widen_number(*kind, &mut extremes, *value));
                let (least, greatest) = extremes.unzip();
                match kind {
                    Number::Int32 => {
                        let of = |value: u64| value as i32;
                        Statistics::int32(least.map(of), greatest.map(of), None, nulls, false)
                    }
                    Number::Int64 => {
                        let of = |value: u64| value as i64;
                        Statistics::int64(least.map(of), greatest.map(of), None, nulls, false)
                    }
                    Number::Double => {
                        // Zeros of both signs are equal: the bounds have to hold both.
                        let zero = |value: u64, zero: f64| {
                            let value = f64::from_bits(value);
                            if value == 0.0 { zero } else { value }
                        };
                        let least = least.map(|value| zero(value, -0.0));
                        Statistics::double(least, greatest.map(|value| zero(value, 0.0)), None, nulls, false)
                    }
                }
            }
            Self::Texts { numbering, extremes, .. } => {
                let mut extremes = extremes.clone();
                numbering.distinct.iter().for_each(|value| widen_text(&mut extremes, value));
                let extremes = extremes
                    .filter(|(least, greatest)| least.len() <= EXTREME_BYTES && greatest.len() <= EXTREME_BYTES);
                let (least, greatest) = extremes.unzip();
                Statistics::byte_array(least.map(ByteArray::from), greatest.map(ByteArray::from), None, nulls, false)
            }
            Self::Bools { seen, .. } => {
                let extremes = (seen[0] || seen[1]).then_some((!seen[0], seen[1]));
                let (least, greatest) = extremes.unzip();
                Statistics::boolean(least, greatest, None, nulls, false)
            }
            Self::Fixed { .. } => Statistics::fixed_len_byte_array(None::<FixedLenByteArray>, None, None, nulls, false),
        }
    }
}
