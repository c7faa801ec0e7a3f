//! Scrubbing against a naive model: no row vanishes, none is doubled, and what is not named stays as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow_select::take::take;
use baler_engine::op::convert::scrub::{Dedupe, Scrubber};
use baler_format::schema::Schema;
use baler_model::scrub::{Dedupe as DedupeSetting, Keep, Mask, Salt, Scrub, Trim};
use proptest::prelude::*;

/// One record; `n` says which.
#[derive(Debug, Clone)]
struct Record {
    key: Option<String>,
    number: Option<String>,
    float: Option<f64>,
    at: Option<i64>,
    list: Option<Vec<Option<String>>>,
}

const COLUMNS: &str =
    "n: int64 not null, key: text, number: text, float: float64, at: timestamp(ms, UTC), list: list(text)";

#[derive(Debug, Clone)]
struct Case {
    batches: Vec<Vec<Record>>,
    scrub: Scrub,
}

fn text() -> impl Strategy<Value = Option<String>> {
    let words = ["", " ", "a", " a", "a ", "N/A", " N/A ", "b", "\u{a0}b", "ab", "A"];
    proptest::option::weighted(0.8, proptest::sample::select(words.to_vec()).prop_map(str::to_owned))
}

fn number() -> impl Strategy<Value = Option<String>> {
    let words = ["1", " 1", "2", "-3", "+4", "x", "", "N/A", "1.5", "99999999999999999999", "01"];
    proptest::option::weighted(0.8, proptest::sample::select(words.to_vec()).prop_map(str::to_owned))
}

fn record() -> impl Strategy<Value = Record> {
    let float = proptest::option::of(prop_oneof![
        any::<f64>(),
        proptest::sample::select(vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, 1.0, 2.0, 9.3e18])
    ]);
    let at = proptest::option::of(-100_000_000_000i64..100_000_000_000);
    let list = proptest::option::of(proptest::collection::vec(text(), 0..3));
    (text(), number(), float, at, list).prop_map(|(key, number, float, at, list)| Record {
        key,
        number,
        float,
        at,
        list,
    })
}

fn scrub() -> impl Strategy<Value = Scrub> {
    let flag = any::<bool>;
    let trim = prop_oneof![Just(Trim::Nothing), Just(Trim::All), Just(Trim::Columns(vec!["number".to_owned()]))];
    let dedupe = proptest::option::weighted(
        0.7,
        (
            proptest::sample::subsequence(vec!["key", "number", "float", "at"], 1..=4),
            prop_oneof![Just(Keep::First), Just(Keep::Last)],
        ),
    );
    let settings = (flag(), flag(), flag(), flag(), flag(), flag(), flag());
    (trim, dedupe, settings).prop_map(|(trim, dedupe, (nulls, ints, floats, mask, hash, drop, rename))| {
        let mut scrub = Scrub { trim, ..Scrub::default() };
        if nulls {
            scrub.null_values = vec!["N/A".to_owned(), "".to_owned()];
        }
        if ints {
            scrub.cast.insert("number".to_owned(), "int64".to_owned());
        }
        if floats {
            scrub.cast.insert("float".to_owned(), "int64".to_owned());
        }
        if mask {
            scrub.mask.insert("key".to_owned(), Mask::Last(1));
        }
        if hash {
            scrub.hash.insert("at".to_owned(), Salt { env: "SALT".to_owned() });
        }
        if drop {
            scrub.drop.push("number".to_owned());
        }
        if rename {
            scrub.rename.insert("list".to_owned(), "items".to_owned());
        }
        scrub.dedupe =
            dedupe.map(|(key, keep)| DedupeSetting { key: key.into_iter().map(str::to_owned).collect(), keep });
        scrub
    })
}

fn case() -> impl Strategy<Value = Case> {
    let batches = proptest::collection::vec(proptest::collection::vec(record(), 0..20), 1..4);
    (batches, scrub()).prop_map(|(batches, scrub)| Case { batches, scrub })
}

fn batch(schema: &Schema, first: usize, records: &[Record]) -> RecordBatch {
    let mut list = ListBuilder::new(StringBuilder::new());
    for record in records {
        if let Some(items) = &record.list {
            items.iter().for_each(|item| list.values().append_option(item.as_deref()));
        }
        list.append(record.list.is_some());
    }
    let at: TimestampMillisecondArray = records.iter().map(|record| record.at).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((first..first + records.len()).map(|n| n as i64))),
        Arc::new(records.iter().map(|record| record.key.as_deref()).collect::<StringArray>()),
        Arc::new(records.iter().map(|record| record.number.as_deref()).collect::<StringArray>()),
        Arc::new(records.iter().map(|record| record.float).collect::<Float64Array>()),
        Arc::new(at.with_timezone("UTC")),
        Arc::new(list.finish()),
    ];
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

/// What the model thinks of a record: rejected, or what it is told from others by.
fn judge(scrub: &Scrub, record: &Record) -> Result<Option<Vec<Option<String>>>, ()> {
    let clean = |name: &str, value: &Option<String>| {
        let is_trimmed = match &scrub.trim {
            Trim::Nothing => false,
            Trim::All => true,
            Trim::Columns(names) => names.iter().any(|other| other == name),
        };
        let value = value.clone().map(|value| if is_trimmed { value.trim().to_owned() } else { value });
        value.filter(|value| !scrub.null_values.contains(value))
    };
    let mut values: BTreeMap<&str, Option<String>> = BTreeMap::new();
    values.insert("key", clean("key", &record.key));
    let mut number = clean("number", &record.number);
    if scrub.cast.contains_key("number")
        && let Some(text) = &number
    {
        number = Some(text.parse::<i64>().map_err(|_| ())?.to_string());
    }
    values.insert("number", number);
    let float = match record.float {
        Some(float) if scrub.cast.contains_key("float") => {
            // 2^63, the least float that is too large.
            if float.fract() != 0.0 || !(-9.223_372_036_854_776e18..9.223_372_036_854_776e18).contains(&float) {
                return Err(());
            }
            Some((float as i64).to_string())
        }
        Some(float) if float.is_nan() => Some("NaN".to_owned()),
        Some(0.0) => Some("0".to_owned()),
        Some(float) => Some(format!("{float:?}")),
        None => None,
    };
    values.insert("float", float);
    values.insert("at", record.at.map(|at| at.to_string()));
    let Some(dedupe) = &scrub.dedupe else { return Ok(None) };
    let key: Vec<Option<String>> = dedupe.key.iter().map(|name| values[name.as_str()].clone()).collect();
    Ok(key.iter().any(Option::is_some).then_some(key))
}

/// Says which records stay and which are rejected, by their numbers.
fn model(case: &Case) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let records: Vec<&Record> = case.batches.iter().flatten().collect();
    let judged: Vec<_> = records.iter().map(|record| judge(&case.scrub, record)).collect();
    let rejected = (0..judged.len()).filter(|n| judged[*n].is_err()).collect();
    let mut stays = BTreeSet::new();
    for (n, verdict) in judged.iter().enumerate() {
        match verdict {
            Err(()) => {}
            Ok(None) => drop(stays.insert(n)),
            Ok(Some(_)) => {
                let same = |other: &usize| judged[*other] == *verdict;
                let first = (0..n).any(|other| same(&other));
                let last = (n + 1..judged.len()).any(|other| same(&other));
                let is_kept = match case.scrub.dedupe.as_ref().unwrap().keep {
                    Keep::First => !first,
                    Keep::Last => !last,
                };
                if is_kept {
                    stays.insert(n);
                }
            }
        }
    }
    (stays, rejected)
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let schema: Schema = COLUMNS.parse().unwrap();
    let salts = BTreeMap::from([("SALT".to_owned(), "pepper".to_owned())]);
    let scrubber = Scrubber::new(&case.scrub, &schema, &salts).unwrap();
    let mut inputs = Vec::new();
    let mut first = 0;
    for records in &case.batches {
        inputs.push((first, batch(&schema, first, records)));
        first += records.len();
    }
    let mut dedupe = scrubber.keep().map(Dedupe::new);
    if let Some(dedupe) = &mut dedupe {
        for (_, input) in &inputs {
            dedupe.learn(&scrubber.identities(input).unwrap());
        }
    }
    let (mut stays, mut rejected) = (BTreeSet::new(), BTreeSet::new());
    for (first, input) in &inputs {
        let mut done = scrubber.apply(input).unwrap();
        let mut filtered = 0;
        if let Some(dedupe) = &mut dedupe {
            (done, filtered) = dedupe.keep(done).unwrap();
        }
        prop_assert_eq!(input.num_rows() as u64, (done.batch.num_rows() + done.rejected.len()) as u64 + filtered);
        prop_assert_eq!(done.batch.schema(), scrubber.output().to_arrow());
        let rows = done.rows.unwrap_or_else(|| (0..input.num_rows() as u32).collect());
        prop_assert!(rows.is_sorted() && done.rejected.is_sorted_by_key(|(row, _)| *row));
        prop_assert_eq!(rows.len(), done.batch.num_rows());
        // The columns that nothing names, and those whose every value stays, bit for bit.
        let rows = UInt32Array::from(rows);
        for (old, new) in untouched(&case.scrub) {
            let wanted = take(input.column_by_name(old).unwrap(), &rows, None).unwrap();
            let found = done.batch.column_by_name(new).unwrap();
            prop_assert_eq!(bits(&wanted), bits(found), "{}", old);
        }
        stays.extend(rows.values().iter().map(|row| first + *row as usize));
        rejected.extend(done.rejected.iter().map(|(row, _)| first + *row as usize));
    }
    if let Some(dedupe) = dedupe {
        dedupe.finish().unwrap();
    }
    let (wanted, wrong) = model(case);
    prop_assert_eq!(stays, wanted);
    prop_assert_eq!(rejected, wrong);
    Ok(())
}

fn untouched(scrub: &Scrub) -> Vec<(&str, &str)> {
    let mut columns = vec![("n", "n"), ("list", scrub.rename.get("list").map_or("list", String::as_str))];
    if !scrub.cast.contains_key("float") {
        columns.push(("float", "float"));
    }
    if scrub.hash.is_empty() {
        columns.push(("at", "at"));
    }
    columns
}

/// The values of a column, floats by their bits.
fn bits(array: &ArrayRef) -> Vec<String> {
    let floats = array.as_any().downcast_ref::<Float64Array>();
    (0..array.len())
        .map(|row| match floats {
            Some(floats) if floats.is_valid(row) => format!("{:x}", floats.value(row).to_bits()),
            _ => format!("{:?}", array.slice(row, 1)),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_row_stays_or_is_rejected_or_is_filtered(case in case()) {
        check(&case)?;
    }
}
