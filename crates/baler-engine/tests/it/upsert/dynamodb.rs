//! DynamoDB, as moto and a server of a few lines have it.

use arrow_array::Float64Array;
use baler_engine::upsert::{Absent, DynamoTable, Target};
use baler_store::dynamodb::{DynamoDb, DynamoOptions};
use baler_store::s3::{Roots, StaticCredentials};
use baler_store::{SystemClock, SystemIds};
use baler_testkit::moto::Moto;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::*;

fn calls(endpoint: &str) -> Arc<DynamoDb> {
    let options =
        DynamoOptions { endpoint: Some(endpoint.to_owned()), region: "us-east-1".to_owned(), roots: Roots::Native };
    let credentials = Arc::new(StaticCredentials::new("test", "testtest"));
    Arc::new(DynamoDb::new(options, credentials, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap())
}

fn target(table: &str, key: &[&str]) -> Target {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    Target { table: table.to_owned(), key, absent: Absent::Created }
}

async fn scan(calls: &DynamoDb, table: &str) -> Vec<Value> {
    let found = calls.call("Scan", &json!({ "TableName": table, "ConsistentRead": true })).await.unwrap();
    assert!(found["LastEvaluatedKey"].is_null());
    found["Items"].as_array().unwrap().clone()
}

async fn rows(calls: &DynamoDb, table: &str) -> BTreeMap<i64, Row> {
    let number = |value: &Value| value["N"].as_str().unwrap().parse::<i64>().unwrap();
    let text = |value: &Value| value["S"].as_str().map(str::to_owned);
    let row = |item: Value| {
        let time: Timestamp = text(&item["_baler_batch_time"]).unwrap().parse().unwrap();
        let order = (time.as_second(), text(&item["_baler_run"]).unwrap(), number(&item["_baler_record"]) as u64);
        (number(&item["item"]), (number(&item["price"]), text(&item["note"]), order))
    };
    scan(calls, table).await.into_iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_record_of_each_key_stays_whatever_comes_again() {
    let Some(moto) = Moto::start() else { return };
    let schema = schema();
    let mut runner = TestRunner::deterministic();
    for case in 0..12 {
        let name = format!("items{case}");
        let calls = calls(&moto.endpoint);
        let mut expected = BTreeMap::new();
        let mut table = DynamoTable::new(Arc::clone(&calls), target(&name, &["item"]));
        table.ensure_table(&schema).await.unwrap();
        let batches = batches().new_tree(&mut runner).unwrap().current();
        for (n, mut batch) in batches.into_iter().enumerate() {
            // It has no constraints.
            batch.records.retain(|record| record.2 >= 0);
            if n % 3 == 2 {
                // Another process.
                table = DynamoTable::new(Arc::clone(&calls), target(&name, &["item"]));
                table.ensure_table(&schema).await.unwrap();
            }
            let written = write(&mut table, &schema, &batch).await.unwrap();
            assert_eq!(written, Written { taken: batch.records.len() as u64, refused: Vec::new() }, "case {case}");
            naive(&mut expected, &batch);
        }
        assert_eq!(rows(&calls, &name).await, expected, "case {case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_transaction_holds_is_written_by_several_at_once() {
    let Some(moto) = Moto::start() else { return };
    let schema = schema();
    let calls = calls(&moto.endpoint);
    let all: Vec<(u64, i64, i64)> = (0..350).map(|n| (n, n as i64 % 170, n as i64)).collect();
    let mut tables = Vec::new();
    for _ in 0..2 {
        let mut table = DynamoTable::new(Arc::clone(&calls), target("many", &["item"]));
        table.ensure_table(&schema).await.unwrap();
        tables.push(table);
    }
    let [one, other] = tables.as_mut_slice() else { unreachable!() };
    let (first, second) = (
        Batch { time: 1, run: "B-run", records: all.clone() },
        Batch { time: 2, run: "a-run", records: all[..90].to_vec() },
    );
    let (written, later) = futures::join!(write(one, &schema, &first), write(other, &schema, &second));
    assert_eq!((written.unwrap().taken, later.unwrap().taken), (350, 90));
    let found = rows(&calls, "many").await;
    let mut expected = BTreeMap::new();
    naive(&mut expected, &first);
    naive(&mut expected, &second);
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dynamodb_cannot_hold_is_told_and_the_rest_is_written() {
    let Some(moto) = Moto::start() else { return };
    let calls = calls(&moto.endpoint);
    let schema: Schema = "k: text, f: float64, big: text".parse().unwrap();
    let keys: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("d"), Some("e"), Some("e")]));
    let floats = Float64Array::from(vec![Some(0.25), Some(2.0), None, Some(f64::NAN), None, Some(1e300)]);
    let texts = StringArray::from(vec!["x"; 6]);
    let batch = RecordBatch::try_new(schema.to_arrow(), vec![keys, Arc::new(floats), Arc::new(texts)]).unwrap();
    let mut table = DynamoTable::new(Arc::clone(&calls), target("odd", &["k"]));
    table.ensure_table(&schema).await.unwrap();
    let order = Order { batch_time: Timestamp::UNIX_EPOCH, run: RunId::try_new("r").unwrap() };
    let written = table.write(&order, &[1, 2, 3, 4, 5, 6], &batch).await.unwrap();
    let reasons: Vec<String> =
        written.refused.iter().map(|refused| format!("{}: {}", refused.row, refused.reason)).collect();
    assert_eq!(
        reasons,
        [
            "1: the key `k` is null",
            "2: the key `k` is empty, and DynamoDB has no such key",
            "3: column `f`: DynamoDB has no number NaN",
            "5: column `f`: DynamoDB has no number 1e300",
        ]
    );
    let mut found = scan(&calls, "odd").await;
    found.sort_by_key(|item| item["k"]["S"].as_str().unwrap().to_owned());
    assert_eq!((found.len(), written.taken), (2, 2));
    assert_eq!(
        (&found[0]["f"], &found[1]["k"], &found[1]["f"]),
        (&json!({ "N": "0.25" }), &json!({ "S": "e" }), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_take_the_records_is_refused() {
    let Some(moto) = Moto::start() else { return };
    let calls = calls(&moto.endpoint);
    let ensure = async |target: Target, schema: &str| {
        let mut table = DynamoTable::new(Arc::clone(&calls), target);
        table.ensure_table(&schema.parse().unwrap()).await.map_err(|error| error.to_string())
    };
    let columns = "item: int64, shop: text, open: bool, day: date";
    let refused = Target { absent: Absent::Refused, ..target("gone", &["item"]) };
    assert_eq!(ensure(refused, columns).await.unwrap_err(), "the table `gone` does not exist");
    ensure(target("pair", &["shop", "item"]), columns).await.unwrap();
    // The order of the key's columns is the table's.
    ensure(target("pair", &["item", "shop"]), columns).await.unwrap();
    assert!(ensure(target("pair", &["item"]), columns).await.unwrap_err().contains("has the key `item`, `shop`"));
    assert!(
        ensure(target("pair", &["item", "shop"]), "item: text, shop: text").await.unwrap_err().contains("of type N")
    );
    assert!(
        ensure(target("three", &["item", "shop", "day"]), columns).await.unwrap_err().contains("one column or two")
    );
    assert!(ensure(target("flag", &["open"]), columns).await.unwrap_err().contains("neither text nor number"));
}

/// A server that answers each call by what a function says: status and body.
async fn server(answer: impl Fn(usize, &str, &Value) -> (u16, Value) + Send + Sync + 'static) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for call in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            let (operation, body) = loop {
                if socket.read_buf(&mut heard).await.unwrap() == 0 {
                    return;
                }
                let text = String::from_utf8_lossy(&heard).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let header = |name: &str| {
                    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).unwrap();
                    line[name.len()..].trim().to_owned()
                };
                if body.len() == header("content-length:").parse::<usize>().unwrap() {
                    assert!(header("authorization:").contains("/us-east-1/dynamodb/aws4_request"));
                    break (header("x-amz-target:").split('.').next_back().unwrap().to_owned(), body.to_owned());
                }
            };
            let (status, body) = answer(call, &operation, &serde_json::from_str(&body).unwrap());
            let body = body.to_string();
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_throttled_is_sent_again_and_what_is_refused_is_found() {
    let sent = Arc::new(parking_lot::Mutex::new(Vec::<Vec<i64>>::new()));
    let seen = Arc::clone(&sent);
    let url = server(move |_, operation, body| {
        if operation == "DescribeTable" {
            let table = json!({ "TableStatus": "ACTIVE", "KeySchema": [{ "AttributeName": "item", "KeyType": "HASH" }],
                "AttributeDefinitions": [{ "AttributeName": "item", "AttributeType": "N" }] });
            return (200, json!({ "Table": table }));
        }
        let key = |item: &Value| item["Update"]["Key"]["item"]["N"].as_str().unwrap().parse::<i64>().unwrap();
        let keys: Vec<i64> = body["TransactItems"].as_array().unwrap().iter().map(key).collect();
        let mut seen = seen.lock();
        seen.push(keys.clone());
        let tried = seen.iter().filter(|before| **before == keys).count();
        match (seen.len(), keys.contains(&3)) {
            (1, _) => (400, json!({ "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slow" })),
            (2, _) => (503, json!("gone for lunch")),
            // As a whole, with nobody to blame.
            (_, true) => (400, json!({ "__type": "x#ValidationException", "message": "item 3 is odd" })),
            // One at a time: 1 is throttled, 2 has given way, 4 is too large.
            _ if tried == 1 && keys.len() > 1 => {
                let reason = |key: &i64| match key {
                    1 => json!({ "Code": "ThrottlingError", "Message": "slow" }),
                    2 => json!({ "Code": "ConditionalCheckFailed", "Message": "no" }),
                    4 => json!({ "Code": "ValidationError", "Message": "too large" }),
                    _ => json!({ "Code": "None" }),
                };
                let reasons: Vec<Value> = keys.iter().map(reason).collect();
                (400, json!({ "__type": "x#TransactionCanceledException", "message": "cancelled", "CancellationReasons": reasons }))
            }
            _ => (200, json!({})),
        }
    })
    .await;
    let schema = schema();
    let mut table = DynamoTable::new(calls(&url), target("items", &["item"]));
    table.ensure_table(&schema).await.unwrap();
    let records = (0..8).map(|n| (n, n as i64, 10)).collect();
    let written = write(&mut table, &schema, &Batch { time: 1, run: "a-run", records }).await.unwrap();
    let refused: Vec<(usize, &str)> =
        written.refused.iter().map(|refused| (refused.row, refused.reason.as_str())).collect();
    assert_eq!(refused, [(3, "item 3 is odd"), (4, "too large")]);
    assert_eq!(written.taken, 6);
    let sent = sent.lock().clone();
    assert_eq!(sent[..3], [(0..8).collect::<Vec<i64>>(), (0..8).collect(), (0..8).collect()], "{sent:?}");
    for key in [0, 1, 5, 6, 7] {
        assert!(sent.iter().filter(|keys| keys.contains(&key)).count() >= 4, "{key}: {sent:?}");
    }
}
