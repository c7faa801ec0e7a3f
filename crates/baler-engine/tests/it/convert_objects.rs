//! `convert` into several objects of one partition: they are numbered, their manifest is exchanged last, old ones are
//! collected. And what lies beside the data: the metadata of a data set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use baler_engine::gc::{Effect, gc};
use baler_engine::report::{RunReport, Status};
use baler_engine::verify::{Evidence, verify};
use baler_store::Clock;
use baler_testkit::fault::{Hook, Method, Verdict};
use baler_testkit::fixtures;
use jiff::SignedDuration;
use parking_lot::Mutex;

use crate::convert_crash::stops_at;
use crate::world::World;

const FLOW: &str = r#"
[flows.days]
do = "convert"
from = "lake:in/{day:%Y-%m-%d}_{n:int}.jsonl"
schema = { columns = { id = "int64" } }
to = { path = "lake:out/{partition:%Y-%m}/part.jsonl", partition = "month", max_bytes = "100kB" }
"#;

fn lines(ids: std::ops::Range<u64>) -> String {
    ids.map(|id| format!("{{\"id\":{id}}}\n")).collect()
}

fn ids(text: &str) -> Vec<u64> {
    text.lines().map(|line| line[6..line.len() - 1].parse().unwrap()).collect()
}

/// What the manifest of an output names: each object's key and text, in its order.
async fn by_manifest(world: &World, key: &str) -> Vec<(String, String)> {
    let manifest: serde_json::Value = serde_json::from_str(&world.read(key).await[key]).unwrap();
    let mut objects = Vec::new();
    for entry in manifest["entries"].as_array().unwrap() {
        let url = entry["url"].as_str().unwrap();
        let (_, key) = url.split_once("/out/").unwrap();
        let key = format!("out/{key}");
        let text = world.read(&key).await.remove(&key).unwrap();
        assert_eq!(entry["meta"]["content_length"], text.len());
        objects.push((key, text));
    }
    objects
}

fn assert_balances(report: &RunReport) {
    report.account.check_records().unwrap_or_else(|e| panic!("{e}: {report:#?}"));
}

#[tokio::test(start_paused = true)]
async fn a_partition_of_several_objects_is_exchanged_by_its_manifest() {
    let world = World::new();
    world.put("in/2024-01-30_1.jsonl", lines(0..20_000)).await;
    world.put("in/2024-01-31_1.jsonl", lines(20_000..30_000) + "x\n").await;
    let report = world.process(FLOW, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_balances(&report);
    assert_eq!((report.account.records_out, report.account.quarantined), (Some(30_000), Some(1)));
    let manifest = "out/2024-01/part.jsonl.manifest";
    let first = by_manifest(&world, manifest).await;
    assert!(first.len() >= 3, "{}", first.len());
    for (n, (key, text)) in first.iter().enumerate() {
        assert_eq!(*key, format!("out/2024-01/{}/part-{:05}.jsonl", report.run.as_ref().unwrap(), n + 1));
        assert!(text.len() <= 100_000, "{}", text.len());
    }
    let all: String = first.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(ids(&all), (0..30_000).collect::<Vec<_>>(), "records keep their order over objects");

    // A late object: new objects under another run's name, the old ones untouched, the manifest exchanged.
    world.put("in/2024-01-31_2.jsonl", lines(30_000..30_010)).await;
    let later = world.process(FLOW, None).run_one().await;
    assert_eq!(later.status, Status::Committed, "{later:#?}");
    assert_balances(&later);
    let second = by_manifest(&world, manifest).await;
    let all: String = second.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(ids(&all), (0..30_010).collect::<Vec<_>>());
    for (key, text) in &first {
        assert_eq!(world.read(key).await[key], *text, "whoever read by the old manifest can go on");
    }
    let process = world.process(FLOW, None);
    let verified = verify(&process.flow(), &process.state().await, report.run.as_ref().unwrap()).await.unwrap();
    assert!(verified.proven, "{verified:#?}");
    let anew = |evidence: Option<Evidence>| evidence == Some(Evidence::BuiltAnew);
    let kept: Vec<&str> =
        verified.outputs.iter().filter(|output| !anew(output.evidence)).map(|output| output.key.as_str()).collect();
    assert!(matches!(kept[..], [aside] if aside.starts_with("_quarantine/")), "{kept:?}");

    // Old objects go when the manifest is old enough, and nothing else does.
    let state = process.state().await;
    let young = gc(&process.flow(), &state, SignedDuration::from_hours(1), Effect::Remove).await.unwrap();
    assert_eq!(young.superseded, []);
    let dry = gc(&process.flow(), &state, SignedDuration::ZERO, Effect::DryRun).await.unwrap();
    assert_eq!(dry.superseded.len(), first.len());
    assert_eq!(by_manifest(&world, manifest).await, second);
    let report = gc(&process.flow(), &state, SignedDuration::ZERO, Effect::Remove).await.unwrap();
    let gone: Vec<String> = report.superseded.iter().map(ToString::to_string).collect();
    assert_eq!(gone, first.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
    let left: Vec<String> = world.read("out/").await.into_keys().collect();
    let mut expected: Vec<String> = second.iter().map(|(key, _)| key.clone()).collect();
    expected.push(manifest.to_owned());
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(gc(&process.flow(), &state, SignedDuration::ZERO, Effect::Remove).await.unwrap().superseded, []);
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_appears_behind_everything_that_it_names() {
    let world = World::new();
    world.put("in/2024-01-30_1.jsonl", lines(0..30_000)).await;
    // What is there when the manifest is about to be published; other objects take their time.
    let there = Arc::new(Mutex::new(Vec::new()));
    let hook: Hook = {
        let (there, lake, clock) = (Arc::clone(&there), world.lake.clone(), world.clock.clone());
        Arc::new(move |op| {
            let (there, lake, clock, op) = (Arc::clone(&there), lake.clone(), clock.clone(), op.clone());
            Box::pin(async move {
                match op.method {
                    Method::Publish if op.key.ends_with(".manifest") => {
                        let keys = fixtures::read_all(&lake, "out/").await.unwrap().into_keys().collect::<Vec<_>>();
                        there.lock().push(keys);
                    }
                    Method::Publish => clock.sleep(Duration::from_secs(1)).await,
                    _ => {}
                }
                Verdict::Proceed
            })
        })
    };
    assert_eq!(world.process(FLOW, Some(hook)).run_one().await.status, Status::Committed);
    let named: Vec<String> =
        by_manifest(&world, "out/2024-01/part.jsonl.manifest").await.into_iter().map(|(key, _)| key).collect();
    assert!(named.len() >= 4, "{named:?}");
    assert_eq!(*there.lock(), [named]);
}

/// The ids that a reader finds who goes by the manifest.
async fn read_by_manifest(world: &World) -> Vec<u64> {
    let objects = by_manifest(world, "out/2024-01/part.jsonl.manifest").await;
    objects.iter().flat_map(|(_, text)| ids(text)).collect()
}

async fn crash_everywhere(at: Verdict) {
    let flow = FLOW.replace("100kB", "40B");
    for stop in 0.. {
        let what = format!("{at:?} at {stop}");
        let world = World::new();
        world.put("in/2024-01-30_1.jsonl", lines(0..12)).await;
        assert_eq!(world.process(&flow, None).run_one().await.status, Status::Committed);
        world.put("in/2024-01-31_1.jsonl", lines(12..20)).await;
        let calls = Arc::new(AtomicU64::new(0));
        let first = world.process(&flow, Some(stops_at(stop, at, Arc::clone(&calls))));
        let died = tokio::time::timeout(Duration::from_secs(20), first.run()).await.is_err();
        let seen = read_by_manifest(&world).await;
        assert!(seen.len() == 12 || seen.len() == 20, "{what}: {seen:?}");
        assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>(), "{what}");
        for report in world.process(&flow, None).run().await.unwrap_or_else(|e| panic!("{what}: {e:?}")) {
            assert!(matches!(report.status, Status::Committed | Status::Nothing), "{what}: {report:#?}");
        }
        let process = world.process(&flow, None);
        gc(&process.flow(), &process.state().await, SignedDuration::ZERO, Effect::Remove).await.unwrap();
        assert_eq!(read_by_manifest(&world).await, (0..20).collect::<Vec<_>>(), "{what}");
        let named = by_manifest(&world, "out/2024-01/part.jsonl.manifest").await.len();
        assert!(named >= 3, "{what}: {named}");
        assert_eq!(world.read("out/").await.len(), named + 1, "{what}: nothing of another build is left");
        if !died {
            assert!(stop > 40, "{what}: it ended before anything could happen");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_by_the_manifest_sees_one_build_when_a_rebuild_stops_before_any_operation() {
    crash_everywhere(Verdict::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_by_the_manifest_sees_one_build_when_a_rebuild_stops_behind_any_operation() {
    crash_everywhere(Verdict::HangAfter).await;
}

#[tokio::test(start_paused = true)]
async fn where_the_path_names_the_run_numbered_objects_are_added_without_a_manifest() {
    let flow = FLOW.replace("part.jsonl", "{run}.jsonl");
    let world = World::new();
    world.put("in/2024-01-30_1.jsonl", lines(0..20_000)).await;
    let first = world.process(&flow, None).run_one().await;
    assert_eq!(first.status, Status::Committed, "{first:#?}");
    world.put("in/2024-01-31_1.jsonl", lines(20_000..20_001)).await;
    let second = world.process(&flow, None).run_one().await;
    assert_eq!(second.status, Status::Committed, "{second:#?}");
    assert_balances(&second);
    let out = world.read("out/").await;
    let name = |report: &RunReport, n: u32| format!("out/2024-01/{}-{n:05}.jsonl", report.run.as_ref().unwrap());
    let of = |report: &RunReport, most| -> Vec<u64> { (1..=most).flat_map(|n| ids(&out[&name(report, n)])).collect() };
    assert_eq!(of(&second, 1), [20_000]);
    assert_eq!(of(&first, out.len() as u32 - 1), (0..20_000).collect::<Vec<_>>());
    assert!(out.len() >= 3, "{:?}", out.keys());
}

#[tokio::test(start_paused = true)]
async fn objects_of_parquet_and_of_what_is_compressed_close_at_about_their_limit() {
    for (format, limit) in [("parquet", 60_000), ("csv.gz", 20_000), ("arrow.zst", 30_000)] {
        let flow = FLOW.replace("part.jsonl", &format!("part.{format}")).replace("100kB", &format!("{limit}B"));
        let world = World::new();
        // Numbers that do not compress to nothing.
        let text: String =
            (0..60_000u64).map(|n| format!("{{\"id\":{}}}\n", n.wrapping_mul(0x9e37_79b9_7f4a) % 1_000_003)).collect();
        world.put("in/2024-01-30_1.jsonl", text).await;
        let report = world.process(&flow, None).run_one().await;
        assert_eq!(report.status, Status::Committed, "{format}: {report:#?}");
        assert_balances(&report);
        let objects: Vec<u64> = report
            .outputs
            .iter()
            .filter(|output| !output.key.as_str().ends_with(".manifest"))
            .map(|output| output.bytes)
            .collect();
        assert!(objects.len() >= 3, "{format}: {objects:?}");
        let (last, full) = objects.split_last().unwrap();
        for bytes in full {
            assert!((limit / 4..=limit * 5 / 4).contains(bytes), "{format}: {objects:?}");
        }
        assert!(*last <= limit * 5 / 4, "{format}: {objects:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_partition_has_a_manifest_of_one_empty_object() {
    let world = World::new();
    world.put("in/2024-01-30_1.jsonl", "\n").await;
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed);
    let objects = by_manifest(&world, "out/2024-01/part.jsonl.manifest").await;
    assert_eq!(objects.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), [""]);
}

#[tokio::test(start_paused = true)]
async fn fields_of_csv_that_stand_for_null_or_have_blanks_around_them_are_typed_by_the_scrub() {
    let flow = r#"
[flows.days]
do = "convert"
from = "lake:in/{n:int}.csv"
schema = { columns = { id = "int64", name = "text", price = "float64" } }
to = "lake:out/{n}.jsonl"
scrub = { trim = true, null_values = ["N/A", "-999"] }
"#;
    let world = World::new();
    world.put("in/1.csv", "id,name,price\n 1 , a ,-999\nN/A,N/A, 2.5\n-999,\" b \",\"N/A\"\n4x,c,1\n").await;
    let report = world.process(flow, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(
        world.read("out/").await["out/1.jsonl"],
        "{\"id\":1,\"name\":\"a\"}\n{\"price\":2.5}\n{\"name\":\"b\"}\n"
    );
    assert_eq!(report.account.quarantined, Some(1));
    // What is inferred sees the same.
    let inferred =
        flow.replace("schema = { columns = { id = \"int64\", name = \"text\", price = \"float64\" } }\n", "");
    let world = World::new();
    world.put("in/1.csv", "id,name,price\n 1 , a ,-999\nN/A,N/A, 2.5\n").await;
    assert_eq!(world.process(&inferred, None).run_one().await.status, Status::Committed);
    assert_eq!(world.read("out/").await["out/1.jsonl"], "{\"id\":1,\"name\":\"a\"}\n{\"price\":2.5}\n");
}

const SETS: &str = r#"
[flows.sets]
do = "convert"
from = "lake:in/{collection}/{dataset}/year={year:int}/{start:epoch}.csv"
schema = { s3db = "lake:in/{collection}/{dataset}/METADATA.json" }
to = { layout = "dataclient", prefix = "lake:out/arrow", partition = "day", format = "csv" }
"#;

#[tokio::test(start_paused = true)]
async fn the_metadata_of_a_data_set_lies_beside_its_data_as_it_is_now() {
    let world = World::new();
    let metadata = |kind: &str| format!("{{\"type_map\":{{\"id\":\"{kind}\"}},\"superkey\":[\"id\"]}}\n");
    world.put("in/c/d/METADATA.json", metadata("int")).await;
    world.put("in/c/e/METADATA.json", metadata("str")).await;
    for key in ["in/c/d/year=2024/1704067200.csv", "in/c/d/year=2024/1704153600.csv", "in/c/e/year=2024/1704067200.csv"]
    {
        world.put(key, "id\n1\n").await;
    }
    let report = world.process(SETS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_balances(&report);
    let out: BTreeMap<String, String> = world.read("out/").await;
    assert_eq!(
        out.keys().collect::<Vec<_>>(),
        [
            "out/arrow/c/d/METADATA.json",
            "out/arrow/c/d/year=2024/1704067200.csv",
            "out/arrow/c/d/year=2024/1704153600.csv",
            "out/arrow/c/e/METADATA.json",
            "out/arrow/c/e/year=2024/1704067200.csv",
        ]
    );
    assert_eq!(out["out/arrow/c/d/METADATA.json"], metadata("int"));
    // Unchanged, it is left as it is; changed, it follows the data.
    world.put("in/c/d/year=2024/1704240000.csv", "id\n2\n").await;
    let report = world.process(SETS, None).run_one().await;
    let written: Vec<&str> = report.outputs.iter().map(|output| output.key.as_str()).collect();
    assert_eq!(written, ["out/arrow/c/d/year=2024/1704240000.csv"]);
    world.put("in/c/d/METADATA.json", metadata("float")).await;
    world.put("in/c/d/year=2024/1704326400.csv", "id\n3\n").await;
    assert_eq!(world.process(SETS, None).run_one().await.status, Status::Committed);
    assert_eq!(world.read("out/").await["out/arrow/c/d/METADATA.json"], metadata("float"));
    // One that somebody else wrote there stays.
    world.put("out/arrow/c/d/METADATA.json", "mine").await;
    world.put("in/c/d/year=2024/1704412800.csv", "id\n4\n").await;
    assert_eq!(world.process(SETS, None).run_one().await.status, Status::Committed);
    assert_eq!(world.read("out/").await["out/arrow/c/d/METADATA.json"], "mine");
}
