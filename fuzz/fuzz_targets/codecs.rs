#![no_main]

use std::io::Read;

use baler_format::codec::{Codec, decode_whole, reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let codec = Codec::ALL[usize::from(*first) % Codec::ALL.len()];
    let mut streamed = Vec::new();
    let limit = 1 << 20;
    let result = reader(codec, bytes).take(limit + 1).read_to_end(&mut streamed);
    let whole = decode_whole(codec, bytes, limit as usize);
    // Both ways agree.
    match whole {
        Ok(whole) => assert!(result.is_ok() && whole == streamed),
        Err(_) => assert!(result.is_err() || streamed.len() as u64 > limit),
    }
});
