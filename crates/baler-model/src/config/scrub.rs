//! `scrub` of a flow as it is written, and the checks that need no schema.
//!
//! What a column is called and whether it can be cast is known only with the schema of the records; whoever has that checks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use crate::scrub::{Dedupe, Keep, Mask, Salt, Scrub, Trim};
use crate::text::quoted_list;

/// What is done to records between decoding and encoding.
///
/// The steps come in this order, whatever their order in the file: `trim`, `null_values`, `cast`, `dedupe`, `mask`, `hash`,
/// `drop`, `rename`. Columns are always called by the names that they have in the input.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Scrub")]
pub(super) struct RawScrub {
    /// New names of columns, by old. Default: every column keeps its name. Example: `{ cust_id = "customer" }`.
    #[serde(default)]
    pub(super) rename: BTreeMap<String, String>,
    /// Columns that are left out. Default: none. Example: `["internal_note"]`.
    #[serde(default)]
    pub(super) drop: Vec<String>,
    /// Columns that become another type; a record with a value that cannot is set aside. Text is read as CSV is: numbers,
    /// `true` and `false`, dates and times of ISO 8601, or times as seconds since 1970. Default: every column keeps its
    /// type. Example: `{ price = "decimal(12,2)", at = "timestamp(ms, UTC)" }`.
    #[serde(default)]
    pub(super) cast: BTreeMap<String, String>,
    /// Whether blanks around texts are taken off: `true` for every column of text, or a list of columns.
    /// Default: `false`. Example: `["name", "city"]`.
    #[serde(default)]
    pub(super) trim: RawTrim,
    /// Texts that stand for null, looked for behind `trim` and before `cast`. Default: none. Example: `["N/A", "-"]`.
    #[serde(default)]
    pub(super) null_values: Vec<String>,
    /// Which of several records with one key stays. Default: all of them.
    /// Example: `{ key = ["id"], keep = "last" }`.
    pub(super) dedupe: Option<RawDedupe>,
    /// Columns of which only a part is shown, as text, the rest as `*`: `"all"` shows nothing, `"last:4"` the last four
    /// characters, `"first:1"` the first, `"email"` what stands behind the `@`. A value no longer than what may be shown
    /// shows nothing. Default: none. Example: `{ card = "last:4" }`.
    #[serde(default)]
    pub(super) mask: BTreeMap<String, String>,
    /// Columns that are replaced by the HMAC-SHA-256 of their text, 64 hexadecimal digits, keyed with a salt: equal values
    /// stay equal, and cannot be guessed without the salt. Default: none.
    /// Example: `{ mail = { salt = { env = "MAIL_SALT" } } }`.
    #[serde(default)]
    pub(super) hash: BTreeMap<String, RawHash>,
}

/// Which columns are trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawTrim {
    /// Every column of text, or none.
    All(bool),
    /// These.
    Columns(Vec<String>),
}

impl Default for RawTrim {
    fn default() -> Self {
        Self::All(false)
    }
}

impl<'de> Deserialize<'de> for RawTrim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TrimVisitor;
        impl<'de> Visitor<'de> for TrimVisitor {
            type Value = RawTrim;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of columns such as [\"name\"]")
            }
            fn visit_bool<E: Error>(self, all: bool) -> Result<RawTrim, E> {
                Ok(RawTrim::All(all))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawTrim, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = items.next_element()? {
                    columns.push(column);
                }
                Ok(RawTrim::Columns(columns))
            }
        }
        deserializer.deserialize_any(TrimVisitor)
    }
}

impl JsonSchema for RawTrim {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Trim".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// Of several records with one key, one stays. A record whose key is null in every column has none, and stays.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Dedupe")]
pub(super) struct RawDedupe {
    /// The columns that make the key, compared behind `trim`, `null_values` and `cast`. Required. Example: `["id"]`.
    pub(super) key: Vec<String>,
    /// Which stays, in the order of inputs and of records within them: `"first"`, or `"last"`, for which the inputs are
    /// read twice. Default: `"first"`.
    #[serde(default)]
    pub(super) keep: RawKeep,
}

/// Which record stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Keep")]
pub(super) enum RawKeep {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// How a column is hashed.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Hash")]
pub(super) struct RawHash {
    /// The key of the hash; whoever has it can find values out by trying them. Required.
    /// Example: `{ env = "MAIL_SALT" }`.
    pub(super) salt: RawSecret,
}

/// A secret, which is never in the file: where it is found.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename = "Secret", deny_unknown_fields)]
pub(super) struct RawSecret {
    /// The environment variable that holds it. Required. Example: `"MAIL_SALT"`.
    pub(super) env: String,
}

impl<'de> Deserialize<'de> for RawSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            env: String,
        }
        struct SecretVisitor;
        impl<'de> Visitor<'de> for SecretVisitor {
            type Value = RawSecret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("where the secret is found, { env = \"NAME\" }")
            }
            // Without showing it: what stands here may be the secret.
            fn visit_str<E: Error>(self, _: &str) -> Result<RawSecret, E> {
                Err(E::custom(
                    "a secret is never in the file; name the environment variable that holds it, { env = \"NAME\" }",
                ))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSecret, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(|table| RawSecret { env: table.env })
            }
        }
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// What is wrong, and how to put it right.
pub(super) type Fault = (String, String);

/// Checks a scrub as far as no schema is needed.
///
/// Errors: the first thing that is wrong, and a hint.
pub(super) fn resolve(raw: &RawScrub) -> Result<Scrub, Fault> {
    once("drop", &raw.drop)?;
    renames(&raw.rename)?;
    for (column, kind) in &raw.cast {
        if kind.trim().is_empty() {
            return fault(format!("`cast` gives `{column}` no type"), "for example `int64` or `timestamp(ms, UTC)`");
        }
    }
    let trim = match &raw.trim {
        RawTrim::All(true) => Trim::All,
        RawTrim::All(false) => Trim::Nothing,
        RawTrim::Columns(columns) => {
            once("trim", columns)?;
            Trim::Columns(columns.clone())
        }
    };
    let dedupe = match &raw.dedupe {
        None => None,
        Some(RawDedupe { key, .. }) if key.is_empty() => {
            return fault("`dedupe` has no key", "name the columns that tell records apart: `key = [\"id\"]`");
        }
        Some(RawDedupe { key, keep }) => {
            once("key", key)?;
            let keep = match keep {
                RawKeep::First => Keep::First,
                RawKeep::Last => Keep::Last,
            };
            Some(Dedupe { key: key.clone(), keep })
        }
    };
    let mut mask = BTreeMap::new();
    for (column, text) in &raw.mask {
        match text.parse::<Mask>() {
            Ok(kind) => mask.insert(column.clone(), kind),
            Err(error) => return fault(format!("`mask` of `{column}`: {error}"), error.hint()),
        };
    }
    let mut hash = BTreeMap::new();
    for (column, RawHash { salt }) in &raw.hash {
        if salt.env.is_empty() || salt.env.contains(['=', '\0']) {
            let what = format!("`{}` is no name of an environment variable", salt.env);
            return fault(what, "for example `{ env = \"MAIL_SALT\" }`");
        }
        hash.insert(column.clone(), Salt { env: salt.env.clone() });
    }
    if let Some(column) = raw.mask.keys().find(|column| raw.hash.contains_key(*column)) {
        return fault(format!("`{column}` is both masked and hashed"), "do one of them");
    }
    for (setting, mut columns) in [
        ("rename", raw.rename.keys().collect::<Vec<_>>()),
        ("mask", raw.mask.keys().collect()),
        ("hash", raw.hash.keys().collect()),
    ] {
        columns.retain(|column| raw.drop.contains(column));
        if let Some(column) = columns.first() {
            let hint = format!("take it out of `drop` or of `{setting}`; both use the names of the input");
            return fault(format!("`{column}` is in `drop` and in `{setting}`"), hint);
        }
    }
    Ok(Scrub {
        trim,
        null_values: raw.null_values.clone(),
        cast: raw.cast.clone(),
        dedupe,
        mask,
        hash,
        drop: raw.drop.clone(),
        rename: raw.rename.clone(),
    })
}

fn fault<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, Fault> {
    Err((what.into(), hint.into()))
}

/// Refuses a list that names a column twice.
fn once(setting: &str, columns: &[String]) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(column.as_str())) {
        Some(column) => fault(format!("`{setting}` names `{column}` twice"), "once is enough"),
        None => Ok(()),
    }
}

/// Refuses new names that are empty or given twice.
fn renames(rename: &BTreeMap<String, String>) -> Result<(), Fault> {
    for (old, new) in rename {
        if new.is_empty() {
            return fault(format!("`rename` gives `{old}` no name"), "to leave a column out, put it into `drop`");
        }
        let same: Vec<&str> = rename.iter().filter(|(_, name)| *name == new).map(|(old, _)| old.as_str()).collect();
        if same.len() > 1 {
            let what = format!("`rename` calls {} all `{new}`", quoted_list(&same));
            return fault(what, "columns of one record have different names");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RawScrub, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    fn resolved(text: &str) -> Result<Scrub, Fault> {
        resolve(&read(text).unwrap())
    }

    #[test]
    fn every_setting_is_read() {
        let scrub = resolved(
            r#"
            rename = { a = "b", b = "a" }
            drop = ["c"]
            cast = { d = "int64" }
            trim = true
            null_values = ["N/A", ""]
            dedupe = { key = ["id", "c"], keep = "last" }
            mask = { card = "last4", name = "first:1" }
            hash = { mail = { salt = { env = "SALT" } } }
            "#,
        )
        .unwrap();
        assert_eq!(scrub.rename["b"], "a");
        assert_eq!(scrub.drop, ["c"]);
        assert_eq!(scrub.cast["d"], "int64");
        assert_eq!(scrub.trim, Trim::All);
        assert_eq!(scrub.null_values, ["N/A", ""]);
        assert_eq!(scrub.dedupe, Some(Dedupe { key: vec!["id".to_owned(), "c".to_owned()], keep: Keep::Last }));
        assert_eq!((scrub.mask["card"], scrub.mask["name"]), (Mask::Last(4), Mask::First(1)));
        assert_eq!(scrub.hash["mail"].env, "SALT");
    }

    #[test]
    fn nothing_asked_for_is_nothing_done() {
        assert!(resolved("").unwrap().is_nothing());
        assert!(resolved("trim = false").unwrap().is_nothing());
        assert_eq!(resolved("trim = [\"a\"]").unwrap().trim, Trim::Columns(vec!["a".to_owned()]));
        assert_eq!(resolved("dedupe = { key = [\"id\"] }").unwrap().dedupe.unwrap().keep, Keep::First);
    }

    #[test]
    fn a_form_that_is_wrong_is_told_what_is_wanted() {
        assert!(read("trimm = true").unwrap_err().contains("unknown field `trimm`"));
        assert!(read("trim = \"name\"").unwrap_err().contains("a list of columns such as [\"name\"]"));
        assert!(read("dedupe = { keep = \"last\" }").unwrap_err().contains("missing field `key`"));
        assert!(
            read("dedupe = { key = [\"id\"], keep = \"newest\" }").unwrap_err().contains("unknown variant `newest`")
        );
        assert!(read("hash = { mail = { salt = { file = \"x\" } } }").unwrap_err().contains("unknown field `file`"));
    }

    #[test]
    fn a_salt_in_the_file_is_refused_and_not_repeated() {
        let fault = read("hash = { mail = { salt = \"hunter2\" } }").unwrap_err();
        assert!(fault.contains("a secret is never in the file"), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for (text, what) in [
            ("drop = [\"a\", \"a\"]", "`drop` names `a` twice"),
            ("trim = [\"a\", \"a\"]", "`trim` names `a` twice"),
            ("rename = { a = \"x\", b = \"x\" }", "`rename` calls `a`, `b` all `x`"),
            ("rename = { a = \"\" }", "`rename` gives `a` no name"),
            ("cast = { a = \" \" }", "`cast` gives `a` no type"),
            ("dedupe = { key = [] }", "`dedupe` has no key"),
            ("dedupe = { key = [\"a\", \"a\"] }", "`key` names `a` twice"),
            ("mask = { a = \"lsat:4\" }", "`mask` of `a`: `lsat:4` is no mask"),
            ("hash = { a = { salt = { env = \"\" } } }", "`` is no name of an environment variable"),
            ("drop = [\"a\"]\nrename = { a = \"b\" }", "`a` is in `drop` and in `rename`"),
            ("drop = [\"a\"]\nmask = { a = \"all\" }", "`a` is in `drop` and in `mask`"),
            ("drop = [\"a\"]\nhash = { a = { salt = { env = \"S\" } } }", "`a` is in `drop` and in `hash`"),
            ("mask = { a = \"all\" }\nhash = { a = { salt = { env = \"S\" } } }", "`a` is both masked and hashed"),
        ] {
            let (found, hint) = resolved(text).unwrap_err();
            assert_eq!(found, what);
            assert!(!hint.is_empty());
        }
    }

    #[test]
    fn a_column_that_is_left_out_may_still_be_a_key_or_be_cast() {
        let text = "drop = [\"id\"]\ndedupe = { key = [\"id\"] }\ncast = { id = \"int64\" }\ntrim = [\"id\"]";
        assert!(resolved(text).is_ok());
    }

    #[test]
    fn the_json_schema_describes_every_setting() {
        let schema = schemars::schema_for!(RawScrub).to_value();
        let properties = schema["properties"].as_object().unwrap();
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(names, ["rename", "drop", "cast", "trim", "null_values", "dedupe", "mask", "hash"]);
        for (name, property) in properties {
            assert!(property["description"].as_str().is_some_and(|text| text.contains("Default:")), "{name}");
        }
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["Secret"]["required"], serde_json::json!(["env"]));
    }
}
