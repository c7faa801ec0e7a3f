//! What a file is known by: inode, size and modification time (protocol.md, section 11; docs/adr/0003: not its device,
//! whose number may be another one after the next boot).

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
        format!("{:x}-{:x}-{:x}", self.inode, self.size, self.modified_ns)
    }

    pub(super) fn object_version(&self) -> ObjectVersion {
        ObjectVersion::new(self.etag())
    }

    pub(super) fn is(&self, version: &ObjectVersion) -> bool {
        *self.etag() == *version.etag
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
