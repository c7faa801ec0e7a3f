//! What a run would do, and what becomes of one key.

use std::time::Instant;

use crate::bench::{Bench, assert_shown};

#[test]
fn a_plan_tells_outputs_and_what_is_skipped_and_writes_nothing() {
    let bench = Bench::orders("");
    bench.fill();
    bench.write("data/in/2026-01-02/_tmp.jsonl", "x");
    bench.write("data/in/2026-01-02/3.jsonl", "");
    bench.write("data/in/2026-01-03/1.jsonl", "alone\n");
    let before = bench.files("");
    assert_shown!("plan", bench.baler(&["plan"]));
    assert_eq!(bench.files(""), before);
    let began = Instant::now();
    let plan = bench.baler(&["plan", "orders", "--format", "json"]).json();
    assert_eq!(plan[0]["plans"][0]["objects"], 4, "{plan}");
    assert_eq!(plan[0]["plans"][0]["estimate"]["dollars"], 0.0, "{plan}");
    assert_eq!(plan[0]["plans"][0]["skipped"]["too_few"]["objects"], 1, "{plan}");
    let listing = plan[0]["plans"][0]["seconds_listing"].as_f64().unwrap();
    assert!(listing > 0.0 && listing < began.elapsed().as_secs_f64(), "{plan}");
}

#[test]
fn explain_names_the_flow_that_takes_a_key_or_the_first_piece_that_differs() {
    let bench = Bench::orders("where = [\"day < today\"]");
    bench.fill();
    bench.write("data/in/2026-01-05/1.jsonl", "today\n");
    let explain = |key: &str| bench.baler(&["plan", "--as-of", "2026-01-05", "--explain", key]);
    assert_shown!("explain_taken", explain("in/2026-01-01/2.jsonl"));
    assert_shown!("explain_differs", explain("lake:in/2026-01-01/x.jsonl"));
    assert_shown!("explain_not_there", explain("in/2026-01-01/77.jsonl"));
    assert_shown!("explain_condition", explain("in/2026-01-05/1.jsonl"));
    assert_shown!("explain_other_store", explain("attic:in/2026-01-05/1.jsonl"));
    bench.baler(&["run", "--as-of", "2026-01-05"]);
    assert_shown!("explain_combined", explain("in/2026-01-01/2.jsonl"));
}

#[test]
fn a_plan_warns_of_groups_that_would_be_refused() {
    let bench = Bench::orders("");
    bench.fill();
    bench.write("data/out/2026-01-01.jsonl", "foreign\n");
    assert_shown!("plan_refused", bench.baler(&["plan"]));
}
