//! Tells by the time of a record to which output it belongs: hours of objects that hold a day each.
//!
//! What an object may hold is planned: a record of another time is set aside, since its partition is not built from this
//! object. A record without a time is set aside, too.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use baler_format::decode::Positions;
use baler_format::schema::{Schema, TimeUnit, Type};
use baler_model::Kind;
use baler_model::ledger::{ConvertOptions, ConvertTask, Failure};

use super::rejects::SetAside;
use crate::error::TaskError;

const DAY: i64 = 86_400;

/// Which records belong to which outputs.
pub(super) struct Routing {
    /// The column of a record's time.
    column: usize,
    name: String,
    kind: Type,
    /// Of each input the stretches of time that it may hold records of, in seconds, ascending.
    spans: Vec<Vec<(i64, i64)>>,
    /// Of each input the number of targets that are told apart by time.
    targets: Vec<u64>,
}

impl Routing {
    /// Nothing where no output of the task is told apart by time. Errors: a text for people, when the column is none.
    pub(super) fn new(options: &ConvertOptions, task: &ConvertTask, schema: &Schema) -> Result<Option<Self>, String> {
        if task.outputs.iter().all(|output| output.span.is_none()) {
            return Ok(None);
        }
        let name = options.time.clone().unwrap_or_default();
        let Some(column) = schema.columns().iter().position(|column| column.name == name) else {
            return Err(format!("the records have no column `{name}`"));
        };
        let kind = schema.columns()[column].kind.clone();
        match &kind {
            Type::Int64 | Type::Text | Type::Date | Type::Timestamp { .. } => {}
            Type::Float64 | Type::Bool | Type::Decimal { .. } | Type::List(_) | Type::Struct(_) => {
                return Err(format!("column `{name}` is {kind}, which is no time"));
            }
        }
        let inputs = task.outputs.iter().flat_map(|output| &output.inputs).map(|(_, end)| *end).max().unwrap_or(0);
        let (mut spans, mut targets) = (Vec::new(), Vec::new());
        for input in 0..inputs {
            let fed = || task.outputs.iter().filter(|output| output.span.is_some() && output.takes(input));
            let mut of_input: Vec<(i64, i64)> = fed().filter_map(|output| output.span).collect();
            of_input.sort_unstable();
            of_input.dedup();
            spans.push(of_input);
            targets.push(fed().map(|output| output.to).collect::<BTreeSet<u32>>().len() as u64);
        }
        Ok(Some(Self { column, name, kind, spans, targets }))
    }

    /// How many targets tell the records of this input apart by time.
    pub(super) fn targets(&self, input: usize) -> u64 {
        self.targets.get(input).copied().unwrap_or(0)
    }

    /// Sets aside the rows that belong to no output; yields the others with the second of each.
    pub(super) fn route(
        &self,
        input: usize,
        batch: RecordBatch,
        positions: Positions,
        aside: &mut Vec<SetAside>,
    ) -> Result<(RecordBatch, Positions, Vec<i64>), TaskError> {
        let seconds = seconds(batch.column(self.column), &self.kind);
        let spans = &self.spans[input];
        let fits = |second: &Option<i64>| {
            second.is_some_and(|second| spans.iter().any(|(start, end)| (*start..*end).contains(&second)))
        };
        let kept: Vec<bool> = seconds.iter().map(fits).collect();
        if kept.iter().all(|kept| *kept) {
            return Ok((batch, positions, seconds.into_iter().flatten().collect()));
        }
        for (row, second) in seconds.iter().enumerate().filter(|(row, _)| !kept[*row]) {
            let reason = match second {
                None => format!("column `{}`: no time stands there", self.name),
                Some(second) => {
                    let at =
                        jiff::Timestamp::from_second(*second).map_or_else(|_| second.to_string(), |at| at.to_string());
                    format!("column `{}`: {at} is none of the object's own time", self.name)
                }
            };
            aside.push(SetAside::stretch(positions.at(row), reason));
        }
        let positions = match positions {
            Positions::Lines { lines, offsets } => {
                Positions::Lines { lines: only(lines, &kept), offsets: only(offsets, &kept) }
            }
            Positions::Rows(rows) => Positions::Rows(only(rows, &kept)),
        };
        let seconds = only(seconds, &kept).into_iter().flatten().collect();
        let batch = filter_record_batch(&batch, &BooleanArray::from(kept)).map_err(broken)?;
        Ok((batch, positions, seconds))
    }
}

fn only<T>(values: Vec<T>, kept: &[bool]) -> Vec<T> {
    values.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| value).collect()
}

/// The rows whose second lies within a stretch.
pub(super) fn within(batch: &RecordBatch, seconds: &[i64], span: (i64, i64)) -> Result<RecordBatch, TaskError> {
    let is_in = |second: &i64| (span.0..span.1).contains(second);
    match (seconds.iter().position(is_in), seconds.iter().rposition(is_in)) {
        (Some(first), Some(last)) => {
            let stretch = batch.slice(first, last + 1 - first);
            let seconds = &seconds[first..=last];
            if seconds.iter().all(is_in) {
                return Ok(stretch);
            }
            let kept: BooleanArray = seconds.iter().map(|second| Some(is_in(second))).collect();
            filter_record_batch(&stretch, &kept).map_err(broken)
        }
        (_, _) => Ok(batch.slice(0, 0)),
    }
}

fn broken(error: arrow_schema::ArrowError) -> TaskError {
    TaskError { kind: Kind::Internal, failure: Failure { error: error.to_string(), hint: None } }
}

/// The second since 1970 of each value, rounded down; nothing for null, and for text that is no time.
///
/// Whole numbers count seconds, or milliseconds, microseconds or nanoseconds, as their size tells: seconds reach to the year
/// 5138, milliseconds begin in 1973.
fn seconds(column: &ArrayRef, kind: &Type) -> Vec<Option<i64>> {
    let scaled = |values: &[i64], per: i64| -> Vec<Option<i64>> {
        values.iter().enumerate().map(|(row, value)| column.is_valid(row).then(|| value.div_euclid(per))).collect()
    };
    match kind {
        Type::Timestamp { unit: TimeUnit::Second, .. } => {
            scaled(column.as_primitive::<TimestampSecondType>().values(), 1)
        }
        Type::Timestamp { unit: TimeUnit::Millisecond, .. } => {
            scaled(column.as_primitive::<TimestampMillisecondType>().values(), 1_000)
        }
        Type::Timestamp { unit: TimeUnit::Microsecond, .. } => {
            scaled(column.as_primitive::<TimestampMicrosecondType>().values(), 1_000_000)
        }
        Type::Timestamp { unit: TimeUnit::Nanosecond, .. } => {
            scaled(column.as_primitive::<TimestampNanosecondType>().values(), 1_000_000_000)
        }
        Type::Date => column.as_primitive::<Date32Type>().iter().map(|day| Some(i64::from(day?) * DAY)).collect(),
        Type::Int64 => column.as_primitive::<Int64Type>().iter().map(|value| Some(of_number(value?))).collect(),
        Type::Text => column
            .as_string::<i32>()
            .iter()
            .map(|text| text?.trim().parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second))
            .collect(),
        Type::Float64 | Type::Bool | Type::Decimal { .. } | Type::List(_) | Type::Struct(_) => vec![None; column.len()],
    }
}

fn of_number(value: i64) -> i64 {
    match value.unsigned_abs() {
        0..100_000_000_000 => value,
        100_000_000_000..100_000_000_000_000 => value.div_euclid(1_000),
        100_000_000_000_000..100_000_000_000_000_000 => value.div_euclid(1_000_000),
        _ => value.div_euclid(1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_times_by_their_size() {
        let second = 1_577_836_800;
        for value in [second, second * 1_000 + 7, second * 1_000_000 + 7, second * 1_000_000_000 + 7] {
            assert_eq!(of_number(value), second);
        }
        assert_eq!(of_number(-1), -1);
    }
}
