//! Measures the decoders and their floors on one core, in MB of text per second of this thread's processor time.
//!
//! `cargo run --release -p baler-format --example decode_speed -- [MB] [repeats] [word…]`: the best of the repeats is
//! shown; with words, only the measurements whose names contain one of them. With `BALER_BENCH_DIR` set, the generated
//! texts are left there as `rows.jsonl` and `rows.csv`, so that other readers can be timed on the same bytes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool that people watch")]

mod rows;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use rustix::time::{ClockId, clock_gettime};

use self::rows::{baler_csv, baler_json, csv_rows, csv_schema, json_rows, json_schema};

const MB: f64 = 1e6;
const BATCH: usize = 8192;

fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

struct Bench {
    repeats: usize,
    words: Vec<String>,
}

impl Bench {
    /// Runs `work` as often as asked for; what it returns is shown beside the best time.
    fn run(&self, name: &str, bytes: usize, mut work: impl FnMut() -> String) {
        if !self.words.is_empty() && !self.words.iter().any(|word| name.contains(word.as_str())) {
            return;
        }
        let mut best = f64::MAX;
        let mut told = String::new();
        for _ in 0..self.repeats {
            let start = thread_seconds();
            told = work();
            best = best.min(thread_seconds() - start);
        }
        println!("{name:<34} {:>8.0} MB/s   {told}", bytes as f64 / MB / best);
    }
}

fn arrow_json(text: &[u8], schema: &SchemaRef) -> Vec<RecordBatch> {
    let reader = arrow_json::ReaderBuilder::new(schema.clone()).with_batch_size(BATCH).build(text).unwrap();
    reader.map(Result::unwrap).collect()
}

fn arrow_csv(text: &[u8], schema: &SchemaRef) -> Vec<RecordBatch> {
    let reader =
        arrow_csv::ReaderBuilder::new(schema.clone()).with_header(true).with_batch_size(BATCH).build_buffered(text);
    reader.unwrap().map(Result::unwrap).collect()
}

fn rows(batches: &[RecordBatch]) -> String {
    format!("{} rows", batches.iter().map(RecordBatch::num_rows).sum::<usize>())
}

fn parquet_bytes(batches: &[RecordBatch], properties: WriterProperties) -> usize {
    let mut sink = Vec::with_capacity(64 << 20);
    let mut writer = ArrowWriter::try_new(&mut sink, batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    sink.len()
}

type Tune = fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder;

fn parquet_floors(bench: &Bench, what: &str, text: usize, batches: &[RecordBatch]) {
    let zstd = |level| Compression::ZSTD(ZstdLevel::try_new(level).unwrap());
    let tunes: [(&str, Tune); 6] = [
        ("default", |p| p),
        ("no-dict", |p| p.set_dictionary_enabled(false)),
        ("no-stats", |p| p.set_statistics_enabled(EnabledStatistics::None)),
        ("chunk-stats", |p| p.set_statistics_enabled(EnabledStatistics::Chunk)),
        ("delta", |p| p.set_dictionary_enabled(false).set_encoding(Encoding::DELTA_BINARY_PACKED)),
        ("batch-8192", |p| p.set_write_batch_size(8192).set_dictionary_page_size_limit(1 << 20)),
    ];
    for (codec, compression) in
        [("plain", Compression::UNCOMPRESSED), ("snappy", Compression::SNAPPY), ("zstd1", zstd(1)), ("zstd3", zstd(3))]
    {
        for (tuned, tune) in tunes {
            if tuned == "delta" {
                continue;
            }
            bench.run(&format!("parquet-{what}-{codec}-{tuned}"), text, || {
                let properties = tune(WriterProperties::builder().set_compression(compression)).build();
                format!("{:.1} MB of Parquet", parquet_bytes(batches, properties) as f64 / MB)
            });
        }
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let megabytes: usize = words.next().map_or(100, |word| word.parse().unwrap());
    let repeats = words.next().map_or(3, |word| word.parse().unwrap());
    let bench = Bench { repeats, words: words.collect() };
    let json: &'static [u8] = json_rows(megabytes * 1_000_000).leak();
    let csv: &'static [u8] = csv_rows(megabytes * 1_000_000).leak();
    if let Some(dir) = std::env::var_os("BALER_BENCH_DIR") {
        let dir = std::path::PathBuf::from(dir);
        std::fs::write(dir.join("rows.jsonl"), json).unwrap();
        std::fs::write(dir.join("rows.csv"), csv).unwrap();
    }
    let (json_schema, csv_schema) = (json_schema(), csv_schema());

    for (what, text) in [("json", json), ("csv", csv)] {
        bench.run(&format!("newlines-{what}"), text.len(), || {
            format!("{} lines", memchr::memchr_iter(b'\n', text).count())
        });
        bench.run(&format!("utf8-{what}"), text.len(), || format!("{}", simdutf8::basic::from_utf8(text).is_ok()));
        if bench.words.is_empty() || bench.words.iter().any(|word| word.contains("gunzip")) {
            let mut packed = vec![0; text.len()];
            let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(6).unwrap());
            let length = compressor.gzip_compress(text, &mut packed).unwrap();
            let mut unpacked = vec![0; text.len()];
            bench.run(&format!("gunzip-{what}"), text.len(), || {
                let size = libdeflater::Decompressor::new().gzip_decompress(&packed[..length], &mut unpacked).unwrap();
                format!("{:.1} MB of gzip, {size} bytes", length as f64 / MB)
            });
        }
    }
    bench.run("baler-json", json.len(), || format!("{} rows", baler_json(json, &json_schema)));
    bench.run("baler-csv", csv.len(), || format!("{} rows", baler_csv(csv, &csv_schema)));
    bench.run("arrow-json", json.len(), || rows(&arrow_json(json, &json_schema)));
    bench.run("arrow-csv", csv.len(), || rows(&arrow_csv(csv, &csv_schema)));
    if bench.words.is_empty() || bench.words.iter().any(|word| word.contains("parquet")) {
        parquet_floors(&bench, "json", json.len(), &arrow_json(json, &json_schema));
        parquet_floors(&bench, "csv", csv.len(), &arrow_csv(csv, &csv_schema));
    }
}
