//! The fast decoders against other readers of the same text.

mod corruption;
mod csv_against_others;
mod csv_rules;
mod json_against_others;
mod json_rules;
mod support;
