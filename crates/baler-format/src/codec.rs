//! Codecs: how the bytes of an object are compressed, as a whole.
//!
//! Reading goes to the end of the last gzip member, zstd frame, bzip2 stream or LZ4 frame, checks every checksum that the
//! codec has, and fails on what is cut off and on what stands behind the end. What was decoded before a fault is handed out
//! before the fault is.
//!
//! What a format cannot show stays unseen: snappy frames have no end mark, so that a stream cut between two chunks is a
//! whole one; brotli has no checksum, so that a flipped bit may decode to other bytes,
//! and what its last kibibyte of compressed bytes decodes to may be lost with the damage behind it.

mod brotli;
mod bzip2;
mod gzip;
mod lz4;
mod read;
mod source;
mod whole;
mod write;
mod zstd;

use std::fmt;
use std::io;

pub use read::{Reader, reader};
pub(crate) use whole::one_member;
pub use whole::{decode_whole, decode_whole_into, encode_whole, encode_whole_into};
pub use write::{Writer, writer};

/// How an object is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// Gzip members (RFC 1952).
    Gzip,
    /// Zstandard frames (RFC 8878).
    Zstd,
    /// One brotli stream (RFC 7932).
    Brotli,
    /// Bzip2 streams.
    Bzip2,
    /// LZ4 frames.
    Lz4,
    /// Snappy's framing format.
    Snappy,
}

impl Codec {
    /// Every codec, in the order of its declaration.
    pub const ALL: [Self; 7] = [Self::None, Self::Gzip, Self::Zstd, Self::Brotli, Self::Bzip2, Self::Lz4, Self::Snappy];

    /// Returns the name that `baler.toml` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "brotli",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }

    /// Returns the suffix of keys, without a dot; nothing for [`Codec::None`].
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Brotli => "br",
            Self::Bzip2 => "bz2",
            Self::Lz4 => "lz4",
            Self::Snappy => "sz",
        }
    }

    /// Finds a codec by its name or by a suffix of keys (`gz gzip zst zstd br brotli bz2 bzip2 lz4 sz snappy none`), in any
    /// letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            "br" | "brotli" => Some(Self::Brotli),
            "bz2" | "bzip2" => Some(Self::Bzip2),
            "lz4" => Some(Self::Lz4),
            "sz" | "snappy" => Some(Self::Snappy),
            _ => None,
        }
    }

    /// Recognises a codec by the first bytes of an object; ten are enough.
    ///
    /// Brotli has no mark and is never recognised: it counts as [`Codec::None`], as everything unknown does.
    /// Source: RFC 1952, RFC 8878, the LZ4 and snappy frame descriptions, the bzip2 manual.
    pub fn sniff(head: &[u8]) -> Self {
        if head.starts_with(&gzip::MAGIC[..2]) {
            Self::Gzip
        } else if head.starts_with(b"BZh") && head.get(3).is_some_and(|level| (b'1'..=b'9').contains(level)) {
            Self::Bzip2
        } else if head.starts_with(&zstd::MAGIC) {
            Self::Zstd
        } else if head.starts_with(&lz4::MAGIC) {
            Self::Lz4
        } else if head.starts_with(b"\xff\x06\x00\x00sNaPpY") {
            Self::Snappy
        } else {
            Self::None
        }
    }

    /// Returns the levels that the codec has, the least first; nothing where it has none.
    pub const fn levels(self) -> Option<(u8, u8)> {
        match self {
            Self::None | Self::Lz4 | Self::Snappy => None,
            Self::Gzip => Some((0, 9)),
            Self::Zstd => Some((1, 22)),
            Self::Brotli => Some((0, 11)),
            Self::Bzip2 => Some((1, 9)),
        }
    }

    /// Returns the level that is taken where none is asked for; 0 where the codec has none.
    pub const fn default_level(self) -> u8 {
        match self {
            Self::None | Self::Lz4 | Self::Snappy => 0,
            Self::Gzip => 6,
            Self::Zstd => 3,
            // 11, brotli's own default, is for what is compressed once and served often: it writes about 1 MB a second.
            Self::Brotli => 5,
            Self::Bzip2 => 9,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec with a level that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compression {
    codec: Codec,
    level: u8,
}

impl Compression {
    /// No compression.
    pub const NONE: Self = Self { codec: Codec::None, level: 0 };

    /// Checks a level against the codec's range; without one takes the codec's default.
    ///
    /// Errors: the codec has no levels, or not this one.
    pub fn try_new(codec: Codec, level: Option<i64>) -> Result<Self, LevelError> {
        let Some(asked) = level else { return Ok(Self { codec, level: codec.default_level() }) };
        match (codec.levels(), u8::try_from(asked)) {
            (Some((least, most)), Ok(level)) if (least..=most).contains(&level) => Ok(Self { codec, level }),
            (Some((least, most)), _) => Err(LevelError::OutOfRange { codec, level: asked, least, most }),
            (None, _) => Err(LevelError::NoLevels { codec }),
        }
    }

    /// Returns the codec.
    pub const fn codec(self) -> Codec {
        self.codec
    }

    /// Returns the level; 0 where the codec has none.
    pub const fn level(self) -> u8 {
        self.level
    }

    /// Estimates the memory that writing with this level holds, in bytes, rounded up.
    ///
    /// Source: the window and table sizes of each codec's parameters (zstd's `ZSTD_getCParams` for unknown sizes; brotli's
    /// hashers; bzip2's manual, section 3).
    pub const fn memory(self) -> u64 {
        const MIB: u64 = 1 << 20;
        match self.codec {
            Codec::None => 0,
            Codec::Gzip | Codec::Snappy => MIB,
            Codec::Lz4 => 9 * MIB,
            Codec::Bzip2 => 8 * MIB,
            Codec::Brotli => match self.level {
                0..=4 => 16 * MIB,
                5..=9 => 48 * MIB,
                _ => 256 * MIB,
            },
            Codec::Zstd => match self.level {
                0..=4 => 8 * MIB,
                5..=9 => 32 * MIB,
                10..=15 => 64 * MIB,
                16..=19 => 128 * MIB,
                20 => 256 * MIB,
                21 => 512 * MIB,
                _ => 1024 * MIB,
            },
        }
    }
}

/// A level that a codec does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// The level is outside the codec's range.
    #[error("`{codec}` has levels {least} to {most}, not {level}")]
    OutOfRange {
        /// The codec.
        codec: Codec,
        /// What was asked for.
        level: i64,
        /// The codec's least level.
        least: u8,
        /// The codec's greatest level.
        most: u8,
    },
    /// The codec has no levels.
    #[error("`{codec}` has no levels; leave `level` out")]
    NoLevels {
        /// The codec.
        codec: Codec,
    },
}

/// Why compressed bytes cannot be read, and where.
///
/// [`Reader`] hands it out inside of [`io::Error`]; [`CodecError::of`] finds it there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{codec}, member {member}, compressed byte {offset}: {fault}")]
pub struct CodecError {
    /// The codec that was read.
    pub codec: Codec,
    /// The gzip member, zstd frame, bzip2 stream or LZ4 frame, from 1; always 1 for brotli and snappy.
    pub member: u64,
    /// Number of compressed bytes that were consumed when the fault was seen.
    pub offset: u64,
    /// What is wrong.
    pub fault: CodecFault,
}

/// What is wrong with compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecFault {
    /// They end too early.
    #[error("cut off")]
    Truncated,
    /// They contradict the codec's format or a checksum.
    #[error("damaged: {0}")]
    Corrupt(String),
    /// Something else stands behind the last member.
    #[error("bytes that are not {0} stand behind the end")]
    Trailing(Codec),
    /// They expand beyond a limit.
    #[error("it expands beyond {0} bytes")]
    TooLarge(u64),
}

impl CodecError {
    /// Finds the codec's error in one of a reader.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        let kind = match error.fault {
            CodecFault::Truncated => io::ErrorKind::UnexpectedEof,
            CodecFault::Corrupt(_) | CodecFault::Trailing(_) | CodecFault::TooLarge(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_is_found_by_its_name_and_by_its_suffix() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_name(codec.name()), Some(codec));
            if codec != Codec::None {
                assert_eq!(Codec::from_name(&codec.suffix().to_uppercase()), Some(codec));
            }
        }
        assert_eq!(Codec::from_name("zip"), None);
    }

    #[test]
    fn levels_outside_of_a_codecs_range_are_refused_with_the_range() {
        assert_eq!(Compression::try_new(Codec::Zstd, Some(22)).unwrap().level(), 22);
        let fault = Compression::try_new(Codec::Zstd, Some(23)).unwrap_err();
        assert_eq!(fault.to_string(), "`zstd` has levels 1 to 22, not 23");
        assert!(Compression::try_new(Codec::Gzip, Some(-1)).is_err());
        assert!(Compression::try_new(Codec::Gzip, Some(256)).is_err());
        let fault = Compression::try_new(Codec::Lz4, Some(1)).unwrap_err();
        assert_eq!(fault.to_string(), "`lz4` has no levels; leave `level` out");
    }
}
