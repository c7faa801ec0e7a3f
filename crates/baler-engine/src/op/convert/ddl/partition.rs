//! Partitions that Athena projects: computes from properties of the table.

use super::{DdlError, Table, directory};

/// A column that the keys of objects hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Which values it has.
    pub kind: PartitionKind,
}

/// Which values a partition has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionKind {
    /// Times at even distances, from a first one until now.
    Time {
        /// The distance.
        unit: TimeUnit,
        /// How values are written, in Java's words: `yyyy-MM-dd`; see [`java_pattern`].
        pattern: String,
        /// The first value, written so.
        first: String,
    },
    /// Whole numbers at even distances.
    Int {
        /// The least.
        least: i64,
        /// The greatest.
        greatest: i64,
        /// From one to the next; 1 for all, 86400 for days as seconds since 1970.
        step: u64,
        /// Zeros are put before shorter ones, up to so many digits; 0 for none.
        digits: u8,
    },
    /// A few known texts.
    Choice(Vec<String>),
    /// Any text: a query has to name the values that it wants.
    Text,
}

/// The distance between partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl PartitionKind {
    /// Times are text: so they compare in every pattern that Baler writes, and a query needs no cast.
    pub(super) fn hive_type(&self) -> &'static str {
        match self {
            Self::Time { .. } | Self::Choice(_) | Self::Text => "string",
            Self::Int { .. } => "bigint",
        }
    }

    pub(super) fn comment(&self) -> Option<String> {
        match self {
            Self::Time { pattern, .. } => Some(format!("UTC, {pattern}")),
            Self::Text => Some("a query must say which: = or IN".to_owned()),
            Self::Int { .. } | Self::Choice(_) => None,
        }
    }
}

/// Writes the properties that project a table's partitions; none where it has none.
pub(super) fn properties(table: &Table<'_>) -> Result<Vec<(String, String)>, DdlError> {
    if table.partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = vec![("projection.enabled".to_owned(), "true".to_owned())];
    for Partition { name, kind } in &table.partitions {
        let mut push = |key: &str, value: String| out.push((format!("projection.{name}.{key}"), value));
        match kind {
            PartitionKind::Time { unit, pattern, first } => {
                if first.contains(',') || first.is_empty() {
                    return Err(DdlError::partition(name, format!("`{first}` is no first value")));
                }
                push("type", "date".to_owned());
                push("format", pattern.clone());
                push("range", format!("{first},NOW"));
                push("interval", "1".to_owned());
                let unit = match unit {
                    TimeUnit::Hour => "HOURS",
                    TimeUnit::Day => "DAYS",
                    TimeUnit::Month => "MONTHS",
                    TimeUnit::Year => "YEARS",
                };
                push("interval.unit", unit.to_owned());
            }
            PartitionKind::Int { least, greatest, step, digits } => {
                if least > greatest || *step == 0 {
                    return Err(DdlError::partition(name, format!("{least} to {greatest} by {step} is no range")));
                }
                push("type", "integer".to_owned());
                push("range", format!("{least},{greatest}"));
                push("interval", step.to_string());
                if *digits > 0 {
                    push("digits", digits.to_string());
                }
            }
            PartitionKind::Choice(values) => {
                if values.is_empty() || values.iter().any(|value| value.is_empty() || value.contains(',')) {
                    return Err(DdlError::partition(name, "its values cannot be listed between commas"));
                }
                push("type", "enum".to_owned());
                push("values", values.join(","));
            }
            PartitionKind::Text => push("type", "injected".to_owned()),
        }
    }
    let first = &table.partitions[0].name;
    let template = table.template.as_deref();
    let template = template.ok_or_else(|| DdlError::partition(first, "the table has no path with placeholders"))?;
    check_template(template, table)?;
    out.push(("storage.location.template".to_owned(), directory(template)?));
    Ok(out)
}

/// Refuses a path that lacks a partition or has a placeholder that is none.
fn check_template(template: &str, table: &Table<'_>) -> Result<(), DdlError> {
    let is_known = |name: &str| table.partitions.iter().any(|partition| partition.name == name);
    for partition in &table.partitions {
        if !template.contains(&format!("${{{}}}", partition.name)) {
            return Err(DdlError::partition(&partition.name, format!("`{template}` does not hold it")));
        }
    }
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        let name = &rest[start + 2..];
        let Some(end) = name.find('}') else {
            return Err(DdlError::partition(name, format!("`{template}` has a brace that is not closed")));
        };
        if !is_known(&name[..end]) {
            return Err(DdlError::partition(&name[..end], format!("`{template}` holds it, and it is none")));
        }
        rest = &name[end + 1..];
    }
    Ok(())
}

/// Says in Java's words how a time is written, from the codes that paths use: `%Y-%m-%d` is `yyyy-MM-dd`.
///
/// Nothing for codes that Athena cannot be told of: names of months in whatever language it runs in, fractions of one digit
/// or nine.
pub fn java_pattern(format: &str) -> Option<String> {
    let mut out = String::new();
    let mut is_quoted = false;
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        // Letters are codes, and so are some marks; others stand for themselves.
        let is_code = c.is_ascii_alphabetic() || "[]{}#".contains(c) || (c == '\'' && is_quoted);
        if is_code != is_quoted {
            out.push('\'');
            is_quoted = is_code;
        }
        if c != '%' {
            // A quote is doubled, within quotes and without.
            out.extend(std::iter::repeat_n(c, if c == '\'' { 2 } else { 1 }));
            continue;
        }
        out.push_str(match chars.next()? {
            'Y' => "yyyy",
            'y' => "yy",
            'm' => "MM",
            'd' => "dd",
            'j' => "DDD",
            'H' => "HH",
            'M' => "mm",
            'S' => "ss",
            'F' => "yyyy-MM-dd",
            'T' => "HH:mm:ss",
            '%' => "%",
            _ => return None,
        });
    }
    if is_quoted {
        out.push('\'');
    }
    Some(out)
}
