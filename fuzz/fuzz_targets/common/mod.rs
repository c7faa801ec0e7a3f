//! What the targets do with their bytes: `cargo fuzz` runs them here, and the tests of `baler-format` run them with bytes
//! that they damage themselves.
#![allow(dead_code, reason = "a fuzz target needs itself alone")]

use std::io::{Cursor, Read};

use baler_format::codec::{Codec, decode_whole, reader};
use baler_format::decode::{DecodeOptions, Decoder, Source, TextFrom};
use baler_format::schema::{Schema, infer};
use baler_format::{Csv, Format, Ipc};

/// A target.
pub type Target = fn(&[u8]);

/// Every target with its name.
pub const TARGETS: [(&str, Target); 7] = [
    ("codecs", codecs),
    ("json_lines", json_lines),
    ("json_document", json_document),
    ("csv", csv),
    ("parquet", parquet),
    ("arrow", arrow),
    ("inference", inference),
];

/// The records of [`json_document`] stand under this key.
pub const RECORDS: &str = "records";

/// The first byte says which codec; both ways of decoding agree.
pub fn codecs(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let codec = Codec::ALL[usize::from(*first) % Codec::ALL.len()];
    let mut streamed = Vec::new();
    let limit = 1 << 20;
    let result = reader(codec, bytes).take(limit + 1).read_to_end(&mut streamed);
    let whole = decode_whole(codec, bytes, limit as usize);
    match whole {
        Ok(whole) => assert!(result.is_ok() && whole == streamed),
        Err(_) => assert!(result.is_err() || streamed.len() as u64 > limit),
    }
}

/// JSON lines.
pub fn json_lines(bytes: &[u8]) {
    decode(&Format::JsonLines, pieces(bytes));
}

/// A JSON document.
pub fn json_document(bytes: &[u8]) {
    decode(&Format::Json { records: vec![RECORDS.to_owned()] }, pieces(bytes));
}

/// CSV with a header.
pub fn csv(bytes: &[u8]) {
    decode(&Format::Csv(Csv::default()), pieces(bytes));
}

/// Parquet.
pub fn parquet(bytes: &[u8]) {
    decode(&Format::Parquet, Source::bytes(bytes.to_vec()));
}

/// Arrow IPC, stream or file.
pub fn arrow(bytes: &[u8]) {
    decode(&Format::Arrow(Ipc::Stream), pieces(bytes));
}

/// A schema is inferred of the bytes, and they are decoded with it.
pub fn inference(bytes: &[u8]) {
    for format in [Format::JsonLines, Format::Csv(Csv::default())] {
        let options = DecodeOptions { record_bytes: 4_096, text_from: TextFrom::Anything, ..DecodeOptions::default() };
        let Ok(schema) = infer(&format, &options, [Cursor::new(bytes.to_vec())], 100) else { continue };
        assert_eq!(schema.to_string().parse::<Schema>().as_ref(), Ok(&schema));
        let source = Source::stream(Cursor::new(bytes.to_vec()));
        let Ok(mut decoder) = Decoder::new(&format, &schema, &options, source) else { continue };
        while let Ok(Some(_)) = decoder.next_batch() {}
    }
}

/// The columns that every target asks for; CSV has no lists.
pub fn columns(format: &Format) -> Schema {
    let text = match format {
        Format::Csv(_) => "a: int64, b: text not null, d: decimal(12,2), e: timestamp(ms, UTC), f: date",
        _ => {
            "a: int64, b: text not null, c: list(struct(x: float64)), d: decimal(12,2), e: timestamp(ms, UTC), f: date"
        }
    };
    text.parse().expect("a schema")
}

/// Decodes to the end or the first error, and holds every batch to its promises.
fn decode(format: &Format, source: Source) {
    let options =
        DecodeOptions { record_bytes: 4_096, message_bytes: 1 << 20, batch_rows: 16, ..DecodeOptions::default() };
    let Ok(mut decoder) = Decoder::new(format, &columns(format), &options, source) else { return };
    while let Ok(Some(decoded)) = decoder.next_batch() {
        let rows = decoded.batch.num_rows();
        assert!(rows <= 16);
        assert!(rows == 0 || decoded.positions.at(rows - 1).is_some());
        assert!(decoded.positions.at(rows).is_none());
        assert!(decoded.rejected.iter().all(|rejected| rejected.raw.len() <= options.raw_bytes));
    }
}

/// A source that gives the bytes in reads of the size that the first byte says.
fn pieces(bytes: &[u8]) -> Source {
    struct Pieces(Cursor<Vec<u8>>, usize);
    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let n = into.len().min(self.1);
            self.0.read(&mut into[..n])
        }
    }
    let (size, bytes) = bytes.split_first().map_or((1, bytes), |(size, bytes)| (usize::from(*size) + 1, bytes));
    Source::stream(Pieces(Cursor::new(bytes.to_vec()), size))
}
