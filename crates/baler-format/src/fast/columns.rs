//! The columns of the batch that is being filled.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;

use super::column::Column;
use crate::decode::Cell;

/// Columns of one length, but for the record that is being read.
#[derive(Debug)]
pub(crate) struct Columns {
    schema: SchemaRef,
    pub(super) columns: Vec<Column>,
    pub(super) rows: usize,
}

impl Columns {
    /// Empty columns; `None` where one of them is of a type that is not built here.
    pub(crate) fn new(schema: &SchemaRef) -> Option<Self> {
        let columns = schema.fields().iter().map(|field| Column::new(field)).collect::<Option<Vec<_>>>()?;
        Some(Self { schema: Arc::clone(schema), columns, rows: 0 })
    }

    /// Empty columns, those given where they are of this schema.
    pub(crate) fn reusing(spare: Option<Self>, schema: &SchemaRef) -> Option<Self> {
        match spare.filter(|spare| spare.schema == *schema) {
            Some(mut columns) => {
                columns.rows = 0;
                columns.cut();
                Some(columns)
            }
            None => Self::new(schema),
        }
    }

    /// Appends a record that was read by the rules.
    pub(crate) fn push(&mut self, cells: Vec<Cell<'_>>) {
        self.columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
        self.rows += 1;
    }

    /// Takes back what a record left that was not read to its end.
    pub(super) fn cut(&mut self) {
        self.columns.iter_mut().for_each(|column| column.cut(self.rows));
    }

    /// Takes the rows out as a batch.
    pub(crate) fn finish(&mut self) -> RecordBatch {
        let arrays: Result<Vec<ArrayRef>, _> = self.columns.iter_mut().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        match arrays.and_then(|arrays| RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)) {
            Ok(batch) => batch,
            Err(fault) => unreachable!("columns built for their own schema: {fault}"),
        }
    }
}
