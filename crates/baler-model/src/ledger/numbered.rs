//! An output of `convert` that is several objects of a limited size, and the manifest that names them.

use serde::{Deserialize, Serialize};

use crate::{Key, KeyError, RunId};

/// The objects of an output that is several.
///
/// A rebuild writes new ones under the name of its run and exchanges the manifest last: whoever reads by the manifest sees
/// one build or the other. Without a manifest each run adds objects of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// What their keys begin with, before the number.
    pub before: String,
    /// What their keys end with.
    pub after: String,
    /// An object closes when it would be larger. Units: bytes.
    pub max_bytes: u64,
    /// Whether there is a manifest.
    pub manifest: bool,
}

impl Numbered {
    /// Those that together stand for an object of this key: beside it, without a manifest.
    pub fn beside(key: &Key, max_bytes: u64) -> Self {
        let (directory, stem, after) = pieces(key.as_str());
        Self { before: format!("{directory}{stem}-"), after: after.to_owned(), max_bytes, manifest: false }
    }

    /// Those of one run that together stand for an object of this key: in a directory that the run names, with a manifest.
    pub fn versioned(key: &Key, run: &RunId, max_bytes: u64) -> Self {
        let (directory, stem, after) = pieces(key.as_str());
        Self { before: format!("{directory}{run}/{stem}-"), after: after.to_owned(), max_bytes, manifest: true }
    }

    /// The key of an object, by its number from 1.
    ///
    /// Errors: [`KeyError`] for a key that is too long.
    pub fn key(&self, number: u64) -> Result<Key, KeyError> {
        Key::try_new(format!("{}{number:05}{}", self.before, self.after))
    }
}

/// Directory with its `/`, name before its first `.`, and the rest.
fn pieces(key: &str) -> (&str, &str, &str) {
    let name = key.rfind('/').map_or(0, |slash| slash + 1);
    let dot = key[name..].find('.').map_or(key.len(), |dot| name + dot);
    (&key[..name], &key[name..dot], &key[dot..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_beside_the_one_that_they_stand_for() {
        let run = RunId::try_new("20240102T030405Z-abcd").unwrap();
        let versioned = Numbered::versioned(&Key::try_new("o/day=1/part.csv.gz").unwrap(), &run, 1);
        assert_eq!(versioned.key(7).unwrap().as_str(), format!("o/day=1/{run}/part-00007.csv.gz"));
        assert_eq!(versioned.key(123_456).unwrap().as_str(), format!("o/day=1/{run}/part-123456.csv.gz"));
        let beside = Numbered::beside(&Key::try_new("o/day=1/r.csv.gz").unwrap(), 1);
        assert_eq!(beside.key(7).unwrap().as_str(), "o/day=1/r-00007.csv.gz");
        let bare = Numbered::beside(&Key::try_new("part").unwrap(), 1);
        assert_eq!(bare.key(7).unwrap().as_str(), "part-00007");
    }
}
