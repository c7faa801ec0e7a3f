//! From text to [`Config`]: the order of steps, stores, and the parts that concern the whole file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::claims::{self, Culprit, Ground};
use super::place::{
    Addressing, AzureConfig, BucketUrl, Cloud, DirectoryConfig, GcsConfig, Hosts, Located, PathKind, Place, S3Config,
    StoreConfig, StoreId, StoreName, absolute, locate, parse_url, refuse_dots,
};
use super::raw::{At, RawFlow, RawStore, RawStoreTable};
use super::raw_scatter::RawConnection;
use super::resolved::{Config, FlowConfig};
use super::source::{ConfigError, Problem, Sources};
use super::tree::{self, Env, Table};
use crate::text::{SyntaxError, did_you_mean, quoted_list};

/// The keys of the file's top level.
const SECTIONS: [&str; 5] = ["version", "state", "stores", "connections", "flows"];

/// The keys that a flow must have; a misspelt one is not missing.
const FLOW_KEYS: [&str; 4] = ["do", "on", "from", "to"];

/// The verbs that Baler has elsewhere.
const OTHER_VERBS: [&str; 2] = ["extract", "model"];

/// The verbs of this build, for hints.
const VERBS: [&str; 3] = ["combine", "convert", "scatter"];

const THIS_BUILD: &str = "this build has `do = \"combine\"`, `do = \"convert\"` and `do = \"scatter\"`";

const DEFAULT_STATE: &str = "./.baler";

/// A file that was read: its form is right, its meaning not yet checked.
#[derive(Debug, Clone)]
pub struct RawConfig {
    sources: Sources,
    state: Option<At<String>>,
    stores: Vec<Named<RawStore>>,
    connections: Vec<Named<RawConnection>>,
    flows: Vec<Named<RawFlow>>,
}

/// A table of a section, with its name.
#[derive(Debug, Clone)]
struct Named<T> {
    name: At<String>,
    value: T,
    span: Range<usize>,
}

impl RawConfig {
    /// Reads a file: TOML, then the overrides of `--set` in their order, then the environment.
    ///
    /// `sets` are texts such as `flows.audit.batch.max_objects=5`.
    ///
    /// Errors: [`ConfigError`] with all that is wrong with the form of the file.
    pub fn parse(text: &str, file_name: &str, env: Env<'_>, sets: &[String]) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        let start = sources.add(file_name, text);
        let mut table = tree::parse(text, start, &sources).map_err(ConfigError::new)?;
        for set in sets {
            let over = tree::parse_set(set, &mut sources).map_err(ConfigError::new)?;
            tree::overlay(&mut table, over);
        }
        let mut problems = Vec::new();
        tree::expand(&mut table, env, &sources, &mut problems);
        let mut reader = Reader { sources: &sources, problems };
        let end = text.len()..text.len();
        let read = reader.file(table, &end);
        let problems = reader.problems;
        match problems.is_empty() {
            true => {
                let (state, stores, connections, flows) = read;
                Ok(Self { sources, state, stores, connections, flows })
            }
            false => Err(ConfigError::new(problems)),
        }
    }

    /// Checks what the file means; `base_dir` is the absolute path of its directory.
    ///
    /// Errors: [`ConfigError`] with all that is wrong.
    pub fn validate(&self, base_dir: &str) -> Result<Config, ConfigError> {
        let base_dir = absolute(base_dir, "");
        let names = self.stores.iter().map(|store| store.name.value.as_str()).collect();
        let mut checker = Checker {
            sources: &self.sources,
            problems: Vec::new(),
            base_dir: &base_dir,
            names,
            stores: BTreeMap::new(),
            connections: self.connections.iter().map(|connection| connection.name.value.clone()).collect(),
        };
        for store in &self.stores {
            if let Some((id, config)) = checker.store(store) {
                checker.stores.insert(id, config);
            }
        }
        let mut connections = BTreeMap::new();
        for Named { name, value, .. } in &self.connections {
            connections.extend(checker.connection(name, value).map(|connection| (name.value.clone(), connection)));
        }
        let default = At { value: DEFAULT_STATE.to_owned(), span: 0..0 };
        let state = checker.place(self.state.as_ref().unwrap_or(&default));
        let mut flows: Vec<(FlowConfig, &RawFlow)> = Vec::new();
        for Named { name, value, .. } in &self.flows {
            if let Some(flow) = checker.flow(name, value) {
                flows.push((flow, value));
            }
        }
        let (flows, raw): (Vec<FlowConfig>, Vec<&RawFlow>) = flows.into_iter().unzip();
        if let Some(state) = &state {
            let ground = Ground { stores: &checker.stores, state };
            for (index, conflict) in claims::find(&ground, &flows) {
                let raw = raw[index];
                let archive = || raw.sources.as_ref().and_then(|sources| sources.value.archive_to.as_ref());
                let span = match conflict.at {
                    Culprit::From => &raw.from.span,
                    Culprit::To => &raw.to.span,
                    Culprit::ArchiveTo => archive().map_or(&raw.to.span, |at| &at.span),
                };
                checker.problems.push(self.sources.problem(span, conflict.message, Some(conflict.hint)));
            }
        }
        let Checker { problems, stores, .. } = checker;
        match state {
            Some(state) if problems.is_empty() => Ok(Config { base_dir, state, stores, connections, flows }),
            Some(_) | None => Err(ConfigError::new(problems)),
        }
    }
}

type ReadFile = (Option<At<String>>, Vec<Named<RawStore>>, Vec<Named<RawConnection>>, Vec<Named<RawFlow>>);

/// Turns the tree into raw types, section by section, so that one fault does not hide the others.
struct Reader<'s> {
    sources: &'s Sources,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn report(&mut self, span: &Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(self.sources.problem(span, message, hint));
    }

    fn file(&mut self, mut table: Table<'_>, end: &Range<usize>) -> ReadFile {
        let unknown: Vec<_> = table
            .keys()
            .filter(|key| !SECTIONS.contains(&key.get_ref().as_ref()))
            .map(|key| (key.span(), key.get_ref().to_string()))
            .collect();
        for (span, key) in unknown {
            let hint = hint_of(&key, &SECTIONS);
            self.report(&span, format!("unknown key `{key}`"), Some(hint));
        }
        match table.remove("version") {
            None => {
                let hint = "write `version = 1` at the top of the file";
                self.report(end, "the file has no `version`", Some(hint.to_owned()));
            }
            Some(version) if version.get_ref().as_integer().is_some_and(|number| number.as_str() == "1") => {}
            Some(version) => {
                let hint = "this build reads `version = 1`";
                self.report(&version.span(), "this version of the file is not known", Some(hint.to_owned()));
            }
        }
        let state = table.remove("state").and_then(|state| self.read::<At<String>>(state, "state"));
        let stores = self.section(table.remove("stores"), "stores").into_iter().filter_map(|(name, value)| {
            let path = format!("stores.{}", name.value);
            let span = value.span();
            self.read::<RawStore>(value, &path).map(|value| Named { name, value, span })
        });
        let stores = stores.collect();
        let connections = self.section(table.remove("connections"), "connections");
        let connections = connections.into_iter().filter_map(|(name, value)| {
            let path = format!("connections.{}", name.value);
            let span = value.span();
            self.read::<RawConnection>(value, &path).map(|value| Named { name, value, span })
        });
        let connections = connections.collect();
        let mut flows = Vec::new();
        for (name, value) in self.section(table.remove("flows"), "flows") {
            flows.extend(self.flow(name, value));
        }
        (state, stores, connections, flows)
    }

    /// The entries of a section, in the order of the file.
    fn section<'t>(
        &mut self,
        section: Option<Spanned<DeValue<'t>>>,
        name: &str,
    ) -> Vec<(At<String>, Spanned<DeValue<'t>>)> {
        let Some(section) = section else { return Vec::new() };
        let span = section.span();
        let DeValue::Table(table) = section.into_inner() else {
            self.report(&span, format!("`{name}` is a table"), Some(format!("write `[{name}.NAME]`")));
            return Vec::new();
        };
        let mut entries: Vec<_> = table
            .into_iter()
            .map(|(key, value)| (At { span: key.span(), value: key.into_inner().into_owned() }, value))
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    fn flow(&mut self, name: At<String>, value: Spanned<DeValue<'_>>) -> Option<Named<RawFlow>> {
        let path = format!("flows.{}", name.value);
        let operation = match value.get_ref().get("do") {
            Some(operation) => operation,
            None if value.get_ref().is_table() => {
                if self.misspelt(&value, &path, "do") {
                    return None;
                }
                let hint = THIS_BUILD;
                self.report(
                    &name.span,
                    format!("flow `{}` does not say what to `do`", name.value),
                    Some(hint.to_owned()),
                );
                return None;
            }
            None => {
                self.report(&value.span(), format!("`{path}` is a table"), Some(format!("write `[{path}]`")));
                return None;
            }
        };
        let verb = operation.get_ref().as_str().unwrap_or_default();
        if !VERBS.contains(&verb) {
            let (message, hint) = match OTHER_VERBS.contains(&verb) {
                true => (format!("this build does not have `do = \"{verb}\"`"), THIS_BUILD.to_owned()),
                false if verb.is_empty() => ("`do` names no operation".to_owned(), THIS_BUILD.to_owned()),
                false => (format!("unknown operation `{verb}`"), hint_of(verb, &VERBS)),
            };
            let span = operation.span();
            self.report(&span, message, Some(hint));
            return None;
        }
        let missing = ["from", "to"].into_iter().find(|key| value.get_ref().get(*key).is_none());
        if let Some(key) = missing {
            if self.misspelt(&value, &path, key) {
                return None;
            }
            let hint = match key {
                "from" => "for example `from = \"lake:logs/{day:%Y-%m-%d}/{part:int}.jsonl\"`",
                _ => "for example `to = \"lake:daily/{day:%Y-%m-%d}.jsonl\"`",
            };
            self.report(&name.span, format!("flow `{}` has no `{key}`", name.value), Some(hint.to_owned()));
            return None;
        }
        let span = value.span();
        self.read::<RawFlow>(value, &path).map(|value| Named { name, value, span })
    }

    /// Reports a key that stands where a required one is missing, if it looks like it.
    fn misspelt(&mut self, value: &Spanned<DeValue<'_>>, path: &str, required: &str) -> bool {
        let DeValue::Table(table) = value.get_ref() else { return false };
        let like = table.keys().find(|key| {
            let key = key.get_ref().as_ref();
            !FLOW_KEYS.contains(&key) && did_you_mean(key, [required]).is_some()
        });
        let Some(like) = like else { return false };
        let (span, key) = (like.span(), like.get_ref().to_string());
        self.report(&span, format!("unknown key `{key}` in `{path}`"), Some(format!("did you mean `{required}`?")));
        true
    }

    fn read<T: for<'de> Deserialize<'de>>(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Option<T> {
        let whole = value.span();
        match T::deserialize(toml::de::ValueDeserializer::from(value)) {
            Ok(read) => Some(read),
            Err(error) => {
                let span = error.span().unwrap_or(whole);
                let (message, hint) = reword(error.message(), path);
                self.report(&span, message, hint);
                None
            }
        }
    }
}

/// Says in our words what serde found: `unknown field` and `unknown variant` come with what was expected.
fn reword(message: &str, path: &str) -> (String, Option<String>) {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = |what: &str| match words.split_first() {
        Some((word, known)) => {
            let hint = match *word {
                "unconditional_delete" => {
                    "it belongs to a flow: `sources = { after_commit = \"delete\", unconditional_delete = true }`"
                        .to_owned()
                }
                word => hint_of(word, known),
            };
            Some((format!("unknown {what} `{word}` in `{path}`"), Some(hint)))
        }
        None => None,
    };
    let reworded = if message.starts_with("unknown field") {
        unknown("key")
    } else if message.starts_with("unknown variant") {
        unknown("value")
    } else {
        message.strip_prefix("missing field ").map(|rest| {
            let hint = rest.starts_with("`url`").then(|| "for example `{ url = \"s3://bucket\" }`".to_owned());
            (format!("{rest} is missing in `{path}`"), hint)
        })
    };
    reworded.unwrap_or_else(|| {
        // Serde names our types and its own; the reader of a file knows tables and arrays.
        let message = match message.split_once("expected struct ") {
            Some((before, _)) => format!("{before}expected a table"),
            None => message
                .replace("a sequence", "an array")
                .replace("type: sequence", "type: array")
                .replace("wanted string or table", "expected one of its words, a string")
                .replace(": map,", ": a table,")
                .replace("expected u64", "expected a whole number, 0 or more")
                .replace("expected u32", "expected a whole number, 0 or more"),
        };
        let hint = match message.rsplit_once("expected ") {
            Some((_, "a table")) => Some("write it in braces: `{ key = … }`".to_owned()),
            Some((_, "a boolean")) => Some("write `true` or `false`, without quotes".to_owned()),
            Some((_, "a whole number, 0 or more")) => Some("write digits, without quotes".to_owned()),
            Some((_, "one of its words, a string")) => Some("write it in quotes".to_owned()),
            Some((_, "a string")) => Some("write it in quotes".to_owned()),
            Some((_, "an array")) => Some("write it in brackets, texts in quotes: `[\"…\"]`".to_owned()),
            Some(_) | None => None,
        };
        (format!("{message} in `{path}`"), hint)
    })
}

fn hint_of(word: &str, known: &[&str]) -> String {
    match did_you_mean(word, known.iter().copied()) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => format!("known here: {}", quoted_list(known)),
    }
}

/// Turns raw types into checked ones, collecting what is wrong.
pub(super) struct Checker<'s> {
    pub(super) sources: &'s Sources,
    pub(super) problems: Vec<Problem>,
    pub(super) base_dir: &'s str,
    names: Vec<&'s str>,
    pub(super) stores: BTreeMap<StoreId, StoreConfig>,
    /// The names of `[connections]`, those of faulty ones included: what is wrong with them is reported there.
    pub(super) connections: BTreeSet<String>,
}

impl Checker<'_> {
    pub(super) fn report(&mut self, span: &Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(self.sources.problem(span, message, Some(hint.into())));
    }

    /// Reports an error in a part of a text.
    pub(super) fn syntax(&mut self, at: &At<String>, part_offset: usize, error: SyntaxError) {
        let start = (part_offset + error.offset).min(at.value.len());
        let end = at.value[start..].find(['/', '}', ' ', ',']).map_or(at.value.len(), |n| start + n.max(1));
        let span = tree::inside(self.sources, &at.span, &at.value, start..end);
        self.problems.push(self.sources.problem(&span, error.message, error.hint));
    }

    pub(super) fn located(&mut self, at: &At<String>, kind: PathKind) -> Option<Located> {
        match locate(&at.value, kind, self.base_dir, &self.names) {
            Ok(located) => {
                if let StoreId::Directory(root) = &located.store {
                    let config = DirectoryConfig { root: root.clone(), hosts: Hosts::Any };
                    self.stores.entry(located.store.clone()).or_insert(StoreConfig::Directory(config));
                }
                if let StoreId::Bucket(bucket) = &located.store {
                    let config = S3Config { bucket: bucket.clone(), ..S3Config::default() };
                    self.stores.entry(located.store.clone()).or_insert(StoreConfig::S3(config));
                }
                if let StoreId::Container(container) = &located.store {
                    let config = AzureConfig { container: container.clone(), ..AzureConfig::default() };
                    self.stores.entry(located.store.clone()).or_insert(StoreConfig::Azure(config));
                }
                if let StoreId::GoogleBucket(bucket) = &located.store {
                    let config = GcsConfig { bucket: bucket.clone(), ..GcsConfig::default() };
                    self.stores.entry(located.store.clone()).or_insert(StoreConfig::Gcs(config));
                }
                if let Some(StoreConfig::Directory(_)) = self.stores.get(&located.store) {
                    let from_root = match located.path.strip_prefix('/') {
                        Some(_) => Err(SyntaxError::hinted(0, "a path in a store begins without `/`", "leave it out")),
                        None => Ok(()),
                    };
                    if let Err(error) = from_root.and_then(|()| refuse_dots(&located.path, 0)) {
                        self.syntax(at, located.offset, error);
                        return None;
                    }
                }
                // A store that was declared but is wrong is reported there.
                self.stores.contains_key(&located.store).then_some(located)
            }
            Err(error) => {
                self.syntax(at, 0, error);
                None
            }
        }
    }

    /// Reads a place that is a prefix: no names, no wildcards.
    pub(super) fn place(&mut self, at: &At<String>) -> Option<Place> {
        let located = self.located(at, PathKind::Prefix)?;
        if let Some(offset) = located.path.find(['{', '}', '*']) {
            let error = SyntaxError::hinted(offset, "this place takes no placeholders", "write a plain prefix");
            self.syntax(at, located.offset, error);
            return None;
        }
        Some(Place { store: located.store, path: located.path.trim_matches('/').to_owned() })
    }

    fn store(&mut self, Named { name, value, span }: &Named<RawStore>) -> Option<(StoreId, StoreConfig)> {
        let Some(store_name) = StoreName::try_new(&name.value).filter(|_| !is_scheme(&name.value)) else {
            let hint =
                "letters, digits, `-` and `_` are allowed, the first a letter; `s3`, `gs` and the like are schemes";
            self.report(&name.span, format!("`{}` is no name for a store", name.value), hint);
            return None;
        };
        let plain;
        let table = match value {
            RawStore::Url(url) => {
                plain = RawStoreTable::of_url(At { value: url.clone(), span: span.clone() });
                &plain
            }
            RawStore::Table(table) => table,
        };
        let config = self.store_config(table)?;
        Some((StoreId::Named(store_name), config))
    }

    fn store_config(&mut self, table: &RawStoreTable) -> Option<StoreConfig> {
        let url = &table.url;
        let Some((scheme, rest)) = url.value.split_once("://") else {
            return self.directory(table);
        };
        let bucket = match parse_url(scheme, rest) {
            Ok(bucket) => bucket,
            Err(error) => {
                self.syntax(url, 0, error);
                return None;
            }
        };
        let before = self.problems.len();
        if let Some(single_host) = &table.single_host {
            self.report(&single_host.span, "`single_host` is for directories", "leave it out");
        }
        if let Some(endpoint) = &table.endpoint
            && !["http://", "https://"].iter().any(|scheme| endpoint.value.starts_with(scheme))
        {
            let hint = "for example `http://127.0.0.1:9000`";
            self.report(&endpoint.span, format!("`{}` is no URL of a server", endpoint.value), hint);
        }
        if let Some(rate) = &table.requests_per_second
            && rate.value == 0
        {
            self.report(&rate.span, "no request at all is allowed", "leave it out for as many as the store takes");
        }
        if let Some(tags) = &table.tags
            && tags.value.len() > 10
        {
            self.report(&tags.span, format!("{} tags are given", tags.value.len()), "S3 takes ten at most");
        }
        let config = match bucket.cloud {
            Cloud::Amazon => StoreConfig::S3(self.s3(table, bucket)),
            Cloud::Azure => StoreConfig::Azure(self.azure(table, bucket)),
            Cloud::Google => StoreConfig::Gcs(self.gcs(table, bucket)),
        };
        (self.problems.len() == before).then_some(config)
    }

    fn s3(&mut self, table: &RawStoreTable, bucket: BucketUrl) -> S3Config {
        if let Some(account) = &table.account {
            self.report(&account.span, "`account` is for `az://` stores", "leave it out: S3 has no storage accounts");
        }
        S3Config {
            bucket: bucket.bucket,
            prefix: bucket.prefix,
            endpoint: text(&table.endpoint),
            region: text(&table.region),
            profile: text(&table.profile),
            addressing: match &table.path_style {
                None => Addressing::Auto,
                Some(At { value: true, .. }) => Addressing::Path,
                Some(At { value: false, .. }) => Addressing::VirtualHost,
            },
            storage_class: text(&table.storage_class),
            kms_key: text(&table.kms_key),
            tags: table.tags.as_ref().map(|tags| tags.value.clone()).unwrap_or_default(),
            requests_per_second: table.requests_per_second.as_ref().map(|rate| rate.value),
            ca_bundle: table.ca_bundle.as_ref().map(|path| absolute(&path.value, self.base_dir)),
        }
    }

    fn azure(&mut self, table: &RawStoreTable, url: BucketUrl) -> AzureConfig {
        self.refuse_s3_settings(table);
        if let (Some(account), Some(_)) = (&table.account, &url.account) {
            self.report(&account.span, "the URL names the account already", "leave `account` out");
        }
        AzureConfig {
            account: url.account.or_else(|| text(&table.account)),
            container: url.bucket,
            prefix: url.prefix,
            endpoint: text(&table.endpoint),
            requests_per_second: table.requests_per_second.as_ref().map(|rate| rate.value),
            ca_bundle: table.ca_bundle.as_ref().map(|path| absolute(&path.value, self.base_dir)),
        }
    }

    fn gcs(&mut self, table: &RawStoreTable, url: BucketUrl) -> GcsConfig {
        self.refuse_s3_settings(table);
        if let Some(account) = &table.account {
            self.report(&account.span, "`account` is for `az://` stores", "leave it out: GCS has no storage accounts");
        }
        GcsConfig {
            bucket: url.bucket,
            prefix: url.prefix,
            endpoint: text(&table.endpoint),
            requests_per_second: table.requests_per_second.as_ref().map(|rate| rate.value),
            ca_bundle: table.ca_bundle.as_ref().map(|path| absolute(&path.value, self.base_dir)),
        }
    }

    /// Reports settings that only S3 has.
    fn refuse_s3_settings(&mut self, table: &RawStoreTable) {
        let only_s3 = [
            ("region", table.region.as_ref().map(|at| &at.span)),
            ("profile", table.profile.as_ref().map(|at| &at.span)),
            ("path_style", table.path_style.as_ref().map(|at| &at.span)),
            ("storage_class", table.storage_class.as_ref().map(|at| &at.span)),
            ("kms_key", table.kms_key.as_ref().map(|at| &at.span)),
            ("tags", table.tags.as_ref().map(|at| &at.span)),
        ];
        for (key, span) in only_s3 {
            if let Some(span) = span {
                self.report(span, format!("`{key}` is for `s3://` stores"), "leave it out");
            }
        }
    }

    fn directory(&mut self, table: &RawStoreTable) -> Option<StoreConfig> {
        let url = &table.url;
        let is_path = ["./", "../", "/"].iter().any(|start| url.value.starts_with(start));
        if !is_path && url.value != "." && url.value != ".." {
            let message = format!("`{}` is no store", url.value);
            self.report(
                &url.span,
                message,
                "write `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`, or a directory as `./x`, `../x` or `/x`",
            );
            return None;
        }
        const AZURE: &str = "`az://` stores";
        const S3: &str = "`s3://` stores";
        const CLOUDS: &str = "`s3://`, `az://` and `gs://` stores";
        let of_others = [
            ("account", AZURE, table.account.as_ref().map(|at| &at.span)),
            ("endpoint", CLOUDS, table.endpoint.as_ref().map(|at| &at.span)),
            ("region", S3, table.region.as_ref().map(|at| &at.span)),
            ("profile", S3, table.profile.as_ref().map(|at| &at.span)),
            ("path_style", S3, table.path_style.as_ref().map(|at| &at.span)),
            ("storage_class", S3, table.storage_class.as_ref().map(|at| &at.span)),
            ("kms_key", S3, table.kms_key.as_ref().map(|at| &at.span)),
            ("tags", S3, table.tags.as_ref().map(|at| &at.span)),
            ("requests_per_second", CLOUDS, table.requests_per_second.as_ref().map(|at| &at.span)),
            ("ca_bundle", CLOUDS, table.ca_bundle.as_ref().map(|at| &at.span)),
        ];
        let before = self.problems.len();
        for (key, whose, span) in of_others {
            if let Some(span) = span {
                self.report(span, format!("`{key}` is for {whose}"), "leave it out: this store is a directory");
            }
        }
        let hosts = match &table.single_host {
            Some(At { value: true, .. }) => Hosts::Single,
            Some(At { value: false, .. }) | None => Hosts::Any,
        };
        let root = absolute(&url.value, self.base_dir);
        (self.problems.len() == before).then_some(StoreConfig::Directory(DirectoryConfig { root, hosts }))
    }
}

/// A setting's text.
fn text(value: &Option<At<String>>) -> Option<String> {
    value.as_ref().map(|value| value.value.clone())
}

/// Names that would make `name:path` look like the beginning of a URL.
fn is_scheme(name: &str) -> bool {
    ["s3", "gs", "az", "abfs", "abfss", "http", "https", "file"].contains(&name)
}

impl RawStoreTable {
    fn of_url(url: At<String>) -> Self {
        Self {
            url,
            account: None,
            endpoint: None,
            region: None,
            profile: None,
            path_style: None,
            storage_class: None,
            kms_key: None,
            tags: None,
            requests_per_second: None,
            ca_bundle: None,
            single_host: None,
        }
    }
}
