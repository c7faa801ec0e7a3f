//! What a scrub does to records on their way from one format to another.
//!
//! A plan holds a [`Scrub`], so that a run that is resumed scrubs as it began to: names of fields are stable. All columns are
//! named as the input names them. The salt of a hash is never here, only the name of the environment variable that holds it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::did_you_mean;

/// What is done to records; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrub {
    /// Columns whose texts lose the blanks around them.
    #[serde(default, skip_serializing_if = "Trim::is_nothing")]
    pub trim: Trim,
    /// Texts that stand for null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null_values: Vec<String>,
    /// Columns that become another type, as it is written in schemas: `timestamp(ms, UTC)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cast: BTreeMap<String, String>,
    /// Which of several records with one key stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<Dedupe>,
    /// Columns of which only a part is shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mask: BTreeMap<String, Mask>,
    /// Columns that are replaced by a keyed hash.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hash: BTreeMap<String, Salt>,
    /// Columns that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// New names, by old.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

impl Scrub {
    /// Says whether records stay as they are.
    pub fn is_nothing(&self) -> bool {
        let Self { trim, null_values, cast, dedupe, mask, hash, drop, rename } = self;
        trim.is_nothing()
            && null_values.is_empty()
            && cast.is_empty()
            && dedupe.is_none()
            && mask.is_empty()
            && hash.is_empty()
            && drop.is_empty()
            && rename.is_empty()
    }

    /// Names the environment variables that hold salts, each once.
    pub fn salts(&self) -> impl Iterator<Item = &str> {
        let names: std::collections::BTreeSet<&str> = self.hash.values().map(|salt| salt.env.as_str()).collect();
        names.into_iter()
    }
}

/// Which columns are trimmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trim {
    /// None.
    #[default]
    Nothing,
    /// Every column of text.
    All,
    /// These.
    Columns(Vec<String>),
}

impl Trim {
    /// Says whether nothing is trimmed.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::All => false,
            Self::Columns(columns) => columns.is_empty(),
        }
    }
}

/// Of several records with one key, one stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedupe {
    /// The columns that make the key; at least one.
    pub key: Vec<String>,
    /// Which record stays.
    #[serde(default)]
    pub keep: Keep,
}

/// Which of several records with one key stays, in the order of inputs and of records within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// Where the salt of a hash is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Salt {
    /// The environment variable that holds it.
    pub env: String,
}

/// What a mask shows of a value; everything else becomes `*`.
///
/// | written | shows | of `4111111111111111`, `ann.lee@example.com` |
/// |---|---|---|
/// | `all` | nothing, not even the length | `****`, `****` |
/// | `first:N` | the first N characters | `first:2`: `41**************`, `an*****************` |
/// | `last:N` | the last N characters | `last:4`: `************1111`, `***************.com` |
/// | `email` | what stands behind the last `@` | `****`, `****@example.com` |
///
/// A value of N characters or fewer shows nothing: every one of its characters becomes `*`. Null stays null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mask {
    /// Nothing is shown.
    All,
    /// So many characters at the beginning are shown.
    First(u32),
    /// So many characters at the end are shown.
    Last(u32),
    /// The domain of an address is shown.
    Email,
}

/// A text that is no mask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no mask")]
pub struct MaskError {
    text: String,
    hint: String,
}

impl MaskError {
    /// How to put it right.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// What masks may be, in an error.
const MASKS: &str = "masks are `all`, `first:N`, `last:N` and `email`";

impl FromStr for Mask {
    type Err = MaskError;

    /// Reads `all`, `first:2`, `last:4` (also `first2`, `last4`) or `email`.
    fn from_str(text: &str) -> Result<Self, MaskError> {
        let fault = |hint: String| MaskError { text: text.to_owned(), hint };
        match text {
            "all" => return Ok(Self::All),
            "email" => return Ok(Self::Email),
            _ => {}
        }
        let is_counted = |name| text.strip_prefix(name).map(|rest: &str| rest.strip_prefix(':').unwrap_or(rest));
        let (make, count): (fn(u32) -> Self, &str) = match (is_counted("first"), is_counted("last")) {
            (Some(count), _) => (Self::First, count),
            (None, Some(count)) => (Self::Last, count),
            (None, None) => {
                let word = text.split(':').next().unwrap_or_default();
                let hint = match did_you_mean(word, ["all", "first", "last", "email"]) {
                    Some("first") => "did you mean `first:1`?".to_owned(),
                    Some("last") => "did you mean `last:4`?".to_owned(),
                    Some(word) => format!("did you mean `{word}`?"),
                    None => MASKS.to_owned(),
                };
                return Err(fault(hint));
            }
        };
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(fault("say how many characters are shown, for example `last:4`".to_owned()));
        }
        match count.parse() {
            Ok(0) => Err(fault("to show nothing, write `all`".to_owned())),
            Ok(count) if count <= 1_000 => Ok(make(count)),
            Ok(_) | Err(_) => Err(fault("at most 1000 characters are shown".to_owned())),
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::First(count) => write!(f, "first:{count}"),
            Self::Last(count) => write!(f, "last:{count}"),
            Self::Email => f.write_str("email"),
        }
    }
}

impl Serialize for Mask {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mask {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: MaskError| serde::de::Error::custom(format!("{error}: {}", error.hint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Scrub {
        let pair = |a: &str, b: &str| BTreeMap::from([(a.to_owned(), b.to_owned())]);
        Scrub {
            trim: Trim::Columns(vec!["a".to_owned()]),
            null_values: vec!["N/A".to_owned()],
            cast: pair("d", "timestamp(ms, UTC)"),
            dedupe: Some(Dedupe { key: vec!["id".to_owned()], keep: Keep::Last }),
            mask: BTreeMap::from([("card".to_owned(), Mask::Last(4))]),
            hash: BTreeMap::from([("mail".to_owned(), Salt { env: "SALT".to_owned() })]),
            drop: vec!["c".to_owned()],
            rename: pair("a", "b"),
        }
    }

    #[test]
    fn a_scrub_is_written_in_stable_words() {
        let text = r#"{"trim":{"columns":["a"]},"null_values":["N/A"],"cast":{"d":"timestamp(ms, UTC)"},"dedupe":{"key":["id"],"keep":"last"},"mask":{"card":"last:4"},"hash":{"mail":{"env":"SALT"}},"drop":["c"],"rename":{"a":"b"}}"#;
        assert_eq!(serde_json::to_string(&full()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Scrub>(text).unwrap(), full());
        assert_eq!(serde_json::to_string(&Scrub::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Scrub>("{}").unwrap(), Scrub::default());
        let all = Scrub { trim: Trim::All, ..Scrub::default() };
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"{"trim":"all"}"#);
    }

    #[test]
    fn any_one_setting_makes_it_something() {
        assert!(Scrub::default().is_nothing());
        let (full, nothing) = (full(), Scrub::default());
        for one in [
            Scrub { trim: full.trim.clone(), ..nothing.clone() },
            Scrub { null_values: full.null_values.clone(), ..nothing.clone() },
            Scrub { cast: full.cast.clone(), ..nothing.clone() },
            Scrub { dedupe: full.dedupe.clone(), ..nothing.clone() },
            Scrub { mask: full.mask.clone(), ..nothing.clone() },
            Scrub { hash: full.hash.clone(), ..nothing.clone() },
            Scrub { drop: full.drop.clone(), ..nothing.clone() },
            Scrub { rename: full.rename.clone(), ..nothing.clone() },
        ] {
            assert!(!one.is_nothing(), "{one:?}");
        }
        assert!(Scrub { trim: Trim::Columns(Vec::new()), ..nothing }.is_nothing());
    }

    #[test]
    fn each_salt_is_named_once() {
        let mut scrub = full();
        scrub.hash.insert("phone".to_owned(), Salt { env: "SALT".to_owned() });
        scrub.hash.insert("name".to_owned(), Salt { env: "OTHER".to_owned() });
        assert_eq!(scrub.salts().collect::<Vec<_>>(), ["OTHER", "SALT"]);
    }

    #[test]
    fn masks_are_read_as_they_are_written() {
        for text in ["all", "email", "first:1", "last:4", "last:1000"] {
            assert_eq!(text.parse::<Mask>().unwrap().to_string(), text);
        }
        assert_eq!("last4".parse::<Mask>().unwrap(), Mask::Last(4));
    }

    #[test]
    fn what_is_no_mask_is_told_what_is() {
        let hint = |text: &str| text.parse::<Mask>().unwrap_err().hint().to_owned();
        assert_eq!(hint("lats:4"), "did you mean `last:4`?");
        assert_eq!(hint("mail"), "did you mean `email`?");
        assert_eq!(hint("stars"), MASKS);
        assert_eq!(hint("last:0"), "to show nothing, write `all`");
        for text in ["last:", "last:-1", "last:+4", "last: 4", "first:four"] {
            assert_eq!(hint(text), "say how many characters are shown, for example `last:4`", "{text}");
        }
        assert_eq!(hint("first:99999999999"), "at most 1000 characters are shown");
    }
}
