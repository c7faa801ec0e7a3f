//! How inputs become one output: copied, passed through or appended, the bytes and the account are the same.

use std::collections::HashMap;
use std::time::Duration;

use baler_engine::report::RunReport;
use baler_store::{DirectoryOptions, DirectoryStore, MemoryOptions, MemoryStore, PartLimits, SystemClock, SystemDisk};
use baler_testkit::SeededIds;
use baler_testkit::fault::proceed;

use super::*;
use crate::disk::Disk;
use crate::world::{HurriedClock, SMALL_PARTS};

/// A flow that joins `raw/{group}/` in the order of numbers.
fn joins(to: &str, suffix: &str, more: &str) -> String {
    format!(
        "[flows.join]\ndo = \"combine\"\nfrom = \"lake:raw/{{group}}/{{n:int}}.{suffix}\"\norder_by = [\"n\"]\n\
         to = \"{to}:out/{{group}}.{suffix}\"\n{more}\n"
    )
}

/// Parts are small, and a body comes in pieces of seven bytes.
fn small() -> World {
    World::over(MemoryOptions { parts: SMALL_PARTS, chunk: 7, ..MemoryOptions::default() })
}

/// How inputs reach the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Copied within a store as far as parts allow.
    Copied,
    /// Read, and uploaded to another store.
    Through,
    /// Copied within a directory, part by part.
    InParts,
    /// Appended within a directory.
    Appended,
}

const WAYS: [Way; 4] = [Way::Copied, Way::Through, Way::InParts, Way::Appended];

/// What came of a join: the report, the output, and what the stores say that they copied by themselves.
struct Came {
    report: RunReport,
    output: Option<Vec<u8>>,
    copied: Option<u64>,
}

async fn join(way: Way, suffix: &str, more: &str, inputs: &[Vec<u8>]) -> Came {
    let key = |n: usize| format!("raw/g/{n}.{suffix}");
    let out = format!("out/g.{suffix}");
    match way {
        Way::Copied | Way::Through => {
            let world = small();
            for (n, body) in inputs.iter().enumerate() {
                world.put(&key(n), body.clone()).await;
            }
            let (to, store) = if way == Way::Copied { ("lake", &world.lake) } else { ("other", &world.other) };
            let report = world.process(&joins(to, suffix, more), None).run_one().await;
            let output = store.peek(&out).map(|body| body.to_vec());
            let copied = Some(store.meter().read().bytes_copied);
            Came { report, output, copied }
        }
        Way::InParts | Way::Appended => {
            let disk = Disk::in_memory();
            for (n, body) in inputs.iter().enumerate() {
                disk.write(&format!("lake/{}", key(n)), body);
            }
            let config = format!("[stores]\nlake = \"./lake\"\n{}", joins("lake", suffix, more));
            // Through a hook a directory is written part by part.
            let hook = (way == Way::InParts).then(proceed);
            let report = disk.process_through(&config, hook).run_one().await;
            let output = std::fs::read(disk.path(&format!("lake/{out}"))).ok();
            Came { report, output, copied: None }
        }
    }
}

/// The output, and bytes that were inserted and removed, by the rules for people.
fn expected(inputs: &[Vec<u8>], header: bool, separators: bool) -> (Vec<u8>, u64, u64) {
    let line = inputs[0].split_inclusive(|&b| b == b'\n').next().unwrap().to_vec();
    let line = if line.ends_with(b"\n") { line } else { [&line[..], b"\n"].concat() };
    let (mut out, mut inserted, mut removed) = (Vec::new(), 0, 0);
    for (i, input) in inputs.iter().enumerate() {
        let body = match input.strip_prefix(&line[..]) {
            Some(rest) if header && i > 0 => rest,
            None if header && i > 0 => &[],
            _ => &input[..],
        };
        removed += (input.len() - body.len()) as u64;
        out.extend_from_slice(body);
        if separators && i + 1 < inputs.len() && !body.is_empty() && !body.ends_with(b"\n") {
            out.push(b'\n');
            inserted += 1;
        }
    }
    (out, inserted, removed)
}

/// A line of this length, without a line end.
fn long(letter: &str, length: usize) -> String {
    letter.repeat(length)
}

#[tokio::test(start_paused = true)]
async fn every_way_to_join_gives_the_same_bytes_and_the_same_account() {
    let texts = |inputs: &[&str]| inputs.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    let cases: Vec<(&str, bool, Vec<Vec<u8>>)> = vec![
        ("lines", false, texts(&["a\n", "b\n", "c\n"])),
        ("no line ends", false, texts(&["a", "b", "c"])),
        ("large ones", false, texts(&[&long("a", 200), "b", &long("c", 300), &long("d", 6000)])),
        ("large ones with line ends", false, texts(&[&format!("{}\n", long("a", 200)), &long("b", 200)])),
        ("a header", true, texts(&["h\n1\n", "h\n2", "h\n3\n", "h\n4"])),
        ("the first is the header alone", true, texts(&["h\n", "h\n1\n", "h\n2"])),
        ("the first is the header without a line end", true, texts(&["h", "h\n1\n", "h\n2"])),
        ("one between is the header alone", true, texts(&["h\n1", "h", "h\n", "h\n2"])),
        ("the last is the header alone", true, texts(&["h\n1", "h"])),
        ("a header before large ones", true, {
            let body = |letter, length| format!("head\n{}", long(letter, length));
            texts(&[&body("a", 300), &body("b", 9000), &body("c", 60), &body("d", 300)])
        }),
        ("an empty line as header", true, {
            texts(&["\n1\n", &format!("\n{}", long("a", 300)), "\n2", &format!("\n{}", long("b", 300))])
        }),
    ];
    for (case, header, inputs) in &cases {
        for separators in [true, false] {
            let words = if separators { "newline" } else { "none" };
            let head = if *header { "header = \"first\"\n" } else { "" };
            let (output, inserted, removed) = expected(inputs, *header, separators);
            for way in WAYS {
                let came = join(way, "csv", &format!("{head}separator = \"{words}\""), inputs).await;
                let about = format!("{case}, {way:?}, separators: {separators}: {:#?}", came.report);
                let bytes_in: u64 = inputs.iter().map(|input| input.len() as u64).sum();
                assert_eq!(came.report.status, Status::Committed, "{about}");
                assert!(came.output.as_ref() == Some(&output), "{about}");
                let account = &came.report.account;
                assert_eq!((account.objects_in, account.objects_out), (inputs.len() as u64, 1), "{about}");
                assert_eq!((account.bytes_in, account.bytes_out), (bytes_in, output.len() as u64), "{about}");
                assert_eq!((account.bytes_inserted, account.bytes_removed), (inserted, removed), "{about}");
                let (copied, through) = (came.report.bytes_copied_server_side, came.report.bytes_through_client);
                match way {
                    Way::Copied => assert_eq!(Some(copied), came.copied, "{about}"),
                    Way::Through => assert_eq!((copied, came.copied), (0, Some(0)), "{about}"),
                    Way::InParts => assert_eq!(copied, bytes_in - removed, "{about}"),
                    Way::Appended => assert_eq!((copied, through), (0, bytes_in - removed), "{about}"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_way_joins_another_header_or_another_codec() {
    let (other, unlike) = (format!("cd\n{}", long("x", 300)), long("x", 300));
    let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let cases: [(&str, &str, [&[u8]; 2], &str); 6] = [
        ("csv", "another header", [b"ab\n1\n", b"cd\n2\n"], "begins with"),
        ("csv", "another header before a large rest", [b"ab\n1\n", other.as_bytes()], "begins with"),
        ("csv", "no empty line", [b"\n1\n", b"x\n"], "begins with"),
        ("csv", "no empty line before a large rest", [b"\n1\n", unlike.as_bytes()], "begins with"),
        ("bin", "gzip behind plain", [b"plain text\n", gzip], "codecs are mixed"),
        ("bin", "plain behind gzip", [gzip, b"plain text\n"], "codecs are mixed"),
    ];
    for (suffix, case, inputs, said) in cases {
        // No separator: nothing but the header asks for the beginning of an input.
        let more = if suffix == "csv" { "header = \"first\"\nseparator = \"none\"" } else { "" };
        for way in WAYS {
            // Sources that a directory copies by itself are taken at their suffix's word.
            if way == Way::InParts && suffix == "bin" {
                continue;
            }
            let came = join(way, suffix, more, &inputs.map(<[u8]>::to_vec)).await;
            let about = format!("{case}, {way:?}: {:#?}", came.report);
            assert_eq!(came.report.status, Status::Failed, "{about}");
            assert!(came.report.failures[0].error.contains(said), "{about}");
            assert_eq!(came.output, None, "{about}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_within_an_object_say_nothing_of_its_codec() {
    // The small object lacks 40 bytes to be a part: they come from the tail of the one before, or from the head behind.
    let mut large = long("a", 200).into_bytes();
    large[160..162].copy_from_slice(&[0x1f, 0x8b]);
    let inputs = [large, vec![b'b'; 10], vec![b'c'; 200]];
    let came = join(Way::Copied, "bin", "", &inputs).await;
    assert_eq!(came.report.status, Status::Committed, "{:#?}", came.report);
    assert!(came.output == Some(inputs.concat()));
    assert_eq!((came.report.bytes_copied_server_side, came.report.bytes_through_client), (360, 50));
}

#[tokio::test(start_paused = true)]
async fn a_header_costs_one_read_of_its_input_and_its_end_is_looked_for_no_further_than_there_are_bytes() {
    let first = [b"h\n".to_vec(), vec![b'1'; 100_000]].concat();
    let name = vec![b'h'; 16 << 10];
    let again = [&name[..], b"\n2\n"].concat();
    for (inputs, more) in [([first, b"h\n2\n".to_vec()], 16 << 10), ([name, again], 16 << 10)] {
        let came = join(Way::Through, "csv", "header = \"first\"", &inputs).await;
        assert_eq!(came.report.status, Status::Committed, "{:#?}", came.report);
        let all: usize = inputs.iter().map(Vec::len).sum();
        assert_eq!(came.report.bytes_through_client, (all + more) as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_read_before_the_header_of_its_input_was_looked_at_holds_no_header() {
    let world = small();
    let body: String = (0..2000).map(|n| format!("{n}\n")).collect();
    world.put("raw/g/1.csv", "h\n1\n").await;
    world.put("raw/g/2.csv", format!("h\n{body}")).await;
    let clock = world.clock.clone();
    let slow = at(Method::Get, "raw/g/2", 1, move || {
        let clock = clock.clone();
        Box::pin(async move {
            clock.sleep(Duration::from_secs(1)).await;
            Verdict::Proceed
        })
    });
    let report = world.process(&joins("other", "csv", "header = \"first\""), Some(slow)).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert!(world.other.peek("out/g.csv").unwrap() == format!("h\n1\n{body}"));
}

/// Some servers copy whatever is there, whichever version was asked for.
#[tokio::test(start_paused = true)]
async fn a_source_that_changed_once_it_was_copied_fails_its_group() {
    let world = small();
    for n in 1..=2 {
        world.put(&format!("raw/g/{n}.bin"), vec![b'a'; 300]).await;
    }
    let lake = world.lake.clone();
    let hook = after((Method::CopyPart, "out/"), (Method::Head, "raw/g/"), move || {
        let lake = lake.clone();
        Box::pin(async move {
            for n in 1..=2 {
                lake.put(&fixtures::key(&format!("raw/g/{n}.bin")), vec![b'b'; 300].into()).await.unwrap();
            }
        })
    });
    let report = world.process(&joins("lake", "bin", ""), Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("changed: version"), "{report:#?}");
    assert!(world.read("out/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_early_is_never_taken_for_the_object() {
    for to in ["lake", "other"] {
        let world = small();
        for n in 1..=2 {
            world.put(&format!("raw/g/{n}.bin"), vec![b'a'; 30]).await;
        }
        let hook: Hook = Arc::new(|op| {
            let short = op.method == Method::Get && op.key == "raw/g/1.bin";
            Box::pin(std::future::ready(if short { Verdict::EndEarly } else { Verdict::Proceed }))
        });
        let report = world.process(&joins(to, "bin", ""), Some(hook)).run_one().await;
        assert_eq!(report.status, Status::Failed, "{report:#?}");
        assert!(report.failures[0].error.contains("29 bytes where 30 were planned"), "{report:#?}");
        assert!(world.lake.peek("out/g.bin").is_none() && world.other.peek("out/g.bin").is_none());
    }
}

/// A directory takes the parts of an output one after the other; what is read for them may come in any order.
#[tokio::test(flavor = "multi_thread")]
async fn parts_for_a_directory_are_written_in_order_however_long_the_first_takes() {
    let disk = Disk::in_memory();
    let (clock, ids) = (Arc::new(HurriedClock), Arc::new(SeededIds::new(1)));
    let lake = MemoryStore::new("lake", MemoryOptions::default(), clock.clone(), ids.clone());
    // Three parts of at most 8 MiB; the last holds nothing of the first object.
    let bodies: Vec<Vec<u8>> = (1..=2u8).map(|n| vec![n; 9 << 20]).collect();
    for (n, body) in bodies.iter().enumerate() {
        lake.put(&fixtures::key(&format!("raw/g/{n}.bin")), body.clone().into()).await.unwrap();
    }
    let slow: Hook = Arc::new(|op| {
        let first = op.method == Method::Get && op.key == "raw/g/0.bin";
        Box::pin(async move {
            if first {
                SystemClock.sleep(Duration::from_millis(100)).await;
            }
            Verdict::Proceed
        })
    });
    let options = DirectoryOptions::default();
    let out = DirectoryStore::over(Arc::new(SystemDisk), "out", disk.path("out"), options, clock.clone(), ids).unwrap();
    let lake: Arc<dyn Store> = Arc::new(baler_testkit::FaultStore::with_hook(Arc::new(lake), slow));
    let stores = HashMap::from([("lake".to_owned(), lake), ("out".to_owned(), fixtures::shared(out))]);
    let text = format!(
        "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://lake\"\nout = \"./out\"\n{}",
        joins("out", "bin", "")
    );
    let process = Process::over(&text, disk.path("").to_str().unwrap(), stores, clock, 7);
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert!(std::fs::read(disk.path("out/out/g.bin")).unwrap() == bodies.concat());
}

/// What is archived in another store passes through this machine, whatever the stores could copy elsewhere.
#[tokio::test(start_paused = true)]
async fn objects_are_archived_across_stores_that_cannot_copy_from_each_other_and_read_once() {
    // Bytes that pass through are uploaded in parts of 8 MiB.
    let part = 8 << 20;
    for (from, to) in [("lake", "other"), ("other", "lake"), ("other", "other")] {
        let world = World::over(MemoryOptions { chunk: part - 1, ..MemoryOptions::default() });
        let store = |name| if name == "lake" { world.lake.clone() } else { world.other.clone() };
        let bodies = [vec![b'x'; 2 * part - 2], b"y\n".to_vec()];
        for (n, body) in bodies.iter().enumerate() {
            store(from).put(&fixtures::key(&format!("raw/a/{n}.jsonl")), body.clone().into()).await.unwrap();
        }
        let config = FLOW.replace("\"lake:raw", &format!("\"{from}:raw")).replace("to = \"lake", "to = \"other");
        let config = format!("{config}sources = {{ after_commit = \"archive\", archive_to = \"{to}:old/\" }}\n");
        let (writes, written) = counts(Method::WritePart, "old/");
        let (reads, read) = counts(Method::Get, "old/");
        let report = world.process(&config, Some(all(vec![writes, reads]))).run_one().await;
        assert_eq!(report.status, Status::Committed, "{from} to {to}: {report:#?}");
        let run = report.run.unwrap();
        for (n, body) in bodies.iter().enumerate() {
            let archived = store(to).peek(&format!("old/{run}/raw/a/{n}.jsonl"));
            assert!(archived.is_some_and(|archived| archived == *body), "{from} to {to}");
            assert!(store(from).peek(&format!("raw/a/{n}.jsonl")).is_none(), "{from} to {to}");
        }
        // Two chunks are a part of the larger one: the first alone is a byte too short.
        assert_eq!(written.load(Ordering::SeqCst), 2, "{from} to {to}");
        assert_eq!(read.load(Ordering::SeqCst), 0, "{from} to {to}: the checksum told that the copy is the source");
    }
}

/// A large object has more bytes than parts of the usual size hold.
#[tokio::test(start_paused = true)]
async fn an_object_of_more_parts_than_an_upload_may_have_is_archived_in_larger_ones() {
    let parts = PartLimits { min: 1, max: 64 << 20, count: 2, object: 1 << 30 };
    let world = World::over(MemoryOptions { parts, ..MemoryOptions::default() });
    let mut body = vec![b'x'; 20 << 20];
    body.push(b'\n');
    world.put("raw/a/1.jsonl", body.clone()).await;
    world.put("raw/a/2.jsonl", "y\n").await;
    let config = format!("{FLOW}sources = {{ after_commit = \"archive\", archive_to = \"other:old/\" }}\n");
    let report = world.process(&config, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let archived = world.other.peek(&format!("old/{}/raw/a/1.jsonl", report.run.unwrap()));
    assert!(archived.is_some_and(|archived| archived == body));
}
