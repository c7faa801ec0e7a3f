//! Power is lost at every single write of a run: what was not fsynced may be gone, and the next run finishes the work.
//!
//! One complete run is recorded. Then, for each of its calls, what a disk could hold behind it is laid out (nothing that
//! was not fsynced; everything; every name but not its bytes; subsets by seed), looked at, and `baler run` goes on from
//! there. Images that are equal are tried once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use baler_engine::gc::{Effect, gc};
use baler_engine::report::Status;
use baler_testkit::power::{Image, Lost, Recorder, Survival, Unsynced};
use jiff::SignedDuration;

use crate::disk::{Disk, scratch};

const HEAD: &str = r#"
state = "lake:_baler"
[stores]
lake = "./lake"
out = "./out"
"#;

const FLOW: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
order_by = ["n"]
"#;

/// What a flow does, and what must be there when all is done.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    /// The lines of the flow behind [`FLOW`].
    flow: &'static str,
    /// Files that are there before, besides the sources.
    before: &'static [(&'static str, &'static str)],
    sources: Sources,
    /// The least number of calls that a run makes: fewer would mean that it was not recorded.
    calls: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sources {
    Stay,
    Go,
    /// They lie below this directory, each run's in its own.
    MoveTo(&'static str),
}

const KEEP: Scenario = Scenario {
    name: "keep, with a manifest for Redshift, in another directory",
    flow: "to = \"out:daily/{day}.jsonl\"\nredshift_manifest = true\n",
    before: &[],
    sources: Sources::Stay,
    calls: 120,
};

const DELETE: Scenario = Scenario {
    name: "delete",
    flow: "to = \"lake:daily/{day}.jsonl\"\nsources = { after_commit = \"delete\" }\n",
    before: &[],
    sources: Sources::Go,
    calls: 120,
};

const ARCHIVE: Scenario = Scenario {
    name: "archive",
    flow: "to = \"lake:daily/{day}.jsonl\"\nsources = { after_commit = \"archive\", archive_to = \"out:old/\" }\n",
    before: &[],
    sources: Sources::MoveTo("out/old"),
    calls: 150,
};

const OVERWRITE: Scenario = Scenario {
    name: "overwrite, delete",
    flow: "to = \"lake:daily/{day}.jsonl\"\noverwrite = true\nsources = { after_commit = \"delete\" }\n",
    before: &[("lake/daily/a.jsonl", OLD), ("lake/daily/b.jsonl", OLD)],
    sources: Sources::Go,
    calls: 120,
};

const MANIFEST: Scenario = Scenario {
    name: "a manifest in the queue, delete",
    flow: "on = { manifests = \"lake:watch\" }\nto = \"lake:{manifest.target}/{day}.jsonl\"\nsources = { after_commit = \"delete\" }\n",
    before: &[("lake/watch/queue/m.json", r#"{"source": "raw", "target": "daily", "fileCount": 6}"#)],
    sources: Sources::Go,
    calls: 120,
};

/// Records are decoded and encoded: the bytes are the same, since the columns are.
const CONVERT: Scenario = Scenario {
    name: "convert",
    flow: "schema = { columns = { day = \"text\", n = \"int64\", fill = \"text\" } }\nto = \"lake:daily/{day}.jsonl\"\n",
    before: &[],
    sources: Sources::Stay,
    calls: 120,
};

const CONVERT_ANEW: Scenario = Scenario {
    name: "convert, overwrite",
    flow: "schema = { columns = { day = \"text\", n = \"int64\", fill = \"text\" } }\nto = \"lake:daily/{day}.jsonl\"\noverwrite = true\n",
    before: &[("lake/daily/a.jsonl", OLD), ("lake/daily/b.jsonl", OLD)],
    sources: Sources::Stay,
    calls: 120,
};

/// What lies at the keys of the outputs before they are replaced.
const OLD: &str = "old\n";

/// A recorded world.
struct Recorded {
    scenario: Scenario,
    disk: Disk,
    stashes: tempfile::TempDir,
    recorder: Arc<Recorder>,
    /// The calls of which the run consists; what was before is laid out by no image.
    calls: usize,
}

/// When stores are proven.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proofs {
    /// Before there is anything to combine, and before anything is recorded.
    Before,
    /// By the run that is recorded.
    Recorded,
}

fn new_stash(stashes: &tempfile::TempDir) -> PathBuf {
    let stash = stashes.path().join(std::fs::read_dir(stashes.path()).unwrap().count().to_string());
    std::fs::create_dir(&stash).unwrap();
    stash
}

fn config(scenario: &Scenario) -> String {
    let flow = match scenario.flow.contains("manifests") {
        true => FLOW.replace("lake:raw/", "lake:{manifest.source}/"),
        false if scenario.flow.contains("schema = ") => FLOW.replace("combine", "convert"),
        false => FLOW.to_owned(),
    };
    format!("{HEAD}{flow}{}", scenario.flow)
}

fn source(day: &str, n: u64) -> String {
    format!("{{\"day\":\"{day}\",\"n\":{n},\"fill\":\"{}\"}}\n", "x".repeat(n as usize * 10))
}

/// The bytes of each output, by the end of its key.
fn outputs() -> BTreeMap<String, String> {
    ["a", "b"].map(|day| (format!("{day}.jsonl"), (1..=3).map(|n| source(day, n)).collect())).into()
}

impl Recorded {
    /// A world with sources, and nothing recorded.
    async fn prepare(scenario: Scenario, proofs: Proofs) -> (Disk, tempfile::TempDir) {
        let disk = Disk::in_memory();
        let config = config(&scenario);
        if proofs == Proofs::Before {
            let proving = disk.process_over(&config, Arc::new(Unsynced)).run_one().await;
            assert_eq!(proving.status, Status::Nothing, "{}: {proving:#?}", scenario.name);
        }
        for day in ["a", "b"] {
            for n in 1..=3 {
                disk.write(&format!("lake/raw/{day}/{n}.jsonl"), source(day, n));
            }
        }
        for (path, body) in scenario.before {
            disk.write(path, body);
        }
        (disk, scratch())
    }

    /// An empty directory for a recorder's second links.
    fn stash(&self) -> PathBuf {
        new_stash(&self.stashes)
    }

    /// Records a complete run.
    async fn of(scenario: Scenario, proofs: Proofs) -> Self {
        let (disk, stashes) = Self::prepare(scenario, proofs).await;
        let recorder = Arc::new(Recorder::new(disk.path(""), new_stash(&stashes)).unwrap());
        let report = disk.process_over(&config(&scenario), recorder.clone()).run_one().await;
        assert_eq!(report.status, Status::Committed, "{}: {report:#?}", scenario.name);
        let calls = recorder.len();
        assert!(calls >= scenario.calls, "{}: {calls} calls are too few to be a run's", scenario.name);
        Self { scenario, disk, stashes, recorder, calls }
    }

    /// Lays out an image, looks at it, lets later processes finish, and looks at what they leave.
    async fn finish(&self, recorder: &Recorder, image: &Image, what: &str) {
        recorder.lay_out(image).unwrap();
        let what = format!("{}: {what}", self.scenario.name);
        self.look(&what);
        self.go_on(&what).await;
    }

    /// What holds at any moment.
    fn look(&self, what: &str) {
        let whole = outputs();
        for folder in ["lake/daily", "out/daily"] {
            for file in self.disk.files(folder) {
                let body = self.disk.read(&format!("{folder}/{file}"));
                match whole.get(&file) {
                    Some(expected) => assert!(body == *expected || body == OLD, "{what}: {file} is torn: {body:?}"),
                    None => drop(
                        serde_json::from_str::<serde_json::Value>(&body)
                            .unwrap_or_else(|e| panic!("{what}: {file}: {e}")),
                    ),
                }
            }
        }
        let log = self.disk.files("lake/_baler/daily/log");
        let dense: Vec<String> = (1..=log.len()).map(|n| format!("{n:020}.json")).collect();
        assert_eq!(log, dense, "{what}: the log has gaps");
        let entries: Vec<String> = log.iter().map(|n| self.disk.read(&format!("lake/_baler/daily/log/{n}"))).collect();
        let committed = entries.iter().any(|entry| entry.contains("\"committed\""));
        for (n, entry) in log.iter().zip(&entries) {
            serde_json::from_str::<serde_json::Value>(entry).unwrap_or_else(|e| panic!("{what}: {n}: {e}"));
        }
        if entries.iter().any(|entry| entry.contains("\"sealed\"")) {
            // Whoever sealed relied on the marks.
            let runs = self.disk.files("lake/_baler/daily/runs");
            let marks = runs.iter().filter(|f| f.contains("/mark/")).count();
            assert!(marks >= 2, "{what}: it is sealed and has {marks} marks: {runs:?}");
        } else {
            let folders = ["lake/daily", "out/daily"].map(|folder| (folder, self.disk.files(folder)));
            for (folder, file) in folders.iter().flat_map(|(folder, files)| files.iter().map(move |f| (folder, f))) {
                let body = self.disk.read(&format!("{folder}/{file}"));
                assert_eq!(body, OLD, "{what}: {folder}/{file} can be seen and is not sealed");
            }
        }
        let sources = self.disk.files("lake/raw").len();
        assert!(committed || sources == 6, "{what}: {sources} sources are left and nothing is committed");
        if committed {
            self.expect_outputs(what);
        }
    }

    fn expect_outputs(&self, what: &str) {
        let folder = if self.scenario.flow.contains("out:daily") { "out/daily" } else { "lake/daily" };
        for (name, expected) in outputs() {
            let path = format!("{folder}/{name}");
            assert!(self.disk.path(&path).exists(), "{what}: `{path}` is committed and gone");
            assert_eq!(self.disk.read(&path), expected, "{what}: {path}");
        }
        let extra = usize::from(self.scenario.flow.contains("redshift_manifest")) * 2;
        assert_eq!(self.disk.files(folder).len(), 2 + extra, "{what}: {:?}", self.disk.files(folder));
    }

    /// Later processes finish, and all is as if nothing had happened.
    async fn go_on(&self, what: &str) {
        let config = config(&self.scenario);
        let mut last = Vec::new();
        for _ in 0..2 {
            last = self
                .disk
                .process_over(&config, Arc::new(Unsynced))
                .run()
                .await
                .unwrap_or_else(|e| panic!("{what}: {e:?}"));
            for report in &last {
                let fine = matches!(report.status, Status::Committed | Status::Nothing);
                assert!(fine, "{what}: {report:#?}");
            }
        }
        assert!(last.iter().all(|r| r.status == Status::Nothing), "{what}: done twice: {last:#?}");
        self.look(what);
        self.expect_outputs(what);
        match self.scenario.sources {
            Sources::Stay => assert_eq!(self.disk.files("lake/raw").len(), 6, "{what}: sources are gone"),
            Sources::Go => assert_eq!(self.disk.files("lake/raw"), [""; 0], "{what}: sources are left"),
            Sources::MoveTo(archive) => {
                assert_eq!(self.disk.files("lake/raw"), [""; 0], "{what}: sources are left");
                let bodies: BTreeSet<String> =
                    self.disk.files(archive).iter().map(|f| self.disk.read(&format!("{archive}/{f}"))).collect();
                let expected: BTreeSet<String> =
                    ["a", "b"].iter().flat_map(|day| (1..=3).map(|n| source(day, n))).collect();
                assert_eq!(bodies, expected, "{what}: the archive");
            }
        }
        if self.scenario.flow.contains("manifests") {
            assert_eq!(self.disk.files("lake/watch"), ["done/m.json"], "{what}");
        }
        assert_eq!(self.disk.files("lake/.baler-trash"), [""; 0], "{what}: trash");
        // What was staged in vain is garbage, and all of it is collected.
        let sweeper = self.disk.process_over(&config, Arc::new(Unsynced));
        gc(&sweeper.flow(), &sweeper.state().await, SignedDuration::ZERO, Effect::Remove).await.unwrap();
        let left = [self.disk.files("lake/.baler-tmp"), self.disk.files("out/.baler-tmp")].concat();
        let left: Vec<&String> = left.iter().filter(|f| !f.starts_with("_put/")).collect();
        assert!(left.is_empty(), "{what}: temporary files are left: {left:?}");
    }
}

/// What may have survived, as it is tried at each call.
fn survivals(call: usize) -> Vec<(String, Survival)> {
    let mut all = vec![
        ("nothing".to_owned(), Survival::Nothing),
        ("everything".to_owned(), Survival::Everything),
        ("all names, no bytes".to_owned(), Survival::Entries(Lost::Bytes)),
        ("all names, zeros for bytes".to_owned(), Survival::Entries(Lost::Zeros)),
    ];
    for n in 0..2 {
        let seed = (call * 2 + n) as u64;
        all.push((format!("what seed {seed} says"), Survival::Some(seed)));
    }
    all
}

/// Tries every image of a recording at some of its calls, those that were not tried yet; returns how many there are.
async fn cut(
    recorded: &Recorded,
    recorder: &Recorder,
    calls: impl Iterator<Item = usize>,
    survivals: impl Fn(usize) -> Vec<(String, Survival)>,
    tried: &mut BTreeSet<Image>,
    before: &str,
) -> usize {
    let mut images = 0;
    for call in calls {
        for (survives, survival) in survivals(call) {
            let image = recorder.image(call, survival);
            if tried.insert(image.clone()) {
                let last = recorder.describe(call);
                let what = format!("{before}power lost behind call {call} ({last}); {survives} survives");
                recorded.finish(recorder, &image, &what).await;
                images += 1;
            }
        }
    }
    images
}

async fn every_write(scenario: Scenario) {
    let recorded = Recorded::of(scenario, Proofs::Before).await;
    let mut tried = BTreeSet::new();
    let images = cut(&recorded, &recorded.recorder, 0..=recorded.calls, survivals, &mut tried, "").await;
    assert!(images > recorded.calls, "{images} images of {} calls", recorded.calls);
}

/// Power is lost, and lost again while the next run goes on from what was left.
async fn twice(scenario: Scenario) {
    let recorded = Recorded::of(scenario, Proofs::Before).await;
    let config = config(&scenario);
    let mut images = 0;
    for first in (0..recorded.calls).step_by(7) {
        let survival = if first % 2 == 0 { Survival::Nothing } else { Survival::Some(first as u64) };
        recorded.recorder.lay_out(&recorded.recorder.image(first, survival)).unwrap();
        let second = Arc::new(Recorder::new(recorded.disk.path(""), recorded.stash()).unwrap());
        recorded.disk.process_over(&config, second.clone()).run().await.unwrap();
        let some = |call: usize| vec![(format!("what seed {call} says"), Survival::Some(call as u64))];
        let before = format!("power lost behind call {first}, {survival:?} survives; again: ");
        let calls = (0..=second.len()).step_by(5);
        images += cut(&recorded, &second, calls, some, &mut BTreeSet::new(), &before).await;
    }
    assert!(images > recorded.calls, "{images} images of {} calls", recorded.calls);
}

/// A process is killed; what it did not fsync is there for the next one to see, but would not outlast a power loss.
/// The next one goes on from there, and then power is lost.
async fn killed_then_lost(scenario: Scenario) {
    let recorded = Recorded::of(scenario, Proofs::Before).await;
    let config = config(&scenario);
    let (mut kills, mut images) = (0, 0);
    for killed in 1..recorded.calls {
        let last = recorded.recorder.describe(killed);
        // Right behind the call that others can see, before it is made to last.
        if !["link", "rename", "exchange", "unlink"].iter().any(|verb| last.starts_with(verb)) {
            continue;
        }
        kills += 1;
        let fork = Arc::new(recorded.recorder.fork(killed, recorded.stash()).unwrap());
        recorded.disk.process_over(&config, fork.clone()).run().await.unwrap();
        let before = format!("killed behind call {killed} ({last}); then: ");
        let nothing = |_| vec![("nothing".to_owned(), Survival::Nothing)];
        images += cut(&recorded, &fork, killed..=fork.len(), nothing, &mut BTreeSet::new(), &before).await;
    }
    assert!(kills > 20 && images > 10 * kills, "{kills} kills, {images} images");
}

#[tokio::test]
async fn power_lost_at_any_write_loses_and_doubles_nothing_keep() {
    every_write(KEEP).await;
}

#[tokio::test]
async fn power_lost_at_any_write_loses_and_doubles_nothing_delete() {
    every_write(DELETE).await;
}

#[tokio::test]
async fn power_lost_at_any_write_loses_and_doubles_nothing_archive() {
    every_write(ARCHIVE).await;
}

#[tokio::test]
async fn power_lost_at_any_write_loses_and_doubles_nothing_overwrite() {
    every_write(OVERWRITE).await;
}

#[tokio::test]
async fn power_lost_at_any_write_loses_and_doubles_nothing_convert() {
    every_write(CONVERT).await;
    every_write(CONVERT_ANEW).await;
}

#[tokio::test]
async fn power_lost_under_whoever_goes_on_behind_a_killed_process_convert() {
    killed_then_lost(CONVERT_ANEW).await;
}

#[tokio::test]
async fn power_lost_at_any_write_loses_and_doubles_nothing_manifest() {
    every_write(MANIFEST).await;
}

#[tokio::test]
async fn power_lost_twice_loses_and_doubles_nothing() {
    for scenario in [KEEP, DELETE, ARCHIVE, OVERWRITE, MANIFEST, CONVERT_ANEW] {
        twice(scenario).await;
    }
}

#[tokio::test]
async fn power_lost_under_whoever_goes_on_behind_a_killed_process_keep() {
    killed_then_lost(KEEP).await;
}

#[tokio::test]
async fn power_lost_under_whoever_goes_on_behind_a_killed_process_delete() {
    killed_then_lost(DELETE).await;
}

#[tokio::test]
async fn power_lost_under_whoever_goes_on_behind_a_killed_process_archive() {
    killed_then_lost(ARCHIVE).await;
}

#[tokio::test]
async fn power_lost_under_whoever_goes_on_behind_a_killed_process_overwrite() {
    killed_then_lost(OVERWRITE).await;
}

/// A first run proves its stores: what a cut leaves of that is in nobody's way.
#[tokio::test]
async fn power_lost_while_stores_are_proven_is_in_nobodys_way() {
    let recorded = Recorded::of(DELETE, Proofs::Recorded).await;
    assert!(recorded.calls > 400, "{} calls are too few for a proof", recorded.calls);
    let both = |call: usize| {
        let seeded = (format!("what seed {call} says"), Survival::Some(call as u64));
        vec![("nothing".to_owned(), Survival::Nothing), seeded]
    };
    let calls = (0..=recorded.calls).step_by(41);
    let images = cut(&recorded, &recorded.recorder, calls, both, &mut BTreeSet::new(), "").await;
    assert!(images > 20, "{images} images");
}
