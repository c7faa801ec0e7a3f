//! Checks what a flow says of `convert`.

use super::place::{PathKind, StoreId};
use super::raw::{At, RawFlow, RawSize};
use super::raw_convert::{RawCompression, RawCsv, RawDrift, RawEpoch, RawFormat, RawTarget, RawTo, RawWords};
use super::resolved::{
    AfterCommit, ConvertConfig, ConvertTarget, SchemaBase, SchemaSource, SourcePolicy, Target, TimeSource,
};
use super::scrub;
use super::validate::Checker;
use crate::ledger::{DriftPolicy, EpochUnit, FormatOptions, Provenance, QuarantineLimit};
use crate::scrub::Scrub;
use crate::text::{SyntaxError, did_you_mean, quoted_list};
use crate::{ByteSize, FieldType, Key, PartitionSize, Pattern, Template, Vocabulary};

const DEFAULT_QUARANTINE: &str = "_quarantine";
const DEFAULT_LIMIT: QuarantineLimit = QuarantineLimit::Percent(50);
const DEFAULT_EXPANSION: u64 = 1_000;

/// Codecs by the names that people use: name, its suffix, other names.
const CODECS: [(&str, &str, &str); 7] = [
    ("none", "", "uncompressed"),
    ("gzip", "gz", "gz"),
    ("zstd", "zst", "zst"),
    ("brotli", "br", "br"),
    ("bzip2", "bz2", "bz2"),
    ("lz4", "lz4", "lz4"),
    ("snappy", "sz", "sz"),
];

const FORMATS: [&str; 6] = ["jsonl", "json", "csv", "parquet", "arrow", "arrow-file"];
const ONE_OBJECT_EACH: (&str, &str) =
    ("partitions by columns are one object each", "leave `max_bytes` out, or partition by more columns");
const LAYOUTS: [&str; 3] = ["hive", "athena", "dataclient"];

/// A target as it is written, a plain `to` included.
struct Written<'r> {
    path: Option<At<String>>,
    layout: Option<&'r At<String>>,
    prefix: Option<&'r At<String>>,
    partition: Option<&'r At<RawWords>>,
    format: Option<&'r At<RawFormat>>,
    compression: Option<&'r At<RawCompression>>,
    max_bytes: Option<&'r At<RawSize>>,
    span: std::ops::Range<usize>,
}

impl Checker<'_> {
    /// Checks the settings of `convert`; the first target is the flow's `to`.
    pub(super) fn convert(
        &mut self,
        raw: &RawFlow,
        pattern: &Pattern,
        sources: Option<&SourcePolicy>,
    ) -> Option<(Target, ConvertConfig)> {
        let before = self.problems.len();
        self.refuse_scatter_settings(raw);
        self.refuse(raw.separator.as_ref().map(|at| &at.span), "separator", "combine");
        self.refuse(raw.header.as_ref().map(|at| &at.span), "header", "combine");
        self.refuse(raw.check.as_ref().map(|at| &at.span), "check", "combine");
        self.refuse(raw.content_type.as_ref().map(|at| &at.span), "content_type", "combine");
        if let Some(At { value: batch, .. }) = &raw.batch {
            self.refuse(batch.max_objects.as_ref().map(|at| &at.span), "max_objects", "combine");
        }
        let covers = raw.covers.as_ref().and_then(|at| self.size(at));
        let time = self.time(raw, pattern);
        let is_s3db = raw.schema.as_ref().is_some_and(|schema| schema.value.s3db.is_some());
        let covers = covers.or_else(|| match &time {
            TimeSource::None => None,
            TimeSource::Key(name) => covered(pattern, name),
            TimeSource::Column(_) if is_s3db => Some(PartitionSize::Day),
            TimeSource::Column(_) => only_time(pattern).and_then(|name| covered(pattern, name)),
        });
        let schema = self.schema(raw, pattern);
        let mut targets: Vec<(StoreId, ConvertTarget)> = Vec::new();
        let written = written(raw);
        for target in &written {
            let made = self.target(pattern, target);
            targets.extend(made.map(|(store, made)| {
                let metadata = if is_s3db { self.metadata(pattern, target) } else { None };
                (store, ConvertTarget { metadata, ..made })
            }));
        }
        // What is said for the flow holds for every table that says nothing else; its faults are reported there.
        if let Some(at) = raw.batch.as_ref().and_then(|at| at.value.max_bytes.as_ref()) {
            let size = at.value.0.parse::<ByteSize>().ok().filter(|size| size.bytes() > 0);
            for (_, target) in targets.iter_mut().filter(|(_, target)| target.max_bytes.is_none()) {
                target.max_bytes = size;
            }
            if targets.iter().any(|(_, target)| !target.columns.is_empty()) {
                self.report(&at.span, ONE_OBJECT_EACH.0, ONE_OBJECT_EACH.1);
            }
        }
        if written.is_empty() {
            self.report(&raw.to.span, "`to` has no tables", "add one with a `path`");
        }
        let format = raw.format.as_ref().and_then(|at| self.format(at));
        let records = self.records_path(raw.records.as_ref());
        let quarantine = self.quarantine(raw);
        let max_quarantined = self.limit(raw);
        let max_expansion = self.max_expansion(raw);
        let drift = match raw.on_drift.as_ref().map_or(RawDrift::Fail, |at| at.value) {
            RawDrift::Fail => DriftPolicy::Fail,
            RawDrift::Quarantine => DriftPolicy::Quarantine,
            RawDrift::Widen => DriftPolicy::Widen,
        };
        let epoch = match raw.epoch.as_ref().map_or(RawEpoch::S, |at| at.value) {
            RawEpoch::S => EpochUnit::S,
            RawEpoch::Ms => EpochUnit::Ms,
            RawEpoch::Us => EpochUnit::Us,
            RawEpoch::Ns => EpochUnit::Ns,
        };
        let provenance = raw.provenance.as_ref().map_or_else(Provenance::default, |at| Provenance {
            key: at.value.key.as_ref().map(|at| at.value.clone()),
            line: at.value.line.as_ref().map(|at| at.value.clone()),
        });
        let scrub = match raw.scrub.as_ref().map(|at| (scrub::resolve(&at.value), &at.span)) {
            None => Some(Scrub::default()),
            Some((Ok(scrub), _)) => Some(scrub),
            Some((Err((message, hint)), span)) => {
                self.report(span, message, hint);
                None
            }
        };
        let sql = raw.sql.as_ref().map(|at| at.value.clone());
        if let Some(at) = &raw.sql {
            if at.value.trim().is_empty() {
                self.report(&at.span, "`sql` is empty", "for example `SELECT * FROM input WHERE price > 0`");
            }
            if raw.scrub.is_some() {
                let hint = "write it all in `sql`, or all in `scrub`";
                self.report(&at.span, "`sql` and `scrub` both say what is done to records", hint);
            }
        }
        for (_, target) in &targets {
            if target.partition.is_some() && time == TimeSource::None {
                let hint = "add `time = \"…\"`: a placeholder of `from` that captures a time, or a column";
                self.report(&raw.to.span, "partitions need a time, and `from` captures none", hint);
                break;
            }
        }
        let (stores, targets): (Vec<_>, Vec<ConvertTarget>) = targets.into_iter().unzip();
        if let Some(other) = stores.iter().position(|store| *store != stores[0]) {
            let span = &written[other].span;
            self.report(span, "all outputs of a flow go to one store", "write a flow for the other store");
        }
        if !targets.is_empty() {
            self.names_of_outputs(raw, &targets, sources);
        }
        if self.problems.len() > before {
            return None;
        }
        let first = Target { store: stores[0].clone(), template: targets[0].template.clone() };
        let config = ConvertConfig {
            targets,
            format,
            records,
            schema: schema?,
            time,
            covers,
            epoch,
            drift,
            max_quarantined: max_quarantined?,
            quarantine: quarantine?,
            max_expansion,
            scrub: scrub?,
            sql,
            provenance,
        };
        Some((first, config))
    }

    /// Reports settings that only `convert` has.
    pub(super) fn refuse_convert_settings(&mut self, raw: &RawFlow) {
        let of_convert = [
            ("format", raw.format.as_ref().map(|at| &at.span)),
            ("records", raw.records.as_ref().map(|at| &at.span)),
            ("schema", raw.schema.as_ref().map(|at| &at.span)),
            ("time", raw.time.as_ref().map(|at| &at.span)),
            ("covers", raw.covers.as_ref().map(|at| &at.span)),
            ("epoch", raw.epoch.as_ref().map(|at| &at.span)),
            ("partition", raw.partition.as_ref().map(|at| &at.span)),
            ("compression", raw.compression.as_ref().map(|at| &at.span)),
            ("on_drift", raw.on_drift.as_ref().map(|at| &at.span)),
            ("max_quarantined", raw.max_quarantined.as_ref().map(|at| &at.span)),
            ("quarantine", raw.quarantine.as_ref().map(|at| &at.span)),
            ("max_expansion", raw.max_expansion.as_ref().map(|at| &at.span)),
            ("scrub", raw.scrub.as_ref().map(|at| &at.span)),
            ("sql", raw.sql.as_ref().map(|at| &at.span)),
            ("provenance", raw.provenance.as_ref().map(|at| &at.span)),
        ];
        for (key, span) in of_convert {
            self.refuse(span, key, "convert");
        }
    }

    pub(super) fn refuse(&mut self, span: Option<&std::ops::Range<usize>>, key: &str, verb: &str) {
        if let Some(span) = span {
            self.report(span, format!("`{key}` belongs to `do = \"{verb}\"`"), "leave it out");
        }
    }

    pub(super) fn max_expansion(&mut self, raw: &RawFlow) -> u64 {
        if let Some(at) = &raw.max_expansion
            && at.value == 0
        {
            self.report(&at.span, "nothing expands to nothing", "leave it out for a thousand times");
        }
        raw.max_expansion.as_ref().map_or(DEFAULT_EXPANSION, |at| at.value)
    }

    fn size(&mut self, at: &At<String>) -> Option<PartitionSize> {
        match at.value.parse() {
            Ok(size) => Some(size),
            Err(()) => {
                let names = PartitionSize::ALL.map(PartitionSize::name);
                self.report(&at.span, format!("`{}` is no span of time", at.value), hint_of(&at.value, &names));
                None
            }
        }
    }

    fn time(&mut self, raw: &RawFlow, pattern: &Pattern) -> TimeSource {
        match &raw.time {
            Some(at) => match pattern.field_type(&at.value) {
                Some(FieldType::Time(_)) => TimeSource::Key(at.value.clone()),
                Some(FieldType::Text | FieldType::Int) => {
                    let hint = "give it a time format in `from`, such as `{day:%Y-%m-%d}` or `{start:epoch}`";
                    self.report(&at.span, format!("placeholder `{}` captures no time", at.value), hint);
                    TimeSource::None
                }
                None => TimeSource::Column(at.value.clone()),
            },
            None => only_time(pattern).map_or(TimeSource::None, |name| TimeSource::Key(name.to_owned())),
        }
    }

    pub(super) fn schema(&mut self, raw: &RawFlow, pattern: &Pattern) -> Option<SchemaSource> {
        let Some(At { value: given, span }) = &raw.schema else {
            return Some(SchemaSource { columns: Vec::new(), base: SchemaBase::Inferred });
        };
        let columns: Vec<(String, String)> = given
            .columns
            .as_ref()
            .map(|at| at.value.0.iter().map(|(name, kind)| (name.clone(), kind.value.clone())).collect())
            .unwrap_or_default();
        let infers = given.infer.as_ref().map(|at| at.value);
        let base = match (&given.s3db, infers) {
            (Some(_), Some(true)) => {
                self.report(span, "columns come from S3DB or are inferred, not both", "leave out `infer`");
                return None;
            }
            (Some(at), Some(false) | None) => {
                let located = self.located(at, PathKind::Keys)?;
                match Template::parse(&located.path, pattern) {
                    Ok(template) => SchemaBase::S3db(Box::new(Target { store: located.store, template })),
                    Err(error) => {
                        self.syntax(at, located.offset, error);
                        return None;
                    }
                }
            }
            (None, Some(true)) => SchemaBase::Inferred,
            (None, Some(false) | None) if !columns.is_empty() => SchemaBase::Declared,
            (None, Some(false) | None) => {
                self.report(
                    span,
                    "the schema has no columns",
                    "declare `columns`, or leave `schema` out to infer them",
                );
                return None;
            }
        };
        Some(SchemaSource { columns, base })
    }

    fn target(&mut self, pattern: &Pattern, written: &Written<'_>) -> Option<(StoreId, ConvertTarget)> {
        let before = self.problems.len();
        let (mut partition, mut columns) = (None, Vec::new());
        for word in written.partition.map(|at| at.value.0.as_slice()).unwrap_or_default() {
            match word.parse::<PartitionSize>() {
                Ok(size) if partition.is_none() => partition = Some(size),
                Ok(_) => self.report(&written.span, "a partition has one span of time", "write a table for each"),
                Err(()) if word.is_empty() => {
                    self.report(
                        &written.span,
                        "a partition has no name",
                        "write `hour`, `day`, `month`, `year` or a column",
                    );
                }
                // What keys give, records need not be asked for.
                Err(()) if pattern.field_type(word).is_some() => {}
                Err(()) => columns.push(word.clone()),
            }
        }
        let declared = written.format.and_then(|at| self.format(at));
        let compression = written.compression.and_then(|at| self.compression(at));
        let path = self.path(pattern, written, partition, &columns, declared.as_ref(), compression.as_ref())?;
        let located = self.located(&path, PathKind::Keys)?;
        if partition.is_none()
            && pattern.field_type("partition").is_none()
            && let Some(offset) = located.path.find("{partition")
        {
            let hint = "add `partition = \"day\"`, or `hour`, `month`, `year`";
            let error = SyntaxError::hinted(offset, "`{partition}` is of no size", hint);
            self.syntax(&path, located.offset, error);
            return None;
        }
        let words = Vocabulary { partition: partition.is_some(), columns: &columns };
        let template = match Template::parse_with(&located.path, pattern, words) {
            Ok(template) => template,
            Err(error) => {
                self.syntax(&path, located.offset, error);
                return None;
            }
        };
        if located.path.ends_with('/') {
            let end = located.path.len() - 1;
            let error = SyntaxError::hinted(end, "`to` ends in `/`", "name an object, not a directory");
            self.syntax(&path, located.offset, error);
            return None;
        }
        if partition.is_some() && !template.uses_partition() {
            let hint = "name it, as in `{partition:%Y-%m-%d}` or `{partition:epoch}`";
            self.report(&path.span, "the path does not tell the partitions apart", hint);
        }
        let named: Vec<usize> = template.columns().collect();
        if let Some(lost) = (0..columns.len()).find(|number| !named.contains(number)) {
            let column = &columns[lost];
            let message = format!("the path does not tell values of `{column}` apart");
            let sizes = PartitionSize::ALL.map(PartitionSize::name);
            let hint = match did_you_mean(column, sizes) {
                Some(size) => format!("did you mean `{size}`?"),
                None => format!("name it, as in `{column}={{{column}}}/`"),
            };
            self.report(&path.span, message, hint);
        }
        let (by_suffix, codec_by_suffix) = of_suffix(template.literal_suffix());
        let Some(format) = declared.or(by_suffix) else {
            let hint = format!("end `path` in one of `.{}`, or add `format`", FORMATS[..5].join("`, `."));
            self.report(&path.span, "the path does not say which format is written", hint);
            return None;
        };
        let (codec, level) = match (compression, codec_by_suffix) {
            (Some(compression), _) => compression,
            (None, Some(codec)) => (codec.to_owned(), None),
            (None, None) if format == FormatOptions::Parquet => ("snappy".to_owned(), None),
            (None, None) => ("none".to_owned(), None),
        };
        if format == FormatOptions::Parquet && codec_by_suffix.is_some() {
            let hint = "Parquet compresses within: end `path` in `.parquet` and set `compression`";
            self.report(&path.span, "a Parquet file is not compressed as a whole", hint);
        } else if let Some(suffix) = codec_by_suffix
            && suffix != codec
        {
            let message = format!("the path says `{suffix}`, and `compression` says `{codec}`");
            self.report(&path.span, message, "let both say the same");
        }
        let max_bytes = written.max_bytes.and_then(|at| match at.value.0.parse::<ByteSize>() {
            Ok(bytes) if bytes.bytes() > 0 => Some(bytes),
            Ok(_) => {
                self.report(&at.span, "no output is that small", "leave `max_bytes` out for no limit");
                None
            }
            Err(error) => {
                self.report(&at.span, error.to_string(), error.hint().unwrap_or_default());
                None
            }
        });
        if let (Some(at), false) = (written.max_bytes, columns.is_empty()) {
            self.report(&at.span, ONE_OBJECT_EACH.0, ONE_OBJECT_EACH.1);
        }
        if self.problems.len() > before {
            return None;
        }
        Some((
            located.store,
            ConvertTarget { template, partition, columns, format, codec, level, max_bytes, metadata: None },
        ))
    }

    /// Where the metadata of a data set is copied to, with the layout that wants it beside the data.
    fn metadata(&mut self, pattern: &Pattern, written: &Written<'_>) -> Option<Template> {
        let (_, prefix) = (written.layout.filter(|layout| layout.value == "dataclient")?, written.prefix?);
        let value = format!("{}/{}METADATA.json", prefix.value.trim_end_matches('/'), set_of(pattern));
        let located = self.located(&At { value, span: prefix.span.clone() }, PathKind::Keys)?;
        Template::parse(&located.path, pattern).ok()
    }

    /// The path of a target, or the one that its layout stands for.
    ///
    /// Source: Hive's and Athena's partitions; the layouts of the S3DB converter (docs/conventions.md).
    fn path(
        &mut self,
        pattern: &Pattern,
        written: &Written<'_>,
        partition: Option<PartitionSize>,
        columns: &[String],
        format: Option<&FormatOptions>,
        compression: Option<&(String, Option<i64>)>,
    ) -> Option<At<String>> {
        let (layout, prefix) = match (&written.path, written.layout, written.prefix) {
            (Some(path), None, None) => return Some(path.clone()),
            (None, Some(layout), Some(prefix)) => (layout, prefix),
            (None, Some(layout), None) => {
                self.report(&layout.span, "`layout` needs a `prefix`", "for example `prefix = \"lake:out\"`");
                return None;
            }
            (_, None, Some(prefix)) => {
                self.report(&prefix.span, "`prefix` belongs to `layout`", "leave it out, or name a layout");
                return None;
            }
            (None, None, None) => {
                self.report(&written.span, "the table has no `path`", "add `path` or `layout`");
                return None;
            }
            (Some(path), Some(_), _) => {
                self.report(&path.span, "`path` and `layout` say the same thing", "leave one of them out");
                return None;
            }
        };
        if !LAYOUTS.contains(&layout.value.as_str()) {
            let hint = hint_of(&layout.value, &LAYOUTS);
            self.report(&layout.span, format!("unknown layout `{}`", layout.value), hint);
            return None;
        }
        let format = format.cloned().unwrap_or(FormatOptions::Parquet);
        let codec = compression.map_or("none", |(codec, _)| codec.as_str());
        let suffix = match CODECS.iter().find(|(name, _, _)| *name == codec) {
            Some((_, suffix, _)) if !suffix.is_empty() && format != FormatOptions::Parquet => {
                format!("{}.{suffix}", format.name())
            }
            Some(_) | None => format.name().to_owned(),
        };
        let Some(size) = partition else {
            let hint = "add `partition = \"day\"`, or write the `path`";
            self.report(&layout.span, format!("layout `{}` needs a span of time", layout.value), hint);
            return None;
        };
        let names: Vec<&str> = pattern.names().filter(|name| !is_time(pattern, name)).collect();
        let set = set_of(pattern);
        let mut path = format!("{}/", prefix.value.trim_end_matches('/'));
        match layout.value.as_str() {
            "hive" => {
                for name in &names {
                    path.push_str(&format!("{}={{{name}}}/", name.to_ascii_lowercase()));
                }
                let pieces =
                    ["year={partition:%Y}", "month={partition:%m}", "day={partition:%d}", "hour={partition:%H}"];
                let depth = match size {
                    PartitionSize::Year => 1,
                    PartitionSize::Month => 2,
                    PartitionSize::Day => 3,
                    PartitionSize::Hour => 4,
                };
                for piece in &pieces[..depth] {
                    path.push_str(&format!("{piece}/"));
                }
                for column in columns {
                    path.push_str(&format!("{}={{{column}}}/", column.to_ascii_lowercase()));
                }
                path.push_str(&format!("part.{suffix}"));
            }
            "athena" => {
                let value = match size {
                    PartitionSize::Hour => "%Y-%m-%d %H:00:00",
                    PartitionSize::Day | PartitionSize::Month | PartitionSize::Year => "%Y-%m-%d",
                };
                path.push_str(&format!("{set}{size}_partition={{partition:{value}}}/"));
                path.push_str(&format!("{{partition:epoch}}.{suffix}"));
            }
            _ => path.push_str(&format!("{set}year={{partition:%Y}}/{{partition:epoch}}.{suffix}")),
        }
        Some(At { value: path, span: layout.span.clone() })
    }

    pub(super) fn format(&mut self, at: &At<RawFormat>) -> Option<FormatOptions> {
        match &at.value {
            RawFormat::Name(name) => {
                let format = FormatOptions::of_name(name);
                if format.is_none() {
                    self.report(&at.span, format!("unknown format `{name}`"), hint_of(name, &FORMATS));
                }
                format
            }
            RawFormat::Table(table) => {
                let RawCsv { delimiter, quote, header } = &table.csv;
                let mark = |this: &mut Self, at: &Option<At<String>>, default: u8| match at {
                    None => Some(default),
                    Some(at) => match at.value.as_bytes() {
                        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
                        _ => {
                            let message = format!("`{}` cannot be a mark", at.value.escape_debug());
                            this.report(&at.span, message, "one ASCII character that ends no line");
                            None
                        }
                    },
                };
                let (delimiter, quote) = (mark(self, delimiter, b',')?, mark(self, quote, b'"')?);
                if delimiter == quote {
                    self.report(&at.span, "delimiter and quote are the same", "choose another for one of them");
                    return None;
                }
                Some(FormatOptions::Csv { delimiter, quote, header: header.unwrap_or(true) })
            }
        }
    }

    pub(super) fn compression(&mut self, at: &At<RawCompression>) -> Option<(String, Option<i64>)> {
        let (name, level) = match &at.value {
            RawCompression::Name(name) => (name, None),
            RawCompression::Table(table) => (&table.codec, table.level),
        };
        let lower = name.to_ascii_lowercase();
        match CODECS.iter().find(|(known, _, other)| *known == lower || *other == lower) {
            Some((known, _, _)) => Some(((*known).to_owned(), level)),
            None => {
                let hint = hint_of(&lower, &CODECS.map(|(name, _, _)| name));
                self.report(&at.span, format!("unknown codec `{name}`"), hint);
                None
            }
        }
    }

    pub(super) fn quarantine(&mut self, raw: &RawFlow) -> Option<String> {
        let Some(at) = &raw.quarantine else { return Some(DEFAULT_QUARANTINE.to_owned()) };
        let prefix = at.value.trim_matches('/');
        let fault = if prefix.is_empty() {
            Some("names no prefix".to_owned())
        } else if prefix.contains(['{', '}', '*']) {
            Some("takes no placeholders".to_owned())
        } else if prefix.contains(':') || prefix.split('/').any(|piece| matches!(piece, "" | "." | "..")) {
            Some("is a prefix in the store of `to`, without the store's name".to_owned())
        } else {
            Key::try_new(prefix.to_owned()).err().map(|error| error.to_string())
        };
        match fault {
            None => Some(prefix.to_owned()),
            Some(fault) => {
                self.report(&at.span, format!("`quarantine` {fault}"), "for example `_quarantine`");
                None
            }
        }
    }

    fn limit(&mut self, raw: &RawFlow) -> Option<QuarantineLimit> {
        let Some(at) = &raw.max_quarantined else { return Some(DEFAULT_LIMIT) };
        let text = at.value.0.trim();
        let limit = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().filter(|n| *n <= 100).map(QuarantineLimit::Percent),
            None => text.parse().ok().map(QuarantineLimit::Records),
        };
        if limit.is_none() {
            self.report(
                &at.span,
                format!("`{text}` is no limit"),
                "write a number of records, or a share such as `10%`",
            );
        }
        limit
    }

    /// Whether the names of outputs can be kept: an output that is built anew must get the name that it had.
    fn names_of_outputs(&mut self, raw: &RawFlow, targets: &[ConvertTarget], sources: Option<&SourcePolicy>) {
        let with_run = targets.iter().filter(|target| target.template.names_runs()).count();
        if with_run != 0 && with_run != targets.len() {
            let hint = "name it in every path (each run then adds objects), or in none (partitions are built anew)";
            self.report(&raw.to.span, "`{run}` stands in some of the paths", hint);
            return;
        }
        if with_run == 0 {
            if let Some(word) = targets.iter().find_map(|target| target.template.volatile()) {
                let message = format!("`{word}` would give an output another name when its partition is built anew");
                let hint = "name the partition alone; or add `{run}`, so that each run adds objects of its own";
                self.report(&raw.to.span, message.replace("`{", "`"), hint);
            }
            let keeps = sources.is_none_or(|policy| policy.after_commit == AfterCommit::Keep);
            if !keeps {
                let span = raw.sources.as_ref().map_or(&raw.to.span, |at| &at.span);
                let hint = "keep them, or add `{run}` to the paths, so that each run adds objects of its own";
                self.report(span, "partitions are built anew from all their sources, which must stay", hint);
            }
        }
    }
}

/// The targets as they are written; a plain `to` is one.
fn written(raw: &RawFlow) -> Vec<Written<'_>> {
    let of_table = |table| written_table(raw, table);
    match &raw.to.value {
        RawTo::Path(path) => vec![Written {
            path: Some(At { value: path.clone(), span: raw.to.span.clone() }),
            layout: None,
            prefix: None,
            partition: raw.partition.as_ref(),
            format: None,
            compression: raw.compression.as_ref(),
            max_bytes: None,
            span: raw.to.span.clone(),
        }],
        RawTo::Table(table) => vec![of_table(table)],
        RawTo::Tables(tables) => tables.iter().map(of_table).collect(),
    }
}

fn written_table<'r>(raw: &RawFlow, table: &'r RawTarget) -> Written<'r> {
    // A table has no place of its own: that of its path is the nearest.
    let places = [&table.path, &table.layout].map(|at| at.as_ref().map(|at| at.span.clone()));
    Written {
        path: table.path.clone(),
        layout: table.layout.as_ref(),
        prefix: table.prefix.as_ref(),
        partition: table.partition.as_ref(),
        format: table.format.as_ref(),
        compression: table.compression.as_ref(),
        max_bytes: table.max_bytes.as_ref(),
        span: places.into_iter().flatten().next().unwrap_or_else(|| raw.to.span.clone()),
    }
}

/// The directories of a data set, where keys tell them apart.
fn set_of(pattern: &Pattern) -> &'static str {
    let has_set = ["collection", "dataset"].iter().all(|set| pattern.names().any(|name| name == *set));
    if has_set { "{collection}/{dataset}/" } else { "" }
}

/// Format and codec by the end of a path: `.csv.gz`.
pub(super) fn of_suffix(end: &str) -> (Option<FormatOptions>, Option<&'static str>) {
    let name = end.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let mut pieces = name.rsplit('.');
    let last = pieces.next().unwrap_or_default();
    let codec = CODECS.iter().find(|(_, suffix, _)| !suffix.is_empty() && *suffix == last).map(|(name, _, _)| *name);
    match codec {
        Some(codec) => (pieces.next().and_then(FormatOptions::of_name), Some(codec)),
        None if name.contains('.') => (FormatOptions::of_name(last), None),
        None => (None, None),
    }
}

fn is_time(pattern: &Pattern, name: &str) -> bool {
    matches!(pattern.field_type(name), Some(FieldType::Time(_)))
}

/// The only placeholder that captures a time.
fn only_time(pattern: &Pattern) -> Option<&str> {
    let mut times = pattern.names().filter(|name| is_time(pattern, name));
    times.next().filter(|_| times.next().is_none())
}

/// How much time the precision of a placeholder covers; seconds tell an instant, not what the object holds from it on.
fn covered(pattern: &Pattern, name: &str) -> Option<PartitionSize> {
    match pattern.field_type(name) {
        Some(FieldType::Time(unit)) => PartitionSize::of_unit(unit),
        Some(FieldType::Text | FieldType::Int) | None => None,
    }
}

fn hint_of(word: &str, known: &[&str]) -> String {
    match did_you_mean(word, known.iter().copied()) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => format!("known here: {}", quoted_list(known)),
    }
}
