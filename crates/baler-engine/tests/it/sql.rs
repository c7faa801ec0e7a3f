//! `sql` of `convert` over stores in memory: what comes out of partitions, how it is counted, what is refused.

use std::sync::Arc;

use baler_engine::op::convert::{columns, preview, tables};
use baler_engine::report::{RunReport, Status};
use baler_store::Store;
use baler_testkit::fixtures;

use crate::world::World;

/// Days to months, in two kinds of outputs or one.
fn flow(sql: &str, more: &str) -> String {
    let more = match more {
        "" => "to = { path = \"lake:month/{partition:%Y-%m}.csv\", partition = \"month\" }",
        more => more,
    };
    format!(
        r#"
[flows.sold]
do = "convert"
from = "lake:in/{{day:%Y-%m-%d}}.jsonl"
schema = {{ columns = {{ id = "int64", shop = "text", price = "float64" }} }}
sql = """{sql}"""
{more}
"#
    )
}

fn line(id: u64, shop: &str, price: f64) -> String {
    format!("{{\"id\":{id},\"shop\":\"{shop}\",\"price\":{price}}}\n")
}

async fn filled() -> World {
    let world = World::new();
    world.put("in/2024-01-30.jsonl", line(1, "a", 1.0) + &line(2, "b", 2.0)).await;
    world.put("in/2024-01-31.jsonl", line(3, "a", 3.0)).await;
    world.put("in/2024-02-01.jsonl", line(4, "b", 4.0)).await;
    world
}

/// Runs a flow to its commit; the account balances with SQL between: (read, into SQL, out of it, set aside).
async fn committed(world: &World, flow: &str) -> (RunReport, [u64; 4]) {
    let process = world.process(flow, None);
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let account = &report.account;
    account.check_records().unwrap_or_else(|e| panic!("{e}: {report:#?}"));
    assert_eq!(account.records_out, account.sql_out);
    let written: u64 = report.outputs.iter().filter_map(|output| output.records).sum();
    assert_eq!(written, account.records_out.unwrap() + account.quarantined.unwrap(), "{report:#?}");
    let run = report.run.clone().unwrap();
    let verified = baler_engine::verify::verify(&process.flow(), &process.state().await, &run).await.unwrap();
    assert!(verified.proven, "{verified:#?}");
    let counts = [account.records_in, account.sql_in, account.sql_out, account.quarantined].map(Option::unwrap);
    (report, counts)
}

#[tokio::test(start_paused = true)]
async fn records_are_filtered_and_computed_in_their_order() {
    let world = filled().await;
    let sql = "SELECT id * 10 AS id, upper(shop) AS shop, price FROM input WHERE price <> 2";
    let (_, counts) = committed(&world, &flow(sql, "")).await;
    assert_eq!(counts, [4, 4, 3, 0]);
    let months = world.read("month/").await;
    assert_eq!(months["month/2024-01.csv"], "id,shop,price\n10,A,1.0\n30,A,3.0\n");
    assert_eq!(months["month/2024-02.csv"], "id,shop,price\n40,B,4.0\n");
    assert_eq!(world.process(&flow(sql, ""), None).run_one().await.status, Status::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_what_is_grouped_and_is_built_anew_whole() {
    let world = filled().await;
    let sql = "SELECT shop, count(*) AS n, sum(price) AS price FROM input GROUP BY shop ORDER BY shop DESC";
    let (_, counts) = committed(&world, &flow(sql, "")).await;
    assert_eq!(counts, [4, 4, 3, 0]);
    let months = world.read("month/").await;
    assert_eq!(months["month/2024-01.csv"], "shop,n,price\nb,1,2.0\na,2,4.0\n");
    assert_eq!(months["month/2024-02.csv"], "shop,n,price\nb,1,4.0\n");
    // A late object: the groups of its month are made anew from all of its records.
    world.put("in/2024-01-02.jsonl", line(5, "a", 5.0) + &line(6, "c", 6.0)).await;
    let (report, counts) = committed(&world, &flow(sql, "")).await;
    assert_eq!(report.outputs.len(), 1, "{report:#?}");
    assert_eq!(counts, [5, 5, 3, 0]);
    assert_eq!(world.read("month/").await["month/2024-01.csv"], "shop,n,price\nc,1,6.0\nb,1,2.0\na,3,9.0\n");
}

#[tokio::test(start_paused = true)]
async fn records_meet_themselves_and_tables_of_the_query() {
    let world = filled().await;
    let sql = "WITH mean AS (SELECT shop, avg(price) AS mean FROM input GROUP BY shop) \
               SELECT i.id, i.price - m.mean AS above, v.town FROM input AS i JOIN mean AS m ON i.shop = m.shop \
               JOIN (VALUES ('a', 'Aarau'), ('b', 'Bern')) AS v(shop, town) ON v.shop = i.shop ORDER BY i.id";
    let (_, counts) = committed(&world, &flow(sql, "")).await;
    assert_eq!(counts, [4, 4, 4, 0]);
    let months = world.read("month/").await;
    assert_eq!(months["month/2024-01.csv"], "id,above,town\n1,-1.0,Aarau\n2,0.0,Bern\n3,1.0,Aarau\n");
    assert_eq!(months["month/2024-02.csv"], "id,above,town\n4,0.0,Bern\n");
}

#[tokio::test(start_paused = true)]
async fn each_output_of_several_kinds_is_queried_by_itself() {
    let world = filled().await;
    let sql = "SELECT count(*) AS n, max(id) AS last FROM input";
    let to = "to = [{ path = \"lake:month/{partition:%Y-%m}.csv\", partition = \"month\" },\
              { path = \"lake:day/{partition:%Y-%m-%d}.parquet\", partition = \"day\" }]";
    let (report, counts) = committed(&world, &flow(sql, to)).await;
    // Each record counts once where it goes in, and each row of each output where it comes out.
    assert_eq!(counts, [4, 4, 5, 0]);
    assert_eq!(world.read("month/").await["month/2024-01.csv"], "n,last\n3,3\n");
    let records: Vec<Option<u64>> = report.outputs.iter().map(|output| output.records).collect();
    assert_eq!(records, [Some(1); 5], "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_comes_out_may_be_several_objects() {
    let to = "max_quarantined = \"100%\"\n\
              to = { path = \"lake:year/{partition:%Y}.csv\", partition = \"year\", max_bytes = \"40B\" }";
    // Rows come as records go in, and all at once behind the last: each object says how many it took and gave.
    for (sql, counts) in [
        ("SELECT id, shop FROM input WHERE id <> 7", [20, 19, 18, 1]),
        ("SELECT id, max(shop) AS shop FROM input WHERE id <> 7 GROUP BY id ORDER BY id DESC", [20, 19, 18, 1]),
        ("SELECT id, shop FROM input WHERE id < 0", [20, 19, 0, 1]),
    ] {
        let world = World::new();
        for day in 1..=4 {
            let first = (day - 1) * 5;
            let broken = if day == 3 { 4 } else { 5 };
            let text: String = (first..first + broken).map(|id| line(id, "some shop", 1.0)).collect();
            world.put(&format!("in/2024-01-{day:02}.jsonl"), text + if day == 3 { "{" } else { "" }).await;
        }
        let (report, found) = committed(&world, &flow(sql, to)).await;
        assert_eq!(found, counts, "{sql}");
        let objects = report.outputs.iter().filter(|output| output.key.as_str().ends_with(".csv")).count();
        assert_eq!(objects > 2, counts[2] > 0, "{report:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn columns_of_the_result_tell_outputs_apart() {
    let world = filled().await;
    let sql = "SELECT upper(shop) AS town, count(*) AS n, max(price) AS price FROM input GROUP BY shop ORDER BY shop";
    let to = "to = { path = \"lake:by/town={town}/x.csv\", partition = \"town\" }";
    let (_, counts) = committed(&world, &flow(sql, to)).await;
    assert_eq!(counts, [4, 4, 2, 0]);
    let by = world.read("by/").await;
    assert_eq!(by.len(), 2);
    assert_eq!(by["by/town=A/x.csv"], "n,price\n2,3.0\n");
    assert_eq!(by["by/town=B/x.csv"], "n,price\n2,4.0\n", "the query is asked over all records of the group");
    // A value that no record gives any more: its output is emptied.
    world.put("in/2024-01-30.jsonl", line(1, "c", 1.0)).await;
    world.put("in/2024-01-31.jsonl", line(3, "b", 3.0)).await;
    committed(&world, &flow(sql, to)).await;
    let by = world.read("by/").await;
    assert_eq!(by["by/town=A/x.csv"], "n,price\n");
    assert_eq!(by["by/town=B/x.csv"], "n,price\n2,4.0\n");
    assert_eq!(by["by/town=C/x.csv"], "n,price\n1,1.0\n");
}

#[tokio::test(start_paused = true)]
async fn where_records_came_from_may_be_asked() {
    let world = filled().await;
    let sql = "SELECT _key AS source, min(_line) AS first, max(_line) AS last FROM input GROUP BY _key ORDER BY _key";
    let more = "provenance = { key = \"_key\", line = \"_line\" }\n\
                to = { path = \"lake:month/{partition:%Y-%m}.csv\", partition = \"month\" }";
    committed(&world, &flow(sql, more)).await;
    let month = "source,first,last\nin/2024-01-30.jsonl,1,2\nin/2024-01-31.jsonl,1,1\n";
    assert_eq!(world.read("month/").await["month/2024-01.csv"], month);
    // Not selected, they do not come out.
    let world = filled().await;
    committed(&world, &flow("SELECT id FROM input", more)).await;
    assert_eq!(world.read("month/").await["month/2024-02.csv"], "id\n4\n");
}

#[tokio::test(start_paused = true)]
async fn records_that_are_set_aside_are_not_asked() {
    let world = World::new();
    let bad = "{\"id\":\"x\"}\n{\"id\":7,\n";
    world.put("in/2024-01-30.jsonl", line(1, "a", 1.0) + bad + &line(2, "b", 2.0)).await;
    let (report, counts) = committed(&world, &flow("SELECT count(*) AS n, sum(id) AS ids FROM input", "")).await;
    assert_eq!(counts, [4, 2, 1, 2], "{report:#?}");
    assert_eq!(world.read("month/").await["month/2024-01.csv"], "n,ids\n2,3\n");
    assert_eq!(world.read("_quarantine/").await.into_values().collect::<String>().lines().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_no_records_and_of_no_rows_objects_are_made() {
    let world = World::new();
    world.put("in/2024-01-30.jsonl", "\n").await;
    let (_, counts) = committed(&world, &flow("SELECT count(*) AS n FROM input", "")).await;
    assert_eq!(counts, [0, 0, 1, 0]);
    assert_eq!(world.read("month/").await["month/2024-01.csv"], "n\n0\n");
    let world = filled().await;
    let (_, counts) = committed(&world, &flow("SELECT id FROM input WHERE price > 100", "")).await;
    assert_eq!(counts, [4, 4, 0, 0]);
    assert_eq!(world.read("month/").await["month/2024-01.csv"], "id\n");
    let world = filled().await;
    let to = "to = { path = \"lake:by/shop={shop}/x.csv\", partition = \"shop\" }";
    let (report, counts) = committed(&world, &flow("SELECT id, shop FROM input WHERE price > 100", to)).await;
    assert_eq!((counts, report.outputs.len()), ([4, 4, 0, 0], 0), "values that nothing has make no outputs");
}

#[tokio::test(start_paused = true)]
async fn hours_of_a_day_file_are_queried_hour_by_hour() {
    let day = 1_704_067_200u64; // 2024-01-01
    let flow = r#"
[flows.hours]
do = "convert"
from = "lake:in/{start:epoch}.csv"
schema = { columns = { at = "int64", id = "int64" } }
sql = "SELECT count(*) AS n, max(id) AS id FROM input HAVING max(id) < 9"
time = "at"
covers = "day"
to = [
  { path = "lake:hour/{partition:%H}.csv", partition = "hour" },
  { path = "lake:day/{partition:%Y-%m-%d}.csv", partition = "day" },
]
"#;
    let world = World::new();
    let rows = [(5, 1), (3_600, 2), (7_199, 3), (7_200, 9)].map(|(second, id)| format!("{},{id}\n", day + second));
    world.put(&format!("in/{day}.csv"), format!("at,id\n{}", rows.concat())).await;
    let (_, counts) = committed(&world, flow).await;
    assert_eq!(counts, [4, 4, 2, 0]);
    let hours = world.read("hour/").await;
    let expected = [("hour/00.csv", "n,id\n1,1\n"), ("hour/01.csv", "n,id\n2,3\n"), ("hour/02.csv", "n,id\n")];
    assert_eq!(
        hours,
        expected.map(|(key, text)| (key.to_owned(), text.to_owned())).into(),
        "other hours have no records"
    );
    assert_eq!(world.read("day/").await["day/2024-01-01.csv"], "n,id\n");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_group_holds_no_other_back_and_loses_nothing() {
    let world = filled().await;
    let sql = "SELECT id, CAST(12 / (id - 4) AS BIGINT) AS share FROM input";
    let process = world.process(&flow(sql, ""), None);
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert_eq!(report.failures.len(), 1, "{report:#?}");
    assert!(report.failures[0].error.contains("`sql`: a division by zero"), "{report:#?}");
    assert!(report.failures[0].hint.as_deref().unwrap().contains("NULLIF"), "{report:#?}");
    assert_eq!(world.read("month/").await.keys().collect::<Vec<_>>(), ["month/2024-01.csv"]);
    // Corrected, the other group is taken: it was never consumed.
    let (report, _) = committed(&world, &flow(&sql.replace("(id - 4)", "NULLIF(id - 4, 0)"), "")).await;
    assert_eq!(report.outputs.len(), 1, "{report:#?}");
    assert_eq!(world.read("month/").await["month/2024-02.csv"], "id,share\n4,\n");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_is_refused_before_anything_is_opened() {
    let world = filled().await;
    let by_shop = "to = { path = \"lake:by/shop={shop}/x.csv\", partition = \"shop\" }";
    for (sql, more, error, hint) in [
        ("SELECT ids FROM input", "", "there is no column `ids`", "did you mean `id`?"),
        ("SELECT id FROM", "", "`sql` cannot be read", "correct `sql`"),
        ("DROP TABLE input", "", "`DROP …` is no query", "SELECT"),
        ("SELECT id FROM sold", "", "there is no table `sold`", "`input`"),
        ("SELECT id, now() AS at FROM input", "", "`now()` gives another value each time", "a column of the records"),
        ("SELECT id, INTERVAL '1 day' AS age FROM input", "", "column `age` is Interval", "CAST"),
        ("SELECT id, id + 1 FROM input", "", "`id + 1` comes out without a name", "id + 1 AS name"),
        ("SELECT id FROM input", by_shop, "`partition` names `shop`, which does not come out of `sql`", "select it"),
        // A list, which no CSV can hold.
        ("SELECT [id] AS ids FROM input", "", "ids", ""),
    ] {
        let process = world.process(&flow(sql, more), None);
        let refused = process.run().await.expect_err(sql);
        let (said, remedy) = (refused.to_string(), refused.hint().unwrap_or_default());
        assert!(said.contains(error) && remedy.contains(hint), "{sql}: {said}; {remedy}");
        assert!(world.read("_baler/sold/log").await.is_empty(), "{sql}");
    }
    // What needs no records is seen without any.
    let world = World::new();
    let checked = world.process(&flow("SELECT id FROM", ""), None);
    assert!(checked.run().await.unwrap_err().to_string().contains("`sql` cannot be read"));
    let report = baler_engine::check::check(&checked.flow()).await;
    assert!(report.is_err_and(|error| error.to_string().contains("`sql` cannot be read")));
}

#[tokio::test(start_paused = true)]
async fn faces_show_what_comes_out() {
    let world = filled().await;
    let sql =
        "SELECT shop, count(*) AS n, CAST(sum(price) AS DECIMAL(9, 2)) AS price FROM input GROUP BY shop ORDER BY shop";
    let to = "to = { path = \"lake:month/month={partition:%Y-%m}/x.parquet\", partition = \"month\" }";
    let process = world.process(&flow(sql, to), None);
    let state = process.state().await;
    let shown = preview::preview(&process.flow(), &state, 2).await.unwrap();
    assert_eq!(shown.columns, "shop: text, n: int64, price: decimal(9,2)");
    let records: Vec<String> = shown.records.iter().map(ToString::to_string).collect();
    assert_eq!(records, [r#"{"shop":"a","n":2,"price":"4.00"}"#, r#"{"shop":"b","n":1,"price":"2.00"}"#]);
    assert_eq!(shown.sample, None);
    let asked = tables::Asked { database: "db", location: Some("s3://b") };
    let (defined, reasons) = tables::define(&process.flow(), &state, asked).await.unwrap();
    assert!(reasons.is_empty(), "{reasons:?}");
    assert!(defined[0].athena.contains("  `shop` string,\n  `n` bigint,\n  `price` decimal(9,2)\n)"), "{defined:?}");
    committed(&world, &flow(sql, to)).await;
    let shown = columns::written_by_last_run(&process.flow(), &process.state().await).await.unwrap();
    assert_eq!(shown[0].columns, "shop: text, n: int64, price: decimal(9,2)");
    assert_eq!(shown[0].origin, "of `sql`, over declared columns");
}

#[tokio::test(start_paused = true)]
async fn a_preview_of_a_large_partition_says_that_it_is_one_of_a_sample() {
    let world = World::new();
    world.put("in/2024-01-01.jsonl", (0..12_000).map(|id| line(id, "a", 1.0)).collect::<String>()).await;
    let process = world.process(&flow("SELECT max(id) AS id FROM input", ""), None);
    let shown = preview::preview(&process.flow(), &process.state().await, 5).await.unwrap();
    assert_eq!((shown.records.len(), shown.sample), (1, Some(10_000)), "{shown:?}");
    assert!(shown.records[0]["id"].as_u64().unwrap() < 12_000, "{shown:?}");
}

/// What does not fit into the memory of the process goes to disk and comes back sorted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sort_larger_than_the_memory_of_a_run_is_written() {
    let clock: Arc<dyn baler_store::Clock> = Arc::new(baler_store::SystemClock);
    let ids = Arc::new(baler_testkit::SeededIds::new(7));
    let lake = baler_store::MemoryStore::new("lake", baler_store::MemoryOptions::default(), clock.clone(), ids);
    let pad = "x".repeat(200);
    for n in 0..4u64 {
        let row = |row: u64| format!("{},{pad}\n", (n * 70_000 + row) * 7_919 % 280_000);
        let text: String = (0..70_000).map(row).collect();
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
sql = "SELECT id, pad FROM input ORDER BY id"
to = "lake:out/all.csv"
"#;
    let stores = [("lake".to_owned(), fixtures::shared(lake.clone()))].into();
    let mut process = crate::world::Process::over(config, "/project", stores, clock, 8);
    process.env.limits = baler_engine::Limits::new(4, 64 << 20);
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!((report.account.sql_in, report.account.sql_out), (Some(280_000), Some(280_000)));
    let all = fixtures::read_all(&lake, "out/").await.unwrap();
    let text = String::from_utf8(all["out/all.csv"].to_vec()).unwrap();
    assert!(text.lines().skip(1).map(|line| line.split(',').next().unwrap()).eq((0..280_000).map(|id| id.to_string())));
}
