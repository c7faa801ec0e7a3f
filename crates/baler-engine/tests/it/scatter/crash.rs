//! A run is stopped at every single operation of its stores, before its effect and after it; the next process finishes. Table,
//! results and summaries are as if nothing had happened, and one gathering counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baler_engine::report::Status;
use baler_testkit::fault::Verdict;
use serde_json::{Value, json};

use super::{PRICES, batch, item, result, summary, table, with_schema};
use crate::convert_crash::stops_at;
use crate::disk::Disk;

fn filled() -> Disk {
    let disk = with_schema();
    let records =
        |from: i32| -> Vec<Value> { (from..from + 5).map(|n| item(&format!("i{n}"), f64::from(n - 2))).collect() };
    disk.write("inbox/a.json", batch(&records(0)));
    disk.write("inbox/b.json", batch(&records(3)));
    disk
}

fn assert_final(disk: &Disk, what: &str) {
    assert_eq!(disk.files("outbox"), ["a.json.gz", "a.summary.json", "b.json.gz", "b.summary.json"], "{what}");
    for (name, failed) in [("a", 2), ("b", 0)] {
        let result = result(disk, name);
        let records = result["records"].as_array().unwrap();
        assert!(records.iter().enumerate().all(|(n, record)| record["index"] == n), "{what}: {result:#}");
        assert_eq!(records.len(), 5, "{what}");
        let counts = json!({ "total": 5, "succeeded": 5 - failed, "failed": failed });
        assert_eq!(summary(disk, name)["records"], counts, "{what}");
    }
    let rows: Vec<(String, f64)> = (2..8).map(|n| (format!("i{n}"), f64::from(n - 2))).collect();
    assert_eq!(table(disk), rows, "{what}");
    assert_eq!(disk.files("_quarantine").len(), 1, "{what}: one gathering counts");
}

/// Nothing of a batch is seen, or all of it that was published; never a part of an object.
fn assert_whole(disk: &Disk, what: &str) {
    for file in disk.files("outbox") {
        match file.strip_suffix(".json.gz") {
            Some(name) => assert_eq!(result(disk, name)["records"].as_array().unwrap().len(), 5, "{what}"),
            None => drop(serde_json::from_str::<Value>(&disk.read(&format!("outbox/{file}"))).unwrap()),
        }
    }
}

async fn crash_everywhere(at: Verdict) {
    let mut stop = 0;
    loop {
        let what = format!("{at:?} at {stop}");
        let disk = filled();
        let calls = Arc::new(AtomicU64::new(0));
        let first = disk.process_through(PRICES, Some(stops_at(stop, at, Arc::clone(&calls))));
        let ended = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                report = first.run() => drop(report),
                () = stopped(&calls, stop) => {}
            }
        });
        assert!(ended.await.is_ok(), "{what}: neither stopped nor ended");
        assert_whole(&disk, &what);
        for _ in 0..2 {
            for report in disk.process(PRICES).run().await.unwrap_or_else(|e| panic!("{what}: {e:?}")) {
                assert!(matches!(report.status, Status::Committed | Status::Nothing), "{what}: {report:#?}");
            }
        }
        assert_final(&disk, &what);
        if calls.load(Ordering::SeqCst) <= stop {
            break;
        }
        stop += 1;
    }
    assert!(stop > 50, "the run has {stop} operations: too few to have been cut everywhere");
}

/// Waits until a process hangs: operations have begun beyond the one that hangs, or a little time has passed since.
async fn stopped(calls: &AtomicU64, stop: u64) {
    loop {
        #[expect(clippy::disallowed_methods, reason = "real time has to pass")]
        tokio::time::sleep(Duration::from_millis(2)).await;
        if calls.load(Ordering::SeqCst) > stop {
            // What goes on beside it has its chance to do something.
            #[expect(clippy::disallowed_methods, reason = "real time has to pass")]
            tokio::time::sleep(Duration::from_millis(15)).await;
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_any_operation_loses_and_doubles_nothing() {
    crash_everywhere(Verdict::Hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_any_operation_loses_and_doubles_nothing() {
    crash_everywhere(Verdict::HangAfter).await;
}

/// Two processes take the same run at once: marks decide, and one gathering counts.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_finish_at_once_gather_once() {
    for round in 0..10 {
        let what = format!("round {round}");
        let disk = filled();
        let processes: Vec<_> = (0..3).map(|_| disk.process(PRICES)).collect();
        let runs = processes.iter().map(|process| process.run());
        for reports in futures::future::join_all(runs).await {
            for report in reports.unwrap_or_else(|e| panic!("{what}: {e:?}")) {
                let fine = [Status::Committed, Status::Nothing, Status::Contended].contains(&report.status);
                let held =
                    report.failures.iter().all(|failure| failure.error.contains("is being written by an open run"));
                assert!(fine || held, "{what}: {report:#?}");
            }
        }
        drop(disk.process(PRICES).run().await.unwrap());
        assert_final(&disk, &what);
    }
}
