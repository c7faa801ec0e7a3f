//! Records of text into batches.
//!
//! Where the schema allows, rows that are written as most are go straight into columns (`fast`); what they leave, and all
//! else, is cut, read and judged record by record here. Both give the same rows, positions and rejected records: `tests`
//! holds them against each other.

use std::io;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use memchr::memrchr;

use super::cell::{Cell, Growing, Member};
use super::csv::{self, split_fields};
use super::elements::Elements;
use super::feed::{Body, Cut, Feed};
use super::lines::Lines;
use super::{
    Blanks, DecodeError, DecodeOptions, Decoded, Position, Positions, Reason, Rejected, Source, Spare, Unknown,
};
use super::{instant, json, scalar};
use crate::fast::{self, Begin, Columns, CsvRows, JsonRows, Places, Room};
use crate::format::{Csv, Format};
use crate::schema::{Schema, Type};

/// Finds records in bytes.
pub(crate) enum Cutter {
    Lines(Lines),
    Elements(Elements),
    Csv(csv::Records),
}

impl Cutter {
    /// Errors: not a format of text.
    pub(crate) fn of(format: &Format) -> Result<Self, DecodeError> {
        match format {
            Format::JsonLines => Ok(Self::Lines(Lines::default())),
            Format::Json { records } => Ok(Self::Elements(Elements::new(records.clone()))),
            Format::Csv(csv) => match csv.fault() {
                Some(fault) => Err(DecodeError::Usage(fault)),
                None => Ok(Self::Csv(csv::Records::new(csv.delimiter, csv.quote))),
            },
            Format::Parquet | Format::Arrow(_) => Err(DecodeError::Usage(format!("{format} is no text"))),
        }
    }

    /// Begins at a record that begins on a line, in bytes that hold some of the records. Errors: as of [`Self::of`].
    pub(crate) fn part(format: &Format, line: u64) -> Result<Self, DecodeError> {
        Ok(match Self::of(format)? {
            Self::Lines(_) => Self::Lines(Lines::from_line(line)),
            Self::Elements(_) => Self::Elements(Elements::part(line)),
            Self::Csv(records) => Self::Csv(records.on_line(line)),
        })
    }

    pub(crate) fn cut(&mut self, feed: &mut Feed, options: &DecodeOptions) -> Option<Cut> {
        let (limit, raw) = (options.record_bytes, options.raw_bytes);
        match self {
            Self::Lines(lines) => lines.cut(feed, limit, raw),
            Self::Elements(elements) => elements.cut(feed, limit, raw),
            Self::Csv(records) => records.cut(feed, limit, raw),
        }
    }

    /// Returns the number of the line that comes next; for formats of lines.
    fn next_line(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.next_line(),
            Self::Csv(records) => records.next_line(),
            Self::Elements(_) => 0,
        }
    }

    /// Counts lines that were consumed without a cut.
    fn pass(&mut self, passed: u64) {
        match self {
            Self::Lines(lines) => lines.pass(passed),
            Self::Csv(records) => records.pass(passed),
            Self::Elements(_) => {}
        }
    }

    /// Says why no further record can be found, if not for the end.
    pub(crate) fn take_fault(&mut self) -> Option<String> {
        match self {
            Self::Lines(_) | Self::Csv(_) => None,
            Self::Elements(elements) => elements.take_fault(),
        }
    }
}

/// What the fields of CSV records are.
struct Fields {
    csv: Csv,
    /// The member that each field belongs to; nothing for those that the schema lacks.
    places: Vec<Option<usize>>,
    header_is_due: bool,
}

/// The batch that grows.
enum Batch {
    /// Of any types.
    Any(Vec<Growing>),
    /// Of those that `fast` builds.
    Plain(Columns),
}

impl Batch {
    fn push(&mut self, cells: Vec<Cell<'_>>) {
        match self {
            Self::Any(columns) => columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell)),
            Self::Plain(columns) => columns.push(cells),
        }
    }

    fn finish(&mut self, schema: &SchemaRef, rows: usize) -> RecordBatch {
        match self {
            Self::Any(columns) => {
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                let columns = columns.iter_mut().map(Growing::finish).collect();
                match RecordBatch::try_new_with_options(schema.clone(), columns, &options) {
                    Ok(batch) => batch,
                    Err(fault) => unreachable!("columns grown for their own schema: {fault}"),
                }
            }
            Self::Plain(columns) => columns.finish(),
        }
    }
}

/// Where a part of an object begins, and how it ends.
pub(crate) struct Part<'a> {
    /// The record that heads a CSV object that has one.
    pub(crate) header: &'a [u8],
    /// The line of the first record, from 1.
    pub(crate) line: u64,
    /// Its offset in the decompressed object.
    pub(crate) offset: u64,
    /// The last record is cut off.
    pub(crate) is_cut: bool,
}

/// Which records go straight into columns.
enum Plain {
    None,
    Json(Box<JsonRows>),
    /// From the header on.
    Csv(Option<Box<CsvRows>>),
}

/// A line that goes on behind so many bytes in hand is left to the rules: they search it once only.
const SHORT: usize = 16 << 10;

/// Decodes JSON lines, JSON and CSV.
pub(crate) struct TextDecoder {
    feed: Feed,
    cutter: Cutter,
    fields: Option<Fields>,
    members: Vec<Member>,
    batch: Batch,
    plain: Plain,
    schema: SchemaRef,
    options: DecodeOptions,
    /// What to give when everything before it was handed out.
    due: Option<DecodeError>,
    ended: bool,
}

impl TextDecoder {
    pub(crate) fn open(
        spare: Spare,
        format: &Format,
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
    ) -> Result<Self, DecodeError> {
        let plain = match format {
            Format::JsonLines => {
                let names = schema.columns().iter().map(|column| column.name.as_str());
                Plain::Json(Box::new(JsonRows::new(names, options.epoch, options.record_bytes)))
            }
            Format::Csv(csv) if csv.quote == b'"' && is_apart(csv.delimiter) => Plain::Csv(None),
            Format::Csv(_) | Format::Json { .. } | Format::Parquet | Format::Arrow(_) => Plain::None,
        };
        Self::with(spare, plain, format, schema, options, source)
    }

    /// Opens a part of an object: bytes that begin at a record and hold nothing but whole records and what stands between.
    pub(crate) fn open_part(
        format: &Format,
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
        part: &Part<'_>,
        unknown: &mut Unknown,
    ) -> Result<Self, DecodeError> {
        let mut decoder = Self::open(Spare::default(), format, schema, options, Source::bytes(Vec::new()))?;
        decoder.feed = Feed::part(source.into_reader(), part.offset, part.is_cut);
        decoder.cutter = Cutter::part(format, part.line)?;
        if let Some(fields) = decoder.fields.as_mut().filter(|fields| fields.header_is_due) {
            fields.places = header(part.header, &fields.csv, &decoder.members, unknown)?;
            fields.header_is_due = false;
        }
        Ok(decoder)
    }

    fn with(
        spare: Spare,
        plain: Plain,
        format: &Format,
        schema: &Schema,
        options: &DecodeOptions,
        source: Source,
    ) -> Result<Self, DecodeError> {
        let members = Member::all(schema.columns())?;
        let cutter = Cutter::of(format)?;
        let fields = match format {
            Format::Csv(csv) => Some(Fields {
                csv: csv.clone(),
                places: (0..members.len()).map(Some).collect(),
                header_is_due: csv.header,
            }),
            Format::JsonLines | Format::Json { .. } | Format::Parquet | Format::Arrow(_) => None,
        };
        if fields.is_some()
            && let Some(column) = schema.columns().iter().find(|column| is_nested(&column.kind))
        {
            return Err(DecodeError::Usage(format!(
                "column `{}` is {}, which CSV cannot hold",
                column.name, column.kind
            )));
        }
        let arrow = schema.to_arrow();
        let (plain, batch) = match (plain, Columns::reusing(spare.columns, &arrow)) {
            (plain @ (Plain::Json(_) | Plain::Csv(_)), Some(columns)) => (plain, Batch::Plain(columns)),
            _ => {
                let columns = schema.columns().iter().map(|column| Growing::of(&column.kind)).collect();
                (Plain::None, Batch::Any(columns))
            }
        };
        Ok(Self {
            feed: Feed::with(spare.buffer, source.into_reader()),
            cutter,
            fields,
            members,
            batch,
            plain,
            schema: arrow,
            options: options.clone(),
            due: None,
            ended: false,
        })
    }

    pub(crate) fn into_spare(self) -> Spare {
        let columns = match self.batch {
            Batch::Plain(columns) => Some(columns),
            Batch::Any(_) => None,
        };
        Spare { columns, buffer: self.feed.into_buffer() }
    }

    pub(crate) fn next_batch(&mut self, unknown: &mut Unknown) -> Result<Option<Decoded>, DecodeError> {
        if let Some(error) = self.due.take() {
            return Err(error);
        }
        if self.ended {
            return Ok(None);
        }
        let (mut places, mut rejected, mut bytes) = (Places::default(), Vec::new(), 0);
        loop {
            let room = Room {
                rows: self.options.batch_rows - places.lines.len(),
                bytes: self.options.batch_bytes.saturating_sub(bytes),
            };
            if room.rows == 0 || room.bytes == 0 || rejected.len() >= self.options.batch_rows {
                break;
            }
            let taken = self.take_plain(room, &mut places, unknown);
            if taken > 0 {
                bytes += taken;
                continue;
            }
            let Some(Cut { line, offset, body }) = self.cutter.cut(&mut self.feed, &self.options) else {
                self.ended = true;
                self.due = self.why_ended();
                break;
            };
            let (reason, raw) = match body {
                Body::Refused(reason, _) if self.fields.as_ref().is_some_and(|fields| fields.header_is_due) => {
                    // The next record must not be taken for the header.
                    self.ended = true;
                    self.due = self.why_ended().or_else(|| Some(DecodeError::Header(reason.to_string())));
                    break;
                }
                Body::Refused(reason, raw) => (reason, raw),
                Body::Record(range) => {
                    let record = self.feed.bytes(range);
                    bytes += record.len();
                    let cells = match &mut self.fields {
                        None => json::record(record, &self.members, &self.options, unknown),
                        Some(fields) if fields.header_is_due => {
                            match header(record, &fields.csv, &self.members, unknown) {
                                Ok(places) => {
                                    fields.places = places;
                                    fields.header_is_due = false;
                                    continue;
                                }
                                Err(error) => {
                                    self.ended = true;
                                    self.due = Some(error);
                                    break;
                                }
                            }
                        }
                        Some(fields) => fields.record(record, &self.members, &self.options),
                    };
                    match cells {
                        Ok(cells) => {
                            places.lines.push(line);
                            places.offsets.push(offset);
                            self.batch.push(cells);
                            continue;
                        }
                        Err(reason) => (reason, record[..record.len().min(self.options.raw_bytes)].to_vec()),
                    }
                }
            };
            rejected.push(Rejected { position: Position::Line { line, offset }, reason, raw });
        }
        let Places { lines, offsets } = places;
        if lines.is_empty() && rejected.is_empty() {
            return match self.due.take() {
                Some(error) => Err(error),
                None => Ok(None),
            };
        }
        let batch = self.batch.finish(&self.schema, lines.len());
        Ok(Some(Decoded { batch, positions: Positions::Lines { lines, offsets }, rejected }))
    }

    /// Takes plain rows from what is in hand or can be read; says how many bytes they were.
    ///
    /// None: the record that comes next is for the rules, if there is one.
    fn take_plain(&mut self, room: Room, places: &mut Places, unknown: &mut Unknown) -> usize {
        let Batch::Plain(columns) = &mut self.batch else { return 0 };
        if let (Plain::Csv(rows @ None), Some(fields)) = (&mut self.plain, &self.fields)
            && !fields.header_is_due
        {
            let options = fast::Fields {
                delimiter: fields.csv.delimiter,
                nulls: self.options.null_literals.clone(),
                epoch: self.options.epoch,
                record_bytes: self.options.record_bytes,
            };
            *rows = Some(Box::new(CsvRows::new(options, &fields.places, self.members.len())));
        }
        let end = loop {
            let held = self.feed.held();
            match memrchr(b'\n', held) {
                Some(end) => break end + 1,
                None if held.len() < SHORT && self.feed.more() => {}
                None => return 0,
            }
        };
        let text = &self.feed.held()[..end];
        let offset = self.feed.offset();
        let taken = match &mut self.plain {
            Plain::Json(rows) => {
                let begin = Begin { line: self.cutter.next_line(), offset };
                let taken = rows.take(columns, text, begin, room, places);
                rows.unknown().for_each(|name| unknown.note(name));
                taken
            }
            Plain::Csv(Some(rows)) => {
                let begin = Begin { line: self.cutter.next_line(), offset };
                rows.take(columns, text, begin, room, places)
            }
            Plain::None | Plain::Csv(None) => return 0,
        };
        self.feed.consume(taken.bytes);
        self.cutter.pass(taken.lines);
        taken.bytes
    }

    fn why_ended(&mut self) -> Option<DecodeError> {
        let of_feed = self.feed.take_fault().map(|error: io::Error| DecodeError::of_io(error));
        let of_cutter = self.cutter.take_fault().map(|what| DecodeError::Format { format: "json", what });
        of_feed.or(of_cutter)
    }
}

/// Whether a delimiter is no part of numbers, times and truth values.
fn is_apart(delimiter: u8) -> bool {
    delimiter.is_ascii() && !delimiter.is_ascii_alphanumeric() && !b"+-.: ".contains(&delimiter)
}

fn is_nested(kind: &Type) -> bool {
    matches!(kind, Type::List(_) | Type::Struct(_))
}

/// Reads the names of the columns.
fn header(
    record: &[u8],
    csv: &Csv,
    members: &[Member],
    unknown: &mut Unknown,
) -> Result<Vec<Option<usize>>, DecodeError> {
    let names = checked_names(record, csv)?;
    let mut places = Vec::new();
    for (n, name) in names.iter().enumerate() {
        if names[..n].contains(name) {
            return Err(DecodeError::Header(format!("it has `{}` twice", instant::shown(name))));
        }
        let place = members.iter().position(|member| member.name == *name);
        if place.is_none() {
            unknown.note(name);
        }
        places.push(place);
    }
    let lost = members.iter().enumerate().find(|(n, member)| !member.nullable && !places.contains(&Some(*n)));
    match lost {
        Some((_, member)) => Err(DecodeError::Header(format!("it lacks `{}`, which may not be null", member.name))),
        None if places.iter().all(Option::is_none) => {
            Err(DecodeError::Header("it has none of the columns; is another delimiter used?".to_owned()))
        }
        None => Ok(places),
    }
}

/// Returns the names in the header of an object that has records behind it, if any.
pub(crate) fn checked_names(record: &[u8], csv: &Csv) -> Result<Vec<String>, DecodeError> {
    let names = header_names(record, csv)?;
    // Without a line feed the whole object would be its header, and its records would be lost unseen.
    match names.iter().any(|name| name.contains('\r') && !name.contains('\n')) {
        true => Err(DecodeError::Header("its lines end in CR alone".to_owned())),
        false => Ok(names),
    }
}

/// Returns the names in a header.
pub(crate) fn header_names(record: &[u8], csv: &Csv) -> Result<Vec<String>, DecodeError> {
    let text = std::str::from_utf8(record).map_err(|_| DecodeError::Header("it is not UTF-8".to_owned()))?;
    let fields =
        split_fields(text, csv.delimiter, csv.quote).map_err(|reason| DecodeError::Header(reason.to_string()))?;
    Ok(fields.into_iter().map(|field| field.text.into_owned()).collect())
}

impl Fields {
    fn record<'a>(
        &self,
        bytes: &'a [u8],
        members: &[Member],
        options: &DecodeOptions,
    ) -> Result<Vec<Cell<'a>>, Reason> {
        let text = std::str::from_utf8(bytes).map_err(|fault| Reason::NotUtf8 { at: fault.valid_up_to() })?;
        let fields = split_fields(text, self.csv.delimiter, self.csv.quote)?;
        if fields.len() != self.places.len() {
            return Err(Reason::FieldCount { found: fields.len(), wanted: self.places.len() });
        }
        let mut cells = vec![Cell::Null; members.len()];
        for (mut field, place) in fields.into_iter().zip(&self.places) {
            let Some(place) = *place else { continue };
            let is_text = matches!(members[place].reading, super::Reading::Text);
            if options.blanks == Blanks::Trim && !is_text {
                field.text = trim(field.text);
            }
            // Between quotes only text is more than a null: writers that quote everything write `""` for no number.
            let may_be_null = !field.is_quoted || !is_text;
            if may_be_null && options.null_literals.iter().any(|literal| *literal == field.text) {
                continue;
            }
            cells[place] = value(field.text, &members[place], options)
                .map_err(|what| Reason::Value { column: members[place].name.clone(), what })?;
        }
        match json::missing(members, &cells) {
            Some(member) => {
                Err(Reason::Value { column: member.name.clone(), what: "it is null and may not be".to_owned() })
            }
            None => Ok(cells),
        }
    }
}

fn trim(text: std::borrow::Cow<'_, str>) -> std::borrow::Cow<'_, str> {
    match text {
        std::borrow::Cow::Borrowed(text) => text.trim().into(),
        std::borrow::Cow::Owned(text) => text.trim().to_owned().into(),
    }
}

fn value<'a>(text: std::borrow::Cow<'a, str>, member: &Member, options: &DecodeOptions) -> Result<Cell<'a>, String> {
    use super::Reading as R;
    match &member.reading {
        R::Int64 => scalar::int(&text).map(Cell::Int),
        R::Float64 => scalar::float(&text, options.floats).map(Cell::Float),
        R::Bool => scalar::bool(&text).map(Cell::Bool),
        R::Text => Ok(Cell::Text(text)),
        R::Decimal { precision, scale } => scalar::decimal(&text, *precision, *scale).map(Cell::Decimal),
        R::Date => instant::date(&text).map(Cell::Date),
        R::Timestamp { unit, zone } => scalar::timestamp(&text, *unit, zone, options.epoch).map(Cell::Timestamp),
        R::List(_) | R::Struct(_) => unreachable!("refused when the decoder was opened"),
    }
}

#[cfg(test)]
mod tests;
