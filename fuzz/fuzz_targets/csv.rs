#![no_main]

mod common;

use baler_format::{Csv, Format};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| common::decode(&Format::Csv(Csv::default()), common::pieces(bytes)));
