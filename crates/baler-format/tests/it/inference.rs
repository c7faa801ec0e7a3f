//! Schemas from samples.

use std::io::Cursor;

use baler_format::decode::{DecodeError, DecodeOptions, TextFrom};
use baler_format::schema::{Drift, Inference, infer, settle, widen};
use baler_format::{Csv, Format};
use proptest::prelude::*;

use super::samples::{csv, decode_with, encode, kinds, records, schema};

fn inferred(format: &Format, samples: &[&str]) -> String {
    let samples = samples.iter().map(|sample| Cursor::new(sample.as_bytes().to_vec()));
    infer(format, &DecodeOptions::default(), samples, 1_000).unwrap().to_string()
}

#[test]
fn types_widen_over_the_samples_of_several_objects() {
    let samples = [
        "{\"i\":1,\"f\":1,\"m\":1,\"n\":null,\"big\":9223372036854775808,\"s\":{\"x\":1},\"l\":[]}\n",
        "not json\n{\"m\":\"x\",\"f\":1.5,\"s\":{\"x\":2.5,\"y\":true},\"l\":[1,null]}\n{\"l\":[2.5],\"late\":false",
    ];
    assert_eq!(
        inferred(&Format::JsonLines, &samples),
        "i: int64, f: float64, m: text, n: text, big: decimal(38,0), s: struct(x: float64, y: bool), l: list(int64)"
    );
    let mut inference = Inference::default();
    for sample in samples {
        inference.add(&Format::JsonLines, &DecodeOptions::default(), Cursor::new(sample.as_bytes()), 1_000).unwrap();
    }
    assert_eq!(inference.counts(), (2, 2));
}

#[test]
fn fields_of_csv_show_their_types() {
    let text = "id,price,code,flag,name,empty,quoted\n1,2,0012,true,x,,\"5\"\n-2,2.5e3,0013,False,,,\n";
    assert_eq!(
        inferred(&csv(), &[text]),
        "id: int64, price: float64, code: text, flag: bool, name: text, empty: text, quoted: text"
    );
    assert_eq!(inferred(&csv(), &["a,b\n"]), "a: text, b: text");
    let format = Format::Csv(Csv { header: false, ..Csv::default() });
    assert_eq!(inferred(&format, &["1,x\n"]), "column_1: int64, column_2: text");
}

#[test]
fn records_of_a_document_show_their_types() {
    let format = Format::Json { records: vec!["r".to_owned()] };
    assert_eq!(inferred(&format, &["{\"v\":1,\"r\":[{\"a\":1},{\"a\":2,\"b\":\"x\"}]}"]), "a: int64, b: text");
}

#[test]
fn formats_that_state_their_schema_are_not_guessed_at() {
    let error = infer(&Format::Parquet, &DecodeOptions::default(), [Cursor::new(Vec::new())], 1).unwrap_err();
    assert!(matches!(error, DecodeError::Usage(_)));
}

#[test]
fn the_metadata_of_a_real_dataset_is_read() {
    let Some(folder) = std::env::var_os("BALER_TEST_DATA") else {
        eprintln!("skipped: `BALER_TEST_DATA` does not name the folder of outside data");
        return;
    };
    let folder = std::path::Path::new(&folder).join("s3db/miso/realtime_price");
    let metadata = baler_format::schema::S3db::parse(&std::fs::read(folder.join("METADATA.json")).unwrap()).unwrap();
    assert_eq!(
        metadata.schema.to_string(),
        "release_date: int64, target_start: int64, target_end: int64, target_bounds: int64, node_name: text, tag: text, \
         lmp: float64, mlc: float64, mcc: float64"
    );
    assert_eq!(metadata.key, ["release_date", "target_start", "target_end", "node_name", "tag"]);
    let mut objects = 0;
    for object in std::fs::read_dir(folder.join("year=2020")).unwrap().take(1) {
        let bytes = std::fs::read(object.unwrap().path()).unwrap();
        let text = baler_format::codec::decode_whole(baler_format::codec::Codec::Gzip, &bytes, 1 << 30).unwrap();
        let streamed =
            super::samples::decode_compressed(&csv(), baler_format::codec::Codec::Gzip, &metadata.schema, &bytes);
        assert!(streamed.error.is_none() && streamed.unknown.is_empty(), "{:?}", streamed.error);
        assert_eq!(streamed.rejected, []);
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(streamed.rows(), lines - 1);
        objects += 1;
    }
    assert!(objects > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn widening_is_the_same_from_both_sides_and_twice(a in kinds(true), b in kinds(true)) {
        let names = |kind: &baler_format::schema::Type| {
            // The order of a struct's members follows the left side.
            let mut names: Vec<char> = kind.to_string().chars().collect();
            names.sort_unstable();
            names
        };
        let wide = widen(&a, &b);
        prop_assert_eq!(names(&wide), names(&widen(&b, &a)));
        prop_assert_eq!(&widen(&wide, &b), &wide);
        prop_assert_eq!(&widen(&a, &a), &a);
        prop_assert_eq!(wide.to_string().parse::<baler_format::schema::Type>().unwrap(), wide);
    }

    #[test]
    fn every_record_of_the_samples_fits_the_schema_that_they_show((_, batches) in records(true), second in records(true)) {
        let one = encode(&Format::JsonLines, &second.0, baler_format::codec::Compression::NONE, &second.1);
        let schema_of_first = batches.first().map(|batch| baler_format::schema::Schema::of_arrow(&batch.schema()).unwrap());
        let two = schema_of_first
            .map(|schema| encode(&Format::JsonLines, &schema, baler_format::codec::Compression::NONE, &batches))
            .unwrap_or_default();
        let samples = [one.clone(), two.clone()].map(Cursor::new);
        let shown = infer(&Format::JsonLines, &DecodeOptions::default(), samples, u64::MAX).unwrap();
        let options = DecodeOptions { text_from: TextFrom::Anything, ..DecodeOptions::default() };
        for text in [one, two] {
            let taken = decode_with(&Format::JsonLines, &shown, &options, &text);
            prop_assert_eq!(&taken.rejected, &[]);
            prop_assert!(taken.unknown.is_empty());
        }
    }

    #[test]
    fn the_wider_schema_holds_what_both_hold((a, _) in records(true), (b, _) in records(true)) {
        let wide = settle(&a, &b, Drift::Widen).unwrap();
        let again = settle(&wide, &b, Drift::Widen).unwrap();
        prop_assert_eq!(&again, &wide);
        prop_assert_eq!(wide.to_string().parse::<baler_format::schema::Schema>().unwrap(), wide);
        prop_assert!(schema(&a.to_string()) == a);
    }
}
