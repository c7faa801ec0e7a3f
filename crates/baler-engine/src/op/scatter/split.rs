//! Finds the chunks of an object: one pass over its decompressed bytes, or the metadata of Parquet. Nothing of it is held.
//!
//! Where the bytes end in damage the chunks before it are good; of a compressed member whose own checksum fails nothing is
//! taken, which only its end shows: then the pass is made once more, up to where that member begins.

use std::io::Read;
use std::sync::Arc;

use baler_format::Format;
use baler_format::chunks::{self, Chunk, Ending, Extent, Splitter};
use baler_format::codec::{self, Codec, CodecError, CodecFault};
use baler_format::decode::{DecodeError, DecodeOptions, Source};
use baler_model::InputVersion;
use baler_model::ledger::{ChunkExtent, ChunkTask, Failure};
use baler_store::StoreError;

use super::super::convert::kinds::InputKind;
use super::reading::{self, Input, LARGEST};
use crate::error::with_causes;
use crate::flow::Flow;

/// So many bytes are looked at at once.
const BLOCK: usize = 256 << 10;
/// What a pass found.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) kind: InputKind,
    pub(crate) chunks: Vec<ChunkTask>,
    /// Why the rest of the object cannot be read.
    pub(crate) damage: Option<String>,
    /// The record that heads CSV.
    pub(crate) header: Option<String>,
    /// The first decompressed bytes of text; of Parquet the columns that it states.
    pub(crate) sample: Vec<u8>,
    pub(crate) stated: Option<baler_format::schema::Schema>,
}

/// Why an object has no chunks.
#[derive(Debug)]
pub(crate) enum SplitError {
    /// It cannot be read now.
    Store(StoreError),
    /// It is no batch.
    Refused(Failure),
}

/// How objects are split.
#[derive(Debug, Clone)]
pub(crate) struct Splitting {
    pub(crate) chunk: u64,
    pub(crate) max_expansion: u64,
    /// So many decompressed bytes are kept to infer columns from.
    pub(crate) sample: usize,
}

/// Finds the chunks of an object. Cost: one GET of the whole, two where a checksum fails; of Parquet a few of its end.
pub(crate) async fn split(
    flow: &Flow,
    kind: InputKind,
    splitting: &Splitting,
    input: &InputVersion,
) -> Result<Split, SplitError> {
    let mut until = None;
    loop {
        let body = reading::open(flow, input, &kind).await.map_err(SplitError::Store)?;
        let (kind, splitting, input) = (kind.clone(), splitting.clone(), input.clone());
        let ended = tokio::task::spawn_blocking(move || pass(body, kind, &splitting, &input, until.as_ref())).await;
        match ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))? {
            Pass::Done(split) => return Ok(split),
            Pass::Until(offset) => until = Some(offset),
        }
    }
}

enum Pass {
    Done(Split),
    /// Nothing may be taken from here on.
    Until((u64, String)),
}

fn pass(
    body: Input,
    kind: InputKind,
    splitting: &Splitting,
    input: &InputVersion,
    until: Option<&(u64, String)>,
) -> Result<Pass, SplitError> {
    let refuse = |error: String, hint: Option<&str>| {
        SplitError::Refused(Failure { error: format!("`{}`: {error}", input.key), hint: hint.map(str::to_owned) })
    };
    let usage = |error: DecodeError| refuse(error.to_string(), None);
    if kind.format == Format::Parquet {
        return parquet(body, kind, splitting, input).map(Pass::Done);
    }
    let mut splitter = Splitter::new(&kind.format, &DecodeOptions::default(), splitting.chunk).map_err(usage)?;
    let most = input.size.saturating_mul(splitting.max_expansion).min(LARGEST);
    let (codec, body) = body.sniffed(kind.codec).map_err(|error| of_io(input, &error))?;
    let mut reader = codec::reader(codec, body);
    let (mut buffer, mut sample, mut damage) = (vec![0; BLOCK], Vec::new(), None);
    let (mut offset, mut member, mut member_begins) = (0u64, 1, 0);
    loop {
        if let Some((until, reason)) = until
            && offset == *until
        {
            let _same_damage = splitter.finish(Ending::CutOff);
            damage = Some(reason.clone());
            break;
        }
        let n = match reader.read(&mut buffer) {
            Ok(0) => {
                if let Err(error) = splitter.finish(Ending::Whole) {
                    damage = Some(with_causes(&error));
                }
                break;
            }
            Ok(n) => n,
            Err(error) => {
                let Some(fault) = CodecError::of(&error) else { return Err(of_io(input, &error)) };
                if let CodecFault::Corrupt(_) = fault.fault {
                    let begins = if fault.member == member { member_begins } else { offset };
                    return Ok(Pass::Until((begins, error.to_string())));
                }
                // What damage does to the last record is told by its chunk.
                let _same_damage = splitter.finish(Ending::CutOff);
                damage = Some(error.to_string());
                break;
            }
        };
        if reader.member() != member {
            (member, member_begins) = (reader.member(), offset);
        }
        let n = match until {
            Some((until, _)) => n.min(usize::try_from(until - offset).unwrap_or(n)),
            None => n,
        };
        offset += n as u64;
        if codec != Codec::None && offset > most {
            let error = format!("expands beyond {} times its size, or beyond 64 GiB", splitting.max_expansion);
            return Err(refuse(error, Some("if it is sound, raise `max_expansion` of the flow")));
        }
        let keep = n.min(splitting.sample.saturating_sub(sample.len()));
        sample.extend_from_slice(&buffer[..keep]);
        if let Err(error) = splitter.push(&buffer[..n]) {
            damage = Some(with_causes(&error));
            break;
        }
    }
    let chunks: Vec<ChunkTask> = splitter.take().iter().map(planned).collect();
    if let (Some(damage), true) = (&damage, chunks.is_empty()) {
        let hint = "correct the object, or name its records by `split.records`; nothing of it was taken";
        return Err(refuse(format!("no record can be read: {damage}"), Some(hint)));
    }
    let header = splitter.header().map(|header| String::from_utf8(header.to_vec()));
    let header = header.transpose().map_err(|_| refuse("its header is not UTF-8".to_owned(), None))?;
    Ok(Pass::Done(Split { kind, chunks, damage, header, sample, stated: None }))
}

fn parquet(body: Input, kind: InputKind, splitting: &Splitting, input: &InputVersion) -> Result<Split, SplitError> {
    let most = input.size.saturating_mul(splitting.max_expansion).min(LARGEST);
    let source = body.ranges(kind.codec, most).map_err(|error| of_io(input, &error))?;
    let unreadable = |error: DecodeError| match &error {
        DecodeError::Read(inner) => of_io(input, inner),
        _ => SplitError::Refused(Failure {
            error: format!("`{}`: {}", input.key, with_causes(&error)),
            hint: Some("correct the object; nothing of it was taken".to_owned()),
        }),
    };
    let chunks = chunks::row_groups(Source::Ranges(Arc::clone(&source)), splitting.chunk).map_err(unreadable)?;
    let stated = baler_format::decode::stated_schema(&kind.format, &DecodeOptions::default(), Source::Ranges(source));
    let stated = Some(stated.map_err(unreadable)?);
    let chunks = chunks.iter().map(planned).collect();
    Ok(Split { kind, chunks, damage: None, header: None, sample: Vec::new(), stated })
}

fn planned(chunk: &Chunk) -> ChunkTask {
    let extent = match chunk.extent {
        Extent::Bytes { start, end, line, ending } => {
            ChunkExtent::Bytes { start, end, line, cut_off: ending == Ending::CutOff }
        }
        Extent::Groups { start, end } => ChunkExtent::Groups { start: start as u64, end: end as u64 },
    };
    ChunkTask { first: chunk.first, records: chunk.records, extent }
}

/// An error of the store that a reader handed on, or what the reader itself says.
fn of_io(input: &InputVersion, error: &std::io::Error) -> SplitError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>()) {
        Some(error) => SplitError::Store(error.clone()),
        None => SplitError::Refused(Failure { error: format!("`{}` cannot be read: {error}", input.key), hint: None }),
    }
}
