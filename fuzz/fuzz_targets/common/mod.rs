//! What the targets share.

use baler_format::Format;
use baler_format::decode::{DecodeOptions, Decoder, Source};
use baler_format::schema::Schema;

/// Decodes to the end or the first error, and holds every batch to its promises.
pub fn decode(format: &Format, source: Source) {
    let schema: Schema =
        "a: int64, b: text not null, c: list(struct(x: float64)), d: decimal(12,2), e: timestamp(ms, UTC), f: date"
            .parse()
            .expect("a schema");
    let flat: Schema =
        "a: int64, b: text not null, d: decimal(12,2), e: timestamp(ms, UTC), f: date".parse().expect("a schema");
    let schema = if matches!(format, Format::Csv(_)) { flat } else { schema };
    let options =
        DecodeOptions { record_bytes: 4_096, message_bytes: 1 << 20, batch_rows: 16, ..DecodeOptions::default() };
    let Ok(mut decoder) = Decoder::new(format, &schema, &options, source) else { return };
    while let Ok(Some(decoded)) = decoder.next_batch() {
        let rows = decoded.batch.num_rows();
        assert!(rows <= 16);
        assert!(rows == 0 || decoded.positions.at(rows - 1).is_some());
        assert!(decoded.positions.at(rows).is_none());
        assert!(decoded.rejected.iter().all(|rejected| rejected.raw.len() <= options.raw_bytes));
    }
}

/// A source that gives the bytes in reads of the size that the first byte says.
#[allow(dead_code, reason = "not every target reads a stream")]
pub fn pieces(bytes: &[u8]) -> Source {
    struct Pieces(std::io::Cursor<Vec<u8>>, usize);
    impl std::io::Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let n = into.len().min(self.1);
            self.0.read(&mut into[..n])
        }
    }
    let (size, bytes) = bytes.split_first().map_or((1, bytes), |(size, bytes)| (usize::from(*size) + 1, bytes));
    Source::stream(Pieces(std::io::Cursor::new(bytes.to_vec()), size))
}
