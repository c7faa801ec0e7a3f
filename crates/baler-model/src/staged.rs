//! What lies staged, invisible to readers, until a seal lets it be published. Persisted in marks and seals.

use serde::{Deserialize, Serialize};

use crate::{Key, SharedStr, Stamp};

/// One output that an attempt staged: everything that publishing and confirming it will need, by whoever does it.
///
/// Units: `size` in bytes. `crc64nvme` is what the bytes *should* have, computed from sources and bytes sent; `None`
/// where it could not be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Where the output will appear.
    pub key: Key,
    /// The stamp that the published object carries.
    pub stamp: Stamp,
    /// Size of the whole output in bytes.
    pub size: u64,
    /// CRC-64/NVME of the whole output, as computed on the way.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crc_hex")]
    pub crc64nvme: Option<u64>,
    /// Where the bytes wait.
    pub place: StagedPlace,
}

/// Where staged bytes wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StagedPlace {
    /// A multipart upload with all its parts, not completed.
    Multipart {
        /// The upload's id.
        upload_id: String,
        /// Its parts in order.
        parts: Vec<StagedPart>,
    },
    /// A temporary file under the store's root, written and fsynced.
    File {
        /// Its path, relative to the root.
        temp: String,
        /// Inode number: with size and time the stamp that a disk has for a file.
        inode: u64,
        /// Modification time in nanoseconds since 1970; a text in JSON, whose numbers readers cut to 53 bits.
        #[serde(with = "nanoseconds")]
        modified_ns: i128,
    },
}

/// One part of a multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedPart {
    /// Number from 1.
    pub number: u32,
    /// The part's etag, without quotes.
    pub etag: SharedStr,
    /// Its size in bytes.
    pub size: u64,
}

mod crc_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(crc: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match crc {
            Some(crc) => s.serialize_str(&format!("{crc:016x}")),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|t| u64::from_str_radix(&t, 16).map_err(serde::de::Error::custom)).transpose()
    }
}

mod nanoseconds {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(nanoseconds: &i128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(nanoseconds)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<i128, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_file_survives_its_json() {
        let staged = Staged {
            key: Key::from_listed("a/b"),
            stamp: "flow/run/0/attempt".parse().unwrap(),
            size: 18,
            crc64nvme: Some(u64::MAX - 1),
            place: StagedPlace::File {
                temp: ".baler-tmp/x".into(),
                inode: u64::MAX,
                modified_ns: 1_795_234_567_123_456_789,
            },
        };
        let json = serde_json::to_string(&staged).unwrap();
        assert_eq!(serde_json::from_str::<Staged>(&json).unwrap(), staged);
    }
}
