//! Programs that break the protocol or hang, and reasons that are too long or tell too much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baler_engine::env::Limits;
use baler_engine::report::{FailureReport, Status};
use baler_testkit::fault::{Hook, Method, Op, Verdict};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{answers, gunzipped, run_one};
use crate::disk::Disk;

/// A flow of this step.
pub(crate) fn config(each: &str, chunk: usize) -> String {
    format!(
        r#"
[flows.each]
do = "scatter"
from = "./inbox/{{batch}}.jsonl"
split = {{ chunk = {chunk} }}
each = [{each}]
to = "./outbox/{{batch}}.json"
"#
    )
}

/// The step of `each.py`.
fn python(timeout: &str) -> String {
    format!("{{ program = [\"python3\", \"each.py\"], timeout = \"{timeout}\" }}")
}

/// Records that are numbered from 0.
pub(crate) fn numbered(records: usize) -> String {
    (0..records).map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

/// Numbered records that no pipe holds together.
fn large(records: usize, bytes: usize) -> String {
    let padding = "x".repeat(bytes);
    (0..records).map(|n| format!("{{\"n\":{n},\"padding\":\"{padding}\"}}\n")).collect()
}

/// A world with these records and this `each.py`.
fn world(records: &str, script: &str) -> Disk {
    let disk = Disk::in_memory();
    disk.write("inbox/b.jsonl", records);
    disk.write("each.py", format!("import json, os, sys, time\n{script}"));
    disk
}

/// Why the batch was given up; nothing of it is published.
pub(crate) async fn given_up(disk: &Disk, config: &str) -> FailureReport {
    let report = disk.process(config).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(disk.files("outbox").is_empty(), "{:?}", disk.files("outbox"));
    report.failures[0].clone()
}

/// The numbers of records that failed.
pub(crate) fn failed(answers: &[Value]) -> Vec<usize> {
    (0..answers.len()).filter(|n| answers[*n]["success"] == json!(false)).collect()
}

fn message(answer: &Value) -> String {
    answer["message"].as_str().unwrap().to_owned()
}

/// Waits until no process of those whose numbers are in the file `pids` runs.
fn assert_all_ended(disk: &Disk, least: usize) {
    let pids = disk.read("pids");
    assert!(pids.lines().count() >= least, "{pids}");
    let runs = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // One that nobody waits for has ended, too.
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    let began = Instant::now();
    while let Some(pid) = pids.lines().find(|pid| runs(pid)) {
        assert!(began.elapsed() < Duration::from_secs(5), "{pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_prints_more_than_answers_fails_the_batch_and_shifts_none() {
    let answer = "print(json.dumps({'success': True}), flush=True)";
    for (what, script) in [
        ("greets", format!("print('ready', flush=True)\nfor line in sys.stdin: {answer}\n")),
        ("logs before", format!("for line in sys.stdin:\n    print('INFO one more')\n    {answer}\n")),
        ("logs behind", format!("for line in sys.stdin:\n    {answer}\n    print('INFO done', flush=True)\n")),
        ("answers twice", format!("for line in sys.stdin:\n    {answer}\n    {answer}\n")),
    ] {
        let disk = world(&numbered(9), &script);
        let failure = given_up(&disk, &config(&python("20s"), 4)).await;
        assert!(failure.error.contains("nobody asked for"), "{what}: {failure:#?}");
        let hint = failure.hint.unwrap();
        assert!(hint.contains("one line for each record") && hint.contains("stderr"), "{what}: {hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_names_another_record_is_not_taken_for_this_one() {
    // One is answered twice; what follows would be shifted.
    let script = "for line in sys.stdin:\n    q = json.loads(line)\n    answer = json.dumps({'success': True, 'index': \
                  q['index'], 'message': str(q['record']['n'])})\n    print('\\n'.join([answer] * (2 if q['index'] == 5 else \
                  1)), flush=True)\n";
    let disk = world(&numbered(16), script);
    let report = run_one(&disk, &config(&python("20s"), 16)).await;
    assert_eq!(report.account.quarantined, Some(0), "{report:#?}");
    let told: Vec<String> = answers(&disk).iter().map(message).collect();
    assert_eq!(told, (0..16).map(|n| n.to_string()).collect::<Vec<String>>());
    // A key that is another's fails the record.
    let script = "for line in sys.stdin: print(json.dumps({'success': True, 'key': 'each/other/0'}), flush=True)\n";
    let disk = world(&numbered(2), script);
    run_one(&disk, &config(&python("20s"), 2)).await;
    let answers = answers(&disk);
    assert_eq!(failed(&answers), [0, 1], "{answers:#?}");
    assert!(message(&answers[0]).contains("answered to another record"), "{answers:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_the_fault_of_one_record() {
    let script = "for line in sys.stdin:\n    n = json.loads(line)['record']['n']\n    print('x' * (65 << 20) if n == 1 else \
                  json.dumps({'success': True, 'message': str(n)}), flush=True)\n";
    let disk = world(&numbered(5), script);
    run_one(&disk, &config(&python("20s"), 5)).await;
    let answers = answers(&disk);
    assert_eq!(failed(&answers), [1], "{answers:#?}");
    assert!(message(&answers[1]).contains("more than 16 MiB"), "{answers:#?}");
    assert_eq!((message(&answers[2]), message(&answers[4])), ("2".to_owned(), "4".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_answers_without_reading_fails_the_batch_and_holds_nothing_up() {
    let disk = world(&large(400, 1 << 10), "");
    let each = r#"{ program = ["yes", '{"success":true}'], timeout = "2s" }"#;
    let failure = given_up(&disk, &config(each, 400)).await;
    assert!(failure.error.contains("nobody asked for"), "{failure:#?}");
    // It answers as often as it is asked, and reads the first question only.
    let script = "sys.stdin.readline()\nprint('{\"success\":true}', flush=True)\ntime.sleep(0.5)\nprint('\\n'.join(\
                  ['{\"success\":true}'] * 399), flush=True)\ntime.sleep(1200)\n";
    let disk = world(&large(400, 1 << 10), script);
    let failure = given_up(&disk, &config(&python("2s"), 400)).await;
    assert!(failure.error.contains("before it had read what it was asked"), "{failure:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_behind_a_script_ends_with_it() {
    let script = "open('pids', 'a').write(f'{os.getpid()}\\n')\nfor line in sys.stdin:\n    if json.loads(line)['record']['n'] \
                  == 2: time.sleep(1200)\n    print(json.dumps({'success': True}), flush=True)\n";
    let disk = world(&large(9, 20 << 10), script);
    disk.write("each.sh", "python3 each.py\ntrue\n");
    let each = r#"{ program = ["sh", "each.sh"], timeout = "5s" }"#;
    run_one(&disk, &config(each, 9)).await;
    let answers = answers(&disk);
    assert_eq!(failed(&answers), [2], "{answers:#?}");
    assert_all_ended(&disk, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_given_time_to_end_together_and_not_one_after_the_other() {
    let script = "open('pids', 'a').write(f'{os.getpid()}\\n')\nfor line in sys.stdin:\n    time.sleep(1)\n    \
                  print(json.dumps({'success': True}), flush=True)\ntime.sleep(1200)\n";
    let disk = world(&numbered(4), script);
    let began = Instant::now();
    run_one(&disk, &config(&python("20s"), 1)).await;
    let took = began.elapsed();
    assert_all_ended(&disk, 3);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_prints_at_its_end_is_let_finish() {
    let script = "for line in sys.stdin: print(json.dumps({'success': True}), flush=True)\nfor n in range(50000): \
                  print('bye', n)\nsys.stdout.flush()\nopen('done', 'w').write('all')\n";
    let disk = world(&numbered(3), script);
    run_one(&disk, &config(&python("20s"), 3)).await;
    assert_eq!(disk.read("done"), "all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_behind_an_answer_fails_no_record() {
    let script = "for n in range(3):\n    if sys.stdin.readline(): print(json.dumps({'success': True}), flush=True)\n";
    let disk = world(&numbered(10), script);
    let report = run_one(&disk, &config(&python("20s"), 10)).await;
    assert_eq!(report.account.quarantined, Some(0), "{:#?}", answers(&disk));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_never_answers_is_given_up_soon_and_the_hint_names_the_usual_cause() {
    // Whatever the environment says of Python's own output.
    let script = "out = open(1, 'w', buffering=1 << 16)\nfor line in sys.stdin: out.write('{\"success\":true}\\n')\n";
    let disk = world(&numbered(12), script);
    let failure = given_up(&disk, &config(&python("500ms"), 12)).await;
    assert!(failure.error.contains("has never answered"), "{failure:#?}");
    assert!(failure.hint.unwrap().contains("flush"));
    // Fewer records than that tell it themselves.
    let disk = world(&numbered(1), script);
    run_one(&disk, &config(&python("500ms"), 1)).await;
    assert!(message(&answers(&disk)[0]).contains("must flush each answer"), "{:#?}", answers(&disk));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_again_and_again_fails_the_batch_and_the_hint_says_where_to_look() {
    let disk = world(&numbered(100), "");
    let failure = given_up(&disk, &config(r#"{ program = ["false"] }"#, 100)).await;
    assert!(failure.error.contains("was started 41 times"), "{failure:#?}");
    assert!(failure.hint.unwrap().contains("stderr"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_of_a_schema_tells_no_value_so_that_equal_faults_are_counted_as_one() {
    let disk = Disk::in_memory();
    let record = |n: u32| json!({ "secret": format!("hunter{n}"), "n": n }).to_string();
    disk.write("inbox/b.jsonl", format!("{}\n{}\n", record(1), record(2)));
    let schema = json!({
        "oneOf": [{ "required": ["a"] }, { "required": ["b"] }],
        "properties": { "secret": { "maxLength": 3 }, "n": { "type": "string" } },
    });
    disk.write("each.json", schema.to_string());
    run_one(&disk, &config(r#"{ json_schema = "each.json" }"#, 2)).await;
    let answers = answers(&disk);
    assert_eq!(failed(&answers), [0, 1], "{answers:#?}");
    assert_eq!(answers[0]["message"], answers[1]["message"]);
    let message = message(&answers[0]);
    assert!(!message.contains("hunter"), "{message}");
    assert!(["oneOf", "/secret", "/n"].iter().all(|told| message.contains(told)), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_reason_is_cut_at_a_character_whoever_gave_it() {
    let script = "for line in sys.stdin: print(json.dumps({'success': False, 'message': 'é' * 2000}), flush=True)\n";
    let fields: serde_json::Map<String, Value> = (0..200).map(|n| (format!("fünf{n}"), json!(n))).collect();
    let record = format!("{}\n", Value::from(fields));
    for (each, begins) in [(r#"{ json_schema = "each.json" }"#.to_owned(), "\"größee"), (python("20s"), "éé")] {
        let disk = world(&record, script);
        disk.write("each.json", json!({ "required": [format!("größe{}", "e".repeat(2000))] }).to_string());
        run_one(&disk, &config(&each, 1)).await;
        let message = message(&answers(&disk)[0]);
        assert!(message.starts_with(begins) && message.ends_with('…'), "{message}");
        assert_eq!(message.chars().count(), 501, "{message}");
    }
}

/// The part of a chunk that could not be put twice: its records are not asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn where_only_the_putting_fails_no_record_is_taken_again() {
    let script = "for line in sys.stdin:\n    open('asked', 'a').write(line)\n    print(json.dumps({'success': True}), flush=True)\n";
    let disk = world(&numbered(7), script);
    let failed: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let seen = Arc::clone(&failed);
    let hook: Hook = Arc::new(move |op: &Op| {
        let task = op
            .key
            .strip_prefix("_baler_tmp/each/")
            .and_then(|key| Some(key.split_once('/')?.1.split_once('-')?.0.to_owned()));
        let fails = op.method == Method::Put
            && task.is_some_and(|task| {
                let mut seen = seen.lock();
                let times = seen.entry(task).or_default();
                *times += 1;
                *times <= 2
            });
        Box::pin(std::future::ready(if fails { Verdict::FailBefore } else { Verdict::Proceed }))
    });
    let report = disk.process_through(&config(&python("20s"), 3), Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let index = |line: &str| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap();
    let mut asked: Vec<u64> = disk.read("asked").lines().map(index).collect();
    asked.sort_unstable();
    assert_eq!(asked, (0..7).collect::<Vec<_>>(), "each of them once");
    assert_eq!(answers(&disk).len(), 7);
    assert_eq!(failed.lock().values().copied().collect::<Vec<_>>(), [3; 3], "put once more after two faults");
}

/// A chunk larger than a window: what fails in several of them is counted together, and numbered as in the object.
#[tokio::test(flavor = "multi_thread")]
async fn failures_of_all_windows_of_a_chunk_are_told_together() {
    let (records, padding) = (1_000, "x".repeat(1_000));
    let record = |n: usize| json!({ "n": if n % 100 == 7 { json!("seven") } else { json!(n) }, "padding": padding });
    let sevens: Vec<usize> = (0..10).map(|n| n * 100 + 7).collect();
    for suffix in ["json", "json.gz"] {
        let disk = Disk::in_memory();
        disk.write("inbox/b.jsonl", (0..records).map(|n| format!("{}\n", record(n))).collect::<String>());
        disk.write("each.json", json!({ "properties": { "n": { "type": "integer" } } }).to_string());
        let config = config(r#"{ json_schema = "each.json" }"#, records)
            .replace("{batch}.json\"", &format!("{{batch}}.{suffix}\""));
        run_one(&disk, &config).await;
        let text = match suffix {
            "json" => disk.read("outbox/b.json"),
            _ => gunzipped(&disk, "outbox/b.json.gz"),
        };
        let result: Value = serde_json::from_str(&text).unwrap();
        let told = result["records"].as_array().unwrap();
        assert!(
            told.iter().enumerate().all(|(n, told)| told["index"] == n && told["request"] == record(n)),
            "{suffix}"
        );
        let answers: Vec<Value> = told.iter().map(|told| told["response"].clone()).collect();
        assert_eq!((answers.len(), failed(&answers)), (records, sevens.clone()), "{suffix}");
        let summary: Value = serde_json::from_str(&disk.read("outbox/b.summary.json")).unwrap();
        assert_eq!(summary["records"], json!({ "total": 1_000, "succeeded": 990, "failed": 10 }), "{summary:#}");
        let told = (&summary["firstError"]["index"], &summary["lastError"]["index"]);
        assert_eq!(told, (&json!(7), &json!(907)), "{summary:#}");
        assert_eq!(summary["failures"].as_array().unwrap().len(), 1, "{summary:#}");
        let aside = disk.read(&format!("_quarantine/{}", disk.files("_quarantine")[0]));
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["line"].as_u64().unwrap();
        let lines: Vec<u64> = aside.lines().map(line).collect();
        assert_eq!(lines, sevens.iter().map(|n| *n as u64 + 1).collect::<Vec<_>>(), "{suffix}");
    }
}

/// While parts wait to be put, the bytes of their chunks are gone: others are taken meanwhile, but not without end.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_whose_parts_wait_leave_their_room_to_others() {
    let disk = Disk::in_memory();
    disk.write("inbox/b.jsonl", numbered(100));
    disk.write("each.json", "{}");
    let waiting = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&waiting);
    let hook: Hook = Arc::new(move |op: &Op| {
        let hangs = op.method == Method::Put && op.key.starts_with("_baler_tmp/each/");
        seen.fetch_add(usize::from(hangs), Ordering::SeqCst);
        Box::pin(std::future::ready(if hangs { Verdict::Hang } else { Verdict::Proceed }))
    });
    let mut process = disk.process_through(&config(r#"{ json_schema = "each.json" }"#, 1), Some(hook));
    process.env.limits = Limits::new(1_000, 256 << 20);
    // So many are worked at; three more may be on their way to a disk.
    let rooms = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let most = async {
        let began = Instant::now();
        while waiting.load(Ordering::SeqCst) < rooms + 3 {
            assert!(began.elapsed() < Duration::from_secs(60), "{waiting:?} of {}", rooms + 3);
            pause(5).await;
        }
        pause(50).await;
    };
    tokio::select! {
        report = process.run() => panic!("{report:#?}"),
        () = most => assert_eq!(waiting.load(Ordering::SeqCst), rooms + 3),
    }
}

#[expect(clippy::disallowed_methods, reason = "real time has to pass")]
async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
