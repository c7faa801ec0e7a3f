//! Damaged bytes: nothing panics, no good record before the damage is lost, every record is accounted for.

use std::io::{self, Cursor, Read};

use arrow_array::RecordBatch;
use baler_format::codec::{Codec, Compression, reader};
use baler_format::decode::{DecodeError, DecodeOptions, Position, Reason, Source};
use baler_format::{Csv, Format, Ipc};
use proptest::prelude::*;

use super::samples::{Random, batch, csv, decode, decode_compressed, decode_from, encode, formats, records, schema};

/// What happens to bytes between a writer and a reader.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Zero(prop::sample::Index, usize),
    /// The bytes from one place stand again at another.
    Splice(prop::sample::Index, prop::sample::Index, usize),
}

impl Damage {
    fn strike(&self, bytes: &mut Vec<u8>) {
        let size = bytes.len();
        if size == 0 {
            return;
        }
        match self {
            Self::Cut(at) => bytes.truncate(at.index(size)),
            Self::Flip(at, mask) => bytes[at.index(size)] ^= mask,
            Self::Zero(at, length) => {
                let at = at.index(size);
                let end = size.min(at + length);
                bytes[at..end].fill(0);
            }
            Self::Splice(from, to, length) => {
                let from = from.index(size);
                let piece = bytes[from..size.min(from + length)].to_vec();
                let to = to.index(size);
                bytes.splice(to..to, piece);
            }
        }
    }
}

fn damages() -> impl Strategy<Value = Damage> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        index().prop_map(Damage::Cut),
        (index(), 1u8..=255).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        (index(), 1usize..200).prop_map(|(at, length)| Damage::Zero(at, length)),
        (index(), index(), 1usize..200).prop_map(|(from, to, length)| Damage::Splice(from, to, length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn damage_anywhere_ends_in_rows_rejected_records_or_an_error(
        (schema, batches) in records(true), place in 0usize..8, damages in prop::collection::vec(damages(), 1..4),
    ) {
        let format = &formats()[place];
        prop_assume!(baler_format::encode::fault(format, &schema, Compression::NONE).is_none());
        prop_assume!(schema.columns().len() > 1);
        let mut bytes = encode(format, &schema, Compression::NONE, &batches);
        damages.iter().for_each(|damage| damage.strike(&mut bytes));
        let taken = decode(format, &schema, &bytes);
        // Each row and each rejected record has its place, in order.
        let offsets = |positions: &mut dyn Iterator<Item = Position>| {
            positions.map(|position| match position {
                Position::Line { offset, .. } => offset,
                Position::Row(row) => row,
            }).collect::<Vec<_>>()
        };
        let rows = offsets(&mut taken.positions.iter().copied());
        prop_assert_eq!(rows.len(), taken.rows());
        let rejected = offsets(&mut taken.rejected.iter().map(|rejected| rejected.position));
        let mut all = [rows, rejected].concat();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        prop_assert_eq!(all.len(), count, "no record stands in two places");
    }

    #[test]
    fn records_before_damage_to_lines_are_all_taken(
        lines in 1usize..200, codec in prop::sample::select(Codec::ALL.to_vec()), damage in damages(), is_csv in any::<bool>(),
    ) {
        let schema = schema("n: int64, t: text");
        let format = if is_csv { Format::Csv(Csv { header: false, ..Csv::default() }) } else { Format::JsonLines };
        let rows = batch(&schema, lines, &mut Random(11));
        let text = encode(&format, &schema, Compression::NONE, std::slice::from_ref(&rows));
        let compressed = encode(&format, &schema, Compression::try_new(codec, None).unwrap(), std::slice::from_ref(&rows));
        let mut bytes = compressed.clone();
        damage.strike(&mut bytes);
        // As much as the codec gives before it sees the damage, as the codec's own tests hold it to.
        let mut decoded = Vec::new();
        let fault = reader(codec, Cursor::new(bytes.clone())).read_to_end(&mut decoded).is_err();
        let same = text.iter().zip(&decoded).take_while(|(a, b)| a == b).count();
        let whole = decode(&format, &schema, &text);
        prop_assert_eq!(whole.rows() + whole.rejected.len(), lines);
        let taken = decode_compressed(&format, codec, &schema, &bytes);
        prop_assert_eq!(taken.error.is_some(), fault);
        // A record is before the damage if its line end is.
        let ends: Vec<u64> = whole.positions.iter().skip(1).map(|position| match position {
            Position::Line { offset, .. } => *offset,
            Position::Row(_) => unreachable!("text"),
        }).collect();
        let sound = ends.iter().take_while(|end| **end <= same as u64).count();
        prop_assert!(taken.rows() >= sound, "{} rows of {sound}", taken.rows());
        prop_assert_eq!(
            taken.batch(&schema).slice(0, sound), whole.batch(&schema).slice(0, sound)
        );
        // Where the bytes end in damage nothing is taken out of the cut record.
        // How much brotli loses with the damage depends on how much is read at once.
        if fault && codec != Codec::Brotli {
            let is_whole = taken.positions.iter().all(|position| match position {
                Position::Line { offset, .. } => decoded[*offset as usize..].contains(&b'\n'),
                Position::Row(_) => false,
            });
            prop_assert!(is_whole);
        }
    }

    #[test]
    fn any_bytes_at_all_end_well(place in 0usize..8, bytes in prop::collection::vec(any::<u8>(), 0..600), magic in any::<bool>()) {
        let format = &formats()[place];
        let schema = schema("a: int64, b: text");
        let mut bytes = bytes;
        if magic {
            match format {
                Format::Parquet => {
                    bytes.splice(..0, *b"PAR1");
                    bytes.extend_from_slice(&[40, 0, 0, 0]);
                    bytes.extend_from_slice(b"PAR1");
                }
                Format::Arrow(_) => { bytes.splice(..0, [0xff, 0xff, 0xff, 0xff, 64, 0, 0, 0]); }
                _ => {}
            }
        }
        let taken = decode(format, &schema, &bytes);
        if matches!(format, Format::Parquet | Format::Arrow(_)) {
            prop_assert!(taken.error.is_some());
        }
    }
}

#[test]
fn a_record_that_damage_cuts_is_not_taken_though_it_reads_as_one() {
    // `1,23` cut to `1,2`, and an object whose line end is gone.
    struct Breaks(Cursor<Vec<u8>>);
    impl Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset")),
                n => Ok(n),
            }
        }
    }
    let schema = schema("a: int64, b: int64");
    for (format, text) in [(csv(), "a,b\n5,6\n1,2"), (Format::JsonLines, "{\"a\":5}\n{\"a\":1}")] {
        let source = Source::stream(Breaks(Cursor::new(text.as_bytes().to_vec())));
        let taken = decode_from(&format, &schema, &DecodeOptions::default(), source);
        assert_eq!(taken.rows(), 1);
        assert_eq!(taken.rejected[0].reason, Reason::CutOff);
        assert!(matches!(taken.error, Some(DecodeError::Read(_))));
        // Without the damage it is the last record of the object.
        assert_eq!(decode(&format, &schema, text.as_bytes()).rows(), 2);
    }
}

#[test]
fn a_columnar_object_that_is_cut_anywhere_is_refused() {
    let schema = schema("a: int64, b: text, c: list(int64)");
    let rows = batch(&schema, 50, &mut Random(21));
    for format in [Format::Parquet, Format::Arrow(Ipc::Stream), Format::Arrow(Ipc::File)] {
        let bytes = encode(&format, &schema, Compression::NONE, &[rows.clone(), rows.clone()]);
        assert_eq!(decode(&format, &schema, &bytes).rows(), 100);
        for cut in 0..bytes.len() {
            let taken = decode(&format, &schema, &bytes[..cut]);
            assert!(taken.error.is_some(), "{format:?} cut at {cut}");
            assert!([0, 50, 100].contains(&taken.rows()), "{format:?} cut at {cut}: {} rows", taken.rows());
        }
        let behind = [&bytes[..], b"x"].concat();
        assert!(decode(&format, &schema, &behind).error.is_some(), "{format:?} takes what stands behind it");
    }
}

#[test]
fn sizes_that_damage_made_huge_allocate_nothing() {
    let columns = schema("a: int64, b: text");
    let rows = batch(&columns, 50, &mut Random(23));
    let options =
        arrow_ipc::writer::IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::ZSTD));
    let mut writer =
        arrow_ipc::writer::StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options.unwrap()).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap();
    assert_eq!(decode(&Format::Arrow(Ipc::Stream), &columns, &bytes).rows(), 50);
    // Every eight bytes that could be a size become one of 2^55.
    for at in (0..bytes.len() - 8).step_by(4) {
        let mut bad = bytes.clone();
        bad[at..at + 8].copy_from_slice(&(1i64 << 55).to_le_bytes());
        let taken = decode(&Format::Arrow(Ipc::Stream), &columns, &bad);
        assert!(taken.rows() <= 50);
    }
}

/// What is compressed within a format may grow no further than it is allowed to.
#[test]
fn compression_within_columns_is_bounded() {
    let columns = schema("id: int64, name: text");
    let text = "a".repeat(1 << 20);
    let rows: String = (0..64).map(|id| format!("{{\"id\":{id},\"name\":\"{id}{text}\"}}\n")).collect();
    let rows = decode(&Format::JsonLines, &columns, rows.as_bytes()).batch(&columns);
    let within =
        arrow_ipc::writer::IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::ZSTD));
    let mut writer =
        arrow_ipc::writer::StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), within.unwrap()).unwrap();
    writer.write(&rows).unwrap();
    let arrow = writer.into_inner().unwrap();
    let zstd = Compression::try_new(Codec::Zstd, None).unwrap();
    let parquet = encode(&Format::Parquet, &columns, zstd, std::slice::from_ref(&rows));
    for (format, bytes) in [(Format::Arrow(Ipc::Stream), arrow), (Format::Parquet, parquet)] {
        assert!(bytes.len() * 1_000 < 64 << 20, "{format} is no bomb: {} bytes", bytes.len());
        for (most, is_taken) in [(bytes.len() as u64 * 1_000, false), (u64::MAX, true)] {
            let options = DecodeOptions { expanded_bytes: most, ..DecodeOptions::default() };
            let taken = decode_from(&format, &columns, &options, Source::bytes(bytes.clone()));
            assert_eq!(taken.rows(), if is_taken { 64 } else { 0 }, "{format}");
            let said = taken.error.map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(said.contains("beyond"), !is_taken, "{format}: {said}");
        }
    }
}

/// Rows of long texts come in small batches.
#[test]
fn batches_of_parquet_are_bounded_by_bytes() {
    let columns = schema("id: int64, name: text");
    let rows: String =
        (0..200).map(|id| format!("{{\"id\":{id},\"name\":\"{id}{}\"}}\n", "a".repeat(100_000))).collect();
    let rows = decode(&Format::JsonLines, &columns, rows.as_bytes()).batch(&columns);
    let bytes = encode(&Format::Parquet, &columns, Compression::NONE, std::slice::from_ref(&rows));
    let options = DecodeOptions { batch_bytes: 1 << 20, ..DecodeOptions::default() };
    let taken = decode_from(&Format::Parquet, &columns, &options, Source::bytes(bytes));
    assert_eq!(taken.rows(), 200);
    let most = taken.batches.iter().map(RecordBatch::num_rows).max().unwrap();
    assert!((5..=11).contains(&most), "{most} rows in a batch");
}
