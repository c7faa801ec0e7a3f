//! The binary against an S3 server: settings and credentials as the AWS CLI finds them.

use std::process::Command;

use baler_testkit::s3::{Conditions, S3Options, S3Server};
use serde_json::Value;

use crate::bench::{Bench, Done, ORDERS, assert_shown};

/// A server with a bucket, a flow over it, and six objects of one day.
async fn bench() -> (Bench, S3Server) {
    let server = S3Server::start(S3Options { buckets: vec!["corp".into()], ..S3Options::default() }).await.unwrap();
    let config =
        ORDERS.replace("./data", "s3://corp/lake").replace("version = 1", "version = 1\nstate = \"lake:_baler\"");
    for n in 1..=6 {
        server.put("corp", &format!("lake/in/2026-01-01/{n}.jsonl"), format!("{{\"id\":{n}}}\n"));
    }
    (Bench::new(&config), server)
}

fn with(bench: &Bench, env: &[(&str, &str)], args: &[&str]) -> Done {
    let mut command: Command = bench.command(args);
    command.envs(env.iter().copied());
    bench.finish(command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap())
}

fn keys(endpoint: &str) -> [(&str, &str); 3] {
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest"), ("AWS_ENDPOINT_URL", endpoint)]
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_endpoint_come_from_the_environment() {
    let (bench, server) = bench().await;
    let done = with(&bench, &keys(&server.endpoint), &["run", "--format", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let report: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(report["outputs"][0]["key"], "out/2026-01-01.jsonl", "{report}");
    assert!(server.object("corp", "lake/out/2026-01-01.jsonl").unwrap().starts_with(b"{\"id\":1}\n{\"id\":2}\n"));
    let run = report["run"].as_str().unwrap();
    let done = with(&bench, &keys(&server.endpoint), &["verify", run]);
    assert_eq!(done.code, 0, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_copied_by_the_store_and_the_plan_says_so_before() {
    let (bench, server) = bench().await;
    for n in 1..=6 {
        server.put_zeros("corp", &format!("lake/in/2026-01-02/{n}.jsonl"), 6 << 20);
    }
    let set = ["--set", "flows.orders.separator=\"none\""];
    let plan = with(&bench, &keys(&server.endpoint), &[&["plan", "--format", "json"][..], &set].concat()).json();
    let expected = plan[0]["plans"][0]["estimate"]["bytes_copied_server_side"].as_u64().unwrap();
    assert_eq!(expected, 36 << 20, "{plan}");
    let text = with(&bench, &keys(&server.endpoint), &[&["plan"][..], &set].concat());
    assert!(text.stdout.contains("estimate: 36.0 MiB copied by the store"), "{text:?}");
    let done = with(&bench, &keys(&server.endpoint), &[&["run", "--format", "json"][..], &set].concat());
    let report: Value = serde_json::from_str(done.stdout.trim()).unwrap();
    assert_eq!(report["bytes_copied_server_side"], expected, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_the_store_names_wins_over_the_environment() {
    let (bench, server) = bench().await;
    let script = bench.path("keys.sh");
    bench.write("keys.sh", "echo '{\"Version\":1,\"AccessKeyId\":\"test\",\"SecretAccessKey\":\"testtest\"}'\n");
    bench.write(
        ".aws/config",
        format!("[profile etl]\nregion = us-east-1\ncredential_process = /bin/sh {}\n", script.display()),
    );
    let store =
        format!("stores.lake={{ url = \"s3://corp/lake\", profile = \"etl\", endpoint = \"{}\" }}", server.endpoint);
    let env = [("AWS_ACCESS_KEY_ID", "wrong"), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let done = with(&bench, &env, &["run", "--set", &store]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(server.object("corp", "lake/out/2026-01-01.jsonl").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_credentials_are_told_apart() {
    let (bench, server) = bench().await;
    let endpoint = [("AWS_ENDPOINT_URL_S3", server.endpoint.as_str())];
    let done = with(&bench, &endpoint, &["run"]);
    assert_shown!("s3_no_credentials", done);
    let wrong = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "wrong"), endpoint[0]];
    let done = with(&bench, &wrong, &["run"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("refuses") && done.stderr.contains("hint: "), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_may_not_hold_the_ledger() {
    let (bench, server) = bench().await;
    server.change(|options| options.conditions = Conditions::Ignored);
    let done = with(&bench, &keys(&server.endpoint), &["run"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("is refused as the place of `state`"), "{done:?}");
    assert!(done.stderr.contains("hint: put `state` on a store that honours conditional writes"), "{done:?}");
    assert!(server.object("corp", "lake/out/2026-01-01.jsonl").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_of_rules_that_would_take_the_ledger() {
    let (bench, server) = bench().await;
    let rule = baler_testkit::s3::LifecycleRule {
        id: "sweep".into(),
        prefix: String::new(),
        expire_days: Some(30),
        abort_days: Some(1),
    };
    server.set_lifecycle("corp", vec![rule]);
    let done = with(&bench, &keys(&server.endpoint), &["check"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("lifecycle rule `sweep` removes objects"), "{done:?}");
    assert!(done.stdout.contains("aborts uploads"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_taken_from_s3_and_answered_there() {
    let server = S3Server::start(S3Options { buckets: vec!["corp".into()], ..S3Options::default() }).await.unwrap();
    let bench = Bench::new(
        "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://corp/lake\"\n\
         [connections]\nitems = { sqlite = \"./items.db\" }\n[flows.prices]\ndo = \"scatter\"\n\
         from = \"lake:in/{batch}.jsonl\"\nsplit = { chunk = 100 }\n\
         upsert = { into = \"items\", table = \"items\", key = [\"id\"], create = true }\n\
         schema = { columns = { id = \"int64\", price = \"float64\" } }\nto = \"lake:out/{batch}.jsonl\"\n",
    );
    let lines: String = (0..1_000).map(|n| format!("{{\"id\":{n},\"price\":{n}.5}}\n")).collect();
    server.put("corp", "lake/in/b.jsonl", lines);
    let done = with(&bench, &keys(&server.endpoint), &["run", "--format", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let report: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(report["account"]["records_out"], 1_000, "{report}");
    let result = server.object("corp", "lake/out/b.jsonl").unwrap();
    let answers: Vec<Value> =
        result.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(answers.len(), 1_000);
    let sound = |(n, answer): (usize, &Value)| answer["index"] == n && answer["response"]["success"] == true;
    assert!(answers.iter().enumerate().all(sound), "{:?}", answers.first());
    let summary: Value = serde_json::from_slice(&server.object("corp", "lake/out/b.summary.json").unwrap()).unwrap();
    assert_eq!(summary["records"], serde_json::json!({ "total": 1_000, "succeeded": 1_000, "failed": 0 }));
    let rows: i64 = rusqlite::Connection::open(bench.path("items.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM items", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1_000);
    assert_eq!(with(&bench, &keys(&server.endpoint), &["verify", report["run"].as_str().unwrap()]).code, 0);
}
