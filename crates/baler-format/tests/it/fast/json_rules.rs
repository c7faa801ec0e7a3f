//! What the decoder of JSON lines takes and refuses, by example.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use baler_format::decode::DecodeOptions;

use super::support::decode_json;

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
}

/// What is wrong with `line`, for a schema of one column of each kind.
fn refusal(line: &str) -> String {
    let schema = schema(&[
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("b", DataType::Boolean),
        ("s", DataType::Utf8),
        ("d", DataType::Decimal128(6, 2)),
        ("day", DataType::Date32),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
    ]);
    let good =
        "{\"i\":1,\"f\":1,\"b\":true,\"s\":\"x\",\"d\":1,\"day\":\"2026-01-01\",\"at\":\"2026-01-01T00:00:00\"}\n";
    let text = format!("{good}{line}\n{good}");
    let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!(decoded.rows(), 2, "the good records around {line}");
    assert_eq!(decoded.rejected.len(), 1, "{line}");
    let rejected = &decoded.rejected[0];
    assert_eq!(rejected.line, 2);
    assert_eq!(rejected.offset, good.len() as u64);
    assert!(line.as_bytes().starts_with(rejected.raw.trim_ascii_end()));
    rejected.fault().to_owned()
}

#[test]
fn refused_with_their_reason() {
    for (line, reason) in [
        ("[1]", "object"),
        ("1", "object"),
        ("{\"i\":1", "JSON"),
        ("{\"i\":", "JSON"),
        ("{\"i\"", "JSON"),
        ("{\"s\":\"abc", "JSON"),
        ("{\"s\":\"abc\\", "JSON"),
        ("{\"z\":[1,{\"a\":2}", "JSON"),
        ("{\"i\":1}}", "JSON"),
        ("{\"i\":1} x", "JSON"),
        ("{\"i\":1,}", "JSON"),
        ("{,\"i\":1}", "JSON"),
        ("{\"i\" 1}", "JSON"),
        ("{i:1}", "JSON"),
        ("{\"i\":1 \"f\":2}", "JSON"),
        ("{\"i\":tru}", "JSON"),
        ("{\"b\":tru}", "JSON"),
        ("{\"z\":tru}", "JSON"),
        ("{\"z\":nul}", "JSON"),
        ("{\"z\":[1,]}", "JSON"),
        ("{\"z\":[1}", "JSON"),
        ("{\"z\":{\"a\"}}", "JSON"),
        ("{\"z\":{1:2}}", "JSON"),
        ("{\"z\":'x'}", "JSON"),
        ("{\"i\":01}", "JSON"),
        ("{\"i\":+1}", "JSON"),
        ("{\"i\":1.}", "JSON"),
        ("{\"f\":1.}", "JSON"),
        ("{\"f\":-}", "JSON"),
        ("{\"f\":1e}", "JSON"),
        ("{\"z\":1e+}", "JSON"),
        ("{\"f\":NaN}", "JSON"),
        ("{\"z\":-Infinity}", "JSON"),
        ("{\"f\":1e999}", "f"),
        ("{\"i\":9223372036854775808}", "i"),
        ("{\"i\":-9223372036854775809}", "i"),
        ("{\"i\":1.5}", "i"),
        ("{\"d\":1.234}", "d"),
        ("{\"d\":12345}", "d"),
        ("{\"d\":\"x\"}", "d"),
        ("{\"i\":\"1\"}", "i"),
        ("{\"s\":1}", "s"),
        ("{\"s\":{\"a\":1}}", "s"),
        ("{\"b\":1}", "b"),
        ("{\"b\":\"true\"}", "b"),
        ("{\"day\":\"2026-02-30\"}", "day"),
        ("{\"day\":\"2026-02-03T00:00:00\"}", "day"),
        ("{\"at\":\"yesterday\"}", "at"),
        ("{\"at\":\"2026-01-01T00:00:00Zulu\"}", "at"),
        ("{\"at\":\"\"}", "at"),
        ("{\"s\":\"\\x\"}", "JSON"),
        ("{\"s\":\"\\u12g4\"}", "JSON"),
        ("{\"s\":\"\\ud800\"}", "s"),
        ("{\"s\":\"\\ud800\\u0041\"}", "s"),
        ("{\"s\":\"\\udc00\"}", "s"),
        ("{\"s\":\"a\tb\"}", "JSON"),
        ("{\"z\":\"a\u{0}b\"}", "JSON"),
        ("{\"i\":1,\"i\":2}", "key"),
        ("{\"z\":1,\"z\":2}", "key"),
        ("{\"i\":1,\"\\u0069\":2}", "key"),
        ("{\"i\":1,\"f\":1,\"b\":true,\"s\":\"x\",\"d\":1,\"s\":\"y\"}", "key"),
    ] {
        assert_eq!(refusal(line), reason, "{line}");
    }
}

#[test]
fn nesting_of_what_nobody_asks_for_has_no_bound() {
    let nested = |depth: usize| format!("{{\"z\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let schema = schema(&[("i", DataType::Int64)]);
    for depth in [1, 128, 129, 100_000] {
        let decoded = decode_json(&schema, &DecodeOptions::default(), nested(depth).as_bytes(), &[]);
        assert_eq!((decoded.rows(), decoded.rejected.len()), (1, 0), "{depth}");
    }
    assert_eq!(refusal(&"{\"a\":".repeat(100_000)), "JSON");
}

/// What is passed over need not have a meaning, only an end.
#[test]
fn half_a_character_that_nobody_asks_for_costs_nothing() {
    let schema = schema(&[("id", DataType::Int64)]);
    for half in ["\\ud883", "\\ud883d\\ude80", "\\ud883\\n", "\\ude80", "\\ud883\\u0041"] {
        let text = format!("{{\"id\":1,\"z\":[\" {half}\",0.5]}}\n{{\"id\":2,\"z\":{{\"{half}\":\"{half}\"}}}}\n");
        let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[]);
        assert_eq!((decoded.rows(), decoded.rejected.len()), (2, 0), "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf8_cost_one_record() {
    let schema = schema(&[("s", DataType::Utf8)]);
    let mut text = b"{\"s\":\"a\"}\n{\"s\":\"".to_vec();
    text.extend_from_slice(b"\xff\"}\n{\"s\":\"b\",\"z\":\"\xc3\"}\n{\"s\":\"\xc3\xbc\"}\n");
    for cuts in [vec![], (0..text.len()).collect::<Vec<_>>()] {
        let decoded = decode_json(&schema, &DecodeOptions::default(), &text, &cuts);
        let reasons: Vec<_> = decoded.rejected.iter().map(|rejected| (rejected.line, rejected.fault())).collect();
        assert_eq!(reasons, [(2, "UTF-8"), (3, "UTF-8")]);
        assert_eq!(decoded.rejected[0].offset, 10);
        let texts: Vec<_> = decoded.batches[0].column(0).as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("a"), Some("ü")]);
    }
}

#[test]
fn numbers_change_their_type_only_without_loss() {
    let schema = schema(&[("i", DataType::Int64), ("f", DataType::Float64)]);
    let text = "{\"i\":3.0,\"f\":3}\n{\"i\":3e2,\"f\":1e5}\n{\"i\":-0,\"f\":-0.0}\n{\"i\":-9223372036854775808,\"f\":9007199254740993}\n";
    let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!(decoded.rejected, vec![]);
    assert_eq!(decoded.batches[0].column(0).as_primitive::<Int64Type>().values(), &[3, 300, 0, i64::MIN]);
    let floats = decoded.batches[0].column(1).as_primitive::<Float64Type>().values();
    assert_eq!(floats, &[3.0, 1e5, -0.0, 9_007_199_254_740_992.0]);
    assert!(floats[2].is_sign_negative());
}

#[test]
fn a_required_column_refuses_null_and_absence() {
    let schema =
        Arc::new(Schema::new(vec![Field::new("i", DataType::Int64, false), Field::new("s", DataType::Utf8, true)]));
    let text = "{\"i\":1}\n{\"i\":null}\n{\"s\":\"x\"}\n{}\n{\"i\":2,\"s\":null}\n";
    let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!(decoded.rows(), 2);
    for rejected in &decoded.rejected {
        assert_eq!(rejected.fault(), "i");
    }
    assert_eq!(decoded.rejected.iter().map(|rejected| rejected.line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn unknown_keys_are_told_once() {
    let schema = schema(&[("i", DataType::Int64)]);
    let text = "{\"new\":1,\"i\":1}\n{\"i\":2,\"new\":{\"i\":5},\"newer\":[]}\n{\"i\":3}\n{\"new\":null}\n";
    let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!((decoded.rows(), decoded.rejected.len()), (4, 0));
    assert_eq!(decoded.unknown, ["new", "newer"]);
}

#[test]
fn keys_without_end_are_compared_but_not_kept() {
    let schema = schema(&[("i", DataType::Int64)]);
    let mut text = String::new();
    for record in 0..200 {
        let keys: Vec<String> = (0..20).map(|key| format!("\"key{record}_{key}\":0")).collect();
        text.push_str(&format!("{{{},\"i\":{record}}}\n", keys.join(",")));
    }
    text.push_str("{\"far\":1,\"i\":1,\"far\":2}\n{\"far\":1,\"farther\":1}\n");
    let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!(decoded.rows(), 201);
    assert_eq!(decoded.unknown.len(), 1_000);
    assert_eq!(decoded.rejected.len(), 1);
    assert_eq!((decoded.rejected[0].fault(), decoded.rejected[0].line), ("key", 201));
}

#[test]
fn blank_lines_and_a_byte_order_mark_are_no_records() {
    let schema = schema(&[("i", DataType::Int64)]);
    let text = "\u{feff}{\"i\":1}\n\n  \t\r\n{\"i\":2}\r\n\n{x}\n \n";
    for cuts in [vec![], (0..text.len()).collect::<Vec<_>>()] {
        let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &cuts);
        assert_eq!(decoded.rows(), 2);
        assert_eq!((decoded.rejected.len(), decoded.rejected[0].line), (1, 6));
    }
}

#[test]
fn numbers_in_time_columns_count_the_unit_that_is_given() {
    let schema = schema(&[("at", DataType::Timestamp(TimeUnit::Millisecond, None)), ("day", DataType::Date32)]);
    let text = "{\"at\":1577836800}\n{\"at\":null,\"day\":3}\n";
    let options = DecodeOptions { epoch: TimeUnit::Second, ..DecodeOptions::default() };
    let decoded = decode_json(&schema, &options, text.as_bytes(), &[]);
    let times = decoded.batches[0].column(0).as_primitive::<TimestampMillisecondType>();
    assert_eq!(times.value(0), 1_577_836_800_000);
    assert_eq!(decoded.rejected[0].fault(), "day");
}

#[test]
fn a_line_longer_than_the_limit_costs_itself() {
    let schema = schema(&[("s", DataType::Utf8)]);
    let options = DecodeOptions { record_bytes: 100, ..DecodeOptions::default() };
    for length in [80, 92, 93, 94, 95, 200, 1000] {
        for end in ["\n", "\r\n"] {
            let long = format!("{{\"s\":\"{}\"}}", "x".repeat(length));
            let text = format!("{{\"s\":\"a\"}}{end}{long}{end}{{\"s\":\"b\"}}{end}");
            let whole = decode_json(&schema, &options, text.as_bytes(), &[]);
            // A carriage return is a part of the line.
            let refused = usize::from(long.len() + end.len() - 1 > 100);
            assert_eq!((whole.rows(), whole.rejected.len()), (3 - refused, refused), "{}", long.len());
            if let Some(rejected) = whole.rejected.first() {
                assert_eq!((rejected.line, rejected.fault()), (2, "length"));
            }
            let cuts: Vec<usize> = (0..text.len()).collect();
            let cut = decode_json(&schema, &options, text.as_bytes(), &cuts);
            assert_eq!((&cut.batches, cut.rejected.len()), (&whole.batches, whole.rejected.len()));
        }
    }
}

#[test]
fn spaces_that_the_record_before_did_not_have() {
    let schema = schema(&[("i", DataType::Int64), ("s", DataType::Utf8)]);
    let text =
        "{\"i\":1,\"s\":\"a\",\"z\":1}\n{\"i\": 2,\"s\":\t\"b\",\"z\": [ ]}\n{ \"i\" :3 , \"s\": null,\"z\":\t{} }\r\n";
    let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!(decoded.rejected, vec![]);
    assert_eq!(decoded.batches[0].column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
}
