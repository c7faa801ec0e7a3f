//! What each record goes through, step by step: a JSON Schema, a query, a program, a server. One that fails is answered by its reason and
//! goes no further; the others go on.

#[cfg(feature = "http")]
mod http;
mod program;
#[cfg(feature = "json_schema")]
mod schema;
mod sql;

use baler_format::decode::{DecodeOptions, TextFrom};
use baler_format::schema::Schema;
use baler_model::Kind;
use baler_model::ledger::{EachOptions, Failure, ScatterOptions};
use baler_store::Clock;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use program::end_programs;

use super::records::{Verdict, Window};
use crate::error::TaskError;

/// A step that is ready to take records.
pub(crate) enum Step {
    #[cfg(feature = "json_schema")]
    Schema(schema::Schema),
    Program(program::Program),
    Sql(Box<sql::Query>),
    #[cfg(feature = "http")]
    Http(Box<http::Server>),
}

/// By what a step may know a record that it has seen before.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// `{flow}/{etag of the batch}/`, before the record's index.
    pub(crate) prefix: String,
}

impl Identity {
    fn key(&self, index: u64) -> String {
        format!("{}{index}", self.prefix)
    }
}

/// The steps of a flow, and the columns that records have behind the last one, where they have any.
pub(crate) struct Steps {
    pub(crate) steps: Vec<Step>,
    pub(crate) columns: Option<(Schema, DecodeOptions)>,
}

/// Makes the steps that a plan says, for records of these columns. Errors: why one cannot be taken, for people.
pub(crate) fn steps(
    options: &ScatterOptions,
    schema: Option<&Schema>,
    decoding: &DecodeOptions,
) -> Result<Steps, Failure> {
    let mut columns = schema.map(|schema| (schema.clone(), decoding.clone()));
    let mut steps = Vec::with_capacity(options.each.len());
    for each in &options.each {
        let step = Step::new(each, columns.as_ref())?;
        if let Step::Sql(query) = &step {
            columns = Some((query.output().clone(), DecodeOptions { text_from: TextFrom::Text, ..decoding.clone() }));
        }
        steps.push(step);
    }
    Ok(Steps { steps, columns })
}

/// Checks a step as far as no columns are known.
pub(crate) fn check(options: &EachOptions) -> Result<(), Failure> {
    match options.query() {
        Some(text) => crate::sql::check(text),
        None => Step::new(options, None).map(|_| ()),
    }
}

impl Step {
    /// Makes a step of what a plan says, for records of these columns. Errors: why it cannot be taken, for people.
    fn new(options: &EachOptions, columns: Option<&(Schema, DecodeOptions)>) -> Result<Self, Failure> {
        match options {
            EachOptions::Sql { text } => {
                let columns = columns
                    .ok_or_else(|| Failure { error: "the plan has a query and no columns".to_owned(), hint: None })?;
                sql::Query::new(text, columns).map(|query| Self::Sql(Box::new(query)))
            }
            #[cfg(feature = "json_schema")]
            EachOptions::JsonSchema { path, text } => schema::Schema::new(path, text).map(Self::Schema),
            #[cfg(not(feature = "json_schema"))]
            EachOptions::JsonSchema { .. } => Err(Failure {
                error: "this build has no `json_schema`".to_owned(),
                hint: Some("build with the default features".to_owned()),
            }),
            EachOptions::Program { command, directory, timeout } => {
                Ok(Self::Program(program::Program::new(command, directory, *timeout)))
            }
            #[cfg(feature = "http")]
            EachOptions::Http { url, batch, concurrency, timeout } => {
                http::Server::new(url, *batch, *concurrency, *timeout).map(|server| Self::Http(Box::new(server)))
            }
            #[cfg(not(feature = "http"))]
            EachOptions::Http { .. } => Err(Failure {
                error: "this build has no `http`".to_owned(),
                hint: Some("build with the default features, or let a `program` send the records".to_owned()),
            }),
        }
    }

    /// Takes the records of a window, on a thread that may block.
    #[cfg_attr(not(feature = "http"), expect(unused_variables, reason = "only servers are waited for"))]
    pub(crate) fn take(&self, window: &mut Window, identity: &Identity, clock: &dyn Clock) -> Result<(), TaskError> {
        match self {
            #[cfg(feature = "json_schema")]
            Self::Schema(schema) => {
                schema.take(window);
                Ok(())
            }
            Self::Program(program) => program.take(window, identity),
            Self::Sql(query) => query.take(window),
            #[cfg(feature = "http")]
            Self::Http(server) => server.take(window, identity, clock),
        }
    }
}

/// What a program or a server answers to a record.
#[derive(Debug, Deserialize)]
struct Answer<'a> {
    success: bool,
    #[serde(default)]
    message: Option<String>,
    /// What the record has become; as it was where there is none.
    #[serde(default, borrow)]
    record: Option<&'a RawValue>,
    /// Of which record it is, where the answer tells.
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    key: Option<String>,
}

impl Answer<'_> {
    /// Whether it is of this record, as far as it tells.
    fn is_of(&self, identity: &Identity, index: u64) -> bool {
        self.index.is_none_or(|told| told == index) && self.key.as_ref().is_none_or(|told| *told == identity.key(index))
    }
}

/// Writes what a program or a server is asked, without a line end.
fn question(identity: &Identity, index: u64, record: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    serde_json::to_writer(&mut *out, &identity.key(index)).expect("writing to memory cannot fail");
    out.extend_from_slice(format!(",\"index\":{index},\"record\":").as_bytes());
    out.extend_from_slice(record);
    out.push(b'}');
}

impl Window {
    /// Takes the answer to a record.
    fn answer(&mut self, item: usize, answer: &Answer<'_>) {
        if !answer.success {
            let message = answer.message.clone().filter(|message| !message.is_empty());
            self.fail(item, message.unwrap_or_else(|| "refused without a reason".to_owned()));
            return;
        }
        match answer.record.map(RawValue::get).filter(|record| *record != "null") {
            Some(record) if !record.starts_with('{') => {
                self.fail(item, "the answer's `record` is no JSON object".to_owned());
                return;
            }
            Some(record) => {
                let flat = |byte: u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
                self.items[item].changed = Some(record.bytes().map(flat).collect());
            }
            None => {}
        }
        if let Some(message) = &answer.message {
            self.items[item].verdict = Verdict::Passed(Some(message.clone()));
        }
    }

    /// The numbers of the items that have not failed.
    fn open(&self) -> Vec<usize> {
        (0..self.items.len()).filter(|item| self.items[*item].is_in()).collect()
    }
}

/// A step that cannot be taken now, and what to do about it.
fn not_now(error: String, hint: &str) -> TaskError {
    TaskError { kind: Kind::Transient, failure: Failure { error, hint: Some(hint.to_owned()) } }
}
