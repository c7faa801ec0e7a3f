//! Parquet and Arrow: columns of other types, drift, sources, row groups.

use std::io;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, Date64Array, DictionaryArray, Float32Array, Int8Array, Int32Array, LargeStringArray,
    RecordBatch, StringViewArray, StructArray, TimestampSecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field};
use baler_format::codec::{Codec, Compression};
use baler_format::decode::{DecodeError, DecodeOptions, Position, Ranges, Source};
use baler_format::encode::{EncodeError, EncodeOptions, Encoder};
use baler_format::{Format, Ipc};
use bytes::Bytes;

use super::samples::{Random, batch, decode, decode_from, encode, encode_with, schema};

/// An Arrow stream of columns of any type.
fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

const ARROW: Format = Format::Arrow(Ipc::Stream);

#[test]
fn narrower_types_are_taken_into_the_schemas() {
    let dictionary: DictionaryArray<arrow_array::types::Int8Type> = vec![Some("x"), None].into_iter().collect();
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("n", DataType::Int8, true)),
        Arc::new(Int8Array::from(vec![Some(1), None])) as ArrayRef,
    )]);
    let bytes = stream(vec![
        ("i", Arc::new(Int8Array::from(vec![Some(-1), None]))),
        ("u", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("f", Arc::new(Float32Array::from(vec![Some(1.5), None]))),
        ("b", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"bytes"), None]))),
        ("v", Arc::new(StringViewArray::from(vec![Some("view"), None]))),
        ("l", Arc::new(LargeStringArray::from(vec![Some("large"), None]))),
        ("d", Arc::new(dictionary)),
        ("y", Arc::new(Date64Array::from(vec![Some(86_400_000), None]))),
        ("t", Arc::new(TimestampSecondArray::from(vec![Some(1), None]))),
        ("s", Arc::new(nested)),
    ]);
    let columns = schema(
        "s: struct(m: text, n: int64), t: timestamp(ns), y: date, d: text, l: text, v: text, b: text, f: float64, \
         u: decimal(20,0), i: int64, new: bool",
    );
    let taken = decode(&ARROW, &columns, &bytes);
    assert!(taken.error.is_none(), "{:?}", taken.error);
    assert_eq!(
        taken.shown(&columns).0,
        [
            r#"{"s":{"n":1},"t":"1970-01-01T00:00:01.000000000","y":"1970-01-02","d":"x","l":"large","v":"view","b":"bytes","f":1.5,"u":"18446744073709551615","i":-1}"#,
            r#"{"s":{}}"#
        ]
    );
}

#[test]
fn a_row_that_does_not_fit_is_rejected_alone() {
    let bytes = stream(vec![
        ("b", Arc::new(BinaryArray::from_vec(vec![b"good", b"\xff", b"good too", b"x"]))),
        ("t", Arc::new(TimestampSecondArray::from(vec![1, 2, i64::MAX / 2, 4]))),
        ("i", Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(3), None]))),
    ]);
    let columns = schema("b: text, t: timestamp(ms), i: int64 not null");
    let taken = decode(&ARROW, &columns, &bytes);
    assert!(taken.error.is_none(), "{:?}", taken.error);
    assert_eq!(taken.rows(), 1);
    assert_eq!(taken.positions, [Position::Row(1)]);
    let rejected = taken.shown(&columns).1;
    assert_eq!(rejected.len(), 3);
    assert!(rejected[0].starts_with("2: column `b`"), "{rejected:?}");
    assert!(rejected[1].starts_with("3: column `t`"), "{rejected:?}");
    assert_eq!(rejected[2], "4: column `i`: it is null and may not be");
}

#[test]
fn columns_of_another_type_are_errors_that_name_them() {
    let text = || Arc::new(LargeStringArray::from(vec!["x"]));
    let bytes = stream(vec![("a", text()), ("z", text())]);
    let error = |columns: &str| decode(&ARROW, &schema(columns), &bytes).error.unwrap();
    assert_eq!(error("a: int64").to_string(), "column `a` is int64, the object has text");
    assert!(matches!(error("a: text, b: int64 not null"), DecodeError::Header(what) if what.contains("lacks `b`")));
    // Its rows would be nulls alone.
    assert!(matches!(error("b: text, c: int64"), DecodeError::Header(what) if what.contains("none of the columns")));
    assert_eq!(decode(&ARROW, &schema("a: text"), &bytes).unknown, ["z"]);
}

#[test]
fn parquet_needs_ranges_and_reads_only_the_columns_it_needs() {
    struct Counting(Bytes, std::sync::atomic::AtomicUsize);
    impl Ranges for Counting {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
            self.1.fetch_add(length, std::sync::atomic::Ordering::Relaxed);
            Ranges::read(&self.0, start, length)
        }
    }
    let columns = schema("a: int64, b: text, c: list(struct(x: text, y: decimal(30,3)))");
    let rows = batch(&columns, 5_000, &mut Random(7));
    let bytes = encode(&Format::Parquet, &columns, Compression::NONE, std::slice::from_ref(&rows));
    let one = schema("c: list(struct(y: decimal(30,3)))");
    let missing = decode_from(&Format::Parquet, &one, &DecodeOptions::default(), Source::bytes(bytes.clone()));
    assert!(matches!(missing.error, Some(DecodeError::Column { .. })), "a struct that has more members drifted");
    let one = schema("new: bool, a: int64");
    let counting = Arc::new(Counting(bytes.clone().into(), Default::default()));
    let source = Source::Ranges(Arc::clone(&counting) as Arc<dyn Ranges>);
    let taken = decode_from(&Format::Parquet, &one, &DecodeOptions::default(), source);
    assert_eq!(taken.rows(), 5_000);
    assert_eq!(taken.batch(&one).column(1), rows.column(0));
    assert_eq!(taken.unknown, ["b", "c"]);
    assert!(counting.1.load(std::sync::atomic::Ordering::Relaxed) < bytes.len() / 2);
    let stream = decode_from(&Format::Parquet, &one, &DecodeOptions::default(), Source::stream(io::Cursor::new(bytes)));
    assert!(matches!(stream.error, Some(DecodeError::Usage(_))));
}

#[test]
fn a_source_that_fails_is_not_taken_for_damage() {
    struct Failing(Bytes);
    impl Ranges for Failing {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
            if start > 4 && start < 1_000 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "slow"));
            }
            Ranges::read(&self.0, start, length)
        }
    }
    let columns = schema("a: int64, b: text");
    let bytes = encode(&Format::Parquet, &columns, Compression::NONE, &[batch(&columns, 3_000, &mut Random(3))]);
    let source = Source::Ranges(Arc::new(Failing(bytes.into())));
    let taken = decode_from(&Format::Parquet, &columns, &DecodeOptions::default(), source);
    assert!(
        matches!(&taken.error, Some(DecodeError::Read(error)) if error.kind() == io::ErrorKind::TimedOut),
        "{:?}",
        taken.error
    );
}

#[test]
fn row_groups_close_at_rows_and_at_bytes() {
    let columns = schema("a: int64, b: text");
    let mut random = Random(5);
    let batches: Vec<_> = (0..20).map(|_| batch(&columns, 1_000, &mut random)).collect();
    let groups = |options: EncodeOptions| {
        let bytes = encode_with(&Format::Parquet, &columns, Compression::NONE, &options, &batches);
        let reader = parquet::file::reader::SerializedFileReader::new(Bytes::from(bytes)).unwrap();
        let metadata = parquet::file::reader::FileReader::metadata(&reader);
        metadata.row_groups().iter().map(|group| (group.num_rows(), group.total_byte_size())).collect::<Vec<_>>()
    };
    let by_rows = groups(EncodeOptions { group_rows: 3_000, ..EncodeOptions::default() });
    assert_eq!(
        by_rows.iter().map(|(rows, _)| *rows).collect::<Vec<_>>(),
        [3_000, 3_000, 3_000, 3_000, 3_000, 3_000, 2_000]
    );
    let by_bytes = groups(EncodeOptions { group_bytes: 64 << 10, ..EncodeOptions::default() });
    assert!(by_bytes.len() > 3, "{by_bytes:?}");
    assert!(by_bytes.iter().all(|(_, bytes)| *bytes < 192 << 10), "{by_bytes:?}");
    assert_eq!(by_bytes.iter().map(|(rows, _)| rows).sum::<i64>(), 20_000);
}

#[test]
fn parquet_has_no_bzip2_and_no_seconds_and_csv_no_lists() {
    let columns = schema("a: list(int64)");
    let bzip2 = Compression::try_new(Codec::Bzip2, None).unwrap();
    let refused = |format: &Format, compression| {
        Encoder::new(format, &columns, compression, &EncodeOptions::default(), Vec::new())
            .err()
            .map(|error| error.to_string())
    };
    assert!(refused(&Format::Parquet, bzip2).unwrap().contains("no bzip2"));
    assert_eq!(
        refused(&super::samples::csv(), Compression::NONE).unwrap(),
        "column `a` is list(int64), which CSV cannot hold"
    );
    assert_eq!(refused(&Format::JsonLines, bzip2), None);
    let seconds = schema("a: list(timestamp(s, UTC))");
    let error =
        Encoder::new(&Format::Parquet, &seconds, Compression::NONE, &EncodeOptions::default(), Vec::new()).err();
    assert!(error.unwrap().to_string().contains("no times in seconds"));
}

#[test]
fn values_that_json_does_not_have_are_errors_that_name_them() {
    let columns = schema("a: int64, f: list(float64)");
    let mut encoder =
        Encoder::new(&Format::JsonLines, &columns, Compression::NONE, &EncodeOptions::default(), Vec::new()).unwrap();
    let item = Arc::new(Field::new_list_field(DataType::Float64, true));
    let list = arrow_array::ListArray::new(
        item,
        arrow_buffer::OffsetBuffer::from_lengths([1, 2]),
        Arc::new(arrow_array::Float64Array::from(vec![1.0, 2.0, f64::NAN])),
        None,
    );
    let rows = RecordBatch::try_new(
        columns.to_arrow(),
        vec![Arc::new(arrow_array::Int64Array::from(vec![1, 2])), Arc::new(list)],
    );
    let error = encoder.write(&rows.unwrap()).unwrap_err();
    assert!(
        matches!(&error, EncodeError::Value { column, row: 2, what } if column == "f" && what.contains("NaN")),
        "{error}"
    );
}

#[test]
fn an_encoder_that_is_dropped_leaves_an_object_that_is_refused() {
    let columns = schema("a: int64, b: text");
    let rows = batch(&columns, 3_000, &mut Random(9));
    for format in [Format::Parquet, ARROW, Format::Arrow(Ipc::File), Format::Json { records: vec![] }] {
        let mut bytes = Vec::new();
        let mut encoder =
            Encoder::new(&format, &columns, Compression::NONE, &EncodeOptions::default(), &mut bytes).unwrap();
        encoder.write(&rows).unwrap();
        drop(encoder);
        assert!(decode(&format, &columns, &bytes).error.is_some(), "{format:?}");
    }
}

#[test]
fn dictionaries_of_an_arrow_file_are_read() {
    let dictionary: DictionaryArray<arrow_array::types::Int32Type> = vec!["x", "y", "x"].into_iter().collect();
    let field = Field::new("d", dictionary.data_type().clone(), true);
    let rows =
        RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(vec![field])), vec![Arc::new(dictionary)]).unwrap();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap();
    let columns = schema("d: text");
    let taken = decode(&ARROW, &columns, &bytes);
    assert!(taken.error.is_none(), "{:?}", taken.error);
    assert_eq!(taken.rows(), 6);
}
