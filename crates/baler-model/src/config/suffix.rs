//! What the end of a key says about its bytes.

/// Formats and codecs that cannot be joined end to end: they have an index at the end, or a frame around the whole.
const NOT_JOINABLE: [&str; 9] = ["parquet", "orc", "avro", "zip", "br", "arrow", "feather", "xlsx", "7z"];

/// Codecs whose compressed objects may be joined end to end.
const CODECS: [(&str, &str); 7] = [
    ("gz", "gzip"),
    ("gzip", "gzip"),
    ("bz2", "bzip2"),
    ("zst", "zstd"),
    ("lz4", "lz4"),
    ("sz", "snappy"),
    ("snappy", "snappy"),
];

/// Text formats, in which a newline goes between two inputs.
const TEXT: [&str; 5] = ["jsonl", "json", "csv", "txt", "log"];

/// Formats that may begin with a header line.
const WITH_HEADER: [&str; 4] = ["csv", "tsv", "psv", "txt"];

/// The suffix of a key, as far as the literal end of a pattern or template tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suffix(String);

impl Suffix {
    /// Takes the literal end of a pattern; `None` where it holds no `.`, so that the suffix is not known.
    pub(super) fn of(literal_end: &str) -> Option<Self> {
        let name = literal_end.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map(|(_, suffix)| Self(suffix.to_ascii_lowercase()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_joinable(&self) -> bool {
        !NOT_JOINABLE.contains(&self.as_str())
    }

    pub(super) fn codec(&self) -> Option<&'static str> {
        CODECS.iter().find(|(suffix, _)| *suffix == self.0).map(|(_, codec)| *codec)
    }

    pub(super) fn is_text(&self) -> bool {
        TEXT.contains(&self.as_str())
    }

    pub(super) fn may_have_header(&self) -> bool {
        WITH_HEADER.contains(&self.as_str())
    }
}
