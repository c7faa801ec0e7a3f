//! The real binary under `kill -9` at random instants, resumed each time: no record lost or doubled, no partial or
//! unsealed object ever listed in a target.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use baler_testkit::{S3Handle, S3Options, S3Server, SplitMix};

use crate::bench::Bench;
use crate::killer::Killer;

/// How often the binary must have been killed while it ran, on each store.
const KILLS: u32 = 110;

/// Groups of one round; each has a few small objects and, on S3, one that is copied server-side.
const DAYS: [&str; 4] = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"];

/// The inputs of a round, and what each output must be, to the byte.
fn inputs(random: &mut SplitMix, round: u32, large: bool) -> (BTreeMap<String, Vec<u8>>, BTreeMap<String, Vec<u8>>) {
    let (mut inputs, mut outputs) = (BTreeMap::new(), BTreeMap::<String, Vec<u8>>::new());
    for (group, day) in DAYS.iter().enumerate() {
        for n in 0..2 + random.below(6) {
            let lines = match large && group == 0 && n == 1 {
                true => 60_000,
                false => 1 + random.below(40),
            };
            let mut body = Vec::new();
            for line in 0..lines {
                body.extend_from_slice(
                    format!(
                        "{{\"round\":{round},\"day\":\"{day}\",\"n\":{n},\"line\":{line},\"pad\":\"{line:060}\"}}\n"
                    )
                    .as_bytes(),
                );
            }
            outputs.entry(format!("out/{round}/{day}.jsonl")).or_default().extend_from_slice(&body);
            inputs.insert(format!("in/{round}/{day}/{n}.jsonl"), body);
        }
    }
    (inputs, outputs)
}

const FLOW: &str = r#"
[flows.days]
do = "combine"
from = "lake:in/${ROUND}/{day:%Y-%m-%d}/{n:int}.jsonl"
order_by = ["n"]
to = "lake:out/${ROUND}/{day:%Y-%m-%d}.jsonl"
sources = { after_commit = "delete" }
"#;

/// What a run is made against.
trait Target: Sync {
    fn put(&self, inputs: &BTreeMap<String, Vec<u8>>);
    fn list(&self, prefix: &str) -> BTreeMap<String, Vec<u8>>;
    fn log(&self) -> Vec<String>;
    fn command(&self, round: u32) -> Command;
}

/// Runs, kills, resumes, until the binary was killed often enough; checks the target at every step.
fn kill_and_resume(target: &dyn Target, large: bool) {
    let mut killer = Killer::new(KILLS);
    while let Some(round) = killer.next_round() {
        let (inputs, expected) = inputs(&mut killer.random, round, large);
        target.put(&inputs);
        let ended = AtomicBool::new(false);
        let looks = AtomicU64::new(0);
        std::thread::scope(|scope| {
            // A reader that lists and reads all the time must never see anything but whole outputs.
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    only_whole_outputs(&target.list(&format!("out/{round}/")), &expected);
                    looks.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(3));
                }
            });
            for _ in 0..4 {
                let was_running = killer.kill(&mut target.command(round));
                let visible = target.list(&format!("out/{round}/"));
                only_whole_outputs(&visible, &expected);
                only_sealed(&visible, &target.log());
                if !was_running {
                    break;
                }
            }
            let done = killer.undisturbed(|| target.command(round).output().unwrap());
            let code = done.status.code();
            assert_eq!(code, Some(0), "round {round}: {}", String::from_utf8_lossy(&done.stderr));
            ended.store(true, Ordering::Relaxed);
        });
        assert!(looks.load(Ordering::Relaxed) > 0);
        assert_eq!(target.list(&format!("out/{round}/")), expected, "round {round}: records lost or doubled");
        assert!(target.list(&format!("in/{round}/")).is_empty(), "round {round}: sources are left");
    }
}

fn only_whole_outputs(visible: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    for (key, body) in visible {
        let whole = expected.get(key).unwrap_or_else(|| panic!("`{key}` is no output"));
        assert!(body == whole, "`{key}` is listed with {} of {} bytes", body.len(), whole.len());
    }
}

/// As many runs are sealed as are needed for what is visible: nothing appears before a seal.
fn only_sealed(visible: &BTreeMap<String, Vec<u8>>, log: &[String]) {
    if visible.is_empty() {
        return;
    }
    let entries: Vec<serde_json::Value> = log.iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    for key in visible.keys() {
        let run = entries.iter().rev().find(|e| {
            let outputs = e["outputs"].as_array();
            outputs.is_some_and(|o| o.iter().any(|claim| claim["key"][0] == key.as_str()))
        });
        let run = &run.unwrap_or_else(|| panic!("`{key}` is visible, and no run ever claimed it"))["run"];
        let sealed = entries.iter().any(|e| e["event"] == "sealed" && e["run"] == *run);
        assert!(sealed, "`{key}` is visible, and its run {run} is not sealed");
    }
}

struct Directory(Bench);

impl Target for Directory {
    fn put(&self, inputs: &BTreeMap<String, Vec<u8>>) {
        inputs.iter().for_each(|(key, body)| self.0.write(&format!("lake/{key}"), body));
    }

    fn list(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let names = self.0.files(&format!("lake/{prefix}"));
        let read = |name: String| {
            let key = format!("{prefix}{name}");
            // A source may be deleted between listing and reading; an output never is.
            fs::read(self.0.path(&format!("lake/{key}"))).ok().map(|body| (key, body))
        };
        names.into_iter().filter_map(read).collect()
    }

    fn log(&self) -> Vec<String> {
        let names = self.0.files("state/days/log");
        names.iter().map(|name| self.0.read(&format!("state/days/log/{name}"))).collect()
    }

    fn command(&self, round: u32) -> Command {
        let mut command = self.0.command(&["run"]);
        command.env("ROUND", round.to_string());
        command
    }
}

#[test]
fn kill_9_on_a_directory_loses_and_doubles_nothing() {
    let bench =
        Bench::new(&format!("version = 1\nstate = \"disk:\"\n[stores]\nlake = \"./lake\"\ndisk = \"./state\"\n{FLOW}"));
    kill_and_resume(&Directory(bench), false);
}

struct Bucket {
    bench: Bench,
    server: S3Handle,
}

impl Target for Bucket {
    fn put(&self, inputs: &BTreeMap<String, Vec<u8>>) {
        inputs.iter().for_each(|(key, body)| self.server.put("lake", key, body.clone()));
    }

    fn list(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let keys = self.server.keys("lake", prefix);
        keys.into_iter().filter_map(|key| self.server.object("lake", &key).map(|body| (key, body.to_vec()))).collect()
    }

    fn log(&self) -> Vec<String> {
        let keys = self.server.keys("lake", "_baler/days/log/");
        let read = |key: &String| self.server.object("lake", key);
        keys.iter().filter_map(read).map(|body| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    fn command(&self, round: u32) -> Command {
        let mut command = self.bench.command(&["run"]);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "testtest");
        command.env("ROUND", round.to_string());
        command
    }
}

#[test]
fn kill_9_on_s3_loses_and_doubles_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = S3Options { buckets: vec!["lake".into()], ..S3Options::default() };
    let server = runtime.block_on(S3Server::start(options)).unwrap();
    let config = format!(
        "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = {{ url = \"s3://lake\", endpoint = \"{}\" }}\n{FLOW}",
        server.endpoint
    );
    let target = Bucket { bench: Bench::new(&config), server: server.handle() };
    // The store is proven once, undisturbed; the proof is remembered.
    let first = target.command(0).output().unwrap();
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    kill_and_resume(&target, true);
}
