//! S3DB's `METADATA.json`: the types of a dataset's columns, and its key.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Column, Schema, Type};

/// What the metadata file of a dataset says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3db {
    /// The columns in the order of `type_map`; all may be null, since nothing in S3DB says that they are not.
    pub schema: Schema,
    /// The columns of `superkey`, each a column of the schema.
    pub key: Vec<String>,
}

/// Why a metadata file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum S3dbError {
    /// It is not the JSON that it should be.
    #[error("not S3DB metadata: {0}")]
    NotMetadata(String),
    /// A column has an unknown type.
    #[error("column `{column}` has the type `{kind}`; `int`, `float`, `str` and `bool` are known")]
    UnknownType {
        /// The column.
        column: String,
        /// What the file says.
        kind: String,
    },
    /// The key names a column that `type_map` lacks, or `type_map` has one twice.
    #[error("{0}")]
    Inconsistent(String),
}

#[derive(Deserialize)]
struct Metadata {
    type_map: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    superkey: Vec<String>,
    #[serde(flatten)]
    _others: std::collections::HashMap<String, IgnoredAny>,
}

impl S3db {
    /// Reads a metadata file.
    ///
    /// Errors: not JSON, no `type_map`, an unknown type, a key of columns that are not there.
    /// Source: a dataset's `METADATA.json` as S3DB writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, S3dbError> {
        let metadata: Metadata =
            serde_json::from_slice(bytes).map_err(|fault| S3dbError::NotMetadata(fault.to_string()))?;
        let mut columns = Vec::new();
        for (column, kind) in metadata.type_map {
            let kind = match kind.as_str() {
                Some("int") => Type::Int64,
                Some("float") => Type::Float64,
                Some("str") => Type::Text,
                Some("bool") => Type::Bool,
                Some(kind) => return Err(S3dbError::UnknownType { column, kind: kind.to_owned() }),
                None => return Err(S3dbError::UnknownType { column, kind: kind.to_string() }),
            };
            columns.push(Column::new(column, kind));
        }
        let schema = Schema::try_new(columns).map_err(|fault| S3dbError::Inconsistent(fault.to_string()))?;
        if let Some(lost) = metadata.superkey.iter().find(|name| schema.column(name).is_none()) {
            return Err(S3dbError::Inconsistent(format!("`superkey` names `{lost}`, which `type_map` lacks")));
        }
        Ok(Self { schema, key: metadata.superkey })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_the_order_of_the_type_map() {
        let text = br#"{"tags": {"x": 1}, "type_map": {"b": "int", "a": "float", "d": "str", "c": "bool"}, "superkey": ["b"]}"#;
        let metadata = S3db::parse(text).unwrap();
        assert_eq!(metadata.schema.to_string(), "b: int64, a: float64, d: text, c: bool");
        assert_eq!(metadata.key, ["b"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fault = |text: &str| S3db::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            fault(r#"{"type_map": {"a": "date"}}"#),
            "column `a` has the type `date`; `int`, `float`, `str` and `bool` are known"
        );
        assert_eq!(fault(r#"{"type_map": {}, "superkey": ["k"]}"#), "`superkey` names `k`, which `type_map` lacks");
        assert!(fault("{}").contains("type_map"));
    }
}
