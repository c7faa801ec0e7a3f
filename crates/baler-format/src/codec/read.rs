//! Reading: every member of a stream, to the end.

use std::io::{self, Read};

use super::source::Source;
use super::{Codec, CodecError, CodecFault, brotli, bzip2, gzip, lz4, zstd};

/// Decodes a stream to the end of its last member.
///
/// Errors of [`Read::read`]: an [`io::Error`] that holds a [`CodecError`] where the bytes are wrong, and the inner
/// reader's own error where that failed. Everything decoded before the fault was handed out before. Reading on behind an
/// error gives the error again.
pub struct Reader<R: Read> {
    codec: Codec,
    member: u64,
    state: State<R>,
}

enum State<R: Read> {
    Plain(Source<R>),
    /// At the beginning of a member, or at the end.
    Between(Source<R>),
    Gzip(gzip::Member, Source<R>),
    Zstd(zstd::Frame, Source<R>),
    Brotli(brotli::Stream, Source<R>),
    Bzip2(bzip2::Stream, Source<R>),
    Lz4(lz4::Frame<R>),
    Snappy(snap::read::FrameDecoder<Source<R>>),
    Ended,
    Failed(Option<CodecError>),
}

/// Reads what a codec compressed; gzip, zstd, bzip2 and LZ4 in any number of members or frames.
///
/// Units: all bytes. Memory: the codec's window, and 128 KiB.
pub fn reader<R: Read>(codec: Codec, inner: R) -> Reader<R> {
    let source = Source::new(inner);
    let state = match codec {
        Codec::None => State::Plain(source),
        Codec::Gzip | Codec::Zstd | Codec::Brotli | Codec::Bzip2 | Codec::Lz4 | Codec::Snappy => State::Between(source),
    };
    Reader { codec, member: 0, state }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let read = match &mut self.state {
                State::Plain(source) => return source.read(into),
                State::Ended => return Ok(0),
                State::Failed(Some(error)) => return Err(error.clone().into()),
                State::Failed(None) => return Err(io::Error::other("the reader has failed before")),
                State::Between(_) => Ok(0),
                State::Gzip(member, source) => member.read(source, into),
                State::Zstd(frame, source) => frame.read(source, into),
                State::Brotli(stream, source) => stream.read(source, into),
                State::Bzip2(stream, source) => stream.read(source, into),
                State::Lz4(frame) => frame.read(into),
                State::Snappy(stream) => stream.read(into),
            };
            match read {
                Ok(0) => self.open_next()?,
                Ok(n) => return Ok(n),
                Err(error) => {
                    let (failed, offset) = match &self.state {
                        State::Gzip(_, source)
                        | State::Zstd(_, source)
                        | State::Brotli(_, source)
                        | State::Bzip2(_, source)
                        | State::Plain(source)
                        | State::Between(source) => (source.failed(), source.consumed()),
                        State::Lz4(frame) => (frame.source().failed(), frame.source().consumed()),
                        State::Snappy(stream) => (stream.get_ref().failed(), stream.get_ref().consumed()),
                        State::Ended | State::Failed(_) => (true, 0),
                    };
                    return Err(self.fail(error, failed, offset));
                }
            }
        }
    }
}

impl<R: Read> Reader<R> {
    /// Returns the number of the member that the bytes of the last read belong to, from 1; 0 before the first.
    pub fn member(&self) -> u64 {
        self.member
    }

    /// Steps from the end of one member to the beginning of the next, or to the end of all.
    fn open_next(&mut self) -> io::Result<()> {
        let mut source = match std::mem::replace(&mut self.state, State::Failed(None)) {
            State::Gzip(_, source)
            | State::Zstd(_, source)
            | State::Brotli(_, source)
            | State::Bzip2(_, source)
            | State::Plain(source)
            | State::Between(source) => source,
            State::Lz4(frame) => frame.into_source(),
            State::Snappy(stream) => stream.into_inner(),
            state @ (State::Ended | State::Failed(_)) => {
                self.state = state;
                return Ok(());
            }
        };
        match self.begin(&mut source) {
            Ok(None) => self.state = State::Ended,
            Ok(Some(begun)) => {
                self.state = match begun {
                    Begun::Gzip(member) => State::Gzip(member, source),
                    Begun::Zstd(frame) => State::Zstd(frame, source),
                    Begun::Brotli(stream) => State::Brotli(stream, source),
                    Begun::Bzip2(stream) => State::Bzip2(stream, source),
                    Begun::Lz4 => State::Lz4(lz4::Frame::open(source)),
                    Begun::Snappy => State::Snappy(snap::read::FrameDecoder::new(source)),
                    Begun::Skipped => State::Between(source),
                }
            }
            Err(error) => return Err(self.fail(error, source.failed(), source.consumed())),
        }
        Ok(())
    }

    /// Opens the member that stands here; nothing at the end.
    fn begin(&mut self, source: &mut Source<R>) -> io::Result<Option<Begun>> {
        let head = source.peek(4)?;
        if head.is_empty() {
            // No codec writes nothing for nothing: an empty object has lost its end.
            return if self.member == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
        }
        if self.member > 0 {
            let (begins, prefix) = match self.codec {
                Codec::Gzip => (head.starts_with(&gzip::MAGIC), gzip::MAGIC.starts_with(head)),
                Codec::Zstd => (zstd::begins(head), zstd::MAGIC.starts_with(head)),
                Codec::Bzip2 => (head.starts_with(&bzip2::MAGIC), bzip2::MAGIC.starts_with(head)),
                Codec::Lz4 => (lz4::begins(head), lz4::MAGIC.starts_with(head)),
                Codec::None | Codec::Brotli | Codec::Snappy => (false, false),
            };
            if !begins {
                let fault = if prefix { CodecFault::Truncated } else { CodecFault::Trailing(self.codec) };
                return Err(self.error(fault, source.consumed()).into());
            }
        }
        self.member += 1;
        Ok(Some(match self.codec {
            Codec::Gzip => Begun::Gzip(gzip::Member::open(source)?),
            Codec::Zstd => Begun::Zstd(zstd::Frame::open()?),
            Codec::Brotli => Begun::Brotli(brotli::Stream::open()),
            Codec::Bzip2 => Begun::Bzip2(bzip2::Stream::open()),
            Codec::Lz4 if lz4::skip(source)? => Begun::Skipped,
            Codec::Lz4 => Begun::Lz4,
            Codec::Snappy => Begun::Snappy,
            Codec::None => return Ok(None),
        }))
    }

    fn error(&self, fault: CodecFault, offset: u64) -> CodecError {
        CodecError { codec: self.codec, member: self.member.max(1), offset, fault }
    }

    fn fail(&mut self, error: io::Error, of_reader: bool, offset: u64) -> io::Error {
        let known = match CodecError::of(&error) {
            Some(known) => Some(known.clone()),
            None if of_reader => None,
            None => {
                let fault = match error.kind() {
                    io::ErrorKind::UnexpectedEof => CodecFault::Truncated,
                    _ => CodecFault::Corrupt(error.to_string()),
                };
                Some(self.error(fault, offset))
            }
        };
        self.state = State::Failed(known.clone());
        known.map_or(error, io::Error::from)
    }
}

enum Begun {
    Gzip(gzip::Member),
    Zstd(zstd::Frame),
    Brotli(brotli::Stream),
    Bzip2(bzip2::Stream),
    Lz4,
    Snappy,
    Skipped,
}
