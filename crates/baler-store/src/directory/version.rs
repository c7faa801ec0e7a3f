//! What a file is known by: inode, size and modification time (protocol.md, section 11; docs/adr/0003: not its device,
//! whose number may be another one after the next boot).

use std::fmt;

use baler_model::ObjectVersion;
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
    pub(super) fn etag(&self) -> String {
        let mut etag = String::with_capacity(48);
        self.write_etag(&mut etag).expect("writing to memory cannot fail");
        etag
    }

    fn write_etag(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let Self { inode, size, modified_ns } = self;
        // The same digits: numbers of 128 bits take several times as long to write.
        match u64::try_from(*modified_ns) {
            Ok(modified_ns) => write!(out, "{inode:x}-{size:x}-{modified_ns:x}"),
            Err(_) => write!(out, "{inode:x}-{size:x}-{modified_ns:x}"),
        }
    }

    pub(super) fn object_version(&self) -> ObjectVersion {
        ObjectVersion::new(self.etag())
    }

    pub(super) fn is(&self, version: &ObjectVersion) -> bool {
        self.has_etag(&version.etag)
    }

    /// Whether this is the version of an etag. Allocates nothing: it is asked once for every file read.
    pub(super) fn has_etag(&self, etag: &str) -> bool {
        let mut rest = Rest(etag);
        self.write_etag(&mut rest).is_ok() && rest.0.is_empty()
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

/// What is left of a text that is compared with what is written.
struct Rest<'a>(&'a str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}

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
        for modified_ns in [0, 1, 1_780_000_000_123_456_789, i128::from(u64::MAX) + 1, -1] {
            let version = FileVersion { inode: 0x1f, size: 0xabc, modified_ns };
            let etag = version.etag();
            assert_eq!(etag, format!("1f-abc-{modified_ns:x}"));
            assert!(version.has_etag(&etag));
            for other in ["", "1f", "1f-abc-", &etag[..etag.len() - 1], &format!("{etag}0"), &format!("0{etag}")] {
                assert!(!version.has_etag(other), "{other}");
            }
        }
    }
}
