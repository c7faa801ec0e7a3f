//! The fuzz targets over sound objects that are damaged by a seed: cut, flipped, spliced, filled with what formats are made of.
//!
//! In the ordinary run so many inputs for each target from a fixed seed; with `BALER_FUZZ_SECONDS` as long as that for each
//! target, from `BALER_FUZZ_SEED` or another seed each time. An input that fails is left in a file that the failure names.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use baler_format::codec::{Codec, Compression};
use baler_format::{Format, Ipc};

use super::samples::{self, Random, batch, encode};
use super::targets::{RECORDS, TARGETS, columns};

/// Inputs of each target in the ordinary run.
const INPUTS: u64 = 4_000;
/// No input takes longer; most take microseconds.
const LONGEST: Duration = Duration::from_secs(20);

/// What formats are made of.
const PIECES: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"null",
    b"true",
    b"-",
    b"1e999",
    b"NaN",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"9223372036854775808",
    b"2024-02-30",
    b"\"\"",
    b"records",
    b"PAR1",
    b"ARROW1",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"BZh9",
];
/// Sizes that overflow something.
const SIZES: &[u64] = &[0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];

/// Sound inputs of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut random = Random(0x5eed);
    let mut of = |format: &Format, rows: usize, compression| {
        let schema = columns(format);
        let rows = [batch(&schema, rows, &mut random), batch(&schema, 3, &mut random)];
        encode(format, &schema, compression, &rows)
    };
    let piece = |bytes: Vec<u8>| vec![[&[255], &bytes[..]].concat(), [&[2], &bytes[..]].concat()];
    match target {
        "codecs" => {
            let text = of(&samples::csv(), 40, Compression::NONE);
            let compressed = (0u8..).zip(Codec::ALL).map(|(n, codec)| {
                let compression = Compression::try_new(codec, None).unwrap();
                let mut to = baler_format::codec::writer(compression, Vec::new()).unwrap();
                std::io::Write::write_all(&mut to, &text).unwrap();
                let member = to.finish().unwrap();
                [&[n], &member[..], &member[..]].concat()
            });
            compressed.collect()
        }
        "json_lines" => piece(of(&Format::JsonLines, 20, Compression::NONE)),
        "json_document" => piece(of(&Format::Json { records: vec![RECORDS.to_owned()] }, 20, Compression::NONE)),
        "csv" => piece(of(&samples::csv(), 20, Compression::NONE)),
        "parquet" => Codec::ALL
            .into_iter()
            .filter(|codec| *codec != Codec::Bzip2)
            .map(|codec| of(&Format::Parquet, 40, Compression::try_new(codec, None).unwrap()))
            .collect(),
        "arrow" => [Ipc::Stream, Ipc::File]
            .into_iter()
            .flat_map(|ipc| piece(of(&Format::Arrow(ipc), 20, Compression::NONE)))
            .collect(),
        "inference" => {
            vec![of(&Format::JsonLines, 20, Compression::NONE), of(&samples::csv(), 20, Compression::NONE)]
        }
        other => panic!("`{other}` has no seeds"),
    }
}

/// A place from 0 to `end`, itself included.
fn up_to(random: &mut Random, end: usize) -> usize {
    usize::try_from((random.next() >> 11) % (end as u64 + 1)).unwrap()
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = up_to(random, bytes.len());
    let end = bytes.len().min(at + up_to(random, 64));
    match up_to(random, 9) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] ^= 1 << up_to(random, 7),
        2 if at < bytes.len() => bytes[at] = random.next().to_le_bytes()[3],
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            let to = up_to(random, bytes.len());
            bytes.splice(to..to, piece);
        }
        5 => {
            let piece = PIECES[up_to(random, PIECES.len() - 1)];
            bytes.splice(at..at, piece.iter().copied());
        }
        6 => {
            let piece = PIECES[up_to(random, PIECES.len() - 1)];
            let end = bytes.len().min(at + piece.len());
            bytes.splice(at..end, piece.iter().copied());
        }
        7 => {
            let width = [1, 2, 4, 8][up_to(random, 3)];
            let size = SIZES[up_to(random, SIZES.len() - 1)].to_le_bytes();
            let end = bytes.len().min(at + width);
            bytes.splice(at..end, size[..width].iter().copied());
        }
        8 => {
            let other = &seeds[up_to(random, seeds.len() - 1)];
            let from = up_to(random, other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => bytes[at..end].fill(0),
    }
}

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run(target: &str) {
    let seconds = asked("BALER_FUZZ_SECONDS").map(Duration::from_secs);
    let fresh = || seconds.map_or(1, |_| u64::from(std::process::id()) << 20 | 1);
    let seed = asked("BALER_FUZZ_SEED").unwrap_or_else(fresh);
    let (_, decode) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target of this name");
    let (seeds, mut random) = (seeds(target), Random(seed.max(1)));
    let began = Instant::now();
    let mut inputs = 0u64;
    while seconds.map_or(inputs < INPUTS, |seconds| began.elapsed() < seconds) {
        let mut bytes = seeds[up_to(&mut random, seeds.len() - 1)].clone();
        for _ in 0..up_to(&mut random, 6) {
            mutate(&mut bytes, &seeds, &mut random);
        }
        let one = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| decode(&bytes)));
        if ended.is_err() || one.elapsed() > LONGEST {
            let (_, path) = tempfile::Builder::new().prefix(target).tempfile().unwrap().keep().unwrap();
            std::fs::write(&path, &bytes).unwrap();
            panic!("`{target}`, seed {seed}, input {inputs} ({:.1?}): {}", one.elapsed(), path.display());
        }
        inputs += 1;
    }
    eprintln!("`{target}`: {inputs} inputs from seed {seed} in {:.1?}", began.elapsed());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            assert_eq!(TARGETS.map(|(name, _)| name).to_vec(), [$(stringify!($name)),*]);
        }
    };
}

targets!(codecs json_lines json_document csv parquet arrow inference);
