//! JSON lines and JSON documents: what is taken, what is rejected, and with which words.

use baler_format::Format;
use baler_format::decode::{DecodeError, DecodeOptions, Position, Reason, Source, TextFrom};
use baler_format::schema::TimeUnit;
use proptest::prelude::*;

use super::samples::{decode, decode_from, decode_with, schema};

fn lines(columns: &str, text: &str) -> (Vec<String>, Vec<String>) {
    let schema = schema(columns);
    let taken = decode(&Format::JsonLines, &schema, text.as_bytes());
    assert!(taken.error.is_none(), "{:?}", taken.error);
    taken.shown(&schema)
}

/// The reason why one record is rejected.
fn refused(columns: &str, record: &str) -> String {
    let (rows, rejected) = lines(columns, &format!("{record}\n"));
    assert_eq!(rows, [""; 0], "{record}");
    assert_eq!(rejected.len(), 1, "{record}");
    rejected[0].strip_prefix("1: ").unwrap().to_owned()
}

#[test]
fn a_bad_record_is_rejected_and_the_others_are_taken() {
    let text = "{\"a\":1}\n{\"a\":}\n\n  \r\n{\"a\":2}\r\n{\"a\":3";
    let schema = schema("a: int64");
    let taken = decode(&Format::JsonLines, &schema, text.as_bytes());
    assert_eq!(taken.shown(&schema).0, ["{\"a\":1}", "{\"a\":2}"]);
    let positions = [Position::Line { line: 1, offset: 0 }, Position::Line { line: 5, offset: 20 }];
    assert_eq!(taken.positions, positions);
    assert_eq!(taken.rejected.len(), 2);
    assert_eq!(taken.rejected[0].position, Position::Line { line: 2, offset: 8 });
    assert_eq!(taken.rejected[0].raw, b"{\"a\":}\n");
    assert!(matches!(&taken.rejected[0].reason, Reason::NotJson(_)));
    assert_eq!(taken.rejected[1].position, Position::Line { line: 6, offset: 29 });
    assert!(taken.error.is_none());
}

#[test]
fn a_last_line_without_an_end_is_a_record() {
    assert_eq!(lines("a: int64", "{\"a\":1}\n{\"a\":2}").0.len(), 2);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_record() {
    let schema = schema("a: int64");
    let taken = decode(&Format::JsonLines, &schema, b"\xef\xbb\xbf{\"a\":1}\n");
    assert_eq!(taken.rows(), 1);
    assert_eq!(taken.positions, [Position::Line { line: 1, offset: 3 }]);
}

#[test]
fn what_is_not_utf8_is_rejected_alone() {
    let schema = schema("a: text");
    let taken = decode(&Format::JsonLines, &schema, b"{\"a\":\"x\"}\n{\"a\":\"\xff\"}\n{\"a\":\"y\"}\n");
    assert_eq!(taken.rows(), 2);
    assert_eq!(taken.rejected[0].reason, Reason::NotUtf8 { at: 6 });
}

#[test]
fn a_line_of_100_mb_is_refused_without_holding_it() {
    let schema = schema("a: text");
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(100 << 20));
    let text = [b"{\"a\":\"1\"}\n", long.as_bytes(), b"{\"a\":\"2\"}\n"].concat();
    let taken = decode(&Format::JsonLines, &schema, &text);
    assert_eq!(taken.rows(), 2);
    assert_eq!(taken.rejected[0].reason, Reason::TooLong(16 << 20));
    assert_eq!(taken.rejected[0].raw.len(), 1 << 10);
    assert_eq!(taken.positions[1], Position::Line { line: 3, offset: 10 + long.len() as u64 });
}

#[test]
fn a_hundred_levels_and_a_hundred_thousand_do_no_harm() {
    for depth in [100, 100_000] {
        let record = format!("{{\"x\":{}{},\"a\":1}}\n", "[".repeat(depth), "]".repeat(depth));
        let (rows, rejected) = lines("a: int64", &record);
        assert_eq!(rows.len() + rejected.len(), 1);
        if depth == 100 {
            assert_eq!(rows, ["{\"a\":1}"]);
        }
    }
}

#[test]
fn keys_come_in_any_order_and_may_be_missing_or_unknown() {
    let schema = schema("a: int64, b: text, c: bool");
    let text = "{\"c\":true,\"b\":\"x\",\"a\":1}\n{\"b\":null,\"zz\":{\"a\":5}}\n{}\n{\"\\u0061\":7,\"zz\":1}\n";
    let taken = decode(&Format::JsonLines, &schema, text.as_bytes());
    assert_eq!(taken.shown(&schema).0, ["{\"a\":1,\"b\":\"x\",\"c\":true}", "{}", "{}", "{\"a\":7}"]);
    assert_eq!(taken.unknown, ["zz"]);
}

#[test]
fn a_key_that_stands_twice_is_refused_also_within() {
    assert_eq!(refused("a: int64", r#"{"a":1,"b":2,"a":3}"#), "the key `a` stands twice");
    assert_eq!(refused("a: int64", r#"{"a":1,"\u0061":3}"#), "the key `a` stands twice");
    assert_eq!(refused("a: struct(x: int64)", r#"{"a":{"x":1,"x":1}}"#), "column `a`: the key `x` stands twice");
    let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":0")).collect();
    assert_eq!(refused("a: int64", &format!("{{{},\"k7\":1}}", many.join(","))), "the key `k7` stands twice");
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let reason = |kind: &str, value: &str| refused(&format!("a: {kind}"), &format!("{{\"a\":{value}}}"));
    assert_eq!(reason("int64", "9223372036854775808"), "column `a`: `9223372036854775808` is beyond 64 bits");
    assert_eq!(reason("int64", "1.5"), "column `a`: `1.5` is no whole number of 64 bits");
    assert_eq!(reason("int64", "\"1\""), "column `a`: a whole number is wanted, not \"1\"");
    assert_eq!(reason("float64", "1e999"), "column `a`: `1e999` is beyond 64-bit floats");
    assert_eq!(reason("decimal(4,2)", "123.4"), "column `a`: `123.4` is beyond decimal(4,2)");
    assert_eq!(reason("decimal(4,2)", "1.234"), "column `a`: `1.234` has more than 2 digits behind the point");
    for literal in ["NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x10"] {
        assert!(reason("float64", literal).starts_with("not JSON"), "{literal}");
    }
}

#[test]
fn types_are_not_mixed_up() {
    let reason = |kind: &str, value: &str| refused(&format!("a: {kind}"), &format!("{{\"a\":{value}}}"));
    assert_eq!(reason("text", "1"), "column `a`: text is wanted, not 1");
    assert_eq!(reason("text", "{}"), "column `a`: text is wanted, not {}");
    assert_eq!(reason("bool", "1"), "column `a`: true or false is wanted, not 1");
    assert_eq!(reason("list(int64)", "[1,\"x\"]"), "column `a`: item 1: a whole number is wanted, not \"x\"");
    assert_eq!(reason("struct(x: bool)", "[]"), "column `a`: an object is wanted, not []");
    assert_eq!(reason("date", "\"2020-02-30\""), "column `a`: `2020-02-30` is no date such as 2026-11-21");
    assert_eq!(reason("int64 not null", "null"), "column `a`: it is null and may not be");
    assert_eq!(reason("struct(x: int64 not null)", "{}"), "column `a`: `x` is null and may not be");
    assert_eq!(refused("a: int64 not null", "{}"), "column `a`: it is null and may not be");
    assert_eq!(refused("a: int64", "[1]"), "not a JSON object");
    assert_eq!(refused("a: int64", "42"), "not a JSON object");
    assert!(refused("a: text", r#"{"a":"\ud800"}"#).contains("broken escape"));
    assert!(refused("a: text", "{\"a\":\"x\"} {}").starts_with("not JSON: trailing"));
    assert!(refused("a: text", "{\"a\":\"tab\there\"}").starts_with("not JSON"));
}

#[test]
fn values_of_every_type_are_taken() {
    let columns =
        "i: int64, f: float64, t: text, d: decimal(12,2), y: date, z: timestamp(ms, UTC), l: list(struct(x: int64))";
    let record = r#"{"i":-5,"f":3,"t":"a\"\u00e9\ud83e\udd80","d":"-1.5","y":"2020-02-29","z":"2020-01-01T01:00:00.5+01:00","l":[{"x":1},null,{}]}"#;
    let (rows, rejected) = lines(columns, record);
    assert_eq!(rejected, [""; 0]);
    assert_eq!(
        rows,
        [
            r#"{"i":-5,"f":3.0,"t":"a\"é🦀","d":"-1.50","y":"2020-02-29","z":"2020-01-01T00:00:00.500Z","l":[{"x":1},null,{}]}"#
        ]
    );
}

#[test]
fn numbers_are_times_since_1970_in_the_unit_that_is_said() {
    let schema = schema("z: timestamp(ms, UTC)");
    for (epoch, number) in [(TimeUnit::Second, "1577836800.5"), (TimeUnit::Millisecond, "1577836800500")] {
        let options = DecodeOptions { epoch, ..DecodeOptions::default() };
        let text = format!("{{\"z\":{number}}}");
        let taken = decode_with(&Format::JsonLines, &schema, &options, text.as_bytes());
        assert_eq!(taken.shown(&schema).0, ["{\"z\":\"2020-01-01T00:00:00.500Z\"}"]);
    }
}

#[test]
fn text_columns_may_take_anything_as_it_is_written() {
    let schema = schema("a: text");
    let options = DecodeOptions { text_from: TextFrom::Anything, ..DecodeOptions::default() };
    let taken =
        decode_with(&Format::JsonLines, &schema, &options, b"{\"a\":1.50}\n{\"a\":{\"x\": [1]}}\n{\"a\":\"s\"}\n");
    assert_eq!(taken.shown(&schema).0, [r#"{"a":"1.50"}"#, r#"{"a":"{\"x\": [1]}"}"#, r#"{"a":"s"}"#]);
}

fn document(path: &[&str], text: &str) -> (usize, Vec<String>, Option<String>) {
    let schema = schema("a: int64");
    let format = Format::Json { records: path.iter().map(|key| (*key).to_owned()).collect() };
    // In pieces of every small size: the same each time.
    let results = [1, 2, 3, 7, 1_000].map(|size| {
        let source = Source::stream(super::samples::Pieces::new(text.as_bytes(), size));
        let taken = decode_from(&format, &schema, &DecodeOptions::default(), source);
        let error = taken.error.as_ref().map(ToString::to_string);
        (taken.rows(), taken.shown(&schema).1, error)
    });
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    results[0].clone()
}

#[test]
fn records_of_a_document_are_found_along_the_path() {
    assert_eq!(document(&[], " [ {\"a\":1} , {\"a\":2}\n] "), (2, vec![], None));
    assert_eq!(document(&[], "[]"), (0, vec![], None));
    let text = r#"{"x":{"r":[9]},"s":"]}\"[{","o":{"n":1.5,"r":[{"a":1,"b":"},]"},{"a":2}],"t":[1,{}]},"u":null}"#;
    assert_eq!(document(&["o", "r"], text), (2, vec![], None));
    assert_eq!(document(&["r"], "{\"r\":[]}\n"), (0, vec![], None));
}

#[test]
fn a_bad_record_of_a_document_is_rejected_alone() {
    let (rows, rejected, error) = document(&[], "[{\"a\":1},\n{\"a\":tru},\n 7,{\"a\":3}\n,]");
    assert_eq!((rows, error), (2, None));
    assert_eq!(rejected.len(), 3, "{rejected:?}");
    assert!(rejected[0].starts_with("2: not JSON"), "{rejected:?}");
    assert_eq!(rejected[1], "3: not a JSON object");
    assert!(rejected[2].starts_with("4: not JSON"), "{rejected:?}");
}

#[test]
fn a_document_that_is_cut_off_gives_its_records_then_an_error() {
    let text = "{\"r\":[{\"a\":1},{\"a\":2},{\"a\":33}],\"z\":[1]}";
    let whole = text.len();
    for cut in 0..whole {
        let (rows, rejected, error) = document(&["r"], &text[..cut]);
        assert!(error.is_some(), "cut at {cut}");
        let complete = [13, 21, 30].iter().filter(|end| cut > **end).count();
        assert_eq!(rows, complete, "cut at {cut}: {rejected:?}");
        assert!(rejected.len() <= 1);
    }
    let schema = schema("a: int64");
    let taken = decode(&Format::Json { records: vec!["r".to_owned()] }, &schema, &text.as_bytes()[..20]);
    assert!(matches!(taken.error, Some(DecodeError::Format { .. })), "{:?}", taken.error);
}

#[test]
fn documents_of_another_shape_are_refused_with_what_is_wanted() {
    let error = |path: &[&str], text: &str| document(path, text).2.unwrap();
    assert!(error(&[], "{\"r\":[]}").contains("`records` names the keys"), "{}", error(&[], "{\"r\":[]}"));
    assert!(error(&["r"], "{\"q\":[]}").contains("the document has no `r`"));
    assert!(error(&["r"], "[]").contains("`{` is wanted around `r`"));
    assert!(error(&[], "[{\"a\":1}] x").contains("something stands behind"));
    let (rows, rejected, error) = document(&[], "[{\"a\":1} {\"a\":2}]");
    assert_eq!((rows, rejected.len(), error), (0, 1, None));
}

/// JSON as the standard library of Rust's users reads it.
fn naive(line: &str) -> Option<serde_json::Value> {
    serde_json::from_str::<serde_json::Value>(line).ok().filter(serde_json::Value::is_object)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn each_line_is_taken_or_rejected_and_never_otherwise_than_a_naive_reader_says(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", "\"a\"", "\"b\"", ":", ",", "1", "-0", "1.5", "null", "true", "\"x\"", "\"\\u00e9\"", " ", "\n", "\n",
            "{\"a\":1}", "{\"b\":\"y\",\"a\":null}", "\\", "é", "\r\n", "\u{feff}",
        ]), 0..60),
        size in 1usize..20,
    ) {
        let text = pieces.concat();
        let schema = schema("a: int64, b: text");
        let source = Source::stream(super::samples::Pieces::new(text.as_bytes(), size));
        let taken = decode_from(&Format::JsonLines, &schema, &DecodeOptions::default(), source);
        prop_assert!(taken.error.is_none());
        let stripped = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let records: Vec<&str> = stripped.split('\n').filter(|line| !line.as_bytes().trim_ascii().is_empty()).collect();
        prop_assert_eq!(taken.rows() + taken.rejected.len(), records.len());
        let mut rows = taken.shown(&schema).0.into_iter();
        let mut rejected = taken.rejected.iter().map(|rejected| &rejected.reason);
        for record in records {
            let expected = naive(record).filter(|value| {
                // Without keys that stand twice, and of the right types.
                let members = value.as_object().unwrap();
                let twice = record.matches("\"a\":").count() > 1 || record.matches("\"b\":").count() > 1;
                let a = members.get("a").is_none_or(|a| a.is_null() || a.is_i64());
                let b = members.get("b").is_none_or(|b| b.is_null() || b.is_string());
                !twice && a && b
            });
            match expected {
                Some(value) => {
                    let row: serde_json::Value = serde_json::from_str(&rows.next().unwrap()).unwrap();
                    for name in ["a", "b"] {
                        let null = serde_json::Value::Null;
                        prop_assert_eq!(row.get(name).unwrap_or(&null), value.get(name).unwrap_or(&null));
                    }
                }
                None => prop_assert!(rejected.next().is_some(), "{record}"),
            }
        }
    }
}
