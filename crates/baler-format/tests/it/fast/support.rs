//! What the tests share: small random numbers, random schemas, and ways to feed a decoder.

use std::io::{self, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use baler_format::decode::{DecodeOptions, Decoder, Position, Reason, Source};
use baler_format::{Csv, Format};

/// Numbers that follow from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

pub(crate) fn random_schema(random: &mut Random) -> SchemaRef {
    let utc: Arc<str> = Arc::from("+00:00");
    let types = [
        DataType::Int64,
        DataType::Float64,
        DataType::Boolean,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Decimal128(20, 4),
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Millisecond, Some(utc.clone())),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Nanosecond, Some(utc)),
    ];
    let names =
        ["id", "a", "name with spaces", "größe", "a_rather_long_name_of_more_than_thirty_two_bytes", "x.y", "B", "t"];
    let count = 1 + random.below(names.len());
    Arc::new(Schema::new(
        names[..count].iter().map(|name| Field::new(*name, random.of(&types).clone(), true)).collect::<Vec<_>>(),
    ))
}

/// A number of the kind that a column of integers, floats or decimals takes.
pub(crate) fn random_number(random: &mut Random, data_type: &DataType) -> String {
    let integer = match random.below(8) {
        0 => 0,
        1 => random.next() as i64,
        2 => *random.of(&[i64::MIN, i64::MAX, -1, 99_999_999, 100_000_000, 9_999_999_999_999_999]),
        3 => (random.next() >> random.below(64)) as i64,
        _ => random.below(2000) as i64 - 1000,
    };
    match data_type {
        DataType::Float64 => match random.below(6) {
            0 => format!("{integer}"),
            1 => {
                let float = f64::from_bits(random.next());
                if float.is_finite() { format!("{float:e}") } else { "1E+3".to_owned() }
            }
            2 => format!("{:?}", random.next() as f64 / u64::MAX as f64),
            3 => format!("{}.{:017}", random.below(100), random.next() >> 10),
            4 => format!("-{}.{:03}e{}", random.below(10), random.below(1000), random.below(40) as i64 - 20),
            _ => format!("{:?}", (random.below(200_000) as f64 - 100_000.0) / 100.0),
        },
        DataType::Decimal128(..) => match random.below(3) {
            0 => format!("{}", integer / 10_000),
            1 => format!("{}.{:04}", integer / 10_000, random.below(10_000)),
            _ => format!("-{}.{}", random.below(1000), random.below(10)),
        },
        _ => format!("{integer}"),
    }
}

pub(crate) fn random_date(random: &mut Random) -> String {
    let year = *random.of(&[1970, 2026, 1999, 2000, 1700, 2200, 1900, 2024]);
    format!("{year:04}-{:02}-{:02}", 1 + random.below(12), 1 + random.below(28))
}

/// A time that a column of this type holds.
pub(crate) fn random_time(random: &mut Random, data_type: &DataType) -> String {
    let DataType::Timestamp(unit, zone) = data_type else { panic!("a column of times") };
    let mut text = random_date(random);
    text.push(*random.of(&['T', ' ']));
    text.push_str(&format!("{:02}:{:02}:{:02}", random.below(24), random.below(60), random.below(60)));
    match random.below(4) {
        0 if *unit >= TimeUnit::Millisecond => text.push_str(&format!(".{:03}", random.below(1000))),
        1 if *unit >= TimeUnit::Microsecond => text.push_str(&format!(".{:06}", random.below(1_000_000))),
        2 if *unit >= TimeUnit::Nanosecond => text.push_str(&format!(".{:09}", random.below(1_000_000_000))),
        _ => {}
    }
    if zone.is_some() {
        text.push_str(random.of::<&str>(&["", "Z", "+00:00", "+05:30", "-11:00"]));
    }
    text
}

pub(crate) fn random_text(random: &mut Random) -> String {
    let pieces = [
        "",
        "a",
        "plain",
        "with space",
        "ü",
        "東京",
        "🚀",
        "\"",
        "\\",
        "\n",
        "\r\n",
        "\t",
        ",",
        ";",
        "{",
        "}",
        "[1]",
        "null",
        "'",
        "/",
        "\u{7f}",
        "\u{1}",
        "sixteen bytes ok",
        "a longer piece of text that needs more than two blocks of sixteen bytes",
    ];
    (0..random.below(4)).map(|_| *random.of(&pieces)).collect()
}

/// A record that was not taken.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) line: u64,
    pub(crate) offset: u64,
    pub(crate) raw: Vec<u8>,
    pub(crate) reason: Reason,
}

impl Refused {
    /// The column that a value did not fit, or what else is wrong.
    pub(crate) fn fault(&self) -> &str {
        match &self.reason {
            Reason::NotUtf8 { .. } => "UTF-8",
            Reason::NotJson(_) => "JSON",
            Reason::NotAnObject => "object",
            Reason::DuplicateKey(_) => "key",
            Reason::TooLong(_) => "length",
            Reason::FieldCount { .. } => "fields",
            Reason::Quotes(_) => "quotes",
            Reason::Value { column, .. } => column,
            Reason::CutOff => "end",
        }
    }
}

/// What a decoder made of a text.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) rejected: Vec<Refused>,
    pub(crate) unknown: Vec<String>,
}

impl Decoded {
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Places where a text is cut into what arrives: none, every byte, or some.
pub(crate) fn random_cuts(random: &mut Random, length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = match random.below(3) {
        0 => Vec::new(),
        1 => (0..=length).collect(),
        _ => (0..random.below(10)).map(|_| random.below(length + 1)).collect(),
    };
    cuts.sort_unstable();
    cuts
}

/// Gives a text as it arrives, cut at some places.
struct Arriving {
    text: Vec<u8>,
    cuts: Vec<usize>,
    at: usize,
}

impl Read for Arriving {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = self.cuts.iter().copied().find(|cut| *cut > self.at).unwrap_or(self.text.len());
        let n = (end - self.at).min(into.len());
        into[..n].copy_from_slice(&self.text[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn decode(format: &Format, schema: &SchemaRef, options: &DecodeOptions, text: &[u8], cuts: &[usize]) -> Decoded {
    let schema = baler_format::schema::Schema::of_arrow(schema).unwrap();
    let source = Source::stream(Arriving { text: text.to_vec(), cuts: cuts.to_vec(), at: 0 });
    let mut decoder = Decoder::new(format, &schema, options, source).unwrap();
    let (mut batches, mut rejected) = (Vec::new(), Vec::new());
    while let Some(decoded) = decoder.next_batch().unwrap() {
        if decoded.batch.num_rows() > 0 {
            batches.push(decoded.batch);
        }
        rejected.extend(decoded.rejected.into_iter().map(|rejected| {
            let Position::Line { line, offset } = rejected.position else { panic!("text has lines") };
            Refused { line, offset, raw: rejected.raw, reason: rejected.reason }
        }));
    }
    Decoded { batches, rejected, unknown: decoder.unknown().map(str::to_owned).collect() }
}

pub(crate) fn decode_json(schema: &SchemaRef, options: &DecodeOptions, text: &[u8], cuts: &[usize]) -> Decoded {
    decode(&Format::JsonLines, schema, options, text, cuts)
}

pub(crate) fn decode_csv(
    schema: &SchemaRef,
    csv: &Csv,
    options: &DecodeOptions,
    text: &[u8],
    cuts: &[usize],
) -> Decoded {
    decode(&Format::Csv(csv.clone()), schema, options, text, cuts)
}

/// CSV whose first line is a record.
pub(crate) fn headless() -> Csv {
    Csv { header: false, ..Csv::default() }
}
