//! Damaged texts: nothing panics, no record vanishes, and what is accepted is what it claims to be.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use baler_format::decode::{DecodeOptions, Reason};
use proptest::prelude::*;

use super::support::{Decoded, Random, decode_csv, decode_json, headless, random_cuts};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("price", DataType::Float64, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("cost", DataType::Decimal128(10, 2), true),
    ]))
}

const JSON: &str = concat!(
    "{\"id\":12345678901,\"price\":-12.5,\"ok\":true,\"name\":\"caf\\u00e9 \\\"x\\\" \\ud83d\\ude80\",\"at\":\"2026-03-01T12:30:59.123Z\",\"cost\":1.25}\n",
    "{\"id\": -7, \"price\": 1e-5, \"ok\": false, \"name\": \"größer als sechzehn Bytes\", \"at\": 1577836800, \"cost\": \"3\"}\n",
    "{\"id\":null,\"z\":[1,{\"a\":\"b\\\\\"},[true,null,0.5E+3]],\"price\":0,\"name\":\"\"}\r\n",
    "{}\n",
);

const CSV: &str = "12345678901,-12.5,true,plain text,2026-03-01T12:30:59.123Z,1.25\n\
                   -7,1e-5,false,größer als sechzehn Bytes,1577836800,3\r\n\
                   ,,,,,\n\
                   0,0.1234567890123456,True,x,2026-03-01,-0.5\n";

/// Changes, removes, repeats and inserts a few bytes.
fn damaged(random: &mut Random, text: &str, pool: &[u8]) -> Vec<u8> {
    let mut text = text.repeat(1 + random.below(3)).into_bytes();
    for _ in 0..1 + random.below(6) {
        let at = random.below(text.len());
        match random.below(5) {
            0 => text[at] = *random.of(pool),
            1 => text.insert(at, *random.of(pool)),
            2 => drop(text.remove(at)),
            3 => text[at] ^= 1 << random.below(8),
            _ => {
                let end = (at + random.below(20)).min(text.len());
                let piece = text[at..end].to_vec();
                let to = random.below(text.len());
                text.splice(to..to, piece);
            }
        }
    }
    text
}

/// Rejected records stand in order, apart, and inside the text.
fn check_ranges(decoded: &Decoded, text: &[u8]) {
    let mut end = 0;
    for rejected in &decoded.rejected {
        let start = rejected.offset as usize;
        assert!(start >= end && start < text.len());
        assert_eq!(rejected.line, 1 + text[..start].iter().filter(|&&byte| byte == b'\n').count() as u64);
        end = start + rejected.raw.len();
        assert_eq!(text.get(start..end), Some(rejected.raw.as_slice()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn damaged_json_is_accepted_if_and_only_if_it_is_json(seed: u64) {
        let mut random = Random::new(seed);
        let text = damaged(&mut random, JSON, b"\"\\{}[]:,0123456789.eE+-tfnu \t\r\n\x00\x1f\xff\xc3");
        let options = DecodeOptions { batch_rows: 3, ..DecodeOptions::default() };
        let decoded = decode_json(&schema(), &options, &text, &[]);
        check_ranges(&decoded, &text);
        let cuts = random_cuts(&mut random, text.len());
        prop_assert_eq!(&decode_json(&schema(), &options, &text, &cuts), &decoded);

        let (mut records, mut start) = (0, 0);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let rejected = decoded.rejected.iter().find(|rejected| rejected.offset == start);
            start += line.len() as u64;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if line.trim_ascii().is_empty() {
                continue;
            }
            records += 1;
            let parsed = serde_json::from_slice::<serde_json::Value>(line);
            let shown = String::from_utf8_lossy(line);
            match rejected.map(|rejected| &rejected.reason) {
                None => match parsed {
                    Ok(value) => prop_assert!(value.is_object(), "{shown}"),
                    // A number beyond doubles or half a character, for a key that nobody asked for.
                    Err(error) => {
                        let words = error.to_string();
                        // Of a first half that another escape or none follows, serde_json says the latter.
                        let half = words.contains("surrogate") || words.contains("unexpected end of hex escape");
                        prop_assert!(half || words.contains("number out of range"), "{shown}: {words}");
                    }
                },
                Some(Reason::NotAnObject) => prop_assert!(!parsed.is_ok_and(|value| value.is_object()), "{shown}"),
                Some(Reason::NotJson(_) | Reason::NotUtf8 { .. }) => {
                    prop_assert!(parsed.is_err(), "{rejected:?} {shown}");
                }
                Some(_) => {}
            }
        }
        prop_assert_eq!(decoded.rows() + decoded.rejected.len(), records);
    }

    #[test]
    fn damaged_csv_keeps_every_record(seed: u64) {
        let mut random = Random::new(seed);
        let text = damaged(&mut random, CSV, b",,,0123456789.eE+-Tx \t\r\n\n\x00\xff\xc3");
        // Without quotes, records are lines.
        let text: Vec<u8> = text.into_iter().map(|byte| if byte == b'"' { b'\'' } else { byte }).collect();
        let options = DecodeOptions { batch_rows: 3, ..DecodeOptions::default() };
        let decoded = decode_csv(&schema(), &headless(), &options, &text, &[]);
        check_ranges(&decoded, &text);
        let cuts = random_cuts(&mut random, text.len());
        prop_assert_eq!(&decode_csv(&schema(), &headless(), &options, &text, &cuts), &decoded);

        let lines = text.split(|&byte| byte == b'\n');
        let records = lines.filter(|line| !matches!(*line, b"" | b"\r")).count();
        prop_assert_eq!(decoded.rows() + decoded.rejected.len(), records);
        for rejected in &decoded.rejected {
            let line = rejected.raw.as_slice();
            let fields = line.iter().filter(|&&byte| byte == b',').count() + 1;
            if !matches!(rejected.reason, Reason::NotUtf8 { .. }) {
                prop_assert_eq!(
                    matches!(rejected.reason, Reason::FieldCount { .. }), fields != 6, "{}", String::from_utf8_lossy(line)
                );
            }
        }
    }

    #[test]
    fn damaged_quotes_do_not_depend_on_how_the_text_arrives(seed: u64) {
        let mut random = Random::new(seed);
        let quoted = CSV.replace("plain text", "\"plain,\n\"\"text\"\"\"").replace(",x,", ",\"x\",");
        let text = damaged(&mut random, &quoted, b"\"\"\"\"\",,\n\n\rx0");
        let limit = *random.of(&[30, 100, 1 << 20]);
        let options = DecodeOptions { record_bytes: limit, ..DecodeOptions::default() };
        let decoded = decode_csv(&schema(), &headless(), &options, &text, &[]);
        check_ranges(&decoded, &text);
        let cuts = random_cuts(&mut random, text.len());
        prop_assert_eq!(decode_csv(&schema(), &headless(), &options, &text, &cuts), decoded);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), seed: u64) {
        let mut random = Random::new(seed);
        let cuts = random_cuts(&mut random, bytes.len());
        let json = decode_json(&schema(), &DecodeOptions::default(), &bytes, &cuts);
        check_ranges(&json, &bytes);
        let options = DecodeOptions::default();
        let csv = decode_csv(&schema(), &headless(), &options, &bytes, &cuts);
        check_ranges(&csv, &bytes);
    }
}
