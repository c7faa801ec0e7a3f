//! Strings and values of JSON, read by its rules.

use super::super::Unread;
use super::super::column::Text;
use super::super::number::json_number;
use super::super::swar::{byte, json_string_stops, load8, load16};

/// Containers that may stand in one another.
const MAX_DEPTH: u32 = 128;

/// The first byte at or behind `at` that is no white space; a line feed ends the record and is none.
#[inline]
pub(super) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\t' | b'\r') {
        at += 1;
    }
    at
}

/// Appends the string whose first character is at `at` to `sink`; says where it ends, its quote included.
#[inline(always)]
pub(super) fn string(text: &[u8], mut at: usize, sink: &mut Text) -> Result<usize, Unread> {
    loop {
        let block = load16(text, at);
        let stops = json_string_stops(block);
        let count = stops.first();
        sink.store(block, count);
        at += count;
        if stops.none() {
            continue;
        }
        if byte(text, at) == b'"' {
            return Ok(at + 1);
        }
        at = escape(text, at, |bytes| sink.extend(bytes))?;
    }
}

/// The end of the string whose first character is at `at`, its quote included.
#[inline]
pub(super) fn skip_string(text: &[u8], mut at: usize) -> Result<usize, Unread> {
    loop {
        let stops = json_string_stops(load16(text, at));
        at += stops.first();
        if stops.none() {
            continue;
        }
        if byte(text, at) == b'"' {
            return Ok(at + 1);
        }
        at = escape(text, at, |_| ())?;
    }
}

/// Reads what stopped a string and is not its end: an escape, or a fault.
#[inline(never)]
fn escape(text: &[u8], at: usize, mut put: impl FnMut(&[u8])) -> Result<usize, Unread> {
    if byte(text, at) != b'\\' {
        return Err(Unread);
    }
    let plain = match byte(text, at + 1) {
        b'"' => b"\"",
        b'\\' => b"\\",
        b'/' => b"/",
        b'b' => b"\x08",
        b'f' => b"\x0c",
        b'n' => b"\n",
        b'r' => b"\r",
        b't' => b"\t",
        b'u' => {
            let (character, next) = unicode(text, at + 2)?;
            put(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(next);
        }
        _ => return Err(Unread),
    };
    put(plain);
    Ok(at + 2)
}

fn unicode(text: &[u8], at: usize) -> Result<(char, usize), Unread> {
    let first = four_hex_digits(text, at)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, at + 4));
    }
    // Half of a pair: the other half has to follow.
    if first < 0xDC00 && byte(text, at + 4) == b'\\' && byte(text, at + 5) == b'u' {
        let second = four_hex_digits(text, at + 6)?;
        if (0xDC00..0xE000).contains(&second) {
            let character = char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
            return character.map(|character| (character, at + 10)).ok_or(Unread);
        }
    }
    Err(Unread)
}

fn four_hex_digits(text: &[u8], at: usize) -> Result<u32, Unread> {
    let mut value = 0;
    for place in at..at + 4 {
        value = value << 4 | char::from(byte(text, place)).to_digit(16).ok_or(Unread)?;
    }
    Ok(value)
}

/// The end of the value that begins at `at`, checked by all rules but that keys inside it differ.
pub(super) fn skip_value(text: &[u8], mut at: usize) -> Result<usize, Unread> {
    // A bit for every open container, the innermost lowest: one for objects.
    let mut open = 0_u128;
    let mut depth = 0;
    at = skip_space(text, at);
    loop {
        // A value begins here.
        at = match byte(text, at) {
            b'"' => skip_string(text, at + 1)?,
            b'{' | b'[' => {
                let object = byte(text, at) == b'{';
                if depth == MAX_DEPTH {
                    return Err(Unread);
                }
                open = open << 1 | u128::from(object);
                depth += 1;
                at = skip_space(text, at + 1);
                if byte(text, at) != if object { b'}' } else { b']' } {
                    if object {
                        at = skip_key(text, at)?;
                    }
                    continue;
                }
                open >>= 1;
                depth -= 1;
                at + 1
            }
            b't' if load8(text, at) & 0xFFFF_FFFF == super::TRUE => at + 4,
            b'n' if load8(text, at) & 0xFFFF_FFFF == super::NULL => at + 4,
            b'f' if load8(text, at) & 0xFF_FFFF_FFFF == super::FALSE => at + 5,
            b'-' | b'0'..=b'9' => json_number(text, at)?,
            _ => return Err(Unread),
        };
        // A value has ended: close what ends with it.
        loop {
            if depth == 0 {
                return Ok(at);
            }
            at = skip_space(text, at);
            let object = open & 1 == 1;
            match (byte(text, at), object) {
                (b',', true) => {
                    let key = skip_space(text, at + 1);
                    at = skip_key(text, key)?;
                    break;
                }
                (b',', false) => {
                    at = skip_space(text, at + 1);
                    break;
                }
                (b'}', true) | (b']', false) => {
                    open >>= 1;
                    depth -= 1;
                    at += 1;
                }
                _ => return Err(Unread),
            }
        }
    }
}

/// Passes over a key and its colon, to where its value begins.
fn skip_key(text: &[u8], at: usize) -> Result<usize, Unread> {
    if byte(text, at) != b'"' {
        return Err(Unread);
    }
    let at = skip_string(text, at + 1)?;
    let at = skip_space(text, at);
    if byte(text, at) != b':' {
        return Err(Unread);
    }
    Ok(skip_space(text, at + 1))
}
