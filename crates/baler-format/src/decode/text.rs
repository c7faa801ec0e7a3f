//! Records of text into batches.

use std::io;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;

use super::cell::{Cell, Growing, Member};
use super::csv::{self, split_fields};
use super::elements::Elements;
use super::feed::{Body, Cut, Feed};
use super::lines::Lines;
use super::{Blanks, DecodeError, DecodeOptions, Decoded, Position, Positions, Reason, Rejected, Source, Unknown};
use super::{instant, json, scalar};
use crate::format::{Csv, Format};
use crate::schema::Schema;

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

    pub(crate) fn cut(&mut self, feed: &mut Feed, options: &DecodeOptions) -> Option<Cut> {
        let (limit, raw) = (options.record_bytes, options.raw_bytes);
        match self {
            Self::Lines(lines) => lines.cut(feed, limit, raw),
            Self::Elements(elements) => elements.cut(feed, limit, raw),
            Self::Csv(records) => records.cut(feed, limit, raw),
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

/// Decodes JSON lines, JSON and CSV.
pub(crate) struct TextDecoder {
    feed: Feed,
    cutter: Cutter,
    fields: Option<Fields>,
    members: Vec<Member>,
    columns: Vec<Growing>,
    schema: SchemaRef,
    options: DecodeOptions,
    /// What to give when everything before it was handed out.
    due: Option<DecodeError>,
    ended: bool,
}

impl TextDecoder {
    pub(crate) fn open(
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
        Ok(Self {
            feed: Feed::new(source.into_reader()),
            cutter,
            fields,
            columns: schema.columns().iter().map(|column| Growing::of(&column.kind)).collect(),
            members,
            schema: schema.to_arrow(),
            options: options.clone(),
            due: None,
            ended: false,
        })
    }

    pub(crate) fn next_batch(&mut self, unknown: &mut Unknown) -> Result<Option<Decoded>, DecodeError> {
        if let Some(error) = self.due.take() {
            return Err(error);
        }
        if self.ended {
            return Ok(None);
        }
        let (mut lines, mut offsets, mut rejected, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        while lines.len() < self.options.batch_rows
            && rejected.len() < self.options.batch_rows
            && bytes < self.options.batch_bytes
        {
            let Some(Cut { line, offset, body }) = self.cutter.cut(&mut self.feed, &self.options) else {
                self.ended = true;
                self.due = self.why_ended();
                break;
            };
            let (reason, raw) = match body {
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
                            lines.push(line);
                            offsets.push(offset);
                            self.columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
                            continue;
                        }
                        Err(reason) => (reason, record[..record.len().min(self.options.raw_bytes)].to_vec()),
                    }
                }
            };
            rejected.push(Rejected { position: Position::Line { line, offset }, reason, raw });
        }
        if lines.is_empty() && rejected.is_empty() {
            return match self.due.take() {
                Some(error) => Err(error),
                None => Ok(None),
            };
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(lines.len()));
        let columns = self.columns.iter_mut().map(Growing::finish).collect();
        let batch = match RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows) {
            Ok(batch) => batch,
            Err(fault) => unreachable!("columns grown for their own schema: {fault}"),
        };
        Ok(Some(Decoded { batch, positions: Positions::Lines { lines, offsets }, rejected }))
    }

    fn why_ended(&mut self) -> Option<DecodeError> {
        let of_feed = self.feed.take_fault().map(|error: io::Error| DecodeError::of_io(error));
        let of_cutter = self.cutter.take_fault().map(|what| DecodeError::Format { format: "json", what });
        of_feed.or(of_cutter)
    }
}

fn is_nested(kind: &crate::schema::Type) -> bool {
    matches!(kind, crate::schema::Type::List(_) | crate::schema::Type::Struct(_))
}

/// Reads the names of the columns.
fn header(
    record: &[u8],
    csv: &Csv,
    members: &[Member],
    unknown: &mut Unknown,
) -> Result<Vec<Option<usize>>, DecodeError> {
    let names = header_names(record, csv)?;
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
        None => Ok(places),
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
            if options.blanks == Blanks::Trim && !field.is_quoted {
                field.text = trim(field.text);
            }
            if !field.is_quoted && options.null_literals.iter().any(|literal| *literal == field.text) {
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
