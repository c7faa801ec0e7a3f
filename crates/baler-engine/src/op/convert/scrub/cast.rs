//! Values of one type as values of another: exactly, or not at all.
//!
//! | from | to | how |
//! |---|---|---|
//! | text | any scalar | as CSV fields are read; blanks are not taken off, and empty text is no number |
//! | any scalar | text | as CSV is written: times in ISO 8601, with `Z` where the column has a zone |
//! | list, struct | text | JSON |
//! | int64, float64, decimal | each other | whole numbers and decimals exactly, floats the nearest; NaN and infinities are no others' |
//! | int64, float64, decimal | timestamp | seconds since 1970 |
//! | bool | int64 | 1 and 0, and back |
//! | date | timestamp | its first instant in the column's zone |
//! | timestamp | date | the day that the column's zone shows |
//! | timestamp | timestamp | the same instant; with a zone only on one side, the civil time that the zone shows |

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Date32Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use baler_format::decode::{Offsets, TextColumn};
use baler_format::encode::push_text;
use baler_format::schema::{TimeUnit, Type};

use super::ScrubError;

/// A cast from one type to another.
pub(super) struct Cast {
    to: Type,
    route: Route,
}

enum Route {
    /// By way of the value's text.
    Text,
    ToText,
    IntToFloat,
    FloatToInt,
    DecimalToInt {
        scale: u8,
    },
    BoolToInt,
    IntToBool,
    /// Between units; civil times of the zone where there is one here.
    TimestampToTimestamp {
        from: TimeUnit,
        zone: Option<Offsets>,
    },
    TimestampToDate {
        from: TimeUnit,
        zone: Option<Offsets>,
    },
}

impl Cast {
    /// Finds the way from one type to another; nothing where they are the same.
    ///
    /// Errors: there is none, with what can be done instead.
    pub(super) fn new(from: &Type, to: &Type) -> Result<Option<Self>, String> {
        use Type as T;
        if from == to {
            return Ok(None);
        }
        let zone = |name: &Option<String>| name.as_deref().map(Offsets::find).transpose();
        let route = match (from, to) {
            (_, T::Text) => Route::ToText,
            (_, T::List(_) | T::Struct(_)) => {
                return Err("lists and structs are read from the input only: declare them in `schema`".to_owned());
            }
            (T::List(_) | T::Struct(_), _) => return Err("lists and structs can be cast to text only".to_owned()),
            (T::Int64, T::Float64) => Route::IntToFloat,
            (T::Float64, T::Int64) => Route::FloatToInt,
            (T::Decimal { scale, .. }, T::Int64) => Route::DecimalToInt { scale: *scale },
            (T::Bool, T::Int64) => Route::BoolToInt,
            (T::Int64, T::Bool) => Route::IntToBool,
            (T::Timestamp { unit, zone: name }, T::Date) => Route::TimestampToDate { from: *unit, zone: zone(name)? },
            // A civil time becomes an instant by the rules of the zone, which skip some times and have some twice.
            (T::Timestamp { zone: None, .. }, T::Timestamp { zone: Some(_), .. }) => Route::Text,
            (T::Timestamp { unit, zone: name }, T::Timestamp { zone: None, .. }) => {
                Route::TimestampToTimestamp { from: *unit, zone: zone(name)? }
            }
            (T::Timestamp { unit, .. }, T::Timestamp { zone: name, .. }) => {
                // Instants do not change with the zone that shows them; but there must be one of that name.
                zone(name)?;
                Route::TimestampToTimestamp { from: *unit, zone: None }
            }
            (T::Text, _) => Route::Text,
            (T::Int64 | T::Float64 | T::Decimal { .. }, T::Float64 | T::Decimal { .. } | T::Timestamp { .. }) => {
                Route::Text
            }
            (T::Date, T::Timestamp { .. }) => Route::Text,
            (T::Timestamp { .. }, T::Int64 | T::Float64 | T::Decimal { .. }) => {
                return Err("a time can become text, a date, or a time of another unit or zone".to_owned());
            }
            (T::Int64 | T::Float64 | T::Decimal { .. }, T::Bool | T::Date | T::Int64)
            | (T::Bool, T::Float64 | T::Bool | T::Decimal { .. } | T::Date | T::Timestamp { .. })
            | (T::Date, T::Int64 | T::Float64 | T::Bool | T::Decimal { .. } | T::Date)
            | (T::Timestamp { .. }, T::Bool) => return Err("values of the one mean nothing as the other".to_owned()),
        };
        if let Route::Text = route {
            TextColumn::new(to).map_err(|fault| fault.to_string())?;
        }
        Ok(Some(Self { to: to.clone(), route }))
    }

    pub(super) fn to(&self) -> &Type {
        &self.to
    }

    /// Casts a column; rows whose value cannot be cast become null and are told to `fault`, with the reason.
    pub(super) fn apply(&self, array: &ArrayRef, mut fault: impl FnMut(u32, String)) -> Result<ArrayRef, ScrubError> {
        let rows = 0..array.len();
        Ok(match &self.route {
            Route::Text => self.through_text(array, fault)?,
            Route::ToText => {
                let mut texts = StringBuilder::with_capacity(array.len(), array.len() * 8);
                let mut text = String::new();
                for row in rows {
                    text.clear();
                    match push_text(&mut text, array, row) {
                        Ok(()) => texts.append_option((!array.is_null(row)).then_some(&text)),
                        Err(what) => {
                            fault(row as u32, what);
                            texts.append_null();
                        }
                    }
                }
                Arc::new(texts.finish())
            }
            Route::IntToFloat => {
                let ints = array.as_primitive::<Int64Type>();
                Arc::new(ints.unary::<_, Float64Type>(|int| int as f64))
            }
            Route::FloatToInt => {
                let floats = array.as_primitive::<Float64Type>();
                let int = |row: usize| whole(floats.value(row));
                Arc::new(ints(array, int, fault))
            }
            Route::DecimalToInt { scale } => {
                let decimals = array.as_primitive::<Decimal128Type>();
                let size = 10i128.pow(u32::from(*scale));
                let int = |row: usize| {
                    let value = decimals.value(row);
                    match i64::try_from(value / size) {
                        _ if value % size != 0 => {
                            Err(format!("`{}` is no whole number", decimals.value_as_string(row)))
                        }
                        Ok(int) => Ok(int),
                        Err(_) => Err(format!("`{}` is beyond 64 bits", decimals.value_as_string(row))),
                    }
                };
                Arc::new(ints(array, int, fault))
            }
            Route::BoolToInt => {
                let bools = array.as_boolean();
                let mut ints = Int64Builder::with_capacity(array.len());
                bools.iter().for_each(|value| ints.append_option(value.map(i64::from)));
                Arc::new(ints.finish())
            }
            Route::IntToBool => {
                let ints = array.as_primitive::<Int64Type>();
                let mut bools = BooleanBuilder::with_capacity(array.len());
                for (row, int) in ints.iter().enumerate() {
                    bools.append_option(match int {
                        Some(0) => Some(false),
                        Some(1) => Some(true),
                        None => None,
                        Some(int) => {
                            fault(row as u32, format!("`{int}` is neither 0 nor 1"));
                            None
                        }
                    });
                }
                Arc::new(bools.finish())
            }
            Route::TimestampToTimestamp { from, zone } => {
                let Type::Timestamp { unit, zone: name } = &self.to else {
                    return Err(ScrubError::Internal("a cast between times has no time to cast to".to_owned()));
                };
                let (counts, per_second, wanted) = (counts(array, *from), per_second(*from), per_second(*unit));
                let count = |row: usize| {
                    let value = i128::from(counts[row]) + shift(counts[row], per_second, zone.as_ref())?;
                    let scaled = value * i128::from(wanted);
                    match i64::try_from(scaled.div_euclid(i128::from(per_second))) {
                        _ if scaled % i128::from(per_second) != 0 => {
                            Err(format!("the time `{}` is finer than the column's unit", text_of(array, row)))
                        }
                        Ok(count) => Ok(count),
                        Err(_) => {
                            Err(format!("the time `{}` is beyond what the column's unit holds", text_of(array, row)))
                        }
                    }
                };
                timestamps(ints(array, count, fault), *unit, name.as_deref())
            }
            Route::TimestampToDate { from, zone } => {
                let (counts, per_second) = (counts(array, *from), per_second(*from));
                let mut dates = Date32Builder::with_capacity(array.len());
                for row in rows {
                    if array.is_null(row) {
                        dates.append_null();
                        continue;
                    }
                    let day = shift(counts[row], per_second, zone.as_ref()).and_then(|shift| {
                        let day = (i128::from(counts[row]) + shift).div_euclid(i128::from(per_second) * 86_400);
                        i32::try_from(day).map_err(|_| format!("the time {} is beyond the calendar", counts[row]))
                    });
                    match day {
                        Ok(day) => dates.append_value(day),
                        Err(what) => {
                            fault(row as u32, what);
                            dates.append_null();
                        }
                    }
                }
                Arc::new(dates.finish())
            }
        })
    }

    fn through_text(&self, array: &ArrayRef, mut fault: impl FnMut(u32, String)) -> Result<ArrayRef, ScrubError> {
        let mut column = TextColumn::new(&self.to).map_err(|error| ScrubError::Internal(error.to_string()))?;
        let texts = array.as_string_opt::<i32>();
        let mut text = String::new();
        for row in 0..array.len() {
            if array.is_null(row) {
                column.push_null();
                continue;
            }
            let pushed = match texts {
                Some(texts) => column.push(texts.value(row)),
                None => {
                    text.clear();
                    push_text(&mut text, array, row).and_then(|()| column.push(&text))
                }
            };
            if let Err(what) = pushed {
                fault(row as u32, what);
                column.push_null();
            }
        }
        Ok(column.finish())
    }
}

/// Makes a column of integers, row by row.
fn ints(
    array: &ArrayRef,
    int: impl Fn(usize) -> Result<i64, String>,
    mut fault: impl FnMut(u32, String),
) -> arrow_array::Int64Array {
    let mut ints = Int64Builder::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            ints.append_null();
            continue;
        }
        match int(row) {
            Ok(int) => ints.append_value(int),
            Err(what) => {
                fault(row as u32, what);
                ints.append_null();
            }
        }
    }
    ints.finish()
}

/// Returns a float that is a whole number of 64 bits as such.
fn whole(float: f64) -> Result<i64, String> {
    // 2^63 as a float is exact; the largest float below it fits.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float.trunc() != float {
        return Err(format!("`{float:?}` is no whole number"));
    }
    if !(-LIMIT..LIMIT).contains(&float) {
        return Err(format!("`{float:?}` is beyond 64 bits"));
    }
    Ok(float as i64)
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Returns what to add to a count so that it shows the civil time of a zone.
fn shift(count: i64, per_second: i64, zone: Option<&Offsets>) -> Result<i128, String> {
    match zone {
        None => Ok(0),
        Some(zone) => zone.at(count.div_euclid(per_second)).map(|offset| i128::from(offset) * i128::from(per_second)),
    }
}

/// Returns the values of a column of times, whatever stands under nulls.
fn counts(array: &ArrayRef, unit: TimeUnit) -> &[i64] {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
    }
}

fn timestamps(counts: arrow_array::Int64Array, unit: TimeUnit, zone: Option<&str>) -> ArrayRef {
    let (_, values, nulls) = counts.into_parts();
    match unit {
        TimeUnit::Second => Arc::new(TimestampSecondArray::new(values, nulls).with_timezone_opt(zone)),
        TimeUnit::Millisecond => Arc::new(TimestampMillisecondArray::new(values, nulls).with_timezone_opt(zone)),
        TimeUnit::Microsecond => Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone)),
        TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone_opt(zone)),
    }
}

/// A value as an error shows it.
fn text_of(array: &ArrayRef, row: usize) -> String {
    let mut text = String::new();
    match push_text(&mut text, array, row) {
        Ok(()) => text,
        Err(what) => what,
    }
}
