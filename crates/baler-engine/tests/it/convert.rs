//! `convert` over stores in memory: partitions are built, built anew, swapped; records balance.

use std::collections::BTreeMap;

use baler_engine::report::{RunReport, Status};
use baler_store::Store;
use baler_testkit::fixtures;

use crate::world::World;

const DAYS: &str = r#"
[flows.days]
do = "convert"
from = "lake:in/{set}/{day:%Y-%m-%d}_{n:int}.jsonl"
schema = { columns = { id = "int64", name = "text" } }
to = [
  { path = "lake:month/{set}/{partition:%Y-%m}.csv", partition = "month" },
  { path = "lake:day/{set}/{partition:%Y-%m-%d}.jsonl", partition = "day" },
]
"#;

fn line(id: u64) -> String {
    format!("{{\"id\":{id},\"name\":\"n{id}\"}}\n")
}

/// The ids in CSV objects of a prefix, by key.
async fn ids(world: &World, prefix: &str) -> BTreeMap<String, Vec<u64>> {
    let of = |text: &str| text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    world.read(prefix).await.into_iter().map(|(key, text)| (key, of(&text))).collect()
}

/// Records balance in the report, and each output says how many it holds.
fn assert_balances(report: &RunReport) {
    let account = &report.account;
    account.check_records().unwrap_or_else(|e| panic!("{e}: {report:#?}"));
    assert!(report.outputs.iter().all(|output| output.records.is_some()), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_built_anew_whole_when_a_source_appears_or_changes() {
    let world = World::new();
    world.put("in/a/2024-01-30_1.jsonl", line(1) + &line(2)).await;
    world.put("in/a/2024-01-31_1.jsonl", line(3)).await;
    world.put("in/a/2024-02-01_1.jsonl", line(4)).await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_balances(&report);
    assert_eq!((report.account.records_in, report.account.records_out), (Some(4), Some(4)));
    let months = ids(&world, "month/").await;
    assert_eq!(months["month/a/2024-01.csv"], [1, 2, 3]);
    assert_eq!(months["month/a/2024-02.csv"], [4]);
    assert_eq!(world.read("day/").await["day/a/2024-01-30.jsonl"], line(1) + &line(2));

    // A late object of one day: its month is built anew from all days, of the days only its own.
    world.put("in/a/2024-01-30_2.jsonl", line(5)).await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let written: Vec<&str> = report.outputs.iter().map(|output| output.key.as_str()).collect();
    assert_eq!(written, ["month/a/2024-01.csv", "day/a/2024-01-30.jsonl"]);
    assert_eq!(ids(&world, "month/").await["month/a/2024-01.csv"], [1, 2, 5, 3]);
    assert_eq!(world.read("day/").await["day/a/2024-01-30.jsonl"], line(1) + &line(2) + &line(5));

    // An overwritten object: its old records are gone, its new ones are there.
    world.put("in/a/2024-01-31_1.jsonl", line(30) + &line(31)).await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(ids(&world, "month/").await["month/a/2024-01.csv"], [1, 2, 5, 30, 31]);
    assert_eq!(world.process(DAYS, None).run_one().await.status, Status::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_gone_gives_its_partition_up_and_no_other() {
    let world = World::new();
    for key in ["in/a/2024-01-30_1.jsonl", "in/a/2024-01-31_1.jsonl", "in/a/2024-02-01_1.jsonl"] {
        world.put(key, line(1)).await;
    }
    assert_eq!(world.process(DAYS, None).run_one().await.status, Status::Committed);
    world.lake.delete(&fixtures::key("in/a/2024-01-30_1.jsonl")).await.unwrap();
    world.put("in/a/2024-01-31_2.jsonl", line(2)).await;
    world.put("in/a/2024-02-02_1.jsonl", line(3)).await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert_eq!(report.failures.len(), 1, "{report:#?}");
    let failure = &report.failures[0];
    assert!(
        failure.error.contains("`in/a/2024-01-30_1.jsonl`, of which `month/a/2024-01.csv` was made"),
        "{failure:?}"
    );
    assert!(failure.hint.as_deref().unwrap().contains("--drop-missing"));
    let months = ids(&world, "month/").await;
    assert_eq!(months["month/a/2024-01.csv"], [1, 1], "the partition stays as it was");
    assert_eq!(months["month/a/2024-02.csv"], [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_somebody_else_changed_is_not_replaced() {
    let world = World::new();
    world.put("in/a/2024-01-30_1.jsonl", line(1)).await;
    assert_eq!(world.process(DAYS, None).run_one().await.status, Status::Committed);
    world.put("month/a/2024-01.csv", "id,name\n7,mine\n").await;
    world.put("in/a/2024-01-31_1.jsonl", line(2)).await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("`month/a/2024-01.csv` has changed since run"), "{report:#?}");
    assert_eq!(world.read("month/").await["month/a/2024-01.csv"], "id,name\n7,mine\n");
    assert!(!world.read("day/").await.contains_key("day/a/2024-01-31.jsonl"), "a group stands or falls as a whole");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_is_set_aside_with_place_reason_and_text() {
    let world = World::new();
    let bad = "{\"id\":\"x\",\"name\":\"n\"}\n";
    world.put("in/a/2024-01-30_1.jsonl", line(1) + bad + &line(2) + "{\"id\":3,\"na").await;
    world.put("in/a/2024-01-31_1.jsonl", line(4) + &line(5)).await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_balances(&report);
    let account = &report.account;
    assert_eq!((account.records_in, account.records_out, account.quarantined), (Some(6), Some(4), Some(2)));
    assert_eq!(ids(&world, "month/").await["month/a/2024-01.csv"], [1, 2, 4, 5]);
    let aside = world.read("_quarantine/days/").await;
    let lines: Vec<serde_json::Value> =
        aside.values().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{aside:?}");
    assert_eq!(lines[0]["key"], "in/a/2024-01-30_1.jsonl");
    assert_eq!(lines[0]["line"], 2);
    assert_eq!(lines[0]["offset"], line(1).len());
    assert_eq!(lines[0]["raw"].as_str().unwrap().trim_end(), bad.trim_end());
    assert!(lines[0]["reason"].as_str().unwrap().contains("`id`"), "{lines:?}");
    assert_eq!(lines[1]["line"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_group_with_too_many_records_set_aside_fails_and_nothing_of_it_is_seen() {
    let world = World::new();
    world.put("in/a/2024-01-30_1.jsonl", line(1) + "x\ny\n").await;
    world.put("in/b/2024-01-30_1.jsonl", line(2) + "x\n").await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    let error = &report.failures[0].error;
    assert!(
        error.contains("2 of 3 records cannot be taken, more than 50%; the first: `in/a/2024-01-30_1.jsonl`, line 2: "),
        "{report:#?}"
    );
    assert_eq!(world.read("month/").await.keys().collect::<Vec<_>>(), ["month/b/2024-01.csv"]);
    // Nothing was consumed of it: corrected, it is taken.
    world.put("in/a/2024-01-30_1.jsonl", line(1)).await;
    let report = world.process(DAYS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(ids(&world, "month/").await["month/a/2024-01.csv"], [1]);
}

#[tokio::test(start_paused = true)]
async fn inferred_columns_are_pinned_and_drift_is_told() {
    let flow = |drift: &str| {
        format!(
            "[flows.days]\ndo = \"convert\"\nfrom = \"lake:in/{{day:%Y-%m-%d}}.jsonl\"\non_drift = \"{drift}\"\n\
             to = \"lake:out/{{day:%Y-%m-%d}}.csv\"\n"
        )
    };
    let world = World::new();
    world.put("in/2024-01-01.jsonl", "{\"a\":1,\"b\":\"x\"}\n").await;
    assert_eq!(world.process(&flow("fail"), None).run_one().await.status, Status::Committed);
    world.put("in/2024-01-02.jsonl", "{\"a\":2,\"b\":\"y\",\"c\":1.5}\n").await;
    let report = world.process(&flow("fail"), None).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("has columns that the schema lacks: `c`"), "{report:#?}");
    let report = world.process(&flow("widen"), None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("out/").await["out/2024-01-02.csv"], "a,b,c\n2,y,1.5\n");
    // What was widened is pinned too.
    world.put("in/2024-01-03.jsonl", "{\"a\":3}\n").await;
    let report = world.process(&flow("fail"), None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("out/").await["out/2024-01-03.csv"], "a,b,c\n3,,\n");
    world.put("in/2024-01-04.jsonl", "{\"a\":4,\"d\":true}\n").await;
    let report = world.process(&flow("quarantine"), None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("out/").await["out/2024-01-04.csv"], "a,b,c\n4,,\n");
}

#[tokio::test(start_paused = true)]
async fn where_paths_name_the_run_each_run_adds_objects_and_sources_may_go() {
    let world = World::new();
    let flow = r#"
[flows.added]
do = "convert"
from = "lake:in/{n:int}.jsonl"
schema = { columns = { id = "int64" } }
to = "lake:out/{run}.jsonl"
sources = { after_commit = "delete" }
"#;
    world.put("in/1.jsonl", "{\"id\":1}\n").await;
    world.put("in/2.jsonl", "{\"id\":2}\n").await;
    assert_eq!(world.process(flow, None).run_one().await.status, Status::Committed);
    assert!(world.read("in/").await.is_empty());
    world.put("in/1.jsonl", "{\"id\":3}\n").await;
    assert_eq!(world.process(flow, None).run_one().await.status, Status::Committed);
    let mut texts: Vec<String> = world.read("out/").await.into_values().collect();
    texts.sort();
    assert_eq!(texts, ["{\"id\":1}\n{\"id\":2}\n", "{\"id\":3}\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_committed_run_is_verified_and_a_changed_output_is_noticed() {
    let world = World::new();
    world.put("in/a/2024-01-30_1.jsonl", line(1)).await;
    let process = world.process(DAYS, None);
    let report = process.run_one().await;
    let run = report.run.clone().unwrap();
    let verified = baler_engine::verify::verify(&process.flow(), &process.state().await, &run).await.unwrap();
    assert!(verified.proven, "{verified:#?}");
    // Somebody changes a byte behind Baler's back.
    let key = fixtures::key("month/a/2024-01.csv");
    world.put(key.as_str(), "id,name\n2,n1\n").await;
    let verified = baler_engine::verify::verify(&process.flow(), &process.state().await, &run).await.unwrap();
    assert!(!verified.proven, "{verified:#?}");
}

const HOURS: &str = r#"
[flows.hours]
do = "convert"
from = "lake:in/{start:epoch}.csv"
schema = { columns = { at = "int64", id = "int64" } }
time = "at"
covers = "day"
to = [
  { path = "lake:hour/{partition:%Y-%m-%dT%H}.csv", partition = "hour" },
  { path = "lake:day/{partition:%Y-%m-%d}.csv", partition = "day" },
]
"#;

#[tokio::test(start_paused = true)]
async fn hours_of_a_day_file_are_told_apart_by_the_time_of_each_record() {
    let day = 1_704_067_200u64; // 2024-01-01
    let world = World::new();
    let row = |second: u64, id: u64| format!("{second},{id}\n");
    let head = "at,id\n";
    let first = row(day + 3_600, 1) + &row(day + 5, 2) + &row(day + 7_199, 3) + ",4\n" + &row(day + 86_400, 5);
    world.put(&format!("in/{day}.csv"), head.to_owned() + &first).await;
    let report = world.process(HOURS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_balances(&report);
    let account = &report.account;
    assert_eq!((account.records_in, account.records_out, account.quarantined), (Some(5), Some(3), Some(2)));
    let hours = world.read("hour/").await;
    assert_eq!(hours.keys().collect::<Vec<_>>(), ["hour/2024-01-01T00.csv", "hour/2024-01-01T01.csv"]);
    assert_eq!(hours["hour/2024-01-01T01.csv"], format!("at,id\n{},1\n{},3\n", day + 3_600, day + 7_199));
    assert_eq!(world.read("day/").await.len(), 1);
    let aside: String = world.read("_quarantine/").await.into_values().collect();
    assert!(
        aside.contains("no time stands there") && aside.contains("2024-01-02T00:00:00Z is none of the object's"),
        "{aside}"
    );
    // The object changes: an hour that nothing belongs to any more is emptied, another appears.
    world.put(&format!("in/{day}.csv"), head.to_owned() + &row(day + 10_000, 7) + &row(day + 6, 2)).await;
    let report = world.process(HOURS, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let hours = world.read("hour/").await;
    assert_eq!(hours["hour/2024-01-01T01.csv"], head);
    assert_eq!(hours["hour/2024-01-01T02.csv"], format!("at,id\n{},7\n", day + 10_000));
    assert_eq!(hours["hour/2024-01-01T00.csv"], format!("at,id\n{},2\n", day + 6));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_reaches_over_the_end_of_its_partition_is_refused() {
    let world = World::new();
    world.put("in/1704085200.csv", "at,id\n1704085200,1\n").await; // five o'clock: a day from then on
    let report = world.process(HOURS, None).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("a day from then on is not within one day"), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn records_are_scrubbed_and_the_last_of_several_stays() {
    let flow = |keep: &str| {
        format!(
            r#"
[flows.days]
do = "convert"
from = "lake:in/{{day:%Y-%m-%d}}_{{n:int}}.csv"
schema = {{ columns = {{ id = "int64", name = "text", card = "text", price = "text", note = "text" }} }}
scrub = {{ trim = true, null_values = ["N/A"], cast = {{ price = "decimal(9,2)" }}, dedupe = {{ key = ["id"], keep = "{keep}" }}, mask = {{ card = "last:2" }}, drop = ["note"], rename = {{ name = "customer" }} }}
provenance = {{ line = "_line" }}
to = {{ path = "lake:out/{{partition:%Y-%m}}.csv", partition = "month" }}
"#
        )
    };
    for (keep, expected) in [
        ("first", "id,customer,card,price,_line\n1,Ann,**34,1.50,2\n2,,,,3\n3,Eve,**78,9.00,3\n"),
        ("last", "id,customer,card,price,_line\n2,,,,3\n1,Bob,**56,2.00,2\n3,Eve,**78,9.00,3\n"),
    ] {
        let world = World::new();
        let head = "id,name,card,price,note\n";
        world.put("in/2024-01-01_1.csv", format!("{head}1, Ann ,1234,1.5,x\n2,N/A,,N/A,y\n4,Q,1,dear,z\n")).await;
        world.put("in/2024-01-02_1.csv", format!("{head}1,Bob,3456,2,x\n3,Eve,5678,9,\n")).await;
        let process = world.process(&flow(keep), None);
        let report = process.run_one().await;
        assert_eq!(report.status, Status::Committed, "{report:#?}");
        assert_balances(&report);
        let account = &report.account;
        let counts = (account.records_in, account.records_out, account.quarantined, account.filtered);
        assert_eq!(counts, (Some(5), Some(3), Some(1), Some(1)), "{keep}");
        assert_eq!(world.read("out/").await["out/2024-01.csv"], expected, "{keep}");
        let aside: String = world.read("_quarantine/").await.into_values().collect();
        assert!(aside.contains("\"line\":4") && aside.contains("price"), "{aside}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scrub_that_cannot_be_is_refused_before_anything_is_opened() {
    let world = World::new();
    world.put("in/1.jsonl", "{\"id\":1}\n").await;
    let flow = |scrub: &str| {
        format!(
            "[flows.a]\ndo = \"convert\"\nfrom = \"lake:in/{{n:int}}.jsonl\"\nto = \"lake:out/{{n}}.csv\"\n\
             schema = {{ columns = {{ id = \"int64\" }} }}\nscrub = {scrub}\n"
        )
    };
    for (scrub, said) in [
        ("{ drop = [\"ids\"] }", "names the column `ids`, which the input does not have"),
        ("{ hash = { id = { salt = { env = \"NO_SALT\" } } } }", "NO_SALT"),
    ] {
        let error = world.process(&flow(scrub), None).run().await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(world.read("_baler/a/log").await.is_empty());
    }
}

const COUNTRIES: &str = r#"
[flows.countries]
do = "convert"
from = "lake:in/{set}/{day:%Y-%m-%d}.jsonl"
schema = { columns = { id = "int64", country = "text" } }
to = [
  { path = "lake:by/{set}/country={country}/x.csv", partition = "country" },
  { path = "lake:month/{set}/{partition:%Y-%m}.csv", partition = "month" },
]
"#;

#[tokio::test(start_paused = true)]
async fn the_values_of_columns_tell_outputs_apart() {
    let world = World::new();
    let row = |id: u64, country: &str| format!("{{\"id\":{id},\"country\":{country}}}\n");
    world.put("in/a/2024-01-01.jsonl", row(1, "\"ch\"") + &row(2, "null") + &row(3, "\"d/e\"")).await;
    world.put("in/a/2024-01-02.jsonl", row(4, "\"ch\"")).await;
    world.put("in/b/2024-01-02.jsonl", row(9, "\"ch\"")).await;
    let report = world.process(COUNTRIES, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_balances(&report);
    assert_eq!((report.account.records_in, report.account.records_out), (Some(5), Some(5)));
    let by = world.read("by/").await;
    assert_eq!(by["by/a/country=ch/x.csv"], "id\n1\n4\n", "the column is in the path and left out");
    assert_eq!(by["by/a/country=__HIVE_DEFAULT_PARTITION__/x.csv"], "id\n2\n");
    assert_eq!(by["by/a/country=d%2Fe/x.csv"], "id\n3\n");
    assert_eq!(by["by/b/country=ch/x.csv"], "id\n9\n");
    assert_eq!(world.read("month/").await["month/a/2024-01.csv"], "id,country\n1,ch\n2,\n3,d/e\n4,ch\n");

    // A source changes: a partition is emptied, one grows, one is new; the other set stays as it is.
    world.put("in/a/2024-01-01.jsonl", row(1, "\"ch\"") + &row(5, "\"fr\"") + &row(3, "\"ch\"")).await;
    let process = world.process(COUNTRIES, None);
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let by = world.read("by/").await;
    assert_eq!(by["by/a/country=ch/x.csv"], "id\n1\n3\n4\n");
    assert_eq!(by["by/a/country=fr/x.csv"], "id\n5\n");
    assert_eq!(by["by/a/country=d%2Fe/x.csv"], "id\n");
    assert_eq!(by["by/b/country=ch/x.csv"], "id\n9\n");
    assert!(report.outputs.iter().all(|output| !output.key.as_str().contains("/b/")), "{report:#?}");
    let run = report.run.unwrap();
    let verified = baler_engine::verify::verify(&process.flow(), &process.state().await, &run).await.unwrap();
    assert!(verified.proven, "{verified:#?}");
    assert_eq!(world.process(COUNTRIES, None).run_one().await.status, Status::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_where_a_value_would_go_blocks_the_run_and_stays() {
    let world = World::new();
    world.put("in/a/2024-01-01.jsonl", "{\"id\":1,\"country\":\"ch\"}\n").await;
    world.put("by/a/country=ch/x.csv", "mine").await;
    let report = world.process(COUNTRIES, None).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert_eq!(world.read("by/").await["by/a/country=ch/x.csv"], "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn objects_that_flow_need_one_request_at_a_time() {
    let clock: std::sync::Arc<dyn baler_store::Clock> = std::sync::Arc::new(baler_store::SystemClock);
    let ids = std::sync::Arc::new(baler_testkit::SeededIds::new(7));
    let lake = baler_store::MemoryStore::new("lake", baler_store::MemoryOptions::default(), clock.clone(), ids);
    // Each is larger than what is read at once.
    let row = |id: u64| format!("{id},{}\n", "x".repeat(900));
    for n in 0..6u64 {
        let text: String = (0..10_000).map(|row_number| row(n * 10_000 + row_number)).collect();
        lake.put(&fixtures::key(&format!("in/{n}.csv")), format!("id,pad\n{text}").into()).await.unwrap();
    }
    let config = r#"
version = 1
state = "lake:_baler"
[stores]
lake = "s3://lake"
[flows.all]
do = "convert"
from = "lake:in/{n:int}.csv"
schema = { columns = { id = "int64", pad = "text" } }
to = "lake:out/all.parquet"
"#;
    let stores: std::collections::HashMap<String, std::sync::Arc<dyn Store>> =
        [("lake".to_owned(), fixtures::shared(lake.clone()))].into();
    let mut process = crate::world::Process::over(config, "/project", stores, clock, 8);
    process.env.limits = baler_engine::Limits::new(1, 64 << 20);
    let report = tokio::time::timeout(std::time::Duration::from_secs(120), process.run_one()).await;
    let report = report.expect("it does not wait for itself");
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(report.account.records_out, Some(60_000));
}

#[tokio::test(start_paused = true)]
async fn what_the_flow_would_take_for_its_own_input_is_refused_when_planning() {
    let flow = |more: &str| {
        format!(
            "[flows.a]\ndo = \"convert\"\nfrom = \"lake:{{set}}/{{n:int}}.jsonl\"\n\
             schema = {{ columns = {{ id = \"int64\", c = \"text\" }} }}\n{more}\n"
        )
    };
    for (more, said) in [
        ("quarantine = \"aside\"\nto = \"lake:out/{set}/{n}.csv\"", None),
        ("to = { path = \"lake:out/{c}.jsonl\", partition = \"c\" }", Some("matched by the flow's own `from`")),
        ("to = { path = \"lake:{c}/x.csv\", partition = \"c\" }", Some("begins with the value of a column")),
    ] {
        let world = World::new();
        world.put("in/1.jsonl", "{\"id\":1,\"c\":\"x\"}\nbroken\n").await;
        let report = world.process(&flow(more), None).run_one().await;
        match said {
            None => assert_eq!(report.status, Status::Committed, "{report:#?}"),
            Some(said) => {
                assert_eq!(report.status, Status::Failed, "{report:#?}");
                assert!(report.failures[0].error.contains(said), "{report:#?}");
            }
        }
    }
    let world = World::new();
    world.put("in/1.jsonl", "{\"id\":1}\n").await;
    let flow = flow("quarantine = \"q\"\nto = \"lake:out/{set}/{n}.csv\"")
        .replace("{set}/{n:int}.jsonl", "{set:/.*/}/{n:int}.jsonl");
    let flow = flow.replace("out/{set}/{n}.csv", "out/{n}.csv");
    let report = world.process(&flow, None).run_one().await;
    assert!(report.failures.iter().any(|f| f.hint.as_deref().unwrap_or("").contains("`quarantine`")), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn one_small_flow_scrubs_each_object_under_a_normalised_name() {
    let flow = r#"
[flows.scrubbed]
do = "convert"
from = "lake:uploaded/{site}/Export {n:int}.csv"
schema = { columns = { id = "int64", name = "text" } }
scrub = { trim = true, rename = { name = "customer" } }
to = "lake:scrubbed/{site}/export_{n:05}.csv"
"#;
    let world = World::new();
    world.put("uploaded/bern/Export 7.csv", "id,name\r\n 1,\" Ann \"\r\n").await;
    world.put("uploaded/bern/Export 12.csv", "name,id\nBob,2\n").await;
    assert_eq!(world.process(flow, None).run_one().await.status, Status::Committed);
    let expected = BTreeMap::from([
        ("scrubbed/bern/export_00007.csv".to_owned(), "id,customer\n1,Ann\n".to_owned()),
        ("scrubbed/bern/export_00012.csv".to_owned(), "id,customer\n2,Bob\n".to_owned()),
    ]);
    assert_eq!(world.read("scrubbed/").await, expected);
    // An upload that is sent again is scrubbed again, the others are not touched.
    world.put("uploaded/bern/Export 7.csv", "id,name\n1,Eve\n").await;
    let report = world.process(flow, None).run_one().await;
    let written: Vec<&str> = report.outputs.iter().map(|output| output.key.as_str()).collect();
    assert_eq!(written, ["scrubbed/bern/export_00007.csv"]);
    assert_eq!(world.read("scrubbed/").await["scrubbed/bern/export_00007.csv"], "id,customer\n1,Eve\n");
}

#[tokio::test(start_paused = true)]
async fn numbers_are_times_in_the_unit_that_the_flow_says() {
    let flow = |epoch: &str| {
        format!(
            r#"
[flows.times]
do = "convert"
from = "lake:in/{{n:int}}.jsonl"
schema = {{ columns = {{ at = "timestamp(ms, UTC)" }} }}
to = "lake:out/{{n}}.csv"
max_quarantined = "100%"
{epoch}
"#
        )
    };
    for (epoch, number, at) in [
        ("", "1704067200", Some("2024-01-01T00:00:00.000Z")),
        ("epoch = \"s\"", "1704067200", Some("2024-01-01T00:00:00.000Z")),
        ("epoch = \"ms\"", "1704067200123", Some("2024-01-01T00:00:00.123Z")),
        ("epoch = \"us\"", "1704067200123000", Some("2024-01-01T00:00:00.123Z")),
        // Milliseconds for seconds would be a time that no text can hold.
        ("", "1704067200123", None),
    ] {
        let world = World::new();
        world.put("in/1.jsonl", format!("{{\"at\":{number}}}\n")).await;
        let report = world.process(&flow(epoch), None).run_one().await;
        assert_eq!(report.status, Status::Committed, "{epoch} {number}: {report:#?}");
        let expected = at.map_or_else(|| "at\n".to_owned(), |at| format!("at\n{at}\n"));
        assert_eq!(world.read("out/").await["out/1.csv"], expected, "{epoch} {number}");
        assert_eq!(report.account.quarantined, Some(u64::from(at.is_none())), "{epoch} {number}");
    }
}
