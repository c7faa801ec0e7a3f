//! Measures the pass that splits objects into chunks, in MB of text per second of this thread's processor time.
//!
//! `cargo run --release -p baler-format --example split_speed -- [MB] [repeats]`: the best of the repeats is shown.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool that people watch")]

use baler_format::chunks::{Ending, Splitter};
use baler_format::decode::DecodeOptions;
use baler_format::{Csv, Format};
use rustix::time::{ClockId, clock_gettime};

const BLOCK: usize = 256 << 10;

fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn json(n: usize) -> String {
    let price = n % 10_000;
    format!(
        "{{\"itemNo\":\"item#{n}\",\"price\":{price}.25,\"name\":\"Widget of kind {}\",\"tags\":[\"a\",\"b{}\"],\"in\":{{\"stock\":{},\"shop\":\"Main St.\"}},\"note\":\"a text of some forty bytes, with a comma\",\"at\":\"2026-11-21T10:00:00Z\"}}",
        n % 17,
        n % 5,
        n % 900
    )
}

fn fill(size: usize, mut record: impl FnMut(usize, &mut Vec<u8>)) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 1_000);
    let mut n = 0;
    while text.len() < size {
        record(n, &mut text);
        n += 1;
    }
    text
}

fn main() {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<usize>().unwrap());
    let size = words.next().unwrap_or(200) * 1_000_000;
    let repeats = words.next().unwrap_or(5);
    let lines = fill(size, |n, text| text.extend_from_slice(format!("{}\n", json(n)).as_bytes()));
    let short = fill(size, |n, text| text.extend_from_slice(format!("{{\"a\":{}}}\n", n % 1_000).as_bytes()));
    let mut document = b"{\"batch\":\"b\",\"records\":[".to_vec();
    document.extend(fill(size, |n, text| {
        text.extend_from_slice(format!("{}{}", if n == 0 { "" } else { "," }, json(n)).as_bytes())
    }));
    document.extend_from_slice(b"]}");
    let escaped = fill(size, |n, text| {
        let mark = if n == 0 { '[' } else { ',' };
        text.extend_from_slice(
            format!("{mark}\n  {{\"n\": {n}, \"text\": \"he said \\\"no\\\" and\\nwent to C:\\\\temp\\\\{n}\"}}")
                .as_bytes(),
        );
    });
    let escaped = [escaped, b"]".to_vec()].concat();
    let csv = fill(size, |n, text| {
        text.extend_from_slice(format!("{n},2026-11-21,{}.50,some text,{},x,y\n", n % 1_000, n % 7).as_bytes());
    });
    let quoted = fill(size, |n, text| {
        text.extend_from_slice(
            format!("\"{n}\",\"2026-11-21\",\"{}.50\",\"some text, and more\",\"{}\"\n", n % 1_000, n % 7).as_bytes(),
        );
    });
    let path = Format::Json { records: vec!["records".to_owned()] };
    for (name, format, text) in [
        ("JSON lines of 210 bytes", Format::JsonLines, &lines),
        ("JSON lines of 10 bytes", Format::JsonLines, &short),
        ("JSON document", path, &document),
        ("JSON document, pretty, many escapes", Format::Json { records: Vec::new() }, &escaped),
        ("CSV without quotes", Format::Csv(Csv::default()), &csv),
        ("CSV, every field quoted", Format::Csv(Csv::default()), &quoted),
    ] {
        let mut best = f64::MAX;
        let mut told = String::new();
        for _ in 0..repeats {
            let start = thread_seconds();
            let mut splitter = Splitter::new(&format, &DecodeOptions::default(), 1_000).unwrap();
            let mut chunks = 0;
            for block in text.chunks(BLOCK) {
                splitter.push(block).unwrap();
                chunks += splitter.take().len();
            }
            splitter.finish(Ending::Whole).unwrap();
            chunks += splitter.take().len();
            best = best.min(thread_seconds() - start);
            told = format!("{chunks} chunks, {} records", splitter.records());
        }
        println!("{name:<36} {:>7.0} MB/s   {told}", text.len() as f64 / 1e6 / best);
    }
}
