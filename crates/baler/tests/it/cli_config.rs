//! The configuration and the command line, where they are wrong.

use crate::bench::{Bench, ORDERS, assert_shown};

#[test]
fn unknown_keys_are_shown_with_their_place_and_a_guess() {
    let bench = Bench::orders("batch = { max_object = 5 }\nsperator = \"none\"");
    assert_shown!("unknown_keys", bench.baler(&["plan"]));
}

#[test]
fn a_misspelt_key_is_not_called_a_missing_one() {
    let bench = Bench::new(&ORDERS.replace("from = ", "form = "));
    let done = bench.baler(&["plan"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("unknown key `form`") && done.stderr.contains("did you mean `from`?"), "{done:?}");
}

#[test]
fn a_value_of_the_wrong_form_gets_a_hint_in_words_of_the_file() {
    for (line, words) in [
        ("where = \"day < today\"", "hint: write it in brackets"),
        ("batch = { settle = 15 }", "hint: write it in quotes"),
        ("batch = { max_objects = \"x\" }", "expected a whole number"),
    ] {
        let done = Bench::orders(line).baler(&["plan"]);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains(words), "{line}: {done:?}");
    }
}

#[test]
fn a_missing_file_a_missing_flow_and_a_missing_run_are_usage_errors() {
    let bench = Bench::empty();
    assert_shown!("no_file", bench.baler(&["run"]));
    let bench = Bench::orders("");
    assert_shown!("no_flow", bench.baler(&["run", "order"]));
    assert_shown!("no_run", bench.baler(&["verify", "20260101T000000-00000000"]));
    assert_shown!("neither_flow_nor_run", bench.baler(&["show", "nope"]));
}

#[test]
fn wrong_flags_are_usage_errors() {
    let bench = Bench::orders("");
    for args in [
        &["run", "--nope"][..],
        &["--concurrency", "0", "run"],
        &["--memory", "1MiB", "run"],
        &["--as-of", "yesterday", "run"],
        &["gc", "--older-than", "soon"],
        &["retry", "r", "--assume", "maybe"],
        &["fly"],
    ] {
        let done = bench.baler(args);
        assert_eq!(done.code, 2, "{args:?}: {done:?}");
        assert!(done.stdout.is_empty() && done.stderr.starts_with("error: "), "{args:?}: {done:?}");
    }
}

#[test]
fn set_overrides_a_value_and_its_faults_are_shown_in_place() {
    let bench = Bench::orders("");
    bench.fill();
    let (code, reports) = bench.run_json(&["--set", "flows.orders.batch.min_objects=3"]);
    assert_eq!((code, reports[0]["status"].as_str()), (0, Some("nothing")), "{reports:?}");
    assert_shown!("wrong_set", bench.baler(&["run", "--set", "flows.orders.batch.min_object=3"]));
}

#[test]
fn as_of_moves_today_for_conditions() {
    let bench = Bench::orders("where = [\"day < today\"]");
    bench.fill();
    let (_, reports) = bench.run_json(&["--as-of", "2026-01-01"]);
    assert_eq!(reports[0]["status"], "nothing", "{reports:?}");
    let (_, reports) = bench.run_json(&["--as-of", "2026-01-02T12:00:00Z"]);
    assert_eq!(reports[0]["outputs"][0]["key"], "out/2026-01-01.jsonl", "{reports:?}");
    assert_eq!(reports[0]["outputs"].as_array().unwrap().len(), 1);
}

#[test]
fn another_file_is_read_and_its_paths_are_relative_to_it() {
    let bench = Bench::empty();
    bench.write("etl/other.toml", ORDERS);
    bench.write("etl/data/in/2026-01-01/1.jsonl", "1\n");
    bench.write("etl/data/in/2026-01-01/2.jsonl", "2\n");
    let done = bench.baler(&["-f", "etl/other.toml", "run"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(bench.read("etl/data/out/2026-01-01.jsonl"), "1\n2\n");
    assert!(bench.exists("etl/.baler"));
}

#[test]
fn the_least_policy_names_the_prefixes_of_the_flows() {
    let config = ORDERS
        .replace("./data", "s3://corporate-data/lake")
        .replace("version = 1", "version = 1\nstate = \"lake:_baler\"");
    let bench = Bench::new(&config);
    assert_shown!("iam", bench.baler(&["check", "--iam"]));
}
