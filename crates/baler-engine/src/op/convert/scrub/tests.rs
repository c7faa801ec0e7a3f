use std::io::Cursor;

use arrow_array::Float64Array;
use baler_format::Format;
use baler_format::decode::{DecodeOptions, Decoder, Source};
use baler_format::encode::push_text;
use baler_model::Kind;
use baler_model::scrub::{Dedupe as DedupeSetting, Mask, Salt};

use super::*;

fn schema(text: &str) -> Schema {
    text.parse().unwrap()
}

/// Reads JSON lines, all of which fit.
fn batch(schema: &Schema, lines: &str) -> RecordBatch {
    let source = Source::stream(Cursor::new(lines.to_owned().into_bytes()));
    let mut decoder = Decoder::new(&Format::JsonLines, schema, &DecodeOptions::default(), source).unwrap();
    let decoded = decoder.next_batch().unwrap().unwrap();
    assert_eq!(decoded.rejected, []);
    assert!(decoder.next_batch().unwrap().is_none());
    decoded.batch
}

/// Rows as text, `∅` for null.
fn rows(batch: &RecordBatch) -> Vec<String> {
    let value = |array: &ArrayRef, row| {
        let mut text = String::new();
        push_text(&mut text, array, row).unwrap();
        if array.is_null(row) { "∅".to_owned() } else { text }
    };
    let row = |row| batch.columns().iter().map(|array| value(array, row)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn scrubber(scrub: &Scrub, schema: &Schema) -> Result<Scrubber, ScrubError> {
    Scrubber::new(scrub, schema, &pairs(&[("SALT", "pepper")]))
}

fn scrubbed(scrub: &Scrub, columns: &str, lines: &str) -> Scrubbed {
    let schema = schema(columns);
    scrubber(scrub, &schema).unwrap().apply(&batch(&schema, lines)).unwrap()
}

/// Casts texts to a type, by way of another: the value's text, or why its row was rejected.
fn cast(from: &str, to: &str, values: &[&str]) -> Vec<Result<String, String>> {
    let schema = schema(&format!("n: int64, x: {from}"));
    let lines: String = values.iter().enumerate().map(|(n, x)| format!("{{\"n\":{n},\"x\":{x}}}\n")).collect();
    let scrub = Scrub { cast: pairs(&[("x", to)]), ..Scrub::default() };
    let scrubber = scrubber(&scrub, &schema).unwrap();
    assert_eq!(scrubber.output().column("x").unwrap().kind.to_string(), to);
    let done = scrubber.apply(&batch(&schema, &lines)).unwrap();
    let mut out = vec![Err(String::new()); values.len()];
    for row in rows(&done.batch) {
        let (n, x) = row.split_once('|').unwrap();
        out[n.parse::<usize>().unwrap()] = Ok(x.to_owned());
    }
    for (row, reason) in done.rejected {
        let what = reason.strip_prefix("column `x`: ").unwrap();
        assert_eq!(out[row as usize], Err(String::new()));
        out[row as usize] = Err(what.to_owned());
    }
    out
}

fn ok(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn err(text: &str) -> Result<String, String> {
    Err(text.to_owned())
}

#[test]
fn what_is_not_asked_for_costs_nothing() {
    let schema = schema("a: text, b: int64, c: list(text)");
    let input = batch(&schema, "{\"a\":\"x\",\"b\":1,\"c\":[\" y \"]}\n");
    let all = Scrub { trim: Trim::All, null_values: names(&["N/A"]), ..Scrub::default() };
    for scrub in [Scrub::default(), all] {
        let done = scrubber(&scrub, &schema).unwrap().apply(&input).unwrap();
        assert!(Arc::ptr_eq(&done.batch.schema(), &input.schema()));
        assert!(done.batch.columns().iter().zip(input.columns()).all(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!((done.rows, done.rejected), (None, Vec::new()));
    }
}

#[test]
fn blanks_go_from_both_ends_of_texts() {
    let lines =
        "{\"a\":\"  x y\\t\",\"b\":\" b \"}\n{\"a\":\"   \",\"b\":null}\n{\"a\":\"\\u00a0z\\u2003\",\"b\":\"b\"}\n";
    let scrub = Scrub { trim: Trim::All, ..Scrub::default() };
    assert_eq!(rows(&scrubbed(&scrub, "a: text, b: text", lines).batch), ["x y|b", "|∅", "z|b"]);
    let scrub = Scrub { trim: Trim::Columns(names(&["a"])), ..Scrub::default() };
    assert_eq!(rows(&scrubbed(&scrub, "a: text, b: text", lines).batch), ["x y| b ", "|∅", "z|b"]);
}

#[test]
fn texts_within_lists_and_structs_are_left_alone() {
    let scrub = Scrub { trim: Trim::All, null_values: names(&["x"]), ..Scrub::default() };
    let lines = "{\"a\":[\" x \",\"x\"],\"b\":{\"c\":\" x \"}}\n";
    let done = scrubbed(&scrub, "a: list(text), b: struct(c: text)", lines);
    assert_eq!(rows(&done.batch), ["[\" x \",\"x\"]|{\"c\":\" x \"}"]);
}

#[test]
fn null_values_are_looked_for_behind_trimming() {
    let lines = "{\"a\":\" N/A \"}\n{\"a\":\"n/a\"}\n{\"a\":null}\n{\"a\":\"  \"}\n";
    let trimmed = Scrub { trim: Trim::All, null_values: names(&["N/A", ""]), ..Scrub::default() };
    assert_eq!(rows(&scrubbed(&trimmed, "a: text", lines).batch), ["∅", "n/a", "∅", "∅"]);
    let untrimmed = Scrub { null_values: names(&["N/A", ""]), ..Scrub::default() };
    assert_eq!(rows(&scrubbed(&untrimmed, "a: text", lines).batch), [" N/A ", "n/a", "∅", "  "]);
}

#[test]
fn a_null_where_none_may_be_rejects_its_row() {
    let lines = "{\"a\":\"-\",\"b\":1}\n{\"a\":\"x\",\"b\":2}\n{\"a\":\"-\",\"b\":3}\n";
    let scrub = Scrub { null_values: names(&["-"]), ..Scrub::default() };
    let done = scrubbed(&scrub, "a: text not null, b: int64", lines);
    assert_eq!(rows(&done.batch), ["x|2"]);
    assert_eq!(done.rows, Some(vec![1]));
    let reason = "column `a`: it is null and may not be".to_owned();
    assert_eq!(done.rejected, [(0, reason.clone()), (2, reason)]);
    // Also where the column itself goes.
    let scrub = Scrub { drop: names(&["a"]), ..scrub };
    assert_eq!(scrubbed(&scrub, "a: text not null, b: int64", lines).rows, Some(vec![1]));
}

#[test]
fn texts_become_numbers_or_are_rejected() {
    assert_eq!(
        cast("text", "int64", &["\"12\"", "\"9223372036854775808\"", "null", "\" 1\"", "\"\"", "\"1.0\""]),
        [
            ok("12"),
            err("`9223372036854775808` is beyond 64 bits"),
            ok("∅"),
            err("` 1` is no whole number"),
            err("`` is no whole number"),
            ok("1"),
        ]
    );
    assert_eq!(
        cast("text", "float64", &["\"1e3\"", "\"NaN\"", "\"1e999\""]),
        [ok("1000.0"), err("`NaN` is no number"), err("`1e999` is beyond 64-bit floats")]
    );
    assert_eq!(
        cast("text", "decimal(4,2)", &["\"12.5\"", "\"12.345\"", "\"123\""]),
        [ok("12.50"), err("`12.345` has more than 2 digits behind the point"), err("`123` is beyond decimal(4,2)")]
    );
    assert_eq!(cast("text", "bool", &["\"TRUE\"", "\"yes\""]), [ok("true"), err("`yes` is neither true nor false")]);
}

#[test]
fn texts_become_times_of_the_columns_zone() {
    assert_eq!(
        cast("text", "timestamp(ms, UTC)", &["\"2020-02-29T12:00:00+01:30\"", "\"2020-02-29\"", "\"1582972200.25\""]),
        [ok("2020-02-29T10:30:00.000Z"), ok("2020-02-29T00:00:00.000Z"), ok("2020-02-29T10:30:00.250Z")]
    );
    assert_eq!(
        cast("text", "timestamp(s, Europe/Berlin)", &["\"2020-07-01T02:00:00\"", "\"2020-03-29T02:30:00\""]),
        [ok("2020-07-01T00:00:00Z"), err("`2020-03-29T02:30:00` is skipped in the column's zone")]
    );
    assert_eq!(
        cast("text", "timestamp(s)", &["\"2020-01-01T00:00:00Z\"", "\"2020-01-01T00:00:00.5\""]),
        [
            err("`2020-01-01T00:00:00Z` has an offset, the column has no zone"),
            err("`2020-01-01T00:00:00.5` is finer than the column's unit")
        ]
    );
    assert_eq!(
        cast("text", "date", &["\"2021-02-28\"", "\"2021-02-29\""]),
        [ok("2021-02-28"), err("`2021-02-29` is no date such as 2026-11-21")]
    );
}

#[test]
fn numbers_become_each_other_exactly_or_are_rejected() {
    assert_eq!(
        cast("float64", "int64", &["3.0", "-0.0", "3.5", "9223372036854775808", "-9223372036854775808"]),
        [
            ok("3"),
            ok("0"),
            err("`3.5` is no whole number"),
            err("`9.223372036854776e18` is beyond 64 bits"),
            ok("-9223372036854775808")
        ]
    );
    assert_eq!(cast("int64", "float64", &["3", "null"]), [ok("3.0"), ok("∅")]);
    assert_eq!(
        cast("int64", "decimal(4,2)", &["12", "-99", "100"]),
        [ok("12.00"), ok("-99.00"), err("`100` is beyond decimal(4,2)")]
    );
    assert_eq!(
        cast("decimal(22,2)", "int64", &["\"12.00\"", "\"-0.50\"", "\"9223372036854775808\""]),
        [ok("12"), err("`-0.50` is no whole number"), err("`9223372036854775808.00` is beyond 64 bits")]
    );
    assert_eq!(cast("decimal(5,2)", "decimal(3,1)", &["\"12.50\"", "\"12.55\""])[0], ok("12.5"));
    assert!(cast("decimal(5,2)", "decimal(3,1)", &["\"12.55\""])[0].is_err());
    assert_eq!(cast("decimal(5,2)", "float64", &["\"0.10\""]), [ok("0.1")]);
    assert_eq!(cast("float64", "decimal(5,2)", &["0.1"]), [ok("0.10")]);
    assert_eq!(cast("bool", "int64", &["true", "false", "null"]), [ok("1"), ok("0"), ok("∅")]);
    assert_eq!(cast("int64", "bool", &["1", "0", "2"]), [ok("true"), ok("false"), err("`2` is neither 0 nor 1")]);
}

#[test]
fn what_is_no_number_becomes_none() {
    let schema = schema("x: float64");
    let floats = Float64Array::from(vec![Some(f64::NAN), Some(f64::INFINITY), None, Some(-0.0)]);
    let input = RecordBatch::try_new(schema.to_arrow(), vec![Arc::new(floats)]).unwrap();
    for to in ["int64", "decimal(5,2)", "timestamp(ms)"] {
        let scrub = Scrub { cast: pairs(&[("x", to)]), ..Scrub::default() };
        let done = scrubber(&scrub, &schema).unwrap().apply(&input).unwrap();
        assert_eq!(done.rows, Some(vec![2, 3]), "{to}");
        assert_eq!(done.rejected.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1], "{to}");
    }
    let scrub = Scrub { cast: pairs(&[("x", "text")]), ..Scrub::default() };
    let done = scrubber(&scrub, &schema).unwrap().apply(&input).unwrap();
    assert_eq!(rows(&done.batch), ["NaN", "inf", "∅", "-0.0"]);
}

#[test]
fn times_change_their_unit_and_zone_exactly_or_are_rejected() {
    let second = "\"2020-07-01T00:00:00.000Z\"";
    let fraction = "\"1969-12-31T23:59:59.999Z\"";
    assert_eq!(
        cast("timestamp(ms, UTC)", "timestamp(s, UTC)", &[second, fraction]),
        [ok("2020-07-01T00:00:00Z"), err("the time `1969-12-31T23:59:59.999Z` is finer than the column's unit")]
    );
    assert_eq!(
        cast("timestamp(ms, UTC)", "timestamp(us, Europe/Berlin)", &[fraction]),
        [ok("1969-12-31T23:59:59.999000Z")]
    );
    let far = "\"2300-01-01T00:00:00.000Z\"";
    assert!(cast("timestamp(ms, UTC)", "timestamp(ns, UTC)", &[far])[0].as_ref().unwrap_err().contains("beyond what"));
    // The civil time that the zone shows, and back.
    assert_eq!(
        cast("timestamp(ms, Europe/Berlin)", "timestamp(ms)", &[second, fraction]),
        [ok("2020-07-01T02:00:00.000"), ok("1970-01-01T00:59:59.999")]
    );
    assert_eq!(
        cast("timestamp(s)", "timestamp(ms, Europe/Berlin)", &["\"2020-07-01T02:00:00\"", "\"2020-10-25T02:30:00\""])
            [0],
        ok("2020-07-01T00:00:00.000Z")
    );
    let twice = cast("timestamp(s)", "timestamp(ms, Europe/Berlin)", &["\"2020-10-25T02:30:00\""]);
    assert!(twice[0].as_ref().unwrap_err().contains("happens twice"));
    assert_eq!(cast("timestamp(ms, UTC)", "date", &[second, fraction]), [ok("2020-07-01"), ok("1969-12-31")]);
    assert_eq!(cast("timestamp(ms, Europe/Berlin)", "date", &[fraction]), [ok("1970-01-01")]);
    assert_eq!(cast("date", "timestamp(s, Europe/Berlin)", &["\"2020-07-01\""]), [ok("2020-06-30T22:00:00Z")]);
    assert_eq!(cast("int64", "timestamp(ms, UTC)", &["1577836800"]), [ok("2020-01-01T00:00:00.000Z")]);
}

#[test]
fn everything_becomes_text() {
    assert_eq!(cast("timestamp(ms, UTC)", "text", &["0.25", "null"]), [ok("1970-01-01T00:00:00.250Z"), ok("∅")]);
    assert_eq!(cast("decimal(5,2)", "text", &["\"-0.5\""]), [ok("-0.50")]);
    assert_eq!(cast("list(int64)", "text", &["[1, null]", "[]", "null"]), [ok("[1,null]"), ok("[]"), ok("∅")]);
    assert_eq!(cast("struct(a: text, b: date)", "text", &["{\"a\":\"\\\"\"}"]), [ok("{\"a\":\"\\\"\"}")]);
}

#[test]
fn a_row_is_rejected_once_with_its_first_fault() {
    let scrub = Scrub { cast: pairs(&[("a", "int64"), ("b", "int64")]), ..Scrub::default() };
    let done = scrubbed(&scrub, "a: text, b: text", "{\"a\":\"x\",\"b\":\"y\"}\n{\"a\":\"1\",\"b\":\"2\"}\n");
    assert_eq!(done.rejected, [(0, "column `a`: `x` is no whole number".to_owned())]);
    assert_eq!((rows(&done.batch), done.rows), (names(&["1|2"]), Some(vec![1])));
}

#[test]
fn values_are_masked_and_hashed_as_text() {
    let scrub = Scrub {
        mask: BTreeMap::from([("card".to_owned(), Mask::Last(4)), ("mail".to_owned(), Mask::Email)]),
        hash: BTreeMap::from([("id".to_owned(), Salt { env: "SALT".to_owned() })]),
        ..Scrub::default()
    };
    let lines = "{\"id\":7,\"card\":4111111111111234,\"mail\":\"a@b.c\"}\n{\"id\":null,\"card\":null,\"mail\":null}\n";
    let schema = schema("id: int64, card: int64, mail: text");
    let scrubber = scrubber(&scrub, &schema).unwrap();
    assert_eq!(scrubber.output().to_string(), "id: text, card: text, mail: text");
    let done = scrubber.apply(&batch(&schema, lines)).unwrap();
    // By another implementation: printf 7 | openssl dgst -sha256 -hmac pepper
    let hash = "86693d50efdc246c3c8d898667e7714b2d45096dd20a088aa7fd609d263cdcbd";
    assert_eq!(rows(&done.batch), [format!("{hash}|************1234|****@b.c"), "∅|∅|∅".to_owned()]);
    assert!(!format!("{scrubber:?}").contains("pepper"));
}

#[test]
fn a_rejection_does_not_show_what_is_hidden() {
    let scrub = Scrub {
        cast: pairs(&[("card", "int64"), ("id", "int64")]),
        mask: BTreeMap::from([("card".to_owned(), Mask::Last(4))]),
        hash: BTreeMap::from([("id".to_owned(), Salt { env: "SALT".to_owned() })]),
        ..Scrub::default()
    };
    let lines = "{\"card\":\"4111-secret\",\"id\":\"1\"}\n{\"card\":\"1\",\"id\":\"id-secret\"}\n";
    let done = scrubbed(&scrub, "card: text, id: text", lines);
    assert_eq!(
        done.rejected,
        [
            (0, "column `card`: a value that is not shown is no int64".to_owned()),
            (1, "column `id`: a value that is not shown is no int64".to_owned())
        ]
    );
}

#[test]
fn names_can_be_swapped_and_columns_left_out() {
    let scrub = Scrub {
        rename: pairs(&[("a", "b"), ("b", "a"), ("d", "c")]),
        drop: names(&["c"]),
        mask: BTreeMap::from([("a".to_owned(), Mask::All)]),
        ..Scrub::default()
    };
    let done = scrubbed(&scrub, "a: text, b: int64, c: bool, d: date", "{\"a\":\"x\",\"b\":1}\n");
    assert_eq!(Schema::of_arrow(&done.batch.schema()).unwrap().to_string(), "b: text, a: int64, c: date");
    assert_eq!(rows(&done.batch), ["****|1|∅"]);
}

#[test]
fn settings_that_do_not_fit_the_columns_are_refused_with_a_hint() {
    let columns = schema("name: text, price: float64, tags: list(text), at: timestamp(ms), on: date");
    let fault = |scrub: Scrub| {
        let fault = scrubber(&scrub, &columns).unwrap_err();
        assert_eq!(fault.kind(), Kind::Invalid);
        (fault.to_string(), fault.hint().unwrap())
    };
    let nothing = Scrub::default;
    let (what, hint) = fault(Scrub { drop: names(&["nmae"]), ..nothing() });
    assert_eq!(what, "`drop` names the column `nmae`, which the input does not have");
    assert_eq!(hint, "did you mean `name`?");
    let (_, hint) = fault(Scrub { rename: pairs(&[("customer", "c")]), ..nothing() });
    assert_eq!(hint, "it has `name`, `price`, `tags`, `at`, `on`; settings use the names of the input");
    let key = |names: Vec<String>| Some(DedupeSetting { key: names, keep: Keep::First });
    for scrub in [
        Scrub { trim: Trim::Columns(names(&["x"])), ..nothing() },
        Scrub { cast: pairs(&[("x", "int64")]), ..nothing() },
        Scrub { mask: BTreeMap::from([("x".to_owned(), Mask::All)]), ..nothing() },
        Scrub { hash: BTreeMap::from([("x".to_owned(), Salt { env: "SALT".to_owned() })]), ..nothing() },
        Scrub { dedupe: key(names(&["x"])), ..nothing() },
    ] {
        assert!(fault(scrub).0.ends_with("names the column `x`, which the input does not have"));
    }
    let (what, _) = fault(Scrub { trim: Trim::Columns(names(&["price"])), ..nothing() });
    assert_eq!(what, "`trim` names the column `price`, which is float64");
    let (what, hint) = fault(Scrub { cast: pairs(&[("price", "integer")]), ..nothing() });
    assert_eq!(what, "`cast` of the column `price`");
    assert!(hint.starts_with("`integer` is no type"), "{hint}");
    for (column, to) in [("at", "int64"), ("on", "bool"), ("name", "list(text)"), ("tags", "int64"), ("price", "date")]
    {
        let (what, hint) = fault(Scrub { cast: pairs(&[(column, to)]), ..nothing() });
        assert!(
            what.contains(&format!("the column `{column}` is ")) && what.ends_with(&format!("become {to}")),
            "{what}"
        );
        assert!(!hint.is_empty());
    }
    for to in ["timestamp(ms, Nowhere/Land)", "timestamp(s, Nowhere/Land)"] {
        assert!(fault(Scrub { cast: pairs(&[("at", to)]), ..nothing() }).1.contains("is not known on this machine"));
    }
    let (what, hint) = fault(Scrub { mask: BTreeMap::from([("tags".to_owned(), Mask::All)]), ..nothing() });
    assert_eq!(what, "`mask` names the column `tags`, which is list(text)");
    assert_eq!(hint, "cast it first: `cast = { tags = \"text\" }` makes it JSON");
    assert!(fault(Scrub { dedupe: key(names(&["tags"])), ..nothing() }).0.contains("which is list(text)"));
    let (what, _) = fault(Scrub { rename: pairs(&[("name", "price")]), ..nothing() });
    assert_eq!(what, "`rename` calls the column `name` `price`, and so is another called");
    let all = names(&["name", "price", "tags", "at", "on"]);
    assert_eq!(fault(Scrub { drop: all, ..nothing() }).0, "`drop` leaves no column");
    let hash = |name: &str| BTreeMap::from([("name".to_owned(), Salt { env: name.to_owned() })]);
    let (what, hint) = fault(Scrub { hash: hash("OTHER"), ..nothing() });
    assert_eq!(what, "the environment variable `OTHER`, the salt of `name`, is not set");
    assert_eq!(hint, "set `OTHER` where Baler runs");
    let empty = Scrubber::new(&Scrub { hash: hash("SALT"), ..nothing() }, &columns, &pairs(&[("SALT", "")]));
    assert!(empty.unwrap_err().to_string().ends_with("is empty"));
}

#[test]
fn a_batch_of_another_schema_is_our_bug() {
    let scrubber = scrubber(&Scrub::default(), &schema("a: text")).unwrap();
    let fault = scrubber.apply(&batch(&schema("a: int64"), "{\"a\":1}\n")).unwrap_err();
    assert_eq!(fault.kind(), Kind::Internal);
}

#[test]
fn a_time_that_has_no_text_is_rejected_where_text_is_wanted() {
    let schema = schema("x: timestamp(s), y: date");
    let times = arrow_array::TimestampSecondArray::from(vec![Some(0), Some(i64::MAX), None]);
    let dates = arrow_array::Date32Array::from(vec![Some(0), Some(0), Some(i32::MAX)]);
    let input = RecordBatch::try_new(schema.to_arrow(), vec![Arc::new(times), Arc::new(dates)]).unwrap();
    let both = || ["x".to_owned(), "y".to_owned()];
    let cast = Scrub { cast: pairs(&[("x", "text"), ("y", "text")]), ..Scrub::default() };
    let mask = Scrub { mask: both().map(|name| (name, Mask::All)).into(), ..Scrub::default() };
    let salt = || Salt { env: "SALT".to_owned() };
    let hash = Scrub { hash: both().map(|name| (name, salt())).into(), ..Scrub::default() };
    for scrub in [cast, mask, hash] {
        let key = DedupeSetting { key: names(&["x"]), keep: Keep::First };
        let scrubber = scrubber(&Scrub { dedupe: Some(key), ..scrub }, &schema).unwrap();
        let done = scrubber.apply(&input).unwrap();
        assert_eq!(done.rows, Some(vec![0]));
        assert_eq!(done.rejected.len(), 2);
        assert!(done.rejected[0].1.starts_with("column `x`: "), "{:?}", done.rejected);
        assert!(done.rejected[1].1.starts_with("column `y`: "), "{:?}", done.rejected);
        // Both passes agree on which rows there are.
        assert_eq!(scrubber.identities(&input).unwrap().len(), 1);
    }
}

mod dedupe {
    use super::*;

    fn setting(key: &[&str], keep: Keep) -> Scrub {
        Scrub { dedupe: Some(DedupeSetting { key: names(key), keep }), ..Scrub::default() }
    }

    /// The rows that stay of a batch, and their numbers.
    type Kept = (Vec<String>, Option<Vec<u32>>);

    /// Filters batches, in one pass or two; returns what stays of each, and how many went.
    fn kept(scrub: &Scrub, columns: &str, batches: &[&str]) -> (Vec<Kept>, u64) {
        let schema = schema(columns);
        let scrubber = scrubber(scrub, &schema).unwrap();
        let mut dedupe = Dedupe::new(scrubber.keep().unwrap());
        for lines in batches {
            dedupe.learn(&scrubber.identities(&batch(&schema, lines)).unwrap());
        }
        let (mut out, mut filtered) = (Vec::new(), 0);
        for lines in batches {
            let (done, went) = dedupe.keep(scrubber.apply(&batch(&schema, lines)).unwrap()).unwrap();
            filtered += went;
            out.push((rows(&done.batch), done.rows));
        }
        dedupe.finish().unwrap();
        (out, filtered)
    }

    const BATCHES: [&str; 2] = [
        "{\"id\":1,\"v\":\"a\"}\n{\"id\":2,\"v\":\"b\"}\n{\"id\":1,\"v\":\"c\"}\n",
        "{\"id\":3,\"v\":\"d\"}\n{\"id\":2,\"v\":\"e\"}\n",
    ];

    #[test]
    fn the_first_of_each_key_stays_over_all_batches() {
        let (out, filtered) = kept(&setting(&["id"], Keep::First), "id: int64, v: text", &BATCHES);
        assert_eq!(out, [(names(&["1|a", "2|b"]), Some(vec![0, 1])), (names(&["3|d"]), Some(vec![0]))]);
        assert_eq!(filtered, 2);
    }

    #[test]
    fn the_last_of_each_key_stays_over_all_batches() {
        let (out, filtered) = kept(&setting(&["id"], Keep::Last), "id: int64, v: text", &BATCHES);
        assert_eq!(out, [(names(&["1|c"]), Some(vec![2])), (names(&["3|d", "2|e"]), None)]);
        assert_eq!(filtered, 2);
    }

    #[test]
    fn keys_are_compared_behind_trim_null_values_and_cast_and_before_a_mask() {
        let scrub = Scrub {
            trim: Trim::All,
            null_values: names(&["-"]),
            cast: pairs(&[("a", "int64")]),
            mask: BTreeMap::from([("b".to_owned(), Mask::All)]),
            drop: names(&["a"]),
            rename: pairs(&[("b", "c")]),
            ..setting(&["a", "b"], Keep::First)
        };
        let lines = "{\"a\":\" 1\",\"b\":\"x\"}\n{\"a\":\"+1\",\"b\":\" x\"}\n{\"a\":\"1\",\"b\":\"y\"}\n\
                     {\"a\":\"1\",\"b\":\"-\"}\n{\"a\":\"01\",\"b\":null}\n";
        let (out, filtered) = kept(&scrub, "a: text, b: text", &[lines]);
        assert_eq!(out, [(names(&["****", "****", "∅"]), Some(vec![0, 2, 3]))]);
        assert_eq!(filtered, 2);
    }

    #[test]
    fn a_record_without_a_key_stays_and_part_of_one_is_a_key() {
        let lines = "{\"a\":null,\"b\":null}\n{\"a\":null,\"b\":null}\n{\"a\":1}\n{\"a\":1}\n{\"b\":1}\n";
        for columns in ["a: int64, b: int64", "a: int64, b: decimal(5,0)"] {
            let (out, filtered) = kept(&setting(&["a", "b"], Keep::First), columns, &[lines]);
            assert_eq!(out, [(names(&["∅|∅", "∅|∅", "1|∅", "∅|1"]), Some(vec![0, 1, 2, 4]))]);
            assert_eq!(filtered, 1);
            assert_eq!(kept(&setting(&["a", "b"], Keep::Last), columns, &[lines]).1, 1);
        }
    }

    #[test]
    fn a_rejected_record_does_not_stand_in_for_a_good_one() {
        let scrub = Scrub { cast: pairs(&[("v", "int64")]), ..setting(&["id"], Keep::First) };
        let lines = "{\"id\":\"1\",\"v\":\"bad\"}\n{\"id\":\"1\",\"v\":\"1\"}\n{\"id\":\"1\",\"v\":\"2\"}\n";
        let (out, filtered) = kept(&scrub, "id: text, v: text", &[lines]);
        assert_eq!(out, [(names(&["1|1"]), Some(vec![1]))]);
        assert_eq!(filtered, 1);
        let scrub = Scrub { cast: scrub.cast, ..setting(&["id"], Keep::Last) };
        let lines = "{\"id\":\"1\",\"v\":\"1\"}\n{\"id\":\"1\",\"v\":\"2\"}\n{\"id\":\"1\",\"v\":\"bad\"}\n";
        assert_eq!(kept(&scrub, "id: text, v: text", &[lines]).0, [(names(&["1|2"]), Some(vec![1]))]);
    }

    #[test]
    fn keys_that_read_alike_are_told_apart() {
        let lines =
            "{\"a\":\"x\",\"b\":\"yz\"}\n{\"a\":\"xy\",\"b\":\"z\"}\n{\"a\":\"\",\"b\":\"xyz\"}\n{\"b\":\"xyz\"}\n";
        assert_eq!(kept(&setting(&["a", "b"], Keep::First), "a: text, b: text", &[lines]).1, 0);
        let lines = "{\"a\":\"x\\u0001y\",\"b\":\"z\"}\n{\"a\":\"x\",\"b\":\"y\\u0001z\"}\n";
        assert_eq!(kept(&setting(&["a", "b"], Keep::First), "a: text, b: text", &[lines]).1, 0);
        let lines = "{\"a\":true,\"b\":null}\n{\"a\":null,\"b\":true}\n{\"a\":false}\n{\"b\":false}\n";
        assert_eq!(kept(&setting(&["a", "b"], Keep::First), "a: bool, b: bool", &[lines]).1, 0);
        let lines = "{\"a\":1,\"b\":\"1970-01-01\"}\n{\"a\":0,\"b\":\"1970-01-02\"}\n";
        assert_eq!(kept(&setting(&["a", "b"], Keep::First), "a: int64, b: date", &[lines]).1, 0);
    }

    #[test]
    fn floats_are_one_key_where_they_are_one_value() {
        let schema = schema("x: float64");
        let other_nan = f64::from_bits(0x7ff8_0000_0000_0001);
        let floats = Float64Array::from(vec![f64::NAN, -f64::NAN, other_nan, 0.0, -0.0, f64::INFINITY]);
        let input = RecordBatch::try_new(schema.to_arrow(), vec![Arc::new(floats)]).unwrap();
        let scrubber = scrubber(&setting(&["x"], Keep::First), &schema).unwrap();
        let (done, filtered) = Dedupe::new(Keep::First).keep(scrubber.apply(&input).unwrap()).unwrap();
        assert_eq!((done.rows, filtered), (Some(vec![0, 3, 5]), 3));
    }

    #[test]
    fn a_second_pass_over_other_records_is_an_error() {
        let schema = schema("id: int64");
        let scrubber = scrubber(&setting(&["id"], Keep::Last), &schema).unwrap();
        let begin = |lines| {
            let mut dedupe = Dedupe::new(Keep::Last);
            dedupe.learn(&scrubber.identities(&batch(&schema, lines)).unwrap());
            dedupe
        };
        let apply = |lines| scrubber.apply(&batch(&schema, lines)).unwrap();
        assert_eq!(begin("{\"id\":1}\n").keep(apply("{\"id\":2}\n")).unwrap_err(), ScrubError::Passes);
        assert_eq!(begin("{\"id\":1}\n").keep(apply("{\"id\":1}\n{\"id\":1}\n")).unwrap_err(), ScrubError::Passes);
        let late = apply("{\"id\":2}\n{\"id\":1}\n");
        assert_eq!(begin("{\"id\":1}\n{\"id\":2}\n").keep(late).unwrap_err(), ScrubError::Passes);
        let mut other = begin("{\"id\":1}\n{\"id\":2}\n");
        assert_eq!(other.keep(apply("{\"id\":2}\n{\"id\":2}\n")).unwrap().1, 1);
        assert_eq!(other.finish().unwrap_err(), ScrubError::Passes);
        let mut short = begin("{\"id\":1}\n{\"id\":2}\n");
        assert_eq!(short.keep(apply("{\"id\":1}\n")).unwrap().1, 0);
        assert_eq!(short.finish().unwrap_err(), ScrubError::Passes);
    }

    #[test]
    fn memory_for_a_key_is_what_is_promised() {
        let schema = schema("id: int64");
        for (keep, least, most) in [(Keep::First, 19, 39), (Keep::Last, 28, 58)] {
            let scrubber = scrubber(&setting(&["id"], keep), &schema).unwrap();
            let mut dedupe = Dedupe::new(keep);
            assert_eq!(dedupe.bytes(), 0);
            for thousand in 0..57i64 {
                let ids = arrow_array::Int64Array::from_iter_values(thousand * 1_000..(thousand + 1) * 1_000);
                let input = RecordBatch::try_new(schema.to_arrow(), vec![Arc::new(ids)]).unwrap();
                dedupe.learn(&scrubber.identities(&input).unwrap());
                if keep == Keep::First {
                    dedupe.keep(scrubber.apply(&input).unwrap()).unwrap();
                }
                let per_key = dedupe.bytes() / dedupe.keys();
                assert!((least..=most).contains(&per_key), "{keep:?}: {per_key} bytes a key of {}", dedupe.keys());
            }
            assert_eq!(dedupe.keys(), 57_000);
        }
    }

    #[test]
    fn a_batch_that_was_scrubbed_without_dedupe_is_our_bug() {
        let done = scrubbed(&Scrub::default(), "id: int64", "{\"id\":1}\n");
        assert_eq!(Dedupe::new(Keep::First).keep(done).unwrap_err().kind(), Kind::Internal);
    }
}
