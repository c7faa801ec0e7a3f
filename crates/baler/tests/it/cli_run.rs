//! `baler run`: what it says, what it makes, how it ends.

use serde_json::Value;

use crate::bench::{Bench, ORDERS, assert_shown};

const FIELDS: [&str; 12] = [
    "flow",
    "run",
    "status",
    "groups",
    "account",
    "bytes_copied_server_side",
    "bytes_through_client",
    "requests",
    "seconds",
    "outputs",
    "failures",
    "notes",
];

fn fields(report: &Value) -> Vec<&str> {
    report.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_run_tells_what_it_did_and_where_the_result_lies() {
    let bench = Bench::orders("");
    bench.fill();
    assert_shown!("run", bench.baler(&["run"]));
    assert_eq!(bench.read("data/out/2026-01-01.jsonl"), "{\"id\":1}\n{\"id\":2}\n");
    assert_eq!(bench.read("data/out/2026-01-02.jsonl"), "{\"id\":3}\n{\"id\":4}");
    assert_shown!("second_run", bench.baler(&["run"]));
    assert_eq!(bench.files("data/out"), ["2026-01-01.jsonl", "2026-01-02.jsonl"]);
}

#[test]
fn quiet_leaves_the_result_and_nothing_else() {
    let bench = Bench::orders("");
    bench.fill();
    let done = bench.baler(&["run", "-q"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(done.stdout.contains("out/2026-01-01.jsonl"), "{done:?}");
}

#[test]
fn many_outputs_are_counted() {
    let bench = Bench::orders("");
    for day in 1..=8 {
        bench.write(&format!("data/in/2026-01-{day:02}/1.jsonl"), "a\n");
        bench.write(&format!("data/in/2026-01-{day:02}/2.jsonl"), "b\n");
    }
    let done = bench.baler(&["run", "-q"]);
    assert!(done.stdout.contains("… and 3 more"), "{done:?}");
}

#[test]
fn json_is_one_object_per_run_with_exactly_the_documented_fields() {
    let bench = Bench::orders("");
    bench.fill();
    let (code, reports) = bench.run_json(&[]);
    assert_eq!((code, reports.len()), (0, 1));
    // `notes` is left out where there is none.
    assert_eq!(fields(&reports[0]), FIELDS[..11]);
    let account = &reports[0]["account"];
    assert_eq!(account["objects_in"], 4);
    assert_eq!(account["bytes_out"], account["bytes_in"], "{account}");
    assert!(account["records_in"].is_null(), "{account}");
    let (code, reports) = bench.run_json(&[]);
    assert_eq!((code, reports[0]["status"].as_str()), (0, Some("nothing")));
    assert_eq!(fields(&reports[0]), FIELDS);
}

#[test]
fn nothing_matched_says_so_with_the_nearest_keys() {
    let bench = Bench::orders("");
    assert_shown!("nothing_there", bench.baler(&["run"]));
    // No key in this directory can match, so that it is not listed at first.
    bench.write("data/in/20260102/1.jsonl", "x\n");
    assert_shown!("nothing_matched_where_it_is_not_listed", bench.baler(&["run"]));
    bench.write("data/in/2026-01-01/a.csv", "x\n");
    assert_shown!("nothing_matched", bench.baler(&["run"]));
}

#[test]
fn late_objects_are_refused_where_the_output_has_no_room_for_them() {
    let bench = Bench::orders("");
    bench.fill();
    bench.baler(&["run"]);
    bench.write("data/in/2026-01-01/3.jsonl", "{\"id\":5}\n");
    bench.write("data/in/2026-01-01/4.jsonl", "{\"id\":6}\n");
    assert_shown!("late", bench.baler(&["run"]));
    assert_eq!(bench.read("data/out/2026-01-01.jsonl"), "{\"id\":1}\n{\"id\":2}\n");
    let template = "flows.orders.to=\"lake:out/{day:%Y-%m-%d}_{index}.jsonl\"";
    let done = bench.baler(&["run", "--set", template]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(bench.read("data/out/2026-01-01_0.jsonl"), "{\"id\":5}\n{\"id\":6}\n");
}

#[test]
fn a_foreign_output_is_overwritten_only_where_the_flow_says_so() {
    let bench = Bench::orders("");
    bench.fill();
    bench.write("data/out/2026-01-01.jsonl", "foreign\n");
    let refused = bench.baler(&["run"]);
    assert_shown!("foreign", refused);
    assert_eq!(bench.read("data/out/2026-01-01.jsonl"), "foreign\n");
    assert!(bench.exists("data/out/2026-01-02.jsonl"), "the other group commits");
    let done = bench.baler(&["run", "--set", "flows.orders.overwrite=true"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(bench.read("data/out/2026-01-01.jsonl"), "{\"id\":1}\n{\"id\":2}\n");
}

#[test]
fn sources_are_deleted_after_the_commit_where_the_flow_says_so() {
    let bench = Bench::orders("sources = { after_commit = \"delete\" }");
    bench.fill();
    bench.write("data/in/2026-01-03/1.jsonl", "alone\n");
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(bench.files("data/in"), ["2026-01-03/1.jsonl"]);
    assert_eq!(bench.files("data/out"), ["2026-01-01.jsonl", "2026-01-02.jsonl"]);
    assert_shown!("show_deleted", bench.baler(&["show", &bench.last_run()]));
    // What was deleted and is written again is new.
    bench.write("data/in/2026-01-01/1.jsonl", "{\"id\":1}\n");
    bench.write("data/in/2026-01-01/2.jsonl", "{\"id\":2}\n");
    assert_eq!(bench.baler(&["run"]).code, 1, "its output key is taken");
    assert!(bench.exists("data/in/2026-01-01/1.jsonl"));
}

#[test]
fn sources_are_archived_under_the_run() {
    let bench = Bench::orders("sources = { after_commit = \"archive\", archive_to = \"lake:old\" }");
    bench.fill();
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(bench.files("data/in").is_empty());
    let run = bench.last_run();
    assert_eq!(bench.read(&format!("data/old/{run}/in/2026-01-02/10.jsonl")), "{\"id\":4}");
    assert_shown!("show_archived", bench.baler(&["show", &run]));
}

#[test]
fn a_delay_keeps_sources_and_says_until_when() {
    let bench = Bench::orders("sources = { after_commit = \"delete\", delay = \"7d\" }");
    bench.fill();
    assert_shown!("delay", bench.baler(&["run"]));
    assert_eq!(bench.files("data/in").len(), 4);
}

#[test]
fn runs_whose_sources_wait_are_told_once_with_their_failures() {
    let bench = Bench::orders("check = \"decode\"\nsources = { after_commit = \"delete\", delay = \"7d\" }");
    bench.fill();
    bench.write("data/in/2026-01-02/10.jsonl", "{\"id\":4");
    assert_eq!(bench.baler(&["run"]).code, 1);
    bench.write("data/in/2026-01-02/10.jsonl", "{\"id\":4}\n");
    let (code, reports) = bench.run_json(&[]);
    assert_eq!((code, reports.len(), reports[0]["status"].as_str()), (0, 1, Some("committed")), "{reports:?}");
    let (code, reports) = bench.run_json(&[]);
    assert_eq!((code, reports.len(), reports[0]["status"].as_str()), (0, 1, Some("nothing")), "{reports:?}");
    let notes = reports[0]["notes"].to_string();
    assert_eq!(notes.matches("as `sources.delay` says").count(), 2, "{notes}");
}

#[test]
fn a_damaged_input_fails_its_group_and_no_other() {
    let bench = Bench::orders("check = \"decode\"");
    bench.fill();
    bench.write("data/in/2026-01-02/10.jsonl", "{\"id\":4");
    assert_shown!("damaged", bench.baler(&["run"]));
    assert_eq!(bench.files("data/out"), ["2026-01-01.jsonl"]);
    assert_shown!("show_damaged", bench.baler(&["show", &bench.last_run()]));
    bench.write("data/in/2026-01-02/10.jsonl", "{\"id\":4}\n");
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(bench.read("data/out/2026-01-02.jsonl"), "{\"id\":3}\n{\"id\":4}\n");
}

#[test]
fn a_target_that_cannot_be_written_fails_and_nothing_is_consumed() {
    let bench = Bench::orders("");
    bench.fill();
    // Nobody, not even root, can make a directory there.
    let target = "flows.orders.to=\"/proc/sys/baler/{day:%Y-%m-%d}.jsonl\"";
    let done = bench.baler(&["run", "--set", target]);
    assert_shown!("unwritable", done);
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(bench.files("data/out").len(), 2);
}

#[test]
fn a_redshift_manifest_lies_beside_each_output() {
    let bench = Bench::orders("redshift_manifest = true");
    bench.fill();
    assert_eq!(bench.baler(&["run"]).code, 0);
    let manifest: Value = serde_json::from_str(&bench.read("data/out/2026-01-01.jsonl.manifest")).unwrap();
    let entry = &manifest["entries"][0];
    assert!(entry["url"].as_str().unwrap().ends_with("out/2026-01-01.jsonl"), "{manifest}");
    assert_eq!((&entry["mandatory"], &entry["meta"]["content_length"]), (&Value::Bool(true), &Value::from(18)));
}

#[test]
fn a_flow_that_cannot_run_does_not_keep_the_others_from_it() {
    let other = ORDERS.split("[flows.orders]").nth(1).unwrap();
    let broken = other.replace("lake:in", "/dev/null/in").replace("lake:out", "lake:other");
    let bench = Bench::new(&ORDERS.replace("[flows.orders]", &format!("[flows.broken]{broken}\n[flows.orders]")));
    bench.fill();
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("error: "), "{done:?}");
    assert_eq!(bench.files("data/out").len(), 2, "{done:?}");
}
