//! Chunks of an object against the whole of it: the same records, numbers, lines, offsets, reasons and errors.

use std::io::{self, Cursor, Read};

use baler_format::chunks::{Chunk, ChunkDecoder, Ending, Extent, LEVELS, Raw, RawRecords, Splitter, row_groups};
use baler_format::codec::Compression;
use baler_format::decode::{DecodeError, DecodeOptions, Position, Reason, Rejected, Source, TextFrom};
use baler_format::encode::EncodeOptions;
use baler_format::schema::Schema;
use baler_format::{Csv, Format};
use proptest::prelude::*;

use super::samples::{Random, Taken, batch, csv, decode_from, encode_with, lines, schema};

/// What a pass over the object found.
#[derive(Debug, PartialEq)]
struct Found {
    chunks: Vec<Chunk>,
    header: Vec<u8>,
    error: Option<String>,
}

fn split(format: &Format, options: &DecodeOptions, size: u64, bytes: &[u8], block: usize, ending: Ending) -> Found {
    let mut splitter = Splitter::new(format, options, size).unwrap();
    let mut chunks = Vec::new();
    let mut result = Ok(());
    for piece in bytes.chunks(block) {
        result = result.and_then(|()| splitter.push(piece));
        chunks.extend(splitter.take());
    }
    let result = result.and_then(|()| splitter.finish(ending));
    chunks.extend(splitter.take());
    assert_eq!(splitter.records(), chunks.iter().map(|chunk| chunk.records).sum::<u64>());
    if let Err(error) = &result {
        assert_eq!(splitter.push(b"x").unwrap_err().to_string(), error.to_string(), "an error is given again");
    }
    let header = splitter.header().unwrap_or_default().to_vec();
    Found { chunks, header, error: result.err().map(|error| error.to_string()) }
}

fn piece<'a>(bytes: &'a [u8], chunk: &Chunk) -> &'a [u8] {
    match chunk.extent {
        Extent::Bytes { start, end, .. } => &bytes[start as usize..end as usize],
        Extent::Groups { .. } => unreachable!("text"),
    }
}

/// Ends in damage, where it should.
struct Ends {
    bytes: Cursor<Vec<u8>>,
    ending: Ending,
}

impl Read for Ends {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(into)? {
            0 if self.ending == Ending::CutOff && !into.is_empty() => Err(io::ErrorKind::ConnectionReset.into()),
            n => Ok(n),
        }
    }
}

/// Everything that the chunks gave, and the numbers of rows and rejected records.
struct InChunks {
    rows: Vec<String>,
    row_numbers: Vec<u64>,
    positions: Vec<Position>,
    rejected: Vec<Rejected>,
    rejected_numbers: Vec<u64>,
}

fn decode_chunks(
    format: &Format,
    columns: &Schema,
    options: &DecodeOptions,
    found: &Found,
    source: impl Fn(&Chunk) -> Source,
) -> Result<InChunks, DecodeError> {
    let mut all = InChunks {
        rows: Vec::new(),
        row_numbers: Vec::new(),
        positions: Vec::new(),
        rejected: Vec::new(),
        rejected_numbers: Vec::new(),
    };
    for chunk in &found.chunks {
        let mut decoder = ChunkDecoder::new(format, columns, options, chunk, &found.header, source(chunk))?;
        while let Some(numbered) = decoder.next_batch()? {
            let decoded = numbered.decoded;
            all.rows.extend(lines(&decoded.batch, columns));
            all.positions.extend((0..decoded.batch.num_rows()).map(|row| decoded.positions.at(row).unwrap()));
            all.rejected.extend(decoded.rejected);
            all.row_numbers.extend(numbered.rows);
            all.rejected_numbers.extend(numbered.rejected);
        }
    }
    Ok(all)
}

fn formats() -> Vec<Format> {
    vec![
        Format::JsonLines,
        Format::Json { records: Vec::new() },
        Format::Json { records: vec!["o".to_owned(), "r s".to_owned()] },
        csv(),
        Format::Csv(Csv { delimiter: b';', quote: b'\'', header: false }),
    ]
}

/// Pieces of text that a format trips over, more often put together well than not.
fn text(format: &Format) -> BoxedStrategy<Vec<u8>> {
    let any = |parts: &'static [&'static str], most| {
        prop::collection::vec(prop::sample::select(parts), 0..most).prop_map(|parts| parts.concat().into_bytes())
    };
    let json: &[&str] = &[
        "{\"a\":\"1\",\"b\":\"x\"}",
        "{\"a\":\"\\\"},{\",\"b\":null}",
        "{\"a\":{\"a\":[1,{}]}}",
        "{}",
        "7",
        "\"text\"",
        ",",
        ",",
        ",",
        " ",
        "\n",
        "\r\n",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "\\",
        "é",
        "\u{feff}",
        "{\"a\":1,\"a\":2}",
        "{\"b\":\"longer than a record may be, which is not much in these tests\"}",
        "\t",
        "null",
        "\u{b}",
        "\u{c}",
    ];
    match format {
        Format::JsonLines => prop::collection::vec(
            (
                any(json, 4),
                prop::sample::select(vec![
                    "\n",
                    "\n",
                    "\r\n",
                    "\n\n",
                    "\n \t\r\n",
                    "\n                                                      \n",
                    "",
                ]),
            ),
            0..20,
        )
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line, end.as_bytes().to_vec()].concat()).collect())
        .boxed(),
        Format::Json { records } => {
            let (before, behind): (&[&str], &[&str]) = if records.is_empty() {
                (&["[", " \n[ ", "\u{feff}[", "", "{", "[["], &["]", "]\n ", "", "] x", "]]", ","])
            } else {
                (
                    &[
                        "{\"o\":{\"r s\":[",
                        "{\"x\":[{}],\"o\" : {\"r s\":1}}",
                        "{\"x\":\"]}\\\"\",\"o\":{\"y\":-1.5,\"\\u0072 s\": [\n",
                        "{\"o\":{\"r\":[]",
                        "{\"o\":[",
                        "[",
                        "{\"o\":{\"r s\":[],",
                        "{\"o\" {",
                        "{\"o\":{\"p\":tru,\"r s\":[",
                    ],
                    &["]}}", "],\"z\":{\"o\":{}},\"\\n\":\"}\"} , \"o\" : 1 }\n", "]}", "]}}x", "],}", "] \"a\"", ""],
                )
            };
            (prop::sample::select(before), any(json, 30), prop::sample::select(behind))
                .prop_map(|(before, records, behind)| [before.as_bytes(), &records, behind.as_bytes()].concat())
                .boxed()
        }
        Format::Csv(csv) => {
            let parts: &[&str] = if csv.header {
                &[
                    "1,x",
                    "2,\"y\"",
                    "\"a\nb\",3",
                    "\"a\r\n\"\"b\",\"\"",
                    ",",
                    "\"",
                    "\"\"",
                    "x\"y,z",
                    "\n",
                    "\n",
                    "\n",
                    "\r\n",
                    "\r",
                    "é,é",
                    "longer than a record may be which is not much in these tests,",
                    " ",
                    "\u{feff}",
                ]
            } else {
                &[
                    "1;x",
                    "2;'y'",
                    "'a\nb';3",
                    "'a\r\n''b';''",
                    ";",
                    "'",
                    "''",
                    "x'y;z",
                    "\n",
                    "\n",
                    "\n",
                    "\r\n",
                    "\r",
                    "é;é",
                    "longer than a record may be which is not much in these tests;",
                    " ",
                    "\"",
                ]
            };
            let header: &[&str] = if csv.header {
                &["a,b\n", "b,a\r\n", "\n\r\n\"a\",b\n", "\u{feff}b,c,a\n", "a,b", "", "\"a\n", "a,a\n"]
            } else {
                &["", "\u{feff}", "\n"]
            };
            (prop::sample::select(header), any(parts, 40))
                .prop_map(|(header, records)| [header.as_bytes(), &records].concat())
                .boxed()
        }
        Format::Parquet | Format::Arrow(_) => unreachable!("text"),
    }
}

fn objects() -> impl Strategy<Value = (Format, Vec<u8>)> {
    prop::sample::select(formats()).prop_flat_map(|format| {
        let text = text(&format);
        (Just(format), text)
    })
}

fn whole(format: &Format, columns: &Schema, options: &DecodeOptions, bytes: &[u8], ending: Ending) -> Taken {
    let source = Source::stream(Ends { bytes: Cursor::new(bytes.to_vec()), ending });
    decode_from(format, columns, options, source)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn chunks_together_are_the_whole(
        (format, mut bytes) in objects(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        is_flipped in prop::bool::weighted(0.2),
        is_damaged in prop::bool::weighted(0.2),
        size in 1u64..8,
        blocks in (1usize..9, 1usize..90),
    ) {
        if is_flipped && !bytes.is_empty() {
            let size = bytes.len();
            flips.iter().for_each(|(at, byte)| bytes[at.index(size)] = *byte);
        }
        let ending = if is_damaged { Ending::CutOff } else { Ending::Whole };
        let options = DecodeOptions {
            record_bytes: 50, raw_bytes: 20, batch_rows: 3, text_from: TextFrom::Anything, ..DecodeOptions::default()
        };
        let columns = schema("a: text, b: text");
        let found = split(&format, &options, size, &bytes, bytes.len().max(1), ending);
        for block in [blocks.0, blocks.1] {
            prop_assert_eq!(&split(&format, &options, size, &bytes, block, ending), &found);
        }
        let taken = whole(&format, &columns, &options, &bytes, ending);
        if let Some(DecodeError::Header(_)) = &taken.error {
            prop_assert_eq!(taken.rows(), 0);
            let in_chunks = decode_chunks(&format, &columns, &options, &found, |chunk| Source::bytes(piece(&bytes, chunk).to_vec()));
            let error = found.error.or(in_chunks.err().map(|error| error.to_string()));
            prop_assert!(found.chunks.is_empty() || error == taken.error.map(|error| error.to_string()));
            return Ok(());
        }
        match &taken.error {
            Some(DecodeError::Read(_)) => prop_assert!(is_damaged),
            error => prop_assert_eq!(&error.as_ref().map(ToString::to_string), &found.error),
        }
        // INV-CHUNK-1.
        let mut next = 1;
        let mut behind = 0;
        for (n, chunk) in found.chunks.iter().enumerate() {
            let Extent::Bytes { start, end, line, .. } = chunk.extent else { unreachable!("text") };
            prop_assert_eq!(chunk.first, next);
            prop_assert!(chunk.records == size || chunk.records < size && n + 1 == found.chunks.len());
            prop_assert!(behind <= start && start <= end && end as usize <= bytes.len());
            prop_assert_eq!(line, 1 + bytes[..start as usize].iter().filter(|byte| **byte == b'\n').count() as u64);
            (next, behind) = (next + chunk.records, end);
        }
        prop_assert_eq!(next - 1, (taken.rows() + taken.rejected.len()) as u64);
        // INV-CHUNK-3.
        let in_chunks = decode_chunks(&format, &columns, &options, &found, |chunk| Source::bytes(piece(&bytes, chunk).to_vec())).unwrap();
        prop_assert_eq!(&in_chunks.rows, &taken.shown(&columns).0);
        prop_assert_eq!(&in_chunks.positions, &taken.positions);
        prop_assert_eq!(&in_chunks.rejected, &taken.rejected);
        let mut numbers = [&in_chunks.row_numbers[..], &in_chunks.rejected_numbers].concat();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (1..next).collect::<Vec<_>>());
        prop_assert!(in_chunks.row_numbers.is_sorted() && in_chunks.rejected_numbers.is_sorted());

        if matches!(format, Format::Csv(_)) {
            return Ok(());
        }
        let (mut texts, mut rejected, mut number) = (Vec::new(), Vec::new(), 0);
        for chunk in &found.chunks {
            let mut records = RawRecords::new(&format, &options, chunk, Source::bytes(piece(&bytes, chunk).to_vec())).unwrap();
            while let Some(raw) = records.next_record().unwrap() {
                number += 1;
                match raw {
                    Raw::Record(record) => {
                        prop_assert_eq!(record.number, number);
                        let Position::Line { offset, .. } = record.position else { unreachable!("text") };
                        prop_assert!(bytes[offset as usize..].trim_ascii_start().starts_with(record.text.as_bytes()));
                        texts.push((record.position, record.text.to_owned()));
                    }
                    Raw::Rejected(at, record) => {
                        prop_assert_eq!(at, number);
                        rejected.push(record);
                    }
                }
            }
        }
        // Columns of text that take anything refuse nothing but broken escapes.
        let of_value = |rejected: &&Rejected| matches!(rejected.reason, Reason::Value { .. });
        prop_assert_eq!(texts.len(), taken.rows() + taken.rejected.iter().filter(of_value).count());
        prop_assert!(rejected.iter().eq(taken.rejected.iter().filter(|rejected| !of_value(rejected))));
    }

    #[test]
    fn records_of_a_sound_document_are_those_that_a_tree_of_it_has(
        values in prop::collection::vec((any::<i64>(), prop::option::of(".{0,20}"), prop::collection::vec(any::<bool>(), 0..4)), 0..40),
        others in prop::collection::vec(("[a-z\"\\\\é]{0,6}", ".{0,30}"), 0..4),
        depth in 0usize..4,
        is_pretty in any::<bool>(),
        size in 1u64..9,
        block in 1usize..200,
    ) {
        let records = values.iter().map(|(n, text, flags)| serde_json::json!({ "n": n, "t": text, "nested": [{ "f": flags }] }));
        let mut document = serde_json::Value::Array(records.collect());
        let path: Vec<String> = (0..depth).map(|n| format!("k\"{n}")).collect();
        for key in path.iter().rev() {
            let mut object: serde_json::Map<_, _> =
                others.iter().map(|(key, text)| (key.clone(), serde_json::json!({ "x": text, "records": [text] }))).collect();
            object.insert(key.clone(), document);
            document = object.into();
        }
        let text = if is_pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) }.unwrap();
        let format = Format::Json { records: path.clone() };
        let options = DecodeOptions::default();
        let found = split(&format, &options, size, &text, block, Ending::Whole);
        prop_assert_eq!(&found.error, &None);
        // The oracle: the document parsed as a whole.
        let tree: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let array = path.iter().fold(&tree, |tree, key| &tree[key]).as_array().unwrap();
        let mut in_lines = Vec::new();
        for chunk in &found.chunks {
            // What a chunk's bytes are.
            let list = [b"[", piece(&text, chunk), b"]"].concat();
            let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
            let from = chunk.first as usize - 1;
            prop_assert_eq!(&list[..], &array[from..from + chunk.records as usize]);
            let mut records = RawRecords::new(&format, &options, chunk, Source::bytes(piece(&text, chunk).to_vec())).unwrap();
            while let Some(raw) = records.next_record().unwrap() {
                let Raw::Record(record) = raw else { panic!("{raw:?}") };
                record.write_line(&mut in_lines);
            }
        }
        let in_lines = String::from_utf8(in_lines).unwrap();
        let in_lines: Vec<serde_json::Value> = in_lines.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(&in_lines, array);
    }

    #[test]
    fn any_bytes_at_all_end_well(format in prop::sample::select(formats()), bytes in prop::collection::vec(any::<u8>(), 0..300), block in 1usize..64) {
        let options = DecodeOptions::default();
        let found = split(&format, &options, 2, &bytes, block, Ending::Whole);
        let columns = schema("a: int64, b: text");
        let result = decode_chunks(&format, &columns, &options, &found, |chunk| Source::bytes(piece(&bytes, chunk).to_vec()));
        prop_assert!(matches!(result, Ok(_) | Err(DecodeError::Header(_))));
    }
}

fn document_error(path: &[&str], text: &str) -> String {
    let format = Format::Json { records: path.iter().map(|key| (*key).to_owned()).collect() };
    split(&format, &DecodeOptions::default(), 10, text.as_bytes(), 3, Ending::Whole).error.unwrap()
}

#[test]
fn a_document_of_another_shape_is_refused_with_what_is_wanted_and_where() {
    for (path, text, wanted) in [
        (&["a", "b"][..], "{\"a\":{\"c\":[]}}", "the document has no `b` (line 1, byte 12)"),
        (&["a"], "{\"a\":\n5}", "`[` is wanted behind `a` (line 2, byte 6)"),
        (&["a"], "[1]", "`{` is wanted around `a` (line 1, byte 0)"),
        (
            &[],
            "{}",
            "`[` is wanted at the beginning; where the records lie deeper, `records` names the keys to them (line 1, byte 0)",
        ),
        (&[], "[1]\n\n[2]", "something stands behind the document (line 3, byte 5)"),
        (&["a"], "{\"a\":[1]}}", "something stands behind the document (line 1, byte 9)"),
        (&[], "[1,{\"x\":2", "the document ends within the array of records (line 1, byte 9)"),
        (&[], "", "the document ends; `[` is wanted at the beginning"),
        (&["a"], "{\"a\":[1]", "the document ends; `}` is wanted at the end of the document (line 1, byte 8)"),
        (&["a"], "{\"a\":[1],\"b\":\"x", "the document ends within a value"),
        (&["a"], "{\"b\":[[", "the document ends before the array of records"),
        (&["a"], "{\"b", "a key has no end"),
    ] {
        let error = document_error(path, text);
        assert!(error.contains(wanted), "{text}: {error}");
    }
    let long = format!("{{\"{}\":1}}", "k".repeat(65 << 10));
    assert!(document_error(&["a"], &long).contains("a key has no end"));
}

#[test]
fn regression_the_place_of_a_bad_key_does_not_depend_on_pieces() {
    let format = Format::Json { records: vec!["a".to_owned()] };
    let text = b"{\"b\":1,\"\x80cd\":2,\"a\":[]}";
    let errors =
        [1, 2, 5, 100].map(|block| split(&format, &DecodeOptions::default(), 1, text, block, Ending::Whole).error);
    assert_eq!(errors[0].as_deref(), Some("not json: a key is not JSON (line 1, byte 11)"));
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
}

#[test]
fn what_is_cut_off_is_in_the_last_chunk_and_rejected() {
    let format = Format::Json { records: Vec::new() };
    let text = b"[{\"a\":1},{\"a\":2},{\"a\":3";
    let found = split(&format, &DecodeOptions::default(), 2, text, 4, Ending::Whole);
    let last = found.chunks[1];
    assert_eq!((last.first, last.records), (3, 1));
    assert!(matches!(last.extent, Extent::Bytes { ending: Ending::CutOff, .. }));
    let source = Source::bytes(piece(text, &last).to_vec());
    let mut records = RawRecords::new(&format, &DecodeOptions::default(), &last, source).unwrap();
    let Some(Raw::Rejected(3, rejected)) = records.next_record().unwrap() else { panic!("a record that is cut off") };
    assert_eq!(rejected.reason, Reason::CutOff);
    assert!(records.next_record().unwrap().is_none());
}

#[test]
fn a_chunk_of_other_bytes_than_were_split_is_an_error() {
    let text = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
    let options = DecodeOptions::default();
    let found = split(&Format::JsonLines, &options, 3, text, 5, Ending::Whole);
    for other in [&text[..16], &[&text[..], &text[..8]].concat(), b""] {
        let columns = schema("a: int64");
        let source = |_: &Chunk| Source::bytes(other.to_vec());
        let error = decode_chunks(&Format::JsonLines, &columns, &options, &found, source).err().unwrap();
        assert!(error.to_string().contains("has not the 3 records"), "{error}");
        let mut records =
            RawRecords::new(&Format::JsonLines, &options, &found.chunks[0], source(&found.chunks[0])).unwrap();
        let error = loop {
            match records.next_record() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("an end without an error"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("has not the 3 records"), "{error}");
    }
}

#[test]
fn raw_records_are_not_nested_beyond_what_readers_of_trees_take() {
    let nested = |levels: usize| format!("{}1{}\n", "{\"a\":".repeat(levels), "}".repeat(levels));
    // Brackets in strings are none.
    let text = format!("{}{}{{\"a\":\"{}\"}}\n", nested(LEVELS), nested(LEVELS + 1), "[".repeat(500));
    let options = DecodeOptions::default();
    let found = split(&Format::JsonLines, &options, 9, text.as_bytes(), 9, Ending::Whole);
    let mut records =
        RawRecords::new(&Format::JsonLines, &options, &found.chunks[0], Source::bytes(text.into_bytes())).unwrap();
    let mut taken = Vec::new();
    while let Some(raw) = records.next_record().unwrap() {
        taken.push(match raw {
            Raw::Record(record) => serde_json::from_str::<serde_json::Value>(record.text).is_ok(),
            Raw::Rejected(_, rejected) => {
                assert_eq!(rejected.reason.to_string(), "not JSON: nested deeper than 127 levels");
                false
            }
        });
    }
    assert_eq!(taken, [true, false, true]);
    assert!(serde_json::from_str::<serde_json::Value>(&nested(LEVELS + 1)).is_err(), "the limit is that of the reader");
}

#[test]
fn row_groups_are_not_split_and_small_ones_go_together() {
    let columns = schema("n: int64 not null, t: text");
    let batches = [4, 0, 3, 10, 2, 1].map(|rows| batch(&columns, rows, &mut Random(rows as u64 + 5)));
    let options = EncodeOptions { group_rows: 4, ..EncodeOptions::default() };
    let bytes = encode_with(&Format::Parquet, &columns, Compression::NONE, &options, &batches);
    // 20 rows in groups of four.
    let source = || Source::bytes(bytes.clone());
    let chunks = row_groups(source(), 9).unwrap();
    let shown: Vec<_> = chunks.iter().map(|chunk| (chunk.first, chunk.records, chunk.extent)).collect();
    assert_eq!(
        shown,
        [
            (1, 8, Extent::Groups { start: 0, end: 2 }),
            (9, 8, Extent::Groups { start: 2, end: 4 }),
            (17, 4, Extent::Groups { start: 4, end: 5 }),
        ]
    );
    assert_eq!(row_groups(source(), 1).unwrap().len(), 5);
    let found = Found { chunks, header: Vec::new(), error: None };
    let options = DecodeOptions { batch_rows: 3, ..DecodeOptions::default() };
    let in_chunks = decode_chunks(&Format::Parquet, &columns, &options, &found, |_| source()).unwrap();
    assert_eq!(in_chunks.row_numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!(in_chunks.positions, (1..=20).map(Position::Row).collect::<Vec<_>>());
    let taken = decode_from(&Format::Parquet, &columns, &options, source());
    assert_eq!(in_chunks.rows, taken.shown(&columns).0);
    let beyond = Chunk { first: 1, records: 1, extent: Extent::Groups { start: 5, end: 6 } };
    let error = ChunkDecoder::new(&Format::Parquet, &columns, &options, &beyond, b"", source()).err().unwrap();
    assert!(error.to_string().contains("it has 5 row groups"), "{error}");
}

#[test]
fn what_cannot_be_split_says_so() {
    let options = DecodeOptions::default();
    assert!(Splitter::new(&Format::Parquet, &options, 1).is_err());
    assert!(Splitter::new(&Format::Arrow(baler_format::Ipc::Stream), &options, 1).is_err());
    assert!(Splitter::new(&Format::JsonLines, &options, 0).is_err());
    assert!(Splitter::new(&Format::Csv(Csv { quote: b',', ..Csv::default() }), &options, 1).is_err());
}

#[test]
fn a_header_that_cannot_be_read_is_not_followed_by_another() {
    let columns = schema("a: text, b: text");
    let options = DecodeOptions { record_bytes: 20, ..DecodeOptions::default() };
    for text in ["a,b,a column of a long name\nb,a\n1,2\n", "\"a,b\n1,2\n"] {
        let taken = whole(&csv(), &columns, &options, text.as_bytes(), Ending::Whole);
        assert!(matches!(&taken.error, Some(DecodeError::Header(_))), "{:?}", taken.error);
        assert_eq!(taken.rows(), 0);
    }
}
