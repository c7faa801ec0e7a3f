//! Recognises codecs, and formats whose objects do not concatenate: by their first bytes where read, else by suffix.

use baler_model::Key;

/// How an object is compressed, as far as concatenation needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    /// Not compressed, as far as can be seen.
    Plain,
    /// Gzip members.
    Gzip,
    /// Bzip2 streams.
    Bzip2,
    /// Zstandard frames.
    Zstd,
    /// LZ4 frames.
    Lz4,
    /// Snappy frames.
    Snappy,
}

/// What the first bytes or the suffix of an object say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kindred {
    /// It may be joined with objects of the same codec.
    Joins(Codec),
    /// Two such objects, one behind the other, are not one object of the format.
    DoesNotConcatenate(&'static str),
}

impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }
}

/// Number of first bytes that [`by_bytes`] wants.
pub(crate) const HEAD: usize = 10;

/// What the first bytes say. Plain text has no mark of its own: anything unknown counts as plain.
///
/// Source: RFC 1952, RFC 8878, the LZ4 and Snappy frame descriptions, the bzip2 manual; Parquet, ORC, Avro and zip
/// specifications.
pub(crate) fn by_bytes(head: &[u8]) -> Kindred {
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(&[0x1f, 0x8b]) {
        Kindred::Joins(Codec::Gzip)
    } else if head.len() >= 4 && starts(b"BZh") && head[3].is_ascii_digit() {
        Kindred::Joins(Codec::Bzip2)
    } else if starts(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Kindred::Joins(Codec::Zstd)
    } else if starts(&[0x04, 0x22, 0x4d, 0x18]) {
        Kindred::Joins(Codec::Lz4)
    } else if starts(b"\xff\x06\x00\x00sNaPpY") {
        Kindred::Joins(Codec::Snappy)
    } else if starts(b"PAR1") {
        Kindred::DoesNotConcatenate("Parquet")
    } else if starts(b"Obj\x01") {
        Kindred::DoesNotConcatenate("Avro")
    } else if starts(b"PK\x03\x04") {
        Kindred::DoesNotConcatenate("zip")
    } else if starts(b"ORC") {
        Kindred::DoesNotConcatenate("ORC")
    } else {
        Kindred::Joins(Codec::Plain)
    }
}

/// What the suffix of a key says; any letter case.
pub(crate) fn by_suffix(key: &Key) -> Kindred {
    // Behind the last dot of the key there may be a `/`: that is no suffix that is known.
    let Some((_, suffix)) = key.as_str().rsplit_once('.') else { return Kindred::Joins(Codec::Plain) };
    let known = SUFFIXES.iter().find(|(known, _)| known.eq_ignore_ascii_case(suffix));
    known.map_or(Kindred::Joins(Codec::Plain), |(_, kindred)| *kindred)
}

/// Suffixes that say something.
const SUFFIXES: [(&str, Kindred); 14] = [
    ("gz", Kindred::Joins(Codec::Gzip)),
    ("gzip", Kindred::Joins(Codec::Gzip)),
    ("bz2", Kindred::Joins(Codec::Bzip2)),
    ("zst", Kindred::Joins(Codec::Zstd)),
    ("zstd", Kindred::Joins(Codec::Zstd)),
    ("lz4", Kindred::Joins(Codec::Lz4)),
    ("sz", Kindred::Joins(Codec::Snappy)),
    ("parquet", Kindred::DoesNotConcatenate("Parquet")),
    ("orc", Kindred::DoesNotConcatenate("ORC")),
    ("avro", Kindred::DoesNotConcatenate("Avro")),
    ("zip", Kindred::DoesNotConcatenate("zip")),
    ("br", Kindred::DoesNotConcatenate("brotli")),
    ("arrow", Kindred::DoesNotConcatenate("Arrow IPC")),
    ("feather", Kindred::DoesNotConcatenate("Arrow IPC")),
];

/// Holds the codec of a group's first object against each further one.
#[derive(Debug, Default)]
pub(crate) struct GroupCodec {
    first: Option<(Codec, Key)>,
}

impl GroupCodec {
    /// Takes one more object. Errors: why it does not fit, for people.
    pub(crate) fn admit(&mut self, key: &Key, kindred: Kindred) -> Result<(), String> {
        let codec = match kindred {
            Kindred::Joins(codec) => codec,
            Kindred::DoesNotConcatenate(format) => {
                return Err(format!("`{key}` is {format}, which does not concatenate"));
            }
        };
        match &self.first {
            None => self.first = Some((codec, key.clone())),
            Some((first, _)) if *first == codec => {}
            Some((first, other)) => {
                let (first, codec) = (first.name(), codec.name());
                return Err(format!("codecs are mixed: `{other}` has {first}, `{key}` has {codec}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_known_by_their_first_bytes() {
        assert_eq!(by_bytes(&[0x1f, 0x8b, 8]), Kindred::Joins(Codec::Gzip));
        assert_eq!(by_bytes(b"BZh9"), Kindred::Joins(Codec::Bzip2));
        assert_eq!(by_bytes(b"BZhX"), Kindred::Joins(Codec::Plain));
        assert_eq!(by_bytes(&zstd::encode_all(&b"x"[..], 1).unwrap()), Kindred::Joins(Codec::Zstd));
        assert_eq!(by_bytes(b"{\"a\":1}"), Kindred::Joins(Codec::Plain));
        assert_eq!(by_bytes(b""), Kindred::Joins(Codec::Plain));
        assert_eq!(by_bytes(b"PAR1...."), Kindred::DoesNotConcatenate("Parquet"));
    }

    #[test]
    fn suffixes_count_in_any_letter_case() {
        assert_eq!(by_suffix(&Key::from_listed("a/b.JSONL.GZ")), Kindred::Joins(Codec::Gzip));
        assert_eq!(by_suffix(&Key::from_listed("a.gz/b")), Kindred::Joins(Codec::Plain));
        assert_eq!(by_suffix(&Key::from_listed("a/b.Parquet")), Kindred::DoesNotConcatenate("Parquet"));
    }

    #[test]
    fn a_second_codec_in_a_group_is_named_with_both_keys() {
        let mut group = GroupCodec::default();
        group.admit(&Key::from_listed("a"), Kindred::Joins(Codec::Gzip)).unwrap();
        let fault = group.admit(&Key::from_listed("b"), Kindred::Joins(Codec::Plain)).unwrap_err();
        assert_eq!(fault, "codecs are mixed: `a` has gzip, `b` has none");
    }
}
