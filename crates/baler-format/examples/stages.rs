//! Measures the stages of a conversion apart from each other, and all of them together: the floors of what a run can take.
//!
//! `cargo run --release -p baler-format --example stages -- --format csv (--schema "a: int64, b: text" | --infer)
//! [--to parquet:snappy] [--threads N] [--repeats N] FILES…`
//!
//! Files are read into memory first. Each stage works on all files, on one thread; `together` goes from the compressed
//! bytes to the encoded ones, and `overlapped` does so with decompression on a thread of its own and N threads that encode.
//! On stdout: JSON, with the best of the repeats; MB are 10⁶ bytes of decompressed text.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool that people watch")]

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use arrow_array::RecordBatch;
use baler_format::codec::{Codec, Compression, reader};
use baler_format::decode::{DecodeOptions, Decoder, Source};
use baler_format::encode::{EncodeOptions, Encoder};
use baler_format::schema::{Inference, Schema};
use baler_format::{Csv, Format, Ipc};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

/// Objects are decompressed at once up to so many bytes.
const AT_ONCE: usize = 64 << 20;

#[derive(Debug)]
struct Arguments {
    from: Format,
    schema: Option<Schema>,
    to: Format,
    compression: Compression,
    threads: usize,
    repeats: usize,
    files: Vec<String>,
}

fn format(name: &str) -> Format {
    match name {
        "jsonl" => Format::JsonLines,
        "json" => Format::Json { records: Vec::new() },
        "csv" => Format::Csv(Csv::default()),
        "parquet" => Format::Parquet,
        "arrow" => Format::Arrow(Ipc::Stream),
        other => panic!("`{other}` is no format: jsonl json csv parquet arrow"),
    }
}

fn arguments() -> Arguments {
    let mut found = Arguments {
        from: Format::Csv(Csv::default()),
        schema: None,
        to: Format::Parquet,
        compression: Compression::try_new(Codec::Snappy, None).unwrap(),
        threads: 2,
        repeats: 3,
        files: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("`{word}` wants a value"));
        match word.as_str() {
            "--format" => found.from = format(&value()),
            "--schema" => found.schema = Some(value().parse().unwrap()),
            "--infer" => found.schema = None,
            "--threads" => found.threads = value().parse().unwrap(),
            "--repeats" => found.repeats = value().parse().unwrap(),
            "--to" => {
                let value = value();
                let (name, codec) = value.split_once(':').unwrap_or((&value, "none"));
                let (codec, level) = codec.split_once('=').map_or((codec, None), |(c, level)| (c, level.parse().ok()));
                found.to = format(name);
                found.compression = Compression::try_new(Codec::from_name(codec).unwrap(), level).unwrap();
            }
            _ => found.files.push(word),
        }
    }
    assert!(!found.files.is_empty(), "name some files");
    found
}

/// Seconds by the wall, and of this process on all processors.
fn now() -> (Instant, f64) {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    (Instant::now(), time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

struct Stage {
    wall: f64,
    processor: f64,
}

/// Runs `work` as often as asked; returns the best times and what the last run gave.
fn best<T>(repeats: usize, mut work: impl FnMut() -> T) -> (Stage, T) {
    let mut stage = Stage { wall: f64::MAX, processor: f64::MAX };
    let mut given = None;
    for _ in 0..repeats.max(1) {
        drop(given.take());
        let start = now();
        let result = work();
        let end = now();
        stage.wall = stage.wall.min((end.0 - start.0).as_secs_f64());
        stage.processor = stage.processor.min(end.1 - start.1);
        given = Some(result);
    }
    (stage, given.unwrap())
}

struct Object {
    codec: Codec,
    bytes: Bytes,
}

fn rows_of(format: &Format, schema: &Schema, source: Source, mut each: impl FnMut(RecordBatch)) -> (u64, u64) {
    let mut decoder = Decoder::new(format, schema, &DecodeOptions::default(), source).unwrap();
    let (mut rows, mut rejected) = (0, 0);
    while let Some(decoded) = decoder.next_batch().unwrap() {
        rows += decoded.batch.num_rows() as u64;
        rejected += decoded.rejected.len() as u64;
        each(decoded.batch);
    }
    (rows, rejected)
}

/// What another thread decompresses.
struct Pieces {
    pieces: Receiver<Vec<u8>>,
    held: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            self.held = self.pieces.recv().unwrap_or_default().into();
        }
        let n = self.held.len().min(into.len());
        into[..n].copy_from_slice(&self.held.split_to(n));
        Ok(n)
    }
}

fn pieces(object: &Object) -> Source {
    let (sender, pieces) = sync_channel(8);
    let mut reader = reader(object.codec, io::Cursor::new(object.bytes.clone()));
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; 256 << 10];
            let n = reader.read(&mut piece).unwrap();
            piece.truncate(n);
            if n == 0 || sender.send(piece).is_err() {
                return;
            }
        }
    });
    Source::stream(Pieces { pieces, held: Bytes::new() })
}

fn main() {
    let asked = arguments();
    let objects: Vec<Object> = asked
        .files
        .iter()
        .map(|file| {
            let bytes = std::fs::read(file).unwrap();
            let named = file.rsplit_once('.').and_then(|(_, suffix)| Codec::from_name(suffix));
            let codec = named.unwrap_or_else(|| Codec::sniff(&bytes));
            let codec = if asked.from.compresses_within() { Codec::None } else { codec };
            Object { codec, bytes: bytes.into() }
        })
        .collect();
    let options = DecodeOptions::default();
    let schema = asked.schema.clone().unwrap_or_else(|| {
        let mut inference = Inference::default();
        let sample = reader(objects[0].codec, io::Cursor::new(objects[0].bytes.clone()));
        inference.add(&asked.from, &options, sample, 10_000).unwrap();
        inference.finish().unwrap()
    });

    let (streamed, text_bytes) = best(asked.repeats, || {
        let mut buffer = vec![0; 256 << 10];
        let mut total = 0;
        for object in &objects {
            let mut reader = reader(object.codec, io::Cursor::new(object.bytes.clone()));
            loop {
                let n = reader.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                total += n as u64;
            }
        }
        total
    });
    let (at_once, _) = best(asked.repeats, || {
        objects.iter().for_each(|object| drop(Source::compressed(object.codec, object.bytes.clone(), AT_ONCE)));
    });
    let texts: Vec<Bytes> = objects
        .iter()
        .map(|object| {
            let mut text = Vec::new();
            reader(object.codec, io::Cursor::new(object.bytes.clone())).read_to_end(&mut text).unwrap();
            text.into()
        })
        .collect();
    let (decode, (rows, rejected)) = best(asked.repeats, || {
        texts.iter().fold((0, 0), |sum, text| {
            let found = rows_of(&asked.from, &schema, Source::bytes(text.clone()), drop);
            (sum.0 + found.0, sum.1 + found.1)
        })
    });
    let mut batches = Vec::new();
    for text in &texts {
        rows_of(&asked.from, &schema, Source::bytes(text.clone()), |batch| batches.push(batch));
    }
    drop(texts);
    let encoder = |threads| {
        let options = EncodeOptions { threads, ..EncodeOptions::default() };
        Encoder::new(&asked.to, &schema, asked.compression, &options, io::sink()).unwrap()
    };
    let (encode, out_bytes) = best(asked.repeats, || {
        let mut encoder = encoder(0);
        batches.iter().for_each(|batch| encoder.write(batch).unwrap());
        encoder.finish().unwrap().1.bytes
    });
    let (encode_threads, _) = best(asked.repeats, || {
        let mut encoder = encoder(asked.threads);
        batches.iter().for_each(|batch| encoder.write(batch).unwrap());
        encoder.finish().unwrap().1.bytes
    });
    drop(batches);
    let (together, _) = best(asked.repeats, || {
        let mut encoder = encoder(0);
        for object in &objects {
            let source = Source::compressed(object.codec, object.bytes.clone(), AT_ONCE);
            rows_of(&asked.from, &schema, source, |batch| encoder.write(&batch).unwrap());
        }
        encoder.finish().unwrap().1.bytes
    });
    let (overlapped, overlapped_bytes) = best(asked.repeats, || {
        let mut encoder = encoder(asked.threads);
        for object in &objects {
            rows_of(&asked.from, &schema, pieces(object), |batch| encoder.write(&batch).unwrap());
        }
        encoder.finish().unwrap().1.bytes
    });
    assert_eq!(overlapped_bytes, out_bytes, "the bytes do not depend on threads");

    let mb = text_bytes as f64 / 1e6;
    let stages = [
        ("decompress_streamed", streamed),
        ("decompress_at_once", at_once),
        ("decode", decode),
        ("encode", encode),
        ("encode_threads", encode_threads),
        ("together", together),
        ("overlapped", overlapped),
    ];
    let stages: serde_json::Map<String, serde_json::Value> = stages
        .into_iter()
        .map(|(name, stage)| {
            let figures = serde_json::json!({
                "seconds": stage.wall,
                "processor_seconds": stage.processor,
                "mb_per_second": (mb / stage.wall).round(),
                "mb_per_processor_second": (mb / stage.processor).round(),
            });
            (name.to_owned(), figures)
        })
        .collect();
    let report = serde_json::json!({
        "files": objects.len(),
        "bytes_in": objects.iter().map(|object| object.bytes.len()).sum::<usize>(),
        "bytes_text": text_bytes,
        "bytes_out": out_bytes,
        "rows": rows,
        "rejected": rejected,
        "schema": schema.to_string(),
        "threads": asked.threads,
        "stages": stages,
    });
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
}
