//! Joins objects by a multipart upload: copied server-side where the stitch planner says so, read and uploaded else.
//!
//! Separators and header lengths are data: the plan of parts is made here, not when the run was planned. An input whose
//! end will be *read* shows its last byte then, and a newline behind it only makes that part larger. An input whose end
//! will be *copied* is asked for its last byte first (one ranged GET), and its separator becomes a piece of its own, which
//! may change the stitch; this is repeated until the stitch asks for nothing unknown.

use std::sync::atomic::{AtomicU64, Ordering};

use baler_model::ledger::SeparatorRule;
use baler_model::{InputVersion, Key, Staged};
use baler_store::{
    ByteRange, Confirmation, CopySource, Crc64, OutputAttributes, Precondition, StagedWriter, StoreError,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::super::sniff::{self, GroupCodec};
use super::super::stitch::{self, Part, Passes, Piece, Segment, Stitch};
use super::appended::MIXED_HINT;
use super::{Job, Joined};
use crate::error::TaskError;
use crate::ledger::intermediate_key;

/// First read when looking for the end of a header line.
const HEADER_READ: u64 = 16 << 10;
/// How far into an input its first line may reach.
const LONGEST_HEADER: u64 = 1 << 20;

/// What one piece of the stitch is.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// An input behind its skipped header.
    Input { input: usize, skip: u64 },
    /// A newline.
    Separator,
}

/// A part that an in-order writer takes next.
enum Ready {
    /// Bytes, and the memory that they are granted.
    Bytes(Vec<Bytes>, OwnedSemaphorePermit),
    /// A range that the store copies.
    Copy(Segment),
}

/// What is known of an input so far.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Its last byte.
    last: Option<u8>,
    /// Bytes of its header that are left out.
    skip: u64,
    /// The header was compared with the first input's.
    header_checked: bool,
    /// CRCs of the ranges that were read.
    read: Vec<(ByteRange, u64)>,
}

/// The state of one join.
struct Join<'a> {
    job: Job<'a>,
    /// Header line of the first input, with its line end, when headers are left out.
    header: Option<Vec<u8>>,
    known: Mutex<Vec<Known>>,
    codec: Mutex<GroupCodec>,
    /// Bytes of inputs that went into parts, and inputs whose end did: what the account says went in.
    taken: AtomicU64,
    ended: AtomicU64,
    inserted: AtomicU64,
    through: AtomicU64,
}

pub(super) async fn join(job: Job<'_>) -> Result<Joined, TaskError> {
    let mut join = Join {
        job,
        header: None,
        known: Mutex::new(vec![Known::default(); job.task.inputs.len()]),
        codec: Mutex::new(GroupCodec::default()),
        taken: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        inserted: AtomicU64::new(0),
        through: AtomicU64::new(0),
    };
    if job.options.header_first {
        join.learn_header().await?;
    }
    let (slots, passes) = join.settle_stitch().await?;
    let (staged, copied) = match passes {
        Passes::One(stitch) => join.stage(&slots, &stitch).await?,
        Passes::Two { intermediates, join: _ } => join.stage_in_two(&slots, &intermediates).await?,
    };
    let removed = join.known.lock().iter().map(|k| k.skip).sum();
    let bare = join.known.lock().iter().zip(join.inputs()).filter(|(k, input)| k.skip == input.size).count() as u64;
    Ok(Joined {
        staged,
        // An input of the header alone has no byte in any part.
        objects: join.ended.into_inner() + bare,
        bytes: join.taken.into_inner() + removed,
        inserted: join.inserted.into_inner(),
        removed,
        copied,
        through: join.through.into_inner(),
    })
}

impl Join<'_> {
    fn inputs(&self) -> &[InputVersion] {
        &self.job.task.inputs
    }

    /// Whether the target can copy from the source by itself.
    fn copies(&self) -> bool {
        let (source, target) = (self.job.flow.source.info(), self.job.flow.target.info());
        source.copy_domain.is_some() && source.copy_domain == target.copy_domain
    }

    /// Reads the first line of the first input; every other input is expected to begin with the same.
    async fn learn_header(&mut self) -> Result<(), TaskError> {
        let first = &self.inputs()[0];
        let mut reach = HEADER_READ;
        let header = loop {
            let head = self.read(first, ByteRange::new(0, reach.min(first.size))).await?;
            if head.contains(&b'\n') || reach >= first.size || reach >= LONGEST_HEADER {
                break header_of(&first.key, &head, first.size)?;
            }
            reach *= 8;
        };
        {
            let mut known = self.known.lock();
            known[0].header_checked = true;
            for (known, input) in known.iter_mut().zip(self.inputs()).skip(1) {
                // An input of the header alone may lack the line end.
                known.skip = (header.len() as u64).min(input.size);
            }
        }
        let length = header.len() as u64;
        self.header = Some(header);
        // Of an input that is no longer than the header no part would read a byte: it is looked at here, or never.
        let this: &Self = self;
        let short = this.inputs().iter().enumerate().skip(1).filter(|(_, input)| input.size <= length);
        let checks = short.map(|(index, input)| async move {
            let head = this.read(input, ByteRange::new(0, input.size)).await?;
            this.check_header(index, &head)
        });
        stream::iter(checks).buffer_unordered(this.job.flow.env.limits.concurrency).try_collect().await
    }

    /// Plans the parts until the plan needs nothing that is unknown.
    async fn settle_stitch(&self) -> Result<(Vec<Slot>, Passes), TaskError> {
        let limits = self.stitch_limits();
        loop {
            let (slots, pieces) = self.pieces();
            let passes = stitch::plan_passes(&pieces, &limits).map_err(cannot_stitch)?;
            let unknown = self.unknown(&slots, &pieces, &passes);
            if unknown.is_empty() {
                return Ok((slots, passes));
            }
            let fan_out = self.job.flow.env.limits.concurrency;
            stream::iter(unknown.into_iter().map(|input| self.probe(input)))
                .buffer_unordered(fan_out)
                .try_collect::<()>()
                .await?;
        }
    }

    fn stitch_limits(&self) -> stitch::Limits {
        let parts = &self.job.flow.target.info().parts;
        // Each input that turns out to lack its line end makes an uploaded part one byte larger than planned.
        let room = parts.max.saturating_sub(self.inputs().len() as u64);
        stitch::Limits::new(parts, self.job.flow.env.limits.read_part().min(room))
    }

    /// The pieces as far as they are known: inputs behind their headers, and separators known to be needed.
    fn pieces(&self) -> (Vec<Slot>, Vec<Piece>) {
        let known = self.known.lock();
        let copies = self.copies();
        let last = self.inputs().len() - 1;
        let (mut slots, mut pieces) = (Vec::new(), Vec::new());
        for (i, (input, known)) in self.inputs().iter().zip(known.iter()).enumerate() {
            let len = input.size - known.skip;
            slots.push(Slot::Input { input: i, skip: known.skip });
            pieces.push(if copies { Piece::copyable(len) } else { Piece::local(len) });
            if i < last && self.wants_separator(len, known.last) == Some(true) {
                slots.push(Slot::Separator);
                pieces.push(Piece::local(1));
            }
        }
        (slots, pieces)
    }

    /// Whether a newline goes behind an input of `len` bytes; `None` while its last byte is unknown.
    fn wants_separator(&self, len: u64, last: Option<u8>) -> Option<bool> {
        match self.job.options.separator {
            SeparatorRule::None => Some(false),
            SeparatorRule::Newline if len == 0 => Some(false),
            SeparatorRule::Newline => last.map(|byte| byte != b'\n'),
        }
    }

    /// Inputs that must be asked before these parts can be made: ends and heads that would be copied unseen.
    fn unknown(&self, slots: &[Slot], pieces: &[Piece], passes: &Passes) -> Vec<usize> {
        let known = self.known.lock();
        let last_input = self.inputs().len() - 1;
        let stitches: Vec<&Stitch> = match passes {
            Passes::One(stitch) => vec![stitch],
            Passes::Two { intermediates, .. } => intermediates.iter().collect(),
        };
        let mut unknown = Vec::new();
        for part in stitches.iter().flat_map(|s| &s.parts) {
            let Part::Copy(Segment { piece, range }) = part else { continue };
            let Slot::Input { input, skip } = slots[*piece] else { continue };
            let tail = range.end == pieces[*piece].len
                && input != last_input
                && self.wants_separator(pieces[*piece].len, known[input].last).is_none();
            let head = range.start == 0 && skip > 0 && !known[input].header_checked;
            if tail || head {
                unknown.push(input);
            }
        }
        unknown.dedup();
        unknown
    }

    /// Asks an input for its last byte and, where its header is left out, for its header.
    async fn probe(&self, index: usize) -> Result<(), TaskError> {
        let input = &self.inputs()[index];
        let last = self.read(input, ByteRange::new(input.size - 1, input.size)).await?;
        let (skip, checked) = {
            let known = self.known.lock();
            (known[index].skip, known[index].header_checked)
        };
        if skip > 0 && !checked {
            let head = self.read(input, ByteRange::new(0, skip)).await?;
            self.check_header(index, &head)?;
        }
        self.known.lock()[index].last = last.last().copied();
        Ok(())
    }

    /// Holds the first bytes of an input against the header that is left out.
    fn check_header(&self, index: usize, head: &[u8]) -> Result<(), TaskError> {
        let input = &self.inputs()[index];
        let header = self.header.as_deref().unwrap_or_default();
        let length = header_length(&input.key, header, head, input.size)?;
        let mut known = self.known.lock();
        if length != known[index].skip {
            return Err(header_differs(&input.key, header, head));
        }
        known[index].header_checked = true;
        Ok(())
    }

    /// Stages the output from one stitch.
    async fn stage(&self, slots: &[Slot], stitch: &Stitch) -> Result<(Staged, u64), TaskError> {
        let attributes = OutputAttributes { content_type: self.job.options.content_type.clone() };
        let writer = self.job.flow.target.stage(&self.job.task.key, self.job.stamp, &attributes).await?;
        let written = async {
            let copied = self.write_parts(&*writer, slots, stitch).await?;
            Ok::<_, TaskError>((copied, self.whole_crc().await?))
        };
        match written.await {
            Ok((copied, crc)) => Ok((writer.finish(crc).await?, copied)),
            Err(error) => {
                give_up(writer).await;
                Err(error)
            }
        }
    }

    /// Stages the output through private intermediates: more parts than one upload takes.
    async fn stage_in_two(&self, slots: &[Slot], intermediates: &[Stitch]) -> Result<(Staged, u64), TaskError> {
        let target = &self.job.flow.target;
        let stamp = self.job.stamp;
        let base = intermediate_key(&stamp.flow, &stamp.run, stamp.task, &stamp.attempt);
        let (mut made, mut copied) = (Vec::new(), 0);
        for (i, stitch) in intermediates.iter().enumerate() {
            let key = Key::from_listed(format!("{base}{i}"));
            let writer = target.stage(&key, stamp, &OutputAttributes::default()).await?;
            copied += match self.write_parts(&*writer, slots, stitch).await {
                Ok(copied) => copied,
                Err(error) => {
                    give_up(writer).await;
                    return Err(error);
                }
            };
            let staged = writer.finish(None).await?;
            target.publish(&staged, &Precondition::Absent).await?;
            let version = match target.confirm(&staged).await? {
                Confirmation::Ours { version, .. } => version,
                Confirmation::Corrupt { .. } | Confirmation::Foreign { .. } | Confirmation::Absent => {
                    return Err(TaskError::data(format!("intermediate `{key}` is not what was written"), None));
                }
            };
            made.push(CopySource { store: target.clone(), key, version, size: staged.size });
        }
        // Planned from what the intermediates hold: an input that lacked its line end made one larger than it was to be.
        let pieces: Vec<Piece> = made.iter().map(|source| Piece::copyable(source.size)).collect();
        let last = stitch::plan(&pieces, &self.stitch_limits()).map_err(cannot_stitch)?;
        let attributes = OutputAttributes { content_type: self.job.options.content_type.clone() };
        let writer = target.stage(&self.job.task.key, stamp, &attributes).await?;
        for (number, part) in (1u32..).zip(&last.parts) {
            let Part::Copy(segment) = part else { unreachable!("the second pass copies only") };
            let _permit = self.job.flow.env.limits.request().await;
            writer.copy_part(number, &made[segment.piece], segment.range).await?;
            copied += segment.range.len();
        }
        let staged = writer.finish(self.whole_crc().await?).await?;
        for source in &made {
            target.delete(&source.key).await?;
        }
        Ok((staged, copied))
    }

    /// Writes all parts of a stitch; returns the bytes that the store copied by itself.
    async fn write_parts(&self, writer: &dyn StagedWriter, slots: &[Slot], stitch: &Stitch) -> Result<u64, TaskError> {
        let limits = &self.job.flow.env.limits;
        if stitch.parts.is_empty() {
            writer.write_part(1, Vec::new()).await?;
            return Ok(0);
        }
        let numbered = (1u32..).zip(&stitch.parts);
        if writer.in_order() {
            let bodies = numbered.map(|(number, part)| async move {
                match part {
                    Part::Copy(segment) => Ok((number, Ready::Copy(*segment))),
                    Part::Upload { .. } => {
                        let memory = limits.memory(part.len()).await;
                        Ok::<_, TaskError>((number, Ready::Bytes(self.gather(slots, part).await?, memory)))
                    }
                }
            });
            let mut bodies = stream::iter(bodies).buffered(4);
            let mut copied = 0;
            while let Some((number, ready)) = bodies.try_next().await? {
                match ready {
                    Ready::Bytes(body, _memory) => writer.write_part(number, body).await?,
                    Ready::Copy(segment) => copied += self.copy_segment(writer, number, slots, segment).await?,
                }
            }
            return Ok(copied);
        }
        let copied = AtomicU64::new(0);
        let writes = numbered.map(|(number, part)| {
            let copied = &copied;
            async move {
                match part {
                    Part::Copy(segment) => {
                        let bytes = self.copy_segment(writer, number, slots, *segment).await?;
                        copied.fetch_add(bytes, Ordering::Relaxed);
                    }
                    Part::Upload { .. } => {
                        let _memory = limits.memory(part.len()).await;
                        let body = self.gather(slots, part).await?;
                        let _permit = limits.request().await;
                        writer.write_part(number, body).await?;
                    }
                }
                Ok::<_, TaskError>(())
            }
        });
        stream::iter(writes).buffer_unordered(limits.concurrency).try_collect::<()>().await?;
        Ok(copied.into_inner())
    }

    /// Has the store copy a part; returns its bytes.
    async fn copy_segment(
        &self,
        writer: &dyn StagedWriter,
        number: u32,
        slots: &[Slot],
        segment: Segment,
    ) -> Result<u64, TaskError> {
        let Slot::Input { input, skip } = slots[segment.piece] else {
            unreachable!("separators are local pieces, and those are never copied")
        };
        let (source, range) = (self.copy_source(input), shift(segment.range, skip));
        let _permit = self.job.flow.env.limits.request().await;
        writer.copy_part(number, &source, range).await?;
        self.took(range.len(), range.end == source.size);
        Ok(range.len())
    }

    /// Counts what went into a part.
    fn took(&self, bytes: u64, ends: bool) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.ended.fetch_add(u64::from(ends), Ordering::Relaxed);
        self.job.flow.env.progress.advance(u64::from(ends), bytes);
    }

    fn copy_source(&self, input: usize) -> CopySource {
        let input = &self.inputs()[input];
        CopySource {
            store: self.job.flow.source.clone(),
            key: input.key.clone(),
            version: input.version(),
            size: input.size,
        }
    }

    /// Reads what an uploaded part is made of, in order, with newlines where they turn out to be wanted.
    async fn gather(&self, slots: &[Slot], part: &Part) -> Result<Vec<Bytes>, TaskError> {
        let Part::Upload { segments } = part else { unreachable!("only uploaded parts are gathered") };
        let fan_out = self.job.flow.env.limits.concurrency;
        let reads = segments.iter().map(|segment| async move {
            match slots[segment.piece] {
                Slot::Separator => {
                    self.inserted.fetch_add(1, Ordering::Relaxed);
                    Ok(vec![Bytes::from_static(b"\n")])
                }
                Slot::Input { input, skip } => self.read_segment(input, skip, segment.range).await,
            }
        });
        let chunks: Vec<Vec<Bytes>> = stream::iter(reads).buffered(fan_out).try_collect().await?;
        Ok(chunks.into_iter().flatten().collect())
    }

    /// Reads a range of an input (counted from behind its header), checks what is seen for the first time, and adds the
    /// newline that its end turns out to want.
    async fn read_segment(&self, index: usize, skip: u64, range: ByteRange) -> Result<Vec<Bytes>, TaskError> {
        let input = &self.inputs()[index];
        let checks_header = range.start == 0 && skip > 0 && !self.known.lock()[index].header_checked;
        let absolute = shift(range, skip);
        let wanted = if checks_header { ByteRange::new(0, absolute.end) } else { absolute };
        let mut bytes = {
            let _permit = self.job.flow.env.limits.request().await;
            self.read(input, wanted).await?
        };
        if wanted.start == 0 {
            let kindred = sniff::by_bytes(&bytes[..bytes.len().min(sniff::HEAD)]);
            let admitted = self.codec.lock().admit(&input.key, kindred);
            admitted.map_err(|fault| TaskError::data(fault, Some(MIXED_HINT)))?;
        }
        if checks_header {
            let head = bytes.split_to(usize::try_from(skip).expect("a header is at most 1 MiB"));
            self.check_header(index, &head)?;
        }
        let ends = absolute.end == input.size;
        let behind = {
            let mut known = self.known.lock();
            let known = &mut known[index];
            known.read.push((absolute, Crc64::of(&bytes)));
            // A last byte that was known before has its separator, if any, as a piece of its own.
            let seen_now = ends && known.last.is_none();
            seen_now && index + 1 < self.inputs().len() && {
                let last = bytes.last().copied();
                known.last = last;
                self.wants_separator(input.size - skip, last) == Some(true)
            }
        };
        self.took(bytes.len() as u64, ends);
        let mut out = vec![bytes];
        if behind {
            self.inserted.fetch_add(1, Ordering::Relaxed);
            out.push(Bytes::from_static(b"\n"));
        }
        Ok(out)
    }

    /// Reads a range of an input whole, pinned to its version.
    async fn read(&self, input: &InputVersion, range: ByteRange) -> Result<Bytes, TaskError> {
        let whole = range.start == 0 && range.end == input.size;
        let version = input.version();
        let source = &self.job.flow.source;
        let mut get = source.get(&input.key, (!whole).then_some(range), Some(&version)).await?;
        // Copied, small as they are: a chunk that is kept would keep the connection's whole buffer, many times its size.
        let mut bytes = Vec::with_capacity(usize::try_from(range.len()).unwrap_or(0));
        let mut length = 0;
        while let Some(chunk) = get.body.try_next().await? {
            length += chunk.len() as u64;
            bytes.extend_from_slice(&chunk);
        }
        if length != range.len() {
            return Err(StoreError::Changed {
                store: source.info().name.clone(),
                key: input.key.clone(),
                planned: format!("{} ({} bytes)", input.etag, input.size),
                found: format!("{length} bytes where {} were planned", range.len()),
            }
            .into());
        }
        self.through.fetch_add(length, Ordering::Relaxed);
        Ok(bytes.into())
    }

    /// The CRC that the output should have: combined from what was read and what the store says of copied sources.
    ///
    /// `None` where the store keeps no full-object CRC-64/NVME. Cost: one HEAD per copied source.
    async fn whole_crc(&self) -> Result<Option<u64>, TaskError> {
        let known = self.known.lock().clone();
        let last = self.inputs().len() - 1;
        let fan_out = self.job.flow.env.limits.concurrency;
        let mut crcs: Vec<Option<u64>> = Vec::with_capacity(known.len());
        let mut ask = Vec::new();
        for (i, (input, mut known)) in self.inputs().iter().zip(known.iter().cloned()).enumerate() {
            known.read.sort_by_key(|(range, _)| range.start);
            let mut at = known.skip;
            let mut crc = Crc64::of(b"");
            for (range, part) in &known.read {
                if range.start == at {
                    crc = Crc64::combine(crc, *part, range.len());
                    at = range.end;
                }
            }
            crcs.push((at == input.size).then_some(crc));
            if at != input.size {
                ask.push(i);
            }
        }
        let heads = ask.into_iter().map(|i| async move { Ok::<_, TaskError>((i, self.source_crc(i).await?)) });
        let answers: Vec<(usize, Option<u64>)> = stream::iter(heads).buffer_unordered(fan_out).try_collect().await?;
        for (i, answer) in answers {
            let skip = known[i].skip;
            let len = self.inputs()[i].size - skip;
            crcs[i] = match (&self.header, answer) {
                (Some(header), Some(whole)) if skip > 0 => {
                    let head = Crc64::of(&header[..usize::try_from(skip).unwrap_or(0)]);
                    Some(Crc64::strip_prefix(whole, head, len))
                }
                (_, answer) => answer,
            };
        }
        let mut crc = Crc64::of(b"");
        for (i, ((input, known), part)) in self.inputs().iter().zip(&known).zip(crcs).enumerate() {
            let Some(part) = part else { return Ok(None) };
            let len = input.size - known.skip;
            crc = Crc64::combine(crc, part, len);
            if i < last && self.wants_separator(len, known.last) == Some(true) {
                crc = Crc64::combine(crc, Crc64::of(b"\n"), 1);
            }
        }
        Ok(Some(crc))
    }

    /// Asks a copied source for its CRC, and whether it still is the planned version.
    ///
    /// The copies were pinned by the store; some servers ignore that condition for ranges, so a source that changed since
    /// the plan fails the task even where the copy may have been in time.
    async fn source_crc(&self, index: usize) -> Result<Option<u64>, TaskError> {
        let input = &self.inputs()[index];
        let source = &self.job.flow.source;
        let _permit = self.job.flow.env.limits.request().await;
        match source.head(&input.key).await? {
            Some(head) if head.version == input.version() => Ok(head.crc64nvme),
            found => Err(StoreError::Changed {
                store: source.info().name.clone(),
                key: input.key.clone(),
                planned: input.etag.to_string(),
                found: found.map_or_else(|| "nothing".into(), |head| head.version.to_string()),
            }
            .into()),
        }
    }
}

fn cannot_stitch(error: stitch::StitchError) -> TaskError {
    TaskError {
        kind: error.kind(),
        failure: baler_model::ledger::Failure { error: error.to_string(), hint: error.hint() },
    }
}

async fn give_up(writer: Box<dyn StagedWriter>) {
    if let Err(error) = writer.abort().await {
        tracing::debug!(%error, "a failed attempt's upload is left for gc");
    }
}

fn shift(range: ByteRange, by: u64) -> ByteRange {
    ByteRange::new(range.start + by, range.end + by)
}

/// The header line of the first input, with its line end; the whole input when it has no line end.
pub(super) fn header_of(key: &Key, head: &[u8], size: u64) -> Result<Vec<u8>, TaskError> {
    match head.iter().position(|&b| b == b'\n') {
        Some(end) => Ok(head[..=end].to_vec()),
        None if head.len() as u64 == size => Ok([head, b"\n"].concat()),
        None => Err(TaskError::data(
            format!("`{key}` has no line end in its first {} bytes, so it has no header line", head.len()),
            Some("leave `header` out where the objects have no header line"),
        )),
    }
}

/// How many bytes of an input are its header, which must be the first input's.
pub(super) fn header_length(key: &Key, header: &[u8], head: &[u8], size: u64) -> Result<u64, TaskError> {
    if head.starts_with(header) {
        return Ok(header.len() as u64);
    }
    // An input of the header alone may lack the line end.
    let bare = header.strip_suffix(b"\n").unwrap_or(header);
    let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
    let alone = head.len() as u64 == size && (head == bare || head == [bare, b"\r"].concat());
    match alone {
        true => Ok(size),
        false => Err(header_differs(key, header, head)),
    }
}

fn header_differs(key: &Key, header: &[u8], head: &[u8]) -> TaskError {
    let line = |bytes: &[u8]| {
        let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(&line[..line.len().min(200)]).trim_end().to_owned()
    };
    TaskError::data(
        format!("`{key}` begins with `{}`, the first input of its group with `{}`", line(head), line(header)),
        Some("inputs whose headers differ cannot be joined under one header; narrow `from`, or convert them"),
    )
}
