//! What bad batches get: a clear error, or an answer that says so; the account balances.

use baler_engine::report::Status;
use baler_testkit::fault::{Hook, Op, Verdict};
use serde_json::{Value, json};

use super::{PRICES, batch, gunzipped, item, result, run_one, summary, table, with_schema};

/// Body, what the failure says.
const REFUSED: [(&[u8], &str); 6] = [
    (b"not json", "no record can be read"),
    (b"[1, 2]", "no record can be read"),
    (b"{\"other\": []}", "no record can be read"),
    (b"{\"records\": {}}", "no record can be read"),
    (b"{\"records\": [", "no record can be read"),
    (b"\x1f\x8b\x08\x00cut", "no record can be read"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_refused_by_name_and_does_not_hold_others_back() {
    for (body, says) in REFUSED {
        let disk = with_schema();
        disk.write("inbox/bad.json", body);
        disk.write("inbox/good.json", batch(&[item("a", 1.0)]));
        let report = disk.process(PRICES).run_one().await;
        let what = String::from_utf8_lossy(body);
        assert_eq!(report.status, Status::Failed, "{what}: {report:#?}");
        assert_eq!((report.groups.committed, report.groups.failed), (1, 1), "{what}: {report:#?}");
        let failure = &report.failures[0];
        assert!(failure.error.contains(says) && failure.error.contains("inbox/bad.json"), "{what}: {failure:?}");
        assert!(failure.hint.is_some(), "{what}");
        assert_eq!(table(&disk), [("a".into(), 1.0)], "{what}");
        assert_eq!(disk.files("outbox"), ["good.json.gz", "good.summary.json"], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_has_an_empty_result() {
    let disk = with_schema();
    disk.write("inbox/b.json", "{\"records\": []}");
    let report = run_one(&disk, PRICES).await;
    assert_eq!(report.account.records_in, Some(0));
    assert_eq!(result(&disk, "b"), json!({ "batchId": "b", "records": [] }));
    assert_eq!(summary(&disk, "b")["records"]["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_is_answered_up_to_there_and_the_end_says_so() {
    let disk = with_schema();
    let whole = batch(&(0..8).map(|n| item(&format!("i{n}"), 1.0)).collect::<Vec<Value>>());
    disk.write("inbox/b.json", &whole[..whole.len() - 20]);
    let report = run_one(&disk, PRICES).await;
    let records = result(&disk, "b")["records"].as_array().unwrap().clone();
    let account = &report.account;
    assert_eq!(account.records_in, Some(records.len() as u64));
    assert_eq!(account.records_out, Some(7), "{records:#?}");
    assert!(records[..7].iter().all(|record| record["response"]["success"] == true), "{records:#?}");
    assert!(records[7..].iter().all(|record| record["response"]["success"] == false), "{records:#?}");
    assert!(records.iter().enumerate().all(|(n, record)| record["index"] == n), "{records:#?}");
    assert_eq!(table(&disk).len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_compressed_batch_whose_checksum_fails_nothing_is_taken() {
    use std::io::Write;
    let disk = with_schema();
    let gzip = |text: &str| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    let config = PRICES.replace("{batch}.json\"", "{batch}.jsonl.gz\"").replace("records = \"records\", ", "");
    let line = |n: u32| format!("{}\n", item(&format!("i{n}"), 1.0));
    let mut bad = gzip(&line(1));
    let crc = bad.len() - 8;
    bad[crc] ^= 1;
    disk.write("inbox/all.jsonl.gz", &bad);
    disk.write("inbox/half.jsonl.gz", [gzip(&(line(2) + &line(3))), bad].concat());
    let report = disk.process(&config).run_one().await;
    assert_eq!(report.failures.len(), 1, "{report:#?}");
    assert!(report.failures[0].error.contains("inbox/all.jsonl.gz"), "{report:#?}");
    assert_eq!(table(&disk), [("i2".into(), 1.0), ("i3".into(), 1.0)]);
    let half = result(&disk, "half");
    let records = half["records"].as_array().unwrap();
    assert_eq!(records.len(), 3, "{half:#}");
    assert_eq!(records[2]["request"], Value::Null);
    assert_eq!(records[2]["response"]["success"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_none_are_answered_one_by_one() {
    let disk = with_schema();
    let huge = format!("{{\"itemNo\":\"{}\",\"price\":1}}", "x".repeat(17 << 20));
    let body = format!(
        "{{\"records\":[{},3,\"text\",null,{{\"itemNo\":\"b\",}},{{\"itemNo\":\"c\",\"price\":1e999}},{huge},\
         {{\"itemNo\":\"d\",\"price\":1,\"price\":2}},{}]}}",
        item("a", 1.0),
        item("e", 5.0)
    );
    disk.write("inbox/b.json", body);
    let report = run_one(&disk, PRICES).await;
    assert_eq!(report.account.records_in, Some(9), "{report:#?}");
    // A request is kept as it came, and what reads the result here has no such number.
    let text = gunzipped(&disk, "outbox/b.json.gz");
    assert!(text.contains("{\"itemNo\":\"c\",\"price\":1e999}"));
    let result: Value = serde_json::from_str(&text.replace("1e999", "0")).unwrap();
    let answers: Vec<(bool, &str)> = result["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["response"]["success"].as_bool().unwrap(), r["response"]["message"].as_str().unwrap()))
        .collect();
    let success: Vec<bool> = answers.iter().map(|answer| answer.0).collect();
    assert_eq!(success, [true, false, false, false, false, false, false, false, true], "{answers:#?}");
    for (n, says) in [(1, "not a JSON object"), (4, "not JSON"), (6, "longer than"), (7, "stands twice")] {
        assert!(answers[n].1.contains(says), "{n}: {}", answers[n].1);
    }
    assert_eq!(table(&disk), [("a".into(), 1.0), ("e".into(), 5.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_cannot_be_executed_says_why_before_anything_is_claimed() {
    let disk = with_schema();
    disk.write("inbox/b.json", batch(&[item("a", 1.0)]));
    for (from, to, says) in [
        ("price.schema.json", "gone.json", "cannot be read"),
        ("price.schema.json", "no.json", "is no JSON Schema"),
        ("[\"itemNo\"]", "[\"item\"]", "`item` is no column"),
        ("text\", price", "texd\", price", "itemNo"),
    ] {
        disk.write("no.json", "{\"type\": 7}");
        let error = disk.process(&PRICES.replace(from, to)).run().await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    // A table that is not there, and is not to be created, gives the batch up; the next run takes it.
    let report = disk.process(&PRICES.replace(", create = true", "")).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("`items` does not exist"), "{report:#?}");
    assert!(report.failures[0].hint.as_deref().unwrap().contains("create = true"), "{report:#?}");
    run_one(&disk, PRICES).await;
    assert_eq!(table(&disk), [("a".into(), 1.0)]);
}

fn csv(config: &str) -> String {
    config.replace("{batch}.json\"", "{batch}.csv\"").replace("records = \"records\", ", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_end_in_cr_alone_are_no_header() {
    for body in ["itemNo,price\ra,2\rb,4", "itemNo,price\ra,2\rb,4\r\n"] {
        let disk = with_schema();
        disk.write("inbox/b.csv", body);
        let report = disk.process(&csv(PRICES)).run_one().await;
        assert_eq!(report.status, Status::Failed, "{report:#?}");
        assert!(report.failures[0].error.contains("its lines end in CR alone"), "{report:#?}");
        assert!(disk.files("outbox").is_empty(), "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_were_not_there_when_they_were_inferred_are_not_dropped_unseen() {
    let inferred = PRICES.replace("schema = { columns = { itemNo = \"text\", price = \"float64\" } }\n", "");
    let text = |currency: &str| {
        let records = [item("a", 1.5), item("b", 2.5)];
        match currency {
            "" => batch(&records),
            currency => batch(&records).replace("2.5", &format!("2.5,\"currency\":\"{currency}\"")),
        }
    };
    let lines = |currency: &str| match currency {
        "" => "itemNo,price\na,1.5\nb,2.5\n".to_owned(),
        currency => format!("itemNo,price,currency\na,1.5,{currency}\nb,2.5,{currency}\n"),
    };
    for (suffix, config, body) in
        [("json", inferred.clone(), &text as &dyn Fn(&str) -> String), ("csv", csv(&inferred), &lines)]
    {
        let disk = with_schema();
        disk.write(&format!("inbox/1.{suffix}"), body(""));
        run_one(&disk, &config).await;
        disk.write(&format!("inbox/2.{suffix}"), body("EUR"));
        let report = disk.process(&config).run_one().await;
        assert_eq!(report.status, Status::Failed, "{suffix}: {report:#?}");
        let failure = &report.failures[0];
        assert!(failure.error.contains("`currency`"), "{suffix}: {failure:?}");
        assert!(failure.hint.as_deref().unwrap().contains("schema = { columns"), "{suffix}: {failure:?}");
        // Who says which columns are wanted has said so.
        let declared =
            config.replace("to = \"./", "schema = { columns = { itemNo = \"text\", price = \"float64\" } }\nto = \"./");
        run_one(&disk, &declared).await;
        assert_eq!(table(&disk).len(), 2, "{suffix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_first_batch_needs_no_columns() {
    let disk = with_schema();
    let inferred = PRICES.replace("schema = { columns = { itemNo = \"text\", price = \"float64\" } }\n", "");
    disk.write("inbox/1.json", batch(&[]));
    run_one(&disk, &inferred).await;
    assert_eq!(summary(&disk, "1")["records"]["total"], 0);
    disk.write("inbox/2.json", batch(&[item("a", 1.0)]));
    run_one(&disk, &inferred).await;
    assert_eq!(table(&disk), [("a".into(), 1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_within_a_codec_may_not_grow_beyond_its_bound() {
    use std::io::Write;
    let disk = with_schema();
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(&vec![0; 4 << 20]).unwrap();
    disk.write("inbox/b.parquet.gz", out.finish().unwrap());
    let config = PRICES
        .replace("{batch}.json\"", "{batch}.parquet.gz\"")
        .replace("records = \"records\", ", "")
        .replace("to = \"./", "max_expansion = 10\nto = \"./");
    let report = disk.process(&config).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("max_expansion"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_executed_here_stays_open() {
    let disk = with_schema();
    disk.write("inbox/b.json", batch(&[item("a", 1.0)]));
    // Stopped where its chunk would be kept.
    let reached = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = std::sync::Arc::clone(&reached);
    let hook: Hook = std::sync::Arc::new(move |op: &Op| {
        let is_private = op.key.starts_with("_baler_tmp/prices/");
        if is_private {
            told.notify_one();
        }
        Box::pin(std::future::ready(if is_private { Verdict::Hang } else { Verdict::Proceed }))
    });
    let stopped = disk.process_through(PRICES, Some(hook));
    tokio::select! {
        report = stopped.run() => panic!("it ended: {report:#?}"),
        () = reached.notified() => {}
    }
    let elsewhere = PRICES.replace("./items.db", "./other.db");
    let report = &disk.process(&elsewhere).run().await.unwrap()[0];
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("other.db"), "{report:#?}");
    assert!(report.failures[0].hint.as_deref().unwrap().contains("restore the connection"), "{report:#?}");
    assert_eq!(disk.process(PRICES).run().await.unwrap()[0].status, Status::Committed);
    assert_eq!(table(&disk), [("a".into(), 1.0)]);
}
