//! Against readers and writers that others wrote: pyarrow, cramjam (framed snappy) and Python's standard library.
//!
//! `BALER_TEST_PYARROW` names a Python that has them. Unset, the test says that it was skipped; in CI it fails.

use std::path::Path;
use std::process::Command;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use baler_format::codec::{Codec, Compression};
use baler_format::encode::goes_with;
use baler_format::{Format, Ipc};
use serde_json::{Value, json};

use super::samples::{Random, batch, csv, decode_compressed, encode, schema};

/// Runs the Python script; nothing when no Python is named.
fn python(verb: &str, directory: &Path) -> Option<()> {
    let Some(program) = std::env::var_os("BALER_TEST_PYARROW") else {
        assert!(std::env::var_os("CI").is_none(), "set `BALER_TEST_PYARROW` to a Python that has pyarrow and cramjam");
        eprintln!("skipped: `BALER_TEST_PYARROW` does not name a Python that has pyarrow and cramjam");
        return None;
    };
    let output = Command::new(program).arg("tests/it/foreign.py").arg(verb).arg(directory).output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    eprintln!("{}", said.trim());
    Some(())
}

/// A value in the plain form of the script.
fn plain(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Float64 => json!(format!("{:016x}", array.as_primitive::<Float64Type>().value(row).to_bits())),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Decimal128(_, _) => json!(array.as_primitive::<Decimal128Type>().value(row).to_string()),
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value(row).to_string()),
        DataType::Timestamp(unit, _) => {
            let value = match unit {
                TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
                TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
                TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
            };
            json!(value.to_string())
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|item| plain(&items, item)).collect()
        }
        DataType::Struct(fields) => {
            let members = array.as_struct();
            fields
                .iter()
                .zip(members.columns())
                .map(|(field, column)| (field.name().clone(), plain(column, row)))
                .collect()
        }
        other => panic!("{other} is no type of ours"),
    }
}

fn rows(batch: &RecordBatch) -> Vec<Value> {
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| plain(column, row)).collect()).collect()
}

#[test]
fn others_read_what_is_written_in_every_format_with_every_codec() {
    let directory = tempfile::tempdir().unwrap();
    let scalars = "i: int64, f: float64, b: bool, t: text, k: int64 not null, d: decimal(30,7), y: date, s: timestamp(s), \
                   ms: timestamp(ms, UTC), us: timestamp(us), ns: timestamp(ns, UTC)";
    let nested = format!("{scalars}, l: list(text), o: struct(x: int64, y: list(float64)), lo: list(struct(z: bool))");
    let formats = [
        ("jsonl", Format::JsonLines, nested.as_str()),
        ("json", Format::Json { records: Vec::new() }, nested.as_str()),
        ("csv", csv(), scalars),
        ("parquet", Format::Parquet, nested.as_str()),
        ("arrow-stream", Format::Arrow(Ipc::Stream), nested.as_str()),
        ("arrow-file", Format::Arrow(Ipc::File), nested.as_str()),
    ];
    let mut manifest = Vec::new();
    for (name, format, columns) in &formats {
        let columns = match format {
            // Parquet has no seconds.
            Format::Parquet => schema(&columns.replace("timestamp(s)", "timestamp(ms)")),
            _ => schema(columns),
        };
        let batches = [batch(&columns, 200, &mut Random(31)), batch(&columns, 9, &mut Random(33))];
        let schema_file = format!("{name}.schema");
        let empty = encode(&Format::Arrow(Ipc::Stream), &columns, Compression::NONE, &[]);
        std::fs::write(directory.path().join(&schema_file), empty).unwrap();
        for codec in Codec::ALL.into_iter().filter(|codec| goes_with(format, *codec)) {
            let path = format!("{name}.{codec}");
            let bytes = encode(format, &columns, Compression::try_new(codec, None).unwrap(), &batches);
            std::fs::write(directory.path().join(&path), bytes).unwrap();
            let all: Vec<Value> = batches.iter().flat_map(rows).collect();
            manifest
                .push(json!({"path": path, "format": name, "codec": codec.name(), "schema": schema_file, "rows": all}));
        }
    }
    assert_eq!(manifest.len(), 6 * 7 - 1, "every pair but Parquet with bzip2");
    std::fs::write(directory.path().join("written.json"), Value::from(manifest).to_string()).unwrap();
    let _ = python("read", directory.path());
}

#[test]
fn what_others_write_is_read_with_the_same_values() {
    let directory = tempfile::tempdir().unwrap();
    if python("write", directory.path()).is_none() {
        return;
    }
    let offered = std::fs::read(directory.path().join("offered.json")).unwrap();
    let offered: Vec<Value> = serde_json::from_slice(&offered).unwrap();
    assert!(offered.len() > 70 + 28, "{}", offered.len());
    for entry in offered {
        let text = |key: &str| entry[key].as_str().unwrap();
        let format = match text("format") {
            "jsonl" => Format::JsonLines,
            "json" => {
                let path = entry["records"].as_array().unwrap();
                Format::Json { records: path.iter().map(|key| key.as_str().unwrap().to_owned()).collect() }
            }
            "csv" => csv(),
            "parquet" => Format::Parquet,
            "arrow-stream" => Format::Arrow(Ipc::Stream),
            "arrow-file" => Format::Arrow(Ipc::File),
            other => panic!("{other}"),
        };
        let columns = schema(text("schema"));
        let bytes = std::fs::read(directory.path().join(text("path"))).unwrap();
        let taken = decode_compressed(&format, Codec::from_name(text("codec")).unwrap(), &columns, &bytes);
        assert!(taken.error.is_none(), "{}: {:?}", text("path"), taken.error);
        assert_eq!(taken.rejected, [], "{}", text("path"));
        assert_eq!(taken.unknown, [""; 0], "{}", text("path"));
        let found: Vec<Value> = rows(&taken.batch(&columns));
        assert_eq!(&found, entry["rows"].as_array().unwrap(), "{}", text("path"));
    }
}
