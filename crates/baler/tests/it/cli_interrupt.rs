//! Ctrl-C, kill -9, and two processes at once.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::bench::{Bench, assert_shown};

const GROUPS: u32 = 24;

/// A flow that takes some seconds: every input is decoded, one group at a time.
fn slow() -> Bench {
    let bench = Bench::orders("check = \"decode\"");
    let body = "{\"id\":1,\"name\":\"an item with a name\",\"price\":12.50}\n".repeat(40_000);
    bench.write("body", &body);
    for group in 0..GROUPS {
        let dir = bench.path(&format!("data/in/2026-{:02}-{:02}", group / 28 + 1, group % 28 + 1));
        std::fs::create_dir_all(&dir).unwrap();
        for n in [1, 2] {
            std::fs::hard_link(bench.path("body"), dir.join(format!("{n}.jsonl"))).unwrap();
        }
    }
    bench
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn assert_all_there(bench: &Bench) {
    let outputs = bench.files("data/out");
    assert_eq!(outputs.len(), GROUPS as usize);
    let size = 2 * std::fs::metadata(bench.path("body")).unwrap().len();
    for output in outputs {
        assert_eq!(std::fs::metadata(bench.path(&format!("data/out/{output}"))).unwrap().len(), size);
    }
}

#[test]
fn ctrl_c_ends_with_130_and_the_next_run_goes_on() {
    let bench = slow();
    let child = bench.start(&["run", "--concurrency", "1"]);
    bench.wait_for(".baler", "/mark/");
    signal(&child, "-INT");
    let done = bench.finish(child);
    assert_eq!(done.code, 130, "{done:?}");
    assert!(done.stderr.contains("stopping cleanly"), "{done:?}");
    assert!(done.stdout.contains("interrupted") && done.stdout.contains("goes on where it stopped"), "{done:?}");
    assert!(bench.files("data/out").is_empty(), "nothing is visible before the seal");
    let run = bench.last_run();
    let marked = bench.files(".baler").iter().filter(|file| file.contains("/mark/")).count();
    assert!(marked > 0 && marked < GROUPS as usize, "{marked}");
    let shown = bench.baler(&["show", &run]);
    assert!(shown.stdout.contains(&format!("`baler abort {run}`")), "{shown:?}");
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains(&format!("run `{run}` of `orders` is open: finishing it")), "{done:?}");
    assert_all_there(&bench);
}

#[test]
fn an_open_run_can_be_aborted_and_its_sources_are_free_again() {
    let bench = slow();
    let child = bench.start(&["run", "--concurrency", "1"]);
    bench.wait_for(".baler", "/mark/");
    signal(&child, "-TERM");
    assert_eq!(bench.finish(child).code, 130);
    let run = bench.last_run();
    assert_shown!("abort_open", bench.baler(&["abort", &run]));
    assert!(bench.files("data/.baler-tmp").is_empty(), "{:?}", bench.files("data/.baler-tmp"));
    let (code, reports) = bench.run_json(&[]);
    assert_eq!((code, reports.len()), (0, 1));
    assert_ne!(reports[0]["run"], run.as_str());
    assert_all_there(&bench);
}

#[test]
fn a_rival_is_told_who_executes_and_a_killed_process_is_no_rival() {
    let bench = slow();
    let mut first = bench.start(&["run", "--concurrency", "1"]);
    bench.wait_for(".baler", "/mark/");
    let rival = bench.baler(&["run"]);
    assert_eq!(rival.code, 4, "{rival:?}");
    assert!(rival.stdout.contains("is executing on host"), "{rival:?}");
    let runs = bench.baler(&["runs"]);
    assert!(runs.stdout.contains("executing on"), "{runs:?}");
    first.kill().unwrap();
    assert_eq!(bench.finish(first).code, -1);
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_all_there(&bench);
}

/// An open run, and a foreign object that appeared at one of its output keys since it was planned.
fn blocked() -> (Bench, String) {
    let bench = slow();
    let child = bench.start(&["run", "--concurrency", "1"]);
    bench.wait_for(".baler", "/mark/");
    signal(&child, "-INT");
    assert_eq!(bench.finish(child).code, 130);
    bench.write("data/out/2026-01-05.jsonl", "foreign\n");
    let run = bench.last_run();
    let done = bench.baler(&["run"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("blocked"), "{done:?}");
    assert!(done.stderr.contains("`out/2026-01-05.jsonl` is there already, and is not Baler's"), "{done:?}");
    assert!(done.stderr.contains(&format!("`baler retry {run} --overwrite`")), "{done:?}");
    assert_eq!(bench.read("data/out/2026-01-05.jsonl"), "foreign\n");
    (bench, run)
}

#[test]
fn a_blocked_run_is_finished_by_overwriting_on_request() {
    let (bench, run) = blocked();
    let done = bench.baler(&["retry", &run, "--overwrite"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_all_there(&bench);
}

#[test]
fn a_blocked_run_is_taken_back_and_what_is_foreign_stays() {
    let (bench, run) = blocked();
    assert_shown!("abort_sealed", bench.baler(&["abort", &run]));
    let done = bench.baler(&["abort", &run, "--withdraw"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(bench.files("data/out"), ["2026-01-05.jsonl"]);
    assert_eq!(bench.read("data/out/2026-01-05.jsonl"), "foreign\n");
    assert_eq!(bench.baler(&["run", "--set", "flows.orders.overwrite=true"]).code, 0);
    assert_all_there(&bench);
}

#[test]
fn ctrl_c_ends_programs_that_answer_for_records() {
    let bench = Bench::new(
        "version = 1\n[flows.each]\nsplit = { chunk = 10 }\ndo = \"scatter\"\n\
         from = \"./data/inbox/{batch}.jsonl\"\nto = \"./data/outbox/{batch}.json\"\n\
         each = { program = [\"sh\", \"hangs.sh\"], timeout = \"10m\" }\n",
    );
    bench.write("data/inbox/b.jsonl", "{\"n\":1}\n");
    bench.write("hangs.sh", "echo $$ > data/hangs.pid\nsleep 1200\n");
    let child = bench.start(&["run"]);
    bench.wait_for("data", "hangs.pid");
    // The number is written right behind the file.
    let pid = eventually("the program's number", || bench.read("data/hangs.pid").trim().parse::<u32>().ok());
    signal(&child, "-INT");
    assert_eq!(bench.finish(child).code, 130);
    eventually("the program's end", || has_ended(pid).then_some(()));
}

/// Waits for what `found` finds.
fn eventually<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is gone; one that was killed may take a moment to go, and one that nobody waits for has ended, too.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}
