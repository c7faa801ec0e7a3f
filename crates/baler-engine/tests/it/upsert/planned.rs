//! Where a run's upserts lead: planned, opened, and not another way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baler_engine::Secrets;
use baler_engine::report::Status;
use baler_model::Kind;
use baler_model::ledger::OperationOptions;
use baler_store::{Clock, SystemClock};
use baler_testkit::postgres::Postgres;
use tokio_postgres::NoTls;

use crate::disk::Disk;
use crate::world::Process;

const PRICES: &str = r#"
[connections]
items = { CONNECTION }
[flows.prices]
do = "scatter"
from = "./inbox/{batch}.jsonl"
split = { chunk = 2 }
upsert = { into = "items", table = "items", key = ["item"], create = true }
schema = { columns = { item = "int64", price = "int64", note = "text" } }
to = "./outbox/{batch}.json"
"#;

fn filled() -> Disk {
    let disk = Disk::in_memory();
    let lines: String = (0..5).map(|n| format!("{{\"item\":{n},\"price\":{n},\"note\":\"n\"}}\n")).collect();
    disk.write("inbox/b.jsonl", lines);
    disk
}

#[derive(Debug)]
struct ItemsUrl(String);

impl Secrets for ItemsUrl {
    fn secret(&self, name: &str) -> Option<String> {
        (name == "ITEMS_URL").then(|| self.0.clone())
    }
}

fn process(disk: &Disk, url: &str) -> Process {
    let mut process = disk.process(&PRICES.replace("CONNECTION", "postgres = { env = \"ITEMS_URL\" }"));
    process.env.secrets = Arc::new(ItemsUrl(url.to_owned()));
    process
}

async fn is_open(process: &Process) -> bool {
    !process.state().await.runs().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_not_planned_without_its_secret() {
    let disk = filled();
    let bare = disk.process(&PRICES.replace("CONNECTION", "postgres = { env = \"ITEMS_URL\" }"));
    let error = bare.run().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("`ITEMS_URL` is not set"), "{error}");
    assert!(error.hint().unwrap().contains("postgres://user:password@host/database"), "{error:?}");
    assert!(!is_open(&bare).await, "nothing is claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_never_resumed_against_another_database() {
    let Some(server) = Postgres::start() else { return };
    let (sql, connection) = tokio_postgres::connect(&server.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let create = "CREATE TABLE items (item bigint PRIMARY KEY, price bigint, note text, _baler_batch_time timestamptz, \
                  _baler_run text, _baler_record bigint)";
    for statement in ["CREATE DATABASE other", create, "BEGIN", "LOCK TABLE items"] {
        sql.batch_execute(statement).await.unwrap();
    }
    let disk = filled();
    let ours = format!("{} password=hidden", server.url);
    // The first process is gone while it waits for the table.
    let first = process(&disk, &ours);
    let opened = async {
        let began = Instant::now();
        while !is_open(&first).await {
            assert!(began.elapsed() < Duration::from_secs(30), "no run is opened");
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = first.run() => panic!("{ended:?}"),
        () = opened => {}
    }
    let flow = first.flow();
    let state = first.state().await;
    let plan = flow.ledger.read_plan(&state.runs()[0]).await.unwrap();
    let OperationOptions::Scatter(options) = &plan.header.operation else { panic!("{:?}", plan.header) };
    let port = server.url.split(' ').find_map(|pair| pair.strip_prefix("port=")).unwrap();
    assert_eq!(options.upsert.as_ref().unwrap().database, format!("postgres:127.0.0.1:{port}/postgres"));
    let kept = plan.to_bytes();
    assert!(!kept.windows(6).any(|part| part == b"hidden"), "a plan has no password");
    sql.batch_execute("ROLLBACK").await.unwrap();

    let report = &process(&disk, &format!("{} dbname=other", server.url)).run().await.unwrap()[0];
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    let failure = &report.failures[0];
    assert!(failure.error.contains(&format!("planned for `postgres:127.0.0.1:{port}/postgres`")), "{failure:?}");
    assert!(failure.hint.as_deref().unwrap().contains("restore the connection"), "{failure:?}");

    let report = &process(&disk, &server.url).run().await.unwrap()[0];
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let count: i64 = sql.query_one("SELECT count(*) FROM items", &[]).await.unwrap().get(0);
    assert_eq!(count, 5);
}

#[tokio::test]
async fn a_file_that_others_hold_does_not_hold_up_what_goes_on_beside_it() {
    let disk = filled();
    let holder = rusqlite::Connection::open(disk.path("items.db")).unwrap();
    holder.execute_batch("CREATE TABLE theirs (x); BEGIN EXCLUSIVE").unwrap();
    let process = disk.process(&PRICES.replace("CONNECTION", "sqlite = \"./items.db\""));
    let began = Instant::now();
    // Both go on in one thread: where opening blocked it, nobody would let go.
    let released = async {
        SystemClock.sleep(Duration::from_secs(1)).await;
        holder.execute_batch("COMMIT").unwrap();
    };
    let (report, ()) = tokio::join!(process.run_one(), released);
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}
