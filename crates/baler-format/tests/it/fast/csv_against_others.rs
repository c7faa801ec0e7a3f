//! CSV read by the fast decoder, by the `csv` crate and by arrow-csv.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use baler_format::Csv;
use baler_format::decode::DecodeOptions;
use proptest::prelude::*;

use super::support::{
    Random, decode_csv, random_cuts, random_date, random_number, random_schema, random_text, random_time,
};

fn field(random: &mut Random, data_type: &DataType) -> String {
    match data_type {
        _ if random.one_in(8) => String::new(),
        DataType::Boolean => (*random.of(&["true", "false"])).to_owned(),
        DataType::Utf8 => random_text(random),
        DataType::Date32 => random_date(random),
        DataType::Timestamp(..) => random_time(random, data_type),
        _ => random_number(random, data_type),
    }
}

/// Writes records with the `csv` crate, quoting what needs it or all.
fn written(random: &mut Random, schema: &Schema, count: usize, delimiter: u8) -> Vec<u8> {
    let style = *random.of(&[csv::QuoteStyle::Necessary, csv::QuoteStyle::Always, csv::QuoteStyle::NonNumeric]);
    let terminator = *random.of(&[csv::Terminator::CRLF, csv::Terminator::Any(b'\n')]);
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .quote_style(style)
        .terminator(terminator)
        .from_writer(Vec::new());
    writer.write_record(schema.fields().iter().map(|field| field.name().as_str())).unwrap();
    for _ in 0..count {
        writer.write_record(schema.fields().iter().map(|column| field(random, column.data_type()))).unwrap();
    }
    let mut text = writer.into_inner().unwrap();
    if random.one_in(3) {
        while matches!(text.last(), Some(b'\n' | b'\r')) {
            text.pop();
        }
    }
    text
}

fn texts_only(columns: usize) -> SchemaRef {
    Schema::new((0..columns).map(|at| Field::new(format!("c{at}"), DataType::Utf8, true)).collect::<Vec<_>>()).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn fields_are_cut_as_the_csv_crate_cuts_them(seed: u64) {
        let mut random = Random::new(seed);
        let schema = texts_only(2 + random.below(5));
        let delimiter = *random.of(b",;\t|");
        let count = random.below(30);
        let text = written(&mut random, &schema, count, delimiter);
        let csv = Csv { delimiter, ..Csv::default() };
        let options =
            DecodeOptions { null_literals: Vec::new(), batch_rows: 1 + random.below(20), ..DecodeOptions::default() };
        let cuts = random_cuts(&mut random, text.len());
        let decoded = decode_csv(&schema, &csv, &options, &text, &cuts);
        prop_assert_eq!(&decoded.rejected, &vec![]);

        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_slice());
        let expected: Vec<Vec<String>> =
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        let mut rows: Vec<Vec<String>> = Vec::new();
        for batch in &decoded.batches {
            for row in 0..batch.num_rows() {
                rows.push(batch.columns().iter().map(|column| column.as_string::<i32>().value(row).to_owned()).collect());
            }
        }
        prop_assert_eq!(rows, expected);
    }

    #[test]
    fn values_are_read_as_arrow_csv_reads_them(seed: u64) {
        let mut random = Random::new(seed);
        let schema = random_schema(&mut random);
        // A lone column's null is a blank line, which is no record.
        prop_assume!(schema.fields().len() > 1);
        let count = random.below(40);
        let text = written(&mut random, &schema, count, b',');
        let options = DecodeOptions { batch_rows: 1 + random.below(20), ..DecodeOptions::default() };
        let cuts = random_cuts(&mut random, text.len());
        let decoded = decode_csv(&schema, &Csv::default(), &options, &text, &cuts);
        prop_assert_eq!(&decoded.rejected, &vec![], "{}", String::from_utf8_lossy(&text));

        let reader = arrow_csv::ReaderBuilder::new(schema.clone())
            .with_header(true)
            .with_batch_size(options.batch_rows)
            .build_buffered(text.as_slice())
            .unwrap();
        let expected: Vec<_> = reader.map(Result::unwrap).collect();
        prop_assert_eq!(decoded.batches.len(), expected.len());
        for (ours, theirs) in decoded.batches.iter().zip(&expected) {
            for (ours, theirs) in ours.columns().iter().zip(theirs.columns()) {
                if ours.data_type() == &DataType::Utf8 {
                    // arrow-csv takes a quoted empty text for null.
                    let (ours, theirs) = (ours.as_string::<i32>(), theirs.as_string::<i32>());
                    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
                    prop_assert_eq!(
                        ours.iter().map(text).collect::<Vec<_>>(),
                        theirs.iter().map(text).collect::<Vec<_>>()
                    );
                } else {
                    prop_assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(&text));
                }
            }
        }
    }
}

#[test]
fn cuts_at_every_byte_change_nothing() {
    let mut random = Random::new(11);
    let mut cut_texts = 0;
    for _ in 0..4 {
        let schema = random_schema(&mut random);
        let text = written(&mut random, &schema, 8, b',');
        let options = DecodeOptions { batch_rows: 3, ..DecodeOptions::default() };
        let whole = decode_csv(&schema, &Csv::default(), &options, &text, &[]);
        assert_eq!(whole.rejected, vec![]);
        for cut in 0..=text.len() {
            assert_eq!(decode_csv(&schema, &Csv::default(), &options, &text, &[cut]), whole, "cut at {cut}");
            cut_texts += 1;
        }
    }
    assert!(cut_texts > 500);
}

#[test]
fn more_than_a_window_of_text_is_read_as_the_csv_crate_reads_it() {
    let mut random = Random::new(3);
    let schema = texts_only(3);
    for _ in 0..4 {
        let text = written(&mut random, &schema, 3000, b',');
        let options = DecodeOptions { null_literals: Vec::new(), ..DecodeOptions::default() };
        let decoded = decode_csv(&schema, &Csv::default(), &options, &text, &[text.len() / 2]);
        let mut reader = csv::Reader::from_reader(text.as_slice());
        for (row, record) in reader.records().enumerate() {
            for (column, expected) in record.unwrap().iter().enumerate() {
                assert_eq!(decoded.batches[0].column(column).as_string::<i32>().value(row), expected);
            }
        }
        assert_eq!(decoded.rows(), 3000);
    }
}
