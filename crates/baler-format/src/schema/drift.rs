//! Drift: how the columns that were found differ from those that were declared, and what to do about it.

use super::{Column, Schema, Type, widen, widen_columns};

/// What happens when found columns do not fit the declared ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Drift {
    /// The object is refused.
    #[default]
    Fail,
    /// The declared schema stays; records that do not fit are rejected one by one, further columns left out.
    Quarantine,
    /// The schema grows until everything fits.
    Widen,
}

/// One difference between declared and found columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Change {
    /// A column is new.
    #[error("column `{column}` is new, of type {found}")]
    Added {
        /// Its name.
        column: String,
        /// Its type.
        found: Type,
    },
    /// A column is gone.
    #[error("column `{column}` is missing")]
    Missing {
        /// Its name.
        column: String,
    },
    /// A column has a type whose values the declared type does not hold.
    #[error("column `{column}` changed from {declared} to {found}")]
    Changed {
        /// Its name.
        column: String,
        /// The declared type.
        declared: Type,
        /// The found type.
        found: Type,
    },
}

/// Columns drifted, and the flow says that they must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct DriftError {
    /// Every difference, in the order of the declared columns, new ones last.
    pub changes: Vec<Change>,
}

impl DriftError {
    /// Says what may be done.
    pub fn hint(&self) -> &'static str {
        "set `on_drift = \"widen\"` or `\"quarantine\"`, or declare the columns as they are now"
    }
}

/// Compares found columns with declared ones. The order of columns does not matter.
///
/// A column that may be null may also be missing.
pub fn compare(declared: &Schema, found: &Schema) -> Vec<Change> {
    let mut changes = Vec::new();
    for column in declared.columns() {
        match found.column(&column.name) {
            None if column.nullable => {}
            None => changes.push(Change::Missing { column: column.name.clone() }),
            Some(other) if holds(&column.kind, &other.kind) => {}
            Some(other) => changes.push(Change::Changed {
                column: column.name.clone(),
                declared: column.kind.clone(),
                found: other.kind.clone(),
            }),
        }
    }
    let added = found.columns().iter().filter(|column| declared.column(&column.name).is_none());
    changes.extend(added.map(|column| Change::Added { column: column.name.clone(), found: column.kind.clone() }));
    changes
}

/// Says whether every value of `found` is one of `declared`.
pub(crate) fn holds(declared: &Type, found: &Type) -> bool {
    match (declared, found) {
        (Type::Struct(declared), Type::Struct(found)) => {
            let is_held = |column: &Column| {
                let declared = declared.iter().find(|other| other.name == column.name);
                declared.is_some_and(|declared| holds(&declared.kind, &column.kind))
            };
            let is_there = |column: &Column| column.nullable || found.iter().any(|other| other.name == column.name);
            found.iter().all(is_held) && declared.iter().all(is_there)
        }
        (Type::List(declared), Type::List(found)) => holds(declared, found),
        // Instants do not change with the zone that they are shown in.
        (Type::Timestamp { unit: u, zone: y }, Type::Timestamp { unit: v, zone: z }) => {
            v <= u && y.is_some() == z.is_some()
        }
        (Type::Text, found) => *found == Type::Text,
        (declared, found) => widen(declared, found) == *declared,
    }
}

/// Returns the schema to read with.
///
/// Errors: with [`Drift::Fail`], every difference.
pub fn settle(declared: &Schema, found: &Schema, drift: Drift) -> Result<Schema, DriftError> {
    match drift {
        Drift::Fail => {
            let changes = compare(declared, found);
            if changes.is_empty() { Ok(declared.clone()) } else { Err(DriftError { changes }) }
        }
        Drift::Quarantine => Ok(declared.clone()),
        Drift::Widen => Ok(Schema { columns: widen_columns(declared.columns(), found.columns()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Schema {
        text.parse().unwrap()
    }

    #[test]
    fn differences_are_named_by_column() {
        let changes = compare(
            &schema("id: int64 not null, price: float64, name: text, note: text"),
            &schema("name: int64, price: int64, extra: date"),
        );
        let words: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "column `id` is missing",
                "column `name` changed from text to int64",
                "column `extra` is new, of type date"
            ]
        );
    }

    #[test]
    fn what_the_declared_type_holds_is_no_drift() {
        let declared = schema(
            "a: float64, b: decimal(21,2), c: timestamp(ms, UTC), d: list(float64), e: struct(x: text, y: date)",
        );
        let found = schema("e: struct(x: text), d: list(int64), c: timestamp(s, Europe/Berlin), b: int64, a: int64");
        assert_eq!(compare(&declared, &found), []);
        assert_eq!(settle(&declared, &found, Drift::Fail).unwrap(), declared);
    }

    #[test]
    fn the_wider_schema_holds_both() {
        let declared = schema("a: int64 not null, b: text, c: struct(x: int64)");
        let found = schema("c: struct(x: float64, y: bool), d: date, a: float64 not null");
        let wide = settle(&declared, &found, Drift::Widen).unwrap();
        assert_eq!(wide.to_string(), "a: float64 not null, b: text, c: struct(x: float64, y: bool), d: date");
        assert_eq!(compare(&wide, &declared), []);
        assert_eq!(compare(&wide, &found), []);
        assert!(settle(&declared, &found, Drift::Fail).unwrap_err().to_string().contains("column `a` changed"));
        assert_eq!(settle(&declared, &found, Drift::Quarantine).unwrap(), declared);
    }
}
