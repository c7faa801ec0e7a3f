//! Checks what a flow says of `scatter`, and what `[connections]` says.

use std::time::Duration;

use super::convert::of_suffix;
use super::place::{PathKind, absolute};
use super::raw::{At, RawFlow};
use super::raw_convert::RawTo;
use super::raw_scatter::{RawConnection, RawDynamoDb, RawEach};
use super::resolved::{Connection, EachConfig, ScatterConfig, SchemaBase, Target, UpsertConfig};
use super::validate::Checker;
use crate::ledger::{FormatOptions, ResultOptions, ResultShape};
use crate::text::SyntaxError;
use crate::{FieldType, Pattern, Span, Template};

const DEFAULT_CHUNK: u64 = 1_000;
const DEFAULT_BATCH: u64 = 100;
const DEFAULT_CONCURRENCY: u64 = 4;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const SUMMARY: &str = ".summary.json";

/// Codecs whose members may stand one behind the other: chunks are compressed apart from each other.
const JOINED: [&str; 6] = ["none", "gzip", "zstd", "bzip2", "lz4", "snappy"];

impl Checker<'_> {
    pub(super) fn connection(&mut self, name: &At<String>, raw: &RawConnection) -> Option<Connection> {
        match (&raw.sqlite, &raw.postgres, &raw.dynamodb) {
            (Some(path), None, None) if path.value.is_empty() => {
                self.report(&path.span, "`sqlite` names no file", "for example `./items.db`");
                None
            }
            (Some(path), None, None) => Some(Connection::Sqlite(absolute(&path.value, self.base_dir))),
            (None, Some(secret), None) => Some(Connection::Postgres { secret: secret.value.env.value.clone() }),
            (None, None, Some(at)) => {
                let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.value.clone());
                let RawDynamoDb { region, endpoint, profile } = &at.value;
                Some(Connection::DynamoDb { region: text(region), endpoint: text(endpoint), profile: text(profile) })
            }
            _ => {
                let message = format!("connection `{}` names not one database", name.value);
                self.report(
                    &name.span,
                    message,
                    "write `{ sqlite = \"./items.db\" }`, `{ postgres = { env = \"URL\" } }` or `{ dynamodb = {} }`",
                );
                None
            }
        }
    }

    /// Checks the settings of `scatter`.
    pub(super) fn scatter(&mut self, raw: &RawFlow, pattern: &Pattern) -> Option<(Target, ScatterConfig)> {
        let before = self.problems.len();
        self.refuse_others(raw);
        let RawTo::Path(path) = &raw.to.value else {
            self.report(&raw.to.span, "`scatter` has one `to`", "write it as a text: `to = \"lake:out/{batch}.json\"`");
            return None;
        };
        let at = At { value: path.clone(), span: raw.to.span.clone() };
        let to = self.to(&at, pattern);
        let result = to.as_ref().and_then(|to| self.result(raw, &at, &to.template));
        let summary = to.as_ref().and_then(|_| self.summary(&at, pattern));
        let format = raw.format.as_ref().and_then(|at| self.format(at));
        let split = raw.split.as_ref().map(|at| &at.value);
        let records = self.records_path(split.and_then(|split| split.records.as_ref()));
        let chunk = split.and_then(|split| split.chunk.as_ref());
        if let Some(at) = chunk
            && at.value == 0
        {
            self.report(&at.span, "a chunk of no records is none", "leave it out for 1000");
        }
        let steps = raw.each.as_ref().map(|at| (at.value.all(), at.span.clone()));
        let mut each = Vec::new();
        for step in steps.iter().flat_map(|(steps, _)| steps.iter()) {
            each.extend(self.step(step, &raw.each.as_ref().map_or(0..0, |at| at.span.clone())));
        }
        let upsert = raw.upsert.as_ref().map(|at| {
            let given = &at.value;
            if !self.connections.contains(&given.into.value) {
                let message = format!("there is no connection `{}`", given.into.value);
                let hint = format!("add `[connections]` with `{} = {{ sqlite = \"./items.db\" }}`", given.into.value);
                self.report(&given.into.span, message, hint);
            }
            if given.key.value.is_empty() || given.key.value.iter().any(String::is_empty) {
                self.report(&given.key.span, "an upsert needs a key", "name the columns that make two records one");
            }
            if given.table.value.is_empty() || given.table.value.split('.').any(str::is_empty) {
                self.report(
                    &given.table.span,
                    format!("`{}` names no table", given.table.value),
                    "for example `items`",
                );
            }
            UpsertConfig {
                into: given.into.value.clone(),
                table: given.table.value.clone(),
                key: given.key.value.clone(),
                create: given.create,
            }
        });
        let schema = self.schema(raw, pattern);
        if let (Some(source), Some(at)) = (&schema, &raw.schema)
            && matches!(source.base, SchemaBase::S3db(_))
        {
            self.report(&at.span, "`s3db` belongs to `do = \"convert\"`", "declare `columns`, or leave `schema` out");
        }
        let batch_time = raw.batch_time.as_ref().map(|at| {
            if !matches!(pattern.field_type(&at.value), Some(FieldType::Time(_))) {
                let message = format!("`{}` is no placeholder of `from` that captures a time", at.value);
                let hint =
                    "leave it out for the object's last modification, or capture one: `{at:%Y-%m-%dT%H}`, `{at:epoch}`";
                self.report(&at.span, message, hint);
            }
            at.value.clone()
        });
        let quarantine = self.quarantine(raw);
        let max_expansion = self.max_expansion(raw);
        if self.problems.len() > before {
            return None;
        }
        let config = ScatterConfig {
            format,
            records,
            chunk: chunk.map_or(DEFAULT_CHUNK, |at| at.value),
            each,
            upsert,
            schema: schema?,
            batch_time,
            result: result?,
            summary: summary?,
            quarantine: quarantine?,
            max_expansion,
        };
        Some((to?, config))
    }

    /// Reports settings that other operations have.
    fn refuse_others(&mut self, raw: &RawFlow) {
        let of_combine = [
            ("separator", raw.separator.as_ref().map(|at| &at.span)),
            ("header", raw.header.as_ref().map(|at| &at.span)),
            ("check", raw.check.as_ref().map(|at| &at.span)),
            ("content_type", raw.content_type.as_ref().map(|at| &at.span)),
        ];
        for (key, span) in of_combine {
            self.refuse(span, key, "combine");
        }
        let of_convert = [
            ("time", raw.time.as_ref().map(|at| &at.span)),
            ("covers", raw.covers.as_ref().map(|at| &at.span)),
            ("epoch", raw.epoch.as_ref().map(|at| &at.span)),
            ("partition", raw.partition.as_ref().map(|at| &at.span)),
            ("on_drift", raw.on_drift.as_ref().map(|at| &at.span)),
            ("max_quarantined", raw.max_quarantined.as_ref().map(|at| &at.span)),
            ("scrub", raw.scrub.as_ref().map(|at| &at.span)),
            ("provenance", raw.provenance.as_ref().map(|at| &at.span)),
        ];
        if let Some(at) = &raw.sql {
            self.report(&at.span, "`sql` is a step of `each` here", "write `each = { sql = \"…\" }`");
        }
        for (key, span) in of_convert {
            self.refuse(span, key, "convert");
        }
        if let Some(at) = &raw.records {
            self.report(&at.span, "`records` stands in `split` here", "write `split = { records = \"…\" }`");
        }
        if raw.redshift_manifest {
            self.report(&raw.to.span, "`redshift_manifest` belongs to `do = \"combine\"`", "leave it out");
        }
        if let Some(At { value: batch, .. }) = &raw.batch {
            let sizes = [
                ("max_objects", batch.max_objects.as_ref().map(|at| &at.span)),
                ("max_bytes", batch.max_bytes.as_ref().map(|at| &at.span)),
                ("min_objects", batch.min_objects.as_ref().map(|at| &at.span)),
            ];
            for (key, span) in sizes {
                if let Some(span) = span {
                    self.report(
                        span,
                        format!("each object is a batch of its own: `{key}` has no meaning"),
                        "leave it out",
                    );
                }
            }
        }
    }

    /// Reports settings that only `scatter` has.
    pub(super) fn refuse_scatter_settings(&mut self, raw: &RawFlow) {
        let of_scatter = [
            ("split", raw.split.as_ref().map(|at| &at.span)),
            ("each", raw.each.as_ref().map(|at| &at.span)),
            ("upsert", raw.upsert.as_ref().map(|at| &at.span)),
            ("batch_time", raw.batch_time.as_ref().map(|at| &at.span)),
        ];
        for (key, span) in of_scatter {
            self.refuse(span, key, "scatter");
        }
    }

    fn result(&mut self, raw: &RawFlow, at: &At<String>, template: &Template) -> Option<ResultOptions> {
        let (format, by_suffix) = of_suffix(template.literal_suffix());
        let shape = match format {
            Some(FormatOptions::Json) => ResultShape::Document,
            Some(FormatOptions::Jsonl) => ResultShape::Lines,
            Some(_) | None => {
                let hint =
                    "end it in `.json` or `.jsonl`, with `.gz` or `.zst` behind that where it is to be compressed";
                self.report(&at.span, "a result is JSON, and `to` does not say so", hint);
                return None;
            }
        };
        let declared = raw.compression.as_ref().map(|at| (self.compression(at), at.span.clone()));
        let (codec, level) = match (declared, by_suffix) {
            (Some((None, _)), _) => return None,
            (Some((Some((codec, level)), span)), suffix) => {
                if codec != suffix.unwrap_or("none") {
                    let message =
                        format!("the path says `{}`, and `compression` says `{codec}`", suffix.unwrap_or("none"));
                    self.report(&span, message, "let both say the same");
                    return None;
                }
                (codec, level)
            }
            (None, suffix) => (suffix.unwrap_or("none").to_owned(), None),
        };
        if !JOINED.contains(&codec.as_str()) {
            let hint = "chunks are compressed apart from each other: choose gzip, zstd, bzip2, lz4 or snappy";
            self.report(&at.span, format!("`{codec}` streams cannot be joined"), hint);
            return None;
        }
        Some(ResultOptions { shape, codec, level })
    }

    /// What the summary beside a result is called: `{batch}.json.gz` has `{batch}.summary.json`.
    fn summary(&mut self, at: &At<String>, pattern: &Pattern) -> Option<Template> {
        let located = self.located(at, PathKind::Keys)?;
        let (format, codec) = of_suffix(&located.path);
        let pieces = usize::from(codec.is_some()) + usize::from(format.is_some());
        let stem =
            (0..pieces).fold(located.path.as_str(), |stem, _| stem.rsplit_once('.').map_or(stem, |(stem, _)| stem));
        match Template::parse(&format!("{stem}{SUMMARY}"), pattern) {
            Ok(template) => Some(template),
            Err(error) => {
                self.syntax(at, located.offset, error);
                None
            }
        }
    }

    fn step(&mut self, each: &RawEach, span: &std::ops::Range<usize>) -> Option<EachConfig> {
        let timeout = match &each.timeout {
            None => Span::new(DEFAULT_TIMEOUT),
            Some(at) => {
                let timeout = self.duration(at)?;
                if timeout.is_zero() {
                    self.report(&at.span, "no answer comes in no time", "for example `30s`");
                    return None;
                }
                timeout
            }
        };
        let mut count = |at: &Option<At<u64>>, name: &str, default: u64| match at {
            None => Some(default),
            Some(at) if at.value == 0 => {
                self.report(&at.span, format!("`{name}` is at least 1"), format!("leave it out for {default}"));
                None
            }
            Some(at) => Some(at.value),
        };
        let batch = count(&each.batch, "batch", DEFAULT_BATCH)?;
        let concurrency = count(&each.concurrency, "concurrency", DEFAULT_CONCURRENCY)?;
        let for_http = [&each.batch, &each.concurrency].into_iter().flatten().next();
        if let (Some(at), None) = (for_http, &each.http) {
            self.report(&at.span, "`batch` and `concurrency` belong to `http`", "leave them out");
            return None;
        }
        if let (Some(at), None, None) = (&each.timeout, &each.program, &each.http) {
            self.report(&at.span, "`timeout` belongs to `program` and `http`", "leave it out");
            return None;
        }
        match (&each.json_schema, &each.sql, &each.program, &each.http) {
            (Some(path), None, None, None) => Some(EachConfig::JsonSchema(absolute(&path.value, self.base_dir))),
            (None, Some(text), None, None) => Some(EachConfig::Sql(text.value.clone())),
            (None, None, Some(command), None) => {
                if command.value.first().is_none_or(String::is_empty) {
                    self.report(
                        &command.span,
                        "`program` names no program",
                        "for example `[\"python3\", \"price.py\"]`",
                    );
                    return None;
                }
                Some(EachConfig::Program { command: command.value.clone(), timeout })
            }
            (None, None, None, Some(url)) => {
                if !["http://", "https://"].iter().any(|scheme| url.value.starts_with(scheme)) {
                    let message = format!("`{}` is no URL of a server", url.value);
                    self.report(&url.span, message, "for example `http://127.0.0.1:8080/prices`");
                    return None;
                }
                Some(EachConfig::Http { url: url.value.clone(), batch, concurrency, timeout })
            }
            _ => {
                let hint = "write one of `json_schema`, `sql`, `program` and `http`, and an array for several steps";
                self.report(span, "a step of `each` does one thing", hint);
                None
            }
        }
    }

    /// Reads the path under which documents hold their records.
    pub(super) fn records_path(&mut self, at: Option<&At<String>>) -> Vec<String> {
        match at {
            None => Vec::new(),
            Some(at) if at.value.is_empty() || at.value.split('.').any(str::is_empty) => {
                self.syntax(
                    at,
                    0,
                    SyntaxError::hinted(
                        0,
                        format!("`{}` is no path of keys", at.value),
                        "for example `response.records`",
                    ),
                );
                Vec::new()
            }
            Some(at) => at.value.split('.').map(str::to_owned).collect(),
        }
    }
}
