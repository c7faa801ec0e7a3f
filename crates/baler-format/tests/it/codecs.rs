//! Codecs: every member is read, faults are placed, nothing decoded before a fault is lost.

use std::io::{self, Read, Write};

use baler_format::codec::{
    Codec, CodecError, CodecFault, Compression, decode_whole, encode_whole, encode_whole_into, reader, writer,
};
use proptest::prelude::*;

pub(crate) fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut writer = writer(compression, Vec::new()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn with(codec: Codec) -> Compression {
    Compression::try_new(codec, None).unwrap()
}

/// Everything up to the end or the fault, in reads of `step` bytes.
fn read_in_steps(codec: Codec, bytes: &[u8], step: usize) -> (Vec<u8>, Option<io::Error>) {
    let mut reader = reader(codec, bytes);
    let (mut all, mut buffer) = (Vec::new(), vec![0; step]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (all, None),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(error) => return (all, Some(error)),
        }
    }
}

/// Lines of words, so that codecs find something to do, and no two alike.
fn text(lines: usize) -> Vec<u8> {
    let mut state = 1u64;
    let words = (0..lines).map(|n| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("line {n} {:x} {}\n", state >> 20, ["alpha", "beta", "gamma"][(state >> 40) as usize % 3])
    });
    words.collect::<String>().into_bytes()
}

const JOINING: [Codec; 5] = [Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Lz4, Codec::Snappy];

#[test]
fn every_codec_and_level_reads_what_it_wrote() {
    let text = text(2_000);
    for codec in Codec::ALL {
        let (least, most) = codec.levels().unwrap_or((0, 0));
        for level in [least, codec.default_level(), most] {
            let asked = codec.levels().map(|_| i64::from(level));
            let made = compress(Compression::try_new(codec, asked).unwrap(), &text);
            assert_eq!(decode_whole(codec, &made, text.len()).unwrap(), text, "{codec} level {level}");
            assert_eq!(read_in_steps(codec, &made, 1_000).0, text, "{codec} level {level}");
            if codec != Codec::Brotli {
                assert_eq!(Codec::sniff(&made), codec);
            }
        }
    }
}

#[test]
fn what_a_buffer_held_before_does_not_matter() {
    let (few, many) = (text(3), text(5_000));
    for codec in Codec::ALL {
        let compression = with(codec);
        let (short, long) = (encode_whole(compression, &few).unwrap(), encode_whole(compression, &many).unwrap());
        assert_eq!(decode_whole(codec, &long, many.len()).unwrap(), many, "{codec:?}");
        let mut buffer = vec![0xff; 7];
        for (plain, encoded) in [(&many, &long), (&few, &short), (&many, &long)] {
            buffer = encode_whole_into(compression, plain, buffer).unwrap();
            assert_eq!(&buffer, encoded, "{codec:?}");
        }
    }
}

#[test]
fn nothing_written_is_nothing_read_and_no_bytes_are_a_fault() {
    for codec in Codec::ALL {
        let made = compress(with(codec), b"");
        assert_eq!(decode_whole(codec, &made, 0).unwrap(), b"", "{codec}");
        if codec != Codec::None {
            let error = decode_whole(codec, b"", 0).unwrap_err();
            assert_eq!(CodecError::of(&error).unwrap().fault, CodecFault::Truncated, "{codec}");
        }
    }
}

#[test]
fn every_member_is_read() {
    let (a, b) = (text(3_000), text(10));
    for codec in JOINING {
        let joined = [compress(with(codec), &a), compress(with(codec), b""), compress(with(codec), &b)].concat();
        let both = [a.clone(), b.clone()].concat();
        assert_eq!(decode_whole(codec, &joined, both.len()).unwrap(), both, "{codec}");
        assert_eq!(read_in_steps(codec, &joined, 7).0, both, "{codec}");
        // Members that are alike cannot be told from one by their last bytes.
        let twice = [compress(with(codec), &b), compress(with(codec), &b)].concat();
        assert_eq!(decode_whole(codec, &twice, both.len()).unwrap(), [b.clone(), b.clone()].concat(), "{codec}");
    }
}

#[test]
fn skippable_frames_are_skipped() {
    let skippable = b"\x53\x2a\x4d\x18\x05\x00\x00\x00hello";
    for codec in [Codec::Zstd, Codec::Lz4] {
        let made = compress(with(codec), b"text");
        let joined = [&skippable[..], &made, skippable, &made, skippable].concat();
        assert_eq!(decode_whole(codec, &joined, 100).unwrap(), b"texttext", "{codec}");
        assert!(decode_whole(codec, &joined[..joined.len() - 1], 100).is_err(), "{codec}");
    }
}

#[test]
fn a_stream_cut_anywhere_is_a_fault_that_comes_behind_what_could_be_decoded() {
    let text = text(100);
    for codec in Codec::ALL {
        let made = compress(with(codec), &text);
        for cut in 0..made.len() {
            let (decoded, error) = read_in_steps(codec, &made[..cut], 4_096);
            assert!(text.starts_with(&decoded), "{codec} cut at {cut}");
            match error {
                Some(error) => {
                    let fault = CodecError::of(&error).unwrap();
                    assert_eq!(fault.fault, CodecFault::Truncated, "{codec} cut at {cut}: {fault}");
                    assert!(fault.offset <= cut as u64 && fault.member == 1, "{codec} cut at {cut}: {fault}");
                }
                // Between two chunks, the first being the identifier.
                None => assert!(matches!(codec, Codec::None | Codec::Snappy), "{codec} cut at {cut}"),
            }
            assert!(
                decode_whole(codec, &made[..cut], text.len()).is_err() || matches!(codec, Codec::None | Codec::Snappy)
            );
        }
    }
}

#[test]
fn what_stands_behind_the_end_is_a_fault_with_its_place() {
    let text = text(50);
    for codec in Codec::ALL.into_iter().filter(|codec| *codec != Codec::None) {
        let made = compress(with(codec), &text);
        let (decoded, error) = read_in_steps(codec, &[&made[..], b"garbage behind the end"].concat(), 4_096);
        assert_eq!(decoded, text, "{codec}");
        let error = error.unwrap_or_else(|| panic!("{codec} takes garbage"));
        let fault = CodecError::of(&error).unwrap();
        if codec != Codec::Snappy {
            assert_eq!(fault.fault, CodecFault::Trailing(codec));
            assert_eq!(fault.offset, made.len() as u64, "{codec}");
        }
        assert!(decode_whole(codec, &[&made[..], b"\0\0\0"].concat(), 1 << 20).is_err(), "{codec} takes zeros");
    }
}

#[test]
fn damage_in_the_second_member_names_it_and_comes_behind_the_first() {
    let (a, b) = (text(5_000), text(300));
    for codec in JOINING {
        let first = compress(with(codec), &a);
        let mut joined = [first.clone(), compress(with(codec), &b)].concat();
        let last = joined.len() - 6;
        joined[last] ^= 0x10;
        let (decoded, error) = read_in_steps(codec, &joined, 1 << 20);
        let error = error.unwrap_or_else(|| panic!("{codec} takes damage"));
        assert!(decoded.starts_with(&a), "{codec}");
        let fault = CodecError::of(&error).unwrap();
        assert_eq!(fault.member, if codec == Codec::Snappy { 1 } else { 2 }, "{codec}: {fault}");
        assert!(fault.offset as usize > first.len() && fault.offset as usize <= joined.len(), "{codec}: {fault}");
    }
}

#[test]
fn what_was_inflated_before_damage_is_handed_out() {
    let text = text(120_000);
    for codec in JOINING {
        let mut made = compress(with(codec), &text);
        let at = made.len() / 2;
        made[at..at + 64].fill(0xff);
        // A read that could take everything: what the library made before it saw the damage must not be lost with it.
        let (decoded, error) = read_in_steps(codec, &made, 16 << 20);
        assert!(error.is_some(), "{codec}");
        // A bzip2 block has 900 KB, an LZ4 block 1 MB, a zstd block 128 KB.
        let window = 1 << 20;
        assert!(decoded.len() + window > text.len() / 2, "{codec} gave {} of {}", decoded.len(), text.len());
    }
}

#[test]
fn a_failing_reader_is_not_taken_for_damage() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionReset, "reset"))?;
            into[0] = 0;
            Ok(1)
        }
    }
    for codec in Codec::ALL {
        let made = compress(with(codec), &text(100));
        let half = made[..made.len() / 2].to_vec();
        let error = reader(codec, io::Cursor::new(half).chain(Broken(0))).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{codec}");
        assert_eq!(CodecError::of(&error), None, "{codec}");
    }
}

#[test]
fn an_object_that_expands_beyond_the_limit_is_refused() {
    let bomb = vec![b'0'; 8 << 20];
    for codec in Codec::ALL.into_iter().filter(|codec| *codec != Codec::None) {
        let made = compress(with(codec), &bomb);
        let error = decode_whole(codec, &made, (8 << 20) - 1).unwrap_err();
        assert_eq!(CodecError::of(&error).unwrap().fault, CodecFault::TooLarge((8 << 20) - 1), "{codec}");
    }
}

#[test]
fn a_writer_that_is_dropped_writes_no_end() {
    let text = text(20_000);
    for codec in Codec::ALL.into_iter().filter(|codec| !matches!(codec, Codec::None | Codec::Snappy)) {
        let mut out = Vec::new();
        let mut writer = writer(with(codec), &mut out).unwrap();
        writer.write_all(&text).unwrap();
        drop(writer);
        assert!(read_in_steps(codec, &out, 4_096).1.is_some(), "{codec}");
    }
}

#[test]
fn gzip_headers_with_every_field_are_read() {
    let plain = compress(with(Codec::Gzip), b"text");
    let mut header = b"\x1f\x8b\x08\x1e\x00\x00\x00\x00\x00\xff\x03\x00abcname\0a comment\0".to_vec();
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    header.extend((crc.sum() as u16).to_le_bytes());
    let made = [&header[..], &plain[10..]].concat();
    assert_eq!(read_in_steps(Codec::Gzip, &made, 100).0, b"text");
    assert_eq!(decode_whole(Codec::Gzip, &made, 4).unwrap(), b"text");
    for at in 0..header.len() {
        let mut bad = made.clone();
        bad[at] ^= 1;
        assert!(read_in_steps(Codec::Gzip, &bad, 100).1.is_some(), "byte {at} of the header");
    }
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_round_trip_in_any_cuts(
        codec in codecs(),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..8),
        step in 1usize..5_000,
    ) {
        let mut writer = writer(with(codec), Vec::new()).unwrap();
        for piece in &pieces {
            writer.write_all(piece).unwrap();
            writer.flush().unwrap();
        }
        let made = writer.finish().unwrap();
        let (decoded, error) = read_in_steps(codec, &made, step);
        prop_assert!(error.is_none(), "{codec}: {error:?}");
        prop_assert_eq!(&decoded, &pieces.concat());
        prop_assert_eq!(decode_whole(codec, &made, decoded.len()).unwrap(), decoded);
    }

    #[test]
    fn flipped_bits_never_pass_a_checksum_and_never_panic(
        codec in prop::sample::select(vec![Codec::Gzip, Codec::Zstd, Codec::Bzip2, Codec::Lz4]),
        lines in 0usize..300, at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let text = text(lines);
        let mut made = compress(with(codec), &text);
        let at = at.index(made.len());
        made[at] ^= 1 << bit;
        let (decoded, error) = read_in_steps(codec, &made, 1_000);
        // Gzip's time and flags, and bits that no codec looks at, may differ; then the text is whole.
        prop_assert!(error.is_some() || decoded == text, "{codec}: byte {at} bit {bit}");
        let whole = decode_whole(codec, &made, text.len() * 2 + 100);
        prop_assert_eq!(whole.is_ok(), error.is_none(), "{} byte {} bit {}", codec, at, bit);
    }

    #[test]
    fn any_bytes_at_all_end_in_bytes_or_a_fault(codec in codecs(), bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let (decoded, error) = read_in_steps(codec, &bytes, 4_096);
        prop_assert!(decoded.len() <= 64 << 20);
        if let Some(error) = error {
            prop_assert!(CodecError::of(&error).is_some());
        }
    }
}

#[test]
fn a_second_member_that_is_equal_to_the_first_is_not_lost_when_its_beginning_is_damaged() {
    let member = compress(with(Codec::Gzip), b"id,name\n1,Ann\n2,Bob\n");
    for at in [0, 1] {
        let mut bytes = [&member[..], &member[..]].concat();
        bytes[member.len() + at] = 0xff;
        let error = decode_whole(Codec::Gzip, &bytes, 1 << 20).unwrap_err();
        let fault = CodecError::of(&error).map(|error| &error.fault);
        assert!(matches!(fault, Some(CodecFault::Trailing(_))), "{at}: {error}");
    }
}
