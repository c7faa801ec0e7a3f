//! The order in which the inputs of a group are combined.

use jiff::Timestamp;

use crate::Key;
use crate::pattern::{Captures, Pattern, Value};
use crate::text::{SyntaxError, hint_for};

/// The order of a flow's inputs: by the placeholders of `order_by`, then by the bytes of their keys.
///
/// Numbers order by value, times by instant, texts by bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderBy {
    fields: Vec<(String, usize)>,
}

/// Where an input stands in its group; compare only keys of one [`OrderBy`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey {
    values: Box<[SortValue]>,
    key: Key,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SortValue {
    Int(u128),
    Time(Timestamp),
    Text(Box<str>),
}

impl OrderBy {
    /// Takes the names of placeholders, the most significant first; none means the order of keys.
    ///
    /// Errors: [`SyntaxError`] for a name that the pattern lacks.
    pub fn parse<'n>(names: impl IntoIterator<Item = &'n str>, from: &Pattern) -> Result<Self, SyntaxError> {
        let slot_of = |name: &str| match from.slot(name) {
            Some(slot) => Ok((name.to_owned(), slot)),
            None => Err(unknown_name(name, from)),
        };
        Ok(Self { fields: names.into_iter().map(slot_of).collect::<Result<_, _>>()? })
    }

    /// The names, the most significant first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// Where the input with these captures stands.
    pub fn sort_key(&self, captures: &Captures<'_>) -> SortKey {
        let value = |(_, slot): &(String, usize)| match captures.slot_value(*slot) {
            Value::Int { value, .. } => SortValue::Int(value),
            Value::Time { timestamp, .. } => SortValue::Time(timestamp),
            Value::Text(text) => SortValue::Text(text.into()),
        };
        SortKey { values: self.fields.iter().map(value).collect(), key: Key::from_listed(captures.key()) }
    }
}

/// The error for a placeholder that a pattern does not have.
pub(crate) fn unknown_name(name: &str, from: &Pattern) -> SyntaxError {
    let known: Vec<&str> = from.names().collect();
    SyntaxError {
        offset: 0,
        message: format!("`from` has no placeholder `{{{name}}}`"),
        hint: hint_for(name, &known).or_else(|| Some("`from` has no placeholders".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(pattern: &str, names: &[&str], keys: &[&str]) -> Vec<String> {
        let pattern = Pattern::parse(pattern).unwrap();
        let order = OrderBy::parse(names.iter().copied(), &pattern).unwrap();
        let mut keys: Vec<_> = keys.iter().map(|key| order.sort_key(&pattern.matches(key).unwrap())).collect();
        keys.sort();
        keys.into_iter().map(|sort_key| sort_key.key.to_string()).collect()
    }

    #[test]
    fn numbers_order_by_value_and_ties_by_key() {
        assert_eq!(sorted("{x}_{n:int}", &["n"], &["a_10", "b_9", "c_009", "a_9"]), ["a_9", "b_9", "c_009", "a_10"]);
    }

    #[test]
    fn times_order_by_instant() {
        let keys = ["01Feb2021.x", "01Jan2022.x", "15Jan2021.x"];
        assert_eq!(sorted("{t:%d%b%Y}.x", &["t"], &keys), ["15Jan2021.x", "01Feb2021.x", "01Jan2022.x"]);
    }

    #[test]
    fn without_names_keys_order_by_bytes() {
        assert_eq!(sorted("{x}", &[], &["10", "9", "ä", "a"]), ["10", "9", "a", "ä"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_guess() {
        let pattern = Pattern::parse("{start:int}").unwrap();
        let error = OrderBy::parse(["strat"], &pattern).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean `start`?"));
    }
}
