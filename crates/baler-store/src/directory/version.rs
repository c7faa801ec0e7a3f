//! What a file is known by: inode, size and modification time (protocol.md, section 11; docs/adr/0003: not its device,
//! whose number may be another one after the next boot).

use baler_model::{ObjectVersion, SharedStr};
use jiff::Timestamp;
use rustix::fs::{FileType, Stat};

/// The stamp that a disk has for a file. Renaming and linking keep it; writing changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileVersion {
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified_ns: i128,
}

impl FileVersion {
    #[expect(clippy::useless_conversion, reason = "the field types differ between architectures")]
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino.into(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
        }
    }

    /// `{inode}-{size}-{modification time in nanoseconds}`, hexadecimal.
    pub(super) fn etag(&self) -> SharedStr {
        self.text().as_str().into()
    }

    /// The etag without an allocation: it is written once for every file listed and once for every file read.
    fn text(&self) -> Etag {
        let mut text = Etag { bytes: [0; MOST_ETAG], len: 0 };
        text.hexadecimal(self.inode.into());
        text.push(b'-');
        text.hexadecimal(self.size.into());
        text.push(b'-');
        // A time before 1970 is written as the two's complement.
        text.hexadecimal(self.modified_ns as u128);
        text
    }

    pub(super) fn object_version(&self) -> ObjectVersion {
        ObjectVersion::new(self.etag())
    }

    pub(super) fn is(&self, version: &ObjectVersion) -> bool {
        self.has_etag(&version.etag)
    }

    /// Whether this is the version of an etag.
    pub(super) fn has_etag(&self, etag: &str) -> bool {
        self.text().as_str() == etag
    }

    pub(super) fn same_inode(&self, other: &Self) -> bool {
        self.inode == other.inode
    }

    /// The modification time, clipped to the years that a timestamp can name.
    pub(super) fn modified(&self) -> Timestamp {
        let clip = if self.modified_ns < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::from_nanosecond(self.modified_ns).unwrap_or(clip)
    }
}

/// Digits of two numbers of 64 bits and one of 128, and what stands between them.
const MOST_ETAG: usize = 16 + 1 + 16 + 1 + 32;

/// An etag as it is written.
struct Etag {
    bytes: [u8; MOST_ETAG],
    len: usize,
}

impl Etag {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn hexadecimal(&mut self, number: u128) {
        let digits = (128 - number.leading_zeros()).div_ceil(4).max(1);
        // The same digits: shifting 128 bits takes longer, and only times far away need them.
        match u64::try_from(number) {
            Ok(number) => (0..digits).rev().for_each(|digit| self.push(HEX[(number >> (4 * digit)) as usize & 15])),
            Err(_) => (0..digits).rev().for_each(|digit| self.push(HEX[(number >> (4 * digit)) as usize & 15])),
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("hexadecimal digits are ASCII")
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What is at a name: a regular file, something else, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A regular file.
    File(FileVersion),
    /// A directory, symbolic link, device, pipe or socket: never an object.
    Other(FileVersion),
    /// Nothing.
    Absent,
}

impl Entry {
    pub(super) fn of(stat: &Stat) -> Self {
        let version = FileVersion::of(stat);
        if FileType::from_raw_mode(stat.st_mode).is_file() { Self::File(version) } else { Self::Other(version) }
    }

    pub(super) fn is(self, version: &FileVersion) -> bool {
        matches!(self, Self::File(found) if found == *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_compared_as_it_is_written() {
        let most = FileVersion { inode: u64::MAX, size: u64::MAX, modified_ns: i128::MIN };
        assert_eq!(*most.etag(), format!("{0:x}-{0:x}-{1:x}", u64::MAX, i128::MIN));
        for modified_ns in [0, 1, 15, 16, 255, 1_780_000_000_123_456_789, i128::from(u64::MAX) + 1, -1] {
            let version = FileVersion { inode: 0x1f, size: 0xabc, modified_ns };
            let etag = version.etag();
            assert_eq!(*etag, format!("1f-abc-{modified_ns:x}"));
            assert!(version.has_etag(&etag));
            for other in ["", "1f", "1f-abc-", &etag[..etag.len() - 1], &format!("{etag}0"), &format!("0{etag}")] {
                assert!(!version.has_etag(other), "{other}");
            }
        }
    }
}
