//! Records made for tests, in every format and codec.

use std::io::Write;

use baler_format::codec::{Codec, Compression, writer};
use baler_format::decode::{DecodeOptions, Decoder, Source};
use baler_format::encode::{EncodeOptions, Encoder};
use baler_format::schema::Schema;
use baler_format::{Format, Ipc};

/// The formats that state their columns, by their suffixes.
pub(crate) const COLUMNAR: [(&str, Format); 3] =
    [("parquet", Format::Parquet), ("arrow", Format::Arrow(Ipc::Stream)), ("feather", Format::Arrow(Ipc::File))];

/// Every codec that compresses.
pub(crate) fn codecs() -> impl Iterator<Item = Codec> {
    Codec::ALL.into_iter().filter(|codec| *codec != Codec::None)
}

/// Bytes, compressed as a whole.
pub(crate) fn compressed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut to = writer(Compression::try_new(codec, None).unwrap(), Vec::new()).unwrap();
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

/// The same records in another format: batches of `rows`.
pub(crate) fn converted(lines: &str, schema: &str, format: &Format, rows: usize) -> Vec<u8> {
    let schema: Schema = schema.parse().unwrap();
    let options = DecodeOptions { batch_rows: rows, ..DecodeOptions::default() };
    let source = Source::bytes(lines.as_bytes().to_vec());
    let mut decoder = Decoder::new(&Format::JsonLines, &schema, &options, source).unwrap();
    let options = EncodeOptions { group_rows: rows, ..EncodeOptions::default() };
    let mut encoder = Encoder::new(format, &schema, Compression::NONE, &options, Vec::new()).unwrap();
    while let Some(decoded) = decoder.next_batch().unwrap() {
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        encoder.write(&decoded.batch).unwrap();
    }
    encoder.finish().unwrap().0
}

/// `id,name` records that no codec makes much smaller: the name of each follows from its id.
pub(crate) fn csv_lines(from: u64, to: u64) -> String {
    (from..to).map(|id| format!("{id},{}\n", name(id))).collect()
}

/// Twelve letters and digits.
pub(crate) fn name(id: u64) -> String {
    let mixed = baler_testkit::SplitMix::new(id).next_u64();
    format!("{mixed:016x}")[..12].to_owned()
}
