//! Manifests: queue → run → done.

use crate::bench::{Bench, assert_shown};

const ROLLUP: &str = r#"version = 1

[stores]
lake = "./data"

[flows.rollup]
do = "combine"
on = { manifests = "lake:watch" }
from = "lake:{manifest.source}/{part:int}.json"
order_by = ["part"]
to = "lake:{manifest.target}"
"#;

fn bench() -> Bench {
    let bench = Bench::new(ROLLUP);
    bench.write("data/watch/queue/a.json", r#"{"source": "scrubbed/a", "target": "out/a.json", "fileCount": 3}"#);
    bench.write("data/scrubbed/a/2.json", "{\"part\":2}\n");
    bench.write("data/scrubbed/a/10.json", "{\"part\":10}\n");
    bench
}

#[test]
fn a_manifest_waits_for_its_objects_and_moves_to_done_with_its_result() {
    let bench = bench();
    assert_shown!("manifest_waits", bench.baler(&["run"]));
    assert_shown!("manifest_plan_waits", bench.baler(&["plan"]));
    bench.write("data/scrubbed/a/1.json", "{\"part\":1}\n");
    assert_shown!("manifest_plan", bench.baler(&["plan"]));
    assert_shown!("manifest_done", bench.baler(&["run"]));
    assert_eq!(bench.read("data/out/a.json"), "{\"part\":1}\n{\"part\":2}\n{\"part\":10}\n");
    assert_eq!(bench.files("data/watch"), ["done/a.json"]);
    assert_shown!("manifest_none", bench.baler(&["run"]));
}

#[test]
fn more_objects_than_a_manifest_counts_are_an_error() {
    let bench = bench();
    bench.write("data/scrubbed/a/1.json", "1\n");
    bench.write("data/scrubbed/a/3.json", "3\n");
    assert_shown!("manifest_too_many", bench.baler(&["run"]));
    assert_eq!(bench.files("data/watch"), ["queue/a.json"]);
}

#[test]
fn a_manifest_at_fault_does_not_keep_others_from_running() {
    let bench = bench();
    bench.write("data/scrubbed/a/1.json", "1\n");
    bench.write("data/watch/queue/0.json", "{\"source\": 7");
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("manifest `watch/queue/0.json` cannot be read"), "{done:?}");
    assert!(bench.exists("data/out/a.json"));
}

#[test]
fn explain_asks_every_manifest_in_the_queue() {
    let bench = bench();
    assert_shown!("manifest_explain", bench.baler(&["plan", "--explain", "scrubbed/a/2.json"]));
    std::fs::remove_file(bench.path("data/watch/queue/a.json")).unwrap();
    assert_shown!("manifest_explain_none", bench.baler(&["plan", "--explain", "scrubbed/a/2.json"]));
}
