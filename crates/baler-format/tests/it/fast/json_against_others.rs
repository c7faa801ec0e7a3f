//! JSON lines read by the fast decoder and by arrow-json.

use arrow_schema::{DataType, Schema, SchemaRef};
use baler_format::decode::DecodeOptions;
use proptest::prelude::*;

use super::support::{
    Random, decode_json, random_cuts, random_date, random_number, random_schema, random_text, random_time,
};

fn quoted(random: &mut Random, text: &str) -> String {
    let mut out = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' if random.one_in(2) => out.push_str("\\n"),
            '\t' if random.one_in(2) => out.push_str("\\t"),
            '/' if random.one_in(2) => out.push_str("\\/"),
            _ if (character as u32) < 0x20 || random.one_in(20) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&if random.one_in(2) { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

fn value(random: &mut Random, data_type: &DataType) -> String {
    match data_type {
        _ if random.one_in(8) => "null".to_owned(),
        DataType::Boolean => (*random.of(&["true", "false"])).to_owned(),
        DataType::Utf8 => {
            let text = random_text(random);
            quoted(random, &text)
        }
        DataType::Date32 => format!("\"{}\"", random_date(random)),
        DataType::Timestamp(..) => format!("\"{}\"", random_time(random, data_type)),
        DataType::Decimal128(..) if random.one_in(3) => format!("\"{}\"", random_number(random, data_type)),
        _ => random_number(random, data_type),
    }
}

fn unknown(random: &mut Random) -> String {
    (*random.of(&[
        "1",
        "-0.5e3",
        "\"x\"",
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[1, 2, {\"a\" : [ ]}]",
        "{\"a\":{\"b\":[[],[{}]]},\"c\":\"\\u00e4\\\\\"}",
        "\"a \\\"quoted\\\" word of more than sixteen bytes\"",
    ]))
    .to_owned()
}

fn space(random: &mut Random, spaced: bool) -> &'static str {
    if spaced { random.of::<&str>(&["", " ", "  ", "\t", "\r"]) } else { "" }
}

/// Records of `schema`: keys mostly in one order, sometimes moved, missing, or unknown.
fn records(random: &mut Random, schema: &Schema, count: usize) -> String {
    let mut text = String::new();
    let spaced = random.one_in(2);
    let separator = *random.of::<&str>(&["", " "]);
    for _ in 0..count {
        let mut members: Vec<String> = Vec::new();
        for field in schema.fields() {
            if random.one_in(10) {
                continue;
            }
            let value = value(random, field.data_type());
            let spaced = spaced && random.one_in(3);
            let name = quoted(random, field.name());
            members.push(format!("{name}{}:{separator}{}{value}", space(random, spaced), space(random, spaced)));
        }
        if random.one_in(5) {
            let name = *random.of(&["other", "z", "key\\u0020escaped"]);
            let at = random.below(members.len() + 1);
            members.insert(at, format!("\"{name}\":{}", unknown(random)));
        }
        if random.one_in(6) && members.len() > 1 {
            let at = random.below(members.len());
            members.rotate_left(at);
        }
        let spaced = spaced && random.one_in(3);
        text.push_str(space(random, spaced));
        text.push('{');
        text.push_str(space(random, spaced));
        for (index, member) in members.iter().enumerate() {
            if index > 0 {
                text.push_str(space(random, spaced));
                text.push(',');
                text.push_str(separator);
            }
            text.push_str(member);
        }
        text.push_str(space(random, spaced));
        text.push('}');
        text.push_str(space(random, spaced));
        text.push_str(random.of::<&str>(&["\n", "\n", "\n", "\r\n", "\n\n"]));
    }
    if random.one_in(2) {
        text.truncate(text.trim_end().len());
    }
    text
}

fn arrow_json(schema: &SchemaRef, batch_rows: usize, text: &str) -> Vec<arrow_array::RecordBatch> {
    let reader = arrow_json::ReaderBuilder::new(schema.clone()).with_batch_size(batch_rows).build(text.as_bytes());
    reader.unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn good_records_are_read_as_arrow_json_reads_them(seed: u64) {
        let mut random = Random::new(seed);
        let schema = random_schema(&mut random);
        let count = random.below(40);
        let text = records(&mut random, &schema, count);
        let options = DecodeOptions { batch_rows: 1 + random.below(20), ..DecodeOptions::default() };
        let cuts = random_cuts(&mut random, text.len());
        let decoded = decode_json(&schema, &options, text.as_bytes(), &cuts);
        prop_assert_eq!(&decoded.rejected, &vec![], "{}", text);
        prop_assert_eq!(decoded.batches, arrow_json(&schema, options.batch_rows, &text), "{}", text);
    }
}

#[test]
fn cuts_at_every_byte_change_nothing() {
    let mut random = Random::new(5);
    let schema = random_schema(&mut random);
    let text = records(&mut random, &schema, 12);
    let options = DecodeOptions { batch_rows: 5, ..DecodeOptions::default() };
    let whole = decode_json(&schema, &options, text.as_bytes(), &[]);
    assert_eq!(whole.rows(), 12);
    for cut in 0..=text.len() {
        assert_eq!(decode_json(&schema, &options, text.as_bytes(), &[cut]), whole, "cut at {cut}");
    }
}

#[test]
fn more_than_a_window_of_text_is_read_as_arrow_json_reads_it() {
    let mut random = Random::new(9);
    for _ in 0..4 {
        let schema = random_schema(&mut random);
        let text = records(&mut random, &schema, 1500);
        let decoded = decode_json(&schema, &DecodeOptions::default(), text.as_bytes(), &[text.len() / 3]);
        assert_eq!(decoded.rejected, vec![]);
        assert_eq!(decoded.batches, arrow_json(&schema, 8192, &text));
    }
}
