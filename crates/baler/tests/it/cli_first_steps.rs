//! From nothing to a first result.

use crate::bench::{Bench, assert_shown};

#[test]
fn what_init_writes_works_as_it_is() {
    let bench = Bench::empty();
    assert_shown!("init", bench.baler(&["init"]));
    assert_shown!("init_check", bench.baler(&["check"]));
    assert_shown!("init_plan_of_nothing", bench.baler(&["plan"]));
    bench.write("data/inbox/2026-01-31/a.jsonl", "{\"id\":1}\n");
    bench.write("data/inbox/2026-01-31/b.jsonl", "{\"id\":2}\n");
    assert_shown!("init_plan", bench.baler(&["plan"]));
    assert_shown!("init_run", bench.baler(&["run"]));
    assert_eq!(bench.read("data/daily/2026-01-31_000.jsonl"), "{\"id\":1}\n{\"id\":2}\n");
}

#[test]
fn what_init_writes_for_records_works_as_it_is() {
    let bench = Bench::empty();
    let done = bench.baler(&["init", "convert"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("baler preview events"), "{done:?}");
    bench.write("data/inbox/2026-01-31.csv", "id,price\n1,2.50\n2,\n");
    assert_eq!(bench.baler(&["check"]).code, 0);
    let done = bench.baler(&["preview", "events"]);
    assert_eq!(done.stdout, "{\"id\":1,\"price\":2.5}\n{\"id\":2}\n", "{done:?}");
    assert_eq!(bench.baler(&["run", "-q"]).code, 0);
    let expected = "{\"id\":1,\"price\":2.5}\n{\"id\":2}\n";
    assert_eq!(bench.read("data/events/year=2026/month=01/part.jsonl"), expected);
    // Every key that it comments out exists.
    let text = bench.read("baler.toml").replace("# state", "state");
    let text =
        text.replace("\n# schema", "\nschema").replace("\n# on_drift", "\non_drift").replace("\n# scrub", "\nscrub");
    let text = text.replace("\n# max_quarantined", "\nmax_quarantined").replace("\n# provenance", "\nprovenance");
    let all = Bench::new(&text);
    all.write("data/inbox/2026-01-31.csv", "id,price\n1,2.50\n2,\n");
    let done = all.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn init_keeps_a_file_that_is_there_unless_forced() {
    let bench = Bench::new("version = 1\n# mine\n");
    assert_shown!("init_refused", bench.baler(&["init"]));
    assert!(bench.read("baler.toml").contains("# mine"));
    assert_eq!(bench.baler(&["init", "--force", "combine"]).code, 0);
    assert!(!bench.read("baler.toml").contains("# mine"));
}

#[test]
fn every_key_that_init_comments_out_is_one_that_exists() {
    let bench = Bench::empty();
    bench.baler(&["init"]);
    let commented = bench.read("baler.toml");
    let keys =
        ["where = ", "order_by = ", "batch = ", "sources = { after_commit = \"delete\"", "check = ", "redshift_"];
    let mut text = commented.clone();
    for key in keys {
        let line = format!("# {key}");
        assert!(commented.contains(&line), "{line}");
        text = text.replace(&line, key);
    }
    bench.write("baler.toml", text);
    let done = bench.baler(&["check"]);
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn version_is_told_at_once() {
    let bench = Bench::empty();
    let done = bench.baler(&["--version"]);
    assert_eq!((done.code, done.stdout.starts_with("baler ")), (0, true), "{done:?}");
}

#[test]
fn schema_and_completions_need_no_configuration() {
    let bench = Bench::empty();
    let schema = bench.baler(&["schema"]);
    assert_eq!(schema.code, 0);
    assert!(schema.json()["properties"]["flows"].is_object(), "{}", schema.stdout);
    let completions = bench.baler(&["completions", "bash"]);
    assert_eq!(completions.code, 0);
    assert!(completions.stdout.contains("complete -F"), "{}", completions.stdout);
}
