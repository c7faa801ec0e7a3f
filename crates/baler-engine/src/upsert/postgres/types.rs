//! Which columns of a table keep what they are sent.
//!
//! PostgreSQL assigns values to columns of other types without a word where it rounds them (9.99 to an `integer` is 10) or cuts
//! them (a time to a `date`). Columns that could lose something so are refused before anything is written; what they refuse
//! themselves, as a number beyond a `smallint`, fails its record. Text is read by PostgreSQL: it may not go where a column of a
//! type of ours would be read without loss. It may go into `time` and `interval`, which have no type of ours: there parts of a
//! microsecond are rounded, and a `time` takes no notice of a date.
//!
//! Source: PostgreSQL, `pg_cast` and "Value Storage" (type conversion).

use std::collections::BTreeMap;

use baler_format::schema::{Schema, TimeUnit, Type};

use super::BOOKKEEPING;

/// A column of the table; of a domain it is the type behind it.
pub(super) struct Found {
    /// Its type without length, precision and scale: text that is cast to it is not cut.
    pub(super) cast: String,
    /// Its type with them.
    pub(super) kind: String,
}

/// Says which columns cannot be written without loss; nothing where all can. Columns that are not there are not its concern.
pub(super) fn faults(schema: &Schema, found: &BTreeMap<String, Found>) -> Vec<String> {
    let mut faults = Vec::new();
    for column in schema.columns() {
        if let Some(Found { kind, .. }) = found.get(&column.name).filter(|found| loses(&column.kind, &found.kind)) {
            faults.push(format!("`{}` is {kind}, which rounds or cuts {}", column.name, column.kind));
        }
    }
    // Where the order is rounded, old records would win.
    let [time, run, record] = BOOKKEEPING;
    let micros = Type::Timestamp { unit: TimeUnit::Microsecond, zone: Some("UTC".to_owned()) };
    let wanted: [(&str, &str, &[&str], &Type); 3] = [
        (time, "timestamptz", &["timestamp with time zone", "timestamp without time zone"], &micros),
        (run, "text", &["text", "character varying"], &Type::Text),
        (record, "bigint", &["bigint", "integer", "numeric"], &Type::Int64),
    ];
    for (name, wanted, fit, sent) in wanted {
        if let Some(Found { kind, .. }) =
            found.get(name).filter(|found| !fit.contains(&parts(&found.kind).0.as_str()) || loses(sent, &found.kind))
        {
            faults.push(format!("`{name}` is {kind} and has to be {wanted}"));
        }
    }
    faults
}

/// Whether a column of this type may lose something of a value and say nothing.
fn loses(sent: &Type, kind: &str) -> bool {
    // Arrays are sent as text, and lose what their elements do.
    let (name, numbers) = parts(kind.trim_end_matches("[]"));
    let name = name.as_str();
    let is_whole = matches!(name, "smallint" | "integer" | "bigint");
    match sent {
        Type::Int64 => match name {
            "real" | "double precision" => true,
            "numeric" => numbers.get(1).is_some_and(|scale| *scale < 0),
            _ => false,
        },
        // To `numeric` it would be given 15 digits.
        Type::Float64 => is_whole || matches!(name, "real" | "numeric" | "money"),
        Type::Decimal { precision, scale } => match name {
            // So many digits come back as they were.
            "real" => *precision > 6,
            "double precision" => *precision > 15,
            "numeric" => !numbers.is_empty() && numbers.get(1).copied().unwrap_or(0) < i32::from(*scale),
            "money" => true,
            _ => is_whole && *scale > 0,
        },
        Type::Timestamp { unit, .. } => match name {
            "date" | "time without time zone" | "time with time zone" => true,
            "timestamp without time zone" | "timestamp with time zone" => {
                numbers.first().is_some_and(|kept| *kept < digits(*unit))
            }
            _ => false,
        },
        Type::Text => match name {
            "real" | "double precision" | "money" | "date" | "name" | "\"char\"" => true,
            "timestamp without time zone" | "timestamp with time zone" => true,
            "numeric" => !numbers.is_empty(),
            _ => false,
        },
        Type::Bool | Type::Date | Type::List(_) | Type::Struct(_) => false,
    }
}

/// Digits of a second that a unit has; of nanoseconds those are refused record by record that PostgreSQL has no room for.
fn digits(unit: TimeUnit) -> i32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond | TimeUnit::Nanosecond => 6,
    }
}

/// A type's name and the numbers within it: `timestamp(3) with time zone`.
fn parts(kind: &str) -> (String, Vec<i32>) {
    match (kind.find('('), kind.find(')')) {
        (Some(open), Some(close)) if open < close => {
            let numbers = kind[open + 1..close].split(',').filter_map(|number| number.trim().parse().ok());
            (format!("{}{}", &kind[..open], &kind[close + 1..]), numbers.collect())
        }
        _ => (kind.to_owned(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(sent: &str, kinds: &[&str]) -> Vec<bool> {
        let schema: Schema = format!("c: {sent}").parse().unwrap();
        kinds.iter().map(|kind| loses(&schema.columns()[0].kind, kind)).collect()
    }

    #[test]
    fn types_that_keep_every_value_or_refuse_it_are_let_pass() {
        for (sent, kinds) in [
            ("int64", ["bigint", "smallint", "numeric", "numeric(5,2)", "text"].as_slice()),
            ("float64", &["double precision", "text"]),
            ("decimal(10,2)", &["numeric", "numeric(10,2)", "numeric(4,3)", "double precision", "text"]),
            ("decimal(10,0)", &["integer", "numeric(10)"]),
            ("date", &["date", "timestamp with time zone"]),
            ("timestamp(ms, UTC)", &["timestamp with time zone", "timestamp(3) with time zone", "text"]),
            ("timestamp(us, UTC)", &["timestamp without time zone", "timestamp(6) without time zone"]),
            (
                "text",
                &["text", "character varying(3)", "integer", "numeric", "uuid", "jsonb", "bit(3)", "interval", "mood"],
            ),
            ("list(int64)", &["jsonb", "json", "text"]),
            // PostgreSQL itself refuses these.
            ("int64", &["boolean", "date"]),
        ] {
            assert!(all(sent, kinds).iter().all(|loses| !loses), "{sent} {kinds:?}");
        }
    }

    #[test]
    fn types_that_round_or_cut_are_refused() {
        for (sent, kinds) in [
            ("int64", ["real", "double precision", "numeric(3,-2)"].as_slice()),
            ("float64", &["integer", "bigint", "smallint", "real", "numeric", "numeric(10,2)", "money"]),
            ("decimal(10,2)", &["integer", "bigint", "numeric(10,1)", "numeric(10,0)", "real", "money"]),
            ("decimal(16,2)", &["double precision"]),
            ("timestamp(s)", &["date", "time without time zone"]),
            ("timestamp(ms, UTC)", &["date", "time(3) with time zone", "timestamp(2) with time zone"]),
            (
                "text",
                &["date", "timestamp with time zone", "double precision", "numeric(10,2)", "numeric(10,2)[]", "name"],
            ),
        ] {
            assert!(all(sent, kinds).iter().all(|loses| *loses), "{sent} {kinds:?}");
        }
    }

    #[test]
    fn the_order_has_columns_that_keep_it() {
        let found = |[time, run, record]: [&str; 3]| {
            let found = |kind: &str| Found { cast: kind.to_owned(), kind: kind.to_owned() };
            let names = BOOKKEEPING.map(str::to_owned);
            faults(&"c: int64".parse().unwrap(), &names.into_iter().zip([time, run, record].map(found)).collect())
        };
        assert_eq!(found(["timestamp with time zone", "text", "bigint"]), Vec::<String>::new());
        assert_eq!(
            found(["timestamp(0) with time zone", "name", "real"]),
            [
                "`_baler_batch_time` is timestamp(0) with time zone and has to be timestamptz",
                "`_baler_run` is name and has to be text",
                "`_baler_record` is real and has to be bigint",
            ]
        );
    }
}
