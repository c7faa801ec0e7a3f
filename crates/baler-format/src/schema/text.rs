//! Types and schemas as text: `decimal(12,2)`, `timestamp(ms, UTC)`, `struct(a: int64 not null, "odd name": list(text))`.

use std::fmt;
use std::str::FromStr;

use super::{Column, Schema, TimeUnit, Type};

/// Types may stand within types so deep.
const DEPTH: usize = 64;

/// Why a text is no type, or columns no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct TypeError {
    what: String,
}

impl TypeError {
    pub(super) fn new(what: String) -> Self {
        Self { what }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int64 => f.write_str("int64"),
            Self::Float64 => f.write_str("float64"),
            Self::Bool => f.write_str("bool"),
            Self::Text => f.write_str("text"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Date => f.write_str("date"),
            Self::Timestamp { unit, zone: None } => write!(f, "timestamp({})", unit_name(*unit)),
            Self::Timestamp { unit, zone: Some(zone) } => write!(f, "timestamp({}, {zone})", unit_name(*unit)),
            Self::List(item) => write!(f, "list({item})"),
            Self::Struct(columns) => {
                f.write_str("struct(")?;
                write_columns(f, columns)?;
                f.write_str(")")
            }
        }
    }
}

/// The columns as within `struct(…)`.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_columns(f, self.columns())
    }
}

fn write_columns(f: &mut fmt::Formatter<'_>, columns: &[Column]) -> fmt::Result {
    for (n, column) in columns.iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        if is_plain(&column.name) {
            f.write_str(&column.name)?;
        } else {
            write!(f, "\"{}\"", column.name.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        write!(f, ": {}{}", column.kind, if column.nullable { "" } else { " not null" })?;
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the short name of a unit.
pub(crate) fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

impl FromStr for Type {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        let mut parser = Parser { text, at: 0 };
        let kind = parser.kind(0)?;
        parser.end()?;
        super::check_type(&kind)?;
        Ok(kind)
    }
}

impl FromStr for Schema {
    type Err = TypeError;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, TypeError> {
        let mut parser = Parser { text, at: 0 };
        parser.space();
        let columns = if parser.rest().is_empty() { Vec::new() } else { parser.columns(0)? };
        parser.end()?;
        Self::try_new(columns)
    }
}

impl Column {
    /// Reads a type with its optional `not null`, as it stands behind a column's name in `baler.toml`.
    ///
    /// Errors: not a type, with the types that there are.
    pub fn parse(name: &str, text: &str) -> Result<Self, TypeError> {
        let mut parser = Parser { text, at: 0 };
        let kind = parser.kind(0)?;
        let nullable = parser.nullable()?;
        parser.end()?;
        super::check_type(&kind)?;
        Ok(Self { name: name.to_owned(), kind, nullable })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn fault(&self, wanted: &str) -> TypeError {
        TypeError::new(format!("`{}` is no type: {wanted} is wanted at character {}", self.text, {
            self.text[..self.at].chars().count() + 1
        }))
    }

    fn take(&mut self, mark: char) -> bool {
        self.space();
        let is_there = self.rest().starts_with(mark);
        if is_there {
            self.at += mark.len_utf8();
        }
        is_there
    }

    fn expect(&mut self, mark: char) -> Result<(), TypeError> {
        if self.take(mark) { Ok(()) } else { Err(self.fault(&format!("`{mark}`"))) }
    }

    fn end(&mut self) -> Result<(), TypeError> {
        self.space();
        if self.rest().is_empty() { Ok(()) } else { Err(self.fault("the end")) }
    }

    fn word(&mut self, also: &[char]) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || also.contains(&c)));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn number(&mut self) -> Result<u8, TypeError> {
        self.space();
        let at = self.at;
        self.word(&[]).parse().map_err(|_| {
            self.at = at;
            self.fault("a number of digits")
        })
    }

    fn nullable(&mut self) -> Result<bool, TypeError> {
        self.space();
        if !self.rest().starts_with("not") {
            return Ok(true);
        }
        self.word(&[]);
        if self.word(&[]) == "null" { Ok(false) } else { Err(self.fault("`not null`")) }
    }

    fn kind(&mut self, depth: usize) -> Result<Type, TypeError> {
        if depth > DEPTH {
            return Err(TypeError::new(format!("types stand more than {DEPTH} deep within types")));
        }
        self.space();
        let at = self.at;
        Ok(match self.word(&[]) {
            "int64" => Type::Int64,
            "float64" => Type::Float64,
            "bool" => Type::Bool,
            "text" => Type::Text,
            "date" => Type::Date,
            "decimal" => {
                self.expect('(')?;
                let precision = self.number()?;
                let scale = if self.take(',') { self.number()? } else { 0 };
                self.expect(')')?;
                Type::Decimal { precision, scale }
            }
            "timestamp" => {
                self.expect('(')?;
                let unit = match self.word(&[]) {
                    "s" => TimeUnit::Second,
                    "ms" => TimeUnit::Millisecond,
                    "us" => TimeUnit::Microsecond,
                    "ns" => TimeUnit::Nanosecond,
                    _ => return Err(self.fault("one of `s`, `ms`, `us` and `ns`")),
                };
                let zone = match self.take(',') {
                    true => match self.word(&['/', '+', '-', ':']) {
                        "" => return Err(self.fault("a time zone")),
                        zone => Some(zone.to_owned()),
                    },
                    false => None,
                };
                self.expect(')')?;
                Type::Timestamp { unit, zone }
            }
            "list" => {
                self.expect('(')?;
                let item = self.kind(depth + 1)?;
                self.expect(')')?;
                Type::List(Box::new(item))
            }
            "struct" => {
                self.expect('(')?;
                let columns = self.columns(depth + 1)?;
                self.expect(')')?;
                Type::Struct(columns)
            }
            _ => {
                self.at = at;
                return Err(self.fault(
                    "one of `int64`, `float64`, `bool`, `text`, `decimal(12,2)`, `date`, `timestamp(ms, UTC)`, \
                     `list(…)` and `struct(…)`",
                ));
            }
        })
    }

    fn columns(&mut self, depth: usize) -> Result<Vec<Column>, TypeError> {
        let mut columns = Vec::new();
        loop {
            let name = self.name()?;
            self.expect(':')?;
            let kind = self.kind(depth)?;
            let nullable = self.nullable()?;
            columns.push(Column { name, kind, nullable });
            if !self.take(',') {
                return Ok(columns);
            }
        }
    }

    fn name(&mut self) -> Result<String, TypeError> {
        if !self.take('"') {
            return match self.word(&[]) {
                "" => Err(self.fault("the name of a column")),
                name => Ok(name.to_owned()),
            };
        }
        let mut name = String::new();
        let mut escaped = false;
        for c in self.rest().chars() {
            self.at += c.len_utf8();
            match (c, escaped) {
                ('\\', false) => escaped = true,
                ('"', false) => return Ok(name),
                (c, _) => {
                    name.push(c);
                    escaped = false;
                }
            }
        }
        Err(self.fault("`\"`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_as_they_are_written() {
        let texts = [
            "int64",
            "float64",
            "bool",
            "text",
            "date",
            "decimal(12,2)",
            "decimal(38,0)",
            "timestamp(ms, UTC)",
            "timestamp(ns)",
            "timestamp(us, Europe/Berlin)",
            "timestamp(s, +05:30)",
            "list(list(int64))",
            "struct(a: int64 not null, \"odd \\\"name\\\\\": list(struct(b: text)))",
        ];
        for text in texts {
            assert_eq!(text.parse::<Type>().unwrap().to_string(), text);
        }
        assert_eq!(" decimal( 5 ) ".parse::<Type>().unwrap().to_string(), "decimal(5,0)");
    }

    #[test]
    fn what_is_no_type_is_told_what_is_wanted_and_where() {
        let fault = |text: &str| text.parse::<Type>().unwrap_err().to_string();
        assert!(fault("integer").starts_with("`integer` is no type: one of `int64`"), "{}", fault("integer"));
        assert_eq!(fault("decimal(12,2"), "`decimal(12,2` is no type: `)` is wanted at character 13");
        assert_eq!(
            fault("timestamp(m)"),
            "`timestamp(m)` is no type: one of `s`, `ms`, `us` and `ns` is wanted at character 12"
        );
        assert_eq!(fault("int64 x"), "`int64 x` is no type: the end is wanted at character 7");
        assert!(fault("decimal(39,0)").contains("1 to 38 digits"));
        assert!(fault("decimal(2,3)").contains("1 to 38 digits"));
        assert!(fault("struct(a: int64, a: text)").contains("two columns have the name `a`"));
        assert!(fault(&"list(".repeat(10_000)).contains("64 deep"));
    }

    #[test]
    fn a_columns_text_may_say_not_null() {
        let column = Column::parse("id", "int64 not null").unwrap();
        assert!(!column.nullable);
        assert!(Column::parse("id", "int64 not").is_err());
    }

    #[test]
    fn a_schema_prints_as_it_is_read() {
        let text = "id: int64 not null, \"né\": text, at: timestamp(ms, UTC)";
        assert_eq!(text.parse::<Schema>().unwrap().to_string(), text);
        assert_eq!("".parse::<Schema>().unwrap().columns().len(), 0);
    }
}
