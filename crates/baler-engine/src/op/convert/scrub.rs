//! Scrubs record batches: pure, without environment, clock or I/O.
//!
//! Steps come in this order, and every setting names columns as the input does:
//!
//! | step | columns | what happens | rows |
//! |---|---|---|---|
//! | `trim` | top-level text | blanks (Unicode white space) at both ends go; what was all blanks becomes empty text, not null | all stay |
//! | `null_values` | top-level text | a text that equals one becomes null | rejected where the column may not be null |
//! | `cast` | scalars; lists and structs to text, as JSON | becomes the other type, exactly; floats are the nearest | rejected where the value cannot |
//! | `dedupe` | scalars | see [`Dedupe`] | filtered but for one of each key |
//! | `mask` | scalars | becomes text of which only a part is shown ([`Mask`]) | times beyond the years 0000 to 9999 rejected |
//! | `hash` | scalars | becomes the hexadecimal HMAC-SHA-256 of its text, keyed with the salt | the same |
//! | `drop` | any | is left out | all stay |
//! | `rename` | any | gets its new name; all columns at once, so that names can be swapped | all stay |
//!
//! - INV-SCRUB-1: every row of an input batch is either a row of [`Scrubbed::batch`] or in [`Scrubbed::rejected`]; behind
//!   [`Dedupe::keep`] it may instead be counted as filtered.
//! - INV-SCRUB-2: rows keep their order, and a column that no setting names is passed on as it is, bit for bit; so is every
//!   column that a step leaves unchanged.
//! - INV-SCRUB-3: neither a reason nor an error shows a salt or the value of a column that is masked or hashed.
//!
//! In CSV `null_values`, and `trim` of all columns, hold for fields of any type: the decoder applies them before it types.
//!
//! Null stays null in every step. Memory: the columns that change, once more.

mod cast;
mod dedupe;
mod disguise;
mod error;
mod identity;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::filter;
use baler_format::schema::{Column, Schema, Type};
use baler_model::scrub::{Keep, Scrub, Trim};

use cast::Cast;
pub use dedupe::Dedupe;
use disguise::Disguise;
pub use error::ScrubError;
pub use identity::Identity;
use identity::Key;

#[cfg(doc)]
use baler_model::scrub::Mask;

/// Scrubs the batches of one schema.
pub struct Scrubber {
    input: SchemaRef,
    columns: Vec<Steps>,
    null_values: Vec<String>,
    key: Option<(Keep, Key)>,
    output: Schema,
    arrow: SchemaRef,
}

/// What happens to one column.
struct Steps {
    name: String,
    nullable: bool,
    is_text: bool,
    trim: bool,
    cast: Option<Cast>,
    disguise: Option<Disguise>,
    /// Whether a time is masked or hashed: some have no text.
    is_disguised_time: bool,
    is_key: bool,
    is_dropped: bool,
}

/// A batch behind the scrub.
#[derive(Debug, Clone)]
pub struct Scrubbed {
    /// The rows that stay, of the scrubber's output schema.
    pub batch: RecordBatch,
    /// For each row of `batch` its number in the input batch, from 0; nothing where all rows of the input stay.
    pub rows: Option<Vec<u32>>,
    /// The rows that cannot be typed, by their numbers in the input batch, with column and reason; in their order.
    pub rejected: Vec<(u32, String)>,
    /// For each row of `batch` what it is told from others by, where `dedupe` is asked for.
    identities: Option<Vec<Option<Identity>>>,
}

/// Columns behind `cast`, as far as they are needed, of the rows that stay.
struct Clean {
    arrays: Vec<Option<ArrayRef>>,
    length: usize,
    rows: Option<Vec<u32>>,
    rejected: Vec<(u32, String)>,
}

impl Scrubber {
    /// Prepares a scrub for batches of a schema; `salts` holds the values of the environment variables that
    /// [`Scrub::salts`] names.
    ///
    /// Errors: a column that is unknown or of a type that the setting cannot take; a name that is given twice; a salt that is
    /// missing or empty; nothing left.
    pub fn new(scrub: &Scrub, schema: &Schema, salts: &BTreeMap<String, String>) -> Result<Self, ScrubError> {
        check_names(scrub, schema)?;
        let key = match &scrub.dedupe {
            None => None,
            Some(dedupe) => Some((dedupe.keep, Self::key(&dedupe.key, scrub, schema)?)),
        };
        let (mut columns, mut output) = (Vec::new(), Vec::new());
        for column in schema.columns() {
            let name = &column.name;
            let trim = match &scrub.trim {
                Trim::Nothing => false,
                Trim::All => column.kind == Type::Text,
                Trim::Columns(names) => names.contains(name),
            };
            if trim && column.kind != Type::Text {
                return Err(ScrubError::NotText { column: name.clone(), kind: column.kind.clone() });
            }
            let kind = cast_kind(scrub, column)?;
            let cast = Cast::new(&column.kind, &kind).map_err(|reason| ScrubError::Cast {
                column: name.clone(),
                from: column.kind.clone(),
                to: kind.clone(),
                reason,
            })?;
            let mask = scrub.mask.get(name).map(|mask| Disguise::Mask(*mask));
            let disguise = match scrub.hash.get(name) {
                None => mask,
                Some(salt) => Some(Disguise::hash(name, &salt.env, salts)?),
            };
            if disguise.is_some() && is_nested(&kind) {
                let setting = if scrub.mask.contains_key(name) { "mask" } else { "hash" };
                return Err(ScrubError::Nested { setting, column: name.clone(), kind });
            }
            let steps = Steps {
                name: name.clone(),
                nullable: column.nullable,
                is_text: column.kind == Type::Text,
                trim,
                cast,
                is_key: scrub.dedupe.as_ref().is_some_and(|dedupe| dedupe.key.contains(name)),
                is_dropped: scrub.drop.contains(name),
                is_disguised_time: disguise.is_some() && matches!(kind, Type::Date | Type::Timestamp { .. }),
                disguise,
            };
            if !steps.is_dropped {
                output.push(Column {
                    name: scrub.rename.get(name).unwrap_or(name).clone(),
                    kind: if steps.disguise.is_some() { Type::Text } else { kind },
                    nullable: column.nullable,
                });
            }
            columns.push(steps);
        }
        if output.is_empty() && !schema.columns().is_empty() {
            return Err(ScrubError::NothingLeft);
        }
        let output = Schema::try_new(output).map_err(|fault| ScrubError::Internal(fault.to_string()))?;
        Ok(Self {
            input: schema.to_arrow(),
            columns,
            null_values: scrub.null_values.clone(),
            key,
            arrow: output.to_arrow(),
            output,
        })
    }

    fn key(names: &[String], scrub: &Scrub, schema: &Schema) -> Result<Key, ScrubError> {
        let mut columns = Vec::new();
        for (place, column) in schema.columns().iter().enumerate() {
            if names.contains(&column.name) {
                let kind = cast_kind(scrub, column)?;
                if is_nested(&kind) {
                    return Err(ScrubError::Nested { setting: "dedupe", column: column.name.clone(), kind });
                }
                columns.push((place, kind));
            }
        }
        Ok(Key::new(&columns))
    }

    /// Returns the schema of scrubbed batches.
    pub fn output(&self) -> &Schema {
        &self.output
    }

    /// Says which record of a key stays, where `dedupe` is asked for.
    pub fn keep(&self) -> Option<Keep> {
        self.key.as_ref().map(|(keep, _)| *keep)
    }

    /// Scrubs a batch; what `dedupe` filters is filtered by [`Dedupe::keep`].
    ///
    /// Errors: a batch of another schema, or one that the library fails on.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Scrubbed, ScrubError> {
        let Clean { arrays, length, rows, rejected } = self.clean(batch, |steps| !steps.is_dropped)?;
        let identities = self.key.as_ref().map(|(_, key)| key.identities(&arrays, length)).transpose()?;
        let mut columns = Vec::with_capacity(self.output.columns().len());
        for (steps, array) in self.columns.iter().zip(arrays) {
            if let Some(array) = array
                && !steps.is_dropped
            {
                columns.push(match &steps.disguise {
                    None => array,
                    Some(disguise) => disguise.apply(&array).map_err(ScrubError::Internal)?,
                });
            }
        }
        let batch = if self.is_unchanged(batch, &columns) {
            batch.clone()
        } else {
            let options = RecordBatchOptions::new().with_row_count(Some(length));
            RecordBatch::try_new_with_options(Arc::clone(&self.arrow), columns, &options).map_err(library)?
        };
        Ok(Scrubbed { batch, rows, rejected, identities })
    }

    /// Returns for each row that would stay what it is told from others by, as [`Dedupe::learn`] takes it; nothing for a row
    /// that has no key.
    ///
    /// Cheaper than [`Scrubber::apply`]: only what decides about rows is done. Errors: as there, and no `dedupe` is asked for.
    pub fn identities(&self, batch: &RecordBatch) -> Result<Vec<Option<Identity>>, ScrubError> {
        let Some((_, key)) = &self.key else {
            return Err(ScrubError::Internal("identities are asked for and `dedupe` is not".to_owned()));
        };
        let Clean { arrays, length, .. } = self.clean(batch, |_| false)?;
        key.identities(&arrays, length)
    }

    /// Trims, nulls and casts: columns that are wanted, those of the key, and those that decide about rows.
    fn clean(&self, batch: &RecordBatch, is_wanted: impl Fn(&Steps) -> bool) -> Result<Clean, ScrubError> {
        if batch.schema_ref().fields() != self.input.fields() {
            return Err(ScrubError::Internal("a batch has another schema than its scrubber".to_owned()));
        }
        let mut faults: BTreeMap<u32, String> = BTreeMap::new();
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (steps, array) in self.columns.iter().zip(batch.columns()) {
            let is_nulled = steps.is_text && !self.null_values.is_empty();
            let decides = steps.cast.is_some() || steps.is_disguised_time || (is_nulled && !steps.nullable);
            if !(is_wanted(steps) || steps.is_key || decides) {
                arrays.push(None);
                continue;
            }
            let mut array = Arc::clone(array);
            if steps.trim {
                array = texts::trim(array);
            }
            if is_nulled {
                let before = array.null_count();
                array = texts::nulls(array, &self.null_values).map_err(library)?;
                if !steps.nullable && array.null_count() > before {
                    for row in (0..array.len()).filter(|row| array.is_null(*row)) {
                        let what = format!("column `{}`: it is null and may not be", steps.name);
                        faults.entry(row as u32).or_insert(what);
                    }
                }
            }
            if let Some(cast) = &steps.cast {
                array = cast.apply(&array, |row, what| {
                    faults.entry(row).or_insert_with(|| match &steps.disguise {
                        None => format!("column `{}`: {what}", steps.name),
                        Some(_) => format!("column `{}`: a value that is not shown is no {}", steps.name, cast.to()),
                    });
                })?;
            }
            if steps.is_disguised_time {
                for row in disguise::without_text(&array) {
                    let what =
                        format!("column `{}`: a value that is not shown is beyond the years 0000 to 9999", steps.name);
                    faults.entry(row).or_insert(what);
                }
            }
            arrays.push(Some(array));
        }
        let length = batch.num_rows();
        if faults.is_empty() {
            return Ok(Clean { arrays, length, rows: None, rejected: Vec::new() });
        }
        // A batch has fewer rows than 32 bits count: text and pages are cut long before.
        let rows: Vec<u32> = (0..length as u32).filter(|row| !faults.contains_key(row)).collect();
        let stays = BooleanArray::from_iter((0..length as u32).map(|row| Some(!faults.contains_key(&row))));
        for array in arrays.iter_mut().flatten() {
            *array = filter(array, &stays).map_err(library)?;
        }
        Ok(Clean { arrays, length: rows.len(), rows: Some(rows), rejected: faults.into_iter().collect() })
    }

    /// Says whether the columns are those of the input, so that its batch can be handed on.
    fn is_unchanged(&self, batch: &RecordBatch, columns: &[ArrayRef]) -> bool {
        self.arrow.fields() == self.input.fields()
            && columns.iter().zip(batch.columns()).all(|(new, old)| Arc::ptr_eq(new, old))
    }
}

impl fmt::Debug for Scrubber {
    /// Leaves salts out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("output", &self.output.to_string()).finish_non_exhaustive()
    }
}

impl Scrubbed {
    /// Keeps some of the rows.
    fn select(self, stays: &[bool]) -> Result<Self, ScrubError> {
        let mask = BooleanArray::from(stays.to_vec());
        let arrays = self.batch.columns().iter().map(|array| filter(array, &mask));
        let arrays = arrays.collect::<Result<Vec<_>, _>>().map_err(library)?;
        let numbers = 0..self.batch.num_rows() as u32;
        let before = self.rows.unwrap_or_else(|| numbers.collect());
        let rows: Vec<u32> = before.into_iter().zip(stays).filter(|(_, stays)| **stays).map(|(row, _)| row).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(self.batch.schema(), arrays, &options).map_err(library)?;
        let identities = self.identities.map(|identities| {
            identities.into_iter().zip(stays).filter(|(_, stays)| **stays).map(|(identity, _)| identity).collect()
        });
        Ok(Self { batch, rows: Some(rows), rejected: self.rejected, identities })
    }
}

/// Refuses settings that name a column which the schema lacks, and names that would stand twice.
fn check_names(scrub: &Scrub, schema: &Schema) -> Result<(), ScrubError> {
    let trimmed: &[String] = match &scrub.trim {
        Trim::Columns(columns) => columns,
        Trim::Nothing | Trim::All => &[],
    };
    let key: &[String] = scrub.dedupe.as_ref().map_or(&[], |dedupe| &dedupe.key);
    let settings: [(&'static str, Vec<&String>); 7] = [
        ("trim", trimmed.iter().collect()),
        ("cast", scrub.cast.keys().collect()),
        ("dedupe", key.iter().collect()),
        ("mask", scrub.mask.keys().collect()),
        ("hash", scrub.hash.keys().collect()),
        ("drop", scrub.drop.iter().collect()),
        ("rename", scrub.rename.keys().collect()),
    ];
    for (setting, columns) in settings {
        if let Some(column) = columns.into_iter().find(|column| schema.column(column).is_none()) {
            return Err(ScrubError::unknown(setting, column, schema));
        }
    }
    let mut names = BTreeSet::new();
    let kept = schema.columns().iter().filter(|column| !scrub.drop.contains(&column.name));
    // The columns that keep their names come first: it is the new name that is at fault.
    let (renamed, same): (Vec<_>, Vec<_>) = kept.partition(|column| scrub.rename.contains_key(&column.name));
    names.extend(same.iter().map(|column| column.name.as_str()));
    for column in renamed {
        let name = &scrub.rename[&column.name];
        if !names.insert(name) {
            return Err(ScrubError::NameTaken { column: column.name.clone(), name: name.clone() });
        }
    }
    Ok(())
}

/// Returns the type that a column has behind `cast`.
fn cast_kind(scrub: &Scrub, column: &Column) -> Result<Type, ScrubError> {
    match scrub.cast.get(&column.name) {
        None => Ok(column.kind.clone()),
        Some(text) => text.parse().map_err(|source| ScrubError::CastType { column: column.name.clone(), source }),
    }
}

fn is_nested(kind: &Type) -> bool {
    matches!(kind, Type::List(_) | Type::Struct(_))
}

fn library(error: ArrowError) -> ScrubError {
    ScrubError::Internal(error.to_string())
}

#[cfg(test)]
mod tests;
