//! Who reads the objects: SerDes, input formats, and what they get wrong.

use baler_format::codec::Codec;
use baler_format::schema::{Column, Type};
use baler_format::{Csv, Format};

use super::{DdlError, Table};

/// The reader of a table.
pub(super) struct Storage {
    pub(super) serde: &'static str,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) input: &'static str,
    pub(super) output: &'static str,
    pub(super) properties: Vec<(String, String)>,
    pub(super) comment: Option<String>,
}

const TEXT_INPUT: &str = "org.apache.hadoop.mapred.TextInputFormat";
const TEXT_OUTPUT: &str = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat";

impl Storage {
    /// Finds the reader. Errors: a format or codec that Athena does not read.
    pub(super) fn of(table: &Table<'_>) -> Result<Self, DdlError> {
        check_codec(table)?;
        match table.format {
            Format::Parquet => Ok(Self {
                serde: "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
                parameters: pairs(&[("serialization.format", "1")]),
                input: "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                output: "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                properties: pairs(&[
                    ("classification", "parquet"),
                    (
                        "parquet.compression",
                        match table.codec {
                            Codec::None => "UNCOMPRESSED",
                            Codec::Gzip => "GZIP",
                            Codec::Zstd => "ZSTD",
                            Codec::Lz4 => "LZ4",
                            Codec::Snappy => "SNAPPY",
                            Codec::Brotli | Codec::Bzip2 => return Err(codec(table)),
                        },
                    ),
                ]),
                comment: None,
            }),
            Format::JsonLines => Ok(json_lines(table.columns.columns())),
            Format::Csv(csv) => Ok(comma_separated(csv)),
            Format::Json { .. } => Err(DdlError::Unreadable {
                what: "a JSON document that spans lines".to_owned(),
                hint: "write `jsonl` or `parquet`",
            }),
            Format::Arrow(_) => Err(DdlError::Unreadable {
                what: "Arrow IPC: it has no reader for it".to_owned(),
                hint: "write `parquet`, which holds the same types",
            }),
        }
    }
}

fn codec(table: &Table<'_>) -> DdlError {
    DdlError::Unreadable {
        what: format!("{} that is compressed with {}", table.format, table.codec),
        hint: match table.format {
            Format::Parquet => "use snappy, zstd, gzip, lz4 or none",
            _ => "use gzip, zstd, bzip2 or none",
        },
    }
}

/// Refuses codecs that Athena does not read: of LZ4 and snappy it reads Hadoop's frames around text, not the usual ones.
fn check_codec(table: &Table<'_>) -> Result<(), DdlError> {
    let is_read = match table.format {
        Format::Parquet => !matches!(table.codec, Codec::Brotli | Codec::Bzip2),
        Format::JsonLines | Format::Csv(_) => {
            matches!(table.codec, Codec::None | Codec::Gzip | Codec::Zstd | Codec::Bzip2)
        }
        // Refused for what they are.
        Format::Json { .. } | Format::Arrow(_) => true,
    };
    if is_read { Ok(()) } else { Err(codec(table)) }
}

/// Hive's SerDe, unless keys have capital letters: those have to be mapped, which OpenX's can.
///
/// The guide prefers the former: with the latter results may have more or fewer rows than there are.
fn json_lines(columns: &[Column]) -> Storage {
    let mut parameters = Vec::new();
    let mut odd = Vec::new();
    keys(columns, &mut odd);
    let serde = if odd.is_empty() {
        "org.apache.hive.hcatalog.data.JsonSerDe"
    } else {
        parameters.push(("case.insensitive".to_owned(), "false".to_owned()));
        odd.sort_unstable();
        odd.dedup();
        parameters.extend(odd.into_iter().map(|key| (format!("mapping.{}", key.to_lowercase()), key.to_owned())));
        "org.openx.data.jsonserde.JsonSerDe"
    };
    Storage {
        serde,
        parameters,
        input: TEXT_INPUT,
        output: TEXT_OUTPUT,
        properties: pairs(&[("classification", "json")]),
        comment: None,
    }
}

/// Collects keys that are not all in small letters, at any depth.
fn keys<'a>(columns: &'a [Column], odd: &mut Vec<&'a str>) {
    for column in columns {
        if column.name.to_lowercase() != column.name {
            odd.push(&column.name);
        }
        let mut kind = &column.kind;
        while let Type::List(item) = kind {
            kind = item;
        }
        if let Type::Struct(members) = kind {
            keys(members, odd);
        }
    }
}

fn comma_separated(csv: &Csv) -> Storage {
    let mark = |byte: u8| char::from(byte).to_string();
    let mut properties = pairs(&[("classification", "csv")]);
    if csv.header {
        properties.push(("skip.header.line.count".to_owned(), "1".to_owned()));
    }
    Storage {
        serde: "org.apache.hadoop.hive.serde2.OpenCSVSerde",
        parameters: vec![
            ("separatorChar".to_owned(), mark(csv.delimiter)),
            ("quoteChar".to_owned(), mark(csv.quote)),
            ("escapeChar".to_owned(), "\\".to_owned()),
        ],
        input: TEXT_INPUT,
        output: TEXT_OUTPUT,
        properties,
        comment: Some(
            "All columns are string: cast them in queries. Null reads as empty text. Line ends within values and \
             backslashes before quotes are not read as they were written; Parquet has neither limit."
                .to_owned(),
        ),
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
