//! Formats and codecs of a plan as `baler-format` has them, and how an input's own are found out.

use baler_format::codec::{Codec, Compression};
use baler_format::decode::{Blanks, DecodeOptions};
use baler_format::schema::TimeUnit;
use baler_format::{Csv, Format, Ipc};
use baler_model::ledger::{ConvertOptions, EpochUnit, FormatOptions, TargetOptions};
use baler_model::scrub::{Scrub, Trim};

/// The format that options stand for.
pub(crate) fn format(options: &FormatOptions, records: &[String]) -> Format {
    match options {
        FormatOptions::Jsonl => Format::JsonLines,
        FormatOptions::Json => Format::Json { records: records.to_vec() },
        FormatOptions::Csv { delimiter, quote, header } => {
            Format::Csv(Csv { delimiter: *delimiter, quote: *quote, header: *header })
        }
        FormatOptions::Parquet => Format::Parquet,
        FormatOptions::Arrow => Format::Arrow(Ipc::Stream),
        FormatOptions::ArrowFile => Format::Arrow(Ipc::File),
    }
}

/// Format and codec of an input, as far as its key tells; a codec that it does not name is looked for in its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputKind {
    pub(crate) format: Format,
    /// What the suffix says; `None` where it says nothing.
    pub(crate) codec: Option<Codec>,
}

/// What an input is: its codec by suffix; its format as the flow says, else by suffix.
///
/// Errors: a text for people, when neither says.
pub(crate) fn input_kind(declared: Option<&FormatOptions>, records: &[String], key: &str) -> Result<InputKind, String> {
    let name = key.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let mut pieces = name.rsplit('.');
    let last = pieces.next().unwrap_or_default();
    let codec = Codec::from_name(last).filter(|codec| *codec != Codec::None && name.contains('.'));
    let suffix = if codec.is_some() { pieces.next().unwrap_or_default() } else { last };
    let by_suffix = || if name.contains('.') { FormatOptions::of_name(suffix) } else { None };
    match declared.cloned().or_else(by_suffix) {
        Some(options) => Ok(InputKind { format: format(&options, records), codec }),
        None => Err(format!("`{key}` does not say which format it has")),
    }
}

/// As [`input_kind`], with what a plan says.
pub(crate) fn planned_kind(options: &ConvertOptions, key: &str) -> Result<InputKind, String> {
    input_kind(options.input.as_ref(), &options.records, key)
}

/// How inputs are decoded where a flow has a say: what numbers count that are times; what stands for null, and blanks, before
/// fields of CSV are typed.
pub(crate) fn decoding(epoch: EpochUnit, scrub: &Scrub) -> DecodeOptions {
    let default = DecodeOptions::default();
    let null_literals = default.null_literals.iter().chain(&scrub.null_values).cloned().collect();
    let blanks = match scrub.trim {
        Trim::All => Blanks::Trim,
        Trim::Nothing | Trim::Columns(_) => Blanks::Keep,
    };
    let epoch = match epoch {
        EpochUnit::S => TimeUnit::Second,
        EpochUnit::Ms => TimeUnit::Millisecond,
        EpochUnit::Us => TimeUnit::Microsecond,
        EpochUnit::Ns => TimeUnit::Nanosecond,
    };
    DecodeOptions { epoch, null_literals, blanks, ..default }
}

/// Format and compression of a target. Errors: a text for people, when the codec has no such level.
pub(crate) fn target_kind(target: &TargetOptions) -> Result<(Format, Compression), String> {
    let codec = Codec::from_name(&target.codec).ok_or_else(|| format!("`{}` is no codec", target.codec))?;
    let compression = Compression::try_new(codec, target.level).map_err(|error| error.to_string())?;
    Ok((format(&target.format, &[]), compression))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_tell_format_and_codec() {
        let kind = |key: &str| input_kind(None, &[], key).map(|kind| (kind.format.name(), kind.codec));
        assert_eq!(kind("a/b.csv.gz"), Ok(("csv", Some(Codec::Gzip))));
        assert_eq!(kind("a/b.jsonl"), Ok(("jsonl", None)));
        assert_eq!(kind("a/B.ARROW.ZST"), Ok(("arrow", Some(Codec::Zstd))));
        assert_eq!(kind("a/b.parquet"), Ok(("parquet", None)));
        assert!(kind("a.csv/b").is_err());
        assert!(kind("gz").is_err());
        let declared = input_kind(Some(&FormatOptions::CSV), &[], "a/part-0.gz").unwrap();
        assert_eq!((declared.format.name(), declared.codec), ("csv", Some(Codec::Gzip)));
    }
}
