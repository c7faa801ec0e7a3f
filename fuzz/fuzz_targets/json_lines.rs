#![no_main]

mod common;

use baler_format::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| common::decode(&Format::JsonLines, common::pieces(bytes)));
