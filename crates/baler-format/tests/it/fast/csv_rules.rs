//! What the decoder of CSV takes and refuses, by example.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use baler_format::Csv;
use baler_format::decode::{DecodeOptions, Floats};

use super::support::{decode_csv, headless};

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
}

fn one_of_each() -> SchemaRef {
    schema(&[
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("b", DataType::Boolean),
        ("s", DataType::Utf8),
        ("d", DataType::Decimal128(6, 2)),
        ("day", DataType::Date32),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
    ])
}

const GOOD: &str = "1,1.5,true,x,1.25,2026-01-01,2026-01-01T00:00:00\n";

fn refusal(record: &str) -> String {
    let text = format!("{GOOD}{record}\n{GOOD}");
    let decoded = decode_csv(&one_of_each(), &headless(), &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!(decoded.rows(), 2, "the good records around {record}");
    assert_eq!(decoded.rejected.len(), 1, "{record}");
    let rejected = &decoded.rejected[0];
    assert_eq!((rejected.line, rejected.offset), (2, GOOD.len() as u64));
    assert_eq!(rejected.raw, format!("{record}\n").into_bytes());
    rejected.fault().to_owned()
}

#[test]
fn refused_with_their_reason() {
    for (record, fault) in [
        ("1", "fields"),
        (",,,,,", "fields"),
        (",,,,,,,", "fields"),
        ("x,\"a\nb\",c", "fields"),
        ("x,,,,,,", "i"),
        ("1 ,,,,,,", "i"),
        ("1.5,,,,,,", "i"),
        ("9223372036854775808,,,,,,", "i"),
        ("NaN,,,,,,", "i"),
        (",1e,,,,,", "f"),
        (",1e999,,,,,", "f"),
        (",-inf,,,,,", "f"),
        (",,yes,,,,", "b"),
        (",,,\"a\"b,,,", "quotes"),
        (",,,\"a\" ,,,", "quotes"),
        (",,,,1.234,,", "d"),
        (",,,,12345,,", "d"),
        (",,,,,2026-02-29,", "day"),
        (",,,,,tomorrow,", "day"),
        (",,,,,99999999999,", "day"),
        (",,,,,,2026-01-01T25:00", "at"),
    ] {
        assert_eq!(refusal(record), fault, "{record}");
    }
}

fn only(batches: &[RecordBatch]) -> &RecordBatch {
    assert_eq!(batches.len(), 1);
    &batches[0]
}

#[test]
fn unusual_ways_to_write_values() {
    let text = "+7,1e5,TRUE,\"say \"\"yes\"\"\",+.5,1970-01-04,1577836800\r\n\
                007,\"-1.25\",False,a\"b,-12.,2026-01-01,2026-01-01\r\n\
                3e2,5.,\"true\",\"two\r\nlines\",\"1\",\"1970-01-02\",\"1970-01-01 00:00:00.5\"\r\n\
                ,,,\"\",,,\r\n\
                \"\",\"\",\"\",,\"\",\"\",\"\"";
    let options = DecodeOptions::default();
    for cuts in [vec![], (0..text.len()).collect::<Vec<_>>()] {
        let decoded = decode_csv(&one_of_each(), &headless(), &options, text.as_bytes(), &cuts);
        assert_eq!(decoded.rejected, vec![]);
        let batch = only(&decoded.batches);
        let column = |at: usize| batch.column(at);
        let integers: Vec<_> = column(0).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(integers, [Some(7), Some(7), Some(300), None, None]);
        let floats: Vec<_> = column(1).as_primitive::<Float64Type>().iter().collect();
        assert_eq!(floats, [Some(1e5), Some(-1.25), Some(5.0), None, None]);
        let bools: Vec<_> = column(2).as_boolean().iter().collect();
        assert_eq!(bools, [Some(true), Some(false), Some(true), None, None]);
        let texts: Vec<_> = column(3).as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("say \"yes\""), Some("a\"b"), Some("two\r\nlines"), Some(""), None]);
        let decimals: Vec<_> = column(4).as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(decimals, [Some(50), Some(-1200), Some(100), None, None]);
        let days: Vec<_> = column(5).as_primitive::<Date32Type>().iter().collect();
        assert_eq!(days, [Some(3), Some(20_454), Some(1), None, None]);
        let times: Vec<_> = column(6).as_primitive::<TimestampMillisecondType>().iter().collect();
        assert_eq!(times, [Some(1_577_836_800_000), Some(1_767_225_600_000), Some(500), None, None]);
    }
}

#[test]
fn null_literals_may_look_like_values() {
    let schema =
        schema(&[("i", DataType::Int64), ("s", DataType::Utf8), ("f", DataType::Float64), ("b", DataType::Boolean)]);
    let null_literals = ["-999", "NA", "true"].map(str::to_owned).to_vec();
    let options = DecodeOptions { null_literals, ..DecodeOptions::default() };
    let text = "-999,NA,-999,true\n-998,NB,-999.0,false\nNA,\"NA\",NA,NA\n1,,1,false\n";
    let decoded = decode_csv(&schema, &headless(), &options, text.as_bytes(), &[]);
    assert_eq!(decoded.rejected, vec![]);
    let batch = only(&decoded.batches);
    let nulls: Vec<Vec<bool>> =
        (0..4).map(|row| batch.columns().iter().map(|column| column.is_null(row)).collect()).collect();
    assert_eq!(nulls, [[true; 4], [false; 4], [true, false, true, true], [false; 4]]);
}

#[test]
fn infinities_by_option() {
    let schema = schema(&[("f", DataType::Float64)]);
    let options = DecodeOptions { floats: Floats::Any, ..DecodeOptions::default() };
    let decoded = decode_csv(&schema, &headless(), &options, b"inf\n-Infinity\nNaN\n+INF\ninfi\n", &[]);
    let floats = only(&decoded.batches).column(0).as_primitive::<Float64Type>();
    assert_eq!(floats.value(0), f64::INFINITY);
    assert_eq!(floats.value(1), f64::NEG_INFINITY);
    assert!(floats.value(2).is_nan());
    assert_eq!(floats.value(3), f64::INFINITY);
    assert_eq!((decoded.rejected.len(), decoded.rejected[0].fault()), (1, "f"));
}

#[test]
fn columns_are_found_by_name() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8), ("c", DataType::Int64)]);
    let text = "\u{feff}\"c\",new,a\r\n3,\"x, y\",1\r\n4,z,\r\n";
    for cuts in [vec![], (0..text.len()).collect::<Vec<_>>()] {
        let decoded = decode_csv(&schema, &Csv::default(), &DecodeOptions::default(), text.as_bytes(), &cuts);
        assert_eq!(decoded.rejected, vec![]);
        assert_eq!(decoded.unknown, ["new"]);
        let batch = only(&decoded.batches);
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None]);
        assert_eq!(batch.column(1).null_count(), 2);
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(3), Some(4)]);
    }
}

#[test]
fn an_open_quote_costs_what_is_behind_it() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    let text = "1,x\n2,\"open\n3,y\n4,z\n";
    for cuts in [vec![], (0..text.len()).collect::<Vec<_>>()] {
        let decoded = decode_csv(&schema, &headless(), &DecodeOptions::default(), text.as_bytes(), &cuts);
        assert_eq!(only(&decoded.batches).column(0).as_primitive::<Int64Type>().values(), &[1]);
        assert_eq!((decoded.rejected.len(), decoded.rejected[0].line), (1, 2));
        assert_eq!((decoded.rejected[0].fault(), decoded.rejected[0].offset), ("quotes", 4));
    }
}

#[test]
fn a_record_longer_than_the_limit_costs_itself() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    let options = DecodeOptions { record_bytes: 50, ..DecodeOptions::default() };
    let long = "x".repeat(300);
    let quoted = format!("2,\"{}\"\n", "q\n".repeat(40));
    let text = format!("1,a\n2,{long}\r\n3,b\n{quoted}4,c\n");
    let whole = decode_csv(&schema, &headless(), &options, text.as_bytes(), &[]);
    let batch = only(&whole.batches);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 3, 4]);
    let rejected: Vec<_> = whole.rejected.iter().map(|rejected| (rejected.line, rejected.fault())).collect();
    assert_eq!(rejected, [(2, "length"), (4, "length")]);
    let cuts: Vec<usize> = (0..text.len()).collect();
    let cut = decode_csv(&schema, &headless(), &options, text.as_bytes(), &cuts);
    assert_eq!(only(&cut.batches), batch);
    assert_eq!(cut.rejected.iter().map(|rejected| rejected.line).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn bytes_that_are_not_utf8_cost_one_record() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    let text = b"1,a\n2,\xff\n3,\xc3\xbc\n4,\"\xc3\n\xbc\"\n5,\"b\nb\"\n";
    for cuts in [vec![], (0..text.len()).collect::<Vec<_>>()] {
        let decoded = decode_csv(&schema, &headless(), &DecodeOptions::default(), text, &cuts);
        assert_eq!(only(&decoded.batches).column(0).as_primitive::<Int64Type>().values(), &[1, 3, 5]);
        let reasons: Vec<_> = decoded.rejected.iter().map(|rejected| (rejected.line, rejected.fault())).collect();
        assert_eq!(reasons, [(2, "UTF-8"), (4, "UTF-8")]);
    }
}

#[test]
fn blank_lines_are_no_records_and_lines_are_counted_inside_quotes() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    let text = "\n1,\"x\n\ny\"\n\r\n2,y\nbad,z\n";
    let decoded = decode_csv(&schema, &headless(), &DecodeOptions::default(), text.as_bytes(), &[]);
    assert_eq!(decoded.rows(), 2);
    assert_eq!((decoded.rejected.len(), decoded.rejected[0].line), (1, 7));
}

#[test]
fn records_without_columns_are_refused() {
    let decoded = decode_csv(&schema(&[]), &headless(), &DecodeOptions::default(), b"1\n2,3\n", &[]);
    let faults: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.fault()).collect();
    assert_eq!(faults, ["fields", "fields"]);
}

#[test]
fn a_block_ends_before_what_is_not_plain() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Float64), ("c", DataType::Utf8)]);
    let mut text = String::new();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for line in 0..5000_i64 {
        let (record, is_good) = match line % 487 {
            13 => (format!("{line},x,bad"), false),
            99 => (format!("{line},1.5,\"quoted, {line}\""), true),
            200 => (format!("{line},1.5"), false),
            333 => (format!("{line},1e3,\"two words\""), true),
            400 => (format!("+{line},,"), true),
            _ => (format!("{line},{line}.25,text {line}"), true),
        };
        text.push_str(&record);
        text.push('\n');
        if is_good { good.push(line) } else { bad.push(line as u64 + 1) }
    }
    let options = DecodeOptions { batch_rows: 100_000, ..DecodeOptions::default() };
    let decoded = decode_csv(&schema, &headless(), &options, text.as_bytes(), &[text.len() / 3]);
    let batch = only(&decoded.batches);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &good);
    assert_eq!(decoded.rejected.iter().map(|rejected| rejected.line).collect::<Vec<_>>(), bad);
    let texts = batch.column(2).as_string::<i32>();
    assert_eq!(texts.value(99 - 1), "quoted, 99");
    assert_eq!(texts.value(12), "text 12");
    assert!(texts.is_null(400 - 2));
}

#[test]
fn a_comma_behind_seconds_is_a_delimiter() {
    let schema = schema(&[("at", DataType::Timestamp(TimeUnit::Millisecond, None)), ("i", DataType::Int64)]);
    for record in ["1970-01-01T00:00:01,5\n", "\"1970-01-01T00:00:01\",5\n", "1970-01-01T00:00:01,+5\n"] {
        let decoded = decode_csv(&schema, &headless(), &DecodeOptions::default(), record.as_bytes(), &[]);
        assert_eq!(decoded.rejected, vec![]);
        let batch = only(&decoded.batches);
        assert_eq!(batch.column(0).as_primitive::<TimestampMillisecondType>().value(0), 1000);
        assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(0), 5);
    }
}
