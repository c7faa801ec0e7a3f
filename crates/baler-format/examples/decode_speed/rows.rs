//! The texts that are measured, their schemas, and how Baler decodes them.

use std::io::Write as _;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use baler_format::decode::{DecodeOptions, Decoder, Source};
use baler_format::{Csv, Format};
use bytes::Bytes;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub(crate) fn json_schema() -> SchemaRef {
    let utc: Arc<str> = Arc::from("+00:00");
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some(utc)), true),
        Field::new("user", DataType::Utf8, true),
        Field::new("country", DataType::Utf8, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("quantity", DataType::Int64, true),
        Field::new("ratio", DataType::Float64, true),
        Field::new("active", DataType::Boolean, true),
        Field::new("path", DataType::Utf8, true),
        Field::new("agent", DataType::Utf8, true),
        Field::new("score", DataType::Float64, true),
        Field::new("note", DataType::Utf8, true),
    ]))
}

pub(crate) fn json_rows(bytes: usize) -> Vec<u8> {
    let mut random = Random(42);
    let mut out = Vec::with_capacity(bytes + 1024);
    let countries = ["DE", "GB", "US", "FR", "IN", "BR", "JP", "NG"];
    let agents = [
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        "curl/8.5.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)",
    ];
    let mut id = 100_000_u64;
    while out.len() < bytes {
        id += 1 + random.below(3);
        let seconds = id % 86_400;
        let ratio = random.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        let note = match random.below(20) {
            0 => "said \\\"yes\\\"\\nand left",
            1 => "Grüße aus Köln",
            2..=6 => "",
            _ => "delivered on time, nothing to add",
        };
        write!(
            out,
            "{{\"id\":{id},\"at\":\"2026-03-{:02}T{:02}:{:02}:{:02}.{:03}Z\",\"user\":\"user{:05}@example.com\",\"country\":\"{}\",\
             \"amount\":{}.{:02},\"quantity\":{},\"ratio\":{ratio},\"active\":{},\"path\":\"/shop/item/{}?ref=mail\",\"agent\":\"{}\",",
            1 + id / 86_400 % 28,
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            random.below(1000),
            random.below(20_000),
            countries[random.below(8) as usize],
            random.below(2000),
            random.below(100),
            1 + random.below(12),
            random.below(2) == 0,
            random.below(100_000),
            agents[random.below(3) as usize],
        )
        .unwrap();
        match random.below(10) {
            0 => out.extend_from_slice(b"\"score\":null,"),
            n => write!(out, "\"score\":{}.{},", random.below(10), n).unwrap(),
        }
        writeln!(out, "\"note\":\"{note}\"}}").unwrap();
    }
    out
}

pub(crate) fn csv_schema() -> SchemaRef {
    let int = |name: &str| Field::new(name, DataType::Int64, true);
    let float = |name: &str| Field::new(name, DataType::Float64, true);
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        int("release_date"),
        int("target_start"),
        int("target_end"),
        int("target_bounds"),
        text("node_name"),
        text("tag"),
        float("lmp"),
        float("mlc"),
        float("mcc"),
    ]))
}

/// Prices per node and hour, shaped like the public S3DB feeds: epochs, node names, prices of two decimals.
pub(crate) fn csv_rows(bytes: usize) -> Vec<u8> {
    let mut random = Random(7);
    let mut out = Vec::with_capacity(bytes + 1024);
    writeln!(out, "release_date,target_start,target_end,target_bounds,node_name,tag,lmp,mlc,mcc").unwrap();
    let nodes: Vec<String> = (0..2250)
        .map(|i| {
            let letters: String = (0..3 + random.below(4)).map(|_| char::from(b'A' + random.below(26) as u8)).collect();
            if i % 3 == 0 { letters } else { format!("{letters}.{}{}", letters.to_lowercase(), random.below(30)) }
        })
        .collect();
    let mut hour = 0_u64;
    while out.len() < bytes {
        let start = 1_577_836_800 + hour * 3600;
        let release = 1_577_840_879 + hour / 24 * 86_400;
        let base = 15.0 + random.below(1500) as f64 / 100.0;
        for node in &nodes {
            let lmp = ((base + random.below(900) as f64 / 100.0 - 4.5) * 100.0).round() / 100.0;
            let mlc = (random.below(300) as f64 - 150.0) / 100.0;
            let mcc = if random.below(4) == 0 { 0.0 } else { (random.below(800) as f64 - 400.0) / 100.0 };
            writeln!(out, "{release},{start},{},1,{node},real_time_dart,{lmp:?},{mlc:?},{mcc:?}", start + 3600)
                .unwrap();
        }
        hour += 1;
    }
    out
}

fn decoded(format: &Format, text: &'static [u8], schema: &SchemaRef) -> usize {
    let schema = baler_format::schema::Schema::of_arrow(schema).unwrap();
    let source = Source::bytes(Bytes::from_static(text));
    let mut decoder = Decoder::new(format, &schema, &DecodeOptions::default(), source).unwrap();
    let mut rows = 0;
    while let Some(decoded) = decoder.next_batch().unwrap() {
        assert!(decoded.rejected.is_empty());
        rows += decoded.batch.num_rows();
    }
    rows
}

pub(crate) fn baler_json(text: &'static [u8], schema: &SchemaRef) -> usize {
    decoded(&Format::JsonLines, text, schema)
}

pub(crate) fn baler_csv(text: &'static [u8], schema: &SchemaRef) -> usize {
    decoded(&Format::Csv(Csv::default()), text, schema)
}
