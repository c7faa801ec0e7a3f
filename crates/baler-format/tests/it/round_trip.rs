//! What is written is read back the same, for random schemas and records, every format and codec.

use baler_format::Format;
use baler_format::codec::{Codec, Compression};
use baler_format::decode::{DecodeOptions, Source, stated_schema};
use baler_format::encode::{EncodeOptions, fault};
use proptest::prelude::*;

use super::samples::{Pieces, decode_compressed, decode_from, decode_with, encode, encode_with, formats, records};

fn concat(schema: &baler_format::schema::Schema, batches: &[arrow_array::RecordBatch]) -> arrow_array::RecordBatch {
    arrow_select::concat::concat_batches(&schema.to_arrow(), batches).unwrap()
}

/// CSV cannot tell a null in the only column from a blank line; with a literal it can.
fn literal() -> (EncodeOptions, DecodeOptions) {
    let encode = EncodeOptions { null_literal: "NULL".to_owned(), ..EncodeOptions::default() };
    (encode, DecodeOptions { null_literals: vec!["NULL".to_owned()], ..DecodeOptions::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn scalars_round_trip_in_every_format((schema, batches) in records(false), place in 0usize..8) {
        let format = &formats()[place];
        prop_assume!(fault(format, &schema, Compression::NONE).is_none());
        let (encoding, decoding) = literal();
        let bytes = encode_with(format, &schema, Compression::NONE, &encoding, &batches);
        let taken = decode_with(format, &schema, &decoding, &bytes);
        prop_assert!(taken.error.is_none(), "{:?}", taken.error);
        prop_assert_eq!(&taken.rejected, &[]);
        prop_assert_eq!(taken.batch(&schema), concat(&schema, &batches));
    }

    #[test]
    fn nested_values_round_trip_where_a_format_has_them((schema, batches) in records(true), place in 0usize..8) {
        let format = &formats()[place];
        prop_assume!(fault(format, &schema, Compression::NONE).is_none() && !matches!(format, Format::Csv(_)));
        let bytes = encode(format, &schema, Compression::NONE, &batches);
        let taken = decode_with(format, &schema, &DecodeOptions::default(), &bytes);
        prop_assert!(taken.error.is_none(), "{:?}", taken.error);
        prop_assert_eq!(&taken.rejected, &[]);
        // JSON leaves out null members, which come back as nulls; the values are the same.
        prop_assert_eq!(taken.batch(&schema), concat(&schema, &batches));
    }

    #[test]
    fn the_cuts_between_two_reads_do_not_matter((schema, batches) in records(false), place in 0usize..5, size in 1usize..40) {
        let format = &formats()[place];
        prop_assume!(fault(format, &schema, Compression::NONE).is_none());
        let (encoding, decoding) = literal();
        let bytes = encode_with(format, &schema, Compression::NONE, &encoding, &batches);
        let whole = decode_with(format, &schema, &decoding, &bytes);
        let taken = decode_from(format, &schema, &decoding, Source::stream(Pieces::new(&bytes, size)));
        prop_assert_eq!(taken.batch(&schema), whole.batch(&schema));
        prop_assert_eq!(taken.positions, whole.positions);
    }

    #[test]
    fn parquet_and_arrow_state_their_schema((schema, batches) in records(true), place in 5usize..8) {
        let format = &formats()[place];
        prop_assume!(fault(format, &schema, Compression::NONE).is_none());
        let bytes = encode(format, &schema, Compression::NONE, &batches);
        let stated = stated_schema(format, &DecodeOptions::default(), Source::bytes(bytes)).unwrap();
        prop_assert_eq!(stated, schema);
    }

    #[test]
    fn batches_are_no_larger_than_asked((schema, batches) in records(false), place in 0usize..8, rows in 1usize..20) {
        let format = &formats()[place];
        prop_assume!(fault(format, &schema, Compression::NONE).is_none());
        let (encoding, decoding) = literal();
        let decoding = DecodeOptions { batch_rows: rows, ..decoding };
        let bytes = encode_with(format, &schema, Compression::NONE, &encoding, &batches);
        let taken = decode_with(format, &schema, &decoding, &bytes);
        prop_assert!(taken.batches.iter().all(|batch| batch.num_rows() <= rows));
        prop_assert_eq!(taken.batch(&schema), concat(&schema, &batches));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_codec_goes_around_every_format((schema, batches) in records(false), place in 0usize..8, codec in 0usize..7) {
        let (format, codec) = (&formats()[place], Codec::ALL[codec]);
        let compression = Compression::try_new(codec, None).unwrap();
        prop_assume!(fault(format, &schema, compression).is_none() && schema.columns().len() > 1);
        let bytes = encode(format, &schema, compression, &batches);
        let taken = decode_compressed(format, codec, &schema, &bytes);
        prop_assert!(taken.error.is_none(), "{codec}: {:?}", taken.error);
        prop_assert_eq!(taken.batch(&schema), concat(&schema, &batches));
    }
}
