//! Columns of Parquet that are encoded here, read by the library's reader and held against what its writer writes.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use baler_format::Format;
use baler_format::codec::{Codec, Compression};
use baler_format::encode::{EncodeOptions, Encoder};
use baler_format::schema::Schema;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;

use super::samples::{Random, batch, encode_with, schema};

fn metadata(bytes: &Bytes) -> ParquetMetaData {
    SerializedFileReader::new(bytes.clone()).unwrap().metadata().clone()
}

fn read(bytes: &Bytes, schema: &Schema) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    arrow_select::concat::concat_batches(&schema.to_arrow(), &batches).unwrap()
}

/// Encodes batches, reads them back, and compares the statistics with those of the library's writer.
fn check(schema: &Schema, compression: Compression, batches: &[RecordBatch]) -> ParquetMetaData {
    let bytes = Bytes::from(encode_with(&Format::Parquet, schema, compression, &EncodeOptions::default(), batches));
    let whole = arrow_select::concat::concat_batches(&schema.to_arrow(), batches).unwrap();
    assert_eq!(read(&bytes, schema), whole);

    let mut other = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut other, schema.to_arrow(), None).unwrap();
    writer.write(&whole).unwrap();
    writer.close().unwrap();
    let (ours, theirs) = (metadata(&bytes), metadata(&other.into()));
    for (ours, theirs) in ours.row_group(0).columns().iter().zip(theirs.row_group(0).columns()) {
        let (a, b) = (ours.statistics().unwrap(), theirs.statistics().unwrap());
        let name = ours.column_path();
        assert_eq!(a.null_count_opt(), b.null_count_opt(), "{name}");
        if let (Some(least), Some(greatest)) = (a.min_bytes_opt(), a.max_bytes_opt()) {
            assert_eq!((Some(least), Some(greatest)), (b.min_bytes_opt(), b.max_bytes_opt()), "{name}");
        }
    }
    ours
}

fn column(schema: &str, array: ArrayRef) -> (Schema, RecordBatch) {
    let schema: Schema = schema.parse().unwrap();
    let batch = RecordBatch::try_new(schema.to_arrow(), vec![array]).unwrap();
    (schema, batch)
}

/// Cuts a batch into those that a decoder would give.
fn cut(batch: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    (0..batch.num_rows()).step_by(rows).map(|at| batch.slice(at, rows.min(batch.num_rows() - at))).collect()
}

fn snappy() -> Compression {
    Compression::try_new(Codec::Snappy, None).unwrap()
}

/// The size of the dictionary and of the rest of a column.
fn sizes(metadata: &ParquetMetaData) -> (i64, i64) {
    let column = metadata.row_group(0).column(0);
    let dictionary = column.dictionary_page_offset().map_or(0, |at| column.data_page_offset() - at);
    (dictionary, column.compressed_size() - dictionary)
}

#[test]
fn few_values_are_numbered_and_many_are_not() {
    let rows = 300_000_i64;
    let few = Int64Array::from_iter((0..rows).map(|n| (n % 7 != 0).then_some(n * 7919 % 1_000)));
    let (schema, batch) = column("a: int64", Arc::new(few));
    let (dictionary, rest) = sizes(&check(&schema, Compression::NONE, &cut(&batch, 8_192)));
    assert!((8_000..8_100).contains(&dictionary), "{dictionary}");
    assert!(rest < rows * 12 / 8 + 60_000, "{rest}");

    let many = Int64Array::from_iter_values((0..rows).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)));
    let (schema, batch) = column("a: int64 not null", Arc::new(many));
    assert_eq!(sizes(&check(&schema, Compression::NONE, &cut(&batch, 8_192))).0, 0);

    // Few at first: pages of numbers, then pages of values.
    let later = (0..rows).map(|n| if n < 150_000 { format!("city {}", n % 5_000) } else { format!("customer {n}") });
    let (schema, batch) = column("a: text", Arc::new(StringArray::from_iter_values(later)));
    let (dictionary, rest) = sizes(&check(&schema, snappy(), &cut(&batch, 8_192)));
    assert!(dictionary > 20_000 && rest > 400_000, "{dictionary} {rest}");
}

#[test]
fn one_large_batch_is_cut_into_pages() {
    let array = StringArray::from_iter((0..500_000).map(|n| (n % 3 > 0).then(|| format!("{:040}", n % 100_003))));
    let (schema, batch) = column("a: text", Arc::new(array));
    check(&schema, snappy(), &[batch]);
}

#[test]
fn odd_columns_come_back() {
    let nulls = Int64Array::from(vec![None; 5_000]);
    let (schema, batch) = column("a: int64", Arc::new(nulls));
    check(&schema, snappy(), &cut(&batch, 1_000));
    let late = StringArray::from_iter((0..200_000).map(|n| (n > 199_990).then_some("here")));
    let (schema, batch) = column("a: text", Arc::new(late));
    check(&schema, snappy(), &cut(&batch, 8_192));
    let zeros = Float64Array::from(vec![Some(0.0), None, Some(-0.0), Some(f64::NAN), Some(f64::INFINITY), Some(-1.5)]);
    let (schema, batch) = column("a: float64", Arc::new(zeros));
    check(&schema, Compression::NONE, &[batch]);
    let nan = Float64Array::from(vec![f64::NAN; 3]);
    let (schema, batch) = column("a: float64", Arc::new(nan));
    check(&schema, Compression::NONE, &[batch]);
    let long = StringArray::from_iter_values((0..40).map(|n| "ü".repeat(n * 3)));
    let (schema, batch) = column("a: text", Arc::new(long));
    check(&schema, Compression::NONE, &[batch]);
    let bools = BooleanArray::from_iter((0..300_000).map(|n| (n % 5 > 0).then_some(n % 3 == 0)));
    let (schema, batch) = column("a: bool", Arc::new(bools));
    check(&schema, snappy(), &cut(&batch, 777));
    let dates = Date32Array::from_iter((0..100_000).map(|n| Some(n - 50_000)));
    let (schema, batch) = column("a: date", Arc::new(dates));
    check(&schema, snappy(), &cut(&batch, 8_192));
    let times = TimestampMillisecondArray::from_iter_values((0..90_000).map(|n| n * 1_000)).with_timezone("UTC");
    let (schema, batch) = column("a: timestamp(ms, UTC)", Arc::new(times));
    check(&schema, snappy(), &cut(&batch, 8_192));
    for (precision, scale) in [(5, 2), (9, 0), (12, 3), (18, 18), (19, 2), (30, 5), (38, 0)] {
        let most = 10_i128.pow(u32::from(precision)) - 1;
        let values = (0..3_000).map(|n| (n % 10 > 0).then_some(if n % 2 == 0 { most - n } else { n - most }));
        let array = Decimal128Array::from_iter(values).with_precision_and_scale(precision, scale).unwrap();
        let (schema, batch) = column(&format!("a: decimal({precision},{scale})"), Arc::new(array));
        check(&schema, snappy(), &cut(&batch, 1_000));
    }
}

#[test]
fn every_compression_comes_back() {
    let columns = schema("a: int64, b: text, c: float64 not null, d: bool, e: decimal(30,4)");
    let mut random = Random(3);
    let batches: Vec<_> = (0..5).map(|_| batch(&columns, 2_000, &mut random)).collect();
    for codec in [Codec::None, Codec::Snappy, Codec::Lz4, Codec::Zstd, Codec::Gzip, Codec::Brotli] {
        check(&columns, Compression::try_new(codec, None).unwrap(), &batches);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn bytes_do_not_depend_on_threads(seed in 1u64.., group_bytes in 50_000usize..400_000, rows in 100usize..1_500) {
        let columns = schema("a: int64, b: text, c: list(struct(x: int64, y: text)), d: float64, e: struct(z: bool)");
        let mut random = Random(seed);
        let batches: Vec<_> = (0..15).map(|_| batch(&columns, rows, &mut random)).collect();
        let encoded = |threads| {
            let options = EncodeOptions { threads, group_bytes, group_rows: 9_000, ..EncodeOptions::default() };
            let mut encoder = Encoder::new(&Format::Parquet, &columns, snappy(), &options, Vec::new()).unwrap();
            let mut sizes = Vec::new();
            for batch in &batches {
                encoder.write(batch).unwrap();
                sizes.push(encoder.size());
            }
            (encoder.finish().unwrap().0, sizes)
        };
        let alone = encoded(0);
        for threads in [1, 2, 3, 7] {
            prop_assert!(encoded(threads) == alone, "{} threads", threads);
        }
    }
}
