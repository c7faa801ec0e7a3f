//! `check = "decode"`: reads every input through before it is taken, so that nothing undecodable is stitched in.
//!
//! Checked are: the codec's own frames and checksums to the end, that the bytes are of the codec that the suffix says,
//! UTF-8, and for JSON lines that every line is one JSON value. Memory is bounded by the longest line.

use std::io::{self, BufRead, BufReader, Read};

use baler_model::ledger::Task;
use baler_model::{InputVersion, Key};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::lz4::Lz4Frames;
use super::sniff::{self, Codec, Kindred};
use crate::error::TaskError;
use crate::flow::Flow;

/// An input may expand to this many times its size …
const MAX_RATIO: u64 = 1000;
/// … and to this many bytes; what is smaller than [`RATIO_FROM`] is no bomb at any ratio.
const MAX_BYTES: u64 = 64 << 30;
const RATIO_FROM: u64 = 64 << 20;
/// The longest line that is held in memory.
const MAX_LINE: u64 = 256 << 20;

/// Reads all inputs of a task through, a few at a time.
///
/// Errors: `Data` naming key, line and byte offset of the first fault. Cost: one GET per input.
pub(crate) async fn check_inputs(flow: &Flow, task: &Task) -> Result<(), TaskError> {
    let checks = task.inputs.iter().map(|input| check(flow, input));
    stream::iter(checks).buffer_unordered(4).try_collect().await
}

async fn check(flow: &Flow, input: &InputVersion) -> Result<(), TaskError> {
    let _permit = flow.env.limits.request().await;
    let mut get = flow.source.get(&input.key, None, Some(&input.version())).await?;
    let (send, receive) = mpsc::channel::<Bytes>(4);
    let (key, size) = (input.key.clone(), input.size);
    let reading =
        tokio::task::spawn_blocking(move || read_through(&key, size, Channel { receive, rest: Bytes::new() }));
    while let Some(chunk) = get.body.try_next().await? {
        // The reader hangs up when it found a fault; its answer says which.
        if send.send(chunk).await.is_err() {
            break;
        }
    }
    drop(send);
    let answer = reading.await.map_err(|panic| TaskError {
        kind: baler_model::Kind::Internal,
        failure: baler_model::ledger::Failure { error: format!("decoding panicked: {panic}"), hint: None },
    })?;
    answer.map_err(|fault| {
        let hint = "mend or move the object, or leave `check` out: `combine` joins bytes without decoding them";
        TaskError::data(format!("`{}` cannot be decoded: {fault}", input.key), Some(hint))
    })
}

/// Reads the chunks of a channel as one stream of bytes, on a blocking thread.
struct Channel {
    receive: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Channel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receive.blocking_recv() {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let n = self.rest.len().min(into.len());
        into[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}

/// Reads one object through. Errors: what is wrong and where, for people.
fn read_through(key: &Key, size: u64, reader: impl Read) -> Result<(), String> {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let head = reader.fill_buf().map_err(|e| e.to_string())?;
    let by_bytes = sniff::by_bytes(&head[..head.len().min(sniff::HEAD)]);
    let codec = match (by_bytes, sniff::by_suffix(key)) {
        (Kindred::Joins(bytes), Kindred::Joins(suffix)) if bytes == suffix => bytes,
        (Kindred::Joins(bytes), Kindred::Joins(Codec::Plain)) => bytes,
        (Kindred::Joins(bytes), Kindred::Joins(suffix)) => {
            return Err(format!("its suffix says {}, its first bytes say {}", suffix.name(), bytes.name()));
        }
        (Kindred::DoesNotConcatenate(format), _) | (_, Kindred::DoesNotConcatenate(format)) => {
            return Err(format!("it is {format}"));
        }
    };
    match codec {
        Codec::Plain => check_text(key, reader, u64::MAX),
        Codec::Gzip => check_text(key, flate2::bufread::MultiGzDecoder::new(reader), size),
        Codec::Bzip2 => check_text(key, bzip2::bufread::MultiBzDecoder::new(reader), size),
        Codec::Zstd => check_text(key, zstd::Decoder::with_buffer(reader).map_err(|e| e.to_string())?, size),
        Codec::Lz4 => check_text(key, Lz4Frames::new(reader), size),
        Codec::Snappy => check_text(key, snap::read::FrameDecoder::new(reader), size),
    }
}

/// Reads decoded bytes line by line.
fn check_text(key: &Key, reader: impl Read, compressed: u64) -> Result<(), String> {
    let most = compressed.saturating_mul(MAX_RATIO).clamp(RATIO_FROM, MAX_BYTES);
    let most = if compressed == u64::MAX { u64::MAX } else { most };
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let json_lines = is_json_lines(key);
    let (mut line, mut number, mut at) = (Vec::new(), 0u64, 0u64);
    loop {
        line.clear();
        let place = |what: String| format!("line {}, byte {at}: {what}", number + 1);
        let n = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| place(e.to_string()))?;
        if n == 0 {
            return Ok(());
        }
        if n as u64 == MAX_LINE {
            return Err(place(format!("the line has more than {MAX_LINE} bytes")));
        }
        if at + n as u64 > most {
            return Err(place(format!("it expands beyond {MAX_RATIO}:1 or {} GiB", MAX_BYTES >> 30)));
        }
        if let Err(fault) = std::str::from_utf8(&line) {
            return Err(place(format!("not UTF-8 at byte {} of the line", fault.valid_up_to())));
        }
        if json_lines && !line.trim_ascii().is_empty() {
            serde_json::from_slice::<serde::de::IgnoredAny>(&line).map_err(|e| {
                // It counts lines within what it was given, which is one line; ours is said before.
                let words = e.to_string();
                let words = words.split_once(" at line ").map_or(words.as_str(), |(words, _)| words);
                place(format!("not JSON: {words}"))
            })?;
        }
        number += 1;
        at += n as u64;
    }
}

/// Whether a key's suffix, behind that of a codec, says JSON lines.
fn is_json_lines(key: &Key) -> bool {
    let name = key.file_name().to_ascii_lowercase();
    let bare = [".gz", ".bz2", ".zst", ".lz4", ".sz"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(&name);
    bare.ends_with(".jsonl") || bare.ends_with(".ndjson")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    fn lz4(text: &[u8]) -> Vec<u8> {
        let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    fn check(key: &str, bytes: &[u8]) -> Result<(), String> {
        read_through(&Key::from_listed(key), bytes.len() as u64, bytes)
    }

    #[test]
    fn every_member_of_a_gzip_object_is_read() {
        let mut two = gzip(b"{\"a\":1}\n");
        two.extend(gzip(b"{\"a\":2"));
        let fault = check("x.jsonl.gz", &two).unwrap_err();
        assert!(fault.starts_with("line 2, byte 8: not JSON"), "{fault}");
    }

    #[test]
    fn a_truncated_member_is_a_fault() {
        let whole = gzip("{\"a\":1}\n".repeat(1000).as_bytes());
        assert_eq!(check("x.jsonl.gz", &whole), Ok(()));
        assert!(check("x.jsonl.gz", &whole[..whole.len() - 9]).is_err());
    }

    #[test]
    fn bytes_of_another_codec_than_the_suffix_are_a_fault() {
        assert_eq!(check("x.jsonl.gz", b"{\"a\":1}\n").unwrap_err(), "its suffix says gzip, its first bytes say none");
    }

    #[test]
    fn text_that_is_not_utf8_is_named_with_its_place() {
        assert_eq!(check("x.csv", b"a\nb\xff\n").unwrap_err(), "line 2, byte 2: not UTF-8 at byte 1 of the line");
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_anything() {
        let bomb = zstd::encode_all(std::io::repeat(b'\n').take(80 << 20), 1).unwrap();
        let fault = check("x.csv.zst", &bomb).unwrap_err();
        assert!(fault.contains("expands beyond 1000:1"), "{fault}");
    }

    #[test]
    fn all_codecs_are_read_to_the_end_of_their_last_frame() {
        let text = b"{\"a\":1}\n";
        let bz = |text: &[u8]| {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(text).unwrap();
            out.finish().unwrap()
        };
        let sz = |text: &[u8]| {
            let mut out = snap::write::FrameEncoder::new(Vec::new());
            out.write_all(text).unwrap();
            out.into_inner().unwrap()
        };
        let frames = [
            ("gz", gzip(text), gzip(b"{")),
            ("bz2", bz(text), bz(b"{")),
            ("zst", zstd::encode_all(&text[..], 1).unwrap(), zstd::encode_all(&b"{"[..], 1).unwrap()),
            ("lz4", lz4(text), lz4(b"{")),
            ("sz", sz(text), sz(b"{")),
        ];
        for (suffix, frame, bad) in frames {
            let key = format!("x.jsonl.{suffix}");
            let twice = [frame.clone(), frame.clone()].concat();
            assert_eq!(check(&key, &twice), Ok(()), "{suffix}");
            assert!(check(&key, &twice[..twice.len() - 3]).is_err(), "{suffix} truncated");
            assert!(check(&key, &[frame, bad].concat()).is_err(), "{suffix} with a bad second frame");
        }
    }
}
