//! Tests of the formats: against themselves, against naive models, against readers and writers that others wrote.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod codecs;
mod columnar;
mod csv;
mod damage;
mod foreign;
mod inference;
mod json;
mod round_trip;
mod samples;
