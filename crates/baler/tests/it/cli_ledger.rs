//! The ledger, read and steered.

use crate::bench::{Bench, assert_shown};

#[test]
fn runs_and_show_tell_what_happened() {
    let bench = Bench::orders("");
    assert_shown!("runs_none", bench.baler(&["runs"]));
    bench.fill();
    bench.baler(&["run"]);
    assert_shown!("runs", bench.baler(&["runs"]));
    assert_shown!("show_run", bench.baler(&["show", &bench.last_run()]));
    assert_shown!("show_flow", bench.baler(&["show", "orders"]));
    let shown = bench.baler(&["show", &bench.last_run(), "--format", "json"]).json();
    assert_eq!(shown["status"], "disposed", "{shown}");
    assert_eq!(shown["history"].as_array().unwrap().len(), 4, "{shown}");
}

#[test]
fn verify_proves_a_run_and_notices_one_changed_byte() {
    let bench = Bench::orders("");
    bench.fill();
    bench.baler(&["run"]);
    let run = bench.last_run();
    assert_shown!("verify", bench.baler(&["verify", &run]));
    bench.write("data/out/2026-01-01.jsonl", "{\"id\":1}\n{\"id\":9}\n");
    std::fs::remove_file(bench.path("data/out/2026-01-02.jsonl")).unwrap();
    let done = bench.baler(&["verify", &run]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("NOT PROVEN"), "{done:?}");
    assert!(done.stderr.contains("`out/2026-01-01.jsonl`: it was overwritten"), "{done:?}");
    assert!(done.stderr.contains("`out/2026-01-02.jsonl`: it is gone"), "{done:?}");
    let report = bench.baler(&["verify", &run, "--format", "json"]).json();
    assert_eq!(report["proven"], false, "{report}");
}

#[test]
fn a_committed_run_can_neither_be_aborted_nor_need_be_retried() {
    let bench = Bench::orders("");
    bench.fill();
    bench.baler(&["run"]);
    let run = bench.last_run();
    assert_shown!("abort_committed", bench.baler(&["abort", &run]));
    assert_shown!("retry_done", bench.baler(&["retry", &run]));
    assert_eq!(bench.files("data/out").len(), 2);
}

#[test]
fn gc_shows_first_and_removes_only_then() {
    let bench = Bench::orders("");
    bench.fill();
    bench.baler(&["run"]);
    assert_shown!("gc_young", bench.baler(&["gc"]));
    let before = bench.files("");
    assert_shown!("gc_dry_run", bench.baler(&["gc", "--dry-run", "--older-than", "0s"]));
    assert_eq!(bench.files(""), before);
    let done = bench.baler(&["gc", "--older-than", "0s"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(bench.files(".baler").iter().all(|file| !file.contains("/mark/")), "{:?}", bench.files(".baler"));
    assert_eq!(bench.baler(&["verify", &bench.last_run()]).code, 0, "what proves a run stays");
    let (_, reports) = bench.run_json(&[]);
    assert_eq!(reports[0]["status"], "nothing", "what was combined stays known: {reports:?}");
}

#[test]
fn a_broken_log_stops_everything_and_says_so() {
    let bench = Bench::orders("");
    bench.fill();
    bench.baler(&["run"]);
    std::fs::remove_file(bench.path(".baler/orders/log/00000000000000000002.json")).unwrap();
    assert_shown!("log_gap", bench.baler(&["run"]));
}
