//! The two ways to read text, held against each other.

use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::decode::{Floats, TextFrom};
use crate::schema::{Column, TimeUnit};

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Gives bytes in pieces of any size, and then perhaps a fault.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    random: Random,
    most: usize,
    is_faulty: bool,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() && self.is_faulty {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let n = (1 + self.random.below(self.most)).min(rest.len()).min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

fn schema(random: &mut Random) -> Schema {
    let names = ["id", "a", "name, with", "größe", "a_rather_long_name_of_more_than_thirty_two_bytes", "x.y", "B", "t"];
    let count = 1 + random.below(names.len());
    let column = |name: &&str| {
        let unit = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
        let scale = random.below(5) as u8;
        let kind = match random.below(9) {
            0 | 1 => Type::Int64,
            2 => Type::Float64,
            3 => Type::Bool,
            4 | 5 => Type::Text,
            6 => Type::Decimal { precision: scale + 1 + random.below(30) as u8, scale },
            7 => Type::Date,
            _ => {
                let zone = random.one_in(2).then(|| random.of(&["UTC", "+00:00", "Z"]).to_owned());
                Type::Timestamp { unit: unit[random.below(4)], zone }
            }
        };
        Column { name: (*name).to_owned(), kind, nullable: !random.one_in(6) }
    };
    Schema::try_new(names[..count].iter().map(column).collect()).unwrap()
}

fn options(random: &mut Random) -> DecodeOptions {
    let literals: [&[&str]; 4] = [&[""], &["", "NA"], &["-999", "null", "true"], &[]];
    DecodeOptions {
        batch_rows: [1, 3, 20, 8_192][random.below(4)],
        batch_bytes: [1, 50, 1_000, 1 << 20][random.below(4)],
        record_bytes: [30, 100, 200, 1 << 20][random.below(4)],
        raw_bytes: [3, 1_000][random.below(2)],
        epoch: [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Nanosecond][random.below(3)],
        text_from: [TextFrom::Text, TextFrom::Anything][random.below(2)],
        floats: [Floats::Finite, Floats::Any][random.below(2)],
        null_literals: literals[random.below(4)].iter().map(|literal| (*literal).to_owned()).collect(),
        ..DecodeOptions::default()
    }
}

fn number(random: &mut Random) -> String {
    let integer = (random.next() as i64) >> random.below(64);
    match random.below(12) {
        0 => format!("{integer}.0"),
        1 => format!("{integer}.{:03}", random.below(1_000)),
        2 => format!("{}e{}", random.below(100), random.below(30) as i64 - 10),
        3 => format!("{:?}", f64::from_bits(random.next())),
        4 => format!("{:?}", random.next() as f64 / u64::MAX as f64),
        5 => random
            .of(&[
                "-0",
                "-0.0",
                "0e99999999999999999999",
                "1e400",
                "00",
                "007",
                "+1",
                ".5",
                "5.",
                "-",
                "1.e3",
                "1E+2",
                "9223372036854775807",
                "9223372036854775808",
                "-9223372036854775808",
                "-9223372036854775809",
                "99999999999999999999999999999999999999",
                "1000000000000000000000000000000",
                "0.10000000000000000000",
            ])
            .to_owned(),
        6 | 7 => format!("{}.{:02}", random.below(1_000), random.below(100)),
        _ => format!("{}", random.below(100_000) as i64 - 5_000),
    }
}

fn time(random: &mut Random) -> String {
    let year = *random.of(&[&1970, &2026, &1677, &2262, &1900, &2024, &0, &9999]);
    let mut text = format!("{year:04}-{:02}-{:02}", random.below(14), random.below(32));
    if random.one_in(4) {
        return text;
    }
    text.push_str(random.of(&["T", "T", " ", "t", "-"]));
    text.push_str(&format!("{:02}:{:02}", random.below(25), random.below(61)));
    if !random.one_in(6) {
        text.push_str(&format!(":{:02}", random.below(61)));
        text.push_str(random.of(&[
            "",
            "",
            ".5",
            ".25",
            ".250",
            ".123456",
            ".123456789",
            ".1234567891",
            ".000000000",
            ",5",
            ".",
        ]));
    }
    text.push_str(random.of(&["", "", "Z", "z", "+00:00", "+05:30", "-1100", "+01", "+24:00", " "]));
    text
}

fn text(random: &mut Random) -> String {
    let pieces = [
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
        "\r",
        "\t",
        ",",
        ";",
        "{",
        "null",
        "NA",
        "",
        "\u{1}",
        "sixteen bytes ok",
        "a longer piece of text that needs more than two blocks of sixteen bytes",
    ];
    (0..random.below(4)).map(|_| random.of(&pieces)).collect()
}

/// A value that mostly fits its column, without quotes.
fn value(random: &mut Random, kind: &Type) -> String {
    if random.one_in(30) {
        return random
            .of(&["", "x", "true", "NA", "-999", "nan", "-inf", "Infinity", "1", "2026-01-01", "{}", "[1]"])
            .to_owned();
    }
    match kind {
        Type::Bool => random.of(&["true", "false", "true", "false", "True", "FALSE", "tru", "1"]).to_owned(),
        Type::Text => text(random),
        Type::Date => time(random).chars().take(10 + usize::from(random.one_in(20))).collect(),
        Type::Timestamp { .. } if !random.one_in(4) => time(random),
        Type::Int64 if !random.one_in(5) => format!("{}", (random.next() as i64) >> random.below(64)),
        _ => number(random),
    }
}

fn quoted(random: &mut Random, text: &str) -> String {
    let mut out = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if (character as u32) < 0x20 || random.one_in(30) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => out.push(character),
        }
    }
    out + "\""
}

fn json(random: &mut Random, schema: &Schema, count: usize) -> String {
    let mut out = String::new();
    let (colon, comma) = (random.of(&[":", ": "]), random.of(&[",", ", "]));
    for _ in 0..count {
        let mut members = Vec::new();
        for column in schema.columns() {
            if random.one_in(12) {
                continue;
            }
            let value = match column.kind {
                _ if random.one_in(10) => "null".to_owned(),
                Type::Text | Type::Date => value(random, &column.kind),
                Type::Timestamp { .. } | Type::Decimal { .. } => value(random, &column.kind),
                _ => value(random, &column.kind),
            };
            let is_bare = match column.kind {
                Type::Text | Type::Date => random.one_in(20),
                Type::Timestamp { .. } | Type::Decimal { .. } => !value.contains(':') && !random.one_in(3),
                _ => !random.one_in(20),
            };
            let value = if is_bare || value == "null" { value } else { quoted(random, &value) };
            let space = if random.one_in(15) { random.of(&[" ", "\t", "\r"]) } else { "" };
            members.push(format!("{}{space}{colon}{space}{value}", quoted(random, &column.name)));
        }
        if random.one_in(4) {
            let (name, at) =
                (random.of(&["other", "z", "id", "key\\u0020escaped", "\\ud800"]), random.below(members.len() + 1));
            let value =
                random.of(&["1", "\"x\"", "[1, {\"a\" : [ ]}]", "\"\\ud800\"", "{\"a\":1,\"a\":2}", "1e999", "[1,]"]);
            members.insert(at, format!("\"{name}\"{colon}{value}"));
        }
        if random.one_in(6) && members.len() > 1 {
            let by = random.below(members.len());
            members.rotate_left(by);
        }
        out.push_str(random.of(&["", "", "", "", " "]));
        out.push_str(&format!("{{{}}}", members.join(comma)));
        out.push_str(random.of(&["\n", "\n", "\n", "\n", "\r\n", "\n\n", " \n \t\n", "\u{c}\n"]));
    }
    out
}

fn csv(random: &mut Random, schema: &Schema, csv: &Csv, count: usize) -> String {
    let mut out = String::new();
    let delimiter = char::from(csv.delimiter).to_string();
    let field = |random: &mut Random, text: &str| {
        let needs = text.contains(['"', '\n', '\r']) || text.contains(&delimiter);
        if needs || random.one_in(8) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    let mut columns: Vec<Option<&Column>> = schema.columns().iter().map(Some).collect();
    if csv.header {
        if random.one_in(3) {
            columns.remove(random.below(columns.len()));
        }
        if columns.is_empty() || random.one_in(3) {
            columns.insert(random.below(columns.len() + 1), None);
        }
        let by = random.below(columns.len());
        columns.rotate_left(by);
        let names: Vec<String> =
            columns.iter().map(|column| field(random, column.map_or("other", |column| &column.name))).collect();
        out.push_str(&(names.join(&delimiter) + "\n"));
    }
    let is_plain = random.one_in(2);
    for _ in 0..count {
        let mut fields = Vec::new();
        for column in &columns {
            let kind = column.map_or(&Type::Text, |column| &column.kind);
            let text = if random.one_in(8) { String::new() } else { value(random, kind) };
            let text = if is_plain { text.replace(['"', '\n', '\r'], "").replace(&delimiter, "") } else { text };
            fields.push(if is_plain { text } else { field(random, &text) });
        }
        if random.one_in(30) {
            fields.push("1".to_owned());
        }
        out.push_str(&fields.join(&delimiter));
        out.push_str(random.of(&["\n", "\n", "\n", "\n", "\n", "\r\n", "\n\n", "\r\r\n"]));
    }
    out
}

/// Changes, removes, repeats and inserts a few bytes.
fn damage(random: &mut Random, text: &mut Vec<u8>) {
    let pool = b"\"\"\"\\{}[]:,,;0123456789.eE+-tfnuTZ \t\r\n\n\x00\x1f\xff\xc3";
    for _ in 0..random.below(6) {
        if text.is_empty() {
            return;
        }
        let at = random.below(text.len());
        match random.below(5) {
            0 => text[at] = pool[random.below(pool.len())],
            1 => text.insert(at, pool[random.below(pool.len())]),
            2 => drop(text.remove(at)),
            3 => text[at] ^= 1 << random.below(8),
            _ => {
                let piece = text[at..(at + random.below(20)).min(text.len())].to_vec();
                let to = random.below(text.len());
                text.splice(to..to, piece);
            }
        }
    }
}

type Step = (RecordBatch, Positions, Vec<Rejected>);

/// Everything that a decoder gives.
fn outcome(mut decoder: TextDecoder) -> (Vec<Step>, Option<String>, Unknown) {
    let mut unknown = Unknown::default();
    let mut steps = Vec::new();
    loop {
        match decoder.next_batch(&mut unknown) {
            Ok(Some(Decoded { batch, positions, rejected })) => steps.push((batch, positions, rejected)),
            Ok(None) => return (steps, None, unknown),
            Err(error) => return (steps, Some(format!("{error:?}")), unknown),
        }
    }
}

fn compare(random: &mut Random, format: &Format, schema: &Schema, options: &DecodeOptions, text: &[u8]) {
    let is_faulty = random.one_in(4);
    let source = |seed: u64, most: usize| {
        Source::stream(Pieces { bytes: text.to_vec(), at: 0, random: Random::new(seed), most, is_faulty })
    };
    let most = [1, 7, 100, 1 << 20][random.below(4)];
    let ruled = TextDecoder::with(Spare::default(), Plain::None, format, schema, options, source(1, most)).unwrap();
    assert!(matches!(ruled.batch, Batch::Any(_)));
    // In the memory of one that has ended anywhere.
    let mut before = TextDecoder::open(Spare::default(), format, schema, options, source(random.next(), most)).unwrap();
    for _ in 0..random.below(3) {
        drop(before.next_batch(&mut Unknown::default()));
    }
    let spare = before.into_spare();
    let plain = TextDecoder::open(spare, format, schema, options, source(random.next(), most)).unwrap();
    assert!(matches!(plain.batch, Batch::Plain(_)));
    let (ruled, plain) = (outcome(ruled), outcome(plain));
    let shown = String::from_utf8_lossy(text);
    for (ruled, plain) in ruled.0.iter().zip(&plain.0) {
        assert_eq!(plain.2, ruled.2, "{shown}");
        assert_eq!(plain.1, ruled.1, "{shown}");
        assert_eq!(plain.0, ruled.0, "{shown}");
    }
    assert_eq!(plain.0.len(), ruled.0.len());
    assert_eq!(plain.1, ruled.1);
    assert_eq!(plain.2.names, ruled.2.names, "{shown}");
}

fn with_mark(random: &mut Random, text: String) -> Vec<u8> {
    let mark = if random.one_in(20) { "\u{feff}" } else { "" };
    let mut text = format!("{mark}{text}").into_bytes();
    if random.one_in(2) {
        damage(random, &mut text);
    }
    if random.one_in(4) {
        while matches!(text.last(), Some(b'\n' | b'\r')) {
            text.pop();
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn json_lines_are_read_the_same_in_both_ways(seed: u64) {
        let random = &mut Random::new(seed);
        let (schema, options) = (schema(random), options(random));
        let count = random.below(30);
        let text = json(random, &schema, count);
        let text = with_mark(random, text);
        compare(random, &Format::JsonLines, &schema, &options, &text);
    }

    #[test]
    fn csv_is_read_the_same_in_both_ways(seed: u64) {
        let random = &mut Random::new(seed);
        let (schema, options) = (schema(random), options(random));
        let format = Csv { delimiter: *random.of(&[&b',', &b';', &b'\t', &b'|', &b'{']), quote: b'"', header: random.one_in(2) };
        let count = random.below(60);
        let text = csv(random, &schema, &format, count);
        let text = with_mark(random, text);
        compare(random, &Format::Csv(format), &schema, &options, &text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn long_texts_are_read_the_same_in_both_ways(seed: u64) {
        let random = &mut Random::new(seed);
        let (schema, options) = (schema(random), DecodeOptions { batch_bytes: 40_000, ..DecodeOptions::default() });
        let format = Csv { header: false, ..Csv::default() };
        let text = csv(random, &schema, &format, 4_000);
        let text = with_mark(random, text);
        compare(random, &Format::Csv(format), &schema, &options, &text);
        let text = json(random, &schema, 2_000);
        let text = with_mark(random, text);
        compare(random, &Format::JsonLines, &schema, &options, &text);
    }
}

/// Records that a program writes: none of them is for the rules.
#[test]
fn what_is_written_as_most_is_needs_no_rules() {
    let schema: Schema = "i: int64, f: float64, t: text, d: timestamp(ms, UTC), b: bool".parse().unwrap();
    let lines: String = (0..1_000)
        .map(|n| format!("{{\"i\":{n},\"f\":{n}.5,\"t\":\"text \\\"{n}\\\"\",\"d\":\"2026-03-01T00:00:00.{n:03}Z\",\"b\":true}}\n"))
        .collect();
    let table: String =
        (0..1_000).map(|n| format!("{n},{n}.5,\"text \"\"{n}\"\"\",2026-03-01T00:00:00.{n:03}Z,true\n")).collect();
    let csv = Format::Csv(Csv { header: false, ..Csv::default() });
    for (format, text) in [(Format::JsonLines, lines), (csv, table)] {
        let bytes = text.len();
        let (options, source) = (DecodeOptions::default(), Source::bytes(text.into_bytes()));
        let mut decoder = TextDecoder::open(Spare::default(), &format, &schema, &options, source).unwrap();
        let mut places = Places::default();
        let taken = decoder.take_plain(Room { rows: 8_192, bytes: 1 << 20 }, &mut places, &mut Unknown::default());
        assert_eq!((taken, places.lines.len()), (bytes, 1_000), "{format}");
    }
}
