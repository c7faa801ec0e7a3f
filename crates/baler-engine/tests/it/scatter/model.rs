//! Random batches with failures and duplicates, sent again and out of order, against a reference that takes them one by one.

use std::collections::BTreeMap;

use baler_engine::report::Status;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{PRICES, batch, gunzipped, item, summary, table, with_schema};

/// One object that is sent: its name, its time, and prices by item; a price below zero fails.
#[derive(Debug, Clone)]
struct Sent {
    name: usize,
    time: i64,
    records: Vec<(u8, i8)>,
}

/// Rounds of objects, each followed by a run.
fn rounds() -> impl Strategy<Value = Vec<Vec<Sent>>> {
    let sent = (0usize..4, 1i64..6, prop::collection::vec((0u8..9, -2i8..9), 0..14))
        .prop_map(|(name, time, records)| Sent { name, time, records });
    prop::collection::vec(prop::collection::vec(sent, 0..4), 1..4)
}

/// What the reference knows of an item: price, and by what it came.
type Row = (f64, (i64, String, String, usize));

#[tokio::test(flavor = "multi_thread")]
async fn table_results_and_summaries_are_those_of_a_naive_reference() {
    let config = PRICES
        .replace("./inbox/{batch}.json", "./inbox/{batch}_{at:epoch}.json")
        .replace("./outbox/{batch}.json.gz", "./outbox/{batch}_{at}.json.gz")
        .replace("\nto = ", "\nbatch_time = \"at\"\nto = ");
    let mut runner = TestRunner::deterministic();
    for case in 0..40 {
        let rounds = rounds().new_tree(&mut runner).unwrap().current();
        let disk = with_schema();
        let config = config.replace("chunk = 3", &format!("chunk = {}", 1 + case % 5));
        let mut expected: BTreeMap<String, Row> = BTreeMap::new();
        let mut results: BTreeMap<String, Vec<(u8, i8)>> = BTreeMap::new();
        for (round, sent) in rounds.iter().enumerate() {
            // Of one name in one round the last stays, as in any store.
            let latest: BTreeMap<String, &Sent> =
                sent.iter().map(|sent| (format!("b{}_{}", sent.name, sent.time), sent)).collect();
            for (key, sent) in &latest {
                let records: Vec<Value> = sent
                    .records
                    .iter()
                    .map(|(item_no, price)| item(&format!("i{item_no}"), f64::from(*price)))
                    .collect();
                let file = format!("inbox/{key}.json");
                disk.write(&file, batch(&records));
                // Every version is another one, however fast they come.
                let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + round as u64);
                std::fs::File::options().write(true).open(disk.path(&file)).unwrap().set_modified(modified).unwrap();
                results.insert(key.clone(), sent.records.clone());
            }
            let report = disk.process(&config).run_one().await;
            let status = if latest.is_empty() { Status::Nothing } else { Status::Committed };
            assert_eq!(report.status, status, "case {case}, round {round}: {report:#?}");
            if !latest.is_empty() {
                report.account.check_records().unwrap();
                let run = report.run.as_ref().unwrap().to_string();
                for (key, sent) in &latest {
                    let good = sent.records.iter().enumerate().filter(|(_, (_, price))| *price >= 0);
                    for (number, (item_no, price)) in good {
                        let order = (sent.time, run.clone(), key.clone(), number);
                        let row = expected.entry(format!("i{item_no}")).or_insert((f64::from(*price), order.clone()));
                        if row.1 <= order {
                            *row = (f64::from(*price), order);
                        }
                    }
                }
                let of_round: usize = latest.values().map(|sent| sent.records.len()).sum();
                assert_eq!(report.account.records_in, Some(of_round as u64), "case {case}, round {round}");
            }
        }
        if !expected.is_empty() {
            let rows: Vec<(String, f64)> = expected.into_iter().map(|(item, (price, _))| (item, price)).collect();
            assert_eq!(table(&disk), rows, "case {case}: {rounds:?}");
        }
        for (key, records) in results {
            let text = gunzipped(&disk, &format!("outbox/{key}.json.gz"));
            let result: Value = serde_json::from_str(&text).unwrap();
            let found = result["records"].as_array().unwrap();
            assert_eq!(found.len(), records.len(), "case {case}: {key}");
            for (n, (record, (item_no, price))) in found.iter().zip(&records).enumerate() {
                assert_eq!(record["index"], n);
                assert_eq!(record["request"], item(&format!("i{item_no}"), f64::from(*price)));
                assert_eq!(record["response"]["success"], json!(*price >= 0));
            }
            let failed = records.iter().filter(|(_, price)| *price < 0).count();
            let counts = json!({ "total": records.len(), "succeeded": records.len() - failed, "failed": failed });
            assert_eq!(summary(&disk, &key)["records"], counts, "case {case}: {key}");
        }
    }
}
