#![no_main]

use std::io::Cursor;

use baler_format::decode::{DecodeOptions, Decoder, Source, TextFrom};
use baler_format::schema::infer;
use baler_format::{Csv, Format};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::JsonLines, Format::Csv(Csv::default())] {
        let options = DecodeOptions { record_bytes: 4_096, text_from: TextFrom::Anything, ..DecodeOptions::default() };
        let Ok(schema) = infer(&format, &options, [Cursor::new(bytes.to_vec())], 100) else { continue };
        assert_eq!(schema.to_string().parse::<baler_format::schema::Schema>().as_ref(), Ok(&schema));
        let source = Source::stream(Cursor::new(bytes.to_vec()));
        let Ok(mut decoder) = Decoder::new(&format, &schema, &options, source) else { continue };
        while let Ok(Some(_)) = decoder.next_batch() {}
    }
});
