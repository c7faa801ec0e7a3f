//! `scatter` under `kill -9` at random instants, while chunks are found, taken and gathered: results are whole or not there, and
//! in the end every batch is answered once and the table holds the newest price of each item.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use baler_testkit::postgres::Postgres;
use serde_json::Value;

use crate::bench::{Bench, Done};
use crate::killer::Killer;

/// How often the binary must have been killed while it ran, with each data store.
const KILLS: u32 = 100;

const FLOW: &str = r#"
version = 1
[stores]
lake = "./data"
[connections]
sqlite = { sqlite = "./items.db" }
postgres = { postgres = { env = "ITEMS_URL" } }
[flows.prices]
do = "scatter"
from = "lake:in/{batch:int}.json"
split = { records = "records", chunk = 20 }
each = { json_schema = "price.schema.json" }
upsert = { into = "STORE", table = "items", key = ["itemNo"], create = true }
schema = { columns = { itemNo = "int64", price = "int64" } }
to = "lake:out/{batch}.json.gz"
"#;

const SCHEMA: &str = r#"{"properties":{"price":{"minimum":0}}}"#;

/// Prices by item, in the order of the table.
type Prices = BTreeMap<i64, i64>;

struct Killed<'a> {
    bench: Bench,
    url: Option<&'a str>,
    table: &'a dyn Fn(&Bench) -> Prices,
}

impl Killed<'_> {
    fn command(&self) -> Command {
        let mut command = self.bench.command(&["run", "-q"]);
        command.envs(self.url.map(|url| ("ITEMS_URL", url)));
        command
    }

    fn run(&self) -> Done {
        self.bench.done(self.command().output().unwrap())
    }

    /// The answers of a batch, if its result is there: whole.
    fn result(&self, batch: usize) -> Option<Vec<Value>> {
        let bytes = std::fs::read(self.bench.path(&format!("data/out/{batch}.json.gz"))).ok()?;
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("a result is whole");
        let result: Value = serde_json::from_str(&text).expect("a result is whole");
        Some(result["records"].as_array().unwrap().clone())
    }

    fn until_killed_enough(&self) {
        let mut expected = Prices::new();
        let mut sent: Vec<Vec<(i64, i64)>> = Vec::new();
        let mut killer = Killer::new(KILLS);
        while let Some(round) = killer.next_round() {
            let random = &mut killer.random;
            for _ in 0..1 + random.below(2) {
                let count = random.below(400);
                let records: Vec<(i64, i64)> =
                    (0..count).map(|_| (random.below(300) as i64, random.below(1_000) as i64 - 20)).collect();
                let lines: Vec<String> =
                    records.iter().map(|(item, price)| format!("{{\"itemNo\":{item},\"price\":{price}}}")).collect();
                // In one step, as a writer of objects would; later ones are younger, and order the upserts.
                self.bench.write("data/.part", format!("{{\"records\":[{}]}}", lines.join(",\n")));
                let modified = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000 + sent.len() as u64);
                let part = std::fs::File::options().write(true).open(self.bench.path("data/.part")).unwrap();
                part.set_modified(modified).unwrap();
                std::fs::create_dir_all(self.bench.path("data/in")).unwrap();
                let path = self.bench.path(&format!("data/in/{}.json", sent.len()));
                std::fs::rename(self.bench.path("data/.part"), path).unwrap();
                expected.extend(records.iter().filter(|(_, price)| *price >= 0).copied());
                sent.push(records);
            }
            for _ in 0..5 {
                let was_running = killer.kill(&mut self.command());
                for (batch, records) in sent.iter().enumerate() {
                    let whole = self.result(batch).is_none_or(|answers| answers.len() == records.len());
                    assert!(whole, "round {round}: batch {batch} is not whole");
                }
                if !was_running {
                    break;
                }
            }
            let done = killer.undisturbed(|| self.run());
            assert!([0, 3].contains(&done.code), "round {round}: {done:?}");
            let table = (self.table)(&self.bench);
            assert_eq!(table, expected, "round {round}");
        }
        for (batch, records) in sent.iter().enumerate() {
            let answers = self.result(batch).unwrap();
            assert_eq!(answers.len(), records.len(), "batch {batch}");
            for (index, (answer, (item, price))) in answers.iter().zip(records).enumerate() {
                assert_eq!(answer["index"], index, "batch {batch}");
                assert_eq!(answer["request"], serde_json::json!({ "itemNo": item, "price": price }), "batch {batch}");
                assert_eq!(answer["response"]["success"], *price >= 0, "batch {batch}");
            }
        }
    }
}

fn bench(store: &str) -> Bench {
    let bench = Bench::new(&FLOW.replace("STORE", store));
    bench.write("price.schema.json", SCHEMA);
    bench
}

#[test]
fn kill_9_while_a_table_of_sqlite_takes_records_loses_and_doubles_nothing() {
    let table = |bench: &Bench| {
        let sql = rusqlite::Connection::open(bench.path("items.db")).unwrap();
        let Ok(mut statement) = sql.prepare("SELECT itemNo, price FROM items") else { return Prices::new() };
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    Killed { bench: bench("sqlite"), url: None, table: &table }.until_killed_enough();
}

#[test]
fn kill_9_while_a_table_of_postgresql_takes_records_loses_and_doubles_nothing() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    });
    let table = |_: &Bench| {
        let rows = runtime.block_on(client.query("SELECT \"itemNo\", price FROM items", &[]));
        // Nothing created it while there were no records.
        rows.map(|rows| rows.iter().map(|row| (row.get(0), row.get(1))).collect()).unwrap_or_default()
    };
    Killed { bench: bench("postgres"), url: Some(&server.url), table: &table }.until_killed_enough();
}
