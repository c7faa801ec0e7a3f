//! What earlier builds left in a ledger is understood, and what later ones leave is refused by name.
//!
//! A file of `tests/golden/` is never edited: it stands for what lies in users' stores.

use std::path::{Path, PathBuf};

use baler_engine::ledger::{LedgerError, Marks};
use baler_engine::report::{RunReport, Status};
use baler_model::Kind;
use baler_model::ledger::ContentHash;
use baler_store::Store;
use baler_testkit::fixtures;
use bytes::Bytes;

use crate::world::World;

const FLOW: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
order_by = ["n"]
to = "lake:daily/{day}.jsonl"
"#;

fn golden(rest: &str) -> PathBuf {
    Path::new("tests/golden").join(rest)
}

async fn filled() -> World {
    let world = World::new();
    for day in ["a", "b"] {
        for n in 1..=2 {
            world.put(&format!("raw/{day}/{n}.jsonl"), format!("{day}{n}\n")).await;
        }
    }
    world
}

/// The files below a directory, by their paths relative to it.
fn files(root: &Path, below: &Path, found: &mut Vec<(String, Bytes)>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(root, &path, found),
            false => {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read(&path).unwrap().into()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reports_of_version_1_are_read_and_written_as_ever() {
    let text = std::fs::read_to_string(golden("report/v1.json")).unwrap();
    let report: RunReport = serde_json::from_str(&text).unwrap();
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1));
    assert_eq!(
        (report.groups.skipped, report.bytes_copied_server_side, report.bytes_through_client),
        (2, 10_485_760, 1)
    );
    assert_eq!((report.requests.list, report.requests.delete), (1, 6));
    assert_eq!((report.account.bytes_out, report.account.records_in), (17, None));
    assert_eq!((report.outputs[0].key.as_str(), report.outputs[0].records), ("daily/é +%2F.jsonl", None));
    assert_eq!((report.failures.len(), report.failures[1].hint.as_deref()), (2, None));
    assert_eq!(report.notes, ["sources are deleted after 2026-01-02T00:00:00Z"]);
    // As the ledger keeps it, the version with it.
    let world = World::new();
    let flow = world.process(FLOW, None).flow();
    let run = report.run.clone().unwrap();
    flow.ledger.write_report(&run, &report).await.unwrap();
    let kept = world.read("_baler/").await;
    assert_eq!(kept[&format!("_baler/daily/runs/{run}/report.json")], text);
    let shown = flow.ledger.read_report(&run).await.unwrap().unwrap();
    assert_eq!(shown.to_string(), serde_json::to_string(&report).unwrap());
}

/// A run that version 1 opened, before it executed any task.
#[tokio::test(start_paused = true)]
async fn an_open_run_of_version_1_is_finished() {
    let world = filled().await;
    let mut ledger = Vec::new();
    files(&golden("ledger/v1"), &golden("ledger/v1"), &mut ledger);
    assert_eq!(ledger.len(), 3, "an entry, a plan and its claims");
    for (name, body) in ledger {
        world.put(&format!("_baler/daily/{name}"), body).await;
    }
    let process = world.process(FLOW, None);
    let (flow, state) = (process.flow(), process.state().await);
    let [run] = state.runs() else { panic!("one run is open: {state:#?}") };
    let plan = flow.ledger.read_plan(run).await.unwrap();
    let claims = flow.ledger.read_claims(run).await.unwrap();
    // Written anew, they have the very names that the log chose.
    assert_eq!(ContentHash::of(&plan.to_bytes()), run.plan);
    assert_eq!((plan.tasks.len(), claims.claims.len()), (2, 4));
    let reports = process.run().await.unwrap();
    assert_eq!((reports[0].status, reports[0].run.as_ref()), (Status::Committed, Some(&run.run)), "{reports:#?}");
    assert_eq!(reports[0].account.objects_in, 4);
    let daily = world.read("daily/").await.into_iter().collect::<Vec<_>>();
    assert_eq!(daily, [("daily/a.jsonl".into(), "a1\na2\n".into()), ("daily/b.jsonl".into(), "b1\nb2\n".into())]);
}

fn refused<T: std::fmt::Debug>(answer: Result<T, LedgerError>, key: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.to_string(), format!("`{key}` of the ledger has format version 2, this build reads up to 1"));
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.hint().unwrap().contains("a newer Baler"), "{error:?}");
}

/// Version 2 of a file: other fields too, so that what is refused is the version and not their absence.
fn newer(text: &str, field: &str) -> Bytes {
    let newer = text.replacen("\"version\":1", "\"version\":2", 1).replacen("\"version\": 1", "\"version\": 2", 1);
    let other = newer.replacen(&format!("\"{field}\""), "\"renamed\"", 1);
    assert!(newer != text && other != newer, "{text}");
    other.into()
}

#[tokio::test(start_paused = true)]
async fn files_of_a_newer_format_are_refused_and_named() {
    let world = filled().await;
    let process = world.process(FLOW, None);
    process.run_one().await;
    let (ledger, state) = (process.flow().ledger, process.state().await);
    let run = state.runs()[0].clone();
    let id = &run.run;
    let files = world.read("_baler/daily/").await;
    let base = format!("_baler/daily/runs/{id}");

    let plan = newer(&files[&format!("{base}/plan-{}.jsonl", run.plan)], "as_of");
    let named = ContentHash::of(&plan);
    let key = format!("{base}/plan-{named}.jsonl");
    world.put(&key, plan).await;
    refused(ledger.read_plan(&baler_engine::ledger::RunState { plan: named, ..run.clone() }).await, &key);

    let claims = fixtures::read(&world.lake, &format!("{base}/claims-{}.jsonl.zst", run.claims)).await.unwrap();
    let plain = String::from_utf8(zstd::decode_all(&*claims).unwrap()).unwrap();
    let claims = Bytes::from(zstd::encode_all(&*newer(&plain, "claims"), 3).unwrap());
    let named = ContentHash::of(&claims);
    let key = format!("{base}/claims-{named}.jsonl.zst");
    world.put(&key, claims).await;
    refused(ledger.read_claims(&baler_engine::ledger::RunState { claims: named, ..run.clone() }).await, &key);

    let seal = newer(&files[&format!("{base}/seal-{}.jsonl", run.seal.as_ref().unwrap())], "account");
    let named = ContentHash::of(&seal);
    let key = format!("{base}/seal-{named}.jsonl");
    world.put(&key, seal).await;
    refused(ledger.read_seal(id, &named).await, &key);

    let key = format!("{base}/mark/0/1.0.json");
    world.put(&key, newer(&files[&key], "outcome")).await;
    refused(ledger.read_marks(id, Marks::new()).await, &key);

    let key = "_baler/daily/log/00000000000000000002.json";
    world.put(key, newer(&files[key], "seal")).await;
    refused(ledger.load().await, key);
    // A run on such a ledger changes nothing.
    let before = world.read("").await;
    let error = process.run().await.unwrap_err();
    assert!(error.hint().unwrap().contains("a newer Baler"), "{error:?}");
    assert_eq!(world.read("").await, before);
}

#[tokio::test(start_paused = true)]
async fn fields_that_a_later_build_added_are_passed_over() {
    let world = filled().await;
    let process = world.process(FLOW, None);
    process.run_one().await;
    let known = process.state().await;
    let files = world.read("_baler/daily/").await;
    let ledger_files = files.iter().filter(|(key, _)| key.contains("/log/") || key.contains("/mark/"));
    for (key, text) in ledger_files {
        world.put(key, text.replacen('{', "{\"colour\": [\"green\"],", 1)).await;
    }
    let process = world.process(FLOW, None);
    assert_eq!(process.state().await, known);
    let run = &known.runs()[0].run;
    assert_eq!(process.flow().ledger.read_marks(run, Marks::new()).await.unwrap().len(), 2);
    assert_eq!(process.run_one().await.status, Status::Nothing);
    assert!(world.lake.head(&fixtures::key("daily/a.jsonl")).await.unwrap().is_some());
}
