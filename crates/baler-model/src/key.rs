//! Object keys, kept byte for byte.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SharedStr;

/// The largest key that S3 takes, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 1024;

/// A key within a store, relative to the store's own prefix; never normalised.
///
/// `a//b`, `a/../b`, `a b`, `a+b` and `a%2Fb` are five different keys. Keys order by their bytes, as S3 lists them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(SharedStr);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty keys name nothing.
    #[error("a key may not be empty")]
    Empty,
    /// S3 refuses keys of more than 1,024 bytes.
    #[error("key `{key}` has {bytes} bytes, 1024 are allowed")]
    TooLong {
        /// The key.
        key: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// A NUL byte cannot be part of a file name, nor of an XML listing.
    #[error("key `{key}` contains a NUL byte")]
    Nul {
        /// The key.
        key: String,
    },
}

impl Key {
    /// Takes a text as a key.
    ///
    /// Errors: [`KeyError`] when it is empty, longer than 1,024 bytes, or contains NUL.
    pub fn try_new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong { bytes: text.len(), key: text });
        }
        if text.contains('\0') {
            return Err(KeyError::Nul { key: text });
        }
        Ok(Self(text.into()))
    }

    /// Takes a key that a store listed, whatever its length.
    pub fn from_listed(text: impl Into<SharedStr>) -> Self {
        Self(text.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the last `/`.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_never_normalised() {
        for text in ["a//b", "a/../b", "./a", "a b+c%2F", "/a", "ä/ö", "a/"] {
            assert_eq!(Key::try_new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_key_of_1024_bytes_is_the_longest() {
        assert!(Key::try_new("k".repeat(1024)).is_ok());
        assert_eq!(Key::try_new("k".repeat(1025)), Err(KeyError::TooLong { key: "k".repeat(1025), bytes: 1025 }));
    }

    #[test]
    fn keys_order_by_bytes() {
        let mut keys = ["b", "a/b", "a-b", "a", "ä"].map(Key::from_listed);
        keys.sort();
        assert_eq!(keys.map(|k| k.to_string()), ["a", "a-b", "a/b", "b", "ä"]);
    }
}
