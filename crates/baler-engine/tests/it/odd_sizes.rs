//! Sizes and counts at the limits, and manifests that are none: a table each, with what is done or said.

use std::fmt::Write as _;
use std::path::Path;

use baler_engine::report::Status;

use crate::s3_world::S3World;
use crate::world::World;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const BLOBS: &str = r#"
[flows.blobs]
do = "combine"
from = "lake:raw/{group}/{n:int}.bin"
order_by = ["n"]
to = "lake:out/{group}.bin"
sources = { after_commit = "delete" }
"#;

/// Sizes of a group's objects, and of its output; `None` where there is none.
const SIZES: [(&str, &[u64], Option<u64>); 22] = [
    ("one byte each", &[1, 1], Some(2)),
    ("an empty object is skipped", &[0, 1, 1], Some(2)),
    ("nothing but empty objects", &[0, 0], None),
    ("one object and an empty one: too few", &[0, 7], None),
    ("one object is too few", &[7], None),
    ("the least part less a byte, first", &[5 * MIB - 1, 1], Some(5 * MIB)),
    ("the least part less a byte, last", &[1, 5 * MIB - 1], Some(5 * MIB)),
    ("the least part, first", &[5 * MIB, 1], Some(5 * MIB + 1)),
    ("the least part, last", &[1, 5 * MIB], Some(5 * MIB + 1)),
    ("the least part between small ones", &[1, 5 * MIB, 1], Some(5 * MIB + 2)),
    ("a byte more than the least part between small ones", &[1, 5 * MIB + 1, 1], Some(5 * MIB + 3)),
    ("two parts less a byte each", &[5 * MIB - 1, 5 * MIB - 1], Some(10 * MIB - 2)),
    ("twice the least part less a byte", &[1, 10 * MIB - 1, 1], Some(10 * MIB + 1)),
    ("the largest part less a byte", &[5 * GIB - 1, 1], Some(5 * GIB)),
    ("the largest part", &[5 * GIB, 1], Some(5 * GIB + 1)),
    ("a byte more than the largest part", &[5 * GIB + 1, 1], Some(5 * GIB + 2)),
    ("a byte more than the largest part, behind a byte", &[1, 5 * GIB + 1], Some(5 * GIB + 2)),
    ("a byte more than the largest part, between bytes", &[1, 5 * GIB + 1, 1], Some(5 * GIB + 3)),
    ("twice the largest part and a byte", &[10 * GIB + 1, 10 * GIB + 1], Some(20 * GIB + 2)),
    ("a tebibyte", &[1024 * GIB, 1], Some(1024 * GIB + 1)),
    ("the largest object", &[5 * 1024 * GIB - 1, 1], Some(5 * 1024 * GIB)),
    ("a byte more than the largest object", &[5 * 1024 * GIB, 1], None),
];

#[tokio::test(flavor = "multi_thread")]
async fn sizes_at_the_limits_are_joined_whole_or_left_alone() {
    for (case, sizes, expected) in SIZES {
        let world = S3World::start().await;
        for (n, size) in sizes.iter().enumerate() {
            world.server.put_zeros("lake", &format!("raw/g/{n}.bin"), *size);
        }
        let before = world.server.keys("lake", "raw/");
        let report = world.process(BLOBS, None).run_one().await;
        assert_eq!(world.server.size("lake", "out/g.bin"), expected, "{case}: {report:#?}");
        match expected {
            Some(bytes) => {
                assert_eq!(report.status, Status::Committed, "{case}: {report:#?}");
                assert_eq!(report.account.bytes_out, bytes, "{case}");
                let empty: Vec<String> =
                    before.iter().zip(sizes).filter(|(_, s)| **s == 0).map(|(k, _)| k.clone()).collect();
                assert_eq!(world.server.keys("lake", "raw/"), empty, "{case}: only what was joined is deleted");
                assert!(
                    report.bytes_through_client < 64 * MIB,
                    "{case}: {} bytes were read",
                    report.bytes_through_client
                );
            }
            None => {
                assert_eq!(world.server.keys("lake", "raw/"), before, "{case}: nothing is deleted");
                let said = !report.notes.is_empty() || !report.failures.is_empty();
                assert!(said, "{case}: nothing is said: {report:#?}");
            }
        }
        assert!(world.server.uploads("lake").is_empty(), "{case}: uploads are left");
    }
}

/// Objects of a group by their number alone.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_objects_in_one_group_are_one_object() {
    let world = World::new();
    for n in 0..100_000 {
        world.put(&format!("raw/g/{n}.bin"), format!("{n}\n")).await;
    }
    let report = world.process(BLOBS, None).run_one().await;
    assert_eq!((report.status, report.account.objects_in), (Status::Committed, 100_000));
    let expected: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    assert!(world.read("out/").await["out/g.bin"] == expected, "records are lost, doubled or out of order");
    assert!(world.read("raw/").await.is_empty());
}

const QUEUED: &str = r#"
[flows.rollup]
do = "combine"
on = { manifests = "lake:watch" }
from = "lake:{manifest.source}/{n:int}.bin"
order_by = ["n"]
to = "lake:{manifest.target}"
sources = { after_commit = "delete" }
"#;

/// Manifests that start nothing.
const MANIFESTS: [&str; 40] = [
    "",
    " ",
    "{",
    "}",
    "[]",
    "null",
    "5",
    "\"raw\"",
    "{}",
    "{\"source\": \"raw\"}",
    "{\"target\": \"out/x\"}",
    "{\"source\": 5, \"target\": \"out/x\"}",
    "{\"source\": null, \"target\": \"out/x\"}",
    "{\"source\": [\"raw\"], \"target\": \"out/x\"}",
    "{\"source\": \"\", \"target\": \"out/x\"}",
    "{\"source\": \"raw\", \"target\": \"\"}",
    "{\"source\": \"raw\", \"target\": 5}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"fileCount\": -1}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"fileCount\": 0}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"fileCount\": 1}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"fileCount\": 3}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"fileCount\": 1.5}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"fileCount\": \"2\"}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"fileCount\": 99999999999999999999}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"maxFileSize\": -1}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"maxFileSize\": \"1GiB\"}",
    "{\"source\": \"raw\", \"target\": \"out/x\", \"maxFileSize\": 1.5}",
    "{\"source\": \"nowhere\", \"target\": \"out/x\", \"fileCount\": 2}",
    "{\"source\": \"nowhere\", \"target\": \"out/x\"}",
    "{\"source\": \"raw//\", \"target\": \"out/x\", \"fileCount\": \"\"}",
    "{\"source\": \"/raw\", \"target\": \"out/x\"}",
    "{\"source\": \"Raw\", \"target\": \"out/x\"}",
    "{\"source\": \"r*w\", \"target\": \"out/x\"}",
    "{\"source\": \"{n}\", \"target\": \"out/x\"}",
    "{\"source\": \"raw\", \"target\": \"raw/7.bin\"}",
    "{\"source\": \"raw\", \"target\": \"watch/queue/x.json\"}",
    "{\"source\": \"raw\", \"target\": \"_baler/x\"}",
    "{\"source\": \"raw\", \"target\": \"out/x\"} {}",
    "{\"source\": \"raw\", \"target\": \"out/x\",}",
    "{\"Source\": \"raw\", \"Target\": \"out/x\"}",
];

#[tokio::test(start_paused = true)]
async fn manifests_that_are_none_start_nothing_and_say_why() {
    let mut text = String::new();
    for manifest in MANIFESTS {
        let world = World::new();
        for n in 0..2 {
            world.put(&format!("raw/{n}.bin"), "x").await;
        }
        world.put("watch/queue/m.json", manifest).await;
        let reports = match world.process(QUEUED, None).run().await {
            Ok(reports) => reports,
            Err(error) => panic!("{manifest}: the whole flow fails: {error}"),
        };
        assert_eq!(world.read("raw/").await.len(), 2, "{manifest}: sources are gone");
        assert!(world.read("out/").await.is_empty(), "{manifest}: something was written: {reports:#?}");
        let mut said = Vec::new();
        for report in &reports {
            assert_ne!(report.status, Status::Committed, "{manifest}");
            for failure in &report.failures {
                said.push(format!(
                    "{}: {} // {}",
                    failure.group,
                    failure.error,
                    failure.hint.as_deref().unwrap_or("-")
                ));
            }
            said.extend(report.notes.iter().cloned());
        }
        assert!(!said.is_empty(), "{manifest}: nothing is said");
        writeln!(text, "{manifest:?} => {}", said.join(" | ")).unwrap();
    }
    let file = Path::new("tests/it/bad_manifests.txt");
    if std::env::var_os("BALER_BLESS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(file).unwrap();
    for (is, wanted) in text.lines().zip(expected.lines()) {
        assert_eq!(is, wanted);
    }
    assert_eq!((text.lines().count(), expected.lines().count()), (MANIFESTS.len(), MANIFESTS.len()));
}
