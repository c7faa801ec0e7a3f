//! Records that a query takes one by one: each comes out once, changed, or is left out. One that it fails on fails alone.

use arrow_array::RecordBatch;
use baler_format::decode::DecodeOptions;
use baler_format::schema::Schema;
use baler_model::Kind;
use baler_model::ledger::Failure;

use super::super::records::{Rows, Verdict, Window, requests, unexpected};
use crate::error::TaskError;
use crate::sql::{Kept, OneByOne};

pub(crate) struct Query {
    query: OneByOne,
    schema: Schema,
    decoding: DecodeOptions,
}

impl Query {
    pub(super) fn new(text: &str, (schema, decoding): &(Schema, DecodeOptions)) -> Result<Self, Failure> {
        let query = OneByOne::try_new(text, schema)?;
        Ok(Self { query, schema: schema.clone(), decoding: decoding.clone() })
    }

    /// The columns that come out.
    pub(super) fn output(&self) -> &Schema {
        self.query.output()
    }

    pub(super) fn take(&self, window: &mut Window) -> Result<(), TaskError> {
        let all = window.rows(&self.schema, &self.decoding)?;
        all.iter().try_for_each(|Rows { batch, items }| self.ask(window, batch, items))
    }

    /// Rows that the query fails on are halved until the one to blame is alone.
    fn ask(&self, window: &mut Window, batch: &RecordBatch, items: &[usize]) -> Result<(), TaskError> {
        match self.query.take(batch) {
            Ok(kept) => self.changed(window, &kept, items),
            Err(error) if error.kind != Kind::Data => Err(error),
            Err(error) if items.len() == 1 => {
                window.fail(items[0], error.failure.error);
                Ok(())
            }
            Err(_) => {
                let half = items.len() / 2;
                self.ask(window, &batch.slice(0, half), &items[..half])?;
                self.ask(window, &batch.slice(half, items.len() - half), &items[half..])
            }
        }
    }

    fn changed(&self, window: &mut Window, kept: &Kept, items: &[usize]) -> Result<(), TaskError> {
        let (text, written) = requests(self.query.output(), &kept.batch).map_err(|error| unexpected(&error))?;
        let mut kept = kept.rows.iter().zip(written).peekable();
        for (row, item) in items.iter().enumerate() {
            match kept.next_if(|(kept, _)| **kept == row) {
                // What a step before it said of it stays.
                Some((_, Ok(range))) => window.items[*item].changed = Some(text[range].to_vec()),
                Some((_, Err(reason))) => window.fail(*item, reason),
                None => window.items[*item].verdict = Verdict::LeftOut,
            }
        }
        Ok(())
    }
}
