//! CSV: what is taken, what is rejected, and with which words.

use baler_format::codec::Compression;
use baler_format::decode::{Blanks, DecodeError, DecodeOptions, Floats, Position, Reason, Source};
use baler_format::encode::{EncodeError, EncodeOptions, Encoder};
use baler_format::{Csv, Format};
use proptest::prelude::*;

use super::samples::{Pieces, csv, decode, decode_from, decode_with, schema};

fn table(columns: &str, text: &str) -> (Vec<String>, Vec<String>) {
    let schema = schema(columns);
    let taken = decode(&csv(), &schema, text.as_bytes());
    assert!(taken.error.is_none(), "{:?}", taken.error);
    taken.shown(&schema)
}

#[test]
fn fields_are_found_by_the_header_in_any_order() {
    let schema = schema("a: int64, b: text, c: bool");
    let taken = decode(&csv(), &schema, b"\xef\xbb\xbfb,extra,a\r\nx,1,2\r\n,,\r\n\"\",,3\r\n");
    assert_eq!(taken.shown(&schema).0, ["{\"a\":2,\"b\":\"x\"}", "{}", "{\"a\":3,\"b\":\"\"}"]);
    assert_eq!(taken.unknown, ["extra"]);
    assert_eq!(taken.positions[0], Position::Line { line: 2, offset: 14 });
}

#[test]
fn quoted_fields_hold_line_ends_delimiters_and_quotes() {
    let text = "a,b\n\"x\ny,\"\"z\"\"\",1\n\"\r\n\",2\nq\"q,3\n";
    let schema = schema("a: text, b: int64");
    for size in [1, 2, 3, 100] {
        let taken =
            decode_from(&csv(), &schema, &DecodeOptions::default(), Source::stream(Pieces::new(text.as_bytes(), size)));
        assert_eq!(
            taken.shown(&schema).0,
            [r#"{"a":"x\ny,\"z\"","b":1}"#, r#"{"a":"\r\n","b":2}"#, r#"{"a":"q\"q","b":3}"#]
        );
        let lines = taken.positions.iter().map(|position| match position {
            Position::Line { line, .. } => *line,
            Position::Row(_) => 0,
        });
        let lines: Vec<u64> = lines.collect();
        assert_eq!(lines, [2, 4, 6]);
    }
}

#[test]
fn bad_records_are_rejected_and_the_others_are_taken() {
    let text = "a,b\n1,2\n1\n1,2,3\n\nx,2\n\"1\"x,2\n3,4";
    let (rows, rejected) = table("a: int64, b: int64", text);
    assert_eq!(rows, ["{\"a\":1,\"b\":2}", "{\"a\":3,\"b\":4}"]);
    assert_eq!(
        rejected,
        [
            "3: 1 fields instead of 2",
            "4: 3 fields instead of 2",
            "6: column `a`: `x` is no whole number",
            "7: text stands behind a closing quote"
        ]
    );
}

#[test]
fn a_quote_that_is_never_closed_takes_no_record_out_of_the_text_behind_it() {
    let (rows, rejected) = table("a: text, b: int64", "a,b\nx,1\n\"y,2\nz,3\n");
    assert_eq!(rows, ["{\"a\":\"x\",\"b\":1}"]);
    assert_eq!(rejected, ["3: a quote is opened and not closed before the end"]);
}

#[test]
fn a_record_longer_than_the_limit_is_refused_as_a_whole() {
    let schema = schema("a: text, b: int64");
    let options = DecodeOptions { record_bytes: 100, raw_bytes: 8, ..DecodeOptions::default() };
    let text = format!("a,b\nx,1\n\"{}\n\",2\ny,3\n", "line,4\n".repeat(100_000));
    for size in [7, 1 << 20] {
        let source = Source::stream(Pieces::new(text.as_bytes(), size));
        let taken = decode_from(&csv(), &schema, &options, source);
        assert_eq!(taken.rows(), 2);
        assert_eq!(taken.rejected.len(), 1);
        assert_eq!(taken.rejected[0].reason, Reason::TooLong(100));
        assert_eq!(taken.rejected[0].raw, b"\"line,4\n");
        assert_eq!(taken.positions[1], Position::Line { line: 100_005, offset: text.len() as u64 - 4 });
    }
}

#[test]
fn values_of_every_type_are_taken() {
    let columns = "i: int64, f: float64, b: bool, d: decimal(6,3), y: date, z: timestamp(ms, UTC), l: timestamp(s, Europe/Berlin), n: timestamp(us)";
    let text = "i,f,b,d,y,z,l,n\n-7,1e5,True,-1.5,2020-02-29,1577836800,2020-07-01 12:00:00,2020-07-01T12:00:00.25\n";
    let (rows, rejected) = table(columns, text);
    assert_eq!(rejected, [""; 0]);
    assert_eq!(
        rows,
        [
            r#"{"i":-7,"f":100000.0,"b":true,"d":"-1.500","y":"2020-02-29","z":"2020-01-01T00:00:00.000Z","l":"2020-07-01T10:00:00Z","n":"2020-07-01T12:00:00.250000"}"#
        ]
    );
}

#[test]
fn options_say_what_null_is_and_what_floats_may_be_and_whether_blanks_count() {
    let schema = schema("a: float64, b: text");
    let options = DecodeOptions {
        null_literals: vec!["NULL".to_owned(), "-".to_owned()],
        floats: Floats::Any,
        blanks: Blanks::Trim,
        ..DecodeOptions::default()
    };
    let taken = decode_with(&csv(), &schema, &options, b"a,b\nNULL,\n 1.5 ,\" - \"\ninf,-\n, x \n");
    assert_eq!(taken.rows(), 3);
    assert_eq!(taken.rejected.len(), 1, "an empty float is none when the empty field is not null");
    let batch = taken.batch(&schema);
    use arrow_array::cast::AsArray;
    let text: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(text, [Some(""), Some(" - "), None]);
    let strict = decode(&csv(), &schema, b"a,b\ninf,x\n1.5 ,x\n");
    assert_eq!(strict.rejected.len(), 2);
}

#[test]
fn without_a_header_fields_are_the_schemas_columns() {
    let schema = schema("a: int64, b: text");
    let format = Format::Csv(Csv { delimiter: b'\t', quote: b'\'', header: false });
    let taken = decode(&format, &schema, b"1\t'x\ty'\n2\n");
    assert_eq!(
        taken.shown(&schema),
        (vec!["{\"a\":1,\"b\":\"x\\ty\"}".to_owned()], vec!["2: 1 fields instead of 2".to_owned()])
    );
}

#[test]
fn headers_that_cannot_be_used_are_errors() {
    let error = |columns: &str, text: &[u8]| decode(&csv(), &schema(columns), text).error;
    assert!(
        matches!(error("a: int64", b"a,b,a\n1,2,3\n"), Some(DecodeError::Header(what)) if what.contains("`a` twice"))
    );
    assert!(
        matches!(error("a: int64 not null", b"b\n1\n"), Some(DecodeError::Header(what)) if what.contains("lacks `a`"))
    );
    assert!(matches!(error("a: int64", b"\"a\"b\n1\n"), Some(DecodeError::Header(_))));
    // Every record would be null, or no record at all.
    assert!(
        matches!(error("a: int64, b: text", b"a;b\n1;2\n"), Some(DecodeError::Header(what)) if what.contains("none"))
    );
    assert!(matches!(error("a: int64", b"a\r1\r2\r"), Some(DecodeError::Header(what)) if what.contains("CR alone")));
    assert!(matches!(error("a: list(int64)", b"a\n1\n"), Some(DecodeError::Usage(_))));
    let format = Format::Csv(Csv { delimiter: b'"', ..Csv::default() });
    assert!(matches!(decode(&format, &schema("a: int64"), b"").error, Some(DecodeError::Usage(_))));
}

#[test]
fn an_object_without_rows_is_none() {
    assert_eq!(table("a: int64", ""), (vec![], vec![]));
    assert_eq!(table("a: int64", "a\n"), (vec![], vec![]));
}

#[test]
fn null_in_the_only_column_is_not_written_as_a_blank_line() {
    let columns = schema("a: int64");
    let batch = decode(&Format::JsonLines, &columns, b"{\"a\":1}\n{}\n").batch(&columns);
    let mut encoder = Encoder::new(&csv(), &columns, Compression::NONE, &EncodeOptions::default(), Vec::new()).unwrap();
    let error = encoder.write(&batch).unwrap_err();
    assert!(matches!(&error, EncodeError::Value { column, row: 2, .. } if column == "a"), "{error}");
}

/// Fields joined the way that RFC 4180 has it, by a writer that shares nothing with ours.
fn written(records: &[Vec<String>], end: &str) -> String {
    let field = |field: &String| {
        let is_plain = !field.is_empty() && !field.contains([',', '"', '\n', '\r']);
        if is_plain { field.clone() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
    };
    let line = |record: &Vec<String>| record.iter().map(field).collect::<Vec<_>>().join(",") + end;
    records.iter().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn fields_of_any_text_come_back(
        records in prop::collection::vec(prop::collection::vec("[a,\"\n\r é1]{0,6}", 3), 0..20),
        end in prop::sample::select(vec!["\n", "\r\n"]),
        size in 1usize..30,
    ) {
        let text = written(&records, end);
        let schema = schema("a: text, b: text, c: text");
        let format = Format::Csv(Csv { header: false, ..Csv::default() });
        let taken = decode_from(&format, &schema, &DecodeOptions::default(), Source::stream(Pieces::new(text.as_bytes(), size)));
        prop_assert!(taken.error.is_none() && taken.rejected.is_empty());
        let batch = taken.batch(&schema);
        use arrow_array::cast::AsArray;
        for (row, record) in records.iter().enumerate() {
            for (column, field) in record.iter().enumerate() {
                prop_assert_eq!(batch.column(column).as_string::<i32>().value(row), field);
            }
        }
        prop_assert_eq!(batch.num_rows(), records.len());
    }

    #[test]
    fn any_text_ends_in_rows_and_rejected_records(text in "[a1,\"\n\r]{0,80}", size in 1usize..30) {
        let schema = schema("a: text, b: int64");
        let format = Format::Csv(Csv { header: false, ..Csv::default() });
        let whole = decode(&format, &schema, text.as_bytes());
        let pieces = decode_from(&format, &schema, &DecodeOptions::default(), Source::stream(Pieces::new(text.as_bytes(), size)));
        prop_assert!(whole.error.is_none());
        prop_assert_eq!(&whole.rejected, &pieces.rejected);
        prop_assert_eq!(whole.positions, pieces.positions);
        prop_assert_eq!(&whole.batches, &pieces.batches);
        // Without quotes every line that is not blank is one or the other.
        if !text.contains('"') {
            let records = text.split('\n').filter(|line| !line.is_empty() && *line != "\r").count();
            // A last lone carriage return ends no line.
            let lone = usize::from(text.ends_with('\r') && text.rsplit('\n').next() == Some("\r"));
            prop_assert_eq!(pieces.batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>() + pieces.rejected.len(), records + lone);
        }
    }
}
