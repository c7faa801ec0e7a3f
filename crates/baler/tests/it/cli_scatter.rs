//! `scatter` by the command line: every verb that meets such a flow.

use serde_json::Value;

use crate::bench::Bench;

#[test]
fn what_init_writes_for_batches_works_as_it_is_and_every_verb_knows_it() {
    let bench = Bench::empty();
    let done = bench.baler(&["init", "scatter"]);
    assert_eq!(done.code, 0, "{done:?}");
    bench.write("data/inbox/1.json", r#"{"records":[{"itemNo":"a","price":5},{"itemNo":null},{"itemNo":"b"}]}"#);
    let done = bench.baler(&["check"]);
    assert_eq!(done.code, 0, "{done:?}");
    let done = bench.baler(&["plan"]);
    assert!(done.stdout.contains("would scatter 1 object") && done.stdout.contains("outbox/1.json"), "{done:?}");
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 3, "{done:?}");
    let result: Value = serde_json::from_str(&bench.read("data/outbox/1.json")).unwrap();
    let success: Vec<bool> =
        result["records"].as_array().unwrap().iter().map(|r| r["response"]["success"].as_bool().unwrap()).collect();
    assert_eq!(success, [true, false, true], "{result:#}");
    let summary: Value = serde_json::from_str(&bench.read("data/outbox/1.summary.json")).unwrap();
    assert_eq!(summary["records"]["failed"], 1, "{summary:#}");
    let run = bench.last_run();
    for (args, code, says) in [
        (vec!["show", "prices"], 0, "itemNo: text, price: float64 (declared)"),
        (vec!["show", run.as_str()], 0, "outbox/1.json"),
        (vec!["show", run.as_str()], 0, "3 records answered = 2 went through + 1 failed"),
        (vec!["show", run.as_str()], 0, "rows that it wrote to the table `items` stay"),
        (vec!["show", run.as_str()], 0, "to have a batch taken again"),
        (vec!["runs"], 0, run.as_str()),
        (vec!["verify", run.as_str()], 0, "outbox/1.summary.json"),
        (vec!["quarantine", "prices"], 0, "the key `itemNo` is null"),
        (vec!["plan", "--explain", "inbox/1.json"], 0, "consumed"),
        (vec!["gc", "--dry-run"], 0, ""),
        (vec!["plan"], 0, "nothing to do"),
    ] {
        let done = bench.baler(&args);
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        assert!(done.stdout.contains(says), "{args:?}: {done:?}");
    }
    for (args, says) in [
        (vec!["preview", "prices"], "it scatters"),
        (vec!["ddl", "prices"], "it does not convert"),
        (
            vec!["backfill", "prices", "--from", "2026-01-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"],
            "flow `prices` scatters",
        ),
    ] {
        let done = bench.baler(&args);
        assert!(done.code != 0 && done.stderr.contains(says) && done.stderr.contains("hint:"), "{args:?}: {done:?}");
    }
    let done = bench.baler(&["run", "prices"]);
    assert_eq!(done.code, 0, "{done:?}");
    // Every step that it comments out exists.
    let text = bench.read("baler.toml");
    for each in ["json_schema", "program", "http"] {
        let stepped = Bench::new(&text.replace(&format!("# each = {{ {each}"), &format!("each = {{ {each}")));
        stepped.write("price.schema.json", "{}");
        let done = stepped.baler(&["check"]);
        assert_eq!(done.code, 0, "{each}: {done:?}");
    }
}

/// The items of a DynamoDB table, as the AWS SDK for Python reads them: number and price.
#[cfg(feature = "s3")]
const SCAN: &str = r#"
import boto3, json, sys
table = boto3.resource("dynamodb", endpoint_url=sys.argv[1], region_name="us-east-1").Table("items")
print(json.dumps(sorted([item["itemNo"], float(item["price"])] for item in table.scan()["Items"])))
"#;

#[cfg(feature = "s3")]
#[test]
fn batches_go_into_dynamodb_and_an_older_one_changes_nothing() {
    use std::path::Path;
    use std::process::Command;
    let Some(moto) = baler_testkit::moto::Moto::start() else { return };
    let credentials =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest"), ("AWS_REGION", "us-east-1")];
    let bench = Bench::new(
        &r#"
version = 1
[connections]
items = { dynamodb = { endpoint = "ENDPOINT" } }
[flows.prices]
do = "scatter"
from = "./data/in/{batch}_{at:epoch}.json"
split = { records = "records", chunk = 2 }
upsert = { into = "items", table = "items", key = ["itemNo"], create = true }
schema = { columns = { itemNo = "text", price = "float64" } }
batch_time = "at"
to = "./data/out/{batch}.json"
"#
        .replace("ENDPOINT", &moto.endpoint),
    );
    let run = |batch: &str, prices: &[(&str, f64)]| {
        let records: Vec<Value> =
            prices.iter().map(|(item, price)| serde_json::json!({ "itemNo": item, "price": price })).collect();
        bench.write(&format!("data/in/{batch}.json"), serde_json::json!({ "records": records }).to_string());
        let mut command = bench.command(&["run"]);
        command.envs(credentials);
        bench.done(command.output().unwrap())
    };
    let done = run("new_2000", &[("a", 1.5), ("b", 2.5), ("c", 3.5), ("a", 4.5)]);
    assert_eq!(done.code, 0, "{done:?}");
    // It comes later, and is older; an item without a key fails alone.
    let done = run("old_1000", &[("a", 9.0), ("d", 5.5), ("", 1.0)]);
    assert_eq!(done.code, 3, "{done:?}");
    let summary: Value = serde_json::from_str(&bench.read("data/out/old.summary.json")).unwrap();
    assert_eq!(summary["records"], serde_json::json!({ "total": 3, "succeeded": 2, "failed": 1 }), "{summary:#}");
    let server = std::env::var("BALER_TEST_MOTO").unwrap();
    let found = Command::new(Path::new(&server).with_file_name("python"))
        .args(["-c", SCAN, &moto.endpoint])
        .envs(credentials)
        .output()
        .unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found, serde_json::json!([["a", 4.5], ["b", 2.5], ["c", 3.5], ["d", 5.5]]));
}
