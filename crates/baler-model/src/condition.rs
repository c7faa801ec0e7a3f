//! Conditions on what a key says: `where = ["day < today", "partition != 3"]`.

use std::cmp::Ordering;
use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::order::unknown_name;
use crate::pattern::{Captures, FieldType, Pattern, Value};
use crate::quantity::Span;
use crate::text::{SyntaxError, did_you_mean};

/// A text that is no condition.
pub type ConditionError = SyntaxError;

/// A comparison that an input's key must satisfy: `day < today`, `end >= 10_000`, `topic != "audit"`.
///
/// One side at least is a placeholder; the other a placeholder, a number, a quoted text, a date or time
/// (`2021-01-01`, `2021-01-01T05:00:00Z`, UTC where no offset is given), or `today`, `yesterday`, `now`. Times take an
/// offset: `now - 2h`, `today - 3d`. A time stands for its first instant: `{day:%Y-%m-%d}` for its midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    text: String,
    left: Operand,
    comparison: Comparison,
    right: Operand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Different,
}

/// Two characters before one, so that `<=` is not read as `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::Different),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Operand {
    term: Term,
    /// Added to a time.
    shift: SignedDuration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Field { slot: usize, kind: FieldType },
    Int(u128),
    Text(String),
    Instant(Timestamp),
    Today,
    Yesterday,
    Now,
}

/// The kinds of things that can be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Int,
    Time,
}

enum Side<'a> {
    Text(&'a str),
    Int(u128),
    Time(Timestamp),
}

impl Condition {
    /// Reads a condition on the placeholders of a pattern.
    ///
    /// Errors: [`ConditionError`] for a name that the pattern lacks, or sides that cannot be compared.
    pub fn parse(text: &str, from: &Pattern) -> Result<Self, ConditionError> {
        let (at, symbol, comparison) = find_comparison(text)?;
        let left = Operand::parse(&text[..at], 0, from)?;
        let behind = at + symbol.len();
        let right = Operand::parse(&text[behind..], behind, from)?;
        let start = text.len() - text.trim_start().len();
        match (left.term.sort(), right.term.sort()) {
            (a, b) if a != b => return Err(mismatch(start, text, at, behind, &left.term, &right.term)),
            _ if !left.term.is_field() && !right.term.is_field() => {
                return Err(SyntaxError::hinted(
                    start,
                    "the condition says nothing about the key",
                    "one side is a placeholder of `from`",
                ));
            }
            _ => {}
        }
        Ok(Self { text: text.to_owned(), left, comparison, right })
    }

    /// Whether an input satisfies it, at this time.
    pub fn holds(&self, captures: &Captures<'_>, now: Timestamp) -> bool {
        let order = match (self.left.value(captures, now), self.right.value(captures, now)) {
            (Side::Text(a), Side::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Side::Int(a), Side::Int(b)) => a.cmp(&b),
            (Side::Time(a), Side::Time(b)) => a.cmp(&b),
            // Both sides were found to be of one sort when the condition was read.
            (Side::Text(_) | Side::Int(_) | Side::Time(_), _) => return false,
        };
        match self.comparison {
            Comparison::Less => order == Ordering::Less,
            Comparison::AtMost => order != Ordering::Greater,
            Comparison::More => order == Ordering::Greater,
            Comparison::AtLeast => order != Ordering::Less,
            Comparison::Equal => order == Ordering::Equal,
            Comparison::Different => order != Ordering::Equal,
        }
    }

    /// The condition as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn find_comparison(text: &str) -> Result<(usize, &'static str, Comparison), ConditionError> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '<' | '>' | '=' | '!') => {
                let rest = &text[at..];
                return match COMPARISONS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
                    Some((symbol, comparison)) => Ok((at, symbol, *comparison)),
                    None => Err(SyntaxError::hinted(at, format!("`{c}` compares nothing"), "write `==` or `!=`")),
                };
            }
            (None, _) => {}
        }
    }
    Err(SyntaxError::hinted(
        0,
        "a condition compares two things",
        "for example `day < today`, with one of `< <= > >= == !=`",
    ))
}

fn mismatch(start: usize, text: &str, at: usize, behind: usize, left: &Term, right: &Term) -> ConditionError {
    let hint = match (left, right) {
        (Term::Field { kind: FieldType::Text, .. }, Term::Int(_))
        | (Term::Int(_), Term::Field { kind: FieldType::Text, .. }) => {
            "give the placeholder the type `int`, as in `{n:int}`, or quote the number".to_owned()
        }
        (Term::Field { kind: FieldType::Text, .. }, _) | (_, Term::Field { kind: FieldType::Text, .. }) => {
            "give the placeholder a time format, as in `{day:%Y-%m-%d}`, or quote the other side".to_owned()
        }
        (Term::Field { kind, .. }, Term::Text(text)) | (Term::Text(text), Term::Field { kind, .. }) => {
            format!("it is compared with {kind}: leave out the quotes of `{text}`")
        }
        (Term::Field { kind: FieldType::Time(_), .. }, Term::Int(_))
        | (Term::Int(_), Term::Field { kind: FieldType::Time(_), .. }) => {
            "write a time as `2021-01-01` or `2021-01-01T05:00:00Z`".to_owned()
        }
        _ => "compare texts with texts, numbers with numbers, times with times".to_owned(),
    };
    let (left_text, right_text) = (text[..at].trim(), text[behind..].trim());
    SyntaxError::hinted(
        start,
        format!("`{left_text}` is {} and `{right_text}` is {}", left.sort().name(), right.sort().name()),
        hint,
    )
}

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Sort::Text => "text",
            Sort::Int => "a number",
            Sort::Time => "a time",
        }
    }
}

impl Operand {
    fn parse(text: &str, offset: usize, from: &Pattern) -> Result<Self, ConditionError> {
        let at = offset + text.len() - text.trim_start().len();
        let text = text.trim();
        if text.is_empty() {
            return Err(SyntaxError::hinted(at, "one side of the condition is empty", "for example `day < today`"));
        }
        if let Some(term) = Term::literal(text) {
            return Ok(Self { term, shift: SignedDuration::ZERO });
        }
        // The last sign that is followed by a duration: the earlier ones belong to dates.
        for (sign_at, sign) in text.char_indices().rev().filter(|(_, c)| matches!(c, '+' | '-')) {
            let Ok(span) = text[sign_at + 1..].trim().parse::<Span>() else { continue };
            let base = text[..sign_at].trim();
            let Some(shift) = SignedDuration::try_from(span.duration()).ok() else { continue };
            let term = match Term::literal(base) {
                Some(term) => term,
                None => Term::name(base, at, from)?,
            };
            if term.sort() != Sort::Time {
                return Err(SyntaxError::new(at, format!("`{base}` is no time, a duration cannot be added to it")));
            }
            return Ok(Self { term, shift: if sign == '-' { -shift } else { shift } });
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') {
            return Err(SyntaxError::hinted(at, format!("the number `{text}` is too large"), "38 digits are compared"));
        }
        Ok(Self { term: Term::name(text, at, from)?, shift: SignedDuration::ZERO })
    }

    fn value<'a>(&'a self, captures: &Captures<'a>, now: Timestamp) -> Side<'a> {
        let shifted = |instant: Timestamp| {
            let bound = if self.shift.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
            Side::Time(instant.checked_add(self.shift).unwrap_or(bound))
        };
        match &self.term {
            Term::Field { slot, .. } => match captures.slot_value(*slot) {
                Value::Text(text) => Side::Text(text),
                Value::Int { value, .. } => Side::Int(value),
                Value::Time { timestamp, .. } => shifted(timestamp),
            },
            Term::Int(value) => Side::Int(*value),
            Term::Text(text) => Side::Text(text),
            Term::Instant(instant) => shifted(*instant),
            Term::Today => shifted(day_start(now)),
            Term::Yesterday => shifted(yesterday_start(now)),
            Term::Now => shifted(now),
        }
    }
}

impl Term {
    fn literal(text: &str) -> Option<Self> {
        let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = quoted('"').or_else(|| quoted('\'')) {
            return Some(Term::Text(inner.to_owned()));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') && !text.starts_with('_') {
            return text.replace('_', "").parse().ok().map(Term::Int);
        }
        match text {
            "today" => return Some(Term::Today),
            "yesterday" => return Some(Term::Yesterday),
            "now" => return Some(Term::Now),
            _ => {}
        }
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let utc = |local: DateTime| TimeZone::UTC.to_timestamp(local).ok();
        // A date alone is tried first: a date with a time would be read as that day's midnight.
        let instant = match text.len() {
            10 => text.parse::<Date>().ok().and_then(|date| utc(date.to_datetime(jiff::civil::Time::midnight()))),
            _ => text.parse::<Timestamp>().ok().or_else(|| text.parse::<DateTime>().ok().and_then(utc)),
        };
        instant.map(Term::Instant)
    }

    fn name(text: &str, at: usize, from: &Pattern) -> Result<Self, ConditionError> {
        let slot = from.slot(text);
        if let (Some(slot), Some(kind)) = (slot, from.field_type(text)) {
            return Ok(Term::Field { slot, kind });
        }
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(SyntaxError::hinted(
                at,
                format!("`{text}` cannot be understood"),
                "a side is a placeholder, a number, a \"quoted text\", a date such as `2021-01-01`, or `today - 3d`",
            ));
        }
        let guess = did_you_mean(text, from.names().chain(["today", "yesterday", "now"]));
        let mut error = unknown_name(text, from);
        error.offset = at;
        error.hint = match guess {
            Some(word) => Some(format!("did you mean `{word}`?")),
            None => Some(format!("quote a text, as in \"{text}\"")),
        };
        Err(error)
    }

    fn is_field(&self) -> bool {
        matches!(self, Term::Field { .. })
    }

    fn sort(&self) -> Sort {
        match self {
            Term::Field { kind: FieldType::Text, .. } | Term::Text(_) => Sort::Text,
            Term::Field { kind: FieldType::Int, .. } | Term::Int(_) => Sort::Int,
            Term::Field { kind: FieldType::Time(_), .. }
            | Term::Instant(_)
            | Term::Today
            | Term::Yesterday
            | Term::Now => Sort::Time,
        }
    }
}

const DAY_SECONDS: i64 = 86_400;

/// The midnight before an instant, UTC.
pub(crate) fn day_start(now: Timestamp) -> Timestamp {
    let seconds = now.as_nanosecond().div_euclid(i128::from(DAY_SECONDS) * 1_000_000_000) * i128::from(DAY_SECONDS);
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MIN)
}

/// The midnight before the midnight before an instant, UTC.
pub(crate) fn yesterday_start(now: Timestamp) -> Timestamp {
    day_start(now).checked_sub(SignedDuration::from_secs(DAY_SECONDS)).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERN: &str = "{topic}/{day:%Y-%m-%d}/{start:int}-{end:int}.json";

    fn holds(condition: &str) -> bool {
        let pattern = Pattern::parse(PATTERN).unwrap();
        let captures = pattern.matches("db/2021-06-15/007-20.json").unwrap();
        Condition::parse(condition, &pattern).unwrap().holds(&captures, "2021-06-16T10:00:00Z".parse().unwrap())
    }

    fn error(condition: &str) -> (usize, String, String) {
        let error = Condition::parse(condition, &Pattern::parse(PATTERN).unwrap()).unwrap_err();
        (error.offset, error.message, error.hint.unwrap_or_default())
    }

    #[test]
    fn conditions_hold_by_the_type_of_their_sides() {
        for condition in [
            "day < today",
            "day == yesterday",
            "day >= today - 1d",
            "day>=today-1d",
            "day + 1d12h > now",
            "day == 2021-06-15",
            "day < 2021-06-15T00:00:01Z",
            "day < 2021-06-15T02:00:01+02:00",
            "2021-06-14 + 1d == day",
            "start == 7",
            "start < end",
            "start != 1_000",
            "topic == \"db\"",
            "topic < 'dc'",
            "'a<b' != topic",
        ] {
            assert!(holds(condition), "{condition}");
        }
        for condition in
            ["day >= today", "day < yesterday", "start > 7", "end < start", "topic != 'db'", "day > now - 34h"]
        {
            assert!(!holds(condition), "{condition}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for (condition, offset, message, hint) in [
            ("dya < today", 0, "no placeholder `{dya}`", "did you mean `day`?"),
            ("day < todday", 6, "no placeholder `{todday}`", "did you mean `today`?"),
            ("topic == audit", 9, "no placeholder `{audit}`", "quote a text"),
            ("topic == 5", 0, "`topic` is text and `5` is a number", "`{n:int}`"),
            ("start == 'a'", 0, "`start` is a number and `'a'` is text", "leave out the quotes"),
            ("day < 2021", 0, "`day` is a time and `2021` is a number", "2021-01-01"),
            ("topic < today", 0, "`topic` is text", "time format"),
            ("start + 5m > 3", 0, "`start` is no time", ""),
            ("day = today", 4, "`=` compares nothing", "`==`"),
            ("day", 0, "compares two things", "day < today"),
            ("day <", 5, "is empty", ""),
            ("today < now", 0, "nothing about the key", "placeholder"),
            ("day < 2021-02-30", 6, "cannot be understood", ""),
            ("day < tomorrow and x", 6, "cannot be understood", ""),
        ] {
            let (found_at, found, found_hint) = error(condition);
            assert_eq!(found_at, offset, "{condition}");
            assert!(found.contains(message), "{condition}: {found}");
            assert!(found_hint.contains(hint), "{condition}: {found_hint}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_before_1970_too() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(day_start(at("1969-12-31T23:59:59.5Z")), at("1969-12-31T00:00:00Z"));
        assert_eq!(yesterday_start(at("2021-03-01T00:00:00Z")), at("2021-02-28T00:00:00Z"));
    }
}
