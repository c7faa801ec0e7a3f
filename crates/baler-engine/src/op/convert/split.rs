//! Tells records apart by the values of columns, in two passes: first it is noted which rows belong to which partition; rows
//! are held up to a budget and then written to a temporary file, partition by partition; then each partition is put together.
//!
//! So a thousand partitions take no more memory than one. The temporary file has no name: a crash leaves nothing of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Cursor};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use baler_model::ledger::PlannedSplit;
use baler_model::{Key, KeyError, Kind};

use super::object::{ROWS, bytes_of};
use crate::error::TaskError;
use crate::parallel::try_in_parallel;
use baler_model::ledger::Failure;

/// Records on their way to outputs that the values of columns tell apart.
pub(super) struct Split {
    /// Which columns tell them apart.
    columns: Vec<usize>,
    /// The number of a partition by its values.
    numbers: HashMap<String, u32>,
    partitions: Vec<Partition>,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    /// So many bytes are held at most.
    budget: usize,
    /// Threads that put rows aside.
    threads: usize,
    spilled: Option<File>,
    end: u64,
}

#[derive(Default)]
struct Partition {
    values: Vec<Option<String>>,
    rows: u64,
    /// Where its rows lie in the temporary file: offset and length of each block.
    blocks: Vec<(u64, u64)>,
    /// Its rows among those held: the number of the batch, and the row there.
    held: Vec<(u32, u32)>,
}

/// What belongs to one output.
pub(super) struct Sorted {
    pub(super) key: Key,
    pub(super) rows: u64,
    partitions: Vec<u32>,
}

impl Split {
    /// Errors: a text for people, when a column is not there or tells nothing apart.
    pub(super) fn new(
        planned: &PlannedSplit,
        schema: &SchemaRef,
        budget: usize,
        threads: usize,
    ) -> Result<Self, String> {
        let column = |name: &String| {
            let Some((number, field)) = schema.column_with_name(name) else {
                return Err(format!("the records have no column `{name}` to be partitioned by"));
            };
            match field.data_type() {
                DataType::List(_) | DataType::Struct(_) => {
                    Err(format!("column `{name}` is nested and tells nothing apart"))
                }
                _ => Ok(number),
            }
        };
        let columns = planned.columns.iter().map(column).collect::<Result<Vec<usize>, String>>()?;
        Ok(Self {
            columns,
            numbers: HashMap::new(),
            partitions: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            budget,
            threads,
            spilled: None,
            end: 0,
        })
    }

    /// Takes rows.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), TaskError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let numbers = self.numbers_of(batch).map_err(broken)?;
        let held = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        for (row, number) in (0u32..).zip(&numbers) {
            let partition = &mut self.partitions[*number as usize];
            partition.rows += 1;
            partition.held.push((held, row));
        }
        self.held_bytes += bytes_of(batch) + numbers.len() * size_of::<(u32, u32)>();
        self.held.push(batch.clone());
        if self.held_bytes > self.budget {
            self.spill()?;
        }
        Ok(())
    }

    /// Of each row the number of its partition.
    fn numbers_of(&mut self, batch: &RecordBatch) -> Result<Vec<u32>, ArrowError> {
        let options = FormatOptions::default();
        let mut formatters = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            formatters.push(ArrayFormatter::try_new(batch.column(*column), &options)?);
        }
        let mut numbers = Vec::with_capacity(batch.num_rows());
        let mut identity = String::new();
        for row in 0..batch.num_rows() {
            identity.clear();
            for (column, formatter) in self.columns.iter().zip(&formatters) {
                use std::fmt::Write;
                let array = batch.column(*column);
                // A mark tells null from text, a byte that closes it two values from one.
                if array.is_null(row) {
                    identity.push('-');
                } else if let Some(texts) = array.as_string_opt::<i32>() {
                    identity.push('=');
                    identity.push_str(texts.value(row));
                } else {
                    identity.push('=');
                    let _written = write!(identity, "{}", formatter.value(row));
                }
                identity.push('\0');
            }
            let number = match self.numbers.get(identity.as_str()) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
                    self.numbers.insert(identity.clone(), number);
                    let values = self.columns.iter().zip(&formatters).map(|(column, formatter)| {
                        let is_there = batch.column(*column).is_valid(row);
                        is_there.then(|| formatter.value(row).to_string())
                    });
                    self.partitions.push(Partition { values: values.collect(), ..Partition::default() });
                    number
                }
            };
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// Writes all that is held to the temporary file, a block for each partition.
    fn spill(&mut self) -> Result<(), TaskError> {
        let file = match &mut self.spilled {
            Some(file) => &*file,
            none => none.insert(tempfile::tempfile().map_err(|error| no_room(&error))?),
        };
        let end = AtomicU64::new(self.end);
        let held = &self.held;
        let put_aside = |partition: &Partition| -> Result<Option<(u64, u64)>, TaskError> {
            if partition.held.is_empty() {
                return Ok(None);
            }
            let block = block(&gather(held, &partition.held).map_err(broken)?).map_err(broken)?;
            let length = block.len() as u64;
            let offset = end.fetch_add(length, Ordering::Relaxed);
            file.write_all_at(&block, offset).map_err(|error| no_room(&error))?;
            Ok(Some((offset, length)))
        };
        let blocks = try_in_parallel(self.threads, &self.partitions, put_aside)?;
        self.end = end.into_inner();
        for (partition, block) in self.partitions.iter_mut().zip(blocks) {
            partition.blocks.extend(block);
            partition.held.clear();
        }
        self.held.clear();
        self.held_bytes = 0;
        Ok(())
    }

    /// The outputs, by key: no more rows come. Values that are written alike, such as null and empty text, share one.
    pub(super) fn sorted(&self, planned: &PlannedSplit) -> Result<Vec<Sorted>, TaskError> {
        let mut outputs: BTreeMap<Key, Sorted> = BTreeMap::new();
        for (number, partition) in (0u32..).zip(&self.partitions) {
            let values: Vec<Option<&str>> = partition.values.iter().map(Option::as_deref).collect();
            let key = planned.key(&values).map_err(|error| no_key(&error))?;
            let output = outputs.entry(key.clone()).or_insert_with(|| Sorted { key, rows: 0, partitions: Vec::new() });
            output.rows += partition.rows;
            output.partitions.push(number);
        }
        Ok(outputs.into_values().collect())
    }

    /// Hands on the rows of one output, in their order.
    pub(super) fn each(
        &self,
        output: &Sorted,
        mut take: impl FnMut(&RecordBatch) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        for number in &output.partitions {
            for &(offset, length) in &self.partitions[*number as usize].blocks {
                let Some(file) = &self.spilled else { break };
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut bytes, offset).map_err(|error| no_room(&error))?;
                for rows in StreamReader::try_new(Cursor::new(bytes), None).map_err(broken)? {
                    take(&rows.map_err(broken)?)?;
                }
            }
            for rows in self.partitions[*number as usize].held.chunks(ROWS) {
                take(&gather(&self.held, rows).map_err(broken)?)?;
            }
        }
        Ok(())
    }
}

/// Brings rows of several batches together.
fn gather(batches: &[RecordBatch], rows: &[(u32, u32)]) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<(usize, usize)> = rows.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
    interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &rows)
}

fn block(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), rows.schema_ref(), options)?;
    writer.write(rows)?;
    writer.into_inner()
}

fn broken(error: ArrowError) -> TaskError {
    TaskError { kind: Kind::Internal, failure: Failure { error: error.to_string(), hint: None } }
}

fn no_key(error: &KeyError) -> TaskError {
    let hint = "shorten the path, or partition by another column";
    TaskError::data(format!("the value of a column gives no key: {error}"), Some(hint))
}

fn no_room(error: &io::Error) -> TaskError {
    TaskError {
        kind: Kind::Transient,
        failure: Failure {
            error: format!("rows cannot be put aside in a temporary file: {error}"),
            hint: Some("make room in the directory that `TMPDIR` names, or name another".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, StringArray};
    use arrow_schema::{Field, Schema};
    use baler_model::KeyPart;

    use super::*;

    #[test]
    fn rows_keep_their_order_however_often_they_are_put_aside() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("country", DataType::Utf8, true),
        ]));
        let planned = PlannedSplit {
            columns: vec!["country".into()],
            parts: vec![KeyPart::Text("c=".into()), KeyPart::Column(0), KeyPart::Text("/x".into())],
            previous: Vec::new(),
        };
        for (budget, threads) in [(0, 1), (3_000, 1), (3_000, 3), (usize::MAX, 1)] {
            let mut split = Split::new(&planned, &schema, budget, threads).unwrap();
            let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            for batch in 0..20i64 {
                let ids: Vec<i64> = (batch * 10..batch * 10 + 10).collect();
                let name = |id: &i64| match (id * 7 + batch) % 5 {
                    0 => None,
                    1 => Some(""),
                    n => Some(["a", "b/c", "d"][n as usize - 2]),
                };
                let names: Vec<Option<&str>> = ids.iter().map(name).collect();
                for (id, name) in ids.iter().zip(&names) {
                    let key = planned.key(&[*name]).unwrap().to_string();
                    expected.entry(key).or_default().push(*id);
                }
                let columns: Vec<arrow_array::ArrayRef> =
                    vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(names))];
                split.add(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
            }
            assert_eq!(split.spilled.is_some(), budget < usize::MAX, "{budget}");
            let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            for output in split.sorted(&planned).unwrap() {
                let ids = found.entry(output.key.to_string()).or_default();
                split
                    .each(&output, |rows| {
                        ids.extend(rows.column(0).as_primitive::<Int64Type>().values());
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(ids.len() as u64, output.rows);
            }
            // Null and empty text are written alike: their rows come one kind after the other.
            let both = "c=__HIVE_DEFAULT_PARTITION__/x";
            found.get_mut(both).unwrap().sort_unstable();
            assert_eq!(found, expected, "{budget}");
            assert_eq!(found.keys().collect::<Vec<_>>(), [both, "c=a/x", "c=b%2Fc/x", "c=d/x"]);
        }
    }

    #[test]
    fn keys_are_told_from_others_and_columns_in_directories_are_known() {
        let part = |text: &str| KeyPart::Text(text.into());
        let planned = PlannedSplit {
            columns: vec!["country".into(), "kind".into()],
            parts: vec![part("o/country="), KeyPart::Column(0), part("/"), KeyPart::Column(1), part(".csv")],
            previous: Vec::new(),
        };
        assert!(planned.may_be("o/country=ch/a.csv"));
        assert!(planned.may_be("o/country=ch/a.b.csv"));
        for other in
            ["o/country=ch/a/b.csv", "o/country=/a.csv", "o/country=ch/a.csv.gz", "p/country=ch/a.csv", "o/country=ch"]
        {
            assert!(!planned.may_be(other), "{other}");
        }
        assert_eq!(planned.in_directories().collect::<Vec<_>>(), ["country"]);
    }
}
