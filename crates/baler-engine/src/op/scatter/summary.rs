//! The summary beside a result: `{batch}.summary.json`.

use std::collections::BTreeMap;

use baler_model::RunId;
use baler_model::ledger::{FailedRecord, GatherTask, Mark, Outcome, Task};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// What became of a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    batch_id: &'a str,
    key: &'a str,
    etag: &'a str,
    batch_time: Timestamp,
    run: &'a RunId,
    records: Records,
    /// By how often they came, the most frequent first.
    failures: Vec<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<Error>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<Error>,
    chunks: u32,
    seconds: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_seconds: Option<Percentiles>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Records {
    total: u64,
    succeeded: u64,
    failed: u64,
    /// Left out by a query.
    #[serde(skip_serializing_if = "is_none")]
    left_out: u64,
}

#[derive(Debug, Serialize)]
struct Reason {
    reason: String,
    records: u64,
}

#[derive(Debug, Serialize)]
struct Error {
    index: u64,
    message: String,
}

impl Error {
    fn of(record: &FailedRecord) -> Self {
        Self { index: record.index, message: record.message.clone() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Durations. Units: seconds.
#[derive(Debug, Serialize)]
struct Seconds {
    /// Finding the chunks.
    scatter: f64,
    /// From the first chunk's beginning to the last one's end.
    process: f64,
    /// Gathering the result, up to its last byte.
    gather: f64,
}

/// How long chunks took. Units: seconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

/// Reasons that are told apart in the end; the rest are one.
const REASONS: usize = 100;
const OTHERS: &str = "other reasons";

/// The summary of a batch from the marks of its chunks; `gathering` is how long gathering took.
pub(super) fn of<'a>(
    run: &'a RunId,
    task: &'a Task,
    gather: &'a GatherTask,
    marks: &[&Mark],
    gathering: SignedDuration,
) -> Summary<'a> {
    let (mut succeeded, mut failed, mut left_out) = (0, 0, 0);
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut first_error, mut last_error): (Option<Error>, Option<Error>) = (None, None);
    let (mut began, mut ended): (Option<Timestamp>, Option<Timestamp>) = (None, None);
    let mut took: Vec<f64> = Vec::with_capacity(marks.len());
    for mark in marks {
        let Outcome::Taken(chunk) = &mark.outcome else { continue };
        succeeded += chunk.succeeded;
        left_out += chunk.left_out;
        if let Some(failures) = &chunk.failures {
            failed += failures.records;
            for (reason, count) in &failures.reasons {
                *reasons.entry(if reason.is_empty() { OTHERS } else { reason }).or_default() += count;
            }
            first_error = first_error.or_else(|| Some(Error::of(&failures.first)));
            last_error = Some(Error::of(&failures.last));
        }
        began = Some(began.map_or(chunk.began, |began| began.min(chunk.began)));
        ended = Some(ended.map_or(mark.at, |ended| ended.max(mark.at)));
        took.push(mark.at.duration_since(chunk.began).as_secs_f64());
    }
    if let Some(damage) = &gather.damage {
        failed += 1;
        *reasons.entry(damage).or_default() += 1;
        let error = || Error { index: gather.records - 1, message: damage.clone() };
        first_error = first_error.or_else(|| Some(error()));
        last_error = Some(error());
    }
    let mut failures: Vec<Reason> =
        reasons.into_iter().map(|(reason, records)| Reason { reason: reason.to_owned(), records }).collect();
    failures.sort_by_key(|reason| std::cmp::Reverse(reason.records));
    if failures.len() > REASONS {
        let records = failures.split_off(REASONS).iter().map(|reason| reason.records).sum();
        failures.push(Reason { reason: OTHERS.to_owned(), records });
    }
    let process = began.zip(ended).map_or(0.0, |(began, ended)| ended.duration_since(began).as_secs_f64());
    let input = task.inputs.first();
    Summary {
        batch_id: &gather.batch,
        key: input.map_or("", |input| input.key.as_str()),
        etag: input.map_or("", |input| &*input.etag),
        batch_time: gather.batch_time,
        run,
        records: Records { total: succeeded + failed + left_out, succeeded, failed, left_out },
        failures,
        first_error,
        last_error,
        chunks: gather.chunks,
        seconds: Seconds { scatter: gather.split_millis as f64 / 1e3, process, gather: gathering.as_secs_f64() },
        chunk_seconds: percentiles(took),
    }
}

/// By the nearest rank.
fn percentiles(mut took: Vec<f64>) -> Option<Percentiles> {
    took.sort_by(f64::total_cmp);
    let rank = |share: usize| took.get((took.len() * share).div_ceil(100).saturating_sub(1)).copied();
    Some(Percentiles { min: *took.first()?, p50: rank(50)?, p90: rank(90)?, p99: rank(99)?, max: *took.last()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let of = |took: &[f64]| percentiles(took.to_vec()).map(|p| [p.min, p.p50, p.p90, p.p99, p.max]);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some([3.0; 5]));
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(of(&hundred), Some([1.0, 50.0, 90.0, 99.0, 100.0]));
        assert_eq!(of(&[1.0, 2.0, 3.0]), Some([1.0, 2.0, 3.0, 3.0, 3.0]));
    }
}
