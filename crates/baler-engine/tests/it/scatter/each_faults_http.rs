//! Servers that are away, have no time, hang, or mix answers up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baler_engine::report::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::each_faults::{config, failed, given_up, numbered};
use super::{PROGRAM, answers, run_one};
use crate::disk::Disk;

/// The keys of requests, in the order in which they came.
type Keys = Arc<Mutex<Vec<String>>>;

/// What a server answers to a request, by how many came before it: a status and a body; or nothing, ever.
type Reply = dyn Fn(usize, &[Value]) -> Option<(u16, String)> + Send + Sync;

/// Answers each POST of records by `reply`.
async fn server(reply: impl Fn(usize, &[Value]) -> Option<(u16, String)> + Send + Sync + 'static) -> (String, Keys) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prices", listener.local_addr().unwrap());
    let (keys, reply): (Keys, Arc<Reply>) = (Keys::default(), Arc::new(reply));
    let seen = Arc::clone(&keys);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket, Arc::clone(&seen), Arc::clone(&reply)));
        }
    });
    (url, keys)
}

async fn serve(mut socket: TcpStream, seen: Keys, reply: Arc<Reply>) {
    let mut heard = Vec::new();
    let (key, body) = loop {
        if socket.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            line.map(|line| line[name.len()..].trim().to_owned()).unwrap()
        };
        if body.len() == header("content-length:").parse::<usize>().unwrap() {
            break (header("idempotency-key:"), body.to_owned());
        }
    };
    let before = {
        let mut seen = seen.lock();
        seen.push(key);
        seen.len() - 1
    };
    let records: Vec<Value> = serde_json::from_str(&body).unwrap();
    let Some((status, body)) = reply(before, &records) else { return std::future::pending().await };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} So\r\ncontent-length: {length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n");
    // The client may have given up.
    socket.write_all(format!("{head}{body}").as_bytes()).await.ok();
}

/// Each record went through, and is told its number.
fn fine(records: &[Value]) -> (u16, String) {
    let answer = |record: &Value| json!({ "success": true, "message": record["record"]["n"].to_string() });
    (200, records.iter().map(answer).collect::<Value>().to_string())
}

fn http(url: &str, batch: usize, timeout: &str) -> String {
    format!("{{ http = \"{url}\", batch = {batch}, timeout = \"{timeout}\" }}")
}

fn world(records: usize) -> Disk {
    let disk = Disk::in_memory();
    disk.write("inbox/b.jsonl", numbered(records));
    disk
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_answers_for_records_and_one_that_it_fails_at_is_found() {
    let disk = Disk::in_memory();
    let lines: String = (0..9).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    disk.write("inbox/b.jsonl", lines);
    let (url, keys) = server(|_, records| {
        let has = |n: i64| records.iter().any(|record| record["record"]["n"] == n);
        Some(match (has(3), has(6)) {
            (true, _) => (500, "out of cheese".to_owned()),
            (_, true) => (200, "[]".to_owned()),
            _ => fine(records),
        })
    })
    .await;
    let config = PROGRAM.replace("program = [\"python3\", \"each.py\"]", &format!("http = \"{url}\", batch = 4"));
    let report = run_one(&disk, &config.replace("TIMEOUT", "20s")).await;
    assert_eq!(report.account.quarantined, Some(2), "{report:#?}");
    let answers = answers(&disk);
    let failed: Vec<usize> = (0..9).filter(|n| answers[*n]["success"] == json!(false)).collect();
    assert_eq!(failed, [3, 6], "{answers:#?}");
    assert!(answers[3]["message"].as_str().unwrap().contains("500: out of cheese"), "{answers:#?}");
    assert!(answers[6]["message"].as_str().unwrap().contains("0 times to 1 records"), "{answers:#?}");
    assert_eq!(answers[8]["message"], "8");
    let keys = keys.lock().clone();
    assert!(keys.iter().all(|key| key.starts_with("each/")), "{keys:?}");
    assert!(keys.iter().any(|key| key.ends_with("/0-3")) && keys.iter().any(|key| key.ends_with("/3")), "{keys:?}");
    // One that is not there is no record's fault: the batch is given up, and the next run takes it.
    let gone = PROGRAM.replace("program = [\"python3\", \"each.py\"]", "http = \"http://127.0.0.1:1/\"");
    disk.write("inbox/c.jsonl", "{\"n\":1}\n");
    let report = disk.process(&gone.replace("TIMEOUT", "1s")).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("no connection"), "{report:#?}");
    run_one(&disk, &config.replace("TIMEOUT", "20s")).await;
    assert_eq!(disk.files("outbox"), ["b.json", "b.summary.json", "c.json", "c.summary.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_no_records_fault_and_the_next_run_takes_the_batch() {
    for status in [408, 425, 429, 502, 503, 504] {
        let is_out = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&is_out);
        let (url, _) = server(move |_, records| {
            Some(if asked.load(Ordering::Relaxed) { (status, "later".to_owned()) } else { fine(records) })
        })
        .await;
        let disk = world(9);
        let config = config(&http(&url, 4, "20s"), 9);
        let failure = given_up(&disk, &config).await;
        assert!(failure.error.contains(&format!("{status}: later")), "{failure:#?}");
        assert!(failure.hint.unwrap().contains("run again"), "{status}");
        assert!(disk.files("_quarantine").is_empty(), "{status}");
        is_out.store(false, Ordering::Relaxed);
        let report = run_one(&disk, &config).await;
        assert_eq!(report.account.quarantined, Some(0), "{status}: {report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_is_waited_out_by_the_same_request() {
    let (url, keys) =
        server(|before, records| Some(if before < 6 { (503, String::new()) } else { fine(records) })).await;
    let disk = world(9);
    let report = run_one(&disk, &config(&http(&url, 9, "20s"), 9)).await;
    assert_eq!(report.account.quarantined, Some(0), "{report:#?}");
    let keys = keys.lock().clone();
    assert_eq!(keys.len(), 7, "{keys:?}");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_not_asked_for_every_record() {
    let (url, keys) = server(|_, _| None).await;
    let disk = world(100);
    let failure = given_up(&disk, &config(&http(&url, 50, "200ms"), 100)).await;
    assert!(failure.error.contains("no answer within 200ms, 3 records in a row"), "{failure:#?}");
    assert!(failure.hint.unwrap().contains("`timeout`"));
    let asked = keys.lock().len();
    assert!(asked < 80, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_never_answered_fails_alone_while_others_are() {
    let hangs = |records: &[Value]| records.iter().any(|record| record["record"]["n"] == 3);
    let (url, _) = server(move |_, records| (!hangs(records)).then(|| fine(records))).await;
    let disk = world(9);
    run_one(&disk, &config(&http(&url, 4, "500ms"), 9)).await;
    let answers = answers(&disk);
    assert_eq!(failed(&answers), [3], "{answers:#?}");
    assert!(answers[3]["message"].as_str().unwrap().contains("no answer within 500ms"), "{answers:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_nothing_came_back_to_is_asked_again_before_it_fails() {
    // The request of both records and that of the first one alone are lost, however often they are sent.
    let (url, keys) = server(|before, records| (before >= 6).then(|| fine(records))).await;
    let disk = world(2);
    let report = run_one(&disk, &config(&http(&url, 2, "500ms"), 2)).await;
    assert_eq!(report.account.quarantined, Some(0), "{report:#?}");
    let keys = keys.lock().clone();
    assert!(keys.last().unwrap().ends_with("/0"), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_name_their_records_are_not_mixed_up() {
    let (url, _) = server(|_, records| {
        let answer = |record: &Value| {
            json!({ "success": true, "index": record["index"], "key": record["key"], "message": record["index"].to_string() })
        };
        Some((200, records.iter().rev().map(answer).collect::<Value>().to_string()))
    })
    .await;
    let disk = world(5);
    run_one(&disk, &config(&http(&url, 5, "20s"), 5)).await;
    let told: Vec<Value> = answers(&disk).iter().map(|answer| answer["message"].clone()).collect();
    assert_eq!(told, ["0", "1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_several_records_tells_which_and_one_record_keeps_its_own() {
    use baler_engine::op::convert::aside;
    use baler_engine::plan::{Again, Ask};
    let (url, keys) = server(|_, records| Some(fine(records))).await;
    let disk = world(3);
    disk.write("each.json", r#"{"properties":{"n":{"not":{"const":1}}}}"#);
    let config = config(&format!("{{ json_schema = \"each.json\" }}, {}", http(&url, 9, "20s")), 3);
    run_one(&disk, &config).await;
    disk.write("each.json", "{}");
    let process = disk.process(&config);
    let found = aside::set_aside(&process.flow(), &process.state().await).await.unwrap();
    let again = aside::keys(&found);
    let ask = Ask { again: Again::Keys(&again), ..Ask::default() };
    let reports = baler_engine::engine::run_asked(&process.flow(), ask).await.unwrap();
    assert_eq!(reports[0].status, Status::Committed, "{reports:#?}");
    let keys = keys.lock().clone();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("each/") && key.ends_with("/0-2")), "{keys:?}");
    assert_ne!(keys[0], keys[1], "two records, then three");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_named_with_what_to_do() {
    let disk = world(1);
    let failure = given_up(&disk, &config(&http("http://127.0.0.1:1/", 9, "1s"), 1)).await;
    assert!(failure.error.contains("no connection"), "{failure:#?}");
    assert_eq!(failure.hint.as_deref(), Some("start it, or correct `http`"));
}
