#![no_main]

mod common;

use baler_format::{Format, Ipc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| common::decode(&Format::Arrow(Ipc::Stream), common::pieces(bytes)));
