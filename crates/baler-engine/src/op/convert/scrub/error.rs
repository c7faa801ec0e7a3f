//! Why records cannot be scrubbed.

use baler_format::schema::{Schema, Type, TypeError};
use baler_model::{Kind, did_you_mean};

/// Why a scrub cannot be made or done. What is wrong with single values is no error: their rows are rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScrubError {
    /// A setting names a column that there is not.
    #[error("`{setting}` names the column `{column}`, which the input does not have")]
    UnknownColumn {
        /// The setting.
        setting: &'static str,
        /// The name.
        column: String,
        /// What may be meant.
        hint: String,
    },
    /// A column that is no text is to be trimmed.
    #[error("`trim` names the column `{column}`, which is {kind}")]
    NotText {
        /// The column.
        column: String,
        /// Its type.
        kind: Type,
    },
    /// The type of a cast is none.
    #[error("`cast` of the column `{column}`")]
    CastType {
        /// The column.
        column: String,
        /// What is wrong with the text.
        #[source]
        source: TypeError,
    },
    /// No value of a type can become one of another.
    #[error("the column `{column}` is {from} and cannot become {to}")]
    Cast {
        /// The column.
        column: String,
        /// What it is.
        from: Type,
        /// What it is to become.
        to: Type,
        /// Why not, or what can be done instead.
        reason: String,
    },
    /// A list or struct is to be masked, hashed or a key.
    #[error("`{setting}` names the column `{column}`, which is {kind}")]
    Nested {
        /// The setting.
        setting: &'static str,
        /// The column.
        column: String,
        /// Its type.
        kind: Type,
    },
    /// A new name belongs to another column.
    #[error("`rename` calls the column `{column}` `{name}`, and so is another called")]
    NameTaken {
        /// The column.
        column: String,
        /// Its new name.
        name: String,
    },
    /// Every column is dropped.
    #[error("`drop` leaves no column")]
    NothingLeft,
    /// A salt is not there, or empty.
    #[error("the environment variable `{name}`, the salt of `{column}`, is {}", if *is_empty { "empty" } else { "not set" })]
    Salt {
        /// The column.
        column: String,
        /// The variable.
        name: String,
        /// Whether it is there.
        is_empty: bool,
    },
    /// The second pass over the inputs found other records than the first.
    #[error("the inputs held other records when they were read again")]
    Passes,
    /// A promise of ours was broken.
    #[error("{0}")]
    Internal(String),
}

impl ScrubError {
    pub(super) fn unknown(setting: &'static str, column: &str, schema: &Schema) -> Self {
        let names: Vec<&str> = schema.columns().iter().map(|column| column.name.as_str()).collect();
        let hint = match did_you_mean(column, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None if names.is_empty() => "it has no columns".to_owned(),
            None => {
                let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
                let more = if names.len() > shown.len() { " and more" } else { "" };
                format!("it has {}{more}; settings use the names of the input", shown.join(", "))
            }
        };
        Self::UnknownColumn { setting, column: column.to_owned(), hint }
    }

    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::UnknownColumn { .. }
            | Self::NotText { .. }
            | Self::CastType { .. }
            | Self::Cast { .. }
            | Self::Nested { .. }
            | Self::NameTaken { .. }
            | Self::NothingLeft
            | Self::Salt { .. } => Kind::Invalid,
            Self::Passes => Kind::Data,
            Self::Internal(_) => Kind::Internal,
        }
    }

    /// How to put it right.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownColumn { hint, .. } => hint.clone(),
            Self::NotText { .. } => "only columns of text can be trimmed; `trim = true` takes all of them".to_owned(),
            Self::CastType { source, .. } => source.to_string(),
            Self::Cast { reason, .. } => reason.clone(),
            Self::Nested { setting: "dedupe", .. } => "keys are made of columns of plain values".to_owned(),
            Self::Nested { column, .. } => format!("cast it first: `cast = {{ {column} = \"text\" }}` makes it JSON"),
            Self::NameTaken { name, .. } => format!("drop or rename the other `{name}`"),
            Self::NothingLeft => "leave one out of `drop`".to_owned(),
            Self::Salt { name, .. } => format!("set `{name}` where Baler runs"),
            Self::Passes => "the next run plans them again".to_owned(),
            Self::Internal(_) => return None,
        })
    }
}
