//! Types in Hive's words, which Athena and Glue share.

use baler_format::Format;
use baler_format::schema::{TimeUnit, Type};

/// How members of structs are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    /// As DDL needs them, of which some may be reserved words.
    Backticks,
    /// As Glue has them.
    None,
}

/// Writes a type. Errors: a struct whose members Athena cannot name.
pub(super) fn hive_type(kind: &Type, format: &Format, quote: Quote) -> Result<String, String> {
    Ok(match kind {
        Type::List(_) | Type::Struct(_) if matches!(format, Format::Csv(_)) => {
            return Err(format!("it is {kind}, which CSV cannot hold"));
        }
        _ if is_text(kind, format) => "string".to_owned(),
        Type::Int64 => "bigint".to_owned(),
        Type::Float64 => "double".to_owned(),
        Type::Bool => "boolean".to_owned(),
        Type::Text => "string".to_owned(),
        Type::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        Type::Date => "date".to_owned(),
        Type::Timestamp { .. } => "timestamp".to_owned(),
        Type::List(item) => format!("array<{}>", hive_type(item, format, quote)?),
        Type::Struct(members) => {
            let mut out = Vec::new();
            for member in members {
                if member.name.is_empty() || !member.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                    return Err(format!("its member `{}` has a name that Athena cannot read in a struct", member.name));
                }
                let kind = hive_type(&member.kind, format, quote)?;
                out.push(match quote {
                    Quote::Backticks => format!("`{}`:{kind}", member.name),
                    Quote::None => format!("{}:{kind}", member.name),
                });
            }
            format!("struct<{}>", out.join(","))
        }
    })
}

/// Says whether values of a type are read as the text that they are written as.
fn is_text(kind: &Type, format: &Format) -> bool {
    match format {
        Format::Csv(_) => true,
        Format::JsonLines => matches!(kind, Type::Decimal { .. } | Type::Date | Type::Timestamp { .. }),
        Format::Json { .. } | Format::Parquet | Format::Arrow(_) => false,
    }
}

/// Says what a reader of the column must know, if anything.
pub(super) fn comment(kind: &Type, format: &Format) -> Option<String> {
    match kind {
        Type::Text => None,
        Type::Timestamp { unit, zone } if is_text(kind, format) => {
            // The plain function cuts what is finer than milliseconds.
            let read = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => "from_iso8601_timestamp(...)",
                TimeUnit::Microsecond | TimeUnit::Nanosecond => "from_iso8601_timestamp_nanos(...)",
            };
            Some(match zone {
                Some(_) => format!("{kind} as text: {read}"),
                None => format!("{kind} as text: cast({read} AS timestamp)"),
            })
        }
        Type::Decimal { precision, scale } if is_text(kind, format) => {
            Some(format!("{kind} as text: cast(... AS decimal({precision},{scale}))"))
        }
        Type::Date if is_text(kind, format) => Some(format!("{kind} as text: from_iso8601_date(...)")),
        Type::Int64 if is_text(kind, format) => Some(format!("{kind} as text: cast(... AS bigint)")),
        Type::Float64 if is_text(kind, format) => Some(format!("{kind} as text: cast(... AS double)")),
        Type::Bool if is_text(kind, format) => Some(format!("{kind} as text: cast(... AS boolean)")),
        Type::Timestamp { zone: Some(_), .. } => Some("an instant, in UTC".to_owned()),
        Type::Int64
        | Type::Float64
        | Type::Bool
        | Type::Decimal { .. }
        | Type::Date
        | Type::Timestamp { zone: None, .. }
        | Type::List(_)
        | Type::Struct(_) => None,
    }
}
