//! Why a table cannot be defined.

use baler_model::Kind;

/// Why a table cannot be defined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DdlError {
    /// Athena has no reader for the format or codec.
    #[error("Athena cannot read {what}")]
    Unreadable {
        /// The format or codec.
        what: String,
        /// What can be done instead.
        hint: &'static str,
    },
    /// A column cannot be defined.
    #[error("column `{column}`: {what}")]
    Column {
        /// The column.
        column: String,
        /// Why.
        what: String,
    },
    /// The columns as a whole cannot be defined.
    #[error("{what}")]
    Columns {
        /// Why.
        what: String,
    },
    /// A name that a catalog cannot hold.
    #[error("`{name}` cannot be a name in a catalog")]
    Name {
        /// The name.
        name: String,
    },
    /// Two columns that a catalog cannot tell apart.
    #[error("two columns are called `{name}` in a catalog, which knows no capital letters")]
    SameName {
        /// The second of them.
        name: String,
    },
    /// A table that is not on S3.
    #[error("`{location}` is not on S3")]
    Location {
        /// Where it is.
        location: String,
    },
    /// A partition that cannot be projected.
    #[error("partition `{name}`: {what}")]
    Partition {
        /// The partition's column.
        name: String,
        /// Why.
        what: String,
    },
}

impl DdlError {
    pub(super) fn column(column: &str, what: impl Into<String>) -> Self {
        Self::Column { column: column.to_owned(), what: what.into() }
    }

    pub(super) fn partition(name: &str, what: impl Into<String>) -> Self {
        Self::Partition { name: name.to_owned(), what: what.into() }
    }

    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// How to put it right.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { hint, .. } => hint,
            Self::Column { .. } => "cast, rename or drop it in `scrub`",
            Self::Columns { .. } => "declare columns in `schema`",
            Self::Name { .. } => "1 to 255 characters without backticks, backslashes and control characters",
            Self::SameName { .. } => "rename one of them in `scrub`, or the placeholder in the path",
            Self::Location { .. } => "Athena and Glue read from S3 only",
            Self::Partition { .. } => "write the placeholder into the path of `to`, as a directory of its own",
        }
    }
}
