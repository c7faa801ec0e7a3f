//! `scatter` in directories: records are taken in chunks, answered for, upserted, and gathered.

mod bad_input;
mod crash;
mod each_faults;
#[cfg(feature = "http")]
mod each_faults_http;
mod model;
#[cfg(feature = "sql")]
mod sql;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use baler_engine::report::{RunReport, Status};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::disk::Disk;

/// The batch of the manual: JSON documents with item numbers and prices.
pub(crate) const PRICES: &str = r#"
[connections]
items = { sqlite = "./items.db" }
[flows.prices]
do = "scatter"
from = "./inbox/{batch}.json"
split = { records = "records", chunk = 3 }
each = { json_schema = "price.schema.json" }
upsert = { into = "items", table = "items", key = ["itemNo"], create = true }
schema = { columns = { itemNo = "text", price = "float64" } }
to = "./outbox/{batch}.json.gz"
"#;

pub(crate) const SCHEMA: &str = r#"{"type":"object","required":["itemNo","price"],
 "properties":{"itemNo":{"type":"string","minLength":1},"price":{"type":"number","minimum":0}}}"#;

pub(crate) fn with_schema() -> Disk {
    let disk = Disk::in_memory();
    disk.write("price.schema.json", SCHEMA);
    disk
}

pub(crate) fn batch(records: &[Value]) -> String {
    json!({ "sentBy": "till 7", "records": records }).to_string()
}

pub(crate) fn item(number: &str, price: f64) -> Value {
    json!({ "itemNo": number, "price": price })
}

pub(crate) fn gunzipped(disk: &Disk, path: &str) -> String {
    let bytes = std::fs::read(disk.path(path)).unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn result(disk: &Disk, batch: &str) -> Value {
    serde_json::from_str(&gunzipped(disk, &format!("outbox/{batch}.json.gz"))).unwrap()
}

pub(crate) fn summary(disk: &Disk, batch: &str) -> Value {
    serde_json::from_str(&disk.read(&format!("outbox/{batch}.summary.json"))).unwrap()
}

/// The table: item number and price, sorted.
pub(crate) fn table(disk: &Disk) -> Vec<(String, f64)> {
    let sql = Connection::open(disk.path("items.db")).unwrap();
    let mut statement = sql.prepare("SELECT itemNo, price FROM items ORDER BY itemNo").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

pub(crate) async fn run_one(disk: &Disk, config: &str) -> RunReport {
    let report = disk.process(config).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    report.account.check_records().unwrap_or_else(|e| panic!("{e}: {report:#?}"));
    report
}

fn ok() -> Value {
    json!({ "success": true, "message": "Ok" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_taken_in_chunks_upserted_and_gathered_in_the_order_of_records() {
    let disk = with_schema();
    let records: Vec<Value> = (0..10).map(|n| item(&format!("item#{n}"), f64::from(n))).collect();
    disk.write("inbox/b1.json", batch(&records));
    let report = run_one(&disk, PRICES).await;
    let account = &report.account;
    assert_eq!((account.objects_in, account.objects_out), (1, 2));
    assert_eq!((account.records_in, account.records_out, account.quarantined), (Some(10), Some(10), Some(0)));
    let expected: Vec<Value> = records
        .iter()
        .enumerate()
        .map(|(index, request)| json!({ "index": index, "request": request, "response": ok() }))
        .collect();
    assert_eq!(result(&disk, "b1"), json!({ "batchId": "b1", "records": expected }));
    let summary = summary(&disk, "b1");
    assert_eq!(summary["records"], json!({ "total": 10, "succeeded": 10, "failed": 0 }));
    assert_eq!(summary["chunks"], 4);
    assert_eq!(summary["failures"], json!([]));
    assert!(summary["chunkSeconds"]["p99"].as_f64().unwrap() >= summary["chunkSeconds"]["p50"].as_f64().unwrap());
    let rows: Vec<(String, f64)> = (0..10).map(|n| (format!("item#{n}"), f64::from(n))).collect();
    assert_eq!(table(&disk), rows);
    assert_eq!(disk.files("outbox"), ["b1.json.gz", "b1.summary.json"]);
    assert_eq!(disk.process(PRICES).run_one().await.status, Status::Nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_fails_is_answered_and_set_aside_and_the_rest_of_its_chunk_goes_on() {
    let disk = with_schema();
    let records = [
        item("a", 1.0),
        item("b", -1.0),
        json!({ "itemNo": "c" }),
        item("d", 4.0),
        json!({ "itemNo": "e", "price": 5, "extra": { "x": [1, null] } }),
    ];
    disk.write("inbox/b.json", batch(&records));
    let report = run_one(&disk, PRICES).await;
    let account = &report.account;
    assert_eq!((account.records_in, account.records_out, account.quarantined), (Some(5), Some(3), Some(2)));
    let result = result(&disk, "b");
    let success: Vec<bool> =
        result["records"].as_array().unwrap().iter().map(|r| r["response"]["success"].as_bool().unwrap()).collect();
    assert_eq!(success, [true, false, false, true, true]);
    assert_eq!(result["records"][4]["request"], records[4], "a request is kept as it came");
    let message = result["records"][1]["response"]["message"].as_str().unwrap();
    assert!(message.contains("/price") && message.contains("minimum"), "{message}");
    let summary = summary(&disk, "b");
    assert_eq!(summary["records"], json!({ "total": 5, "succeeded": 3, "failed": 2 }));
    assert_eq!(summary["failures"].as_array().unwrap().len(), 2, "{summary}");
    assert_eq!((&summary["firstError"]["index"], &summary["lastError"]["index"]), (&json!(1), &json!(2)));
    let aside = disk.files("_quarantine");
    assert_eq!(aside.len(), 1, "{aside:?}");
    let lines: Vec<Value> = disk
        .read(&format!("_quarantine/{}", aside[0]))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["key"], "inbox/b.json");
    assert_eq!(serde_json::from_str::<Value>(lines[0]["raw"].as_str().unwrap()).unwrap(), records[1]);
    assert_eq!(table(&disk), [("a".into(), 1.0), ("d".into(), 4.0), ("e".into(), 5.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_sent_again_replaces_its_own_result_and_no_other() {
    let disk = with_schema();
    disk.write("inbox/b.json", batch(&[item("a", 1.0)]));
    run_one(&disk, PRICES).await;
    disk.write("inbox/b.json", batch(&[item("a", 2.0), item("b", 2.0)]));
    run_one(&disk, PRICES).await;
    assert_eq!(result(&disk, "b")["records"].as_array().unwrap().len(), 2);
    assert_eq!(table(&disk), [("a".into(), 2.0), ("b".into(), 2.0)]);
    // Two batches of one name for the result are refused.
    let config = PRICES.replace("./outbox/{batch}.json.gz", "./all/one.json");
    let report = disk.process(&config.replace("flows.prices", "flows.other")).run_one().await;
    assert_eq!(report.status, Status::Committed, "one batch has a name: {report:#?}");
    disk.write("inbox/c.json", batch(&[item("c", 3.0)]));
    let report = disk.process(&config.replace("flows.prices", "flows.other")).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("made it of another object"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_lines_where_to_says_so_whatever_came_in() {
    for (suffix, codec) in [("jsonl", "none"), ("jsonl.gz", "gzip"), ("jsonl.zst", "zstd"), ("json.bz2", "bzip2")] {
        let disk = with_schema();
        let lines: String = (0..7).map(|n| format!("{}\n", item(&format!("i{n}"), f64::from(n)))).collect();
        disk.write("inbox/l.jsonl", &lines);
        disk.write("inbox/c.csv", "itemNo,price\nx,1.5\ny,oops\nz,3\n");
        let config = PRICES
            .replace("{batch}.json\"", "{batch}.{kind}\"")
            .replace("records = \"records\", ", "")
            .replace("{batch}.json.gz", &format!("{{batch}}.{suffix}"));
        let report = run_one(&disk, &config).await;
        assert_eq!((report.account.records_in, report.account.quarantined), (Some(10), Some(1)), "{report:#?}");
        let read = |name: &str| {
            let bytes = std::fs::read(disk.path(&format!("outbox/{name}.{suffix}"))).unwrap();
            let codec = baler_format::codec::Codec::from_name(codec).unwrap();
            String::from_utf8(baler_format::codec::decode_whole(codec, &bytes, 1 << 20).unwrap()).unwrap()
        };
        let records = |text: &str| -> Vec<Value> {
            match suffix.starts_with("jsonl") {
                true => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
                false => serde_json::from_str::<Value>(text).unwrap()["records"].as_array().unwrap().clone(),
            }
        };
        let lines = records(&read("l"));
        assert_eq!(lines.len(), 7, "{suffix}");
        assert_eq!(lines[6], json!({ "index": 6, "request": item("i6", 6.0), "response": ok() }));
        let rows = records(&read("c"));
        assert_eq!(rows[0]["request"], item("x", 1.5));
        assert_eq!(rows[1]["response"]["success"], false);
        assert_eq!(rows[1]["request"].as_str().unwrap().trim_end(), "y,oops", "what it was");
        assert_eq!(rows[2]["index"], 2);
        assert_eq!(table(&disk).len(), 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_inferred_and_batches_ordered_by_the_time_in_their_keys() {
    let disk = with_schema();
    let config = PRICES
        .replace("schema = { columns = { itemNo = \"text\", price = \"float64\" } }\n", "batch_time = \"at\"\n")
        .replace("./inbox/{batch}.json", "./inbox/{batch}_{at:epoch}.json")
        .replace("./outbox/{batch}.json.gz", "./outbox/{batch}_{at}.json.gz");
    disk.write("inbox/new_2000.json", batch(&[item("a", 2.5), item("b", 2.5)]));
    run_one(&disk, &config).await;
    // It comes later, and is older.
    disk.write("inbox/old_1000.json", batch(&[item("a", 1.5), item("c", 1.5)]));
    run_one(&disk, &config).await;
    assert_eq!(table(&disk), [("a".into(), 2.5), ("b".into(), 2.5), ("c".into(), 1.5)]);
}

/// Eleven rows of Parquet, in groups of three; the price of the fifth is none.
fn parquet() -> Vec<u8> {
    use arrow_array::{Float64Array, RecordBatch, StringArray};
    use baler_format::Format;
    use baler_format::codec::Compression;
    use baler_format::encode::{EncodeOptions, Encoder};
    let schema: baler_format::schema::Schema = "itemNo: text, price: float64".parse().unwrap();
    let names = StringArray::from_iter_values((0..11).map(|n| format!("i{n}")));
    let prices = Float64Array::from_iter_values((0..11).map(|n| if n == 4 { f64::NAN } else { f64::from(n) - 0.5 }));
    let rows = RecordBatch::try_new(schema.to_arrow(), vec![Arc::new(names), Arc::new(prices)]).unwrap();
    let options = EncodeOptions { group_rows: 3, ..EncodeOptions::default() };
    let mut encoder = Encoder::new(&Format::Parquet, &schema, Compression::NONE, &options, Vec::new()).unwrap();
    encoder.write(&rows).unwrap();
    encoder.finish().unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn row_groups_of_parquet_are_chunks_and_what_json_cannot_hold_fails_alone() {
    for (suffix, chunk, chunks) in [("parquet", 1, 4), ("parquet", 5, 3), ("parquet.gz", 6, 2)] {
        let what = format!("{suffix}, chunk {chunk}");
        let disk = with_schema();
        let mut bytes = parquet();
        if suffix.ends_with(".gz") {
            use std::io::Write;
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(&bytes).unwrap();
            bytes = out.finish().unwrap();
        }
        disk.write(&format!("inbox/b.{suffix}"), bytes);
        let config = PRICES
            .replace("{batch}.json\"", &format!("{{batch}}.{suffix}\""))
            .replace("schema = { columns = { itemNo = \"text\", price = \"float64\" } }\n", "")
            .replace("records = \"records\", chunk = 3", &format!("chunk = {chunk}"));
        let report = run_one(&disk, &config).await;
        assert_eq!((report.account.records_in, report.account.quarantined), (Some(11), Some(2)), "{what}: {report:#?}");
        assert_eq!(summary(&disk, "b")["chunks"], chunks, "{what}");
        let result = result(&disk, "b");
        let records = result["records"].as_array().unwrap();
        assert_eq!(records.len(), 11, "{what}");
        assert_eq!(records[5], json!({ "index": 5, "request": item("i5", 4.5), "response": ok() }), "{what}");
        assert_eq!(records[0]["response"]["success"], false, "{what}: below the minimum");
        let message = records[4]["response"]["message"].as_str().unwrap();
        assert!(message.contains("column `price`") && message.contains("NaN"), "{what}: {message}");
        assert_eq!(table(&disk).len(), 9, "{what}");
    }
}

const PROGRAM: &str = r#"
[flows.each]
do = "scatter"
from = "./inbox/{batch}.jsonl"
split = { chunk = 4 }
each = [{ program = ["python3", "each.py"], timeout = "TIMEOUT" }]
to = "./outbox/{batch}.json"
"#;

fn answers(disk: &Disk) -> Vec<Value> {
    let result: Value = serde_json::from_str(&disk.read("outbox/b.json")).unwrap();
    result["records"].as_array().unwrap().iter().map(|record| record["response"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_answers_for_each_record_and_may_change_it() {
    let disk = Disk::in_memory();
    disk.write(
        "each.py",
        "import sys, json\nfor line in sys.stdin:\n    q = json.loads(line)\n    r = q['record']\n    assert q['key'].startswith('each/') and \
         q['key'].endswith('/' + str(q['index']))\n    r['n'] += 100\n    print(json.dumps({'success': r['n'] != 103, 'message': \
         'n is %d' % r['n'], 'record': r}), flush=True)\n",
    );
    let lines: String = (0..9).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    disk.write("inbox/b.jsonl", lines);
    let config = format!(
        "[connections]\nitems = {{ sqlite = \"./items.db\" }}\n{PROGRAM}upsert = {{ into = \"items\", table = \"items\", key = \
         [\"n\"], create = true }}\n"
    );
    run_one(&disk, &config.replace("TIMEOUT", "20s")).await;
    let answers = answers(&disk);
    assert_eq!(answers[0], json!({ "success": true, "message": "n is 100" }));
    assert_eq!(answers[3], json!({ "success": false, "message": "n is 103" }));
    let sql = Connection::open(disk.path("items.db")).unwrap();
    let ns: Vec<i64> = sql
        .prepare("SELECT n FROM items ORDER BY n")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ns, [100, 101, 102, 104, 105, 106, 107, 108]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_dies_or_babbles_fails_the_record_to_blame_alone() {
    let disk = Disk::in_memory();
    disk.write(
        "each.py",
        "import sys, json, time\nfor line in sys.stdin:\n    n = json.loads(line)['record']['n']\n    if n == 2: time.sleep(60)\n    if n == 5:\n        \
         print('out of cheese', file=sys.stderr, flush=True)\n        sys.exit(7)\n    print('what?' if n == 6 else json.dumps({'success': True}), \
         flush=True)\n",
    );
    let lines: String = (0..9).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    disk.write("inbox/b.jsonl", lines);
    let report = run_one(&disk, &PROGRAM.replace("TIMEOUT", "5s")).await;
    assert_eq!(report.account.quarantined, Some(3), "{report:#?}");
    let answers = answers(&disk);
    let failed: Vec<usize> = (0..9).filter(|n| answers[*n]["success"] == json!(false)).collect();
    assert_eq!(failed, [2, 5, 6], "{answers:#?}");
    let message = |n: usize| answers[n]["message"].as_str().unwrap().to_owned();
    assert!(message(2).contains("did not answer within 5s"), "{}", message(2));
    assert!(message(5).contains("exit status: 7") && message(5).contains("out of cheese"), "{}", message(5));
    assert!(message(6).contains("answered no answer"), "{}", message(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_shown_and_taken_again_by_the_flow_as_it_is_now() {
    use baler_engine::op::convert::aside;
    use baler_engine::plan::{Again, Ask};
    let disk = with_schema();
    disk.write("inbox/b.json", batch(&[item("a", 1.0), item("b", -2.0)]));
    run_one(&disk, PRICES).await;
    let process = disk.process(PRICES);
    let found = aside::set_aside(&process.flow(), &process.state().await).await.unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    disk.write("price.schema.json", SCHEMA.replace("\"minimum\":0", "\"minimum\":-9"));
    let keys = aside::keys(&found);
    let ask = Ask { again: Again::Keys(&keys), ..Ask::default() };
    let reports = baler_engine::engine::run_asked(&process.flow(), ask).await.unwrap();
    assert_eq!(reports[0].status, Status::Committed, "{reports:#?}");
    assert_eq!(table(&disk), [("a".into(), 1.0), ("b".into(), -2.0)]);
    let found = aside::set_aside(&process.flow(), &process.state().await).await.unwrap();
    assert_eq!(found.len(), 0, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_proves_a_run_and_gc_takes_its_private_objects() {
    use baler_engine::gc::{Effect, gc};
    use baler_engine::verify::verify;
    let disk = with_schema();
    disk.write("inbox/b.json", batch(&[item("a", 1.0), item("b", -2.0)]));
    let report = run_one(&disk, PRICES).await;
    let process = disk.process(PRICES);
    let state = process.state().await;
    let verified = verify(&process.flow(), &state, &report.run.unwrap()).await.unwrap();
    assert!(verified.proven, "{verified:#?}");
    assert_eq!(disk.files("_baler_tmp").iter().filter(|file| !file.contains("_probe")).count(), 1, "one of the chunk");
    let removed = gc(&process.flow(), &state, jiff::SignedDuration::ZERO, Effect::Remove).await.unwrap();
    assert_eq!(removed.intermediates.len(), 1, "{removed:#?}");
}

/// What a batch of so many chunks asks of the store, by method.
async fn requests(chunks: usize, failing: bool) -> BTreeMap<String, u64> {
    let disk = with_schema();
    let price = if failing { -1.0 } else { 1.0 };
    let records: Vec<Value> = (0..chunks * 3).map(|n| item(&format!("i{n}"), price)).collect();
    disk.write("inbox/b.json", batch(&records));
    let seen: Arc<parking_lot::Mutex<BTreeMap<String, u64>>> = Arc::default();
    let count = Arc::clone(&seen);
    let hook: baler_testkit::fault::Hook = Arc::new(move |op| {
        *count.lock().entry(format!("{:?}", op.method)).or_default() += 1;
        Box::pin(std::future::ready(baler_testkit::fault::Verdict::Proceed))
    });
    let report = disk.process_through(PRICES, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    std::mem::take(&mut seen.lock())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_costs_three_requests_and_one_more_where_records_fail() {
    for (failing, each) in [(false, 3), (true, 4)] {
        let (few, many) = (requests(20, failing).await, requests(220, failing).await);
        let sum = |seen: &BTreeMap<String, u64>| seen.values().sum::<u64>();
        // A listing has a thousand names, whatever they are.
        assert!(sum(&many) - sum(&few) <= each * 200, "{few:?} for 20 chunks, {many:?} for 220");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_that_holds_a_whole_record_is_cut_whoever_gives_it() {
    let disk = with_schema();
    let sql = Connection::open(disk.path("items.db")).unwrap();
    sql.execute_batch(
        "CREATE TABLE items (itemNo TEXT PRIMARY KEY, price REAL, _baler_batch_time TEXT, _baler_run TEXT, _baler_record INTEGER);
         CREATE TRIGGER long BEFORE INSERT ON items WHEN NEW.price > 1 BEGIN SELECT RAISE(ABORT, 'LONG'); END;"
            .replace("LONG", &"ü".repeat(2_000))
            .as_str(),
    )
    .unwrap();
    drop(sql);
    let wide = json!({ "itemNo": "w", "price": "ü".repeat(2_000) });
    disk.write("inbox/b.json", batch(&[item("a", 1.0), item("b", 2.0), wide]));
    let report = run_one(&disk, &PRICES.replace("{ json_schema = \"price.schema.json\" }", "[]")).await;
    assert_eq!((report.account.records_out, report.account.quarantined), (Some(1), Some(2)));
    for index in [1, 2] {
        let message = result(&disk, "b")["records"][index]["response"]["message"].as_str().unwrap().to_owned();
        assert!(message.ends_with('…') && message.chars().count() <= 501, "{index}: {message}");
    }
}
