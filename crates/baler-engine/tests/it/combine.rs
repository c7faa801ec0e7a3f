//! What `combine` makes of its inputs.

use baler_engine::report::Status;
use baler_store::PartLimits;
use baler_testkit::fixtures;

use crate::world::{SMALL_PARTS, World};

const HOURLY: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{hour:%Y/%m/%d/%H}.jsonl"
to = "lake:daily/{hour:%Y-%m-%d}.jsonl"
"#;

#[tokio::test(start_paused = true)]
async fn objects_of_a_day_become_one_object_in_key_order() {
    let world = World::new();
    for hour in [3, 1, 2] {
        world.put(&format!("raw/2026/01/01/0{hour}.jsonl"), format!("{{\"h\":{hour}}}\n")).await;
        world.put(&format!("raw/2026/01/02/0{hour}.jsonl"), format!("{{\"h\":2{hour}}}\n")).await;
    }
    let report = world.process(HOURLY, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!((report.groups.committed, report.account.objects_in, report.account.objects_out), (2, 6, 2));
    assert_eq!(report.account.bytes_in, report.account.bytes_out);
    let daily = world.read("daily/").await;
    assert_eq!(daily["daily/2026-01-01.jsonl"], "{\"h\":1}\n{\"h\":2}\n{\"h\":3}\n");
    assert_eq!(daily["daily/2026-01-02.jsonl"], "{\"h\":21}\n{\"h\":22}\n{\"h\":23}\n");
    assert_eq!(daily.len(), 2);
    assert_eq!(world.read("raw/").await.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_finds_nothing_to_do() {
    let world = World::new();
    world.put("raw/2026/01/01/01.jsonl", "a\n").await;
    world.put("raw/2026/01/01/02.jsonl", "b\n").await;
    assert_eq!(world.process(HOURLY, None).run_one().await.status, Status::Committed);
    let again = world.process(HOURLY, None).run_one().await;
    assert_eq!(again.status, Status::Nothing, "{again:#?}");
    assert!(again.notes[0].contains("consumed by an earlier run"), "{:?}", again.notes);
}

#[tokio::test(start_paused = true)]
async fn a_newline_goes_between_objects_that_lack_one_and_not_behind_the_last() {
    let world = World::new();
    world.put("raw/2026/01/01/01.jsonl", "a").await;
    world.put("raw/2026/01/01/02.jsonl", "b\n").await;
    world.put("raw/2026/01/01/03.jsonl", "c").await;
    world.put("raw/2026/01/01/04.jsonl", "d").await;
    let report = world.process(HOURLY, None).run_one().await;
    assert_eq!(report.account.bytes_inserted, 2);
    assert_eq!(world.read("daily/").await["daily/2026-01-01.jsonl"], "a\nb\nc\nd");
}

/// Any mix of sizes around the limits, with and without line ends, joined byte for byte in order.
#[tokio::test(start_paused = true)]
async fn order_and_bytes_are_kept_for_any_mix_of_sizes() {
    let mut random = baler_testkit::SplitMix::new(7);
    for round in 0..60 {
        let world = World::with_parts(SMALL_PARTS);
        let mut expected = Vec::new();
        let objects = 2 + random.below(12);
        let mut inserted = 0;
        for n in 0..objects {
            let size = [1, 20, 49, 50, 51, 99, 100, 150, 400, 5001, 9000][random.below(11) as usize];
            let mut body: Vec<u8> = random.bytes(size).iter().map(|b| b'a' + b % 26).collect();
            if random.below(2) == 0 {
                *body.last_mut().unwrap() = b'\n';
            }
            if expected.last().is_some_and(|last| *last != b'\n') {
                expected.push(b'\n');
                inserted += 1;
            }
            expected.extend_from_slice(&body);
            world.put(&format!("raw/2026/01/01/{n:02}.jsonl"), body).await;
        }
        let report = world.process(HOURLY, None).run_one().await;
        assert_eq!(report.status, Status::Committed, "round {round}: {report:#?}");
        assert_eq!(report.account.bytes_inserted, inserted);
        let daily = world.read("daily/").await;
        assert_eq!(daily["daily/2026-01-01.jsonl"].as_bytes(), expected, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_parts_than_one_upload_takes_go_through_intermediates() {
    let world = World::with_parts(PartLimits { count: 4, ..SMALL_PARTS });
    let mut expected = Vec::new();
    for n in 0..13u64 {
        let mut body = fixtures::random_bytes(n, 60 + n as usize).to_vec();
        body.push(b'\n');
        expected.extend_from_slice(&body);
        world.put(&format!("raw/2026/01/01/{n:02}.jsonl"), body).await;
    }
    let report = world.process(HOURLY, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let out = fixtures::read(&world.lake, "daily/2026-01-01.jsonl").await.unwrap();
    assert_eq!(out, expected);
    assert!(world.read("_baler_tmp/daily/").await.is_empty(), "intermediates are gone");
    assert!(report.bytes_copied_server_side > expected.len() as u64, "both passes are server-side");
}

#[tokio::test(start_paused = true)]
async fn the_header_of_the_first_object_stands_for_all() {
    let config = r#"
[flows.csv]
do = "combine"
from = "lake:raw/{n:int}.csv"
to = "lake:out/all_{count}.csv"
order_by = ["n"]
header = "first"
"#;
    for parts in [PartLimits::S3, SMALL_PARTS] {
        let world = World::with_parts(parts);
        let long = "7,8\n".repeat(40);
        world.put("raw/1.csv", "a,b\n1,2\n").await;
        world.put("raw/2.csv", format!("a,b\n{long}")).await;
        world.put("raw/3.csv", "a,b").await;
        world.put("raw/4.csv", format!("a,b\n{}5,6", "3,4\n".repeat(30))).await;
        world.put("raw/10.csv", format!("a,b\n{long}")).await;
        let report = world.process(config, None).run_one().await;
        assert_eq!(report.status, Status::Committed, "{report:#?}");
        let expected = format!("a,b\n1,2\n{long}{}5,6\n{long}", "3,4\n".repeat(30));
        assert_eq!(world.read("out/").await["out/all_5.csv"], expected);
        assert_eq!((report.account.bytes_inserted, report.account.bytes_removed), (1, 15));
    }
}

#[tokio::test(start_paused = true)]
async fn another_header_fails_its_group_and_names_both() {
    let config = r#"
[flows.csv]
do = "combine"
from = "lake:raw/{day}/{n:int}.csv"
to = "lake:out/{day}.csv"
header = "first"
"#;
    let world = World::new();
    world.put("raw/a/1.csv", "a,b\n1,2\n").await;
    world.put("raw/a/2.csv", "a,c\n1,2\n").await;
    world.put("raw/b/1.csv", "a,b\n1,2\n").await;
    world.put("raw/b/2.csv", "a,b\n3,4\n").await;
    let report = world.process(config, None).run_one().await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!((report.groups.committed, report.groups.failed), (1, 1));
    assert_eq!(report.failures[0].group, "out/a.csv");
    assert_eq!(report.failures[0].error, "`raw/a/2.csv` begins with `a,c`, the first input of its group with `a,b`");
    assert_eq!(world.read("out/").await.keys().collect::<Vec<_>>(), ["out/b.csv"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_of_mixed_codecs_is_refused_by_first_bytes() {
    let world = World::new();
    world.put("raw/2026/01/01/01.jsonl", "{}\n").await;
    world.put("raw/2026/01/01/02.jsonl", vec![0x1f, 0x8b, 8, 0, 0, 0]).await;
    let report = world.process(HOURLY, None).run_one().await;
    assert_eq!(report.status, Status::Failed);
    assert!(report.failures[0].error.starts_with("codecs are mixed"), "{:?}", report.failures);
    assert!(world.read("daily/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn batches_close_before_the_object_that_would_exceed_them() {
    let config = r#"
[flows.parts]
do = "combine"
from = "lake:raw/{n:int}.jsonl"
to = "lake:out/{n.first}-{n.last}_{index:03}.jsonl"
order_by = ["n"]
batch = { max_bytes = "10", max_objects = 3 }
"#;
    let world = World::new();
    for n in 1..=9 {
        let size = if n == 6 { 25 } else { 4 };
        world.put(&format!("raw/{n}.jsonl"), format!("{}\n", "x".repeat(size - 1))).await;
    }
    let report = world.process(config, None).run_one().await;
    let keys: Vec<String> = world.read("out/").await.into_keys().collect();
    // 1-2, 3-4 (8 bytes, a third would make 12); 5 alone before the large 6, which stands alone; 7-8; 9 waits.
    assert_eq!(keys, ["out/1-2_000.jsonl", "out/3-4_001.jsonl", "out/7-8_002.jsonl"]);
    assert_eq!(report.groups.skipped, 3);
}

#[tokio::test(start_paused = true)]
async fn a_redshift_manifest_names_each_output_with_its_length() {
    let world = World::new();
    world.put("raw/2026/01/01/01.jsonl", "a\n").await;
    world.put("raw/2026/01/01/02.jsonl", "b\n").await;
    let config = format!("{HOURLY}redshift_manifest = true\n");
    assert_eq!(world.process(&config, None).run_one().await.status, Status::Committed);
    let manifest: serde_json::Value =
        serde_json::from_str(&world.read("daily/").await["daily/2026-01-01.jsonl.manifest"]).unwrap();
    let entry = &manifest["entries"][0];
    assert!(entry["url"].as_str().unwrap().ends_with("/daily/2026-01-01.jsonl"), "{manifest}");
    assert_eq!((entry["mandatory"].as_bool(), entry["meta"]["content_length"].as_u64()), (Some(true), Some(4)));
}
