//! Formats: how records stand in the bytes of an object.

use std::fmt;

/// How records stand in the bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object a line; blank lines do not count.
    JsonLines,
    /// One JSON document that holds the records in an array.
    Json {
        /// The keys from the document's object to the array; none where the document is the array.
        records: Vec<String>,
    },
    /// Comma-separated values (RFC 4180).
    Csv(Csv),
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC; the stream and the file are told apart when reading.
    Arrow(Ipc),
}

/// Which of Arrow's two containers is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ipc {
    /// The streaming format.
    #[default]
    Stream,
    /// The file format, with a footer.
    File,
}

/// How values are separated and named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Csv {
    /// Stands between two fields; default a comma.
    pub delimiter: u8,
    /// Stands around fields that hold delimiters, line ends or quotes; doubled within; default `"`.
    pub quote: u8,
    /// Whether the first record holds the names of the columns; default yes. Without it fields are the schema's columns in
    /// their order.
    pub header: bool,
}

impl Default for Csv {
    fn default() -> Self {
        Self { delimiter: b',', quote: b'"', header: true }
    }
}

impl Csv {
    /// Says why the marks cannot be used together, if they cannot.
    pub(crate) fn fault(&self) -> Option<String> {
        let marks = [self.delimiter, self.quote];
        if self.delimiter == self.quote {
            return Some("delimiter and quote are the same".to_owned());
        }
        marks.iter().find(|mark| !mark.is_ascii() || matches!(mark, b'\n' | b'\r' | 0)).map(|mark| {
            format!("byte {mark} cannot be a delimiter or quote: one ASCII character that ends no line is wanted")
        })
    }
}

impl Format {
    /// Returns the name that `baler.toml` uses, which is also the suffix of keys.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Json { .. } => "json",
            Self::Csv(_) => "csv",
            Self::Parquet => "parquet",
            Self::Arrow(_) => "arrow",
        }
    }

    /// Says whether the format compresses within itself, so that no codec is put around it.
    pub const fn compresses_within(&self) -> bool {
        matches!(self, Self::Parquet)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
