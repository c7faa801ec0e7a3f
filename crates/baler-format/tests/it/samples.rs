//! What the tests share: whole objects decoded and encoded, records shown as text, records made at random.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use baler_format::codec::{Codec, Compression, reader};
use baler_format::decode::{DecodeError, DecodeOptions, Decoder, Position, Rejected, Source};
use baler_format::encode::{EncodeOptions, Encoder};
use baler_format::schema::{Schema, TimeUnit, Type};
use baler_format::{Csv, Format, Ipc};
use proptest::prelude::*;

/// All that a decoder gave.
pub(crate) struct Taken {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) positions: Vec<Position>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) unknown: Vec<String>,
    pub(crate) error: Option<DecodeError>,
}

impl Taken {
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    pub(crate) fn batch(&self, schema: &Schema) -> RecordBatch {
        arrow_select::concat::concat_batches(&schema.to_arrow(), &self.batches).unwrap()
    }

    /// Each row as a line of JSON; each rejected record as its line number and reason.
    pub(crate) fn shown(&self, schema: &Schema) -> (Vec<String>, Vec<String>) {
        let rejected = self.rejected.iter().map(|rejected| match rejected.position {
            Position::Line { line, .. } => format!("{line}: {}", rejected.reason),
            Position::Row(row) => format!("{row}: {}", rejected.reason),
        });
        (lines(&self.batch(schema), schema), rejected.collect())
    }
}

pub(crate) fn lines(batch: &RecordBatch, schema: &Schema) -> Vec<String> {
    let bytes = encode(&Format::JsonLines, schema, Compression::NONE, std::slice::from_ref(batch));
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

pub(crate) fn schema(text: &str) -> Schema {
    text.parse().unwrap()
}

pub(crate) fn csv() -> Format {
    Format::Csv(Csv::default())
}

pub(crate) fn decode_from(format: &Format, schema: &Schema, options: &DecodeOptions, source: Source) -> Taken {
    let mut taken =
        Taken { batches: Vec::new(), positions: Vec::new(), rejected: Vec::new(), unknown: Vec::new(), error: None };
    let mut decoder = match Decoder::new(format, schema, options, source) {
        Ok(decoder) => decoder,
        Err(error) => {
            taken.error = Some(error);
            return taken;
        }
    };
    loop {
        match decoder.next_batch() {
            Ok(Some(decoded)) => {
                let rows = decoded.batch.num_rows();
                assert_eq!(decoded.batch.schema(), schema.to_arrow());
                assert!(
                    rows > 0 || !decoded.rejected.is_empty() || !matches!(format, Format::JsonLines | Format::Csv(_))
                );
                taken.positions.extend((0..rows).map(|row| decoded.positions.at(row).unwrap()));
                assert_eq!(decoded.positions.at(rows), None);
                taken.rejected.extend(decoded.rejected);
                taken.batches.push(decoded.batch);
            }
            Ok(None) => break,
            Err(error) => {
                assert!(decoder.next_batch().is_err(), "an error is given again");
                taken.error = Some(error);
                break;
            }
        }
    }
    taken.unknown = decoder.unknown().map(str::to_owned).collect();
    taken
}

pub(crate) fn decode_with(format: &Format, schema: &Schema, options: &DecodeOptions, bytes: &[u8]) -> Taken {
    let source = match format {
        Format::Parquet => Source::bytes(bytes.to_vec()),
        _ => Source::stream(Cursor::new(bytes.to_vec())),
    };
    decode_from(format, schema, options, source)
}

pub(crate) fn decode(format: &Format, schema: &Schema, bytes: &[u8]) -> Taken {
    decode_with(format, schema, &DecodeOptions::default(), bytes)
}

/// Decodes what is compressed around the format.
pub(crate) fn decode_compressed(format: &Format, codec: Codec, schema: &Schema, bytes: &[u8]) -> Taken {
    let codec = if format.compresses_within() { Codec::None } else { codec };
    let source = match format {
        Format::Parquet => Source::bytes(bytes.to_vec()),
        _ => Source::stream(reader(codec, Cursor::new(bytes.to_vec()))),
    };
    decode_from(format, schema, &DecodeOptions::default(), source)
}

pub(crate) fn encode_with(
    format: &Format,
    schema: &Schema,
    compression: Compression,
    options: &EncodeOptions,
    batches: &[RecordBatch],
) -> Vec<u8> {
    let mut encoder = Encoder::new(format, schema, compression, options, Vec::new()).unwrap();
    for batch in batches {
        encoder.write(batch).unwrap();
    }
    let (bytes, counts) = encoder.finish().unwrap();
    assert_eq!(counts.bytes, bytes.len() as u64);
    assert_eq!(counts.rows, batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>());
    bytes
}

pub(crate) fn encode(format: &Format, schema: &Schema, compression: Compression, batches: &[RecordBatch]) -> Vec<u8> {
    encode_with(format, schema, compression, &EncodeOptions::default(), batches)
}

/// Gives bytes in small pieces, so that every cut between two reads is met.
pub(crate) struct Pieces {
    bytes: Cursor<Vec<u8>>,
    size: usize,
}

impl Pieces {
    pub(crate) fn new(bytes: &[u8], size: usize) -> Self {
        Self { bytes: Cursor::new(bytes.to_vec()), size }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = into.len().min(self.size);
        self.bytes.read(&mut into[..n])
    }
}

/// Every format, and for JSON with and without a path.
pub(crate) fn formats() -> Vec<Format> {
    vec![
        Format::JsonLines,
        Format::Json { records: Vec::new() },
        Format::Json { records: vec!["a \"b\"".to_owned(), "records".to_owned()] },
        csv(),
        Format::Csv(Csv { delimiter: b';', quote: b'\'', header: false }),
        Format::Parquet,
        Format::Arrow(Ipc::Stream),
        Format::Arrow(Ipc::File),
    ]
}

/// Types of one column; nested ones only where a format has them.
pub(crate) fn kinds(is_nested: bool) -> BoxedStrategy<Type> {
    let units = prop::sample::select(vec![
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ]);
    let zones = prop::option::of(prop::sample::select(vec!["UTC", "+05:30", "Europe/Berlin"]));
    let scalar = prop_oneof![
        Just(Type::Int64),
        Just(Type::Float64),
        Just(Type::Bool),
        Just(Type::Text),
        Just(Type::Date),
        (1u8..=38)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(precision, scale)| Type::Decimal { precision, scale }),
        (units, zones).prop_map(|(unit, zone)| Type::Timestamp { unit, zone: zone.map(str::to_owned) }),
    ];
    if !is_nested {
        return scalar.boxed();
    }
    scalar
        .prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|kind| Type::List(Box::new(kind))),
                columns(inner.boxed(), 1..4).prop_map(Type::Struct),
            ]
        })
        .boxed()
}

fn columns(
    kinds: BoxedStrategy<Type>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<baler_format::schema::Column>> {
    let names = prop::sample::select(vec!["id", "a b", "né", "\"q\"", "x,y", "line\nend", "Z_9", "'", "back\\slash"]);
    prop::collection::vec((names, kinds, prop::bool::weighted(0.8)), count).prop_map(|columns| {
        let mut made: Vec<baler_format::schema::Column> = Vec::new();
        for (name, kind, nullable) in columns {
            if made.iter().all(|column| column.name != name) {
                made.push(baler_format::schema::Column { name: name.to_owned(), kind, nullable });
            }
        }
        made
    })
}

pub(crate) fn schemas(is_nested: bool) -> impl Strategy<Value = Schema> {
    columns(kinds(is_nested), 1..6).prop_map(|columns| Schema::try_new(columns).unwrap())
}

/// A schema with records of it, as batches.
pub(crate) fn records(is_nested: bool) -> impl Strategy<Value = (Schema, Vec<RecordBatch>)> {
    (schemas(is_nested), any::<u64>(), prop::collection::vec(0usize..40, 0..4)).prop_map(|(schema, seed, sizes)| {
        let mut random = Random(seed | 1);
        let batches = sizes.iter().map(|rows| batch(&schema, *rows, &mut random)).collect();
        (schema, batches)
    })
}

/// A small generator: what is drawn is drawn again with the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
}

pub(crate) fn batch(schema: &Schema, rows: usize, random: &mut Random) -> RecordBatch {
    let arrays = schema.columns().iter().map(|column| array(&column.kind, rows, column.nullable, random)).collect();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.to_arrow(), arrays, &options).unwrap()
}

fn array(kind: &Type, rows: usize, nullable: bool, random: &mut Random) -> arrow_array::ArrayRef {
    use arrow_array as a;
    let is_null = |random: &mut Random| nullable && random.below(5) == 0;
    macro_rules! draw {
        ($array:ty, $draw:expr) => {{
            let draw = $draw;
            Arc::new(<$array>::from_iter((0..rows).map(|_| {
                let null = is_null(random);
                let value = draw(random);
                (!null).then_some(value)
            })))
        }};
    }
    match kind {
        Type::Int64 => draw!(a::Int64Array, int),
        Type::Float64 => draw!(a::Float64Array, float),
        Type::Bool => draw!(a::BooleanArray, |random: &mut Random| random.below(2) == 0),
        Type::Text => {
            let values: Vec<Option<String>> =
                (0..rows).map(|_| if is_null(random) { None } else { Some(text(random)) }).collect();
            Arc::new(a::StringArray::from(values))
        }
        Type::Decimal { precision, scale } => {
            let most = 10i128.pow(u32::from(*precision));
            let values: Vec<Option<i128>> = (0..rows)
                .map(|_| {
                    let wide = i128::from(random.next()) << 62 ^ i128::from(random.next());
                    let value = if random.below(3) == 0 { i128::from(random.below(20)) - 10 } else { wide };
                    (!is_null(random)).then_some(value % most)
                })
                .collect();
            Arc::new(a::Decimal128Array::from(values).with_precision_and_scale(*precision, *scale as i8).unwrap())
        }
        Type::Date => draw!(a::Date32Array, |random: &mut Random| random.below(3_652_000) as i32 - 719_162),
        Type::Timestamp { unit, zone } => {
            let zone: Option<Arc<str>> = zone.as_deref().map(Arc::from);
            // From the year 1800 to 2200, which nanoseconds hold.
            let seconds = |random: &mut Random| random.below(12_000_000_000) as i64 - 5_000_000_000;
            match unit {
                TimeUnit::Second => {
                    let array = draw!(a::TimestampSecondArray, seconds);
                    Arc::new(Arc::unwrap_or_clone(array).with_timezone_opt(zone))
                }
                TimeUnit::Millisecond => {
                    let array = draw!(a::TimestampMillisecondArray, |random: &mut Random| seconds(random) * 1_000
                        + random.below(1_000) as i64);
                    Arc::new(Arc::unwrap_or_clone(array).with_timezone_opt(zone))
                }
                TimeUnit::Microsecond => {
                    let array = draw!(a::TimestampMicrosecondArray, |random: &mut Random| seconds(random) * 1_000_000
                        + random.below(1_000_000) as i64);
                    Arc::new(Arc::unwrap_or_clone(array).with_timezone_opt(zone))
                }
                TimeUnit::Nanosecond => {
                    let array = draw!(a::TimestampNanosecondArray, |random: &mut Random| seconds(random)
                        * 1_000_000_000
                        + random.below(1_000_000_000) as i64);
                    Arc::new(Arc::unwrap_or_clone(array).with_timezone_opt(zone))
                }
            }
        }
        Type::List(item) => {
            let nulls: Vec<bool> = (0..rows).map(|_| !is_null(random)).collect();
            let lengths: Vec<usize> =
                nulls.iter().map(|is_there| if *is_there { random.below(4) as usize } else { 0 }).collect();
            let values = array(item, lengths.iter().sum(), true, random);
            let field = Arc::new(arrow_schema::Field::new_list_field(item.to_arrow(), true));
            let ends = arrow_buffer::OffsetBuffer::from_lengths(lengths);
            Arc::new(a::ListArray::new(field, ends, values, Some(nulls.into())))
        }
        Type::Struct(columns) => {
            let nulls: Vec<bool> = (0..rows).map(|_| !is_null(random)).collect();
            let arrow_schema::DataType::Struct(fields) = kind.to_arrow() else { unreachable!("a struct") };
            let members = columns.iter().map(|column| array(&column.kind, rows, column.nullable, random)).collect();
            Arc::new(a::StructArray::new(fields, members, Some(nulls.into())))
        }
    }
}

fn int(random: &mut Random) -> i64 {
    match random.below(4) {
        0 => [0, -1, i64::MIN, i64::MAX][random.below(4) as usize],
        1 => random.below(1_000) as i64,
        _ => random.next() as i64,
    }
}

fn float(random: &mut Random) -> f64 {
    match random.below(4) {
        0 => [0.0, -0.0, f64::MIN_POSITIVE, f64::MAX, -1e-300, 5e-324, 1e15, 0.1][random.below(8) as usize],
        1 => random.below(100_000) as f64 / 100.0,
        _ => Some(f64::from_bits(random.next())).filter(|float| float.is_finite()).unwrap_or(1.5),
    }
}

fn text(random: &mut Random) -> String {
    let parts = [
        "",
        "a",
        "null",
        "NULL",
        "0",
        " ",
        "é",
        "🦀",
        "\"",
        "'",
        ",",
        ";",
        "\n",
        "\r\n",
        "\t",
        "\\",
        "\u{0}",
        "\u{1f}",
        "\u{feff}",
        "1.5",
        "true",
        "long long long text",
        "\u{2028}",
        "{\"a\":1}",
        "\r",
    ];
    (0..random.below(5)).map(|_| parts[random.below(parts.len() as u64) as usize]).collect()
}
