//! Arrow IPC into batches: the stream, and the file, which is a stream with a footer behind it.
//!
//! Messages are cut and bounded here before the library sees them: damaged sizes would have it allocate anything. A panic
//! within it on damaged bytes becomes an error.
//!
//! Source: Arrow columnar format, "Serialization and Interprocess Communication".

use std::collections::VecDeque;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{Message, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::SchemaRef;

use super::fit::Fit;
use super::{DecodeError, DecodeOptions, Decoded, Source, Unknown};
use crate::schema::Schema;

const FILE_MAGIC: &[u8] = b"ARROW1";
const CONTINUATION: [u8; 4] = [0xff; 4];
const MAX_PADDING: u64 = 256;
/// The description of a message is never this long in earnest.
const MAX_METADATA: u32 = 64 << 20;

/// Decodes Arrow IPC.
pub(super) struct IpcDecoder {
    messages: Messages,
    fit: Fit,
    /// What is left of the last message.
    rest: VecDeque<RecordBatch>,
    batch_rows: usize,
}

impl IpcDecoder {
    pub(super) fn open(
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
        unknown: &mut Unknown,
    ) -> Result<Self, DecodeError> {
        let (messages, found) = Messages::open(source, options)?;
        let fit = Fit::new(schema, &found, unknown)?;
        Ok(Self { messages, fit, rest: VecDeque::new(), batch_rows: options.batch_rows })
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<Decoded>, DecodeError> {
        loop {
            if let Some(batch) = self.rest.pop_front() {
                return self.fit.apply(&batch).map(Some);
            }
            let Some(batch) = self.messages.next_batch()? else { return Ok(None) };
            let rows = batch.num_rows();
            let starts = (0..rows).step_by(self.batch_rows);
            self.rest.extend(starts.map(|start| batch.slice(start, self.batch_rows.min(rows - start))));
        }
    }
}

/// Reads the object's own schema.
pub(super) fn stated_schema(options: &DecodeOptions, source: Source) -> Result<Schema, DecodeError> {
    let (_, found) = Messages::open(source, options)?;
    Ok(Schema::of_arrow(&found)?)
}

/// Cuts messages and has them decoded.
struct Messages {
    reader: Box<dyn Read + Send>,
    decoder: StreamDecoder,
    limit: u64,
    /// What is compressed within a message grows to no more than this.
    expanded: u64,
    is_file: bool,
    ended: bool,
    batches: usize,
    /// Whether the library was shown the beginning of the next message.
    has_begun: bool,
    /// Bytes read so far.
    offset: u64,
}

impl Messages {
    fn open(source: Source, options: &DecodeOptions) -> Result<(Self, SchemaRef), DecodeError> {
        let mut messages = Self {
            reader: source.into_reader(),
            decoder: StreamDecoder::new(),
            limit: options.message_bytes,
            expanded: options.expanded_bytes.min(options.message_bytes),
            is_file: false,
            ended: false,
            batches: 0,
            has_begun: false,
            offset: 0,
        };
        let head = messages.read(8)?;
        let mut head = head.as_slice();
        if head.starts_with(FILE_MAGIC) {
            messages.is_file = true;
            head = &[];
        }
        let mut head = head.to_vec();
        // Behind a file's first bytes some writers leave zeros up to their own alignment.
        while messages.is_file && head.is_empty() && messages.offset <= MAX_PADDING {
            head = messages.read(8)?;
            if head == [0; 8] {
                head.clear();
            }
        }
        let batch = messages.message(head)?;
        match (messages.decoder.schema(), batch) {
            (Some(schema), Step::Other) => Ok((messages, schema)),
            _ => Err(messages.damaged("it does not begin with a schema")),
        }
    }

    fn damaged(&self, what: &str) -> DecodeError {
        DecodeError::Format { format: "arrow", what: format!("{what} (byte {})", self.offset) }
    }

    /// Reads so many bytes. Errors: fewer are left.
    fn read(&mut self, length: u64) -> Result<Vec<u8>, DecodeError> {
        let bytes = self.read_up_to(length)?;
        if bytes.len() as u64 != length {
            return Err(self.damaged("the bytes are cut off"));
        }
        Ok(bytes)
    }

    fn read_up_to(&mut self, length: u64) -> Result<Vec<u8>, DecodeError> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(length).read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        read.map_err(DecodeError::of_io)?;
        Ok(bytes)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, DecodeError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            match self.message(Vec::new())? {
                Step::Batch(batch) => {
                    self.batches += 1;
                    return Ok(Some(batch));
                }
                Step::Other => {}
                Step::End => {
                    self.ended = true;
                    self.check_end()?;
                }
            }
        }
    }

    /// Reads one message, of which some bytes may have been read before.
    fn message(&mut self, mut bytes: Vec<u8>) -> Result<Step, DecodeError> {
        if bytes.is_empty() {
            bytes = self.read_up_to(8)?;
            if bytes.is_empty() {
                return Err(self.damaged("the mark of the stream's end is missing: the bytes are cut off"));
            }
        }
        // Before version 0.15 there was no continuation mark, and the end was four zeros.
        let size = match bytes.as_slice() {
            [0xff, 0xff, 0xff, 0xff, size @ ..] if size.len() == 4 => size,
            [0, 0, 0, 0] => return Ok(Step::End),
            _ if bytes.len() < 8 => return Err(self.damaged("the bytes are cut off")),
            _ => &bytes[..4],
        };
        let size = size.first_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size));
        if size == 0 {
            return Ok(Step::End);
        }
        if size > MAX_METADATA {
            return Err(self.damaged("a message's description is too long"));
        }
        let begun = if bytes.starts_with(&CONTINUATION) { 8 } else { 4 };
        let Some(rest) = u64::from(size).checked_sub((bytes.len() - begun) as u64) else {
            return Err(self.damaged("a message's description is too short"));
        };
        let more = self.read(rest)?;
        bytes.extend_from_slice(&more);
        let body = match root_as_message(&bytes[begun..]) {
            Ok(message) => u64::try_from(message.bodyLength()).ok().filter(|body| *body <= self.limit),
            Err(fault) => return Err(self.damaged(&format!("a message's description is broken: {fault}"))),
        };
        let Some(body) = body else {
            return Err(self.damaged(&format!("a message is larger than {} bytes", self.limit)));
        };
        let body_start = bytes.len();
        let more = self.read(body)?;
        bytes.extend_from_slice(&more);
        let fault = match root_as_message(&bytes[begun..body_start]) {
            Ok(message) => self.fault_of(&message, &bytes[body_start..]),
            Err(fault) => Some(fault.to_string()),
        };
        if let Some(fault) = fault {
            return Err(self.damaged(&fault));
        }
        if begun == 4 {
            bytes.splice(..0, CONTINUATION);
        }
        // The library looks at a message without a body only when it sees the next one begin.
        bytes.extend_from_slice(&CONTINUATION);
        let buffer = Buffer::from_vec(bytes);
        let mut buffer = if self.has_begun { buffer.slice(CONTINUATION.len()) } else { buffer };
        let decoder = &mut self.decoder;
        match catch_unwind(AssertUnwindSafe(move || decoder.decode(&mut buffer))) {
            Ok(Ok(Some(batch))) => {
                self.has_begun = false;
                Ok(Step::Batch(batch))
            }
            Ok(Ok(None)) => {
                self.has_begun = true;
                Ok(Step::Other)
            }
            Ok(Err(error)) => Err(self.damaged(&error.to_string())),
            Err(_) => Err(self.damaged("the reader gave up on a message")),
        }
    }

    /// Looks at the buffers of a message: where they lie, and how large compressed ones say that they become.
    fn fault_of(&self, message: &Message<'_>, body: &[u8]) -> Option<String> {
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch()?,
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch()?.data()?,
            _ => return None,
        };
        let is_compressed = batch.compression().is_some();
        let mut total = 0u64;
        for buffer in batch.buffers()? {
            let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
            let bytes = range.and_then(|(start, length)| body.get(start..start.checked_add(length)?));
            let Some(bytes) = bytes else { return Some("a buffer lies outside of its message".to_owned()) };
            if is_compressed && let Some(size) = bytes.first_chunk::<8>() {
                let size = i64::from_le_bytes(*size);
                total = total.saturating_add(size.max(0) as u64);
                if size < -1 || total > self.expanded {
                    return Some(format!("a message expands beyond {} bytes", self.expanded));
                }
            }
        }
        None
    }

    /// Checks what stands behind the stream: nothing, or a footer that names as many batches as there were.
    fn check_end(&mut self) -> Result<(), DecodeError> {
        let rest = self.read_up_to(if self.is_file { self.limit } else { 1 })?;
        if !self.is_file {
            return if rest.is_empty() {
                Ok(())
            } else {
                Err(self.damaged("something stands behind the stream's end"))
            };
        }
        let footer = rest.strip_suffix(FILE_MAGIC).and_then(|rest| rest.split_last_chunk::<4>());
        let footer = footer.and_then(|(footer, size)| {
            let size = usize::try_from(i32::from_le_bytes(*size)).ok()?;
            footer.get(footer.len().checked_sub(size)?..)
        });
        let Some(footer) = footer else { return Err(self.damaged("the footer is cut off")) };
        let batches = match root_as_footer(footer) {
            Ok(footer) => footer.recordBatches().map_or(0, |batches| batches.len()),
            Err(fault) => return Err(self.damaged(&format!("the footer is broken: {fault}"))),
        };
        if batches != self.batches {
            return Err(self.damaged(&format!("the footer names {batches} batches, there were {}", self.batches)));
        }
        Ok(())
    }
}

enum Step {
    Batch(RecordBatch),
    Other,
    End,
}
